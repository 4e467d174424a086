//! Kills `compare` and `sweep` at any system call. With `--resume` they give the results of an
//! uninterrupted command.

use crate::program::folder::snapshot;
use crate::program::inject::{Fault, faults, with_fault};
use crate::program::program;
use crate::program::room::room;
use crate::program::runs::{assert_same, text};
use gaitprop::rng::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const RUNS: &str =
    "--width 12 --hidden 1 --limit-train 60 --limit-test 20 --batch 20 --threads 1 --epochs 2 --seeds 2 --quiet --out all";

fn well(dir: &Path, line: &str) {
    let output = program(dir, line).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", text(&output.stderr));
}

/// Folders of the runs, by name.
fn runs(all: &Path) -> Vec<PathBuf> {
    let found = snapshot(all).into_keys().filter(|path| path.file_name().is_some_and(|name| name == "config.toml"));
    found.map(|path| path.parent().unwrap().strip_prefix(all).unwrap().to_owned()).collect()
}

/// Files of the command itself, without the seconds in them: cells of tables by column, trials in any order.
fn tables(all: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let mut left = BTreeMap::new();
    for file in ["table.csv", "grid.csv", "grid.jsonl"] {
        let Ok(text) = fs::read_to_string(all.join(file)) else { continue };
        let mut lines: Vec<String> = if file == "table.csv" {
            let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
            let lasting = (0..rows[0].len()).filter(|&c| !rows[0][c].contains("seconds"));
            lasting.map(|c| rows.iter().map(|row| row[c]).collect::<Vec<_>>().join(",")).collect()
        } else {
            text.lines().map(str::to_owned).collect()
        };
        lines.sort();
        left.insert(file, lines);
    }
    left
}

/// Number of kills: `GAITPROP_KILL_TRIALS`, or ten. Each hits a random call. Half of them also hit the
/// resumed command.
fn killed(command: &str) {
    let Some(faults) = faults() else { return };
    let trials: u64 = std::env::var("GAITPROP_KILL_TRIALS").map_or(10, |n| n.parse().expect("GAITPROP_KILL_TRIALS is a number"));
    let line = format!("{command} {RUNS}");
    let (_whole, whole) = room();
    well(&whole, &line);
    let whole = whole.join("all");
    assert!(runs(&whole).len() >= 4, "{:?}", runs(&whole));
    let mut rng = Rng::new(std::process::id().into(), 0);
    // Calls of the whole command, found by the first kill that comes too late.
    let mut calls = 400;
    let mut kills = 0;
    while kills < trials {
        let (_dir, dir) = room();
        let all = dir.join("all");
        let mut now = line.clone();
        let mut case = String::new();
        for _ in 0..1 + kills % 2 {
            let at = 1 + rng.below(calls) as usize;
            let fault = Fault { calls: "open,write,sync,rename,truncate,mkdir,unlink", at, stays: false, what: "kill" };
            let (output, hit) = with_fault(faults, &dir, fault, &now);
            let Some(hit) = hit else {
                assert!(output.status.success() && at > 60, "after {at} calls: {}", text(&output.stderr));
                calls = at as u64;
                break;
            };
            assert_eq!(output.status.code(), Some(128 + 9), "{now}: {}", text(&output.stderr));
            case += &format!("; killed at call {at}, {}", hit.replace(dir.to_str().unwrap(), ""));
            kills += 1;
            if all.join(format!("{}.json", command.split(' ').next().unwrap())).exists() {
                now = format!("{line} --resume");
            }
        }
        if all.join(format!("{}.json", command.split(' ').next().unwrap())).exists() {
            now = format!("{line} --resume");
        }
        let output = program(&dir, &now).output().unwrap();
        assert!(output.status.success(), "`{now}`{case}: {}", text(&output.stderr));
        assert_eq!(runs(&all), runs(&whole), "{case}");
        runs(&all).iter().for_each(|run| assert_same(&all.join(run), &whole.join(run), &case));
        assert_eq!(tables(&all), tables(&whole), "{case}");
        let left: Vec<_> = snapshot(&all).into_keys().filter(|path| path.to_string_lossy().ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{case} leaves {left:?}");
    }
    println!("{kills} kills within `{command}`");
}

#[test]
fn a_comparison_that_is_killed_goes_on() {
    killed("compare --rules bp,gait --grid lr=1e-4,1e-3");
}

#[test]
fn a_sweep_that_is_killed_goes_on() {
    killed("sweep --rule gait --grid lr=1e-4,1e-3");
}
