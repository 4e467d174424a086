//! Cholesky factorisation `A = L·Lᵀ` of a symmetric positive definite matrix, and its solves.
//!
//! Recursive halving, so that nearly all work is a symmetric product and a triangular solve:
//!
//! ```text
//!   ┌─────┐              L11·L11ᵀ = A11            halved again
//!   │ A11 │              L21·L11ᵀ = A21            a triangular solve
//!   ├─────┼─────┐        A22 ← A22 − L21·L21ᵀ      the lower triangle of a product
//!   │ A21 │ A22 │        L22·L22ᵀ = A22            halved again
//!   └─────┴─────┘
//! ```
//!
//! Each element is one chain of fused multiply-adds in the order of elimination, then one division, or on the diagonal one square root.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, Region};
use crate::gemm::{gemm_native_scratch, run};
use crate::level3::trsm;
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;

/// Up to this order columns are worked off one by one, in scratch.
const BASE: usize = 48;

/// Factors `a` (n×n) in place: its lower triangle is read, and L written there. What lies above the diagonal is neither read nor written.
///
/// ```text
/// i ≥ j:  x = A[i,j];  for k in 0..j { x = fma(−L[i,k], L[j,k], x) };  L[i,j] = if i == j { √x } else { x / L[j,j] }
/// ```
///
/// Strides of any sign. Work: n³/6 fused multiply-adds. Same bits on every instruction set and thread count.
/// Error bound: |A − L·Lᵀ| ≤ γ(n+1)·|L|·|Lᵀ| entrywise.
///
/// # Errors
/// [`Error::Shape`] if `a` is not square; [`Error::NotPositiveDefinite`] with the index of the first pivot that is not above 0 and
/// [`Error::NonFinite`] if it is infinite or NaN (in both cases the lower triangle holds a partial factorisation); [`Error::OutOfMemory`].
///
/// # Panics
/// Never on caller data.
///
/// Source: Higham, Accuracy and Stability of Numerical Algorithms, ch. 10.
///
/// ```
/// use gaitprop_kernels::{cholesky, MatMut, Plan, Scratch};
/// let mut a = [4.0, f64::NAN, 2.0, 5.0];
/// cholesky::factor(MatMut::new(&mut a, 2, 2)?, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!((a[0], a[2], a[3]), (2.0, 1.0, 2.0));
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub fn factor<T: Real>(a: MatMut<'_, T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    a.expect_shape("A of a Cholesky factorisation", (n, n))?;
    halves(a, 0, plan, scratch)
}

/// Scratch that [`factor`] needs for an n×n matrix.
pub fn factor_scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    let (mut need, mut n) = (ScratchReq::of::<T>(n.min(BASE) * n.min(BASE)), n);
    while n > BASE {
        let first = half(n);
        let rest = n - first;
        need = need.or(gemm_native_scratch::<T>(rest, rest, first, plan)).or(trsm::solve_scratch::<T>(first, rest, plan));
        n = first.max(rest);
    }
    need
}

fn half(n: usize) -> usize {
    (n / 2).next_multiple_of(16)
}

/// `at` is the block's place on the diagonal of the whole, for errors.
fn halves<T: Real>(mut a: MatMut<'_, T>, at: usize, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    if n <= BASE {
        return base_in_scratch(a, at, plan, scratch);
    }
    let first = half(n);
    halves(a.rb().block(0, 0, first, first), at, plan, scratch)?;
    let (top, below) = a.split_rows(first);
    let (mut l21, mut a22) = below.split_cols(first);
    // X·L11ᵀ = A21, transposed.
    trsm::forwards(Diag::Stored, T::ONE, top.as_ref().cols(0, first), l21.rb().t(), plan, scratch)?;
    let l21 = l21.as_ref();
    let region = Region::Lower { drop_diagonal: false };
    let job = Job { region, ..Job::plain(-T::ONE, Left::View(l21), Right::View(l21.t()), T::ONE) };
    run(&job, a22.rb(), plan, scratch)?;
    halves(a22, at + first, plan, scratch)
}

/// The last few columns in a copy whose columns are neighbours in memory, which is what its vectors run along.
fn base_in_scratch<T: Real>(mut a: MatMut<'_, T>, at: usize, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    let columns = zeroed(scratch.slice::<T>(n * n)?);
    // Row by row up to the diagonal: nothing beyond is touched.
    for i in 0..n {
        let to = MatMut::strided(columns, i, (1, i + 1), (1, n as isize))?;
        copy(plan.isa, a.as_ref().block(i, 0, 1, i + 1), to);
    }
    let outcome = base(plan.isa, columns, n, at);
    for i in 0..n {
        let from = MatRef::strided(columns, i, (1, i + 1), (1, n as isize))?;
        copy(plan.isa, from, a.rb().block(i, 0, 1, i + 1));
    }
    outcome
}

shells! {
    /// The textbook loop, left-looking, column by column: columns[j · n + i] is element (i, j).
    fn base = base_body(columns: &mut [T], n: usize, at: usize) -> Result<(), Error>
}

#[inline(always)]
fn base_body<T: Scalar, M: Fused>(columns: &mut [T], n: usize, at: usize) -> Result<(), Error> {
    for j in 0..n {
        let (done, open) = columns.split_at_mut(j * n);
        let column = &mut open[j..n];
        for known in done.chunks_exact(n) {
            let ljk = known[j];
            for (v, &lik) in column.iter_mut().zip(&known[j..]) {
                *v = M::fma(-lik, ljk, *v);
            }
        }
        let pivot = column[0];
        if !pivot.is_finite() {
            return Err(Error::NonFinite { index: at + j });
        }
        if !(pivot > T::ZERO) {
            return Err(Error::NotPositiveDefinite { index: at + j });
        }
        let root = pivot.sqrt();
        column[0] = root;
        column[1..].iter_mut().for_each(|v| *v = *v / root);
    }
    Ok(())
}

/// Solves `A·X = B` for X, in place in `b` (n×columns), from the factor L of A ([`factor`]); only the lower triangle of `l` is read.
///
/// Work: columns·n² fused multiply-adds. A is symmetric: `X·A = B` is this with `b.t()`.
///
/// # Errors
/// [`Error::Shape`]; [`Error::ZeroPivot`] or [`Error::NonFinite`] if L's diagonal cannot divide; [`Error::OutOfMemory`]: nothing has then been written.
pub fn solve<T: Real>(l: MatRef<'_, T>, mut b: MatMut<'_, T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, l, b.rb(), plan, scratch)?;
    trsm::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, l.t(), b, plan, scratch)
}

/// Scratch that [`solve`] needs for n unknowns and `rhs` right-hand sides.
pub fn solve_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    trsm::solve_scratch::<T>(n, rhs, plan)
}
