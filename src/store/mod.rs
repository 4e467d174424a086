//! Weights and checkpoints on disk.

pub mod checkpoint;
pub mod weights;
