//! Settings of published runs, by name.

use crate::base::names::names;
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::ortho::{Hold, Layers, Penalty, Regularizer};
use crate::rule::{LearningRule, TargetForm};
use crate::solve::{SolverKind, Tuning};
use crate::step::optimizer::OptimizerKind;
use crate::train::config::TrainConfig;

/// A published set of settings: see [`TrainConfig::preset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// The paper: commands of the README of the authors' code, all from orthogonal weights.
    Paper,
    /// The authors' code at the time of the paper (commit 11514c9): rules with a regularizer start
    /// from Gaussian weights.
    Paper2020,
    /// The follow-up on CIFAR-10.
    FollowUp,
}

names!(Preset, "preset", Paper = "paper", Paper2020 = "paper-2020", FollowUp = "follow-up");

impl Preset {
    /// All presets.
    pub const ALL: [Self; 3] = [Self::Paper, Self::Paper2020, Self::FollowUp];

    /// Returns the published number of epochs.
    pub fn epochs(self) -> usize {
        match self {
            Self::Paper | Self::Paper2020 => 100,
            Self::FollowUp => 200,
        }
    }
}

/// Batch of the follow-up, over which its code sums the loss.
const FOLLOW_UP_BATCH: usize = 256;

impl TrainConfig {
    /// Returns the published settings of a rule: leaky networks from orthogonal weights, squared
    /// loss, and batches of 60 in the order of the data. The optimizer is Adam without bias
    /// correction, at the rule's own learning rate and λ.
    ///
    /// This is the [preset](TrainConfig::preset) of the paper.
    pub fn published(rule: LearningRule) -> Self {
        Self::preset(Preset::Paper, rule)
    }

    /// Returns the settings of a preset for a rule.
    ///
    /// | setting | [`Paper`](Preset::Paper) | [`Paper2020`](Preset::Paper2020) | [`FollowUp`](Preset::FollowUp) |
    /// |---|---|---|---|
    /// | initial weights | orthogonal | Gaussian for GAIT, ITP and TP, orthogonal for others | orthogonal |
    /// | optimizer | Adam without bias correction, β2 = 0.99, ε = 1e-8 | the same | Adam, β2 = 0.999 (FA 0.99), ε = 1e-6 (FA 1e-4) |
    /// | learning rate | [`LearningRule::published`] | the same | BP and GAIT 1.9e-5, FA 2.5e-5 |
    /// | λ, form | [`LearningRule::published`], off-diagonal | the same | GAIT 100, BP and FA 0, identity |
    /// | regularized layers | all | all | all but the first |
    /// | loss | squared | squared | softmax cross-entropy |
    /// | batch | 60, in the order of the data | the same | 256, shuffled |
    /// | [epochs](Preset::epochs) | 100 | 100 | 200 |
    ///
    /// γ is 0.001 everywhere. The follow-up's code sums the loss over the batch, where this crate
    /// averages it, so that its λ and ε are divided by 256 here. Full batches then have the same
    /// updates but for ε, which that code (Keras's Adam) adds to √v before v's bias is corrected:
    /// there it is ε/√(1 − β2ᵗ) by the definition used here.
    ///
    /// Unpublished settings are those of [`TrainConfig::published`]:
    ///
    /// * The code of the paper has BP, GAIT and TP. Other rules have the rates and λ of
    ///   [`LearningRule::published`]. In `Paper2020`, ITP starts as GAIT does, and the others as BP.
    /// * The follow-up has BP, GAIT and FA. Other rules keep their published rate and λ, with the
    ///   follow-up's other settings for GAIT.
    /// * KP has the weight decay of [`LearningRule::weight_decay`].
    /// * Solver, tolerance and the difference form are this crate's own.
    ///
    /// The follow-up's code has a second GAIT experiment, with patches normalized and γ adapted to
    /// each layer. This preset is the first, with γ = 0.001.
    ///
    /// A preset has no widths, since they depend on the data: the paper's networks are five square
    /// layers (`784-784-500-200-10` for the tower), the follow-up's six or three layers of 1024 and
    /// one of outputs.
    ///
    /// # References
    /// * Ahmad, van Gerven and Ambrogioni, GAIT-prop, 2020, table 1, and
    ///   github.com/nasiryahm/GAIT-prop.
    /// * Dalm, Ahmad, Ambrogioni and van Gerven, Scaling up learning with GAIT-prop, 2021, and
    ///   `config/cifar.yaml` of github.com/artcogsys/GAIT_prop_scaling.
    pub fn preset(preset: Preset, rule: LearningRule) -> Self {
        let (learning_rate, lambda) = rule.published();
        let paper = Self {
            rule,
            gamma: 1e-3,
            target_form: TargetForm::Difference,
            solver: SolverKind::Auto,
            tolerance: Tuning::default().tolerance,
            damping: Tuning::default().damping,
            inverse_rate: None,
            decorrelation: None,
            loss: Loss::Squared,
            regularizer: Regularizer { lambda, ..Regularizer::NONE },
            hold: Hold::Free,
            optimizer: OptimizerKind::PublishedAdam,
            learning_rate,
            beta1: None,
            beta2: None,
            epsilon: None,
            weight_decay: rule.weight_decay(),
            init: Init::Orthogonal,
            batch: 60,
            shuffle: false,
        };
        match preset {
            Preset::Paper => paper,
            // `run.py` draws orthogonal weights if the regularizer is off, Gaussian ones otherwise.
            Preset::Paper2020 => Self { init: if lambda > 0.0 { Init::Xavier } else { Init::Orthogonal }, ..paper },
            Preset::FollowUp => {
                let sum = FOLLOW_UP_BATCH as f64;
                let (learning_rate, lambda, beta2, epsilon) = match rule {
                    LearningRule::Bp => (1.9e-5, 0.0, 0.999, 1e-6 / sum),
                    LearningRule::Gait => (1.9e-5, 100.0 / sum, 0.999, 1e-6 / sum),
                    LearningRule::Fa => (2.5e-5, 0.0, 0.99, 1e-4 / sum),
                    _ => (learning_rate, lambda, 0.999, 1e-6 / sum),
                };
                let form = Penalty::Identity;
                Self {
                    loss: Loss::CrossEntropy,
                    regularizer: Regularizer { lambda, form, layers: Layers::AboveFirst, ..Regularizer::NONE },
                    optimizer: OptimizerKind::Adam,
                    learning_rate,
                    beta1: Some(0.9),
                    beta2: Some(beta2),
                    epsilon: Some(epsilon),
                    batch: FOLLOW_UP_BATCH,
                    shuffle: true,
                    ..paper
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of `run.py` at commit 11514c9 and of `config/cifar.yaml` at commit 23ff289.
    #[test]
    fn presets_are_what_was_published() {
        let of = TrainConfig::preset;
        for rule in LearningRule::ALL {
            assert_eq!(of(Preset::Paper, rule), TrainConfig::published(rule));
            // Nothing but the initial weights differs.
            let old = of(Preset::Paper2020, rule);
            assert_eq!(TrainConfig { init: Init::Orthogonal, ..old }, TrainConfig::published(rule));
            let new = of(Preset::FollowUp, rule);
            assert_eq!((new.batch, new.shuffle, new.loss, new.init), (256, true, Loss::CrossEntropy, Init::Orthogonal));
            assert_eq!((new.regularizer.form, new.regularizer.layers), (Penalty::Identity, Layers::AboveFirst));
            Preset::ALL.iter().for_each(|&preset| of(preset, rule).check().unwrap());
        }
        use LearningRule::{Bp, Fa, Gait, Itp, Tp};
        assert!([Gait, Itp, Tp].iter().all(|&rule| of(Preset::Paper2020, rule).init == Init::Xavier));
        assert!([Bp, Fa].iter().all(|&rule| of(Preset::Paper2020, rule).init == Init::Orthogonal));
        // λ and ε as the follow-up has them: of a loss summed over the batch.
        let summed = |rule| {
            let TrainConfig { learning_rate, regularizer, beta1, beta2, epsilon, .. } = of(Preset::FollowUp, rule);
            (learning_rate, 256.0 * regularizer.lambda, beta1, beta2, epsilon.map(|epsilon| 256.0 * epsilon))
        };
        assert_eq!(summed(Gait), (1.9e-5, 100.0, Some(0.9), Some(0.999), Some(1e-6)));
        assert_eq!(summed(Bp), (1.9e-5, 0.0, Some(0.9), Some(0.999), Some(1e-6)));
        assert_eq!(summed(Fa), (2.5e-5, 0.0, Some(0.9), Some(0.99), Some(1e-4)));
        assert_eq!(summed(Tp), (1e-5, 256.0 * 1000.0, Some(0.9), Some(0.999), Some(1e-6)));
        assert_eq!(Preset::ALL.map(Preset::epochs), [100, 100, 200]);
    }
}
