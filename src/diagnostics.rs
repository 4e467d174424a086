//! How close a rule's updates are to backpropagation's, and how close weights are to orthogonal.

use crate::inverse::Inverse;
use crate::ortho::Regularizer;
use crate::rule::{Backprop, Rule};
use crate::step::{Recipe, Workspace};
use crate::{Network, Result};
use gaitprop_kernels::{MatRef, Plan, Real, Scratch, reduce};

/// How one layer's weight update compares with another rule's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Cosine of the angle between the two, as vectors of all weights; 1 if both are 0, NaN if one of them is.
    pub cosine: f64,
    /// Norm of the first over norm of the second.
    pub ratio: f64,
}

impl Alignment {
    /// Compares two updates of one layer.
    ///
    /// # Errors
    /// A shape error if their lengths differ.
    pub fn of<T: Real>(a: &[T], b: &[T], plan: &Plan<'_>) -> Result<Self> {
        let dot = |x: &[T], y: &[T]| reduce::dot(x, y, plan.isa);
        let (aa, bb, ab) = (dot(a, a)?, dot(b, b)?, dot(a, b)?);
        if aa == 0.0 && bb == 0.0 {
            return Ok(Self { cosine: 1.0, ratio: 1.0 });
        }
        // Rounding may leave the open interval.
        let cosine = (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0);
        Ok(Self { cosine, ratio: aa.sqrt() / bb.sqrt() })
    }
}

/// Compares a rule's updates with backpropagation's on one batch, layer by layer, without any regulariser.
///
/// Shapes as [`Workspace::gradients`]. The network is not touched.
///
/// # Errors
/// As [`Workspace::gradients`].
pub fn alignment<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &Recipe<'_, '_, T>,
    inverse: &mut dyn Inverse<T>,
) -> Result<Vec<Alignment>> {
    let bare = Recipe { ortho: Regularizer { lambda: 0.0, ..recipe.ortho }, ..*recipe };
    let backprop: &dyn Rule<T> = &Backprop;
    let [mut own, mut other] = [(); 2].map(|()| Workspace::new(net, input.nrows()));
    own.gradients(net, input, target, &bare, inverse)?;
    other.gradients(net, input, target, &Recipe { rule: backprop, ..bare }, inverse)?;
    let layers = 0..net.layers().len();
    let of = |l| Alignment::of(own.gradients.weights(l).data(), other.gradients.weights(l).data(), recipe.plan);
    layers.map(of).collect()
}

/// What the regulariser's form measures of each layer: ‖offdiag(W Wᵀ)‖ or ‖W Wᵀ − I‖ (Frobenius).
///
/// # Errors
/// Out of memory for packing.
pub fn orthogonality<T: Real>(net: &Network<T>, form: &Regularizer, plan: &Plan<'_>) -> Result<Vec<f64>> {
    let mut scratch = Scratch::new();
    net.layers().iter().map(|l| form.norm(l.w.view(), plan, &mut scratch)).collect()
}
