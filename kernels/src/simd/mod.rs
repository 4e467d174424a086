//! Vector words, one file an instruction set. Nothing here knows what a matrix is.
//!
//! An arithmetic body is written once, generic over [`Lanes`] (or over [`Fused`] when the compiler may choose the words), and
//! compiled once per instruction set inside a thin shell that enables the features. The shells are reached only through an
//! [`Isa`], whose existence proves that this CPU has them.
//!
//! An x86-64 target without SSE2 (a kernel's, which computes in software) passes floats in other registers: it has the portable words alone.

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(crate) mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
pub(crate) mod transpose;

use crate::epilogue::{Activate, ScaleAdd, SlopeMask, Store};
use crate::gemm::macro_kernel::{self, Job};
use crate::gemm::micro::{Family, TileFn, TileKind};
use crate::{Error, Isa, MatMut, Plan, Real, Scratch};
use core::mem::MaybeUninit;

/// A vector word of `LEN` elements of type `T`.
///
/// # Safety
/// Every method requires the instruction set of the implementing file; the caller runs inside that file's shell.
/// `load` and `store` touch `LEN` elements from the pointer, their `_first` twins exactly the first `n ≤ LEN` (the other lanes
/// are loaded as 0). No alignment is required beyond T's.
pub trait Lanes<T>: Copy {
    /// Elements in a word.
    const LEN: usize;
    /// Whether the fused multiply-add is made of many operations.
    const EMULATED: bool = false;
    /// The same element in every lane.
    unsafe fn splat(x: T) -> Self;
    /// `LEN` elements.
    unsafe fn load(p: *const T) -> Self;
    /// The first `n` elements; 0 in the other lanes.
    unsafe fn load_first(p: *const T, n: usize) -> Self;
    /// `LEN` elements.
    unsafe fn store(self, p: *mut T);
    /// The first `n` elements; memory behind them is not touched.
    unsafe fn store_first(self, p: *mut T, n: usize);
    /// `self · b + c`, rounded once.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `−self · b + c`, rounded once.
    unsafe fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// `self · b`.
    unsafe fn mul(self, b: Self) -> Self;
    /// `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// `self / b`.
    unsafe fn div(self, b: Self) -> Self;
    /// √self, correctly rounded.
    unsafe fn sqrt(self) -> Self;
    /// |self|.
    unsafe fn abs(self) -> Self;
    /// Lane by lane: `yes` where self < 0 (not where it is −0 or NaN), else `no`.
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self;
    /// Whether self ≤ b in any lane; a NaN on either side counts as no.
    unsafe fn any_le(self, b: Self) -> bool;

    /// Whether no lane is infinite or NaN.
    #[inline(always)]
    unsafe fn all_finite(self, infinity: Self) -> bool {
        // SAFETY: the instruction set is the caller's promise. ∞ ≤ |x| misses NaN, |x| ≤ |x| misses nothing else.
        unsafe { !infinity.any_le(self.abs()) && !self.any_nan() }
    }
    /// Whether any lane is NaN.
    unsafe fn any_nan(self) -> bool;
}

/// Implements [`Lanes`] for a register type from its intrinsics; only edges and comparisons differ by more than names.
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
macro_rules! word {
    (
        $(#[$doc:meta])* $name:ident($raw:ty) of $len:literal $t:ty:
        $set:ident, $load:ident, $store:ident, $mul:ident, $add:ident, $div:ident, $sqrt:ident,
        mul_add($a:ident, $b:ident, $c:ident) $fma:expr,
        neg_mul_add $fnma:expr,
        abs $abs:expr,
        if_negative($yes:ident, $no:ident) $negative:expr,
        any_le $any_le:expr,
        any_nan $any_nan:expr,
        load_first($p:ident, $n:ident) $load_first:block,
        store_first($q:ident, $m:ident) $store_first:block
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $name($raw);

        impl $crate::simd::Lanes<$t> for $name {
            const LEN: usize = $len;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: the instruction set is the caller's promise, in this and every method below.
                Self(unsafe { $set(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: LEN elements from `p` are the caller's promise; the load needs no alignment beyond the element's.
                Self(unsafe { $load(p) })
            }
            #[inline(always)]
            unsafe fn load_first($p: *const $t, $n: usize) -> Self {
                debug_assert!($n <= Self::LEN);
                Self($load_first)
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as in `load`.
                unsafe { $store(p, self.0) };
            }
            #[inline(always)]
            unsafe fn store_first(self, $q: *mut $t, $m: usize) {
                debug_assert!($m <= Self::LEN);
                let $a = self.0;
                $store_first
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                let ($a, $b, $c) = (self.0, b.0, c.0);
                // SAFETY: as in `splat`.
                Self(unsafe { $fma })
            }
            #[inline(always)]
            unsafe fn neg_mul_add(self, b: Self, c: Self) -> Self {
                let ($a, $b, $c) = (self.0, b.0, c.0);
                // SAFETY: as in `splat`.
                Self(unsafe { $fnma })
            }
            #[inline(always)]
            unsafe fn mul(self, b: Self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $mul(self.0, b.0) })
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $add(self.0, b.0) })
            }
            #[inline(always)]
            unsafe fn div(self, b: Self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $div(self.0, b.0) })
            }
            #[inline(always)]
            unsafe fn sqrt(self) -> Self {
                // SAFETY: as in `splat`.
                Self(unsafe { $sqrt(self.0) })
            }
            #[inline(always)]
            unsafe fn abs(self) -> Self {
                let $a = self.0;
                // SAFETY: as in `splat`.
                Self(unsafe { $abs })
            }
            #[inline(always)]
            unsafe fn if_negative(self, yes: Self, no: Self) -> Self {
                let ($a, $yes, $no) = (self.0, yes.0, no.0);
                // SAFETY: as in `splat`.
                Self(unsafe { $negative })
            }
            #[inline(always)]
            unsafe fn any_le(self, b: Self) -> bool {
                let ($a, $b) = (self.0, b.0);
                // SAFETY: as in `splat`.
                unsafe { $any_le }
            }
            #[inline(always)]
            unsafe fn any_nan(self) -> bool {
                let $a = self.0;
                // SAFETY: as in `splat`.
                unsafe { $any_nan }
            }
        }
    };
}
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
pub(crate) use word;

/// Asks for the cache line at `p`, which need not be readable, before it is needed. Does nothing where there is no such instruction.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    // SAFETY: a prefetch reads nothing; the condition below says that the target has SSE.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    let _ = p;
}

/// How a body that leaves vectorisation to the compiler gets its fused multiply-add.
pub(crate) trait Fused {
    /// `a · b + c`, rounded once.
    fn fma<T: Real>(a: T, b: T, c: T) -> T;
}

/// The CPU's own instruction; for shells that enable it.
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
pub(crate) struct Hardware;
/// From operations that every CPU has.
pub(crate) struct Emulated;

#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
impl Fused for Hardware {
    #[inline(always)]
    fn fma<T: Real>(a: T, b: T, c: T) -> T {
        a.mul_add(b, c)
    }
}

impl Fused for Emulated {
    #[inline(always)]
    fn fma<T: Real>(a: T, b: T, c: T) -> T {
        a.fma_portable(b, c)
    }
}

/// An element type's words and the sizes of its register tiles.
pub trait HasFamily: Sized {
    /// Words of plain arrays.
    #[doc(hidden)]
    type Portable: Lanes<Self>;
    /// Words of AVX2.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    #[doc(hidden)]
    type Avx2: Lanes<Self>;
    /// Words of AVX-512.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    #[doc(hidden)]
    type Avx512: Lanes<Self>;
    /// Words of NEON.
    #[cfg(target_arch = "aarch64")]
    #[doc(hidden)]
    type Neon: Lanes<Self>;
    /// Those of `isa`.
    #[doc(hidden)]
    fn family(isa: Isa) -> &'static Family;
}

/// The register tiles of an element type that end in epilogue E, and the loops around them. Implemented once for each pair, so that they are
/// compiled in this crate and not again in every crate that uses it.
pub trait HasTile<E>: Sized {
    /// The tile of `rows` rows and `words` words: `None` if `isa` has none of this size.
    #[doc(hidden)]
    fn tile(isa: Isa, rows: usize, words: usize, kind: TileKind) -> Option<TileFn<Self, E>>;
    /// [`macro_kernel::run`](crate::gemm::macro_kernel::run).
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    fn run(job: &Job<'_, Self, E>, c: MatMut<'_, Self>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<(), Error>;
    /// [`macro_kernel::run_in`](crate::gemm::macro_kernel::run_in).
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    fn run_in(
        job: &Job<'_, Self, E>,
        c: MatMut<'_, Self>,
        plan: &Plan<'_>,
        memory: &mut [MaybeUninit<Self>],
    ) -> Result<(), Error>;
}

/// Emits, for a body `fn body<T: Real, M: Fused>(…)` or, after `words`, `fn body<T: Real, V: Lanes<T>>(…)`, the same body compiled for every
/// instruction set and a function that picks by [`Isa`]. Rust never contracts `a * b + c` by itself, so every version computes the same bits.
macro_rules! shells {
    (words $(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident $args:tt $(-> $ret:ty)?) => {
        $crate::simd::shells!(@emit [$(#[$doc])*] [$vis] $name $body $args [$($ret)?] T::Avx512, T::Avx2, T::Neon, T::Portable);
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident $args:tt $(-> $ret:ty)?) => {
        $crate::simd::shells!(@emit [$(#[$doc])*] [$vis] $name $body $args [$($ret)?]
            $crate::simd::Hardware, $crate::simd::Hardware, $crate::simd::Hardware, $crate::simd::Emulated);
    };
    (@emit [$($doc:tt)*] [$vis:vis] $name:ident $body:ident ( $($arg:ident : $ty:ty),* $(,)? ) [$($ret:ty)?]
        $avx512:ty, $avx2:ty, $neon:ty, $portable:ty) => {
        $($doc)*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<T: $crate::Real>(isa: $crate::Isa, $($arg: $ty),*) $(-> $ret)? {
            use $crate::isa::Kind;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<T: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                $body::<T, $avx512>($($arg),*)
            }
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<T: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                $body::<T, $avx2>($($arg),*)
            }
            match isa.kind() {
                #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                // SAFETY: an `Isa` of this kind exists only where `Isa::available` has found exactly these features.
                Kind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                // SAFETY: as above.
                Kind::Avx2 => unsafe { avx2($($arg),*) },
                // NEON and its fused multiply-add are part of every aarch64 target: no shell is needed.
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => $body::<T, $neon>($($arg),*),
                Kind::Portable => $body::<T, $portable>($($arg),*),
            }
        }
    };
}
pub(crate) use shells;

/// Emits the register tiles of one element type on one instruction set, each a shell of [`tile`](crate::gemm::micro::tile) with
/// the features enabled: `tall` tiles of up to as many rows for every width up to a panel, `wide` ones over several panels for few rows.
macro_rules! tiles {
    (
        $family:ident, $find:ident, $t:ty, $lanes:ty, $isa:literal, panel $pv:literal [$($nv:literal),+],
        tall [$($mr:literal),+], wide [$($wm:literal x $wv:literal),*], by_rows $by_rows:literal $(, $feature:literal)?
    ) => {
        pub(crate) static $family: $crate::gemm::micro::Family = $crate::gemm::micro::Family {
            isa: $isa,
            len: <$lanes as $crate::simd::Lanes<$t>>::LEN,
            panel: $pv,
            tall: { let all = [$($mr),+]; all[all.len() - 1] },
            tall_by_rows: $by_rows,
            wide: &[$(($wm, $wv)),*],
        };

        pub(crate) fn $find<E: $crate::epilogue::Epilogue<$t>>(
            rows: usize,
            words: usize,
            kind: $crate::gemm::micro::TileKind,
        ) -> Option<$crate::gemm::micro::TileFn<$t, E>> {
            use $crate::gemm::micro::{Tile, TileFn, TileKind, tile};
            $(#[target_feature(enable = $feature)])?
            unsafe fn shell<const MR: usize, const NV: usize, const BY_ROWS: bool, const NEGATED: bool, E: $crate::epilogue::Epilogue<$t>>(
                t: &Tile<$t>,
                e: &E,
            ) {
                // SAFETY: the tile's obligations are the caller's; the features are enabled here.
                unsafe { tile::<$t, $lanes, MR, NV, $pv, BY_ROWS, NEGATED, E>(t, e) }
            }
            fn any<const MR: usize, const NV: usize, E: $crate::epilogue::Epilogue<$t>>(kind: TileKind) -> TileFn<$t, E> {
                // Variants that an epilogue never asks for are not compiled: the conditions are constants.
                match (kind.by_rows, kind.negated) {
                    (true, true) if E::BY_ROWS_EXISTS && E::NEGATED_EXISTS => shell::<MR, NV, true, true, E>,
                    (true, false) if E::BY_ROWS_EXISTS => shell::<MR, NV, true, false, E>,
                    (false, true) if E::NEGATED_EXISTS => shell::<MR, NV, false, true, E>,
                    (false, false) => shell::<MR, NV, false, false, E>,
                    _ => unreachable!("{kind:?} is not asked of this epilogue"),
                }
            }
            $crate::simd::tiles!(@height rows, words, kind, E, [$($mr),+], [$($nv),+]);
            match (rows, words) {
                $(($wm, $wv) => Some(any::<$wm, $wv, E>(kind)),)*
                _ => None,
            }
        }
    };
    (@height $rows:ident, $words:ident, $kind:ident, $e:ident, [$($mr:literal),+], $nvs:tt) => {
        match $rows {
            $($mr => { $crate::simd::tiles!(@width $mr, $words, $kind, $e, $nvs); })+
            _ => {}
        }
    };
    (@width $mr:literal, $words:ident, $kind:ident, $e:ident, [$($nv:literal),+]) => {
        match $words {
            $($nv => return Some(any::<$mr, $nv, $e>($kind)),)+
            _ => {}
        }
    };
}
pub(crate) use tiles;

macro_rules! has_kernels {
    ($t:ty, $family:ident, $find:ident, [$p:ty, $avx2:ident, $avx512:ident, $neon:ident], [$($e:ty),+ $(,)?]) => {
        impl HasFamily for $t {
            type Portable = $p;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            type Avx2 = avx2::$avx2;
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            type Avx512 = avx512::$avx512;
            #[cfg(target_arch = "aarch64")]
            type Neon = neon::$neon;
            fn family(isa: Isa) -> &'static Family {
                use crate::isa::Kind;
                match isa.kind() {
                    Kind::Portable => &portable::$family,
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx2 => &avx2::$family,
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx512 => &avx512::$family,
                    #[cfg(target_arch = "aarch64")]
                    Kind::Neon => &neon::$family,
                }
            }
        }
        $(impl<'a> HasTile<$e> for $t {
            fn tile(isa: Isa, rows: usize, words: usize, kind: TileKind) -> Option<TileFn<Self, $e>> {
                use crate::isa::Kind;
                match isa.kind() {
                    Kind::Portable => portable::$find(rows, words, kind),
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx2 => avx2::$find(rows, words, kind),
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx512 => avx512::$find(rows, words, kind),
                    #[cfg(target_arch = "aarch64")]
                    Kind::Neon => neon::$find(rows, words, kind),
                }
            }
            fn run(job: &Job<'_, Self, $e>, c: MatMut<'_, Self>, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<(), Error> {
                macro_kernel::run_here(job, c, plan, scratch)
            }
            fn run_in(
                job: &Job<'_, Self, $e>,
                c: MatMut<'_, Self>,
                plan: &Plan<'_>,
                memory: &mut [MaybeUninit<Self>],
            ) -> Result<(), Error> {
                macro_kernel::run_in_here(job, c, plan, memory)
            }
        })+
    };
}

/// The one list of epilogues: whoever adds one adds it here and to the bounds of [`Real`].
macro_rules! epilogues {
    ($t:ty, $family:ident, $find:ident, $words:tt) => {
        has_kernels!($t, $family, $find, $words, [
            Store,
            Activate<'a, $t>,
            ScaleAdd<'a, $t>,
            SlopeMask<'a, $t>,
        ]);
    };
}
epilogues!(f32, F32, f32_tile, [portable::Word<f32, 8>, F32x8, F32x16, F32x4]);
epilogues!(f64, F64, f64_tile, [portable::Word<f64, 4>, F64x4, F64x8, F64x2]);

#[cfg(test)]
mod tests {
    use super::Lanes;
    use crate::{Isa, Real};

    /// `_first` touches its n elements and nothing else; the other lanes are 0.
    unsafe fn partial_words<T: Real, V: Lanes<T>>() {
        let source: Vec<T> = (0..V::LEN).map(|i| T::from_f64(i as f64 + 1.0)).collect();
        for n in 0..=V::LEN {
            // Exactly n elements, so that a read past them is one past an allocation.
            let short = source[..n].to_vec();
            let mut whole = vec![T::NAN; V::LEN];
            // SAFETY: `short` holds n elements, `whole` LEN; the caller has the instruction set.
            unsafe { V::load_first(short.as_ptr(), n).store(whole.as_mut_ptr()) };
            for (i, x) in whole.iter().enumerate() {
                assert_eq!(*x, if i < n { source[i] } else { T::ZERO });
            }
            let mut fenced = vec![T::from_f64(-7.0); V::LEN + 1];
            // SAFETY: `fenced` holds more than n elements; the caller has the instruction set.
            unsafe { V::load(source.as_ptr()).store_first(fenced.as_mut_ptr(), n) };
            for (i, x) in fenced.iter().enumerate() {
                assert_eq!(*x, if i < n { source[i] } else { T::from_f64(-7.0) });
            }
        }
    }

    #[test]
    fn partial_loads_and_stores_stay_inside() {
        let has = |name| Isa::named(name).is_ok();
        // SAFETY: in every call the instruction set is there, asked just before; the portable one always is.
        unsafe {
            partial_words::<f32, super::portable::Word<f32, 8>>();
            partial_words::<f64, super::portable::Word<f64, 4>>();
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            if has("avx2") {
                partial_words::<f32, super::avx2::F32x8>();
                partial_words::<f64, super::avx2::F64x4>();
            }
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            if has("avx512") {
                partial_words::<f32, super::avx512::F32x16>();
                partial_words::<f64, super::avx512::F64x8>();
            }
            #[cfg(target_arch = "aarch64")]
            if has("neon") {
                partial_words::<f32, super::neon::F32x4>();
                partial_words::<f64, super::neon::F64x2>();
            }
        }
        let _ = has;
    }
}
