//! `gaitprop compare`: rules from the same starts, on the same batches, with the same optimiser and budget.

use crate::base::error::{Error, Result};
use crate::cli::common::{Batch, Common, finish, span, unfinished};
use crate::cli::{Done, Failure, print};
use crate::rule::LearningRule;
use crate::run::batch::{Crew, Look, Planned, Store, seeds, train_all};
use crate::run::choose::{Candidates, Choice, Trials};
use crate::run::config::RunConfig;
use crate::run::grid::{Allowed, Point};
use crate::run::history::Fate;
use crate::run::options::Options;
use crate::run::table::{Group, Table, shown};
use crate::study::align::Precision;
use gaitprop_kernels::Real;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(mut_arg("rule", |arg| arg.hide(true)), mut_arg("seeds", |arg| arg.default_value("1")))]
#[command(mut_arg("out", |arg| arg.help(
    "Folder for table.txt, table.csv, compare.json, grid.csv, and a folder as `train` leaves it for each run: RULE/seed-N; without it the \
     table is printed and nothing kept"
)))]
#[command(mut_arg("threads", |arg| arg.help("Runs at once, each on one thread; the results do not depend on it [default: all cores]")))]
#[command(mut_arg("validation", |arg| arg.help(
    "Hold the last N training samples out of all runs [default: a sixth, out of the runs of a grid alone]"
)))]
pub(super) struct Args {
    /// The rules
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', default_value = "gait,bp")]
    rules: Vec<LearningRule>,
    /// Values to choose from for each rule: lr=1e-5,1e-4,lambda=0,0.1 (lr, lambda, mu, block and gamma; again for more). For one rule:
    /// gait.lr=1e-4,1e-3; a single value is just set. What tells the validation samples best at the end is taken, by all seeds
    #[arg(long, value_name = "KEY=V,V,…")]
    grid: Vec<String>,
    /// Seeds that each choice of a grid is tried with, from --seed on [default: 1]
    #[arg(long, value_name = "N")]
    grid_seeds: Option<u64>,
    /// Epochs that it is tried for [default: --epochs]
    #[arg(long, value_name = "N")]
    grid_epochs: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// What rules may differ in: all else is the comparison's.
const OF_RULES: Allowed = Allowed::Only(&["lr", "lambda", "mu", "block", "gamma"]);

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let rules = &args.rules;
    if let Some((_, rule)) = rules.iter().enumerate().find(|(i, rule)| rules[..*i].contains(rule)) {
        return Err(Error::Setting(format!("--rules: {rule} is there twice")).into());
    }
    let batch = args.common.prepare(&args.grid, OF_RULES, Some(&args.rules))?;
    let comparison = Comparison { args, batch };
    match comparison.batch.machine.precision {
        Precision::F32 => comparison.run::<f32>(),
        Precision::F64 => comparison.run::<f64>(),
    }
}

/// All that a comparison is.
struct Comparison<'a> {
    args: &'a Args,
    batch: Batch<'a>,
}

impl Comparison<'_> {
    fn run<T: Real>(&self) -> Result<Done, Failure> {
        let candidates = self.candidates()?;
        let trials = self.trials(&candidates)?;
        let out = self.batch.said.out.as_deref();
        // Whatever can be wrong with any of the runs is said before any work.
        let all = candidates.iter().flat_map(|c| c.points.iter().map(|point| self.all_seeds(c.rule, point, out)));
        let all = all.collect::<Result<Vec<_>>>()?.concat();
        let store = self.batch.open(COMMAND, Some(PAGE), &all)?;

        let interrupted = crate::cli::interrupts();
        let crew = self.batch.crew(&interrupted);
        let judges = trials.judges();
        let Some(choices) = trials.choose::<T>(&candidates, &self.batch.grid, store.as_ref(), &crew)? else {
            let rest = if out.is_some() { "; --resume goes on from there" } else { "" };
            print(&format!("interrupted while settings were chosen{rest}\n"))?;
            return Ok(Done::Interrupted);
        };
        let table = self.train::<T>(&choices, &crew)?;
        let text = self.text(&table, &choices, judges, &all[0].run);
        // Write the files and print the table even if the other fails.
        let written = store.map_or(Ok(None), |store| self.write(&store, &table, &text));
        print(&text)?;
        if let Some(page) = written? {
            print(&format!("pictures: {}\n", page.display()))?;
        }
        // A rule without a figure is a comparison that has failed.
        finish(&table, 1, &interrupted)
    }

    /// Tables, and a page about all runs unless there is nothing to be seen.
    fn write(&self, store: &Store, table: &Table, text: &str) -> Result<Option<PathBuf>> {
        store.write_tables(text, table, (&self.batch.set, &self.batch.seeds, "rules"))?;
        let page = store.page().filter(|_| table.groups.iter().any(Group::any_done));
        if let Some(page) = page {
            crate::cli::report::page(&[store.dir().to_owned()], page, &self.batch.machine, true, self.args.common.quiet)?;
        }
        Ok(page.map(Path::to_owned))
    }

    /// What there is to choose from.
    fn candidates(&self) -> Result<Vec<Candidates>> {
        self.args.rules.iter().map(|&rule| Ok(Candidates { rule, points: self.batch.grid.points(Some(rule))? })).collect()
    }

    /// All seeds of a rule at a point.
    fn all_seeds(&self, rule: LearningRule, point: &Point, out: Option<&Path>) -> Result<Vec<Planned>> {
        let planned = |&seed: &u64| {
            let dir = out.map(|out| out.join(rule.name()).join(format!("seed-{seed}")));
            Planned::new(&self.batch.said, point, (Some(rule), seed), (&self.batch.set, &self.batch.data), dir)
        };
        self.batch.seeds.iter().map(planned).collect()
    }

    /// How the choices are tried: without the validation samples, which are a sixth of the training samples unless something else was said.
    fn trials(&self, candidates: &[Candidates]) -> Result<Trials> {
        let Args { grid_seeds, grid_epochs, .. } = self.args;
        if !candidates.iter().any(Candidates::several) {
            return match (grid_seeds, grid_epochs) {
                (None, None) => Trials::plan(&[], &self.batch.said, &[], &self.batch.set, self.batch.data.clone()),
                _ => Err(Error::Setting("--grid-seeds and --grid-epochs are for a --grid that leaves a choice".into())),
            };
        }
        let mut data = self.batch.data.clone();
        let count = match &data.validation {
            Some(held) => held.len(),
            None => {
                let sixth = (data.train.len() / 6).max(1);
                data.hold_out(sixth)?;
                sixth
            }
        };
        let said = Options { validation: Some(count), epochs: grid_epochs.or(self.batch.said.epochs), ..self.batch.said.clone() };
        let seeds = seeds("--grid-seeds", grid_seeds.unwrap_or(1), self.batch.said.seed)?;
        Trials::plan(candidates, &said, &seeds, &self.batch.set, data)
    }

    /// All seeds of all rules that have settings, seed by seed, so that what an interrupt leaves is a comparison of fewer seeds.
    fn train<T: Real>(&self, choices: &[Choice], crew: &Crew<'_>) -> Result<Table> {
        let out = self.batch.said.out.as_deref();
        let (mut groups, mut runs) = (Vec::new(), Vec::new());
        for (c, Choice { rule, point }) in choices.iter().enumerate() {
            let bare = Point::default();
            let planned = self.all_seeds(*rule, point.as_ref().unwrap_or(&bare), out)?;
            let settings = planned[0].settings.clone();
            let failed = |why: &String| self.batch.seeds.iter().map(|&seed| (seed, Fate::Failed(why.clone()))).collect();
            groups.push(Group {
                names: vec![rule.to_string()],
                settings,
                fates: point.as_ref().map_or_else(failed, |_| Vec::new()),
            });
            if point.is_ok() {
                runs.extend(self.batch.seeds.iter().zip(planned).map(|(&seed, planned)| ((seed, c), planned)));
            }
        }
        runs.sort_by_key(|&(place, _)| place);
        let (places, runs): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        let (fates, _) = train_all::<T>(&runs, &self.batch.data, Look::All, crew)?;
        for ((seed, c), fate) in places.into_iter().zip(fates) {
            groups[c].fates.push((seed, fate));
        }
        self.table(choices, groups)
    }

    /// Rules with the settings that were theirs alone.
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

    /// The table with what there is to say of it.
    fn text(&self, table: &Table, choices: &[Choice], judges: Option<usize>, run: &RunConfig) -> String {
        let seeds = span(&self.batch.seeds);
        let mut text = format!("{}; {seeds}; {} epochs; mean ± s.d.\n", run.describe(&self.batch.data), run.epochs);
        text += &table.text();
        if let Some(judges) = judges {
            let _ = writeln!(text, "settings chosen on {judges} validation samples, by accuracy at the end");
        }
        for Choice { rule, point } in choices {
            let edge = point.as_ref().map_or(Vec::new(), |point| self.batch.grid.at_the_edge(*rule, point));
            if !edge.is_empty() {
                let _ = writeln!(text, "{rule}: {} lies at the edge of the grid; the best may lie beyond", edge.join(" and "));
            }
        }
        text + &unfinished(table)
    }
}

/// The name of the command, and of what it leaves.
const COMMAND: &str = "compare";
/// The page about all runs, in their folder.
const PAGE: &str = "report.html";
