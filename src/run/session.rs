//! A training session: one run with its folder of results, if any.

use crate::base::error::{Error, Result};
use crate::base::memory;
use crate::data::{Affine, Prepared, Samples};
use crate::model::loss::Score;
use crate::model::network::{Architecture, Network};
use crate::rule::LearningRule;
use crate::run::checkpoints::{self, CheckpointMeta};
use crate::run::config::{RunConfig, completed};
use crate::run::dir::{BEST, Folder};
use crate::run::metrics::{Diagnostics, End, Epoch, Event, Layers, Scores, Stats, Stopping};
use crate::run::options::Options;
use crate::solve::SolverKind;
use crate::store::archive::bytes_of;
use crate::store::checkpoint::{State, VERSION};
use crate::store::weights::{self, Notes};
use crate::train::{EarlyStopping, TrainConfig, Trainer};
use gaitprop_kernels::{Plan, Real};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// A run in training.
pub(crate) struct Session<'a, T> {
    pub(crate) run: &'a RunConfig,
    data: &'a Prepared<T>,
    inputs: &'a Affine,
    pub(crate) trainer: Trainer<T>,
    checkpointer: Option<Checkpointer<'a>>,
    pub(crate) progress: Progress,
    /// Measurements to make after each epoch.
    pub(crate) level: MeasureLevel,
    /// Lines of metrics of this session. Only measured epochs have one.
    pub(crate) events: Vec<Event>,
    /// Training loss of each epoch of this session.
    pub(crate) losses: Vec<f64>,
    /// Whether the folder already contained the end of the run.
    pub(crate) finished: bool,
}

/// Measurements after an epoch. A run with a folder measures all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MeasureLevel {
    Nothing,
    /// Loss and accuracy.
    Scores,
    /// Also the alignment of updates and the orthogonality of weights.
    All,
}

/// Progress of a session, without its trainer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Number of completed epochs.
    pub(crate) epochs: usize,
    /// Seconds of training so far.
    pub(crate) seconds: f64,
    /// Seconds of the current epoch.
    epoch_seconds: f64,
    stopping: EarlyStopping,
}

impl Progress {
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

/// A folder of results with its checkpoint schedule.
struct Checkpointer<'a> {
    run: &'a RunConfig,
    folder: Folder,
    /// Checksum of the samples that affect the run: training and validation.
    data: u32,
    /// Time of the last checkpoint, and its steps and epochs.
    last: (Instant, Option<(u64, usize)>),
    /// Lengths of metrics and events at the checkpoint that was resumed.
    resumed_at: (u64, u64),
}

/// Time between checkpoints if steps are not counted.
const MINUTE: Duration = Duration::from_secs(60);

impl<'a> Checkpointer<'a> {
    fn new<T: Real>(run: &'a RunConfig, data: &Prepared<T>, folder: Folder) -> Self {
        let data = data.validation.iter().fold(checksum(0, &data.train), checksum);
        Self { run, folder, data, last: (Instant::now(), None), resumed_at: (0, 0) }
    }

    fn due(&self, steps: u64) -> bool {
        match self.run.options.checkpoint_every {
            Some(every) => steps.is_multiple_of(every),
            None => self.last.0.elapsed() >= MINUTE,
        }
    }

    /// Writes a checkpoint unless the last one has the same steps and epochs.
    fn write<T: Real>(&mut self, trainer: &Trainer<T>, progress: &Progress) -> Result<()> {
        let at = (trainer.steps(), progress.epochs);
        if self.last.1 == Some(at) {
            return Ok(());
        }
        let mut state = trainer.save();
        state.put_part("course", progress.save());
        let (metrics, events) = self.folder.lengths()?;
        let notes = CheckpointMeta { config: self.run.deciding().to_toml()?, data: self.data, metrics, events };
        checkpoints::write(&self.folder.dir, at.0, self.run.options.keep.unwrap_or(2), &state, &notes)?;
        self.last = (Instant::now(), Some(at));
        Ok(())
    }
}

fn checksum<T: Real>(mut sum: u32, samples: &Samples<T>) -> u32 {
    for some in samples.x.chunks(1 << 12) {
        sum = crc32c::crc32c_append(sum, &bytes_of(some));
    }
    let labels = samples.labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<_>>();
    crc32c::crc32c_append(sum, &labels)
}

/// Progress of the current epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpochProgress {
    /// Number of the epoch, from 1.
    pub(crate) epoch: usize,
    /// Samples in the last step.
    pub(crate) learned: usize,
    /// Score over the epoch so far.
    pub(crate) sofar: Score,
}

/// Reasons to pause after a step.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Pause {
    stop: bool,
    stats: bool,
    checkpoint: bool,
}

impl<'a, T: Real> Session<'a, T> {
    /// Creates a session with a new network. `data` must be scaled by `inputs`.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Network::random`].
    pub(crate) fn new(
        run: &'a RunConfig,
        (data, inputs): (&'a Prepared<T>, &'a Affine),
        plan: Plan,
        folder: Option<Folder>,
    ) -> Result<Self> {
        // Buffers need no more rows than there are samples.
        let config = TrainConfig { batch: run.train.batch.min(data.train.len), ..run.train };
        let net = Network::random(&run.architecture, run.train.init, run.seed, &plan)?;
        let trainer = Trainer::from_network(net, config, run.seed, plan)?;
        let checkpointer = folder.map(|folder| Checkpointer::new(run, data, folder));
        let progress = Progress { stopping: EarlyStopping::new(run.options.patience), ..Progress::default() };
        let level = match (&checkpointer, run.options.patience) {
            (Some(_), _) => MeasureLevel::All,
            (None, Some(_)) => MeasureLevel::Scores,
            (None, None) => MeasureLevel::Nothing,
        };
        let (events, losses) = (Vec::new(), Vec::new());
        Ok(Self { run, data, inputs, trainer, checkpointer, progress, level, events, losses, finished: false })
    }

    /// Restores a session from the newest intact checkpoint in its folder, or starts anew if there
    /// is none. Also returns notes for the user. The folder stays unchanged until
    /// [`Session::reopen`].
    ///
    /// # Errors
    /// As [`Session::new`] and [`checkpoints::newest`]; [`Error::File`] if options or samples have
    /// changed; [`Error::Setting`] for too few epochs.
    pub(crate) fn resume(
        run: &'a RunConfig,
        (data, inputs): (&'a Prepared<T>, &'a Affine),
        plan: Plan,
        folder: Folder,
    ) -> Result<(Self, Vec<String>)> {
        let mut session = Self::new(run, (data, inputs), plan, Some(folder))?;
        let checkpointer = session.checkpointer.as_mut().expect("just given");
        let dir = checkpointer.folder.dir.clone();
        let Some(found) = checkpoints::newest::<T>(&dir)? else { return Ok((session, Vec::new())) };
        let wrong = |what: String| Err(Error::File { path: found.path.clone(), what });
        let then = Options::parse(&found.meta.config, &found.path).map_err(|e| match e {
            Error::File { path, what } => Error::File { path, what: format!("written by an earlier version, {what}") },
            other => other,
        })?;
        if let Some(first) = completed(then).differences(&run.deciding())?.first() {
            return wrong(format!(
                "its settings differ from config.toml, which was changed since ({first}): undo the change, or train another run (--config, --out)"
            ));
        }
        if found.meta.data != checkpointer.data {
            return wrong(
                "its samples differ from the data set, which was changed since: restore it, or train another run (--out)".into(),
            );
        }
        let mut notes: Vec<String> =
            found.damaged.iter().map(|e| format!("{e}; resuming from {}", found.path.display())).collect();
        if found.version != VERSION {
            let (path, version) = (found.path.display(), &found.version);
            notes.push(format!("{path}: written by version {version}, this is {VERSION}: the last bits may differ"));
        }
        let mut state = found.state;
        let progress = state.take_part("course");
        let unfit = |e: Error| Error::File { path: found.path.clone(), what: e.to_string() };
        session.progress = session.progress.restore(&progress).map_err(unfit)?;
        session.trainer.restore(state).map_err(unfit)?;
        checkpointer.last.1 = Some((session.trainer.steps(), session.progress.epochs));
        checkpointer.resumed_at = (found.meta.metrics, found.meta.events);
        session.finished = checkpointer.folder.ended(found.meta.metrics) && session.over();
        let (done, begun) = (session.progress.epochs, session.trainer.learned() > 0);
        if !session.finished && (done > run.epochs || (done == run.epochs && begun)) {
            let what = format!("--epochs {}: the run has come further; leave it out, or use more", run.epochs);
            return Err(Error::Setting(what));
        }
        Ok((session, notes))
    }

    /// Truncates the files of the folder to their lengths at the resumed checkpoint.
    ///
    /// # Errors
    /// As [`Folder::cut`].
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.checkpointer.as_mut().map_or(Ok(()), |checkpointer| checkpointer.folder.cut(checkpointer.resumed_at))
    }

    /// Outcome of validation, if there is any.
    pub(crate) fn stopping(&self) -> Option<Stopping> {
        self.data.validation.as_ref()?;
        let (best_epoch, best_validation_loss) = self.progress.stopping.best().unwrap_or((0, f64::NAN));
        let late = self.progress.stopping.should_stop(self.progress.epochs);
        let stopped_early = late && self.progress.epochs < self.run.epochs;
        Some(Stopping { stopped_early, best_epoch, best_validation_loss: Some(best_validation_loss) })
    }
    /// Returns whether training is complete.
    pub(crate) fn over(&self) -> bool {
        self.progress.epochs >= self.run.epochs || self.stopping().is_some_and(|s| s.stopped_early)
    }

    /// Trains the remaining epochs, until `watch` breaks; see [`Session::epoch`].
    ///
    /// # Errors
    /// As [`Session::epoch`].
    pub(crate) fn train(&mut self, mut watch: impl FnMut(EpochProgress) -> ControlFlow<()>) -> Result<()> {
        while !self.over() && self.epoch(&mut watch)? {}
        Ok(())
    }

    /// Trains one epoch, or the rest of it. `watch` runs after each step; if it breaks, the epoch
    /// stops and false is returned. Statistics and checkpoints that are due after a step are written
    /// before the next one. A completed epoch appends its metrics, and saves the weights if they are
    /// the best so far.
    ///
    /// # Errors
    /// As [`Trainer::epoch`]; [`Error::Io`] for a file that cannot be written.
    pub(crate) fn epoch(&mut self, mut watch: impl FnMut(EpochProgress) -> ControlFlow<()>) -> Result<bool> {
        let epoch = self.progress.epochs + 1;
        let mut due = false;
        let done = loop {
            let (start, mut pause) = (Instant::now(), Pause::default());
            let Self { data, trainer, checkpointer, progress, run, .. } = self;
            let done = trainer.epoch_with(&data.train, |trainer, report| {
                let go_on = watch(EpochProgress { epoch, learned: report.score.samples, sofar: trainer.sofar().score });
                pause = Pause {
                    stop: go_on.is_break(),
                    stats: run.stats_every > 0 && checkpointer.is_some() && trainer.steps().is_multiple_of(run.stats_every),
                    checkpoint: checkpointer.as_ref().is_some_and(|c| c.due(trainer.steps())),
                };
                if pause == Pause::default() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            *progress = progress.later(start.elapsed());
            if !done.stopped {
                break done;
            }
            // The checkpoint of a step counts the line of its statistics.
            if pause.stats {
                self.log_stats(epoch)?;
            }
            // That of an epoch's last step is postponed until the epoch's line is written.
            due = pause.checkpoint && self.trainer.between_epochs();
            if pause.checkpoint && !due {
                self.save()?;
            }
            if pause.stop {
                return Ok(false);
            }
        };
        let seconds = std::mem::take(&mut self.progress.epoch_seconds);
        self.progress.epochs = epoch;
        self.losses.push(done.score.mean_loss());
        if self.level > MeasureLevel::Nothing {
            let (scores, layers) = self.measure(self.level, done.score)?;
            if scores.validation_loss.is_some_and(|loss| self.progress.stopping.observe(epoch, loss)) {
                self.save_weights(BEST)?;
            }
            let by = SolverKind::ALL.iter().map(|kind| (kind.to_string(), done.solves.by(*kind)));
            self.log(Event::Epoch(Epoch {
                epoch: epoch as u64,
                rule: self.run.train.rule.to_string(),
                scores,
                layers,
                inverse: self.run.train.solver.to_string(),
                solved_by: by.filter(|(_, n)| *n > 0).collect(),
                solve_residual: Some(done.solves.residual),
                solve_products_per_step: Some(done.solves.products / done.steps.max(1) as f64),
                seconds: Some(seconds),
                samples_per_second: Some(done.score.samples as f64 / seconds.max(1e-9)),
            }))?;
            self.diagnose()?;
        }
        if due {
            self.save()?;
        }
        Ok(true)
    }

    /// Appends a line of statistics on all samples, within an epoch.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`] and [`Trainer::alignment`]; [`Error::Io`] for a line that cannot be
    /// written.
    fn log_stats(&mut self, epoch: usize) -> Result<()> {
        let train = self.trainer.evaluate(&self.data.train)?;
        let (scores, layers) = self.measure(MeasureLevel::All, train)?;
        let share = self.trainer.learned() as f64 / self.data.train.len as f64;
        let (step, rule) = (self.trainer.steps(), self.run.train.rule.to_string());
        self.log(Event::Stats(Stats { epoch: epoch as u64, step, epochs: (epoch - 1) as f64 + share, rule, scores, layers }))
    }

    /// Writes a checkpoint, if there is a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; older checkpoints then remain.
    pub(crate) fn save(&mut self) -> Result<()> {
        let Self { trainer, checkpointer, progress, .. } = self;
        checkpointer.as_mut().map_or(Ok(()), |checkpointer| checkpointer.write(trainer, progress))
    }

    /// Measures the network; `train` is its score on the training samples.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`] and [`Trainer::alignment`]; singular weights merely leave the
    /// alignment empty.
    fn measure(&mut self, level: MeasureLevel, train: Score) -> Result<(Scores, Layers)> {
        let mut layers = Layers::default();
        if level == MeasureLevel::All {
            // Uses a fresh solver, unless it learns. The result then depends on what training has
            // learned (weights, learned inverses, feedback), and not on earlier solves.
            let alignment = match self.trainer.alignment(&self.data.train) {
                // Not fatal here: if training cannot continue, the next step reports it.
                Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) => Vec::new(),
                other => other?,
            };
            layers.cosine_with_bp = alignment.iter().map(|a| Some(a.cosine)).collect();
            layers.ratio_to_bp = alignment.iter().map(|a| Some(a.ratio)).collect();
            layers.offdiag = self.trainer.orthogonality()?.into_iter().map(Some).collect();
        }
        let validation = self.validate()?;
        let test = self.trainer.evaluate(&self.data.test)?;
        let scores = Scores {
            train_loss: Some(train.mean_loss()),
            train_accuracy: Some(train.accuracy()),
            validation_loss: validation.map(|s| s.mean_loss()),
            validation_accuracy: validation.map(|s| s.accuracy()),
            test_loss: Some(test.mean_loss()),
            test_accuracy: Some(test.accuracy()),
        };
        Ok((scores, layers))
    }

    /// Evaluates the network on the validation samples, if there are any.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub(crate) fn validate(&self) -> Result<Option<Score>> {
        self.data.validation.as_ref().map(|held| self.trainer.evaluate(held)).transpose()
    }

    /// Appends the diagnostics of all layers, if they are due and there is a folder.
    fn diagnose(&mut self) -> Result<()> {
        let (every, epochs) = (self.run.diagnose_every, self.progress.epochs);
        if self.checkpointer.is_none() || every == 0 || !epochs.is_multiple_of(every) {
            return Ok(());
        }
        let layers = self.trainer.examine(&self.data.train)?.into_iter().map(Into::into).collect();
        let (epoch, step, rule) = (epochs as u64, self.trainer.steps(), self.run.train.rule.to_string());
        self.log(Event::Diagnostics(Diagnostics { epoch, step, rule, layers }))
    }

    /// Writes a line of metrics to the folder, or keeps it in memory if there is none.
    fn log(&mut self, event: Event) -> Result<()> {
        match &mut self.checkpointer {
            Some(checkpointer) => checkpointer.folder.write(&event)?,
            None => self.events.push(event),
        }
        Ok(())
    }

    /// Writes the weights to this file, if there is a folder.
    ///
    /// # Errors
    /// As [`weights::save`].
    pub(crate) fn save_weights(&self, file: &str) -> Result<()> {
        let Some(Checkpointer { folder, .. }) = &self.checkpointer else { return Ok(()) };
        let (loss, rule) = (self.run.train.loss.to_string(), self.run.train.rule.to_string());
        weights::save(&folder.dir.join(file), self.trainer.network(), &Notes { loss, rule, inputs: self.inputs.clone() })
    }

    /// Measures the final network on all samples, and adds the last line of metrics.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`] and [`Trainer::alignment`]; [`Error::Io`] for a line that cannot be
    /// written.
    pub(crate) fn finish(&mut self) -> Result<End> {
        let train = self.trainer.evaluate(&self.data.train)?;
        let (scores, layers) = self.measure(MeasureLevel::All, train)?;
        let run = self.run;
        let end = End {
            epochs: self.progress.epochs as u64,
            steps: self.trainer.steps(),
            rule: run.train.rule.to_string(),
            scores,
            interrupted: !self.over(),
            stopping: self.stopping(),
            layers,
            regularizer: run.regularizer_name().into(),
            orthogonal: run.orthogonal_name().into(),
            seconds: Some(self.progress.seconds),
            isa: run.runtime.isa.to_string(),
            backend: run.runtime.backend.name().into(),
            threads: run.runtime.threads as u64,
        };
        self.log(Event::End(end.clone()))?;
        Ok(end)
    }
}

/// Allocates and frees about the memory that training needs. A network too large for it then gives
/// an error instead of aborting the process. Systems that overcommit may still fail later.
///
/// # Errors
/// [`Error::Setting`] with the amount.
pub(crate) fn check_memory<T: Real>(train: &TrainConfig, shape: &Architecture, samples: usize, runs: usize) -> Result<()> {
    let numbers = numbers_of(train, shape, train.batch.min(samples));
    let instead = "use fewer or narrower layers (--hidden, --width), a smaller --batch, or fewer runs at once (--threads)";
    ask_for(numbers.saturating_mul(size_of::<T>()).saturating_mul(runs), "training", instead)
}

/// Returns about the number of elements that training keeps.
fn numbers_of(train: &TrainConfig, shape: &Architecture, batch: usize) -> usize {
    type Layer = (usize, usize);
    let sum = |layers: &[Layer], of: fn(&Layer) -> usize| layers.iter().map(of).fold(0, usize::saturating_add);
    let weights: fn(&Layer) -> usize = |(fan_in, width)| fan_in.saturating_mul(*width);
    let (all, above) = (&shape.layers[..], &shape.layers[1.min(shape.layers.len())..]);
    // Weights, their values at the epoch's start, two moments, gradients, factors of the solver,
    // and updated weights; for each sample, activities and errors.
    let mut numbers = sum(all, weights).saturating_mul(8);
    let mut add = |count: usize, times: usize| numbers = numbers.saturating_add(count.saturating_mul(times));
    add(sum(all, |(_, width)| *width).saturating_mul(batch), 2);
    let targets = train.rule.sends_targets();
    if train.decorrelation.is_some() {
        // R, its values at the epoch's start, its change, and a solver's factors.
        let squares: fn(&Layer) -> usize = |(fan_in, _)| fan_in.saturating_mul(*fan_in);
        add(sum(all, squares), 3);
        add(sum(above, squares), usize::from(targets));
    }
    if targets && train.solver == SolverKind::Learned {
        // Inverses and two moments, and their values at the epoch's start.
        add(sum(above, weights), 6);
    }
    if train.rule == LearningRule::Kp {
        // Feedback, its values at the epoch's start, and its distance from the weights.
        add(sum(above, weights), 3);
    }
    numbers
}

/// Allocates and frees `bytes` bytes. Errors name `what` needs them and the remedy `instead`.
///
/// # Errors
/// [`Error::Setting`] with the amount.
pub(crate) fn ask_for(bytes: usize, what: &'static str, instead: &str) -> Result<()> {
    memory::ask_for(bytes, what).map_err(|e| Error::Setting(format!("{e}: {instead}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Decorrelation;

    /// Square layers: each matrix of these counts as often as training keeps it.
    #[test]
    fn memory_counts_what_is_learned_besides_weights() {
        let shape = Architecture::square(8, 8, 2, 4).unwrap();
        let square = 8 * 8;
        let plain = |rule| TrainConfig::published(rule);
        let more = |train: TrainConfig| numbers_of(&train, &shape, 5) - numbers_of(&plain(LearningRule::Bp), &shape, 5);
        assert_eq!(numbers_of(&plain(LearningRule::Bp), &shape, 5), 8 * 3 * square + 2 * 3 * 8 * 5);
        let decorrelation = Decorrelation::new(1e-3).ok();
        assert_eq!(more(TrainConfig { decorrelation, ..plain(LearningRule::Bp) }), 3 * 3 * square);
        assert_eq!(more(TrainConfig { decorrelation, ..plain(LearningRule::Gait) }), (3 * 3 + 2) * square);
        let solver = SolverKind::Learned;
        assert_eq!(more(TrainConfig { solver, ..plain(LearningRule::Gait) }), 6 * 2 * square);
        assert_eq!(more(TrainConfig { solver, ..plain(LearningRule::Bp) }), 0);
        assert_eq!(more(plain(LearningRule::Kp)), 3 * 2 * square);
    }
}
