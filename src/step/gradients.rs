//! The updates of one batch before an optimizer takes them.

use crate::base::error::Result;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use gaitprop_kernels::{Real, reduce};

/// Descent directions (minus the gradient where there is one), averaged over the batch.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    pub(super) w: Vec<Matrix<T>>,
    pub(super) b: Vec<Vec<T>>,
}

impl<T: Real> Gradients<T> {
    /// Zeros of the network's shapes.
    pub fn new(net: &Network<T>) -> Self {
        Self {
            w: net.layers().iter().map(|l| Matrix::zeros(l.fed(), l.width())).collect(),
            b: net.layers().iter().map(|l| vec![T::ZERO; l.width()]).collect(),
        }
    }
    /// Of the weights of layer `l`, fed × width.
    pub fn weights(&self, l: usize) -> &Matrix<T> {
        &self.w[l]
    }
    /// Of the biases of layer `l`.
    pub fn biases(&self, l: usize) -> &[T] {
        &self.b[l]
    }

    pub(crate) fn check_fit(&self, net: &Network<T>) -> Result<()> {
        let fits = |l: usize| {
            net.layers().get(l).is_some_and(|n| n.w.view().shape() == self.w[l].view().shape() && n.b.len() == self.b[l].len())
        };
        if self.w.len() == net.layers().len() && (0..self.w.len()).all(fits) {
            return Ok(());
        }
        let (expected, found) =
            ((net.layers().len(), net.parameters()), (self.w.len(), self.w.iter().map(|w| w.data().len()).sum()));
        Err(gaitprop_kernels::Error::Shape { what: "gradients", expected, found }.into())
    }

    /// The first layer with an update that is not finite (or, in f64, whose square is not), and which. `weights`: theirs, or what they become.
    pub(super) fn first_not_finite(
        &self,
        weights: &[Matrix<T>],
        isa: gaitprop_kernels::Isa,
    ) -> Result<Option<(usize, &'static str)>> {
        for (l, (w, b)) in weights.iter().zip(&self.b).enumerate() {
            for (what, x) in [("the weight update", w.data()), ("the bias update", b.as_slice())] {
                if !reduce::dot(x, x, isa)?.is_finite() {
                    return Ok(Some((l, what)));
                }
            }
        }
        Ok(None)
    }
}
