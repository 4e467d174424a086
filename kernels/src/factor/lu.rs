//! LU factorization with partial pivoting, its solves, and an estimate of ‖A⁻¹‖₁.
//!
//! `P·A = L·U`. L is stored below the diagonal, without its diagonal of ones; U on and above it.
//! The factorization halves the columns recursively, so nearly all work is products. The diagram is
//! in [`crate::guide::triangular`].
//!
//! Each element is one chain of fused multiply-adds in the order of elimination. Each element of L
//! is then divided by its pivot and rounded once.
//!
//! Reference: Toledo, Locality of Reference in LU Decomposition with Partial Pivoting, 1997.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
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

/// Factors `P·A = L·U` in place, with partial pivoting.
///
/// * `a`: n×n, overwritten by L below and U on and above the diagonal
/// * `pivots`: n elements, overwritten; step k exchanges rows k and `pivots[k]` ≥ k
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: n³/3 fused multiply-adds.
/// Error bound: |P·A − L·U| ≤ γ(n)·|L|·|U| entrywise.
///
/// # Errors
/// [`Error::Shape`] if `a` is not square or `pivots` has another length. [`Error::ZeroPivot`] with
/// the index of the zero pivot if `a` is singular, [`Error::NonFinite`] if it holds an infinity or
/// NaN. `a` then holds a partial factorization. [`Error::OutOfMemory`] if scratch cannot grow.
///
/// # References
/// Higham, Accuracy and Stability of Numerical Algorithms, ch. 9.
pub fn factor<T: Real>(a: MatMut<'_, T>, pivots: &mut [usize], plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    a.expect_shape("A of an LU factorization", (n, n))?;
    if pivots.len() != n {
        let (expected, found) = ((1, n), (1, pivots.len()));
        return Err(Error::Shape { what: "the pivots", expected, found });
    }
    factor_square(a, pivots, plan, scratch)
}

once! {
    /// [`factor`] for checked operands.
    fn factor_square<T: Real> = factor_square_body(
        a: MatMut<'a, T>, pivots: &'a mut [usize], plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn factor_square_body<T: Real>(a: MatMut<'_, T>, pivots: &mut [usize], plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    #[cfg(feature = "std")]
    if lu_lookahead::is_worthwhile(&a, plan) {
        return lu_lookahead::factor(a, pivots, plan, scratch);
    }
    factor_columns(a, pivots, 0, plan, scratch)
}

/// Factors a tall block (m×n, m ≥ n) by recursive halving. Its first column is column `at` of the
/// whole matrix, for errors.
fn factor_columns<T: Real>(
    mut a: MatMut<'_, T>,
    pivots: &mut [usize],
    at: usize,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    if n <= PANEL {
        return factor_panel(a, pivots, at, plan, scratch);
    }
    let first = (n / 2).next_multiple_of(16);
    let (first_pivots, other_pivots) = pivots.split_at_mut(first);
    {
        let (mut left, mut right) = a.rb().split_cols(first);
        factor_columns(left.rb(), first_pivots, at, plan, scratch)?;
        exchange_rows(right.rb(), first_pivots, plan);
        let (mut top, mut below) = right.split_rows(first);
        let l = left.as_ref();
        let l11 = l.block(0, 0, first, first);
        trsm::forward_substitution(Diag::Unit, T::ONE, l11, top.rb(), plan, scratch)?;
        let l21 = l.rows(first, m - first);
        gemm_native(-T::ONE, l21, top.as_ref(), T::ONE, below.rb(), plan, scratch)?;
        factor_columns(below, other_pivots, at + first, plan, scratch)?;
    }
    let (left, _) = a.split_cols(first);
    let (_, l21) = left.split_rows(first);
    exchange_rows(l21, other_pivots, plan);
    for p in other_pivots {
        *p += first;
    }
    Ok(())
}

/// Factors a panel (m×n, m ≥ n) in a copy with contiguous columns, along which the vectors run.
fn factor_panel<T: Real>(
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

/// Returns the scratch that [`factor`] needs for an n×n matrix.
pub fn factor_scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    let panel = ScratchReq::of::<T>(lu_panel::ld::<T>(n).saturating_mul(n.min(PANEL)));
    // Look-ahead hands the next panel over under a `Mutex`, which needs `std`. Without `std`,
    // threads share only the products and solves.
    #[cfg(feature = "std")]
    let panel = panel.or(lu_lookahead::scratch::<T>(n, plan));
    if n <= PANEL {
        return panel;
    }
    // At each width the leftmost block, which has the most rows, needs the largest product and
    // solve. Narrower blocks can have taller products, so every width counts.
    let (mut need, mut width) = (panel, n);
    while width > PANEL {
        let first = (width / 2).next_multiple_of(16);
        let rest = width - first;
        need = need.or(gemm_native_scratch::<T>(n - first, rest, first, plan)).or(trsm::solve_scratch::<T>(first, rest, plan));
        // The wider half. The halves differ by less than 32 columns, since `first` rounds up to 16.
        width = first.max(rest);
    }
    need
}

/// Checks the factors that a solve receives. Returns n.
fn check<T>(lu: &MatRef<'_, T>, pivots: &[usize]) -> Result<usize, Error> {
    let n = lu.nrows();
    lu.expect_shape("an LU factorization", (n, n))?;
    if pivots.len() != n {
        return Err(Error::Shape { what: "the pivots of an LU factorization", expected: (1, n), found: (1, pivots.len()) });
    }
    // An arbitrary pivot would index out of bounds.
    if let Some((_, &p)) = pivots.iter().enumerate().find(|&(k, &p)| p < k || p >= n) {
        return Err(Error::Parameter { what: "a pivot", value: p as f64, accepted: "at least its own index and below n" });
    }
    Ok(n)
}

/// Solves `X·A = B` for X, in place in `b`, from the factors of A: `X = B·U⁻¹·L⁻¹·P`.
///
/// This is the pass of a batch of row vectors through the inverse of a layer.
///
/// * `lu`: n×n, the factors from [`factor`]
/// * `pivots`: n elements, from [`factor`]
/// * `b`: batch×n, overwritten by X
///
/// Work: batch·n² fused multiply-adds.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::Parameter`] if `pivots` cannot come from a
/// factorization. [`Error::ZeroPivot`] or [`Error::NonFinite`] if an element of U's diagonal is 0,
/// infinite or NaN. [`Error::OutOfMemory`] if scratch cannot grow.
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
    exchange_columns_back(b, pivots);
    Ok(())
}

once! {
    /// Undoes the exchanges in the columns of `b`, last to first.
    fn exchange_columns_back<T: Real> = exchange_columns_back_body(b: MatMut<'a, T>, pivots: &'a [usize])
}

fn exchange_columns_back_body<T: Real>(mut b: MatMut<'_, T>, pivots: &[usize]) {
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
}

/// Solves `A·X = B` for X, in place in `b`, from the factors of A: `X = U⁻¹·L⁻¹·P·B`.
///
/// * `lu`: n×n, the factors from [`factor`]
/// * `pivots`: n elements, from [`factor`]
/// * `b`: n×columns, overwritten by X
///
/// Work: columns·n² fused multiply-adds.
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
    trsm::check_diagonal(&lu)?;
    exchange_rows(b.rb(), pivots, plan);
    trsm::solve(Side::Left, Triangle::Lower, Diag::Unit, T::ONE, lu, b.rb(), plan, scratch)?;
    trsm::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, lu, b, plan, scratch)
}

/// Returns an estimate of ‖A⁻¹‖₁ from the factors of A.
///
/// The estimate is a lower bound, seldom off by more than a factor of 3.
///
/// * `lu`: n×n, the factors from [`factor`]
/// * `pivots`: n elements, from [`factor`]
/// * `work`: 2n elements, overwritten
///
/// Work: at most 11 solves with one right-hand side.
///
/// # Errors
/// As [`solve_right`]. [`Error::Shape`] if `work` does not have 2n elements.
///
/// # References
/// Hager, Condition Estimates, 1984. Higham, Accuracy and Stability of Numerical Algorithms,
/// algorithm 15.1.
pub fn inverse_norm1<T: Real>(
    lu: MatRef<'_, T>,
    pivots: &[usize],
    work: &mut [T],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<f64, Error> {
    let n = check(&lu, pivots)?;
    if work.len() != 2 * n {
        return Err(Error::Shape { what: "the workspace", expected: (1, 2 * n), found: (1, work.len()) });
    }
    if n == 0 {
        return Ok(0.0);
    }
    estimate_inverse_norm1(lu, pivots, work, plan, scratch)
}

once! {
    /// [`inverse_norm1`] for checked operands of order n > 0.
    fn estimate_inverse_norm1<T: Real> = estimate_inverse_norm1_body(
        lu: MatRef<'a, T>, pivots: &'a [usize], work: &'a mut [T], plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<f64, Error>
}

fn estimate_inverse_norm1_body<T: Real>(
    lu: MatRef<'_, T>,
    pivots: &[usize],
    work: &mut [T],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<f64, Error> {
    let n = pivots.len();
    let sum = |x: &[T]| x.iter().map(|v| v.abs().to_f64()).sum::<f64>();
    let (x, z) = work.split_at_mut(n);
    x.fill(T::from_f64(1.0 / n as f64));
    let mut estimate = 0.0;
    // In practice five rounds suffice: each round raises the estimate strictly or ends the search.
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
        // The largest element of ξᵀ·A⁻¹ names the column of A⁻¹ to try next.
        solve_right(lu, pivots, MatMut::new(z, 1, n)?, plan, scratch)?;
        let next = (0..n).max_by(|&i, &j| z[i].abs().to_f64().total_cmp(&z[j].abs().to_f64())).expect("n > 0");
        x.fill(T::ZERO);
        x[next] = T::ONE;
    }
    // Higham's alternative start detects matrices for which the search fails by cancellation.
    for (i, v) in x.iter_mut().enumerate() {
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        *v = T::from_f64(sign * (1.0 + i as f64 / (n.max(2) - 1) as f64));
    }
    solve_left(lu, pivots, MatMut::new(x, n, 1)?, plan, scratch)?;
    let other = 2.0 * sum(x) / (3.0 * n as f64);
    Ok(if other.is_finite() { estimate.max(other) } else { f64::INFINITY })
}
