#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

// The folders are floors: tests/it/floors.rs has their order.
mod base;
#[doc(hidden)]
pub mod cli;
pub mod data;
mod model;
pub mod ortho;
pub mod report;
pub mod rule;
mod run;
pub mod solve;
pub mod step;
mod store;
mod study;
pub mod train;

pub use base::error::{Error, Result};
pub use base::exec::Exec;
pub use base::rng;
#[doc(hidden)] // for the fuzz targets, which would otherwise stop at checksums
pub use base::seal;
pub use gaitprop_kernels as kernels;
pub use model::layer::Layer;
pub use model::matrix::Matrix;
pub use model::network::{Architecture, Network};
pub use model::{activation, init, loss, network};
pub use rule::LearningRule;
pub use step::optimizer;
pub use store::{checkpoint, weights};
pub use study::{align, diagnostics};
pub use train::{TrainConfig, Trainer};
#[doc(hidden)] // for the fuzz targets
pub use {base::names::one_line, run::config::resolve_text};
