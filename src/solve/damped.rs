//! The damped inverse: least squares with a penalty on the solution, by Cholesky.
//!
//! ```text
//! e = argmin ‖e W − r‖² + ρ ‖e‖² = r Wᵀ (W Wᵀ + ρ I)⁻¹ = r (Wᵀ W + ρ I)⁻¹ Wᵀ
//! ```

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::matrix::Matrix;
use crate::solve::{Solve, Solver, SolverKind, Tuning, Weights, condition, gather, live_columns, of_layer, solve_in_place};
use crate::store::checkpoint::State;
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, Start, cholesky};

/// The damped inverse of weights of any shape.
///
/// A direction with singular value σ is divided by σ + ρ/σ instead of σ, so that no error grows by
/// more than 1/(2√ρ). With ρ = 0 and square weights it is the exact inverse.
///
/// The Gram matrix squares the condition number. Where ρ is less than about √n roundoffs of a row's
/// squared norm, weights with a condition number above the inverse square root of that (f32: about
/// 1000) are an error, as singular ones are.
///
/// Work: 4n³/3 flops a layer and change for n × n weights, 2 products a solve, and 1 for its
/// residual. The Gram matrix is that of the shorter side.
///
/// # References
/// Levenberg, A method for the solution of certain non-linear problems in least squares, 1944.
/// Roulet and Harchaoui, Target propagation via regularized inversion, 2021.
#[derive(Debug, Default)]
pub(super) struct Damped<T> {
    damping: f64,
    /// Version of the weights in the last solve.
    seen: Option<u64>,
    layers: Vec<Factor<T>>,
    /// Diagonal of the damped Gram matrix, before its factorization.
    diagonal: Vec<T>,
    right: Vec<T>,
    rest: Vec<T>,
}

/// Cholesky factor of one layer's damped Gram matrix, of the shorter side.
#[derive(Debug, Default)]
struct Factor<T> {
    l: Matrix<T>,
    /// Whether it belongs to the present weights.
    fresh: bool,
}

impl<T: Real> Damped<T> {
    /// Builds a solver without factors.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { damping: tuning.damping, ..Self::default() }
    }

    /// Factors the damped Gram matrix unless its factor is there. Returns the cost in products.
    fn factor(&mut self, of: Weights<'_, T>, batch: usize, exec: &mut Exec) -> Result<f64> {
        let (rows, cols) = of.w.shape();
        let n = rows.min(cols);
        let f = of_layer(&mut self.layers, of.layer);
        if f.l.rows() != n {
            *f = Factor { l: Matrix::zeros(n, n), fresh: false };
        }
        if f.fresh {
            return Ok(0.0);
        }
        let short = if rows <= cols { of.w } else { of.w.t() };
        exec.syrk(short, Part::Lower, Diagonal::Kept, f.l.view_mut())?;
        let damping = T::from_f64(self.damping);
        self.diagonal.clear();
        self.diagonal.extend(f.l.data_mut().iter_mut().step_by(n + 1).map(|square| {
            *square += damping;
            *square
        }));
        match cholesky::factor(f.l.view_mut(), &exec.plan, &mut exec.scratch) {
            Err(KernelError::NonFinite { .. }) => {
                return Err(Error::Diverged { what: "the damped Gram matrix", layer: of.layer, step: 0 });
            }
            Err(KernelError::NotPositiveDefinite { .. }) => return Err(singular(of, exec)),
            other => other?,
        }
        // What elimination has left of a diagonal element is the square of its pivot.
        let kept = |(pivot, square): (&T, &T)| pivot.to_f64().powi(2) > smallest_share::<T>(n) * square.to_f64();
        if !f.l.data().iter().step_by(n + 1).zip(&self.diagonal).all(kept) {
            return Err(singular(of, exec));
        }
        f.fresh = true;
        // n² flops for each of the longer side's vectors, then n³/3.
        let (n, long) = (n as f64, rows.max(cols) as f64);
        Ok(n / (2.0 * batch.max(1) as f64) * (1.0 + n / (3.0 * long)))
    }
}

/// Returns the share of a diagonal element below which rounding decides about its pivot. The errors
/// of n terms add up to about √n roundoffs.
fn smallest_share<T: Real>(n: usize) -> f64 {
    (n as f64).sqrt() * T::UNIT_ROUNDOFF
}

/// Returns the error of weights whose Gram matrix is singular to rounding. The condition number of
/// weights that are not square is the smallest that they can have.
fn singular<T: Real>(of: Weights<'_, T>, exec: &mut Exec) -> Error {
    let (rows, cols) = of.w.shape();
    let condition = if rows == cols { condition(of.w, exec) } else { Ok(smallest_share::<T>(rows.min(cols)).sqrt().recip()) };
    condition.map_or_else(|e| e, |condition| Error::Singular { layer: of.layer, condition, precision: T::NAME })
}

impl<T: Real> Solver<T> for Damped<T> {
    fn name(&self) -> &'static str {
        SolverKind::Damped.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        solve_in_place(self, |solver| &mut solver.right, of, r, exec)
    }

    fn solve_into(&mut self, of: Weights<'_, T>, r: MatRef<'_, T>, mut e: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let ((rows, cols), batch) = (of.w.shape(), r.nrows());
        r.expect_shape("the errors of a layer", (batch, cols))?;
        e.as_ref().expect_shape("the errors below a layer", (batch, rows))?;
        if self.seen.replace(of.version) != Some(of.version) {
            self.layers.iter_mut().for_each(|f| f.fresh = false);
        }
        let price = self.factor(of, batch, exec)?;
        let l = self.layers[of.layer].l.view();
        let live = live_columns(r);
        if rows <= cols {
            exec.product(T::ONE, r.cols(0, live), of.w.cols(0, live).t(), Start::Zero, e.rb())?;
            cholesky::solve(l, e.rb().t(), &exec.plan, &mut exec.scratch)?;
        } else {
            gather(r, &mut self.rest);
            cholesky::solve(l, MatMut::new(&mut self.rest, batch, cols)?.t(), &exec.plan, &mut exec.scratch)?;
            exec.product(T::ONE, MatRef::new(&self.rest, batch, cols)?, of.w.t(), Start::Zero, e.rb())?;
        }
        let residual = residual(of.w, r, e.as_ref(), &mut self.rest, exec)?;
        let sent = if rows <= cols { live as f64 / cols as f64 } else { 1.0 };
        let products = price + rows.min(cols) as f64 / rows.max(cols) as f64 + sent + 1.0;
        Ok(Solve { residual, sampled: false, products, by: SolverKind::Damped })
    }

    fn save(&self, _version: u64) -> State<T> {
        State::default()
    }

    fn restore(&mut self, _state: State<T>, _version: u64) -> Result<()> {
        self.seen = None;
        Ok(())
    }
}

/// Returns ‖r − e W‖ / ‖r‖, and 0 for r = 0. `rest` receives r − e W.
pub(super) fn residual<T: Real>(
    w: MatRef<'_, T>,
    r: MatRef<'_, T>,
    e: MatRef<'_, T>,
    rest: &mut Vec<T>,
    exec: &mut Exec,
) -> Result<f64> {
    let (batch, cols) = r.shape();
    gather(r, rest);
    exec.gemm(-T::ONE, e, w, T::ONE, MatMut::new(rest, batch, cols)?)?;
    let size = exec.matrix_norm(r)?;
    Ok(if size == 0.0 { 0.0 } else { exec.norm(rest)? / size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::init::{self, Init};
    use gaitprop_kernels::Plan;

    fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
        let mut rng = Rng::new(seed, 0);
        Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| rng.normal()).collect()).unwrap()
    }

    /// The gradient of ‖e W − r‖² + ρ‖e‖² is 0 at the solution, for weights of any shape.
    #[test]
    fn the_solution_is_that_of_damped_least_squares() {
        let mut exec = Exec::default();
        for (rows, cols) in [(7, 7), (4, 9), (9, 4), (1, 3), (3, 1)] {
            for damping in [1e-3, 0.5, 100.0] {
                let (w, r) = (normal(rows, cols, 1), normal(5, cols, 2));
                let mut damped = Damped::<f64>::new(Tuning { damping, ..Tuning::default() });
                let mut e = Matrix::zeros(5, rows);
                let of = Weights { layer: 2, version: 1, w: w.view() };
                let solve = damped.solve_into(of, r.view(), e.view_mut(), &mut exec).unwrap();
                let mut rest = r.data().to_vec();
                exec.gemm(-1.0, e.view(), w.view(), 1.0, MatMut::new(&mut rest, 5, cols).unwrap()).unwrap();
                let mut gradient = e.data().iter().map(|e| damping * e).collect::<Vec<_>>();
                let rest_view = MatRef::new(&rest, 5, cols).unwrap();
                exec.gemm(-1.0, rest_view, w.view().t(), 1.0, MatMut::new(&mut gradient, 5, rows).unwrap()).unwrap();
                let size = exec.norm(&gradient).unwrap();
                assert!(size < 1e-12 * (1.0 + damping), "{rows}x{cols}, {damping}: {size:e}");
                let want = exec.norm(&rest).unwrap() / exec.norm(r.data()).unwrap();
                assert!((solve.residual - want).abs() < 1e-12, "{} {want}", solve.residual);
            }
        }
    }

    /// Damping that rounding loses beside weights of rank 1 is an error, whatever their signs.
    /// Rounding decides then whether the Gram matrix has a negative pivot.
    #[test]
    fn damping_that_is_lost_is_noticed() {
        let mut exec = Exec::default();
        let n = 24;
        for seed in 0..20 {
            let (a, b) = (normal(n, 1, seed), normal(1, n, 100 + seed));
            let entries = (0..n * n).map(|i| a.data()[i / n] * b.data()[i % n]);
            let w = Matrix::from_vec(n, n, entries.collect()).unwrap();
            let narrow = Matrix::from_vec(n, n, w.data().iter().map(|&w| w as f32).collect()).unwrap();
            let mut r = Matrix::from_vec(1, n, vec![1.0; n]).unwrap();
            let of = Weights { layer: 3, version: 0, w: narrow.view() };
            let mut solve = |damping| Damped::new(Tuning { damping, ..Tuning::default() }).solve(of, r.view_mut(), &mut exec);
            let error = solve(1e-9).unwrap_err();
            assert!(matches!(error, Error::Singular { layer: 3, condition, .. } if condition > 1e3), "{error}");
            solve(1.0).unwrap();
            let of = Weights { layer: 3, version: 0, w: w.view() };
            let damped = Tuning { damping: 1e-9, ..Tuning::default() };
            Damped::new(damped).solve(of, normal(1, n, 7).view_mut(), &mut exec).unwrap();
        }
    }

    /// In place for square weights: the same bits. Without damping: the inverse. New factors only
    /// for a new version.
    #[test]
    fn square_weights_are_solved_in_place() {
        let mut exec = Exec::default();
        let w = init::weights::<f64>(Init::Orthogonal, 8, 8, &mut Rng::new(3, 0), &Plan::new()).unwrap();
        let r = normal(3, 8, 4);
        let mut damped = Damped::<f64>::new(Tuning { damping: 0.0, ..Tuning::default() });
        let of = |version| Weights { layer: 0, version, w: w.view() };
        let (mut e, mut in_place) = (Matrix::zeros(3, 8), r.clone());
        let first = damped.solve_into(of(1), r.view(), e.view_mut(), &mut exec).unwrap();
        let again = damped.solve(of(1), in_place.view_mut(), &mut exec).unwrap();
        assert_eq!(e, in_place);
        assert!(first.residual < 1e-14 && again.products < first.products);
        assert_eq!(damped.solve(of(2), in_place.view_mut(), &mut exec).unwrap().products, first.products);
    }

    /// Singular weights are an error without damping, and no error grows by more than 1/(2√ρ) with.
    #[test]
    fn singular_weights_need_damping() {
        let mut exec = Exec::default();
        let w = Matrix::<f32>::zeros(4, 4);
        let of = Weights { layer: 3, version: 0, w: w.view() };
        let mut r = Matrix::from_vec(2, 4, vec![1.0; 8]).unwrap();
        let error = Damped::new(Tuning { damping: 0.0, ..Tuning::default() }).solve(of, r.view_mut(), &mut exec).unwrap_err();
        assert!(matches!(error, Error::Singular { layer: 3, .. }), "{error}");
        let lost = Matrix::from_vec(1, 1, vec![f32::NAN]).unwrap();
        let of_lost = Weights { layer: 3, version: 0, w: lost.view() };
        let mut one = Matrix::from_vec(1, 1, vec![1.0]).unwrap();
        let error = Damped::new(Tuning::default()).solve(of_lost, one.view_mut(), &mut exec).unwrap_err();
        assert_eq!(error.to_string(), "training diverged: the damped Gram matrix of layer 3 is not finite");
        let solve = Damped::new(Tuning { damping: 1e-2, ..Tuning::default() }).solve(of, r.view_mut(), &mut exec).unwrap();
        assert_eq!((solve.residual, r.data()), (1.0, &[0.0; 8][..]));
        let mut w = Matrix::<f32>::zeros(1, 1);
        for sigma in [1e-6, 0.05, 0.1, 0.2, 3.0] {
            w.data_mut()[0] = sigma;
            let mut r = Matrix::from_vec(1, 1, vec![1.0]).unwrap();
            let of = Weights { layer: 0, version: 0, w: w.view() };
            Damped::new(Tuning { damping: 1e-2, ..Tuning::default() }).solve(of, r.view_mut(), &mut exec).unwrap();
            let want = sigma / (sigma * sigma + 1e-2);
            assert!((r.data()[0] - want).abs() < 1e-5 && r.data()[0] <= 5.0 + 1e-5, "{sigma}: {}", r.data()[0]);
        }
    }

    /// A wrong shape is an error.
    #[test]
    fn shapes_are_checked() {
        let (w, r) = (normal(4, 6, 1), normal(2, 6, 2));
        let of = Weights { layer: 0, version: 0, w: w.view() };
        let mut damped = Damped::<f64>::new(Tuning::default());
        for (batch, cols) in [(2, 6), (3, 4)] {
            let mut e = Matrix::zeros(batch, cols);
            assert!(damped.solve_into(of, r.view(), e.view_mut(), &mut Exec::default()).is_err());
        }
        assert!(damped.solve(of, normal(2, 6, 3).view_mut(), &mut Exec::default()).is_err());
    }
}
