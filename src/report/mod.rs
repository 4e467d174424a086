//! Reports of training runs: one HTML page. Each chart can be saved from it as SVG, and its data as
//! CSV.
//!
//! [`find`] reads folders of results, [`group`](fn@group) groups runs that differ only in the seed,
//! and [`html`] makes the page. The page needs no network and no script. Its bytes depend only on
//! the results, the data sets they name and this version.

mod axis;
mod examples;
mod figures;
mod groups;
mod page;
mod runs;
mod sparkline;
mod spectrum;
mod svg;

pub use groups::{Group, group};
pub use runs::{Run, find};
pub use sparkline::{sparkline, sparkline_within};
pub use spectrum::singular_values;

use crate::run::history::MeanSd;
use crate::run::table::{aligned, csv};
use figures::{each_run, exact, who};
use gaitprop_kernels::Plan;

/// Stage of the work, for progress reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Singular values, counted by run.
    SingularValues,
    /// Predictions of the networks, counted by group.
    Examples,
}

/// Returns the page for these groups, from their runs, weights and data sets. The page names
/// missing parts.
///
/// * `threads`: threads for the singular values
/// * `progress`: receives the stage, the number done and the total
pub fn html(groups: &[Group], plan: &Plan, threads: usize, progress: &mut dyn FnMut(Work, usize, usize)) -> String {
    let spectra = spectrum::of_all(groups, threads, &mut |done, all| progress(Work::SingularValues, done, all));
    let answers = examples::of_all(groups, plan, &mut |done, all| progress(Work::Examples, done, all));
    let sections = figures::sections(groups, &spectra);
    let answers_csv = answers.iter().any(Result::is_ok).then(|| examples_csv(groups, &answers));
    page::page(groups, &sections, &answers, &table_csv(groups), answers_csv.as_deref())
}

/// Returns the highest test accuracy of all epochs, NaN without any.
pub(crate) fn peak(run: &Run) -> f64 {
    run.epochs.iter().filter_map(|line| line.scores.test_accuracy).fold(f64::NAN, f64::max)
}

fn test_accuracy(run: &Run) -> f64 {
    run.last(|scores| scores.test_accuracy)
}

/// Column of the comparison: title, whether in percent, value of a run.
type Column = (&'static str, bool, fn(&Run) -> f64);

const COLUMNS: [Column; 6] = [
    ("test accuracy", true, test_accuracy),
    ("best test accuracy", true, peak),
    ("training accuracy", true, |run| run.last(|scores| scores.train_accuracy)),
    ("test loss", false, |run| run.last(|scores| scores.test_loss)),
    ("training loss", false, |run| run.last(|scores| scores.train_loss)),
    ("seconds", false, Run::seconds),
];

/// Returns the table of all runs, one row per run.
fn table_csv(groups: &[Group]) -> String {
    let mut rows = vec![["group", "run", "seed", "epochs", "state"].map(str::to_owned).to_vec()];
    rows[0].extend(COLUMNS.iter().map(|(name, ..)| name.replace(' ', "_")));
    for (group, run) in each_run(groups) {
        let mut row = who(group, run);
        row.extend([run.epochs.len().to_string(), run.state().to_owned()]);
        row.extend(COLUMNS.iter().map(|(_, _, of)| exact(of(run))));
        rows.push(row);
    }
    csv(&rows)
}

fn examples_csv(groups: &[Group], answers: &[Result<examples::Answers, String>]) -> String {
    let mut rows = vec![["group", "run", "test_sample", "label", "said", "confidence"].map(str::to_owned)];
    for (group, answers) in groups.iter().zip(answers) {
        let Ok(answers) = answers else { continue };
        rows.extend(answers.shown.iter().map(|a| {
            let (label, run) = (group.label.clone(), answers.run.clone());
            [label, run, a.index.to_string(), a.label.to_string(), a.said.to_string(), exact(a.confidence)]
        }));
    }
    csv(&rows)
}

/// Returns a table for a terminal, one line per group: final and best test accuracy, and the curve.
pub fn summary(groups: &[Group]) -> String {
    const WIDTH: usize = 32;
    let course = |group: &Group| {
        let points = group.runs.iter().flat_map(|run| &run.epochs);
        groups::Course::of(points.map(|line| (line.epoch as f64, line.scores.test_accuracy.unwrap_or(f64::NAN)))).mean
    };
    let courses: Vec<Vec<f64>> = groups.iter().map(course).collect();
    let (low, high) = axis::extent(courses.iter().flatten().copied());
    let mut rows = vec![["", "runs", "test accuracy", "best", "by epoch"].map(str::to_owned)];
    for (group, course) in groups.iter().zip(&courses) {
        let cell = |of: fn(&Run) -> f64| percent(group.statistics(of));
        let line = sparkline_within(course, WIDTH, low, high);
        rows.push([group.label.clone(), group.count(), cell(test_accuracy), cell(peak), line]);
    }
    aligned(&rows, 1)
}

/// Formats a fraction in percent: `98.05 ± 0.32 %`.
fn percent(of: Option<MeanSd>) -> String {
    of.map_or("–".into(), |of| of.shown(100.0, 2) + " %")
}
