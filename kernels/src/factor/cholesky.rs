//! Cholesky factorization `A = L·Lᵀ` of a symmetric positive definite matrix, and its solves.
//!
//! The factorization halves the matrix recursively, so nearly all work is a symmetric product and a
//! triangular solve. The diagram is in [`crate::guide::symmetric`].
//!
//! Each element is one chain of fused multiply-adds in the order of elimination, then one division,
//! or one square root on the diagonal.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::near_equal;
use crate::gemm::job::{Job, Region};
use crate::gemm::{gemm_native_scratch, run};
use crate::level3::trsm;
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::dispatch::shells;
use crate::simd::vector::Vector;
use crate::tile::table::Real;

/// Maximum order of a block that is factored in scratch, four columns at a time.
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
/// grow; nothing has then been written.
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
    // Before the first block is written.
    scratch.reserve(factor_scratch::<T>(n, plan))?;
    factor_recursive(a, 0, plan, scratch)
}

/// Returns the scratch that [`factor`] needs for an n×n matrix.
pub fn factor_scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    let (mut need, mut n) = (ScratchReq::of::<T>(n.min(BASE) * leading_dimension::<T>(n.min(BASE), plan)), n);
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
    let ld = leading_dimension::<T>(n, plan);
    let columns = zeroed(scratch.slice::<T>(ld * n)?);
    let mut block = MatMut::strided(columns, 0, (n, n), (1, ld as isize))?;
    copy_lower(plan.isa, a.as_ref(), block.rb());
    let outcome = base(plan.isa, columns, ld, n, at);
    copy_lower(plan.isa, MatRef::strided(columns, 0, (n, n), (1, ld as isize))?, a.rb());
    outcome
}

/// Returns the leading dimension of the copy of a block of order n: whole vectors.
fn leading_dimension<T: Real>(n: usize, plan: &Plan) -> usize {
    n.next_multiple_of(T::tiles(plan.isa).lanes)
}

/// Copies the lower triangle. The elements above the diagonal are neither read nor written.
fn copy_lower<T: Real>(isa: Isa, src: MatRef<'_, T>, mut dst: MatMut<'_, T>) {
    for (first, rows) in near_equal(src.nrows(), 8) {
        copy(isa, src.block(first, 0, rows, first), dst.rb().block(first, 0, rows, first));
        for i in first..first + rows {
            (first..=i).for_each(|j| dst.set(i, j, src.get(i, j)));
        }
    }
}

shells! { vectors
    /// Factors in place, left-looking, some columns at a time.
    ///
    /// columns[j · ld + i] is element (i, j). `at` is the index of the first pivot, for errors. The
    /// elements above the diagonal and beyond row n are overwritten.
    fn base = base_body(columns: &'a mut [T], ld: usize, n: usize, at: usize) -> Result<(), Error>
}

#[inline(always)]
fn base_body<T: Scalar, V: Vector<T>>(columns: &mut [T], ld: usize, n: usize, at: usize) -> Result<(), Error> {
    const COLUMNS: usize = 4;
    assert!(ld.is_multiple_of(V::LEN) && ld >= n && columns.len() == ld * n);
    let whole = n - n % COLUMNS;
    // SAFETY: the shell around this body enables the instructions of V. The matrix holds n columns
    // of `ld` elements, whole vectors (asserted above), and all columns named here are below n.
    unsafe {
        for first in (0..whole).step_by(COLUMNS) {
            base_columns::<T, V, COLUMNS>(columns.as_mut_ptr(), ld, first, at)?;
        }
        for first in whole..n {
            base_columns::<T, V, 1>(columns.as_mut_ptr(), ld, first, at)?;
        }
    }
    Ok(())
}

/// Factors the columns first .. first + COLUMNS of [`base`].
///
/// # Safety
/// The CPU has the instructions of V. Columns 0 .. first + COLUMNS of `ld` elements, a multiple of
/// V's length, may be read and written; first + COLUMNS ≤ ld.
#[inline(always)]
unsafe fn base_columns<T: Scalar, V: Vector<T>, const COLUMNS: usize>(
    columns: *mut T,
    ld: usize,
    first: usize,
    at: usize,
) -> Result<(), Error> {
    // Whole vectors, from the one that holds the first pivot.
    let rows = (first - first % V::LEN..ld).step_by(V::LEN);
    // SAFETY: the caller's promises: rows and columns are inside the matrix.
    unsafe {
        let element = |i: usize, j: usize| columns.add(j * ld + i);
        for i in rows.clone() {
            let mut open = [V::splat(T::ZERO); COLUMNS];
            for (c, x) in open.iter_mut().enumerate() {
                *x = V::load(element(i, first + c));
            }
            for k in 0..first {
                let known = V::load(element(i, k));
                for (c, x) in open.iter_mut().enumerate() {
                    *x = known.neg_mul_add(V::splat(*element(first + c, k)), *x);
                }
            }
            for (c, x) in open.iter().enumerate() {
                x.store(element(i, first + c));
            }
        }
        for j in first..first + COLUMNS {
            for k in first..j {
                let factor = V::splat(*element(j, k));
                for i in rows.clone() {
                    V::load(element(i, k)).neg_mul_add(factor, V::load(element(i, j))).store(element(i, j));
                }
            }
            let pivot = *element(j, j);
            if !pivot.is_finite() {
                return Err(Error::NonFinite { index: at + j });
            }
            if !(pivot > T::ZERO) {
                return Err(Error::NotPositiveDefinite { index: at + j });
            }
            let root = pivot.sqrt();
            for i in rows.clone() {
                V::load(element(i, j)).div(V::splat(root)).store(element(i, j));
            }
            *element(j, j) = root;
        }
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
