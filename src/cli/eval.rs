//! `gaitprop eval`: loss and accuracy of saved weights.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure, print};
use crate::data::{self, Affine, Dataset, LoadOptions, Samples, Scaling};
use crate::model::loss::{Loss, Score};
use crate::model::network::Network;
use crate::run::config::Runtime;
use crate::run::options::{DEFAULT_DATA, Options};
use crate::run::table::aligned;
use crate::store::weights::{self, Saved};
use crate::train;
use gaitprop_kernels::Real;
use std::path::PathBuf;

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
    let loss: Loss = notes.loss.parse().map_err(|e: Error| Error::File { path: file.clone(), what: e.to_string() })?;
    let labels = match &saved {
        Saved::F32(net) => net.labels(),
        Saved::F64(net) => net.labels(),
    };
    // The width of the output layer limits the number of classes.
    let mut options = LoadOptions { classes: Some(labels), ..LoadOptions::default() };
    let config = file.with_file_name(crate::run::dir::CONFIG);
    let mut validation = None;
    let data = match &args.data {
        Some(data) => data.clone(),
        // The data set of the run, within the same limits.
        None if config.exists() => {
            let run = Options::read(&config)?;
            (options.limit_train, options.limit_test) = (run.limit_train, run.limit_test);
            validation = run.validation;
            run.data.unwrap_or_else(|| DEFAULT_DATA.into())
        }
        None => DEFAULT_DATA.into(),
    };
    let mut data = data::load(&data, &options).map_err(|e| match e {
        // The usual advice, --classes, does not apply to a trained network.
        Error::Label { path, index, label, classes } => {
            Error::Setting(format!("{}: label {label} at index {index}, but the network has {classes} classes", path.display()))
        }
        other => other,
    })?;
    if let Some(count) = validation {
        data.hold_out(count)?;
    }
    let inputs = match args.scale {
        Some(scale) => data.affine(scale),
        None => notes.inputs,
    };
    let plan = runtime.plan(runtime.par()?);
    let text = match saved {
        Saved::F32(net) => report(&net, &data, &inputs, loss, &plan)?,
        Saved::F64(net) => report(&net, &data, &inputs, loss, &plan)?,
    };
    print(&text)?;
    Ok(Done::Success)
}

fn report<T: Real>(
    net: &Network<T>,
    data: &Dataset,
    inputs: &Affine,
    loss: Loss,
    plan: &gaitprop_kernels::Plan,
) -> Result<String> {
    if data.features != net.inputs() {
        let what = format!(
            "the network reads {} inputs, but {} has {}: name its data set with --data",
            net.inputs(),
            data.name,
            data.features
        );
        return Err(Error::Setting(what));
    }
    let ready = data.apply::<T>(inputs)?;
    let score = |samples: &Samples<T>| train::evaluate(net, samples, loss, plan);
    let mut rows = Vec::new();
    let mut line = |name: &str, s: Score| {
        let accuracy = format!("accuracy {:6.2} %", 100.0 * s.accuracy());
        rows.push([name.into(), accuracy, format!("loss {:.6}", s.mean_loss()), format!("({} of {})", s.correct, s.samples)]);
    };
    line("test", score(&ready.test)?);
    if let Some(held) = &ready.validation {
        line("validation", score(held)?);
    }
    line("train", score(&ready.train)?);
    Ok(aligned(&rows, 1))
}
