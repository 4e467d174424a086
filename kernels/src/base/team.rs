//! A team of threads that stays ready: after a job its threads spin for a while before they sleep.
//!
//! Waking a sleeping thread costs as much as a product of 60×200×200. A training step is a row of
//! such products with hardly anything between them, so a spinning thread starts the next one at once.
//!
//! # How a job runs
//! One atomic word holds the state: a count of jobs, whether the present job accepts threads, and
//! how many threads are inside it. The caller publishes the job and opens it. A thread that sees it
//! enters by raising the count of threads inside (only while the job is open) and leaves by lowering
//! it. When the caller's own share is done, the caller closes the job and waits for the threads
//! inside. A thread that wakes too late finds the job closed, so the caller never waits for it.
//!
//! # After a fork
//! A forked child has the team's memory but none of its threads. There the caller works alone, and
//! dropping the team joins nothing.

use crate::base::error::Error;
use crate::base::threads::Threads;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Looks for work before a waiting thread sleeps: some 50 µs, as long as the serial parts of a
/// training step last.
const LOOKS: u32 = 20_000;
/// Bit of the state: the job takes threads.
const OPEN: u64 = 1 << 31;
/// Lower bits of the state: threads inside the job.
const INSIDE: u64 = OPEN - 1;
/// One more job, in the upper half.
const JOB: u64 = 1 << 32;

type Job = dyn Fn(usize) + Sync;

struct Shared {
    /// Jobs so far, [`OPEN`], and [`INSIDE`].
    state: AtomicU64,
    /// Valid while the job is open or a thread is inside.
    job: UnsafeCell<Option<*const Job>>,
    /// A caller holds the team; other callers work alone.
    busy: AtomicBool,
    /// Threads asleep, or about to be.
    asleep: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
    /// The process that started the threads.
    process: u32,
}

// SAFETY: `job` is written only by whoever holds `busy`, before it opens the job, and read only by threads that have entered it; entering and
// leaving are acquire-release operations on `state`. The job itself is Sync. Everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is to a Sync job.
unsafe impl Send for Shared {}

/// Threads that stay ready between products. The calling thread is one of them.
///
/// Two callers at once, or a call from inside a job, are served: one gets the team, the other works
/// alone, and no thread is added. Dropping the team ends its threads. In a forked child the team's
/// owner works alone.
///
/// ```
/// use gaitprop_kernels::{Par, Plan, Team};
/// let team = std::sync::Arc::new(Team::new(2)?);
/// let plan = Plan::new().with_par(Par::Team(team));
/// assert_eq!(plan.par.threads(), 2);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Team({})", self.threads.len() + 1)
    }
}

impl Team {
    /// A team of `threads`, of which one is the caller: 0 and 1 make a team of the caller alone.
    ///
    /// # Errors
    /// [`Error::Threads`] if the system refuses a thread; those already started are ended.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            process: std::process::id(),
        });
        let mut team = Self { shared, threads: Vec::new() };
        for index in 1..threads {
            let shared = Arc::clone(&team.shared);
            let spawned = std::thread::Builder::new().name(format!("gaitprop-{index}")).spawn(move || shared.serve(index));
            match spawned {
                Ok(handle) => team.threads.push(handle),
                Err(_) => return Err(Error::Threads { wanted: threads, started: index }),
            }
        }
        Ok(team)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if self.shared.forked() {
            // The threads live in the parent alone, and a mutex may be locked for ever: leave all
            // of it as it is.
            self.threads.drain(..).for_each(core::mem::forget);
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake_all();
        for thread in self.threads.drain(..) {
            // A thread of the team catches the panics of jobs: it has none of its own to report.
            let _ = thread.join();
        }
    }
}

impl Threads for Team {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        if self.threads.is_empty() || shared.busy.swap(true, Ordering::Acquire) {
            return job(0);
        }
        // Asking for the process takes a system call, so it is asked only where a thread sleeps and
        // waking it takes one too; `close` covers the other case.
        if shared.asleep.load(Ordering::Relaxed) > 0 && shared.forked() {
            shared.busy.store(false, Ordering::Release);
            return job(0);
        }
        // SAFETY: the lifetime is erased, not lengthened: `shared.close` returns only when no thread is inside and none can enter any more, and it
        // is called below before `job` ends, whatever panics.
        let erased = unsafe { core::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Job>(job) };
        // SAFETY: `busy` is ours, so the last job is closed and left: nobody reads the cell.
        unsafe { *shared.job.get() = Some(erased) };
        let next = (shared.state.load(Ordering::Relaxed) & !INSIDE & !OPEN).wrapping_add(JOB);
        // SeqCst, and so is the count of sleepers: either they see the job or we see them.
        shared.state.store(next | OPEN, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            shared.wake_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        shared.close();
        let others = shared.panicked.swap(false, Ordering::Relaxed);
        shared.busy.store(false, Ordering::Release);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!others, "a thread of the team panicked");
    }
}

impl Shared {
    fn wake_all(&self) {
        // The lock makes sure that a thread between its last look and its sleep is not missed. A poisoned lock guards no data.
        drop(self.sleep.lock());
        self.wake.notify_all();
    }

    /// Whether this process is a child forked from the one that started the threads.
    fn forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Closes the job to new threads and waits for those running it.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0u32;
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            looks = looks.wrapping_add(1);
            if !looks.is_multiple_of(1 << 12) {
                core::hint::spin_loop();
            } else if self.forked() {
                // Forked in the middle of another thread's job: the threads inside are the parent's.
                return;
            } else {
                // Where threads outnumber cores, the thread inside may need this core.
                std::thread::yield_now();
            }
        }
    }

    /// Runs jobs on a thread of the team until the team ends.
    fn serve(&self, index: usize) {
        let mut last = 0;
        while let Some(seen) = self.wait(last) {
            last = seen;
            if !self.enter(seen) {
                continue;
            }
            // SAFETY: inside the job, so `run` is waiting for us: the pointer is set, and what it points to is alive.
            let job = unsafe { &*(*self.job.get()).expect("a job is set before it is opened") };
            if catch_unwind(AssertUnwindSafe(|| job(index))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open job other than `last`; returns its number, or `None` if the team ends.
    fn wait(&self, last: u64) -> Option<u64> {
        let open = || {
            let state = self.state.load(Ordering::SeqCst);
            (state & OPEN != 0 && state >> 32 != last).then_some(state >> 32)
        };
        for _ in 0..LOOKS {
            if let Some(number) = open() {
                return Some(number);
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            core::hint::spin_loop();
        }
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.sleep.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(number) = open() {
                break Some(number);
            }
            guard = self.wake.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        };
        drop(guard);
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Enters job `number` if it is still open.
    fn enter(&self, number: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & OPEN != 0 && state >> 32 == number {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(3).unwrap();
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|i| {
                    if i == bad {
                        panic!("part {i}");
                    }
                    // Long enough for the others to come in.
                    std::thread::sleep(std::time::Duration::from_millis(30));
                });
            }));
            assert!(result.is_err(), "thread {bad}");
            let sum = AtomicUsize::new(0);
            team.run(&|_| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
            assert!((1..=3).contains(&sum.into_inner()));
        }
    }

    /// A forked child has no threads: it works alone, and dropping the team neither hangs nor aborts.
    #[test]
    #[cfg(all(unix, not(miri)))]
    fn a_forked_child_works_alone() {
        // Asleep in the first round, at work in the second: a fork may come at any time.
        for pause in [50, 0] {
            let team = Team::new(3).unwrap();
            team.run(&|_| {});
            std::thread::sleep(std::time::Duration::from_millis(pause));
            // SAFETY: the child only runs what this test says, and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork failed");
            if child == 0 {
                let sum = AtomicUsize::new(0);
                team.run(&|i| _ = sum.fetch_add(i + 1, Ordering::Relaxed));
                drop(team);
                // SAFETY: ends the child at once, without the harness's destructors.
                unsafe { libc::_exit(i32::from(sum.into_inner() != 1)) };
            }
            let mut status = -1;
            let waited = std::time::Instant::now();
            // SAFETY: the child is ours, and `status` is a place of our own.
            while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
                if waited.elapsed().as_secs() > 20 {
                    // SAFETY: the child is ours and not yet waited for.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                    panic!("the child hangs");
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert_eq!(status, 0, "the child's exit status");
        }
    }

    /// Jobs that follow each other closely, and after pauses in which the threads fall asleep; every effect must be seen.
    #[test]
    fn nothing_is_lost_between_jobs() {
        const ROUNDS: usize = if cfg!(miri) { 60 } else { 3_000 };
        let team = Team::new(4).unwrap();
        let mut counts = [0usize; 4];
        for round in 0..ROUNDS {
            let cells = counts.each_mut().map(Mutex::new);
            team.run(&|i| **cells[i].lock().unwrap() += 1);
            if round % (ROUNDS / 6) == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        assert_eq!(counts[0], ROUNDS);
        assert!(counts.iter().all(|&c| c <= ROUNDS));
    }
}
