//! Register tiles: the products that fit the registers of one core. A tile only multiplies.

pub(crate) mod micro_kernel;
pub(crate) mod strip;
pub(crate) mod table;
