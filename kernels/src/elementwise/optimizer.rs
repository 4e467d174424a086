//! Optimizer steps over slices: Adam, momentum and plain gradient descent.
//!
//! Each formula is written once, as a function of one vector ([`UpdateRule`]).

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::shells;
use crate::simd::vector::{Vector, load, store};
use crate::tile::table::Real;

/// The constants of an Adam step, in the element type.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    /// Learning rate η, including any bias correction of m.
    pub rate: T,
    /// (β1, 1 − β1), for the first moment.
    pub beta1: (T, T),
    /// (β2, 1 − β2), for the second moment.
    pub beta2: (T, T),
    /// ε.
    pub epsilon: T,
    /// Factor of √v before ε is added: 1, or the bias correction 1/√(1 − β2^t).
    pub correction: T,
}

/// Performs one Adam step along the descent direction Δ.
///
/// ```text
/// m ← (1−β1)·Δ + β1·m
/// v ← (1−β2)·Δ² + β2·v
/// θ ← θ + rate · m / (ε + correction·√v)
/// ```
///
/// * `step`: the constants
/// * `theta`: θ, n elements, updated
/// * `m`, `v`: the moments, n elements each, updated
/// * `delta`: Δ, n elements
///
/// Returns whether every new parameter and second moment is finite. An infinite second moment would
/// freeze its weight forever.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ. Nothing has then been written.
pub fn adam<T: Real>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), v.len(), delta.len()])?;
    Ok(adam_all(isa, step, theta, m, v, delta))
}

shells! { vectors
    pub(crate) fn adam_all = adam_body(step: AdamStep<T>, theta: &'a mut [T], m: &'a mut [T], v: &'a mut [T], delta: &'a [T]) -> bool
}

#[inline(always)]
fn adam_body<T: Scalar, V: Vector<T>>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(step, theta, m, v, delta)
}

impl<T: Scalar> UpdateRule<T> for AdamStep<T> {
    const MOMENTS: usize = 2;

    #[inline(always)]
    unsafe fn step<V: Vector<T>>(&self, theta: V, m: V, v: V, delta: V) -> Updated<V> {
        // SAFETY: the CPU has V's instruction set, by the contract of `UpdateRule::step`.
        unsafe {
            let m = V::splat(self.beta1.1).mul(delta).add(V::splat(self.beta1.0).mul(m));
            let v = V::splat(self.beta2.1).mul(delta.mul(delta)).add(V::splat(self.beta2.0).mul(v));
            let size = V::splat(self.epsilon).add(V::splat(self.correction).mul(v.sqrt()));
            let theta = theta.add(V::splat(self.rate).mul(m).div(size));
            Updated { theta, m, v }
        }
    }
}

/// Applies a rule to slices of equal length. Returns whether every new θ and v is finite.
///
/// Slices of moments that the rule does not keep are empty.
#[inline(always)]
fn over_slices<T: Scalar, V: Vector<T>, U: UpdateRule<T>>(
    rule: U,
    theta: &mut [T],
    m: &mut [T],
    v: &mut [T],
    delta: &[T],
) -> bool {
    let len = theta.len();
    assert!(delta.len() == len && (U::MOMENTS == 0 || m.len() == len) && (U::MOMENTS < 2 || v.len() == len));
    let mut finite = true;
    for j in (0..len).step_by(V::LEN) {
        let n = V::LEN.min(len - j);
        let at = |x: *mut T| x.wrapping_add(j);
        let (theta, m, v) = (at(theta.as_mut_ptr()), at(m.as_mut_ptr()), at(v.as_mut_ptr()));
        // SAFETY: the shell of V's instruction set runs this body. Elements j .. j + n are inside
        // every slice that the rule uses, asserted above; n = V::LEN in the first branch.
        unsafe {
            let delta = delta.as_ptr().add(j);
            finite &= if n == V::LEN {
                one_vector::<T, V, U, true>(rule, theta, m, v, delta, n)
            } else {
                one_vector::<T, V, U, false>(rule, theta, m, v, delta, n)
            };
        }
    }
    finite
}

/// Applies a rule to one vector. Returns whether every new θ and v is finite.
///
/// # Safety
/// The CPU has V's instruction set. `n` elements are at each pointer that the rule uses, and
/// n = V::LEN if WHOLE.
#[inline(always)]
unsafe fn one_vector<T: Scalar, V: Vector<T>, U: UpdateRule<T>, const WHOLE: bool>(
    rule: U,
    at: *mut T,
    at_m: *mut T,
    at_v: *mut T,
    delta: *const T,
    n: usize,
) -> bool {
    // SAFETY: instruction set and element counts are this function's contract.
    unsafe {
        let (theta, delta) = (load::<T, V, WHOLE>(at, n), load::<T, V, WHOLE>(delta, n));
        let m = if U::MOMENTS > 0 { load::<T, V, WHOLE>(at_m, n) } else { theta };
        let v = if U::MOMENTS > 1 { load::<T, V, WHOLE>(at_v, n) } else { theta };
        let new = rule.step(theta, m, v, delta);
        store::<T, V, WHOLE>(new.theta, at, n);
        if U::MOMENTS > 0 {
            store::<T, V, WHOLE>(new.m, at_m, n);
        }
        if U::MOMENTS > 1 {
            store::<T, V, WHOLE>(new.v, at_v, n);
        }
        finite::<T, V, U, WHOLE>(&new, at, at_v, n)
    }
}

/// Performs one step of gradient descent with momentum: `m ← μ·m + Δ`, `θ ← θ + η·m`.
///
/// * `rate`: η
/// * `mu`: μ
/// * `theta`: θ, n elements, updated
/// * `m`: the momentum, n elements, updated
/// * `delta`: Δ, n elements
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ. Nothing has then been written.
pub fn momentum<T: Real>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), delta.len()])?;
    Ok(momentum_all(isa, rate, mu, theta, m, delta))
}

shells! { vectors
    pub(crate) fn momentum_all = momentum_body(rate: T, mu: T, theta: &'a mut [T], m: &'a mut [T], delta: &'a [T]) -> bool
}

#[inline(always)]
fn momentum_body<T: Scalar, V: Vector<T>>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(Momentum { rate, mu }, theta, m, &mut [], delta)
}

/// The rule of gradient descent with momentum.
#[derive(Clone, Copy, Debug)]
struct Momentum<T> {
    rate: T,
    mu: T,
}

impl<T: Scalar> UpdateRule<T> for Momentum<T> {
    const MOMENTS: usize = 1;

    #[inline(always)]
    unsafe fn step<V: Vector<T>>(&self, theta: V, m: V, _v: V, delta: V) -> Updated<V> {
        // SAFETY: the CPU has V's instruction set, by the contract of `UpdateRule::step`.
        unsafe {
            let m = V::splat(self.mu).mul(m).add(delta);
            let theta = theta.add(V::splat(self.rate).mul(m));
            Updated { theta, m, v: m }
        }
    }
}

/// Performs one step of plain gradient descent: `θ ← θ + η·Δ`.
///
/// * `rate`: η
/// * `theta`: θ, n elements, updated
/// * `delta`: Δ, n elements
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ. Nothing has then been written.
pub fn descend<T: Real>(rate: T, theta: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[delta.len()])?;
    Ok(descend_all(isa, rate, theta, delta))
}

shells! { vectors
    pub(crate) fn descend_all = descend_body(rate: T, theta: &'a mut [T], delta: &'a [T]) -> bool
}

#[inline(always)]
fn descend_body<T: Scalar, V: Vector<T>>(rate: T, theta: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(Descend { rate }, theta, &mut [], &mut [], delta)
}

/// The rule of plain gradient descent.
#[derive(Clone, Copy, Debug)]
struct Descend<T> {
    rate: T,
}

impl<T: Scalar> UpdateRule<T> for Descend<T> {
    const MOMENTS: usize = 0;

    #[inline(always)]
    unsafe fn step<V: Vector<T>>(&self, theta: V, _m: V, _v: V, delta: V) -> Updated<V> {
        // SAFETY: the CPU has V's instruction set, by the contract of `UpdateRule::step`.
        unsafe {
            let theta = theta.add(V::splat(self.rate).mul(delta));
            Updated { theta, m: theta, v: theta }
        }
    }
}

/// Returns [`Error::Shape`] unless every length is `n`.
fn same_length(n: usize, others: &[usize]) -> Result<(), Error> {
    match others.iter().find(|&&other| other != n) {
        None => Ok(()),
        Some(&found) => Err(Error::Shape { what: "an operand of an optimizer step", expected: (1, n), found: (1, found) }),
    }
}

/// One vector of new parameters, with its moments.
#[derive(Clone, Copy)]
struct Updated<V> {
    theta: V,
    m: V,
    v: V,
}

/// Returns whether the stored lanes of θ, and of v if the rule keeps it, are finite.
///
/// Lanes from `n` on hold results of zero padding and are ignored.
///
/// # Safety
/// The CPU has V's instruction set. `theta`, and `v` if the rule keeps it, point to the n elements
/// just stored.
#[inline(always)]
unsafe fn finite<T: Scalar, V: Vector<T>, U: UpdateRule<T>, const WHOLE: bool>(
    new: &Updated<V>,
    theta: *const T,
    v: *const T,
    n: usize,
) -> bool {
    // SAFETY: instruction set and element counts are this function's contract.
    unsafe {
        let infinity = V::splat(T::from_f64(f64::INFINITY));
        let stored = |vector: V, at: *const T| if WHOLE { vector } else { V::load_first(at, n) };
        stored(new.theta, theta).all_finite(infinity) && (U::MOMENTS < 2 || stored(new.v, v).all_finite(infinity))
    }
}

/// The formula of an optimizer, applied to one vector.
trait UpdateRule<T: Scalar>: Copy + Sync {
    /// Number of moments that the rule keeps: 0, 1 (m) or 2 (m and v).
    const MOMENTS: usize;
    /// Returns the new parameters and moments. Moments that the rule does not keep are arbitrary.
    ///
    /// # Safety
    /// The CPU has V's instruction set.
    unsafe fn step<V: Vector<T>>(&self, theta: V, m: V, v: V, delta: V) -> Updated<V>;
}
