//! `gaitprop sweep`: a grid of settings, each with several seeds, on all cores.

use crate::base::error::{Error, Result};
use crate::cli::common::{Batch, Common, seed_range};
use crate::cli::{Done, Failure};
use crate::run::batch::{Planned, SWEEP, train_all};
use crate::run::grid::{Allowed, Point};
use crate::run::history::MeanSd;
use crate::run::session::MeasureLevel;
use crate::run::table::{Group, Table};
use crate::study::align::Precision;
use gaitprop_kernels::Real;
use std::fmt::Write as _;
use std::time::Instant;

#[derive(clap::Args)]
#[command(mut_arg("out", |arg| arg.help(
    "Folder for table.txt, table.csv, sweep.json, and a folder as `train` leaves it for each run: SETTINGS/seed-N; without it, only the \
     table is printed"
)))]
#[command(mut_arg("threads", |arg| arg.help("Runs at once, each on one thread; the results do not depend on it [default: all cores]")))]
pub(super) struct Args {
    /// Options and their values, as lr=1e-4,1e-3,lambda=0,0.1 (repeatable; every combination is
    /// run). Any option except those of data, seed and machine; widths as layers=64-64-10
    #[arg(long, value_name = "KEY=V,V,…")]
    grid: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Options that all runs of a sweep share.
const COMMON: Allowed = Allowed::AllBut(&[
    "out",
    "data",
    "scale",
    "classes",
    "limit-train",
    "validation",
    "limit-test",
    "seed",
    "dtype",
    "threads",
    "isa",
    "backend",
]);

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let batch = args.common.prepare(&args.grid, COMMON, None)?;
    let sweep = Sweep { points: batch.grid.points(None)?, batch };
    match sweep.batch.runtime.precision {
        Precision::F32 => sweep.run::<f32>(),
        Precision::F64 => sweep.run::<f64>(),
    }
}

/// A sweep, prepared.
struct Sweep<'a> {
    points: Vec<Point>,
    batch: Batch<'a>,
}

impl Sweep<'_> {
    fn run<T: Real>(&self) -> Result<Done, Failure> {
        let runs = self.planned()?;
        let results = self.batch.open(&SWEEP, &runs)?;
        let interrupted = crate::cli::interrupts();
        let pool = self.batch.pool_options(&interrupted);
        let clock = Instant::now();
        let (outcomes, learned) = train_all::<T>(&runs, &self.batch.data, MeasureLevel::Scores, &pool)?;
        let seconds = clock.elapsed().as_secs_f64();

        let mut outcomes = outcomes.into_iter();
        let group = |(point, runs): (&Point, &[Planned])| Group {
            names: self.batch.grid.keys().iter().map(|key| point.get(key).unwrap_or_default().to_owned()).collect(),
            settings: runs[0].settings.clone(),
            outcomes: self.batch.seeds.iter().copied().zip(outcomes.by_ref()).collect(),
        };
        let mut groups: Vec<_> = self.points.iter().zip(runs.chunks(self.batch.seeds.len())).map(group).collect();
        let held = self.batch.data.validation.is_some();
        let key = |group: &Group| {
            let figures = group.statistics();
            let by: Option<MeanSd> = if held { figures.final_validation_accuracy } else { figures.final_test_accuracy };
            by.map_or(f64::NEG_INFINITY, |s| s.mean)
        };
        groups.sort_by(|a, b| key(b).total_cmp(&key(a)));
        let table = Table { titles: self.batch.grid.keys().into_iter().map(str::to_owned).collect(), groups };

        let about = format!("{}; {}", self.about(&runs), seed_range(&self.batch.seeds));
        let mut notes = if held {
            "best validation accuracy first\n".to_owned()
        } else {
            "best test accuracy first; choose settings by validation samples instead (--validation N)\n".to_owned()
        };
        if learned > 0 {
            let (threads, rate) = (self.batch.runtime.threads.min(runs.len()), learned as f64 / seconds.max(1e-9));
            let _ = writeln!(notes, "{rate:.0} networks x samples/s, {threads} at once");
        }
        // Points that fail are a result of the sweep; it fails only if all of them do.
        self.batch.conclude(results, &table, (&about, &notes), self.points.len(), &interrupted)
    }

    /// Plans all runs, point by point and seed by seed.
    fn planned(&self) -> Result<Vec<Planned>> {
        let count = self.points.len().saturating_mul(self.batch.seeds.len());
        if count > MAX_RUNS {
            return Err(Error::Setting(format!("{count} runs: use at most {MAX_RUNS}")));
        }
        let runs = self.points.iter().map(|point| self.batch.plan(point, None));
        Ok(runs.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Describes the data, and the network if all runs share it.
    fn about(&self, runs: &[Planned]) -> String {
        let first = &runs[0].run;
        let whole = first.describe(&self.batch.data);
        let same = runs.iter().all(|planned| planned.run.architecture.layers == first.architecture.layers);
        if same { whole } else { whole.split("; ").next().unwrap_or_default().to_owned() }
    }
}

/// Upper limit that catches typing errors.
const MAX_RUNS: usize = 1_000_000;
