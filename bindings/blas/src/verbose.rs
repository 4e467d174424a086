//! The report at the end of a process that set `GAITPROP_VERBOSE`: calls and time by routine.

use crate::threads::{gaitprop_blas_get_num_threads, settings};
use std::fmt::{Arguments, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A routine of either precision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Routine {
    Gemm,
    Gemmt,
    Symm,
    Syrk,
    Syr2k,
    Trmm,
    Trsm,
    Gemv,
    Ger,
    Dot,
    GemmBatchStrided,
}

/// Names without the letter of the precision, in the order of [`Routine`].
const NAMES: [&str; 11] = ["gemm", "gemmt", "symm", "syrk", "syr2k", "trmm", "trsm", "gemv", "ger", "dot", "gemm_batch_strided"];

/// Calls of one routine, and their time in nanoseconds.
struct Count {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

/// By routine and precision.
static COUNTS: [[Count; 2]; NAMES.len()] =
    [const { [const { Count { calls: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) } }; 2] }; NAMES.len()];

/// Number of calls that a kernel refused, so that loops computed them.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Calls `f`. Counts the call, and measures it, if the user asked for it.
#[inline]
pub(crate) fn counted<T, R>(routine: Routine, f: impl FnOnce() -> R) -> R {
    if !settings().verbose {
        return f();
    }
    let start = Instant::now();
    let result = f();
    let count = &COUNTS[routine as usize][usize::from(size_of::<T>() == 8)];
    count.calls.fetch_add(1, Ordering::Relaxed);
    // 64 bits of nanoseconds last for centuries.
    count.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    result
}

/// Counts a call that a kernel refused.
#[cold]
pub(crate) fn refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

/// Writes one line to stderr. A closed stderr is no error.
#[cold]
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "gaitprop_blas: {text}");
}

/// Registers [`report`] to run when the process exits.
pub(crate) fn report_at_exit() {
    // SAFETY: the handler is a function of this library, which stays mapped.
    unsafe { libc::atexit(report) };
}

/// Sets all counts to 0.
pub(crate) fn forget() {
    REFUSED.store(0, Ordering::Relaxed);
    for count in COUNTS.as_flattened() {
        count.calls.store(0, Ordering::Relaxed);
        count.nanoseconds.store(0, Ordering::Relaxed);
    }
}

extern "C" fn report() {
    let mut text = String::new();
    let mut total = 0;
    for (name, counts) in NAMES.iter().zip(&COUNTS) {
        for (letter, count) in ['s', 'd'].iter().zip(counts) {
            let calls = count.calls.load(Ordering::Relaxed);
            if calls > 0 {
                total += calls;
                let seconds = count.nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9;
                let _ = writeln!(text, "gaitprop_blas: {letter}{name:<20}{calls:>12} calls {seconds:>12.6} s");
            }
        }
    }
    let refused = REFUSED.load(Ordering::Relaxed);
    if refused > 0 {
        let _ = writeln!(text, "gaitprop_blas: {refused} computed by loops: no memory, or a diagonal with 0, infinity or NaN");
    }
    let (isa, threads) = (settings().plan.isa, gaitprop_blas_get_num_threads());
    let _ = writeln!(text, "gaitprop_blas: {isa}, at most {threads} threads, {total} calls");
    // One write, so that the reports of several processes do not mix.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
