//! Training inside another program: its arrays in, weights out, on its own thread pool; then the
//! same network in a loop of its own. `cargo run --release --example embed`

use gaitprop::data::SamplesRef;
use gaitprop::kernels::{MatRef, Par, Plan};
use gaitprop::loss::Loss;
use gaitprop::optimizer::OptimizerKind;
use gaitprop::rule::RuleConfig;
use gaitprop::solve::{SolverKind, Tuning};
use gaitprop::step::{Recipe, Step};
use gaitprop::{Architecture, Exec, LearningRule, Network, TrainConfig, Trainer, init, ortho};
use std::sync::Arc;

/// Trains a classifier by GAIT-prop on the caller's threads. The result does not depend on them.
fn train(samples: SamplesRef<'_, f32>, classes: usize, pool: Arc<rayon::ThreadPool>) -> gaitprop::Result<Network<f32>> {
    let config = TrainConfig {
        loss: Loss::CrossEntropy,
        optimizer: OptimizerKind::Adam,
        learning_rate: 2e-3,
        batch: 50,
        shuffle: true,
        ..TrainConfig::published(LearningRule::Gait)
    };
    let shape = Architecture::square(samples.x.ncols(), 32, 2, classes)?.with_loss(config.loss);
    let plan = Plan::new().with_par(Par::Pool(pool));
    let net = Network::random(&shape, config.init, 1, &plan)?;
    let mut trainer = Trainer::from_network(net, config, 1, plan)?;
    for _ in 0..30 {
        trainer.epoch(samples)?;
    }
    println!("accuracy after training: {:.1} %", 100.0 * trainer.evaluate(samples)?.accuracy());
    Ok(trainer.network().clone())
}

/// A loop of your own: updates of each batch as arrays, and the step along them.
fn own_loop(net: &mut Network<f32>, samples: SamplesRef<'_, f32>, rate: f32) -> gaitprop::Result<()> {
    let (batch, labels) = (50, net.labels());
    let mut exec = Exec::default();
    let mut rule = LearningRule::Gait.build(&RuleConfig::new(&net.architecture()), &exec.plan)?;
    let mut solver = SolverKind::Auto.build(Tuning::default())?;
    let mut step = Step::new(net, batch);
    for first in (0..samples.len()).step_by(batch) {
        let mut onehot = vec![0.0; batch * labels];
        gaitprop::data::one_hot(&samples.labels[first..first + batch], labels, &mut onehot);
        let (x, target) = (samples.x.rows(first, batch), MatRef::new(&onehot, batch, labels)?);
        let mut recipe = Recipe {
            rule: &mut *rule,
            solver: &mut *solver,
            loss: Loss::CrossEntropy,
            regularizer: ortho::Regularizer::NONE,
            exec: &mut exec,
        };
        step.gradients(net, x, target, &mut recipe)?;
        // Plain gradient descent; any optimizer can stand here.
        net.update(|l, w, b| {
            let (dw, db) = (step.gradients.weights(l).data(), step.gradients.biases(l));
            w.iter_mut().zip(dw).for_each(|(w, d)| *w += rate * d);
            b.iter_mut().zip(db).for_each(|(b, d)| *b += rate * d);
        });
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two rings of points, one around the other, with a constant beside them.
    let point = |i: usize| {
        let (angle, radius) = (i as f32 * 2.4, if i.is_multiple_of(2) { 0.5 } else { 1.0 });
        [radius * angle.cos(), radius * angle.sin(), 1.0]
    };
    let x: Vec<f32> = (0..1000).flat_map(point).collect();
    let labels: Vec<u32> = (0..1000).map(|i| i % 2).collect();
    let samples = SamplesRef { x: MatRef::new(&x, 1000, 3)?, labels: &labels };

    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let net = train(samples, 2, Arc::new(pool))?;
    println!("classes of the first points: {:?}", net.predict(samples.x.rows(0, 6))?);

    let shape = Architecture::square(3, 32, 2, 2)?.with_loss(Loss::CrossEntropy);
    let mut net = Network::random(&shape, init::Init::Orthogonal, 1, &Plan::new())?;
    for _ in 0..30 {
        own_loop(&mut net, samples, 0.3)?;
    }
    let score = gaitprop::evaluate(&net, samples, Loss::CrossEntropy, &Plan::new())?;
    println!("accuracy of the own loop: {:.1} %", 100.0 * score.accuracy());
    Ok(())
}
