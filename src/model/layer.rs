//! One layer: weights, biases, activation.

use crate::model::matrix::Matrix;
use gaitprop_kernels::{Activation, Real};

/// A layer: `y = f(x[:, :fan_in] · W + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<T> {
    /// Weights, fan-in × width.
    pub w: Matrix<T>,
    /// Biases, one per unit.
    pub b: Vec<T>,
    /// Activation f.
    pub activation: Activation,
}

impl<T: Real> Layer<T> {
    /// Fan-in: number of units of the layer below, from the first, that feed this layer.
    pub fn fan_in(&self) -> usize {
        self.w.rows()
    }
    /// Number of units of this layer.
    pub fn width(&self) -> usize {
        self.w.cols()
    }
}
