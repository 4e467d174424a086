//! Runs, read from folders of results, finished or not.

use crate::base::error::{Error, Result};
use crate::run::dir::CONFIG;
use crate::run::metrics::{self, Diagnostics, End, Epoch, Event, Layers, METRICS, Number, Scores, Stats};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Run, as stored in its folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Folder of the run, with the path of the search.
    pub dir: PathBuf,
    /// Contents of `config.toml`, if it exists.
    pub config: Option<toml::Table>,
    /// Name of the learning rule, from the configuration, else the metrics, else the folder name.
    pub rule: String,
    /// One line per epoch, in order.
    pub(crate) epochs: Vec<Epoch>,
    /// Statistics within epochs, in order.
    pub(crate) stats: Vec<Stats>,
    /// Diagnostics of the layers, in order.
    pub(crate) diagnostics: Vec<Diagnostics>,
    /// Last line, if the run wrote it.
    pub(crate) end: Option<End>,
}

impl Run {
    /// Returns a setting as text.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.config.as_ref()?.get(key).map(value_text)
    }
    /// Returns the seed. Runs without one come first.
    pub fn seed(&self) -> Option<i64> {
        self.config.as_ref()?.get("seed")?.as_integer()
    }
    /// Returns a final score: of the last line, else of the last epoch, else NaN.
    pub(crate) fn last(&self, of: fn(&Scores) -> Number) -> f64 {
        let scores = self.end.as_ref().map(|end| &end.scores).or(self.epochs.last().map(|line| &line.scores));
        scores.and_then(of).unwrap_or(f64::NAN)
    }
    /// Returns the final values of all layers; see [`Run::last`].
    pub(crate) fn last_layers(&self, of: fn(&Layers) -> &[Number]) -> Vec<f64> {
        let layers = self.end.as_ref().map(|end| &end.layers).or(self.epochs.last().map(|line| &line.layers));
        layers.map_or_else(Vec::new, |layers| numbers(of(layers)))
    }
    /// Returns the seconds of training.
    pub(crate) fn seconds(&self) -> f64 {
        match &self.end {
            Some(end) => end.seconds.unwrap_or(f64::NAN),
            None => self.epochs.iter().filter_map(|line| line.seconds).sum(),
        }
    }
    /// Returns whether the run has reached its end.
    pub(crate) fn finished(&self) -> bool {
        self.end.as_ref().is_some_and(|end| !end.interrupted)
    }
    /// Describes the state: finished, interrupted or without a last line.
    pub(crate) fn state(&self) -> &'static str {
        match &self.end {
            Some(end) if end.interrupted => "interrupted",
            Some(_) => "finished",
            None => "no last line: still running, failed, or ended by force",
        }
    }
    /// Returns whether the other run has the same seed and the same scores after every epoch, of one
    /// or more.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        fn scores(run: &Run) -> impl Iterator<Item = &Scores> {
            run.epochs.iter().map(|line| &line.scores).chain(run.end.iter().map(|end| &end.scores))
        }
        let begun = self.seed().is_some() && scores(self).next().is_some();
        begun && self.seed() == other.seed() && scores(self).eq(scores(other))
    }
    /// Returns a name that distinguishes runs of a group.
    pub(crate) fn name(&self) -> String {
        self.seed().map_or_else(|| self.dir.display().to_string(), |seed| format!("seed {seed}"))
    }

    fn read(dir: PathBuf) -> Result<Self> {
        let config = read_config(&dir.join(CONFIG))?;
        // A run resumed after a crash may repeat an epoch. The later line counts.
        let (mut epochs, mut stats, mut diagnostics, mut end) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), None);
        for event in metrics::read(&dir)? {
            match event {
                Event::Epoch(line) => drop(epochs.insert(line.epoch, line)),
                Event::Stats(line) => drop(stats.insert(line.step, line)),
                Event::Diagnostics(line) => drop(diagnostics.insert(line.step, line)),
                Event::End(line) => end = Some(line),
                Event::Unknown => {}
            }
        }
        let mut run = Self {
            rule: String::new(),
            epochs: epochs.into_values().collect(),
            stats: stats.into_values().collect(),
            diagnostics: diagnostics.into_values().collect(),
            config,
            end,
            dir,
        };
        let written = run.epochs.first().map(|line| &line.rule).or(run.end.as_ref().map(|end| &end.rule));
        let written = written.filter(|rule| !rule.is_empty()).cloned();
        let folder = || run.dir.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        run.rule = run.setting("rule").or(written).unwrap_or_else(folder);
        Ok(run)
    }
}

/// Returns the numbers of a list, NaN for missing ones.
pub(super) fn numbers(list: &[Number]) -> Vec<f64> {
    list.iter().map(|x| x.unwrap_or(f64::NAN)).collect()
}

/// Formats a setting without quotes.
pub(super) fn value_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(value_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn read_config(path: &Path) -> Result<Option<toml::Table>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", path))?,
    };
    let wrong = |e: toml::de::Error| Error::File { path: path.to_owned(), what: format!("not a configuration: {}", e.message()) };
    text.parse().map(Some).map_err(wrong)
}

/// Finds all runs in these folders and their subfolders, each once, in the order of the paths.
///
/// A folder with a `metrics.jsonl` is a run. Links to subfolders are not followed.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a damaged configuration or damaged metrics, with the line;
/// [`Error::Setting`] for a path that is not a folder or contains no run.
pub fn find(folders: &[PathBuf]) -> Result<Vec<Run>> {
    let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
    for folder in folders {
        if !fs::metadata(folder).map_err(Error::io("open", folder))?.is_dir() {
            return Err(Error::Setting(format!("{} is a file: name its folder of results", folder.display())));
        }
        let mut found = Vec::new();
        walk(folder, &mut found)?;
        if found.is_empty() {
            let what = format!("{}: no run in it (a folder with {METRICS}): train with --out", folder.display());
            return Err(Error::Setting(what));
        }
        for dir in found {
            if seen.insert(fs::canonicalize(&dir).map_err(Error::io("find", &dir))?) {
                runs.push(Run::read(dir)?);
            }
        }
    }
    Ok(runs)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if dir.join(METRICS).is_file() {
        found.push(dir.to_owned());
    }
    let mut inside = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let entry = entry.map_err(Error::io("read the folder", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            inside.push(entry.path());
        }
    }
    inside.sort();
    inside.iter().try_for_each(|dir| walk(dir, found))
}
