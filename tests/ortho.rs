//! What keeps weights near orthogonal, against plain loops: bits where the order of operations is stated, computed bounds where it is not.
#![allow(missing_docs)]

mod support;

use gaitprop::Matrix;
use gaitprop::kernels::{Isa, Par, Plan, Real, Scratch, Team, reference};
use gaitprop::ortho::{Form, Regularizer, Side};
use gaitprop::rng::Rng;
use proptest::prelude::*;
use support::*;

fn normal<T: Real>(rows: usize, cols: usize, scale: f64, seed: u64) -> Matrix<T> {
    let mut rng = Rng::new(seed, 0);
    matrix(rows, cols, &(0..rows * cols).map(|_| scale * rng.normal()).collect::<Vec<_>>())
}

/// Runs `what` with every instruction set and 1 to 4 threads, of which even the smallest product is worth one.
fn everywhere(mut what: impl FnMut(&Plan<'_>)) {
    let teams: Vec<Team> = (2..=4).map(|n| Team::new(n).unwrap()).collect();
    for isa in Isa::available() {
        for par in std::iter::once(Par::Seq).chain(teams.iter().map(Par::Team)) {
            let mut plan = Plan::new().with_isa(isa).with_par(par);
            plan.min_work = Some(1);
            what(&plan);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// The exact regulariser.

const FORMS: [Form; 2] = [Form::OffDiagonal, Form::Identity];
const SIDES: [Side; 2] = [Side::Rows, Side::Columns];

/// The gradient as it stands on paper, by two whole products in naive loops.
fn on_paper<T: Real>(r: Regularizer, w: &Matrix<T>, delta: &mut Matrix<T>) {
    let transposed = w.rows() > w.cols() || (w.rows() == w.cols() && r.side == Side::Columns);
    let (w, delta) = if transposed { (w.view().t(), delta.view_mut().t()) } else { (w.view(), delta.view_mut()) };
    let n = w.nrows();
    let mut gram = Matrix::<T>::zeros(n, n);
    reference::gemm(T::ONE, w, w.t(), T::ZERO, gram.view_mut());
    for i in 0..n {
        let diagonal = &mut gram.data_mut()[i * n + i];
        *diagonal = if r.form == Form::OffDiagonal { T::ZERO } else { *diagonal - T::ONE };
    }
    reference::gemm(T::from_f64(-4.0 * r.lambda), gram.view(), w, T::ONE, delta);
}

fn by_symmetry<T: Real>(r: Regularizer, w: &Matrix<T>, delta: &mut Matrix<T>, plan: &Plan<'_>) {
    let n = w.rows().min(w.cols());
    // What is not written must not be read.
    let mut gram = Matrix::from_vec(n, n, vec![T::NAN; n * n]).unwrap();
    r.descend(w.view(), T::ONE, delta.view_mut(), gram.view_mut(), plan, &mut Scratch::new()).unwrap();
}

fn check_exact<T: Real>(rows: usize, cols: usize, lambda: f64, seed: u64, plan: &Plan<'_>) {
    for form in FORMS {
        for side in SIDES {
            let r = Regularizer { form, side, ..Regularizer::new(lambda).unwrap() };
            let w = normal::<T>(rows, cols, 0.3, seed);
            let start = normal::<T>(rows, cols, 1.0, seed + 1);
            let (mut got, mut want) = (start.clone(), start.clone());
            by_symmetry(r, &w, &mut got, plan);
            on_paper(r, &w, &mut want);
            assert_eq!(bits(got.data()), bits(want.data()), "{rows}×{cols} {form} {side} {}", T::NAME);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_exact_regulariser_has_the_bits_of_two_products(
        rows in 1usize..70, cols in 1usize..70, square: bool, lambda in 0.001f64..10.0, seed in 0u64..1 << 32,
    ) {
        let cols = if square { rows } else { cols };
        check_exact::<f32>(rows, cols, lambda, seed, &Plan::new());
        check_exact::<f64>(rows, cols, lambda, seed, &Plan::new());
    }
}

#[test]
fn the_exact_regulariser_has_the_same_bits_everywhere() {
    for (rows, cols) in [(97, 97), (40, 75), (75, 40)] {
        everywhere(|plan| {
            check_exact::<f32>(rows, cols, 0.1, 5, plan);
            check_exact::<f64>(rows, cols, 0.1, 5, plan);
        });
    }
}

/// The oracle sees one wrong element of W, the other form, the other side.
#[test]
fn the_exact_oracle_can_fail() {
    let r = Regularizer::new(0.1).unwrap();
    let w = normal::<f32>(20, 20, 0.3, 1);
    let update = |r: Regularizer, w: &Matrix<f32>| {
        let mut delta = Matrix::zeros(20, 20);
        by_symmetry(r, w, &mut delta, &Plan::new());
        bits(delta.data())
    };
    let mut want = Matrix::zeros(20, 20);
    on_paper(r, &w, &mut want);
    let want = bits(want.data());
    assert_eq!(update(r, &w), want);
    let mut wrong = w.clone();
    wrong.data_mut()[207] *= 1.0 + f32::EPSILON;
    assert_ne!(update(r, &wrong), want);
    assert_ne!(update(Regularizer { form: Form::Identity, ..r }, &w), want);
    assert_ne!(update(Regularizer { side: Side::Columns, ..r }, &w), want);
}
