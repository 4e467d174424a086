//! The threads of a plan: the calling thread alone, a pool, a team, or the caller's own.

use crate::base::scalar::Scalar;
use crate::base::scratch::DisjointSlices;
#[cfg(feature = "threads")]
use crate::base::team::Team;
use crate::base::threads::{Threads, claimed};
use alloc::sync::Arc;
use core::fmt;
use core::mem::MaybeUninit;

/// The threads that do the work: the calling thread alone, or threads shared by all clones.
///
/// A clone costs at most one reference count. A job that runs on a pool's thread may call a kernel
/// again. The kernel then shares its work inside that pool and starts no thread.
///
/// ```
/// use gaitprop_kernels::{Par, Plan};
/// let plan = Plan::new().with_par(Par::team(2)?);
/// assert_eq!(plan.par.threads(), 2);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Par {
    /// The calling thread alone.
    #[default]
    Seq,
    /// All threads of a rayon pool. Waking them from outside the pool costs tens of microseconds. A
    /// pool therefore suits large products, and callers that run inside it.
    #[cfg(feature = "threads")]
    Pool(Arc<rayon::ThreadPool>),
    /// The threads of a [`Team`], which spin for a while between products. A team suits a sequence
    /// of many small products.
    #[cfg(feature = "threads")]
    Team(Arc<Team>),
    /// Threads that the caller implements.
    Custom(Arc<dyn Threads>),
}

impl fmt::Debug for Par {
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

impl Par {
    /// Starts a [`Team`] of `threads`, the calling one included.
    ///
    /// # Errors
    /// [`Error::Threads`](crate::Error::Threads) if the system refuses to start a thread.
    #[cfg(feature = "threads")]
    pub fn team(threads: usize) -> Result<Self, crate::base::error::Error> {
        Ok(Self::Team(Arc::new(Team::new(threads)?)))
    }

    /// Returns the number of threads that do the work.
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

    /// Returns the least number of multiply-adds for which waking a thread pays. It is several
    /// times the cost of waking, measured on two cores (benches/record/threads.md).
    pub(crate) fn min_work(&self) -> usize {
        match self {
            Self::Seq => usize::MAX,
            // Inside the pool a job waits in a queue; for outside callers the pool's threads may
            // sleep.
            #[cfg(feature = "threads")]
            Self::Pool(_) => 400_000,
            #[cfg(feature = "threads")]
            Self::Team(_) => 60_000,
            Self::Custom(_) => 200_000,
        }
    }

    /// Calls `part(i)` once for each i < `parts`, on any thread, and returns when all calls have
    /// ended. Thread t tries part t first, whose data its cache may still hold from the previous
    /// product.
    pub(crate) fn split(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 {
            return (0..parts).for_each(part);
        }
        match self {
            Self::Seq => (0..parts).for_each(part),
            #[cfg(feature = "threads")]
            Self::Pool(pool) => pool.install(|| join_halves(0, parts, part)),
            #[cfg(feature = "threads")]
            Self::Team(team) => claimed(&**team, parts, part),
            Self::Custom(threads) => claimed(&**threads, parts, part),
        }
    }

    /// [`Par::split`] with a workspace for each part: `len` elements of `memory`, uninitialized.
    ///
    /// # Panics
    /// If `memory` holds fewer than parts · len elements.
    pub(crate) fn split_with<T: Scalar>(
        &self,
        parts: usize,
        memory: &mut [MaybeUninit<T>],
        len: usize,
        part: &(dyn Fn(usize, &mut [MaybeUninit<T>]) + Sync),
    ) {
        let workspaces = DisjointSlices::new(memory);
        self.split(parts, &|i| {
            // SAFETY: the workspaces of different parts are disjoint, and `split` runs each part
            // once.
            part(i, unsafe { workspaces.part(i * len, len) });
        });
    }
}

/// Halves the parts by `rayon::join`, whose jobs live on the stack: no allocation.
#[cfg(feature = "threads")]
fn join_halves(from: usize, to: usize, part: &(dyn Fn(usize) + Sync)) {
    if to - from == 1 {
        return part(from);
    }
    let middle = from + (to - from) / 2;
    rayon::join(|| join_halves(from, middle, part), || join_halves(middle, to, part));
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use core::sync::atomic::Ordering::Relaxed;

    /// Runs the job three times, on a new thread and twice here: `Par` must claim each part.
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

    /// Never runs the job: the caller must run every part.
    struct Idle;
    impl Threads for Idle {
        fn count(&self) -> usize {
            2
        }
        fn run(&self, _job: &(dyn Fn(usize) + Sync)) {}
    }

    #[test]
    fn every_part_runs_once() {
        // rayon's queues break Miri's aliasing rules.
        let pool = (!cfg!(miri)).then(|| rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let all = [Par::Seq, Par::team(3).unwrap(), Par::Custom(Arc::new(Overzealous)), Par::Custom(Arc::new(Idle))];
        for par in all.into_iter().chain(pool.map(|pool| Par::Pool(Arc::new(pool)))) {
            for parts in [0, 1, 2, 3, 7, 64, 65, 200] {
                let seen: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                par.split(parts, &|i| {
                    seen[i].fetch_add(1, Relaxed);
                });
                assert!(seen.iter().all(|n| n.load(Relaxed) == 1), "{par:?}, {parts} parts");
            }
            // Nested calls.
            let total = AtomicUsize::new(0);
            par.split(5, &|_| {
                par.split(5, &|_| {
                    total.fetch_add(1, Relaxed);
                });
            });
            assert_eq!(total.into_inner(), 25);
        }
    }
}
