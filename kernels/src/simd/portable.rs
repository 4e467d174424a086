//! Words of plain arrays, which any compiler target can run.

use super::{Lanes, kernel_row};
use crate::Real;

/// `N` elements in an array.
#[derive(Clone, Copy)]
pub(crate) struct Word<T, const N: usize>([T; N]);

// The methods need no instruction set; `unsafe` is the trait's.
impl<T: Real, const N: usize> Lanes<T> for Word<T, N> {
    const LEN: usize = N;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: N elements from `p` are the caller's promise; an array needs no more alignment than its elements.
        Self(unsafe { p.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> Self {
        let mut word = [T::ZERO; N];
        // SAFETY: n ≤ N elements from `p` are the caller's promise, and `word` is another place.
        unsafe { core::ptr::copy_nonoverlapping(p, word.as_mut_ptr(), n) };
        Self(word)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: as in `load`.
        unsafe { p.cast::<[T; N]>().write(self.0) };
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut T, n: usize) {
        // SAFETY: as in `load_first`.
        unsafe { core::ptr::copy_nonoverlapping(self.0.as_ptr(), p, n) };
    }
    #[inline(always)]
    unsafe fn mul_add(mut self, b: Self, c: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].fma_portable(b.0[i], c.0[i]);
        }
        self
    }
    #[inline(always)]
    unsafe fn mul(mut self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] *= b.0[i];
        }
        self
    }
}

// Low tiles: the emulated multiply-add is what costs here, and it wants the registers for itself.
kernel_row!(F32, f32, Word<f32, 8>, 1, "portable", [1, 2, 3, 4]);
kernel_row!(F64, f64, Word<f64, 4>, 2, "portable", [1, 2, 3, 4]);
