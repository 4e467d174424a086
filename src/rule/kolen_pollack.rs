//! Feedback that learns: errors go down through matrices that converge to the weights.
//!
//! ```text
//! e_{l−1} = δ_l B_lᵀ
//! W_l ← (1 − ρ)(W_l + ΔW_l)      B_l ← (1 − ρ)(B_l + ΔW_l)
//! ```
//!
//! ΔW_l is what the optimizer, and the regularizer, add to the weights, and ρ is the weight decay.
//! The difference then shrinks by a constant factor: `B_l − W_l ← (1 − ρ)(B_l − W_l)`.
//!
//! A fused step leaves no ΔW_l in memory. The rule computes the same from the weights before and
//! after the step, in a form that rounds only the difference:
//!
//! ```text
//! gap = W_l − B_l             as errors go down
//! B_l ← W_l − (1 − ρ) gap     after the step
//! ```
//!
//! A hold and a caller change W_l alone. Feedback is drawn as that of feedback alignment, the same
//! matrices for the same seed.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::init::Init;
use crate::model::matrix::Matrix;
use crate::model::network::{Architecture, Network};
use crate::rule::feedback::{self, Route};
use crate::rule::{Context, LayerState, Rule, Through};
use crate::solve::gather;
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, epilogue};

/// Kolen–Pollack feedback.
///
/// # References
/// Kolen and Pollack, Backpropagation without weight transport, 1994. Akrout, Wilson, Humphreys,
/// Lillicrap and Tweed, Deep learning without weight transport, 2019 (arXiv 1904.05391).
#[derive(Clone, Debug)]
pub struct KolenPollack<T> {
    /// B of the second layer, the third, and so on.
    feedback: Vec<Matrix<T>>,
    /// W − B of the same layers at the last call of `backward`. Empty once learned.
    gap: Vec<Vec<T>>,
}

impl<T: Real> KolenPollack<T> {
    /// Creates the rule from the first matrices of the second layer, the third, and so on.
    pub fn new(feedback: Vec<Matrix<T>>) -> Self {
        let gap = feedback.iter().map(|b| Vec::with_capacity(b.data().len())).collect();
        Self { feedback, gap }
    }

    /// Creates the rule with matrices drawn as those of feedback alignment.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(architecture: &Architecture, init: Init, seed: u64, plan: &Plan) -> Result<Self> {
        feedback::draw(Route::LayerByLayer, architecture, init, seed, plan).map(Self::new)
    }
}

impl<T: Real> Rule<T> for KolenPollack<T> {
    fn name(&self) -> &str {
        "kp"
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
        let b = feedback::of(&self.feedback, layer, layer.w.shape())?;
        let gap = &mut self.gap[layer.index - 1];
        gather(layer.w, gap);
        epilogue::descend(-T::ONE, gap, self.feedback[layer.index - 1].data(), with.exec.plan.isa)?;
        with.exec.gemm(T::ONE, delta.cols(0, layer.active), b.cols(0, layer.active).t(), T::ZERO, below)
    }

    fn learn(&mut self, net: &Network<T>, weight_decay: f64, exec: &mut Exec) -> Result<()> {
        let keep = T::from_f64(1.0 - weight_decay);
        for ((b, gap), layer) in self.feedback.iter_mut().zip(&mut self.gap).zip(net.layers().iter().skip(1)) {
            layer.w.view().expect_shape("the weights that feedback follows", b.view().shape())?;
            // One change of the weights is learned once.
            if !gap.is_empty() {
                b.data_mut().copy_from_slice(layer.w.data());
                epilogue::descend(-keep, b.data_mut(), gap, exec.plan.isa)?;
                gap.clear();
            }
        }
        Ok(())
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        for (l, b) in (1..).zip(&self.feedback) {
            state.put_array(format!("B{l}"), &[b.rows(), b.cols()], b.data());
        }
        state
    }

    fn restore(&mut self, state: &State<T>) -> Result<()> {
        for (l, b) in (1..).zip(&mut self.feedback) {
            let lost = |e| Error::Setting(format!("{e}: rule kp cannot resume without its feedback"));
            state.copy_array(&format!("B{l}"), b.data_mut()).map_err(lost)?;
        }
        self.gap.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}
