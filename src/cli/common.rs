//! Parts common to `compare` and `sweep`: flags, preparation, results and exit status.

use crate::base::error::{Error, Result};
use crate::cli::{Done, Failure, print, print_note, report};
use crate::data::Dataset;
use crate::rule::LearningRule;
use crate::run::batch::{Command, Planned, ResultsDir, seeds};
use crate::run::config::Runtime;
use crate::run::grid::{Allowed, Grid, Point};
use crate::run::options::Options;
use crate::run::pool::PoolOptions;
use crate::run::preset::{dropped, replacements};
use crate::run::table::{Group, Table};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags of a command that trains many runs, besides the options of each run.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// TOML file with settings of the same names; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Number of seeds: --seed and the numbers after it
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Replace the results that are already in that folder
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Resume in that folder: read the finished runs, and train the others from the start
    #[arg(long)]
    resume: bool,
    /// No progress bars
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    settings: Options,
}

impl Common {
    /// Reads and checks flags, file and data. `rules` are those of a comparison, in which no other
    /// rule counts.
    ///
    /// # Errors
    /// As [`Options::read`], [`Grid::parse`] and [`Options::load_data`]; [`Error::Setting`] for
    /// flags that do not apply to many runs, and for too many seeds or none.
    pub(crate) fn prepare(&self, grid: &[String], allowed: Allowed, rules: Option<&[LearningRule]>) -> Result<Batch<'_>> {
        if rules.is_some() && self.settings.rule.is_some() {
            return Err(Error::Setting("--rule names a single rule: use --rules".into()));
        }
        let mut file = self.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
        if rules.is_some() && file.rule.is_some() {
            file = file.without_rule();
        }
        let options = self.settings.clone().or(file.clone());
        let stats = options.stats_every.is_some_and(|n| n > 0);
        options.check_out(&[("overwrite", self.overwrite), ("resume", self.resume), ("stats-every", stats)])?;
        let grid = Grid::parse(grid, allowed)?;
        grid.check_rules(rules.unwrap_or_default())?;
        grid.check_flags(&Options { out: None, ..self.settings.clone() })?;
        let seeds = seeds("--seeds", self.seeds, options.seed)?;
        let (set, data) = options.load_data()?;
        let runtime = Runtime::of(&options)?;
        Ok(Batch { common: self, file, options, grid, seeds, set, data, runtime })
    }
}

/// Common settings of all runs of a command.
pub(crate) struct Batch<'a> {
    common: &'a Common,
    file: Options,
    /// Flags, completed by the file.
    pub(crate) options: Options,
    pub(crate) grid: Grid,
    pub(crate) seeds: Vec<u64>,
    /// Name of the data set, as config.toml has it.
    pub(crate) set: String,
    pub(crate) data: Dataset,
    pub(crate) runtime: Runtime,
}

impl Batch<'_> {
    /// Plans the runs of all seeds at a point, in a folder named after the rule, else the point.
    ///
    /// # Errors
    /// As [`Planned::new`].
    pub(crate) fn plan(&self, point: &Point, rule: Option<LearningRule>) -> Result<Vec<Planned>> {
        let folder = rule.map_or_else(|| point.folder(), |rule| rule.to_string());
        let plan = |&seed: &u64| {
            let dir = self.options.out.as_ref().map(|out| out.join(&folder).join(format!("seed-{seed}")));
            Planned::new(self.given(), point, (rule, seed), (&self.set, &self.data), dir)
        };
        self.seeds.iter().map(plan).collect()
    }

    /// Returns flags and file, which a point of the grid comes between.
    pub(crate) fn given(&self) -> (&Options, &Options) {
        (&self.common.settings, &self.file)
    }

    /// Opens the folder of results, if there is one. Then prints notes about settings that a preset
    /// replaces, or that replace some of it.
    ///
    /// # Errors
    /// As [`ResultsDir::open`].
    pub(crate) fn open(&self, command: &'static Command, runs: &[Planned]) -> Result<Option<ResultsDir>> {
        let keeps = (self.common.resume, self.common.overwrite);
        let results =
            self.options.out.as_deref().map(|dir| ResultsDir::open(dir, command, keeps, runs, &self.data)).transpose()?;
        let mut rules: Vec<LearningRule> = Vec::new();
        for rule in runs.iter().map(|run| run.run.train.rule) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        let grid = self.grid.keys();
        if let Some(path) = &self.common.config {
            let settings = runs.iter().map(|run| &run.settings);
            let lost = dropped((&self.common.settings, &grid), (path, &self.file), settings)?;
            lost.iter().for_each(|line| print_note(line));
        }
        if !grid.contains(&"preset") {
            replacements(&self.options, &rules)?.iter().for_each(|line| print_note(line));
        }
        Ok(results)
    }

    /// Prints the table between the description of the runs and notes, and writes all files. The
    /// command fails if every run failed in at least `enough` rows.
    pub(crate) fn conclude(
        &self,
        results: Option<ResultsDir>,
        table: &Table,
        (about, notes): (&str, &str),
        enough: usize,
        interrupted: &AtomicBool,
    ) -> Result<Done, Failure> {
        let text = format!("{about}; mean ± s.d.\n{}{notes}{}", table.text(), unfinished(table, results.is_some()));
        // Write the files and print the table even if the other fails.
        let written = results.map_or(Ok(None), |results| self.write(&results, table, &text));
        print(&text)?;
        if let Some(page) = written? {
            print(&format!("pictures: {}\n", page.display()))?;
        }
        finish(table, enough, interrupted)
    }

    /// Writes the tables, and the command's report if any run has finished. Returns its path.
    fn write(&self, results: &ResultsDir, table: &Table, text: &str) -> Result<Option<PathBuf>> {
        results.write_tables(text, table, &self.set, &self.seeds)?;
        let page = results.page().filter(|_| table.groups.iter().any(|group| !group.figures().is_empty()));
        if let Some(page) = &page {
            report::page(std::slice::from_ref(&results.dir), page, &self.runtime, true, self.common.quiet)?;
        }
        Ok(page)
    }

    /// Returns the options of the pool of threads, which stops when `interrupted` is set.
    pub(crate) fn pool_options<'c>(&self, interrupted: &'c AtomicBool) -> PoolOptions<'c> {
        PoolOptions { threads: self.runtime.threads, interrupted, quiet: self.common.quiet }
    }
}

/// Describes how many runs are missing from a table. `kept`: whether the others are in a folder.
fn unfinished(table: &Table, kept: bool) -> String {
    let rest = if kept { "; --resume trains what is left" } else { "" };
    match table.groups.iter().map(Group::unfinished).sum::<usize>() {
        0 => String::new(),
        1 => format!("interrupted: 1 run is not finished{rest}\n"),
        n => format!("interrupted: {n} runs are not finished{rest}\n"),
    }
}

/// Formats seeds, of which there is at least one.
pub(crate) fn seed_range(seeds: &[u64]) -> String {
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    if first == last { format!("seed {first}") } else { format!("seeds {first} to {last}") }
}

/// Returns the exit status of a command; see [`Batch::conclude`].
fn finish(table: &Table, enough: usize, interrupted: &AtomicBool) -> Result<Done, Failure> {
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Done::Interrupted);
    }
    let failed: Vec<_> = table.groups.iter().filter_map(|group| Some((group, group.all_failed()?))).collect();
    match &failed[..] {
        [(group, why), rest @ ..] if failed.len() >= enough => {
            let more = if rest.is_empty() { String::new() } else { format!(", and of {} more rows of the table,", rest.len()) };
            let of = table.name(group).map_or(String::new(), |name| format!(" of {name}"));
            Err(Error::Setting(format!("every run{of}{more} failed: {why}")).into())
        }
        _ => Ok(Done::Success),
    }
}
