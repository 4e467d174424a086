//! Operations on vectors, bound by memory: matrix-vector product, rank-1 update, dot product.

pub(crate) mod dot;
pub(crate) mod gemv;
pub(crate) mod ger;

use crate::plan::Plan;

/// Moving one element from memory takes about as long as this many multiply-adds of a product.
const WORK_OF_AN_ELEMENT: usize = 8;

/// Returns the number of threads that passing over `len` elements justifies.
fn threads_for(plan: &Plan, len: usize) -> usize {
    plan.threads_for(len.saturating_mul(WORK_OF_AN_ELEMENT))
}
