//! Matrix-vector product.
//!
//! A vector holds elements of consecutive rows of A in both layouts, since each element of y is one
//! chain.
//!
//! ```text
//! columns contiguous:  y, a block at a time in L1;   rows contiguous:  blocks of A, transposed in
//!   some columns of A stream past it                   registers, column by column
//! ```

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::{near_equal, part};
use crate::gemm::{gemm_native, gemm_native_scratch};
use crate::level2::threads_for;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::dispatch::shells;
use crate::simd::vector::{MOST_COLUMNS, Vector, opaque};
use crate::tile::table::Real;

/// Rows of y that stay in L1 while columns of A stream past: 16 KiB of f32, 32 KiB of f64.
const ROWS_AT_ONCE: usize = 4096;

/// Computes `y ← α·A·x + β·y`.
///
/// ```text
/// acc = if β == 0 { 0 } else { β * y[i] }
/// for k in 0..n { acc = fma(α * A[i,k], x[k], acc) }
/// y[i] = acc
/// ```
///
/// These are the bits of [`gemm()`](crate::gemm()) with one column.
///
/// * `a`: m×n; `a.t()` multiplies by Aᵀ
/// * `x`: n×1
/// * `y`: m×1, overwritten; not read if β = 0
///
/// Strides of any sign; A with contiguous rows or columns is fast. Same bits on every instruction
/// set and thread count.
///
/// Work: m·n fused multiply-adds; threads share the rows.
/// Error bound: |y − exact| ≤ γ(n+2)·(|α||A||x| + |β||y|) entrywise.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::gemv::gemv;
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let (a, x, mut y) = ([1.0, 2.0, 3.0, 4.0], [10.0, 1.0], [f64::NAN; 2]);
/// let (a, x) = (MatRef::new(&a, 2, 2)?, MatRef::new(&x, 2, 1)?);
/// gemv(1.0, a, x, 0.0, MatMut::new(&mut y, 2, 1)?, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(y, [12.0, 34.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub fn gemv<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    x: MatRef<'_, T>,
    beta: T,
    y: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    x.expect_shape("x of a matrix-vector product", (n, 1))?;
    y.expect_shape("y of a matrix-vector product", (m, 1))?;
    if m == 0 {
        return Ok(());
    }
    if a.rs() != 1 && a.cs() != 1 {
        return gemm_native(alpha, a, x, beta, y, plan, scratch);
    }
    multiply(alpha, a, x, beta, y, plan, scratch)
}

/// Returns the scratch that [`gemv`] needs for `a` of m×n.
pub fn gemv_scratch<T: Real>(m: usize, n: usize, plan: &Plan) -> ScratchReq {
    let copies = ScratchReq::of::<T>(n).and(ScratchReq::of::<T>(m));
    copies.or(gemm_native_scratch::<T>(m, 1, n, plan))
}

once! {
    /// [`gemv`] for operands whose shapes fit, of an A with contiguous rows or columns.
    fn multiply<T: Real> = multiply_body(
        alpha: T, a: MatRef<'a, T>, x: MatRef<'a, T>, beta: T, y: MatMut<'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn multiply_body<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    x: MatRef<'_, T>,
    beta: T,
    mut y: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (m, n) = a.shape();
    let contiguous = |rs: isize, len: usize| rs == 1 || len <= 1;
    let x_len = if contiguous(x.rs(), n) { 0 } else { ScratchReq::of::<T>(n).bytes() / size_of::<T>() };
    let y_len = if contiguous(y.rs(), m) { 0 } else { m };
    let (x_copy, y_copy) = scratch.slice::<T>(x_len.saturating_add(y_len))?.split_at_mut(x_len);
    let mut x = x;
    if x_len > 0 {
        let x_copy = zeroed(&mut x_copy[..n]);
        copy(plan.isa, x, MatMut::new(x_copy, n, 1)?);
        x = MatRef::new(x_copy, n, 1)?;
    }
    let x = x.t();
    let x = if n > 0 { x.row(0).expect("contiguous, or copied") } else { &[] };
    if y_len == 0 {
        let mut y = y.t();
        share_rows(alpha, a, x, beta, y.row_mut(0).expect("contiguous"), plan);
    } else {
        let y_copy = zeroed(y_copy);
        if beta != T::ZERO {
            copy(plan.isa, y.as_ref(), MatMut::new(y_copy, m, 1)?);
        }
        share_rows(alpha, a, x, beta, y_copy, plan);
        copy(plan.isa, MatRef::new(y_copy, m, 1)?, y.rb());
    }
    Ok(())
}

/// Shares the rows out among threads: whole cache lines of y.
fn share_rows<T: Real>(alpha: T, a: MatRef<'_, T>, x: &[T], beta: T, y: &mut [T], plan: &Plan) {
    let (m, n) = a.shape();
    let line = 64 / size_of::<T>();
    let lines = m.div_ceil(line);
    let parts = threads_for(plan, m.saturating_mul(n)).min(lines);
    let y = MatMut::new(y, 1, m).expect("m elements");
    plan.par.split(parts, &|i| {
        let (first, count) = part(lines, parts, i);
        let (at, rows) = (first * line, (count * line).min(m - first * line));
        // SAFETY: `part` gives each line of y to one part, and each part runs once.
        let mut y = unsafe { y.alias() }.cols(at, rows);
        let y = y.row_mut(0).expect("contiguous");
        let a = a.rows(at, rows);
        if a.cs() == 1 && rows > 1 {
            // Vectors of 256 bits transpose in fewer steps than those of 512.
            by_rows(plan.isa.at_most_256_bits(), alpha, a, x, beta, y);
        } else {
            by_columns(plan.isa, alpha, a, x, beta, y);
        }
    });
}

shells! { vectors
    /// The product of an A with contiguous columns, or with one row.
    fn by_columns = by_columns_body(alpha: T, a: MatRef<'a, T>, x: &'a [T], beta: T, y: &'a mut [T])
}

#[inline(always)]
fn by_columns_body<T: Scalar, V: Vector<T>>(alpha: T, a: MatRef<'_, T>, x: &[T], beta: T, y: &mut [T]) {
    /// Columns that pass over y together.
    const COLUMNS: usize = 4;
    assert!(a.shape() == (y.len(), x.len()) && (a.rs() == 1 || y.len() <= 1));
    for (at, rows) in near_equal(y.len(), ROWS_AT_ONCE) {
        let (a, y) = (a.rows(at, rows), &mut y[at..at + rows]);
        for v in y.iter_mut() {
            *v = if beta == T::ZERO { T::ZERO } else { beta * *v };
        }
        let whole = x.len() - x.len() % COLUMNS;
        // SAFETY: the shell around this body enables the instructions of V. The columns are inside
        // A, which has y's rows (asserted above).
        unsafe {
            for k in (0..whole).step_by(COLUMNS) {
                add_columns::<T, V, COLUMNS>(alpha, a.cols(k, COLUMNS), &x[k..k + COLUMNS], y);
            }
            for k in whole..x.len() {
                add_columns::<T, V, 1>(alpha, a.cols(k, 1), &x[k..k + 1], y);
            }
        }
    }
}

/// Continues the chains of y over COLUMNS columns.
///
/// # Safety
/// The CPU has the instructions of V. `a` has y's rows, contiguous in each column, and COLUMNS
/// columns; `x` has COLUMNS elements.
#[inline(always)]
unsafe fn add_columns<T: Scalar, V: Vector<T>, const COLUMNS: usize>(alpha: T, a: MatRef<'_, T>, x: &[T], y: &mut [T]) {
    let (first, cs, y_first) = (a.as_ptr(), a.cs(), y.as_mut_ptr());
    let whole = y.len() / V::LEN * V::LEN;
    let rest = y.len() - whole;
    // SAFETY: the caller's promises. Whole vectors end at or before the last row; the rest is
    // loaded and stored element by element.
    unsafe {
        let (scale, scaled) = (V::splat(alpha), alpha != T::ONE);
        let mut factors = [V::splat(T::ZERO); COLUMNS];
        for (factor, &x) in factors.iter_mut().zip(x) {
            *factor = V::splat(x);
        }
        let link = |a: V, x: V, y: V| if scaled { a.mul(scale).mul_add(x, y) } else { a.mul_add(x, y) };
        for i in (0..whole).step_by(V::LEN) {
            let mut sum = V::load(y_first.add(i));
            for (k, &x) in factors.iter().enumerate() {
                sum = link(V::load(first.offset(k as isize * cs).add(i)), x, sum);
            }
            sum.store(y_first.add(i));
        }
        if rest > 0 {
            let mut sum = V::load_first(y_first.add(whole), rest);
            for (k, &x) in factors.iter().enumerate() {
                sum = link(V::load_first(first.offset(k as isize * cs).add(whole), rest), x, sum);
            }
            sum.store_first(y_first.add(whole), rest);
        }
    }
}

shells! { vectors
    /// The product of an A with contiguous rows.
    fn by_rows = by_rows_body(alpha: T, a: MatRef<'a, T>, x: &'a [T], beta: T, y: &'a mut [T])
}

#[inline(always)]
fn by_rows_body<T: Scalar, V: Vector<T>>(alpha: T, a: MatRef<'_, T>, x: &[T], beta: T, y: &mut [T]) {
    /// Vectors of rows at a time: their chains hide each other's latency. More rows would compete
    /// for one set of L1 where rows are a multiple of 4 KiB apart.
    const GROUP: usize = 2;
    assert!(a.shape() == (y.len(), x.len()) && a.cs() == 1);
    let m = y.len();
    let (groups, vectors) = (m / (GROUP * V::LEN) * (GROUP * V::LEN), m / V::LEN * V::LEN);
    // SAFETY: the shell around this body enables the instructions of V. The rows are inside A,
    // which has y's rows and x's columns (asserted above).
    unsafe {
        for i in (0..groups).step_by(GROUP * V::LEN) {
            let (a, y) = (a.rows(i, GROUP * V::LEN), &mut y[i..]);
            match alpha == T::ONE {
                true => rows_of::<T, V, GROUP, false>(alpha, a, x, beta, y),
                false => rows_of::<T, V, GROUP, true>(alpha, a, x, beta, y),
            }
        }
        for i in (groups..vectors).step_by(V::LEN) {
            rows_of::<T, V, 1, true>(alpha, a.rows(i, V::LEN), x, beta, &mut y[i..]);
        }
    }
    if vectors < m {
        // Fewer than one vector of rows. Their chains run side by side.
        let (a, y) = (a.rows(vectors, m - vectors), &mut y[vectors..]);
        let mut sums = [T::ZERO; MOST_LANES];
        let sums = &mut sums[..y.len()];
        for (sum, &y) in sums.iter_mut().zip(y.iter()) {
            *sum = if beta == T::ZERO { T::ZERO } else { beta * y };
        }
        for (k, &x) in x.iter().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = (alpha * a.get(i, k)).mul_add(x, *sum);
            }
        }
        y.copy_from_slice(sums);
    }
}

/// Lanes of the widest vector.
const MOST_LANES: usize = 16;

/// Computes GROUP vectors of rows. Without SCALED, α is 1.
///
/// # Safety
/// The CPU has the instructions of V. `a` has GROUP vectors of contiguous rows and x's columns, and
/// `y` at least as many elements as `a` has rows.
#[inline(always)]
unsafe fn rows_of<T: Scalar, V: Vector<T>, const GROUP: usize, const SCALED: bool>(
    alpha: T,
    a: MatRef<'_, T>,
    x: &[T],
    beta: T,
    y: &mut [T],
) {
    let (first, rs, y) = (a.as_ptr(), a.rs(), y.as_mut_ptr());
    // SAFETY: the caller's promises: all loads are of A's rows and columns, and of y's elements.
    unsafe {
        let scale = V::splat(alpha);
        let mut sums = [V::splat(T::ZERO); GROUP];
        if beta != T::ZERO {
            for (g, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(y.add(g * V::LEN)).mul(V::splat(beta));
            }
        }
        let whole = x.len() / V::COLUMNS * V::COLUMNS;
        for k in (0..whole).step_by(V::COLUMNS) {
            let mut factors = [V::splat(T::ZERO); MOST_COLUMNS];
            for (c, factor) in factors.iter_mut().enumerate().take(V::COLUMNS) {
                *factor = V::splat(*x.as_ptr().add(k + c));
            }
            for (g, sum) in sums.iter_mut().enumerate() {
                let mut columns = [V::splat(T::ZERO); MOST_COLUMNS];
                V::load_columns(opaque(first.offset((g * V::LEN) as isize * rs).add(k)), rs, &mut columns);
                for (&column, &factor) in columns.iter().zip(&factors).take(V::COLUMNS) {
                    let column = if SCALED { column.mul(scale) } else { column };
                    *sum = column.mul_add(factor, *sum);
                }
            }
        }
        for k in whole..x.len() {
            for (g, sum) in sums.iter_mut().enumerate() {
                let column = V::load_column(first.offset((g * V::LEN) as isize * rs).add(k), rs);
                let column = if SCALED { column.mul(scale) } else { column };
                *sum = column.mul_add(V::splat(*x.as_ptr().add(k)), *sum);
            }
        }
        for (g, sum) in sums.iter().enumerate() {
            sum.store(y.add(g * V::LEN));
        }
    }
}
