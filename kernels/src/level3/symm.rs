//! Products with a symmetric matrix of which one triangle is stored: it is completed while it is packed, and nowhere else.

use crate::base::error::Error;
use crate::base::flags::{Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, compute_transposed};
use crate::gemm::{gemm_native_scratch, run};
use crate::pack::operand::{Generate, Left, Right};
use crate::plan::Plan;
use crate::tile::table::Real;

/// The whole of a symmetric matrix, made from one triangle.
struct Completed<'a, T> {
    /// The lower triangle is stored.
    lower: MatRef<'a, T>,
}

impl<T: Real> Generate<T> for Completed<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.lower.shape()
    }

    fn fill(&self, i: usize, j: usize, out: &mut [T]) {
        // Left of the diagonal and on it row i; right of it column i.
        let stored = (i + 1).saturating_sub(j).min(out.len());
        let (left, right) = out.split_at_mut(stored);
        match self.lower.row(i) {
            Some(row) => left.copy_from_slice(&row[j..][..stored]),
            None => left.iter_mut().enumerate().for_each(|(s, v)| *v = self.lower.get(i, j + s)),
        }
        let column = self.lower.t();
        match column.row(i) {
            Some(column) => right.copy_from_slice(&column[j + stored..][..right.len()]),
            None => right.iter_mut().enumerate().for_each(|(s, v)| *v = self.lower.get(j + stored + s, i)),
        }
    }
}

/// `C ← α·S·B + β·C` ([`Side::Left`]) or `C ← α·B·S + β·C` ([`Side::Right`]); S is symmetric and only `triangle` of it is read.
///
/// Each element is the chain that [`gemm()`](crate::gemm()) says, with the completed S in its place as left or right operand; α is folded into the left one.
///
/// Shapes: `s` n×n, `b` n×m or, from the right, m×n, `c` like `b`; strides of any sign. β = 0 means C is never read. Work: n²·m fused multiply-adds; S is
/// packed, never copied whole. Same bits on every instruction set and thread count.
/// Error bound: as [`gemm()`](crate::gemm()).
///
/// # Errors
/// [`Error::Shape`]; [`Error::OutOfMemory`]: nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// Source: Goto and van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008.
///
/// ```
/// use gaitprop_kernels::symm::symm;
/// use gaitprop_kernels::trsm::{Side, Triangle};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let (s, b) = ([2.0, f64::NAN, 1.0, 3.0], [1.0, 10.0]);
/// let mut c = [0.0; 2];
/// let (s, b, view) = (MatRef::new(&s, 2, 2)?, MatRef::new(&b, 2, 1)?, MatMut::new(&mut c, 2, 1)?);
/// symm(Side::Left, Triangle::Lower, 1.0, s, b, 0.0, view, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(c, [12.0, 31.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn symm<T: Real>(
    side: Side,
    triangle: Triangle,
    alpha: T,
    s: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = if side == Side::Left { b.nrows() } else { b.ncols() };
    s.expect_shape("the symmetric matrix of a product", (n, n))?;
    c.expect_shape("C of a product", b.shape())?;
    if c.is_empty() {
        return Ok(());
    }
    let whole = Completed { lower: if triangle == Triangle::Lower { s } else { s.t() } };
    let (side, b, c) = match (compute_transposed(alpha, &c), side) {
        (false, side) => (side, b, c),
        (true, Side::Left) => (Side::Right, b.t(), c.t()),
        (true, Side::Right) => (Side::Left, b.t(), c.t()),
    };
    let (a, b) = match side {
        Side::Left => (Left::Generated(&whole), Right::View(b)),
        Side::Right => (Left::View(b), Right::Generated(&whole)),
    };
    run(&Job::plain(alpha, a, b, beta), c, plan, scratch).map(drop)
}

/// Scratch that [`symm`] needs for S of n×n and m columns (rows, from the right) of B.
pub fn symm_scratch<T: Real>(n: usize, m: usize, plan: &Plan) -> ScratchReq {
    gemm_native_scratch::<T>(n, m, n, plan).or(gemm_native_scratch::<T>(m, n, n, plan))
}
