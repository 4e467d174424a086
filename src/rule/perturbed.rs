//! GAIT-prop and incremental target propagation: targets as tiny perturbations of the forward pass.
//!
//! `t_{l−1} = g_l((1 − γ φ_l) y_l + γ φ_l t_l)` with φ = D² (GAIT) or 1 (ITP). Updates are scaled
//! back by γ^−(L−l). The rule carries the scaled difference `e_l = γ^−(L−l) (t_l − y_l)`, which is
//! of order 1 at any depth.

use crate::base::error::Result;
use crate::rule::{Context, LayerState, Rule};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::{Activation, MatMut, MatRef, Real};

/// GAIT-prop (Ahmad, van Gerven and Ambrogioni, 2020) or its unweighted form ITP.
#[derive(Clone, Copy, Debug)]
pub struct Perturbed {
    gamma: f64,
    weighting: Weighting,
}

impl Perturbed {
    /// Creates GAIT-prop: perturbations weighted by D².
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a γ outside [0, 1]; 0 is the linear limit.
    pub fn gait(gamma: f64) -> Result<Self> {
        Self::new(gamma, Weighting::SlopeSquared)
    }

    /// Creates incremental target propagation: unweighted perturbations.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a γ outside [0, 1]; 0 is the linear limit.
    pub fn itp(gamma: f64) -> Result<Self> {
        Self::new(gamma, Weighting::Plain)
    }

    fn new(gamma: f64, weighting: Weighting) -> Result<Self> {
        crate::rule::check_gamma(gamma)?;
        Ok(Self { gamma, weighting })
    }

    /// Returns s = γ^(L−l+1), the size of the perturbation at distance `above` = L − l from the
    /// output. In f64 it is positive down to 1e-308; the kernel handles an s of 0.
    fn scale(&self, above: usize) -> Scale {
        if self.gamma == 0.0 {
            return Scale::Limit;
        }
        Scale::Finite(crate::rule::power(self.gamma, above + 1))
    }

    fn at(&self, activation: Activation, above: usize) -> Perturbation {
        Perturbation { activation, weighting: self.weighting, scale: self.scale(above) }
    }
}

impl<T: Real> Rule<T> for Perturbed {
    fn name(&self) -> &str {
        match self.weighting {
            Weighting::SlopeSquared => "gait",
            Weighting::Plain => "itp",
        }
    }

    fn perturbation(&self, activation: Activation, above: usize) -> Option<Perturbation> {
        Some(self.at(activation, above))
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        _: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        with.solve(layer, below)
    }
}
