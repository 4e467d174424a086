//! Target rules by the published formula, on targets themselves (Ahmad, van Gerven and Ambrogioni,
//! 2020, eq. 8 to 11):
//!
//! ```text
//! t_{l−1} = g_l((1 − γ φ_l) y_l + γ φ_l t_l)      g_l(y) = (f⁻¹(y) − b_l) W_l⁻¹
//! updates from γ^−(L−l) (t_l − y_l)
//! ```
//!
//! The difference t − y is of order γ^k, the activity of order 1. Its relative error is therefore
//! u/γ^k. With γ = 0.001, f64 has no digit left five layers below the output, and f32 none two
//! layers below. This form exists to show that loss beside [`Perturbed`](crate::rule::Perturbed),
//! which computes the same from differences alone.
//!
//! All arithmetic is in T, as in the authors' code. The given solver applies W⁻¹, which is not
//! formed first. Only [`Lu`](crate::solve::Lu) is exact enough: every other solver stops at a
//! relative error of the target far above γ^k.

use crate::base::error::{Error, Result};
use crate::model::activation::inverse;
use crate::rule::{Context, LayerState, Rule, power};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::{Activation, MatMut, MatRef, Real};

/// Message of absolute targets that meet a decorrelation.
pub(crate) const NO_DECORRELATION: &str = "absolute targets cannot go through decorrelations: use the difference form";

/// GAIT-prop, ITP or TP from absolute targets. It demonstrates the loss by rounding and is not for
/// training.
#[derive(Clone, Copy, Debug)]
pub struct Absolute {
    name: &'static str,
    gamma: f64,
    weighting: Weighting,
}

impl Absolute {
    /// Creates GAIT-prop: φ = D².
    ///
    /// # Errors
    /// [`Error::Setting`] unless 0 < γ ≤ 1. At γ = 0 every target equals its activity.
    pub fn gait(gamma: f64) -> Result<Self> {
        Self::new("gait-absolute", gamma, Weighting::SlopeSquared)
    }

    /// Creates incremental target propagation: φ = 1.
    ///
    /// # Errors
    /// As [`Absolute::gait`].
    pub fn itp(gamma: f64) -> Result<Self> {
        Self::new("itp-absolute", gamma, Weighting::Plain)
    }

    /// Creates target propagation: φ = 1 and γ = 1.
    pub fn tp() -> Self {
        Self { name: "tp-absolute", gamma: 1.0, weighting: Weighting::Plain }
    }

    fn new(name: &'static str, gamma: f64, weighting: Weighting) -> Result<Self> {
        crate::rule::check_gamma(gamma)?;
        if gamma == 0.0 {
            let what = "gamma is 0, but absolute targets then equal the activities: use a larger gamma, or the difference form, which has the limit";
            return Err(Error::Setting(what.into()));
        }
        Ok(Self { name, gamma, weighting })
    }
}

/// Returns f′(h), from y or the kept slope.
fn slope<T: Real>(activation: Activation, y: T, kept: Option<T>) -> T {
    match activation {
        Activation::LeakyRelu { slope } if y < T::ZERO => T::from_f64(slope),
        _ => kept.unwrap_or(T::ONE),
    }
}

impl<T: Real> Rule<T> for Absolute {
    fn name(&self) -> &str {
        self.name
    }

    fn reads_whole_output(&self) -> bool {
        true
    }

    fn perturbation(&self, activation: Activation, above: usize) -> Option<Perturbation> {
        Some(Perturbation { activation, weighting: self.weighting, scale: Scale::Finite(power(self.gamma, above + 1)) })
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        _: MatRef<'_, T>,
        mut below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        layer.w.expect_shape("weights that absolute targets go through", (layer.y.ncols(), layer.y.ncols()))?;
        if layer.decorrelation.is_some() {
            return Err(Error::Setting(NO_DECORRELATION.into()));
        }
        // e = (t − y)/γ^k. The difference of close t and y is exact, so this restores t to the bit.
        let (here, next) = (power(self.gamma, layer.above), power(self.gamma, layer.above + 1));
        let gamma = T::from_f64(self.gamma);
        for i in 0..layer.y.nrows() {
            for j in 0..layer.y.ncols() {
                let y = layer.y.get(i, j);
                let target = T::from_f64(y.to_f64() + here * layer.e.get(i, j).to_f64());
                let pull = match self.weighting {
                    Weighting::SlopeSquared => {
                        let slope = slope(layer.activation, y, layer.slope.map(|s| s.get(i, j)));
                        gamma * slope * slope
                    }
                    Weighting::Plain => gamma,
                };
                let nudged = (T::ONE - pull) * y + pull * target;
                let outside = Error::OutOfRange { layer: layer.index, sample: i, unit: j };
                let h = inverse(layer.activation, nudged).ok_or(outside)?;
                below.set(i, j, h - layer.b[j]);
            }
        }
        with.solve(layer, below.rb())?;
        for i in 0..below.nrows() {
            for j in 0..below.ncols() {
                let difference = below.as_ref().get(i, j) - layer.input.get(i, j);
                below.set(i, j, T::from_f64(difference.to_f64() / next));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 0 the slope is that of the upper side, 1. The ends of tanh's range have no inverse.
    #[test]
    fn slopes_and_inverses_at_the_edges() {
        let leaky = Activation::LeakyRelu { slope: 0.1 };
        assert_eq!([-1.0, 0.0, 1.0].map(|y| slope(leaky, y, None)), [0.1, 1.0, 1.0]);
        assert_eq!([-1.0, 0.0, 1.0].map(|y| inverse(leaky, y)), [Some(-10.0), Some(0.0), Some(1.0)]);
        assert_eq!([1.0, -1.0, 1.5].map(|y| inverse(Activation::Tanh, y)), [None; 3]);
        assert!(inverse(Activation::Tanh, 0.999_f64).is_some_and(|h| (h.tanh() - 0.999).abs() < 1e-12));
    }
}
