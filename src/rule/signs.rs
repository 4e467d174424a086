//! Sign-symmetric feedback: errors go down by the signs of the weights, with other magnitudes.
//!
//! ```text
//! e_{l−1} = δ_l (M_l ∘ sign(W_l))ᵀ      s_l = √(2 / (fan-in + width))
//!
//! usf     M_l = s_l in every element
//! frsf    M_l uniform in [0, √3 s_l), drawn once
//! brsf    M_l uniform in [0, √3 s_l), drawn anew in every step
//! ```
//!
//! The sign of 0 is 0. s_l is the standard deviation of Xavier weights, and the root mean square of
//! the elements of square orthogonal weights. √3 s_l gives random magnitudes the same mean square.
//! Feedback therefore has the size of initial weights, and one learning rate means the same to
//! these rules and to backpropagation.
//!
//! The magnitudes are a function of seed, step, layer and shape, from a random stream of their own:
//! weights and shuffling do not change. The number of steps learned is the only state.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::base::rng::Rng;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::rule::{Context, LayerState, Rule, Through};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real};

/// Stream of the seed for magnitudes; lower numbers serve other purposes.
const STREAM: u64 = 5;

/// Magnitudes of sign-symmetric feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magnitudes {
    /// One magnitude for all elements.
    Uniform,
    /// Random, drawn once.
    Fixed,
    /// Random, drawn anew in every step.
    Batch,
}

/// Sign-symmetric feedback (Liao, Leibo and Poggio, How important is weight symmetry in
/// backpropagation?, 2016).
#[derive(Clone, Debug)]
pub struct SignSymmetric<T> {
    magnitudes: Magnitudes,
    seed: u64,
    /// Number of steps learned.
    steps: u64,
    /// Magnitudes of each layer that were drawn once.
    fixed: Vec<Matrix<T>>,
    /// Feedback of one layer.
    feedback: Vec<T>,
}

impl<T: Real> SignSymmetric<T> {
    /// Creates the rule. `seed` decides random magnitudes.
    pub fn new(magnitudes: Magnitudes, seed: u64) -> Self {
        Self { magnitudes, seed, steps: 0, fixed: Vec::new(), feedback: Vec::new() }
    }

    /// Computes M ∘ sign(W) for the first `layer.active` columns of W, which have an error.
    fn fill(&mut self, layer: &LayerState<'_, T>) {
        let w = layer.w.cols(0, layer.active);
        let size = (2.0 / (layer.w.nrows() + layer.w.ncols()).max(1) as f64).sqrt();
        let feedback = resized(&mut self.feedback, w.nrows() * w.ncols());
        let draw = |step, to: &mut [T]| {
            let mut rng = Rng::keyed(self.seed, STREAM, [step, layer.index as u64]);
            let bound = 3f64.sqrt() * size;
            to.iter_mut().for_each(|to| *to = T::from_f64(bound * rng.uniform()));
        };
        match self.magnitudes {
            Magnitudes::Uniform => feedback.fill(T::from_f64(size)),
            Magnitudes::Batch => draw(self.steps, feedback),
            Magnitudes::Fixed => {
                if self.fixed.len() <= layer.index {
                    self.fixed.resize_with(layer.index + 1, Matrix::default);
                }
                let fixed = &mut self.fixed[layer.index];
                if fixed.view().shape() != w.shape() {
                    *fixed = Matrix::zeros(w.nrows(), w.ncols());
                    draw(0, fixed.data_mut());
                }
                feedback.copy_from_slice(fixed.data());
            }
        }
        for (i, row) in feedback.chunks_exact_mut(w.ncols().max(1)).enumerate() {
            match w.row(i) {
                Some(w) => apply_signs(row, w.iter().copied()),
                None => apply_signs(row, w.row_iter(i)),
            }
        }
    }
}

/// Gives the magnitudes in `to` the signs of `w`; 0 for 0.
fn apply_signs<T: Real>(to: &mut [T], w: impl Iterator<Item = T>) {
    // A table: signs are random, and branches on them are mispredicted.
    let signs = [T::ZERO, T::ONE, -T::ONE];
    to.iter_mut().zip(w).for_each(|(to, w)| *to *= signs[usize::from(w > T::ZERO) + 2 * usize::from(w < T::ZERO)]);
}

impl<T: Real> Rule<T> for SignSymmetric<T> {
    fn name(&self) -> &str {
        match self.magnitudes {
            Magnitudes::Uniform => "usf",
            Magnitudes::Fixed => "frsf",
            Magnitudes::Batch => "brsf",
        }
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
        self.fill(layer);
        let (rows, cols) = (layer.w.nrows(), layer.active);
        let feedback = MatRef::new(&self.feedback[..rows * cols], rows, cols)?;
        with.exec.gemm(T::ONE, delta.cols(0, cols), feedback.t(), T::ZERO, below)
    }

    fn learn(&mut self, _: &Network<T>, _: f64, _: &mut Exec) -> Result<()> {
        self.steps += 1;
        Ok(())
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        if self.magnitudes == Magnitudes::Batch {
            state.put("steps", self.steps);
        }
        state
    }

    fn restore(&mut self, state: &State<T>) -> Result<()> {
        if self.magnitudes == Magnitudes::Batch {
            self.steps = state.get("steps")?;
        }
        Ok(())
    }
}
