//! Batches of runs, one thread each: the machinery that `compare` and `sweep` share.
//!
//! Each run gives the same result as `train` with the same options.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::data::Dataset;
use crate::rule::LearningRule;
use crate::run::checkpoints;
use crate::run::config::{RunConfig, completed};
use crate::run::dir::{CONFIG, Folder, holds_run, lock};
use crate::run::grid::Point;
use crate::run::history::{self, Figures, Outcome};
use crate::run::metrics::METRICS;
use crate::run::options::Options;
use crate::run::page;
use crate::run::pool::{Bar, PoolOptions, StopFlag, run_parallel};
use crate::run::session::{EpochProgress, MeasureLevel, Session, check_memory};
use crate::run::table::Table;
use crate::store::weights::WEIGHTS;
use gaitprop_kernels::{Par, Real};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Upper limit that catches typing errors.
const MAX_SEEDS: u64 = 10_000;

/// Returns `count` consecutive seeds, beginning with `first`. Errors name `flag`.
pub(crate) fn seeds(flag: &str, count: u64, first: Option<u64>) -> Result<Vec<u64>> {
    if count == 0 || count > MAX_SEEDS {
        return Err(Error::Setting(format!("{flag} {count}: use 1 to {MAX_SEEDS}")));
    }
    let first = first.unwrap_or(1);
    let last =
        first.checked_add(count - 1).ok_or_else(|| Error::Setting(format!("--seed {first}: too large for {count} seeds")))?;
    Ok((first..=last).collect())
}

/// A run to train.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) run: RunConfig,
    /// Options that decide the run, as its folder stores them.
    pub(crate) settings: Options,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) title: String,
}

impl Planned {
    /// Plans a run at `point` with flags and the file that completes them, for one rule and seed.
    /// `None` keeps the rule that these name.
    ///
    /// # Errors
    /// As [`RunConfig::resolve`]; the message begins with the name of the run.
    pub(crate) fn new(
        (flags, file): (&Options, &Options),
        point: &Point,
        (rule, seed): (Option<LearningRule>, u64),
        (set, data): (&str, &Dataset),
        dir: Option<PathBuf>,
    ) -> Result<Self> {
        let flags = Options { rule: rule.or(flags.rule), ..flags.clone() };
        let resolve = || {
            // The number of concurrent runs is not an option of a single run.
            let options = Options { out: None, threads: None, seed: Some(seed), ..point.on(&flags, file)? };
            let mut run = RunConfig::resolve(options, data)?;
            run.runtime.threads = 1;
            Ok((run.options(set), run))
        };
        let name = [rule.map_or(String::new(), |rule| rule.to_string()), point.to_string()].join(" ").trim().to_owned();
        let (settings, run) = resolve().map_err(|e| match e {
            Error::Setting(what) if !name.is_empty() => Error::Setting(format!("{name}: {what}")),
            other => other,
        })?;
        Ok(Self { run, settings, dir, title: format!("{name} seed {seed}").trim().to_owned() })
    }

    /// Number of samples that the run learns, with `len` training samples.
    fn samples(&self, len: usize) -> u64 {
        (self.run.epochs as u64).saturating_mul(len as u64)
    }

    /// Reads the figures of a run that an earlier command finished.
    fn known(&self) -> Result<Option<Figures<Option<f64>>>> {
        match &self.dir {
            Some(dir) if check_config(dir, &[self])? && dir.join(WEIGHTS).exists() => history::read(dir),
            _ => Ok(None),
        }
    }
}

/// Returns whether the folder holds a configuration. Refuses one that belongs to none of `runs`.
fn check_config(dir: &Path, runs: &[&Planned]) -> Result<bool> {
    let path = dir.join(CONFIG);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("read", &path))?,
    };
    // Files of earlier versions lack some options.
    let then = completed(Options::parse(&text, &path)?);
    let differences = runs.iter().map(|run| then.differences(&completed(run.settings.clone())));
    let fewest = differences.collect::<Result<Vec<_>>>()?.into_iter().min_by_key(Vec::len).unwrap_or_default();
    let Some(first) = fewest.first() else { return Ok(true) };
    let advice = "use the same settings, remove the folder, or replace all results (--overwrite)";
    Err(Error::File { path, what: format!("holds a run with other settings ({first}): {advice}") })
}

/// Returns whether an error concerns one run only, so that the others continue.
pub(crate) fn fails_one_run(e: &Error) -> bool {
    use Error::{Diverged, NotOrthogonal, OutOfRange, Singular, TooFar};
    matches!(e, Singular { .. } | NotOrthogonal { .. } | TooFar { .. } | OutOfRange { .. } | Diverged { .. })
}

/// Trains all runs, each in its folder if it has one, else with the measurements of `level`. Runs
/// that are already finished are read instead. A run that is interrupted or not begun has no
/// outcome. Also returns the number of samples learned.
///
/// # Errors
/// [`Error::File`] for a folder with other settings, before any training; as [`run_missing`].
pub(crate) fn train_all<T: Real>(
    planned: &[Planned],
    data: &Dataset,
    level: MeasureLevel,
    pool: &PoolOptions<'_>,
) -> Result<(Vec<Option<Outcome>>, u64)> {
    let known = planned.iter().map(|run| Ok(run.known()?.map(Ok))).collect::<Result<Vec<_>>>()?;
    let finish = |planned: &Planned, mut session: Session<'_, T>, trained: Result<()>| {
        // Save the weights even if training failed.
        session.save_weights(WEIGHTS)?;
        match trained.and_then(|()| session.finish()) {
            Err(e) if fails_one_run(&e) => Ok(Some(Err(e.to_string()))),
            Err(e) => Err(e),
            Ok(_) => {
                let figures = match &planned.dir {
                    Some(dir) => history::read(dir)?,
                    None => Figures::of(&session.events),
                };
                Ok(figures.map(Ok))
            }
        }
    };
    let (outcomes, trained) = run_missing::<T, _>("all", planned, known, (data, level), pool, finish)?;
    let done = trained.into_iter().filter(|&i| matches!(outcomes[i], Some(Ok(_))));
    let learned = done.map(|i| planned[i].samples(data.train.len())).sum();
    Ok((outcomes, learned))
}

/// Trains the runs without a result on equally scaled data, on the threads of `pool`. `conclude`
/// makes the result of a session that ended, was interrupted or failed. Returns all results, and
/// the indices of the runs that had none.
///
/// # Errors
/// [`Error::Setting`] for too little memory; the first error of a session that cannot begin, or of
/// `conclude`.
pub(crate) fn run_missing<T: Real, R: Send>(
    title: &str,
    runs: &[Planned],
    mut results: Vec<Option<R>>,
    (data, level): (&Dataset, MeasureLevel),
    pool: &PoolOptions<'_>,
    conclude: impl Fn(&Planned, Session<'_, T>, Result<()>) -> Result<Option<R>> + Sync,
) -> Result<(Vec<Option<R>>, Vec<usize>)> {
    let Some(first) = runs.first() else { return Ok((results, Vec::new())) };
    let inputs = data.affine(first.run.scale);
    let data = data.apply::<T>(&inputs)?;
    let left: Vec<_> = (0..runs.len()).filter(|&i| results[i].is_none()).collect();
    for RunConfig { architecture, train, .. } in left.iter().map(|&i| &runs[i].run) {
        check_memory::<T>(train, architecture, data.train.len, pool.threads.min(left.len()))?;
    }
    let work = |&i: &usize, bar: &Bar, stop: &StopFlag<'_>| {
        let Planned { run, settings, dir, .. } = &runs[i];
        let folder = dir.as_ref().map(|dir| Folder::create(dir, settings, true)).transpose()?;
        let mut session = Session::new(run, (&data, &inputs), run.runtime.plan(Par::Seq), folder)?;
        session.level = session.level.max(level);
        let trained = session.train(|EpochProgress { epoch, learned, sofar }| {
            bar.learned(learned, || format!("epoch {epoch}  accuracy {:.2} %", 100.0 * sofar.accuracy()));
            if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        conclude(&runs[i], session, trained)
    };
    let about = |&i: &usize| (runs[i].title.clone(), runs[i].samples(data.train.len));
    let done = run_parallel(title, &left, pool, about, work)?;
    for (&i, result) in left.iter().zip(done) {
        results[i] = result.flatten();
    }
    Ok((results, left))
}

/// A command that writes a folder of many runs.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name, which is also the name of its summary file.
    pub(crate) name: &'static str,
    /// Key of the groups of runs in the summary.
    pub(crate) groups: &'static str,
    /// Its other files.
    files: &'static [Kept],
}

/// A file of a command: its name, and a test that recognizes it.
type Kept = (&'static str, fn(&Path) -> bool);

pub(crate) const COMPARE: Command =
    Command { name: "compare", groups: "rules", files: &[TABLE_TEXT, TABLE_CSV, GRID_CSV, TRIALS, PAGE] };
pub(crate) const SWEEP: Command = Command { name: "sweep", groups: "points", files: &[TABLE_TEXT, TABLE_CSV] };

const TABLE_TEXT: Kept = ("table.txt", |path| begins(path, |line| line.ends_with("; mean ± s.d.")));
const TABLE_CSV: Kept =
    ("table.csv", |path| begins(path, |line| line.contains(",runs,failed,unfinished,") || line.starts_with("runs,failed,")));
/// Trials of a grid: a table, and one line of JSON each with all options.
pub(crate) const GRID_CSV: Kept =
    ("grid.csv", |path| begins(path, |line| line.ends_with(",validation_accuracy,validation_loss,chosen,error")));
pub(crate) const TRIALS: Kept =
    ("grid.jsonl", |path| begins(path, |line| line.is_empty() || line.starts_with("{\"settings\":{")));
/// The report about all runs.
const PAGE: Kept = ("report.html", page::is_ours);

/// Returns whether the first line of a file passes a test.
fn begins(path: &Path, test: impl FnOnce(&str) -> bool) -> bool {
    let mut line = String::new();
    let read = File::open(path).and_then(|file| BufReader::new(file).take(1 << 20).read_line(&mut line));
    read.is_ok() && test(line.trim_end())
}

/// Key of the data set's checksum in the summary.
const CHECKSUM: &str = "data-checksum";

/// The folder of results of one command.
pub(crate) struct ResultsDir {
    pub(crate) dir: PathBuf,
    command: &'static Command,
    /// Checksum of the data set. `None` if the folder was written by a version that stored none.
    data: Option<u32>,
    /// The folder itself, locked, so that no other command writes here. `None` on systems that
    /// cannot lock folders.
    _lock: Option<File>,
}

impl ResultsDir {
    /// Creates or opens the folder. Every refusal comes before anything is written or removed.
    ///
    /// # Errors
    /// [`Error::Setting`] for a folder with other contents, for one that another command is writing
    /// in, or for a resume with other data; [`Error::Io`].
    pub(crate) fn open(
        dir: &Path,
        command: &'static Command,
        (resume, overwrite): (bool, bool),
        runs: &[Planned],
        data: &Dataset,
    ) -> Result<Self> {
        let refuse = |what: String| Err(Error::Setting(format!("{}: {what}", dir.display())));
        let mut results = Self { dir: dir.to_owned(), command, data: Some(data.checksum()), _lock: None };
        let name = command.name;
        if dir.exists() && !dir.is_dir() {
            return refuse("is a file: results need a folder".into());
        }
        if [METRICS, CONFIG, WEIGHTS].iter().any(|file| dir.join(file).exists()) {
            return refuse("holds the results of a single run: name another folder".into());
        }
        let others = [COMPARE.name, SWEEP.name].into_iter().filter(|&other| other != name);
        if let Some(other) = others.into_iter().find(|other| dir.join(format!("{other}.json")).exists()) {
            return refuse(format!("holds the results of `{other}`: name another folder"));
        }
        let summary = results.summary().exists().then(|| results.read_summary()).transpose()?;
        if resume && summary.is_none() {
            return refuse(format!("holds no results of `{name}` to resume: leave out --resume"));
        }
        if summary.is_some() && !resume && !overwrite {
            return refuse(format!(
                "holds the results of `{name}`: name another folder, resume (--resume) or replace it (--overwrite)"
            ));
        }
        // Results may lack tables and report: the command was interrupted, or no run finished.
        let foreign = |(file, is_ours): &&Kept| dir.join(file).exists() && !(summary.is_some() && is_ours(&dir.join(file)));
        if let Some((file, _)) = command.files.iter().find(foreign) {
            return refuse(format!("holds a {file} that is not of `{name}`: move it away, or name another folder"));
        }
        // Several points may share a folder before the grid has chosen one of them.
        let mut folders = BTreeMap::<&Path, Vec<&Planned>>::new();
        for (dir, run) in runs.iter().filter_map(|run| Some((run.dir.as_deref()?, run))) {
            folders.entry(dir).or_default().push(run);
        }
        folders.keys().try_for_each(|dir| Folder::check_free(dir, overwrite || resume))?;
        if let Some(summary) = summary.as_ref().filter(|_| resume) {
            folders.iter().try_for_each(|(dir, runs)| check_config(dir, runs).map(|_| ()))?;
            let learned = summary[CHECKSUM].as_u64().and_then(|data| data.try_into().ok());
            if learned.is_some() && learned != results.data {
                return refuse("its runs used other samples: the data set was changed since".into());
            }
            results.data = learned;
        }
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        results._lock = File::open(dir).ok().map(|folder| lock(folder, dir)).transpose()?;
        if results._lock.is_some() {
            // Removes temporary files of a killed command.
            files::sweep(dir);
        }
        if summary.is_some() && overwrite {
            results.clear()?;
        }
        if !resume {
            results.write_summary(serde_json::Map::new().into())?;
        }
        Ok(results)
    }

    /// Removes all runs, tables, trials and the report.
    fn clear(&self) -> Result<()> {
        let entries = |dir: &Path| -> Result<Vec<PathBuf>> {
            let list = std::fs::read_dir(dir).map_err(Error::io("list", dir))?;
            Ok(list.filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir())).collect())
        };
        let mut runs = Vec::new();
        for dir in entries(&self.dir)? {
            // Runs of a sweep without a grid are one level higher.
            for run in [entries(&dir)?, vec![dir.clone()]].concat() {
                let seed = run.file_name().and_then(|name| name.to_str()?.strip_prefix("seed-")?.parse::<u64>().ok());
                if seed.is_some() && holds_run(&run)? {
                    runs.push((dir.clone(), run));
                }
            }
        }
        // All of them or none: a run that is being written refuses before another is removed.
        runs.iter().try_for_each(|(_, run)| Folder::refuse_running(run))?;
        for (dir, run) in runs {
            Folder::remove(&run)?;
            // Fails, as intended, if other files are in it.
            let _ = std::fs::remove_dir(dir);
        }
        // `open` has refused files of other origin.
        self.command.files.iter().try_for_each(|(file, _)| checkpoints::remove(&self.dir.join(file)))
    }

    /// Returns the path of the report, if the command writes one.
    pub(crate) fn page(&self) -> Option<PathBuf> {
        self.command.files.iter().find(|(file, _)| *file == PAGE.0).map(|(file, _)| self.dir.join(file))
    }

    fn summary(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.command.name))
    }

    /// Reads the existing summary.
    ///
    /// # Errors
    /// [`Error::File`] for a file that the command has not written; [`Error::Io`].
    fn read_summary(&self) -> Result<serde_json::Value> {
        let (path, name) = (self.summary(), self.command.name);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let wrong = |why: String| {
            let what = format!("is not a summary of `{name}` ({why}): move it away, or name another folder");
            Error::File { path: path.clone(), what }
        };
        let summary: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        // Before the first tables are written, the summary holds at most a checksum.
        let begun = summary.as_object().is_some_and(|all| all.keys().all(|key| key == CHECKSUM));
        if begun || summary["command"] == name { Ok(summary) } else { Err(wrong("it names another `command`".into())) }
    }

    /// Writes the summary, an object, with the data set's checksum.
    fn write_summary(&self, mut summary: serde_json::Value) -> Result<()> {
        if let Some(data) = self.data {
            summary[CHECKSUM] = data.into();
        }
        let path = self.summary();
        files::write_atomically(&path, format!("{summary:#}\n").as_bytes()).map_err(Error::io("write", path))
    }

    /// Writes one of the command's files atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write(&self, (file, _): Kept, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        files::write_atomically(&path, text.as_bytes()).map_err(Error::io("write", path))
    }

    /// Writes the tables as text and CSV, and the summary with every run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write_tables(&self, text: &str, table: &Table, data: &str, seeds: &[u64]) -> Result<()> {
        self.write(TABLE_TEXT, text)?;
        self.write(TABLE_CSV, &table.csv())?;
        let (Command { name, groups, .. }, version) = (self.command, env!("CARGO_PKG_VERSION"));
        let groups_of = table.summary();
        self.write_summary(json!({ "command": name, "version": version, "data": data, "seeds": seeds, *groups: groups_of }))
    }
}
