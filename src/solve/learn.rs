//! Learning of a stale inverse M from a solve: from pairs (Y, δ) of right-hand sides Y = e W and
//! errors δ of their images Y M.
//!
//! ```text
//! M ← M + Qᵀ (C δ)     with Q = C Y, rows orthonormal
//! ```
//!
//! The update is the least change that makes M exact for the combinations C of the rows, but for a
//! ridge. It costs little for few combinations, so the best are chosen: those with the largest error
//! for a given norm, `max ‖c δ‖ / ‖c Y‖`. They are the leading eigenvectors of δ δᵀ in the metric of
//! Y Yᵀ. Two iterations with a block of vectors approximate them closely enough. With 12 of them the
//! next guess has half the error that it has with 6 random ones (benches/record/inverse.md).
//!
//! Source of the iteration: Golub and Van Loan, Matrix Computations, section 8.2.4 (orthogonal
//! iteration).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk_scratch};
use gaitprop_kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, cholesky};

/// Number of combinations learned from a solve. 6 cost more products in the following solves, 18
/// more in the update itself.
const COMBINATIONS: usize = 12;

/// Number of rows, the first ones, that combinations are made of: more would cost memory and time of
/// their square. A solve without probes keeps the order of its batch, so that rows behind these are
/// not learned from.
const ROWS: usize = 8 * COMBINATIONS;

/// Iterations for the eigenvectors. With 6 combinations a single one costs 2 % more products in the
/// following solves, and a third saves none.
const ITERATIONS: usize = 2;

/// Share of the largest square of a row that is added to the Gram matrix. It is above the usual
/// rounding errors there (√n·u is 2e-6 for 784 columns in f32), and bounds the elements of
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
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn reserve(&mut self, batch: usize, n: usize, exec: &mut Exec) -> Result<()> {
        let (rows, kept) = (batch.min(ROWS), batch.min(COMBINATIONS));
        for (memory, len) in [
            (&mut self.y, kept * n),
            (&mut self.d, kept * n),
            (&mut self.of_rows, rows * rows),
            (&mut self.of_mix, kept * kept),
            (&mut self.errors, rows * rows),
            (&mut self.mix, kept * rows),
            (&mut self.next, kept * rows),
        ] {
            resized(memory, len);
        }
        let plan = &exec.plan;
        let solves = trsm::solve_scratch::<T>(kept, n, plan).or(trsm::solve_scratch::<T>(rows, kept, plan));
        let factors = syrk_scratch::<T>(rows, n, plan).or(cholesky::factor_scratch::<T>(rows, plan));
        Ok(exec.scratch.reserve(solves.or(factors))?)
    }

    /// Updates M (n×n) from pairs of rows, of which the first [`ROWS`] count. Consumes them, and
    /// returns the number of combinations.
    ///
    /// * `y`: Y, rows × n
    /// * `d`: δ, rows × n
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn learn(&mut self, y: &mut [T], d: &mut [T], m: MatMut<'_, T>, exec: &mut Exec) -> Result<usize> {
        let n = m.nrows();
        let rows = (y.len() / n).min(ROWS);
        let k = rows.min(COMBINATIONS);
        let (y, d) = (&mut y[..rows * n], &mut d[..rows * n]);
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
        // The rows with the largest solutions come first, unless every solve checks all rows.
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
    let largest = l.iter().step_by(rows + 1).map(|square| square.to_f64()).fold(0.0, f64::max);
    l.iter_mut().step_by(rows + 1).for_each(|square| *square += T::from_f64(RIDGE * largest));
    match cholesky::factor(MatMut::new(l, rows, rows)?, &exec.plan, &mut exec.scratch) {
        Err(KernelError::NotPositiveDefinite { .. } | KernelError::NonFinite { .. }) => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
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
