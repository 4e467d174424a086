//! The fused perturbation: a small change of a layer's activity, carried back through its
//! activation function.
//!
//! # Equations
//!
//! A layer has activity y = f(h), slope D = f′(h) and scaled error e. Its activity changes to
//! y + s·φ:
//!
//! ```text
//! φ = D² ∘ e                                   weighted by the squared slope: GAIT
//! φ = e                                        plain: ITP, and TP with s = 1
//! r = [ f⁻¹(y + s·φ) − f⁻¹(y) ] / s            goes down through W⁻¹
//! δ = D ∘ e                                    gives the weight gradient
//! ```
//!
//! Evaluated as written, r loses every digit to cancellation once s is small (s = γ^k at depth k).
//! This module evaluates the difference in closed form, so r is exact to rounding at any s:
//!
//! ```text
//! identity            r = φ
//! leaky ReLU, slope a, u = φ:
//!   same side of 0    r = φ / D
//!   down (y ≥ 0 > t)  r = u + (1/a − 1)(u + y/s)  =  u/a + (1/a − 1) y/s      t = y + s·u
//!   up   (y < 0 ≤ t)  r = u − (1/a − 1) y/s       =  u/a − (1/a − 1)(u + y/s)
//! tanh                r = ½ [ψ(u/(1+y)) − ψ(−u/(1−y))]
//!                     ψ(z) = log1p(s z)/s, and z where s·z underflows
//! ```
//!
//! y/s is used only where |y| ≤ s|u|, so it is bounded by |u| and cannot overflow. [`Scale::Limit`]
//! is s → 0: r = φ/D everywhere.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::elementwise::activation::{Activation, stored_slope};
use crate::simd::dispatch::shells;
use crate::simd::vector::Vector;
use crate::tile::table::Real;

pub use crate::elementwise::activation::activation_grad;

/// The map from an error e to a direction φ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// φ = D² ∘ e: GAIT-prop.
    SlopeSquared,
    /// φ = e: target propagation and its incremental form.
    Plain,
}

/// The size s of a perturbation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// s → 0: the linear limit, in which no unit crosses a kink.
    Limit,
    /// This s ≥ 0, in f64 for every element type. 0 stands for a positive number too small for f64.
    Finite(f64),
}

/// The parameters of a perturbation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// The layer's activation function f.
    pub activation: Activation,
    /// The choice of φ.
    pub weighting: Weighting,
    /// The size s.
    pub scale: Scale,
}

impl Perturbation {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a slope or scale out of range.
    pub(crate) fn check<T: Real>(&self) -> Result<(), Error> {
        self.activation.check::<T>()?;
        match self.scale {
            Scale::Finite(s) if !(s >= 0.0 && s.is_finite()) => {
                Err(Error::Parameter { what: "the scale of the perturbation", value: s, accepted: "at least 0 and finite" })
            }
            _ => Ok(()),
        }
    }
}

/// Computes r and δ = D ∘ e from a layer's activity and scaled error; see the [module](self).
///
/// * `p`: activation, weighting and scale
/// * `y`: batch×n, the activity f(h)
/// * `slope`: batch×n, D = f′(h); required where [`Activation::keeps_slope`]. Otherwise D comes
///   from `y` and `slope` is not read
/// * `e`: batch×n, the scaled error
/// * `r`: batch×n, overwritten
/// * `delta`: δ, batch×n, overwritten
///
/// Work: one pass over `y` and `e`.
/// Error bound: r is within a few units of roundoff at every s, for exact y and e. Where a unit
/// crosses the kink, the rounding error of y counts 1/s times.
///
/// # Errors
/// [`Error::Shape`] if shapes differ or a required `slope` is missing. [`Error::Parameter`] for a
/// slope or scale out of range. Nothing has then been written. [`Error::Domain`] with the first
/// unit whose changed activity lies outside f's range; `r` and `delta` are then unspecified.
///
/// # References
/// Ahmad, van Gerven and Ambrogioni, GAIT-prop, 2020, eq. 10 and 11, in difference form.
#[allow(clippy::too_many_arguments)]
pub fn perturb<T: Real>(
    p: Perturbation,
    y: MatRef<'_, T>,
    slope: Option<MatRef<'_, T>>,
    e: MatRef<'_, T>,
    r: MatMut<'_, T>,
    delta: MatMut<'_, T>,
    isa: Isa,
) -> Result<(), Error> {
    let shape = y.shape();
    p.check::<T>()?;
    e.expect_shape("the error", shape)?;
    r.expect_shape("the perturbation", shape)?;
    delta.expect_shape("delta", shape)?;
    let slope = stored_slope(p.activation, slope, y)?;
    // An empty view may have any number of rows.
    if y.is_empty() {
        return Ok(());
    }
    first_outside(isa, p, y, slope, e, r, delta).map_or(Ok(()), |(row, col)| Err(Error::Domain { row, col }))
}

once! {
    /// Computes r and δ. Returns the first unit (row, column) outside f's range.
    fn first_outside<T: Real> = first_outside_body(
        isa: Isa, p: Perturbation, y: MatRef<'a, T>, slope: MatRef<'a, T>, e: MatRef<'a, T>,
        r: MatMut<'a, T>, delta: MatMut<'a, T>
    ) -> Option<(usize, usize)>
}

fn first_outside_body<T: Real>(
    isa: Isa,
    p: Perturbation,
    y: MatRef<'_, T>,
    slope: MatRef<'_, T>,
    e: MatRef<'_, T>,
    mut r: MatMut<'_, T>,
    mut delta: MatMut<'_, T>,
) -> Option<(usize, usize)> {
    let mut outside = None;
    for i in 0..y.nrows() {
        let first = if let (Some(y), Some(d), Some(e), Some(r), Some(delta)) =
            (y.row(i), slope.row(i), e.row(i), r.row_mut(i), delta.row_mut(i))
        {
            perturb_row(isa, p, y, d, e, r, delta)
        } else {
            let mut first = None;
            for j in 0..y.ncols() {
                let unit = perturb_scalar(p, y.get(i, j), slope.get(i, j), e.get(i, j));
                r.set(i, j, unit.r);
                delta.set(i, j, unit.delta);
                first = first.or(unit.outside.then_some(j));
            }
            first
        };
        outside = outside.or(first.map(|j| (i, j)));
    }
    outside
}

shells! { vectors
    /// Computes `r` and `delta` of one sample. Returns the first unit outside f's range.
    ///
    /// `d` holds the stored slopes. It is a placeholder of the same length for other activations.
    fn perturb_row = perturb_row_body(
        p: Perturbation, y: &'a [T], d: &'a [T], e: &'a [T], r: &'a mut [T], delta: &'a mut [T]
    ) -> Option<usize>
}

#[inline(always)]
fn perturb_row_body<T: Scalar, V: Vector<T>>(
    p: Perturbation,
    y: &[T],
    d: &[T],
    e: &[T],
    r: &mut [T],
    delta: &mut [T],
) -> Option<usize> {
    let n = y.len();
    assert!(d.len() == n && e.len() == n && r.len() == n && delta.len() == n);
    let done = match p.activation {
        Activation::Identity => piecewise_linear_vectors::<T, V>(p, 1.0, y, e, r, delta),
        Activation::LeakyRelu { slope } => piecewise_linear_vectors::<T, V>(p, slope, y, e, r, delta),
        Activation::Tanh => 0,
    };
    let mut outside = None;
    for j in done..n {
        let unit = perturb_scalar(p, y[j], d[j], e[j]);
        (r[j], delta[j]) = (unit.r, unit.delta);
        outside = outside.or(unit.outside.then_some(j));
    }
    outside
}

/// Processes the whole vectors of a row whose activation has slope `slope` below 0. Returns the
/// number of units done.
///
/// A vector with no unit near the kink takes [`perturb_scalar`]'s operations in all lanes at once.
/// In any other vector r comes from [`perturb_scalar`], unit by unit.
#[inline(always)]
fn piecewise_linear_vectors<T: Scalar, V: Vector<T>>(
    p: Perturbation,
    slope: f64,
    y: &[T],
    e: &[T],
    r: &mut [T],
    delta: &mut [T],
) -> usize {
    let done = y.len() / V::LEN * V::LEN;
    // Slightly more than s, so that this test in T accepts every unit that `reaches_kink` accepts
    // in f64: the product s·|u| is rounded here and may be subnormal. s itself may be subnormal in
    // T, or below T's smallest number, next to errors large enough to compensate.
    let reach = match p.scale {
        Scale::Finite(s) if p.activation != Activation::Identity => {
            Some(T::from_f64((s * (1.0 + 16.0 * T::UNIT_ROUNDOFF)).max(T::SMALLEST)))
        }
        _ => None,
    };
    for j in (0..done).step_by(V::LEN) {
        // SAFETY: the shell of V's instruction set runs this body. All slices hold at least `done`
        // elements, asserted in `perturb_row_body`.
        let near = unsafe {
            let (one, y, e) = (V::splat(T::ONE), V::load(y.as_ptr().add(j)), V::load(e.as_ptr().add(j)));
            let d = y.if_negative(V::splat(T::from_f64(slope)), one);
            let de = d.mul(e);
            let (u, same_side) = match p.weighting {
                Weighting::SlopeSquared => (d.mul(de), de),
                Weighting::Plain => (e, y.if_negative(V::splat(T::from_f64(1.0 / slope)), one).mul(e)),
            };
            de.store(delta.as_mut_ptr().add(j));
            same_side.store(r.as_mut_ptr().add(j));
            reach.is_some_and(|s| y.abs().any_le(V::splat(s).mul_add(u.abs(), V::splat(T::from_f64(T::SMALLEST)))))
        };
        if near {
            for j in j..j + V::LEN {
                r[j] = perturb_scalar(p, y[j], y[j], e[j]).r;
            }
        }
    }
    done
}

/// The result of one unit.
struct UnitResult<T> {
    r: T,
    delta: T,
    /// Whether the changed activity lies outside f's range.
    outside: bool,
}

/// Computes one unit. `stored` is its stored slope, where the activation keeps one.
///
/// Rust never contracts `a * b + c`, so the same operations give the same bits in every shell.
#[inline(always)]
fn perturb_scalar<T: Scalar>(p: Perturbation, y: T, stored: T, e: T) -> UnitResult<T> {
    let d = p.activation.slope(y, stored);
    let delta = d * e;
    let inside = |r| UnitResult { r, delta, outside: false };
    match p.activation {
        Activation::Identity => inside(e),
        Activation::LeakyRelu { slope } => {
            let inverse = if y < T::ZERO { 1.0 / slope } else { 1.0 };
            let (u, same_side) = match p.weighting {
                Weighting::SlopeSquared => (d * delta, delta),
                Weighting::Plain => (e, T::from_f64(inverse) * e),
            };
            match p.scale {
                Scale::Finite(s) if reaches_kink(y, u, s) => inside(across(slope, y, u, s).unwrap_or(same_side)),
                _ => inside(same_side),
            }
        }
        Activation::Tanh => {
            // In f64 for every T: s may lie far below f32's range, and the logarithms dominate the
            // cost.
            let (y, d, e) = (y.to_f64(), d.to_f64(), e.to_f64());
            let margin = 4.0 * T::UNIT_ROUNDOFF;
            // The smaller of 1 − y and 1 + y would cancel. Their product is d.
            let large = 1.0 + y.abs();
            let small = d / large;
            let (above, below) = if y >= 0.0 { (small, large) } else { (large, small) };
            // For e = 0 the target is the unit's own activity and r = 0, however flat the unit is.
            // For d = 0 every other target has no inverse.
            if e == 0.0 || d == 0.0 {
                return UnitResult { r: delta, delta, outside: e != 0.0 && p.weighting == Weighting::Plain };
            }
            // u/(1+y) and u/(1−y).
            let (up, down) = match p.weighting {
                Weighting::SlopeSquared => (above * (d * e), below * (d * e)),
                Weighting::Plain => (e / below, e / above),
            };
            match p.scale {
                Scale::Limit => inside(T::from_f64(0.5 * (up + down))),
                Scale::Finite(s) => UnitResult {
                    r: T::from_f64(0.5 * (scaled_log1p(s, up) - scaled_log1p(s, -down))),
                    delta,
                    // The inverse of a target within rounding of the boundary is rounding noise. A
                    // NaN error is not outside: r is then NaN, and the caller detects it.
                    outside: s * up <= margin - 1.0 || s * down >= 1.0 - margin,
                },
            }
        }
    }
}

/// Returns whether y + s·u may lie on the other side of the kink at 0, without forming the sum.
///
/// True for every unit that crosses, and within rounding of the kink. A unit at exactly 0 crosses
/// for any u < 0, even if s·u underflows.
#[inline(always)]
fn reaches_kink<T: Scalar>(y: T, u: T, s: f64) -> bool {
    let (y, u) = (y.to_f64(), u.to_f64());
    // The summand exceeds the rounding error of a subnormal product. It also covers y = 0.
    let reach = s * u.abs() * (1.0 + 4.0 * f64::EPSILON) + f64::MIN_POSITIVE;
    if y >= 0.0 { u < 0.0 && y < reach } else { u > 0.0 && -y <= reach }
}

/// Returns r of a unit that crosses the kink, or `None` if it stops short of it.
///
/// Of the two forms of r, the one that adds terms of one sign is evaluated: the other cancels by up
/// to a factor of the slope. The arithmetic is f64: y/s needs the range, and few units cross.
#[inline(always)]
fn across<T: Scalar>(slope: f64, y: T, u: T, s: f64) -> Option<T> {
    let (y, u) = (y.to_f64(), u.to_f64());
    let bend = 1.0 / slope - 1.0;
    let to_kink = if y == 0.0 { 0.0 } else { y / s };
    // u + y/s, the part beyond the kink. A quotient rounded before the addition would cost 1/slope
    // units of roundoff in r; one fused step avoids that. Where s·u is subnormal the fused step is
    // inexact, and the plain sum loses nothing more.
    let beyond = if s * u.abs() > 1e-290 { s.mul_add(u, y) / s } else { u + to_kink };
    let crossed = if y >= 0.0 { beyond < 0.0 } else { beyond >= 0.0 };
    crossed.then(|| {
        T::from_f64(match (y >= 0.0, slope <= 1.0) {
            (true, true) => u + bend * beyond,
            (true, false) => u / slope + bend * to_kink,
            (false, true) => u - bend * to_kink,
            (false, false) => u / slope - bend * beyond,
        })
    })
}

/// Returns ψ(z) = log1p(s·z)/s, and z where s·z is subnormal.
#[inline(always)]
fn scaled_log1p(s: f64, z: f64) -> f64 {
    let sz = s * z;
    if sz.abs() < f64::MIN_POSITIVE { z } else { libm::log1p(sz) / s }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vector tests all its units against the kink in one comparison, with some slack. Units that
    /// stop within a few units of roundoff of the kink, on either side, give the bits of
    /// [`perturb_scalar`].
    fn vectors_at_the_kink<T: Real>() {
        // The last scale is below half of f32's smallest number; errors of 1e10 make s·u normal
        // again.
        for scale in [50.0, 1.0, 0.1, 1e-3, 1e-9, 1e-60, 5.6e-46] {
            for slope in [0.01, 0.3, 1.0, 2.0] {
                for weighting in [Weighting::SlopeSquared, Weighting::Plain] {
                    let p = Perturbation { activation: Activation::LeakyRelu { slope }, weighting, scale: Scale::Finite(scale) };
                    let (mut y, mut e) = (Vec::new(), Vec::new());
                    for (side, d) in [(1.0, 1.0), (-1.0, slope)] {
                        let factor = if weighting == Weighting::SlopeSquared { d * d } else { 1.0 };
                        for nudge in [1e10, 40.0, 0.7, 1.3e-3] {
                            for ulps in -6..=6 {
                                // One such unit per vector; the others are far from the kink.
                                y.push(T::from_f64(side * scale * factor * nudge * (1.0 + f64::from(ulps) * T::UNIT_ROUNDOFF)));
                                e.push(T::from_f64(-side * nudge));
                                y.extend([T::from_f64(side * 3.0); 16]);
                                e.extend([T::from_f64(0.1); 16]);
                            }
                        }
                    }
                    for isa in Isa::available() {
                        let (mut r, mut delta) = (vec![T::ZERO; y.len()], vec![T::ZERO; y.len()]);
                        assert_eq!(perturb_row(isa, p, &y, &y, &e, &mut r, &mut delta), None);
                        for j in 0..y.len() {
                            let scalar = perturb_scalar(p, y[j], y[j], e[j]);
                            assert!(
                                r[j].bits() == scalar.r.bits(),
                                "{isa} {p:?}: r({}, {}) is {}, not {}",
                                y[j],
                                e[j],
                                r[j],
                                scalar.r
                            );
                            assert!(
                                delta[j].bits() == scalar.delta.bits(),
                                "{isa} {p:?}: delta({}, {}) is {}, not {}",
                                y[j],
                                e[j],
                                delta[j],
                                scalar.delta
                            );
                        }
                    }
                }
            }
        }
    }

    /// [`reaches_kink`] accepts every unit that crosses, also next to the kink and at the smallest
    /// numbers.
    fn every_crossing_unit_reaches_the_kink<T: Real>() {
        let mut crossed = 0;
        for s in [40.0, 1.0, 0.3, 1e-3, 1e-30, 1e-200, 5e-324] {
            for u in [30.0, 1.0, 0.7, 1e-3, 1e-20, T::SMALLEST] {
                for ulps in -8..=8 {
                    let u = T::from_f64(u);
                    let edge = T::from_f64(s * u.to_f64() * (1.0 + f64::from(ulps) * T::UNIT_ROUNDOFF));
                    for (y, u) in [
                        (edge, -u),
                        (-edge, u),
                        (edge, u),
                        (-edge, -u),
                        (T::ZERO, u),
                        (T::ZERO, -u),
                        (edge, T::ZERO),
                        (-edge, T::ZERO),
                    ] {
                        for slope in [0.01, 1.0, 2.0] {
                            if across(slope, y, u, s).is_some() {
                                crossed += 1;
                                assert!(reaches_kink(y, u, s), "{y:e} + {s:e} · {u:e}");
                            }
                        }
                    }
                }
            }
        }
        assert!(crossed > 500, "{crossed} units cross");
    }

    #[test]
    fn every_unit_that_crosses_reaches_the_kink() {
        every_crossing_unit_reaches_the_kink::<f32>();
        every_crossing_unit_reaches_the_kink::<f64>();
    }

    /// For units in f32, r equals its definition (f⁻¹(y + s·φ) − f⁻¹(y)) / s in f64, which loses at
    /// most 1/s units of roundoff of f64. Crossings in both directions, slopes below and above 1.
    #[test]
    fn r_is_the_quotient_of_differences() {
        let mut crossed = 0;
        for s in [1.0, 0.25, 0.01] {
            for weighting in [Weighting::SlopeSquared, Weighting::Plain] {
                let phi = |d: f64, e: f64| if weighting == Weighting::SlopeSquared { d * d * e } else { e };
                let check = |activation, y: f32, d: f32, e: f32, r: f64, tolerance: f64| {
                    let p = Perturbation { activation, weighting, scale: Scale::Finite(s) };
                    let got = perturb_scalar(p, y, d, e);
                    assert!((f64::from(got.r) - r).abs() <= tolerance * r.abs(), "{p:?}: r({y}, {e}) is {}, not {r}", got.r);
                    assert!(!got.outside);
                };
                for slope in [0.01_f32, 0.3, 1.0, 2.0] {
                    // f⁻¹ with the slope that the kernel uses.
                    let inverse = |y: f64| if y < 0.0 { y / f64::from(slope) } else { y };
                    for part in [0.0, 1e-3, 0.3, 0.9, 1.1, 30.0] {
                        for (y_sign, e) in [(1.0, 0.7_f32), (1.0, -0.7), (-1.0, 0.7), (-1.0, -0.7)] {
                            let d = if y_sign * part < 0.0 { slope } else { 1.0 };
                            let u = phi(f64::from(d), f64::from(e));
                            let y = (y_sign * part * s * u.abs()) as f32;
                            let target = f64::from(y) + s * u;
                            crossed += usize::from((y >= 0.0) != (target >= 0.0));
                            let r = (inverse(target) - inverse(f64::from(y))) / s;
                            check(Activation::LeakyRelu { slope: f64::from(slope) }, y, d, e, r, 4.0 * f64::from(f32::EPSILON));
                        }
                    }
                }
                for y in [0.0_f32, 0.2, -0.2, 0.9, -0.9] {
                    for e in [0.05_f32, -0.05] {
                        // The stored slope is a rounded number.
                        let d = 1.0 - y * y;
                        let y = f64::from(y);
                        let r = ((y + s * phi(f64::from(d), f64::from(e))).atanh() - y.atanh()) / s;
                        check(Activation::Tanh, y as f32, d, e, r, 8.0 * f64::from(f32::EPSILON));
                    }
                }
            }
        }
        assert!(crossed > 50, "{crossed} units cross");
    }

    /// The closed forms hold where s·u is subnormal or close to it, downwards and upwards. Below
    /// 1e-308 the sum of s·u and y would keep only a few digits.
    #[test]
    fn crossings_at_the_smallest_scales() {
        for s in [1e-280, 1e-295, 1e-300, 1e-308, 1e-320] {
            for (slope, u) in [(0.5, -1.0), (2.0, -1.0), (0.5, 1.0), (2.0, 1.0), (0.5, -0.7), (2.0, 0.7)] {
                for part in [0.0, 0.25, 0.5] {
                    let y: f64 = -part * u * s;
                    let inverse = |t: f64| if t < 0.0 { t / slope } else { t };
                    // In units of s.
                    let want = inverse(u + y / s) - inverse(y / s);
                    let crosses = u < 0.0 || part > 0.0;
                    let got: Option<f64> = across(slope, y, u, s);
                    assert_eq!(got.is_some(), crosses, "{slope} {u} {part} {s:e}");
                    assert!(got.is_none_or(|r| (r - want).abs() <= 1e-12), "{slope} {u} {part} {s:e}: {got:?}, not {want}");
                }
            }
        }
    }

    /// The part of u beyond the kink is multiplied by 1/slope. For a unit that stops just beyond
    /// the kink, the rounding error of y/s must not be multiplied with it.
    #[test]
    fn full_accuracy_just_beyond_the_kink() {
        for s in [0.1, 0.7, 1e-3] {
            for y in [0.3, 0.7, 1.1, 1e-5] {
                for (slope, ulps) in [(1e-2, 1.0), (1e-2, 3.0), (1e-4, 1.0), (1e-4, 200.0)] {
                    let quotient: f64 = y / s;
                    let u = -quotient * (1.0 + ulps * f64::EPSILON);
                    // u + y/s: the difference of two close numbers is exact, and so is the
                    // division's remainder.
                    let beyond = (u + quotient) + f64::mul_add(-quotient, s, y) / s;
                    let want = u + (1.0 / slope - 1.0) * beyond;
                    let got: Option<f64> = across(slope, y, u, s);
                    assert!(
                        got.is_some_and(|r| (r - want).abs() <= 4.0 * f64::EPSILON * want.abs()),
                        "{slope} {y} {s} {ulps}: {got:?}, not {want}"
                    );
                }
            }
        }
    }

    /// A target within a few units of roundoff of ±1 is outside tanh's range; a target further
    /// inside is not.
    #[test]
    fn targets_at_the_edge_of_tanh_are_outside() {
        fn edge<T: Real>() {
            for (s, y) in [(1.0, 0.5), (1.0, -0.5), (0.25, 0.5), (0.25, -0.5), (1e-3, 0.75), (1e-3, -0.75)] {
                let p = Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Finite(s) };
                for side in [1.0, -1.0] {
                    // `left`: distance from the target to the edge, in units of roundoff of
                    // side − y.
                    for (left, outside) in [(-4.0, true), (0.0, true), (2.0, true), (12.0, false), (1e3, false)] {
                        let nudge = (side - y) * (1.0 - left * T::UNIT_ROUNDOFF);
                        let d = 1.0 - y * y;
                        let got = perturb_scalar(p, T::from_f64(y), T::from_f64(d), T::from_f64(nudge / s));
                        assert_eq!(got.outside, outside, "{} y {y}, s {s}, side {side}, left {left}", T::NAME);
                    }
                }
            }
        }
        edge::<f32>();
        edge::<f64>();
    }

    /// ψ(z) is z where s·z is subnormal, and log1p(s·z)/s from the smallest normal number on.
    #[test]
    fn scaled_logarithms_begin_at_the_first_normal_number() {
        assert_eq!(scaled_log1p(1e-320, 0.3), 0.3);
        assert_eq!(scaled_log1p(0.5, 0.5), libm::log1p(0.25) / 0.5);
        // Just above the smallest normal number, the quotient of two rounded numbers is z to
        // roundoff.
        assert!((scaled_log1p(f64::MIN_POSITIVE, 1.5) - 1.5).abs() < 1e-15);
    }

    /// A tanh with slope 0 has no inverse at any scale. It reaches only its own activity, or a
    /// target that is weighted by the slope.
    #[test]
    fn a_flat_tanh_is_outside_unless_phi_is_zero() {
        for scale in [Scale::Limit, Scale::Finite(0.0), Scale::Finite(1e-3), Scale::Finite(1.0)] {
            for (weighting, e, outside) in [
                (Weighting::Plain, 0.5, true),
                (Weighting::Plain, 0.0, false),
                (Weighting::SlopeSquared, 0.5, false),
                (Weighting::SlopeSquared, 0.0, false),
            ] {
                for y in [1.0, -1.0] {
                    let p = Perturbation { activation: Activation::Tanh, weighting, scale };
                    let flat = perturb_scalar(p, y, 0.0, e);
                    assert_eq!((flat.r, flat.delta, flat.outside), (0.0, 0.0, outside), "{p:?}, y {y}, e {e}");
                    // A unit that is not flat, with e = −0: r keeps the sign of that zero.
                    let still = perturb_scalar(p, 0.5, 0.75, -0.0_f64);
                    assert_eq!((still.r.to_bits(), still.outside), ((-0.0_f64).to_bits(), false), "{p:?}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "checks numbers, not memory; takes an hour under Miri")]
    fn vectors_at_the_kink_equal_scalars() {
        vectors_at_the_kink::<f32>();
        vectors_at_the_kink::<f64>();
    }
}
