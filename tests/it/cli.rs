//! The program from outside: what it prints, what it writes, and how it fails.
//!
//! Whatever a user can get wrong ends in one line on standard error that names the cause, in an exit code other than 0, and
//! with every file as it was before. What goes well leaves standard error empty where nobody watches a progress bar, and files
//! that do not depend on threads, instruction sets or the time of day.

use crate::program::folder::snapshot;
use crate::program::program;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use gaitprop::data::npz::{self, Array};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// A network and a share of the digits that train in a few milliseconds.
const SMALL: &str = "--width 32 --hidden 2 --limit-train 240 --threads 1";

// Running the program

/// How a run of the program ended.
struct Ran {
    /// Its arguments, for messages.
    line: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(line: &str, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { line: line.into(), code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a run that went well: no byte on standard error.
    #[track_caller]
    fn well(self) -> String {
        assert!(self.code == Some(0) && self.err.is_empty(), "`{}` exits with {:?}: {:?}", self.line, self.code, self.err);
        self.out
    }

    /// The message of a run that failed as it should: one line that holds all `causes`, and nothing else printed.
    #[track_caller]
    fn error(self, causes: &[&str]) -> String {
        let Self { line, code, out, err } = self;
        assert!(matches!(code, Some(1 | 2)), "`{line}` exits with {code:?}: {err}");
        assert!(err.starts_with("error: ") && err.ends_with('\n') && err.lines().count() == 1, "`{line}` says {err:?}");
        assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "`{line}` says {err:?}");
        assert_eq!(out, "", "`{line}` prints, though it fails: {err}");
        for cause in causes {
            assert!(err.contains(cause), "`{line}` does not say {cause:?}: {err}");
        }
        err
    }
}

fn run(dir: &Path, line: &str) -> Ran {
    Ran::new(line, program(dir, line).output().expect("the program starts"))
}

/// Says which files differ, rather than printing all their bytes.
#[track_caller]
fn assert_unchanged(dir: &Path, before: &BTreeMap<PathBuf, Option<Vec<u8>>>, line: &str) {
    let after = snapshot(dir);
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = all.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "`{line}` fails, but leaves {changed:?} new, changed or removed");
}

/// A run that fails with one line holding all `causes`, and leaves `dir` as it was.
#[track_caller]
fn fails(dir: &Path, line: &str, causes: &[&str]) -> String {
    let before = snapshot(dir);
    let message = run(dir, line).error(causes);
    assert_unchanged(dir, &before, line);
    message
}

/// Names of what is in a folder.
fn names(dir: &Path) -> Vec<String> {
    snapshot(dir).into_keys().map(|path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

fn empty() -> TempDir {
    TempDir::new().unwrap()
}

/// The names after `what` in what `gaitprop info` says of this machine.
fn info(what: &str) -> Vec<String> {
    let text = run(Path::new("."), "info").well();
    let line = text.lines().find_map(|l| l.strip_prefix(what)).unwrap_or_else(|| panic!("`info` says nothing of {what}: {text}"));
    line.split(',').map(|name| name.trim().to_owned()).collect()
}

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
    fails(dir.path(), "selftest --threads 0", &["--threads 0", "1 or more"]);
}

// Reading what it wrote

/// Tensors of a file of weights: type, shape and bytes by name. Metadata by key.
type Weights = (BTreeMap<String, (String, Vec<usize>, Vec<u8>)>, BTreeMap<String, String>);

fn weights(folder: &Path) -> Weights {
    let bytes = fs::read(folder.join("weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, t)| (name.into(), (format!("{:?}", t.dtype()), t.shape().into(), t.data().into())));
    (tensors.collect(), header.metadata().clone().unwrap().into_iter().collect())
}

/// Lines of metrics about the run, every one of them whole; reports on layers are [`diagnostics`].
fn metrics(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line["event"] != "diagnostics").collect()
}

/// Reports on layers.
fn diagnostics(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line["event"] == "diagnostics").collect()
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Metrics without what a clock says.
fn timeless(folder: &Path) -> Vec<Value> {
    let mut lines = metrics(folder);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("seconds").is_some());
        line.remove("samples_per_second");
        // What it ran on, which may change nothing else.
        line.remove("isa");
        line.remove("threads");
    }
    lines
}

fn settings(folder: &Path) -> toml::Table {
    fs::read_to_string(folder.join("config.toml")).unwrap().parse().unwrap()
}

/// The figures in the table's row `title`, one a rule.
fn row(table: &str, title: &str) -> Vec<f64> {
    let line = table.lines().find_map(|l| l.strip_prefix(title)).unwrap_or_else(|| panic!("no {title} in {table}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

// Data sets

const TRAIN_X: &str = "train-images-idx3-ubyte";
const TRAIN_Y: &str = "train-labels-idx1-ubyte";
const TEST_X: &str = "t10k-images-idx3-ubyte";
const TEST_Y: &str = "t10k-labels-idx1-ubyte";

/// An IDX file of bytes.
fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Six pictures of 2×2 and two more for testing.
fn write_idx(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(format!("{TRAIN_X}.gz")), gz(&idx(&[6, 2, 2], &(0..24).collect::<Vec<u8>>()))).unwrap();
    fs::write(dir.join(TRAIN_Y), idx(&[6], &[0, 1, 2, 0, 1, 2])).unwrap();
    fs::write(dir.join(TEST_X), idx(&[2, 2, 2], &[7; 8])).unwrap();
    fs::write(dir.join(TEST_Y), idx(&[2], &[1, 2])).unwrap();
}

/// Arrays by name, to be changed here and there before they are written.
type Arrays = BTreeMap<&'static str, Array>;

fn array(shape: &[usize], data: impl Into<Vec<f64>>) -> Array {
    Array { shape: shape.to_vec(), data: data.into() }
}

fn write_npz(path: &Path, arrays: &Arrays) {
    let list: Vec<_> = arrays.iter().map(|(name, a)| (*name, &a.shape[..], &a.data[..])).collect();
    npz::write(path, &list).unwrap();
}

fn read_npz(path: &Path) -> BTreeMap<String, Array> {
    npz::read(path, |_| true).unwrap()
}

/// Ten samples of three features.
fn labelled() -> Arrays {
    let x: Vec<f64> = (0..30).map(|i| f64::from(i * 7 % 11) / 11.0).collect();
    let y: Vec<f64> = (0..10).map(|i| f64::from(i % 2)).collect();
    Arrays::from([("x", array(&[10, 3], x)), ("y", array(&[10], y))])
}

/// A batch of three samples for a network of two layers of four units and two labels.
fn batch() -> Arrays {
    // Near the identity, so well conditioned.
    let w = |seed: usize| {
        let element = |i: usize| f64::from(u8::from(i.is_multiple_of(5))) + 0.1 * ((i * seed % 13) as f64 / 13.0 - 0.5);
        array(&[4, 4], (0..16).map(element).collect::<Vec<_>>())
    };
    let x: Vec<f64> = (0..12).map(|i| f64::from(i * 5 % 7) / 7.0 - 0.3).collect();
    Arrays::from([
        ("x", array(&[3, 4], x)),
        ("onehot", array(&[3, 2], [1.0, 0.0, 0.0, 1.0, 1.0, 0.0])),
        ("W0", w(3)),
        ("b0", array(&[4], [0.1, -0.1, 0.0, 0.2])),
        ("W1", w(7)),
        ("b1", array(&[4], [0.0; 4])),
    ])
}

fn batch_with(name: &'static str, value: Array) -> Arrays {
    let mut arrays = batch();
    arrays.insert(name, value);
    arrays
}

fn batch_without(name: &str) -> Arrays {
    let mut arrays = batch();
    arrays.remove(name).unwrap();
    arrays
}

// Wrong data

#[test]
fn wrong_idx_files_are_named_with_what_is_wrong() {
    let dir = empty();
    let train = "train --data set --hidden 0 --width 12 --epochs 1 --threads 1 --out run";
    write_idx(&dir.path().join("set"));
    run(dir.path(), train).well();

    let compressed = gz(&idx(&[6, 2, 2], &(0..24).collect::<Vec<u8>>()));
    let cut = compressed[..compressed.len() - 12].to_vec();
    let gzipped = "train-images-idx3-ubyte.gz";
    // A file, what is in it instead (nothing: it is not there), and what is said of it.
    type Case<'a> = (&'a str, Option<Vec<u8>>, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (gzipped, Some(b"hello, this is no data".to_vec()), &[gzipped, "not an IDX file", "0x68656c6c"]),
        (gzipped, Some(cut), &[gzipped, "truncated gzip"]),
        (gzipped, Some(idx(&[6, 2, 2], &[0; 23])), &[gzipped, "cut short", "24", "23"]),
        (gzipped, Some(idx(&[u32::MAX; 3], &[0; 9])), &[gzipped, "IDX header"]),
        (TRAIN_Y, Some(idx(&[6], &[0, 1, 2, 10, 1, 2])), &[TRAIN_Y, "label 10 at index 3", "10 classes"]),
        (TEST_Y, Some(idx(&[2], &[1, 255])), &[TEST_Y, "label 255 at index 1"]),
        (TRAIN_Y, Some(idx(&[5], &[0, 1, 2, 0, 1])), &[gzipped, "6 images", TRAIN_Y, "5 labels"]),
        (TEST_X, None, &["set", "lacks", TEST_X]),
        (TEST_Y, None, &["set", "lacks", TEST_Y]),
        (TRAIN_Y, None, &["set", "lacks", TRAIN_Y]),
    ];
    for (file, bytes, causes) in cases {
        let dir = empty();
        let set = dir.path().join("set");
        write_idx(&set);
        match bytes {
            Some(bytes) => fs::write(set.join(file), bytes).unwrap(),
            None => fs::remove_file(set.join(file)).unwrap(),
        }
        fails(dir.path(), train, causes);
    }
}

#[test]
fn test_pictures_of_another_size_are_named() {
    let dir = empty();
    write_idx(&dir.path().join("set"));
    fs::write(dir.path().join("set").join(TEST_X), idx(&[2, 2, 3], &[7; 12])).unwrap();
    fails(dir.path(), "train --data set --width 12 --epochs 1 --out run", &[TEST_X, "[2, 3]", "[2, 2]"]);
}

#[test]
fn what_is_no_data_set_is_told_what_one_is() {
    let dir = empty();
    fs::write(dir.path().join("notes.txt"), "hello").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (set, causes) in [
        ("nowhere", &["nowhere", "does not exist", "`digits`", "IDX", ".npz"][..]),
        ("no/such/set.npz", &["set.npz", "does not exist"]),
        ("notes.txt", &["notes.txt", "not a data set", "`digits`", "IDX", ".npz"]),
        ("folder", &["folder", "no IDX files", TRAIN_X]),
        ("digits --classes 3", &["label 3", "3 classes", "--classes"]),
        ("digits --classes 1", &["number of classes is 1 ", "2 to 65536"]),
        ("digits --limit-train 0", &["limit of training samples is 0"]),
        ("digits --limit-test 0", &["limit of test samples is 0"]),
    ] {
        fails(dir.path(), &format!("train --out run --data {set}"), causes);
    }
}

#[test]
fn wrong_npz_data_sets_are_named_with_what_is_wrong() {
    let dir = empty();
    let train = "train --data set.npz --hidden 0 --epochs 1 --threads 1 --out run";
    write_npz(&dir.path().join("set.npz"), &labelled());
    run(dir.path(), train).well();

    let x_with = |value: f64| {
        let mut x = labelled()["x"].clone();
        x.data[13] = value;
        ("x", x)
    };
    let y_with = |value: f64| {
        let mut y = labelled()["y"].clone();
        y.data[3] = value;
        ("y", y)
    };
    let cases: &[((&'static str, Array), &[&str])] = &[
        (("y", array(&[9], [0.0; 9])), &["10 samples", "9 labels"]),
        (("x", array(&[30], [0.0; 30])), &["\"x\"", "[30]", "samples × features"]),
        (x_with(f64::NAN), &["\"x\", sample 4, feature 1", "NaN"]),
        (x_with(f64::INFINITY), &["\"x\", sample 4, feature 1", "inf"]),
        (y_with(-1.0), &["\"y\", index 3 is -1", "whole number"]),
        (y_with(0.5), &["\"y\", index 3 is 0.5", "whole number"]),
        (y_with(f64::NAN), &["\"y\", index 3", "whole number"]),
        (("x_test", array(&[1, 3], [0.0; 3])), &["lacks array \"y_test\""]),
    ];
    for ((name, value), causes) in cases {
        let dir = empty();
        let mut arrays = labelled();
        arrays.insert(name, value.clone());
        write_npz(&dir.path().join("set.npz"), &arrays);
        assert!(fails(dir.path(), train, causes).contains("set.npz"));
    }
    let dir = empty();
    for bytes in [&b"hello"[..], b"", b"PK\x03\x04 but no more"] {
        fs::write(dir.path().join("set.npz"), bytes).unwrap();
        fails(dir.path(), train, &["set.npz", "not an npz"]);
    }
}

// Wrong settings

#[test]
fn wrong_settings_of_training_are_named() {
    let dir = empty();
    let cases: &[(&str, &[&str])] = &[
        ("--bogus", &["--bogus", "--help"]),
        ("extra", &["extra"]),
        ("--rule foo", &["unknown rule `foo`", "bp, gait, itp, tp, fa or dfa"]),
        ("--rule gait --beside foo", &["unknown rule `foo`"]),
        ("--rule gait --beside gait", &["--beside gait"]),
        ("--optimizer foo", &["unknown optimizer `foo`", "published-adam"]),
        ("--loss foo", &["unknown loss `foo`", "cross-entropy"]),
        ("--init foo", &["unknown initialization `foo`", "xavier"]),
        ("--activation foo", &["unknown activation `foo`", "tanh"]),
        ("--activation leaky-relu:0", &["slope", "greater than 0"]),
        ("--activation leaky-relu:x", &["`x` is not a number"]),
        ("--isa foo", &["instruction set `foo`", "portable"]),
        ("--backend foo", &["backend `foo`", "native"]),
        ("--dtype f16", &["unknown element type `f16`", "f32 or f64"]),
        ("--scale foo", &["unknown scaling `foo`", "per-feature"]),
        ("--ortho-form foo", &["`foo`", "published or identity"]),
        ("--ortho-side foo", &["`foo`", "rows or columns"]),
        ("--inverse foo", &["unknown solver `foo`", "transpose or auto"]),
        ("--tolerance 0", &["tolerance is 0", "0.001"]),
        ("--tolerance -1", &["tolerance is -1"]),
        ("--tolerance 1", &["tolerance is 1,"]),
        ("--tolerance nan", &["tolerance is NaN"]),
        ("--shuffle=maybe", &["'maybe'", "--shuffle"]),
        ("--threads 0", &["--threads 0"]),
        ("--threads 1000000", &["--threads 1000000"]),
        ("--threads two", &["'two'", "--threads"]),
        ("--batch 0", &["--batch 0"]),
        ("--batch 99999999999", &["--batch 99999999999"]),
        ("--lr -0.1", &["learning rate is -0.1"]),
        ("--lr nan", &["learning rate is NaN"]),
        ("--lr inf", &["learning rate is inf"]),
        ("--lr fast", &["'fast'", "--lr"]),
        ("--lambda -1", &["lambda is -1"]),
        ("--lambda nan", &["lambda is NaN"]),
        ("--regularizer foo", &["unknown regulariser `foo`", "exact, block or none"]),
        ("--orthogonal foo", &["`foo`", "none or cayley"]),
        ("--regularizer block --mu 2", &["mu is 2", "below 2"]),
        ("--regularizer block --mu -0.5", &["mu is -0.5"]),
        ("--regularizer block --mu nan", &["mu is NaN"]),
        ("--regularizer block --block 0", &["--block 1"]),
        ("--regularizer block --lambda 0.1", &["--lambda", "--mu"]),
        ("--regularizer block --ortho-form identity", &["--ortho-form identity", "--regularizer exact"]),
        ("--regularizer block --retract-every 5", &["--regularizer block", "--retract-every"]),
        ("--regularizer none --lambda 0.1", &["--lambda", "--regularizer exact"]),
        ("--mu 0.5", &["--mu", "--regularizer block"]),
        ("--block 32", &["--block", "--regularizer block"]),
        ("--regularizer none --mu 0.5", &["--mu", "--regularizer block"]),
        ("--retract-every 0", &["--retract-every 1"]),
        ("--retract-every often", &["'often'", "--retract-every"]),
        ("--orthogonal cayley", &["--orthogonal cayley", "published-adam", "--optimizer sgd"]),
        ("--orthogonal cayley --optimizer momentum", &["momentum", "--optimizer sgd"]),
        ("--orthogonal cayley --optimizer sgd --lambda 0.1", &["lambda is 0.1", "--orthogonal cayley"]),
        ("--orthogonal cayley --optimizer sgd --regularizer block", &["leave out --regularizer"]),
        ("--orthogonal cayley --optimizer sgd --retract-every 5", &["leave out --retract-every"]),
        ("--orthogonal cayley --optimizer sgd --init xavier", &["--init orthogonal"]),
        ("--gamma 1.5", &["gamma is 1.5", "[0, 1]"]),
        ("--gamma -0.1", &["gamma is -0.1", "[0, 1]"]),
        ("--gamma nan", &["gamma is NaN", "[0, 1]"]),
        ("--epochs -1", &["-1"]),
        ("--epochs 99999999999999999999", &["99999999999999999999", "--epochs"]),
        ("--width 9", &["9 units", "10 labels"]),
        ("--width 0", &["empty"]),
        ("--tower 64-32-40", &["layer 1", "its fan-in is 40", "32"]),
        ("--tower 64-65", &["layer 0", "its fan-in is 65", "64"]),
        ("--tower 32-10", &["--tower", "64"]),
        ("--tower 64", &["at least one layer"]),
        ("--tower 64-10 --layers 64,10", &["--layers", "--tower"]),
        ("--tower 64-10 --width 64", &["--tower", "--width"]),
        ("--layers 64,10 --hidden 2", &["--layers", "--hidden"]),
        ("--layers 64,,10", &["'64,,10'", "784,500,10"]),
        ("--layers wide", &["'wide'", "784,500,10"]),
        ("--width 100000000", &["is too large"]),
        ("--hidden 99999999999", &["99999999999 hidden layers"]),
        ("--seed 18446744073709551615", &["--seed 18446744073709551615", "9223372036854775807"]),
        ("--layers 18446744073709551615,10", &["is too large"]),
        ("--overwrite --out run --config nowhere.toml", &["nowhere.toml"]),
    ];
    for (flags, causes) in cases {
        let out = if flags.contains("--out") { "" } else { "--out run" };
        fails(dir.path(), &format!("train {flags} {out}"), causes);
    }
    fails(dir.path(), "train --overwrite", &["--out"]);
    fails(dir.path(), "", &["train, compare, sweep, eval, report, update, align, info or selftest"]);
    fails(dir.path(), "trian", &["trian"]);
}

/// What is held out is not learned, is said in every line, and must leave something.
#[test]
fn the_last_training_samples_are_held_out() {
    let dir = empty();
    let table = run(dir.path(), &format!("train {SMALL} --rule gait --validation 60 --epochs 2 --out held")).well();
    assert!(table.starts_with("digits: 180 train, 60 validation, 359 test"), "{table}");
    run(dir.path(), "train --width 32 --hidden 2 --limit-train 180 --threads 1 --rule gait --epochs 2 --out fewer").well();
    assert!(weights(&dir.path().join("held")) == weights(&dir.path().join("fewer")), "what is held out has been learned");
    let lines = metrics(&dir.path().join("held"));
    assert!(lines.iter().all(|l| l["validation_loss"].as_f64().unwrap() > 0.0 && l["validation_accuracy"].is_f64()));
    assert!(metrics(&dir.path().join("fewer")).iter().all(|l| l.get("validation_loss").is_none()));
    let said = run(dir.path(), "eval held").well();
    let expected = format!("{:.2}", 100.0 * lines[2]["validation_accuracy"].as_f64().unwrap());
    assert!(said.lines().any(|l| l.starts_with("validation") && l.contains(&expected)), "{said}");
    for (count, causes) in [("0", "at least 1"), ("240", "leave at least 1"), ("1000000", "240"), ("181", "--validation 181")] {
        fails(dir.path(), &format!("train {SMALL} --validation {count} --out run"), &[causes]);
    }
}

/// Every way through inverses learns the same, within its tolerance, and says who did it.
#[test]
fn ways_through_inverses_agree_and_are_named() {
    let dir = empty();
    let mut losses = Vec::new();
    for way in ["lu", "stale", "cg", "gram", "auto"] {
        let line = format!("train {SMALL} --epochs 3 --rule gait --seed 3 --inverse {way} --tolerance 0.001 --out {way}");
        run(dir.path(), &line).well();
        let folder = dir.path().join(way);
        assert_eq!(settings(&folder)["inverse"].as_str(), Some(way));
        assert_eq!(settings(&folder)["tolerance"].as_float(), Some(0.001));
        for line in &metrics(&folder)[..3] {
            assert_eq!(line["inverse"], way);
            // Four steps of two layers that send errors down.
            let by = line["solved_by"].as_object().unwrap();
            assert_eq!(by.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 8, "{line}");
            assert!(way == "auto" || by.keys().eq([way]), "{line}");
            assert!(line["solve_residual"].as_f64().unwrap() <= 2e-3, "{line}");
        }
        losses.push(metrics(&folder)[3]["train_loss"].as_f64().unwrap());
    }
    println!("{losses:?}");
    assert!(losses.iter().all(|loss| (loss / losses[0] - 1.0).abs() < 1e-3), "{losses:?}");
    // Nothing keeps weights orthogonal to rounding here: the transpose says so, and the run ends.
    let line = format!("train {SMALL} --epochs 3 --rule gait --lr 0.01 --inverse transpose");
    run(dir.path(), &line).error(&["not orthogonal enough", "--inverse auto"]);
}

/// A name that some machine knows, but not this one.
#[test]
fn an_instruction_set_of_another_machine_is_refused() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    let here = info("instruction sets");
    assert!(here.contains(&"portable".to_owned()), "{here:?}");
    for isa in ["avx512", "avx2", "neon"].iter().filter(|isa| !here.contains(&(**isa).to_owned())) {
        let cause = format!("`{isa}`");
        for line in ["train --out run", "update in.npz out.npz --rule bp", "info"] {
            fails(dir.path(), &format!("{line} --isa {isa}"), &[&cause, "not available here", "portable"]);
        }
    }
}

#[test]
fn wrong_files_of_settings_are_named_with_the_line() {
    let dir = empty();
    fails(dir.path(), "train --config nowhere.toml --out run", &["nowhere.toml", "cannot read"]);
    fails(dir.path(), "train --config . --out run", &["cannot read"]);
    for (text, line, causes) in [
        ("rule = \"bp\"\nthis is not toml\n", 2, &[][..]),
        ("lr = 0.1\nlr = 0.2\n", 2, &["duplicate key"]),
        ("# learning\nlr = 1e-3\nlearning-rate = 1\n", 3, &["unknown field `learning-rate`", "`lr`"]),
        ("lr = 1\n\nbatch = \"many\"\n", 3, &["\"many\""]),
        ("\n\nbatch = -1", 3, &["-1"]),
        ("[network]\nwidth = 3\n", 1, &["unknown field `network`"]),
        ("lr = 1\nlayers = [3, \"x\"]", 2, &[]),
        ("lr = 1\ntower = \"64-wide\"", 2, &[]),
    ] {
        fs::write(dir.path().join("my.toml"), text).unwrap();
        let place = format!("my.toml: line {line} (`");
        fails(dir.path(), "train --config my.toml --out run", &[&[place.as_str()], causes].concat());
    }
    // Not UTF-8.
    fs::write(dir.path().join("my.toml"), b"rule = \"\xff\"").unwrap();
    fails(dir.path(), "train --config my.toml --out run", &["my.toml"]);
    // What a file says is checked like what flags say.
    fs::write(dir.path().join("my.toml"), "gamma = 2\nrule = \"gait\"").unwrap();
    fails(dir.path(), "train --config my.toml --out run", &["gamma is 2"]);
}

// Where results go

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

/// The folder of the rule beside is in the way: nothing is begun that would look like a run.
#[test]
fn a_run_that_cannot_be_kept_whole_is_not_begun() {
    let dir = empty();
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/bp"), "a file").unwrap();
    fails(dir.path(), &format!("train {SMALL} --epochs 1 --out run"), &["bp"]);
}

/// What a run leaves that is killed before it has begun, of the rule beside too, is gone with the next one; another's results are not.
#[test]
fn a_rule_beside_that_never_began_is_not_taken_for_a_result() {
    let dir = empty();
    let (run_dir, beside) = (dir.path().join("run"), dir.path().join("run/bp"));
    let line = format!("train {SMALL} --epochs 1 --rule tp --beside none --out run");
    fs::create_dir_all(&beside).unwrap();
    fs::write(run_dir.join("metrics.jsonl"), "").unwrap();
    fs::write(beside.join("metrics.jsonl"), "").unwrap();
    fs::write(beside.join("config.toml"), "rule = \"bp\"\n").unwrap();
    run(dir.path(), &line).well();
    assert!(!beside.exists());

    fs::remove_dir_all(&run_dir).unwrap();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run/bp")).well();
    let results = snapshot(&beside);
    run(dir.path(), &line).well();
    assert!(snapshot(&beside) == results);
}

#[test]
fn results_of_a_run_are_replaced_only_when_asked() {
    let dir = empty();
    let first = format!("train {SMALL} --epochs 1 --rule gait --beside bp --out run");
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
    for folder in ["run", "run/bp"] {
        assert_eq!(metrics(&dir.path().join(folder)).len(), 2, "nothing of the first run is left");
        let path = dir.path().join(folder).join("weights.safetensors");
        assert_ne!(before[&path], after[&path]);
    }
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

/// Runs `line` after the shell has set a limit.
#[cfg(unix)]
fn run_within(limit: &str, dir: &Path, line: &str) -> Ran {
    let script = format!("{limit}; exec {} {line}", env!("CARGO_BIN_EXE_gaitprop"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir).env_remove("RUST_BACKTRACE").output().unwrap();
    Ran::new(line, output)
}

/// No file may grow beyond a few kilobytes. With the signal ignored, the write itself fails.
#[cfg(unix)]
const FULL_DISK: &str = "trap '' XFSZ; ulimit -f 8";

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

#[cfg(unix)]
#[test]
fn updates_that_cannot_be_written_whole_are_not_there() {
    let dir = empty();
    let mut arrays = batch();
    arrays.insert("x", array(&[500, 4], vec![0.5; 2000]));
    arrays.insert("onehot", array(&[500, 2], vec![1.0; 1000]));
    write_npz(&dir.path().join("in.npz"), &arrays);
    for old in [false, true] {
        if old {
            write_npz(&dir.path().join("out.npz"), &batch());
        }
        let before = snapshot(dir.path());
        let line = "update in.npz out.npz --rule bp";
        let ran = run_within(FULL_DISK, dir.path(), line);
        assert_unchanged(dir.path(), &before, line);
        ran.error(&["out.npz", "cannot write"]);
    }
}

/// Two gigabytes of addresses.
#[cfg(target_os = "linux")]
const LITTLE_MEMORY: &str = "ulimit -v 2000000";

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

/// Bytes that fit, but not as the numbers that a network reads: which memory that takes is said, and what can be done.
#[cfg(target_os = "linux")]
#[test]
fn data_larger_than_memory_when_scaled_is_an_error() {
    const LIMIT: &str = "ulimit -v 700000";
    let dir = empty();
    if run_within(LIMIT, dir.path(), "info --threads 1").code != Some(0) {
        return; // A sanitiser reserves more than that for itself.
    }
    // 100 MB of bytes are 0.7 GiB of f64.
    let header = |sizes: &[u32]| {
        [&[0, 0, 8, sizes.len() as u8][..], &sizes.iter().flat_map(|s| s.to_be_bytes()).collect::<Vec<_>>()].concat()
    };
    let write = |name: &str, header: &[u8], data: usize| {
        let mut gz = GzEncoder::new(fs::File::create(dir.path().join(name)).unwrap(), Compression::fast());
        gz.write_all(header).unwrap();
        let zeros = vec![0; 1 << 16];
        for at in (0..data).step_by(zeros.len()) {
            gz.write_all(&zeros[..zeros.len().min(data - at)]).unwrap();
        }
        gz.finish().unwrap();
    };
    write("one-images-idx3-ubyte.gz", &header(&[100_000, 10, 100]), 100_000_000);
    write("one-labels-idx1-ubyte.gz", &header(&[100_000]), 100_000);
    let line = "train --data . --width 12 --hidden 1 --epochs 1 --threads 1 --rule bp --dtype f64 --quiet --out run";
    run_within(LIMIT, dir.path(), line).error(&["the scaled samples", "0.7 GiB", "memory", "--limit-train", "--dtype f32"]);
    assert!(!dir.path().join("run").exists());
    run_within(LIMIT, dir.path(), &format!("{line} --limit-train 100 --limit-test 100")).well();
}

/// A batch of all samples, as one may ask for without knowing how many there are.
#[cfg(target_os = "linux")]
#[test]
fn a_batch_beyond_the_data_takes_no_memory() {
    let dir = empty();
    if run_within(LITTLE_MEMORY, dir.path(), "info").code != Some(0) {
        return;
    }
    let line = "train --batch 1048576 --width 2000 --hidden 0 --limit-train 60 --epochs 1 --threads 1 --rule bp --out run";
    run_within(LITTLE_MEMORY, dir.path(), line).well();
    run(dir.path(), &format!("{} --out all", line.replace("1048576", "60").replace("--out run", ""))).well();
    assert!(weights(&dir.path().join("run")) == weights(&dir.path().join("all")));
}

// Training that cannot go on

/// Whatever ends a run, the weights of the last good step are kept, and can be used.
#[test]
fn training_that_diverges_says_so_and_keeps_the_last_good_weights() {
    for (flags, causes) in [
        ("--rule bp --lr 1e30", &["diverged", "layer", "step", "--lr"][..]),
        ("--rule bp --lr 1e200 --dtype f64", &["diverged", "layer", "step", "--lr"]),
        ("--rule bp --lr 1e6 --optimizer sgd", &["diverged", "layer", "step", "--lr"]),
        ("--rule gait --lr 1e30", &["diverged", "layer", "step", "--lr"]),
        // Weights grow until rounding takes their inverse away, which may come first.
        ("--rule gait --lr 1e30 --optimizer sgd", &["layer", "--lr"]),
        // Targets of 1 lie on the edge of what tanh reaches.
        ("--rule tp --activation tanh", &["layer 2", "outside the activation's range"]),
    ] {
        let dir = empty();
        let out = dir.path().join("run");
        let line = format!("train {SMALL} --epochs 20 --out run {flags}");
        run(dir.path(), &line).error(causes);
        assert_eq!(names(&out), ["config.toml", "metrics.jsonl", "weights.safetensors"], "{flags}");
        assert!(metrics(&out).iter().all(|line| line["event"] == "epoch"), "`{line}` did not come to its end");
        assert_all_finite(&out, &line);
        run(dir.path(), "eval run --threads 1").well();
    }
}

#[track_caller]
fn assert_all_finite(folder: &Path, line: &str) {
    for (name, (dtype, _, bytes)) in weights(folder).0 {
        let finite = match dtype.as_str() {
            "F32" => bytes.as_chunks().0.iter().all(|b| f32::from_le_bytes(*b).is_finite()),
            "F64" => bytes.as_chunks().0.iter().all(|b| f64::from_le_bytes(*b).is_finite()),
            other => panic!("{name} is {other}"),
        };
        assert!(finite, "`{line}` saves weights that are not finite: {name}");
    }
}

/// f32 cannot hold the learning rate: the first step, not the one after it, is what makes the weights infinite.
#[test]
fn weights_are_not_saved_infinite() {
    for rule in ["bp", "gait"] {
        let dir = empty();
        let line = format!("train {SMALL} --epochs 1 --rule {rule} --lr 1e300 --out run");
        run(dir.path(), &line).error(&["--lr"]);
        if dir.path().join("run").exists() {
            assert_all_finite(&dir.path().join("run"), &line);
        }
    }
}

#[test]
fn updates_are_not_written_infinite() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    for rule in ["bp", "gait"] {
        for steps in [1, 2] {
            fails(dir.path(), &format!("update in.npz out.npz --rule {rule} --steps {steps} --lr 1e300"), &["--lr"]);
        }
    }
    // This learning rate is held, but not what it makes of gradients this large.
    let mut arrays = batch();
    arrays.get_mut("x").unwrap().data.iter_mut().for_each(|x| *x *= 1e6);
    write_npz(&dir.path().join("in.npz"), &arrays);
    fails(dir.path(), "update in.npz out.npz --rule bp --steps 1 --lr 1e37 --optimizer sgd", &["--lr"]);
}

// Wrong batches

#[test]
fn wrong_batches_are_named_with_the_array() {
    let twos = |shape: &[usize]| array(shape, vec![2.0; shape.iter().product()]);
    let with = |name: &str, i: usize, value: f64| {
        let mut arrays = batch();
        arrays.get_mut(name).unwrap().data[i] = value;
        arrays
    };
    let mut gap = batch();
    gap.insert("W3", twos(&[4, 4]));
    gap.insert("b3", twos(&[4]));
    let cases: &[(Arrays, &[&str])] = &[
        (batch_without("x"), &["no array `x`"]),
        (batch_without("onehot"), &["no array `onehot`"]),
        (batch_without("W0"), &["no array `W0`"]),
        (batch_without("b0"), &["no array `b0`"]),
        (batch_without("W1"), &["no array `W1`"]),
        (batch_without("b1"), &["no array `b1`"]),
        (gap, &["no array `W2`"]),
        (batch_with("W0", twos(&[5, 4])), &["layer 0", "its fan-in is 5", "4"]),
        (batch_with("W1", twos(&[3, 4])), &["`W1`", "[3, 4]", "square"]),
        (batch_with("W1", twos(&[4, 3])), &["`W1`", "[4, 3]", "square"]),
        (batch_with("W1", twos(&[16])), &["`W1`", "[16]", "two dimensions"]),
        (batch_with("W1", twos(&[1])), &["`W1`", "two dimensions"]),
        (batch_with("b1", twos(&[3])), &["`b1`", "[3]", "4 units"]),
        (batch_with("onehot", twos(&[3, 5])), &["4 units", "5 labels"]),
        (batch_with("onehot", twos(&[2, 2])), &["3 rows", "`onehot` has 2"]),
        (batch_with("x", twos(&[0, 4])), &["`x`", "[0, 4]", "empty"]),
        (batch_with("x", twos(&[3, 3])), &["layer 0", "its fan-in is 4", "3"]),
        (with("W1", 6, f64::NAN), &["element 6 of `W1`", "not finite"]),
        (with("b0", 1, f64::INFINITY), &["element 1 of `b0`", "not finite"]),
        (with("x", 11, f64::NAN), &["element 11 of `x`", "not finite"]),
        (with("onehot", 0, f64::NAN), &["element 0 of `onehot`", "not finite"]),
        // Finite in f64 alone.
        (with("W0", 0, 1e39), &["element 0 of `W0`", "not finite in f32"]),
    ];
    for (arrays, causes) in cases {
        let dir = empty();
        write_npz(&dir.path().join("in.npz"), arrays);
        for rule in ["bp", "gait"] {
            let message = fails(dir.path(), &format!("update in.npz out.npz --rule {rule}"), causes);
            assert!(message.contains("in.npz"), "{message}");
        }
        // An older result stays.
        fs::write(dir.path().join("out.npz"), "precious").unwrap();
        fails(dir.path(), "update in.npz out.npz --rule itp --steps 1 --lr 0.1", causes);
    }
}

#[test]
fn wrong_flags_and_files_of_update_are_named() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    fs::write(dir.path().join("file"), "precious").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("in.npz out.npz", &["--rule"]),
        ("in.npz --rule bp", &["OUTPUT"]),
        ("in.npz out.npz --rule foo", &["unknown rule `foo`"]),
        ("in.npz out.npz --rule bp --steps 1", &["--lr"]),
        ("in.npz out.npz --rule bp --lr 1", &["--steps"]),
        ("in.npz out.npz --rule bp --lr -1 --steps 1", &["learning rate is -1"]),
        ("in.npz out.npz --rule bp --lr 1 --steps 1 --optimizer foo", &["unknown optimizer `foo`"]),
        ("in.npz out.npz --rule gait --gamma 2", &["gamma is 2"]),
        ("in.npz out.npz --rule gait --lambda -1", &["lambda is -1"]),
        ("in.npz out.npz --rule gait --lambda nan", &["lambda is NaN"]),
        ("in.npz out.npz --rule gait --activation foo", &["unknown activation `foo`"]),
        ("in.npz out.npz --rule gait --activation tanh --linear", &["--linear", "--activation"]),
        ("in.npz out.npz --rule gait --loss foo", &["unknown loss `foo`"]),
        ("in.npz out.npz --rule gait --dtype foo", &["unknown element type `foo`"]),
        ("in.npz out.npz --rule gait --isa foo", &["instruction set `foo`"]),
        ("in.npz out.npz --rule gait --backend foo", &["backend `foo`"]),
        ("in.npz out.npz --rule gait --ortho-form foo", &["`foo`"]),
        ("in.npz out.npz --rule gait --ortho-side foo", &["`foo`"]),
        ("in.npz out.npz --rule gait --threads 0", &["--threads 0"]),
        // Targets of 1 lie on the edge of what tanh reaches.
        ("in.npz out.npz --rule tp --activation tanh", &["layer 1, sample", "outside the activation's range"]),
        ("nowhere.npz out.npz --rule bp", &["nowhere.npz", "cannot open"]),
        ("file out.npz --rule bp", &["file", "not an npz"]),
        ("in.npz no/such/out.npz --rule bp", &["no/such/out.npz", "cannot write"]),
        ("in.npz file/out.npz --rule bp", &["file/out.npz", "cannot write"]),
        ("in.npz folder --rule bp", &["folder", "cannot write"]),
    ];
    for (line, causes) in cases {
        fails(dir.path(), &format!("update {line}"), causes);
    }
    if cfg!(target_os = "linux") {
        fails(dir.path(), "update in.npz /proc/nope/out.npz --rule bp", &["/proc/nope/out.npz", "cannot write"]);
    }
}

#[test]
fn truncated_batches_are_errors() {
    let dir = empty();
    let path = dir.path().join("in.npz");
    write_npz(&path, &batch());
    let whole = fs::read(&path).unwrap();
    let lengths = (0..whole.len()).step_by(whole.len() / 24).chain([1, 4, 30, whole.len() - 22, whole.len() - 1]);
    for length in lengths {
        fs::write(&path, &whole[..length]).unwrap();
        fails(dir.path(), "update in.npz out.npz --rule gait", &["in.npz"]);
    }
}

#[test]
fn singular_weights_are_named_by_rules_that_need_their_inverse_alone() {
    let dir = empty();
    // Exactly singular: two equal rows; nearly: they differ by less than f32 can tell.
    let rows =
        |small: f64| array(&[4, 4], [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0 + small, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 0.5]);
    for small in [0.0, 5e-7] {
        write_npz(&dir.path().join("in.npz"), &batch_with("W1", rows(small)));
        for rule in ["gait", "itp", "tp"] {
            let ways = ["", "--inverse stale", "--inverse cg", "--inverse gram", "--inverse transpose", "--inverse auto"];
            for more in ways.into_iter().chain(["--steps 2 --lr 0.01", "--threads 2"]) {
                let line = format!("update in.npz out.npz --rule {rule} {more}");
                fails(dir.path(), &line, &["layer 1", "singular", "condition number", "f32"]);
            }
        }
        run(dir.path(), "update in.npz bp.npz --rule bp").well();
        fs::remove_file(dir.path().join("bp.npz")).unwrap();
        let f64 = run(dir.path(), "update in.npz wide.npz --rule gait --dtype f64");
        if small > 0.0 {
            f64.well();
        } else {
            f64.error(&["layer 1", "singular", "condition number", "f64"]);
        }
    }
    // Nothing is sent through the inverse of the first layer.
    write_npz(&dir.path().join("in.npz"), &batch_with("W0", rows(0.0)));
    run(dir.path(), "update in.npz out.npz --rule gait").well();
}

// Wrong weights

#[test]
fn wrong_files_of_weights_are_named() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("text"), "hello, this is not a file of weights").unwrap();
    write_npz(&dir.path().join("narrow.npz"), &labelled());

    let (tensors, metadata) = weights(&dir.path().join("run"));
    let save = |name: &str, metadata: Option<BTreeMap<String, String>>| {
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            let dtype = if dtype == "F32" { safetensors::Dtype::F32 } else { safetensors::Dtype::F64 };
            (name.as_str(), safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, metadata.map(|m| m.into_iter().collect())).unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
    };
    let but = |key: &str, value: Value| {
        let mut header: Value = serde_json::from_str(&metadata["gaitprop"]).unwrap();
        // As in a file of before there were checksums: those are read as ever.
        header.as_object_mut().unwrap().remove("checksum");
        header[key] = value;
        Some(BTreeMap::from([("gaitprop".to_owned(), header.to_string())]))
    };
    save("sound", but("loss", "squared".into()));
    fs::copy(dir.path().join("run/weights.safetensors"), dir.path().join("as_saved")).unwrap();
    assert_eq!(run(dir.path(), "eval sound").well(), run(dir.path(), "eval as_saved").well());
    let otherwise = metadata["gaitprop"].replace("squared", "cross-entropy");
    save("best.safetensors", Some(BTreeMap::from([("gaitprop".to_owned(), otherwise)])));
    fs::create_dir(dir.path().join("hurt")).unwrap();
    fs::copy(dir.path().join("best.safetensors"), dir.path().join("hurt/weights.safetensors")).unwrap();
    for name in ["best.safetensors", "mine.safetensors"] {
        fs::copy(dir.path().join("best.safetensors"), dir.path().join("hurt").join(name)).unwrap();
    }
    fs::copy(dir.path().join("run/config.toml"), dir.path().join("hurt/config.toml")).unwrap();
    fs::create_dir(dir.path().join("alone")).unwrap();
    fs::copy(dir.path().join("best.safetensors"), dir.path().join("alone/weights.safetensors")).unwrap();
    save("unsealed", but("checksum", "crc32d:00000000".into()));
    save("other", None);
    save("newer", but("format", "gaitprop-weights-99".into()));
    save("wide", but("inputs", 65.into()));
    save("labels", but("labels", 33.into()));
    save("number", but("labels", "ten".into()));
    save("loss", but("loss", "hinge".into()));
    save("shallow", but("activations", vec!["tanh"; 1].into()));
    save("slope", but("activations", vec!["leaky-relu:0.1", "relu", "tanh"].into()));
    save("deeper", but("activations", vec!["tanh"; 4].into()));

    let cases: &[(&str, &[&str])] = &[
        ("", &["WEIGHTS"]),
        ("nowhere", &["nowhere", "cannot read"]),
        ("empty", &["empty/weights.safetensors", "cannot read"]),
        ("text", &["text", "safetensors"]),
        ("run/metrics.jsonl", &["metrics.jsonl", "safetensors"]),
        // Only the last weights of a run are written again when it goes on.
        ("hurt", &["hurt/weights.safetensors", "damaged", "checksum", "--resume"]),
        (
            "hurt/best.safetensors",
            &["best.safetensors", "damaged", "checksum", "weights.safetensors", "--overwrite", "--resume does not"],
        ),
        ("hurt/mine.safetensors", &["mine.safetensors", "damaged", "checksum", "or train again\n"]),
        ("best.safetensors", &["best.safetensors", "damaged", "checksum", "or train again\n"]),
        // No run to go on with.
        ("alone", &["alone/weights.safetensors", "damaged", "checksum", "or train again\n"]),
        ("unsealed", &["unsealed", "damaged", "checksum"]),
        ("other", &["other", "not weights written by this program"]),
        ("newer", &["newer", "gaitprop-weights-99", "gaitprop-weights-1"]),
        ("wide", &["wide", "`input_centre`", "65 inputs"]),
        ("labels", &["labels", "32 units", "33 labels"]),
        ("number", &["number", "damaged", "\"ten\""]),
        ("slope", &["slope", "unknown activation `relu`"]),
        ("deeper", &["deeper", "8 arrays", "4 layers"]),
        ("shallow", &["shallow", "8 arrays", "1 layers"]),
        ("loss", &["loss", "unknown loss `hinge`"]),
        ("run --data narrow.npz", &["64 inputs", "narrow has 3"]),
        ("run --data nowhere", &["nowhere", "does not exist"]),
        ("run --scale foo", &["unknown scaling `foo`"]),
        ("run --threads 0", &["--threads 0"]),
    ];
    for (line, causes) in cases {
        fails(dir.path(), &format!("eval {line}"), causes);
    }
    fs::write(dir.path().join("run/config.toml"), "rule = \"bp\"\nbatches = 3").unwrap();
    fails(dir.path(), "eval run", &["config.toml: line 2", "batches"]);
    fs::remove_file(dir.path().join("run/config.toml")).unwrap();
    run(dir.path(), "eval run").well();
}

#[test]
fn truncated_and_damaged_weights_are_errors() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let whole = fs::read(dir.path().join("run/weights.safetensors")).unwrap();
    let path = dir.path().join("cut");
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let fails = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let said = fails(dir.path(), "eval cut --threads 1", &["cut: "]);
        assert!(
            ["not a readable safetensors file", "checksum", "damaged"].iter().any(|why| said.contains(why)),
            "{what}: {said}"
        );
    };
    for length in [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        fails(&whole[..length], &format!("{length} bytes"));
    }
    fails(&[&whole[..], b"more"].concat(), "more");
    // A bit anywhere: in the header, in which it may spell another name, in the checksum, and in the weights.
    let step = whole.len().div_ceil(50);
    for at in (0..header).step_by(13).chain(0..8).chain((header..whole.len()).step_by(step)) {
        for mask in [0x80, 0x01] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fails(&bytes, &format!("byte {at}"));
        }
    }
}

// Nobody listens

/// The writing end of a pipe whose reader has left.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
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
    let status = program(dir.path(), "train --rule foo").stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
    assert_eq!(status.code(), Some(1));
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

// What goes well

#[test]
fn a_run_leaves_metrics_settings_and_weights() {
    for (dtype, letter) in [("f32", "F32"), ("f64", "F64")] {
        let dir = empty();
        let table = run(dir.path(), &format!("train {SMALL} --epochs 3 --lr 1e-3 --dtype {dtype} --out run")).well();
        let run_of = |rule: &str| dir.path().join(if rule == "gait" { "run" } else { "run/bp" });
        let files =
            ["checkpoints", "checkpoints/step-00000012.safetensors", "config.toml", "metrics.jsonl", "weights.safetensors"];
        let beside = files.map(|name| format!("bp/{name}"));
        let expected = ["bp"].into_iter().chain(beside.iter().map(String::as_str)).chain(files).collect::<Vec<_>>();
        assert_eq!(names(&dir.path().join("run")), expected);

        for (column, rule) in ["gait", "bp"].into_iter().enumerate() {
            let lines = metrics(&run_of(rule));
            let events: Vec<_> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
            assert_eq!(events, ["epoch", "epoch", "epoch", "end"]);
            for (k, line) in lines.iter().enumerate() {
                assert_eq!(line["rule"], rule);
                for key in ["train_accuracy", "test_accuracy"] {
                    assert!((0.0..=1.0).contains(&line[key].as_f64().unwrap()), "{line}");
                }
                let mut finite = vec!["train_loss", "test_loss", "seconds"];
                if k < 3 {
                    assert_eq!(line["epoch"], k + 1);
                    finite.extend(["solve_residual", "solve_products_per_step", "samples_per_second"]);
                }
                for key in finite {
                    assert!(line[key].as_f64().is_some_and(|x| x.is_finite() && x >= 0.0), "{key} of {line}");
                }
                assert_eq!(line["offdiag"].as_array().unwrap().len(), 3);
            }
            let end = &lines[3];
            assert_eq!((&end["epochs"], &end["steps"]), (&3.into(), &12.into()));
            for key in ["cosine_with_bp", "ratio_to_bp"] {
                let values: Vec<f64> = end[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
                assert_eq!(values.len(), 3);
                assert!(rule != "bp" || values.iter().all(|v| (v - 1.0).abs() < 1e-6), "{key}: {values:?}");
            }
            // The table says the same.
            for (title, key) in [("test accuracy", "test_accuracy"), ("train accuracy", "train_accuracy")] {
                assert_eq!(format!("{:.2}", row(&table, title)[column]), format!("{:.2}", 100.0 * end[key].as_f64().unwrap()));
            }
            assert_eq!(format!("{:.5}", row(&table, "test loss")[column]), format!("{:.5}", end["test_loss"].as_f64().unwrap()));
            assert_eq!(row(&table, "epochs")[column], 3.0);

            let (tensors, metadata) = weights(&run_of(rule));
            let shapes: Vec<_> = tensors.iter().map(|(name, (t, shape, _))| (name.as_str(), t.as_str(), &shape[..])).collect();
            let (square, vector) = (&[32, 32][..], &[32][..]);
            let matrices = [("W0", letter, &[64, 32][..]), ("W1", letter, square), ("W2", letter, square)];
            let vectors = ["b0", "b1", "b2"].map(|name| (name, letter, vector));
            let scaling = ["input_centre", "input_spread"].map(|name| (name, "F64", &[64][..]));
            assert_eq!(shapes, [&matrices[..], &vectors, &scaling].concat());
            let header: Value = serde_json::from_str(&metadata["gaitprop"]).unwrap();
            let notes = ["rule", "loss", "inputs", "labels"].map(|key| header[key].to_string());
            assert_eq!(notes, [&format!("\"{rule}\""), "\"squared\"", "64", "10"]);

            let resolved = settings(&run_of(rule));
            assert_eq!(resolved["rule"].as_str(), Some(rule));
            assert_eq!((resolved["lr"].as_float(), resolved["dtype"].as_str()), (Some(1e-3), Some(dtype)));
        }
    }
}

#[test]
fn saved_settings_give_the_same_run_again() {
    for flags in [
        "--rule gait",
        "--rule bp --dtype f64 --shuffle --seed 9223372036854775807",
        "--rule tp --scale standard --limit-test 50",
        "--rule itp --activation tanh --optimizer momentum --loss cross-entropy --init xavier --ortho-form identity",
        "--rule gait --regularizer block --block 10 --ortho-side columns",
        "--rule bp --regularizer block",
        "--rule tp --regularizer none --retract-every 3",
        "--rule gait --orthogonal cayley --optimizer sgd --lr 0.05",
    ] {
        let dir = empty();
        run(dir.path(), &format!("train {SMALL} --epochs 2 --out first {flags}")).well();
        run(dir.path(), "train --config first/config.toml --out again").well();
        let (first, again) = (dir.path().join("first"), dir.path().join("again"));
        assert!(weights(&first) == weights(&again), "{flags}");
        let text = |folder: &Path| fs::read_to_string(folder.join("config.toml")).unwrap();
        assert_eq!(text(&first), text(&again), "{flags}");
        assert_eq!(timeless(&first), timeless(&again), "{flags}");
    }
    // A tower keeps its name in the file.
    let dir = empty();
    run(dir.path(), "train --tower 64-32-16-10 --limit-train 240 --epochs 1 --rule gait --out first").well();
    run(dir.path(), "train --config first/config.toml --out again").well();
    assert!(weights(&dir.path().join("first")) == weights(&dir.path().join("again")));
}

/// Down to the header: two files of the same run can be told equal by their checksums.
#[test]
fn the_same_run_writes_the_same_bytes() {
    let dir = empty();
    let bytes = |k: usize| {
        run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --out run{k}")).well();
        fs::read(dir.path().join(format!("run{k}/weights.safetensors"))).unwrap()
    };
    let first = bytes(0);
    assert!((1..4).all(|k| bytes(k) == first), "files of the same weights differ");
}

#[test]
fn flags_win_over_the_file() {
    let dir = empty();
    fs::write(
        dir.path().join("my.toml"),
        "rule = \"bp\"\nlr = 0.001\nseed = 3\nepochs = 9\nlimit-train = 240\nlayers = [32, 16]",
    )
    .unwrap();
    run(dir.path(), "train --config my.toml --seed 7 --epochs 1 --out run").well();
    let resolved = settings(&dir.path().join("run"));
    assert_eq!((resolved["seed"].as_integer(), resolved["epochs"].as_integer()), (Some(7), Some(1)));
    assert_eq!((resolved["rule"].as_str(), resolved["lr"].as_float()), (Some("bp"), Some(0.001)));
    assert_eq!(metrics(&dir.path().join("run")).len(), 2);
    run(dir.path(), "train --rule bp --lr 1e-3 --seed 7 --epochs 1 --limit-train 240 --layers 32,16 --out flags").well();
    assert!(weights(&dir.path().join("run")) == weights(&dir.path().join("flags")));
}

/// Accuracies and losses that `eval` prints: test and train.
fn evaluated(dir: &Path, line: &str) -> (String, String) {
    let text = run(dir, &format!("eval --threads 1 {line}")).well();
    let find = |part: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(part)).unwrap_or_else(|| panic!("no {part} in {text}"));
        let words: Vec<_> = line.split_whitespace().collect();
        // accuracy 97.49 % loss 0.051637 (350 of 359)
        assert_eq!((words[0], words[2], words[3]), ("accuracy", "%", "loss"), "{text}");
        format!("{} {}", words[1], words[4])
    };
    (find("test"), find("train"))
}

fn as_evaluated(end: &Value) -> (String, String) {
    let part = |name: &str| {
        let figure = |what: &str| end[format!("{name}_{what}")].as_f64().unwrap();
        format!("{:.2} {:.6}", 100.0 * figure("accuracy"), figure("loss"))
    };
    (part("test"), part("train"))
}

#[test]
fn eval_finds_what_training_said() {
    for flags in [
        "--rule gait --beside bp",
        "--rule bp --beside tp --dtype f64",
        "--rule gait --beside none --loss cross-entropy --activation tanh",
        "--rule bp --beside itp --scale standard",
        "--rule bp --beside itp --scale per-feature",
    ] {
        let dir = empty();
        run(dir.path(), &format!("train --hidden 1 --width 20 --epochs 1 --lr 1e-3 --out run {flags}")).well();
        let words: Vec<_> = flags.split_whitespace().collect();
        let mut folders = vec!["run".to_owned()];
        if words[3] != "none" {
            folders.push(format!("run/{}", words[3]));
        }
        for folder in folders {
            let end = metrics(&dir.path().join(&folder)).pop().unwrap();
            assert_eq!(evaluated(dir.path(), &folder), as_evaluated(&end), "{flags}: {folder}");
        }
    }
    // A file on its own, and another set of data by name.
    let dir = empty();
    write_idx(&dir.path().join("set"));
    run(dir.path(), "train --data set --hidden 0 --width 12 --epochs 2 --rule gait --out run").well();
    let end = metrics(&dir.path().join("run")).pop().unwrap();
    assert_eq!(evaluated(dir.path(), "run"), as_evaluated(&end));
    assert_eq!(evaluated(dir.path(), "run/weights.safetensors --data set"), as_evaluated(&end));
    // And an npz with more classes than its labels show.
    write_npz(&dir.path().join("set.npz"), &labelled());
    run(dir.path(), "train --data set.npz --classes 3 --hidden 1 --epochs 1 --rule gait --out other").well();
    let end = metrics(&dir.path().join("other")).pop().unwrap();
    assert_eq!(evaluated(dir.path(), "other"), as_evaluated(&end));
}

/// Inputs are scaled by the samples that were trained on, so a limit on them counts in `eval` too.
#[test]
fn eval_scales_inputs_as_training_did() {
    let mut arrays = labelled();
    // Within the limit small values, beyond it large ones.
    arrays.get_mut("x").unwrap().data[15..].iter_mut().for_each(|x| *x *= 9.0);
    for (data, limit, scales) in
        [("digits", 240, &["standard", "per-feature"][..]), ("set.npz", 4, &["unit", "standard", "per-feature"])]
    {
        for scale in scales {
            let dir = empty();
            write_npz(&dir.path().join("set.npz"), &arrays);
            let flags = format!("--data {data} --limit-train {limit} --scale {scale}");
            run(dir.path(), &format!("train {flags} --hidden 1 --epochs 1 --rule bp --out run")).well();
            let end = metrics(&dir.path().join("run")).pop().unwrap();
            assert_eq!(evaluated(dir.path(), "run").0, as_evaluated(&end).0, "{flags}");
        }
    }
}

#[test]
fn both_rules_learn_the_digits() {
    let dir = empty();
    let table = run(dir.path(), "train --lr 1e-3 --epochs 12").well();
    let accuracy = row(&table, "test accuracy");
    assert!(accuracy.len() == 2 && accuracy.iter().all(|&percent| percent >= 90.0), "{table}");
    assert!(table.starts_with("digits: 1438 train, 359 test; layers 64x64 64x64 64x64 64x64 64x64; seed 1\n"), "{table}");
    assert!(snapshot(dir.path()).is_empty(), "nothing is written unasked");
}

// The same bits

#[test]
fn weights_do_not_depend_on_threads_or_instruction_sets() {
    let machines: Vec<String> = ["--threads 1", "--threads 2", "--threads 3"]
        .into_iter()
        .map(str::to_owned)
        .chain(info("instruction sets").into_iter().map(|isa| format!("--threads 1 --isa {isa}")))
        .collect();
    let small = "--width 32 --hidden 2 --epochs 2 --limit-train 200 --limit-test 50";
    // Batches that are worth sharing among threads; the last of 120.
    let wide = "--width 200 --hidden 1 --epochs 1 --limit-train 320 --limit-test 50 --batch 200";
    let tower = "--tower 64-48-33-17 --epochs 2 --limit-train 130 --limit-test 50";
    for flags in [
        format!("{small} --rule gait"),
        format!("{small} --rule gait --shuffle"),
        format!("{small} --rule gait --dtype f64"),
        format!("{small} --rule gait --dtype f64 --shuffle"),
        format!("{small} --rule bp --shuffle --optimizer adam --loss cross-entropy"),
        format!("{small} --rule itp --activation tanh --gamma 0.01"),
        format!("{small} --rule tp --dtype f64 --init xavier --optimizer momentum"),
        format!("{tower} --rule gait --scale per-feature --ortho-side columns"),
        format!("{tower} --rule gait --regularizer block --block 9"),
        format!("{tower} --rule gait --orthogonal cayley --optimizer sgd --lr 0.1"),
        format!("{tower} --rule itp --retract-every 2"),
        format!("{wide} --rule gait"),
        format!("{wide} --rule gait --dtype f64"),
    ] {
        let dir = empty();
        let mut first = None;
        for (k, machine) in machines.iter().enumerate() {
            run(dir.path(), &format!("train {flags} {machine} --out run{k}")).well();
            let folder = dir.path().join(format!("run{k}"));
            let found = (weights(&folder), timeless(&folder));
            let (tensors, lines) = first.get_or_insert_with(|| found.clone());
            assert!(*tensors == found.0, "`{flags} {machine}` gives other weights");
            assert_eq!(*lines, found.1, "`{flags} {machine}` gives other metrics");
        }
    }
}

#[test]
fn another_seed_is_another_run() {
    let dir = empty();
    let mut seen = Vec::new();
    for (k, flags) in ["--seed 1", "--seed 2", "--seed 1 --shuffle", "--seed 2 --shuffle"].iter().enumerate() {
        run(dir.path(), &format!("train {SMALL} --rule gait --epochs 2 --out run{k} {flags}")).well();
        let (tensors, _) = weights(&dir.path().join(format!("run{k}")));
        assert!(!seen.contains(&tensors), "{flags}");
        seen.push(tensors);
    }
    // 1 is what is taken where nothing is said.
    run(dir.path(), &format!("train {SMALL} --rule gait --epochs 2 --out run")).well();
    assert!(weights(&dir.path().join("run")).0 == seen[0]);
}

#[test]
fn other_backends_come_close() {
    let dir = empty();
    let flags = "--width 48 --hidden 1 --epochs 5 --lr 1e-3 --threads 1 --rule gait --beside bp";
    let native = run(dir.path(), &format!("train {flags}")).well();
    let backends = info("backends");
    assert!(backends.contains(&"native".to_owned()), "{backends:?}");
    for backend in backends {
        let table = run(dir.path(), &format!("train {flags} --backend {backend}")).well();
        for (here, there) in row(&table, "test accuracy").into_iter().zip(row(&native, "test accuracy")) {
            assert!((here - there).abs() <= 1.5, "{backend}: {here} % where native reaches {there} %");
        }
    }
}

// Updates

#[test]
fn updates_have_the_documented_names_and_shapes() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch_with("unknown", array(&[], [1.0])));
    let names = |flags: &str| -> BTreeMap<String, Vec<usize>> {
        let text = run(dir.path(), &format!("update in.npz out.npz {flags}")).well();
        let arrays = read_npz(&dir.path().join("out.npz"));
        assert_eq!(text, format!("{} arrays written to out.npz\n", arrays.len()));
        assert!(arrays.values().all(|a| a.data.iter().all(|x| x.is_finite())), "{flags}");
        arrays.into_iter().map(|(name, a)| (name, a.shape)).collect()
    };
    let expect = |prefixes: &[&str]| -> BTreeMap<String, Vec<usize>> {
        let shape = |prefix: &str| match prefix {
            "act" => vec![3, 4],
            "dW" | "reg" | "W" | "mW" | "vW" => vec![4, 4],
            _ => vec![4],
        };
        let number = |prefix: &str, l: usize| if prefix == "act" { l + 1 } else { l };
        prefixes.iter().flat_map(|p| (0..2).map(move |l| (format!("{p}{}", number(p, l)), shape(p)))).collect()
    };
    for rule in ["bp", "gait", "itp", "tp"] {
        for dtype in ["f32", "f64"] {
            let flags = format!("--rule {rule} --dtype {dtype}");
            assert_eq!(names(&flags), expect(&["act", "dW", "db"]));
            assert_eq!(names(&format!("{flags} --lambda 0.1")), expect(&["act", "dW", "db", "reg"]));
            for (optimizer, moments) in [
                ("published-adam", &["mW", "vW", "mb", "vb"][..]),
                ("adam", &["mW", "vW", "mb", "vb"]),
                ("momentum", &["mW", "mb"]),
                ("sgd", &[]),
            ] {
                let all = [&["act", "dW", "db", "W", "b"], moments].concat();
                assert_eq!(names(&format!("{flags} --steps 3 --lr 1e-3 --optimizer {optimizer}")), expect(&all));
            }
        }
    }
}

/// `dW` already holds the regulariser, a step of plain descent is `W + η dW`, and no step leaves the weights alone.
#[test]
fn updates_fit_together() {
    let dir = empty();
    let input = batch();
    write_npz(&dir.path().join("in.npz"), &input);
    let update = |flags: &str| {
        run(dir.path(), &format!("update in.npz out.npz --dtype f64 {flags}")).well();
        read_npz(&dir.path().join("out.npz"))
    };
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-14 * (1.0 + b.abs());
    for rule in ["bp", "gait"] {
        let bare = update(&format!("--rule {rule}"));
        let ortho = update(&format!("--rule {rule} --lambda 0.5"));
        let stepped = update(&format!("--rule {rule} --steps 1 --lr 0.25 --optimizer sgd"));
        let rested = update(&format!("--rule {rule} --steps 0 --lr 0.25"));
        for l in 0..2 {
            let of = |arrays: &BTreeMap<String, Array>, name: &str| arrays[&format!("{name}{l}")].data.clone();
            let w = &input[["W0", "W1"][l]].data;
            assert_eq!(of(&rested, "W"), *w);
            assert!(of(&rested, "mW").iter().chain(&of(&rested, "vW")).all(|&m| m == 0.0));
            for (i, &before) in w.iter().enumerate() {
                assert!(close(of(&ortho, "dW")[i], of(&bare, "dW")[i] - of(&ortho, "reg")[i]), "{rule} W{l}[{i}]");
                assert!(close(of(&stepped, "W")[i], before + 0.25 * of(&bare, "dW")[i]), "{rule} W{l}[{i}]");
            }
        }
    }
}

#[test]
fn updates_do_not_depend_on_threads_or_instruction_sets() {
    let dir = empty();
    // 150 wide: every kernel meets an edge, and threads are worth while.
    let n = 150;
    let wave = |count: usize, scale: f64, step: f64| (0..count).map(|i| scale * (i as f64 * step).sin()).collect::<Vec<_>>();
    let w = |step: f64| {
        let mut w = wave(n * n, 0.05, step);
        w.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal += 1.0);
        array(&[n, n], w)
    };
    let arrays = Arrays::from([
        ("x", array(&[70, n], wave(70 * n, 1.0, 0.7))),
        ("onehot", array(&[70, 10], (0..700).map(|i| f64::from(u8::from(i % 10 == i / 10 % 10))).collect::<Vec<_>>())),
        ("W0", w(1.3)),
        ("b0", array(&[n], wave(n, 0.1, 2.1))),
        ("W1", w(2.9)),
        ("b1", array(&[n], wave(n, 0.1, 0.4))),
    ]);
    write_npz(&dir.path().join("in.npz"), &arrays);
    let isas = info("instruction sets");
    for flags in [
        "--rule gait",
        "--rule gait --dtype f64 --lambda 0.1 --steps 2 --lr 1e-3",
        "--rule bp --loss cross-entropy",
        "--rule itp --activation tanh --lambda 10 --steps 1 --lr 1e-3 --optimizer adam",
        "--rule tp --dtype f64",
    ] {
        run(dir.path(), &format!("update in.npz first.npz {flags}")).well();
        let first = fs::read(dir.path().join("first.npz")).unwrap();
        let threads = ["--threads 2", "--threads 3"].map(str::to_owned);
        for machine in isas.iter().map(|isa| format!("--isa {isa}")).chain(threads) {
            run(dir.path(), &format!("update in.npz again.npz {flags} {machine}")).well();
            assert!(fs::read(dir.path().join("again.npz")).unwrap() == first, "`{flags} {machine}` gives other bits");
        }
    }
}

/// Against a 256-bit evaluation of the definitions.
#[test]
fn updates_are_those_of_the_golden_cases() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let Ok(index) = fs::read_to_string(golden.join("index.json")) else {
        return;
    };
    // Python writes NaN where it measured nothing, which JSON does not know.
    let index: Value = serde_json::from_str(&index.replace("NaN", "null")).unwrap();
    let dir = empty();
    let mut compared = 0;
    for case in index["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        if !file.contains("ortho") {
            continue;
        }
        let input = golden.join(file);
        let wanted = read_npz(&input);
        fs::copy(&input, dir.path().join("in.npz")).unwrap();
        let linear = if case["linear"] == true { "--linear" } else { "" };
        let flags = format!("--rule gait --dtype f64 --gamma {} {linear}", case["gamma"].as_f64().unwrap());
        run(dir.path(), &format!("update in.npz out.npz {flags}")).well();
        let found = read_npz(&dir.path().join("out.npz"));
        for (name, want) in &wanted {
            let Some(name) = name.strip_prefix("gait_hp_d") else {
                continue;
            };
            let got = &found[&format!("d{name}")];
            assert_eq!(got.shape, want.shape, "{file}: d{name}");
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
            let error = norm(&mut got.data.iter().zip(&want.data).map(|(g, w)| g - w));
            let size = norm(&mut want.data.iter().copied());
            assert!(error <= 1e-12 * size, "{file}: d{name} is off by {:.1e}", error / size);
            compared += 1;
        }
    }
    assert!(compared > 0, "no case was compared");
}

/// Found by fuzzing: a name of two lines in a file of settings gave an error of two lines in the library; the program says it in one, and sends no
/// terminal what the file holds.
#[test]
fn a_name_of_two_lines_is_refused_in_one() {
    let dir = empty();
    fs::write(dir.path().join("c.toml"), "rule = \"\"\" \"\"bp\"\n\\u001b[2J\"\"\"").unwrap();
    let said = fails(dir.path(), "train --config c.toml", &["unknown rule", "bp", "[2J"]);
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
}

// Interrupts

/// A run in the background that does not outlive its test.
struct Background(Option<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Background {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for its end.
    fn output(mut self) -> Output {
        until("the end of the program", || self.child().try_wait().unwrap().is_some());
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where the time went, phase by phase, adding up to all of it.
#[test]
fn a_profile_adds_up() {
    let dir = TempDir::new().unwrap();
    let out = run(dir.path(), &format!("train {SMALL} --epochs 1 --profile --beside none")).well();
    let table: Vec<_> = out.lines().skip_while(|line| !line.contains("ms a step")).skip(1).collect();
    let ms = |line: &str| line.split_whitespace().rev().nth(1).unwrap().parse::<f64>().unwrap();
    for phase in ["forward", "errors down", "exact regularizer", "gradient, optimizer", "all of it"] {
        assert!(table.iter().any(|line| line.starts_with(phase) && ms(line) > 0.0), "no {phase} in {out}");
    }
    let (all, parts) = table.split_last().unwrap();
    let sum: f64 = parts.iter().map(|line| ms(line)).sum();
    // Each figure is rounded to a microsecond.
    assert!((sum - ms(all)).abs() < 0.005, "{out}");
    let other = run(dir.path(), &format!("train {SMALL} --epochs 1 --beside none")).well();
    assert!(!other.contains("ms a step"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_training_with_everything_saved() {
    let dir = empty();
    let line = format!("train {SMALL} --epochs 100000000 --out run");
    let child = program(dir.path(), &line).spawn().unwrap();
    let mut child = Background(Some(child));
    let folders = [dir.path().join("run"), dir.path().join("run/bp")];
    until("a few epochs", || {
        let lines = |folder: &Path| fs::read_to_string(folder.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
        assert!(child.child().try_wait().unwrap().is_none(), "the program has ended by itself");
        folders.iter().all(|folder| lines(folder) > 3)
    });
    let pid = child.child().id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::new(&line, child.output());
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), ""), "128 + SIGINT, and nothing to complain of");

    let epochs = row(&ran.out, "epochs");
    for (folder, epochs) in folders.iter().zip(epochs) {
        let mut lines = metrics(folder);
        let end = lines.pop().unwrap();
        assert_eq!((&end["event"], end["epochs"].as_f64()), (&"end".into(), Some(epochs)));
        assert_eq!(end["interrupted"], true);
        assert!(lines.iter().enumerate().all(|(k, line)| line["event"] == "epoch" && line["epoch"] == k + 1));
        assert_eq!(lines.len() as f64, epochs, "a line for every whole epoch");
        // The weights are those that the last line speaks of.
        let path = folder.strip_prefix(dir.path()).unwrap().to_str().unwrap();
        assert_eq!(evaluated(dir.path(), path).0, as_evaluated(&end).0);
    }
    let temporary = snapshot(dir.path()).into_keys().find(|p| p.file_name().unwrap().to_string_lossy().starts_with('.'));
    assert_eq!(temporary, None);
}

// Rules with fixed feedback, absolute targets, reports on layers, align

#[test]
fn fixed_feedback_trains_and_comes_from_the_seed() {
    let dir = empty();
    for rule in ["fa", "dfa"] {
        let train = |rest: &str| {
            run(
                dir.path(),
                &format!("train {SMALL} --rule {rule} --epochs 20 --lr 0.003 --activation tanh --loss cross-entropy {rest}"),
            )
            .well()
        };
        train(&format!("--out {rule}"));
        train(&format!("--config {rule}/config.toml --out {rule}-again"));
        train(&format!("--seed 2 --out {rule}-other"));
        let [first, again, other] = ["", "-again", "-other"].map(|tail| weights(&dir.path().join(format!("{rule}{tail}"))));
        assert!(first.0 == again.0 && first.0 != other.0, "{rule}");
        // It learns something: better than a guess among ten.
        assert!(metrics(&dir.path().join(rule)).pop().unwrap()["train_accuracy"].as_f64().unwrap() > 0.3, "{rule}");
    }
    write_npz(&dir.path().join("in.npz"), &batch());
    let updates = |name: &str, rest: &str| {
        run(dir.path(), &format!("update in.npz {name} {rest}")).well();
        npz::read(dir.path().join(name), |_| true).unwrap()["dW0"].data.clone()
    };
    let [fa, again, other] =
        [("a.npz", ""), ("b.npz", "--seed 1"), ("c.npz", "--seed 2")].map(|(n, s)| updates(n, &format!("--rule fa {s}")));
    assert!(fa == again && fa != other);
    assert!(updates("d.npz", "--rule gait --form absolute --dtype f64") != updates("e.npz", "--rule gait --dtype f64"));
}

#[test]
fn absolute_targets_are_asked_for_and_refused_where_there_are_none() {
    let dir = empty();
    let train = format!("train {SMALL} --epochs 1 --form absolute");
    fails(dir.path(), &format!("{train} --rule bp"), &["--form absolute", "bp sends no targets"]);
    fails(dir.path(), &format!("{train} --rule gait --inverse auto"), &["--inverse auto", "use --inverse lu"]);
    fails(dir.path(), &format!("{train} --rule gait --gamma 0"), &["gamma is 0", "difference"]);
    fails(dir.path(), &format!("train {SMALL} --form relative"), &["form of target rules `relative`", "difference or absolute"]);
    // With bp beside it, of which the form says nothing; and its file gives the same run.
    run(dir.path(), &format!("{train} --dtype f64 --gamma 0.1 --out run")).well();
    run(dir.path(), "train --config run/config.toml --out again").well();
    run(dir.path(), "train --config run/bp/config.toml --out bp-again").well();
    let of = |folder: &str| weights(&dir.path().join(folder)).0;
    assert!(of("run") == of("again") && of("run/bp") == of("bp-again") && of("run") != of("run/bp"));
}

#[test]
fn reports_on_layers_come_when_asked_for_and_change_no_bit() {
    let dir = empty();
    let train = |rest: &str| run(dir.path(), &format!("train {SMALL} --rule gait --epochs 5 {rest}")).well();
    train("--diagnose-every 0 --out never");
    train("--diagnose-every 2 --out some");
    train("--out all");
    let epochs = |folder: &str| -> Vec<u64> {
        diagnostics(&dir.path().join(folder)).iter().map(|line| line["epoch"].as_u64().unwrap()).collect()
    };
    assert_eq!((epochs("never"), epochs("some"), epochs("all")), (vec![], vec![2, 4], vec![1, 2, 3, 4, 5]));
    let of = |folder: &str| weights(&dir.path().join(folder)).0;
    assert!(of("never") == of("some") && of("some") == of("all"));
    let line = diagnostics(&dir.path().join("some")).remove(0);
    assert_eq!((&line["rule"], line["step"].as_u64()), (&"gait".into(), Some(8)));
    let layers = line["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for (l, layer) in layers.iter().enumerate() {
        for name in ["cosine_with_bp", "ratio_to_bp", "offdiag", "distance_from_orthogonal", "update_norm", "dead_units"] {
            assert!(layer[name].is_number(), "layer {l}: {name} in {layer}");
        }
        for name in ["solve_residual", "solve_products", "kink_crossings"] {
            assert_eq!(layer[name].is_number(), l > 0, "layer {l}: {name} in {layer}");
        }
        // The first layer is 64x32.
        assert_eq!(layer["condition"].is_number(), l > 0, "layer {l}: {layer}");
    }
    // The same numbers as those that the epoch's own line has always had.
    let epoch = &metrics(&dir.path().join("some"))[1];
    let cosines: Vec<Value> = layers.iter().map(|layer| layer["cosine_with_bp"].clone()).collect();
    assert_eq!(epoch["cosine_with_bp"], Value::from(cosines));
}

/// The rows of `align --json`.
fn aligned(dir: &Path, line: &str) -> Vec<Value> {
    run(dir, &format!("align {line} --threads 1 --json rows.json")).well();
    let text = fs::read_to_string(dir.join("rows.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["rows"].as_array().unwrap().clone()
}

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
        ("--rules gait", &["--rules compares two rules", "here are 1"][..]),
        ("--rules gait,lms", &["unknown rule `lms`", "fa or dfa"]),
        ("--rules gait:exact,bp", &["rule `gait:exact`", "`exact` is none of"]),
        ("--rules bp:absolute,gait", &["bp:absolute", "bp sends no targets"]),
        ("--over phase", &["unknown axis `phase`", "depth, time"]),
        ("--values 0", &["0 layers"]),
        ("--values two", &["`two` is not a number of layers"]),
        ("--values 3 --hidden 2", &["over depth", "--width"]),
        ("--over gamma --values 2", &["gamma is 2"]),
        ("--over norms --values -1", &["from orthogonality of -1"]),
        ("--over time --values 2,1", &["ascending"]),
        ("--over precision --values f16", &["unknown element type `f16`"]),
        ("--out run", &["--out", "--csv and --json"]),
        ("--random 0", &["--random 0", "1 feature"]),
        ("--random 99999999999999", &["cannot be held"]),
        ("--values 1 --csv missing/rows.csv", &["missing/rows.csv", "cannot write"]),
    ] {
        fails(dir.path(), &format!("align --width 16 --quiet {line}"), causes);
    }
}

// Found once

/// What would be lost is nowhere else: the weights of the input.
#[test]
fn the_output_never_replaces_the_input() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    fs::create_dir(dir.path().join("sub")).unwrap();
    for output in ["in.npz", "./in.npz", "sub/../in.npz"] {
        fails(dir.path(), &format!("update in.npz {output} --rule bp"), &["in.npz", "would replace the input"]);
    }
}

/// Weights in a file find the settings that lie beside them.
#[test]
fn a_file_of_weights_is_evaluated_as_its_folder_is() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --limit-test 100 --epochs 1 --rule bp --out run")).well();
    let folder = run(dir.path(), "eval run").well();
    assert_eq!(run(dir.path(), "eval run/weights.safetensors").well(), folder);
}

/// Saturated units in every layer: 0/0 once, now a result or an error, never NaN in a file.
#[test]
fn updates_of_saturated_units_hold_no_nan() {
    let dir = empty();
    let mut arrays = batch();
    arrays.get_mut("x").unwrap().data.iter_mut().for_each(|x| *x = 80.0);
    write_npz(&dir.path().join("in.npz"), &arrays);
    for rule in ["gait", "itp", "tp", "bp"] {
        let line = format!("update in.npz out.npz --rule {rule} --activation tanh");
        let output = Command::new(env!("CARGO_BIN_EXE_gaitprop")).args(line.split(' ')).current_dir(dir.path()).output().unwrap();
        let out = dir.path().join("out.npz");
        assert_eq!(output.status.success(), out.exists(), "{line}");
        if out.exists() {
            let arrays = gaitprop::data::npz::read(&out, |_| true).unwrap();
            assert!(arrays.values().all(|a| a.data.iter().all(|v| v.is_finite())), "{line}");
            fs::remove_file(&out).unwrap();
        }
    }
}

/// `out` is a setting like any other, but no part of the run: the file in the folder does not point back at it.
#[test]
fn the_folder_of_results_may_stand_in_the_file() {
    let dir = empty();
    fs::write(dir.path().join("my.toml"), "out = \"here\"\nrule = \"bp\"\nepochs = 1\nlimit-train = 60\n").unwrap();
    run(dir.path(), "train --config my.toml").well();
    assert!(!settings(&dir.path().join("here")).contains_key("out"));
    run(dir.path(), "train --config here/config.toml --out there").well();
    assert!(weights(&dir.path().join("here")) == weights(&dir.path().join("there")));
}

/// Another rule comes with its own learning rate and λ, whatever the file's rule had.
#[test]
fn another_rule_brings_its_own_constants() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --out first")).well();
    run(dir.path(), "train --config first/config.toml --rule tp --out second").well();
    let second = settings(&dir.path().join("second"));
    assert_eq!((second["lr"].as_float(), second["lambda"].as_float()), (Some(1e-5), Some(1000.0)));
}

/// So do regularisers: λ is the exact one's, μ the block one's.
#[test]
fn another_regulariser_brings_its_own_constants() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --lambda 0.3 --out first")).well();
    run(dir.path(), "train --config first/config.toml --regularizer block --out second").well();
    let second = settings(&dir.path().join("second"));
    assert_eq!((second["regularizer"].as_str(), second["mu"].as_float()), (Some("block"), Some(1.0)));
    assert_eq!((second["block"].as_integer(), second.contains_key("lambda")), (Some(64), false));
    run(dir.path(), "train --config second/config.toml --regularizer exact --out third").well();
    let third = settings(&dir.path().join("third"));
    assert_eq!((third["lambda"].as_float(), third.contains_key("mu"), third.contains_key("block")), (Some(0.1), false, false));
    // Backpropagation beside is left alone unless μ is given, as it is by λ.
    for (flags, mu) in [("", 0.0), ("--mu 0.7", 0.7)] {
        run(dir.path(), &format!("train {SMALL} --epochs 1 --regularizer block {flags} --out both --overwrite")).well();
        assert_eq!(settings(&dir.path().join("both/bp"))["mu"].as_float(), Some(mu));
    }
}

/// Each way of holding weights shows in what is left of W Wᵀ, and its name in the metrics.
#[test]
fn weights_are_held_as_asked() {
    let offdiag = |flags: &str, names: [&str; 2]| -> f64 {
        let dir = empty();
        run(dir.path(), &format!("train {SMALL} --epochs 12 --rule gait --out run {flags}")).well();
        let end = metrics(&dir.path().join("run")).pop().unwrap();
        assert_eq!([&end["regularizer"], &end["orthogonal"]], names);
        end["offdiag"].as_array().unwrap().iter().fold(0.0, |most, x| x.as_f64().unwrap().max(most))
    };
    let free = offdiag("--lr 3e-3 --regularizer none", ["none", "none"]);
    let block = offdiag("--lr 3e-3 --regularizer block", ["block", "none"]);
    let exact = offdiag("--lr 3e-3", ["exact", "none"]);
    let retracted = offdiag("--lr 3e-3 --regularizer none --retract-every 4", ["none", "retraction"]);
    let rotated = offdiag("--optimizer sgd --lr 0.1 --orthogonal cayley", ["none", "cayley"]);
    println!("free {free:.3}, exact {exact:.3}, block {block:.3}, retracted {retracted:.1e}, rotated {rotated:.1e}");
    assert!(block < 0.5 * free && exact < 0.5 * free && retracted < 1e-2 && rotated < 1e-5);
}

/// Results of a rule that was beside in the run that is replaced do not stay beside the new one.
#[test]
fn replaced_results_take_those_beside_along() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --beside bp --out run")).well();
    assert!(dir.path().join("run/bp/metrics.jsonl").exists());
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --out run --overwrite")).well();
    let files = ["checkpoints", "checkpoints/step-00000004.safetensors", "config.toml", "metrics.jsonl", "weights.safetensors"];
    assert_eq!(names(&dir.path().join("run")), files);
}

/// Half of the four files is a download that stopped.
#[test]
fn half_of_a_data_set_is_refused() {
    let dir = empty();
    write_idx(&dir.path().join("set"));
    fs::remove_file(dir.path().join("set").join(TEST_X)).unwrap();
    fs::remove_file(dir.path().join("set").join(TEST_Y)).unwrap();
    fails(dir.path(), "train --data set --epochs 1", &["set", TEST_X]);
}

#[test]
fn labels_that_a_network_does_not_tell_apart_are_named() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let mut arrays = labelled();
    let n = arrays["x"].shape[0];
    arrays.insert("x", array(&[n, 64], vec![0.5; n * 64]));
    arrays.get_mut("y").unwrap().data[0] = 10.0;
    write_npz(&dir.path().join("more.npz"), &arrays);
    let error = run(dir.path(), "eval run --data more.npz");
    error.error(&["label 10", "tells 10 classes apart"]);
}

// For shells and manuals

#[test]
fn completions_and_the_manual_know_every_flag() {
    let dir = empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &format!("completions {shell}")).well();
        assert!(["gaitprop", "train", "lambda", "completions"].iter().all(|word| script.contains(word)), "{shell}: {script}");
        if shell == "bash" {
            let file = dir.path().join("script");
            fs::write(&file, script).unwrap();
            // A script that bash cannot read is none. Where there is no bash, nobody can tell.
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
