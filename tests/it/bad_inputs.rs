//! Messages for invalid input. The test runs every case and compares the messages with
//! `tests/it/snapshots/bad-inputs.txt`.
//!
//! `GAITPROP_REWRITE=1 cargo test -p gaitprop --test it bad_inputs::` rewrites that file.
//!
//! Each case prints only its error and changes no file. The address space is limited to 700
//! megabytes, so that the program must refuse before it allocates. Either the exit code is 1 and the
//! message takes one line, or the code is 2 and the message is clap's. The snapshot leaves out the
//! words of clap and serde, which may change with their releases.

use crate::program::folder::snapshot;
use crate::program::room::room;
use gaitprop::data::npz;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

// Running

/// What the shell sets before the program begins.
const LITTLE_MEMORY: &str = "ulimit -v 700000";
/// No file may grow beyond four kilobytes. With the signal ignored, the write itself fails.
const FULL_DISK: &str = "trap '' XFSZ; ulimit -f 8";

/// A folder of cases, and how the program is started there.
struct Place {
    _dir: tempfile::TempDir,
    dir: PathBuf,
    limit: &'static str,
}

impl Place {
    fn new() -> Self {
        let (_dir, dir) = room();
        let mut place = Self { _dir, dir, limit: LITTLE_MEMORY };
        if !place.run("info").status.success() {
            println!("a program with sanitisers reserves more memory than is given here: no limit");
            place.limit = ":";
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the program with what a shell makes of `line`; it must end by itself.
    fn run(&self, line: &str) -> Output {
        let script = format!("{}; exec {} {line}", self.limit, env!("CARGO_BIN_EXE_gaitprop"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(&self.dir).env_remove("RUST_BACKTRACE");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(100) {
                child.kill().unwrap();
                panic!("`{line}` does not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait_with_output().unwrap()
    }

    fn well(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The message of a run that fails as it should; none of one that goes well.
    fn refused(&self, line: &str) -> Option<String> {
        let output = self.run(line);
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() {
            return None;
        }
        assert!(matches!(output.status.code(), Some(1 | 2)), "`{line}` ends with {}: {err}", output.status);
        let of_clap = output.status.code() == Some(2);
        assert!((of_clap || err.lines().count() == 1) && !err.contains("panicked"), "`{line}` says {err:?}");
        // A table in which every run has failed is shown all the same.
        assert!(out.is_empty() || err.contains("every run of"), "`{line}` prints {out:?}");
        let message = err.trim_end().strip_prefix("error: ").unwrap_or_else(|| panic!("`{line}` says {err:?}"));
        if of_clap {
            return Some(CLAP.into());
        }
        let message = message.replace(self.dir.to_str().unwrap(), "…");
        // What follows the line of a file of settings is serde's.
        if let Some((place, _)) = message.split_once("`): ").filter(|(place, _)| place.contains("config.toml: line ")) {
            return Some(format!("{place}`): …"));
        }
        // Metrics hold seconds, of which there are more digits or fewer.
        Some(match message.split_once(" bytes, but ").and_then(|(before, rest)| Some((before, rest.split_once(" at")?.1))) {
            Some((before, after)) => format!("{before} bytes, but … at{after}"),
            None => message,
        })
    }
}

/// Stands for a message of clap's.
const CLAP: &str = "clap";

// The snapshot

/// Cases and the message of each.
struct Page(String);

impl Page {
    fn section(&mut self, title: &str) {
        let _ = writeln!(self.0, "\n# {title}\n");
    }

    fn row(&mut self, input: &str, message: &str) {
        if message != CLAP {
            let _ = writeln!(self.0, "{input}\n    {message}");
        }
    }

    /// Cases that must be refused and leave every file as it was, each with what it is for a reader.
    fn cases(&mut self, place: &Place, cases: &[(&str, &str)]) {
        for (what, line) in cases {
            let before = snapshot(&place.dir);
            let message = place.refused(line).unwrap_or_else(|| panic!("`{line}` goes well"));
            assert!(snapshot(&place.dir) == before, "`{line}` fails, but changes files");
            let what = if what.is_empty() { (*line).to_owned() } else { format!("{what}: {line}") };
            self.row(&what, &message);
        }
    }
}

// Flags

/// The smallest work of each command, flag by flag, so that one of them can be replaced.
const COMMANDS: [(&str, &str, &str); 9] = [
    ("train", "", "--width=12 --hidden=1 --limit-train=40 --limit-test=10 --epochs=1 --batch=20 --threads=1"),
    (
        "compare",
        "",
        "--rules=bp --width=12 --hidden=1 --limit-train=40 --limit-test=10 --epochs=1 --batch=20 --threads=1 --seeds=1",
    ),
    (
        "sweep",
        "",
        "--rule=bp --grid=lr=1e-3 --width=12 --hidden=1 --limit-train=40 --limit-test=10 --epochs=1 --batch=20 --threads=1 --seeds=1",
    ),
    ("align", "", "--values=1 --width=12 --limit-train=40 --batch=20 --threads=1"),
    ("update", "in.npz out.npz", "--rule=bp"),
    ("eval", "made", ""),
    ("report", "made", "--threads=1"),
    ("info", "", ""),
    ("selftest", "", "--threads=1"),
];

/// Flags that mean something only with another.
const COMPANIONS: [(&str, &str); 20] = [
    ("--patience", "--validation=20"),
    ("--validation", "--batch=1"),
    ("--checkpoint-every", "--out=run"),
    ("--keep", "--out=run"),
    ("--tensorboard", "--out=run"),
    ("--stats-every", "--out=run"),
    ("--block", "--hold=block"),
    ("--mu", "--hold=block"),
    ("--grid-seeds", "--grid=lr=1e-3,1e-4"),
    ("--grid-epochs", "--grid=lr=1e-3,1e-4"),
    ("--steps", "--lr=1e-3"),
    ("--lr", "--steps=1"),
    ("--ortho-form", "--lambda=0.1"),
    ("--gauss-newton-damping", "--gauss-newton"),
    ("--damping", "--inverse=damped"),
    ("--inverse-lr", "--inverse=learned"),
    ("--decor-share", "--decor-lr=1e-3"),
    ("--dense", ""),
    ("--layers", ""),
    ("--tower", ""),
];

/// The kinds of values there are, by the name that help gives them: numbers, names, or what other cases look at.
const NUMBERS: [&str; 12] = ["N", "K", "G", "L", "MU", "X", "ETA", "RHO", "P", "FEATURES", "N,N,…", "N-N-…"];
const NAMES: [&str; 17] = [
    "SIDE", "LAYERS", "PRESET", "SET", "HOW", "RULE", "FORM", "F", "LOSS", "OPT", "TYPE", "HOLD", "BOOL", "ISA", "LIB", "WHAT",
    "A,B",
];
const OTHERS: [&str; 5] = ["FILE", "DIR", "KEY=V,V,…", "RULE,…", "V,V,…"];

/// Numbers that someone or something has set wrong.
const WRONG: [&str; 12] =
    ["", "0", "-1", "0.5", "2000000000", "18446744073709551615", "18446744073709551616", "1e300", "1e400", "-inf", "nan", "many"];

/// Flags of a command and the names of their values, as help has them.
fn flags(place: &Place, command: &str) -> Vec<(String, String)> {
    let help = String::from_utf8(place.run(&format!("{command} --help")).stdout).unwrap();
    let flag = |line: &str| {
        let line = line.trim_start();
        let long = if line.starts_with("--") { line } else { line.strip_prefix('-')?.split_once(", ")?.1 };
        let (name, rest) = long.strip_prefix("--")?.split_once([' ', '['])?;
        let value = rest.trim_start_matches('[').strip_prefix('<')?.split_once('>')?.0;
        Some((format!("--{name}"), value.to_owned()))
    };
    help.lines().filter_map(flag).collect()
}

/// The line of a command with one flag set to a value.
fn line_with(command: &(&str, &str, &str), flag: &str, value: &str) -> String {
    let (name, words, base) = command;
    let shape = ["--layers", "--dense", "--tower"].contains(&flag);
    let companions =
        COMPANIONS.iter().filter(|(of, _)| *of == flag && (flag != "--lr" || *name == "update")).map(|(_, with)| *with);
    // Another description of the network would be refused for being one, and over depth there is no --hidden.
    let kept = |word: &&str| {
        let key = word.split('=').next().unwrap();
        key != flag
            && !(shape && ["--width", "--hidden"].contains(&key))
            && !companions.clone().any(|with| with.split('=').next() == Some(key))
    };
    let over = if *name == "align" && (shape || flag == "--hidden") { "--over=gamma" } else { "" };
    let mut line = format!("{name} {words}");
    let all = base.split_whitespace().filter(kept).chain(companions.clone()).chain([over]).filter(|word| !word.is_empty());
    all.for_each(|word| line += &format!(" {word}"));
    let line = if over.is_empty() { line } else { line.replace("--values=1", "--values=0.1") };
    format!("{line} {flag}={value}").replace("  ", " ")
}

/// Runs every command with invalid values of every flag: each of [`WRONG`] for a number, an unknown
/// name for a name. A flag that several commands share is listed once.
fn walk_flags(place: &Place, page: &mut Page) {
    page.section("Flags");
    let mut listed = BTreeSet::new();
    for command in &COMMANDS {
        let all = flags(place, command.0);
        assert!(!all.is_empty(), "{} has flags", command.0);
        let mut new = Vec::new();
        for (flag, kind) in &all {
            let values: &[&str] = match kind.as_str() {
                kind if NUMBERS.contains(&kind) => &WRONG,
                kind if NAMES.contains(&kind) => &["nonsense"],
                kind if OTHERS.contains(&kind) => continue,
                other => panic!("{flag} <{other}>: say which kind of value that is"),
            };
            // Of the values of a number, some are always wrong.
            let mut refused = 0;
            for value in values {
                let line = line_with(command, flag, &format!("'{value}'"));
                let before = snapshot(&place.dir);
                let Some(message) = place.refused(&line) else {
                    let _ = fs::remove_dir_all(place.at("run"));
                    for name in ["out.npz", "report.html"] {
                        let _ = fs::remove_file(place.at(name));
                    }
                    continue;
                };
                refused += 1;
                // A run that begins and then fails keeps what it has.
                if !message.contains("diverged") && !message.contains("layer") {
                    assert!(snapshot(&place.dir) == before, "`{line}` is refused, but changes files: {message}");
                }
                let _ = fs::remove_dir_all(place.at("run"));
                let what = format!("{} {flag}={}", command.0, if value.is_empty() { "''" } else { value });
                new.push((flag.clone(), what, message));
            }
            assert!(refused > 0, "{} {flag} takes anything", command.0);
        }
        // What this machine and this build have is not on the page.
        listed.extend(["--isa", "--backend"].map(str::to_owned));
        new.iter().filter(|(flag, ..)| !listed.contains(flag)).for_each(|(_, what, message)| page.row(what, message));
        listed.extend(all.into_iter().map(|(flag, _)| flag));
    }
}

// Files

type Named<'a> = (&'a str, &'a [usize], Vec<f64>);

fn write_npz(path: &Path, arrays: &[Named<'_>]) {
    let arrays: Vec<_> = arrays.iter().map(|(name, shape, data)| (*name, *shape, data.as_slice())).collect();
    npz::write(path, &arrays).unwrap();
}

/// Twenty samples of three features with this value at one place.
fn samples(path: &Path, place: usize, value: f64) {
    let mut x: Vec<f64> = (0..60).map(|i| f64::from(i % 7) / 7.0).collect();
    x[place] = value;
    write_npz(path, &[("x", &[20, 3], x), ("y", &[20], (0..20).map(|i| f64::from(i % 2)).collect())]);
}

/// The batch of `update`, with an array replaced.
fn batch(path: &Path, other: &Named<'_>) {
    let mut arrays: Vec<Named<'_>> = vec![
        ("x", &[2, 3], vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ("onehot", &[2, 2], vec![1.0, 0.0, 0.0, 1.0]),
        ("W0", &[3, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
        ("b0", &[3], vec![0.0; 3]),
        ("W1", &[3, 3], vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
        ("b1", &[3], vec![0.0; 3]),
    ];
    arrays.retain(|array| array.0 != other.0);
    if !other.1.is_empty() {
        arrays.push(other.clone());
    }
    write_npz(path, &arrays);
}

fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = magic.to_be_bytes().into();
    sizes.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// A folder of four IDX files, the training pictures as given.
fn idx_folder(dir: &Path, pictures: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    let labels = |n: u8| idx(0x801, &[n.into()], &(0..n).map(|i| i % 2).collect::<Vec<_>>());
    fs::write(dir.join("train-images-idx3-ubyte"), pictures).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte"), labels(4)).unwrap();
    fs::write(dir.join("t10k-images-idx3-ubyte"), idx(0x803, &[2, 2, 2], &[7; 8])).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte"), labels(2)).unwrap();
}

/// A file with one byte changed.
fn flipped(from: &Path, to: &Path, at: usize) {
    let mut bytes = fs::read(from).unwrap();
    bytes[at] ^= 1;
    fs::write(to, bytes).unwrap();
}

fn cut(from: &Path, to: &Path, len: usize) {
    fs::write(to, &fs::read(from).unwrap()[..len]).unwrap();
}

fn data_sets(place: &Place, page: &mut Page) {
    samples(&place.at("inf.npz"), 4, f64::INFINITY);
    samples(&place.at("nan.npz"), 59, f64::NAN);
    samples(&place.at("large.npz"), 0, 1e39);
    samples(&place.at("good.npz"), 0, 5e-324);
    place.well("train --data good.npz --epochs 1 --rule bp --threads 1 --width 3 --hidden 0");
    let good = fs::read(place.at("good.npz")).unwrap();
    cut(&place.at("good.npz"), &place.at("cut.npz"), good.len() / 2);
    // Of the first array's numbers, not of a header.
    flipped(&place.at("good.npz"), &place.at("flipped.npz"), 200);
    write_npz(&place.at("alone.npz"), &[("x", &[2, 2], vec![0.0; 4])]);
    write_npz(&place.at("empty.npz"), &[("x", &[0, 3], vec![]), ("y", &[0], vec![])]);
    write_npz(&place.at("fewer.npz"), &[("x", &[2, 2], vec![0.0; 4]), ("y", &[3], vec![0.0; 3])]);
    write_npz(&place.at("half.npz"), &[("x", &[2, 2], vec![0.0; 4]), ("y", &[2], vec![0.0, 0.5])]);
    fs::write(place.at("absurd.npz"), absurd_npz("(1099511627776, 3)")).unwrap();
    fs::write(place.at("overflow.npz"), absurd_npz("(18446744073709551615, 18446744073709551615)")).unwrap();
    fs::write(place.at("bomb.npz"), bomb()).unwrap();
    let pixels = idx(0x803, &[4, 2, 2], &[9; 16]);
    idx_folder(&place.at("short"), &pixels[..20]);
    idx_folder(&place.at("billions"), &idx(0x803, &[4_000_000_000, 28, 28], &[9; 16]));
    idx_folder(&place.at("overflowing"), &idx(0x803, &[u32::MAX; 3], &[9; 16]));
    idx_folder(&place.at("longer"), &idx(0x803, &[3, 2, 2], &[9; 16]));
    idx_folder(&place.at("labels"), &idx(0x801, &[4], &[1; 4]));
    idx_folder(&place.at("text"), b"this is not a picture");
    idx_folder(&place.at("gone"), &pixels);
    fs::remove_file(place.at("gone/t10k-labels-idx1-ubyte")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.at("dangling.npz")).unwrap();
    page.section("Data sets");
    let train = |what, set: &str| (what, format!("train --data {set} --epochs 1 --rule bp --threads 1 --out run"));
    let cases = [
        train("not there", "nowhere.npz"),
        train("a link to nothing", "dangling.npz"),
        train("no data set", "/dev/null"),
        train("an infinity", "inf.npz"),
        train("not a number", "nan.npz"),
        train("more than f32 can hold", "large.npz"),
        train("cut in the middle", "cut.npz"),
        train("one bit of it changed", "flipped.npz"),
        train("no labels", "alone.npz"),
        train("no samples", "empty.npz"),
        train("labels for other samples", "fewer.npz"),
        train("half a label", "half.npz"),
        train("a header that promises 24 terabytes", "absurd.npz"),
        train("a header that promises more than can be counted", "overflow.npz"),
        train("a megabyte that unpacks to a gigabyte", "bomb.npz"),
        train("cut off", "short"),
        train("a header of billions of pictures", "billions"),
        train("a header of more pixels than can be counted", "overflowing"),
        train("more pixels than its header says", "longer"),
        train("labels where pictures should be", "labels"),
        train("text", "text"),
        train("one of four files is missing", "gone"),
    ];
    page.cases(place, &cases.each_ref().map(|(what, line)| (*what, line.as_str())));
}

/// An archive with one array whose header has this shape, and that holds a few bytes.
fn absurd_npz(shape: &str) -> Vec<u8> {
    archive(&[("x", shape, 64), ("y", "(2,)", 16)])
}

/// Zeros, compressed a thousandfold.
fn bomb() -> Vec<u8> {
    archive(&[("x", "(1, 134217728)", 1 << 30), ("y", "(1,)", 8)])
}

fn archive(arrays: &[(&str, &str, u64)]) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated).compression_level(Some(1));
    for &(name, shape, len) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        let zeros = [0; 1 << 16];
        (0..len / zeros.len() as u64).for_each(|_| zip.write_all(&zeros).unwrap());
        zip.write_all(&zeros[..len as usize % zeros.len()]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn weights_and_checkpoints(place: &Place, page: &mut Page) {
    let weights = place.at("made/weights.safetensors");
    let whole = fs::read(&weights).unwrap();
    cut(&weights, &place.at("cut"), whole.len() - 1);
    cut(&weights, &place.at("head"), 40);
    flipped(&weights, &place.at("flipped"), whole.len() - 9);
    fs::write(place.at("absurd"), [&(1u64 << 40).to_le_bytes()[..], b"{}"].concat()).unwrap();
    let header = br#"{"W0":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,16]}}"#;
    fs::write(place.at("shapes"), [&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat()).unwrap();
    fs::create_dir(place.at("folder")).unwrap();
    page.section("Weights");
    page.cases(
        place,
        &[
            ("not there", "eval nowhere"),
            ("a folder without weights", "eval folder"),
            ("cut by a byte", "eval cut"),
            ("cut in its header", "eval head"),
            ("one bit changed", "eval flipped"),
            ("a header of a terabyte", "eval absurd"),
            ("shapes of which no product can be held", "eval shapes"),
            ("data of another width", "eval made --data good.npz"),
        ],
    );

    page.section("Resumed runs");
    let copy = |name: &str| {
        place.well(&format!("train --rule bp --width 12 --hidden 1 --limit-train 40 --limit-test 10 --epochs 1 --batch 20 --threads 1 --out {name}"));
        place.at(&format!("{name}/checkpoints/step-00000002.safetensors"))
    };
    let len = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    let path = copy("bit");
    flipped(&path, &path, len(&path) / 2);
    let path = copy("half");
    cut(&path, &path, len(&path) / 2);
    let path = copy("none");
    fs::write(path, "").unwrap();
    copy("changed");
    let config = place.at("changed/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("lr = 0.0001", "lr = 0.0002")).unwrap();
    copy("shorter");
    fs::write(place.at("shorter/metrics.jsonl"), "").unwrap();
    copy("wrong");
    fs::write(place.at("wrong/config.toml"), "batch = [").unwrap();
    copy("typo");
    fs::write(place.at("typo/config.toml"), "bach = 60").unwrap();
    page.cases(
        place,
        &[
            ("no run", "train --resume folder"),
            ("its only checkpoint has one bit changed", "train --resume bit --epochs 2"),
            ("its only checkpoint is cut", "train --resume half --epochs 2"),
            ("its only checkpoint is empty", "train --resume none --epochs 2"),
            ("its settings were changed by hand", "train --resume changed --epochs 2"),
            ("its metrics were emptied", "train --resume shorter --epochs 2"),
            ("its settings are no TOML", "train --resume wrong"),
            ("its settings name no setting", "train --resume typo"),
            ("other settings", "train --resume made --lr 1e-2"),
            ("of a comparison, where there is none", "compare --resume --rules bp --out folder"),
        ],
    );
}

fn places(place: &Place, page: &mut Page) {
    fs::write(place.at("file"), "a file").unwrap();
    fs::create_dir_all(place.at("taken/weights.safetensors")).unwrap();
    std::os::unix::fs::symlink("nowhere/run", place.at("link")).unwrap();
    // `/proc` is a folder in which no one can write, root included.
    page.section("Places for results");
    let small = "--rule bp --width 12 --hidden 1 --limit-train 40 --epochs 1 --threads 1";
    let train = |what, out: &str| (what, format!("train {small} --out {out}"));
    let cases = [
        train("a file", "file"),
        train("below a file", "file/run"),
        train("results are there", "made"),
        train("a folder where a file should be", "taken"),
        train("no folder can be made there", "/proc/run"),
        train("a link to nothing", "link"),
        ("a folder of several runs", format!("compare {} --seeds 1 --out made", small.replace("--rule bp", "--rules bp"))),
        ("the page is a folder", "report made -o folder".into()),
        ("the page's folder is not there", "report made -o nowhere/page.html".into()),
        ("no page can be written there", "report made -o /proc/page.html".into()),
        ("no runs", "report folder -o page.html".into()),
        ("nothing there", "report nowhere -o page.html".into()),
        ("no folder", "update in.npz nowhere/out.npz --rule bp".into()),
        ("a folder", "update in.npz folder --rule bp".into()),
        ("the input", "update in.npz in.npz --rule bp".into()),
        ("no folder", "align --values 1 --width 12 --csv nowhere/rows.csv".into()),
        ("a folder", "align --values 1 --width 12 --json folder".into()),
    ];
    page.cases(place, &cases.each_ref().map(|(what, line)| (*what, line.as_str())));
}

fn batches(place: &Place, page: &mut Page) {
    page.section("Batches: update FILE out.npz --rule gait");
    let cases: [(&str, Named<'_>); 11] = [
        ("no inputs", ("x", &[], vec![])),
        ("an infinite input", ("x", &[2, 3], vec![0.1, f64::INFINITY, 0.3, 0.4, 0.5, 0.6])),
        ("a weight that is not a number", ("W1", &[3, 3], vec![f64::NAN; 9])),
        ("targets of other samples", ("onehot", &[3, 2], vec![1.0; 6])),
        ("three dimensions", ("x", &[2, 3, 1], vec![0.1; 6])),
        ("no layer 0", ("W0", &[], vec![])),
        ("no biases", ("b1", &[], vec![])),
        ("biases of another layer", ("b1", &[4], vec![0.0; 4])),
        ("a layer that is not square", ("W1", &[3, 2], vec![0.0; 6])),
        ("singular weights", ("W1", &[3, 3], vec![1.0; 9])),
        ("weights that overflow", ("W0", &[3, 3], vec![3e38; 9])),
    ];
    for (i, (what, array)) in cases.iter().enumerate() {
        let name = format!("batch-{i}.npz");
        batch(&place.at(&name), array);
        let line = format!("update {name} out.npz --rule gait");
        let message = place.refused(&line).unwrap_or_else(|| panic!("{what}: `{line}` goes well"));
        assert!(!place.at("out.npz").exists(), "{what}: a file is written");
        page.row(what, &message.replace(&name, "FILE"));
    }
}

fn training(place: &Place, page: &mut Page) {
    page.section("Training that cannot go on");
    let small = "--width 24 --hidden 2 --limit-train 200 --limit-test 40 --batch 20 --threads 1 --epochs 5 --quiet --out run";
    for flags in [
        "--rule bp --optimizer sgd --lr 10",
        "--rule gait --lr 1e30",
        "--rule bp --lr 1e200 --dtype f64",
        "--rule tp --activation tanh",
        "--rule gait --inverse transpose --regularizer none --init xavier",
    ] {
        let line = format!("train {flags} {small}");
        let message = place.refused(&line).unwrap_or_else(|| panic!("`{line}` goes well"));
        assert!(place.at("run/weights.safetensors").exists(), "`{line}` keeps no weights");
        fs::remove_dir_all(place.at("run")).unwrap();
        page.row(&format!("train {flags}"), &message);
    }
}

fn machines(place: &mut Place, page: &mut Page) {
    page.section("Machines");
    let row = |page: &mut Page, what: &str, message: Option<String>| {
        page.row(what, &message.unwrap_or_else(|| panic!("{what}: goes well")))
    };
    // A sanitiser reserves more than there is.
    let limited = place.limit == LITTLE_MEMORY;
    for line in [
        "train --width 25000 --hidden 1 --rule bp --threads 1",
        "compare --width 9000 --rules bp --seeds 2 --threads 2",
        "align --width 12000 --values 2",
        "align --random 200000 --batch 100",
    ] {
        let message = if limited { place.refused(line) } else { None };
        assert!(!limited || message.is_some(), "`{line}` goes well");
        if let Some(message) = message {
            page.row(&format!("little memory: {line}"), &message);
        }
    }
    place.limit = FULL_DISK;
    let before = snapshot(&place.dir);
    row(page, "a full disk: update in.npz out.npz --rule gait", {
        batch(&place.at("in.npz"), &("x", &[200, 3], vec![0.5; 600]));
        let mut wide = vec![0.0; 400];
        wide.iter_mut().step_by(2).for_each(|v| *v = 1.0);
        let whole = npz::read(place.at("in.npz"), |_| true).unwrap();
        let mut arrays: Vec<_> =
            whole.iter().filter(|(name, _)| *name != "onehot").map(|(n, a)| (n.as_str(), &a.shape[..], &a.data[..])).collect();
        arrays.push(("onehot", &[200, 2], &wide));
        npz::write(place.at("in.npz"), &arrays).unwrap();
        place.refused("update in.npz out.npz --rule gait")
    });
    assert_eq!(snapshot(&place.dir).len(), before.len(), "a file more, or less");
    row(page, "a full disk: train --out run", {
        place.refused("train --rule bp --width 32 --hidden 1 --limit-train 200 --epochs 1 --threads 1 --quiet --out run")
    });
    place.limit = ":";
    row(page, "a full disk behind standard output: info > /dev/full", place.refused("info > /dev/full"));
}

#[test]
fn bad_inputs_get_the_messages_of_the_snapshot() {
    let mut place = Place::new();
    let mut page = Page(
        "Inputs that the program refuses, and what it says. Made by tests/it/bad_inputs.rs; … is the folder of the cases.\n"
            .into(),
    );
    batch(&place.at("in.npz"), &("", &[], vec![]));
    place.well(
        "train --rule bp --width 12 --hidden 1 --limit-train 40 --limit-test 10 --epochs 1 --batch 20 --threads 1 --out made",
    );
    walk_flags(&place, &mut page);
    data_sets(&place, &mut page);
    weights_and_checkpoints(&place, &mut page);
    places(&place, &mut page);
    batches(&place, &mut page);
    training(&place, &mut page);
    machines(&mut place, &mut page);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/bad-inputs.txt");
    if std::env::var_os("GAITPROP_REWRITE").is_some() {
        fs::write(&path, &page.0).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    // A sanitizer leaves out what needs a limit on memory: a case, and its message below it.
    let limited = page.0.contains("little memory: ");
    let mut wanted: Vec<&str> = written.lines().collect();
    while let Some(at) = wanted.iter().position(|line| !limited && line.starts_with("little memory: ")) {
        wanted.drain(at..at + 2);
    }
    for (want, got) in wanted.iter().zip(page.0.lines()) {
        assert_eq!(got, *want, "the snapshot differs: GAITPROP_REWRITE=1 writes it anew");
    }
    assert_eq!(wanted.len(), page.0.lines().count(), "the snapshot is longer or shorter: GAITPROP_REWRITE=1 writes it anew");
}
