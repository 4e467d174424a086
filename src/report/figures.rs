//! Which charts are made of groups of runs, and the data of each.

use crate::report::axis::Scale;
use crate::report::groups::{Course, Group};
use crate::report::runs::{Line, Run};
use crate::report::spectrum::Spectrum;
use crate::report::svg::{Chart, Paint, Series};
use std::fmt::Write as _;

/// A chart with its data.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) chart: Chart,
    /// Every value of every run, not thinned, as comma-separated values with a heading.
    pub(super) csv: String,
}

/// A part of the page with charts.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) figures: Vec<Figure>,
    /// What is not shown, and why.
    pub(super) notes: Vec<String>,
}

const ANYWHERE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const PERCENT: (f64, f64) = (0.0, 100.0);
const COSINE: (f64, f64) = (-1.0, 1.0);

/// A field as comma-separated values want it (RFC 4180).
pub(super) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// A number that reads back as the same one; nothing for NaN.
pub(super) fn exact(value: f64) -> String {
    match value {
        v if v.is_nan() => String::new(),
        v if v != 0.0 && !(1e-5..1e16).contains(&v.abs()) => format!("{v:e}"),
        v => v.to_string(),
    }
}

/// Numbers as fields of a row.
fn row(values: &[f64], write: impl Fn(f64) -> String) -> String {
    values.iter().map(|&v| write(v)).collect::<Vec<_>>().join(",")
}

/// Group, run and seed, as the first fields of a row.
fn who(group: &Group, run: &Run) -> String {
    let seed = run.seed().map_or_else(String::new, |s| s.to_string());
    format!("{},{},{seed}", field(&group.label), field(&run.dir.display().to_string()))
}

/// What a curve against epochs shows.
struct Curve {
    key: &'static str,
    id: &'static str,
    title: &'static str,
    scale: Scale,
    limits: (f64, f64),
    /// From the metrics' unit to the chart's.
    factor: f64,
    /// Whether a group of zeros alone has nothing to show.
    positive: bool,
}

const CURVES: [Curve; 6] = [
    curve("test_accuracy", "test-accuracy", "Test accuracy, %", true),
    curve("test_loss", "test-loss", "Test loss", false),
    curve("train_accuracy", "train-accuracy", "Training accuracy, %", true),
    curve("train_loss", "train-loss", "Training loss", false),
    curve("validation_accuracy", "validation-accuracy", "Validation accuracy, %", true),
    curve("validation_loss", "validation-loss", "Validation loss", false),
];

const fn curve(key: &'static str, id: &'static str, title: &'static str, accuracy: bool) -> Curve {
    match accuracy {
        true => Curve { key, id, title, scale: Scale::Linear, limits: PERCENT, factor: 100.0, positive: false },
        false => Curve { key, id, title, scale: Scale::Log, limits: ANYWHERE, factor: 1.0, positive: true },
    }
}

fn epochs(run: &Run) -> &[Line] {
    &run.epochs
}

fn diagnostics(run: &Run) -> &[Line] {
    &run.diagnostics
}

fn series(label: String, paint: Paint, course: Course, runs: usize) -> Series {
    let band = (runs > 1).then_some((course.low, course.high));
    Series { label, paint, x: course.x, y: course.mean, band }
}

impl Curve {
    /// One line a group; none where no run has the figure.
    fn figure(&self, groups: &[Group]) -> Option<Figure> {
        let of = |(g, group): (usize, &Group)| {
            let course = Course::of(group, epochs, "epoch", |line| self.factor * line.number(self.key));
            let shown = if self.positive { course.mean.iter().any(|v| *v > 0.0) } else { !course.is_empty() };
            shown.then(|| series(group.label.clone(), Paint::Group(g), course, group.runs.len()))
        };
        let series: Vec<Series> = groups.iter().enumerate().filter_map(of).collect();
        if series.is_empty() {
            return None;
        }
        let mut csv = format!("group,run,seed,epoch,{}\n", self.key);
        for (group, run) in each_run(groups) {
            for line in &run.epochs {
                let _ = writeln!(csv, "{},{},{}", who(group, run), line.number("epoch"), exact(line.number(self.key)));
            }
        }
        let title = match self.scale {
            Scale::Linear => self.title.to_owned(),
            Scale::Log => format!("{}, logarithmic", self.title),
        };
        let description = describe(&title, "epoch", &series);
        let chart =
            Chart { id: self.id.into(), title, description, x_name: "epoch", y_scale: self.scale, y_limits: self.limits, series };
        Some(Figure { chart, csv })
    }
}

fn each_run(groups: &[Group]) -> impl Iterator<Item = (&Group, &Run)> {
    groups.iter().flat_map(|group| group.runs.iter().map(move |run| (group, run)))
}

/// What a chart shows in words: where each line starts and ends.
fn describe(title: &str, x_name: &str, series: &[Series]) -> String {
    let mut text = format!("{title}, by {x_name}.");
    for series in series {
        let known: Vec<(f64, f64)> =
            series.x.iter().zip(&series.y).filter(|(_, y)| y.is_finite()).map(|(x, y)| (*x, *y)).collect();
        if let (Some(first), Some(last)) = (known.first(), known.last()) {
            let short = crate::report::axis::short;
            let _ = write!(
                text,
                " {}: {} at {}, {} at {}.",
                series.label,
                short(first.1),
                short(first.0),
                short(last.1),
                short(last.0)
            );
        }
    }
    text
}

/// Curves by epoch.
pub(super) fn learning(groups: &[Group]) -> Section {
    Section {
        id: "learning",
        title: "Learning curves",
        text: "Lines are means over the runs of a group, bands reach from the lowest to the highest. Training figures are those of each batch \
               just before it was learned.",
        figures: CURVES.iter().filter_map(|curve| curve.figure(groups)).collect(),
        notes: Vec::new(),
    }
}

/// A figure of each layer over time, a chart a group.
struct ByLayer {
    id: &'static str,
    key: &'static str,
    title: &'static str,
    scale: Scale,
    limits: (f64, f64),
    /// From lines of diagnostics, and not of epochs.
    diagnostics: bool,
}

const fn by_layer(id: &'static str, key: &'static str, title: &'static str, scale: Scale, limits: (f64, f64)) -> ByLayer {
    ByLayer { id, key, title, scale, limits, diagnostics: false }
}

const fn diagnosed(id: &'static str, key: &'static str, title: &'static str, scale: Scale) -> ByLayer {
    ByLayer { id, key, title, scale, limits: ANYWHERE, diagnostics: true }
}

const COSINES: ByLayer = by_layer("cosine", "cosine_with_bp", "Cosine with BP's update", Scale::Linear, COSINE);
const RATIOS: ByLayer = by_layer("ratio", "ratio_to_bp", "Norm of the update over BP's", Scale::Log, ANYWHERE);
const OFFDIAG: ByLayer = by_layer("offdiag", "offdiag", "Regulariser's norm, ‖offdiag(W Wᵀ)‖", Scale::Log, ANYWHERE);

/// Finer, and more, where a run measured it.
const DIAGNOSED: [ByLayer; 10] = [
    ByLayer { limits: COSINE, ..diagnosed("step-cosine", "cosine_with_bp", "Cosine with BP's update", Scale::Linear) },
    diagnosed("step-ratio", "ratio_to_bp", "Norm of the update over BP's", Scale::Log),
    diagnosed("step-offdiag", "offdiag", "‖offdiag(W Wᵀ)‖", Scale::Log),
    diagnosed("step-distance", "distance_from_orthogonal", "‖W Wᵀ − I‖", Scale::Log),
    diagnosed("step-condition", "condition", "Condition number, estimated", Scale::Log),
    diagnosed("step-residual", "solve_residual", "Residual of the solves", Scale::Log),
    diagnosed("step-products", "solve_products", "Products a solve took", Scale::Linear),
    diagnosed("step-kinks", "kink_crossings", "Kink crossings", Scale::Linear),
    diagnosed("step-update", "update_norm", "Norm of the update", Scale::Log),
    diagnosed("step-dead", "dead_units", "Dead units", Scale::Linear),
];

impl ByLayer {
    fn lines<'r>(&self, run: &'r Run) -> &'r [Line] {
        if self.diagnostics { diagnostics(run) } else { epochs(run) }
    }

    fn values(&self, line: &Line) -> Vec<f64> {
        if self.diagnostics { line.layers(self.key) } else { line.numbers(self.key) }
    }

    /// The chart of one group; none where no run has the figure.
    fn figure(&self, g: usize, group: &Group) -> Option<Figure> {
        let x_name = if self.diagnostics { "step" } else { "epoch" };
        let layers = group.runs.iter().flat_map(|r| self.lines(r)).map(|line| self.values(line).len()).max()?;
        let of = |layer: usize| {
            let value = |line: &Line| self.values(line).get(layer).copied().unwrap_or(f64::NAN);
            let course = Course::of(group, |run| self.lines(run), x_name, value);
            let paint = Paint::Layer { layer, of: layers };
            (!course.is_empty()).then(|| series(format!("W{layer}"), paint, course, group.runs.len()))
        };
        let series: Vec<Series> = (0..layers).filter_map(of).collect();
        if series.is_empty() {
            return None;
        }
        let mut csv = format!("group,run,seed,{x_name}");
        csv.extend((0..layers).map(|layer| format!(",W{layer}")));
        csv.push('\n');
        for run in &group.runs {
            for line in self.lines(run) {
                let mut values = self.values(line);
                values.resize(layers, f64::NAN);
                let _ = writeln!(csv, "{},{},{}", who(group, run), line.number(x_name), row(&values, exact));
            }
        }
        let title = format!("{}: {}", self.title, group.label);
        let description = describe(&title, x_name, &series);
        let id = format!("{}-{}", self.id, g + 1);
        let chart = Chart { id, title, description, x_name, y_scale: self.scale, y_limits: self.limits, series };
        Some(Figure { chart, csv })
    }

    fn figures(&self, groups: &[Group]) -> Vec<Figure> {
        groups.iter().enumerate().filter_map(|(g, group)| self.figure(g, group)).collect()
    }

    /// Where runs ended, layer by layer, a line a group.
    fn at_the_end(&self, groups: &[Group]) -> Option<Figure> {
        let of = |(g, group): (usize, &Group)| {
            let ends: Vec<Vec<f64>> = group.runs.iter().map(|run| run.last_layers(self.key)).collect();
            let layers = ends.iter().map(Vec::len).max().unwrap_or(0);
            let at = |l: usize| (l as f64, ends.iter().map(|end| end.get(l).copied().unwrap_or(f64::NAN)).collect());
            let course = Course::over(&(0..layers).map(at).collect::<Vec<_>>());
            (!course.is_empty()).then(|| series(group.label.clone(), Paint::Group(g), course, group.runs.len()))
        };
        let series: Vec<Series> = groups.iter().enumerate().filter_map(of).collect();
        if series.is_empty() {
            return None;
        }
        let mut csv = format!("group,run,seed,layer,{}\n", self.key);
        for (group, run) in each_run(groups) {
            for (layer, value) in run.last_layers(self.key).into_iter().enumerate() {
                let _ = writeln!(csv, "{},{layer},{}", who(group, run), exact(value));
            }
        }
        let title = format!("{}, at the end", self.title);
        let description = describe(&title, "layer", &series);
        let id = format!("{}-end", self.id);
        let chart = Chart { id, title, description, x_name: "layer", y_scale: self.scale, y_limits: self.limits, series };
        Some(Figure { chart, csv })
    }
}

/// How close updates are to backpropagation's, by layer and time.
pub(super) fn alignment(groups: &[Group]) -> Section {
    let ends = [COSINES.at_the_end(groups), RATIOS.at_the_end(groups)];
    // Backpropagation is all ones by definition: nothing to see over time.
    let others = |list: &ByLayer| -> Vec<Figure> {
        let shown = groups.iter().enumerate().filter(|(_, group)| group.rule() != "bp");
        shown.filter_map(|(g, group)| list.figure(g, group)).collect()
    };
    let figures = ends.into_iter().flatten().chain(others(&COSINES)).chain(others(&RATIOS)).collect();
    Section {
        id: "alignment",
        title: "Alignment with backpropagation",
        text: "How a rule's weight update compares with backpropagation's on the same batch (the training set's first), without regulariser: 1 is the \
               same direction, or length. Backpropagation itself is 1 throughout.",
        figures,
        notes: Vec::new(),
    }
}

/// How far weights are from orthogonal.
pub(super) fn orthogonality(groups: &[Group]) -> Section {
    let mut figures: Vec<Figure> = OFFDIAG.at_the_end(groups).into_iter().collect();
    figures.extend(OFFDIAG.figures(groups));
    Section {
        id: "orthogonality",
        title: "Orthogonality",
        text: "What the regulariser presses on: the off-diagonal part of W Wᵀ (or, with --ortho-form identity, W Wᵀ − I; with --ortho-side columns, of \
               WᵀW), as a Frobenius norm.",
        figures,
        notes: Vec::new(),
    }
}

/// What runs measured at intervals.
pub(super) fn diagnosis(groups: &[Group]) -> Section {
    Section {
        id: "diagnostics",
        title: "Diagnostics",
        text: "What the runs measured at intervals, layer by layer.",
        figures: DIAGNOSED.iter().flat_map(|list| list.figures(groups)).collect(),
        notes: Vec::new(),
    }
}

/// Singular values of the last weights, a chart a group.
pub(super) fn spectra(groups: &[Group], spectra: &[Vec<Spectrum>]) -> Section {
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for (g, (group, of_group)) in groups.iter().zip(spectra).enumerate() {
        for (run, spectrum) in group.runs.iter().zip(of_group) {
            if let Err(why) = spectrum {
                notes.push(format!("{}, {}: {why}.", group.label, run.name()));
            }
        }
        let known: Vec<(&Run, &Vec<Vec<f64>>)> =
            group.runs.iter().zip(of_group).filter_map(|(run, s)| Some((run, s.as_ref().ok()?))).collect();
        let layers = known.iter().map(|(_, s)| s.len()).max().unwrap_or(0);
        let of = |layer: usize| {
            let values: Vec<&Vec<f64>> = known.iter().filter_map(|(_, s)| s.get(layer)).collect();
            let count = values.iter().map(|v| v.len()).max().unwrap_or(0);
            let at = |i: usize| ((i + 1) as f64, values.iter().map(|v| v.get(i).copied().unwrap_or(f64::NAN)).collect());
            let course = Course::over(&(0..count).map(at).collect::<Vec<_>>());
            series(format!("W{layer}"), Paint::Layer { layer, of: layers }, course, known.len())
        };
        let series: Vec<Series> = (0..layers).map(of).filter(|s| s.y.iter().any(|v| v.is_finite())).collect();
        if series.is_empty() {
            continue;
        }
        let ranks = known.iter().flat_map(|(_, s)| s.iter().map(Vec::len)).max().unwrap_or(0);
        let mut csv = format!("group,run,seed,layer,{}\n", (1..=ranks).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
        for (run, spectrum) in &known {
            for (layer, values) in spectrum.iter().enumerate() {
                let mut values = values.clone();
                values.resize(ranks, f64::NAN);
                // As many digits as weights have, so that the page stays small.
                let digits = |v: f64| if v.is_nan() { String::new() } else { (v as f32).to_string() };
                let _ = writeln!(csv, "{},W{layer},{}", who(group, run), row(&values, digits));
            }
        }
        let extremes = series.iter().flat_map(|s| s.y.iter().copied()).filter(|v| v.is_finite());
        let (low, high) = extremes.fold((f64::INFINITY, 0.0), |(l, h): (f64, f64), v| (l.min(v), h.max(v)));
        let scale = if high > 20.0 * low { Scale::Log } else { Scale::Linear };
        let title = format!("Singular values: {}", group.label);
        let description = describe(&title, "rank", &series);
        let id = format!("singular-values-{}", g + 1);
        let chart = Chart { id, title, description, x_name: "rank", y_scale: scale, y_limits: ANYWHERE, series };
        figures.push(Figure { chart, csv });
    }
    Section {
        id: "singular-values",
        title: "Singular values",
        text: "Of each layer's saved weights, from the largest: all equal for a multiple of an orthogonal matrix. The first over the last is the \
               condition number, by which solves with the weights lose accuracy.",
        figures,
        notes,
    }
}

/// What sending errors through inverses took.
pub(super) fn solves(groups: &[Group]) -> Section {
    let list = [
        Curve {
            key: "solve_residual",
            id: "solve-residual",
            title: "Worst relative residual",
            scale: Scale::Log,
            limits: ANYWHERE,
            factor: 1.0,
            positive: true,
        },
        Curve {
            key: "solve_products_per_step",
            id: "solve-products",
            title: "Forward products a step",
            scale: Scale::Linear,
            limits: (0.0, f64::INFINITY),
            factor: 1.0,
            positive: true,
        },
    ];
    Section {
        id: "solves",
        title: "Ways through inverses",
        text: "What it took to send errors through the inverses of layers.",
        figures: list.iter().filter_map(|curve| curve.figure(groups)).collect(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_numbers_read_back() {
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("plain"), "plain");
        for v in [0.0, 0.1, 1e-300, -3e20, 1.0 / 3.0, 5e-324, f64::MAX, 123456789.123] {
            assert_eq!(exact(v).parse::<f64>().unwrap().to_bits(), v.to_bits(), "{}", exact(v));
        }
        assert_eq!(exact(f64::NAN), "");
    }
}
