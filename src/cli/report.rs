//! `gaitprop report`: a page about runs.

use super::settings::Machine;
use super::{Done, Failure, print};
use crate::report::{self, Report, Work};
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folders written by `train --out`, or folders of such, at any depth
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Folder for every chart as SVG and its data as CSV [default: report_files beside report.html]
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
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
    let machine = Machine::new(None, args.threads, None, None)?;
    let text = page(&args.folders, (&args.output, args.assets.as_deref()), &machine, args.overwrite, args.quiet)?;
    print(&text)?;
    Ok(Done::Well)
}

/// Writes the page about the runs in some folders, and its charts into `assets` or the usual place; what there is to say of it.
pub(super) fn page(
    folders: &[PathBuf],
    (output, assets): (&Path, Option<&Path>),
    machine: &Machine,
    overwrite: bool,
    quiet: bool,
) -> Result<String> {
    let assets = match (assets, assets_of(output)) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(dir)) => dir,
        (None, None) => return Err(Error::Setting(format!("-o {}: name a file", output.display()))),
    };
    report::check(output, &assets, overwrite)?;
    let groups = report::group(report::find(folders)?);
    let plan = machine.plan(machine.par()?);
    let bar = bar(quiet);
    let made = Report::new(&groups, &plan, machine.threads, &mut |work, done, all| {
        bar.set_message(match work {
            Work::SingularValues => "singular values",
            Work::Examples => "examples",
        });
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    made.write(output, &assets, overwrite)?;
    let (page, size) = (output.display(), made.html.len().div_ceil(1024));
    let files = format!("\n{page} ({size} KiB) and {} files in {}\n", made.files.len(), assets.display());
    Ok(report::summary(&groups) + &files)
}

/// The usual place of a page's charts; none for what is no name of a file.
pub(super) fn assets_of(output: &Path) -> Option<PathBuf> {
    let mut name = output.file_stem()?.to_owned();
    name.push("_files");
    Some(output.with_file_name(name))
}

fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    match ProgressStyle::with_template("{msg:>15} {bar:32} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
