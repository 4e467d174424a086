//! The command line, read by hand: half a dozen flags.

use gaitprop_kernels::Isa;
use std::path::PathBuf;
use std::str::FromStr;

pub const USAGE: &str = "\
usage: cargo bench -p gaitprop-peers -- [flags]

  --json FILE         also write everything to FILE (written whole or not at all)
  --filter SUBSTRING  only rows whose names contain it
  --rounds N          rounds a row (default 15, fewer where a round is long)
  --threads LIST      numbers of threads (default 1,2, as far as there are processors)
  --type LIST         f32, f64 (default both)
  --isa NAME          holds our kernels and the peak to an instruction set; peers run as they do
  --neighbor          beside a process that streams memory, as on a shared machine
  --list              names of the rows
  --test              check every contender once on short sides and time nothing (what happens without --bench)

MKL and OpenBLAS are found at run time; GAITPROP_MKL and GAITPROP_OPENBLAS may name their files: see benches/peers/README.md.
";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Args {
    pub json: Option<PathBuf>,
    pub filter: String,
    /// Exactly so many; else as many as there is patience for.
    pub rounds: Option<usize>,
    pub threads: Vec<usize>,
    pub types: Vec<String>,
    pub isa: Isa,
    /// Measure beside a [`crate::neighbor::Neighbor`].
    pub neighbor: bool,
    /// Not for users: this process is the neighbor.
    pub stream: bool,
    pub list: bool,
    pub help: bool,
    /// Check alone.
    pub test: bool,
    /// Not for users: this process runs the rows with one number of threads, for a parent that reads its output.
    pub part: bool,
}

impl Args {
    pub fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut args = Self {
            json: None,
            filter: String::new(),
            rounds: None,
            threads: (1..=processors.min(2)).collect(),
            types: vec!["f32".into(), "f64".into()],
            isa: Isa::detect(),
            neighbor: false,
            stream: false,
            list: false,
            help: false,
            test: true,
            part: false,
        };
        let (mut bench, mut test) = (false, false);
        let mut given = given;
        while let Some(word) = given.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || inline.clone().or_else(|| given.next()).ok_or_else(|| format!("{flag} needs a value"));
            match flag {
                "--json" => args.json = Some(absolute(value()?)),
                "--filter" => args.filter = value()?,
                "--rounds" => args.rounds = Some(at_least_1(flag, &value()?)?),
                "--threads" => {
                    args.threads = list(&value()?, |n| at_least_1(flag, n))?;
                    if let Some(n) = args.threads.iter().find(|&&n| n > processors) {
                        return Err(format!(
                            "--threads {n}: there are {processors} processors, and figures of threads that share one mean nothing"
                        ));
                    }
                }
                "--type" => {
                    let known = |t: &str| match t {
                        "f32" | "f64" => Ok(t.to_owned()),
                        _ => Err(format!("--type {t}: there are f32 and f64")),
                    };
                    args.types = list(&value()?, known)?;
                }
                "--isa" => args.isa = Isa::named(&value()?).map_err(|e| format!("--isa: {e}"))?,
                _ if inline.is_some() => return Err(format!("{flag}: no flag that takes a value has this name")),
                "--neighbor" => args.neighbor = true,
                "--stream" => args.stream = true,
                "--list" => args.list = true,
                "--help" | "-h" => args.help = true,
                "--part" => args.part = true,
                "--bench" => bench = true,
                "--test" => test = true,
                _ => return Err(format!("{flag}: there is no such flag")),
            }
        }
        args.test = test || !bench;
        if args.test && (args.json.is_some() || args.neighbor) {
            let flag = if args.neighbor { "--neighbor" } else { "--json" };
            return Err(format!("{flag}: nothing is measured with --test, nor without --bench, which cargo bench passes"));
        }
        Ok(args)
    }

    /// Returns the words for a process that runs the same rows with so many threads.
    pub fn for_part(&self, threads: usize) -> Vec<String> {
        let what = if self.test { "--test" } else { "--bench" };
        let mut words = vec![what.into(), "--part".into(), format!("--threads={threads}"), format!("--isa={}", self.isa)];
        words.extend([format!("--filter={}", self.filter), format!("--type={}", self.types.join(","))]);
        words.extend(self.rounds.map(|n| format!("--rounds={n}")));
        words
    }
}

fn at_least_1(flag: &str, word: &str) -> Result<usize, String> {
    usize::from_str(word).ok().filter(|&n| n > 0).ok_or_else(|| format!("{flag} {word}: a number from 1 on is wanted"))
}

/// A list with commas, without repetitions.
fn list<T: PartialEq>(words: &str, mut read: impl FnMut(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    for word in words.split(',') {
        let one = read(word.trim())?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    Ok(all)
}

/// Cargo runs a bench in its package's directory; a file is meant from where the user stands, which the shell leaves in PWD.
fn absolute(path: String) -> PathBuf {
    std::env::var_os("PWD").map_or_else(PathBuf::new, PathBuf::from).join(path)
}
