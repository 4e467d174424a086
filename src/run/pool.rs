//! A pool of threads, one job each, with a progress bar for each running job and one for all.

use crate::base::error::{Error, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Number of threads and the ways to watch and stop them.
pub(crate) struct PoolOptions<'a> {
    pub(crate) threads: usize,
    pub(crate) interrupted: &'a AtomicBool,
    /// Draws no bars.
    pub(crate) quiet: bool,
}

/// Progress bars of one job and of all.
pub(crate) struct Bar {
    own: ProgressBar,
    all: ProgressBar,
}

impl Bar {
    /// Advances by `samples`.
    pub(crate) fn learned(&self, samples: usize, message: impl FnOnce() -> String) {
        self.own.inc(samples as u64);
        self.all.inc(samples as u64);
        if !self.own.is_hidden() {
            self.own.set_message(message());
        }
    }
}

/// Template of bars that count samples.
const SAMPLES: &str = "{prefix:>5} {bar:32} {percent:>3} %  {msg}  {per_sec}  {eta} left";

/// Creates a progress bar up to `len`. Draws nothing without a terminal.
pub(crate) fn progress(template: &str, len: u64, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), target(quiet));
    let per_second = |s: &ProgressState, w: &mut dyn std::fmt::Write| {
        let _ = write!(w, "{:.0} samples/s", s.per_sec());
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("per_sec", per_second)),
        Err(_) => bar,
    }
}

fn target(quiet: bool) -> ProgressDrawTarget {
    if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// Creates a bar that counts samples, with a title.
pub(crate) fn bar(title: String, samples: u64, quiet: bool) -> ProgressBar {
    progress(SAMPLES, samples, quiet).with_prefix(title)
}

/// Signals that jobs should stop.
pub(crate) struct StopFlag<'a> {
    interrupted: &'a AtomicBool,
    failed: AtomicBool,
}

impl StopFlag<'_> {
    /// Returns whether jobs should stop.
    pub(crate) fn is_set(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
    }
}

/// Runs `jobs` in order on the threads of `pool`, under a bar with `title`. `about` gives the title
/// and the number of samples of a job; `work` polls the [`StopFlag`]. Results are in the order of
/// the jobs, `None` for those not started.
///
/// # Errors
/// The first error of any job, after which no other job starts; [`Error::Threads`].
pub(crate) fn run_parallel<J: Sync, R: Send>(
    title: &str,
    jobs: &[J],
    pool: &PoolOptions<'_>,
    about: impl Fn(&J) -> (String, u64) + Sync,
    work: impl Fn(&J, &Bar, &StopFlag<'_>) -> Result<R> + Sync,
) -> Result<Vec<Option<R>>> {
    let stop = StopFlag { interrupted: pool.interrupted, failed: AtomicBool::new(false) };
    let bars = MultiProgress::with_draw_target(target(pool.quiet));
    let samples = jobs.iter().map(|job| about(job).1).fold(0, u64::saturating_add);
    let all = bars.add(bar(title.to_owned(), samples, pool.quiet));
    let (queue, done) = (Mutex::new(jobs.iter().enumerate()), Mutex::new(Vec::new()));
    // A panic in a worker propagates when the scope ends, so a poisoned lock only ends its worker.
    let next = || queue.lock().ok().and_then(|mut queue| queue.next()).filter(|_| !stop.is_set());
    let worker = || {
        while let Some((i, job)) = next() {
            let (title, samples) = about(job);
            let own = bars.insert_before(&all, bar(title, samples, false));
            let result = work(job, &Bar { own: own.clone(), all: all.clone() }, &stop);
            own.finish_and_clear();
            stop.failed.fetch_or(result.is_err(), Ordering::Relaxed);
            let Ok(mut done) = done.lock() else { return };
            done.push((i, result));
        }
    };
    let workers = pool.threads.min(jobs.len());
    let started = thread::scope(|scope| {
        for started in 0..workers {
            let builder = thread::Builder::new().name("run".into());
            if let Err(e) = builder.spawn_scoped(scope, worker) {
                stop.failed.store(true, Ordering::Relaxed);
                let what = format!("the system refused thread {} ({e})", started + 1);
                return Err(Error::Threads { threads: workers, what });
            }
        }
        Ok(())
    });
    all.finish_and_clear();
    started?;
    let mut results: Vec<_> = jobs.iter().map(|_| None).collect();
    for (i, result) in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        results[i] = Some(result?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn about(_: &usize) -> (String, u64) {
        ("job".into(), 1)
    }

    #[test]
    fn results_are_in_their_jobs_places() {
        let never = AtomicBool::new(false);
        let pool = |threads| PoolOptions { threads, interrupted: &never, quiet: true };
        let jobs: Vec<usize> = (0..100).collect();
        for threads in [1, 3, 200] {
            let squares = run_parallel("all", &jobs, &pool(threads), about, |&j, _, _| Ok(j * j)).unwrap();
            assert!(squares.iter().enumerate().all(|(i, &square)| square == Some(i * i)));
        }
        assert!(run_parallel("all", &[], &pool(4), about, |&j, _, _| Ok(j)).unwrap().is_empty());
    }

    #[test]
    fn an_error_or_an_interrupt_begins_nothing_more() {
        let pool = |interrupted| PoolOptions { threads: 1, interrupted, quiet: true };
        let jobs: Vec<usize> = (0..100).collect();
        let (never, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
        let failed = run_parallel("all", &jobs, &pool(&never), about, |&j, _, stop| {
            begun.fetch_add(1, Ordering::Relaxed);
            assert!(!stop.is_set());
            if j == 3 { Err(Error::Setting("enough".into())) } else { Ok(j) }
        });
        assert_eq!((failed.unwrap_err().to_string().as_str(), begun.into_inner()), ("enough", 4));
        let interrupted = AtomicBool::new(false);
        let some = run_parallel("all", &jobs, &pool(&interrupted), about, |&j, _, stop| {
            interrupted.store(j == 1, Ordering::Relaxed);
            Ok(stop.is_set())
        });
        let some = some.unwrap();
        assert_eq!((some[0], some[1], some[2]), (Some(false), Some(true), None));
    }
}
