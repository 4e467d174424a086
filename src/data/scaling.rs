//! From stored values to network inputs.

use crate::base::names::names;
use crate::data::{Features, Split};
use gaitprop_kernels::Real;

/// How stored values become network inputs. Statistics are always the training set's, after any limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Scaling {
    /// As stored.
    None,
    /// Divided by [`Dataset::full_scale`](crate::data::Dataset::full_scale).
    #[default]
    Unit,
    /// Mean over all values of all samples subtracted, divided by their standard deviation (population, divisor n).
    Standard,
    /// The same for each feature on its own; a feature that never changes is only centred.
    PerFeature,
}

names!(Scaling, "scaling", None = "none", Unit = "unit", Standard = "standard", PerFeature = "per-feature");

impl Scaling {
    /// All of them, in the order of their documentation.
    pub const ALL: [Scaling; 4] = [Scaling::None, Scaling::Unit, Scaling::Standard, Scaling::PerFeature];
}

/// A scaling with its numbers: `(x − centre) / spread`, feature by feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// What is subtracted, one a feature.
    pub centre: Vec<f64>,
    /// What the difference is divided by, one a feature; positive.
    pub spread: Vec<f64>,
}

impl Affine {
    /// Row by row. Division and not a product with the reciprocal: 255/255 must give 1, and the reciprocal of a tiny spread would
    /// overflow. A test value absurdly far from the training set's stops at ±`f32::MAX`, so that no input is ever infinite.
    pub(super) fn scale<V: Copy + Into<f64>, T: Real>(&self, values: &[V]) -> Vec<T> {
        let most = f64::from(f32::MAX);
        let mut out = Vec::with_capacity(values.len());
        for row in values.chunks_exact(self.centre.len()) {
            let numbers = row.iter().zip(&self.centre).zip(&self.spread);
            out.extend(numbers.map(|((&v, &c), &s)| T::from_f64(((v.into() - c) / s).clamp(-most, most))));
        }
        out
    }

    /// Mean and standard deviation: of each feature, or (`pooled`) of all values, repeated.
    pub(super) fn statistics(split: &Split, features: usize, pooled: bool) -> Self {
        match &split.x {
            Features::Bytes(v) => Self::statistics_of(v, features, pooled),
            Features::Floats(v) => Self::statistics_of(v, features, pooled),
        }
    }

    /// Two passes: means first, then squared distances from them. Sums run down the columns even when pooled, which keeps
    /// them short (less rounding) and lets the compiler use vectors. For bytes the first pass is exact.
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
        // A constant is told by its extremes, not by a zero deviation: the mean of a thousand times 0.1 is not 0.1, and
        // dividing by that rounding error would turn it into ±1.
        let centre: Vec<f64> = (0..features).map(|j| if low[j] == high[j] { low[j] } else { sum[j] / count }).collect();

        let mut square = vec![0.0; features];
        for row in rows() {
            for (j, &v) in row.iter().enumerate() {
                let v: f64 = v.into();
                square[j] += (v - centre[j]) * (v - centre[j]);
            }
        }
        if pooled {
            pool(&mut square, |a, b| a + b);
        }
        // A deviation below 1e-162 squares to nothing; such a feature counts as constant too.
        let spread = square.iter().map(|&s| (s / count).sqrt()).map(|s| if s > 0.0 { s } else { 1.0 }).collect();
        Self { centre, spread }
    }
}

/// Replaces every value by the fold of all.
fn pool(values: &mut [f64], fold: impl Fn(f64, f64) -> f64) {
    if let Some(all) = values.iter().copied().reduce(fold) {
        values.fill(all);
    }
}
