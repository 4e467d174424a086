//! Reference loops: naive twins of the kernels, written to be read. Every kernel equals its twin in
//! every bit.
//!
//! They are slow, and all tests use them. They check no shapes: an element outside a view panics,
//! where a kernel returns an [`Error`].

use crate::base::error::Error;
use crate::base::flags::{Diag, Diagonal, Part, Side, Triangle};
use crate::base::matrix::{MatMut, MatRef};
use crate::tile::table::Real;

/// Computes [`crate::gemm()`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn gemm<T: Real>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    for i in 0..c.nrows() {
        for j in 0..c.ncols() {
            let mut acc = if beta == T::ZERO { T::ZERO } else { beta * c.get(i, j) };
            for k in 0..a.ncols() {
                acc = (alpha * a.get(i, k)).mul_add(b.get(k, j), acc);
            }
            c.set(i, j, acc);
        }
    }
}

/// Computes [`crate::gemmt::gemmt`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn gemmt<T: Real>(triangle: Triangle, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    for i in 0..c.nrows() {
        for j in 0..=i {
            let lower = triangle == Triangle::Lower;
            let (i, j) = if lower { (i, j) } else { (j, i) };
            let (left, right) = if lower { (alpha, T::ONE) } else { (T::ONE, alpha) };
            let mut acc = if beta == T::ZERO { T::ZERO } else { beta * c.get(i, j) };
            for k in 0..a.ncols() {
                acc = (left * a.get(i, k)).mul_add(right * b.get(k, j), acc);
            }
            c.set(i, j, acc);
        }
    }
}

/// Computes [`crate::syr2k::syr2k`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn syr2k<T: Real>(triangle: Triangle, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    gemmt(triangle, alpha, a, b.t(), beta, c.rb());
    gemmt(triangle, alpha, b, a.t(), T::ONE, c);
}

/// Computes [`crate::trmm::product`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn trmm<T: Real>(side: Side, triangle: Triangle, diag: Diag, alpha: T, a: MatRef<'_, T>, mut b: MatMut<'_, T>) {
    if side == Side::Right {
        return trmm(Side::Left, triangle.t(), diag, alpha, a.t(), b.t());
    }
    let (n, rhs) = b.shape();
    for c in 0..rhs {
        // From the last to the first in the order of elimination, so that the earlier ones are not
        // overwritten yet.
        for step in (0..n).rev() {
            let eliminated = |s: usize| if triangle == Triangle::Lower { s } else { n - 1 - s };
            let i = eliminated(step);
            let mut sum = T::ZERO;
            for k in (0..=step).map(eliminated) {
                let x = if alpha == T::ONE { b.get(k, c) } else { alpha * b.get(k, c) };
                let a = if k == i && diag == Diag::Unit { T::ONE } else { a.get(i, k) };
                sum = x.mul_add(a, sum);
            }
            b.set(i, c, sum);
        }
    }
}

/// Computes [`crate::reduce::dot`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn dot<T: Real>(x: MatRef<'_, T>, y: MatRef<'_, T>) -> f64 {
    let n = x.nrows();
    let block = n.div_ceil(64).next_multiple_of(32768).max(1);
    let mut total = 0.0;
    for first in (0..n).step_by(block) {
        let mut lanes = [0.0; 16];
        for i in first..n.min(first + block) {
            lanes[(i - first) % 16] += x.get(i, 0).to_f64() * y.get(i, 0).to_f64();
        }
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        total += lanes[0];
    }
    total
}

/// Computes [`crate::lu::factor`] column by column, with the same bits.
///
/// # Errors
/// [`Error::ZeroPivot`] for a zero pivot; [`Error::NonFinite`] with the first column whose pivot
/// candidates include an infinity or NaN.
///
/// # Panics
/// If the shapes do not match.
pub fn lu<T: Real>(mut a: MatMut<'_, T>, pivots: &mut [usize]) -> Result<(), Error> {
    let n = a.nrows();
    for (k, pivot) in pivots.iter_mut().enumerate().take(n) {
        if (k..n).any(|i| !a.get(i, k).is_finite()) {
            return Err(Error::NonFinite { index: k });
        }
        let mut p = k;
        for i in k + 1..n {
            if a.get(i, k).abs() > a.get(p, k).abs() {
                p = i;
            }
        }
        *pivot = p;
        if a.get(p, k) == T::ZERO {
            return Err(Error::ZeroPivot { index: k });
        }
        for j in 0..n {
            let (x, y) = (a.get(k, j), a.get(p, j));
            a.set(k, j, y);
            a.set(p, j, x);
        }
        for i in k + 1..n {
            let l = a.get(i, k) / a.get(k, k);
            a.set(i, k, l);
            for j in k + 1..n {
                let v = (-l).mul_add(a.get(k, j), a.get(i, j));
                a.set(i, j, v);
            }
        }
    }
    Ok(())
}

/// Computes [`crate::trsm::solve`] unknown by unknown, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn solve<T: Real>(side: Side, triangle: Triangle, diag: Diag, alpha: T, a: MatRef<'_, T>, mut b: MatMut<'_, T>) {
    if side == Side::Right {
        return solve(Side::Left, triangle.t(), diag, alpha, a.t(), b.t());
    }
    let (n, rhs) = b.shape();
    for c in 0..rhs {
        for step in 0..n {
            let eliminated = |s: usize| if triangle == Triangle::Lower { s } else { n - 1 - s };
            let i = eliminated(step);
            let mut x = if alpha == T::ONE { b.get(i, c) } else { alpha * b.get(i, c) };
            for k in (0..step).map(eliminated) {
                x = (-b.get(k, c)).mul_add(a.get(i, k), x);
            }
            b.set(i, c, if diag == Diag::Unit { x } else { x / a.get(i, i) });
        }
    }
}

/// Computes [`crate::syrk::syrk`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
pub fn syrk<T: Real>(alpha: T, a: MatRef<'_, T>, beta: T, part: Part, diagonal: Diagonal, mut c: MatMut<'_, T>) {
    for i in 0..c.nrows() {
        for j in 0..=i {
            let (i, j) = if part == Part::Upper { (j, i) } else { (i, j) };
            let mut acc = if beta == T::ZERO { T::ZERO } else { beta * c.get(i, j) };
            let (low, high) = (i.max(j), i.min(j));
            for k in 0..a.ncols() {
                acc = (alpha * a.get(low, k)).mul_add(a.get(high, k), acc);
            }
            let value = if i == j && diagonal == Diagonal::Dropped { T::ZERO } else { acc };
            c.set(i, j, value);
            if part == Part::Both {
                c.set(j, i, value);
            }
        }
    }
}

/// Computes [`crate::symm::symm`] element by element, with the same bits.
///
/// # Panics
/// If the shapes do not match.
#[allow(clippy::too_many_arguments)]
pub fn symm<T: Real>(
    side: Side,
    triangle: Triangle,
    alpha: T,
    s: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
) {
    let full = |i: usize, j: usize| if (i >= j) == (triangle == Triangle::Lower) { s.get(i, j) } else { s.get(j, i) };
    for i in 0..c.nrows() {
        for j in 0..c.ncols() {
            let mut acc = if beta == T::ZERO { T::ZERO } else { beta * c.get(i, j) };
            for k in 0..s.nrows() {
                let (left, right) = if side == Side::Left { (full(i, k), b.get(k, j)) } else { (b.get(i, k), full(k, j)) };
                acc = (alpha * left).mul_add(right, acc);
            }
            c.set(i, j, acc);
        }
    }
}

/// Computes [`crate::cholesky::factor`] column by column, with the same bits.
///
/// # Errors
/// [`Error::NotPositiveDefinite`] for a pivot that is not positive; [`Error::NonFinite`] for a
/// pivot that is infinite or NaN.
///
/// # Panics
/// If the shapes do not match.
pub fn cholesky<T: Real>(mut a: MatMut<'_, T>) -> Result<(), Error> {
    let n = a.nrows();
    for j in 0..n {
        for i in j..n {
            let mut x = a.get(i, j);
            for k in 0..j {
                x = (-a.get(i, k)).mul_add(a.get(j, k), x);
            }
            a.set(i, j, x);
        }
        let pivot = a.get(j, j);
        if !pivot.is_finite() {
            return Err(Error::NonFinite { index: j });
        }
        if !(pivot > T::ZERO) {
            return Err(Error::NotPositiveDefinite { index: j });
        }
        let root = pivot.sqrt();
        a.set(j, j, root);
        for i in j + 1..n {
            let x = a.get(i, j) / root;
            a.set(i, j, x);
        }
    }
    Ok(())
}
