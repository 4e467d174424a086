//! Settings of a training by name, as the program's flags and files name them.

use crate::error;
use crate::training::exception;
use gaitprop::ortho::{Block, Hold, Regularizer, Retraction};
use gaitprop::rule::TargetForm;
use gaitprop::solve::SolverKind;
use gaitprop::{LearningRule, TrainConfig};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Display;
use std::str::FromStr;

/// Return the names that settings may have, from the library's own tables.
///
/// Returns
/// -------
/// dict of str to list of str
///     ``"rule"`` and ``"solver"``.
#[pyfunction]
pub(crate) fn names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    names.set_item("rule", LearningRule::ALL.map(LearningRule::name))?;
    names.set_item("solver", SolverKind::ALL.map(SolverKind::name))?;
    Ok(names)
}

/// Return the published settings of a rule.
///
/// Parameters
/// ----------
/// rule : str
///     Name of the rule.
///
/// Returns
/// -------
/// dict
///     The fields of `gaitprop.TrainConfig`.
#[pyfunction]
pub(crate) fn published<'py>(py: Python<'py>, rule: &str) -> PyResult<Bound<'py, PyDict>> {
    let rule = named::<LearningRule>(py, rule)?;
    let config = TrainConfig::published(rule);
    let settings = PyDict::new(py);
    settings.set_item("rule", config.rule.name())?;
    settings.set_item("gamma", config.gamma)?;
    settings.set_item("target_form", config.target_form.name())?;
    settings.set_item("solver", config.solver.name())?;
    settings.set_item("tolerance", config.tolerance)?;
    settings.set_item("loss", config.loss.name())?;
    settings.set_item("regularization", config.regularizer.lambda)?;
    settings.set_item("hold", "none")?;
    settings.set_item("mu", Block::MU)?;
    settings.set_item("retract_every", 100)?;
    settings.set_item("optimizer", config.optimizer.name())?;
    settings.set_item("learning_rate", config.learning_rate)?;
    settings.set_item("weight_decay", config.weight_decay)?;
    settings.set_item("init", config.init.name())?;
    settings.set_item("batch", config.batch)?;
    settings.set_item("shuffle", config.shuffle)?;
    Ok(settings)
}

/// Returns the value of a name.
fn named<V: FromStr<Err = gaitprop::Error>>(py: Python<'_>, name: &str) -> PyResult<V> {
    name.parse().map_err(|e| exception(py, e))
}

/// Reads the fields of `gaitprop.TrainConfig`.
///
/// # Errors
/// `gaitprop.Error` for a setting that is unknown, missing or out of range, `TypeError` for one of
/// another type.
pub(crate) fn read(settings: &Bound<'_, PyDict>) -> PyResult<TrainConfig> {
    let py = settings.py();
    let fields = Fields { settings };
    let rule = fields.named::<LearningRule>("rule")?;
    let mut config = TrainConfig::published(rule);
    config.gamma = fields.get("gamma")?;
    config.target_form = fields.named::<TargetForm>("target_form")?;
    config.solver = fields.named("solver")?;
    config.tolerance = fields.get("tolerance")?;
    config.loss = fields.named("loss")?;
    config.regularizer = Regularizer::new(fields.get("regularization")?).map_err(|e| exception(py, e))?;
    config.hold = hold(&fields)?;
    config.optimizer = fields.named("optimizer")?;
    config.learning_rate = fields.get("learning_rate")?;
    config.weight_decay = fields.get("weight_decay")?;
    config.init = fields.named("init")?;
    config.batch = fields.get("batch")?;
    config.shuffle = fields.get("shuffle")?;
    config.check().map_err(|e| exception(py, e))?;
    Ok(config)
}

fn hold(fields: &Fields<'_, '_>) -> PyResult<Hold> {
    let py = fields.settings.py();
    let name: String = fields.get("hold")?;
    match name.as_str() {
        "none" => Ok(Hold::Free),
        "block" => Block::new(fields.get("mu")?).map(Hold::Block).map_err(|e| exception(py, e)),
        "retract" => Retraction::new(fields.get("retract_every")?).map(Hold::Retract).map_err(|e| exception(py, e)),
        "cayley" => Ok(Hold::Cayley),
        _ => Err(unknown(py, "hold", &name, "none, block, retract or cayley")),
    }
}

#[cold]
fn unknown(py: Python<'_>, what: &str, name: &dyn Display, known: &str) -> PyErr {
    error::error(py, format!("unknown {what} `{name}`: use {known}"))
}

/// The settings as given.
struct Fields<'a, 'py> {
    settings: &'a Bound<'py, PyDict>,
}

impl<'py> Fields<'_, 'py> {
    fn get<V: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>>(&self, name: &str) -> PyResult<V> {
        let value = self.settings.get_item(name)?;
        let value = value.ok_or_else(|| error::error(self.settings.py(), format!("the settings have no `{name}`")))?;
        value.extract().map_err(|e: <V as FromPyObject<'_, 'py>>::Error| {
            let cause: PyErr = e.into();
            pyo3::exceptions::PyTypeError::new_err(format!("{name}: {}", cause.value(self.settings.py())))
        })
    }

    fn named<V: FromStr<Err = gaitprop::Error>>(&self, name: &str) -> PyResult<V> {
        named(self.settings.py(), &self.get::<String>(name)?)
    }
}
