//! Many runs at once, each on a thread of its own and each what `train` would make of the same settings: what `compare` and `sweep` share.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::data::{Affine, Dataset, Prepared};
use crate::model::loss::Score;
use crate::rule::LearningRule;
use crate::run::checkpoints;
use crate::run::config::RunConfig;
use crate::run::dir::{CONFIG, Folder, is_of_a_run};
use crate::run::grid::Point;
use crate::run::history::{self, Fate, Figures, Mark};
use crate::run::metrics::METRICS;
use crate::run::options::Options;
use crate::run::page;
use crate::run::pool::{Bar, Board, Halt, spread};
use crate::run::session::{Session, check_memory};
use crate::run::table::Table;
use crate::store::weights::WEIGHTS;
use gaitprop_kernels::Real;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Upper limit, against slips of the keyboard.
const MAX_SEEDS: u64 = 10_000;

/// So many seeds, from the first; `flag` is who asks.
pub(crate) fn seeds(flag: &str, count: u64, first: Option<u64>) -> Result<Vec<u64>> {
    if count == 0 || count > MAX_SEEDS {
        return Err(Error::Setting(format!("{flag} {count}: use 1 to {MAX_SEEDS}")));
    }
    let first = first.unwrap_or(1);
    let last = first
        .checked_add(count - 1)
        .ok_or_else(|| Error::Setting(format!("--seed {first}: there are not {count} seeds after it")))?;
    Ok((first..=last).collect())
}

/// A run that is to be trained.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) run: RunConfig,
    /// All it hangs on, as its folder says it.
    pub(crate) settings: Options,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) title: String,
}

impl Planned {
    /// `said` at `point`, for a rule (unless `said` or `point` has it) and a seed.
    ///
    /// # Errors
    /// As [`RunConfig::resolve`], saying which run it is.
    pub(crate) fn new(
        said: &Options,
        point: &Point,
        (rule, seed): (Option<LearningRule>, u64),
        (set, data): (&str, &Dataset),
        dir: Option<PathBuf>,
    ) -> Result<Self> {
        let base = Options {
            out: None,
            rule: rule.or(said.rule),
            // How many runs there are at once is not a run's business.
            threads: None,
            ..said.clone()
        };
        let resolve = || {
            let mut run = RunConfig::resolve(Options { seed: Some(seed), ..point.on(&base)? }, data)?;
            run.machine.threads = 1;
            Ok((run.options(set), run))
        };
        let name = [rule.map_or(String::new(), |rule| rule.to_string()), point.to_string()].join(" ").trim().to_owned();
        let (settings, run) = resolve().map_err(|e| match e {
            Error::Setting(what) if !name.is_empty() => Error::Setting(format!("{name}: {what}")),
            other => other,
        })?;
        Ok(Self { run, settings, dir, title: format!("{name} seed {seed}").trim().to_owned() })
    }

    /// What is known of it from an earlier time.
    fn known(&self) -> Result<Option<Figures<Option<f64>>>> {
        match &self.dir {
            Some(dir) if check_config(dir, &[self])? && dir.join(WEIGHTS).exists() => history::read(dir),
            _ => Ok(None),
        }
    }
}

/// Whether there are settings in this folder, refusing those that are of none of these runs.
fn check_config(dir: &Path, runs: &[&Planned]) -> Result<bool> {
    let path = dir.join(CONFIG);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("read", &path))?,
    };
    let known = runs.iter().map(|run| run.settings.to_toml()).collect::<Result<Vec<_>>>()?.contains(&text);
    let what = "the run there has other settings than it would have now: use those it began with, remove its folder, or replace all (--overwrite)";
    if known { Ok(true) } else { Err(Error::File { path, what: what.into() }) }
}

/// What is measured of runs without a folder.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// Loss and accuracy.
    Scores,
    /// And how weights and updates are.
    All,
}

/// Who does the work.
pub(crate) struct Crew<'a> {
    pub(crate) threads: usize,
    pub(crate) interrupted: &'a AtomicBool,
    pub(crate) quiet: bool,
}

/// Whether a run is at fault itself, so that others may go on.
pub(crate) fn own_fault(e: &Error) -> bool {
    use Error::{Diverged, NotOrthogonal, OutOfRange, Singular, TooFar};
    matches!(e, Singular { .. } | NotOrthogonal { .. } | TooFar { .. } | OutOfRange { .. } | Diverged { .. })
}

/// All runs, each in its folder if it has one, and all with data scaled in one way. What is known of a run from an earlier time is read, not trained. Second come the samples that were learned.
///
/// # Errors
/// A run that was begun with other settings, before any is trained; an error that is not [a run's own](own_fault).
pub(crate) fn train_all<T: Real>(planned: &[Planned], data: &Dataset, look: Look, crew: &Crew<'_>) -> Result<(Vec<Fate>, u64)> {
    let Some(first) = planned.first() else { return Ok((Vec::new(), 0)) };
    let inputs = data.affine(first.run.scale);
    let data = data.apply::<T>(&inputs)?;
    let known = planned.iter().map(Planned::known).collect::<Result<Vec<_>>>()?;
    let samples = |planned: &Planned| (planned.run.epochs as u64).saturating_mul(data.train.len as u64);
    let mut fates: Vec<_> = known.into_iter().map(|known| known.map_or(Fate::Unfinished, Fate::Done)).collect();
    let left: Vec<_> = (0..planned.len()).filter(|&i| matches!(fates[i], Fate::Unfinished)).collect();
    for RunConfig { architecture, train, .. } in left.iter().map(|&i| &planned[i].run) {
        check_memory::<T>(architecture, train.batch.min(data.train.len), crew.threads.min(left.len()))?;
    }
    let all = left.iter().map(|&i| samples(&planned[i])).fold(0, u64::saturating_add);
    let done = spread(
        &left,
        (crew.threads, crew.interrupted),
        &Board::new("all", all, crew.quiet),
        |&i| (planned[i].title.clone(), samples(&planned[i])),
        |&i, bar, halt| train(&planned[i], (&data, &inputs), look, bar, halt),
    )?;
    let mut learned = 0;
    for (i, fate) in left.into_iter().zip(done).filter_map(|(i, fate)| Some((i, fate?))) {
        if let Fate::Done(_) = &fate {
            learned += samples(&planned[i]);
        }
        fates[i] = fate;
    }
    Ok((fates, learned))
}

/// One run.
fn train<T: Real>(
    planned: &Planned,
    (data, inputs): (&Prepared<T>, &Affine),
    look: Look,
    bar: &Bar,
    halt: &Halt<'_>,
) -> Result<Fate> {
    let Planned { run, settings, dir, .. } = planned;
    let folder = dir.as_ref().map(|dir| Folder::create(dir, settings, true)).transpose()?;
    let mut session = Session::new(run, (data, inputs), run.machine.plan(gaitprop_kernels::Par::Seq), folder)?;
    let mut marks = Vec::new();
    let outcome = epochs(&mut session, bar, halt, |session, seconds| {
        if dir.is_some() {
            return Ok(());
        }
        let (test, cosine) = match look {
            Look::Scores => (session.trainer().evaluate(&data.test)?, None),
            Look::All => {
                let measured = session.measure(Score::default())?;
                (measured.test, measured.alignment.first().map(|a| a.cosine).filter(|c| c.is_finite()))
            }
        };
        marks.push(Mark { test_accuracy: test.accuracy(), cosine, seconds });
        Ok(())
    });
    // Whatever happened, what was learned is kept.
    session.save_weights()?;
    let ended = outcome.and_then(|whole| Ok((whole, session.finish()?)));
    Ok(match ended {
        Err(e) if own_fault(&e) => Fate::Failed(e.to_string()),
        Err(e) => return Err(e),
        Ok((false, _)) => Fate::Unfinished,
        Ok((true, end)) => match dir {
            Some(dir) => history::read(dir)?.map_or(Fate::Unfinished, Fate::Done),
            None => Fate::Done(Figures::new(&marks, &(&end).into(), &(&end).into())),
        },
    })
}

/// All epochs of a session, and after each a look at it and its seconds; false if it was to come to an end before.
pub(crate) fn epochs<'a, T: Real>(
    session: &mut Session<'a, T>,
    bar: &Bar,
    halt: &Halt<'_>,
    mut after: impl FnMut(&mut Session<'a, T>, f64) -> Result<()>,
) -> Result<bool> {
    while !session.over() {
        let before = session.seconds();
        let whole = session.epoch(|progress| {
            bar.learned(progress.learned, || {
                format!("epoch {}  accuracy {:.2} %", progress.epoch, 100.0 * progress.sofar.accuracy())
            });
            if halt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !whole {
            return Ok(false);
        }
        let seconds = session.seconds() - before;
        after(session, seconds)?;
    }
    Ok(true)
}

/// The folder of all runs of a command.
pub(crate) struct Store {
    dir: PathBuf,
    /// Name of the command, and of its files.
    name: &'static str,
    /// The page about all runs, if the command writes one.
    page: Option<PathBuf>,
    /// Checksum of the data set; none where the folder's runs are of a version that kept none.
    data: Option<u32>,
}

/// Where the summary has the checksum of the data set.
const CHECKSUM: &str = "data-checksum";

/// Commands that leave folders of many runs.
const COMMANDS: [&str; 2] = ["compare", "sweep"];

impl Store {
    /// Makes it, or takes it as it is; `page` is the name of the page about all runs, if there will be one. What can be refused is refused before anything is
    /// written or removed.
    ///
    /// # Errors
    /// [`Error::Setting`] for a folder that holds something else, or results of other data to go on with; [`Error::Io`].
    pub(crate) fn open(
        dir: &Path,
        (name, page): (&'static str, Option<&str>),
        (resume, overwrite): (bool, bool),
        runs: &[Planned],
        data: &Dataset,
    ) -> Result<Self> {
        let refuse = |what: String| Err(Error::Setting(format!("{}: {what}", dir.display())));
        let page = page.map(|page| dir.join(page));
        let mut store = Self { dir: dir.to_owned(), name, page, data: Some(data.checksum()) };
        if dir.exists() && !dir.is_dir() {
            return refuse("is a file: results need a folder".into());
        }
        if [METRICS, CONFIG, WEIGHTS].iter().any(|file| dir.join(file).exists()) {
            return refuse("holds the results of a single run: name another folder".into());
        }
        if let Some(other) = COMMANDS.iter().find(|&&other| other != name && dir.join(format!("{other}.json")).exists()) {
            return refuse(format!("holds the results of `{other}`: name another folder"));
        }
        let ours = store.summary().exists();
        if ours {
            store.read_summary()?;
        }
        if resume && !ours {
            return refuse(format!("holds no results of `{name}` to go on with: leave out --resume"));
        }
        if ours && !resume && !overwrite {
            return refuse(format!(
                "holds the results of `{name}`: name another folder, go on with it (--resume) or replace it (--overwrite)"
            ));
        }
        // Results may be there without their tables or page: they were ended too early, or had nothing to show.
        let tables = store.tables().map(|(file, is_ours)| (store.path(file), is_ours));
        let mut files = tables.chain(store.page.clone().map(|page| (page, page::is_ours as IsOurs)));
        if let Some((file, _)) = files.find(|(path, is_ours)| path.exists() && !(ours && is_ours(path))) {
            let file = file.file_name().unwrap_or_default().display();
            return refuse(format!("holds a {file} that is not of `{name}`: move it away, or name another folder"));
        }
        let folders: Vec<_> = runs.iter().filter_map(|run| run.dir.as_deref()).collect();
        folders.iter().try_for_each(|dir| Folder::check_free(dir, overwrite || resume))?;
        if resume {
            // A folder has one run of several there may be, as long as nothing is chosen.
            let mut all = BTreeMap::<_, Vec<&Planned>>::new();
            runs.iter()
                .filter_map(|run| Some((run.dir.as_deref()?, run)))
                .for_each(|(dir, run)| all.entry(dir).or_default().push(run));
            all.into_iter().try_for_each(|(dir, runs)| check_config(dir, &runs).map(|_| ()))?;
            let learned = store.learned()?;
            if learned.is_some() && learned != store.data {
                return refuse("its runs have learned other samples than there are now: the data set was changed since".into());
            }
            store.data = learned;
        }
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        // Left by a command that was killed while it wrote a table.
        files::sweep(dir);
        if ours && overwrite {
            store.clear()?;
        }
        if !ours || overwrite {
            store.summarise(serde_json::Map::new().into())?;
        }
        Ok(store)
    }

    /// Removes all runs, tables and trials, and a report about them.
    fn clear(&self) -> Result<()> {
        let entries = |dir: &Path| -> Result<Vec<PathBuf>> {
            let list = std::fs::read_dir(dir).map_err(Error::io("list", dir))?;
            Ok(list.filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir())).collect())
        };
        let is_run = |dir: &Path| -> Result<bool> {
            let seed = dir.file_name().and_then(|name| name.to_str()?.strip_prefix("seed-")?.parse::<u64>().ok());
            Ok(seed.is_some() && is_of_a_run(dir)?)
        };
        for dir in entries(&self.dir)? {
            if is_run(&dir)? {
                Folder::remove(&dir)?;
                continue;
            }
            let mut removed = false;
            for run in entries(&dir)? {
                if is_run(&run)? {
                    Folder::remove(&run)?;
                    removed = true;
                }
            }
            if removed {
                // Unless something else is in it.
                let _ = std::fs::remove_dir(&dir);
            }
        }
        // All of them are ours: `open` has refused others.
        self.tables().try_for_each(|(file, _)| checkpoints::remove(&self.path(file)))?;
        self.page.as_deref().map_or(Ok(()), page::remove)
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a report about all runs is, if the command writes one.
    pub(crate) fn page(&self) -> Option<&Path> {
        self.page.as_deref()
    }

    /// The path of one of its files.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The command's files besides summary and page, each with a test that tells it from other files of that name.
    fn tables(&self) -> impl Iterator<Item = (&'static str, IsOurs)> + use<> {
        // The command that writes a page is also the one that chooses from a grid.
        let grid = self.page.is_some();
        TABLES.into_iter().filter(move |(file, _)| grid || ![GRID_CSV, TRIALS].contains(file))
    }

    fn summary(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }

    /// The summary that is there.
    ///
    /// # Errors
    /// [`Error::File`] for a file that the command has not written; [`Error::Io`].
    fn read_summary(&self) -> Result<serde_json::Value> {
        let path = self.summary();
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let wrong = |why: String| {
            let what = format!("is no summary of `{}` ({why}): move it away, or name another folder", self.name);
            Error::File { path: path.clone(), what }
        };
        let summary: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        // Before the first tables are written it has at most a checksum.
        let begun = summary.as_object().is_some_and(|all| all.keys().all(|key| key == CHECKSUM));
        if begun || summary["command"] == self.name { Ok(summary) } else { Err(wrong("it names another `command`".into())) }
    }

    /// Of the data set that its runs have learned, if it says so.
    fn learned(&self) -> Result<Option<u32>> {
        Ok(self.read_summary()?[CHECKSUM].as_u64().and_then(|data| data.try_into().ok()))
    }

    /// Writes the summary, an object, and the checksum of the data set into it.
    fn summarise(&self, mut summary: serde_json::Value) -> Result<()> {
        if let Some(data) = self.data {
            summary[CHECKSUM] = data.into();
        }
        self.write(&self.summary(), format!("{summary:#}\n").as_bytes())
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_atomically(path, bytes).map_err(Error::io("write", path))
    }

    /// Writes the tables: for readers, for programs, and a summary with every run, its groups under `key`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write_tables(&self, text: &str, table: &Table, (data, seeds, key): (&str, &[u64], &str)) -> Result<()> {
        self.write(&self.path(TABLE_TEXT), text.as_bytes())?;
        self.write(&self.path(TABLE_CSV), table.csv().as_bytes())?;
        let version = env!("CARGO_PKG_VERSION");
        self.summarise(json!({ "command": self.name, "version": version, "data": data, "seeds": seeds, key: table.summary() }))
    }
}

/// Tells a file that the command wrote from others of its name.
type IsOurs = fn(&Path) -> bool;

/// Every table, with a test of its first line.
const TABLES: [(&str, IsOurs); 4] = [
    (TABLE_TEXT, |path| first_line(path).is_some_and(|line| line.ends_with("; mean ± s.d."))),
    (TABLE_CSV, |path| {
        first_line(path).is_some_and(|line| line.contains(",runs,failed,unfinished,") || line.starts_with("runs,failed,"))
    }),
    (GRID_CSV, |path| first_line(path).is_some_and(|line| line.ends_with(",validation_accuracy,validation_loss,chosen,error"))),
    (TRIALS, |path| first_line(path).is_some_and(|line| line.is_empty() || line.starts_with("{\"settings\":{"))),
];

fn first_line(path: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).take(1 << 20).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}

const TABLE_TEXT: &str = "table.txt";
const TABLE_CSV: &str = "table.csv";
/// Trials of a grid: for readers, and each with all its settings.
pub(crate) const GRID_CSV: &str = "grid.csv";
pub(crate) const TRIALS: &str = "grid.jsonl";
