//! Grids of options: `lr=1e-4,1e-3`, `lr=1e-4,1e-3,lambda=0,0.1`, and for one rule `gait.lr=1e-3`.

use crate::base::error::{Error, Result};
use crate::rule::LearningRule;
use crate::run::options::Options;
use clap::Parser;
use std::fmt;

/// One option and its values.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    /// The rule that it applies to; `None` for all.
    rule: Option<LearningRule>,
    key: String,
    values: Vec<String>,
}

impl Axis {
    fn name(&self) -> String {
        self.rule.map_or(self.key.clone(), |rule| format!("{rule}.{}", self.key))
    }
}

/// Options that a command accepts in a grid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    /// Only these.
    Only(&'static [&'static str]),
    /// All except these.
    AllBut(&'static [&'static str]),
}

impl Allowed {
    fn check(self, key: &str) -> Result<(), String> {
        match self {
            Self::Only(keys) if !keys.contains(&key) => Err(format!("`{key}` is not one of {}", keys.join(", "))),
            Self::AllBut(keys) if keys.contains(&key) => Err(format!("`{key}` is the same for all runs of a sweep")),
            _ => Ok(()),
        }
    }
}

/// All axes, in the order given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grid(Vec<Axis>);

/// Upper limit that catches typing errors.
const MAX_POINTS: usize = 100_000;

impl Grid {
    /// Parses every value of `--grid`.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid text, an option that is not allowed, or one that is given
    /// twice.
    pub(crate) fn parse(texts: &[String], allowed: Allowed) -> Result<Self> {
        let mut axes: Vec<Axis> = Vec::new();
        for text in texts {
            let wrong = |what: String| Error::Setting(format!("--grid {text}: {what}"));
            let first = axes.len();
            for part in text.split(',').map(str::trim) {
                let value = match part.split_once('=') {
                    Some((key, value)) => {
                        let (rule, key) = match key.trim().split_once('.') {
                            Some((rule, key)) => (Some(rule.parse().map_err(|e: Error| wrong(e.to_string()))?), key),
                            None => (None, key.trim()),
                        };
                        allowed.check(key).map_err(wrong)?;
                        let axis = Axis { rule, key: key.into(), values: Vec::new() };
                        if axes.iter().any(|a| (a.rule, &a.key) == (rule, &axis.key)) {
                            return Err(wrong(format!("`{}` is given twice", axis.name())));
                        }
                        axes.push(axis);
                        value.trim()
                    }
                    None => part,
                };
                let axis =
                    axes[first..].last_mut().ok_or_else(|| wrong("write a setting and its values, as lr=1e-4,1e-3".into()))?;
                if value.is_empty() {
                    return Err(wrong(format!("`{}` has an empty value", axis.name())));
                }
                if axis.values.iter().any(|v| v == value) {
                    return Err(wrong(format!("`{}` has the value {value} twice", axis.name())));
                }
                axis.values.push(value.into());
                Point(vec![(axis.key.clone(), value.into())]).settings()?;
            }
        }
        Ok(Self(axes))
    }

    /// Refuses an axis whose option is also given as a flag.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check_flags(&self, flags: &Options) -> Result<()> {
        let given = flags.table()?;
        match self.0.iter().find(|axis| axis.rule.is_none() && given.contains_key(&axis.key)) {
            Some(Axis { key, .. }) => {
                Err(Error::Setting(format!("--{key} and --grid {key}=… contradict each other: use one of them")))
            }
            None => Ok(()),
        }
    }

    /// Refuses axes of rules that are not in `rules`.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check_rules(&self, rules: &[LearningRule]) -> Result<()> {
        match self.0.iter().find_map(|axis| axis.rule.filter(|rule| !rules.contains(rule)).map(|rule| (rule, axis))) {
            Some((rule, axis)) => Err(Error::Setting(format!("--grid {}=…: {rule} is not among the rules", axis.name()))),
            None => Ok(()),
        }
    }

    /// Lists the options of all axes, each once.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        for axis in &self.0 {
            if !keys.contains(&axis.key.as_str()) {
                keys.push(&axis.key);
            }
        }
        keys
    }

    /// Returns the axes of one rule. Its own axes override those of all rules. γ and the rate of
    /// learned inverses apply only to rules that use them.
    fn axes(&self, rule: Option<LearningRule>) -> Vec<&Axis> {
        let own = |key: &str| self.0.iter().find(|axis| axis.rule.is_some() && axis.rule == rule && axis.key == key);
        let counts = |key: &str| match key {
            "gamma" => matches!(rule, None | Some(LearningRule::Gait | LearningRule::Itp)),
            "inverse-lr" => rule.is_none_or(LearningRule::sends_targets),
            _ => true,
        };
        let general = |key: &str| self.0.iter().find(|axis| axis.rule.is_none() && axis.key == key && counts(key));
        self.keys().into_iter().filter_map(|key| own(key).or(general(key))).collect()
    }

    /// Returns every combination for a rule; the last axis varies fastest. Without axes, returns
    /// one empty point.
    ///
    /// # Errors
    /// [`Error::Setting`] for too many combinations.
    pub(crate) fn points(&self, rule: Option<LearningRule>) -> Result<Vec<Point>> {
        let axes = self.axes(rule);
        let count = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()).filter(|&n| n <= MAX_POINTS));
        if count.is_none() {
            return Err(Error::Setting(format!("--grid: use at most {MAX_POINTS} combinations")));
        }
        let mut points = vec![Point::default()];
        for Axis { key, values, .. } in axes {
            let longer = |point: &Point| {
                let point = point.clone();
                values.iter().map(move |value| Point([point.0.clone(), vec![(key.clone(), value.clone())]].concat()))
            };
            points = points.iter().flat_map(longer).collect();
        }
        Ok(points)
    }

    /// Lists the options of `point` whose value is the smallest or largest of at least three
    /// numbers. A better value may lie outside the grid.
    pub(crate) fn at_the_edge(&self, rule: LearningRule, point: &Point) -> Vec<String> {
        let edge = |axis: &&Axis| {
            let numbers = axis.values.iter().map(|v| v.parse::<f64>()).collect::<Result<Vec<_>, _>>().ok()?;
            let own = point.get(&axis.key)?.parse::<f64>().ok()?;
            let within = numbers.iter().any(|&x| x < own) && numbers.iter().any(|&x| x > own);
            (numbers.len() > 2 && !within).then(|| format!("{}={own}", axis.key))
        };
        self.axes(Some(rule)).iter().filter_map(edge).collect()
    }
}

/// A value for each of several options.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Point(Vec<(String, String)>);

/// Parser of options alone.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Flags {
    #[command(flatten)]
    settings: Options,
}

impl Point {
    /// Returns the value of an option.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Parses the values as flags.
    fn settings(&self) -> Result<Options> {
        let flags = self.0.iter().map(|(key, value)| format!("--{key}={value}"));
        Flags::try_parse_from(flags).map(|flags| flags.settings).map_err(|e| {
            let text = e.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            Error::Setting(format!("--grid {self}: {}", first.trim_start_matches("error: ")))
        })
    }

    /// Returns `flags` overridden by these values, and completed by a file as
    /// [`Options::or`] does.
    ///
    /// # Errors
    /// [`Error::Setting`] for an invalid value.
    pub(crate) fn on(&self, flags: &Options, file: &Options) -> Result<Options> {
        Ok(self.settings()?.over(flags.clone()).or(file.clone()))
    }

    /// Returns a name for a folder.
    pub(crate) fn folder(&self) -> String {
        self.to_string().replace(|c: char| !(c.is_ascii_alphanumeric() || "=,.+-_".contains(c)), "-")
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.pad(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allowed = Allowed::AllBut(&["out"]);

    fn grid(texts: &[&str]) -> Result<Grid> {
        Grid::parse(&texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>(), ALL)
    }

    fn points(texts: &[&str], rule: LearningRule) -> Vec<String> {
        grid(texts).unwrap().points(Some(rule)).unwrap().iter().map(Point::to_string).collect()
    }

    #[test]
    fn every_combination_once_and_in_order() {
        let both = ["lr=1,2,lambda=0,0.1"];
        assert_eq!(points(&both, LearningRule::Bp), ["lr=1,lambda=0", "lr=1,lambda=0.1", "lr=2,lambda=0", "lr=2,lambda=0.1"]);
        assert_eq!(points(&both, LearningRule::Bp), points(&["lr=1, 2", "lambda=0,0.1"], LearningRule::Bp));
        assert_eq!(points(&[], LearningRule::Bp), [""]);
    }

    #[test]
    fn a_rules_own_values_win() {
        let texts = ["lr=1,2", "gait.lr=3", "tp.lambda=4,5", "gamma=0.1,0.2"];
        assert_eq!(points(&texts, LearningRule::Bp), ["lr=1", "lr=2"]);
        assert_eq!(points(&texts, LearningRule::Gait), ["lr=3,gamma=0.1", "lr=3,gamma=0.2"]);
        assert_eq!(points(&texts, LearningRule::Tp), ["lr=1,lambda=4", "lr=1,lambda=5", "lr=2,lambda=4", "lr=2,lambda=5"]);
        assert!(grid(&texts).unwrap().check_rules(&[LearningRule::Bp, LearningRule::Gait]).is_err());
        // Rules without targets have no learned inverses.
        assert_eq!(points(&["inverse-lr=1,2"], LearningRule::Bp), [""]);
        assert_eq!(points(&["inverse-lr=1,2"], LearningRule::Tp), ["inverse-lr=1", "inverse-lr=2"]);
    }

    #[test]
    fn invalid_grids_are_refused() {
        for (text, cause) in [
            ("1e-3", "write a setting"),
            ("lr", "write a setting"),
            ("lr=", "empty"),
            ("lr=1,,2", "empty"),
            ("lr=1,1", "twice"),
            ("lr=1,lr=2", "twice"),
            ("lr=fast", "fast"),
            ("out=a", "out"),
            ("speed=1", "speed"),
            ("xx.lr=1", "xx"),
            ("help=1", "help"),
        ] {
            let message = grid(&[text]).unwrap_err().to_string();
            assert!(message.contains(cause) && message.contains("--grid"), "{text}: {message}");
        }
        let axes = ["lr", "lambda", "gamma", "mu"].map(|key| {
            let values: Vec<String> = (1..20).map(|i| i.to_string()).collect();
            format!("{key}={}", values.join(","))
        });
        assert!(Grid::parse(&axes, ALL).unwrap().points(None).is_err());
    }

    #[test]
    fn values_take_their_places() {
        let base = Options { lr: Some(1.0), batch: Some(7), width: Some(9), ..Options::default() };
        let point = grid(&["lr=1e-3", "layers=8-4", "shuffle=true"]).unwrap().points(None).unwrap().remove(0);
        let on = point.on(&base, &Options::default()).unwrap();
        assert_eq!((on.lr, on.batch, on.shuffle), (Some(1e-3), Some(7), Some(true)));
        // Both descriptions of the network remain; `RunConfig::resolve` refuses them.
        assert!(on.layers.is_some() && on.width == Some(9));
        assert_eq!(point.folder(), "lr=1e-3,layers=8-4,shuffle=true");
        // A file's constants give way to those of another optimizer or preset; flags do not.
        let file: Options = toml::from_str("optimizer = 'published-adam'\nbeta1 = 0.9\nbeta2 = 0.99\nlr = 2.0").unwrap();
        let flags = Options { beta2: Some(0.5), ..Options::default() };
        let at = |text: &str| grid(&[text]).unwrap().points(None).unwrap().remove(0).on(&flags, &file).unwrap();
        let found = |on: Options| (on.beta1, on.beta2, on.lr);
        assert_eq!(found(at("optimizer=adam")), (None, Some(0.5), Some(2.0)));
        assert_eq!(found(at("optimizer=published-adam")), (Some(0.9), Some(0.5), Some(2.0)));
        assert_eq!(found(at("preset=follow-up")), (None, Some(0.5), None));
    }

    #[test]
    fn the_edge_of_a_grid_is_noticed() {
        let grid = grid(&["lr=1,2,3", "lambda=0,1"]).unwrap();
        let at = |i: usize| grid.at_the_edge(LearningRule::Bp, &grid.points(Some(LearningRule::Bp)).unwrap()[i]);
        assert_eq!((at(0), at(2), at(5)), (vec!["lr=1".to_owned()], vec![], vec!["lr=3".to_owned()]));
    }
}
