//! Kernels for training small networks exactly and fast: products, LU, triangular solves and the fused
//! perturbation of GAIT-prop.
//!
//! Their promise is **the same bits everywhere**. AVX-512, AVX2, NEON and portable code, any blocking,
//! any strides and any number of threads give results equal in every bit to the loops in
//! [`mod@reference`], which a person can read. Functions never panic on a caller's data: what does
//! not fit is an [`Error`].
//!
//! * [`MatRef`], [`MatMut`]: strided views of slices, the only matrices here.
//! * [`Plan`]: how to compute (instruction set, blocks, threads, backend), a value that the caller passes.
//! * [`Scratch`]: packing memory, which the caller owns. After the first use nothing is allocated.
//! * [`BatchRef`], [`BatchMut`], [`gemm_batched()`]: many products in one call.
//! * [`gemm()`], [`syrk`], [`symm`], [`trsm`], [`lu`], [`cholesky`], [`perturb`], [`epilogue`], [`reduce`]:
//!   the kernels.
//! * [`selftest`]: checks that this machine gives these bits.
//!
//! Bias, activation, perturbation and optimizer updates stand once each: as passes over memory, and
//! fused into products ([`gemm_with`]). The [`guide`] has a page for each family of kernels, and says
//! how to add to them.
//!
//! # Glossary
//! * *chain*: the fused multiply-adds of one element of C, in increasing k, unbroken.
//! * *tile*: MR × NR elements of C whose chains stay in registers.
//! * *panel*: MR rows of A or NR columns of B, stored k by k, as a tile reads them.
//! * *block*: MC × KC elements of A or KC × NC of B, which stay in a cache.
//! * *strip*: one tile on operands that need no packing, inside a solve or a factorization.
//! * *portable*: plain Rust without intrinsics, with an emulated fused multiply-add where need be.
//! * *prepacked*: packed once by the caller ([`PackedRhs`]), used in many products.
//! * *slope*: f′(h), the derivative of an activation function.
//!
//! # Floors
//! The folders are floors: `base`, `simd`, `tile`, `elementwise`, `plan`, `pack`, `gemm`, `level3`,
//! `factor`, `check`, from the ground up. A file imports from its own floor and those below it, and a
//! test holds it to that. Only this file re-exports.
//!
//! # Rules for `unsafe`
//! It lives where slices become pointers (`base/matrix`), where memory and disjoint blocks go to
//! threads (`base/scratch`, `base/team`, and the kernels that split work), and at the intrinsics and
//! tiles (`simd`, `tile`, `gemm`). A safe function checks lengths and shapes once; every block names
//! the fact it rests on and who established it. An instruction set is reached only through an
//! [`Isa`], which only detection can make.

#![cfg_attr(not(any(feature = "std", test)), no_std)]

extern crate alloc;

pub(crate) mod base;
pub(crate) mod check;
pub(crate) mod elementwise;
pub(crate) mod factor;
pub(crate) mod gemm;
pub mod guide;
pub(crate) mod level3;
pub(crate) mod pack;
pub(crate) mod plan;
pub(crate) mod simd;
pub(crate) mod tile;

pub use base::batch::{BatchMut, BatchRef};
pub use base::error::Error;
pub use base::isa::Isa;
pub use base::matrix::{MatMut, MatRef};
pub use base::par::Par;
pub use base::scalar::Scalar;
pub use base::scratch::{Scratch, ScratchReq};
#[cfg(feature = "threads")]
pub use base::team::Team;
pub use base::threads::Threads;
pub use check::{reference, selftest};
pub use elementwise::activation::Activation;
pub use elementwise::{perturb, reduce};
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
    //! Passes over finished elements: bias and activation, and the optimizers' updates.
    //!
    //! Fused into a product, [`Epilogue`](crate::Epilogue) does the same with the same bits.
    pub use crate::elementwise::activation::bias_activate;
    pub use crate::elementwise::optimizer::{AdamStep, adam, descend, momentum};
}

pub mod symm {
    //! Products with a symmetric matrix of which one triangle is stored.
    pub use crate::level3::symm::{symm, symm_scratch};
}

pub mod syrk {
    //! The symmetric rank-k product.
    pub use crate::base::flags::{Diagonal, Part};
    pub use crate::level3::syrk::{syrk, syrk_scratch};
}

pub mod trsm {
    //! Triangular solves.
    pub use crate::base::flags::{Diag, Side, Triangle};
    pub use crate::level3::trsm::{solve, solve_scratch};
}
