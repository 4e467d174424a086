//! BLAS with the same bits everywhere: level 3, GEMV, GER and DOT in single and double precision,
//! by the kernels of gaitprop.
//!
//! Programs use it under BLAS's own names, by `LD_PRELOAD` or as a library in front of their own.
//! One call then has one result: on every instruction set, with any number of threads, and however
//! the rows or columns of a product are divided among calls. The [README](../README.md) shows how.
//!
//! # How a call runs
//! 1. [`names`] has one function per routine, precision, naming scheme and language.
//! 2. `arguments` reads flags and sizes. An illegal one goes to `xerbla`, and nothing is written.
//! 3. The driver of the routine (`level3`, `level2`, `batch`) returns early where BLAS does, and
//!    otherwise describes the operands as views.
//! 4. The kernel computes with the plan and threads of `threads`, in the calling thread's
//!    workspace.
//! 5. If the kernel refuses, loops compute the same bits: for a zero on the diagonal of a solve, or
//!    without memory for a workspace.
//!
//! # Environment
//! * `GAITPROP_NUM_THREADS`: threads of a product; else `OMP_NUM_THREADS`, else all CPUs
//! * `GAITPROP_ISA`: instruction set, such as `portable` or `avx2`
//! * `GAITPROP_VERBOSE`: calls and time by routine, on stderr when the process exits
//! * `GAITPROP_MIN_WORK`: multiply-adds for which a thread is woken; 1 in tests
//!
//! # Rules for `unsafe`
//! Only pointers of the calling program need it: where `arguments` and `batch` turn them into
//! views, and in the chain of calls that carries the program's promise there. `threads`, `verbose`
//! and `xerbla` call the C library.

#![cfg(unix)]

mod arguments;
mod batch;
mod call;
mod level2;
mod level3;
pub mod names;
mod threads;
mod verbose;
mod xerbla;

pub use threads::{gaitprop_blas_get_num_threads, gaitprop_blas_set_num_threads};
