//! Copies between any two layouts.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::simd::transpose::transpose;
use core::mem::MaybeUninit;

/// `dst ← src`, whatever the strides: row by row where both have neighbours the same way, in square blocks where they cross.
pub(crate) fn copy<T: Scalar>(isa: Isa, src: MatRef<'_, T>, dst: MatMut<'_, T>) {
    assert_eq!(src.shape(), dst.shape());
    if dst.is_empty() {
        return;
    }
    let unit = |s: isize| s.unsigned_abs() == 1;
    // Rows are what the destination has neighbours along, in memory's order.
    let (src, dst) = if unit(dst.rs()) && !unit(dst.cs()) { (src.t(), dst.t()) } else { (src, dst) };
    let (src, mut dst) = if dst.cs() == -1 { (src.reverse_cols(), dst.reverse_cols()) } else { (src, dst) };
    let (m, n) = dst.shape();
    if dst.cs() == 1 && unit(src.rs()) && src.cs() != 1 && m > 1 {
        let (src, mut dst) = if src.rs() == -1 { (src.reverse_rows(), dst.reverse_rows()) } else { (src, dst) };
        // SAFETY: the n × m elements of srcᵀ, whose columns are neighbours, and those of dst, whose columns are: both views hold them, and
        // nobody reaches those of a `MatMut` otherwise.
        unsafe { transpose(isa, src.as_ptr(), src.cs(), dst.as_mut_ptr(), dst.rs(), (n, m)) };
        return;
    }
    for i in 0..m {
        match (src.row(i), dst.row_mut(i)) {
            (Some(from), Some(to)) => to.copy_from_slice(from),
            _ => (0..n).for_each(|j| dst.set(i, j, src.get(i, j))),
        }
    }
}

/// Zeros, where nothing was.
pub(crate) fn zeroed<T: Scalar>(memory: &mut [MaybeUninit<T>]) -> &mut [T] {
    memory.fill(MaybeUninit::new(T::ZERO));
    // SAFETY: every element was written above; `MaybeUninit<T>` has the layout of T.
    unsafe { &mut *(core::ptr::from_mut(memory) as *mut [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between all layouts, with whole blocks and edges.
    #[test]
    fn every_element_arrives() {
        fn all<T: Scalar>() {
            for isa in Isa::available() {
                for (m, n) in [(0, 3), (1, 1), (1, 9), (9, 1), (8, 8), (13, 21), (24, 7)] {
                    let len = 40 + 2 * (m + 2) * (n + 2);
                    let (p, q) = (m as isize, n as isize);
                    let strides = [(q, 1), (1, p.max(1)), (q + 3, 1), (-q, 1), (q, -1), (2 * q + 1, 2), (1, -p - 1), (-1, p + 2)];
                    let view = |(rs, cs): (isize, isize)| {
                        let low = (p - 1).max(0) * rs.min(0) + (q - 1).max(0) * cs.min(0);
                        (low.unsigned_abs(), (rs, cs))
                    };
                    for (i, from) in strides.into_iter().enumerate() {
                        // Under Miri each layout meets some of them.
                        let (skipped, step) = if cfg!(miri) { (i % 3, 3) } else { (0, 1) };
                        for to in strides.into_iter().skip(skipped).step_by(step) {
                            let data: Vec<T> = (0..len).map(|i| T::from_f64(i as f64)).collect();
                            let mut out = vec![T::ZERO; len];
                            let (at, s) = view(from);
                            let src = MatRef::strided(&data, at, (m, n), s).unwrap();
                            let (at, s) = view(to);
                            copy(isa, src, MatMut::strided(&mut out, at, (m, n), s).unwrap());
                            assert_eq!(src.to_vec(), MatRef::strided(&out, at, (m, n), s).unwrap().to_vec(), "{from:?} {to:?}");
                            let moved = src.to_vec().iter().filter(|x| **x != T::ZERO).count();
                            assert_eq!(out.iter().filter(|x| **x != T::ZERO).count(), moved, "wrote outside");
                        }
                    }
                }
            }
        }
        all::<f32>();
        all::<f64>();
    }
}
