//! One layer: weights, biases, activation.

use crate::model::matrix::Matrix;
use gaitprop_kernels::{Activation, Real};

/// `y = f(x[:, :fed] · W + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<T> {
    /// Weights, fed × width.
    pub w: Matrix<T>,
    /// Biases, one a unit.
    pub b: Vec<T>,
    /// f.
    pub unit: Activation,
}

impl<T: Real> Layer<T> {
    /// Units of the layer below that feed this one: the first so many.
    pub fn fed(&self) -> usize {
        self.w.rows()
    }
    /// Units of this layer.
    pub fn width(&self) -> usize {
        self.w.cols()
    }
}
