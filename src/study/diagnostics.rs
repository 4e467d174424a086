//! Distance of a rule's updates from backpropagation's, and of weights from orthogonality.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::data::SamplesRef;
use crate::model::layer::Layer;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::ortho::{Penalty, Regularizer};
use crate::rule::{Backprop, Context, LayerState, Rule, Through};
use crate::solve::{self, Lu, SolverKind};
use crate::step::{Recipe, Step, Tape};
use crate::train::Trainer;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::{Activation, MatMut, MatRef, Plan, Real, reduce};
use serde::Serialize;

/// Comparison of one layer's weight update with that of another rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alignment {
    /// Cosine of the angle between the two, as vectors of all weights. 1 if both are 0, NaN if one
    /// of them is.
    pub cosine: f64,
    /// ‖a − b‖ / ‖b‖. 0 if both are 0, infinite if only b is.
    pub difference: f64,
    /// Norm of the first over norm of the second.
    pub ratio: f64,
}

/// Returns the angle of a cosine, in degrees. A cosine that rounding took beyond ±1 counts as ±1.
pub(crate) fn degrees(cosine: f64) -> f64 {
    libm::acos(cosine.clamp(-1.0, 1.0)) * (180.0 / std::f64::consts::PI)
}

impl Alignment {
    /// Returns the angle between the two, in degrees: 0 for the same direction, 90 for orthogonal
    /// ones, NaN where the cosine is.
    pub fn degrees(&self) -> f64 {
        degrees(self.cosine)
    }

    /// Comparison with an update that could not be computed.
    pub(crate) const UNKNOWN: Self = Self { cosine: f64::NAN, difference: f64::NAN, ratio: f64::NAN };

    /// Compares two updates of one layer.
    ///
    /// # Errors
    /// A shape error if their lengths differ.
    pub fn of<T: Real>(a: &[T], b: &[T], plan: &Plan) -> Result<Self> {
        let (a_column, b_column) = (MatRef::new(a, a.len(), 1)?, MatRef::new(b, b.len(), 1)?);
        let dot = |x: MatRef<'_, T>, y: MatRef<'_, T>| reduce::dot(x, y, plan);
        let (aa, bb, ab) = (dot(a_column, a_column)?, dot(b_column, b_column)?, dot(a_column, b_column)?);
        if aa == 0.0 && bb == 0.0 {
            return Ok(Self { cosine: 1.0, ratio: 1.0, difference: 0.0 });
        }
        // Rounding may exceed ±1.
        let cosine = (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0);
        // Computed from the elements: in the three products, a small difference would cancel.
        let squares = a.iter().zip(b).map(|(a, b)| a.to_f64() - b.to_f64()).map(|d| d * d).sum::<f64>();
        Ok(Self { cosine, ratio: aa.sqrt() / bb.sqrt(), difference: squares.sqrt() / bb.sqrt() })
    }
}

/// Compares a rule's updates with backpropagation's on one batch, layer by layer, without a
/// regularizer.
///
/// Shapes as [`Step::gradients`]. The network is not changed.
///
/// # Errors
/// As [`Step::gradients`].
pub fn alignment<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &mut Recipe<'_, T>,
) -> Result<Vec<Alignment>> {
    let [(own, done), (bp, bp_done)] = both(net, input, target, recipe);
    done.and(bp_done)?;
    let of = |l| Alignment::of(own.gradients.weights(l).data(), bp.gradients.weights(l).data(), &recipe.exec.plan);
    (0..net.layers().len()).map(of).collect()
}

/// Computes the updates of one batch without a regularizer, by the recipe's rule and by
/// backpropagation. Returns both steps, and whether they succeeded.
fn both<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &mut Recipe<'_, T>,
) -> [(Step<T>, Result<()>); 2] {
    let Recipe { rule, solver, loss, regularizer, exec } = recipe;
    let regularizer = Regularizer { lambda: 0.0, ..*regularizer };
    let mut by = |rule: &mut dyn Rule<T>| {
        let mut step = Step::new(net, input.nrows());
        let mut bare = Recipe { rule, solver: &mut **solver, loss: *loss, regularizer, exec };
        let done = step.gradients(net, input, target, &mut bare).map(|_| ());
        (step, done)
    };
    [by(&mut **rule), by(&mut Backprop)]
}

/// Returns ‖offdiag(W Wᵀ)‖ or ‖W Wᵀ − I‖ (Frobenius) of each layer, by the regularizer's form.
///
/// # Errors
/// Out of memory for packing.
pub fn orthogonality<T: Real>(net: &Network<T>, form: &Regularizer, plan: &Plan) -> Result<Vec<f64>> {
    let mut exec = Exec::new(plan.clone());
    net.layers().iter().map(|l| form.norm(l.w.view(), &mut exec)).collect()
}

/// Measurements of one layer during training. Norms are Frobenius norms. A value that cannot be
/// measured is NaN, in JSON null.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Cosine between the rule's weight update and backpropagation's, both without a regularizer.
    pub cosine_with_bp: f64,
    /// Norm of the rule's weight update over the norm of backpropagation's.
    pub ratio_to_bp: f64,
    /// Cosine between the rule's weight update and its update by exact inverses. `None` for solvers
    /// that are exact and where the rule solves nothing; NaN where there is no exact update or the
    /// step failed.
    pub cosine_with_exact: Option<f64>,
    /// Mean of `C[i,j]²` over i ≠ j, where C = zᵀz/batch are the second moments of the input z that
    /// the weights multiply: the loss of its decorrelation. 0 for one input.
    pub decorrelation_loss: f64,
    /// ‖offdiag(W Wᵀ)‖. Of WᵀW if the regularizer is on that side, or the layer has more rows than
    /// columns.
    pub offdiag: f64,
    /// ‖W Wᵀ − I‖ on the same side.
    pub distance_from_orthogonal: f64,
    /// Estimate of the condition number in the 1-norm: see [`solve::condition`]. `None` for a layer
    /// that is not square.
    pub condition: Option<f64>,
    /// ‖r − e W‖ / ‖r‖ of the solve with this layer's weights, or that of the solve with its
    /// decorrelation, if it is larger. `None` if the rule made no solve, as at the first layer. NaN
    /// for a learned inverse of a decorrelated layer.
    pub solve_residual: Option<f64>,
    /// Cost of that solve, in products of the size of the forward pass.
    pub solve_products: Option<f64>,
    /// Number of (unit, sample) pairs whose activity and perturbed target lie on different sides of
    /// a leaky ReLU's kink. There the rule is not linear. `None` without a perturbation: for rules
    /// without targets, and at the first layer.
    pub kink_crossings: Option<u64>,
    /// Norm of the rule's weight update, without a regularizer.
    pub update_norm: f64,
    /// Number of units that learn little or nothing from any sample of the batch. For all samples,
    /// a leaky ReLU is then on the side of its smaller slope, and a tanh has |y| > 0.99.
    pub dead_units: usize,
}

/// Measures every layer of a network on one batch. The network is not changed.
///
/// Shapes as [`Step::gradients`]. The rule or backpropagation may fail on this batch: singular
/// weights, a target out of range, numbers that are not finite. The values that depend on it are
/// then NaN, and all others are still measured. Allocates: meant for one call per epoch.
///
/// # Errors
/// A shape error; out of memory.
pub fn examine<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &mut Recipe<'_, T>,
) -> Result<Vec<LayerReport>> {
    let Recipe { rule, solver, loss, regularizer, exec } = recipe;
    let (regularizer, mut counter) =
        (*regularizer, CrossingCounter { rule: &mut **rule, crossings: vec![None; net.layers().len()] });
    let mut by = Recipe { rule: &mut counter, solver: &mut **solver, loss: *loss, regularizer, exec };
    let [(own, done), (bp, bp_done)] = both(net, input, target, &mut by);
    let worked = measured(done)? & measured(bp_done)?;
    let crossings = std::mem::take(&mut counter.crossings);
    let mut by = Recipe { rule: &mut *counter.rule, solver: &mut **solver, loss: *loss, regularizer, exec };
    let exact = exact_cosines(net, (input, target), &mut by, &own, worked)?;
    let look = |(l, layer): (usize, &Layer<T>)| {
        let w = layer.w.view();
        let (alignment, update_norm) = if worked {
            let (own, bp) = (own.gradients.weights(l).data(), bp.gradients.weights(l).data());
            (Alignment::of(own, bp, &exec.plan)?, exec.norm(own)?)
        } else {
            (Alignment::UNKNOWN, f64::NAN)
        };
        let solve = own.tape.solve(l);
        Ok(LayerReport {
            cosine_with_bp: alignment.cosine,
            ratio_to_bp: alignment.ratio,
            cosine_with_exact: exact.as_ref().map(|cosines| cosines[l]),
            decorrelation_loss: decorrelation_loss(own.tape.input(input, l, layer.fan_in()), exec)?,
            offdiag: Regularizer { form: Penalty::OffDiagonal, ..regularizer }.norm(w, exec)?,
            distance_from_orthogonal: Regularizer { form: Penalty::Identity, ..regularizer }.norm(w, exec)?,
            condition: (layer.fan_in() == layer.width()).then(|| solve::condition(w, exec)).transpose()?,
            solve_residual: solve.map(|s| s.residual),
            solve_products: solve.map(|s| s.products),
            kink_crossings: crossings[l],
            update_norm,
            dead_units: dead_units(layer.activation, &own.tape, l),
        })
    };
    net.layers().iter().enumerate().map(look).collect()
}

/// Compares the updates of `own` with those by exact inverses, for solvers that are not exact and
/// rules that use them. `worked`: whether `own` has updates.
fn exact_cosines<T: Real>(
    net: &Network<T>,
    (input, target): (MatRef<'_, T>, MatRef<'_, T>),
    recipe: &mut Recipe<'_, T>,
    own: &Step<T>,
    worked: bool,
) -> Result<Option<Vec<f64>>> {
    if recipe.solver.name().parse::<SolverKind>().is_ok_and(SolverKind::is_exact) {
        return Ok(None);
    }
    let layers = net.layers().len();
    if worked && (0..layers).all(|l| own.tape.solve(l).is_none()) {
        return Ok(None);
    }
    let (mut step, mut lu) = (Step::new(net, input.nrows()), Lu::new());
    let regularizer = Regularizer { lambda: 0.0, ..recipe.regularizer };
    let mut by = Recipe { rule: &mut *recipe.rule, solver: &mut lu, loss: recipe.loss, regularizer, exec: &mut *recipe.exec };
    let square = net.architecture().check_square().is_ok();
    if !(worked && square && measured(step.gradients(net, input, target, &mut by))?) {
        return Ok(Some(vec![f64::NAN; layers]));
    }
    let cosine = |l| {
        let (own, exact) = (own.gradients.weights(l), step.gradients.weights(l));
        Ok(Alignment::of(own.data(), exact.data(), &recipe.exec.plan)?.cosine)
    };
    (0..layers).map(cosine).collect::<Result<_>>().map(Some)
}

/// Returns the mean of `C[i,j]²` over i ≠ j, with C = zᵀz/batch; 0 for one column.
///
/// # Errors
/// Out of memory for packing.
pub fn decorrelation_loss<T: Real>(z: MatRef<'_, T>, exec: &mut Exec) -> Result<f64> {
    let (batch, n) = z.shape();
    let mut c = Matrix::<T>::zeros(n, n);
    exec.syrk(z.t(), Part::Both, Diagonal::Dropped, c.view_mut())?;
    let (squares, pairs) = (exec.dot(c.data(), c.data())?, (n * n - n).max(1) as f64);
    Ok(squares / (batch.max(1) as f64).powi(2) / pairs)
}

impl<T: Real> Trainer<T> {
    /// [`alignment`] with backpropagation on the first batch of `samples`. A fresh solver of the
    /// configured kind does the solves. The trainer's own would remember them, and a measurement
    /// must not change the run.
    ///
    /// # Errors
    /// As [`Step::gradients`].
    pub fn alignment<'s>(&mut self, samples: impl TryInto<SamplesRef<'s, T>, Error: Into<Error>>) -> Result<Vec<Alignment>> {
        self.look(samples.try_into().map_err(Into::into)?, alignment)
    }

    /// [`examine`] on the first batch of `samples`, through a fresh solver as in
    /// [`Trainer::alignment`].
    ///
    /// # Errors
    /// As [`examine`].
    pub fn examine<'s>(&mut self, samples: impl TryInto<SamplesRef<'s, T>, Error: Into<Error>>) -> Result<Vec<LayerReport>> {
        self.look(samples.try_into().map_err(Into::into)?, examine)
    }

    /// Returns ‖offdiag(W Wᵀ)‖ of each layer, on the regularizer's side, whatever its form.
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn orthogonality(&self) -> Result<Vec<f64>> {
        let form = Regularizer { form: Penalty::OffDiagonal, ..self.config().regularizer };
        orthogonality(self.network(), &form, self.plan())
    }
}

/// Returns whether a step succeeded. An error that this batch may cause counts as false; all others
/// are returned.
pub(crate) fn measured<R>(outcome: Result<R>) -> Result<bool> {
    match outcome {
        Err(
            Error::Singular { .. }
            | Error::RankDeficient { .. }
            | Error::OutOfRange { .. }
            | Error::NotOrthogonal { .. }
            | Error::Diverged { .. },
        ) => Ok(false),
        other => other.map(|_| true),
    }
}

/// A rule that delegates to another and counts kink crossings of each layer.
#[derive(Debug)]
struct CrossingCounter<'a, T: Real> {
    rule: &'a mut dyn Rule<T>,
    crossings: Vec<Option<u64>>,
}

impl<T: Real> Rule<T> for CrossingCounter<'_, T> {
    fn name(&self) -> &str {
        self.rule.name()
    }
    fn reads_whole_output(&self) -> bool {
        self.rule.reads_whole_output()
    }
    fn perturbation(&self, activation: Activation, above: usize) -> Option<Perturbation> {
        self.rule.perturbation(activation, above)
    }
    fn through_decorrelation(&self) -> Through {
        self.rule.through_decorrelation()
    }
    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        self.rule.backward(layer, delta, below, with)?;
        self.crossings[layer.index] = self.perturbation(layer.activation, layer.above).map(|p| crossings(p, layer));
        Ok(())
    }
}

/// Returns the number of (unit, sample) pairs for which y and y + s φ ∘ e lie on different sides of
/// the kink.
fn crossings<T: Real>(p: Perturbation, at: &LayerState<'_, T>) -> u64 {
    let (Activation::LeakyRelu { slope }, Scale::Finite(s)) = (p.activation, p.scale) else { return 0 };
    let crosses = |i: usize, j: usize| {
        let (y, e) = (at.y.get(i, j).to_f64(), at.e.get(i, j).to_f64());
        let weight = if p.weighting == Weighting::SlopeSquared && y < 0.0 { slope * slope } else { 1.0 };
        (y < 0.0) != (y + s * weight * e < 0.0)
    };
    let row = |i| (0..at.active).filter(|&j| crosses(i, j)).count() as u64;
    (0..at.y.nrows()).map(row).sum()
}

/// Activity beyond which a unit of tanh is saturated: its slope is below 0.02.
const SATURATED: f64 = 0.99;

/// Returns the number of units of layer `l` that are dead for every sample of the batch.
fn dead_units<T: Real>(activation: Activation, tape: &Tape<T>, l: usize) -> usize {
    let y = tape.activity(l);
    let dead = |v: f64| match activation {
        Activation::LeakyRelu { slope } if slope < 1.0 => v < 0.0,
        Activation::LeakyRelu { slope } => slope > 1.0 && v >= 0.0,
        Activation::Tanh => v.abs() > SATURATED,
        _ => false,
    };
    if y.nrows() == 0 {
        return 0;
    }
    (0..y.ncols()).filter(|&j| (0..y.nrows()).all(|i| dead(y.get(i, j).to_f64()))).count()
}
