//! The interface of the solvers that LU can replace.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::lu::Lu;
use crate::solve::{Solve, SolverKind, Weights};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, Real};

/// A solver that may give up. Its caller checks shapes, counts the changes of the weights and keeps
/// the fallback.
pub(super) trait Method<T: Real>: Send {
    /// Name of the solver.
    const KIND: SolverKind;

    /// Writes `r W⁻¹` into `r`. `lu` is the fallback, whose slot 0 serves all layers.
    ///
    /// # Errors
    /// As [`Solver::solve`](crate::solve::Solver::solve).
    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome>;

    /// [`Method::attempt`], and LU where it gives up.
    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, lu: &mut Lu<T>, exec: &mut Exec) -> Result<Solve> {
        match self.attempt(of, &mut r, lu, exec)? {
            Outcome::Solved(solve) => Ok(solve),
            Outcome::GaveUp(products) => Ok(lu.solve_anew(of, r, exec)?.after(products)),
        }
    }

    /// Returns the end of an attempt at an r of this norm, if there is nothing to compute: the
    /// solution of 0 is 0, and the step reports a norm that is not finite.
    fn end_at_once(size: f64) -> Option<Outcome> {
        if size == 0.0 {
            return Some(Outcome::Solved(Solve { by: Self::KIND, ..Solve::default() }));
        }
        (!size.is_finite()).then_some(Outcome::GaveUp(0.0))
    }

    /// Records that the weights of every layer have changed.
    fn weights_changed(&mut self);

    /// Returns the state as it is after `changes` more changes of the weights.
    fn save(&self, changes: u32) -> State<T>;

    /// Continues from a saved state.
    fn restore(&mut self, state: State<T>) -> Result<()>;
}

/// End of an attempt.
pub(super) enum Outcome {
    Solved(Solve),
    /// Gave up after this many products; r is unchanged.
    GaveUp(f64),
}
