//! What happens to a finished product: bias and activation, and the optimisers' updates.
//!
//! Every formula stands once, as a function of one element; the passes over slices here are its first users.

use crate::simd::{Fused, shells};
use crate::{Error, Isa, MatMut, Real, Unit};

/// `y ← f(h + b)` in place, and f′ into `slope` if wanted.
///
/// Shapes: `h` batch×n, `bias` n, `slope` batch×n.
///
/// # Errors
/// [`Error::Shape`]; [`Error::Parameter`] for a unit that has no inverse.
pub fn bias_activate<T: Real>(
    unit: Unit,
    h: MatMut<'_, T>,
    bias: &[T],
    slope: Option<MatMut<'_, T>>,
    isa: Isa,
) -> Result<(), Error> {
    unit.check::<T>()?;
    let n = h.ncols();
    if bias.len() != n {
        return Err(Error::Shape { what: "the bias", expected: (1, n), found: (1, bias.len()) });
    }
    match slope {
        Some(slope) => {
            slope.expect_shape("the slopes", h.shape())?;
            activate_keep(isa, unit, h, bias, slope);
        }
        None => activate(isa, unit, h, bias),
    }
    Ok(())
}

shells! {
    fn activate = activate_body(unit: Unit, h: MatMut<'_, T>, bias: &[T])
}

#[inline(always)]
fn activate_body<T: Real, M: Fused>(unit: Unit, mut h: MatMut<'_, T>, bias: &[T]) {
    for i in 0..h.nrows() {
        if let Some(row) = h.row_mut(i) {
            for (h, &b) in row.iter_mut().zip(bias) {
                *h = unit.apply(*h + b).0;
            }
        } else {
            for (j, &b) in bias.iter().enumerate() {
                let y = unit.apply(h.get(i, j) + b).0;
                h.set(i, j, y);
            }
        }
    }
}

shells! {
    fn activate_keep = activate_keep_body(unit: Unit, h: MatMut<'_, T>, bias: &[T], slope: MatMut<'_, T>)
}

#[inline(always)]
fn activate_keep_body<T: Real, M: Fused>(unit: Unit, mut h: MatMut<'_, T>, bias: &[T], mut slope: MatMut<'_, T>) {
    for i in 0..h.nrows() {
        for (j, &b) in bias.iter().enumerate() {
            let (y, d) = unit.apply(h.get(i, j) + b);
            h.set(i, j, y);
            slope.set(i, j, d);
        }
    }
}

/// Adam's constants, already of the element type.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    /// Learning rate η (with any bias correction of m already in it).
    pub rate: T,
    /// β1 of the first moment, and its complement.
    pub beta1: (T, T),
    /// β2 of the second moment, and its complement.
    pub beta2: (T, T),
    /// ε.
    pub epsilon: T,
    /// What √v is multiplied by before ε is added: 1, or the bias correction 1/√(1 − β2^t).
    pub correction: T,
}

/// One Adam step along the descent direction `delta`, with moments `m` and `v`:
///
/// ```text
/// m ← (1−β1) Δ + β1 m        v ← (1−β2) Δ² + β2 v        θ ← θ + rate · m / (ε + correction·√v)
/// ```
///
/// Returns whether every new parameter and second moment is finite (with an infinite second moment a weight would never move again).
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn adam<T: Real>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), v.len(), delta.len()])?;
    Ok(adam_all(isa, step, theta, m, v, delta))
}

shells! {
    fn adam_all = adam_body(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn adam_body<T: Real, M: Fused>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    let mut broken = 0u32;
    for (((theta, m), v), &delta) in theta.iter_mut().zip(m).zip(v).zip(delta) {
        *m = step.beta1.1 * delta + step.beta1.0 * *m;
        *v = step.beta2.1 * (delta * delta) + step.beta2.0 * *v;
        *theta += step.rate * *m / (step.epsilon + step.correction * v.sqrt());
        broken |= u32::from(!theta.is_finite()) | u32::from(!v.is_finite());
    }
    broken == 0
}

/// One step of gradient descent along `delta` with momentum: `m ← μ m + Δ`, `θ ← θ + η m`.
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn momentum<T: Real>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), delta.len()])?;
    Ok(momentum_all(isa, rate, mu, theta, m, delta))
}

shells! {
    fn momentum_all = momentum_body(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn momentum_body<T: Real, M: Fused>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool {
    let mut broken = 0u32;
    for ((theta, m), &delta) in theta.iter_mut().zip(m).zip(delta) {
        *m = mu * *m + delta;
        *theta += rate * *m;
        broken |= u32::from(!theta.is_finite());
    }
    broken == 0
}

/// One step of plain gradient descent: `θ ← θ + η Δ`.
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn descend<T: Real>(rate: T, theta: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[delta.len()])?;
    Ok(descend_all(isa, rate, theta, delta))
}

shells! {
    fn descend_all = descend_body(rate: T, theta: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn descend_body<T: Real, M: Fused>(rate: T, theta: &mut [T], delta: &[T]) -> bool {
    let mut broken = 0u32;
    for (theta, &delta) in theta.iter_mut().zip(delta) {
        *theta += rate * delta;
        broken |= u32::from(!theta.is_finite());
    }
    broken == 0
}

fn same_length(n: usize, others: &[usize]) -> Result<(), Error> {
    match others.iter().find(|&&other| other != n) {
        None => Ok(()),
        Some(&found) => Err(Error::Shape { what: "an optimiser's operand", expected: (1, n), found: (1, found) }),
    }
}
