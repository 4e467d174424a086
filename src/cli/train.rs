//! `gaitprop train`: the main job.

use super::folder::{Folder, Measured};
use super::session::{Progress, Session, check_memory};
use super::settings::{Precision, Run, Settings};
use super::spread::bar;
use super::{Done, Failure, print};
use crate::data::Dataset;
use crate::rule::Kind;
use crate::{Error, Result};
use gaitprop_kernels::Real;
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
    let (set, data) = said.load_data()?;
    let run = Run::resolve(said, &data)?;
    match run.machine.precision {
        Precision::F32 => typed::<f32>(args, out.as_deref(), &run, &set, &data),
        Precision::F64 => typed::<f64>(args, out.as_deref(), &run, &set, &data),
    }
}

/// One rule in training, and its bar.
struct Racer<'a, T> {
    session: Session<'a, T>,
    bar: ProgressBar,
}

fn typed<T: Real>(args: &Args, out: Option<&Path>, run: &Run, set: &str, data: &Dataset) -> Result<Done, Failure> {
    let team = run.machine.team()?;
    let plan = run.machine.plan(team.as_ref());
    let inputs = data.affine(run.scale);
    let ready = data.apply::<T>(&inputs);
    let bars =
        MultiProgress::with_draw_target(if args.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
    let interrupted = super::interrupts();

    let kinds: Vec<Kind> = std::iter::once(run.kind).chain(run.beside).collect();
    check_memory::<T>(run, data.train.len(), kinds.len())?;
    let runs = kinds.iter().map(|&kind| run.alone(kind, set, data)).collect::<Result<Vec<_>>>()?;
    let mut folders = match out {
        Some(dir) => {
            let folder = |kind: &Kind| if *kind == run.kind { dir.to_owned() } else { dir.join(kind.name()) };
            let folders: Vec<_> = kinds.iter().map(folder).collect();
            let settings = kinds.iter().map(|&kind| run.resolved(kind, set)).collect::<Result<Vec<_>>>()?;
            Folder::create_all(&folders, &settings, args.overwrite)?
        }
        None => Vec::new(),
    }
    .into_iter();
    let mut racers = Vec::new();
    for run in &runs {
        racers.push(Racer {
            session: Session::new(run, (&ready, &inputs), plan, folders.next())?,
            bar: bars.add(bar(run.kind.to_string(), run.epochs.saturating_mul(data.train.len()) as u64)),
        });
    }
    let outcome = race(&mut racers, run.epochs, &interrupted);
    // Whatever happened, what was learned is kept, of every rule.
    let mut saved = Ok(());
    for racer in &racers {
        racer.bar.finish_and_clear();
        saved = saved.and(racer.session.save_weights());
    }
    outcome?;
    saved?;
    let finals = racers.iter_mut().map(|racer| racer.session.finish()).collect::<Result<Vec<_>>>()?;
    print(&summary(run, data, &racers, &finals))?;
    if args.profile {
        racers.iter().try_for_each(|racer| print(&profile(&racer.session)))?;
    }
    if interrupted.load(Ordering::Relaxed) { Ok(Done::Interrupted) } else { Ok(Done::Well) }
}

/// A table of phases: milliseconds of a step, and their share.
fn profile<T: Real>(session: &Session<'_, T>) -> String {
    let rule = session.run().kind;
    let phases = match session.trainer().phases() {
        Some(phases) if phases.steps > 0 => phases,
        Some(_) => return format!("\n{rule}: no profile: no step was taken\n"),
        None => return format!("\n{rule}: no profile: its steps are not taken by the fused step\n"),
    };
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

/// All rules, epoch by epoch, so that they can be watched side by side.
fn race<T: Real>(racers: &mut [Racer<'_, T>], epochs: usize, interrupted: &AtomicBool) -> Result<()> {
    for _ in 0..epochs {
        for Racer { session, bar } in racers.iter_mut() {
            let whole = session.epoch(|Progress { epoch, learned, sofar }| {
                bar.inc(learned as u64);
                if !bar.is_hidden() {
                    let (loss, accuracy) = (sofar.mean_loss(), 100.0 * sofar.accuracy());
                    bar.set_message(format!("epoch {epoch}  loss {loss:.4}  accuracy {accuracy:.2} %"));
                }
                if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if !whole {
                return Ok(());
            }
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
    line("epochs", racers.iter().map(|r| r.session.epochs().to_string()).collect());
    if let Some(racer) = racers.iter().find(|r| r.session.epochs() < run.epochs) {
        line(&format!("interrupted in epoch {} of {}", racer.session.epochs() + 1, run.epochs), vec![]);
    }
    line("time", racers.iter().map(|r| format!("{:.1} s", r.session.seconds())).collect());
    let heading = if run.columns() { "|offdiag(WᵀW)|" } else { "|offdiag(W Wᵀ)|" };
    for (title, cell) in [
        (
            "cos(update, bp update), first batch, without regulariser",
            (|f: &Measured, l: usize| format!("{:.4}", f.alignment[l].cosine)) as fn(&Measured, usize) -> String,
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
