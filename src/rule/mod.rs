//! How credit reaches a layer: one trait, one file a family.
//!
//! Every rule turns the error of a layer (sign: target − activity, scaled by γ^−(L−l) where targets are scaled) into `x = D ∘ e`, which
//! makes the layer's own update, and into the error of the layer below:
//!
//! | rule | file | e_{l−1} |
//! |---|---|---|
//! | BP | [`backprop`] | `(D_l ∘ e_l) W_lᵀ` |
//! | TP | [`target`] | `[f⁻¹(y_l + e_l) − f⁻¹(y_l)] W_l⁻¹` |
//! | ITP | [`perturbed`] | `[f⁻¹(y_l + s e_l) − f⁻¹(y_l)]/s W_l⁻¹`, s = γ^(L−l+1) |
//! | GAIT | [`perturbed`] | `[f⁻¹(y_l + s D_l² ∘ e_l) − f⁻¹(y_l)]/s W_l⁻¹` |
//!
//! Targets themselves are never formed: their differences lose everything to rounding a few layers down.

pub mod backprop;
pub mod perturbed;
pub mod target;

use crate::inverse::{Inverse, Solve, Weights};
use crate::names::names;
use crate::{Error, Layer, Result};
use gaitprop_kernels::perturb::{Perturbation, perturb};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, PackedRhs, Plan, Real, Scratch};

pub use backprop::Backprop;
pub use perturbed::Perturbed;
pub use target::TargetProp;

/// What a rule is told about one layer of one batch.
pub struct Local<'a, T> {
    /// Index of the layer, from 0.
    pub index: usize,
    /// Layers above it: L − l, 0 for the last layer.
    pub above: usize,
    /// Its weights, biases and activation.
    pub layer: &'a Layer<T>,
    /// Columns of `e`, from the first on, that may be other than 0: of the last layer the label units.
    pub live: usize,
    /// The same weights packed for products, if the caller has them so. No bit depends on it.
    pub packed: Option<&'a PackedRhs<T>>,
    /// Its W Wᵀ, if the caller has computed it: the lower triangle and the diagonal are enough.
    pub gram: Option<MatRef<'a, T>>,
    /// Its activity, batch × width; of the last layer only the `live` first columns need be there, the others may be anything finite.
    pub y: MatRef<'a, T>,
    /// f′(h) where the activation keeps it.
    pub slope: Option<MatRef<'a, T>>,
    /// Its error, batch × width.
    pub e: MatRef<'a, T>,
}

impl<'a, T: Real> Local<'a, T> {
    /// The weights as products and solves take them.
    ///
    /// # Errors
    /// A shape error if what the caller made of the weights does not fit them.
    pub fn weights(&self) -> Result<Weights<'a, T>> {
        Weights::from(self.layer.w.view()).with_packed(self.packed)?.with_gram(self.gram)
    }
}

/// Where a rule's results go.
pub struct Outcome<'a, T> {
    /// `D ∘ e`, batch × width: always written.
    pub x: MatMut<'a, T>,
    /// The error of the units below that feed this layer, batch × fed; absent for the first layer.
    pub below: Option<MatMut<'a, T>>,
}

/// What a rule computes with.
pub struct Means<'a, 'p, T> {
    /// Sends a batch through W⁻¹.
    pub inverse: &'a mut dyn Inverse<T>,
    /// How kernels run.
    pub plan: &'a Plan<'p>,
    /// Their packing memory.
    pub scratch: &'a mut Scratch,
}

/// A learning rule: how the error of a layer becomes that of the layer below.
pub trait Rule<T: Real>: Send + Sync + std::fmt::Debug {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// Writes `out.x` and, unless this is the first layer, `out.below`. Returns what the inverse reported, if it was used.
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::OutOfRange`], or an error of the kernels; nothing outside `out` has changed.
    fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, '_, T>) -> Result<Option<Solve>>;
}

/// The rules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Backpropagation.
    Bp,
    /// GAIT-prop.
    Gait,
    /// Incremental target propagation.
    Itp,
    /// Target propagation.
    Tp,
}

names!(Kind, "rule", Bp = "bp", Gait = "gait", Itp = "itp", Tp = "tp");

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bp, Self::Gait, Self::Itp, Self::Tp];

    /// Published learning rate and λ. The paper gives none for ITP: GAIT's.
    pub fn published(self) -> (f64, f64) {
        match self {
            Self::Bp => (1e-4, 0.0),
            Self::Gait | Self::Itp => (1e-4, 0.1),
            Self::Tp => (1e-5, 1000.0),
        }
    }

    /// The rule itself; `gamma` counts for GAIT and ITP.
    ///
    /// # Errors
    /// [`Error::Setting`] for a γ outside [0, 1].
    pub fn build<T: Real>(self, gamma: f64) -> Result<Box<dyn Rule<T>>> {
        Ok(match self {
            Self::Bp => Box::new(Backprop),
            Self::Tp => Box::new(TargetProp),
            Self::Gait => Box::new(Perturbed::gait(gamma)?),
            Self::Itp => Box::new(Perturbed::itp(gamma)?),
        })
    }
}

/// What all target rules do: perturb, and send the result through the inverse.
fn perturb_and_invert<T: Real>(
    p: Perturbation,
    at: &Local<'_, T>,
    mut out: Outcome<'_, T>,
    with: &mut Means<'_, '_, T>,
) -> Result<Option<Solve>> {
    let Some(mut below) = out.below else {
        gaitprop_kernels::perturb::weigh(at.layer.unit, at.y, at.slope, at.e, out.x, with.plan.isa)?;
        return Ok(None);
    };
    match perturb(p, at.y, at.slope, at.e, below.rb(), out.x.rb(), with.plan.isa) {
        Err(KernelError::Domain { row, col }) => Err(Error::OutOfRange { layer: at.index, sample: row, unit: col }),
        other => {
            other?;
            with.inverse.solve(at.index, at.weights()?, below, with.plan, with.scratch).map(Some)
        }
    }
}
