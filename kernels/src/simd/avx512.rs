//! AVX-512 vectors: 32 registers of 512 bits, edges by mask registers.

use crate::simd::vector::vector;
use core::arch::x86_64::*;

vector!(
    /// A vector of 16 f32.
    F32x16(__m512) of 16 f32: _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, _mm512_add_ps,
        _mm512_div_ps, _mm512_sqrt_ps,
    mul_add(a, b, c) _mm512_fmadd_ps(a, b, c),
    neg_mul_add _mm512_fnmadd_ps(a, b, c),
    abs _mm512_abs_ps(a),
    if_negative(yes, no) _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, _mm512_setzero_ps()), no, yes),
    any_le _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) != 0,
    any_nan _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a) != 0,
    load_first(p, n) {
        // SAFETY: the mask excludes lanes from n on, which are not accessed. The caller promises n
        // elements from `p`.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) }
    },
    store_first(p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, a) }
    }
);
vector!(
    /// A vector of 8 f64.
    F64x8(__m512d) of 8 f64: _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_mul_pd, _mm512_add_pd,
        _mm512_div_pd, _mm512_sqrt_pd,
    mul_add(a, b, c) _mm512_fmadd_pd(a, b, c),
    neg_mul_add _mm512_fnmadd_pd(a, b, c),
    abs _mm512_abs_pd(a),
    if_negative(yes, no) _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, _mm512_setzero_pd()), no, yes),
    any_le _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b) != 0,
    any_nan _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a) != 0,
    load_first(p, n) {
        // SAFETY: the mask excludes lanes from n on, which are not accessed. The caller promises n
        // elements from `p`.
        unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as __mmask8, p) }
    },
    store_first(p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as __mmask8, a) }
    }
);
