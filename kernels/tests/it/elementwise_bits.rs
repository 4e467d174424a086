//! Kernels of elements and reductions give the bits of plain loops, on every instruction set and in
//! every layout.

use crate::support::elementwise::*;
use crate::support::*;
use gaitprop_kernels::epilogue::{AdamStep, adam, descend, momentum};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, perturb};
use gaitprop_kernels::{Activation, Error, Isa};
use proptest::prelude::*;

fn any_activation() -> impl Strategy<Value = Activation> {
    let slope = proptest::sample::select(vec![0.01, 0.1, 0.3, 0.5, 1.0, 2.0]);
    prop_oneof![1 => Just(Activation::Identity), 3 => slope.prop_map(|slope| Activation::LeakyRelu { slope }), 2 => Just(Activation::Tanh)]
}

fn any_perturbation() -> impl Strategy<Value = Perturbation> {
    let scale = proptest::sample::select(vec![1.0, 0.1, 1e-3, 1e-9, 1e-60, 0.0]).prop_map(Scale::Finite);
    let scale = prop_oneof![4 => scale, 1 => Just(Scale::Limit)];
    let weighting = proptest::sample::select(vec![Weighting::SlopeSquared, Weighting::Plain]);
    (any_activation(), weighting, scale).prop_map(|(activation, weighting, scale)| Perturbation { activation, weighting, scale })
}

fn shape() -> impl Strategy<Value = (usize, usize)> {
    (0usize..7, prop_oneof![3 => 0usize..36, 1 => 60usize..70])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn perturbations_and_weighted_errors(p in any_perturbation(), shape in shape(), seed: u64,
        layouts in [any_layout(), any_layout(), any_layout(), any_layout(), any_layout()])
    {
        check_perturb::<f32, _>(Fences, p, shape, layouts, seed).map_err(TestCaseError::fail)?;
        check_perturb::<f64, _>(Fences, p, shape, layouts, seed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn bias_and_activation(activation in any_activation(), shape in shape(), layouts in [any_layout(), any_layout()], seed: u64) {
        check_activate::<f32, _>(Fences, activation, shape, layouts, seed).map_err(TestCaseError::fail)?;
        check_activate::<f64, _>(Fences, activation, shape, layouts, seed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn optimizers(len in 0usize..140, steps in 1u32..4, seed: u64) {
        check_optimizers::<f32, _>(Fences, len, steps, seed).map_err(TestCaseError::fail)?;
        check_optimizers::<f64, _>(Fences, len, steps, seed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn means_of_columns(rows in 0usize..100, cols in 0usize..20, layout in any_layout(), seed: u64) {
        check_means::<f32, _>(Fences, (rows, cols), layout, seed).map_err(TestCaseError::fail)?;
        check_means::<f64, _>(Fences, (rows, cols), layout, seed).map_err(TestCaseError::fail)?;
    }
}

/// The error names the first unit outside the range, row by row, whatever the instruction set and
/// the layout.
#[test]
fn the_unit_outside_is_the_same_everywhere() {
    let p = Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Finite(1.0) };
    let shape = (5, 37);
    for layout in LAYOUTS {
        let y = Fenced::new(shape, layout, || 0.5f32);
        let slope = Fenced::new(shape, layout, || 0.75f32);
        for outside in [vec![(0, 0)], vec![(4, 36)], vec![(1, 33), (2, 0)], vec![(3, 5), (3, 4), (4, 0)]] {
            let mut e = Fenced::new(shape, layout, || 0.25f32);
            for &(i, j) in &outside {
                e.view_mut().set(i, j, 0.75);
            }
            let (row, col) = *outside.iter().min().unwrap();
            for isa in Isa::available() {
                let (mut r, mut x) = (Fenced::new(shape, layout, || f32::NAN), Fenced::new(shape, layout, || f32::NAN));
                let result = perturb(p, y.view(), Some(slope.view()), e.view(), r.view_mut(), x.view_mut(), isa);
                assert_eq!(result, Err(Error::Domain { row, col }), "{isa} {layout:?}");
                assert!(r.fences_stand() && x.fences_stand());
            }
        }
    }
}

/// Every optimizer reports a parameter that leaves the finite numbers, in any lane of a vector.
#[test]
fn parameters_beyond_the_finite_are_reported() {
    let step = AdamStep { rate: 1e38f32, beta1: (0.9, 0.1), beta2: (0.99, 0.01), epsilon: 1e-8, correction: 1.0 };
    for isa in Isa::available() {
        for len in [1, 7, 16, 33] {
            for at in 0..len {
                for (broken, delta) in [(f32::MAX, 1.0), (f32::NAN, 0.0), (f32::INFINITY, 0.0)] {
                    let mut start = vec![0.0; len];
                    start[at] = broken;
                    let mut deltas = vec![0.0; len];
                    deltas[at] = delta;
                    let zeros = vec![0f32; len];
                    assert!(!adam(step, &mut start.clone(), &mut zeros.clone(), &mut zeros.clone(), &deltas, isa).unwrap());
                    assert!(!momentum(1e38, 0.9, &mut start.clone(), &mut zeros.clone(), &deltas, isa).unwrap());
                    assert!(!descend(1e38, &mut start.clone(), &deltas, isa).unwrap());
                }
            }
        }
    }
}
