//! Transposing copies, in square blocks that fit into registers.

use crate::base::isa::Isa;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use crate::base::isa::Kind;
use crate::base::scalar::Scalar;

/// Computes `dst[j·d + i] = src[i·s + j]` for i < m, j < n.
///
/// # Safety
/// All these elements of `src` may be read and all these of `dst` written. No element belongs to
/// both.
pub(crate) unsafe fn transpose<T: Scalar>(isa: Isa, src: *const T, s: isize, dst: *mut T, d: isize, (m, n): (usize, usize)) {
    // SAFETY: the caller promises the elements. An `Isa` of these kinds exists only if AVX2 was
    // detected. T is f32 or f64 (sealed), so its size selects the type.
    unsafe {
        match isa.kind() {
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            Kind::Avx2 | Kind::Avx512 if size_of::<T>() == 4 => avx2_f32(src.cast(), s, dst.cast(), d, (m, n)),
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            Kind::Avx2 | Kind::Avx512 => avx2_f64(src.cast(), s, dst.cast(), d, (m, n)),
            _ => scalar(src, s, dst, d, (0, m), (0, n)),
        }
    }
}

/// Transposes rows i0 .. i1 of columns j0 .. j1, 8 columns at a time: whole cache lines are then
/// read and written.
///
/// # Safety
/// As [`transpose`].
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

/// Transposes blocks of 8 × 8.
///
/// # Safety
/// As [`transpose`]; the CPU has AVX2.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "avx2")]
unsafe fn avx2_f32(src: *const f32, s: isize, dst: *mut f32, d: isize, (m, n): (usize, usize)) {
    use core::arch::x86_64::*;
    let (whole_m, whole_n) = (m / 8 * 8, n / 8 * 8);
    for i in (0..whole_m).step_by(8) {
        for j in (0..whole_n).step_by(8) {
            // SAFETY: rows i .. i + 8 and columns j .. j + 8 lie inside m × n, whose elements the
            // caller promises. The caller promises AVX2.
            unsafe {
                let p = src.offset(i as isize * s + j as isize);
                // Half a row of r beside half a row of r + 4: all further moves stay inside 128-bit
                // halves.
                let pair = |r: isize, half: isize| {
                    let low = _mm_loadu_ps(p.offset(r * s + half));
                    let high = _mm_loadu_ps(p.offset((r + 4) * s + half));
                    _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
                };
                for half in [0isize, 4] {
                    let (a, b, c, e) = (pair(0, half), pair(1, half), pair(2, half), pair(3, half));
                    let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                    let (ce0, ce1) = (_mm256_unpacklo_ps(c, e), _mm256_unpackhi_ps(c, e));
                    let q = dst.offset((j as isize + half) * d + i as isize);
                    _mm256_storeu_ps(q, _mm256_shuffle_ps::<0x44>(ab0, ce0));
                    _mm256_storeu_ps(q.offset(d), _mm256_shuffle_ps::<0xEE>(ab0, ce0));
                    _mm256_storeu_ps(q.offset(2 * d), _mm256_shuffle_ps::<0x44>(ab1, ce1));
                    _mm256_storeu_ps(q.offset(3 * d), _mm256_shuffle_ps::<0xEE>(ab1, ce1));
                }
            }
        }
    }
    // SAFETY: the remaining elements of m × n, which the caller promises.
    unsafe {
        scalar(src, s, dst, d, (0, whole_m), (whole_n, n));
        scalar(src, s, dst, d, (whole_m, m), (0, n));
    }
}

/// Transposes blocks of 4 × 4.
///
/// # Safety
/// As [`transpose`]; the CPU has AVX2.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "avx2")]
unsafe fn avx2_f64(src: *const f64, s: isize, dst: *mut f64, d: isize, (m, n): (usize, usize)) {
    use core::arch::x86_64::*;
    let (whole_m, whole_n) = (m / 4 * 4, n / 4 * 4);
    for i in (0..whole_m).step_by(4) {
        for j in (0..whole_n).step_by(4) {
            // SAFETY: rows i .. i + 4 and columns j .. j + 4 lie inside m × n, whose elements the
            // caller promises. The caller promises AVX2.
            unsafe {
                let p = src.offset(i as isize * s + j as isize);
                let pair = |r: isize, half: isize| {
                    let low = _mm_loadu_pd(p.offset(r * s + half));
                    let high = _mm_loadu_pd(p.offset((r + 2) * s + half));
                    _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(low), high)
                };
                for half in [0isize, 2] {
                    let (a, b) = (pair(0, half), pair(1, half));
                    let q = dst.offset((j as isize + half) * d + i as isize);
                    _mm256_storeu_pd(q, _mm256_unpacklo_pd(a, b));
                    _mm256_storeu_pd(q.offset(d), _mm256_unpackhi_pd(a, b));
                }
            }
        }
    }
    // SAFETY: the remaining elements of m × n, which the caller promises.
    unsafe {
        scalar(src, s, dst, d, (0, whole_m), (whole_n, n));
        scalar(src, s, dst, d, (whole_m, m), (0, n));
    }
}
