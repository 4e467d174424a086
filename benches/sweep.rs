//! Many small networks at once: the products of a training step in lockstep, layer by layer through batched products, or network by network, each on
//! one thread. `cargo bench --bench sweep [-- --help]`
#![allow(missing_docs)]

use clap::Parser;
use gaitprop::kernels::{BatchMut, BatchRef, MatMut, MatRef, Par, Plan, Scratch, gemm, gemm_batched};
use gaitprop::rng::Rng;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Steps a second of many small networks, all products and nothing else", disable_version_flag = true)]
struct Args {
    #[arg(long, default_value_t = 64)]
    width: usize,
    #[arg(long, default_value_t = 60)]
    batch: usize,
    #[arg(long, default_value_t = 5)]
    layers: usize,
    #[arg(long, value_delimiter = ',', default_value = "2,8,32,128")]
    networks: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of a sample
    #[arg(long, default_value_t = 150)]
    sample: u64,
    /// Runs everything once, small, and measures nothing
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of `count` networks, layer by layer and in each network by network: weights, activities (the input first), errors and gradients.
struct Nets {
    count: usize,
    width: usize,
    batch: usize,
    w: Vec<Vec<f32>>,
    y: Vec<Vec<f32>>,
    e: Vec<Vec<f32>>,
    g: Vec<Vec<f32>>,
}

impl Nets {
    /// Networks `from .. from + count`: the same wherever they are.
    fn new(args: &Args, from: usize, count: usize) -> Self {
        let (n, b) = (args.width, args.batch);
        let draw = |what: usize, len: usize, scale: f64| -> Vec<f32> {
            let of = |s: usize| {
                let mut rng = Rng::new((what * 100_000 + s) as u64, 0);
                (0..len).map(move |_| (scale * rng.normal()) as f32)
            };
            (from..from + count).flat_map(of).collect()
        };
        // Activities neither grow nor vanish from layer to layer.
        let scale = (n as f64).sqrt().recip();
        let mut y = vec![draw(0, b * n, 1.0)];
        y.extend((0..args.layers).map(|_| vec![0.0; count * b * n]));
        let mut e: Vec<_> = (0..args.layers).map(|_| vec![0.0; count * b * n]).collect();
        e[args.layers - 1] = draw(1, b * n, 1.0);
        let w = (0..args.layers).map(|l| draw(2 + l, n * n, scale)).collect();
        let g = (0..args.layers).map(|_| vec![0.0; count * n * n]).collect();
        Self { count, width: n, batch: b, w, y, e, g }
    }

    /// Forward, down and all weight gradients, in lockstep.
    fn together(&mut self, plan: &Plan, scratch: &mut Scratch) {
        let (s, n, b) = (self.count, self.width, self.batch);
        let fits = "the sizes are those of `new`";
        for l in 0..self.w.len() {
            let (below, above) = self.y.split_at_mut(l + 1);
            let (x, w) = (BatchRef::new(&below[l], s, b, n).expect(fits), BatchRef::new(&self.w[l], s, n, n).expect(fits));
            gemm_batched(1.0, x, w, 0.0, BatchMut::new(&mut above[0], s, b, n).expect(fits), plan, scratch).expect(fits);
        }
        for l in (0..self.w.len()).rev() {
            let (below, above) = self.e.split_at_mut(l);
            let (x, e) = (BatchRef::new(&self.y[l], s, b, n).expect(fits), BatchRef::new(&above[0], s, b, n).expect(fits));
            if let Some(below) = below.last_mut() {
                let w = BatchRef::new(&self.w[l], s, n, n).expect(fits);
                gemm_batched(1.0, e, w.t(), 0.0, BatchMut::new(below, s, b, n).expect(fits), plan, scratch).expect(fits);
            }
            gemm_batched(1.0, x.t(), e, 0.0, BatchMut::new(&mut self.g[l], s, n, n).expect(fits), plan, scratch).expect(fits);
        }
    }

    /// The same for a single network.
    fn alone(&mut self, plan: &Plan, scratch: &mut Scratch) {
        let (n, b) = (self.width, self.batch);
        let fits = "the sizes are those of `new`";
        for l in 0..self.w.len() {
            let (below, above) = self.y.split_at_mut(l + 1);
            let (x, w) = (MatRef::new(&below[l], b, n).expect(fits), MatRef::new(&self.w[l], n, n).expect(fits));
            gemm(1.0, x, w, 0.0, MatMut::new(&mut above[0], b, n).expect(fits), plan, scratch).expect(fits);
        }
        for l in (0..self.w.len()).rev() {
            let (below, above) = self.e.split_at_mut(l);
            let (x, e) = (MatRef::new(&self.y[l], b, n).expect(fits), MatRef::new(&above[0], b, n).expect(fits));
            if let Some(below) = below.last_mut() {
                let w = MatRef::new(&self.w[l], n, n).expect(fits);
                gemm(1.0, e, w.t(), 0.0, MatMut::new(below, b, n).expect(fits), plan, scratch).expect(fits);
            }
            gemm(1.0, x.t(), e, 0.0, MatMut::new(&mut self.g[l], n, n).expect(fits), plan, scratch).expect(fits);
        }
    }
}

/// Steps a second of all networks together, each taking `steps`.
fn apart(nets: &mut [Nets], threads: usize, steps: usize) -> f64 {
    let clock = Instant::now();
    let share = nets.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for part in nets.chunks_mut(share) {
            scope.spawn(|| {
                let (plan, mut scratch) = (Plan::new(), Scratch::new());
                // One network at a time, as runs are.
                part.iter_mut().for_each(|net| (0..steps).for_each(|_| net.alone(&plan, &mut scratch)));
            });
        }
    });
    (nets.len() * steps) as f64 / clock.elapsed().as_secs_f64()
}

fn together(nets: &mut Nets, par: &Par, steps: usize) -> f64 {
    let plan = Plan::new().with_par(par.clone());
    let mut scratch = Scratch::new();
    let clock = Instant::now();
    (0..steps).for_each(|_| nets.together(&plan, &mut scratch));
    (nets.count * steps) as f64 / clock.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut args = Args::parse();
    if args.test || !args.bench {
        (args.networks, args.rounds, args.sample) = (vec![3], 1, 0);
    }
    println!(
        "width {}, batch {}, {} layers; thousand steps a second of all networks, median of {}",
        args.width, args.batch, args.layers, args.rounds
    );
    println!("networks   threads   in lockstep   one by one   lockstep / one by one");
    for &count in &args.networks {
        for &threads in &args.threads {
            let par = if threads > 1 { Par::team(threads).expect("threads start") } else { Par::Seq };
            let mut all = Nets::new(&args, 0, count);
            let mut each: Vec<_> = (0..count).map(|s| Nets::new(&args, s, 1)).collect();
            let speed = apart(&mut each, threads, 1).min(together(&mut all, &par, 1));
            for (s, one) in each.iter().enumerate() {
                let len = one.g[0].len();
                let same = one.g.iter().zip(&all.g).all(|(one, all)| one[..] == all[s * len..][..len]);
                assert!(same && one.g[0].iter().any(|&x| x != 0.0), "network {s} has other gradients in lockstep");
            }
            let sample = Duration::from_millis(args.sample).as_secs_f64();
            let steps = (sample * speed / count as f64).ceil().max(1.0) as usize;
            let (mut lockstep, mut one_by_one) = (Vec::new(), Vec::new());
            for _ in 0..args.rounds {
                lockstep.push(together(&mut all, &par, steps));
                one_by_one.push(apart(&mut each, threads, steps));
            }
            let (l, o) = (median(&mut lockstep) / 1e3, median(&mut one_by_one) / 1e3);
            println!("{count:>8}   {threads:>7}   {l:>11.2}   {o:>10.2}   {:>21.2}", l / o);
        }
    }
}
