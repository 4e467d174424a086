//! A panel of an LU factorisation, in scratch: column after column, so that every vector runs down a column.
//!
//! ```text
//!      lanes (rows of the matrix) →
//!    ┌──────────────────────────┄ pad
//!  c │ column 0: u│l l l l l …    0 0
//!  o │ column 1: u u│l l l l …    0 0     column j: its links with the base's earlier columns, while the largest element is looked for;
//!  l │ …                                  the exchange, in all columns; one division an element
//!  s └──────────────────────────┄
//! ```
//!
//! BASE columns are factored this way, left-looking; the columns behind them are then brought up to date by register tiles.

use crate::base::error::Error;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::base::split::near_equal;
use crate::plan::Plan;
use crate::simd::dispatch::{Fused, shells};
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;

/// Columns up to which a panel is factored in scratch, column by column.
pub(super) const PANEL: usize = 64;
/// Columns factored before the others are updated.
const BASE: usize = 16;
/// Elements of a column worked on at a time: four words of AVX2, two of AVX-512.
const LANES: usize = 32;

/// From one column to the next: room for whole vectors from any row on, and never a power of two apart.
pub(super) fn ld<T>(m: usize) -> usize {
    let ld = (m.saturating_add(LANES + 16)) / 16 * 16;
    if ld.wrapping_mul(size_of::<T>()).is_multiple_of(1024) { ld.saturating_add(16) } else { ld }
}

/// Factors the m×n panel (m ≥ n) in `columns`: element (i, j) is columns[j · ld + i], elements behind row m are 0.
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
            // U12 stands in the columns that the tiles write, though not where they write: a copy keeps the two apart.
            let mut upper = [T::ZERO; BASE * 16];
            for (k, step) in upper.chunks_exact_mut(rows).take(count).enumerate() {
                step.iter_mut().enumerate().for_each(|(r, u)| *u = open[r * ld + first + k]);
            }
            let upper = Coefficients::of(MatRef::strided(&upper, 0, (rows, count), (1, rows as isize))?);
            for lane in (below..m).step_by(tiles.nr()) {
                let cols = tiles.nr().min(m - lane);
                // SAFETY: `upper` is alive. Whole words of the `count` columns in `done` and of the `rows` columns in `open` from `lane` on end before the
                // next column does: `ld` leaves room for them. The two slices and `upper` are disjoint.
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
    /// The links of one column with a base's columns, in the base's own rows.
    fn base_column = base_column_body(done: &[T], ld: usize, first: usize, count: usize, column: &mut [T])
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
    /// Columns first .. first + count, with exchanges in all columns.
    fn base = base_body(columns: &mut [T], ld: usize, m: usize, which: (usize, usize), pivots: &mut [usize], at: usize) -> Result<(), Error>
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
        // Zeros behind row m stay zeros: they are never the largest, and whole vectors need no edge.
        let mut best = [T::ZERO; LANES];
        let mut broken = [T::ZERO; LANES];
        for i in (j..m).step_by(LANES) {
            let place = column[i..].first_chunk_mut::<LANES>().expect("room behind the last row");
            let mut acc = *place;
            for (k, &u) in upper[..j - first].iter().enumerate() {
                let l = done[k * ld + i..].first_chunk::<LANES>().expect("room behind the last row");
                for (v, &l) in acc.iter_mut().zip(l) {
                    *v = M::fma(-l, u, *v);
                }
            }
            *place = acc;
            for ((best, broken), v) in best.iter_mut().zip(&mut broken).zip(acc) {
                let size = v.abs();
                *best = if size > *best { size } else { *best };
                // 0 as long as all are finite, NaN from then on.
                *broken = M::fma(v, T::ZERO, *broken);
            }
        }
        let largest = best.iter().fold(T::ZERO, |a, &b| if b > a { b } else { a });
        if broken.iter().any(|b| !(*b == T::ZERO)) {
            return Err(Error::NonFinite { index: at + j });
        }
        if largest == T::ZERO {
            return Err(Error::ZeroPivot { index: at + j });
        }
        // The first of the largest.
        let mut p = j;
        for (block, values) in column[j..m].chunks(LANES).enumerate() {
            if values.iter().fold(false, |found, v| found | (v.abs() == largest)) {
                p = j + block * LANES + values.iter().position(|v| v.abs() == largest).expect("just found");
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
