//! Learned inverses: weights of their own that learn to reconstruct each layer's input from its
//! output, in place of any computed inverse.
//!
//! ```text
//! e = r M
//! q = f⁻¹(y_l) M + c − y_{l−1}        reconstruction error
//! ΔM = −mean(f⁻¹(y_l)ᵀ q)            Δc = −mean(q)
//! ```
//!
//! M learns from every batch by the published Adam. It starts from a random matrix and never sees
//! the weights. The bias c takes part in the reconstruction alone: it cancels in differences of
//! targets.
//!
//! The branch `learnable_inv` of the authors' code (2020) learns such inverses, too. There M starts
//! from the exact inverse unless `--no_inv_init` is given, and reconstructs by `(f⁻¹(y_l) − c) M`.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory::{ask_for, resized};
use crate::base::rng::Rng;
use crate::model::activation::inverse;
use crate::model::init::{self, Init};
use crate::model::matrix::Matrix;
use crate::solve::damped::residual;
use crate::solve::{Solve, Solver, SolverKind, Tuning, Weights, live_columns, of_layer, solve_in_place};
use crate::store::checkpoint::State;
use gaitprop_kernels::epilogue::{AdamStep, adam};
use gaitprop_kernels::{Activation, Backend, Epilogue, MatMut, MatRef, Real, Start, Update, reduce};

/// Settings of [`SolverKind::Learned`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Learning rate of the inverses.
    pub rate: f64,
    /// Distribution of their first values.
    pub init: Init,
    /// Seed of their first values. Every layer has a random stream of its own.
    pub seed: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { rate: 1e-4, init: Init::Orthogonal, seed: 1 }
    }
}

/// Stream of the seed for the inverse of layer 0; that of layer l is l more.
const STREAM: u64 = 16;

/// Inverses of all layers that errors have gone through. Others are neither drawn nor learn, so
/// that rules without targets do no work for them.
#[derive(Debug, Default)]
pub(super) struct Learned<T> {
    settings: Learning,
    layers: Vec<Option<Inverse<T>>>,
    right: Vec<T>,
    rest: Vec<T>,
    /// f⁻¹(y), batch × width.
    sums: Vec<T>,
    means: Vec<T>,
}

/// A matrix and a bias: an inverse, or moments of one.
#[derive(Debug)]
struct Affine<T> {
    /// M, width × fan-in.
    m: Matrix<T>,
    c: Vec<T>,
}

impl<T: Real> Affine<T> {
    fn zeros(width: usize, fan_in: usize) -> Self {
        Self { m: Matrix::zeros(width, fan_in), c: vec![T::ZERO; fan_in] }
    }

    /// Stores both arrays under names that start with `prefix`.
    fn save(&self, prefix: &str, to: &mut State<T>) {
        let shape = [self.m.rows(), self.m.cols()];
        to.put_array(format!("{prefix}M"), &shape, self.m.data());
        to.put_array(format!("{prefix}c"), &shape[1..], &self.c);
    }

    /// Reads both arrays back.
    fn restored(prefix: &str, (width, fan_in): (usize, usize), from: &State<T>) -> Result<Self> {
        let mut all = Self::zeros(width, fan_in);
        from.copy_array(&format!("{prefix}M"), all.m.data_mut())?;
        from.copy_array(&format!("{prefix}c"), &mut all.c)?;
        Ok(all)
    }
}

/// The inverse of one layer, and its first and second moments.
#[derive(Debug)]
struct Inverse<T> {
    value: Affine<T>,
    moments: [Affine<T>; 2],
}

impl<T: Real> Learned<T> {
    /// Builds a solver whose inverses are drawn when errors first go through them.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { settings: tuning.learning, ..Self::default() }
    }

    /// Draws the inverse of a layer unless it is there.
    fn prepare(&mut self, of: Weights<'_, T>, exec: &Exec) -> Result<()> {
        let (fan_in, width) = of.w.shape();
        let slot = of_layer(&mut self.layers, of.layer);
        match slot {
            Some(inverse) => {
                inverse.value.m.view().expect_shape("the learned inverse of a layer", (width, fan_in))?;
            }
            None => {
                let mut rng = Rng::new(self.settings.seed, STREAM + of.layer as u64);
                // All backends start from the same bits.
                let plan = exec.plan.clone().with_backend(Backend::Native);
                let m = init::weights(self.settings.init, width, fan_in, &mut rng, &plan)?;
                let moments = [(); 2].map(|()| Affine::zeros(width, fan_in));
                *slot = Some(Inverse { value: Affine { m, c: vec![T::ZERO; fan_in] }, moments });
            }
        }
        Ok(())
    }

    /// The published Adam.
    fn adam(&self) -> AdamStep<T> {
        let real = T::from_f64;
        AdamStep {
            rate: real(self.settings.rate),
            beta1: (real(0.9), real(0.1)),
            beta2: (real(0.99), real(0.01)),
            epsilon: real(1e-8),
            correction: T::ONE,
        }
    }
}

impl<T: Real> Solver<T> for Learned<T> {
    fn name(&self) -> &'static str {
        SolverKind::Learned.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        solve_in_place(self, |solver| &mut solver.right, of, r, exec)
    }

    fn solve_into(&mut self, of: Weights<'_, T>, r: MatRef<'_, T>, mut e: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let ((fan_in, width), batch) = (of.w.shape(), r.nrows());
        r.expect_shape("the errors of a layer", (batch, width))?;
        e.as_ref().expect_shape("the errors below a layer", (batch, fan_in))?;
        self.prepare(of, exec)?;
        let Some(Some(inverse)) = self.layers.get(of.layer) else { unreachable!("prepared") };
        let live = live_columns(r);
        exec.product(T::ONE, r.cols(0, live), inverse.value.m.view().rows(0, live), Start::Zero, e.rb())?;
        let residual = residual(of.w, r, e.as_ref(), &mut self.rest, exec)?;
        Ok(Solve { residual, sampled: false, products: 1.0 + live as f64 / width as f64, by: SolverKind::Learned })
    }

    fn learns(&self) -> bool {
        true
    }

    fn learn(
        &mut self,
        of: Weights<'_, T>,
        (activation, y): (Activation, MatRef<'_, T>),
        below: MatRef<'_, T>,
        exec: &mut Exec,
    ) -> Result<()> {
        let ((fan_in, width), batch) = (of.w.shape(), y.nrows());
        y.expect_shape("the activity of a layer", (batch, width))?;
        below.expect_shape("the activity below a layer", (batch, fan_in))?;
        let step = self.adam();
        let Some(Some(inverse)) = self.layers.get_mut(of.layer) else { return Ok(()) };
        inverse.value.m.view().expect_shape("the learned inverse of a layer", (width, fan_in))?;
        let (sums, rest) = (resized(&mut self.sums, batch * width), resized(&mut self.rest, batch * fan_in));
        for (row, i) in sums.chunks_exact_mut(width).zip(0..) {
            row.iter_mut().zip(y.row_iter(i)).for_each(|(h, y)| *h = inverse_activation(activation, y));
        }
        let sums = MatRef::new(sums, batch, width)?;
        exec.product(T::ONE, sums, inverse.value.m.view(), Start::From(-T::ONE, below), MatMut::new(rest, batch, fan_in)?)?;
        for row in rest.chunks_exact_mut(fan_in) {
            row.iter_mut().zip(&inverse.value.c).for_each(|(rest, &c)| *rest += c);
        }
        let rest = MatRef::new(rest, batch, fan_in)?;
        let Inverse { value, moments: [m, v] } = inverse;
        let through = Epilogue::Update(Update::Adam { step, m: m.m.view_mut(), v: v.m.view_mut() });
        let mean = T::from_f64(-1.0 / batch.max(1) as f64);
        let finite = exec.gemm_with(mean, (sums.t(), rest), Start::Zero, value.m.view_mut(), through)?;
        let means = resized(&mut self.means, fan_in);
        reduce::column_means(rest, means, exec.plan.isa)?;
        means.iter_mut().for_each(|mean| *mean = -*mean);
        if adam(step, &mut value.c, &mut m.c, &mut v.c, means, exec.plan.isa)? && finite {
            return Ok(());
        }
        // The next batch starts with a new one.
        self.layers[of.layer] = None;
        Err(Error::Diverged { what: "the learned inverse", layer: of.layer, step: 0 })
    }

    fn save(&self, _version: u64) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, inverse) in self.layers.iter().enumerate() {
            let mut part = State::default();
            part.put("present", inverse.is_some().into());
            if let Some(Inverse { value, moments: [m, v] }) = inverse {
                part.put("width", value.m.rows() as u64);
                part.put("fan-in", value.m.cols() as u64);
                value.save("", &mut part);
                m.save("m", &mut part);
                v.save("v", &mut part);
            }
            state.put_part(&l.to_string(), part);
        }
        state
    }

    fn restore(&mut self, mut state: State<T>, _version: u64) -> Result<()> {
        let lost = |e| Error::Setting(format!("{e}: learned inverses cannot resume without their matrices"));
        let layers: usize = state.get_as("layers").map_err(lost)?;
        let inverses = (0..layers).map(|l| restored(&state.take_part(&l.to_string())));
        self.layers = inverses.collect::<Result<_>>().map_err(lost)?;
        Ok(())
    }
}

/// Reads one layer's entries back. A layer has no inverse if no error has gone through it, as the
/// first.
fn restored<T: Real>(part: &State<T>) -> Result<Option<Inverse<T>>> {
    if !part.get_flag("present")? {
        return Ok(None);
    }
    let (width, fan_in): (usize, usize) = (part.get_as("width")?, part.get_as("fan-in")?);
    // Three matrices: the inverse and two moments.
    let bytes = width.saturating_mul(fan_in).saturating_mul(3 * size_of::<T>());
    ask_for(bytes, "the learned inverse of a layer")?;
    let read = |prefix| Affine::restored(prefix, (width, fan_in), part);
    Ok(Some(Inverse { value: read("")?, moments: [read("m")?, read("v")?] }))
}

/// Returns f⁻¹(y). At the ends of tanh's range, where it is infinite, returns that of the nearest
/// number inside.
fn inverse_activation<T: Real>(activation: Activation, y: T) -> T {
    let nearest = 1.0 - T::UNIT_ROUNDOFF;
    let inside = || T::from_f64(y.to_f64().clamp(-nearest, nearest));
    inverse(activation, y).or_else(|| inverse(activation, inside())).unwrap_or(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
        let mut rng = Rng::new(seed, 0);
        Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| rng.normal()).collect()).unwrap()
    }

    /// On batches of a layer with orthogonal weights, the inverse becomes their transpose.
    #[test]
    fn an_inverse_learns_to_reconstruct() {
        let (n, mut exec) = (6, Exec::default());
        let w = init::weights::<f64>(Init::Orthogonal, n, n, &mut Rng::new(3, 0), &exec.plan).unwrap();
        let of = Weights { layer: 1, version: 0, w: w.view() };
        let unit = Activation::LeakyRelu { slope: 0.1 };
        let learning = Learning { rate: 1e-2, ..Learning::default() };
        let mut learned = Learned::<f64>::new(Tuning { learning, ..Tuning::default() });
        let r = normal(4, n, 99);
        let mut residuals = Vec::new();
        for seed in 0..3000 {
            if seed % 1000 == 0 || seed == 2999 {
                residuals.push(learned.solve(of, r.clone().view_mut(), &mut exec).unwrap().residual);
            }
            let below = normal(20, n, seed + 100);
            let mut y = Matrix::zeros(20, n);
            exec.gemm(1.0, below.view(), w.view(), 0.0, y.view_mut()).unwrap();
            y.data_mut().iter_mut().for_each(|y| *y = if *y < 0.0 { 0.1 * *y } else { *y });
            learned.learn(of, (unit, y.view()), below.view(), &mut exec).unwrap();
        }
        assert!(residuals[0] > 0.5 && residuals[3] < 0.05, "{residuals:?}");
        let mut e = r.clone();
        learned.solve(of, e.view_mut(), &mut exec).unwrap();
        let mut want = Matrix::zeros(4, n);
        exec.gemm(1.0, r.view(), w.view().t(), 0.0, want.view_mut()).unwrap();
        let off = e.data().iter().zip(want.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 0.2, "{off}");
    }

    /// One step against the formula, for a layer that is not square.
    #[test]
    fn a_step_is_what_the_formula_says() {
        let (mut exec, w) = (Exec::default(), normal(3, 2, 1));
        let of = Weights { layer: 2, version: 0, w: w.view() };
        let mut learned = Learned::<f64>::new(Tuning::default());
        let (y, below) = (normal(4, 2, 2), normal(4, 3, 3));
        learned.prepare(of, &exec).unwrap();
        let m = learned.layers[2].as_ref().unwrap().value.m.clone();
        learned.learn(of, (Activation::Identity, y.view()), below.view(), &mut exec).unwrap();
        let after = learned.layers[2].as_ref().unwrap();
        let rest = |i: usize, j: usize| (0..2).map(|k| y.row(i)[k] * m.row(k)[j]).sum::<f64>() - below.row(i)[j];
        let step = |delta: f64| 1e-4 * (0.1 * delta) / (1e-8 + (0.01 * delta * delta).sqrt());
        for j in 0..3 {
            let c = step(-(0..4).map(|i| rest(i, j)).sum::<f64>() / 4.0);
            assert!((after.value.c[j] - c).abs() < 1e-15, "{} {c}", after.value.c[j]);
            for k in 0..2 {
                let delta = -(0..4).map(|i| y.row(i)[k] * rest(i, j)).sum::<f64>() / 4.0;
                let want = m.row(k)[j] + step(delta);
                assert!((after.value.m.row(k)[j] - want).abs() < 1e-14, "{} {want}", after.value.m.row(k)[j]);
            }
        }
    }

    /// A restored solver goes on to the same bits. A state without the matrices is refused.
    #[test]
    fn a_state_holds_the_inverses() {
        let (mut exec, w) = (Exec::default(), normal(5, 4, 1));
        let of = Weights { layer: 1, version: 0, w: w.view() };
        let (y, below) = (normal(3, 4, 2), normal(3, 5, 3));
        let mut learned = Learned::<f64>::new(Tuning::default());
        let mut learn = |learned: &mut Learned<f64>| {
            learned.learn(of, (Activation::Tanh, y.view()), below.view(), &mut exec).unwrap();
        };
        // No error has gone through the inverse.
        learn(&mut learned);
        assert_eq!(learned.save(0), Learned::new(Tuning::default()).save(0));
        learned.prepare(of, &Exec::default()).unwrap();
        learn(&mut learned);
        let state = learned.save(0);
        let mut again =
            Learned::<f64>::new(Tuning { learning: Learning { seed: 9, ..Learning::default() }, ..Tuning::default() });
        again.restore(state.clone(), 0).unwrap();
        learn(&mut learned);
        learn(&mut again);
        assert_eq!(learned.save(0), again.save(0));
        let mut without = State::<f64>::default();
        without.put("layers", 2);
        let error = again.restore(without, 0).unwrap_err();
        assert!(error.to_string().contains("holds no `present`: learned inverses cannot resume"), "{error}");
    }

    #[test]
    fn the_inverse_activation_is_finite() {
        for y in [-1.0f32, 1.0] {
            assert!(inverse_activation(Activation::Tanh, y).abs() > 8.0 && inverse_activation(Activation::Tanh, y).is_finite());
        }
        let leaky = Activation::LeakyRelu { slope: 0.1 };
        assert_eq!([-1.0f64, 2.0].map(|y| inverse_activation(leaky, y)), [-10.0, 2.0]);
    }
}
