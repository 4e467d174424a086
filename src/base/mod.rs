//! Foundations: errors, execution context, names, random numbers, atomic files.

pub(crate) mod error;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod memory;
pub(crate) mod names;
pub mod rng;
pub mod seal;
