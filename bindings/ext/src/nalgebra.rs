//! Views of nalgebra's matrices and vectors.

use crate::{IntoMat, IntoMatMut, check_distinct};
use gaitprop_kernels::{Error, MatMut, MatRef};
use nalgebra::{Dim, Matrix, RawStorage, RawStorageMut};

/// Strides of a matrix, as signed numbers. Storage has at most `isize::MAX` elements.
fn signed((rs, cs): (usize, usize)) -> (isize, isize) {
    (rs as isize, cs as isize)
}

impl<'a, T, R: Dim, C: Dim, S: RawStorage<T, R, C>> IntoMat<'a, T> for &'a Matrix<T, R, C, S> {
    fn into_mat(self) -> MatRef<'a, T> {
        // SAFETY: the storage owns or borrows its elements for at least 'a. Element (i, j) is at
        // its pointer plus i·rs + j·cs, which `RawStorage` promises, as an unsafe trait.
        unsafe { MatRef::from_raw_parts(self.as_ptr(), self.shape(), signed(self.strides())) }
    }
}

impl<'a, T, R: Dim, C: Dim, S: RawStorageMut<T, R, C>> IntoMatMut<'a, T> for &'a mut Matrix<T, R, C, S> {
    fn into_mat_mut(self) -> Result<MatMut<'a, T>, Error> {
        let (shape, strides) = (self.shape(), signed(self.strides()));
        check_distinct(shape, strides)?;
        // SAFETY: as above, and the storage is borrowed exclusively for 'a. Distinct indices are
        // distinct elements, checked above.
        Ok(unsafe { MatMut::from_raw_parts(self.data.ptr_mut(), shape, strides) })
    }
}
