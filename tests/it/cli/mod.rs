//! The program from outside: what it prints, what it writes, and how it fails.
//!
//! A user's error gives a message on standard error that names the cause, and an exit code other
//! than 0. All files stay as they were. A message takes one line, unless it is clap's.
//!
//! A command that succeeds leaves standard error empty if it is not a terminal. Its files do not
//! depend on threads, instruction set or time of day.

mod align;
mod data;
mod eval;
mod folders;
mod settings;
mod terminal;
mod train;
mod update;

use crate::program::folder::snapshot;
use crate::program::program;
use flate2::Compression;
use flate2::write::GzEncoder;
use gaitprop::data::npz::{self, Array};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A network and a share of the digits that train in a few milliseconds.
pub(crate) const SMALL: &str = "--width 32 --hidden 2 --limit-train 240 --threads 1";

/// How a run of the program ended.
pub(crate) struct Ran {
    /// Its arguments, for messages.
    pub(crate) line: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn new(line: &str, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { line: line.into(), code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a run that went well: no byte on standard error.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert!(self.code == Some(0) && self.err.is_empty(), "`{}` exits with {:?}: {:?}", self.line, self.code, self.err);
        self.out
    }

    /// The message of a run that failed as it should: it holds all `causes`, takes one line unless it is clap's, and nothing else is printed.
    #[track_caller]
    pub(crate) fn error(self, causes: &[&str]) -> String {
        let Self { line, code, out, err } = self;
        assert!(matches!(code, Some(1 | 2)), "`{line}` exits with {code:?}: {err}");
        assert!(err.starts_with("error: ") && err.ends_with('\n'), "`{line}` says {err:?}");
        assert!(code == Some(2) || err.lines().count() == 1, "`{line}` says {err:?}");
        assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "`{line}` says {err:?}");
        assert_eq!(out, "", "`{line}` prints, though it fails: {err}");
        for cause in causes {
            assert!(err.contains(cause), "`{line}` does not say {cause:?}: {err}");
        }
        err
    }
}

pub(crate) fn run(dir: &Path, line: &str) -> Ran {
    Ran::new(line, program(dir, line).output().expect("the program starts"))
}

/// Says which files differ, rather than printing all their bytes.
#[track_caller]
pub(crate) fn assert_unchanged(dir: &Path, before: &BTreeMap<PathBuf, Option<Vec<u8>>>, line: &str) {
    let after = snapshot(dir);
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = all.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "`{line}` fails, but leaves {changed:?} new, changed or removed");
}

/// A run that fails with one line holding all `causes`, and leaves `dir` as it was.
#[track_caller]
pub(crate) fn fails(dir: &Path, line: &str, causes: &[&str]) -> String {
    let before = snapshot(dir);
    let message = run(dir, line).error(causes);
    assert_unchanged(dir, &before, line);
    message
}

/// Names of what is in a folder.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    snapshot(dir).into_keys().map(|path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

pub(crate) fn empty() -> TempDir {
    TempDir::new().unwrap()
}

/// The names after `what` in what `gaitprop info` says of this machine.
pub(crate) fn info(what: &str) -> Vec<String> {
    let text = run(Path::new("."), "info").well();
    let line = text.lines().find_map(|l| l.strip_prefix(what)).unwrap_or_else(|| panic!("`info` says nothing of {what}: {text}"));
    line.split(',').map(|name| name.trim().to_owned()).collect()
}

/// Tensors of a file of weights: type, shape and bytes by name.
pub(crate) type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;
/// Tensors, and metadata by key.
pub(crate) type Weights = (Tensors, BTreeMap<String, String>);

pub(crate) fn weights(folder: &Path) -> Weights {
    let bytes = fs::read(folder.join("weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, t)| (name.into(), (format!("{:?}", t.dtype()), t.shape().into(), t.data().into())));
    (tensors.collect(), header.metadata().clone().unwrap().into_iter().collect())
}

/// Lines of metrics about the run, every one of them whole; reports on layers are [`diagnostics`].
pub(crate) fn metrics(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line["event"] != "diagnostics").collect()
}

/// Reports on layers.
pub(crate) fn diagnostics(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line["event"] == "diagnostics").collect()
}

pub(crate) fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Metrics without what a clock says.
pub(crate) fn timeless(folder: &Path) -> Vec<Value> {
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

pub(crate) fn settings(folder: &Path) -> toml::Table {
    fs::read_to_string(folder.join("config.toml")).unwrap().parse().unwrap()
}

/// The figures in the table's row `title`, one a rule.
pub(crate) fn row(table: &str, title: &str) -> Vec<f64> {
    let line = table.lines().find_map(|l| l.strip_prefix(title)).unwrap_or_else(|| panic!("no {title} in {table}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) const TRAIN_X: &str = "train-images-idx3-ubyte";

pub(crate) const TRAIN_Y: &str = "train-labels-idx1-ubyte";

pub(crate) const TEST_X: &str = "t10k-images-idx3-ubyte";

pub(crate) const TEST_Y: &str = "t10k-labels-idx1-ubyte";

/// An IDX file of bytes.
pub(crate) fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Six pictures of 2×2 and two more for testing.
pub(crate) fn write_idx(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(format!("{TRAIN_X}.gz")), gz(&idx(&[6, 2, 2], &(0..24).collect::<Vec<u8>>()))).unwrap();
    fs::write(dir.join(TRAIN_Y), idx(&[6], &[0, 1, 2, 0, 1, 2])).unwrap();
    fs::write(dir.join(TEST_X), idx(&[2, 2, 2], &[7; 8])).unwrap();
    fs::write(dir.join(TEST_Y), idx(&[2], &[1, 2])).unwrap();
}

/// Arrays by name, to be changed here and there before they are written.
pub(crate) type Arrays = BTreeMap<&'static str, Array>;

pub(crate) fn array(shape: &[usize], data: impl Into<Vec<f64>>) -> Array {
    Array { shape: shape.to_vec(), data: data.into() }
}

pub(crate) fn write_npz(path: &Path, arrays: &Arrays) {
    let list: Vec<_> = arrays.iter().map(|(name, a)| (*name, &a.shape[..], &a.data[..])).collect();
    npz::write(path, &list).unwrap();
}

pub(crate) fn read_npz(path: &Path) -> BTreeMap<String, Array> {
    npz::read(path, |_| true).unwrap()
}

/// Ten samples of three features.
pub(crate) fn labelled() -> Arrays {
    let x: Vec<f64> = (0..30).map(|i| f64::from(i * 7 % 11) / 11.0).collect();
    let y: Vec<f64> = (0..10).map(|i| f64::from(i % 2)).collect();
    Arrays::from([("x", array(&[10, 3], x)), ("y", array(&[10], y))])
}

/// A batch of three samples for a network of two layers of four units and two labels.
pub(crate) fn batch() -> Arrays {
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

pub(crate) fn batch_with(name: &'static str, value: Array) -> Arrays {
    let mut arrays = batch();
    arrays.insert(name, value);
    arrays
}

pub(crate) fn batch_without(name: &str) -> Arrays {
    let mut arrays = batch();
    arrays.remove(name).unwrap();
    arrays
}

/// Runs `line` after the shell has set a limit.
#[cfg(unix)]
pub(crate) fn run_within(limit: &str, dir: &Path, line: &str) -> Ran {
    let script = format!("{limit}; exec {} {line}", env!("CARGO_BIN_EXE_gaitprop"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir).env_remove("RUST_BACKTRACE").output().unwrap();
    Ran::new(line, output)
}

/// No file may grow beyond a few kilobytes. With the signal ignored, the write itself fails.
#[cfg(unix)]
pub(crate) const FULL_DISK: &str = "trap '' XFSZ; ulimit -f 8";

/// Two gigabytes of addresses.
#[cfg(target_os = "linux")]
pub(crate) const LITTLE_MEMORY: &str = "ulimit -v 2000000";

#[track_caller]
pub(crate) fn assert_all_finite(folder: &Path, line: &str) {
    for (name, (dtype, _, bytes)) in weights(folder).0 {
        let finite = match dtype.as_str() {
            "F32" => bytes.as_chunks().0.iter().all(|b| f32::from_le_bytes(*b).is_finite()),
            "F64" => bytes.as_chunks().0.iter().all(|b| f64::from_le_bytes(*b).is_finite()),
            other => panic!("{name} is {other}"),
        };
        assert!(finite, "`{line}` saves weights that are not finite: {name}");
    }
}

/// The writing end of a pipe whose reader has left.
pub(crate) fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Accuracies and losses that `eval` prints: test and train.
pub(crate) fn evaluated(dir: &Path, line: &str) -> (String, String) {
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

pub(crate) fn as_evaluated(end: &Value) -> (String, String) {
    let part = |name: &str| {
        let figure = |what: &str| end[format!("{name}_{what}")].as_f64().unwrap();
        format!("{:.2} {:.6}", 100.0 * figure("accuracy"), figure("loss"))
    };
    (part("test"), part("train"))
}

/// A run in the background that does not outlive its test.
pub(crate) struct Background(pub(crate) Option<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Background {
    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> Output {
        until("the end of the program", || self.child().try_wait().unwrap().is_some());
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The rows of `align --json`.
pub(crate) fn aligned(dir: &Path, line: &str) -> Vec<Value> {
    run(dir, &format!("align {line} --threads 1 --json rows.json")).well();
    let text = fs::read_to_string(dir.join("rows.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["rows"].as_array().unwrap().clone()
}
