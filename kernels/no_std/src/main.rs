//! The kernels without `std`: the selftest on every instruction set of this target, its digests
//! included, as an exit status.
//!
//! That it links is the first half of the proof: the panic handler below and `std`'s cannot be in
//! one program.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::sync::Arc;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use gaitprop_kernels::{Isa, MatMut, MatRef, Par, Threads, lu, reference, selftest};
use gaitprop_kernels::{Plan, Scratch};

// All that is taken from the system.
#[link(name = "c")]
unsafe extern "C" {
    safe fn abort() -> !;
    fn free(p: *mut c_void);
    fn posix_memalign(p: *mut *mut c_void, align: usize, bytes: usize) -> c_int;
    fn write(file: c_int, bytes: *const c_void, len: usize) -> isize;
}

struct System;

// SAFETY: `posix_memalign` gives blocks of the size and alignment asked for, or an error, and
// `free` takes them back whatever those were.
unsafe impl GlobalAlloc for System {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut block = core::ptr::null_mut();
        // It wants a power of two, which every layout has, no smaller than a pointer.
        let align = layout.align().max(size_of::<usize>());
        // SAFETY: `block` is a place for the answer.
        let failed = unsafe { posix_memalign(&mut block, align, layout.size()) } != 0;
        if failed { core::ptr::null_mut() } else { block.cast() }
    }
    unsafe fn dealloc(&self, p: *mut u8, _: Layout) {
        // SAFETY: the caller's promise: the block comes from `alloc` above.
        unsafe { free(p.cast()) };
    }
}

#[global_allocator]
static SYSTEM: System = System;

fn say(text: &str) {
    // SAFETY: the string holds so many bytes. Whether they arrive matters to nobody here.
    let _ = unsafe { write(1, text.as_ptr().cast(), text.len()) };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(&format!("{info}\n"));
    abort()
}

// The precompiled `alloc` can unwind, and refers to these two functions. With `panic = "abort"` they
// are never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {
    abort()
}
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    abort()
}

/// Two threads that are one: all that a target without threads can give, and enough to go every
/// threaded way.
struct InTurn;

impl Threads for InTurn {
    fn count(&self) -> usize {
        2
    }
    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        job(1);
        job(0);
    }
}

/// Wrong rows of the selftest.
fn selftests() -> usize {
    let mut bad = 0;
    for par in [Par::Seq, Par::Custom(Arc::new(InTurn))] {
        match selftest::run(par.clone()) {
            Ok(checks) => {
                let wrong = checks.iter().filter(|check| check.wrong.is_some());
                bad += wrong.inspect(|check| say(&format!("{check}\n"))).count();
                let (calls, elements) = checks.iter().fold((0, 0), |(c, e), check| (c + check.calls, e + check.elements));
                say(&format!("{par:?}: {} rows, {calls} calls, {elements} elements\n", checks.len()));
            }
            Err(error) => {
                say(&format!("{error}\n"));
                bad += 1;
            }
        }
    }
    bad
}

/// An LU large enough to go on several threads where `std` is there: another way here, the same
/// bits. 1 if not.
fn lu_of_two() -> usize {
    const N: usize = 200;
    let mut seed = 1u32;
    let data: alloc::vec::Vec<f64> = (0..N * N)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed >> 8) / f64::from(1 << 24) - 0.5
        })
        .collect();
    let (mut found, mut expected) = (data.clone(), data);
    let (mut pivots, mut wanted) = ([0; N], [0; N]);
    let plan = Plan::new().with_par(Par::Custom(Arc::new(InTurn)));
    let same = || {
        lu::factor(MatMut::new(&mut found, N, N)?, &mut pivots, &plan, &mut Scratch::new())?;
        reference::lu(MatMut::new(&mut expected, N, N)?, &mut wanted)?;
        let bits = |x: MatRef<'_, f64>, i, j| x.get(i, j).to_bits();
        let (x, y) = (MatRef::new(&found, N, N)?, MatRef::new(&expected, N, N)?);
        Ok::<_, gaitprop_kernels::Error>(pivots == wanted && (0..N).all(|i| (0..N).all(|j| bits(x, i, j) == bits(y, i, j))))
    };
    match { same }() {
        Ok(true) => 0,
        outcome => {
            say(&format!("LU of {N}: {outcome:?}\n"));
            1
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let sets = Isa::available().map(Isa::name).collect::<alloc::vec::Vec<_>>().join(" ");
    say(&format!("instruction sets of this target: {sets}\n"));
    let bad = selftests() + lu_of_two();
    say(if bad == 0 { "without std: every bit right\n" } else { "without std: WRONG\n" });
    c_int::from(bad != 0)
}
