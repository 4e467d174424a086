//! One product of awkward size: n = 5018, where another library of Rust once gave wrong elements
//! (sarah-quinones/faer-rs#273).

use gaitprop_blas::gaitprop_blas_set_num_threads;
use gaitprop_blas::names::lp64::d::gemm;

const N: usize = 5018;

/// A number from −0.5 to 0.5 for each position, without a table.
fn element(i: usize, j: usize, seed: u64) -> f64 {
    let mut x = (i * N + j) as u64 ^ seed << 40;
    for multiplier in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        x = (x ^ (x >> 31)).wrapping_mul(multiplier);
    }
    (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// Elements of rows and columns all over C, the last ones among them, are the chains of fused
/// multiply-adds that the twin computes. The product of C and a vector, which every element
/// enters, is that of A and B and the vector.
#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimization")]
fn n_5018_is_right() {
    let matrix = |seed| -> Vec<f64> { (0..N * N).map(|at| element(at % N, at / N, seed)).collect() };
    let (a, b) = (matrix(1), matrix(2));
    let mut c = vec![f64::NAN; N * N];
    gaitprop_blas_set_num_threads(2);
    let n = N as i32;
    // SAFETY: all three are column-major N × N matrices, and C overlaps neither A nor B.
    unsafe {
        gemm(b"N".as_ptr(), b"N".as_ptr(), &n, &n, &n, &1.0, a.as_ptr(), &n, b.as_ptr(), &n, &0.0, c.as_mut_ptr(), &n);
    }
    for i in (0..N).step_by(333).chain([N - 1]) {
        for j in (0..N).step_by(257).chain([N - 2, N - 1]) {
            let chain = (0..N).fold(0.0, |sum, k| a[i + k * N].mul_add(b[k + j * N], sum));
            assert_eq!(c[i + j * N].to_bits(), chain.to_bits(), "element ({i}, {j})");
        }
    }
    let times = |matrix: &[f64], x: &[f64]| {
        let mut y = vec![0.0; N];
        for (column, x) in matrix.chunks_exact(N).zip(x) {
            y.iter_mut().zip(column).for_each(|(y, v)| *y += v * x);
        }
        y
    };
    let x: Vec<f64> = (0..N).map(|j| element(j, 0, 3)).collect();
    let (got, want) = (times(&c, &x), times(&a, &times(&b, &x)));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        // Rounding errors reach 1e-10 here; one wrong element of C would show as some 0.1.
        assert!((got - want).abs() < 1e-8, "row {i}: {got:e}, not {want:e}");
    }
}
