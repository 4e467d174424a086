//! Keeping weights near orthogonal, which is where W⁻¹ = Wᵀ and targets carry backpropagation's errors.
//!
//! | what | file | how |
//! |---|---|---|
//! | [`Regularizer`] | `exact` | `−∂R/∂W` is added to the descent direction: the published way |
//! | [`Block`] | `block` | after each step the next few rows are pushed away from all others |
//! | [`Retraction`] | `hard` | every so many steps W becomes the nearest orthogonal matrix |
//! | [`Cayley`] | `hard` | plain gradient descent by rotations: W never leaves the orthogonal matrices |

mod block;
mod exact;
mod hard;

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::model::network::Network;
pub use block::{Block, Blocks};
pub use exact::Regularizer;
use gaitprop_kernels::{MatRef, Real};
pub use hard::{Cayley, Retraction, Retractor};

/// What is penalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Penalty {
    /// The entries off the diagonal: rows orthogonal, their norms free. The published form.
    OffDiagonal,
    /// The distance from the identity: rows orthonormal.
    Identity,
}

names!(Penalty, "form of the regulariser", OffDiagonal = "published", Identity = "identity");

/// Which vectors are to be orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Rows of W, one an input unit: W Wᵀ. The published side.
    Rows,
    /// Columns of W, one an output unit: WᵀW.
    Columns,
}

names!(Side, "side of the regulariser", Rows = "rows", Columns = "columns");

impl Side {
    /// Whether the columns of weights of this shape are to be orthogonal: more vectors than dimensions cannot be, so that a rectangular
    /// layer is always taken by its shorter side.
    fn transposes(self, (rows, cols): (usize, usize)) -> bool {
        rows > cols || (rows == cols && self == Self::Columns)
    }

    /// W, or its transpose, such that its rows are what should be orthogonal; and whether it was transposed.
    fn orient<'a, T>(self, w: MatRef<'a, T>) -> (MatRef<'a, T>, bool) {
        let transposed = self.transposes(w.shape());
        (if transposed { w.t() } else { w }, transposed)
    }
}

/// What holds weights near orthogonal besides the regulariser's gradient: a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Hold {
    /// Nothing.
    #[default]
    Free,
    /// The block regulariser, after each step.
    Block(Block),
    /// Retraction, every so many steps.
    Retract(Retraction),
    /// Rotations instead of the optimiser's steps: for plain gradient descent without a regulariser.
    Cayley,
}

/// A [`Hold`] at work on one network, with its memory and its count of steps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Holder<T> {
    /// Nothing.
    Free,
    /// The block regulariser.
    Block(Blocks<T>),
    /// Retraction.
    Retract(Retractor<T>),
    /// Rotations.
    Cayley(Cayley<T>),
}

impl<T: Real> Holder<T> {
    /// Memory for `net` and batches of up to `batch` samples.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a setting out of its range.
    pub fn new(hold: Hold, net: &Network<T>, batch: usize) -> Result<Self> {
        Ok(match hold {
            Hold::Free => Self::Free,
            Hold::Block(block) => Self::Block(Blocks::new(block, net)?),
            Hold::Retract(retraction) => Self::Retract(Retractor::new(retraction, net)?),
            Hold::Cayley => Self::Cayley(Cayley::new(net, batch)),
        })
    }

    /// Steps counted: all that it depends on besides the weights.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Block(blocks) => blocks.turn(),
            Self::Retract(retractor) => retractor.steps(),
            Self::Free | Self::Cayley(_) => 0,
        }
    }

    /// Goes on as if so many steps had been counted.
    pub fn set_steps(&mut self, steps: u64) {
        match self {
            Self::Block(blocks) => blocks.set_turn(steps),
            Self::Retract(retractor) => retractor.set_steps(steps),
            Self::Free | Self::Cayley(_) => {}
        }
    }

    /// What is to be done after a step of the optimiser.
    ///
    /// # Errors
    /// As [`Blocks::step`] and [`Retractor::step`].
    pub fn after_step(&mut self, net: &mut Network<T>, exec: &mut Exec) -> Result<()> {
        match self {
            Self::Block(blocks) => blocks.step(net, exec),
            Self::Retract(retractor) => retractor.step(net, exec),
            Self::Free | Self::Cayley(_) => Ok(()),
        }
    }
}
