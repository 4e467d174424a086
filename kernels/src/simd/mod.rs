//! Vector registers, one file an instruction set. Nothing here knows what a matrix is but `copy`,
//! which moves one.
//!
//! An x86-64 target without SSE2 (such as a kernel's) passes floats in other registers; it has the
//! portable vectors alone.

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
