//! The published regularizer. Its gradient is added to that of the loss, before the optimizer.
//!
//! ```text
//! R   = λ Σ_l ‖offdiag(W_l W_lᵀ)‖²        ∂R/∂W_l   = 4 λ offdiag(W_l W_lᵀ) W_l       (published)
//! R_I = λ Σ_l ‖W_l W_lᵀ − I‖²             ∂R_I/∂W_l = 4 λ (W_l W_lᵀ − I) W_l  (Dalm et al., 2021)
//! ```
//!
//! W Wᵀ is symmetric: one triangle is computed, and the product with W completes it while packing.
//! That takes 3 n³ flops for n × n weights, where two plain products take 4 n³. The bits are the
//! same: an element of the triangle and its mirror image are the same chain.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::ortho::{Layers, Penalty, Side};
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::{MatMut, MatRef, Real};

/// A regularizer with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// λ, at least 0.
    pub lambda: f64,
    /// Entries of the Gram matrix to penalize.
    pub form: Penalty,
    /// Vectors to make orthogonal. A rectangular first layer always takes its shorter side: there
    /// are at most as many orthogonal vectors as dimensions.
    pub side: Side,
    /// Layers to penalize.
    pub layers: Layers,
}

impl Regularizer {
    /// No regularizer: λ = 0.
    pub const NONE: Self = Self { lambda: 0.0, form: Penalty::OffDiagonal, side: Side::Rows, layers: Layers::All };

    /// Creates a regularizer with the published form and side, of all layers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a λ that is negative or not finite.
    pub fn new(lambda: f64) -> Result<Self> {
        if !(lambda >= 0.0 && lambda.is_finite()) {
            return Err(Error::Setting(format!("lambda is {lambda}, but must be at least 0 and finite")));
        }
        Ok(Self { lambda, ..Self::NONE })
    }

    /// Returns whether layer `l`, from 0, has a penalty: λ is not 0, and the layer is one of
    /// [`Regularizer::layers`].
    pub fn covers(&self, l: usize) -> bool {
        self.lambda > 0.0 && self.layers.include(l)
    }

    /// Computes `Δ ← β·Δ − ∂R/∂W` of one layer; does nothing if λ is 0. The caller leaves out the
    /// layers that have no penalty ([`Regularizer::covers`]).
    ///
    /// * `w`, `delta`: fan-in × width
    /// * `gram`: workspace, the shorter side squared; the lower triangle is written
    ///
    /// ```text
    /// G[i,j] = Σ_k W[i,k] W[j,k]                     one chain in increasing k;
    ///                                                then G[i,i] ← 0, or G[i,i] − 1
    /// Δ[i,j] = β Δ[i,j] − Σ_k (4λ G[i,k]) W[k,j]     one chain in increasing k, started from
    ///                                                β Δ[i,j], or from 0 if β is 0
    /// ```
    ///
    /// Work: 3 n³ flops for n × n weights. Same bits on every instruction set and thread count. The
    /// products run on this crate's kernels, whatever the plan's backend. R is a sum over layers
    /// and entries, not a mean.
    ///
    /// # Errors
    /// A shape error; out of memory for packing. `delta` has then not changed.
    pub fn descend<T: Real>(
        &self,
        w: MatRef<'_, T>,
        beta: T,
        delta: MatMut<'_, T>,
        mut gram: MatMut<'_, T>,
        exec: &mut Exec,
    ) -> Result<()> {
        if self.lambda == 0.0 {
            return Ok(());
        }
        let (w, transposed) = self.side.orient(w);
        self.residual(w, gram.rb(), Part::Lower, exec)?;
        let mut alpha = T::from_f64(-4.0 * self.lambda);
        let delta = if transposed { delta.t() } else { delta };
        if transposed {
            // With a factor of 1, the product may be transposed so that its tiles run along rows of
            // ΔW. The factor is rounded into the elements of G in both cases, so the bits are the
            // same.
            scale_lower(alpha, gram.rb());
            alpha = T::ONE;
        }
        exec.symm_lower(alpha, gram.as_ref(), w, beta, delta)
    }

    /// Writes `offdiag(W Wᵀ)`, or `W Wᵀ − I`, or a triangle of it, into `gram`. W is already
    /// oriented.
    pub(super) fn residual<T: Real>(&self, w: MatRef<'_, T>, mut gram: MatMut<'_, T>, part: Part, exec: &mut Exec) -> Result<()> {
        let diagonal = if self.form == Penalty::OffDiagonal { Diagonal::Dropped } else { Diagonal::Kept };
        exec.syrk(w, part, diagonal, gram.rb())?;
        if self.form == Penalty::Identity {
            for i in 0..gram.nrows() {
                let one_less = gram.get(i, i) - T::ONE;
                gram.set(i, i, one_less);
            }
        }
        Ok(())
    }

    /// Returns ‖offdiag(W Wᵀ)‖ or ‖W Wᵀ − I‖ (Frobenius) of one layer: the penalty without λ and
    /// the square.
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn norm<T: Real>(&self, w: MatRef<'_, T>, exec: &mut Exec) -> Result<f64> {
        let (w, _) = self.side.orient(w);
        let mut gram = Matrix::<T>::zeros(w.nrows(), w.nrows());
        self.residual(w, gram.view_mut(), Part::Both, exec)?;
        Ok(exec.dot(gram.data(), gram.data())?.sqrt())
    }

    /// Returns R of a whole network: the sum over [`Regularizer::layers`].
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn value<T: Real>(&self, net: &Network<T>, exec: &mut Exec) -> Result<f64> {
        let mut sum = 0.0;
        for layer in net.layers().iter().skip(self.layers.first()) {
            let norm = self.norm(layer.w.view(), exec)?;
            sum += norm * norm;
        }
        Ok(self.lambda * sum)
    }
}

/// Multiplies the elements on and below the diagonal by `alpha`.
fn scale_lower<T: Real>(alpha: T, mut a: MatMut<'_, T>) {
    for i in 0..a.nrows() {
        if let Some(row) = a.row_mut(i) {
            row[..=i].iter_mut().for_each(|v| *v = alpha * *v);
        } else {
            (0..=i).for_each(|j| a.set(i, j, alpha * a.get(i, j)));
        }
    }
}
