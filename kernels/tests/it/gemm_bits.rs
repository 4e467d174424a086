//! GEMM equals the naive chain in every bit: all instruction sets, blocks, layouts, scalars and thread counts.

use crate::ensure;
use crate::support::*;
use gaitprop_kernels::{Error, Isa, MatMut, MatRef, Packing, Par, Plan, Real, Scratch, gemm, gemm_scratch, reference};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    layouts: [Layout; 3],
    alpha: f64,
    beta: f64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (size(), size(), size());
    (sizes, [any_layout(), any_layout(), any_layout()], (any_scalar(), any_scalar()), any::<u64>())
        .prop_map(|((m, n, k), layouts, (alpha, beta), seed)| Case { m, n, k, layouts, alpha, beta, seed })
}

fn check<T: Real>(case: &Case, plans: &[Plan]) -> Checked {
    let Case { m, n, k, layouts, seed, .. } = *case;
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(seed);
    let a = Fenced::new((m, k), layouts[0], &mut value);
    let b = Fenced::new((k, n), layouts[1], &mut value);
    let c = Fenced::new((m, n), layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    reference::gemm(alpha, a.view(), b.view(), beta, want.view_mut());
    for plan in plans {
        let mut got = c.clone();
        let mut scratch = Scratch::new();
        scratch.reserve(gemm_scratch::<T>(m, n, k, plan)).unwrap();
        let reserved = scratch.capacity();
        gemm(alpha, a.view(), b.view(), beta, got.view_mut(), plan, &mut scratch).unwrap();
        let difference = first_difference(want.view(), got.view());
        ensure!(difference.is_none(), "{} {}: {difference:?}", plan.isa, T::NAME);
        ensure!(got.fences_stand(), "{}: wrote outside C", plan.isa);
        ensure!(scratch.capacity() == reserved, "gemm_scratch asked for too little");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_the_chain_f32(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f32>(&case, plans))?;
    }

    #[test]
    fn equals_the_chain_f64(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f64>(&case, plans))?;
    }
}

/// Every tile height and every number of columns left over, with derived blocks.
#[test]
fn every_edge_of_the_register_tile() {
    fn all<T: Real>() {
        let crew = Crew::new(1);
        for plan in crew.plans(None, Packing::Auto, 1) {
            // Few under Miri, and on this thread alone.
            let step = if cfg!(miri) { 7 } else { 1 };
            if cfg!(miri) && !matches!(plan.par, Par::Seq) {
                continue;
            }
            for m in (0..=30).step_by(step) {
                let widths = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 64, 65];
                for n in widths.into_iter().skip(m / step % step).step_by(step) {
                    let mut value = reals::<T>((m * 100 + n) as u64);
                    let a = Fenced::new((m, 5), Layout::Rows, &mut value);
                    let b = Fenced::new((5, n), Layout::Rows, &mut value);
                    let mut got = Fenced::new((m, n), Layout::PaddedRows, &mut value);
                    let mut want = got.clone();
                    reference::gemm(T::ONE, a.view(), b.view(), T::ONE, want.view_mut());
                    gemm(T::ONE, a.view(), b.view(), T::ONE, got.view_mut(), &plan, &mut Scratch::new()).unwrap();
                    assert_eq!(first_difference(want.view(), got.view()), None, "{} {m}x{n}", plan.isa);
                    assert!(got.fences_stand());
                }
            }
        }
    }
    all::<f32>();
    all::<f64>();
}

/// The shapes of training, chains longer than one block, derived blocks.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn training_shapes() {
    fn one<T: Real>(m: usize, n: usize, k: usize, layouts: [Layout; 3]) {
        let mut value = reals::<T>((m + n + k) as u64);
        let a = Fenced::new((m, k), layouts[0], &mut value);
        let b = Fenced::new((k, n), layouts[1], &mut value);
        let mut want = Fenced::new((m, n), layouts[2], &mut value);
        let c = want.clone();
        reference::gemm(T::from_f64(-0.3), a.view(), b.view(), T::ONE, want.view_mut());
        let crew = Crew::new(2);
        for plan in crew.plans(None, Packing::Auto, 1) {
            let mut got = c.clone();
            gemm(T::from_f64(-0.3), a.view(), b.view(), T::ONE, got.view_mut(), &plan, &mut Scratch::new()).unwrap();
            assert_eq!(first_difference(want.view(), got.view()), None, "{} {m}x{n}x{k}", plan.isa);
        }
    }
    use Layout::*;
    one::<f32>(60, 196, 196, [Rows, Rows, Rows]);
    one::<f32>(60, 196, 196, [Rows, Columns, Rows]);
    one::<f32>(196, 196, 60, [Columns, Rows, Rows]);
    one::<f64>(60, 130, 131, [Rows, Rows, Columns]);
    one::<f32>(17, 33, 2600, [Rows, Rows, Rows]);
    one::<f64>(9, 17, 1300, [Columns, Columns, Spread]);
    one::<f32>(300, 3, 40, [Rows, Rows, Rows]);
}

/// Single-shot checks miss races: many calls on several threads, each compared.
#[test]
fn threads_never_race() {
    let ((m, n, k), rounds) = if cfg!(miri) { ((9, 20, 3), 4) } else { ((60, 120, 40), 5000) };
    let mut value = reals::<f32>(7);
    let a = Fenced::new((m, k), Layout::Rows, &mut value);
    let b = Fenced::new((k, n), Layout::Rows, &mut value);
    let mut want = Fenced::new((m, n), Layout::Rows, &mut value);
    reference::gemm(1.0, a.view(), b.view(), 0.0, want.view_mut());
    let crew = Crew::new(4);
    let mut scratch = Scratch::new();
    let mut got = want.clone();
    for (par, packing) in
        [(crew.shared(), Packing::Auto), (crew.team.clone(), Packing::Auto), (crew.team.clone(), Packing::Always)]
    {
        let plan = Plan::new().with_min_work(1).with_packing(packing).with_par(par.clone());
        for round in 0..rounds {
            got.data.fill(f32::NAN);
            gemm(1.0, a.view(), b.view(), 0.0, got.view_mut(), &plan, &mut scratch).unwrap();
            assert_eq!(first_difference(want.view(), got.view()), None, "{par:?} {packing:?}, round {round}");
        }
    }
}

/// Forcing an instruction set runs that one: the table row says so, and the rows differ.
#[test]
fn forced_instruction_sets_are_the_ones_that_run() {
    let mut names: Vec<String> = Isa::available()
        .map(|isa| {
            let name = Plan::new().with_isa(isa).kernel_name::<f32>();
            assert!(name.ends_with(isa.name()), "{name} for {isa}");
            name
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), Isa::available().count());
    // A machine that CI names for an instruction set must have it: `GAITPROP_EXPECT_ISA=avx512 cargo test` fails elsewhere.
    if let Ok(expected) = std::env::var("GAITPROP_EXPECT_ISA") {
        for name in expected.split(',') {
            Isa::named(name).unwrap();
        }
    }
}

#[test]
fn wrong_shapes_are_errors_and_write_nothing() {
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let (a, b) = ([1f32; 6], [1f32; 6]);
    let mut c = [7f32; 4];
    let a = MatRef::new(&a, 2, 3).unwrap();
    let bad = MatRef::new(&b, 2, 3).unwrap();
    let good = MatRef::new(&b, 3, 2).unwrap();
    let error = gemm(1.0, a, bad, 0.0, MatMut::new(&mut c, 2, 2).unwrap(), &plan, &mut scratch);
    assert!(matches!(error, Err(Error::Shape { what: "B of a product", .. })));
    let error = gemm(1.0, a, good, 0.0, MatMut::new(&mut c, 1, 4).unwrap(), &plan, &mut scratch);
    assert!(matches!(error, Err(Error::Shape { what: "C of a product", .. })));
    assert_eq!(c, [7.0; 4]);
}

/// The comparator itself: one wrong bit, one NaN and one wrong zero must each be seen.
#[test]
#[cfg_attr(miri, ignore = "is about the test")]
fn the_oracle_can_fail() {
    let mut value = reals::<f32>(3);
    let want = Fenced::new((4, 5), Layout::PaddedRows, &mut value);
    assert_eq!(first_difference(want.view(), want.view()), None);
    for (i, j, wrong) in [(3, 4, f32::NAN), (0, 0, 0.0), (2, 1, f32::from_bits(want.view().get(2, 1).to_bits() ^ 1))] {
        let mut got = want.clone();
        got.view_mut().set(i, j, wrong);
        assert!(first_difference(want.view(), got.view()).is_some());
    }
    // −0 is not 0 here.
    let zero = Fenced::new((1, 1), Layout::Rows, || 0f32);
    let negative = Fenced::new((1, 1), Layout::Rows, || -0f32);
    assert!(first_difference(zero.view(), negative.view()).is_some());
    let mut torn = want.clone();
    torn.data[0] = 1.0;
    assert!(want.fences_stand() && !torn.fences_stand());
}
