//! Buffers of the endings.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::model::layer::Layer;
use crate::model::network::Network;
use crate::ortho::Regularizer;
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
    /// Gram matrix of the layer's shorter side.
    pub(super) gram: Vec<T>,
}

impl<T: Real> Buffers<T> {
    pub(super) fn new(net: &Network<T>) -> Self {
        let widest = net.layers().iter().map(Layer::width).max().unwrap_or(0);
        Self { bias: vec![T::ZERO; widest], direction: Vec::new(), gram: Vec::new() }
    }

    /// Allocates what the updates of `net` need, so that memory cannot run out halfway.
    pub(super) fn reserve(&mut self, net: &Network<T>, batch: usize, regularizer: &Regularizer, exec: &mut Exec) -> Result<()> {
        for (l, layer) in net.layers().iter().enumerate() {
            let (fan_in, width) = (layer.fan_in(), layer.width());
            let mut need = gemm_with_scratch::<T>(fan_in, width, batch, &exec.plan);
            if regularizer.covers(l) {
                let (short, long) = (fan_in.min(width), fan_in.max(width));
                grown(&mut self.direction, fan_in, width);
                grown(&mut self.gram, short, short);
                let gram = syrk_scratch::<T>(short, long, &exec.plan);
                need = need.or(gram).or(symm_scratch::<T>(short, long, &exec.plan));
            }
            exec.scratch.reserve(need)?;
        }
        Ok(())
    }
}

/// View of the first rows × cols elements of a buffer that grows to them.
pub(super) fn grown<T: Real>(memory: &mut Vec<T>, rows: usize, cols: usize) -> MatMut<'_, T> {
    view_mut(resized(memory, rows * cols), rows, cols)
}
