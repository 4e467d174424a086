//! The fused step is the un-fused one, to the bit: weights, biases, moments and reports, for every rule, optimiser, regulariser and way through
//! inverses, on any instruction set and number of threads. (The transpose, which refuses most weights, is a plain product: it has no more ways to differ.)

use crate::support::steps::*;
use gaitprop::Exec;
use gaitprop::init;
use gaitprop::kernels::{Activation, Isa, MatRef, Par, Plan, Real};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{self, Optimizer, OptimizerConfig};
use gaitprop::ortho::{Layers, Penalty, Regularizer, Side};
use gaitprop::rule::{LearningRule, RuleConfig, TargetForm};
use gaitprop::solve::{SolverKind, Tuning};
use gaitprop::step::{Recipe, Step};
use gaitprop::{Architecture, Network};
use proptest::prelude::*;

fn shapes() -> impl Strategy<Value = Architecture> {
    let unit = prop_oneof![Just(Activation::LeakyRelu { slope: 0.1 }), Just(Activation::Identity), Just(Activation::Tanh)];
    let square = (3usize..40, 1usize..4).prop_map(|(n, hidden)| Architecture::square(n, n, hidden, 3.min(n)).unwrap());
    let wide = (2usize..60, 3usize..40).prop_map(|(inputs, n)| Architecture::widths(inputs, &[n, n], 2).unwrap());
    let tower = (8usize..40).prop_map(|n| Architecture::tower(&[n, n, n / 2 + 1, n / 4 + 2], 2).unwrap());
    (prop_oneof![square, wide, tower], unit.clone(), unit).prop_map(|(shape, unit, output)| Architecture {
        activation: unit,
        output_activation: output,
        ..shape
    })
}

fn cases() -> impl Strategy<Value = (Case, usize)> {
    // Absolute targets read all of the output, which the fused step computes for them alone.
    let forms = prop_oneof![3 => Just(TargetForm::Difference), 1 => Just(TargetForm::Absolute)];
    let rules = (proptest::sample::select(&LearningRule::ALL[..]), forms);
    let ways =
        proptest::sample::select(vec![SolverKind::Lu, SolverKind::Stale, SolverKind::Cg, SolverKind::Gram, SolverKind::Auto]);
    let optimizers = proptest::sample::select(vec![
        optimizer::OptimizerKind::PublishedAdam,
        optimizer::OptimizerKind::Adam,
        optimizer::OptimizerKind::Sgd,
        optimizer::OptimizerKind::Momentum,
    ]);
    let ortho = (prop_oneof![Just(0.0), Just(0.1)], any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(lambda, identity, columns, free)| Regularizer {
            lambda,
            form: if identity { Penalty::Identity } else { Penalty::OffDiagonal },
            side: if columns { Side::Columns } else { Side::Rows },
            layers: if free { Layers::AboveFirst } else { Layers::All },
        },
    );
    let loss = prop_oneof![Just(Loss::Squared), Just(Loss::CrossEntropy)];
    let optimizers = (optimizers, prop_oneof![Just(0.0), Just(0.01)]);
    (shapes(), 1usize..20, rules, ways, optimizers, ortho, (loss, 1usize..4, any::<u64>())).prop_map(
        |(shape, batch, (rule, form), way, (optimizer, weight_decay), ortho, (loss, threads, seed))| {
            let case = Case { shape, batch, rule, form, way, optimizer, weight_decay, ortho, loss, seed: seed >> 1 };
            (case, threads)
        },
    )
}

/// On every instruction set, alone and with so many threads.
fn check_all<T: Real>((case, threads): &(Case, usize)) -> Result<(), TestCaseError> {
    let team = Par::team(*threads).unwrap();
    let plan = |isa, par| Plan::new().with_isa(isa).with_par(par).with_min_work(1);
    let plans: Vec<_> = Isa::available().flat_map(|isa| [Par::Seq, team.clone()].map(|par| plan(isa, par))).collect();
    check::<T>(case, &plans).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn fused_is_unfused_f32(case in cases()) {
        check_all::<f32>(&case)?;
    }

    #[test]
    fn fused_is_unfused_f64(case in cases()) {
        check_all::<f64>(&case)?;
    }
}

fn published(rule: LearningRule, way: SolverKind, lambda: f64) -> Case {
    Case {
        shape: Architecture::square(64, 64, 3, 10).unwrap(),
        batch: 20,
        rule,
        form: TargetForm::Difference,
        way,
        optimizer: optimizer::OptimizerKind::PublishedAdam,
        weight_decay: 0.0,
        ortho: Regularizer::new(lambda).unwrap(),
        loss: Loss::Squared,
        seed: 1,
    }
}

/// One bit of one weight, of one moment or of one bias is a difference, and so is another rule.
#[test]
fn the_comparison_can_fail() {
    let case = published(LearningRule::Gait, SolverKind::Cg, 0.1);
    let plan = Plan::new();
    let (want, got) = (run::<f32>(&case, false, &plan).unwrap(), run::<f32>(&case, true, &plan).unwrap());
    assert_eq!(difference(&want, &got), None);
    let other = run::<f32>(&Case { rule: LearningRule::Bp, ..case.clone() }, true, &plan).unwrap();
    assert!(difference(&want, &other).is_some());
    for which in 0..2 {
        let layers = got.net.layers().iter().cloned().enumerate().map(|(l, mut layer)| {
            if l == 2 {
                let at = if which == 0 { &mut layer.w.data_mut()[64 * 64 - 1] } else { &mut layer.b[63] };
                *at = f32::from_bits(at.to_bits() ^ 1);
            }
            layer
        });
        let net = Network::new(64, layers.collect(), 10).unwrap();
        let wrong = Left { net, optimizer: got.optimizer.clone(), rule: got.rule.clone(), reports: got.reports.clone() };
        assert!(difference(&want, &wrong).unwrap().contains("layer 2"));
    }
}

/// A batch that leaves the finite numbers changes nothing, and says in which step.
#[test]
fn a_broken_batch_changes_nothing() {
    let plan = Plan::new();
    for kind in [LearningRule::Bp, LearningRule::Gait, LearningRule::Fa, LearningRule::Dfa, LearningRule::Brsf, LearningRule::Kp]
    {
        let case = published(kind, SolverKind::Auto, 0.1);
        let mut rule = kind.build::<f32>(&RuleConfig::new(&case.shape), &plan).unwrap();
        let mut net = Network::<f32>::random(&case.shape, init::Init::Orthogonal, 3, &plan).unwrap();
        let mut optimizer = Optimizer::new(OptimizerConfig::new(case.optimizer, 1e-3).unwrap(), &net);
        let mut solver = case.way.build(Tuning::default()).unwrap();
        let before = (net.clone(), rule.save());
        let (mut x, t) = (vec![0.5f32; 20 * 64], vec![0f32; 20 * 10]);
        x[70] = f32::NAN;
        let (x, t) = (MatRef::new(&x, 20, 64).unwrap(), MatRef::new(&t, 20, 10).unwrap());
        let (loss, regularizer, exec) = (case.loss, case.ortho, &mut Exec::default());
        let mut recipe = Recipe { rule: &mut *rule, solver: &mut *solver, loss, regularizer, exec };
        let error = Step::new(&net, 20).update(&mut net, x, t, &mut recipe, &mut optimizer).unwrap_err();
        assert!((net, rule.save()) == before && optimizer.steps() == 0, "{kind}: {error}");
    }
}
