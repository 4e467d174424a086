//! Wᵀ in place of W⁻¹, for weights whose orthogonality is enforced and not just encouraged.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::solve::lu::Lu;
use crate::solve::sketch::{PROBE_ROWS, add_probe_rows, probe_rows_solved};
use crate::solve::{Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights, gather, resized, scatter};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start};

/// The transpose: `e = r Wᵀ`, then corrections `e += ρ Wᵀ` until the residual of all rows reaches
/// the tolerance.
///
/// Cost: 2 products, and 2 for each correction.
///
/// Weights that are not orthogonal enough are an error, with no other solution: the caller relies
/// on a method that keeps them orthogonal, and must learn that it failed. Near orthogonality
/// residual and error differ by a factor near 1. Two rows of noise beside the batch detect weights
/// far from it.
#[derive(Debug, Default)]
pub(super) struct Transpose<T> {
    tuning: Tuning,
    fallback: Lu<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    draws: u64,
}

/// Largest number of corrections. With more of them LU would be cheaper.
const MOST: usize = 2;

impl<T: Real> Transpose<T> {
    /// Builds a solver.
    ///
    /// # Errors
    /// [`Error::Setting`] for an impossible tolerance.
    pub(super) fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self { tuning, ..Self::default() })
    }
}

impl<T: Real> Solver<T> for Transpose<T> {
    fn name(&self) -> &'static str {
        SolverKind::Transpose.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let ((batch, n), w) = (r.shape(), of.w);
        w.expect_shape(WEIGHTS, (n, n))?;
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if size == 0.0 {
            return Ok(Solve::of_zero(SolverKind::Transpose));
        }
        if !size.is_finite() {
            // The step reports a right-hand side that is not finite.
            return self.fallback.solve_anew(of, r, exec);
        }
        self.draws += 1;
        add_probe_rows(&mut self.right, n, size, self.draws);
        let (all, own) = (batch + PROBE_ROWS, batch * n);
        let right = MatRef::new(&self.right, all, n)?;
        let (solution, rest) = (resized(&mut self.solution, all * n), resized(&mut self.rest, all * n));
        exec.product(T::ONE, right, w.t(), Start::Zero, MatMut::new(solution, all, n)?)?;
        let mut residual = f64::INFINITY;
        for made in 0..=MOST {
            let e = MatRef::new(solution, all, n)?;
            exec.product(-T::ONE, e, w, Start::From(T::ONE, right), MatMut::new(rest, all, n)?)?;
            residual = exec.norm(&rest[..own])? / size;
            if residual <= self.tuning.tolerance && probe_rows_solved(&rest[own..], &self.right[own..], n, exec)? {
                scatter(solution, &mut r);
                let products = (2 * made + 2) as f64 * (all as f64 / batch as f64);
                return Ok(Solve { residual, sampled: false, products, by: SolverKind::Transpose });
            }
            let e = MatMut::new(solution, all, n)?;
            exec.product(T::ONE, MatRef::new(rest, all, n)?, w.t(), Start::C(T::ONE), e)?;
        }
        // LU has its own error for singular weights.
        self.fallback.solve_anew(of, r, exec)?;
        Err(Error::NotOrthogonal { layer: of.layer, residual })
    }

    fn save(&self, _version: u64) -> State<T> {
        let mut state = State::default();
        state.put("draws", self.draws);
        state
    }

    fn restore(&mut self, state: State<T>, _version: u64) -> Result<()> {
        self.draws = state.get("draws")?;
        Ok(())
    }
}
