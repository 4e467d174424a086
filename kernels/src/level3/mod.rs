//! Level-3 kernels besides the product: products of which one triangle is wanted or stored, and
//! triangular solves.

pub(crate) mod gemmt;
mod rhs_block;
pub(crate) mod small_triangle;
pub(crate) mod symm;
pub(crate) mod syrk;
pub(crate) mod trmm;
pub(crate) mod trsm;
mod trsm_row_major;
