//! Right-hand sides with few nonzero columns, such as the last layer's: those of the label units.
//!
//! A batch with c such columns has rank at most c: `r = Q S` with Q (batch × c) orthonormal and S
//! (c × n) in the same columns, so that `r W⁻¹ = Q (S W⁻¹)`. The solver gets c rows instead of the
//! batch. Q keeps norms, and with them relative errors and residuals.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::{Solve, Solver, Weights, live_columns, resized};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real};

/// A solver that gets c rows in place of a batch with c leading nonzero columns.
///
/// Batches with more than batch/2 or n/2 such columns pass through unchanged.
#[derive(Debug)]
pub(super) struct Narrow<S, T> {
    solver: S,
    /// Q by columns, batch elements each.
    q: Vec<f64>,
    /// Q in T.
    directions: Vec<T>,
    /// S, then S W⁻¹.
    rows: Vec<T>,
}

/// Share of a column that must be independent of the columns before it.
const NEW: f64 = 1e-12;

impl<S, T: Real> Narrow<S, T> {
    /// Wraps a solver.
    pub(super) fn new(solver: S) -> Self {
        Self { solver, q: Vec::new(), directions: Vec::new(), rows: Vec::new() }
    }

    /// Splits the first `live` columns of r into Q and S, by Gram–Schmidt in f64, twice over.
    /// Returns false if they are not finite.
    fn split(&mut self, r: MatRef<'_, T>, live: usize, exec: &Exec) -> Result<bool> {
        let (batch, n) = r.shape();
        let q = &mut self.q;
        q.clear();
        q.extend((0..live).flat_map(|j| (0..batch).map(move |i| r.get(i, j).to_f64())));
        let rows = resized(&mut self.rows, live * n);
        rows.fill(T::ZERO);
        for j in 0..live {
            let (before, column) = q.split_at_mut(j * batch);
            let column = &mut column[..batch];
            let size = exec.norm(column)?;
            if !size.is_finite() {
                return Ok(false);
            }
            for _ in 0..2 {
                for (i, q) in before.chunks_exact(batch).enumerate() {
                    let along = exec.dot(column, q)?;
                    column.iter_mut().zip(q).for_each(|(v, q)| *v -= along * q);
                    let share = &mut rows[i * n + j];
                    *share = T::from_f64(share.to_f64() + along);
                }
            }
            let left = exec.norm(column)?;
            let new = left > NEW * size;
            rows[j * n + j] = T::from_f64(if new { left } else { 0.0 });
            column.iter_mut().for_each(|v| *v = if new { *v / left } else { 0.0 });
        }
        self.directions.clear();
        self.directions.extend(q.iter().map(|&v| T::from_f64(v)));
        Ok(true)
    }
}

impl<S: Solver<T>, T: Real> Solver<T> for Narrow<S, T> {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        let live = live_columns(r.as_ref());
        if live == 0 || 2 * live > batch || 2 * live > n || !self.split(r.as_ref(), live, exec)? {
            return self.solver.solve(of, r, exec);
        }
        let rows = &mut self.rows[..live * n];
        let solve = self.solver.solve(of, MatMut::new(rows, live, n)?, exec)?;
        let q = MatRef::new(&self.directions, live, batch)?;
        exec.gemm(T::ONE, q.t(), MatRef::new(&*rows, live, n)?, T::ZERO, r)?;
        Ok(Solve { products: solve.products * live as f64 / batch as f64 + live as f64 / n as f64, ..solve })
    }

    fn save(&self, version: u64) -> State<T> {
        self.solver.save(version)
    }

    fn restore(&mut self, state: State<T>, version: u64) -> Result<()> {
        self.solver.restore(state, version)
    }
}
