//! The solvers by name, and what all but LU share: the count of changes of the weights, and LU as
//! the fallback.
//!
//! They also share the treatment of right-hand sides with few nonzero columns. The last layer's are
//! such, because only the label units have targets.
//!
//! A batch with c such columns has rank at most c: `r = Q S` with Q (batch × c) orthonormal and S
//! (c × n) in the same columns, so that `r W⁻¹ = Q (S W⁻¹)`. The solver gets c rows instead of the
//! batch. Q keeps norms, and with them relative errors and residuals.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::solve::auto::Auto;
use crate::solve::conjugate::ConjugateGradient;
use crate::solve::damped::Damped;
use crate::solve::gram::Gram;
use crate::solve::learned::Learned;
use crate::solve::lu::Lu;
use crate::solve::method::Method;
use crate::solve::stale::StaleInverse;
use crate::solve::transpose::Transpose;
use crate::solve::{Solve, Solver, SolverKind, Tuning, Weights, live_columns};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real};

impl SolverKind {
    /// Builds the solver.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) unless the tolerance lies between 0 and 1, both
    /// excluded, and damping and learning rate are at least 0; also if one of these rounds to 0 or
    /// infinity in the element type.
    pub fn build<T: Real>(self, with: Tuning) -> Result<Box<dyn Solver<T>>> {
        with.check_in::<T>()?;
        Ok(match self {
            Self::Lu => Box::new(Lu::new()),
            Self::Stale => Box::new(Front::new(StaleInverse::new(with))),
            Self::Cg => Box::new(Front::new(ConjugateGradient::new(with))),
            Self::Gram => Box::new(Front::new(Gram::new(with))),
            Self::Transpose => Box::new(Front::new(Transpose::new(with))),
            Self::Auto => Box::new(Front::new(Auto::new(with))),
            Self::Damped => Box::new(Damped::new(with)),
            Self::Learned => Box::new(Learned::new(with)),
        })
    }
}

/// A method as a solver. The method gets c rows in place of a batch with c leading nonzero columns.
///
/// Batches with more than batch/2 or n/2 such columns reach it unchanged.
#[derive(Debug)]
struct Front<M, T> {
    method: M,
    fallback: Lu<T>,
    /// Version of the weights in the last solve or the restored state.
    seen: Option<u64>,
    /// Q by columns, batch elements each.
    q: Vec<f64>,
    /// Q in T.
    directions: Vec<T>,
    /// S, then S W⁻¹.
    rows: Vec<T>,
}

/// Share of a column that must be independent of the columns before it.
const NEW: f64 = 1e-12;

impl<M, T: Real> Front<M, T> {
    fn new(method: M) -> Self {
        Self { method, fallback: Lu::new(), seen: None, q: Vec::new(), directions: Vec::new(), rows: Vec::new() }
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

impl<M: Method<T>, T: Real> Solver<T> for Front<M, T> {
    fn name(&self) -> &'static str {
        M::KIND.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        of.check(n)?;
        if self.seen.replace(of.version).is_some_and(|seen| seen != of.version) {
            self.method.weights_changed();
        }
        let live = live_columns(r.as_ref());
        if live == 0 || 2 * live > batch || 2 * live > n || !self.split(r.as_ref(), live, exec)? {
            return self.method.solve(of, r, &mut self.fallback, exec);
        }
        let rows = &mut self.rows[..live * n];
        let solve = self.method.solve(of, MatMut::new(rows, live, n)?, &mut self.fallback, exec)?;
        let q = MatRef::new(&self.directions, live, batch)?;
        exec.gemm(T::ONE, q.t(), MatRef::new(&*rows, live, n)?, T::ZERO, r)?;
        Ok(Solve { products: solve.products * live as f64 / batch as f64 + live as f64 / n as f64, ..solve })
    }

    fn save(&self, version: u64) -> State<T> {
        self.method.save(u32::from(self.seen.is_some_and(|seen| seen != version)))
    }

    fn restore(&mut self, state: State<T>, version: u64) -> Result<()> {
        self.seen = Some(version);
        self.method.restore(state)
    }
}
