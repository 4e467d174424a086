//! Workspace ahead of time, so that later calls do not allocate.

use crate::context::{State, gaitprop_context, with_state};
use crate::status::{Failure, gaitprop_status};
use core::ffi::c_int;
use gaitprop_kernels::{
    Error, Plan, Real, ScratchReq, cholesky, gemm_batched_scratch, gemm_scratch, gemm_with_scratch, gemmt, gemv, ger, lu, symm,
    syr2k, syrk, trmm, trsm,
};

/// Operations that need workspace, with the sizes that gaitprop_sreserve() takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_operation {
    /// gemm: C of m x n, chains of k.
    GAITPROP_OP_GEMM = 0,
    /// gemm_packed, linear_forward, linear_descend, _momentum and _adam: C of m x n, chains of k.
    GAITPROP_OP_LINEAR = 1,
    /// gemmt, syrk, syr2k: C of n x n, chains of k. m is not read.
    GAITPROP_OP_TRIANGLE = 2,
    /// symm: S of n x n, the other side of B m. k is not read.
    GAITPROP_OP_SYMM = 3,
    /// trmm, trsm: A of n x n, m right-hand sides. k is not read.
    GAITPROP_OP_TRIANGULAR = 4,
    /// gemv, ger: A of m x n. k is not read.
    GAITPROP_OP_VECTOR = 5,
    /// lu_factor, lu_solve_left, lu_solve_right, lu_inverse_norm1: A of n x n, m right-hand sides.
    /// k is not read.
    GAITPROP_OP_LU = 6,
    /// cholesky_factor, cholesky_solve: A of n x n, m right-hand sides. k is not read.
    GAITPROP_OP_CHOLESKY = 7,
}

/// Reserves the workspace of an operation, a gaitprop_operation, of these sizes.
///
/// Calls of these sizes then do not allocate. Without it, the first call of its size does. A
/// context with other threads or another instruction set may need more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sreserve(
    ctx: *mut gaitprop_context,
    operation: c_int,
    m: usize,
    n: usize,
    k: usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { with_state(ctx, |state| reserve::<f32>(state, operation, (m, n, k))) }
}

/// gaitprop_sreserve() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dreserve(
    ctx: *mut gaitprop_context,
    operation: c_int,
    m: usize,
    n: usize,
    k: usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { with_state(ctx, |state| reserve::<f64>(state, operation, (m, n, k))) }
}

/// Reserves the workspace of gaitprop_sgemm_batched() for count products.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sreserve_batched(
    ctx: *mut gaitprop_context,
    count: usize,
    m: usize,
    n: usize,
    k: usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { with_state(ctx, |state| reserve_batched::<f32>(state, count, (m, n, k))) }
}

/// Reserves the workspace of gaitprop_dgemm_batched() for count products.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dreserve_batched(
    ctx: *mut gaitprop_context,
    count: usize,
    m: usize,
    n: usize,
    k: usize,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { with_state(ctx, |state| reserve_batched::<f64>(state, count, (m, n, k))) }
}

fn reserve<T: Real>(state: &mut State, operation: c_int, (m, n, k): (usize, usize, usize)) -> Result<(), Failure> {
    let plan = &state.plan;
    let need = match operation {
        0 => gemm_scratch::<T>(m, n, k, plan),
        1 => gemm_with_scratch::<T>(m, n, k, plan),
        2 => {
            let triangles = gemmt::gemmt_scratch::<T>(n, k, plan).or(syr2k::syr2k_scratch::<T>(n, k, plan));
            triangles.or(syrk::syrk_scratch::<T>(n, k, plan))
        }
        3 => symm::symm_scratch::<T>(n, m, plan),
        4 => trmm::product_scratch::<T>(n, m, plan).or(trsm::solve_scratch::<T>(n, m, plan)),
        5 => gemv::gemv_scratch::<T>(m, n, plan).or(ger::ger_scratch::<T>(m, n, plan)),
        6 => {
            state.work.reserve(ScratchReq::of::<T>(n.saturating_mul(2)))?;
            lu_scratch::<T>(n, m, plan)
        }
        7 => cholesky::factor_scratch::<T>(n, plan).or(cholesky::solve_scratch::<T>(n, m, plan)),
        _ => {
            let (what, accepted) = ("operation", "a GAITPROP_OP constant");
            return Err(Error::Parameter { what, value: operation.into(), accepted }.into());
        }
    };
    Ok(state.scratch.reserve(need)?)
}

/// The workspace of a factorization and of solves with `rhs` right-hand sides and with one.
fn lu_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    let solves = trsm::solve_scratch::<T>(n, rhs, plan).or(trsm::solve_scratch::<T>(n, 1, plan));
    lu::factor_scratch::<T>(n, plan).or(solves)
}

fn reserve_batched<T: Real>(state: &mut State, count: usize, (m, n, k): (usize, usize, usize)) -> Result<(), Failure> {
    let need = gemm_batched_scratch::<T>(m, n, k, count, &state.plan);
    Ok(state.scratch.reserve(need)?)
}
