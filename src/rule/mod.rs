//! How credit reaches a layer: one trait, one file a family.
//!
//! Every rule turns the error of a layer (sign: target − activity, scaled by γ^−(L−l) where targets are scaled) into `x = D ∘ e`, which
//! makes the layer's own update, and into the error of the layer below:
//!
//! | rule | file | e_{l−1} |
//! |---|---|---|
//! | BP | [`backprop`] | `(D_l ∘ e_l) W_lᵀ` |
//! | TP | [`target`] | `[f⁻¹(y_l + e_l) − f⁻¹(y_l)] W_l⁻¹` |
//! | ITP | [`perturbed`] | `[f⁻¹(y_l + s e_l) − f⁻¹(y_l)]/s W_l⁻¹`, s = γ^(L−l+1) |
//! | GAIT | [`perturbed`] | `[f⁻¹(y_l + s D_l² ∘ e_l) − f⁻¹(y_l)]/s W_l⁻¹` |
//! | FA | [`feedback`] | `(D_l ∘ e_l) B_lᵀ`, B_l fixed and random |
//! | DFA | [`feedback`] | `(D_L ∘ e_L) B_{l−1}`, B_{l−1} fixed and random |
//!
//! Targets themselves are never formed: their differences lose everything to rounding a few layers down. To see them do so there is the
//! published formula, word for word, in [`absolute`].
//!
//! A rule of one's own is one method; [`Trainer`](crate::train::Trainer) takes it like any of these (`examples/own_rule.rs`):
//!
//! ```
//! use gaitprop::solve::Solve;
//! use gaitprop::kernels::{Real, perturb::activation_grad};
//! use gaitprop::rule::{Local, Means, Outcome, Rule};
//!
//! /// Trains the last layer alone: no error goes further down.
//! #[derive(Debug)]
//! struct Readout;
//!
//! impl<T: Real> Rule<T> for Readout {
//!     fn name(&self) -> &'static str {
//!         "readout"
//!     }
//!     fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, T>) -> gaitprop::Result<Option<Solve>> {
//!         activation_grad(at.layer.unit, at.y, at.slope, at.e, out.x, with.plan.isa)?;
//!         if let Some(mut below) = out.below {
//!             (0..below.nrows()).for_each(|i| below.row_mut(i).expect("row-major").fill(T::ZERO));
//!         }
//!         Ok(None)
//!     }
//! }
//! # let _: &dyn Rule<f32> = &Readout;
//! ```

pub mod absolute;
pub mod backprop;
pub mod feedback;
pub mod perturbed;
pub mod target;

use crate::base::error::{Error, Result};
use crate::base::names::names;
use crate::model::init::Init;
use crate::model::layer::Layer;
use crate::model::network::Architecture;
use crate::solve::{Solve, Solver};
use gaitprop_kernels::perturb::{Perturbation, perturb};
use gaitprop_kernels::{Activation, Error as KernelError, MatMut, MatRef, Plan, Real, Scratch};

pub use absolute::Absolute;
pub use backprop::Backprop;
pub use feedback::{DirectFeedback, FeedbackAlignment};
pub use perturbed::Perturbed;
pub use target::TargetProp;

/// What a rule is told about one layer of one batch.
#[non_exhaustive]
pub struct Local<'a, T> {
    /// Index of the layer, from 0.
    pub index: usize,
    /// Layers above it: L − l, 0 for the last layer.
    pub above: usize,
    /// Its weights, biases and activation.
    pub layer: &'a Layer<T>,
    /// Columns of `e`, from the first on, that may be other than 0: of the last layer the label units.
    pub live: usize,
    /// What feeds it: the first units of the activity below, or of the input; batch × fed.
    pub input: MatRef<'a, T>,
    /// Its activity, batch × width; of the last layer the columns after the first `live` may be anything finite, unless the rule
    /// [reads them](Rule::reads_whole_output).
    pub y: MatRef<'a, T>,
    /// f′(h) where the activation keeps it.
    pub slope: Option<MatRef<'a, T>>,
    /// Its error, batch × width.
    pub e: MatRef<'a, T>,
    /// D ∘ e of the label units, batch × labels, at every layer the same: what the loss says of the output before its activation, −∂loss/∂h.
    pub output_error: MatRef<'a, T>,
}

/// Where a rule's results go.
#[non_exhaustive]
pub struct Outcome<'a, T> {
    /// `D ∘ e`, batch × width: always written.
    pub x: MatMut<'a, T>,
    /// The error of the units below that feed this layer, batch × fed; absent for the first layer.
    pub below: Option<MatMut<'a, T>>,
}

/// What a rule computes with.
#[non_exhaustive]
pub struct Means<'a, T> {
    /// Sends a batch through W⁻¹.
    pub inverse: &'a mut dyn Solver<T>,
    /// How kernels run.
    pub plan: &'a Plan,
    /// Their packing memory.
    pub scratch: &'a mut Scratch,
}

/// A learning rule: how the error of a layer becomes that of the layer below. Called once a layer and batch, from the last layer down.
pub trait Rule<T: Real>: Send + Sync + std::fmt::Debug {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Whether it looks at the activity of output units beyond the labels, which steps need not compute otherwise.
    fn reads_whole_output(&self) -> bool {
        false
    }

    /// How it perturbs a layer of activation `unit` with `above` layers above it; `None` for rules that perturb nothing. For diagnostics: where such a
    /// target lies beyond the activation's kink, a rule is not linear.
    fn perturbation(&self, _unit: Activation, _above: usize) -> Option<Perturbation> {
        None
    }

    /// Writes `out.x` and, unless this is the first layer, `out.below`: all of their elements, which hold anything before. Returns what the
    /// inverse reported, if it was used. A rule that wants [equal bits](crate) on every machine leaves products to `with`, and one that wants no
    /// allocation in a step brings its memory along.
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::OutOfRange`], or an error of the kernels; nothing outside `out` has changed.
    fn send_down(&self, at: &Local<'_, T>, out: Outcome<'_, T>, with: &mut Means<'_, T>) -> Result<Option<Solve>>;
}

/// The rules by name.
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
}

names!(LearningRule, "rule", Bp = "bp", Gait = "gait", Itp = "itp", Tp = "tp", Fa = "fa", Dfa = "dfa");

/// How target rules are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetForm {
    /// From scaled differences, exact to rounding at any depth.
    #[default]
    Difference,
    /// From targets themselves, as published: at depth all is lost to rounding. To show that, not to train by.
    Absolute,
}

names!(TargetForm, "form of target rules", Difference = "difference", Absolute = "absolute");

/// What a rule is built from, besides its name.
#[derive(Clone, Copy, Debug)]
pub struct RuleConfig<'a> {
    /// The network it is for.
    pub architecture: &'a Architecture,
    /// γ of GAIT and ITP.
    pub gamma: f64,
    /// Form of GAIT, ITP and TP.
    pub form: TargetForm,
    /// How fixed feedback is drawn: as initial weights are.
    pub init: Init,
    /// The run's seed; feedback is drawn from a stream of its own.
    pub seed: u64,
}

impl<'a> RuleConfig<'a> {
    /// For a network: γ = 0.001, the difference form, orthogonal feedback from seed 1.
    pub fn new(architecture: &'a Architecture) -> Self {
        Self { architecture, gamma: 1e-3, form: TargetForm::Difference, init: Init::Orthogonal, seed: 1 }
    }
}

impl LearningRule {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Bp, Self::Gait, Self::Itp, Self::Tp, Self::Fa, Self::Dfa];

    /// Published learning rate and λ. The paper gives none for ITP: GAIT's. Nor are there any of fixed feedback for these networks: BP's, whose place it
    /// takes. (Both rules want more on the digits: at 1e-3 they tell 96 to 97 % after 60 epochs, at 1e-4 some 80 %.)
    pub fn published(self) -> (f64, f64) {
        match self {
            Self::Bp | Self::Fa | Self::Dfa => (1e-4, 0.0),
            Self::Gait | Self::Itp => (1e-4, 0.1),
            Self::Tp => (1e-5, 1000.0),
        }
    }

    /// Whether it sends targets through inverses.
    pub fn sends_targets(self) -> bool {
        matches!(self, Self::Gait | Self::Itp | Self::Tp)
    }

    /// Refuses a setup that [`LearningRule::build`] would, without drawing anything.
    ///
    /// # Errors
    /// [`Error::Setting`] for a γ outside [0, 1], or of 0 with absolute targets: of GAIT and ITP. Errors of [`Architecture::check`].
    pub fn check(self, setup: &RuleConfig<'_>) -> Result<()> {
        setup.architecture.check()?;
        match (self, setup.form) {
            (Self::Gait | Self::Itp, TargetForm::Difference) => Perturbed::gait(setup.gamma).map(|_| ()),
            (Self::Gait | Self::Itp, TargetForm::Absolute) => Absolute::gait(setup.gamma).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The rule itself. γ counts for GAIT and ITP, the form for them and TP, initialisation and seed for FA and DFA. The plan decides
    /// how feedback is made orthogonal, and no bit of it.
    ///
    /// # Errors
    /// As [`LearningRule::check`]; out of memory.
    pub fn build<T: Real>(self, setup: &RuleConfig<'_>, plan: &Plan) -> Result<Box<dyn Rule<T>>> {
        self.check(setup)?;
        let RuleConfig { architecture, gamma, form, init, seed } = *setup;
        Ok(match (self, form) {
            (Self::Bp, _) => Box::new(Backprop),
            (Self::Gait, TargetForm::Difference) => Box::new(Perturbed::gait(gamma)?),
            (Self::Gait, TargetForm::Absolute) => Box::new(Absolute::gait(gamma)?),
            (Self::Itp, TargetForm::Difference) => Box::new(Perturbed::itp(gamma)?),
            (Self::Itp, TargetForm::Absolute) => Box::new(Absolute::itp(gamma)?),
            (Self::Tp, TargetForm::Difference) => Box::new(TargetProp),
            (Self::Tp, TargetForm::Absolute) => Box::new(Absolute::tp()),
            (Self::Fa, _) => Box::new(FeedbackAlignment::<T>::random(architecture, init, seed, plan)?),
            (Self::Dfa, _) => Box::new(DirectFeedback::<T>::random(architecture, init, seed, plan)?),
        })
    }
}

/// Refuses a γ that is none.
fn check_gamma(gamma: f64) -> Result<()> {
    if (0.0..=1.0).contains(&gamma) {
        return Ok(());
    }
    Err(Error::Setting(format!("gamma is {gamma}, but must lie in [0, 1] (0 is the linear limit)")))
}

/// γ^k by repeated multiplication: `powi` may round differently from machine to machine.
fn power(gamma: f64, k: usize) -> f64 {
    (0..k).fold(1.0, |s, _| s * gamma)
}

/// What all target rules do: perturb, and send the result through the inverse.
fn perturb_and_invert<T: Real>(
    p: Perturbation,
    at: &Local<'_, T>,
    mut out: Outcome<'_, T>,
    with: &mut Means<'_, T>,
) -> Result<Option<Solve>> {
    let Some(mut below) = out.below else {
        gaitprop_kernels::perturb::activation_grad(at.layer.unit, at.y, at.slope, at.e, out.x, with.plan.isa)?;
        return Ok(None);
    };
    match perturb(p, at.y, at.slope, at.e, below.rb(), out.x.rb(), with.plan.isa) {
        Err(KernelError::Domain { row, col }) => Err(Error::OutOfRange { layer: at.index, sample: row, unit: col }),
        other => {
            other?;
            with.inverse.solve(at.index, at.layer.w.view(), below, with.plan, with.scratch).map(Some)
        }
    }
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
        assert_eq!(of, [(1e-4, 0.0), (1e-4, 0.1), (1e-4, 0.1), (1e-5, 1000.0), (1e-4, 0.0), (1e-4, 0.0)]);
    }

    #[test]
    fn rules_say_who_they_are_and_what_they_read() {
        for kind in LearningRule::ALL {
            for form in [TargetForm::Difference, TargetForm::Absolute] {
                let rule = built(kind, form);
                // Absolute targets are activities, of units beyond the labels too; all else knows the labels' errors alone.
                let whole = kind.sends_targets() && form == TargetForm::Absolute;
                assert_eq!(rule.name(), format!("{kind}{}", if whole { "-absolute" } else { "" }));
                assert_eq!(rule.reads_whole_output(), whole, "{kind} {form}");
            }
        }
    }

    /// γ to the number of layers from the top, of GAIT and ITP; TP goes all the way.
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
                assert!([LearningRule::Bp, LearningRule::Fa, LearningRule::Dfa].iter().all(|&kind| of(kind).is_none()));
            }
        }
    }

    /// What cannot be built is refused without being built, for the same reason.
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
