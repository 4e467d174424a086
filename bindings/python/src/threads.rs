//! Threads of the process: one number that Python sets, and teams that start when they are needed.
//!
//! A forked child forgets the teams of its parent and starts its own.

use crate::error;
use gaitprop_kernels::{Error, Isa, Par, Plan, Threads};
use gaitprop_process::{Found, MIN_WORK, MOST_THREADS, TeamSlot, initial_threads};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Default number of threads of a call.
static DEFAULT: AtomicUsize = AtomicUsize::new(1);
/// The instruction set that the environment chose.
static ISA: OnceLock<Isa> = OnceLock::new();
/// The team of n threads at index n.
static TEAMS: [TeamSlot; MOST_THREADS + 1] = [const { TeamSlot::new() }; MOST_THREADS + 1];

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

/// Forgets, in a forked child, the teams of the parent.
#[cfg(unix)]
extern "C" fn in_child() {
    TEAMS.iter().for_each(TeamSlot::forget);
}

/// At most this number of threads, of a team that starts when it is first needed.
struct Crew(usize);

impl Threads for Crew {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        match TEAMS.get(self.0).map(|slot| slot.team(self.0)) {
            Some(Found::Team(team)) => team.run(job),
            // Starting elsewhere, or refused by the system: the caller computes alone.
            _ => job(0),
        }
    }
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
