//! Choice of options from a grid, by validation.
//!
//! Each trial trains without the validation samples and is scored on them. Test samples take no
//! part.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::data::Dataset;
use crate::rule::LearningRule;
use crate::run::batch::{GRID_CSV, Planned, ResultsDir, TRIALS, fails_one_run, run_missing};
use crate::run::config::completed;
use crate::run::grid::{Grid, Point};
use crate::run::history::mean;
use crate::run::options::Options;
use crate::run::pool::PoolOptions;
use crate::run::session::{MeasureLevel, Session};
use crate::run::table::{csv, number};
use gaitprop_kernels::Real;
use serde::{Deserialize, Serialize};
use std::fs::File;
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

/// All trials of a grid, planned but not run.
pub(crate) struct Trials {
    /// The runs of every seed, point and rule that has a choice; the seed varies fastest.
    runs: Vec<Planned>,
    data: Dataset,
    seeds: usize,
}

impl Trials {
    /// Plans every point of every rule that has a choice, with all `seeds`. `options` are flags and
    /// file. `data` must have validation samples; its test samples are dropped here.
    ///
    /// # Errors
    /// As [`Planned::new`]; [`Error::Setting`] for two points that resolve to the same options.
    pub(crate) fn plan(
        candidates: &[Candidates],
        options: (&Options, &Options),
        seeds: &[u64],
        set: &str,
        mut data: Dataset,
    ) -> Result<Self> {
        if let Some(held) = &data.validation {
            data.test = held.clone();
        }
        let mut runs: Vec<Planned> = Vec::new();
        for Candidates { rule, points } in candidates.iter().filter(|c| c.several()) {
            let first = runs.len();
            for point in points {
                for &seed in seeds {
                    let planned = Planned::new(options, point, (Some(*rule), seed), (set, &data), None)?;
                    if let Some(twin) = runs[first..].iter().position(|run| run.settings == planned.settings) {
                        let twin = &points[twin / seeds.len()];
                        return Err(Error::Setting(format!("--grid: {twin} and {point} are the same for {rule}")));
                    }
                    runs.push(planned);
                }
            }
        }
        Ok(Self { runs, data, seeds: seeds.len() })
    }

    /// Returns the number of validation samples, or `None` without trials.
    pub(crate) fn validation_len(&self) -> Option<usize> {
        self.data.validation.as_ref().filter(|_| !self.runs.is_empty()).map(crate::data::Split::len)
    }

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
        let mut verdicts = tried.chunks(self.seeds.max(1)).map(Verdict::of);
        let mut choices = Vec::new();
        let mut rows = vec![["rule"].into_iter().chain(grid.keys()).chain(CSV_REST).map(str::to_owned).collect::<Vec<_>>()];
        for candidates in candidates {
            let Candidates { rule, points } = candidates;
            if !candidates.several() {
                choices.push(Choice { rule: *rule, point: Ok(points[0].clone()) });
                continue;
            }
            let verdicts: Vec<_> = verdicts.by_ref().take(points.len()).collect();
            let best = (0..points.len()).reduce(|best, p| if verdicts[p].better(&verdicts[best]) { p } else { best });
            let best = best.filter(|&p| verdicts[p].error.is_none());
            for (p, (point, verdict)) in points.iter().zip(&verdicts).enumerate() {
                let mut row = vec![rule.to_string()];
                row.extend(grid.keys().iter().map(|key| point.get(key).unwrap_or_default().to_owned()));
                row.extend([self.seeds.to_string(), number(verdict.accuracy), number(verdict.loss)]);
                row.push(if best == Some(p) { "yes" } else { "no" }.into());
                row.push(verdict.error.clone().unwrap_or_default());
                rows.push(row);
            }
            let none = || {
                format!(
                    "no choice of --grid can be trained (add smaller rates): {}",
                    verdicts[0].error.as_deref().unwrap_or_default()
                )
            };
            choices.push(Choice { rule: *rule, point: best.map(|p| points[p].clone()).ok_or_else(none) });
        }
        if let Some(results) = results.filter(|_| !self.runs.is_empty()) {
            results.write(GRID_CSV, &csv(&rows))?;
        }
        Ok(Some(choices))
    }

    /// Runs the missing trials. Returns the results of all, or `None` if interrupted.
    fn run<T: Real>(&self, results: Option<&ResultsDir>, pool: &PoolOptions<'_>) -> Result<Option<Vec<TrialResult>>> {
        let log = results.filter(|_| !self.runs.is_empty()).map(Log::open).transpose()?;
        let known = log.as_ref().map_or(&[][..], |log| &log.known);
        let known =
            self.runs.iter().map(|run| known.iter().find(|k| k.settings == completed(run.settings.clone())).cloned()).collect();
        let conclude = |planned: &Planned, session: Session<'_, T>, trained: Result<()>| {
            let (score, error) = match trained.and_then(|()| session.validate()) {
                Ok(_) if !session.over() => return Ok(None),
                Ok(score) => (score, None),
                Err(e) if fails_one_run(&e) => (None, Some(e.to_string())),
                Err(e) => return Err(e),
            };
            let tried = TrialResult {
                settings: planned.settings.clone(),
                validation_accuracy: score.map(|s| s.accuracy()),
                validation_loss: score.map(|s| s.mean_loss()).filter(|loss| loss.is_finite()),
                error,
            };
            log.as_ref().map_or(Ok(()), |log| log.add(&tried))?;
            Ok(Some(tried))
        };
        let (tried, _) = run_missing("grid", &self.runs, known, (&self.data, MeasureLevel::Nothing), pool, conclude)?;
        Ok(tried.into_iter().collect())
    }
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

/// Result of a point: means over its trials.
struct Verdict {
    accuracy: Option<f64>,
    loss: Option<f64>,
    error: Option<String>,
}

impl Verdict {
    /// Computes the means over the seeds of a point.
    fn of(tried: &[TrialResult]) -> Self {
        Self {
            accuracy: mean(tried.iter().filter_map(|t| t.validation_accuracy)),
            loss: mean(tried.iter().map(|t| t.validation_loss.unwrap_or(f64::INFINITY))).filter(|loss| loss.is_finite()),
            error: tried.iter().find_map(|t| t.error.clone()),
        }
    }

    fn better(&self, other: &Self) -> bool {
        let key = |v: &Self| (v.error.is_none(), v.accuracy.unwrap_or(-1.0), -v.loss.unwrap_or(f64::INFINITY));
        key(self) > key(other)
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
        let path = results.dir.join(TRIALS.0);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(Error::io("read", &path))?,
        };
        // A line cut off by a crash is dropped; its trial runs again.
        let whole: Vec<_> =
            text.lines().filter_map(|line| Some((line, serde_json::from_str::<TrialResult>(line).ok()?))).collect();
        // Lines of earlier versions lack some options.
        let complete = |(line, of): (_, TrialResult)| (line, TrialResult { settings: completed(of.settings), ..of });
        let (lines, known): (Vec<_>, Vec<_>) = whole.into_iter().map(complete).unzip();
        let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
        files::write_atomically(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        let file = File::options().append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { known, file: Mutex::new(file), path })
    }

    fn add(&self, tried: &TrialResult) -> Result<()> {
        let wrong = |what: String| Error::File { path: self.path.clone(), what: format!("cannot be written: {what}") };
        let line = serde_json::to_string(tried).map_err(|e| wrong(e.to_string()))? + "\n";
        let mut file = self.file.lock().map_err(|e| wrong(e.to_string()))?;
        files::append(&mut file, line.as_bytes()).map_err(Error::io("write", &self.path))
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
        let of = Verdict::of;
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
