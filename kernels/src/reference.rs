//! The naive twins: what every kernel must equal, written to be read. Slow, and used by tests everywhere.

use crate::{Error, MatMut, MatRef, Real};

/// [`crate::gemm()`], element by element: equal in every bit.
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

/// [`crate::trsm::solve_upper_right`], unknown by unknown: equal in every bit.
pub fn solve_upper_right<T: Real>(u: MatRef<'_, T>, unit_diagonal: bool, mut b: MatMut<'_, T>) {
    for i in 0..b.nrows() {
        for j in 0..b.ncols() {
            let mut x = b.get(i, j);
            for k in 0..j {
                x = (-b.get(i, k)).mul_add(u.get(k, j), x);
            }
            b.set(i, j, if unit_diagonal { x } else { x / u.get(j, j) });
        }
    }
}

/// [`crate::lu::factor`], column by column: equal in every bit.
///
/// # Errors
/// [`Error::ZeroPivot`].
pub fn lu<T: Real>(mut a: MatMut<'_, T>, pivots: &mut [usize]) -> Result<(), Error> {
    let n = a.nrows();
    for (k, pivot) in pivots.iter_mut().enumerate().take(n) {
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
