//! Fixed random feedback: errors go down by matrices that are drawn once and never learn.
//!
//! ```text
//! feedback alignment           e_{l−1} = (D_l ∘ e_l) B_lᵀ      B_l of W_l's shape
//! direct feedback alignment    e_{l−1} = (D_L ∘ e_L) B_{l−1}   B_{l−1} labels × units, e_L the error of the label units
//! ```
//!
//! What is sent is the error before the output's activation, −∂loss/∂h: with cross-entropy target − prediction, as in the literature, and in general what a
//! layer above would have sent. Without D_L a unit on its shallow side calls for changes that its own weights make a tenth of, and training diverges.
//!
//! Feedback is drawn as initial weights are, by the run's own initialisation: an error then reaches a layer in the size in which backpropagation
//! would have sent it there at the start, so that one learning rate means the same to all three, and orthogonal feedback loses no direction of an error. It is a
//! function of shape and seed (from a stream of its own: weights and shuffling do not move): a run that goes on later draws the same again.

use crate::base::error::{Error, Result};
use crate::base::rng::Rng;
use crate::model::init::{self, Init};
use crate::model::matrix::Matrix;
use crate::model::network::Architecture;
use crate::rule::{Context, LayerState, Rule};
use gaitprop_kernels::{Backend, MatMut, MatRef, Plan, Real};

/// The stream of a seed that feedback is drawn from; 0 and 1 are those of weights and of shuffling.
const STREAM: u64 = 2;

/// Draws a matrix of each shape, in this order.
fn draw<T: Real>(shapes: impl Iterator<Item = (usize, usize)>, init: Init, seed: u64, plan: &Plan) -> Result<Vec<Matrix<T>>> {
    // Every backend gets the same bits.
    let (mut rng, plan) = (Rng::new(seed, STREAM), plan.clone().with_backend(Backend::Native));
    shapes.map(|(rows, cols)| init::weights(init, rows, cols, &mut rng, &plan)).collect()
}

/// The feedback matrix of a layer; refuses another shape.
fn of<'a, T: Real>(feedback: &'a [Matrix<T>], layer: &LayerState<'_, T>, shape: (usize, usize)) -> Result<MatRef<'a, T>> {
    let wrong = |what| Err(Error::Architecture { layer: layer.index, what });
    match feedback.get(layer.index - 1) {
        Some(b) if b.view().shape() == shape => Ok(b.view()),
        Some(b) => wrong(format!("its feedback is {}x{}, but must be {}x{}", b.rows(), b.cols(), shape.0, shape.1)),
        None => wrong("there is no feedback for it: the rule was made for another network".into()),
    }
}

/// Feedback alignment (Lillicrap, Cownden, Tweed and Akerman, Random synaptic feedback weights support error backpropagation for deep learning, 2016):
/// backpropagation with fixed random matrices in the stead of Wᵀ.
#[derive(Clone, Debug)]
pub struct FeedbackAlignment<T> {
    feedback: Vec<Matrix<T>>,
}

impl<T: Real> FeedbackAlignment<T> {
    /// With these matrices: of the second layer (fed × width, as its weights), the third, and so on.
    pub fn new(feedback: Vec<Matrix<T>>) -> Self {
        Self { feedback }
    }

    /// With matrices drawn as `init` draws weights.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(architecture: &Architecture, init: Init, seed: u64, plan: &Plan) -> Result<Self> {
        Ok(Self::new(draw(architecture.layers.iter().skip(1).copied(), init, seed, plan)?))
    }
}

impl<T: Real> Rule<T> for FeedbackAlignment<T> {
    fn name(&self) -> &str {
        "fa"
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        let n = layer.active;
        let b = of(&self.feedback, layer, layer.w.shape())?.cols(0, n);
        with.exec.gemm(T::ONE, delta.cols(0, n), b.t(), T::ZERO, below)
    }
}

/// Direct feedback alignment (Nøkland, Direct feedback alignment provides learning in deep neural networks, 2016): every layer gets the error of the
/// output, by a fixed random matrix of its own.
#[derive(Clone, Debug)]
pub struct DirectFeedback<T> {
    feedback: Vec<Matrix<T>>,
}

impl<T: Real> DirectFeedback<T> {
    /// With these matrices: from the label units to the units that feed the second layer (labels × fed), the third, and so on. Other units are auxiliary and have no
    /// error.
    pub fn new(feedback: Vec<Matrix<T>>) -> Self {
        Self { feedback }
    }

    /// With matrices drawn as `init` draws weights. Orthogonal ones have orthonormal rows: no layer's error is longer or shorter than the output's.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(architecture: &Architecture, init: Init, seed: u64, plan: &Plan) -> Result<Self> {
        let shapes = architecture.layers.iter().skip(1).map(|&(fed, _)| (architecture.labels, fed));
        Ok(Self::new(draw(shapes, init, seed, plan)?))
    }
}

impl<T: Real> Rule<T> for DirectFeedback<T> {
    fn name(&self) -> &str {
        "dfa"
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        _: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        let shape = (layer.output_delta.ncols(), layer.w.nrows());
        let b = of(&self.feedback, layer, shape)?;
        with.exec.gemm(T::ONE, layer.output_delta, b, T::ZERO, below)
    }
}
