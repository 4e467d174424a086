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
    /// β1 of Adam, and μ of momentum. `None`: the optimizer's default, as for β2 and ε
    /// ([`OptimizerConfig::new`]).
    pub beta1: Option<f64>,
    /// β2 of Adam.
    pub beta2: Option<f64>,
    /// ε of Adam.
    pub epsilon: Option<f64>,
    /// Distribution of initial weights, and of the fixed feedback of FA and DFA.
    pub init: Init,
    /// Number of samples per step.
    pub batch: usize,
    /// True if every epoch draws a new order of samples; otherwise the samples keep their order.
    pub shuffle: bool,
}

impl TrainConfig {
    /// Largest number of samples in a step.
    pub(crate) const MAX_BATCH: usize = 1 << 20;

    /// Returns the optimizer with its learning rate and constants.
    ///
    /// # Errors
    /// [`Error::Setting`] as [`OptimizerConfig::check`], and for a constant that the optimizer does
    /// not use.
    pub fn optimizer_config(&self) -> Result<OptimizerConfig> {
        let mut config = OptimizerConfig::new(self.optimizer, self.learning_rate)?;
        let OptimizerConfig { beta1, beta2, epsilon, .. } = &mut config;
        for (name, given, constant) in
            [("beta1", self.beta1, beta1), ("beta2", self.beta2, beta2), ("epsilon", self.epsilon, epsilon)]
        {
            let Some(value) = given else { continue };
            if !self.optimizer.constants().contains(&name) {
                let (optimizer, others) = (self.optimizer, if name == "beta1" { "momentum, adam" } else { "adam" });
                let what = format!("the optimizer {optimizer} has no {name}: leave it out, or use {others} or published-adam");
                return Err(Error::Setting(what));
            }
            *constant = value;
        }
        config.check()?;
        Ok(config)
    }

    /// Checks batch, λ, tolerance and the optimizer's constants, and that optimizer and hold fit each
    /// other. γ and the constants of the hold are checked when the trainer is built.
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
            check_rotations(self.optimizer, self.regularizer.lambda)?;
        }
        Ok(())
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
