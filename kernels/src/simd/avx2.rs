//! AVX2 and FMA words: 16 registers of 256 bits, edges by masked moves.

use super::{Lanes, kernel_row};
use core::arch::x86_64::*;

/// Lane masks by sliding: from element `LEN - n` on, n lanes are set and the others clear.
static SLIDE_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static SLIDE_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $t:ty, $raw:ty, $len:literal, $slide:ident, $set:ident, $load:ident, $mask_load:ident, $store:ident, $mask_store:ident,
     $fma:ident, $mul:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($raw);

        impl $name {
            #[inline(always)]
            unsafe fn mask(n: usize) -> __m256i {
                assert!(n <= $len);
                // SAFETY: LEN lanes from element LEN − n ≥ 0 end inside the 2·LEN elements of the table; AVX is the caller's promise.
                unsafe { _mm256_loadu_si256($slide.as_ptr().add($len - n).cast()) }
            }
        }

        impl Lanes<$t> for $name {
            const LEN: usize = $len;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: AVX2 and FMA are the caller's promise, in this and every method below.
                Self(unsafe { $set(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: LEN elements from `p` are the caller's promise; the load is an unaligned one.
                Self(unsafe { $load(p) })
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $t, n: usize) -> Self {
                // SAFETY: lanes outside the mask are not accessed; n elements from `p` are the caller's promise.
                Self(unsafe { $mask_load(p, Self::mask(n)) })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as in `load`.
                unsafe { $store(p, self.0) };
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, n: usize) {
                // SAFETY: as in `load_first`.
                unsafe { $mask_store(p, Self::mask(n), self.0) };
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $fma(self.0, b.0, c.0) })
            }
            #[inline(always)]
            unsafe fn mul(self, b: Self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $mul(self.0, b.0) })
            }
        }
    };
}

word!(
    /// 8 elements of f32.
    F32x8, f32, __m256, 8, SLIDE_32, _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps,
    _mm256_maskstore_ps, _mm256_fmadd_ps, _mm256_mul_ps
);
word!(
    /// 4 elements of f64.
    F64x4, f64, __m256d, 4, SLIDE_64, _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskload_pd, _mm256_storeu_pd,
    _mm256_maskstore_pd, _mm256_fmadd_pd, _mm256_mul_pd
);

// 6 rows by two words: 12 accumulators, 2 words of B, 1 of A and 1 to spare of 16.
kernel_row!(F32, f32, F32x8, 2, "avx2", [1, 2, 3, 4, 5, 6], "avx2,fma");
kernel_row!(F64, f64, F64x4, 2, "avx2", [1, 2, 3, 4, 5, 6], "avx2,fma");
