//! Settings of a training by name, as the program's flags and files name them.

use crate::error;
use crate::training::exception;
use gaitprop::ortho::{Block, Hold, Layers, Regularizer, Retraction};
use gaitprop::rule::TargetForm;
use gaitprop::solve::SolverKind;
use gaitprop::step::Decorrelation;
use gaitprop::{LearningRule, Preset, TrainConfig};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Display;
use std::str::FromStr;

/// Return the names that settings may have, from the library's own tables.
///
/// Returns
/// -------
/// dict of str to list of str
///     ``"rule"``, ``"solver"`` and ``"preset"``.
#[pyfunction]
pub(crate) fn names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    names.set_item("rule", LearningRule::ALL.map(LearningRule::name))?;
    names.set_item("solver", SolverKind::ALL.map(SolverKind::name))?;
    names.set_item("preset", Preset::ALL.map(Preset::name))?;
    Ok(names)
}

/// Return the settings of a preset for a rule.
///
/// Parameters
/// ----------
/// preset : str
///     Name of the preset.
/// rule : str
///     Name of the rule.
///
/// Returns
/// -------
/// dict
///     The fields of `gaitprop.TrainConfig`.
#[pyfunction]
pub(crate) fn preset<'py>(py: Python<'py>, preset: &str, rule: &str) -> PyResult<Bound<'py, PyDict>> {
    let config = TrainConfig::preset(named(py, preset)?, named::<LearningRule>(py, rule)?);
    let settings = PyDict::new(py);
    settings.set_item("rule", config.rule.name())?;
    settings.set_item("gamma", config.gamma)?;
    settings.set_item("target_form", config.target_form.name())?;
    settings.set_item("solver", config.solver.name())?;
    settings.set_item("tolerance", config.tolerance)?;
    settings.set_item("damping", config.damping)?;
    settings.set_item("inverse_rate", config.inverse_rate)?;
    settings.set_item("decorrelation_rate", config.decorrelation.map(|d| d.rate))?;
    settings.set_item("decorrelation_share", Decorrelation::SHARE)?;
    settings.set_item("loss", config.loss.name())?;
    settings.set_item("regularization", config.regularizer.lambda)?;
    settings.set_item("ortho_form", config.regularizer.form.name())?;
    settings.set_item("ortho_layers", config.regularizer.layers.name())?;
    settings.set_item("hold", "none")?;
    settings.set_item("mu", Block::MU)?;
    settings.set_item("retract_every", 100)?;
    settings.set_item("optimizer", config.optimizer.name())?;
    settings.set_item("learning_rate", config.learning_rate)?;
    settings.set_item("beta1", config.beta1)?;
    settings.set_item("beta2", config.beta2)?;
    settings.set_item("epsilon", config.epsilon)?;
    settings.set_item("weight_decay", config.weight_decay)?;
    settings.set_item("init", config.init.name())?;
    settings.set_item("batch", config.batch)?;
    settings.set_item("shuffle", config.shuffle)?;
    Ok(settings)
}

/// Return the published number of epochs of a preset.
///
/// Parameters
/// ----------
/// preset : str
///     Name of the preset.
///
/// Returns
/// -------
/// int
///     The epochs.
#[pyfunction]
pub(crate) fn preset_epochs(py: Python<'_>, preset: &str) -> PyResult<usize> {
    named::<Preset>(py, preset).map(Preset::epochs)
}

/// Returns the value of a name.
fn named<V: FromStr<Err = gaitprop::Error>>(py: Python<'_>, name: &str) -> PyResult<V> {
    name.parse().map_err(|e| exception(py, e))
}

/// Reads the fields of `gaitprop.TrainConfig`. `own`: whether a rule in Python replaces the named
/// one. Such a rule fits layers of any shape, so the settings then name BP.
///
/// # Errors
/// `gaitprop.Error` for a setting that is unknown, missing or out of range, `TypeError` for one of
/// another type.
pub(crate) fn read(settings: &Bound<'_, PyDict>, own: bool) -> PyResult<TrainConfig> {
    let py = settings.py();
    let fields = Fields { settings };
    let rule = fields.named::<LearningRule>("rule")?;
    let mut config = TrainConfig::published(if own { LearningRule::Bp } else { rule });
    config.gamma = fields.get("gamma")?;
    config.target_form = fields.named::<TargetForm>("target_form")?;
    config.solver = fields.named("solver")?;
    config.tolerance = fields.get("tolerance")?;
    config.damping = fields.get("damping")?;
    config.inverse_rate = fields.get("inverse_rate")?;
    let share = fields.get("decorrelation_share")?;
    let rate: Option<f64> = fields.get("decorrelation_rate")?;
    config.decorrelation = rate.map(|rate| Decorrelation { rate, share });
    config.loss = fields.named("loss")?;
    config.regularizer = Regularizer::new(fields.get("regularization")?).map_err(|e| exception(py, e))?;
    config.regularizer.form = fields.named("ortho_form")?;
    config.regularizer.layers = fields.named("ortho_layers")?;
    config.hold = hold(&fields, config.regularizer.layers)?;
    config.optimizer = fields.named("optimizer")?;
    config.learning_rate = fields.get("learning_rate")?;
    config.beta1 = fields.get("beta1")?;
    config.beta2 = fields.get("beta2")?;
    config.epsilon = fields.get("epsilon")?;
    config.weight_decay = fields.get("weight_decay")?;
    config.init = fields.named("init")?;
    config.batch = fields.get("batch")?;
    config.shuffle = fields.get("shuffle")?;
    config.check().map_err(|e| exception(py, e))?;
    Ok(config)
}

fn hold(fields: &Fields<'_, '_>, layers: Layers) -> PyResult<Hold> {
    let py = fields.settings.py();
    let name: String = fields.get("hold")?;
    match name.as_str() {
        "none" => Ok(Hold::Free),
        "block" => {
            Block::new(fields.get("mu")?).map(|block| Hold::Block(Block { layers, ..block })).map_err(|e| exception(py, e))
        }
        "retract" => Retraction::new(fields.get("retract_every")?)
            .map(|retraction| Hold::Retract(Retraction { layers, ..retraction }))
            .map_err(|e| exception(py, e)),
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
