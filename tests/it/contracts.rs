//! What callers of the library can get wrong, function by function: each mistake gives the error that is documented for it, and never a panic. The kernels' own
//! table is `kernels/tests/it/contracts.rs`; files of data and checkpoints have theirs in `data_formats.rs` and `resume.rs`.

use gaitprop::Exec;
use gaitprop::Trace;
use gaitprop::data::{LoadOptions, Samples};
use gaitprop::diagnostics::Alignment;
use gaitprop::kernels::Error as Bad;
use gaitprop::kernels::{Activation, MatMut, MatRef, Plan};
use gaitprop::loss::{self, Loss};
use gaitprop::ortho::{Block, Blocks, Hold, HoldState, Regularizer, Retraction, Retractor};
use gaitprop::solve::{self, Lu, Solver, Tuning};
use gaitprop::{Architecture, Error, Layer, LearningRule, Matrix, Network, data, init, optimizer, rng, rule, weights};
use gaitprop::{TrainConfig, Trainer};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Default)]
struct Table {
    rows: usize,
    wrong: Vec<String>,
}

macro_rules! rows {
    ($table:expr; $($call:expr => $wanted:pat),+ $(,)?) => {
        $({
            let table: &mut Table = &mut $table;
            table.rows += 1;
            let (call, wanted) = (stringify!($call), stringify!($wanted));
            match catch_unwind(AssertUnwindSafe(|| $call)) {
                Ok($wanted) => {}
                #[allow(unreachable_patterns)]
                Ok(Ok(_)) => table.wrong.push(format!("{call}\n    gave Ok, not {wanted}")),
                #[allow(unreachable_patterns)]
                Ok(Err(error)) => table.wrong.push(format!("{call}\n    gave {error:?}, not {wanted}")),
                Err(_) => table.wrong.push(format!("{call}\n    PANICKED, instead of {wanted}")),
            }
        })+
    };
}

impl Table {
    fn done(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{} of {} rows:\n{}", self.wrong.len(), self.rows, self.wrong.join("\n"));
        assert!(self.rows >= at_least, "only {} rows", self.rows);
    }
}

fn r(m: usize, n: usize) -> MatRef<'static, f64> {
    MatRef::new(vec![0.5; m * n].leak(), m, n).unwrap()
}
fn w(m: usize, n: usize) -> MatMut<'static, f64> {
    MatMut::new(vec![0.5; m * n].leak(), m, n).unwrap()
}

/// Three layers of 4, two labels.
fn net() -> Network<f64> {
    Network::random(&Architecture::square(4, 4, 2, 2).unwrap(), init::Init::Orthogonal, 1, &Plan::new()).unwrap()
}

#[test]
fn a_wrong_outcome_and_a_panic_are_found() {
    let mut t = Table::default();
    rows!(t;
        Regularizer::new(1.0) => Err(_),
        Regularizer::new(-1.0) => Err(Error::Label { .. }),
        ([] as [Result<(), Error>; 0]).into_iter().next().expect("nothing") => Ok(()),
        Regularizer::new(-1.0) => Err(Error::Setting(_) | Error::Kernel(_)),
    );
    assert_eq!(t.wrong.len(), 3, "{:?}", t.wrong);
}

#[test]
fn settings() {
    use std::str::FromStr;
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let mut t = Table::default();
    rows!(t;
        init::Init::from_str("none such") => Err(Error::Setting(_)),
        Loss::from_str("") => Err(Error::Setting(_)),
        solve::SolverKind::from_str("none such") => Err(Error::Setting(_)),
        rule::LearningRule::from_str("none such") => Err(Error::Setting(_)),
        rule::TargetForm::from_str("none such") => Err(Error::Setting(_)),
        optimizer::OptimizerKind::from_str("none such") => Err(Error::Setting(_)),
        data::Scaling::from_str("none such") => Err(Error::Setting(_)),
        data::load("/none/such", &LoadOptions::default()) => Err(Error::File { .. }),
        gaitprop::activation::parse("none such") => Err(Error::Setting(_)),
        gaitprop::activation::parse("leaky-relu:0") => Err(Error::Kernel(_)),
        Regularizer::new(nan) => Err(Error::Setting(_)),
        Regularizer::new(inf) => Err(Error::Setting(_)),
        Block::new(nan) => Err(Error::Setting(_)),
        Block::new(-1.0) => Err(Error::Setting(_)),
        Retraction::new(0) => Err(Error::Setting(_)),
        Tuning::new(nan) => Err(Error::Setting(_)),
        Tuning::new(0.0) => Err(Error::Setting(_)),
        Tuning::new(inf) => Err(Error::Setting(_)),
        rule::Perturbed::gait(nan) => Err(Error::Setting(_)),
        rule::Perturbed::gait(-1.0) => Err(Error::Setting(_)),
        rule::Perturbed::itp(inf) => Err(Error::Setting(_)),
        rule::Absolute::gait(0.0) => Err(Error::Setting(_)),
        rule::Absolute::itp(nan) => Err(Error::Setting(_)),
        optimizer::OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, nan) => Err(Error::Setting(_)),
        optimizer::OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, -1.0) => Err(Error::Setting(_)),
        optimizer::OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, inf) => Err(Error::Setting(_)),
        TrainConfig { hold: Hold::Cayley, ..TrainConfig::published(LearningRule::Bp) }.check() => Err(Error::Setting(_)),
    );
    t.done(25);
}

#[test]
fn networks() {
    let plan = Plan::new();
    let most = usize::MAX;
    let layer =
        |fed, width, biases| Layer { w: Matrix::zeros(fed, width), b: vec![0.0; biases], activation: Activation::Identity };
    let saved = |center: &[f64], scale: &[f64]| {
        let inputs = data::Affine { center: center.to_vec(), scale: scale.to_vec() };
        weights::to_bytes(&net(), &weights::Notes { loss: "squared".into(), rule: "bp".into(), inputs })
    };
    assert!(saved(&[0.0; 4], &[1.0; 4]).is_ok());
    let mut t = Table::default();
    rows!(t;
        Matrix::from_vec(2, 3, vec![0.0; 5]) => Err(Error::Kernel(Bad::Shape { .. })),
        Matrix::<f32>::from_vec(most, 2, vec![]) => Err(Error::Kernel(Bad::Shape { .. })),
        Architecture::square(4, 0, 1, 2) => Err(Error::Architecture { layer: 0, .. }),
        Architecture::square(0, 4, 1, 2) => Err(Error::Architecture { layer: 0, .. }),
        Architecture::square(4, 4, most, 2) => Err(Error::Setting(_)),
        Architecture::square(4, most, 1, 2) => Err(Error::Setting(_)),
        Architecture::square(4, 4, 1, 5) => Err(Error::Architecture { layer: 1, .. }),
        Architecture::square(4, 4, 1, 0) => Err(Error::Architecture { .. }),
        Architecture::widths(4, &[], 1) => Err(Error::Setting(_)),
        Architecture::widths(4, &[4, 5], 1) => Err(Error::Architecture { layer: 1, .. }),
        Architecture::tower(&[], 1) => Err(Error::Setting(_)),
        Architecture::tower(&[4], 1) => Err(Error::Setting(_)),
        Architecture::tower(&[4, 5], 1) => Err(Error::Architecture { layer: 0, .. }),
        Architecture { activation: Activation::LeakyRelu { slope: 0.0 }, ..Architecture::square(4, 4, 1, 2)? }.check() => Err(Error::Kernel(Bad::Parameter { .. })),
        Network::random(&Architecture { labels: 9, ..net().architecture() }, init::Init::Orthogonal, 1, &plan) as Result<Network<f32>, _> => Err(Error::Architecture { .. }),
        Network::<f64>::new(4, vec![], 1) => Err(Error::Setting(_)),
        Network::<f64>::new(4, vec![layer(4, 4, 3)], 1) => Err(Error::Architecture { layer: 0, .. }),
        Network::<f64>::new(4, vec![layer(4, 4, 4), layer(5, 5, 5)], 1) => Err(Error::Architecture { layer: 1, .. }),
        net().forward(r(3, 5), &mut Trace::new(&net(), 3), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
        net().forward(r(3, 4), &mut Trace::new(&net(), 2), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
        init::weights::<f64>(init::Init::Orthogonal, most, 2, &mut rng::Rng::new(1, 0), &plan) => Err(Error::Kernel(Bad::OutOfMemory { .. })),
        saved(&[0.0; 3], &[1.0; 4]) => Err(Error::Setting(_)),
        saved(&[0.0; 4], &[1.0; 3]) => Err(Error::Setting(_)),
        saved(&[f64::NAN; 4], &[1.0; 4]) => Err(Error::Setting(_)),
        saved(&[0.0; 4], &[0.0; 4]) => Err(Error::Setting(_)),
        saved(&[0.0; 4], &[f64::INFINITY; 4]) => Err(Error::Setting(_)),
    );
    t.done(25);
}

#[test]
fn passes() {
    let plan = &Plan::new();
    let exec = &mut Exec::default();
    let weights = |layer, w| solve::Weights { layer, version: 0, w };
    let square = r(4, 4);
    let singular = || square;
    let one = Regularizer::new(1.0).unwrap();
    let mut t = Table::default();
    rows!(t;
        loss::score(Loss::Squared, r(3, 4), r(3, 5), None) => Err(Error::Kernel(Bad::Shape { .. })),
        loss::score(Loss::Squared, r(3, 4), r(3, 2), Some(w(3, 5))) => Err(Error::Kernel(Bad::Shape { .. })),
        loss::score(Loss::CrossEntropy, r(3, 4), r(2, 2), None) => Err(Error::Kernel(Bad::Shape { .. })),
        Alignment::of(&[1.0, 2.0], &[1.0], plan) => Err(Error::Kernel(Bad::Shape { .. })),
        Lu::new().solve(weights(1, singular()), w(2, 4), &mut Exec::new(plan.clone())) => Err(Error::Singular { layer: 1, .. }),
        Lu::new().solve(weights(1, singular()), w(2, 5), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
        Lu::new().solve(weights(1, r(4, 5)), w(2, 5), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
        solve::condition(r(4, 5), exec) => Err(Error::Kernel(Bad::Shape { .. })),
        Blocks::new(Block::new(0.1)?, &net())?.step(&mut Network::random(&Architecture::square(5, 5, 2, 2)?, init::Init::Orthogonal, 1, plan)?, &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
        Retractor::new(Retraction::new(1)?, &net())?.retract(0, &mut Matrix::zeros(5, 5), &mut Exec::new(plan.clone())) => Err(Error::Kernel(_)),
        one.descend(r(4, 4), 0.0, w(4, 5), w(4, 4), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
    );
    for kind in solve::SolverKind::ALL {
        let build = || kind.build::<f64>(Tuning::new(1e-3)?);
        rows!(t;
            build()?.solve(weights(0, r(4, 5)), w(2, 5), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
            build()?.solve(weights(0, singular()), w(2, 5), &mut Exec::new(plan.clone())) => Err(Error::Kernel(Bad::Shape { .. })),
            build()?.solve(weights(0, singular()), w(2, 4), &mut Exec::new(plan.clone())) => Err(Error::Singular { layer: 0, .. } | Error::NotOrthogonal { layer: 0, .. }) | Ok(_),
        );
    }
    t.done(15);
}

fn samples(len: usize, features: usize) -> Samples<f64> {
    Samples { x: vec![0.5; len * features], labels: vec![0; len], len, features }
}

#[test]
fn training() {
    let config = TrainConfig { batch: 5, ..TrainConfig::published(rule::LearningRule::Gait) };
    let with = |config| Trainer::from_network(net(), config, 1, Plan::new());
    let epoch = |samples: Samples<f64>| with(config)?.epoch(&samples);
    let bad_label = Samples { labels: vec![7; 10], ..samples(10, 4) };
    let mut t = Table::default();
    rows!(t;
        with(TrainConfig { batch: 0, ..config }).map(|_| ()) => Err(Error::Setting(_)),
        with(TrainConfig { learning_rate: f64::NAN, ..config }).map(|_| ()) => Err(Error::Setting(_)),
        with(TrainConfig { target_form: rule::TargetForm::Absolute, ..config }).map(|_| ()) => Err(Error::Setting(_)),
        with(TrainConfig { target_form: rule::TargetForm::Absolute, solver: solve::SolverKind::Lu, ..config }).map(|_| ()) => Ok(()),
        Network::random(&Architecture::square(4, 4, 2, 2)?, init::Init::Orthogonal, 1, &Plan::new()).and_then(|net: Network<f64>| Trainer::from_network(net, TrainConfig { loss: Loss::CrossEntropy, ..config }, 1, Plan::new())).map(|_| ()) => Err(Error::Setting(_)),
        epoch(samples(10, 4)) => Ok(_),
        epoch(samples(10, 5)) => Err(Error::Architecture { .. }),
        epoch(samples(0, 4)) => Ok(_),
        epoch(bad_label.clone()) => Err(Error::Setting(_)),
        epoch(Samples { len: 11, ..samples(10, 4) }) => Err(Error::Setting(_)),
        epoch(Samples { x: vec![0.5; 3], ..samples(10, 4) }) => Err(Error::Setting(_)),
        epoch(Samples { x: vec![f64::NAN; 40], ..samples(10, 4) }) => Err(Error::Diverged { .. }),
        with(config)?.evaluate(&samples(10, 5)) => Err(Error::Architecture { .. }),
        with(config)?.evaluate(&bad_label) => Err(Error::Setting(_)),
        with(config)?.evaluate(&Samples { x: vec![0.5; 3], ..samples(10, 4) }) => Err(Error::Setting(_)),
        with(config)?.alignment(&samples(10, 5)) => Err(Error::Architecture { .. }),
        with(config)?.alignment(&samples(0, 4)) => Ok(_),
        with(config)?.examine(&samples(10, 5)) => Err(Error::Architecture { .. }),
        with(config)?.restore(gaitprop::checkpoint::State::default()) => Err(Error::Setting(_)),
        HoldState::new(Hold::Free, &net(), 0).map(|_| ()) => Ok(()),
        data::load("digits", &LoadOptions::default())?.hold_out(usize::MAX) => Err(Error::Setting(_)),
    );
    t.done(20);
}
