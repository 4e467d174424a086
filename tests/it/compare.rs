//! `gaitprop compare` and `gaitprop sweep` from outside: each of their runs is `train`'s, choices never see the test set, and tables say what metrics say.

use crate::program::folder::snapshot;
use crate::program::program;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gaitprop::data::{self, Features, LoadOptions, npz};
use serde_json::Value;
use tempfile::TempDir;

/// Networks and a share of the digits that train in a few milliseconds.
const SMALL: &str = "--width 32 --hidden 1 --limit-train 240 --epochs 2";
/// The same for as many epochs as are said.
const BARE: &str = "--width 32 --hidden 1 --limit-train 240";

fn run(dir: &Path, line: &str) -> Output {
    program(dir, line).output().expect("the program starts")
}

/// Standard output of a run that goes well: no byte on standard error.
#[track_caller]
fn well(dir: &Path, line: &str) -> String {
    let out = run(dir, line);
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(0) && err.is_empty(), "`{line}` exits with {:?}: {err}", out.status.code());
    String::from_utf8(out.stdout).unwrap()
}

/// A run that fails with one line holding all `causes`, prints nothing and leaves `dir` as it was.
#[track_caller]
fn fails(dir: &Path, line: &str, causes: &[&str]) {
    let before = snapshot(dir);
    let out = run(dir, line);
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(matches!(out.status.code(), Some(1 | 2)), "`{line}` exits with {:?}: {err}", out.status.code());
    assert!(err.starts_with("error: ") && !err.contains("panicked"), "`{line}` says {err:?}");
    // clap's take more.
    assert!(out.status.code() == Some(2) || err.lines().count() == 1, "`{line}` says {err:?}");
    assert!(out.stdout.is_empty(), "`{line}` prints, though it fails");
    for cause in causes {
        assert!(err.contains(cause), "`{line}` does not say {cause:?}: {err}");
    }
    assert!(snapshot(dir) == before, "`{line}` fails, but changes files");
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Metrics without what a clock or a machine says.
fn timeless(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in lines.iter_mut().map(|line| line.as_object_mut().unwrap()) {
        for key in ["seconds", "samples_per_second", "threads"] {
            line.remove(key);
        }
    }
    lines
}

/// Rows of a CSV file by their first cells, as cells by heading. (No cell of these tests holds a comma, but errors, which come last.)
fn csv(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head: Vec<_> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| head.iter().map(|&h| h.to_owned()).zip(line.splitn(head.len(), ',').map(str::to_owned)).collect();
    lines.map(row).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights.safetensors")).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every run is what `train` makes of the same settings, whatever else runs at the same time; and all rules start alike.
#[test]
fn runs_are_those_of_train() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    well(
        dir.path(),
        &format!("compare --rules gait,bp,tp --seeds 2 --seed 4 {SMALL} --shuffle --grid bp.lr=0.002 --threads 3 --out all"),
    );
    for (rule, more) in [("gait", ""), ("bp", "--lr 0.002"), ("tp", "")] {
        for seed in [4, 5] {
            well(dir.path(), &format!("train {SMALL} --shuffle --rule {rule} {more} --seed {seed} --out {rule}{seed}"));
            let (ours, theirs) = (at(&format!("all/{rule}/seed-{seed}")), at(&format!("{rule}{seed}")));
            assert_eq!(weights(&ours), weights(&theirs), "{rule}, seed {seed}");
            assert_eq!(timeless(&ours), timeless(&theirs), "{rule}, seed {seed}");
            let config = |run: &Path| fs::read_to_string(run.join("config.toml")).unwrap();
            assert_eq!(config(&ours), config(&theirs), "{rule}, seed {seed}");
        }
    }
    assert_ne!(weights(&at("all/bp/seed-4")), weights(&at("all/bp/seed-5")));

    // Untrained, all rules have the same weights: those of the seed. (Only the notes beside them name the rule.)
    well(dir.path(), &format!("compare {BARE} --rules gait,bp,itp,tp,fa,dfa --epochs 0 --out start"));
    let tensors = |run: &Path| {
        let bytes = weights(run);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<_> = tensors.iter().map(|(name, t)| (name.to_owned(), t.data().to_vec())).collect();
        all.sort();
        all
    };
    let rules: Vec<_> =
        fs::read_dir(at("start")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("seed-1").is_dir()).collect();
    assert!(rules.len() >= 4);
    for rule in &rules {
        assert_eq!(tensors(&rule.join("seed-1")), tensors(&at("start/bp/seed-1")), "{}", rule.display());
    }
}

/// The table's figures, computed again from metrics: to the last bit.
#[test]
fn the_table_says_what_metrics_say() {
    let dir = TempDir::new().unwrap();
    let line = format!("compare --rules gait,bp --seeds 3 {BARE} --epochs 3 --limit-test 97");
    let printed = well(dir.path(), &format!("{line} --out all"));
    let at = |path: &str| dir.path().join("all").join(path);
    let text = fs::read_to_string(at("table.txt")).unwrap();
    assert!(printed.starts_with(&text) && printed.contains("pictures: all"), "{printed}");

    let rows = csv(&at("table.csv"));
    let summary = json(&at("compare.json"));
    for (row, rule) in rows.iter().zip(["gait", "bp"]) {
        let runs: Vec<_> = (1..=3).map(|seed| metrics(&at(&format!("{rule}/seed-{seed}")))).collect();
        let number = |value: &Value| value.as_f64().unwrap();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let of = |name: &str| -> Vec<f64> {
            let one = |run: &Vec<Value>| {
                let (end, epochs) = run.split_last().unwrap();
                let epochs: Vec<_> = epochs.iter().filter(|line| line["event"] == "epoch").collect();
                assert!(end["event"] == "end" && epochs.len() == 3);
                let tests: Vec<_> = epochs.iter().map(|e| number(&e["test_accuracy"])).collect();
                let peak = tests.iter().copied().fold(0.0, f64::max);
                match name {
                    "peak_test_accuracy" => peak,
                    "peak_epoch" => 1.0 + tests.iter().position(|&x| x == peak).unwrap() as f64,
                    "final_test_accuracy" => number(&end["test_accuracy"]),
                    "final_test_loss" => number(&end["test_loss"]),
                    "peak_train_accuracy" => {
                        let end = number(&end["train_accuracy"]);
                        epochs.iter().map(|e| number(&e["train_accuracy"])).fold(end, f64::max)
                    }
                    "final_train_accuracy" => number(&end["train_accuracy"]),
                    "seconds_per_epoch" => mean(&epochs.iter().map(|e| number(&e["seconds"])).collect::<Vec<_>>()),
                    "cosine_with_bp_first_layer" => {
                        mean(&epochs.iter().map(|e| number(&e["cosine_with_bp"][0])).collect::<Vec<_>>())
                    }
                    "offdiag" => mean(&end["offdiag"].as_array().unwrap().iter().map(number).collect::<Vec<_>>()),
                    other => panic!("{other}?"),
                }
            };
            runs.iter().map(one).collect()
        };
        assert_eq!((row["rule"].as_str(), row["runs"].as_str(), row["failed"].as_str()), (rule, "3", "0"));
        let names = [
            "peak_test_accuracy",
            "peak_epoch",
            "final_test_accuracy",
            "final_test_loss",
            "peak_train_accuracy",
            "final_train_accuracy",
            "seconds_per_epoch",
            "cosine_with_bp_first_layer",
            "offdiag",
        ];
        for name in names {
            let values = of(name);
            let average = mean(&values);
            let sd = (values.iter().map(|x| (x - average) * (x - average)).sum::<f64>() / 2.0).sqrt();
            let got = ["mean", "sd"].map(|what| row[&format!("{name}_{what}")].parse::<f64>().unwrap());
            assert_eq!(got, [average, sd], "{rule}: {name} of {values:?}");
            let shown = format!("{:.2} ± {:.2}", 100.0 * average, 100.0 * sd);
            assert!(!name.ends_with("accuracy") || text.contains(&shown), "{shown} is not in {text}");
        }
        assert_eq!(row["final_validation_accuracy_mean"], "");
        let group = summary["rules"].as_array().unwrap().iter().find(|g| g["name"]["rule"] == rule).unwrap();
        let finals: Vec<_> = group["runs"].as_array().unwrap().iter().map(|r| number(&r["final_test_accuracy"])).collect();
        assert_eq!(finals, of("final_test_accuracy"));
    }

    // Without a folder the same is printed, but for the clock.
    let bare = well(dir.path(), &line);
    let cells = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.starts_with("pictures"));
        let cells = lines.map(|l| l.split("   ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>());
        // The second table: names, seconds, cosine, |offdiag|.
        let clock = |row: &Vec<String>| row.len() == 6;
        cells.map(|row| if clock(&row) { [&row[..3], &row[4..]].concat() } else { row }).collect()
    };
    assert_eq!(cells(&bare), cells(&printed));
}

/// The digits, with other test labels if asked.
fn digits(path: &Path, change: impl Fn(usize, u32) -> u32) {
    let digits = data::load("digits", &LoadOptions::default()).unwrap();
    let values = |x: &Features| -> Vec<f64> { (0..x.len()).map(|i| x.get(i)).collect() };
    let labels = |labels: &[u32]| -> Vec<f64> { labels.iter().map(|&l| f64::from(l)).collect() };
    let test: Vec<u32> = digits.test.labels.iter().enumerate().map(|(i, &l)| change(i, l)).collect();
    let (x, x_test) = (values(&digits.train.x), values(&digits.test.x));
    let (y, y_test) = (labels(&digits.train.labels), labels(&test));
    let n = digits.features;
    npz::write(
        path,
        &[
            ("x", &[y.len(), n][..], &x[..]),
            ("y", &[y.len()], &y),
            ("x_test", &[y_test.len(), n], &x_test),
            ("y_test", &[y_test.len()], &y_test),
        ],
    )
    .unwrap();
}

/// What is chosen is best on held-out training samples, each try judged as a run of `train` that holds them out; test samples have no say.
#[test]
fn settings_are_chosen_by_validation_samples_alone() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    digits(&at("true.npz"), |_, label| label);
    digits(&at("false.npz"), |i, _| (i % 10) as u32);
    let line = format!(
        "compare --rules bp,gait --seeds 2 {SMALL} --grid lr=1e-6,1e-3,gait.lambda=0.1,0 --grid-seeds 2 --grid-epochs 3 --data"
    );
    let table = well(dir.path(), &format!("{line} true.npz --out true"));
    well(dir.path(), &format!("{line} false.npz --out false"));
    let grid = |set: &str| fs::read_to_string(at(set).join("grid.csv")).unwrap();
    assert_eq!(grid("true"), grid("false"));
    assert_eq!(weights(&at("true/gait/seed-2")), weights(&at("false/gait/seed-2")));
    assert!(json(&at("true/compare.json")) != json(&at("false/compare.json")));
    // 240 training samples: a sixth judges, and all are learned at last.
    assert!(table.contains("240 train, 359 test") && table.contains("40 validation samples"), "{table}");

    let rows = csv(&at("true/grid.csv"));
    assert_eq!(rows.len(), 2 + 4);
    for rule in ["bp", "gait"] {
        let points: Vec<_> = rows.iter().filter(|row| row["rule"] == rule).collect();
        let mut best: Option<((f64, f64), String, String)> = None;
        for row in &points {
            let lambda = if row["lambda"].is_empty() { String::new() } else { format!("--lambda {}", row["lambda"]) };
            let (mut accuracy, mut loss) = (0.0, 0.0);
            for seed in [1, 2] {
                let train =
                    format!("train --rule {rule} {BARE} --epochs 3 --validation 40 --lr {} {lambda} --seed {seed}", row["lr"]);
                well(dir.path(), &format!("{train} --data true.npz --overwrite --out try"));
                let end = metrics(&at("try")).pop().unwrap();
                accuracy += end["validation_accuracy"].as_f64().unwrap() / 2.0;
                loss += end["validation_loss"].as_f64().unwrap() / 2.0;
            }
            assert_eq!(
                [&row["validation_accuracy"], &row["validation_loss"]].map(|x| x.parse::<f64>().unwrap()),
                [accuracy, loss]
            );
            if best.as_ref().is_none_or(|(key, ..)| (accuracy, -loss) > *key) {
                best = Some(((accuracy, -loss), row["lr"].clone(), row["lambda"].clone()));
            }
        }
        let (_, lr, lambda) = best.unwrap();
        let chosen: Vec<_> = points.iter().filter(|row| row["chosen"] == "yes").collect();
        assert_eq!(chosen.len(), 1);
        assert_eq!((&chosen[0]["lr"], &chosen[0]["lambda"]), (&lr, &lambda), "{rule}");
        let config: toml::Table = fs::read_to_string(at("true").join(rule).join("seed-2/config.toml")).unwrap().parse().unwrap();
        assert_eq!(config["lr"].as_float().unwrap(), lr.parse::<f64>().unwrap());
        assert!(!config.contains_key("validation") && config["epochs"].as_integer() == Some(2), "{config}");
    }

    // Held out of all runs if that is said, and then of the final ones too.
    let table = well(dir.path(), &format!("compare --rules bp --seeds 1 {SMALL} --grid lr=1e-4,1e-3 --validation 60 --out held"));
    assert!(table.contains("180 train, 60 validation, 359 test") && table.contains("final valid. %"), "{table}");
    well(dir.path(), &format!("train --rule bp {SMALL} --lr 1e-3 --validation 60 --out held-train"));
    assert_eq!(weights(&at("held/bp/seed-1")), weights(&at("held-train")));
}

/// What has come to its end is read, what has not begins anew, and the result is that of a comparison that was never stopped.
#[test]
fn a_comparison_goes_on_where_it_stopped() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join("all").join(path);
    let line = format!("compare --rules bp,gait {SMALL} --grid lr=1e-4,1e-3 --out all");
    well(dir.path(), &format!("{line} --seeds 2"));
    let seconds = |path: &str| metrics(&at(path)).last().unwrap()["seconds"].as_f64().unwrap();
    let (kept, whole) = (seconds("gait/seed-1"), weights(&at("gait/seed-2")));
    let (grid, tried) = (fs::read(at("grid.csv")).unwrap(), fs::read_to_string(at("grid.jsonl")).unwrap());
    let final_test = |row: usize| csv(&at("table.csv"))[row]["final_test_accuracy_mean"].clone();
    let finals = [final_test(0), final_test(1)];

    // One run has no last line, one is gone, one was interrupted, and the last try of the grid was cut in the middle of its line.
    let path = at("gait/seed-2/metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().take(2).map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    fs::write(at("gait/seed-2/weights.safetensors"), "half").unwrap();
    fs::remove_dir_all(at("bp/seed-1")).unwrap();
    let path = at("bp/seed-2/metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap().replace("\"interrupted\":false", "\"interrupted\":true");
    fs::write(&path, text).unwrap();
    fs::write(at("grid.jsonl"), &tried[..tried.len() - 9]).unwrap();
    fs::remove_file(at("grid.csv")).unwrap();
    well(dir.path(), &format!("{line} --seeds 2 --resume"));
    assert_eq!(seconds("gait/seed-1"), kept, "a run that was there is not trained again");
    assert_eq!(weights(&at("gait/seed-2")), whole);
    assert_eq!([final_test(0), final_test(1)], finals);
    assert!(fs::read(at("grid.csv")).unwrap() == grid);
    let mut lines =
        [tried, fs::read_to_string(at("grid.jsonl")).unwrap()].map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.iter_mut().for_each(|lines| lines.sort());
    assert_eq!(lines[0], lines[1]);

    // More seeds and another rule join; what is there stays.
    well(dir.path(), &format!("{} --seeds 3 --resume", line.replace("bp,gait", "bp,gait,tp")));
    assert_eq!(seconds("gait/seed-1"), kept);
    assert_eq!(csv(&at("table.csv")).len(), 3);
    assert!(at("tp/seed-3/weights.safetensors").exists());
    let file = "holds the results of `compare`";
    fails(dir.path(), &format!("{line} --seeds 2"), &[file, "--resume", "--overwrite"]);
    let other = "compare --rules bp,gait --width 32 --hidden 1 --limit-train 240 --epochs 3 --grid lr=1e-4,1e-3";
    fails(dir.path(), &format!("{other} --grid-epochs 2 --seeds 2 --out all --resume"), &["config.toml", "other settings"]);

    // Replaced, nothing of the old one is left.
    well(dir.path(), &format!("compare --rules bp --seeds 1 {SMALL} --out all --overwrite"));
    let mut left: Vec<_> = snapshot(&at("")).into_keys().map(|p| p.strip_prefix(at("")).unwrap().display().to_string()).collect();
    left.retain(|p| !p.starts_with("bp/seed-1/"));
    assert_eq!(left, ["bp", "bp/seed-1", "compare.json", "report.html", "table.csv", "table.txt"]);
}

/// A rule that cannot be trained is a row that says why; the others are as without it.
#[test]
fn a_run_that_fails_ends_no_other() {
    let dir = TempDir::new().unwrap();
    let line = format!(
        "compare --rules gait,bp --seeds 2 {SMALL} --grid gait.lr=1e30 --grid gait.lambda=0 --optimizer sgd --lr 0.01 --out all"
    );
    let out = run(dir.path(), &line);
    let (text, err) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(err.starts_with("error: every run of gait lr=1e30 lambda=0 failed: ") && err.lines().count() == 1, "{err}");
    assert!(
        text.contains("0/2")
            && text.contains("2/2")
            && text.contains("failed")
            && text.contains("\ngait lr=1e30 lambda=0, seed 2: "),
        "{text}"
    );
    let rows = csv(&dir.path().join("all/table.csv"));
    assert_eq!((rows[0]["failed"].as_str(), rows[0]["final_test_accuracy_mean"].as_str()), ("2", ""));
    assert!(!rows[0]["error"].is_empty() && rows[1]["error"].is_empty(), "{rows:?}");
    well(dir.path(), &format!("train --rule bp {SMALL} --optimizer sgd --lr 0.01 --out bp"));
    assert_eq!(weights(&dir.path().join("all/bp/seed-1")), weights(&dir.path().join("bp")));
    // A choice that cannot be trained is not chosen.
    well(dir.path(), &format!("compare --rules bp --seeds 1 {SMALL} --grid lr=1e30,1e-3 --optimizer sgd --out chosen"));
    let grid = csv(&dir.path().join("chosen/grid.csv"));
    assert_eq!((grid[0]["chosen"].as_str(), grid[1]["chosen"].as_str()), ("no", "yes"));
    assert!(grid[0]["error"].contains("diverged"), "{grid:?}");
}

/// A point that cannot be trained is a result of a sweep, which fails only if all of them do.
#[test]
fn a_point_that_fails_is_a_result_of_the_sweep() {
    let dir = TempDir::new().unwrap();
    let sweep = |rates: &str| run(dir.path(), &format!("sweep {SMALL} --rule bp --optimizer sgd --seeds 1 {rates}"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one = sweep("--grid lr=1e30,1e-3");
    assert_eq!((one.status.code(), text(&one.stderr)), (Some(0), String::new()));
    assert!(text(&one.stdout).contains("\nlr=1e30, seed 1: training diverged"), "{}", text(&one.stdout));
    // Without a grid there is nothing to name.
    for (rates, of, row) in [("--grid lr=1e30", " of lr=1e30", "lr=1e30, "), ("--lr 1e30", "", "")] {
        let all = sweep(rates);
        let err = text(&all.stderr);
        assert!(
            all.status.code() == Some(1) && err.starts_with(&format!("error: every run{of} failed: training diverged")),
            "{err}"
        );
        assert!(text(&all.stdout).contains(&format!("\n{row}seed 1: training diverged")), "{}", text(&all.stdout));
    }
}

/// A file of one rule brings none of its constants to the rules of a comparison.
#[test]
fn a_file_of_one_rule_leaves_others_their_constants() {
    let dir = TempDir::new().unwrap();
    well(dir.path(), &format!("train {SMALL} --rule kp --out kp"));
    well(dir.path(), "compare --rules kp,bp --seeds 1 --config kp/config.toml --out all");
    let read = |path: &str| fs::read_to_string(dir.path().join(path).join("seed-1/config.toml")).unwrap();
    assert!(read("all/kp").contains("weight-decay = 0.0003") && !read("all/bp").contains("weight-decay"), "{}", read("all/bp"));
    // Settings that replace those of the preset are noted.
    let noted = |line: &str| assert!(run(dir.path(), line).status.success(), "{line}");
    noted(&format!("train {SMALL} --preset paper-2020 --rule gait --out gait"));
    noted("compare --rules gait,bp --seeds 1 --config gait/config.toml --out old");
    assert!(read("old/gait").contains("init = \"xavier\"") && read("old/bp").contains("init = \"orthogonal\""));
}

/// The grid comes between flags and file: it replaces a file's constants, as flags do.
#[test]
fn a_grid_replaces_what_depends_on_it() {
    let dir = TempDir::new().unwrap();
    well(dir.path(), &format!("train {SMALL} --rule gait --out run"));
    let sweep = |grid: &str| {
        let line = format!("sweep --seeds 1 --config run/config.toml --grid {grid} --out swept --overwrite");
        well(dir.path(), &line);
        move |point: &str| -> toml::Table {
            let path = dir.path().join("swept").join(point).join("seed-1/config.toml");
            fs::read_to_string(path).unwrap().parse().unwrap()
        }
    };
    let of = sweep("optimizer=adam,sgd");
    assert_eq!(of("optimizer=adam")["beta2"].as_float(), Some(0.999));
    assert!(!of("optimizer=sgd").contains_key("beta2"));
}

/// The rate of learned inverses is that of rules that have some.
#[test]
fn rates_of_inverses_are_of_rules_with_targets() {
    let dir = TempDir::new().unwrap();
    let line = format!("compare --rules bp,gait --seeds 1 {SMALL} --inverse learned");
    well(dir.path(), &format!("{line} --grid inverse-lr=1e-3,1e-2 --out all"));
    let tried: Vec<_> = csv(&dir.path().join("all/grid.csv")).iter().map(|row| row["rule"].clone()).collect();
    assert_eq!(tried, ["gait", "gait"]);
    well(dir.path(), &format!("{line} --inverse-lr 1e-2 --out given"));
}

/// Folders of versions that lacked some options hold the same runs.
#[test]
fn a_comparison_of_an_earlier_version_goes_on() {
    let dir = TempDir::new().unwrap();
    let line = format!("compare --rules bp,gait --seeds 1 {SMALL} --grid lr=1e-4,1e-3 --out all");
    well(dir.path(), &line);
    let at = |path: &str| dir.path().join("all").join(path);
    let newer = ["beta1", "beta2", "epsilon", "stats-every", "ortho-layers", "hold"];
    for rule in ["bp", "gait"] {
        let path = at(rule).join("seed-1/config.toml");
        let text = fs::read_to_string(&path).unwrap();
        let kept = text.lines().filter(|line| newer.iter().all(|key| !line.starts_with(&format!("{key} ="))));
        let old: String = kept.chain(["orthogonal = \"none\"", "beside = \"none\""]).map(|line| format!("{line}\n")).collect();
        assert!(old.lines().count() == text.lines().count() - newer.len() + 2, "{text}");
        fs::write(&path, old).unwrap();
    }
    let tried = fs::read_to_string(at("grid.jsonl")).unwrap().replace("\"stats-every\":0,", "");
    fs::write(at("grid.jsonl"), &tried).unwrap();
    let before = fs::read(at("gait/seed-1/metrics.jsonl")).unwrap();
    well(dir.path(), &format!("{line} --resume"));
    assert!(fs::read(at("gait/seed-1/metrics.jsonl")).unwrap() == before, "trained again");
    assert_eq!(fs::read_to_string(at("grid.jsonl")).unwrap(), tried);
    fails(
        dir.path(),
        &format!("{line} --resume --beta2 0.5"),
        &["config.toml", "other settings (--beta2: it has 0.99, not 0.5)"],
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = TempDir::new().unwrap();
    well(dir.path(), &format!("train {SMALL} --rule bp --out single"));
    well(dir.path(), &format!("sweep {SMALL} --seeds 1 --rule bp --out swept"));
    fs::write(dir.path().join("file"), "").unwrap();
    for (line, causes) in [
        ("compare --rules bp,gait,bp", &["bp is given twice"][..]),
        ("compare --rules bp,magic", &["magic", "gait"]),
        ("compare --rule bp", &["--rules"]),
        ("compare --beside bp", &["--beside", "compare --rules"]),
        ("compare --seeds 0", &["--seeds 0"]),
        ("compare --seed 9223372036854775807 --seeds 2", &["largest number"]),
        ("compare --overwrite", &["--overwrite", "--out"]),
        ("compare --resume", &["--resume", "--out"]),
        ("compare --resume --overwrite --out x", &["--resume", "--overwrite"]),
        ("compare --resume --out x", &["no results of `compare`"]),
        ("compare --grid", &["--grid"]),
        ("compare --grid lr=1e-3,fast", &["fast", "--lr"]),
        ("compare --grid width=3,4", &["`width`", "lr, lambda"]),
        ("compare --grid lr=1e-3,1e-4 --lr 1e-3", &["--lr and --grid lr"]),
        ("compare --rules bp --grid gait.lr=1e-3", &["gait is not among the rules"]),
        ("compare --rules bp --grid lr=1e-3,0.001", &["the same for bp"]),
        ("compare --rules bp --grid lr=1e-3,-1", &["bp lr=-1", "learning rate"]),
        ("compare --grid-epochs 3", &["--grid-epochs", "several values"]),
        ("compare --rules bp --grid lr=1e-3,1e-4 --grid-seeds 0", &["--grid-seeds 0"]),
        ("compare --rules bp --grid lr=1e-3,1e-4 --limit-train 60", &["--validation 10", "batch"]),
        ("compare --threads 0", &["--threads must be"]),
        ("compare --data nowhere", &["nowhere"]),
        ("compare --out single", &["single", "single run"]),
        ("compare --out swept", &["results of `sweep`"]),
        ("compare --out file", &["is a file"]),
        ("sweep --grid seed=1,2", &["`seed`"]),
        ("sweep --grid speed=1,2", &["speed"]),
        ("sweep --grid bp.lr=1,2", &["bp is not among the rules"]),
        ("sweep --grid width=8,16 --layers 9-10", &["--layers", "--width"]),
        ("sweep --out swept", &["--resume", "--overwrite"]),
    ] {
        fails(dir.path(), line, causes);
    }
}

/// Results of other samples, be it one label in the test set, are not mixed with those of a folder.
#[test]
fn changed_data_is_not_gone_on_with() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data.npz");
    digits(&data, |_, label| label);
    for command in ["compare --rules bp", "sweep --rule bp --grid lr=1e-3,1e-4"] {
        let line = format!("{command} --seeds 1 {SMALL} --data data.npz --out all");
        well(dir.path(), &line);
        // The data as they were.
        well(dir.path(), &format!("{line} --resume"));
        for changed in [0, 250] {
            digits(&data, |i, label| if i == changed { (label + 1) % 10 } else { label });
            fails(dir.path(), &format!("{line} --resume"), &["all", "data set was changed"]);
        }
        digits(&data, |_, label| label);
        well(dir.path(), &format!("{line} --resume"));
        fs::remove_dir_all(dir.path().join("all")).unwrap();
    }
}

/// A report about runs that are gone would be believed to be about those that have come.
#[test]
fn a_replaced_comparison_takes_its_report_along() {
    let dir = TempDir::new().unwrap();
    well(dir.path(), &format!("compare --rules bp --seeds 1 {SMALL} --out all"));
    let at = |name: &str| dir.path().join("all").join(name);
    assert!(at("report.html").exists());
    // Targets of 1 lie on the edge of what tanh reaches: no run of it has anything to show.
    let out = run(dir.path(), &format!("compare --rules tp --activation tanh --seeds 1 {SMALL} --out all --overwrite"));
    assert_eq!(out.status.code(), Some(1));
    assert!(!at("report.html").exists());
}

/// A page that somebody else has put there is nobody's to replace; and what cannot be replaced is said before anything is.
#[test]
fn reports_that_are_not_of_the_comparison_stay() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join("all").join(name);
    let compare = format!("compare --rules bp --seeds 1 {SMALL} --out all");
    fs::create_dir(at("")).unwrap();
    fs::write(at("report.html"), "mine").unwrap();
    fails(dir.path(), &compare, &["all", "report.html", "not of `compare`"]);
    let sweep = format!("sweep --rule bp --grid lr=1e-3 --seeds 1 {SMALL} --out all");
    well(dir.path(), &sweep);
    well(dir.path(), &format!("{sweep} --overwrite"));
    assert_eq!(fs::read_to_string(at("report.html")).unwrap(), "mine");

    fs::remove_dir_all(at("")).unwrap();
    // A comparison without a page of its own, as one that ended too early: neither going on nor replacing touches what was put there.
    assert_eq!(
        run(dir.path(), &format!("compare --rules tp --activation tanh --seeds 1 {SMALL} --out all")).status.code(),
        Some(1)
    );
    fs::write(at("report.html"), "mine").unwrap();
    for how in ["--resume", "--overwrite"] {
        fails(dir.path(), &format!("{compare} {how}"), &["report.html", "not of `compare`"]);
    }
    assert_eq!(fs::read_to_string(at("report.html")).unwrap(), "mine");

    fs::remove_dir_all(at("")).unwrap();
    well(dir.path(), &compare);
    fs::remove_file(at("report.html")).unwrap();
    fs::create_dir(at("report.html")).unwrap();
    fails(dir.path(), &format!("{compare} --overwrite"), &["report.html", "not of `compare`"]);
}

/// Files of other origin with the command's file names are neither replaced nor removed. The command
/// refuses before it writes anything.
#[test]
fn files_that_no_command_has_written_stay() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join("all").join(name);
    let compare = format!("compare --rules bp --seeds 1 {SMALL} --grid lr=1e-4,1e-3 --out all");
    let sweep = format!("sweep --rule bp --grid lr=1e-3 --seeds 1 {SMALL} --out all");
    let is_refused = |line: &str, file: &str| {
        let before = snapshot(&at(""));
        fails(dir.path(), line, &[file, "another folder"]);
        assert!(snapshot(&at("")) == before, "`{line}` changes files");
    };
    for (line, files) in [
        (&compare, &["compare.json", "table.txt", "table.csv", "grid.csv", "grid.jsonl", "report.html"][..]),
        (&sweep, &["sweep.json", "table.txt", "table.csv"]),
    ] {
        for file in files {
            fs::create_dir(at("")).unwrap();
            fs::write(at(file), "{\"mine\": 1}\n").unwrap();
            is_refused(line, file);
            is_refused(&format!("{line} --overwrite"), file);
            fs::remove_dir_all(at("")).unwrap();
        }
        // In a folder of the command's too.
        well(dir.path(), line);
        for file in files {
            let ours = fs::read(at(file)).unwrap();
            fs::write(at(file), "{\"mine\": 1}\n").unwrap();
            ["--overwrite", "--resume"].iter().for_each(|how| is_refused(&format!("{line} {how}"), file));
            fs::write(at(file), ours).unwrap();
        }
        // Names that another command uses, unused names, and a folder named like a run.
        let mine = [Some("notes.txt"), Some("grid.csv").filter(|_| line == &sweep), Some("mine/seed-1/config.toml")];
        let mine = mine.into_iter().flatten().map(at).collect::<Vec<_>>();
        fs::create_dir_all(at("mine/seed-1")).unwrap();
        mine.iter().for_each(|path| fs::write(path, "mine = 1\n").unwrap());
        well(dir.path(), &format!("{line} --overwrite"));
        mine.iter().for_each(|path| assert_eq!(fs::read_to_string(path).unwrap(), "mine = 1\n", "{}", path.display()));
        fs::remove_dir_all(at("")).unwrap();
    }
    // Of a single run.
    let train = format!("train --rule bp {SMALL} --out all --overwrite");
    for file in ["config.toml", "metrics.jsonl", "weights.safetensors", "best.safetensors"] {
        fs::create_dir(at("")).unwrap();
        fs::write(at(file), "{\"mine\": 1}\n").unwrap();
        is_refused(&train, file);
        fs::remove_dir_all(at("")).unwrap();
    }
    fs::create_dir_all(at("checkpoints")).unwrap();
    fs::write(at("checkpoints/step-00000003.safetensors"), "mine").unwrap();
    ["", " --overwrite"].iter().for_each(|how| is_refused(&train.replace(" --overwrite", how), "checkpoints"));
    fs::remove_dir_all(at("")).unwrap();
    well(dir.path(), &train);
    well(dir.path(), &train);
    // A page.
    fs::write(dir.path().join("report.html"), "mine").unwrap();
    fails(dir.path(), "report all --overwrite", &["report.html", "-o"]);
    assert_eq!(fs::read_to_string(dir.path().join("report.html")).unwrap(), "mine");
}

/// An interrupt ends all runs after their steps; what has come to its end is in the table.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_table_and_can_be_gone_on_from() {
    let dir = TempDir::new().unwrap();
    let line = "compare --rules bp,gait --seeds 40 --width 32 --hidden 1 --epochs 20 --threads 2 --out all";
    let mut child = program(dir.path(), line).spawn().unwrap();
    let ended = |run: &str| fs::read_to_string(dir.path().join(run).join("metrics.jsonl")).is_ok_and(|t| t.contains("\"end\""));
    let start = Instant::now();
    while !(ended("all/bp/seed-1") && ended("all/gait/seed-1")) && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let code = child.wait().unwrap().code();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(code == Some(130) && out.stderr.is_empty(), "{code:?}: {text}");
    assert!(text.contains("runs are not finished; --resume trains what is left"), "{text}");
    let rows = csv(&dir.path().join("all/table.csv"));
    assert!(rows.iter().all(|row| row["runs"] != "0" && row["unfinished"] != "0"), "{rows:?}");
}

/// Every network of a sweep is `train`'s, on one thread or more; the table is sorted and says what metrics say.
#[test]
fn a_sweep_is_many_trainings() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    let line = "sweep --rule gait --limit-train 240 --epochs 2 --validation 40 --seeds 2 --grid lr=1e-4,1e-3 --grid layers=32-16,16-16-16";
    let text = well(dir.path(), &format!("{line} --threads 3 --out all"));
    assert!(text.contains("networks x samples/s"), "{text}");
    let mut finals = BTreeMap::new();
    for lr in ["1e-4", "1e-3"] {
        for layers in ["32-16", "16-16-16"] {
            let mut sum = 0.0;
            for seed in [1, 2] {
                let ours = at(&format!("all/lr={lr},layers={layers}/seed-{seed}"));
                let train = format!(
                    "train --rule gait --limit-train 240 --epochs 2 --validation 40 --lr {lr} --layers {layers} --seed {seed}"
                );
                well(dir.path(), &format!("{train} --overwrite --out one"));
                assert_eq!(weights(&ours), weights(&at("one")));
                assert_eq!(timeless(&ours), timeless(&at("one")));
                sum += metrics(&ours).pop().unwrap()["validation_accuracy"].as_f64().unwrap();
            }
            finals.insert((lr.to_owned(), layers.to_owned()), sum / 2.0);
        }
    }
    let rows = csv(&at("all/table.csv"));
    let column: Vec<f64> = rows.iter().map(|row| row["final_validation_accuracy_mean"].parse().unwrap()).collect();
    assert!(rows.len() == 4 && column.is_sorted_by(|a, b| a >= b), "{column:?}");
    for (row, accuracy) in rows.iter().zip(column) {
        assert_eq!(finals[&(row["lr"].clone(), row["layers"].clone())], accuracy);
    }
    // Read back whole, the same table; without a folder the same accuracies.
    let table = fs::read(at("all/table.csv")).unwrap();
    well(dir.path(), &format!("{line} --out all --resume"));
    assert!(fs::read(at("all/table.csv")).unwrap() == table);
    let bare = well(dir.path(), line);
    for part in text.lines().skip(2).take(4).flat_map(|l| l.split("   ").filter(|c| c.contains('±')).take(4)) {
        assert!(bare.contains(part.trim()), "{part} is not in {bare}");
    }
}
