//! `gaitprop eval`: loss and accuracy of saved weights.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure, print};
use crate::data::{self, LoadOptions, Scaling};
use crate::model::loss::Loss;
use crate::model::network::Network;
use crate::run::config::Runtime;
use crate::run::dir::CONFIG;
use crate::run::options::{DEFAULT_DATA, Options};
use crate::run::table::aligned;
use crate::store::weights::{self, Notes, Saved};
use crate::train;
use gaitprop_kernels::Real;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A folder written by `train --out`, or a file of weights
    weights: PathBuf,
    /// Data set: digits, a folder of IDX files, or a .npz [default: the data set of the run, else
    /// digits]
    #[arg(long, value_name = "SET")]
    data: Option<String>,
    /// Scale inputs this way, by the data set's own statistics [default: with the statistics of
    /// training]
    #[arg(long, value_name = "HOW")]
    scale: Option<Scaling>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let runtime = Runtime::new(None, args.threads, None, None)?;
    let file = if args.weights.is_dir() { args.weights.join(weights::WEIGHTS) } else { args.weights.clone() };
    let (saved, notes) = weights::load(&file)?;
    let text = match saved {
        Saved::F32(net) => scores(args, &file, &net, &notes, &runtime)?,
        Saved::F64(net) => scores(args, &file, &net, &notes, &runtime)?,
    };
    print(&text)?;
    Ok(Done::Success)
}

/// Scores the network of `file` on all its sets of samples, as a table.
fn scores<T: Real>(args: &Args, file: &Path, net: &Network<T>, notes: &Notes, runtime: &Runtime) -> Result<String> {
    let loss: Loss = notes.loss.parse().map_err(|e: Error| Error::File { path: file.to_owned(), what: e.to_string() })?;
    // The data set of the run, within the same limits.
    let config = file.with_file_name(CONFIG);
    let run = if args.data.is_none() && config.exists() { Options::read(&config)? } else { Options::default() };
    let name = args.data.as_deref().or(run.data.as_deref()).unwrap_or(DEFAULT_DATA);
    // The width of the output layer limits the number of classes.
    let options = LoadOptions { classes: Some(net.labels()), limit_train: run.limit_train, limit_test: run.limit_test };
    let mut data = data::load(name, &options).map_err(|e| match e {
        // The usual advice, --classes, does not apply to a trained network.
        Error::Label { path, index, label, classes } => {
            Error::Setting(format!("{}: label {label} at index {index}, but the network has {classes} classes", path.display()))
        }
        other => other,
    })?;
    if let Some(count) = run.validation {
        data.hold_out(count)?;
    }
    let (inputs, features, name) = (net.inputs(), data.features, &data.name);
    if features != inputs {
        let what = format!("the network reads {inputs} inputs, but {name} has {features}: name its data set with --data");
        return Err(Error::Setting(what));
    }
    let ready = match args.scale {
        Some(scale) => data.apply::<T>(&data.affine(scale))?,
        None => data.apply::<T>(&notes.inputs)?,
    };
    let plan = runtime.plan(runtime.par()?);
    let mut rows = Vec::new();
    for (name, samples) in [("test", Some(&ready.test)), ("validation", ready.validation.as_ref()), ("train", Some(&ready.train))]
    {
        let Some(samples) = samples else { continue };
        let score = train::evaluate(net, samples, loss, &plan)?;
        let accuracy = format!("accuracy {:6.2} %", 100.0 * score.accuracy());
        let loss = format!("loss {:.6}", score.mean_loss());
        rows.push([name.into(), accuracy, loss, format!("({} of {})", score.correct, score.samples)]);
    }
    Ok(aligned(&rows, 1))
}
