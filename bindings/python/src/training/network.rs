//! Networks, files of weights, and data sets.

use crate::array::{Number, matrix};
use crate::error;
use crate::threads;
use crate::training::{Either, copied, each, exception, labels, run};
use gaitprop::data::{self, Affine, LoadOptions, Samples, Scaling};
use gaitprop::loss::Loss;
use gaitprop::weights::{Notes, Saved};
use gaitprop::{Architecture, Exec, Layer, Matrix, activation, evaluate, weights};
use numpy::ndarray::{ArrayView1, ArrayView2};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::path::PathBuf;

/// A network, its loss and rule, and center and scale of its inputs.
type Loaded = (Network, String, String, Vec<f64>, Vec<f64>);

/// A network whose weights never change: a trainer copies what it is given, and gives copies.
#[pyclass(frozen, module = "gaitprop._native")]
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) net: Either<gaitprop::Network<f32>, gaitprop::Network<f64>>,
}

impl From<gaitprop::Network<f32>> for Network {
    fn from(net: gaitprop::Network<f32>) -> Self {
        Self { net: Either::F32(net) }
    }
}

impl From<gaitprop::Network<f64>> for Network {
    fn from(net: gaitprop::Network<f64>) -> Self {
        Self { net: Either::F64(net) }
    }
}

/// Calls a function with the library's result, or raises.
macro_rules! tried {
    ($py:expr, $result:expr) => {
        ($result).map_err(|e| exception($py, gaitprop::Error::from(e)))?
    };
}
pub(crate) use tried;

#[pymethods]
impl Network {
    /// Draws a new network.
    #[staticmethod]
    #[pyo3(signature = (inputs, layers, labels, activation, loss, init, seed, single))]
    #[allow(clippy::too_many_arguments)] // The Python part names them.
    fn random(
        py: Python<'_>,
        inputs: usize,
        layers: Vec<(usize, usize)>,
        labels: usize,
        activation: &str,
        loss: &str,
        init: &str,
        seed: u64,
        single: bool,
    ) -> PyResult<Self> {
        let activation = tried!(py, activation::parse(activation));
        let loss: Loss = tried!(py, loss.parse());
        let shape = Architecture { inputs, layers, labels, activation, output_activation: activation }.with_loss(loss);
        let init = tried!(py, init.parse());
        let plan = threads::plan(threads::number(py, None)?);
        run(py, || {
            Ok(match single {
                true => gaitprop::Network::<f32>::random(&shape, init, seed, &plan)?.into(),
                false => gaitprop::Network::<f64>::random(&shape, init, seed, &plan)?.into(),
            })
        })
    }

    /// Makes a network from arrays of its weights and biases, which are copied.
    #[staticmethod]
    fn from_f32(
        py: Python<'_>,
        inputs: usize,
        layers: Vec<(PyReadonlyArray2<'_, f32>, PyReadonlyArray1<'_, f32>, String)>,
        labels: usize,
        decorrelation: Vec<PyReadonlyArray2<'_, f32>>,
    ) -> PyResult<Self> {
        from_arrays(py, inputs, &layers, labels, &decorrelation).map(Into::into)
    }

    /// As `from_f32`.
    #[staticmethod]
    fn from_f64(
        py: Python<'_>,
        inputs: usize,
        layers: Vec<(PyReadonlyArray2<'_, f64>, PyReadonlyArray1<'_, f64>, String)>,
        labels: usize,
        decorrelation: Vec<PyReadonlyArray2<'_, f64>>,
    ) -> PyResult<Self> {
        from_arrays(py, inputs, &layers, labels, &decorrelation).map(Into::into)
    }

    #[getter]
    fn single(&self) -> bool {
        matches!(self.net, Either::F32(_))
    }
    #[getter]
    fn inputs(&self) -> usize {
        each!(&self.net, net => net.inputs())
    }
    #[getter]
    fn labels(&self) -> usize {
        each!(&self.net, net => net.labels())
    }
    #[getter]
    fn activations(&self) -> Vec<String> {
        each!(&self.net, net => net.layers().iter().map(|l| activation::name(l.activation)).collect())
    }

    /// Read-only views of the weights, each fan-in × width.
    #[getter]
    fn weights<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        each!(&slf.get().net, net => views(slf, net.layers(), |slf, l| {
            let shape = [l.fan_in(), l.width()];
            let view = ArrayView2::from_shape(shape, l.w.data()).expect("fan-in × width");
            // SAFETY: the network owns the memory, `slf` owns the network and is the array's base,
            // and a frozen network is never changed, so the memory neither moves nor changes.
            unsafe { PyArray2::borrow_from_array(&view, slf.clone().into_any()) }.readwrite().make_nonwriteable().to_owned_any()
        }))
    }

    /// Read-only views of the biases.
    #[getter]
    fn biases<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        each!(&slf.get().net, net => views(slf, net.layers(), |slf, l| {
            let view = ArrayView1::from(&l.b[..]);
            // SAFETY: as in `weights`.
            unsafe { PyArray1::borrow_from_array(&view, slf.clone().into_any()) }.readwrite().make_nonwriteable().to_owned_any()
        }))
    }

    /// Read-only views of the decorrelations, each fan-in × fan-in; none for a network without.
    #[getter]
    fn decorrelation<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        each!(&slf.get().net, net => {
            let views = (0..net.layers().len()).filter_map(|l| net.decorrelation(l)).map(|r| {
                let view = ArrayView2::from_shape([r.rows(), r.cols()], r.data()).expect("fan-in × fan-in");
                // SAFETY: as in `weights`.
                unsafe { PyArray2::borrow_from_array(&view, slf.clone().into_any()) }.readwrite().make_nonwriteable().to_owned_any()
            });
            PyList::new(slf.py(), views.collect::<Vec<_>>())
        })
    }

    /// Returns the activities of the label units, samples × labels.
    #[pyo3(signature = (x, threads))]
    fn outputs<'py>(&self, x: &Bound<'py, PyAny>, threads: Option<i64>) -> PyResult<Bound<'py, PyAny>> {
        let (py, mut exec) = (x.py(), Exec::new(threads::plan(threads::number(x.py(), threads)?)));
        match &self.net {
            Either::F32(net) => outputs(py, net, &x.extract::<PyReadonlyArray2<'_, f32>>()?, &mut exec),
            Either::F64(net) => outputs(py, net, &x.extract::<PyReadonlyArray2<'_, f64>>()?, &mut exec),
        }
    }

    /// Returns mean loss and accuracy on samples.
    #[pyo3(signature = (x, y, loss, threads))]
    fn evaluate(
        &self,
        x: &Bound<'_, PyAny>,
        y: PyReadonlyArray1<'_, u32>,
        loss: &str,
        threads: Option<i64>,
    ) -> PyResult<(f64, f64)> {
        let py = x.py();
        let loss = tried!(py, loss.parse());
        let (plan, labels) = (threads::plan(threads::number(py, threads)?), labels(&y)?);
        let score = each!(&self.net, net => {
            let x = x.extract()?;
            let x = matrix(&x, "x")?;
            run(py, || evaluate(net, data::SamplesRef { x, labels }, loss, &plan))?
        });
        Ok((score.mean_loss(), score.accuracy()))
    }

    /// Writes a file of weights, as the program does.
    fn save(&self, py: Python<'_>, path: PathBuf, loss: String, rule: String, center: Vec<f64>, scale: Vec<f64>) -> PyResult<()> {
        tried!(py, loss.parse::<Loss>());
        let notes = Notes { loss, rule, inputs: Affine { center, scale } };
        run(py, || each!(&self.net, net => weights::save(&path, net, &notes)))
    }

    /// Reads a file of weights. Returns the network, loss, rule, and the scaling of inputs.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Loaded> {
        let (saved, notes) = run(py, || weights::load(&path))?;
        let net = match saved {
            Saved::F32(net) => net.into(),
            Saved::F64(net) => net.into(),
            _ => return Err(error::error(py, "the file's element type is new to this package".into())),
        };
        Ok((net, notes.loss, notes.rule, notes.inputs.center, notes.inputs.scale))
    }
}

/// Returns a list of one array for each layer.
fn views<'py, T>(
    slf: &Bound<'py, Network>,
    layers: &[Layer<T>],
    view: impl Fn(&Bound<'py, Network>, &Layer<T>) -> Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(slf.py(), layers.iter().map(|l| view(slf, l)))
}

/// The array that a borrow is of.
trait ToOwnedAny<'py> {
    fn to_owned_any(self) -> Bound<'py, PyAny>;
}

impl<'py, T: numpy::Element, D: numpy::ndarray::Dimension> ToOwnedAny<'py> for numpy::PyReadonlyArray<'py, T, D> {
    fn to_owned_any(self) -> Bound<'py, PyAny> {
        self.as_any().clone()
    }
}

fn from_arrays<T: Number>(
    py: Python<'_>,
    inputs: usize,
    layers: &[(PyReadonlyArray2<'_, T>, PyReadonlyArray1<'_, T>, String)],
    labels: usize,
    decorrelation: &[PyReadonlyArray2<'_, T>],
) -> PyResult<gaitprop::Network<T>> {
    let owned = |a, what| {
        let view = matrix(a, what)?;
        let (rows, cols) = view.shape();
        Ok(tried!(py, Matrix::from_vec(rows, cols, view.to_vec())))
    };
    let layers = layers.iter().map(|(w, b, name)| {
        let activation = tried!(py, activation::parse(name));
        Ok(Layer { w: owned(w, "weights")?, b: b.as_array().to_vec(), activation })
    });
    let mut net = tried!(py, gaitprop::Network::new(inputs, layers.collect::<PyResult<_>>()?, labels));
    let decorrelation = decorrelation.iter().map(|r| owned(r, "decorrelation")).collect::<PyResult<_>>()?;
    tried!(py, net.set_decorrelation(decorrelation));
    Ok(net)
}

fn outputs<'py, T: Number>(
    py: Python<'py>,
    net: &gaitprop::Network<T>,
    x: &PyReadonlyArray2<'py, T>,
    exec: &mut Exec,
) -> PyResult<Bound<'py, PyAny>> {
    let x = matrix(x, "x")?;
    let y = run(py, || net.outputs_of(x, exec))?;
    Ok(copied(py, y.view()).into_any())
}

/// Load a data set as the program does.
///
/// Returns
/// -------
/// dict
///     ``"train"`` and ``"test"``: samples and labels; ``"classes"``; ``"center"`` and ``"scale"`` of
///     the inputs.
#[pyfunction]
#[pyo3(signature = (name, scaling, single, limit_train, limit_test))]
pub(crate) fn load_data<'py>(
    py: Python<'py>,
    name: &str,
    scaling: &str,
    single: bool,
    limit_train: Option<usize>,
    limit_test: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let scaling: Scaling = tried!(py, scaling.parse());
    let options = LoadOptions { limit_train, limit_test, ..LoadOptions::default() };
    let set = run(py, || data::load(name, &options))?;
    let affine = set.affine(scaling);
    let out = PyDict::new(py);
    out.set_item("classes", set.classes)?;
    if single {
        let parts = run(py, || set.prepare::<f32>(scaling))?;
        out.set_item("train", arrays(py, parts.train)?)?;
        out.set_item("test", arrays(py, parts.test)?)?;
    } else {
        let parts = run(py, || set.prepare::<f64>(scaling))?;
        out.set_item("train", arrays(py, parts.train)?)?;
        out.set_item("test", arrays(py, parts.test)?)?;
    }
    out.set_item("center", PyArray1::from_vec(py, affine.center))?;
    out.set_item("scale", PyArray1::from_vec(py, affine.scale))?;
    Ok(out)
}

/// Returns samples as arrays.
#[allow(clippy::type_complexity)]
fn arrays<T: Number>(py: Python<'_>, samples: Samples<T>) -> PyResult<(Bound<'_, PyArray2<T>>, Bound<'_, PyArray1<u32>>)> {
    let x = PyArray1::from_vec(py, samples.x).reshape([samples.len, samples.features])?;
    Ok((x, PyArray1::from_vec(py, samples.labels)))
}
