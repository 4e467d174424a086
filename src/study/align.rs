//! Distance between the updates of two rules, layer by layer, over depth, orthogonality, γ and
//! precision.
//!
//! Both rules get the same network and batch, rounded to the narrower of their precisions, so only
//! the rules differ. Neither has a regularizer.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::base::rng::Rng;
use crate::model::layer::Layer;
use crate::model::matrix::Matrix;
use crate::model::network::{Architecture, Network};
use crate::ortho::Regularizer;
use crate::rule::{LearningRule, RuleConfig, TargetForm};
use crate::solve::SolverKind;
use crate::step::{Recipe, Step};
use crate::study::diagnostics::{Alignment, measured};
use crate::train::TrainConfig;
use gaitprop_kernels::{Plan, Real};

/// Element types by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

names!(Precision, "element type", F32 = "f32", F64 = "f64");

/// One rule of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleSpec {
    /// Learning rule.
    pub kind: LearningRule,
    /// Form of a target rule.
    pub form: TargetForm,
    /// Precision of the arithmetic.
    pub precision: Precision,
}

impl std::fmt::Display for RuleSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = if self.form == TargetForm::Absolute { ":absolute" } else { "" };
        f.pad(&format!("{}{form}:{}", self.kind, self.precision))
    }
}

/// Condition under which two rules are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Condition {
    /// Number of layers, all as wide as the first.
    Depth(usize),
    /// Weights W + δ G. Each element of G is normal with variance 1/n, n the mean of the sides: at
    /// δ = 1 noise and weights are equally large.
    Noise(f64),
    /// Rows of W multiplied by e^(δ z), z normal. They stay orthogonal, but get other norms, as the
    /// published regularizer allows.
    Norms(f64),
    /// Value of γ.
    Gamma(f64),
    /// Precision of the first rule.
    Precision(Precision),
}

/// A comparison of two rules on one batch.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Rules to compare: the first relative to the second.
    pub rules: [RuleSpec; 2],
    /// Shape of the network, unless the condition sets its depth.
    pub architecture: Architecture,
    /// Seed of weights, feedback and disturbances.
    pub seed: u64,
    /// Initial weights, loss, solver, and γ unless the condition sets it. Absolute targets always
    /// use [`SolverKind::Lu`].
    pub train: TrainConfig,
    /// Batch, samples × inputs.
    pub x: Matrix<f64>,
    /// One-hot targets, samples × labels.
    pub target: Matrix<f64>,
}

/// Stream of the seed for disturbances; 0 to 2 are those of weights, shuffling and feedback.
const STREAM: u64 = 3;

impl Comparison {
    /// Compares the two rules under one condition. Returns one entry per layer, from the first.
    ///
    /// An entry is NaN if a rule has no update there (singular weights, a target out of range), or
    /// one that is not finite.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Setting`] for an impossible network, or a γ that a rule
    /// refuses; a shape error; out of memory.
    pub(crate) fn at(&self, condition: Condition, plan: &Plan) -> Result<Vec<Alignment>> {
        let mut study = Self { architecture: self.architecture_at(condition)?, ..self.clone() };
        match condition {
            Condition::Depth(_) => {}
            Condition::Gamma(gamma) => study.train.gamma = gamma,
            Condition::Precision(precision) => study.rules[0].precision = precision,
            Condition::Noise(delta) | Condition::Norms(delta) if !(delta.is_finite() && delta >= 0.0) => {
                return Err(Error::Setting(format!(
                    "a distance from orthogonality of {delta} is out of range: it must be at least 0 and finite"
                )));
            }
            Condition::Noise(_) | Condition::Norms(_) => {}
        }
        let net = Network::<f64>::random(&study.architecture, study.train.init, study.seed, plan)?;
        study.on(&disturbed(&net, condition, self.seed)?, plan)
    }

    /// Returns the network's shape under a condition.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Setting`] for an impossible network.
    pub(crate) fn architecture_at(&self, condition: Condition) -> Result<Architecture> {
        match condition {
            Condition::Depth(0) => Err(Error::Setting("a network of 0 layers has no updates to compare: use at least 1".into())),
            Condition::Depth(layers) => {
                let Architecture { inputs, labels, activation, output_activation, layers: ref widths } = self.architecture;
                let width = widths.first().map_or(inputs, |l| l.1);
                Ok(Architecture { activation, output_activation, ..Architecture::square(inputs, width, layers - 1, labels)? })
            }
            _ => Ok(self.architecture.clone()),
        }
    }

    /// Compares the two rules on a given network.
    ///
    /// # Errors
    /// As [`Comparison::at`].
    pub(crate) fn on(&self, net: &Network<f64>, plan: &Plan) -> Result<Vec<Alignment>> {
        let narrow = self.rules.iter().any(|p| p.precision == Precision::F32);
        let net = if narrow { &net.cast::<f32>().cast() } else { net };
        let updates = |party: &RuleSpec| match party.precision {
            Precision::F32 => self.updates::<f32>(party, net, narrow, plan),
            Precision::F64 => self.updates::<f64>(party, net, narrow, plan),
        };
        let [a, b] = &self.rules;
        match (updates(a)?, updates(b)?) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| Alignment::of(a, b, plan)).collect(),
            _ => Ok(vec![Alignment::UNKNOWN; net.layers().len()]),
        }
    }

    /// Returns the weight updates of one rule, layer by layer; `None` if a solve or a target fails.
    fn updates<T: Real>(&self, party: &RuleSpec, net: &Network<f64>, narrow: bool, plan: &Plan) -> Result<Option<Vec<Vec<f64>>>> {
        let net = net.cast::<T>();
        let architecture = net.architecture();
        let config = RuleConfig { form: party.form, ..self.train.rule_config(&architecture, self.seed) };
        let mut rule = party.kind.build::<T>(&config, plan)?;
        let solver = if party.form == TargetForm::Absolute { SolverKind::Lu } else { self.train.solver };
        let mut solver = solver.build::<T>(self.train.tuning(self.seed)?)?;
        let round = |v: &f64| T::from_f64(if narrow { f64::from(*v as f32) } else { *v });
        let cast = |m: &Matrix<f64>| Matrix::from_vec(m.rows(), m.cols(), m.data().iter().map(round).collect());
        let (x, target) = (cast(&self.x)?, cast(&self.target)?);
        let mut step = Step::new(&net, x.rows());
        let mut exec = Exec::new(plan.clone());
        let mut recipe = Recipe {
            rule: &mut *rule,
            solver: &mut *solver,
            loss: self.train.loss,
            regularizer: Regularizer::NONE,
            exec: &mut exec,
        };
        match step.gradients(&net, x.view(), target.view(), &mut recipe) {
            // The updates of layers above may still be finite.
            Err(Error::Diverged { .. }) => {}
            outcome => {
                if !measured(outcome)? {
                    return Ok(None);
                }
            }
        }
        let wide = |l| step.gradients.weights(l).data().iter().map(|v| v.to_f64()).collect();
        Ok(Some((0..net.layers().len()).map(wide).collect()))
    }
}

/// Returns a copy of the network whose weights are moved away from orthogonality, if the condition
/// asks for it.
fn disturbed(net: &Network<f64>, condition: Condition, seed: u64) -> Result<Network<f64>> {
    let mut rng = Rng::new(seed, STREAM);
    let mut disturb = |layer: &Layer<f64>| {
        let mut layer = layer.clone();
        let (rows, cols) = layer.w.view().shape();
        match condition {
            Condition::Noise(delta) => {
                let size = delta * (2.0 / (rows + cols) as f64).sqrt();
                layer.w.data_mut().iter_mut().for_each(|w| *w += size * rng.normal());
            }
            Condition::Norms(delta) => {
                for row in layer.w.data_mut().chunks_exact_mut(cols) {
                    let factor = libm::exp(delta * rng.normal());
                    row.iter_mut().for_each(|w| *w *= factor);
                }
            }
            _ => {}
        }
        layer
    };
    Network::new(net.inputs(), net.layers().iter().map(&mut disturb).collect(), net.labels())
}
