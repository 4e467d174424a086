//! Buffers of the endings.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::model::layer::Layer;
use crate::model::network::Network;
use crate::step::tape::view_mut;
use gaitprop_kernels::symm::symm_scratch;
use gaitprop_kernels::syrk::syrk_scratch;
use gaitprop_kernels::{MatMut, Real, gemm_with_scratch};

/// Buffers that the endings share: the regularizer's direction and Gram matrix of one layer, and
/// the update of one bias vector.
#[derive(Debug)]
pub(super) struct Buffers<T> {
    pub(super) bias: Vec<T>,
    pub(super) direction: Vec<T>,
    pub(super) gram: Vec<T>,
}

impl<T: Real> Buffers<T> {
    pub(super) fn new(net: &Network<T>) -> Self {
        let widest = net.layers().iter().map(Layer::width).max().unwrap_or(0);
        Self { bias: vec![T::ZERO; widest], direction: Vec::new(), gram: Vec::new() }
    }

    /// Returns the buffer for the Gram matrix of a layer's shorter side.
    pub(super) fn gram(&mut self, layer: &Layer<T>) -> MatMut<'_, T> {
        let side = layer.fan_in().min(layer.width());
        grow(&mut self.gram, side * side);
        view_mut(&mut self.gram, side, side)
    }

    /// Allocates what the updates of `net` need, so that memory cannot run out halfway.
    pub(super) fn reserve(&mut self, net: &Network<T>, batch: usize, regularized: bool, exec: &mut Exec) -> Result<()> {
        for layer in net.layers() {
            let (fan_in, width) = (layer.fan_in(), layer.width());
            let mut need = gemm_with_scratch::<T>(fan_in, width, batch, &exec.plan);
            if regularized {
                let (short, long) = (fan_in.min(width), fan_in.max(width));
                grow(&mut self.direction, fan_in * width);
                grow(&mut self.gram, short * short);
                let regularizer = syrk_scratch::<T>(short, long, &exec.plan);
                need = need.or(regularizer).or(symm_scratch::<T>(short, long, &exec.plan));
            }
            exec.scratch.reserve(need)?;
        }
        Ok(())
    }
}

/// Grows a buffer to at least `len` elements.
fn grow<T: Real>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
}
