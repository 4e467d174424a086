//! Contexts: the plan, the workspace and the last error of one thread at a time.

use crate::status::gaitprop_status::{self, GAITPROP_BUSY, GAITPROP_NULL, GAITPROP_OK};
use crate::status::{Failure, copy_text, gaitprop_error_info};
use crate::threads::{CallerThreads, gaitprop_threads};
use crate::view::{Batch, Mat, Operands};
use core::cell::{Cell, UnsafeCell};
use core::ffi::{CStr, c_char, c_int};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};
use gaitprop_kernels::{BatchMut, BatchRef, Error, Isa, MatMut, MatRef, Par, Plan, Real, Scratch, selftest};
use std::alloc::{Layout, alloc};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

/// Instruction set, threads, workspace and last error. One thread at a time uses a context; another
/// one gets GAITPROP_BUSY.
///
/// In a forked child, a context that another thread was using stays GAITPROP_BUSY and cannot be
/// freed. The child makes a new one.
pub struct gaitprop_context {
    busy: AtomicBool,
    state: UnsafeCell<State>,
}

/// What `busy` guards.
pub(crate) struct State {
    pub(crate) plan: Plan,
    /// Workspace of the kernels.
    pub(crate) scratch: Scratch,
    /// Workspace that the kernels ask the caller for.
    pub(crate) work: Scratch,
    last: gaitprop_error_info,
}

/// A context held by this thread. Dropping it lets others in.
struct Held<'a>(&'a gaitprop_context);

impl<'a> Held<'a> {
    /// # Safety
    /// `ctx` is NULL or a live context.
    unsafe fn new(ctx: *const gaitprop_context) -> Result<Self, gaitprop_status> {
        // SAFETY: the caller promises NULL or a live context.
        let ctx: &'a gaitprop_context = unsafe { ctx.as_ref() }.ok_or(GAITPROP_NULL)?;
        if ctx.busy.swap(true, Ordering::Acquire) { Err(GAITPROP_BUSY) } else { Ok(Self(ctx)) }
    }
}

impl Deref for Held<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        // SAFETY: this value set `busy`, so no other reference exists until it is dropped.
        unsafe { &*self.0.state.get() }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        // SAFETY: as in `deref`; `self` is borrowed mutably.
        unsafe { &mut *self.0.state.get() }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Calls `f` with the state of a context, and keeps its error.
///
/// # Safety
/// `ctx` is NULL or a live context.
pub(crate) unsafe fn with_state(
    ctx: *mut gaitprop_context,
    f: impl FnOnce(&mut State) -> Result<(), Failure>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    let mut state = match unsafe { Held::new(ctx) } {
        Ok(held) => held,
        Err(status) => return status,
    };
    match guarded(|| f(&mut state)).unwrap_or_else(Err) {
        Ok(()) => GAITPROP_OK,
        Err(failure) => {
            state.last = gaitprop_error_info::of(&failure);
            failure.status()
        }
    }
}

/// One call of a kernel: how to compute, and the operands.
pub(crate) struct Call<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) work: &'a mut Scratch,
    operands: Operands,
}

/// Calls `f` with the plan and the workspace of a context.
///
/// # Safety
/// `ctx` is NULL or a live context. Every operand that `f` takes from the [`Call`] is as the header
/// demands: allocated, initialized, and reached by no other thread during the call.
pub(crate) unsafe fn enter(
    ctx: *mut gaitprop_context,
    f: impl for<'a> FnOnce(&mut Call<'a>) -> Result<(), Failure>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        with_state(ctx, |state| {
            let State { plan, scratch, work, .. } = state;
            f(&mut Call { plan, scratch, work, operands: Operands::new() })
        })
    }
}

impl<'a> Call<'a> {
    pub(crate) fn read<T: Real>(&mut self, what: &'static str, m: impl Into<Mat<T>>) -> Result<MatRef<'a, T>, Failure> {
        // SAFETY: the caller of `enter` promises it, and all operands pass through `operands`.
        unsafe { self.operands.read(what, m.into()) }
    }

    /// [`Call::read`] of an operand that may be absent.
    pub(crate) fn read_if<T: Real>(
        &mut self,
        what: &'static str,
        m: Option<impl Into<Mat<T>>>,
    ) -> Result<Option<MatRef<'a, T>>, Failure> {
        m.map(|m| self.read(what, m)).transpose()
    }

    pub(crate) fn write<T: Real>(&mut self, what: &'static str, m: impl Into<Mat<T>>) -> Result<MatMut<'a, T>, Failure> {
        // SAFETY: as in `read`.
        unsafe { self.operands.write(what, m.into()) }
    }

    /// [`Call::write`] of an operand that may be absent.
    pub(crate) fn write_if<T: Real>(
        &mut self,
        what: &'static str,
        m: Option<impl Into<Mat<T>>>,
    ) -> Result<Option<MatMut<'a, T>>, Failure> {
        m.map(|m| self.write(what, m)).transpose()
    }

    pub(crate) fn read_batch<T: Real>(&mut self, what: &'static str, b: impl Into<Batch<T>>) -> Result<BatchRef<'a, T>, Failure> {
        // SAFETY: as in `read`.
        unsafe { self.operands.read_batch(what, b.into()) }
    }

    pub(crate) fn write_batch<T: Real>(
        &mut self,
        what: &'static str,
        b: impl Into<Batch<T>>,
    ) -> Result<BatchMut<'a, T>, Failure> {
        // SAFETY: as in `read`.
        unsafe { self.operands.write_batch(what, b.into()) }
    }

    pub(crate) fn read_slice<T>(&mut self, what: &'static str, data: *const T, len: usize) -> Result<&'a [T], Failure> {
        // SAFETY: as in `read`.
        unsafe { self.operands.read_slice(what, data, len) }
    }

    /// [`Call::read_slice`] of another type than the other operands, with which it shares nothing.
    pub(crate) fn read_other<U>(&self, what: &'static str, data: *const U, len: usize) -> Result<&'a [U], Failure> {
        // SAFETY: as in `read`. The caller promises that objects of two types share no memory.
        unsafe { Operands::new().read_slice(what, data, len) }
    }

    /// [`Call::write_slice`] of another type than the other operands, with which it shares nothing.
    pub(crate) fn write_other<U>(&self, what: &'static str, data: *mut U, len: usize) -> Result<&'a mut [U], Failure> {
        // SAFETY: as in `read_other`.
        unsafe { Operands::new().write_slice(what, data, len) }
    }

    pub(crate) fn write_slice<T>(&mut self, what: &'static str, data: *mut T, len: usize) -> Result<&'a mut [T], Failure> {
        // SAFETY: as in `read`.
        unsafe { self.operands.write_slice(what, data, len) }
    }
}

thread_local! {
    /// Whether this thread runs code of the library.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` and turns a panic into a failure. Nothing is printed.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    let outside = !INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    if outside {
        INSIDE.set(false);
    }
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        Failure::Panic(text.unwrap_or("unknown").to_owned())
    })
}

/// Keeps panics of the library off stderr. Those of other Rust code in the process still get there.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Threads of a `Team` carry this name.
            let ours = INSIDE.get() || std::thread::current().name().is_some_and(|name| name.starts_with("gaitprop-"));
            if !ours {
                others(info);
            }
        }));
    });
}

/// Moves a value to the heap, or fails where `Box::new` would abort the process.
pub(crate) fn boxed<T>(value: T) -> Result<Box<T>, Failure> {
    const { assert!(size_of::<T>() > 0) };
    let layout = Layout::new::<T>();
    // SAFETY: T's size is not 0.
    let ptr = unsafe { alloc(layout) }.cast::<T>();
    if ptr.is_null() {
        return Err(Error::OutOfMemory { bytes: layout.size() }.into());
    }
    // SAFETY: the block is new and has T's layout. `Box` frees it by the same allocator.
    unsafe {
        ptr.write(value);
        Ok(Box::from_raw(ptr))
    }
}

/// Creates a context with one thread and the widest instruction set of this CPU.
///
/// Writes it to *out, or NULL after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_context_new(out: *mut *mut gaitprop_context) -> gaitprop_status {
    if out.is_null() {
        return GAITPROP_NULL;
    }
    let made = guarded(|| {
        quiet_panics();
        let state = State { plan: Plan::new(), scratch: Scratch::new(), work: Scratch::new(), last: gaitprop_error_info::NONE };
        boxed(gaitprop_context { busy: AtomicBool::new(false), state: UnsafeCell::new(state) })
    });
    let (ctx, status) = match made.unwrap_or_else(Err) {
        Ok(ctx) => (Box::into_raw(ctx), GAITPROP_OK),
        Err(failure) => (core::ptr::null_mut(), failure.status()),
    };
    // SAFETY: the caller passes a place for one pointer; NULL was refused above.
    unsafe { out.write(ctx) };
    status
}

/// Frees a context and ends its threads. NULL is allowed. A busy context stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_context_free(ctx: *mut gaitprop_context) -> gaitprop_status {
    if ctx.is_null() {
        return GAITPROP_OK;
    }
    // SAFETY: the caller promises a live context.
    match unsafe { Held::new(ctx) } {
        // The context stays busy: a call after this one is a mistake of the caller.
        Ok(held) => core::mem::forget(held),
        Err(status) => return status,
    }
    // SAFETY: `gaitprop_context_new` made the context by `Box::into_raw`, and this thread holds it.
    let ctx = unsafe { Box::from_raw(ctx) };
    guarded(|| drop(ctx)).map_or_else(|failure| failure.status(), |()| GAITPROP_OK)
}

/// Largest number of threads. A team without a limit could abort the process: the start of a Rust
/// thread panics where the system cannot map its signal stack.
const MOST_THREADS: usize = 4096;

/// Sets the number of threads, the calling one included: at most 4096.
///
/// 0 takes as many as the process may use. No result depends on it. After an error the context
/// keeps its threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_context_set_threads(ctx: *mut gaitprop_context, threads: usize) -> gaitprop_status {
    // SAFETY: the caller promises NULL or a live context.
    unsafe {
        with_state(ctx, |state| {
            let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, Into::into) } else { threads };
            if threads > MOST_THREADS {
                let (what, accepted) = ("the number of threads", "at most 4096");
                return Err(Error::Parameter { what, value: threads as f64, accepted }.into());
            }
            state.plan.par = if threads == 1 { Par::Seq } else { Par::team(threads)? };
            Ok(())
        })
    }
}

/// Makes the context run its work on threads of the caller. Copies *threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_context_set_threads_custom(
    ctx: *mut gaitprop_context,
    threads: *const gaitprop_threads,
) -> gaitprop_status {
    // SAFETY: the caller promises NULL or a live context, and NULL or readable threads that the
    // context may use from now on.
    unsafe {
        with_state(ctx, |state| {
            let threads = threads.as_ref().ok_or(Failure::Null("threads"))?;
            state.plan.par = Par::Custom(Arc::new(CallerThreads::new(threads)?));
            Ok(())
        })
    }
}

/// Sets the instruction set: avx512, avx2, neon, portable, or auto for the widest of this CPU.
///
/// All give the same bits. Operands packed for another one are refused with GAITPROP_PACKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_context_set_isa(ctx: *mut gaitprop_context, name: *const c_char) -> gaitprop_status {
    // SAFETY: the caller promises NULL or a live context, and NULL or a string.
    unsafe {
        with_state(ctx, |state| {
            if name.is_null() {
                return Err(Failure::Null("name"));
            }
            state.plan.isa = Isa::named(&CStr::from_ptr(name).to_string_lossy())?;
            Ok(())
        })
    }
}

/// Copies the last error of the context to *out. Its status is GAITPROP_OK if no call has failed.
///
/// A call that finds the context busy does not change it. So the sentence belongs to a call if
/// out->status is what the call returned.
///
/// Returns GAITPROP_NULL or GAITPROP_BUSY, and leaves *out unchanged, if it cannot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_error(ctx: *const gaitprop_context, out: *mut gaitprop_error_info) -> gaitprop_status {
    if out.is_null() {
        return GAITPROP_NULL;
    }
    // SAFETY: the caller promises NULL or a live context.
    match unsafe { Held::new(ctx) } {
        Ok(state) => {
            // SAFETY: the caller passes a place for one value; NULL was refused above.
            unsafe { out.write(state.last) };
            GAITPROP_OK
        }
        Err(status) => status,
    }
}

/// Copies the name of the kernel that computes products of floats, such as sgemm_6x16_avx2.
///
/// Writes at most len bytes, the closing 0 included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_skernel_name(ctx: *mut gaitprop_context, out: *mut c_char, len: usize) -> gaitprop_status {
    // SAFETY: the caller promises the context, and `len` writable bytes.
    unsafe { kernel_name::<f32>(ctx, out, len) }
}

/// gaitprop_skernel_name() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dkernel_name(ctx: *mut gaitprop_context, out: *mut c_char, len: usize) -> gaitprop_status {
    // SAFETY: the caller promises the context, and `len` writable bytes.
    unsafe { kernel_name::<f64>(ctx, out, len) }
}

/// # Safety
/// As [`enter`], for `len` bytes at `out`.
unsafe fn kernel_name<T: Real>(ctx: *mut gaitprop_context, out: *mut c_char, len: usize) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let out = call.write_other("out", out, len)?;
            copy_text(out, call.plan.kernel_name::<T>());
            Ok(())
        })
    }
}

/// Checks on every instruction set of this CPU that the kernels give the right bits. Takes about a
/// second.
///
/// Returns GAITPROP_WRONG_BITS and names the kernel if one does not, or if this thread flushes
/// subnormal numbers to 0. Writes the number of checks to *checks unless that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_selftest(ctx: *mut gaitprop_context, checks: *mut usize) -> gaitprop_status {
    // SAFETY: the caller promises NULL or a live context, and NULL or a place for a size.
    unsafe {
        with_state(ctx, |state| {
            if flushes_subnormals() {
                return Err(Failure::Flushed);
            }
            let found = selftest::run(state.plan.par.clone())?;
            if !checks.is_null() {
                checks.write(found.len());
            }
            found.iter().find(|check| check.wrong.is_some()).map_or(Ok(()), |check| Err(Failure::WrongBits(check.to_string())))
        })
    }
}

/// Returns whether this thread computes without subnormal numbers.
fn flushes_subnormals() -> bool {
    use core::hint::black_box;
    black_box(f32::MIN_POSITIVE) * black_box(0.5) == 0.0 || black_box(f64::MIN_POSITIVE) * black_box(0.5) == 0.0
}

/// Version of the library: a constant string.
#[unsafe(no_mangle)]
pub extern "C" fn gaitprop_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Version of the binary interface that this header describes.
pub const GAITPROP_ABI_VERSION: c_int = 0;

/// Version of the binary interface of the loaded library. Compare it with GAITPROP_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn gaitprop_abi_version() -> c_int {
    GAITPROP_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::gaitprop_status::{GAITPROP_INTERNAL, GAITPROP_PARAMETER};

    #[test]
    fn a_panic_becomes_an_error_and_frees_the_context() {
        let mut ctx = core::ptr::null_mut();
        let mut info = gaitprop_error_info::NONE;
        // SAFETY: the context lives until it is freed below, and all pointers are to local values.
        unsafe {
            assert_eq!(gaitprop_context_new(&mut ctx), GAITPROP_OK);
            assert_eq!(with_state(ctx, |_| panic!("pivot {}", 7)), GAITPROP_INTERNAL);
            assert_eq!(gaitprop_error(ctx, &mut info), GAITPROP_OK);
            let text = CStr::from_ptr(info.text.as_ptr()).to_str().unwrap();
            assert!(text.ends_with("pivot 7"), "{text}");
            assert_eq!(with_state(ctx, |_| Ok(())), GAITPROP_OK);
            assert_eq!(gaitprop_context_set_threads(ctx, MOST_THREADS + 1), GAITPROP_PARAMETER);
            assert_eq!(gaitprop_context_free(ctx), GAITPROP_OK);
        }
    }

    #[test]
    fn a_busy_context_admits_no_other_call() {
        let mut ctx = core::ptr::null_mut();
        // SAFETY: the context lives until it is freed below, and all pointers are to local values.
        unsafe {
            assert_eq!(gaitprop_context_new(&mut ctx), GAITPROP_OK);
            let inside = with_state(ctx, |_| {
                assert_eq!(with_state(ctx, |_| Ok(())), GAITPROP_BUSY);
                let mut info = gaitprop_error_info::NONE;
                assert_eq!(gaitprop_error(ctx, &mut info), GAITPROP_BUSY);
                assert_eq!(gaitprop_context_free(ctx), GAITPROP_BUSY);
                Ok(())
            });
            assert_eq!(inside, GAITPROP_OK);
            assert_eq!(gaitprop_context_free(ctx), GAITPROP_OK);
            assert_eq!(gaitprop_context_free(core::ptr::null_mut()), GAITPROP_OK);
        }
    }
}
