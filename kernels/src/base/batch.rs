//! Many matrices of one shape and one layout, at equal distances: what a batched product works on.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef, check_bounds, check_distinct};
use alloc::boxed::Box;
use core::fmt;

/// `count` read-only matrices of one shape and layout, each `stride` elements after the one before.
///
/// ```text
///   data  ┌───────┬──┬───────┬──┬───────┐          element (i, j) of matrix p:
///         │ p = 0 │  │ p = 1 │  │ p = 2 │              data[offset + p·stride + i·rs + j·cs]
///         └───────┴──┴───────┴──┴───────┘
///         ├─ stride ─┤
/// ```
///
/// Matrices may interleave (the heads of a layer lie side by side in each row) and, as nothing is written, overlap; with a stride of 0 all
/// products share one operand.
#[derive(Clone, Copy)]
pub struct BatchRef<'a, T> {
    first: MatRef<'a, T>,
    stride: isize,
    count: usize,
}

/// `count` mutable matrices; see [`BatchRef`]. Distinct (p, i, j) are distinct elements.
pub struct BatchMut<'a, T> {
    first: MatMut<'a, T>,
    stride: isize,
    count: usize,
}

/// Checks that every matrix stays in a slice of `len` elements.
fn check_all(
    len: usize,
    offset: usize,
    (count, stride): (usize, isize),
    shape: (usize, usize),
    strides: (isize, isize),
) -> Result<(), Error> {
    let one = |index: usize| {
        // Empty matrices touch nothing, wherever they would be.
        let step =
            if shape.0 == 0 || shape.1 == 0 { Some(0) } else { isize::try_from(index).ok().and_then(|i| i.checked_mul(stride)) };
        match step.and_then(|step| offset.checked_add_signed(step)) {
            Some(offset) => check_bounds(len, offset, shape, strides),
            None => Err(Error::OutOfBounds { len, first: isize::MIN, last: isize::MAX }),
        }
    };
    if count == 0 {
        return Ok(());
    }
    // What the matrices touch moves one way only: if the first and the last are inside, so are all.
    let (mut good, mut bad) = (0, count - 1);
    let named = |index| move |error| Error::Batch { index, error: Box::new(error) };
    one(0).map_err(named(0))?;
    if one(bad).is_ok() {
        return Ok(());
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if one(middle).is_ok() { good = middle } else { bad = middle }
    }
    one(bad).map_err(named(bad))
}

/// Checks that no element belongs to two matrices: from the narrowest stride to the widest, each must step over all that is spanned below it.
fn check_disjoint((count, stride): (usize, isize), shape: (usize, usize), (rs, cs): (isize, isize)) -> Result<(), Error> {
    if count < 2 || shape.0 == 0 || shape.1 == 0 {
        return Ok(());
    }
    let mut steps = [(stride.unsigned_abs(), count), (rs.unsigned_abs(), shape.0), (cs.unsigned_abs(), shape.1)];
    steps.sort_unstable();
    let mut spanned = 0usize;
    for (step, n) in steps.into_iter().filter(|s| s.1 > 1) {
        if step <= spanned {
            return Err(Error::BatchOverlap { stride, rs, cs });
        }
        spanned = spanned.saturating_add(step.saturating_mul(n - 1));
    }
    Ok(())
}

macro_rules! common {
    ($batch:ident) => {
        impl<T> fmt::Debug for $batch<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (rows, cols) = self.shape();
                write!(f, "{}({} of {rows}x{cols}, {} apart)", stringify!($batch), self.count, self.stride)
            }
        }

        impl<T> $batch<'_, T> {
            /// Number of matrices.
            #[inline(always)]
            pub fn count(&self) -> usize {
                self.count
            }
            /// Rows and columns of each.
            #[inline(always)]
            pub fn shape(&self) -> (usize, usize) {
                self.first.shape()
            }
            /// Elements from a matrix to the next.
            #[inline(always)]
            pub fn stride(&self) -> isize {
                self.stride
            }
            /// The transposes: the same memory.
            #[must_use]
            pub fn t(self) -> Self {
                Self { first: self.first.t(), ..self }
            }
        }
    };
}
common!(BatchRef);
common!(BatchMut);

impl<'a, T> BatchRef<'a, T> {
    /// Row-major matrices one after another, without gaps: all of `data`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `count · nrows · ncols` elements.
    pub fn new(data: &'a [T], count: usize, nrows: usize, ncols: usize) -> Result<Self, Error> {
        let stride = dense(data.len(), count, nrows, ncols)?;
        Self::strided(data, 0, (count, stride), (nrows, ncols), (ncols as isize, 1))
    }

    /// `count` matrices, the first with its element (0, 0) at `data[offset]`, the others each `stride` elements further on; strides may be
    /// negative or 0.
    ///
    /// # Errors
    /// [`Error::Batch`] with the index of the first matrix that would leave `data`, holding [`Error::OutOfBounds`].
    pub fn strided(
        data: &'a [T],
        offset: usize,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Result<Self, Error> {
        check_all(data.len(), offset, (count, stride), shape, strides)?;
        // Where there is no matrix, the first has a shape but is never handed out.
        let (at, viewed) = if count == 0 { (0, (0, 0)) } else { (offset, shape) };
        let first = MatRef::strided(data, at, viewed, strides)?;
        let (nrows, ncols) = shape;
        Ok(Self { first: MatRef { nrows, ncols, ..first }, stride, count })
    }

    /// Matrices that no slice describes: matrix p starts `p·stride` elements after `first`.
    ///
    /// # Safety
    /// As [`MatRef::from_raw_parts`], for each of the `count` matrices; the offset of each fits an `isize`.
    pub const unsafe fn from_raw_parts(
        first: *const T,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Self {
        // SAFETY: the caller's promise for matrix 0; without matrices this view is never handed out.
        Self { first: unsafe { MatRef::from_raw_parts(first, shape, strides) }, stride, count }
    }

    /// One matrix `count` times: an operand that all products share.
    pub fn repeat(matrix: MatRef<'a, T>, count: usize) -> Self {
        Self { first: matrix, stride: 0, count }
    }

    /// Matrix `index`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn get(&self, index: usize) -> MatRef<'a, T> {
        assert!(index < self.count, "matrix {index} of {}", self.count);
        let first = self.first;
        // An empty matrix forms no pointer of its own; the others are inside the slice: `check_all`, in the constructor.
        let ptr = if first.is_empty() { first.ptr } else { first.ptr.wrapping_offset(index as isize * self.stride) };
        MatRef { ptr, ..first }
    }
}

impl<'a, T> BatchMut<'a, T> {
    /// Row-major matrices one after another, without gaps: all of `data`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `count · nrows · ncols` elements.
    pub fn new(data: &'a mut [T], count: usize, nrows: usize, ncols: usize) -> Result<Self, Error> {
        let stride = dense(data.len(), count, nrows, ncols)?;
        Self::strided(data, 0, (count, stride), (nrows, ncols), (ncols as isize, 1))
    }

    /// `count` matrices, the first with its element (0, 0) at `data[offset]`, the others each `stride` elements further on; strides may be
    /// negative.
    ///
    /// # Errors
    /// [`Error::Batch`] with the index of the first matrix that would leave `data`, holding [`Error::OutOfBounds`]; [`Error::Overlap`] if two
    /// indices of one matrix could reach the same element, [`Error::BatchOverlap`] if two matrices could: of the three strides (of those over more than
    /// one step) each must step over all that the narrower ones span.
    pub fn strided(
        data: &'a mut [T],
        offset: usize,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Result<Self, Error> {
        check_all(data.len(), offset, (count, stride), shape, strides)?;
        check_distinct(shape.0, shape.1, strides.0, strides.1)?;
        check_disjoint((count, stride), shape, strides)?;
        // As in `BatchRef::strided`.
        let (at, viewed) = if count == 0 { (0, (0, 0)) } else { (offset, shape) };
        let first = MatMut::strided(data, at, viewed, strides)?;
        let (nrows, ncols) = shape;
        Ok(Self { first: MatMut { nrows, ncols, ..first }, stride, count })
    }

    /// Matrices that no slice describes: matrix p starts `p·stride` elements after `first`.
    ///
    /// # Safety
    /// As [`MatMut::from_raw_parts`], for each of the `count` matrices; no two of them share an element.
    pub const unsafe fn from_raw_parts(
        first: *mut T,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Self {
        // SAFETY: the caller's promise for matrix 0; without matrices this view is never handed out.
        Self { first: unsafe { MatMut::from_raw_parts(first, shape, strides) }, stride, count }
    }

    /// Matrix `index`, while the batch is lent.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> MatMut<'_, T> {
        // SAFETY: the batch is lent exclusively for as long as the view lives.
        unsafe { self.alias(index) }
    }

    /// Matrix `index`, for handing different ones to threads.
    ///
    /// # Safety
    /// The caller sees to it that no matrix is reached through two views at once.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) unsafe fn alias(&self, index: usize) -> MatMut<'a, T> {
        assert!(index < self.count, "matrix {index} of {}", self.count);
        // SAFETY: only the pointer differs, and it is moved to a matrix that shares no element with the first (`check_disjoint`).
        let first = unsafe { self.first.alias() };
        // As in `BatchRef::get`.
        let ptr = if first.is_empty() { first.ptr } else { first.ptr.wrapping_offset(index as isize * self.stride) };
        MatMut { ptr, ..first }
    }
}

/// The distance of dense matrices that fill a slice of `len` elements.
fn dense(len: usize, count: usize, nrows: usize, ncols: usize) -> Result<isize, Error> {
    let one = nrows.checked_mul(ncols);
    if one.and_then(|one| one.checked_mul(count)) != Some(len) {
        let rows = nrows.saturating_mul(count);
        return Err(Error::Shape { what: "a slice viewed as a batch", expected: (rows, ncols), found: (1, len) });
    }
    // As long as a slice, or of no consequence.
    Ok(one.and_then(|one| isize::try_from(one).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_leave_their_slice_name_the_first_that_does() {
        let data = [0f32; 100];
        assert!(BatchRef::strided(&data, 0, (8, 12), (3, 4), (4, 1)).is_ok());
        assert!(BatchRef::strided(&data, 88, (8, -12), (3, 4), (4, 1)).is_ok());
        assert!(BatchRef::strided(&data, 100, (usize::MAX, isize::MAX), (0, 4), (4, 1)).is_ok());
        assert!(BatchRef::strided(&data, 200, (0, 5), (3, 4), (4, 1)).is_ok());
        for (offset, batch, index) in
            [(0, (9, 12), 8), (89, (3, 1), 0), (12, (5, -6), 3), (0, (usize::MAX, 1), 89), (0, (3, isize::MAX), 1)]
        {
            let error = BatchRef::strided(&data, offset, batch, (3, 4), (4, 1)).unwrap_err();
            let Error::Batch { index: found, error } = error else { panic!("{error}") };
            assert_eq!(found, index, "{batch:?}");
            assert!(matches!(*error, Error::OutOfBounds { .. }));
        }
        assert!(matches!(BatchRef::new(&data, 3, 5, 7), Err(Error::Shape { .. })));
        assert!(matches!(BatchRef::new(&data, usize::MAX, 2, 7), Err(Error::Shape { .. })));
    }

    #[test]
    fn overlapping_results_are_refused() {
        let mut data = [0f32; 200];
        // Side by side in each row, one after another, backwards, batch innermost, one matrix alone, empty ones.
        for (offset, batch, shape, strides) in [
            (0, (3, 4), (5, 4), (12, 1)),
            (0, (3, 20), (5, 4), (4, 1)),
            (100, (3, -20), (5, 4), (4, 1)),
            (0, (3, 1), (5, 4), (12, 3)),
            (0, (1, 0), (5, 4), (4, 1)),
            (0, (7, 0), (0, 4), (4, 1)),
        ] {
            assert!(BatchMut::strided(&mut data, offset, batch, shape, strides).is_ok(), "{batch:?}");
        }
        for (batch, strides) in [((2, 0), (4, 1)), ((3, 19), (4, 1)), ((3, 3), (12, 1)), ((4, 4), (12, 1)), ((4, 1), (12, 3))] {
            let error = BatchMut::strided(&mut data, 0, batch, (5, 4), strides).unwrap_err();
            assert!(matches!(error, Error::BatchOverlap { .. }), "{batch:?}: {error}");
        }
        assert!(matches!(BatchMut::strided(&mut data, 0, (2, 50), (5, 4), (3, 1)), Err(Error::Overlap { .. })));
    }

    #[test]
    fn matrices_are_where_they_should_be() {
        let mut data: Vec<f64> = (0..24).map(f64::from).collect();
        let batch = BatchRef::strided(&data, 1, (3, 7), (2, 2), (3, 2)).unwrap();
        assert_eq!(batch.get(2).to_vec(), [15.0, 17.0, 18.0, 20.0]);
        assert_eq!(batch.t().get(1).to_vec(), [8.0, 11.0, 10.0, 13.0]);
        let mut batch = BatchMut::new(&mut data, 4, 2, 3).unwrap();
        assert_eq!(batch.get_mut(3).get(1, 2), 23.0);
    }
}
