//! Strided views. Only here do slices become pointers.

use crate::base::error::Error;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// A read-only view of an `nrows × ncols` matrix with signed strides, in elements.
///
/// Element (i, j) is `i·rs + j·cs` elements after the pointer. A transpose swaps the strides, a
/// reversal negates one; neither moves an element.
///
/// Invariant, established by the constructors: every element (i, j) with i < nrows, j < ncols may
/// be read for `'a`.
pub struct MatRef<'a, T> {
    pub(super) ptr: *const T,
    pub(super) nrows: usize,
    pub(super) ncols: usize,
    pub(super) rs: isize,
    pub(super) cs: isize,
    pub(super) _life: PhantomData<&'a [T]>,
}

/// A mutable view of a matrix, laid out like [`MatRef`].
///
/// Invariant, established by the constructors: every element (i, j) may be read and written for
/// `'a`, through this view alone. Distinct (i, j) are distinct elements.
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

// SAFETY: a `MatRef` is a `&[T]` with strides: it only reads, by the invariant of the type.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}
// SAFETY: a `MatMut` is a `&mut [T]` with strides: exclusive, by the invariant of the type.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared `&MatMut` allows only reads.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

/// Returns the lowest and highest element offset of a view, or `None` if they do not fit an
/// `isize`.
fn extent(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Option<(isize, isize)> {
    let reach = |n: usize, s: isize| isize::try_from(n - 1).ok()?.checked_mul(s);
    let (r, c) = (reach(nrows, rs)?, reach(ncols, cs)?);
    Some((r.min(0).checked_add(c.min(0))?, r.max(0).checked_add(c.max(0))?))
}

/// Checks that a view lies inside a slice of `len` elements, where (0, 0) is element `offset`.
pub(super) fn check_bounds(
    len: usize,
    offset: usize,
    (nrows, ncols): (usize, usize),
    (rs, cs): (isize, isize),
) -> Result<(), Error> {
    if nrows == 0 || ncols == 0 {
        // An empty view touches no element, but its pointer must lie inside the slice or at its
        // end.
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

/// Checks that no two indices share an element: the larger stride must exceed the span of the
/// smaller.
pub(super) fn check_distinct(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Result<(), Error> {
    if nrows == 0 || ncols == 0 || (nrows == 1 && ncols == 1) {
        return Ok(());
    }
    let (r, c) = (rs.unsigned_abs(), cs.unsigned_abs());
    let distinct = match (nrows, ncols) {
        (1, _) => c > 0,
        (_, 1) => r > 0,
        _ if r <= c => r > 0 && c > r.saturating_mul(nrows - 1),
        _ => c > 0 && r > c.saturating_mul(ncols - 1),
    };
    if distinct { Ok(()) } else { Err(Error::Overlap { rs, cs }) }
}

macro_rules! common {
    ($view:ident) => {
        impl<'a, T> $view<'a, T> {
            /// Returns the number of rows.
            #[inline(always)]
            pub fn nrows(&self) -> usize {
                self.nrows
            }
            /// Returns the number of columns.
            #[inline(always)]
            pub fn ncols(&self) -> usize {
                self.ncols
            }
            /// Returns the number of rows and of columns.
            #[inline(always)]
            pub fn shape(&self) -> (usize, usize) {
                (self.nrows, self.ncols)
            }
            /// Returns the row stride: elements from (i, j) to (i+1, j).
            #[inline(always)]
            pub fn rs(&self) -> isize {
                self.rs
            }
            /// Returns the column stride: elements from (i, j) to (i, j+1).
            #[inline(always)]
            pub fn cs(&self) -> isize {
                self.cs
            }
            /// Returns whether the view has no elements.
            #[inline(always)]
            pub fn is_empty(&self) -> bool {
                self.nrows == 0 || self.ncols == 0
            }
            /// Checks that the shape is `expected`; `what` names the operand in the error.
            ///
            /// # Errors
            /// [`Error::Shape`] if it is another.
            pub fn expect_shape(&self, what: &'static str, expected: (usize, usize)) -> Result<(), Error> {
                if self.shape() == expected { Ok(()) } else { Err(Error::Shape { what, expected, found: self.shape() }) }
            }
            /// Returns whether the elements of each row are contiguous.
            #[inline(always)]
            pub(crate) fn has_contiguous_rows(&self) -> bool {
                self.cs == 1 || self.ncols <= 1
            }
            /// Checks that the rows are contiguous; `what` names the operand in the error.
            ///
            /// # Errors
            /// [`Error::Layout`] if they are not.
            pub(crate) fn expect_contiguous_rows(&self, what: &'static str) -> Result<(), Error> {
                if self.has_contiguous_rows() {
                    Ok(())
                } else {
                    Err(Error::Layout { what, accepted: "contiguous rows (a column stride of 1)" })
                }
            }
            /// Returns the transpose: the same memory with the strides swapped.
            #[inline(always)]
            #[must_use]
            pub fn t(self) -> Self {
                Self { nrows: self.ncols, ncols: self.nrows, rs: self.cs, cs: self.rs, ..self }
            }
            /// Returns the view with its rows in reverse order.
            #[must_use]
            pub fn reverse_rows(self) -> Self {
                let step = (self.nrows.saturating_sub(1) as isize).wrapping_mul(self.rs);
                let ptr = if self.is_empty() { self.ptr } else { self.ptr.wrapping_offset(step) };
                Self { ptr, rs: self.rs.wrapping_neg(), ..self }
            }
            /// Returns the view with its columns in reverse order.
            #[must_use]
            pub fn reverse_cols(self) -> Self {
                self.t().reverse_rows().t()
            }
            /// Returns the block of `nrows × ncols` whose first element is (`row`, `col`).
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
                // An empty block may start one past the end. It keeps the pointer of the view.
                let ptr = if nrows == 0 || ncols == 0 {
                    self.ptr
                } else {
                    self.ptr.wrapping_offset(row as isize * self.rs + col as isize * self.cs)
                };
                Self { ptr, nrows, ncols, ..self }
            }
            /// Returns columns `col .. col + ncols`.
            ///
            /// # Panics
            /// If the view does not contain all of them.
            #[inline]
            #[must_use]
            pub fn cols(self, col: usize, ncols: usize) -> Self {
                let nrows = self.nrows;
                self.block(0, col, nrows, ncols)
            }
            /// Returns rows `row .. row + nrows`.
            ///
            /// # Panics
            /// If the view does not contain all of them.
            #[inline]
            #[must_use]
            pub fn rows(self, row: usize, nrows: usize) -> Self {
                let ncols = self.ncols;
                self.block(row, 0, nrows, ncols)
            }
        }

        impl<T: Copy> $view<'_, T> {
            /// Returns element (`i`, `j`).
            ///
            /// # Panics
            /// If it lies outside the view.
            #[inline]
            pub fn get(&self, i: usize, j: usize) -> T {
                assert!(i < self.nrows && j < self.ncols, "element ({i}, {j}) of {:?}", self.shape());
                // SAFETY: (i, j) is inside the view (asserted above), so it may be read (invariant
                // of the type).
                unsafe { *self.ptr.offset(i as isize * self.rs + j as isize * self.cs) }
            }
            /// Returns row `i` as a slice, or `None` if its elements are not contiguous.
            ///
            /// # Panics
            /// If `i` is not less than the number of rows.
            #[inline]
            pub fn row(&self, i: usize) -> Option<&[T]> {
                assert!(i < self.nrows, "row {i} of {:?}", self.shape());
                if self.ncols == 0 {
                    return Some(&[]);
                }
                if !self.has_contiguous_rows() {
                    return None;
                }
                // SAFETY: row i has a column stride of 1 or a single element (checked above), so
                // its `ncols` elements are contiguous from (i, 0). They may be read (invariant of
                // the type).
                Some(unsafe { core::slice::from_raw_parts(self.ptr.offset(i as isize * self.rs), self.ncols) })
            }
            /// Copies the elements into a new row-major vector.
            ///
            /// # Panics
            /// If memory does not suffice. A view with strides of 0 may have more elements than its
            /// slice.
            pub fn to_vec(&self) -> Vec<T> {
                if self.is_empty() {
                    return Vec::new();
                }
                let len = self.nrows.checked_mul(self.ncols).expect("a number of elements that fits a usize");
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
    /// Views a whole slice as a row-major matrix.
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

    /// Views part of a slice as an `nrows × ncols` matrix with any strides.
    ///
    /// * `offset`: index in `data` of element (0, 0)
    /// * `(nrows, ncols)`: shape of the view
    /// * `(rs, cs)`: row and column strides in elements; may be negative or 0
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

    /// Views memory behind a pointer; element (0, 0) is at `ptr`.
    ///
    /// # Safety
    /// For `'a`, every element (i, j) with i < nrows and j < ncols, at `ptr + i·rs + j·cs`, lies in
    /// one allocation, is aligned and initialized, and is not written. The byte offset of each fits
    /// an `isize`. An empty view may have any pointer.
    pub const unsafe fn from_raw_parts(ptr: *const T, (nrows, ncols): (usize, usize), (rs, cs): (isize, isize)) -> Self {
        Self { ptr, nrows, ncols, rs, cs, _life: PhantomData }
    }

    /// Returns the elements of row `i` in turn, whatever their stride.
    ///
    /// # Panics
    /// If `i` is not less than the number of rows.
    #[inline]
    pub fn row_iter(self, i: usize) -> RowIter<'a, T> {
        assert!(i < self.nrows, "row {i} of {:?}", self.shape());
        // Wrapping: an empty view may have any stride, and its pointer is never followed.
        let next = self.ptr.wrapping_offset((i as isize).wrapping_mul(self.rs));
        RowIter { next, left: self.ncols, cs: self.cs, _life: PhantomData }
    }

    /// Returns a pointer to element (0, 0).
    #[inline(always)]
    pub fn as_ptr(&self) -> *const T {
        self.ptr
    }
}

impl<'a, T> MatMut<'a, T> {
    /// Views a whole slice as a row-major matrix.
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

    /// Views part of a slice as a mutable `nrows × ncols` matrix with any strides.
    ///
    /// * `offset`: index in `data` of element (0, 0)
    /// * `(nrows, ncols)`: shape of the view
    /// * `(rs, cs)`: row and column strides in elements; may be negative
    ///
    /// # Errors
    /// * [`Error::OutOfBounds`] if an element would lie outside `data`.
    /// * [`Error::Overlap`] if two indices could reach the same element. The larger stride must
    ///   exceed the span of the smaller one; the few other layouts without overlap are refused too.
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

    /// Views memory behind a pointer as a mutable matrix; element (0, 0) is at `ptr`.
    ///
    /// # Safety
    /// The conditions of [`MatRef::from_raw_parts`] hold, but the elements may be written. For `'a`
    /// they are reached through this view alone. Distinct (i, j) are distinct elements.
    pub const unsafe fn from_raw_parts(ptr: *mut T, (nrows, ncols): (usize, usize), (rs, cs): (isize, isize)) -> Self {
        Self { ptr, nrows, ncols, rs, cs, _life: PhantomData }
    }

    /// Returns a pointer to element (0, 0).
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// Borrows the elements as a read-only view.
    #[inline(always)]
    pub fn as_ref(&self) -> MatRef<'_, T> {
        MatRef { ptr: self.ptr, nrows: self.nrows, ncols: self.ncols, rs: self.rs, cs: self.cs, _life: PhantomData }
    }

    /// Reborrows the view.
    #[inline(always)]
    pub fn rb(&mut self) -> MatMut<'_, T> {
        MatMut { _life: PhantomData, ..*self }
    }

    /// Writes element (`i`, `j`).
    ///
    /// # Panics
    /// If it lies outside the view.
    #[inline]
    pub fn set(&mut self, i: usize, j: usize, value: T) {
        assert!(i < self.nrows && j < self.ncols, "element ({i}, {j}) of {:?}", self.shape());
        // SAFETY: (i, j) is inside the view (asserted above), so it may be written (invariant of
        // the type).
        unsafe { self.ptr.offset(i as isize * self.rs + j as isize * self.cs).write(value) }
    }

    /// Returns row `i` as a mutable slice, or `None` if its elements are not contiguous.
    ///
    /// # Panics
    /// If `i` is not less than the number of rows.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> Option<&mut [T]> {
        assert!(i < self.nrows, "row {i} of {:?}", self.shape());
        if self.ncols == 0 {
            return Some(&mut []);
        }
        if self.cs != 1 && self.ncols > 1 {
            return None;
        }
        // SAFETY: row i has a column stride of 1 or a single element (checked above), so its
        // `ncols` elements are contiguous from (i, 0). The view is exclusive (invariant of the
        // type) and borrowed mutably.
        Some(unsafe { core::slice::from_raw_parts_mut(self.ptr.offset(i as isize * self.rs), self.ncols) })
    }

    /// Splits the view into the columns before `col` and the others.
    ///
    /// # Panics
    /// If `col` exceeds the number of columns.
    #[inline]
    #[must_use]
    pub fn split_cols(self, col: usize) -> (Self, Self) {
        let (n, twin) = (self.ncols, Self { ..self });
        (twin.cols(0, col), self.cols(col, n - col))
    }

    /// Splits the view into the rows before `row` and the others.
    ///
    /// # Panics
    /// If `row` exceeds the number of rows.
    #[inline]
    #[must_use]
    pub fn split_rows(self, row: usize) -> (Self, Self) {
        let (above, below) = self.t().split_cols(row);
        (above.t(), below.t())
    }

    /// Returns a second view of the same elements, so that threads can work on disjoint blocks.
    ///
    /// # Safety
    /// The caller ensures that no element is reached through two views at once, unless both only
    /// read.
    #[inline(always)]
    pub(crate) unsafe fn alias(&self) -> MatMut<'a, T> {
        MatMut { ..*self }
    }
}

/// The elements of one row of a view, in turn.
///
/// Invariant: `left` elements, `cs` apart from `next` on, may be read for `'a`.
#[derive(Clone, Debug)]
pub struct RowIter<'a, T> {
    next: *const T,
    left: usize,
    cs: isize,
    _life: PhantomData<&'a [T]>,
}

impl<T: Copy> Iterator for RowIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` was above 0, so `next` may be read (invariant of the type).
        let value = unsafe { *self.next };
        self.next = self.next.wrapping_offset(self.cs);
        Some(value)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Copy> DoubleEndedIterator for RowIter<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: index `left` is below the former `left`, so the element may be read (invariant of
        // the type).
        Some(unsafe { *self.next.offset(self.left as isize * self.cs) })
    }
}

impl<T: Copy> ExactSizeIterator for RowIter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row of every layout, forwards and backwards, and of views with no columns at the end of
    /// their slice.
    #[test]
    fn a_row_is_visited_in_its_order_and_backwards() {
        let data: Vec<f32> = (0..24u8).map(f32::from).collect();
        for (offset, strides) in [(0, (6, 1)), (0, (1, 4)), (23, (-6, -1)), (3, (-1, 4)), (5, (6, -1)), (2, (0, 0))] {
            let view = MatRef::strided(&data, offset, (4, 6), strides).unwrap();
            for i in 0..4 {
                let mut want: Vec<f32> = (0..6).map(|j| view.get(i, j)).collect();
                assert_eq!(view.row_iter(i).len(), 6);
                assert_eq!(view.row_iter(i).collect::<Vec<_>>(), want);
                want.reverse();
                assert_eq!(view.row_iter(i).rev().collect::<Vec<_>>(), want);
                let mut ends = view.row_iter(i);
                assert_eq!((ends.next(), ends.next_back(), ends.len()), (want.last().copied(), want.first().copied(), 4));
            }
        }
        for stride in [1, isize::MAX] {
            let empty = MatRef::strided(&data, 24, (3, 0), (stride, 1)).unwrap();
            assert_eq!((empty.row_iter(2).next(), empty.row_iter(2).next_back()), (None, None));
        }
    }

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
