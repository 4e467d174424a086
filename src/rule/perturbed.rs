//! Target rules: targets as perturbations of the forward pass.
//!
//! `t_{l−1} = g_l((1 − γ φ_l) y_l + γ φ_l t_l)` with φ = D² (GAIT) or 1 (ITP, and TP with γ = 1), and
//! `g_l(t) = (f⁻¹(t) − b_l) W_l⁻¹`. Updates are scaled back by γ^−(L−l). The rule carries the scaled difference `e_l = γ^−(L−l) (t_l − y_l)`, which is
//! of order 1 at any depth.

use crate::base::error::Result;
use crate::rule::{Context, LayerState, Rule, Through};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::{Activation, MatMut, MatRef, Real};

/// GAIT-prop (Ahmad, van Gerven and Ambrogioni, 2020), its unweighted form ITP, or target
/// propagation through exact inverses (LeCun, 1986; Bengio, 2014).
#[derive(Clone, Copy, Debug)]
pub struct Perturbed {
    name: &'static str,
    gamma: f64,
    weighting: Weighting,
}

impl Perturbed {
    /// Creates GAIT-prop: perturbations weighted by D².
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a γ outside [0, 1]; 0 is the linear limit.
    pub fn gait(gamma: f64) -> Result<Self> {
        Self::new("gait", gamma, Weighting::SlopeSquared)
    }

    /// Creates incremental target propagation: unweighted perturbations.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a γ outside [0, 1]; 0 is the linear limit.
    pub fn itp(gamma: f64) -> Result<Self> {
        Self::new("itp", gamma, Weighting::Plain)
    }

    /// Creates target propagation, the γ = 1 case of its incremental form.
    pub fn tp() -> Self {
        Self { name: "tp", gamma: 1.0, weighting: Weighting::Plain }
    }

    fn new(name: &'static str, gamma: f64, weighting: Weighting) -> Result<Self> {
        crate::rule::check_gamma(gamma)?;
        Ok(Self { name, gamma, weighting })
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
        self.name
    }

    fn perturbation(&self, activation: Activation, above: usize) -> Option<Perturbation> {
        Some(self.at(activation, above))
    }

    fn through_decorrelation(&self) -> Through {
        Through::Inverse
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
