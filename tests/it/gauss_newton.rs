//! Gauss-Newton updates against Jacobians by finite differences and a dense solve; their limits:
//! ITP, and backpropagation.

use crate::support::*;
use gaitprop::diagnostics::Alignment;
use gaitprop::init::Init;
use gaitprop::kernels::{Activation, Isa, Par, Plan, Real};
use gaitprop::loss::{Loss, score};
use gaitprop::rng::Rng;
use gaitprop::rule::{Backprop, LearningRule};
use gaitprop::step::Gradients;
use gaitprop::{Architecture, Error, Exec, Matrix, Network, Result, gauss_newton};

const ACTIVATIONS: [Activation; 3] = [Activation::LeakyRelu { slope: 0.1 }, Activation::Tanh, Activation::Identity];

/// A square network, a tower with auxiliary units, first layers of either shape, and a single layer.
fn architectures() -> Vec<Architecture> {
    let shapes = [
        Architecture::square(7, 7, 2, 3),
        Architecture::tower(&[12, 12, 8, 5], 3),
        Architecture::widths(6, &[11, 11, 7], 5),
        Architecture::widths(20, &[8, 8], 8),
        Architecture::square(6, 5, 0, 2),
        Architecture::dense(6, &[9, 5, 7], 5),
    ];
    let with = |shape: Result<Architecture>| {
        let shape = shape.unwrap();
        ACTIVATIONS.map(|unit| Architecture { activation: unit, output_activation: unit, ..shape.clone() })
    };
    shapes.into_iter().flat_map(with).collect()
}

/// Weights that are not orthogonal, and biases that are not 0.
fn network(shape: &Architecture, seed: u64) -> Network<f64> {
    let mut net = Network::random(shape, Init::Xavier, seed, &Plan::new()).unwrap();
    let mut rng = Rng::new(seed, 7);
    net.update(|_, _, b| b.iter_mut().for_each(|b| *b = 0.3 * rng.normal()));
    net
}

fn batch(shape: &Architecture, rows: usize, seed: u64) -> Batch<f64> {
    let mut rng = Rng::new(seed, 3);
    let x: Vec<f64> = (0..rows * shape.inputs).map(|_| rng.normal()).collect();
    let mut target = Matrix::zeros(rows, shape.labels);
    (0..rows).for_each(|i| target.data_mut()[i * shape.labels + rng.below(shape.labels as u64) as usize] = 1.0);
    Batch { x: matrix(rows, shape.inputs, &x), target }
}

fn with_plan<T: Real>(net: &Network<T>, batch: &Batch<T>, loss: Loss, damping: f64, plan: Plan) -> Result<Gradients<T>> {
    gauss_newton::updates(net, batch.x.view(), batch.target.view(), loss, damping, &mut Exec::new(plan))
}

fn of<T: Real>(net: &Network<T>, batch: &Batch<T>, damping: f64) -> Gradients<T> {
    with_plan(net, batch, Loss::Squared, damping, Plan::new()).unwrap()
}

// A naive reference

/// h and y of one layer.
fn apply(net: &Network<f64>, l: usize, input: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let layer = &net.layers()[l];
    let unit = |j: usize| layer.b[j] + (0..layer.fan_in()).map(|i| input[i] * layer.w.row(i)[j]).sum::<f64>();
    let h: Vec<f64> = (0..layer.width()).map(unit).collect();
    let y = h.iter().map(|&h| layer.activation.apply(h).0).collect();
    (h, y)
}

/// The label units, from the activity of layer l.
fn outputs(net: &Network<f64>, l: usize, y: &[f64]) -> Vec<f64> {
    let y = (l + 1..net.layers().len()).fold(y.to_vec(), |y, l| apply(net, l, &y).1);
    y[..net.labels()].to_vec()
}

/// The Jacobian of the label units with respect to the activity of layer l, by central differences:
/// a row a unit of the layer.
fn jacobian(net: &Network<f64>, l: usize, y: &[f64]) -> Vec<Vec<f64>> {
    const H: f64 = 1e-6;
    let shifted = |j: usize, by: f64| {
        let mut y = y.to_vec();
        y[j] += by;
        outputs(net, l, &y)
    };
    let column = |j| shifted(j, H).iter().zip(shifted(j, -H)).map(|(up, down)| (up - down) / (2.0 * H)).collect();
    (0..y.len()).map(column).collect()
}

/// x of A x = b, by elimination with pivoting.
fn dense_solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).unwrap();
        a.swap(k, pivot);
        b.swap(k, pivot);
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            (k..n).for_each(|j| a[i][j] -= factor * a[k][j]);
            b[i] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        b[k] = (b[k] - (k + 1..n).map(|j| a[k][j] * b[j]).sum::<f64>()) / a[k][k];
    }
    b
}

/// ΔW and Δb of every layer.
fn reference(net: &Network<f64>, batch: &Batch<f64>, loss: Loss, damping: f64) -> Vec<[Vec<f64>; 2]> {
    let (rows, c) = (batch.x.rows(), net.labels());
    let mut sums: Vec<_> = net.layers().iter().map(|l| [vec![0.0; l.fan_in() * l.width()], vec![0.0; l.width()]]).collect();
    for i in 0..rows {
        let mut below = batch.x.row(i).to_vec();
        for (l, sum) in sums.iter_mut().enumerate() {
            let (h, y) = apply(net, l, &below);
            let out = matrix::<f64>(1, c, &outputs(net, l, &y));
            let (mut e, target) = (Matrix::zeros(1, c), matrix::<f64>(1, c, batch.target.row(i)));
            score(loss, out.view(), target.view(), Some(e.view_mut())).unwrap();
            let j = jacobian(net, l, &y);
            let gram = |a: usize, b: usize| j.iter().map(|u| u[a] * u[b]).sum::<f64>() + if a == b { damping } else { 0.0 };
            let z = dense_solve((0..c).map(|a| (0..c).map(|b| gram(a, b)).collect()).collect(), e.data().to_vec());
            let layer = &net.layers()[l];
            for (unit, row) in j.iter().enumerate() {
                let delta = layer.activation.apply(h[unit]).1 * row.iter().zip(&z).map(|(j, z)| j * z).sum::<f64>();
                sum[1][unit] += delta / rows as f64;
                (0..layer.fan_in()).for_each(|p| sum[0][p * layer.width() + unit] += below[p] * delta / rows as f64);
            }
            below = y;
        }
    }
    sums
}

/// The largest relative error of any layer.
fn error<T: Real>(got: &Gradients<T>, want: &[[Vec<f64>; 2]]) -> f64 {
    let of = |(l, [w, b]): (usize, &[Vec<f64>; 2])| {
        worst(relative(&wide(got.weights(l).data()), w), relative(&wide(got.biases(l)), b))
    };
    want.iter().enumerate().map(of).fold(0.0, worst)
}

/// All shapes and activations, both element types. The smallest singular value of these Jacobians
/// is about 0.01.
#[test]
fn updates_are_those_of_finite_differences_and_a_dense_solve() {
    for (k, shape) in architectures().iter().enumerate() {
        let (net, batch) = (network(shape, 1 + k as u64), batch(shape, 5, 2));
        for damping in [0.0, 0.3] {
            let want = reference(&net, &batch, Loss::Squared, damping);
            let double = error(&of(&net, &batch, damping), &want);
            assert!(double < 1e-6, "{shape:?}, damping {damping}: {double:e}");
            let single = error(&of(&net.cast::<f32>(), &batch.cast(), damping), &want);
            assert!(single < 1e-3, "{shape:?}, damping {damping}: {single:e}");
            // The test would see one wrong element of one layer.
            for l in 0..want.len() {
                let mut wrong = want.clone();
                wrong[l][0][k] += 0.01 * norm(&want[l][0]);
                assert!(!(error(&of(&net, &batch, damping), &wrong) < 1e-3));
            }
        }
    }
}

#[test]
fn the_error_is_that_of_the_loss() {
    let shape = Architecture::tower(&[9, 9, 6], 3).unwrap().with_loss(Loss::CrossEntropy);
    let (net, batch) = (network(&shape, 3), batch(&shape, 4, 2));
    let got = with_plan(&net, &batch, Loss::CrossEntropy, 0.01, Plan::new()).unwrap();
    let off = error(&got, &reference(&net, &batch, Loss::CrossEntropy, 0.01));
    assert!(off < 1e-6, "{off:e}");
    assert!(error(&got, &reference(&net, &batch, Loss::Squared, 0.01)) > 0.1);
}

// Limits

fn largest_difference(net: &Network<f64>, a: &Gradients<f64>, b: &Gradients<f64>) -> f64 {
    (0..net.layers().len()).map(|l| relative(a.weights(l).data(), b.weights(l).data())).fold(0.0, worst)
}

/// With a label for every unit, ITP's target is the Gauss-Newton target as γ → 0. GAIT's is another.
/// The tolerance is the square of the condition number of J, about 1e5, times the unit roundoff.
#[test]
fn itp_is_gauss_newton_where_every_unit_has_a_label() {
    for unit in ACTIVATIONS {
        let shape = Architecture::widths(9, &[6, 6, 6, 6], 6).unwrap();
        let shape = Architecture { activation: unit, output_activation: unit, ..shape };
        let (net, batch) = (network(&shape, 4), batch(&shape, 7, 5));
        let gn = of(&net, &batch, 0.0);
        let off = |kind, gamma| largest_difference(&net, &updates(&net, &batch, kind, gamma), &gn);
        let exact = off(LearningRule::Itp, 0.0);
        assert!(exact < 1e-5, "{unit:?}: {exact:e}");
        if unit == Activation::Identity {
            // A linear network: targets of any size.
            let (tp, gait) = (off(LearningRule::Tp, 1.0), off(LearningRule::Gait, 1.0));
            assert!(tp < 1e-5 && gait < 1e-5, "{tp:e} and {gait:e}");
        } else {
            // The error falls with γ, and GAIT's does not.
            let near = off(LearningRule::Itp, 1e-7);
            assert!(near < 1e-3 && off(LearningRule::Gait, 0.0) > 0.1, "{unit:?}: {near:e}");
        }
        // With fewer labels ITP also keeps the auxiliary output units, and the Gauss-Newton target
        // does not.
        let fewer = Architecture { labels: 2, ..shape };
        let (net, batch) = (network(&fewer, 4), self::batch(&fewer, 7, 5));
        assert!(largest_difference(&net, &updates(&net, &batch, LearningRule::Itp, 0.0), &of(&net, &batch, 0.0)) > 0.1);
    }
}

/// Linear networks of orthogonal weights, with fewer labels than units: all rules and Gauss-Newton
/// agree.
#[test]
fn all_rules_are_gauss_newton_in_orthogonal_linear_networks() {
    let shape = Architecture::tower(&[10, 10, 10, 6], 3).unwrap();
    let shape = Architecture { activation: Activation::Identity, output_activation: Activation::Identity, ..shape };
    let net = Network::random(&shape, Init::Orthogonal, 1, &Plan::new()).unwrap();
    let batch = batch(&shape, 6, 2);
    for kind in [LearningRule::Bp, LearningRule::Gait, LearningRule::Itp, LearningRule::Tp] {
        let off = largest_difference(&net, &updates(&net, &batch, kind, 1e-3), &of(&net, &batch, 0.0));
        assert!(off < 1e-10, "{kind}: {off:e}");
    }
}

/// Orthogonal weights and any activation: ITP's limit still agrees in the layer below the last, and
/// not further down.
#[test]
fn itp_is_gauss_newton_below_the_last_layer_of_orthogonal_networks() {
    for unit in [ACTIVATIONS[0], ACTIVATIONS[1]] {
        let shape = Architecture { activation: unit, output_activation: unit, ..Architecture::square(9, 9, 2, 4).unwrap() };
        let net = Network::random(&shape, Init::Orthogonal, 1, &Plan::new()).unwrap();
        let batch = batch(&shape, 6, 2);
        let (itp, gn) = (updates(&net, &batch, LearningRule::Itp, 0.0), of(&net, &batch, 0.0));
        let off = |l: usize| relative(itp.weights(l).data(), gn.weights(l).data());
        assert!(off(2) < 1e-12 && off(1) < 1e-10 && off(0) > 0.1, "{unit:?}: {:e} {:e} {:e}", off(2), off(1), off(0));
    }
}

/// λ e_l → backpropagation's error as λ → ∞.
#[test]
fn much_damping_is_backpropagation() {
    for shape in architectures() {
        let (net, batch) = (network(&shape, 6), batch(&shape, 5, 1));
        let bp = updates(&net, &batch, LearningRule::Bp, 0.0);
        let cosine = |damping: f64, l: usize| {
            let gn = of(&net, &batch, damping);
            Alignment::of(gn.weights(l).data(), bp.weights(l).data(), &Plan::new()).unwrap()
        };
        for l in 0..shape.layers.len() {
            let far = cosine(1e9, l);
            assert!(far.cosine > 1.0 - 1e-12 && (far.ratio * 1e9 - 1.0).abs() < 1e-6, "{shape:?} {l}: {far:?}");
        }
        // Only the last layer has this direction for any damping.
        let last = shape.layers.len() - 1;
        assert!(cosine(0.0, last).cosine > 1.0 - 1e-12);
        assert!(last == 0 || cosine(0.0, 0).cosine < 0.999, "{shape:?}");
    }
}

/// The alignment is that of a rule's updates without a regularizer.
#[test]
fn alignment_compares_a_rule_with_the_updates() {
    let shape = Architecture::square(8, 8, 1, 3).unwrap();
    let (net, batch) = (network(&shape, 2), batch(&shape, 4, 3));
    let mut kit = Kit::new(Backprop, &Plan::new()).regularized(10.0);
    let found = gauss_newton::alignment(&net, batch.x.view(), batch.target.view(), 0.5, &mut kit.recipe()).unwrap();
    let (bp, gn) = (updates(&net, &batch, LearningRule::Bp, 0.0), of(&net, &batch, 0.5));
    for (l, found) in found.iter().enumerate() {
        assert_eq!(*found, Alignment::of(bp.weights(l).data(), gn.weights(l).data(), &Plan::new()).unwrap());
    }
    assert!((found[1].ratio - 1.5).abs() < 1e-12 && found[0].cosine < 0.9999, "{found:?}");
}

// Bits and memory

#[test]
fn instruction_sets_and_threads_change_no_bit() {
    fn check<T: Real>(net: &Network<T>, batch: &Batch<T>) {
        let run = |isa, par| {
            let plan = Plan::new().with_isa(isa).with_par(par).with_min_work(1);
            let got = with_plan(net, batch, Loss::Squared, 0.0, plan).unwrap();
            let layer = |l| [bits(got.weights(l).data()), bits(got.biases(l))];
            (0..net.layers().len()).map(layer).collect::<Vec<_>>()
        };
        let want = run(Isa::PORTABLE, Par::Seq);
        for isa in Isa::available() {
            assert!(run(isa, Par::Seq) == want && run(isa, Par::team(3).unwrap()) == want, "{isa:?}");
        }
    }
    let shape = Architecture::tower(&[64, 64, 40], 10).unwrap();
    let (net, batch) = (network(&shape, 1), batch(&shape, 40, 1));
    check(&net, &batch);
    check(&net.cast::<f32>(), &batch.cast());
}

/// A batch whose Jacobians do not fit at once (300 · 64 · 64 > 2²⁰) has the mean of the updates of
/// its halves.
#[test]
fn batches_are_cut_without_a_trace() {
    let shape = Architecture::square(64, 64, 1, 64).unwrap();
    let (net, whole) = (network(&shape, 1), batch(&shape, 300, 1));
    let part = |first: usize| {
        let rows = |m: &Matrix<f64>| matrix::<f64>(150, 64, &m.data()[first * 64..(first + 150) * 64]);
        of(&net, &Batch { x: rows(&whole.x), target: rows(&whole.target) }, 0.1)
    };
    let (all, halves) = (of(&net, &whole, 0.1), [part(0), part(150)]);
    for l in 0..2 {
        let [a, b] = halves.each_ref().map(|half| half.weights(l).data());
        let mean: Vec<f64> = a.iter().zip(b).map(|(a, b)| 0.5 * (a + b)).collect();
        let off = relative(all.weights(l).data(), &mean);
        assert!(off < 1e-12, "{l}: {off:e}");
    }
}

// Bad input

#[test]
fn dampings_and_shapes_out_of_range_are_refused() {
    let shape = Architecture::square(5, 5, 1, 2).unwrap();
    let (net, good) = (network(&shape, 1), batch(&shape, 3, 1));
    let run = |batch: &Batch<f64>, damping| with_plan(&net, batch, Loss::Squared, damping, Plan::new());
    for damping in [-1.0, -1e-300, f64::NAN, f64::INFINITY] {
        let message = run(&good, damping).unwrap_err().to_string();
        assert!(message.contains("damping is") && message.contains("at least 0 and finite"), "{message}");
    }
    assert!(matches!(run(&Batch { target: Matrix::zeros(3, 3), ..good.clone() }, 0.0), Err(Error::Kernel(_))));
    assert!(matches!(run(&Batch { target: Matrix::zeros(2, 2), ..good.clone() }, 0.0), Err(Error::Kernel(_))));
    assert!(matches!(run(&Batch { x: Matrix::zeros(3, 4), ..good.clone() }, 0.0), Err(Error::Kernel(_))));
    let nan = Batch { x: matrix(3, 5, &[f64::NAN; 15]), ..good.clone() };
    assert!(matches!(run(&nan, 0.0), Err(Error::Diverged { .. })));
    let none = Batch { x: Matrix::zeros(0, 5), target: Matrix::zeros(0, 2) };
    assert!(run(&none, 0.0).unwrap().weights(0).data().iter().all(|&w| w == 0.0));
}

/// Two label units of equal weights: no change of the layer below can send them to different
/// targets.
#[test]
fn jacobians_without_full_rank_need_damping() {
    fn check<T: Real>(net: &Network<T>, batch: &Batch<T>) {
        let error = with_plan(net, batch, Loss::Squared, 0.0, Plan::new()).unwrap_err();
        assert!(matches!(error, Error::RankDeficient { layer: 1, sample: 0, .. }), "{error}");
        let message = error.to_string();
        assert!(message.starts_with("layer 1, sample 0: ") && message.contains("use more damping"), "{message}");
        // Too little of it changes nothing; enough does.
        assert!(with_plan(net, batch, Loss::Squared, 1e-30, Plan::new()).is_err());
        assert!(with_plan(net, batch, Loss::Squared, 1e-3, Plan::new()).is_ok());
    }
    let shape = Architecture::square(9, 9, 2, 4).unwrap();
    let (mut net, batch) = (network(&shape, 1), batch(&shape, 3, 1));
    // Three columns that depend on each other, so that rounding leaves a pivot.
    net.update(|l, w, _| {
        if l == 2 {
            w.chunks_exact_mut(9).for_each(|row| row[3] = 0.3 * row[0] - 0.7 * row[1]);
        }
    });
    check(&net, &batch);
    check(&net.cast::<f32>(), &batch.cast());
}
