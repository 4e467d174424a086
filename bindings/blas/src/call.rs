//! A call on its way: from a name of BLAS or CBLAS to the driver of its routine.

use crate::arguments::Illegal;
use crate::verbose::{self, Routine, counted};
use crate::xerbla::{self, Name, Scheme};
use gaitprop_kernels::{Error, Plan, Real, Scratch};
use std::ffi::c_int;

/// A call whose flags are legal, column-major.
pub(crate) trait Call: Sized {
    /// The precision of its operands.
    type Element: Real;

    /// Returns the routine, for the report.
    fn routine(&self) -> Routine;

    /// Returns the column-major call with the same effect as this one has on row-major operands.
    fn exchanged(self) -> Self;

    /// Checks sizes, leading dimensions and increments in the order of BLAS.
    ///
    /// # Errors
    /// The position of the first illegal one in the Fortran call.
    fn check(&self) -> Result<(), Illegal>;

    /// Does what the call asks for.
    ///
    /// # Safety
    /// [`Call::check`] has passed. The operands are as BLAS requires: inputs are initialized,
    /// results may be written and overlap nothing, and no other thread writes any of them.
    unsafe fn run(self);
}

/// Runs a Fortran call of `name`, whose flags `read` checks.
///
/// # Safety
/// The operands are as [`Call::run`] requires.
#[inline]
pub(crate) unsafe fn fortran<C: Call>(scheme: &Scheme, name: &'static Name, read: impl FnOnce() -> Result<C, Illegal>) {
    match read().and_then(|call| call.check().map(|()| call)) {
        // SAFETY: checked by `check` above; the rest is the caller's promise.
        Ok(call) => unsafe { run(call) },
        Err(illegal) => xerbla::fortran(scheme, name, illegal),
    }
}

/// Runs a CBLAS call of `name`: `order`, then the arguments of the Fortran call.
///
/// # Safety
/// The operands are as [`Call::run`] requires.
#[inline]
pub(crate) unsafe fn cblas<C: Call>(
    scheme: &Scheme,
    name: &'static Name,
    order: c_int,
    read: impl FnOnce() -> Result<C, Illegal>,
) {
    let row_major = order == 101;
    let call = match order {
        101 => read().map(Call::exchanged),
        102 => read(),
        _ => Err(Illegal(0)),
    };
    match call.and_then(|call| call.check().map(|()| call)) {
        // SAFETY: checked by `check` above; the rest is the caller's promise.
        Ok(call) => unsafe { run(call) },
        Err(Illegal(position)) => xerbla::cblas(scheme, name, row_major, Illegal(position + 1)),
    }
}

/// Ends the process if a panic, which is a fault of this library, unwinds from a call. It would
/// otherwise reach frames of the program.
struct NoPanic;

impl Drop for NoPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// # Safety
/// As [`Call::run`].
#[inline]
unsafe fn run<C: Call>(call: C) {
    let guard = NoPanic;
    // SAFETY: the caller's promise.
    counted::<C::Element, _>(call.routine(), || unsafe { call.run() });
    std::mem::forget(guard);
}

/// Calls `kernel` with the plan and this thread's workspace, and returns whether it has done its
/// work.
///
/// Otherwise it has written nothing: the workspace could not grow, or a diagonal is one that
/// kernels refuse. The caller then computes the same bits by loops that need neither.
#[inline]
pub(crate) fn done(kernel: impl FnOnce(&Plan, &mut Scratch) -> Result<(), Error>) -> bool {
    let done = crate::threads::with_scratch(kernel).is_ok();
    if !done {
        verbose::refused();
    }
    done
}
