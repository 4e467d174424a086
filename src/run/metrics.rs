//! The lines of metrics.jsonl, written during training and read for tables and reports.
//!
//! A non-finite number is written as `null`. A missing key reads as `null`.

use crate::base::error::{Error, Result};
use crate::study::diagnostics::LayerReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the file in a folder of results.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// One line of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    Epoch(Epoch),
    Stats(Stats),
    Diagnostics(Diagnostics),
    End(End),
    /// An event that only other versions write.
    #[serde(other)]
    Unknown,
}

/// A number, or `None` if it is not finite.
pub(crate) type Number = Option<f64>;

/// Loss and accuracy on whole sets of samples.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Scores {
    pub(crate) train_loss: Number,
    pub(crate) train_accuracy: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation_loss: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation_accuracy: Number,
    pub(crate) test_loss: Number,
    pub(crate) test_accuracy: Number,
}

/// Measurements of each layer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Layers {
    /// Empty where it could not be measured.
    pub(crate) cosine_with_bp: Vec<Number>,
    pub(crate) ratio_to_bp: Vec<Number>,
    /// ‖offdiag(W Wᵀ)‖.
    pub(crate) offdiag: Vec<Number>,
}

/// The line of an epoch.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Epoch {
    pub(crate) epoch: u64,
    pub(crate) rule: String,
    #[serde(flatten)]
    pub(crate) scores: Scores,
    #[serde(flatten)]
    pub(crate) layers: Layers,
    pub(crate) inverse: String,
    /// Number of solves by the solver that found the solution; empty for rules without.
    pub(crate) solved_by: BTreeMap<String, u64>,
    pub(crate) solve_residual: Number,
    pub(crate) solve_products_per_step: Number,
    pub(crate) seconds: Number,
    pub(crate) samples_per_second: Number,
}

/// Statistics on all samples after a step within an epoch.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Stats {
    /// The epoch under way, from 1.
    pub(crate) epoch: u64,
    pub(crate) step: u64,
    /// Epochs trained so far, with the share of this one.
    pub(crate) epochs: f64,
    pub(crate) rule: String,
    #[serde(flatten)]
    pub(crate) scores: Scores,
    #[serde(flatten)]
    pub(crate) layers: Layers,
}

/// Diagnostics of every layer, after an epoch's line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Diagnostics {
    pub(crate) epoch: u64,
    pub(crate) step: u64,
    pub(crate) rule: String,
    pub(crate) layers: Vec<Layer>,
}

/// A [`LayerReport`] as written to the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Layer {
    pub(crate) cosine_with_bp: Number,
    pub(crate) ratio_to_bp: Number,
    /// Present for damped and learned inverses alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cosine_with_exact: Option<Number>,
    pub(crate) decorrelation_loss: Number,
    pub(crate) offdiag: Number,
    pub(crate) distance_from_orthogonal: Number,
    pub(crate) condition: Number,
    pub(crate) solve_residual: Number,
    pub(crate) solve_products: Number,
    pub(crate) kink_crossings: Option<u64>,
    pub(crate) update_norm: Number,
    pub(crate) dead_units: Option<u64>,
}

/// The last line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct End {
    pub(crate) epochs: u64,
    pub(crate) steps: u64,
    pub(crate) rule: String,
    #[serde(flatten)]
    pub(crate) scores: Scores,
    /// Whether the run was interrupted during an epoch, which has no line.
    pub(crate) interrupted: bool,
    /// Outcome of validation, if any.
    #[serde(flatten)]
    pub(crate) stopping: Option<Stopping>,
    #[serde(flatten)]
    pub(crate) layers: Layers,
    pub(crate) regularizer: String,
    pub(crate) orthogonal: String,
    pub(crate) seconds: Number,
    pub(crate) isa: String,
    pub(crate) backend: String,
    pub(crate) threads: u64,
}

/// Outcome of validation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Stopping {
    /// Whether the run ended before its last epoch because validation no longer improved.
    pub(crate) stopped_early: bool,
    /// Epoch with the smallest validation loss, from 1; 0 if no loss was a number.
    pub(crate) best_epoch: usize,
    pub(crate) best_validation_loss: Number,
}

impl From<LayerReport> for Layer {
    fn from(of: LayerReport) -> Self {
        Self {
            cosine_with_bp: Some(of.cosine_with_bp),
            ratio_to_bp: Some(of.ratio_to_bp),
            cosine_with_exact: of.cosine_with_exact.map(Some),
            decorrelation_loss: Some(of.decorrelation_loss),
            offdiag: Some(of.offdiag),
            distance_from_orthogonal: Some(of.distance_from_orthogonal),
            condition: of.condition,
            solve_residual: of.solve_residual,
            solve_products: of.solve_products,
            kink_crossings: of.kink_crossings,
            update_norm: Some(of.update_norm),
            dead_units: Some(of.dead_units as u64),
        }
    }
}

impl Epoch {
    /// Returns named values for curves over epochs.
    pub(crate) fn scalars(&self) -> Vec<(String, f64)> {
        let Scores { train_loss, train_accuracy, validation_loss, validation_accuracy, test_loss, test_accuracy } = self.scores;
        let scores = [
            ("train/loss", train_loss),
            ("train/accuracy", train_accuracy),
            ("test/loss", test_loss),
            ("test/accuracy", test_accuracy),
            ("validation/loss", validation_loss),
            ("validation/accuracy", validation_accuracy),
        ];
        let named = |(name, value): (&str, Number)| Some((format!("{}/{name}", self.rule), value?));
        let mut all: Vec<_> = scores.into_iter().filter_map(named).collect();
        for (name, layers) in [("cosine_with_bp", &self.layers.cosine_with_bp), ("offdiag", &self.layers.offdiag)] {
            all.extend(layers.iter().enumerate().filter_map(|(l, &value)| named((&format!("{name}/W{l}"), value))));
        }
        all
    }
}

/// Reads all lines in a folder. An unterminated last line is skipped, because a running or killed
/// run wrote it.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] with the number of a damaged line.
pub(crate) fn read(dir: &Path) -> Result<Vec<Event>> {
    let path = dir.join(METRICS);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n') && !line.trim().is_empty());
    let parse = |(number, line): (usize, &str)| {
        let wrong = |e| Error::File { path: path.clone(), what: format!("line {} is damaged: {e}", number + 1) };
        serde_json::from_str(line).map_err(wrong)
    };
    whole.map(parse).collect()
}
