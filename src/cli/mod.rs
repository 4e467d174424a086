//! The program: `gaitprop train | compare | sweep | eval | report | update | align | info |
//! selftest | completions | man`.
//!
//! Every error prints a message with its cause to standard error, and gives a nonzero exit code.
//! Clap formats errors of the command line itself, over several lines; all others take one line.

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
    /// Train several rules with the same initial weights and batches, and tabulate them. Without
    /// flags: GAIT-prop and backpropagation on the embedded digits.
    Compare(Box<compare::Args>),
    /// Train a grid of settings with several seeds each, many runs at a time, and sort them by
    /// accuracy.
    Sweep(Box<sweep::Args>),
    /// Evaluate saved weights on a data set: loss and accuracy.
    Eval(eval::Args),
    /// Write a report about runs: one HTML file with curves, tables and examples. Charts can be
    /// saved from it as SVG, their data as CSV.
    Report(report::Args),
    /// Compute the updates of one batch from arrays in a file, to check other implementations.
    Update(Box<update::Args>),
    /// Compare the updates of two rules, layer by layer, over depth, time, orthogonality, norms,
    /// gamma or precision.
    Align(Box<align::Args>),
    /// Print the features of this CPU and the kernels that would run.
    Info(info::Args),
    /// Check that every kernel gives the expected bits, on every instruction set of this CPU.
    Selftest(selftest::Args),
    /// Print a completion script for a shell. For bash, save it as
    /// ~/.local/share/bash-completion/completions/gaitprop.
    Completions(manual::Args),
    /// Print a manual page: gaitprop man > gaitprop.1, gaitprop man train > gaitprop-train.1
    Man(manual::Page),
}

/// Outcome of a command that did not fail.
enum Done {
    Success,
    Interrupted,
}

/// Reason why a command failed.
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

/// Exit code for invalid command lines (as clap).
const USAGE: u8 = 2;
/// Exit code after an interrupt: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the program with these arguments; the first is its name.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Includes help and version.
        Err(e) => {
            let code = if e.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            // A closed stream is not an error.
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
        Ok(Done::Success) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(INTERRUPTED),
        // A closed pipe is not an error.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(e)) => {
            print_error(&format!("cannot write to standard output: {e}"));
            ExitCode::FAILURE
        }
        Err(Failure::Error(e)) => {
            print_error(&advise(&e));
            ExitCode::FAILURE
        }
    }
}

/// Adds a tip about a flag or value that was replaced.
fn advise_usage(mut e: clap::Error) -> clap::Error {
    let text = |kind| e.get(kind).map(ToString::to_string).unwrap_or_default();
    let (flag, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let key = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
    if let Some(advice) = replaced(key, &value) {
        // Replaces clap's suggestion of a similarly spelled flag.
        e.remove(ContextKind::SuggestedArg);
        e.remove(ContextKind::Usage);
        e.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    e
}

/// Returns an error's message with the flags that can help.
fn advise(e: &Error) -> String {
    let advice = match e {
        Error::WrongBits { .. } => "--isa chooses another",
        Error::Singular { .. } => {
            "start from orthogonal weights, regularize more (--lambda), learn more slowly (--lr), or use --inverse damped with a larger --damping"
        }
        Error::NotOrthogonal { .. } => "use another solver (--inverse auto) or a larger --tolerance",
        Error::TooFar { .. } => "retract more often (--retract-every) or learn more slowly (--lr)",
        Error::OutOfRange { .. } => "use GAIT with a smaller --gamma, or an unbounded --activation",
        Error::Diverged { .. } => "use a smaller learning rate (--lr, or --decor-lr or --inverse-lr where set)",
        Error::Threads { .. } => "use fewer (--threads)",
        Error::Label { .. } => "--classes can set more",
        Error::Memory { .. } => "use fewer samples (--limit-train, --limit-test) or smaller numbers (--dtype f32)",
        Error::File { path, what } if what == seal::BROKEN => repair(path),
        _ => return e.to_string(),
    };
    format!("{e}; {advice}")
}

/// Advice for weights with a wrong checksum.
fn repair(path: &Path) -> &'static str {
    let of_a_run = path.with_file_name(CONFIG).exists();
    match path.file_name().and_then(|name| name.to_str()) {
        Some(WEIGHTS) if of_a_run => "use a copy of it, or remove it and let its run write it again (train --resume)",
        // The epoch of the best weights is past; --resume trains only later ones.
        Some(BEST) if of_a_run => {
            "use a copy of it, the weights of the last epoch (weights.safetensors in the same folder), or train again (--out, --overwrite): \
             --resume does not bring it back"
        }
        _ => "use a copy of it, or train again",
    }
}

/// Prints an error in one line to standard error. A closed stream is ignored.
fn print_error(what: &str) {
    let _ = writeln!(io::stderr(), "error: {}", one_line(what));
}

/// Prints a note in one line to standard error.
fn print_note(what: &str) {
    let _ = writeln!(io::stderr(), "note: {}", one_line(what));
}

/// Returns a flag that an interrupt or termination signal sets. Training then stops after the
/// current step. If no handler can be installed, signals end the program as usual.
fn interrupts() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        // A run under `nohup` ignores SIGHUP and must survive it. Ignored interrupts are handled
        // all the same: shells ignore them in every background job, so this is no request of the
        // user.
        let outlives = ignored_signals() >> (SIGHUP - 1) & 1 == 1;
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| signal != SIGHUP || !outlives) {
            let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
        }
    }
    #[cfg(not(unix))]
    {
        let flag = Arc::clone(&interrupted);
        let _ = ctrlc::set_handler(move || flag.store(true, std::sync::atomic::Ordering::Relaxed));
    }
    interrupted
}

/// Signals ignored at the start, as a bit mask from signal 1; 0 if unknown.
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
