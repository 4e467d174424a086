//! `gaitprop completions` and `gaitprop man`, generated from the parser of the command line.

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

/// Prints the completion script of a shell.
pub(super) fn completions(args: &Args) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gaitprop", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Done::Success)
}

#[derive(clap::Args)]
pub(super) struct Page {
    /// Command to describe [default: the program itself]
    command: Option<String>,
}

/// Prints a manual page.
pub(super) fn page(args: &Page) -> Result<Done, Failure> {
    let mut program = Cli::command();
    // `build` sets the full names of commands.
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
    Ok(Done::Success)
}
