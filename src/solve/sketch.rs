//! Estimates over a batch from a few random combinations of its rows, at a tenth of the price.
//!
//! With random signs G (probes × batch), `‖G x‖² / probes` is an unbiased estimate of ‖x‖²
//! (Frobenius). Every row counts in every combination, so that one bad row is never missed. A solve
//! commutes with G: `G r − (G e) W = G (r − e W)`.
//!
//! Sources: Johnson and Lindenstrauss, 1984; with signs: Achlioptas, 2003.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::base::rng::Rng;
use crate::solve::{gather, reserve, rest_of};
use gaitprop_kernels::{MatMut, MatRef, Real};

/// Safety factor for estimates from the default number of combinations,
/// [`PROBES`](crate::solve::PROBES).
pub(super) const SAFETY: f64 = 1.5;

/// Rows of noise that are solved beside a batch, to detect directions that W nearly annihilates and
/// the batch does not contain.
pub(super) const PROBE_ROWS: usize = 2;

/// Relative residual of the rows of noise, in units of 1/√n, up to which W annihilates no
/// direction. One annihilated direction would leave 1 on average.
const PROBE_RESIDUAL: f64 = 0.25;

/// Appends rows of n random signs, scaled to the batch's root mean square; `draw` is the seed.
pub(super) fn add_probe_rows<T: Real>(rows: &mut Vec<T>, n: usize, norm: f64, draw: u64) {
    let mut rng = Rng::new(draw, 0);
    let scale = T::from_f64(norm / (rows.len() as f64).sqrt());
    rows.extend((0..PROBE_ROWS * n).map(|_| if rng.uniform() < 0.5 { scale } else { -scale }));
}

/// Returns whether the residual of the rows of noise shows that W annihilates no direction.
pub(super) fn probe_rows_solved<T: Real>(residual: &[T], right: &[T], n: usize, exec: &Exec) -> Result<bool> {
    let relative = exec.norm(residual)? / exec.norm(right)?;
    Ok(relative * (n as f64).sqrt() <= PROBE_RESIDUAL)
}

/// Combinations of the rows of a batch, with their right-hand sides, solutions and corrections.
#[derive(Debug, Default)]
pub(super) struct Sketch<T> {
    signs: Vec<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
    batch: usize,
    n: usize,
    probes: usize,
    /// Number of draws, the only state that later draws depend on.
    pub(super) draws: u64,
}

/// Returns the number of combinations. Small batches are checked row by row.
fn combinations(batch: usize, probes: usize) -> usize {
    if probes == 0 || batch < 2 * probes { batch } else { probes }
}

impl<T: Real> Sketch<T> {
    /// Draws signs for a batch of rows of n.
    ///
    /// Without probes, and for less than twice as many rows as probes, G is the identity.
    pub(super) fn draw(&mut self, batch: usize, n: usize, probes: usize) {
        self.batch = batch;
        self.n = n;
        self.draws += 1;
        self.probes = combinations(batch, probes);
        if !self.exact() {
            // The number of the draw is the seed: signs differ between draws, not between runs.
            let mut rng = Rng::new(self.draws, 0);
            self.signs.clear();
            self.signs.extend((0..probes * batch).map(|_| if rng.uniform() < 0.5 { T::ONE } else { -T::ONE }));
        }
    }

    /// Reserves the memory for batches of rows of n.
    pub(super) fn reserve(&mut self, batch: usize, n: usize, probes: usize) {
        let rows = combinations(batch, probes);
        for memory in [&mut self.right, &mut self.solution, &mut self.rest, &mut self.step] {
            resized(memory, rows * n);
        }
        if rows < batch {
            reserve(&mut self.signs, rows * batch);
        }
    }

    /// Returns whether G is the identity, and estimates are therefore exact.
    pub(super) fn exact(&self) -> bool {
        self.probes == self.batch
    }

    /// Returns the safety factor for estimates.
    pub(super) fn safety(&self) -> f64 {
        if self.exact() { 1.0 } else { SAFETY }
    }

    /// Returns the cost of a product with the combinations, in products of the whole batch.
    pub(super) fn price(&self) -> f64 {
        self.probes as f64 / self.batch.max(1) as f64
    }

    /// Computes the residual of the solution. Returns its norm and that of the right-hand side.
    ///
    /// * `right`, `solution`: batch × n
    pub(super) fn residual(&mut self, right: &[T], solution: &[T], w: MatRef<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (k, n) = (self.probes, self.n);
        combine(&self.signs, (k, self.batch, n), right, &mut self.right, exec)?;
        combine(&self.signs, (k, self.batch, n), solution, &mut self.solution, exec)?;
        let rest = resized(&mut self.rest, k * n);
        rest_of(&self.right[..k * n], MatRef::new(&self.solution[..k * n], k, n)?, w, rest, exec)?;
        Ok((exec.norm(rest)?, exec.norm(&self.right[..k * n])?))
    }

    /// Computes the correction ρ M of the last `residual`. Returns its norm and that of the
    /// solution.
    pub(super) fn correction(&mut self, m: MatRef<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (k, n) = (self.probes, self.n);
        let rest = MatRef::new(&self.rest[..k * n], k, n)?;
        let step = resized(&mut self.step, k * n);
        exec.gemm(T::ONE, rest, m, T::ZERO, MatMut::new(step, k, n)?)?;
        Ok((exec.norm(step)?, exec.norm(&self.solution[..k * n])?))
    }

    /// Returns the last `correction`, a row for each combination.
    pub(super) fn step(&self) -> &[T] {
        &self.step[..self.probes * self.n]
    }

    /// Returns the combinations as pairs to learn from: r − ρ, and the last `correction`. Consumes
    /// the last `residual`, which must be that of the solution r M.
    pub(super) fn pairs(&mut self) -> (&mut [T], &mut [T]) {
        let len = self.probes * self.n;
        self.rest[..len].iter_mut().zip(&self.right).for_each(|(y, &r)| *y = r - *y);
        (&mut self.rest[..len], &mut self.step[..len])
    }
}

/// Computes G x (probes × n) into `to`. G is the identity if there are as many probes as rows.
fn combine<T: Real>(
    signs: &[T],
    (probes, batch, n): (usize, usize, usize),
    x: &[T],
    to: &mut Vec<T>,
    exec: &mut Exec,
) -> Result<()> {
    let x = MatRef::new(x, batch, n)?;
    if probes == batch {
        gather(x, to);
        return Ok(());
    }
    let g = MatRef::new(&signs[..probes * batch], probes, batch)?;
    exec.gemm(T::ONE, g, x, T::ZERO, MatMut::new(resized(to, probes * n), probes, n)?)
}
