//! Keeping weights near orthogonal, which is where W⁻¹ = Wᵀ and targets carry backpropagation's errors.
//!
//! | what | file | how |
//! |---|---|---|
//! | [`Regularizer`] | `exact` | `−∂R/∂W` is added to the descent direction: the published way |

mod exact;

use crate::names::names;
pub use exact::Regularizer;
use gaitprop_kernels::MatRef;

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

impl Side {
    /// Whether the columns of weights of this shape are to be orthogonal: more vectors than dimensions cannot be, so that a rectangular
    /// layer is always taken by its shorter side.
    fn transposes(self, (rows, cols): (usize, usize)) -> bool {
        rows > cols || (rows == cols && self == Self::Columns)
    }

    /// W, or its transpose, such that its rows are what should be orthogonal; and whether it was transposed.
    fn orient<'a, T>(self, w: MatRef<'a, T>) -> (MatRef<'a, T>, bool) {
        let transposed = self.transposes(w.shape());
        (if transposed { w.t() } else { w }, transposed)
    }
}
