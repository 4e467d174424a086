//! Charts of groups of runs, with their data.

use crate::report::axis::{Scale, extent};
use crate::report::groups::{Course, Group};
use crate::report::runs::{Run, numbers};
use crate::report::spectrum::Spectrum;
use crate::report::svg::{Chart, Paint, Series};
use crate::run::metrics::{Diagnostics, Epoch, Layer, Layers, Number, Scores};
use crate::run::table::csv;

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

/// Values of a run at each x, one per column.
type Points = Vec<(f64, Vec<f64>)>;

impl Chart {
    /// Makes a chart without lines.
    fn new(id: String, title: String, x_name: &'static str, y_scale: Scale, y_limits: (f64, f64)) -> Self {
        Self { id, title, x_name, y_scale, y_limits, angles: false, series: Vec::new() }
    }

    /// Draws one line per group: `factor` times the only column of `of`.
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
            let course = Course::of(group.runs.iter().flat_map(&of).map(|(x, y)| (x, factor * y[0])));
            let shown = !positive || course.mean.iter().any(|v| *v > 0.0);
            line(group.label.clone(), Paint::Group(g), course, group.runs.len()).filter(|_| shown)
        };
        let lines = groups.iter().enumerate().filter_map(line).collect();
        let rows = each_run(groups).flat_map(|(group, run)| rows(group, run, &of(run), 1)).collect();
        let x_name = self.x_name;
        self.figure(lines, (x_name, &[column.to_owned()]), rows)
    }

    /// Draws one line, and writes one column, per layer of one group. Returns `None` without a
    /// value.
    fn by_layer(self, group: &Group, of: impl Fn(&Run) -> Points) -> Option<Figure> {
        let points: Vec<Points> = group.runs.iter().map(&of).collect();
        let layers = points.iter().flatten().map(|(_, y)| y.len()).max()?;
        let line = |layer: usize| {
            let value = |(x, y): &(f64, Vec<f64>)| (*x, y.get(layer).copied().unwrap_or(f64::NAN));
            let course = Course::of(points.iter().flatten().map(value));
            line(format!("W{layer}"), Paint::Layer { layer, of: layers }, course, group.runs.len())
        };
        let lines = (0..layers).filter_map(line).collect();
        let names: Vec<String> = (0..layers).map(|layer| format!("W{layer}")).collect();
        let rows = group.runs.iter().zip(&points).flat_map(|(run, points)| rows(group, run, points, layers)).collect();
        let x_name = self.x_name;
        self.figure(lines, (x_name, &names), rows)
    }

    /// Adds the lines and the data. Returns `None` without a line.
    fn figure(self, lines: Vec<Series>, (first, columns): (&str, &[String]), mut rows: Vec<Vec<String>>) -> Option<Figure> {
        let head = ["group", "run", "seed", first].map(str::to_owned).into_iter();
        rows.insert(0, head.chain(columns.iter().cloned()).collect());
        (!lines.is_empty()).then(|| Figure { chart: Self { series: lines, ..self }, csv: csv(&rows) })
    }
}

/// Makes the line of a course. Returns `None` without a value.
fn line(label: String, paint: Paint, course: Course, runs: usize) -> Option<Series> {
    let known = course.mean.iter().any(|v| v.is_finite());
    let band = (runs > 1).then_some((course.low, course.high));
    known.then_some(Series { label, paint, x: course.x, y: course.mean, band })
}

/// Returns the rows of a run. Missing columns are empty.
fn rows(group: &Group, run: &Run, points: &Points, columns: usize) -> Vec<Vec<String>> {
    let row = |(x, y): &(f64, Vec<f64>)| {
        let cells = (0..columns).map(|c| exact(y.get(c).copied().unwrap_or(f64::NAN)));
        who(group, run).into_iter().chain([x.to_string()]).chain(cells).collect()
    };
    points.iter().map(row).collect()
}

/// Quantity of each epoch, and of statistics within it.
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
    of: Quantity,
}

/// Value of a line of the metrics.
#[derive(Clone, Copy)]
enum Quantity {
    /// Value of the network, the same measured at the end of an epoch or within it.
    Score(fn(&Scores) -> Number),
    /// Value on the training samples. Epochs have that of each batch before its update, statistics that of
    /// all samples, so a curve has only one kind.
    Train(fn(&Scores) -> Number),
    /// Value of an epoch.
    Epoch(fn(&Epoch) -> Number),
}

use Quantity::{Score, Train};

const CURVES: [Curve; 6] = [
    accuracy("test_accuracy", "test-accuracy", "Test accuracy, %", Score(|of| of.test_accuracy)),
    loss("test_loss", "test-loss", "Test loss", Score(|of| of.test_loss)),
    accuracy("train_accuracy", "train-accuracy", "Training accuracy, %", Train(|of| of.train_accuracy)),
    loss("train_loss", "train-loss", "Training loss", Train(|of| of.train_loss)),
    accuracy("validation_accuracy", "validation-accuracy", "Validation accuracy, %", Score(|of| of.validation_accuracy)),
    loss("validation_loss", "validation-loss", "Validation loss", Score(|of| of.validation_loss)),
];

const SOLVES: [Curve; 2] = [
    loss("solve_residual", "solve-residual", "Worst relative residual", Quantity::Epoch(|line| line.solve_residual)),
    Curve {
        scale: Scale::Linear,
        limits: (0.0, f64::INFINITY),
        ..loss(
            "solve_products_per_step",
            "solve-products",
            "Forward products per step",
            Quantity::Epoch(|line| line.solve_products_per_step),
        )
    },
];

const fn accuracy(key: &'static str, id: &'static str, title: &'static str, of: Quantity) -> Curve {
    Curve { key, id, title, scale: Scale::Linear, limits: PERCENT, factor: 100.0, positive: false, of }
}

const fn loss(key: &'static str, id: &'static str, title: &'static str, of: Quantity) -> Curve {
    Curve { key, id, title, scale: Scale::Log, limits: ANYWHERE, factor: 1.0, positive: true, of }
}

impl Curve {
    /// Makes the chart, one line per group. Returns `None` if no run has the quantity.
    fn figure(&self, groups: &[Group]) -> Option<Figure> {
        let title = match self.scale {
            Scale::Linear => self.title.to_owned(),
            Scale::Log => format!("{}, logarithmic", self.title),
        };
        let chart = Chart::new(self.id.into(), title, "epoch", self.scale, self.limits);
        chart.by_group(groups, self.key, (self.factor, self.positive), |run| self.of.points(run))
    }
}

impl Quantity {
    /// Returns the values of a run, by the number of epochs trained.
    fn points(self, run: &Run) -> Points {
        let value = |x: Number| vec![x.unwrap_or(f64::NAN)];
        let by_epoch = |of: &dyn Fn(&Epoch) -> Number| run.epochs.iter().map(|e| (e.epoch as f64, value(of(e)))).collect();
        let by_step = |of: fn(&Scores) -> Number| run.stats.iter().map(|s| (s.epochs, value(of(&s.scores)))).collect();
        match self {
            Self::Epoch(of) => by_epoch(&of),
            Self::Train(of) if run.stats.is_empty() => by_epoch(&|line| of(&line.scores)),
            Self::Train(of) => by_step(of),
            Self::Score(of) => merged(by_epoch(&|line| of(&line.scores)), by_step(of)),
        }
    }
}

/// Returns the points of epochs and those of statistics within them, in order. At the end of an
/// epoch both hold the same measurement, which counts once.
fn merged(epochs: Points, stats: Points) -> Points {
    let within = stats.into_iter().filter(|(x, _)| !epochs.iter().any(|(end, _)| end == x)).collect::<Points>();
    let mut all = [within, epochs].concat();
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all
}

/// Returns all runs with their groups, in order.
pub(super) fn each_run(groups: &[Group]) -> impl Iterator<Item = (&Group, &Run)> {
    groups.iter().flat_map(|group| group.runs.iter().map(move |run| (group, run)))
}

/// Makes the chart of a quantity of layers, without lines. Cosines have fixed limits.
fn chart(id: String, title: String, x_name: &'static str, scale: Scale) -> Chart {
    let angles = id.contains("cosine");
    Chart { angles, ..Chart::new(id, title, x_name, scale, if angles { COSINE } else { ANYWHERE }) }
}

/// Quantity of each layer and epoch: id, column of the metrics, title, scale, values.
type ByEpoch = (&'static str, &'static str, &'static str, Scale, fn(&Layers) -> &[Number]);

const COSINES: ByEpoch = ("cosine", "cosine_with_bp", "Cosine with BP's update", Scale::Linear, |layers| &layers.cosine_with_bp);
const RATIOS: ByEpoch = ("ratio", "ratio_to_bp", "Norm of the update over BP's", Scale::Log, |layers| &layers.ratio_to_bp);
const OFFDIAG: ByEpoch =
    ("offdiag", "offdiag", "Regularizer's norm, ‖offdiag(W Wᵀ)‖", Scale::Log, |layers| &layers.offdiag);

/// Makes the chart of one group by epoch, one line per layer. Returns `None` for comparisons of
/// backpropagation with itself, whose values are all 1.
fn by_epoch((id, key, title, scale, of): ByEpoch, g: usize, group: &Group) -> Option<Figure> {
    if group.rule() == "bp" && key != OFFDIAG.1 {
        return None;
    }
    chart(format!("{id}-{}", g + 1), format!("{title}: {}", group.label), "epoch", scale).by_layer(group, |run| {
        let epochs = run.epochs.iter().map(|line| (line.epoch as f64, numbers(of(&line.layers)))).collect();
        merged(epochs, run.stats.iter().map(|line| (line.epochs, numbers(of(&line.layers)))).collect())
    })
}

/// Makes the chart of the final values by layer, one line per group.
fn at_the_end((id, key, title, scale, of): ByEpoch, groups: &[Group]) -> Option<Figure> {
    chart(format!("{id}-end"), format!("{title}, at the end"), "layer", scale).by_group(groups, key, (1.0, false), |run| {
        run.last_layers(of).into_iter().enumerate().map(|(layer, value)| (layer as f64, vec![value])).collect()
    })
}

/// Quantity of each layer and diagnosed step: id, title, scale, value.
type ByStep = (&'static str, &'static str, Scale, fn(&Layer) -> Number);

const DIAGNOSED: [ByStep; 12] = [
    ("step-cosine", "Cosine with BP's update", Scale::Linear, |layer| layer.cosine_with_bp),
    ("step-cosine-exact", "Cosine with the update by exact inverses", Scale::Linear, |layer| layer.cosine_with_exact.flatten()),
    ("step-ratio", "Norm of the update over BP's", Scale::Log, |layer| layer.ratio_to_bp),
    ("step-correlation", "Mean square of the input's correlations", Scale::Log, |layer| layer.decorrelation_loss),
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
    chart(format!("{id}-{}", g + 1), format!("{title}: {}", group.label), "step", scale).by_layer(group, |run| {
        let values = |line: &Diagnostics| line.layers.iter().map(|layer| of(layer).unwrap_or(f64::NAN)).collect();
        run.diagnostics.iter().map(|line| (line.step as f64, values(line))).collect()
    })
}

/// Makes the charts of the singular values of the last weights, one per group, and names runs
/// without them.
fn spectra(groups: &[Group], spectra: &[Vec<Spectrum>]) -> (Vec<Figure>, Vec<String>) {
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for (g, (group, of_group)) in groups.iter().zip(spectra).enumerate() {
        let mut known: Vec<(&Run, &Vec<Vec<f64>>)> = Vec::new();
        for (run, spectrum) in group.runs.iter().zip(of_group) {
            match spectrum {
                Ok(layers) => known.push((run, layers)),
                Err(why) => notes.push(format!("{}, {}: {why}.", group.label, run.name())),
            }
        }
        let layers = known.iter().map(|(_, s)| s.len()).max().unwrap_or(0);
        let line = |layer: usize| {
            let values = known.iter().filter_map(|(_, s)| s.get(layer)).flat_map(|v| (1..).map(f64::from).zip(v.iter().copied()));
            line(format!("W{layer}"), Paint::Layer { layer, of: layers }, Course::of(values), known.len())
        };
        let lines: Vec<Series> = (0..layers).filter_map(line).collect();
        let ranks = known.iter().flat_map(|(_, s)| s.iter().map(Vec::len)).max().unwrap_or(0);
        let mut rows = Vec::new();
        for (run, spectrum) in &known {
            for (layer, values) in spectrum.iter().enumerate() {
                // The precision of f32 weights keeps the page small.
                let digits = (0..ranks).map(|i| values.get(i).map_or(String::new(), |v| (*v as f32).to_string()));
                rows.push(who(group, run).into_iter().chain([format!("W{layer}")]).chain(digits).collect());
            }
        }
        let (low, high) = extent(lines.iter().flat_map(|s| s.y.iter().copied()));
        let scale = if high > 20.0 * low { Scale::Log } else { Scale::Linear };
        let (id, title) = (format!("singular-values-{}", g + 1), format!("Singular values: {}", group.label));
        let names: Vec<String> = (1..=ranks).map(|i| i.to_string()).collect();
        figures.extend(chart(id, title, "rank", scale).figure(lines, ("layer", &names), rows));
    }
    (figures, notes)
}

/// Makes all sections with charts, in the order of the page.
pub(super) fn sections(groups: &[Group], singular_values: &[Vec<Spectrum>]) -> [Section; 6] {
    let section = |id, title, text, figures| Section { id, title, text, figures, notes: Vec::new() };
    let curves = |curves: &[Curve]| curves.iter().filter_map(|curve| curve.figure(groups)).collect();
    let by_epoch = |quantity| groups.iter().enumerate().filter_map(move |(g, group)| by_epoch(quantity, g, group));
    let by_step = |&quantity| groups.iter().enumerate().filter_map(move |(g, group)| by_step(quantity, g, group));
    let end = |quantity| at_the_end(quantity, groups).into_iter();
    let (spectra, notes) = spectra(groups, singular_values);
    [
        section(
            "learning",
            "Learning curves",
            "Lines are means over the runs of a group. Bands reach from the lowest to the highest run. Training figures are those of each \
             batch before its update; with --stats-every, those of all samples.",
            curves(&CURVES),
        ),
        section(
            "alignment",
            "Alignment with backpropagation",
            "Weight update of a rule compared with backpropagation's on the same batch (the first of the training set), without regularizer. \
             1 means the same direction, or the same norm. Backpropagation itself is always 1. Points of a cosine name its angle in degrees.",
            end(COSINES).chain(end(RATIOS)).chain(by_epoch(COSINES)).chain(by_epoch(RATIOS)).collect(),
        ),
        section(
            "orthogonality",
            "Orthogonality",
            "Frobenius norm that the regularizer reduces: the off-diagonal part of W Wᵀ. With --ortho-form identity it is W Wᵀ − I; with \
             --ortho-side columns, the same of WᵀW.",
            end(OFFDIAG).chain(by_epoch(OFFDIAG)).collect(),
        ),
        Section {
            notes,
            ..section(
                "singular-values",
                "Singular values",
                "Singular values of the saved weights of each layer, largest first. They are equal for a multiple of an orthogonal matrix. The \
                 first over the last is the condition number, by which solves with the weights lose accuracy.",
                spectra,
            )
        },
        section(
            "solves",
            "Solves",
            "Accuracy and cost of the solves that propagate errors through the inverses of layers.",
            curves(&SOLVES),
        ),
        section(
            "diagnostics",
            "Diagnostics",
            "Measurements at intervals during training, by layer.",
            DIAGNOSED.iter().flat_map(by_step).collect(),
        ),
    ]
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
