//! `gaitprop report`: what it reads, what it makes of it, and that nothing is left half-written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::page::downloads;
use gaitprop::data::{self, LoadOptions, Scaling};
use gaitprop::init::Init;
use gaitprop::kernels::Plan;
use gaitprop::report::{self, Group};
use gaitprop::weights::{self, Notes};
use gaitprop::{Architecture, Network};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of results with these settings and lines, and weights if wanted.
fn run(dir: &Path, config: &str, lines: &[Value], weights: bool) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.toml"), config).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(dir.join("metrics.jsonl"), text).unwrap();
    if weights {
        let digits = data::load("digits", &LoadOptions::default()).unwrap();
        let shape = Architecture::square(64, 24, 1, 10).unwrap();
        let net = Network::<f32>::random(&shape, Init::Orthogonal, 1, &Plan::new()).unwrap();
        let notes = Notes { loss: "squared".into(), rule: "gait".into(), inputs: digits.affine(Scaling::Unit) };
        weights::save(&dir.join("weights.safetensors"), &net, &notes).unwrap();
    }
}

fn config(rule: &str, seed: u64, rest: &str) -> String {
    format!("data = \"digits\"\nrule = \"{rule}\"\nseed = {seed}\nthreads = {seed}\n{rest}\n")
}

/// A line of an epoch whose figures have no short decimal form.
fn epoch(number: u32, x: f64) -> Value {
    let x = x / 3.0;
    json!({
        "event": "epoch", "epoch": number, "rule": "gait", "train_loss": x, "train_accuracy": 1.0 - x / 7.0, "test_loss": x * 1.1,
        "test_accuracy": 1.0 - x / 5.0, "cosine_with_bp": [1.0 - x / 11.0, 1.0], "ratio_to_bp": [1.0 + x, 1.0], "offdiag": [x / 13.0, x * 1e-9],
        "solve_residual": x * 1e-4, "solve_products_per_step": 3.0 + x, "seconds": 0.1, "of_another_version": {"a": [1]}
    })
}

fn end(accuracy: f64) -> Value {
    json!({
        "event": "end", "epochs": 3, "steps": 72, "rule": "gait", "train_loss": 0.1, "train_accuracy": 0.99, "test_loss": 0.2,
        "test_accuracy": accuracy, "interrupted": false, "cosine_with_bp": [0.9, 1.0], "ratio_to_bp": [1.1, 1.0], "offdiag": [0.1, 0.2],
        "seconds": 1.5, "isa": "avx2", "backend": "native", "threads": 2
    })
}

fn epochs(x: f64) -> Vec<Value> {
    (1..=3).map(|e| epoch(e, x / f64::from(e))).collect()
}

fn with_end(x: f64, accuracy: f64) -> Vec<Value> {
    epochs(x).into_iter().chain([end(accuracy)]).collect()
}

/// Two rules with three and two seeds, laid out as a comparison writes them.
fn comparison() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (rule, seeds) in [("bp", 2), ("gait", 3)] {
        for seed in 1..=seeds {
            let folder = dir.path().join(format!("runs/{rule}/seed-{seed}"));
            run(&folder, &config(rule, seed, "lr = 0.0001"), &with_end(seed as f64, 0.9 + 0.01 * seed as f64), true);
        }
    }
    dir
}

fn groups(dir: &Path) -> Vec<Group> {
    report::group(report::find(&[dir.to_owned()]).unwrap())
}

/// A page, and the files that can be saved from it.
#[derive(PartialEq)]
struct Report {
    html: String,
    files: Vec<(String, String)>,
}

fn made(dir: &Path) -> Report {
    made_with(dir, 2)
}

fn made_with(dir: &Path, threads: usize) -> Report {
    let html = report::html(&groups(dir), &Plan::new(), threads, &mut |_, _, _| {});
    Report { files: downloads(&html), html }
}

fn file<'r>(report: &'r Report, name: &str) -> &'r str {
    let found = report.files.iter().find(|(n, _)| n == name);
    &found.unwrap_or_else(|| panic!("no {name} in {:?}", report.files.iter().map(|f| &f.0).collect::<Vec<_>>())).1
}

/// Every chart parses, in the page and as a file, has a title and a description, and draws something.
fn check_charts(report: &Report) {
    let mut charts = 0;
    for (name, text) in report.files.iter().filter(|(name, _)| name.ends_with(".svg")) {
        let xml = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let root = xml.root_element();
        assert_eq!((root.tag_name().name(), root.tag_name().namespace()), ("svg", Some("http://www.w3.org/2000/svg")));
        let has = |tag: &str| root.descendants().any(|n| n.has_tag_name(("http://www.w3.org/2000/svg", tag)));
        assert!(has("title") && has("desc") && has("path"), "{name}");
        let stroked = |n: &roxmltree::Node<'_, '_>| {
            n.attribute("fill") == Some("none") && n.attribute("d").is_some_and(|d| d.starts_with('M'))
        };
        assert!(root.descendants().any(|n| stroked(&n)), "{name} has no line");
        let ids: BTreeSet<_> = root.descendants().filter_map(|n| n.attribute("id")).collect();
        assert!(root.attribute("aria-labelledby").unwrap().split(' ').all(|id| ids.contains(id)), "{name}");
        for bad in ["NaN", "inf"] {
            assert!(root.descendants().all(|n| n.attribute("d").is_none_or(|d| !d.contains(bad))), "{name} has {bad} in a path");
        }
        charts += 1;
    }
    let inline: Vec<&str> = report.html.split("<svg").skip(1).map(|s| s.split_inclusive("</svg>").next().unwrap()).collect();
    for svg in &inline {
        let text = format!("<svg{svg}");
        roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    }
    assert_eq!(inline.iter().filter(|svg| svg.contains("class=\"chart\"")).count(), charts);
}

/// Rows of simple comma-separated values (no quoted field), by column.
fn columns(csv: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert!(rows.iter().all(|row| row.len() == names.len()), "{csv}");
    names.iter().enumerate().map(|(i, name)| (*name, rows.iter().map(|row| row[i]).collect())).collect()
}

fn bits(fields: &[&str]) -> Vec<u64> {
    fields.iter().map(|f| f.parse::<f64>().unwrap_or_else(|e| panic!("{f}: {e}")).to_bits()).collect()
}

#[test]
fn what_differs_in_the_seed_alone_is_one_group() {
    let dir = comparison();
    let groups = groups(&dir.path().join("runs"));
    let found: Vec<_> = groups.iter().map(|g| (g.label.as_str(), g.seeds())).collect();
    assert_eq!(found, [("bp", "1, 2".to_owned()), ("gait", "1, 2, 3".to_owned())]);
    // Another learning rate is another group, and the labels say which is which.
    run(&dir.path().join("runs/more"), &config("gait", 1, "lr = 0.01"), &with_end(1.0, 0.8), false);
    let labels = || self::groups(dir.path()).into_iter().map(|g| g.label).collect::<Vec<_>>();
    assert_eq!(labels(), ["bp", "gait (lr 0.0001)", "gait (lr 0.01)"]);
    // A folder named twice, or inside another one named, counts once.
    let twice = report::find(&[dir.path().to_owned(), dir.path().join("runs/gait"), dir.path().join("runs/../runs")]).unwrap();
    assert_eq!(twice.len(), 6);
    let report = made(dir.path());
    check_charts(&report);
    assert!(report.html.contains("gait (lr 0.01)"));
}

/// A training kept in two folders counts once. Runs that have not reached their end are counted
/// apart, and those of one seed that came to other results stay.
#[test]
fn copies_count_once_and_unfinished_runs_are_named() {
    let dir = TempDir::new().unwrap();
    let add = |folder: &str, seed, lines: &[Value]| run(&dir.path().join(folder), &config("gait", seed, ""), lines, false);
    add("a", 1, &with_end(1.0, 0.9));
    add("b", 1, &with_end(1.0, 0.9));
    add("c", 2, &with_end(1.0, 0.9));
    add("d", 1, &with_end(1.0, 0.8));
    add("e", 3, &epochs(1.0));
    // Of two copies the one with diagnostics is kept.
    let mut lines = with_end(1.0, 0.9);
    lines.push(json!({ "event": "diagnostics", "epoch": 1, "step": 7, "layers": [] }));
    add("b2", 1, &lines);
    let groups = groups(dir.path());
    assert_eq!((groups.len(), groups[0].seeds().as_str()), (1, "1, 1, 2, 3"));
    assert!(groups[0].runs.iter().any(|run| run.dir.ends_with("b2")));
    let summary = report::summary(&groups);
    assert!(summary.contains("4 (1 unfinished, 2 left out as copies)"), "{summary}");
    assert!(made(dir.path()).html.contains("4 (1 unfinished, 2 left out as copies)"));
}

/// Runs of `examples/paper` differ in more settings than a label holds.
#[test]
fn a_long_label_is_replaced_by_the_folder() {
    let dir = TempDir::new().unwrap();
    let labels = |folders: &[(&str, &str)]| {
        for (folder, rest) in folders {
            run(&dir.path().join(folder), &config("gait", 1, rest), &with_end(1.0, 0.9), false);
        }
        groups(dir.path()).into_iter().map(|g| g.label).collect::<Vec<_>>()
    };
    let settings = ["optimizer = \"adam\"\ninit = \"orthogonal\"", "optimizer = \"sgd\"\ninit = \"xavier\""];
    let one = [("b/tower-gait-orthogonal/seed-1", settings[0]), ("b/tower-gait-xavier/seed-1", settings[1])];
    assert_eq!(labels(&one), ["tower-gait-orthogonal", "tower-gait-xavier"]);
    // The rule is not a word of this folder's name, and its seed is another one.
    let other = ("b/other/gaiter/seed-2", "optimizer = \"sgd\"\ninit = \"orthogonal\"");
    assert_eq!(labels(&[other]), ["gait (other/gaiter)", "tower-gait-orthogonal", "tower-gait-xavier"]);
    let long = format!("b/{}/seed-1", "long".repeat(9));
    let numbered = labels(&[(&long, "optimizer = \"adam\"\ninit = \"xavier\"")]);
    assert_eq!(numbered, ["gait #1", "gait #2", "gait #3", "gait #4"]);
    // A folder inside the other one, or the same folder, does not distinguish.
    for pair in [["a", "a/b"], ["a/seed-1", "a/seed-2"]] {
        let dir = TempDir::new().unwrap();
        for (folder, rest) in pair.iter().zip(settings) {
            run(&dir.path().join(folder), &config("gait", 1, rest), &with_end(1.0, 0.9), false);
        }
        let labels: Vec<_> = groups(dir.path()).into_iter().map(|g| g.label).collect();
        assert_eq!(labels, ["gait #1", "gait #2"], "{pair:?}");
    }
}

#[test]
fn mean_deviation_and_peak_are_in_the_table_and_the_summary() {
    let dir = comparison();
    let report = made(dir.path());
    // 0.91, 0.92, 0.93: their mean, and a deviation of 0.01.
    assert!(report.html.contains("92.00 ± 1.00 %"), "{}", report.html);
    let summary = report::summary(&groups(dir.path()));
    let lines: Vec<&str> = summary.lines().collect();
    assert!(lines[1].starts_with("bp") && lines[1].contains("91.50 ± 0.71 %"), "{summary}");
    assert!(lines[2].starts_with("gait") && lines[2].contains("92.00 ± 1.00 %"), "{summary}");
    assert!(lines[1].ends_with(|c: char| "▁▂▃▄▅▆▇█".contains(c)), "{summary}");
    // The peak of an epoch: 1 − 1/3/3/5, 1 − 2/3/3/5.
    assert!(lines[1].contains("96.67 ± 1.57 %"), "{summary}");
    let table = columns(file(&report, "comparison.csv"));
    assert_eq!(bits(&table["test_accuracy"]), [0.91, 0.92, 0.91, 0.92, 0.93f64].map(f64::to_bits));
    assert_eq!(table["state"], ["finished"; 5]);
}

#[test]
fn data_files_hold_the_numbers_of_the_metrics() {
    let dir = comparison();
    let report = made(dir.path());
    let runs = report::find(&[dir.path().to_owned()]).unwrap();
    let lines = |run: &report::Run| -> Vec<Value> {
        let text = fs::read_to_string(run.dir.join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|line: &Value| line["event"] == "epoch").collect()
    };
    let said =
        |key: &str| -> Vec<u64> { runs.iter().flat_map(lines).map(|line| line[key].as_f64().unwrap().to_bits()).collect() };
    for (name, key) in [
        ("test-accuracy", "test_accuracy"),
        ("test-loss", "test_loss"),
        ("train-loss", "train_loss"),
        ("solve-residual", "solve_residual"),
    ] {
        let table = columns(file(&report, &format!("{name}.csv")));
        assert_eq!(bits(&table[key]), said(key), "{name}");
        assert_eq!(table["epoch"].concat(), "123".repeat(5));
        assert_eq!(table["seed"].concat(), "111222111222333");
    }
    // And those are the ones that were written.
    assert_eq!(said("train_loss")[..3], [1.0, 1.0 / 2.0, 1.0 / 3.0].map(|x: f64| (x / 3.0).to_bits()));
    let table = columns(file(&report, "offdiag-2.csv"));
    let lines = || runs.iter().filter(|run| run.rule == "gait").flat_map(lines);
    for (layer, name) in ["W0", "W1"].into_iter().enumerate() {
        assert_eq!(bits(&table[name]), lines().map(|l| l["offdiag"][layer].as_f64().unwrap().to_bits()).collect::<Vec<_>>());
    }
}

/// Statistics are points of the curves between epochs. Those of the training samples replace the
/// epochs', which are of another kind; at the end of an epoch its own line counts.
#[test]
fn statistics_are_points_within_epochs() {
    let dir = TempDir::new().unwrap();
    let stats = |epochs: f64, x: f64| {
        json!({
            "event": "stats", "epoch": 1, "step": (20.0 * epochs) as u64, "epochs": epochs, "rule": "gait", "train_loss": x, "train_accuracy": x,
            "test_loss": x, "test_accuracy": x, "cosine_with_bp": [x, 1.0], "ratio_to_bp": [x, 1.0], "offdiag": [x, x]
        })
    };
    let lines = [stats(0.5, 0.25), stats(1.0, 0.5), epoch(1, 0.3), stats(1.5, 0.75), epoch(2, 0.2), end(0.9)];
    run(&dir.path().join("run"), &config("gait", 1, ""), &lines, false);
    let report = made(dir.path());
    check_charts(&report);
    let of = |name: &str, column: &str| {
        let columns = columns(file(&report, name));
        columns["epoch"].iter().zip(&columns[column]).map(|(x, y)| format!("{x} {y}")).collect::<Vec<_>>()
    };
    let test = [lines[2]["test_accuracy"].to_string(), lines[4]["test_accuracy"].to_string()];
    let wanted = ["0.5 0.25", &format!("1 {}", test[0]), "1.5 0.75", &format!("2 {}", test[1])].map(str::to_owned);
    assert_eq!(of("test-accuracy.csv", "test_accuracy"), wanted);
    assert_eq!(of("train-loss.csv", "train_loss"), ["0.5 0.25", "1 0.5", "1.5 0.75"]);
    let cosine = of("cosine-1.csv", "W0");
    assert!(cosine.len() == 4 && cosine[2] == "1.5 0.75", "{cosine:?}");
    assert_eq!(of("solve-products.csv", "solve_products_per_step").len(), 2);
    // The angle of a cosine of 0.75 is 41.41 degrees.
    assert!(file(&report, "cosine-1.svg").contains("W0: 0.75 (41.41°), at 1.5"), "{}", file(&report, "cosine-1.svg"));
    assert!(!file(&report, "ratio-1.svg").contains('°'));
}

#[test]
fn singular_values_of_orthogonal_weights_are_one() {
    let dir = comparison();
    let report = made(dir.path());
    let table = columns(file(&report, "singular-values-1.csv"));
    assert_eq!(table["layer"], ["W0", "W1", "W0", "W1"]);
    let ranks: Vec<_> = table.iter().filter(|(name, _)| name.parse::<usize>().is_ok()).collect();
    assert_eq!(ranks.len(), 24);
    // Drawn orthogonal in f64, then rounded to f32: each element is off by at most 2⁻²⁵, the whole by at most √(64·24) times that.
    let bound = 2f64.powi(-25) * (64.0f64 * 24.0).sqrt() + 2f64.powi(-24);
    for (rank, values) in ranks {
        for value in values {
            let value: f64 = value.parse().unwrap();
            assert!((value - 1.0).abs() <= bound, "{rank}: {value}");
        }
    }
}

#[test]
fn examples_are_what_the_network_says() {
    let dir = comparison();
    let report = made(dir.path());
    let table = columns(file(&report, "examples.csv"));
    assert_eq!(table["label"].len(), 40);
    let digits = data::load("digits", &LoadOptions::default()).unwrap();
    for (sample, label) in table["test_sample"].iter().zip(&table["label"]) {
        assert_eq!(digits.test.labels[sample.parse::<usize>().unwrap()].to_string(), *label);
    }
    // Untrained weights are wrong mostly: ten wrong answers, the surest first, then right ones in order.
    let wrong: Vec<bool> = table["label"].iter().zip(&table["said"]).map(|(a, b)| a != b).collect();
    assert_eq!(wrong, [[true; 10], [false; 10], [true; 10], [false; 10]].concat());
    let sure: Vec<f64> = table["confidence"][..10].iter().map(|c| c.parse().unwrap()).collect();
    assert!(sure.is_sorted_by(|a, b| a >= b), "{sure:?}");
    assert_eq!(report.html.matches("<img ").count(), 40);
}

#[test]
fn a_run_without_its_end_counts_with_what_it_has() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("run");
    run(&folder, &config("gait", 1, ""), &epochs(1.0), false);
    let metrics = folder.join("metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    for rest in ["", "{\"event\":\"epoch\",\"epo", "\n\n"] {
        fs::write(&metrics, whole.clone() + rest).unwrap();
        let report = made(dir.path());
        assert!(file(&report, "comparison.csv").contains(",1,3,\"no last line"));
        check_charts(&report);
        for says in ["no last line", "no weights are saved", "98.89"] {
            // 1 − 1/5/3/3 of the last epoch is 97.78, the best too.
            assert_eq!(report.html.contains(says), says != "98.89", "{says}");
        }
        assert!(report.html.contains("97.78 %"));
    }
    // Nothing at all yet.
    for nothing in ["", "{\"event\":\"start\"}\n{\"event\":\"later\",\"epoch\":[1]}\n"] {
        fs::write(&metrics, nothing).unwrap();
        let report = made(dir.path());
        check_charts(&report);
        assert!(!report.html.contains("id=\"learning\""));
        assert_eq!(report::summary(&groups(dir.path())).lines().count(), 2);
    }
    // A damaged line in the middle is named.
    fs::write(&metrics, whole.replacen("\"epoch\":2", "\"epoch\" 2", 1)).unwrap();
    let error = report::find(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl: line 2 is damaged"), "{error}");
    // Of a run that went on after a crash, the later line of an epoch counts.
    fs::write(&metrics, whole.clone() + &format!("{}\n", epoch(2, 9.0))).unwrap();
    let again = groups(dir.path());
    let html = report::html(&again, &Plan::new(), 1, &mut |_, _, _| {});
    let files = downloads(&html);
    let losses = columns(&files.iter().find(|(name, _)| name == "train-loss.csv").unwrap().1);
    assert_eq!((losses["epoch"].concat().as_str(), losses["train_loss"][1]), ("123", "3"));
}

#[test]
fn numbers_that_are_none_leave_gaps() {
    let dir = TempDir::new().unwrap();
    let mut lines = epochs(1.0);
    lines[1]["test_loss"] = Value::Null;
    lines[1]["offdiag"] = json!([null, 1.0]);
    lines[0]["cosine_with_bp"] = json!([]);
    lines[2].as_object_mut().unwrap().remove("ratio_to_bp");
    lines[2]["test_accuracy"] = Value::Null;
    let layers = json!([{ "condition": null, "dead_units": 3 }, { "condition": 2.0 }, {}]);
    lines.push(json!({ "event": "diagnostics", "epoch": 1, "step": 7, "layers": layers }));
    lines.push(json!({ "event": "diagnostics", "epoch": 1, "step": 8 }));
    lines.push(json!({ "event": "end", "test_accuracy": null, "seconds": null, "of_another_version": null }));
    run(&dir.path().join("a"), &config("gait", 1, ""), &lines, false);
    let text = "{\"event\":\"epoch\",\"epoch\":1,\"test_loss\":null,\"offdiag\":[null]}\n{\"event\":\"of_another_version\",\"epoch\":[]}\n";
    run(&dir.path().join("b"), &config("gait", 2, ""), &[], false);
    fs::write(dir.path().join("b/metrics.jsonl"), text).unwrap();
    let report = made(dir.path());
    check_charts(&report);
    let losses = columns(file(&report, "test-loss.csv"));
    assert_eq!(losses["test_loss"][1], "");
    assert_eq!(losses["test_loss"][3], "");
    let conditions = columns(file(&report, "step-condition-1.csv"));
    assert_eq!((conditions["W0"][0], conditions["W1"][0], conditions["W2"][0]), ("", "2", ""));
    assert!(!report.html.contains(">NaN") && !report.html.contains(">inf"));
    report::summary(&groups(dir.path()));
}

/// Text of a configuration, of metrics, and names of folders can hold anything: it stays text.
#[test]
fn what_files_say_is_never_markup() {
    let dir = TempDir::new().unwrap();
    let evil = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=alert(3) &amp; ]]>";
    let quoted = json!(evil).to_string();
    let rest = format!("activation = {quoted}\nisa = {quoted}\n{quoted} = {quoted}");
    for (folder, data) in [("a<b>&'\"", 1), ("b", 2)] {
        let mut lines = with_end(1.0, 0.5);
        lines[3]["isa"] = json!(evil);
        lines[3]["backend"] = json!("<b>\u{1}\u{202e}");
        let config = format!("data = {quoted}\nrule = {quoted}\nseed = 1\nlr = {data}\n{rest}\n");
        run(&dir.path().join(folder), &config, &lines, true);
    }
    let report = made(dir.path());
    check_charts(&report);
    let html = &report.html;
    for markup in ["<script", "<img src=x", "\u{1}"] {
        let found = html.matches(markup).count();
        assert_eq!(found, 0, "{markup} is in the page");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the text itself is shown");
    // Whatever the page has of elements, it has of its own; and none can run or fetch anything.
    let tags: BTreeSet<&str> =
        html.split('<').skip(1).filter_map(|t| t.split(|c: char| !c.is_ascii_alphanumeric()).next()).collect();
    for tag in ["script", "iframe", "object", "embed", "form", "base", "b"] {
        assert!(!tags.contains(tag), "<{tag}>");
    }
    assert!(html.contains("default-src 'none'"));
    for scheme in ["http://", "https://", "javascript:", "//"] {
        for attribute in ["src=\"", "href=\""] {
            assert!(!html.contains(&format!("{attribute}{scheme}")), "{attribute}{scheme}");
        }
    }
    for (name, text) in &report.files {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'), "{name}");
        // In data it is a text like any other.
        assert!(name.ends_with(".csv") || !text.contains("<script"), "{name}");
    }
}

#[test]
fn the_same_runs_give_the_same_bytes() {
    let dir = comparison();
    let (a, b) = (made(dir.path()), made(dir.path()));
    assert!(a == b);
    assert!(a == made_with(dir.path(), 1), "threads change nothing");
}

#[test]
fn what_cannot_be_shown_is_left_out_with_a_reason() {
    let dir = TempDir::new().unwrap();
    run(&dir.path().join("gone"), "data = \"/no/such/folder\"\nrule = \"gait\"", &with_end(1.0, 0.5), true);
    run(&dir.path().join("broken"), &config("bp", 1, ""), &with_end(1.0, 0.5), true);
    fs::write(dir.path().join("broken/weights.safetensors"), b"not weights").unwrap();
    let bare = dir.path().join("bare");
    run(&bare, "", &with_end(1.0, 0.5), false);
    fs::remove_file(bare.join("config.toml")).unwrap();
    let report = made(dir.path());
    check_charts(&report);
    for reason in ["/no/such/folder", "not a readable safetensors file", "no weights are saved", "has no config.toml"] {
        assert!(report.html.contains(reason), "{reason}");
    }
    assert!(!report.files.iter().any(|(name, _)| name == "examples.csv"));
}

// The program

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn program(dir: &Path, before: &str, line: &str) -> Ran {
    let script = format!("{before}exec \"$0\" {line}");
    let output = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_gaitprop")]).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
            all.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

/// One line that says all `causes`, and everything as it was.
#[track_caller]
fn fails(dir: &Path, before: &str, line: &str, causes: &[&str]) {
    let old = snapshot(dir);
    let ran = program(dir, before, line);
    assert!(matches!(ran.code, Some(1 | 2)), "`{line}` exits with {:?}: {}", ran.code, ran.err);
    assert!(
        ran.err.starts_with("error: ") && (ran.code == Some(2) || ran.err.lines().count() == 1) && ran.out.is_empty(),
        "`{line}`: {}",
        ran.err
    );
    for cause in causes {
        assert!(ran.err.contains(cause), "`{line}` does not say {cause:?}: {}", ran.err);
    }
    let new = snapshot(dir);
    let names: BTreeSet<_> = old.keys().chain(new.keys()).filter(|path| old.get(*path) != new.get(*path)).collect();
    assert!(names.is_empty(), "`{line}` fails, but leaves {names:?} new, changed or removed");
}

#[test]
fn the_program_writes_a_page() {
    let dir = comparison();
    let ran = program(dir.path(), "", "report runs -o out.html --threads 2");
    assert!(ran.code == Some(0) && ran.err.is_empty(), "{}", ran.err);
    assert!(ran.out.contains("out.html") && ran.out.contains('█'), "{}", ran.out);
    let runs = report::find(&["runs".into()].map(|p: PathBuf| dir.path().join(p))).unwrap();
    assert_eq!(runs.len(), 5);
    let page = fs::read_to_string(dir.path().join("out.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(downloads(&page).len() > 20);
    let beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    #[cfg(unix)]
    {
        // As readable as anything else that is made here.
        use std::os::unix::fs::PermissionsExt;
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&dir.path().join("out.html")), mode(&plain));
    }
}

#[test]
fn nothing_is_replaced_unless_asked() {
    let dir = comparison();
    assert_eq!(program(dir.path(), "", "report runs").code, Some(0));
    let first = snapshot(dir.path());
    fails(dir.path(), "", "report runs", &["report.html", "--overwrite"]);
    // The same again is the same.
    let ran = program(dir.path(), "", "report runs --overwrite");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(snapshot(dir.path()) == first);
}

#[test]
fn what_a_user_gets_wrong_is_one_line() {
    let dir = comparison();
    let d = dir.path();
    fs::write(d.join("file"), "").unwrap();
    fs::create_dir(d.join("empty")).unwrap();
    fails(d, "", "report", &["DIR"]);
    fails(d, "", "report nowhere", &["nowhere", "cannot open"]);
    fails(d, "", "report file", &["file is a file"]);
    fails(d, "", "report empty", &["empty", "no run in it"]);
    fails(d, "", "report runs -o empty", &["empty is a folder"]);
    fails(d, "", "report runs -o nowhere/report.html", &["nowhere", "not a folder"]);
    fails(d, "", "report runs -o ..", &[".. names no file"]);
    fails(d, "", "report runs --threads 0", &["--threads must be"]);
    fs::write(d.join("runs/bp/seed-1/config.toml"), "lr = ").unwrap();
    fails(d, "", "report runs", &["config.toml", "not a configuration"]);
}

/// No file may grow beyond a few kilobytes: with the signal ignored, the write itself fails.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    const FULL_DISK: &str = "trap '' XFSZ; ulimit -f 8; ";
    let dir = comparison();
    fails(dir.path(), FULL_DISK, "report runs", &["report.html", "cannot write"]);
    assert_eq!(program(dir.path(), "", "report runs").code, Some(0));
    run(&dir.path().join("runs/new"), &config("tp", 1, ""), &with_end(1.0, 0.5), true);
    fails(dir.path(), FULL_DISK, "report runs --overwrite", &["report.html", "cannot write"]);
}

/// A folder that cannot be written, not even by root: there are none for files in /proc.
#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_folder_leaves_nothing() {
    let dir = comparison();
    fails(dir.path(), "", "report runs -o /proc/report.html", &["/proc", "cannot write"]);
}
