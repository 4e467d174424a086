//! `gaitprop sweep`: a grid of settings, each with several seeds, on all cores.

use crate::base::error::{Error, Result};
use crate::cli::common::{Batch, Common, finish, span, unfinished};
use crate::cli::{Done, Failure, print};
use crate::run::batch::{Look, Planned, train_all};
use crate::run::grid::{Allowed, Point};
use crate::run::history::MeanSd;
use crate::run::table::{Group, Table};
use crate::study::align::Precision;
use gaitprop_kernels::Real;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

#[derive(clap::Args)]
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
    "seed",
    "dtype",
    "threads",
    "isa",
    "backend",
]);

/// The name of the command, and of what it leaves.
const COMMAND: &str = "sweep";

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let batch = args.common.prepare(&args.grid, COMMON, None)?;
    let sweep = Sweep { points: batch.grid.points(None)?, batch };
    match sweep.batch.machine.precision {
        Precision::F32 => sweep.run::<f32>(),
        Precision::F64 => sweep.run::<f64>(),
    }
}

/// All that a sweep is.
struct Sweep<'a> {
    points: Vec<Point>,
    batch: Batch<'a>,
}

impl Sweep<'_> {
    fn run<T: Real>(&self) -> Result<Done, Failure> {
        let out = self.batch.said.out.as_deref();
        let runs = self.planned(out)?;
        let store = self.batch.open(COMMAND, None, &runs)?;
        let interrupted = crate::cli::interrupts();
        let crew = self.batch.crew(&interrupted);
        let clock = Instant::now();
        let (fates, learned) = train_all::<T>(&runs, &self.batch.data, Look::Scores, &crew)?;
        let seconds = clock.elapsed().as_secs_f64();

        let mut fates = fates.into_iter();
        let group = |(point, runs): (&Point, &[Planned])| Group {
            names: self.batch.grid.keys().iter().map(|key| point.get(key).unwrap_or_default().to_owned()).collect(),
            settings: runs[0].settings.clone(),
            fates: self.batch.seeds.iter().copied().zip(fates.by_ref()).collect(),
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

        let mut text = format!("{}; {}; mean ± s.d.\n", self.about(&runs), span(&self.batch.seeds));
        text += &table.text();
        text += if held {
            "best validation accuracy first\n"
        } else {
            "best test accuracy first: to choose by it is to have seen the test set (--validation N holds samples out to choose by)\n"
        };
        if learned > 0 {
            let (threads, rate) = (self.batch.machine.threads.min(runs.len()), learned as f64 / seconds.max(1e-9));
            let _ = writeln!(text, "{rate:.0} networks x samples/s, {threads} at once");
        }
        text += &unfinished(&table);
        // Write the files and print the table even if the other fails.
        let written =
            store.map_or(Ok(()), |store| store.write_tables(&text, &table, (&self.batch.set, &self.batch.seeds, "points")));
        print(&text)?;
        written?;
        // Options that cannot be trained are part of what a sweep finds out.
        finish(&table, table.groups.len(), &interrupted)
    }

    /// All runs, point by point and seed by seed.
    fn planned(&self, out: Option<&Path>) -> Result<Vec<Planned>> {
        let count = self.points.len().saturating_mul(self.batch.seeds.len());
        if count > MAX_RUNS {
            return Err(Error::Setting(format!("{count} runs: use at most {MAX_RUNS}")));
        }
        let mut runs: Vec<Planned> = Vec::with_capacity(count);
        for point in &self.points {
            for &seed in &self.batch.seeds {
                let dir = out.map(|out| out.join(point.folder()).join(format!("seed-{seed}")));
                runs.push(Planned::new(&self.batch.said, point, (None, seed), (&self.batch.set, &self.batch.data), dir)?);
            }
        }
        Ok(runs)
    }

    /// Data, and the network if all runs have the same.
    fn about(&self, runs: &[Planned]) -> String {
        let first = &runs[0].run;
        let whole = first.describe(&self.batch.data);
        let same = runs.iter().all(|planned| planned.run.architecture.layers == first.architecture.layers);
        if same { whole } else { whole.split("; ").next().unwrap_or_default().to_owned() }
    }
}

/// Upper limit, against slips of the keyboard.
const MAX_RUNS: usize = 1_000_000;
