//! The configuration of a training run, with the published defaults.

use crate::base::error::{Error, Result, check_rounded};
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::model::network::Architecture;
use crate::ortho::{Hold, Regularizer};
use crate::rule::{LearningRule, NO_DECORRELATION, RuleConfig, TargetForm};
use crate::solve::{Learning, SolverKind, Tuning};
use crate::step::optimizer::{OptimizerConfig, OptimizerKind};
use crate::step::{Decorrelation, check_rotations};
use gaitprop_kernels::Real;

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
    /// ρ of the damped inverse, at least 0.
    pub damping: f64,
    /// Learning rate of learned inverses; `None` for that of the weights. Other solvers refuse a
    /// rate.
    pub inverse_rate: Option<f64>,
    /// Decorrelation of the input of every layer, if any.
    pub decorrelation: Option<Decorrelation>,
    /// Loss. Cross-entropy needs a linear output layer ([`Architecture::with_loss`]).
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
    /// Weight decay ρ, in [0, 1): each step multiplies weights by 1 − ρ after the optimizer. Biases
    /// stay.
    pub weight_decay: f64,
    /// Distribution of initial weights, of the feedback of FA, DFA, DRTP and KP, and of learned
    /// inverses at the start.
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
        config.weight_decay = self.weight_decay;
        config.check()?;
        Ok(config)
    }

    /// Checks batch, λ, tolerance, damping, the constants of optimizer and decorrelation, and that
    /// target form and solver, solver and inverse rate, optimizer and hold, rule and decorrelation
    /// fit each other. γ and the constants of the hold are checked when the trainer is built.
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
        self.tuning(0)?.check()?;
        // Whether the rule sends targets does not matter: settings may be those of several rules.
        if self.inverse_rate.is_some() && self.solver != SolverKind::Learned {
            let what = format!("the solver {} learns no inverses: leave the inverse rate out, or use learned", self.solver);
            return Err(Error::Setting(what));
        }
        self.check_form()?;
        if self.hold == Hold::Cayley {
            check_rotations(self.optimizer, self.regularizer.lambda, self.weight_decay)?;
        }
        if let Some(decorrelation) = self.decorrelation {
            decorrelation.check()?;
            check_decorrelation(self.rule, self.target_form, self.solver)?;
        }
        Ok(())
    }

    /// Refuses absolute targets unless the solver is LU: errors of the others are far above the
    /// differences that matter.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check_form(&self) -> Result<()> {
        let Self { rule, target_form, solver, .. } = *self;
        if target_form == TargetForm::Difference || solver == SolverKind::Lu || !rule.sends_targets() {
            return Ok(());
        }
        let what = format!("absolute targets need exact inverses: the solver is {solver}, but must be lu");
        Err(Error::Setting(what))
    }

    /// [`TrainConfig::check`], also of what is left of the settings in the element type.
    ///
    /// # Errors
    /// [`Error::Setting`] also for constants that round to nothing or to infinity.
    pub(crate) fn check_in<T: Real>(&self) -> Result<()> {
        self.check()?;
        self.optimizer_config()?.check_in::<T>()?;
        self.tuning(0)?.check_in::<T>()?;
        check_rounded::<T>("lambda", self.regularizer.lambda)?;
        self.decorrelation.map_or(Ok(()), |of| check_rounded::<T>("the decorrelation's rate", of.rate))
    }

    /// Checks that the rule's targets can go through every layer of this shape, and that the loss
    /// fits the last one.
    ///
    /// # Errors
    /// [`Error::Architecture`] with the first layer above the first that is not square, for a rule
    /// and a solver that need its inverse; [`Error::Setting`] for cross-entropy on a last layer
    /// that is not linear.
    pub fn check_shape(&self, architecture: &Architecture) -> Result<()> {
        let output = architecture.output_activation;
        if self.loss.output_activation(output) != output {
            let what = "cross-entropy needs a last layer that is linear: make the network for this loss";
            return Err(Error::Setting(what.into()));
        }
        if !self.rule.sends_targets() || self.solver.takes_rectangles() { Ok(()) } else { architecture.check_square() }
    }

    /// Settings of the solver; `seed` is that of the run.
    pub(crate) fn tuning(&self, seed: u64) -> Result<Tuning> {
        let regularized = self.regularizer.lambda > 0.0 || self.hold != Hold::Free;
        let learning = Learning { rate: self.inverse_rate.unwrap_or(self.learning_rate), init: self.init, seed };
        Ok(Tuning { regularized, damping: self.damping, learning, ..Tuning::new(self.tolerance)? })
    }

    /// Configuration of the rule.
    pub(crate) fn rule_config<'a>(&self, architecture: &'a Architecture, seed: u64) -> RuleConfig<'a> {
        RuleConfig { architecture, gamma: self.gamma, form: self.target_form, init: self.init, seed }
    }
}

/// Refuses decorrelations that the rule's targets cannot go through.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn check_decorrelation(rule: LearningRule, form: TargetForm, solver: SolverKind) -> Result<()> {
    let what = match (form, solver) {
        _ if !rule.sends_targets() => return Ok(()),
        (TargetForm::Absolute, _) => NO_DECORRELATION,
        (_, SolverKind::Transpose) => "a decorrelation is not orthogonal, so its transpose is no inverse: use another solver",
        _ => return Ok(()),
    };
    Err(Error::Setting(what.into()))
}
