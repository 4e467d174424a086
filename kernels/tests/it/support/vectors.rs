//! Matrix-vector products, rank-1 updates and dot products against their naive twins, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::gemv::{gemv, gemv_scratch};
use gaitprop_kernels::ger::{ger, ger_scratch};
use gaitprop_kernels::reduce::dot;
use gaitprop_kernels::{Plan, Real, reference};

/// `layouts` are those of A, x and y.
pub fn check_gemv<T: Real, M: Memory>(
    memory: M,
    (m, n): (usize, usize),
    (alpha, beta): (f64, f64),
    layouts: [Layout; 3],
    seed: u64,
    plans: &[Plan],
) -> Checked {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let a = Fenced::new_in(memory, (m, n), layouts[0], reals::<T>(seed));
    let x = Fenced::new_in(memory, (n, 1), layouts[1], reals::<T>(seed ^ 1));
    let mut value = reals::<T>(seed ^ 2);
    let y = Fenced::new_in(memory, (m, 1), layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = y.clone();
    reference::gemm(alpha, a.view(), x.view(), beta, want.view_mut());
    with_plans(
        plans,
        |plan| gemv_scratch::<T>(m, n, plan),
        |plan, scratch| {
            let mut got = y.clone();
            gemv(alpha, a.view(), x.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "y")
        },
    )
}

/// `layouts` are those of A, x and y.
pub fn check_ger<T: Real, M: Memory>(
    memory: M,
    (m, n): (usize, usize),
    alpha: f64,
    layouts: [Layout; 3],
    seed: u64,
    plans: &[Plan],
) -> Checked {
    let alpha = T::from_f64(alpha);
    let a = Fenced::new_in(memory, (m, n), layouts[0], reals::<T>(seed));
    let x = Fenced::new_in(memory, (m, 1), layouts[1], reals::<T>(seed ^ 1));
    let y = Fenced::new_in(memory, (n, 1), layouts[2], reals::<T>(seed ^ 2));
    let mut want = a.clone();
    reference::gemm(alpha, x.view(), y.view().t(), T::ONE, want.view_mut());
    with_plans(
        plans,
        |plan| ger_scratch::<T>(m, n, plan),
        |plan, scratch| {
            let mut got = a.clone();
            ger(alpha, x.view(), y.view(), got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "A")
        },
    )
}

/// `layouts` are those of x and y.
pub fn check_dot<T: Real, M: Memory>(memory: M, len: usize, layouts: [Layout; 2], seed: u64, plans: &[Plan]) -> Checked {
    let x = Fenced::new_in(memory, (len, 1), layouts[0], reals::<T>(seed));
    let y = Fenced::new_in(memory, (len, 1), layouts[1], reals::<T>(seed ^ 1));
    let want = reference::dot(x.view(), y.view());
    for plan in plans {
        let got = dot(x.view(), y.view(), plan).unwrap();
        ensure!(got.to_bits() == want.to_bits(), "{} {:?}: want {want:e}, got {got:e}", plan.isa, plan.par);
    }
    Ok(())
}
