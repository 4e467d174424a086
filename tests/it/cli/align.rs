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
    // Absolute targets take LU, whichever solver the other rule has.
    let other = aligned(dir.path(), "--rules gait:absolute,gait --inverse cg --values 6 --width 32 --batch 20 --dtype f64");
    assert!((number(&other[0], "cosine") - number(&theirs[0], "cosine")).abs() < 1e-2, "{other:?}");
    // The cosine of the first layer, and its angle.
    let table = run(dir.path(), "align --rules bp,fa --values 2 --width 32 --batch 20 --dtype f64 --threads 1").well();
    let figures = row(&table, "  W0");
    let angle = table.split("angle, degrees").nth(1).and_then(|part| part.lines().nth(1)).unwrap();
    let angle: f64 = angle.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((angle.to_radians().cos() - figures[0]).abs() < 2e-4 && angle > 10.0, "{table}");
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
fn align_also_compares_with_gauss_newton_updates() {
    let dir = empty();
    let cosines = |row: &Value| ["a", "b"].map(|of| row[format!("{of}_cosine_gauss_newton")].as_f64().unwrap_or(f64::NAN));
    // Ten units a layer, one for each class: ITP is Gauss-Newton, and BP is not.
    let line = "--rules itp,bp --width 10 --values 3 --gamma 0 --dtype f64";
    let rows = aligned(dir.path(), &format!("{line} --gauss-newton --csv rows.csv"));
    for row in &rows[..2] {
        let [itp, bp] = cosines(row);
        assert!(itp > 1.0 - 1e-9 && bp < 0.9, "{row}");
    }
    let csv = fs::read_to_string(dir.path().join("rows.csv")).unwrap();
    assert!(csv.lines().all(|line| line.split(',').count() == 11), "{csv}");
    assert!(
        csv.starts_with("a,b,over,layers,layer,layers,cosine,difference,ratio,a_cosine_gauss_newton,b_cosine_gauss_newton\n")
    );
    // Both dampings are in the file.
    let both = format!("{line} --inverse damped --damping 0.5 --gauss-newton --gauss-newton-damping 2 --json both.json");
    run(dir.path(), &format!("align {both} --quiet --threads 1")).well();
    let both: Value = serde_json::from_str(&fs::read_to_string(dir.path().join("both.json")).unwrap()).unwrap();
    assert_eq!((both["damping"].as_f64(), both["gauss_newton_damping"].as_f64()), (Some(0.5), Some(2.0)));
    // Much damping: the other way round. Float32 and training change neither.
    let damped = aligned(dir.path(), &format!("{line} --gauss-newton --gauss-newton-damping 1e6"));
    assert!(cosines(&damped[0])[1] > 1.0 - 1e-6 && cosines(&damped[0])[0] < 0.9, "{damped:?}");
    let trained = format!(
        "--rules gait,bp --over time --values 1 {} --gauss-newton --gauss-newton-damping 1e6",
        SMALL.replace(" --threads 1", "")
    );
    assert!(aligned(dir.path(), &trained).iter().all(|row| cosines(row)[1] > 1.0 - 1e-6));
    // Without the flag nothing changes.
    let plain = aligned(dir.path(), line);
    assert!(plain.iter().all(|row| row.as_object().unwrap().len() == 6) && rows[0]["cosine"] == plain[0]["cosine"], "{plain:?}");

    let table = |flags: &str| run(dir.path(), &format!("align {line} --quiet --threads 1 {flags}")).well();
    let (with, without) = (table("--gauss-newton"), table(""));
    assert!(with.contains("gn: Gauss-Newton, damping 0\n") && !without.contains("gn"), "{with}");
    let block = with.split("cos(gn) of itp:f64").nth(1).unwrap();
    assert_eq!(block.matches("1.0000").count(), 4, "{with}");
    assert!(block.contains("cos(gn) of bp:f64") && !with.contains("--gauss-newton-damping"), "{with}");
    // Rows of very unequal norms: their Jacobians have no full rank in f64.
    let far = "--rules bp,bp --over norms --values 8 --hidden 3 --width 12 --dtype f64 --quiet --threads 1 --gauss-newton";
    let far = run(dir.path(), &format!("align {far}")).well();
    assert!(far.contains("-: no Gauss-Newton update") && far.contains("--gauss-newton-damping gives one"), "{far}");
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
        ("--dense 16,12", &["over depth", "--width"]),
        ("--over gamma --dense 16,12", &["--dense", "--width"]),
        ("--over gamma --values 2", &["gamma is 2"]),
        ("--over norms --values -1", &["from orthogonality of -1"]),
        ("--over time --values 2,1", &["ascending"]),
        ("--over time --inverse learned", &["the inverses learn in training"]),
        ("--over time --rules kp,bp", &["kp learns its feedback in training"]),
        (
            "--over time --rules gait:absolute,bp --decor-lr 1e-3",
            &["rule gait:absolute:f32: absolute targets", "use the difference form"],
        ),
        ("--over time --rules bp,gait --inverse transpose --decor-lr 1e-3", &["its transpose is no inverse"]),
        ("--inverse learned", &["nothing to learn from outside a training"]),
        ("--over precision --values f16", &["unknown element type `f16`"]),
        ("--out run", &["--out", "--csv and --json"]),
        ("--gauss-newton --gauss-newton-damping -1", &["damping is -1", "at least 0"]),
        ("--gauss-newton --gauss-newton-damping nan", &["damping is NaN"]),
        ("--gauss-newton-damping 1", &["--gauss-newton"]),
        ("--random 0", &["--random 0", "1 feature"]),
        ("--random 99999999999999", &["out of range"]),
        ("--values 1 --csv missing/rows.csv", &["missing/rows.csv", "cannot write"]),
    ] {
        fails(dir.path(), &format!("align --width 16 --quiet {line}"), causes);
    }
    let absolute = "align --rules gait:absolute,gait --over gamma --dense 24,20 --inverse damped";
    fails(dir.path(), absolute, &["layer 1", "difference targets with --inverse damped"]);
}
