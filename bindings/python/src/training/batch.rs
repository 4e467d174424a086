//! Updates of one batch.

use crate::threads;
use crate::training::network::{Network, tried};
use crate::training::rule::{PythonRule, Raised};
use crate::training::{Either, Number, config, copied, exception, matrix};
use gaitprop::rule::{Rule, RuleConfig};
use gaitprop::solve::{Solver, Tuning};
use gaitprop::step::{Recipe, Step};
use gaitprop::{Exec, TrainConfig, diagnostics};
use numpy::{PyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// What a step on one batch needs.
struct Parts<T: Number> {
    rule: Box<dyn Rule<T>>,
    solver: Box<dyn Solver<T>>,
    exec: Exec,
    config: TrainConfig,
    raised: Raised,
}

impl<T: Number> Parts<T> {
    fn new(
        py: Python<'_>,
        net: &gaitprop::Network<T>,
        settings: &Bound<'_, PyDict>,
        (seed, threads): (u64, Option<i64>),
        function: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (config, plan, raised) = (config::read(settings)?, threads::plan(threads::number(py, threads)?), Raised::default());
        let rule: Box<dyn Rule<T>> = match function {
            Some(function) => Box::new(PythonRule::new(function, raised.clone())),
            None => {
                let TrainConfig { gamma, target_form: form, init, .. } = config;
                let shape = net.architecture();
                let setup = RuleConfig { gamma, form, init, seed, ..RuleConfig::new(&shape) };
                tried!(py, config.rule.build(&setup, &plan))
            }
        };
        let regularized = config.regularizer.lambda > 0.0;
        let tuning = Tuning { regularized, ..tried!(py, Tuning::new(config.tolerance)) };
        let solver = tried!(py, config.solver.build(tuning));
        Ok(Self { rule, solver, exec: Exec::new(plan), config, raised })
    }

    fn recipe(&mut self) -> Recipe<'_, T> {
        let Self { rule, solver, exec, config, .. } = self;
        Recipe { rule: &mut **rule, solver: &mut **solver, loss: config.loss, regularizer: config.regularizer, exec }
    }

    /// Returns what Python code raised, or else the library's error.
    fn failed(&self, py: Python<'_>, e: gaitprop::Error) -> PyErr {
        self.raised.take().unwrap_or_else(|| exception(py, e))
    }
}

/// Compute activities, deltas and updates of one batch. `gaitprop.updates` documents it.
///
/// Returns
/// -------
/// dict
///     Lists with one array a layer, and the score.
#[pyfunction]
#[pyo3(signature = (network, x, target, settings, seed, threads, rule))]
pub(crate) fn updates<'py>(
    network: &Network,
    x: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    settings: &Bound<'py, PyDict>,
    seed: u64,
    threads: Option<i64>,
    rule: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    match &network.net {
        Either::F32(net) => updates_of(net, x, target, settings, (seed, threads), rule),
        Either::F64(net) => updates_of(net, x, target, settings, (seed, threads), rule),
    }
}

fn updates_of<'py, T: Number>(
    net: &gaitprop::Network<T>,
    x: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    settings: &Bound<'py, PyDict>,
    seed_and_threads: (u64, Option<i64>),
    rule: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = x.py();
    let (x, target) = (x.extract::<PyReadonlyArray2<'_, T>>()?, target.extract::<PyReadonlyArray2<'_, T>>()?);
    let (x, target) = (matrix(&x, "x")?, matrix(&target, "target")?);
    let mut parts = Parts::new(py, net, settings, seed_and_threads, rule)?;
    let mut step = Step::new(net, x.nrows());
    let report = py.detach(|| step.gradients(net, x, target, &mut parts.recipe())).map_err(|e| parts.failed(py, e))?;
    let layers = 0..net.layers().len();
    let list = |of: &dyn Fn(usize) -> Bound<'py, PyAny>| PyList::new(py, layers.clone().map(of));
    let out = PyDict::new(py);
    out.set_item("activities", list(&|l| copied(py, step.tape.activity(l)).into_any())?)?;
    out.set_item("deltas", list(&|l| copied(py, step.tape.delta(l)).into_any())?)?;
    out.set_item("weights", list(&|l| copied(py, step.gradients.weights(l).view()).into_any())?)?;
    out.set_item("biases", list(&|l| PyArray1::from_slice(py, step.gradients.biases(l)).into_any())?)?;
    out.set_item("loss", report.score.mean_loss())?;
    out.set_item("accuracy", report.score.accuracy())?;
    Ok(out)
}

/// Compare a rule's updates with backpropagation's. `gaitprop.align` documents it.
///
/// Returns
/// -------
/// list of tuple of float
///     Cosine, relative difference and ratio of norms, for each layer.
#[pyfunction]
#[pyo3(signature = (network, x, target, settings, seed, threads, rule))]
pub(crate) fn alignment(
    network: &Network,
    x: &Bound<'_, PyAny>,
    target: &Bound<'_, PyAny>,
    settings: &Bound<'_, PyDict>,
    seed: u64,
    threads: Option<i64>,
    rule: Option<Py<PyAny>>,
) -> PyResult<Vec<(f64, f64, f64)>> {
    match &network.net {
        Either::F32(net) => alignment_of(net, x, target, settings, (seed, threads), rule),
        Either::F64(net) => alignment_of(net, x, target, settings, (seed, threads), rule),
    }
}

fn alignment_of<'py, T: Number>(
    net: &gaitprop::Network<T>,
    x: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    settings: &Bound<'py, PyDict>,
    seed_and_threads: (u64, Option<i64>),
    rule: Option<Py<PyAny>>,
) -> PyResult<Vec<(f64, f64, f64)>> {
    let py = x.py();
    let (x, target) = (x.extract::<PyReadonlyArray2<'_, T>>()?, target.extract::<PyReadonlyArray2<'_, T>>()?);
    let (x, target) = (matrix(&x, "x")?, matrix(&target, "target")?);
    let mut parts = Parts::new(py, net, settings, seed_and_threads, rule)?;
    let found = py.detach(|| diagnostics::alignment(net, x, target, &mut parts.recipe()));
    let found = found.map_err(|e| parts.failed(py, e))?;
    Ok(found.iter().map(|a| (a.cosine, a.difference, a.ratio)).collect())
}
