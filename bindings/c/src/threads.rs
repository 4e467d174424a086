//! Threads that the caller implements.

use crate::context::guarded;
use crate::status::Failure;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};
use gaitprop_kernels::Threads;

/// A job of the library for thread `index`.
pub type gaitprop_job = Option<unsafe extern "C" fn(data: *mut c_void, index: usize)>;

/// Threads of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_threads {
    /// First argument of run.
    pub user: *mut c_void,
    /// Number of threads, the calling one included.
    pub count: usize,
    /// Calls job(data, i) for each i < count, at the same time and on any threads. May leave out
    /// calls, which costs speed only. Returns when every call has ended.
    ///
    /// It must return: an exception or a longjmp that leaves it is undefined behavior.
    pub run: Option<unsafe extern "C" fn(user: *mut c_void, job: gaitprop_job, data: *mut c_void)>,
}

/// Threads of the caller, behind the kernels' trait.
pub(crate) struct CallerThreads {
    user: *mut c_void,
    count: usize,
    run: unsafe extern "C" fn(user: *mut c_void, job: gaitprop_job, data: *mut c_void),
}

// SAFETY: the caller of `CallerThreads::new` promises that `run` may be called from any thread.
unsafe impl Send for CallerThreads {}
// SAFETY: as above.
unsafe impl Sync for CallerThreads {}

impl CallerThreads {
    /// # Safety
    /// `run` may be called with `user` from any thread for as long as the value lives. It calls the
    /// job as [`gaitprop_threads`] says.
    pub(crate) unsafe fn new(threads: &gaitprop_threads) -> Result<Self, Failure> {
        let run = threads.run.ok_or(Failure::Null("run"))?;
        Ok(Self { user: threads.user, count: threads.count, run })
    }
}

/// One call of [`Threads::run`].
struct Frame<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    panicked: AtomicBool,
}

impl Threads for CallerThreads {
    fn count(&self) -> usize {
        self.count
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        let frame = Frame { job, panicked: AtomicBool::new(false) };
        // SAFETY: `run` may be called, promised to `new`. It returns after the last call of the
        // job, so `frame` outlives them all.
        unsafe { (self.run)(self.user, Some(call_job), (&raw const frame).cast_mut().cast()) };
        assert!(!frame.panicked.load(Ordering::Acquire), "a job panicked on a thread of the caller");
    }
}

/// Runs a job on a thread of the caller, which no panic may reach.
unsafe extern "C" fn call_job(data: *mut c_void, index: usize) {
    // SAFETY: `data` is the frame that `run` passed, which lives until the last call has ended.
    let frame = unsafe { &*data.cast::<Frame<'_>>() };
    if guarded(|| (frame.job)(index)).is_err() {
        frame.panicked.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn in_turn(user: *mut c_void, job: gaitprop_job, data: *mut c_void) {
        // SAFETY: the test passes a counter, and `data` belongs to `job`.
        unsafe {
            *user.cast::<usize>() += 1;
            (0..3).for_each(|i| job.unwrap()(data, i));
        }
    }

    #[test]
    fn a_panic_on_a_thread_of_the_caller_comes_back() {
        let mut calls = 0usize;
        let threads = gaitprop_threads { user: (&raw mut calls).cast(), count: 3, run: Some(in_turn) };
        // SAFETY: `in_turn` keeps to the contract, and `calls` outlives the value.
        let threads = unsafe { CallerThreads::new(&threads) }.unwrap();
        let seen = AtomicBool::new(false);
        threads.run(&|i| _ = seen.fetch_or(i == 2, Ordering::Relaxed));
        assert!(seen.into_inner());
        assert!(guarded(|| threads.run(&|i| assert!(i != 1, "part {i}"))).is_err());
        assert_eq!(calls, 2);
    }
}
