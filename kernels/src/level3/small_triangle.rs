//! Solves with a small triangle on the diagonal: the unknowns of one strip or panel.

use crate::base::flags::Diag;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Fused, shells};

shells! {
    /// Solves `L·X = B` for the few unknowns of a strip or panel; `x` holds B, then X.
    ///
    /// x[k · lanes + i] is unknown k of right-hand side i. The bits are those of the textbook loop.
    pub(crate) fn solve_small_triangle = solve_small_triangle_body(l: MatRef<'a, T>, diag: Diag, x: &'a mut [T], lanes: usize)
}

#[inline(always)]
fn solve_small_triangle_body<T: Scalar, M: Fused>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    // The lanes of a panel are whole vectors of 2, 4, 8 or 16 elements.
    if lanes.is_multiple_of(32) {
        // Four vectors of AVX2.
        if size_of::<T>() == 4 {
            left_looking_in_pairs::<T, M, 32>(l, diag, x, lanes);
        } else {
            left_looking_in_pairs::<T, M, 16>(l, diag, x, lanes);
        }
    } else if lanes.is_multiple_of(16) {
        right_looking::<T, M, 16>(l, diag, x, lanes);
    } else if lanes.is_multiple_of(8) {
        right_looking::<T, M, 8>(l, diag, x, lanes);
    } else if lanes.is_multiple_of(4) {
        right_looking::<T, M, 4>(l, diag, x, lanes);
    } else {
        right_looking::<T, M, 1>(l, diag, x, lanes);
    }
}

/// Solves N right-hand sides at a time, right-looking.
///
/// For few right-hand sides: a left-looking solve has too few chains to hide the latency of a fused
/// multiply-add.
#[inline(always)]
fn right_looking<T: Scalar, M: Fused, const N: usize>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    let n = l.nrows();
    for first in (0..lanes).step_by(N) {
        for k in 0..n {
            let (solved, open) = x.split_at_mut((k + 1) * lanes);
            let xk = solved[k * lanes + first..].first_chunk_mut::<N>().expect("N divides lanes");
            if diag == Diag::Stored {
                let pivot = l.get(k, k);
                xk.iter_mut().for_each(|v| *v = *v / pivot);
            }
            let xk = *xk;
            for (i, row) in open.chunks_exact_mut(lanes).enumerate() {
                let lik = l.get(k + 1 + i, k);
                let row = row[first..].first_chunk_mut::<N>().expect("N divides lanes");
                for (v, xk) in row.iter_mut().zip(xk) {
                    *v = M::fma(-xk, lik, *v);
                }
            }
        }
    }
}

/// Solves N right-hand sides at a time, left-looking, two unknowns at a time.
///
/// The chains of both unknowns stay in registers and hide each other's latency.
#[inline(always)]
fn left_looking_in_pairs<T: Scalar, M: Fused, const N: usize>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    let n = l.nrows();
    for first in (0..lanes).step_by(N) {
        let at = |k: usize| k * lanes + first;
        let load = |x: &[T], k: usize| *x[at(k)..].first_chunk::<N>().expect("N divides lanes");
        let subtract =
            |open: &mut [T; N], l: T, solved: [T; N]| open.iter_mut().zip(solved).for_each(|(v, s)| *v = M::fma(-s, l, *v));
        let divide = |open: &mut [T; N], j: usize| {
            if diag == Diag::Stored {
                let pivot = l.get(j, j);
                open.iter_mut().for_each(|v| *v = *v / pivot);
            }
        };
        for j in (0..n - n % 2).step_by(2) {
            let (mut even, mut odd) = (load(x, j), load(x, j + 1));
            for k in 0..j {
                let solved = load(x, k);
                subtract(&mut even, l.get(j, k), solved);
                subtract(&mut odd, l.get(j + 1, k), solved);
            }
            divide(&mut even, j);
            subtract(&mut odd, l.get(j + 1, j), even);
            divide(&mut odd, j + 1);
            x[at(j)..][..N].copy_from_slice(&even);
            x[at(j + 1)..][..N].copy_from_slice(&odd);
        }
        if n % 2 == 1 {
            let mut last = load(x, n - 1);
            (0..n - 1).for_each(|k| subtract(&mut last, l.get(n - 1, k), load(x, k)));
            divide(&mut last, n - 1);
            x[at(n - 1)..][..N].copy_from_slice(&last);
        }
    }
}
