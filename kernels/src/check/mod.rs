//! Reference loops that every kernel must equal, and a self-test of the machine.

pub mod reference;
pub mod selftest;
