//! What `compare` and `sweep` share: flags about many runs, and how such a command ends.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure};
use crate::data::Dataset;
use crate::rule::LearningRule;
use crate::run::batch::{Crew, Planned, Store, seeds};
use crate::run::config::Machine;
use crate::run::grid::{Allowed, Grid};
use crate::run::options::Options;
use crate::run::table::{Group, Table};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags of a command that trains many runs, besides the settings of each.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many seeds each has: --seed and the numbers after it
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Replace the results that are already in that folder
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Go on with what is in that folder: runs that have come to their end are read back, the others begin anew
    #[arg(long)]
    resume: bool,
    /// No progress bars
    #[arg(long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    settings: Options,
}

impl Common {
    /// Options of all runs, from flags and file; without a rule where there are several.
    ///
    /// # Errors
    /// As [`Options::read`]; [`Error::Setting`] for flags that make no sense with many runs.
    fn said(&self, several_rules: bool) -> Result<Options> {
        let flags = self.settings.clone();
        if several_rules && flags.rule.is_some() {
            return Err(Error::Setting("--rule is for a single rule: use --rules".into()));
        }
        let mut file = self.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
        if several_rules && file.rule.take().is_some() {
            // They were that rule's.
            (file.lr, file.lambda, file.mu) = (None, None, None);
        }
        let said = flags.or(file);
        for (flag, given) in [("--overwrite", self.overwrite), ("--resume", self.resume)] {
            if given && said.out.is_none() {
                return Err(Error::Setting(format!("{flag} needs --out: nothing is written without a folder")));
            }
        }
        Ok(said)
    }

    /// Reads and checks what `compare` and `sweep` share; `rules` are those of a comparison.
    ///
    /// # Errors
    /// As [`Common::said`], [`Grid::parse`] and [`Options::load_data`]; [`Error::Setting`] for too many seeds or none.
    pub(crate) fn prepare(&self, grid: &[String], allowed: Allowed, rules: Option<&[LearningRule]>) -> Result<Batch<'_>> {
        let said = self.said(rules.is_some())?;
        let grid = Grid::parse(grid, allowed)?;
        grid.check_rules(rules.unwrap_or_default())?;
        grid.check_flags(&Options { out: None, ..self.settings.clone() })?;
        let seeds = seeds("--seeds", self.seeds, said.seed)?;
        let (set, data) = said.load_data()?;
        let machine = Machine::of(&said)?;
        Ok(Batch { common: self, said, grid, seeds, set, data, machine })
    }
}

/// What all runs of a command share.
pub(crate) struct Batch<'a> {
    common: &'a Common,
    pub(crate) said: Options,
    pub(crate) grid: Grid,
    pub(crate) seeds: Vec<u64>,
    /// Name of the data set, as settings write it.
    pub(crate) set: String,
    pub(crate) data: Dataset,
    pub(crate) machine: Machine,
}

impl Batch<'_> {
    /// Opens the folder of results, if there is one.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open(&self, command: &'static str, page: Option<&str>, runs: &[Planned]) -> Result<Option<Store>> {
        let keeps = (self.common.resume, self.common.overwrite);
        self.said.out.as_deref().map(|dir| Store::open(dir, (command, page), keeps, runs, &self.data)).transpose()
    }

    /// The threads of the machine, until `interrupted`.
    pub(crate) fn crew<'c>(&self, interrupted: &'c AtomicBool) -> Crew<'c> {
        Crew { threads: self.machine.threads, interrupted, quiet: self.common.quiet }
    }
}

/// How many runs a table lacks.
pub(crate) fn unfinished(table: &Table) -> String {
    match table.groups.iter().map(Group::unfinished).sum::<usize>() {
        0 => String::new(),
        1 => "interrupted: 1 run is not finished\n".into(),
        n => format!("interrupted: {n} runs are not finished\n"),
    }
}

/// Seeds, of which there is one at least, for readers.
pub(crate) fn span(seeds: &[u64]) -> String {
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    if first == last { format!("seed {first}") } else { format!("seeds {first} to {last}") }
}

/// How a command ends whose table has been shown: badly if at least `enough` rows have not a single run to show.
pub(crate) fn finish(table: &Table, enough: usize, interrupted: &AtomicBool) -> Result<Done, Failure> {
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Done::Interrupted);
    }
    let failed: Vec<_> = table.groups.iter().filter_map(|group| Some((group, group.all_failed()?))).collect();
    match &failed[..] {
        [(group, why), rest @ ..] if failed.len() >= enough => {
            let more = if rest.is_empty() { String::new() } else { format!(", and of {} more rows of the table,", rest.len()) };
            Err(Error::Setting(format!("every run of {}{more} failed: {why}", group.names.join(" "))).into())
        }
        _ => Ok(Done::Well),
    }
}
