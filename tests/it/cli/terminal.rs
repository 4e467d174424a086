//! What is printed, and on what.

use crate::cli::*;
use crate::program::folder::snapshot;
use crate::program::program;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn selftest_checks_every_instruction_set_of_this_machine() {
    let dir = empty();
    for line in ["selftest --threads 1", "selftest --threads 2"] {
        let text = run(dir.path(), line).well();
        assert!(text.contains("every bit right") && !text.contains("WRONG"), "{text}");
        for isa in info("instruction sets") {
            assert!(text.contains(&format!("{isa} f32")) && text.contains(&format!("{isa} f64")), "{text}");
        }
    }
    fails(dir.path(), "selftest --threads 0", &["--threads must be at least 1"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    let train = format!("train {SMALL} --epochs 1 --out run");
    for line in ["info", "--help", "--version", "train --help", &train, "eval run", "update in.npz out.npz --rule gait"] {
        let output = program(dir.path(), line).stdout(closed_pipe()).output().unwrap();
        Ran::new(line, output).well();
    }
    assert_eq!(metrics(&dir.path().join("run")).len(), 2);
    assert!(read_npz(&dir.path().join("out.npz")).contains_key("dW1"));
    // Nor does it matter who reads the errors.
    for (line, code) in [("train --rule foo", 2), ("train --lr -1", 1)] {
        let status = program(dir.path(), line).stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let dir = empty();
    let train = format!("train {SMALL} --epochs 1");
    for line in ["info", &train] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = program(dir.path(), line).stdout(full).output().unwrap();
        Ran::new(line, output).error(&["standard output"]);
    }
}

#[test]
fn help_and_version_are_printed() {
    let dir = empty();
    assert_eq!(run(dir.path(), "--version").well(), format!("gaitprop {}\n", env!("CARGO_PKG_VERSION")));
    for (line, words) in [
        ("--help", &["Usage:", "train", "eval", "update", "info"][..]),
        ("train --help", &["--rule", "--gamma", "--lambda", "--config", "--out", "--overwrite", "[default: "]),
        ("eval --help", &["WEIGHTS", "--data"]),
        ("update --help", &["onehot", "--steps"]),
        ("info --help", &["--isa"]),
    ] {
        let text = run(dir.path(), line).well();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let text = run(dir.path(), "info").well();
    for what in ["version", "target", "instruction sets", "chosen", "tile f32", "tile f64", "blocking f32", "threads", "backends"]
    {
        assert!(text.lines().any(|line| line.starts_with(what)), "no {what}: {text}");
    }
    assert!(snapshot(dir.path()).is_empty());
}

/// Where the time went, phase by phase, adding up to all of it.
#[test]
fn a_profile_adds_up() {
    let dir = TempDir::new().unwrap();
    let out = run(dir.path(), &format!("train {SMALL} --epochs 1 --profile")).well();
    let table: Vec<_> = out.lines().skip_while(|line| !line.contains("ms a step")).skip(1).collect();
    let ms = |line: &str| line.split_whitespace().rev().nth(1).unwrap().parse::<f64>().unwrap();
    for phase in ["forward", "errors down", "exact regularizer", "gradient, optimizer", "all of it"] {
        assert!(table.iter().any(|line| line.starts_with(phase) && ms(line) > 0.0), "no {phase} in {out}");
    }
    let (all, parts) = table.split_last().unwrap();
    let sum: f64 = parts.iter().map(|line| ms(line)).sum();
    // Each figure is rounded to a microsecond.
    assert!((sum - ms(all)).abs() < 0.005, "{out}");
    let other = run(dir.path(), &format!("train {SMALL} --epochs 1")).well();
    assert!(!other.contains("ms a step"));
}

#[test]
fn completions_and_the_manual_know_every_flag() {
    let dir = empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &format!("completions {shell}")).well();
        let words = ["gaitprop", "train", "lambda", "completions", "cross-entropy", "cayley"];
        assert!(words.iter().all(|word| script.contains(word) || shell == "elvish"), "{shell}: {script}");
        if shell == "bash" {
            let file = dir.path().join("script");
            fs::write(&file, script).unwrap();
            // bash must be able to parse the script. Without bash, this is not checked.
            let read = Command::new("bash").arg("-n").arg(&file).output();
            assert!(read.is_err() || read.is_ok_and(|o| o.status.success() && o.stderr.is_empty()));
        }
    }
    run(dir.path(), "completions tcsh").error(&["tcsh", "bash"]);
    let page = |line: &str| run(dir.path(), line).well();
    assert!([".TH gaitprop 1", "gaitprop\\-train(1)", "gaitprop\\-man(1)"].iter().all(|word| page("man").contains(word)));
    let words = [".TH gaitprop-train 1", "\\-\\-lambda", "\\-\\-resume", "\\-\\-checkpoint\\-every"];
    assert!(words.iter().all(|word| page("man train").contains(word)), "{}", page("man train"));
    run(dir.path(), "man trian").error(&["trian", "train", "completions"]);
}
