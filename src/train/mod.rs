//! Training: epochs of batches, evaluation, and the state that a later run continues from.

mod config;
mod evaluate;
mod preset;
mod stopping;

pub use config::TrainConfig;
pub(crate) use config::check_decorrelation;
pub use evaluate::evaluate;
pub use preset::Preset;
pub use stopping::EarlyStopping;

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::rng::Rng;
use crate::data::SamplesRef;
use crate::model::loss::Score;
use crate::model::network::{Architecture, Network};
use crate::ortho::HoldState;
use crate::rule::Rule;
use crate::solve::{Solver, Solves};
use crate::step::optimizer::{Optimizer, OptimizerConfig};
use crate::step::{Phases, Recipe, Report, Step};
use crate::store::checkpoint::State;
use crate::train::evaluate::{check_samples, gather};
use gaitprop_kernels::{MatRef, Plan, Real};
use std::ops::ControlFlow;
use std::time::Instant;

/// Trains a network. Owns all state of the training.
///
/// ```
/// use gaitprop::{Architecture, LearningRule, TrainConfig, Trainer, data};
///
/// let digits = data::load("digits", &data::LoadOptions::default())?;
/// let digits = digits.prepare::<f32>(data::Scaling::Unit)?;
/// let shape = Architecture::square(64, 64, 1, 10)?;
/// let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Gait) };
/// let mut trainer = Trainer::new(&shape, config, 1)?;
/// for _ in 0..10 {
///     trainer.epoch(&digits.train)?;
/// }
/// assert!(trainer.evaluate(&digits.test)?.accuracy() > 0.9);
/// # Ok::<(), gaitprop::Error>(())
/// ```
pub struct Trainer<T> {
    net: Network<T>,
    /// Copy of the network at the start of the epoch.
    epoch_start: Network<T>,
    /// State of the rule at the start of the epoch.
    rule_start: State<T>,
    /// State of learned inverses at the start of the epoch; empty for other solvers.
    solver_start: State<T>,
    config: TrainConfig,
    rule: Box<dyn Rule<T>>,
    solver: Box<dyn Solver<T>>,
    optimizer: Optimizer<T>,
    holder: HoldState<T>,
    step: Step<T>,
    exec: Exec,
    shuffle: Option<Rng>,
    progress: EpochProgress,
    sofar: Epoch,
    input: Vec<T>,
    target: Vec<T>,
}

/// Progress of the current epoch.
#[derive(Debug, Default)]
struct EpochProgress {
    /// True if the epoch has begun and not ended.
    under_way: bool,
    /// Number of samples of the epoch.
    samples: usize,
    /// Order of the samples; empty until it is drawn.
    order: Vec<u32>,
    /// State of the generator before it drew the order.
    drawn_by: Option<Rng>,
    /// Number of samples learned.
    learned: usize,
}

/// A measurement of a network on one batch: see `study/diagnostics.rs`.
pub(crate) type Look<T, R> = fn(&Network<T>, MatRef<'_, T>, MatRef<'_, T>, &mut Recipe<'_, T>) -> Result<R>;

/// Results of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Loss and correct predictions of each batch, just before its step.
    pub score: Score,
    /// Solves of all steps.
    pub solves: Solves,
    /// Number of steps taken.
    pub steps: usize,
    /// True if the caller ended the epoch early.
    pub stopped: bool,
}

impl Epoch {
    /// Mean loss per sample, just before it was learned.
    pub fn mean_loss(&self) -> f64 {
        self.score.mean_loss()
    }
    /// Share of correct predictions, just before each sample was learned.
    pub fn accuracy(&self) -> f64 {
        self.score.accuracy()
    }

    fn save<T: Real>(&self) -> State<T> {
        let mut state = self.solves.save();
        state.put_f64("loss", self.score.loss);
        state.put("correct", self.score.correct as u64);
        state.put("samples", self.score.samples as u64);
        state.put("steps", self.steps as u64);
        state
    }

    fn restore<T: Real>(state: &State<T>) -> Result<Self> {
        let score = Score { loss: state.get_f64("loss")?, correct: state.get_as("correct")?, samples: state.get_as("samples")? };
        Ok(Self { score, solves: Solves::restore(state)?, steps: state.get_as("steps")?, stopped: false })
    }
}

/// Stores weights, biases and decorrelations under names that start with `prefix`.
fn put_network<T: Real>(state: &mut State<T>, prefix: &str, net: &Network<T>) {
    for (l, layer) in net.layers().iter().enumerate() {
        state.put_array(format!("{prefix}W{l}"), &[layer.fan_in(), layer.width()], layer.w.data());
        state.put_array(format!("{prefix}b{l}"), &[layer.width()], &layer.b);
        if let Some(r) = net.decorrelation(l) {
            state.put_array(format!("{prefix}R{l}"), &[r.rows(), r.cols()], r.data());
        }
    }
}

/// Restores what [`put_network`] stored.
fn take_network<T: Real>(state: &State<T>, prefix: &str, net: &mut Network<T>) -> Result<()> {
    for (l, layer) in net.layers_mut().iter_mut().enumerate() {
        state.copy_array(&format!("{prefix}W{l}"), layer.w.data_mut())?;
        state.copy_array(&format!("{prefix}b{l}"), &mut layer.b)?;
    }
    for (l, r) in net.decorrelation_mut().iter_mut().enumerate() {
        state.copy_array(&format!("{prefix}R{l}"), r.data_mut())?;
    }
    Ok(())
}

impl<T: Real> Trainer<T> {
    /// Creates a trainer with a new network, on one thread.
    ///
    /// `seed` decides the initial weights, the order of samples and random feedback. The loss
    /// decides the output activation ([`Architecture::with_loss`]).
    ///
    /// # Errors
    /// As [`Trainer::from_network`] and [`Network::random`].
    pub fn new(architecture: &Architecture, config: TrainConfig, seed: u64) -> Result<Self> {
        let plan = Plan::new();
        let shape = architecture.clone().with_loss(config.loss);
        Self::from_network(Network::random(&shape, config.init, seed, &plan)?, config, seed, plan)
    }

    /// Creates a trainer with an existing network, on the threads, instruction set and backend of
    /// `plan`.
    ///
    /// # Errors
    /// As [`TrainConfig::check`] and [`TrainConfig::check_shape`]; [`Error::Setting`] for a rule
    /// that cannot be built, and for settings that round to 0 or infinity in the element type.
    pub fn from_network(net: Network<T>, config: TrainConfig, seed: u64, plan: Plan) -> Result<Self> {
        config.check_in::<T>()?;
        config.check_shape(&net.architecture())?;
        if net.decorrelation(0).is_some() {
            check_decorrelation(config.rule, config.target_form, config.solver)?;
        }
        let decorrelates = config.decorrelation.is_some() && net.decorrelation(0).is_none();
        let net = if decorrelates { net.with_decorrelation() } else { net };
        let rule = config.rule.build(&config.rule_config(&net.architecture(), seed), &plan)?;
        Ok(Self {
            solver: config.solver.build(config.tuning(seed)?)?,
            optimizer: Optimizer::new(config.optimizer_config()?, &net),
            holder: HoldState::new(config.hold, &net, config.batch)?,
            step: Step::new(&net, config.batch),
            exec: Exec::new(plan),
            shuffle: config.shuffle.then(|| Rng::new(seed, 1)),
            progress: EpochProgress::default(),
            sofar: Epoch::default(),
            input: vec![T::ZERO; config.batch * net.inputs()],
            target: vec![T::ZERO; config.batch * net.labels()],
            epoch_start: net.clone(),
            rule_start: rule.save(),
            solver_start: State::default(),
            net,
            rule,
            config,
        })
    }

    /// Replaces the learning rule.
    #[must_use]
    pub fn with_rule(self, rule: impl Rule<T> + 'static) -> Self {
        Self { rule_start: rule.save(), rule: Box::new(rule), ..self }
    }

    /// Replaces the solver.
    #[must_use]
    pub fn with_solver(self, solver: impl Solver<T> + 'static) -> Self {
        let solver_start = if solver.learns() { solver.save(self.net.version()) } else { State::default() };
        Self { solver_start, solver: Box::new(solver), ..self }
    }

    /// Replaces the optimizer's constants, weight decay included, and resets its moments to 0.
    ///
    /// # Errors
    /// [`Error::Setting`] as [`OptimizerConfig::check`], and for constants that have no effect in the
    /// element type.
    pub fn with_optimizer(self, optimizer: OptimizerConfig) -> Result<Self> {
        optimizer.check_in::<T>()?;
        Ok(Self { optimizer: Optimizer::new(optimizer, &self.net), ..self })
    }

    /// Current network.
    pub fn network(&self) -> &Network<T> {
        &self.net
    }

    /// Replaces the parameters by those of a network of the same shape, with decorrelations if the
    /// trainer's has some. The optimizer's moments stay as they are.
    ///
    /// # Errors
    /// [`Error::Setting`] for a network of another shape, or if one of the two has decorrelations and
    /// the other has none; the trainer's has then not changed.
    pub fn set_network(&mut self, net: &Network<T>) -> Result<()> {
        let refuse = |what: &str| Err(Error::Setting(what.into()));
        if self.net.architecture() != net.architecture() {
            return refuse("the network has another shape than the trainer's");
        }
        match (self.net.decorrelation(0).is_some(), net.decorrelation(0).is_some()) {
            (true, false) => return refuse("the network has no decorrelations, but the trainer's has: add some"),
            (false, true) => {
                return refuse("the network has decorrelations, but the trainer's has none: multiply them into the weights");
            }
            _ => {}
        }
        self.net.copy_from(net);
        Ok(())
    }

    /// Changes the weights as [`Network::update`] does. The optimizer's moments stay as they are.
    pub fn update(&mut self, change: impl FnMut(usize, &mut [T], &mut [T])) {
        self.net.update(change);
    }

    /// Configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Number of steps taken so far.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// State of the method that holds weights near orthogonal.
    pub fn holder(&self) -> &HoldState<T> {
        &self.holder
    }

    /// Trains on every sample once.
    ///
    /// # Errors
    /// As [`Step::update`]; [`Error::TooFar`] from a retraction.
    ///
    /// After [`Error::Singular`], [`Error::OutOfRange`] and [`Error::NotOrthogonal`], the
    /// parameters are those after the last successful step. After all other errors they are those
    /// at the start of the epoch, as are the states of the rule and of learned inverses, and the
    /// optimizer's moments are 0: steps before a divergence are seldom worth keeping.
    pub fn epoch<'s>(&mut self, samples: impl TryInto<SamplesRef<'s, T>, Error: Into<Error>>) -> Result<Epoch> {
        self.epoch_with(samples, |_, _| ControlFlow::Continue(()))
    }

    /// [`Trainer::epoch`] with a callback after each step. The callback may end the epoch early;
    /// the next call then continues it.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn epoch_with<'s>(
        &mut self,
        samples: impl TryInto<SamplesRef<'s, T>, Error: Into<Error>>,
        mut watch: impl FnMut(&Self, &Report) -> ControlFlow<()>,
    ) -> Result<Epoch> {
        let samples = samples.try_into().map_err(Into::into)?;
        check_samples(samples, &self.net)?;
        if !self.progress.under_way || self.progress.samples != samples.len() {
            self.begin(samples.len());
        }
        if self.progress.order.is_empty() {
            // The next epoch, or one that was restored.
            self.progress.order.extend(0..samples.len() as u32);
            self.progress.drawn_by.clone_from(&self.shuffle);
            if let Some(rng) = &mut self.shuffle {
                rng.shuffle(&mut self.progress.order);
            }
        }
        while self.progress.learned < samples.len() {
            let report = self.step(samples).or_else(|e| self.abandon(e))?;
            self.sofar.score.add(report.score);
            self.sofar.solves.merge(&report.solves);
            self.sofar.steps += 1;
            if watch(self, &report).is_break() {
                return Ok(Epoch { stopped: true, ..self.sofar });
            }
        }
        self.progress.under_way = false;
        Ok(self.sofar)
    }

    /// Ends an epoch whose step failed with `e`. Returns this error.
    fn abandon(&mut self, e: Error) -> Result<Report> {
        self.progress.under_way = false;
        // These errors are raised before any parameter changes.
        if !matches!(e, Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) {
            self.net.copy_from(&self.epoch_start);
            self.optimizer.reset();
            self.rule.restore(&self.rule_start)?;
            if self.solver.learns() {
                self.solver.restore(self.solver_start.clone(), self.net.version())?;
            }
        }
        Err(e)
    }

    /// Starts an epoch.
    fn begin(&mut self, samples: usize) {
        self.epoch_start.copy_from(&self.net);
        self.rule_start = self.rule.save();
        if self.solver.learns() {
            self.solver_start = self.solver.save(self.net.version());
        }
        self.progress.order.clear();
        let order = std::mem::take(&mut self.progress.order);
        self.progress = EpochProgress { under_way: true, samples, order, drawn_by: None, learned: 0 };
        self.sofar = Epoch::default();
    }

    /// Number of samples that the current epoch has learned; 0 between epochs.
    pub fn learned(&self) -> usize {
        if self.progress.under_way { self.progress.learned } else { 0 }
    }

    /// Results of the current epoch so far, or of the last one.
    pub fn sofar(&self) -> &Epoch {
        &self.sofar
    }

    /// Returns whether no epoch is under way, or all of its samples have been learned.
    pub fn between_epochs(&self) -> bool {
        !self.progress.under_way || self.progress.learned == self.progress.samples
    }

    /// Returns everything that later steps depend on: parameters, moments, the order of samples and
    /// the position in it, the step count of the hold, and the states of the rule and the solver.
    pub fn save(&self) -> State<T> {
        let mut state = State::default();
        put_network(&mut state, "", &self.net);
        state.put_part("optimizer", self.optimizer.save(&self.net));
        state.put_part("rule", self.rule.save());
        state.put_part("inverse", self.solver.save(self.net.version()));
        state.put("held", self.holder.steps());
        // The generator's state at the start of an epoch is enough to draw its order again.
        if let Some((words, _)) =
            if self.progress.under_way { &self.progress.drawn_by } else { &self.shuffle }.as_ref().map(Rng::state)
        {
            words.iter().enumerate().for_each(|(i, &word)| state.put(format!("shuffle.{i}"), word));
        }
        state.put("under-way", self.progress.under_way.into());
        if self.progress.under_way {
            // Parameters to return to after a divergence.
            put_network(&mut state, "start.", &self.epoch_start);
            state.put_part("start.rule", self.rule_start.clone());
            state.put_part("start.inverse", self.solver_start.clone());
            state.put("samples", self.progress.samples as u64);
            state.put("learned", self.progress.learned as u64);
            state.put_part("sofar", self.sofar.save());
        }
        state
    }

    /// Restores a saved state. Training then continues bit for bit as in the trainer that saved it.
    /// That trainer must have the same configuration, and a network of the same shape.
    ///
    /// # Errors
    /// [`Error::Setting`] for a state that does not fit; this trainer is then unusable.
    pub fn restore(&mut self, mut state: State<T>) -> Result<()> {
        take_network(&state, "", &mut self.net)?;
        self.optimizer.restore(&state.take_part("optimizer"))?;
        self.rule.restore(&state.take_part("rule"))?;
        self.solver.restore(state.take_part("inverse"), self.net.version())?;
        self.holder.set_steps(state.get("held")?);
        if self.shuffle.is_some() {
            let word = |i: usize| state.get(&format!("shuffle.{i}"));
            self.shuffle = Rng::from_state([word(0)?, word(1)?, word(2)?, word(3)?], None);
        }
        self.progress.under_way = false;
        if state.get_flag("under-way")? {
            let samples = state.get_as::<u32>("samples")? as usize;
            // The order is drawn once the samples are known: a damaged state may claim billions.
            self.begin(samples);
            self.progress.drawn_by.clone_from(&self.shuffle);
            take_network(&state, "start.", &mut self.epoch_start)?;
            self.rule_start = state.take_part("start.rule");
            self.solver_start = state.take_part("start.inverse");
            self.progress.learned = state.get_as::<u32>("learned")? as usize;
            self.sofar = Epoch::restore(&state.take_part("sofar"))?;
            let learned = self.progress.learned;
            if learned > samples {
                return Err(Error::Setting(format!("the state has learned {learned} of {samples} samples")));
            }
        }
        Ok(())
    }

    /// Trains on the next batch of the current epoch.
    fn step(&mut self, samples: SamplesRef<'_, T>) -> Result<Report> {
        let EpochProgress { order, learned, .. } = &mut self.progress;
        let batch = &order[*learned..order.len().min(*learned + self.config.batch)];
        let (x, t) = gather(samples, batch, self.net.labels(), &mut self.input, &mut self.target)?;
        let mut recipe = Recipe {
            rule: &mut *self.rule,
            solver: &mut *self.solver,
            loss: self.config.loss,
            regularizer: self.config.regularizer,
            exec: &mut self.exec,
        };
        let (net, step, optimizer) = (&mut self.net, &mut self.step, &mut self.optimizer);
        let report = match &mut self.holder {
            HoldState::Cayley(cayley) => step.rotate(net, x, t, &mut recipe, optimizer, cayley)?,
            _ => step.update(net, x, t, &mut recipe, optimizer)?,
        };
        let clock = Instant::now();
        self.holder.after_step(net, &mut self.exec)?;
        step.phases.hold += clock.elapsed();
        let after = match self.config.decorrelation {
            Some(setting) => step.decorrelate(net, setting, &mut self.exec),
            None => Ok(()),
        };
        after.and_then(|()| step.teach(net, &mut *self.solver, &mut self.exec)).map_err(|e| e.in_step(optimizer.steps()))?;
        *learned += batch.len();
        Ok(report)
    }

    /// Time spent in each phase of all steps so far.
    pub fn phases(&self) -> Phases {
        self.step.phases
    }

    /// Returns loss and accuracy on `samples`.
    ///
    /// # Errors
    /// As [`evaluate()`].
    pub fn evaluate<'s>(&self, samples: impl TryInto<SamplesRef<'s, T>, Error: Into<Error>>) -> Result<Score> {
        evaluate(&self.net, samples, self.config.loss, &self.exec.plan)
    }

    /// Returns the class of each row of `x`; see [`Network::predict`].
    ///
    /// # Errors
    /// As [`Network::predict`].
    pub fn predict(&self, x: MatRef<'_, T>) -> Result<Vec<u32>> {
        self.net.predict(x)
    }

    /// Plan of the kernels.
    pub(crate) fn plan(&self) -> &Plan {
        &self.exec.plan
    }

    /// Runs a measurement that changes nothing on the first batch of `samples`, with a fresh solver
    /// of the configured kind, or with the trainer's learned inverses.
    pub(crate) fn look<R>(&mut self, samples: SamplesRef<'_, T>, at: Look<T, R>) -> Result<R> {
        check_samples(samples, &self.net)?;
        let first: Vec<u32> = (0..self.config.batch.min(samples.len()) as u32).collect();
        let (x, t) = gather(samples, &first, self.net.labels(), &mut self.input, &mut self.target)?;
        let TrainConfig { solver, loss, regularizer, .. } = self.config;
        let mut fresh = solver.build(self.config.tuning(0)?)?;
        // A learned inverse is part of what is measured, and a solve does not change it.
        let solver = if self.solver.learns() { &mut *self.solver } else { &mut *fresh };
        let mut recipe = Recipe { rule: &mut *self.rule, solver, loss, regularizer, exec: &mut self.exec };
        at(&self.net, x, t, &mut recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;
    use crate::rule::LearningRule;

    /// A damaged state may claim any number of samples. Their order is allocated only when there
    /// are as many samples.
    #[test]
    fn a_state_of_billions_of_samples_takes_no_memory_for_them() {
        let architecture = Architecture::square(4, 3, 1, 2).unwrap();
        let config = TrainConfig { batch: 2, shuffle: true, ..TrainConfig::published(LearningRule::Gait) };
        let made = || Trainer::<f64>::new(&architecture, config, 1).unwrap();
        let samples =
            Samples { features: 4, len: 6, x: (0..24).map(|i| f64::from(i) / 24.0).collect(), labels: vec![0, 1, 0, 1, 0, 1] };
        let mut trainer = made();
        assert!(trainer.epoch_with(&samples, |_, _| ControlFlow::Break(())).unwrap().stopped);
        let mut state = trainer.save();
        state.put("samples", u32::MAX.into());

        let mut restored = made();
        restored.restore(state).unwrap();
        assert_eq!((restored.progress.samples, restored.progress.order.capacity()), (u32::MAX as usize, 0));
        // Other samples start a new epoch.
        assert!(!restored.epoch(&samples).unwrap().stopped);
        assert_eq!(restored.progress.order.len(), 6);
    }
}
