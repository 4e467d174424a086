//! Times products of square matrices by the kernels alone, for comparison with the same products
//! through a BLAS call or NumPy: `kernel_time THREADS SIZE...`. Writes one line for each size and
//! precision: name, size, microseconds a product.

use gaitprop_kernels::{MatMut, MatRef, Par, Plan, Real, Scratch, gemm};
use std::time::Instant;

/// Returns the median time of a product, in microseconds.
fn time<T: Real>(n: usize, plan: &Plan) -> f64 {
    let values =
        |seed: usize| -> Vec<T> { (0..n * n).map(|i| T::from_f64(((i * 37 + seed) % 101) as f64 / 50.0 - 1.0)).collect() };
    let (a, b, mut c) = (values(1), values(2), vec![T::ZERO; n * n]);
    let mut scratch = Scratch::new();
    let mut product = |count: usize| {
        let start = Instant::now();
        for _ in 0..count {
            let (a, b) = (MatRef::new(&a, n, n).expect("n × n"), MatRef::new(&b, n, n).expect("n × n"));
            let c = MatMut::new(&mut c, n, n).expect("n × n");
            gemm(T::ONE, a, b, T::ZERO, c, plan, &mut scratch).expect("shapes fit");
        }
        start.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    // Samples of about 10 ms. They are few, since the programs run in turn many times.
    product(1);
    let first = (1e3 / product(1).max(1e-3)).clamp(1.0, 1e4) as usize;
    let count = (1e4 / product(first).max(1e-3)).clamp(1.0, 1e6) as usize;
    let mut times: Vec<f64> = (0..7).map(|_| product(count)).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let threads = arguments.next().ok_or("kernel_time THREADS SIZE...")??;
    let plan = Plan::new().with_par(if threads > 1 { Par::team(threads)? } else { Par::Seq });
    for n in arguments {
        let n = n?;
        println!("float32 {n} {:.3}", time::<f32>(n, &plan));
        println!("float64 {n} {:.3}", time::<f64>(n, &plan));
    }
    Ok(())
}
