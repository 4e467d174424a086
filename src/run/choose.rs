//!
//! Choice of options from a grid, by validation.
//!
//! Each trial trains without the validation samples and is scored on them. Test samples take no
//! part.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::data::{Affine, Dataset, Prepared};
use crate::model::loss::Score;
use crate::rule::LearningRule;
use crate::run::batch::{GRID_CSV, Planned, PoolOptions, ResultsDir, TRIALS, fails_one_run, run_missing, train_epochs};
use crate::run::grid::{Grid, Point};
use crate::run::history::mean;
use crate::run::options::Options;
use crate::run::pool::{Bar, StopFlag};
use crate::run::session::Session;
use crate::run::table::csv;
use gaitprop_kernels::Real;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

/// The points to choose from for one rule. A single point needs no trial.
pub(crate) struct Candidates {
    pub(crate) rule: LearningRule,
    pub(crate) points: Vec<Point>,
}

impl Candidates {
    /// Returns whether there is a choice.
    pub(crate) fn several(&self) -> bool {
        self.points.len() > 1
    }
}

/// The point chosen for one rule, or the reason why none could be.
pub(crate) struct Choice {
    pub(crate) rule: LearningRule,
    pub(crate) point: Result<Point, String>,
}

/// One point with one seed.
struct Trial {
    candidates: usize,
    point: usize,
    planned: Planned,
}

/// All trials of a grid, planned but not run.
pub(crate) struct Trials {
    all: Vec<Trial>,
    data: Dataset,
    seeds: usize,
}

impl Trials {
    /// Plans every point of every rule that has a choice, with all `seeds`. `data` must have
    /// validation samples; its test samples are dropped here.
    ///
    /// # Errors
    /// As [`Planned::new`]; [`Error::Setting`] for two points that resolve to the same options.
    pub(crate) fn plan(
        candidates: &[Candidates],
        options: &Options,
        seeds: &[u64],
        set: &str,
        mut data: Dataset,
    ) -> Result<Self> {
        if let Some(held) = &data.validation {
            data.test = held.clone();
        }
        let mut all: Vec<Trial> = Vec::new();
        for (c, Candidates { rule, points }) in candidates.iter().enumerate().filter(|(_, c)| c.several()) {
            for (p, point) in points.iter().enumerate() {
                for &seed in seeds {
                    let planned = Planned::new(options, point, (Some(*rule), seed), (set, &data), None)?;
                    if let Some(twin) = all.iter().find(|t| t.planned.settings == planned.settings) {
                        let twin = &points[twin.point];
                        return Err(Error::Setting(format!("--grid: {twin} and {point} are the same for {rule}")));
                    }
                    all.push(Trial { candidates: c, point: p, planned });
                }
            }
        }
        Ok(Self { all, data, seeds: seeds.len() })
    }

    /// Returns the number of validation samples, or `None` without trials.
    pub(crate) fn validation_len(&self) -> Option<usize> {
        self.data.validation.as_ref().filter(|_| !self.all.is_empty()).map(crate::data::Split::len)
    }

    ///
    /// Runs the trials that `results` does not hold yet, and chooses a point for each rule. Returns
    /// `None` if interrupted.
    ///
    /// The highest mean accuracy wins; ties go to the smaller mean loss, then to the earlier point.
    /// A point that fails with any seed is not chosen.
    ///
    /// # Errors
    /// The first error that does not [concern one run only](fails_one_run).
    pub(crate) fn choose<T: Real>(
        self,
        candidates: &[Candidates],
        grid: &Grid,
        results: Option<&ResultsDir>,
        pool: &PoolOptions<'_>,
    ) -> Result<Option<Vec<Choice>>> {
        let Some(tried) = self.run::<T>(results, pool)? else { return Ok(None) };
        let mut choices = Vec::new();
        let mut rows = vec![["rule"].into_iter().chain(grid.keys()).chain(CSV_REST).map(str::to_owned).collect::<Vec<_>>()];
        for (c, Candidates { rule, points }) in candidates.iter().enumerate() {
            if points.len() == 1 {
                choices.push(Choice { rule: *rule, point: Ok(points[0].clone()) });
                continue;
            }
            let of = |p: usize| {
                self.all.iter().zip(&tried).filter(move |(t, _)| (t.candidates, t.point) == (c, p)).map(|(_, tried)| tried)
            };
            let verdicts: Vec<_> = (0..points.len()).map(|p| Verdict::of(of(p))).collect();
            let best = (0..points.len()).reduce(|best, p| if verdicts[p].better(&verdicts[best]) { p } else { best });
            let best = best.filter(|&p| verdicts[p].error.is_none());
            for (p, (point, verdict)) in points.iter().zip(&verdicts).enumerate() {
                let mut row = vec![rule.to_string()];
                row.extend(grid.keys().iter().map(|key| point.get(key).unwrap_or_default().to_owned()));
                let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
                row.extend([self.seeds.to_string(), number(verdict.accuracy), number(verdict.loss)]);
                row.push(if best == Some(p) { "yes" } else { "no" }.into());
                row.push(verdict.error.clone().unwrap_or_default());
                rows.push(row);
            }
            let none = || format!("no choice of the grid can be trained: {}", verdicts[0].error.as_deref().unwrap_or_default());
            choices.push(Choice { rule: *rule, point: best.map(|p| points[p].clone()).ok_or_else(none) });
        }
        if let Some(results) = results.filter(|_| !self.all.is_empty()) {
            results.write(&results.path(GRID_CSV), csv(&rows).as_bytes())?;
        }
        Ok(Some(choices))
    }

    /// Runs the missing trials. Returns the results of all, or `None` if interrupted.
    fn run<T: Real>(&self, results: Option<&ResultsDir>, pool: &PoolOptions<'_>) -> Result<Option<Vec<TrialResult>>> {
        let Some(first) = self.all.first() else { return Ok(Some(Vec::new())) };
        let inputs = self.data.affine(first.planned.run.scale);
        let ready = self.data.apply::<T>(&inputs)?;
        let log = results.map(Log::open).transpose()?;
        let known = log.as_ref().map_or(&[][..], |log| &log.known);
        let find = |t: &Trial| known.iter().find(|k| k.settings == t.planned.settings).cloned();
        let runs: Vec<_> = self.all.iter().map(|trial| &trial.planned).collect();
        let work = |planned: &Planned, bar: &Bar, stop: &StopFlag<'_>| {
            let validated = validate(planned, (&ready, &inputs), |session| train_epochs(session, bar, stop, |_, _| Ok(())));
            let tried = match validated {
                Ok(None) => return Ok(None),
                Ok(Some(score)) => TrialResult::new(planned, Some(score), None),
                Err(e) if fails_one_run(&e) => TrialResult::new(planned, None, Some(e.to_string())),
                Err(e) => return Err(e),
            };
            log.as_ref().map_or(Ok(()), |log| log.add(&tried))?;
            Ok(Some(tried))
        };
        let known = self.all.iter().map(find).collect();
        let (tried, _) = run_missing::<T, _>("grid", &runs, known, ready.train.len, pool, work)?;
        Ok(tried.into_iter().collect())
    }
}

/// Trains a run and scores it on the validation samples. Returns `None` if interrupted.
fn validate<'a, T: Real>(
    planned: &'a Planned,
    (ready, inputs): (&'a Prepared<T>, &'a Affine),
    train: impl FnOnce(&mut Session<'a, T>) -> Result<bool>,
) -> Result<Option<Score>> {
    let mut session = Session::new(&planned.run, (ready, inputs), planned.run.runtime.plan(gaitprop_kernels::Par::Seq), None)?;
    if !train(&mut session)? {
        return Ok(None);
    }
    // The caller of `Trials::plan` has held them out.
    ready.validation.as_ref().map(|held| session.trainer().evaluate(held)).transpose()
}

/// Columns after those of the options.
const CSV_REST: [&str; 5] = ["seeds", "validation_accuracy", "validation_loss", "chosen", "error"];

/// Result of a trial: a line of the log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct TrialResult {
    /// Options that decide the trial.
    settings: Options,
    validation_accuracy: Option<f64>,
    validation_loss: Option<f64>,
    error: Option<String>,
}

impl TrialResult {
    fn new(planned: &Planned, score: Option<Score>, error: Option<String>) -> Self {
        Self {
            settings: planned.settings.clone(),
            validation_accuracy: score.map(|s| s.accuracy()),
            validation_loss: score.map(|s| s.mean_loss()).filter(|loss| loss.is_finite()),
            error,
        }
    }
}

/// Result of a point: means over its trials.
struct Verdict {
    accuracy: Option<f64>,
    loss: Option<f64>,
    error: Option<String>,
}

impl Verdict {
    fn of<'t>(tried: impl Iterator<Item = &'t TrialResult> + Clone) -> Self {
        Self {
            accuracy: mean(tried.clone().filter_map(|t| t.validation_accuracy)),
            loss: mean(tried.clone().map(|t| t.validation_loss.unwrap_or(f64::INFINITY))).filter(|loss| loss.is_finite()),
            error: tried.filter_map(|t| t.error.clone()).next(),
        }
    }

    fn better(&self, other: &Self) -> bool {
        let key = |v: &Self| (v.error.is_none(), v.accuracy.unwrap_or(-1.0), -v.loss.unwrap_or(f64::INFINITY));
        let ((whole, accuracy, loss), (other_whole, other_accuracy, other_loss)) = (key(self), key(other));
        let order = whole.cmp(&other_whole).then(accuracy.total_cmp(&other_accuracy)).then(loss.total_cmp(&other_loss));
        order == Ordering::Greater
    }
}

/// Log of finished trials, a line of JSON each.
struct Log {
    known: Vec<TrialResult>,
    file: Mutex<File>,
    path: std::path::PathBuf,
}

impl Log {
    fn open(results: &ResultsDir) -> Result<Self> {
        let path = results.path(TRIALS);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(Error::io("read", &path))?,
        };
        // A line cut off by a crash is dropped; its trial runs again.
        let whole: Vec<_> =
            text.lines().filter_map(|line| Some((line, serde_json::from_str::<TrialResult>(line).ok()?))).collect();
        let (lines, known): (Vec<_>, Vec<_>) = whole.into_iter().unzip();
        let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
        files::write_atomically(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        let file = File::options().append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { known, file: Mutex::new(file), path })
    }

    fn add(&self, tried: &TrialResult) -> Result<()> {
        let wrong = |what: String| Error::File { path: self.path.clone(), what: format!("cannot be written: {what}") };
        let line = serde_json::to_string(tried).map_err(|e| wrong(e.to_string()))? + "\n";
        let mut file = self.file.lock().map_err(|e| wrong(e.to_string()))?;
        file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(accuracy: f64, loss: f64) -> TrialResult {
        let score = (Some(accuracy), Some(loss).filter(|x| x.is_finite()));
        TrialResult { settings: Options::default(), validation_accuracy: score.0, validation_loss: score.1, error: None }
    }

    #[test]
    fn accuracy_then_loss_then_order() {
        let of = |all: &[TrialResult]| Verdict::of(all.iter());
        let good = of(&[tried(0.75, 2.0), tried(0.25, 1.0)]);
        assert_eq!((good.accuracy, good.loss), (Some(0.5), Some(1.5)));
        assert!(of(&[tried(0.75, 9.0)]).better(&good) && !good.better(&of(&[tried(0.75, 9.0)])));
        assert!(of(&[tried(0.5, 1.25)]).better(&good) && !good.better(&of(&[tried(0.5, 1.25)])));
        assert!(!of(&[tried(0.5, 1.5)]).better(&good) && !good.better(&of(&[tried(0.5, 1.5)])));
        assert!(good.better(&of(&[tried(0.5, f64::NAN)])));
        let failed = of(&[tried(1.0, 0.0), TrialResult { error: Some("diverged".into()), ..tried(0.0, 0.0) }]);
        assert!(good.better(&failed) && !failed.better(&good));
    }
}
