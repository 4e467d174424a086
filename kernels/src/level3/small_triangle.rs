//! The triangle on the diagonal: the few unknowns of a strip or panel, for many right-hand sides.

use crate::base::flags::Diag;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Fused, shells};

shells! {
    /// The textbook loop on the few unknowns of a strip or panel: x[k · lanes + i] is unknown k of right-hand side i.
    pub(crate) fn own_triangle = own_triangle_body(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize)
}

#[inline(always)]
fn own_triangle_body<T: Scalar, M: Fused>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    // Lanes of a panel are whole words: of 2, 4, 8 or 16 elements.
    if lanes.is_multiple_of(32) {
        // Four words of AVX2.
        if size_of::<T>() == 4 { in_pairs::<T, M, 32>(l, diag, x, lanes) } else { in_pairs::<T, M, 16>(l, diag, x, lanes) }
    } else if lanes.is_multiple_of(16) {
        eliminate::<T, M, 16>(l, diag, x, lanes);
    } else if lanes.is_multiple_of(8) {
        eliminate::<T, M, 8>(l, diag, x, lanes);
    } else if lanes.is_multiple_of(4) {
        eliminate::<T, M, 4>(l, diag, x, lanes);
    } else {
        eliminate::<T, M, 1>(l, diag, x, lanes);
    }
}

/// Right-looking: for few right-hand sides, whose own chains would not hide a multiply-add's latency.
#[inline(always)]
fn eliminate<T: Scalar, M: Fused, const N: usize>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    let n = l.nrows();
    for first in (0..lanes).step_by(N) {
        for k in 0..n {
            let (done, open) = x.split_at_mut((k + 1) * lanes);
            let xk = done[k * lanes + first..].first_chunk_mut::<N>().expect("lanes of a row");
            if diag == Diag::Stored {
                let pivot = l.get(k, k);
                xk.iter_mut().for_each(|v| *v = *v / pivot);
            }
            let xk = *xk;
            for (i, row) in open.chunks_exact_mut(lanes).enumerate() {
                let lik = l.get(k + 1 + i, k);
                let row = row[first..].first_chunk_mut::<N>().expect("lanes of a row");
                for (v, xk) in row.iter_mut().zip(xk) {
                    *v = M::fma(-xk, lik, *v);
                }
            }
        }
    }
}

/// Left-looking, two unknowns at a time: their chains, in registers, hide each other's latency.
#[inline(always)]
fn in_pairs<T: Scalar, M: Fused, const N: usize>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    let n = l.nrows();
    for first in (0..lanes).step_by(N) {
        let at = |k: usize| k * lanes + first;
        let load = |x: &[T], k: usize| *x[at(k)..].first_chunk::<N>().expect("lanes of a row");
        let less =
            |open: &mut [T; N], l: T, solved: [T; N]| open.iter_mut().zip(solved).for_each(|(v, s)| *v = M::fma(-s, l, *v));
        let divide = |open: &mut [T; N], j: usize| {
            if diag == Diag::Stored {
                let pivot = l.get(j, j);
                open.iter_mut().for_each(|v| *v = *v / pivot);
            }
        };
        for j in (0..n - n % 2).step_by(2) {
            let (mut one, mut other) = (load(x, j), load(x, j + 1));
            for k in 0..j {
                let solved = load(x, k);
                less(&mut one, l.get(j, k), solved);
                less(&mut other, l.get(j + 1, k), solved);
            }
            divide(&mut one, j);
            less(&mut other, l.get(j + 1, j), one);
            divide(&mut other, j + 1);
            x[at(j)..][..N].copy_from_slice(&one);
            x[at(j + 1)..][..N].copy_from_slice(&other);
        }
        if n % 2 == 1 {
            let mut last = load(x, n - 1);
            (0..n - 1).for_each(|k| less(&mut last, l.get(n - 1, k), load(x, k)));
            divide(&mut last, n - 1);
            x[at(n - 1)..][..N].copy_from_slice(&last);
        }
    }
}
