//! Row exchanges of a factorization with pivoting.

use crate::base::matrix::MatMut;
use crate::base::once::once;
use crate::base::split::part;
use crate::plan::Plan;
use crate::tile::table::Real;

once! {
    /// Exchanges row k with row `pivots[k]`, for k = 0, 1, … in order. Threads share the columns.
    pub(super) fn exchange_rows<T: Real> = exchange_rows_body(a: MatMut<'a, T>, pivots: &'a [usize], plan: &'a Plan)
}

fn exchange_rows_body<T: Real>(a: MatMut<'_, T>, pivots: &[usize], plan: &Plan) {
    let n = a.ncols();
    // Moving one element costs about as much as eight multiply-adds.
    let work = pivots.len().saturating_mul(n).saturating_mul(16);
    let parts = plan.threads_for(work).min(n.max(1));
    plan.par.split(parts, &|i| {
        let (first, count) = part(n, parts, i);
        // SAFETY: parts are disjoint columns, and `split` runs each part once.
        let mut own = unsafe { a.alias() }.cols(first, count);
        if own.rs() == 1 && count > 0 {
            for c in 0..count {
                let mut column = own.rb().cols(c, 1).t();
                let column = column.row_mut(0).expect("the row stride is 1");
                pivots.iter().enumerate().for_each(|(k, &p)| column.swap(k, p));
            }
        } else {
            pivots.iter().enumerate().for_each(|(k, &p)| exchange(&mut own, k, p));
        }
    });
}

/// Exchanges rows `i` and `j`.
pub(super) fn exchange<T: Real>(a: &mut MatMut<'_, T>, i: usize, j: usize) {
    if i == j {
        return;
    }
    let (low, high) = (i.min(j), i.max(j));
    let (mut above, mut below) = a.rb().split_rows(high);
    match (above.row_mut(low), below.row_mut(0)) {
        (Some(x), Some(y)) => x.swap_with_slice(y),
        _ => {
            for c in 0..above.ncols() {
                let (x, y) = (above.get(low, c), below.get(0, c));
                above.set(low, c, y);
                below.set(0, c, x);
            }
        }
    }
}
