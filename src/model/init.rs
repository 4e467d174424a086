//! Initial weights from a seed.

use crate::base::error::Result;
use crate::base::names::names;
use crate::base::rng::Rng;
use crate::model::matrix::Matrix;
use gaitprop_kernels::{MatRef, Plan, Real, Scratch, gemm, reduce};

/// Distribution of initial weights. Biases start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Init {
    /// Orthogonal, uniformly distributed (Haar). The shorter side of a rectangular layer is
    /// orthonormal. The published start.
    Orthogonal,
    /// Normal with variance 2/(n_in + n_out) (Glorot and Bengio, 2010).
    Xavier,
}

names!(Init, "initialization", Orthogonal = "orthogonal", Xavier = "xavier");

/// Draws an n_in × n_out weight matrix.
///
/// All arithmetic is in f64, for every T: f32 starts from the rounded weights of the f64 start.
///
/// # Errors
/// Out of memory.
pub fn weights<T: Real>(init: Init, n_in: usize, n_out: usize, rng: &mut Rng, plan: &Plan) -> Result<Matrix<T>> {
    let len = n_in.saturating_mul(n_out);
    let mut w = Vec::<f64>::new();
    let bytes = len.saturating_mul(size_of::<f64>());
    w.try_reserve_exact(len).map_err(|_| gaitprop_kernels::Error::OutOfMemory { bytes })?;
    w.extend((0..len).map(|_| rng.normal()));
    match init {
        Init::Xavier => {
            let deviation = (2.0 / (n_in + n_out) as f64).sqrt();
            w.iter_mut().for_each(|x| *x *= deviation);
        }
        Init::Orthogonal if n_in <= n_out => orthonormal_rows(&mut w, n_in, n_out, rng, plan)?,
        Init::Orthogonal => {
            // A tall matrix has orthonormal columns: the transpose of a wide one.
            orthonormal_rows(&mut w, n_out, n_in, rng, plan)?;
            let wide = Matrix::from_vec(n_out, n_in, w)?;
            w = wide.view().t().to_vec();
        }
    }
    Matrix::from_vec(n_in, n_out, w.into_iter().map(T::from_f64).collect())
}

/// Number of rows in one block of Gram–Schmidt.
const BLOCK: usize = 32;

/// Makes the rows of a normal matrix orthonormal by block Gram–Schmidt.
///
/// Each block takes two passes. One pass loses orthogonality; two are enough (Giraud, Langou and
/// Rozložník, 2005). The triangular factor has a positive diagonal, so the result is
/// Haar-distributed (Mezzadri, How to generate random matrices from the classical compact groups,
/// 2007).
fn orthonormal_rows(w: &mut [f64], rows: usize, cols: usize, rng: &mut Rng, plan: &Plan) -> Result<()> {
    let mut scratch = Scratch::new();
    let mut overlap = Matrix::<f64>::zeros(BLOCK, rows);
    for first in (0..rows).step_by(BLOCK) {
        let count = BLOCK.min(rows - first);
        let (done, open) = w.split_at_mut(first * cols);
        let block = &mut open[..count * cols];
        let done = gaitprop_kernels::MatRef::new(done, first, cols)?;
        for _ in 0..2 {
            // block −= (block · doneᵀ) · done
            let mut overlap = overlap.top_left_mut(count, first);
            let view = gaitprop_kernels::MatRef::new(block, count, cols)?;
            gemm(1.0, view, done.t(), 0.0, overlap.rb(), plan, &mut scratch)?;
            let view = gaitprop_kernels::MatMut::new(block, count, cols)?;
            gemm(-1.0, overlap.as_ref(), done, 1.0, view, plan, &mut scratch)?;
            for i in 0..count {
                let (before, rest) = block.split_at_mut(i * cols);
                let row = &mut rest[..cols];
                for _ in 0..2 {
                    for other in before.chunks_exact(cols) {
                        let along = dot(row, other, plan)?;
                        row.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
                    }
                }
                let norm = dot(row, row, plan)?.sqrt();
                if norm > 1e-8 {
                    row.iter_mut().for_each(|x| *x /= norm);
                } else {
                    // Dependent to working precision (probability practically 0): draw a new
                    // direction.
                    row.iter_mut().for_each(|x| *x = rng.normal());
                    return orthonormal_rows(w, rows, cols, rng, plan);
                }
            }
        }
    }
    Ok(())
}

fn dot(a: &[f64], b: &[f64], plan: &Plan) -> Result<f64> {
    Ok(reduce::dot(MatRef::new(a, a.len(), 1)?, MatRef::new(b, b.len(), 1)?, plan)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_weights_are_orthogonal_to_rounding() {
        let plan = Plan::new();
        for (n_in, n_out) in [(1, 1), (5, 5), (64, 64), (100, 100), (40, 70), (70, 40), (33, 1)] {
            let w = weights::<f64>(Init::Orthogonal, n_in, n_out, &mut Rng::new(1, 0), &plan).unwrap();
            let view = if n_in <= n_out { w.view() } else { w.view().t() };
            let n = view.nrows();
            for i in 0..n {
                for j in 0..n {
                    let dot: f64 = (0..view.ncols()).map(|k| view.get(i, k) * view.get(j, k)).sum();
                    let want = f64::from(u8::from(i == j));
                    assert!((dot - want).abs() < 2e-15, "{n_in}x{n_out} ({i}, {j}): {dot}");
                }
            }
        }
    }

    /// E[w_ij] = 0, E[w_ij²] = 1/n and E[det] = 0 for Haar matrices. A missing sign convention
    /// violates the first.
    #[test]
    fn haar_moments() {
        let plan = Plan::new();
        let mut rng = Rng::new(11, 0);
        let (n, draws) = (4, 4000);
        let mut mean = vec![0.0; n * n];
        let mut square = vec![0.0; n * n];
        for _ in 0..draws {
            let w = weights::<f64>(Init::Orthogonal, n, n, &mut rng, &plan).unwrap();
            for (k, &x) in w.data().iter().enumerate() {
                mean[k] += x / f64::from(draws);
                square[k] += x * x / f64::from(draws);
            }
        }
        for k in 0..n * n {
            // Standard deviations 1/2 and about 0.22: five standard errors.
            assert!(mean[k].abs() < 5.0 * 0.5 / f64::from(draws).sqrt(), "{}", mean[k]);
            assert!((square[k] - 0.25).abs() < 5.0 * 0.22 / f64::from(draws).sqrt(), "{}", square[k]);
        }
    }

    #[test]
    fn f32_weights_are_the_rounded_f64_ones() {
        let plan = Plan::new();
        for init in [Init::Orthogonal, Init::Xavier] {
            let wide = weights::<f64>(init, 20, 30, &mut Rng::new(5, 0), &plan).unwrap();
            let narrow = weights::<f32>(init, 20, 30, &mut Rng::new(5, 0), &plan).unwrap();
            assert!(wide.data().iter().zip(narrow.data()).all(|(&w, &n)| w as f32 == n));
        }
    }
}
