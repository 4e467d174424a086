//! `gaitprop align`: how far the updates of two rules lie apart, layer by layer, over what they depend on.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::base::names::names;
use crate::base::rng::Rng;
use crate::cli::{Done, Failure, print};
use crate::data::{self, Dataset, Features, Samples, Split};
use crate::model::matrix::Matrix;
use crate::rule::{LearningRule, TargetForm};
use crate::run::config::RunConfig;
use crate::run::options::Options;
use crate::run::pool::progress;
use crate::run::session::{Session, ask_for, check_memory};
use crate::run::table::{aligned, csv};
use crate::solve::SolverKind;
use crate::study::align::Precision;
use crate::study::align::{Comparison, Condition, RuleSpec};
use crate::study::diagnostics::Alignment;
use gaitprop_kernels::{Plan, Real};
use indicatif::ProgressBar;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The rule whose updates are compared and the one they are compared with, each RULE, RULE:absolute or RULE:f64 (or f32, or both), with RULE gait, bp, itp, tp, fa or dfa
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "gait,bp")]
    rules: Vec<String>,
    /// Over depth (layers), time (epochs of training by --rule, else by A), orthogonality (noise added to W, relative to it), norms (spread of the rows' norms), gamma or
    /// precision (of A; B is in f64 then unless it says)
    #[arg(long, value_name = "WHAT", default_value_t = Over::Depth)]
    over: Over,
    /// Values, comma-separated [default: some, over the range that matters]
    #[arg(long, value_name = "V,V,…", value_delimiter = ',', allow_negative_numbers = true)]
    values: Vec<String>,
    /// Random inputs of so many features, in [0, 1), and random labels, instead of data
    #[arg(long, value_name = "FEATURES", conflicts_with = "data")]
    random: Option<usize>,
    /// Also write the rows as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also write them as JSON, with the settings
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    settings: Options,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Depth,
    Time,
    Orthogonality,
    Norms,
    Gamma,
    Precision,
}

names!(
    Over,
    "axis",
    Depth = "depth",
    Time = "time",
    Orthogonality = "orthogonality",
    Norms = "norms",
    Gamma = "gamma",
    Precision = "precision"
);

impl Over {
    /// Values where none are given.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Depth => &["1", "2", "5", "10", "20", "50"],
            Self::Time => &["0", "1", "2", "5", "10", "20"],
            Self::Orthogonality | Self::Norms => &["0", "0.001", "0.01", "0.1", "0.3"],
            Self::Gamma => &["0.000001", "0.0001", "0.001", "0.01", "0.1", "1"],
            Self::Precision => &["f32", "f64"],
        }
    }

    /// What a value means.
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
    cosine: f64,
    difference: f64,
    ratio: f64,
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
    rows: &'a [Row<'a>],
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let over = args.over;
    let mut said = args.settings.clone();
    if said.out.is_some() {
        return Err(Error::Setting("align has no use for --out: see --csv and --json".into()).into());
    }
    if over == Over::Depth && (said.layers.is_some() || said.tower.is_some() || said.hidden.is_some()) {
        return Err(Error::Setting("over depth, layers are as many as the values say: give their --width alone".into()).into());
    }
    let form = said.form.take().unwrap_or(TargetForm::Difference);
    let parties = parties(args, over, form, said.dtype)?;
    // What is trained over time, and what settings are resolved for. Without a word, inverses are exact.
    said.rule.get_or_insert(parties[0].kind);
    said.inverse.get_or_insert(SolverKind::Lu);
    let data = dataset(args, &said)?;
    let run = RunConfig::resolve(said, &data)?;
    let values: Vec<String> = match args.values.as_slice() {
        [] => over.usual().iter().map(|&v| v.into()).collect(),
        given => given.iter().map(|v| v.trim().to_owned()).collect(),
    };

    args.csv.iter().chain(&args.json).try_for_each(|path| check_place(path))?;

    let plan = run.machine.plan(run.machine.par()?);
    let study = study(&run, &data, parties)?;
    let bar = progress("align {bar:32} {pos} of {len}  {eta} left", values.len() as u64, args.quiet);
    let found = match (over, run.machine.precision) {
        (Over::Time, Precision::F32) => over_time::<f32>(&run, &data, &study, &values, &plan, &bar),
        (Over::Time, Precision::F64) => over_time::<f64>(&run, &data, &study, &values, &plan, &bar),
        _ => over_points(over, &study, &values, &plan, &bar),
    };
    bar.finish_and_clear();
    let found = found?;

    let rows: Vec<Row<'_>> = values.iter().zip(&found).flat_map(|(value, layers)| rows(value, layers)).collect();
    // Neither a file that cannot be written nor a table that cannot be printed takes the other along.
    let written = write_files(args, over, &study, &data, &rows);
    print(&table(over, &study, &data, &values, &found))?;
    written?;
    Ok(Done::Well)
}

/// What was asked for besides the table.
fn write_files(args: &Args, over: Over, study: &Comparison, data: &Dataset, rows: &[Row<'_>]) -> Result<()> {
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
            gamma: study.gamma,
            seed: study.seed,
            inverse: study.solver.name(),
            rows,
        };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        write(path, &(text + "\n"))?;
    }
    Ok(())
}

/// The two rules: what is not said of the first's form and of both precisions is said for all.
fn parties(args: &Args, over: Over, form: TargetForm, dtype: Option<Precision>) -> Result<[RuleSpec; 2]> {
    let [a, b] = args.rules.as_slice() else {
        return Err(Error::Setting(format!("--rules compares two rules, as gait,bp: here are {}", args.rules.len())));
    };
    let common = dtype.unwrap_or(Precision::F32);
    let party = |text: &str, form: TargetForm, precision: Precision| {
        let mut parts = text.split(':').map(str::trim);
        let kind: LearningRule = parts.next().unwrap_or_default().parse()?;
        let mut party = RuleSpec { kind, form, precision };
        for part in parts {
            match part.parse::<Precision>() {
                Ok(precision) => party.precision = precision,
                Err(_) => {
                    let unknown =
                        |_| Error::Setting(format!("rule `{text}`: `{part}` is none of difference, absolute, f32 and f64"));
                    party.form = part.parse().map_err(unknown)?;
                }
            }
        }
        if party.form == TargetForm::Absolute && !kind.sends_targets() {
            return Err(Error::Setting(format!(
                "rule `{text}`: absolute is a form of gait, itp and tp; {kind} sends no targets"
            )));
        }
        Ok(party)
    };
    let reference = if over == Over::Precision { Precision::F64 } else { common };
    Ok([party(a, form, common)?, party(b, TargetForm::Difference, reference)?])
}

/// The data set, or random samples: ten batches of them.
fn dataset(args: &Args, said: &Options) -> Result<Dataset> {
    let Some(features) = args.random else {
        return said.load_data().map(|(_, data)| data);
    };
    if features == 0 {
        return Err(Error::Setting("--random 0: use 1 feature or more".into()));
    }
    let (classes, len) = (said.classes.unwrap_or(10), said.batch.unwrap_or(60).saturating_mul(10));
    let values = len.checked_mul(features).filter(|&n| n <= MAX_VALUES);
    let (Some(values), 1..=data::MAX_CLASSES) = (values, classes) else {
        return Err(Error::Setting(format!("--random {features} with {classes} classes and {len} samples: that cannot be held")));
    };
    // As they are drawn, as test samples, and scaled.
    ask_for(values.saturating_mul(4 * size_of::<f64>()), "random samples", "use fewer features (--random) or a smaller --batch")?;
    let mut rng = Rng::new(said.seed.unwrap_or(1), STREAM);
    let x = (0..values).map(|_| rng.uniform()).collect();
    let split = Split { x: Features::Floats(x), labels: (0..len).map(|_| rng.below(classes as u64) as u32).collect() };
    let name = "random samples".into();
    Ok(Dataset { name, features, classes, image: None, full_scale: 1.0, train: split.clone(), validation: None, test: split })
}

/// Upper limit, against slips of the keyboard.
const MAX_VALUES: usize = 1 << 28;
/// The stream of the seed that random samples are drawn from; those below are others'.
const STREAM: u64 = 4;

fn study(run: &RunConfig, data: &Dataset, rules: [RuleSpec; 2]) -> Result<Comparison> {
    let samples: Samples<f64> = data.apply(&data.affine(run.scale))?.train;
    let batch = run.train.batch.min(samples.len);
    let x = Matrix::from_vec(batch, samples.features, samples.x[..batch * samples.features].to_vec())?;
    let mut target = Matrix::zeros(batch, data.classes);
    data::one_hot(&samples.labels[..batch], data.classes, target.data_mut());
    let setup = run.train.rule_config(&run.architecture, run.seed);
    Ok(Comparison {
        rules,
        architecture: setup.architecture.clone(),
        init: setup.init,
        seed: setup.seed,
        gamma: setup.gamma,
        loss: run.train.loss,
        solver: run.train.solver,
        tuning: run.train.tuning()?,
        x,
        target,
    })
}

/// Values that can be looked at one by one.
fn over_points(over: Over, study: &Comparison, values: &[String], plan: &Plan, bar: &ProgressBar) -> Result<Vec<Vec<Alignment>>> {
    let points = values.iter().map(|value| {
        let wrong = || Error::Setting(format!("--values: `{value}` is not a number of {}", over.unit()));
        let number = || value.parse::<f64>().map_err(|_| wrong());
        Ok(match over {
            Over::Depth => Condition::Depth(value.parse().map_err(|_| wrong())?),
            Over::Orthogonality => Condition::Noise(number()?),
            Over::Norms => Condition::Norms(number()?),
            Over::Gamma => Condition::Gamma(number()?),
            _ => Condition::Precision(value.parse()?),
        })
    });
    // All of them are read before the first is looked at.
    let points = points.collect::<Result<Vec<_>>>()?;
    // Each of the two rules has its own network, gradients and factors.
    points.iter().try_for_each(|&point| check_memory::<f64>(&study.architecture_at(point)?, study.x.rows(), 2))?;
    points.into_iter().map(|point| study.at(point, plan).inspect(|_| bar.inc(1))).collect()
}

/// In training, after so many epochs.
fn over_time<T: Real>(
    run: &RunConfig,
    data: &Dataset,
    study: &Comparison,
    values: &[String],
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Vec<Vec<Alignment>>> {
    let wrong = |value: &String| Error::Setting(format!("--values: `{value}` is not a number of epochs"));
    let epochs = values.iter().map(|v| v.parse::<usize>().map_err(|_| wrong(v))).collect::<Result<Vec<_>>>()?;
    if !epochs.is_sorted() {
        return Err(Error::Setting("--values: time goes forward; give epochs in ascending order".into()));
    }
    check_memory::<T>(&run.architecture, run.train.batch.min(data.train.len()), 1)?;
    check_memory::<f64>(&study.architecture, study.x.rows(), 2)?;
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs)?;
    let mut session = Session::new(run, (&ready, &inputs), plan.clone(), None)?;
    let (mut found, mut done) = (Vec::new(), 0);
    for until in epochs {
        for _ in done..until {
            session.epoch(|_| ControlFlow::Continue(()))?;
        }
        done = until;
        found.push(study.on(&session.trainer().network().cast(), plan)?);
        bar.inc(1);
    }
    Ok(found)
}

fn rows<'a>(value: &'a str, layers: &[Alignment]) -> Vec<Row<'a>> {
    let row = |(layer, a): (usize, &Alignment)| Row {
        value,
        layer,
        layers: layers.len(),
        cosine: a.cosine,
        difference: a.difference,
        ratio: a.ratio,
    };
    layers.iter().enumerate().map(row).collect()
}

/// Rows for a CSV file.
fn cells(over: Over, study: &Comparison, rows: &[Row<'_>]) -> Vec<[String; 9]> {
    let [a, b] = &study.rules;
    let head = ["a", "b", "over", over.unit(), "layer", "layers", "cosine", "difference", "ratio"].map(str::to_owned);
    let row = |row: &Row<'_>| {
        let Row { value, layer, layers, cosine, difference, ratio } = row;
        let [layer, layers] = [layer, layers].map(|n| n.to_string());
        let [cosine, difference, ratio] = [cosine, difference, ratio].map(|x| x.to_string());
        [a.to_string(), b.to_string(), over.to_string(), (*value).to_owned(), layer, layers, cosine, difference, ratio]
    };
    std::iter::once(head).chain(rows.iter().map(row)).collect()
}

/// Refuses, before any work, a file for which there is no place.
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

/// Two tables, a row a layer and a column a value.
fn table(over: Over, study: &Comparison, data: &Dataset, values: &[String], found: &[Vec<Alignment>]) -> String {
    let [a, b] = &study.rules;
    let mut text = format!(
        "{a} against {b}, over {over}; {}, first {} samples; {} wide; gamma {}; seed {}\n",
        data.name,
        study.x.rows(),
        study.architecture.layers.first().map_or(0, |l| l.1),
        study.gamma,
        study.seed
    );
    let most = found.iter().map(Vec::len).max().unwrap_or(0);
    let number = |x: f64, text: String| if x.is_nan() { "-".into() } else { text };
    type Cell<'c> = &'c dyn Fn(&Alignment) -> String;
    let blocks: [(&str, Cell<'_>); 2] = [
        ("cosine", &|a| number(a.cosine, format!("{:.4}", a.cosine))),
        ("|a - b| / |b|", &|a| number(a.difference, format!("{:.1e}", a.difference))),
    ];
    for (title, cell) in blocks {
        let head = [title.to_owned()].into_iter().chain(values.iter().cloned()).chain([over.unit().to_owned()]);
        let mut rows = vec![head.collect::<Vec<_>>()];
        rows.extend((0..most).map(|l| {
            let cells = found.iter().map(|layers| layers.get(l).map(cell).unwrap_or_default());
            [format!("  W{l}")].into_iter().chain(cells).collect()
        }));
        text += &aligned(&rows, 1);
    }
    text
}
