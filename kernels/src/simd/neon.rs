//! NEON words: 32 registers of 128 bits, which every aarch64 CPU has.

use super::{Lanes, kernel_row};
use core::arch::aarch64::*;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $t:ty, $raw:ty, $len:literal, $dup:ident, $load:ident, $store:ident, $fma:ident, $mul:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($raw);

        impl Lanes<$t> for $name {
            const LEN: usize = $len;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: NEON is the caller's promise, in this and every method below.
                Self(unsafe { $dup(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: LEN elements from `p` are the caller's promise; the load needs only T's alignment.
                Self(unsafe { $load(p) })
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $t, n: usize) -> Self {
                debug_assert!(n <= Self::LEN);
                let mut word = [0.0; $len];
                // NEON has no masked moves: the edge goes through a word on the stack.
                // SAFETY: n ≤ LEN elements from `p` are the caller's promise, and `word` is another place.
                unsafe {
                    core::ptr::copy_nonoverlapping(p, word.as_mut_ptr(), n);
                    Self($load(word.as_ptr()))
                }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as in `load`.
                unsafe { $store(p, self.0) };
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, n: usize) {
                debug_assert!(n <= Self::LEN);
                let mut word = [0.0; $len];
                // SAFETY: as in `load_first`.
                unsafe {
                    $store(word.as_mut_ptr(), self.0);
                    core::ptr::copy_nonoverlapping(word.as_ptr(), p, n);
                }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // The intrinsic's order is addend first.
                // SAFETY: as in `splat`.
                Self(unsafe { $fma(c.0, self.0, b.0) })
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
    /// 4 elements of f32.
    F32x4, f32, float32x4_t, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vfmaq_f32, vmulq_f32
);
word!(
    /// 2 elements of f64.
    F64x2, f64, float64x2_t, 2, vdupq_n_f64, vld1q_f64, vst1q_f64, vfmaq_f64, vmulq_f64
);

// 8 rows by three words: 24 accumulators, 3 words of B, and the elements of A, of 32 registers.
kernel_row!(F32, f32, F32x4, 3, "neon", [1, 2, 3, 4, 5, 6, 7, 8], "neon");
kernel_row!(F64, f64, F64x2, 3, "neon", [1, 2, 3, 4, 5, 6, 7, 8], "neon");
