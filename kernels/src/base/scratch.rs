//! Aligned memory that the caller owns and lends again and again.

use crate::base::error::Error;
use crate::base::scalar::Scalar;
use alloc::alloc::{Layout, alloc, dealloc};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Two cache lines: what adjacent-line prefetchers fetch together, and more than the widest vector.
const ALIGN: usize = 128;

/// How much scratch an operation needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchReq {
    bytes: usize,
}

impl ScratchReq {
    /// Room for `len` elements; saturates, so that an absurd request fails when it is made, not here.
    pub const fn of<T>(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        Self { bytes: bytes.saturating_add(ALIGN - 1) / ALIGN * ALIGN }
    }
    /// Room for both at once.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes) }
    }
    /// Room for either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if self.bytes > other.bytes { self } else { other }
    }
    /// Room for `n` of these at once.
    #[must_use]
    pub const fn times(self, n: usize) -> Self {
        Self { bytes: self.bytes.saturating_mul(n) }
    }
    /// In bytes.
    pub const fn bytes(self) -> usize {
        self.bytes
    }
}

/// Aligned memory for packing. It grows to the largest request it has met and then stays: reserve once (or run one step) and
/// nothing is allocated afterwards.
pub struct Scratch {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the block is owned, holds plain bytes, and is reached only through `&mut self`.
unsafe impl Send for Scratch {}
// SAFETY: nothing is reachable through `&self`.
unsafe impl Sync for Scratch {}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Scratch({} bytes)", self.layout.size())
    }
}

impl Scratch {
    /// Empty: allocates nothing yet.
    pub const fn new() -> Self {
        let layout = Layout::new::<()>();
        Self { ptr: NonNull::dangling(), layout }
    }

    /// Bytes held.
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Makes room for `req`; allocates only if there is too little.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the system has no such block; what was held before is kept.
    pub fn reserve(&mut self, req: ScratchReq) -> Result<(), Error> {
        let bytes = req.bytes();
        if bytes <= self.layout.size() {
            return Ok(());
        }
        let refused = Error::OutOfMemory { bytes };
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else {
            return Err(refused);
        };
        // SAFETY: the layout's size is not 0: it is greater than the size held, checked above.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else {
            return Err(refused);
        };
        // The assignment drops, and so frees, the smaller block.
        *self = Self { ptr, layout };
        Ok(())
    }

    /// `len` uninitialised elements from the front.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], as [`Scratch::reserve`].
    pub fn slice<T: Scalar>(&mut self, len: usize) -> Result<&mut [MaybeUninit<T>], Error> {
        self.reserve(ScratchReq::of::<T>(len))?;
        // SAFETY: the block holds at least `len` elements (reserved above), is aligned for any Real, is exclusive while `self` is
        // lent, and uninitialised memory is a valid MaybeUninit. An empty slice may dangle (aligned: see below).
        Ok(unsafe { if len == 0 { &mut [] } else { core::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), len) } })
    }
}

impl Scratch {
    /// `len` elements from `from` on, which are initialised.
    ///
    /// # Safety
    /// They are: the caller has written them since the block was last reserved.
    ///
    /// # Panics
    /// If they are not all there.
    pub(crate) unsafe fn initialised<T: Scalar>(&self, from: usize, len: usize) -> &[T] {
        let held = self.layout.size() / size_of::<T>();
        assert!(from <= held && len <= held - from, "elements {from}..+{len} of {held}");
        if len == 0 {
            return &[];
        }
        // SAFETY: inside the block, asserted above, aligned for any Real, and initialised by the caller's promise.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr().cast::<T>().add(from), len) }
    }
}

/// Memory that threads fill in disjoint parts and then all read.
pub(crate) struct DisjointSlices<'a, T> {
    first: *mut MaybeUninit<T>,
    len: usize,
    _life: PhantomData<&'a mut [T]>,
}

// SAFETY: `part` hands out disjoint exclusive slices (its contract), which may go to other threads if T may; `at` is a pointer.
unsafe impl<T: Send + Sync> Sync for DisjointSlices<'_, T> {}

impl<'a, T> DisjointSlices<'a, T> {
    pub(crate) fn new(memory: &'a mut [MaybeUninit<T>]) -> Self {
        Self { first: memory.as_mut_ptr(), len: memory.len(), _life: PhantomData }
    }

    /// `len` elements from `from` on, to be filled.
    ///
    /// # Safety
    /// Nobody else has any of these elements at this time.
    ///
    /// # Panics
    /// If they are not all there.
    #[allow(clippy::mut_from_ref)] // that is what the contract is for
    pub(crate) unsafe fn part(&self, from: usize, len: usize) -> &mut [MaybeUninit<T>] {
        assert!(from <= self.len && len <= self.len - from, "elements {from}..+{len} of {}", self.len);
        // SAFETY: inside the memory that `new` was given, asserted above, and the caller alone has it.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(from), len) }
    }

    /// A pointer to element `at`, or to the end.
    ///
    /// # Panics
    /// If it lies beyond.
    pub(crate) fn at(&self, at: usize) -> *const T {
        assert!(at <= self.len, "element {at} of {}", self.len);
        self.first.wrapping_add(at).cast_const().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated by `reserve` with exactly this layout, and never used again.
            unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_once_and_stays() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.slice::<f32>(0).unwrap().len(), 0);
        assert_eq!(scratch.capacity(), 0);
        let first = scratch.slice::<f32>(1000).unwrap();
        assert_eq!((first.len(), first.as_ptr() as usize % ALIGN), (1000, 0));
        let held = scratch.capacity();
        assert!(held >= 4000);
        scratch.slice::<f64>(100).unwrap();
        assert_eq!(scratch.capacity(), held);
    }

    #[test]
    fn absurd_requests_are_errors() {
        let mut scratch = Scratch::new();
        scratch.slice::<f32>(10).unwrap();
        let held = scratch.capacity();
        for len in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 8] {
            assert!(matches!(scratch.slice::<f64>(len), Err(Error::OutOfMemory { .. })));
        }
        assert_eq!(scratch.capacity(), held);
        assert_eq!(ScratchReq::of::<f32>(usize::MAX).times(9).and(ScratchReq::of::<f32>(1)).bytes(), usize::MAX);
    }
}
