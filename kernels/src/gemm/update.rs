//! Optimisers as the end of a product: the gradient is stored nowhere.
//!
//! ```text
//!        x (B × n)                       Δ: some rows, all columns of a thread; in L2, never in memory
//!    ┌──────────────┐                  ┌──────────────┐      θ, m, v: these rows
//!  yᵀ│              │    tiles  ──►    │ ▒▒▒▒▒▒▒▒▒▒▒▒ │ ──►  θ ← θ + rate·m / (ε + √v) …
//!    └──────────────┘                  └──────────────┘
//! ```
//!
//! By blocks and not on the register tile: an Adam step takes square roots and divisions, which keep a core busy for half as long as the whole product
//! at a batch of 60. On the tile they, and the rows of three more matrices, stand between one chain and the next (benches/record/blocking.md).

use crate::epilogue::{AdamStep, adam_all, descend_all, momentum_all, neighbours};
use crate::{Error, Isa, MatMut, MatRef, Real};
use core::sync::atomic::{AtomicBool, Ordering};

/// An optimiser's step: θ is moved along a descent direction Δ. Moments have θ's shape, columns neighbours.
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
        /// μ.
        mu: T,
        /// The momentum.
        m: MatMut<'a, T>,
    },
    /// As [`crate::epilogue::descend`].
    Descend {
        /// Learning rate η.
        rate: T,
    },
}

/// What becomes of a product that is stored nowhere, block by block.
pub(crate) trait Settle<T>: Sync {
    /// Takes `delta`, whose first element is element (i, j) of the product.
    ///
    /// # Safety
    /// The product has these elements; nobody else settles one of them.
    unsafe fn settle(&self, i: usize, j: usize, delta: MatRef<'_, T>, isa: Isa);
}

/// [`Update`] with its operands checked.
pub(super) struct Updating<'a, T> {
    rule: Rule<T>,
    theta: MatMut<'a, T>,
    moments: [Option<MatMut<'a, T>>; 2],
    broken: AtomicBool,
}

enum Rule<T> {
    Adam(AdamStep<T>),
    Momentum(T, T),
    Descend(T),
}

impl<'a, T: Real> Updating<'a, T> {
    /// θ's columns are neighbours: checked by the caller.
    pub(super) fn new(update: Update<'a, T>, theta: MatMut<'a, T>) -> Result<Self, Error> {
        let (rule, moments) = match update {
            Update::Adam { step, m, v } => (Rule::Adam(step), [Some(m), Some(v)]),
            Update::Momentum { rate, mu, m } => (Rule::Momentum(rate, mu), [Some(m), None]),
            Update::Descend { rate } => (Rule::Descend(rate), [None, None]),
        };
        for m in moments.iter().flatten() {
            m.expect_shape("a moment", theta.shape())?;
            neighbours("a moment", m.ncols(), m.cs())?;
        }
        Ok(Self { rule, theta, moments, broken: AtomicBool::new(false) })
    }

    /// Whether every parameter and second moment written is finite.
    pub(super) fn finite(self) -> bool {
        !self.broken.into_inner()
    }
}

impl<'a, T: Real> Settle<T> for Updating<'a, T> {
    unsafe fn settle(&self, i: usize, j: usize, delta: MatRef<'_, T>, isa: Isa) {
        let (rows, n) = delta.shape();
        // SAFETY: the operands have the product's shape (checked in `new`), and these elements of them are the caller's alone.
        let block = |m: &MatMut<'a, T>| unsafe { m.alias() }.block(i, j, rows, n);
        let (mut theta, [mut m, mut v]) = (block(&self.theta), self.moments.each_ref().map(|m| m.as_ref().map(block)));
        let mut finite = true;
        for r in 0..rows {
            let (theta, delta) = (theta.row_mut(r).expect(NEIGHBOURS), delta.row(r).expect(NEIGHBOURS));
            let [m, v] = [&mut m, &mut v].map(|x| x.as_mut().map_or(Default::default(), |x| x.row_mut(r).expect(NEIGHBOURS)));
            finite &= match self.rule {
                Rule::Adam(step) => adam_all(isa, step, theta, m, v, delta),
                Rule::Momentum(rate, mu) => momentum_all(isa, rate, mu, theta, m, delta),
                Rule::Descend(rate) => descend_all(isa, rate, theta, delta),
            };
        }
        if !finite {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}

const NEIGHBOURS: &str = "columns are neighbours, checked when the operand was taken";
