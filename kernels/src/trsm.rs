//! Triangular solves: one routine, since a transpose or a reversal of the views turns each of the four kinds into any other.
//!
//! Recursive halving: the larger part of the work is a product. Each unknown is one chain of fused multiply-adds in the order of
//! elimination and one division, whatever the sizes of the halves: the bits are those of the textbook loop.

use crate::simd::{Fused, shells};
use crate::{Error, MatMut, MatRef, Plan, Real, Scratch, gemm};

/// Whether a triangular matrix's diagonal is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diag {
    /// It is read.
    Stored,
    /// It is all ones and never read.
    Unit,
}

/// Up to this order the plain loop runs: below it a product costs more in packing than it saves.
const BASE: usize = 24;

/// Solves `X · U = B` for X, in place in `b`; U is upper triangular.
///
/// Shapes: `u` n×n (strictly lower part never read; diagonal only if [`Diag::Stored`]), `b` batch×n. Strides of any sign: with
/// [`MatRef::t`] and [`MatRef::reverse_rows`] this is also the solve with a lower triangle and from the left.
/// Work: batch·n²/2 fused multiply-adds. Same bits on every instruction set and thread count:
/// `x_j = fma(−x_k, u_kj, …)` for k = 0 .. j, from b_j, then divided by `u_jj`.
/// Error bound: |X·U − B| ≤ γ(n)·|X|·|U| entrywise.
///
/// # Errors
/// [`Error::Shape`]; [`Error::ZeroPivot`] if a stored diagonal element is 0 ([`Error::NonFinite`] if it is none): nothing has
/// then been written. [`Error::OutOfMemory`].
///
/// # Panics
/// Never on caller data.
///
/// Source: Higham, Accuracy and Stability of Numerical Algorithms, ch. 8.
pub fn solve_upper_right<T: Real>(
    u: MatRef<'_, T>,
    diag: Diag,
    b: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = b.ncols();
    u.expect_shape("U of a triangular solve", (n, n))?;
    if diag == Diag::Stored {
        for index in 0..n {
            let pivot = u.get(index, index);
            if pivot == T::ZERO {
                return Err(Error::ZeroPivot { index });
            }
            if !pivot.is_finite() {
                return Err(Error::NonFinite { index });
            }
        }
    }
    halves(u, diag, b, plan, scratch)
}

fn halves<T: Real>(
    u: MatRef<'_, T>,
    diag: Diag,
    mut b: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = b.ncols();
    if b.is_empty() {
        return Ok(());
    }
    if n <= BASE {
        base_case(plan.isa, u, diag, b.rb());
        return Ok(());
    }
    let first = (n / 2).next_multiple_of(8);
    let (mut left, mut right) = b.split_cols(first);
    halves(u.block(0, 0, first, first), diag, left.rb(), plan, scratch)?;
    let corner = u.block(0, first, first, n - first);
    gemm(-T::ONE, left.as_ref(), corner, T::ONE, right.rb(), plan, scratch)?;
    halves(u.block(first, first, n - first, n - first), diag, right, plan, scratch)
}

shells! {
    /// The textbook loop, right-looking.
    fn base_case = base_case_body(u: MatRef<'_, T>, diag: Diag, b: MatMut<'_, T>)
}

/// Right-hand sides eliminated together, one a lane.
const LANES: usize = 64;

/// A chain of eliminations has nothing to do in parallel but the right-hand sides. They are laid side by side in a block on the stack
/// (unknown by unknown, whatever the strides of `b`), eliminated together, and put back.
#[inline(always)]
fn base_case_body<T: Real, M: Fused>(u: MatRef<'_, T>, diag: Diag, mut b: MatMut<'_, T>) {
    let (batch, n) = b.shape();
    let mut lanes = [[T::ZERO; LANES]; BASE];
    for first in (0..batch).step_by(LANES) {
        let count = LANES.min(batch - first);
        if count < LANES {
            // Idle lanes are computed too: with zeros, which are quick everywhere.
            lanes = [[T::ZERO; LANES]; BASE];
        }
        let mut block = b.rb().rows(first, count);
        copy(block.as_ref(), &mut lanes);
        for k in 0..n {
            let (done, open) = lanes[..n].split_at_mut(k + 1);
            let xk = &mut done[k];
            if diag == Diag::Stored {
                let pivot = u.get(k, k);
                xk.iter_mut().for_each(|v| *v = *v / pivot);
            }
            for (j, xj) in open.iter_mut().enumerate() {
                let ukj = u.get(k, k + 1 + j);
                for (v, &xk) in xj.iter_mut().zip(xk.iter()) {
                    *v = M::fma(-xk, ukj, *v);
                }
            }
        }
        for i in 0..count {
            if let Some(row) = block.row_mut(i) {
                row.iter_mut().zip(&lanes).for_each(|(v, lane)| *v = lane[i]);
            } else {
                (0..n).for_each(|j| block.set(i, j, lanes[j][i]));
            }
        }
    }
}

/// `lanes[j][i] = b[i, j]`.
#[inline(always)]
fn copy<T: Real>(b: MatRef<'_, T>, lanes: &mut [[T; LANES]; BASE]) {
    for i in 0..b.nrows() {
        if let Some(row) = b.row(i) {
            row.iter().zip(lanes.iter_mut()).for_each(|(&v, lane)| lane[i] = v);
        } else {
            (0..b.ncols()).for_each(|j| lanes[j][i] = b.get(i, j));
        }
    }
}
