//! Copies between matrices of any two layouts.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::simd::dispatch::Vectors;
use crate::simd::transpose::transpose;
use core::mem::MaybeUninit;

/// Computes `dst ← src` for any strides. If both are contiguous along the same axis, it copies row
/// by row. If along different axes, it transposes in blocks. Else it copies element by
/// element.
pub(crate) fn copy<T: Vectors>(isa: Isa, src: MatRef<'_, T>, dst: MatMut<'_, T>) {
    assert_eq!(src.shape(), dst.shape());
    if dst.is_empty() {
        return;
    }
    let unit = |s: isize| s.unsigned_abs() == 1;
    // Transpose and reverse both views so that the rows of `dst` are contiguous and ascend in
    // memory.
    let (src, dst) = if unit(dst.rs()) && !unit(dst.cs()) { (src.t(), dst.t()) } else { (src, dst) };
    let (src, mut dst) = if dst.cs() == -1 { (src.reverse_cols(), dst.reverse_cols()) } else { (src, dst) };
    let (m, n) = dst.shape();
    if dst.cs() == 1 && unit(src.rs()) && src.cs() != 1 && m > 1 {
        let (src, dst) = if src.rs() == -1 { (src.reverse_rows(), dst.reverse_rows()) } else { (src, dst) };
        return transpose(isa, src.t(), dst);
    }
    for i in 0..m {
        match (src.row(i), dst.row_mut(i)) {
            (Some(from), Some(to)) => to.copy_from_slice(from),
            _ => (0..n).for_each(|j| dst.set(i, j, src.get(i, j))),
        }
    }
}

/// Fills the memory with zeros.
pub(crate) fn zeroed<T: Scalar>(memory: &mut [MaybeUninit<T>]) -> &mut [T] {
    memory.fill(MaybeUninit::new(T::ZERO));
    // SAFETY: every element is written above. `MaybeUninit<T>` has the layout of T.
    unsafe { &mut *(core::ptr::from_mut(memory) as *mut [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies between all layouts, with whole blocks and edges.
    #[test]
    fn every_element_arrives() {
        fn all<T: Vectors>() {
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
                        // Under Miri each source layout meets a third of the targets.
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
                            assert_eq!(out.iter().filter(|x| **x != T::ZERO).count(), moved, "wrote outside the view");
                        }
                    }
                }
            }
        }
        all::<f32>();
        all::<f64>();
    }
}
