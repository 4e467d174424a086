//! SYRK, SYMM, GEMMT, SYR2K, triangular products and solves, products and updates by vectors, LU and
//! Cholesky, of sound matrices and of broken ones: the bits
//! and the errors of the textbook's loops, and small residuals.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop_fuzz::operands::fenced::Fences;
use gaitprop_fuzz::operands::triangular::*;
use gaitprop_fuzz::operands::vectors::*;
use gaitprop_fuzz::{How as Way, hold, layout, scalar, shape};
use gaitprop_kernels::Real;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    way: Way,
    seed: u64,
    layouts: [u8; 3],
    sizes: (u8, u8),
    scalars: (i8, i8),
    /// Side, triangle, kind of diagonal, part.
    which: [u8; 3],
    double: bool,
    operation: Operation,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Syrk,
    Symm,
    Solve,
    Gemmt,
    Syr2k,
    Trmm,
    Gemv,
    Ger,
    Dot,
    Lu(Broken),
    Cholesky(Broken),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Broken {
    No,
    ZeroColumn(u8),
    TwinRows(u8, u8),
    Element(u8, u8, u8),
}

impl Broken {
    fn flaw(self) -> Flaw {
        const VALUES: [f64; 8] = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1e30, -1e30];
        match self {
            Self::No => Flaw::None,
            Self::ZeroColumn(col) => Flaw::ZeroColumn(col.into()),
            Self::TwinRows(one, other) => Flaw::TwinRows(one.into(), other.into()),
            Self::Element(row, col, value) => Flaw::Element(row.into(), col.into(), VALUES[usize::from(value) % VALUES.len()]),
        }
    }
}

fn check<T: Real>(input: &Input) {
    let how = How { memory: Fences, layouts: input.layouts.map(layout), seed: input.seed };
    let plans = [input.way.plan()];
    let (n, m, _) = shape((input.sizes.0, input.sizes.1, input.sizes.0));
    let (alpha, beta) = (scalar(input.scalars.0), scalar(input.scalars.1));
    let [side, which, other] = input.which.map(usize::from);
    hold(match &input.operation {
        Operation::Syrk => check_syrk::<T, _>((n, m), (alpha, beta), PARTS[side % 3], DIAGONALS[which % 2], &how, &plans),
        Operation::Symm => check_symm::<T, _>((n, m), SIDES[side % 2], TRIANGLES[which % 2], (alpha, beta), &how, &plans),
        Operation::Solve => {
            check_solve::<T, _>((n, m), SIDES[side % 2], TRIANGLES[which % 2], DIAGS[other % 2], alpha, &how, &plans)
        }
        Operation::Trmm => {
            check_trmm::<T, _>((n, m), SIDES[side % 2], TRIANGLES[which % 2], DIAGS[other % 2], alpha, &how, &plans)
        }
        Operation::Gemmt => check_gemmt::<T, _>((n, m), (alpha, beta), TRIANGLES[which % 2], &how, &plans),
        Operation::Syr2k => check_syr2k::<T, _>((n, m), (alpha, beta), TRIANGLES[which % 2], &how, &plans),
        Operation::Gemv => check_gemv::<T, _>(Fences, (n, m), (alpha, beta), how.layouts, how.seed, &plans),
        Operation::Ger => check_ger::<T, _>(Fences, (n, m), alpha, how.layouts, how.seed, &plans),
        Operation::Dot => check_dot::<T, _>(Fences, n, [how.layouts[0], how.layouts[1]], how.seed, &plans),
        Operation::Lu(broken) => check_lu::<T, _>((n, m), broken.flaw(), &how, &plans),
        Operation::Cholesky(broken) => check_cholesky::<T, _>((n, m), broken.flaw(), &how, &plans),
    });
}

fuzz_target!(|input: Input| if input.double { check::<f64>(&input) } else { check::<f32>(&input) });
