//! The exact regulariser by symmetry beside two plain products, and the block regulariser beside both, interleaved in one process.
//! `cargo bench --bench ortho`
#![allow(missing_docs)]

use gaitprop::kernels::{Activation, MatMut, MatRef, Par, Plan, Scratch, gemm};
use gaitprop::ortho::{Block, Blocks, Penalty, Regularizer, Side};
use gaitprop::rng::Rng;
use gaitprop::{Exec, Layer, Matrix, Network};
use std::hint::black_box;
use std::time::Instant;

/// The gradient as it stands on paper.
fn by_two_products(
    r: Regularizer,
    w: MatRef<'_, f32>,
    delta: MatMut<'_, f32>,
    mut gram: MatMut<'_, f32>,
    plan: &Plan,
    scratch: &mut Scratch,
) {
    let (w, delta) = if r.side == Side::Columns { (w.t(), delta.t()) } else { (w, delta) };
    gemm(1.0, w, w.t(), 0.0, gram.rb(), plan, scratch).expect("fits");
    for i in 0..gram.nrows() {
        let diagonal = if r.form == Penalty::OffDiagonal { 0.0 } else { gram.get(i, i) - 1.0 };
        gram.set(i, i, diagonal);
    }
    gemm((-4.0 * r.lambda) as f32, gram.as_ref(), w, 1.0, delta, plan, scratch).expect("fits");
}

fn median(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (1e3 * times[times.len() / 2], 1e3 * times[0])
}

fn main() {
    // `cargo test` runs benches too: once is enough to see that they work.
    let bench = std::env::args().any(|a| a == "--bench");
    let team = Par::team(2).expect("two threads");
    println!("median and least ms of a layer, f32, {}", Plan::new().isa);
    println!("width side    threads |  two products    |   by symmetry    | of it |  block of 64     | of by symmetry");
    for width in if bench { vec![256, 500, 784, 1024] } else { vec![40] } {
        let mut rng = Rng::new(1, 0);
        let mut random = |scale: f64| -> Vec<f32> { (0..width * width).map(|_| (scale * rng.normal()) as f32).collect() };
        let w = Matrix::from_vec(width, width, random((width as f64).powf(-0.5))).expect("sized");
        let start = random(1.0);
        for side in [Side::Rows, Side::Columns] {
            for par in [Par::Seq, team.clone()] {
                let plan = Plan::new().with_par(par.clone());
                let ortho = Regularizer { side, ..Regularizer::new(0.1).expect("in range") };
                let (mut scratch, mut exec) = (Scratch::new(), Exec::new(plan.clone()));
                let mut gram = Matrix::zeros(width, width);
                let [mut old, mut new] = [(); 2].map(|()| Matrix::from_vec(width, width, start.clone()).expect("sized"));
                let block = Block { side, ..Block::new(1.0).expect("in range") };
                let layer = Layer { w: w.clone(), b: vec![0.0; width], activation: Activation::Identity };
                let mut net = Network::new(width, vec![layer], 1).expect("fits");
                let mut blocks = Blocks::new(block, &net).expect("in range");
                let mut times = [vec![], vec![], vec![]];
                let rounds = if bench { 31 } else { 1 };
                for _ in 0..rounds {
                    let begin = Instant::now();
                    by_two_products(ortho, w.view(), old.view_mut(), gram.view_mut(), &plan, &mut scratch);
                    times[0].push(begin.elapsed().as_secs_f64());
                    let begin = Instant::now();
                    ortho.descend(w.view(), 1.0, new.view_mut(), gram.view_mut(), &mut exec).expect("fits");
                    times[1].push(begin.elapsed().as_secs_f64());
                    // The result is checked where it is timed.
                    assert!(old == new, "the bits differ");
                    let begin = Instant::now();
                    blocks.step(&mut net, &mut exec).expect("finite");
                    times[2].push(begin.elapsed().as_secs_f64());
                    black_box(&new);
                }
                let [(a, least_a), (b, least_b), (c, least_c)] = times.map(|mut t| median(&mut t));
                println!(
                    "{width:5} {side:7} {:7} | {a:7.2} {least_a:7.2}  | {b:7.2} {least_b:7.2}  | {:5.2} | {c:7.2} {least_c:7.2}  | {:5.2}",
                    par.threads(),
                    b / a,
                    c / b
                );
            }
        }
    }
}
