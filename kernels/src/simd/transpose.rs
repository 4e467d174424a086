//! Transposing copies, in square blocks that fit the registers.

use crate::base::isa::Isa;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use crate::base::isa::Kind;
use crate::base::scalar::Scalar;

/// `dst[j·d + i] = src[i·s + j]` for i < m, j < n.
///
/// # Safety
/// All these elements of `src` may be read, all these of `dst` written, and no element is of both.
pub(crate) unsafe fn transpose<T: Scalar>(isa: Isa, src: *const T, s: isize, dst: *mut T, d: isize, (m, n): (usize, usize)) {
    // SAFETY: the caller's promise about the elements; an `Isa` of these kinds exists only where AVX2 was found. Moves of 4 and of 8 bytes
    // move any element of that size: T is f32 or f64.
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

/// Rows and columns from … up to, a few columns at a time, so that lines are read and written whole.
///
/// # Safety
/// As [`transpose`].
#[inline(always)]
unsafe fn scalar<T: Copy>(src: *const T, s: isize, dst: *mut T, d: isize, (i0, i1): (usize, usize), (j0, j1): (usize, usize)) {
    const AT_ONCE: usize = 8;
    let mut j = j0;
    while j < j1 {
        let some = AT_ONCE.min(j1 - j);
        for i in i0 as isize..i1 as isize {
            // SAFETY: the caller's promise, here and below; an array needs no more alignment than its elements.
            let from = unsafe { src.offset(i * s).add(j) };
            let to = dst.wrapping_offset(j as isize * d + i);
            if some == AT_ONCE {
                // SAFETY: as above.
                let row = unsafe { from.cast::<[T; AT_ONCE]>().read() };
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

/// # Safety
/// As [`transpose`]; the CPU has AVX2.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "avx2")]
unsafe fn avx2_f32(src: *const f32, s: isize, dst: *mut f32, d: isize, (m, n): (usize, usize)) {
    use core::arch::x86_64::*;
    let (whole_m, whole_n) = (m / 8 * 8, n / 8 * 8);
    for i in (0..whole_m).step_by(8) {
        for j in (0..whole_n).step_by(8) {
            // SAFETY: rows i .. i + 8 and columns j .. j + 8 lie inside m × n, and these elements are the caller's promise.
            unsafe {
                let p = src.offset(i as isize * s + j as isize);
                // Halves of rows r and r + 4 side by side: what is left to do stays within halves.
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
    // SAFETY: what the blocks have left over of the same elements.
    unsafe {
        scalar(src, s, dst, d, (0, whole_m), (whole_n, n));
        scalar(src, s, dst, d, (whole_m, m), (0, n));
    }
}

/// # Safety
/// As [`transpose`]; the CPU has AVX2.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[target_feature(enable = "avx2")]
unsafe fn avx2_f64(src: *const f64, s: isize, dst: *mut f64, d: isize, (m, n): (usize, usize)) {
    use core::arch::x86_64::*;
    let (whole_m, whole_n) = (m / 4 * 4, n / 4 * 4);
    for i in (0..whole_m).step_by(4) {
        for j in (0..whole_n).step_by(4) {
            // SAFETY: rows i .. i + 4 and columns j .. j + 4 lie inside m × n, and these elements are the caller's promise.
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
    // SAFETY: what the blocks have left over of the same elements.
    unsafe {
        scalar(src, s, dst, d, (0, whole_m), (whole_n, n));
        scalar(src, s, dst, d, (whole_m, m), (0, n));
    }
}
