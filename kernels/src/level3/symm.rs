//! Products with a symmetric matrix of which one triangle is stored. Packing completes the matrix;
//! no full copy exists.

use crate::base::error::Error;
use crate::base::flags::{Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, compute_transposed};
use crate::gemm::{gemm_native_scratch, run};
use crate::pack::operand::{Generate, Left, Right};
use crate::plan::Plan;
use crate::tile::table::Real;

/// A full symmetric matrix, generated from its lower triangle.
struct Completed<'a, T> {
    /// View of the stored triangle, transposed if necessary so that it is the lower one.
    lower: MatRef<'a, T>,
}

impl<T: Real> Generate<T> for Completed<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.lower.shape()
    }

    fn fill(&self, i: usize, j: usize, out: &mut [T]) {
        // Row i up to the diagonal, then column i below it.
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

/// Computes `C ← α·S·B + β·C` ([`Side::Left`]) or `C ← α·B·S + β·C` ([`Side::Right`]), S symmetric.
///
/// Each element is the chain of [`gemm()`](crate::gemm()) with the full S as left or right operand.
/// α is multiplied into the left operand.
///
/// * `triangle`: the half of `s` that is read
/// * `s`: n×n
/// * `b`: n×m, or m×n for [`Side::Right`]
/// * `c`: like `b`, overwritten; not read if β = 0
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: n²·m fused multiply-adds; S is packed, never copied whole.
/// Error bound: as [`gemm()`](crate::gemm()).
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
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
///
/// # References
/// Goto and van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008.
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
    symm_of_shapes(side, alpha, if triangle == Triangle::Lower { s } else { s.t() }, b, beta, c, plan, scratch)
}

once! {
    /// [`symm`] for operands whose shapes fit. `lower` holds the symmetric matrix below its diagonal.
    fn symm_of_shapes<T: Real> = symm_body(
        side: Side, alpha: T, lower: MatRef<'a, T>, b: MatRef<'a, T>, beta: T, c: MatMut<'a, T>,
        plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

#[allow(clippy::too_many_arguments)]
fn symm_body<T: Real>(
    side: Side,
    alpha: T,
    lower: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let whole = Completed { lower };
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

/// Returns the scratch that [`symm`] needs for S of n×n and B of n×m (m×n for [`Side::Right`]).
pub fn symm_scratch<T: Real>(n: usize, m: usize, plan: &Plan) -> ScratchReq {
    gemm_native_scratch::<T>(n, m, n, plan).or(gemm_native_scratch::<T>(m, n, n, plan))
}
