//! Views of faer's matrices.

use crate::{IntoMat, IntoMatMut, check_distinct};
use faer::{Shape, Stride};
use gaitprop_kernels::{Error, MatMut, MatRef};

impl<'a, T, R: Shape, C: Shape, RS: Stride, CS: Stride> IntoMat<'a, T> for faer::MatRef<'a, T, R, C, RS, CS> {
    fn into_mat(self) -> MatRef<'a, T> {
        let m = self.as_dyn().as_dyn_stride();
        // SAFETY: the view borrows its elements for 'a: element (i, j) at its pointer plus
        // i·row_stride + j·col_stride, all in one allocation.
        unsafe { MatRef::from_raw_parts(m.as_ptr(), m.shape(), (m.row_stride(), m.col_stride())) }
    }
}

impl<'a, T, R: Shape, C: Shape> IntoMat<'a, T> for &'a faer::Mat<T, R, C> {
    fn into_mat(self) -> MatRef<'a, T> {
        self.as_ref().into_mat()
    }
}

impl<'a, T, R: Shape, C: Shape, RS: Stride, CS: Stride> IntoMatMut<'a, T> for faer::MatMut<'a, T, R, C, RS, CS> {
    fn into_mat_mut(self) -> Result<MatMut<'a, T>, Error> {
        let m = self.as_dyn_mut().as_dyn_stride_mut();
        let strides = (m.row_stride(), m.col_stride());
        check_distinct(m.shape(), strides)?;
        // SAFETY: as above, and the view is exclusive for 'a. Distinct indices are distinct
        // elements, checked above: `from_row_major_slice_with_stride_mut` of faer 0.24.4 takes the
        // row stride for the column stride, and so builds views whose columns overlap.
        Ok(unsafe { MatMut::from_raw_parts(m.as_ptr_mut(), m.shape(), strides) })
    }
}

impl<'a, T, R: Shape, C: Shape> IntoMatMut<'a, T> for &'a mut faer::Mat<T, R, C> {
    fn into_mat_mut(self) -> Result<MatMut<'a, T>, Error> {
        self.as_mut().into_mat_mut()
    }
}
