//! Cost of decorrelation: a BP step with and without, and the products that it adds alone, in turn.
//! `cargo bench --bench decorrelation [-- --threads 2]`
#![allow(missing_docs)]

use clap::Parser;
use gaitprop::init::Init;
use gaitprop::kernels::{MatMut, MatRef, Par, Plan};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use gaitprop::ortho::Regularizer;
use gaitprop::rng::Rng;
use gaitprop::rule::Backprop;
use gaitprop::solve::Lu;
use gaitprop::step::{Decorrelation, Recipe, Step};
use gaitprop::{Architecture, Exec, Matrix, Network};
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Milliseconds of a BP step, plain and decorrelated", disable_version_flag = true)]
struct Args {
    #[arg(long, default_value_t = 60)]
    batch: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Runs everything once, small, and measures nothing
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

/// BP on one network, with or without decorrelations.
struct Training {
    net: Network<f32>,
    step: Step<f32>,
    optimizer: Optimizer<f32>,
    exec: Exec,
}

impl Training {
    fn new(shape: &Architecture, decorrelated: bool, batch: usize, plan: &Plan) -> Self {
        let net = Network::random(shape, Init::Orthogonal, 1, plan).expect("fits");
        let net = if decorrelated { net.with_decorrelation() } else { net };
        let config = OptimizerConfig::new(OptimizerKind::PublishedAdam, 1e-4).expect("in range");
        Self { step: Step::new(&net, batch), optimizer: Optimizer::new(config, &net), exec: Exec::new(plan.clone()), net }
    }

    fn train(&mut self, x: MatRef<'_, f32>, target: MatRef<'_, f32>) {
        let Self { net, step, optimizer, exec } = self;
        let mut lu = Lu::new();
        let (loss, regularizer) = (Loss::Squared, Regularizer::NONE);
        let mut recipe = Recipe { rule: &mut Backprop, solver: &mut lu, loss, regularizer, exec };
        step.update(net, x, target, &mut recipe, optimizer).expect("trains");
        step.decorrelate(net, Decorrelation::new(1e-4).expect("in range"), exec).expect("learns");
    }
}

/// The products that decorrelation adds to a step: z = y R of every layer, e Rᵀ of every layer but
/// the first, and the two of the update of R.
fn products(shape: &Architecture, batch: usize, buffers: &mut [[Matrix<f32>; 3]], exec: &mut Exec) {
    let samples = (Decorrelation::SHARE * batch as f64).ceil() as usize;
    for ((l, &(n, _)), [r, y, z]) in shape.layers.iter().enumerate().zip(buffers) {
        let y_view = y.top_left(batch, n);
        exec.gemm(1.0, y_view, r.top_left(n, n), 0.0, z.top_left_mut(batch, n)).expect("fits");
        if l > 0 {
            exec.gemm(1.0, y_view, r.top_left(n, n).t(), 0.0, z.top_left_mut(batch, n)).expect("fits");
        }
        let few = y_view.rows(0, samples);
        let along: MatMut<'_, f32> = z.view_mut().block(0, 0, samples, n);
        exec.gemm(1.0, r.top_left(n, n), few.t(), 0.0, along.t()).expect("fits");
        exec.gemm(-1e-9, z.top_left(samples, n).t(), few, 1.0, r.top_left_mut(n, n)).expect("fits");
    }
}

fn median(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    let at = |share: f64| of[((of.len() - 1) as f64 * share).round() as usize];
    (at(0.5), at(0.25), at(0.75))
}

fn main() {
    let args = Args::parse();
    let (n, rounds, steps) = if args.test { (16, 1, 1) } else { (784, args.rounds, 8) };
    let par = if args.threads == 1 { Par::Seq } else { Par::team(args.threads).expect("starts") };
    let plan = Plan::new().with_par(par);
    let tower = if args.test { [16, 16, 14, 12, 10] } else { [784, 784, 500, 200, 10] };
    let shapes =
        [("square", Architecture::square(n, n, 4, 10).expect("fits")), ("tower", Architecture::tower(&tower, 10).expect("fits"))];
    let mut rng = Rng::new(7, 0);
    let mut normal =
        |rows, cols| Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| 0.05 * rng.normal() as f32).collect()).expect("fits");
    let (x, mut target) = (normal(args.batch, n), Matrix::zeros(args.batch, 10));
    (0..args.batch).for_each(|i| target.data_mut()[10 * i + i % 10] = 1.0);
    // As many as there are layers: what one product reads is not what the one before has left in cache.
    let mut buffers: Vec<_> = (0..5).map(|_| [normal(n, n), normal(args.batch, n), normal(args.batch, n)]).collect();
    println!("batch {}, {} threads, {} rounds; milliseconds (quartiles)", args.batch, args.threads, rounds);
    for (name, shape) in shapes {
        let mut plain = Training::new(&shape, false, args.batch, &plan);
        let mut decorrelated = Training::new(&shape, true, args.batch, &plan);
        let mut exec = Exec::new(plan.clone());
        let mut times = [const { Vec::new() }; 3];
        // The first round warms caches and allocates.
        for round in 0..=rounds {
            let mut timed = |which: usize, work: &mut dyn FnMut()| {
                let start = Instant::now();
                (0..steps).for_each(|_| work());
                if round > 0 {
                    times[which].push(1e3 * start.elapsed().as_secs_f64() / f64::from(steps));
                }
            };
            timed(0, &mut || plain.train(x.view(), target.view()));
            timed(1, &mut || decorrelated.train(x.view(), target.view()));
            timed(2, &mut || products(&shape, args.batch, &mut buffers, &mut exec));
        }
        let [plain, decorrelated, products] = times.map(median);
        let shown = |(mid, low, high): (f64, f64, f64)| format!("{mid:.3} ({low:.3} to {high:.3})");
        let added = decorrelated.0 - plain.0;
        println!("{name}: plain {}, decorrelated {}, products alone {}", shown(plain), shown(decorrelated), shown(products));
        println!("{name}: adds {:.0} % of a plain step, {:.2} x the products", 100.0 * added / plain.0, added / products.0);
    }
}
