//! The fused perturbation against its definition in 480 bits: `r = [f⁻¹(y + s·φ) − f⁻¹(y)] / s` and `x = D·e`, at every scale.
//!
//! The oracle is fed the exact y and e that the kernel was fed, and the exact f64 value of the leaky ReLU's slope. For tanh neither y
//! nor the kept slope alone says where the unit is (near ±1 the rounded y has lost it, the slope has not), so there the oracle starts
//! from h: the kernel gets `Activation::apply(h)`, the oracle tanh h and 1 − tanh² h in 480 bits, and the rounding of y and of the slope
//! counts against the kernel.

use crate::support::big::relative_to;
use crate::support::perturbed::*;
use crate::support::*;
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting, perturb};
use gaitprop::kernels::{Activation, Error, Isa, MatMut, MatRef, Real};
use gaitprop::rng::Rng;

fn scales() -> Vec<Scale> {
    let finite = [1.0, 0.1, 1e-2, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-18, 1e-24, 1e-30, 1e-36, 1e-45, 1e-60];
    finite.map(Scale::Finite).into_iter().chain([Scale::Limit]).collect()
}

/// Errors of any size with both signs, against activities of any size with both signs, and for each scale and weighting
/// activities just short of the kink, just beyond it, at it.
fn piecewise_cases<T: Real>(unit: Activation, weighting: Weighting, s: f64, rng: &mut Rng) -> Vec<Given<T>> {
    let mut cases = Vec::new();
    let slope = if let Activation::LeakyRelu { slope } = unit { slope } else { 1.0 };
    for _ in 0..25 {
        let e = rng.normal();
        cases.push(Given::at(rng.normal(), e));
        cases.push(Given::at(rng.normal() * s, e));
        cases.push(Given::at(0.0, e));
        cases.push(Given::at(-0.0, e));
        cases.push(Given::at(rng.normal(), 0.0));
        // At a distance from the kink of exactly, nearly and far less than the nudge, in its direction and the other.
        let nudge = |d: f64| s * if weighting == Weighting::SlopeSquared { d * d * e } else { e };
        for part in [1.0, 1.0 + 1e-7, 1.0 - 1e-7, 1.0 + 1e-15, 1.0 - 1e-15, 0.5, 1e-3, 1e-9, 1e-20] {
            cases.push(Given::at(-part * nudge(1.0), e));
            cases.push(Given::at(-part * nudge(slope), e));
            cases.push(Given::at(part * nudge(1.0), e));
        }
    }
    cases
}

fn check_piecewise<T: Real>() {
    let mut rng = Rng::new(21, 0);
    let units = [Activation::Identity, leaky(0.01), leaky(0.1), leaky(0.5), leaky(2.0)];
    let mut failures = Vec::new();
    for unit in units {
        let (mut worst_r, mut at, mut worst_x) = (0.0, String::new(), 0.0);
        for weighting in WEIGHTINGS {
            for scale in scales() {
                let s = if let Scale::Finite(s) = scale { s } else { 1e-3 };
                let cases = piecewise_cases::<T>(unit, weighting, s, &mut rng);
                let (r, case, x) = errors(Perturbation { activation: unit, weighting, scale }, &cases);
                if r > worst_r {
                    (worst_r, at) = (r, case);
                }
                worst_x = worst(worst_x, x);
            }
        }
        println!("{} {unit:?}: r {worst_r:.2e}, x {worst_x:.2e}", T::NAME);
        if !(worst_r <= promised::<T>()) {
            failures.push(format!("{worst_r:.1e}: {at}"));
        }
        assert!(worst_x <= 2.0 * T::UNIT_ROUNDOFF, "{} x: {worst_x:e}", T::NAME);
    }
    assert!(failures.is_empty(), "{}: {failures:#?}", T::NAME);
}

fn leaky(slope: f64) -> Activation {
    Activation::LeakyRelu { slope }
}

#[test]
fn piecewise_linear_units_in_f32() {
    check_piecewise::<f32>();
}

#[test]
fn piecewise_linear_units_in_f64() {
    check_piecewise::<f64>();
}

/// h from the middle to where y is 1 in this precision; errors such that at most half of the distance to ±1 is gone: at the edge itself
/// the logarithm magnifies the rounding of whatever it is given.
fn tanh_cases<T: Real>(weighting: Weighting, s: f64, rng: &mut Rng) -> Vec<Given<T>> {
    let far = if T::NAME == "f32" { 15.0 } else { 25.0 };
    let mut cases: Vec<Given<T>> = Vec::new();
    for _ in 0..25 {
        for h in [rng.normal(), far * rng.normal().clamp(-1.0, 1.0), 1e-3 * rng.normal(), 1e-30 * rng.normal()] {
            let q = (-2.0 * h.abs()).exp();
            // 1 − |y|, and D².
            let (room, squared) = (2.0 * q / (1.0 + q), (4.0 * q / ((1.0 + q) * (1.0 + q))).powi(2));
            let nudge = if weighting == Weighting::SlopeSquared { s * squared } else { s };
            let most = (0.5 * room / nudge).min(3.0);
            cases.push(Given::tanh(h, most * (2.0 * rng.uniform() - 1.0)));
        }
        cases.push(Given::tanh(0.0, rng.normal().clamp(-0.5, 0.5)));
        cases.push(Given::tanh(rng.normal(), 0.0));
    }
    cases
}

fn check_tanh<T: Real>() {
    let mut rng = Rng::new(22, 0);
    for weighting in WEIGHTINGS {
        for scale in scales() {
            let s = if let Scale::Finite(s) = scale { s } else { 1e-3 };
            let cases = tanh_cases::<T>(weighting, s, &mut rng);
            let (r, at, x) = errors(Perturbation { activation: Activation::Tanh, weighting, scale }, &cases);
            println!("{} tanh {weighting:?} {scale:?}: r {r:.2e}, x {x:.2e}", T::NAME);
            assert!(r <= promised::<T>(), "{} {r:e}: {at}", T::NAME);
            assert!(x <= promised::<T>(), "{} x: {x:e}", T::NAME);
        }
    }
}

#[test]
fn tanh_in_f32() {
    check_tanh::<f32>();
}

#[test]
fn tanh_in_f64() {
    check_tanh::<f64>();
}

/// Without the care: the definition in the element type loses all.
#[test]
fn the_oracle_fails_what_it_should() {
    let p = Perturbation { activation: leaky(0.1), weighting: Weighting::SlopeSquared, scale: Scale::Finite(1e-9) };
    let given = [Given::<f64>::at(0.7, 0.3), Given::at(-0.7, 0.3), Given::at(1e-10, -0.3)];
    let (right, _) = run(p, &given, Isa::detect()).unwrap();
    let invert = |y: f64| if y < 0.0 { y / 0.1 } else { y };
    for (given, right) in given.iter().zip(right) {
        let d: f64 = if given.y < 0.0 { 0.1 } else { 1.0 };
        let naive = (invert(given.y + 1e-9 * d * d * given.e) - invert(given.y)) / 1e-9;
        let (want, _) = oracle(p, given).unwrap();
        assert!(relative_to(right, &want, BITS) <= promised::<f64>());
        assert!(relative_to(naive, &want, BITS) > promised::<f64>() || given.y == 1e-10, "{given:?}: {naive:e}");
        assert!(relative_to(right * (1.0 + 1e-14), &want, BITS) > promised::<f64>());
        assert!(relative_to(f64::NAN, &want, BITS) > 1.0);
    }
    // A unit that crosses is not one that stays: another scale gives another r.
    let other = Perturbation { scale: Scale::Limit, ..p };
    let (want, _) = oracle(other, &given[2]).unwrap();
    assert!(relative_to(run(p, &given[2..], Isa::detect()).unwrap().0[0], &want, BITS) > 0.1);
}

/// Scales that f64 can no longer hold, and those that it barely can: finite, of the size that the error allows, and the limit's value where
/// nothing crosses.
#[test]
fn vanishing_scales() {
    for s in [0.0, 5e-324, 1e-320, 1e-310, 2.3e-308, 1e-300, 1e-200] {
        for weighting in WEIGHTINGS {
            for y in [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1e-300, -1e-300, 0.5, -0.5] {
                for e in [1.0, -1.0, 0.3, -1e10, 1e-10] {
                    let p = Perturbation { activation: leaky(0.1), weighting, scale: Scale::Finite(s) };
                    let given = [Given::<f64>::at(y, e)];
                    let (r, x) = run(p, &given, Isa::detect()).unwrap();
                    let most = 10.0 * e.abs() * (1.0 + 1e-15);
                    assert!(r[0].is_finite() && r[0].abs() <= most && r[0] * e > 0.0, "{p:?} {y:e} {e:e}: {:e}", r[0]);
                    let limit = run(Perturbation { scale: Scale::Limit, ..p }, &given, Isa::detect()).unwrap();
                    assert_eq!(x, limit.1);
                    let stays = y.abs() >= 1e-300 && s * e.abs() < 0.9e-300;
                    assert!(!stays || r == limit.0, "{p:?} {y:e} {e:e}");
                    // At exactly 0 a unit that is nudged down leaves by the other slope, however small the nudge.
                    if y == 0.0 && e < 0.0 {
                        assert!((r[0] / (10.0 * e) - 1.0).abs() < 1e-15, "{p:?} {y:e} {e:e}: {:e}", r[0]);
                    }
                    let p = Perturbation { activation: Activation::Tanh, ..p };
                    let given = [Given::<f64>::tanh(y, e.clamp(-1.0, 1.0))];
                    let (r, limit) = (
                        run(p, &given, Isa::detect()).unwrap().0,
                        run(Perturbation { scale: Scale::Limit, ..p }, &given, Isa::detect()).unwrap().0,
                    );
                    assert!((r[0] / limit[0] - 1.0).abs() <= 1e-14, "{p:?} {y:e} {e:e}: {:e} and {:e}", r[0], limit[0]);
                }
            }
        }
    }
}

fn check_domain<T: Real>() {
    let p = Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Finite(1.0) };
    let (rows, cols) = (3, 20);
    let inside = Given::<T>::tanh(0.3, 0.1);
    // y = 0.9051…: an error of 0.09 stays inside, of 0.1 leaves; below −1 as well as above 1; exactly 1 is outside, too.
    let cases = [
        (1.5, 0.0948, false),
        (1.5, 0.0949, true),
        (-1.5, -0.0949, true),
        (-1.5, 1.9, false),
        (0.0, 1.0, true),
        (0.0, -1.0, true),
        (0.0, 0.999, false),
    ];
    for (h, e, leaves) in cases {
        for (row, col) in [(0, 0), (1, 7), (2, 19), (1, 16)] {
            let mut given = vec![inside; rows * cols];
            given[row * cols + col] = Given::tanh(h, e);
            // A second one further on must not be the one that is named.
            given[rows * cols - 1] = given[row * cols + col];
            let column = |f: fn(&Given<T>) -> T| given.iter().map(f).collect::<Vec<T>>();
            let (y, slope, e) = (column(|g| g.y), column(|g| g.slope), column(|g| g.e));
            let view = |data| MatRef::new(data, rows, cols).unwrap();
            for isa in Isa::available() {
                let (mut r, mut x) = (vec![T::NAN; rows * cols], vec![T::NAN; rows * cols]);
                let (r, x) = (MatMut::new(&mut r, rows, cols).unwrap(), MatMut::new(&mut x, rows, cols).unwrap());
                let result = perturb(p, view(&y), Some(view(&slope)), view(&e), r, x, isa);
                let want = if leaves { Err(Error::Domain { row, col }) } else { Ok(()) };
                assert_eq!(result, want, "{} {isa} {h} {:?}", T::NAME, e[row * cols + col]);
            }
        }
    }
}

#[test]
fn targets_outside_the_range_are_named() {
    check_domain::<f32>();
    check_domain::<f64>();
}

/// A NaN goes through; it is nobody's domain error, nobody's crossing and nobody's panic, and touches no other unit.
fn check_nan<T: Real>() {
    for unit in [Activation::Identity, leaky(0.1), Activation::Tanh] {
        for weighting in WEIGHTINGS {
            for scale in [Scale::Limit, Scale::Finite(0.0), Scale::Finite(1e-3), Scale::Finite(1.0)] {
                let p = Perturbation { activation: unit, weighting, scale };
                let clean = vec![Given::<T>::tanh(0.25, 0.125); 40];
                let mut given = clean.clone();
                given[17].e = T::NAN;
                let ((r, x), (r0, x0)) = (run(p, &given, Isa::detect()).unwrap(), run(p, &clean, Isa::detect()).unwrap());
                assert!(r[17].to_f64().is_nan() && x[17].to_f64().is_nan(), "{p:?}");
                let others = |v: &[T]| [bits(&v[..17]), bits(&v[18..])];
                assert_eq!((others(&r), others(&x)), (others(&r0), others(&x0)));
                given[17] = Given { y: T::NAN, slope: T::NAN, ..clean[0] };
                assert!(run(p, &given, Isa::detect()).is_ok(), "{p:?}");
            }
        }
    }
}

#[test]
fn nan_goes_through() {
    check_nan::<f32>();
    check_nan::<f64>();
}

#[test]
fn wrong_parameters_are_refused() {
    let given = [Given::<f32>::at(0.5, 0.5)];
    for s in [-1.0, f64::NAN, f64::INFINITY] {
        let p = Perturbation { activation: Activation::Identity, weighting: Weighting::Plain, scale: Scale::Finite(s) };
        assert!(matches!(run(p, &given, Isa::detect()), Err(Error::Parameter { .. })), "{s}");
    }
    for slope in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let p = Perturbation { activation: leaky(slope), weighting: Weighting::Plain, scale: Scale::Limit };
        assert!(matches!(run(p, &given, Isa::detect()), Err(Error::Parameter { .. })), "{slope}");
    }
}
