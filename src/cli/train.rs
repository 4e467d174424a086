//! `gaitprop train`: the main job.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure, print};
use crate::data::{Affine, Dataset, Prepared};
use crate::report::sparkline;
use crate::rule::LearningRule;
use crate::run::batch::own_fault;
use crate::run::config::Run;
use crate::run::dir::{CONFIG, Folder, Measured, write_settings};
use crate::run::options::Settings;
use crate::run::pool::bar;
use crate::run::session::{Progress, Session, check_memory};
use crate::study::align::Precision;
use gaitprop_kernels::{Plan, Real};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(clap::Args)]
pub(super) struct Args {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the run in that folder from its last checkpoint, as if it had never stopped (only --epochs, --checkpoint-every, --keep, --threads and
    /// --isa may be given anew)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "overwrite", "out"])]
    resume: Option<PathBuf>,
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
    let job = match &args.resume {
        Some(dir) => Job::resumed(args, dir)?,
        None => Job::new(args)?,
    };
    match job.run.machine.precision {
        Precision::F32 => typed::<f32>(args, &job),
        Precision::F64 => typed::<f64>(args, &job),
    }
}

/// What is to be trained, from what was said or from what a folder says.
struct Job {
    data: Dataset,
    /// As it was asked for.
    run: Run,
    /// For each rule its own run, and its folder with the settings that belong there.
    runs: Vec<Run>,
    folders: Vec<(PathBuf, Settings)>,
    resumed: bool,
}

impl Job {
    fn new(args: &Args) -> Result<Self> {
        let said = match &args.config {
            Some(file) => args.settings.clone().or(Settings::read(file)?),
            None => args.settings.clone(),
        };
        let out = said.out.clone();
        if out.is_none() {
            let needs = [
                ("overwrite", args.overwrite),
                ("checkpoint-every", said.checkpoint_every.is_some()),
                ("keep", said.keep.is_some()),
                ("tensorboard", said.tensorboard == Some(true)),
            ];
            if let Some((name, _)) = needs.iter().find(|(_, given)| *given) {
                return Err(Error::Setting(format!("--{name} needs --out: nothing is written without a folder")));
            }
        }
        let (set, data) = said.load_data()?;
        let run = Run::resolve(said, &data)?;
        let kinds = || std::iter::once(run.kind).chain(run.beside);
        let runs = kinds().map(|kind| run.alone(kind, &set, &data)).collect::<Result<_>>()?;
        let folder = |dir: &Path, kind| Ok((folder_of(dir, run.kind, kind), run.resolved(kind, &set)?));
        let folders = out.iter().flat_map(|dir| kinds().map(|kind| folder(dir, kind))).collect::<Result<_>>()?;
        Ok(Self { data, runs, folders, resumed: false, run })
    }

    /// What is in a folder of results, and may not be contradicted.
    fn resumed(args: &Args, dir: &Path) -> Result<Self> {
        let config = dir.join(CONFIG);
        if !config.exists() {
            return Err(Error::Setting(format!("{}: no run to resume: there is no {CONFIG} in it", dir.display())));
        }
        let (said, file) = (&args.settings, Settings::read(&config)?);
        file.check_same(said, None)?;
        let (set, data) = said.clone().or(file.clone()).load_data()?;
        let run = Run::resolve(said.clone().or(file.clone()), &data)?;
        let now = run.resolved(run.kind, &set)?;
        file.check_same(said, Some(&now))?;
        let mut runs = vec![run.alone(run.kind, &set, &data)?];
        let mut folders = vec![(dir.to_owned(), now)];
        if let Some(kind) = run.beside {
            let beside = folder_of(dir, run.kind, kind);
            let file = Settings::read(&beside.join(CONFIG))?;
            let free = said.clone().only_free();
            let other = Run::resolve(free.or(file), &data)?;
            folders.push((beside, other.resolved(kind, &set)?));
            runs.push(other);
        }
        Ok(Self { data, run, runs, folders, resumed: true })
    }
}

/// Where the results of a rule are: the main one's in the folder itself.
fn folder_of(dir: &Path, main: LearningRule, kind: LearningRule) -> PathBuf {
    if kind == main { dir.to_owned() } else { dir.join(kind.name()) }
}

/// One rule in training, and its bar.
struct Racer<'a, T> {
    session: Session<'a, T>,
    bar: ProgressBar,
    /// Loss of the training samples, epoch by epoch, each as it was just before it was learned.
    losses: Vec<f64>,
}

fn typed<T: Real>(args: &Args, job: &Job) -> Result<Done, Failure> {
    let Job { data, run, runs, .. } = job;
    let plan = run.machine.plan(run.machine.par()?);
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs)?;
    let interrupted = crate::cli::interrupts();

    check_memory::<T>(run, data.train.len(), runs.len())?;
    let sessions = if job.resumed {
        match resume(job, (&ready, &inputs), plan)? {
            Some(sessions) => sessions,
            None => return Ok(Done::Well),
        }
    } else {
        let (dirs, settings): (Vec<_>, Vec<_>) = job.folders.iter().cloned().unzip();
        let folders = if dirs.is_empty() { Vec::new() } else { Folder::create_all(&dirs, &settings, args.overwrite)? };
        let mut folders = folders.into_iter();
        runs.iter().map(|run| Session::new(run, (&ready, &inputs), plan.clone(), folders.next())).collect::<Result<_>>()?
    };
    let bars =
        MultiProgress::with_draw_target(if args.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
    let mut racers: Vec<_> =
        sessions.into_iter().map(|session| Racer { bar: bars.add(bar_of(&session)), session, losses: Vec::new() }).collect();
    let outcome = race(&mut racers, run.epochs, &interrupted);
    // Whatever happened, what was learned is kept, of every rule. The one that failed has its last checkpoint; it is the others' lines that are whole.
    let failed = outcome.as_ref().err().map(|&(i, _)| i);
    let mut saved = Ok(());
    for (i, racer) in racers.iter_mut().enumerate() {
        racer.bar.finish_and_clear();
        saved = saved.and(racer.session.save_weights());
        if failed != Some(i) {
            saved = saved.and(racer.session.save());
        }
    }
    outcome.map_err(|(i, e)| match racers.len() {
        2.. if own_fault(&e) => Error::Setting(format!("{}: {e}", racers[i].session.run().kind)),
        _ => e,
    })?;
    saved?;
    let finals = racers.iter_mut().map(|racer| racer.session.finish()).collect::<Result<Vec<_>>>()?;
    print(&summary(run, data, &racers, &finals))?;
    if args.profile {
        racers.iter().try_for_each(|racer| print(&profile(&racer.session)))?;
    }
    if interrupted.load(Ordering::Relaxed) { Ok(Done::Interrupted) } else { Ok(Done::Well) }
}

/// The sessions of a job, each from its last good checkpoint; `None` if nothing is left to do.
fn resume<'a, T: Real>(
    job: &'a Job,
    samples: (&'a Prepared<T>, &'a Affine),
    plan: Plan,
) -> Result<Option<Vec<Session<'a, T>>>, Failure> {
    let mut sessions = Vec::new();
    for (run, (dir, settings)) in job.runs.iter().zip(&job.folders) {
        let (session, said) = Session::resume(run, samples, plan.clone(), Folder::open(dir, settings)?)?;
        said.iter().for_each(|line| crate::cli::note(line));
        sessions.push(session);
    }
    if sessions.iter().all(Session::finished) {
        let first = &sessions[0];
        let why = if first.epochs() < job.run.epochs { "validation has ended it" } else { "--epochs trains longer" };
        print(&format!(
            "{}: finished after {} epochs: nothing is left to do ({why})\n",
            job.folders[0].0.display(),
            first.epochs()
        ))?;
        return Ok(None);
    }
    for (session, (dir, settings)) in sessions.iter_mut().zip(&job.folders) {
        session.reopen()?;
        write_settings(dir, settings)?;
        print(&format!("{}: goes on after step {}, epoch {}\n", dir.display(), session.trainer().steps(), session.epochs()))?;
    }
    Ok(Some(sessions))
}

/// A table of phases: milliseconds of a step, and their share.
fn profile<T: Real>(session: &Session<'_, T>) -> String {
    let rule = session.run().kind;
    let phases = session.trainer().phases();
    if phases.steps == 0 {
        return format!("\n{rule}: no profile: no step was taken\n");
    }
    let all = session.seconds();
    let mut table = format!("\n{:<22} ms a step      %   ({} steps)\n", rule.to_string(), phases.steps);
    let rest = ("batches, the rest", (all - phases.total().as_secs_f64()).max(0.0));
    let each = phases.each().map(|(name, time)| (name, time.as_secs_f64()));
    for (name, seconds) in each.into_iter().chain([rest, ("all of it", all)]) {
        let (ms, share) = (1e3 * seconds / phases.steps as f64, 100.0 * seconds / all);
        let _ = writeln!(table, "{name:<22} {ms:>9.3} {share:>6.1}");
    }
    table
}

/// Of all samples of all epochs, those that are done before included.
fn bar_of<T: Real>(session: &Session<'_, T>) -> ProgressBar {
    let (run, each) = (session.run(), session.samples());
    let done = session.epochs().saturating_mul(each) + session.learned();
    let bar = bar(run.kind.to_string(), run.epochs.saturating_mul(each) as u64).with_position(done as u64);
    bar.reset_eta();
    bar
}

/// All rules, epoch by epoch, so that they can be watched side by side.
///
/// # Errors
/// The first error of any, and whose it is; the others are then between two epochs, or where they were resumed.
fn race<T: Real>(racers: &mut [Racer<'_, T>], epochs: usize, interrupted: &AtomicBool) -> Result<(), (usize, Error)> {
    for epoch in 0..epochs {
        for (i, Racer { session, bar, losses }) in racers.iter_mut().enumerate() {
            // One that was resumed may be ahead.
            if session.epochs() > epoch || session.over() {
                continue;
            }
            let mut loss = f64::NAN;
            let whole = session.epoch(|Progress { epoch, learned, sofar }| {
                loss = sofar.mean_loss();
                bar.inc(learned as u64);
                if !bar.is_hidden() {
                    let accuracy = 100.0 * sofar.accuracy();
                    bar.set_message(format!("epoch {epoch}  loss {loss:.4}  accuracy {accuracy:.2} %"));
                }
                if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let whole = whole.map_err(|e| (i, e))?;
            if !whole {
                return Ok(());
            }
            losses.push(loss);
        }
    }
    Ok(())
}

fn summary<T: Real>(run: &Run, data: &Dataset, racers: &[Racer<'_, T>], finals: &[Measured]) -> String {
    let mut text = String::new();
    let shape: Vec<String> = run.architecture.layers.iter().map(|(fed, width)| format!("{fed}x{width}")).collect();
    let mut line = |first: &str, cells: Vec<String>| {
        let _ = write!(text, "{first:<22}");
        for cell in cells {
            let _ = write!(text, "{cell:>14}");
        }
        text.push('\n');
    };
    line(&format!("{}; seed {}", run.describe(data), run.seed), vec![]);
    line("", racers.iter().map(|r| r.session.run().kind.to_string()).collect());
    let percent = |x: f64| format!("{:.2} %", 100.0 * x);
    line("test accuracy", finals.iter().map(|f| percent(f.test.accuracy())).collect());
    if let Some(held) = finals.iter().map(|f| f.validation).collect::<Option<Vec<_>>>() {
        line("validation accuracy", held.iter().map(|s| percent(s.accuracy())).collect());
    }
    line("train accuracy", finals.iter().map(|f| percent(f.train.accuracy())).collect());
    line("test loss", finals.iter().map(|f| format!("{:.5}", f.test.mean_loss())).collect());
    if racers.iter().all(|r| r.losses.len() > 1) {
        line("train loss, by epoch", racers.iter().map(|r| sparkline(&r.losses, 12)).collect());
    }
    line("epochs", racers.iter().map(|r| r.session.epochs().to_string()).collect());
    if racers.iter().any(|r| r.session.stopping().is_some()) {
        let best = |r: &Racer<'_, T>| r.session.stopping().map_or(String::new(), |s| s.best_epoch.to_string());
        line("best validated epoch", racers.iter().map(best).collect());
    }
    if let Some(racer) = racers.iter().find(|r| !r.session.over()) {
        line(&format!("interrupted in epoch {} of {}", racer.session.epochs() + 1, run.epochs), vec![]);
    }
    line("time", racers.iter().map(|r| format!("{:.1} s", r.session.seconds())).collect());
    let heading = if run.columns() { "|offdiag(WᵀW)|" } else { "|offdiag(W Wᵀ)|" };
    for (title, cell) in [
        (
            "cos(update, bp update), first batch, without regulariser",
            // Empty where it could not be measured.
            (|f: &Measured, l: usize| f.alignment.get(l).map_or("–".into(), |a| format!("{:.4}", a.cosine)))
                as fn(&Measured, usize) -> String,
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
