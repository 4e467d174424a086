//! Factorizations and the solves with their factors.

pub mod cholesky;
pub mod lu;
#[cfg(feature = "std")]
mod lu_lookahead;
mod lu_panel;
mod row_exchange;
