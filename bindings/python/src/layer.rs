//! Layers of `gaitprop.torch`: what a layer computes and what a rule sends down, from arrays to
//! arrays.
//!
//! Every function takes float32 or float64 arrays of one type, of any strides. Gradients have the
//! sign of torch: they are −δ and −ΔW. Outputs are the caller's arrays; they are unspecified after
//! an error.

use crate::array::{Number, matrix};
use crate::call::detached;
use crate::error::{error, kernel_error, singular};
use crate::threads;
use gaitprop::kernels::epilogue::{AdamStep, adam};
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting, activation_grad, perturb};
use gaitprop::kernels::syrk::{Diagonal, Part, syrk};
use gaitprop::kernels::{Activation, Epilogue, Error as KernelError, MatMut, MatRef, Start, reduce};
use gaitprop::solve::{Lu, Solver, SolverKind, Tuning, Weights};
use gaitprop::{Error, Exec, Matrix};
use numpy::{
    Element, PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyReadwriteArray2, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use std::sync::Mutex;

/// An array of any type.
type Array<'py> = Bound<'py, PyUntypedArray>;

/// Calls a function for the element type of its first array.
macro_rules! by_type {
    ($py:expr, $first:expr, $function:ident($($argument:expr),*)) => {
        if $first.dtype().is_equiv_to(&dtype::<f32>($py)) {
            $function::<f32>($py, $($argument),*)
        } else if $first.dtype().is_equiv_to(&dtype::<f64>($py)) {
            $function::<f64>($py, $($argument),*)
        } else {
            Err(PyTypeError::new_err(format!("arrays must be float32 or float64, but the first is {}", $first.dtype())))
        }
    };
}

/// An array to be read.
struct In<'py, T: Element>(PyReadonlyArray2<'py, T>);

impl<'py, T: Number> In<'py, T> {
    fn new(array: &Array<'py>) -> PyResult<Self> {
        Ok(Self(array.cast::<PyArray2<T>>()?.try_readonly()?))
    }

    fn view(&self) -> PyResult<MatRef<'_, T>> {
        matrix(&self.0, "an array")
    }
}

/// An array to be written.
struct Out<'py, T: Element>(PyReadwriteArray2<'py, T>);

impl<'py, T: Number> Out<'py, T> {
    fn new(array: &Array<'py>) -> PyResult<Self> {
        let array = array.cast::<PyArray2<T>>()?;
        if !array.is_c_contiguous() {
            return Err(error(array.py(), "an output is not contiguous".into()));
        }
        if !array.data().is_aligned() {
            return Err(error(array.py(), "an output is not aligned to its elements".into()));
        }
        Ok(Self(array.try_readwrite()?))
    }

    fn view(&mut self) -> PyResult<MatMut<'_, T>> {
        let (rows, cols) = (self.0.shape()[0], self.0.shape()[1]);
        let py = self.0.py();
        MatMut::new(self.0.as_slice_mut()?, rows, cols).map_err(|e| kernel_error(py, &e))
    }
}

/// The elements of an array of one row.
fn row<'a, T: Number>(array: &'a In<'_, T>) -> PyResult<&'a [T]> {
    Ok(array.0.as_slice()?)
}

/// Returns the exception for an error of the library in one layer.
#[cold]
fn layer_error(py: Python<'_>, e: &Error) -> PyErr {
    let sentence = e.to_string();
    // Solvers know the layer as number 0.
    let sentence = sentence.strip_prefix("layer 0: ").unwrap_or(&sentence).to_owned();
    match e {
        Error::Kernel(KernelError::Domain { row, col }) => {
            error(py, format!("sample {row}, unit {col}: the target is outside the range of the activation"))
        }
        Error::Kernel(e) => kernel_error(py, e),
        Error::Singular { .. } => singular(py, sentence),
        _ => error(py, sentence),
    }
}

/// Runs `f` without the interpreter's lock, in this thread's workspace.
fn run<R: Send>(py: Python<'_>, threads: i64, f: impl FnOnce(&mut Exec) -> Result<R, Error> + Send) -> PyResult<R> {
    let plan = threads::plan(threads::number(py, Some(threads))?);
    let outcome = detached(py, || {
        gaitprop_process::with_scratch(|scratch| {
            let mut exec = Exec { plan, scratch: std::mem::take(scratch) };
            let result = f(&mut exec);
            *scratch = exec.scratch;
            result
        })
    });
    outcome?.map_err(|e| layer_error(py, &e))
}

/// Returns the activation of this name.
fn activation(py: Python<'_>, kind: &str, slope: f64) -> PyResult<Activation> {
    match kind {
        "identity" => Ok(Activation::Identity),
        "tanh" => Ok(Activation::Tanh),
        "leaky-relu" => Ok(Activation::LeakyRelu { slope }),
        _ => Err(error(py, format!("unknown activation {kind:?}"))),
    }
}

/// Returns f' ∘ g, batch × n.
fn delta_of<T: Number>(
    activation: Activation,
    g: MatRef<'_, T>,
    y: MatRef<'_, T>,
    kept: Option<MatRef<'_, T>>,
    exec: &Exec,
) -> Result<Matrix<T>, Error> {
    let mut delta = Matrix::zeros(y.nrows(), y.ncols());
    activation_grad(activation, y, kept, g, delta.view_mut(), exec.plan.isa)?;
    Ok(delta)
}

/// Number of leading columns that contain every nonzero element. Units without a target are zero.
fn live<T: Number>(m: MatRef<'_, T>) -> usize {
    let mut live = 0;
    for i in 0..m.nrows() {
        let rest = m.cols(live, m.ncols() - live);
        live += rest.row_iter(i).rposition(|v| v != T::ZERO).map_or(0, |j| j + 1);
    }
    live
}

/// Write `f(x w + b)` to `y`, and `f'` to `kept` if given.
#[pyfunction]
#[pyo3(signature = (x, w, b, y, kept, kind, slope, threads))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_forward(
    py: Python<'_>,
    x: Array<'_>,
    w: Array<'_>,
    b: Option<Array<'_>>,
    y: Array<'_>,
    kept: Option<Array<'_>>,
    kind: &str,
    slope: f64,
    threads: i64,
) -> PyResult<()> {
    let f = activation(py, kind, slope)?;
    by_type!(py, x, forward(&x, &w, b.as_ref(), &y, kept.as_ref(), f, threads))
}

#[allow(clippy::too_many_arguments)]
fn forward<T: Number>(
    py: Python<'_>,
    x: &Array<'_>,
    w: &Array<'_>,
    b: Option<&Array<'_>>,
    y: &Array<'_>,
    kept: Option<&Array<'_>>,
    activation: Activation,
    threads: i64,
) -> PyResult<()> {
    let (x, w, b) = (In::<T>::new(x)?, In::<T>::new(w)?, b.map(In::<T>::new).transpose()?);
    let (mut y, mut kept) = (Out::<T>::new(y)?, kept.map(Out::<T>::new).transpose()?);
    let (x, w) = (x.view()?, w.view()?);
    let zeros = vec![T::ZERO; if b.is_none() { w.ncols() } else { 0 }];
    let bias = b.as_ref().map_or(Ok(&*zeros), row)?;
    let (y, slope) = (y.view()?, kept.as_mut().map(Out::view).transpose()?);
    run(py, threads, |exec| {
        exec.gemm_with(T::ONE, (x, w), Start::Zero, y, Epilogue::Activate { activation, bias, slope }).map(drop)
    })
}

/// Write the gradients of a layer's weights, `xᵀ (f' ∘ g)`, to `dw`, and of its biases to `db`.
#[pyfunction]
#[pyo3(signature = (g, y, kept, x, dw, db, kind, slope, threads))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_gradients(
    py: Python<'_>,
    g: Array<'_>,
    y: Array<'_>,
    kept: Option<Array<'_>>,
    x: Array<'_>,
    dw: Array<'_>,
    db: Array<'_>,
    kind: &str,
    slope: f64,
    threads: i64,
) -> PyResult<()> {
    let f = activation(py, kind, slope)?;
    by_type!(py, g, gradients(&g, &y, kept.as_ref(), &x, &dw, &db, f, threads))
}

#[allow(clippy::too_many_arguments)]
fn gradients<T: Number>(
    py: Python<'_>,
    g: &Array<'_>,
    y: &Array<'_>,
    kept: Option<&Array<'_>>,
    x: &Array<'_>,
    dw: &Array<'_>,
    db: &Array<'_>,
    activation: Activation,
    threads: i64,
) -> PyResult<()> {
    let (g, y, kept, x) = (In::<T>::new(g)?, In::<T>::new(y)?, kept.map(In::<T>::new).transpose()?, In::<T>::new(x)?);
    let (mut dw, mut db) = (Out::<T>::new(dw)?, Out::<T>::new(db)?);
    let (g, y, kept, x) = (g.view()?, y.view()?, kept.as_ref().map(In::view).transpose()?, x.view()?);
    let (mut dw, mut db) = (dw.view()?, db.view()?);
    run(py, threads, |exec| {
        let delta = delta_of(activation, g, y, kept, exec)?;
        let (delta, (batch, n)) = (delta.view(), y.shape());
        dw.expect_shape("the gradient of the weights", (x.ncols(), n))?;
        let live = live(delta);
        for i in 0..dw.nrows() {
            if let Some(row) = dw.row_mut(i) {
                row[live..].fill(T::ZERO);
            }
        }
        exec.gemm(T::ONE, x.t(), delta.cols(0, live), T::ZERO, dw.cols(0, live))?;
        db.expect_shape("the gradient of the biases", (1, n))?;
        if let Some(sums) = db.row_mut(0) {
            reduce::column_means(delta, sums, exec.plan.isa)?;
            sums.iter_mut().for_each(|v| *v = T::from_f64(v.to_f64() * batch as f64));
        }
        Ok(())
    })
}

/// Write `(f' ∘ g) mᵀ` to `dx`: backpropagation with the weights or with fixed feedback.
#[pyfunction]
#[pyo3(signature = (g, y, kept, m, dx, kind, slope, threads))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_feedback(
    py: Python<'_>,
    g: Array<'_>,
    y: Array<'_>,
    kept: Option<Array<'_>>,
    m: Array<'_>,
    dx: Array<'_>,
    kind: &str,
    slope: f64,
    threads: i64,
) -> PyResult<()> {
    let f = activation(py, kind, slope)?;
    by_type!(py, g, feedback(&g, &y, kept.as_ref(), &m, &dx, f, threads))
}

#[allow(clippy::too_many_arguments)]
fn feedback<T: Number>(
    py: Python<'_>,
    g: &Array<'_>,
    y: &Array<'_>,
    kept: Option<&Array<'_>>,
    m: &Array<'_>,
    dx: &Array<'_>,
    activation: Activation,
    threads: i64,
) -> PyResult<()> {
    let (g, y, kept, m) = (In::<T>::new(g)?, In::<T>::new(y)?, kept.map(In::<T>::new).transpose()?, In::<T>::new(m)?);
    let mut dx = Out::<T>::new(dx)?;
    let (g, y, kept, m) = (g.view()?, y.view()?, kept.as_ref().map(In::view).transpose()?, m.view()?);
    let dx = dx.view()?;
    run(py, threads, |exec| {
        let delta = delta_of(activation, g, y, kept, exec)?;
        let (delta, n) = (delta.view(), y.ncols());
        m.expect_shape("the feedback", (dx.ncols(), n))?;
        let live = live(delta);
        exec.gemm(T::ONE, delta.cols(0, live), m.cols(0, live).t(), T::ZERO, dx)
    })
}

/// Write `alpha a b` to `c`.
#[pyfunction]
#[pyo3(signature = (a, b, c, threads, alpha=1.0))]
pub(crate) fn layer_product(py: Python<'_>, a: Array<'_>, b: Array<'_>, c: Array<'_>, threads: i64, alpha: f64) -> PyResult<()> {
    by_type!(py, a, product(alpha, &a, &b, &c, threads))
}

fn product<T: Number>(py: Python<'_>, alpha: f64, a: &Array<'_>, b: &Array<'_>, c: &Array<'_>, threads: i64) -> PyResult<()> {
    let (a, b, mut c) = (In::<T>::new(a)?, In::<T>::new(b)?, Out::<T>::new(c)?);
    let (a, b, c) = (a.view()?, b.view()?, c.view()?);
    run(py, threads, |exec| exec.gemm(T::from_f64(alpha), a, b, T::ZERO, c))
}

/// Write `v vᵀ` to `gram`, with a diagonal of 0, or of `‖v_i‖² − 1` if `identity`. Return the sum of
/// its squares.
#[pyfunction]
#[pyo3(signature = (v, gram, identity, threads))]
pub(crate) fn layer_gram(py: Python<'_>, v: Array<'_>, gram: Array<'_>, identity: bool, threads: i64) -> PyResult<f64> {
    by_type!(py, v, gram_of(&v, &gram, identity, threads))
}

fn gram_of<T: Number>(py: Python<'_>, v: &Array<'_>, gram: &Array<'_>, identity: bool, threads: i64) -> PyResult<f64> {
    let (v, mut gram) = (In::<T>::new(v)?, Out::<T>::new(gram)?);
    let (v, gram) = (v.view()?, gram.0.as_slice_mut()?);
    run(py, threads, |exec| {
        let n = v.nrows();
        let diagonal = if identity { Diagonal::Kept } else { Diagonal::Dropped };
        let square = MatMut::new(&mut *gram, n, n)?;
        syrk(T::ONE, v, T::ZERO, Part::Both, diagonal, square, &exec.plan, &mut exec.scratch)?;
        if identity {
            gram.iter_mut().step_by(n + 1).for_each(|g| *g -= T::ONE);
        }
        exec.dot(gram, gram)
    })
}

/// Take one step of the published Adam along −g, in place.
///
/// `m` is the first moment of g. Return whether every parameter is finite.
#[pyfunction]
#[pyo3(signature = (theta, m, v, g, rate, beta1, beta2, epsilon))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_adam(
    py: Python<'_>,
    theta: Array<'_>,
    m: Array<'_>,
    v: Array<'_>,
    g: Array<'_>,
    rate: f64,
    beta1: (f64, f64),
    beta2: (f64, f64),
    epsilon: f64,
) -> PyResult<bool> {
    by_type!(py, theta, adam_step(&theta, &m, &v, &g, rate, beta1, beta2, epsilon))
}

#[allow(clippy::too_many_arguments)]
fn adam_step<T: Number>(
    py: Python<'_>,
    theta: &Array<'_>,
    m: &Array<'_>,
    v: &Array<'_>,
    g: &Array<'_>,
    rate: f64,
    beta1: (f64, f64),
    beta2: (f64, f64),
    epsilon: f64,
) -> PyResult<bool> {
    let (mut theta, mut m, mut v, g) = (Out::<T>::new(theta)?, Out::<T>::new(m)?, Out::<T>::new(v)?, In::<T>::new(g)?);
    let (theta, m, v, g) = (theta.0.as_slice_mut()?, m.0.as_slice_mut()?, v.0.as_slice_mut()?, row(&g)?);
    let real = |(a, b): (f64, f64)| (T::from_f64(a), T::from_f64(b));
    let step = AdamStep {
        // Moments of g are minus those of the direction, exactly. So is the step.
        rate: T::from_f64(-rate),
        beta1: real(beta1),
        beta2: real(beta2),
        epsilon: T::from_f64(epsilon),
        correction: T::ONE,
    };
    run(py, 1, |exec| Ok(adam(step, theta, m, v, g, exec.plan.isa)?))
}

/// A solver of `e W = r` for one layer's weights.
#[pyclass(frozen, module = "gaitprop._native")]
pub(crate) struct LayerSolver(Mutex<Typed>);

/// A solver with an element type.
enum Typed {
    F32(Box<dyn Solver<f32>>),
    F64(Box<dyn Solver<f64>>),
}

/// Element types that a [`Typed`] holds a solver for.
trait Typable: Number {
    fn of(typed: &mut Typed) -> Option<&mut dyn Solver<Self>>;
}

impl Typable for f32 {
    fn of(typed: &mut Typed) -> Option<&mut dyn Solver<Self>> {
        if let Typed::F32(solver) = typed { Some(&mut **solver) } else { None }
    }
}

impl Typable for f64 {
    fn of(typed: &mut Typed) -> Option<&mut dyn Solver<Self>> {
        if let Typed::F64(solver) = typed { Some(&mut **solver) } else { None }
    }
}

#[pymethods]
impl LayerSolver {
    #[new]
    fn new(py: Python<'_>, kind: &str, tolerance: f64, dtype: &str) -> PyResult<Self> {
        let typed = |e: Error| layer_error(py, &e);
        let kind: SolverKind = kind.parse().map_err(typed)?;
        let tuning = Tuning::new(tolerance).map_err(typed)?;
        Ok(Self(Mutex::new(match dtype {
            "float32" => Typed::F32(kind.build(tuning).map_err(typed)?),
            "float64" => Typed::F64(kind.build(tuning).map_err(typed)?),
            _ => return Err(PyTypeError::new_err(format!("weights must be float32 or float64, but are {dtype}"))),
        })))
    }
}

/// Write what `rule` (`gait`, `itp` or `tp`) sends down to `dx`: minus its error, for e = −g.
///
/// `scale` is s, or None for the linear limit. `version` counts the changes of `w` that `solver`
/// has to know about. Without a solver, or while another thread uses it, LU factors are computed
/// and dropped.
#[pyfunction]
#[pyo3(signature = (g, y, kept, w, dx, kind, slope, rule, scale, solver, version, threads))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn layer_targets(
    py: Python<'_>,
    g: Array<'_>,
    y: Array<'_>,
    kept: Option<Array<'_>>,
    w: Array<'_>,
    dx: Array<'_>,
    kind: &str,
    slope: f64,
    rule: &str,
    scale: Option<f64>,
    solver: Option<&LayerSolver>,
    version: u64,
    threads: i64,
) -> PyResult<()> {
    let p = Perturbation {
        activation: activation(py, kind, slope)?,
        weighting: if rule == "gait" { Weighting::SlopeSquared } else { Weighting::Plain },
        scale: scale.map_or(Scale::Limit, Scale::Finite),
    };
    by_type!(py, g, targets(&g, &y, kept.as_ref(), &w, &dx, p, solver, version, threads))
}

#[allow(clippy::too_many_arguments)]
fn targets<T: Typable>(
    py: Python<'_>,
    g: &Array<'_>,
    y: &Array<'_>,
    kept: Option<&Array<'_>>,
    w: &Array<'_>,
    dx: &Array<'_>,
    p: Perturbation,
    solver: Option<&LayerSolver>,
    version: u64,
    threads: i64,
) -> PyResult<()> {
    let (g, y, kept, w) = (In::<T>::new(g)?, In::<T>::new(y)?, kept.map(In::<T>::new).transpose()?, In::<T>::new(w)?);
    let mut dx = Out::<T>::new(dx)?;
    let (g, y, kept, w) = (g.view()?, y.view()?, kept.as_ref().map(In::view).transpose()?, w.view()?);
    let mut dx = dx.view()?;
    run(py, threads, |exec| {
        let (batch, n) = y.shape();
        g.expect_shape("the gradient", (batch, n))?;
        let mut e = Vec::with_capacity(batch * n);
        (0..batch).for_each(|i| e.extend(g.row_iter(i).map(|v| -v)));
        let mut delta = vec![T::ZERO; batch * n];
        let delta = MatMut::new(&mut delta, batch, n)?;
        perturb(p, y, kept, MatRef::new(&e, batch, n)?, dx.rb(), delta, exec.plan.isa)?;
        let of = Weights { layer: 0, version, w };
        // Another thread may be inside, also of the process that this one was forked from.
        let mut guard = solver.and_then(|s| s.0.try_lock().ok());
        match guard.as_mut().and_then(|typed| T::of(typed)) {
            Some(solver) => solver.solve(of, dx.rb(), exec)?,
            None => Lu::new().solve(of, dx.rb(), exec)?,
        };
        for i in 0..batch {
            if let Some(row) = dx.row_mut(i) {
                row.iter_mut().for_each(|v| *v = -*v);
            }
        }
        Ok(())
    })
}

/// Adds this file's functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LayerSolver>()?;
    module.add_function(wrap_pyfunction!(layer_adam, module)?)?;
    module.add_function(wrap_pyfunction!(layer_feedback, module)?)?;
    module.add_function(wrap_pyfunction!(layer_forward, module)?)?;
    module.add_function(wrap_pyfunction!(layer_gradients, module)?)?;
    module.add_function(wrap_pyfunction!(layer_gram, module)?)?;
    module.add_function(wrap_pyfunction!(layer_product, module)?)?;
    module.add_function(wrap_pyfunction!(layer_targets, module)?)
}
