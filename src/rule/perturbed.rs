//! GAIT-prop and incremental target propagation: targets as tiny perturbations of the forward pass.
//!
//! `t_{l−1} = g_l((1 − γ φ_l) y_l + γ φ_l t_l)` with φ = D² (GAIT) or 1 (ITP), and updates scaled back by γ^−(L−l). Carried as the scaled
//! difference `e_l = γ^−(L−l) (t_l − y_l)`, which is of order 1 at any depth.

use super::{Local, Means, Outcome, Rule, perturb_and_invert};
use crate::inverse::Solve;
use crate::{Error, Result};
use gaitprop_kernels::Real;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};

/// GAIT-prop (Ahmad, van Gerven and Ambrogioni, 2020) or its unweighted form ITP.
#[derive(Clone, Copy, Debug)]
pub struct Perturbed {
    gamma: f64,
    weighting: Weighting,
}

impl Perturbed {
    /// GAIT-prop: perturbations weighted by D².
    ///
    /// # Errors
    /// [`Error::Setting`] for a γ outside [0, 1]; 0 is the linear limit.
    pub fn gait(gamma: f64) -> Result<Self> {
        Self::new(gamma, Weighting::SlopeSquared)
    }

    /// Incremental target propagation: perturbations not weighted.
    ///
    /// # Errors
    /// [`Error::Setting`] for a γ outside [0, 1]; 0 is the linear limit.
    pub fn itp(gamma: f64) -> Result<Self> {
        Self::new(gamma, Weighting::Plain)
    }

    fn new(gamma: f64, weighting: Weighting) -> Result<Self> {
        if !(0.0..=1.0).contains(&gamma) {
            return Err(Error::Setting(format!("gamma is {gamma}, but must lie in [0, 1] (0 is the linear limit)")));
        }
        Ok(Self { gamma, weighting })
    }

    /// s = γ^(L−l+1), the size of the perturbation at distance `above` = L − l from the output. In f64 it stays a number down to 1e-308;
    /// the kernel knows what to do when it becomes 0.
    fn scale(&self, above: usize) -> Scale {
        if self.gamma == 0.0 {
            return Scale::Limit;
        }
        // By repeated multiplication: `powi` may round differently from machine to machine.
        Scale::Finite((0..=above).fold(1.0, |s, _| s * self.gamma))
    }
}

impl<T: Real> Rule<T> for Perturbed {
    fn name(&self) -> &'static str {
        match self.weighting {
            Weighting::SlopeSquared => "gait",
            Weighting::Plain => "itp",
        }
    }

    fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, '_, T>) -> Result<Option<Solve>> {
        let p = Perturbation { unit: at.layer.unit, weighting: self.weighting, scale: self.scale(at.above) };
        perturb_and_invert(p, at, out, with)
    }
}
