//! A batch of row vectors through the inverse of a matrix, `X·A = B`, by LU; and what a singular
//! matrix says.
//!
//! `cargo run --release --example solve -p gaitprop-kernels`

use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Scalar, Scratch, gemm, lu};

const N: usize = 200;
const BATCH: usize = 60;

/// Reals in (−1, 1), the same on every machine.
fn reals(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn main() -> Result<(), Error> {
    let mut value = reals(3);
    let a: Vec<f64> = (0..N * N).map(|_| value()).collect();
    let b: Vec<f64> = (0..BATCH * N).map(|_| value()).collect();
    let (plan, mut scratch) = (Plan::new(), Scratch::new());

    // P·A = L·U, in place of a copy.
    let mut factors = a.clone();
    let mut pivots = vec![0; N];
    lu::factor(MatMut::new(&mut factors, N, N)?, &mut pivots, &plan, &mut scratch)?;
    let factors = MatRef::new(&factors, N, N)?;

    // How far the answer can be trusted.
    let norm1 = (0..N).map(|j| (0..N).map(|i| a[i * N + j].abs()).sum::<f64>()).fold(0.0, f64::max);
    let condition = norm1 * lu::inverse_norm1(factors, &pivots, &mut vec![0.0; 2 * N], &plan, &mut scratch)?;
    println!("{N}×{N}: condition number about {condition:.0}");

    let mut x = b.clone();
    lu::solve_right(factors, &pivots, MatMut::new(&mut x, BATCH, N)?, &plan, &mut scratch)?;

    // The residual X·A − B, against |X||A|.
    let mut residual = b.clone();
    let (x, a_view) = (MatRef::new(&x, BATCH, N)?, MatRef::new(&a, N, N)?);
    gemm(1.0, x, a_view, -1.0, MatMut::new(&mut residual, BATCH, N)?, &plan, &mut scratch)?;
    let largest = |v: &[f64]| v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let relative = largest(&residual) / (largest(&x.to_vec()) * norm1);
    println!("{BATCH} right-hand sides: ‖X·A − B‖ / (‖X‖·‖A‖) = {relative:.1e}");
    assert!(relative <= 100.0 * N as f64 * f64::UNIT_ROUNDOFF, "the residual is too large");

    // A singular matrix is an error that names the pivot, not a vector of NaN: row 6 is twice row
    // 2, and all is exact.
    let mut singular: Vec<f64> = (0..64).map(|i| f64::from(u8::from(i % 9 == 0))).collect();
    for j in 0..8 {
        singular[6 * 8 + j] = 2.0 * singular[2 * 8 + j];
    }
    let error = lu::factor(MatMut::new(&mut singular, 8, 8)?, &mut [0; 8], &plan, &mut scratch).unwrap_err();
    println!("refused: {error}");
    assert_eq!(error, Error::ZeroPivot { index: 6 });
    Ok(())
}
