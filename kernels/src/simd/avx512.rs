//! AVX-512 words: 32 registers of 512 bits, edges by mask registers.

use super::{Lanes, kernel_row};
use core::arch::x86_64::*;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $t:ty, $raw:ty, $len:literal, $mask:ty, $set:ident, $load:ident, $maskz_load:ident, $store:ident, $mask_store:ident,
     $fma:ident, $mul:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($raw);

        impl Lanes<$t> for $name {
            const LEN: usize = $len;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: AVX-512 is the caller's promise, in this and every method below.
                Self(unsafe { $set(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: LEN elements from `p` are the caller's promise; the load is an unaligned one.
                Self(unsafe { $load(p) })
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $t, n: usize) -> Self {
                debug_assert!(n <= Self::LEN);
                let mask = ((1u32 << n) - 1) as $mask;
                // SAFETY: lanes outside the mask are not accessed; n elements from `p` are the caller's promise.
                Self(unsafe { $maskz_load(mask, p) })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as in `load`.
                unsafe { $store(p, self.0) };
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, n: usize) {
                debug_assert!(n <= Self::LEN);
                let mask = ((1u32 << n) - 1) as $mask;
                // SAFETY: as in `load_first`.
                unsafe { $mask_store(p, mask, self.0) };
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
    /// 16 elements of f32.
    F32x16, f32, __m512, 16, __mmask16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_storeu_ps,
    _mm512_mask_storeu_ps, _mm512_fmadd_ps, _mm512_mul_ps
);
word!(
    /// 8 elements of f64.
    F64x8, f64, __m512d, 8, __mmask8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_maskz_loadu_pd, _mm512_storeu_pd,
    _mm512_mask_storeu_pd, _mm512_fmadd_pd, _mm512_mul_pd
);

// 14 rows by two words: 28 accumulators, 2 words of B and 2 to spare of 32; the multiply-add takes A from memory by broadcast.
kernel_row!(
    F32,
    f32,
    F32x16,
    2,
    "avx512",
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"
);
kernel_row!(
    F64,
    f64,
    F64x8,
    2,
    "avx512",
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"
);
