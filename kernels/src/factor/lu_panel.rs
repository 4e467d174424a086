//! The panel of an LU factorization, in scratch: column-major, so that every vector runs down a
//! column.
//!
//! ```text
//!      rows of the matrix →
//!    ┌──────────────────────────┄ padding
//!  c │ column 0: u│l l l l l …    0 0     column j:
//!  o │ column 1: u u│l l l l …    0 0     1. subtract the base's earlier columns; find the pivot
//!  l │ …                                  2. exchange rows j and p in all columns
//!  s └──────────────────────────┄         3. divide by the pivot
//! ```
//!
//! [`BASE`] columns at a time are factored this way, left-looking. Register tiles then update the
//! columns after them.

use crate::base::error::Error;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::base::split::near_equal;
use crate::plan::Plan;
use crate::simd::dispatch::{Fused, shells};
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;

/// Maximum number of columns of a panel.
pub(super) const PANEL: usize = 64;
/// Maximum number of columns that are factored before the panel's other columns are updated.
const BASE: usize = 16;
/// Number of elements of a column processed at a time: four f32 vectors of AVX2, two of AVX-512.
const CHUNK: usize = 32;

/// Returns the leading dimension for `m` rows.
///
/// Padding lets whole vectors start at any row. The distance in bytes is never a multiple of 1024,
/// so columns do not compete for the same sets of L1.
pub(super) fn ld<T>(m: usize) -> usize {
    let ld = (m.saturating_add(CHUNK + 16)) / 16 * 16;
    if ld.wrapping_mul(size_of::<T>()).is_multiple_of(1024) { ld.saturating_add(16) } else { ld }
}

/// Factors the m×n panel (m ≥ n) in `columns`.
///
/// * `columns`: element (i, j) is columns[j · ld + i]; elements from row m on are 0
/// * `ld`: from [`ld`]
/// * `pivots`: n elements, overwritten by row numbers of the panel
/// * `at`: column of the whole matrix at which the panel starts, for errors
pub(super) fn factor<T: Real>(
    plan: &Plan,
    columns: &mut [T],
    ld: usize,
    (m, n): (usize, usize),
    pivots: &mut [usize],
    at: usize,
) -> Result<(), Error> {
    let tiles = T::tiles(plan.isa);
    let mr = plan.blocking.map_or(tiles.mr, |b| b.mr().min(tiles.mr));
    for (first, count) in near_equal(n, BASE) {
        base(plan.isa, columns, ld, m, (first, count), pivots, at)?;
        let (done, open) = columns.split_at_mut((first + count) * ld);
        let done = &done[first * ld..];
        // L11 · U12 = A12, column by column.
        for column in open.chunks_exact_mut(ld).take(n - first - count) {
            base_column(plan.isa, done, ld, first, count, column);
        }
        let below = first + count;
        for (j, rows) in near_equal(n - below, mr) {
            let open = &mut open[j * ld..][..rows * ld];
            // U12 lies in the same columns as the tiles' C, in other rows. The copy lets both be
            // borrowed.
            let mut upper = [T::ZERO; BASE * 16];
            for (k, step) in upper.chunks_exact_mut(rows).take(count).enumerate() {
                step.iter_mut().enumerate().for_each(|(r, u)| *u = open[r * ld + first + k]);
            }
            let upper = Coefficients::of(MatRef::strided(&upper, 0, (rows, count), (1, rows as isize))?);
            for lane in (below..m).step_by(tiles.nr()) {
                let cols = tiles.nr().min(m - lane);
                // SAFETY: `upper` lives on this stack frame. From row `lane` < m on, whole vectors
                // of `cols` elements end inside the column's `ld` elements, which `ld` pads:
                // `count` columns in `done`, `rows` in `open`. `upper` and both slices are
                // disjoint.
                unsafe {
                    let (b, c) = (done.as_ptr().add(lane), open.as_mut_ptr().add(lane));
                    subtract(plan.isa, upper, b, ld as isize, c, ld as isize, cols);
                }
            }
        }
    }
    Ok(())
}

shells! {
    /// Solves L11·u = a for the part of one column in the base's rows.
    ///
    /// `done` starts at the base's first column, and `first` is that column's index.
    fn base_column = base_column_body(done: &'a [T], ld: usize, first: usize, count: usize, column: &'a mut [T])
}

#[inline(always)]
fn base_column_body<T: Scalar, M: Fused>(done: &[T], ld: usize, first: usize, count: usize, column: &mut [T]) {
    let column = &mut column[first..first + count];
    for k in 0..count {
        let (known, open) = column.split_at_mut(k + 1);
        let l = &done[k * ld + first + k + 1..][..open.len()];
        for (v, &l) in open.iter_mut().zip(l) {
            *v = M::fma(-l, known[k], *v);
        }
    }
}

shells! {
    /// Factors columns first .. first + count, where (first, count) = `which`. Exchanges rows in
    /// all columns.
    fn base = base_body(
        columns: &'a mut [T], ld: usize, m: usize, which: (usize, usize), pivots: &'a mut [usize], at: usize
    ) -> Result<(), Error>
}

#[inline(always)]
fn base_body<T: Scalar, M: Fused>(
    columns: &mut [T],
    ld: usize,
    m: usize,
    (first, count): (usize, usize),
    pivots: &mut [usize],
    at: usize,
) -> Result<(), Error> {
    for j in first..first + count {
        let (done, open) = columns.split_at_mut(j * ld);
        let (done, column) = (&done[first * ld..], &mut open[..ld]);
        base_column_body::<T, M>(done, ld, first, j - first, column);
        let mut upper = [T::ZERO; BASE];
        upper[..j - first].copy_from_slice(&column[first..j]);
        // The padding from row m on stays 0, so it is never the pivot, and no vector needs a mask.
        let mut best = [T::ZERO; CHUNK];
        let mut nonfinite = [T::ZERO; CHUNK];
        for i in (j..m).step_by(CHUNK) {
            let chunk = column[i..].first_chunk_mut::<CHUNK>().expect("columns are padded");
            let mut acc = *chunk;
            for (k, &u) in upper[..j - first].iter().enumerate() {
                let l = done[k * ld + i..].first_chunk::<CHUNK>().expect("columns are padded");
                for (v, &l) in acc.iter_mut().zip(l) {
                    *v = M::fma(-l, u, *v);
                }
            }
            *chunk = acc;
            for ((best, nonfinite), v) in best.iter_mut().zip(&mut nonfinite).zip(acc) {
                let size = v.abs();
                *best = if size > *best { size } else { *best };
                // 0 while all elements are finite, NaN after the first that is not.
                *nonfinite = M::fma(v, T::ZERO, *nonfinite);
            }
        }
        let largest = best.iter().fold(T::ZERO, |a, &b| if b > a { b } else { a });
        if nonfinite.iter().any(|b| !(*b == T::ZERO)) {
            return Err(Error::NonFinite { index: at + j });
        }
        if largest == T::ZERO {
            return Err(Error::ZeroPivot { index: at + j });
        }
        // The pivot is the first of the largest elements.
        let mut p = j;
        for (block, values) in column[j..m].chunks(CHUNK).enumerate() {
            if values.iter().fold(false, |found, v| found | (v.abs() == largest)) {
                p = j + block * CHUNK + values.iter().position(|v| v.abs() == largest).expect("the fold found it");
                break;
            }
        }
        pivots[j] = p;
        if p != j {
            columns.chunks_exact_mut(ld).for_each(|column| column.swap(j, p));
        }
        let column = &mut columns[j * ld..][..m];
        let pivot = column[j];
        column[j + 1..].iter_mut().for_each(|v| *v = *v / pivot);
    }
    Ok(())
}
