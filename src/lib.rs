#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

// The folders are floors: tests/it/floors.rs has their order.
mod base;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
mod model;
pub mod ortho;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod report;
pub mod rule;
#[cfg(feature = "cli")]
mod run;
pub mod solve;
pub mod step;
mod store;
mod study;
mod train;

pub use base::error::{Error, Result};
pub use base::exec::Exec;
#[doc(hidden)] // for the fuzz targets
pub use base::names::one_line;
pub use base::rng;
#[doc(hidden)] // for the fuzz targets, which would otherwise stop at checksums
pub use base::seal;
pub use gaitprop_kernels as kernels;
pub use model::layer::Layer;
pub use model::matrix::Matrix;
pub use model::network::{Architecture, Network, Trace};
pub use model::{activation, init, loss};
pub use rule::LearningRule;
#[cfg(feature = "cli")]
#[doc(hidden)] // for the fuzz targets
pub use run::config::resolve_text;
pub use store::{checkpoint, weights};
pub use study::{align, diagnostics};
pub use train::{EarlyStopping, Epoch, TrainConfig, Trainer, evaluate};

pub mod optimizer {
    //! Optimizers: from a descent direction to new parameters.
    pub use crate::step::optimizer::{Moments, Optimizer, OptimizerConfig, OptimizerKind};
}
