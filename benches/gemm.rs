//! Products of training, by kernel and backend. `cargo bench --bench gemm`
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gaitprop::kernels::{Backend, Isa, MatMut, MatRef, Par, Plan, Scratch, Team, gemm};
use gaitprop::rng::Rng;

/// Random normal operands: zeros would flatter, subnormal numbers slander.
fn operand(len: usize, rng: &mut Rng) -> Vec<f32> {
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn products(c: &mut Criterion) {
    let mut rng = Rng::new(1, 0);
    let team = Team::new(2).expect("two threads");
    // (name, m, n, k, A stored transposed)
    let shapes = [
        ("forward 60x784x784", 60, 784, 784, false),
        ("weight gradient 784x784x60", 784, 784, 60, true),
        ("forward 60x64x64", 60, 64, 64, false),
        ("square 784", 784, 784, 784, false),
    ];
    for (name, m, n, k, transposed) in shapes {
        let (a, b) = (operand(m * k, &mut rng), operand(k * n, &mut rng));
        let a = if transposed { MatRef::new(&a, k, m).expect("sized").t() } else { MatRef::new(&a, m, k).expect("sized") };
        let b = MatRef::new(&b, k, n).expect("sized");
        let mut out = vec![0f32; m * n];
        let mut group = c.benchmark_group(name);
        // Elements are flops here: the report's Gelem/s are GFLOP/s.
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
        for par in [Par::Seq, Par::Team(&team)] {
            let isas = Isa::available().filter(|&isa| isa != Isa::PORTABLE).map(|isa| (isa, Backend::Native));
            let others = Backend::available().filter(|&b| b != Backend::Native).map(|b| (Isa::detect(), b));
            for (isa, backend) in isas.chain(others) {
                let plan = Plan::new().with_isa(isa).with_backend(backend).with_par(par);
                let mut scratch = Scratch::new();
                let mut once = || gemm(1.0, a, b, 0.0, MatMut::new(&mut out, m, n).expect("sized"), &plan, &mut scratch);
                let what = if backend == Backend::Native { isa.name() } else { backend.name() };
                group.bench_function(BenchmarkId::new(what, par.threads()), |bench| bench.iter(|| once().expect("shapes fit")));
            }
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
