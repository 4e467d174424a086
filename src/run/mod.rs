//! Experiments: options, sessions, folders of results, grids, and batches of runs.

pub(crate) mod batch;
pub(crate) mod checkpoints;
pub(crate) mod choose;
pub(crate) mod config;
pub(crate) mod dir;
pub(crate) mod events;
pub(crate) mod grid;
pub(crate) mod history;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod page;
pub(crate) mod pool;
pub(crate) mod preset;
pub(crate) mod session;
pub(crate) mod table;
