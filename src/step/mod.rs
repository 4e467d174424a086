//! One training step, in the order of the paper's listing (Ahmad et al., 2020, algorithm 1):
//!
//! 1. forward: activities of every layer;
//! 2. the output's error from the loss;
//! 3. the regulariser's direction;
//! 4. top down, for each layer: `x = D ∘ e`, the error of the layer below by the rule, and `ΔW = mean(yᵀ x)`, added to the regulariser's direction,
//!    and `Δb = mean(x)`;
//! 5. the optimiser moves the parameters, after everything that can fail has not.

mod fused;
mod gradients;
pub mod optimizer;

pub use fused::{Fused, Phases};
pub use gradients::Gradients;

use crate::base::error::{Error, Result};
use crate::model::loss::{self, Loss, Score};
use crate::model::network::Network;
use crate::model::network::Trace;
use crate::ortho::{Cayley, Regularizer};
use crate::rule::{Local, Means, Outcome, Rule};
use crate::solve::{Solve, Solver, Solves};
use crate::step::optimizer::Optimizer;
use gaitprop_kernels::perturb::activation_grad;
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, Scratch, gemm, reduce};

/// What a step is made of, besides network and data.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a, T> {
    /// How credit is assigned.
    pub rule: &'a dyn Rule<T>,
    /// The loss.
    pub loss: Loss,
    /// The regulariser; λ = 0 is none.
    pub ortho: Regularizer,
    /// How kernels run.
    pub plan: &'a Plan,
}

/// What a step found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Loss and right answers of the batch, before the step.
    pub score: Score,
    /// The worst residual of all solves, their total cost, and who found them.
    pub solves: Solves,
}

/// The memory of a step: everything is allocated here, once.
#[derive(Debug)]
pub struct Workspace<T> {
    /// Activities of the last forward pass.
    pub trace: Trace<T>,
    /// Descent directions of the last call of [`Workspace::gradients`].
    pub gradients: Gradients<T>,
    /// Packing memory.
    pub scratch: Scratch,
    errors: [Vec<T>; 2],
    output_error: Vec<T>,
    x: Vec<T>,
    gram: Vec<T>,
    capacity: usize,
}

impl<T: Real> Workspace<T> {
    /// Room for batches of up to `batch` samples.
    pub fn new(net: &Network<T>, batch: usize) -> Self {
        let widest = net.layers().iter().map(|l| l.width()).max().unwrap_or(0);
        let side = net.layers().iter().map(|l| l.fed().min(l.width())).max().unwrap_or(0);
        let room = || vec![T::ZERO; batch * widest];
        Self {
            trace: Trace::new(net, batch),
            gradients: Gradients::new(net),
            scratch: Scratch::new(),
            errors: [room(), room()],
            output_error: vec![T::ZERO; batch * net.labels()],
            x: room(),
            gram: vec![T::ZERO; side * side],
            capacity: batch,
        }
    }

    /// Computes activities and descent directions for one batch, and leaves them in `self`. The network is not touched.
    ///
    /// Shapes: `input` batch × inputs, `target` batch × labels (one-hot, or any values for the squared loss).
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::OutOfRange`], [`Error::Diverged`]; a shape error; out of memory.
    pub fn gradients(
        &mut self,
        net: &Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
    ) -> Result<Report> {
        self.pass(net, input, target, recipe, inverse, None)
    }

    /// [`Workspace::gradients`]; or, with rotations of some length, what they make of the weights instead of the weights' directions.
    fn pass(
        &mut self,
        net: &Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
        mut rotations: Option<(&mut Cayley<T>, f64)>,
    ) -> Result<Report> {
        let plan = recipe.plan;
        let batch = input.nrows();
        self.gradients.check_fit(net)?;
        input.expect_shape("the input batch", (batch.min(self.capacity), net.inputs()))?;
        target.expect_shape("the targets", (batch, net.labels()))?;

        net.forward(input, &mut self.trace, plan, &mut self.scratch)?;

        let mut report = Report::default();
        let [mut error, mut below] = self.errors.each_mut().map(Vec::as_mut_slice);
        let top = view_mut(error, batch, net.outputs());
        report.score = loss::score(recipe.loss, self.trace.output(), target, Some(top))?;
        let output_error = label_error(error, net, &self.trace, batch, &mut self.output_error, plan)?;

        if rotations.is_none() {
            for (layer, delta) in net.layers().iter().zip(&mut self.gradients.w) {
                let side = layer.fed().min(layer.width());
                let gram = view_mut(&mut self.gram, side, side);
                recipe.ortho.descend(layer.w.view(), T::ZERO, delta.view_mut(), gram, plan, &mut self.scratch)?;
            }
        }

        let mean = T::from_f64(1.0 / batch.max(1) as f64);
        for (l, layer) in net.layers().iter().enumerate().rev() {
            let width = layer.width();
            let x = view_mut(&mut self.x, batch, width);
            let down = Down { net, input, trace: &self.trace, output_error, error, below };
            if let Some(solve) = down.layer(l, x, recipe, &mut *inverse, &mut self.scratch)? {
                report.solves.add(solve);
            }

            let x = view(&self.x, batch, width);
            let fed = feeding(input, &self.trace, l, layer.fed());
            match &mut rotations {
                None => {
                    let beta = if recipe.ortho.lambda > 0.0 { T::ONE } else { T::ZERO };
                    gemm(mean, fed.t(), x, beta, self.gradients.w[l].view_mut(), plan, &mut self.scratch)?;
                }
                Some((cayley, rate)) => cayley.turn(l, &layer.w, fed, x, *rate, plan, &mut self.scratch)?,
            }
            reduce::column_means(x, &mut self.gradients.b[l], plan.isa)?;
            std::mem::swap(&mut error, &mut below);
        }

        if let Some((cayley, _)) = rotations {
            return finite(report, self.gradients.first_not_finite(cayley.next(), plan.isa)?);
        }
        finite(report, self.gradients.first_not_finite(&self.gradients.w, plan.isa)?)
    }

    /// A whole step: [`Workspace::gradients`], then the optimiser. If anything fails before the optimiser, no parameter has changed.
    ///
    /// # Errors
    /// As [`Workspace::gradients`]; [`Error::Diverged`] if an update is not finite (nothing has changed), or if a parameter or moment is not after
    /// the update (as [`Optimizer::apply`]).
    #[allow(clippy::too_many_arguments)]
    pub fn step(
        &mut self,
        net: &mut Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
        optimizer: &mut Optimizer<T>,
    ) -> Result<Report> {
        optimizer.check_fit(net)?;
        optimizer.settings().check()?;
        let report = self.gradients(net, input, target, recipe, inverse).map_err(|e| in_step(e, optimizer.steps() + 1))?;
        // Before the change, so that it is said even if the optimiser fails half-way.
        inverse.weights_changed();
        optimizer.apply(net, &self.gradients, recipe.plan.isa)?;
        Ok(report)
    }

    /// A whole step by rotations ([`Cayley`]): weights stay as orthogonal as they are; biases take the optimiser's step, which must be plain gradient
    /// descent. The gradients in `self` are then those of the biases alone. If anything fails before the optimiser, no parameter has changed.
    ///
    /// # Errors
    /// As [`Workspace::step`]; [`Error::Setting`] for another optimiser, or with a regulariser, whose gradient has no rank that would be small.
    #[allow(clippy::too_many_arguments)]
    pub fn step_by_rotations(
        &mut self,
        net: &mut Network<T>,
        input: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
        optimizer: &mut Optimizer<T>,
        cayley: &mut Cayley<T>,
    ) -> Result<Report> {
        let optimizer::OptimizerConfig { rule, learning_rate, .. } = optimizer.settings();
        check_rotations(rule, recipe.ortho.lambda)?;
        optimizer.check_fit(net)?;
        optimizer.settings().check()?;
        cayley.check_fit(net)?;
        let rotations = Some((&mut *cayley, learning_rate));
        let report = self.pass(net, input, target, recipe, inverse, rotations).map_err(|e| in_step(e, optimizer.steps() + 1))?;
        inverse.weights_changed();
        cayley.exchange(net);
        optimizer.apply_to(net, &self.gradients, false, recipe.plan.isa)?;
        Ok(report)
    }
}

/// Refuses rotations ([`Cayley`]) with another optimiser or a regulariser.
///
/// # Errors
/// [`Error::Setting`] for an optimiser that is more than plain gradient descent, or a λ greater than 0: only the rule's own direction has a small rank.
pub fn check_rotations(optimizer: optimizer::OptimizerKind, lambda: f64) -> Result<()> {
    if optimizer != optimizer::OptimizerKind::Sgd {
        let what =
            format!("rotations (--orthogonal cayley) take plain gradient steps, not those of {optimizer}: add --optimizer sgd");
        return Err(Error::Setting(what));
    }
    if lambda > 0.0 {
        let what = format!("rotations (--orthogonal cayley) leave nothing to regularise: lambda is {lambda}, but must be 0");
        return Err(Error::Setting(what));
    }
    Ok(())
}

/// The report, unless something is not finite.
fn finite(report: Report, broken: Option<(usize, &'static str)>) -> Result<Report> {
    match broken {
        Some((layer, what)) => Err(Error::Diverged { what, layer, step: 0 }),
        None => Ok(report),
    }
}

/// An error that says in which step it came.
fn in_step(e: Error, step: u64) -> Error {
    match e {
        Error::Diverged { what, layer, .. } => Error::Diverged { what, layer, step },
        other => other,
    }
}

/// What feeds layer `l`: the first `fed` units of the layer below, or of the input.
fn feeding<'a, T: Real>(input: MatRef<'a, T>, trace: &'a Trace<T>, l: usize, fed: usize) -> MatRef<'a, T> {
    if l == 0 { input.cols(0, fed) } else { trace.activity(l - 1).cols(0, fed) }
}

/// The error of the label units before their activation, D ∘ e, kept where the way down does not overwrite it.
fn label_error<'k, T: Real>(
    error: &[T],
    net: &Network<T>,
    trace: &Trace<T>,
    batch: usize,
    kept: &'k mut [T],
    plan: &Plan,
) -> Result<MatRef<'k, T>> {
    let (labels, top) = (net.labels(), net.layers().len() - 1);
    let e = view(error, batch, net.outputs()).cols(0, labels);
    let (y, slope) = (trace.activity(top).cols(0, labels), trace.slope(top).map(|slope| slope.cols(0, labels)));
    activation_grad(net.layers()[top].unit, y, slope, e, view_mut(kept, batch, labels), plan.isa)?;
    Ok(view(kept, batch, labels))
}

/// An error on its way down through a network, at some layer.
struct Down<'a, T> {
    net: &'a Network<T>,
    input: MatRef<'a, T>,
    trace: &'a Trace<T>,
    /// The label units' own, batch × labels.
    output_error: MatRef<'a, T>,
    /// The layer's error, and room for that of the layer below.
    error: &'a [T],
    below: &'a mut [T],
}

impl<T: Real> Down<'_, T> {
    /// By the recipe's rule: writes `x = D ∘ e` of layer `l`, and the error of the layer below, if there is one.
    fn layer(
        self,
        l: usize,
        x: MatMut<'_, T>,
        recipe: &Recipe<'_, T>,
        inverse: &mut dyn Solver<T>,
        scratch: &mut Scratch,
    ) -> Result<Option<Solve>> {
        let (layers, batch) = (self.net.layers(), self.input.nrows());
        let (layer, above) = (&layers[l], layers.len() - 1 - l);
        let mut whole = view_mut(self.below, batch, if l == 0 { 0 } else { layers[l - 1].width() });
        // Units that feed nothing above are auxiliary: their target is their own activity.
        let fed = layer.fed().min(whole.ncols());
        (0..batch).for_each(|i| whole.row_mut(i).expect("row-major")[fed..].fill(T::ZERO));
        let local = Local {
            index: l,
            above,
            layer,
            live: if above == 0 { self.net.labels() } else { layer.width() },
            input: feeding(self.input, self.trace, l, layer.fed()),
            y: self.trace.activity(l),
            slope: self.trace.slope(l),
            e: view(self.error, batch, layer.width()),
            output_error: self.output_error,
        };
        let out = Outcome { x, below: (l > 0).then(|| whole.cols(0, layer.fed())) };
        recipe.rule.send_down(&local, out, &mut Means { inverse, plan: recipe.plan, scratch })
    }
}

fn view<T: Real>(data: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::new(&data[..rows * cols], rows, cols).expect("cut to size")
}

fn view_mut<T: Real>(data: &mut [T], rows: usize, cols: usize) -> MatMut<'_, T> {
    MatMut::new(&mut data[..rows * cols], rows, cols).expect("cut to size")
}
