//! Training inside another program: its arrays in, weights out, on its own thread pool. `cargo run --release --example embed`

use gaitprop::data::Samples;
use gaitprop::kernels::{Par, Plan};
use gaitprop::rule::{LearningRule, RuleConfig};
use gaitprop::solve::{self, Tuning};
use gaitprop::train::{self, Method, Trainer};
use gaitprop::{Architecture, Network, init, loss, optimizer, ortho};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Learns to tell classes apart by GAIT-prop. `x` is samples × features, row by row; labels are below `classes`. The same result on any pool.
fn learn(
    x: Vec<f32>,
    labels: Vec<u32>,
    features: usize,
    classes: usize,
    pool: Arc<rayon::ThreadPool>,
) -> gaitprop::Result<Network<f32>> {
    let plan = Plan::new().with_par(Par::Pool(pool));
    let samples = Samples { len: labels.len(), x, labels, features };
    let shape = Architecture::square(features, 32, 2, classes)?;
    let method = Method {
        rule: LearningRule::Gait.build(&RuleConfig::new(&shape), &plan)?,
        inverse: solve::SolverKind::Auto.build(Tuning::default())?,
        loss: loss::Loss::CrossEntropy,
        ortho: ortho::Regularizer::new(0.1)?,
        hold: ortho::Hold::Free,
        optimizer: optimizer::OptimizerConfig::new(optimizer::OptimizerKind::Adam, 2e-3)?,
        batch: 50,
        shuffle: Some(1),
    };
    let shape = Architecture { output: loss::Loss::CrossEntropy.output_unit(shape.unit), ..shape };
    let mut trainer = Trainer::new(Network::random(&shape, init::Init::Orthogonal, 1, &plan)?, method, plan.clone())?;
    for _ in 0..30 {
        trainer.epoch(&samples, |_| ControlFlow::Continue(()))?;
    }
    println!(
        "right answers: {:.1} %",
        100.0 * train::evaluate(trainer.network(), &samples, loss::Loss::CrossEntropy, &plan)?.accuracy()
    );
    Ok(trainer.network().clone())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two rings of points, one around the other, with a constant beside them.
    let point = |i: usize| {
        let (angle, radius) = (i as f32 * 2.4, if i.is_multiple_of(2) { 0.5 } else { 1.0 });
        [radius * angle.cos(), radius * angle.sin(), 1.0]
    };
    let x: Vec<f32> = (0..1000).flat_map(point).collect();
    let labels: Vec<u32> = (0..1000).map(|i| i % 2).collect();

    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let net = learn(x, labels, 3, 2, Arc::new(pool))?;
    for (l, layer) in net.layers().iter().enumerate() {
        // `layer.w.data()` is fed × width, row by row: y = f(x W + b).
        println!(
            "W{l}: {} x {}, first weight {:.4}, first bias {:.4}",
            layer.fed(),
            layer.width(),
            layer.w.data()[0],
            layer.b[0]
        );
    }
    Ok(())
}
