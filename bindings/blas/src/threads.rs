//! The settings of the process, and its threads.
//!
//! The environment is read at the first call, without a lock, so a child that was forked at any
//! moment finds nothing locked. Threads start with the first product that is worth it.

use crate::verbose;
use gaitprop_kernels::{Isa, Par, Plan, Scratch, Threads};
use gaitprop_process::{Found, MIN_WORK, MOST_THREADS, TeamSlot, initial_threads};
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

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
/// The threads of this process.
static TEAM: TeamSlot = TeamSlot::new();

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

/// Calls `f` with the plan and this thread's workspace.
#[inline]
pub(crate) fn with_scratch<R>(f: impl FnOnce(&Plan, &mut Scratch) -> R) -> R {
    gaitprop_process::with_scratch(|scratch| f(&settings().plan, scratch))
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

/// Forgets, in a forked child, the parent's threads and calls.
extern "C" fn in_child() {
    TEAM.forget();
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
        match TEAM.team(limit) {
            // The team may be larger than the limit of today.
            Found::Team(team) => team.run(&|i| {
                if i < limit {
                    job(i);
                }
            }),
            Found::Starting => job(0),
            Found::Refused => {
                // Not tried again until the number is set anew.
                LIMIT.store(1, Ordering::Relaxed);
                job(0);
            }
        }
    }
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
