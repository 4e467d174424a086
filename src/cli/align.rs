//! `gaitprop align`: differences between the updates of two rules, layer by layer, over one
//! parameter.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::base::names::names;
use crate::base::rng::Rng;
use crate::cli::{Done, Failure, print};
use crate::data::{self, Dataset, Features, Samples, Split};
use crate::model::matrix::Matrix;
use crate::rule::{LearningRule, TargetForm};
use crate::run::config::{RunConfig, check_shape};
use crate::run::options::Options;
use crate::run::pool::progress;
use crate::run::session::{Session, ask_for, check_memory};
use crate::run::table::{aligned, csv};
use crate::solve::SolverKind;
use crate::study::align::{Compared, Comparison, Condition, Precision, RuleSpec};
use crate::study::diagnostics::Alignment;
use crate::study::gauss_newton::check_damping;
use crate::train::{TrainConfig, check_decorrelation};
use gaitprop_kernels::{Plan, Real};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The rule to compare and its reference: each RULE, RULE:absolute, RULE:f64 or RULE:f32 (or
    /// both), with RULE as for `gaitprop train`
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "gait,bp")]
    rules: Vec<String>,
    /// Parameter to vary: depth (layers), time (epochs of training by --rule, else by A),
    /// orthogonality (noise added to W, relative to it), norms (spread of the norms of rows),
    /// gamma, or precision (of A; B then uses f64 unless given)
    #[arg(long, value_name = "WHAT", default_value_t = Axis::Depth)]
    over: Axis,
    /// Values, comma-separated [default: a few over the relevant range]
    #[arg(long, value_name = "V,V,…", value_delimiter = ',', allow_negative_numbers = true)]
    values: Vec<String>,
    /// Also compare both rules with the Gauss-Newton updates, which target propagation approximates
    #[arg(long)]
    gauss_newton: bool,
    /// Damping λ of the Gauss-Newton updates: 0 gives the exact target, a large λ the direction of
    /// backpropagation [default: 0]
    #[arg(long, value_name = "L", requires = "gauss_newton", allow_negative_numbers = true)]
    gauss_newton_damping: Option<f64>,
    /// Number of features of random inputs in [0, 1) with random labels, used instead of data
    #[arg(long, value_name = "FEATURES", conflicts_with = "data")]
    random: Option<usize>,
    /// Also write the results as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also write the results as JSON, with the settings
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    settings: Options,
}

/// The parameter that varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Depth,
    Time,
    Orthogonality,
    Norms,
    Gamma,
    Precision,
}

names!(
    Axis,
    "axis",
    Depth = "depth",
    Time = "time",
    Orthogonality = "orthogonality",
    Norms = "norms",
    Gamma = "gamma",
    Precision = "precision"
);

impl Axis {
    /// Default values.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Depth => &["1", "2", "5", "10", "20", "50"],
            Self::Time => &["0", "1", "2", "5", "10", "20"],
            Self::Orthogonality | Self::Norms => &["0", "0.001", "0.01", "0.1", "0.3"],
            Self::Gamma => &["0.000001", "0.0001", "0.001", "0.01", "0.1", "1"],
            Self::Precision => &["f32", "f64"],
        }
    }

    /// Name of a value.
    fn unit(self) -> &'static str {
        match self {
            Self::Depth => "layers",
            Self::Time => "epochs",
            Self::Orthogonality => "noise",
            Self::Norms => "spread",
            Self::Gamma => "gamma",
            Self::Precision => "type",
        }
    }
}

/// One layer at one value.
#[derive(Serialize)]
struct Row<'a> {
    value: &'a str,
    layer: usize,
    layers: usize,
    #[serde(flatten)]
    compared: &'a Compared,
}

/// The file of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    a: String,
    b: String,
    over: &'static str,
    data: &'a str,
    samples: usize,
    gamma: f64,
    seed: u64,
    inverse: &'static str,
    /// That of the solver, if it is damped.
    #[serde(skip_serializing_if = "Option::is_none")]
    damping: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauss_newton_damping: Option<f64>,
    rows: &'a [Row<'a>],
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let over = args.over;
    let mut options = args.settings.clone();
    if options.out.is_some() {
        return Err(Error::Setting("align does not use --out: see --csv and --json".into()).into());
    }
    let Options { layers, dense, tower, hidden, .. } = &options;
    if over == Axis::Depth && (layers.is_some() || dense.is_some() || tower.is_some() || hidden.is_some()) {
        return Err(Error::Setting("--over depth sets the number of layers: give only --width".into()).into());
    }
    let form = options.form.take().unwrap_or(TargetForm::Difference);
    let rule_specs = rule_specs(args, over, form, options.dtype)?;
    let damping = args.gauss_newton.then_some(args.gauss_newton_damping.unwrap_or(0.0));
    damping.map_or(Ok(()), check_damping)?;
    // The rule trained over time, and the default of the settings. Solves are exact unless a solver
    // is given.
    options.rule.get_or_insert(rule_specs[0].kind);
    options.inverse.get_or_insert(SolverKind::Lu);
    let data = dataset(args, &options)?;
    let run = RunConfig::resolve(options, &data)?;
    if over == Axis::Time {
        check_over_time(&run, &rule_specs)?;
    }
    run.train.solver.check_untrained()?;
    for spec in &rule_specs {
        let train = TrainConfig { rule: spec.kind, target_form: spec.form, solver: spec.solver(&run.train), ..run.train };
        check_shape(&train, &run.architecture)?;
    }
    let values: Vec<String> = match args.values.as_slice() {
        [] => over.usual().iter().map(|&v| v.into()).collect(),
        given => given.iter().map(|v| v.trim().to_owned()).collect(),
    };

    args.csv.iter().chain(&args.json).try_for_each(|path| check_place(path))?;

    let plan = run.runtime.plan(run.runtime.par()?);
    let study = Comparison { damping, ..study(&run, &data, rule_specs)? };
    let bar = progress("align {bar:32} {pos} of {len}  {eta} left", values.len() as u64, args.quiet);
    let found = match (over, run.runtime.precision) {
        (Axis::Time, Precision::F32) => over_time::<f32>(&run, &data, &study, &values, &plan, &bar),
        (Axis::Time, Precision::F64) => over_time::<f64>(&run, &data, &study, &values, &plan, &bar),
        _ => over_points(over, &study, &values, &plan, &bar),
    };
    bar.finish_and_clear();
    let found = found?;

    let rows: Vec<Row<'_>> = values.iter().zip(&found).flat_map(|(value, layers)| rows(value, layers)).collect();
    // Write the files and print the table even if the other fails.
    let written = write_files(args, over, &study, &data, &rows);
    print(&table(over, &study, &data, &values, &found))?;
    written?;
    Ok(Done::Success)
}

/// Writes the files that were requested.
fn write_files(args: &Args, over: Axis, study: &Comparison, data: &Dataset, rows: &[Row<'_>]) -> Result<()> {
    if let Some(path) = &args.csv {
        write(path, &csv(&cells(over, study, rows)))?;
    }
    if let Some(path) = &args.json {
        let document = Document {
            a: study.rules[0].to_string(),
            b: study.rules[1].to_string(),
            over: over.name(),
            data: &data.name,
            samples: study.x.rows(),
            gamma: study.train.gamma,
            seed: study.seed,
            inverse: study.train.solver.name(),
            damping: (study.train.solver == SolverKind::Damped).then_some(study.train.damping),
            gauss_newton_damping: study.damping,
            rows,
        };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        write(path, &(text + "\n"))?;
    }
    Ok(())
}

/// Parses the two rules. `form` is the first rule's default; `dtype` is the default of both.
fn rule_specs(args: &Args, over: Axis, form: TargetForm, dtype: Option<Precision>) -> Result<[RuleSpec; 2]> {
    let [a, b] = args.rules.as_slice() else {
        return Err(Error::Setting(format!("--rules takes two rules, as gait,bp, not {}", args.rules.len())));
    };
    let common = dtype.unwrap_or(Precision::F32);
    let spec = |text: &str, form: TargetForm, precision: Precision| {
        let mut parts = text.split(':').map(str::trim);
        let kind: LearningRule = parts.next().unwrap_or_default().parse()?;
        let mut spec = RuleSpec { kind, form, precision };
        for part in parts {
            match part.parse::<Precision>() {
                Ok(precision) => spec.precision = precision,
                Err(_) => {
                    let unknown =
                        |_| Error::Setting(format!("rule `{text}`: `{part}` is not one of difference, absolute, f32 and f64"));
                    spec.form = part.parse().map_err(unknown)?;
                }
            }
        }
        if spec.form == TargetForm::Absolute && !kind.sends_targets() {
            return Err(Error::Setting(format!(
                "rule `{text}`: absolute is a form of gait, itp and tp; {kind} sends no targets"
            )));
        }
        Ok(spec)
    };
    let reference = if over == Axis::Precision { Precision::F64 } else { common };
    Ok([spec(a, form, common)?, spec(b, TargetForm::Difference, reference)?])
}

/// Loads the data set, or draws ten batches of random samples.
fn dataset(args: &Args, options: &Options) -> Result<Dataset> {
    let Some(features) = args.random else {
        return options.load_data().map(|(_, data)| data);
    };
    if features == 0 {
        return Err(Error::Setting("--random 0: use 1 feature or more".into()));
    }
    let (classes, len) = (options.classes.unwrap_or(10), options.batch.unwrap_or(60).saturating_mul(10));
    let values = len.checked_mul(features).filter(|&n| n <= MAX_VALUES);
    let (Some(values), 1..=data::MAX_CLASSES) = (values, classes) else {
        return Err(Error::Setting(format!("--random {features} with {classes} classes and {len} samples: out of range")));
    };
    // Held as drawn, as test samples, and scaled.
    ask_for(values.saturating_mul(4 * size_of::<f64>()), "random samples", "use fewer features (--random) or a smaller --batch")?;
    let mut rng = Rng::new(options.seed.unwrap_or(1), STREAM);
    let x = (0..values).map(|_| rng.uniform()).collect();
    let split = Split { x: Features::Floats(x), labels: (0..len).map(|_| rng.below(classes as u64) as u32).collect() };
    let name = "random samples".into();
    Ok(Dataset { name, features, classes, image: None, full_scale: 1.0, train: split.clone(), validation: None, test: split })
}

/// Upper limit that catches typing errors.
const MAX_VALUES: usize = 1 << 28;
/// Random stream of the samples; lower numbers serve other purposes.
const STREAM: u64 = 4;

/// Refuses `--over time` for learned inverses, for KP, and for rules whose targets cannot go through
/// decorrelations.
fn check_over_time(run: &RunConfig, rules: &[RuleSpec]) -> Result<()> {
    let learned = match run.train.solver {
        SolverKind::Learned => Some(("the inverses learn", "inverses")),
        _ => rules.iter().any(|spec| spec.kind == LearningRule::Kp).then_some(("kp learns its feedback", "feedback")),
    };
    if let Some((learned, what)) = learned {
        let what = format!(
            "--over time: {learned} in training, and rules are compared with new {what}: read the cosines in the metrics of a training"
        );
        return Err(Error::Setting(what));
    }
    if run.train.decorrelation.is_none() {
        return Ok(());
    }
    rules.iter().try_for_each(|spec| {
        check_decorrelation(spec.kind, spec.form, run.train.solver).map_err(|e| Error::Setting(format!("rule {spec}: {e}")))
    })
}

fn study(run: &RunConfig, data: &Dataset, rules: [RuleSpec; 2]) -> Result<Comparison> {
    let samples: Samples<f64> = data.apply(&data.affine(run.scale))?.train;
    let batch = run.train.batch.min(samples.len);
    let x = Matrix::from_vec(batch, samples.features, samples.x[..batch * samples.features].to_vec())?;
    let mut target = Matrix::zeros(batch, data.classes);
    data::one_hot(&samples.labels[..batch], data.classes, target.data_mut());
    Ok(Comparison { rules, architecture: run.architecture.clone(), seed: run.seed, train: run.train, x, target, damping: None })
}

/// Parses one of `--values`.
fn number<N: FromStr>(over: Axis, value: &str) -> Result<N> {
    value.parse().map_err(|_| Error::Setting(format!("--values: `{value}` is not a number of {}", over.unit())))
}

/// Number of parties to a comparison. Each has its own network, gradients and factors.
fn parties(study: &Comparison) -> usize {
    2 + usize::from(study.damping.is_some())
}

/// Compares the rules at each value.
fn over_points(over: Axis, study: &Comparison, values: &[String], plan: &Plan, bar: &ProgressBar) -> Result<Vec<Vec<Compared>>> {
    let points = values.iter().map(|value| {
        Ok(match over {
            Axis::Depth => Condition::Depth(number(over, value)?),
            Axis::Orthogonality => Condition::Noise(number(over, value)?),
            Axis::Norms => Condition::Norms(number(over, value)?),
            Axis::Gamma => Condition::Gamma(number(over, value)?),
            _ => Condition::Precision(value.parse()?),
        })
    });
    // All values are parsed before the first comparison.
    let points = points.collect::<Result<Vec<_>>>()?;
    // Untrained networks are compared, in which nothing is decorrelated.
    let train = TrainConfig { decorrelation: None, ..study.train };
    let memory = |point| check_memory::<f64>(&train, &study.architecture_at(point)?, study.x.rows(), parties(study));
    points.iter().try_for_each(|&point| memory(point))?;
    points.into_iter().map(|point| study.at(point, plan).inspect(|_| bar.inc(1))).collect()
}

/// Compares the rules during training, after each given number of epochs.
fn over_time<T: Real>(
    run: &RunConfig,
    data: &Dataset,
    study: &Comparison,
    values: &[String],
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Vec<Vec<Compared>>> {
    let epochs = values.iter().map(|value| number(Axis::Time, value)).collect::<Result<Vec<usize>>>()?;
    if !epochs.is_sorted() {
        return Err(Error::Setting("--values: epochs must be in ascending order".into()));
    }
    check_memory::<T>(&run.train, &run.architecture, data.train.len(), 1)?;
    check_memory::<f64>(&study.train, &study.architecture, study.x.rows(), parties(study))?;
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs)?;
    let mut session = Session::new(run, (&ready, &inputs), plan.clone(), None)?;
    let (mut found, mut done) = (Vec::new(), 0);
    for until in epochs {
        for _ in done..until {
            session.epoch(|_| ControlFlow::Continue(()))?;
        }
        done = until;
        found.push(study.on(&session.trainer.network().cast(), plan)?);
        bar.inc(1);
    }
    Ok(found)
}

fn rows<'a>(value: &'a str, layers: &'a [Compared]) -> impl Iterator<Item = Row<'a>> {
    layers.iter().enumerate().map(move |(layer, compared)| Row { value, layer, layers: layers.len(), compared })
}

/// Rows of the CSV file.
fn cells(over: Axis, study: &Comparison, rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let [a, b] = &study.rules;
    let mut head = vec!["a", "b", "over", over.unit(), "layer", "layers", "cosine", "difference", "ratio"];
    if study.damping.is_some() {
        head.extend(["a_cosine_gauss_newton", "b_cosine_gauss_newton"]);
    }
    let row = |row: &Row<'_>| {
        let Row { value, layer, layers, compared } = row;
        let Alignment { cosine, difference, ratio } = compared.alignment;
        let cells: [&dyn Display; 9] = [a, b, &over, value, layer, layers, &cosine, &difference, &ratio];
        let gauss_newton = compared.gauss_newton.iter().flat_map(|cosines| [cosines.a, cosines.b]);
        cells.iter().map(ToString::to_string).chain(gauss_newton.map(|cosine| cosine.to_string())).collect()
    };
    std::iter::once(head.into_iter().map(str::to_owned).collect()).chain(rows.iter().map(row)).collect()
}

/// Refuses, before any work, a file that cannot be created.
fn check_place(path: &Path) -> Result<()> {
    let refuse = |what: &str| Err(Error::Setting(format!("{}: cannot write: {what}", path.display())));
    if path.is_dir() {
        return refuse("it is a folder");
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => refuse("there is no such folder"),
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    files::write_atomically(path, text.as_bytes()).map_err(Error::io("write", path))
}

/// Formats tables with a row for each layer and a column for each value.
fn table(over: Axis, study: &Comparison, data: &Dataset, values: &[String], found: &[Vec<Compared>]) -> String {
    let [a, b] = &study.rules;
    let mut text = format!(
        "{a} against {b}, over {over}; {}, first {} samples; {} wide; gamma {}; seed {}",
        data.name,
        study.x.rows(),
        study.architecture.layers.first().map_or(0, |l| l.1),
        study.train.gamma,
        study.seed
    );
    text += &study.damping.map_or("\n".into(), |damping| format!("; gn: Gauss-Newton, damping {damping}\n"));
    let most = found.iter().map(Vec::len).max().unwrap_or(0);
    type Cell = fn(&Compared) -> String;
    let mut blocks: Vec<(String, Cell)> = vec![
        ("cosine".into(), |c| cosine(c.alignment.cosine)),
        ("angle, degrees".into(), |c| match c.alignment.degrees() {
            angle if angle.is_nan() => "-".into(),
            angle => format!("{angle:.2}"),
        }),
        ("|a - b| / |b|".into(), |c| match c.alignment.difference {
            d if d.is_nan() => "-".into(),
            d => format!("{d:.1e}"),
        }),
    ];
    if study.damping.is_some() {
        blocks.push((format!("cos(gn) of {a}"), |c| c.gauss_newton.map_or(String::new(), |gn| cosine(gn.a))));
        blocks.push((format!("cos(gn) of {b}"), |c| c.gauss_newton.map_or(String::new(), |gn| cosine(gn.b))));
    }
    for (title, cell) in blocks {
        let head = [title].into_iter().chain(values.iter().cloned()).chain([over.unit().to_owned()]);
        let mut rows = vec![head.collect::<Vec<_>>()];
        rows.extend((0..most).map(|l| {
            let cells = found.iter().map(|layers| layers.get(l).map(cell).unwrap_or_default());
            [format!("  W{l}")].into_iter().chain(cells).collect()
        }));
        text += &aligned(&rows, 1);
    }
    // The rules have updates there.
    let undetermined =
        |c: &Compared| !c.alignment.cosine.is_nan() && c.gauss_newton.is_some_and(|gn| gn.a.is_nan() && gn.b.is_nan());
    if found.iter().flatten().any(undetermined) {
        text += "-: no Gauss-Newton update, as the Jacobian of the outputs does not have full rank; --gauss-newton-damping gives one\n";
    }
    text
}

/// Formats a cosine, or a dash if there is none.
fn cosine(cosine: f64) -> String {
    if cosine.is_nan() { "-".into() } else { format!("{cosine:.4}") }
}
