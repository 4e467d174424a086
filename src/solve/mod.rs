//! Sending a batch through the inverse of a layer's weights: `e W = r`, by a strategy that the step takes as a value.
//!
//! | strategy | keeps | products of the size of the forward pass, n = 784, batch 60 |
//! |---|---|---|
//! | [`Lu`] | the factors of W, made anew each step | n/(3·batch) + 2 = 6.4, and 9 by the clock: the exact reference |
//! | [`StaleInverse`] | M ≈ W⁻¹ from an earlier step | 1 and 2 a correction; it learns from each solve, and is seldom made anew |
//! | [`ConjugateGradient`] | nothing of W | 2k − 1 for k iterations: 3 near orthogonality |
//! | [`Gram`] | the Cholesky factor of W Wᵀ | 2n/(3·batch) + 3 |
//! | [`Transpose`] | nothing | 2, for orthogonal W alone |
//! | [`Auto`] | what it chooses | chooses for each layer |
//!
//! Lu and Gram are direct. The others stop when the error that is left is small relative to the solution. What they look at is
//! the next CORRECTION, not the residual: with an ill-conditioned W a small residual r − e W says little about e. All decisions rest on
//! numbers from kernels that give the same bits everywhere, and on shapes, never on time: the same run takes the same decisions on any machine.

mod auto;
mod conjugate;
mod gram;
mod lu;
mod narrow;
mod sketch;
mod stale;
mod transpose;

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real};

pub use auto::Auto;
pub use conjugate::ConjugateGradient;
pub use gram::Gram;
pub use lu::{Lu, condition};
pub use narrow::Narrow;
pub use stale::StaleInverse;
pub use transpose::Transpose;

/// The strategies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolverKind {
    /// [`Lu`].
    #[default]
    Lu,
    /// [`StaleInverse`].
    Stale,
    /// [`ConjugateGradient`].
    Cg,
    /// [`Gram`].
    Gram,
    /// [`Transpose`].
    Transpose,
    /// [`Auto`].
    Auto,
}

names!(
    SolverKind,
    "way through inverses",
    Lu = "lu",
    Stale = "stale",
    Cg = "cg",
    Gram = "gram",
    Transpose = "transpose",
    Auto = "auto"
);

impl SolverKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lu, Self::Stale, Self::Cg, Self::Gram, Self::Transpose, Self::Auto];

    /// The strategy itself.
    ///
    /// # Errors
    /// [`Error::Setting`] for an impossible tolerance.
    pub fn build<T: Real>(self, with: Tuning) -> Result<Box<dyn Solver<T>>> {
        with.check()?;
        Ok(match self {
            Self::Lu => Box::new(Lu::new()),
            Self::Stale => Box::new(Narrow::new(StaleInverse::new(with)?)),
            Self::Cg => Box::new(Narrow::new(ConjugateGradient::new(with)?)),
            Self::Gram => Box::new(Narrow::new(Gram::new(with)?)),
            Self::Transpose => Box::new(Narrow::new(Transpose::new(with)?)),
            Self::Auto => Box::new(Narrow::new(Auto::new(with)?)),
        })
    }
}

/// What strategies go by, a value that the caller passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Error ‖e − r W⁻¹‖ / ‖e‖ at which iterations stop. At 1e-2 learning curves are those of the exact solve to the noise of f32.
    pub tolerance: f64,
    /// Whether a regulariser keeps W near orthogonal: what [`Auto`] expects before it has seen anything.
    pub regularized: bool,
    /// Combinations of rows that are looked at to decide on stopping; 0 looks at all rows of every solve, at the price of whole products.
    pub probes: usize,
    /// What the work of the strategies costs.
    pub costs: Costs,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { tolerance: 1e-3, regularized: true, probes: sketch::PROBES, costs: Costs::default() }
    }
}

impl Tuning {
    /// The default with another tolerance.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the tolerance lies between 0 and 1, both excluded.
    pub fn new(tolerance: f64) -> Result<Self> {
        let tuning = Self { tolerance, ..Self::default() };
        tuning.check().map(|()| tuning)
    }

    fn check(&self) -> Result<()> {
        let t = self.tolerance;
        if t > 0.0 && t < 1.0 {
            return Ok(());
        }
        Err(Error::Setting(format!("tolerance is {t}, but must lie between 0 and 1, both excluded (0.001 is usual)")))
    }
}

/// Time of the work behind a strategy, per flop, in units of the time per flop of a product of the size of the forward pass (batch 60).
///
/// They decide what [`Auto`] chooses and when [`StaleInverse`] refreshes, never what a solution is; a run keeps its bits only with the same
/// ones. That is why they are constants from a record and not measured anew: `benches/record/inverse.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// LU factorisation, ⅔n³ flops.
    pub lu: f64,
    /// Triangular solves with a batch, 2·batch·n² flops for a pair.
    pub substitution: f64,
    /// Triangular solves with n right-hand sides, 2n³ flops for a pair.
    pub inversion: f64,
}

impl Default for Costs {
    /// n = 784, batch 60, f32, AVX2, one thread: there C_LU comes to 9.0, and 8.6 by the clock. `benches/record/inverse.md`, 2026-11-24.
    fn default() -> Self {
        Self { lu: 1.5, substitution: 1.5, inversion: 1.45 }
    }
}

impl Costs {
    /// C_LU: a solve by LU with fresh factors, residual included, in products.
    pub fn lu_solve(&self, n: usize, batch: usize) -> f64 {
        self.lu * products(2.0 / 3.0, n, batch) + self.substitution + 1.0
    }
    /// W⁻¹ by LU, in products.
    pub fn lu_inverse(&self, n: usize, batch: usize) -> f64 {
        self.lu * products(2.0 / 3.0, n, batch) + self.inversion * products(2.0, n, batch)
    }
}

/// `flops`·n³ in products of the size of the forward pass.
fn products(flops: f64, n: usize, batch: usize) -> f64 {
    flops * n as f64 / (2.0 * batch.max(1) as f64)
}

/// What a solve reached and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Solve {
    /// ‖r − e W‖ / ‖r‖ (Frobenius over the batch): the relative residual.
    pub residual: f64,
    /// Whether `residual` was measured on random combinations of the rows, or extrapolated from those that were corrected, instead of measured on all: then
    /// it is off by a third, seldom more.
    pub sampled: bool,
    /// Cost in products of the size of the forward pass (2·batch·n² flops), all attempts included.
    pub products: f64,
    /// Who found the solution; never [`SolverKind::Auto`].
    pub by: SolverKind,
}

/// Several solves: the worst residual, all of the cost, and who found how many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Solves {
    /// The worst ‖r − e W‖ / ‖r‖.
    pub residual: f64,
    /// The total cost, in products of the size of the forward pass.
    pub products: f64,
    counts: [u64; SolverKind::ALL.len()],
}

impl Solves {
    /// One more.
    pub fn add(&mut self, solve: Solve) {
        let one = Self { residual: solve.residual, products: solve.products, ..Self::default() };
        self.merge(&one);
        self.counts[solve.by as usize] += 1;
    }

    /// Those of another step or layer.
    pub fn merge(&mut self, other: &Self) {
        // `max` would hide a NaN.
        if !self.residual.is_nan() && !(other.residual <= self.residual) {
            self.residual = other.residual;
        }
        self.products += other.products;
        self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| *a += b);
    }

    /// All of it, exactly.
    pub(crate) fn save<T: Real>(&self) -> State<T> {
        let mut state = State::default();
        state.put_f64("residual", self.residual);
        state.put_f64("products", self.products);
        for kind in SolverKind::ALL {
            state.put(format!("by-{kind}"), self.by(kind));
        }
        state
    }

    /// The same, back.
    pub(crate) fn restore<T: Real>(state: &State<T>) -> Result<Self> {
        let mut solves = Self { residual: state.get_f64("residual")?, products: state.get_f64("products")?, ..Self::default() };
        for kind in SolverKind::ALL {
            solves.counts[kind as usize] = state.get(&format!("by-{kind}"))?;
        }
        Ok(solves)
    }

    /// How many solutions a strategy found.
    pub fn by(&self, kind: SolverKind) -> u64 {
        self.counts[kind as usize]
    }
}

/// What a shape error calls the weights of a solve.
const WEIGHTS: &str = "the weights to be inverted";

/// One layer's weights, as a step hands them to a solver.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T: Copy> {
    /// Index of the layer. Solvers keep factors and statistics by layer.
    pub layer: usize,
    /// Version of the weights: another number means that the weights of any layer may have changed.
    /// [`Network::version`](crate::Network::version), or a count that the caller keeps.
    pub version: u64,
    /// W, n×n.
    pub w: MatRef<'a, T>,
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
    /// [`Transpose`]; a shape error; out of memory. The weights are not touched; `r` is then
    /// unspecified.
    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve>;

    /// Returns everything that later solves depend on besides their arguments, as it will be once
    /// the weights have changed. Factors of the present weights are not part of it.
    fn save(&self) -> State<T>;

    /// Continues from a saved state: the same solutions and reports, bit for bit. The solver must
    /// have been built with the same tuning.
    ///
    /// # Errors
    /// [`Error::Setting`] for the state of something else; the solver is then unusable.
    fn restore(&mut self, state: State<T>) -> Result<()>;
}

/// The version of the weights that a solver has last seen.
#[derive(Clone, Copy, Debug, Default)]
enum Seen {
    /// No solve yet, or a restored state, which counts the change that follows.
    #[default]
    Any,
    At(u64),
}

impl Seen {
    /// Records `version`; returns whether it differs from the last one.
    fn changed(&mut self, version: u64) -> bool {
        let changed = matches!(self, Self::At(seen) if *seen != version);
        *self = Self::At(version);
        changed
    }

    /// Number of changes that a state saved now must count in advance.
    fn ahead(self) -> u32 {
        u32::from(matches!(self, Self::At(_)))
    }
}

/// The layers that a strategy has put into its state (`layers`, and of each its width `l.n`): names and widths.
fn layers_of<T: Real>(state: &State<T>) -> Result<Vec<(String, usize)>> {
    let layers: usize = state.get_as("layers")?;
    (0..layers).map(|l| Ok((l.to_string(), state.get_as(&format!("{l}.n"))?))).collect()
}

/// How many columns, from the first on, hold all that is not 0: of the last layer's right-hand side those of the label units, and `r M` for it is
/// a product of as many rows of M.
fn live_columns<T: Real>(r: MatRef<'_, T>) -> usize {
    let mut live = 0;
    for i in 0..r.nrows() {
        // Backwards, and no further than what is known: dense rows cost one look each.
        live = (live..r.ncols()).rev().find(|&j| r.get(i, j) != T::ZERO).map_or(live, |j| j + 1);
    }
    live
}

/// Copies rows side by side.
fn gather<T: Real>(from: MatRef<'_, T>, to: &mut Vec<T>) {
    let n = from.ncols();
    to.clear();
    for i in 0..from.nrows() {
        match from.row(i) {
            Some(row) => to.extend_from_slice(row),
            None => to.extend((0..n).map(|j| from.get(i, j))),
        }
    }
}

/// Copies rows that lie side by side to where they belong.
fn scatter<T: Real>(from: &[T], to: &mut MatMut<'_, T>) {
    let n = to.ncols();
    for (i, row) in from.chunks_exact(n.max(1)).take(to.nrows()).enumerate() {
        match to.row_mut(i) {
            Some(to) => to.copy_from_slice(row),
            None => row.iter().enumerate().for_each(|(j, &v)| to.set(i, j, v)),
        }
    }
}

/// The first `len` elements, of which memory is made if there are fewer; what is in them is unspecified.
fn room<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
    &mut memory[..len]
}

/// Capacity for `len` elements, none of which is made yet: memory that is not used is only promised by the system.
fn promise<T>(memory: &mut Vec<T>, len: usize) {
    memory.reserve(len.saturating_sub(memory.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In products of 2·batch·n² flops: n = 300 and a batch of 50 make n³ flops 3 of them.
    #[test]
    fn costs_are_flops_by_what_a_flop_costs() {
        let costs = Costs { lu: 1.5, substitution: 1.7, inversion: 1.8 };
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        close(costs.lu_solve(300, 50), 1.5 * 2.0 + 1.7 + 1.0);
        close(costs.lu_inverse(300, 50), 1.5 * 2.0 + 1.8 * 6.0);
        assert_eq!(costs.lu_solve(300, 0), costs.lu_solve(300, 1));
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
        // What is not a number stays, whatever comes after it.
        first.add(one(f64::NAN, 1.0, SolverKind::Lu));
        first.add(one(0.9, 1.0, SolverKind::Lu));
        assert!(first.residual.is_nan());
    }

    #[test]
    fn room_is_kept_and_promises_make_none() {
        let mut memory = vec![1.0_f32, 2.0];
        assert_eq!(room(&mut memory, 1), [1.0]);
        assert_eq!(room(&mut memory, 3), [1.0, 2.0, 0.0]);
        promise(&mut memory, 1000);
        assert!(memory.len() == 3 && memory.capacity() >= 1000);
    }
}
