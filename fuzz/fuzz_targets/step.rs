//! Steps of training, fused against un-fused: any network, rule, way through inverses, optimiser
//! and regulariser leaves the same bits or gives the same error.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop::solve::SolverKind;
use gaitprop::kernels::{Activation, Real};
use gaitprop::loss::Loss;
use gaitprop::Architecture;
use gaitprop::optimizer;
use gaitprop::ortho::{Layers, Penalty, Regularizer, Side};
use gaitprop::rule::{TargetForm, LearningRule};
use gaitprop_fuzz::rules::steps::{Case, check};
use gaitprop_fuzz::{How, hold, one_of};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    how: How,
    seed: u64,
    network: Network,
    batch: u8,
    /// Activation, that of the output, rule, way, optimiser, and the rest bit by bit.
    choices: [u8; 6],
    decays: bool,
    double: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Network {
    Square(u8, u8),
    Wide(u8, u8),
    Tower(u8),
    /// Widths of two layers above the inputs.
    Dense(u8, u8, u8),
}

const WAYS: [SolverKind; 6] =
    [SolverKind::Lu, SolverKind::Stale, SolverKind::Cg, SolverKind::Gram, SolverKind::Auto, SolverKind::Damped];

fn run<T: Real>(input: &Input) {
    let between = |byte: u8, low: usize, high: usize| low + usize::from(byte) % (high - low);
    let shape = match input.network {
        Network::Square(n, hidden) => {
            let n = between(n, 3, 30);
            Architecture::square(n, n, between(hidden, 1, 4), 3)
        }
        Network::Wide(inputs, n) => Architecture::widths(between(inputs, 2, 60), &[between(n, 3, 30); 2], 2),
        Network::Tower(n) => {
            let n = between(n, 8, 30);
            Architecture::tower(&[n, n, n / 2 + 1, n / 4 + 2], 2)
        }
        Network::Dense(inputs, m, n) => {
            Architecture::dense(between(inputs, 2, 60), &[between(m, 2, 30), between(n, 2, 30)], 2)
        }
    }
    .expect("widths that fit");
    let dense = matches!(input.network, Network::Dense(..));
    let [unit, output, rule, way, optimizer, bits] = input.choices;
    let units = [Activation::LeakyRelu { slope: 0.1 }, Activation::Identity, Activation::Tanh];
    let flag = |bit: u8| bits >> bit & 1 == 1;
    let optimizers = [optimizer::OptimizerKind::PublishedAdam, optimizer::OptimizerKind::Adam, optimizer::OptimizerKind::Sgd, optimizer::OptimizerKind::Momentum];
    let case = Case {
        shape: Architecture { activation: one_of(&units, unit), output_activation: one_of(&units, output), ..shape },
        batch: between(input.batch, 1, 20),
        rule: one_of(&LearningRule::ALL, rule),
        // Absolute targets, and all ways but one, need square layers.
        form: if flag(0) && flag(1) && !dense { TargetForm::Absolute } else { TargetForm::Difference },
        way: if dense { SolverKind::Damped } else { one_of(&WAYS, way) },
        optimizer: one_of(&optimizers, optimizer),
        weight_decay: if input.decays { 0.01 } else { 0.0 },
        ortho: Regularizer {
            lambda: if flag(2) { 0.1 } else { 0.0 },
            form: if flag(3) { Penalty::Identity } else { Penalty::OffDiagonal },
            side: if flag(4) { Side::Columns } else { Side::Rows },
            layers: if flag(6) { Layers::AboveFirst } else { Layers::All },
        },
        loss: if flag(5) { Loss::CrossEntropy } else { Loss::Squared },
        seed: input.seed >> 1,
    };
    hold(check::<T>(&case, &[input.how.plan()]));
}

fuzz_target!(|input: Input| if input.double { run::<f64>(&input) } else { run::<f32>(&input) });
