//! Nothing is allocated once a solve has been made at given shapes: counted by an allocator that does nothing else.
#![allow(missing_docs)]

use gaitprop::Matrix;
use gaitprop::init::{self, Init};
use gaitprop::inverse::{Kind, Tuning};
use gaitprop::kernels::{Plan, Scratch};
use gaitprop::rng::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn solves_allocate_nothing_after_the_first() {
    let (n, batch, steps) = (150, 60, 60);
    let plan = Plan::new();
    // The counter itself is at work.
    let before = COUNT.load(Ordering::Relaxed);
    let mut rng = Rng::new(1, 0);
    let mut w = init::weights::<f32>(Init::Orthogonal, n, n, &mut rng, &plan).unwrap();
    assert!(COUNT.load(Ordering::Relaxed) > before);
    for kind in [Kind::Lu, Kind::Stale, Kind::Cg, Kind::Gram, Kind::Auto] {
        let mut scratch = Scratch::new();
        let mut strategy = kind.build::<f32>(Tuning::default()).unwrap();
        let mut r = Matrix::<f32>::zeros(batch, n);
        let mut allocated = 0;
        for step in 0..steps {
            r.data_mut().iter_mut().for_each(|x| *x = rng.normal() as f32);
            // Two layers that are alike: the second finds the memory of the first.
            for layer in [0, 1] {
                let before = COUNT.load(Ordering::Relaxed);
                strategy.solve(layer, w.view().into(), r.view_mut(), &plan, &mut scratch).unwrap();
                allocated += if step > 0 { COUNT.load(Ordering::Relaxed) - before } else { 0 };
            }
            strategy.weights_changed();
            w.data_mut().iter_mut().for_each(|x| *x += 2e-4 * rng.normal() as f32);
        }
        assert_eq!(allocated, 0, "{kind}");
    }
}
