//! A learning rule of one's own in the same training loop as any other: `cargo run --release --example own_rule`
//!
//! Sign-symmetric feedback (Liao, Leibo and Poggio, How important is weight symmetry in backpropagation?, 2016): errors go down by the SIGNS of the weights alone,
//! `e_{l−1} = (D_l ∘ e_l) sign(W_l)ᵀ / √n`. For orthogonal weights, whose elements are about 1/√n in size, that keeps the size of an error.

use gaitprop::kernels::{Plan, Real, gemm, perturb::activation_grad};
use gaitprop::rule::{Local, Means, Outcome, Rule};
use gaitprop::solve::{Lu, Solve};
use gaitprop::train::{Method, Trainer};
use gaitprop::{Architecture, Matrix, Network, data, init, loss, optimizer, ortho};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// The rule, and the memory for one layer's signs: a step allocates nothing after the first.
#[derive(Debug, Default)]
struct SignSymmetric<T> {
    signs: Mutex<Matrix<T>>,
}

impl<T: Real> Rule<T> for SignSymmetric<T> {
    fn name(&self) -> &'static str {
        "sign-symmetric"
    }

    fn send_down(&self, at: &Local<'_, T>, mut out: Outcome<'_, T>, with: &mut Means<'_, T>) -> gaitprop::Result<Option<Solve>> {
        // x = D ∘ e makes this layer's own update: the same for every rule.
        activation_grad(at.layer.unit, at.y, at.slope, at.e, out.x.rb(), with.plan.isa)?;
        // The first layer has nothing below it.
        let Some(below) = out.below else { return Ok(None) };

        let w = &at.layer.w;
        let mut signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        if signs.view().shape() != w.view().shape() {
            *signs = Matrix::zeros(w.rows(), w.cols());
        }
        for (sign, &w) in signs.data_mut().iter_mut().zip(w.data()) {
            *sign = if w < T::ZERO { -T::ONE } else { T::ONE };
        }
        let size = T::from_f64(1.0 / (w.cols() as f64).sqrt());
        // Of the last layer only the label units have an error.
        let (x, b) = (out.x.as_ref().cols(0, at.live), signs.view().cols(0, at.live));
        gemm(size, x, b.t(), T::ZERO, below, with.plan, with.scratch)?;
        // Nothing went through an inverse.
        Ok(None)
    }
}

fn main() -> gaitprop::Result<()> {
    let digits = data::load("digits", &data::LoadOptions::default())?;
    let ready = digits.prepare::<f32>(data::Scaling::Unit);
    let plan = Plan::new();
    let shape = Architecture::square(digits.features, 64, 2, digits.classes)?;
    let method = Method {
        rule: Box::new(SignSymmetric::default()),
        inverse: Box::new(Lu::new()),
        loss: loss::Loss::Squared,
        ortho: ortho::Regularizer::new(0.0)?,
        hold: ortho::Hold::Free,
        optimizer: optimizer::OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, 1e-3)?,
        batch: 60,
        shuffle: None,
    };
    let mut trainer = Trainer::new(Network::random(&shape, init::Init::Orthogonal, 1, &plan)?, method, plan)?;

    println!("epoch   test accuracy   cos(update, bp update) of each layer");
    for epoch in 0..=20 {
        if epoch > 0 {
            trainer.epoch(&ready.train, |_| ControlFlow::Continue(()))?;
        }
        if epoch % 5 == 0 {
            let accuracy = trainer.evaluate(&ready.test)?.accuracy();
            let alignment = trainer.alignment(&ready.train, &mut Lu::new())?;
            let cosines: Vec<String> = alignment.iter().map(|a| format!("{:.3}", a.cosine)).collect();
            println!("{epoch:>5} {:>13.2} %   {}", 100.0 * accuracy, cosines.join("  "));
        }
    }
    Ok(())
}
