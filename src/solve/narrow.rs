//! Right-hand sides with few columns that are not 0, as the last layer's: those of the label units.
//!
//! With c such columns the batch has no more than c directions: `r = Q S` with Q (batch × c) orthonormal and S (c × n) as empty as r, so that
//! `r W⁻¹ = Q (S W⁻¹)`: c rows go through the inverse and not the whole batch, and Q keeps norms, so that errors and residuals are what they were.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::{Solve, Solver, Weights, live_columns, room};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real};

/// A strategy that is shown as many rows as a batch has directions, where its last columns are all 0, and of other batches all rows.
#[derive(Debug)]
pub struct Narrow<S, T> {
    strategy: S,
    /// Q by columns, batch elements each.
    q: Vec<f64>,
    /// The same in T.
    directions: Vec<T>,
    /// S, and what becomes of it.
    rows: Vec<T>,
}

/// A column of which less is left beside those before it has no direction of its own.
const NEW: f64 = 1e-12;

impl<S, T: Real> Narrow<S, T> {
    /// Around a strategy.
    pub fn new(strategy: S) -> Self {
        Self { strategy, q: Vec::new(), directions: Vec::new(), rows: Vec::new() }
    }

    /// Splits r, of which the first `live` columns count, into Q and S; false if it is not finite. Gram's and Schmidt's way, twice over, in f64.
    fn split(&mut self, r: MatRef<'_, T>, live: usize, exec: &Exec) -> Result<bool> {
        let (batch, n) = r.shape();
        let q = &mut self.q;
        q.clear();
        q.extend((0..live).flat_map(|j| (0..batch).map(move |i| r.get(i, j).to_f64())));
        let rows = room(&mut self.rows, live * n);
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
        self.strategy.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        let live = live_columns(r.as_ref());
        if live == 0 || 2 * live > batch || 2 * live > n || !self.split(r.as_ref(), live, exec)? {
            return self.strategy.solve(of, r, exec);
        }
        let rows = &mut self.rows[..live * n];
        let solve = self.strategy.solve(of, MatMut::new(rows, live, n)?, exec)?;
        let q = MatRef::new(&self.directions, live, batch)?;
        exec.gemm(T::ONE, q.t(), MatRef::new(&*rows, live, n)?, T::ZERO, r)?;
        Ok(Solve { products: solve.products * live as f64 / batch as f64 + live as f64 / n as f64, ..solve })
    }

    fn save(&self) -> State<T> {
        self.strategy.save()
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.strategy.restore(state)
    }
}
