//! Where results go.

use crate::cli::*;
use crate::program::folder::snapshot;
use std::fs;

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = empty();
    fs::write(dir.path().join("file"), "precious").unwrap();
    let mut folders = vec!["file", "file/sub"];
    if cfg!(target_os = "linux") {
        folders.push("/proc/nope/x");
    }
    for folder in folders {
        let cause = if folder == "file" { "is a file" } else { "cannot create the folder" };
        for overwrite in ["", "--overwrite"] {
            let line = format!("train {SMALL} --epochs 1 --out {folder} {overwrite}");
            fails(dir.path(), &line, &[folder, cause]);
        }
    }
}

#[test]
fn results_of_a_run_are_replaced_only_when_asked() {
    let dir = empty();
    let first = format!("train {SMALL} --epochs 1 --rule gait --out run");
    run(dir.path(), &first).well();
    let before = snapshot(dir.path());
    let second = format!("{first} --seed 2");
    fails(dir.path(), &second, &["run", "--overwrite"]);
    // Any of the files is reason enough.
    for name in ["config.toml", "metrics.jsonl", "weights.safetensors"] {
        let part = dir.path().join(name).with_extension("");
        fs::create_dir(&part).unwrap();
        fs::copy(dir.path().join("run").join(name), part.join(name)).unwrap();
        let folder = part.file_name().unwrap().to_str().unwrap();
        fails(dir.path(), &format!("train {SMALL} --epochs 1 --out {folder}"), &[name, "--overwrite"]);
        fs::remove_dir_all(&part).unwrap();
    }

    run(dir.path(), &format!("{second} --overwrite")).well();
    let after = snapshot(dir.path());
    assert!(before.keys().eq(after.keys()), "the same files: {:?}", after.keys());
    assert_eq!(settings(&dir.path().join("run"))["seed"].as_integer(), Some(2));
    assert_eq!(metrics(&dir.path().join("run")).len(), 2, "nothing of the first run is left");
    let path = dir.path().join("run/weights.safetensors");
    assert_ne!(before[&path], after[&path]);
}

#[test]
fn weights_that_cannot_be_replaced_leave_the_run_as_it_was() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let weights = dir.path().join("run/weights.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    let line = format!("train {SMALL} --epochs 1 --rule bp --seed 2 --out run");
    fails(dir.path(), &line, &["run", "--overwrite"]);
    fails(dir.path(), &format!("{line} --overwrite"), &["weights.safetensors"]);
}

#[test]
fn checkpoints_that_cannot_be_listed_leave_the_run_as_it_was() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let checkpoints = dir.path().join("run/checkpoints");
    fs::remove_dir_all(&checkpoints).unwrap();
    fs::write(&checkpoints, "mine").unwrap();
    fails(
        dir.path(),
        &format!("train {SMALL} --epochs 1 --rule bp --seed 2 --out run --overwrite"),
        &["checkpoints", "cannot list"],
    );
}

/// Opening a pipe to see what it holds would wait for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused_as_the_file_of_a_report() {
    let (dir, elsewhere) = (empty(), empty());
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let pipe = elsewhere.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let report = format!("report run -o {}", pipe.display());
    fails(dir.path(), &report, &["pipe", "already exists"]);
    fails(dir.path(), &format!("{report} --overwrite"), &["pipe", "was not written by gaitprop"]);
}

/// A run that was killed before its first line has empty metrics, beside options that it wrote.
#[test]
fn empty_metrics_do_not_make_files_of_others_those_of_a_run() {
    let dir = empty();
    let train = format!("train {SMALL} --epochs 1 --rule bp --out all/bp/seed-9 --overwrite");
    let compare = format!("compare {SMALL} --epochs 1 --rules bp --seeds 1 --out all --overwrite");
    run(dir.path(), &compare).well();
    let at = |file: &str| dir.path().join("all/bp/seed-9").join(file);
    for file in ["config.toml", "weights.safetensors", "best.safetensors", "checkpoints/step-00000003.safetensors"] {
        fs::create_dir_all(at(file).parent().unwrap()).unwrap();
        fs::write(at("metrics.jsonl"), "").unwrap();
        fs::write(at(file), "rule = \"bp\" # mine\n").unwrap();
        fails(dir.path(), &train, &["seed-9", "was not written by gaitprop"]);
        run(dir.path(), &compare).well();
        assert_eq!(fs::read_to_string(at(file)).unwrap(), "rule = \"bp\" # mine\n");
        fs::remove_dir_all(at("")).unwrap();
    }
    run(dir.path(), &train).well();
    fs::write(at("metrics.jsonl"), "").unwrap();
    run(dir.path(), &train).well();
    fs::write(at("metrics.jsonl"), "").unwrap();
    run(dir.path(), &compare).well();
    assert!(!at("").exists());
}

#[cfg(unix)]
#[test]
fn weights_that_cannot_be_written_whole_are_not_there() {
    let dir = empty();
    let line = format!("train {SMALL} --epochs 1 --rule bp --quiet --out run");
    run_within(FULL_DISK, dir.path(), &line).error(&["weights.safetensors", "cannot write"]);
    let out = dir.path().join("run");
    assert_eq!(names(&out), ["config.toml", "metrics.jsonl"], "neither weights nor a temporary file");
    assert_eq!(metrics(&out)[0]["event"], "epoch");
}

/// Sizes that could be held elsewhere, but not here.
#[cfg(target_os = "linux")]
#[test]
fn running_out_of_memory_is_an_error() {
    let dir = empty();
    if run_within(LITTLE_MEMORY, dir.path(), "info").code != Some(0) {
        return; // A sanitiser reserves more than that for itself.
    }
    let line = "train --width 25000 --hidden 1 --epochs 1 --threads 1 --rule bp --out run";
    run_within(LITTLE_MEMORY, dir.path(), line).error(&["memory"]);
    assert!(snapshot(dir.path()).is_empty(), "`{line}` fails, but leaves {:?}", names(dir.path()));
}
