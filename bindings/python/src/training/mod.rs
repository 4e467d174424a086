//! Networks and their training: the library's types behind classes that hold either precision.
//!
//! * `config`: settings by name
//! * `network`: weights, predictions, files of weights, data sets
//! * `trainer`: epochs, interrupts, checkpoints
//! * `rule`: a learning rule that is a Python function
//! * `batch`: updates of one batch, and their distance from backpropagation's

pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod network;
mod rule;
pub(crate) mod trainer;

use crate::array::Number;
use crate::call::detached;
use crate::error;
use gaitprop::Error;
use gaitprop_kernels::MatRef;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyFileNotFoundError, PyMemoryError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use std::io::ErrorKind;

/// A value of either precision.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    F32(A),
    F64(B),
}

/// Evaluates an expression for the value of either precision.
macro_rules! each {
    ($value:expr, $name:ident => $body:expr) => {
        match $value {
            $crate::training::Either::F32($name) => $body,
            $crate::training::Either::F64($name) => $body,
        }
    };
}
pub(crate) use each;

/// Returns the exception for an error of the library.
#[cold]
pub(crate) fn exception(py: Python<'_>, e: Error) -> PyErr {
    let sentence = e.to_string();
    match &e {
        Error::Kernel(kernel) => error::kernel_error(py, kernel),
        Error::Singular { .. } | Error::RankDeficient { .. } | Error::NotOrthogonal { .. } | Error::TooFar { .. } => {
            error::singular(py, sentence)
        }
        Error::Diverged { .. } => error::diverged(py, sentence),
        Error::Memory { .. } => PyMemoryError::new_err(sentence),
        Error::Threads { .. } => PyRuntimeError::new_err(sentence),
        // With the number Python chooses the class, such as FileNotFoundError.
        Error::Io { source, .. } => match (source.raw_os_error(), source.kind()) {
            (Some(number), _) => PyOSError::new_err((number, sentence)),
            (None, ErrorKind::NotFound) => PyFileNotFoundError::new_err(sentence),
            _ => PyOSError::new_err(sentence),
        },
        _ => error::error(py, sentence),
    }
}

/// Runs `work` without the interpreter's lock.
///
/// # Errors
/// The exception for an error of `work`. As [`detached`].
pub(crate) fn run<R: Send>(py: Python<'_>, work: impl FnOnce() -> Result<R, Error> + Send) -> PyResult<R> {
    detached(py, work)?.map_err(|e| exception(py, e))
}

/// Returns labels as a slice. The Python part passes contiguous arrays.
pub(crate) fn labels<'a>(array: &'a PyReadonlyArray1<'_, u32>) -> PyResult<&'a [u32]> {
    array.as_slice().map_err(|e| error::error(array.py(), format!("labels: {e}")))
}

/// Returns a new array with a copy of a matrix.
pub(crate) fn copied<'py, T: Number>(py: Python<'py>, matrix: MatRef<'_, T>) -> Bound<'py, PyArray2<T>> {
    let (rows, columns) = matrix.shape();
    let values = PyArray1::from_vec(py, matrix.to_vec());
    values.reshape([rows, columns]).expect("rows × columns values")
}
