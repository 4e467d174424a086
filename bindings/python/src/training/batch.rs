//! Updates of one batch.

use crate::array::{Number, matrix};
use crate::call::detached;
use crate::threads;
use crate::training::network::{Network, tried};
use crate::training::rule::{PythonRule, Raised};
use crate::training::{Either, config, copied, exception};
use gaitprop::rule::{Rule, RuleConfig};
use gaitprop::solve::Tuning;
use gaitprop::step::{Recipe, Step};
use gaitprop::{Exec, TrainConfig, diagnostics, gauss_newton};
use gaitprop_kernels::MatRef;
use numpy::{PyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// A batch, and what a step on it needs: the arguments of the functions below.
struct Batch<'a, 'py> {
    x: &'a Bound<'py, PyAny>,
    target: &'a Bound<'py, PyAny>,
    settings: &'a Bound<'py, PyDict>,
    seed: u64,
    threads: Option<i64>,
    rule: Option<Py<PyAny>>,
}

impl<'py> Batch<'_, 'py> {
    /// Runs `work` on the batch, without the interpreter's lock.
    ///
    /// # Errors
    /// What a rule in Python raised, or else the exception for an error of the settings or of `work`.
    fn run<T: Number, R: Send>(
        self,
        net: &gaitprop::Network<T>,
        work: impl FnOnce(MatRef<'_, T>, MatRef<'_, T>, &mut Recipe<'_, T>) -> gaitprop::Result<R> + Send,
    ) -> PyResult<R> {
        let py = self.x.py();
        let (x, target) = (self.x.extract::<PyReadonlyArray2<'_, T>>()?, self.target.extract::<PyReadonlyArray2<'_, T>>()?);
        let (x, target) = (matrix(&x, "x")?, matrix(&target, "target")?);
        let (config, raised) = (config::read(self.settings, self.rule.is_some())?, Raised::default());
        tried!(py, config.check_shape(&net.architecture()));
        let mut exec = Exec::new(threads::plan(threads::number(py, self.threads)?));
        let mut rule: Box<dyn Rule<T>> = match self.rule {
            Some(function) => Box::new(PythonRule::new(function, raised.clone())),
            None => {
                let TrainConfig { gamma, target_form: form, init, .. } = config;
                let shape = net.architecture();
                let setup = RuleConfig { gamma, form, init, seed: self.seed, ..RuleConfig::new(&shape) };
                tried!(py, config.rule.build(&setup, &exec.plan))
            }
        };
        let regularized = config.regularizer.lambda > 0.0;
        if config.rule.sends_targets() {
            tried!(py, config.solver.check_untrained());
        }
        let tuning = Tuning { regularized, damping: config.damping, ..tried!(py, Tuning::new(config.tolerance)) };
        let mut solver = tried!(py, config.solver.build(tuning));
        let outcome = detached(py, || {
            let (rule, solver, exec) = (&mut *rule, &mut *solver, &mut exec);
            work(x, target, &mut Recipe { rule, solver, loss: config.loss, regularizer: config.regularizer, exec })
        })?;
        outcome.map_err(|e| raised.take().unwrap_or_else(|| exception(py, e)))
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
    let batch = Batch { x, target, settings, seed, threads, rule };
    match &network.net {
        Either::F32(net) => updates_of(net, batch),
        Either::F64(net) => updates_of(net, batch),
    }
}

fn updates_of<'py, T: Number>(net: &gaitprop::Network<T>, batch: Batch<'_, 'py>) -> PyResult<Bound<'py, PyDict>> {
    let py = batch.x.py();
    let (step, report) = batch.run(net, |x, target, recipe| {
        let mut step = Step::new(net, x.nrows());
        let report = step.gradients(net, x, target, recipe)?;
        Ok((step, report))
    })?;
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

/// Compare a rule's updates with backpropagation's, or with the Gauss-Newton updates of a damping.
/// `gaitprop.align` documents it.
///
/// Returns
/// -------
/// list of tuple of float
///     Cosine, relative difference and ratio of norms, for each layer.
#[pyfunction]
#[pyo3(signature = (network, x, target, settings, seed, threads, rule, damping))]
#[allow(clippy::too_many_arguments, reason = "Python passes an option as an argument")]
pub(crate) fn alignment(
    network: &Network,
    x: &Bound<'_, PyAny>,
    target: &Bound<'_, PyAny>,
    settings: &Bound<'_, PyDict>,
    seed: u64,
    threads: Option<i64>,
    rule: Option<Py<PyAny>>,
    damping: Option<f64>,
) -> PyResult<Vec<(f64, f64, f64)>> {
    let batch = Batch { x, target, settings, seed, threads, rule };
    match &network.net {
        Either::F32(net) => alignment_of(net, batch, damping),
        Either::F64(net) => alignment_of(net, batch, damping),
    }
}

fn alignment_of<T: Number>(
    net: &gaitprop::Network<T>,
    batch: Batch<'_, '_>,
    damping: Option<f64>,
) -> PyResult<Vec<(f64, f64, f64)>> {
    let found = batch.run(net, |x, target, recipe| match damping {
        None => diagnostics::alignment(net, x, target, recipe),
        Some(damping) => gauss_newton::alignment(net, x, target, damping, recipe),
    })?;
    Ok(found.iter().map(|a| (a.cosine, a.difference, a.ratio)).collect())
}
