//! The ground: errors, names, random numbers, files that are whole or absent.

pub(crate) mod error;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod memory;
pub(crate) mod names;
pub mod rng;
pub mod seal;
