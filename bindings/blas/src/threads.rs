//! The settings of the process, its threads, and the workspace of each caller.
//!
//! The environment is read at the first call. Threads start with the first product that is worth
//! it. Neither takes a lock, so a child that was forked at any moment finds nothing locked.

use crate::verbose;
use gaitprop_kernels::{Isa, Par, Plan, Scratch, Team, Threads};
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Number of multiply-adds for which a thread of the team is worth waking: the kernels' own number
/// for `Par::Team`, which wakes as `Crew` does.
const MIN_WORK: usize = 60_000;

/// Most threads that a process may ask for.
const MOST_THREADS: usize = 1024;

/// What all calls share.
pub(crate) struct Settings {
    /// How to compute.
    pub(crate) plan: Plan,
    /// Whether calls are counted.
    pub(crate) verbose: bool,
}

static SETTINGS: AtomicPtr<Settings> = AtomicPtr::new(ptr::null_mut());
/// Number of threads that a product may use; 0 before the first call.
static LIMIT: AtomicUsize = AtomicUsize::new(0);
/// The threads of this process; null before they start. No team is ever freed.
static TEAM: AtomicPtr<Team> = AtomicPtr::new(ptr::null_mut());
/// Set while one caller starts a team.
static STARTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Workspace of the calling thread. It is as large as its largest product needed.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Returns the settings, which the first call reads from the environment.
#[inline]
pub(crate) fn settings() -> &'static Settings {
    let found = SETTINGS.load(Ordering::Acquire);
    if found.is_null() {
        return read_settings();
    }
    // SAFETY: only `read_settings` stores a pointer: to a leaked box, which it never changes again.
    unsafe { &*found }
}

/// Calls `f` with the plan and this thread's workspace. A call inside a call, from a signal handler
/// say, and one from a thread that is ending, start with an empty workspace.
#[inline]
pub(crate) fn with_scratch<R>(f: impl FnOnce(&Plan, &mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = f(&settings().plan, &mut scratch);
    let _ = SCRATCH.try_with(|cell| cell.set(scratch));
    result
}

#[cold]
fn read_settings() -> &'static Settings {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    let isa = match variable("GAITPROP_ISA").map(|name| Isa::named(name.trim())) {
        Some(Ok(isa)) => isa,
        Some(Err(error)) => {
            // The user asked for bits or speed of one set, and would not get the latter.
            verbose::line(format_args!("GAITPROP_ISA: {error}; using {}", Isa::detect()));
            Isa::detect()
        }
        None => Isa::detect(),
    };
    let plan = Plan::new()
        .with_isa(isa)
        .with_par(Par::Custom(Arc::new(Crew)))
        .with_min_work(number("GAITPROP_MIN_WORK").unwrap_or(MIN_WORK));
    let verbose = variable("GAITPROP_VERBOSE").is_some_and(|value| !matches!(value.trim(), "" | "0"));
    let new = Box::into_raw(Box::new(Settings { plan, verbose }));
    match SETTINGS.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // A program may have set the number before its first product.
            let _ = LIMIT.compare_exchange(0, initial_threads(), Ordering::Relaxed, Ordering::Relaxed);
            // SAFETY: the handler may run in any forked child: it only stores to atomics.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            if verbose {
                verbose::report_at_exit();
            }
            // SAFETY: leaked above, and from now on shared.
            unsafe { &*new }
        }
        Err(found) => {
            // SAFETY: `new` was not published. `found` is the box that another thread leaked.
            unsafe {
                drop(Box::from_raw(new));
                &*found
            }
        }
    }
}

/// Returns the number of threads by the environment, or else by the CPUs that the process may use.
fn initial_threads() -> usize {
    // OMP_NUM_THREADS may be a list, one number for each level of nesting.
    let number = |name: &str| std::env::var(name).ok()?.split(',').next()?.trim().parse::<usize>().ok();
    let threads = number("GAITPROP_NUM_THREADS").filter(|&n| n > 0).or_else(|| number("OMP_NUM_THREADS").filter(|&n| n > 0));
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(MOST_THREADS)
}

/// Forgets, in a forked child, the parent's threads and calls.
extern "C" fn in_child() {
    TEAM.store(ptr::null_mut(), Ordering::Relaxed);
    STARTING.store(false, Ordering::Relaxed);
    verbose::forget();
}

/// The threads of the process, which start when they are first needed.
struct Crew;

impl Threads for Crew {
    fn count(&self) -> usize {
        LIMIT.load(Ordering::Relaxed).max(1)
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        let limit = self.count();
        match team(limit) {
            // The team may be larger than the limit of today.
            Some(team) => team.run(&|i| {
                if i < limit {
                    job(i);
                }
            }),
            None => job(0),
        }
    }
}

/// Returns a team of at least `threads`. Returns `None` if the system refuses them, or while
/// another caller starts them.
fn team(threads: usize) -> Option<&'static Team> {
    let found = TEAM.load(Ordering::Acquire);
    // SAFETY: TEAM is null or points to a leaked team.
    if let Some(team) = unsafe { found.as_ref() }
        && team.count() >= threads
    {
        return Some(team);
    }
    if STARTING.swap(true, Ordering::Acquire) {
        return None;
    }
    let team: Option<&'static Team> = Team::new(threads).ok().map(|team| &*Box::leak(Box::new(team)));
    match team {
        // A smaller team that was there sleeps from now on. Callers may still be inside it.
        Some(team) => TEAM.store(ptr::from_ref(team).cast_mut(), Ordering::Release),
        // Not tried again until the number is set anew.
        None => LIMIT.store(1, Ordering::Relaxed),
    }
    STARTING.store(false, Ordering::Release);
    team
}

/// Sets the number of threads that a product may use, the calling one included. Numbers below 1
/// count as 1. The number does not change results.
#[unsafe(no_mangle)]
pub extern "C" fn gaitprop_blas_set_num_threads(threads: c_int) {
    settings();
    LIMIT.store(usize::try_from(threads).unwrap_or(1).clamp(1, MOST_THREADS), Ordering::Relaxed);
}

/// Returns the number of threads that a product may use.
#[unsafe(no_mangle)]
pub extern "C" fn gaitprop_blas_get_num_threads() -> c_int {
    settings();
    // At most MOST_THREADS.
    LIMIT.load(Ordering::Relaxed).max(1) as c_int
}
