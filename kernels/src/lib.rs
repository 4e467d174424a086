//! Kernels for training small networks exactly and fast: products, LU and Cholesky factorizations,
//! triangular solves, and the fused perturbation of GAIT-prop.
//!
//! The crate guarantees **the same bits everywhere**. Every result equals that of the readable
//! loops in [`mod@reference`] in every bit: on AVX-512, AVX2, NEON and portable code, with any
//! blocking, strides and number of threads.
//!
//! Kernels never panic on caller data: invalid input returns an [`Error`]. Only methods that take
//! an index or a block panic, if it is out of range. Their section "Panics" says so.
//!
//! * [`MatRef`], [`MatMut`]: strided views of slices, the matrices of this crate.
//! * [`Plan`]: how to compute (instruction set, blocking, threads, backend); the caller passes it.
//! * [`Scratch`]: workspace that the caller owns and passes. It grows on first use; later calls do
//!   not allocate.
//! * [`BatchRef`], [`BatchMut`], [`gemm_batched()`]: many products in one call.
//! * [`gemm()`], [`gemmt`], [`syrk`], [`syr2k`], [`symm`], [`trmm`], [`trsm`], [`lu`], [`cholesky`],
//!   [`gemv`], [`ger`], [`perturb`], [`epilogue`], [`reduce`]: the kernels.
//! * [`selftest`]: checks that this machine computes these bits.
//!
//! Bias, activation and optimizer updates exist in two forms with the same bits: as passes over
//! memory ([`epilogue`]), and fused into products ([`gemm_with`]). The [`guide`] has one page per
//! family of kernels, which also explains how to extend it.
//!
//! # Glossary
//! * *chain*: the fused multiply-adds of one element of C, in increasing k.
//! * *tile*: MR × NR elements of C whose chains stay in registers.
//! * *panel*: MR rows of A or NR columns of B, stored k by k for the tile.
//! * *block*: MC × KC elements of A or KC × NC elements of B, which fit a cache.
//! * *strip*: one tile on unpacked operands, inside a solve or a factorization.
//! * *portable*: Rust without intrinsics; emulates the fused multiply-add if the target lacks it.
//! * *prepacked*: packed once by the caller ([`PackedRhs`]) for many products.
//! * *slope*: f′(h), the derivative of an activation function.
//!
//! # Floors
//! The folders are floors, from bottom to top: `base`, `simd`, `tile`, `elementwise`, `plan`,
//! `pack`, `gemm`, `level2`, `level3`, `factor`, `check`. A file imports from its own floor and
//! lower ones; `tests/it/floors.rs` checks this. Only `lib.rs` re-exports other floors.
//!
//! # Rules for `unsafe`
//! Unsafe code stands in three places: where slices and pointers become views (`base/matrix`,
//! `base/batch`); where threads get memory and disjoint blocks (`base/scratch`, `base/team`,
//! `base/par`, the kernels that split work); and at intrinsics, tiles and unchecked pointers to rows
//! (`simd`, `tile`, `elementwise`, `plan/blocking`, `pack`, `gemm`, `level2`, `level3`, `factor`). A
//! safe function checks lengths and shapes once. Every `SAFETY` note names its fact and where that
//! was established. Kernels reach an instruction set only through an [`Isa`], which only detection
//! creates.

#![cfg_attr(not(any(feature = "std", test)), no_std)]

extern crate alloc;

pub(crate) mod base;
pub(crate) mod check;
pub(crate) mod elementwise;
pub(crate) mod factor;
pub(crate) mod gemm;
pub mod guide;
pub(crate) mod level2;
pub(crate) mod level3;
pub(crate) mod pack;
pub(crate) mod plan;
pub(crate) mod simd;
pub(crate) mod tile;

pub use base::batch::{BatchMut, BatchRef};
pub use base::error::Error;
pub use base::isa::Isa;
pub use base::matrix::{MatMut, MatRef, RowIter};
pub use base::par::Par;
pub use base::scalar::Scalar;
pub use base::scratch::{Scratch, ScratchReq};
#[cfg(feature = "threads")]
pub use base::team::Team;
pub use base::threads::Threads;
pub use check::{reference, selftest};
pub use elementwise::activation::Activation;
pub use elementwise::perturb;
pub use factor::{cholesky, lu};
pub use gemm::batched::{gemm_batched, gemm_batched_scratch, gemm_batched_views, gemm_batched_views_scratch};
pub use gemm::epilogue::{Epilogue, Update};
pub use gemm::fused::{Rhs, gemm_with, gemm_with_scratch};
pub use gemm::job::Start;
pub use gemm::{gemm, gemm_scratch};
pub use pack::prepacked::{Orientation, PackedRhs, Panels};
pub use plan::backend::Backend;
pub use plan::blocking::{Blocking, Caches};
pub use plan::{Packing, Plan};
pub use tile::table::Real;

pub mod epilogue {
    //! Passes over finished elements: bias, activation, and optimizer updates.
    //!
    //! [`Epilogue`](crate::Epilogue) fuses them into a product, with the same bits.
    pub use crate::elementwise::activation::bias_activate;
    pub use crate::elementwise::optimizer::{AdamStep, adam, descend, momentum};
}

pub mod gemmt {
    //! Products of which one triangle is wanted.
    pub use crate::base::flags::Triangle;
    pub use crate::level3::gemmt::{gemmt, gemmt_scratch};
}

pub mod gemv {
    //! Matrix-vector product.
    pub use crate::level2::gemv::{gemv, gemv_scratch};
}

pub mod ger {
    //! Rank-1 update.
    pub use crate::level2::ger::{ger, ger_scratch};
}

pub mod reduce {
    //! Sums in f64 and in one fixed order, so that threads and instruction sets cannot change a bit.
    pub use crate::elementwise::reduce::column_means;
    pub use crate::level2::dot::dot;
}

pub mod symm {
    //! Products with a symmetric matrix that stores one triangle.
    pub use crate::level3::symm::{symm, symm_scratch};
}

pub mod syrk {
    //! Symmetric rank-k products.
    pub use crate::base::flags::{Diagonal, Part};
    pub use crate::level3::syrk::{syrk, syrk_scratch};
}

pub mod syr2k {
    //! Symmetric rank-2k products.
    pub use crate::base::flags::Triangle;
    pub use crate::level3::gemmt::{syr2k, syr2k_scratch};
}

pub mod trmm {
    //! Products with a triangular matrix.
    pub use crate::base::flags::{Diag, Side, Triangle};
    pub use crate::level3::trmm::{product, product_scratch};
}

pub mod trsm {
    //! Triangular solves.
    pub use crate::base::flags::{Diag, Side, Triangle};
    pub use crate::level3::trsm::{solve, solve_scratch};
}
