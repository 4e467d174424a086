//! How a row is measured: contenders in turn, the peak before and after them, round by round.

use crate::blas::Blas;
use crate::ours::Workers;
use crate::report::{Entry, Record, median};
use crate::rows::{Contender, Element, Kind, Out, Problem, Row};
use crate::{blas_peers, check, ours, peak, peers};
use gaitprop_kernels::{Isa, Plan};
use rayon::ThreadPool;
use std::time::{Duration, Instant};

/// A sample lasts about this long, unless a few calls take longer.
const SAMPLE: f64 = 5e-3;
/// It is timed in pieces of at least this length, of which the median counts: when the system takes the processor away, it does so in few of
/// them.
const PIECE: f64 = 0.25e-3;
/// Pieces at least, after a warm-up of one call at least, where a call takes less than [`LONG`]; else one call and no warm-up.
const PIECES: usize = 3;
const LONG: f64 = 20e-3;
/// Calls before a sample, to fill caches and to wake threads.
const WARM: f64 = 0.5e-3;
/// A sample that takes longer is cut short: on a busy machine threads that wait for each other may take a hundred times their time.
const LIMIT: Duration = Duration::from_millis(100);
/// Rounds when nothing is said, and the fewest of them.
const ROUNDS: (usize, usize) = (15, 5);
/// Seconds that a row may take when nothing is said.
const PATIENCE: f64 = 20.0;
/// Between contenders with several threads: until the threads of the last one have stopped looking for work (see `main::QUIET`).
const SETTLE: Duration = Duration::from_millis(4);
/// Copies of an input that is overwritten, at most.
const COPIES: usize = 16;

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
    /// Calls the contender as often as `how` says, each time with the next of `outs`.
    fn sample<T: Element>(&self, c: &mut Contender<'_, T>, outs: &mut [Out<T>], how: Calls) -> Sample {
        let (in_pool, call, len) = (c.in_pool, &mut c.call, outs.len());
        let mut work = || {
            let (begin, mut last) = (Instant::now(), len - 1);
            let mut once = || {
                last = (last + 1) % len;
                call(&mut outs[last]);
            };
            for _ in 0..how.warm {
                once();
                if begin.elapsed() > LIMIT {
                    break;
                }
            }
            let mut seconds = Vec::with_capacity(how.pieces);
            while seconds.len() < how.pieces.max(1) && (seconds.is_empty() || begin.elapsed() < LIMIT) {
                let start = Instant::now();
                (0..how.piece).for_each(|_| once());
                seconds.push(start.elapsed().as_secs_f64() / how.piece as f64);
            }
            Sample { seconds: median(&seconds), last }
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
            let mut out = [p.out()];
            let first = self.sample(c, &mut out, Calls { warm: 0, pieces: 1, piece: 1 }).seconds;
            check::verify(&p, c, &out[0]).map_err(|e| wrong(c, e))?;
            if self.test {
                let [mut out] = out;
                if check::lets_an_error_pass(&p, c, &mut out) {
                    return Err(format!("the check of {} in {} lets a wrong element pass", c.name, row.name));
                }
            } else {
                timing.push(Timing::new(self, c, &p, first));
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
            check::verify(&p, c, &t.outs[t.last]).map_err(|e| wrong(c, format!("after {rounds} rounds: {e}")))?;
        }
        let entries = all.iter().zip(timing).map(|(c, t)| Entry::new(&c.name, c.kind, t.gflops, t.how.timed(), &peaks)).collect();
        Ok(Some(Record::new::<T>(row, self.threads, isa, peak_isa, peaks, entries)))
    }
}

/// How often a contender is called for one sample.
#[derive(Clone, Copy)]
struct Calls {
    /// Before the clock runs.
    warm: usize,
    pieces: usize,
    /// Calls in each piece.
    piece: usize,
}

impl Calls {
    fn timed(self) -> usize {
        self.pieces * self.piece
    }
}

/// What came of it.
struct Sample {
    /// Of one call: the median over pieces.
    seconds: f64,
    /// Which of the results was written last.
    last: usize,
}

/// The samples of one contender.
struct Timing<T> {
    how: Calls,
    outs: Vec<Out<T>>,
    /// Which of them holds the result of the last call.
    last: usize,
    /// GFLOP/s, round by round.
    gflops: Vec<f64>,
    /// What a round of this contender takes, about.
    seconds: f64,
}

impl<T: Element> Timing<T> {
    /// `first` is what the first call took, in seconds.
    fn new(setup: &Setup, c: &mut Contender<'_, T>, p: &Problem<T>, first: f64) -> Self {
        let mut outs: Vec<_> = (0..3).map(|_| p.out()).collect();
        // Nothing is warm in a first call: good enough to know a long one by.
        let long = first > LONG;
        let one = if long { first } else { setup.sample(c, &mut outs, Calls { warm: 1, pieces: 2, piece: 1 }).seconds };
        let (least_warm, least) = if long { (0, 1) } else { (1, PIECES) };
        let count = |seconds: f64, least: usize, most: usize| ((seconds / one) as usize).clamp(least, most);
        let how = if p.row.in_place() {
            // Each call needs a copy of the input.
            Calls { warm: least_warm, pieces: count(SAMPLE, least, COPIES - 1), piece: 1 }
        } else {
            let piece = count(PIECE, 1, 10_000);
            Calls { warm: count(WARM, least_warm, 20_000), pieces: count(SAMPLE / piece as f64, least, 100), piece }
        };
        outs.resize_with(if p.row.in_place() { how.warm + how.timed() } else { 1 }, || p.out());
        Self { how, outs, last: 0, gflops: Vec::new(), seconds: (how.warm + how.timed()) as f64 * one }
    }

    fn round(&mut self, setup: &Setup, c: &mut Contender<'_, T>, p: &Problem<T>) {
        if p.row.in_place() {
            self.outs.iter_mut().for_each(|out| out.data.copy_from_slice(&p.start));
        }
        if setup.threads > 1 {
            std::thread::sleep(SETTLE);
        }
        let Sample { seconds, last } = setup.sample(c, &mut self.outs, self.how);
        self.gflops.push(p.row.flops() / seconds * 1e-9);
        self.last = last;
    }
}

/// Of several contenders the one with the highest median that ours are compared with: the best peer, or else our own base.
pub fn best_of(entries: &[Entry]) -> Option<&Entry> {
    let others = || entries.iter().filter(|e| e.kind != Kind::Ours);
    others().max_by(|a, b| median(&a.gflops).total_cmp(&median(&b.gflops)))
}
