//! C interface of gaitprop's kernels: `libgaitprop`, described by `include/gaitprop.h`.
//!
//! Each function of the header stands in the module of its theme, once for floats and once for
//! doubles, written out because the header is made from the source text. Both call one generic
//! function, which turns the operands into views and calls the kernel.
//!
//! * [`context`]: contexts, and the door of every call: busy flag, panics, errors
//! * `view`: checks of operands
//! * [`status`], [`types`], [`threads`]: what C passes and receives
//! * [`product`], [`triangular`], [`factor`], [`packed`], [`linear`], [`elementwise`], [`reserve`]:
//!   the kernels
//!
//! Unsafe code rests on one contract, which the head of the header states: what the caller promises
//! about pointers. Each `SAFETY` note that names the caller means it.

#![allow(non_camel_case_types, reason = "names are those of the header")]
#![allow(clippy::missing_safety_doc, reason = "the head of the header states the contract of all functions once")]
#![allow(rustdoc::broken_intra_doc_links, reason = "an index in the text of the header is no link")]
#![allow(clippy::too_many_arguments, reason = "C passes an operand as an argument")]

pub mod context;
pub mod elementwise;
pub mod factor;
pub mod linear;
pub mod packed;
pub mod product;
pub mod reserve;
pub mod status;
pub mod threads;
pub mod triangular;
pub mod types;
mod view;
