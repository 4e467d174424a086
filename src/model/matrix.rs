//! Owned row-major matrices: storage for what the kernels view.

use crate::base::error::Result;
use gaitprop_kernels::{MatMut, MatRef, Real};

/// A row-major matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<T> {
    rows: usize,
    cols: usize,
    data: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// All zeros.
    ///
    /// # Panics
    /// If there is no memory for rows · cols elements.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let len = rows.checked_mul(cols).expect("a matrix that memory can hold");
        Self { rows, cols, data: vec![T::ZERO; len] }
    }

    /// From row-major elements.
    ///
    /// # Errors
    /// A shape error if `data` does not hold rows · cols elements.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<T>) -> Result<Self> {
        MatRef::new(&data, rows, cols)?;
        Ok(Self { rows, cols, data })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// The elements, row by row.
    pub fn data(&self) -> &[T] {
        &self.data
    }
    /// The elements, row by row.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
    /// Row `i`.
    ///
    /// # Panics
    /// If there is none.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// A view of everything.
    ///
    /// # Panics
    /// Never.
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.data, self.rows, self.cols).expect("rows · cols elements, by construction")
    }
    /// A mutable view of everything.
    ///
    /// # Panics
    /// Never.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::new(&mut self.data, self.rows, self.cols).expect("rows · cols elements, by construction")
    }
    /// A view of the first `rows` rows and `cols` columns.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn top_left(&self, rows: usize, cols: usize) -> MatRef<'_, T> {
        self.view().block(0, 0, rows, cols)
    }
    /// A mutable view of the first `rows` rows and `cols` columns.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn top_left_mut(&mut self, rows: usize, cols: usize) -> MatMut<'_, T> {
        self.view_mut().block(0, 0, rows, cols)
    }
}
