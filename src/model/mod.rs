//! The model: matrices, layers, the forward pass, initial weights, losses.

pub mod activation;
pub mod init;
pub(crate) mod layer;
pub mod loss;
pub(crate) mod matrix;
pub(crate) mod network;
