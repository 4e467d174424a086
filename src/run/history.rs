//! What a run came to: read back from its metrics, or kept while it went.

use crate::base::error::Result;
use crate::run::metrics::{self, Event, Layers, METRICS, Scores};
use serde::Serialize;
use std::path::Path;

/// One epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) test_accuracy: f64,
    /// Of the first layer's update with backpropagation's, where it could be measured.
    pub(crate) cosine: Option<f64>,
    pub(crate) seconds: f64,
}

/// Reads the figures of the run in this folder; none if it has not come to its end.
///
/// # Errors
/// As [`metrics::read`], but for a file that is not there.
pub(crate) fn read(dir: &Path) -> Result<Option<Figures<Option<f64>>>> {
    if !dir.join(METRICS).exists() {
        return Ok(None);
    }
    let mut epochs = Vec::new();
    for event in metrics::read(dir)? {
        match event {
            Event::Epoch(line) => epochs.push(Mark {
                test_accuracy: line.scores.test_accuracy.unwrap_or(0.0),
                cosine: line.layers.cosine_with_bp.first().copied().flatten(),
                seconds: line.seconds.unwrap_or(0.0),
            }),
            Event::End(end) if end.interrupted => return Ok(None),
            Event::End(end) => return Ok(Some(Figures::new(&epochs, &end.scores, &end.layers))),
            Event::Diagnostics(_) | Event::Unknown => {}
        }
    }
    Ok(None)
}

impl Figures<Option<f64>> {
    /// The figures of a run from its epochs and its end.
    pub(crate) fn new(epochs: &[Mark], end: &Scores, layers: &Layers) -> Self {
        let known = |x: Option<f64>| x.filter(|x| x.is_finite());
        // The first of equals; of a run without epochs what it ends, and began, with.
        let peak = epochs.iter().enumerate().rev().max_by(|(_, a), (_, b)| a.test_accuracy.total_cmp(&b.test_accuracy));
        Figures {
            peak_test_accuracy: peak.map_or(end.test_accuracy, |(_, mark)| Some(mark.test_accuracy)),
            peak_epoch: Some(peak.map_or(0.0, |(i, _)| (i + 1) as f64)),
            final_test_accuracy: end.test_accuracy,
            final_test_loss: known(end.test_loss),
            final_train_accuracy: end.train_accuracy,
            final_validation_accuracy: end.validation_accuracy,
            seconds_per_epoch: mean(epochs.iter().map(|mark| mark.seconds)),
            cosine_with_bp_first_layer: mean(epochs.iter().filter_map(|mark| mark.cosine)),
            offdiag: mean(layers.offdiag.iter().filter_map(|&x| known(x))),
        }
    }
}

/// Declares the figures of a run once, so that none is forgotten on the way.
macro_rules! figures {
    ($($(#[$attribute:meta])* $field:ident),* $(,)?) => {
        /// What is said of a run, or of several.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
        pub(crate) struct Figures<V> {
            $($(#[$attribute])* pub(crate) $field: V,)*
        }

        impl<V: Copy> Figures<V> {
            /// Their names.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// In the order of the names.
            pub(crate) fn values(&self) -> Vec<V> {
                vec![$(self.$field),*]
            }
        }

        impl Figures<Option<f64>> {
            /// Each over all runs that have it.
            pub(crate) fn statistics(runs: &[Self]) -> Figures<Option<MeanSd>> {
                Figures { $($field: MeanSd::of(runs.iter().filter_map(|run| run.$field)),)* }
            }
        }
    };
}

figures! {
    /// The best test accuracy at the end of any epoch.
    peak_test_accuracy,
    /// Which, from 1: the first of equals.
    peak_epoch,
    final_test_accuracy,
    final_test_loss,
    final_train_accuracy,
    /// Where samples are held out.
    final_validation_accuracy,
    /// Mean over epochs.
    seconds_per_epoch,
    /// Mean over the ends of epochs, where it could be measured.
    cosine_with_bp_first_layer,
    /// ‖offdiag(W Wᵀ)‖ at the end, mean over layers.
    offdiag,
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct MeanSd {
    pub(crate) mean: f64,
    /// Of the sample (divided by n − 1); of a single value there is none.
    pub(crate) sd: Option<f64>,
}

impl MeanSd {
    /// Of some values; of none there is no mean.
    pub(crate) fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (mean, n) = (mean(values.clone())?, values.clone().count());
        // Two passes: the squares of what is left lose nothing to cancellation.
        let square = values.map(|x| (x - mean) * (x - mean)).sum::<f64>();
        Some(Self { mean, sd: (n > 1).then(|| (square / (n - 1) as f64).sqrt()) })
    }

    /// `98.33 ± 0.16`, in units of `1 / factor`.
    pub(crate) fn shown(&self, factor: f64, decimals: usize) -> String {
        let mean = format!("{:.decimals$}", factor * self.mean);
        self.sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.decimals$}", factor * sd))
    }
}

/// Of none there is none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// What became of a run.
pub(crate) enum Fate {
    Done(Figures<Option<f64>>),
    /// It cannot be trained with these settings: why.
    Failed(String),
    /// There was no time for it.
    Unfinished,
}

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
                "{{\"event\":\"epoch\",\"test_accuracy\":{accuracy},\"cosine_with_bp\":[null,1.0],\"offdiag\":[1.0],\"seconds\":2.0}}\n"
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
        let figures = of(epochs.clone() + other + &end(false)).unwrap().unwrap();
        let want = Figures {
            peak_test_accuracy: Some(0.75),
            peak_epoch: Some(2.0),
            final_test_accuracy: Some(0.25),
            final_test_loss: Some(1.5),
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
