//! Sums, in f64 and in one fixed order, so that threads and instruction sets cannot change them.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;

/// Rows below which [`column_means`] adds one after another; above, halves are added to each other.
const RUN: usize = 8;

/// The mean over the rows of `x` (batch×n) into `out` (n): a tree that halves the batch, sums of 8 rows at its leaves, all in f64.
///
/// # Errors
/// [`Error::Shape`] if `out` is not n long.
pub fn column_means<T: Real>(x: MatRef<'_, T>, out: &mut [T], isa: Isa) -> Result<(), Error> {
    if out.len() != x.ncols() {
        return Err(Error::Shape { what: "the means", expected: (1, x.ncols()), found: (1, out.len()) });
    }
    means(isa, x, out);
    Ok(())
}

shells! {
    fn means = means_body(x: MatRef<'_, T>, out: &mut [T])
}

#[inline(always)]
fn means_body<T: Scalar, M: Fused>(x: MatRef<'_, T>, out: &mut [T]) {
    let batch = x.nrows();
    for (c, out) in out.chunks_mut(LANES).enumerate() {
        let sums = tree(x.cols(c * LANES, out.len()), 0, batch);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::from_f64(sum / batch.max(1) as f64);
        }
    }
}

/// The sums of rows from .. to, of up to [`LANES`] columns at once.
#[inline]
fn tree<T: Scalar>(x: MatRef<'_, T>, from: usize, to: usize) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    if to - from > RUN {
        let middle = from + (to - from) / 2;
        let (a, b) = (tree(x, from, middle), tree(x, middle, to));
        (0..LANES).for_each(|lane| sums[lane] = a[lane] + b[lane]);
        return sums;
    }
    for i in from..to {
        if let Some(row) = x.row(i) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v.to_f64());
        } else {
            sums.iter_mut().enumerate().take(x.ncols()).for_each(|(j, sum)| *sum += x.get(i, j).to_f64());
        }
    }
    sums
}

/// Sums carried side by side: enough for two of the widest words.
const LANES: usize = 16;

/// Σ aᵢ bᵢ in f64: 16 interleaved sums, added by halving at the end. With a = b, the square of the Euclidean norm.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ.
pub fn dot<T: Real>(a: &[T], b: &[T], isa: Isa) -> Result<f64, Error> {
    if a.len() != b.len() {
        let (expected, found) = ((1, a.len()), (1, b.len()));
        return Err(Error::Shape { what: "the second factor of a scalar product", expected, found });
    }
    Ok(dot_all(isa, a, b))
}

shells! {
    fn dot_all = dot_body(a: &[T], b: &[T]) -> f64
}

#[inline(always)]
fn dot_body<T: Scalar, M: Fused>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0f64; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane].to_f64() * b[lane].to_f64();
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += a.to_f64() * b.to_f64();
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
