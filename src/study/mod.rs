//! Measurements of networks and rules: alignment with backpropagation, orthogonality.

pub mod align;
pub mod diagnostics;
