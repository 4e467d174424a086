//! Optimizers: from a descent direction to new parameters.

use crate::base::error::{Error, Result, check_rounded};
use crate::base::names::names;
use crate::model::network::Network;
use crate::step::gradients::Gradients;
use crate::step::tape::view_mut;
use crate::store::checkpoint::State;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::{Isa, Real, Update};

/// An update rule. Δ is the descent direction (minus the gradient), η the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// The authors' Adam, without bias correction: `m ← β1 m + (1−β1) Δ`, `v ← β2 v + (1−β2) Δ²`,
    /// `θ ← θ + η m / (ε + √v)`.
    ///
    /// A weight whose loss gradient is exactly 0 still moves, by a few hundredths of η: rounding
    /// noise of the regularizer (1e-8 in f32) is as large as ε = 1e-8.
    PublishedAdam,
    /// Adam with bias correction (Kingma and Ba, 2015).
    Adam,
    /// `θ ← θ + η Δ`.
    Sgd,
    /// `m ← μ m + Δ`, `θ ← θ + η m`.
    Momentum,
}

names!(OptimizerKind, "optimizer", PublishedAdam = "published-adam", Adam = "adam", Sgd = "sgd", Momentum = "momentum");

impl OptimizerKind {
    /// Names of the constants that this rule uses: fields of [`OptimizerConfig`].
    pub(crate) fn constants(self) -> &'static [&'static str] {
        match self {
            Self::Sgd => &[],
            Self::Momentum => &["beta1"],
            Self::PublishedAdam | Self::Adam => &["beta1", "beta2", "epsilon"],
        }
    }
}

/// An update rule with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Update rule.
    pub rule: OptimizerKind,
    /// η.
    pub learning_rate: f64,
    /// β1 of Adam, and μ of momentum: in [0, 1).
    pub beta1: f64,
    /// β2 of Adam: in [0, 1).
    pub beta2: f64,
    /// ε of Adam.
    pub epsilon: f64,
    /// Weight decay ρ, in [0, 1): after the update, weights are multiplied by 1 − ρ. Biases are
    /// not. The learning rate has no part in it (decoupled: Loshchilov and Hutter, 2019).
    pub weight_decay: f64,
}

impl OptimizerConfig {
    /// Creates a configuration with the published constants: β1 = 0.9, β2 = 0.99 (standard Adam:
    /// 0.999), ε = 1e-8; μ = 0.9; no weight decay.
    ///
    /// # Errors
    /// [`Error::Setting`] for a learning rate that is negative or not finite.
    pub fn new(rule: OptimizerKind, learning_rate: f64) -> Result<Self> {
        let beta2 = if rule == OptimizerKind::Adam { 0.999 } else { 0.99 };
        let settings = Self { rule, learning_rate, beta1: 0.9, beta2, epsilon: 1e-8, weight_decay: 0.0 };
        settings.check()?;
        Ok(settings)
    }

    /// Checks that every constant is in range.
    ///
    /// # Errors
    /// [`Error::Setting`] for a constant out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, value: f64, range: &str| Err(Error::Setting(format!("{what} is {value}, but must be {range}")));
        let Self { learning_rate, beta1, beta2, epsilon, weight_decay, .. } = *self;
        if !(learning_rate >= 0.0 && learning_rate.is_finite()) {
            return wrong("the learning rate", learning_rate, "at least 0 and finite");
        }
        for (name, value) in [("beta1", beta1), ("beta2", beta2), ("the weight decay", weight_decay)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(name, value, "at least 0 and below 1");
            }
        }
        if let Some((name, value)) = [("beta1", beta1), ("beta2", beta2)].into_iter().find(|(_, beta)| complement(*beta) == 0.0) {
            return Err(Error::Setting(format!("{name} is {value}, too close to 1: no moment would ever change")));
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return wrong("epsilon", epsilon, "greater than 0 and finite");
        }
        Ok(())
    }

    /// [`OptimizerConfig::check`], also of what is left of the constants in the element type.
    ///
    /// # Errors
    /// [`Error::Setting`] also for a learning rate or an ε that rounds to 0 or infinity, and for a
    /// weight decay that rounds to none.
    pub(crate) fn check_in<T: Real>(&self) -> Result<()> {
        self.check()?;
        let Self { rule, learning_rate, epsilon, weight_decay, .. } = *self;
        check_rounded::<T>("the learning rate", learning_rate)?;
        if rule.constants().contains(&"epsilon") {
            check_rounded::<T>("epsilon", epsilon)?;
        }
        if weight_decay > 0.0 && T::from_f64(1.0 - weight_decay) == T::ONE {
            let what = format!("the weight decay is {weight_decay:e}, which changes no weight in {}: use 0, or more", T::NAME);
            return Err(Error::Setting(what));
        }
        Ok(())
    }
}

/// Returns 1 − β rounded to 15 decimals. In binary, `1.0 - 0.99` is 0.010000000000000009, an error
/// of 9e-16 in every second moment.
fn complement(beta: f64) -> f64 {
    ((1.0 - beta) * 1e15).round() / 1e15
}

/// An update rule with the moments of every parameter.
#[derive(Clone, Debug)]
pub struct Optimizer<T> {
    settings: OptimizerConfig,
    steps: u64,
    /// Those of the weights and of the biases of each layer.
    moments: Vec<[Moments<T>; 2]>,
    /// True while the last layer's weights to auxiliary units have had no gradient. Their moments
    /// are 0 until then, and a step may skip these weights.
    pub(super) auxiliary_rest: bool,
}

/// First and second moments of one array of parameters; empty if the rule keeps none.
#[derive(Clone, Debug, Default)]
pub struct Moments<T> {
    /// m.
    pub first: Vec<T>,
    /// v.
    pub second: Vec<T>,
}

/// Index of the moments of a layer's weights.
const WEIGHTS: usize = 0;
/// Index of the moments of a layer's biases.
pub(super) const BIASES: usize = 1;

impl<T: Real> Optimizer<T> {
    /// Creates moments of 0.
    pub fn new(settings: OptimizerConfig, net: &Network<T>) -> Self {
        let moments = |n: usize| {
            let zeros = |wanted: bool| vec![T::ZERO; if wanted { n } else { 0 }];
            let adam = matches!(settings.rule, OptimizerKind::Adam | OptimizerKind::PublishedAdam);
            Moments { first: zeros(settings.rule != OptimizerKind::Sgd), second: zeros(adam) }
        };
        Self {
            settings,
            steps: 0,
            auxiliary_rest: true,
            moments: net.layers().iter().map(|l| [moments(l.w.data().len()), moments(l.b.len())]).collect(),
        }
    }

    /// Resets the moments and the step count to 0.
    pub(crate) fn reset(&mut self) {
        self.steps = 0;
        self.auxiliary_rest = true;
        for moments in self.moments.as_flattened_mut() {
            moments.first.fill(T::ZERO);
            moments.second.fill(T::ZERO);
        }
    }

    /// Returns steps and moments. Later steps depend on nothing else, besides the settings.
    pub fn save(&self, net: &Network<T>) -> State<T> {
        let mut state = State::default();
        state.put("steps", self.steps);
        state.put("auxiliary-rest", self.auxiliary_rest.into());
        for (l, (layer, [w, b])) in net.layers().iter().zip(&self.moments).enumerate() {
            let shape = [layer.fan_in(), layer.width()];
            let arrays = [
                ("mW", &w.first, &shape[..]),
                ("vW", &w.second, &shape),
                ("mb", &b.first, &shape[1..]),
                ("vb", &b.second, &shape[1..]),
            ];
            for (name, moment, shape) in arrays {
                if !moment.is_empty() {
                    state.put_array(format!("{name}{l}"), shape, moment);
                }
            }
        }
        state
    }

    /// Restores a saved state.
    ///
    /// # Errors
    /// [`Error::Setting`] for the state of another optimizer, or of another network's.
    pub fn restore(&mut self, state: &State<T>) -> Result<()> {
        self.steps = state.get("steps")?;
        self.auxiliary_rest = state.get_flag("auxiliary-rest")?;
        for (l, [w, b]) in self.moments.iter_mut().enumerate() {
            for (name, moment) in [("mW", &mut w.first), ("vW", &mut w.second), ("mb", &mut b.first), ("vb", &mut b.second)] {
                if !moment.is_empty() {
                    state.copy_array(&format!("{name}{l}"), moment)?;
                }
            }
        }
        Ok(())
    }

    /// Rule and constants.
    pub fn settings(&self) -> OptimizerConfig {
        self.settings
    }
    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// Moments of the weights of layer `l`.
    pub fn weight_moments(&self, l: usize) -> &Moments<T> {
        &self.moments[l][WEIGHTS]
    }
    /// Moments of the biases of layer `l`.
    pub fn bias_moments(&self, l: usize) -> &Moments<T> {
        &self.moments[l][BIASES]
    }

    /// Takes one step along the descent directions of `gradients`, then decays the weights.
    ///
    /// # Errors
    /// * A shape error if they belong to another network; no parameter has then changed.
    /// * [`Error::Diverged`] if a new parameter is not finite. The network is then unusable, and
    ///   the caller should have kept a copy.
    pub fn apply(&mut self, net: &mut Network<T>, gradients: &Gradients<T>, isa: Isa) -> Result<()> {
        self.apply_to(net, gradients, true, isa)
    }

    /// [`Optimizer::apply`], with or without the weights.
    pub(crate) fn apply_to(&mut self, net: &mut Network<T>, gradients: &Gradients<T>, weights_too: bool, isa: Isa) -> Result<()> {
        gradients.check_fit(net)?;
        self.check_fit(net)?;
        self.begin(true)?;
        for (l, layer) in net.layers_mut().iter_mut().enumerate() {
            let weights = !weights_too || self.move_along(l, WEIGHTS, layer.w.data_mut(), gradients.weights(l).data(), isa)?;
            let biases = self.move_along(l, BIASES, &mut layer.b, gradients.biases(l), isa)?;
            if !(weights && biases) {
                return Err(Error::Diverged { what: if weights { "a bias" } else { "a weight" }, layer: l, step: self.steps });
            }
            if weights_too {
                self.decay(layer.w.data_mut());
            }
        }
        Ok(())
    }

    /// Multiplies weights by 1 − ρ.
    pub(super) fn decay(&self, weights: &mut [T]) {
        if self.settings.weight_decay > 0.0 {
            let keep = T::from_f64(1.0 - self.settings.weight_decay);
            weights.iter_mut().for_each(|w| *w *= keep);
        }
    }

    /// Checks that the moments belong to `net`.
    pub(crate) fn check_fit(&self, net: &Network<T>) -> Result<()> {
        let shapes =
            |of: &Moments<T>, n: usize| of.first.len() == n || (of.first.is_empty() && self.settings.rule == OptimizerKind::Sgd);
        let mut layers = self.moments.iter().zip(net.layers());
        if self.moments.len() == net.layers().len()
            && layers.all(|([w, b], layer)| shapes(w, layer.w.data().len()) && shapes(b, layer.b.len()))
        {
            return Ok(());
        }
        let (expected, found) = ((net.layers().len(), net.parameters()), (self.moments.len(), 0));
        Err(gaitprop_kernels::Error::Shape { what: "an optimizer's moments, of another network,", expected, found }.into())
    }

    /// Counts a step. `auxiliary`: whether the last layer's weights to auxiliary units may have a
    /// gradient in this step.
    pub(crate) fn begin(&mut self, auxiliary: bool) -> Result<()> {
        self.settings.check_in::<T>()?;
        self.steps += 1;
        self.auxiliary_rest &= !auxiliary;
        Ok(())
    }

    /// Returns the update of the first `active` columns of the weights of layer `l`, as the
    /// epilogue of a product.
    pub(crate) fn update(&mut self, l: usize, (rows, cols): (usize, usize), active: usize) -> Update<'_, T> {
        let OptimizerConfig { rule, learning_rate, beta1, .. } = self.settings;
        let step = self.adam();
        let Moments { first, second } = &mut self.moments[l][WEIGHTS];
        let rate = T::from_f64(learning_rate);
        match rule {
            OptimizerKind::Sgd => Update::Descend { rate },
            OptimizerKind::Momentum => {
                Update::Momentum { rate, mu: T::from_f64(beta1), m: view_mut(first, rows, cols).cols(0, active) }
            }
            OptimizerKind::PublishedAdam | OptimizerKind::Adam => {
                let (m, v) = (view_mut(first, rows, cols), view_mut(second, rows, cols));
                Update::Adam { step, m: m.cols(0, active), v: v.cols(0, active) }
            }
        }
    }

    fn adam(&self) -> AdamStep<T> {
        let OptimizerConfig { rule, learning_rate, beta1, beta2, epsilon, .. } = self.settings;
        let real = T::from_f64;
        // 1 − β^t without cancellation at small t.
        let correct = |beta: f64| match rule {
            OptimizerKind::Adam => -libm::expm1(self.steps as f64 * libm::log(beta)),
            _ => 1.0,
        };
        AdamStep {
            rate: real(learning_rate / correct(beta1)),
            beta1: (real(beta1), real(complement(beta1))),
            beta2: (real(beta2), real(complement(beta2))),
            epsilon: real(epsilon),
            correction: real(1.0 / correct(beta2).sqrt()),
        }
    }

    /// Moves the weights or biases of layer `l`, which are `theta`, along `delta`. Returns whether
    /// they are finite.
    pub(super) fn move_along(&mut self, l: usize, which: usize, theta: &mut [T], delta: &[T], isa: Isa) -> Result<bool> {
        let (OptimizerConfig { rule, learning_rate, beta1, .. }, step) = (self.settings, self.adam());
        let Moments { first, second } = &mut self.moments[l][which];
        let real = T::from_f64;
        match rule {
            OptimizerKind::Sgd => Ok(epilogue::descend(real(learning_rate), theta, delta, isa)?),
            OptimizerKind::Momentum => Ok(epilogue::momentum(real(learning_rate), real(beta1), theta, first, delta, isa)?),
            OptimizerKind::PublishedAdam | OptimizerKind::Adam => Ok(epilogue::adam(step, theta, first, second, delta, isa)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_that_vanish_in_the_element_type_are_refused() {
        let usual = OptimizerConfig::new(OptimizerKind::Adam, 1e-3).unwrap();
        let message = |settings: OptimizerConfig| settings.check_in::<f32>().map_err(|e| e.to_string());
        for (epsilon, rounded) in [(1e-60, "rounds to 0"), (1e60, "rounds to inf")] {
            let settings = OptimizerConfig { epsilon, ..usual };
            assert!(message(settings).unwrap_err().contains(rounded) && settings.check_in::<f64>().is_ok());
            // Without moments there is no ε.
            assert_eq!(message(OptimizerConfig { rule: OptimizerKind::Sgd, ..settings }), Ok(()));
        }
        let decayed = OptimizerConfig { weight_decay: 1e-9, ..usual };
        assert!(message(decayed).unwrap_err().contains("no weight in f32") && decayed.check_in::<f64>().is_ok());
        let slow = OptimizerConfig { learning_rate: 1e-60, ..usual };
        assert!(message(slow).unwrap_err().contains("f32 rounds to 0") && slow.check_in::<f64>().is_ok());
        // 1 − β is rounded to 15 decimals.
        let close = 1.0 - f64::EPSILON;
        for settings in [OptimizerConfig { beta1: close, ..usual }, OptimizerConfig { beta2: close, ..usual }] {
            assert!(settings.check().unwrap_err().to_string().contains("too close to 1"));
        }
        assert_eq!(message(OptimizerConfig { beta1: 1.0 - 1e-15, ..usual }), Ok(()));
        assert_eq!(message(OptimizerConfig { weight_decay: 1e-7, ..usual }), Ok(()));
    }
}
