//! Solvers of `e W = r` for a batch of rows: the inverse of a layer's weights, applied to errors.
//!
//! | solver | keeps | products of the size of the forward pass, n = 784, batch 60 |
//! |---|---|---|
//! | [`Lu`] | factors of W, recomputed each step | n/(3·batch) + 2 = 6.4 (9 by the clock); exact |
//! | [`SolverKind::Stale`] | M ≈ W⁻¹ of an earlier step | 1, and 2 for each correction |
//! | [`SolverKind::Cg`] | nothing of W | 2k − 1 for k iterations: 3 near orthogonality |
//! | [`SolverKind::Gram`] | the Cholesky factor of W Wᵀ | 2n/(3·batch) + 3 |
//! | [`SolverKind::Transpose`] | nothing | 2, for orthogonal W only |
//! | [`SolverKind::Auto`] | the costs observed so far | those of the solver chosen for the layer |
//! | [`SolverKind::Damped`] | the Cholesky factor of W Wᵀ + ρI | 2n/(3·batch) + 3 |
//! | [`SolverKind::Learned`] | M, learned by reconstruction | 2, and 2 to learn |
//!
//! Damped and Learned only approximate the inverse. They take weights of any shape: see
//! [`Solver::solve_into`].
//!
//! Lu, Gram, Damped and Learned are direct. The others iterate until the error is small relative to
//! the solution. They estimate it from the next correction: with an ill-conditioned W a small
//! residual r − e W says little about e.
//!
//! All decisions rest on shapes and on numbers that have the same bits on every machine, never on
//! time. The same run therefore takes the same decisions everywhere.

mod auto;
mod conjugate;
mod damped;
mod front;
mod gram;
mod learn;
mod learned;
mod lu;
mod method;
mod sketch;
mod stale;
mod transpose;

use crate::base::error::{Error, Result, check_rounded};
use crate::base::exec::Exec;
use crate::base::memory::ask_for;
use crate::base::names::names;
use crate::store::checkpoint::State;
use gaitprop_kernels::{Activation, MatMut, MatRef, Real, Start};

pub use learned::Learning;
pub use lu::{Lu, condition};

/// Name of a solver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolverKind {
    /// Factors of W, computed anew after each change: the exact reference.
    #[default]
    Lu,
    /// The inverse of an earlier step, corrected and kept current by what each solve finds.
    Stale,
    /// Conjugate gradients in Craig's form; nothing is kept of W.
    Cg,
    /// `W⁻¹ = Wᵀ (W Wᵀ)⁻¹`, by Cholesky.
    Gram,
    /// Wᵀ for W⁻¹; weights that are not orthogonal are an error.
    Transpose,
    /// The cheapest of those above for each layer, by observed costs.
    Auto,
    /// `Wᵀ (W Wᵀ + ρ I)⁻¹`: defined for weights of any shape, and for singular ones unless rounding
    /// loses ρ.
    Damped,
    /// Weights of their own that learn to reconstruct each layer's input, of any shape.
    Learned,
}

names!(
    SolverKind,
    "solver",
    Lu = "lu",
    Stale = "stale",
    Cg = "cg",
    Gram = "gram",
    Transpose = "transpose",
    Auto = "auto",
    Damped = "damped",
    Learned = "learned"
);

impl SolverKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 8] =
        [Self::Lu, Self::Stale, Self::Cg, Self::Gram, Self::Transpose, Self::Auto, Self::Damped, Self::Learned];

    /// Returns whether weights may have any shape. All other solvers invert square weights.
    pub fn takes_rectangles(self) -> bool {
        !self.is_exact()
    }

    /// Refuses learned inverses, for uses outside a training.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check_untrained(self) -> Result<()> {
        if self != Self::Learned {
            return Ok(());
        }
        let what = "the inverse is learned, but there is nothing to learn from outside a training: use another solver";
        Err(Error::Setting(what.into()))
    }

    /// Returns whether solutions approach `r W⁻¹` with the tolerance.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::Damped | Self::Learned)
    }
}

/// Settings shared by all solvers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Relative error ‖e − r W⁻¹‖ / ‖e‖ at which iterations stop. Learning curves at 1e-2 equal
    /// those of the exact solve to within the noise of f32.
    pub tolerance: f64,
    /// Whether a regularizer keeps W near orthogonal. [`SolverKind::Auto`] bases its first choices on it.
    pub regularized: bool,
    /// Number of random combinations of rows that decide on stopping. With 0 every solve checks all
    /// rows, at the price of whole products.
    ///
    /// With the default, 6, a norm is off by 0.3 in the worst case (all rows alike) and by a tenth
    /// when ten directions matter. It is the number of rows of the smallest register tile. 8 cost a
    /// third more by the clock, and contract no better at n = 784 (benches/record/inverse.md).
    pub probes: usize,
    /// ρ of [`SolverKind::Damped`], at least 0.
    pub damping: f64,
    /// Settings of [`SolverKind::Learned`].
    pub learning: Learning,
}

/// Default of [`Tuning::probes`].
const PROBES: usize = 6;

impl Default for Tuning {
    fn default() -> Self {
        Self { tolerance: 1e-3, regularized: true, probes: PROBES, damping: 1e-3, learning: Learning::default() }
    }
}

impl Tuning {
    /// Returns the default with another tolerance.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the tolerance lies between 0 and 1, both excluded.
    pub fn new(tolerance: f64) -> Result<Self> {
        let tuning = Self { tolerance, ..Self::default() };
        tuning.check().map(|()| tuning)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let t = self.tolerance;
        if !(t > 0.0 && t < 1.0) {
            let what = format!("tolerance is {t}, but must lie between 0 and 1, both excluded (0.001 is usual)");
            return Err(Error::Setting(what));
        }
        for (name, value) in [("the damping", self.damping), ("the learning rate of the inverses", self.learning.rate)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::Setting(format!("{name} is {value}, but must be at least 0 and finite")));
            }
        }
        Ok(())
    }

    /// [`Tuning::check`], also of what is left of damping and rate in the element type.
    pub(crate) fn check_in<T: Real>(&self) -> Result<()> {
        self.check()?;
        check_rounded::<T>("the damping", self.damping)?;
        check_rounded::<T>("the learning rate of the inverses", self.learning.rate)
    }
}

/// Time per flop of LU factorization (⅔n³ flops), relative to a product of the size of the forward
/// pass.
///
/// These costs decide what [`SolverKind::Auto`] chooses and when [`SolverKind::Stale`] refreshes.
/// They were measured at n = 784, batch 60, f32, AVX2, one thread. C_LU is 9.0 with them and 8.6 by
/// the clock (`benches/record/inverse.md`, 2026-11-24). They are constants, since decisions that
/// depend on measured time would not be reproducible.
const LU_COST: f64 = 1.5;
/// The same of triangular solves with a batch, 2·batch·n² flops for a pair.
const SUBSTITUTION_COST: f64 = 1.5;
/// The same of triangular solves with n right-hand sides, 2n³ flops for a pair.
const INVERSION_COST: f64 = 1.45;

/// Returns C_LU: the cost in products of a solve by LU with new factors, residual included.
fn lu_solve_cost(n: usize, batch: usize) -> f64 {
    LU_COST * products(2.0 / 3.0, n, batch) + SUBSTITUTION_COST + 1.0
}

/// Returns the cost in products of W⁻¹ by LU.
fn lu_inverse_cost(n: usize, batch: usize) -> f64 {
    LU_COST * products(2.0 / 3.0, n, batch) + INVERSION_COST * products(2.0, n, batch)
}

/// Returns `flops`·n³ in products of the size of the forward pass.
fn products(flops: f64, n: usize, batch: usize) -> f64 {
    flops * n as f64 / (2.0 * batch.max(1) as f64)
}

/// Accuracy and cost of a solve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Solve {
    /// Relative residual ‖r − e W‖ / ‖r‖ (Frobenius over the batch).
    pub residual: f64,
    /// Whether `residual` is an estimate, from random combinations of rows or extrapolated from the
    /// corrected rows. It is then off by up to a third, seldom more.
    pub sampled: bool,
    /// Cost of all attempts, in products of the size of the forward pass (2·batch·n² flops).
    pub products: f64,
    /// Solver that found the solution; never [`SolverKind::Auto`].
    pub by: SolverKind,
}

impl Solve {
    /// Adds the cost of attempts that failed before.
    fn after(self, spent: f64) -> Self {
        Self { products: spent + self.products, ..self }
    }
}

/// Totals over several solves: worst residual, total cost, number of solves by solver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Solves {
    /// Worst relative residual ‖r − e W‖ / ‖r‖.
    pub residual: f64,
    /// Total cost, in products of the size of the forward pass.
    pub products: f64,
    counts: [u64; SolverKind::ALL.len()],
}

impl Solves {
    /// Adds one solve.
    pub fn add(&mut self, solve: Solve) {
        let one = Self { residual: solve.residual, products: solve.products, ..Self::default() };
        self.merge(&one);
        self.counts[solve.by as usize] += 1;
    }

    /// Adds the solves of another step or layer.
    pub fn merge(&mut self, other: &Self) {
        // `max` would hide a NaN.
        if !self.residual.is_nan() && !(other.residual <= self.residual) {
            self.residual = other.residual;
        }
        self.products += other.products;
        self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| *a += b);
    }

    /// Returns the totals as state, exact to the bit.
    pub(crate) fn save<T: Real>(&self) -> State<T> {
        let mut state = State::default();
        state.put_f64("residual", self.residual);
        state.put_f64("products", self.products);
        for kind in SolverKind::ALL {
            state.put(format!("by-{kind}"), self.by(kind));
        }
        state
    }

    /// Reads back what [`Solves::save`] returned.
    pub(crate) fn restore<T: Real>(state: &State<T>) -> Result<Self> {
        let mut solves = Self { residual: state.get_f64("residual")?, products: state.get_f64("products")?, ..Self::default() };
        for kind in SolverKind::ALL {
            // Earlier versions had fewer solvers.
            solves.counts[kind as usize] = state.find(&format!("by-{kind}")).unwrap_or(0);
        }
        Ok(solves)
    }

    /// Returns the number of solutions that a solver found.
    pub fn by(&self, kind: SolverKind) -> u64 {
        self.counts[kind as usize]
    }
}

/// One layer's weights, as a step hands them to a solver.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T: Copy> {
    /// Index of the layer. Solvers keep factors and statistics by layer. Decorrelations of inputs
    /// have numbers after those of the layers.
    pub layer: usize,
    /// Version of the weights: another number means that the weights of any layer may have changed.
    /// [`Network::version`](crate::Network::version), or a count that the caller keeps.
    pub version: u64,
    /// W, fan-in × width; n×n for exact inverses.
    pub w: MatRef<'a, T>,
}

impl<T: Real> Weights<'_, T> {
    /// Refuses weights that are not n×n.
    fn check(&self, n: usize) -> Result<()> {
        Ok(self.w.expect_shape("the weights to be inverted", (n, n))?)
    }
}

/// Solves `e W = r` for a batch of rows.
pub trait Solver<T: Real>: Send {
    /// Name in metrics.
    fn name(&self) -> &'static str;

    /// Replaces `r` (batch × n) by `r W⁻¹`.
    ///
    /// After the first calls at given shapes nothing is allocated, except where CG, Gram or the
    /// transpose first falls back to LU.
    ///
    /// # Errors
    /// [`Error::Singular`] with the layer and a condition estimate; [`Error::NotOrthogonal`] from
    /// [`SolverKind::Transpose`]; a shape error; out of memory. The weights are not touched; `r` is then
    /// unspecified.
    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve>;

    /// Writes the solution for weights of any shape: `e` (batch × fan-in) from `r` (batch × width).
    ///
    /// # Errors
    /// As [`Solver::solve`]. A solver that inverts square weights refuses all others.
    fn solve_into(&mut self, of: Weights<'_, T>, r: MatRef<'_, T>, mut e: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        of.check(r.ncols())?;
        e.as_ref().expect_shape("the errors below a layer", r.shape())?;
        for i in 0..r.nrows() {
            r.row_iter(i).enumerate().for_each(|(j, v)| e.set(i, j, v));
        }
        self.solve(of, e, exec)
    }

    /// Returns whether the solver learns from batches, by [`Solver::learn`].
    fn learns(&self) -> bool {
        false
    }

    /// Learns from the activities of one layer on a batch. Training calls it after each step, for
    /// each layer but the first. A solver may learn nothing for a layer that no error went through.
    ///
    /// * `y`: activity of the layer, batch × width
    /// * `below`: activity of the units that feed it, before any decorrelation, batch × fan-in
    ///
    /// # Errors
    /// [`Error::Diverged`] for numbers that are no longer finite; a shape error; out of memory.
    fn learn(
        &mut self,
        _of: Weights<'_, T>,
        _y: (Activation, MatRef<'_, T>),
        _below: MatRef<'_, T>,
        _exec: &mut Exec,
    ) -> Result<()> {
        Ok(())
    }

    /// Returns everything that later solves depend on besides their arguments, for weights at
    /// `version`. Factors of the present weights are not part of it: they are computed again.
    fn save(&self, version: u64) -> State<T>;

    /// Continues from a saved state, for weights at `version`: the same solutions and reports, bit
    /// for bit. The solver must have been built with the same tuning.
    ///
    /// # Errors
    /// [`Error::Setting`] for the state of something else; the solver is then unusable.
    fn restore(&mut self, state: State<T>, version: u64) -> Result<()>;
}

/// Returns the state of a solver's layers: their number, and the entries of layer l under `l.`.
/// `save` puts the entries of a layer and returns its width, which becomes the entry `n`.
fn save_layers<T: Real, L>(layers: &[L], save: impl Fn(&L, &mut State<T>) -> usize) -> State<T> {
    let mut state = State::default();
    state.put("layers", layers.len() as u64);
    for (l, layer) in layers.iter().enumerate() {
        let mut part = State::default();
        let n = save(layer, &mut part);
        part.put("n", n as u64);
        state.put_part(&l.to_string(), part);
    }
    state
}

/// Reads layers back with `restore`, which gets the state of one and its width `n`. An `n` whose
/// matrix does not fit in memory is an error.
fn restore_layers<T: Real, L>(state: &mut State<T>, restore: impl Fn(State<T>, usize) -> Result<L>) -> Result<Vec<L>> {
    let layers: usize = state.get_as("layers")?;
    let parts = (0..layers).map(|l| state.take_part(&l.to_string()));
    let matrix = |n: usize| n.saturating_mul(n).saturating_mul(size_of::<T>());
    let layer = |part: State<T>| {
        let n = part.get_as("n")?;
        ask_for(matrix(n), "a layer of a solver's state")?;
        restore(part, n)
    };
    parts.map(layer).collect()
}

/// Returns the entry of `layer`, after adding default entries up to it.
fn of_layer<L: Default>(layers: &mut Vec<L>, layer: usize) -> &mut L {
    if layers.len() <= layer {
        layers.resize_with(layer + 1, L::default);
    }
    &mut layers[layer]
}

/// Returns the number of leading columns that contain every nonzero element.
///
/// The last layer's r has nonzero columns only for the label units. There r M takes only the
/// corresponding rows of M.
fn live_columns<T: Real>(r: MatRef<'_, T>) -> usize {
    let mut live = 0;
    for i in 0..r.nrows() {
        // Scans backwards down to `live`: a dense row takes one comparison.
        let rest = r.cols(live, r.ncols() - live);
        live += rest.row_iter(i).rposition(|v| v != T::ZERO).map_or(0, |j| j + 1);
    }
    live
}

/// Computes the residual `rest = right − e W`, a row for each row of e.
fn rest_of<T: Real>(right: &[T], e: MatRef<'_, T>, w: MatRef<'_, T>, rest: &mut [T], exec: &mut Exec) -> Result<()> {
    let (rows, n) = e.shape();
    exec.product(-T::ONE, e, w, Start::From(T::ONE, MatRef::new(right, rows, n)?), MatMut::new(rest, rows, n)?)
}

/// [`Solver::solve`] by [`Solver::solve_into`], from a copy of `r` in the solver's buffer `right`.
fn solve_in_place<T: Real, S: Solver<T>>(
    solver: &mut S,
    right: fn(&mut S) -> &mut Vec<T>,
    of: Weights<'_, T>,
    r: MatMut<'_, T>,
    exec: &mut Exec,
) -> Result<Solve> {
    of.check(r.ncols())?;
    let mut copy = std::mem::take(right(solver));
    gather(r.as_ref(), &mut copy);
    let solve = solver.solve_into(of, MatRef::new(&copy, r.nrows(), r.ncols())?, r, exec);
    *right(solver) = copy;
    solve
}

/// Copies the rows into contiguous memory.
pub(crate) fn gather<T: Real>(from: MatRef<'_, T>, to: &mut Vec<T>) {
    to.clear();
    for i in 0..from.nrows() {
        match from.row(i) {
            Some(row) => to.extend_from_slice(row),
            None => to.extend(from.row_iter(i)),
        }
    }
}

/// Copies contiguous rows into a matrix.
fn scatter<T: Real>(from: &[T], to: &mut MatMut<'_, T>) {
    let n = to.ncols();
    for (i, row) in from.chunks_exact(n.max(1)).take(to.nrows()).enumerate() {
        match to.row_mut(i) {
            Some(to) => to.copy_from_slice(row),
            None => row.iter().enumerate().for_each(|(j, &v)| to.set(i, j, v)),
        }
    }
}

/// Adds `d` to `e`, element by element.
fn add<T: Real>(e: &mut [T], d: &[T]) {
    e.iter_mut().zip(d).for_each(|(e, &d)| *e += d);
}

/// Reserves capacity for `len` elements without touching the memory.
fn reserve<T>(memory: &mut Vec<T>, len: usize) {
    memory.reserve(len.saturating_sub(memory.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At n = 300 and batch 50, n³ flops are 3 products of 2·batch·n² flops.
    #[test]
    fn costs_are_flops_times_cost_per_flop() {
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        close(lu_solve_cost(300, 50), 1.5 * 2.0 + 1.5 + 1.0);
        close(lu_inverse_cost(300, 50), 1.5 * 2.0 + 1.45 * 6.0);
        assert_eq!(lu_solve_cost(300, 0), lu_solve_cost(300, 1));
    }

    #[test]
    fn solves_add_up() {
        let one = |residual, products, by| Solve { residual, products, by, sampled: false };
        let (mut first, mut second) = (Solves::default(), Solves::default());
        first.add(one(0.25, 2.0, SolverKind::Lu));
        first.add(one(0.5, 1.0, SolverKind::Stale));
        first.add(one(0.125, 4.0, SolverKind::Stale));
        second.add(one(0.375, 0.5, SolverKind::Cg));
        first.merge(&second);
        assert_eq!((first.residual, first.products), (0.5, 7.5));
        assert_eq!(SolverKind::ALL.map(|kind| first.by(kind)).iter().sum::<u64>(), 4);
        assert_eq!([SolverKind::Lu, SolverKind::Stale, SolverKind::Cg].map(|kind| first.by(kind)), [1, 2, 1]);
        assert_eq!(Solves::restore(&first.save::<f32>()).unwrap(), first);
        // A NaN stays.
        first.add(one(f64::NAN, 1.0, SolverKind::Lu));
        first.add(one(0.9, 1.0, SolverKind::Lu));
        assert!(first.residual.is_nan());
    }

    #[test]
    fn reserving_adds_no_elements() {
        let mut memory = vec![1.0_f32, 2.0];
        reserve(&mut memory, 1000);
        assert!(memory.len() == 2 && memory.capacity() >= 1000);
    }
}
