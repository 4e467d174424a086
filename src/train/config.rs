//! The configuration of a training run, with the published defaults.

use crate::base::error::{Error, Result};
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::model::network::Architecture;
use crate::ortho::{Hold, Regularizer};
use crate::rule::{LearningRule, RuleConfig, TargetForm};
use crate::solve::{SolverKind, Tuning};
use crate::step::check_rotations;
use crate::step::optimizer::{OptimizerConfig, OptimizerKind};

/// How a network is trained.
///
/// ```
/// use gaitprop::{LearningRule, TrainConfig};
/// let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Gait) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainConfig {
    /// The learning rule.
    pub rule: LearningRule,
    /// γ of GAIT and ITP, in [0, 1].
    pub gamma: f64,
    /// How GAIT, ITP and TP are computed.
    pub target_form: TargetForm,
    /// How errors go through W⁻¹.
    pub solver: SolverKind,
    /// Relative error at which iterative solvers stop.
    pub tolerance: f64,
    /// The loss. Cross-entropy makes the output layer linear.
    pub loss: Loss,
    /// The regularizer, with its λ.
    pub regularizer: Regularizer,
    /// What else holds weights near orthogonal.
    pub hold: Hold,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// η.
    pub learning_rate: f64,
    /// How weights, and the fixed feedback of FA and DFA, are drawn.
    pub init: Init,
    /// Samples of a step.
    pub batch: usize,
    /// Whether every epoch draws a new order of samples; otherwise they come as they lie.
    pub shuffle: bool,
}

impl TrainConfig {
    /// The published settings of a rule: leaky networks from orthogonal weights, squared loss,
    /// batches of 60 in the order of the data, Adam without bias correction at the rule's own
    /// learning rate and λ.
    ///
    /// # References
    /// Ahmad, van Gerven and Ambrogioni, GAIT-prop, 2020, table 1.
    pub fn published(rule: LearningRule) -> Self {
        let (learning_rate, lambda) = rule.published();
        Self {
            rule,
            gamma: 1e-3,
            target_form: TargetForm::Difference,
            solver: SolverKind::Auto,
            tolerance: Tuning::default().tolerance,
            loss: Loss::Squared,
            regularizer: Regularizer { lambda, ..Regularizer::NONE },
            hold: Hold::Free,
            optimizer: OptimizerKind::PublishedAdam,
            learning_rate,
            init: Init::Orthogonal,
            batch: 60,
            shuffle: false,
        }
    }

    /// Refuses what no training can be: out of range, or at odds.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the setting.
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::Setting("the batch size must be at least 1".into()));
        }
        Regularizer::new(self.regularizer.lambda)?;
        self.optimizer_config()?;
        self.tuning()?;
        if self.hold == Hold::Cayley {
            check_rotations(self.optimizer, self.regularizer.lambda)?;
        }
        Ok(())
    }

    /// The optimizer's constants.
    pub(crate) fn optimizer_config(&self) -> Result<OptimizerConfig> {
        OptimizerConfig::new(self.optimizer, self.learning_rate)
    }

    /// What solvers are built with.
    pub(crate) fn tuning(&self) -> Result<Tuning> {
        let regularized = self.regularizer.lambda > 0.0 || self.hold != Hold::Free;
        Ok(Tuning { regularized, ..Tuning::new(self.tolerance)? })
    }

    /// What the rule is built from.
    pub(crate) fn rule_config<'a>(&self, architecture: &'a Architecture, seed: u64) -> RuleConfig<'a> {
        RuleConfig { architecture, gamma: self.gamma, form: self.target_form, init: self.init, seed }
    }
}
