//! What every kernel must equal, and whether it does on this machine.

pub mod reference;
pub mod selftest;
