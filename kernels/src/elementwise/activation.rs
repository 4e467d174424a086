//! Activation functions, the bias before them, and the gradient through them.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::{Fused, shells};
use crate::simd::vector::{Vector, load, store};
use crate::tile::table::Real;

/// An invertible activation function f, applied to each element.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// f(h) = h.
    Identity,
    /// f(h) = h for h ≥ 0, `slope`·h below 0. The derivative at 0 is 1.
    LeakyRelu {
        /// The slope below 0: positive and finite.
        slope: f64,
    },
    /// f(h) = tanh h.
    Tanh,
}

impl Activation {
    /// Checks that f has an inverse in T.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the slope is positive and both it and its inverse are normal
    /// numbers of T.
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

    /// Returns whether f′ must be stored beside y, because computing it from y loses accuracy.
    pub fn keeps_slope(self) -> bool {
        matches!(self, Self::Tanh)
    }

    /// Returns f(h) and f′(h).
    ///
    /// The derivative of tanh comes from e^(−2|h|), because 1 − y² cancels as |y| → 1. `libm`
    /// computes tanh in f64, so every machine returns the same bits.
    #[inline(always)]
    pub fn apply<T: Scalar>(self, h: T) -> (T, T) {
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

    /// Returns f′ from y, or `stored` where [`Activation::keeps_slope`].
    #[inline(always)]
    pub(crate) fn slope<T: Scalar>(self, y: T, stored: T) -> T {
        match self {
            Self::Identity => T::ONE,
            // The slope is positive, so h < 0 gives y < 0. If the product underflows to −0, h
            // counts as 0.
            Self::LeakyRelu { slope } => {
                if y < T::ZERO {
                    T::from_f64(slope)
                } else {
                    T::ONE
                }
            }
            Self::Tanh => stored,
        }
    }

    /// Returns the slope below 0 of a piecewise linear f (1 for the identity), else `None`.
    fn negative_slope<T: Scalar>(self) -> Option<T> {
        match self {
            Self::Identity => Some(T::ONE),
            Self::LeakyRelu { slope } => Some(T::from_f64(slope)),
            Self::Tanh => None,
        }
    }
}

/// Returns the stored slopes where the activation needs them, else `y` as a placeholder, so that
/// loops have a slice of the right length.
pub(crate) fn stored_slope<'a, T>(
    activation: Activation,
    slope: Option<MatRef<'a, T>>,
    y: MatRef<'a, T>,
) -> Result<MatRef<'a, T>, Error> {
    match slope {
        Some(slope) if activation.keeps_slope() => {
            slope.expect_shape("the kept slopes", y.shape())?;
            Ok(slope)
        }
        None if activation.keeps_slope() => Err(Error::Shape { what: "the kept slopes", expected: y.shape(), found: (0, 0) }),
        _ => Ok(y),
    }
}

/// Computes `y ← f(h + b)` in place, and writes f′ into `slope` if given.
///
/// * `h`: batch×n, overwritten by y; strides of any sign, fastest with contiguous rows
/// * `bias`: b, n elements
/// * `slope`: batch×n
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::Parameter`] for an activation without an inverse.
/// Nothing has then been written.
pub fn bias_activate<T: Real>(
    activation: Activation,
    h: MatMut<'_, T>,
    bias: &[T],
    slope: Option<MatMut<'_, T>>,
    isa: Isa,
) -> Result<(), Error> {
    check_bias_activate(activation, h.shape(), bias, slope.as_ref())?;
    // An empty view may have any number of rows.
    if h.is_empty() {
        return Ok(());
    }
    bias_activate_all(isa, activation, h, bias, slope);
    Ok(())
}

once! {
    /// [`bias_activate`] for checked operands.
    fn bias_activate_all<T: Real> = bias_activate_all_body(
        isa: Isa, activation: Activation, h: MatMut<'a, T>, bias: &'a [T], slope: Option<MatMut<'a, T>>
    )
}

fn bias_activate_all_body<T: Real>(
    isa: Isa,
    activation: Activation,
    mut h: MatMut<'_, T>,
    bias: &[T],
    mut slope: Option<MatMut<'_, T>>,
) {
    if h.has_contiguous_rows() && slope.as_ref().is_none_or(MatMut::has_contiguous_rows) {
        return bias_activate_rows(isa, activation, h, bias, slope);
    }
    for i in 0..h.nrows() {
        for (j, &b) in bias.iter().enumerate() {
            let (y, d) = activation.apply(h.get(i, j) + b);
            h.set(i, j, y);
            if let Some(slope) = &mut slope {
                slope.set(i, j, d);
            }
        }
    }
}

/// Checks the shapes and parameters of [`bias_activate`].
pub(crate) fn check_bias_activate<T: Real>(
    activation: Activation,
    shape: (usize, usize),
    bias: &[T],
    slope: Option<&MatMut<'_, T>>,
) -> Result<(), Error> {
    activation.check::<T>()?;
    if bias.len() != shape.1 {
        return Err(Error::Shape { what: "the bias", expected: (1, shape.1), found: (1, bias.len()) });
    }
    slope.map_or(Ok(()), |slope| slope.expect_shape("the slopes", shape))
}

shells! { vectors
    /// [`bias_activate`] for checked operands with contiguous rows.
    pub(crate) fn bias_activate_rows = bias_activate_body(
        activation: Activation, h: MatMut<'a, T>, bias: &'a [T], slope: Option<MatMut<'a, T>>
    )
}

#[inline(always)]
fn bias_activate_body<T: Scalar, V: Vector<T>>(
    activation: Activation,
    mut h: MatMut<'_, T>,
    bias: &[T],
    mut slope: Option<MatMut<'_, T>>,
) {
    let negative_slope = activation.negative_slope::<T>();
    let n = h.ncols();
    assert_eq!(bias.len(), n);
    for i in 0..h.nrows() {
        let h = h.row_mut(i).expect("contiguous, checked by the caller");
        let mut slope = slope.as_mut().map(|s| s.row_mut(i).expect("contiguous, checked by the caller"));
        assert!(slope.as_ref().is_none_or(|s| s.len() == n));
        let Some(below) = negative_slope else {
            // tanh takes hundreds of scalar operations per element: vectors gain nothing.
            for (j, (h, &b)) in h.iter_mut().zip(bias).enumerate() {
                let (y, d) = activation.apply(*h + b);
                *h = y;
                if let Some(slope) = &mut slope {
                    slope[j] = d;
                }
            }
            continue;
        };
        let slope = slope.map(|s| s.as_mut_ptr());
        let (h, bias) = (h.as_mut_ptr(), bias.as_ptr());
        for j in (0..n).step_by(V::LEN) {
            let at = |p: *mut T| p.wrapping_add(j);
            let (h, bias, slope) = (at(h), bias.wrapping_add(j), slope.map(at));
            // SAFETY: the shell of V's instruction set runs this body. Rows of h, bias and slopes
            // all have n elements, asserted above, so V::LEN or n − j elements from j on are in
            // bounds.
            unsafe {
                if j + V::LEN <= n {
                    one_vector::<T, V, true>(below, h, bias, slope, V::LEN);
                } else {
                    one_vector::<T, V, false>(below, h, bias, slope, n - j);
                }
            }
        }
    }
}

/// Processes one vector; `below` is the slope below 0.
///
/// # Safety
/// The CPU has V's instruction set. `n` elements are at each pointer, and n = V::LEN if WHOLE.
#[inline(always)]
unsafe fn one_vector<T: Scalar, V: Vector<T>, const WHOLE: bool>(
    below: T,
    h_at: *mut T,
    bias: *const T,
    slope_at: Option<*mut T>,
    n: usize,
) {
    // SAFETY: instruction set and element counts are this function's contract.
    unsafe {
        let h = load::<T, V, WHOLE>(h_at, n).add(load::<T, V, WHOLE>(bias, n));
        // `below` = 1 gives the identity, bit for bit.
        let slope = h.if_negative(V::splat(below), V::splat(T::ONE));
        store::<T, V, WHOLE>(slope.mul(h), h_at, n);
        if let Some(slope_at) = slope_at {
            store::<T, V, WHOLE>(slope, slope_at, n);
        }
    }
}

/// Computes `delta ← f′(h) ∘ e`, the gradient through the activation.
///
/// * `y`: batch×n, f(h)
/// * `slope`: batch×n, f′(h); required where [`Activation::keeps_slope`]. Otherwise f′ comes from
///   `y` and `slope` is not read
/// * `e`: batch×n, the error
/// * `delta`: batch×n, overwritten
///
/// # Errors
/// [`Error::Shape`] if shapes differ or a required `slope` is missing. [`Error::Parameter`] for a
/// slope out of range. Nothing has then been written.
pub fn activation_grad<T: Real>(
    activation: Activation,
    y: MatRef<'_, T>,
    slope: Option<MatRef<'_, T>>,
    e: MatRef<'_, T>,
    delta: MatMut<'_, T>,
    isa: Isa,
) -> Result<(), Error> {
    activation.check::<T>()?;
    e.expect_shape("the error", y.shape())?;
    delta.expect_shape("delta", y.shape())?;
    let slope = stored_slope(activation, slope, y)?;
    activation_grad_all(isa, activation, y, slope, e, delta);
    Ok(())
}

once! {
    /// [`activation_grad`] for checked operands.
    fn activation_grad_all<T: Real> = activation_grad_all_body(
        isa: Isa, activation: Activation, y: MatRef<'a, T>, slope: MatRef<'a, T>, e: MatRef<'a, T>, delta: MatMut<'a, T>
    )
}

fn activation_grad_all_body<T: Real>(
    isa: Isa,
    activation: Activation,
    y: MatRef<'_, T>,
    slope: MatRef<'_, T>,
    e: MatRef<'_, T>,
    mut delta: MatMut<'_, T>,
) {
    // An empty view may have any number of rows.
    let rows = if y.is_empty() { 0 } else { y.nrows() };
    for i in 0..rows {
        if let (Some(y), Some(d), Some(e), Some(delta)) = (y.row(i), slope.row(i), e.row(i), delta.row_mut(i)) {
            activation_grad_row(isa, activation, y, d, e, delta);
        } else {
            for j in 0..y.ncols() {
                delta.set(i, j, activation.slope(y.get(i, j), slope.get(i, j)) * e.get(i, j));
            }
        }
    }
}

shells! {
    fn activation_grad_row = activation_grad_body(activation: Activation, y: &'a [T], d: &'a [T], e: &'a [T], delta: &'a mut [T])
}

#[inline(always)]
fn activation_grad_body<T: Scalar, M: Fused>(activation: Activation, y: &[T], d: &[T], e: &[T], delta: &mut [T]) {
    // Chosen once, not per element: below level 3 the compiler leaves the choice in the loop.
    match activation.negative_slope::<T>() {
        Some(below) => {
            for ((delta, &y), &e) in delta.iter_mut().zip(y).zip(e) {
                *delta = if y < T::ZERO { below } else { T::ONE } * e;
            }
        }
        None => {
            for ((delta, &d), &e) in delta.iter_mut().zip(d).zip(e) {
                *delta = d * e;
            }
        }
    }
}
