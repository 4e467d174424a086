//! The step as training runs it: the same numbers as [`Workspace::step`](crate::step::Workspace::step), to the bit, in fewer passes over memory.
//!
//! | phase | un-fused | here |
//! |---|---|---|
//! | forward | a product, then bias and activation over its result | bias and activation on the register tile |
//! | last layer | all of its units | the label units: no other has an error, so nothing else of its activity is asked for |
//! | update | a gradient in memory, the regulariser added, the optimiser over all of it | the product starts from the regulariser's direction and ends in the optimiser, block by block in cache |
//!
//! Memory: activities and errors of the batch, and with the exact regulariser its direction and Gram matrix of one layer. Nothing is allocated after the
//! first step, but by ways through inverses at their first use. Weights are not packed beforehand: at 784 × 5 and a batch of 60 that took 1.8 to 3.4 ms a step, since all layers' weights and moments do not
//! fit a cache, and saved half of it (benches/record/step.md).

use crate::base::error::{Error, Result};
use crate::model::layer::Layer;
use crate::model::loss;
use crate::model::network::Network;
use crate::model::network::Trace;
use crate::solve::Solver;
use crate::step::optimizer::Optimizer;
use crate::step::{Down, Recipe, Report, feeding, view, view_mut};
use gaitprop_kernels::symm::symm_scratch;
use gaitprop_kernels::syrk::syrk_scratch;
use gaitprop_kernels::{Backend, Epilogue, MatRef, Real, Scratch, Start, gemm_with, gemm_with_scratch, reduce};
use std::time::{Duration, Instant};

/// Time spent in each phase of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// Forward pass and loss.
    pub forward: Duration,
    /// Perturbations, and errors sent down.
    pub down: Duration,
    /// The exact regulariser's direction.
    pub regularizer: Duration,
    /// Weight gradients and the optimiser.
    pub update: Duration,
    /// What holds weights orthogonal after the optimiser.
    pub hold: Duration,
    /// How many steps.
    pub steps: u64,
}

impl Phases {
    /// (name, time) of each phase.
    pub fn each(&self) -> [(&'static str, Duration); 5] {
        [
            ("forward, loss", self.forward),
            ("errors down", self.down),
            ("exact regulariser", self.regularizer),
            ("gradient, optimiser", self.update),
            ("hold orthogonal", self.hold),
        ]
    }

    /// Of all phases.
    pub fn total(&self) -> Duration {
        self.each().iter().map(|(_, time)| *time).sum()
    }
}

/// The memory of fused steps.
#[derive(Debug)]
pub struct Fused<T> {
    trace: Trace<T>,
    /// `D ∘ e` of each layer.
    x: Vec<Vec<T>>,
    errors: [Vec<T>; 2],
    output_error: Vec<T>,
    bias: Vec<T>,
    /// The regulariser's direction and Gram matrix, of one layer after another.
    direction: Vec<T>,
    gram: Vec<T>,
    /// Packing memory.
    pub scratch: Scratch,
    /// Where time went, so far.
    pub phases: Phases,
    capacity: usize,
}

impl<T: Real> Fused<T> {
    /// Room for batches of up to `batch` samples.
    pub fn new(net: &Network<T>, batch: usize) -> Self {
        let widest = net.layers().iter().map(Layer::width).max().unwrap_or(0);
        let room = || vec![T::ZERO; batch * widest];
        Self {
            trace: Trace::new(net, batch),
            x: net.layers().iter().map(|l| vec![T::ZERO; batch * l.width()]).collect(),
            errors: [room(), room()],
            output_error: vec![T::ZERO; batch * net.labels()],
            bias: vec![T::ZERO; widest],
            direction: Vec::new(),
            gram: Vec::new(),
            scratch: Scratch::new(),
            phases: Phases::default(),
            capacity: batch,
        }
    }

    /// A whole step: [`Workspace::step`](crate::step::Workspace::step), with the same results. Always this crate's kernels, whatever the plan's backend.
    ///
    /// Shapes: `input` batch × inputs, `target` batch × labels. If anything fails before the optimiser, no parameter has changed.
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::OutOfRange`], a shape error, out of memory, [`Error::Diverged`] if a bound of the loss's gradient is not finite (which it
    /// may just not be where the gradient is): nothing has changed. [`Error::Diverged`] as well if a parameter is not finite after its update, for
    /// instance because the regulariser's direction was not: the network is then of no more use. The un-fused step foresees that.
    pub fn step(
        &mut self,
        net: &mut Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
        optimizer: &mut Optimizer<T>,
    ) -> Result<Report> {
        let plan = recipe.plan.clone().with_backend(Backend::Native);
        let recipe = &Recipe { plan: &plan, ..*recipe };
        let batch = input.nrows();
        self.trace.check_fit(net)?;
        input.expect_shape("the input batch", (batch.min(self.capacity), net.inputs()))?;
        target.expect_shape("the targets", (batch, net.labels()))?;
        optimizer.check_fit(net)?;

        let report = self.errors_of(net, input, target, recipe, inverse);
        let report = report.map_err(|e| crate::step::in_step(e, optimizer.steps() + 1))?;

        self.reserve(net, batch, recipe)?;
        // From here on parameters change.
        inverse.weights_changed();
        self.update(net, input, recipe, optimizer)?;
        self.phases.steps += 1;
        Ok(report)
    }

    /// Forward pass, loss, and `x = D ∘ e` of each layer; the network is not touched.
    fn errors_of(
        &mut self,
        net: &Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
    ) -> Result<Report> {
        let (plan, batch) = (recipe.plan, input.nrows());
        let clock = Instant::now();
        net.forward_fused(input, recipe.rule.reads_whole_output(), &mut self.trace, plan, &mut self.scratch)?;
        let [mut error, mut below] = self.errors.each_mut().map(Vec::as_mut_slice);
        let top = view_mut(error, batch, net.outputs());
        let mut report = Report { score: loss::score(recipe.loss, self.trace.output(), target, Some(top))?, ..Report::default() };
        let output_error = crate::step::label_error(error, net, &self.trace, batch, &mut self.output_error, plan)?;
        self.phases.forward += clock.elapsed();

        let clock = Instant::now();
        for (l, layer) in net.layers().iter().enumerate().rev() {
            let x = view_mut(&mut self.x[l], batch, layer.width());
            let down = Down { net, input, trace: &self.trace, output_error, error, below };
            if let Some(solve) = down.layer(l, x, recipe, &mut *inverse, &mut self.scratch)? {
                report.solves.add(solve);
            }
            std::mem::swap(&mut error, &mut below);
        }
        // ‖ΔW‖ ≤ ‖y‖·‖x‖ / batch for the loss's part: while the square of that is a number, and it is one of T, the gradient is.
        for (l, layer) in net.layers().iter().enumerate() {
            let y = feeding(input, &self.trace, l, layer.fed());
            let x = &self.x[l][..batch * layer.width()];
            let mut squares = 0.0;
            for i in 0..batch {
                squares += match y.row(i) {
                    Some(row) => reduce::dot(row, row, plan.isa)?,
                    None => (0..layer.fed()).map(|j| y.get(i, j).to_f64() * y.get(i, j).to_f64()).sum(),
                };
            }
            let bound = squares.sqrt() * reduce::dot(x, x, plan.isa)?.sqrt() / batch.max(1) as f64;
            if !((bound * bound).is_finite() && T::from_f64(bound).is_finite()) {
                return Err(Error::Diverged { what: "the weight update", layer: l, step: 0 });
            }
        }
        self.phases.down += clock.elapsed();
        Ok(report)
    }

    /// Makes all the room that updates need: the system must not refuse it half-way.
    fn reserve(&mut self, net: &Network<T>, batch: usize, recipe: &Recipe<'_, T>) -> Result<()> {
        let plan = recipe.plan;
        for layer in net.layers() {
            let (fed, width) = (layer.fed(), layer.width());
            let mut need = gemm_with_scratch::<T>(fed, width, batch, plan);
            if recipe.ortho.lambda > 0.0 {
                let (short, long) = (fed.min(width), fed.max(width));
                grow(&mut self.direction, fed * width);
                grow(&mut self.gram, short * short);
                need = need.or(syrk_scratch::<T>(short, long, plan)).or(symm_scratch::<T>(short, long, plan));
            }
            self.scratch.reserve(need)?;
        }
        Ok(())
    }

    /// Weight gradients, regulariser and optimiser, layer by layer.
    fn update(
        &mut self,
        net: &mut Network<T>,
        input: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        optimizer: &mut Optimizer<T>,
    ) -> Result<()> {
        let (plan, batch, labels, last) = (recipe.plan, input.nrows(), net.labels(), net.layers().len() - 1);
        let mean = T::from_f64(1.0 / batch.max(1) as f64);
        let regularized = recipe.ortho.lambda > 0.0;
        optimizer.begin(regularized)?;
        for (l, layer) in net.layers_mut().iter_mut().enumerate() {
            let (fed, width) = (layer.fed(), layer.width());
            let x = view(&self.x[l], batch, width);
            let y = feeding(input, &self.trace, l, fed);
            if regularized {
                let clock = Instant::now();
                let side = fed.min(width);
                let (direction, gram) = (view_mut(&mut self.direction, fed, width), view_mut(&mut self.gram, side, side));
                recipe.ortho.descend(layer.w.view(), T::ZERO, direction, gram, plan, &mut self.scratch)?;
                self.phases.regularizer += clock.elapsed();
            }
            let clock = Instant::now();
            // Auxiliary output units have no error, and their weights neither gradient nor momentum: a step would add 0 to them.
            let live = if l == last && optimizer.auxiliary_rest() { labels } else { width };
            let start = if regularized { Start::From(T::ONE, view(&self.direction, fed, width)) } else { Start::Zero };
            let step = Epilogue::Update(optimizer.update(l, (fed, width), live));
            let theta = layer.w.view_mut().cols(0, live);
            let weights = gemm_with(mean, y.t(), x.cols(0, live), start, theta, step, plan, &mut self.scratch)?;
            let bias = &mut self.bias[..width];
            reduce::column_means(x, bias, plan.isa)?;
            let biases = optimizer.biases(&mut layer.b, bias, l, plan.isa)?;
            self.phases.update += clock.elapsed();
            if !(weights && biases) {
                let what = if weights { "a bias" } else { "a weight" };
                return Err(Error::Diverged { what, layer: l, step: optimizer.steps() });
            }
        }
        Ok(())
    }
}

/// Makes room for `len` elements, once.
fn grow<T: Real>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
}
