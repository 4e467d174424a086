//! `gaitprop train`: the main job.

use super::settings::{DEFAULT_DATA, Precision, Run, Settings};
use super::{Done, Failure, print};
use crate::checkpoint::{self, Notes};
use crate::data::{self, Dataset, LoadOptions, Prepared};
use crate::diagnostics::Alignment;
use crate::inverse::{self, Inverse};
use crate::loss::Score;
use crate::rule::Kind;
use crate::train::{Epoch, Method, Trainer};
use crate::{Error, Network, Result, files};
use gaitprop_kernels::{Plan, Real};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Names of the files in a folder of results.
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";

#[derive(clap::Args)]
pub(super) struct Args {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the results that are already in that folder
    #[arg(long)]
    overwrite: bool,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    /// Say at the end where the time of a step went
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let said = match &args.config {
        Some(file) => args.settings.clone().or(Settings::read(file)?),
        None => args.settings.clone(),
    };
    if args.overwrite && said.out.is_none() {
        return Err(Error::Setting("--overwrite needs --out: nothing is written without a folder".into()).into());
    }
    let out = said.out.clone();
    let set = match said.data.clone() {
        Some(path) if path.is_empty() => return Err(Error::Setting("--data is empty: name a data set".into()).into()),
        // Whole, so that the configuration means the same from any folder.
        Some(path) if path != DEFAULT_DATA => {
            let whole = std::path::absolute(&path).map_err(Error::io("find", &path))?;
            whole.into_os_string().into_string().unwrap_or(path)
        }
        _ => DEFAULT_DATA.into(),
    };
    let options = LoadOptions { classes: said.classes, limit_train: said.limit_train, limit_test: said.limit_test };
    let data = data::load(&set, &options)?;
    let run = Run::resolve(said, &data)?;
    match run.machine.precision {
        Precision::F32 => typed::<f32>(args, out.as_deref(), &run, &set, &data),
        Precision::F64 => typed::<f64>(args, out.as_deref(), &run, &set, &data),
    }
}

/// One rule in training.
struct Racer<'p, T> {
    kind: Kind,
    trainer: Trainer<'p, T>,
    /// What alignment is measured through: of the run's kind, with a memory of its own.
    meter: Box<dyn Inverse<T>>,
    bar: ProgressBar,
    results: Option<Results>,
    seconds: f64,
    last: Epoch,
    epochs_done: usize,
}

fn typed<T: Real>(args: &Args, out: Option<&Path>, run: &Run, set: &str, data: &Dataset) -> Result<Done, Failure> {
    let team = run.machine.team()?;
    let plan = run.machine.plan(team.as_ref());
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs);
    let bars =
        MultiProgress::with_draw_target(if args.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // The run ends after the step it is in. Without a handler an interrupt merely ends the program, as it does everywhere.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));

    let kinds: Vec<Kind> = std::iter::once(run.kind).chain(run.beside).collect();
    check_memory::<T>(run, data.train.len(), kinds.len())?;
    let mut results = match out {
        Some(dir) => {
            let folder = |kind: &Kind| if *kind == run.kind { dir.to_owned() } else { dir.join(kind.name()) };
            let folders: Vec<_> = kinds.iter().map(folder).collect();
            let settings = kinds.iter().map(|&kind| run.resolved(kind, set)).collect::<Result<Vec<_>>>()?;
            Results::create_all(&folders, &settings, args.overwrite)?
        }
        None => Vec::new(),
    }
    .into_iter();
    let mut racers = Vec::new();
    for kind in kinds {
        racers.push(Racer {
            kind,
            trainer: trainer(run, kind, data.train.len(), plan)?,
            meter: run.inverse.build(run.tuning(kind)?)?,
            bar: bars.add(bar(kind, run.epochs.saturating_mul(data.train.len()))),
            results: results.next(),
            seconds: 0.0,
            last: Epoch::default(),
            epochs_done: 0,
        });
    }
    let outcome = race(&mut racers, run, &ready, &interrupted);
    // Whatever happened, what was learned is kept, of every rule.
    let mut saved = Ok(());
    for racer in &racers {
        racer.bar.finish_and_clear();
        if let Some(results) = &racer.results {
            let notes = Notes { loss: run.loss.to_string(), rule: racer.kind.to_string(), inputs: inputs.clone() };
            saved = saved.and(checkpoint::save(&results.dir.join(WEIGHTS), racer.trainer.network(), &notes));
        }
    }
    outcome?;
    saved?;
    let finals = racers.iter_mut().map(|racer| finish(run, racer, &ready)).collect::<Result<Vec<_>>>()?;
    print(&summary(run, data, &racers, &finals))?;
    if args.profile {
        racers.iter().try_for_each(|racer| print(&profile(racer)))?;
    }
    if interrupted.load(Ordering::Relaxed) { Ok(Done::Interrupted) } else { Ok(Done::Well) }
}

/// A table of phases: milliseconds of a step, and their share.
fn profile<T: Real>(racer: &Racer<'_, T>) -> String {
    let phases = match racer.trainer.phases() {
        Some(phases) if phases.steps > 0 => phases,
        Some(_) => return format!("\n{}: no profile: no step was taken\n", racer.kind),
        None => return format!("\n{}: no profile: its steps are not taken by the fused step\n", racer.kind),
    };
    let all = racer.seconds;
    let mut table = format!("\n{:<22} ms a step      %   ({} steps)\n", racer.kind.to_string(), phases.steps);
    let rest = ("batches, the rest", (all - phases.total().as_secs_f64()).max(0.0));
    let each = phases.each().map(|(name, time)| (name, time.as_secs_f64()));
    for (name, seconds) in each.into_iter().chain([rest, ("all of it", all)]) {
        let (ms, share) = (1e3 * seconds / phases.steps as f64, 100.0 * seconds / all);
        let _ = writeln!(table, "{name:<22} {ms:>9.3} {share:>6.1}");
    }
    table
}

/// Asks the system once for about the memory that training will hold, so that a network which it refuses outright is an error and not the
/// end of the process. (A system that promises more than it has will still find out later.)
fn check_memory<T: Real>(run: &Run, samples: usize, rules: usize) -> Result<()> {
    let layers = &run.architecture.layers;
    let units: usize = layers.iter().map(|&(_, width)| 2 * width).sum();
    let (widest, weights) = layers.iter().fold((0usize, 0usize), |(w, n), &(fed, width)| (w.max(fed * width), n + fed * width));
    // Weights, the epoch's start, two moments, gradients and what solves keep of each layer, and the next weights where they are made beside; a Gram
    // matrix and what solves share; activities and errors; one layer drawn in f64.
    let bytes = weights
        .saturating_mul(if run.orthogonal_name() == "none" { 6 } else { 7 })
        .saturating_add(widest.saturating_mul(4))
        .saturating_add(run.batch.min(samples).saturating_mul(units))
        .saturating_mul(size_of::<T>())
        .saturating_mul(rules)
        .saturating_add(widest.saturating_mul(2 * size_of::<f64>()));
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(bytes).map_err(|_| gaitprop_kernels::Error::OutOfMemory { bytes }.into())
}

pub(super) fn trainer<'p, T: Real>(run: &Run, kind: Kind, samples: usize, plan: Plan<'p>) -> Result<Trainer<'p, T>> {
    let method = Method {
        rule: kind.build(&run.setup(), &plan)?,
        inverse: run.inverse.build(run.tuning(kind)?)?,
        loss: run.loss,
        ortho: run.regularizer(kind)?,
        hold: run.hold(kind)?,
        optimizer: run.optimizer(kind)?,
        // Room for more than there are samples would be wasted.
        batch: run.batch.min(samples),
        shuffle: run.shuffle.then_some(run.seed),
    };
    Trainer::new(Network::random(&run.architecture, run.init, run.seed, &plan)?, method, plan)
}

fn bar(kind: Kind, samples: usize) -> ProgressBar {
    let style = "{prefix:>5} {bar:32} {percent:>3} %  {msg}  {per_sec}  {eta} left";
    let bar = ProgressBar::new(samples as u64).with_prefix(kind.name());
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style.with_key("per_sec", |s: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
            let _ = write!(w, "{:.0} samples/s", s.per_sec());
        })),
        Err(_) => bar,
    }
}

/// All rules, epoch by epoch, so that they can be watched side by side.
fn race<T: Real>(racers: &mut [Racer<'_, T>], run: &Run, ready: &Prepared<T>, interrupted: &AtomicBool) -> Result<()> {
    for epoch in 1..=run.epochs {
        for racer in racers.iter_mut() {
            let start = Instant::now();
            let mut sofar = Score::default();
            let bar = &racer.bar;
            racer.last = racer.trainer.epoch(&ready.train, |report| {
                sofar.add(report.score);
                bar.inc(report.score.samples as u64);
                if !bar.is_hidden() {
                    let (loss, accuracy) = (sofar.mean_loss(), 100.0 * sofar.accuracy());
                    bar.set_message(format!("epoch {epoch}  loss {loss:.4}  accuracy {accuracy:.2} %"));
                }
                if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            let seconds = start.elapsed().as_secs_f64();
            racer.seconds += seconds;
            if racer.last.stopped {
                return Ok(());
            }
            racer.epochs_done = epoch;
            if let Some(results) = &mut racer.results {
                let test = racer.trainer.evaluate(&ready.test)?;
                let alignment = match racer.trainer.alignment(&ready.train, &mut *racer.meter) {
                    // What cannot be measured need not end the run: if it must end, its next step will say so.
                    Err(Error::Singular { .. } | Error::OutOfRange { .. } | Error::NotOrthogonal { .. }) => Vec::new(),
                    other => other?,
                };
                let offdiag = racer.trainer.orthogonality()?;
                results.epoch((racer.kind, run.inverse), epoch, &racer.last, test, &alignment, offdiag, seconds)?;
            }
        }
    }
    Ok(())
}

/// What the table at the end is made of.
struct Final {
    test: Score,
    train: Score,
    alignment: Vec<Alignment>,
    offdiag: Vec<f64>,
}

fn finish<T: Real>(run: &Run, racer: &mut Racer<'_, T>, ready: &Prepared<T>) -> Result<Final> {
    let done = Final {
        test: racer.trainer.evaluate(&ready.test)?,
        train: racer.trainer.evaluate(&ready.train)?,
        alignment: racer.trainer.alignment(&ready.train, &mut *racer.meter)?,
        offdiag: racer.trainer.orthogonality()?,
    };
    if let Some(results) = &mut racer.results {
        results.line(&EndLine {
            event: "end",
            epochs: racer.epochs_done,
            steps: racer.trainer.steps(),
            rule: racer.kind.name(),
            train_loss: done.train.mean_loss(),
            train_accuracy: done.train.accuracy(),
            test_loss: done.test.mean_loss(),
            test_accuracy: done.test.accuracy(),
            interrupted: racer.epochs_done < run.epochs,
            cosine_with_bp: done.alignment.iter().map(|a| a.cosine).collect(),
            ratio_to_bp: done.alignment.iter().map(|a| a.ratio).collect(),
            offdiag: done.offdiag.clone(),
            regularizer: run.regularizer_name(),
            orthogonal: run.orthogonal_name(),
            seconds: racer.seconds,
            isa: run.machine.isa.name(),
            backend: run.machine.backend.name(),
            threads: run.machine.threads,
        })?;
    }
    Ok(done)
}

fn summary<T: Real>(run: &Run, data: &Dataset, racers: &[Racer<'_, T>], finals: &[Final]) -> String {
    let mut text = String::new();
    let shape: Vec<String> = run.architecture.layers.iter().map(|(fed, width)| format!("{fed}x{width}")).collect();
    let mut line = |first: &str, cells: Vec<String>| {
        let _ = write!(text, "{first:<22}");
        for cell in cells {
            let _ = write!(text, "{cell:>14}");
        }
        text.push('\n');
    };
    line(
        &format!(
            "{}: {} train, {} test; layers {}; seed {}",
            data.name,
            data.train.len(),
            data.test.len(),
            shape.join(" "),
            run.seed
        ),
        vec![],
    );
    line("", racers.iter().map(|r| r.kind.to_string()).collect());
    let percent = |x: f64| format!("{:.2} %", 100.0 * x);
    line("test accuracy", finals.iter().map(|f| percent(f.test.accuracy())).collect());
    line("train accuracy", finals.iter().map(|f| percent(f.train.accuracy())).collect());
    line("test loss", finals.iter().map(|f| format!("{:.5}", f.test.mean_loss())).collect());
    line("epochs", racers.iter().map(|r| r.epochs_done.to_string()).collect());
    if let Some(racer) = racers.iter().find(|r| r.epochs_done < run.epochs) {
        line(&format!("interrupted in epoch {} of {}", racer.epochs_done + 1, run.epochs), vec![]);
    }
    line("time", racers.iter().map(|r| format!("{:.1} s", r.seconds)).collect());
    let heading = if run.columns() { "|offdiag(WᵀW)|" } else { "|offdiag(W Wᵀ)|" };
    for (title, cell) in [
        (
            "cos(update, bp update), first batch, without regulariser",
            (|f: &Final, l: usize| format!("{:.4}", f.alignment[l].cosine)) as fn(&Final, usize) -> String,
        ),
        (heading, |f, l| format!("{:.4}", f.offdiag[l])),
    ] {
        line(title, vec![]);
        for (l, shape) in shape.iter().enumerate() {
            line(&format!("  W{l} {shape}"), finals.iter().map(|f| cell(f, l)).collect());
        }
    }
    text
}

/// A folder of results.
struct Results {
    dir: PathBuf,
    metrics: File,
}

/// One line of metrics, at the end of an epoch.
#[derive(Serialize)]
struct EpochLine<'a> {
    event: &'static str,
    epoch: usize,
    rule: &'a str,
    train_loss: f64,
    train_accuracy: f64,
    test_loss: f64,
    test_accuracy: f64,
    /// Empty where it could not be measured.
    cosine_with_bp: Vec<f64>,
    ratio_to_bp: Vec<f64>,
    offdiag: Vec<f64>,
    inverse: &'static str,
    /// How many solves each strategy found the solution of; empty for rules without.
    solved_by: BTreeMap<&'static str, u64>,
    solve_residual: f64,
    solve_products_per_step: f64,
    seconds: f64,
    samples_per_second: f64,
}

/// The last line.
#[derive(Serialize)]
struct EndLine<'a> {
    event: &'static str,
    epochs: usize,
    steps: u64,
    rule: &'a str,
    train_loss: f64,
    train_accuracy: f64,
    test_loss: f64,
    test_accuracy: f64,
    /// Whether the run was cut short, in the middle of an epoch that no line speaks of.
    interrupted: bool,
    cosine_with_bp: Vec<f64>,
    ratio_to_bp: Vec<f64>,
    offdiag: Vec<f64>,
    regularizer: &'static str,
    orthogonal: &'static str,
    seconds: f64,
    isa: &'static str,
    backend: &'static str,
    threads: usize,
}

impl Results {
    /// Makes the folders and their first files, before any work is done that could be lost. What can be refused is refused before
    /// anything is written.
    fn create_all(folders: &[PathBuf], settings: &[Settings], overwrite: bool) -> Result<Vec<Self>> {
        for dir in folders {
            if dir.exists() && !dir.is_dir() {
                return Err(Error::Setting(format!("{} is a file: results need a folder", dir.display())));
            }
            for name in [METRICS, WEIGHTS, CONFIG] {
                let path = dir.join(name);
                if path.is_dir() {
                    return Err(Error::Setting(format!("{} is a folder: results cannot be written there", path.display())));
                }
                if !overwrite && path.exists() {
                    return Err(Error::Setting(format!(
                        "{} holds the results of a run ({name}): name another folder, or give --overwrite",
                        dir.display()
                    )));
                }
            }
        }
        for dir in folders {
            std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        }
        if overwrite {
            // A rule that was trained beside in the run that is replaced, but is not in this one.
            let stale = Kind::ALL.map(|kind| folders[0].join(kind.name()));
            for dir in stale.iter().filter(|dir| !folders.contains(dir) && dir.join(METRICS).exists()) {
                for path in [METRICS, WEIGHTS, CONFIG].map(|name| dir.join(name)).iter().filter(|path| path.exists()) {
                    std::fs::remove_file(path).map_err(Error::io("remove", path))?;
                }
                // Unless something else is in it.
                let _ = std::fs::remove_dir(dir);
            }
        }
        let create = |(dir, settings): (&PathBuf, &Settings)| {
            // Weights of another run beside this run's settings would lie.
            match std::fs::remove_file(dir.join(WEIGHTS)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", dir.join(WEIGHTS))(e)),
                _ => {}
            }
            let text = toml::to_string(settings).map_err(|e| Error::Setting(format!("the settings cannot be written: {e}")))?;
            let config = dir.join(CONFIG);
            files::write_atomically(&config, text.as_bytes()).map_err(Error::io("write", config))?;
            let path = dir.join(METRICS);
            let metrics = File::create(&path).map_err(Error::io("create", path))?;
            Ok(Self { dir: dir.clone(), metrics })
        };
        folders.iter().zip(settings).map(create).collect()
    }

    /// One line, in one write.
    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.dir.join(METRICS);
        let mut text = serde_json::to_string(line)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).map_err(Error::io("write", path))
    }

    fn epoch(
        &mut self,
        (kind, inverse): (Kind, inverse::Kind),
        epoch: usize,
        done: &Epoch,
        test: Score,
        alignment: &[Alignment],
        offdiag: Vec<f64>,
        seconds: f64,
    ) -> Result<()> {
        self.line(&EpochLine {
            event: "epoch",
            epoch,
            rule: kind.name(),
            train_loss: done.score.mean_loss(),
            train_accuracy: done.score.accuracy(),
            test_loss: test.mean_loss(),
            test_accuracy: test.accuracy(),
            cosine_with_bp: alignment.iter().map(|a| a.cosine).collect(),
            ratio_to_bp: alignment.iter().map(|a| a.ratio).collect(),
            offdiag,
            inverse: inverse.name(),
            solved_by: inverse::Kind::ALL.iter().map(|k| (k.name(), done.solves.by(*k))).filter(|(_, n)| *n > 0).collect(),
            solve_residual: done.solves.residual,
            solve_products_per_step: done.solves.products / done.steps.max(1) as f64,
            seconds,
            samples_per_second: done.score.samples as f64 / seconds.max(1e-9),
        })
    }
}
