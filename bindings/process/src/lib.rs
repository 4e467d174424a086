//! What a library without contexts keeps for its process: threads that start when they are needed,
//! and a workspace for each caller.
//!
//! No lock is taken, so a child that was forked at any moment finds nothing locked. The child
//! forgets the threads of its parent ([`TeamSlot::forget`]) and starts its own.

use gaitprop_kernels::{Scratch, Team, Threads};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Number of multiply-adds for which a thread of a team is worth waking. It is the kernels' own
/// number for `Par::Team`, since these threads wake as those do.
pub const MIN_WORK: usize = 60_000;

/// Most threads that a caller may ask for.
pub const MOST_THREADS: usize = 1024;

thread_local! {
    /// Workspace of the calling thread. It is as large as its largest call needed.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Calls `f` with this thread's workspace. A call inside a call, from a signal handler say, and one
/// from a thread that is ending, start with an empty workspace.
#[inline]
pub fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut scratch);
    let _ = SCRATCH.try_with(|cell| cell.set(scratch));
    result
}

/// Returns the number of threads by `GAITPROP_NUM_THREADS`, `OMP_NUM_THREADS`, or else by the CPUs
/// that the process may use.
pub fn initial_threads() -> usize {
    // OMP_NUM_THREADS may be a list, one number for each level of nesting.
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.split(',').next()?.trim().parse::<usize>().ok().filter(|&n| n > 0)
    };
    let threads = number("GAITPROP_NUM_THREADS").or_else(|| number("OMP_NUM_THREADS"));
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(MOST_THREADS)
}

/// Answer of [`TeamSlot::team`].
#[derive(Debug)]
pub enum Found {
    /// A team of at least the threads that were asked for.
    Team(&'static Team),
    /// Another caller is starting one. This caller computes alone.
    Starting,
    /// The system refuses the threads.
    Refused,
}

/// The threads of a process. No team is ever freed: callers may be inside it.
#[derive(Debug)]
pub struct TeamSlot {
    /// Null before the first start.
    team: AtomicPtr<Team>,
    /// Set while one caller starts a team.
    starting: AtomicBool,
}

impl TeamSlot {
    /// Creates a slot without threads.
    #[must_use]
    pub const fn new() -> Self {
        Self { team: AtomicPtr::new(ptr::null_mut()), starting: AtomicBool::new(false) }
    }

    /// Returns a team of at least `threads`, and starts it if there is none yet. A smaller team that
    /// was there sleeps from then on.
    #[inline]
    pub fn team(&self, threads: usize) -> Found {
        match self.started(threads) {
            Some(team) => Found::Team(team),
            None => self.start(threads),
        }
    }

    /// Forgets the threads, which a forked child does not have. Only stores to atomics.
    pub fn forget(&self) {
        self.team.store(ptr::null_mut(), Ordering::Relaxed);
        self.starting.store(false, Ordering::Relaxed);
    }

    #[inline]
    fn started(&self, threads: usize) -> Option<&'static Team> {
        // SAFETY: the pointer is null or points to a leaked team, which only `start` stores.
        unsafe { self.team.load(Ordering::Acquire).as_ref() }.filter(|team| team.count() >= threads)
    }

    #[cold]
    fn start(&self, threads: usize) -> Found {
        if self.starting.swap(true, Ordering::Acquire) {
            return Found::Starting;
        }
        // Another caller may have finished starting it just now.
        let found = match self.started(threads) {
            Some(team) => Found::Team(team),
            None => match Team::new(threads) {
                Ok(team) => {
                    let team: &'static Team = Box::leak(Box::new(team));
                    self.team.store(ptr::from_ref(team).cast_mut(), Ordering::Release);
                    Found::Team(team)
                }
                Err(_) => Found::Refused,
            },
        };
        self.starting.store(false, Ordering::Release);
        found
    }
}

impl Default for TeamSlot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_team_grows_it_and_forgets_it() {
        let slot = TeamSlot::new();
        let Found::Team(two) = slot.team(2) else { panic!("two threads") };
        let Found::Team(again) = slot.team(1) else { panic!("the same team") };
        assert!(ptr::eq(two, again) && two.count() == 2);
        let Found::Team(three) = slot.team(3) else { panic!("three threads") };
        assert!(!ptr::eq(two, three) && three.count() == 3);
        slot.starting.store(true, Ordering::Relaxed);
        assert!(matches!(slot.team(4), Found::Starting));
        slot.forget();
        assert!(matches!(slot.team(1), Found::Team(team) if !ptr::eq(team, three)));
    }

    #[test]
    fn callers_at_once_start_one_team() {
        for _ in 0..50 {
            let slot = TeamSlot::new();
            let found = std::thread::scope(|scope| {
                let ask = || match slot.team(2) {
                    Found::Team(team) => Some(ptr::from_ref(team).addr()),
                    Found::Starting => None,
                    Found::Refused => panic!("two threads"),
                };
                let callers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                callers.into_iter().map(|caller| caller.join().expect("no panic")).collect::<Vec<_>>()
            });
            let Found::Team(team) = slot.team(2) else { panic!("a team has started") };
            assert!(found.iter().any(Option::is_some));
            assert!(found.into_iter().flatten().all(|address| address == ptr::from_ref(team).addr()));
        }
    }

    #[test]
    fn a_call_inside_a_call_has_a_workspace_of_its_own() {
        with_scratch(|outer| {
            let outer = outer.slice::<f64>(100).expect("memory").as_ptr();
            with_scratch(|inner| assert_ne!(inner.slice::<f64>(10).expect("memory").as_ptr(), outer));
        });
    }
}
