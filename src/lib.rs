#![forbid(unsafe_code)]
//! Training with GAIT-prop, a learning rule that gives backpropagation's updates without
//! backpropagation: exact at any depth, and bit-identical on every machine.
//!
//! ```
//! use gaitprop::{Architecture, LearningRule, TrainConfig, Trainer, data};
//!
//! let digits = data::load("digits", &data::LoadOptions::default())?.prepare::<f32>(data::Scaling::Unit)?;
//! let arch = Architecture::square(64, 64, 1, 10)?; // inputs, width, hidden layers, classes
//! let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Gait) };
//! let mut trainer = Trainer::new(&arch, config, 1)?;
//! for _ in 0..10 {
//!     trainer.epoch(&digits.train)?;
//! }
//! assert!(trainer.evaluate(&digits.test)?.accuracy() > 0.9);
//! # Ok::<(), gaitprop::Error>(())
//! ```
//!
//! `examples/embed.rs` trains inside another program and in a loop of its own.
//! `examples/own_rule.rs` adds a learning rule.
//!
//! | item | content |
//! |---|---|
//! | [`Network`], [`Architecture`], [`init`], [`loss`] | networks and their parts |
//! | [`rule`] | learning rules: how an error reaches the layer below |
//! | [`solve`] | solvers for W⁻¹ |
//! | [`ortho`] | regularizers and holds: orthogonal weights |
//! | [`step`], [`optimizer`] | one training step, in the order of the paper's listing |
//! | [`Trainer`], [`TrainConfig`], [`EarlyStopping`], [`evaluate`] | epochs, settings, evaluation |
//! | [`data`] | labeled data sets and their scaling |
//! | [`checkpoint`], [`weights`] | training states and weights as bytes |
//! | [`diagnostics`] | comparison with backpropagation, figures of each layer |
//! | [`gauss_newton`] | the updates that target propagation approximates |
//! | [`Exec`], [`kernels`] | execution context; products, factorizations, threads |
//!
//! **Errors.** Functions return an [`Error`] for invalid data and do not panic on it. A step that
//! fails before its update changes no parameter; [`Trainer`] goes back to the start of the epoch
//! after a later failure.
//!
//! **Features.** `cli` (default): the program, its folders of results, the report. `npz` (with
//! `cli`): NumPy archives as data. `matrixmultiply` (default) and `openblas`: other backends for
//! matrix products.
//!
//! **Words.**
//!
//! * *rule*: how an error reaches the layer below; *target rules* (GAIT, ITP, TP) use W⁻¹.
//! * *delta*: `δ = D ∘ e`, the error times the slope of the activation.
//! * *ending*: what a step does with the deltas: gradients, a fused update or a rotation.
//! * *solver*: sends a batch of errors through W⁻¹.
//! * *hold*: keeps weights orthogonal after an update, besides the regularizer.
//! * *tower*: square layers of decreasing width, each fed by the first units of the layer below.
//! * *auxiliary unit*: a unit without a target; it carries information for the inverse.
//! * *label unit*: one of the first units of the last layer, one for each class.

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
#[doc(hidden)] // for tests
pub use model::activation;
pub use model::layer::Layer;
pub use model::matrix::Matrix;
pub use model::network::{Architecture, Network, Trace};
pub use model::{init, loss};
pub use rule::LearningRule;
#[cfg(feature = "cli")]
#[doc(hidden)] // for the fuzz targets
pub use run::config::resolve_text;
pub use store::{checkpoint, weights};
pub use study::{diagnostics, gauss_newton};
pub use train::{EarlyStopping, Epoch, Preset, TrainConfig, Trainer, evaluate};

pub mod optimizer {
    //! Optimizers: from a descent direction to new parameters.
    pub use crate::step::optimizer::{Moments, Optimizer, OptimizerConfig, OptimizerKind};
}

/// Runs the code blocks of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
