//! Backpropagation: e_{l−1} = (D_l ∘ e_l) W_lᵀ.

use crate::base::error::Result;
use crate::rule::{Local, Means, Outcome, Rule};
use crate::solve::Solve;
use gaitprop_kernels::perturb::activation_grad;
use gaitprop_kernels::{Real, gemm};

/// Backpropagation (Rumelhart, Hinton and Williams, 1986).
#[derive(Clone, Copy, Debug)]
pub struct Backprop;

impl<T: Real> Rule<T> for Backprop {
    fn name(&self) -> &'static str {
        "bp"
    }

    fn send_down(&self, at: &Local<'_, T>, mut out: Outcome<'_, T>, with: &mut Means<'_, T>) -> Result<Option<Solve>> {
        activation_grad(at.layer.unit, at.y, at.slope, at.e, out.x.rb(), with.plan.isa)?;
        if let Some(below) = out.below {
            let (x, w) = (out.x.as_ref().cols(0, at.live), at.layer.w.view().cols(0, at.live));
            gemm(T::ONE, x, w.t(), T::ZERO, below, with.plan, with.scratch)?;
        }
        Ok(None)
    }
}
