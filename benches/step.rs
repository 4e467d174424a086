//! Whole training steps: rules × regularisers, phase by phase, interleaved. `cargo bench --bench step [-- --help]`
#![allow(missing_docs)]

use clap::Parser;
use gaitprop::Exec;
use gaitprop::data::{self, LoadOptions, Scaling};
use gaitprop::init::Init;
use gaitprop::kernels::{Epilogue, Isa, MatMut, MatRef, Orientation, PackedRhs, Par, Plan, Scratch, Start, gemm_with};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{self, Optimizer, OptimizerConfig};
use gaitprop::ortho::{Block, Hold, HoldState, Regularizer};
use gaitprop::rng::Rng;
use gaitprop::rule::{self, LearningRule, RuleConfig};
use gaitprop::solve::{Solver, SolverKind, Tuning};
use gaitprop::step::{Phases, Recipe, Step};
use gaitprop::{Architecture, Network};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::process::Command;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Before a sample: caches fill, and the cores reach the clock that they keep under this load.
const WARM: Duration = Duration::from_millis(25);
/// A sample has at least so many steps, and lasts about as long.
const STEPS: u64 = 3;
const SAMPLE: Duration = Duration::from_millis(60);
/// Batches of a data set that are gone through in turns: more steps than most runs take.
const BATCHES: usize = 500;

#[derive(Parser)]
#[command(about = "Milliseconds of a training step", disable_version_flag = true)]
struct Args {
    /// Widths of the input and of all five layers
    #[arg(long, value_delimiter = ',', default_value = "256,784,2048")]
    widths: Vec<usize>,
    /// A tower of these sizes instead
    #[arg(long, value_delimiter = ',')]
    tower: Option<Vec<usize>>,
    #[arg(long, value_delimiter = ',', default_value = "60,128,256")]
    batches: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "bp,gait,tp")]
    rules: Vec<String>,
    /// none, exact and block
    #[arg(long, value_delimiter = ',', default_value = "none,exact,block")]
    regularizers: Vec<String>,
    /// Samples of a data set, as `train --data` has them, instead of synthetic ones; widths and tower must begin with their features
    #[arg(long, value_name = "SET")]
    data: Option<String>,
    /// The way through inverses
    #[arg(long, default_value = "auto")]
    inverse: String,
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f64,
    /// Instruction set of our kernels, as `gaitprop info` lists them. A peer's command must restrict
    /// the peer
    #[arg(long)]
    isa: Option<String>,
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Another program's step, as NAME=COMMAND: in the command {alg} (bp, gait), {lam} (0, 0.1), {threads}, {width} and {batch} are filled in, and its last line
    /// of output is JSON with the median milliseconds at ms.median. Run in turn with ours, for rules bp and gait without the block regulariser
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Runs of each peer
    #[arg(long, default_value_t = 3)]
    peer_runs: usize,
    /// Everything measured, as JSON
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Runs everything once, small, and measures nothing
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn isa(&self) -> Result<Isa, String> {
        let Some(name) = &self.isa else { return Ok(Isa::detect()) };
        Isa::available().find(|isa| isa.name() == name).ok_or_else(|| format!("{name}: this CPU has no such instruction set"))
    }
}

/// A rule in training on its own network.
struct Ours {
    kind: LearningRule,
    regularizer: String,
    rule: Box<dyn rule::Rule<f32>>,
    ortho: Regularizer,
    net: Network<f32>,
    solver: Box<dyn Solver<f32>>,
    optimizer: Optimizer<f32>,
    holder: HoldState<f32>,
    step: Step<f32>,
    exec: Exec,
    /// The next batch.
    at: usize,
    /// Milliseconds a step, sample by sample, and of one product of the forward pass just before.
    ms: Vec<f64>,
    product: Vec<f64>,
    /// Of all timed steps.
    phases: Phases,
    solve_products: f64,
    allocations: usize,
}

impl Ours {
    fn new(kind: LearningRule, regularizer: &str, shape: &Architecture, batch: usize, args: &Args, plan: &Plan) -> Self {
        let net = Network::random(shape, Init::Orthogonal, 1, plan).expect("fits");
        let lambda = if regularizer == "exact" { 0.1 } else { 0.0 };
        let hold = match regularizer {
            "block" => Hold::Block(Block::new(Block::MU).expect("in range")),
            "none" | "exact" => Hold::Free,
            other => panic!("no regulariser is called {other}: none, exact or block"),
        };
        let tuning = Tuning { regularized: regularizer != "none", ..Tuning::new(args.tolerance).expect("in range") };
        let way: SolverKind = args.inverse.parse().expect("a way through inverses");
        // As published: weights move as they do in training.
        let rate = if kind == LearningRule::Tp { 1e-5 } else { 1e-4 };
        Self {
            kind,
            regularizer: regularizer.into(),
            rule: kind.build(&RuleConfig::new(shape), plan).expect("in range"),
            ortho: Regularizer::new(lambda).expect("in range"),
            solver: way.build(tuning).expect("in range"),
            optimizer: Optimizer::new(
                OptimizerConfig::new(optimizer::OptimizerKind::PublishedAdam, rate).expect("in range"),
                &net,
            ),
            holder: HoldState::new(hold, &net, batch).expect("in range"),
            step: Step::new(&net, batch),
            exec: Exec::new(plan.clone()),
            net,
            at: 0,
            ms: Vec::new(),
            product: Vec::new(),
            phases: Phases::default(),
            solve_products: 0.0,
            allocations: 0,
        }
    }

    fn step(&mut self, x: MatRef<'_, f32>, t: MatRef<'_, f32>) -> f64 {
        let (rule, solver, exec) = (&mut *self.rule, &mut *self.solver, &mut self.exec);
        let mut recipe = Recipe { rule, solver, loss: Loss::Squared, regularizer: self.ortho, exec };
        let report = self.step.update(&mut self.net, x, t, &mut recipe, &mut self.optimizer);
        let report = report.expect("stays finite");
        let clock = Instant::now();
        self.holder.after_step(&mut self.net, &mut self.exec).expect("stays orthogonal");
        self.step.phases.hold += clock.elapsed();
        report.solves.products
    }

    fn sample(&mut self, batches: &[Batch], shape: &Architecture, product: f64) {
        let batch = batches[0].0.len() / shape.inputs;
        let views = |i: usize| {
            let (x, t) = &batches[i % batches.len()];
            (MatRef::new(x, batch, shape.inputs).expect("sized"), MatRef::new(t, batch, shape.labels).expect("sized"))
        };
        let begin = Instant::now();
        let mut warm = false;
        while !warm {
            let (x, t) = views(self.at);
            self.step(x, t);
            self.at += 1;
            warm = begin.elapsed() >= WARM;
        }
        self.step.phases = Phases::default();
        let region = Region::new(ALLOCATOR);
        let (begin, mut steps) = (Instant::now(), 0);
        while steps < STEPS || begin.elapsed() < SAMPLE {
            let (x, t) = views(self.at);
            self.solve_products += self.step(x, t);
            self.at += 1;
            steps += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let change = region.change();
        self.allocations += change.allocations + change.reallocations;
        self.ms.push(1e3 * seconds / steps as f64);
        self.product.push(product);
        let (all, own) = (&mut self.phases, &self.step.phases);
        all.forward += own.forward;
        all.down += own.down;
        all.regularizer += own.regularizer;
        all.update += own.update;
        all.hold += own.hold;
        all.steps += own.steps;
    }

    fn name(&self) -> String {
        format!("{} {}", self.kind, self.regularizer)
    }
}

/// Milliseconds of one product of the forward pass, batch × n × n with packed weights.
fn product(n: usize, batch: usize, plan: &Plan) -> f64 {
    let (w, x, mut y) = (normals(n * n, 3), normals(batch * n, 4), vec![0f32; batch * n]);
    let w = PackedRhs::new(MatRef::new(&w, n, n).expect("sized"), Orientation::Plain, plan).expect("memory");
    let (x, w) = (MatRef::new(&x, batch, n).expect("sized"), w.plain().expect("packed so"));
    let mut scratch = Scratch::new();
    let mut once = || {
        let y = MatMut::new(&mut y, batch, n).expect("sized");
        gemm_with(1.0, x, w, Start::Zero, y, Epilogue::Store, plan, &mut scratch).expect("shapes fit");
    };
    let begin = Instant::now();
    while begin.elapsed() < WARM {
        once();
    }
    let mut ms = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < WARM / 2 || ms.is_empty() {
        let start = Instant::now();
        once();
        ms.push(1e3 * start.elapsed().as_secs_f64());
    }
    median(&ms)
}

/// Another program's steps.
struct Peer {
    name: String,
    command: String,
    alg: &'static str,
    lam: f64,
    ms: Vec<f64>,
}

impl Peer {
    fn run(&mut self, threads: usize, width: usize, batch: usize) -> Result<(), String> {
        let fill = [
            ("{alg}", self.alg.to_string()),
            ("{lam}", self.lam.to_string()),
            ("{threads}", threads.to_string()),
            ("{width}", width.to_string()),
            ("{batch}", batch.to_string()),
        ];
        let command = fill.iter().fold(self.command.clone(), |c, (what, with)| c.replace(what, with));
        let output = Command::new("sh").args(["-c", &command]).output().map_err(|e| format!("{command}: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let ms = text.lines().last().and_then(|l| serde_json::from_str::<Value>(l).ok()).and_then(|v| v["ms"]["median"].as_f64());
        let said = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        self.ms.push(ms.ok_or_else(|| format!("{command}: no JSON with ms.median in its last line; {}", said()))?);
        Ok(())
    }
}

fn normals(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0);
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn median(x: &[f64]) -> f64 {
    let mut x = x.to_vec();
    x.sort_by(f64::total_cmp);
    if x.is_empty() { f64::NAN } else { (x[(x.len() - 1) / 2] + x[x.len() / 2]) / 2.0 }
}

fn quartiles(x: &[f64]) -> (f64, f64) {
    let mut x = x.to_vec();
    x.sort_by(f64::total_cmp);
    (x[(x.len() - 1) / 4], x[(3 * (x.len() - 1)).div_ceil(4)])
}

/// Samples and their targets, row by row.
type Batch = (Vec<f32>, Vec<f32>);

/// Some batches of samples with labels that can be learned: of a data set, in its order, or a pattern for each class with as much noise.
fn samples(shape: &Architecture, batch: usize, data: Option<&data::Samples<f32>>) -> Result<Vec<Batch>, String> {
    let one_hot = |classes: &[u32]| {
        let mut t = vec![0f32; classes.len() * shape.labels];
        data::one_hot(classes, shape.labels, &mut t);
        t
    };
    if let Some(data) = data {
        if data.features != shape.inputs {
            return Err(format!("samples have {} features, but the network {} inputs", data.features, shape.inputs));
        }
        if data.len < batch || data.labels.iter().any(|&label| label as usize >= shape.labels) {
            return Err(format!("the data set must have {batch} samples or more and {} classes or fewer", shape.labels));
        }
        let each = data.x.chunks_exact(batch * data.features).zip(data.labels.chunks_exact(batch));
        return Ok(each.take(BATCHES).map(|(x, classes)| (x.to_vec(), one_hot(classes))).collect());
    }
    let mut rng = Rng::new(2, 0);
    let patterns: Vec<f32> = (0..shape.labels * shape.inputs).map(|_| rng.uniform() as f32).collect();
    let one = |_| {
        let classes: Vec<u32> = (0..batch).map(|_| (rng.uniform() * shape.labels as f64) as u32).collect();
        let pattern = classes.iter().flat_map(|&c| &patterns[c as usize * shape.inputs..][..shape.inputs]);
        let x = pattern.map(|p| 0.5 * (p + rng.uniform() as f32)).collect();
        (x, one_hot(&classes))
    };
    Ok((0..32).map(one).collect())
}

/// All contenders at one size.
fn measure(
    (shape, width): (&Architecture, usize),
    batch: usize,
    threads: usize,
    args: &Args,
    data: Option<&data::Samples<f32>>,
) -> Result<Value, String> {
    let par = if threads > 1 { Par::team(threads).map_err(|e| e.to_string())? } else { Par::Seq };
    let plan = Plan::new().with_isa(args.isa()?).with_par(par);
    let batches = samples(shape, batch, data)?;
    let rules = args.rules.iter().map(|r| r.parse::<LearningRule>().map_err(|e| e.to_string())).collect::<Result<Vec<_>, _>>()?;
    let pairs = rules.iter().flat_map(|&kind| args.regularizers.iter().map(move |r| (kind, r)));
    let mut ours: Vec<_> = pairs.map(|(kind, r)| Ours::new(kind, r, shape, batch, args, &plan)).collect();
    let mut peers = Vec::new();
    for (alg, lam) in [("bp", 0.0), ("bp", 0.1), ("gait", 0.0), ("gait", 0.1)] {
        let regularizer = if lam > 0.0 { "exact" } else { "none" };
        if !ours.iter().any(|o| o.kind.name() == alg && o.regularizer == regularizer) {
            continue;
        }
        for peer in &args.peer {
            let (name, command) = peer.split_once('=').ok_or("--peer NAME=COMMAND")?;
            peers.push(Peer { name: name.into(), command: command.into(), alg, lam, ms: Vec::new() });
        }
    }
    let rounds = if args.test { 1 } else { args.rounds as usize };
    for round in 0..rounds {
        for turn in 0..ours.len() {
            let who = (turn + round) % ours.len();
            let product = if args.test { 1.0 } else { product(width, batch, &plan) };
            ours[who].sample(&batches, shape, product);
        }
        // Others' runs are long: spread over the rounds.
        if !args.test && round * args.peer_runs / rounds < (round + 1) * args.peer_runs / rounds {
            for peer in &mut peers {
                peer.run(threads, width, batch)?;
            }
        }
    }
    Ok(report(shape, batch, threads, &ours, &peers))
}

fn report(shape: &Architecture, batch: usize, threads: usize, ours: &[Ours], peers: &[Peer]) -> Value {
    let sizes: Vec<_> = shape.layers.iter().map(|&(fed, width)| format!("{fed}x{width}")).collect();
    println!("\n{} · batch {batch} · {threads} thread{}", sizes.join(" "), if threads > 1 { "s" } else { "" });
    println!("{:<24}      ms         quartiles  products  solves forward    down  regul.  update    hold  allocations", "");
    let mut rows = Vec::new();
    for o in ours {
        let (ms, (low, high), steps) = (median(&o.ms), quartiles(&o.ms), o.phases.steps as f64);
        let products = median(&o.ms.iter().zip(&o.product).map(|(ms, p)| ms / p).collect::<Vec<_>>());
        let solves = o.solve_products / (steps * (shape.layers.len() - 1) as f64);
        let phases = o.phases.each().map(|(_, time)| 1e3 * time.as_secs_f64() / steps);
        let each: Vec<_> = phases.iter().map(|ms| format!("{ms:7.3}")).collect();
        println!(
            "{:<24} {ms:7.2} {low:8.2} –{high:8.2} {products:9.1} {solves:7.2} {} {:12}",
            o.name(),
            each.join(" "),
            o.allocations
        );
        rows.push(json!({
            "rule": o.kind.name(), "regularizer": o.regularizer, "ms": o.ms, "product_ms": o.product, "products": products,
            "products_per_solve": solves, "allocations": o.allocations,
            "phases_ms": o.phases.each().iter().zip(phases).map(|((name, _), ms)| (name.to_string(), json!(ms))).collect::<serde_json::Map<_, _>>(),
        }));
    }
    let of = |kind: &str, regularizer: &str| {
        let found = ours.iter().find(|o| o.kind.name() == kind && o.regularizer == regularizer);
        found.map(|o| median(&o.ms))
    };
    if let (Some(gait), Some(bp)) = (of("gait", "none"), of("bp", "none")) {
        println!("GAIT is {:.2} times BP", gait / bp);
    }
    let mut others = Vec::new();
    for peer in peers {
        let regularizer = if peer.lam > 0.0 { "exact" } else { "none" };
        let theirs = median(&peer.ms);
        let own = of(peer.alg, regularizer).unwrap_or(f64::NAN);
        print!("{:<24} {theirs:7.2}   {} {regularizer}: ours is {:.2} of it", peer.name, peer.alg, own / theirs);
        match of("gait", "block").filter(|_| peer.alg == "gait" && peer.lam > 0.0) {
            Some(block) => println!(", with the block regulariser {:.2}", block / theirs),
            None => println!(),
        }
        others.push(json!({ "peer": peer.name, "alg": peer.alg, "lam": peer.lam, "ms": peer.ms }));
    }
    json!({ "layers": sizes, "batch": batch, "threads": threads, "ours": rows, "peers": others })
}

fn all(args: &Args) -> Result<(), String> {
    let mut sizes = Vec::new();
    if let Some(tower) = &args.tower {
        sizes.push((tower[0], Architecture::tower(tower, 10).map_err(|e| e.to_string())?));
    } else {
        for &width in if args.test { &[32][..] } else { &args.widths } {
            sizes.push((width, Architecture::square(width, width, 4, 10).map_err(|e| e.to_string())?));
        }
    }
    let load = |spec: &String| data::load(spec, &LoadOptions::default()).and_then(|set| Ok(set.prepare(Scaling::Unit)?.train));
    let data = args.data.as_ref().map(load).transpose().map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for (width, shape) in &sizes {
        for &batch in if args.test { &[12][..] } else { &args.batches } {
            for &threads in &args.threads {
                rows.push(measure((shape, *width), batch, threads, args, data.as_ref())?);
            }
        }
    }
    if let Some(path) = &args.json {
        let all = json!({
            "isa": args.isa()?.name(), "inverse": args.inverse, "data": args.data, "tolerance": args.tolerance, "rounds": args.rounds, "rows": rows,
        });
        let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

fn main() {
    let args = Args::parse();
    // `cargo test --benches` passes nothing: then nothing is measured.
    let args = Args { test: args.test || !args.bench, ..args };
    if let Err(e) = all(&args) {
        eprintln!("error: {e}");
        std::process::exit(1);
    }
}
