//! Products that start elsewhere than at C, take packed operands, and finish their elements in
//! cache.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::job::{Job, Region, Start};
use crate::gemm::partition::{scratch_for, update_scratch};
use crate::gemm::run;
use crate::pack::operand::{Left, Right};
use crate::pack::prepacked::Panels;
use crate::plan::Plan;
use crate::tile::table::Real;

/// The right operand of [`gemm_with`].
#[non_exhaustive]
pub enum Rhs<'a, T> {
    /// A matrix.
    View(MatRef<'a, T>),
    /// One orientation of a [`PackedRhs`](crate::PackedRhs).
    Packed(Panels<'a, T>),
}

impl<'a, T> From<MatRef<'a, T>> for Rhs<'a, T> {
    fn from(view: MatRef<'a, T>) -> Self {
        Self::View(view)
    }
}
impl<'a, T> From<Panels<'a, T>> for Rhs<'a, T> {
    fn from(panels: Panels<'a, T>) -> Self {
        Self::Packed(panels)
    }
}

/// `C ← epilogue(start + α·A·B)`: a product whose finished elements pass through an epilogue while
/// they are in cache.
///
/// ```text
/// acc = start                                       0, β·C[i,j], or β·S[i,j]
/// for k in 0..K { acc = fma(α * A[i,k], B[k,j], acc) }
/// C[i,j] = epilogue(acc)                            one formula of `Epilogue`
/// ```
///
/// Every bit equals that of the separate steps: [`gemm()`](crate::gemm()), then the epilogue's
/// slice function. Always uses this crate's kernels, whatever the plan's backend.
///
/// * `a`: m×k, any strides
/// * `b`: k×n, a view or packed
/// * `start`: where each chain starts
/// * `c`: m×n; any strides with [`Epilogue::Store`] from zero or from C, else contiguous rows
///
/// Returns whether every parameter and second moment that an update wrote is finite; `true` for
/// the other epilogues. An update's product is not stored anywhere, and its k is not blocked.
///
/// # Errors
/// [`Error::Shape`], [`Error::Layout`], [`Error::Packed`], [`Error::Parameter`],
/// [`Error::OutOfMemory`]. Nothing has then been written.
///
/// # Examples
/// ```
/// use gaitprop_kernels::{Activation, Epilogue, MatMut, MatRef, Plan, Scratch, Start, gemm_with};
/// let (x, w, b) = ([1.0f32, -2.0], [3.0f32, 4.0, 5.0, 6.0], [0.5f32, -1.0]);
/// let mut y = [0.0f32; 2];
/// let activation = Activation::LeakyRelu { slope: 0.1 };
/// let epilogue = Epilogue::Activate { activation, bias: &b, slope: None };
/// let (x, w) = (MatRef::new(&x, 1, 2)?, MatRef::new(&w, 2, 2)?);
/// gemm_with(1.0, x, w, Start::Zero, MatMut::new(&mut y, 1, 2)?, epilogue, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(y, [0.1 * -6.5, 0.1 * -9.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn gemm_with<'a, T: Real>(
    alpha: T,
    a: MatRef<'a, T>,
    b: impl Into<Rhs<'a, T>>,
    start: Start<'a, T>,
    c: MatMut<'a, T>,
    epilogue: Epilogue<'a, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    let b = match b.into() {
        Rhs::View(view) => Right::View(view),
        Rhs::Packed(panels) => Right::Panels(panels),
    };
    let ((m, k), (rows, n)) = (a.shape(), b.shape());
    if rows != k {
        return Err(Error::Shape { what: "B of a product", expected: (k, n), found: (rows, n) });
    }
    if let Right::Panels(panels) = &b {
        panels.check(plan)?;
    }
    c.expect_shape("C of a product", (m, n))?;
    if let Start::From(_, s) = start {
        s.expect_shape("the start of a product", (m, n))?;
        s.expect_contiguous_rows("the start of a product")?;
    }
    if !matches!((&epilogue, start), (Epilogue::Store, Start::Zero | Start::C(_))) {
        c.expect_contiguous_rows("C of a fused product")?;
    }
    epilogue.check((m, n))?;
    if c.is_empty() {
        return Ok(true);
    }
    let job = Job { alpha, a: Left::View(a), b, start, region: Region::Whole, epilogue: &epilogue };
    run(&job, c, plan, scratch)
}

/// Returns the scratch that [`gemm_with`] needs for a product of these sizes, whatever its operands
/// and its epilogue.
pub fn gemm_with_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan) -> ScratchReq {
    scratch_for::<T>(m, n, k, plan, usize::MAX).and(update_scratch::<T>(n, plan))
}
