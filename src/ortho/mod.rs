//! Methods that keep weights near orthogonal. There W⁻¹ = Wᵀ, and targets carry backpropagation's
//! errors.
//!
//! | type | file | method |
//! |---|---|---|
//! | [`Regularizer`] | `exact` | `−∂R/∂W` is added to the descent direction: the published method |
//! | [`Block`] | `block` | after each step, the next few rows are pushed away from all others |
//! | [`Retraction`] | `hard` | at a fixed interval of steps, W becomes the nearest orthogonal matrix |
//! | [`Cayley`] | `hard` | plain gradient descent by rotations: W stays orthogonal |

mod block;
mod exact;
mod hard;

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::names::names;
use crate::model::network::Network;
use gaitprop_kernels::{MatRef, Real};

pub use block::Block;
pub use exact::Regularizer;
pub use hard::{Cayley, Retraction};
#[doc(hidden)] // for tests and benchmarks: others use `HoldState`
pub use {block::Blocks, hard::Retractor};

/// Entries of the Gram matrix that the regularizer penalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Penalty {
    /// Entries off the diagonal: rows become orthogonal, with free norms. The published form.
    OffDiagonal,
    /// Distance from the identity: rows become orthonormal.
    Identity,
}

names!(Penalty, "form of the regularizer", OffDiagonal = "published", Identity = "identity");

/// Vectors to make orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Rows of W, one per input unit: W Wᵀ. The published side.
    Rows,
    /// Columns of W, one per output unit: WᵀW.
    Columns,
}

names!(Side, "side of the regularizer", Rows = "rows", Columns = "columns");

/// Layers to make orthogonal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layers {
    /// Every layer, as published.
    #[default]
    All,
    /// Every layer but the first, whose inverse no rule needs (Dalm et al., 2021).
    AboveFirst,
}

names!(Layers, "choice of layers", All = "all", AboveFirst = "above-first");

impl Layers {
    /// Returns whether layer `l`, from 0, is one of them.
    pub fn include(self, l: usize) -> bool {
        l >= self.first()
    }

    /// Returns the index of the first of them.
    fn first(self) -> usize {
        usize::from(self == Self::AboveFirst)
    }
}

impl Side {
    /// Returns whether the columns of weights of this shape become orthogonal. A rectangular layer
    /// always takes its shorter side: there are at most as many orthogonal vectors as dimensions.
    fn transposes(self, (rows, cols): (usize, usize)) -> bool {
        rows > cols || (rows == cols && self == Self::Columns)
    }

    /// Returns W or its transpose, so that the vectors to make orthogonal are its rows. Also
    /// returns whether it is the transpose.
    fn orient<'a, T>(self, w: MatRef<'a, T>) -> (MatRef<'a, T>, bool) {
        let transposed = self.transposes(w.shape());
        (if transposed { w.t() } else { w }, transposed)
    }
}

/// Setting: method that holds weights near orthogonal, besides the regularizer's gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Hold {
    /// No method.
    #[default]
    Free,
    /// Block regularizer, after each step.
    Block(Block),
    /// Retraction, at a fixed interval of steps.
    Retract(Retraction),
    /// Rotations in place of the optimizer's steps. They need plain gradient descent without a
    /// regularizer.
    Cayley,
}

/// State of a [`Hold`] on one network: buffers and the step count.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HoldState<T> {
    /// No method.
    Free,
    #[doc(hidden)]
    Block(Blocks<T>),
    #[doc(hidden)]
    Retract(Retractor<T>),
    /// Rotations, for [`Step::rotate`](crate::step::Step::rotate).
    Cayley(Cayley<T>),
}

impl<T: Real> HoldState<T> {
    /// Allocates memory for `net` and batches of up to `batch` samples.
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

    /// Number of steps counted. A step depends on it and on the weights alone.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Block(blocks) => blocks.turn(),
            Self::Retract(retractor) => retractor.steps(),
            Self::Free | Self::Cayley(_) => 0,
        }
    }

    /// Sets the number of steps counted, to resume.
    pub fn set_steps(&mut self, steps: u64) {
        match self {
            Self::Block(blocks) => blocks.set_turn(steps),
            Self::Retract(retractor) => retractor.set_steps(steps),
            Self::Free | Self::Cayley(_) => {}
        }
    }

    /// Holds the weights after a step of the optimizer.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged) for a weight that is no longer finite;
    /// [`Error::TooFar`](crate::Error::TooFar) for weights that a retraction cannot make orthogonal;
    /// a shape error for another network; out of memory.
    pub fn after_step(&mut self, net: &mut Network<T>, exec: &mut Exec) -> Result<()> {
        match self {
            Self::Block(blocks) => blocks.step(net, exec),
            Self::Retract(retractor) => retractor.step(net, exec),
            Self::Free | Self::Cayley(_) => Ok(()),
        }
    }
}
