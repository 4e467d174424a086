//! examples/paper: the paper's networks, here small ones on the embedded digits.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the script on the digits with these arguments after the folder. `None` without Python.
fn paper(out: &Path, words: &[&str]) -> Option<Output> {
    paper_on(Path::new("digits"), out, words)
}

fn paper_on(data: &Path, out: &Path, words: &[&str]) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/paper/paper.py");
    let program = env!("CARGO_BIN_EXE_gaitprop");
    let mut command = Command::new("python3");
    command.arg(script).arg(data).arg(out).args(["--program", program, "--jobs", "2"]).args(words);
    let output = command.stdin(Stdio::null()).output();
    if output.is_err() {
        eprintln!("no python3: examples/paper is NOT TESTED");
    }
    output.ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All runs of a part end, a second call trains nothing, and longer runs are resumed. The tables
/// have the figures of the metrics.
#[test]
fn runs_end_and_are_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let Some(first) = paper(&out, &["--only", "d", "--epochs", "1"]) else { return };
    let (said, errors) = (text(&first.stdout), text(&first.stderr));
    assert!(first.status.success(), "{said}{errors}");
    assert!(said.contains("6 of 6 runs are left") && said.contains("with 2 at a time"), "{said}");
    assert_eq!(said.matches(": done").count(), 6, "{said}");
    let summary = fs::read_to_string(out.join("summary.md")).unwrap();
    let rows: Vec<&str> = summary.lines().filter(|line| line.contains(" linear | 1 | 1 | ")).collect();
    assert_eq!(rows.len(), 6, "{summary}");
    let metrics = fs::read_to_string(out.join("d/tower-gait-linear/seed-1/metrics.jsonl")).unwrap();
    let end: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let accuracy = format!("| {:.2} |", 100.0 * end["test_accuracy"].as_f64().unwrap());
    assert!(rows.iter().any(|row| row.starts_with("| tower gait") && row.contains(&accuracy)), "{accuracy} {rows:?}");
    assert!(fs::read_to_string(out.join("d.html")).unwrap().contains("<html"));

    let again = paper(&out, &["--only", "d", "--epochs", "1"]).unwrap();
    let said = text(&again.stdout);
    assert!(again.status.success() && said.contains("0 of 6 runs are left") && !said.contains(": done"), "{said}");

    // Results of one data set are never taken for those of another.
    let other = paper_on(dir.path(), &out, &["--only", "d", "--epochs", "1"]).unwrap();
    assert!(other.status.code() == Some(2) && text(&other.stderr).contains("has results of digits: name another folder"));

    // An editor ends the line.
    fs::write(out.join("data.txt"), "digits\n\n").unwrap();
    let longer = paper(&out, &["--only", "d", "--epochs", "2"]).unwrap();
    let said = text(&longer.stdout);
    assert!(longer.status.success() && said.matches(": done").count() == 6, "{said}");
    let metrics = fs::read_to_string(out.join("d/tower-gait-linear/seed-1/metrics.jsonl")).unwrap();
    let epochs = metrics.lines().filter(|line| line.contains("\"event\":\"epoch\"")).count();
    assert_eq!(epochs, 2, "the first epoch is kept, the second added");
    sweeps_are_kept(&out);
}

/// A sweep that is over is not trained again. One of another length is another sweep, and one of
/// another command is not overwritten. The summary keeps the parts of earlier calls.
fn sweeps_are_kept(out: &Path) {
    let sweeps = |epochs: &str, more: &[&str]| paper(out, &[&["--only", "g", "--epochs", epochs], more].concat()).unwrap();
    let first = sweeps("1", &[]);
    let said = text(&first.stdout);
    assert!(first.status.success() && said.matches(": done").count() == 3, "{said}{}", text(&first.stderr));
    let summary = fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(summary.contains("| tower gait linear | ") && summary.contains("gait-1-epochs:"), "{summary}");
    let again = sweeps("1", &[]);
    assert!(again.status.success() && !text(&again.stdout).contains(": done"), "{}", text(&again.stdout));
    let other = text(&sweeps("2", &["--plan"]).stdout);
    assert!(other.contains("g  gait 2 epochs ") && !other.contains("1 epochs"), "{other}");

    let folder = out.join("g/bp-1-epochs");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let results = read("sweep.json");
    fs::write(folder.join("command.txt"), read("command.txt").replace("1e-3", "1e-2")).unwrap();
    let refused = sweeps("1", &[]);
    let said = text(&refused.stdout);
    assert!(refused.status.code() == Some(1) && said.contains("another command's: move it away"), "{said}");
    assert_eq!(read("sweep.json"), results);
}

/// A damaged line of a part that is not run ends the command before any training.
#[test]
fn damaged_metrics_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("c/8-hidden-bp/seed-1");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{\"event\":\n").unwrap();
    let Some(refused) = paper(dir.path(), &["--only", "d", "--epochs", "1"]) else { return };
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a line is damaged") && refused.stdout.is_empty(), "{}", text(&refused.stdout));
}

/// Without data there is no forecast.
#[test]
fn a_forecast_needs_data() {
    let dir = tempfile::tempdir().unwrap();
    let Some(refused) = paper_on(&dir.path().join("nowhere"), &dir.path().join("out"), &["--plan"]) else { return };
    let errors = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && errors.contains("nowhere"), "{errors}");
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (words, cause) in [
        (&["--only", "a,z"][..], "there is no part z: use a, b"),
        (&["--jobs", "0"], "at least 1"),
        (&["--epochs", "0"], "at least 1"),
        (&["--program", "nowhere/gaitprop"], "cargo build --release"),
    ] {
        let Some(refused) = paper(&out, words) else { return };
        let errors = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && errors.contains(cause), "{words:?}: {errors}");
    }
    assert!(!out.exists(), "nothing is written");
    fs::write(&out, "a file").unwrap();
    let refused = paper(&out, &[]).unwrap();
    assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains("out: File exists"), "{}", text(&refused.stderr));
}
