//! Small triangles on the diagonal: the unknowns of one strip or panel.

use crate::base::flags::Diag;
use crate::base::matrix::MatRef;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::shells;
use crate::simd::vector::Vector;

shells! { vectors
    /// Solves `L·X = B` for the few unknowns of a strip or panel; `x` holds B, then X.
    ///
    /// x[k · lanes + i] is unknown k of right-hand side i. The lanes are whole vectors. The bits
    /// are those of the textbook loop.
    pub(crate) fn solve_small_triangle = solve_small_triangle_body(l: MatRef<'a, T>, diag: Diag, x: &'a mut [T], lanes: usize)
}

#[inline(always)]
fn solve_small_triangle_body<T: Scalar, V: Vector<T>>(l: MatRef<'_, T>, diag: Diag, x: &mut [T], lanes: usize) {
    assert!(lanes.is_multiple_of(V::LEN) && l.ncols() == l.nrows() && x.len() == l.nrows() * lanes);
    let vectors = lanes / V::LEN;
    let mut done = 0;
    while done < vectors {
        // Chains of several unknowns stay in registers and hide each other's latency.
        // SAFETY: the shell around this body enables the instructions of V. X holds `lanes`
        // elements for each of L's unknowns (asserted above), and these vectors lie inside them.
        unsafe {
            let x = x.as_mut_ptr().add(done * V::LEN);
            done += match vectors - done {
                1 => solve_vectors::<T, V, 1, 8>(l, diag, x, lanes),
                2 => solve_vectors::<T, V, 2, 4>(l, diag, x, lanes),
                3 => solve_vectors::<T, V, 3, 3>(l, diag, x, lanes),
                _ => solve_vectors::<T, V, 4, 2>(l, diag, x, lanes),
            };
        }
    }
}

/// Solves NV vectors of right-hand sides, left-looking, `UNKNOWNS` at a time. Returns NV.
///
/// # Safety
/// The CPU has the instructions of V. For each of L's unknowns, NV vectors may be read and written
/// at `x`, `lanes` elements further for each unknown.
#[inline(always)]
unsafe fn solve_vectors<T: Scalar, V: Vector<T>, const NV: usize, const UNKNOWNS: usize>(
    l: MatRef<'_, T>,
    diag: Diag,
    x: *mut T,
    lanes: usize,
) -> usize {
    let n = l.nrows();
    let whole = n - n % UNKNOWNS;
    // SAFETY: the caller's promises; all unknowns are below n.
    unsafe {
        for first in (0..whole).step_by(UNKNOWNS) {
            solve_unknowns::<T, V, NV, UNKNOWNS>(l, diag, x, lanes, first);
        }
        for first in whole..n {
            solve_unknowns::<T, V, NV, 1>(l, diag, x, lanes, first);
        }
    }
    NV
}

/// Solves the unknowns first .. first + UNKNOWNS of [`solve_vectors`].
///
/// # Safety
/// As [`solve_vectors`]; first + UNKNOWNS ≤ n.
#[inline(always)]
unsafe fn solve_unknowns<T: Scalar, V: Vector<T>, const NV: usize, const UNKNOWNS: usize>(
    l: MatRef<'_, T>,
    diag: Diag,
    x: *mut T,
    lanes: usize,
    first: usize,
) {
    let l = l.rows(first, UNKNOWNS);
    // SAFETY: the caller's promises.
    unsafe {
        let at = |k: usize, v: usize| x.add(k * lanes + v * V::LEN);
        let mut open = [[V::splat(T::ZERO); NV]; UNKNOWNS];
        for (u, open) in open.iter_mut().enumerate() {
            for (v, x) in open.iter_mut().enumerate() {
                *x = V::load(at(first + u, v));
            }
        }
        for k in 0..first {
            let mut solved = [V::splat(T::ZERO); NV];
            for (v, x) in solved.iter_mut().enumerate() {
                *x = V::load(at(k, v));
            }
            for (u, open) in open.iter_mut().enumerate() {
                subtract(open, solved, l.get(u, k));
            }
        }
        for u in 0..UNKNOWNS {
            let (solved, open) = open.split_at_mut(u);
            let unknown = &mut open[0];
            for (k, &solved) in solved.iter().enumerate() {
                subtract(unknown, solved, l.get(u, first + k));
            }
            if diag == Diag::Stored {
                let pivot = V::splat(l.get(u, first + u));
                for x in unknown.iter_mut() {
                    *x = x.div(pivot);
                }
            }
            for (v, x) in unknown.iter().enumerate() {
                x.store(at(first + u, v));
            }
        }
    }
}

/// open ← open − solved · coefficient.
///
/// # Safety
/// The CPU has the instructions of V.
#[inline(always)]
unsafe fn subtract<T: Scalar, V: Vector<T>, const NV: usize>(open: &mut [V; NV], solved: [V; NV], coefficient: T) {
    // SAFETY: the caller's promise.
    unsafe {
        let coefficient = V::splat(coefficient);
        for (open, solved) in open.iter_mut().zip(solved) {
            *open = solved.neg_mul_add(coefficient, *open);
        }
    }
}

shells! { vectors
    /// Computes `S ← S + L·B` for the few unknowns of a strip: each element continues its chain.
    ///
    /// b[k · lanes + i] and sums[k · lanes + i] are unknown k of right-hand side i. The lanes are
    /// whole vectors.
    pub(crate) fn add_small_triangle = add_small_triangle_body(
        l: MatRef<'a, T>, diag: Diag, b: &'a [T], sums: &'a mut [T], lanes: usize
    )
}

#[inline(always)]
fn add_small_triangle_body<T: Scalar, V: Vector<T>>(l: MatRef<'_, T>, diag: Diag, b: &[T], sums: &mut [T], lanes: usize) {
    let n = l.nrows();
    assert!(lanes.is_multiple_of(V::LEN) && l.ncols() == n && b.len() == n * lanes && sums.len() == n * lanes);
    for first in (0..lanes).step_by(V::LEN) {
        for i in 0..n {
            // SAFETY: the shell around this body enables the instructions of V. A vector from lane
            // `first` on lies inside the `lanes` elements of each of the n unknowns (asserted
            // above).
            unsafe {
                let mut sum = V::load(sums.as_ptr().add(i * lanes + first));
                for k in 0..=i {
                    let coefficient = if k == i && diag == Diag::Unit { T::ONE } else { l.get(i, k) };
                    sum = V::load(b.as_ptr().add(k * lanes + first)).mul_add(V::splat(coefficient), sum);
                }
                sum.store(sums.as_mut_ptr().add(i * lanes + first));
            }
        }
    }
}
