//! Strided views: the only place where slices become pointers.

use crate::base::error::Error;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// A read-only view of an `nrows × ncols` matrix with signed strides, in elements.
///
/// Element (i, j) stands `i·rs + j·cs` elements after the pointer. A transpose is the same memory with the strides swapped, a
/// reversal the same memory with a stride negated.
///
/// Invariant, established by the constructors: every element (i, j) with i < nrows, j < ncols may be read for `'a`.
pub struct MatRef<'a, T> {
    pub(super) ptr: *const T,
    pub(super) nrows: usize,
    pub(super) ncols: usize,
    pub(super) rs: isize,
    pub(super) cs: isize,
    pub(super) _life: PhantomData<&'a [T]>,
}

/// A mutable view; see [`MatRef`].
///
/// Invariant besides: distinct indices are distinct elements, and nobody else reaches them for `'a`.
pub struct MatMut<'a, T> {
    pub(super) ptr: *mut T,
    pub(super) nrows: usize,
    pub(super) ncols: usize,
    pub(super) rs: isize,
    pub(super) cs: isize,
    pub(super) _life: PhantomData<&'a mut [T]>,
}

impl<T> Clone for MatRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for MatRef<'_, T> {}

// SAFETY: a `MatRef` is a `&[T]` with strides: shared reads only, by the invariant of the type.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}
// SAFETY: a `MatMut` is a `&mut [T]` with strides: exclusive, by the invariant of the type.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: through a shared `&MatMut` only reads are possible.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

/// The lowest and highest element offset that a view touches; `None` if they do not fit an `isize`.
fn extent(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Option<(isize, isize)> {
    let reach = |n: usize, s: isize| isize::try_from(n - 1).ok()?.checked_mul(s);
    let (r, c) = (reach(nrows, rs)?, reach(ncols, cs)?);
    Some((r.min(0).checked_add(c.min(0))?, r.max(0).checked_add(c.max(0))?))
}

/// Checks that the view stays in a slice of `len` elements when (0, 0) is element `offset`.
pub(super) fn check_bounds(
    len: usize,
    offset: usize,
    (nrows, ncols): (usize, usize),
    (rs, cs): (isize, isize),
) -> Result<(), Error> {
    if nrows == 0 || ncols == 0 {
        // An empty view touches nothing, but its pointer must still be one that may be formed.
        return if offset <= len {
            Ok(())
        } else {
            Err(Error::OutOfBounds { len, first: offset as isize, last: offset as isize })
        };
    }
    let outside = |first, last| Err(Error::OutOfBounds { len, first, last });
    let Some((low, high)) = extent(nrows, ncols, rs, cs) else {
        return outside(isize::MIN, isize::MAX);
    };
    let Some((first, last)) = isize::try_from(offset).ok().and_then(|o| Some((o.checked_add(low)?, o.checked_add(high)?))) else {
        return outside(isize::MIN, isize::MAX);
    };
    if first < 0 || last as usize >= len {
        return outside(first, last);
    }
    Ok(())
}

/// Checks that no two indices share an element: the wider stride must step over all that the narrower one spans.
pub(super) fn check_distinct(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Result<(), Error> {
    if nrows == 0 || ncols == 0 || (nrows == 1 && ncols == 1) {
        return Ok(());
    }
    let (r, c) = (rs.unsigned_abs(), cs.unsigned_abs());
    let fine = match (nrows, ncols) {
        (1, _) => c > 0,
        (_, 1) => r > 0,
        _ if r <= c => r > 0 && c > r.saturating_mul(nrows - 1),
        _ => c > 0 && r > c.saturating_mul(ncols - 1),
    };
    if fine { Ok(()) } else { Err(Error::Overlap { rs, cs }) }
}

macro_rules! common {
    ($view:ident) => {
        impl<'a, T> $view<'a, T> {
            /// Number of rows.
            #[inline(always)]
            pub fn nrows(&self) -> usize {
                self.nrows
            }
            /// Number of columns.
            #[inline(always)]
            pub fn ncols(&self) -> usize {
                self.ncols
            }
            /// Rows and columns.
            #[inline(always)]
            pub fn shape(&self) -> (usize, usize) {
                (self.nrows, self.ncols)
            }
            /// Row stride: elements from (i, j) to (i+1, j).
            #[inline(always)]
            pub fn rs(&self) -> isize {
                self.rs
            }
            /// Column stride: elements from (i, j) to (i, j+1).
            #[inline(always)]
            pub fn cs(&self) -> isize {
                self.cs
            }
            /// No element at all.
            #[inline(always)]
            pub fn is_empty(&self) -> bool {
                self.nrows == 0 || self.ncols == 0
            }
            /// Refuses a shape that differs from `expected`; `what` names the operand in the error.
            ///
            /// # Errors
            /// [`Error::Shape`].
            pub fn expect_shape(&self, what: &'static str, expected: (usize, usize)) -> Result<(), Error> {
                if self.shape() == expected { Ok(()) } else { Err(Error::Shape { what, expected, found: self.shape() }) }
            }
            /// The transpose: the same memory, strides swapped.
            #[inline(always)]
            #[must_use]
            pub fn t(self) -> Self {
                Self { nrows: self.ncols, ncols: self.nrows, rs: self.cs, cs: self.rs, ..self }
            }
            /// Rows in reverse order.
            #[must_use]
            pub fn reverse_rows(self) -> Self {
                let step = (self.nrows.saturating_sub(1) as isize).wrapping_mul(self.rs);
                let ptr = if self.is_empty() { self.ptr } else { self.ptr.wrapping_offset(step) };
                Self { ptr, rs: self.rs.wrapping_neg(), ..self }
            }
            /// Columns in reverse order.
            #[must_use]
            pub fn reverse_cols(self) -> Self {
                self.t().reverse_rows().t()
            }
            /// The block of `nrows × ncols` whose first element is (`row`, `col`).
            ///
            /// # Panics
            /// If the block does not lie inside the view.
            #[inline]
            #[must_use]
            pub fn block(self, row: usize, col: usize, nrows: usize, ncols: usize) -> Self {
                assert!(
                    row <= self.nrows && nrows <= self.nrows - row && col <= self.ncols && ncols <= self.ncols - col,
                    "block {nrows}x{ncols} at ({row}, {col}) of a {}x{} view",
                    self.nrows,
                    self.ncols
                );
                // An empty block may start one past the end, where no pointer need be formed.
                let ptr = if nrows == 0 || ncols == 0 {
                    self.ptr
                } else {
                    self.ptr.wrapping_offset(row as isize * self.rs + col as isize * self.cs)
                };
                Self { ptr, nrows, ncols, ..self }
            }
            /// Columns `col .. col + ncols`.
            ///
            /// # Panics
            /// If they are not all there.
            #[inline]
            #[must_use]
            pub fn cols(self, col: usize, ncols: usize) -> Self {
                let nrows = self.nrows;
                self.block(0, col, nrows, ncols)
            }
            /// Rows `row .. row + nrows`.
            ///
            /// # Panics
            /// If they are not all there.
            #[inline]
            #[must_use]
            pub fn rows(self, row: usize, nrows: usize) -> Self {
                let ncols = self.ncols;
                self.block(row, 0, nrows, ncols)
            }
        }

        impl<T: Copy> $view<'_, T> {
            /// Element (`i`, `j`).
            ///
            /// # Panics
            /// If there is none.
            #[inline]
            pub fn get(&self, i: usize, j: usize) -> T {
                assert!(i < self.nrows && j < self.ncols, "element ({i}, {j}) of {:?}", self.shape());
                // SAFETY: inside the view, asserted above; readable by the invariant of the type.
                unsafe { *self.ptr.offset(i as isize * self.rs + j as isize * self.cs) }
            }
            /// Row `i` as a slice, if its elements are neighbours in memory.
            ///
            /// # Panics
            /// If there is no such row.
            #[inline]
            pub fn row(&self, i: usize) -> Option<&[T]> {
                assert!(i < self.nrows, "row {i} of {:?}", self.shape());
                if self.ncols == 0 {
                    return Some(&[]);
                }
                if self.cs != 1 && self.ncols > 1 {
                    return None;
                }
                // SAFETY: `ncols` neighbours starting at (i, 0) are elements of the view: readable by the type's invariant.
                Some(unsafe { core::slice::from_raw_parts(self.ptr.offset(i as isize * self.rs), self.ncols) })
            }
            /// A row-major copy of the elements.
            ///
            /// # Panics
            /// If there is no memory for them: a view with strides of 0 may have more elements than its slice.
            pub fn to_vec(&self) -> Vec<T> {
                if self.is_empty() {
                    return Vec::new();
                }
                let len = self.nrows.checked_mul(self.ncols).expect("as many elements as memory can hold");
                let mut out = Vec::with_capacity(len);
                for i in 0..self.nrows {
                    out.extend((0..self.ncols).map(|j| self.get(i, j)));
                }
                out
            }
        }

        impl<T: fmt::Debug + Copy> fmt::Debug for $view<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let rows = (0..self.nrows).map(|i| (0..self.ncols).map(|j| self.get(i, j)).collect::<Vec<_>>());
                f.debug_list().entries(rows).finish()
            }
        }
    };
}
common!(MatRef);
common!(MatMut);

impl<'a, T> MatRef<'a, T> {
    /// A row-major view of a whole slice.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `nrows · ncols` elements.
    pub fn new(data: &'a [T], nrows: usize, ncols: usize) -> Result<Self, Error> {
        if nrows.checked_mul(ncols) != Some(data.len()) {
            let (expected, found) = ((nrows, ncols), (1, data.len()));
            return Err(Error::Shape { what: "a slice viewed as a matrix", expected, found });
        }
        Self::strided(data, 0, (nrows, ncols), (ncols as isize, 1))
    }

    /// A view with element (0, 0) at `data[offset]` and the given row and column strides, which may be negative or (as nothing is
    /// written) zero.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if an element would lie outside `data`.
    pub fn strided(
        data: &'a [T],
        offset: usize,
        (nrows, ncols): (usize, usize),
        (rs, cs): (isize, isize),
    ) -> Result<Self, Error> {
        check_bounds(data.len(), offset, (nrows, ncols), (rs, cs))?;
        let ptr = data.as_ptr().wrapping_add(offset);
        Ok(Self { ptr, nrows, ncols, rs, cs, _life: PhantomData })
    }

    /// A view of memory that no slice describes: a caller's buffer behind a pointer, with (0, 0) at `ptr`.
    ///
    /// # Safety
    /// For `'a`, every element (i, j) with i < nrows and j < ncols, at `ptr + i·rs + j·cs`, lies in one
    /// allocation, is aligned and initialized, and is not written. The byte offset of each fits an
    /// `isize`. An empty view may have any pointer.
    pub const unsafe fn from_raw_parts(ptr: *const T, (nrows, ncols): (usize, usize), (rs, cs): (isize, isize)) -> Self {
        Self { ptr, nrows, ncols, rs, cs, _life: PhantomData }
    }

    /// Pointer to element (0, 0).
    #[inline(always)]
    pub fn as_ptr(&self) -> *const T {
        self.ptr
    }
}

impl<'a, T> MatMut<'a, T> {
    /// A row-major view of a whole slice.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `nrows · ncols` elements.
    pub fn new(data: &'a mut [T], nrows: usize, ncols: usize) -> Result<Self, Error> {
        if nrows.checked_mul(ncols) != Some(data.len()) {
            let (expected, found) = ((nrows, ncols), (1, data.len()));
            return Err(Error::Shape { what: "a slice viewed as a matrix", expected, found });
        }
        Self::strided(data, 0, (nrows, ncols), (ncols as isize, 1))
    }

    /// A view with element (0, 0) at `data[offset]` and the given row and column strides, which may be negative.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if an element would lie outside `data`; [`Error::Overlap`] if two indices could reach the same
    /// element (layouts in which neither stride steps over the other are refused, even if they happen to be free of overlap).
    pub fn strided(
        data: &'a mut [T],
        offset: usize,
        (nrows, ncols): (usize, usize),
        (rs, cs): (isize, isize),
    ) -> Result<Self, Error> {
        check_bounds(data.len(), offset, (nrows, ncols), (rs, cs))?;
        check_distinct(nrows, ncols, rs, cs)?;
        let ptr = data.as_mut_ptr().wrapping_add(offset);
        Ok(Self { ptr, nrows, ncols, rs, cs, _life: PhantomData })
    }

    /// A mutable view of memory that no slice describes: a caller's buffer behind a pointer, with
    /// (0, 0) at `ptr`.
    ///
    /// # Safety
    /// As [`MatRef::from_raw_parts`], but the elements may be written and are reached through this view
    /// alone for `'a`; distinct (i, j) are distinct elements.
    pub const unsafe fn from_raw_parts(ptr: *mut T, (nrows, ncols): (usize, usize), (rs, cs): (isize, isize)) -> Self {
        Self { ptr, nrows, ncols, rs, cs, _life: PhantomData }
    }

    /// Pointer to element (0, 0).
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// A shared view of the same elements, while this one is lent.
    #[inline(always)]
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef { ptr: self.ptr, nrows: self.nrows, ncols: self.ncols, rs: self.rs, cs: self.cs, _life: PhantomData }
    }

    /// The same view for a shorter time.
    #[inline(always)]
    pub fn rb(&mut self) -> MatMut<'_, T> {
        MatMut { _life: PhantomData, ..*self }
    }

    /// Writes element (`i`, `j`).
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn set(&mut self, i: usize, j: usize, value: T) {
        assert!(i < self.nrows && j < self.ncols, "element ({i}, {j}) of {:?}", self.shape());
        // SAFETY: inside the view, asserted above; writable by the invariant of the type.
        unsafe { self.ptr.offset(i as isize * self.rs + j as isize * self.cs).write(value) }
    }

    /// Row `i` as a mutable slice, if its elements are neighbours in memory.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> Option<&mut [T]> {
        assert!(i < self.nrows, "row {i} of {:?}", self.shape());
        if self.ncols == 0 {
            return Some(&mut []);
        }
        if self.cs != 1 && self.ncols > 1 {
            return None;
        }
        // SAFETY: `ncols` neighbours starting at (i, 0) are elements of the view, which is exclusive by its invariant.
        Some(unsafe { core::slice::from_raw_parts_mut(self.ptr.offset(i as isize * self.rs), self.ncols) })
    }

    /// Two views: the columns before `col`, and the others.
    ///
    /// # Panics
    /// If `col` is more than the number of columns.
    #[inline]
    #[must_use]
    pub fn split_cols(self, col: usize) -> (Self, Self) {
        let (n, twin) = (self.ncols, Self { ..self });
        (twin.cols(0, col), self.cols(col, n - col))
    }

    /// Two views: the rows before `row`, and the others.
    ///
    /// # Panics
    /// If `row` is more than the number of rows.
    #[inline]
    #[must_use]
    pub fn split_rows(self, row: usize) -> (Self, Self) {
        let (above, below) = self.t().split_cols(row);
        (above.t(), below.t())
    }

    /// A second view of the same elements, for handing disjoint blocks to threads.
    ///
    /// # Safety
    /// The caller sees to it that no element is reached through two views at once, unless both only read.
    #[inline(always)]
    pub(crate) unsafe fn alias(&self) -> MatMut<'a, T> {
        MatMut { ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_leave_their_slice_are_refused() {
        let data = [0f32; 12];
        assert!(MatRef::strided(&data, 0, (3, 4), (4, 1)).is_ok());
        assert!(MatRef::strided(&data, 11, (3, 4), (-4, -1)).is_ok());
        assert!(MatRef::strided(&data, 12, (0, 4), (4, 1)).is_ok());
        for (offset, shape, strides) in [
            (1, (3, 4), (4, 1)),
            (0, (3, 5), (4, 1)),
            (0, (3, 4), (-4, 1)),
            (10, (3, 4), (-4, -1)),
            (13, (0, 4), (4, 1)),
            (0, (2, 2), (isize::MAX, 1)),
            (0, (usize::MAX, 2), (1, 1)),
            (0, (3, 2), (isize::MIN, 1)),
        ] {
            assert!(
                matches!(MatRef::strided(&data, offset, shape, strides), Err(Error::OutOfBounds { .. })),
                "{offset} {shape:?} {strides:?}"
            );
        }
        assert!(matches!(MatRef::new(&data, 3, 5), Err(Error::Shape { .. })));
        assert!(matches!(MatRef::new(&data, usize::MAX, 2), Err(Error::Shape { .. })));
    }

    #[test]
    fn mutable_views_that_overlap_themselves_are_refused() {
        let mut data = [0f32; 100];
        for (shape, strides) in [((2, 2), (0, 1)), ((3, 4), (3, 1)), ((3, 4), (1, 2)), ((2, 1), (0, 1)), ((1, 2), (1, 0))] {
            assert!(matches!(MatMut::strided(&mut data, 0, shape, strides), Err(Error::Overlap { .. })), "{shape:?} {strides:?}");
        }
        for (shape, strides) in [((3, 4), (4, 1)), ((3, 4), (1, 3)), ((3, 4), (9, 2)), ((1, 1), (0, 0)), ((5, 1), (2, 0))] {
            assert!(MatMut::strided(&mut data, 0, shape, strides).is_ok(), "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn transposes_reversals_and_blocks_are_the_same_elements() {
        let data: Vec<f64> = (0..12).map(f64::from).collect();
        let a = MatRef::new(&data, 3, 4).unwrap();
        for i in 0..3 {
            for j in 0..4 {
                assert_eq!(a.t().get(j, i), a.get(i, j));
                assert_eq!(a.reverse_rows().get(2 - i, j), a.get(i, j));
                assert_eq!(a.reverse_cols().get(i, 3 - j), a.get(i, j));
            }
        }
        assert_eq!(a.block(1, 2, 2, 2).to_vec(), [6.0, 7.0, 10.0, 11.0]);
        assert_eq!(a.block(3, 4, 0, 0).to_vec(), [0.0; 0]);
        assert_eq!(a.row(1).unwrap(), &data[4..8]);
        assert!(a.t().row(1).is_none());
    }
}
