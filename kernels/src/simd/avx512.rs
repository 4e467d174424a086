//! AVX-512 words: 32 registers of 512 bits, edges by mask registers.

use super::{kernel_row, word};
use core::arch::x86_64::*;

word!(
    /// 16 elements of f32.
    F32x16(__m512) of 16 f32: _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps,
    mul_add(a, b, c) _mm512_fmadd_ps(a, b, c),
    load_first(p, n) {
        // SAFETY: lanes outside the mask are not accessed; n elements from `p` are the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) }
    },
    store_first(x, p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, x) }
    }
);
word!(
    /// 8 elements of f64.
    F64x8(__m512d) of 8 f64: _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_mul_pd,
    mul_add(a, b, c) _mm512_fmadd_pd(a, b, c),
    load_first(p, n) {
        // SAFETY: lanes outside the mask are not accessed; n elements from `p` are the caller's promise.
        unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as __mmask8, p) }
    },
    store_first(x, p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as __mmask8, x) }
    }
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
