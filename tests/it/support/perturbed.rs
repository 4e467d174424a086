//! The fused perturbation by its definition in 480 bits.

use super::big::{Big, Bits, Function, f64_of, relative_to};
use super::worst;
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting, perturb};
use gaitprop::kernels::{Activation, Error, Isa, MatMut, MatRef, Real};

pub const BITS: Bits = Bits(480);

/// What is promised of r, relative to itself.
pub fn promised<T: Real>() -> f64 {
    if T::NAME == "f32" { 4e-7 } else { 1e-15 }
}

pub const WEIGHTINGS: [Weighting; 2] = [Weighting::SlopeSquared, Weighting::Plain];

/// One unit: what the kernel is given, and where the oracle starts.
#[derive(Clone, Copy, Debug)]
pub struct Given<T> {
    pub y: T,
    pub slope: T,
    pub e: T,
    /// h, for tanh.
    pub h: T,
}

impl<T: Real> Given<T> {
    pub fn at(y: f64, e: f64) -> Self {
        Self { y: T::from_f64(y), slope: T::NAN, e: T::from_f64(e), h: T::NAN }
    }
    pub fn tanh(h: f64, e: f64) -> Self {
        let h = T::from_f64(h);
        let (y, slope) = Activation::Tanh.apply(h);
        Self { y, slope, e: T::from_f64(e), h }
    }
}

pub fn run<T: Real>(p: Perturbation, given: &[Given<T>], isa: Isa) -> Result<(Vec<T>, Vec<T>), Error> {
    let n = given.len();
    let column = |f: fn(&Given<T>) -> T| given.iter().map(f).collect::<Vec<T>>();
    let (y, slope, e) = (column(|g| g.y), column(|g| g.slope), column(|g| g.e));
    let (mut r, mut x) = (vec![T::NAN; n], vec![T::NAN; n]);
    let view = |data| MatRef::new(data, 1, n).unwrap();
    let slope = p.activation.keeps_slope().then(|| view(&slope));
    let (r_view, x_view) = (MatMut::new(&mut r, 1, n)?, MatMut::new(&mut x, 1, n)?);
    perturb(p, view(&y), slope, view(&e), r_view, x_view, isa)?;
    Ok((r, x))
}

/// r and x by the definition; `None` outside the range.
pub fn oracle<T: Real>(p: Perturbation, given: &Given<T>) -> Option<(Big, Big)> {
    let (f, y, d) = match p.activation {
        Activation::LeakyRelu { slope } => {
            let (a, y) = (BITS.of(slope), BITS.of(given.y.to_f64()));
            let d = if given.y < T::ZERO { a.clone() } else { BITS.one() };
            (Function::Leaky(a), y, d)
        }
        Activation::Tanh => {
            let (y, d) = Function::Tanh.apply(&BITS.of(given.h.to_f64()), BITS);
            (Function::Tanh, y, d)
        }
        _ => (Function::Identity, BITS.of(given.y.to_f64()), BITS.one()),
    };
    let e = BITS.of(given.e.to_f64());
    let phi = match p.weighting {
        Weighting::SlopeSquared => &d * &d * &e,
        Weighting::Plain => e.clone(),
    };
    let x = &d * &e;
    let r = match p.scale {
        Scale::Limit => phi / &d,
        Scale::Finite(s) => {
            let s = BITS.of(s);
            (f.invert(&(&y + &s * phi), BITS)? - f.invert(&y, BITS)?) / s
        }
    };
    Some((r, x))
}

/// Worst relative error of r and of x, the first with the case that made it. Where x or r lies below T's normal numbers relative
/// errors mean nothing: not counted.
pub fn errors<T: Real>(p: Perturbation, given: &[Given<T>]) -> (f64, String, f64) {
    let (r, x) = run(p, given, Isa::detect()).unwrap_or_else(|e| panic!("{p:?}: {e}"));
    let (mut worst_r, mut worst_x, mut at) = (0.0, 0.0, String::new());
    for ((given, r), x) in given.iter().zip(r).zip(x) {
        let (want_r, want_x) = oracle(p, given).expect("inside the range");
        let smallest = if T::NAME == "f32" { 1e-37 } else { 1e-300 };
        if f64_of(&want_r).abs() < smallest || f64_of(&want_x).abs() < smallest {
            // Zero stays zero.
            assert!(f64_of(&want_r) != 0.0 || r == T::ZERO, "{p:?} {given:?}: r = {r:e}");
            continue;
        }
        let (error_r, error_x) = (relative_to(r.to_f64(), &want_r, BITS), relative_to(x.to_f64(), &want_x, BITS));
        if !(error_r <= worst_r) {
            (worst_r, at) = (error_r, format!("{p:?} {given:?}: r = {r:e}, not {:e}", f64_of(&want_r)));
        }
        worst_x = worst(worst_x, error_x);
    }
    (worst_r, at, worst_x)
}

/// Where the nudged activity lies in the range of the unit's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At least half of the way to the range's end is left.
    Inside,
    /// So near to the end that rounding decides.
    Edge,
    Outside,
}

fn place<T: Real>(p: Perturbation, given: &Given<T>) -> Place {
    let (Activation::Tanh, Scale::Finite(s)) = (p.activation, p.scale) else { return Place::Inside };
    let (y, d) = Function::Tanh.apply(&BITS.of(given.h.to_f64()), BITS);
    let phi = if p.weighting == Weighting::SlopeSquared { &d * &d } else { BITS.one() } * BITS.of(given.e.to_f64());
    let room = |y: &Big| BITS.one() - super::big::abs(y);
    let left = f64_of(&(room(&(&y + BITS.of(s) * phi)) / room(&y)));
    if left >= 0.5 {
        Place::Inside
    } else if left > -1e-3 {
        Place::Edge
    } else {
        Place::Outside
    }
}

/// r and x of one row within what is promised, or the first unit outside the range named.
#[allow(dead_code)] // only the fuzz target `perturb` calls it
pub fn check<T: Real>(p: Perturbation, given: &[Given<T>], isa: Isa) -> Result<(), String> {
    let places: Vec<Place> = given.iter().map(|g| place(p, g)).collect();
    let (r, x) = match run(p, given, isa) {
        Ok(both) => both,
        Err(Error::Domain { row: 0, col }) => {
            let wrong = places[..col].contains(&Place::Outside) || places[col] == Place::Inside;
            return if wrong { Err(format!("{p:?}: unit {col} is said to be the first outside: {places:?}")) } else { Ok(()) };
        }
        Err(e) => return Err(format!("{p:?}: {e}")),
    };
    let (smallest, largest) = if T::NAME == "f32" { (1e-37, 1e37) } else { (1e-300, 1e300) };
    for (((given, place), r), x) in given.iter().zip(places).zip(r).zip(x) {
        match place {
            Place::Outside => return Err(format!("{p:?} {given:?}: outside, and not refused")),
            Place::Edge => continue,
            Place::Inside => {}
        }
        let (want_r, want_x) = oracle(p, given).ok_or("the oracle is outside")?;
        // Beyond the normal numbers relative errors mean nothing.
        let held = |v: &Big| (smallest..largest).contains(&f64_of(v).abs());
        if held(&want_r) && held(&want_x) {
            let (error_r, error_x) = (relative_to(r.to_f64(), &want_r, BITS), relative_to(x.to_f64(), &want_x, BITS));
            if !(error_r <= promised::<T>() && error_x <= promised::<T>()) {
                let (want_r, want_x) = (f64_of(&want_r), f64_of(&want_x));
                return Err(format!("{p:?} {given:?} {isa}: r = {r:e}, not {want_r:e}; x = {x:e}, not {want_x:e}"));
            }
        }
    }
    Ok(())
}
