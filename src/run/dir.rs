//! A folder of results: settings, a line of metrics an epoch, weights, and what it takes to go on.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::model::loss::Score;
use crate::rule::LearningRule;
use crate::run::checkpoints;
use crate::run::config::Run;
use crate::run::events::{self, Events};
use crate::run::options::Settings;
use crate::solve;
use crate::study::diagnostics::{Alignment, LayerReport};
use crate::train::Epoch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Names of the files in it.
use crate::store::weights::WEIGHTS;
pub(crate) const CONFIG: &str = "config.toml";
pub(crate) const METRICS: &str = "metrics.jsonl";
/// The weights that did best on the validation samples.
pub(crate) const BEST: &str = "best.safetensors";

/// A folder of results that is being written.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    /// Locked, so that no other run writes here.
    metrics: File,
    events: Option<Events>,
}

impl Folder {
    /// Makes folders and their first files, before any work is done that could be lost. What can be refused is refused before
    /// anything is written. The first is the run's, others lie in it.
    pub(crate) fn create_all(folders: &[PathBuf], settings: &[Settings], overwrite: bool) -> Result<Vec<Self>> {
        // What a run leaves that ended before it had begun is in nobody's way.
        let free = overwrite || (!folders[0].join(CONFIG).exists() && folders.iter().all(|dir| Self::is_unused(dir)));
        folders.iter().try_for_each(|dir| Self::check_free(dir, free))?;
        for dir in folders {
            std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        }
        let metrics = folders.iter().map(|dir| open(dir)).collect::<Result<Vec<_>>>()?;
        // A rule that was trained beside in a run that is replaced, or that ended before it had begun, but is not in this one.
        let mut stale = LearningRule::ALL.map(|kind| folders[0].join(kind.name())).to_vec();
        stale.retain(|dir| !folders.contains(dir) && dir.join(METRICS).exists() && (overwrite || Self::is_unused(dir)));
        let _locked = stale.iter().map(|dir| open(dir)).collect::<Result<Vec<_>>>()?;
        // From here to the end the folder is no run's: one that ends in between cannot be resumed as half of another.
        checkpoints::remove(&folders[0].join(CONFIG))?;
        stale.iter().try_for_each(|dir| Self::remove(dir))?;
        // The run's own settings come last: where they are, everything is.
        let all = folders.iter().zip(settings).zip(metrics).rev();
        let mut made = all.map(|((dir, settings), metrics)| Self::create(dir, settings, metrics)).collect::<Result<Vec<_>>>()?;
        made.reverse();
        Ok(made)
    }

    /// Refuses a place where results cannot be written, or, unless they are to be replaced, where there are some. Files that no run has written
    /// are never replaced.
    ///
    /// # Errors
    /// [`Error::Setting`]; [`Error::Io`].
    pub(crate) fn check_free(dir: &Path, overwrite: bool) -> Result<()> {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::Setting(format!("{} is a file: results need a folder", dir.display())));
        }
        if dir.is_symlink() && !dir.exists() {
            return Err(Error::Setting(format!(
                "{} is a link to nothing: create the folder it names, or name another",
                dir.display()
            )));
        }
        let foreign = |path: &Path| {
            Err(Error::Setting(format!(
                "{} is of no run of gaitprop, and is not replaced: move it away, or name another folder",
                path.display()
            )))
        };
        if checkpoints::steps(dir).is_ok_and(|steps| !steps.is_empty()) && !is_of_a_run(dir)? {
            return foreign(&dir.join(checkpoints::FOLDER));
        }
        for name in [METRICS, WEIGHTS, CONFIG, BEST] {
            let path = dir.join(name);
            if path.is_dir() {
                return Err(Error::Setting(format!("{} is a folder: results cannot be written there", path.display())));
            }
            if overwrite && path.exists() && !is_of_a_run(dir)? {
                return foreign(&path);
            }
            if !overwrite && path.exists() {
                return Err(Error::Setting(format!(
                    "{} holds the results of a run ({name}): name another folder, go on with --resume, or give --overwrite",
                    dir.display()
                )));
            }
        }
        Ok(())
    }

    /// Whether no run has come further here than to its first files.
    fn is_unused(dir: &Path) -> bool {
        let empty = |path: &Path| path.metadata().is_ok_and(|of| of.is_file() && of.len() == 0);
        let there = |name: &str| dir.join(name).exists();
        !(there(WEIGHTS) || there(BEST) || checkpoints::any(dir))
            && (empty(&dir.join(METRICS)) || !(there(METRICS) || there(CONFIG)))
    }

    /// Removes a run's results, and the folder unless something else is in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn remove(dir: &Path) -> Result<()> {
        clear(dir)?;
        checkpoints::remove(&dir.join(METRICS))?;
        let _ = std::fs::remove_dir(dir);
        Ok(())
    }

    fn create(dir: &Path, settings: &Settings, metrics: File) -> Result<Self> {
        // Weights of another run beside this run's settings would lie.
        clear(dir)?;
        metrics.set_len(0).map_err(Error::io("write", dir.join(METRICS)))?;
        write_settings(dir, settings)?;
        Self::with(dir, settings, metrics)
    }

    /// The folder of a run that is to go on.
    ///
    /// # Errors
    /// [`Error::Setting`] if another run is writing there; [`Error::Io`].
    pub(crate) fn open(dir: &Path, settings: &Settings) -> Result<Self> {
        let metrics = open(dir)?;
        checkpoints::sweep(dir);
        Self::with(dir, settings, metrics)
    }

    fn with(dir: &Path, settings: &Settings, metrics: File) -> Result<Self> {
        let events = settings.tensorboard.unwrap_or(false).then(|| Events::open(dir)).transpose()?;
        Ok(Self { dir: dir.to_owned(), metrics, events })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
    /// Where the best weights are.
    pub(crate) fn best(&self) -> PathBuf {
        self.dir.join(BEST)
    }

    /// One line of metrics, whole or not at all.
    pub(crate) fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.dir.join(METRICS);
        let mut text = serde_json::to_string(line)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        text.push('\n');
        files::append(&mut self.metrics, text.as_bytes()).map_err(Error::io("write", path))
    }

    /// An epoch's line, and its events if they are wanted.
    pub(crate) fn epoch(&mut self, line: &EpochLine<'_>) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.scalars(line.epoch as u64, &line.scalars())?;
        }
        self.line(line)
    }

    /// Bytes of metrics and of events, which are then on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn lengths(&self) -> Result<(u64, u64)> {
        let path = self.dir.join(METRICS);
        self.metrics.sync_data().map_err(Error::io("write", &path))?;
        let metrics = self.metrics.metadata().map_err(Error::io("read", path))?.len();
        Ok((metrics, self.events.as_ref().map_or(Ok(0), Events::len)?))
    }

    /// Cuts off what was written after these lengths.
    ///
    /// # Errors
    /// [`Error::File`] if the files are shorter; [`Error::Io`].
    pub(crate) fn cut(&mut self, (metrics, events): (u64, u64)) -> Result<()> {
        let path = self.dir.join(METRICS);
        let len = self.metrics.metadata().map_err(Error::io("read", &path))?.len();
        if len < metrics {
            let what = format!(
                "it has {len} bytes, but had {metrics} at the last checkpoint: it was changed since; bring it back, or train again from the start (--out, --overwrite)"
            );
            return Err(Error::File { path, what });
        }
        self.metrics.set_len(metrics).map_err(Error::io("write", path))?;
        self.events.as_mut().map_or(Ok(()), |e| e.cut(events))
    }

    /// Whether the run came to its end after so many bytes of metrics: its last line is there, and its weights.
    pub(crate) fn ended(&self, metrics: u64) -> bool {
        let text = std::fs::read(self.dir.join(METRICS)).unwrap_or_default();
        let rest = usize::try_from(metrics).ok().and_then(|n| text.get(n..)).and_then(|rest| rest.strip_suffix(b"\n"));
        let last = rest.and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        last.is_some_and(|line| line["event"] == END && line["interrupted"] == false) && self.dir.join(WEIGHTS).exists()
    }
}

/// Whether the folder holds a run, or what is left of one: its metrics, which are the first file to come and the last to go, begin as a run writes
/// them, or are empty still.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn is_of_a_run(dir: &Path) -> Result<bool> {
    let path = dir.join(METRICS);
    let file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("open", &path))?,
    };
    let mut line = Vec::new();
    BufReader::new(file).take(1 << 20).read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
    let is_event = || serde_json::from_slice::<serde_json::Value>(&line).is_ok_and(|line| line["event"].is_string());
    Ok(line.is_empty() || is_event())
}

/// Opens the metrics of a folder for new lines, and keeps others from doing so.
fn open(dir: &Path) -> Result<File> {
    let path = dir.join(METRICS);
    let file = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::Setting(format!("{}: a run that has not ended is writing there: name another folder", dir.display())))
        }
        // Some file systems know no locks: then there is none.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Removes everything of a run but its metrics.
fn clear(dir: &Path) -> Result<()> {
    for name in [CONFIG, WEIGHTS, BEST, events::FILE] {
        checkpoints::remove(&dir.join(name))?;
    }
    checkpoints::clear(dir)
}

/// Writes the settings of a folder.
pub(crate) fn write_settings(dir: &Path, settings: &Settings) -> Result<()> {
    let config = dir.join(CONFIG);
    files::write_atomically(&config, settings.to_toml()?.as_bytes()).map_err(Error::io("write", config))
}

/// What a network is like at the end of an epoch, and what the epoch was like.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Of the training samples; by an epoch's end each as it was just before it was learned.
    pub(crate) train: Score,
    pub(crate) validation: Option<Score>,
    pub(crate) test: Score,
    /// With backpropagation, layer by layer; empty where it could not be measured.
    pub(crate) alignment: Vec<Alignment>,
    /// ‖offdiag(W Wᵀ)‖ of each layer.
    pub(crate) offdiag: Vec<f64>,
}

/// What every line of metrics says of the network.
#[derive(Serialize)]
struct Scores {
    train_loss: f64,
    train_accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_accuracy: Option<f64>,
    test_loss: f64,
    test_accuracy: f64,
}

impl From<&Measured> for Scores {
    fn from(of: &Measured) -> Self {
        Self {
            train_loss: of.train.mean_loss(),
            train_accuracy: of.train.accuracy(),
            validation_loss: of.validation.map(|s| s.mean_loss()),
            validation_accuracy: of.validation.map(|s| s.accuracy()),
            test_loss: of.test.mean_loss(),
            test_accuracy: of.test.accuracy(),
        }
    }
}

/// What marks the last line.
const END: &str = "end";

/// One line of metrics, at the end of an epoch.
#[derive(Serialize)]
pub(crate) struct EpochLine<'a> {
    event: &'static str,
    epoch: usize,
    rule: &'a str,
    #[serde(flatten)]
    scores: Scores,
    /// Empty where it could not be measured.
    cosine_with_bp: Vec<f64>,
    ratio_to_bp: Vec<f64>,
    offdiag: &'a [f64],
    inverse: &'static str,
    /// How many solves each strategy found the solution of; empty for rules without.
    solved_by: BTreeMap<&'static str, u64>,
    solve_residual: f64,
    solve_products_per_step: f64,
    seconds: f64,
    samples_per_second: f64,
}

impl<'a> EpochLine<'a> {
    /// Of an epoch, from 1, that took so many seconds.
    pub(crate) fn new(
        (rule, inverse): (LearningRule, solve::SolverKind),
        epoch: usize,
        done: &Epoch,
        measured: &'a Measured,
        seconds: f64,
    ) -> Self {
        Self {
            event: "epoch",
            epoch,
            rule: rule.name(),
            scores: measured.into(),
            cosine_with_bp: measured.alignment.iter().map(|a| a.cosine).collect(),
            ratio_to_bp: measured.alignment.iter().map(|a| a.ratio).collect(),
            offdiag: &measured.offdiag,
            inverse: inverse.name(),
            solved_by: solve::SolverKind::ALL.iter().map(|k| (k.name(), done.solves.by(*k))).filter(|(_, n)| *n > 0).collect(),
            solve_residual: done.solves.residual,
            solve_products_per_step: done.solves.products / done.steps.max(1) as f64,
            seconds,
            samples_per_second: done.score.samples as f64 / seconds.max(1e-9),
        }
    }

    /// What there is to be drawn over epochs, by name.
    fn scalars(&self) -> Vec<(String, f64)> {
        let Scores { train_loss, train_accuracy, validation_loss, validation_accuracy, test_loss, test_accuracy } = self.scores;
        let named = |name: &str, value: f64| (format!("{}/{name}", self.rule), value);
        let mut all = vec![
            named("train/loss", train_loss),
            named("train/accuracy", train_accuracy),
            named("test/loss", test_loss),
            named("test/accuracy", test_accuracy),
        ];
        all.extend(validation_loss.map(|loss| named("validation/loss", loss)));
        all.extend(validation_accuracy.map(|accuracy| named("validation/accuracy", accuracy)));
        for (name, layers) in [("cosine_with_bp", &self.cosine_with_bp[..]), ("offdiag", self.offdiag)] {
            all.extend(layers.iter().enumerate().map(|(l, &value)| named(&format!("{name}/W{l}"), value)));
        }
        all
    }
}

/// What validation has decided.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stopping {
    /// Whether the run ended before its last epoch because validation no longer improved.
    pub(crate) stopped_early: bool,
    /// The epoch with the smallest validation loss, from 1; 0 if none was a number.
    pub(crate) best_epoch: usize,
    pub(crate) best_validation_loss: f64,
}

/// A report on every layer, after an epoch's line.
#[derive(Serialize)]
pub(crate) struct DiagnosticsLine<'a> {
    event: &'static str,
    epoch: usize,
    step: u64,
    rule: &'a str,
    layers: Vec<LayerReport>,
}

impl DiagnosticsLine<'_> {
    /// After so many epochs and steps.
    pub(crate) fn new(rule: LearningRule, (epoch, step): (usize, u64), layers: Vec<LayerReport>) -> Self {
        Self { event: "diagnostics", epoch, step, rule: rule.name(), layers }
    }
}

/// The last line.
#[derive(Serialize)]
pub(crate) struct EndLine<'a> {
    event: &'static str,
    epochs: usize,
    steps: u64,
    rule: &'a str,
    #[serde(flatten)]
    scores: Scores,
    /// Whether the run was cut short, in the middle of an epoch that no line speaks of.
    interrupted: bool,
    /// Of validation: whether it has ended the run, and the epoch with the smallest loss.
    #[serde(flatten)]
    stopping: Option<Stopping>,
    cosine_with_bp: Vec<f64>,
    ratio_to_bp: Vec<f64>,
    offdiag: &'a [f64],
    regularizer: &'static str,
    orthogonal: &'static str,
    seconds: f64,
    isa: &'static str,
    backend: &'static str,
    threads: usize,
}

impl<'a> EndLine<'a> {
    /// Of a run that has come so far: epochs and steps, whether that is its end, and the seconds of training.
    pub(crate) fn new(
        run: &Run,
        (epochs, steps): (usize, u64),
        (over, stopping): (bool, Option<Stopping>),
        measured: &'a Measured,
        seconds: f64,
    ) -> Self {
        Self {
            event: END,
            epochs,
            steps,
            rule: run.kind.name(),
            scores: measured.into(),
            interrupted: !over,
            stopping,
            cosine_with_bp: measured.alignment.iter().map(|a| a.cosine).collect(),
            ratio_to_bp: measured.alignment.iter().map(|a| a.ratio).collect(),
            offdiag: &measured.offdiag,
            regularizer: run.regularizer_name(),
            orthogonal: run.orthogonal_name(),
            seconds,
            isa: run.machine.isa.name(),
            backend: run.machine.backend.name(),
            threads: run.machine.threads,
        }
    }
}
