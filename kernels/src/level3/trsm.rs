//! Triangular solves. One routine serves all eight kinds: transposing and reversing the views turns
//! each kind into `L·X = B`, solved by forward substitution.
//!
//! The diagram is in [`crate::guide::triangular`]. Right-hand sides are independent, so threads
//! share them out. Each thread copies its own into panels, whatever the strides of B: unknown by
//! unknown, with contiguous right-hand sides. The register tiles read the solved unknowns as their
//! B and the triangle as their A, in place or packed.
//!
//! Each unknown is one chain of fused multiply-adds in the order of elimination, then one division.
//! These are the bits of the textbook loop. If L has contiguous columns, `trsm_row_major` solves
//! instead: its vectors run along the unknowns.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::level3::rhs_block::{self, Buffers, Operation, RhsBlock, as_lower_left, for_each_block};
use crate::level3::small_triangle::solve_small_triangle;
use crate::level3::trsm_row_major;
use crate::plan::Plan;
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;

/// Solves `A·X = α·B` ([`Side::Left`]) or `X·A = α·B` ([`Side::Right`]) for X, in place in `b`.
///
/// ```text
/// x_j = α·b_j
/// for k in the order of elimination { x_j = fma(−x_k, a_jk, x_j) }        a_kj for Side::Right
/// x_j = x_j / a_jj                                                        not with Diag::Unit
/// ```
///
/// The order of elimination is k = 0 .. j for `A·X` with a lower or `X·A` with an upper triangle.
/// Otherwise it is k = n−1 .. j+1, downwards.
///
/// * `triangle`: the half of `a` that is read
/// * `diag`: whether the diagonal of `a` is read and divides ([`Diag::Stored`])
/// * `alpha`: α; 1 changes no bit of B, any other value costs one rounding
/// * `a`: n×n; `a.t()` with [`Triangle::t`] solves with Aᵀ
/// * `b`: n×rhs, or rhs×n for [`Side::Right`]; overwritten by X
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: rhs·n²/2 fused multiply-adds.
/// Error bound: |A·X − α·B| ≤ γ(n+1)·|A|·|X| entrywise.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::ZeroPivot`] if a stored diagonal element is 0,
/// [`Error::NonFinite`] if one is infinite or NaN. [`Error::OutOfMemory`] if scratch cannot grow.
/// After an error `b` is unchanged.
///
/// # Examples
/// ```
/// use gaitprop_kernels::trsm::{solve, Diag, Side, Triangle};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let l = [2.0, f64::NAN, 1.0, 4.0];
/// let mut b = [2.0, 9.0];
/// let (a, x) = (MatRef::new(&l, 2, 2)?, MatMut::new(&mut b, 2, 1)?);
/// solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a, x, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(b, [1.0, 2.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// # References
/// Higham, Accuracy and Stability of Numerical Algorithms, ch. 8. Update and solve of a strip
/// together: BLIS, gemmtrsm.
#[allow(clippy::too_many_arguments)]
pub fn solve<T: Real>(
    side: Side,
    triangle: Triangle,
    diag: Diag,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = if side == Side::Left { b.nrows() } else { b.ncols() };
    a.expect_shape("the matrix of a triangular solve", (n, n))?;
    if diag == Diag::Stored {
        check_diagonal(&a)?;
    }
    let (l, b) = as_lower_left(side, triangle, a, b);
    forward_substitution(diag, alpha, l, b, plan, scratch)
}

/// Returns an error unless every diagonal element is finite and nonzero.
pub(crate) fn check_diagonal<T: Real>(a: &MatRef<'_, T>) -> Result<(), Error> {
    for index in 0..a.nrows() {
        let pivot = a.get(index, index);
        if pivot == T::ZERO {
            return Err(Error::ZeroPivot { index });
        }
        if !pivot.is_finite() {
            return Err(Error::NonFinite { index });
        }
    }
    Ok(())
}

/// Returns the scratch that [`solve`] needs for n unknowns and `rhs` right-hand sides.
pub fn solve_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    rhs_block::scratch::<T>(n, rhs, Operation::Solve, plan).or(trsm_row_major::scratch::<T>(n, rhs, plan))
}

once! {
    /// Solves `L·X = α·B` in place in `b`. The callers check the shapes and the diagonal.
    pub(crate) fn forward_substitution<T: Real> = forward_substitution_body(
        diag: Diag, alpha: T, l: MatRef<'a, T>, b: MatMut<'a, T>, plan: &'a Plan,
        scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn forward_substitution_body<T: Real>(
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if b.is_empty() {
        return Ok(());
    }
    if trsm_row_major::applies_to(&l) {
        return trsm_row_major::forward_substitution(diag, alpha, l, b, plan, scratch);
    }
    for_each_block(Operation::Solve, diag, alpha, l, b, plan, scratch, &solve_block)
}

/// Solves one block, group by group.
fn solve_block<T: Real>(block: &RhsBlock<'_, T>, buffers: &mut Buffers<'_, T>) {
    let Buffers { panels, packed, .. } = buffers;
    let n = block.l.nrows();
    for (g0, unknowns) in block.groups() {
        block.for_earlier_groups((g0, unknowns), packed, &mut |at, k0, a| subtract_solved(block, g0 + at, k0, a, panels));
        for (at, rows) in block.strips(unknowns) {
            let i = g0 + at;
            block.with_earlier_strips(g0, (at, rows), packed, |a| subtract_solved(block, i, g0, a, panels));
            let diagonal = block.l.block(i, i, rows, rows);
            for (first, lanes) in block.panels() {
                let strip = &mut panels[n * first + i * lanes..][..rows * lanes];
                solve_small_triangle(block.isa, diagonal, block.diag, strip, lanes);
            }
        }
    }
}

/// X[i .. i+rows] −= A · X[k0 .. k0+count] for A = L[i .. i+rows, k0 .. k0+count].
fn subtract_solved<T: Real>(block: &RhsBlock<'_, T>, i: usize, k0: usize, a: Coefficients<T>, panels: &mut [T]) {
    let (n, (rows, count)) = (block.l.nrows(), a.shape());
    for (first, lanes) in block.panels() {
        let panel = &mut panels[n * first..n * (first + lanes)];
        // All solved unknowns precede unknown i.
        let (solved, open) = panel.split_at_mut(i * lanes);
        let (solved, open) = (&solved[k0 * lanes..(k0 + count) * lanes], &mut open[..rows * lanes]);
        // SAFETY: `a` views the triangle, which `block` borrows, or the packed strip, which the
        // caller borrows. `solved` has count × lanes elements and `open` rows × lanes, by the
        // slices above; lanes are whole vectors. The two slices are disjoint, and neither
        // overlaps `a`.
        unsafe { subtract(block.isa, a, solved.as_ptr(), lanes as isize, open.as_mut_ptr(), lanes as isize, lanes) };
    }
}
