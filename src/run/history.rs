//! Figures of finished runs, from the metrics of their folders or sessions.

use crate::base::error::Result;
use crate::run::metrics::{self, End, Event, METRICS};
use serde::Serialize;
use std::path::Path;

/// Reads the figures of the run in this folder. Returns `None` if it has not finished.
///
/// # Errors
/// As [`metrics::read`]. A missing file is not an error.
pub(crate) fn read(dir: &Path) -> Result<Option<Figures<Option<f64>>>> {
    if dir.join(METRICS).exists() { metrics::read(dir).map(|events| Figures::of(&events)) } else { Ok(None) }
}

impl Figures<Option<f64>> {
    /// Computes the figures of a run from its metrics. Returns `None` if it has not finished.
    pub(crate) fn of(events: &[Event]) -> Option<Self> {
        let (mut epochs, mut stats, mut end) = (Vec::new(), Vec::new(), None);
        for event in events {
            match event {
                Event::Epoch(line) => epochs.push(line),
                Event::Stats(line) => stats.push(line.scores.train_accuracy),
                Event::End(line) => {
                    end = Some(line);
                    break;
                }
                _ => {}
            }
        }
        let End { scores, layers, .. } = end.filter(|end| !end.interrupted)?;
        let known = |x: Option<f64>| x.filter(|x| x.is_finite());
        // The first epoch with the highest accuracy. A run without epochs has its initial accuracy.
        let accuracies = epochs.iter().map(|line| line.scores.test_accuracy.unwrap_or(0.0)).enumerate();
        let peak = accuracies.rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
        // Epochs have the accuracy on each batch just before its update. Statistics, on all samples,
        // replace it.
        let of_epochs = epochs.iter().map(|line| line.scores.train_accuracy);
        let train = if stats.is_empty() { of_epochs.collect() } else { stats };
        Some(Figures {
            peak_test_accuracy: peak.map_or(scores.test_accuracy, |(_, accuracy)| Some(accuracy)),
            peak_epoch: Some(peak.map_or(0.0, |(i, _)| (i + 1) as f64)),
            final_test_accuracy: scores.test_accuracy,
            final_test_loss: known(scores.test_loss),
            peak_train_accuracy: train.into_iter().chain([scores.train_accuracy]).filter_map(known).reduce(f64::max),
            final_train_accuracy: scores.train_accuracy,
            final_validation_accuracy: scores.validation_accuracy,
            seconds_per_epoch: mean(epochs.iter().map(|line| line.seconds.unwrap_or(0.0))),
            cosine_with_bp_first_layer: mean(epochs.iter().filter_map(|line| known(*line.layers.cosine_with_bp.first()?))),
            offdiag: mean(layers.offdiag.iter().filter_map(|&x| known(x))),
        })
    }
}

/// Declares the figures of a run once: fields, and columns of the text table.
macro_rules! figures {
    ($($(#[$attribute:meta])* $field:ident: $column:expr,)*) => {
        /// Figures of a run, or their statistics over several.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
        pub(crate) struct Figures<V> {
            $($(#[$attribute])* pub(crate) $field: V,)*
        }

        /// Name of each figure, and its heading, factor and decimals in the text table.
        pub(crate) const COLUMNS: &[(&str, (&str, f64, usize))] = &[$((stringify!($field), $column)),*];

        impl Figures<Option<f64>> {
            /// Computes the statistics of each figure over the runs that have it.
            pub(crate) fn statistics(runs: &[Self]) -> Figures<Option<MeanSd>> {
                Figures { $($field: MeanSd::of(runs.iter().filter_map(|run| run.$field)),)* }
            }
        }

        impl Figures<Option<MeanSd>> {
            /// Returns the statistics in the order of [`COLUMNS`].
            pub(crate) fn values(&self) -> Vec<Option<MeanSd>> {
                vec![$(self.$field),*]
            }
        }
    };
}

figures! {
    /// Highest test accuracy at the end of any epoch.
    peak_test_accuracy: ("peak test %", 100.0, 2),
    /// First epoch with that accuracy, from 1.
    peak_epoch: ("at epoch", 1.0, 1),
    final_test_accuracy: ("final test %", 100.0, 2),
    final_test_loss: ("test loss", 1.0, 5),
    /// Highest training accuracy that the metrics hold: of an epoch, on each batch just before its
    /// update; on all samples at the end, and at each line of statistics.
    peak_train_accuracy: ("peak train %", 100.0, 2),
    /// On all samples at the end.
    final_train_accuracy: ("final train %", 100.0, 2),
    /// Present if validation samples are held out.
    final_validation_accuracy: ("final valid. %", 100.0, 2),
    /// Mean over epochs.
    seconds_per_epoch: ("s an epoch", 1.0, 3),
    /// Mean over epochs in which it could be measured.
    cosine_with_bp_first_layer: ("cos(bp) of W0", 1.0, 4),
    /// ‖offdiag(W Wᵀ)‖ at the end, mean over layers.
    offdiag: ("|offdiag|", 1.0, 4),
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct MeanSd {
    pub(crate) mean: f64,
    /// Sample standard deviation (divisor n − 1); `None` for a single value.
    pub(crate) sd: Option<f64>,
}

impl MeanSd {
    /// Computes both. Returns `None` without values.
    pub(crate) fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (mean, n) = (mean(values.clone())?, values.clone().count());
        // Two passes avoid cancellation.
        let square = values.map(|x| (x - mean) * (x - mean)).sum::<f64>();
        Some(Self { mean, sd: (n > 1).then(|| (square / (n - 1) as f64).sqrt()) })
    }

    /// Formats as `98.33 ± 0.16`, multiplied by `factor`.
    pub(crate) fn shown(&self, factor: f64, decimals: usize) -> String {
        let mean = format!("{:.decimals$}", factor * self.mean);
        self.sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.decimals$}", factor * sd))
    }
}

/// Returns the mean, or `None` without values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// Outcome of a run: its figures, or the reason why it failed.
pub(crate) type Outcome = Result<Figures<Option<f64>>, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations() {
        let of = |values: &[f64]| MeanSd::of(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(MeanSd { mean: 3.0, sd: None }));
        // 2, 4, 4, 4, 5, 5, 7, 9: squares of deviations sum to 32.
        let all = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((all.mean, all.sd), (5.0, Some((32.0f64 / 7.0).sqrt())));
        assert_eq!(all.shown(1.0, 1), "5.0 ± 2.1");
        assert_eq!(of(&[0.98335]).unwrap().shown(100.0, 2), "98.33");
    }

    #[test]
    fn only_a_whole_run_has_a_history() {
        let dir = tempfile::tempdir().unwrap();
        let epoch = |accuracy: f64| {
            format!(
                "{{\"event\":\"epoch\",\"train_accuracy\":0.875,\"test_accuracy\":{accuracy},\"cosine_with_bp\":[null,1.0],\"offdiag\":[1.0],\"seconds\":2.0}}\n"
            )
        };
        let end = |interrupted: bool| {
            format!(
                "{{\"event\":\"end\",\"train_accuracy\":0.5,\"test_loss\":1.5,\"test_accuracy\":0.25,\"offdiag\":[1.0,2.0],\"interrupted\":{interrupted}}}\n"
            )
        };
        assert_eq!(read(dir.path()).unwrap(), None);
        let of = |text: String| {
            std::fs::write(dir.path().join(METRICS), text).unwrap();
            read(dir.path())
        };
        let epochs = [epoch(0.5), epoch(0.75), epoch(0.75), epoch(0.25)].concat();
        assert_eq!(of(epochs.clone()).unwrap(), None);
        assert_eq!(of(epochs.clone() + &end(true)).unwrap(), None);
        assert_eq!(of(epochs.clone() + end(false).trim_end()).unwrap(), None);
        let other = "{\"event\":\"later\"}\n";
        let stats = "{\"event\":\"stats\",\"train_accuracy\":0.9375,\"test_accuracy\":1.0}\n";
        let figures = of(epochs.clone() + other + stats + &end(false)).unwrap().unwrap();
        // Statistics replace the running accuracies of epochs, also where they are lower.
        let peak = |stats: &str| of(epochs.clone() + stats + &end(false)).unwrap().unwrap().peak_train_accuracy;
        assert_eq!((peak(""), peak(&stats.replace("0.9375", "0.625"))), (Some(0.875), Some(0.625)));
        let want = Figures {
            peak_test_accuracy: Some(0.75),
            peak_epoch: Some(2.0),
            final_test_accuracy: Some(0.25),
            final_test_loss: Some(1.5),
            peak_train_accuracy: Some(0.9375),
            final_train_accuracy: Some(0.5),
            final_validation_accuracy: None,
            seconds_per_epoch: Some(2.0),
            cosine_with_bp_first_layer: None,
            offdiag: Some(1.5),
        };
        assert_eq!(figures, want);
        let message = of(epochs + "nonsense\n" + &end(false)).unwrap_err().to_string();
        assert!(message.contains("line 5"), "{message}");
    }
}
