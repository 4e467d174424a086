//! Options of SciPy's and BLAS's functions.

use crate::error::error;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Returns whether an option `trans` asks for the transpose: 0 or "N" for no, 1, 2, "T" or "C" for
/// yes.
///
/// # Errors
/// `gaitprop.Error` for another value, `TypeError` for another type.
pub(crate) fn transposed(option: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = option.py();
    let refused = |found: String| Err(error(py, format!("trans is {found}, but must be 0, 1, 2, 'N', 'T' or 'C'")));
    if let Ok(text) = option.extract::<String>() {
        return match text.as_str() {
            "N" => Ok(false),
            "T" | "C" => Ok(true),
            _ => refused(format!("{text:?}")),
        };
    }
    match option.extract::<i64>() {
        Ok(0) => Ok(false),
        Ok(1 | 2) => Ok(true),
        Ok(other) => refused(other.to_string()),
        Err(_) => Err(PyTypeError::new_err("trans must be 0, 1, 2, 'N', 'T' or 'C'")),
    }
}
