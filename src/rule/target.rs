//! Target propagation: t_{l−1} = g_l(t_l) with g_l(t) = (f⁻¹(t) − b_l) W_l⁻¹.

use super::{Local, Means, Outcome, Rule, perturb_and_invert};
use crate::Result;
use crate::inverse::Solve;
use gaitprop_kernels::Real;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};

/// Target propagation through exact inverses (LeCun, 1986; Bengio, 2014), the γ = 1 case of its incremental form.
#[derive(Clone, Copy, Debug)]
pub struct TargetProp;

impl<T: Real> Rule<T> for TargetProp {
    fn name(&self) -> &'static str {
        "tp"
    }

    fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, '_, T>) -> Result<Option<Solve>> {
        let p = Perturbation { unit: at.layer.unit, weighting: Weighting::Plain, scale: Scale::Finite(1.0) };
        perturb_and_invert(p, at, out, with)
    }
}
