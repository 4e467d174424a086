//! Learning rules: how credit reaches a layer. One trait, and one file per family.
//!
//! The step computes `δ_l = D_l ∘ e_l` of a layer (sign: target − activity, scaled by γ^−(L−l)
//! where targets are scaled). A rule turns it into the error of the layer below:
//!
//! | rule | file | e_{l−1} |
//! |---|---|---|
//! | BP | `backprop.rs` | `δ_l W_lᵀ` |
//! | TP | `perturbed.rs` | `[f⁻¹(y_l + e_l) − f⁻¹(y_l)] W_l⁻¹` |
//! | ITP | `perturbed.rs` | `[f⁻¹(y_l + s e_l) − f⁻¹(y_l)]/s W_l⁻¹`, s = γ^(L−l+1) |
//! | GAIT | `perturbed.rs` | `[f⁻¹(y_l + s D_l² ∘ e_l) − f⁻¹(y_l)]/s W_l⁻¹` |
//! | FA | `feedback.rs` | `δ_l B_lᵀ`, B_l fixed and random |
//! | DFA | `feedback.rs` | `δ_L B_{l−1}`, B_{l−1} fixed and random |
//! | DRTP | `feedback.rs` | `t B_{l−1}`, t the targets, B_{l−1} fixed and random |
//! | USF, FRSF, BRSF | `signs.rs` | `δ_l (M_l ∘ sign(W_l))ᵀ`, M_l of one size, random, or random in each step |
//! | KP | `kolen_pollack.rs` | `δ_l B_lᵀ`, B_l random at first; it changes as W_l does |
//!
//! The rules never form targets: a few layers down, rounding destroys their differences.
//! `absolute.rs` has the published formula, to show that.
//!
//! A new rule implements one method. [`Trainer`](crate::Trainer) accepts it like any of these:
//!
//! ```
//! use gaitprop::kernels::{MatMut, MatRef, Real};
//! use gaitprop::rule::{Context, LayerState, Rule, Through};
//!
//! /// Feedback by the strong weights alone, e_{l−1} = δ_l (W_l ∘ [|W_l| ≥ 1/√n])ᵀ.
//! #[derive(Debug)]
//! struct StrongFeedback;
//!
//! impl<T: Real> Rule<T> for StrongFeedback {
//!     fn name(&self) -> &str {
//!         "strong-feedback"
//!     }
//!     // Wᵀ takes errors to the decorrelated input z = y_{l−1} R, if there is one: the step adds Rᵀ.
//!     fn through_decorrelation(&self) -> Through {
//!         Through::Transpose
//!     }
//!     fn backward(
//!         &mut self,
//!         layer: &LayerState<'_, T>,
//!         delta: MatRef<'_, T>,
//!         below: MatMut<'_, T>,
//!         with: &mut Context<'_, T>,
//!     ) -> gaitprop::Result<()> {
//!         let (n, m) = layer.w.shape();
//!         let least = T::from_f64(1.0 / (m as f64).sqrt());
//!         let strong = |w: T| if w.abs() < least { T::ZERO } else { w };
//!         let weights: Vec<T> = layer.w.to_vec().into_iter().map(strong).collect();
//!         with.exec.gemm(T::ONE, delta, MatRef::new(&weights, n, m)?.t(), T::ZERO, below)
//!     }
//! }
//! # let _: &dyn Rule<f32> = &StrongFeedback;
//! ```

mod absolute;
mod backprop;
mod feedback;
mod kolen_pollack;
mod layer;
mod perturbed;
mod signs;

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::model::init::Init;
use crate::model::network::{Architecture, Network};
use crate::store::checkpoint::State;
use gaitprop_kernels::perturb::Perturbation;
use gaitprop_kernels::{Activation, MatMut, MatRef, Plan, Real};

pub(crate) use absolute::NO_DECORRELATION;
pub use layer::{Context, LayerState, Through};
#[doc(hidden)] // for tests: others ask `LearningRule::build`
pub use {
    absolute::Absolute, backprop::Backprop, feedback::Feedback, feedback::Route, kolen_pollack::KolenPollack,
    perturbed::Perturbed, signs::Magnitudes, signs::SignSymmetric,
};

/// A learning rule: sends the delta of a layer down to the layer below. The step calls it once for
/// each layer but the first, from the last layer down.
pub trait Rule<T: Real>: Send + std::fmt::Debug {
    /// Name in messages.
    fn name(&self) -> &str;

    /// Returns whether the rule reads the activity of output units beyond the labels. Steps skip
    /// these units otherwise.
    fn reads_whole_output(&self) -> bool {
        false
    }

    /// Returns the perturbation that a target rule applies to a layer with `above` layers above it;
    /// `None` for rules without targets. The step computes it in the same pass as δ.
    fn perturbation(&self, _activation: Activation, _above: usize) -> Option<Perturbation> {
        None
    }

    /// Returns how the rule's errors pass the decorrelation of a layer's input, if there is one.
    fn through_decorrelation(&self) -> Through {
        Through::Direct
    }

    /// Writes e_{l−1} of the units that feed layer l into `below`.
    ///
    /// * `layer`: activity, error and weights of layer l
    /// * `delta`: δ_l = f′(h_l) ∘ e_l, batch × width; zero beyond the first `layer.active` columns
    /// * `below`: batch × fan-in. The rule must write every element. It holds the perturbation
    ///   `[f⁻¹(y_l + s φ ∘ e_l) − f⁻¹(y_l)] / s` for a rule with a [`Rule::perturbation`], if the
    ///   layer is square, and unspecified values otherwise.
    ///
    /// Products through `with` have equal bits on every machine. A rule that owns its buffers
    /// allocates nothing in a step.
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::OutOfRange`], or an error of the kernels. Nothing but `below`
    /// has then changed.
    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()>;

    /// Lets the rule learn from a step: `net` holds the new weights, which the optimizer has moved
    /// and then multiplied by 1 − `weight_decay`. A hold has not changed them yet.
    ///
    /// [`Step::update`](crate::step::Step::update) and [`Step::rotate`](crate::step::Step::rotate)
    /// call it once a step. A loop around [`Step::gradients`](crate::step::Step::gradients) calls
    /// it after its own optimizer. Measurements do not call it: they change nothing in the rule
    /// that later steps depend on.
    ///
    /// # Errors
    /// A shape error for another network.
    fn learn(&mut self, _net: &Network<T>, _weight_decay: f64, _exec: &mut Exec) -> Result<()> {
        Ok(())
    }

    /// Returns the state that later steps depend on; empty for a rule that learns nothing.
    fn save(&self) -> State<T> {
        State::default()
    }

    /// Restores a saved state.
    ///
    /// # Errors
    /// [`Error::Setting`] for a state that does not fit.
    fn restore(&mut self, _state: &State<T>) -> Result<()> {
        Ok(())
    }
}

/// Built-in rules, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LearningRule {
    /// Backpropagation.
    Bp,
    /// GAIT-prop.
    Gait,
    /// Incremental target propagation.
    Itp,
    /// Target propagation.
    Tp,
    /// Feedback alignment.
    Fa,
    /// Direct feedback alignment.
    Dfa,
    /// Direct random target projection.
    Drtp,
    /// Sign-symmetric feedback of one magnitude.
    Usf,
    /// Sign-symmetric feedback with random magnitudes, drawn once.
    Frsf,
    /// Sign-symmetric feedback with random magnitudes, drawn in every step.
    Brsf,
    /// Kolen–Pollack: feedback that learns as the weights do.
    Kp,
}

names!(
    LearningRule,
    "rule",
    Bp = "bp",
    Gait = "gait",
    Itp = "itp",
    Tp = "tp",
    Fa = "fa",
    Dfa = "dfa",
    Drtp = "drtp",
    Usf = "usf",
    Frsf = "frsf",
    Brsf = "brsf",
    Kp = "kp"
);

/// Arithmetic of target rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetForm {
    /// Scaled differences, exact to rounding at any depth.
    #[default]
    Difference,
    /// Targets themselves, as published: at depth, rounding destroys their differences. For
    /// demonstration, not for training.
    Absolute,
}

names!(TargetForm, "form of target rules", Difference = "difference", Absolute = "absolute");

/// Inputs of [`LearningRule::build`].
#[derive(Clone, Copy, Debug)]
pub struct RuleConfig<'a> {
    /// Shape of the network.
    pub architecture: &'a Architecture,
    /// γ of GAIT and ITP.
    pub gamma: f64,
    /// Form of GAIT, ITP and TP.
    pub form: TargetForm,
    /// Distribution of the feedback of FA, DFA, DRTP and KP, as of initial weights.
    pub init: Init,
    /// Seed of the run. Feedback has a random stream of its own.
    pub seed: u64,
}

impl<'a> RuleConfig<'a> {
    /// Creates the defaults for a network: γ = 0.001, the difference form, orthogonal feedback from
    /// seed 1.
    pub fn new(architecture: &'a Architecture) -> Self {
        Self { architecture, gamma: 1e-3, form: TargetForm::Difference, init: Init::Orthogonal, seed: 1 }
    }
}

impl LearningRule {
    /// All rules.
    pub const ALL: [Self; 11] =
        [Self::Bp, Self::Gait, Self::Itp, Self::Tp, Self::Fa, Self::Dfa, Self::Drtp, Self::Usf, Self::Frsf, Self::Brsf, Self::Kp];

    /// Returns the published learning rate and λ.
    ///
    /// The paper gives none for ITP, which takes GAIT's. There are none for other feedback on these
    /// networks: such rules take those of BP, which they replace. Test accuracy in % on the digits
    /// after 60 epochs (five layers, two seeds):
    ///
    /// | rate | BP | USF | FRSF | BRSF | KP | FA | DFA | DRTP | DRTP, tanh |
    /// |---|---|---|---|---|---|---|---|---|---|
    /// | 1e-4 | 96 | 95 | 95 | 95 | 75 | 67 | 70 | 31 | 21 |
    /// | 1e-3 | 98 | 98 | 99 | 98 | 97 | 95 | 97 | 19 | 95 |
    ///
    /// FA, DFA, KP and DRTP need a higher rate there. Errors of DRTP do not shrink, and only units
    /// that saturate bear them in deep networks.
    pub fn published(self) -> (f64, f64) {
        match self {
            Self::Gait | Self::Itp => (1e-4, 0.1),
            Self::Tp => (1e-5, 1000.0),
            _ => (1e-4, 0.0),
        }
    }

    /// Returns the default weight decay ρ: 0, but for KP, whose feedback converges by it.
    ///
    /// Test accuracy of KP in % on the digits, as in [`LearningRule::published`]:
    ///
    /// | rate | ρ = 0 | 1e-4 | 3e-4 | 1e-3 | 3e-3 | 1e-2 |
    /// |---|---|---|---|---|---|---|
    /// | 1e-4 | 31 | 47 | 75 | 62 | 19 | 6 |
    /// | 1e-3 | 88 | 94 | 97 | 95 | 94 | 66 |
    pub fn weight_decay(self) -> f64 {
        if self == Self::Kp { 3e-4 } else { 0.0 }
    }

    /// Returns whether the rule sends targets through inverses.
    pub fn sends_targets(self) -> bool {
        matches!(self, Self::Gait | Self::Itp | Self::Tp)
    }

    /// Checks a configuration as [`LearningRule::build`] does, without drawing matrices.
    ///
    /// # Errors
    /// * [`Error::Setting`] for GAIT and ITP with a γ outside [0, 1], or with γ = 0 and absolute
    ///   targets.
    /// * Errors of [`Architecture::check`].
    pub fn check(self, setup: &RuleConfig<'_>) -> Result<()> {
        setup.architecture.check()?;
        match (self, setup.form) {
            (Self::Gait | Self::Itp, TargetForm::Difference) => Perturbed::gait(setup.gamma).map(|_| ()),
            (Self::Gait | Self::Itp, TargetForm::Absolute) => Absolute::gait(setup.gamma).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Builds the rule.
    ///
    /// γ applies to GAIT and ITP, and the form to GAIT, ITP and TP. The seed applies to rules with
    /// random feedback, and the initialization to FA, DFA, DRTP and KP. The plan runs the drawing
    /// of feedback and affects none of its bits.
    ///
    /// # Errors
    /// As [`LearningRule::check`]; out of memory.
    pub fn build<T: Real>(self, setup: &RuleConfig<'_>, plan: &Plan) -> Result<Box<dyn Rule<T>>> {
        self.check(setup)?;
        let RuleConfig { architecture, gamma, form, init, seed } = *setup;
        let fixed = |route| Feedback::<T>::random(route, architecture, init, seed, plan);
        Ok(match (self, form) {
            (Self::Bp, _) => Box::new(Backprop),
            (Self::Gait, TargetForm::Difference) => Box::new(Perturbed::gait(gamma)?),
            (Self::Gait, TargetForm::Absolute) => Box::new(Absolute::gait(gamma)?),
            (Self::Itp, TargetForm::Difference) => Box::new(Perturbed::itp(gamma)?),
            (Self::Itp, TargetForm::Absolute) => Box::new(Absolute::itp(gamma)?),
            (Self::Tp, TargetForm::Difference) => Box::new(Perturbed::tp()),
            (Self::Tp, TargetForm::Absolute) => Box::new(Absolute::tp()),
            (Self::Fa, _) => Box::new(fixed(Route::LayerByLayer)?),
            (Self::Dfa, _) => Box::new(fixed(Route::Direct)?),
            (Self::Drtp, _) => Box::new(fixed(Route::Target)?),
            (Self::Usf, _) => Box::new(SignSymmetric::<T>::new(Magnitudes::Uniform, seed)),
            (Self::Frsf, _) => Box::new(SignSymmetric::<T>::new(Magnitudes::Fixed, seed)),
            (Self::Brsf, _) => Box::new(SignSymmetric::<T>::new(Magnitudes::Batch, seed)),
            (Self::Kp, _) => Box::new(KolenPollack::<T>::random(architecture, init, seed, plan)?),
        })
    }
}

/// Checks that γ lies in [0, 1].
fn check_gamma(gamma: f64) -> Result<()> {
    if (0.0..=1.0).contains(&gamma) {
        return Ok(());
    }
    Err(Error::Setting(format!("gamma is {gamma}, but must lie in [0, 1] (0 is the linear limit)")))
}

/// Computes γ^k by repeated multiplication: `powi` may round differently on other machines.
fn power(gamma: f64, k: usize) -> f64 {
    (0..k).fold(1.0, |s, _| s * gamma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::perturb::{Scale, Weighting};

    fn built(kind: LearningRule, form: TargetForm) -> Box<dyn Rule<f64>> {
        let shape = Architecture::square(4, 4, 1, 2).unwrap();
        kind.build(&RuleConfig { form, gamma: 0.1, ..RuleConfig::new(&shape) }, &Plan::new()).unwrap()
    }

    /// The paper's table 1 for BP, GAIT and TP.
    #[test]
    fn published_settings_are_those_of_the_paper() {
        let of = LearningRule::ALL.map(LearningRule::published);
        assert_eq!(of[..4], [(1e-4, 0.0), (1e-4, 0.1), (1e-4, 0.1), (1e-5, 1000.0)]);
        assert_eq!(of[4..], [(1e-4, 0.0); 7]);
        let decaying = LearningRule::ALL.into_iter().filter(|rule| rule.weight_decay() > 0.0);
        assert_eq!(decaying.collect::<Vec<_>>(), [LearningRule::Kp]);
    }

    #[test]
    fn rules_say_who_they_are_and_what_they_read() {
        for kind in LearningRule::ALL {
            for form in [TargetForm::Difference, TargetForm::Absolute] {
                let rule = built(kind, form);
                // Only absolute targets read units beyond the labels; all else reads the labels'
                // errors alone.
                let whole = kind.sends_targets() && form == TargetForm::Absolute;
                assert_eq!(rule.name(), format!("{kind}{}", if whole { "-absolute" } else { "" }));
                assert_eq!(rule.reads_whole_output(), whole, "{kind} {form}");
            }
        }
    }

    /// Checks the scale: γ^(layers above + 1) for GAIT and ITP, 1 for TP.
    #[test]
    fn perturbations_shrink_by_gamma_a_layer() {
        let close = |s: f64, want: f64| (s - want).abs() <= 1e-15 * want;
        for form in [TargetForm::Difference, TargetForm::Absolute] {
            for above in 0..4 {
                let of = |kind| built(kind, form).perturbation(Activation::Tanh, above);
                for (kind, weighting) in [(LearningRule::Gait, Weighting::SlopeSquared), (LearningRule::Itp, Weighting::Plain)] {
                    let p = of(kind).unwrap();
                    assert_eq!((p.activation, p.weighting), (Activation::Tanh, weighting), "{kind}");
                    assert!(
                        matches!(p.scale, Scale::Finite(s) if close(s, 0.1_f64.powi(above as i32 + 1))),
                        "{kind} {form} {above}: {p:?}"
                    );
                }
                let p = of(LearningRule::Tp).unwrap();
                assert_eq!(
                    (p.activation, p.weighting, p.scale),
                    (Activation::Tanh, Weighting::Plain, Scale::Finite(1.0)),
                    "{form}"
                );
                assert!(LearningRule::ALL.iter().all(|&kind| of(kind).is_some() == kind.sends_targets()));
            }
        }
    }

    /// Checks that `check` refuses exactly what `build` refuses.
    #[test]
    fn a_check_refuses_what_building_would() {
        let shape = Architecture::square(4, 4, 1, 2).unwrap();
        for kind in LearningRule::ALL {
            for form in [TargetForm::Difference, TargetForm::Absolute] {
                for gamma in [-0.1, 0.0, 0.5, 1.0, 1.1, f64::NAN] {
                    let setup = RuleConfig { form, gamma, ..RuleConfig::new(&shape) };
                    let refused = [LearningRule::Gait, LearningRule::Itp].contains(&kind)
                        && (!(0.0..=1.0).contains(&gamma) || (gamma == 0.0 && form == TargetForm::Absolute));
                    assert_eq!(kind.check(&setup).is_err(), refused, "{kind} {form} {gamma}");
                    assert_eq!(kind.build::<f64>(&setup, &Plan::new()).is_err(), refused, "{kind} {form} {gamma}");
                }
            }
        }
    }
}
