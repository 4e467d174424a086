//! Every kernel at the sizes of training, a group an operation. `cargo bench --bench kernels [-- GROUP]`
//!
//! Beside other people's libraries: `cargo bench -p gaitprop-peers`.
#![allow(missing_docs)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gaitprop::kernels::epilogue::AdamStep;
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting, perturb};
use gaitprop::kernels::symm::symm;
use gaitprop::kernels::syrk::{Diagonal, Part, syrk};
use gaitprop::kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop::kernels::{
    Activation, Backend, BatchMut, BatchRef, Epilogue, Isa, MatMut, MatRef, Orientation, PackedRhs, Par, Plan, Scratch, Start,
    Update, cholesky, gemm, gemm_batched, gemm_with, lu,
};
use gaitprop::rng::Rng;

const WIDTH: usize = 784;
const BATCH: usize = 60;
const UNIT: Activation = Activation::LeakyRelu { slope: 0.1 };

/// Random normal operands: zeros would flatter, subnormal numbers slander.
fn operand(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0);
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn view(data: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::new(data, rows, cols).expect("sized")
}

fn view_mut(data: &mut [f32], rows: usize, cols: usize) -> MatMut<'_, f32> {
    MatMut::new(data, rows, cols).expect("sized")
}

/// On the diagonal 2 and more, off it of size 1/√n: well conditioned. Its lower triangle, mirrored, is positive definite.
fn dominant(n: usize) -> Vec<f32> {
    let scale = 0.25 / (n as f32).sqrt();
    let diagonal = |at: usize| at.is_multiple_of(n + 1);
    operand(n * n, 7).iter().enumerate().map(|(at, v)| if diagonal(at) { 2.0 + v.abs() } else { v * scale }).collect()
}

/// One group: `each` registers its functions for one thread and for two. Elements are flops: the report's Gelem/s are GFLOP/s.
fn group(c: &mut Criterion, name: &str, flops: usize, mut each: impl FnMut(&mut BenchmarkGroup<'_, WallTime>, Plan)) {
    let team = Par::team(2).expect("two threads");
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(flops as u64));
    for par in [Par::Seq, team.clone()] {
        each(&mut group, Plan::new().with_par(par));
    }
    group.finish();
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, plan: &Plan, mut once: impl FnMut(&mut Scratch)) {
    let mut scratch = Scratch::new();
    group.bench_function(BenchmarkId::new(name, plan.par.threads()), |bench| bench.iter(|| once(&mut scratch)));
}

fn products(c: &mut Criterion) {
    // (name, m, n, k, A stored transposed)
    let shapes = [
        ("forward 60x784x784", BATCH, WIDTH, WIDTH, false),
        ("weight gradient 784x784x60", WIDTH, WIDTH, BATCH, true),
        ("forward 60x64x64", BATCH, 64, 64, false),
        ("square 784", WIDTH, WIDTH, WIDTH, false),
    ];
    for (name, m, n, k, transposed) in shapes {
        let (a, b, mut out) = (operand(m * k, 1), operand(k * n, 2), vec![0f32; m * n]);
        let a = if transposed { view(&a, k, m).t() } else { view(&a, m, k) };
        let b = view(&b, k, n);
        group(c, name, 2 * m * n * k, |group, plan| {
            let isas = Isa::available().filter(|&isa| isa != Isa::PORTABLE).map(|isa| (isa, Backend::Native));
            let others = Backend::available().filter(|&b| b != Backend::Native).map(|b| (Isa::detect(), b));
            for (isa, backend) in isas.chain(others) {
                let plan = plan.clone().with_isa(isa).with_backend(backend);
                let what = if backend == Backend::Native { isa.name() } else { backend.name() };
                bench(group, what, &plan, |s| gemm(1.0, a, b, 0.0, view_mut(&mut out, m, n), &plan, s).expect("shapes fit"));
            }
            let packed = PackedRhs::new(b, Orientation::Plain, &plan).expect("memory");
            let w = packed.plain().expect("packed so");
            bench(group, "prepacked", &plan, |s| {
                let out = view_mut(&mut out, m, n);
                gemm_with(1.0, a, w, Start::Zero, out, Epilogue::Store, &plan, s).expect("shapes fit");
            });
        });
    }
}

fn packing(c: &mut Criterion) {
    let w = operand(WIDTH * WIDTH, 1);
    group(c, "pack 784x784 (elements, not flops)", WIDTH * WIDTH, |group, plan| {
        for (name, orientation) in [("W", Orientation::Plain), ("W and its transpose", Orientation::Both)] {
            let mut packed = PackedRhs::new(view(&w, WIDTH, WIDTH), orientation, &plan).expect("memory");
            bench(group, name, &plan, |_| packed.repack(view(&w, WIDTH, WIDTH), &plan).expect("the same shape"));
        }
    });
}

fn fused(c: &mut Criterion) {
    let (n, m) = (WIDTH, BATCH);
    let (y, e, w, bias) = (operand(m * n, 1), operand(m * n, 2), operand(n * n, 3), operand(n, 4));
    let mut out = vec![0f32; m * n];
    let by = Perturbation { activation: UNIT, weighting: Weighting::SlopeSquared, scale: Scale::Finite(1e-3) };
    group(c, "fused 60x784x784", 2 * m * n * n, |group, plan| {
        let packed = PackedRhs::new(view(&w, n, n), Orientation::Plain, &plan).expect("memory");
        let w = packed.plain().expect("packed so");
        bench(group, "bias and leaky ReLU", &plan, |s| {
            let epilogue = Epilogue::Activate { activation: UNIT, bias: &bias, slope: None };
            gemm_with(1.0, view(&y, m, n), w, Start::Zero, view_mut(&mut out, m, n), epilogue, &plan, s).expect("shapes fit");
        });
    });
    let [mut theta, mut first, mut second] = [0.0, 0.0, 1e-6].map(|v| vec![v; n * n]);
    let step = AdamStep { rate: 1e-4, beta1: (0.9, 0.1), beta2: (0.99, 0.01), epsilon: 1e-8, correction: 1.0 };
    group(c, "fused 784x784x60", 2 * m * n * n, |group, plan| {
        bench(group, "Adam", &plan, |s| {
            let rule = Update::Adam { step, m: view_mut(&mut first, n, n), v: view_mut(&mut second, n, n) };
            let epilogue = Epilogue::Update(rule);
            let (x, theta) = (view(&e, m, n), view_mut(&mut theta, n, n));
            gemm_with(1.0 / m as f32, view(&y, m, n).t(), x, Start::Zero, theta, epilogue, &plan, s).expect("shapes fit");
        });
    });
    let (mut r, mut x) = (vec![0f32; m * n], vec![0f32; m * n]);
    group(c, "perturb 60x784 (elements, not flops)", m * n, |group, plan| {
        bench(group, "r and D∘e", &plan, |_| {
            let (r, x) = (view_mut(&mut r, m, n), view_mut(&mut x, m, n));
            perturb(by, view(&y, m, n), None, view(&e, m, n), r, x, plan.isa).expect("leaky ReLU reaches everything");
        });
    });
}

fn batches(c: &mut Criterion) {
    let (count, n) = (256, 32);
    let (a, b, mut out) = (operand(count * n * n, 1), operand(count * n * n, 2), vec![0f32; count * n * n]);
    group(c, "256 products 32x32x32", 2 * count * n * n * n, |group, plan| {
        bench(group, "gemm_batched", &plan, |s| {
            let [a, b] = [&a, &b].map(|x| BatchRef::new(x, count, n, n).expect("sized"));
            let c = BatchMut::new(&mut out, count, n, n).expect("sized");
            gemm_batched(1.0, a, b, 0.0, c, &plan, s).expect("shapes fit");
        });
    });
}

fn symmetric(c: &mut Criterion) {
    let n = WIDTH;
    let (a, s, mut out) = (operand(n * n, 1), operand(n * n, 2), vec![0f32; n * n]);
    group(c, "SYRK 784", n * n * n, |group, plan| {
        for (name, part) in [("lower", Part::Lower), ("mirrored", Part::Both)] {
            bench(group, name, &plan, |scratch| {
                syrk(1.0, view(&a, n, n), 0.0, part, Diagonal::Kept, view_mut(&mut out, n, n), &plan, scratch)
                    .expect("shapes fit");
            });
        }
    });
    group(c, "SYMM 784", 2 * n * n * n, |group, plan| {
        bench(group, "lower, from the left", &plan, |scratch| {
            let (s, a, out) = (view(&s, n, n), view(&a, n, n), view_mut(&mut out, n, n));
            symm(Side::Left, Triangle::Lower, 1.0, s, a, 0.0, out, &plan, scratch).expect("shapes fit");
        });
    });
}

/// In place: the input is put back each time, which the figure contains (2 % of a factorisation, 5 % of a solve).
fn factors(c: &mut Criterion) {
    let n = WIDTH;
    let (general, definite) = (operand(n * n, 1), dominant(n));
    let (mut a, mut pivots) = (general.clone(), vec![0; n]);
    group(c, "LU 784", 2 * n * n * n / 3, |group, plan| {
        bench(group, "factor", &plan, |s| {
            a.copy_from_slice(&general);
            lu::factor(view_mut(&mut a, n, n), &mut pivots, &plan, s).expect("not singular");
        });
    });
    group(c, "Cholesky 784", n * n * n / 3, |group, plan| {
        bench(group, "factor", &plan, |s| {
            a.copy_from_slice(&definite);
            cholesky::factor(view_mut(&mut a, n, n), &plan, s).expect("positive definite");
        });
    });
    let (right, mut x) = (operand(BATCH * n, 2), vec![0f32; BATCH * n]);
    group(c, "triangular solve 784, 60 right-hand sides", BATCH * n * n, |group, plan| {
        let lower = view(&definite, n, n);
        for (name, triangle, a) in [("X U = B", Triangle::Upper, lower), ("X Lᵀ = B", Triangle::Upper, lower.t())] {
            bench(group, name, &plan, |s| {
                x.copy_from_slice(&right);
                trsm::solve(Side::Right, triangle, Diag::Stored, 1.0, a, view_mut(&mut x, BATCH, n), &plan, s).expect("divides");
            });
        }
    });
}

criterion_group!(benches, products, packing, fused, batches, symmetric, factors);
criterion_main!(benches);
