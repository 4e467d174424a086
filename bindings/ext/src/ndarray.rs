//! Views of ndarray's arrays.

use crate::{IntoMat, IntoMatMut, check_distinct};
use gaitprop_kernels::{Error, MatMut, MatRef};
use ndarray::{ArrayBase, ArrayView2, ArrayViewMut2, Data, DataMut, Ix2};

/// Shape and strides of an array. Both have two elements.
fn layout(shape: &[usize], strides: &[isize]) -> ((usize, usize), (isize, isize)) {
    ((shape[0], shape[1]), (strides[0], strides[1]))
}

impl<'a, T> IntoMat<'a, T> for ArrayView2<'a, T> {
    fn into_mat(self) -> MatRef<'a, T> {
        let (shape, strides) = layout(self.shape(), self.strides());
        // SAFETY: an array view borrows its elements for 'a, all of them initialized and in one
        // allocation, at its pointer plus multiples of its strides.
        unsafe { MatRef::from_raw_parts(self.as_ptr(), shape, strides) }
    }
}

impl<'a, T, S: Data<Elem = T>> IntoMat<'a, T> for &'a ArrayBase<S, Ix2> {
    fn into_mat(self) -> MatRef<'a, T> {
        self.view().into_mat()
    }
}

impl<'a, T> IntoMatMut<'a, T> for ArrayViewMut2<'a, T> {
    fn into_mat_mut(mut self) -> Result<MatMut<'a, T>, Error> {
        let (shape, strides) = layout(self.shape(), self.strides());
        check_distinct(shape, strides)?;
        // SAFETY: a mutable array view borrows its elements exclusively for 'a. All are initialized
        // and in one allocation. Distinct indices are distinct elements, checked above.
        Ok(unsafe { MatMut::from_raw_parts(self.as_mut_ptr(), shape, strides) })
    }
}

impl<'a, T, S: DataMut<Elem = T>> IntoMatMut<'a, T> for &'a mut ArrayBase<S, Ix2> {
    fn into_mat_mut(self) -> Result<MatMut<'a, T>, Error> {
        self.view_mut().into_mat_mut()
    }
}
