//! Measurements of networks and rules: alignment with backpropagation, orthogonality.

#[cfg(feature = "cli")]
pub(crate) mod align;
pub mod diagnostics;
