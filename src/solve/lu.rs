//! LU factors of the weights: the exact reference solver, and the fallback of the iterative ones.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::solve::{
    Solve, Solver, SolverKind, Weights, gather, of_layer, products, reserve, rest_of, restore_layers, save_layers, scatter,
};
use crate::store::checkpoint::State;
use gaitprop_kernels::trsm::solve_scratch;
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, ScratchReq, lu};

/// The exact solver: LU factors of each layer's weights, recomputed after each change.
///
/// Work: ⅔n³ flops a layer and change; 2·batch·n² a solve, and as much again for the residual.
///
/// The condition number is estimated for the first factors of a layer, and when pivots or a
/// solution look suspicious. An estimate costs a dozen solves with one right-hand side.
#[derive(Debug, Default)]
pub struct Lu<T> {
    /// Version of the weights in the last solve.
    seen: Option<u64>,
    layers: Vec<Factors<T>>,
    right: Vec<T>,
    residual: Vec<T>,
    work: Vec<T>,
}

/// Factors of one layer's weights.
#[derive(Debug, Default)]
struct Factors<T> {
    lu: Vec<T>,
    /// n pivots; none before the first factors.
    pivots: Vec<usize>,
    /// Whether they belong to the present weights.
    fresh: bool,
    /// Estimated condition number of these weights, if it is known and acceptable.
    condition: Option<f64>,
    /// ‖W‖ (Frobenius).
    norm: f64,
}

impl<T: Real> Factors<T> {
    fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.lu, self.pivots.len(), self.pivots.len()).expect("n × n elements, made by `factor`")
    }
}

/// Condition number, in units of 1/u, beyond which a solution has at most one correct digit.
const HOPELESS: f64 = 0.1;
/// Spread of pivots or growth of right-hand sides, in units of 1/u, that justifies an estimate.
const SUSPICIOUS: f64 = 1e-4;
/// Relative residual that factors of the right weights stay below.
pub(super) const FOREIGN: f64 = 1e-3;

/// Returns ‖W‖₁, the largest column sum.
fn norm1<T: Real>(w: MatRef<'_, T>) -> f64 {
    let column = |j| (0..w.nrows()).map(|i| w.get(i, j).abs().to_f64()).sum::<f64>();
    (0..w.ncols()).map(column).fold(0.0, f64::max)
}

/// Returns the largest over the smallest magnitude on the diagonal of n×n factors.
pub(super) fn spread<T: Real>(factors: &[T], n: usize) -> f64 {
    let pivots = (0..n).map(|i| factors[i * n + i].abs().to_f64());
    let (low, high) = pivots.fold((f64::INFINITY, 0.0f64), |(low, high), p| (low.min(p), high.max(p)));
    high / low
}

/// Estimates the condition number ‖W‖₁‖W⁻¹‖₁ of an n×n matrix.
///
/// The estimate is a lower bound, seldom off by more than 3. It is infinite for a zero pivot and
/// for elements that are not finite. Work: ⅔n³ flops.
///
/// # Errors
/// A shape error if the matrix is not square; out of memory.
pub fn condition<T: Real>(w: MatRef<'_, T>, exec: &mut Exec) -> Result<f64> {
    w.expect_shape("the weights", (w.ncols(), w.ncols()))?;
    match Lu::new().factor_anew(Weights { layer: 0, version: 0, w }, exec) {
        Err(Error::Singular { condition, .. }) => Ok(condition),
        other => other,
    }
}

impl<T: Real> Lu<T> {
    /// Builds a solver without factors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves the memory for solves with the factors in `slot`.
    ///
    /// [`Lu::solve_anew`] and [`Lu::invert`] use slot 0.
    pub(super) fn reserve(&mut self, slot: usize, n: usize, batch: usize, exec: &mut Exec) -> Result<()> {
        let f = of_layer(&mut self.layers, slot);
        reserve(&mut f.lu, n * n);
        reserve(&mut f.pivots, n);
        resized(&mut self.work, 2 * n);
        resized(&mut self.residual, batch * n);
        reserve(&mut self.right, batch * n);
        let solves = [1, batch, n].map(|rhs| solve_scratch::<T>(n, rhs, &exec.plan));
        Ok(exec.scratch.reserve(solves.into_iter().fold(lu::factor_scratch::<T>(n, &exec.plan), ScratchReq::or))?)
    }

    /// Factors the weights unless `slot` holds their factors. Returns whether it did.
    fn factor(&mut self, slot: usize, of: Weights<'_, T>, exec: &mut Exec) -> Result<bool> {
        let n = of.w.nrows();
        let f = of_layer(&mut self.layers, slot);
        let new = f.pivots.len() != n;
        if f.fresh && !new {
            return Ok(false);
        }
        (f.fresh, f.condition) = (false, None);
        gather(of.w, &mut f.lu);
        f.pivots.resize(n, 0);
        f.norm = exec.norm(&f.lu)?;
        match lu::factor(MatMut::new(&mut f.lu, n, n)?, &mut f.pivots, &exec.plan, &mut exec.scratch) {
            Err(KernelError::ZeroPivot { .. } | KernelError::NonFinite { .. }) => {
                return Err(Error::Singular { layer: of.layer, condition: f64::INFINITY, precision: T::NAME });
            }
            other => other?,
        }
        f.fresh = true;
        if new || spread(&f.lu, n) * T::UNIT_ROUNDOFF > SUSPICIOUS {
            self.vet(slot, of, exec)?;
        }
        Ok(true)
    }

    /// Estimates the condition number in the 1-norm, and refuses a hopeless one.
    fn vet(&mut self, slot: usize, of: Weights<'_, T>, exec: &mut Exec) -> Result<f64> {
        let f = &mut self.layers[slot];
        if let Some(condition) = f.condition {
            return Ok(condition);
        }
        let work = resized(&mut self.work, 2 * f.pivots.len());
        let condition = norm1(of.w) * lu::inverse_norm1(f.view(), &f.pivots, work, &exec.plan, &mut exec.scratch)?;
        // A NaN is hopeless, too. Such factors are not used again.
        f.fresh = condition * T::UNIT_ROUNDOFF < HOPELESS;
        f.condition = f.fresh.then_some(condition);
        f.condition.ok_or(Error::Singular { layer: of.layer, condition, precision: T::NAME })
    }

    /// Factors and vets the weights in slot 0, whatever it holds. Returns the condition number.
    fn factor_anew(&mut self, of: Weights<'_, T>, exec: &mut Exec) -> Result<f64> {
        self.weights_changed();
        self.factor(0, of, exec)?;
        self.vet(0, of, exec)
    }

    /// Solves for `self.right` into `r`. Returns the relative residual and the norm of
    /// `self.right`.
    fn substitute(&mut self, slot: usize, w: MatRef<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (batch, n) = r.shape();
        let f = &self.layers[slot];
        lu::solve_right(f.view(), &f.pivots, r.rb(), &exec.plan, &mut exec.scratch)?;
        let size = exec.norm(&self.right)?;
        let rest = resized(&mut self.residual, batch * n);
        rest_of(&self.right, r.as_ref(), w, rest, exec)?;
        let rest = exec.norm(rest)?;
        Ok((if size == 0.0 { 0.0 } else { rest / size }, size))
    }

    /// Solves with the factors in `slot`, which are recomputed if they are not those of the
    /// weights.
    fn solve_at(&mut self, slot: usize, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        gather(r.as_ref(), &mut self.right);
        let mut made = self.factor(slot, of, exec)?;
        let (mut residual, mut size) = self.substitute(slot, of.w, r.rb(), exec)?;
        if !made && !(residual <= FOREIGN) {
            // Factors of other weights: another network, or a change under the same version.
            self.weights_changed();
            scatter(&self.right, &mut r);
            made = self.factor(slot, of, exec)?;
            (residual, size) = self.substitute(slot, of.w, r.rb(), exec)?;
        }
        // ‖e‖‖W‖/‖r‖ is a lower bound of the condition number, and close to it for most r.
        gather(r.as_ref(), &mut self.residual);
        let growth = exec.norm(&self.residual)? * self.layers[slot].norm / size;
        if size > 0.0 && size.is_finite() && !(growth * T::UNIT_ROUNDOFF <= SUSPICIOUS) {
            self.vet(slot, of, exec)?;
        }
        let factoring = if made { products(2.0 / 3.0, n, batch) } else { 0.0 };
        Ok(Solve { residual, sampled: false, products: factoring + 2.0, by: SolverKind::Lu })
    }

    /// Solves with new, vetted factors in slot 0: the fallback of the iterative solvers, which
    /// seldom need it and share one slot among all layers.
    pub(super) fn solve_anew(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        self.factor_anew(of, exec)?;
        Ok(self.solve_at(0, of, r, exec)?.after(products(2.0 / 3.0, n, batch)))
    }

    /// Writes W⁻¹ into `m` (n×n), from new, vetted factors in slot 0. Work: 8/3 n³ flops.
    pub(super) fn invert(&mut self, of: Weights<'_, T>, mut m: MatMut<'_, T>, exec: &mut Exec) -> Result<()> {
        let n = m.nrows();
        self.factor_anew(of, exec)?;
        for i in 0..n {
            (0..n).for_each(|j| m.set(i, j, if i == j { T::ONE } else { T::ZERO }));
        }
        let f = &self.layers[0];
        Ok(lu::solve_right(f.view(), &f.pivots, m, &exec.plan, &mut exec.scratch)?)
    }

    /// Records that the weights of every layer have changed.
    fn weights_changed(&mut self) {
        self.layers.iter_mut().for_each(|f| f.fresh = false);
    }
}

impl<T: Real> Solver<T> for Lu<T> {
    fn name(&self) -> &'static str {
        SolverKind::Lu.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        of.check(r.ncols())?;
        if self.seen.replace(of.version) != Some(of.version) {
            self.weights_changed();
        }
        self.solve_at(of.layer, of, r, exec)
    }

    fn save(&self, _version: u64) -> State<T> {
        save_layers(&self.layers, |f, _| f.pivots.len())
    }

    fn restore(&mut self, mut state: State<T>, version: u64) -> Result<()> {
        self.seen = Some(version);
        // The first factors of a layer are vetted: these are not the first.
        self.layers = restore_layers(&mut state, |_, n| Ok(Factors { pivots: vec![0; n], ..Factors::default() }))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::init;
    use crate::model::init::Init;
    use crate::model::matrix::Matrix;
    use gaitprop_kernels::Plan;

    #[test]
    fn solves_and_reports_the_residual() {
        let mut exec = Exec::default();
        let n = 50;
        let w = init::weights::<f32>(Init::Xavier, n, n, &mut Rng::new(2, 0), &exec.plan).unwrap();
        let of = |version| Weights { layer: 0, version, w: w.view() };
        let mut lu = Lu::<f32>::new();
        let mut x = Matrix::<f32>::from_vec(3, n, (0..3 * n).map(|i| (i as f32).sin()).collect()).unwrap();
        let want = x.clone();
        let first = lu.solve(of(0), x.view_mut(), &mut exec).unwrap();
        assert!(first.residual > 0.0 && first.residual < 1e-4, "{first:?}");
        let mut back = Matrix::<f32>::zeros(3, n);
        exec.gemm(1.0, x.view(), w.view(), 0.0, back.view_mut()).unwrap();
        assert!(back.data().iter().zip(want.data()).all(|(a, b)| (a - b).abs() < 1e-3));
        // Fresh factors are reused at no cost.
        let again = lu.solve(of(0), x.view_mut(), &mut exec).unwrap();
        assert!(again.products < first.products);
        let anew = lu.solve(of(1), x.view_mut(), &mut exec).unwrap();
        assert_eq!(anew.products, first.products);
    }

    /// Weights that change under the same version are detected by the residual.
    #[test]
    fn foreign_factors_are_detected() {
        let mut exec = Exec::default();
        let mut lu = Lu::<f64>::new();
        for factor in [2.0, 4.0, 4.0, 8.0] {
            let mut w = Matrix::<f64>::zeros(5, 5);
            (0..5).for_each(|i| w.data_mut()[6 * i] = factor);
            let mut r = Matrix::from_vec(1, 5, vec![1.0; 5]).unwrap();
            let solve = lu.solve(Weights { layer: 0, version: 0, w: w.view() }, r.view_mut(), &mut exec).unwrap();
            assert_eq!((r.data(), solve.residual), (&[1.0 / factor; 5][..], 0.0));
        }
    }

    /// All pivots are 1, but the condition number is 2^64: only an estimate shows it.
    #[test]
    fn a_hopeless_matrix_with_innocent_pivots_is_refused() {
        let n = 64;
        let mut w = Matrix::<f32>::zeros(n, n);
        for i in 0..n {
            w.data_mut()[i * n + i] = 1.0;
            w.data_mut()[i * n + i + 1..(i + 1) * n].fill(-1.0);
        }
        let mut exec = Exec::default();
        let mut lu = Lu::<f32>::new();
        for _ in 0..2 {
            let mut r = Matrix::from_vec(1, n, vec![1.0; n]).unwrap();
            let error = lu.solve(Weights { layer: 3, version: 0, w: w.view() }, r.view_mut(), &mut exec).unwrap_err();
            assert!(matches!(error, Error::Singular { layer: 3, condition, .. } if condition > 1e18), "{error}");
        }
    }

    #[test]
    fn singular_and_hopeless_weights_name_layer_and_condition() {
        fn condition<T: Real>(small: f64) -> Result<Solve> {
            let plan = Plan::new();
            let n = 30;
            let mut w = init::weights::<f64>(Init::Orthogonal, n, n, &mut Rng::new(4, 0), &plan).unwrap();
            // Scaling the first row of an orthogonal W makes one singular value `small`.
            w.data_mut()[..n].iter_mut().for_each(|x| *x *= small);
            let w = Matrix::from_vec(n, n, w.data().iter().map(|&x| T::from_f64(x)).collect()).unwrap();
            let mut r = Matrix::<T>::from_vec(1, n, vec![T::ONE; n]).unwrap();
            Lu::new().solve(Weights { layer: 7, version: 0, w: w.view() }, r.view_mut(), &mut Exec::new(plan))
        }
        assert!(condition::<f32>(1e-4).is_ok());
        assert!(condition::<f64>(1e-9).is_ok());
        for (error, order) in
            [(condition::<f32>(1e-9), 1e9), (condition::<f64>(1e-17), 1e17), (condition::<f32>(0.0), f64::INFINITY)]
        {
            match error {
                Err(Error::Singular { layer: 7, condition, .. }) => {
                    assert!(condition >= order && condition <= order * 300.0, "{condition:e} for {order:e}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
