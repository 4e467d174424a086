//! A folder of results: settings, a line of metrics an epoch, and weights.

use super::settings::Settings;
use crate::diagnostics::Alignment;
use crate::loss::Score;
use crate::rule::Kind;
use crate::train::Epoch;
use crate::{Error, Result, files, inverse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Names of the files in it.
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const CONFIG: &str = "config.toml";
pub(super) const METRICS: &str = "metrics.jsonl";

/// A folder of results that is being written.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    metrics: File,
}

impl Folder {
    /// Makes folders and their first files, before any work is done that could be lost. What can be refused is refused before
    /// anything is written. The first is the run's, others lie in it.
    pub(super) fn create_all(folders: &[PathBuf], settings: &[Settings], overwrite: bool) -> Result<Vec<Self>> {
        folders.iter().try_for_each(|dir| Self::check_free(dir, overwrite))?;
        for dir in folders {
            std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        }
        if overwrite {
            // A rule that was trained beside in the run that is replaced, but is not in this one.
            let stale = Kind::ALL.map(|kind| folders[0].join(kind.name()));
            stale
                .iter()
                .filter(|dir| !folders.contains(dir) && dir.join(METRICS).exists())
                .try_for_each(|dir| Self::remove(dir))?;
        }
        folders.iter().zip(settings).map(|(dir, settings)| Self::create(dir, settings)).collect()
    }

    /// Refuses a place where results cannot be written, or, unless they are to be replaced, where there are some.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(super) fn check_free(dir: &Path, overwrite: bool) -> Result<()> {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::Setting(format!("{} is a file: results need a folder", dir.display())));
        }
        for name in [METRICS, WEIGHTS, CONFIG] {
            let path = dir.join(name);
            if path.is_dir() {
                return Err(Error::Setting(format!("{} is a folder: results cannot be written there", path.display())));
            }
            if !overwrite && path.exists() {
                return Err(Error::Setting(format!(
                    "{} holds the results of a run ({name}): name another folder, or give --overwrite",
                    dir.display()
                )));
            }
        }
        Ok(())
    }

    /// Removes a run's results, and the folder unless something else is in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(dir: &Path) -> Result<()> {
        for path in [METRICS, WEIGHTS, CONFIG].map(|name| dir.join(name)).iter().filter(|path| path.exists()) {
            std::fs::remove_file(path).map_err(Error::io("remove", path))?;
        }
        let _ = std::fs::remove_dir(dir);
        Ok(())
    }

    /// What its file of settings says.
    ///
    /// # Errors
    /// [`Error::Setting`] for what a TOML file cannot hold.
    pub(super) fn config(settings: &Settings) -> Result<String> {
        toml::to_string(settings).map_err(|e| Error::Setting(format!("the settings cannot be written: {e}")))
    }

    fn create(dir: &Path, settings: &Settings) -> Result<Self> {
        // Weights of another run beside this run's settings would lie.
        match std::fs::remove_file(dir.join(WEIGHTS)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", dir.join(WEIGHTS))(e)),
            _ => {}
        }
        let text = Self::config(settings)?;
        let config = dir.join(CONFIG);
        files::write_atomically(&config, text.as_bytes()).map_err(Error::io("write", config))?;
        let path = dir.join(METRICS);
        let metrics = File::create(&path).map_err(Error::io("create", path))?;
        Ok(Self { dir: dir.to_owned(), metrics })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// One line of metrics, in one write.
    pub(super) fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.dir.join(METRICS);
        let mut text = serde_json::to_string(line)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(Error::io("write", path))
    }
}

/// What a network is like at the end of an epoch, and what the epoch was like.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Of the training samples; by an epoch's end each as it was just before it was learned.
    pub(super) train: Score,
    pub(super) validation: Option<Score>,
    pub(super) test: Score,
    /// With backpropagation, layer by layer; empty where it could not be measured.
    pub(super) alignment: Vec<Alignment>,
    /// ‖offdiag(W Wᵀ)‖ of each layer.
    pub(super) offdiag: Vec<f64>,
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

/// One line of metrics, at the end of an epoch.
#[derive(Serialize)]
pub(super) struct EpochLine<'a> {
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
    pub(super) fn new(
        (rule, inverse): (Kind, inverse::Kind),
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
            solved_by: inverse::Kind::ALL.iter().map(|k| (k.name(), done.solves.by(*k))).filter(|(_, n)| *n > 0).collect(),
            solve_residual: done.solves.residual,
            solve_products_per_step: done.solves.products / done.steps.max(1) as f64,
            seconds,
            samples_per_second: done.score.samples as f64 / seconds.max(1e-9),
        }
    }
}

/// The last line.
#[derive(Serialize)]
pub(super) struct EndLine<'a> {
    event: &'static str,
    epochs: usize,
    steps: u64,
    rule: &'a str,
    #[serde(flatten)]
    scores: Scores,
    /// Whether the run was cut short, in the middle of an epoch that no line speaks of.
    interrupted: bool,
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
    /// Of a run that has come so far: epochs and steps, and the seconds of training.
    pub(super) fn new(run: &super::settings::Run, (epochs, steps): (usize, u64), measured: &'a Measured, seconds: f64) -> Self {
        Self {
            event: "end",
            epochs,
            steps,
            rule: run.kind.name(),
            scores: measured.into(),
            interrupted: epochs < run.epochs,
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
