//! Inverses for layers of any shape: the damped and the learned one, in steps and in training.

use crate::support::{Batch, Kit, bits, built, matrix, relative, updates, wide};
use gaitprop::data::{self, LoadOptions, Samples, Scaling};
use gaitprop::diagnostics::examine;
use gaitprop::init::Init;
use gaitprop::kernels::{Activation, MatRef, Plan, Real};
use gaitprop::rng::Rng;
use gaitprop::rule::{Absolute, LearningRule, TargetForm};
use gaitprop::solve::{Learning, SolverKind, Tuning};
use gaitprop::step::Step;
use gaitprop::{Architecture, Error, Layer, Matrix, Network, TrainConfig, Trainer};
use std::ops::ControlFlow;

const SLOPE: f64 = 0.1;

fn normal(rows: usize, cols: usize, rng: &mut Rng) -> Matrix<f64> {
    Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| rng.normal()).collect()).unwrap()
}

fn batch(shape: &Architecture, rows: usize, seed: u64) -> Batch<f64> {
    let mut rng = Rng::new(seed, 0);
    let x = normal(rows, shape.inputs, &mut rng);
    let target = (0..rows * shape.labels).map(|i| f64::from(u8::from(i % shape.labels == i / shape.labels % shape.labels)));
    Batch { x, target: Matrix::from_vec(rows, shape.labels, target.collect()).unwrap() }
}

/// a·b, or a·bᵀ, in plain loops.
fn times(a: &Matrix<f64>, b: &Matrix<f64>, transposed: bool) -> Matrix<f64> {
    let (inner, cols) = if transposed { (b.cols(), b.rows()) } else { (b.rows(), b.cols()) };
    let at = |i: usize, j: usize| if transposed { b.row(j)[i] } else { b.row(i)[j] };
    let element = |k: usize| (0..inner).map(|i| a.row(k / cols)[i] * at(i, k % cols)).sum();
    matrix(a.rows(), cols, &(0..a.rows() * cols).map(element).collect::<Vec<f64>>())
}

/// Solves `e (W Wᵀ + ρ I) = r Wᵀ` by elimination.
fn damped(r: &Matrix<f64>, w: &Matrix<f64>, damping: f64) -> Matrix<f64> {
    let (n, rows) = (w.rows(), r.rows());
    let (mut gram, right) = (times(w, w, true), times(r, w, true));
    (0..n).for_each(|i| gram.data_mut()[i * n + i] += damping);
    // Gauss–Jordan on [G | bᵀ], G symmetric and positive definite.
    let width = n + rows;
    let mut all: Vec<f64> = Vec::new();
    for i in 0..n {
        all.extend_from_slice(gram.row(i));
        all.extend((0..rows).map(|k| right.row(k)[i]));
    }
    for p in 0..n {
        let pivot = all[p * width + p];
        (0..width).for_each(|j| all[p * width + j] /= pivot);
        for i in (0..n).filter(|&i| i != p) {
            let factor = all[i * width + p];
            (0..width).for_each(|j| all[i * width + j] -= factor * all[p * width + j]);
        }
    }
    let solution = |k: usize| all[(k % n) * width + n + k / n];
    matrix(rows, n, &(0..rows * n).map(solution).collect::<Vec<f64>>())
}

/// GAIT in the linear limit from its definition, `e_{l−1} = (D_l ∘ e_l) W⁺`: weight updates.
fn by_definition(net: &Network<f64>, batch: &Batch<f64>, damping: f64) -> Vec<Matrix<f64>> {
    let slope = |y: f64| if y < 0.0 { SLOPE } else { 1.0 };
    let mut inputs = vec![batch.x.clone()];
    for layer in net.layers() {
        let input = inputs.last().unwrap();
        let fed = matrix(input.rows(), layer.fan_in(), &wide(&input.view().cols(0, layer.fan_in()).to_vec()));
        let mut h = times(&fed, &layer.w, false);
        let width = layer.width();
        h.data_mut().iter_mut().enumerate().for_each(|(k, h)| *h += layer.b[k % width]);
        h.data_mut().iter_mut().for_each(|h| *h *= slope(*h));
        *inputs.last_mut().unwrap() = fed;
        inputs.push(h);
    }
    let y = inputs.pop().unwrap();
    let mut e = Matrix::zeros(y.rows(), y.cols());
    for i in 0..y.rows() {
        for j in 0..net.labels() {
            e.data_mut()[i * y.cols() + j] = batch.target.row(i)[j] - y.row(i)[j];
        }
    }
    let (mut updates, mut above) = (Vec::new(), y);
    for (l, layer) in net.layers().iter().enumerate().rev() {
        let mut delta = e.clone();
        delta.data_mut().iter_mut().zip(above.data()).for_each(|(d, y)| *d *= slope(*y));
        let rows = inputs[l].rows();
        let mut update = Matrix::zeros(layer.fan_in(), layer.width());
        for i in 0..rows {
            for a in 0..layer.fan_in() {
                for b in 0..layer.width() {
                    update.data_mut()[a * layer.width() + b] += inputs[l].row(i)[a] * delta.row(i)[b] / rows as f64;
                }
            }
        }
        updates.push(update);
        if l > 0 {
            let narrow = damped(&delta, &layer.w, damping);
            let below = net.layers()[l - 1].width();
            e = Matrix::zeros(rows, below);
            for i in 0..rows {
                e.data_mut()[i * below..i * below + layer.fan_in()].copy_from_slice(narrow.row(i));
            }
            // The input of this layer is the first units of the activity below.
            above = activity(net, batch, l - 1);
        }
    }
    updates.reverse();
    updates
}

fn activity(net: &Network<f64>, batch: &Batch<f64>, l: usize) -> Matrix<f64> {
    let mut step = Step::new(net, batch.x.rows());
    let mut kit = Kit::boxed(built(LearningRule::Bp, net, 1e-3), &Plan::new());
    step.credit(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
    let y = step.tape.activity(l);
    matrix(y.nrows(), y.ncols(), &y.to_vec())
}

fn shapes() -> [Architecture; 4] {
    let unit = |shape: Architecture| Architecture { activation: Activation::LeakyRelu { slope: SLOPE }, ..shape };
    [
        unit(Architecture::dense(7, &[9, 5, 8, 4], 3).unwrap()),
        unit(Architecture::dense(4, &[12, 3], 3).unwrap()),
        unit(Architecture { layers: vec![(6, 9), (5, 7), (4, 5)], ..Architecture::dense(6, &[5], 3).unwrap() }),
        unit(Architecture::square(6, 6, 2, 4).unwrap()),
    ]
}

/// Damped GAIT on networks of any shape, auxiliary units included, against its definition.
#[test]
fn damped_targets_go_through_any_shape() {
    for shape in shapes() {
        let net = Network::<f64>::random(&shape, Init::Xavier, 5, &Plan::new()).unwrap();
        let batch = batch(&shape, 5, 7);
        for damping in [1e-3, 0.7] {
            let solver = SolverKind::Damped.build(Tuning { damping, ..Tuning::default() }).unwrap();
            let mut kit = Kit { solver, ..Kit::boxed(built(LearningRule::Gait, &net, 0.0), &Plan::new()) };
            let mut step = Step::new(&net, 5);
            step.gradients(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
            let want = by_definition(&net, &batch, damping);
            for (l, want) in want.iter().enumerate() {
                let off = relative(step.gradients.weights(l).data(), want.data());
                assert!(off < 1e-11, "{:?}, layer {l}, damping {damping}: {off:e}", shape.layers);
            }
            // The oracle sees one wrong element.
            let mut wrong = want[0].clone();
            wrong.data_mut()[3] += 1e-6;
            assert!(relative(step.gradients.weights(0).data(), wrong.data()) > 1e-11);
        }
    }
}

/// With little damping and square weights, the damped inverse is the exact one.
#[test]
fn little_damping_is_the_inverse() {
    let shape = Architecture::square(8, 8, 3, 4).unwrap();
    let net = Network::<f64>::random(&shape, Init::Orthogonal, 2, &Plan::new()).unwrap();
    let batch = batch(&shape, 6, 3);
    for kind in [LearningRule::Gait, LearningRule::Itp, LearningRule::Tp] {
        let exact = updates(&net, &batch, kind, 1e-3);
        let solver = SolverKind::Damped.build(Tuning { damping: 1e-9, ..Tuning::default() }).unwrap();
        let mut kit = Kit { solver, ..Kit::boxed(built(kind, &net, 1e-3), &Plan::new()) };
        let mut step = Step::new(&net, 6);
        step.gradients(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        for l in 0..4 {
            let off = relative(step.gradients.weights(l).data(), exact.weights(l).data());
            assert!(off < 1e-8, "{kind}, layer {l}: {off:e}");
        }
    }
}

/// Rules without inverses take any shape. Exact inverses and absolute targets do not, and say so.
#[test]
fn inverses_of_rectangles_are_refused() {
    let shape = &shapes()[0];
    let config = |rule, solver| TrainConfig { solver, ..TrainConfig::published(rule) };
    let net = Network::<f64>::random(shape, Init::Xavier, 5, &Plan::new()).unwrap();
    let batch = batch(shape, 5, 7);
    for kind in LearningRule::ALL {
        for solver in SolverKind::ALL {
            let made = Trainer::<f64>::new(shape, config(kind, solver), 1);
            let refused = kind.sends_targets() && solver.is_exact();
            assert_eq!(made.is_err(), refused, "{kind} {solver}");
            if let Some(error) = made.err() {
                let text = error.to_string();
                assert!(matches!(error, Error::Architecture { layer: 1, .. }) && text.contains("damped"), "{text}");
                // Without a trainer, the solver itself refuses.
                let solver = solver.build(Tuning::default()).unwrap();
                let mut kit = Kit { solver, ..Kit::boxed(built(kind, &net, 1e-3), &Plan::new()) };
                let done = Step::new(&net, 5).credit(&net, batch.x.view(), batch.target.view(), &mut kit.recipe());
                assert!(done.is_err(), "{kind} {solver:?}", solver = kit.solver.name());
            }
        }
    }
    let absolute = TrainConfig { target_form: TargetForm::Absolute, ..config(LearningRule::Gait, SolverKind::Damped) };
    assert!(matches!(Trainer::<f64>::new(shape, absolute, 1), Err(Error::Setting(_))));
    let mut kit = Kit::new(Absolute::gait(0.1).unwrap(), &Plan::new());
    kit.solver = SolverKind::Damped.build(Tuning::default()).unwrap();
    assert!(Step::new(&net, 5).credit(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).is_err());
}

#[test]
fn constants_out_of_range_are_refused() {
    let published = TrainConfig::published(LearningRule::Gait);
    for bad in [-1e-3, f64::NAN, f64::INFINITY] {
        let learned = TrainConfig { solver: SolverKind::Learned, inverse_rate: Some(bad), ..published };
        for config in [TrainConfig { damping: bad, ..published }, learned] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("must be at least 0"), "{error}");
        }
    }
    for (damping, rounded) in [(1e-60, "rounds to 0"), (1e300, "rounds to inf")] {
        let tuning = Tuning { damping, ..Tuning::default() };
        let error = SolverKind::Damped.build::<f32>(tuning).err().unwrap().to_string();
        assert!(error.contains(rounded) && SolverKind::Damped.build::<f64>(tuning).is_ok(), "{error}");
    }
    for rule in [LearningRule::Gait, LearningRule::Bp] {
        let rated = TrainConfig { inverse_rate: Some(1e-3), ..TrainConfig::published(rule) };
        for solver in SolverKind::ALL.iter().copied().filter(|&solver| solver != SolverKind::Learned) {
            let error = TrainConfig { solver, ..rated }.check().unwrap_err().to_string();
            assert!(error.contains(&format!("the solver {solver} learns no inverses")), "{error}");
        }
        // Also for BP, which uses no inverses: rules that are compared share this setting.
        TrainConfig { solver: SolverKind::Learned, ..rated }.check().unwrap();
    }
    assert!(SolverKind::Learned.check_untrained().is_err() && SolverKind::Damped.check_untrained().is_ok());
}

fn digits<T: Real>(samples: usize) -> (Samples<T>, Samples<T>) {
    let options = LoadOptions { limit_train: Some(samples), ..LoadOptions::default() };
    let digits = data::load("digits", &options).unwrap().prepare::<T>(Scaling::Unit).unwrap();
    (digits.train, digits.test)
}

/// GAIT trains a rectangular network through damped and learned inverses. Untaught inverses, which
/// learn at a rate of 0, do not reach as far: the taught ones carry something.
#[test]
fn digits_are_learned_through_inverses_of_any_shape() {
    let shape = Architecture::dense(64, &[48, 32, 20], 10).unwrap();
    let (train, test) = digits::<f32>(1200);
    let accuracy = |solver, inverse_rate| {
        let published = TrainConfig::published(LearningRule::Gait);
        let config = TrainConfig { solver, inverse_rate, learning_rate: 1e-3, ..published };
        let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
        for _ in 0..25 {
            trainer.epoch(&train).unwrap();
        }
        let layers = trainer.examine(&train).unwrap();
        (trainer.evaluate(&test).unwrap().accuracy(), layers)
    };
    let (damped, layers) = accuracy(SolverKind::Damped, None);
    assert!(damped > 0.9, "damped: {damped}");
    // No exact inverse to compare with.
    assert!(layers.iter().all(|l| l.cosine_with_exact.is_some_and(f64::is_nan)));
    let (learned, layers) = accuracy(SolverKind::Learned, Some(1e-2));
    assert!(learned > 0.9, "learned: {learned}");
    let taught = layers[0].cosine_with_bp;
    let untaught = accuracy(SolverKind::Learned, Some(0.0)).1[0].cosine_with_bp;
    assert!(taught > 0.5 && untaught < 0.5 * taught, "{taught} {untaught}");
}

/// The measurement beside exact inverses: 1 for the exact ones damped by nothing, and rising as a
/// learned inverse learns. Exact solvers have none.
#[test]
fn updates_are_compared_with_those_of_exact_inverses() {
    let shape = Architecture::square(64, 64, 2, 10).unwrap();
    let (train, _) = digits::<f64>(1200);
    let first_of = |rule, solver, epochs| {
        let published = TrainConfig::published(rule);
        let inverse_rate = (solver == SolverKind::Learned).then_some(1e-2);
        let config = TrainConfig { solver, damping: 1e-12, inverse_rate, ..published };
        let mut trainer = Trainer::<f64>::new(&shape, config, 1).unwrap();
        for _ in 0..epochs {
            trainer.epoch(&train).unwrap();
        }
        trainer.examine(&train).unwrap()[0].cosine_with_exact
    };
    let first = |solver, epochs| first_of(LearningRule::Gait, solver, epochs);
    assert_eq!(first(SolverKind::Auto, 1), None);
    // A rule that solves nothing has nothing to compare.
    assert_eq!(first_of(LearningRule::Bp, SolverKind::Damped, 1), None);
    assert!(first(SolverKind::Damped, 1).is_some_and(|cosine| cosine > 1.0 - 1e-9));
    let learned = [0, 2, 20].map(|epochs| first(SolverKind::Learned, epochs).unwrap());
    assert!(learned[0].abs() < 0.3 && learned[0] < learned[1] && learned[1] < learned[2], "{learned:?}");
    assert!(learned[2] > 0.7, "{learned:?}");
}

/// A learned inverse is part of a trainer's state, and a measurement does not change it.
#[test]
fn a_trainer_goes_on_with_its_learned_inverses() {
    let shape = Architecture::dense(64, &[24, 16], 10).unwrap();
    let (train, _) = digits::<f32>(300);
    let config = TrainConfig { solver: SolverKind::Learned, ..TrainConfig::published(LearningRule::Gait) };
    let made = || Trainer::<f32>::new(&shape, config, 1).unwrap();
    let (mut whole, mut first, mut second) = (made(), made(), made());
    whole.epoch(&train).unwrap();
    whole.epoch(&train).unwrap();
    first.epoch(&train).unwrap();
    first.examine(&train).unwrap();
    second.restore(first.save()).unwrap();
    second.epoch(&train).unwrap();
    for (a, b) in whole.network().layers().iter().zip(second.network().layers()) {
        assert_eq!(bits(a.w.data()), bits(b.w.data()));
    }
    // Other inverses lead elsewhere.
    let mut state = first.save();
    let _ = state.take_part("inverse");
    let error = made().restore(state).unwrap_err();
    assert!(error.to_string().contains("holds no"), "{error}");
    let mut third = made();
    third.restore(first.save()).unwrap();
    third = third.with_solver(Fresh(SolverKind::Learned.build(Tuning::default()).unwrap()));
    third.epoch(&train).unwrap();
    assert!(third.network().layers()[0] != whole.network().layers()[0]);
}

/// Learned inverses that replace another solver within an epoch are given back after a divergence,
/// which is what the error says.
#[test]
fn a_divergence_after_a_change_of_solver_is_named() {
    let shape = Architecture::square(64, 64, 2, 10).unwrap();
    let (train, _) = digits::<f32>(300);
    let config = TrainConfig { learning_rate: 1e30, ..TrainConfig::published(LearningRule::Gait) };
    let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
    assert!(trainer.epoch_with(&train, |_, _| ControlFlow::Break(())).unwrap().stopped);
    trainer = trainer.with_solver(Fresh(SolverKind::Learned.build(Tuning::default()).unwrap()));
    let error = trainer.epoch(&train).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}

/// A solver behind the trait alone, as users write them.
struct Fresh(Box<dyn gaitprop::solve::Solver<f32>>);

impl gaitprop::solve::Solver<f32> for Fresh {
    fn name(&self) -> &'static str {
        "fresh"
    }
    fn learns(&self) -> bool {
        self.0.learns()
    }
    fn learn(
        &mut self,
        of: gaitprop::solve::Weights<'_, f32>,
        y: (Activation, MatRef<'_, f32>),
        below: MatRef<'_, f32>,
        exec: &mut gaitprop::Exec,
    ) -> gaitprop::Result<()> {
        self.0.learn(of, y, below, exec)
    }
    fn solve(
        &mut self,
        of: gaitprop::solve::Weights<'_, f32>,
        r: gaitprop::kernels::MatMut<'_, f32>,
        exec: &mut gaitprop::Exec,
    ) -> gaitprop::Result<gaitprop::solve::Solve> {
        self.0.solve(of, r, exec)
    }
    fn solve_into(
        &mut self,
        of: gaitprop::solve::Weights<'_, f32>,
        r: MatRef<'_, f32>,
        e: gaitprop::kernels::MatMut<'_, f32>,
        exec: &mut gaitprop::Exec,
    ) -> gaitprop::Result<gaitprop::solve::Solve> {
        self.0.solve_into(of, r, e, exec)
    }
    fn save(&self, version: u64) -> gaitprop::checkpoint::State<f32> {
        self.0.save(version)
    }
    fn restore(&mut self, state: gaitprop::checkpoint::State<f32>, version: u64) -> gaitprop::Result<()> {
        self.0.restore(state, version)
    }
}

/// Seeds draw different inverses, and one seed the same.
#[test]
fn learned_inverses_follow_the_seed() {
    let shape = Architecture::dense(6, &[5, 4], 3).unwrap();
    let net = Network::<f64>::random(&shape, Init::Xavier, 5, &Plan::new()).unwrap();
    let batch = batch(&shape, 4, 7);
    let first = |seed, init| {
        let learning = Learning { seed, init, ..Learning::default() };
        let solver = SolverKind::Learned.build(Tuning { learning, ..Tuning::default() }).unwrap();
        let mut kit = Kit { solver, ..Kit::boxed(built(LearningRule::Gait, &net, 1e-3), &Plan::new()) };
        let mut step = Step::new(&net, 4);
        step.gradients(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        bits(step.gradients.weights(0).data())
    };
    assert_eq!(first(1, Init::Orthogonal), first(1, Init::Orthogonal));
    assert_ne!(first(1, Init::Orthogonal), first(2, Init::Orthogonal));
    assert_ne!(first(1, Init::Orthogonal), first(1, Init::Xavier));
}

/// The measurement of layers works where weights are singular: damped inverses exist, exact ones do
/// not.
#[test]
fn singular_weights_have_no_exact_update() {
    let shape = Architecture::square(4, 4, 1, 2).unwrap();
    let mut net = Network::<f64>::random(&shape, Init::Orthogonal, 5, &Plan::new()).unwrap();
    let layers: Vec<Layer<f64>> = net.layers().to_vec();
    net.update(|l, w, _| {
        if l == 1 {
            w[..4].fill(0.0);
        }
    });
    assert!(layers[1].w != net.layers()[1].w);
    let batch = batch(&shape, 4, 7);
    let solver = SolverKind::Damped.build(Tuning::default()).unwrap();
    let mut kit = Kit { solver, ..Kit::boxed(built(LearningRule::Gait, &net, 1e-3), &Plan::new()) };
    let layers = examine(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
    assert!(layers.iter().all(|l| l.cosine_with_bp.is_finite() && l.cosine_with_exact.is_some_and(f64::is_nan)));
}

/// Kink crossings are those of the rule as it runs, not of the exact inverses beside it.
#[test]
fn crossings_are_those_of_the_damped_targets() {
    let shape = Architecture::square(8, 8, 2, 4).unwrap();
    let net = Network::<f64>::random(&shape, Init::Orthogonal, 2, &Plan::new()).unwrap();
    let batch = batch(&shape, 30, 3);
    let crossings = |damping| {
        let solver = SolverKind::Damped.build(Tuning { damping, ..Tuning::default() }).unwrap();
        let mut kit = Kit { solver, ..Kit::boxed(built(LearningRule::Tp, &net, 1.0), &Plan::new()) };
        let layers = examine(&net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
        layers.iter().map(|l| l.kink_crossings).collect::<Vec<_>>()
    };
    // The errors of the layer below the last shrink to nothing.
    let (exact, damped) = (crossings(1e-12), crossings(1e9));
    assert_eq!(exact[2], damped[2]);
    assert!(exact[1].is_some_and(|n| n > 0) && damped[1] == Some(0), "{exact:?} {damped:?}");
}

/// After a divergence the inverses are those at the start of the epoch, as the weights are, and the
/// state can be saved and restored.
#[test]
fn a_divergence_gives_back_learned_inverses() {
    let shape = Architecture::dense(64, &[24, 16], 10).unwrap();
    let (train, _) = digits::<f32>(300);
    let config =
        TrainConfig { solver: SolverKind::Learned, inverse_rate: Some(1e-2), ..TrainConfig::published(LearningRule::Gait) };
    let mut trainer = Trainer::<f32>::new(&shape, config, 1).unwrap();
    trainer.epoch(&train).unwrap();
    let before = trainer.save().take_part("inverse");
    // Samples that grow within the epoch.
    let mut wild = train.clone();
    wild.x[200 * 64..].iter_mut().for_each(|x| *x = 1e30);
    let error = trainer.epoch(&wild).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let mut state = trainer.save();
    assert_eq!(state.clone().take_part("inverse"), before);
    let mut again = Trainer::<f32>::new(&shape, config, 1).unwrap();
    again.restore(state.clone()).unwrap();
    trainer.epoch(&train).unwrap();
    again.epoch(&train).unwrap();
    assert!(trainer.network() == again.network());
    state.put("inverse.1.present", 0);
    assert_ne!(state.take_part("inverse"), before);
}

/// Rows with gaps between them have the same solution.
#[test]
fn damped_solves_take_any_layout() {
    let mut rng = Rng::new(3, 0);
    for (rows, cols) in [(5, 7), (7, 5)] {
        let (w, r) = (normal(rows, cols, &mut rng), normal(cols, 3, &mut rng));
        let of = gaitprop::solve::Weights { layer: 0, version: 1, w: w.view() };
        let solved = |r: MatRef<'_, f64>| {
            let mut e = Matrix::zeros(3, rows);
            let mut solver = SolverKind::Damped.build(Tuning::default()).unwrap();
            let solve = solver.solve_into(of, r, e.view_mut(), &mut gaitprop::Exec::default()).unwrap();
            (e, solve)
        };
        let dense = Matrix::from_vec(3, cols, r.view().t().to_vec()).unwrap();
        let (apart, solve) = solved(r.view().t());
        assert_eq!(apart, solved(dense.view()).0);
        // Gram matrix and factor, two solves with it, one product, one residual, in products of
        // 2·3·rows·cols flops.
        let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
        let want = short / 6.0 * (1.0 + short / (3.0 * long)) + short / long + 2.0;
        assert!((solve.products - want).abs() < 1e-12, "{} {want}", solve.products);
    }
}
