//! The lowest floor: element types, views, memory, threads and integer partitions.

pub(crate) mod batch;
pub(crate) mod error;
pub(crate) mod flags;
pub(crate) mod isa;
pub(crate) mod matrix;
pub(crate) mod once;
pub(crate) mod par;
pub(crate) mod scalar;
pub(crate) mod scratch;
pub(crate) mod split;
#[cfg(feature = "threads")]
pub(crate) mod team;
pub(crate) mod threads;
