//! A weight gradient that is never written: `Δ = mean(Xᵀ·(D ∘ E))` goes, block by block, into an
//! Adam step.
//!
//! `cargo run --release --example weight_update -p gaitprop-kernels`

use gaitprop_kernels::epilogue::{AdamStep, adam};
use gaitprop_kernels::{
    Activation, Epilogue, Error, MatMut, MatRef, Plan, Scratch, Start, Update, gemm, gemm_with, gemm_with_scratch, perturb,
};

const BATCH: usize = 60;
const N_IN: usize = 300;
const N_OUT: usize = 200;
const STEPS: usize = 5;

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

/// Parameters and their moments.
#[derive(Clone, PartialEq)]
struct Weights {
    theta: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

fn main() -> Result<(), Error> {
    let mut value = reals(2);
    let x: Vec<f32> = (0..BATCH * N_IN).map(|_| value()).collect();
    let y: Vec<f32> = (0..BATCH * N_OUT).map(|_| value()).collect();
    let e: Vec<f32> = (0..BATCH * N_OUT).map(|_| value() / 10.0).collect();
    let (x, y, e) = (MatRef::new(&x, BATCH, N_IN)?, MatRef::new(&y, BATCH, N_OUT)?, MatRef::new(&e, BATCH, N_OUT)?);
    let activation = Activation::LeakyRelu { slope: 0.1 };
    let step = AdamStep { rate: 1e-2, beta1: (0.9, 0.1), beta2: (0.99, 0.01), epsilon: 1e-8, correction: 1.0 };
    let mean = 1.0 / BATCH as f32;

    let theta: Vec<f32> = (0..N_IN * N_OUT).map(|_| value() / 20.0).collect();
    let zeros = vec![0.0; theta.len()];
    let mut fused = Weights { theta, m: zeros.clone(), v: zeros.clone() };
    let mut apart = fused.clone();

    let plan = Plan::new();
    let mut scratch = Scratch::new();
    scratch.reserve(gemm_with_scratch::<f32>(N_IN, N_OUT, BATCH, &plan))?;

    for number in 1..=STEPS {
        let mut delta = vec![0.0; BATCH * N_OUT];
        perturb::activation_grad(activation, y, None, e, MatMut::new(&mut delta, BATCH, N_OUT)?, plan.isa)?;
        let delta = MatRef::new(&delta, BATCH, N_OUT)?;

        // One call: the gradient Xᵀ·δ is stored nowhere, and θ, m and v are read and written once.
        let Weights { theta, m, v } = &mut fused;
        let rule = Update::Adam { step, m: MatMut::new(m, N_IN, N_OUT)?, v: MatMut::new(v, N_IN, N_OUT)? };
        let epilogue = Epilogue::Update(rule);
        let c = MatMut::new(theta, N_IN, N_OUT)?;
        let finite = gemm_with(mean, x.t(), delta, Start::Zero, c, epilogue, &plan, &mut scratch)?;
        assert!(finite, "a parameter left the finite numbers in step {number}");

        // The same in two, with the gradient in memory.
        let mut gradient = vec![0.0; N_IN * N_OUT];
        gemm(mean, x.t(), delta, 0.0, MatMut::new(&mut gradient, N_IN, N_OUT)?, &plan, &mut scratch)?;
        adam(step, &mut apart.theta, &mut apart.m, &mut apart.v, &gradient, plan.isa)?;

        assert!(fused == apart, "step {number}: fused and unfused differ");
        let theta = MatRef::new(&fused.theta, N_IN * N_OUT, 1)?;
        let norm = gaitprop_kernels::reduce::dot(theta, theta, &plan)?.sqrt();
        println!("step {number}: ‖θ‖ = {norm:.6}, fused = unfused");
    }
    println!("{N_IN}×{N_OUT} weights, batch {BATCH}: gradient, slope and Adam in one product on {}", plan.isa);
    Ok(())
}
