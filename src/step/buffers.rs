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
    gram: Vec<T>,
}

impl<T: Real> Buffers<T> {
    pub(super) fn new(net: &Network<T>) -> Self {
        let widest = net.layers().iter().map(Layer::width).max().unwrap_or(0);
        Self { bias: vec![T::ZERO; widest], direction: Vec::new(), gram: Vec::new() }
    }

    /// Returns the buffer for the Gram matrix of a layer's shorter side.
    pub(super) fn gram(&mut self, fan_in: usize, width: usize) -> MatMut<'_, T> {
        gram(&mut self.gram, fan_in, width)
    }

    /// Returns the buffers for the regularizer's direction and Gram matrix of a layer.
    pub(super) fn regularizer(&mut self, fan_in: usize, width: usize) -> (MatMut<'_, T>, MatMut<'_, T>) {
        grow(&mut self.direction, fan_in * width);
        (view_mut(&mut self.direction, fan_in, width), gram(&mut self.gram, fan_in, width))
    }

    /// Allocates what the updates of `net` need, so that memory cannot run out halfway.
    pub(super) fn reserve(&mut self, net: &Network<T>, batch: usize, regularized: bool, exec: &mut Exec) -> Result<()> {
        for layer in net.layers() {
            let (fan_in, width) = (layer.fan_in(), layer.width());
            let mut need = gemm_with_scratch::<T>(fan_in, width, batch, &exec.plan);
            if regularized {
                let (short, long) = (fan_in.min(width), fan_in.max(width));
                // Both buffers grow to this layer.
                self.regularizer(fan_in, width);
                let regularizer = syrk_scratch::<T>(short, long, &exec.plan);
                need = need.or(regularizer).or(symm_scratch::<T>(short, long, &exec.plan));
            }
            exec.scratch.reserve(need)?;
        }
        Ok(())
    }
}

/// The Gram matrix of a layer's shorter side, in a buffer that grows to it.
fn gram<T: Real>(memory: &mut Vec<T>, fan_in: usize, width: usize) -> MatMut<'_, T> {
    let side = fan_in.min(width);
    grow(memory, side * side);
    view_mut(memory, side, side)
}

/// Grows a buffer to at least `len` elements.
fn grow<T: Real>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
}
