//! Dispatch: one generic body, one compiled function per instruction set.
//!
//! A body is generic over [`Vector`], or over [`Fused`] if the compiler vectorizes it. A thin shell
//! per instruction set enables the CPU features around the body ([`shells`]). Callers reach a shell
//! only through an [`Isa`](crate::Isa), whose existence proves that this CPU has the features.

use crate::base::scalar::Scalar;
#[cfg(target_arch = "aarch64")]
use crate::simd::neon;
use crate::simd::portable::ArrayVector;
use crate::simd::vector::Vector;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use crate::simd::{avx2, avx512};

/// The vectors of an element type, one per instruction set.
pub(crate) trait Vectors: Scalar {
    type Portable: Vector<Self>;
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    type Avx2: Vector<Self>;
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    type Avx512: Vector<Self>;
    #[cfg(target_arch = "aarch64")]
    type Neon: Vector<Self>;
}

macro_rules! vectors {
    ($t:ty: $portable:ty, $avx2:ident, $avx512:ident, $neon:ident) => {
        impl Vectors for $t {
            type Portable = $portable;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            type Avx2 = avx2::$avx2;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            type Avx512 = avx512::$avx512;
            #[cfg(target_arch = "aarch64")]
            type Neon = neon::$neon;
        }
    };
}
vectors!(f32: ArrayVector<f32, 8>, F32x8, F32x16, F32x4);
vectors!(f64: ArrayVector<f64, 4>, F64x4, F64x8, F64x2);

/// The fused multiply-add of a body that the compiler vectorizes.
pub(crate) trait Fused {
    /// Returns `a · b + c`, rounded once.
    fn fma<T: Scalar>(a: T, b: T, c: T) -> T;
}

/// The instruction of the CPU, for shells that enable it.
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
pub(crate) struct Hardware;
/// Emulation by operations that every CPU has.
pub(crate) struct Emulated;

#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
impl Fused for Hardware {
    #[inline(always)]
    fn fma<T: Scalar>(a: T, b: T, c: T) -> T {
        a.mul_add(b, c)
    }
}

impl Fused for Emulated {
    #[inline(always)]
    fn fma<T: Scalar>(a: T, b: T, c: T) -> T {
        a.fma_portable(b, c)
    }
}

/// Compiles a body for every instruction set and defines a function that selects by
/// [`Isa`](crate::Isa).
///
/// The body is `fn body<T: Scalar, M: Fused>(…)` or, after `vectors`,
/// `fn body<T: Scalar, V: Vector<T>>(…)`. Rust never contracts `a * b + c` to a fused operation, so
/// all versions compute the same bits. References and views in the list of arguments have the
/// lifetime `'a`: the selecting function is one of [`once`](crate::base::once).
macro_rules! shells {
    (vectors $(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident $args:tt $(-> $ret:ty)?) => {
        $crate::simd::dispatch::shells!(@emit [$(#[$doc])*] [$vis] $name $body $args [$($ret)?] T::Avx512, T::Avx2, T::Neon, T::Portable);
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident $args:tt $(-> $ret:ty)?) => {
        $crate::simd::dispatch::shells!(@emit [$(#[$doc])*] [$vis] $name $body $args [$($ret)?]
            $crate::simd::dispatch::Hardware, $crate::simd::dispatch::Hardware, $crate::simd::dispatch::Hardware, $crate::simd::dispatch::Emulated);
    };
    (@emit [$($doc:tt)*] [$vis:vis] $name:ident $body:ident ( $($arg:ident : $ty:ty),* $(,)? ) [$($ret:ty)?]
        $avx512:ty, $avx2:ty, $neon:ty, $portable:ty) => {
        $crate::base::once::once! { $($doc)* $vis fn $name<T: $crate::simd::dispatch::Vectors>(isa: $crate::base::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            use $crate::base::isa::Kind;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<'a, T: $crate::simd::dispatch::Vectors>($($arg: $ty),*) $(-> $ret)? {
                $body::<T, $avx512>($($arg),*)
            }
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<'a, T: $crate::simd::dispatch::Vectors>($($arg: $ty),*) $(-> $ret)? {
                $body::<T, $avx2>($($arg),*)
            }
            match isa.kind() {
                #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                // SAFETY: an `Isa` of this kind exists only if `Isa::available` has detected these
                // features.
                Kind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                // SAFETY: as above.
                Kind::Avx2 => unsafe { avx2($($arg),*) },
                // Every aarch64 target has NEON and its fused multiply-add, so no shell is needed.
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => $body::<T, $neon>($($arg),*),
                Kind::Portable => $body::<T, $portable>($($arg),*),
            }
        } }
    };
}
pub(crate) use shells;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::isa::Isa;

    /// `load_first` and `store_first` touch exactly n elements; `load_first` sets the other lanes
    /// to 0.
    unsafe fn partial_vectors<T: Scalar, V: Vector<T>>() {
        let source: Vec<T> = (0..V::LEN).map(|i| T::from_f64(i as f64 + 1.0)).collect();
        for n in 0..=V::LEN {
            // Exactly n elements: a read past them leaves the allocation.
            let short = source[..n].to_vec();
            let mut whole = vec![T::NAN; V::LEN];
            // SAFETY: `short` holds n elements and `whole` LEN. The caller promises the instruction
            // set.
            unsafe { V::load_first(short.as_ptr(), n).store(whole.as_mut_ptr()) };
            for (i, x) in whole.iter().enumerate() {
                assert_eq!(*x, if i < n { source[i] } else { T::ZERO });
            }
            let mut fenced = vec![T::from_f64(-7.0); V::LEN + 1];
            // SAFETY: `fenced` holds more than n elements. The caller promises the instruction set.
            unsafe { V::load(source.as_ptr()).store_first(fenced.as_mut_ptr(), n) };
            for (i, x) in fenced.iter().enumerate() {
                assert_eq!(*x, if i < n { source[i] } else { T::from_f64(-7.0) });
            }
        }
    }

    #[test]
    fn partial_loads_and_stores_stay_inside() {
        let has = |name| Isa::named(name).is_ok();
        // SAFETY: each call follows a check that this CPU has the instruction set; the portable one
        // needs none.
        unsafe {
            partial_vectors::<f32, ArrayVector<f32, 8>>();
            partial_vectors::<f64, ArrayVector<f64, 4>>();
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            if has("avx2") {
                partial_vectors::<f32, avx2::F32x8>();
                partial_vectors::<f64, avx2::F64x4>();
            }
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            if has("avx512") {
                partial_vectors::<f32, avx512::F32x16>();
                partial_vectors::<f64, avx512::F64x8>();
            }
            #[cfg(target_arch = "aarch64")]
            if has("neon") {
                partial_vectors::<f32, neon::F32x4>();
                partial_vectors::<f64, neon::F64x2>();
            }
        }
        let _ = has;
    }
}
