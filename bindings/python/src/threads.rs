//! Threads of the process: one number that Python sets, and teams that start when they are needed.
//!
//! No lock is taken, so a child that was forked at any moment finds nothing locked. The child
//! forgets the teams of its parent and starts its own.

use crate::error;
use gaitprop_kernels::{Error, Isa, Par, Plan, Scratch, Team, Threads};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Largest number of threads.
const MOST_THREADS: usize = 1024;
/// Number of multiply-adds for which a thread of a team is worth waking: the kernels' own number
/// for `Par::Team`, which wakes as `Crew` does.
const MIN_WORK: usize = 60_000;

/// Default number of threads of a call.
static DEFAULT: AtomicUsize = AtomicUsize::new(1);
/// The instruction set that the environment chose.
static ISA: OnceLock<Isa> = OnceLock::new();
/// The team of n threads at index n; null before it starts. No team is ever freed: callers may be
/// inside it.
static TEAMS: [AtomicPtr<Team>; MOST_THREADS + 1] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST_THREADS + 1];
/// Set while a caller starts a team.
static STARTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Workspace of the calling thread. It is as large as its largest call needed.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Reads the environment, once, when the module is imported.
///
/// # Errors
/// `ImportError` if `GAITPROP_ISA` names an instruction set that this CPU does not have.
pub(crate) fn initialize() -> PyResult<()> {
    if let Ok(name) = std::env::var("GAITPROP_ISA") {
        let isa = Isa::named(name.trim()).map_err(|e| PyImportError::new_err(format!("GAITPROP_ISA: {e}")))?;
        // A second interpreter reads the same environment.
        let _ = ISA.set(isa);
    }
    DEFAULT.store(initial_threads(), Ordering::Relaxed);
    #[cfg(unix)]
    // SAFETY: the handler may run in any forked child: it only stores to atomics. The interpreter
    // never unloads an extension, so the handler stays mapped.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    }
    Ok(())
}

/// Returns the number of threads by the environment, or else by the CPUs that the process may use.
fn initial_threads() -> usize {
    // OMP_NUM_THREADS may be a list, one number for each level of nesting.
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.split(',').next()?.trim().parse::<usize>().ok().filter(|&n| n > 0)
    };
    let threads = number("GAITPROP_NUM_THREADS").or_else(|| number("OMP_NUM_THREADS"));
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(MOST_THREADS)
}

/// Forgets, in a forked child, the teams of the parent.
#[cfg(unix)]
extern "C" fn in_child() {
    for team in &TEAMS {
        team.store(ptr::null_mut(), Ordering::Relaxed);
    }
    STARTING.store(false, Ordering::Relaxed);
}

/// At most this number of threads, of a team that starts when it is first needed.
struct Crew(usize);

impl Threads for Crew {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        match team(self.0) {
            Some(team) => team.run(job),
            None => job(0),
        }
    }
}

/// Returns the team of `threads`, at most [`MOST_THREADS`]. Returns `None` if the system refuses
/// it, or while another caller starts one: the caller then computes alone.
fn team(threads: usize) -> Option<&'static Team> {
    let slot = TEAMS.get(threads)?;
    // SAFETY: a slot is null or points to a leaked team, which only `start` stores.
    unsafe { slot.load(Ordering::Acquire).as_ref() }.or_else(|| start(threads, slot))
}

#[cold]
fn start(threads: usize, slot: &AtomicPtr<Team>) -> Option<&'static Team> {
    if STARTING.swap(true, Ordering::Acquire) {
        return None;
    }
    // Another caller may have finished starting it just now.
    // SAFETY: as in `team`.
    let mut team: Option<&'static Team> = unsafe { slot.load(Ordering::Acquire).as_ref() };
    if team.is_none() {
        team = Team::new(threads).ok().map(|team| &*Box::leak(Box::new(team)));
        if let Some(team) = team {
            slot.store(ptr::from_ref(team).cast_mut(), Ordering::Release);
        }
    }
    STARTING.store(false, Ordering::Release);
    team
}

/// Checks a number of threads from Python; `None` means the default.
pub(crate) fn number(py: Python<'_>, threads: Option<i64>) -> PyResult<usize> {
    let Some(threads) = threads else { return Ok(DEFAULT.load(Ordering::Relaxed)) };
    if let Some(threads) = usize::try_from(threads).ok().filter(|n| (1..=MOST_THREADS).contains(n)) {
        return Ok(threads);
    }
    let (what, accepted) = ("threads", "from 1 to 1024");
    Err(error::kernel_error(py, &Error::Parameter { what, value: threads as f64, accepted }))
}

/// Returns threads for any plan: the caller and those of a team that all plans share.
///
/// While one caller uses the team, others compute alone. `Plan::min_work` is to be [`MIN_WORK`].
pub(crate) fn par(threads: usize) -> Par {
    if threads > 1 { Par::Custom(Arc::new(Crew(threads))) } else { Par::Seq }
}

/// Returns the plan of a call with `threads`.
pub(crate) fn plan(threads: usize) -> Plan {
    let plan = Plan::new().with_par(par(threads)).with_min_work(MIN_WORK);
    match ISA.get() {
        Some(&isa) => plan.with_isa(isa),
        None => plan,
    }
}

/// Calls `f` with this thread's workspace.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut scratch);
    let _ = SCRATCH.try_with(|cell| cell.set(scratch));
    result
}

/// Set the default number of threads of a call, the calling one included.
///
/// The number changes speed only: results have the same bits for any number of threads. A product
/// that is too small for threads does not use them.
///
/// Parameters
/// ----------
/// threads : int
///     From 1 to 1024.
///
/// Raises
/// ------
/// gaitprop.Error
///     If the number is out of range.
///
/// See Also
/// --------
/// get_num_threads
#[pyfunction]
#[pyo3(signature = (threads, /))]
pub(crate) fn set_num_threads(py: Python<'_>, threads: i64) -> PyResult<()> {
    DEFAULT.store(number(py, Some(threads))?, Ordering::Relaxed);
    Ok(())
}

/// Return the default number of threads of a call, the calling one included.
///
/// At the start it is the environment variable ``GAITPROP_NUM_THREADS``, else ``OMP_NUM_THREADS``,
/// else the number of CPUs that the process may use.
///
/// Returns
/// -------
/// int
///     The number of threads.
///
/// See Also
/// --------
/// set_num_threads
#[pyfunction]
pub(crate) fn get_num_threads() -> usize {
    DEFAULT.load(Ordering::Relaxed)
}
