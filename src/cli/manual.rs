//! `gaitprop completions` and `gaitprop man`: what shells and manuals want to know, from the parser of the command line itself.

use crate::base::error::Error;
use crate::base::names;
use crate::cli::{Cli, Done, Failure, print};
use clap::CommandFactory as _;
use clap_complete::Shell;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Shell to write the script for
    shell: Shell,
}

/// Prints a script that completes words.
pub(super) fn completions(args: &Args) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gaitprop", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Done::Well)
}

#[derive(clap::Args)]
pub(super) struct Page {
    /// Command to describe [default: the program]
    command: Option<String>,
}

/// Prints a page of the manual.
pub(super) fn page(args: &Page) -> Result<Done, Failure> {
    let mut program = Cli::command();
    // Only now do commands know their whole names.
    program.build();
    let command = match &args.command {
        None => &program,
        Some(name) => program.find_subcommand(name).ok_or_else(|| {
            let names: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
            Error::Setting(format!("no command is called `{name}`: use {}", names::either(&names)))
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(Failure::Output)?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Done::Well)
}
