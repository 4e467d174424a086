//! Many tiny products in one call: strided, with a shared operand, and of mixed shapes.
//!
//! `cargo run --release --example tiny_batches -p gaitprop-kernels`

use gaitprop_kernels::{
    BatchMut, BatchRef, Error, MatMut, MatRef, Par, Plan, Scratch, gemm, gemm_batched, gemm_batched_views, reference,
};
use std::time::Instant;

fn values(len: usize, step: usize) -> Vec<f32> {
    (0..len).map(|i| (i * step % 251) as f32 / 251.0 - 0.5).collect()
}

fn same(want: &[f32], got: &[f32]) -> bool {
    want.iter().zip(got).all(|(w, g)| w.to_bits() == g.to_bits())
}

fn main() -> Result<(), Error> {
    let (count, m, n, k) = (2000, 8, 8, 8);
    let (a, b) = (values(count * m * k, 37), values(count * k * n, 53));
    let team = Par::team(2)?;
    let plan = Plan::new().with_par(team.clone());
    let mut scratch = Scratch::new();

    // Like products at equal distances.
    let (a_all, b_all) = (BatchRef::new(&a, count, m, k)?, BatchRef::new(&b, count, k, n)?);
    let mut c = vec![f32::NAN; count * m * n];
    gemm_batched(1.0, a_all, b_all, 0.0, BatchMut::new(&mut c, count, m, n)?, &plan, &mut scratch)?;
    let start = Instant::now();
    gemm_batched(1.0, a_all, b_all, 0.0, BatchMut::new(&mut c, count, m, n)?, &plan, &mut scratch)?;
    let batched = start.elapsed();

    // A loop over single products: the same bits.
    let mut alone = vec![f32::NAN; count * m * n];
    let single = plan.clone().with_par(Par::Seq);
    let start = Instant::now();
    for (p, c) in alone.chunks_exact_mut(m * n).enumerate() {
        gemm(1.0, a_all.get(p), b_all.get(p), 0.0, MatMut::new(c, m, n)?, &single, &mut scratch)?;
    }
    println!("{count} products of {m}×{n}×{k}: batched {batched:?}, one by one {:?}", start.elapsed());
    let mut want = vec![0.0; count * m * n];
    for (p, c) in want.chunks_exact_mut(m * n).enumerate() {
        reference::gemm(1.0, a_all.get(p), b_all.get(p), 0.0, MatMut::new(c, m, n)?);
    }
    assert!(same(&want, &c) && same(&want, &alone));

    // One B for all.
    let shared = BatchRef::repeat(b_all.get(0), count);
    gemm_batched(1.0, a_all, shared, 0.0, BatchMut::new(&mut c, count, m, n)?, &plan, &mut scratch)?;
    reference::gemm(1.0, a_all.get(7), b_all.get(0), 0.0, MatMut::new(&mut want[..m * n], m, n)?);
    assert!(same(&want[..m * n], &c[7 * m * n..8 * m * n]));
    println!("one B for all {count}: its {} elements are read again and again from the nearest cache", k * n);

    // Any shapes: views.
    let shapes = [(1, 5, 3), (8, 8, 8), (13, 2, 40), (0, 4, 4)];
    let operands: Vec<_> = shapes
        .iter()
        .map(|&(m, n, k)| Ok((MatRef::new(&a[..m * k], m, k)?, MatRef::new(&b[..k * n], k, n)?)))
        .collect::<Result<_, Error>>()?;
    let mut results: Vec<Vec<f32>> = shapes.iter().map(|&(m, n, _)| vec![f32::NAN; m * n]).collect();
    let mut views: Vec<_> =
        results.iter_mut().zip(shapes).map(|(c, (m, n, _))| MatMut::new(c, m, n)).collect::<Result<_, Error>>()?;
    gemm_batched_views(1.0, &operands, 0.0, &mut views, &plan, &mut scratch)?;
    for ((got, (m, n, _)), (a, b)) in results.iter().zip(shapes).zip(&operands) {
        let mut want = vec![0.0; m * n];
        reference::gemm(1.0, *a, *b, 0.0, MatMut::new(&mut want, m, n)?);
        assert!(same(&want, got));
    }
    println!("mixed shapes {shapes:?}: every bit that of the loop");

    // A batch whose results would overlap is refused before anything is computed.
    let error = BatchMut::strided(&mut c, 0, (3, 4), (2, 4), (4, 1)).unwrap_err();
    println!("refused: {error}");
    Ok(())
}
