//! Sending a batch through the inverse of a layer's weights: r W⁻¹, by a strategy that the step takes as a value.

use crate::{Error, Matrix, Result};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Plan, Real, Scratch, gemm, lu, reduce};

/// What a solve reached and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Solve {
    /// ‖r − e W‖ / ‖r‖ (Frobenius over the batch): the relative residual.
    pub residual: f64,
    /// Cost in products of the size of the forward pass (2·batch·n² flops).
    pub products: f64,
}

/// A way of solving `e W = r` for a batch of rows.
pub trait Inverse<T: Real>: Send {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// Replaces `r` (batch × n) by `r W⁻¹`, where `w` (n×n) is the weights of layer `layer`.
    ///
    /// # Errors
    /// [`Error::Singular`] with the layer and a condition estimate; a shape error; out of memory. The parameters of the network are not
    /// touched.
    fn solve(
        &mut self,
        layer: usize,
        w: MatRef<'_, T>,
        r: MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<Solve>;

    /// Says that the weights of every layer have changed.
    fn weights_changed(&mut self);
}

/// LU factors of each layer's weights, made when first needed after a change: the exact reference route. ⅔n³ flops a layer and
/// change, 2·batch·n² a solve, as much again for the residual.
///
/// The condition number is estimated for the first factors of a layer, and whenever pivots or a solution look suspicious (an estimate
/// costs a dozen solves with one right-hand side).
#[derive(Debug, Default)]
pub struct Lu<T> {
    layers: Vec<Option<Factors<T>>>,
    right: Vec<T>,
    residual: Vec<T>,
    work: Vec<T>,
}

#[derive(Debug)]
struct Factors<T> {
    lu: Matrix<T>,
    pivots: Vec<usize>,
    /// Made of the present weights.
    fresh: bool,
    /// The condition of these weights is known to be good enough.
    vetted: bool,
    /// ‖W‖ (Frobenius).
    norm: f64,
}

/// Beyond this condition number (in units of 1/u) a solution has no more than one correct digit.
const HOPELESS: f64 = 0.1;
/// Signs of trouble, in units of 1/u: a spread of pivots, or a growth of the right-hand sides, from which an estimate is worth its cost.
const SUSPICIOUS: f64 = 1e-4;
/// A relative residual that factors of the right weights do not leave.
const FOREIGN: f64 = 1e-3;

impl<T: Real> Lu<T> {
    /// No factors yet.
    pub fn new() -> Self {
        Self { layers: Vec::new(), right: Vec::new(), residual: Vec::new(), work: Vec::new() }
    }

    /// Makes sure that there are factors of `w`; returns whether they had to be made.
    fn factor(&mut self, layer: usize, w: MatRef<'_, T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<bool> {
        let n = w.nrows();
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, || None);
        }
        let slot = &mut self.layers[layer];
        let new = slot.as_ref().is_none_or(|f| f.lu.rows() != n);
        if new {
            let (lu, pivots) = (Matrix::zeros(n, n), vec![0; n]);
            *slot = Some(Factors { lu, pivots, fresh: false, vetted: false, norm: 0.0 });
        }
        let f = slot.as_mut().expect("filled above");
        if f.fresh {
            return Ok(false);
        }
        f.vetted = false;
        for (i, row) in f.lu.data_mut().chunks_exact_mut(n.max(1)).enumerate() {
            match w.row(i) {
                Some(whole) => row.copy_from_slice(whole),
                None => row.iter_mut().enumerate().for_each(|(j, x)| *x = w.get(i, j)),
            }
        }
        f.norm = reduce::dot(f.lu.data(), f.lu.data(), plan.isa)?.sqrt();
        match lu::factor(f.lu.view_mut(), &mut f.pivots, plan, scratch) {
            Err(KernelError::ZeroPivot { .. } | KernelError::NonFinite { .. }) => {
                return Err(Error::Singular { layer, condition: f64::INFINITY, precision: T::NAME });
            }
            other => other?,
        }
        f.fresh = true;
        let pivots = (0..n).map(|i| f.lu.data()[i * n + i].abs().to_f64());
        let (low, high) = pivots.fold((f64::INFINITY, 0.0f64), |(low, high), p| (low.min(p), high.max(p)));
        if new || high / low * T::UNIT_ROUNDOFF > SUSPICIOUS {
            self.vet(layer, w, plan, scratch)?;
        }
        Ok(true)
    }

    /// Estimates the condition number in the 1-norm, and refuses a hopeless one.
    fn vet(&mut self, layer: usize, w: MatRef<'_, T>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<()> {
        let n = w.nrows();
        let f = self.layers[layer].as_mut().expect("factored before");
        if f.vetted {
            return Ok(());
        }
        // ‖W‖₁: the largest column sum.
        let column = |j| (0..n).map(|i| w.get(i, j).abs().to_f64()).sum::<f64>();
        let norm = (0..n).map(column).fold(0.0, f64::max);
        self.work.clear();
        self.work.resize(2 * n, T::ZERO);
        let condition = norm * lu::inverse_norm1(f.lu.view(), &f.pivots, &mut self.work, plan, scratch)?;
        // Written so that NaN is hopeless. Such factors are not used again.
        f.vetted = condition * T::UNIT_ROUNDOFF < HOPELESS;
        f.fresh = f.vetted;
        if f.vetted { Ok(()) } else { Err(Error::Singular { layer, condition, precision: T::NAME }) }
    }

    /// Solves for `self.right` into `r`; returns the relative residual and the norm of the right-hand sides.
    fn substitute(
        &mut self,
        layer: usize,
        w: MatRef<'_, T>,
        mut r: MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<(f64, f64)> {
        let (batch, n) = r.shape();
        let f = self.layers[layer].as_ref().expect("factored before");
        lu::solve_right(f.lu.view(), &f.pivots, r.rb(), plan, scratch)?;
        let norm = reduce::dot(&self.right, &self.right, plan.isa)?.sqrt();
        self.residual.clear();
        self.residual.extend_from_slice(&self.right);
        gemm(-T::ONE, r.as_ref(), w, T::ONE, MatMut::new(&mut self.residual, batch, n)?, plan, scratch)?;
        let rest = reduce::dot(&self.residual, &self.residual, plan.isa)?.sqrt();
        Ok((if norm == 0.0 { 0.0 } else { rest / norm }, norm))
    }
}

impl<T: Real> Inverse<T> for Lu<T> {
    fn name(&self) -> &'static str {
        "lu"
    }

    fn solve(
        &mut self,
        layer: usize,
        w: MatRef<'_, T>,
        mut r: MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<Solve> {
        let (batch, n) = r.shape();
        w.expect_shape("the weights to be inverted", (n, n))?;
        self.right.clear();
        for i in 0..batch {
            self.right.extend((0..n).map(|j| r.get(i, j)));
        }
        let mut made = self.factor(layer, w, plan, scratch)?;
        let (mut residual, mut norm) = self.substitute(layer, w, r.rb(), plan, scratch)?;
        if !made && !(residual <= FOREIGN) {
            // Factors of other weights: another network, or one changed without a word.
            self.weights_changed();
            for i in 0..batch {
                (0..n).for_each(|j| r.set(i, j, self.right[i * n + j]));
            }
            made = self.factor(layer, w, plan, scratch)?;
            (residual, norm) = self.substitute(layer, w, r.rb(), plan, scratch)?;
        }
        // ‖e‖‖W‖/‖r‖ is a lower bound of the condition number, and for most right-hand sides not a bad one.
        self.residual.clear();
        for i in 0..batch {
            self.residual.extend((0..n).map(|j| r.get(i, j)));
        }
        let size = reduce::dot(&self.residual, &self.residual, plan.isa)?.sqrt();
        let growth = size * self.layers[layer].as_ref().map_or(0.0, |f| f.norm) / norm;
        if norm > 0.0 && norm.is_finite() && !(growth * T::UNIT_ROUNDOFF <= SUSPICIOUS) {
            self.vet(layer, w, plan, scratch)?;
        }
        let factoring = if made { n as f64 / (3.0 * batch.max(1) as f64) } else { 0.0 };
        Ok(Solve { residual, products: factoring + 2.0 })
    }

    fn weights_changed(&mut self) {
        for f in self.layers.iter_mut().flatten() {
            f.fresh = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{self, Init};
    use crate::rng::Rng;

    #[test]
    fn solves_and_says_how_well() {
        let plan = Plan::new();
        let mut scratch = Scratch::new();
        let n = 50;
        let w = init::weights::<f32>(Init::Xavier, n, n, &mut Rng::new(2, 0), &plan).unwrap();
        let mut lu = Lu::<f32>::new();
        let mut x = Matrix::<f32>::from_vec(3, n, (0..3 * n).map(|i| (i as f32).sin()).collect()).unwrap();
        let want = x.clone();
        let first = lu.solve(0, w.view(), x.view_mut(), &plan, &mut scratch).unwrap();
        assert!(first.residual > 0.0 && first.residual < 1e-4, "{first:?}");
        let mut back = Matrix::<f32>::zeros(3, n);
        gemm(1.0, x.view(), w.view(), 0.0, back.view_mut(), &plan, &mut scratch).unwrap();
        assert!(back.data().iter().zip(want.data()).all(|(a, b)| (a - b).abs() < 1e-3));
        // Fresh factors are used again and cost nothing more.
        let again = lu.solve(0, w.view(), x.view_mut(), &plan, &mut scratch).unwrap();
        assert!(again.products < first.products);
        lu.weights_changed();
        let anew = lu.solve(0, w.view(), x.view_mut(), &plan, &mut scratch).unwrap();
        assert_eq!(anew.products, first.products);
    }

    /// Factors of one network are not used for another, even if nobody said that anything changed.
    #[test]
    fn foreign_factors_are_noticed() {
        let (plan, mut scratch) = (Plan::new(), Scratch::new());
        let mut lu = Lu::<f64>::new();
        for factor in [2.0, 4.0, 4.0, 8.0] {
            let mut w = Matrix::<f64>::zeros(5, 5);
            (0..5).for_each(|i| w.data_mut()[6 * i] = factor);
            let mut r = Matrix::from_vec(1, 5, vec![1.0; 5]).unwrap();
            let solve = lu.solve(0, w.view(), r.view_mut(), &plan, &mut scratch).unwrap();
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
        let (plan, mut scratch) = (Plan::new(), Scratch::new());
        let mut lu = Lu::<f32>::new();
        for _ in 0..2 {
            let mut r = Matrix::from_vec(1, n, vec![1.0; n]).unwrap();
            let error = lu.solve(3, w.view(), r.view_mut(), &plan, &mut scratch).unwrap_err();
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
            Lu::new().solve(7, w.view(), r.view_mut(), &plan, &mut Scratch::new())
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
