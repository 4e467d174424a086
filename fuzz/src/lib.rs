//! What the fuzz targets share: the checks of the tests, and how bytes become their operands.
//!
//! A target is a check of the test suite, with a fuzzer that looks at coverage in the place of
//! random numbers. All of them compare: with a naive twin, with 480-bit arithmetic, with what the
//! same file says when it is read again.

use arbitrary::Arbitrary;
use gaitprop::data::Samples;
use gaitprop::solve::SolverKind;
use gaitprop::{Architecture, LearningRule, TrainConfig, Trainer};
use gaitprop_kernels::{Blocking, Packing, Plan};
use std::sync::LazyLock;

/// Checks of the kernels' tests.
#[path = "../../kernels/tests/it/support"]
pub mod operands {
    pub mod batch;
    pub mod fenced;
    pub mod fused;
    pub mod triangular;
    pub mod vectors;
}

/// Checks of the learning rules' tests.
#[path = "../../tests/it/support/mod.rs"]
pub mod rules;

use operands::fenced::{Crew, LAYOUTS, Layout};

static CREW: LazyLock<Crew> = LazyLock::new(|| Crew::new(3));

/// How to compute.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct How {
    plan: u8,
    packing: u8,
    blocks: Option<(u8, u8, u8, u8)>,
}

impl How {
    /// One plan: of every instruction set of this CPU, mostly without threads, which cost more than
    /// all else.
    pub fn plan(self) -> Plan {
        let packing = [Packing::Auto, Packing::Always, Packing::Avoid][usize::from(self.packing) % 3];
        let up_to = |block: u8, most: usize| 1 + usize::from(block) % most;
        let blocking = self.blocks.map(|(mc, kc, nc, mr)| {
            Blocking::new(up_to(mc, 30), up_to(kc, 20), up_to(nc, 50), up_to(mr, 16)).expect("all blocks are above 0")
        });
        let min_work = [1, 1, 300, 5000][usize::from(self.plan >> 6)];
        let mut plans = CREW.plans(blocking, packing, min_work);
        let which = usize::from(self.plan & 63);
        // Alone, with a pool and with a team, by turns.
        let (isa, par) = (which % (plans.len() / 3), if which < 48 { 0 } else { 1 + (which >> 3) % 2 });
        plans.swap_remove(3 * isa + par)
    }
}

/// A size around the edges of tiles: 0, 1, a tile ± 1, several tiles.
pub fn size(byte: u8) -> usize {
    const LARGE: [usize; 11] = [47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 130];
    match usize::from(byte) {
        small @ 0..200 => small % 40,
        large => LARGE[(large - 200) % LARGE.len()],
    }
}

/// Sizes of a product: a large one beside small ones, so that the naive twin does not take the
/// fuzzer's time.
pub fn shape((m, n, k): (u8, u8, u8)) -> (usize, usize, usize) {
    let mut sizes = [size(m), size(n), size(k)];
    while sizes.iter().product::<usize>() > 60_000 {
        let largest = sizes.iter_mut().max().expect("three");
        *largest /= 2;
    }
    let [m, n, k] = sizes;
    (m, n, k)
}

/// The value that a byte chooses.
pub fn one_of<T: Copy>(values: &[T], byte: u8) -> T {
    values[usize::from(byte) % values.len()]
}

pub fn layout(byte: u8) -> Layout {
    one_of(&LAYOUTS, byte)
}

/// A factor: the plain ones, which kernels treat apart, and others.
pub fn scalar(byte: i8) -> f64 {
    match byte {
        -128..-100 => 0.0,
        -100..-60 => -1.0,
        100..=127 => 1.0,
        other => f64::from(other) / 32.0,
    }
}

/// Ends the run where a check has failed.
pub fn hold(checked: Result<(), String>) {
    if let Err(what) = checked {
        panic!("{what}");
    }
}

/// A training that a checkpoint may be of: the seeds of the corpus are.
pub fn trainer(way: SolverKind) -> Trainer<f32> {
    let shape = Architecture::square(4, 4, 1, 2).expect("widths that fit");
    let config = TrainConfig {
        solver: way,
        learning_rate: 1e-3,
        batch: 2,
        shuffle: true,
        ..TrainConfig::published(LearningRule::Gait)
    };
    Trainer::new(&shape, config, 1).expect("settings that fit")
}

/// What it is trained on.
pub fn samples() -> Samples<f32> {
    let x = (0..24u8).map(|i| f32::from(i * 7 % 24) / 24.0).collect();
    Samples { x, labels: vec![0, 1, 0, 1, 1, 0], len: 6, features: 4 }
}
