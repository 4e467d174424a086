//! Weights and checkpoints on disk.

pub(crate) mod archive;
pub mod checkpoint;
pub mod weights;
