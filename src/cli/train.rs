//! `gaitprop train`: one training run.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure, print};
use crate::data::Dataset;
use crate::ortho::Side;
use crate::report::sparkline;
use crate::run::config::RunConfig;
use crate::run::dir::{CONFIG, Folder, write_settings};
use crate::run::metrics::{End, Number};
use crate::run::options::Options;
use crate::run::pool::bar;
use crate::run::preset::{dropped, replacements};
use crate::run::session::{EpochProgress, Session, check_memory};
use crate::run::table::aligned;
use crate::store::weights::WEIGHTS;
use crate::study::align::Precision;
use crate::study::diagnostics::degrees;
use gaitprop_kernels::Real;
use indicatif::ProgressBar;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

#[derive(clap::Args)]
pub(super) struct Args {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Resume the run in that folder from its last checkpoint, with the same bits as an
    /// uninterrupted run (only --epochs, --checkpoint-every, --keep, --threads and --isa may
    /// change)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "overwrite", "out"])]
    resume: Option<PathBuf>,
    /// Replace the results that are already in that folder
    #[arg(long)]
    overwrite: bool,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    /// Print how the time of a step divides among its phases
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: Options,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let job = match &args.resume {
        Some(dir) => Job::resumed(args, dir)?,
        None => Job::new(args)?,
    };
    match job.run.runtime.precision {
        Precision::F32 => typed::<f32>(args, &job),
        Precision::F64 => typed::<f64>(args, &job),
    }
}

/// A run to train.
struct Job {
    data: Dataset,
    run: RunConfig,
    /// Folder of results, and the options to write there.
    folder: Option<(PathBuf, Options)>,
    /// What a preset replaces, and what replaces some of it.
    notes: Vec<String>,
}

impl Job {
    fn new(args: &Args) -> Result<Self> {
        let file = args.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
        let options = args.settings.clone().or(file.clone());
        let out = options.out.clone();
        options.check_out(&[
            ("overwrite", args.overwrite),
            ("checkpoint-every", options.checkpoint_every.is_some()),
            ("keep", options.keep.is_some()),
            ("tensorboard", options.tensorboard == Some(true)),
            ("stats-every", options.stats_every.is_some_and(|n| n > 0)),
        ])?;
        let (set, data) = options.load_data()?;
        let run = RunConfig::resolve(options, &data)?;
        let settings = run.options(&set);
        let lost = args.config.as_deref().map(|path| dropped((&args.settings, &[]), (path, &file), [&settings])).transpose()?;
        let notes = [lost.flatten(), replacements(&run.options, &[run.train.rule])?].into_iter().flatten().collect();
        Ok(Self { data, run, folder: out.map(|dir| (dir, settings)), notes })
    }

    /// Reads the run in a folder of results. Flags must not contradict its options.
    fn resumed(args: &Args, dir: &Path) -> Result<Self> {
        let config = dir.join(CONFIG);
        if !config.exists() {
            return Err(Error::Setting(format!("{}: no run to resume: there is no {CONFIG} in it", dir.display())));
        }
        let (options, file) = (&args.settings, Options::read(&config)?);
        file.check_same(options, None)?;
        // The run's own preset, given again, replaces nothing.
        let preset = options.preset.filter(|_| options.preset != file.preset);
        let all = Options { preset, ..options.clone() }.or(file.clone());
        let (set, data) = all.load_data()?;
        let run = RunConfig::resolve(all, &data)?;
        let now = run.options(&set);
        file.check_same(options, Some(&now))?;
        Ok(Self { data, run, folder: Some((dir.to_owned(), now)), notes: Vec::new() })
    }
}

fn typed<T: Real>(args: &Args, job: &Job) -> Result<Done, Failure> {
    let Job { data, run, folder, notes } = job;
    let plan = run.runtime.plan(run.runtime.par()?);
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs)?;
    let interrupted = crate::cli::interrupts();

    check_memory::<T>(&run.train, &run.architecture, data.train.len(), 1)?;
    let samples = (&ready, &inputs);
    let mut session;
    if let (Some(_), Some((dir, settings))) = (&args.resume, folder) {
        let notes;
        (session, notes) = Session::resume(run, samples, plan, Folder::open(dir, settings)?)?;
        notes.iter().for_each(|line| crate::cli::print_note(line));
        let (dir_name, epochs) = (dir.display(), session.progress.epochs);
        if session.finished {
            let why = if epochs < run.epochs { "validation has ended it" } else { "--epochs trains longer" };
            print(&format!("{dir_name}: already finished after {epochs} epochs ({why})\n"))?;
            return Ok(Done::Success);
        }
        session.reopen()?;
        write_settings(dir, settings)?;
        print(&format!("{dir_name}: resumes after step {}, epoch {epochs}\n", session.trainer.steps()))?;
    } else {
        let folder = folder.as_ref().map(|(dir, settings)| Folder::create(dir, settings, args.overwrite)).transpose()?;
        session = Session::new(run, samples, plan, folder)?;
        notes.iter().for_each(|line| crate::cli::print_note(line));
    }
    let bar = bar_of(&session, ready.train.len, args.quiet);
    let outcome = session.train(|EpochProgress { epoch, learned, sofar }| {
        bar.inc(learned as u64);
        if !bar.is_hidden() {
            let (loss, accuracy) = (sofar.mean_loss(), 100.0 * sofar.accuracy());
            bar.set_message(format!("epoch {epoch}  loss {loss:.4}  accuracy {accuracy:.2} %"));
        }
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    // Save the weights even if training failed. A failed run keeps its last checkpoint.
    let saved = session.save_weights(WEIGHTS);
    outcome?;
    saved.and(session.save())?;
    let end = session.finish()?;
    print(&summary(data, &session, &end, folder.as_ref().map(|(dir, _)| dir.as_path())))?;
    if args.profile {
        print(&profile(&session))?;
    }
    if interrupted.load(Ordering::Relaxed) { Ok(Done::Interrupted) } else { Ok(Done::Success) }
}

/// Creates the bar over all epochs of `each` samples, including those before a resume.
fn bar_of<T: Real>(session: &Session<'_, T>, each: usize, quiet: bool) -> ProgressBar {
    let run = session.run;
    let done = session.progress.epochs.saturating_mul(each) + session.trainer.learned();
    let bar = bar(run.train.rule.to_string(), run.epochs.saturating_mul(each) as u64, quiet).with_position(done as u64);
    bar.reset_eta();
    bar
}

/// Formats a table of phases: milliseconds per step, and share.
fn profile<T: Real>(session: &Session<'_, T>) -> String {
    let rule = session.run.train.rule;
    let phases = session.trainer.phases();
    if phases.steps == 0 {
        return format!("\n{rule}: no profile: no step was taken\n");
    }
    let all = session.progress.seconds;
    let rest = ("batches, the rest", (all - phases.total().as_secs_f64()).max(0.0));
    let each = phases.each().map(|(name, time)| (name, time.as_secs_f64()));
    let mut rows = vec![[format!("{rule}, {} steps", phases.steps), "ms a step".into(), "%".into()]];
    rows.extend(each.into_iter().chain([rest, ("all of it", all)]).map(|(name, seconds)| {
        let (ms, share) = (1e3 * seconds / phases.steps as f64, 100.0 * seconds / all);
        [name.to_owned(), format!("{ms:.3}"), format!("{share:.1}")]
    }));
    format!("\n{}", aligned(&rows, 1))
}

/// Formats the results: figures of the network, then of each layer. `folder`: that of the run.
fn summary<T: Real>(data: &Dataset, session: &Session<'_, T>, end: &End, folder: Option<&Path>) -> String {
    let (run, scores, losses) = (session.run, &end.scores, &session.losses);
    let percent = |x: Number| x.map(|x| format!("{:.2} %", 100.0 * x));
    let rows = [
        ("", Some(run.train.rule.to_string())),
        ("test accuracy", percent(scores.test_accuracy)),
        ("validation accuracy", percent(scores.validation_accuracy)),
        ("train accuracy", percent(scores.train_accuracy)),
        ("test loss", scores.test_loss.map(|loss| format!("{loss:.5}"))),
        ("train loss, by epoch", (losses.len() > 1).then(|| sparkline(losses, 12))),
        ("epochs", Some(end.epochs.to_string())),
        ("best validated epoch", end.stopping.map(|stopping| stopping.best_epoch.to_string())),
        ("time", Some(format!("{:.1} s", session.progress.seconds))),
    ];
    let rows: Vec<_> = rows.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).collect();

    let offdiag = if run.train.regularizer.side == Side::Columns { "|offdiag(WᵀW)|" } else { "|offdiag(W Wᵀ)|" };
    let mut layers = vec![["layer".to_owned(), "cos(update, bp)".into(), "angle, °".into(), offdiag.into()]];
    for (l, (fan_in, width)) in run.architecture.layers.iter().enumerate() {
        // Empty where it could not be measured.
        let value = |of: &[Number]| of.get(l).copied().flatten();
        let cell = |x: Number| x.map_or("–".into(), |x| format!("{x:.4}"));
        let cosine = value(&end.layers.cosine_with_bp);
        let angle = cosine.map_or("–".into(), |cosine| format!("{:.2}", degrees(cosine)));
        layers.push([format!("W{l} {fan_in}x{width}"), cell(cosine), angle, cell(value(&end.layers.offdiag))]);
    }
    let resume = |dir: &Path| format!("; gaitprop train --resume {} continues it", dir.display());
    let interrupted = match end.interrupted {
        false => String::new(),
        true => format!("interrupted in epoch {} of {}{}\n", end.epochs + 1, run.epochs, folder.map_or(String::new(), resume)),
    };
    let about = format!("{}; seed {}", run.describe(data), run.seed);
    format!("{about}\n{}{interrupted}{}", aligned(&rows, 1), aligned(&layers, 1))
}
