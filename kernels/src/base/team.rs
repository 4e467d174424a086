//! A team of threads that spin for a while after each job before they sleep.
//!
//! Waking a sleeping thread costs as much as a product of 60×200×200. A training step is a sequence
//! of such products with little serial work between them, so a spinning thread starts the next one
//! at once.
//!
//! # How a job runs
//! One atomic word holds the state: the number of jobs, whether the current job is open, and the
//! number of threads inside it. [`crate::guide::threads`] shows its bits.
//!
//! 1. The caller publishes the job and opens it.
//! 2. A thread that sees an open job enters it by incrementing the number of threads inside. It
//!    leaves by decrementing that number.
//! 3. The caller finishes its share, closes the job and waits for the threads inside.
//!
//! A thread that wakes too late finds the job closed, so the caller never waits for it.
//!
//! # After a fork
//! A forked child has the team's memory but none of its threads. In the child the caller works
//! alone, and dropping the team joins no thread.

use crate::base::error::Error;
use crate::base::threads::Threads;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Number of times that a waiting thread polls the state before it sleeps. They take about 50 µs,
/// as long as the serial parts of a training step.
const LOOKS: u32 = 20_000;
/// Bit of the state: the job is open to threads.
const OPEN: u64 = 1 << 31;
/// Lower bits of the state: number of threads inside the job.
const INSIDE: u64 = OPEN - 1;
/// Increment of the number of jobs, which the upper half of the state counts.
const JOB: u64 = 1 << 32;

type TeamJob = dyn Fn(usize) + Sync;

/// State shared by the caller and the threads.
struct TeamState {
    /// Number of jobs so far, [`OPEN`], and [`INSIDE`].
    state: AtomicU64,
    /// The current job; valid while it is open or a thread is inside it.
    job: UnsafeCell<Option<*const TeamJob>>,
    /// Set while a caller holds the team; other callers work alone.
    busy: AtomicBool,
    /// Number of threads that sleep or are about to.
    asleep: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
    panicked: AtomicBool,
    /// Id of the process that started the threads.
    process: u32,
}

// SAFETY: only the caller that holds `busy` writes `job`, before it opens the job. Only threads
// that have entered the job read it. Entering acquires and leaving releases `state`, so the
// accesses are ordered. The job itself is Sync. All other fields are Sync.
unsafe impl Sync for TeamState {}
// SAFETY: as above; the pointer refers to a Sync job.
unsafe impl Send for TeamState {}

/// A team of threads that spin between products. The calling thread is one of them.
///
/// If two threads call at the same time, or a job calls again, the first caller gets the team and
/// the other works alone. No thread is added. Dropping the team ends its threads. In a forked child
/// the caller works alone.
///
/// ```
/// use gaitprop_kernels::{Par, Plan, Team};
/// let team = std::sync::Arc::new(Team::new(2)?);
/// let plan = Plan::new().with_par(Par::Team(team));
/// assert_eq!(plan.par.threads(), 2);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub struct Team {
    shared: Arc<TeamState>,
    threads: Vec<JoinHandle<()>>,
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Team({})", self.threads.len() + 1)
    }
}

impl Team {
    /// Starts a team of `threads`, the calling one included. 0 and 1 give a team of the caller
    /// alone.
    ///
    /// # Errors
    /// [`Error::Threads`] if the system refuses to start a thread. Those already started then end.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let shared = Arc::new(TeamState {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            process: process(),
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
            // The threads exist in the parent only, and the child's copy of a mutex may stay
            // locked. Join and lock nothing.
            self.threads.drain(..).for_each(core::mem::forget);
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake_all();
        for thread in self.threads.drain(..) {
            // The thread catches the panics of jobs, so it never ends by one.
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
        // `forked` takes a system call. It is called only if a thread sleeps, since waking it takes
        // one as well; `close` covers the other case.
        if shared.asleep.load(Ordering::Relaxed) > 0 && shared.forked() {
            shared.busy.store(false, Ordering::Release);
            return job(0);
        }
        // SAFETY: only the lifetime is erased. `shared.close` below runs before `job` ends, even if
        // `job` panics. It returns when no thread is inside and none can enter, so no thread uses
        // the pointer later.
        let erased = unsafe { core::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const TeamJob>(job) };
        // SAFETY: this caller holds `busy`, so the last job is closed and no thread is inside it:
        // no thread reads the cell.
        unsafe { *shared.job.get() = Some(erased) };
        let next = (shared.state.load(Ordering::Relaxed) & !INSIDE & !OPEN).wrapping_add(JOB);
        // This store and `asleep` are SeqCst: either a sleeper sees the job or this thread sees the
        // sleeper.
        shared.state.store(next | OPEN, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            shared.wake_all();
        }
        let own_result = catch_unwind(AssertUnwindSafe(|| job(0)));
        let closed = shared.close();
        let other_panicked = shared.panicked.swap(false, Ordering::Relaxed);
        shared.busy.store(false, Ordering::Release);
        if let Err(panic) = own_result {
            resume_unwind(panic);
        }
        assert!(!other_panicked, "another thread of the team panicked");
        // Parts that they had claimed are not done here, and never will be.
        assert!(closed, "the process forked during a job: other threads' parts stayed in the parent");
    }
}

/// The number of this process; 0 where a process cannot fork.
fn process() -> u32 {
    if cfg!(unix) { std::process::id() } else { 0 }
}

impl TeamState {
    fn wake_all(&self) {
        // A thread holds the lock from its last poll until it sleeps, so taking the lock ensures
        // that the notification reaches it. The mutex guards no data, so poison does not matter.
        drop(self.sleep.lock());
        self.wake.notify_all();
    }

    /// Returns whether this process was forked after the team started.
    fn forked(&self) -> bool {
        process() != self.process
    }

    /// Closes the job to new threads and waits for those running it. Returns `false` if they are
    /// the parent's, because the job itself forked the process.
    fn close(&self) -> bool {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut polls = 0u32;
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            polls = polls.wrapping_add(1);
            if !polls.is_multiple_of(1 << 12) {
                core::hint::spin_loop();
            } else if self.forked() {
                return false;
            } else {
                // If threads outnumber cores, the thread inside may need this core.
                std::thread::yield_now();
            }
        }
        true
    }

    /// Runs jobs on a thread of the team until the team ends.
    fn serve(&self, index: usize) {
        let mut last = 0;
        while let Some(seen) = self.wait(last) {
            last = seen;
            if !self.enter(seen) {
                continue;
            }
            // SAFETY: this thread is inside the job, so `run` has set the pointer and waits in
            // `close`: the job is alive.
            let job = unsafe { &*(*self.job.get()).expect("the job is set before it opens") };
            if catch_unwind(AssertUnwindSafe(|| job(index))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open job other than `last`. Returns its number, or `None` if the team ends.
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
            let entered = AtomicBool::new(false);
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|i| {
                    if i == bad {
                        entered.store(true, Ordering::SeqCst);
                        panic!("part {i}");
                    }
                    // The caller does not wait for threads that have not begun.
                    while i == 0 && !entered.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
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

    /// Forks, and fails unless `succeeds` returns `true` in the child.
    #[cfg(all(unix, not(miri)))]
    fn in_child(succeeds: impl FnOnce() -> bool) {
        // SAFETY: the child runs only the code below and ends by `_exit`.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork failed");
        if child == 0 {
            let good = catch_unwind(AssertUnwindSafe(succeeds)).unwrap_or(false);
            // SAFETY: ends the child immediately, without the destructors of the test harness.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let mut status = -1;
        let waited = std::time::Instant::now();
        // SAFETY: `child` is a child of this process, and `status` is a local variable.
        while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
            if waited.elapsed().as_secs() > 20 {
                // SAFETY: `child` is a child of this process that has not been waited for.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the child hangs");
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(status, 0, "the child's exit status");
    }

    /// A job that forks loses the parts of the other threads in the child, which says so.
    #[test]
    #[cfg(all(unix, not(miri)))]
    fn a_job_that_forks_panics_in_the_child() {
        let team = Team::new(2).unwrap();
        let parent = std::process::id();
        let (inside, forked) = (AtomicBool::new(false), AtomicBool::new(false));
        let job = |i: usize| {
            if i == 1 {
                inside.store(true, Ordering::SeqCst);
                while !forked.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                return;
            }
            while !inside.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            // SAFETY: the child returns from this job to the check below and ends there by `_exit`.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork failed");
            if child > 0 {
                forked.store(true, Ordering::SeqCst);
                let mut status = -1;
                // SAFETY: `child` is a child of this process, and `status` is a local variable.
                unsafe { libc::waitpid(child, &mut status, 0) };
                assert_eq!(status, 0, "the child's run must panic");
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| team.run(&job)));
        if std::process::id() != parent {
            // SAFETY: ends the child immediately, without the destructors of the test harness.
            unsafe { libc::_exit(i32::from(result.is_ok())) };
        }
        result.unwrap();
    }

    /// A forked child works alone, and dropping the team neither hangs nor aborts.
    #[test]
    #[cfg(all(unix, not(miri)))]
    fn a_forked_child_works_alone() {
        // The threads sleep in the first round and spin in the second.
        for pause in [50, 0] {
            let team = Team::new(3).unwrap();
            team.run(&|_| {});
            std::thread::sleep(std::time::Duration::from_millis(pause));
            in_child(|| {
                let sum = AtomicUsize::new(0);
                team.run(&|i| _ = sum.fetch_add(i + 1, Ordering::Relaxed));
                drop(team);
                sum.into_inner() == 1
            });
        }
    }

    /// Jobs follow each other closely, or after pauses in which the threads fall asleep. The caller
    /// sees every effect.
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
