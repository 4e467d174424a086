//! After its first steps training allocates nothing: every allocation of the process is counted, of worker threads too.
#![allow(missing_docs)]

use gaitprop::init::{self, Init};
use gaitprop::kernels::{MatRef, Par, Plan};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{self, Optimizer, OptimizerConfig};
use gaitprop::ortho::{Block, Hold, HoldState, Regularizer, Retraction};
use gaitprop::rng::Rng;
use gaitprop::rule::{LearningRule, RuleConfig};
use gaitprop::solve::{SolverKind, Tuning, Weights};
use gaitprop::step::{Decorrelation, Recipe, Step};
use gaitprop::{Architecture, Network};
use gaitprop::{Exec, Matrix};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations in `steps` steps after the first `warm`.
fn allocations(kind: LearningRule, way: SolverKind, lambda: f64, hold: Hold, par: Par, steps: (usize, usize)) -> usize {
    let shape = Architecture::square(96, 96, 3, 10).unwrap();
    let plan = Plan::new().with_par(par).with_min_work(1);
    let net = Network::<f32>::random(&shape, Init::Orthogonal, 1, &plan).unwrap();
    allocations_on(net, kind, way, lambda, hold, plan, steps)
}

/// [`allocations`] on a network of 96 inputs. Its decorrelations learn, if it has some.
fn allocations_on(
    mut net: Network<f32>,
    kind: LearningRule,
    way: SolverKind,
    lambda: f64,
    hold: Hold,
    plan: Plan,
    (warm, steps): (usize, usize),
) -> usize {
    let (n, batch, labels) = (96, 24, 10);
    let shape = net.architecture();
    let mut rule = kind.build(&RuleConfig::new(&shape), &plan).unwrap();
    let regularizer = Regularizer::new(lambda).unwrap();
    let settings = OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, 1e-3).unwrap();
    let mut optimizer = Optimizer::new(OptimizerConfig { weight_decay: kind.weight_decay(), ..settings }, &net);
    let mut solver = way.build(Tuning { regularized: lambda > 0.0, ..Tuning::default() }).unwrap();
    let mut holder = HoldState::new(hold, &net, batch).unwrap();
    let (mut fused, exec) = (Step::new(&net, batch), &mut Exec::new(plan));
    let mut rng = Rng::new(2, 0);
    let x: Vec<f32> = (0..batch * n).map(|_| rng.uniform() as f32).collect();
    let mut t = vec![0f32; batch * labels];
    (0..batch).for_each(|i| t[i * labels + i % labels] = 1.0);
    let (x, t) = (MatRef::new(&x, batch, n).unwrap(), MatRef::new(&t, batch, labels).unwrap());
    let mut step = || {
        let (loss, exec) = (Loss::Squared, &mut *exec);
        let mut recipe = Recipe { rule: &mut *rule, solver: &mut *solver, loss, regularizer, exec };
        fused.update(&mut net, x, t, &mut recipe, &mut optimizer).unwrap();
        holder.after_step(&mut net, recipe.exec).unwrap();
        fused.decorrelate(&mut net, Decorrelation::new(1e-3).unwrap(), exec).unwrap();
        fused.teach(&net, &mut *solver, exec).unwrap();
    };
    (0..warm).for_each(|_| step());
    let region = Region::new(ALLOCATOR);
    (0..steps).for_each(|_| step());
    let change = region.change();
    change.allocations + change.reallocations
}

/// Allocations in solves after the first, of two layers whose weights drift as fast as it takes for an inverse to be refreshed.
fn allocations_in_solves(way: SolverKind) -> usize {
    let (n, batch, plan) = (150, 60, Plan::new());
    let mut rng = Rng::new(1, 0);
    let mut w = init::weights::<f32>(Init::Orthogonal, n, n, &mut rng, &plan).unwrap();
    let (mut exec, mut r) = (Exec::new(plan), Matrix::<f32>::zeros(batch, n));
    let mut solver = way.build::<f32>(Tuning::default()).unwrap();
    let mut count = 0;
    for step in 0..60 {
        for layer in [0, 1] {
            r.data_mut().iter_mut().for_each(|x| *x = rng.normal() as f32);
            let region = Region::new(ALLOCATOR);
            solver.solve(Weights { layer, version: step, w: w.view() }, r.view_mut(), &mut exec).unwrap();
            let change = region.change();
            count += if step > 0 { change.allocations + change.reallocations } else { 0 };
        }
        w.data_mut().iter_mut().for_each(|x| *x += 2e-4 * rng.normal() as f32);
    }
    count
}

/// One test, so that nothing else allocates beside it.
#[test]
fn steps_allocate_nothing_after_the_first() {
    let team = Par::team(2).unwrap();
    // The thread that has started this one may still be making its notes of that.
    loop {
        let region = Region::new(ALLOCATOR);
        std::thread::sleep(std::time::Duration::from_millis(50));
        if region.change().allocations == 0 {
            break;
        }
    }
    for par in [Par::Seq, team.clone()] {
        for (kind, way, lambda, hold) in [
            (LearningRule::Bp, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Bp, SolverKind::Lu, 0.1, Hold::Free),
            (LearningRule::Gait, SolverKind::Lu, 0.1, Hold::Free),
            (LearningRule::Gait, SolverKind::Cg, 0.1, Hold::Free),
            (LearningRule::Gait, SolverKind::Gram, 0.1, Hold::Free),
            (LearningRule::Gait, SolverKind::Cg, 0.0, Hold::Block(Block::new(0.5).unwrap())),
            (LearningRule::Gait, SolverKind::Cg, 0.0, Hold::Retract(Retraction::new(2).unwrap())),
            (LearningRule::Itp, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Fa, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Dfa, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Drtp, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Usf, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Frsf, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Brsf, SolverKind::Lu, 0.0, Hold::Free),
            (LearningRule::Kp, SolverKind::Lu, 0.1, Hold::Free),
        ] {
            let count = allocations(kind, way, lambda, hold, par.clone(), (2, 10));
            assert_eq!(count, 0, "{kind}, {way}, λ = {lambda}, {hold:?}, {par:?}");
        }
        // Layers of any shape, and decorrelated inputs.
        let dense = Architecture::dense(96, &[80, 110, 40], 10).unwrap();
        let square = Architecture::square(96, 96, 3, 10).unwrap();
        for (shape, kind, way, decorrelated) in [
            (&dense, LearningRule::Gait, SolverKind::Damped, false),
            (&dense, LearningRule::Gait, SolverKind::Learned, true),
            (&dense, LearningRule::Bp, SolverKind::Lu, true),
            (&square, LearningRule::Gait, SolverKind::Lu, true),
            (&square, LearningRule::Tp, SolverKind::Damped, true),
        ] {
            let plan = Plan::new().with_par(par.clone()).with_min_work(1);
            let net = Network::<f32>::random(shape, Init::Orthogonal, 1, &plan).unwrap();
            let net = if decorrelated { net.with_decorrelation() } else { net };
            let count = allocations_on(net, kind, way, 0.1, Hold::Free, plan, (2, 10));
            assert_eq!(count, 0, "{kind}, {way}, decorrelated: {decorrelated}, {par:?}");
        }
        // Long enough to refresh an inverse and to change their mind.
        for way in [SolverKind::Stale, SolverKind::Auto] {
            for lambda in [0.0, 0.1] {
                let count = allocations(LearningRule::Gait, way, lambda, Hold::Free, par.clone(), (2, 180));
                assert_eq!(count, 0, "{way}, λ = {lambda}, {par:?}");
            }
        }
    }
    for way in [
        SolverKind::Lu,
        SolverKind::Stale,
        SolverKind::Cg,
        SolverKind::Gram,
        SolverKind::Auto,
        SolverKind::Damped,
        SolverKind::Learned,
    ] {
        assert_eq!(allocations_in_solves(way), 0, "{way}");
    }
    // The counter counts.
    let region = Region::new(ALLOCATOR);
    let data = std::hint::black_box(vec![1u8; 100]);
    assert_eq!(region.change().allocations, 1);
    drop(data);
}
