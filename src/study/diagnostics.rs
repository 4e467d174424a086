//! How close a rule's updates are to backpropagation's, and how close weights are to orthogonal.

use crate::base::error::{Error, Result};
use crate::data::Samples;
use crate::model::layer::Layer;
use crate::model::network::Network;
use crate::model::network::Trace;
use crate::ortho::{Penalty, Regularizer};
use crate::rule::{Backprop, Local, Means, Outcome, Rule};
use crate::solve::{self, Solve, Solver};
use crate::step::{Recipe, Workspace};
use crate::train::Trainer;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::{Activation, MatRef, Plan, Real, Scratch, reduce};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};

/// How one layer's weight update compares with another rule's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alignment {
    /// Cosine of the angle between the two, as vectors of all weights; 1 if both are 0, NaN if one of them is.
    pub cosine: f64,
    /// Norm of the first over norm of the second.
    pub ratio: f64,
    /// ‖a − b‖ / ‖b‖: 0 if both are 0, infinite if the second alone is.
    pub difference: f64,
}

impl Alignment {
    /// Compares two updates of one layer.
    ///
    /// # Errors
    /// A shape error if their lengths differ.
    pub fn of<T: Real>(a: &[T], b: &[T], plan: &Plan) -> Result<Self> {
        let dot = |x: &[T], y: &[T]| reduce::dot(x, y, plan.isa);
        let (aa, bb, ab) = (dot(a, a)?, dot(b, b)?, dot(a, b)?);
        if aa == 0.0 && bb == 0.0 {
            return Ok(Self { cosine: 1.0, ratio: 1.0, difference: 0.0 });
        }
        // Rounding may leave the open interval.
        let cosine = (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0);
        // Not from the three products, in which a small difference would cancel.
        let squares = a.iter().zip(b).map(|(a, b)| a.to_f64() - b.to_f64()).map(|d| d * d).sum::<f64>();
        Ok(Self { cosine, ratio: aa.sqrt() / bb.sqrt(), difference: squares.sqrt() / bb.sqrt() })
    }
}

/// Compares a rule's updates with backpropagation's on one batch, layer by layer, without any regulariser.
///
/// Shapes as [`Workspace::gradients`]. The network is not touched.
///
/// # Errors
/// As [`Workspace::gradients`].
pub fn alignment<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &Recipe<'_, T>,
    inverse: &mut dyn Solver<T>,
) -> Result<Vec<Alignment>> {
    let bare = Recipe { ortho: Regularizer { lambda: 0.0, ..recipe.ortho }, ..*recipe };
    let backprop: &dyn Rule<T> = &Backprop;
    let [mut own, mut other] = [(); 2].map(|()| Workspace::new(net, input.nrows()));
    own.gradients(net, input, target, &bare, inverse)?;
    other.gradients(net, input, target, &Recipe { rule: backprop, ..bare }, inverse)?;
    let layers = 0..net.layers().len();
    let of = |l| Alignment::of(own.gradients.weights(l).data(), other.gradients.weights(l).data(), recipe.plan);
    layers.map(of).collect()
}

/// What the regulariser's form measures of each layer: ‖offdiag(W Wᵀ)‖ or ‖W Wᵀ − I‖ (Frobenius).
///
/// # Errors
/// Out of memory for packing.
pub fn orthogonality<T: Real>(net: &Network<T>, form: &Regularizer, plan: &Plan) -> Result<Vec<f64>> {
    let mut scratch = Scratch::new();
    net.layers().iter().map(|l| form.norm(l.w.view(), plan, &mut scratch)).collect()
}

/// What one layer looks like during training. Norms are Frobenius'. What cannot be measured is NaN, in JSON null.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Cosine between the rule's weight update and backpropagation's, both without a regulariser.
    pub cosine_with_bp: f64,
    /// Norm of the rule's weight update over that of backpropagation's.
    pub ratio_to_bp: f64,
    /// ‖offdiag(W Wᵀ)‖, or of WᵀW if the regulariser is on that side or the layer has more rows than columns.
    pub offdiag: f64,
    /// ‖W Wᵀ − I‖, of the same side.
    pub distance_from_orthogonal: f64,
    /// Estimate of the condition number in the 1-norm: see [`solve::condition`]. None for a layer that is not square.
    pub condition: Option<f64>,
    /// ‖r − e W‖ / ‖r‖ of the solve with this layer's weights. None if the rule made none: never at the first layer.
    pub solve_residual: Option<f64>,
    /// Cost of that solve, in products of the size of the forward pass.
    pub solve_products: Option<f64>,
    /// Units × samples whose perturbed target lies on the other side of a leaky ReLU's kink than the activity, so that the rule is not linear there. None
    /// where nothing is perturbed: by rules without targets, and at the first layer.
    pub kink_crossings: Option<u64>,
    /// Norm of the rule's weight update, without a regulariser.
    pub update_norm: f64,
    /// Units that learn little or nothing from any sample of the batch: of a leaky ReLU those that are on the side of its smaller slope for all of them, of
    /// tanh those with |y| > 0.99 for all of them.
    pub dead_units: usize,
}

/// Looks at every layer of a network on one batch, through `inverse`. The network is not touched.
///
/// Shapes as [`Workspace::gradients`]. Where the rule or backpropagation fail on this batch (singular weights, a target out of range, numbers that are not finite)
/// what depends on them is NaN: that is when the rest is wanted most. Allocates; for once an epoch.
///
/// # Errors
/// A shape error; out of memory.
pub fn examine<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    recipe: &Recipe<'_, T>,
    inverse: &mut dyn Solver<T>,
) -> Result<Vec<LayerReport>> {
    let plan = recipe.plan;
    let witness = Witness { rule: recipe.rule, seen: Mutex::new(vec![Seen::default(); net.layers().len()]) };
    let bare = Recipe { rule: &witness, ortho: Regularizer { lambda: 0.0, ..recipe.ortho }, ..*recipe };
    let [mut own, mut other] = [(); 2].map(|()| Workspace::new(net, input.nrows()));
    let worked = measured(own.gradients(net, input, target, &bare, inverse))?
        & measured(other.gradients(net, input, target, &Recipe { rule: &Backprop, ..bare }, inverse))?;
    let seen = witness.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut scratch = Scratch::new();
    let mut look = |(l, layer): (usize, &Layer<T>)| {
        let w = layer.w.view();
        let (own_w, other_w) = (own.gradients.weights(l).data(), other.gradients.weights(l).data());
        let Alignment { cosine, ratio, .. } = if worked {
            Alignment::of(own_w, other_w, plan)?
        } else {
            Alignment { cosine: f64::NAN, ratio: f64::NAN, difference: f64::NAN }
        };
        let mut norm = |form| Regularizer { form, ..recipe.ortho }.norm(w, plan, &mut scratch);
        Ok(LayerReport {
            cosine_with_bp: cosine,
            ratio_to_bp: ratio,
            offdiag: norm(Penalty::OffDiagonal)?,
            distance_from_orthogonal: norm(Penalty::Identity)?,
            condition: (layer.fed() == layer.width()).then(|| solve::condition(w, plan, &mut scratch)).transpose()?,
            solve_residual: seen[l].solve.map(|s| s.residual),
            solve_products: seen[l].solve.map(|s| s.products),
            kink_crossings: seen[l].crossings,
            update_norm: if worked { reduce::dot(own_w, own_w, plan.isa)?.sqrt() } else { f64::NAN },
            dead_units: dead_units(layer.unit, &own.trace, l),
        })
    };
    net.layers().iter().enumerate().map(&mut look).collect()
}

impl<T: Real> Trainer<T> {
    /// [`alignment`] with backpropagation on the first batch of `samples`, through `inverse`: the run's own would remember having been asked,
    /// and looking must not change the run.
    ///
    /// # Errors
    /// As [`Workspace::gradients`].
    pub fn alignment(&mut self, samples: &Samples<T>, inverse: &mut dyn Solver<T>) -> Result<Vec<Alignment>> {
        self.look(samples, inverse, alignment)
    }

    /// [`examine`] on the first batch of `samples`, through an `inverse` that is not the run's, as for [`Trainer::alignment`].
    ///
    /// # Errors
    /// As [`examine`].
    pub fn examine(&mut self, samples: &Samples<T>, inverse: &mut dyn Solver<T>) -> Result<Vec<LayerReport>> {
        self.look(samples, inverse, examine)
    }

    /// ‖offdiag(W Wᵀ)‖ of each layer as it is, whatever form the regulariser has, and on its side.
    ///
    /// # Errors
    /// Out of memory for packing.
    pub fn orthogonality(&self) -> Result<Vec<f64>> {
        let (net, ortho, plan) = self.parts();
        orthogonality(net, &Regularizer { form: Penalty::OffDiagonal, ..*ortho }, plan)
    }
}

/// Whether there is something to be measured.
fn measured<R>(outcome: Result<R>) -> Result<bool> {
    match outcome {
        Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. } | Error::Diverged { .. }) => {
            Ok(false)
        }
        other => other.map(|_| true),
    }
}

/// What happened at one layer.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    solve: Option<Solve>,
    crossings: Option<u64>,
}

/// A rule that works like another and remembers what happened.
#[derive(Debug)]
struct Witness<'a, T: Real> {
    rule: &'a dyn Rule<T>,
    seen: Mutex<Vec<Seen>>,
}

impl<T: Real> Rule<T> for Witness<'_, T> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }
    fn reads_whole_output(&self) -> bool {
        self.rule.reads_whole_output()
    }
    fn perturbation(&self, unit: Activation, above: usize) -> Option<Perturbation> {
        self.rule.perturbation(unit, above)
    }
    fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, T>) -> Result<Option<Solve>> {
        let perturbed = out.below.as_ref().and_then(|_| self.rule.perturbation(at.layer.unit, at.above));
        let solve = self.rule.send_down(at, out, with)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[at.index] = Seen { solve, crossings: perturbed.map(|p| crossings(p, at)) };
        Ok(solve)
    }
}

/// Units × samples for which y and y + s φ lie on different sides of the kink.
fn crossings<T: Real>(p: Perturbation, at: &Local<'_, T>) -> u64 {
    let (Activation::LeakyRelu { slope }, Scale::Finite(s)) = (p.activation, p.scale) else { return 0 };
    let crosses = |i: usize, j: usize| {
        let (y, e) = (at.y.get(i, j).to_f64(), at.e.get(i, j).to_f64());
        let weight = if p.weighting == Weighting::SlopeSquared && y < 0.0 { slope * slope } else { 1.0 };
        (y < 0.0) != (y + s * weight * e < 0.0)
    };
    let row = |i| (0..at.live).filter(|&j| crosses(i, j)).count() as u64;
    (0..at.y.nrows()).map(row).sum()
}

/// Beyond this activity a unit of tanh is saturated: its slope is below 0.02.
const SATURATED: f64 = 0.99;

/// Units of layer `l` that are dead for every sample of the batch.
fn dead_units<T: Real>(unit: Activation, trace: &Trace<T>, l: usize) -> usize {
    let y = trace.activity(l);
    let dead = |v: f64| match unit {
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
