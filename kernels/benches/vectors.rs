//! GEMV and GER beside the bandwidth that bounds them: reading A once, and reading and writing it
//! once, in turn in the same rounds. `cargo bench -p gaitprop-kernels --bench vectors [-- ROUNDS]`
#![allow(missing_docs)]

use gaitprop_kernels::gemv::gemv;
use gaitprop_kernels::ger::ger;
use gaitprop_kernels::{MatMut, MatRef, Par, Plan, Real, Scratch};
use std::hint::black_box;
use std::time::Instant;

/// What is timed, in gigabytes of A read, or read and written, a second.
const NAMES: [&str; 5] = ["read", "GEMV rows", "GEMV columns", "read, write", "GER"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` runs benches too: one small size shows that they work.
    let timed = args.iter().any(|a| a == "--bench");
    let sizes: &[usize] = if timed { &[784, 4096] } else { &[40] };
    let rounds = args.iter().find_map(|a| a.parse().ok()).unwrap_or(if timed { 21 } else { 1 });
    println!(
        "GB/s, medians of {rounds} rounds; in brackets the median of the ratios to reading, or to reading and writing, of the same round"
    );
    for threads in [1, 2] {
        let plan = Plan::new().with_par(if threads == 1 { Par::Seq } else { Par::team(threads).expect("two threads") });
        for &n in sizes {
            table::<f32>(n, rounds, &plan);
            table::<f64>(n, rounds, &plan);
        }
    }
}

fn table<T: Real + std::ops::AddAssign>(n: usize, rounds: usize, plan: &Plan) {
    // Numbers from −1 to 1, by Weyl's sequence.
    let numbers =
        |len: usize| -> Vec<T> { (1..=len).map(|i| T::from_f64((i as f64 * 0.618_033_988_75).fract() * 2.0 - 1.0)).collect() };
    let (mut a, x, mut y) = (numbers(n * n), numbers(n), numbers(n));
    let (threads, mut scratch) = (plan.par.threads(), Scratch::new());
    let column = |v| MatRef::new(v, n, 1).expect("sized");
    let mut rates = NAMES.map(|_| Vec::new());
    for round in 0..rounds {
        for i in 0..NAMES.len() {
            // The order moves on with each round.
            let what = (i + round) % NAMES.len();
            let bytes = (n * n * size_of::<T>() * if what < 3 { 1 } else { 2 }) as f64;
            let mut run = |calls: usize| {
                let each = |part: &mut [T], once: fn(&mut [T])| (0..calls).for_each(|_| once(black_box(&mut *part)));
                let start = Instant::now();
                match what {
                    0 => shares(&mut a, threads, |part| each(part, |part| _ = black_box(sum(part)))),
                    3 => shares(&mut a, threads, |part| each(part, |part| part.iter_mut().for_each(|v| *v += T::ONE))),
                    _ => (0..calls).for_each(|_| {
                        let y = MatMut::new(&mut y, n, 1).expect("sized");
                        if what == 4 {
                            let a = MatMut::new(&mut a, n, n).expect("sized");
                            // α keeps A from growing over the rounds.
                            return ger(T::from_f64(1e-6), column(&x), y.as_ref(), a, plan, &mut scratch).expect("fits");
                        }
                        let a = MatRef::new(&a, n, n).expect("sized");
                        let a = if what == 1 { a } else { a.t() };
                        gemv(T::ONE, a, column(&x), T::ZERO, y, plan, &mut scratch).expect("fits");
                    }),
                }
                start.elapsed().as_secs_f64()
            };
            run(1);
            let calls = (0.01 / run(1)).clamp(3.0, 1e4) as usize;
            let seconds = run(calls);
            rates[what].push(bytes * calls as f64 / seconds / 1e9);
        }
    }
    print!("{} {n:>4}, {threads} threads:", T::NAME);
    for (what, name) in NAMES.iter().enumerate() {
        print!("  {name} {:.1}", median(rates[what].clone()));
        let bound = if what < 3 { 0 } else { 3 };
        if what != bound {
            let ratios = rates[what].iter().zip(&rates[bound]).map(|(rate, bound)| rate / bound);
            print!(" ({:.2})", median(ratios.collect()));
        }
    }
    println!();
}

/// Each thread's share of A.
fn shares<T: Send>(a: &mut [T], threads: usize, work: impl Fn(&mut [T]) + Sync) {
    if threads == 1 {
        return work(a);
    }
    let (most, work) = (a.len().div_ceil(threads), &work);
    std::thread::scope(|scope| a.chunks_mut(most).for_each(|part| _ = scope.spawn(move || work(part))));
}

/// A sum in 64 chains, which keeps as many loads in flight as a core can.
fn sum<T: Real + std::ops::AddAssign>(a: &[T]) -> T {
    let mut sums = [T::ZERO; 64];
    for part in a.chunks_exact(64) {
        sums.iter_mut().zip(part).for_each(|(sum, &v)| *sum += v);
    }
    sums.into_iter().fold(T::ZERO, |sum, v| sum + v)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
