//! AVX2 and FMA vectors: 16 registers of 256 bits, edges by masked moves.

use crate::simd::vector::vector;
use core::arch::x86_64::*;

/// Lane masks, read at a sliding offset: from element `LEN - n` on, n lanes are set, then LEN − n
/// clear.
static SLIDE_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static SLIDE_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

/// Returns the mask of the first `n` of 8 lanes.
#[inline(always)]
unsafe fn first_of_8(n: usize) -> __m256i {
    assert!(n <= 8);
    // SAFETY: 8 elements from element 8 − n ≥ 0 (asserted above) end inside the table's 16. The
    // caller promises AVX2.
    unsafe { _mm256_loadu_si256(SLIDE_32.as_ptr().add(8 - n).cast()) }
}

/// Returns the mask of the first `n` of 4 lanes.
#[inline(always)]
unsafe fn first_of_4(n: usize) -> __m256i {
    assert!(n <= 4);
    // SAFETY: 4 elements from element 4 − n ≥ 0 (asserted above) end inside the table's 8. The
    // caller promises AVX2.
    unsafe { _mm256_loadu_si256(SLIDE_64.as_ptr().add(4 - n).cast()) }
}

vector!(
    /// A vector of 8 f32.
    F32x8(__m256) of 8 f32: _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, _mm256_add_ps,
        _mm256_div_ps, _mm256_sqrt_ps,
    mul_add(a, b, c) _mm256_fmadd_ps(a, b, c),
    neg_mul_add _mm256_fnmadd_ps(a, b, c),
    abs _mm256_andnot_ps(_mm256_set1_ps(-0.0), a),
    if_negative(yes, no) _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, _mm256_setzero_ps())),
    any_le _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) != 0,
    any_nan _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)) != 0,
    load_first(p, n) {
        // SAFETY: the mask excludes lanes from n on, which are not accessed. The caller promises n
        // elements from `p`.
        unsafe { _mm256_maskload_ps(p, first_of_8(n)) }
    },
    store_first(p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm256_maskstore_ps(p, first_of_8(n), a) }
    },
    load_columns::<4>(p, rs) {
        // Half a row of r beside half a row of r + 4: all further moves stay inside 128-bit halves.
        // SAFETY: the caller promises 4 elements of 8 rows, and AVX2.
        unsafe {
            let pair = |r: isize| {
                let (low, high) = (_mm_loadu_ps(p.offset(r * rs)), _mm_loadu_ps(p.offset((r + 4) * rs)));
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
            };
            let (a, b, c, e) = (pair(0), pair(1), pair(2), pair(3));
            let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (ce0, ce1) = (_mm256_unpacklo_ps(c, e), _mm256_unpackhi_ps(c, e));
            [
                _mm256_shuffle_ps::<0x44>(ab0, ce0),
                _mm256_shuffle_ps::<0xEE>(ab0, ce0),
                _mm256_shuffle_ps::<0x44>(ab1, ce1),
                _mm256_shuffle_ps::<0xEE>(ab1, ce1),
            ]
        }
    }
);
vector!(
    /// A vector of 4 f64.
    F64x4(__m256d) of 4 f64: _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_mul_pd, _mm256_add_pd,
        _mm256_div_pd, _mm256_sqrt_pd,
    mul_add(a, b, c) _mm256_fmadd_pd(a, b, c),
    neg_mul_add _mm256_fnmadd_pd(a, b, c),
    abs _mm256_andnot_pd(_mm256_set1_pd(-0.0), a),
    if_negative(yes, no) _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_LT_OQ>(a, _mm256_setzero_pd())),
    any_le _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LE_OQ>(a, b)) != 0,
    any_nan _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_UNORD_Q>(a, a)) != 0,
    load_first(p, n) {
        // SAFETY: the mask excludes lanes from n on, which are not accessed. The caller promises n
        // elements from `p`.
        unsafe { _mm256_maskload_pd(p, first_of_4(n)) }
    },
    store_first(p, n) {
        // SAFETY: as in `load_first`.
        unsafe { _mm256_maskstore_pd(p, first_of_4(n), a) }
    },
    load_columns::<2>(p, rs) {
        // SAFETY: the caller promises 2 elements of 4 rows, and AVX2.
        unsafe {
            let pair = |r: isize| {
                let (low, high) = (_mm_loadu_pd(p.offset(r * rs)), _mm_loadu_pd(p.offset((r + 2) * rs)));
                _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(low), high)
            };
            let (a, b) = (pair(0), pair(1));
            [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)]
        }
    }
);
