//! LU and Cholesky factorizations and their solves.

use crate::context::{Call, enter, gaitprop_context};
use crate::status::{Failure, gaitprop_status};
use crate::types::{gaitprop_dmat, gaitprop_dmat_mut, gaitprop_smat, gaitprop_smat_mut};
use crate::view::Mat;
use core::mem::MaybeUninit;
use gaitprop_kernels::{Real, cholesky, lu, trsm};

/// Factors P*A = L*U in place, with partial pivoting.
///
/// a is n x n. L is written below the diagonal, without its diagonal of ones, U on and above it.
/// pivots has n elements: step k exchanged rows k and pivots[k].
///
/// After GAITPROP_SINGULAR or GAITPROP_NOT_FINITE, which set `index`, a holds a partial
/// factorization.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slu_factor(
    ctx: *mut gaitprop_context,
    a: gaitprop_smat_mut,
    pivots: *mut usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_factor::<f32>(ctx, a.into(), pivots) }
}

/// gaitprop_slu_factor() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlu_factor(
    ctx: *mut gaitprop_context,
    a: gaitprop_dmat_mut,
    pivots: *mut usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_factor::<f64>(ctx, a.into(), pivots) }
}

/// # Safety
/// As [`enter`], for n sizes at `pivots` that share no memory with `a`.
unsafe fn lu_factor<T: Real>(ctx: *mut gaitprop_context, a: Mat<T>, pivots: *mut usize) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (n, a) = (a.rows, call.write("A", a)?);
            Ok(lu::factor(a, call.write_other("pivots", pivots, n)?, call.plan, call.scratch)?)
        })
    }
}

/// Solves A*X = B for X, in place in b (n x columns), from the factors of A.
///
/// lu and pivots are those of gaitprop_slu_factor().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slu_solve_left(
    ctx: *mut gaitprop_context,
    lu: gaitprop_smat,
    pivots: *const usize,
    b: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_solve_left(ctx, lu.into(), pivots, b.into()) }
}

/// gaitprop_slu_solve_left() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlu_solve_left(
    ctx: *mut gaitprop_context,
    lu: gaitprop_dmat,
    pivots: *const usize,
    b: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_solve_left(ctx, lu.into(), pivots, b.into()) }
}

/// # Safety
/// As [`enter`], for n sizes at `pivots`.
unsafe fn lu_solve_left<T: Real>(ctx: *mut gaitprop_context, lu: Mat<T>, pivots: *const usize, b: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let pivots = call.read_other("pivots", pivots, lu.rows)?;
            reserve_solves::<T>(call, lu.rows, b.cols)?;
            let (lu, b) = (call.read("lu", lu)?, call.write("B", b)?);
            Ok(lu::solve_left(lu, pivots, b, call.plan, call.scratch)?)
        })
    }
}

/// Solves X*A = B for X, in place in b (batch x n), from the factors of A.
///
/// This passes a batch of row vectors through the inverse of a layer. lu and pivots are those of
/// gaitprop_slu_factor().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slu_solve_right(
    ctx: *mut gaitprop_context,
    lu: gaitprop_smat,
    pivots: *const usize,
    b: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_solve_right(ctx, lu.into(), pivots, b.into()) }
}

/// gaitprop_slu_solve_right() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlu_solve_right(
    ctx: *mut gaitprop_context,
    lu: gaitprop_dmat,
    pivots: *const usize,
    b: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_solve_right(ctx, lu.into(), pivots, b.into()) }
}

/// # Safety
/// As [`enter`], for n sizes at `pivots`.
unsafe fn lu_solve_right<T: Real>(ctx: *mut gaitprop_context, lu: Mat<T>, pivots: *const usize, b: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let pivots = call.read_other("pivots", pivots, lu.rows)?;
            reserve_solves::<T>(call, lu.rows, b.rows)?;
            let (lu, b) = (call.read("lu", lu)?, call.write("B", b)?);
            Ok(lu::solve_right(lu, pivots, b, call.plan, call.scratch)?)
        })
    }
}

/// Writes an estimate of the 1-norm of the inverse of A to *norm, from the factors of A.
///
/// It is a lower bound, seldom off by more than a factor of 3. Times the 1-norm of A it is a
/// condition number. lu and pivots are those of gaitprop_slu_factor().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slu_inverse_norm1(
    ctx: *mut gaitprop_context,
    lu: gaitprop_smat,
    pivots: *const usize,
    norm: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_inverse_norm1::<f32>(ctx, lu.into(), pivots, norm) }
}

/// gaitprop_slu_inverse_norm1() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlu_inverse_norm1(
    ctx: *mut gaitprop_context,
    lu: gaitprop_dmat,
    pivots: *const usize,
    norm: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { lu_inverse_norm1::<f64>(ctx, lu.into(), pivots, norm) }
}

/// # Safety
/// As [`enter`], for n sizes at `pivots` and a double at `norm`.
unsafe fn lu_inverse_norm1<T: Real>(
    ctx: *mut gaitprop_context,
    lu: Mat<T>,
    pivots: *const usize,
    norm: *mut f64,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            if norm.is_null() {
                return Err(Failure::Null("norm"));
            }
            let pivots = call.read_other("pivots", pivots, lu.rows)?;
            let lu = call.read("lu", lu)?;
            let work = zeroed(call.work.slice::<T>(pivots.len().saturating_mul(2))?);
            norm.write(lu::inverse_norm1(lu, pivots, work, call.plan, call.scratch)?);
            Ok(())
        })
    }
}

/// Reserves the workspace of both triangular solves, so that the second cannot fail after the first
/// has written.
fn reserve_solves<T: Real>(call: &mut Call<'_>, n: usize, rhs: usize) -> Result<(), Failure> {
    Ok(call.scratch.reserve(trsm::solve_scratch::<T>(n, rhs, call.plan))?)
}

/// Fills a workspace with zeros.
fn zeroed<T: Real>(memory: &mut [MaybeUninit<T>]) -> &mut [T] {
    memory.fill(MaybeUninit::new(T::ZERO));
    // SAFETY: every element has just been written, and `MaybeUninit<T>` has the layout of T.
    unsafe { &mut *(core::ptr::from_mut(memory) as *mut [T]) }
}

/// Factors A = L*L^T in place: reads the lower triangle of a (n x n) and writes L there.
///
/// After GAITPROP_NOT_POSITIVE or GAITPROP_NOT_FINITE, which set `index`, the lower triangle holds
/// a partial factorization. The elements above the diagonal are not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_scholesky_factor(ctx: *mut gaitprop_context, a: gaitprop_smat_mut) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { cholesky_factor::<f32>(ctx, a.into()) }
}

/// gaitprop_scholesky_factor() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dcholesky_factor(ctx: *mut gaitprop_context, a: gaitprop_dmat_mut) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { cholesky_factor::<f64>(ctx, a.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn cholesky_factor<T: Real>(ctx: *mut gaitprop_context, a: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe { enter(ctx, |call| Ok(cholesky::factor(call.write("A", a)?, call.plan, call.scratch)?)) }
}

/// Solves A*X = B for X, in place in b (n x columns), from the factor L of
/// gaitprop_scholesky_factor().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_scholesky_solve(
    ctx: *mut gaitprop_context,
    l: gaitprop_smat,
    b: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { cholesky_solve::<f32>(ctx, l.into(), b.into()) }
}

/// gaitprop_scholesky_solve() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dcholesky_solve(
    ctx: *mut gaitprop_context,
    l: gaitprop_dmat,
    b: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { cholesky_solve::<f64>(ctx, l.into(), b.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn cholesky_solve<T: Real>(ctx: *mut gaitprop_context, l: Mat<T>, b: Mat<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (l, b) = (call.read("L", l)?, call.write("B", b)?);
            Ok(cholesky::solve(l, b, call.plan, call.scratch)?)
        })
    }
}
