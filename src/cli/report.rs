//! `gaitprop report`: a page about runs.

use super::settings::Machine;
use super::{Done, Failure, print};
use crate::Error;
use crate::report::{self, Report, Work};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;

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
    let assets = match (&args.assets, args.output.file_stem()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(stem)) => {
            let mut name = stem.to_owned();
            name.push("_files");
            args.output.with_file_name(name)
        }
        (None, None) => return Err(Error::Setting(format!("-o {}: name a file", args.output.display())).into()),
    };
    report::check(&args.output, &assets, args.overwrite)?;
    let groups = report::group(report::find(&args.folders)?);
    let team = machine.team()?;
    let bar = bar(args.quiet);
    let made = Report::new(&groups, &machine.plan(team.as_ref()), machine.threads, &mut |work, done, all| {
        bar.set_message(match work {
            Work::SingularValues => "singular values",
            Work::Examples => "examples",
        });
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    made.write(&args.output, &assets, args.overwrite)?;
    let mut text = report::summary(&groups);
    let (page, size) = (args.output.display(), made.html.len().div_ceil(1024));
    text += &format!("\n{page} ({size} KiB) and {} files in {}\n", made.files.len(), assets.display());
    print(&text)?;
    Ok(Done::Well)
}

fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    match ProgressStyle::with_template("{msg:>15} {bar:32} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
