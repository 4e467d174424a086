//! LU and triangular solves: errors instead of silent NaN, and the condition estimate.

use crate::support::*;
use gaitprop_kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Scratch, lu};

#[test]
fn singular_and_broken_matrices_are_named() {
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let n = 40;
    let mut value = reals::<f64>(5);
    let mut a: Vec<f64> = (0..n * n).map(|_| value()).collect();
    // An empty column: whatever the pivoting, step 17 finds nothing.
    for row in a.chunks_mut(n) {
        row[17] = 0.0;
    }
    let mut pivots = vec![0; n];
    let result = lu::factor(MatMut::new(&mut a, n, n).unwrap(), &mut pivots, &plan, &mut scratch);
    assert_eq!(result, Err(Error::ZeroPivot { index: 17 }));

    let mut a: Vec<f64> = (0..n * n).map(|_| value()).collect();
    a[3 * n] = f64::INFINITY;
    let result = lu::factor(MatMut::new(&mut a, n, n).unwrap(), &mut pivots, &plan, &mut scratch);
    assert_eq!(result, Err(Error::NonFinite { index: 0 }));

    let u = [1.0, 2.0, 0.0, 0.0];
    let mut b = [1.0, 1.0];
    let u = MatRef::new(&u, 2, 2).unwrap();
    let result =
        trsm::solve(Side::Right, Triangle::Upper, Diag::Stored, 1.0, u, MatMut::new(&mut b, 1, 2).unwrap(), &plan, &mut scratch);
    assert_eq!((result, b), (Err(Error::ZeroPivot { index: 1 }), [1.0, 1.0]));

    // Pivots that no factorisation writes are refused, not followed out of bounds.
    let identity = [1.0, 0.0, 0.0, 1.0];
    for bad in [vec![0], vec![5, 1], vec![1, 0]] {
        let lu = MatRef::new(&identity, 2, 2).unwrap();
        let result = lu::solve_right(lu, &bad, MatMut::new(&mut b, 1, 2).unwrap(), &plan, &mut scratch);
        assert!(matches!(result, Err(Error::Shape { .. } | Error::Parameter { .. })), "{bad:?}: {result:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn the_condition_estimate_is_close() {
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let n = 60;
    for (seed, small) in [(1u64, 1.0), (2, 1e-3), (3, 1e-9)] {
        // Orthogonal-ish by construction is not needed: compare with the norm of the explicit
        // inverse.
        let mut value = reals::<f64>(seed);
        let mut a: Vec<f64> = (0..n * n).map(|_| value()).collect();
        for v in &mut a[..n] {
            *v *= small;
        }
        let mut pivots = vec![0; n];
        lu::factor(MatMut::new(&mut a, n, n).unwrap(), &mut pivots, &plan, &mut scratch).unwrap();
        let lu = MatRef::new(&a, n, n).unwrap();
        let mut inverse = vec![0.0; n * n];
        (0..n).for_each(|i| inverse[i * n + i] = 1.0);
        lu::solve_left(lu, &pivots, MatMut::new(&mut inverse, n, n).unwrap(), &plan, &mut scratch).unwrap();
        let exact = (0..n).map(|j| (0..n).map(|i| inverse[i * n + j].abs()).sum::<f64>()).fold(0.0, f64::max);
        let estimate = lu::inverse_norm1(lu, &pivots, &mut vec![0.0; 2 * n], &plan, &mut scratch).unwrap();
        assert!(estimate <= exact * 1.000_001 && estimate >= exact / 3.0, "{estimate:e} for {exact:e}");
    }
}
