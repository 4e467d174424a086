//! Operands, comparisons and checks that the kernels' tests share, and how to draw them at random.
#![allow(unreachable_pub)] // the fuzz targets use it too

pub mod batch;
pub mod elementwise;
pub mod fenced;
pub mod fused;
pub mod product;
pub mod triangular;
pub mod vectors;

use gaitprop_kernels::{Blocking, MatRef, Packing, Plan, Real, ScratchReq};
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

/// Sizes around every edge: 0, 1, a tile ± 1, several tiles.
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
    /// Least number of multiply-adds that wakes a thread. Small values split every product, larger
    /// ones only some.
    pub min_work: usize,
}

impl Ways {
    /// The defaults, but for the threads.
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

/// The number whose last bit differs, for a normal one.
pub fn one_bit_off<T: Real>(x: T) -> T {
    let last = if T::NAME == "f32" { 1 << 29 } else { 1 };
    T::from_f64(f64::from_bits(x.to_f64().to_bits() ^ last))
}

/// The comparison that every test of bits rests on sees one wrong bit, a NaN, an unexpected zero
/// and another shape.
#[test]
fn the_comparison_of_bits_can_fail() {
    fn of<T: Real>() {
        let want = Fenced::<T>::new((4, 5), Layout::PaddedRows, reals(3));
        assert_eq!(same(&want, &want.clone(), "itself"), Ok(()));
        for (i, j) in [(0, 0), (2, 1), (3, 4)] {
            let right = want.view().get(i, j);
            for wrong in [one_bit_off(right), -right, T::NAN, T::ZERO] {
                let mut got = want.clone();
                got.view_mut().set(i, j, wrong);
                assert!(same(&want, &got, "C").is_err(), "({i}, {j}) is {wrong:e}, not {right:e}");
            }
        }
        let (zero, negative) = ([T::ZERO], [-T::ZERO]);
        let view = |x| MatRef::new(x, 1, 1).unwrap();
        assert!(first_difference(view(&zero), view(&negative)).is_some());
        assert!(first_difference(want.view(), want.view().t()).is_some());
    }
    of::<f32>();
    of::<f64>();
}

/// A write before, between or behind the elements of a matrix or of a batch is seen.
#[test]
fn fences_can_fall() {
    let want = Fenced::<f32>::new((4, 5), Layout::PaddedRows, reals(3));
    let last = want.data.len() - 1;
    for at in [0, want.offset - 1, want.offset + 6, last] {
        let mut torn = want.clone();
        torn.data[at] = 1.0;
        assert!(same(&want, &torn, "C").is_err_and(|wrong| wrong.contains("wrote outside")), "{at}");
    }
    let want = batch::FencedBatch::<f32>::new_in(Fences, 3, (4, 5), Layout::PaddedRows, batch::Spacing::Backwards, reals(5));
    assert_eq!(want.difference(&want.clone()), None);
    for at in [0, want.at(2, 1, 3), want.at(2, 1, 4) + 1, want.at(0, 3, 4) + 1] {
        let mut torn = want.clone();
        torn.data[at] = 1.0;
        assert!(want.difference(&torn).is_some(), "{at}");
    }
}

/// A kernel that takes more scratch than it asks for is seen.
#[test]
fn too_little_scratch_is_found() {
    let greedy = with_plans(
        &[Plan::new()],
        |_| ScratchReq::of::<f32>(1),
        |_, scratch| {
            scratch.reserve(ScratchReq::of::<f32>(1000)).unwrap();
            Ok(())
        },
    );
    assert!(greedy.is_err_and(|wrong| wrong.contains("too little")));
}
