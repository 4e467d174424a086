//! How a row is measured: contenders in turn, the peak before and after them, round by round.

use crate::blas::Blas;
use crate::ours::Workers;
use crate::report::{Entry, Record, median};
use crate::rows::{Contender, Element, Kind, Out, Problem, Row};
use crate::{blas_peers, check, ours, peak, peers};
use gaitprop_kernels::{Isa, Plan};
use rayon::ThreadPool;
use std::time::{Duration, Instant};

/// Before a sample the contender runs for as long: caches fill, threads wake, and the cores reach the clock that they keep under this very load. Some
/// climb to it in steps of a millisecond, from two thirds of it, after every sleep and every change of load.
const WARM: Duration = Duration::from_millis(25);
/// A sample lasts about this long, unless a few calls take longer.
const SAMPLE: f64 = 5e-3;
/// It is timed in pieces of at least this length, of which the median counts: when the system takes the processor away, it does so in few of
/// them.
const PIECE: f64 = 0.25e-3;
/// Pieces at least, where a call takes less than [`LONG`]; else one call.
const PIECES: usize = 3;
const LONG: f64 = 20e-3;
/// A sample that takes longer is cut short: on a busy machine threads that wait for each other may take a hundred times their time.
const LIMIT: Duration = Duration::from_millis(100);
/// Rounds when nothing is said, and the fewest of them.
const ROUNDS: (usize, usize) = (15, 5);
/// Seconds that a row may take when nothing is said.
const PATIENCE: f64 = 20.0;
/// Between contenders with several threads: until the threads of the last one have stopped looking for work (see `main::QUIET`).
const SETTLE: Duration = Duration::from_millis(4);

/// What all rows have in common.
pub struct Setup {
    pub isa: Isa,
    pub rounds: Option<usize>,
    pub test: bool,
    pub blas: Vec<Blas>,
    pub threads: usize,
    pub pool: Option<ThreadPool>,
    pub workers: Workers,
}

impl Setup {
    /// Seconds of one call: the median over pieces.
    fn sample<T: Element>(&self, c: &mut Contender<'_, T>, p: &Problem<T>, out: &mut Out<T>, how: Calls) -> f64 {
        let (in_pool, call) = (c.in_pool, &mut c.call);
        let mut work = || {
            // Outside the time taken: the input of work in place is there again.
            let again = |out: &mut Out<T>| {
                if p.row.in_place() {
                    out.data.copy_from_slice(&p.start);
                }
            };
            let begin = Instant::now();
            while begin.elapsed() < how.warm {
                again(out);
                call(out);
            }
            let (begin, mut seconds) = (Instant::now(), Vec::with_capacity(how.pieces));
            while seconds.is_empty() || seconds.len() < how.pieces && begin.elapsed() < LIMIT {
                again(out);
                let start = Instant::now();
                (0..how.piece).for_each(|_| call(out));
                seconds.push(start.elapsed().as_secs_f64() / how.piece as f64);
            }
            median(&seconds)
        };
        match &self.pool {
            Some(pool) if in_pool => pool.install(work),
            _ => work(),
        }
    }

    /// Measures a row, or only checks it. `Ok(None)` if there is nobody to measure.
    pub fn row<T: Element>(&self, row: Row) -> Result<Option<Record>, String> {
        let isa = match row.forced_isa {
            Some(name) => match Isa::named(name) {
                Ok(isa) if isa != self.isa && self.isa == Isa::detect() => isa,
                _ => return Ok(None),
            },
            None => self.isa,
        };
        let row = if self.test { row.tiny() } else { row };
        let p = Problem::<T>::new(row);
        let plan = Plan::new().with_isa(isa).with_par(self.workers.par());
        let mut all = ours::contenders(&p, plan);
        // Peers cannot be held to an instruction set: a row that forces one is ours against the peak.
        if row.forced_isa.is_none() {
            // A library built for one thread would be no peer of two, and must not be called from two.
            for blas in self.blas.iter().filter(|blas| self.threads == 1 || !blas.serial) {
                all.extend(blas_peers::contenders(&p, blas, self.threads)?);
            }
            all.extend(peers::contenders(&p, self.threads));
        }
        if all.is_empty() {
            return Ok(None);
        }
        let wrong = |c: &Contender<'_, T>, e: String| {
            format!("WRONG RESULT of {} in {} ({}, {} threads): {e}", c.name, row.name, T::NAME, self.threads)
        };
        let mut timing = Vec::new();
        for c in &mut all {
            let mut out = p.out();
            let first = self.sample(c, &p, &mut out, Calls { warm: Duration::ZERO, pieces: 1, piece: 1 });
            check::verify(&p, c, &out).map_err(|e| wrong(c, e))?;
            if self.test {
                if check::lets_an_error_pass(&p, c, &mut out) {
                    return Err(format!("the check of {} in {} lets a wrong element pass", c.name, row.name));
                }
            } else {
                timing.push(Timing::new(self, c, &p, out, first));
            }
        }
        if self.test {
            return Ok(Some(Record::checked::<T>(row, self.threads, all.iter().map(|c| c.name.clone()))));
        }
        let (peak_loop, peak_isa) = peak::of::<T>(isa).ok_or("no loop for the peak on this architecture")?;
        let round: f64 = timing.iter().map(|t| t.seconds).sum();
        let rounds = self.rounds.unwrap_or(((PATIENCE / round) as usize).clamp(ROUNDS.1, ROUNDS.0));
        let mut peaks = Vec::new();
        for round in 0..rounds {
            let before = peak::measure(peak_loop, self.threads);
            for turn in 0..all.len() {
                let who = (turn + round) % all.len();
                timing[who].round(self, &mut all[who], &p);
            }
            // Whatever disturbs this one lowers it: the larger is the truer.
            peaks.push(before.max(peak::measure(peak_loop, self.threads)));
        }
        for (c, t) in all.iter().zip(&timing) {
            check::verify(&p, c, &t.out).map_err(|e| wrong(c, format!("after {rounds} rounds: {e}")))?;
        }
        let entries = all
            .iter()
            .zip(timing)
            .map(|(c, t)| Entry::new(&c.name, c.kind, t.gflops, t.how.pieces * t.how.piece, &peaks))
            .collect();
        Ok(Some(Record::new::<T>(row, self.threads, isa, peak_isa, peaks, entries)))
    }
}

/// How often a contender is called for one sample.
#[derive(Clone, Copy)]
struct Calls {
    /// As often as it takes, before the clock runs.
    warm: Duration,
    pieces: usize,
    /// Calls in each piece.
    piece: usize,
}

/// The samples of one contender.
struct Timing<T> {
    how: Calls,
    /// Holds the result of the last call.
    out: Out<T>,
    /// GFLOP/s, round by round.
    gflops: Vec<f64>,
    /// What a round of this contender takes, about.
    seconds: f64,
}

impl<T: Element> Timing<T> {
    /// `first` is what the first call took, in seconds.
    fn new(setup: &Setup, c: &mut Contender<'_, T>, p: &Problem<T>, mut out: Out<T>, first: f64) -> Self {
        // Nothing is warm in a first call: good enough to know a long one by.
        let long = first > LONG;
        let short = Calls { warm: Duration::from_secs_f64(first), pieces: 2, piece: 1 };
        let one = if long { first } else { setup.sample(c, p, &mut out, short) };
        let count = |seconds: f64, least: usize, most: usize| ((seconds / one) as usize).clamp(least, most);
        // Work in place needs its input before each call.
        let piece = if p.row.in_place() { 1 } else { count(PIECE, 1, 10_000) };
        let pieces = count(SAMPLE / piece as f64, if long { 1 } else { PIECES }, 100);
        let how = Calls { warm: WARM, pieces, piece };
        let seconds = WARM.as_secs_f64().max(one) + (pieces * piece) as f64 * one;
        Self { how, out, gflops: Vec::new(), seconds }
    }

    fn round(&mut self, setup: &Setup, c: &mut Contender<'_, T>, p: &Problem<T>) {
        if setup.threads > 1 {
            std::thread::sleep(SETTLE);
        }
        let seconds = setup.sample(c, p, &mut self.out, self.how);
        self.gflops.push(p.row.flops() / seconds * 1e-9);
    }
}

/// Of several contenders the one with the highest median that ours are compared with: the best peer, or else our own base.
pub fn best_of(entries: &[Entry]) -> Option<&Entry> {
    let others = || entries.iter().filter(|e| e.kind != Kind::Ours);
    others().max_by(|a, b| median(&a.gflops).total_cmp(&median(&b.gflops)))
}
