//! Owned row-major matrices: storage for the kernels' views.

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
    /// Creates a matrix of zeros.
    ///
    /// # Panics
    /// If memory cannot hold rows · cols elements.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let len = rows.checked_mul(cols).expect("a matrix that memory can hold");
        Self { rows, cols, data: vec![T::ZERO; len] }
    }

    /// Creates a matrix from row-major elements.
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
    /// Elements, row by row.
    pub fn data(&self) -> &[T] {
        &self.data
    }
    /// Mutable elements, row by row.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
    /// Row `i`.
    ///
    /// # Panics
    /// If there is no row `i`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// View of the whole matrix.
    ///
    /// # Panics
    /// Never.
    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.data, self.rows, self.cols).expect("rows · cols elements, by construction")
    }
    /// Mutable view of the whole matrix.
    ///
    /// # Panics
    /// Never.
    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::new(&mut self.data, self.rows, self.cols).expect("rows · cols elements, by construction")
    }
    /// View of the first `rows` rows and `cols` columns.
    ///
    /// # Panics
    /// If the matrix is smaller.
    pub fn top_left(&self, rows: usize, cols: usize) -> MatRef<'_, T> {
        self.view().block(0, 0, rows, cols)
    }
    /// Mutable view of the first `rows` rows and `cols` columns.
    ///
    /// # Panics
    /// If the matrix is smaller.
    pub fn top_left_mut(&mut self, rows: usize, cols: usize) -> MatMut<'_, T> {
        self.view_mut().block(0, 0, rows, cols)
    }
}
