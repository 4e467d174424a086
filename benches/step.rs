//! A whole training step by rule. `cargo bench --bench step`
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gaitprop::inverse::{Inverse, Lu};
use gaitprop::kernels::{MatRef, Par, Plan, Team};
use gaitprop::loss::Loss;
use gaitprop::network::{Architecture, Network};
use gaitprop::optimizer::{Optimizer, Rule, Settings};
use gaitprop::ortho::Regularizer;
use gaitprop::rng::Rng;
use gaitprop::rule::Kind;
use gaitprop::step::{Recipe, Workspace};
use gaitprop::{data, init};

fn steps(c: &mut Criterion) {
    let team = Team::new(2).expect("two threads");
    let (batch, labels) = (60, 10);
    for width in [64, 256, 784] {
        let mut rng = Rng::new(1, 0);
        let x: Vec<f32> = (0..batch * width).map(|_| rng.uniform() as f32).collect();
        let classes: Vec<u32> = (0..batch as u32).map(|i| i % labels as u32).collect();
        let mut target = vec![0f32; batch * labels];
        data::one_hot(&classes, labels, &mut target);
        let x = MatRef::new(&x, batch, width).expect("sized");
        let target = MatRef::new(&target, batch, labels).expect("sized");
        let mut group = c.benchmark_group(format!("step {width} x 5, batch {batch}"));
        group.sample_size(10);
        for par in [Par::Seq, Par::Team(&team)] {
            let plan = Plan::new().with_par(par);
            for (kind, lambda) in [(Kind::Bp, 0.0), (Kind::Gait, 0.0), (Kind::Gait, 0.1)] {
                let shape = Architecture::square(width, width, 4, labels).expect("fits");
                let mut net = Network::<f32>::random(&shape, init::Init::Orthogonal, 1, &plan).expect("fits");
                let rule = kind.build(1e-3).expect("in range");
                let ortho = Regularizer::new(lambda).expect("in range");
                let recipe = Recipe { rule: &*rule, loss: Loss::Squared, ortho, plan: &plan };
                let mut optimizer = Optimizer::new(Settings::new(Rule::PublishedAdam, 1e-4).expect("in range"), &net);
                let mut work = Workspace::new(&net, batch);
                let mut inverse = Lu::new();
                let inverse: &mut dyn Inverse<f32> = &mut inverse;
                group.bench_function(BenchmarkId::new(format!("{kind} lambda {lambda}"), par.threads()), |bench| {
                    bench.iter(|| work.step(&mut net, x, target, &recipe, inverse, &mut optimizer).expect("finite"));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
