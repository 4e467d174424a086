//! Products with a triangular matrix, in place. One routine serves all eight kinds, as in
//! [`trsm`](crate::level3::trsm): transposing and reversing the views turns each kind into
//! `B ← L·B`.
//!
//! Groups of unknowns are computed from the last to the first, so that each reads the earlier
//! unknowns before they are overwritten.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::level3::rhs_block::{self, Buffers, Operation, RhsBlock, as_lower_left, for_each_block};
use crate::level3::small_triangle::add_small_triangle;
use crate::plan::Plan;
use crate::tile::strip::{Coefficients, add};
use crate::tile::table::Real;

/// Computes `B ← A·(α·B)` ([`Side::Left`]) or `B ← (α·B)·A` ([`Side::Right`]), A triangular.
///
/// ```text
/// acc = 0
/// for k in the order of elimination, j last { acc = fma(a_jk, α·b_k, acc) }   a_kj for Side::Right
/// b_j = acc
/// ```
///
/// The order is that of [`trsm::solve`](crate::trsm::solve): k = 0 ..= j for `A·B` with a lower or
/// `B·A` with an upper triangle, otherwise k = n−1 ..= j, downwards.
///
/// * `triangle`: the half of `a` that is read
/// * `diag`: whether the diagonal of `a` is read; with [`Diag::Unit`] it counts as 1
/// * `alpha`: α; 1 changes no bit of B, any other value costs one rounding
/// * `a`: n×n; `a.t()` with [`Triangle::t`] multiplies by Aᵀ
/// * `b`: n×rhs, or rhs×n for [`Side::Right`]; overwritten
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: rhs·n²/2 fused multiply-adds.
/// Error bound: |result − exact| ≤ γ(n+1)·|α||A||B| entrywise.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::trmm::{product, Diag, Side, Triangle};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let l = [2.0, f64::NAN, 1.0, 4.0];
/// let mut b = [1.0, 2.0];
/// let (a, x) = (MatRef::new(&l, 2, 2)?, MatMut::new(&mut b, 2, 1)?);
/// product(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a, x, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(b, [2.0, 9.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn product<T: Real>(
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
    a.expect_shape("the triangular matrix of a product", (n, n))?;
    if b.is_empty() {
        return Ok(());
    }
    let (l, b) = as_lower_left(side, triangle, a, b);
    multiply(diag, alpha, l, b, plan, scratch)
}

/// Returns the scratch that [`product`] needs for n unknowns and `rhs` right-hand sides.
pub fn product_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    rhs_block::scratch::<T>(n, rhs, Operation::Product, plan)
}

once! {
    /// Computes `B ← L·(α·B)` in place in `b`.
    fn multiply<T: Real> = multiply_body(
        diag: Diag, alpha: T, l: MatRef<'a, T>, b: MatMut<'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn multiply_body<T: Real>(
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    for_each_block(Operation::Product, diag, alpha, l, b, plan, scratch, &multiply_block)
}

/// Multiplies one block, from the last group to the first.
fn multiply_block<T: Real>(block: &RhsBlock<'_, T>, buffers: &mut Buffers<'_, T>) {
    let Buffers { panels, packed, sums } = buffers;
    let n = block.l.nrows();
    for index in (0..block.groups().count()).rev() {
        let (g0, unknowns) = block.groups().nth(index).expect("one of the groups");
        sums.fill(T::ZERO);
        block.for_earlier_groups((g0, unknowns), packed, &mut |at, k0, a| add_unknowns(block, unknowns, at, k0, a, panels, sums));
        for (at, rows) in block.strips(unknowns) {
            let i = g0 + at;
            block.with_earlier_strips(g0, (at, rows), packed, |a| add_unknowns(block, unknowns, at, g0, a, panels, sums));
            let diagonal = block.l.block(i, i, rows, rows);
            for (first, lanes) in block.panels() {
                let strip = &panels[n * first + i * lanes..][..rows * lanes];
                let sums = &mut sums[unknowns * first + at * lanes..][..rows * lanes];
                add_small_triangle(block.isa, diagonal, block.diag, strip, sums, lanes);
            }
        }
        for (first, lanes) in block.panels() {
            let sums = &sums[unknowns * first..][..unknowns * lanes];
            panels[n * first + g0 * lanes..][..unknowns * lanes].copy_from_slice(sums);
        }
    }
}

/// sums[at .. at+rows] += A · B[k0 .. k0+count], for a group of `unknowns` unknowns.
fn add_unknowns<T: Real>(
    block: &RhsBlock<'_, T>,
    unknowns: usize,
    at: usize,
    k0: usize,
    a: Coefficients<T>,
    panels: &[T],
    sums: &mut [T],
) {
    let (n, (rows, count)) = (block.l.nrows(), a.shape());
    for (first, lanes) in block.panels() {
        let b = &panels[n * first + k0 * lanes..][..count * lanes];
        let sums = &mut sums[unknowns * first + at * lanes..][..rows * lanes];
        // SAFETY: `a` views the triangle, which `block` borrows, or the packed strip, which the
        // caller borrows. `b` has count × lanes elements and `sums` rows × lanes, by the slices
        // above; lanes are whole vectors. `sums` is exclusive, so it overlaps nothing.
        unsafe { add(block.isa, a, b.as_ptr(), lanes as isize, sums.as_mut_ptr(), lanes as isize, lanes) };
    }
}
