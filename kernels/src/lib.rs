//! Kernels for training small networks exactly and fast: products, LU, triangular solves and the fused perturbation of GAIT-prop.
//!
//! What sets them apart is a promise: **the same bits everywhere**. AVX-512, AVX2, NEON and portable code, any blocking, any
//! strides and any number of threads give results equal in every bit to the loops in [`mod@reference`], which a person can read.
//!
//! * [`MatRef`], [`MatMut`]: strided views of slices, the only matrices here.
//! * [`Plan`]: how to compute (instruction set, blocks, threads, backend), a value that the caller passes.
//! * [`Scratch`]: packing memory, the caller's too. After the first use nothing is allocated.
//! * [`BatchRef`], [`BatchMut`], [`gemm_batched()`]: many products in one call.
//! * [`gemm()`], [`syrk`], [`symm`], [`trsm`], [`lu`], [`cholesky`], [`perturb`], [`epilogue`], [`reduce`]: the kernels.
//! * [`selftest`]: whether this machine gives these bits.
//!
//! Bias, activation, perturbation and optimiser updates stand once each: as passes over memory, and fused into products ([`gemm_with`]).
//! The [`guide`] has a page for each family of kernels, and says how to add to them.
//!
//! # House rules for `unsafe`
//!
//! It lives in `mat` (slices become pointers), `simd` (intrinsics), `gemm` and `strip` (register tiles), `par` (disjoint pieces for threads),
//! `scratch`, `copy` and `backend`; in `trsm`, `lu` and `syrk` it hands disjoint blocks of a matrix to threads and to tiles. Lengths and shapes are checked once at a safe door; every block says which fact it rests on and who
//! established it. An instruction set is reached only through an [`Isa`], which only detection can make.

#![cfg_attr(not(any(feature = "std", test)), no_std)]

extern crate alloc;

mod backend;
pub mod cholesky;
mod copy;
pub mod epilogue;
mod error;
mod gemm;
pub mod guide;
mod isa;
pub mod lu;
mod mat;
mod pack;
mod par;
pub mod perturb;
mod real;
pub mod reduce;
pub mod reference;
mod scratch;
pub mod selftest;
mod simd;
mod strip;
pub mod symm;
pub mod syrk;
pub mod trsm;
mod tuning;
mod unit;

pub use backend::Backend;
pub use error::Error;
pub use gemm::batched::{gemm_batched, gemm_batched_scratch, gemm_batched_views, gemm_batched_views_scratch};
pub use gemm::{
    Finish, Lhs, Packing, Perturbed, Plan, Rhs, Start, Update, Weighed, gemm, gemm_packed, gemm_scratch, gemm_with,
    gemm_with_scratch,
};
pub use isa::Isa;
pub use mat::{BatchMut, BatchRef, MatMut, MatRef};
pub use pack::{Orientation, PackedRhs, Panels};
#[cfg(feature = "threads")]
pub use par::Team;
pub use par::{Par, Threads};
pub use real::Real;
pub use scratch::{Req, Scratch};
pub use tuning::{Blocking, Caches};
pub use unit::Unit;
