//! The ending that rotates orthogonal weights.

use crate::base::error::{Error, Result};
use crate::model::network::Network;
use crate::ortho::Cayley;
use crate::step::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use crate::step::{Recipe, Report, Step};
use gaitprop_kernels::{MatRef, Real, reduce};
use std::time::Instant;

impl<T: Real> Step<T> {
    /// Takes one step by rotations ([`Cayley`]), which preserve the orthogonality of the weights.
    ///
    /// ```text
    /// W_l ← cayley(W_l, y_{l−1}, δ_l)      b_l ← b_l + η mean(δ_l)
    /// ```
    ///
    /// Shapes and errors as [`Step::credit`]. If anything fails before the optimizer, no parameter
    /// has changed.
    ///
    /// # Errors
    /// As [`Step::update`]; [`Error::Setting`] for another optimizer than plain descent, or with a
    /// regularizer or weight decay.
    pub fn rotate(
        &mut self,
        net: &mut Network<T>,
        x: MatRef<'_, T>,
        target: MatRef<'_, T>,
        recipe: &mut Recipe<'_, T>,
        optimizer: &mut Optimizer<T>,
        cayley: &mut Cayley<T>,
    ) -> Result<Report> {
        let OptimizerConfig { rule, learning_rate, weight_decay, .. } = optimizer.settings();
        check_rotations(rule, recipe.regularizer.lambda, weight_decay)?;
        optimizer.check_fit(net)?;
        optimizer.settings().check()?;
        cayley.check_fit(net)?;
        let turned = self.credit(net, x, target, recipe).and_then(|report| {
            let (clock, exec) = (Instant::now(), &mut *recipe.exec);
            self.gradients.fit(net);
            for (l, layer) in net.layers().iter().enumerate() {
                let (input, delta) = (self.tape.input(x, l, layer.fan_in()), self.tape.delta(l));
                cayley.turn(l, &layer.w, input, delta, learning_rate, exec)?;
                reduce::column_means(delta, &mut self.gradients.b[l], exec.plan.isa)?;
            }
            self.gradients.check_finite(cayley.next(), exec)?;
            self.phases.update += clock.elapsed();
            self.phases.steps += 1;
            Ok(report)
        });
        let report = turned.map_err(|e| e.in_step(optimizer.steps() + 1))?;
        cayley.exchange(net);
        optimizer.apply_to(net, &self.gradients, false, recipe.exec.plan.isa)?;
        recipe.rule.learn(net, weight_decay, recipe.exec)?;
        Ok(report)
    }
}

/// Refuses rotations ([`Cayley`]) with another optimizer, a regularizer, or weight decay.
///
/// # Errors
/// [`Error::Setting`] for an optimizer other than plain gradient descent; for λ > 0, because only
/// the learning rule's own direction has a small rank; for ρ > 0, which no rotation can follow.
pub(crate) fn check_rotations(optimizer: OptimizerKind, lambda: f64, weight_decay: f64) -> Result<()> {
    if optimizer != OptimizerKind::Sgd {
        let what = format!("rotations need plain gradient descent: the optimizer is {optimizer}, but must be sgd");
        return Err(Error::Setting(what));
    }
    if lambda > 0.0 {
        let what = format!("rotations leave nothing to regularize: lambda is {lambda}, but must be 0");
        return Err(Error::Setting(what));
    }
    if weight_decay > 0.0 {
        let what = format!("rotations keep the norm of weights: the weight decay is {weight_decay}, but must be 0");
        return Err(Error::Setting(what));
    }
    Ok(())
}
