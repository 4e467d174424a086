//! `gaitprop compare`: rules with the same initial weights, batches, optimizer and budget.

use crate::base::error::{Error, Result};
use crate::cli::common::{Batch, Common, seed_range};
use crate::cli::{Done, Failure, print};
use crate::data::Split;
use crate::rule::LearningRule;
use crate::run::batch::{COMPARE, Planned, seeds, train_all};
use crate::run::choose::{Candidates, Choice, Trials};
use crate::run::grid::{Allowed, Point};
use crate::run::options::{Options, shown};
use crate::run::pool::PoolOptions;
use crate::run::session::MeasureLevel;
use crate::run::table::{Group, Table};
use crate::study::align::Precision;
use gaitprop_kernels::Real;
use std::fmt::Write as _;

#[derive(clap::Args)]
#[command(mut_arg("rule", |arg| arg.hide(true)), mut_arg("seeds", |arg| arg.default_value("1")))]
#[command(mut_arg("out", |arg| arg.help(
    "Folder for table.txt, table.csv, compare.json, grid.csv, and a folder as `train` leaves it for each run: RULE/seed-N; without it, \
     only the table is printed"
)))]
#[command(mut_arg("threads", |arg| arg.help("Runs at once, each on one thread; the results do not depend on it [default: all cores]")))]
#[command(mut_arg("validation", |arg| arg.help(
    "Hold out the last N training samples of all runs [default: a sixth, in the trials of a grid only]"
)))]
pub(super) struct Args {
    /// Rules to compare
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', default_value = "gait,bp")]
    rules: Vec<LearningRule>,
    /// Values to choose from for each rule, as lr=1e-5,1e-4,lambda=0,0.1 (lr, lambda, mu, block,
    /// gamma, weight-decay, inverse-lr and decor-lr; repeatable). For one rule: gait.lr=1e-4,1e-3; a
    /// single value is simply set. The choice is by mean validation accuracy at the end
    #[arg(long, value_name = "KEY=V,V,…")]
    grid: Vec<String>,
    /// Number of seeds for each trial of the grid, beginning with --seed [default: 1]
    #[arg(long, value_name = "N")]
    grid_seeds: Option<u64>,
    /// Epochs of each trial of the grid [default: --epochs]
    #[arg(long, value_name = "N")]
    grid_epochs: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// Options that may differ between rules.
const OF_RULES: Allowed = Allowed::Only(&["lr", "lambda", "mu", "block", "gamma", "weight-decay", "inverse-lr", "decor-lr"]);

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let rules = &args.rules;
    if let Some((_, rule)) = rules.iter().enumerate().find(|(i, rule)| rules[..*i].contains(rule)) {
        return Err(Error::Setting(format!("--rules: {rule} is given twice")).into());
    }
    let batch = args.common.prepare(&args.grid, OF_RULES, Some(&args.rules))?;
    let comparison = Comparison { args, batch };
    match comparison.batch.runtime.precision {
        Precision::F32 => comparison.run::<f32>(),
        Precision::F64 => comparison.run::<f64>(),
    }
}

/// A comparison, prepared.
struct Comparison<'a> {
    args: &'a Args,
    batch: Batch<'a>,
}

impl Comparison<'_> {
    fn run<T: Real>(&self) -> Result<Done, Failure> {
        let candidate = |&rule| Ok(Candidates { rule, points: self.batch.grid.points(Some(rule))? });
        let candidates = self.args.rules.iter().map(candidate).collect::<Result<Vec<_>>>()?;
        let trials = self.trials(&candidates)?;
        // Every run is checked before any training.
        let all = candidates.iter().flat_map(|c| c.points.iter().map(|point| self.batch.plan(point, Some(c.rule))));
        let all = all.collect::<Result<Vec<_>>>()?.concat();
        let results = self.batch.open(&COMPARE, &all)?;

        let interrupted = crate::cli::interrupts();
        let pool = self.batch.pool_options(&interrupted);
        let validation_len = trials.validation_len();
        let Some(choices) = trials.choose::<T>(&candidates, &self.batch.grid, results.as_ref(), &pool)? else {
            let rest = if results.is_some() { "; --resume continues them" } else { "" };
            print(&format!("interrupted during the trials of the grid{rest}\n"))?;
            return Ok(Done::Interrupted);
        };
        let table = self.train::<T>(&choices, &pool)?;
        let (run, seeds) = (&all[0].run, seed_range(&self.batch.seeds));
        let about = format!("{}; {seeds}; {} epochs", run.describe(&self.batch.data), run.epochs);
        // The comparison fails if all runs of any rule failed.
        self.batch.conclude(results, &table, (&about, &self.notes(&choices, validation_len)), 1, &interrupted)
    }

    /// Plans the trials of the grid. They hold out a sixth of the training samples unless
    /// --validation is given.
    fn trials(&self, candidates: &[Candidates]) -> Result<Trials> {
        let Args { grid_seeds, grid_epochs, .. } = self.args;
        let several = candidates.iter().any(Candidates::several);
        if !several && (grid_seeds.is_some() || grid_epochs.is_some()) {
            return Err(Error::Setting("--grid-seeds and --grid-epochs need a --grid with several values".into()));
        }
        let mut data = self.batch.data.clone();
        if several && data.validation.is_none() {
            data.hold_out((data.train.len() / 6).max(1))?;
        }
        let validation = data.validation.as_ref().map(Split::len);
        let (flags, file) = self.batch.given();
        let flags = Options { validation, epochs: grid_epochs.or(flags.epochs), ..flags.clone() };
        let seeds = seeds("--grid-seeds", grid_seeds.unwrap_or(1), self.batch.options.seed)?;
        Trials::plan(candidates, (&flags, file), &seeds, &self.batch.set, data)
    }

    /// Trains all rules with a point, seed by seed: after an interrupt, all rules have the same
    /// seeds.
    fn train<T: Real>(&self, choices: &[Choice], pool: &PoolOptions<'_>) -> Result<Table> {
        let (bare, seeds) = (Point::default(), &self.batch.seeds);
        let planned = choices.iter().map(|choice| self.batch.plan(choice.point.as_ref().unwrap_or(&bare), Some(choice.rule)));
        let planned = planned.collect::<Result<Vec<_>>>()?;
        let of_seed =
            |s: usize| planned.iter().zip(choices).filter(|(_, c)| c.point.is_ok()).map(move |(runs, _)| runs[s].clone());
        let runs: Vec<_> = (0..seeds.len()).flat_map(of_seed).collect();
        let (outcomes, _) = train_all::<T>(&runs, &self.batch.data, MeasureLevel::All, pool)?;

        let group = |(choice, runs): (&Choice, &Vec<Planned>)| Group {
            names: vec![choice.rule.to_string()],
            settings: runs[0].settings.clone(),
            outcomes: Vec::new(),
        };
        let mut groups: Vec<_> = choices.iter().zip(&planned).map(group).collect();
        let mut outcomes = outcomes.into_iter();
        for &seed in seeds {
            for (group, Choice { point, .. }) in groups.iter_mut().zip(choices) {
                let outcome = point.as_ref().map_or_else(|why| Some(Err(why.clone())), |_| outcomes.next().flatten());
                group.outcomes.push((seed, outcome));
            }
        }
        self.table(choices, groups)
    }

    /// Builds the table, with the options that may differ between rules.
    fn table(&self, choices: &[Choice], mut groups: Vec<Group>) -> Result<Table> {
        let mut keys = vec!["lr", "lambda", "mu"];
        keys.extend(self.batch.grid.keys().into_iter().filter(|key| !["lr", "lambda", "mu"].contains(key)));
        let tables = groups.iter().map(|group| group.settings.table()).collect::<Result<Vec<_>>>()?;
        keys.retain(|&key| tables.iter().any(|table| table.contains_key(key)));
        for ((group, table), choice) in groups.iter_mut().zip(&tables).zip(choices) {
            let cell = |&key: &&str| table.get(key).filter(|_| choice.point.is_ok()).map_or("-".into(), shown);
            group.names.extend(keys.iter().map(cell));
        }
        Ok(Table { titles: ["rule"].into_iter().chain(keys).map(str::to_owned).collect(), groups })
    }

    /// Describes how the settings of the rules were chosen.
    fn notes(&self, choices: &[Choice], validation_len: Option<usize>) -> String {
        let mut text = validation_len.map_or(String::new(), |validation_len| {
            format!("settings chosen on {validation_len} validation samples, by accuracy at the end\n")
        });
        for Choice { rule, point } in choices {
            let edge = point.as_ref().map_or(Vec::new(), |point| self.batch.grid.at_the_edge(*rule, point));
            if !edge.is_empty() {
                let _ = writeln!(text, "{rule}: {} lies at the edge of the grid; the best may lie beyond", edge.join(" and "));
            }
        }
        text
    }
}
