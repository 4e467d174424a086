//! From errors of Rust to exceptions of Python.

use gaitprop_kernels::Error;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The module that defines the exceptions.
const MODULE: &str = "gaitprop._errors";

/// Returns `gaitprop.Error` with this sentence.
#[cold]
pub(crate) fn error(py: Python<'_>, sentence: String) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    of_class(py, &CLASS, "Error", sentence)
}

/// Returns `gaitprop.SingularMatrixError` with this sentence.
#[cold]
pub(crate) fn singular(py: Python<'_>, sentence: String) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    of_class(py, &CLASS, "SingularMatrixError", sentence)
}

/// Returns `gaitprop.DivergedError` with this sentence.
#[cold]
pub(crate) fn diverged(py: Python<'_>, sentence: String) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    of_class(py, &CLASS, "DivergedError", sentence)
}

/// Returns the exception for an error of the kernels.
#[cold]
pub(crate) fn kernel_error(py: Python<'_>, error: &Error) -> PyErr {
    static NOT_POSITIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let sentence = error.to_string();
    let mut cause = error;
    while let Error::Batch { error, .. } = cause {
        cause = error;
    }
    match cause {
        Error::ZeroPivot { .. } => singular(py, sentence),
        Error::NotPositiveDefinite { .. } => of_class(py, &NOT_POSITIVE, "NotPositiveDefiniteError", sentence),
        Error::OutOfMemory { .. } => PyMemoryError::new_err(sentence),
        Error::Threads { .. } => PyRuntimeError::new_err(sentence),
        _ => self::error(py, sentence),
    }
}

/// Returns an exception of the class `name` of [`MODULE`].
fn of_class(py: Python<'_>, class: &'static PyOnceLock<Py<PyType>>, name: &str, sentence: String) -> PyErr {
    match class.import(py, MODULE, name) {
        Ok(class) => PyErr::from_type(class.clone(), sentence),
        // The package is broken, or the interpreter is ending.
        Err(missing) => missing,
    }
}
