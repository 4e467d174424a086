//! Cholesky factorization `A = L·Lᵀ` of a symmetric positive definite matrix, and its solves.
//!
//! The factorization halves the matrix recursively, so nearly all work is a symmetric product and a
//! triangular solve. The diagram is in [`crate::guide::symmetric`].
//!
//! Each element is one chain of fused multiply-adds in the order of elimination, then one division,
//! or one square root on the diagonal.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
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

/// Maximum order of a block that is factored column by column, in scratch.
const BASE: usize = 48;

/// Factors `a` (n×n) in place: reads its lower triangle and writes L there.
///
/// ```text
/// i ≥ j:  x = A[i,j]
///         for k in 0..j { x = fma(−L[i,k], L[j,k], x) }
///         L[i,j] = if i == j { √x } else { x / L[j,j] }
/// ```
///
/// The elements above the diagonal are neither read nor written. Strides of any sign. Same bits on
/// every instruction set and thread count.
///
/// Work: n³/6 fused multiply-adds.
/// Error bound: |A − L·Lᵀ| ≤ γ(n+1)·|L|·|Lᵀ| entrywise.
///
/// # Errors
/// [`Error::Shape`] if `a` is not square. [`Error::NotPositiveDefinite`] with the index of the
/// first pivot that is not above 0, [`Error::NonFinite`] if that pivot is infinite or NaN. The
/// lower triangle then holds a partial factorization. [`Error::OutOfMemory`] if scratch cannot
/// grow.
///
/// # Examples
/// ```
/// use gaitprop_kernels::{cholesky, MatMut, Plan, Scratch};
/// let mut a = [4.0, f64::NAN, 2.0, 5.0];
/// cholesky::factor(MatMut::new(&mut a, 2, 2)?, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!((a[0], a[2], a[3]), (2.0, 1.0, 2.0));
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// # References
/// Higham, Accuracy and Stability of Numerical Algorithms, ch. 10.
pub fn factor<T: Real>(a: MatMut<'_, T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    a.expect_shape("A of a Cholesky factorization", (n, n))?;
    factor_recursive(a, 0, plan, scratch)
}

/// Returns the scratch that [`factor`] needs for an n×n matrix.
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

/// Returns the order of the first of two halves, a multiple of 16.
fn half(n: usize) -> usize {
    (n / 2).next_multiple_of(16)
}

once! {
    /// Factors a block on the diagonal by recursive halving. Its first row is row `at` of the whole
    /// matrix, for errors.
    fn factor_recursive<T: Real> = factor_recursive_body(
        a: MatMut<'a, T>, at: usize, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn factor_recursive_body<T: Real>(mut a: MatMut<'_, T>, at: usize, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    if n <= BASE {
        return base_in_scratch(a, at, plan, scratch);
    }
    let first = half(n);
    factor_recursive(a.rb().block(0, 0, first, first), at, plan, scratch)?;
    let (top, below) = a.split_rows(first);
    let (mut l21, mut a22) = below.split_cols(first);
    // L21·L11ᵀ = A21, transposed.
    trsm::forward_substitution(Diag::Stored, T::ONE, top.as_ref().cols(0, first), l21.rb().t(), plan, scratch)?;
    let l21 = l21.as_ref();
    let region = Region::Lower { drop_diagonal: false };
    let job = Job { region, ..Job::plain(-T::ONE, Left::View(l21), Right::View(l21.t()), T::ONE) };
    run(&job, a22.rb(), plan, scratch)?;
    factor_recursive(a22, at + first, plan, scratch)
}

/// Factors a small block in a copy with contiguous columns, along which the vectors run.
fn base_in_scratch<T: Real>(mut a: MatMut<'_, T>, at: usize, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let n = a.nrows();
    let columns = zeroed(scratch.slice::<T>(n * n)?);
    // Row by row up to the diagonal: the elements above it are neither read nor written.
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
    /// Factors column by column, left-looking, as the textbook does.
    ///
    /// columns[j · n + i] is element (i, j). `at` is the index of the first pivot, for errors.
    fn base = base_body(columns: &'a mut [T], n: usize, at: usize) -> Result<(), Error>
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

/// Solves `A·X = B` for X, in place in `b`, from the Cholesky factor of A.
///
/// * `l`: n×n, lower triangle read; the factor L from [`factor`]
/// * `b`: n×columns, overwritten by X. A is symmetric, so `b.t()` solves `X·A = B`
///
/// Work: columns·n² fused multiply-adds.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::ZeroPivot`] or [`Error::NonFinite`] if an element of
/// L's diagonal is 0, infinite or NaN. [`Error::OutOfMemory`] if scratch cannot grow. `b` is then
/// unchanged.
pub fn solve<T: Real>(l: MatRef<'_, T>, mut b: MatMut<'_, T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    // For both solves at once, so that the second cannot fail after the first has written.
    scratch.reserve(solve_scratch::<T>(b.nrows(), b.ncols(), plan))?;
    trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, l, b.rb(), plan, scratch)?;
    trsm::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, l.t(), b, plan, scratch)
}

/// Returns the scratch that [`solve`] needs for n unknowns and `rhs` right-hand sides.
pub fn solve_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    trsm::solve_scratch::<T>(n, rhs, plan)
}
