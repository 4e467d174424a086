//! Products of matrices and vectors.

use crate::context::{enter, gaitprop_context};
use crate::status::{Failure, gaitprop_status};
use crate::types::{
    self, gaitprop_dbatch, gaitprop_dbatch_mut, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_sbatch, gaitprop_sbatch_mut,
    gaitprop_smat, gaitprop_smat_mut,
};
use crate::view::{Batch, Mat};
use core::ffi::c_int;
use gaitprop_kernels::syrk::Diagonal;
use gaitprop_kernels::trsm::Triangle;
use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Real, Scratch, gemm_batched, gemmt, gemv, ger, reduce, symm, syr2k, syrk};

/// Computes C = alpha*A*B + beta*C.
///
/// Element (i, j) is one chain of fused multiply-adds in increasing k: it starts at beta*C[i,j],
/// and adds (alpha*A[i,k])*B[k,j]. With beta = 0, C is not read.
///
/// a is m x k, b is k x n, c is m x n.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sgemm(
    ctx: *mut gaitprop_context,
    alpha: f32,
    a: gaitprop_smat,
    b: gaitprop_smat,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemm(ctx, alpha, a.into(), b.into(), beta, c.into()) }
}

/// gaitprop_sgemm() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dgemm(
    ctx: *mut gaitprop_context,
    alpha: f64,
    a: gaitprop_dmat,
    b: gaitprop_dmat,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemm(ctx, alpha, a.into(), b.into(), beta, c.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn gemm<T: Real>(ctx: *mut gaitprop_context, alpha: T, a: Mat<T>, b: Mat<T>, beta: T, c: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (a, b, c) = (call.read("A", a)?, call.read("B", b)?, call.write("C", c)?);
            Ok(gaitprop_kernels::gemm(alpha, a, b, beta, c, call.plan, call.scratch)?)
        })
    }
}

/// Computes C_p = alpha*A_p*B_p + beta*C_p for every matrix p of a batch.
///
/// All three batches have the same count. An error that concerns one matrix sets `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sgemm_batched(
    ctx: *mut gaitprop_context,
    alpha: f32,
    a: gaitprop_sbatch,
    b: gaitprop_sbatch,
    beta: f32,
    c: gaitprop_sbatch_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { batched(ctx, alpha, a.into(), b.into(), beta, c.into()) }
}

/// gaitprop_sgemm_batched() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dgemm_batched(
    ctx: *mut gaitprop_context,
    alpha: f64,
    a: gaitprop_dbatch,
    b: gaitprop_dbatch,
    beta: f64,
    c: gaitprop_dbatch_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { batched(ctx, alpha, a.into(), b.into(), beta, c.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn batched<T: Real>(
    ctx: *mut gaitprop_context,
    alpha: T,
    a: Batch<T>,
    b: Batch<T>,
    beta: T,
    c: Batch<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (a, b, c) = (call.read_batch("A", a)?, call.read_batch("B", b)?, call.write_batch("C", c)?);
            Ok(gemm_batched(alpha, a, b, beta, c, call.plan, call.scratch)?)
        })
    }
}

/// Computes one triangle of C = alpha*A*B + beta*C, and touches no other element.
///
/// triangle is GAITPROP_LOWER or GAITPROP_UPPER. a is n x k, b is k x n, c is n x n. alpha
/// multiplies the elements of A for the lower triangle, those of B for the upper one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sgemmt(
    ctx: *mut gaitprop_context,
    triangle: c_int,
    alpha: f32,
    a: gaitprop_smat,
    b: gaitprop_smat,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { one_triangle(ctx, triangle, alpha, a.into(), b.into(), beta, c.into(), gemmt::gemmt) }
}

/// gaitprop_sgemmt() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dgemmt(
    ctx: *mut gaitprop_context,
    triangle: c_int,
    alpha: f64,
    a: gaitprop_dmat,
    b: gaitprop_dmat,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { one_triangle(ctx, triangle, alpha, a.into(), b.into(), beta, c.into(), gemmt::gemmt) }
}

/// A product of A and B of which one triangle is wanted.
type OneTriangle<T> = fn(Triangle, T, MatRef<'_, T>, MatRef<'_, T>, T, MatMut<'_, T>, &Plan, &mut Scratch) -> Result<(), Error>;

/// # Safety
/// As [`enter`].
#[allow(clippy::too_many_arguments)]
unsafe fn one_triangle<T: Real>(
    ctx: *mut gaitprop_context,
    triangle: c_int,
    alpha: T,
    a: Mat<T>,
    b: Mat<T>,
    beta: T,
    c: Mat<T>,
    kernel: OneTriangle<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let triangle = types::triangle(triangle)?;
            let (a, b, c) = (call.read("A", a)?, call.read("B", b)?, call.write("C", c)?);
            Ok(kernel(triangle, alpha, a, b, beta, c, call.plan, call.scratch)?)
        })
    }
}

/// Computes C = alpha*S*B + beta*C (GAITPROP_LEFT) or C = alpha*B*S + beta*C (GAITPROP_RIGHT).
///
/// S is symmetric, n x n. Only the triangle GAITPROP_LOWER or GAITPROP_UPPER of it is read. The
/// bits are those of gaitprop_sgemm() with the whole S.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_ssymm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    alpha: f32,
    s: gaitprop_smat,
    b: gaitprop_smat,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { symm(ctx, (side, triangle), alpha, s.into(), b.into(), beta, c.into()) }
}

/// gaitprop_ssymm() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dsymm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    alpha: f64,
    s: gaitprop_dmat,
    b: gaitprop_dmat,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { symm(ctx, (side, triangle), alpha, s.into(), b.into(), beta, c.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn symm<T: Real>(
    ctx: *mut gaitprop_context,
    (side, triangle): (c_int, c_int),
    alpha: T,
    s: Mat<T>,
    b: Mat<T>,
    beta: T,
    c: Mat<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (side, triangle) = (types::side(side)?, types::triangle(triangle)?);
            let (s, b, c) = (call.read("S", s)?, call.read("B", b)?, call.write("C", c)?);
            Ok(symm::symm(side, triangle, alpha, s, b, beta, c, call.plan, call.scratch)?)
        })
    }
}

/// Computes a triangle of C = alpha*A*A^T + beta*C, or both triangles.
///
/// part is a gaitprop_triangle. drop_diagonal other than 0 stores 0 on the diagonal. a is n x k, c
/// is n x n. With GAITPROP_BOTH the elements above the diagonal are not read, only written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_ssyrk(
    ctx: *mut gaitprop_context,
    part: c_int,
    drop_diagonal: c_int,
    alpha: f32,
    a: gaitprop_smat,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { syrk(ctx, (part, drop_diagonal), alpha, a.into(), beta, c.into()) }
}

/// gaitprop_ssyrk() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dsyrk(
    ctx: *mut gaitprop_context,
    part: c_int,
    drop_diagonal: c_int,
    alpha: f64,
    a: gaitprop_dmat,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { syrk(ctx, (part, drop_diagonal), alpha, a.into(), beta, c.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn syrk<T: Real>(
    ctx: *mut gaitprop_context,
    (part, drop_diagonal): (c_int, c_int),
    alpha: T,
    a: Mat<T>,
    beta: T,
    c: Mat<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let part = types::part(part)?;
            let diagonal = if drop_diagonal == 0 { Diagonal::Kept } else { Diagonal::Dropped };
            let (a, c) = (call.read("A", a)?, call.write("C", c)?);
            Ok(syrk::syrk(alpha, a, beta, part, diagonal, c, call.plan, call.scratch)?)
        })
    }
}

/// Computes one triangle of C = alpha*(A*B^T + B*A^T) + beta*C, and touches no other element.
///
/// a and b are n x k, c is n x n. Each chain runs over A*B^T first, then over B*A^T.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_ssyr2k(
    ctx: *mut gaitprop_context,
    triangle: c_int,
    alpha: f32,
    a: gaitprop_smat,
    b: gaitprop_smat,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { one_triangle(ctx, triangle, alpha, a.into(), b.into(), beta, c.into(), syr2k::syr2k) }
}

/// gaitprop_ssyr2k() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dsyr2k(
    ctx: *mut gaitprop_context,
    triangle: c_int,
    alpha: f64,
    a: gaitprop_dmat,
    b: gaitprop_dmat,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { one_triangle(ctx, triangle, alpha, a.into(), b.into(), beta, c.into(), syr2k::syr2k) }
}

/// Computes y = alpha*A*x + beta*y, with the bits of gaitprop_sgemm() for one column.
///
/// a is m x n, x is n x 1, y is m x 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sgemv(
    ctx: *mut gaitprop_context,
    alpha: f32,
    a: gaitprop_smat,
    x: gaitprop_smat,
    beta: f32,
    y: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemv(ctx, alpha, a.into(), x.into(), beta, y.into()) }
}

/// gaitprop_sgemv() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dgemv(
    ctx: *mut gaitprop_context,
    alpha: f64,
    a: gaitprop_dmat,
    x: gaitprop_dmat,
    beta: f64,
    y: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemv(ctx, alpha, a.into(), x.into(), beta, y.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn gemv<T: Real>(ctx: *mut gaitprop_context, alpha: T, a: Mat<T>, x: Mat<T>, beta: T, y: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (a, x, y) = (call.read("A", a)?, call.read("x", x)?, call.write("y", y)?);
            Ok(gemv::gemv(alpha, a, x, beta, y, call.plan, call.scratch)?)
        })
    }
}

/// Computes A = alpha*x*y^T + A: A[i,j] = fma(alpha*x[i], y[j], A[i,j]).
///
/// x is m x 1, y is n x 1, a is m x n.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sger(
    ctx: *mut gaitprop_context,
    alpha: f32,
    x: gaitprop_smat,
    y: gaitprop_smat,
    a: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { ger(ctx, alpha, x.into(), y.into(), a.into()) }
}

/// gaitprop_sger() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dger(
    ctx: *mut gaitprop_context,
    alpha: f64,
    x: gaitprop_dmat,
    y: gaitprop_dmat,
    a: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { ger(ctx, alpha, x.into(), y.into(), a.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn ger<T: Real>(ctx: *mut gaitprop_context, alpha: T, x: Mat<T>, y: Mat<T>, a: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (x, y, a) = (call.read("x", x)?, call.read("y", y)?, call.write("A", a)?);
            Ok(ger::ger(alpha, x, y, a, call.plan, call.scratch)?)
        })
    }
}

/// Writes the sum of x[i]*y[i] to *out, added up in double in a fixed order.
///
/// x and y are n x 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sdot(
    ctx: *mut gaitprop_context,
    x: gaitprop_smat,
    y: gaitprop_smat,
    out: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { dot::<f32>(ctx, x.into(), y.into(), out) }
}

/// gaitprop_sdot() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_ddot(
    ctx: *mut gaitprop_context,
    x: gaitprop_dmat,
    y: gaitprop_dmat,
    out: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { dot::<f64>(ctx, x.into(), y.into(), out) }
}

/// # Safety
/// As [`enter`], for a double at `out`.
unsafe fn dot<T: Real>(ctx: *mut gaitprop_context, x: Mat<T>, y: Mat<T>, out: *mut f64) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            if out.is_null() {
                return Err(Failure::Null("out"));
            }
            let (x, y) = (call.read("x", x)?, call.read("y", y)?);
            out.write(reduce::dot(x, y, call.plan)?);
            Ok(())
        })
    }
}

/// Writes the mean of each column of x (batch x n) to means (n elements).
///
/// The sums are doubles, added up in a fixed binary tree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_scolumn_means(
    ctx: *mut gaitprop_context,
    x: gaitprop_smat,
    means: *mut f32,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { column_means(ctx, x.into(), means) }
}

/// gaitprop_scolumn_means() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dcolumn_means(
    ctx: *mut gaitprop_context,
    x: gaitprop_dmat,
    means: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { column_means(ctx, x.into(), means) }
}

/// # Safety
/// As [`enter`].
unsafe fn column_means<T: Real>(ctx: *mut gaitprop_context, x: Mat<T>, means: *mut T) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (x, means) = (call.read("x", x)?, call.write_slice("means", means, x.cols)?);
            Ok(reduce::column_means(x, means, call.plan.isa)?)
        })
    }
}
