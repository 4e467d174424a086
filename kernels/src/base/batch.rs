//! Batches: matrices of one shape and layout at equal distances, the operands of batched products.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef, check_bounds, check_distinct};
use alloc::boxed::Box;
use core::fmt;

/// A batch of `count` read-only matrices of one shape and layout, `stride` elements apart.
///
/// ```text
///   data  ┌───────┬──┬───────┬──┬───────┐          element (i, j) of matrix p:
///         │ p = 0 │  │ p = 1 │  │ p = 2 │              data[offset + p·stride + i·rs + j·cs]
///         └───────┴──┴───────┴──┴───────┘
///         ├─ stride ─┤
/// ```
///
/// Matrices may interleave: the heads of a layer, for example, lie side by side in each row. They
/// may also overlap, since nothing is written. With a stride of 0 all products share one operand.
#[derive(Clone, Copy)]
pub struct BatchRef<'a, T> {
    first: MatRef<'a, T>,
    stride: isize,
    count: usize,
}

/// A batch of `count` mutable matrices, laid out like [`BatchRef`]. Distinct (p, i, j) are distinct
/// elements.
pub struct BatchMut<'a, T> {
    first: MatMut<'a, T>,
    stride: isize,
    count: usize,
}

/// Checks that every matrix lies inside a slice of `len` elements.
fn check_all(
    len: usize,
    offset: usize,
    (count, stride): (usize, isize),
    shape: (usize, usize),
    strides: (isize, isize),
) -> Result<(), Error> {
    let check_one = |index: usize| {
        // An empty matrix touches no element, so its position does not matter.
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
    // Offsets are monotonic in the index: if the first and the last matrix are inside, all are.
    // Otherwise bisection finds the first one outside.
    let (mut good, mut bad) = (0, count - 1);
    let at = |index| move |error| Error::Batch { index, error: Box::new(error) };
    check_one(0).map_err(at(0))?;
    if check_one(bad).is_ok() {
        return Ok(());
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if check_one(middle).is_ok() { good = middle } else { bad = middle }
    }
    check_one(bad).map_err(at(bad))
}

/// Checks that no two matrices share an element: in increasing order, each stride must exceed the
/// span of all narrower ones.
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
            /// Returns the number of matrices.
            #[inline(always)]
            pub fn count(&self) -> usize {
                self.count
            }
            /// Returns the rows and columns of each matrix.
            #[inline(always)]
            pub fn shape(&self) -> (usize, usize) {
                self.first.shape()
            }
            /// Returns the number of elements from one matrix to the next.
            #[inline(always)]
            pub fn stride(&self) -> isize {
                self.stride
            }
            /// Returns the batch of the transposes: a view of the same memory.
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
    /// Views all of `data` as `count` row-major matrices, one after another without gaps.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `count · nrows · ncols` elements.
    pub fn new(data: &'a [T], count: usize, nrows: usize, ncols: usize) -> Result<Self, Error> {
        let stride = dense(data.len(), count, nrows, ncols)?;
        Self::strided(data, 0, (count, stride), (nrows, ncols), (ncols as isize, 1))
    }

    /// Views `count` matrices of `data`, `stride` elements apart.
    ///
    /// * `offset`: index in `data` of element (0, 0) of matrix 0
    /// * `(count, stride)`: number of matrices, and elements from one to the next
    /// * `shape`: rows and columns of each matrix
    /// * `strides`: row and column strides of each matrix, in elements
    ///
    /// All three strides may be negative or 0.
    ///
    /// # Errors
    /// [`Error::Batch`] with the index of the first matrix that would leave `data`; it contains
    /// [`Error::OutOfBounds`].
    pub fn strided(
        data: &'a [T],
        offset: usize,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Result<Self, Error> {
        check_all(data.len(), offset, (count, stride), shape, strides)?;
        // An empty batch keeps its shape. Its `first` covers no memory, and `get` never returns it.
        let (at, viewed) = if count == 0 { (0, (0, 0)) } else { (offset, shape) };
        let first = MatRef::strided(data, at, viewed, strides)?;
        let (nrows, ncols) = shape;
        Ok(Self { first: MatRef { nrows, ncols, ..first }, stride, count })
    }

    /// Views matrices behind a pointer: matrix p starts `p·stride` elements after `first`.
    ///
    /// # Safety
    /// The conditions of [`MatRef::from_raw_parts`] hold for each of the `count` matrices. The
    /// offset of each fits an `isize`.
    pub const unsafe fn from_raw_parts(
        first: *const T,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Self {
        // SAFETY: the caller promises matrix 0. If `count` is 0, `get` never returns this view.
        Self { first: unsafe { MatRef::from_raw_parts(first, shape, strides) }, stride, count }
    }

    /// Repeats one matrix `count` times: an operand that all products share.
    pub fn repeat(matrix: MatRef<'a, T>, count: usize) -> Self {
        Self { first: matrix, stride: 0, count }
    }

    /// Returns matrix `index`.
    ///
    /// # Panics
    /// If `index` is not less than the number of matrices.
    #[inline]
    pub fn get(&self, index: usize) -> MatRef<'a, T> {
        assert!(index < self.count, "matrix {index} of {}", self.count);
        let first = self.first;
        // An empty matrix keeps the pointer of `first`. Any other lies inside the slice: checked by
        // `check_all` in the constructor, or promised to `from_raw_parts`.
        let ptr = if first.is_empty() { first.ptr } else { first.ptr.wrapping_offset(index as isize * self.stride) };
        MatRef { ptr, ..first }
    }
}

impl<'a, T> BatchMut<'a, T> {
    /// Views all of `data` as `count` row-major matrices, one after another without gaps.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` does not hold exactly `count · nrows · ncols` elements.
    pub fn new(data: &'a mut [T], count: usize, nrows: usize, ncols: usize) -> Result<Self, Error> {
        let stride = dense(data.len(), count, nrows, ncols)?;
        Self::strided(data, 0, (count, stride), (nrows, ncols), (ncols as isize, 1))
    }

    /// Views `count` matrices of `data`, `stride` elements apart.
    ///
    /// * `offset`: index in `data` of element (0, 0) of matrix 0
    /// * `(count, stride)`: number of matrices, and elements from one to the next
    /// * `shape`: rows and columns of each matrix
    /// * `strides`: row and column strides of each matrix, in elements
    ///
    /// All three strides may be negative.
    ///
    /// # Errors
    /// * [`Error::Batch`] with the index of the first matrix that would leave `data`; it contains
    ///   [`Error::OutOfBounds`].
    /// * [`Error::Overlap`] if two indices of one matrix could reach the same element.
    /// * [`Error::BatchOverlap`] if two matrices could. Each of the three strides that takes more
    ///   than one step must exceed the span of all narrower ones.
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

    /// Views matrices behind a pointer: matrix p starts `p·stride` elements after `first`.
    ///
    /// # Safety
    /// The conditions of [`MatMut::from_raw_parts`] hold for each of the `count` matrices. No two
    /// of them share an element. The offset of each fits an `isize`.
    pub const unsafe fn from_raw_parts(
        first: *mut T,
        (count, stride): (usize, isize),
        shape: (usize, usize),
        strides: (isize, isize),
    ) -> Self {
        // SAFETY: the caller promises matrix 0. If `count` is 0, `alias` never returns this view.
        Self { first: unsafe { MatMut::from_raw_parts(first, shape, strides) }, stride, count }
    }

    /// Returns matrix `index`; the view borrows the whole batch.
    ///
    /// # Panics
    /// If `index` is not less than the number of matrices.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> MatMut<'_, T> {
        // SAFETY: the view borrows the batch exclusively, so no other view exists while it lives.
        unsafe { self.alias(index) }
    }

    /// Returns matrix `index` from a shared batch, so that threads can write different matrices.
    ///
    /// # Safety
    /// The caller ensures that no matrix is reached through two views at once.
    ///
    /// # Panics
    /// If `index` is not less than the number of matrices.
    #[inline]
    pub(crate) unsafe fn alias(&self, index: usize) -> MatMut<'a, T> {
        assert!(index < self.count, "matrix {index} of {}", self.count);
        // SAFETY: the copy's pointer moves to matrix `index`, which the caller reaches through no
        // other view. Matrices share no element: checked by `check_disjoint` in the constructor, or
        // promised to `from_raw_parts`.
        let first = unsafe { self.first.alias() };
        // As in `BatchRef::get`.
        let ptr = if first.is_empty() { first.ptr } else { first.ptr.wrapping_offset(index as isize * self.stride) };
        MatMut { ptr, ..first }
    }
}

/// Returns the batch stride of dense matrices that fill a slice of `len` elements.
fn dense(len: usize, count: usize, nrows: usize, ncols: usize) -> Result<isize, Error> {
    let stride = nrows.checked_mul(ncols);
    if stride.and_then(|stride| stride.checked_mul(count)) != Some(len) {
        let rows = nrows.saturating_mul(count);
        return Err(Error::Shape { what: "a slice viewed as a batch", expected: (rows, ncols), found: (1, len) });
    }
    // A matrix of a nonempty batch is no longer than the slice, so its stride fits. An empty batch
    // never uses the stride.
    Ok(stride.and_then(|stride| isize::try_from(stride).ok()).unwrap_or(0))
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
        // Side by side in each row, one after another, backwards, batch innermost, one matrix
        // alone, empty ones.
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
