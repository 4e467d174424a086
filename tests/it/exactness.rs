//! What a step computes against what it should: finite differences for gradients, absolute targets in hundreds of bits for the target rules,
//! BP for GAIT-prop with orthogonal weights, and the bits of whole steps on every instruction set and number of threads.

use crate::support::big::{Bits, Update, definition};
use crate::support::*;
use gaitprop::Exec;
use gaitprop::Trace;
use gaitprop::init::{self, Init};
use gaitprop::kernels::{Activation, Isa, Par, Plan, Real, Scalar, Scratch};
use gaitprop::loss::{self, Loss};
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::ortho::{Penalty, Regularizer, Side};
use gaitprop::rng::Rng;
use gaitprop::rule::{Backprop, LearningRule, Perturbed};
use gaitprop::step::Step;
use gaitprop::{Error, Layer, Matrix, Network};
use proptest::prelude::*;

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.1 };

/// Random weights, normal biases a tenth in size. `sizes`: (fed, width) of each layer.
fn network(
    inputs: usize,
    sizes: &[(usize, usize)],
    labels: usize,
    units: [Activation; 2],
    init: Init,
    seed: u64,
) -> Network<f64> {
    let mut rng = Rng::new(seed, 0);
    let plan = Plan::new();
    let layer = |(l, &(fed, width)): (usize, &(usize, usize))| Layer {
        w: init::weights(init, fed, width, &mut rng, &plan).unwrap(),
        b: (0..width).map(|j| 0.1 * Rng::new(seed, 1 + (l * 1000 + j) as u64 % 97).normal()).collect(),
        activation: units[usize::from(l + 1 == sizes.len())],
    };
    Network::new(inputs, sizes.iter().enumerate().map(layer).collect(), labels).unwrap()
}

fn square(width: usize, depth: usize, labels: usize, unit: Activation, init: Init, seed: u64) -> Network<f64> {
    network(width, &vec![(width, width); depth], labels, [unit; 2], init, seed)
}

/// Normal inputs, one-hot targets.
fn batch(net: &Network<f64>, rows: usize, seed: u64) -> Batch<f64> {
    let mut rng = Rng::new(seed, 1);
    let x: Vec<f64> = (0..rows * net.inputs()).map(|_| rng.normal()).collect();
    let mut target = Matrix::zeros(rows, net.labels());
    for i in 0..rows {
        let label = rng.below(net.labels() as u64) as usize;
        target.data_mut()[i * net.labels() + label] = 1.0;
    }
    Batch { x: matrix(rows, net.inputs(), &x), target }
}

// ---------------------------------------------------------------------------------------------------------------------------
// Gradients against finite differences.

fn mean_loss(net: &Network<f64>, batch: &Batch<f64>, loss: Loss) -> f64 {
    let mut trace = Trace::new(net, batch.x.rows());
    net.forward(batch.x.view(), &mut trace, &mut Exec::default()).unwrap();
    loss::score(loss, trace.output(), batch.target.view(), None).unwrap().mean_loss()
}

/// A network with one parameter moved: weights come first, then biases.
fn moved(net: &Network<f64>, l: usize, k: usize, by: f64) -> Network<f64> {
    let mut layers = net.layers().to_vec();
    let weights = layers[l].w.data().len();
    if k < weights {
        layers[l].w.data_mut()[k] += by;
    } else {
        layers[l].b[k - weights] += by;
    }
    Network::new(net.inputs(), layers, net.labels()).unwrap()
}

const STEP: f64 = 1e-5;

/// The largest difference between minus the slope of `value` along a parameter and the direction that was given for it.
fn against_differences(net: &Network<f64>, directions: &[Vec<f64>], value: &dyn Fn(&Network<f64>) -> f64) -> f64 {
    let mut most = 0.0;
    for (l, directions) in directions.iter().enumerate() {
        for (k, direction) in directions.iter().enumerate() {
            let slope = (value(&moved(net, l, k, STEP)) - value(&moved(net, l, k, -STEP))) / (2.0 * STEP);
            most = worst(most, (slope + direction).abs());
        }
    }
    most
}

/// Name, width of the input, (fed, width) of each layer.
type Shape = (&'static str, usize, Vec<(usize, usize)>);

fn shapes() -> [Shape; 4] {
    [
        ("square", 6, vec![(6, 6); 4]),
        ("tower", 9, vec![(9, 9), (7, 7), (5, 5)]),
        ("wide first layer", 5, vec![(5, 8), (8, 8), (6, 6)]),
        ("tall first layer", 11, vec![(11, 6), (6, 6)]),
    ]
}

#[test]
fn backpropagation_is_the_gradient() {
    let plan = Plan::new();
    for (name, inputs, sizes) in shapes() {
        for unit in [LEAKY, Activation::LeakyRelu { slope: 0.5 }, Activation::Tanh, Activation::Identity] {
            for loss in [Loss::Squared, Loss::CrossEntropy] {
                let net = network(inputs, &sizes, 3, [unit, loss.output_activation(unit)], Init::Xavier, 3);
                let batch = batch(&net, 5, 4);
                let g = gradients(&net, &batch, &mut Kit { loss, ..Kit::new(Backprop, &plan) }).unwrap();
                // A kink within reach of a step would make the difference meaningless.
                let (_, seen) = watched(&net, &batch, LearningRule::Bp, 0.0, loss);
                let kinked = matches!(unit, Activation::LeakyRelu { .. });
                assert!(
                    !kinked || seen.iter().all(|s| s.y.iter().all(|y| y.abs() > 1e2 * STEP * 0.1)),
                    "another seed: {name} {unit:?}"
                );
                let mut directions: Vec<Vec<f64>> =
                    (0..sizes.len()).map(|l| [g.weights(l).data(), g.biases(l)].concat()).collect();
                let value = |net: &Network<f64>| mean_loss(net, &batch, loss);
                let error = against_differences(&net, &directions, &value);
                // Truncation 1e-10 times a third derivative, rounding 1e-16 / 1e-5 times the loss.
                println!(
                    "{name}, {unit:?}, {loss}: {error:.1e} of {:.1e}",
                    directions.iter().flatten().fold(0.0f64, |m, d| m.max(d.abs()))
                );
                assert!(error <= 2e-10, "{name} {unit:?} {loss}: {error:e}");
                // One wrong element, by a millionth of the largest.
                *directions.last_mut().unwrap().last_mut().unwrap() += 1e-6;
                assert!(against_differences(&net, &directions, &value) > 1e-7);
            }
        }
    }
}

#[test]
fn regularisers_are_gradients_of_their_value() {
    let plan = Plan::new();
    let _scratch = Scratch::new();
    for (inputs, sizes) in [(5, vec![(5, 5), (5, 5), (4, 4)]), (4, vec![(4, 7), (7, 7)]), (7, vec![(7, 4), (4, 4)])] {
        let net = network(inputs, &sizes, 2, [LEAKY; 2], Init::Xavier, 8);
        for form in [Penalty::OffDiagonal, Penalty::Identity] {
            for side in [Side::Rows, Side::Columns] {
                let ortho = Regularizer { form, side, ..Regularizer::new(0.3).unwrap() };
                let mut directions = Vec::new();
                for layer in net.layers() {
                    let mut delta = Matrix::<f64>::zeros(layer.fan_in(), layer.width());
                    let n = layer.fan_in().min(layer.width());
                    let mut gram = Matrix::<f64>::zeros(n, n);
                    ortho.descend(layer.w.view(), 1.0, delta.view_mut(), gram.view_mut(), &mut Exec::new(plan.clone())).unwrap();
                    directions.push([delta.data(), &vec![0.0; layer.width()]].concat());
                }
                let value = |net: &Network<f64>| ortho.value(net, &mut Exec::new(plan.clone())).unwrap();
                let error = against_differences(&net, &directions, &value);
                println!("{sizes:?} {form} {side}: {error:.1e}");
                // Truncation: 1e-10 times the third derivative, 24 λ |w| a term; rounding: 1e-16 / 1e-5 times R, about 5.
                assert!(error <= 1e-9, "{sizes:?} {form} {side}: {error:e}");
                // Its own other forms are not its gradient. (The shorter side of a rectangular layer is the only one.)
                let other = Regularizer {
                    form: if form == Penalty::Identity { Penalty::OffDiagonal } else { Penalty::Identity },
                    ..ortho
                };
                let value = |net: &Network<f64>| other.value(net, &mut Exec::new(plan.clone())).unwrap();
                assert!(against_differences(&net, &directions, &value) > 1e-2);
            }
        }
        // In a step it adds to the rule's direction, and only to weights.
        let batch = batch(&net, 3, 9);
        let ortho = Regularizer { side: Side::Columns, form: Penalty::Identity, ..Regularizer::new(0.3).unwrap() };
        let g = gradients(&net, &batch, &mut Kit { regularizer: ortho, ..Kit::new(Backprop, &plan) }).unwrap();
        let directions: Vec<Vec<f64>> = (0..sizes.len()).map(|l| [g.weights(l).data(), g.biases(l)].concat()).collect();
        let value =
            |net: &Network<f64>| mean_loss(net, &batch, Loss::Squared) + ortho.value(net, &mut Exec::new(plan.clone())).unwrap();
        assert!(against_differences(&net, &directions, &value) <= 1e-9);
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// Target rules against their definition.

/// An update's error may be this many times what `expected_error` foretells. Measured worst: 1.1 (the test prints it).
const C: f64 = 2.0;

/// Relative errors of a rule's weight updates and bias updates, layer by layer, and what was expected of the former.
fn errors_by_layer<T: Real>(
    net: &Network<f64>,
    batch: &Batch<f64>,
    kind: LearningRule,
    gamma: (f64, f64),
    bits: Bits,
) -> Vec<(f64, f64, f64)> {
    let (net, batch) = (net.cast::<T>(), batch.cast::<T>());
    let g = gamma.0 / gamma.1;
    let got = updates(&net, &batch, kind, if g < 1e-30 { 0.0 } else { g });
    let want = definition(&net, &batch, kind, gamma, bits);
    let expected = expected_error(&net.cast(), &batch.cast(), kind, g, T::UNIT_ROUNDOFF);
    let error = |(l, (dw, db)): (usize, &(Vec<f64>, Vec<f64>))| {
        (relative(&wide(got.weights(l).data()), dw), relative(&wide(got.biases(l)), db), expected[l])
    };
    want.iter().enumerate().map(error).collect()
}

/// Worst layer and median layer, and the worst error of weights in units of what is expected. Biases are the same sum with ones for
/// activities: as good, or within four times as much.
fn summary(errors: &[(f64, f64, f64)]) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = errors.iter().map(|e| e.0).collect();
    sorted.sort_by(f64::total_cmp);
    let ratio = errors.iter().fold(0.0, |most, e| worst(most, worst(e.0, e.1 / 4.0) / e.2));
    (*sorted.last().unwrap(), sorted[sorted.len() / 2], ratio)
}

/// Enough for γ^L, the condition of the weights and 150 more.
fn bits_for(depth: usize, gamma: (f64, f64)) -> Bits {
    Bits(250 + (depth as f64 * (gamma.1 / gamma.0).log2()) as usize)
}

fn check_definition<T: Real>(
    name: &str,
    net: &Network<f64>,
    batch: &Batch<f64>,
    kind: LearningRule,
    gamma: (f64, f64),
) -> (f64, f64) {
    let depth = net.layers().len();
    let (most, median, ratio) = summary(&errors_by_layer::<T>(net, batch, kind, gamma, bits_for(depth, gamma)));
    println!("{name:12} {:5} {:8} {depth:3} {} {most:9.1e} {median:9.1e} {ratio:8.2}", kind.name(), gamma.0 / gamma.1, T::NAME);
    assert!(ratio <= C, "{name} {kind} {} layers {}: {ratio}", depth, T::NAME);
    (most, median)
}

/// The reference keeps the definition's subtractions, in up to 750 bits, and the slope 1/10 and γ = 1/1000 that are meant: rounding
/// them to the element type counts as an error of the kernels. It starts from weights, biases and inputs as that type holds them.
#[test]
fn table_by_depth() {
    let gamma = (1.0, 1000.0);
    println!("per-layer relative error of the weight update, leaky ReLU 0.1, batch 4");
    println!("weights      rule  gamma  depth            worst    median  worst / expected");
    for (name, init) in [("orthogonal", Init::Orthogonal), ("gaussian", Init::Xavier)] {
        for depth in [2, 5, 10, 20, 50] {
            let net = square(if depth < 20 { 16 } else { 10 }, depth, 4, LEAKY, init, 100 + depth as u64);
            let batch = batch(&net, 4, 7);
            for kind in [LearningRule::Gait, LearningRule::Itp, LearningRule::Tp] {
                // Without the squared slope an error grows tenfold at each unit below its kink: f32 ends before the layers do.
                if kind != LearningRule::Gait && depth > 20 {
                    continue;
                }
                let narrow = check_definition::<f32>(name, &net, &batch, kind, gamma);
                let wide = check_definition::<f64>(name, &net, &batch, kind, gamma);
                if kind == LearningRule::Gait && init == Init::Orthogonal {
                    // The promise: at every depth.
                    assert!(narrow.0 <= 3e-6 && wide.0 <= 1e-14, "{depth}: {narrow:?} {wide:?}");
                }
            }
        }
    }
}

/// The other units, shapes and scales.
#[test]
fn target_rules_are_their_definition() {
    let small = (1.0, 100.0);
    for (name, inputs, sizes) in shapes() {
        for unit in [
            LEAKY,
            Activation::LeakyRelu { slope: 0.5 },
            Activation::LeakyRelu { slope: 2.0 },
            Activation::Identity,
            Activation::Tanh,
        ] {
            let net = network(inputs, &sizes, 3, [unit; 2], Init::Orthogonal, 13);
            let batch = batch(&net, 4, 14);
            // TP's targets would leave the range of tanh.
            let kinds = if unit == Activation::Tanh {
                vec![LearningRule::Gait, LearningRule::Itp]
            } else {
                vec![LearningRule::Gait, LearningRule::Itp, LearningRule::Tp]
            };
            for kind in kinds {
                check_definition::<f32>(name, &net, &batch, kind, small);
                check_definition::<f64>(name, &net, &batch, kind, small);
            }
        }
    }
    // tanh, deeper, with a γ that makes its curvature felt.
    for depth in [5, 10] {
        for init in [Init::Orthogonal, Init::Xavier] {
            let net = square(8, depth, 4, Activation::Tanh, init, 17);
            let batch = batch(&net, 3, 18);
            check_definition::<f32>("tanh", &net, &batch, LearningRule::Gait, (1.0, 20.0));
            check_definition::<f64>("tanh", &net, &batch, LearningRule::Gait, (1.0, 20.0));
        }
    }
}

/// γ = 0 is what γ = 1e-40 tends to.
#[test]
fn the_limit_is_the_limit() {
    for unit in [LEAKY, Activation::Tanh] {
        for depth in [2, 5, 10] {
            let net = square(8, depth, 4, unit, Init::Orthogonal, 19);
            let batch = batch(&net, 3, 20);
            for kind in [LearningRule::Gait, LearningRule::Itp] {
                check_definition::<f32>("limit", &net, &batch, kind, (1.0, 1e40));
                check_definition::<f64>("limit", &net, &batch, kind, (1.0, 1e40));
            }
        }
    }
}

/// The oracle can fail: another γ, another rule, one wrong element.
#[test]
fn the_definition_fails_what_it_should() {
    let net = square(12, 4, 4, LEAKY, Init::Xavier, 23);
    let batch = batch(&net, 12, 24);
    let gamma = (3.0, 10.0);
    let right = definition(&net, &batch, LearningRule::Gait, gamma, bits_for(4, gamma));
    let expected = expected_error(&net, &batch, LearningRule::Gait, 0.3, f64::EPSILON / 2.0);
    let ratio = |want: &[Update], l: usize, kind, gamma| {
        relative(updates(&net, &batch, kind, gamma).weights(l).data(), &want[l].0) / (C * expected[l])
    };
    for l in 0..3 {
        assert!(ratio(&right, l, LearningRule::Gait, 0.3) <= 1.0);
        assert!(ratio(&right, l, LearningRule::Itp, 0.3) > 1.0);
        assert!(ratio(&right, l, LearningRule::Bp, 0.3) > 1.0);
        let mut wrong = right.clone();
        let largest = wrong[l].0.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        *largest *= 1.0 + 1e-9;
        assert!(ratio(&wrong, l, LearningRule::Gait, 0.3) > 1.0);
    }
    // γ counts where a unit crosses its kink.
    assert!(ratio(&right, 0, LearningRule::Gait, 0.3001) > 1.0);
}

#[test]
fn fifty_layers_in_f32_are_those_of_f64() {
    let net = square(64, 50, 10, LEAKY, Init::Orthogonal, 31).cast::<f32>();
    let batch = batch(&net.cast(), 16, 32).cast::<f32>();
    for kind in [LearningRule::Bp, LearningRule::Gait] {
        let (narrow, wide_net) = (updates(&net, &batch, kind, 1e-3), net.cast::<f64>());
        let double = updates(&wide_net, &batch.cast(), kind, 1e-3);
        let expected = expected_error(&wide_net, &batch.cast(), kind, 1e-3, <f32 as Scalar>::UNIT_ROUNDOFF);
        let (mut most, mut ratio) = (0.0, 0.0);
        for (l, expected) in expected.into_iter().enumerate() {
            let error = relative(&wide(narrow.weights(l).data()), double.weights(l).data());
            most = worst(most, error);
            ratio = worst(ratio, error / expected);
        }
        println!("{kind}: 50 layers of 64, f32 against f64: {most:.1e}, {ratio:.2} of what is expected");
        assert!(ratio <= C && most <= 2e-5, "{kind}: {ratio} {most:e}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------------
// With orthogonal weights GAIT-prop is backpropagation.

/// Moves biases so that no unit lies near its kink: a unit with a sample closer than `margin` is taken to one side, with all samples.
fn away_from_kinks(net: Network<f64>, batch: &Batch<f64>, margin: f64, seed: u64) -> Network<f64> {
    let mut rng = Rng::new(seed, 2);
    let mut layers = net.layers().to_vec();
    let rows = batch.x.rows();
    let mut y = batch.x.data().to_vec();
    for layer in &mut layers {
        let (fed, width) = (layer.fan_in(), layer.width());
        let below: Vec<f64> = y.chunks(y.len() / rows).flat_map(|row| row[..fed].to_vec()).collect();
        let mut h = product(&below, layer.w.data(), rows, fed, width);
        for j in 0..width {
            let column = |h: &[f64]| (0..rows).map(|i| h[i * width + j]).collect::<Vec<_>>();
            let sums: Vec<f64> = column(&h).iter().map(|h| h + layer.b[j]).collect();
            if sums.iter().any(|h| h.abs() < margin) {
                let side = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
                layer.b[j] += side * (1.0 + sums.iter().fold(0.0f64, |m, h| m.max(h.abs())));
            }
            (0..rows).for_each(|i| h[i * width + j] = layer.activation.apply(h[i * width + j] + layer.b[j]).0);
        }
        y = h;
    }
    Network::new(net.inputs(), layers, net.labels()).unwrap()
}

/// Worst over layers of ‖Δ_GAIT − Δ_BP‖ in units of √n · u · ‖y_{l−1}‖ Σ_{k≥l} ‖x_k‖ / B; `None` if a unit crosses its kink.
///
/// What the unit is: both rules share the forward pass. Every layer's product or solve is off by a few √n·u of its operand x_k = D∘e_k
/// (W itself is orthogonal to rounding only), nothing below makes that larger (D ≤ 1, W orthogonal), and the update is a
/// product with y_{l−1} divided by the batch.
fn distance_to_bp<T: Real>(net: &Network<f64>, batch: &Batch<f64>, gamma: f64) -> Option<f64> {
    let (net, batch) = (net.cast::<T>(), batch.cast::<T>());
    let (wide_net, wide_batch) = (net.cast::<f64>(), batch.cast::<f64>());
    let (rows, depth) = (batch.x.rows(), net.layers().len());
    let (_, seen) = watched(&wide_net, &wide_batch, LearningRule::Gait, gamma, Loss::Squared);
    for (l, seen) in seen.iter().enumerate() {
        let (s, _) = perturbation(LearningRule::Gait, gamma, depth - 1 - l).unwrap();
        // With a margin for the rounding of T, on either side.
        let near = |(y, e): (&f64, &f64)| y.abs() <= 2.0 * s * e.abs() + 1e4 * T::UNIT_ROUNDOFF;
        if seen.y.iter().zip(&seen.e).any(near) {
            return None;
        }
    }
    let (gait, bp) = (updates(&net, &batch, LearningRule::Gait, gamma), updates(&net, &batch, LearningRule::Bp, gamma));
    let (mut most, mut above) = (0.0, 0.0);
    for l in (0..depth).rev() {
        above += norm(&seen[l].e.iter().zip(&seen[l].slope).map(|(e, d)| e * d).collect::<Vec<_>>());
        let below = if l == 0 { norm(wide_batch.x.data()) } else { norm(&seen[l - 1].y) };
        let unit = (net.layers()[l].width() as f64).sqrt() * T::UNIT_ROUNDOFF / rows as f64;
        let difference = |a: &[T], b: &[T]| norm(&wide(a).iter().zip(wide(b)).map(|(a, b)| a - b).collect::<Vec<_>>());
        let w = difference(gait.weights(l).data(), bp.weights(l).data()) / below;
        let b = difference(gait.biases(l), bp.biases(l)) / (rows as f64).sqrt();
        if w > 0.0 || b > 0.0 {
            most = worst(most, worst(w, b) / (unit * above));
        }
    }
    // An output that is its target to the rounding of T has no error to send down.
    (above > 1e4 * T::UNIT_ROUNDOFF).then_some(most)
}

/// The distance may be this many of its units. Measured worst over 12,000 networks: 1.9.
const ALIKE: f64 = 4.0;

#[derive(Clone, Copy, Debug)]
struct Drawn {
    inputs: usize,
    width: usize,
    depth: usize,
    rows: usize,
    gamma: f64,
    slope: f64,
    seed: u64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let gamma = proptest::sample::select(vec![0.0, 1e-3, 1e-2]);
    (2usize..=40, 1usize..=40, any::<bool>(), 1usize..=12, 1usize..=8, gamma, 0.05f64..=1.0, any::<u64>()).prop_map(
        |(width, other, square, depth, rows, gamma, slope, seed)| {
            let inputs = if square { width } else { other };
            Drawn { inputs, width, depth, rows, gamma, slope, seed }
        },
    )
}

/// Orthogonal weights, or such of which every row is twice or half as long: far from orthogonal, yet well-conditioned.
fn draw(d: Drawn, orthogonal: bool) -> (Network<f64>, Batch<f64>) {
    let mut sizes = vec![(d.width, d.width); d.depth];
    sizes[0].0 = d.inputs;
    let labels = 1 + d.seed as usize % d.width;
    // A stream for each bias, as in `network`, would take nine tenths of the time of these tests.
    let (mut weights, mut biases, mut rng) = (Rng::new(d.seed, 0), Rng::new(d.seed, 4), Rng::new(d.seed, 6));
    let plan = Plan::new();
    let layer = |&(fed, width): &(usize, usize)| Layer {
        w: init::weights(Init::Orthogonal, fed, width, &mut weights, &plan).unwrap(),
        b: (0..width).map(|_| 0.1 * biases.normal()).collect(),
        activation: Activation::LeakyRelu { slope: d.slope },
    };
    let mut layers: Vec<_> = sizes.iter().map(layer).collect();
    for layer in layers.iter_mut().filter(|_| !orthogonal) {
        let width = layer.width();
        for row in layer.w.data_mut().chunks_mut(width) {
            let factor = if rng.uniform() < 0.5 { 0.5 } else { 2.0 };
            row.iter_mut().for_each(|w| *w *= factor);
        }
    }
    let net = Network::new(d.inputs, layers, labels).unwrap();
    let batch = batch(&net, d.rows, d.seed);
    (away_from_kinks(net, &batch, 0.1, d.seed), batch)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_orthogonal_weights_gait_is_backpropagation(d in drawn()) {
        let (net, batch) = draw(d, true);
        let (narrow, wide) = (distance_to_bp::<f32>(&net, &batch, d.gamma), distance_to_bp::<f64>(&net, &batch, d.gamma));
        prop_assume!(narrow.is_some() && wide.is_some());
        let (narrow, wide) = (narrow.unwrap(), wide.unwrap());
        prop_assert!(narrow <= ALIKE && wide <= ALIKE, "f32 {narrow}, f64 {wide}");
    }

    /// Weights that are not orthogonal, otherwise the same.
    #[test]
    fn with_other_weights_it_is_not(d in drawn()) {
        prop_assume!(d.depth > 1);
        let (net, batch) = draw(d, false);
        let (narrow, wide) = (distance_to_bp::<f32>(&net, &batch, 0.0), distance_to_bp::<f64>(&net, &batch, 0.0));
        prop_assume!(narrow.is_some() && wide.is_some());
        let (narrow, wide) = (narrow.unwrap(), wide.unwrap());
        prop_assert!(narrow > 1e3 * ALIKE && wide > 1e10 * ALIKE, "f32 {narrow}, f64 {wide}");
    }
}

/// How close the property's measure comes to its bound, and that it is not met by skipping.
#[test]
fn the_property_is_met_by_most_networks() {
    let (mut most, mut met) = ([0.0; 2], 0);
    for seed in 0..400u64 {
        let mut rng = Rng::new(seed, 5);
        let mut below = |n: u64| rng.below(n) as usize;
        let (width, depth, rows) = (2 + below(39), 1 + below(12), 1 + below(8));
        let gamma = [0.0, 1e-3, 1e-2][below(3)];
        let inputs = if below(2) == 0 { width } else { 1 + below(40) };
        let d = Drawn { inputs, width, depth, rows, gamma, slope: 0.05 + 0.95 * rng.uniform(), seed };
        let (net, batch) = draw(d, true);
        let (narrow, wide) = (distance_to_bp::<f32>(&net, &batch, gamma), distance_to_bp::<f64>(&net, &batch, gamma));
        if let (Some(narrow), Some(wide)) = (narrow, wide) {
            met += 1;
            most = [worst(most[0], narrow), worst(most[1], wide)];
        }
    }
    println!(
        "GAIT against BP, orthogonal weights: worst {:.2} (f32) and {:.2} (f64) units; {met} of 400 networks without a crossing",
        most[0], most[1]
    );
    assert!(met >= 300 && most[0] <= ALIKE && most[1] <= ALIKE);
}

// ---------------------------------------------------------------------------------------------------------------------------
// Batches, towers, failures.

/// Entry by entry, (B + 3)·u·(|y|ᵀ|x|)/B: what any order of the batch's sum can change.
fn order_bound(net: &Network<f64>, batch: &Batch<f64>, kind: LearningRule, gamma: f64, u: f64) -> Vec<Vec<f64>> {
    let (_, seen) = watched(net, batch, kind, gamma, Loss::Squared);
    let rows = batch.x.rows();
    let layer = |l: usize| {
        let (fed, width) = (net.layers()[l].fan_in(), net.layers()[l].width());
        let below = if l == 0 { batch.x.data().to_vec() } else { seen[l - 1].y.clone() };
        let wide = below.len() / rows;
        let below: Vec<f64> = (0..fed * rows).map(|k| below[k % rows * wide + k / rows].abs()).collect();
        let x: Vec<f64> = seen[l].e.iter().zip(&seen[l].slope).map(|(e, d)| (e * d).abs()).collect();
        let part = (rows as f64 + 3.0) * u / rows as f64;
        product(&below, &x, fed, rows, width).into_iter().map(|v| part * v).collect()
    };
    (0..net.layers().len()).map(layer).collect()
}

fn within(got: &[f64], want: &[f64], bound: &[f64], what: &str) {
    for (i, ((g, w), b)) in got.iter().zip(want).zip(bound).enumerate() {
        assert!((g - w).abs() <= *b, "{what}[{i}]: {g:e} and {w:e} differ by more than {b:e}");
    }
}

fn check_batches<T: Real>() {
    let net = network(20, &[(20, 20), (14, 14), (9, 9)], 4, [LEAKY; 2], Init::Xavier, 41).cast::<T>();
    let rows = 11;
    let whole = batch(&net.cast(), rows, 42).cast::<T>();
    let choose = |order: &[usize]| {
        let pick =
            |m: &Matrix<T>| matrix::<T>(order.len(), m.cols(), &order.iter().flat_map(|&i| wide(m.row(i))).collect::<Vec<_>>());
        Batch { x: pick(&whole.x), target: pick(&whole.target) }
    };
    let mut order: Vec<usize> = (0..rows).collect();
    Rng::new(43, 0).shuffle(&mut order);
    for kind in LearningRule::ALL {
        let bound = order_bound(&net.cast(), &whole.cast(), kind, 1e-2, T::UNIT_ROUNDOFF);
        let first = updates(&net, &whole, kind, 1e-2);
        let permuted = updates(&net, &choose(&order), kind, 1e-2);
        let alone: Vec<_> = (0..rows).map(|i| updates(&net, &choose(&[i]), kind, 1e-2)).collect();
        for (l, bound) in bound.iter().enumerate() {
            let all = wide(first.weights(l).data());
            within(&wide(permuted.weights(l).data()), &all, bound, "permuted");
            // A batch is the mean of its samples alone.
            let mean: Vec<f64> = (0..all.len())
                .map(|k| alone.iter().map(|g| g.weights(l).data()[k].to_f64()).sum::<f64>() / rows as f64)
                .collect();
            within(&all, &mean, bound, "mean of samples");
            let mean: Vec<f64> = (0..first.biases(l).len())
                .map(|k| alone.iter().map(|g| g.biases(l)[k].to_f64()).sum::<f64>() / rows as f64)
                .collect();
            assert!(relative(&wide(first.biases(l)), &mean) <= 20.0 * T::UNIT_ROUNDOFF);
            // Without one sample it is another update.
            let fewer = updates(&net, &choose(&order[1..]), kind, 1e-2);
            let differs = wide(fewer.weights(l).data()).iter().zip(&all).zip(bound).any(|((g, w), b)| (g - w).abs() > *b);
            assert!(differs, "{kind} {l}");
        }
    }
}

#[test]
fn a_batch_is_a_mean_in_any_order() {
    check_batches::<f32>();
    check_batches::<f64>();
}

#[test]
fn auxiliary_units_get_no_error() {
    for unit in [LEAKY, Activation::Identity] {
        let sizes = [(18, 18), (11, 11), (10, 10), (6, 6)];
        let net = network(18, &sizes, 4, [unit; 2], Init::Orthogonal, 51);
        let batch = batch(&net, 5, 52);
        for kind in LearningRule::ALL {
            let (gradients, seen) = watched(&net, &batch, kind, 1e-2, Loss::Squared);
            for (l, seen) in seen.iter().enumerate() {
                let width = sizes[l].1;
                let fed_above = sizes.get(l + 1).map_or(net.labels(), |s| s.0);
                for (k, &e) in seen.e.iter().enumerate() {
                    let auxiliary = k % width >= fed_above;
                    assert!(!auxiliary || e == 0.0, "{kind} layer {l}, unit {}: {e:e}", k % width);
                    // The others get one, as random numbers go.
                    assert!(auxiliary || e != 0.0, "{kind} layer {l}, unit {}", k % width);
                }
                for (k, &w) in gradients.weights(l).data().iter().enumerate() {
                    assert!(k % width < fed_above || w == 0.0, "{kind} layer {l}, weight {k}: {w:e}");
                }
            }
        }
    }
}

/// Everything a step may change, as bits.
fn state<T: Real>(net: &Network<T>, optimizer: &Optimizer<T>) -> (Vec<Vec<u64>>, u64) {
    let mut all = Vec::new();
    for (l, layer) in net.layers().iter().enumerate() {
        all.extend([bits(layer.w.data()), bits(&layer.b)]);
        for m in [optimizer.weight_moments(l), optimizer.bias_moments(l)] {
            all.extend([bits(&m.first), bits(&m.second)]);
        }
    }
    (all, optimizer.steps())
}

fn check_singular<T: Real>() {
    for singular in 0..4 {
        let net = square(9, 4, 3, LEAKY, Init::Xavier, 61);
        let mut layers = net.layers().to_vec();
        // Two equal rows, and one of zeros in another layer's stead.
        let row: Vec<f64> = if singular % 2 == 0 { layers[singular].w.row(2).to_vec() } else { vec![0.0; 9] };
        layers[singular].w.data_mut()[5 * 9..6 * 9].copy_from_slice(&row);
        let net = Network::new(9, layers, 3).unwrap();
        let batch = batch(&net, 4, 62).cast::<T>();
        let plan = Plan::new();
        for kind in LearningRule::ALL {
            let mut net = net.cast::<T>();
            let mut kit = Kit::boxed(built::<T>(kind, &net, 1e-3), &plan).regularized(0.1);
            let mut optimizer = Optimizer::new(OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-3).unwrap(), &net);
            let mut step = Step::new(&net, 4);
            let before = state(&net, &optimizer);
            let result = step.update(&mut net, batch.x.view(), batch.target.view(), &mut kit.recipe(), &mut optimizer);
            if !kind.sends_targets() || singular == 0 {
                // Nothing goes down through the first layer.
                result.unwrap();
                assert_ne!(before, state(&net, &optimizer));
            } else {
                match result {
                    Err(Error::Singular { layer, condition, .. }) if layer == singular => {
                        assert!(!(condition < 1.0 / T::UNIT_ROUNDOFF / 1e3))
                    }
                    other => panic!("{kind} layer {singular}: {other:?}"),
                }
                assert_eq!(before, state(&net, &optimizer), "{kind} layer {singular}");
            }
        }
    }
}

#[test]
fn singular_weights_change_nothing() {
    check_singular::<f32>();
    check_singular::<f64>();
}

/// A target outside tanh's range names its layer, sample and unit, and changes nothing.
#[test]
fn a_target_out_of_range_changes_nothing() {
    let mut net = square(6, 3, 3, Activation::Tanh, Init::Orthogonal, 63);
    let mut batch = batch(&net, 4, 64);
    // A label beyond 1, for one sample alone.
    batch.target.data_mut()[2 * 3 + 1] = 5.0;
    let plan = Plan::new();
    let mut kit = Kit::new(Perturbed::tp(), &plan);
    let mut optimizer = Optimizer::new(OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-3).unwrap(), &net);
    batch.target.data_mut().iter_mut().filter(|t| **t == 1.0).for_each(|t| *t = 0.5);
    let before = state(&net, &optimizer);
    let mut step = Step::new(&net, 4);
    let result = step.update(&mut net, batch.x.view(), batch.target.view(), &mut kit.recipe(), &mut optimizer);
    assert!(matches!(result, Err(Error::OutOfRange { layer: 2, sample: 2, unit: 1 })), "{result:?}");
    assert_eq!(before, state(&net, &optimizer));
}

// ---------------------------------------------------------------------------------------------------------------------------
// The same bits everywhere.

/// Three steps, and what they left: parameters, moments, activities; or the error, in words.
fn steps<T: Real>(net: &Network<f64>, batch: &Batch<f64>, kind: LearningRule, plan: &Plan) -> (Vec<Vec<u64>>, String) {
    let (mut net, batch) = (net.cast::<T>(), batch.cast::<T>());
    let mut kit = Kit::boxed(built::<T>(kind, &net, 1e-3), plan).regularized(0.1);
    let mut optimizer = Optimizer::new(OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-3).unwrap(), &net);
    let mut step = Step::new(&net, batch.x.rows());
    let mut said = String::new();
    for _ in 0..3 {
        let result = step.update(&mut net, batch.x.view(), batch.target.view(), &mut kit.recipe(), &mut optimizer);
        // Of f64 values too: residuals and losses print all their digits.
        said += &format!("{result:?}");
    }
    let (mut all, _) = state(&net, &optimizer);
    all.push(bits(&step.tape.activity(net.layers().len() - 1).cols(0, net.labels()).to_vec()));
    (all, said)
}

fn check_bits<T: Real>() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let pools: Vec<Par> = (1..=4).map(|n| Par::Pool(std::sync::Arc::new(pool(n)))).collect();
    for unit in [LEAKY, Activation::Tanh] {
        let net = network(61, &[(61, 75), (70, 70), (41, 41), (17, 17)], 10, [unit; 2], Init::Orthogonal, 71);
        let batch = batch(&net, 23, 72);
        for kind in LearningRule::ALL {
            let mut first = None;
            for isa in Isa::available() {
                for par in std::iter::once(Par::Seq).chain(pools.iter().cloned()) {
                    let mut plan = Plan::new().with_isa(isa).with_par(par.clone());
                    // Threads even for products as small as these.
                    plan.min_work = Some(1);
                    let left = steps::<T>(&net, &batch, kind, &plan);
                    let first = first.get_or_insert_with(|| left.clone());
                    assert!(
                        *first == left,
                        "{} {unit:?} {kind}: {isa}, {} threads differ from the first run",
                        T::NAME,
                        par.threads()
                    );
                }
            }
            // Steps were taken; of tanh's plain targets some are out of range, everywhere the same.
            let (_, said) = first.unwrap();
            assert!(
                said.starts_with("Ok") || (unit == Activation::Tanh && kind == LearningRule::Tp && said.contains("OutOfRange")),
                "{kind} {said}"
            );
        }
        // Bits that see a difference: another rule, another precision of one weight.
        let plan = Plan::new();
        let one = steps::<T>(&net, &batch, LearningRule::Gait, &plan).0;
        assert_ne!(one, steps::<T>(&net, &batch, LearningRule::Itp, &plan).0);
        let mut layers = net.layers().to_vec();
        layers[1].w.data_mut()[7] *= 1.0 + 1e-6;
        let other = Network::new(net.inputs(), layers, net.labels()).unwrap();
        assert_ne!(one, steps::<T>(&other, &batch, LearningRule::Gait, &plan).0);
    }
}

#[test]
fn a_step_has_the_same_bits_everywhere_in_f32() {
    check_bits::<f32>();
}

#[test]
fn a_step_has_the_same_bits_everywhere_in_f64() {
    check_bits::<f64>();
}
