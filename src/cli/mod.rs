//! The program: `gaitprop train | compare | sweep | eval | report | update | align | info | selftest | completions | man`.
//!
//! Every error ends in a message on standard error that names the cause, and in an exit code other than 0.
//! Errors of the command line itself are clap's, over several lines; all others take one line.

mod align;
mod common;
mod compare;
mod eval;
mod info;
mod manual;
mod report;
mod selftest;
mod sweep;
mod train;
mod update;

use crate::base::error::Error;
use crate::base::names::one_line;
use crate::base::seal;
use crate::run::dir::{BEST, CONFIG};
use crate::run::options::replaced;
use crate::store::weights::WEIGHTS;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(not(unix))]
use std::sync::atomic::Ordering;

/// GAIT-prop: backpropagation's updates, from targets sent down through the inverses of the layers.
#[derive(Parser)]
#[command(name = "gaitprop", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network. Without flags: GAIT-prop on the embedded digits.
    Train(Box<train::Args>),
    /// Train several rules from the same starts on the same batches and tabulate them. Without flags: GAIT-prop and backpropagation on the
    /// embedded digits.
    Compare(Box<compare::Args>),
    /// Train a grid of settings with several seeds each, many networks at a time, and list them by accuracy.
    Sweep(Box<sweep::Args>),
    /// Loss and accuracy of saved weights on a data set.
    Eval(eval::Args),
    /// A page about runs: one HTML file with curves, tables and examples. Charts can be saved from it as SVG, their data as CSV.
    Report(report::Args),
    /// Updates of one batch, from arrays to arrays: for checking against other code.
    Update(Box<update::Args>),
    /// How far the updates of two rules lie apart, layer by layer: over depth, time, orthogonality, gamma or precision.
    Align(Box<align::Args>),
    /// What this machine has, and what would run on it.
    Info(info::Args),
    /// Check that every kernel of this machine gives the bits that it should, on every instruction set that it has.
    Selftest(selftest::Args),
    /// A script that completes this program's words in a shell: for bash in ~/.local/share/bash-completion/completions/gaitprop.
    Completions(manual::Args),
    /// A page of the manual: gaitprop man > gaitprop.1, gaitprop man train > gaitprop-train.1
    Man(manual::Page),
}

/// How a command that did not fail ended.
enum Done {
    Well,
    Interrupted,
}

/// Why a command failed.
enum Failure {
    Error(Error),
    /// Standard output could not be written.
    Output(io::Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Error(e.into())
    }
}

/// Exit code of a command line that clap refuses.
const USAGE: u8 = 2;
/// Exit code after an interrupt from the keyboard: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the program with these arguments, the first being its name.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version too.
        Err(e) => {
            let code = if e.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            // A reader that has closed the stream is no error.
            let _ = advise_usage(e).print();
            return code;
        }
    };
    let result = match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Update(args) => update::run(&args),
        Command::Align(args) => align::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::page(&args),
    };
    match result {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(INTERRUPTED),
        // The reader of a pipe has left: not an error, and nobody is there to be told.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(e)) => {
            complain(&format!("cannot write to standard output: {e}"));
            ExitCode::FAILURE
        }
        Err(Failure::Error(e)) => {
            complain(&advise(&e));
            ExitCode::FAILURE
        }
    }
}

/// Adds a tip about a flag or value that another one has replaced.
fn advise_usage(mut e: clap::Error) -> clap::Error {
    let said = |kind| e.get(kind).map(ToString::to_string).unwrap_or_default();
    let (flag, value) = (said(ContextKind::InvalidArg), said(ContextKind::InvalidValue));
    let key = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
    if let Some(advice) = replaced(key, &value) {
        // Not the flag that happens to be spelled alike.
        e.remove(ContextKind::SuggestedArg);
        e.remove(ContextKind::Usage);
        e.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    e
}

/// An error's message with the flags that can help.
fn advise(e: &Error) -> String {
    let advice = match e {
        Error::WrongBits { .. } => "--isa chooses another",
        Error::Singular { .. } => "start from orthogonal weights, regularise more (--lambda) or learn more slowly (--lr)",
        Error::NotOrthogonal { .. } => "use another way through inverses (--inverse auto) or a larger --tolerance",
        Error::TooFar { .. } => "retract more often (--retract-every) or learn more slowly (--lr)",
        Error::OutOfRange { .. } => "use GAIT with a smaller --gamma, or an unbounded --activation",
        Error::Diverged { .. } => "use a smaller learning rate (--lr)",
        Error::Threads { .. } => "use fewer (--threads)",
        Error::Label { .. } => "--classes can set more",
        Error::Memory { .. } => "use fewer samples (--limit-train, --limit-test) or smaller numbers (--dtype f32)",
        Error::File { path, what } if what == seal::BROKEN => repair(path),
        _ => return e.to_string(),
    };
    format!("{e}; {advice}")
}

/// What can be done about weights whose checksum does not fit.
fn repair(path: &Path) -> &'static str {
    let of_a_run = path.with_file_name(CONFIG).exists();
    match path.file_name().and_then(|name| name.to_str()) {
        Some(WEIGHTS) if of_a_run => "use a copy of it, or remove it and let its run write it again (train --resume)",
        // They are of an epoch that does not come again: --resume trains later ones.
        Some(BEST) if of_a_run => {
            "use a copy of it, the weights of the last epoch (weights.safetensors in the same folder), or train again (--out, --overwrite): \
             --resume does not bring it back"
        }
        _ => "use a copy of it, or train again",
    }
}

/// One line on standard error; if that is closed, there is nobody to tell.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "error: {}", one_line(what));
}

/// One line on standard error about what is no error.
fn note(what: &str) {
    let _ = writeln!(io::stderr(), "note: {}", one_line(what));
}

/// Whether the user has asked for the end, or the system. Work then ends after the step it is in; without a handler an interrupt merely ends the program,
/// as it does everywhere.
fn interrupts() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        // Whoever has hangups ignored, as `nohup` has, wants the run to outlive them. Interrupts are ignored in everything that a script starts in the
        // background, where nobody has asked for that: whoever sends one means it.
        let outlives = ignored_signals() >> (SIGHUP - 1) & 1 == 1;
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| signal != SIGHUP || !outlives) {
            let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
        }
    }
    #[cfg(not(unix))]
    {
        let flag = Arc::clone(&interrupted);
        let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    }
    interrupted
}

/// Signals that the program was started without, a bit each from signal 1 on; none where the system does not say.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Prints text to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}
