//! One rule's training, with its folder of results if it has one: what `train` and other commands run.

use super::folder::{DiagnosticsLine, EndLine, EpochLine, Folder, Measured, WEIGHTS};
use super::settings::Run;
use crate::checkpoint::{self, Notes};
use crate::data::{Affine, Prepared};
use crate::diagnostics::Alignment;
use crate::loss::Score;
use crate::rule::Kind;
use crate::train::{Method, Trainer};
use crate::{Error, Network, Result};
use gaitprop_kernels::{Plan, Real};
use std::ops::ControlFlow;
use std::time::Instant;

/// One rule in training.
pub(super) struct Session<'a, T> {
    run: &'a Run,
    data: &'a Prepared<T>,
    inputs: &'a Affine,
    trainer: Trainer<'a, T>,
    folder: Option<Folder>,
    seconds: f64,
    epochs: usize,
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Which, from 1.
    pub(super) epoch: usize,
    /// Samples of the last step.
    pub(super) learned: usize,
    /// All of the epoch so far.
    pub(super) sofar: Score,
}

impl<'a, T: Real> Session<'a, T> {
    /// A new network, before its first step. `data` is as `inputs` has made it; `run.beside` is another session's matter.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Network::random`].
    pub(super) fn new(
        run: &'a Run,
        (data, inputs): (&'a Prepared<T>, &'a Affine),
        plan: Plan<'a>,
        folder: Option<Folder>,
    ) -> Result<Self> {
        let method = Method {
            rule: run.kind.build(&run.setup(), &plan)?,
            inverse: run.inverse.build(run.tuning(run.kind)?)?,
            loss: run.loss,
            ortho: run.regularizer(run.kind)?,
            hold: run.hold(run.kind)?,
            optimizer: run.optimizer(run.kind)?,
            // Room for more than there are samples would be wasted.
            batch: run.batch.min(data.train.len),
            shuffle: run.shuffle.then_some(run.seed),
        };
        let trainer = Trainer::new(Network::random(&run.architecture, run.init, run.seed, &plan)?, method, plan)?;
        Ok(Self { run, data, inputs, trainer, folder, seconds: 0.0, epochs: 0 })
    }

    /// Its settings.
    pub(super) fn run(&self) -> &'a Run {
        self.run
    }
    /// The trainer, with the network.
    pub(super) fn trainer(&self) -> &Trainer<'a, T> {
        &self.trainer
    }
    /// Epochs that are done.
    pub(super) fn epochs(&self) -> usize {
        self.epochs
    }
    /// Seconds of training so far.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// One epoch; `watch` is called after each step and may end it early: false is then returned. A folder gets its line.
    ///
    /// # Errors
    /// As [`Trainer::epoch`]; [`Error::Io`] for a line that cannot be written.
    pub(super) fn epoch(&mut self, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<bool> {
        let (start, epoch) = (Instant::now(), self.epochs + 1);
        let done = self.trainer.epoch_with(&self.data.train, |trainer, report| {
            watch(Progress { epoch, learned: report.score.samples, sofar: trainer.sofar().score })
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds += seconds;
        if done.stopped {
            return Ok(false);
        }
        self.epochs = epoch;
        if self.folder.is_some() {
            let measured = self.measure(done.score)?;
            let line = EpochLine::new((self.run.kind, self.run.inverse), epoch, &done, &measured, seconds);
            self.folder.as_mut().map_or(Ok(()), |folder| folder.line(&line))?;
            self.diagnose()?;
        }
        Ok(true)
    }

    /// What the network is like now; `train` is what is known of the training samples.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`], and as [`Trainer::alignment`] but for those that merely leave it empty.
    pub(super) fn measure(&mut self, train: Score) -> Result<Measured> {
        let alignment = match self.alignment() {
            // What cannot be measured need not end the run: if it must end, its next step will say so.
            Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) => Vec::new(),
            other => other?,
        };
        self.measured(train, alignment)
    }

    fn measured(&self, train: Score, alignment: Vec<Alignment>) -> Result<Measured> {
        let (trainer, data) = (&self.trainer, self.data);
        let validation = data.validation.as_ref().map(|held| trainer.evaluate(held)).transpose()?;
        Ok(Measured { train, validation, test: trainer.evaluate(&data.test)?, alignment, offdiag: trainer.orthogonality()? })
    }

    /// Writes a line about the layers into the folder, if there is one and it is time for one.
    fn diagnose(&mut self) -> Result<()> {
        let every = self.run.diagnose_every;
        let Some(folder) = self.folder.as_mut().filter(|_| every > 0 && self.epochs.is_multiple_of(every)) else { return Ok(()) };
        let mut meter = self.run.inverse.build(self.run.tuning(self.run.kind)?)?;
        let layers = self.trainer.examine(&self.data.train, &mut *meter)?;
        folder.line(&DiagnosticsLine::new(self.run.kind, (self.epochs, self.trainer.steps()), layers))
    }

    /// Through an inverse of the run's kind without a memory, so that it depends on the weights alone.
    fn alignment(&mut self) -> Result<Vec<Alignment>> {
        let mut meter = self.run.inverse.build(self.run.tuning(self.run.kind)?)?;
        self.trainer.alignment(&self.data.train, &mut *meter)
    }

    /// Writes the weights into the folder, if there is one.
    ///
    /// # Errors
    /// As [`checkpoint::save`].
    pub(super) fn save_weights(&self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (loss, rule) = (self.run.loss.to_string(), self.run.kind.to_string());
        let notes = Notes { loss, rule, inputs: self.inputs.clone() };
        checkpoint::save(&folder.path().join(WEIGHTS), self.trainer.network(), &notes)
    }

    /// Measures the network as it is at the end, on all training samples, and writes the last line of metrics.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`] and [`Trainer::alignment`]; [`Error::Io`] for a line that cannot be written.
    pub(super) fn finish(&mut self) -> Result<Measured> {
        let alignment = self.alignment()?;
        let measured = self.measured(self.trainer.evaluate(&self.data.train)?, alignment)?;
        if let Some(folder) = &mut self.folder {
            folder.line(&EndLine::new(self.run, (self.epochs, self.trainer.steps()), &measured, self.seconds))?;
        }
        Ok(measured)
    }
}

/// Asks the system once for about the memory that training will hold, so that a network which it refuses outright is an error and not the
/// end of the process. (A system that promises more than it has will still find out later.)
///
/// # Errors
/// Out of memory.
pub(super) fn check_memory<T: Real>(run: &Run, samples: usize, rules: usize) -> Result<()> {
    let layers = &run.architecture.layers;
    let units: usize = layers.iter().map(|&(_, width)| 2 * width).sum();
    let (widest, weights) = layers.iter().fold((0usize, 0usize), |(w, n), &(fed, width)| (w.max(fed * width), n + fed * width));
    // Weights, the epoch's start, two moments, gradients and what solves keep of each layer, the next weights where they are made beside, and fixed
    // feedback; a Gram matrix and what solves share; activities and errors; one layer drawn in f64.
    let bytes = weights
        .saturating_mul(
            if run.orthogonal_name() == "none" { 6 } else { 7 }
                + usize::from(run.kind == Kind::Fa || run.beside == Some(Kind::Fa)),
        )
        .saturating_add(widest.saturating_mul(4))
        .saturating_add(run.batch.min(samples).saturating_mul(units))
        .saturating_mul(size_of::<T>())
        .saturating_mul(rules)
        .saturating_add(widest.saturating_mul(2 * size_of::<f64>()));
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(bytes).map_err(|_| gaitprop_kernels::Error::OutOfMemory { bytes }.into())
}
