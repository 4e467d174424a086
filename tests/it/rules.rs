//! Rules with fixed feedback against plain loops, to the bit; absolute targets against differences; what a layer's report says against counts by hand.

use crate::support::*;
use gaitprop::diagnostics::{self, LayerReport};
use gaitprop::init::{self, Init};
use gaitprop::kernels::{Activation, Plan, Real, reduce};
use gaitprop::loss::{self, Loss};
use gaitprop::rng::Rng;
use gaitprop::rule::{Absolute, Backprop, Feedback, LayerState, LearningRule, Perturbed, Route, Rule, RuleConfig, TargetForm};
use gaitprop::solve::Lu;
use gaitprop::step::{Gradients, Step};
use gaitprop::{Architecture, Exec, Network};
use gaitprop::{Error, Matrix};

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.1 };

/// A square network, a tower with auxiliary units, and first layers of either shape.
pub(crate) fn architectures() -> Vec<Architecture> {
    let square = Architecture::square(9, 9, 3, 4).unwrap();
    let tower = Architecture::tower(&[12, 12, 8, 5], 3).unwrap();
    let wide = Architecture::widths(6, &[11, 11, 7], 5).unwrap();
    let tall = Architecture::widths(20, &[8, 8], 8).unwrap();
    [square, tower, wide, tall]
        .into_iter()
        .flat_map(|shape| {
            [LEAKY, Activation::Tanh, Activation::Identity].map(|unit| Architecture {
                activation: unit,
                output_activation: unit,
                ..shape.clone()
            })
        })
        .collect()
}

pub(crate) fn network<T: Real>(shape: &Architecture, init: Init, seed: u64) -> Network<T> {
    Network::random(shape, init, seed, &Plan::new()).unwrap()
}

pub(crate) fn batch<T: Real>(shape: &Architecture, rows: usize, seed: u64) -> Batch<T> {
    let mut rng = Rng::new(seed, 3);
    let x: Vec<f64> = (0..rows * shape.inputs).map(|_| rng.normal()).collect();
    let mut target = Matrix::zeros(rows, shape.labels);
    (0..rows).for_each(|i| target.data_mut()[i * shape.labels + rng.below(shape.labels as u64) as usize] = T::ONE);
    Batch { x: matrix(rows, shape.inputs, &x), target }
}

fn by<T: Real>(rule: impl Rule<T> + 'static, net: &Network<T>, batch: &Batch<T>) -> Gradients<T> {
    by_boxed(Box::new(rule), net, batch)
}

pub(crate) fn by_boxed<T: Real>(rule: Box<dyn Rule<T>>, net: &Network<T>, batch: &Batch<T>) -> Gradients<T> {
    gradients(net, batch, &mut Kit::boxed(rule, &Plan::new())).unwrap()
}

/// The bits of all updates.
fn all_bits<T: Real>(g: &Gradients<T>, layers: usize) -> Vec<Vec<u64>> {
    (0..layers).flat_map(|l| [bits(g.weights(l).data()), bits(g.biases(l))]).collect()
}

/// Feedback as the rules have it: of the second layer, the third, …
pub(crate) fn feedback<T: Real>(shape: &Architecture, direct: bool, init: Init, seed: u64) -> Vec<Matrix<T>> {
    let (mut rng, plan) = (Rng::new(seed, 2), Plan::new());
    let shapes = shape.layers[1..].iter().map(|&(fed, width)| if direct { (shape.labels, fed) } else { (fed, width) });
    shapes.map(|(rows, cols)| init::weights(init, rows, cols, &mut rng, &plan).unwrap()).collect()
}

/// `A·B`, each element one chain of fused multiply-adds: A m×k, B k×n.
fn chain<T: Real>(a: &[T], b: &[T], (m, k, n): (usize, usize, usize)) -> Vec<T> {
    let element = |i: usize, j: usize| (0..k).fold(T::ZERO, |sum, p| a[i * k + p].mul_add(b[p * n + j], sum));
    (0..m * n).map(|ij| element(ij / n, ij % n)).collect()
}

fn transposed<T: Real>(a: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..rows * cols).map(|k| a[k % rows * cols + k / rows]).collect()
}

/// The first `keep` of `cols` columns.
fn first_columns<T: Real>(a: &[T], cols: usize, keep: usize) -> Vec<T> {
    a.chunks_exact(cols).flat_map(|row| row[..keep].to_vec()).collect()
}

/// Updates of fixed feedback, in plain loops over the formulas of `rule::feedback`: bits of ΔW and Δb of each layer.
fn by_hand<T: Real>(net: &Network<T>, batch: &Batch<T>, feedback: &[Matrix<T>], direct: bool) -> Vec<Vec<u64>> {
    let (rows, labels) = (batch.x.rows(), net.labels());
    let (mut fed_by, mut slopes, mut y) = (Vec::new(), Vec::new(), batch.x.data().to_vec());
    let mut below = net.inputs();
    for layer in net.layers() {
        let (fed, width) = (layer.fan_in(), layer.width());
        let input = first_columns(&y, below, fed);
        let h = chain(&input, layer.w.data(), (rows, fed, width));
        let units: Vec<(T, T)> = h.iter().enumerate().map(|(k, &h)| layer.activation.apply(h + layer.b[k % width])).collect();
        (y, below) = (units.iter().map(|u| u.0).collect(), width);
        slopes.push(units.into_iter().map(|u| u.1).collect::<Vec<T>>());
        fed_by.push(input);
    }
    let output_error: Vec<T> =
        (0..rows * labels).map(|k| batch.target.data()[k] - y[k / labels * net.outputs() + k % labels]).collect();
    let mut e = vec![T::ZERO; rows * net.outputs()];
    (0..rows * labels).for_each(|k| e[k / labels * net.outputs() + k % labels] = output_error[k]);
    let mean = T::from_f64(1.0 / rows as f64);
    let sent_error: Vec<T> = (0..rows * labels)
        .map(|k| slopes[net.layers().len() - 1][k / labels * net.outputs() + k % labels] * output_error[k])
        .collect();
    let mut updates = Vec::new();
    for (l, layer) in net.layers().iter().enumerate().rev() {
        let (fed, width) = (layer.fan_in(), layer.width());
        let x: Vec<T> = slopes[l].iter().zip(&e).map(|(&d, &e)| d * e).collect();
        let input: Vec<T> = transposed(&fed_by[l], rows, fed).into_iter().map(|y| mean * y).collect();
        let mut bias = vec![T::ZERO; width];
        let view = gaitprop::kernels::MatRef::new(&x, rows, width).unwrap();
        reduce::column_means(view, &mut bias, Plan::new().isa).unwrap();
        updates.push([bits(&chain(&input, &x, (fed, rows, width))), bits(&bias)]);
        if l > 0 {
            let b = &feedback[l - 1];
            let sent = if direct {
                chain(&sent_error, b.data(), (rows, labels, fed))
            } else {
                chain(&x, &transposed(b.data(), fed, width), (rows, width, fed))
            };
            // Auxiliary units have no error.
            let above = net.layers()[l - 1].width();
            e = vec![T::ZERO; rows * above];
            (0..rows * fed).for_each(|k| e[k / fed * above + k % fed] = sent[k]);
        }
    }
    updates.into_iter().rev().flatten().collect()
}

fn check_by_hand<T: Real>() {
    for (case, shape) in architectures().iter().enumerate() {
        let (net, batch) = (network::<T>(shape, Init::Xavier, 5), batch::<T>(shape, 1 + case, 6));
        for direct in [false, true] {
            for init in [Init::Orthogonal, Init::Xavier] {
                let b = feedback::<T>(shape, direct, init, 8);
                let rule: Box<dyn Rule<T>> = match direct {
                    true => Box::new(Feedback::new(Route::Direct, b.clone())),
                    false => Box::new(Feedback::new(Route::LayerByLayer, b.clone())),
                };
                let want = by_hand(&net, &batch, &b, direct);
                let layers = shape.layers.len();
                assert!(all_bits(&by_boxed(rule, &net, &batch), layers) == want, "{} {shape:?} direct {direct}", T::NAME);
                // The same from name, initialisation and seed.
                let kind = if direct { LearningRule::Dfa } else { LearningRule::Fa };
                let named = |seed| kind.build::<T>(&RuleConfig { init, seed, ..RuleConfig::new(shape) }, &Plan::new()).unwrap();
                assert!(all_bits(&by_boxed(named(8), &net, &batch), layers) == want, "{} {shape:?} {kind} by name", T::NAME);
                // Another seed is found, as is a hundredth of one element of what feeds back to the first layer.
                assert!(all_bits(&by_boxed(named(9), &net, &batch), layers) != want);
                let mut other = b;
                let first = &mut other[0].data_mut()[0];
                *first *= T::from_f64(1.01);
                assert!(by_hand(&net, &batch, &other, direct) != want, "{shape:?} {direct}");
            }
        }
    }
}

#[test]
fn feedback_is_what_the_formulas_say_to_the_bit() {
    check_by_hand::<f32>();
    check_by_hand::<f64>();
}

/// With Wᵀ itself fed back, feedback alignment is backpropagation.
#[test]
fn feedback_alignment_with_its_own_weights_is_backpropagation() {
    for shape in architectures() {
        let (net, batch) = (network::<f32>(&shape, Init::Orthogonal, 1), batch::<f32>(&shape, 7, 2));
        let own = Feedback::new(Route::LayerByLayer, net.layers()[1..].iter().map(|l| l.w.clone()).collect());
        let layers = shape.layers.len();
        assert!(all_bits(&by(own, &net, &batch), layers) == all_bits(&by(Backprop, &net, &batch), layers), "{shape:?}");
    }
}

/// Weights do not move when feedback is drawn from their seed, and are not what is drawn.
#[test]
fn feedback_has_a_stream_of_its_own() {
    let shape = Architecture::square(8, 8, 1, 8).unwrap();
    let b = feedback::<f64>(&shape, false, Init::Orthogonal, 1);
    let net = network::<f64>(&shape, Init::Orthogonal, 1);
    assert!(net.layers().iter().all(|l| l.w != b[0]));
    // Rows of direct feedback are orthonormal: an error keeps its length, but for the slopes.
    let direct = feedback::<f64>(&Architecture::square(20, 20, 1, 6).unwrap(), true, Init::Orthogonal, 1);
    for i in 0..6 {
        for j in 0..6 {
            let dot: f64 = direct[0].row(i).iter().zip(direct[0].row(j)).map(|(a, b)| a * b).sum();
            assert!((dot - f64::from(u8::from(i == j))).abs() <= 20.0 * f64::EPSILON, "{i} {j}: {dot}");
        }
    }
}

#[test]
fn feedback_for_another_network_is_refused_with_the_layer() {
    let (shape, other) = (Architecture::square(8, 8, 2, 3).unwrap(), Architecture::square(8, 8, 1, 3).unwrap());
    let wider = Architecture::square(9, 9, 2, 3).unwrap();
    let (net, batch, plan) = (network::<f32>(&shape, Init::Orthogonal, 1), batch::<f32>(&shape, 2, 1), Plan::new());
    for kind in [LearningRule::Fa, LearningRule::Dfa] {
        for (made_for, layer) in [(&other, "layer 2: there is no feedback"), (&wider, "layer 2: its feedback is")] {
            let rule = kind.build::<f32>(&RuleConfig::new(made_for), &plan).unwrap();
            let error = gradients(&net, &batch, &mut Kit::boxed(rule, &plan)).unwrap_err().to_string();
            assert!(error.starts_with(layer), "{error}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// Absolute targets.

/// Difference form and absolute targets agree as far as the latter's rounding lets them: a target of order |y| has an error of u·‖y‖·(1 + amplification), which the division
/// by γ^k magnifies at every layer, relative to the error itself. Measured worst: 0.4 of the bound.
fn check_absolute<T: Real>(gammas: &[f64]) {
    let plan = Plan::new();
    let mut most = 0.0f64;
    for shape in architectures() {
        // Between -1 and 1, where tanh's targets must lie: γ small enough that they do.
        let gammas: Vec<f64> = if shape.activation == Activation::Tanh { vec![1e-2] } else { gammas.to_vec() };
        for &gamma in &gammas {
            let (net, batch) = (network::<T>(&shape, Init::Orthogonal, 4), batch::<T>(&shape, 9, 5));
            for kind in [LearningRule::Gait, LearningRule::Itp] {
                let built = |form| kind.build::<T>(&RuleConfig { gamma, form, ..RuleConfig::new(&shape) }, &plan).unwrap();
                let (ours, theirs) =
                    (by_boxed(built(TargetForm::Difference), &net, &batch), by_boxed(built(TargetForm::Absolute), &net, &batch));
                let (_, seen) = watched(&net.cast(), &batch.cast(), kind, gamma, Loss::Squared);
                let layers = shape.layers.len();
                let mut noise = 0.0;
                for l in (0..layers).rev() {
                    if l + 1 < layers {
                        // A slope of 0.1 above magnifies by 1/a on its way through f⁻¹; what was lost above is lost here.
                        let scale = gamma.powi((layers - 1 - l) as i32);
                        noise += 4.0 * T::UNIT_ROUNDOFF * norm(&seen[l].y) / scale / norm(&seen[l].e);
                    }
                    let got = relative(&wide(theirs.weights(l).data()), &wide(ours.weights(l).data()));
                    // ΔW averages over the batch: errors of an update as of what it is made of, times its cancellation.
                    let x: Vec<f64> = seen[l].e.iter().zip(&seen[l].slope).map(|(e, d)| e * d).collect();
                    let below = if l == 0 { wide(batch.x.data()) } else { seen[l - 1].y.clone() };
                    let cancellation = norm(&below) * norm(&x) / (9.0 * norm(&wide(ours.weights(l).data())));
                    let bound = cancellation * (noise + 30.0 * T::UNIT_ROUNDOFF);
                    most = worst(most, got / bound);
                    assert!(got <= bound, "{} {shape:?} {kind} γ {gamma} layer {l}: {got:e} of {bound:e}", T::NAME);
                }
            }
        }
    }
    println!("{}: worst {most:.2} of the bound", T::NAME);
}

#[test]
fn absolute_targets_are_differences_as_far_as_rounding_lets_them() {
    check_absolute::<f64>(&[1e-2, 0.1, 0.5]);
    check_absolute::<f32>(&[0.1, 0.5]);
}

/// Where nothing cancels, because nothing is small, TP is the same in both forms to a few roundings; and γ = 0 has no targets.
#[test]
fn absolute_targets_refuse_what_they_cannot_be() {
    assert!(Absolute::gait(1.0).is_ok() && Absolute::itp(1e-3).is_ok());
    for gamma in [0.0, -0.1, 1.5, f64::NAN] {
        assert!(matches!(Absolute::gait(gamma), Err(Error::Setting(_))), "{gamma}");
    }
    let shape = Architecture::square(6, 6, 2, 3).unwrap();
    let setup = RuleConfig { gamma: 0.0, form: TargetForm::Absolute, ..RuleConfig::new(&shape) };
    for kind in LearningRule::ALL {
        assert_eq!(
            kind.build::<f32>(&setup, &Plan::new()).is_err(),
            matches!(kind, LearningRule::Gait | LearningRule::Itp),
            "{kind}"
        );
    }
    let (net, batch) = (network::<f64>(&shape, Init::Orthogonal, 4), batch::<f64>(&shape, 9, 5));
    let (ours, theirs) = (by(Perturbed::tp(), &net, &batch), by(Absolute::tp(), &net, &batch));
    for l in 0..3 {
        let error = relative(theirs.weights(l).data(), ours.weights(l).data());
        // Each layer adds a solve and an f⁻¹ that multiplies by at most 10.
        assert!(error <= 20.0 * f64::EPSILON * 10f64.powi(2 - l as i32), "layer {l}: {error:e}");
    }
}

/// The published formula loses a factor 1/γ a layer: what is left of the first layer's update in f32 is noise, and differences keep it.
#[test]
fn absolute_targets_lose_all_at_depth() {
    let shape = Architecture::square(32, 32, 5, 10).unwrap();
    let (net, batch) = (network::<f32>(&shape, Init::Orthogonal, 1), batch::<f32>(&shape, 20, 2));
    let exact = by(Perturbed::gait(1e-3).unwrap(), &net.cast::<f64>(), &batch.cast());
    let ours = by(Perturbed::gait(1e-3).unwrap(), &net, &batch);
    let theirs = by(Absolute::gait(1e-3).unwrap(), &net, &batch);
    let error = |g: &Gradients<f32>| relative(&wide(g.weights(0).data()), exact.weights(0).data());
    assert!(error(&ours) < 1e-4 && error(&theirs) > 1e3, "{:e} and {:e}", error(&ours), error(&theirs));
}

// ---------------------------------------------------------------------------------------------------------------------------
// What a layer's report says.

fn report(rule: impl Rule<f64> + 'static, net: &Network<f64>, batch: &Batch<f64>) -> Vec<LayerReport> {
    let mut kit = Kit::new(rule, &Plan::new()).regularized(0.1);
    diagnostics::examine(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap()
}

#[test]
fn reports_are_what_counting_by_hand_gives() {
    for shape in architectures() {
        let (net, batch) = (network::<f64>(&shape, Init::Xavier, 3), batch::<f64>(&shape, 6, 4));
        // A perturbation large enough to cross kinks, where tanh can bear it.
        let gamma = if shape.activation == Activation::Tanh { 1e-3 } else { 0.3 };
        let gait = Perturbed::gait(gamma).unwrap();
        let layers = shape.layers.len();
        let (got, back) = (report(gait, &net, &batch), report(Backprop, &net, &batch));
        let (_, seen) = watched(&net, &batch, LearningRule::Gait, gamma, Loss::Squared);
        let (own, bp) = (by(gait, &net, &batch), by(Backprop, &net, &batch));
        let mut crossed = 0;
        for l in 0..layers {
            let (a, b) = (own.weights(l).data(), bp.weights(l).data());
            let (dot, n) = (a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>(), a.len() as f64);
            assert!((got[l].cosine_with_bp - dot / (norm(a) * norm(b))).abs() <= 4.0 * n * f64::EPSILON, "{shape:?} {l}");
            assert!((got[l].update_norm - norm(a)).abs() <= 2.0 * n * f64::EPSILON * norm(a));
            assert!((got[l].ratio_to_bp - norm(a) / norm(b)).abs() <= 4.0 * n * f64::EPSILON * norm(a) / norm(b));
            let w = &net.layers()[l].w;
            let (gram, side) = if w.rows() <= w.cols() {
                (product(w.data(), &transposed(w.data(), w.rows(), w.cols()), w.rows(), w.cols(), w.rows()), w.rows())
            } else {
                (product(&transposed(w.data(), w.rows(), w.cols()), w.data(), w.cols(), w.rows(), w.cols()), w.cols())
            };
            let off: Vec<f64> = (0..side * side).map(|k| if k / side == k % side { 0.0 } else { gram[k] }).collect();
            let from: Vec<f64> = (0..side * side).map(|k| gram[k] - f64::from(u8::from(k / side == k % side))).collect();
            let slack = 4.0 * n * f64::EPSILON * (1.0 + norm(&gram));
            assert!(
                (got[l].offdiag - norm(&off)).abs() <= slack && (got[l].distance_from_orthogonal - norm(&from)).abs() <= slack
            );
            // An estimate from below, seldom off by more than 3; up to its rounding.
            match got[l].condition {
                None => assert_ne!(w.rows(), w.cols()),
                Some(estimate) => {
                    let sums =
                        |m: &[f64]| (0..side).map(|j| (0..side).map(|i| m[i * side + j].abs()).sum::<f64>()).fold(0.0, f64::max);
                    let exact = sums(w.data()) * sums(&inverse(w.data(), side));
                    assert!(estimate <= exact * (1.0 + 1e-10) && estimate >= exact / 3.0, "{estimate} of {exact}");
                }
            }
            // Of what is sent down alone.
            assert_eq!((got[l].solve_residual.is_some(), got[l].kink_crossings.is_some()), (l > 0, l > 0));
            assert!(got[l].solve_products.is_none_or(|p| p >= 2.0) && got[l].solve_residual.is_none_or(|r| r < 1e-12));
            assert_eq!((back[l].solve_residual, back[l].kink_crossings), (None, None));
            assert!((back[l].cosine_with_bp - 1.0).abs() <= 2.0 * f64::EPSILON && back[l].ratio_to_bp == 1.0);
            // Kinks and dead units, counted.
            let s = gamma.powi((layers - l) as i32);
            let Activation::LeakyRelu { slope } = shape.activation else {
                assert_eq!(got[l].kink_crossings.unwrap_or(0), 0);
                continue;
            };
            let width = net.layers()[l].width();
            let mut crossings = 0;
            for (k, (&y, &e)) in seen[l].y.iter().zip(&seen[l].e).enumerate() {
                let live = l + 1 < layers || k % width < shape.labels;
                let target = y + s * e * if y < 0.0 { slope * slope } else { 1.0 };
                crossings += u64::from(live && (target < 0.0) != (y < 0.0));
            }
            assert_eq!(got[l].kink_crossings, (l > 0).then_some(crossings), "{shape:?} {l}");
            crossed += crossings;
            let dead = (0..width).filter(|&j| (0..6).all(|i| seen[l].y[i * width + j] < 0.0)).count();
            assert_eq!(got[l].dead_units, dead);
        }
        assert!(crossed > 0 || shape.activation != LEAKY, "nothing crosses a kink: the count was not tried");
    }
}

/// Dead units by construction, of each activation.
#[test]
fn dead_units_are_found() {
    for (unit, bias, dead) in [
        (LEAKY, -1e3, 3),
        (LEAKY, 1e3, 0),
        (Activation::LeakyRelu { slope: 3.0 }, 1e3, 3),
        (Activation::LeakyRelu { slope: 1.0 }, -1e3, 0),
        (Activation::Tanh, 1e3, 3),
        (Activation::Tanh, -1e3, 3),
        (Activation::Identity, -1e3, 0),
    ] {
        let shape = Architecture { activation: unit, output_activation: unit, ..Architecture::square(8, 8, 1, 2).unwrap() };
        let mut layers = network::<f64>(&shape, Init::Orthogonal, 1).layers().to_vec();
        layers[0].b[2..5].fill(bias);
        // The others are dead for some samples and not for others.
        let net = Network::new(8, layers, 2).unwrap();
        let reports = report(Backprop, &net, &batch::<f64>(&shape, 40, 1));
        assert_eq!(reports[0].dead_units, dead, "{unit:?} {bias}");
    }
}

/// What cannot be measured is NaN, in JSON null; the rest is there.
#[test]
fn singular_weights_are_reported_and_no_error() {
    let shape = Architecture::square(6, 6, 2, 3).unwrap();
    let mut layers = network::<f64>(&shape, Init::Orthogonal, 1).layers().to_vec();
    layers[2].w.data_mut()[..6].fill(0.0);
    let net = Network::new(6, layers, 3).unwrap();
    let reports = report(Perturbed::gait(1e-3).unwrap(), &net, &batch::<f64>(&shape, 4, 1));
    assert!(reports.iter().all(|r| r.cosine_with_bp.is_nan() && r.update_norm.is_nan()));
    assert_eq!(reports[2].condition, Some(f64::INFINITY));
    assert!((reports[2].distance_from_orthogonal - 1.0).abs() < 1e-12 && reports[1].condition.is_some_and(|c| c < 12.0));
    let json = serde_json::to_string(&reports[2]).unwrap();
    assert!(json.contains("\"cosine_with_bp\":null") && json.contains("\"dead_units\":"), "{json}");
}

/// A rule and a solver work on one layer outside a network, keyed by the caller's version: the same
/// bits as in a step.
#[test]
fn one_layer_outside_a_network() {
    let (shape, mut exec) = (Architecture::square(8, 8, 1, 3).unwrap(), Exec::default());
    let (net, batch) = (network::<f64>(&shape, Init::Xavier, 3), batch::<f64>(&shape, 6, 4));
    for kind in [LearningRule::Gait, LearningRule::Bp] {
        let mut kit = Kit::boxed(built::<f64>(kind, &net, 1e-3), &Plan::new());
        let mut step = Step::new(&net, 6);
        step.credit(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        let (layer, y) = (&net.layers()[1], step.tape.activity(1));
        let mut e = Matrix::zeros(6, 8);
        loss::score(Loss::Squared, y, batch.target.view(), Some(e.view_mut())).unwrap();
        let (mut delta, mut below) = (Matrix::zeros(6, 8), Matrix::zeros(6, 8));
        let state = LayerState {
            index: 0,
            above: 0,
            version: 17,
            w: layer.w.view(),
            b: &layer.b,
            activation: layer.activation,
            active: 3,
            input: step.tape.activity(0),
            y,
            slope: None,
            e: e.view(),
            output_delta: step.tape.delta(1).cols(0, 3),
            decorrelation: None,
            target: batch.target.view(),
        };
        let (rule, solver) = (&mut *kit.rule, &mut Lu::new());
        let solve = state.send_down(rule, solver, delta.view_mut(), Some(below.view_mut()), &mut exec).unwrap();
        assert_eq!(solve, step.tape.solve(1));
        assert_eq!(bits(delta.data()), bits(&step.tape.delta(1).to_vec()));
        // The step's δ of the layer below is f′ of its activity times this error.
        let slope = |y: f64| if y < 0.0 { 0.1 } else { 1.0 };
        let want: Vec<f64> = step.tape.activity(0).to_vec().iter().zip(below.data()).map(|(&y, e)| slope(y) * e).collect();
        assert_eq!(bits(&want), bits(&step.tape.delta(0).to_vec()), "{kind}");
    }
}
