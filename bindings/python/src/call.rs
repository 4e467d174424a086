//! The door of every computation: the interpreter's lock, threads, workspace, errors, panics.

use crate::error::kernel_error;
use crate::threads;
use gaitprop_kernels::{Error, Plan, Scratch};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` without the interpreter's lock.
///
/// # Errors
/// `RuntimeError` if it panics, which is an error of the library.
pub(crate) fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    // After a panic the results are dropped, and a workspace holds no values between calls.
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        PyRuntimeError::new_err(format!("error in gaitprop: {}", text.unwrap_or("a panic")))
    })
}

/// Runs `work` without the interpreter's lock, with a plan and this thread's workspace.
///
/// # Errors
/// `gaitprop.Error` if the number of threads is out of range. The exception for an error of `work`.
/// As [`detached`].
pub(crate) fn compute<R: Send>(
    py: Python<'_>,
    threads: Option<i64>,
    work: impl FnOnce(&Plan, &mut Scratch) -> Result<R, Error> + Send,
) -> PyResult<R> {
    let threads = threads::number(py, threads)?;
    let outcome = detached(py, || {
        let plan = threads::plan(threads);
        gaitprop_process::with_scratch(|scratch| work(&plan, scratch))
    });
    outcome?.map_err(|error| kernel_error(py, &error))
}
