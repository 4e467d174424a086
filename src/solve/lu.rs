//! LU factors of the weights: the exact reference route, and the judge of what the others give up on.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::solve::{Seen, Solve, Solver, SolverKind, WEIGHTS, Weights, gather, promise, room};
use crate::store::checkpoint::State;
use gaitprop_kernels::trsm::solve_scratch;
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, ScratchReq, Start, lu};

/// LU factors of each layer's weights, made when first needed after a change: the exact reference route. ⅔n³ flops a layer and
/// change, 2·batch·n² a solve, as much again for the residual.
///
/// The condition number is estimated for the first factors of a layer, and whenever pivots or a solution look suspicious (an estimate
/// costs a dozen solves with one right-hand side).
#[derive(Debug, Default)]
pub struct Lu<T> {
    seen: Seen,
    layers: Vec<Factors<T>>,
    right: Vec<T>,
    residual: Vec<T>,
    work: Vec<T>,
}

#[derive(Debug, Default)]
struct Factors<T> {
    n: usize,
    lu: Vec<T>,
    pivots: Vec<usize>,
    /// Made of the present weights.
    fresh: bool,
    /// The condition of these weights is known to be good enough.
    vetted: bool,
    /// ‖W‖ (Frobenius).
    norm: f64,
}

impl<T: Real> Factors<T> {
    fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.lu[..self.n * self.n], self.n, self.n).expect("n × n elements, made by `factor`")
    }
}

/// Beyond this condition number (in units of 1/u) a solution has no more than one correct digit.
const HOPELESS: f64 = 0.1;
/// Signs of trouble, in units of 1/u: a spread of pivots, or a growth of the right-hand sides, from which an estimate is worth its cost.
const SUSPICIOUS: f64 = 1e-4;
/// A relative residual that factors of the right weights do not leave.
pub(super) const FOREIGN: f64 = 1e-3;

/// ‖W‖₁: the largest column sum.
fn norm1<T: Real>(w: MatRef<'_, T>) -> f64 {
    let column = |j| (0..w.nrows()).map(|i| w.get(i, j).abs().to_f64()).sum::<f64>();
    (0..w.ncols()).map(column).fold(0.0, f64::max)
}

/// An estimate (a lower bound, seldom off by more than 3) of the condition number ‖W‖₁‖W⁻¹‖₁ of an n×n matrix; infinite for a zero pivot or elements that are not
/// finite. ⅔n³ flops.
///
/// # Errors
/// A shape error if the matrix is not square; out of memory.
pub fn condition<T: Real>(w: MatRef<'_, T>, exec: &mut Exec) -> Result<f64> {
    let n = w.ncols();
    w.expect_shape("the weights", (n, n))?;
    let (mut factors, mut pivots, mut work) = (w.to_vec(), vec![0; n], vec![T::ZERO; 2 * n]);
    match lu::factor(MatMut::new(&mut factors, n, n)?, &mut pivots, &exec.plan, &mut exec.scratch) {
        Err(KernelError::ZeroPivot { .. } | KernelError::NonFinite { .. }) => return Ok(f64::INFINITY),
        other => other?,
    }
    Ok(norm1(w) * lu::inverse_norm1(MatRef::new(&factors, n, n)?, &pivots, &mut work, &exec.plan, &mut exec.scratch)?)
}

/// Whose factors, and of what.
#[derive(Clone, Copy)]
struct At<'w, T> {
    /// Where they are kept.
    slot: usize,
    /// The layer that errors name.
    layer: usize,
    w: MatRef<'w, T>,
}

impl<T: Real> Lu<T> {
    /// No factors yet.
    pub fn new() -> Self {
        Self { seen: Seen::Any, layers: Vec::new(), right: Vec::new(), residual: Vec::new(), work: Vec::new() }
    }

    /// Makes the room that solves of a layer need; [`Lu::judge`] and [`Lu::invert`] take that of layer 0.
    pub(super) fn reserve(&mut self, layer: usize, n: usize, batch: usize, exec: &mut Exec) -> Result<()> {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Factors::default);
        }
        let f = &mut self.layers[layer];
        promise(&mut f.lu, n * n);
        promise(&mut f.pivots, n);
        room(&mut self.work, 2 * n);
        room(&mut self.residual, batch * n);
        promise(&mut self.right, batch * n);
        let solves = [1, batch, n].map(|rhs| solve_scratch::<T>(n, rhs, &exec.plan));
        Ok(exec.scratch.reserve(solves.into_iter().fold(lu::factor_scratch::<T>(n, &exec.plan), ScratchReq::or))?)
    }

    /// Makes sure that there are factors of `w`; returns whether they had to be made.
    fn factor(&mut self, at: At<'_, T>, exec: &mut Exec) -> Result<bool> {
        let (w, n) = (at.w, at.w.nrows());
        if self.layers.len() <= at.slot {
            self.layers.resize_with(at.slot + 1, Factors::default);
        }
        let f = &mut self.layers[at.slot];
        let new = f.n != n || f.lu.is_empty();
        if f.fresh && !new {
            return Ok(false);
        }
        (f.n, f.fresh, f.vetted) = (n, false, false);
        gather(w, &mut f.lu);
        f.pivots.resize(n, 0);
        f.norm = exec.norm(&f.lu)?;
        match lu::factor(MatMut::new(&mut f.lu, n, n)?, &mut f.pivots, &exec.plan, &mut exec.scratch) {
            Err(KernelError::ZeroPivot { .. } | KernelError::NonFinite { .. }) => {
                return Err(Error::Singular { layer: at.layer, condition: f64::INFINITY, precision: T::NAME });
            }
            other => other?,
        }
        f.fresh = true;
        let pivots = (0..n).map(|i| f.lu[i * n + i].abs().to_f64());
        let (low, high) = pivots.fold((f64::INFINITY, 0.0f64), |(low, high), p| (low.min(p), high.max(p)));
        if new || high / low * T::UNIT_ROUNDOFF > SUSPICIOUS {
            self.vet(at, exec)?;
        }
        Ok(true)
    }

    /// Estimates the condition number in the 1-norm, and refuses a hopeless one.
    fn vet(&mut self, at: At<'_, T>, exec: &mut Exec) -> Result<()> {
        let (w, n) = (at.w, at.w.nrows());
        let f = &mut self.layers[at.slot];
        if f.vetted {
            return Ok(());
        }
        let work = room(&mut self.work, 2 * n);
        let condition = norm1(w) * lu::inverse_norm1(f.view(), &f.pivots, work, &exec.plan, &mut exec.scratch)?;
        // Written so that NaN is hopeless. Such factors are not used again.
        f.vetted = condition * T::UNIT_ROUNDOFF < HOPELESS;
        f.fresh = f.vetted;
        if f.vetted { Ok(()) } else { Err(Error::Singular { layer: at.layer, condition, precision: T::NAME }) }
    }

    /// Solves for `self.right` into `r`; returns the relative residual and the norm of the right-hand sides.
    fn substitute(&mut self, slot: usize, w: MatRef<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<(f64, f64)> {
        let (batch, n) = r.shape();
        let f = &self.layers[slot];
        lu::solve_right(f.view(), &f.pivots, r.rb(), &exec.plan, &mut exec.scratch)?;
        let size = exec.norm(&self.right)?;
        let start = Start::From(T::ONE, MatRef::new(&self.right, batch, n)?);
        let rest = room(&mut self.residual, batch * n);
        exec.product(-T::ONE, r.as_ref(), w, start, MatMut::new(rest, batch, n)?)?;
        let rest = exec.norm(rest)?;
        Ok((if size == 0.0 { 0.0 } else { rest / size }, size))
    }

    pub(super) fn solve_at(
        &mut self,
        (slot, layer): (usize, usize),
        w: MatRef<'_, T>,
        mut r: MatMut<'_, T>,
        exec: &mut Exec,
    ) -> Result<Solve> {
        let (batch, n) = r.shape();
        w.expect_shape(WEIGHTS, (n, n))?;
        let at = At { slot, layer, w };
        gather(r.as_ref(), &mut self.right);
        let mut made = self.factor(at, exec)?;
        let (mut residual, mut size) = self.substitute(slot, w, r.rb(), exec)?;
        if !made && !(residual <= FOREIGN) {
            // Factors of other weights: another network, or one changed without a word.
            self.weights_changed();
            crate::solve::scatter(&self.right, &mut r);
            made = self.factor(at, exec)?;
            (residual, size) = self.substitute(slot, w, r.rb(), exec)?;
        }
        // ‖e‖‖W‖/‖r‖ is a lower bound of the condition number, and for most right-hand sides not a bad one.
        gather(r.as_ref(), &mut self.residual);
        let growth = exec.norm(&self.residual)? * self.layers[slot].norm / size;
        if size > 0.0 && size.is_finite() && !(growth * T::UNIT_ROUNDOFF <= SUSPICIOUS) {
            self.vet(at, exec)?;
        }
        let factoring = if made { crate::solve::products(2.0 / 3.0, n, batch) } else { 0.0 };
        Ok(Solve { residual, sampled: false, products: factoring + 2.0, by: SolverKind::Lu })
    }

    /// [`Solver::solve`] with factors made anew, always vetted, and kept in one place for all layers: for those who seldom need it.
    pub(super) fn judge(&mut self, layer: usize, w: MatRef<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        w.expect_shape(WEIGHTS, (r.ncols(), r.ncols()))?;
        let at = At { slot: 0, layer, w };
        self.weights_changed();
        self.factor(at, exec)?;
        self.vet(at, exec)?;
        let solve = self.solve_at((0, layer), w, r, exec)?;
        Ok(Solve {
            products: solve.products + crate::solve::products(2.0 / 3.0, w.nrows(), self.right.len() / w.nrows().max(1)),
            ..solve
        })
    }

    /// Writes W⁻¹ into `m` (n×n), from factors made and vetted as in `judge`. 8/3 n³ flops.
    pub(super) fn invert(&mut self, layer: usize, w: MatRef<'_, T>, mut m: MatMut<'_, T>, exec: &mut Exec) -> Result<()> {
        let n = m.nrows();
        w.expect_shape(WEIGHTS, (n, n))?;
        let at = At { slot: 0, layer, w };
        self.weights_changed();
        self.factor(at, exec)?;
        self.vet(at, exec)?;
        for i in 0..n {
            (0..n).for_each(|j| m.set(i, j, if i == j { T::ONE } else { T::ZERO }));
        }
        let f = &self.layers[0];
        Ok(lu::solve_right(f.view(), &f.pivots, m, &exec.plan, &mut exec.scratch)?)
    }

    /// Records that the weights of every layer have changed.
    pub(super) fn weights_changed(&mut self) {
        for f in &mut self.layers {
            f.fresh = false;
        }
    }
}

impl<T: Real> Solver<T> for Lu<T> {
    fn name(&self) -> &'static str {
        SolverKind::Lu.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        if self.seen.changed(of.version) {
            self.weights_changed();
        }
        self.solve_at((layer, layer), w, r, exec)
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, f) in self.layers.iter().enumerate() {
            // Whether there have been factors: the first of a layer are vetted.
            state.put(format!("{l}.n"), if f.lu.is_empty() { 0 } else { f.n as u64 });
        }
        state
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.seen = Seen::Any;
        let factors = |(_, n): &(String, usize)| Factors { n: *n, lu: vec![T::ZERO; n * n], ..Factors::default() };
        self.layers = crate::solve::layers_of(&state)?.iter().map(factors).collect();
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
    fn solves_and_says_how_well() {
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
        // Fresh factors are used again and cost nothing more.
        let again = lu.solve(of(0), x.view_mut(), &mut exec).unwrap();
        assert!(again.products < first.products);
        let anew = lu.solve(of(1), x.view_mut(), &mut exec).unwrap();
        assert_eq!(anew.products, first.products);
    }

    /// Factors of one network are not used for another, even if nobody said that anything changed.
    #[test]
    fn foreign_factors_are_noticed() {
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

    /// All pivots are 1, and yet the condition number is 2^64: only an estimate tells.
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
            // One singular value becomes `small`: W ← W − (1 − small) w₀ w₀ᵀ W, with w₀ its own first row, scales that row.
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
