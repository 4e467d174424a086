//! Keeping weights near orthogonal, which is where W⁻¹ = Wᵀ and targets carry backpropagation's errors.
//!
//! ```text
//! R   = λ Σ_l ‖offdiag(W_l W_lᵀ)‖²        ∂R/∂W_l   = 4 λ offdiag(W_l W_lᵀ) W_l       (published)
//! R_I = λ Σ_l ‖W_l W_lᵀ − I‖²             ∂R_I/∂W_l = 4 λ (W_l W_lᵀ − I) W_l          (Dalm et al., 2021)
//! ```

use crate::names::names;
use crate::{Error, Matrix, Network, Result};
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, Scratch, gemm, reduce};

/// What is penalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The entries off the diagonal: rows orthogonal, their norms free. The published form.
    OffDiagonal,
    /// The distance from the identity: rows orthonormal.
    Identity,
}

names!(Form, "form of the regulariser", OffDiagonal = "published", Identity = "identity");

/// Which vectors are to be orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Rows of W, one an input unit: W Wᵀ. The published side.
    Rows,
    /// Columns of W, one an output unit: WᵀW.
    Columns,
}

names!(Side, "side of the regulariser", Rows = "rows", Columns = "columns");

/// A regulariser with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// λ, at least 0.
    pub lambda: f64,
    /// Form.
    pub form: Form,
    /// Side. More vectors than dimensions cannot be orthogonal: a rectangular first layer is always taken by its shorter side.
    pub side: Side,
}

impl Regularizer {
    /// The published form and side.
    ///
    /// # Errors
    /// [`Error::Setting`] for a λ that is negative or not finite.
    pub fn new(lambda: f64) -> Result<Self> {
        if !(lambda >= 0.0 && lambda.is_finite()) {
            return Err(Error::Setting(format!("lambda is {lambda}, but must be at least 0 and finite")));
        }
        Ok(Self { lambda, form: Form::OffDiagonal, side: Side::Rows })
    }

    /// W, or its transpose, such that its rows are what should be orthogonal.
    fn oriented<'a, T: Real>(&self, w: MatRef<'a, T>) -> (MatRef<'a, T>, bool) {
        let (m, n) = w.shape();
        let transposed = m > n || (m == n && self.side == Side::Columns);
        (if transposed { w.t() } else { w }, transposed)
    }

    /// Adds the descent direction −∂R/∂W to `delta` (both n_in × n_out). `gram` is work space of the shorter side squared.
    ///
    /// Work: 4 n³ flops for n × n weights. R is not divided by anything: it is a sum over layers and entries.
    ///
    /// # Errors
    /// A shape error; out of memory for packing.
    pub fn descend<T: Real>(
        &self,
        w: MatRef<'_, T>,
        delta: MatMut<'_, T>,
        mut gram: MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        if self.lambda == 0.0 {
            return Ok(());
        }
        let (w, transposed) = self.oriented(w);
        self.residual(w, gram.rb(), plan, scratch)?;
        let delta = if transposed { delta.t() } else { delta };
        let alpha = T::from_f64(-4.0 * self.lambda);
        Ok(gemm(alpha, gram.as_ref(), w, T::ONE, delta, plan, scratch)?)
    }

    /// `offdiag(W Wᵀ)`, or `W Wᵀ − I`, into `gram`, for W already oriented.
    fn residual<T: Real>(&self, w: MatRef<'_, T>, mut gram: MatMut<'_, T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<()> {
        gemm(T::ONE, w, w.t(), T::ZERO, gram.rb(), plan, scratch)?;
        for i in 0..gram.nrows() {
            let diagonal = match self.form {
                Form::OffDiagonal => T::ZERO,
                Form::Identity => gram.get(i, i) - T::ONE,
            };
            gram.set(i, i, diagonal);
        }
        Ok(())
    }

    /// What is penalised, without λ and without the square: ‖offdiag(W Wᵀ)‖ or ‖W Wᵀ − I‖ (Frobenius) of one layer.
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn norm<T: Real>(&self, w: MatRef<'_, T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<f64> {
        let (w, _) = self.oriented(w);
        let mut gram = Matrix::<T>::zeros(w.nrows(), w.nrows());
        self.residual(w, gram.view_mut(), plan, scratch)?;
        Ok(reduce::dot(gram.data(), gram.data(), plan.isa)?.sqrt())
    }

    /// R of a whole network.
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn value<T: Real>(&self, net: &Network<T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<f64> {
        let mut sum = 0.0;
        for layer in net.layers() {
            let norm = self.norm(layer.w.view(), plan, scratch)?;
            sum += norm * norm;
        }
        Ok(self.lambda * sum)
    }
}
