//! Many runs at once, each on a thread of its own and each what `train` would make of the same settings: what `compare` and `sweep` share.

use super::folder::{CONFIG, Folder, METRICS, WEIGHTS, text_of};
use super::grid::Point;
use super::history::{Figures, History, Mark};
use super::session::{Session, check_memory};
use super::settings::{Run, Settings};
use super::spread::{Bar, Board, Halt, spread};
use super::table::{Group, Table};
use super::{Done, Failure};
use crate::data::{Affine, Dataset, Prepared};
use crate::loss::Score;
use crate::rule::Kind;
use crate::{Error, Result, files};
use gaitprop_kernels::Real;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is said of many runs besides the settings.
#[derive(clap::Args)]
pub(super) struct Common {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many seeds each has: --seed and the numbers after it
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Replace the results that are already in that folder
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Go on with what is in that folder: runs that have come to their end are read back, the others begin anew
    #[arg(long)]
    resume: bool,
    /// No progress bars
    #[arg(long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) settings: Settings,
}

/// More than this are taken for a mistake.
const MAX_SEEDS: u64 = 10_000;

impl Common {
    /// Settings of all runs, from flags and file; without a rule where there are several.
    ///
    /// # Errors
    /// As [`Settings::read`]; [`Error::Setting`] for flags that make no sense with many runs.
    pub(super) fn said(&self, several_rules: bool) -> Result<Settings> {
        let flags = self.settings.clone();
        if flags.beside.is_some() {
            return Err(Error::Setting("--beside is for `train`: several rules are compared by `compare --rules`".into()));
        }
        if several_rules && flags.rule.is_some() {
            return Err(Error::Setting("--rule is for a single rule: use --rules".into()));
        }
        let mut file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        file.beside = None;
        if several_rules && file.rule.take().is_some() {
            // They were that rule's.
            (file.lr, file.lambda, file.mu) = (None, None, None);
        }
        let said = flags.or(file);
        for (flag, given) in [("--overwrite", self.overwrite), ("--resume", self.resume)] {
            if given && said.out.is_none() {
                return Err(Error::Setting(format!("{flag} needs --out: nothing is written without a folder")));
            }
        }
        Ok(said)
    }

    /// The seeds, from the first.
    ///
    /// # Errors
    /// [`Error::Setting`] for none, or for more than can be meant.
    pub(super) fn seeds(&self, first: Option<u64>) -> Result<Vec<u64>> {
        seeds("--seeds", self.seeds, first)
    }
}

/// So many seeds, from the first; `flag` is who asks.
pub(super) fn seeds(flag: &str, count: u64, first: Option<u64>) -> Result<Vec<u64>> {
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
pub(super) struct Planned {
    pub(super) run: Run,
    /// All it hangs on, as its folder says it.
    pub(super) settings: Settings,
    pub(super) dir: Option<PathBuf>,
    pub(super) title: String,
}

impl Planned {
    /// `said` at `point`, for a rule (unless `said` or `point` has it) and a seed.
    ///
    /// # Errors
    /// As [`Run::resolve`], saying which run it is.
    pub(super) fn new(
        said: &Settings,
        point: &Point,
        (rule, seed): (Option<Kind>, u64),
        (set, data): (&str, &Dataset),
        dir: Option<PathBuf>,
    ) -> Result<Self> {
        let base = Settings {
            out: None,
            rule: rule.map(|rule| rule.to_string()).or(said.rule.clone()),
            beside: Some("none".into()),
            // How many runs there are at once is not a run's business.
            threads: None,
            ..said.clone()
        };
        let resolve = || {
            let mut run = Run::resolve(Settings { seed: Some(seed), ..point.on(&base)? }, data)?;
            run.machine.threads = 1;
            Ok((run.resolved(run.kind, set)?, run))
        };
        let name = [rule.map_or(String::new(), |rule| rule.to_string()), point.to_string()].join(" ").trim().to_owned();
        let (settings, run) = resolve().map_err(|e| match e {
            Error::Setting(what) if !name.is_empty() => Error::Setting(format!("{name}: {what}")),
            other => other,
        })?;
        Ok(Self { run, settings, dir, title: format!("{name} seed {seed}").trim().to_owned() })
    }

    /// What is known of it from an earlier time.
    fn known(&self) -> Result<Option<History>> {
        match &self.dir {
            Some(dir) if check_config(dir, &[self])? && dir.join(WEIGHTS).exists() => History::read(dir),
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
    let known = runs.iter().map(|run| text_of(&run.settings)).collect::<Result<Vec<_>>>()?.contains(&text);
    let what = "the run there has other settings than it would have now: use those it began with, remove its folder, or replace all (--overwrite)";
    if known { Ok(true) } else { Err(Error::File { path, what: what.into() }) }
}

/// What became of a run.
pub(super) enum Fate {
    Done(Figures<Option<f64>>),
    /// It cannot be trained with these settings: why.
    Failed(String),
    /// There was no time for it.
    Unfinished,
}

/// What is measured of runs without a folder.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// Loss and accuracy.
    Scores,
    /// And how weights and updates are.
    All,
}

/// Who does the work.
pub(super) struct Crew<'a> {
    pub(super) threads: usize,
    pub(super) interrupted: &'a AtomicBool,
    pub(super) quiet: bool,
}

/// Whether a run is at fault itself, so that others may go on.
pub(super) fn own_fault(e: &Error) -> bool {
    use Error::{Diverged, NotOrthogonal, OutOfRange, Singular, TooFar};
    matches!(e, Singular { .. } | NotOrthogonal { .. } | TooFar { .. } | OutOfRange { .. } | Diverged { .. })
}

/// All runs, each in its folder if it has one, and all with data scaled in one way. What is known of a run from an earlier time is read, not trained. Second come the samples that were learned.
///
/// # Errors
/// A run that was begun with other settings, before any is trained; an error that is not [a run's own](own_fault).
pub(super) fn train_all<T: Real>(planned: &[Planned], data: &Dataset, look: Look, crew: &Crew<'_>) -> Result<(Vec<Fate>, u64)> {
    let Some(first) = planned.first() else { return Ok((Vec::new(), 0)) };
    let inputs = data.affine(first.run.scale);
    let data = data.apply::<T>(&inputs);
    let known = planned.iter().map(Planned::known).collect::<Result<Vec<_>>>()?;
    let samples = |planned: &Planned| (planned.run.epochs as u64).saturating_mul(data.train.len as u64);
    let mut fates: Vec<_> = known.into_iter().map(|known| known.map_or(Fate::Unfinished, |h| Fate::Done(h.figures()))).collect();
    let left: Vec<_> = (0..planned.len()).filter(|&i| matches!(fates[i], Fate::Unfinished)).collect();
    for &i in &left {
        check_memory::<T>(&planned[i].run, data.train.len, crew.threads.min(left.len()))?;
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
    let folder = dir
        .as_ref()
        .map(|dir| Folder::create_all(std::slice::from_ref(dir), std::slice::from_ref(settings), true))
        .transpose()?;
    let folder = folder.and_then(|mut folders| folders.pop());
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
            Some(dir) => History::read(dir)?.map_or(Fate::Unfinished, |h| Fate::Done(h.figures())),
            None => Fate::Done(History::new(marks, &end).figures()),
        },
    })
}

/// All epochs of a session, and after each a look at it and its seconds; false if it was to come to an end before.
pub(super) fn epochs<'a, T: Real>(
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

/// How many runs a table lacks.
pub(super) fn unfinished(table: &Table) -> String {
    match table.groups.iter().map(Group::unfinished).sum::<usize>() {
        0 => String::new(),
        1 => "interrupted: 1 run is not finished\n".into(),
        n => format!("interrupted: {n} runs are not finished\n"),
    }
}

/// Seeds, of which there is one at least, for readers.
pub(super) fn span(seeds: &[u64]) -> String {
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    if first == last { format!("seed {first}") } else { format!("seeds {first} to {last}") }
}

/// How a command ends whose table has been shown: badly if at least `enough` rows have not a single run to show.
pub(super) fn finish(table: &Table, enough: usize, interrupted: &AtomicBool) -> Result<Done, Failure> {
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Done::Interrupted);
    }
    let failed: Vec<_> = table.groups.iter().filter_map(|group| Some((group, group.all_failed()?))).collect();
    match &failed[..] {
        [(group, why), rest @ ..] if failed.len() >= enough => {
            let more = if rest.is_empty() { String::new() } else { format!(", and of {} more rows of the table,", rest.len()) };
            Err(Error::Setting(format!("every run of {}{more} failed: {why}", group.names.join(" "))).into())
        }
        _ => Ok(Done::Well),
    }
}

/// The folder of all runs of a command.
pub(super) struct Store {
    dir: PathBuf,
    /// Name of the command, and of its files.
    name: &'static str,
    /// The page about all runs and the folder of its charts, if the command writes them.
    report: Option<(PathBuf, PathBuf)>,
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
    pub(super) fn open(
        dir: &Path,
        (name, page): (&'static str, Option<&str>),
        common: &Common,
        runs: &[Planned],
        data: &Dataset,
    ) -> Result<Self> {
        let refuse = |what: String| Err(Error::Setting(format!("{}: {what}", dir.display())));
        let report =
            page.map(|page| dir.join(page)).and_then(|page| super::report::assets_of(&page).map(|assets| (page, assets)));
        let mut store = Self { dir: dir.to_owned(), name, report, data: Some(data.checksum()) };
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
        if common.resume && !ours {
            return refuse(format!("holds no results of `{name}` to go on with: leave out --resume"));
        }
        if ours && !common.resume && !common.overwrite {
            return refuse(format!(
                "holds the results of `{name}`: name another folder, go on with it (--resume) or replace it (--overwrite)"
            ));
        }
        if let Some((page, assets)) = &store.report {
            let name_of = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
            for (path, is, wrong) in [(page, "a folder", page.is_dir()), (assets, "a file", assets.is_file())] {
                if wrong {
                    return refuse(format!("{} in it is {is}: the report about all runs belongs there", name_of(path)));
                }
            }
            // Results may be there without a page of theirs: they were ended too early, or had nothing to show.
            if page.exists() && !(ours && crate::report::has_written(assets)) {
                let (page, assets) = (name_of(page), name_of(assets));
                return refuse(format!(
                    "holds a {page} that is not of `{name}`, or has lost its {assets}: move it away, or name another folder"
                ));
            }
        }
        let folders: Vec<_> = runs.iter().filter_map(|run| run.dir.as_deref()).collect();
        folders.iter().try_for_each(|dir| Folder::check_free(dir, common.overwrite || common.resume))?;
        if common.resume {
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
        if ours && common.overwrite {
            store.clear()?;
        }
        if !ours || common.overwrite {
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
        let is_run = |dir: &Path| {
            dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) && dir.join(CONFIG).exists()
        };
        for dir in entries(&self.dir)? {
            if is_run(&dir) {
                Folder::remove(&dir)?;
                continue;
            }
            let runs: Vec<_> = entries(&dir)?.into_iter().filter(|dir| is_run(dir)).collect();
            runs.iter().try_for_each(|dir| Folder::remove(dir))?;
            if !runs.is_empty() {
                // Unless something else is in it.
                let _ = std::fs::remove_dir(&dir);
            }
        }
        for file in [TABLE_TEXT, TABLE_CSV, GRID_CSV, TRIALS].map(|name| self.path(name)) {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", file)(e)),
                _ => {}
            }
        }
        self.report.as_ref().map_or(Ok(()), |(page, assets)| crate::report::remove(page, assets))
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a report about all runs is, if the command writes one.
    pub(super) fn page(&self) -> Option<&Path> {
        self.report.as_ref().map(|(page, _)| page.as_path())
    }

    /// The path of one of its files.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn summary(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }

    /// Of the data set that its runs have learned, if it says so.
    fn learned(&self) -> Result<Option<u32>> {
        let path = self.summary();
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let summary: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Error::File { path, what: format!("is no summary of runs: {e}") })?;
        Ok(summary[CHECKSUM].as_u64().and_then(|data| data.try_into().ok()))
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
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        files::write_atomically(path, bytes).map_err(Error::io("write", path))
    }

    /// Writes the tables: for readers, for programs, and with everything in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write_tables(&self, text: &str, csv: &str, summary: &impl Serialize) -> Result<()> {
        let path = self.summary();
        let json = serde_json::to_value(summary).map_err(|e| Error::File { path, what: format!("cannot be written: {e}") })?;
        self.write(&self.path(TABLE_TEXT), text.as_bytes())?;
        self.write(&self.path(TABLE_CSV), csv.as_bytes())?;
        self.summarise(json)
    }
}

const TABLE_TEXT: &str = "table.txt";
const TABLE_CSV: &str = "table.csv";
/// Trials of a grid: for readers, and each with all its settings.
pub(super) const GRID_CSV: &str = "grid.csv";
pub(super) const TRIALS: &str = "grid.jsonl";
