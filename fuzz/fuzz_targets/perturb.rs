//! The fused perturbation at any scale, of any activities and errors, by its definition in 480
//! bits; a target outside the range is named. (Twice the bits of f64 would not do: at a scale of
//! 1e-60 the definition itself loses 200 of them.)
#![no_main]

use arbitrary::Arbitrary;
use gaitprop::kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop::kernels::{Activation, Isa, Real};
use gaitprop_fuzz::hold;
use gaitprop_fuzz::rules::perturbed::{Given, check};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    isa: u8,
    unit: u8,
    plain: bool,
    /// s = 2^−this/2; the largest stands for the limit.
    scale: u8,
    double: bool,
    units: Vec<(Number, Number, bool)>,
}

/// (1 + fraction/2^16)·2^exponent, with a sign, or 0.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Number {
    negative: bool,
    exponent: i8,
    fraction: u16,
}

impl Number {
    fn value(self, exponents: i32) -> f64 {
        let sign = if self.negative { -1.0 } else { 1.0 };
        if self.exponent == i8::MIN {
            return sign * 0.0;
        }
        sign * (1.0 + f64::from(self.fraction) / 65536.0) * 2f64.powi(i32::from(self.exponent) % exponents)
    }
}

fn run<T: Real>(input: &Input) {
    const SLOPES: [f64; 6] = [0.01, 0.1, 0.3, 0.5, 1.0, 2.0];
    let which = usize::from(input.unit) % 8;
    let unit = match which {
        6 => Activation::Identity,
        7 => Activation::Tanh,
        _ => Activation::LeakyRelu { slope: SLOPES[which] },
    };
    let weighting = if input.plain { Weighting::Plain } else { Weighting::SlopeSquared };
    let s = 2f64.powf(-f64::from(input.scale) / 2.0);
    let scale = if input.scale == u8::MAX { Scale::Limit } else { Scale::Finite(s) };
    let given = input.units.iter().take(40).map(|&(y, e, near)| {
        if unit == Activation::Tanh {
            // h up to where y is 1, errors small enough to stay inside now and then.
            let far = if T::NAME == "f32" { 15.0 } else { 25.0 };
            let h = y.value(6).clamp(-far, far);
            let q = (-2.0 * h.abs()).exp();
            return Given::<T>::tanh(h, e.value(8) * if near { q } else { 1.0 });
        }
        let e = e.value(60);
        // At or near the distance from the kink that the nudge has, or anywhere.
        Given::at(if near { e * s * y.value(4) } else { y.value(60) }, e)
    });
    let given: Vec<Given<T>> = given.collect();
    let isas: Vec<Isa> = Isa::available().collect();
    hold(check(Perturbation { activation: unit, weighting, scale }, &given, isas[usize::from(input.isa) % isas.len()]));
}

fuzz_target!(|input: Input| if input.double { run::<f64>(&input) } else { run::<f32>(&input) });
