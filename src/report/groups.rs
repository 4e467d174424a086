//! Runs that differ in their seed alone are one group.

use crate::report::runs::{Line, Run, value_text};
use std::collections::{BTreeMap, BTreeSet};

/// Settings that do not make another experiment: the seed, where results go and how often they are written, and what a result
/// hardly depends on.
const ASIDE: [&str; 17] = [
    "seed",
    "out",
    "beside",
    "threads",
    "isa",
    "backend",
    "resume",
    "overwrite",
    "quiet",
    "profile",
    "keep",
    "checkpoint-every",
    "checkpoint-seconds",
    "diagnostics-every",
    "diagnose-every",
    "tensorboard",
    "jobs",
];

/// Longer labels are replaced by the rule and a number.
const LONGEST_LABEL: usize = 34;

/// Runs with the same settings but for the seed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// The rule, and what tells it from other groups of that rule.
    pub label: String,
    /// By seed.
    pub runs: Vec<Run>,
}

impl Group {
    /// The learning rule's name.
    pub fn rule(&self) -> &str {
        &self.runs[0].rule
    }
    /// One figure a run.
    pub fn each(&self, of: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(of).collect()
    }
    /// The settings that make the experiment.
    pub fn settings(&self) -> BTreeMap<&str, String> {
        let config = self.runs[0].config.iter().flatten();
        config.filter(|(key, _)| !ASIDE.contains(&key.as_str())).map(|(key, value)| (key.as_str(), value_text(value))).collect()
    }
    /// `seeds 1, 2, 3`.
    pub fn seeds(&self) -> String {
        let list: Vec<String> = self.runs.iter().filter_map(|run| run.seed().map(|s| s.to_string())).collect();
        list.join(", ")
    }
}

/// Runs in groups, in the order in which the first of each was found.
pub fn group(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<(Option<toml::Table>, Group)> = Vec::new();
    for run in runs {
        let key = run.config.clone().map(|mut config| {
            config.retain(|key, _| !ASIDE.contains(&key));
            config
        });
        // Of a run without a configuration nobody knows what it is the same as.
        match groups.iter_mut().find(|(other, g)| key.is_some() && *other == key && g.rule() == run.rule) {
            Some((_, group)) => group.runs.push(run),
            None => groups.push((key, Group { label: String::new(), runs: vec![run] })),
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

fn labels(groups: &[Group]) -> Vec<String> {
    let label = |(index, group): (usize, &Group)| {
        // A rule of another program's, which may be called anything.
        let rule: String = group.rule().chars().take(LONGEST_LABEL - 6).collect();
        let alike: Vec<&Group> = groups.iter().filter(|other| other.rule() == group.rule()).collect();
        if alike.len() == 1 {
            return rule;
        }
        let mut parts = Vec::new();
        for key in differing(&alike) {
            parts.push(format!("{key} {}", group.settings().get(key.as_str()).map_or("–", String::as_str)));
        }
        if group.runs[0].config.is_none() {
            parts = vec![group.runs[0].dir.display().to_string()];
        }
        let label = format!("{rule} ({})", parts.join(", "));
        let number = || 1 + groups[..index].iter().filter(|other| other.rule() == group.rule()).count();
        if label.chars().count() <= LONGEST_LABEL { label } else { format!("{rule} #{}", number()) }
    };
    groups.iter().enumerate().map(label).collect()
}

/// Names of the settings in which groups differ, the rule first.
pub(super) fn differing(groups: &[&Group]) -> Vec<String> {
    let settings: Vec<_> = groups.iter().map(|g| g.settings()).collect();
    let keys: BTreeSet<&str> = settings.iter().flat_map(|s| s.keys().copied()).collect();
    let differs = |key: &&str| settings.iter().any(|s| s.get(key) != settings[0].get(key));
    let mut keys: Vec<String> = keys.into_iter().filter(differs).map(str::to_owned).collect();
    keys.sort_by_key(|key| key != "rule");
    keys
}

/// Mean and, of two or more, sample standard deviation of what is finite; NaN of nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, divisor n − 1.
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let n = finite.len() as f64;
        let mean = finite.iter().sum::<f64>() / n;
        let squares: f64 = finite.iter().map(|v| (v - mean) * (v - mean)).sum();
        Self { mean, deviation: (finite.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) }
    }
}

/// A group's course: mean and extremes over its runs at each point of x where a run has a line. NaN where no run has a finite value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Course {
    pub(super) x: Vec<f64>,
    pub(super) mean: Vec<f64>,
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
}

impl Course {
    /// Of a figure in the lines that `lines` takes from a run, against the whole number `x` in them.
    pub(super) fn of(group: &Group, lines: impl Fn(&Run) -> &[Line], x: &str, value: impl Fn(&Line) -> f64) -> Self {
        let mut points = BTreeMap::<u64, Vec<f64>>::new();
        for line in group.runs.iter().flat_map(&lines) {
            // Lines without it were not kept.
            points.entry(line.number(x) as u64).or_default().push(value(line));
        }
        let points: Vec<(f64, Vec<f64>)> = points.into_iter().map(|(x, values)| (x as f64, values)).collect();
        Self::over(&points)
    }

    /// Of values at points of x.
    pub(super) fn over(points: &[(f64, Vec<f64>)]) -> Self {
        let mut course = Self::default();
        for (x, values) in points {
            let finite = || values.iter().copied().filter(|v| v.is_finite());
            let extreme = |of: fn(f64, f64) -> f64| finite().fold(f64::NAN, of);
            course.x.push(*x);
            course.mean.push(Spread::of(values).mean);
            // The extreme of a NaN and a number is the number.
            course.low.push(extreme(f64::min));
            course.high.push(extreme(f64::max));
        }
        course
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.mean.iter().any(|v| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_by_hand() {
        let spread = Spread::of(&[1.0, f64::NAN, 2.0, 6.0]);
        assert_eq!(spread, Spread { mean: 3.0, deviation: Some(7f64.sqrt()) });
        assert_eq!(Spread::of(&[5.0]), Spread { mean: 5.0, deviation: None });
        assert!(Spread::of(&[]).mean.is_nan());
    }

    #[test]
    fn courses_have_gaps_where_nothing_is_known() {
        let course = Course::over(&[(1.0, vec![2.0, 4.0]), (2.0, vec![f64::NAN]), (3.0, vec![f64::NAN, 1.0])]);
        assert_eq!((course.mean[0], course.low[0], course.high[0]), (3.0, 2.0, 4.0));
        assert!(course.mean[1].is_nan() && course.low[1].is_nan() && course.high[1].is_nan());
        assert_eq!((course.mean[2], course.low[2], course.high[2]), (1.0, 1.0, 1.0));
    }
}
