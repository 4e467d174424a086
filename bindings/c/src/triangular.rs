//! Products and solves with a triangular matrix.

use crate::context::{enter, gaitprop_context};
use crate::status::gaitprop_status;
use crate::types::{self, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_smat, gaitprop_smat_mut};
use crate::view::Mat;
use core::ffi::c_int;
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Real, Scratch, trmm, trsm};

/// Computes B = A*(alpha*B) (GAITPROP_LEFT) or B = (alpha*B)*A (GAITPROP_RIGHT), in place in b.
///
/// Only the triangle GAITPROP_LOWER or GAITPROP_UPPER of a (n x n) is read; with GAITPROP_UNIT its
/// diagonal is not read. To multiply by A^T, pass the transpose of a and the other triangle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_strmm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    diag: c_int,
    alpha: f32,
    a: gaitprop_smat,
    b: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { triangular(ctx, (side, triangle, diag), alpha, a.into(), b.into(), trmm::product) }
}

/// gaitprop_strmm() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dtrmm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    diag: c_int,
    alpha: f64,
    a: gaitprop_dmat,
    b: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { triangular(ctx, (side, triangle, diag), alpha, a.into(), b.into(), trmm::product) }
}

/// Solves A*X = alpha*B (GAITPROP_LEFT) or X*A = alpha*B (GAITPROP_RIGHT) for X, in place in b.
///
/// The triangle and the diagonal of a (n x n) are as in gaitprop_strmm(). After GAITPROP_SINGULAR
/// or GAITPROP_NOT_FINITE, which name an element of the diagonal, b is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_strsm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    diag: c_int,
    alpha: f32,
    a: gaitprop_smat,
    b: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { triangular(ctx, (side, triangle, diag), alpha, a.into(), b.into(), trsm::solve) }
}

/// gaitprop_strsm() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dtrsm(
    ctx: *mut gaitprop_context,
    side: c_int,
    triangle: c_int,
    diag: c_int,
    alpha: f64,
    a: gaitprop_dmat,
    b: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { triangular(ctx, (side, triangle, diag), alpha, a.into(), b.into(), trsm::solve) }
}

/// A kernel with a triangular A and a B that it overwrites.
type Kernel<T> = fn(Side, Triangle, Diag, T, MatRef<'_, T>, MatMut<'_, T>, &Plan, &mut Scratch) -> Result<(), Error>;

/// # Safety
/// As [`enter`].
unsafe fn triangular<T: Real>(
    ctx: *mut gaitprop_context,
    (side, triangle, diag): (c_int, c_int, c_int),
    alpha: T,
    a: Mat<T>,
    b: Mat<T>,
    kernel: Kernel<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (side, triangle, diag) = (types::side(side)?, types::triangle(triangle)?, types::diag(diag)?);
            let (a, b) = (call.read("A", a)?, call.write("B", b)?);
            Ok(kernel(side, triangle, diag, alpha, a, b, call.plan, call.scratch)?)
        })
    }
}
