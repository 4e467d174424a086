//! `gaitprop report`: a report about runs, in one HTML file.

use crate::base::error::Result;
use crate::cli::{Done, Failure, print};
use crate::report::{self, Work};
use crate::run::config::Runtime;
use crate::run::page;
use crate::run::pool::progress;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folders written by `train --out`, or folders that contain such, at any depth
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Replace a report that is already there
    #[arg(long)]
    overwrite: bool,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let runtime = Runtime::new(None, args.threads, None, None)?;
    let text = page(&args.folders, &args.output, &runtime, args.overwrite, args.quiet)?;
    print(&text)?;
    Ok(Done::Success)
}

/// Writes the report about the runs in `folders` to `output`. Returns a summary for the terminal.
pub(super) fn page(folders: &[PathBuf], output: &Path, runtime: &Runtime, overwrite: bool, quiet: bool) -> Result<String> {
    page::check(output, overwrite)?;
    let groups = report::group(report::find(folders)?);
    let plan = runtime.plan(runtime.par()?);
    let bar = progress("{msg:>15} {bar:32} {pos}/{len}", 0, quiet);
    let html = report::html(&groups, &plan, runtime.threads, &mut |work, done, all| {
        bar.set_message(match work {
            Work::SingularValues => "singular values",
            Work::Examples => "examples",
        });
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    page::write(output, &html, overwrite)?;
    let (page, size) = (output.display(), html.len().div_ceil(1024));
    Ok(report::summary(&groups) + &format!("\n{page} ({size} KiB)\n"))
}
