//! A learning rule of your own in the same training loop as any other:
//! `cargo run --release --example own_rule`
//!
//! Sign-symmetric feedback (Liao, Leibo and Poggio, How important is weight symmetry in
//! backpropagation?, 2016): errors go down by the signs of the weights,
//! `e_{l−1} = δ_l sign(W_l)ᵀ / √n`. Elements of orthogonal weights are about 1/√n in size, so that
//! errors keep theirs.

use gaitprop::kernels::{MatMut, MatRef, Real};
use gaitprop::rule::{Context, LayerState, Rule};
use gaitprop::{Architecture, LearningRule, Matrix, TrainConfig, Trainer, data};

/// The rule, and the signs of one layer's weights: nothing is allocated after the first step.
#[derive(Debug, Default)]
struct SignSymmetric<T> {
    signs: Matrix<T>,
}

impl<T: Real> Rule<T> for SignSymmetric<T> {
    fn name(&self) -> &str {
        "sign-symmetric"
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> gaitprop::Result<()> {
        let (n, m) = layer.w.shape();
        if self.signs.view().shape() != (n, m) {
            self.signs = Matrix::zeros(n, m);
        }
        let sign = |w: T| if w < T::ZERO { -T::ONE } else { T::ONE };
        let at = |k: usize| layer.w.get(k / m, k % m);
        self.signs.data_mut().iter_mut().enumerate().for_each(|(k, s)| *s = sign(at(k)));
        let scale = T::from_f64(1.0 / (m as f64).sqrt());
        with.exec.gemm(scale, delta, self.signs.view().t(), T::ZERO, below)
    }
}

fn main() -> gaitprop::Result<()> {
    let digits = data::load("digits", &data::LoadOptions::default())?.prepare::<f32>(data::Scaling::Unit)?;
    let shape = Architecture::square(64, 64, 2, 10)?;
    // The configuration's own rule gives way to ours.
    let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Bp) };
    let mut trainer = Trainer::new(&shape, config, 1)?.with_rule(SignSymmetric::default());

    println!("epoch   test accuracy   cos(update, bp update) of each layer");
    for epoch in 0..=20 {
        if epoch > 0 {
            trainer.epoch(&digits.train)?;
        }
        if epoch % 5 == 0 {
            let accuracy = trainer.evaluate(&digits.test)?.accuracy();
            let alignment = trainer.alignment(&digits.train)?;
            let cosines: Vec<String> = alignment.iter().map(|a| format!("{:.3}", a.cosine)).collect();
            println!("{epoch:>5} {:>13.2} %   {}", 100.0 * accuracy, cosines.join("  "));
        }
    }
    Ok(())
}
