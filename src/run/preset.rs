//! Presets as options, and the settings that replace some of theirs.

use crate::base::error::Result;
use crate::model::activation;
use crate::rule::LearningRule;
use crate::run::options::{Holding, Options, Regularizing, Unit, shown};
use crate::train::{Preset, TrainConfig};
use std::path::Path;

/// Returns the settings of a preset for a rule, without those of this crate alone.
///
/// # Errors
/// As [`TrainConfig::optimizer_config`].
fn settings(preset: Preset, rule: LearningRule) -> Result<Options> {
    let train = TrainConfig::preset(preset, rule);
    let optimizer = train.optimizer_config()?;
    Ok(Options {
        gamma: Some(train.gamma),
        regularizer: Some(Regularizing::Exact),
        lambda: Some(train.regularizer.lambda),
        ortho_form: Some(train.regularizer.form),
        ortho_side: Some(train.regularizer.side),
        ortho_layers: Some(train.regularizer.layers),
        hold: Some(Holding::None),
        activation: Some(Unit(activation::PUBLISHED)),
        init: Some(train.init),
        loss: Some(train.loss),
        optimizer: Some(train.optimizer),
        lr: Some(train.learning_rate),
        beta1: Some(optimizer.beta1),
        beta2: Some(optimizer.beta2),
        epsilon: Some(optimizer.epsilon),
        weight_decay: Some(train.weight_decay),
        batch: Some(train.batch),
        epochs: Some(preset.epochs()),
        shuffle: Some(train.shuffle),
        ..Options::default()
    })
}

/// Names the settings of a file that a preset among the flags replaces: `--preset paper replaces
/// lr, epochs of my.toml`. Leaves out those that flags or a `grid` give too. `runs` are the resolved
/// options of all runs.
///
/// # Errors
/// As [`Options::table`].
pub(crate) fn dropped<'a>(
    (flags, grid): (&Options, &[&str]),
    (path, file): (&Path, &Options),
    runs: impl IntoIterator<Item = &'a Options>,
) -> Result<Option<String>> {
    let Some(preset) = flags.preset else { return Ok(None) };
    let (given, kept) = (flags.table()?, file.clone().without_preset().table()?);
    let mut dropped = file.table()?;
    dropped.retain(|key, _| !kept.contains_key(key) && !given.contains_key(key) && !grid.contains(&key));
    let runs = runs.into_iter().map(Options::table).collect::<Result<Vec<_>>>()?;
    dropped.retain(|key, value| runs.iter().any(|run| run.get(key) != Some(value)));
    let dropped: Vec<String> = dropped.into_iter().map(|(key, _)| key).collect();
    let note = || format!("--preset {preset} replaces {} of {}", dropped.join(", "), path.display());
    Ok((!dropped.is_empty()).then(note))
}

/// Names the settings that replace others of a preset: `--lr 0.001 replaces 1e-4 of --preset
/// paper`. `rules` are those of all runs. Returns `None` without a preset, or if nothing is replaced.
///
/// # Errors
/// As [`Options::table`].
pub(crate) fn replacements(options: &Options, rules: &[LearningRule]) -> Result<Option<String>> {
    let Some(preset) = options.preset else { return Ok(None) };
    let held = options.holding() != Holding::None;
    let given = Options { hold: held.then(|| options.holding()), ..options.clone() }.table()?;
    let presets = rules.iter().map(|&rule| settings(preset, rule)?.table()).collect::<Result<Vec<_>>>()?;
    let replaced = given.iter().filter_map(|(key, value)| {
        let mut others: Vec<String> = Vec::new();
        for other in presets.iter().filter_map(|of| of.get(key)).filter(|of| *of != value).map(shown) {
            if !others.contains(&other) {
                others.push(other);
            }
        }
        let with = match key.as_str() {
            "optimizer" => " with its constants",
            // Given alone, these holds come without a regularizer.
            "hold" if options.regularizer.is_none() && options.holding().regularizing() == Regularizing::None => {
                " with its regularizer"
            }
            _ => "",
        };
        (!others.is_empty()).then(|| format!("--{key} {} replaces {}{with}", shown(value), others.join(" and ")))
    });
    let replaced: Vec<String> = replaced.collect();
    Ok((!replaced.is_empty()).then(|| format!("{} of --preset {preset}", replaced.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::TargetForm;
    use crate::step::optimizer::OptimizerKind;

    fn note(options: Options, rules: &[LearningRule]) -> Option<String> {
        replacements(&Options { preset: Some(Preset::Paper), ..options }, rules).unwrap()
    }

    #[test]
    fn replaced_settings_are_named() {
        use LearningRule::{Bp, Gait, Tp};
        assert_eq!(note(Options::default(), &[Gait]), None);
        assert_eq!(replacements(&Options { lr: Some(0.5), ..Options::default() }, &[Gait]).unwrap(), None);
        let lr = || Options { lr: Some(1e-3), ..Options::default() };
        assert_eq!(note(lr(), &[Gait]).unwrap(), "--lr 0.001 replaces 1e-4 of --preset paper");
        // The same value is no replacement, also of one rule among several.
        let own = || Options { lr: Some(1e-4), ..Options::default() };
        assert_eq!(note(own(), &[Bp, Gait]), None);
        assert_eq!(note(own(), &[Gait, Tp]).unwrap(), "--lr 1e-4 replaces 1e-5 of --preset paper");
        let both = Options { epochs: Some(10), seed: Some(7), ..lr() };
        let text = "--epochs 10 replaces 100, --lr 0.001 replaces 1e-4 and 1e-5 of --preset paper";
        assert_eq!(note(both, &[Gait, Tp, Bp]).unwrap(), text);
        // The form that this crate adds is not the preset's.
        assert_eq!(note(Options { form: Some(TargetForm::Absolute), ..Options::default() }, &[Gait]), None);
        let decayed = || Options { weight_decay: Some(0.01), ..Options::default() };
        assert_eq!(note(decayed(), &[LearningRule::Kp]).unwrap(), "--weight-decay 0.01 replaces 3e-4 of --preset paper");
        let held = Options { retract_every: Some(5), ..Options::default() };
        assert_eq!(note(held, &[Gait]).unwrap(), "--hold retract replaces none of --preset paper");
        let block = Options { hold: Some(Holding::Block), ..Options::default() };
        assert_eq!(note(block, &[Gait]).unwrap(), "--hold block replaces none with its regularizer of --preset paper");
        let sgd = Options { optimizer: Some(OptimizerKind::Sgd), ..Options::default() };
        assert_eq!(note(sgd, &[Gait]).unwrap(), "--optimizer sgd replaces published-adam with its constants of --preset paper");
    }
}
