//! Rank-1 update of a matrix.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::part;
use crate::level2::threads_for;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;

/// Computes `A ← α·x·yᵀ + A`.
///
/// ```text
/// A[i,j] = fma(α * x[i], y[j], A[i,j])
/// ```
///
/// These are the bits of [`gemm()`](crate::gemm()) with k = 1 and β = 1.
///
/// * `x`: m×1
/// * `y`: n×1
/// * `a`: m×n, overwritten. Contiguous rows or columns are fast
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: m·n fused multiply-adds; threads share the rows, or the columns if these are contiguous.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::ger::ger;
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let (x, y, mut a) = ([1.0, 2.0], [3.0, 4.0], [10.0; 4]);
/// let (x, y) = (MatRef::new(&x, 2, 1)?, MatRef::new(&y, 2, 1)?);
/// ger(1.0, x, y, MatMut::new(&mut a, 2, 2)?, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(a, [13.0, 14.0, 16.0, 18.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub fn ger<T: Real>(
    alpha: T,
    x: MatRef<'_, T>,
    y: MatRef<'_, T>,
    a: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    x.expect_shape("x of a rank-1 update", (m, 1))?;
    y.expect_shape("y of a rank-1 update", (n, 1))?;
    if a.is_empty() {
        return Ok(());
    }
    update(alpha, x, y, a, plan, scratch)
}

/// Returns the scratch that [`ger`] needs for `a` of m×n.
pub fn ger_scratch<T: Real>(m: usize, n: usize, _plan: &Plan) -> ScratchReq {
    ScratchReq::of::<T>(m).and(ScratchReq::of::<T>(n))
}

once! {
    /// [`ger`] for operands whose shapes fit.
    fn update<T: Real> = update_body(
        alpha: T, x: MatRef<'a, T>, y: MatRef<'a, T>, a: MatMut<'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn update_body<T: Real>(
    alpha: T,
    x: MatRef<'_, T>,
    y: MatRef<'_, T>,
    a: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    let (x_len, y_len) = (ScratchReq::of::<T>(m).bytes() / size_of::<T>(), n);
    let (scaled, right) = scratch.slice::<T>(x_len.saturating_add(y_len))?.split_at_mut(x_len);
    let (scaled, right) = (zeroed(&mut scaled[..m]), zeroed(right));
    copy(plan.isa, x, MatMut::new(scaled, m, 1)?);
    copy(plan.isa, y, MatMut::new(right, n, 1)?);
    if alpha != T::ONE {
        scaled.iter_mut().for_each(|v| *v = alpha * *v);
    }
    // Rows of A that are contiguous, or else its columns; a single column is one too. The factors of
    // a multiply-add commute.
    let by_rows = a.rs() != 1 || (a.cs() == 1 && n > 1);
    let (scaled, right, a) = if by_rows { (&*scaled, &*right, a) } else { (&*right, &*scaled, a.t()) };
    let rows = a.nrows();
    let parts = threads_for(plan, m.saturating_mul(n)).min(rows);
    plan.par.split(parts, &|i| {
        let (first, count) = part(rows, parts, i);
        // SAFETY: `part` gives each row to one part, and each part runs once.
        let a = unsafe { a.alias() }.rows(first, count);
        add_rows(plan.isa, &scaled[first..first + count], right, a);
    });
    Ok(())
}

shells! {
    /// Adds `x[i]·y` to each row i.
    fn add_rows = add_rows_body(x: &'a [T], y: &'a [T], a: MatMut<'a, T>)
}

#[inline(always)]
fn add_rows_body<T: Scalar, M: Fused>(x: &[T], y: &[T], mut a: MatMut<'_, T>) {
    for (i, &x) in x.iter().enumerate() {
        if let Some(row) = a.row_mut(i) {
            for (a, &y) in row.iter_mut().zip(y) {
                *a = M::fma(x, y, *a);
            }
        } else {
            for (j, &y) in y.iter().enumerate() {
                let sum = M::fma(x, y, a.get(i, j));
                a.set(i, j, sum);
            }
        }
    }
}
