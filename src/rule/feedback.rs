//! Fixed random feedback: errors go down through matrices that are drawn once and never learn.
//!
//! ```text
//! feedback alignment                e_{l−1} = (D_l ∘ e_l) B_lᵀ      B_l of W_l's shape
//! direct feedback alignment         e_{l−1} = (D_L ∘ e_L) B_{l−1}   B_{l−1} labels × units
//!                                                                   e_L: error of the label units
//! direct random target projection   e_{l−1} = t B_{l−1}             t: targets
//! ```
//!
//! The signal is the error before the output's activation, −∂loss/∂h. With cross-entropy it is
//! target − prediction, as in the literature. In general it is the error that a layer above would
//! send. Without D_L, a unit on its shallow side would send ten times the error that updates its
//! own weights, and training diverges.
//!
//! DRTP sends targets in place of the error target − activity, with the same sign. The error of the
//! label's unit is positive while its activity is below 1, and so is its target. Hidden layers then
//! need no output. Their errors do not shrink as the output learns, so weights grow for as long as
//! training goes on.
//!
//! Feedback is drawn like initial weights, by the run's own initialization. At the start, an error
//! reaches a layer in the size that backpropagation would send. One learning rate therefore means
//! the same to all of these rules, and orthogonal feedback loses no direction of an error.
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

/// The ways in which fixed matrices send errors back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Feedback alignment: backpropagation with fixed random matrices in place of Wᵀ (Lillicrap,
    /// Cownden, Tweed and Akerman, Random synaptic feedback weights support error backpropagation
    /// for deep learning, 2016). B_l is fan-in × width, as the weights.
    LayerByLayer,
    /// Direct feedback alignment: every layer receives the output error through a matrix of its own
    /// (Nøkland, Direct feedback alignment provides learning in deep neural networks, 2016).
    /// B_{l−1} is labels × fan-in: from the label units to the inputs of layer l. Other units below
    /// are auxiliary and have no error.
    Direct,
    /// Direct random target projection: [`Route::Direct`] with the targets in place of the output
    /// error (Frenkel, Lefebvre and Bol, Learning without feedback: fixed random learning signals
    /// allow for feedforward training of deep neural networks, 2021, arXiv 1909.01311).
    Target,
}

/// Feedback alignment, direct feedback alignment, or direct random target projection.
#[derive(Clone, Debug)]
pub struct Feedback<T> {
    route: Route,
    feedback: Vec<Matrix<T>>,
}

impl<T: Real> Feedback<T> {
    /// Creates the rule from the matrices of the second layer, the third, and so on.
    pub fn new(route: Route, feedback: Vec<Matrix<T>>) -> Self {
        Self { route, feedback }
    }

    /// Creates the rule with matrices from a seed, as `init` draws weights. Orthogonal matrices of
    /// the direct routes have orthonormal rows: the error of every layer has the length of the
    /// output error, or of the target.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(route: Route, architecture: &Architecture, init: Init, seed: u64, plan: &Plan) -> Result<Self> {
        Ok(Self::new(route, draw(route, architecture, init, seed, plan)?))
    }
}

/// Draws the matrices of the second layer, the third, and so on, in this order.
///
/// # Errors
/// Out of memory.
pub(super) fn draw<T: Real>(
    route: Route,
    architecture: &Architecture,
    init: Init,
    seed: u64,
    plan: &Plan,
) -> Result<Vec<Matrix<T>>> {
    // All backends get the same bits.
    let (mut rng, plan) = (Rng::new(seed, STREAM), plan.clone().with_backend(Backend::Native));
    let draw = |&(fan_in, width): &(usize, usize)| {
        let (rows, cols) = match route {
            Route::LayerByLayer => (fan_in, width),
            Route::Direct | Route::Target => (architecture.labels, fan_in),
        };
        init::weights(init, rows, cols, &mut rng, &plan)
    };
    architecture.layers.iter().skip(1).map(draw).collect()
}

/// Returns the feedback matrix of a layer, or an error for another shape.
pub(super) fn of<'a, T: Real>(
    feedback: &'a [Matrix<T>],
    layer: &LayerState<'_, T>,
    shape: (usize, usize),
) -> Result<MatRef<'a, T>> {
    let wrong = |what| Err(Error::Architecture { layer: layer.index, what });
    match layer.index.checked_sub(1).and_then(|l| feedback.get(l)) {
        Some(b) if b.view().shape() == shape => Ok(b.view()),
        Some(b) => wrong(format!("its feedback is {}x{}, but must be {}x{}", b.rows(), b.cols(), shape.0, shape.1)),
        None => wrong("there is no feedback for it: the rule was made for another network".into()),
    }
}

impl<T: Real> Rule<T> for Feedback<T> {
    fn name(&self) -> &str {
        match self.route {
            Route::LayerByLayer => "fa",
            Route::Direct => "dfa",
            Route::Target => "drtp",
        }
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        let (error, b) = match self.route {
            Route::LayerByLayer => {
                let b = of(&self.feedback, layer, layer.w.shape())?;
                (delta.cols(0, layer.active), b.cols(0, layer.active).t())
            }
            Route::Direct | Route::Target => {
                let sent = if self.route == Route::Direct { layer.output_delta } else { layer.target };
                (sent, of(&self.feedback, layer, (sent.ncols(), layer.w.nrows()))?)
            }
        };
        with.exec.gemm(T::ONE, error, b, T::ZERO, below)
    }
}
