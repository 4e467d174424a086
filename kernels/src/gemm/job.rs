//! A product, ready to be computed: operands that fit, and what happens to the result.

use crate::base::matrix::{MatMut, MatRef};
use crate::gemm::epilogue::Epilogue;
use crate::pack::operand::{Left, Right};
use crate::tile::table::Real;

/// Where each chain of [`gemm_with`](crate::gemm_with) starts.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Start<'a, T> {
    /// At 0. C is never read.
    Zero,
    /// At β·C. β = 0 never reads C.
    C(T),
    /// At β·S, where S has C's shape and contiguous rows: the gradient of a loss of two terms, say.
    From(T, MatRef<'a, T>),
}

impl<T: Real> Start<'_, T> {
    /// Factor, first element and row stride of the S that a block of C starts from. `at` is the
    /// block's first element in the whole of C.
    #[inline(always)]
    pub(crate) fn of_block(&self, (i, j): (usize, usize), c: MatRef<'_, T>) -> (T, *const T, isize) {
        match self {
            // Never read.
            Self::Zero => (T::ZERO, c.as_ptr(), 0),
            Self::C(beta) => (*beta, c.as_ptr(), c.rs()),
            Self::From(beta, s) => (*beta, s.block(i, j, c.nrows(), c.ncols()).as_ptr(), s.rs()),
        }
    }
}

/// Which elements of C are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    Whole,
    /// On and below the diagonal. With `drop_diagonal`, 0 is stored on it instead of the product.
    Lower {
        drop_diagonal: bool,
    },
}

/// A product but for C.
pub(crate) struct Job<'a, T> {
    pub(crate) alpha: T,
    pub(crate) a: Left<'a, T>,
    pub(crate) b: Right<'a, T>,
    pub(crate) start: Start<'a, T>,
    pub(crate) region: Region,
    /// With any but [`Epilogue::Store`], C and everything beside it have contiguous rows.
    pub(crate) epilogue: &'a Epilogue<'a, T>,
}

impl<'a, T: Real> Job<'a, T> {
    /// `C ← α·A·B + β·C`, all of it.
    pub(crate) fn plain(alpha: T, a: Left<'a, T>, b: Right<'a, T>, beta: T) -> Self {
        Self { alpha, a, b, start: Start::C(beta), region: Region::Whole, epilogue: &Epilogue::Store }
    }

    /// (m, n, k).
    pub(crate) fn shape(&self) -> (usize, usize, usize) {
        let ((m, k), n) = (self.a.shape(), self.b.shape().1);
        (m, n, k)
    }

    /// Whether the tiles can read A in place: it is a view, and α is 1 or −1.
    pub(crate) fn a_readable(&self) -> bool {
        matches!(self.a, Left::View(_)) && (self.alpha == T::ONE || self.alpha == -T::ONE)
    }
}

/// Whether Cᵀ = Bᵀ·Aᵀ is computed instead, because C is column-major.
///
/// Swapping the factors of a multiply-add changes nothing. α is folded into the left operand, so it
/// must be ±1.
pub(crate) fn compute_transposed<T: Real>(alpha: T, c: &MatMut<'_, T>) -> bool {
    c.cs() != 1 && c.rs() == 1 && c.ncols() > 1 && (alpha == T::ONE || alpha == -T::ONE)
}

/// `C ← α·A·B + β·C` for views that fit, transposed or reversed so that C's rows are contiguous if
/// one of its strides allows it.
#[inline]
pub(crate) fn canonicalize<'a, T: Real>(
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
    c: MatMut<'a, T>,
) -> (Job<'a, T>, MatMut<'a, T>) {
    // Lines of C that run backwards: reverse C and the operand that gives its lines.
    if c.cs() == -1 && c.ncols() > 1 {
        return canonicalize(alpha, a, b.reverse_cols(), beta, c.reverse_cols());
    }
    if c.rs() == -1 && c.nrows() > 1 {
        return canonicalize(alpha, a.reverse_rows(), b, beta, c.reverse_rows());
    }
    let (a, b, c) = if compute_transposed(alpha, &c) { (b.t(), a.t(), c.t()) } else { (a, b, c) };
    (Job::plain(alpha, Left::View(a), Right::View(b), beta), c)
}
