//! Gauss-Newton targets: the updates that target propagation approximates (Meulemans et al., 2020).
//!
//! For one sample, let `J_l = ∂y_L[:c] / ∂y_l` (c × n_l) be the Jacobian of the c label units with
//! respect to the activity of layer l. The damped Gauss-Newton target of layer l is `y_l + e_l`:
//!
//! ```text
//! e_l = e_L (J_l J_lᵀ + λ I)⁻¹ J_l        δ_l = D_l ∘ e_l        ΔW_l = mean(y_{l−1}ᵀ δ_l)
//! ```
//!
//! e_L is the error of the label units, as for the rules. With λ = 0, e_l is the shortest change of
//! y_l that sends the label units to their targets, to first order. Units that feed nothing have
//! zero columns in J_l, hence zero error.
//!
//! * λ → ∞: `λ e_l → e_L J_l`, which is backpropagation's error.
//! * λ = 0, and as many labels as units in every layer: `e_{l−1} = (e_l / D_l) W_l⁻¹`. This is ITP
//!   with γ = 0.
//!
//! The authors' published code has the same J_l, between activities, and the same factor D_l.
//!
//! # References
//! A. Meulemans, F. S. Carzaniga, J. A. K. Suykens, J. Sacramento, B. F. Grewe, A theoretical
//! framework for target propagation, NeurIPS 33, 2020, arXiv 2006.14331.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory;
use crate::model::layer::Layer;
use crate::model::loss::{self, Loss};
use crate::model::matrix::Matrix;
use crate::model::network::{Network, Trace};
use crate::ortho::Regularizer;
use crate::step::{Gradients, Recipe, Step};
use crate::study::diagnostics::Alignment;
use gaitprop_kernels::perturb::activation_grad;
use gaitprop_kernels::{BatchMut, BatchRef, Error as KernelError, MatMut, MatRef, Real, Scalar, cholesky, gemm_batched};

/// Maximum number of elements of the Jacobians held at a time, unless one sample has more.
const ELEMENTS: usize = 1 << 20;

/// Computes the Gauss-Newton updates of one batch. The network is not changed.
///
/// Shapes: `input` batch × inputs, `target` batch × labels (one-hot, or any values for the squared
/// loss).
///
/// * `loss`: defines e_L, the error of the label units
/// * `damping`: λ, at least 0
///
/// Work: c times the backward pass of backpropagation, for c labels, and batch · c² · n fused
/// multiply-adds a layer. The Jacobians of some samples at a time are held, about 2²⁰ elements.
/// Their products are in T. `J Jᵀ` and its factor are in f64, because they square the condition
/// number κ of J: for T = f64 the relative error is about κ² times the unit roundoff. Same bits on
/// every machine and thread count.
///
/// # Errors
/// * [`Error::Setting`] for a damping that is negative, infinite or NaN.
/// * [`Error::RankDeficient`] with layer and sample if `J Jᵀ + λ I` is singular, or so close to it
///   that rounding decides. Damping removes the cause.
/// * [`Error::Diverged`] if a value is not finite; a shape error; out of memory.
///
/// # Examples
/// ```
/// use gaitprop::kernels::{MatRef, Plan};
/// use gaitprop::loss::Loss;
/// use gaitprop::{Architecture, Exec, Network, gauss_newton, init::Init};
///
/// let net = Network::<f64>::random(&Architecture::square(4, 4, 2, 2)?, Init::Orthogonal, 1, &Plan::new())?;
/// let (x, target) = ([0.5, -1.0, 2.0, 0.1], [1.0, 0.0]);
/// let (x, target) = (MatRef::new(&x, 1, 4)?, MatRef::new(&target, 1, 2)?);
/// let updates = gauss_newton::updates(&net, x, target, Loss::Squared, 0.01, &mut Exec::default())?;
/// assert_eq!(updates.weights(0).view().shape(), (4, 4));
/// # Ok::<(), gaitprop::Error>(())
/// ```
pub fn updates<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    loss: Loss,
    damping: f64,
    exec: &mut Exec,
) -> Result<Gradients<T>> {
    check_damping(damping)?;
    let (batch, labels) = (input.nrows(), net.labels());
    target.expect_shape("the targets", (batch, labels))?;
    let mut trace = Trace::new(net, batch);
    net.forward_columns(input, labels, &mut trace, exec)?;
    let mut e = Matrix::zeros(batch, labels);
    loss::score(loss, trace.output().cols(0, labels), target, Some(e.view_mut()))?;

    let mut deltas: Vec<_> = net.layers().iter().map(|layer| Matrix::zeros(batch, layer.width())).collect();
    let mut jacobians = Jacobians::new(net, batch)?;
    for first in (0..batch).step_by(jacobians.capacity) {
        let chunk = Chunk { first, count: jacobians.capacity.min(batch - first), trace: &trace, damping };
        jacobians.begin(chunk.count);
        for (l, layer) in net.layers().iter().enumerate().rev() {
            jacobians.send(l, layer, &chunk, e.view(), deltas[l].view_mut(), exec)?;
            if l > 0 {
                jacobians.lower(l, (layer, net.decorrelation(l)), &chunk, exec)?;
            }
        }
    }
    Gradients::from_deltas(net, input, &trace, &deltas, exec)
}

/// Compares a rule's updates of one batch with the Gauss-Newton updates, layer by layer, without a
/// regularizer.
///
/// Shapes and damping as [`updates`]; the loss is that of the recipe.
///
/// # Errors
/// As [`updates`] and [`Step::gradients`].
pub fn alignment<T: Real>(
    net: &Network<T>,
    input: MatRef<'_, T>,
    target: MatRef<'_, T>,
    damping: f64,
    recipe: &mut Recipe<'_, T>,
) -> Result<Vec<Alignment>> {
    let Recipe { rule, solver, loss, regularizer, exec } = recipe;
    let reference = updates(net, input, target, *loss, damping, exec)?;
    let mut step = Step::new(net, input.nrows());
    let regularizer = Regularizer { lambda: 0.0, ..*regularizer };
    let mut bare = Recipe { rule: &mut **rule, solver: &mut **solver, loss: *loss, regularizer, exec };
    step.gradients(net, input, target, &mut bare)?;
    let of = |l| Alignment::of(step.gradients.weights(l).data(), reference.weights(l).data(), &bare.exec.plan);
    (0..net.layers().len()).map(of).collect()
}

/// Refuses a damping that is negative, infinite or NaN.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn check_damping(damping: f64) -> Result<()> {
    if damping >= 0.0 && damping.is_finite() {
        return Ok(());
    }
    Err(Error::Setting(format!("damping is {damping}, but must be at least 0 and finite")))
}

/// Consecutive samples whose Jacobians are computed together.
struct Chunk<'a, T> {
    /// Index of the first sample in the batch.
    first: usize,
    /// Number of samples.
    count: usize,
    /// Forward pass of the batch.
    trace: &'a Trace<T>,
    /// λ.
    damping: f64,
}

/// Jacobians of a chunk of samples with respect to one layer, and the buffers of their targets.
struct Jacobians<T> {
    /// Maximum number of samples.
    capacity: usize,
    /// Number of label units, the rows of one Jacobian.
    labels: usize,
    /// Number of units of the layer that reach the labels, the columns of a Jacobian.
    active: usize,
    /// J of each sample, one after another.
    rows: Vec<T>,
    /// `J ∘ D`, as `rows`.
    weighted: Vec<T>,
    /// J in f64, as `rows`.
    wide: Vec<f64>,
    /// `J Jᵀ + λ I` of each sample, then its Cholesky factor.
    gram: Vec<f64>,
    /// e_L, then `e_L (J Jᵀ + λ I)⁻¹`, a row a sample.
    combination: Vec<f64>,
    /// e of the active units in f64, a row a sample.
    target: Vec<f64>,
    /// One row of e.
    error: Vec<T>,
}

impl<T: Real> Jacobians<T> {
    /// Allocates buffers for up to `batch` samples.
    fn new(net: &Network<T>, batch: usize) -> Result<Self> {
        let (labels, fan_ins) = (net.labels(), net.layers().iter().skip(1).map(Layer::fan_in));
        let widest = fan_ins.max().unwrap_or(0).max(labels);
        let one = labels.saturating_mul(widest);
        let capacity = (ELEMENTS / one).clamp(1, batch.max(1));
        let numbers = one.saturating_mul(capacity).saturating_mul(4);
        memory::ask_for(numbers.saturating_mul(size_of::<f64>()), "the Jacobians of the outputs")?;
        let all = capacity * one;
        Ok(Self {
            capacity,
            labels,
            active: labels,
            rows: vec![T::ZERO; all],
            weighted: vec![T::ZERO; all],
            wide: vec![0.0; all],
            gram: vec![0.0; capacity * labels * labels],
            combination: vec![0.0; capacity * labels],
            target: vec![0.0; capacity * widest],
            error: vec![T::ZERO; widest],
        })
    }

    /// Starts at the last layer: the Jacobian of the label units with respect to themselves, I.
    fn begin(&mut self, count: usize) {
        let c = self.labels;
        self.active = c;
        self.rows[..count * c * c].fill(T::ZERO);
        (0..count * c).for_each(|row| self.rows[row * c + row % c] = T::ONE);
    }

    /// Goes down through layer `l`: `J_{l−1} = (J_l ∘ D_l) W_lᵀ`, and through the decorrelation of
    /// its input, if there is one: `J_{l−1} R_lᵀ`.
    fn lower(
        &mut self,
        l: usize,
        (layer, decorrelation): (&Layer<T>, Option<&Matrix<T>>),
        chunk: &Chunk<'_, T>,
        exec: &mut Exec,
    ) -> Result<()> {
        let Self { labels: c, active: n, ref mut rows, ref mut weighted, .. } = *self;
        let (y, slope) = (chunk.trace.activity(l), chunk.trace.slope(l));
        for p in 0..chunk.count {
            let (one, sample) = (p * c * n..(p + 1) * c * n, chunk.first + p);
            let slope = slope.as_ref().map(|slope| repeated(slope, sample, (c, n))).transpose()?;
            let to = MatMut::new(&mut weighted[one.clone()], c, n)?;
            let y = repeated(&y, sample, (c, n))?;
            activation_grad(layer.activation, y, slope, MatRef::new(&rows[one], c, n)?, to, exec.plan.isa)?;
        }
        let (all, below) = (chunk.count * c, layer.fan_in());
        let (from, to) = (MatRef::new(&weighted[..all * n], all, n)?, MatMut::new(&mut rows[..all * below], all, below)?);
        exec.gemm(T::ONE, from, layer.w.view().cols(0, n).t(), T::ZERO, to)?;
        if let Some(r) = decorrelation {
            let (from, to) =
                (MatRef::new(&rows[..all * below], all, below)?, MatMut::new(&mut weighted[..all * below], all, below)?);
            exec.gemm(T::ONE, from, r.view().t(), T::ZERO, to)?;
            std::mem::swap(rows, weighted);
        }
        self.active = below;
        Ok(())
    }

    /// Writes δ_l of the chunk's samples into the active columns of `delta`.
    ///
    /// * `e`: e_L, batch × labels
    /// * `delta`: batch × width of layer l
    fn send(
        &mut self,
        l: usize,
        layer: &Layer<T>,
        chunk: &Chunk<'_, T>,
        e: MatRef<'_, T>,
        mut delta: MatMut<'_, T>,
        exec: &mut Exec,
    ) -> Result<()> {
        self.combine(l, chunk, e, exec)?;
        let Self { labels: c, active: n, ref wide, ref combination, ref mut target, ref mut error, .. } = *self;
        let count = chunk.count;
        let jacobians = BatchRef::new(&wide[..count * c * n], count, c, n)?;
        let combination = BatchRef::new(&combination[..count * c], count, 1, c)?;
        let to = BatchMut::new(&mut target[..count * n], count, 1, n)?;
        gemm_batched(1.0, combination, jacobians, 0.0, to, &exec.plan, &mut exec.scratch)?;
        for p in 0..count {
            let sample = chunk.first + p;
            error.iter_mut().zip(&target[p * n..(p + 1) * n]).for_each(|(e, &wide)| *e = T::from_f64(wide));
            let y = chunk.trace.activity(l).block(sample, 0, 1, n);
            let slope = chunk.trace.slope(l).map(|slope| slope.block(sample, 0, 1, n));
            let to = delta.rb().block(sample, 0, 1, n);
            activation_grad(layer.activation, y, slope, MatRef::new(&error[..n], 1, n)?, to, exec.plan.isa)?;
        }
        Ok(())
    }

    /// Computes `e_L (J Jᵀ + λ I)⁻¹` of every sample.
    fn combine(&mut self, l: usize, chunk: &Chunk<'_, T>, e: MatRef<'_, T>, exec: &mut Exec) -> Result<()> {
        let Self { labels: c, active: n, ref rows, ref mut wide, ref mut gram, ref mut combination, .. } = *self;
        let (count, damping) = (chunk.count, chunk.damping);
        wide.iter_mut().zip(&rows[..count * c * n]).for_each(|(wide, row)| *wide = row.to_f64());
        let jacobians = BatchRef::new(&wide[..count * c * n], count, c, n)?;
        let to = BatchMut::new(&mut gram[..count * c * c], count, c, c)?;
        gemm_batched(1.0, jacobians, jacobians.t(), 0.0, to, &exec.plan, &mut exec.scratch)?;
        for (p, (gram, z)) in gram.chunks_exact_mut(c * c).zip(combination.chunks_exact_mut(c)).take(count).enumerate() {
            let sample = chunk.first + p;
            z.iter_mut().zip(e.row_iter(sample)).for_each(|(z, e)| *z = e.to_f64());
            solve_damped(gram, z, damping, tolerance::<T>(n), exec).map_err(|e| match e {
                KernelError::NotPositiveDefinite { .. } => Error::RankDeficient { layer: l, sample, damping, precision: T::NAME },
                KernelError::NonFinite { .. } => Error::Diverged { what: "the Jacobian of the outputs", layer: l, step: 0 },
                other => other.into(),
            })?;
        }
        Ok(())
    }
}

/// Returns a view of `shape.0` times the first `shape.1` elements of row `i`.
fn repeated<'a, T: Real>(of: &'a MatRef<'_, T>, i: usize, shape: (usize, usize)) -> Result<MatRef<'a, T>, KernelError> {
    MatRef::strided(of.row(i).expect("row-major"), 0, shape, (0, 1))
}

/// Returns the share of a diagonal element of `J Jᵀ` below which rounding decides about its pivot.
///
/// A pivot is the squared distance of a row of J from the rows above it. A row of n elements is
/// known to n u of its length, u the unit roundoff of T. `J Jᵀ` is known to n u of f64.
fn tolerance<T: Real>(n: usize) -> f64 {
    let [row, gram] = [T::UNIT_ROUNDOFF, f64::UNIT_ROUNDOFF].map(|u| n as f64 * u);
    gram.max(row * row)
}

/// Replaces `z` by `(G + λ I)⁻¹ z`. `gram` holds the rows of G, and then its Cholesky factor.
///
/// # Errors
/// [`KernelError::NotPositiveDefinite`] if the damped G is singular to within `tolerance`,
/// [`KernelError::NonFinite`]; out of memory.
fn solve_damped(gram: &mut [f64], z: &mut [f64], damping: f64, tolerance: f64, exec: &mut Exec) -> Result<(), KernelError> {
    let c = z.len();
    (0..c).for_each(|j| gram[j * c + j] += damping);
    let diagonal: Vec<f64> = (0..c).map(|j| gram[j * c + j]).collect();
    cholesky::factor(MatMut::new(gram, c, c)?, &exec.plan, &mut exec.scratch)?;
    let determined = |j: usize| gram[j * c + j] * gram[j * c + j] > tolerance * diagonal[j];
    if let Some(index) = (0..c).find(|&j| !determined(j)) {
        return Err(KernelError::NotPositiveDefinite { index });
    }
    cholesky::solve(MatRef::new(gram, c, c)?, MatMut::new(z, c, 1)?, &exec.plan, &mut exec.scratch)
}
