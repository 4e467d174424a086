//! What keeps weights near orthogonal, against plain loops: bits where the order of operations is stated, computed bounds where it is not.

use crate::support::*;
use gaitprop::Exec;
use gaitprop::init::{self, Init};
use gaitprop::kernels::{Activation, Isa, MatMut, MatRef, Par, Plan, Real, Scalar, Scratch, reduce, reference};
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::ortho::{Block, Blocks, Cayley, Hold, HoldState, Penalty, Regularizer, Retraction, Retractor, Side};
use gaitprop::rng::Rng;
use gaitprop::rule::{Backprop, Perturbed, Rule};
use gaitprop::solve::{SolverKind, Tuning};
use gaitprop::step::Step;
use gaitprop::{Architecture, Error, Layer, Matrix, Network, data};
use proptest::prelude::*;

fn normal<T: Real>(rows: usize, cols: usize, scale: f64, seed: u64) -> Matrix<T> {
    let mut rng = Rng::new(seed, 0);
    matrix(rows, cols, &(0..rows * cols).map(|_| scale * rng.normal()).collect::<Vec<_>>())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Runs `what` with every instruction set and 1 to 4 threads, of which even the smallest product is worth one.
fn everywhere(mut what: impl FnMut(&Plan)) {
    let teams: Vec<Par> = (2..=4).map(|n| Par::team(n).unwrap()).collect();
    for isa in Isa::available() {
        for par in std::iter::once(Par::Seq).chain(teams.iter().cloned()) {
            let mut plan = Plan::new().with_isa(isa).with_par(par);
            plan.min_work = Some(1);
            what(&plan);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// The exact regulariser.

const FORMS: [Penalty; 2] = [Penalty::OffDiagonal, Penalty::Identity];
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
        *diagonal = if r.form == Penalty::OffDiagonal { T::ZERO } else { *diagonal - T::ONE };
    }
    reference::gemm(T::from_f64(-4.0 * r.lambda), gram.view(), w, T::ONE, delta);
}

fn by_symmetry<T: Real>(r: Regularizer, w: &Matrix<T>, delta: &mut Matrix<T>, plan: &Plan) {
    let n = w.rows().min(w.cols());
    // What is not written must not be read.
    let mut gram = Matrix::from_vec(n, n, vec![T::NAN; n * n]).unwrap();
    r.descend(w.view(), T::ONE, delta.view_mut(), gram.view_mut(), &mut Exec::new(plan.clone())).unwrap();
}

fn check_exact<T: Real>(rows: usize, cols: usize, lambda: f64, seed: u64, plan: &Plan) {
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
    #![proptest_config(cases(48))]

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
    assert_ne!(update(Regularizer { form: Penalty::Identity, ..r }, &w), want);
    assert_ne!(update(Regularizer { side: Side::Columns, ..r }, &w), want);
}

// ---------------------------------------------------------------------------------------------------------------------------
// The block regulariser.

/// One layer and nothing else.
fn single<T: Real>(w: Matrix<T>) -> Network<T> {
    let (inputs, width) = (w.rows(), w.cols());
    Network::new(inputs, vec![Layer { w, b: vec![T::ZERO; width], activation: Activation::Identity }], 1).unwrap()
}

fn weights<T: Real>(net: &Network<T>) -> &Matrix<T> {
    &net.layers()[0].w
}

/// Orthonormal on the shorter side, and a little noise.
fn near_orthogonal<T: Real>(rows: usize, cols: usize, noise: f64, seed: u64) -> Matrix<T> {
    let w = init::weights::<f64>(Init::Orthogonal, rows, cols, &mut Rng::new(seed, 2), &Plan::new()).unwrap();
    let noise = normal::<f64>(rows, cols, noise, seed + 1);
    matrix(rows, cols, &w.data().iter().zip(noise.data()).map(|(w, e)| w + e).collect::<Vec<_>>())
}

/// What a naive step may leave out, to see that it is missed.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    Halving,
    ZeroDiagonal,
    Norms,
    OldWeights,
}

/// The block step as its documentation says it, in plain loops; `turn` steps were taken before.
fn block_step<T: Real>(block: Block, w: &Matrix<T>, turn: usize, without: Without) -> Matrix<T> {
    let transposed = w.rows() > w.cols() || (w.rows() == w.cols() && block.side == Side::Columns);
    let v = if transposed { w.view().t() } else { w.view() };
    let (n, k) = v.shape();
    let v: Vec<Vec<T>> = (0..n).map(|i| (0..k).map(|j| v.get(i, j)).collect()).collect();
    let square = |row: &[T]| match transposed {
        false => {
            let row = MatRef::new(row, row.len(), 1).unwrap();
            reduce::dot(row, row, &Plan::new()).unwrap()
        }
        true => row.iter().fold(0.0, |sum, w| sum + w.to_f64() * w.to_f64()),
    };
    let blocks = n.div_ceil(block.rows);
    let first = (turn % blocks) * block.rows;
    let s = first..(first + block.rows).min(n);
    let mut new = v.clone();
    for i in s.clone() {
        let mut r = vec![T::ZERO; n];
        for j in 0..n {
            let mut acc = T::ZERO;
            for (a, b) in v[i].iter().zip(&v[j]) {
                acc = a.mul_add(*b, acc);
            }
            let half = if s.contains(&j) && without != Without::Halving { 0.5 } else { 1.0 };
            let square = if without == Without::Norms { 1.0 } else { square(&v[j]) };
            let c = T::from_f64(-block.mu / square * half);
            r[j] = if c.is_finite() { acc * c } else { T::ZERO };
            if i == j && without != Without::ZeroDiagonal {
                r[j] = T::ZERO;
            }
        }
        for p in 0..k {
            let mut acc = v[i][p];
            for j in 0..n {
                let from = if without == Without::OldWeights { &new[j] } else { &v[j] };
                acc = r[j].mul_add(from[p], acc);
            }
            new[i][p] = acc;
        }
    }
    let at = |i: usize, j: usize| if transposed { new[j][i] } else { new[i][j] };
    let data = (0..w.rows()).flat_map(|i| (0..w.cols()).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
    Matrix::from_vec(w.rows(), w.cols(), data).unwrap()
}

fn check_block<T: Real>(w: &Matrix<T>, block: Block, plan: &Plan) {
    let mut net = single(w.clone());
    let mut blocks = Blocks::new(block, &net).unwrap();
    let scratch = Scratch::new();
    let n = w.rows().min(w.cols());
    let mut held = None;
    // A whole cycle, and the start of the next.
    for turn in 0..n.div_ceil(block.rows) + 1 {
        let want = block_step(block, weights(&net), turn, Without::Nothing);
        assert_eq!(blocks.turn(), turn as u64);
        blocks.step(&mut net, &mut Exec::new(plan.clone())).unwrap();
        assert_eq!(bits(weights(&net).data()), bits(want.data()), "{}×{} {block:?} {}", w.rows(), w.cols(), T::NAME);
        assert_eq!(*held.get_or_insert(scratch.capacity()), scratch.capacity(), "packing memory grew after the first step");
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_block_step_has_the_bits_of_plain_loops(
        rows in 1usize..40, cols in 1usize..40, square: bool, size in 1usize..45, mu in 0.01f64..1.99, columns: bool, seed in 0u64..1 << 32,
    ) {
        let cols = if square { rows } else { cols };
        let side = if columns { Side::Columns } else { Side::Rows };
        let block = Block { rows: size, side, ..Block::new(mu).unwrap() };
        check_block::<f32>(&normal(rows, cols, 0.15, seed), block, &Plan::new());
        check_block::<f64>(&normal(rows, cols, 0.15, seed), block, &Plan::new());
    }

    /// Rows outside S keep every bit, each row has its turn once in a cycle, and nearly orthogonal rows come nearer with every step.
    #[test]
    fn every_row_has_its_turn_and_comes_nearer(
        n in 4usize..48, more in 0usize..9, tall: bool, size in 1usize..30, mu in 0.1f64..1.8, columns: bool, seed in 0u64..1 << 32,
    ) {
        let (rows, cols) = if tall { (n + more, n) } else { (n, n + more) };
        let side = if columns { Side::Columns } else { Side::Rows };
        let mut net = single(near_orthogonal::<f64>(rows, cols, 1e-3, seed));
        let block = Block { rows: size, side, ..Block::new(mu).unwrap() };
        let mut blocks = Blocks::new(block, &net).unwrap();
        let measure = Regularizer { side, ..Regularizer::new(1.0).unwrap() };
        let plan = Plan::new();
        let _scratch = Scratch::new();
        let transposed = rows > cols || (rows == cols && columns);
        let row = |w: &Matrix<f64>, i: usize| -> Vec<u64> {
            let v = if transposed { w.view().t() } else { w.view() };
            (0..v.ncols()).map(|j| v.get(i, j).bits()).collect()
        };
        let mut touched = vec![0; n];
        let mut distance = measure.norm(weights(&net).view(), &mut Exec::new(plan.clone())).unwrap();
        for turn in 0..n.div_ceil(size) {
            let before = weights(&net).clone();
            blocks.step(&mut net, &mut Exec::new(plan.clone())).unwrap();
            for (i, touched) in touched.iter_mut().enumerate() {
                if row(&before, i) != row(weights(&net), i) {
                    prop_assert!((turn * size..(turn + 1) * size).contains(&i), "row {} in turn {}", i, turn);
                    *touched += 1;
                }
            }
            let now = measure.norm(weights(&net).view(), &mut Exec::new(plan.clone())).unwrap();
            prop_assert!(now < distance, "{} after {}", now, distance);
            distance = now;
        }
        prop_assert!(touched.iter().all(|&t| t == 1), "{:?}", touched);
    }
}

#[test]
fn the_block_step_has_the_same_bits_everywhere() {
    for side in SIDES {
        for (rows, cols) in [(90, 90), (40, 75), (75, 40)] {
            let block = Block { rows: 32, side, ..Block::new(0.7).unwrap() };
            everywhere(|plan| {
                check_block::<f32>(&normal(rows, cols, 0.1, 5), block, plan);
                check_block::<f64>(&normal(rows, cols, 0.1, 5), block, plan);
            });
        }
    }
}

/// One wrong element, and each thing that could be forgotten.
#[test]
fn the_block_oracle_can_fail() {
    for side in SIDES {
        let block = Block { rows: 8, side, ..Block::new(0.5).unwrap() };
        let w = normal::<f32>(20, 20, 0.3, 1);
        let mut net = single(w.clone());
        Blocks::new(block, &net).unwrap().step(&mut net, &mut Exec::default()).unwrap();
        let got = bits(weights(&net).data());
        assert_eq!(got, bits(block_step(block, &w, 0, Without::Nothing).data()));
        for without in [Without::Halving, Without::ZeroDiagonal, Without::Norms, Without::OldWeights] {
            assert_ne!(got, bits(block_step(block, &w, 0, without).data()));
        }
        assert_ne!(got, bits(block_step(block, &w, 1, Without::Nothing).data()));
        let mut wrong = w.clone();
        wrong.data_mut()[19 * 20 + 19] *= 1.0 + f32::EPSILON;
        let other = block_step(block, &wrong, 0, Without::Nothing);
        let differ = |i: usize| other.data()[i].to_bits() as u64 != got[i];
        assert!((0..400).filter(|&i| i != 399).any(differ), "a wrong element outside S went unseen inside S");
    }
}

#[test]
fn the_block_regulariser_goes_on_where_it_was() {
    let (plan, _scratch) = (Plan::new(), Scratch::new());
    let block = Block { rows: 7, ..Block::new(0.5).unwrap() };
    let mut whole = single(normal::<f32>(30, 30, 0.2, 3));
    let mut blocks = Blocks::new(block, &whole).unwrap();
    let mut halves = whole.clone();
    (0..9).for_each(|_| blocks.step(&mut whole, &mut Exec::new(plan.clone())).unwrap());
    let mut turn = 0;
    for steps in [4, 5] {
        let mut blocks = Blocks::new(block, &halves).unwrap();
        blocks.set_turn(turn);
        (0..steps).for_each(|_| blocks.step(&mut halves, &mut Exec::new(plan.clone())).unwrap());
        turn = blocks.turn();
    }
    assert_eq!(bits(weights(&whole).data()), bits(weights(&halves).data()));
}

#[test]
fn odd_weights_of_the_block_regulariser() {
    let (plan, _scratch) = (Plan::new(), Scratch::new());
    // A row of norm 0 pushes nothing, and is not pushed.
    let mut w = normal::<f32>(12, 12, 0.3, 1);
    w.data_mut()[36..48].fill(0.0);
    let mut net = single(w);
    Blocks::new(Block::new(0.5).unwrap(), &net).unwrap().step(&mut net, &mut Exec::new(plan.clone())).unwrap();
    assert!(weights(&net).data().iter().all(|w| w.is_finite()));
    assert!(weights(&net).row(3).iter().all(|&w| w == 0.0));
    // What is not finite is an error, and changes nothing.
    let mut w = normal::<f32>(12, 12, 0.3, 1);
    w.data_mut()[5] = f32::INFINITY;
    let mut net = single(w.clone());
    let error = Blocks::new(Block::new(0.5).unwrap(), &net).unwrap().step(&mut net, &mut Exec::new(plan.clone())).unwrap_err();
    assert!(matches!(error, Error::Diverged { layer: 0, step: 1, .. }), "{error}");
    assert_eq!(bits(weights(&net).data()), bits(w.data()));
    // μ = 0 is none; a network that it was not made for, and settings out of range, are errors.
    let mut blocks = Blocks::new(Block::new(0.0).unwrap(), &net).unwrap();
    blocks.step(&mut net, &mut Exec::new(plan.clone())).unwrap();
    assert_eq!(bits(weights(&net).data()), bits(w.data()));
    let mut larger = single(normal::<f32>(100, 100, 0.1, 1));
    assert!(Blocks::new(Block::new(0.5).unwrap(), &net).unwrap().step(&mut larger, &mut Exec::new(plan.clone())).is_err());
    // Each of its memories may be what is too small: for pushed rows, for their products, for norms. None is where all are just large enough.
    for (rows, made_for, given, fits) in [
        (4, (8, 8), (8, 9), false),
        (4, (4, 40), (8, 8), false),
        (1, (2, 90), (9, 9), false),
        (4, (8, 9), (9, 8), true),
        (4, (8, 9), (5, 9), true),
    ] {
        let block = Block { rows, ..Block::new(0.5).unwrap() };
        let mut net = single(normal::<f32>(given.0, given.1, 0.1, 1));
        let made = Blocks::new(block, &single(normal::<f32>(made_for.0, made_for.1, 0.1, 1)));
        let outcome = made.unwrap().step(&mut net, &mut Exec::new(plan.clone()));
        let (rows, room) = (rows.min(given.0.min(given.1)), rows.min(made_for.0.min(made_for.1)) * made_for.0.max(made_for.1));
        match outcome {
            Ok(()) => assert!(fits, "{made_for:?}, {given:?}"),
            Err(Error::Kernel(gaitprop::kernels::Error::Shape { expected, found, .. })) => {
                assert!(!fits, "{made_for:?}, {given:?}");
                assert_eq!((expected, found), ((rows, room / rows), (rows, given.0.max(given.1))));
            }
            other => panic!("{other:?}"),
        }
    }
    for mu in [-0.1, 2.0, f64::NAN, f64::INFINITY] {
        assert!(Block::new(mu).unwrap_err().to_string().contains("mu is"), "{mu}");
    }
    assert!(Block { rows: 0, ..Block::new(0.5).unwrap() }.check().is_err());
}

// ---------------------------------------------------------------------------------------------------------------------------
// Retraction.

/// ‖W Wᵀ − I‖ (Frobenius) on the shorter side, in f64.
fn distance<T: Real>(w: &Matrix<T>) -> f64 {
    let w: Matrix<f64> = matrix(w.rows(), w.cols(), &wide(w.data()));
    let identity = Regularizer { form: Penalty::Identity, ..Regularizer::new(1.0).unwrap() };
    identity.norm(w.view(), &mut Exec::default()).unwrap()
}

fn retracted<T: Real>(w: &Matrix<T>, tolerance: f64, plan: &Plan) -> gaitprop::Result<Matrix<T>> {
    let mut w = w.clone();
    let settings = Retraction { tolerance, ..Retraction::new(1).unwrap() };
    let outcome = Retractor::new(settings, &single(w.clone())).unwrap().retract(3, &mut w, &mut Exec::new(plan.clone()));
    outcome.map(|_| w)
}

/// From near, from far, from much too large and much too small: the polar factor, known by `W Qᵀ` being symmetric (with W = P Q, it is P).
#[test]
fn retraction_finds_the_nearest_orthogonal_weights() {
    for (rows, cols) in [(1, 1), (24, 24), (20, 33), (33, 20)] {
        for (noise, scale) in [(1e-3, 1.0), (0.05, 1.0), (0.3, 1.0), (0.05, 30.0), (0.05, 1e-2)] {
            let w = near_orthogonal::<f64>(rows, cols, noise, 7);
            let w = matrix::<f64>(rows, cols, &w.data().iter().map(|w| scale * w).collect::<Vec<_>>());
            let q = retracted(&w, 1e-9, &Plan::new()).unwrap();
            assert!(distance(&q) <= 1e-9, "{rows}×{cols} noise {noise} scale {scale}: {:e}", distance(&q));
            let (w, q) = if rows > cols { (w.view().t(), q.view().t()) } else { (w.view(), q.view()) };
            let n = w.nrows();
            let mut p = Matrix::<f64>::zeros(n, n);
            reference::gemm(1.0, w, q.t(), 0.0, p.view_mut());
            for i in 0..n {
                for j in 0..n {
                    let skew = p.view().get(i, j) - p.view().get(j, i);
                    assert!(skew.abs() <= 1e-8 * scale, "{rows}×{cols} noise {noise} scale {scale}: {skew:e}");
                }
            }
        }
    }
}

#[test]
fn one_iteration_suffices_near_orthogonal_weights() {
    // ‖E‖ about 0.1 and, after one iteration, below 1e-2; in f32 as in f64.
    let w = near_orthogonal::<f32>(64, 64, 1e-3, 5);
    assert!((0.05..0.2).contains(&distance(&w)), "{}", distance(&w));
    let mut once = w.clone();
    let w_then = w.view();
    let r = Regularizer { form: Penalty::Identity, ..Regularizer::new(0.125).unwrap() };
    let mut gram = Matrix::zeros(64, 64);
    r.descend(w_then, 1.0, once.view_mut(), gram.view_mut(), &mut Exec::default()).unwrap();
    let q = retracted(&w, Retraction::TOLERANCE, &Plan::new()).unwrap();
    assert_eq!(bits(q.data()), bits(once.data()), "W − ½ (W Wᵀ − I) W");
    assert!(distance(&q) <= Retraction::TOLERANCE);
    // To rounding, if it is asked for.
    let floor = 64.0 * f64::from(f32::EPSILON);
    assert!(distance(&retracted(&w, floor, &Plan::new()).unwrap()) <= floor);
}

/// Work space may lie in memory as it likes, whichever side is regularised.
#[test]
fn the_gram_matrix_may_have_any_strides() {
    for (rows, cols, side) in [(7, 5, Side::Rows), (5, 7, Side::Columns), (6, 6, Side::Columns), (5, 7, Side::Rows)] {
        let w = near_orthogonal::<f64>(rows, cols, 0.1, 3);
        let r = Regularizer { side, ..Regularizer::new(0.3).unwrap() };
        let n = rows.min(cols);
        let descended = [false, true].map(|columns| {
            let (mut delta, mut gram) = (w.clone(), vec![f64::NAN; 2 * n * n]);
            let gram = if columns {
                MatMut::strided(&mut gram, 0, (n, n), (2, 2 * n as isize)).unwrap()
            } else {
                MatMut::new(&mut gram[..n * n], n, n).unwrap()
            };
            r.descend(w.view(), 1.0, delta.view_mut(), gram, &mut Exec::default()).unwrap();
            bits(delta.data())
        });
        assert_ne!(descended[0], bits(w.data()));
        assert_eq!(descended[0], descended[1], "{rows}×{cols} {side:?}");
    }
}

#[test]
fn weights_too_far_from_orthogonal_are_named_and_kept() {
    let mut singular = near_orthogonal::<f64>(16, 16, 0.01, 1);
    let (first, second) = singular.data_mut().split_at_mut(16);
    second[..16].copy_from_slice(first);
    let mut broken = near_orthogonal::<f64>(16, 16, 0.01, 1);
    broken.data_mut()[3] = f64::NAN;
    for w in [singular, broken, Matrix::zeros(16, 16)] {
        let mut now = w.clone();
        let mut retractor = Retractor::new(Retraction::new(1).unwrap(), &single(w.clone())).unwrap();
        let error = retractor.retract(3, &mut now, &mut Exec::default()).unwrap_err();
        assert!(matches!(error, Error::TooFar { layer: 3, .. }), "{error}");
        assert!(error.to_string().contains("layer 3"), "{error}");
        assert_eq!(bits(now.data()), bits(w.data()));
    }
    assert!(Retraction::new(0).is_err());
    for tolerance in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
        assert!(Retraction { tolerance, ..Retraction::new(1).unwrap() }.check().is_err(), "{tolerance}");
    }
    // Memory for one network does not do for another: too few elements, or too few products of rows.
    for (made_for, given, fits) in
        [((4, 9), (6, 6), false), ((6, 6), (4, 10), false), ((6, 6), (4, 9), true), ((4, 9), (9, 4), true)]
    {
        let mut w = near_orthogonal::<f64>(given.0, given.1, 1e-3, 2);
        let made_for = single(near_orthogonal::<f64>(made_for.0, made_for.1, 1e-3, 2));
        let outcome = Retractor::new(Retraction::new(1).unwrap(), &made_for).unwrap().retract(0, &mut w, &mut Exec::default());
        assert_eq!(outcome.is_ok(), fits, "{given:?}: {outcome:?}");
    }
}

/// One weight w below 1: ‖E‖ = 1 − w², and an iteration leaves ¾ ‖E‖² + ¼ ‖E‖³. It is the last one where that is within the tolerance, and what was measured before it is
/// what is told.
#[test]
fn retraction_ends_with_the_iteration_that_suffices() {
    let told = |e: f64, tolerance: f64| {
        let mut w = matrix::<f64>(1, 1, &[f64::sqrt(1.0 - e)]);
        let settings = Retraction { tolerance, ..Retraction::new(1).unwrap() };
        let told = Retractor::new(settings, &single(w.clone())).unwrap().retract(0, &mut w, &mut Exec::default()).unwrap();
        (told, distance(&w))
    };
    let left = |e: f64| 0.75 * e * e + 0.25 * e * e * e;
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    // Enough at once, and after one iteration; after one and not without the cube; twice.
    for (e, tolerance, iterations) in
        [(0.5, 0.6, 0), (0.75, 0.6, 1), (0.8, 0.6, 2), (0.9, 0.7, 2), (0.2, 0.033, 1), (0.2, 0.0315, 2)]
    {
        let (told, now) = told(e, tolerance);
        let (want_told, want_now) = match iterations {
            0 => (e, e),
            1 => (e, left(e)),
            _ => (left(e), left(left(e))),
        };
        assert!(
            near(told, want_told) && near(now, want_now),
            "{e} {tolerance}: told {told}, is {now}; not {want_told}, {want_now}"
        );
    }
}

/// What holds weights counts and works as what it is made of.
#[test]
fn holders_count_and_work_as_what_they_hold() {
    let (plan, _scratch) = (Plan::new(), Scratch::new());
    let start = single(near_orthogonal::<f32>(12, 12, 0.02, 4));
    let (block, retraction) = (Block { rows: 5, ..Block::new(0.5).unwrap() }, Retraction::new(3).unwrap());
    let mut blocks = Blocks::new(block, &start).unwrap();
    let mut retractor = Retractor::new(retraction, &start).unwrap();
    blocks.set_turn(2);
    retractor.set_steps(2);
    let [mut pushed, mut retracted] = [start.clone(), start.clone()];
    blocks.step(&mut pushed, &mut Exec::new(plan.clone())).unwrap();
    retractor.step(&mut retracted, &mut Exec::new(plan.clone())).unwrap();
    for (hold, want, steps) in [
        (Hold::Block(block), &pushed, 3),
        (Hold::Retract(retraction), &retracted, 3),
        (Hold::Free, &start, 0),
        (Hold::Cayley, &start, 0),
    ] {
        let (mut net, mut holder) = (start.clone(), HoldState::new(hold, &start, 4).unwrap());
        assert_eq!(holder.steps(), 0);
        holder.set_steps(2);
        holder.after_step(&mut net, &mut Exec::new(plan.clone())).unwrap();
        assert_eq!(holder.steps(), steps, "{hold:?}");
        assert_eq!(bits(weights(&net).data()), bits(weights(want).data()), "{hold:?}");
    }
    assert!(bits(weights(&pushed).data()) != bits(weights(&start).data()));
    assert!(bits(weights(&retracted).data()) != bits(weights(&start).data()));
}

#[test]
fn retraction_waits_for_its_step_and_has_the_same_bits_everywhere() {
    let w = near_orthogonal::<f32>(70, 45, 0.02, 9);
    let want = bits(retracted(&w, 1e-2, &Plan::new()).unwrap().data());
    everywhere(|plan| assert_eq!(bits(retracted(&w, 1e-2, plan).unwrap().data()), want));
    let mut net = single(w.clone());
    let mut retractor = Retractor::new(Retraction::new(3).unwrap(), &net).unwrap();
    retractor.set_steps(1);
    for step in 2..=3 {
        assert_eq!(bits(weights(&net).data()), bits(w.data()));
        retractor.step(&mut net, &mut Exec::default()).unwrap();
        assert_eq!(retractor.steps(), step);
    }
    assert_eq!(bits(weights(&net).data()), want);
}

// ---------------------------------------------------------------------------------------------------------------------------
// Rotations.

fn close(got: &[f64], want: &[f64], bound: f64) -> bool {
    got.iter().zip(want).all(|(g, w)| (g - w).abs() <= bound)
}

/// `(I − η/2 A)⁻¹ (I + η/2 A) W` with `A = Δ Wᵀ − W Δᵀ`, `Δ = yᵀ x / B`, and the inverse formed by elimination; turned from the longer side.
fn rotated(w: &Matrix<f64>, y: &Matrix<f64>, x: &Matrix<f64>, rate: f64) -> Matrix<f64> {
    if w.cols() > w.rows() {
        let transpose = |m: &Matrix<f64>| Matrix::from_vec(m.cols(), m.rows(), m.view().t().to_vec()).unwrap();
        return transpose(&rotated(&transpose(w), x, y, rate));
    }
    let ((p, q), batch) = ((w.rows(), w.cols()), y.rows());
    let delta = product(&y.view().t().to_vec(), x.data(), p, batch, q);
    let across = product(&delta, &w.view().t().to_vec(), p, q, p);
    let a = |i: usize, j: usize| rate / 2.0 * (across[i * p + j] - across[j * p + i]) / batch as f64;
    let with = |sign: f64| -> Vec<f64> { (0..p * p).map(|k| f64::from(k / p == k % p) + sign * a(k / p, k % p)).collect() };
    let q_matrix = product(&inverse(&with(-1.0), p), &with(1.0), p, p, p);
    matrix(p, q, &product(&q_matrix, w.data(), p, p, q))
}

fn turned<T: Real>(w: &Matrix<f64>, y: &Matrix<f64>, x: &Matrix<f64>, rate: f64, plan: &Plan) -> Matrix<T> {
    let cast = |m: &Matrix<f64>| matrix::<T>(m.rows(), m.cols(), m.data());
    let (w, y, x) = (cast(w), cast(y), cast(x));
    let mut cayley = Cayley::new(&single(w.clone()), y.rows());
    cayley.turn(0, &w, y.view(), x.view(), rate, &mut Exec::new(plan.clone())).unwrap();
    cayley.next()[0].clone()
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn rotations_are_cayley_transforms(
        rows in 1usize..24, cols in 1usize..24, batch in 0usize..14, rate in 0.01f64..3.0, seed in 0u64..1 << 32,
    ) {
        let w = near_orthogonal::<f64>(rows, cols, 0.0, seed);
        let (y, x) = (normal::<f64>(batch, rows, 1.0, seed + 5), normal::<f64>(batch, cols, 0.3, seed + 6));
        let want = if batch == 0 { w.clone() } else { rotated(&w, &y, &x, rate) };
        let narrow = turned::<f32>(&w, &y, &x, rate, &Plan::new());
        prop_assert!(close(turned::<f64>(&w, &y, &x, rate, &Plan::new()).data(), want.data(), 1e-11));
        prop_assert!(close(&wide(narrow.data()), want.data(), 2e-4));
    }
}

#[test]
fn batches_and_layers_that_a_rotation_is_not_for_are_named() {
    let (w, _scratch) = (near_orthogonal::<f64>(6, 6, 0.0, 1), Scratch::new());
    let mut cayley = Cayley::new(&single(w.clone()), 4);
    let (few, many) = (normal::<f64>(4, 6, 1.0, 2), normal::<f64>(5, 6, 1.0, 2));
    for (layer, y, found) in [(0, &many, (5, 0)), (1, &few, (4, 1))] {
        match cayley.turn(layer, &w, y.view(), y.view(), 0.1, &mut Exec::default()) {
            Err(Error::Kernel(gaitprop::kernels::Error::Shape { expected: (4, 1), found: is, .. })) => assert_eq!(is, found),
            other => panic!("{other:?}"),
        }
    }
    cayley.turn(0, &w, few.view(), few.view(), 0.1, &mut Exec::default()).unwrap();
}

/// The oracle sees the wrong direction, another length, a missing term, and one wrong element.
#[test]
fn the_oracle_of_rotations_can_fail() {
    let w = near_orthogonal::<f64>(12, 12, 0.0, 1);
    let (y, x) = (normal::<f64>(5, 12, 1.0, 5), normal::<f64>(5, 12, 0.3, 6));
    let got = turned::<f64>(&w, &y, &x, 0.5, &Plan::new());
    assert!(close(got.data(), rotated(&w, &y, &x, 0.5).data(), 1e-12));
    for rate in [-0.5, 0.5 + 1e-9] {
        assert!(!close(got.data(), rotated(&w, &y, &x, rate).data(), 1e-12));
    }
    let mut other = x.clone();
    other.data_mut()[7] += 1e-9;
    assert!(!close(got.data(), rotated(&w, &y, &other, 0.5).data(), 1e-12));
    // A step along the gradient itself is not a rotation.
    let mut plain = w.clone();
    reference::gemm(0.1, y.view().t(), x.view(), 1.0, plain.view_mut());
    assert!(!close(got.data(), plain.data(), 1e-3));
    assert!(distance(&got) < 1e-13 && distance(&plain) > 0.1);
}

/// Trains for `steps` steps on the embedded digits by rotations, and calls `watch` after some of them with the step and the batch that comes next.
fn rotate<T: Real>(
    layers: &[usize],
    steps: usize,
    rate: f64,
    gamma: f64,
    plan: &Plan,
    mut watch: impl FnMut(usize, &Network<T>, &Batch<T>),
) -> Network<T> {
    let digits = data::load("digits", &Default::default()).unwrap();
    let ready = digits.prepare::<T>(data::Scaling::Unit).unwrap();
    let shape = Architecture::widths(64, layers, 10).unwrap();
    let mut net = Network::<T>::random(&shape, Init::Orthogonal, 1, plan).unwrap();
    let mut kit = Kit::new(Perturbed::gait(gamma).unwrap(), plan);
    let mut optimizer = Optimizer::new(OptimizerConfig::new(OptimizerKind::Sgd, rate).unwrap(), &net);
    let (mut work, mut cayley) = (Step::new(&net, 20), Cayley::new(&net, 20));
    let batch = |step: usize| {
        let first = 20 * (step % (ready.train.len / 20));
        let x = Matrix::from_vec(20, 64, ready.train.x[first * 64..][..20 * 64].to_vec()).unwrap();
        let mut target = Matrix::zeros(20, 10);
        data::one_hot(&ready.train.labels[first..][..20], 10, target.data_mut());
        Batch { x, target }
    };
    for step in 0..steps {
        let b = batch(step);
        kit.solver = SolverKind::Transpose.build(Tuning::default()).unwrap();
        work.rotate(&mut net, b.x.view(), b.target.view(), &mut kit.recipe(), &mut optimizer, &mut cayley).unwrap();
        if (step + 1).is_power_of_two() || step + 1 == steps {
            watch(step + 1, &net, &batch(step + 1));
        }
    }
    net
}

/// A thousand steps later W is orthogonal to rounding, so that its inverse is its transpose and GAIT-prop is backpropagation.
fn stays_orthogonal<T: Real>(layers: &[usize], steps: usize) {
    let plan = Plan::new();
    let mut losses = Vec::new();
    rotate::<T>(layers, steps, 0.1, 0.0, &plan, |step, net, batch| {
        let mut work = [Step::new(net, 20), Step::new(net, 20)];
        let rules: [Box<dyn Rule<T>>; 2] = [Box::new(Backprop), Box::new(Perturbed::gait(0.0).unwrap())];
        for (rule, work) in rules.into_iter().zip(&mut work) {
            work.gradients(net, batch.x.view(), batch.target.view(), &mut Kit::boxed(rule, &plan).recipe())
                .map(|r| losses.push(r.score.mean_loss()))
                .unwrap();
        }
        let per = (step as f64).sqrt() * T::UNIT_ROUNDOFF;
        for (l, layer) in net.layers().iter().enumerate() {
            let n = layer.fan_in().min(layer.width()) as f64;
            let drift = distance(&layer.w) / n.sqrt();
            let differ = relative(&wide(work[1].gradients.weights(l).data()), &wide(work[0].gradients.weights(l).data()));
            println!("{} {step:5} layer {l}: drift {drift:.1e} ({:.2} u √t)   GAIT − BP {differ:.1e}", T::NAME, drift / per);
            assert!(drift <= 1.5 * per + 4.0 * T::UNIT_ROUNDOFF, "layer {l} after {step} steps: {drift:e}");
            assert!(differ <= 10.0 * per + 40.0 * T::UNIT_ROUNDOFF, "layer {l} after {step} steps: {differ:e}");
        }
    });
    println!("loss {:.4} to {:.4}", losses[0], losses[losses.len() - 1]);
    assert!(losses[losses.len() - 1] < 0.7 * losses[0], "it learned nothing: {losses:?}");
}

#[test]
fn rotations_keep_weights_orthogonal_and_gait_equal_to_backpropagation() {
    stays_orthogonal::<f32>(&[64, 64, 64], 1000);
    stays_orthogonal::<f64>(&[64, 64, 64], 250);
    // A first layer of either shape.
    stays_orthogonal::<f32>(&[96, 96], 1000);
    stays_orthogonal::<f32>(&[40, 40], 1000);
}

#[test]
fn rotations_have_the_same_bits_everywhere() {
    let run = |plan: &Plan| -> Vec<u64> {
        let net = rotate::<f32>(&[80, 80], 3, 0.1, 1e-3, plan, |_, _, _| ());
        net.layers().iter().flat_map(|l| [bits(l.w.data()), bits(&l.b)].concat()).collect()
    };
    let want = run(&Plan::new());
    everywhere(|plan| assert_eq!(run(plan), want, "{plan:?}"));
}

#[test]
fn a_failed_rotation_changes_nothing() {
    let plan = Plan::new();
    let shape = Architecture::square(8, 8, 1, 3).unwrap();
    let start = Network::<f32>::random(&shape, Init::Orthogonal, 1, &plan).unwrap();
    let mut x = normal::<f32>(4, 8, 1.0, 1);
    let target = Matrix::zeros(4, 3);
    let step = |x: &Matrix<f32>, lambda: f64, optimiser: OptimizerKind| {
        let mut net = start.clone();
        let mut optimizer = Optimizer::new(OptimizerConfig::new(optimiser, 0.1).unwrap(), &net);
        let (mut work, mut cayley) = (Step::new(&net, 4), Cayley::new(&net, 4));
        let mut kit = Kit::new(Backprop, &plan).regularized(lambda);
        let outcome = work.rotate(&mut net, x.view(), target.view(), &mut kit.recipe(), &mut optimizer, &mut cayley);
        outcome.map(|_| net.clone()).inspect_err(|_| assert!(net == start, "a weight has changed"))
    };
    assert!(step(&x, 0.0, OptimizerKind::Sgd).unwrap() != start);
    let error = step(&x, 0.0, OptimizerKind::Adam).unwrap_err().to_string();
    assert!(error.contains("must be sgd") && error.contains("adam"), "{error}");
    let error = step(&x, 0.1, OptimizerKind::Sgd).unwrap_err().to_string();
    assert!(error.contains("lambda is 0.1"), "{error}");
    x.data_mut()[3] = f32::NAN;
    assert!(step(&x, 0.0, OptimizerKind::Sgd).is_err());
    x.data_mut()[3] = 3e38;
    let error = step(&x, 0.0, OptimizerKind::Sgd).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 1, .. }), "{error}");
}
