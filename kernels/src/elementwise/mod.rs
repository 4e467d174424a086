//! Elementwise kernels and reductions.

pub(crate) mod activation;
pub(crate) mod optimizer;
pub mod perturb;
pub(crate) mod reduce;
