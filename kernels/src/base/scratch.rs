//! Scratch: aligned workspace that the caller owns and passes to each call.

use crate::base::error::Error;
use crate::base::scalar::Scalar;
use alloc::alloc::{Layout, alloc, dealloc};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Alignment in bytes: two cache lines, which adjacent-line prefetchers fetch together. The widest
/// vector has 64 bytes.
const ALIGN: usize = 128;

/// The amount of scratch that an operation needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchReq {
    bytes: usize,
}

impl ScratchReq {
    /// Returns the space for `len` elements, saturating: absurd requests fail at allocation.
    pub const fn of<T>(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        Self { bytes: bytes.saturating_add(ALIGN - 1) / ALIGN * ALIGN }
    }
    /// Returns the space for both requests at the same time.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes) }
    }
    /// Returns the space for either request: the larger one.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if self.bytes > other.bytes { self } else { other }
    }
    /// Returns the space for `n` such requests at the same time.
    #[must_use]
    pub const fn times(self, n: usize) -> Self {
        Self { bytes: self.bytes.saturating_mul(n) }
    }
    /// Returns the size in bytes.
    pub const fn bytes(self) -> usize {
        self.bytes
    }
}

/// Aligned workspace for packing.
///
/// It grows to the largest request so far and never shrinks. After one [`Scratch::reserve`], or one
/// call of each kernel, no call allocates.
pub struct Scratch {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the block is owned and holds plain bytes. Writes need `&mut self`; reads need `&self`.
unsafe impl Send for Scratch {}
// SAFETY: `&self` allows only reads (`initialized`).
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
    /// Creates empty scratch, without an allocation.
    pub const fn new() -> Self {
        let layout = Layout::new::<()>();
        Self { ptr: NonNull::dangling(), layout }
    }

    /// Returns the number of bytes held.
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Grows to at least `req`. Allocates only if the capacity is smaller.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the system refuses the block. The old block then stays.
    pub fn reserve(&mut self, req: ScratchReq) -> Result<(), Error> {
        let bytes = req.bytes();
        if bytes <= self.layout.size() {
            return Ok(());
        }
        let refused = Error::OutOfMemory { bytes };
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else {
            return Err(refused);
        };
        // SAFETY: the layout's size is not 0, since it exceeds the size held (checked above).
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else {
            return Err(refused);
        };
        // The assignment drops, and thereby frees, the smaller block.
        *self = Self { ptr, layout };
        Ok(())
    }

    /// Returns the first `len` elements, uninitialized; grows the scratch if it is smaller.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], as [`Scratch::reserve`].
    pub fn slice<T: Scalar>(&mut self, len: usize) -> Result<&mut [MaybeUninit<T>], Error> {
        self.reserve(ScratchReq::of::<T>(len))?;
        // SAFETY: the block holds at least `len` elements (reserved above) and is aligned to ALIGN,
        // enough for any scalar. It is exclusive while `self` is borrowed mutably. Uninitialized
        // memory is a valid `MaybeUninit`. If `len` is 0, no pointer is used.
        Ok(unsafe { if len == 0 { &mut [] } else { core::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), len) } })
    }
}

impl Scratch {
    /// Returns elements `from .. from + len`, which the caller has written.
    ///
    /// # Safety
    /// The caller has written these elements since the block was last reserved.
    ///
    /// # Panics
    /// If they exceed the capacity.
    pub(crate) unsafe fn initialized<T: Scalar>(&self, from: usize, len: usize) -> &[T] {
        let held = self.layout.size() / size_of::<T>();
        assert!(from <= held && len <= held - from, "elements {from}..+{len} of {held}");
        if len == 0 {
            return &[];
        }
        // SAFETY: the elements lie inside the block (asserted above), which is aligned for any
        // scalar. The caller promises that they are initialized.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr().cast::<T>().add(from), len) }
    }
}

/// Memory that threads fill in disjoint parts and then read in whole.
pub(crate) struct DisjointSlices<'a, T> {
    first: *mut MaybeUninit<T>,
    len: usize,
    _life: PhantomData<&'a mut [T]>,
}

// SAFETY: `part` returns disjoint exclusive slices (its contract), which may move to other threads
// if T may. `at` returns a pointer only.
unsafe impl<T: Send + Sync> Sync for DisjointSlices<'_, T> {}

impl<'a, T> DisjointSlices<'a, T> {
    pub(crate) fn new(memory: &'a mut [MaybeUninit<T>]) -> Self {
        Self { first: memory.as_mut_ptr(), len: memory.len(), _life: PhantomData }
    }

    /// Returns elements `from .. from + len`, to be filled.
    ///
    /// # Safety
    /// While the slice lives, no thread reaches any of these elements otherwise.
    ///
    /// # Panics
    /// If they exceed the memory.
    #[allow(clippy::mut_from_ref)] // exclusive by the contract above
    pub(crate) unsafe fn part(&self, from: usize, len: usize) -> &mut [MaybeUninit<T>] {
        assert!(from <= self.len && len <= self.len - from, "elements {from}..+{len} of {}", self.len);
        // SAFETY: the elements lie inside the memory passed to `new` (asserted above). They are
        // exclusive by the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(from), len) }
    }

    /// Returns a pointer to element `at`, which may be the end.
    ///
    /// # Panics
    /// If `at` exceeds the length.
    pub(crate) fn at(&self, at: usize) -> *const T {
        assert!(at <= self.len, "element {at} of {}", self.len);
        self.first.wrapping_add(at).cast_const().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: `reserve` allocated the block with this layout, and no use follows.
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
