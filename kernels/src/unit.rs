//! Unit-wise functions that a layer can apply, as far as kernels must know them.

use crate::{Error, Real};

/// An invertible unit-wise function f.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Unit {
    /// f(h) = h.
    Identity,
    /// f(h) = h for h ≥ 0 and `slope`·h below; the derivative at 0 is 1.
    LeakyRelu {
        /// The slope below 0: positive and finite.
        slope: f64,
    },
    /// f(h) = tanh h.
    Tanh,
}

impl Unit {
    /// Whether the function has an inverse in T.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the slope is not positive, or if it or its inverse is no normal number of T.
    pub fn check<T: Real>(self) -> Result<(), Error> {
        let normal = |x: f64| x >= T::SMALLEST && x <= T::LARGEST;
        match self {
            Self::LeakyRelu { slope } if !(normal(slope) && normal(1.0 / slope)) => Err(Error::Parameter {
                what: "the slope of the leaky ReLU",
                value: slope,
                accepted: "greater than 0 and neither too small nor too large for the element type (at 0 there is no inverse)",
            }),
            _ => Ok(()),
        }
    }

    /// Whether f′ must be kept beside y, because it cannot be had from y without loss.
    pub fn keeps_slope(self) -> bool {
        matches!(self, Self::Tanh)
    }

    /// f(h) and f′(h).
    ///
    /// The derivative of tanh is taken from e^(−2|h|), not from 1 − y², which cancels as |y| → 1. tanh is computed in f64 by a
    /// portable library, so that every machine has the same bits.
    #[inline(always)]
    pub fn apply<T: Real>(self, h: T) -> (T, T) {
        match self {
            Self::Identity => (h, T::ONE),
            Self::LeakyRelu { slope } => {
                let slope = if h < T::ZERO { T::from_f64(slope) } else { T::ONE };
                (slope * h, slope)
            }
            Self::Tanh => {
                let h = h.to_f64();
                let q = libm::exp(-2.0 * h.abs());
                let slope = 4.0 * q / ((1.0 + q) * (1.0 + q));
                (T::from_f64(libm::tanh(h)), T::from_f64(slope))
            }
        }
    }

    /// f′ from y (and from the kept slope where [`Unit::keeps_slope`]).
    #[inline(always)]
    pub(crate) fn slope<T: Real>(self, y: T, kept: T) -> T {
        match self {
            Self::Identity => T::ONE,
            // y < 0 where h < 0, since the slope is positive; where the product underflows to −0, h counts as 0.
            Self::LeakyRelu { slope } => {
                if y < T::ZERO {
                    T::from_f64(slope)
                } else {
                    T::ONE
                }
            }
            Self::Tanh => kept,
        }
    }
}
