//! Groups of runs that differ only in the seed.

use crate::report::runs::{Run, value_text};
use crate::run::history::{MeanSd, mean};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

/// Settings that do not distinguish experiments: the seed, the preset whose settings are spelled
/// out, output options, and options of the machine. `stats-every` is not among them, since it
/// changes the peak training accuracy.
const ASIDE: [&str; 10] =
    ["seed", "preset", "beside", "threads", "isa", "backend", "keep", "checkpoint-every", "diagnose-every", "tensorboard"];

/// Largest length of a label.
const LONGEST_LABEL: usize = 34;

/// Runs with equal settings, except the seed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// Learning rule, and the settings or folder that distinguish it from groups of the same rule.
    pub label: String,
    /// Runs, ordered by seed.
    pub runs: Vec<Run>,
    /// Number of runs that were left out, as they repeat the results of one of `runs`.
    pub(super) copies: usize,
}

impl Group {
    /// Returns the name of the learning rule.
    pub fn rule(&self) -> &str {
        &self.runs[0].rule
    }
    /// Returns mean and standard deviation over the runs with a finite value.
    pub(crate) fn statistics(&self, of: fn(&Run) -> f64) -> Option<MeanSd> {
        MeanSd::of(self.runs.iter().map(of).filter(|x| x.is_finite()))
    }
    /// Returns the settings that define the experiment.
    pub fn settings(&self) -> BTreeMap<&str, String> {
        let config = self.runs[0].config.iter().flatten();
        config.filter(|(key, _)| !ASIDE.contains(&key.as_str())).map(|(key, value)| (key.as_str(), value_text(value))).collect()
    }
    /// Counts the runs: `3`, `3 (1 unfinished)`.
    pub(super) fn count(&self) -> String {
        let unfinished = self.runs.iter().filter(|run| !run.finished()).count();
        let aside = [(unfinished, "unfinished"), (self.copies, "left out as copies")];
        let aside = aside.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>().join(", ");
        if aside.is_empty() { self.runs.len().to_string() } else { format!("{} ({aside})", self.runs.len()) }
    }
    /// Returns the seeds: `1, 2, 3`.
    pub fn seeds(&self) -> String {
        let list: Vec<String> = self.runs.iter().filter_map(|run| run.seed().map(|s| s.to_string())).collect();
        list.join(", ")
    }
}

/// Groups runs, in the order of the first run of each group. Runs of one group with the same seed
/// and the same results count once: one training in several folders, or repeated on another
/// machine. The one with the most diagnostics is kept.
pub fn group(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<(Option<toml::Table>, Group)> = Vec::new();
    for run in runs {
        let key = run.config.clone().map(|mut config| {
            config.retain(|key, _| !ASIDE.contains(&key));
            config
        });
        // A run without config.toml forms its own group.
        match groups.iter_mut().find(|(other, g)| key.is_some() && *other == key && g.rule() == run.rule) {
            Some((_, group)) => match group.runs.iter_mut().find(|kept| kept.repeats(&run)) {
                Some(kept) => {
                    group.copies += 1;
                    if run.diagnostics.len() > kept.diagnostics.len() {
                        *kept = run;
                    }
                }
                None => group.runs.push(run),
            },
            None => groups.push((key, Group { label: String::new(), runs: vec![run], copies: 0 })),
        }
    }
    let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
    for group in &mut groups {
        group.runs.sort_by_key(Run::seed);
    }
    let labels = labels(&groups);
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
    }
    groups
}

/// Labels groups of one rule by the settings in which they differ. If one of these labels is too
/// long, labels them by their folders, and if that fails, by number.
fn labels(groups: &[Group]) -> Vec<String> {
    let mut labels = vec![String::new(); groups.len()];
    let fit = |labels: &Vec<String>| labels.iter().all(|label| label.chars().count() <= LONGEST_LABEL);
    for name in groups.iter().map(Group::rule).collect::<BTreeSet<_>>() {
        // Metrics of another program may contain a long name.
        let rule: String = name.chars().take(LONGEST_LABEL - 6).collect();
        let (places, alike): (Vec<usize>, Vec<&Group>) = groups.iter().enumerate().filter(|(_, g)| g.rule() == name).unzip();
        let of_rule = match alike.len() {
            1 => vec![rule],
            _ => [Some(by_settings(&rule, &alike)), by_folder(&rule, &alike)]
                .into_iter()
                .flatten()
                .find(fit)
                .unwrap_or_else(|| (1..=alike.len()).map(|number| format!("{rule} #{number}")).collect()),
        };
        for (place, label) in places.into_iter().zip(of_rule) {
            labels[place] = label;
        }
    }
    labels
}

fn by_settings(rule: &str, groups: &[&Group]) -> Vec<String> {
    let differing = differing(groups);
    let label = |group: &&Group| {
        let settings = group.settings();
        let part = |key: &String| format!("{key} {}", settings.get(key.as_str()).map_or("–", String::as_str));
        let parts = match &group.runs[0] {
            run if run.config.is_none() => run.dir.display().to_string(),
            _ => differing.iter().map(part).collect::<Vec<_>>().join(", "),
        };
        format!("{rule} ({parts})")
    };
    groups.iter().map(label).collect()
}

/// Labels groups by the folders of their first runs, without `seed-N` and without the components
/// that all of them begin with. A folder with the rule in its name is a label by itself. Returns
/// `None` if that leaves nothing of a folder, or two groups with one label.
fn by_folder(rule: &str, groups: &[&Group]) -> Option<Vec<String>> {
    fn folder<'g>(group: &&'g Group) -> Vec<Cow<'g, str>> {
        let mut parts: Vec<_> = group.runs[0].dir.iter().map(OsStr::to_string_lossy).collect();
        parts.pop_if(|last| last.starts_with("seed-"));
        parts
    }
    let folders: Vec<_> = groups.iter().map(folder).collect();
    let same = |i: &usize| folders.iter().all(|parts| parts.get(*i).is_some_and(|part| Some(part) == folders[0].get(*i)));
    let begin = (0..).take_while(same).count();
    let label = |parts: &Vec<Cow<'_, str>>| {
        let name = parts[begin..].join("/");
        let has_rule = name.split(|c: char| !c.is_alphanumeric()).any(|word| word == rule);
        (!name.is_empty()).then(|| if has_rule { name } else { format!("{rule} ({name})") })
    };
    let labels = folders.iter().map(label).collect::<Option<Vec<_>>>()?;
    (labels.iter().collect::<BTreeSet<_>>().len() == labels.len()).then_some(labels)
}

/// Returns the names of the settings in which groups differ, the rule first.
pub(super) fn differing(groups: &[&Group]) -> Vec<String> {
    let settings: Vec<_> = groups.iter().map(|g| g.settings()).collect();
    let keys: BTreeSet<&str> = settings.iter().flat_map(|s| s.keys().copied()).collect();
    let differs = |key: &&str| settings.iter().any(|s| s.get(key) != settings[0].get(key));
    let mut keys: Vec<String> = keys.into_iter().filter(differs).map(str::to_owned).collect();
    keys.sort_by_key(|key| key != "rule");
    keys
}

/// Mean and extremes over the runs of a group, at each x for which a run has a line.
///
/// NaN where no run has a finite value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Course {
    pub(super) x: Vec<f64>,
    pub(super) mean: Vec<f64>,
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
}

impl Course {
    /// Computes the course of points of all runs, at numbers x of at least 0.
    pub(super) fn of(points: impl Iterator<Item = (f64, f64)>) -> Self {
        // Bits of such numbers are in their order.
        let mut all = BTreeMap::<u64, Vec<f64>>::new();
        points.for_each(|(x, y)| all.entry(x.to_bits()).or_default().push(y));
        let mut course = Self::default();
        for (bits, values) in all {
            let finite = || values.iter().copied().filter(|v| v.is_finite());
            let extreme = |of: fn(f64, f64) -> f64| finite().fold(f64::NAN, of);
            course.x.push(f64::from_bits(bits));
            course.mean.push(mean(finite()).unwrap_or(f64::NAN));
            // `min` and `max` of NaN and a number return the number.
            course.low.push(extreme(f64::min));
            course.high.push(extreme(f64::max));
        }
        course
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_have_gaps_at_missing_values() {
        let course = Course::of([(1.0, 2.0), (1.0, 4.0), (1.5, f64::NAN), (3.0, f64::NAN), (3.0, 1.0)].into_iter());
        assert_eq!(course.x, [1.0, 1.5, 3.0]);
        assert_eq!((course.mean[0], course.low[0], course.high[0]), (3.0, 2.0, 4.0));
        assert!(course.mean[1].is_nan() && course.low[1].is_nan() && course.high[1].is_nan());
        assert_eq!((course.mean[2], course.low[2], course.high[2]), (1.0, 1.0, 1.0));
    }
}
