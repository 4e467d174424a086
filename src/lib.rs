#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod activation;
pub mod align;
pub mod checkpoint;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod diagnostics;
mod error;
mod files;
pub mod init;
pub mod inverse;
mod layer;
pub mod loss;
mod matrix;
mod names;
pub mod network;
pub mod optimizer;
pub mod ortho;
pub mod report;
pub mod rng;
pub mod rule;
#[doc(hidden)] // for the fuzz targets, which would otherwise stop at checksums
pub mod seal;
pub mod state;
pub mod step;
pub mod train;

pub use error::{Error, Result};
pub use gaitprop_kernels as kernels;
pub use layer::Layer;
pub use matrix::Matrix;
pub use network::{Architecture, Network};
