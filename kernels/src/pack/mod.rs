//! Packing: operands rearranged into the order in which the tiles read them.

pub(crate) mod operand;
pub(crate) mod panel;
pub(crate) mod prepacked;
