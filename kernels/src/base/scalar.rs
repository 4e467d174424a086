//! The element types `f32` and `f64`: arithmetic and constants.

use crate::base::once::Select;
use core::fmt::{Debug, Display, LowerExp};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Arithmetic and constants of the element types `f32` and `f64`. [`Real`](crate::Real) adds their
/// kernels.
#[allow(private_bounds)] // The selection is private to this crate.
pub trait Scalar:
    sealed::Sealed
    + Select
    + Copy
    + Default
    + Debug
    + Display
    + LowerExp
    + PartialEq
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + Send
    + Sync
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// NaN. Tests use it to fence memory that must not be read.
    const NAN: Self;
    /// The smallest positive normal number, as f64.
    const SMALLEST: f64;
    /// The largest finite number, as f64.
    const LARGEST: f64;
    /// The unit roundoff u: half the distance from 1 to the next larger number.
    const UNIT_ROUNDOFF: f64;
    /// The name of the type: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// Rounds to the nearest number of this type.
    fn from_f64(v: f64) -> Self;
    /// Converts to f64, exactly.
    fn to_f64(self) -> f64;
    /// Returns `self · b + c`, rounded once. A library call unless the target has the instruction.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// Returns the bits of [`Scalar::mul_add`] by operations of any CPU, for the portable kernels.
    fn fma_portable(self, b: Self, c: Self) -> Self;
    /// Returns |self|.
    fn abs(self) -> Self;
    /// Returns √self, correctly rounded.
    fn sqrt(self) -> Self;
    /// Returns whether the number is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Returns the bits, zero-extended, for exact comparisons.
    fn bits(self) -> u64;
}

/// Returns `a·b + c` in f32, rounded once, by f64 arithmetic.
///
/// The product of two 24-bit significands is exact in f64. Its sum with `c` is rounded to odd: if
/// the sum is inexact, its last bit is set. The second rounding, to f32, is then correct. Neither
/// step can overflow or underflow in f64.
///
/// # References
/// Boldo and Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using
/// rounding to odd, 2008.
#[cfg(any(test, not(any(target_feature = "fma", target_arch = "aarch64"))))]
#[inline(always)]
fn fma_f32_in_f64(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    // Knuth's TwoSum: `error` is exactly the rounding error of the addition.
    let back = sum - product;
    let error = (product - (sum - back)) + (addend - back);
    let bits = sum.to_bits();
    // The error is NaN if an operand is infinite. The sum must then stay, so the test is not
    // `error != 0`.
    let inexact = (error > 0.0) | (error < 0.0);
    let even = bits & 1 == 0;
    // One of the two numbers that enclose the exact value is odd: an even sum moves towards the
    // error.
    let outwards = (error > 0.0) == (sum > 0.0);
    let odd = if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact & even { odd } else { bits }) as f32
}

macro_rules! scalar {
    ($t:ident, $u:expr, $fma:expr, $portable:expr, $sqrt:expr) => {
        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = $t::NAN;
            const SMALLEST: f64 = $t::MIN_POSITIVE as f64;
            const LARGEST: f64 = $t::MAX as f64;
            const UNIT_ROUNDOFF: f64 = $u;
            const NAME: &'static str = stringify!($t);

            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                $fma(self, b, c)
            }
            #[inline(always)]
            fn fma_portable(self, b: Self, c: Self) -> Self {
                $portable(self, b, c)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $sqrt(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    };
}

// `core` lacks `mul_add` and `sqrt`. `std` compiles them to an instruction if the target has it;
// without `std` they are calls of `libm`. Both round correctly, so the bits are equal.
#[cfg(feature = "std")]
macro_rules! std_or_libm {
    ($std:path, $libm:path) => {
        $std
    };
}
#[cfg(not(feature = "std"))]
macro_rules! std_or_libm {
    ($std:path, $libm:path) => {
        $libm
    };
}

// A target that always has the instruction needs no emulation.
#[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
use std_or_libm as portable_f32;
#[cfg(not(any(target_feature = "fma", target_arch = "aarch64")))]
macro_rules! portable_f32 {
    ($std:path, $libm:path) => {
        fma_f32_in_f64
    };
}
// f64 has no wider type to compute in. The C library's `fma` uses the instruction if the CPU has
// it. That of Windows has not always been exact, so Windows uses `libm`.
#[cfg(not(windows))]
use std_or_libm as portable_f64;
#[cfg(windows)]
macro_rules! portable_f64 {
    ($std:path, $libm:path) => {
        $libm
    };
}

scalar!(
    f32,
    f32::EPSILON as f64 / 2.0,
    std_or_libm!(f32::mul_add, libm::fmaf),
    portable_f32!(f32::mul_add, libm::fmaf),
    std_or_libm!(f32::sqrt, libm::sqrtf)
);
scalar!(
    f64,
    f64::EPSILON / 2.0,
    std_or_libm!(f64::mul_add, libm::fma),
    portable_f64!(f64::mul_add, libm::fma),
    std_or_libm!(f64::sqrt, libm::sqrt)
);

#[cfg(test)]
mod tests {
    use super::fma_f32_in_f64;
    use proptest::prelude::*;

    fn same(a: f32, b: f32, c: f32) -> Result<(), TestCaseError> {
        let (want, got) = (a.mul_add(b, c), fma_f32_in_f64(a, b, c));
        prop_assert!(
            want.to_bits() == got.to_bits() || (want.is_nan() && got.is_nan()),
            "{a:e} * {b:e} + {c:e}: want {want:e}, got {got:e}"
        );
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn emulated_fma_is_the_fma_for_any_bits(a: u32, b: u32, c: u32) {
            same(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c))?;
        }

        /// Cases near cancellation, halfway cases and subnormal numbers, which random bits seldom
        /// hit.
        #[test]
        fn emulated_fma_is_the_fma_where_it_is_hard(a in -2f32..2.0, b in -2f32..2.0, ulps in -3i32..=3, shift in -149i32..60) {
            let scale = 2f64.powi(shift) as f32;
            let near = f32::from_bits((-(a * b)).to_bits().wrapping_add_signed(ulps));
            same(a, b, near)?;
            same(a, b, near * scale)?;
            same(a * scale, b, near * scale)?;
            same(a, b, scale)?;
        }
    }

    /// A case that plain f64 arithmetic rounds twice, and wrongly; the emulation avoids it.
    #[test]
    fn plain_double_rounding_would_fail() {
        let (a, b, c) = (1.0f32 + f32::EPSILON, 1.0f32 + f32::EPSILON, 2f32.powi(-70));
        let c = c + 0.0;
        // a·b = 1 + 2^-22 + 2^-46: the addend puts the f64 sum exactly on an f32 halfway point.
        let half = -(2f64.powi(-46)) + 2f64.powi(-24);
        let addend = half as f32;
        for c in [addend, -addend, c, -c] {
            assert_eq!(a.mul_add(b, c).to_bits(), fma_f32_in_f64(a, b, c).to_bits());
        }
        let naive = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        // 1·1 + (2^-24 + 2^-54·…): the deciding bit lies below the last place of f64.
        let (a, b, c) = (1.0f32 + 2f32.powi(-12), 1.0f32 + 2f32.powi(-12), 2f32.powi(-60));
        let exact = a.mul_add(b, c);
        assert_eq!(exact.to_bits(), fma_f32_in_f64(a, b, c).to_bits());
        assert_ne!(exact.to_bits(), naive(a, b, c).to_bits(), "plain arithmetic no longer rounds this case twice");
    }
}
