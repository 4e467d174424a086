//! The ending that leaves a batch's updates in memory, for the caller's own optimizer.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::matrix::Matrix;
use crate::model::network::{Network, Trace};
use crate::step::buffers::grown;
use crate::step::tape::input;
use crate::step::{Recipe, Report, Step};
use gaitprop_kernels::{MatRef, Real, reduce};
use std::time::Instant;

/// Descent directions (minus the gradient where there is one), averaged over the batch.
#[derive(Clone, Debug, Default)]
pub struct Gradients<T> {
    pub(super) w: Vec<Matrix<T>>,
    pub(super) b: Vec<Vec<T>>,
}

impl<T: Real> Gradients<T> {
    /// Creates zeros of the network's shapes.
    pub fn new(net: &Network<T>) -> Self {
        Self {
            w: net.layers().iter().map(|l| Matrix::zeros(l.fan_in(), l.width())).collect(),
            b: net.layers().iter().map(|l| vec![T::ZERO; l.width()]).collect(),
        }
    }

    /// Computes `mean(y_{l−1}ᵀ δ_l)` and `mean(δ_l)` of every layer, without a regularizer.
    ///
    /// * `trace`: the forward pass on the samples `x`
    /// * `deltas`: δ_l of each layer, batch × width
    ///
    /// # Errors
    /// [`Error::Diverged`] if an update is not finite; a shape error; out of memory.
    pub(crate) fn from_deltas(
        net: &Network<T>,
        x: MatRef<'_, T>,
        trace: &Trace<T>,
        deltas: &[Matrix<T>],
        exec: &mut Exec,
    ) -> Result<Self> {
        let (mut new, mean) = (Self::new(net), T::from_f64(1.0 / x.nrows().max(1) as f64));
        for (l, (layer, delta)) in net.layers().iter().zip(deltas).enumerate() {
            let input = input(trace, x, l, layer.fan_in());
            exec.gemm(mean, input.t(), delta.view(), T::ZERO, new.w[l].view_mut())?;
            reduce::column_means(delta.view(), &mut new.b[l], exec.plan.isa)?;
        }
        new.check_finite(&new.w, exec)?;
        Ok(new)
    }

    /// Update of the weights of layer `l`, fan-in × width.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn weights(&self, l: usize) -> &Matrix<T> {
        &self.w[l]
    }

    /// Update of the biases of layer `l`.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn biases(&self, l: usize) -> &[T] {
        &self.b[l]
    }

    /// Allocates zeros of the network's shapes, unless the shapes match already.
    pub(super) fn fit(&mut self, net: &Network<T>) {
        if self.check_fit(net).is_err() {
            *self = Self::new(net);
        }
    }

    /// Checks that the updates have the shapes of `net`.
    pub(crate) fn check_fit(&self, net: &Network<T>) -> Result<()> {
        let shapes = |w: &Matrix<T>| w.view().shape();
        if self.w.len() == net.layers().len() && self.w.iter().zip(net.layers()).all(|(w, l)| shapes(w) == shapes(&l.w)) {
            return Ok(());
        }
        let (expected, found) =
            ((net.layers().len(), net.parameters()), (self.w.len(), self.w.iter().map(|w| w.data().len()).sum()));
        Err(gaitprop_kernels::Error::Shape { what: "gradients", expected, found }.into())
    }

    /// Returns [`Error::Diverged`] if an update, or its square, is not finite. `weights`: the
    /// updates of the weights, or the new weights.
    pub(super) fn check_finite(&self, weights: &[Matrix<T>], exec: &Exec) -> Result<()> {
        for (layer, (w, b)) in weights.iter().zip(&self.b).enumerate() {
            for (what, x) in [("the weight update", w.data()), ("the bias update", b.as_slice())] {
                if !exec.dot(x, x)?.is_finite() {
                    return Err(Error::Diverged { what, layer, step: 0 });
                }
            }
        }
        Ok(())
    }
}

impl<T: Real> Step<T> {
    /// Computes the updates of one batch into `self.gradients`. The network is not changed.
    ///
    /// ```text
    /// ΔW_l = mean(y_{l−1}ᵀ δ_l) − ∂R/∂W_l      Δb_l = mean(δ_l)
    /// ```
    ///
    /// Shapes and errors as [`Step::credit`].
    ///
    /// # Errors
    /// [`Error::Diverged`] if an update is not finite.
    pub fn gradients(
        &mut self,
        net: &Network<T>,
        x: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
    ) -> Result<Report> {
        let report = self.credit(net, x, target, recipe)?;
        let (clock, Recipe { regularizer, exec, .. }) = (Instant::now(), recipe);
        let Self { gradients, tape, buffers, phases, .. } = self;
        gradients.fit(net);
        let mean = T::from_f64(1.0 / x.nrows().max(1) as f64);
        for (l, layer) in net.layers().iter().enumerate() {
            let (dw, delta, side) = (&mut gradients.w[l], tape.delta(l), layer.fan_in().min(layer.width()));
            let mut beta = T::ZERO;
            if regularizer.covers(l) {
                let gram = grown(&mut buffers.gram, side, side);
                regularizer.descend(layer.w.view(), T::ZERO, dw.view_mut(), gram, exec)?;
                beta = T::ONE;
            }
            exec.gemm(mean, tape.input(x, l, layer.fan_in()).t(), delta, beta, dw.view_mut())?;
            reduce::column_means(delta, &mut gradients.b[l], exec.plan.isa)?;
        }
        gradients.check_finite(&gradients.w, exec)?;
        phases.update += clock.elapsed();
        Ok(report)
    }
}
