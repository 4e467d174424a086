//! The ending that training takes: each layer's update goes through the optimizer in cache.
//!
//! | phase | separate passes | here |
//! |---|---|---|
//! | forward | product, then bias and activation | bias and activation on finished rows in L1 |
//! | last layer | all units | the label units: only these have an error |
//! | update | gradient in memory, regularizer added, optimizer over all of it | the product starts from the regularizer's direction and ends in the optimizer, block by block |
//!
//! The bits are those of [`Step::gradients`] and [`Optimizer::apply`]. Memory: the batch's
//! activities and errors; with the exact regularizer, its direction and Gram matrix of one layer.
//! Weights are not packed beforehand: at 784 × 5 and a batch of 60, packing cost twice what it
//! saved (benches/record/step.md).

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::network::Network;
use crate::step::optimizer::{BIASES, Optimizer};
use crate::step::tape::{view, view_mut};
use crate::step::{Recipe, Report, Step, Tape};
use gaitprop_kernels::{Backend, Epilogue, MatRef, Real, Start, reduce};
use std::time::{Duration, Instant};

/// Time spent in each phase of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// Forward pass and loss.
    pub forward: Duration,
    /// Errors sent down, solves included.
    pub down: Duration,
    /// The exact regularizer's direction.
    pub regularizer: Duration,
    /// Weight gradients and the optimizer.
    pub update: Duration,
    /// Method that holds weights orthogonal after the optimizer.
    pub hold: Duration,
    /// Decorrelations, which learn after the weights.
    pub decorrelation: Duration,
    /// Learned inverses, which learn after the weights.
    pub inverses: Duration,
    /// Number of steps.
    pub steps: u64,
}

impl Phases {
    /// Name and time of each phase.
    pub fn each(&self) -> [(&'static str, Duration); 7] {
        [
            ("forward, loss", self.forward),
            ("errors down", self.down),
            ("exact regularizer", self.regularizer),
            ("gradient, optimizer", self.update),
            ("hold orthogonal", self.hold),
            ("decorrelation", self.decorrelation),
            ("learned inverses", self.inverses),
        ]
    }

    /// Sum of all phases.
    pub fn total(&self) -> Duration {
        self.each().iter().map(|(_, time)| *time).sum()
    }
}

impl<T: Real> Step<T> {
    /// Takes one training step: [`Step::credit`], then every layer's update through the optimizer,
    /// weight decay, and [`Rule::learn`](crate::rule::Rule::learn).
    ///
    /// Shapes as [`Step::credit`]. If anything fails before the optimizer, no parameter has
    /// changed. On another backend than the crate's own kernels the step is [`Step::gradients`] and
    /// [`Optimizer::apply`].
    ///
    /// # Errors
    /// As [`Step::credit`]. [`Error::Diverged`] if the bound ‖y‖·‖δ‖ / batch of a weight gradient
    /// is not finite: no parameter has changed. [`Error::Diverged`] also if a parameter is not
    /// finite after its update: the network is then unusable, and the caller should have kept a
    /// copy.
    pub fn update(
        &mut self,
        net: &mut Network<T>,
        x: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
        optimizer: &mut Optimizer<T>,
    ) -> Result<Report> {
        optimizer.check_fit(net)?;
        let step = optimizer.steps() + 1;
        let updated = if recipe.exec.plan.backend == Backend::Native {
            let whole = recipe.rule.reads_whole_output() || recipe.solver.learns();
            let outputs = if whole { net.outputs() } else { net.labels() };
            self.credit_of(outputs, net, x, target, recipe).and_then(|report| {
                self.tape.check_bounds(net, x, recipe.exec)?;
                self.apply(net, x, recipe, optimizer).map(|()| report)
            })
        } else {
            self.gradients(net, x, target, recipe)
                .and_then(|report| optimizer.apply(net, &self.gradients, recipe.exec.plan.isa).map(|()| report))
        };
        let report = updated.map_err(|e| e.in_step(step))?;
        let clock = Instant::now();
        recipe.rule.learn(net, optimizer.settings().weight_decay, recipe.exec)?;
        self.phases.update += clock.elapsed();
        self.phases.steps += 1;
        Ok(report)
    }

    /// Changes the parameters: weight gradients, regularizer and optimizer, layer by layer.
    fn apply(
        &mut self,
        net: &mut Network<T>,
        x: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
        optimizer: &mut Optimizer<T>,
    ) -> Result<()> {
        let Recipe { regularizer, exec, .. } = recipe;
        self.buffers.reserve(net, x.nrows(), regularizer, exec)?;
        let (labels, last) = (net.labels(), net.layers().len() - 1);
        let mean = T::from_f64(1.0 / x.nrows().max(1) as f64);
        let Self { tape, phases, buffers, .. } = self;
        optimizer.begin(regularizer.covers(last))?;
        for (l, layer) in net.layers_mut().iter_mut().enumerate() {
            let (fan_in, width) = (layer.fan_in(), layer.width());
            let (input, delta) = (tape.input(x, l, fan_in), tape.delta(l));
            let (clock, regularized) = (Instant::now(), regularizer.covers(l));
            if regularized {
                let (direction, side) = (view_mut(&mut buffers.direction, fan_in, width), fan_in.min(width));
                regularizer.descend(layer.w.view(), T::ZERO, direction, view_mut(&mut buffers.gram, side, side), exec)?;
                phases.regularizer += clock.elapsed();
            }
            let clock = Instant::now();
            // Weights to auxiliary output units have neither gradient nor momentum: a step adds 0.
            let active = if l == last && optimizer.auxiliary_rest { labels } else { width };
            let start = if regularized { Start::From(T::ONE, view(&buffers.direction, fan_in, width)) } else { Start::Zero };
            let through = Epilogue::Update(optimizer.update(l, (fan_in, width), active));
            let theta = layer.w.view_mut().cols(0, active);
            let weights = exec.gemm_with(mean, (input.t(), delta.cols(0, active)), start, theta, through)?;
            let bias = &mut buffers.bias[..width];
            reduce::column_means(delta, bias, exec.plan.isa)?;
            let biases = optimizer.move_along(l, BIASES, &mut layer.b, bias, exec.plan.isa)?;
            if !(weights && biases) {
                let what = if weights { "a bias" } else { "a weight" };
                return Err(Error::Diverged { what, layer: l, step: optimizer.steps() });
            }
            optimizer.decay(layer.w.data_mut());
            phases.update += clock.elapsed();
        }
        Ok(())
    }
}

impl<T: Real> Tape<T> {
    /// Refuses deltas whose weight gradient may not be finite: ‖ΔW‖ ≤ ‖y‖·‖δ‖ / batch.
    ///
    /// While the square of the bound is finite, and the bound is finite in T, so is the gradient.
    fn check_bounds(&self, net: &Network<T>, x: MatRef<'_, T>, exec: &Exec) -> Result<()> {
        let batch = self.batch();
        for (l, layer) in net.layers().iter().enumerate() {
            let y = exec.matrix_norm(self.input(x, l, layer.fan_in()))?;
            let bound = y * exec.norm(&self.delta[l][..batch * layer.width()])? / batch.max(1) as f64;
            if !((bound * bound).is_finite() && T::from_f64(bound).is_finite()) {
                return Err(Error::Diverged { what: "the weight update", layer: l, step: 0 });
            }
        }
        Ok(())
    }
}
