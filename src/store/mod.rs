//! Weights and checkpoints on disk.

mod archive;
pub mod checkpoint;
pub mod weights;
