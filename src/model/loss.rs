//! Losses, and the error of the output that they define.

use crate::base::error::Result;
use crate::base::names::names;
use gaitprop_kernels::{Activation, MatMut, MatRef, Real};

/// A loss on the first c output units, the label units. The target of every other unit is its own
/// activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// ½ ‖y − t‖² with a one-hot t: the published loss. Error t − y.
    Squared,
    /// `−log softmax(y)[label]`, on a linear output layer (Dalm et al., 2021). Error t −
    /// softmax(y)·Σt.
    CrossEntropy,
}

names!(Loss, "loss", Squared = "squared", CrossEntropy = "cross-entropy");

impl Loss {
    /// Returns the activation of the last layer: the identity for cross-entropy, `hidden`
    /// otherwise.
    pub fn output_activation(self, hidden: Activation) -> Activation {
        match self {
            Self::Squared => hidden,
            Self::CrossEntropy => Activation::Identity,
        }
    }
}

/// Sums over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// Sum of the losses of the samples.
    pub loss: f64,
    /// Number of samples whose largest label unit is the right one; the first of equals counts.
    pub correct: usize,
    /// Number of samples.
    pub samples: usize,
}

impl Score {
    /// Mean loss per sample.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }
    /// Share of correct predictions.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }
    /// Adds another batch.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.samples += other.samples;
    }
}

/// Returns the index of the largest element of row `i`, the first of equals; 0 for a row of NaN.
pub(crate) fn predicted<T: Real>(y: MatRef<'_, T>, i: usize) -> usize {
    let largest = |best: (usize, T), other: (usize, T)| if other.1 > best.1 { other } else { best };
    y.row_iter(i).enumerate().reduce(largest).map_or(0, |(j, _)| j)
}

/// Scores an output. Writes the output error `e_L` if `e` is given: target − activity, and 0 beyond
/// the label units.
///
/// Shapes: `y` batch × n, `target` batch × c with c ≤ n (one-hot, or any values for
/// [`Loss::Squared`]), `e` batch × n. The label of a sample, for accuracy, is its largest target.
///
/// # Errors
/// A shape error.
pub fn score<T: Real>(loss: Loss, y: MatRef<'_, T>, target: MatRef<'_, T>, mut e: Option<MatMut<'_, T>>) -> Result<Score> {
    let ((batch, n), c) = (y.shape(), target.ncols());
    target.expect_shape("the targets", (batch, c.min(n)))?;
    if let Some(e) = &e {
        e.expect_shape("the output error", (batch, n))?;
    }
    let mut score = Score { samples: batch, ..Score::default() };
    let labels = y.cols(0, c);
    for i in 0..batch {
        let (activity, wanted) = (labels.row_iter(i).map(T::to_f64), target.row_iter(i).map(T::to_f64));
        let (winner, label) = (predicted(labels, i), predicted(target, i));
        // An output that is not finite counts as wrong.
        let finite = activity.clone().all(f64::is_finite);
        score.correct += usize::from(c > 0 && winner == label && finite);
        match loss {
            Loss::Squared => score.loss += 0.5 * wanted.zip(activity).map(|(t, y)| (t - y) * (t - y)).sum::<f64>(),
            Loss::CrossEntropy if c > 0 => {
                // Subtract the largest output: no exponential overflows, and their sum is at least
                // 1.
                let top = labels.get(i, winner).to_f64();
                let sum: f64 = activity.clone().map(|y| libm::exp(y - top)).sum();
                score.loss += wanted.clone().zip(activity.clone()).map(|(t, y)| t * (top + libm::log(sum) - y)).sum::<f64>();
                // Equals 1 for a one-hot target.
                let mass: f64 = wanted.clone().sum();
                if let Some(e) = &mut e {
                    wanted.zip(activity).enumerate().for_each(|(j, (t, y))| {
                        e.set(i, j, T::from_f64(t - mass * (libm::exp(y - top) / sum)));
                    });
                }
            }
            Loss::CrossEntropy => {}
        }
        if let Some(e) = &mut e {
            if loss == Loss::Squared {
                let pairs = target.row_iter(i).zip(labels.row_iter(i));
                pairs.enumerate().for_each(|(j, (t, y))| e.set(i, j, t - y));
            }
            match e.row_mut(i) {
                Some(row) => row[c..].fill(T::ZERO),
                None => (c..n).for_each(|j| e.set(i, j, T::ZERO)),
            }
        }
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matrix::Matrix;

    fn run(loss: Loss, y: &[f64], t: &[f64], batch: usize) -> (Score, Vec<f64>) {
        let (n, c) = (y.len() / batch, t.len() / batch);
        let mut e = Matrix::<f64>::from_vec(batch, n, vec![f64::NAN; y.len()]).unwrap();
        let (y, t) = (MatRef::new(y, batch, n).unwrap(), MatRef::new(t, batch, c).unwrap());
        let score = score(loss, y, t, Some(e.view_mut())).unwrap();
        (score, e.data().to_vec())
    }

    #[test]
    fn squared_error_by_hand() {
        let (score, e) = run(Loss::Squared, &[0.5, 0.25, 7.0, 1.0, 3.0, 9.0], &[1.0, 0.0, 1.0, 0.0], 2);
        assert_eq!(e, [0.5, -0.25, 0.0, 0.0, -3.0, 0.0]);
        assert_eq!(score, Score { loss: 0.5 * (0.25 + 0.0625 + 9.0), correct: 1, samples: 2 });
    }

    /// Checks by central differences that the error is minus the gradient of the loss.
    #[test]
    fn errors_are_minus_the_gradients() {
        let (y, t) = ([0.3, -1.2, 0.8, 0.1], [0.0, 0.0, 1.0]);
        for loss in [Loss::Squared, Loss::CrossEntropy] {
            let (_, e) = run(loss, &y, &t, 1);
            for j in 0..y.len() {
                let shifted = |by: f64| {
                    let mut y = y;
                    y[j] += by;
                    run(loss, &y, &t, 1).0.loss
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((e[j] + slope).abs() < 1e-9, "{loss} {j}: {} and {slope}", e[j]);
            }
        }
    }

    #[test]
    fn large_outputs_do_not_overflow_and_nan_is_never_right() {
        let (score, e) = run(Loss::CrossEntropy, &[1e4, -1e4], &[0.0, 1.0], 1);
        assert_eq!((score.loss, e), (2e4, vec![-1.0, 1.0]));
        assert_eq!(run(Loss::Squared, &[f64::NAN, f64::NAN], &[1.0, 0.0], 1).0.correct, 0);
    }
}
