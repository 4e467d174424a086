//! Dot product in f64 and in one fixed order, so that threads and instruction sets cannot change a
//! bit.

use crate::base::error::Error;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::base::scratch::DisjointSlices;
use crate::base::split::part;
use crate::level2::threads_for;
use crate::plan::Plan;
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;
use core::mem::MaybeUninit;

/// Number of independent partial sums: two of the widest vectors.
const LANES: usize = 16;
/// Unit of a block's length. Summing one unit takes as long as waking a thread.
const BLOCK: usize = 1 << 15;
/// Maximum number of blocks.
const MOST_BLOCKS: usize = 64;
/// Number of elements that are copied at a time from operands that are not contiguous.
const COPIED: usize = 256;

/// Returns Σ xᵢ·yᵢ in f64; for x = y, the squared Euclidean norm.
///
/// * `x`, `y`: n×1, any strides
///
/// The order of the sum depends on n alone. Equal blocks of a multiple of 32768 elements (the last
/// may be shorter) are summed by themselves, and their sums are added in order. In a block, lane l
/// of 16 sums the products with i ≡ l (mod 16); the lanes are then added by halving.
///
/// Work: n multiplications and additions.
/// Error bound: γ(n/16 + 70)·Σ|xᵢ·yᵢ| with the unit roundoff of f64.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ or an operand has more than one column.
pub fn dot<T: Real>(x: MatRef<'_, T>, y: MatRef<'_, T>, plan: &Plan) -> Result<f64, Error> {
    let n = x.nrows();
    x.expect_shape("the first operand of a dot product", (n, 1))?;
    y.expect_shape("the second operand of a dot product", (n, 1))?;
    if n <= BLOCK {
        return Ok(block(x, y, plan));
    }
    let len = n.div_ceil(MOST_BLOCKS).next_multiple_of(BLOCK);
    let blocks = n.div_ceil(len);
    let mut sums = [const { MaybeUninit::uninit() }; MOST_BLOCKS];
    let places = DisjointSlices::new(&mut sums[..blocks]);
    let parts = threads_for(plan, n).min(blocks);
    plan.par.split(parts, &|i| {
        let (first, count) = part(blocks, parts, i);
        for b in first..first + count {
            let (at, len) = (b * len, len.min(n - b * len));
            // SAFETY: `part` gives each block to one part, and each part runs once.
            let place = unsafe { places.part(b, 1) };
            place[0].write(block(x.rows(at, len), y.rows(at, len), plan));
        }
    });
    // SAFETY: the loop above has written the sum of every block.
    Ok(sums[..blocks].iter().map(|sum| unsafe { sum.assume_init() }).sum())
}

/// Returns the sum of one block.
fn block<T: Real>(x: MatRef<'_, T>, y: MatRef<'_, T>, plan: &Plan) -> f64 {
    let n = x.nrows();
    let (x, y) = (x.t(), y.t());
    let mut sums = [0.0; LANES];
    match (n > 0).then(|| (x.row(0), y.row(0))) {
        None => {}
        Some((Some(x), Some(y))) => add_products(plan.isa, x, y, &mut sums),
        Some((x_row, y_row)) => {
            let mut copies = [[T::ZERO; COPIED]; 2];
            // Chunks are whole multiples of the lanes, so each product stays in its lane.
            for at in (0..n).step_by(COPIED) {
                let len = COPIED.min(n - at);
                let [x_copy, y_copy] = &mut copies;
                let x = chunk(x, x_row, at, &mut x_copy[..len]);
                let y = chunk(y, y_row, at, &mut y_copy[..len]);
                add_products(plan.isa, x, y, &mut sums);
            }
        }
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

/// Returns elements at .. at + copy.len() of the row `x`, in `copy` if they are not contiguous.
fn chunk<'a, T: Real>(x: MatRef<'a, T>, row: Option<&'a [T]>, at: usize, copy: &'a mut [T]) -> &'a [T] {
    if let Some(row) = row {
        return &row[at..at + copy.len()];
    }
    copy.iter_mut().enumerate().for_each(|(i, v)| *v = x.get(0, at + i));
    copy
}

shells! {
    fn add_products = add_products_body(x: &'a [T], y: &'a [T], sums: &'a mut [f64; LANES])
}

#[inline(always)]
fn add_products_body<T: Scalar, M: Fused>(x: &[T], y: &[T], all: &mut [f64; LANES]) {
    let mut sums = *all;
    let (whole_x, rest_x) = x.as_chunks::<LANES>();
    let (whole_y, rest_y) = y.as_chunks::<LANES>();
    for (x, y) in whole_x.iter().zip(whole_y) {
        for lane in 0..LANES {
            sums[lane] += x[lane].to_f64() * y[lane].to_f64();
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(rest_x).zip(rest_y) {
        *sum += x.to_f64() * y.to_f64();
    }
    *all = sums;
}
