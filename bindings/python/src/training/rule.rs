//! A learning rule that is a Python function.

use crate::array::{Number, matrix};
use crate::training::copied;
use gaitprop::activation;
use gaitprop::rule::{Context, LayerState, Rule};
use gaitprop_kernels::{MatMut, MatRef};
use numpy::{PyArray1, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// An exception that Python code raised during a step. The library reports an error of its own; the
/// caller raises this in its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    pub(crate) fn put(&self, e: PyErr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
    }

    pub(crate) fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Calls `function(layer, delta)` for e of the layer below. The function gets R of a decorrelation
/// and returns errors of y_{l−1}, before R, so that [`Rule::through_decorrelation`] is the default.
pub(crate) struct PythonRule {
    function: Py<PyAny>,
    raised: Raised,
}

impl PythonRule {
    pub(crate) fn new(function: Py<PyAny>, raised: Raised) -> Self {
        Self { function, raised }
    }
}

impl fmt::Debug for PythonRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PythonRule")
    }
}

impl<T: Number> Rule<T> for PythonRule {
    fn name(&self) -> &str {
        "python"
    }

    fn reads_whole_output(&self) -> bool {
        // Whatever the function looks at is there.
        true
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        _: &mut Context<'_, T>,
    ) -> gaitprop::Result<()> {
        Python::attach(|py| self.call(py, layer, delta, below)).map_err(|e| {
            self.raised.put(e);
            gaitprop::Error::Setting("the rule raised an exception".into())
        })
    }
}

impl PythonRule {
    fn call<T: Number>(
        &self,
        py: Python<'_>,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        mut below: MatMut<'_, T>,
    ) -> PyResult<()> {
        // Copies: the function may keep them, while the step's memory is used again.
        let state = PyDict::new(py);
        state.set_item("index", layer.index)?;
        state.set_item("above", layer.above)?;
        state.set_item("activation", activation::name(layer.activation))?;
        state.set_item("active", layer.active)?;
        state.set_item("w", copied(py, layer.w))?;
        state.set_item("decorrelation", layer.decorrelation.map(|r| copied(py, r)))?;
        state.set_item("b", PyArray1::from_slice(py, layer.b))?;
        state.set_item("input", copied(py, layer.input))?;
        state.set_item("y", copied(py, layer.y))?;
        state.set_item("slope", layer.slope.map(|slope| copied(py, slope)))?;
        state.set_item("e", copied(py, layer.e))?;
        state.set_item("output_delta", copied(py, layer.output_delta))?;
        state.set_item("target", copied(py, layer.target))?;
        let result = self.function.bind(py).call1((state, copied(py, delta)))?;
        let Ok(result) = result.extract::<PyReadonlyArray2<'_, T>>() else {
            let what = match result.cast::<PyUntypedArray>() {
                Ok(array) => format!("an array of {} with {} dimensions", array.dtype(), array.ndim()),
                Err(_) => format!("a {}", result.get_type().name()?),
            };
            let sentence = format!("the rule must return an array of {} with 2 dimensions, but returned {what}", dtype::<T>(py));
            return Err(PyTypeError::new_err(sentence));
        };
        let (rows, columns) = below.shape();
        if result.shape() != [rows, columns] {
            let sentence = format!("the rule returned {:?}, but the layer below needs ({rows}, {columns})", result.shape());
            return Err(crate::error::error(py, sentence));
        }
        let result = matrix(&result, "the array that the rule returned")?;
        for i in 0..rows {
            for j in 0..columns {
                below.set(i, j, result.get(i, j));
            }
        }
        Ok(())
    }
}
