//! How far the updates of two rules lie apart, layer by layer, and what that depends on: depth, orthogonality, γ, precision.
//!
//! Both rules see the same network and batch, rounded to the narrower of their precisions, so that what differs is what they make of them. Neither has a
//! regulariser.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::base::rng::Rng;
use crate::model::init::Init;
use crate::model::layer::Layer;
use crate::model::loss::Loss;
use crate::model::matrix::Matrix;
use crate::model::network::{Architecture, Network};
use crate::ortho::Regularizer;
use crate::rule::{LearningRule, RuleConfig, TargetForm};
use crate::solve::{self, Lu, Solver, Tuning};
use crate::step::{Recipe, Step};
use crate::study::diagnostics::Alignment;
use gaitprop_kernels::{Plan, Real};

/// Element types by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// Single.
    F32,
    /// Double.
    F64,
}

names!(Precision, "element type", F32 = "f32", F64 = "f64");

/// A rule as it takes part in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Which.
    pub kind: LearningRule,
    /// In which form, if it is a target rule.
    pub form: TargetForm,
    /// In which arithmetic.
    pub precision: Precision,
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = if self.form == TargetForm::Absolute { ":absolute" } else { "" };
        f.pad(&format!("{}{form}:{}", self.kind, self.precision))
    }
}

/// Where two rules are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Point {
    /// With so many layers, all as wide as the first.
    Depth(usize),
    /// With weights W + δ G: each element of G normal with variance 1/n, n the mean of the sides, so that δ = 1 is as much noise as weights.
    Noise(f64),
    /// With rows of W multiplied by e^(δ z), z normal: orthogonal, but of other norms, as the published regulariser lets them become.
    Norms(f64),
    /// With this γ.
    Gamma(f64),
    /// With the first rule in this precision.
    Precision(Precision),
}

/// A comparison of two rules on one batch.
#[derive(Clone, Debug)]
pub struct Study {
    /// Whose updates are compared, and with whose.
    pub parties: [Party; 2],
    /// The network where a point says nothing else.
    pub architecture: Architecture,
    /// How its weights are drawn, and fixed feedback.
    pub init: Init,
    /// From which seed.
    pub seed: u64,
    /// γ of GAIT and ITP where a point says nothing else.
    pub gamma: f64,
    /// The loss.
    pub loss: Loss,
    /// How differences go through inverses; absolute targets always go by [`Lu`].
    pub inverse: solve::SolverKind,
    /// What that goes by.
    pub tuning: Tuning,
    /// The batch: samples × inputs.
    pub x: Matrix<f64>,
    /// One-hot targets: samples × labels.
    pub target: Matrix<f64>,
}

/// The stream of the seed from which disturbances are drawn; 0 to 2 are those of weights, shuffling and feedback.
const STREAM: u64 = 3;

impl Study {
    /// Compares the two at one point: an entry a layer, from the first. NaN where a rule has no update there (singular weights, a target out of range) or
    /// one that is not finite.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Setting`] for what no network can be, or a γ that a rule refuses; a shape error; out of memory.
    pub fn at(&self, point: Point, plan: &Plan) -> Result<Vec<Alignment>> {
        let mut study = Self { architecture: self.architecture_at(point)?, ..self.clone() };
        match point {
            Point::Depth(_) => {}
            Point::Gamma(gamma) => study.gamma = gamma,
            Point::Precision(precision) => study.parties[0].precision = precision,
            Point::Noise(delta) | Point::Norms(delta) if !(delta.is_finite() && delta >= 0.0) => {
                return Err(Error::Setting(format!("a distance from orthogonality of {delta}: use a number from 0 on")));
            }
            Point::Noise(_) | Point::Norms(_) => {}
        }
        let net = Network::<f64>::random(&study.architecture, study.init, study.seed, plan)?;
        study.on(&disturbed(&net, point, self.seed)?, plan)
    }

    /// The network's shape at a point.
    ///
    /// # Errors
    /// [`Error::Architecture`] and [`Error::Setting`] for what no network can be.
    pub fn architecture_at(&self, point: Point) -> Result<Architecture> {
        match point {
            Point::Depth(0) => Err(Error::Setting("a network of 0 layers has no updates: use 1 or more".into())),
            Point::Depth(layers) => {
                let Architecture { inputs, labels, unit, output, layers: ref widths } = self.architecture;
                let width = widths.first().map_or(inputs, |l| l.1);
                Ok(Architecture { unit, output, ..Architecture::square(inputs, width, layers - 1, labels)? })
            }
            _ => Ok(self.architecture.clone()),
        }
    }

    /// Compares the two on a network as it is.
    ///
    /// # Errors
    /// As [`Study::at`].
    pub fn on(&self, net: &Network<f64>, plan: &Plan) -> Result<Vec<Alignment>> {
        let narrow = self.parties.iter().any(|p| p.precision == Precision::F32);
        let net = if narrow { &net.cast::<f32>().cast() } else { net };
        let updates = |party: &Party| match party.precision {
            Precision::F32 => self.updates::<f32>(party, net, narrow, plan),
            Precision::F64 => self.updates::<f64>(party, net, narrow, plan),
        };
        let [a, b] = &self.parties;
        let nothing = Alignment { cosine: f64::NAN, ratio: f64::NAN, difference: f64::NAN };
        match (updates(a)?, updates(b)?) {
            (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| Alignment::of(a, b, plan)).collect(),
            _ => Ok(vec![nothing; net.layers().len()]),
        }
    }

    /// The weight updates of one rule, layer by layer; nothing if it has none.
    fn updates<T: Real>(&self, party: &Party, net: &Network<f64>, narrow: bool, plan: &Plan) -> Result<Option<Vec<Vec<f64>>>> {
        let net = net.cast::<T>();
        let architecture = net.architecture();
        let Self { init, seed, gamma, loss, .. } = *self;
        let mut rule =
            party.kind.build::<T>(&RuleConfig { architecture: &architecture, gamma, form: party.form, init, seed }, plan)?;
        let mut solver: Box<dyn Solver<T>> = match party.form {
            TargetForm::Absolute => Box::new(Lu::new()),
            TargetForm::Difference => self.inverse.build(self.tuning)?,
        };
        let round = |v: &f64| T::from_f64(if narrow { f64::from(*v as f32) } else { *v });
        let cast = |m: &Matrix<f64>| Matrix::from_vec(m.rows(), m.cols(), m.data().iter().map(round).collect());
        let (x, target) = (cast(&self.x)?, cast(&self.target)?);
        let mut step = Step::new(&net, x.rows());
        let mut exec = Exec::new(plan.clone());
        let mut recipe = Recipe { rule: &mut *rule, solver: &mut *solver, loss, regularizer: Regularizer::NONE, exec: &mut exec };
        match step.gradients(&net, x.view(), target.view(), &mut recipe) {
            Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) => return Ok(None),
            // Of layers above there may still be something to see.
            Err(Error::Diverged { .. }) => {}
            other => other.map(|_| ())?,
        }
        let wide = |l| step.gradients.weights(l).data().iter().map(|v| v.to_f64()).collect();
        Ok(Some((0..net.layers().len()).map(wide).collect()))
    }
}

/// A network whose weights are moved away from orthogonality, if the point says so.
fn disturbed(net: &Network<f64>, point: Point, seed: u64) -> Result<Network<f64>> {
    let mut rng = Rng::new(seed, STREAM);
    let mut disturb = |layer: &Layer<f64>| {
        let mut layer = layer.clone();
        let (rows, cols) = layer.w.view().shape();
        match point {
            Point::Noise(delta) => {
                let size = delta * (2.0 / (rows + cols) as f64).sqrt();
                layer.w.data_mut().iter_mut().for_each(|w| *w += size * rng.normal());
            }
            Point::Norms(delta) => {
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
