//! Any shapes, strides, scalars, blocks, starts, epilogues and packed operands: the bits of the
//! naive steps, or an error; never a write outside C.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop_fuzz::operands::fenced::{Fences, ROW_LAYOUTS, reals};
use gaitprop_fuzz::operands::fused::{self, ACTIVATIONS, BEGINS, ENDS, RIGHTS};
use gaitprop_fuzz::{How, hold, layout, one_of, scalar, shape};
use gaitprop_kernels::{MatMut, MatRef, Real, Scratch, gemm, reference};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    how: How,
    seed: u64,
    shape: (u8, u8, u8),
    double: bool,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    /// Views of any strides at all, overlapping where they may.
    Views { strides: [(i8, i8); 3], offsets: [u16; 3], scalars: (i8, i8), odd: Vec<(u16, u8)> },
    /// A view or a packed B, each start and each epilogue.
    Fused { layouts: (u8, u8, u8), activation: u8, right: u8, begin: u8, end: u8, alpha: i8 },
}

/// Zeros, infinities, NaN, and numbers that are subnormal or large in one of the types.
const ODD: [f64; 8] = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310, -1e-42, 3e38];

fn views<T: Real>(input: &Input, strides: [(i8, i8); 3], offsets: [u16; 3], scalars: (i8, i8), odd: &[(u16, u8)]) {
    let (m, n, k) = shape(input.shape);
    let len = 1 << 13;
    let mut value = reals::<T>(input.seed);
    let [mut a, mut b, mut c] = [(); 3].map(|()| (0..len).map(|_| value()).collect::<Vec<T>>());
    for (i, &(at, which)) in odd.iter().enumerate() {
        [&mut a, &mut b, &mut c][i % 3][usize::from(at) % len] = T::from_f64(ODD[usize::from(which) % ODD.len()]);
    }
    let strides = strides.map(|(rs, cs)| (rs as isize, cs as isize));
    let [oa, ob, oc] = offsets.map(|o| usize::from(o) % len);
    let (Ok(a), Ok(b)) = (MatRef::strided(&a, oa, (m, k), strides[0]), MatRef::strided(&b, ob, (k, n), strides[1])) else {
        return;
    };
    let mut want = c.clone();
    let Ok(out) = MatMut::strided(&mut want, oc, (m, n), strides[2]) else { return };
    let (alpha, beta) = (T::from_f64(scalar(scalars.0)), T::from_f64(scalar(scalars.1)));
    reference::gemm(alpha, a, b, beta, out);
    let out = MatMut::strided(&mut c, oc, (m, n), strides[2]).expect("accepted above");
    gemm(alpha, a, b, beta, out, &input.how.plan(), &mut Scratch::new()).expect("shapes fit");
    // The whole buffer: what lies between the elements of C as well. Which NaN it is no rule fixes.
    for (i, (w, g)) in want.iter().zip(&c).enumerate() {
        let both_nan = w.to_f64().is_nan() && g.to_f64().is_nan();
        assert!(w.bits() == g.bits() || both_nan, "element {i}: want {w:e}, got {g:e}");
    }
}

fn check<T: Real>(input: &Input) {
    match &input.kind {
        Kind::Views { strides, offsets, scalars, odd } => views::<T>(input, *strides, *offsets, *scalars, odd),
        &Kind::Fused { layouts: (a, b, rows), activation, right, begin, end, alpha } => {
            let case = fused::Case {
                shape: shape(input.shape),
                a: layout(a),
                b: layout(b),
                rows: one_of(&ROW_LAYOUTS, rows),
                activation: one_of(&ACTIVATIONS, activation),
                right: one_of(&RIGHTS, right),
                begin: one_of(&BEGINS, begin),
                end: one_of(&ENDS, end),
                // An α of 0 would leave nothing to compare.
                alpha: Some(scalar(alpha)).filter(|&a| a != 0.0).unwrap_or(1.0),
                seed: input.seed,
            };
            hold(fused::check::<T, _>(Fences, &case, &[input.how.plan()]));
        }
    }
}

fuzz_target!(|input: Input| if input.double { check::<f64>(&input) } else { check::<f32>(&input) });
