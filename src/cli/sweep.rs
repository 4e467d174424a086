//! `gaitprop sweep`: a grid of settings, each with several seeds, on all cores.

use crate::base::error::{Error, Result};
use crate::cli::common::{Common, finish, span, unfinished};
use crate::cli::{Done, Failure, print};
use crate::data::Dataset;
use crate::run::batch::{Crew, Look, Planned, Store, train_all};
use crate::run::config::Machine;
use crate::run::grid::{Allowed, Grid, Point};
use crate::run::history::MeanSd;
use crate::run::options::Settings;
use crate::run::table::{Group, Table};
use crate::study::align::Precision;
use gaitprop_kernels::Real;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

#[derive(clap::Args)]
#[command(mut_arg("beside", |arg| arg.hide(true)))]
#[command(mut_arg("out", |arg| arg.help(
    "Folder for table.txt, table.csv, sweep.json, and a folder as `train` leaves it for each run: SETTINGS/seed-N; without it the table is \
     printed and nothing kept"
)))]
#[command(mut_arg("threads", |arg| arg.help("Runs at once, each on one thread; the results do not depend on it [default: all cores]")))]
pub(super) struct Args {
    /// A setting and its values, or several: lr=1e-4,1e-3,lambda=0,0.1 (again for more; all combinations are run). Any flag but those of data, seed
    /// and machine; widths as layers=64-64-10
    #[arg(long, value_name = "KEY=V,V,…")]
    grid: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What all runs of a sweep have in common.
const COMMON: Allowed = Allowed::AllBut(&[
    "out",
    "data",
    "scale",
    "classes",
    "limit-train",
    "validation",
    "limit-test",
    "beside",
    "seed",
    "dtype",
    "threads",
    "isa",
    "backend",
]);

/// The name of the command, and of what it leaves.
const COMMAND: &str = "sweep";

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let said = args.common.said(false)?;
    let grid = Grid::parse(&args.grid, COMMON)?;
    grid.check_rules(&[])?;
    grid.check_flags(&Settings { out: None, ..args.common.settings.clone() })?;
    let seeds = args.common.seeds(said.seed)?;
    let (set, data) = said.load_data()?;
    let machine = Machine::new(said.dtype.as_deref(), said.threads, said.isa.as_deref(), said.backend.as_deref())?;
    let points = grid.points(None)?;
    let sweep = Sweep { args, said, points, grid, seeds, set, data, machine };
    match machine.precision {
        Precision::F32 => sweep.run::<f32>(),
        Precision::F64 => sweep.run::<f64>(),
    }
}

/// All that a sweep is.
struct Sweep<'a> {
    args: &'a Args,
    said: Settings,
    grid: Grid,
    points: Vec<Point>,
    seeds: Vec<u64>,
    set: String,
    data: Dataset,
    machine: Machine,
}

impl Sweep<'_> {
    fn run<T: Real>(&self) -> Result<Done, Failure> {
        let out = self.said.out.as_deref();
        let runs = self.planned(out)?;
        let store = out.map(|dir| Store::open(dir, (COMMAND, None), self.args.common.keeps(), &runs, &self.data)).transpose()?;
        let interrupted = crate::cli::interrupts();
        let crew = Crew { threads: self.machine.threads, interrupted: &interrupted, quiet: self.args.common.quiet };
        let clock = Instant::now();
        let (fates, learned) = train_all::<T>(&runs, &self.data, Look::Scores, &crew)?;
        let seconds = clock.elapsed().as_secs_f64();

        let mut fates = fates.into_iter();
        let group = |(point, runs): (&Point, &[Planned])| Group {
            names: self.grid.keys().iter().map(|key| point.get(key).unwrap_or_default().to_owned()).collect(),
            settings: runs[0].settings.clone(),
            fates: self.seeds.iter().copied().zip(fates.by_ref()).collect(),
        };
        let mut groups: Vec<_> = self.points.iter().zip(runs.chunks(self.seeds.len())).map(group).collect();
        let held = self.data.validation.is_some();
        let key = |group: &Group| {
            let figures = group.statistics();
            let by: Option<MeanSd> = if held { figures.final_validation_accuracy } else { figures.final_test_accuracy };
            by.map_or(f64::NEG_INFINITY, |s| s.mean)
        };
        groups.sort_by(|a, b| key(b).total_cmp(&key(a)));
        let table = Table { titles: self.grid.keys().into_iter().map(str::to_owned).collect(), groups };

        let mut text = format!("{}; {}; mean ± s.d.\n", self.about(&runs), span(&self.seeds));
        text += &table.text();
        text += if held {
            "best validation accuracy first\n"
        } else {
            "best test accuracy first: to choose by it is to have seen the test set (--validation N holds samples out to choose by)\n"
        };
        if learned > 0 {
            let (threads, rate) = (self.machine.threads.min(runs.len()), learned as f64 / seconds.max(1e-9));
            let _ = writeln!(text, "{rate:.0} networks x samples/s, {threads} at once");
        }
        text += &unfinished(&table);
        let summary = Summary {
            command: COMMAND,
            version: env!("CARGO_PKG_VERSION"),
            data: &self.set,
            seeds: &self.seeds,
            points: table.summary(),
        };
        // What cannot be written and what cannot be printed do not take each other along.
        let written = store.map_or(Ok(()), |store| store.write_tables(&text, &table.csv(), &summary));
        print(&text)?;
        written?;
        // Settings that cannot be trained are part of what a sweep finds out.
        finish(&table, table.groups.len(), &interrupted)
    }

    /// All runs, point by point and seed by seed.
    fn planned(&self, out: Option<&Path>) -> Result<Vec<Planned>> {
        let count = self.points.len().saturating_mul(self.seeds.len());
        if count > MAX_RUNS {
            return Err(Error::Setting(format!("{count} runs: more than {MAX_RUNS} are taken for a mistake")));
        }
        let mut runs: Vec<Planned> = Vec::with_capacity(count);
        for point in &self.points {
            for &seed in &self.seeds {
                let dir = out.map(|out| out.join(point.folder()).join(format!("seed-{seed}")));
                runs.push(Planned::new(&self.said, point, (None, seed), (&self.set, &self.data), dir)?);
            }
        }
        Ok(runs)
    }

    /// Data, and the network if all runs have the same.
    fn about(&self, runs: &[Planned]) -> String {
        let first = &runs[0].run;
        let whole = first.describe(&self.data);
        let same = runs.iter().all(|planned| planned.run.architecture.layers == first.architecture.layers);
        if same { whole } else { whole.split("; ").next().unwrap_or_default().to_owned() }
    }
}

/// More than this are taken for a mistake.
const MAX_RUNS: usize = 1_000_000;

/// What sweep.json holds.
#[derive(Serialize)]
struct Summary<'a, R> {
    command: &'static str,
    version: &'static str,
    data: &'a str,
    seeds: &'a [u64],
    points: R,
}
