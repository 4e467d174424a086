//! Epilogues: what happens to finished elements of a product while they are in cache.
//!
//! ```text
//!   tiles store ─► some rows of C, in L1 ─► epilogue, in place     bias and activation, scaled sum
//!   tiles store ─► some rows of Δ, in L2 ─► θ, m, v                an update: Δ stays in cache
//! ```
//!
//! An epilogue is an object that runs over finished rows, not code on the register tile. A tile
//! with room for its accumulators and B has no registers left for another operand, and would store
//! its accumulators first anyway. An Adam step takes square roots and divisions, which keep a core
//! busy half as long as the whole product at a batch of 60 (benches/record/blocking.md).

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::elementwise::activation::{Activation, bias_activate_rows, check_bias_activate};
use crate::elementwise::optimizer::{AdamStep, adam_all, descend_all, momentum_all};
use crate::simd::dispatch::{Fused, shells};
use crate::tile::table::Real;

/// What happens to each finished element `acc` of [`gemm_with`](crate::gemm_with). Matrices have
/// C's shape and contiguous rows.
#[non_exhaustive]
pub enum Epilogue<'a, T> {
    /// `C = acc`.
    Store,
    /// `C = f(acc + bias)`, and f′ into `slope` if given: as
    /// [`bias_activate`](crate::epilogue::bias_activate).
    Activate {
        /// The activation function f.
        activation: Activation,
        /// One element a column.
        bias: &'a [T],
        /// Receives f′.
        slope: Option<MatMut<'a, T>>,
    },
    /// `C = fma(scale, acc, weight · Z)`.
    ScaleAdd {
        /// Factor of the product.
        scale: T,
        /// Factor of Z.
        weight: T,
        /// The matrix Z.
        add: MatRef<'a, T>,
    },
    /// C = θ moves along Δ = acc, which is stored nowhere.
    Update(Update<'a, T>),
}

/// An update: θ moves along Δ, for an optimizer a descent direction. Moments have θ's shape and
/// contiguous rows.
#[non_exhaustive]
pub enum Update<'a, T> {
    /// As [`crate::epilogue::adam`].
    Adam {
        /// Constants.
        step: AdamStep<T>,
        /// First moment.
        m: MatMut<'a, T>,
        /// Second moment.
        v: MatMut<'a, T>,
    },
    /// As [`crate::epilogue::momentum`].
    Momentum {
        /// Learning rate η.
        rate: T,
        /// Momentum factor μ.
        mu: T,
        /// The momentum.
        m: MatMut<'a, T>,
    },
    /// As [`crate::epilogue::descend`].
    Descend {
        /// Learning rate η.
        rate: T,
    },
    /// `θ[i,j] = fma(factors[j], θ[i,j], Δ[i,j])`: each column is scaled, then moves.
    ScaleColumns {
        /// One element a column.
        factors: &'a [T],
    },
}

impl<'a, T: Real> Epilogue<'a, T> {
    /// Checks the operands for a product of `shape`.
    pub(crate) fn check(&self, shape: (usize, usize)) -> Result<(), Error> {
        match self {
            Self::Store => Ok(()),
            Self::Activate { activation, bias, slope } => {
                check_bias_activate(*activation, shape, bias, slope.as_ref())?;
                slope.as_ref().map_or(Ok(()), |s| s.expect_contiguous_rows("the slopes"))
            }
            Self::ScaleAdd { add, .. } => {
                add.expect_shape("the matrix to be added", shape)?;
                add.expect_contiguous_rows("the matrix to be added")
            }
            Self::Update(Update::ScaleColumns { factors }) if factors.len() != shape.1 => {
                Err(Error::Shape { what: "the factors of the columns", expected: (1, shape.1), found: (1, factors.len()) })
            }
            Self::Update(update) => update.moments().into_iter().flatten().try_for_each(|m| {
                m.expect_shape("a moment", shape)?;
                m.expect_contiguous_rows("a moment")
            }),
        }
    }

    /// Whether a block of C has to be finished in place.
    pub(crate) fn has_work(&self) -> bool {
        matches!(self, Self::Activate { .. } | Self::ScaleAdd { .. })
    }

    /// The update, whose product goes to a workspace instead of C.
    pub(crate) fn update(&self) -> Option<&Update<'a, T>> {
        if let Self::Update(update) = self { Some(update) } else { None }
    }

    /// Finishes a block of C in place, whose first element is (i, j).
    ///
    /// # Safety
    /// The product has the shape that [`Epilogue::check`] accepted, and this block lies in it. No
    /// other thread finishes an element of the block.
    pub(crate) unsafe fn apply(&self, isa: Isa, (i, j): (usize, usize), mut c: MatMut<'_, T>) {
        let (rows, cols) = c.shape();
        match self {
            Self::Store => {}
            Self::Activate { activation, bias, slope } => {
                // SAFETY: the slopes have the product's shape, and the block is this thread's
                // alone.
                let slope = slope.as_ref().map(|s| unsafe { s.alias() }.block(i, j, rows, cols));
                bias_activate_rows(isa, *activation, c, &bias[j..j + cols], slope);
            }
            Self::ScaleAdd { scale, weight, add } => {
                let add = add.block(i, j, rows, cols);
                for r in 0..rows {
                    scale_add(isa, *scale, *weight, add.row(r).expect(CONTIGUOUS), c.row_mut(r).expect(CONTIGUOUS));
                }
            }
            Self::Update(_) => unreachable!("an update takes its product from the workspace"),
        }
    }
}

impl<'a, T: Real> Update<'a, T> {
    fn moments(&self) -> [Option<&MatMut<'a, T>>; 2] {
        match self {
            Self::Adam { m, v, .. } => [Some(m), Some(v)],
            Self::Momentum { m, .. } => [Some(m), None],
            Self::Descend { .. } | Self::ScaleColumns { .. } => [None, None],
        }
    }

    /// Moves a block of θ, whose first element is (i, j), along `delta`. Returns whether every new
    /// parameter and second moment is finite.
    ///
    /// # Safety
    /// As [`Epilogue::apply`].
    pub(crate) unsafe fn apply(&self, isa: Isa, (i, j): (usize, usize), mut theta: MatMut<'_, T>, delta: MatRef<'_, T>) -> bool {
        let (rows, cols) = delta.shape();
        // SAFETY: the moments have the product's shape, and the block is this thread's alone.
        let block = |m: Option<&MatMut<'a, T>>| m.map(|m| unsafe { m.alias() }.block(i, j, rows, cols));
        let mut moments = self.moments().map(block);
        let mut finite = true;
        for r in 0..rows {
            let (theta, delta) = (theta.row_mut(r).expect(CONTIGUOUS), delta.row(r).expect(CONTIGUOUS));
            let [m, v] = moments.each_mut().map(|m| m.as_mut().map_or(Default::default(), |m| m.row_mut(r).expect(CONTIGUOUS)));
            finite &= match *self {
                Self::Adam { step, .. } => adam_all(isa, step, theta, m, v, delta),
                Self::Momentum { rate, mu, .. } => momentum_all(isa, rate, mu, theta, m, delta),
                Self::Descend { rate } => descend_all(isa, rate, theta, delta),
                Self::ScaleColumns { factors } => scale_columns(isa, &factors[j..j + cols], theta, delta),
            };
        }
        finite
    }
}

const CONTIGUOUS: &str = "contiguous rows, checked by `Epilogue::check`";

shells! {
    /// c ← fma(scale, c, weight · z).
    fn scale_add = scale_add_body(scale: T, weight: T, z: &'a [T], c: &'a mut [T])
}

#[inline(always)]
fn scale_add_body<T: Scalar, M: Fused>(scale: T, weight: T, z: &[T], c: &mut [T]) {
    for (c, &z) in c.iter_mut().zip(z) {
        *c = M::fma(scale, *c, weight * z);
    }
}

shells! {
    /// θ ← fma(factor, θ, Δ). Returns whether every new θ is finite.
    fn scale_columns = scale_columns_body(factors: &'a [T], theta: &'a mut [T], delta: &'a [T]) -> bool
}

#[inline(always)]
fn scale_columns_body<T: Scalar, M: Fused>(factors: &[T], theta: &mut [T], delta: &[T]) -> bool {
    let mut finite = true;
    for ((theta, &factor), &delta) in theta.iter_mut().zip(factors).zip(delta) {
        *theta = M::fma(factor, *theta, delta);
        finite &= theta.is_finite();
    }
    finite
}
