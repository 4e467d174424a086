//! Looking at a batch through a few random combinations of its rows: a residual, and the next correction, for a tenth of their price.
//!
//! With signs G (probes × batch) `‖G x‖² / probes` is an unbiased estimate of ‖x‖² (Frobenius), whatever the rows are like: no row is left out, as
//! it would be in a sample of rows, and one bad row counts in every combination (Johnson and Lindenstrauss, 1984; with signs: Achlioptas, 2003). A solve
//! commutes with G: `G r − (G e) W = G (r − e W)`.

use super::{Weights, gather, norm, room};
use crate::Result;
use crate::rng::Rng;
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, Scratch, Start, gemm};

/// Combinations: the estimate of a norm is off by a quarter in the worst case (all rows alike), by a tenth when ten directions matter.
pub(super) const PROBES: usize = 8;

/// What an estimate from [`PROBES`] combinations is multiplied by before it is trusted.
pub(super) const CAUTION: f64 = 1.5;

/// Rows of noise that are solved for beside a batch where nothing else tells whether W annihilates a direction that the batch happens to miss.
pub(super) const NOISE: usize = 2;

/// Residual of the noise, in units of 1/√n, up to which W annihilates nothing: a direction that it did would leave 1 of it on the average.
pub(super) const HEARD: f64 = 0.25;

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
    batch: usize,
    n: usize,
    probes: usize,
    draws: u64,
}

impl<T: Real> Sketch<T> {
    /// Draws signs and combines the right-hand sides (batch × n). Without probes, or with no more rows than probes, every row stands for itself.
    pub(super) fn draw(&mut self, right: &[T], n: usize, probes: usize, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<()> {
        let batch = right.len() / n.max(1);
        self.batch = batch;
        self.n = n;
        self.draws += 1;
        if probes == 0 || batch <= probes {
            self.probes = batch;
            gather(MatRef::new(right, batch, n)?, &mut self.right);
            return Ok(());
        }
        self.probes = probes;
        // Other combinations each time, the same in every run.
        let mut rng = Rng::new(self.draws, 0);
        self.signs.clear();
        self.signs.extend((0..probes * batch).map(|_| if rng.uniform() < 0.5 { T::ONE } else { -T::ONE }));
        let g = MatRef::new(&self.signs, probes, batch)?;
        let to = MatMut::new(room(&mut self.right, probes * n), probes, n)?;
        Ok(gemm(T::ONE, g, MatRef::new(right, batch, n)?, T::ZERO, to, plan, scratch)?)
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

    /// Forms the residual of the solution (batch × n); returns its norm and that of the right-hand sides.
    pub(super) fn residual(
        &mut self,
        solution: &[T],
        w: Weights<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<(f64, f64)> {
        let (k, batch, n) = (self.probes, self.batch, self.n);
        if self.exact() {
            gather(MatRef::new(solution, batch, n)?, &mut self.solution);
        } else {
            let g = MatRef::new(&self.signs, k, batch)?;
            let to = MatMut::new(room(&mut self.solution, k * n), k, n)?;
            gemm(T::ONE, g, MatRef::new(solution, batch, n)?, T::ZERO, to, plan, scratch)?;
        }
        let start = Start::From(T::ONE, MatRef::new(&self.right[..k * n], k, n)?);
        let e = MatRef::new(&self.solution[..k * n], k, n)?;
        let rest = room(&mut self.rest, k * n);
        w.times(-T::ONE, e, start, MatMut::new(rest, k, n)?, plan, scratch)?;
        Ok((norm(rest, plan.isa)?, norm(&self.right[..k * n], plan.isa)?))
    }

    /// After `residual`: the norm of its correction by M, and that of the solution.
    pub(super) fn correction(&mut self, m: MatRef<'_, T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<(f64, f64)> {
        let (k, n) = (self.probes, self.n);
        let rest = MatRef::new(&self.rest[..k * n], k, n)?;
        let step = room(&mut self.step, k * n);
        gemm(T::ONE, rest, m, T::ZERO, MatMut::new(step, k, n)?, plan, scratch)?;
        Ok((norm(step, plan.isa)?, norm(&self.solution[..k * n], plan.isa)?))
    }
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
