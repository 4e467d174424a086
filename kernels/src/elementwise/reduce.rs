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
