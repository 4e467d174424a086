//! NEON words: 32 registers of 128 bits, which every aarch64 CPU has.

use super::{kernel_row, word};
use core::arch::aarch64::*;

word!(
    /// 4 elements of f32.
    F32x4(float32x4_t) of 4 f32: vdupq_n_f32, vld1q_f32, vst1q_f32, vmulq_f32,
    // The intrinsic wants the addend first.
    mul_add(a, b, c) vfmaq_f32(c, a, b),
    load_first(p, n) {
        // NEON has no masked moves: the edge goes through a word on the stack.
        let mut word = [0.0; 4];
        // SAFETY: n ≤ LEN elements from `p` are the caller's promise, and `word` is another place.
        unsafe {
            core::ptr::copy_nonoverlapping(p, word.as_mut_ptr(), n);
            vld1q_f32(word.as_ptr())
        }
    },
    store_first(x, p, n) {
        let mut word = [0.0; 4];
        // SAFETY: as in `load_first`.
        unsafe {
            vst1q_f32(word.as_mut_ptr(), x);
            core::ptr::copy_nonoverlapping(word.as_ptr(), p, n);
        }
    }
);
word!(
    /// 2 elements of f64.
    F64x2(float64x2_t) of 2 f64: vdupq_n_f64, vld1q_f64, vst1q_f64, vmulq_f64,
    // The intrinsic wants the addend first.
    mul_add(a, b, c) vfmaq_f64(c, a, b),
    load_first(p, n) {
        // NEON has no masked moves: the edge goes through a word on the stack.
        let mut word = [0.0; 2];
        // SAFETY: n ≤ LEN elements from `p` are the caller's promise, and `word` is another place.
        unsafe {
            core::ptr::copy_nonoverlapping(p, word.as_mut_ptr(), n);
            vld1q_f64(word.as_ptr())
        }
    },
    store_first(x, p, n) {
        let mut word = [0.0; 2];
        // SAFETY: as in `load_first`.
        unsafe {
            vst1q_f64(word.as_mut_ptr(), x);
            core::ptr::copy_nonoverlapping(word.as_ptr(), p, n);
        }
    }
);

// 8 rows by three words: 24 accumulators, 3 words of B, and the elements of A, of 32 registers.
kernel_row!(F32, f32, F32x4, 3, "neon", [1, 2, 3, 4, 5, 6, 7, 8], "neon");
kernel_row!(F64, f64, F64x2, 3, "neon", [1, 2, 3, 4, 5, 6, 7, 8], "neon");
