//! Charts of groups of runs, with their data.

use crate::report::axis::{Scale, short};
use crate::report::groups::{Course, Group};
use crate::report::runs::{Run, numbers};
use crate::report::spectrum::Spectrum;
use crate::report::svg::{Chart, Paint, Series};
use crate::run::metrics::{Diagnostics, Epoch, Layer, Layers, Number};
use crate::run::table::csv;
use std::fmt::Write as _;

/// Chart with its data.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) chart: Chart,
    /// All values of all runs, not thinned, as comma-separated values with a header.
    pub(super) csv: String,
}

/// Section of the page with charts.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) figures: Vec<Figure>,
    /// Reasons for missing data.
    pub(super) notes: Vec<String>,
}

const ANYWHERE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const PERCENT: (f64, f64) = (0.0, 100.0);
const COSINE: (f64, f64) = (-1.0, 1.0);

/// Formats a number so that it parses to the same bits. NaN gives an empty text.
pub(super) fn exact(value: f64) -> String {
    match value {
        v if v.is_nan() => String::new(),
        v if v != 0.0 && !(1e-5..1e16).contains(&v.abs()) => format!("{v:e}"),
        v => v.to_string(),
    }
}

/// Returns the first cells of a row: group, run and seed.
pub(super) fn who(group: &Group, run: &Run) -> Vec<String> {
    let seed = run.seed().map_or_else(String::new, |s| s.to_string());
    vec![group.label.clone(), run.dir.display().to_string(), seed]
}

/// Name and axes of a chart.
struct Plot {
    id: String,
    title: String,
    x_name: &'static str,
    scale: Scale,
    limits: (f64, f64),
}

/// Values of a run at each x, one per column.
type Points = Vec<(u64, Vec<f64>)>;

impl Plot {
    /// Makes a chart with one line per group: `factor` times the only column of `of`.
    ///
    /// Omits groups without a value and, if values must be `positive`, groups of zeros. Returns
    /// `None` without a line.
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

    /// Makes a chart of one group with one line and one column per layer. Returns `None` without a
    /// value.
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

    /// Makes the chart and its data. Returns `None` without a line.
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

/// Returns the rows of a run. Missing columns are empty.
fn rows(group: &Group, run: &Run, points: &Points, columns: usize) -> Vec<Vec<String>> {
    let row = |(x, y): &(u64, Vec<f64>)| {
        let cells = (0..columns).map(|c| exact(y.get(c).copied().unwrap_or(f64::NAN)));
        who(group, run).into_iter().chain([x.to_string()]).chain(cells).collect()
    };
    points.iter().map(row).collect()
}

/// Quantity of each epoch.
struct Curve {
    key: &'static str,
    id: &'static str,
    title: &'static str,
    scale: Scale,
    limits: (f64, f64),
    /// Factor from the unit of the metrics to that of the chart.
    factor: f64,
    /// Whether to omit groups of zeros.
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
        ..loss("solve_products_per_step", "solve-products", "Forward products per step", |line| line.solve_products_per_step)
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
    /// Makes the chart, one line per group. Returns `None` if no run has the quantity.
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

/// Returns all runs with their groups, in order.
pub(super) fn each_run(groups: &[Group]) -> impl Iterator<Item = (&Group, &Run)> {
    groups.iter().flat_map(|group| group.runs.iter().map(move |run| (group, run)))
}

/// Describes a chart in words: where each line starts and ends.
fn describe(title: &str, x_name: &str, series: &[Series]) -> String {
    let mut text = format!("{title}, by {x_name}.");
    for series in series {
        let mut known = series.x.iter().zip(&series.y).filter(|(_, y)| y.is_finite()).map(|(x, y)| (short(*x), short(*y)));
        if let Some((x, y)) = known.next() {
            let (last_x, last_y) = known.next_back().unwrap_or((x.clone(), y.clone()));
            let _ = write!(text, " {}: {y} at {x}, {last_y} at {last_x}.", series.label);
        }
    }
    text
}

fn section(id: &'static str, title: &'static str, text: &'static str, figures: impl Iterator<Item = Figure>) -> Section {
    Section { id, title, text, figures: figures.collect(), notes: Vec::new() }
}

/// Makes the charts of scores by epoch.
pub(super) fn learning(groups: &[Group]) -> Section {
    section(
        "learning",
        "Learning curves",
        "Lines are means over the runs of a group. Bands reach from the lowest to the highest run. Training figures are those of each \
         batch before its update.",
        CURVES.iter().filter_map(|curve| curve.figure(groups)),
    )
}

/// Returns the axes of a quantity. Cosines have fixed limits.
fn plot(id: String, title: String, x_name: &'static str, scale: Scale) -> Plot {
    let limits = if id.contains("cosine") { COSINE } else { ANYWHERE };
    Plot { id, title, x_name, scale, limits }
}

/// Quantity of each layer and epoch: id, column of the metrics, title, scale, values.
type ByEpoch = (&'static str, &'static str, &'static str, Scale, fn(&Layers) -> &[Number]);

const COSINES: ByEpoch = ("cosine", "cosine_with_bp", "Cosine with BP's update", Scale::Linear, |layers| &layers.cosine_with_bp);
const RATIOS: ByEpoch = ("ratio", "ratio_to_bp", "Norm of the update over BP's", Scale::Log, |layers| &layers.ratio_to_bp);
const OFFDIAG: ByEpoch =
    ("offdiag", "offdiag", "Regularizer's norm, ‖offdiag(W Wᵀ)‖", Scale::Log, |layers| &layers.offdiag);

/// Makes the chart of one group by epoch, one line per layer.
fn by_epoch((id, _, title, scale, of): ByEpoch, g: usize, group: &Group) -> Option<Figure> {
    plot(format!("{id}-{}", g + 1), format!("{title}: {}", group.label), "epoch", scale)
        .by_layer(group, |run| run.epochs.iter().map(|line| (line.epoch, numbers(of(&line.layers)))).collect())
}

/// Makes the chart of the final values by layer, one line per group.
fn at_the_end((id, key, title, scale, of): ByEpoch, groups: &[Group]) -> Option<Figure> {
    plot(format!("{id}-end"), format!("{title}, at the end"), "layer", scale).by_group(groups, key, (1.0, false), |run| {
        run.last_layers(of).into_iter().enumerate().map(|(layer, value)| (layer as u64, vec![value])).collect()
    })
}

/// Quantity of each layer and diagnosed step: id, title, scale, value.
type ByStep = (&'static str, &'static str, Scale, fn(&Layer) -> Number);

const DIAGNOSED: [ByStep; 10] = [
    ("step-cosine", "Cosine with BP's update", Scale::Linear, |layer| layer.cosine_with_bp),
    ("step-ratio", "Norm of the update over BP's", Scale::Log, |layer| layer.ratio_to_bp),
    ("step-offdiag", "‖offdiag(W Wᵀ)‖", Scale::Log, |layer| layer.offdiag),
    ("step-distance", "‖W Wᵀ − I‖", Scale::Log, |layer| layer.distance_from_orthogonal),
    ("step-condition", "Condition number, estimated", Scale::Log, |layer| layer.condition),
    ("step-residual", "Residual of the solves", Scale::Log, |layer| layer.solve_residual),
    ("step-products", "Products per solve", Scale::Linear, |layer| layer.solve_products),
    ("step-kinks", "Kink crossings", Scale::Linear, |layer| layer.kink_crossings.map(|n| n as f64)),
    ("step-update", "Norm of the update", Scale::Log, |layer| layer.update_norm),
    ("step-dead", "Dead units", Scale::Linear, |layer| layer.dead_units.map(|n| n as f64)),
];

/// Makes the chart of one group by step, one line per layer.
fn by_step((id, title, scale, of): ByStep, g: usize, group: &Group) -> Option<Figure> {
    plot(format!("{id}-{}", g + 1), format!("{title}: {}", group.label), "step", scale).by_layer(group, |run| {
        let values = |line: &Diagnostics| line.layers.iter().map(|layer| of(layer).unwrap_or(f64::NAN)).collect();
        run.diagnostics.iter().map(|line| (line.step, values(line))).collect()
    })
}

/// Makes the charts that compare updates with backpropagation's, by layer and epoch.
pub(super) fn alignment(groups: &[Group]) -> Section {
    // Backpropagation equals itself: its curves would all be 1.
    let others = |quantity| {
        let shown = groups.iter().enumerate().filter(|(_, group)| group.rule() != "bp");
        shown.filter_map(move |(g, group)| by_epoch(quantity, g, group))
    };
    let ends = [at_the_end(COSINES, groups), at_the_end(RATIOS, groups)];
    section(
        "alignment",
        "Alignment with backpropagation",
        "Weight update of a rule compared with backpropagation's on the same batch (the first of the training set), without regularizer. \
         1 means the same direction, or the same norm. Backpropagation itself is always 1.",
        ends.into_iter().flatten().chain(others(COSINES)).chain(others(RATIOS)),
    )
}

/// Makes the charts of the distance of the weights from orthogonal.
pub(super) fn orthogonality(groups: &[Group]) -> Section {
    let each = groups.iter().enumerate().filter_map(|(g, group)| by_epoch(OFFDIAG, g, group));
    section(
        "orthogonality",
        "Orthogonality",
        "Frobenius norm that the regularizer reduces: the off-diagonal part of W Wᵀ. With --ortho-form identity it is W Wᵀ − I; with \
         --ortho-side columns, the same of WᵀW.",
        at_the_end(OFFDIAG, groups).into_iter().chain(each),
    )
}

/// Makes the charts of the diagnostics by step.
pub(super) fn diagnosis(groups: &[Group]) -> Section {
    let each = |&quantity| groups.iter().enumerate().filter_map(move |(g, group)| by_step(quantity, g, group));
    section("diagnostics", "Diagnostics", "Measurements at intervals during training, by layer.", DIAGNOSED.iter().flat_map(each))
}

/// Makes the charts of the singular values of the last weights, one per group.
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
                // The precision of f32 weights keeps the page small.
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
        text: "Singular values of the saved weights of each layer, largest first. They are equal for a multiple of an orthogonal matrix. The \
               first over the last is the condition number, by which solves with the weights lose accuracy.",
        figures,
        notes,
    }
}

/// Makes the charts of the solves with the weights.
pub(super) fn solves(groups: &[Group]) -> Section {
    section(
        "solves",
        "Solves",
        "Accuracy and cost of the solves that propagate errors through the inverses of layers.",
        SOLVES.iter().filter_map(|curve| curve.figure(groups)),
    )
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
