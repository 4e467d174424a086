//! Networks that decorrelate the input of every layer.

use crate::support::{Batch, Kit, bits, built, relative};
use gaitprop::data::{self, Affine, LoadOptions, Samples, Scaling};
use gaitprop::diagnostics::decorrelation_loss;
use gaitprop::init::Init;
use gaitprop::kernels::{Activation, MatRef, Plan};
use gaitprop::loss::{Loss, score};
use gaitprop::rng::Rng;
use gaitprop::rule::{KolenPollack, LearningRule, TargetForm};
use gaitprop::solve::SolverKind;
use gaitprop::step::{Decorrelation, Step};
use gaitprop::{Architecture, Error, Exec, Matrix, Network, Trace, TrainConfig, Trainer, gauss_newton, weights};

fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
    let mut rng = Rng::new(seed, 0);
    Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| rng.normal()).collect()).unwrap()
}

fn batch(shape: &Architecture, rows: usize, seed: u64) -> Batch<f64> {
    let target = (0..rows * shape.labels).map(|i| f64::from(u8::from(i % (shape.labels + 1) == 0)));
    Batch { x: normal(rows, shape.inputs, seed), target: Matrix::from_vec(rows, shape.labels, target.collect()).unwrap() }
}

/// A network whose decorrelations have learned from a few batches, so that they are no longer the
/// identity.
fn decorrelated(shape: &Architecture, rate: f64) -> Network<f64> {
    let mut net = Network::<f64>::random(shape, Init::Orthogonal, 3, &Plan::new()).unwrap().with_decorrelation();
    for seed in 0..5 {
        decorrelate(&mut net, &batch(shape, 8, seed), Decorrelation { rate, share: 1.0 });
    }
    net
}

fn decorrelate(net: &mut Network<f64>, batch: &Batch<f64>, setting: Decorrelation) {
    let mut kit = Kit::boxed(built(LearningRule::Bp, net, 1e-3), &Plan::new());
    let mut step = Step::new(net, batch.x.rows());
    step.credit(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
    step.decorrelate(net, setting, &mut kit.exec).unwrap();
}

fn loss(net: &Network<f64>, batch: &Batch<f64>) -> f64 {
    let mut trace = Trace::new(net, batch.x.rows());
    net.forward(batch.x.view(), &mut trace, &mut Exec::default()).unwrap();
    score(Loss::Squared, trace.output(), batch.target.view(), None).unwrap().mean_loss()
}

/// The same function without decorrelations: weights R W.
fn folded(net: &Network<f64>) -> Network<f64> {
    let layers = net.layers().iter().enumerate().map(|(l, layer)| {
        let mut layer = layer.clone();
        let r = net.decorrelation(l).unwrap();
        let mut product = Matrix::zeros(layer.fan_in(), layer.width());
        Exec::default().gemm(1.0, r.view(), layer.w.view(), 0.0, product.view_mut()).unwrap();
        layer.w = product;
        layer
    });
    Network::new(net.inputs(), layers.collect(), net.labels()).unwrap()
}

fn shapes() -> Vec<Architecture> {
    let smooth =
        |shape: Architecture| Architecture { activation: Activation::Tanh, output_activation: Activation::Identity, ..shape };
    vec![
        smooth(Architecture::square(6, 6, 2, 3).unwrap()),
        smooth(Architecture::tower(&[6, 6, 5, 4], 3).unwrap()),
        smooth(Architecture::dense(6, &[4, 7, 5], 3).unwrap()),
    ]
}

fn gradients(net: &Network<f64>, batch: &Batch<f64>, kind: LearningRule, solver: SolverKind) -> Vec<Matrix<f64>> {
    let mut kit = Kit::boxed(built(kind, net, 0.0), &Plan::new());
    kit.solver = solver.build(Default::default()).unwrap();
    let mut step = Step::new(net, batch.x.rows());
    step.gradients(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
    (0..net.layers().len()).map(|l| step.gradients.weights(l).clone()).collect()
}

/// Backpropagation is minus the gradient of the loss, by central differences.
#[test]
fn backpropagation_goes_through_decorrelations() {
    for shape in shapes() {
        let (net, batch) = (decorrelated(&shape, 0.1), batch(&shape, 5, 40));
        let updates = gradients(&net, &batch, LearningRule::Bp, SolverKind::Lu);
        for (l, update) in updates.iter().enumerate() {
            let h = 1e-5;
            let differences = (0..update.data().len()).map(|i| {
                let at = |by: f64| {
                    let mut net = net.clone();
                    net.update(|layer, w, _| {
                        if layer == l {
                            w[i] += by;
                        }
                    });
                    loss(&net, &batch)
                };
                (at(-h) - at(h)) / (2.0 * h)
            });
            let off = relative(update.data(), &differences.collect::<Vec<_>>());
            assert!(off < 1e-7, "{:?}, layer {l}: {off:e}", shape.layers);
        }
    }
}

/// Weights R W without decorrelation compute the same, and their rules send the same errors down:
/// the update of W is Rᵀ times that of R W.
#[test]
fn rules_see_decorrelation_and_weights_as_one() {
    for shape in shapes() {
        let (net, batch) = (decorrelated(&shape, 0.1), batch(&shape, 5, 41));
        let plain = folded(&net);
        assert!((loss(&net, &batch) - loss(&plain, &batch)).abs() < 1e-14);
        let square = shape.layers.iter().skip(1).all(|(fed, width)| fed == width);
        for kind in [LearningRule::Bp, LearningRule::Gait, LearningRule::Fa, LearningRule::Dfa] {
            if kind.sends_targets() && !square {
                continue;
            }
            let of = |net| gradients(net, &batch, kind, SolverKind::Lu);
            assert_through(&net, &of(&net), &of(&plain), kind.name());
        }
        let of = |net| {
            let (x, target) = (batch.x.view(), batch.target.view());
            let all = gauss_newton::updates(net, x, target, Loss::Squared, 0.1, &mut Exec::default()).unwrap();
            (0..net.layers().len()).map(|l| all.weights(l).clone()).collect::<Vec<_>>()
        };
        assert_through(&net, &of(&net), &of(&plain), "Gauss-Newton");
    }
}

/// Updates of W are Rᵀ times those of weights R W.
fn assert_through(net: &Network<f64>, own: &[Matrix<f64>], want: &[Matrix<f64>], what: &str) {
    for (l, (own, want)) in own.iter().zip(want).enumerate() {
        let mut through = Matrix::zeros(want.rows(), want.cols());
        let r = net.decorrelation(l).unwrap().view();
        Exec::default().gemm(1.0, r.t(), want.view(), 0.0, through.view_mut()).unwrap();
        let off = relative(own.data(), through.data());
        assert!(off < 1e-11, "{what}, layer {l}: {off:e}");
    }
}

/// Feedback that equals Wᵀ sends backpropagation's errors through decorrelations.
#[test]
fn feedback_in_place_of_the_weights_goes_through_decorrelations() {
    let shape = &shapes()[0];
    let (mut net, batch) = (decorrelated(shape, 0.1), batch(shape, 5, 44));
    // Sign-symmetric feedback of 6×6 weights has this size.
    let size = (2.0 / 12.0f64).sqrt();
    net.update(|_, w, _| w.iter_mut().for_each(|w| *w = size.copysign(*w)));
    let want = gradients(&net, &batch, LearningRule::Bp, SolverKind::Lu);
    let feedback = net.layers().iter().skip(1).map(|l| l.w.clone()).collect();
    let kp = Kit::new(KolenPollack::new(feedback), &Plan::new());
    for mut kit in [kp, Kit::boxed(built(LearningRule::Usf, &net, 0.0), &Plan::new())] {
        let mut step = Step::new(&net, 5);
        step.gradients(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        for (l, want) in want.iter().enumerate() {
            let off = relative(step.gradients.weights(l).data(), want.data());
            assert!(off < 1e-13, "{}, layer {l}: {off:e}", kit.rule.name());
        }
    }
}

/// One update of R, from its definition, on all samples and on a share of them.
#[test]
fn decorrelations_learn_by_the_formula() {
    for shape in shapes() {
        for (share, samples) in [(1.0, 7), (0.5, 4), (0.01, 1)] {
            let (before, batch) = (decorrelated(&shape, 0.05), batch(&shape, 7, 42));
            let mut net = before.clone();
            decorrelate(&mut net, &batch, Decorrelation { rate: 0.02, share });
            let mut trace = Trace::new(&before, 7);
            before.forward(batch.x.view(), &mut trace, &mut Exec::default()).unwrap();
            for l in 0..shape.layers.len() {
                let (r, z) = (before.decorrelation(l).unwrap(), trace.decorrelated(l).unwrap());
                let n = r.rows();
                let c = |i: usize, j: usize| {
                    if i == j { 0.0 } else { (0..samples).map(|k| z.get(k, i) * z.get(k, j)).sum::<f64>() / samples as f64 }
                };
                let element = |at: usize| {
                    let (i, j) = (at / n, at % n);
                    r.row(i)[j] - 0.02 * (0..n).map(|k| r.row(i)[k] * c(k, j)).sum::<f64>()
                };
                let want: Vec<f64> = (0..n * n).map(element).collect();
                let found = net.decorrelation(l).unwrap();
                assert!(relative(found.data(), &want) < 1e-13, "{:?}, layer {l}", shape.layers);
                assert!(relative(found.data(), r.data()) > 1e-5, "it has learned");
                let mut wrong = want.clone();
                wrong[1] += 1e-6;
                assert!(relative(found.data(), &wrong) > 1e-13);
            }
        }
    }
}

/// The loss is the mean of the squared second moments off the diagonal, and falls as R learns.
#[test]
fn the_loss_is_measured_and_falls() {
    let z = normal(9, 4, 8);
    let c = |i: usize, j: usize| (0..9).map(|k| z.row(k)[i] * z.row(k)[j]).sum::<f64>() / 9.0;
    let want = (0..16).filter(|k| k / 4 != k % 4).map(|k| c(k / 4, k % 4).powi(2)).sum::<f64>() / 12.0;
    let found = decorrelation_loss(z.view(), &mut Exec::default()).unwrap();
    assert!((found - want).abs() < 1e-14, "{found} {want}");
    assert_eq!(decorrelation_loss(z.view().cols(0, 1), &mut Exec::default()).unwrap(), 0.0);

    let (train, test) = digits();
    let shape = Architecture::square(64, 64, 1, 10).unwrap();
    let trained = |rate: Option<f64>| {
        let decorrelation = rate.map(|rate| Decorrelation::new(rate).unwrap());
        let config = TrainConfig { decorrelation, learning_rate: 1e-3, ..TrainConfig::published(LearningRule::Bp) };
        let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
        for _ in 0..8 {
            trainer.epoch(&train).unwrap();
        }
        let losses: Vec<f64> = trainer.examine(&train).unwrap().iter().map(|l| l.decorrelation_loss).collect();
        (losses, trainer.evaluate(&test).unwrap().accuracy())
    };
    let (plain, decorrelated) = (trained(None), trained(Some(1e-2)));
    assert!(decorrelated.0[0] < 0.2 * plain.0[0], "{decorrelated:?} {plain:?}");
    assert!(decorrelated.1 > 0.9, "{decorrelated:?}");
}

fn digits() -> (Samples<f32>, Samples<f32>) {
    let options = LoadOptions { limit_train: Some(1200), ..LoadOptions::default() };
    let digits = data::load("digits", &options).unwrap().prepare::<f32>(Scaling::Unit).unwrap();
    (digits.train, digits.test)
}

/// Decorrelations are in a trainer's state and in files of weights, to the bit.
#[test]
fn decorrelations_are_kept() {
    let (train, test) = digits();
    let shape = Architecture::tower(&[64, 64, 32], 10).unwrap();
    for kind in [LearningRule::Gait, LearningRule::Bp] {
        let decorrelation = Some(Decorrelation::new(1e-2).unwrap());
        let config = TrainConfig { decorrelation, ..TrainConfig::published(kind) };
        let made = || Trainer::<f32>::new(&shape, config, 1).unwrap();
        let (mut whole, mut first, mut second) = (made(), made(), made());
        for _ in 0..2 {
            whole.epoch(&train).unwrap();
        }
        first.epoch(&train).unwrap();
        second.restore(first.save()).unwrap();
        second.epoch(&train).unwrap();
        assert!(whole.network() == second.network(), "{kind}");
        assert!(whole.network().decorrelation(1).unwrap() != first.network().decorrelation(1).unwrap());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.safetensors");
        let inputs = Affine { center: vec![0.0; 64], scale: vec![1.0; 64] };
        let notes = weights::Notes { loss: "squared".into(), rule: kind.name().into(), inputs };
        weights::save(&path, whole.network(), &notes).unwrap();
        let (weights::Saved::F32(back), _) = weights::load(&path).unwrap() else { panic!("f32 was saved") };
        assert!(back == *whole.network());
        let x = MatRef::new(&test.x, test.len, 64).unwrap();
        assert_eq!(back.predict(x).unwrap(), whole.predict(x).unwrap());
    }
}

/// A rate of 0 keeps R the identity, which changes no bit of BP's training.
#[test]
fn the_identity_changes_nothing() {
    let (train, _) = digits();
    let shape = Architecture::square(64, 64, 1, 10).unwrap();
    let trained = |decorrelation| {
        let config = TrainConfig { decorrelation, ..TrainConfig::published(LearningRule::Bp) };
        let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
        trainer.epoch(&train).unwrap();
        trainer.network().layers().iter().map(|l| bits(l.w.data())).collect::<Vec<_>>()
    };
    assert_eq!(trained(None), trained(Some(Decorrelation::new(0.0).unwrap())));
}

#[test]
fn contradictions_are_refused() {
    let published = |rule| TrainConfig { decorrelation: Some(Decorrelation::new(1e-2).unwrap()), ..TrainConfig::published(rule) };
    let refused = |config: TrainConfig| config.check().unwrap_err().to_string();
    let gait = published(LearningRule::Gait);
    assert!(refused(TrainConfig { target_form: TargetForm::Absolute, solver: SolverKind::Lu, ..gait }).contains("absolute"));
    assert!(refused(TrainConfig { solver: SolverKind::Transpose, ..gait }).contains("transpose"));
    assert!(published(LearningRule::Bp).check().is_ok() && gait.check().is_ok());
    assert!(refused(TrainConfig { decorrelation: Some(Decorrelation { rate: -1.0, share: 0.1 }), ..gait }).contains("rate"));
    // A rate far too high ends in an error, not in NaN.
    let shape = Architecture::square(64, 64, 1, 10).unwrap();
    let config = TrainConfig { decorrelation: Some(Decorrelation::new(1e6).unwrap()), ..published(LearningRule::Bp) };
    let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
    let error = trainer.epoch(&digits().0).unwrap_err().to_string();
    assert!(error.contains("diverged") && error.contains("in step"), "{error}");
}

/// A trainer takes no network that lacks decorrelations or has too many, and says which.
#[test]
fn a_network_without_its_decorrelations_is_refused() {
    let shape = &shapes()[0];
    let with = decorrelated(shape, 0.05);
    let without = folded(&with);
    let config = TrainConfig::published(LearningRule::Bp);
    let refused = |of: &Network<f64>, by: &Network<f64>| {
        let mut trainer = Trainer::from_network(of.clone(), config, 1, Plan::new()).unwrap();
        let error = trainer.set_network(by).unwrap_err().to_string();
        assert!(trainer.network() == of);
        trainer.set_network(of).unwrap();
        error
    };
    assert!(refused(&with, &without).contains("no decorrelations, but the trainer's has"));
    assert!(refused(&without, &with).contains("has decorrelations, but the trainer's has none"));
    let other = Architecture::square(3, 3, 1, 2).unwrap();
    assert!(refused(&with, &decorrelated(&other, 0.05)).contains("another shape"));
}

/// Learned inverses reconstruct the activity below as it was before its decorrelation.
#[test]
fn learned_inverses_skip_the_decorrelation() {
    let shape = &shapes()[2];
    let (net, batch) = (decorrelated(shape, 0.1), batch(shape, 5, 43));
    let learned = |net: &Network<f64>| gradients(net, &batch, LearningRule::Gait, SolverKind::Learned);
    let (own, plain) = (learned(&net), learned(&folded(&net)));
    assert_through(&net, &own, &plain, "learned");
}

/// Targets that go through no decorrelation are refused for a network that has some already. The
/// error of a solve through R names the layer. A learned inverse has no residual of its own there.
#[test]
fn solves_through_decorrelations_report_their_layer() {
    let shape = &shapes()[0];
    let (net, batch) = (decorrelated(shape, 0.3), batch(shape, 5, 45));
    let config = TrainConfig { solver: SolverKind::Transpose, ..TrainConfig::published(LearningRule::Gait) };
    let refused = Trainer::from_network(net.clone(), config, 1, Plan::new());
    assert!(refused.is_err_and(|e| e.to_string().contains("transpose")));
    let step = |solver: SolverKind| {
        let mut kit = Kit::boxed(built(LearningRule::Gait, &net, 0.0), &Plan::new());
        kit.solver = solver.build(Default::default()).unwrap();
        let mut step = Step::new(&net, 5);
        let done = step.credit(&net, batch.x.view(), batch.target.view(), &mut kit.recipe());
        done.map(|_| step.tape.solve(2).unwrap())
    };
    let error = step(SolverKind::Transpose).unwrap_err();
    assert!(matches!(error, Error::NotOrthogonal { layer: 2, .. }), "{error}");
    assert!(step(SolverKind::Learned).unwrap().residual.is_nan());
    assert!(step(SolverKind::Lu).unwrap().residual < 1e-12);
}

/// So does a decorrelation whose squares overflow, in a layer that its weights keep finite.
#[test]
fn a_decorrelation_that_is_too_large_is_named_by_its_layer() {
    let shape = &shapes()[0];
    let (mut net, batch) = (decorrelated(shape, 0.0), batch(shape, 5, 46));
    let large = |l: usize| {
        let mut r = net.decorrelation(l).unwrap().clone();
        r.data_mut().iter_mut().for_each(|r| *r *= if l == 2 { 1e200 } else { 1.0 });
        r
    };
    let all: Vec<_> = (0..net.layers().len()).map(large).collect();
    let one_more = [all.clone(), vec![all[0].clone()]].concat();
    let before = net.clone();
    assert!(net.set_decorrelation(one_more).unwrap_err().to_string().contains("decorrelations for"));
    assert!(net == before);
    net.set_decorrelation(all).unwrap();
    net.update(|l, w, _| w.iter_mut().for_each(|w| *w *= if l == 2 { 1e-200 } else { 1.0 }));
    let mut kit = Kit::boxed(built(LearningRule::Gait, &net, 0.0), &Plan::new());
    kit.solver = SolverKind::Damped.build(Default::default()).unwrap();
    let error = Step::new(&net, 5).credit(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap_err();
    assert!(matches!(error, Error::Diverged { layer: 2, .. }), "{error}");
}
