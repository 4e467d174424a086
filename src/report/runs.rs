//! Runs read back from folders of results, whatever state they are in.

use crate::base::error::{Error, Result};
use crate::run::dir::CONFIG;
use crate::run::metrics::{self, Diagnostics, End, Epoch, Event, Layers, METRICS, Number, Scores};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One run, as its folder has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Its folder, by the path it was found through.
    pub dir: PathBuf,
    /// `config.toml`, if it is there.
    pub config: Option<toml::Table>,
    /// The learning rule's name, from the configuration, else the metrics, else the folder.
    pub rule: String,
    /// One line an epoch, in order.
    pub(crate) epochs: Vec<Epoch>,
    /// Reports on layers, in order.
    pub(crate) diagnostics: Vec<Diagnostics>,
    /// The last line, if the run came to it.
    pub(crate) end: Option<End>,
}

impl Run {
    /// One setting, as text.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.config.as_ref()?.get(key).map(value_text)
    }
    /// The seed, for order and labels; runs without one come first.
    pub fn seed(&self) -> Option<i64> {
        self.config.as_ref()?.get("seed")?.as_integer()
    }
    /// A score with which it ended, or, of a run without a last line, its last epoch's; NaN for none.
    pub(crate) fn last(&self, of: fn(&Scores) -> Number) -> f64 {
        let scores = self.end.as_ref().map(|end| &end.scores).or(self.epochs.last().map(|line| &line.scores));
        scores.and_then(of).unwrap_or(f64::NAN)
    }
    /// The same of a list with one number a layer.
    pub(crate) fn last_layers(&self, of: fn(&Layers) -> &[Number]) -> Vec<f64> {
        let layers = self.end.as_ref().map(|end| &end.layers).or(self.epochs.last().map(|line| &line.layers));
        layers.map_or_else(Vec::new, |layers| numbers(of(layers)))
    }
    /// Seconds of training.
    pub(crate) fn seconds(&self) -> f64 {
        match &self.end {
            Some(end) => end.seconds.unwrap_or(f64::NAN),
            None => self.epochs.iter().filter_map(|line| line.seconds).sum(),
        }
    }
    /// `finished`, `interrupted`, or that it has no last line.
    pub(crate) fn state(&self) -> &'static str {
        match &self.end {
            Some(end) if end.interrupted => "interrupted",
            Some(_) => "finished",
            None => "no last line: still running, or ended by force",
        }
    }
    /// Its name where several runs are told apart.
    pub(crate) fn name(&self) -> String {
        self.seed().map_or_else(|| self.dir.display().to_string(), |seed| format!("seed {seed}"))
    }

    fn read(dir: PathBuf) -> Result<Self> {
        let config = read_config(&dir.join(CONFIG))?;
        // Of a run that went on after a crash, the later line of an epoch counts.
        let (mut epochs, mut diagnostics, mut end) = (BTreeMap::new(), BTreeMap::new(), None);
        for event in metrics::read(&dir)? {
            match event {
                Event::Epoch(line) => drop(epochs.insert(line.epoch, line)),
                Event::Diagnostics(line) => drop(diagnostics.insert(line.step, line)),
                Event::End(line) => end = Some(line),
                Event::Unknown => {}
            }
        }
        let mut run = Self {
            rule: String::new(),
            epochs: epochs.into_values().collect(),
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

/// Numbers of a list, NaN for those that are none.
pub(super) fn numbers(list: &[Number]) -> Vec<f64> {
    list.iter().map(|x| x.unwrap_or(f64::NAN)).collect()
}

/// A setting as a reader would write it: text without quotes.
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

/// All runs in these folders and in the folders inside, each once, in the order of their paths. A run's folder is one with a
/// `metrics.jsonl`; links to folders inside are not followed.
///
/// # Errors
/// [`Error::Io`] for what cannot be read; [`Error::File`] for a configuration or metrics that are damaged, with the line;
/// [`Error::Setting`] for what is no folder, or has no run in it.
pub fn find(folders: &[PathBuf]) -> Result<Vec<Run>> {
    let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
    for folder in folders {
        if !fs::metadata(folder).map_err(Error::io("open", folder))?.is_dir() {
            return Err(Error::Setting(format!("{} is a file: name the folder of results that it is in", folder.display())));
        }
        let mut found = Vec::new();
        walk(folder, &mut found)?;
        if found.is_empty() {
            return Err(Error::Setting(format!(
                "{}: no run in it (a folder with {METRICS}): train with --out",
                folder.display()
            )));
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
