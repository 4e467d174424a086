//! Scaling of stored values to network inputs.

use crate::base::error::{Error, Result};
use crate::base::names::names;
use crate::data::{Features, Split};
use gaitprop_kernels::Real;

/// Method of scaling stored values to network inputs. Statistics come from the training set, after
/// limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Scaling {
    /// Unchanged values.
    None,
    /// Division by [`Dataset::full_scale`](crate::data::Dataset::full_scale).
    #[default]
    Unit,
    /// Standardization by the mean and standard deviation (divisor n) of all values of all samples.
    Standard,
    /// Standardization of each feature by its own statistics. Constant features are only centered.
    PerFeature,
}

names!(Scaling, "scaling", None = "none", Unit = "unit", Standard = "standard", PerFeature = "per-feature");

impl Scaling {
    /// All scalings, in the order of the documentation.
    pub const ALL: [Scaling; 4] = [Scaling::None, Scaling::Unit, Scaling::Standard, Scaling::PerFeature];
}

/// Affine map of each feature: `(x − center) / scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// Subtracted value, one per feature.
    pub center: Vec<f64>,
    /// Positive divisor, one per feature.
    pub scale: Vec<f64>,
}

impl Affine {
    /// Checks that there are `features` finite centers and `features` finite, positive scales.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check(&self, features: usize) -> Result<()> {
        let finite = self.center.iter().all(|c| c.is_finite()) && self.scale.iter().all(|s| s.is_finite() && *s > 0.0);
        if [self.center.len(), self.scale.len()] == [features; 2] && finite {
            return Ok(());
        }
        let what = format!("center and scale need {features} finite numbers each, and those of scale must be positive");
        Err(Error::Setting(what))
    }

    /// Returns the scaled rows, clamped to ±`f32::MAX` so that no input is infinite.
    ///
    /// Divides instead of multiplying by the reciprocal: 255/255 must give 1, and the reciprocal of
    /// a tiny scale would overflow.
    pub(super) fn apply<V: Copy + Into<f64>, T: Real>(&self, values: &[V]) -> Vec<T> {
        let most = f64::from(f32::MAX);
        let mut out = Vec::with_capacity(values.len());
        for row in values.chunks_exact(self.center.len()) {
            let numbers = row.iter().zip(&self.center).zip(&self.scale);
            out.extend(numbers.map(|((&v, &c), &s)| T::from_f64(((v.into() - c) / s).clamp(-most, most))));
        }
        out
    }

    /// Computes mean and standard deviation of each feature or, if `pooled`, of all values.
    pub(super) fn statistics(split: &Split, features: usize, pooled: bool) -> Self {
        match &split.x {
            Features::Bytes(v) => Self::statistics_of(v, features, pooled),
            Features::Floats(v) => Self::statistics_of(v, features, pooled),
        }
    }

    /// Computes the means in a first pass and the squared deviations in a second.
    ///
    /// Sums run down the columns even if pooled: short sums round less, and the compiler can
    /// vectorize them. The first pass over bytes is exact.
    fn statistics_of<V: Copy + Into<f64>>(values: &[V], features: usize, pooled: bool) -> Self {
        let rows = || values.chunks_exact(features);
        let mut count = (values.len() / features) as f64;
        let mut sum = vec![0.0; features];
        let mut low = vec![f64::INFINITY; features];
        let mut high = vec![f64::NEG_INFINITY; features];
        for row in rows() {
            for (j, &v) in row.iter().enumerate() {
                let v: f64 = v.into();
                sum[j] += v;
                low[j] = low[j].min(v);
                high[j] = high[j].max(v);
            }
        }
        if pooled {
            count *= features as f64;
            pool(&mut sum, |a, b| a + b);
            pool(&mut low, f64::min);
            pool(&mut high, f64::max);
        }
        // Constants are recognized by their extremes. Their computed deviation is not 0: the mean
        // of a thousand times 0.1 is not 0.1, and division by that rounding error would give ±1.
        let center: Vec<f64> = (0..features).map(|j| if low[j] == high[j] { low[j] } else { sum[j] / count }).collect();

        let mut square = vec![0.0; features];
        for row in rows() {
            for (j, &v) in row.iter().enumerate() {
                let v: f64 = v.into();
                square[j] += (v - center[j]) * (v - center[j]);
            }
        }
        if pooled {
            pool(&mut square, |a, b| a + b);
        }
        // The square of a deviation below 1e-162 is 0. Such a feature also counts as constant.
        let scale = square.iter().map(|&s| (s / count).sqrt()).map(|s| if s > 0.0 { s } else { 1.0 }).collect();
        Self { center, scale }
    }
}

/// Replaces each value by the fold of all values.
fn pool(values: &mut [f64], fold: impl Fn(f64, f64) -> f64) {
    if let Some(all) = values.iter().copied().reduce(fold) {
        values.fill(all);
    }
}
