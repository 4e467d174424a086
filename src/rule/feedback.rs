//! Fixed random feedback: errors go down through matrices that are drawn once and never learn.
//!
//! ```text
//! feedback alignment           e_{l−1} = (D_l ∘ e_l) B_lᵀ      B_l of W_l's shape
//! direct feedback alignment    e_{l−1} = (D_L ∘ e_L) B_{l−1}   B_{l−1} labels × units
//!                                                              e_L: error of the label units
//! ```
//!
//! The signal is the error before the output's activation, −∂loss/∂h. With cross-entropy it is
//! target − prediction, as in the literature. In general it is the error that a layer above would
//! send. Without D_L, a unit on its shallow side would send ten times the error that updates its
//! own weights, and training diverges.
//!
//! Feedback is drawn like initial weights, by the run's own initialization. At the start, an error
//! reaches a layer in the size that backpropagation would send. One learning rate therefore means
//! the same to all three rules, and orthogonal feedback loses no direction of an error.
//!
//! Feedback is a function of shape and seed, from a random stream of its own: weights and shuffling
//! do not change. A resumed run draws the same matrices again.

use crate::base::error::{Error, Result};
use crate::base::rng::Rng;
use crate::model::init::{self, Init};
use crate::model::matrix::Matrix;
use crate::model::network::Architecture;
use crate::rule::{Context, LayerState, Rule};
use gaitprop_kernels::{Backend, MatMut, MatRef, Plan, Real};

/// Stream of the seed for feedback; 0 and 1 are those of weights and of shuffling.
const STREAM: u64 = 2;

/// Draws a matrix of each shape, in this order.
fn draw<T: Real>(shapes: impl Iterator<Item = (usize, usize)>, init: Init, seed: u64, plan: &Plan) -> Result<Vec<Matrix<T>>> {
    // All backends get the same bits.
    let (mut rng, plan) = (Rng::new(seed, STREAM), plan.clone().with_backend(Backend::Native));
    shapes.map(|(rows, cols)| init::weights(init, rows, cols, &mut rng, &plan)).collect()
}

/// Returns the feedback matrix of a layer, or an error for another shape.
fn of<'a, T: Real>(feedback: &'a [Matrix<T>], layer: &LayerState<'_, T>, shape: (usize, usize)) -> Result<MatRef<'a, T>> {
    let wrong = |what| Err(Error::Architecture { layer: layer.index, what });
    match layer.index.checked_sub(1).and_then(|l| feedback.get(l)) {
        Some(b) if b.view().shape() == shape => Ok(b.view()),
        Some(b) => wrong(format!("its feedback is {}x{}, but must be {}x{}", b.rows(), b.cols(), shape.0, shape.1)),
        None => wrong("there is no feedback for it: the rule was made for another network".into()),
    }
}

/// Feedback alignment: backpropagation with fixed random matrices in place of Wᵀ.
///
/// # References
/// Lillicrap, Cownden, Tweed and Akerman, Random synaptic feedback weights support error
/// backpropagation for deep learning, 2016.
#[derive(Clone, Debug)]
pub struct FeedbackAlignment<T> {
    feedback: Vec<Matrix<T>>,
}

impl<T: Real> FeedbackAlignment<T> {
    /// Creates the rule from the matrices of the second layer (fan-in × width, as its weights), the
    /// third, and so on.
    pub fn new(feedback: Vec<Matrix<T>>) -> Self {
        Self { feedback }
    }

    /// Creates the rule with matrices drawn as `init` draws weights.
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

/// Direct feedback alignment: every layer receives the output error through a fixed random matrix
/// of its own.
///
/// # References
/// Nøkland, Direct feedback alignment provides learning in deep neural networks, 2016.
#[derive(Clone, Debug)]
pub struct DirectFeedback<T> {
    feedback: Vec<Matrix<T>>,
}

impl<T: Real> DirectFeedback<T> {
    /// Creates the rule from labels × fan-in matrices: from the label units to the inputs of the
    /// second layer, the third, and so on. Other units below are auxiliary and have no error.
    pub fn new(feedback: Vec<Matrix<T>>) -> Self {
        Self { feedback }
    }

    /// Creates the rule with matrices drawn as `init` draws weights. Orthogonal matrices have
    /// orthonormal rows: the error of every layer has the length of the output error.
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
