//! The costs by which solvers are chosen (`src/solve/mod.rs`), on this machine, and the solvers'
//! products and updates on MNIST. `cargo bench --bench solve [-- --mnist FOLDER]`; for records.
#![allow(missing_docs)]

use gaitprop::data::{self, LoadOptions, Scaling};
use gaitprop::diagnostics::Alignment;
use gaitprop::init::{self, Init};
use gaitprop::kernels::syrk::{Diagonal, Part, syrk};
use gaitprop::kernels::{Par, Plan, Real, Scratch, cholesky, gemm, lu};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::ortho::Regularizer;
use gaitprop::rng::Rng;
use gaitprop::rule::Perturbed;
use gaitprop::solve::{Lu, Solve, SolverKind, Solves, Tuning, Weights};
use gaitprop::step::{Recipe, Step};
use gaitprop::{Architecture, Exec, Matrix, Network};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // `cargo test` runs benches too: one small size shows that they work.
    let sizes: &[usize] = if args.iter().any(|a| a == "--bench") { &[256, 784, 1024] } else { &[40] };
    if let Some(at) = args.iter().position(|a| a == "--mnist") {
        return mnist(args.get(at + 1).expect("--mnist FOLDER"));
    }
    let team = Par::team(2).unwrap();
    for par in [Par::Seq, team] {
        let plan = Plan::new().with_par(par);
        for &n in sizes {
            table::<f32>(n, &plan);
            table::<f64>(n, &plan);
        }
    }
}

fn normal<T: Real>(rows: usize, cols: usize, seed: u64) -> Matrix<T> {
    let mut rng = Rng::new(seed, 2);
    Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| T::from_f64(rng.normal())).collect()).unwrap()
}

/// Singular values from 1 down to 1/1.1: Haar-orthogonal, its rows scaled.
fn conditioned<T: Real>(n: usize) -> Matrix<T> {
    let mut w = init::weights::<T>(Init::Orthogonal, n, n, &mut Rng::new(2, 3), &Plan::new()).unwrap();
    for (i, row) in w.data_mut().chunks_exact_mut(n).enumerate() {
        let scale = T::from_f64(1.1f64.powf(-(i as f64) / (n.max(2) - 1) as f64));
        row.iter_mut().for_each(|x| *x *= scale);
    }
    w
}

fn wide<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| v.to_f64()).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Median seconds of some rounds.
fn best(rounds: usize, mut work: impl FnMut()) -> f64 {
    let times = (0..rounds).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

/// Time of the work behind each solver, per flop of a product of the size of the forward pass.
fn table<T: Real>(n: usize, plan: &Plan) {
    let mut scratch = Scratch::new();
    let (w, x) = (conditioned::<T>(n), normal::<T>(60, n, 2));
    let mut y = x.clone();
    let product = best(41, || gemm(T::ONE, x.view(), w.view(), T::ZERO, y.view_mut(), plan, &mut scratch).unwrap());
    let per_flop = product / (2.0 * 60.0 * (n * n) as f64);
    let units = |seconds: f64, flops: f64| seconds / flops / per_flop;
    let cube = (n * n * n) as f64;
    let mut a = w.clone();
    let mut pivots = vec![0; n];
    let factor = best(9, || {
        a.data_mut().copy_from_slice(w.data());
        lu::factor(a.view_mut(), &mut pivots, plan, &mut scratch).unwrap();
    });
    let substitution = best(21, || {
        y.data_mut().copy_from_slice(x.data());
        lu::solve_right(a.view(), &pivots, y.view_mut(), plan, &mut scratch).unwrap();
    });
    let mut m = w.clone();
    let invert = best(5, || {
        m.data_mut().fill(T::ZERO);
        (0..n).for_each(|i| m.data_mut()[i * n + i] = T::ONE);
        lu::solve_right(a.view(), &pivots, m.view_mut(), plan, &mut scratch).unwrap();
    });
    let mut c = w.clone();
    let square = best(5, || gemm(T::ONE, w.view(), m.view(), T::ZERO, c.view_mut(), plan, &mut scratch).unwrap());
    let mut gram = w.clone();
    let form = best(5, || {
        syrk(T::ONE, w.view(), T::ZERO, Part::Lower, Diagonal::Kept, gram.view_mut(), plan, &mut scratch).unwrap();
    });
    let mut l = gram.clone();
    let root = best(9, || {
        l.data_mut().copy_from_slice(gram.data());
        cholesky::factor(l.view_mut(), plan, &mut scratch).unwrap();
    });
    let back = best(21, || {
        y.data_mut().copy_from_slice(x.data());
        cholesky::solve(l.view(), y.view_mut().t(), plan, &mut scratch).unwrap();
    });
    let probe = normal::<T>(8, n, 2);
    let mut z = probe.clone();
    let look = best(41, || gemm(T::ONE, probe.view(), w.view(), T::ZERO, z.view_mut(), plan, &mut scratch).unwrap());
    let batch = 2.0 * 60.0 * (n * n) as f64;
    println!(
        "{} n {n} {} threads: product {:.0} µs; per flop of it: LU {:.2}, its solve {:.2}, its inverse {:.2}, n×n product {:.2}, SYRK {:.2}, Cholesky {:.2}, its solve {:.2}; 8 rows {:.2} products; C_LU {:.1}, C_Gram {:.1}",
        T::NAME,
        plan.par.threads(),
        1e6 * product,
        units(factor, 2.0 / 3.0 * cube),
        units(substitution, batch),
        units(invert, 2.0 * cube),
        units(square, 2.0 * cube),
        units(form, cube),
        units(root, cube / 3.0),
        units(back, batch),
        look / product,
        (factor + substitution) / product + 1.0,
        (root + back) / product + 2.0,
    );
    for kind in [SolverKind::Lu, SolverKind::Cg, SolverKind::Stale, SolverKind::Gram] {
        let mut solver = kind.build::<T>(Tuning::default()).unwrap();
        let (mut version, mut exec) = (0, Exec::new(plan.clone()));
        let mut done = Solve::default();
        let mut work = || {
            y.data_mut().copy_from_slice(x.data());
            done = solver.solve(Weights { layer: 0, version, w: w.view() }, y.view_mut(), &mut exec).unwrap();
            version += 1;
        };
        (0..3).for_each(|_| work());
        let time = best(15, work);
        println!("    {kind}: {:.2} products by its own account, {:.2} by the clock", done.products, time / product);
    }
}

/// Products and first-layer updates, 784 × 5, GAIT, batch 60.
fn mnist(folder: &str) {
    let (batch, steps) = (60, 200);
    let options = LoadOptions { limit_train: Some(batch * steps), ..LoadOptions::default() };
    let set = data::load(folder, &options).unwrap();
    let samples = set.apply::<f32>(&set.affine(Scaling::Unit)).unwrap().train;
    let team = Par::team(2).unwrap();
    let plan = Plan::new().with_par(team.clone());
    let shape = Architecture::square(784, 784, 4, 10).unwrap();
    let mut rule = Perturbed::gait(1e-3).unwrap();
    let mut exec = Exec::new(plan.clone());
    let settings = OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-4).unwrap();
    let data = |step: usize| {
        let (from, to) = (step * batch, (step + 1) * batch);
        let mut target = vec![0.0; batch * 10];
        data::one_hot(&samples.labels[from..to], 10, &mut target);
        let x = samples.x[from * 784..to * 784].to_vec();
        (Matrix::from_vec(batch, 784, x).unwrap(), Matrix::from_vec(batch, 10, target).unwrap())
    };
    for lambda in [0.1, 0.0] {
        let ortho = Regularizer::new(lambda).unwrap();
        let tunings = [1e-2, 1e-3].map(|t| Tuning { regularized: lambda > 0.0, ..Tuning::new(t).unwrap() });
        let mut runners = Vec::new();
        for kind in [SolverKind::Lu, SolverKind::Stale, SolverKind::Cg, SolverKind::Gram, SolverKind::Auto] {
            for tuning in tunings {
                if kind != SolverKind::Lu || tuning.tolerance == 1e-3 {
                    runners.push((kind, tuning, kind.build::<f32>(tuning).unwrap(), Solves::default(), (1.0f64, 0.0, 0.0f64)));
                }
            }
        }
        let mut net = Network::<f32>::random(&shape, Init::Orthogonal, 1, &plan).unwrap();
        let (mut own, mut other) = (Step::new(&net, batch), Step::new(&net, batch));
        let (mut exact, mut optimizer) = (Lu::new(), Optimizer::new(settings, &net));
        for step in 0..steps {
            let (x, t) = data(step);
            let mut bare = Recipe {
                rule: &mut rule,
                solver: &mut exact,
                loss: Loss::Squared,
                regularizer: Regularizer::NONE,
                exec: &mut exec,
            };
            own.gradients(&net, x.view(), t.view(), &mut bare).unwrap();
            for (_, _, solver, solves, worst) in &mut runners {
                let mut bare = Recipe {
                    rule: &mut rule,
                    solver: &mut **solver,
                    loss: Loss::Squared,
                    regularizer: Regularizer::NONE,
                    exec: &mut exec,
                };
                let report = other.gradients(&net, x.view(), t.view(), &mut bare).unwrap();
                solves.merge(&report.solves);
                let (a, b) = (other.gradients.weights(0).data(), own.gradients.weights(0).data());
                let cosine = Alignment::of(a, b, &plan).unwrap().cosine;
                let off: Vec<f64> = a.iter().zip(b).map(|(a, b)| f64::from(a - b)).collect();
                *worst = (worst.0.min(cosine), worst.1 + cosine / steps as f64, worst.2.max(norm(&off) / norm(&wide(b))));
            }
            let mut full =
                Recipe { rule: &mut rule, solver: &mut exact, loss: Loss::Squared, regularizer: ortho, exec: &mut exec };
            own.update(&mut net, x.view(), t.view(), &mut full, &mut optimizer).unwrap();
        }
        for (kind, tuning, _, solves, worst) in &runners {
            let per = |x: f64| x / (4 * steps) as f64;
            let by: Vec<String> =
                SolverKind::ALL.iter().filter(|k| solves.by(**k) > 0).map(|k| format!("{k} {}", solves.by(*k))).collect();
            println!(
                "λ {lambda} {kind:>6} {:>6.0e}: {:.2} products a solve; layer 1: cosine ≥ 1 − {:.1e}, mean 1 − {:.1e}, error ≤ {:.1e}; by {}",
                tuning.tolerance,
                per(solves.products),
                1.0 - worst.0,
                1.0 - worst.1,
                worst.2,
                by.join(" ")
            );
        }
        // On ways of their own, from the same start.
        for (kind, tuning) in [(SolverKind::Lu, tunings[1]), (SolverKind::Auto, tunings[0]), (SolverKind::Auto, tunings[1])] {
            let mut net = Network::<f32>::random(&shape, Init::Orthogonal, 1, &plan).unwrap();
            let mut optimizer = Optimizer::new(settings, &net);
            let mut solver = kind.build::<f32>(tuning).unwrap();
            let mut loss = 0.0;
            for step in 0..steps {
                let (x, t) = data(step);
                let mut full =
                    Recipe { rule: &mut rule, solver: &mut *solver, loss: Loss::Squared, regularizer: ortho, exec: &mut exec };
                let report = own.update(&mut net, x.view(), t.view(), &mut full, &mut optimizer).unwrap();
                loss += if step + 50 >= steps { report.score.mean_loss() / 50.0 } else { 0.0 };
            }
            println!("λ {lambda} {kind:>6} {:>6.0e}: loss of the last 50 of {steps} steps {loss:.5}", tuning.tolerance);
        }
    }
}
