//! Measurements of networks and rules: alignment with backpropagation and with Gauss-Newton targets,
//! orthogonality.

#[cfg(feature = "cli")]
pub(crate) mod align;
pub mod diagnostics;
pub mod gauss_newton;
