//! Validation: the best epoch so far, and when to stop.

/// Keeps the smallest validation loss and counts the epochs since.
///
/// ```
/// let mut stopping = gaitprop::EarlyStopping::new(Some(2));
/// assert!(stopping.observe(1, 0.5)); // better than nothing: keep these weights
/// assert!(!stopping.observe(2, 0.6));
/// assert!(!stopping.observe(3, f64::NAN));
/// assert!(stopping.should_stop(3));
/// assert_eq!(stopping.best(), Some((1, 0.5)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EarlyStopping {
    patience: Option<usize>,
    best: Option<(usize, f64)>,
}

impl EarlyStopping {
    /// Stops after `patience` epochs without a smaller loss; `None` never stops.
    pub fn new(patience: Option<usize>) -> Self {
        Self { patience, best: None }
    }

    /// Continues from an earlier best epoch and loss.
    #[must_use]
    pub fn with_best(self, best: Option<(usize, f64)>) -> Self {
        Self { best, ..self }
    }

    /// Records the validation loss of an epoch. Returns whether it is the smallest so far; a NaN is
    /// never the smallest.
    pub fn observe(&mut self, epoch: usize, loss: f64) -> bool {
        let better = !loss.is_nan() && self.best.is_none_or(|(_, best)| loss < best);
        if better {
            self.best = Some((epoch, loss));
        }
        better
    }

    /// Best epoch and its loss.
    pub fn best(&self) -> Option<(usize, f64)> {
        self.best
    }

    /// Returns whether training should stop after `epoch`.
    pub fn should_stop(&self, epoch: usize) -> bool {
        let since = epoch - self.best.map_or(0, |(best, _)| best.min(epoch));
        self.patience.is_some_and(|patience| since >= patience)
    }
}
