//! Fused products equal their separate steps in every bit: each start, each epilogue.

use crate::support::fused::*;
use crate::support::*;
use gaitprop_kernels::{Activation, Blocking, Epilogue, Isa, MatMut, MatRef, Plan, Scratch, Start, Update, gemm_with};
use proptest::prelude::*;
use proptest::sample::select;

fn cases() -> impl Strategy<Value = Case> {
    let layouts = (any_layout(), any_layout(), select(&ROW_LAYOUTS[..]));
    let kinds = (select(&ACTIVATIONS[..]), select(&RIGHTS[..]), select(&BEGINS[..]), select(&ENDS[..]));
    let alpha = prop_oneof![Just(1.0), Just(-1.0), -2.0..2.0];
    ((size(), size(), size()), layouts, kinds, alpha, any::<u64>()).prop_map(
        |(shape, (a, b, rows), (activation, right, begin, end), alpha, seed)| Case {
            shape,
            a,
            b,
            rows,
            activation,
            right,
            begin,
            end,
            alpha,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fused_is_unfused_f32(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f32, _>(Fences, &case, plans))?;
    }

    #[test]
    fn fused_is_unfused_f64(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f64, _>(Fences, &case, plans))?;
    }
}

/// Each update of one row of `n` parameters, with a chain of one link and blocks of 1.
fn updates_of_one_row(n: usize, threads: usize) {
    for end in [End::Adam, End::Momentum, End::Descend, End::ScaleColumns] {
        let case = Case {
            shape: (1, n, 1),
            a: Layout::Rows,
            b: Layout::Rows,
            rows: Layout::Rows,
            activation: Activation::Identity,
            right: Right::View,
            begin: Begin::Zero,
            end,
            alpha: 1.0,
            seed: 0,
        };
        let ways = Ways { blocking: Some(Blocking::new(1, 1, 1, 1).unwrap()), ..Ways::usual(threads) };
        ways.all(|plans| check::<f32, _>(Fences, &case, plans)).unwrap();
        ways.all(|plans| check::<f64, _>(Fences, &case, plans)).unwrap();
    }
}

/// Found by a property test, with Adam.
#[test]
fn updates_of_33_parameters_in_blocks_of_one() {
    updates_of_one_row(33, 2);
}

/// Found by a property test, with Adam.
#[test]
fn updates_of_25_parameters_in_blocks_of_one() {
    updates_of_one_row(25, 3);
}

/// A fused update reports a parameter that leaves the finite numbers, in the first vector or in the
/// last, which is not full.
#[test]
fn parameters_beyond_the_finite_are_reported() {
    for isa in Isa::available() {
        for bad in [None, Some(0), Some(30)] {
            let (mut a, b) = (vec![0f64; 31], [1f64]);
            if let Some(bad) = bad {
                a[bad] = f64::MAX;
            }
            let (rows, one) = (MatRef::new(&b, 1, 1).unwrap(), MatRef::new(&a, 1, 31).unwrap());
            let updates = [Update::Descend { rate: 1.0 }, Update::ScaleColumns { factors: &[1.0; 31] }];
            for (update, name) in updates.into_iter().zip(["descend", "scale columns"]) {
                let mut theta = vec![f64::MAX / 2.0; 31];
                let c = MatMut::new(&mut theta, 1, 31).unwrap();
                let plan = Plan::new().with_isa(isa);
                let finite = gemm_with(1.0, rows, one, Start::Zero, c, Epilogue::Update(update), &plan, &mut Scratch::new());
                assert_eq!(finite, Ok(bad.is_none()), "{name} {isa} {bad:?}");
            }
        }
    }
}
