//! How work is split over threads. Nothing else in this crate knows that threads exist, and nothing is global: a pool or a [`Team`]
//! belongs to whoever made it.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "threads")]
mod team;
#[cfg(feature = "threads")]
pub use team::Team;

/// Threads of the caller's own making, for [`Par::Custom`].
///
/// Nothing about memory safety rests on an implementation: every part of the work is claimed before it is done, and what no thread has
/// claimed the calling thread does itself.
pub trait Threads: Sync {
    /// How many threads `run` may use, the calling one included.
    fn count(&self) -> usize;
    /// Calls `job(0)` on this thread and, ideally, `job(i)` for 0 < i < [`Threads::count`] on others at the same time; returns when every call
    /// that was begun has ended. A call may be left out.
    fn run(&self, job: &(dyn Fn(usize) + Sync));
}

/// Who does the work: the calling thread alone, or threads that the caller owns.
///
/// The pool's own threads may call in (a job of the pool that computes a product): the work is then shared inside that pool,
/// and no thread is added.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub enum Par<'p> {
    /// The calling thread.
    #[default]
    Seq,
    /// All threads of this rayon pool. Waking them from outside costs tens of microseconds: for large products, or for callers that run inside
    /// the pool.
    #[cfg(feature = "threads")]
    Pool(&'p rayon::ThreadPool),
    /// The threads of this team, which wait for the next product at the ready: for many small ones, one after another.
    #[cfg(feature = "threads")]
    Team(&'p Team),
    /// Threads of the caller's own.
    Custom(&'p dyn Threads),
}

impl fmt::Debug for Par<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Seq => "Seq",
            #[cfg(feature = "threads")]
            Self::Pool(_) => "Pool",
            #[cfg(feature = "threads")]
            Self::Team(_) => "Team",
            Self::Custom(_) => "Custom",
        };
        write!(f, "{kind}({})", self.threads())
    }
}

impl Par<'_> {
    /// How many threads work.
    pub fn threads(&self) -> usize {
        match self {
            Self::Seq => 1,
            #[cfg(feature = "threads")]
            Self::Pool(pool) => pool.current_num_threads(),
            #[cfg(feature = "threads")]
            Self::Team(team) => team.count(),
            Self::Custom(threads) => threads.count().max(1),
        }
    }

    /// Multiply-adds that a thread must be given to be worth waking: several times what waking it costs, measured on two cores
    /// (benches/record/threads.md).
    pub(crate) fn min_work(&self) -> usize {
        match self {
            Self::Seq => usize::MAX,
            // Inside the pool a job waits in a queue; from outside the pool's threads may sleep.
            #[cfg(feature = "threads")]
            Self::Pool(_) => 400_000,
            #[cfg(feature = "threads")]
            Self::Team(_) => 60_000,
            Self::Custom(_) => 200_000,
        }
    }

    /// Calls `part(i)` once for each i < `parts`, on whichever thread; returns when all are done. Thread t takes part t first where it
    /// can, so that from one product to the next it meets the same data.
    pub(crate) fn split(&self, parts: usize, part: impl Fn(usize) + Sync) {
        if parts <= 1 {
            return (0..parts).for_each(part);
        }
        match self {
            Self::Seq => (0..parts).for_each(part),
            #[cfg(feature = "threads")]
            Self::Pool(pool) => pool.install(|| halves(0, parts, &part)),
            #[cfg(feature = "threads")]
            Self::Team(team) => claimed(*team, parts, &part),
            Self::Custom(threads) => claimed(*threads, parts, &part),
        }
    }
}

/// Lets threads claim parts until none is left.
fn claimed(threads: &(impl Threads + ?Sized), parts: usize, part: &(impl Fn(usize) + Sync)) {
    // One bit a claim; where there are more parts than bits, a bit stands for a run of them.
    let run = parts.div_ceil(usize::BITS as usize);
    let runs = parts.div_ceil(run);
    let taken = AtomicUsize::new(0);
    let job = |thread: usize| {
        for i in 0..runs {
            let i = (i + thread) % runs;
            let bit = 1 << i;
            if taken.load(Ordering::Relaxed) & bit == 0 && taken.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                (i * run..((i + 1) * run).min(parts)).for_each(part);
            }
        }
    };
    threads.run(&job);
    // Whatever the threads have left out.
    job(0);
}

/// Splits by `join`, whose jobs live on the stack: nothing is allocated.
#[cfg(feature = "threads")]
fn halves(from: usize, to: usize, part: &(impl Fn(usize) + Sync)) {
    if to - from == 1 {
        return part(from);
    }
    let middle = from + (to - from) / 2;
    rayon::join(|| halves(from, middle, part), || halves(middle, to, part));
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;

    /// Runs everything twice, on a thread of its own and here: parts must be claimed, not trusted.
    struct Overzealous;
    impl Threads for Overzealous {
        fn count(&self) -> usize {
            3
        }
        fn run(&self, job: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|s| {
                s.spawn(|| job(7));
                job(0);
                job(1);
            });
        }
    }

    /// Runs nothing at all.
    struct Idle;
    impl Threads for Idle {
        fn count(&self) -> usize {
            2
        }
        fn run(&self, _job: &(dyn Fn(usize) + Sync)) {}
    }

    #[test]
    fn every_part_runs_once() {
        // What a pool is made of does not keep Miri's rules of aliasing.
        let pool = (!cfg!(miri)).then(|| rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let team = Team::new(3).unwrap();
        let all = [Par::Seq, Par::Team(&team), Par::Custom(&Overzealous), Par::Custom(&Idle)];
        for par in all.into_iter().chain(pool.as_ref().map(Par::Pool)) {
            for parts in [0, 1, 2, 3, 7, 64, 65, 200] {
                let seen: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                par.split(parts, |i| {
                    seen[i].fetch_add(1, Relaxed);
                });
                assert!(seen.iter().all(|n| n.load(Relaxed) == 1), "{par:?}, {parts} parts");
            }
            // From inside as well.
            let total = AtomicUsize::new(0);
            par.split(5, |_| {
                par.split(5, |_| {
                    total.fetch_add(1, Relaxed);
                });
            });
            assert_eq!(total.into_inner(), 25);
        }
    }
}
