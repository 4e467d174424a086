//! Wᵀ in place of W⁻¹, for weights whose orthogonality is enforced and not just encouraged.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::solve::lu::Lu;
use crate::solve::method::{Method, Outcome};
use crate::solve::sketch::{PROBE_ROWS, add_probe_rows, probe_rows_solved};
use crate::solve::{Solve, SolverKind, Tuning, Weights, gather, rest_of, scatter};
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
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    draws: u64,
}

/// Largest number of corrections. With more of them LU would be cheaper.
const MOST: usize = 2;

impl<T: Real> Transpose<T> {
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }
}

impl<T: Real> Method<T> for Transpose<T> {
    const KIND: SolverKind = SolverKind::Transpose;

    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome> {
        let ((batch, n), w) = (r.shape(), of.w);
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if let Some(end) = Self::end_at_once(size) {
            return Ok(end);
        }
        self.draws += 1;
        add_probe_rows(&mut self.right, n, size, self.draws);
        let (all, own) = (batch + PROBE_ROWS, batch * n);
        let right = MatRef::new(&self.right, all, n)?;
        let (solution, rest) = (resized(&mut self.solution, all * n), resized(&mut self.rest, all * n));
        exec.product(T::ONE, right, w.t(), Start::Zero, MatMut::new(solution, all, n)?)?;
        let mut residual = f64::INFINITY;
        for made in 0..=MOST {
            rest_of(&self.right, MatRef::new(solution, all, n)?, w, rest, exec)?;
            residual = exec.norm(&rest[..own])? / size;
            if residual <= self.tuning.tolerance && probe_rows_solved(&rest[own..], &self.right[own..], n, exec)? {
                scatter(solution, r);
                let products = (2 * made + 2) as f64 * (all as f64 / batch as f64);
                return Ok(Outcome::Solved(Solve { residual, sampled: false, products, by: Self::KIND }));
            }
            let e = MatMut::new(solution, all, n)?;
            exec.product(T::ONE, MatRef::new(rest, all, n)?, w.t(), Start::C(T::ONE), e)?;
        }
        // LU has its own error for singular weights.
        lu.solve_anew(of, r.rb(), exec)?;
        Err(Error::NotOrthogonal { layer: of.layer, residual })
    }

    fn weights_changed(&mut self) {}

    fn save(&self, _changes: u32) -> State<T> {
        let mut state = State::default();
        state.put("draws", self.draws);
        state
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.draws = state.get("draws")?;
        Ok(())
    }
}
