//! Faults that were found once, each by its smallest case.

use crate::support::{Batch, Kit, built, matrix};
use gaitprop::Exec;
use gaitprop::data::Samples;
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting, perturb};
use gaitprop::kernels::{Activation, Error as KernelError, Isa, MatMut, MatRef, Plan, Scratch, gemm, reference};
use gaitprop::loss::{self, Loss};
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::ortho::Regularizer;
use gaitprop::rule::{LayerState, LearningRule};
use gaitprop::solve::SolverKind;
use gaitprop::step::Step;
use gaitprop::{Architecture, Trace};
use gaitprop::{Error, Network, init};
use gaitprop::{TrainConfig, Trainer};

/// A unit so saturated that f′ underflows to 0, at its own activity: nothing is asked of it, and nothing (no 0/0) may come of it.
#[test]
fn saturated_units_that_are_on_target_pass_nothing_down() {
    let (y, d) = Activation::Tanh.apply(80f32);
    assert_eq!((y, d), (1.0, 0.0));
    let row = |x: f32| [x];
    for weighting in [Weighting::Plain, Weighting::SlopeSquared] {
        for scale in [Scale::Finite(1.0), Scale::Finite(1e-9), Scale::Limit] {
            let p = Perturbation { activation: Activation::Tanh, weighting, scale };
            let run = |e: f32| {
                let (y, d, e) = (row(y), row(d), row(e));
                let (mut r, mut x) = (row(f32::NAN), row(f32::NAN));
                let view = |v| MatRef::new(v, 1, 1).unwrap();
                let out = (MatMut::new(&mut r, 1, 1).unwrap(), MatMut::new(&mut x, 1, 1).unwrap());
                let done = perturb(p, view(&y), Some(view(&d)), view(&e), out.0, out.1, Isa::detect());
                (done, r[0], x[0])
            };
            assert_eq!(run(0.0), (Ok(()), 0.0, 0.0), "{weighting:?} {scale:?}");
            let (done, r, x) = run(-0.5);
            match weighting {
                Weighting::Plain => assert_eq!(done, Err(KernelError::Domain { row: 0, col: 0 }), "{scale:?}"),
                Weighting::SlopeSquared => assert_eq!((done, r, x), (Ok(()), 0.0, 0.0), "{scale:?}"),
            }
        }
    }
}

/// A slope that is 0 or infinite in f32 has no inverse there, whatever it is in f64.
#[test]
fn slopes_are_checked_in_the_element_type() {
    for slope in [1e-50, 1e50, 1e-39] {
        let unit = Activation::LeakyRelu { slope };
        assert!(unit.check::<f32>().is_err() && unit.check::<f64>().is_ok(), "{slope}");
    }
}

/// Targets that do not sum to 1: the error is still minus the gradient.
#[test]
fn cross_entropy_of_unnormalised_targets() {
    let (y, t) = ([0.3, -0.4], [2.0, 3.0]);
    let score = |y: &[f64; 2], e: Option<MatMut<'_, f64>>| {
        loss::score(Loss::CrossEntropy, MatRef::new(y, 1, 2).unwrap(), MatRef::new(&t, 1, 2).unwrap(), e).unwrap().loss
    };
    let mut e = [0.0; 2];
    score(&y, Some(MatMut::new(&mut e, 1, 2).unwrap()));
    for j in 0..2 {
        let shifted = |by: f64| {
            let mut y = y;
            y[j] += by;
            score(&y, None)
        };
        let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
        assert!((e[j] + slope).abs() < 1e-9, "{j}: {} and {slope}", e[j]);
    }
}

/// A NaN beside the winning unit is no right answer.
#[test]
fn nan_outputs_are_never_right() {
    let score =
        loss::score(Loss::Squared, MatRef::new(&[1.0, f64::NAN], 1, 2).unwrap(), MatRef::new(&[1.0, 0.0], 1, 2).unwrap(), None);
    assert_eq!(score.unwrap().correct, 0);
}

/// Lines of C that run backwards, in either direction.
#[test]
fn products_into_reversed_matrices() {
    let (m, n, k) = (33, 45, 17);
    let fill = |len: usize, seed: u64| -> Vec<f64> {
        let mut rng = gaitprop::rng::Rng::new(seed, 0);
        (0..len).map(|_| rng.normal()).collect()
    };
    let (a, b, c) = (fill(m * k, 1), fill(k * n, 2), fill(m * n, 3));
    let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
    fn turned(which: usize, v: MatMut<'_, f64>) -> MatMut<'_, f64> {
        match which {
            0 => v.reverse_cols(),
            1 => v.reverse_rows(),
            2 => v.reverse_rows().reverse_cols(),
            _ => v,
        }
    }
    for which in 0..4 {
        let (mut want, mut got) = (c.clone(), c.clone());
        reference::gemm(-0.5, a, b, 0.75, turned(which, MatMut::new(&mut want, m, n).unwrap()));
        let out = turned(which, MatMut::new(&mut got, m, n).unwrap());
        gemm(-0.5, a, b, 0.75, out, &Plan::new(), &mut Scratch::new()).unwrap();
        assert!(want.iter().zip(&got).all(|(w, g)| w.to_bits() == g.to_bits()), "{which}");
        // Column-major, backwards.
        let (mut want, mut got) = (c.clone(), c.clone());
        reference::gemm(-0.5, a, b, 0.75, turned(which, MatMut::new(&mut want, n, m).unwrap().t()));
        let out = turned(which, MatMut::new(&mut got, n, m).unwrap().t());
        gemm(-0.5, a, b, 0.75, out, &Plan::new(), &mut Scratch::new()).unwrap();
        assert!(want.iter().zip(&got).all(|(w, g)| w.to_bits() == g.to_bits()), "{which}, column-major");
    }
}

#[test]
fn a_trace_of_another_network_is_refused() {
    let plan = Plan::new();
    let net = |hidden, unit| {
        let shape = Architecture { activation: unit, ..Architecture::square(4, 4, hidden, 2).unwrap() };
        Network::<f32>::random(&shape, init::Init::Orthogonal, 1, &plan).unwrap()
    };
    let leaky = Activation::LeakyRelu { slope: 0.1 };
    let x = [0f32; 4];
    for other in [net(0, leaky), net(2, leaky), net(1, Activation::Tanh)] {
        let mut trace = Trace::new(&other, 1);
        let error = net(1, leaky).forward(MatRef::new(&x, 1, 4).unwrap(), &mut trace, &mut Exec::new(plan.clone())).unwrap_err();
        assert!(error.to_string().contains("another network"), "{error}");
    }
}

fn trainer(rate: f64, plan: Plan) -> Trainer<f64> {
    let shape = Architecture::square(6, 6, 1, 3).unwrap();
    let net = Network::random(&shape, init::Init::Xavier, 3, &plan).unwrap();
    let config = TrainConfig {
        solver: SolverKind::Lu,
        regularizer: Regularizer::NONE,
        optimizer: OptimizerKind::Momentum,
        learning_rate: rate,
        batch: 3,
        ..TrainConfig::published(LearningRule::Gait)
    };
    Trainer::from_network(net, config, 1, plan).unwrap()
}

fn samples(size: f64) -> Samples<f64> {
    let mut rng = gaitprop::rng::Rng::new(5, 0);
    let x = (0..60 * 6).map(|_| size * rng.normal()).collect();
    Samples { x, labels: (0..60).map(|i| i % 3).collect(), len: 60, features: 6 }
}

/// After a diverged epoch nothing of it is left: not its weights, its moments, or factors of its weights.
#[test]
fn a_diverged_epoch_leaves_a_trainer_as_good_as_new() {
    let plan = Plan::new();
    let (mut once, mut fresh) = (trainer(1e-2, plan.clone()), trainer(1e-2, plan));
    let error = once.epoch(&samples(1e80)).unwrap_err();
    assert!(matches!(error, Error::Diverged { step, .. } if step > 0), "{error}");
    assert_eq!(once.network(), fresh.network());
    let good = samples(1.0);
    let aligned = |trainer: &mut Trainer<f64>| trainer.alignment(&good).unwrap();
    assert_eq!(aligned(&mut once), aligned(&mut fresh));
    once.epoch(&good).unwrap();
    fresh.epoch(&good).unwrap();
    assert_eq!(once.network(), fresh.network());
}

/// Samples whose parts do not fit each other are an error, not an index out of bounds.
#[test]
fn inconsistent_samples_are_refused() {
    let plan = Plan::new();
    let good = samples(1.0);
    for bad in [
        Samples { len: 61, ..good.clone() },
        Samples { labels: vec![0; 59], ..good.clone() },
        Samples { x: vec![0.0; 100], ..good.clone() },
        Samples { labels: vec![3; 60], ..good.clone() },
        Samples { features: 5, ..good.clone() },
    ] {
        let mut trainer = trainer(1e-2, plan.clone());
        assert!(trainer.epoch(&bad).is_err());
        assert!(trainer.evaluate(&bad).is_err());
        assert!(trainer.alignment(&bad).is_err());
    }
}

/// Networks with different weights never have one version: a solver would take factors of the other.
#[test]
fn versions_tell_networks_apart() {
    let shape = Architecture::square(6, 6, 1, 3).unwrap();
    let net = Network::<f64>::random(&shape, init::Init::Xavier, 3, &Plan::new()).unwrap();
    let mut kit = Kit::boxed(built(LearningRule::Gait, &net, 1e-3), &Plan::new());
    let (mut a, mut b) = (net.clone(), net.clone());
    assert_eq!(a.version(), b.version());
    a.update(|_, w, _| w[0] += 1e-5);
    b.update(|_, w, _| w[0] -= 1e-5);
    let batch = Batch { x: matrix(4, 6, &[0.3; 24]), target: matrix(4, 3, &[0.5; 12]) };
    let mut by = |net: &Network<f64>, fresh: bool| {
        if fresh {
            kit.solver = SolverKind::Lu.build(Default::default()).unwrap();
        }
        let mut step = Step::new(net, 4);
        step.gradients(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        step.gradients.weights(0).clone()
    };
    let want = by(&b, true);
    let _ = by(&a, true);
    assert_eq!(by(&b, false), want);
}

/// A batch that fails leaves nothing in the output units that training does not compute.
#[test]
fn a_failed_batch_leaves_nothing_for_the_next() {
    let shape = Architecture { output_activation: Activation::Tanh, ..Architecture::square(6, 6, 1, 3).unwrap() };
    let start = Network::<f64>::random(&shape, init::Init::Xavier, 3, &Plan::new()).unwrap();
    let (good, target) = (matrix::<f64>(4, 6, &[0.3; 24]), matrix::<f64>(4, 3, &[0.5; 12]));
    let bad = matrix::<f64>(4, 6, &[f64::NAN; 24]);
    let trained = |fail_first: bool| {
        let mut kit = Kit::boxed(built(LearningRule::Bp, &start, 1e-3), &Plan::new());
        let (mut net, mut step) = (start.clone(), Step::new(&start, 4));
        if fail_first {
            assert!(step.gradients(&net, bad.view(), target.view(), &mut kit.recipe()).is_err());
        }
        let mut optimizer = Optimizer::new(OptimizerConfig::new(OptimizerKind::Sgd, 0.1).unwrap(), &net);
        step.update(&mut net, good.view(), target.view(), &mut kit.recipe(), &mut optimizer).unwrap();
        net
    };
    assert_eq!(trained(true), trained(false));
}

/// A step for another number of labels is refused.
#[test]
fn a_step_of_other_labels_is_refused() {
    let net = |labels| {
        let shape = Architecture::square(6, 6, 1, labels).unwrap();
        Network::<f64>::random(&shape, init::Init::Xavier, 3, &Plan::new()).unwrap()
    };
    let (two, four) = (net(2), net(4));
    let mut kit = Kit::boxed(built(LearningRule::Bp, &four, 1e-3), &Plan::new());
    let (x, target) = (matrix::<f64>(4, 6, &[0.3; 24]), matrix::<f64>(4, 4, &[0.5; 16]));
    let error = Step::new(&two, 4).credit(&four, x.view(), target.view(), &mut kit.recipe()).unwrap_err();
    assert!(error.to_string().contains("another network"), "{error}");
}

/// Views of a layer that do not fit each other are an error of every rule, not a panic.
#[test]
fn layers_that_do_not_fit_are_refused() {
    let net = {
        let shape = Architecture::square(4, 4, 1, 2).unwrap();
        Network::<f64>::random(&shape, init::Init::Xavier, 3, &Plan::new()).unwrap()
    };
    let (y, b) = (matrix::<f64>(3, 4, &[0.5; 12]), [0.0; 4]);
    let (narrow, short) = (matrix::<f64>(3, 3, &[0.5; 9]), matrix::<f64>(2, 4, &[0.5; 8]));
    for kind in LearningRule::ALL {
        let state = || LayerState {
            index: 0,
            above: 0,
            version: 1,
            w: net.layers()[1].w.view(),
            b: &b,
            activation: Activation::Identity,
            active: 2,
            input: y.view(),
            y: y.view(),
            slope: None,
            e: y.view(),
            output_delta: y.view().cols(0, 2),
            decorrelation: None,
            target: y.view().cols(0, 2),
        };
        let fails = |state: LayerState<'_, f64>| {
            let mut kit = Kit::boxed(built(kind, &net, 1e-3), &Plan::new());
            let (mut delta, mut below) = (y.clone(), y.clone());
            let (rule, solver) = (&mut *kit.rule, &mut *kit.solver);
            state.send_down(rule, solver, delta.view_mut(), Some(below.view_mut()), &mut kit.exec).is_err()
        };
        assert!(fails(LayerState { input: narrow.view(), ..state() }), "{kind}");
        assert!(fails(LayerState { e: short.view(), ..state() }), "{kind}");
        assert!(fails(LayerState { b: &b[..3], ..state() }), "{kind}");
        assert!(fails(LayerState { active: 5, ..state() }), "{kind}");
        assert!(fails(LayerState { target: y.view().cols(0, 1), ..state() }), "{kind}");
        // There is no feedback for the first layer.
        let fixed = matches!(kind, LearningRule::Fa | LearningRule::Dfa | LearningRule::Drtp | LearningRule::Kp);
        assert_eq!(fails(state()), fixed, "{kind}");
    }
}
