//! Vector registers, one file per instruction set, and the copies and transposes built on them.
//!
//! An x86-64 target without SSE2 (such as that of an operating-system kernel) passes floats in
//! other registers. It gets the portable vectors only.

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(crate) mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(crate) mod avx512;
pub(crate) mod copy;
pub(crate) mod dispatch;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
pub(crate) mod transpose;
pub(crate) mod vector;
