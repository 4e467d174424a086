//! `gaitprop align`.

use crate::cli::*;
use serde_json::Value;
use std::fs;

#[test]
fn align_compares_two_rules_over_what_they_depend_on() {
    let dir = empty();
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    // Orthogonal weights and a tiny gamma: GAIT is BP; not so the published formula five layers down, even in f64.
    let ours = aligned(dir.path(), "--values 1,6 --width 32 --batch 20 --dtype f64 --gamma 1e-6");
    assert_eq!(ours.len(), 7);
    assert!(ours.iter().all(|row| number(row, "cosine") > 0.99999 && number(row, "difference") < 1e-3), "{ours:?}");
    let theirs = aligned(dir.path(), "--rules gait:absolute,gait --values 6 --width 32 --batch 20 --dtype f64");
    assert!(number(&theirs[0], "cosine") < 0.5 && number(&theirs[5], "difference") < 1e-15, "{theirs:?}");
    // The same by the flag, and in the table and the CSV.
    let flag =
        aligned(dir.path(), "--rules gait,gait --form absolute --values 6 --width 32 --batch 20 --dtype f64 --csv rows.csv");
    assert_eq!(theirs, flag);
    let csv = fs::read_to_string(dir.path().join("rows.csv")).unwrap();
    assert_eq!(csv.lines().count(), 7);
    assert!(csv.lines().nth(1).unwrap().starts_with("gait:absolute:f64,gait:f64,depth,6,0,6,"), "{csv}");

    let noise = aligned(dir.path(), "--over orthogonality --values 0,0.5 --hidden 1 --width 32 --gamma 0 --dtype f64");
    assert!(number(&noise[0], "difference") < 1e-12 && number(&noise[2], "difference") > 0.1, "{noise:?}");
    let norms = aligned(dir.path(), "--over norms --values 0,0.5 --hidden 1 --width 32 --gamma 0 --dtype f64");
    assert!(number(&norms[0], "difference") < 1e-12 && number(&norms[2], "difference") > 0.1, "{norms:?}");
    let precision = aligned(dir.path(), "--rules gait,gait --over precision --hidden 1 --width 32");
    assert!(number(&precision[0], "difference") > 1e-9 && number(&precision[0], "difference") < 1e-5, "{precision:?}");
    assert_eq!(number(&precision[2], "difference"), 0.0);
    let gammas = aligned(dir.path(), "--over gamma --values 0,1 --random 12 --hidden 2");
    assert!(number(&gammas[0], "difference") < 1e-5 && number(&gammas[3], "difference") > 0.01, "{gammas:?}");
    let time = aligned(dir.path(), &format!("--rules bp,fa --over time --values 0,3 {}", SMALL.replace(" --threads 1", "")));
    assert!(time.len() == 6 && time[0] != time[3] && number(&time[2], "difference") == 0.0, "{time:?}");
    assert_eq!(names(dir.path()), ["rows.csv", "rows.json"]);
}

#[test]
fn align_says_what_it_cannot_compare() {
    let dir = empty();
    for (line, causes) in [
        ("--rules gait", &["--rules takes two rules", "not 1"][..]),
        ("--rules gait,lms", &["unknown rule `lms`", "brsf or kp"]),
        ("--rules gait:exact,bp", &["rule `gait:exact`", "`exact` is not one of"]),
        ("--rules bp:absolute,gait", &["bp:absolute", "bp sends no targets"]),
        ("--over phase", &["'phase'", "depth, time"]),
        ("--values 0", &["0 layers"]),
        ("--values two", &["`two` is not a number of layers"]),
        ("--values 3 --hidden 2", &["over depth", "--width"]),
        ("--over gamma --values 2", &["gamma is 2"]),
        ("--over norms --values -1", &["from orthogonality of -1"]),
        ("--over time --values 2,1", &["ascending"]),
        ("--over precision --values f16", &["unknown element type `f16`"]),
        ("--out run", &["--out", "--csv and --json"]),
        ("--random 0", &["--random 0", "1 feature"]),
        ("--random 99999999999999", &["out of range"]),
        ("--values 1 --csv missing/rows.csv", &["missing/rows.csv", "cannot write"]),
    ] {
        fails(dir.path(), &format!("align --width 16 --quiet {line}"), causes);
    }
}
