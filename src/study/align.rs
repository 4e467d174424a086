//! Distance between the updates of two rules, layer by layer, over depth, orthogonality, γ and
//! precision.
//!
//! Both rules get the same network and batch, rounded to the narrower of their precisions, so only
//! the rules differ. Neither has a regularizer. Both can also be compared with the Gauss-Newton
//! updates, always computed in f64.

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
use crate::study::gauss_newton;
use crate::train::TrainConfig;
use gaitprop_kernels::{Plan, Real};
use serde::Serialize;

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

impl RuleSpec {
    /// Returns the solver of a training with these settings. Absolute targets always use LU.
    pub(crate) fn solver(&self, train: &TrainConfig) -> SolverKind {
        if self.form == TargetForm::Absolute { SolverKind::Lu } else { train.solver }
    }
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
    /// Initial weights, loss, solver ([`RuleSpec::solver`]), and γ unless the condition sets it.
    pub train: TrainConfig,
    /// Batch, samples × inputs.
    pub x: Matrix<f64>,
    /// One-hot targets, samples × labels.
    pub target: Matrix<f64>,
    /// Damping of the Gauss-Newton updates, if both rules are compared with these, too.
    pub damping: Option<f64>,
}

/// Comparison of the two rules in one layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    /// Update of the first rule relative to that of the second.
    #[serde(flatten)]
    pub alignment: Alignment,
    /// Comparison of both with the Gauss-Newton update, if it was asked for.
    #[serde(flatten)]
    pub gauss_newton: Option<GaussNewtonCosines>,
}

/// Cosines between the updates of two rules and the Gauss-Newton update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct GaussNewtonCosines {
    /// Cosine of the first rule.
    #[serde(rename = "a_cosine_gauss_newton")]
    pub a: f64,
    /// Cosine of the second rule.
    #[serde(rename = "b_cosine_gauss_newton")]
    pub b: f64,
}

/// Weight updates, layer by layer.
type Updates = Vec<Vec<f64>>;

/// Stream of the seed for disturbances; 0 to 2 are those of weights, shuffling and feedback.
const STREAM: u64 = 3;

impl Comparison {
    /// Compares the two rules under one condition. Returns one entry per layer, from the first.
    ///
    /// An entry is NaN if a rule has no update there (singular weights, a target out of range), or
    /// one that is not finite. The Gauss-Newton update is missing where the Jacobian of a sample does
    /// not have full rank.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Setting`] for an impossible network, or a γ that a rule
    /// refuses; a shape error; out of memory.
    pub(crate) fn at(&self, condition: Condition, plan: &Plan) -> Result<Vec<Compared>> {
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
    pub(crate) fn on(&self, net: &Network<f64>, plan: &Plan) -> Result<Vec<Compared>> {
        let narrow = self.rules.iter().any(|p| p.precision == Precision::F32);
        let net = if narrow { &net.cast::<f32>().cast() } else { net };
        let updates = |party: &RuleSpec| match party.precision {
            Precision::F32 => self.updates::<f32>(party, net, narrow, plan),
            Precision::F64 => self.updates::<f64>(party, net, narrow, plan),
        };
        let [a, b] = &self.rules;
        let (a, b) = (updates(a)?, updates(b)?);
        let damping = self.damping.map(|damping| self.gauss_newton(damping, net, narrow, plan));
        let gauss_newton = damping.transpose()?;
        let of = |a: &Option<Updates>, b: &Option<Updates>, l: usize| match (a, b) {
            (Some(a), Some(b)) => Alignment::of(&a[l], &b[l], plan),
            _ => Ok(Alignment::UNKNOWN),
        };
        let layer = |l| {
            let cosines =
                |gn: &Option<Updates>| Ok::<_, Error>(GaussNewtonCosines { a: of(&a, gn, l)?.cosine, b: of(&b, gn, l)?.cosine });
            Ok(Compared { alignment: of(&a, &b, l)?, gauss_newton: gauss_newton.as_ref().map(cosines).transpose()? })
        };
        (0..net.layers().len()).map(layer).collect()
    }

    /// Returns the Gauss-Newton updates, layer by layer; `None` where they are not determined.
    fn gauss_newton(&self, damping: f64, net: &Network<f64>, narrow: bool, plan: &Plan) -> Result<Option<Updates>> {
        let (x, target) = self.samples::<f64>(narrow)?;
        let mut exec = Exec::new(plan.clone());
        match gauss_newton::updates(net, x.view(), target.view(), self.train.loss, damping, &mut exec) {
            Ok(updates) => Ok(Some((0..net.layers().len()).map(|l| updates.weights(l).data().to_vec()).collect())),
            error => measured(error).map(|_| None),
        }
    }

    /// Returns inputs and targets, rounded to f32 first if `narrow`.
    fn samples<T: Real>(&self, narrow: bool) -> Result<(Matrix<T>, Matrix<T>)> {
        let round = |v: &f64| T::from_f64(if narrow { f64::from(*v as f32) } else { *v });
        let cast = |m: &Matrix<f64>| Matrix::from_vec(m.rows(), m.cols(), m.data().iter().map(round).collect());
        Ok((cast(&self.x)?, cast(&self.target)?))
    }

    /// Returns the weight updates of one rule, layer by layer; `None` if a solve or a target fails.
    fn updates<T: Real>(&self, party: &RuleSpec, net: &Network<f64>, narrow: bool, plan: &Plan) -> Result<Option<Updates>> {
        let net = net.cast::<T>();
        let architecture = net.architecture();
        let config = RuleConfig { form: party.form, ..self.train.rule_config(&architecture, self.seed) };
        let mut rule = party.kind.build::<T>(&config, plan)?;
        let mut solver = party.solver(&self.train).build::<T>(self.train.tuning(self.seed)?)?;
        let (x, target) = self.samples::<T>(narrow)?;
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
