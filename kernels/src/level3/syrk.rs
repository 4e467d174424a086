//! Symmetric rank-k product. It computes one triangle and mirrors it: half the work of a product.

use crate::base::error::Error;
use crate::base::flags::{Diagonal, Part};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, Region};
use crate::gemm::{gemm_native_scratch, run};
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::simd::copy::copy;
use crate::tile::table::Real;

/// Rows and columns of a mirrored block. Two blocks, with the cache lines that they reach into, fit
/// in L1.
const MIRROR: usize = 48;

/// Computes one triangle of `C ← α·A·Aᵀ + β·C`, and mirrors it with [`Part::Both`].
///
/// ```text
/// i ≥ j:  acc = if β == 0 { 0 } else { β * C[i,j] }
///         for k in 0..K { acc = fma(α * A[i,k], A[j,k], acc) }
///         C[i,j] = acc
/// i < j:  the same number as at (j, i)
/// ```
///
/// * `a`: n×k; `a.t()` gives Aᵀ·A
/// * `part`: the triangle that is written. With [`Part::Upper`], β multiplies the elements of C
///   above the diagonal. With [`Part::Both`], those elements are never read
/// * `diagonal`: [`Diagonal::Dropped`] stores 0 on it, which gives the off-diagonal part of the
///   orthogonality gradient
/// * `c`: n×n, overwritten; not read if β = 0. Contiguous rows are fastest, contiguous columns for
///   [`Part::Upper`]
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: n·(n+1)·k/2 fused multiply-adds; threads share them by area.
/// Error bound: |C − exact| ≤ γ(k+2)·(|α||A||Aᵀ| + |β||C|) entrywise.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::syrk::{syrk, Diagonal, Part};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let a = [1.0f32, 2.0, 3.0, 4.0];
/// let mut c = [f32::NAN; 4];
/// let (a, view) = (MatRef::new(&a, 2, 2)?, MatMut::new(&mut c, 2, 2)?);
/// syrk(1.0, a, 0.0, Part::Both, Diagonal::Dropped, view, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(c, [0.0, 11.0, 11.0, 0.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// # References
/// Goto and van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008.
#[allow(clippy::too_many_arguments)]
pub fn syrk<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    beta: T,
    part: Part,
    diagonal: Diagonal,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = a.nrows();
    c.expect_shape("C of a symmetric product", (n, n))?;
    if c.is_empty() {
        return Ok(());
    }
    // The upper triangle of C is the lower triangle of Cᵀ, element for element.
    let mut c = if part == Part::Upper { c.t() } else { c };
    let region = Region::Lower { drop_diagonal: diagonal == Diagonal::Dropped };
    let job = Job { region, ..Job::plain(alpha, Left::View(a), Right::View(a.t()), beta) };
    run(&job, c.rb(), plan, scratch)?;
    if part == Part::Both {
        mirror(c, plan);
    }
    Ok(())
}

/// Returns the scratch that [`syrk`] needs for `a` of n×k.
pub fn syrk_scratch<T: Real>(n: usize, k: usize, plan: &Plan) -> ScratchReq {
    gemm_native_scratch::<T>(n, n, k, plan)
}

once! {
    /// Copies the triangle below the diagonal to the one above, block by block.
    fn mirror<T: Real> = mirror_body(c: MatMut<'a, T>, plan: &'a Plan)
}

fn mirror_body<T: Real>(c: MatMut<'_, T>, plan: &Plan) {
    let n = c.nrows();
    let blocks = n.div_ceil(MIRROR);
    // Moving one element costs about as much as eight multiply-adds.
    let work = n.saturating_mul(n).saturating_mul(4);
    let threads = plan.threads_for(work);
    // Block rows grow towards the bottom. Dealing them out cyclically, with a shift in each cycle,
    // gives every thread about the same area.
    let parts = if threads == 1 { 1 } else { threads.min(blocks) };
    plan.par.split(parts, &|thread| {
        // SAFETY: thread t reads its block rows below the diagonal, which no thread writes. It
        // writes their transposed places above the diagonal: columns that belong to t alone.
        let mut c = unsafe { c.alias() };
        for row in (0..blocks).filter(|row| (row + row / parts) % parts == thread) {
            let (i, rows) = (row * MIRROR, MIRROR.min(n - row * MIRROR));
            for j in (0..i).step_by(MIRROR) {
                // SAFETY: j < i, so block (i, j) lies below the diagonal and is only read. Block
                // (j, i), which is written, lies above it.
                let from = unsafe { c.alias() };
                copy(plan.isa, from.as_ref().block(i, j, rows, MIRROR).t(), c.rb().block(j, i, MIRROR, rows));
            }
            for r in i..i + rows {
                for s in i..r {
                    let v = c.get(r, s);
                    c.set(s, r, v);
                }
            }
        }
    });
}
