//! Epochs of batches.

use crate::base::error::{Error, Result};
use crate::base::rng::Rng;
use crate::data::{self, Samples};
use crate::model::loss::{self, Loss, Score};
use crate::model::network::Network;
use crate::model::network::Trace;
use crate::ortho::{Hold, Holder, Regularizer};
use crate::rule::Rule;
use crate::solve::{Solver, Solves};
use crate::step::optimizer::{Optimizer, OptimizerConfig};
use crate::step::{Fused, Phases, Recipe, Report, Workspace, check_rotations};
use crate::store::checkpoint::State;
use gaitprop_kernels::{Backend, MatRef, Plan, Real, Scratch};
use std::ops::ControlFlow;
use std::time::Instant;

/// What a trainer is made of, besides the network.
pub struct Method<T> {
    /// How credit is assigned.
    pub rule: Box<dyn Rule<T>>,
    /// How targets go through inverses.
    pub inverse: Box<dyn Solver<T>>,
    /// The loss.
    pub loss: Loss,
    /// The regulariser.
    pub ortho: Regularizer,
    /// What else holds weights near orthogonal.
    pub hold: Hold,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Samples a step.
    pub batch: usize,
    /// The seed of the order of samples; `None` takes them as they come, every epoch the same (the published way).
    pub shuffle: Option<u64>,
}

/// Trains a network; owns everything that changes.
pub struct Trainer<T> {
    net: Network<T>,
    /// The network at the start of the epoch.
    good: Network<T>,
    method: Method<T>,
    optimizer: Optimizer<T>,
    holder: Holder<T>,
    engine: Engine<T>,
    plan: Plan,
    shuffle: Option<Rng>,
    /// The epoch: whether it has begun and not ended, its order of samples, how many of them are learned, and what that came to.
    under_way: bool,
    /// How many samples it has.
    of: usize,
    /// Empty until it is drawn.
    order: Vec<u32>,
    /// What the order was drawn by, as it was before.
    drawn_by: Option<Rng>,
    learned: usize,
    sofar: Epoch,
    input: Vec<T>,
    target: Vec<T>,
}

/// A look at a network on one batch: `diagnostics`.
pub(crate) type Look<T, R> = fn(&Network<T>, MatRef<'_, T>, MatRef<'_, T>, &Recipe<'_, T>, &mut dyn Solver<T>) -> Result<R>;

/// How steps are taken: with the same results, but for a plan's other backend.
enum Engine<T> {
    /// By the fused step.
    Fused(Box<Fused<T>>),
    /// Phase by phase: for other people's products, and for rotations, which take the place of gradient and optimiser.
    Plain(Box<Workspace<T>>),
}

impl<T: Real> Engine<T> {
    fn scratch(&mut self) -> &mut Scratch {
        match self {
            Self::Fused(fused) => &mut fused.scratch,
            Self::Plain(plain) => &mut plain.scratch,
        }
    }
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Loss and right answers on each batch just before it was learned.
    pub score: Score,
    /// All solves.
    pub solves: Solves,
    /// Steps taken.
    pub steps: usize,
    /// Whether the caller ended it early.
    pub stopped: bool,
}

impl Epoch {
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

/// Puts in weights and biases, under names that begin so.
fn put_network<T: Real>(state: &mut State<T>, prefix: &str, net: &Network<T>) {
    for (l, layer) in net.layers().iter().enumerate() {
        state.put_array(format!("{prefix}W{l}"), &[layer.fed(), layer.width()], layer.w.data());
        state.put_array(format!("{prefix}b{l}"), &[layer.width()], &layer.b);
    }
}

/// The same, back.
fn take_network<T: Real>(state: &State<T>, prefix: &str, net: &mut Network<T>) -> Result<()> {
    for (l, layer) in net.layers_mut().iter_mut().enumerate() {
        state.copy_array(&format!("{prefix}W{l}"), layer.w.data_mut())?;
        state.copy_array(&format!("{prefix}b{l}"), &mut layer.b)?;
    }
    Ok(())
}

impl<T: Real> Trainer<T> {
    /// # Errors
    /// [`Error::Setting`] for a batch of 0 samples, or for settings out of range or at odds.
    pub fn new(net: Network<T>, method: Method<T>, plan: Plan) -> Result<Self> {
        if method.batch == 0 {
            return Err(Error::Setting("a batch of 0 samples teaches nothing: use --batch 1 or more".into()));
        }
        method.optimizer.check()?;
        if method.hold == Hold::Cayley {
            check_rotations(method.optimizer.rule, method.ortho.lambda)?;
        }
        Ok(Self {
            optimizer: Optimizer::new(method.optimizer, &net),
            holder: Holder::new(method.hold, &net, method.batch)?,
            engine: if plan.backend == Backend::Native && method.hold != Hold::Cayley {
                Engine::Fused(Box::new(Fused::new(&net, method.batch)))
            } else {
                Engine::Plain(Box::new(Workspace::new(&net, method.batch)))
            },
            shuffle: method.shuffle.map(|seed| Rng::new(seed, 1)),
            under_way: false,
            of: 0,
            order: Vec::new(),
            drawn_by: None,
            learned: 0,
            sofar: Epoch::default(),
            input: vec![T::ZERO; method.batch * net.inputs()],
            target: vec![T::ZERO; method.batch * net.labels()],
            good: net.clone(),
            net,
            method,
            plan,
        })
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network<T> {
        &self.net
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// What holds weights near orthogonal.
    pub fn holder(&self) -> &Holder<T> {
        &self.holder
    }

    /// One pass over `samples`; `watch` is called after each step and may end the epoch early: the next call then goes on with it.
    ///
    /// # Errors
    /// As [`Workspace::step`]; [`Error::TooFar`] from a retraction. After [`Error::Singular`], [`Error::OutOfRange`] and [`Error::NotOrthogonal`] the parameters
    /// are those after the last good step; after all others those at the start of the epoch, since steps before a divergence are seldom worth keeping, with
    /// the optimiser's moments forgotten.
    pub fn epoch(&mut self, samples: &Samples<T>, mut watch: impl FnMut(&Report) -> ControlFlow<()>) -> Result<Epoch> {
        self.epoch_with(samples, |_, report| watch(report))
    }

    /// [`Trainer::epoch`], with a look at the trainer itself after each step.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn epoch_with(
        &mut self,
        samples: &Samples<T>,
        mut watch: impl FnMut(&Self, &Report) -> ControlFlow<()>,
    ) -> Result<Epoch> {
        self.check(samples)?;
        if !self.under_way || self.of != samples.len {
            self.begin(samples.len);
        }
        if self.order.is_empty() {
            // The next epoch, or one that was restored.
            self.draw();
        }
        while self.learned < samples.len {
            let report = match self.step(samples) {
                Err(e) => {
                    self.under_way = false;
                    if !raised_before_changes(&e) {
                        self.net.copy_from(&self.good);
                        self.optimizer.reset();
                        self.method.inverse.weights_changed();
                    }
                    return Err(e);
                }
                Ok(report) => report,
            };
            self.sofar.score.add(report.score);
            self.sofar.solves.merge(&report.solves);
            self.sofar.steps += 1;
            if watch(self, &report).is_break() {
                return Ok(Epoch { stopped: true, ..self.sofar });
            }
        }
        self.under_way = false;
        Ok(self.sofar)
    }

    /// The start of an epoch.
    fn begin(&mut self, samples: usize) {
        self.good.copy_from(&self.net);
        self.order.clear();
        (self.under_way, self.of, self.learned, self.sofar) = (true, samples, 0, Epoch::default());
    }

    /// The order of the samples of the epoch under way.
    fn draw(&mut self) {
        self.order.extend(0..self.of as u32);
        self.drawn_by.clone_from(&self.shuffle);
        if let Some(rng) = &mut self.shuffle {
            rng.shuffle(&mut self.order);
        }
    }

    /// Samples that the epoch under way has learned; 0 if none is.
    pub fn learned(&self) -> usize {
        if self.under_way { self.learned } else { 0 }
    }

    /// What the epoch under way has come to so far, or else the last one.
    pub fn sofar(&self) -> &Epoch {
        &self.sofar
    }

    /// Whether every sample of the epoch under way has been learned, or none is under way.
    pub fn between_epochs(&self) -> bool {
        !self.under_way || self.learned == self.of
    }

    /// All that later steps depend on, between two of them: parameters, moments, the order of samples and the place in it, what weights are held by,
    /// and what the way through inverses remembers.
    pub fn save(&self) -> State<T> {
        let mut state = State::default();
        put_network(&mut state, "", &self.net);
        state.put_part("optimizer", self.optimizer.save(&self.net));
        state.put_part("inverse", self.method.inverse.save());
        state.put("held", self.holder.steps());
        // The order of an epoch is drawn at its start, and can be drawn again.
        if let Some((words, _)) = if self.under_way { &self.drawn_by } else { &self.shuffle }.as_ref().map(Rng::state) {
            words.iter().enumerate().for_each(|(i, &word)| state.put(format!("shuffle.{i}"), word));
        }
        state.put("under-way", self.under_way.into());
        if self.under_way {
            // Where a divergence would lead back to.
            put_network(&mut state, "start.", &self.good);
            state.put("samples", self.of as u64);
            state.put("learned", self.learned as u64);
            state.put_part("sofar", self.sofar.save());
        }
        state
    }

    /// Goes on as the trainer did whose state this is, to the bit. It must have been made in the same way, for a network of the same shape.
    ///
    /// # Errors
    /// [`Error::Setting`] for a state of something else; this trainer may then be used no more.
    pub fn restore(&mut self, mut state: State<T>) -> Result<()> {
        take_network(&state, "", &mut self.net)?;
        self.optimizer.restore(&state.take_part("optimizer"))?;
        self.method.inverse.restore(state.take_part("inverse"))?;
        self.holder.set_steps(state.get("held")?);
        if self.shuffle.is_some() {
            let word = |i: usize| state.get(&format!("shuffle.{i}"));
            self.shuffle = Rng::from_state([word(0)?, word(1)?, word(2)?, word(3)?], None);
        }
        self.under_way = false;
        if state.get_flag("under-way")? {
            let samples = state.get_as::<u32>("samples")? as usize;
            // Its order is not drawn before there are so many samples: a damaged state may claim billions.
            self.begin(samples);
            self.drawn_by.clone_from(&self.shuffle);
            take_network(&state, "start.", &mut self.good)?;
            self.learned = state.get_as::<u32>("learned")? as usize;
            self.sofar = Epoch::restore(&state.take_part("sofar"))?;
            if self.learned > samples {
                let learned = self.learned;
                return Err(Error::Setting(format!("the state has learned {learned} of {samples} samples")));
            }
        }
        Ok(())
    }

    fn check(&self, samples: &Samples<T>) -> Result<()> {
        check_samples(samples, &self.net)
    }

    /// The next batch of the epoch under way.
    fn step(&mut self, samples: &Samples<T>) -> Result<Report> {
        let Self { net, method, optimizer, holder, engine, plan, input, target, order, learned, .. } = self;
        let batch = &order[*learned..order.len().min(*learned + method.batch)];
        let (x, t) = gather(samples, batch, net.labels(), input, target)?;
        let Method { rule, inverse, loss, ortho, .. } = method;
        let recipe = Recipe { rule: &**rule, loss: *loss, ortho: *ortho, plan };
        let report = match engine {
            Engine::Fused(fused) => fused.step(net, x, t, &recipe, &mut **inverse, optimizer)?,
            Engine::Plain(plain) => match holder {
                Holder::Cayley(cayley) => plain.step_by_rotations(net, x, t, &recipe, &mut **inverse, optimizer, cayley)?,
                _ => plain.step(net, x, t, &recipe, &mut **inverse, optimizer)?,
            },
        };
        // The inverse has been told already that weights change, and has not been asked since.
        let clock = Instant::now();
        holder.after_step(net, plan, engine.scratch())?;
        if let Engine::Fused(fused) = engine {
            fused.phases.hold += clock.elapsed();
        }
        *learned += batch.len();
        Ok(report)
    }

    /// Where the time of all steps so far went; `None` if they were not fused.
    pub fn phases(&self) -> Option<Phases> {
        match &self.engine {
            Engine::Fused(fused) => Some(fused.phases),
            Engine::Plain(_) => None,
        }
    }

    /// Loss and accuracy on `samples`.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(&self, samples: &Samples<T>) -> Result<Score> {
        evaluate(&self.net, samples, self.method.loss, &self.plan)
    }

    /// Network, regularizer and plan, for those who measure.
    pub(crate) fn parts(&self) -> (&Network<T>, &Regularizer, &Plan) {
        (&self.net, &self.method.ortho, &self.plan)
    }

    /// Shows the network and its first batch to someone who changes nothing.
    pub(crate) fn look<R>(&mut self, samples: &Samples<T>, inverse: &mut dyn Solver<T>, at: Look<T, R>) -> Result<R> {
        self.check(samples)?;
        let first: Vec<u32> = (0..self.method.batch.min(samples.len) as u32).collect();
        let (x, t) = gather(samples, &first, self.net.labels(), &mut self.input, &mut self.target)?;
        let Method { rule, loss, ortho, .. } = &self.method;
        let recipe = Recipe { rule: &**rule, loss: *loss, ortho: *ortho, plan: &self.plan };
        inverse.weights_changed();
        at(&self.net, x, t, &recipe, inverse)
    }
}

/// Whether an error of a step is raised only while all parameters are as they were.
fn raised_before_changes(e: &Error) -> bool {
    matches!(e, Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. })
}

/// Refuses samples that are not for this network, or that contradict themselves.
fn check_samples<T: Real>(samples: &Samples<T>, net: &Network<T>) -> Result<()> {
    if samples.features != net.inputs() {
        let what = format!("it reads {} inputs, but the samples have {} features", net.inputs(), samples.features);
        return Err(Error::Architecture { layer: 0, what });
    }
    let whole = samples.labels.len() == samples.len && Some(samples.x.len()) == samples.len.checked_mul(samples.features);
    if !whole || u32::try_from(samples.len).is_err() {
        let (x, labels, len) = (samples.x.len(), samples.labels.len(), samples.len);
        return Err(Error::Setting(format!("{len} samples cannot have {x} values and {labels} labels")));
    }
    match samples.labels.iter().position(|&l| l as usize >= net.labels()) {
        None => Ok(()),
        Some(i) => {
            let (label, labels) = (samples.labels[i], net.labels());
            Err(Error::Setting(format!("sample {i} has label {label}, but the network tells {labels} classes apart")))
        }
    }
}

/// Copies a batch's samples side by side and writes their one-hot targets.
fn gather<'b, T: Real>(
    samples: &Samples<T>,
    batch: &[u32],
    labels: usize,
    input: &'b mut [T],
    target: &'b mut [T],
) -> Result<(MatRef<'b, T>, MatRef<'b, T>)> {
    let n = samples.features;
    for (row, &i) in input.chunks_exact_mut(n.max(1)).zip(batch) {
        row.copy_from_slice(&samples.x[i as usize * n..][..n]);
    }
    let target = &mut target[..batch.len() * labels];
    target.fill(T::ZERO);
    for (row, &i) in target.chunks_exact_mut(labels).zip(batch) {
        row[samples.labels[i as usize] as usize] = T::ONE;
    }
    Ok((MatRef::new(&input[..batch.len() * n], batch.len(), n)?, MatRef::new(target, batch.len(), labels)?))
}

/// Samples that [`evaluate`] takes at a time: enough for full tiles, few enough to stay in cache.
const EVALUATION_BATCH: usize = 240;

/// Loss and accuracy of a network on `samples`.
///
/// # Errors
/// A shape error if the samples are not the network's; [`Error::Setting`] for a label it cannot tell.
pub fn evaluate<T: Real>(net: &Network<T>, samples: &Samples<T>, loss: Loss, plan: &Plan) -> Result<Score> {
    check_samples(samples, net)?;
    let (n, labels) = (samples.features, net.labels());
    let mut trace = Trace::new(net, EVALUATION_BATCH.min(samples.len));
    let mut scratch = Scratch::new();
    let mut target = vec![T::ZERO; EVALUATION_BATCH * labels];
    let mut score = Score::default();
    for first in (0..samples.len).step_by(EVALUATION_BATCH) {
        let count = EVALUATION_BATCH.min(samples.len - first);
        let x = MatRef::new(&samples.x[first * n..(first + count) * n], count, n)?;
        let target = &mut target[..count * labels];
        data::one_hot(&samples.labels[first..first + count], labels, target);
        net.forward(x, &mut trace, plan, &mut scratch)?;
        score.add(loss::score(loss, trace.output(), MatRef::new(target, count, labels)?, None)?);
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::init::Init;
    use crate::model::network::Architecture;
    use crate::solve::Tuning;
    use crate::step::optimizer;
    use crate::{rule, solve};

    /// A damaged state may claim any number of samples: their order takes no memory before there are as many.
    #[test]
    fn a_state_of_billions_of_samples_takes_no_memory_for_them() {
        let plan = Plan::new();
        let architecture = Architecture::square(4, 3, 1, 2).unwrap();
        let made = || {
            let method = Method {
                rule: rule::LearningRule::Gait.build(&rule::RuleConfig::new(&architecture), &plan).unwrap(),
                inverse: solve::SolverKind::Lu.build(Tuning::new(1e-2).unwrap()).unwrap(),
                loss: Loss::Squared,
                ortho: Regularizer::new(0.0).unwrap(),
                hold: Hold::Free,
                optimizer: optimizer::OptimizerConfig::new(optimizer::OptimizerKind::Sgd, 1e-3).unwrap(),
                batch: 2,
                shuffle: Some(1),
            };
            Trainer::new(Network::<f64>::random(&architecture, Init::Orthogonal, 3, &plan).unwrap(), method, plan.clone())
                .unwrap()
        };
        let samples =
            Samples { features: 4, len: 6, x: (0..24).map(|i| f64::from(i) / 24.0).collect(), labels: vec![0, 1, 0, 1, 0, 1] };
        let mut trainer = made();
        assert!(trainer.epoch(&samples, |_| ControlFlow::Break(())).unwrap().stopped);
        let mut state = trainer.save();
        state.put("samples", u32::MAX.into());

        let mut restored = made();
        restored.restore(state).unwrap();
        assert_eq!((restored.of, restored.order.capacity()), (u32::MAX as usize, 0));
        // Samples that are not those begin an epoch of their own.
        assert!(!restored.epoch(&samples, |_| ControlFlow::Continue(())).unwrap().stopped);
        assert_eq!(restored.order.len(), 6);
    }
}
