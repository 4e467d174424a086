//! One training step, in the order of the paper's listing (Ahmad et al., 2020, algorithm 1).
//!
//! 1. forward: `y_l = f(y_{l−1} W_l + b_l)` of every layer;
//! 2. output error: `e_L = t − y_L`, or the error that the loss defines;
//! 3. top down, for each layer: `δ_l = D_l ∘ e_l`, and `e_{l−1}` by the learning rule;
//! 4. an ending, with `ΔW_l = mean(y_{l−1}ᵀ δ_l) − ∂R/∂W_l` and `Δb_l = mean(δ_l)`.
//!    [`Step::gradients`] writes them to memory, [`Step::update`] sends them through the optimizer
//!    in cache, [`Step::rotate`] rotates W_l.
//!
//! [`Step::credit`] is lines 1 to 3. All endings start with it. Signs: error = target − activity,
//! so that updates are added. Nothing is allocated after the first step, except by solvers at their
//! first use.

mod buffers;
mod decorrelate;
mod gradients;
pub(crate) mod optimizer;
mod rotation;
mod tape;
mod update;

pub use decorrelate::Decorrelation;
pub use gradients::Gradients;
pub(crate) use rotation::check_rotations;
pub use tape::Tape;
pub use update::Phases;

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::model::loss::{Loss, Score};
use crate::model::network::Network;
use crate::ortho::Regularizer;
use crate::rule::Rule;
use crate::solve::{Solver, Solves};
use crate::step::buffers::Buffers;
use gaitprop_kernels::{MatRef, Real};
use std::time::Instant;

/// Components of a step, besides network and data.
pub struct Recipe<'a, T> {
    /// Learning rule, which assigns credit.
    pub rule: &'a mut dyn Rule<T>,
    /// Solver for products with W⁻¹.
    pub solver: &'a mut dyn Solver<T>,
    /// Loss.
    pub loss: Loss,
    /// Regularizer of the layers that it names; λ = 0 switches it off.
    pub regularizer: Regularizer,
    /// Execution context of the kernels.
    pub exec: &'a mut Exec,
}

/// Measurements of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Loss and correct predictions of the batch, before the step.
    pub score: Score,
    /// Solves of the step: worst residual, total cost, and solver of each.
    pub solves: Solves,
}

/// Memory of the steps on one network.
#[derive(Debug)]
pub struct Step<T> {
    /// Activities, errors and deltas of the last [`Step::credit`].
    pub tape: Tape<T>,
    /// Updates of the last [`Step::gradients`]; zeros before.
    pub gradients: Gradients<T>,
    /// Time spent so far.
    pub phases: Phases,
    buffers: Buffers<T>,
}

impl<T: Real> Step<T> {
    /// Allocates memory for batches of up to `batch` samples.
    pub fn new(net: &Network<T>, batch: usize) -> Self {
        Self {
            tape: Tape::new(net, batch),
            gradients: Gradients::default(),
            phases: Phases::default(),
            buffers: Buffers::new(net),
        }
    }

    /// Assigns credit: writes activities and `δ_l = f′(h_l) ∘ e_l` of every layer to the tape. The
    /// network is not changed.
    ///
    /// Shapes: `x` batch × inputs, `target` batch × labels (one-hot, or any values for the squared
    /// loss).
    ///
    /// # Errors
    /// [`Error::Singular`](crate::Error::Singular), [`Error::OutOfRange`](crate::Error::OutOfRange),
    /// [`Error::NotOrthogonal`](crate::Error::NotOrthogonal) where the rule's solve fails; a shape
    /// error; out of memory.
    pub fn credit(
        &mut self,
        net: &Network<T>,
        x: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
    ) -> Result<Report> {
        self.credit_of(net.outputs(), net, x, target, recipe)
    }

    /// [`Step::credit`] with the activity of only the first `outputs` output units.
    fn credit_of(
        &mut self,
        outputs: usize,
        net: &Network<T>,
        x: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
    ) -> Result<Report> {
        let Recipe { rule, solver, loss, exec, .. } = recipe;
        let clock = Instant::now();
        target.expect_shape("the targets", (x.nrows(), net.labels()))?;
        self.tape.check_labels(net)?;
        net.forward_columns(x, outputs, &mut self.tape.trace, exec)?;
        let score = self.tape.score(*loss, target)?;
        self.tape.keep_output_delta(net, exec)?;
        let forward = Instant::now();

        let mut solves = Solves::default();
        let mut workspace = std::mem::take(&mut self.tape.workspace);
        for l in (0..net.layers().len()).rev() {
            let (layer, delta, below) = self.tape.layer(net, (x, target), l);
            // δ_l = D_l ∘ e_l, and e_{l−1} by the rule; the first layer has only δ.
            let solve = layer.send_down_with(&mut workspace, &mut **rule, &mut **solver, delta, below, exec)?;
            if let Some(solve) = solve {
                solves.add(solve);
            }
            self.tape.solves[l] = solve;
        }
        self.tape.workspace = workspace;
        self.phases.forward += forward - clock;
        self.phases.down += forward.elapsed();
        Ok(Report { score, solves })
    }
}
