//! Reports of training runs: one page of HTML. Each chart can be saved from it as SVG, and its data as CSV.
//!
//! [`find`] reads folders of results, [`group`](fn@group) puts together what differs in the seed alone, [`html`] makes the page. The page needs no network and no script; its bytes are a function of the results, of the data sets they name and of
//! this version.

mod axis;
mod examples;
mod figures;
mod groups;
mod page;
mod runs;
mod sparkline;
mod spectrum;
mod svg;

pub use groups::{Group, Spread, group};
pub use runs::{Line, Run, find};
pub use sparkline::{sparkline, sparkline_within};
pub use spectrum::singular_values;

use figures::{exact, field};
use gaitprop_kernels::Plan;
use std::fmt::Write as _;

/// What is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Singular values; counts are runs.
    SingularValues,
    /// Answers of the networks; counts are groups.
    Examples,
}

/// Returns the page: everything that the runs of these groups, their weights and their data sets can show. What they cannot show is left out, and the
/// page says so.
///
/// Singular values take `threads` threads. `progress` is called with what is done: a count, of how many.
pub fn html(groups: &[Group], plan: &Plan, threads: usize, progress: &mut dyn FnMut(Work, usize, usize)) -> String {
    let spectra = spectrum::of_all(groups, threads, &mut |done, all| progress(Work::SingularValues, done, all));
    let answers = examples::of_all(groups, plan, &mut |done, all| progress(Work::Examples, done, all));
    let sections = [
        figures::learning(groups),
        figures::alignment(groups),
        figures::orthogonality(groups),
        figures::spectra(groups, &spectra),
        figures::solves(groups),
        figures::diagnosis(groups),
    ];
    let answers_csv = answers.iter().any(Result::is_ok).then(|| examples_csv(groups, &answers));
    page::page(groups, &sections, &answers, &table_csv(groups), answers_csv.as_deref())
}

/// Highest test accuracy of a run's epochs; NaN without any.
pub(crate) fn peak(run: &Run) -> f64 {
    run.epochs.iter().map(|e| e.number("test_accuracy")).fold(f64::NAN, f64::max)
}

/// Figures of the comparison: title, whether in percent, and of a run.
type Column = (&'static str, bool, fn(&Run) -> f64);

const COLUMNS: [Column; 6] = [
    ("test accuracy", true, |run| run.last("test_accuracy")),
    ("best test accuracy", true, peak),
    ("training accuracy", true, |run| run.last("train_accuracy")),
    ("test loss", false, |run| run.last("test_loss")),
    ("training loss", false, |run| run.last("train_loss")),
    ("seconds", false, Run::seconds),
];

/// One row a run.
fn table_csv(groups: &[Group]) -> String {
    let names: Vec<String> = COLUMNS.iter().map(|(name, ..)| name.replace(' ', "_")).collect();
    let mut csv = format!("group,run,seed,epochs,state,{}\n", names.join(","));
    for group in groups {
        for run in &group.runs {
            let seed = run.seed().map_or_else(String::new, |s| s.to_string());
            let (label, dir) = (field(&group.label), field(&run.dir.display().to_string()));
            let _ = write!(csv, "{label},{dir},{seed},{},{}", run.epochs.len(), field(run.state()));
            for (_, _, of) in COLUMNS {
                let _ = write!(csv, ",{}", exact(of(run)));
            }
            csv.push('\n');
        }
    }
    csv
}

fn examples_csv(groups: &[Group], answers: &[Result<examples::Answers, String>]) -> String {
    let mut csv = String::from("group,run,test_sample,label,said,confidence\n");
    for (group, answers) in groups.iter().zip(answers) {
        let Ok(answers) = answers else { continue };
        for a in &answers.shown {
            let (label, run) = (field(&group.label), field(&answers.run));
            let _ = writeln!(csv, "{label},{run},{},{},{},{}", a.index, a.label, a.said, exact(a.confidence));
        }
    }
    csv
}

/// A text of one line a group, for a terminal: final and best test accuracy, and its course.
pub fn summary(groups: &[Group]) -> String {
    const WIDTH: usize = 32;
    let courses: Vec<Vec<f64>> = groups
        .iter()
        .map(|g| groups::Course::of(g, |run| &run.epochs, "epoch", |line| line.number("test_accuracy")).mean)
        .collect();
    let all = || courses.iter().flatten().copied().filter(|v| v.is_finite());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let width = groups.iter().map(|g| g.label.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!("{:<width$}  runs  {:>16}  {:>16}  by epoch\n", "", "test accuracy", "best");
    for (group, course) in groups.iter().zip(&courses) {
        let cell = |of: fn(&Run) -> f64| percent(Spread::of(&group.each(of)));
        let line = sparkline_within(course, WIDTH, low, high);
        let _ = writeln!(
            text,
            "{:<width$}  {:>4}  {:>16}  {:>16}  {line}",
            group.label,
            group.runs.len(),
            cell(|run| run.last("test_accuracy")),
            cell(peak)
        );
    }
    text
}

/// `98.05 ± 0.32 %`.
fn percent(spread: Spread) -> String {
    if !spread.mean.is_finite() {
        return "–".into();
    }
    match spread.deviation {
        Some(deviation) => format!("{:.2} ± {:.2} %", 100.0 * spread.mean, 100.0 * deviation),
        None => format!("{:.2} %", 100.0 * spread.mean),
    }
}
