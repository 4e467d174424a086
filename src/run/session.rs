//! One rule's training, with its folder of results if it has one: what `train` and other commands run.

use crate::base::error::{Error, Result};
use crate::base::memory;
use crate::data::{Affine, Prepared, Samples};
use crate::model::loss::Score;
use crate::model::network::{Architecture, Network};
use crate::run::checkpoints;
use crate::run::checkpoints::Notes as Saved;
use crate::run::config::RunConfig;
use crate::run::dir::Folder;
use crate::run::metrics::{Diagnostics, End, Epoch, Event, Measured, Stopping};
use crate::run::options::Options;
use crate::store::checkpoint::{State, VERSION};
use crate::store::weights::WEIGHTS;
use crate::store::weights::{self, Notes};
use crate::study::diagnostics::Alignment;
use crate::train::{EarlyStopping, TrainConfig, Trainer};
use gaitprop_kernels::{Plan, Real};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// One rule in training.
pub(crate) struct Session<'a, T> {
    run: &'a RunConfig,
    data: &'a Prepared<T>,
    inputs: &'a Affine,
    trainer: Trainer<T>,
    keeper: Option<Keeper>,
    course: Course,
    /// The folder holds the end of the run already.
    finished: bool,
}

/// How far a session has come, its trainer aside.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    epochs: usize,
    seconds: f64,
    /// Of them, those of the epoch under way.
    epoch_seconds: f64,
    stopping: EarlyStopping,
}

impl Course {
    fn later(self, by: Duration) -> Self {
        let by = by.as_secs_f64();
        Self { seconds: self.seconds + by, epoch_seconds: self.epoch_seconds + by, ..self }
    }

    fn save<T: Real>(&self) -> State<T> {
        let mut state = State::default();
        state.put("epochs", self.epochs as u64);
        state.put_f64("seconds", self.seconds);
        state.put_f64("epoch-seconds", self.epoch_seconds);
        if let Some((epoch, loss)) = self.stopping.best() {
            state.put("best-epoch", epoch as u64);
            state.put_f64("best-loss", loss);
        }
        state
    }

    fn restore<T: Real>(self, state: &State<T>) -> Result<Self> {
        let loss = state.find_f64("best-loss");
        let best = loss.map(|loss| state.get_as("best-epoch").map(|epoch| (epoch, loss))).transpose()?;
        Ok(Self {
            epochs: state.get_as("epochs")?,
            seconds: state.get_f64("seconds")?,
            epoch_seconds: state.get_f64("epoch-seconds")?,
            stopping: self.stopping.with_best(best),
        })
    }
}

/// A folder of results with what decides when a checkpoint is due.
struct Keeper {
    folder: Folder,
    /// Steps from one to the next; by time where there is none.
    every: Option<u64>,
    keep: usize,
    config: Options,
    data: u32,
    /// Of the last checkpoint: when, and after how many steps and epochs.
    last: (Instant, Option<(u64, usize)>),
    /// Bytes of metrics and events at the checkpoint that the run goes on from, if it does.
    resumed_at: (u64, u64),
}

/// Time from one checkpoint to the next where steps are not counted.
const MINUTE: Duration = Duration::from_secs(60);

impl Keeper {
    fn new<T: Real>(run: &RunConfig, data: &Prepared<T>, folder: Folder) -> Self {
        let (every, keep, config, data) = (run.checkpoint_every(), run.keep(), run.deciding(), fingerprint(data));
        Self { folder, every, keep, config, data, last: (Instant::now(), None), resumed_at: (0, 0) }
    }

    fn due(&self, steps: u64) -> bool {
        match self.every {
            Some(every) => steps.is_multiple_of(every),
            None => self.last.0.elapsed() >= MINUTE,
        }
    }

    /// Writes a checkpoint, unless the last one was of the same moment.
    fn write<T: Real>(&mut self, trainer: &Trainer<T>, course: &Course) -> Result<()> {
        let at = (trainer.steps(), course.epochs);
        if self.last.1 == Some(at) {
            return Ok(());
        }
        let mut state = trainer.save();
        state.put_part("course", course.save());
        let (metrics, events) = self.folder.lengths()?;
        let notes = Saved { config: self.config.to_toml()?, data: self.data, metrics, events };
        checkpoints::write(self.folder.path(), at.0, self.keep, &state, &notes)?;
        self.last = (Instant::now(), Some(at));
        Ok(())
    }
}

/// A checksum of the samples that decide a run, those held out included: other ones would make another.
fn fingerprint<T: Real>(data: &Prepared<T>) -> u32 {
    data.validation.iter().fold(checksum(0, &data.train), checksum)
}

fn checksum<T: Real>(mut sum: u32, samples: &Samples<T>) -> u32 {
    for some in samples.x.chunks(1 << 12) {
        sum = crc32c::crc32c_append(sum, &weights::bytes_of(some));
    }
    let labels = samples.labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<_>>();
    crc32c::crc32c_append(sum, &labels)
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Which, from 1.
    pub(crate) epoch: usize,
    /// Samples of the last step.
    pub(crate) learned: usize,
    /// All of the epoch so far.
    pub(crate) sofar: Score,
}

impl<'a, T: Real> Session<'a, T> {
    /// A new network, before its first step. `data` is as `inputs` has made it.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Network::random`].
    pub(crate) fn new(
        run: &'a RunConfig,
        (data, inputs): (&'a Prepared<T>, &'a Affine),
        plan: Plan,
        folder: Option<Folder>,
    ) -> Result<Self> {
        // Buffers for more samples than there are would be wasted.
        let config = TrainConfig { batch: run.train.batch.min(data.train.len), ..run.train };
        let net = Network::random(&run.architecture, run.train.init, run.seed, &plan)?;
        let trainer = Trainer::from_network(net, config, run.seed, plan)?;
        let keeper = folder.map(|folder| Keeper::new(run, data, folder));
        Ok(Self {
            run,
            data,
            inputs,
            trainer,
            keeper,
            course: Course { stopping: EarlyStopping::new(run.patience()), ..Course::default() },
            finished: false,
        })
    }

    /// [`Session::new`], from the newest checkpoint in its folder that can be read, or from the start if there is none yet. The folder is changed by
    /// [`Session::reopen`] alone. Returns what there is to be said about it as well.
    ///
    /// # Errors
    /// As [`Session::new`] and [`checkpoints::newest`]; [`Error::Setting`] if the settings or the samples are no longer those of the run.
    pub(crate) fn resume(
        run: &'a RunConfig,
        (data, inputs): (&'a Prepared<T>, &'a Affine),
        plan: Plan,
        folder: Folder,
    ) -> Result<(Self, Vec<String>)> {
        let mut session = Self::new(run, (data, inputs), plan, Some(folder))?;
        let keeper = session.keeper.as_mut().expect("just given");
        let dir = keeper.folder.path().to_owned();
        let Some(found) = checkpoints::newest::<T>(&dir)? else { return Ok((session, Vec::new())) };
        let wrong = |what: String| Err(Error::File { path: found.path.clone(), what });
        let then = Options::parse(&found.notes.config, &found.path).map_err(|e| match e {
            Error::File { path, what } => Error::File { path, what: format!("written by an earlier version, {what}") },
            other => other,
        })?;
        if (Options { hold: Some(then.holding()), ..then }) != keeper.config {
            return wrong("its settings are not those of the folder's config.toml, which was changed since: undo that, or train another run (--config, --out)".into());
        }
        if found.notes.data != keeper.data {
            return wrong("it has learned or held out other samples than there are now: the data set was changed since: bring it back, or train another run (--out)".into());
        }
        let mut said: Vec<String> =
            found.damaged.iter().map(|e| format!("{e}; going back to {}", found.path.display())).collect();
        if found.version != VERSION {
            let (path, version) = (found.path.display(), &found.version);
            said.push(format!("{path}: written by version {version}, this is {VERSION}: the last bits may differ"));
        }
        let mut state = found.state;
        let course = state.take_part("course");
        let unfit = |e: Error| Error::File { path: found.path.clone(), what: e.to_string() };
        session.course = session.course.restore(&course).map_err(unfit)?;
        session.trainer.restore(state).map_err(unfit)?;
        keeper.last.1 = Some((session.trainer.steps(), session.course.epochs));
        keeper.resumed_at = (found.notes.metrics, found.notes.events);
        session.finished = keeper.folder.ended(found.notes.metrics) && session.over();
        let (done, begun) = (session.course.epochs, session.trainer.learned() > 0);
        if !session.finished && (done > run.epochs || (done == run.epochs && begun)) {
            let what = format!("--epochs {}: the run has come further than that; leave it out, or say more", run.epochs);
            return Err(Error::Setting(what));
        }
        Ok((session, said))
    }

    /// Cuts off what the folder holds beyond the checkpoint that was resumed.
    ///
    /// # Errors
    /// As [`Folder::cut`].
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.folder.cut(keeper.resumed_at))
    }

    /// Its settings.
    pub(crate) fn run(&self) -> &'a RunConfig {
        self.run
    }
    /// The trainer, with the network.
    pub(crate) fn trainer(&self) -> &Trainer<T> {
        &self.trainer
    }
    /// Epochs that are done.
    pub(crate) fn epochs(&self) -> usize {
        self.course.epochs
    }
    /// Seconds of training so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.course.seconds
    }
    /// Samples of an epoch.
    pub(crate) fn samples(&self) -> usize {
        self.data.train.len
    }
    /// How many samples the epoch under way has learned.
    pub(crate) fn learned(&self) -> usize {
        self.trainer.learned()
    }
    /// Its folder of results.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.keeper.as_ref().map(|keeper| keeper.folder.path())
    }
    /// Whether its folder held the end of the run already when it was resumed.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }
    /// What validation has decided, if there is any.
    pub(crate) fn stopping(&self) -> Option<Stopping> {
        self.data.validation.as_ref()?;
        let (best_epoch, best_validation_loss) = self.course.stopping.best().unwrap_or((0, f64::NAN));
        let late = self.course.stopping.should_stop(self.course.epochs);
        let stopped_early = late && self.course.epochs < self.run.epochs;
        Some(Stopping { stopped_early, best_epoch, best_validation_loss: Some(best_validation_loss) })
    }
    /// Whether there is nothing left to train.
    pub(crate) fn over(&self) -> bool {
        self.course.epochs >= self.run.epochs || self.stopping().is_some_and(|s| s.stopped_early)
    }

    /// One epoch, or the rest of it; `watch` is called after each step and may end it early: false is then returned. A folder gets its line, the
    /// weights if validation has found none better, and checkpoints when they are due.
    ///
    /// # Errors
    /// As [`Trainer::epoch`]; [`Error::Io`] for what cannot be written.
    pub(crate) fn epoch(&mut self, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<bool> {
        let start = Instant::now();
        let Self { data, trainer, keeper, course, .. } = self;
        let epoch = course.epochs + 1;
        let (mut due, mut written) = (false, Ok(()));
        let done = trainer.epoch_with(&data.train, |trainer, report| {
            let go_on = watch(Progress { epoch, learned: report.score.samples, sofar: trainer.sofar().score });
            match keeper {
                Some(keeper) if keeper.due(trainer.steps()) => {
                    if trainer.between_epochs() {
                        // When the epoch's line is written.
                        due = true;
                        return go_on;
                    }
                    written = keeper.write(trainer, &course.later(start.elapsed()));
                    if written.is_err() { ControlFlow::Break(()) } else { go_on }
                }
                _ => go_on,
            }
        })?;
        *course = course.later(start.elapsed());
        written?;
        if done.stopped {
            return Ok(false);
        }
        let seconds = std::mem::take(&mut course.epoch_seconds);
        course.epochs = epoch;
        if self.keeper.is_some() || self.run.patience().is_some() {
            let measured = self.measure(done.score)?;
            if measured.validation.is_some_and(|s| self.course.stopping.observe(epoch, s.mean_loss())) {
                self.save_best()?;
            }
            if let Some(keeper) = &mut self.keeper {
                keeper.folder.write(&Event::Epoch(Epoch::new(self.run, epoch, &done, &measured, seconds)))?;
            }
            self.diagnose()?;
        }
        if due {
            self.save()?;
        }
        Ok(true)
    }

    /// Writes a checkpoint of this moment, if there is a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; older ones are then still there.
    pub(crate) fn save(&mut self) -> Result<()> {
        let Self { trainer, keeper, course, .. } = self;
        keeper.as_mut().map_or(Ok(()), |keeper| keeper.write(trainer, course))
    }

    /// What the network is like now; `train` is what is known of the training samples.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`], and as [`Trainer::alignment`] but for those that merely leave it empty.
    pub(crate) fn measure(&mut self, train: Score) -> Result<Measured> {
        let alignment = match self.alignment() {
            // What cannot be measured need not end the run: if it must end, its next step will say so.
            Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) => Vec::new(),
            other => other?,
        };
        let (trainer, data) = (&self.trainer, self.data);
        let validation = data.validation.as_ref().map(|held| trainer.evaluate(held)).transpose()?;
        Ok(Measured { train, validation, test: trainer.evaluate(&data.test)?, alignment, offdiag: trainer.orthogonality()? })
    }

    /// Writes a line about the layers into the folder, if there is one and it is time for one.
    fn diagnose(&mut self) -> Result<()> {
        let every = self.run.diagnose_every;
        let epochs = self.course.epochs;
        let Some(keeper) = self.keeper.as_mut().filter(|_| every > 0 && epochs.is_multiple_of(every)) else { return Ok(()) };
        let layers = self.trainer.examine(&self.data.train)?;
        let (epoch, step, rule) = (epochs as u64, self.trainer.steps(), self.run.train.rule.to_string());
        let layers = layers.into_iter().map(Into::into).collect();
        keeper.folder.write(&Event::Diagnostics(Diagnostics { epoch, step, rule, layers }))
    }

    /// Through an inverse of the run's kind without a memory, so that it depends on the weights alone.
    fn alignment(&mut self) -> Result<Vec<Alignment>> {
        self.trainer.alignment(&self.data.train)
    }

    /// Writes the weights into the folder, if there is one.
    ///
    /// # Errors
    /// As [`weights::save`].
    pub(crate) fn save_weights(&self) -> Result<()> {
        self.dir().map_or(Ok(()), |dir| self.save_network(&dir.join(WEIGHTS)))
    }

    fn save_best(&self) -> Result<()> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| self.save_network(&keeper.folder.best()))
    }

    fn save_network(&self, path: &Path) -> Result<()> {
        let (loss, rule) = (self.run.train.loss.to_string(), self.run.train.rule.to_string());
        weights::save(path, self.trainer.network(), &Notes { loss, rule, inputs: self.inputs.clone() })
    }

    /// Measures the network as it is at the end, on all training samples, and writes the last line of metrics.
    ///
    /// # Errors
    /// As [`Session::measure`]; [`Error::Io`] for a line that cannot be written.
    pub(crate) fn finish(&mut self) -> Result<Measured> {
        let measured = self.measure(self.trainer.evaluate(&self.data.train)?)?;
        let (so_far, ending) = ((self.course.epochs, self.trainer.steps()), (self.over(), self.stopping()));
        if let Some(keeper) = &mut self.keeper {
            keeper.folder.write(&Event::End(End::new(self.run, so_far, ending, &measured, self.course.seconds)))?;
        }
        Ok(measured)
    }
}

/// Asks the system once for about the memory that a training holds, so that a network which it refuses is an error and not the end of the
/// process. (A system that promises more than it has finds out later.)
///
/// # Errors
/// [`Error::Setting`] saying how much that is.
pub(crate) fn check_memory<T: Real>(shape: &Architecture, batch: usize, runs: usize) -> Result<()> {
    let sum = |of: fn(&(usize, usize)) -> usize| shape.layers.iter().map(of).fold(0, usize::saturating_add);
    let (weights, units) = (sum(|(fan_in, width)| fan_in.saturating_mul(*width)), sum(|(_, width)| *width));
    // Weights, the epoch's start, two moments, gradients, factors of the solver, and the next weights; of samples, activities and errors.
    let numbers = weights.saturating_mul(8).saturating_add(units.saturating_mul(batch).saturating_mul(2));
    let instead = "use fewer or narrower layers (--hidden, --width), a smaller --batch, or fewer runs at once (--threads)";
    ask_for(numbers.saturating_mul(size_of::<T>()).saturating_mul(runs), "training", instead)
}

/// Asks the system once for so much memory, which `what` would hold; `instead` says what to do if it is refused.
///
/// # Errors
/// [`Error::Setting`] saying how much that is.
pub(crate) fn ask_for(bytes: usize, what: &'static str, instead: &str) -> Result<()> {
    memory::ask_for(bytes, what).map_err(|e| Error::Setting(format!("{e}: {instead}")))
}
