//! Products: [`gemm()`] is the front door, `blocked` has the loops, `small` their short cut.

pub(crate) mod batched;
mod blocked;
pub(crate) mod epilogue;
#[cfg(any(feature = "matrixmultiply", feature = "openblas"))]
mod foreign;
pub(crate) mod fused;
pub(crate) mod job;
mod partition;
mod small;

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, canonicalize};
use crate::gemm::partition::Partition;
use crate::gemm::small::Small;
use crate::plan::Plan;
use crate::plan::backend::Backend;
use crate::tile::table::Real;

/// Scratch that [`gemm`] needs for a product of these sizes, so that it can be reserved beforehand.
pub fn gemm_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan) -> ScratchReq {
    let native = gemm_native_scratch::<T>(m, n, k, plan);
    if plan.backend == Backend::Native {
        return native;
    }
    // Operands in layouts the backend cannot read are copied.
    let copies =
        [(m, k), (k, n), (m, n)].into_iter().fold(0usize, |sum, (rows, cols)| sum.saturating_add(rows.saturating_mul(cols)));
    native.or(ScratchReq::of::<T>(copies))
}

/// Returns the scratch that [`gemm_native`] needs.
pub(crate) fn gemm_native_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan) -> ScratchReq {
    partition::scratch_for::<T>(m, n, k, plan, 0)
}

/// `C ← α·A·B + β·C` for any strides.
///
/// Each element of C is one chain of fused multiply-adds in increasing k, started from β·C (from 0
/// when β = 0: C is then never read), with α multiplied into the elements of A first (one rounding;
/// exact for ±1):
///
/// ```text
/// acc = if β == 0 { 0 } else { β * C[i,j] }
/// for k in 0..K { acc = fma(α * A[i,k], B[k,j], acc) }
/// C[i,j] = acc
/// ```
///
/// Instruction set, tile, blocking, strides and threads cannot change a bit of it.
///
/// Shapes: `a` m×k, `b` k×n, `c` m×n. β = 0 means C is never read. Work: m·n·k fused multiply-adds.
/// Error bound: |C − exact| ≤ γ(k+2)·(|α||A||B| + |β||C|) entrywise, γ(n) = n·u/(1 − n·u).
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit; [`Error::OutOfMemory`] if scratch cannot grow;
/// nothing has then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::{gemm, MatMut, MatRef, Plan, Scratch};
/// let (x, w) = ([1.0f32, 2.0], [3.0f32, 4.0, 5.0, 6.0]);
/// let mut y = [f32::NAN; 2];
/// gemm(
///     1.0,
///     MatRef::new(&x, 1, 2)?,
///     MatRef::new(&w, 2, 2)?,
///     0.0,
///     MatMut::new(&mut y, 1, 2)?,
///     &Plan::new(),
///     &mut Scratch::new(),
/// )?;
/// assert_eq!(y, [13.0, 16.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// # References
/// The five loops: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
pub fn gemm<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let ((m, k), n) = (a.shape(), b.ncols());
    b.expect_shape("B of a product", (k, n))?;
    c.expect_shape("C of a product", (m, n))?;
    if c.is_empty() {
        return Ok(());
    }
    // k = 0 leaves C ← β·C. Backends disagree on this case, so it is always ours.
    #[cfg(any(feature = "matrixmultiply", feature = "openblas"))]
    if plan.backend != Backend::Native && k > 0 {
        return foreign::gemm(alpha, a, b, beta, c, plan, scratch);
    }
    gemm_native(alpha, a, b, beta, c, plan, scratch)
}

/// [`gemm()`] by this crate's kernels, whatever the plan's backend, of views that fit.
pub(crate) fn gemm_native<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (job, c) = canonicalize(alpha, a, b, beta, c);
    run(&job, c, plan, scratch).map(drop)
}

once! {
    /// Computes a product into `c` by whichever loops suit it. Returns whether all that an optimizer
    /// wrote is finite.
    ///
    /// Shapes fit and, with any epilogue but `Store`, C's rows are contiguous: checked by the callers.
    pub(crate) fn run<T: Real> = run_body(
        job: &'a Job<'a, T>, c: MatMut<'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<bool, Error>
}

fn run_body<T: Real>(job: &Job<'_, T>, c: MatMut<'_, T>, plan: &Plan, scratch: &mut Scratch) -> Result<bool, Error> {
    if let Some(small) = Small::new(job, &c, plan) {
        small.run(job, c, scratch.slice::<T>(small.workspace_len())?, plan.isa);
        return Ok(true);
    }
    let partition = Partition::new(job, plan);
    let (_, _, k) = job.shape();
    let memory = scratch.slice::<T>(blocked::workspace_len::<T>(&partition, k))?;
    Ok(blocked::run(job, &partition, c, plan, memory))
}
