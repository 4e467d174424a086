//! The fused perturbation: what a small nudge of a layer's activity amounts to before its activation function.
//!
//! # Equations
//!
//! A layer with activity y = f(h) and scaled error e is nudged to y + s·φ, with
//!
//! ```text
//! φ = D² ∘ e   (weighting by the squared slope, D = f′(h): GAIT)      or      φ = e   (plain: ITP, and TP with s = 1)
//! r = [ f⁻¹(y + s·φ) − f⁻¹(y) ] / s          x = D ∘ e
//! ```
//!
//! r goes down through W⁻¹; x makes the weight gradient. Computed as written, r loses everything to cancellation once s is small
//! (it is γ^k at depth k). Here the difference is taken in closed form, so that r is exact to rounding at any s:
//!
//! ```text
//! identity            r = φ
//! leaky ReLU, slope a, u = φ:
//!   same side of 0    r = φ / D
//!   down (y ≥ 0 > t)  r = u + (1/a − 1)(u + y/s)  =  u/a + (1/a − 1) y/s      t = y + s·u
//!   up   (y < 0 ≤ t)  r = u − (1/a − 1) y/s       =  u/a − (1/a − 1)(u + y/s)
//! tanh                r = ½ [ψ(u/(1+y)) − ψ(−u/(1−y))]            ψ(z) = log1p(s z)/s, and z where s·z underflows
//! ```
//!
//! y/s is used only where |y| ≤ s|u|, so it is bounded by |u| and cannot overflow. `Scale::Limit` is s → 0: r = φ/D everywhere.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scalar::Scalar;
use crate::elementwise::activation::{Activation, stored_slope};
use crate::simd::dispatch::shells;
use crate::simd::vector::Vector;
use crate::tile::table::Real;

pub use crate::elementwise::activation::activation_grad;

/// How an error becomes a nudge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// φ = D² ∘ e: GAIT-prop.
    SlopeSquared,
    /// φ = e: target propagation and its incremental form.
    Plain,
}

/// How large the nudge is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// s → 0: the linear limit, in which nothing crosses a kink.
    Limit,
    /// This s ≥ 0, in f64 whatever the element type. 0 stands for a positive number too small for f64.
    Finite(f64),
}

/// Everything about a perturbation but its data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// The layer's activation function.
    pub activation: Activation,
    /// φ.
    pub weighting: Weighting,
    /// s.
    pub scale: Scale,
}

impl Perturbation {
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

/// Writes `r` and `x = D ∘ e` from a layer's activity `y` and scaled error `e`; see the [module](self).
///
/// Shapes: all batch×n; `slope` is f′(h), needed where [`Activation::keeps_slope`] and not read elsewhere. Reads y and e once.
/// Relative error of r: a few units of roundoff at every s, given y and e exactly (and never less accurate than y itself allows:
/// where a kink is crossed, y's own rounding counts 1/s times).
///
/// # Errors
/// [`Error::Shape`]; [`Error::Parameter`] for a slope or scale out of range; [`Error::Domain`] with the first unit whose nudged
/// activity lies outside f's range (`r` and `x` are then unspecified).
///
/// # Panics
/// Never on caller data.
///
/// Source: Ahmad, van Gerven and Ambrogioni, GAIT-prop, 2020, eq. 10 and 11, in difference form.
#[allow(clippy::too_many_arguments)]
pub fn perturb<T: Real>(
    p: Perturbation,
    y: MatRef<'_, T>,
    slope: Option<MatRef<'_, T>>,
    e: MatRef<'_, T>,
    r: MatMut<'_, T>,
    x: MatMut<'_, T>,
    isa: Isa,
) -> Result<(), Error> {
    let shape = y.shape();
    p.check::<T>()?;
    e.expect_shape("the error", shape)?;
    r.expect_shape("the perturbation", shape)?;
    x.expect_shape("the weighted error", shape)?;
    let slope = stored_slope(p.activation, slope, y)?;
    // Rows of nothing may be any number.
    if y.is_empty() {
        return Ok(());
    }
    match first_outside(isa, p, y, slope, e, r, x) {
        None => Ok(()),
        Some((row, col)) => Err(Error::Domain { row, col }),
    }
}

fn first_outside<T: Real>(
    isa: Isa,
    p: Perturbation,
    y: MatRef<'_, T>,
    slope: MatRef<'_, T>,
    e: MatRef<'_, T>,
    mut r: MatMut<'_, T>,
    mut x: MatMut<'_, T>,
) -> Option<(usize, usize)> {
    let mut outside = None;
    for i in 0..y.nrows() {
        let first = if let (Some(y), Some(d), Some(e), Some(r), Some(x)) =
            (y.row(i), slope.row(i), e.row(i), r.row_mut(i), x.row_mut(i))
        {
            perturb_row(isa, p, y, d, e, r, x)
        } else {
            let mut first = None;
            for j in 0..y.ncols() {
                let one = one(p, y.get(i, j), slope.get(i, j), e.get(i, j));
                r.set(i, j, one.r);
                x.set(i, j, one.x);
                first = first.or(one.outside.then_some(j));
            }
            first
        };
        outside = outside.or(first.map(|j| (i, j)));
    }
    outside
}

shells! { vectors
    /// One sample: `r` and `x` from its activities, slopes (where they are kept) and errors. Returns the first unit outside f's range.
    pub(crate) fn perturb_row = perturb_row_body(p: Perturbation, y: &[T], d: &[T], e: &[T], r: &mut [T], x: &mut [T]) -> Option<usize>
}

#[inline(always)]
fn perturb_row_body<T: Scalar, V: Vector<T>>(
    p: Perturbation,
    y: &[T],
    d: &[T],
    e: &[T],
    r: &mut [T],
    x: &mut [T],
) -> Option<usize> {
    let n = y.len();
    assert!(d.len() == n && e.len() == n && r.len() == n && x.len() == n);
    let whole = match p.activation {
        Activation::Identity => piecewise_linear_vectors::<T, V>(p, 1.0, y, e, r, x),
        Activation::LeakyRelu { slope } => piecewise_linear_vectors::<T, V>(p, slope, y, e, r, x),
        Activation::Tanh => 0,
    };
    let mut outside = None;
    for j in whole..n {
        let one = one(p, y[j], d[j], e[j]);
        (r[j], x[j]) = (one.r, one.x);
        outside = outside.or(one.outside.then_some(j));
    }
    outside
}

/// The whole words of a row of units of slope `slope` below 0: [`one`] for all lanes at once while no lane comes near the kink, and lane by lane
/// where one does. Returns how many units are done.
#[inline(always)]
fn piecewise_linear_vectors<T: Scalar, V: Vector<T>>(
    p: Perturbation,
    slope: f64,
    y: &[T],
    e: &[T],
    r: &mut [T],
    x: &mut [T],
) -> usize {
    let done = y.len() / V::LEN * V::LEN;
    // A little more than s, so that what `reaches_kink` finds in f64 is found here: the product is then rounded, and may be subnormal. So may s itself
    // be in T, or less than anything it has, beside errors that make up for it.
    let reach = match p.scale {
        Scale::Finite(s) if p.activation != Activation::Identity => {
            Some(T::from_f64((s * (1.0 + 16.0 * T::UNIT_ROUNDOFF)).max(T::SMALLEST)))
        }
        _ => None,
    };
    for j in (0..done).step_by(V::LEN) {
        // SAFETY: the body runs in the shell of V's instruction set; all slices hold at least `done` elements, checked by the caller.
        let near = unsafe {
            let (one, yw, ew) = (V::splat(T::ONE), V::load(y.as_ptr().add(j)), V::load(e.as_ptr().add(j)));
            let dw = yw.if_negative(V::splat(T::from_f64(slope)), one);
            let xw = dw.mul(ew);
            let (u, same_side) = match p.weighting {
                Weighting::SlopeSquared => (dw.mul(xw), xw),
                Weighting::Plain => (ew, yw.if_negative(V::splat(T::from_f64(1.0 / slope)), one).mul(ew)),
            };
            xw.store(x.as_mut_ptr().add(j));
            same_side.store(r.as_mut_ptr().add(j));
            reach.is_some_and(|s| yw.abs().any_le(V::splat(s).mul_add(u.abs(), V::splat(T::from_f64(T::SMALLEST)))))
        };
        if near {
            for j in j..j + V::LEN {
                r[j] = self::one(p, y[j], y[j], e[j]).r;
            }
        }
    }
    done
}

/// One unit's result.
struct One<T> {
    r: T,
    x: T,
    outside: bool,
}

/// The perturbation of one unit. Rust contracts nothing, so the same operations give the same bits in every shell.
#[inline(always)]
fn one<T: Scalar>(p: Perturbation, y: T, kept: T, e: T) -> One<T> {
    let d = p.activation.slope(y, kept);
    let x = d * e;
    let inside = |r| One { r, x, outside: false };
    match p.activation {
        Activation::Identity => inside(e),
        Activation::LeakyRelu { slope } => {
            let inverse = if y < T::ZERO { 1.0 / slope } else { 1.0 };
            let (u, same_side) = match p.weighting {
                Weighting::SlopeSquared => (d * x, x),
                Weighting::Plain => (e, T::from_f64(inverse) * e),
            };
            match p.scale {
                Scale::Finite(s) if reaches_kink(y, u, s) => inside(across(slope, y, u, s).unwrap_or(same_side)),
                _ => inside(same_side),
            }
        }
        Activation::Tanh => {
            // In f64 whatever T is: s may lie far below f32's range, and the logarithms are what costs.
            let (y, d, e) = (y.to_f64(), d.to_f64(), e.to_f64());
            let margin = 4.0 * T::UNIT_ROUNDOFF;
            // The smaller of 1 − y and 1 + y would cancel; the product of both is d.
            let large = 1.0 + y.abs();
            let small = d / large;
            let (above, below) = if y >= 0.0 { (small, large) } else { (large, small) };
            // A target that is the unit's own activity asks for nothing, however flat the unit is there; any other target of a unit
            // that is flat to the last bit has no inverse.
            if e == 0.0 || d == 0.0 {
                return One { r: x, x, outside: e != 0.0 && p.weighting == Weighting::Plain };
            }
            // u/(1+y) and u/(1−y).
            let (up, down) = match p.weighting {
                Weighting::SlopeSquared => (above * (d * e), below * (d * e)),
                Weighting::Plain => (e / below, e / above),
            };
            match p.scale {
                Scale::Limit => inside(T::from_f64(0.5 * (up + down))),
                Scale::Finite(s) => One {
                    r: T::from_f64(0.5 * (scaled_log1p(s, up) - scaled_log1p(s, -down))),
                    x,
                    // A target within rounding of the boundary has an inverse of pure rounding noise. A NaN error is the caller's to
                    // notice; it is not outside.
                    outside: s * up <= margin - 1.0 || s * down >= 1.0 - margin,
                },
            }
        }
    }
}

/// Whether y + s·u may lie on the other side of the kink at 0, decided without forming the sum: true wherever it does, and within
/// rounding of it. A unit at exactly 0 crosses whenever it is nudged down, even if s·u is too small for a number.
#[inline(always)]
fn reaches_kink<T: Scalar>(y: T, u: T, s: f64) -> bool {
    let (y, u) = (y.to_f64(), u.to_f64());
    // What is added is more than a product can lose to the coarse grid of subnormal numbers, and leaves 0 no case of its own.
    let reach = s * u.abs() * (1.0 + 4.0 * f64::EPSILON) + f64::MIN_POSITIVE;
    if y >= 0.0 { u < 0.0 && y < reach } else { u > 0.0 && -y <= reach }
}

/// r of a unit that crosses the kink, from whichever of its two forms adds terms of one sign: the other one cancels by up to a factor of
/// the slope. `None` if it stops short after all. In f64: it happens to few units, and y/s wants the range.
#[inline(always)]
fn across<T: Scalar>(slope: f64, y: T, u: T, s: f64) -> Option<T> {
    let (y, u) = (y.to_f64(), u.to_f64());
    let bend = 1.0 / slope - 1.0;
    let to_kink = if y == 0.0 { 0.0 } else { y / s };
    // u + y/s, what is left beyond the kink. A quotient rounded before the addition would be wrong by 1/slope units of roundoff in the
    // end; one fused step is not. Where s·u is no normal number there is no such step, nor anything left to lose.
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

/// ψ(z) = log1p(s·z)/s, which is z where s·z is too small for a number.
#[inline(always)]
fn scaled_log1p(s: f64, z: f64) -> f64 {
    let sz = s * z;
    if sz.abs() < f64::MIN_POSITIVE { z } else { libm::log1p(sz) / s }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words decide in one comparison, with some slack, whether any of their units comes near the kink: units that stop within a few units of
    /// roundoff of it, on either side, give the bits that they have alone.
    fn words_at_the_edge<T: Real>() {
        // The last is less than half of f32's smallest number: errors of 1e10 make normal numbers of it.
        for scale in [50.0, 1.0, 0.1, 1e-3, 1e-9, 1e-60, 5.6e-46] {
            for slope in [0.01, 0.3, 1.0, 2.0] {
                for weighting in [Weighting::SlopeSquared, Weighting::Plain] {
                    let p = Perturbation { activation: Activation::LeakyRelu { slope }, weighting, scale: Scale::Finite(scale) };
                    let (mut y, mut e) = (Vec::new(), Vec::new());
                    for (side, d) in [(1.0, 1.0), (-1.0, slope)] {
                        let factor = if weighting == Weighting::SlopeSquared { d * d } else { 1.0 };
                        for nudge in [1e10, 40.0, 0.7, 1.3e-3] {
                            for ulps in -6..=6 {
                                // A word has one such unit; the others are far from the kink.
                                y.push(T::from_f64(side * scale * factor * nudge * (1.0 + f64::from(ulps) * T::UNIT_ROUNDOFF)));
                                e.push(T::from_f64(-side * nudge));
                                y.extend([T::from_f64(side * 3.0); 16]);
                                e.extend([T::from_f64(0.1); 16]);
                            }
                        }
                    }
                    for isa in Isa::available() {
                        let (mut r, mut x) = (vec![T::ZERO; y.len()], vec![T::ZERO; y.len()]);
                        assert_eq!(perturb_row(isa, p, &y, &y, &e, &mut r, &mut x), None);
                        for j in 0..y.len() {
                            let alone = one(p, y[j], y[j], e[j]);
                            assert!(
                                r[j].bits() == alone.r.bits(),
                                "{isa} {p:?}: r({}, {}) is {}, not {}",
                                y[j],
                                e[j],
                                r[j],
                                alone.r
                            );
                            assert!(
                                x[j].bits() == alone.x.bits(),
                                "{isa} {p:?}: x({}, {}) is {}, not {}",
                                y[j],
                                e[j],
                                x[j],
                                alone.x
                            );
                        }
                    }
                }
            }
        }
    }

    /// What is decided without the sum y + s·u leaves no unit out that crosses, however close it comes: at the smallest of numbers too.
    fn all_that_cross_are_looked_at<T: Real>() {
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
    fn all_units_that_cross_the_kink_are_looked_at() {
        all_that_cross_are_looked_at::<f32>();
        all_that_cross_are_looked_at::<f64>();
    }

    /// r as it is defined, in f64 for units in f32: (f⁻¹(y + s·φ) − f⁻¹(y)) / s, which loses no more than 1/s units of roundoff of f64. Sides that are
    /// crossed in either direction, with slopes below and above 1.
    #[test]
    fn r_is_the_quotient_of_differences() {
        let mut crossed = 0;
        for s in [1.0, 0.25, 0.01] {
            for weighting in [Weighting::SlopeSquared, Weighting::Plain] {
                let phi = |d: f64, e: f64| if weighting == Weighting::SlopeSquared { d * d * e } else { e };
                let check = |activation, y: f32, d: f32, e: f32, r: f64, tolerance: f64| {
                    let p = Perturbation { activation, weighting, scale: Scale::Finite(s) };
                    let got = one(p, y, d, e);
                    assert!((f64::from(got.r) - r).abs() <= tolerance * r.abs(), "{p:?}: r({y}, {e}) is {}, not {r}", got.r);
                    assert!(!got.outside);
                };
                for slope in [0.01_f32, 0.3, 1.0, 2.0] {
                    // As the kernel sees it.
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
                        // The slope is kept, and a rounded number like any other.
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

    /// Where s·u is not a normal number, or next to that: down, then up, by the closed forms. Below 1e-308 a sum of s·u and y would keep a few digits.
    #[test]
    fn the_smallest_scales_cross_as_others_do() {
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

    /// A unit that stops just beyond the kink is multiplied by 1/slope there: what y/s loses by rounding must not be.
    #[test]
    fn nothing_is_lost_just_beyond_the_kink() {
        for s in [0.1, 0.7, 1e-3] {
            for y in [0.3, 0.7, 1.1, 1e-5] {
                for (slope, ulps) in [(1e-2, 1.0), (1e-2, 3.0), (1e-4, 1.0), (1e-4, 200.0)] {
                    let quotient: f64 = y / s;
                    let u = -quotient * (1.0 + ulps * f64::EPSILON);
                    // u + y/s: the difference of neighbours is exact, and so is what the division has left.
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

    /// A target within the last units of roundoff of tanh's range is outside, on either side; one that keeps clear of them is not.
    #[test]
    fn targets_at_the_edge_of_tanh_are_outside() {
        fn edge<T: Real>() {
            for (s, y) in [(1.0, 0.5), (1.0, -0.5), (0.25, 0.5), (0.25, -0.5), (1e-3, 0.75), (1e-3, -0.75)] {
                let p = Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Finite(s) };
                for side in [1.0, -1.0] {
                    // What is left to the edge, in T's units of roundoff of that.
                    for (left, outside) in [(-4.0, true), (0.0, true), (2.0, true), (12.0, false), (1e3, false)] {
                        let nudge = (side - y) * (1.0 - left * T::UNIT_ROUNDOFF);
                        let d = 1.0 - y * y;
                        let got = one(p, T::from_f64(y), T::from_f64(d), T::from_f64(nudge / s));
                        assert_eq!(got.outside, outside, "{} y {y}, s {s}, side {side}, left {left}", T::NAME);
                    }
                }
            }
        }
        edge::<f32>();
        edge::<f64>();
    }

    /// ψ is z itself where s·z is no normal number, and log1p(s·z)/s from there on.
    #[test]
    fn scaled_logarithms_begin_at_the_first_normal_number() {
        assert_eq!(scaled_log1p(1e-320, 0.3), 0.3);
        assert_eq!(scaled_log1p(0.5, 0.5), libm::log1p(0.25) / 0.5);
        // One step of numbers above: the quotient of two rounded numbers is z to roundoff.
        assert!((scaled_log1p(f64::MIN_POSITIVE, 1.5) - 1.5).abs() < 1e-15);
    }

    /// A tanh that is flat to the last bit has no inverse, at any scale: only its own activity, or a target weighted by its slope, can be reached.
    #[test]
    fn a_flat_tanh_is_outside_unless_nothing_is_asked() {
        for scale in [Scale::Limit, Scale::Finite(0.0), Scale::Finite(1e-3), Scale::Finite(1.0)] {
            for (weighting, e, outside) in [
                (Weighting::Plain, 0.5, true),
                (Weighting::Plain, 0.0, false),
                (Weighting::SlopeSquared, 0.5, false),
                (Weighting::SlopeSquared, 0.0, false),
            ] {
                for y in [1.0, -1.0] {
                    let p = Perturbation { activation: Activation::Tanh, weighting, scale };
                    let alone = one(p, y, 0.0, e);
                    assert_eq!((alone.r, alone.x, alone.outside), (0.0, 0.0, outside), "{p:?}, y {y}, e {e}");
                    // Beside it one that is not flat, and asks for nothing: its zero has the sign of what was asked.
                    let still = one(p, 0.5, 0.75, -0.0_f64);
                    assert_eq!((still.r.to_bits(), still.outside), ((-0.0_f64).to_bits(), false), "{p:?}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "a question of numbers; takes an hour there")]
    fn words_at_the_edge_of_the_kink_are_right() {
        words_at_the_edge::<f32>();
        words_at_the_edge::<f64>();
    }
}
