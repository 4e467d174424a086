//! Backpropagation: e_{l−1} = δ_l W_lᵀ.

use crate::base::error::Result;
use crate::rule::{Context, LayerState, Rule, Through};
use gaitprop_kernels::{MatMut, MatRef, Real};

/// Backpropagation (Rumelhart, Hinton and Williams, 1986).
#[derive(Clone, Copy, Debug)]
pub struct Backprop;

impl<T: Real> Rule<T> for Backprop {
    fn name(&self) -> &str {
        "bp"
    }

    fn through_decorrelation(&self) -> Through {
        Through::Transpose
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        let n = layer.active;
        with.exec.gemm(T::ONE, delta.cols(0, n), layer.w.cols(0, n).t(), T::ZERO, below)
    }
}
