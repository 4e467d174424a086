//! GEMM equals the naive chain in every bit, on all instruction sets and with all blocks, layouts,
//! scalars and thread counts.

use crate::support::product::*;
use crate::support::*;
use gaitprop_kernels::{Isa, Packing, Par, Plan, Real, Scratch, gemm, reference};
use proptest::prelude::*;

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (size(), size(), size());
    (sizes, [any_layout(), any_layout(), any_layout()], (any_scalar(), any_scalar()), any::<u64>())
        .prop_map(|(shape, layouts, (alpha, beta), seed)| Case { shape, layouts, alpha, beta, seed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_the_chain_f32(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f32, _>(Fences, &case, plans))?;
    }

    #[test]
    fn equals_the_chain_f64(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f64, _>(Fences, &case, plans))?;
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

/// Many calls on several threads, each compared: one call seldom meets a race.
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

/// A plan runs the instruction set that it names: its tile says so, and the tiles differ.
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
    // A machine that CI names for an instruction set must have it: `GAITPROP_EXPECT_ISA=avx512
    // cargo test` fails elsewhere.
    if let Ok(expected) = std::env::var("GAITPROP_EXPECT_ISA") {
        for name in expected.split(',') {
            Isa::named(name).unwrap();
        }
    }
}
