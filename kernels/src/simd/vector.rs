//! The vector register as a trait that each instruction set implements.

/// A vector register of `LEN` elements of type `T`.
///
/// # Safety
/// Every method requires the instruction set of the implementing type: the caller runs inside a
/// shell that enables it. `load` and `store` touch `LEN` elements from the pointer; `load_first`
/// and `store_first` touch exactly the first `n ≤ LEN`; `load_column` and `load_columns` touch the
/// elements that they name. All need only the alignment of T.
pub(crate) trait Vector<T>: Copy {
    /// Number of elements.
    const LEN: usize;
    /// Whether a fused multiply-add is emulated by many operations.
    const EMULATED: bool = false;
    /// Sets every lane to `x`.
    unsafe fn splat(x: T) -> Self;
    /// Loads `LEN` elements.
    unsafe fn load(p: *const T) -> Self;
    /// Loads the first `n` elements and sets the other lanes to 0.
    unsafe fn load_first(p: *const T, n: usize) -> Self;
    /// Stores `LEN` elements.
    unsafe fn store(self, p: *mut T);
    /// Stores the first `n` elements and does not touch memory behind them.
    unsafe fn store_first(self, p: *mut T, n: usize);
    /// Returns `self · b + c`, rounded once.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// Returns `−self · b + c`, rounded once.
    unsafe fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// Returns `self · b`.
    unsafe fn mul(self, b: Self) -> Self;
    /// Returns `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// Returns `self / b`.
    unsafe fn div(self, b: Self) -> Self;
    /// Returns √self, correctly rounded.
    unsafe fn sqrt(self) -> Self;
    /// Returns |self|.
    unsafe fn abs(self) -> Self;
    /// Selects in each lane: `yes` if self < 0, else `no`. −0 and NaN select `no`.
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self;
    /// Returns whether self ≤ b in any lane. A lane with a NaN on either side does not count.
    unsafe fn any_le(self, b: Self) -> bool;

    /// Returns whether all lanes are finite; `infinity` holds ∞ in every lane.
    #[inline(always)]
    unsafe fn all_finite(self, infinity: Self) -> bool {
        // ∞ ≤ |x| finds the infinities; NaN compares false there and is tested separately.
        // SAFETY: the caller promises the instruction set.
        unsafe { !infinity.any_le(self.abs()) && !self.any_nan() }
    }
    /// Returns whether any lane is NaN.
    unsafe fn any_nan(self) -> bool;

    /// Number of columns that [`Vector::load_columns`] loads, at most [`MOST_COLUMNS`].
    const COLUMNS: usize = 1;
    /// Loads COLUMNS columns of a matrix with contiguous rows, at stride `rs` from `p`: lane i of
    /// `columns[j]` is element (i, j). Touches COLUMNS elements of LEN rows.
    #[inline(always)]
    unsafe fn load_columns(p: *const T, rs: isize, columns: &mut [Self; MOST_COLUMNS]) {
        // SAFETY: the caller promises the elements.
        columns[0] = unsafe { Self::load_column(p, rs) };
    }
    /// Loads LEN elements at stride `rs`.
    unsafe fn load_column(p: *const T, rs: isize) -> Self;
}

/// Maximum number of columns that [`Vector::load_columns`] loads.
pub(crate) const MOST_COLUMNS: usize = 4;

/// Loads a whole vector, or its first `n` elements.
///
/// # Safety
/// As [`Vector::load`] or [`Vector::load_first`].
#[inline(always)]
pub(crate) unsafe fn load<T, V: Vector<T>, const WHOLE: bool>(p: *const T, n: usize) -> V {
    // SAFETY: the caller makes the promise of the method that runs.
    unsafe { if WHOLE { V::load(p) } else { V::load_first(p, n) } }
}

/// Stores a whole vector, or its first `n` elements.
///
/// # Safety
/// As [`Vector::store`] or [`Vector::store_first`].
#[inline(always)]
pub(crate) unsafe fn store<T, V: Vector<T>, const WHOLE: bool>(vector: V, p: *mut T, n: usize) {
    // SAFETY: the caller makes the promise of the method that runs.
    unsafe { if WHOLE { vector.store(p) } else { vector.store_first(p, n) } }
}

/// Implements [`Vector`] for a register type from its intrinsics. Instruction sets differ in names,
/// edges and comparisons only.
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
macro_rules! vector {
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
        $(, load_columns::<$columns:literal>($from:ident, $rs:ident) $load_columns:block)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($raw);

        impl $crate::simd::vector::Vector<$t> for $name {
            const LEN: usize = $len;

            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: the caller promises the instruction set, in this and every method below.
                Self(unsafe { $set(x) })
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the caller promises LEN elements from `p`. The intrinsic needs only their
                // alignment.
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
            #[inline(always)]
            unsafe fn load_column(p: *const $t, rs: isize) -> Self {
                let mut lanes = [0.0; $len];
                for (i, lane) in lanes.iter_mut().enumerate() {
                    // SAFETY: the caller promises LEN elements at this stride.
                    *lane = unsafe { *p.offset(i as isize * rs) };
                }
                // SAFETY: `lanes` has LEN elements. The caller promises the instruction set.
                unsafe { Self::load(lanes.as_ptr()) }
            }
            $(
                const COLUMNS: usize = $columns;
                #[inline(always)]
                unsafe fn load_columns($from: *const $t, $rs: isize, columns: &mut [Self; $crate::simd::vector::MOST_COLUMNS]) {
                    for (column, loaded) in columns.iter_mut().zip($load_columns) {
                        *column = Self(loaded);
                    }
                }
            )?
        }
    };
}
#[cfg(any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64"))]
pub(crate) use vector;

/// Caches that a prefetch can fill.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    L1,
    /// The line is then left alone by what streams through L1.
    L2,
}

/// Prefetches the cache line at `p`, which need not be readable. Does nothing on targets other than
/// x86-64.
#[inline(always)]
pub(crate) fn prefetch<T>(into: Level, p: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch accesses no memory, and the target has SSE (the condition above).
        unsafe {
            match into {
                Level::L1 => _mm_prefetch::<_MM_HINT_T0>(p.cast()),
                Level::L2 => _mm_prefetch::<_MM_HINT_T1>(p.cast()),
            }
        }
    }
    let _ = (into, p);
}

/// Hides from the compiler how a pointer was computed. It would otherwise keep a pointer for each
/// row of a matrix, advance them all in every step, and spill some.
#[inline(always)]
pub(crate) fn opaque<T>(p: *const T) -> *const T {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let mut p = p;
        #[allow(clippy::pointers_in_nomem_asm_block)] // Nothing reads through it.
        // SAFETY: no instruction at all; the register keeps its value.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) p, options(pure, nomem, nostack, preserves_flags))
        };
        p
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    p
}
