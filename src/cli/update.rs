//! `gaitprop update`: the updates of one batch, from arrays to arrays, to check other
//! implementations.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::cli::{Done, Failure, print};
use crate::data::npz::{self, Array};
use crate::model::layer::Layer;
use crate::model::loss::Loss;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::ortho::{Layers, Penalty, Regularizer, Side};
use crate::rule::{LearningRule, RuleConfig, TargetForm};
use crate::run::config::{Runtime, check_decorrelation, check_form};
use crate::run::options::{BACKENDS, ISAS, Unit};
use crate::solve::{SolverKind, Tuning};
use crate::step::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use crate::step::{Recipe, Step};
use crate::study::align::Precision;
use crate::train::TrainConfig;
use gaitprop_kernels::{Activation, MatRef, Plan, Real};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// .npz with x (batch × inputs), onehot (batch × labels), W0… (fan-in × width), b0… and, for a
    /// network with decorrelations, R0… (fan-in × fan-in); other arrays are ignored
    input: PathBuf,
    /// Output .npz with act1…, dW0…, db0… (batch means of descent directions) and reg0… (the
    /// regularizer's gradients, already subtracted from dW). --steps adds W0…, b0…, mW0…, vW0…,
    /// mb0…, vb0…
    output: PathBuf,
    /// Learning rule
    #[arg(long, value_name = "RULE")]
    rule: LearningRule,
    /// Size of the perturbation of GAIT and ITP; 0 is the linear limit
    #[arg(long, value_name = "G", default_value_t = 1e-3, allow_negative_numbers = true)]
    gamma: f64,
    /// Form of gait, itp and tp: difference (exact at any depth) or absolute (as published;
    /// rounding destroys it at depth; needs --inverse lu)
    #[arg(long, value_name = "FORM", default_value_t = TargetForm::Difference)]
    form: TargetForm,
    /// Seed of the random feedback of fa, dfa, drtp, frsf, brsf and kp
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Weight of the orthogonality regularizer
    #[arg(long, value_name = "L", default_value_t = 0.0, allow_negative_numbers = true)]
    lambda: f64,
    /// Penalty of the regularizer: published or identity
    #[arg(long, value_name = "FORM", default_value_t = Penalty::OffDiagonal)]
    ortho_form: Penalty,
    /// Side of the regularizer: rows or columns
    #[arg(long, value_name = "SIDE", default_value_t = Side::Rows)]
    ortho_side: Side,
    /// Layers of the regularizer: all, or above-first
    #[arg(long, value_name = "LAYERS", default_value_t = Layers::All)]
    ortho_layers: Layers,
    /// Solver for errors through W⁻¹: lu (exact), stale, cg, gram, transpose, auto or damped (for
    /// weights of any shape)
    #[arg(long, value_name = "HOW", default_value_t = SolverKind::Lu)]
    inverse: SolverKind,
    /// Relative error at which stale, cg, gram, transpose and auto stop
    #[arg(long, value_name = "X", default_value_t = 1e-3, allow_negative_numbers = true)]
    tolerance: f64,
    /// Damping of --inverse damped
    #[arg(long, value_name = "X", default_value_t = 1e-3, allow_negative_numbers = true)]
    damping: f64,
    /// Element type: f32 or f64. Arrays are written as float64
    #[arg(long, value_name = "TYPE", default_value_t = Precision::F32)]
    dtype: Precision,
    /// Identity activations instead of leaky ReLU
    #[arg(long, conflicts_with = "activation")]
    linear: bool,
    /// leaky-relu or leaky-relu:SLOPE, tanh or identity
    #[arg(long, value_name = "F", default_value = "leaky-relu:0.1")]
    activation: Unit,
    /// squared, or cross-entropy on a linear output layer
    #[arg(long, value_name = "LOSS", default_value_t = Loss::Squared)]
    loss: Loss,
    /// Also take K optimizer steps on the batch (needs --lr)
    #[arg(long, value_name = "K", requires = "lr")]
    steps: Option<usize>,
    /// Learning rate of the steps (needs --steps)
    #[arg(long, value_name = "ETA", requires = "steps", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Weight decay of the steps: each multiplies weights by 1 - RHO; at least 0, below 1 [default: 0]
    #[arg(long, value_name = "RHO", requires = "steps", allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Decay of the first moment of Adam, in [0, 1); mu of momentum [default: 0.9]
    #[arg(long, value_name = "X", requires = "steps", allow_negative_numbers = true)]
    beta1: Option<f64>,
    /// Decay of the second moment of Adam, in [0, 1) [default: published-adam 0.99, adam 0.999]
    #[arg(long, value_name = "X", requires = "steps", allow_negative_numbers = true)]
    beta2: Option<f64>,
    /// Term in the denominator of Adam, greater than 0 [default: 1e-8]
    #[arg(long, value_name = "X", requires = "steps", allow_negative_numbers = true)]
    epsilon: Option<f64>,
    /// Optimizer of the steps: published-adam, adam, sgd or momentum
    #[arg(long, value_name = "OPT", default_value_t = OptimizerKind::PublishedAdam)]
    optimizer: OptimizerKind,
    /// Number of threads; the result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Instruction set: auto, avx512, avx2, neon or portable
    #[arg(long, value_name = "ISA", default_value = "auto", value_parser = ISAS)]
    isa: String,
    /// Library for GEMM; matrixmultiply and openblas must be built in
    #[arg(long, value_name = "LIB", default_value = "native", value_parser = BACKENDS)]
    backend: String,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let runtime = Runtime::new(Some(args.dtype), Some(args.threads), Some(&args.isa), Some(&args.backend))?;
    // Overwriting the input could destroy the only copy of the weights.
    let same = |path: &Path| path.canonicalize().ok();
    if same(&args.input).is_some_and(|input| same(&args.output) == Some(input)) {
        return Err(
            Error::Setting(format!("{}: the output would replace the input; name another file", args.output.display())).into()
        );
    }
    let wanted = |name: &str| name == "x" || name == "onehot" || index_of(name, &["W", "b", "R"]).is_some();
    let input = Input { path: &args.input, arrays: npz::read(&args.input, wanted)? };
    let plan = runtime.plan(runtime.par()?);
    let out = match runtime.precision {
        Precision::F32 => update::<f32>(args, &input, &plan)?,
        Precision::F64 => update::<f64>(args, &input, &plan)?,
    };
    let out: Vec<_> = out.iter().map(|(name, a)| (name.as_str(), a.shape.as_slice(), a.data.as_slice())).collect();
    npz::write(&args.output, &out)?;
    print(&format!("{} arrays written to {}\n", out.len(), args.output.display()))?;
    Ok(Done::Success)
}

impl Args {
    /// Optimizer of the steps.
    fn optimizer_config(&self) -> Result<OptimizerConfig> {
        TrainConfig {
            optimizer: self.optimizer,
            learning_rate: self.lr.unwrap_or(0.0),
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay.unwrap_or(0.0),
            ..TrainConfig::published(self.rule)
        }
        .optimizer_config()
    }

    /// Returns flags that allow layers of any shape above the first, or `None` if they may have it.
    fn advice_to_rectangles(&self) -> Option<&'static str> {
        match self.form {
            _ if !self.rule.sends_targets() || self.inverse.takes_rectangles() => None,
            TargetForm::Difference => Some("--inverse damped"),
            TargetForm::Absolute => Some("--form difference with --inverse damped"),
        }
    }
}

/// Parses the layer number of an array with one of these letters, as `W3`.
fn index_of(name: &str, letters: &[&str]) -> Option<usize> {
    let digits = letters.iter().find_map(|letter| name.strip_prefix(letter))?;
    (!digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Upper limit that catches typing errors.
const MAX_STEPS: usize = 1 << 30;

/// Output arrays by name.
type Arrays = Vec<(String, Array)>;

fn update<T: Real>(args: &Args, input: &Input<'_>, plan: &Plan) -> Result<Arrays> {
    let (loss, form) = (args.loss, args.form);
    let unit = if args.linear { Activation::Identity } else { args.activation.0 };
    let mut ortho = Regularizer::new(args.lambda)?;
    (ortho.form, ortho.side, ortho.layers) = (args.ortho_form, args.ortho_side, args.ortho_layers);
    if let Some(steps) = args.steps.filter(|&steps| steps > MAX_STEPS) {
        return Err(Error::Setting(format!("--steps {steps}: use at most {MAX_STEPS}")));
    }
    args.inverse.check_untrained()?;
    check_form(&TrainConfig { solver: args.inverse, target_form: form, ..TrainConfig::published(args.rule) })?;
    let settings = args.optimizer_config()?;
    settings.check_in::<T>()?;

    let (batch, inputs, x) = input.matrix::<T>("x")?;
    let (rows, labels, onehot) = input.matrix::<T>("onehot")?;
    if rows != batch {
        return Err(input.wrong(format!("`x` has {batch} rows but `onehot` has {rows}: one row a sample")));
    }
    let mut net = input.network::<T>((inputs, labels), unit, loss, args.advice_to_rectangles())?;
    let decorrelation = input.decorrelation(&net)?;
    if !decorrelation.is_empty() {
        check_decorrelation(args.rule, form, args.inverse)?;
    }
    net.set_decorrelation(decorrelation)?;
    let (x, onehot) = (MatRef::new(&x, batch, inputs)?, MatRef::new(&onehot, batch, labels)?);

    let architecture = net.architecture();
    let setup = RuleConfig { gamma: args.gamma, form, seed: args.seed, ..RuleConfig::new(&architecture) };
    let mut rule = args.rule.build::<T>(&setup, plan)?;
    let mut step = Step::new(&net, batch);
    let tuning = Tuning { regularized: args.lambda > 0.0, damping: args.damping, ..Tuning::new(args.tolerance)? };
    let mut solver = args.inverse.build::<T>(tuning)?;
    let mut exec = Exec::new(plan.clone());
    let mut recipe = Recipe { rule: &mut *rule, solver: &mut *solver, loss, regularizer: ortho, exec: &mut exec };
    step.gradients(&net, x, onehot, &mut recipe)?;

    let mut out = Arrays::new();
    for (l, layer) in net.layers().iter().enumerate() {
        let (fed, width) = layer.w.view().shape();
        out.push((format!("act{}", l + 1), array(&[batch, width], &step.tape.activity(l).to_vec())));
        out.push((format!("dW{l}"), array(&[fed, width], step.gradients.weights(l).data())));
        out.push((format!("db{l}"), array(&[width], step.gradients.biases(l))));
        if args.lambda != 0.0 {
            let (mut delta, side) = (Matrix::zeros(fed, width), fed.min(width));
            let mut gram = Matrix::zeros(side, side);
            if ortho.covers(l) {
                ortho.descend(layer.w.view(), T::ONE, delta.view_mut(), gram.view_mut(), recipe.exec)?;
            }
            delta.data_mut().iter_mut().for_each(|d: &mut T| *d = -*d);
            out.push((format!("reg{l}"), array(&[fed, width], delta.data())));
        }
    }
    if let Some(steps) = args.steps {
        let mut optimizer = Optimizer::new(settings, &net);
        for _ in 0..steps {
            step.update(&mut net, x, onehot, &mut recipe, &mut optimizer)?;
        }
        for (l, layer) in net.layers().iter().enumerate() {
            let (w, b) = ([layer.fan_in(), layer.width()], [layer.width()]);
            out.push((format!("W{l}"), array(&w, layer.w.data())));
            out.push((format!("b{l}"), array(&b, &layer.b)));
            let moments = [("W", &w[..], optimizer.weight_moments(l)), ("b", &b[..], optimizer.bias_moments(l))];
            for (name, shape, moments) in moments {
                for (letter, moment) in [("m", &moments.first), ("v", &moments.second)] {
                    if !moment.is_empty() {
                        out.push((format!("{letter}{name}{l}"), array(shape, moment)));
                    }
                }
            }
        }
    }
    Ok(out)
}

fn array<T: Real>(shape: &[usize], data: &[T]) -> Array {
    Array { shape: shape.to_vec(), data: data.iter().map(|v| v.to_f64()).collect() }
}

/// Arrays of the input file by name.
struct Input<'a> {
    path: &'a Path,
    arrays: BTreeMap<String, Array>,
}

impl Input<'_> {
    fn wrong(&self, what: String) -> Error {
        Error::File { path: self.path.to_owned(), what }
    }

    fn array(&self, name: &str) -> Result<&Array> {
        self.arrays.get(name).ok_or_else(|| self.wrong(format!("it holds no array `{name}`")))
    }

    /// Converts the elements of an array, which must be finite.
    fn elements<T: Real>(&self, name: &str, a: &Array) -> Result<Vec<T>> {
        let data: Vec<T> = a.data.iter().map(|&v| T::from_f64(v)).collect();
        match data.iter().position(|v| !v.is_finite()) {
            None => Ok(data),
            Some(i) => Err(self.wrong(format!("element {i} of `{name}` is not finite in {}", T::NAME))),
        }
    }

    /// Returns rows, columns and elements of a two-dimensional array.
    fn matrix<T: Real>(&self, name: &str) -> Result<(usize, usize, Vec<T>)> {
        let a = self.array(name)?;
        match a.shape[..] {
            [rows, cols] if rows > 0 && cols > 0 => Ok((rows, cols, self.elements(name, a)?)),
            _ => Err(self.wrong(format!("`{name}` has shape {:?}, but must have two dimensions, neither empty", a.shape))),
        }
    }

    /// `advice`: flags that allow layers above the first of any shape; `None` if they may have it.
    fn network<T: Real>(
        &self,
        (inputs, labels): (usize, usize),
        unit: Activation,
        loss: Loss,
        advice: Option<&str>,
    ) -> Result<Network<T>> {
        let count =
            self.arrays.keys().filter_map(|name| index_of(name, &["W", "b"])).max().map_or(0, |last| last.saturating_add(1));
        let mut layers = Vec::new();
        // A gap in the numbers ends the loop with an error, however large the last number is.
        for l in 0..count.max(1) {
            let (fed, width, w) = self.matrix::<T>(&format!("W{l}"))?;
            if let Some(advice) = advice.filter(|_| l > 0 && fed != width) {
                let why = "but targets go down through inverses, and only square weights have one";
                return Err(self.wrong(format!("`W{l}` has shape [{fed}, {width}], {why}: use {advice}")));
            }
            let name = format!("b{l}");
            let b = self.array(&name)?;
            if b.data.len() != width || b.shape.iter().filter(|&&n| n != 1).count() > 1 {
                return Err(self.wrong(format!("`{name}` has shape {:?}, but layer {l} has {width} units", b.shape)));
            }
            let activation = if l + 1 == count { loss.output_activation(unit) } else { unit };
            layers.push(Layer { w: Matrix::from_vec(fed, width, w)?, b: self.elements(&name, b)?, activation });
        }
        Network::new(inputs, layers, labels).map_err(|e| self.wrong(e.to_string()))
    }
    /// Returns the decorrelations of all layers, or none.
    fn decorrelation<T: Real>(&self, net: &Network<T>) -> Result<Vec<Matrix<T>>> {
        let Some(last) = self.arrays.keys().filter_map(|name| index_of(name, &["R"])).max() else { return Ok(Vec::new()) };
        let count = net.layers().len();
        if last >= count {
            return Err(self.wrong(format!("`R{last}` belongs to no layer: there are {count} layers, from 0")));
        }
        let of_layer = |(l, layer): (usize, &Layer<T>)| {
            let (name, n) = (format!("R{l}"), layer.fan_in());
            if !self.arrays.contains_key(&name) {
                return Err(self.wrong(format!("it holds no array `{name}`, but `R{last}`: decorrelate all layers or none")));
            }
            let (rows, cols, r) = self.matrix::<T>(&name)?;
            if (rows, cols) != (n, n) {
                return Err(self.wrong(format!("`{name}` has shape [{rows}, {cols}], but must have [{n}, {n}]: fan-in × fan-in")));
            }
            Matrix::from_vec(n, n, r)
        };
        net.layers().iter().enumerate().map(of_layer).collect()
    }
}
