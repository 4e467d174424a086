//! Target propagation: t_{l−1} = g_l(t_l) with g_l(t) = (f⁻¹(t) − b_l) W_l⁻¹.

use crate::base::error::Result;
use crate::rule::{Context, LayerState, Rule};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::{Activation, MatMut, MatRef, Real};

/// Returns the perturbation that reaches the target: s = 1.
pub(super) fn whole(activation: Activation) -> Perturbation {
    Perturbation { activation, weighting: Weighting::Plain, scale: Scale::Finite(1.0) }
}

/// Target propagation through exact inverses (LeCun, 1986; Bengio, 2014): the γ = 1 case of its
/// incremental form.
#[derive(Clone, Copy, Debug)]
pub struct TargetProp;

impl<T: Real> Rule<T> for TargetProp {
    fn name(&self) -> &str {
        "tp"
    }

    fn perturbation(&self, activation: Activation, _above: usize) -> Option<Perturbation> {
        Some(whole(activation))
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
