//! What a stale inverse M learns from a solve: pairs (Y, δ) of right-hand sides Y = e W and errors δ
//! of their images Y M.
//!
//! ```text
//! M ← M + Qᵀ (C δ)     with Q = C Y, rows orthonormal
//! ```
//!
//! The update is the least change that makes M exact for the combinations C of the rows. It costs
//! little for few combinations, so the best are chosen: those with the largest error for a given
//! norm, `max ‖c δ‖ / ‖c Y‖`. They are the leading eigenvectors of δ δᵀ in the metric of Y Yᵀ. Two
//! iterations with a block of vectors approximate them closely enough. Compared with random
//! combinations, they halve the error of the next guess (benches/record/inverse.md).
//!
//! Source of the iteration: Golub and Van Loan, Matrix Computations, section 8.2.4 (orthogonal
//! iteration).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop_kernels::{MatMut, MatRef, Real, cholesky};

/// Number of combinations learned from a solve. 6 cost more products in the following solves, 18
/// more in the update itself.
const COMBINATIONS: usize = 12;

/// Iterations for the eigenvectors. One costs 2 % more products in the following solves, and a third
/// saves none.
const ITERATIONS: usize = 2;

/// Share of the mean square of the rows that is added to their Gram matrix. It bounds the elements of
/// combinations of nearly dependent rows.
const RIDGE: f64 = 1e-5;

/// Buffers for the choice of combinations.
#[derive(Debug, Default)]
pub(super) struct Learner<T> {
    /// C Y and C δ.
    y: Vec<T>,
    d: Vec<T>,
    /// Cholesky factors of Y Yᵀ and of X Xᵀ.
    of_rows: Vec<T>,
    of_mix: Vec<T>,
    /// δ δᵀ.
    errors: Vec<T>,
    /// Combinations X of L⁻¹ Y under iteration, at last C; and X L⁻¹ δ δᵀ.
    mix: Vec<T>,
    next: Vec<T>,
}

impl<T: Real> Learner<T> {
    /// Reserves the memory for batches of rows of n.
    pub(super) fn reserve(&mut self, batch: usize, n: usize) {
        let kept = COMBINATIONS.min(batch);
        for (memory, len) in [
            (&mut self.y, kept * n),
            (&mut self.d, kept * n),
            (&mut self.of_rows, batch * batch),
            (&mut self.of_mix, kept * kept),
            (&mut self.errors, batch * batch),
            (&mut self.mix, kept * batch),
            (&mut self.next, kept * batch),
        ] {
            resized(memory, len);
        }
    }

    /// Updates M (n×n) from pairs of rows, worst first. Consumes them, and returns the number of
    /// combinations.
    ///
    /// * `y`: Y, rows × n
    /// * `d`: δ, rows × n
    pub(super) fn learn(&mut self, y: &mut [T], d: &mut [T], m: MatMut<'_, T>, exec: &mut Exec) -> Result<usize> {
        let n = m.nrows();
        let rows = y.len() / n;
        let k = rows.min(COMBINATIONS);
        if rows == k {
            if !factor(&mut self.of_mix, y, (k, n), exec)? {
                return Ok(0);
            }
            divide_left(&self.of_mix, y, (k, n), exec)?;
            divide_left(&self.of_mix, d, (k, n), exec)?;
            exec.gemm(T::ONE, MatRef::new(y, k, n)?.t(), MatRef::new(d, k, n)?, T::ONE, m)?;
            return Ok(k);
        }
        if !self.choose(y, d, n, exec)? {
            return Ok(0);
        }
        let mix = MatRef::new(&self.mix[..k * rows], k, rows)?;
        let (to_y, to_d) = (resized(&mut self.y, k * n), resized(&mut self.d, k * n));
        exec.gemm(T::ONE, mix, MatRef::new(y, rows, n)?, T::ZERO, MatMut::new(to_y, k, n)?)?;
        exec.gemm(T::ONE, mix, MatRef::new(d, rows, n)?, T::ZERO, MatMut::new(to_d, k, n)?)?;
        exec.gemm(T::ONE, MatRef::new(to_y, k, n)?.t(), MatRef::new(to_d, k, n)?, T::ONE, m)?;
        Ok(k)
    }

    /// Sets `mix` to C, the combinations with the largest errors. Returns whether there are some.
    ///
    /// ```text
    /// L Lᵀ = Y Yᵀ;   repeat: X ← X L⁻¹ (δ δᵀ) L⁻ᵀ, rows made orthonormal;   C = X L⁻¹
    /// ```
    fn choose(&mut self, y: &[T], d: &[T], n: usize, exec: &mut Exec) -> Result<bool> {
        let (rows, k) = (y.len() / n, COMBINATIONS);
        if !factor(&mut self.of_rows, y, (rows, n), exec)? {
            return Ok(false);
        }
        let errors = resized(&mut self.errors, rows * rows);
        exec.syrk(MatRef::new(d, rows, n)?, Part::Both, Diagonal::Kept, MatMut::new(errors, rows, rows)?)?;
        let errors = MatRef::new(errors, rows, rows)?;
        let (mix, next) = (resized(&mut self.mix, k * rows), resized(&mut self.next, k * rows));
        // The rows with the largest solutions come first.
        mix.fill(T::ZERO);
        (0..k).for_each(|i| mix[i * rows + i] = T::ONE);
        for _ in 0..ITERATIONS {
            divide_right(&self.of_rows, Triangle::Lower, mix, (k, rows), exec)?;
            exec.gemm(T::ONE, MatRef::new(mix, k, rows)?, errors, T::ZERO, MatMut::new(next, k, rows)?)?;
            divide_right(&self.of_rows, Triangle::Upper, next, (k, rows), exec)?;
            if !factor(&mut self.of_mix, next, (k, rows), exec)? {
                return Ok(false);
            }
            divide_left(&self.of_mix, next, (k, rows), exec)?;
            mix.copy_from_slice(next);
        }
        divide_right(&self.of_rows, Triangle::Lower, mix, (k, rows), exec)?;
        Ok(true)
    }
}

/// Sets `l` to the Cholesky factor of X Xᵀ, with the ridge. Returns whether there is one.
///
/// * `x`: X, rows × n
fn factor<T: Real>(l: &mut Vec<T>, x: &[T], (rows, n): (usize, usize), exec: &mut Exec) -> Result<bool> {
    let l = resized(l, rows * rows);
    exec.syrk(MatRef::new(x, rows, n)?, Part::Lower, Diagonal::Kept, MatMut::new(l, rows, rows)?)?;
    let trace: f64 = l.iter().step_by(rows + 1).map(|square| square.to_f64()).sum();
    let ridge = T::from_f64(RIDGE * trace / rows as f64);
    l.iter_mut().step_by(rows + 1).for_each(|square| *square += ridge);
    Ok(cholesky::factor(MatMut::new(l, rows, rows)?, &exec.plan, &mut exec.scratch).is_ok())
}

/// `X ← L⁻¹ X`: rows whose Gram matrix is L Lᵀ become orthonormal.
///
/// * `l`: L, rows × rows
/// * `x`: X, rows × n
fn divide_left<T: Real>(l: &[T], x: &mut [T], (rows, n): (usize, usize), exec: &mut Exec) -> Result<()> {
    let (l, x) = (MatRef::new(&l[..rows * rows], rows, rows)?, MatMut::new(x, rows, n)?);
    Ok(trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, l, x, &exec.plan, &mut exec.scratch)?)
}

/// `X ← X L⁻¹`, or `X L⁻ᵀ` with the upper triangle.
///
/// * `l`: L, n × n
/// * `x`: X, rows × n
fn divide_right<T: Real>(l: &[T], by: Triangle, x: &mut [T], (rows, n): (usize, usize), exec: &mut Exec) -> Result<()> {
    let (l, x) = (MatRef::new(&l[..n * n], n, n)?, MatMut::new(x, rows, n)?);
    let l = if by == Triangle::Lower { l } else { l.t() };
    Ok(trsm::solve(Side::Right, by, Diag::Stored, T::ONE, l, x, &exec.plan, &mut exec.scratch)?)
}
