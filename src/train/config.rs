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

/// Configuration of training.
///
/// ```
/// use gaitprop::{LearningRule, TrainConfig};
/// let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Gait) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainConfig {
    /// Learning rule.
    pub rule: LearningRule,
    /// γ of GAIT and ITP, in [0, 1].
    pub gamma: f64,
    /// Arithmetic of GAIT, ITP and TP.
    pub target_form: TargetForm,
    /// Solver for products with W⁻¹.
    pub solver: SolverKind,
    /// Relative error at which iterative solvers stop.
    pub tolerance: f64,
    /// Loss. Cross-entropy makes the output layer linear.
    pub loss: Loss,
    /// Regularizer, with its λ.
    pub regularizer: Regularizer,
    /// Method that holds weights near orthogonal, besides the regularizer.
    pub hold: Hold,
    /// Optimizer.
    pub optimizer: OptimizerKind,
    /// η.
    pub learning_rate: f64,
    /// Weight decay ρ, in [0, 1): each step multiplies weights by 1 − ρ after the optimizer. Biases
    /// stay.
    pub weight_decay: f64,
    /// Distribution of initial weights, and of the feedback of FA, DFA, DRTP and KP.
    pub init: Init,
    /// Number of samples per step.
    pub batch: usize,
    /// True if every epoch draws a new order of samples; otherwise the samples keep their order.
    pub shuffle: bool,
}

impl TrainConfig {
    /// Largest number of samples in a step.
    pub(crate) const MAX_BATCH: usize = 1 << 20;

    /// Returns the published settings of a rule: leaky networks from orthogonal weights, squared
    /// loss, and batches of 60 in the order of the data. The optimizer is Adam without bias
    /// correction, at the rule's own learning rate and λ.
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
            weight_decay: rule.weight_decay(),
            init: Init::Orthogonal,
            batch: 60,
            shuffle: false,
        }
    }

    /// Checks batch, λ, learning rate, weight decay and tolerance, and that optimizer and hold fit
    /// each other. γ and the constants of the hold are checked when the trainer is built.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the setting.
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 || self.batch > Self::MAX_BATCH {
            let what = format!("the batch size is {}, but must be 1 to {}", self.batch, Self::MAX_BATCH);
            return Err(Error::Setting(what));
        }
        Regularizer::new(self.regularizer.lambda)?;
        self.optimizer_config()?;
        self.tuning()?;
        if self.hold == Hold::Cayley {
            check_rotations(self.optimizer, self.regularizer.lambda, self.weight_decay)?;
        }
        Ok(())
    }

    /// Optimizer with its constants.
    pub(crate) fn optimizer_config(&self) -> Result<OptimizerConfig> {
        let new = OptimizerConfig::new(self.optimizer, self.learning_rate)?;
        let config = OptimizerConfig { weight_decay: self.weight_decay, ..new };
        config.check().map(|()| config)
    }

    /// Settings of the solver.
    pub(crate) fn tuning(&self) -> Result<Tuning> {
        let regularized = self.regularizer.lambda > 0.0 || self.hold != Hold::Free;
        Ok(Tuning { regularized, ..Tuning::new(self.tolerance)? })
    }

    /// Configuration of the rule.
    pub(crate) fn rule_config<'a>(&self, architecture: &'a Architecture, seed: u64) -> RuleConfig<'a> {
        RuleConfig { architecture, gamma: self.gamma, form: self.target_form, init: self.init, seed }
    }
}
