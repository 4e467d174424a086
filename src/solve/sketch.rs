//! Looking at a batch through a few random combinations of its rows: a residual, and the next correction, for a tenth of their price.
//!
//! With signs G (probes × batch) `‖G x‖² / probes` is an unbiased estimate of ‖x‖² (Frobenius), whatever the rows are like: no row is left out, as
//! it would be in a sample of rows, and one bad row counts in every combination (Johnson and Lindenstrauss, 1984; with signs: Achlioptas, 2003). A solve
//! commutes with G: `G r − (G e) W = G (r − e W)`.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::rng::Rng;
use crate::solve::{gather, promise, room};
use gaitprop_kernels::{MatMut, MatRef, Par, Real, Start, gemm};

/// Combinations: the estimate of a norm is off by 0.3 in the worst case (all rows alike), by a tenth when ten directions matter. As many as the rows of
/// the smallest register tile: 8 cost a third more by the clock, and at 784 wide contract no better (benches/record/inverse.md).
pub(super) const PROBES: usize = 6;

/// What an estimate from [`PROBES`] combinations is multiplied by before it is trusted.
pub(super) const CAUTION: f64 = 1.5;

/// Rows of noise that are solved for beside a batch where nothing else tells whether W annihilates a direction that the batch happens to miss.
pub(super) const NOISE: usize = 2;

/// Residual of the noise, in units of 1/√n, up to which W annihilates nothing: a direction that it did would leave 1 of it on the average.
pub(super) const HEARD: f64 = 0.25;

/// What of a row must be new beside the rows before it, for an inverse to learn from it.
const NEW: f64 = 0.01;

/// Appends noise to a batch of rows of n elements with this norm, as loud as they are; `draw` says which.
pub(super) fn add_noise<T: Real>(rows: &mut Vec<T>, n: usize, norm: f64, draw: u64) {
    let mut rng = Rng::new(draw, 0);
    let loud = T::from_f64(norm / (rows.len() as f64).sqrt());
    rows.extend((0..NOISE * n).map(|_| if rng.uniform() < 0.5 { loud } else { -loud }));
}

/// Combinations of the rows of a batch, and memory for what is done with them.
#[derive(Debug, Default)]
pub(super) struct Sketch<T> {
    signs: Vec<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
    orthogonal: Orthogonal<T>,
    batch: usize,
    n: usize,
    probes: usize,
    draws: u64,
}

/// How many rows stand for a batch.
fn combinations(batch: usize, probes: usize) -> usize {
    if probes == 0 || batch < 2 * probes { batch } else { probes }
}

/// Memory for making rows orthonormal: their norms, and how much of one is in those that follow.
#[derive(Debug, Default)]
struct Orthogonal<T> {
    sizes: Vec<f64>,
    along: Vec<T>,
}

impl<T: Real> Sketch<T> {
    /// Draws signs for a batch of rows of n. Without probes, or with less than twice as many rows, every row stands for itself.
    pub(super) fn draw(&mut self, batch: usize, n: usize, probes: usize) {
        self.batch = batch;
        self.n = n;
        self.draws += 1;
        self.probes = combinations(batch, probes);
        if !self.exact() {
            // Other combinations each time, the same in every run.
            let mut rng = Rng::new(self.draws, 0);
            self.signs.clear();
            self.signs.extend((0..probes * batch).map(|_| if rng.uniform() < 0.5 { T::ONE } else { -T::ONE }));
        }
    }

    /// Makes all the room that looking and learning may need for batches of rows of n.
    pub(super) fn reserve(&mut self, batch: usize, n: usize, probes: usize) {
        let rows = combinations(batch, probes);
        for memory in [&mut self.right, &mut self.solution, &mut self.rest, &mut self.step] {
            room(memory, rows * n);
        }
        if rows < batch {
            promise(&mut self.signs, rows * batch);
        }
        let Orthogonal { sizes, along } = &mut self.orthogonal;
        room(along, rows);
        promise(sizes, rows);
    }

    /// Whether estimates are what they estimate.
    pub(super) fn exact(&self) -> bool {
        self.probes == self.batch
    }

    /// By what estimates are to be multiplied before they are trusted.
    pub(super) fn caution(&self) -> f64 {
        if self.exact() { 1.0 } else { CAUTION }
    }

    /// What a product costs here, in products of the whole batch.
    pub(super) fn price(&self) -> f64 {
        self.probes as f64 / self.batch.max(1) as f64
    }

    /// Forms the residual of the solution (batch × n); returns its norm and that of the right-hand sides (batch × n).
    pub(super) fn residual(&mut self, right: &[T], solution: &[T], w: MatRef<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (k, n) = (self.probes, self.n);
        combine(&self.signs, (k, self.batch, n), right, &mut self.right, exec)?;
        combine(&self.signs, (k, self.batch, n), solution, &mut self.solution, exec)?;
        let start = Start::From(T::ONE, MatRef::new(&self.right[..k * n], k, n)?);
        let e = MatRef::new(&self.solution[..k * n], k, n)?;
        let rest = room(&mut self.rest, k * n);
        exec.product(-T::ONE, e, w, start, MatMut::new(rest, k, n)?)?;
        Ok((exec.norm(rest)?, exec.norm(&self.right[..k * n])?))
    }

    /// After `residual`: the norm of its correction by M, and that of the solution.
    pub(super) fn correction(&mut self, m: MatRef<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (k, n) = (self.probes, self.n);
        let rest = MatRef::new(&self.rest[..k * n], k, n)?;
        let step = room(&mut self.step, k * n);
        exec.gemm(T::ONE, rest, m, T::ZERO, MatMut::new(step, k, n)?)?;
        Ok((exec.norm(step)?, exec.norm(&self.solution[..k * n])?))
    }

    /// After `correction`: the correction itself, of each combination.
    pub(super) fn step(&self) -> &[T] {
        &self.step[..self.probes * self.n]
    }

    /// After `correction`, of the solution r M: changes M (n × n) as little as makes it right for the combinations. What is left of them in memory is of
    /// no more use then.
    pub(super) fn teach(&mut self, m: &mut [T], exec: &mut Exec) -> Result<()> {
        let len = self.probes * self.n;
        self.rest[..len].iter_mut().zip(&self.right).for_each(|(y, &r)| *y = r - *y);
        learn(&mut self.rest[..len], &mut self.step[..len], self.n, m, &mut self.orthogonal, exec)
    }

    /// The same for combinations of some rows of the batch: `y` their r − ρ, `d` their δ.
    pub(super) fn teach_rows(&mut self, y: &[T], d: &[T], m: &mut [T], exec: &mut Exec) -> Result<()> {
        let n = self.n;
        let rows = y.len() / n;
        let k = self.probes.min(rows);
        combine(&self.signs, (k, rows, n), y, &mut self.rest, exec)?;
        combine(&self.signs, (k, rows, n), d, &mut self.step, exec)?;
        learn(&mut self.rest[..k * n], &mut self.step[..k * n], n, m, &mut self.orthogonal, exec)
    }
}

/// Makes M (n × n) right for what is known: it should lead from rows `y` where it does, and `d` further.
///
/// ```text
/// Y = G (r − ρ);   D = G δ;   rows of Y made orthonormal, D through the same steps;   M += Yᵀ D
/// ```
fn learn<T: Real>(y: &mut [T], d: &mut [T], n: usize, m: &mut [T], memory: &mut Orthogonal<T>, exec: &mut Exec) -> Result<()> {
    let k = y.len() / n;
    let own = &exec.plan.clone().with_par(Par::Seq);
    let Orthogonal { sizes, along } = memory;
    sizes.clear();
    for row in y.chunks_exact(n) {
        sizes.push(exec.norm(row)?);
    }
    let along = room(along, k);
    // Each row, once made orthonormal, is taken out of all that follow.
    for i in 0..k {
        let (q, below) = y[i * n..].split_at_mut(n);
        let (dq, d_below) = d[i * n..].split_at_mut(n);
        let left = exec.norm(q)?;
        // A row that says nothing new would say it with the noise of rounding.
        let scale = if left > NEW * sizes[i] { T::from_f64(1.0 / left) } else { T::ZERO };
        q.iter_mut().chain(&mut *dq).for_each(|v| *v *= scale);
        let rest = k - i - 1;
        for (along, row) in along.iter_mut().zip(below.chunks_exact(n)) {
            *along = T::from_f64(-exec.dot(row, q)?);
        }
        for (one, others) in [(q, below), (dq, d_below)] {
            let along = MatRef::new(&along[..rest], rest, 1)?;
            gemm(T::ONE, along, MatRef::new(one, 1, n)?, T::ONE, MatMut::new(others, rest, n)?, own, &mut exec.scratch)?;
        }
    }
    let (y, d) = (MatRef::new(&*y, k, n)?, MatRef::new(&*d, k, n)?);
    exec.gemm(T::ONE, y.t(), d, T::ONE, MatMut::new(m, n, n)?)
}

/// `to` ← G x (probes × n); G is the identity where every row stands for itself.
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
    exec.gemm(T::ONE, g, x, T::ZERO, MatMut::new(room(to, probes * n), probes, n)?)
}

impl<T> Sketch<T> {
    /// How often combinations have been drawn: all that the next ones depend on.
    pub(super) fn draws(&self) -> u64 {
        self.draws
    }

    /// Goes on as if so many had been.
    pub(super) fn set_draws(&mut self, draws: u64) {
        self.draws = draws;
    }
}
