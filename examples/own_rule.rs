//! A learning rule of your own in the same training loop as any other:
//! `cargo run --release --example own_rule`
//!
//! Feedback by strong weights alone: errors go down through the weights that are at least as large
//! as 1/√n, `e_{l−1} = δ_l (W_l ∘ [|W_l| ≥ 1/√n])ᵀ`. This is the root mean square of orthogonal
//! weights at the start. A third of them is larger.

use gaitprop::kernels::{MatMut, MatRef, Real};
use gaitprop::rule::{Context, LayerState, Rule, Through};
use gaitprop::{Architecture, LearningRule, Matrix, TrainConfig, Trainer, data};

/// The rule, and the strong weights of one layer: nothing is allocated after the first step.
#[derive(Debug, Default)]
struct StrongFeedback<T> {
    strong: Matrix<T>,
}

impl<T: Real> Rule<T> for StrongFeedback<T> {
    fn name(&self) -> &str {
        "strong-feedback"
    }

    // Wᵀ takes errors to the decorrelated input z = y_{l−1} R, if there is one: the step adds Rᵀ.
    fn through_decorrelation(&self) -> Through {
        Through::Transpose
    }

    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> gaitprop::Result<()> {
        let (n, m) = layer.w.shape();
        if self.strong.view().shape() != (n, m) {
            self.strong = Matrix::zeros(n, m);
        }
        let least = T::from_f64(1.0 / (m as f64).sqrt());
        let strong = |w: T| if w.abs() < least { T::ZERO } else { w };
        let at = |k: usize| layer.w.get(k / m, k % m);
        self.strong.data_mut().iter_mut().enumerate().for_each(|(k, s)| *s = strong(at(k)));
        with.exec.gemm(T::ONE, delta, self.strong.view().t(), T::ZERO, below)
    }
}

fn main() -> gaitprop::Result<()> {
    let digits = data::load("digits", &data::LoadOptions::default())?.prepare::<f32>(data::Scaling::Unit)?;
    let shape = Architecture::square(64, 64, 2, 10)?;
    // The configuration's own rule gives way to ours.
    let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Bp) };
    let mut trainer = Trainer::new(&shape, config, 1)?.with_rule(StrongFeedback::default());

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
