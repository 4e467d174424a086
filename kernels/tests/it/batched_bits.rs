//! Batches and small products equal the naive chain in every bit, on all instruction sets and in
//! all layouts, blocks, thread counts, shares and mixtures of shapes.

use crate::support::batch::*;
use crate::support::*;
use gaitprop_kernels::{
    Caches, Isa, MatMut, MatRef, Packing, Plan, Real, Scratch, gemm, gemm_batched_views, gemm_scratch, reference,
};
use proptest::prelude::*;

fn cases() -> impl Strategy<Value = Case> {
    (any_scalar(), any_scalar(), any::<u64>()).prop_map(|(alpha, beta, seed)| Case { alpha, beta, seed })
}

fn any_spacing() -> impl Strategy<Value = Spacing> {
    proptest::sample::select(&SPACINGS[..])
}

fn any_operand_spacing() -> impl Strategy<Value = Spacing> {
    prop_oneof![3 => any_spacing(), 1 => Just(Spacing::Shared)]
}

fn strided_cases() -> impl Strategy<Value = StridedCase> {
    let count = prop_oneof![4 => below(10), 1 => below(60).prop_map(|n| 10 + n)];
    let spacings = (any_operand_spacing(), any_operand_spacing(), any_spacing()).prop_map(|(a, b, c)| [a, b, c]);
    let small = (below(24), below(24), below(24));
    let shape = prop_oneof![3 => small, 1 => (size(), size(), below(40))];
    (cases(), count, shape, [any_layout(), any_layout(), any_layout()], spacings)
}

/// Mixtures: many small ones, some empty, now and then a large one.
fn products() -> impl Strategy<Value = Vec<Product>> {
    let shape = prop_oneof![
        6 => (0usize..20, 0usize..20, 0usize..20),
        2 => (from_one(50), from_one(70), from_one(40)),
        1 => Just((0, 5, 7)),
        1 => Just((5, 0, 7)),
        1 => Just((5, 7, 0)),
        1 => Just(if cfg!(miri) { (21, 27, 13) } else { (61, 67, 53) }),
    ];
    proptest::collection::vec((shape, [any_layout(), any_layout(), any_layout()]), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn strided_batches_equal_the_loop_f32(case in strided_cases(), ways in any_ways()) {
        ways.all(|plans| check_strided::<f32, _>(Fences, &case, plans))?;
    }

    #[test]
    fn strided_batches_equal_the_loop_f64(case in strided_cases(), ways in any_ways()) {
        ways.all(|plans| check_strided::<f64, _>(Fences, &case, plans))?;
    }

    #[test]
    fn mixed_batches_equal_the_loop_f32(case in cases(), products in products(), ways in any_ways()) {
        ways.all(|plans| check_views::<f32, _>(Fences, &case, &products, plans))?;
    }

    #[test]
    fn mixed_batches_equal_the_loop_f64(case in cases(), products in products(), ways in any_ways()) {
        ways.all(|plans| check_views::<f64, _>(Fences, &case, &products, plans))?;
    }
}

/// Small products with derived blocks, which never reach the blocked loops: every remainder of rows
/// and columns, every layout.
#[test]
fn small_products_at_every_edge() {
    fn all<T: Real>() {
        for isa in Isa::available() {
            for packing in [Packing::Auto, Packing::Avoid] {
                let plan = Plan::new().with_isa(isa).with_packing(packing);
                for (m, k) in [(1, 9), (2, 1), (3, 17), (5, 4), (7, 18), (13, 3), (29, 8)] {
                    for n in (1..=100).step_by(if cfg!(miri) { 33 } else { 1 }) {
                        let layouts = [LAYOUTS[(m + n) % 7], LAYOUTS[n % 7], LAYOUTS[(n / 7 + m) % 7]];
                        for alpha in [T::ONE, -T::ONE, T::from_f64(0.3)] {
                            let mut value = reals::<T>((m * 100 + n) as u64);
                            let a = Fenced::new((m, k), layouts[0], &mut value);
                            let b = Fenced::new((k, n), layouts[1], &mut value);
                            let mut got = Fenced::new((m, n), layouts[2], &mut value);
                            let mut want = got.clone();
                            reference::gemm(alpha, a.view(), b.view(), T::ONE, want.view_mut());
                            let mut scratch = Scratch::new();
                            scratch.reserve(gemm_scratch::<T>(m, n, k, &plan)).unwrap();
                            let reserved = scratch.capacity();
                            gemm(alpha, a.view(), b.view(), T::ONE, got.view_mut(), &plan, &mut scratch).unwrap();
                            assert_eq!(first_difference(want.view(), got.view()), None, "{isa} {m}x{n}x{k} {layouts:?}");
                            assert!(got.fences_stand());
                            assert_eq!(scratch.capacity(), reserved);
                        }
                    }
                }
            }
        }
    }
    all::<f32>();
    all::<f64>();
}

/// On a CPU without a third-level cache the blocked loops reserve little scratch. Small products
/// stay within it.
#[test]
fn small_products_without_a_third_level_cache() {
    let caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 0 };
    let plans: Vec<_> = Isa::available().map(|isa| Plan::new().with_isa(isa).with_caches(caches)).collect();
    let case = Case { alpha: 0.3, beta: -1.0, seed: 1 };
    let layouts = [Layout::Rows, Layout::Columns, Layout::Rows];
    let products = [((8, 201, 20), layouts); 2];
    check_views::<f32, _>(Fences, &case, &products, &plans).unwrap();
    check_views::<f64, _>(Fences, &case, &products, &plans).unwrap();
}

/// A product with k = 0 beside one that needs scratch: its empty panels once took scratch from the
/// other.
#[test]
fn empty_chains_beside_long_ones() {
    let case = Case { alpha: 0.5, beta: -1.0, seed: 1 };
    let layouts = [Layout::Rows, Layout::Columns, Layout::Rows];
    let products = [((5, 70, 0), layouts), ((5, 70, 9), layouts), ((0, 0, 0), layouts)];
    Ways::usual(2).all(|plans| check_views::<f32, _>(Fences, &case, &products, plans)).unwrap();
    Ways::usual(2).all(|plans| check_views::<f64, _>(Fences, &case, &products, plans)).unwrap();
}

/// A product that is like the one before it is computed in the same way. Each product here differs
/// from the one before in one thing.
#[test]
fn products_alike_in_all_but_one_thing() {
    fn all<T: Real>() {
        const APART: usize = 24;
        const BASE: (usize, usize, usize) = (6, 10, 8);
        let (down, across) = ((APART as isize, 1), (1, APART as isize));
        let usual = [down; 3];
        let others = [
            ((7, 10, 8), usual),
            ((6, 11, 8), usual),
            ((6, 10, 9), usual),
            ((6, 10, 0), usual),
            (BASE, [across, down, down]),
            (BASE, [down, across, down]),
            (BASE, [down, (2 * APART as isize, 1), down]),
            (BASE, [(2 * APART as isize, 1), down, down]),
            (BASE, [down, down, (2 * APART as isize, 1)]),
            (BASE, [down, down, across]),
        ];
        let mut value = reals::<T>(21);
        let [a, b]: [Vec<T>; 2] = [0; 2].map(|_| (0..2 * APART * APART).map(|_| value()).collect());
        for isa in Isa::available() {
            for packing in [Packing::Auto, Packing::Avoid, Packing::Always] {
                for other in others {
                    let plan = Plan::new().with_isa(isa).with_packing(packing);
                    let products = [(BASE, usual), other, (BASE, usual)];
                    let mut outs = [0; 3].map(|_| vec![T::NAN; 2 * APART * APART]);
                    let of = |data, at, (rs, cs)| MatRef::strided(data, 0, at, (rs, cs)).unwrap();
                    let operands = products.map(|((m, n, k), [sa, sb, _])| (of(&a[..], (m, k), sa), of(&b[..], (k, n), sb)));
                    let mut c: Vec<_> = outs
                        .iter_mut()
                        .zip(products)
                        .map(|(c, ((m, n, _), [.., sc]))| MatMut::strided(c, 0, (m, n), sc).unwrap())
                        .collect();
                    gemm_batched_views(T::ONE, &operands, T::ZERO, &mut c, &plan, &mut Scratch::new()).unwrap();
                    for (((a, b), c), ((m, n, _), _)) in operands.into_iter().zip(&c).zip(products) {
                        let mut want = vec![T::NAN; m * n];
                        reference::gemm(T::ONE, a, b, T::ZERO, MatMut::new(&mut want, m, n).unwrap());
                        let want = MatRef::new(&want, m, n).unwrap();
                        assert_eq!(first_difference(want, c.as_ref()), None, "{isa} {packing:?} {other:?}");
                    }
                }
            }
        }
    }
    all::<f32>();
    all::<f64>();
}

/// Tiles that read B in place never read past the end of a row. The last element of B is the last
/// of its allocation, so that Miri and sanitizers see a read beyond; `memory_ends` sees one without
/// them. Rows 256 elements apart crowd the cache and are packed.
#[test]
fn rows_that_end_with_their_memory() {
    for isa in Isa::available() {
        let plan = Plan::new().with_isa(isa);
        for (n, k, rs) in [(7, 5, 7), (16, 5, 16), (17, 3, 17), (31, 20, 256), (32, 20, 256), (60, 20, 256)] {
            let mut value = reals::<f32>(n as u64);
            let (a, b): (Vec<f32>, Vec<f32>) =
                ((0..9 * k).map(|_| value()).collect(), (0..rs * (k - 1) + n).map(|_| value()).collect());
            let (a, b) = (MatRef::new(&a, 9, k).unwrap(), MatRef::strided(&b, 0, (k, n), (rs as isize, 1)).unwrap());
            let (mut want, mut got) = (vec![0f32; 9 * n], vec![f32::NAN; 9 * n]);
            reference::gemm(1.0, a, b, 0.0, MatMut::new(&mut want, 9, n).unwrap());
            gemm(1.0, a, b, 0.0, MatMut::new(&mut got, 9, n).unwrap(), &plan, &mut Scratch::new()).unwrap();
            assert!(want.iter().zip(&got).all(|(w, g)| w.to_bits() == g.to_bits()), "{isa} {n} {k} {rs}");
        }
    }
}

/// Many calls on several threads, each compared: one call seldom meets a race. Shares are even,
/// uneven, and have a large product among small ones.
#[test]
fn threads_never_race() {
    let crew = Crew::new(4);
    let mut value = reals::<f32>(11);
    let rounds = if cfg!(miri) { 1 } else { 400 };
    let lists = [vec![9; 40], vec![9; 41], [vec![3; 30], vec![64], vec![9; 10]].concat(), vec![40, 1, 2]];
    // Under Miri the last alone: it has few, and a large one.
    for sizes in lists.into_iter().skip(if cfg!(miri) { 3 } else { 0 }) {
        let operands: Vec<_> = sizes
            .iter()
            .map(|&s| (Fenced::new((s, s), Layout::Rows, &mut value), Fenced::new((s, s + 1), Layout::PaddedRows, &mut value)))
            .collect();
        let views: Vec<_> = operands.iter().map(|(a, b)| (a.view(), b.view())).collect();
        let blank: Vec<_> = sizes.iter().map(|&s| Fenced::<f32>::new((s, s + 1), Layout::Rows, || f32::NAN)).collect();
        let mut want = blank.clone();
        for ((a, b), c) in views.iter().zip(&mut want) {
            reference::gemm(1.0, *a, *b, 0.0, c.view_mut());
        }
        for par in [crew.team.clone(), crew.shared()] {
            let plan = Plan::new().with_min_work(100).with_par(par.clone());
            let mut scratch = Scratch::new();
            for round in 0..rounds {
                let mut got = blank.clone();
                let mut c: Vec<_> = got.iter_mut().map(|c| c.view_mut()).collect();
                gemm_batched_views(1.0, &views, 0.0, &mut c, &plan, &mut scratch).unwrap();
                for (want, got) in want.iter().zip(&got) {
                    assert_eq!(first_difference(want.view(), got.view()), None, "round {round}, {par:?}");
                }
            }
        }
    }
}
