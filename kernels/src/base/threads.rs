//! The interface to threads that run one job together.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Threads that run one job together, for [`Par::Custom`](crate::Par::Custom).
///
/// Memory safety does not depend on the implementation. A thread claims each part of the work
/// before it runs it, and the calling thread runs the parts that no thread has claimed.
pub trait Threads: Send + Sync {
    /// Returns the number of threads that [`Threads::run`] may use, the calling one included.
    fn count(&self) -> usize;
    /// Calls `job(0)` on this thread and, ideally, `job(i)` for 0 < i < [`Threads::count`] on other
    /// threads at the same time. May omit calls. Returns when every call that began has ended.
    fn run(&self, job: &(dyn Fn(usize) + Sync));
}

/// Calls `part(i)` once for each i < `parts`: the threads claim parts until none is left.
pub(crate) fn claimed(threads: &dyn Threads, parts: usize, part: &(dyn Fn(usize) + Sync)) {
    // One bit per claim. If there are more parts than bits, each bit stands for a run of parts.
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
    // The calling thread runs the parts that no thread has claimed.
    job(0);
}
