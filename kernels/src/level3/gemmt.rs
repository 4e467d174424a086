//! Products of which one triangle is wanted, and the symmetric rank-2k product made of two of them.

use crate::base::error::Error;
use crate::base::flags::Triangle;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::{Job, Region};
use crate::gemm::{gemm_native_scratch, run};
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::tile::table::Real;

/// Computes one triangle of `C ← α·A·B + β·C`.
///
/// Each element is the chain of [`gemm()`](crate::gemm()). α is multiplied into the elements of A
/// for [`Triangle::Lower`] and into those of B for [`Triangle::Upper`]. For α = ±1 both give the
/// same bits.
///
/// * `triangle`: the half of C that is written; the other one is neither read nor written
/// * `a`: n×k
/// * `b`: k×n
/// * `c`: n×n; not read if β = 0. Contiguous rows are fastest for [`Triangle::Lower`], contiguous
///   columns for [`Triangle::Upper`]
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: n·(n+1)·k/2 fused multiply-adds; threads share them by area.
/// Error bound: as [`gemm()`](crate::gemm()).
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::OutOfMemory`] if scratch cannot grow. Nothing has
/// then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::gemmt::{gemmt, Triangle};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let (a, b, mut c) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.5; 4]);
/// let (a, b, view) = (MatRef::new(&a, 2, 2)?, MatRef::new(&b, 2, 2)?, MatMut::new(&mut c, 2, 2)?);
/// gemmt(Triangle::Lower, 1.0, a, b, 0.0, view, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(c, [19.0, 0.5, 43.0, 50.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn gemmt<T: Real>(
    triangle: Triangle,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, k) = a.shape();
    b.expect_shape("B of a product", (k, n))?;
    c.expect_shape("C of a product", (n, n))?;
    if c.is_empty() {
        return Ok(());
    }
    // The upper triangle of C is the lower triangle of Cᵀ = Bᵀ·Aᵀ.
    let (a, b, c) = if triangle == Triangle::Lower { (a, b, c) } else { (b.t(), a.t(), c.t()) };
    let region = Region::Lower { drop_diagonal: false };
    run(&Job { region, ..Job::plain(alpha, Left::View(a), Right::View(b), beta) }, c, plan, scratch).map(drop)
}

/// Returns the scratch that [`gemmt`] needs for `a` of n×k.
pub fn gemmt_scratch<T: Real>(n: usize, k: usize, plan: &Plan) -> ScratchReq {
    gemm_native_scratch::<T>(n, n, k, plan)
}

/// Computes one triangle of `C ← α·(A·Bᵀ + B·Aᵀ) + β·C`.
///
/// Each element is one chain, first over A·Bᵀ, then over B·Aᵀ: two calls of [`gemmt`], the second
/// with β = 1.
///
/// * `triangle`: the half of C that is written; the other one is neither read nor written
/// * `a`, `b`: n×k; `a.t()` and `b.t()` give Aᵀ·B + Bᵀ·A
/// * `c`: n×n; not read if β = 0
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: n·(n+1)·k fused multiply-adds.
/// Error bound: |C − exact| ≤ γ(2k+2)·(|α|(|A||Bᵀ| + |B||Aᵀ|) + |β||C|) entrywise.
///
/// # Errors
/// As [`gemmt`].
#[allow(clippy::too_many_arguments)]
pub fn syr2k<T: Real>(
    triangle: Triangle,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, k) = a.shape();
    b.expect_shape("B of a symmetric product", (n, k))?;
    // For both products at once, so that the second cannot fail after the first has written.
    scratch.reserve(syr2k_scratch::<T>(n, k, plan))?;
    gemmt(triangle, alpha, a, b.t(), beta, c.rb(), plan, scratch)?;
    gemmt(triangle, alpha, b, a.t(), T::ONE, c, plan, scratch)
}

/// Returns the scratch that [`syr2k`] needs for `a` of n×k.
pub fn syr2k_scratch<T: Real>(n: usize, k: usize, plan: &Plan) -> ScratchReq {
    gemmt_scratch::<T>(n, k, plan)
}
