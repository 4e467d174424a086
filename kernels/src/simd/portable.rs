//! Vectors as plain arrays, for every target.

use crate::base::scalar::Scalar;
use crate::simd::vector::Vector;

/// A vector of `N` elements in an array.
#[derive(Clone, Copy)]
pub(crate) struct ArrayVector<T, const N: usize>([T; N]);

// The methods need no instruction set; the trait makes them `unsafe`.
impl<T: Scalar, const N: usize> Vector<T> for ArrayVector<T, N> {
    const LEN: usize = N;
    const EMULATED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller promises N elements from `p`. An array has the alignment of its
        // elements.
        Self(unsafe { p.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> Self {
        let mut lanes = [T::ZERO; N];
        // SAFETY: the caller promises n ≤ N elements from `p`. `lanes` holds N and does not
        // overlap.
        unsafe { core::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n) };
        Self(lanes)
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
    unsafe fn neg_mul_add(mut self, b: Self, c: Self) -> Self {
        for i in 0..N {
            self.0[i] = (-self.0[i]).fma_portable(b.0[i], c.0[i]);
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
    #[inline(always)]
    unsafe fn add(mut self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] += b.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn div(mut self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i] / b.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(T::sqrt))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(self.0.map(T::abs))
    }
    #[inline(always)]
    unsafe fn if_negative(mut self, yes: Self, no: Self) -> Self {
        for i in 0..N {
            self.0[i] = if self.0[i] < T::ZERO { yes.0[i] } else { no.0[i] };
        }
        self
    }
    #[inline(always)]
    unsafe fn any_le(self, b: Self) -> bool {
        self.0.iter().zip(&b.0).any(|(a, b)| a <= b)
    }
    #[inline(always)]
    unsafe fn load_column(p: *const T, rs: isize) -> Self {
        // SAFETY: the caller promises N elements at this stride.
        Self(core::array::from_fn(|i| unsafe { *p.offset(i as isize * rs) }))
    }
    #[inline(always)]
    unsafe fn any_nan(self) -> bool {
        self.0.iter().any(|a| a.partial_cmp(a).is_none())
    }
}
