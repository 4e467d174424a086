//! Every way through an inverse against the exact one: solutions, residuals, refusals, cost, and the same bits everywhere.

use crate::support::*;
use gaitprop::init::{self, Init};
use gaitprop::kernels::{Error as KernelError, Isa, MatMut, MatRef, Par, Plan, Real, Scratch, gemm};
use gaitprop::rng::Rng;
use gaitprop::solve::{Lu, Solve, Solver, SolverKind, Solves, Tuning, Weights};
use gaitprop::{Error, Exec, Matrix, Result};
use proptest::prelude::*;
use std::cell::Cell;

/// U diag(σ) Vᵀ with U and V Haar-orthogonal and σ from 1 down to 1/condition, geometrically.
fn conditioned(n: usize, condition: f64, seed: u64) -> Matrix<f64> {
    let plan = Plan::new();
    let [u, v] =
        [2 * seed, 2 * seed + 1].map(|s| init::weights::<f64>(Init::Orthogonal, n, n, &mut Rng::new(s, 3), &plan).unwrap());
    let mut left = u;
    for row in left.data_mut().chunks_exact_mut(n) {
        row.iter_mut().enumerate().for_each(|(k, x)| *x *= condition.powf(-(k as f64) / (n.max(2) - 1) as f64));
    }
    let mut w = Matrix::zeros(n, n);
    gemm(1.0, left.view(), v.view(), 0.0, w.view_mut(), &plan, &mut Scratch::new()).unwrap();
    w
}

fn normal(rows: usize, cols: usize, scale: f64, seed: u64) -> Matrix<f64> {
    let mut rng = Rng::new(seed, 2);
    matrix(rows, cols, &(0..rows * cols).map(|_| scale * rng.normal()).collect::<Vec<_>>())
}

/// Entries N(0, 1/n): condition of a few n.
fn gaussian(n: usize, seed: u64) -> Matrix<f64> {
    normal(n, n, (1.0 / n as f64).sqrt(), seed)
}

fn cast<T: Real>(m: &Matrix<f64>) -> Matrix<T> {
    matrix(m.rows(), m.cols(), m.data())
}

fn exact_kinds() -> impl Iterator<Item = SolverKind> {
    SolverKind::ALL.into_iter().filter(|kind| kind.is_exact())
}

fn all<T: Real>(tolerance: f64) -> Vec<Box<dyn Solver<T>>> {
    let tuning = Tuning::new(tolerance).unwrap();
    exact_kinds().map(|kind| kind.build(tuning).unwrap()).collect()
}

/// How often a stale inverse was made anew.
fn refreshes<T: Real>(stale: &dyn Solver<T>) -> u64 {
    stale.save(0).get("refreshes").unwrap()
}

fn solve<T: Real>(inverse: &mut dyn Solver<T>, w: &Matrix<T>, r: &Matrix<T>, plan: &Plan) -> Result<(Matrix<T>, Solve)> {
    let mut e = r.clone();
    let done = inverse.solve(weights(5, w.view()), e.view_mut(), &mut Exec::new(plan.clone()))?;
    Ok((e, done))
}

thread_local! {
    /// Version of the weights, the same for every solver of a test.
    static VERSION: Cell<u64> = const { Cell::new(0) };
}

/// The next solve is of other weights.
fn weights_changed() {
    VERSION.set(VERSION.get() + 1);
}

fn weights<T: Real>(layer: usize, w: MatRef<'_, T>) -> Weights<'_, T> {
    Weights { layer, version: VERSION.get(), w }
}

/// `A·B` (A m×k) by the kernels: thousands of products at 200 wide. The kernels' own tests hold them to
/// plain loops in every bit.
fn kernel_product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    let (a, b) = (MatRef::new(a, m, k).unwrap(), MatRef::new(b, k, n).unwrap());
    gemm(1.0, a, b, 0.0, MatMut::new(&mut c, m, n).unwrap(), &Plan::new(), &mut Scratch::new()).unwrap();
    c
}

/// ‖r − e W‖/‖r‖ in f64.
fn residual<T: Real>(w: &Matrix<T>, r: &Matrix<T>, e: &Matrix<T>) -> f64 {
    let (batch, n) = (r.rows(), r.cols());
    let back = kernel_product(&wide(e.data()), &wide(w.data()), batch, n, n);
    let rest: Vec<f64> = wide(r.data()).iter().zip(back).map(|(r, b)| r - b).collect();
    norm(&rest) / norm(&wide(r.data()))
}

/// ‖e − r W⁻¹‖/‖r W⁻¹‖, with the inverse in f64.
fn error<T: Real>(inverse: &[f64], r: &Matrix<T>, e: &Matrix<T>) -> f64 {
    let (batch, n) = (r.rows(), r.cols());
    let want = kernel_product(&wide(r.data()), inverse, batch, n, n);
    let off: Vec<f64> = wide(e.data()).iter().zip(&want).map(|(e, w)| e - w).collect();
    norm(&off) / norm(&want)
}

/// What is reported of a residual is what it is: to rounding, or to what an estimate from a few combinations can do.
fn honest<T: Real>(w: &Matrix<T>, r: &Matrix<T>, e: &Matrix<T>, done: &Solve) -> bool {
    let (said, is) = (done.residual, residual(w, r, e));
    // Rounding of the residual itself: chains of n links of terms of the size of |e||W|.
    let size = norm(&wide(e.data())) * norm(&wide(w.data())) / norm(&wide(r.data()));
    let slack = 4.0 * T::UNIT_ROUNDOFF * size;
    if done.sampled { said <= 3.0 * is + slack && is <= 3.0 * said + slack } else { (said - is).abs() <= slack }
}

/// Solves with everything that can, at a tolerance, and compares with the exact solution.
fn agree<T: Real>(name: &str, w: &Matrix<f64>, batch: usize, tolerance: f64, orthogonal: bool) {
    let plan = Plan::new();
    let w = cast::<T>(w);
    let exact = inverse(&wide(w.data()), w.rows());
    let condition = norm(&wide(w.data())) * norm(&exact);
    for mut strategy in all::<T>(tolerance) {
        let name = format!("{name} {} {} batch {batch} tolerance {tolerance:e}", T::NAME, strategy.name());
        // A second batch meets what the first left behind.
        for seed in [1, 2] {
            let r = cast::<T>(&normal(batch, w.rows(), 1.0, seed));
            match solve(&mut *strategy, &w, &r, &plan) {
                Err(Error::NotOrthogonal { layer: 5, residual }) if !orthogonal && strategy.name() == "transpose" => {
                    assert!(residual > tolerance, "{name}");
                }
                Err(other) => panic!("{name}: {other}"),
                Ok((e, done)) => {
                    let off = error(&exact, &r, &e);
                    println!(
                        "{name}: by {}, error {off:.1e}, residual {:.1e}, {:.2} products",
                        done.by, done.residual, done.products
                    );
                    // The tolerance, or what rounding leaves of it.
                    let floor = 8.0 * T::UNIT_ROUNDOFF * condition;
                    let within = if done.by == SolverKind::Lu { floor } else { tolerance + floor };
                    assert!(off <= within, "{name}: {off:e}");
                    assert!(honest(&w, &r, &e, &done), "{name}: {done:?}, but it is {:e}", residual(&w, &r, &e));
                    // The oracle: one wrong element, by as much as would matter.
                    let mut wrong = e.clone();
                    let size = norm(&wide(e.data()));
                    wrong.data_mut()[0] += T::from_f64(4.0 * (within + off) * size);
                    assert!(!(error(&exact, &r, &wrong) <= within), "{name}: the oracle sleeps");
                    wrong.data_mut()[0] = T::NAN;
                    assert!(!(error(&exact, &r, &wrong) <= within) && !honest(&w, &r, &wrong, &done), "{name}: NaN");
                }
            }
        }
    }
}

#[test]
fn solutions_are_exact_to_the_tolerance() {
    for n in [1, 2, 7, 64, 150] {
        for batch in [1, 5, 60] {
            let orthogonal = conditioned(n, 1.0, 1);
            let cases = [
                ("orthogonal", orthogonal.clone(), true),
                ("condition 1.1", conditioned(n, 1.1, 2), n == 1),
                ("condition 2.5", conditioned(n, 2.5, 3), n == 1),
                ("gaussian", gaussian(n, 4), false),
            ];
            for (name, w, orthogonal) in cases {
                for tolerance in [1e-2, 1e-3] {
                    agree::<f32>(name, &w, batch, tolerance, orthogonal);
                }
                for tolerance in [1e-3, 1e-9] {
                    agree::<f64>(name, &w, batch, tolerance, orthogonal);
                }
            }
        }
    }
}

/// Rows of any norms, which the published regulariser leaves free, cost conjugate gradients nothing; columns of any norms beside them little.
#[test]
fn scaled_rows_and_columns_cost_conjugate_gradients_little() {
    let n = 60;
    for (base, most) in [(1.0, 4.0), (3.0, 12.0)] {
        let mut w = conditioned(n, 1.0, 1);
        for (i, row) in w.data_mut().chunks_exact_mut(n).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, x)| *x *= 10f64.powi(i as i32 % 4) * f64::powi(base, j as i32 % 3));
        }
        let (w, r) = (cast::<f32>(&w), cast::<f32>(&normal(60, n, 1.0, 2)));
        let (e, done) = solve(&mut *SolverKind::Cg.build(Tuning::default()).unwrap(), &w, &r, &Plan::new()).unwrap();
        println!("{done:?}");
        assert_eq!(done.by, SolverKind::Cg);
        assert!(error(&inverse(&wide(w.data()), n), &r, &e) <= 1e-3 && done.products < most, "{done:?}");
    }
}

/// One direction that W all but annihilates, and of which the batch holds next to nothing, although its solution holds a lot.
#[test]
fn a_hidden_direction_is_found() {
    let n = 64;
    for small in [1e-3, 1e-4] {
        let plan = Plan::new();
        let u = init::weights::<f64>(Init::Orthogonal, n, n, &mut Rng::new(8, 0), &plan).unwrap();
        let mut w = u.clone();
        w.data_mut()[..n].iter_mut().for_each(|x| *x *= small);
        // e = noise + as much of the first unit: of r = e W it is the part `small`.
        let mut e = normal(60, n, 1.0, 3);
        e.data_mut().chunks_exact_mut(n).for_each(|row| row[0] = 8.0);
        let r = matrix::<f64>(60, n, &product(e.data(), w.data(), 60, n, n));
        let mut turned = Matrix::zeros(n, n);
        gemm(1.0, u.view(), w.view(), 0.0, turned.view_mut(), &plan, &mut Scratch::new()).unwrap();
        // W itself can be equilibrated; turned, no scaling of rows and columns helps.
        for w in [w, turned] {
            let exact = inverse(w.data(), n);
            for mut strategy in all::<f64>(1e-2) {
                match solve(&mut *strategy, &w, &r, &plan) {
                    Ok((found, done)) => {
                        let off = error(&exact, &r, &found);
                        println!("{small:e}: {} by {}: {off:.1e}", strategy.name(), done.by);
                        assert!(off <= 1e-2, "{}: {off:e}", strategy.name());
                    }
                    Err(Error::NotOrthogonal { .. }) => assert_eq!(strategy.name(), "transpose"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

/// Corrections show less of how W⁻¹ amplifies residuals than what it does to the last one: each of these once ended up to 7 % beyond its tolerance.
#[test]
fn conjugate_gradients_end_within_what_is_asked() {
    let part = |of: f64| 1.0 + of / 59.0;
    for (n, batch, condition, seed, tolerance) in [
        (7, 4, 1.585_390_604_349_232_3, 355, 1e-3),
        (5, 8, 20.0 / 11.0, 1036, 1e-3),
        (32, 4, 2.0, 2063, 1e-3),
        (36, 1, part(39.0), 4900, 1e-3),
        (9, 4, part(38.0), 3969, 1e-3),
        (22, 4, part(55.0), 6021, 1e-3),
        (20, 1, 2.0, 6344, 1e-2),
        (5, 2, part(29.0), 2970, 1e-2),
        (7, 2, 2.0, 5942, 1e-4),
    ] {
        let w = conditioned(n, condition, seed);
        let r = normal(batch, n, 1.0, seed);
        let mut strategy = SolverKind::Cg.build(Tuning::new(tolerance).unwrap()).unwrap();
        let (e, done) = solve(&mut *strategy, &w, &r, &Plan::new()).unwrap();
        let off = error(&inverse(w.data(), n), &r, &e);
        assert!(done.by == SolverKind::Cg && off <= tolerance, "{batch}×{n}, {condition}: {off:e} by {done:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any side, any batch, views in any layout.
    #[test]
    fn any_shape(n in 1usize..40, batch in 1usize..30, gap in 0usize..3, condition in 1.0f64..2.0, seed in 0u64..1000) {
        let w = conditioned(n, condition, seed);
        let exact = inverse(w.data(), n);
        let r = normal(batch, n, 1.0, seed);
        let plan = Plan::new();
        for kind in exact_kinds() {
            if kind == SolverKind::Transpose && condition > 1.0 {
                continue;
            }
            let build = || kind.build::<f64>(Tuning::default()).unwrap();
            let ld = n + gap;
            let mut room = vec![f64::NAN; batch * ld + 1];
            let mut out = MatMut::strided(&mut room, 0, (batch, n), (ld as isize, 1)).unwrap();
            (0..batch).for_each(|i| (0..n).for_each(|j| out.set(i, j, r.row(i)[j])));
            build().solve(weights(0, w.view()), out.rb(), &mut Exec::new(plan.clone())).unwrap();
            let e = matrix::<f64>(batch, n, &out.as_ref().to_vec());
            prop_assert!(error(&exact, &r, &e) <= 1e-3, "{kind}: {:e}", error(&exact, &r, &e));
            prop_assert!((0..batch).all(|i| room[i * ld + n..].iter().take(gap).all(|x| x.is_nan())), "wrote outside");
            // The layout is not seen in the result.
            let plain = solve(&mut *build(), &w, &r, &plan).unwrap().0;
            prop_assert_eq!(bits(plain.data()), bits(e.data()), "{}", kind);
            let mut columns = vec![0.0; batch * n];
            let mut turned = MatMut::strided(&mut columns, 0, (batch, n), (1, batch as isize)).unwrap();
            (0..batch).for_each(|i| (0..n).for_each(|j| turned.set(i, j, r.row(i)[j])));
            build().solve(weights(0, w.view()), turned.rb(), &mut Exec::new(plan.clone())).unwrap();
            prop_assert_eq!(bits(plain.data()), bits(&turned.as_ref().to_vec()), "{}", kind);
        }
    }
}

/// A zero row, a row twice, a NaN: an error of every strategy, the first time and when it had a good inverse before.
#[test]
fn singular_weights_are_refused_by_all() {
    fn refused<T: Real>() {
        let n = 40;
        let plan = Plan::new();
        let good = conditioned(n, 1.0, 1);
        let mut bad = [good.clone(), good.clone(), good.clone(), good.clone()];
        bad[0].data_mut()[3 * n..4 * n].fill(0.0);
        let row = bad[1].row(7).to_vec();
        bad[1].data_mut()[20 * n..21 * n].copy_from_slice(&row);
        bad[2].data_mut()[17] = f64::NAN;
        (0..n).for_each(|i| bad[3].data_mut()[i * n + 11] = 0.0);
        let r = cast::<T>(&normal(60, n, 1.0, 2));
        for (case, w) in bad.iter().enumerate() {
            let w = cast::<T>(w);
            for warm in [false, true] {
                for mut strategy in all::<T>(1e-3) {
                    let name = format!("{} {} case {case} warm {warm}", strategy.name(), T::NAME);
                    if warm {
                        solve(&mut *strategy, &cast::<T>(&good), &r, &plan).unwrap();
                        weights_changed();
                    }
                    for _ in 0..2 {
                        match solve(&mut *strategy, &w, &r, &plan) {
                            Err(Error::Singular { layer: 5, condition, precision }) => {
                                assert!(condition * T::UNIT_ROUNDOFF >= 0.1 && precision == T::NAME, "{name}: {condition:e}");
                            }
                            other => panic!("{name}: {:?}", other.map(|(_, done)| done)),
                        }
                    }
                    // What was refused leaves no trace.
                    weights_changed();
                    let (e, _) = solve(&mut *strategy, &cast::<T>(&good), &r, &plan).unwrap();
                    assert!(residual(&cast::<T>(&good), &r, &e) <= 2e-3, "{name}");
                }
            }
        }
    }
    refused::<f32>();
    refused::<f64>();
}

/// Factors after the first are vetted where something speaks for it: a small pivot, or a solution that grows. Each by itself, at any scale of the weights; and what is
/// only suspicious passes.
#[test]
fn weights_that_became_singular_are_noticed() {
    let (batch, plan) = (8, Plan::new());
    let warm_solve = |w: &Matrix<f64>, r: &Matrix<f64>| {
        let (n, mut lu) = (w.rows(), Lu::new());
        solve(&mut lu, &conditioned(n, 1.0, 1), &normal(batch, n, 1.0, 2), &plan).unwrap();
        weights_changed();
        // Twice: what was found out must hold.
        let first = solve(&mut lu, w, r, &plan).map(|(e, _)| e);
        let again = solve(&mut lu, w, r, &plan).map(|(e, _)| e);
        assert_eq!(first.is_ok(), again.is_ok());
        first
    };
    let refused = |outcome: Result<Matrix<f64>>| matches!(outcome, Err(Error::Singular { .. }));
    for scale in [1.0, 1e12, 1e-12] {
        // Nothing grows: the right-hand sides do not have the column that the small pivot divides.
        for (small, singular) in [(1e-20, true), (1e-13, false)] {
            let n = 30;
            let (mut w, mut r) = (Matrix::<f64>::zeros(n, n), normal(batch, n, scale, 3));
            w.data_mut().iter_mut().step_by(n + 1).for_each(|d| *d = scale);
            w.data_mut()[n * n - 1] = small * scale;
            r.data_mut().iter_mut().skip(n - 1).step_by(n).for_each(|v| *v = 0.0);
            assert_eq!(refused(warm_solve(&w, &r)), singular, "diagonal, {small:e}, scale {scale:e}");
        }
        // All pivots are alike: 1 on the diagonal, −1 above it, which doubles the solution from column to column.
        for (n, singular) in [(60, true), (40, false)] {
            let w: Vec<f64> = (0..n * n)
                .map(|k| match (k / n).cmp(&(k % n)) {
                    std::cmp::Ordering::Equal => scale,
                    std::cmp::Ordering::Less => -scale,
                    std::cmp::Ordering::Greater => 0.0,
                })
                .collect();
            let (w, r) = (matrix::<f64>(n, n, &w), normal(batch, n, scale, 3));
            let outcome = warm_solve(&w, &r);
            if let Ok(e) = &outcome {
                assert!(residual(&w, &r, e) < 1e-2);
            }
            assert_eq!(refused(outcome), singular, "triangle of {n}, scale {scale:e}");
        }
    }
}

/// Nothing to solve for, and errors that are no numbers.
#[test]
fn zero_and_nan_right_hand_sides() {
    let (n, plan) = (30, Plan::new());
    let w = cast::<f32>(&conditioned(n, 1.0, 1));
    for mut strategy in all::<f32>(1e-3) {
        let name = strategy.name();
        let (e, done) = solve(&mut *strategy, &w, &Matrix::zeros(60, n), &plan).unwrap();
        assert!(e.data().iter().all(|&x| x == 0.0) && done.residual == 0.0, "{name}");
        // Whoever was asked says so; of several it is one of them.
        assert!(done.by.name() == name || (name == "auto" && done.by != SolverKind::Auto), "{name}: {done:?}");
        // Samples without error are left alone.
        let mut r = cast::<f32>(&normal(60, n, 1.0, 2));
        r.data_mut()[..20 * n].fill(0.0);
        let (e, _) = solve(&mut *strategy, &w, &r, &plan).unwrap();
        assert!(e.data()[..20 * n].iter().all(|&x| x == 0.0), "{name}");
        assert!(residual(&w, &r, &e) <= 1e-3, "{name}");
        r.data_mut()[25 * n + 3] = f32::NAN;
        if let Ok((_, done)) = solve(&mut *strategy, &w, &r, &plan) {
            assert!(!(done.residual <= 1.0), "{name}: {done:?}");
        }
        // And none of it is remembered.
        let r = cast::<f32>(&normal(60, n, 1.0, 2));
        let (e, _) = solve(&mut *strategy, &w, &r, &plan).unwrap();
        assert!(residual(&w, &r, &e) <= 1e-3, "{name}");
    }
}

/// Weights that move by about 1 % in spectral norm a step, most of it in the same direction as in the last one, as an optimiser with momentum does.
struct Drift {
    w: Matrix<f64>,
    direction: Matrix<f64>,
    rng: Rng,
}

impl Drift {
    fn new(w: Matrix<f64>, seed: u64) -> Self {
        let direction = Matrix::zeros(w.rows(), w.cols());
        Self { w, direction, rng: Rng::new(seed, 4) }
    }
    fn step(&mut self) {
        let n = self.w.rows();
        // ‖·‖₂ of a matrix of normal deviates of size a is about 2 a √n.
        let size = 0.01 / (2.0 * (n as f64).sqrt());
        for (w, d) in self.w.data_mut().iter_mut().zip(self.direction.data_mut()) {
            *d = 0.9 * *d + (1.0f64 - 0.81).sqrt() * size * self.rng.normal();
            *w += *d;
        }
    }
    /// What a regulariser does: half-way back to the nearest orthogonal matrix.
    fn retract(&mut self, by: f64) {
        let n = self.w.rows();
        let mut gram = Matrix::zeros(n, n);
        let (plan, mut scratch) = (Plan::new(), Scratch::new());
        gemm(1.0, self.w.view(), self.w.view().t(), 0.0, gram.view_mut(), &plan, &mut scratch).unwrap();
        (0..n).for_each(|i| gram.data_mut()[i * n + i] -= 1.0);
        let copy = self.w.clone();
        gemm(-0.5 * by, gram.view(), copy.view(), 1.0, self.w.view_mut(), &plan, &mut scratch).unwrap();
    }
}

/// 200 steps: errors within the tolerance, refreshes and cost in the ranges that were studied.
#[test]
fn drifting_weights_cost_what_they_should() {
    let (n, batch, steps) = (200, 60, 200);
    let plan = Plan::new();
    println!("{:>20} {:>6} {:>10} {:>9} {:>9} {:>9}", "", "tol", "products", "worst", "mean", "inverses");
    for (regularised, by) in [(true, 0.2), (false, 0.0)] {
        let mut drift = Drift::new(conditioned(n, 1.0, 1), 2);
        let mut cases = [1e-2, 1e-3].map(|tolerance| {
            let tuning = Tuning { regularized: regularised, ..Tuning::new(tolerance).unwrap() };
            let whole = (SolverKind::Stale, Tuning { probes: 0, ..tuning });
            let built = [(SolverKind::Stale, tuning), whole, (SolverKind::Cg, tuning), (SolverKind::Auto, tuning)];
            (tolerance, built.map(|(kind, tuning)| kind.build::<f32>(tuning).unwrap()), [(0.0, 0.0f64, 0.0); 4])
        });
        for step in 0..steps {
            let w = cast::<f32>(&drift.w);
            let r = cast::<f32>(&normal(batch, n, 1.0, 100 + step));
            let exact = {
                let mut lu = Lu::new();
                solve(&mut lu, &cast::<f64>(&drift.w), &cast::<f64>(&matrix(batch, n, &wide(r.data()))), &plan).unwrap().0
            };
            for (tolerance, strategies, sums) in &mut cases {
                for (strategy, sum) in strategies.iter_mut().zip(sums) {
                    let (e, done) = solve(&mut **strategy, &w, &r, &plan).unwrap();
                    let off: Vec<f64> = wide(e.data()).iter().zip(exact.data()).map(|(a, b)| a - b).collect();
                    let off = norm(&off) / norm(exact.data());
                    assert!(off <= *tolerance, "{} step {step}: {off:e}", strategy.name());
                    assert!(honest(&w, &r, &e, &done), "{} step {step}: {done:?}", strategy.name());
                    *sum = (sum.0 + done.products, sum.1.max(off), sum.2 + off);
                    weights_changed();
                }
            }
            drift.step();
            drift.retract(by);
        }
        for (tolerance, strategies, sums) in cases {
            let inverses = refreshes(&*strategies[0]);
            let label = if regularised { "regularised" } else { "free" };
            let each = |sum: f64| sum / steps as f64;
            for (name, (products, worst, sum)) in ["stale", "all rows", "cg", "auto"].iter().zip(sums) {
                let (products, mean) = (each(products), each(sum));
                println!("{label:>11} {name:>8} {tolerance:>6.0e} {products:>10.2} {worst:>9.1e} {mean:>9.1e} {inverses:>9}");
            }
            // Right-hand sides are noise, in which there is the least to learn.
            let (most, refreshes) = if tolerance > 5e-3 { (4.5, 2..=12) } else { (5.5, 8..=30) };
            assert!(each(sums[0].0) <= most && refreshes.contains(&inverses), "{label} {tolerance:e}: {inverses}");
            // Looking at combinations of rows saves nearly a whole product, and stops no less safely.
            assert!(each(sums[0].0) < each(sums[1].0) - 0.5 && sums[0].1 <= tolerance);
            assert!(!regularised || each(sums[2].0) <= 4.0, "{:.2} products with conjugate gradients", each(sums[2].0));
        }
    }
}

/// Rows with small errors are not corrected, and the error stays within the tolerance all the same: also after a jump of the weights, which no earlier
/// solve could foresee, and at solves whose end is not looked at.
#[test]
fn rows_with_small_errors_are_left_as_they_are() {
    let (n, batch, steps, tolerance) = (200, 60, 80, 1e-2);
    let plan = Plan::new();
    let run = |spread: f64| {
        let mut stale = SolverKind::Stale.build::<f32>(Tuning::new(tolerance).unwrap()).unwrap();
        let mut drift = Drift::new(conditioned(n, 1.5, 1), 2);
        let (mut late, mut rng) = (0.0, Rng::new(5, 0));
        for step in 0..steps {
            let mut r = normal(batch, n, 1.0, 100 + step);
            r.data_mut().chunks_exact_mut(n).for_each(|row| {
                let size = (spread * rng.normal()).exp();
                row.iter_mut().for_each(|v| *v *= size);
            });
            let exact = solve(&mut Lu::new(), &drift.w, &r, &plan).unwrap().0;
            let (w, r) = (cast::<f32>(&drift.w), cast::<f32>(&r));
            let (e, done) = solve(&mut *stale, &w, &r, &plan).unwrap();
            let off: Vec<f64> = wide(e.data()).iter().zip(exact.data()).map(|(a, b)| a - b).collect();
            let off = norm(&off) / norm(exact.data());
            assert!(off <= tolerance, "spread {spread}, step {step}: {off:e}");
            assert!(honest(&w, &r, &e, &done), "spread {spread}, step {step}: {done:?}");
            late += if (20..60).contains(&step) { done.products } else { 0.0 };
            weights_changed();
            (0..if step > 60 && step % 5 == 0 { 15 } else { 1 }).for_each(|_| drift.step());
        }
        late / 40.0
    };
    let (even, uneven) = (run(0.0), run(1.5));
    println!("products a solve: rows alike {even:.2}, rows that differ {uneven:.2}");
    assert!(uneven < even - 0.4, "{uneven} and {even}");
}

/// Of right-hand sides with few columns as few rows go through: as exact, for less; what has no such shape goes as it is.
#[test]
fn few_columns_are_few_rows() {
    let (n, batch, tolerance) = (90, 40, 1e-3);
    let plan = Plan::new();
    let w = conditioned(n, 1.1, 7);
    let inverse = {
        let mut identity = Matrix::<f64>::zeros(n, n);
        identity.data_mut().iter_mut().step_by(n + 1).for_each(|d| *d = 1.0);
        solve(&mut Lu::new(), &w, &identity, &plan).unwrap().0
    };
    let dense = normal(batch, n, 1.0, 3);
    for kind in exact_kinds() {
        if kind == SolverKind::Transpose {
            continue;
        }
        let build = || kind.build::<f32>(Tuning::new(tolerance).unwrap()).unwrap();
        // The second of two: the first may make an inverse, whatever the batch.
        let cost = |r: &Matrix<f64>| {
            let mut strategy = build();
            [(); 2].map(|()| solve(&mut *strategy, &cast(&w), &cast(r), &plan).unwrap().1.products)[1]
        };
        for live in [1, 7, 20, 21, 60] {
            let mut r = dense.clone();
            // A column that is another one twice over, and one of zeros: fewer directions than columns.
            for row in r.data_mut().chunks_exact_mut(n) {
                row[live..].fill(0.0);
                if live == 7 {
                    (row[3], row[5]) = (2.0 * row[1], 0.0);
                }
            }
            let mut strategy = build();
            let (e, done) = solve(&mut *strategy, &cast(&w), &cast(&r), &plan).unwrap();
            let off = error(inverse.data(), &cast::<f32>(&r), &e);
            assert!(off <= tolerance, "{kind}, {live} columns: {off:e}");
            assert!(honest(&cast::<f32>(&w), &cast(&r), &e, &done), "{kind}, {live} columns: {done:?}");
            if live <= 7 && matches!(kind, SolverKind::Stale | SolverKind::Cg) {
                assert!(cost(&r) < 0.4 * cost(&dense), "{kind}, {live} columns: {} of {}", cost(&r), cost(&dense));
            }
        }
        // Factors that are there: r Wᵀ of the columns there are, two substitutions and a look, for as many rows as columns, and one product that makes all rows of them.
        if kind == SolverKind::Gram {
            for (live, few) in [(1, true), (7, true), (20, true), (21, false), (60, false)] {
                let mut r = dense.clone();
                r.data_mut().chunks_exact_mut(n).for_each(|row| row[live..].fill(0.0));
                let (solved, share) = (2.0 + live as f64 / n as f64, live as f64 / batch as f64);
                let want = if few { solved * share + live as f64 / n as f64 } else { solved };
                assert!((cost(&r) - want).abs() < 1e-12, "{live} columns: {}, not {want}", cost(&r));
            }
        }
        let mut r = dense.clone();
        r.data_mut().chunks_exact_mut(n).for_each(|row| row[4..].fill(0.0));
        r.data_mut()[1] = f64::NAN;
        let said = solve(&mut *build(), &cast(&w), &cast(&r), &plan);
        assert!(said.map_or(true, |(e, _)| wide(e.data()).iter().any(|v| v.is_nan())), "{kind}: a NaN was lost");
    }
}

/// Where right-hand sides keep to some directions, an inverse that learns them stays young without being made anew, and costs one product and a look.
#[test]
fn an_inverse_learns_where_right_hand_sides_have_been() {
    let (n, batch, steps) = (160, 60, 60);
    let plan = Plan::new();
    let run = |directions: usize| {
        let mut stale = SolverKind::Stale.build::<f32>(Tuning::new(3e-2).unwrap()).unwrap();
        let mut drift = Drift::new(conditioned(n, 2.0, 1), 2);
        let basis = normal(directions, n, 1.0, 8);
        let mut late = 0.0;
        for step in 0..steps {
            let coordinates = normal(batch, directions, 1.0, 100 + step);
            let r = matrix(batch, n, &product(coordinates.data(), basis.data(), batch, directions, n));
            let done = solve(&mut *stale, &cast(&drift.w), &r, &plan).unwrap().1;
            late += if step >= steps / 2 { done.products } else { 0.0 };
            weights_changed();
            drift.step();
        }
        (late / (steps / 2) as f64, refreshes(&*stale))
    };
    let (few, many) = (run(4), run(n));
    println!("4 directions: {few:?}; {n}: {many:?}");
    assert!(few.1 == 1 && few.0 < 1.6, "{few:?}");
    assert!(many.0 > few.0 + 1.0, "{many:?}");
}

/// Near orthogonality conjugate gradients, far from it a stale inverse, with weights that are new each time factors; and where factors are cheap, factors.
#[test]
fn auto_chooses_what_is_cheap() {
    let run = |n: usize, batch: usize, condition: f64, regularised: bool, jump: bool| {
        let tuning = Tuning { regularized: regularised, ..Tuning::default() };
        let mut strategy = SolverKind::Auto.build::<f32>(tuning).unwrap();
        let mut drift = Drift::new(conditioned(n, condition, 1), 2);
        let mut solves = Solves::default();
        for step in 0..100 {
            let w = if jump { gaussian(n, step) } else { drift.w.clone() };
            solves.add(solve(&mut *strategy, &cast(&w), &cast(&normal(batch, n, 1.0, step)), &Plan::new()).unwrap().1);
            weights_changed();
            drift.step();
            drift.retract(if regularised { 0.2 } else { 0.0 });
        }
        let counts = SolverKind::ALL.map(|kind| solves.by(kind));
        println!(
            "n {n} batch {batch} condition {condition} regularised {regularised} jump {jump}: {counts:?}, {:.2}",
            solves.products / 100.0
        );
        assert_eq!(counts.iter().sum::<u64>(), 100);
        move |kind: SolverKind| solves.by(kind)
    };
    assert!(run(320, 16, 1.0, true, false)(SolverKind::Cg) > 90);
    assert!(run(320, 16, 2.5, false, false)(SolverKind::Stale) > 90);
    assert!(run(320, 16, 2.5, false, true)(SolverKind::Lu) > 90);
    assert!(run(32, 60, 1.1, true, false)(SolverKind::Lu) > 90);
}

/// Threads and instruction sets change nothing: neither a bit of a solution nor a decision.
#[test]
fn same_bits_and_decisions_everywhere() {
    /// Weights and right-hand sides of each step.
    fn course() -> Vec<(Matrix<f64>, Matrix<f64>)> {
        let n = 130;
        let mut drift = Drift::new(conditioned(n, 1.0, 1), 2);
        let step = |step| {
            let seen = (drift.w.clone(), normal(17, n, 1.0, step));
            // Rather more at once now and then: refreshes.
            (0..=step).for_each(|_| drift.step());
            seen
        };
        (0..12).map(step).collect()
    }
    fn run<T: Real>(
        course: &[(Matrix<f64>, Matrix<f64>)],
        plan: &Plan,
        kind: SolverKind,
        regularised: bool,
    ) -> Vec<(Vec<u64>, SolverKind, u64)> {
        let tuning = Tuning { regularized: regularised, ..Tuning::new(1e-3).unwrap() };
        let mut strategy = kind.build::<T>(tuning).unwrap();
        let mut seen = Vec::new();
        for (w, r) in course {
            let (w, r) = (cast::<T>(w), cast::<T>(r));
            match solve(&mut *strategy, &w, &r, plan) {
                Ok((e, done)) => seen.push((bits(e.data()), done.by, done.products.to_bits())),
                Err(error) => {
                    assert!(matches!(error, Error::NotOrthogonal { .. }) && kind == SolverKind::Transpose, "{kind}: {error}");
                    seen.push((Vec::new(), kind, 0));
                }
            }
            weights_changed();
        }
        seen
    }
    fn everywhere<T: Real>() {
        let course = course();
        for kind in SolverKind::ALL {
            for regularised in [false, true] {
                let want = run::<T>(&course, &Plan::new().with_isa(Isa::PORTABLE), kind, regularised);
                for isa in Isa::available() {
                    for threads in 1..=4 {
                        let team = Par::team(threads).unwrap();
                        let mut plan = Plan::new().with_isa(isa).with_par(team.clone());
                        // Every product is shared out, however small.
                        plan.min_work = Some(1);
                        assert!(run::<T>(&course, &plan, kind, regularised) == want, "{kind} {isa} {threads} threads");
                    }
                }
                // The oracle sees one bit.
                let mut other = want.clone();
                if let Some(bit) = other.last_mut().and_then(|last| last.0.first_mut()) {
                    *bit ^= 1;
                    assert!(other != want);
                }
            }
        }
    }
    everywhere::<f32>();
    everywhere::<f64>();
}

/// A width that no memory holds is an error, not an abort: a checkpoint may be damaged.
#[test]
fn a_state_too_large_for_memory_is_refused() {
    for kind in [SolverKind::Stale, SolverKind::Gram] {
        let (n, mut solver) = (8, kind.build::<f32>(Tuning::default()).unwrap());
        let (w, r) = (cast::<f32>(&conditioned(n, 1.5, 3)), cast::<f32>(&normal(4, n, 1.0, 4)));
        solve(&mut *solver, &w, &r, &Plan::new()).unwrap();
        for (width, fits) in [(n as u64, true), (u64::from(u32::MAX), false), (u64::MAX / 8, false)] {
            let mut state = solver.save(VERSION.get());
            let mut layer = state.take_part("0");
            layer.put("n", width);
            state.put_part("0", layer);
            assert_eq!(solver.restore(state, VERSION.get()).is_ok(), fits, "{kind}, {width}");
            solver = kind.build(Tuning::default()).unwrap();
            solve(&mut *solver, &w, &r, &Plan::new()).unwrap();
        }
    }
}

/// A state of weights that have not changed since the last solve is one, too: a failed step changes none.
#[test]
fn strategies_go_on_with_the_same_weights() {
    let (plan, n, batch) = (Plan::new(), 40, 8);
    let (w, r) = (cast::<f32>(&conditioned(n, 1.5, 3)), cast::<f32>(&normal(batch, n, 1.0, 4)));
    for kind in [SolverKind::Stale, SolverKind::Cg] {
        let build = || kind.build::<f32>(Tuning::new(1e-3).unwrap()).unwrap();
        let (mut one, mut other) = (build(), build());
        solve(&mut *one, &w, &r, &plan).unwrap();
        other.restore(one.save(VERSION.get()), VERSION.get()).unwrap();
        for _ in 0..3 {
            let [(e, done), (f, again)] = [&mut one, &mut other].map(|by| solve(&mut **by, &w, &r, &plan).unwrap());
            assert_eq!((bits(e.data()), done), (bits(f.data()), again), "{kind}");
            assert_eq!(one.save(VERSION.get()), other.save(VERSION.get()), "{kind}");
            weights_changed();
        }
    }
}

/// What a strategy remembers is all that its later solves depend on: another one that takes it up gives the same bits and reports, and remembers the same.
#[test]
fn strategies_go_on_from_what_they_remember() {
    let (plan, n, batch) = (Plan::new(), 40, 8);
    for kind in exact_kinds() {
        let build = || kind.build::<f32>(Tuning::new(1e-3).unwrap()).unwrap();
        let mut whole = build();
        let mut taken_up: Vec<(usize, Box<dyn Solver<f32>>)> = Vec::new();
        let mut start = init::weights::<f64>(Init::Orthogonal, n, n, &mut Rng::new(8, 3), &plan).unwrap();
        for step in 0..24 {
            let w = cast::<f32>(&start);
            let r = cast::<f32>(&normal(batch, n, 1.0, 100 + step as u64));
            let want = solve(&mut *whole, &w, &r, &plan).unwrap();
            for (since, strategy) in &mut taken_up {
                let got = solve(&mut **strategy, &w, &r, &plan).unwrap();
                assert_eq!(bits(got.0.data()), bits(want.0.data()), "{kind} of step {since}, at {step}");
                assert_eq!(got.1, want.1, "{kind} of step {since}, at {step}");
            }
            weights_changed();
            let state = whole.save(VERSION.get());
            for (since, strategy) in &taken_up {
                assert_eq!(strategy.save(VERSION.get()), state, "{kind} of step {since}, at {step}");
            }
            if [0, 1, 5, 13].contains(&step) {
                let mut other = build();
                other.restore(state, VERSION.get()).unwrap();
                taken_up.push((step, other));
            }
            // The transpose knows orthogonal weights alone.
            if kind != SolverKind::Transpose {
                let drift = normal(n, n, 2e-3, step as u64);
                start.data_mut().iter_mut().zip(drift.data()).for_each(|(w, d)| *w += d);
            }
        }
    }
}

/// Only square weights have an inverse.
#[test]
fn weights_of_another_shape_are_refused_by_all() {
    for mut strategy in all::<f64>(1e-3) {
        for (rows, cols) in [(6, 5), (5, 6), (6, 6), (4, 4)] {
            let outcome = solve(&mut *strategy, &normal(rows, cols, 1.0, 1), &normal(3, 5, 1.0, 2), &Plan::new());
            assert!(
                matches!(outcome, Err(Error::Kernel(KernelError::Shape { .. }))),
                "{} {rows}x{cols}: {outcome:?}",
                strategy.name()
            );
        }
    }
}

/// The first product of conjugate gradients has no more columns than the right-hand sides; the combinations that watch over them have all.
#[test]
fn conjugate_gradients_count_the_columns_that_they_read() {
    let (n, batch, plan) = (40, 16, Plan::new());
    let w = conditioned(n, 1.05, 7);
    let cost = |live: usize| {
        let mut r = normal(batch, n, 1.0, 3);
        r.data_mut().chunks_exact_mut(n).for_each(|row| row[live..].fill(0.0));
        let mut strategy = SolverKind::Cg.build::<f64>(Tuning::new(1e-2).unwrap()).unwrap();
        // The second of two, that knows what the first has found out.
        let done = [(); 2].map(|()| solve(&mut *strategy, &w, &r, &plan).unwrap().1);
        assert_eq!(done[1].by, SolverKind::Cg);
        done[1].products
    };
    let [ten, twenty, all] = [10, 20, n].map(cost);
    assert!((twenty - ten - 10.0 / 40.0).abs() < 1e-12 && (all - ten - 30.0 / 40.0).abs() < 1e-12, "{ten}, {twenty}, {all}");
}

/// What an inverse costs, to the product: 8/3 n³ flops to make it, then one product and a look of two, at all rows or at combinations of them.
#[test]
fn inverses_cost_what_is_done() {
    let (n, batch, plan) = (30, 20, Plan::new());
    let (w, r) = (conditioned(n, 1.5, 7), normal(batch, n, 1.0, 3));
    for probes in [0, 4, 10, 11, 20] {
        let tuning = Tuning { probes, ..Tuning::new(1e-2).unwrap() };
        let mut stale = SolverKind::Stale.build::<f64>(tuning).unwrap();
        let seen = if (1..=10).contains(&probes) { probes as f64 / batch as f64 } else { 1.0 };
        for made in [4.0 / 3.0 * n as f64 / batch as f64, 0.0, 0.0] {
            let (_, done) = solve(&mut *stale, &w, &r, &plan).unwrap();
            assert!((done.products - (made + 1.0 + 2.0 * seen)).abs() < 1e-12, "{probes} combinations: {done:?}");
            assert_eq!((done.by, done.sampled, refreshes(&*stale)), (SolverKind::Stale, seen < 1.0, 1));
        }
    }
    // The transpose: two products, of two rows of noise besides, and two more for each correction.
    let mut transpose = SolverKind::Transpose.build::<f64>(Tuning::new(1e-2).unwrap()).unwrap();
    for (condition, corrections) in [(1.0, 0), (1.02, 1), (1.1, 2)] {
        let (_, done) = solve(&mut *transpose, &conditioned(n, condition, 7), &r, &plan).unwrap();
        let products = 2.0 * (1 + corrections) as f64 * (batch + 2) as f64 / batch as f64;
        assert!((done.products - products).abs() < 1e-12, "{condition}: {done:?}, not {products}");
    }
}

/// What a Gram matrix costs, to the product: n³ flops are one and a half of them here. Factors are made, vetted by a correction the first time, kept as long as the weights
/// stay, and noticed where they are of other weights.
#[test]
fn gram_solves_cost_what_is_done() {
    let (n, batch, plan) = (30, 10, Plan::new());
    let mut strategy = SolverKind::Gram.build::<f64>(Tuning::new(1e-3).unwrap()).unwrap();
    let _scratch = Scratch::new();
    let (first, second) = (conditioned(n, 2.0, 1), conditioned(n, 2.0, 2));
    let (factor, product) = (0.5, 1.5);
    // W Wᵀ and its factor; r Wᵀ and two substitutions, as dear as a product; a residual.
    let (made, solved, seen) = (product + factor, 2.0, 1.0);
    let corrected = 3.0;
    let mut check = |w: &Matrix<f64>, live: usize, changed: bool, want: f64, what: &str| {
        if changed {
            weights_changed();
        }
        let mut r = normal(batch, n, 1.0, 3);
        r.data_mut().chunks_exact_mut(n).for_each(|row| row[live..].fill(0.0));
        let mut e = r.clone();
        let done = strategy.solve(weights(2, w.view()), e.view_mut(), &mut Exec::new(plan.clone())).unwrap();
        assert!(done.by == SolverKind::Gram && (done.products - want).abs() < 1e-12, "{what}: {done:?}, not {want}");
        assert!(!done.sampled && residual(w, &r, &e) <= 1e-3, "{what}");
    };
    check(&first, n, false, made + solved + seen + corrected, "the first of all");
    check(&first, n, false, solved + seen, "the same weights again");
    check(&first, 12, false, solved + seen - 18.0 / 30.0, "few columns");
    check(&first, n, true, made + solved + seen, "weights that may have changed");
    check(&second, n, false, solved + seen + made + solved + seen, "other weights, without notice");
    // Too near singularity for W Wᵀ: LU does it, and the attempt is in the bill.
    let hard = conditioned(n, 1e9, 3);
    let r = normal(batch, n, 1.0, 3);
    let [tried, alone] = [SolverKind::Gram, SolverKind::Lu]
        .map(|kind| solve(&mut *kind.build::<f64>(Tuning::new(1e-3).unwrap()).unwrap(), &hard, &r, &plan).unwrap().1);
    assert!(tried.by == SolverKind::Lu && tried.products > alone.products + factor - 1e-12, "{tried:?}, {alone:?}");
}

/// What was tried in vain is in the bill.
#[test]
fn what_was_tried_is_counted() {
    let (n, plan) = (60, Plan::new());
    let w = conditioned(n, 1e6, 3);
    for (kind, batch, by) in
        [(SolverKind::Auto, 40, SolverKind::Lu), (SolverKind::Auto, 4, SolverKind::Stale), (SolverKind::Cg, 40, SolverKind::Lu)]
    {
        let r = normal(batch, n, 1.0, 1);
        let [tried, alone] = [kind, by].map(|kind| {
            let mut strategy = kind.build::<f64>(Tuning::new(1e-3).unwrap()).unwrap();
            solve(&mut *strategy, &w, &r, &plan).unwrap().1
        });
        assert_eq!(tried.by, by);
        // Conjugate gradients have made two products at least, of the batch and of what watches over it.
        assert!(tried.products > alone.products + 2.0 * (batch + 4) as f64 / batch as f64, "{kind}: {tried:?}, {alone:?}");
    }
}

#[test]
fn tolerances_and_names_are_checked() {
    for tolerance in [0.0, -1.0, 1.0, f64::NAN, f64::INFINITY] {
        assert!(Tuning::new(tolerance).is_err(), "{tolerance}");
        for kind in SolverKind::ALL {
            assert!(kind.build::<f32>(Tuning { tolerance, ..Tuning::default() }).is_err(), "{kind} {tolerance}");
        }
    }
    for kind in SolverKind::ALL {
        assert_eq!(kind.name().parse::<SolverKind>().unwrap(), kind);
        assert_eq!(kind.build::<f64>(Tuning::default()).unwrap().name(), kind.name());
    }
    assert!("qr".parse::<SolverKind>().is_err());
}
