//! Wᵀ for W⁻¹: for weights whose orthogonality is enforced, not merely encouraged.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::solve::lu::Lu;
use crate::solve::sketch::{HEARD, NOISE, add_noise};
use crate::solve::{Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights, gather, room, scatter};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start};

/// `e = r Wᵀ`, with the residual of every row: 2 products, and 2 more for each correction `e += ρ Wᵀ` that it takes to reach the tolerance.
///
/// Weights that are not orthogonal enough are an error and not solved for in another way: whoever asks for the transpose relies on something that
/// keeps them orthogonal, and wants to know when that fails. Near orthogonality residual and error are the same but for a factor near 1; two rows of noise
/// beside the batch tell whether W is anywhere far from it.
#[derive(Debug)]
pub struct Transpose<T> {
    tuning: Tuning,
    judge: Lu<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    draws: u64,
}

/// Corrections, at most: with more of them LU would be cheaper.
const MOST: usize = 2;

impl<T: Real> Transpose<T> {
    /// # Errors
    /// [`Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self { tuning, judge: Lu::new(), right: Vec::new(), solution: Vec::new(), rest: Vec::new(), draws: 0 })
    }
}

impl<T: Real> Solver<T> for Transpose<T> {
    fn name(&self) -> &'static str {
        SolverKind::Transpose.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        let (batch, n) = r.shape();
        w.expect_shape(WEIGHTS, (n, n))?;
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if size == 0.0 {
            return Ok(Solve { by: SolverKind::Transpose, ..Solve::default() });
        }
        if !size.is_finite() {
            // No fault of W's: passed on, for the step to say.
            return self.judge.judge(layer, w, r.rb(), exec);
        }
        self.draws += 1;
        add_noise(&mut self.right, n, size, self.draws);
        let (all, own) = (batch + NOISE, batch * n);
        let right = MatRef::new(&self.right, all, n)?;
        let solution = room(&mut self.solution, all * n);
        let rest = room(&mut self.rest, all * n);
        exec.product(T::ONE, right, w.t(), Start::Zero, MatMut::new(solution, all, n)?)?;
        let price = all as f64 / batch as f64;
        let mut residual = f64::INFINITY;
        for made in 0..=MOST {
            let e = MatRef::new(solution, all, n)?;
            exec.product(-T::ONE, e, w, Start::From(T::ONE, right), MatMut::new(rest, all, n)?)?;
            residual = exec.norm(&rest[..own])? / size;
            let heard = exec.norm(&rest[own..])? / exec.norm(&self.right[own..])?;
            if residual <= self.tuning.tolerance && heard * (n as f64).sqrt() <= HEARD {
                scatter(&solution[..own], &mut r);
                let products = (2 * made + 2) as f64 * price;
                return Ok(Solve { residual, sampled: false, products, by: SolverKind::Transpose });
            }
            let e = MatMut::new(solution, all, n)?;
            exec.product(T::ONE, MatRef::new(rest, all, n)?, w.t(), Start::C(T::ONE), e)?;
        }
        // Singular weights are told from others, with their condition.
        self.judge.judge(layer, w, r.rb(), exec)?;
        Err(Error::NotOrthogonal { layer, residual })
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        state.put("draws", self.draws);
        state
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.draws = state.get("draws")?;
        Ok(())
    }
}
