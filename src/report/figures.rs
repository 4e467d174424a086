//! Which charts are made of groups of runs, and the data of each.

use crate::report::axis::Scale;
use crate::report::groups::{Course, Group};
use crate::report::runs::{Run, numbers};
use crate::report::spectrum::Spectrum;
use crate::report::svg::{Chart, Paint, Series};
use crate::run::metrics::{Diagnostics, Epoch, Layer, Layers, Number};
use crate::run::table::csv;
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

/// A number that reads back as the same one; nothing for NaN.
pub(super) fn exact(value: f64) -> String {
    match value {
        v if v.is_nan() => String::new(),
        v if v != 0.0 && !(1e-5..1e16).contains(&v.abs()) => format!("{v:e}"),
        v => v.to_string(),
    }
}

/// Group, run and seed: the first cells of a row.
pub(super) fn who(group: &Group, run: &Run) -> Vec<String> {
    let seed = run.seed().map_or_else(String::new, |s| s.to_string());
    vec![group.label.clone(), run.dir.display().to_string(), seed]
}

/// What a chart is called and how it is drawn.
struct Plot {
    id: String,
    title: String,
    x_name: &'static str,
    scale: Scale,
    limits: (f64, f64),
}

/// Values of a run at points of x, one a column.
type Points = Vec<(u64, Vec<f64>)>;

impl Plot {
    /// A line a group, of the only column, `factor` times the values; none where no group has anything to show. A group of zeros alone has
    /// nothing where values must be positive.
    fn by_group(
        self,
        groups: &[Group],
        column: &str,
        (factor, positive): (f64, bool),
        of: impl Fn(&Run) -> Points,
    ) -> Option<Figure> {
        let line = |(g, group): (usize, &Group)| {
            let points = group.runs.iter().flat_map(&of).map(|(x, y)| (x, factor * y[0]));
            let course = Course::of(points);
            let shown = if positive { course.mean.iter().any(|v| *v > 0.0) } else { !course.is_empty() };
            shown.then(|| series(group.label.clone(), Paint::Group(g), course, group.runs.len()))
        };
        let series = groups.iter().enumerate().filter_map(line).collect();
        let rows = each_run(groups).flat_map(|(group, run)| rows(group, run, &of(run), 1)).collect();
        let x_name = self.x_name;
        self.figure(series, (x_name, &[column.to_owned()]), rows)
    }

    /// A line a layer of one group, a column each; none where no run has anything to show.
    fn by_layer(self, group: &Group, of: impl Fn(&Run) -> Points) -> Option<Figure> {
        let points: Vec<Points> = group.runs.iter().map(&of).collect();
        let layers = points.iter().flatten().map(|(_, y)| y.len()).max()?;
        let line = |layer: usize| {
            let value = |(x, y): &(u64, Vec<f64>)| (*x, y.get(layer).copied().unwrap_or(f64::NAN));
            let course = Course::of(points.iter().flatten().map(value));
            let paint = Paint::Layer { layer, of: layers };
            (!course.is_empty()).then(|| series(format!("W{layer}"), paint, course, group.runs.len()))
        };
        let series = (0..layers).filter_map(line).collect();
        let names: Vec<String> = (0..layers).map(|layer| format!("W{layer}")).collect();
        let rows = group.runs.iter().zip(&points).flat_map(|(run, points)| rows(group, run, points, layers)).collect();
        let x_name = self.x_name;
        self.figure(series, (x_name, &names), rows)
    }

    /// The chart with its data; none without a line.
    fn figure(self, series: Vec<Series>, (first, columns): (&str, &[String]), mut rows: Vec<Vec<String>>) -> Option<Figure> {
        if series.is_empty() {
            return None;
        }
        let head = ["group", "run", "seed", first].map(str::to_owned).into_iter();
        rows.insert(0, head.chain(columns.iter().cloned()).collect());
        let Self { id, title, x_name, scale: y_scale, limits: y_limits } = self;
        let description = describe(&title, x_name, &series);
        Some(Figure { chart: Chart { id, title, description, x_name, y_scale, y_limits, series }, csv: csv(&rows) })
    }
}

/// The rows of a run, with nothing in the columns that it lacks.
fn rows(group: &Group, run: &Run, points: &Points, columns: usize) -> Vec<Vec<String>> {
    let row = |(x, y): &(u64, Vec<f64>)| {
        let cells = (0..columns).map(|c| exact(y.get(c).copied().unwrap_or(f64::NAN)));
        who(group, run).into_iter().chain([x.to_string()]).chain(cells).collect()
    };
    points.iter().map(row).collect()
}

/// A figure of each epoch.
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
    of: fn(&Epoch) -> Number,
}

const CURVES: [Curve; 6] = [
    accuracy("test_accuracy", "test-accuracy", "Test accuracy, %", |line| line.scores.test_accuracy),
    loss("test_loss", "test-loss", "Test loss", |line| line.scores.test_loss),
    accuracy("train_accuracy", "train-accuracy", "Training accuracy, %", |line| line.scores.train_accuracy),
    loss("train_loss", "train-loss", "Training loss", |line| line.scores.train_loss),
    accuracy("validation_accuracy", "validation-accuracy", "Validation accuracy, %", |line| line.scores.validation_accuracy),
    loss("validation_loss", "validation-loss", "Validation loss", |line| line.scores.validation_loss),
];

const SOLVES: [Curve; 2] = [
    loss("solve_residual", "solve-residual", "Worst relative residual", |line| line.solve_residual),
    Curve {
        scale: Scale::Linear,
        limits: (0.0, f64::INFINITY),
        ..loss("solve_products_per_step", "solve-products", "Forward products a step", |line| line.solve_products_per_step)
    },
];

const fn accuracy(key: &'static str, id: &'static str, title: &'static str, of: fn(&Epoch) -> Number) -> Curve {
    Curve { key, id, title, scale: Scale::Linear, limits: PERCENT, factor: 100.0, positive: false, of }
}

const fn loss(key: &'static str, id: &'static str, title: &'static str, of: fn(&Epoch) -> Number) -> Curve {
    Curve { key, id, title, scale: Scale::Log, limits: ANYWHERE, factor: 1.0, positive: true, of }
}

fn series(label: String, paint: Paint, course: Course, runs: usize) -> Series {
    let band = (runs > 1).then_some((course.low, course.high));
    Series { label, paint, x: course.x, y: course.mean, band }
}

impl Curve {
    /// One line a group; none where no run has the figure.
    fn figure(&self, groups: &[Group]) -> Option<Figure> {
        let title = match self.scale {
            Scale::Linear => self.title.to_owned(),
            Scale::Log => format!("{}, logarithmic", self.title),
        };
        let plot = Plot { id: self.id.into(), title, x_name: "epoch", scale: self.scale, limits: self.limits };
        plot.by_group(groups, self.key, (self.factor, self.positive), |run| {
            run.epochs.iter().map(|line| (line.epoch, vec![(self.of)(line).unwrap_or(f64::NAN)])).collect()
        })
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

/// A figure of each layer by epoch, a chart a group.
struct ByLayer {
    id: &'static str,
    key: &'static str,
    title: &'static str,
    scale: Scale,
    limits: (f64, f64),
    of: fn(&Layers) -> &[Number],
}

/// A column of the metrics, which names it too.
type Column = (&'static str, fn(&Layers) -> &[Number]);

const fn by_layer((key, of): Column, id: &'static str, title: &'static str, scale: Scale, limits: (f64, f64)) -> ByLayer {
    ByLayer { id, key, title, scale, limits, of }
}

const COSINES: ByLayer =
    by_layer(("cosine_with_bp", |layers| &layers.cosine_with_bp), "cosine", "Cosine with BP's update", Scale::Linear, COSINE);
const RATIOS: ByLayer =
    by_layer(("ratio_to_bp", |layers| &layers.ratio_to_bp), "ratio", "Norm of the update over BP's", Scale::Log, ANYWHERE);
const OFFDIAG: ByLayer =
    by_layer(("offdiag", |layers| &layers.offdiag), "offdiag", "Regulariser's norm, ‖offdiag(W Wᵀ)‖", Scale::Log, ANYWHERE);

impl ByLayer {
    /// The chart of one group; none where no run has the figure.
    fn figure(&self, g: usize, group: &Group) -> Option<Figure> {
        let (id, title) = (format!("{}-{}", self.id, g + 1), format!("{}: {}", self.title, group.label));
        let plot = Plot { id, title, x_name: "epoch", scale: self.scale, limits: self.limits };
        plot.by_layer(group, |run| run.epochs.iter().map(|line| (line.epoch, numbers((self.of)(&line.layers)))).collect())
    }

    /// Where runs ended, layer by layer, a line a group.
    fn at_the_end(&self, groups: &[Group]) -> Option<Figure> {
        let (id, title) = (format!("{}-end", self.id), format!("{}, at the end", self.title));
        let plot = Plot { id, title, x_name: "layer", scale: self.scale, limits: self.limits };
        plot.by_group(groups, self.key, (1.0, false), |run| {
            run.last_layers(self.of).into_iter().enumerate().map(|(layer, value)| (layer as u64, vec![value])).collect()
        })
    }
}

/// Figures of each layer where a run reported on them: id, title, scale, and of a layer.
type Diagnosed = (&'static str, &'static str, Scale, fn(&Layer) -> Number);

const DIAGNOSED: [Diagnosed; 10] = [
    ("step-cosine", "Cosine with BP's update", Scale::Linear, |layer| layer.cosine_with_bp),
    ("step-ratio", "Norm of the update over BP's", Scale::Log, |layer| layer.ratio_to_bp),
    ("step-offdiag", "‖offdiag(W Wᵀ)‖", Scale::Log, |layer| layer.offdiag),
    ("step-distance", "‖W Wᵀ − I‖", Scale::Log, |layer| layer.distance_from_orthogonal),
    ("step-condition", "Condition number, estimated", Scale::Log, |layer| layer.condition),
    ("step-residual", "Residual of the solves", Scale::Log, |layer| layer.solve_residual),
    ("step-products", "Products a solve took", Scale::Linear, |layer| layer.solve_products),
    ("step-kinks", "Kink crossings", Scale::Linear, |layer| layer.kink_crossings.map(|n| n as f64)),
    ("step-update", "Norm of the update", Scale::Log, |layer| layer.update_norm),
    ("step-dead", "Dead units", Scale::Linear, |layer| layer.dead_units.map(|n| n as f64)),
];

fn diagnosed((id, title, scale, of): Diagnosed, g: usize, group: &Group) -> Option<Figure> {
    let limits = if id == "step-cosine" { COSINE } else { ANYWHERE };
    let (id, title) = (format!("{id}-{}", g + 1), format!("{title}: {}", group.label));
    Plot { id, title, x_name: "step", scale, limits }.by_layer(group, |run| {
        let values = |line: &Diagnostics| line.layers.iter().map(|layer| of(layer).unwrap_or(f64::NAN)).collect();
        run.diagnostics.iter().map(|line| (line.step, values(line))).collect()
    })
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
    figures.extend(groups.iter().enumerate().filter_map(|(g, group)| OFFDIAG.figure(g, group)));
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
    let each =
        DIAGNOSED.iter().flat_map(|&what| groups.iter().enumerate().filter_map(move |(g, group)| diagnosed(what, g, group)));
    Section {
        id: "diagnostics",
        title: "Diagnostics",
        text: "What the runs measured at intervals, layer by layer.",
        figures: each.collect(),
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
        let ranks = known.iter().flat_map(|(_, s)| s.iter().map(Vec::len)).max().unwrap_or(0);
        let mut rows = Vec::new();
        for (run, spectrum) in &known {
            for (layer, values) in spectrum.iter().enumerate() {
                // As many digits as weights have, so that the page stays small.
                let digits = (0..ranks).map(|i| values.get(i).map_or(String::new(), |v| (*v as f32).to_string()));
                rows.push(who(group, run).into_iter().chain([format!("W{layer}")]).chain(digits).collect());
            }
        }
        let extremes = series.iter().flat_map(|s| s.y.iter().copied()).filter(|v| v.is_finite());
        let (low, high) = extremes.fold((f64::INFINITY, 0.0), |(l, h): (f64, f64), v| (l.min(v), h.max(v)));
        let scale = if high > 20.0 * low { Scale::Log } else { Scale::Linear };
        let (id, title) = (format!("singular-values-{}", g + 1), format!("Singular values: {}", group.label));
        let plot = Plot { id, title, x_name: "rank", scale, limits: ANYWHERE };
        let names: Vec<String> = (1..=ranks).map(|i| i.to_string()).collect();
        figures.extend(plot.figure(series, ("layer", &names), rows));
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
    Section {
        id: "solves",
        title: "Ways through inverses",
        text: "What it took to send errors through the inverses of layers.",
        figures: SOLVES.iter().filter_map(|curve| curve.figure(groups)).collect(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for v in [0.0, 0.1, 1e-300, -3e20, 1.0 / 3.0, 5e-324, f64::MAX, 123456789.123] {
            assert_eq!(exact(v).parse::<f64>().unwrap().to_bits(), v.to_bits(), "{}", exact(v));
        }
        assert_eq!(exact(f64::NAN), "");
    }
}
