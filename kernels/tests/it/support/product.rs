//! Products against the naive chain, in every bit.

use super::fenced::*;
use gaitprop_kernels::{
    Epilogue, Orientation, PackedRhs, Plan, Real, Start, gemm, gemm_scratch, gemm_with, gemm_with_scratch, reference,
};

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: (usize, usize, usize),
    /// Of A, B and C.
    pub layouts: [Layout; 3],
    pub alpha: f64,
    pub beta: f64,
    pub seed: u64,
}

/// Checks B as a view and prepacked. Where β = 0, C is NaN.
pub fn check<T: Real, M: Memory>(memory: M, case: &Case, plans: &[Plan]) -> Checked {
    let ((m, n, k), layouts) = (case.shape, case.layouts);
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let a = Fenced::new_in(memory, (m, k), layouts[0], &mut value);
    let b = Fenced::new_in(memory, (k, n), layouts[1], &mut value);
    let c = Fenced::new_in(memory, (m, n), layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    reference::gemm(alpha, a.view(), b.view(), beta, want.view_mut());
    with_plans(
        plans,
        |plan| gemm_scratch::<T>(m, n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            gemm(alpha, a.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "C")
        },
    )?;
    // Miri meets prepacked operands in `fused_bits`.
    if cfg!(miri) {
        return Ok(());
    }
    with_plans(
        plans,
        |plan| gemm_with_scratch::<T>(m, n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            let packed = PackedRhs::new(b.view(), Orientation::Plain, plan).unwrap();
            let (b, start) = (packed.plain().unwrap(), Start::C(beta));
            gemm_with(alpha, a.view(), b, start, got.view_mut(), Epilogue::Store, plan, scratch).unwrap();
            same(&want, &got, "C of a packed B")
        },
    )
}
