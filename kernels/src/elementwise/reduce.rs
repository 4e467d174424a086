//! Sums in f64 and in one fixed order, so that threads and instruction sets cannot change a bit.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;

/// Number of rows up to which [`column_means`] adds one row after another. Above, it adds the sums
/// of two halves.
const LEAF_ROWS: usize = 8;

/// Number of independent partial sums: two of the widest vectors.
const PARTIAL_SUMS: usize = 16;

/// Writes the mean over the rows of `x` (batch×n) into `out` (n).
///
/// The sums are f64. A binary tree halves the batch; each leaf sums at most 8 rows.
///
/// # Errors
/// [`Error::Shape`] if `out` does not have n elements.
pub fn column_means<T: Real>(x: MatRef<'_, T>, out: &mut [T], isa: Isa) -> Result<(), Error> {
    if out.len() != x.ncols() {
        return Err(Error::Shape { what: "the means", expected: (1, x.ncols()), found: (1, out.len()) });
    }
    means(isa, x, out);
    Ok(())
}

shells! {
    fn means = means_body(x: MatRef<'a, T>, out: &'a mut [T])
}

#[inline(always)]
fn means_body<T: Scalar, M: Fused>(x: MatRef<'_, T>, out: &mut [T]) {
    let batch = x.nrows();
    for (c, out) in out.chunks_mut(PARTIAL_SUMS).enumerate() {
        let sums = tree(x.cols(c * PARTIAL_SUMS, out.len()), 0, batch);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::from_f64(sum / batch.max(1) as f64);
        }
    }
}

/// Returns the sums of rows `from .. to` for up to [`PARTIAL_SUMS`] columns.
#[inline]
fn tree<T: Scalar>(x: MatRef<'_, T>, from: usize, to: usize) -> [f64; PARTIAL_SUMS] {
    let mut sums = [0.0; PARTIAL_SUMS];
    if to - from > LEAF_ROWS {
        let middle = from + (to - from) / 2;
        let (a, b) = (tree(x, from, middle), tree(x, middle, to));
        (0..PARTIAL_SUMS).for_each(|lane| sums[lane] = a[lane] + b[lane]);
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

/// Returns Σ aᵢ·bᵢ in f64; for a = b, the squared Euclidean norm.
///
/// Lane l of 16 sums the products with i ≡ l (mod 16). The lanes are then added by halving.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ.
pub fn dot<T: Real>(a: &[T], b: &[T], isa: Isa) -> Result<f64, Error> {
    if a.len() != b.len() {
        let (expected, found) = ((1, a.len()), (1, b.len()));
        return Err(Error::Shape { what: "the second operand of a dot product", expected, found });
    }
    Ok(dot_all(isa, a, b))
}

shells! {
    fn dot_all = dot_body(a: &'a [T], b: &'a [T]) -> f64
}

#[inline(always)]
fn dot_body<T: Scalar, M: Fused>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0f64; PARTIAL_SUMS];
    let (whole_a, rest_a) = a.as_chunks::<PARTIAL_SUMS>();
    let (whole_b, rest_b) = b.as_chunks::<PARTIAL_SUMS>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..PARTIAL_SUMS {
            sums[lane] += a[lane].to_f64() * b[lane].to_f64();
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += a.to_f64() * b.to_f64();
    }
    let mut width = PARTIAL_SUMS / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
