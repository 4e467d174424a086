//! Batches of like and unlike products, anywhere in memory: the bits of a loop over the naive
//! product; never a write outside them.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop_fuzz::operands::batch::{Case, Product, SPACINGS, Spacing, check_strided, check_views};
use gaitprop_fuzz::operands::fenced::Fences;
use gaitprop_fuzz::{How, hold, layout, scalar, shape as product};
use gaitprop_kernels::Real;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    how: How,
    seed: u64,
    scalars: (i8, i8),
    double: bool,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Strided { count: u8, shape: (u8, u8, u8), layouts: [u8; 3], spacings: [u8; 3] },
    Views(Vec<((u8, u8, u8), [u8; 3])>),
}

fn check<T: Real>(input: &Input) {
    let case = Case { alpha: scalar(input.scalars.0), beta: scalar(input.scalars.1), seed: input.seed };
    let plans = [input.how.plan()];
    match &input.kind {
        Kind::Strided { count, shape, layouts, spacings } => {
            // Several large ones would take the fuzzer's time.
            let small = |byte| usize::from(byte) % 24;
            let shape = if *count < 4 { product(*shape) } else { (small(shape.0), small(shape.1), small(shape.2)) };
            let mut spacings = spacings.map(|s| if s < 64 { Spacing::Shared } else { SPACINGS[usize::from(s) % SPACINGS.len()] });
            if spacings[2] == Spacing::Shared {
                spacings[2] = Spacing::Apart;
            }
            hold(check_strided::<T, _>(Fences, &(case, usize::from(*count) % 70, shape, layouts.map(layout), spacings), &plans));
        }
        Kind::Views(products) => {
            let products = products.iter().take(12).enumerate().map(|(i, &((m, n, k), layouts))| {
                let small = |byte| usize::from(byte) % 24;
                let shape = if i == 0 { product((m, n, k)) } else { (small(m), small(n), small(k)) };
                (shape, layouts.map(layout))
            });
            hold(check_views::<T, _>(Fences, &case, &products.collect::<Vec<Product>>(), &plans));
        }
    }
}

fuzz_target!(|input: Input| if input.double { check::<f64>(&input) } else { check::<f32>(&input) });
