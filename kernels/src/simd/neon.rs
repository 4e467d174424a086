//! NEON vectors: 32 registers of 128 bits, which every aarch64 CPU has.

use crate::simd::vector::vector;
use core::arch::aarch64::*;

vector!(
    /// A vector of 4 f32.
    F32x4(float32x4_t) of 4 f32: vdupq_n_f32, vld1q_f32, vst1q_f32, vmulq_f32, vaddq_f32, vdivq_f32, vsqrtq_f32,
    // The intrinsics take the addend first.
    mul_add(a, b, c) vfmaq_f32(c, a, b),
    neg_mul_add vfmsq_f32(c, a, b),
    abs vabsq_f32(a),
    if_negative(yes, no) vbslq_f32(vcltzq_f32(a), yes, no),
    any_le vmaxvq_u32(vcleq_f32(a, b)) != 0,
    any_nan vminvq_u32(vceqq_f32(a, a)) == 0,
    load_first(p, n) {
        // NEON has no masked moves: an edge goes through a buffer on the stack.
        let mut buffer = [0.0; 4];
        // SAFETY: the caller promises n ≤ LEN elements from `p`. `buffer` holds LEN and does not
        // overlap.
        unsafe {
            core::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
            vld1q_f32(buffer.as_ptr())
        }
    },
    store_first(p, n) {
        let mut buffer = [0.0; 4];
        // SAFETY: as in `load_first`.
        unsafe {
            vst1q_f32(buffer.as_mut_ptr(), a);
            core::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
        }
    }
);
vector!(
    /// A vector of 2 f64.
    F64x2(float64x2_t) of 2 f64: vdupq_n_f64, vld1q_f64, vst1q_f64, vmulq_f64, vaddq_f64, vdivq_f64, vsqrtq_f64,
    // The intrinsics take the addend first.
    mul_add(a, b, c) vfmaq_f64(c, a, b),
    neg_mul_add vfmsq_f64(c, a, b),
    abs vabsq_f64(a),
    if_negative(yes, no) vbslq_f64(vcltzq_f64(a), yes, no),
    any_le vmaxvq_u32(vreinterpretq_u32_u64(vcleq_f64(a, b))) != 0,
    any_nan vminvq_u32(vreinterpretq_u32_u64(vceqq_f64(a, a))) == 0,
    load_first(p, n) {
        // NEON has no masked moves: an edge goes through a buffer on the stack.
        let mut buffer = [0.0; 2];
        // SAFETY: the caller promises n ≤ LEN elements from `p`. `buffer` holds LEN and does not
        // overlap.
        unsafe {
            core::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
            vld1q_f64(buffer.as_ptr())
        }
    },
    store_first(p, n) {
        let mut buffer = [0.0; 2];
        // SAFETY: as in `load_first`.
        unsafe {
            vst1q_f64(buffer.as_mut_ptr(), a);
            core::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
        }
    }
);
