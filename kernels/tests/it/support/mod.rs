//! What the kernels' tests share: operands and comparisons, and how to draw them at random.
#![allow(unreachable_pub)] // the fuzz targets use it too

pub mod batch;
pub mod fenced;
pub mod fused;
pub mod triangular;

use gaitprop_kernels::{Blocking, Packing, Plan};
use proptest::prelude::*;

pub use fenced::*;

pub fn any_layout() -> impl Strategy<Value = Layout> {
    proptest::sample::select(&LAYOUTS[..])
}

pub fn any_packing() -> impl Strategy<Value = Packing> {
    proptest::sample::select(&[Packing::Auto, Packing::Always, Packing::Avoid][..])
}

/// Sizes below `n`; small ones under Miri, which interprets a few million steps a second.
pub fn below(n: usize) -> std::ops::Range<usize> {
    0..if cfg!(miri) { n.min(19) } else { n }
}

/// As [`below`], without 0.
pub fn from_one(n: usize) -> std::ops::Range<usize> {
    1..below(n).end
}

/// Sizes around every edge: nothing, one, a tile ± 1, several.
pub fn size() -> impl Strategy<Value = usize> {
    let larger = if cfg!(miri) { vec![24, 33] } else { vec![47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 130] };
    prop_oneof![
        4 => below(40),
        1 => proptest::sample::select(larger),
    ]
}

pub fn any_blocking() -> impl Strategy<Value = Option<Blocking>> {
    proptest::option::weighted(
        0.7,
        (1usize..30, 1usize..20, 1usize..50, 1usize..16).prop_map(|(mc, kc, nc, mr)| Blocking::new(mc, kc, nc, mr).unwrap()),
    )
}

/// How to compute.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    pub blocking: Option<Blocking>,
    pub packing: Packing,
    pub threads: usize,
    /// Few multiply-adds a thread, so that there are always several, and enough that some products are split and others are not.
    pub min_work: usize,
}

impl Ways {
    /// As a caller computes who says nothing, but for the threads.
    pub fn usual(threads: usize) -> Self {
        Self { blocking: None, packing: Packing::Auto, threads, min_work: 1 }
    }

    /// Checks with every plan of these ways.
    pub fn all(&self, check: impl FnOnce(&[Plan]) -> Checked) -> Result<(), TestCaseError> {
        let crew = Crew::new(self.threads);
        check(&crew.plans(self.blocking, self.packing, self.min_work)).map_err(TestCaseError::fail)
    }
}

pub fn any_ways() -> impl Strategy<Value = Ways> {
    let min_work = prop_oneof![3 => Just(1), 1 => Just(300usize), 1 => Just(5000)];
    (any_blocking(), any_packing(), 1usize..5, min_work).prop_map(|(blocking, packing, threads, min_work)| Ways {
        blocking,
        packing,
        threads,
        min_work,
    })
}

pub fn any_scalar() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), Just(-1.0), -2.0..2.0]
}
