//! Sign-symmetric feedback, targets as errors, feedback that learns, and weight decay, against
//! loops in f64.

use crate::rules::{architectures, batch, by_boxed, feedback, network};
use crate::support::*;
use gaitprop::data::{self, Samples};
use gaitprop::init::Init;
use gaitprop::kernels::{Plan, Real};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::rng::Rng;
use gaitprop::rule::{Backprop, LearningRule, Rule, RuleConfig};
use gaitprop::step::Step;
use gaitprop::{Architecture, Error, Matrix, Network, TrainConfig, Trainer};

/// A network in f64 with its first matrices of feedback, for the formulas of the rules in plain
/// loops.
struct Naive {
    net: Network<f64>,
    /// W and b of each layer.
    w: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
    /// Feedback of each layer but the first.
    feedback: Vec<Vec<f64>>,
}

/// Rows × columns of `at`.
fn naive(rows: usize, cols: usize, at: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..rows * cols).map(|k| at(k / cols, k % cols)).collect()
}

impl Naive {
    fn new(net: &Network<f64>, feedback: &[Matrix<f64>]) -> Self {
        let w = net.layers().iter().map(|l| l.w.data().to_vec()).collect();
        let b = net.layers().iter().map(|l| l.b.clone()).collect();
        Self { net: net.clone(), w, b, feedback: feedback.iter().map(|b| b.data().to_vec()).collect() }
    }

    /// M ∘ sign(W) of layer `l` with the magnitudes of `rule` in a step.
    fn signs(&self, rule: LearningRule, l: usize, seed: u64, step: u64) -> Vec<f64> {
        let layer = &self.net.layers()[l];
        let (fed, width) = (layer.fan_in(), layer.width());
        let active = if l + 1 == self.w.len() { self.net.labels() } else { width };
        let size = (2.0 / (fed + width) as f64).sqrt();
        let drawn = magnitudes(fed * active, size, seed, if rule == LearningRule::Brsf { step } else { 0 }, l);
        naive(fed, width, |i, j| match (rule, j < active) {
            (_, false) => 0.0,
            (LearningRule::Usf, _) => size * sign(self.w[l][i * width + j]),
            _ => drawn[i * active + j] * sign(self.w[l][i * width + j]),
        })
    }

    /// ΔW and Δb of each layer, means over the batch. `feedback`: the feedback matrix of each layer.
    fn updates(&self, batch: &Batch<f64>, rule: LearningRule, feedback: &[Vec<f64>]) -> Vec<(Vec<f64>, Vec<f64>)> {
        let (rows, labels, layers) = (batch.x.rows(), self.net.labels(), self.net.layers());
        let (mut inputs, mut slopes, mut y, mut stride) = (Vec::new(), Vec::new(), batch.x.data().to_vec(), self.net.inputs());
        for (l, layer) in layers.iter().enumerate() {
            let (fed, width) = (layer.fan_in(), layer.width());
            let input = naive(rows, fed, |i, k| y[i * stride + k]);
            let at = |i, j| self.b[l][j] + (0..fed).map(|k| input[i * fed + k] * self.w[l][k * width + j]).sum::<f64>();
            let units: Vec<_> = naive(rows, width, at).into_iter().map(|h| layer.activation.apply(h)).collect();
            y = units.iter().map(|u| u.0).collect();
            slopes.push(units.iter().map(|u| u.1).collect::<Vec<f64>>());
            inputs.push(input);
            stride = width;
        }
        let t = batch.target.data();
        let mut e = naive(rows, stride, |i, j| if j < labels { t[i * labels + j] - y[i * stride + j] } else { 0.0 });
        let mut updates = Vec::new();
        for (l, layer) in layers.iter().enumerate().rev() {
            let (fed, width) = (layer.fan_in(), layer.width());
            let delta = naive(rows, width, |i, j| slopes[l][i * width + j] * e[i * width + j]);
            let mean = |at: &dyn Fn(usize) -> f64| (0..rows).map(at).sum::<f64>() / rows as f64;
            let dw = naive(fed, width, |k, j| mean(&|i| inputs[l][i * fed + k] * delta[i * width + j]));
            updates.push((dw, naive(1, width, |_, j| mean(&|i| delta[i * width + j]))));
            if l > 0 {
                let (b, below) = (&feedback[l - 1], layers[l - 1].width());
                e = naive(rows, below, |i, k| match (k < fed, rule) {
                    (false, _) => 0.0,
                    (_, LearningRule::Drtp) => (0..labels).map(|c| t[i * labels + c] * b[c * fed + k]).sum(),
                    _ => (0..width).map(|j| delta[i * width + j] * b[k * width + j]).sum(),
                });
            }
        }
        updates.into_iter().rev().collect()
    }
}

fn sign(w: f64) -> f64 {
    f64::from(i8::from(w > 0.0) - i8::from(w < 0.0))
}

/// Uniform numbers below √3 times `size`, of one step and layer: xoshiro256++ and splitmix64 by the
/// published programs.
fn magnitudes(count: usize, size: f64, seed: u64, step: u64, layer: usize) -> Vec<f64> {
    fn next(s: &mut [u64; 4]) -> u64 {
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }
    let seeded = |mut seed: u64| -> [u64; 4] {
        std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    };
    let mut words = Rng::new(seed, 5).state().0;
    for key in [step, layer as u64] {
        words = seeded(next(&mut words) ^ key);
    }
    (0..count).map(|_| 3f64.sqrt() * size * ((next(&mut words) >> 11) as f64 / (1u64 << 53) as f64)).collect()
}

/// Feedback of each layer but the first, by the formula of the rule.
fn naive_feedback(naive: &Naive, rule: LearningRule, seed: u64, step: u64) -> Vec<Vec<f64>> {
    match rule {
        LearningRule::Drtp | LearningRule::Kp => naive.feedback.clone(),
        _ => (1..naive.w.len()).map(|l| naive.signs(rule, l, seed, step)).collect(),
    }
}

const NEWER: [LearningRule; 5] =
    [LearningRule::Drtp, LearningRule::Usf, LearningRule::Frsf, LearningRule::Brsf, LearningRule::Kp];

#[test]
fn newer_rules_are_what_their_formulas_say() {
    for (case, shape) in architectures().iter().enumerate() {
        let seed = 3 + case as u64;
        let (mut layers, batch) = (network::<f64>(shape, Init::Xavier, 5).layers().to_vec(), batch::<f64>(shape, 1 + case, 6));
        // A weight of 0 has no sign, and targets of the squared loss may have any value.
        layers[1].w.data_mut()[1] = 0.0;
        let net = Network::new(shape.inputs, layers, shape.labels).unwrap();
        let batch = Batch {
            target: matrix(
                batch.x.rows(),
                shape.labels,
                &wide(batch.target.data()).iter().map(|t| 0.7 * t - 0.2).collect::<Vec<_>>(),
            ),
            ..batch
        };
        for rule in NEWER {
            let setup = RuleConfig { seed, ..RuleConfig::new(shape) };
            let built = rule.build::<f64>(&setup, &Plan::new()).unwrap();
            let got = by_boxed(built, &net, &batch);
            let naive = Naive::new(&net, &feedback(shape, rule == LearningRule::Drtp, Init::Orthogonal, seed));
            let want = naive.updates(&batch, rule, &naive_feedback(&naive, rule, seed, 0));
            for (l, (w, b)) in want.iter().enumerate() {
                assert!(relative(got.weights(l).data(), w) < 1e-13, "{shape:?} {rule} layer {l}");
                assert!(relative(got.biases(l), b) < 1e-13, "{shape:?} {rule} layer {l}");
            }
            // f32 has the same feedback, rounded.
            let narrow = by_boxed(rule.build::<f32>(&setup, &Plan::new()).unwrap(), &net.cast(), &batch.cast());
            assert!((0..want.len()).all(|l| relative(&wide(narrow.weights(l).data()), &want[l].0) < 1e-4), "{shape:?} {rule}");
            // Another seed, and another rule, are found.
            let other = Naive::new(&net, &feedback(shape, rule == LearningRule::Drtp, Init::Orthogonal, seed + 1));
            let other = other.updates(&batch, rule, &naive_feedback(&other, rule, seed + 1, 0));
            assert_eq!(relative(got.weights(0).data(), &other[0].0) > 1e-3, rule != LearningRule::Usf, "{shape:?} {rule}");
        }
    }
}

/// Several steps of plain descent with weight decay: feedback that learns, and magnitudes of each
/// step, in loops.
#[test]
fn newer_rules_train_as_their_formulas_say() {
    for shape in architectures() {
        let (rate, rho, seed) = (0.05, 0.01, 4);
        let mut net = network::<f64>(&shape, Init::Xavier, 5);
        for rule in NEWER {
            let mut naive = Naive::new(&net, &feedback(&shape, rule == LearningRule::Drtp, Init::Orthogonal, seed));
            let setup = RuleConfig { seed, ..RuleConfig::new(&shape) };
            let mut kit = Kit::boxed(rule.build::<f64>(&setup, &Plan::new()).unwrap(), &Plan::new());
            let settings = OptimizerConfig::new(OptimizerKind::Sgd, rate).unwrap();
            let mut optimizer = Optimizer::new(OptimizerConfig { weight_decay: rho, ..settings }, &net);
            let mut step = Step::new(&net, 6);
            for at in 0..4 {
                let batch = batch::<f64>(&shape, 6, 20 + at);
                step.update(&mut net, batch.x.view(), batch.target.view(), &mut kit.recipe(), &mut optimizer).unwrap();
                let sent = naive_feedback(&naive, rule, seed, at);
                for (l, (dw, db)) in naive.updates(&batch, rule, &sent).into_iter().enumerate() {
                    let moved = |w: &[f64]| w.iter().zip(&dw).map(|(w, d)| (1.0 - rho) * (w + rate * d)).collect::<Vec<_>>();
                    naive.w[l] = moved(&naive.w[l]);
                    if rule == LearningRule::Kp && l > 0 {
                        naive.feedback[l - 1] = moved(&naive.feedback[l - 1]);
                    }
                    naive.b[l].iter_mut().zip(&db).for_each(|(b, d)| *b += rate * d);
                }
            }
            for (l, layer) in net.layers().iter().enumerate() {
                assert!(relative(layer.w.data(), &naive.w[l]) < 1e-12, "{shape:?} {rule} layer {l}");
                assert!(relative(&layer.b, &naive.b[l]) < 1e-12, "{shape:?} {rule} layer {l}");
            }
            if rule == LearningRule::Kp {
                for (l, want) in (1..).zip(&naive.feedback) {
                    let state = kit.rule.save();
                    assert!(relative(state.array(&format!("B{l}"), want.len()).unwrap(), want) < 1e-12, "{shape:?} B{l}");
                }
            }
        }
    }
}

/// The difference shrinks by 1 − ρ in every step, and without decay B moves as W does, by every
/// optimizer, fused or not.
fn check_gap<T: Real>(shape: &Architecture, kind: OptimizerKind, rho: f64, fused: bool) {
    let (mut net, plan, steps) = (network::<T>(shape, Init::Orthogonal, 5), Plan::new(), 20);
    let mut kit = Kit::boxed(LearningRule::Kp.build::<T>(&RuleConfig::new(shape), &plan).unwrap(), &plan).regularized(0.1);
    let settings = OptimizerConfig::new(kind, 1e-2).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig { weight_decay: rho, ..settings }, &net);
    let gaps = |net: &Network<T>, rule: &dyn Rule<T>| -> Vec<Vec<f64>> {
        let state = rule.save();
        let of = |l: usize, w: &Matrix<T>| wide(state.array(&format!("B{l}"), w.data().len()).unwrap());
        net.layers()
            .iter()
            .enumerate()
            .skip(1)
            .map(|(l, layer)| of(l, &layer.w).iter().zip(wide(layer.w.data())).map(|(b, w)| b - w).collect())
            .collect()
    };
    let (first, before) = (gaps(&net, &*kit.rule), net.clone());
    let mut step = Step::new(&net, 6);
    for at in 0..steps {
        let batch = batch::<T>(shape, 6, 20 + at);
        let (x, t) = (batch.x.view(), batch.target.view());
        if fused {
            step.update(&mut net, x, t, &mut kit.recipe(), &mut optimizer).unwrap();
        } else {
            step.gradients(&net, x, t, &mut kit.recipe()).unwrap();
            optimizer.apply(&mut net, &step.gradients, plan.isa).unwrap();
            kit.rule.learn(&net, rho, &mut kit.exec).unwrap();
        }
    }
    let factor = (0..steps).fold(1.0, |product, _| product * (1.0 - rho));
    for (l, (gap, first)) in gaps(&net, &*kit.rule).iter().zip(&first).enumerate() {
        let want: Vec<f64> = first.iter().map(|g| factor * g).collect();
        let moved = before.layers()[l + 1].w.data() != net.layers()[l + 1].w.data();
        // Each step rounds gap, product and sum once, and 1 − ρ in all of them alike.
        let largest = wide(net.layers()[l + 1].w.data()).iter().chain(first).fold(0.0_f64, |m, x| m.max(x.abs()));
        let bound = 4.0 * steps as f64 * T::UNIT_ROUNDOFF * 2.0 * largest;
        let off = gap.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(moved && off <= bound, "{} {kind} ρ {rho} fused {fused} layer {l}: {off:e} of {bound:e}", T::NAME);
    }
}

#[test]
fn feedback_converges_to_the_weights_by_weight_decay() {
    for shape in architectures() {
        for kind in [OptimizerKind::Sgd, OptimizerKind::PublishedAdam, OptimizerKind::Adam] {
            for (rho, fused) in [(0.0, true), (0.1, true), (0.1, false), (0.0, false)] {
                check_gap::<f32>(&shape, kind, rho, fused);
                check_gap::<f64>(&shape, kind, rho, fused);
            }
        }
    }
}

/// Weights are multiplied by 1 − ρ after the update, biases are not; the two endings agree to the
/// bit.
#[test]
fn weight_decay_multiplies_weights_alone() {
    for shape in architectures() {
        let (plan, rho) = (Plan::new(), 0.25);
        let batch = batch::<f32>(&shape, 5, 1);
        let trained = |rho: f64| {
            let mut net = network::<f32>(&shape, Init::Orthogonal, 5);
            let settings = OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-2).unwrap();
            let mut optimizer = Optimizer::new(OptimizerConfig { weight_decay: rho, ..settings }, &net);
            let mut kit = Kit::new(Backprop, &plan);
            Step::new(&net, 5).update(&mut net, batch.x.view(), batch.target.view(), &mut kit.recipe(), &mut optimizer).unwrap();
            net
        };
        let (plain, decayed) = (trained(0.0), trained(rho));
        for (plain, decayed) in plain.layers().iter().zip(decayed.layers()) {
            let want: Vec<f32> = plain.w.data().iter().map(|w| 0.75 * w).collect();
            assert!(bits(&want) == bits(decayed.w.data()) && bits(&plain.b) == bits(&decayed.b), "{shape:?}");
        }
    }
}

#[test]
fn weight_decay_out_of_range_is_refused() {
    let shape = Architecture::square(8, 8, 1, 3).unwrap();
    for weight_decay in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        let config = TrainConfig { weight_decay, ..TrainConfig::published(LearningRule::Bp) };
        let error = Trainer::<f32>::new(&shape, config, 1).err().unwrap().to_string();
        assert!(error.contains("the weight decay is") && error.contains("at least 0 and below 1"), "{error}");
    }
}

/// After a divergence, feedback is as at the start of the epoch, and so are the weights.
#[test]
fn a_divergence_gives_back_feedback_too() {
    let shape = Architecture::square(8, 8, 2, 3).unwrap();
    let samples = |scale: f64| {
        let mut rng = Rng::new(1, 3);
        // The last batch is too large for f32.
        let x = (0..160).map(|k| (if k < 120 { 1.0 } else { scale } * rng.normal()) as f32).collect();
        Samples { features: 8, len: 20, x, labels: (0..20).map(|k| k % 3).collect() }
    };
    for rule in [LearningRule::Kp, LearningRule::Brsf] {
        let config = TrainConfig { batch: 5, learning_rate: 1e-2, ..TrainConfig::published(rule) };
        let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
        trainer.epoch(&samples(1.0)).unwrap();
        let before = (trainer.network().clone(), trainer.save().take_part("rule"));
        assert!(matches!(trainer.epoch(&samples(1e30)), Err(Error::Diverged { .. })));
        assert!((trainer.network().clone(), trainer.save().take_part("rule")) == before, "{rule}");
        trainer.epoch(&samples(1.0)).unwrap();
        assert!(trainer.save().take_part("rule") != before.1, "{rule}");
    }
}

/// Looking at updates leaves the rule as it is: it learns from steps alone.
#[test]
fn measurements_do_not_change_what_a_rule_learns() {
    let shape = Architecture::square(64, 16, 2, 10).unwrap();
    let digits = digits();
    for rule in NEWER {
        let trained = |looks: bool| {
            let config = TrainConfig { learning_rate: 1e-3, ..TrainConfig::published(rule) };
            let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
            for _ in 0..2 {
                trainer.epoch(&digits.train).unwrap();
                if looks {
                    trainer.alignment(&digits.train).unwrap();
                    trainer.examine(&digits.train).unwrap();
                }
            }
            trainer.save()
        };
        assert!(trained(true) == trained(false), "{rule}");
    }
}

fn digits() -> gaitprop::data::Prepared<f32> {
    data::load("digits", &data::LoadOptions::default()).unwrap().prepare(data::Scaling::Unit).unwrap()
}

/// Test accuracy after twenty epochs of one hidden layer at 1e-3.
#[test]
fn newer_rules_learn_the_digits() {
    let (shape, digits) = (Architecture::square(64, 64, 1, 10).unwrap(), digits());
    for rule in NEWER {
        let (loss, shuffle) = (Loss::CrossEntropy, true);
        let config = TrainConfig { learning_rate: 1e-3, loss, shuffle, ..TrainConfig::published(rule) };
        let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
        for _ in 0..20 {
            let _ = trainer.epoch(&digits.train).unwrap();
        }
        let accuracy = trainer.evaluate(&digits.test).unwrap().accuracy();
        println!("{rule}: {accuracy:.3}");
        assert!(accuracy > 0.9, "{rule}: {accuracy}");
    }
}
