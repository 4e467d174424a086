//! Symmetric rank-k product: half the work of a product, since the other half is its mirror image.

use crate::base::error::Error;
use crate::base::flags::{Diagonal, Part};
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, Region};
use crate::gemm::{gemm_native_scratch, run};
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::simd::copy::copy;
use crate::tile::table::Real;

/// Rows and columns of a block that is mirrored: two of them, and the lines they end in, fit in L1.
const MIRROR: usize = 48;

/// `C ← α·A·Aᵀ + β·C`, of which one triangle is computed, and mirrored if wished.
///
/// ```text
/// i ≥ j:  acc = if β == 0 { 0 } else { β * C[i,j] };  for k in 0..K { acc = fma(α * A[i,k], A[j,k], acc) };  C[i,j] = acc
/// i < j:  the same number as at (j, i)
/// ```
///
/// With [`Part::Upper`] β multiplies `C[i,j]` above the diagonal; with [`Part::Both`] what stood above it is never read.
/// [`Diagonal::Dropped`] gives the off-diagonal part that the orthogonality gradient is made of.
///
/// Shapes: `a` n×k, `c` n×n; strides of any sign; AᵀA is this with `a.t()`. β = 0 means C is never read. Work: n·(n+1)·k/2 fused multiply-adds, shared out by area.
/// Same bits on every instruction set and thread count. Fastest where the rows of C (the columns, for [`Part::Upper`]) have neighbours in memory.
/// Error bound: |C − exact| ≤ γ(k+2)·(|α||A||Aᵀ| + |β||C|) entrywise.
///
/// # Errors
/// [`Error::Shape`]; [`Error::OutOfMemory`]: nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// Source: Goto and van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008.
///
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
    // The upper triangle is the lower one of the transpose, element for element.
    let mut c = if part == Part::Upper { c.t() } else { c };
    let region = Region::Lower { drop_diagonal: diagonal == Diagonal::Dropped };
    let job = Job { region, ..Job::plain(alpha, Left::View(a), Right::View(a.t()), beta) };
    run(&job, c.rb(), plan, scratch)?;
    if part == Part::Both {
        mirror(c, plan);
    }
    Ok(())
}

/// Scratch that [`syrk`] needs for `a` of n×k.
pub fn syrk_scratch<T: Real>(n: usize, k: usize, plan: &Plan) -> ScratchReq {
    gemm_native_scratch::<T>(n, n, k, plan)
}

/// Copies what lies below the diagonal to its mirror image, block by block.
fn mirror<T: Real>(c: MatMut<'_, T>, plan: &Plan) {
    let n = c.nrows();
    let blocks = n.div_ceil(MIRROR);
    // An element moved costs as much as some eight multiply-adds.
    let work = n.saturating_mul(n).saturating_mul(4);
    let threads = plan.threads_for(work);
    // Rows of blocks grow towards the bottom: dealt out in turn, from both ends, they come to the same area for each.
    let parts = if threads == 1 { 1 } else { threads.min(blocks) };
    plan.par.split(parts, &|thread| {
        // SAFETY: each part writes the blocks right of the diagonal in columns of its own, in the transposed places of block rows of its own, and
        // reads these rows left of it, which nobody writes.
        let mut c = unsafe { c.alias() };
        for row in (0..blocks).filter(|row| (row + row / parts) % parts == thread) {
            let (i, rows) = (row * MIRROR, MIRROR.min(n - row * MIRROR));
            for j in (0..i).step_by(MIRROR) {
                // SAFETY: the block (i, j) lies left of the diagonal and is only read; the block (j, i) lies right of it.
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
