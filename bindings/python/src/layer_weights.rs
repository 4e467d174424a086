//! Weights of `gaitprop.torch` in the library's own files.

use crate::error::{error, kernel_error};
use gaitprop::data::Affine;
use gaitprop::kernels::Real;
use gaitprop::weights::{self, Notes, Saved};
use gaitprop::{Error, Layer, Matrix, Network, activation};
use numpy::{Element, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError};
use pyo3::prelude::*;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Weights, biases and name of the activation of a layer.
type LayerIn<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, String);
/// The same, read from a file.
type LayerOut = (Py<PyAny>, Py<PyAny>, String);
/// Inputs, labels, layers, loss, rule, center and scale of the inputs.
type File = (usize, usize, Vec<LayerOut>, String, String, Vec<f64>, Vec<f64>);

fn file_error(py: Python<'_>, e: &Error) -> PyErr {
    match e {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => PyFileNotFoundError::new_err(e.to_string()),
        Error::Io { .. } => PyOSError::new_err(e.to_string()),
        Error::Kernel(e) => kernel_error(py, e),
        _ => error(py, e.to_string()),
    }
}

/// Write a network to a file of weights, as the program does.
///
/// `layers` holds the weights, the biases and the activation's name of each layer.
#[pyfunction]
#[pyo3(signature = (path, inputs, labels, layers, loss, rule, center, scale))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_save(
    py: Python<'_>,
    path: PathBuf,
    inputs: usize,
    labels: usize,
    layers: Vec<LayerIn<'_>>,
    loss: String,
    rule: String,
    center: Vec<f64>,
    scale: Vec<f64>,
) -> PyResult<()> {
    let notes = Notes { loss, rule, inputs: Affine { center, scale } };
    if layers.first().is_some_and(|(w, ..)| w.cast::<PyArray2<f32>>().is_ok()) {
        save::<f32>(py, &path, inputs, labels, &layers, &notes)
    } else {
        save::<f64>(py, &path, inputs, labels, &layers, &notes)
    }
}

fn save<T: Element + Real>(
    py: Python<'_>,
    path: &Path,
    inputs: usize,
    labels: usize,
    layers: &[LayerIn<'_>],
    notes: &Notes,
) -> PyResult<()> {
    let made = layers.iter().map(|(w, b, name)| {
        let w: PyReadonlyArray2<'_, T> = w.cast::<PyArray2<T>>()?.try_readonly()?;
        let b = b.cast::<PyArray1<T>>()?.try_readonly()?;
        let w = Matrix::from_vec(w.shape()[0], w.shape()[1], w.as_slice()?.to_vec());
        Ok(Layer {
            w: w.map_err(|e| file_error(py, &e))?,
            b: b.as_slice()?.to_vec(),
            activation: activation::parse(name).map_err(|e| file_error(py, &e))?,
        })
    });
    let made = made.collect::<PyResult<Vec<_>>>()?;
    let saved = py.detach(|| weights::save(path, &Network::new(inputs, made, labels)?, notes));
    saved.map_err(|e| file_error(py, &e))
}

/// Read a file of weights. Return inputs, labels, layers, loss, rule, center and scale.
#[pyfunction]
#[pyo3(signature = (path))]
pub(crate) fn layer_load(py: Python<'_>, path: PathBuf) -> PyResult<File> {
    let (saved, notes) = py.detach(|| weights::load(&path)).map_err(|e| file_error(py, &e))?;
    let (inputs, labels, layers) = match &saved {
        Saved::F32(net) => (net.inputs(), net.labels(), arrays(py, net)?),
        Saved::F64(net) => (net.inputs(), net.labels(), arrays(py, net)?),
        _ => return Err(error(py, "the file has weights of an unknown type".into())),
    };
    Ok((inputs, labels, layers, notes.loss, notes.rule, notes.inputs.center, notes.inputs.scale))
}

fn arrays<T: Element + Real>(py: Python<'_>, net: &Network<T>) -> PyResult<Vec<LayerOut>> {
    let layer = |l: &Layer<T>| {
        let w = PyArray1::from_slice(py, l.w.data()).reshape([l.fan_in(), l.width()])?;
        let b = PyArray1::from_slice(py, &l.b);
        Ok((w.into_any().unbind(), b.into_any().unbind(), activation::name(l.activation)))
    };
    net.layers().iter().map(layer).collect()
}
