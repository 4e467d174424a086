//! A layer's forward pass, `Y = f(X·W + b)`, in one call: W packed once, bias and activation on
//! finished rows in L1.
//!
//! `cargo run --release --example forward -p gaitprop-kernels`

use gaitprop_kernels::{
    Activation, Epilogue, Error, MatMut, MatRef, Orientation, PackedRhs, Plan, Scratch, Start, gemm_with, reference,
};
use std::time::Instant;

const BATCH: usize = 60;
const N: usize = 784;

/// Reals in (−1, 1), the same on every machine.
fn reals(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn main() -> Result<(), Error> {
    let mut value = reals(1);
    let x: Vec<f32> = (0..BATCH * N).map(|_| value()).collect();
    let w: Vec<f32> = (0..N * N).map(|_| value() / 28.0).collect();
    let bias: Vec<f32> = (0..N).map(|_| value()).collect();
    let unit = Activation::LeakyRelu { slope: 0.1 };
    let (x, w) = (MatRef::new(&x, BATCH, N)?, MatRef::new(&w, N, N)?);

    // Once: the plan, the scratch, and W in the order in which tiles read it. After an update of W:
    // `packed.repack(w, &plan)`.
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let packed = PackedRhs::new(w, Orientation::Plain, &plan)?;

    // Every step: nothing is allocated after the first.
    let mut y = vec![f32::NAN; BATCH * N];
    let mut forward = |y: &mut [f32]| -> Result<(), Error> {
        let finish = Epilogue::Activate { activation: unit, bias: &bias, slope: None };
        gemm_with(1.0, x, packed.plain()?, Start::Zero, MatMut::new(y, BATCH, N)?, finish, &plan, &mut scratch)?;
        Ok(())
    };
    forward(&mut y)?;
    let mut seconds = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        forward(&mut y)?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }

    // The naive loop, and then the activation: the same bits.
    let mut want = vec![0.0f32; BATCH * N];
    reference::gemm(1.0, x, w, 0.0, MatMut::new(&mut want, BATCH, N)?);
    for row in want.chunks_exact_mut(N) {
        for (h, b) in row.iter_mut().zip(&bias) {
            *h = unit.apply(*h + b).0;
        }
    }
    let same = want.iter().zip(&y).all(|(w, g)| w.to_bits() == g.to_bits());
    assert!(same, "the fused forward pass differs from the naive one");

    println!("{}: Y = f(X·W + b), {BATCH}×{N}×{N}", plan.kernel_name::<f32>());
    println!(
        "{:.0} µs the quickest call, {:.1} GFLOP/s, every bit that of the naive loop",
        seconds * 1e6,
        (2 * BATCH * N * N) as f64 / seconds / 1e9
    );
    Ok(())
}
