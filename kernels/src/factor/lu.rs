//! LU factorisation with partial pivoting, its solves, and an estimate of the condition number.
//!
//! `P·A = L·U`: L below the diagonal (its diagonal of ones is not stored), U on and above it. Recursive halving of the columns
//! (Toledo, Locality of Reference in LU Decomposition with Partial Pivoting, 1997), so that nearly all work is products. Each
//! element is one chain of fused multiply-adds in the order of elimination; L's elements are quotients, rounded once.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
#[cfg(feature = "std")]
use crate::factor::lu_lookahead;
use crate::factor::lu_panel::{self, PANEL};
use crate::factor::row_exchange::exchange_rows;
use crate::gemm::{gemm_native, gemm_native_scratch};
use crate::level3::trsm;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::tile::table::Real;

/// Factors `a` (n×n) in place; `pivots[k] ≥ k` is the row that was exchanged with row k in step k.
///
/// Work: n³/3 fused multiply-adds. Same bits on every instruction set and thread count.
/// Error bound: |P·A − L·U| ≤ γ(n)·|L|·|U| entrywise.
///
/// # Errors
/// [`Error::Shape`] if `a` is not square or `pivots` has another length; [`Error::ZeroPivot`] with its index if `a` is singular and
/// [`Error::NonFinite`] if it holds an infinity or NaN (in both cases `a` holds a partial factorisation).
///
/// # Panics
/// Never on caller data.
///
/// Source: Higham, Accuracy and Stability of Numerical Algorithms, ch. 9.
pub fn factor<T: Real>(a: MatMut<'_, T>, pivots: &mut [usize], plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    a.expect_shape("A of an LU factorisation", (n, n))?;
    if pivots.len() != n {
        let (expected, found) = ((1, n), (1, pivots.len()));
        return Err(Error::Shape { what: "the pivots", expected, found });
    }
    #[cfg(feature = "std")]
    if lu_lookahead::is_worthwhile(&a, plan) {
        return lu_lookahead::factor(a, pivots, plan, scratch);
    }
    columns(a, pivots, 0, plan, scratch)
}

/// Factors a tall block (m×n, m ≥ n). `at` is its place on the diagonal of the whole, for errors.
fn columns<T: Real>(
    mut a: MatMut<'_, T>,
    pivots: &mut [usize],
    at: usize,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    if n <= PANEL {
        return panel_in_scratch(a, pivots, at, plan, scratch);
    }
    let first = (n / 2).next_multiple_of(16);
    let (first_pivots, other_pivots) = pivots.split_at_mut(first);
    {
        let (mut left, mut right) = a.rb().split_cols(first);
        columns(left.rb(), first_pivots, at, plan, scratch)?;
        exchange_rows(right.rb(), first_pivots, plan);
        let (mut top, mut below) = right.split_rows(first);
        let l = left.as_ref();
        let l11 = l.block(0, 0, first, first);
        trsm::forwards(Diag::Unit, T::ONE, l11, top.rb(), plan, scratch)?;
        let l21 = l.rows(first, m - first);
        gemm_native(-T::ONE, l21, top.as_ref(), T::ONE, below.rb(), plan, scratch)?;
        columns(below, other_pivots, at + first, plan, scratch)?;
    }
    let (left, _) = a.split_cols(first);
    let (_, l21) = left.split_rows(first);
    exchange_rows(l21, other_pivots, plan);
    for p in other_pivots {
        *p += first;
    }
    Ok(())
}

/// Factors a few columns (m×n, m ≥ n) in a copy whose columns are neighbours in memory, which is what its vectors run along.
fn panel_in_scratch<T: Real>(
    mut a: MatMut<'_, T>,
    pivots: &mut [usize],
    at: usize,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    if a.is_empty() {
        return Ok(());
    }
    let ld = lu_panel::ld::<T>(m);
    let columns = zeroed(scratch.slice::<T>(ld.saturating_mul(n))?);
    copy(plan.isa, a.as_ref(), MatMut::strided(columns, 0, (m, n), (1, ld as isize))?);
    let outcome = lu_panel::factor(plan, columns, ld, (m, n), pivots, at);
    copy(plan.isa, MatRef::strided(columns, 0, (m, n), (1, ld as isize))?, a.rb());
    outcome
}

/// Scratch that [`factor`] needs for an n×n matrix.
pub fn factor_scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    let panel = ScratchReq::of::<T>(lu_panel::ld::<T>(n).saturating_mul(n.min(PANEL)));
    // Its hand-over of the next panel is a lock: without `std` threads share only the products and solves.
    #[cfg(feature = "std")]
    let panel = panel.or(lu_lookahead::scratch::<T>(n, plan));
    if n <= PANEL {
        return panel;
    }
    // The first halving has the largest product and the largest solve of all that follow; the left half has taller products, but narrower ones.
    let (mut need, mut width) = (panel, n);
    while width > PANEL {
        let first = (width / 2).next_multiple_of(16);
        let rest = width - first;
        need = need.or(gemm_native_scratch::<T>(n - first, rest, first, plan)).or(trsm::solve_scratch::<T>(first, rest, plan));
        // Of the two halves the first is never the narrower one, by less than a tile.
        width = first.max(rest);
    }
    need
}

/// Checks what the solves are given.
fn check<T>(lu: &MatRef<'_, T>, pivots: &[usize]) -> Result<usize, Error> {
    let n = lu.nrows();
    lu.expect_shape("an LU factorisation", (n, n))?;
    if pivots.len() != n {
        return Err(Error::Shape { what: "the pivots of an LU factorisation", expected: (1, n), found: (1, pivots.len()) });
    }
    // Followed unchecked, a pivot that no factorisation writes would lead out of bounds.
    if let Some((_, &p)) = pivots.iter().enumerate().find(|&(k, &p)| p < k || p >= n) {
        return Err(Error::Parameter { what: "a pivot", value: p as f64, accepted: "at least its own index and below n" });
    }
    Ok(n)
}

/// Solves `X · A = B` for X, in place in `b` (batch×n), from the factors of A: with `P·A = L·U` this is `X = B U⁻¹ L⁻¹ P`.
///
/// This is how a batch of row vectors goes through the inverse of a layer. Work: batch·n² fused multiply-adds.
///
/// # Errors
/// [`Error::Shape`]; [`Error::ZeroPivot`] if U has a zero on its diagonal; [`Error::OutOfMemory`].
pub fn solve_right<T: Real>(
    lu: MatRef<'_, T>,
    pivots: &[usize],
    mut b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = check(&lu, pivots)?;
    b.expect_shape("the right-hand sides", (b.nrows(), n))?;
    trsm::solve(Side::Right, Triangle::Upper, Diag::Stored, T::ONE, lu, b.rb(), plan, scratch)?;
    trsm::solve(Side::Right, Triangle::Lower, Diag::Unit, T::ONE, lu, b.rb(), plan, scratch)?;
    if b.is_empty() {
        return Ok(());
    }
    for i in 0..b.nrows() {
        if let Some(row) = b.row_mut(i) {
            for (k, &p) in pivots.iter().enumerate().rev() {
                row.swap(k, p);
            }
        } else {
            for (k, &p) in pivots.iter().enumerate().rev() {
                let (x, y) = (b.get(i, k), b.get(i, p));
                b.set(i, k, y);
                b.set(i, p, x);
            }
        }
    }
    Ok(())
}

/// Solves `A · X = B` for X, in place in `b` (n×columns), from the factors of A.
///
/// # Errors
/// As [`solve_right`].
pub fn solve_left<T: Real>(
    lu: MatRef<'_, T>,
    pivots: &[usize],
    mut b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = check(&lu, pivots)?;
    b.expect_shape("the right-hand sides", (n, b.ncols()))?;
    trsm::pivots_divide(&lu)?;
    exchange_rows(b.rb(), pivots, plan);
    trsm::solve(Side::Left, Triangle::Lower, Diag::Unit, T::ONE, lu, b.rb(), plan, scratch)?;
    trsm::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, lu, b, plan, scratch)
}

/// An estimate (a lower bound, seldom off by more than 3) of ‖A⁻¹‖₁ from the factors of A, by a handful of solves with one
/// right-hand side. `work` is overwritten; it holds 2n elements.
///
/// # Errors
/// As [`solve_right`]; [`Error::Shape`] if `work` is not 2n long.
///
/// # Panics
/// Never on caller data.
///
/// Source: Hager, Condition Estimates, 1984; Higham, Accuracy and Stability of Numerical Algorithms, algorithm 15.1.
pub fn inverse_norm1<T: Real>(
    lu: MatRef<'_, T>,
    pivots: &[usize],
    work: &mut [T],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<f64, Error> {
    let n = check(&lu, pivots)?;
    if work.len() != 2 * n {
        return Err(Error::Shape { what: "the work space", expected: (1, 2 * n), found: (1, work.len()) });
    }
    if n == 0 {
        return Ok(0.0);
    }
    let sum = |x: &[T]| x.iter().map(|v| v.abs().to_f64()).sum::<f64>();
    let (x, z) = work.split_at_mut(n);
    x.fill(T::from_f64(1.0 / n as f64));
    let mut estimate = 0.0;
    // Five rounds always suffice in practice: each strictly raises the estimate or ends the search.
    for round in 0..5 {
        solve_left(lu, pivots, MatMut::new(x, n, 1)?, plan, scratch)?;
        let norm = sum(x);
        if !norm.is_finite() {
            return Ok(f64::INFINITY);
        }
        if round > 0 && norm <= estimate {
            break;
        }
        estimate = norm;
        for (z, &x) in z.iter_mut().zip(x.iter()) {
            *z = if x < T::ZERO { -T::ONE } else { T::ONE };
        }
        // ξᵀ A⁻¹: its largest element says which column of A⁻¹ to try next.
        solve_right(lu, pivots, MatMut::new(z, 1, n)?, plan, scratch)?;
        let next = (0..n).max_by(|&i, &j| z[i].abs().to_f64().total_cmp(&z[j].abs().to_f64())).expect("n > 0");
        x.fill(T::ZERO);
        x[next] = T::ONE;
    }
    // Higham's alternative: catches the matrices that fool the search by cancellation.
    for (i, v) in x.iter_mut().enumerate() {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        *v = T::from_f64(sign * (1.0 + i as f64 / (n.max(2) - 1) as f64));
    }
    solve_left(lu, pivots, MatMut::new(x, n, 1)?, plan, scratch)?;
    let other = 2.0 * sum(x) / (3.0 * n as f64);
    Ok(if other.is_finite() { estimate.max(other) } else { f64::INFINITY })
}
