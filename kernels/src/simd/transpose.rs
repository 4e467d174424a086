//! Transposing copies, in blocks that fit into registers.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Vectors, shells};
use crate::simd::vector::{MOST_COLUMNS, Vector};

/// Writes `src`, with contiguous rows, to the rows of `dst` as columns: `dst[j,i] = src[i,j]`.
///
/// Every element of `dst` is written and none is read, so it may be uninitialized. Vectors have at
/// most 256 bits: AVX-512 has no `load_columns`.
///
/// # Panics
/// If the shapes do not fit or rows are not contiguous.
pub(crate) fn transpose<T: Vectors>(isa: Isa, src: MatRef<'_, T>, dst: MatMut<'_, T>) {
    assert!(src.t().shape() == dst.shape() && src.cs() == 1 && dst.cs() == 1);
    transpose_views(isa.at_most_256_bits(), src, dst);
}

shells! { vectors
    fn transpose_views = transpose_body(src: MatRef<'a, T>, dst: MatMut<'a, T>)
}

#[inline(always)]
fn transpose_body<T: Scalar, V: Vector<T>>(src: MatRef<'_, T>, mut dst: MatMut<'_, T>) {
    let ((m, n), s, d) = (src.shape(), src.rs(), dst.rs());
    let (src, dst) = (src.as_ptr(), dst.as_mut_ptr());
    // Without instructions that move columns, elements are copied one by one.
    let (rows, columns) = if V::COLUMNS > 1 { (m / V::LEN * V::LEN, n / V::COLUMNS * V::COLUMNS) } else { (0, 0) };
    // SAFETY: `src` holds m × n elements and `dst` n × m, with contiguous rows (asserted in
    // `transpose`), and no element belongs to both, since `dst` is exclusive. The shell around this
    // body enables the instructions of V.
    unsafe {
        for i in (0..rows).step_by(V::LEN) {
            for j in (0..columns).step_by(V::COLUMNS) {
                let mut block = [V::splat(T::ZERO); MOST_COLUMNS];
                V::load_columns(src.offset(i as isize * s).add(j), s, &mut block);
                for (c, column) in block.iter().enumerate().take(V::COLUMNS) {
                    column.store(dst.offset((j + c) as isize * d).add(i));
                }
            }
        }
        scalar(src, s, dst, d, (0, rows), (columns, n));
        scalar(src, s, dst, d, (rows, m), (0, n));
    }
}

/// Transposes rows i0 .. i1 of columns j0 .. j1, 8 columns at a time: whole cache lines are then
/// read and written.
///
/// # Safety
/// All these elements of `src` may be read and all these of `dst` written. No element belongs to
/// both.
#[inline(always)]
unsafe fn scalar<T: Copy>(src: *const T, s: isize, dst: *mut T, d: isize, (i0, i1): (usize, usize), (j0, j1): (usize, usize)) {
    const COLS: usize = 8;
    let mut j = j0;
    while j < j1 {
        let some = COLS.min(j1 - j);
        for i in i0 as isize..i1 as isize {
            // SAFETY: the caller promises all elements read and written here and below. An array
            // has the alignment of its elements.
            let from = unsafe { src.offset(i * s).add(j) };
            let to = dst.wrapping_offset(j as isize * d + i);
            if some == COLS {
                // SAFETY: as above.
                let row = unsafe { from.cast::<[T; COLS]>().read() };
                for (k, x) in row.into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { *to.offset(k as isize * d) = x };
                }
            } else {
                for k in 0..some {
                    // SAFETY: as above.
                    unsafe { *to.offset(k as isize * d) = *from.add(k) };
                }
            }
        }
        j += some;
    }
}
