//! Backpropagation: e_{l−1} = (D_l ∘ e_l) W_lᵀ.

use super::{Local, Means, Outcome, Rule};
use crate::Result;
use crate::inverse::Solve;
use gaitprop_kernels::perturb::activation_grad;
use gaitprop_kernels::{Real, Start};

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
            let (x, w) = (out.x.as_ref().cols(0, at.live), at.weights()?.first(at.live));
            w.times_t(T::ONE, x, Start::Zero, below, with.plan, with.scratch)?;
        }
        Ok(None)
    }
}
