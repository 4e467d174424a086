//! Level-3 kernels besides the product: symmetric products and triangular solves.

pub(crate) mod small_triangle;
pub(crate) mod symm;
pub(crate) mod syrk;
pub(crate) mod trsm;
mod trsm_row_major;
