//! Options as given by flags and files, under the same names.

use crate::base::error::{Error, Result};
use crate::base::names::names;
use crate::data::{self, Dataset, LoadOptions, Scaling};
use crate::model::activation;
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::ortho::{Layers, Penalty, Side};
use crate::rule::{LearningRule, TargetForm};
use crate::solve::SolverKind;
use crate::step::optimizer::OptimizerKind;
use crate::study::align::Precision;
use crate::train::Preset;
use gaitprop_kernels::Activation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A list of widths: `784,500,10` or `784-500-10`; in a file also an array.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "ListOrText")]
pub(crate) struct Sizes(pub(crate) Vec<usize>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of widths looks like [784, 500, 10] or \"784-500-10\"")]
enum ListOrText {
    List(Vec<usize>),
    Text(String),
}

impl TryFrom<ListOrText> for Sizes {
    type Error = String;
    fn try_from(either: ListOrText) -> Result<Self, String> {
        match either {
            ListOrText::List(sizes) => Ok(Self(sizes)),
            ListOrText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Sizes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = text.split([',', '-']).map(|part| part.trim().parse::<usize>());
        let sizes = sizes.collect::<Result<Vec<_>, _>>();
        sizes.map(Self).map_err(|_| "a list of widths looks like 784,500,10 or 784-500-10".into())
    }
}

/// An activation by its name, which may hold a slope: `leaky-relu:0.1`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Unit(pub(crate) Activation);

impl FromStr for Unit {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        activation::parse(name).map(Self)
    }
}

impl TryFrom<String> for Unit {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        activation::name(unit.0)
    }
}

/// Whether the gradient has the term of the exact regularizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regularizing {
    Exact,
    None,
}

names!(Regularizing, "regularizer", Exact = "exact", None = "none");

/// Other constraints on orthogonality: [`Hold`](crate::ortho::Hold) by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    None,
    Block,
    Retract,
    Cayley,
}

names!(Holding, "hold", None = "none", Block = "block", Retract = "retract", Cayley = "cayley");

/// The only value that a key of earlier versions may have. It has no effect.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gone {
    None,
}

/// Declares the options once: as flags under headings of the help, as keys of a file, and how one
/// set overrides another. `gone` lists keys of earlier versions.
macro_rules! options {
    (gone: $($gone:ident),*; $($heading:literal: $($(#[$attribute:meta])* $field:ident: $t:ty = $value:literal,)*)*) => {
        /// Options as given; each may be absent.
        #[derive(clap::Args, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(crate) struct Options {
            $($(
                #[arg(long, value_name = $value, help_heading = $heading)]
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$t>,
            )*)*
            $(
                /// Written as "none" by earlier versions; see [`REPLACED`].
                #[arg(skip)]
                #[serde(skip_serializing)]
                pub(crate) $gone: Option<Gone>,
            )*
        }

        impl Options {
            /// Returns these options, completed by those of `other`.
            pub(crate) fn over(self, other: Self) -> Self {
                Self { $($($field: self.$field.or(other.$field),)*)* $($gone: self.$gone.or(other.$gone),)* }
            }
        }
    };
}

/// Formats an option's value for tables and messages.
pub(crate) fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(x) if *x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
        toml::Value::Float(x) => x.to_string(),
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Options {
    /// Returns flags completed by a file. Drops the file's constants of another rule, hold,
    /// regularizer, solver, optimizer or network than the flags name. A preset among the flags
    /// replaces all settings of the file that presets have.
    pub(crate) fn or(self, file: Self) -> Self {
        let mut other = if self.gives_shape() { file.without_shape(&self) } else { file };
        if self.preset.is_some() {
            other = other.without_preset();
        }
        if self.optimizer.is_some() && other.optimizer.is_some() && self.optimizer != other.optimizer {
            (other.beta1, other.beta2, other.epsilon) = (None, None, None);
        }
        if self.inverse.is_some() && other.inverse.is_some() && self.inverse != other.inverse {
            (other.damping, other.inverse_lr) = (None, None);
        }
        if self.rule.is_some() && other.rule.is_some() && self.rule != other.rule {
            other = other.without_rule();
        }
        let (own, its) = (self.holding(), other.holding());
        if (self.hold.is_some() || self.retract_every.is_some()) && own != its {
            (other.hold, other.mu, other.block, other.retract_every) = (None, None, None, None);
            if own.regularizing() != its.regularizing() {
                (other.regularizer, other.lambda, other.ortho_side) = (None, None, None);
            }
        }
        if self.regularizer.is_some() && other.regularizer.is_some() && self.regularizer != other.regularizer {
            other.lambda = None;
        }
        if self.lr.is_some() {
            other = other.without_rate();
        }
        self.over(other)
    }

    /// Drops the learning rate, and that of the inverses if it is the same: files spell out that
    /// inverses learn at the rate of the weights.
    fn without_rate(self) -> Self {
        Self { inverse_lr: self.inverse_lr.filter(|&rate| Some(rate) != self.lr), lr: None, ..self }
    }

    /// Drops the rule and its constants. With a preset, these include all settings that presets
    /// give by rule.
    pub(crate) fn without_rule(self) -> Self {
        let own = Self { rule: None, lambda: None, mu: None, weight_decay: None, ..self.without_rate() };
        if own.preset.is_none() { own } else { Self { init: None, beta2: None, epsilon: None, ..own } }
    }

    /// Drops the settings that a preset gives, and the constants of a hold.
    pub(crate) fn without_preset(self) -> Self {
        let rated = self.without_rate();
        let learning = Self { loss: None, optimizer: None, batch: None, epochs: None, shuffle: None, ..rated };
        let learning = Self { beta1: None, beta2: None, epsilon: None, weight_decay: None, ..learning };
        let learning = Self { init: None, activation: None, ..learning };
        let held = Self { hold: None, block: None, mu: None, retract_every: None, preset: None, ..learning };
        let ortho = Self { regularizer: None, lambda: None, ortho_form: None, ortho_side: None, ortho_layers: None, ..held };
        Self { gamma: None, form: None, ..ortho }
    }

    /// Returns the hold. `--retract-every` alone implies retraction.
    pub(crate) fn holding(&self) -> Holding {
        self.hold.unwrap_or(if self.retract_every.is_some() { Holding::Retract } else { Holding::None })
    }

    /// Returns whether the widths of layers are given.
    fn gives_shape(&self) -> bool {
        let widths = self.layers.is_some() || self.dense.is_some() || self.tower.is_some();
        widths || self.width.is_some() || self.hidden.is_some()
    }

    /// Drops the widths that `winner` gives in another way: each way describes a whole network.
    fn without_shape(self, winner: &Self) -> Self {
        let square = winner.layers.is_none() && winner.dense.is_none() && winner.tower.is_none();
        let (width, hidden) = if square { (self.width, self.hidden) } else { (None, None) };
        Self { layers: None, dense: None, tower: None, width, hidden, ..self }
    }
}

impl Holding {
    /// Returns the regularizer that goes with this hold unless another is given.
    pub(crate) fn regularizing(self) -> Regularizing {
        match self {
            Self::None | Self::Retract => Regularizing::Exact,
            Self::Block | Self::Cayley => Regularizing::None,
        }
    }
}

options! {
    gone: beside, orthogonal;

    "Results":
    /// Folder for metrics.jsonl, config.toml, weights.safetensors and checkpoints
    #[arg(help_heading = None::<&str>)]
    out: PathBuf = "DIR",
    /// Steps from one checkpoint to the next [default: a checkpoint a minute]. One is also written
    /// at the end
    checkpoint_every: u64 = "N",
    /// Number of checkpoints to keep [default: 2]
    keep: usize = "K",
    /// Also write events for TensorBoard
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    tensorboard: bool = "BOOL",

    "Data":
    /// `digits` (embedded), a folder of IDX files (MNIST, Fashion-MNIST, KMNIST names, plain or
    /// .gz), or a .npz with x and y
    data: String = "SET",
    /// Scaling of inputs: as stored (none), divided by full scale (unit), or standardized by one
    /// mean (standard) or a mean for each feature (per-feature) [default: unit]
    scale: Scaling = "HOW",
    /// Number of classes [default: 10 for digits and IDX, else the largest label + 1]
    classes: usize = "N",
    /// Use only the first N training samples
    limit_train: usize = "N",
    /// Hold out the last N training samples (of those within --limit-train) for validation
    validation: usize = "N",
    /// Use only the first N test samples
    limit_test: usize = "N",

    "Rule":
    /// Learning rule. fa is feedback alignment, dfa direct feedback alignment, drtp direct random
    /// target projection, usf, frsf and brsf are sign-symmetric feedback, kp is Kolen-Pollack
    /// [default: gait]
    rule: LearningRule = "RULE",
    /// Settings of published runs, which become the defaults: paper, paper-2020 (the authors' code
    /// of that time: rules with a regularizer start from Gaussian weights) or follow-up (CIFAR-10)
    /// [default: those of paper, with fewer epochs]
    preset: Preset = "PRESET",
    /// Size of the perturbation of GAIT and ITP, in [0, 1]; 0 is the linear limit [default: 0.001]
    #[arg(allow_negative_numbers = true)]
    gamma: f64 = "G",
    /// Form of gait, itp and tp: difference (exact at any depth) or absolute (as published;
    /// rounding destroys it at depth; needs --inverse lu, then the default) [default: difference]
    form: TargetForm = "FORM",
    /// Term in the gradient that keeps weights near orthogonal [default: exact; with --hold block
    /// or cayley none]
    regularizer: Regularizing = "HOW",
    /// Weight of the exact regularizer [default: gait and itp 0.1, tp 1000, others 0]
    #[arg(allow_negative_numbers = true)]
    lambda: f64 = "L",
    /// Penalty of the exact regularizer: published (off-diagonal of W Wᵀ) or identity (W Wᵀ − I)
    /// [default: published]
    ortho_form: Penalty = "FORM",
    /// Side to keep orthogonal: rows (W Wᵀ, published) or columns (WᵀW) [default: rows; with --hold
    /// block columns]
    ortho_side: Side = "SIDE",
    /// Layers to keep orthogonal, by the regularizer and by --hold block and retract: all, or
    /// above-first (the first layer is free) [default: all]
    ortho_layers: Layers = "LAYERS",
    /// Constraint that keeps weights near orthogonal: block (separates some columns after each
    /// step; ten times cheaper than the exact regularizer), retract (makes weights orthogonal every
    /// few steps), or cayley (learns by rotations, which preserve orthogonality; needs --optimizer
    /// sgd) [default: none; with --retract-every retract]
    hold: Holding = "HOLD",
    /// Columns (or rows, by --ortho-side) that --hold block processes after each step, in turn
    /// [default: 64]
    block: usize = "N",
    /// Strength of --hold block: at least 0, below 2 [default: gait, itp and tp 1, others 0]
    #[arg(allow_negative_numbers = true)]
    mu: f64 = "MU",
    /// Steps from one retraction to the next; implies --hold retract
    retract_every: u64 = "K",
    /// Solver for errors through W⁻¹: lu (exact), stale (a corrected inverse of an earlier step),
    /// cg (conjugate gradients), gram (Cholesky of W Wᵀ), transpose (orthogonal layers only) or
    /// auto (the cheapest of these). For layers of any shape: damped (least squares with
    /// --damping) or learned (weights that learn to reconstruct) [default: auto; with --hold cayley
    /// and no --decor-lr transpose]
    inverse: SolverKind = "HOW",
    /// Relative error at which stale, cg, gram, transpose and auto stop [default: 0.001]
    #[arg(allow_negative_numbers = true)]
    tolerance: f64 = "X",
    /// Damping of --inverse damped: at least 0 [default: 0.001]
    #[arg(allow_negative_numbers = true)]
    damping: f64 = "X",
    /// Learning rate of --inverse learned [default: that of the weights]
    #[arg(allow_negative_numbers = true)]
    inverse_lr: f64 = "ETA",

    "Network":
    /// Widths of all layers after the input. The first layer is fully connected; later ones are
    /// square and read the first units below
    layers: Sizes = "N,N,…",
    /// Width of every layer [default: that of the input]
    width: usize = "N",
    /// Number of hidden layers [default: 4]
    hidden: usize = "N",
    /// Widths of all layers after the input, each fully connected and of any shape. gait, itp and
    /// tp then need --inverse damped or learned
    dense: Sizes = "N,N,…",
    /// Widths of a tower, input included, every layer square: 784-784-500-200-10
    tower: Sizes = "N-N-…",
    /// leaky-relu or leaky-relu:SLOPE, tanh or identity [default: leaky-relu:0.1]
    activation: Unit = "F",
    /// Initial weights: orthogonal (Haar) or xavier [default: orthogonal]
    init: Init = "HOW",

    "Learning":
    /// squared, or cross-entropy on a linear output layer [default: squared]
    loss: Loss = "LOSS",
    /// Optimizer. published-adam is Adam without bias correction [default: published-adam]
    optimizer: OptimizerKind = "OPT",
    /// Learning rate [default: 1e-4, tp 1e-5]
    #[arg(allow_negative_numbers = true)]
    lr: f64 = "ETA",
    /// Decorrelate the input of every layer, with this learning rate [default: no decorrelation]
    #[arg(allow_negative_numbers = true)]
    decor_lr: f64 = "ETA",
    /// Share of each batch that decorrelations learn from [default: 0.1]
    #[arg(allow_negative_numbers = true)]
    decor_share: f64 = "X",
    /// Decay of the first moment of Adam, in [0, 1); mu of momentum [default: 0.9]
    #[arg(allow_negative_numbers = true)]
    beta1: f64 = "X",
    /// Decay of the second moment of Adam, in [0, 1) [default: published-adam 0.99, adam 0.999]
    #[arg(allow_negative_numbers = true)]
    beta2: f64 = "X",
    /// Term in the denominator of Adam, greater than 0 [default: 1e-8]
    #[arg(allow_negative_numbers = true)]
    epsilon: f64 = "X",
    /// Weight decay: each step multiplies weights by 1 - RHO after the optimizer; at least 0, below
    /// 1 [default: kp 3e-4, others 0]
    #[arg(allow_negative_numbers = true)]
    weight_decay: f64 = "RHO",
    /// Samples per step [default: 60]
    batch: usize = "N",
    /// Passes over the training set [default: of the preset; without one digits 300, other data 10]
    epochs: usize = "N",
    /// Stop after P epochs without a smaller validation loss (needs --validation; the best weights
    /// are in best.safetensors)
    patience: usize = "P",
    /// Shuffle the samples each epoch, in an order given by the seed [default: false, as published]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    shuffle: bool = "BOOL",
    /// Seed of weights, shuffling and random feedback [default: 1]
    #[arg(allow_negative_numbers = true)]
    seed: u64 = "N",
    /// Epochs between diagnostics of every layer (condition, kinks, dead units, …) in
    /// metrics.jsonl; 0 turns them off [default: 1]
    diagnose_every: usize = "N",
    /// Steps from one line of statistics to the next in metrics.jsonl, within epochs: loss and
    /// accuracy on all samples, cosines with BP; 0 turns them off [default: 0]
    stats_every: u64 = "N",

    "Machine":
    /// Element type [default: f32]
    dtype: Precision = "TYPE",
    /// Number of threads; the result does not depend on it [default: all cores]
    threads: usize = "N",
    /// Instruction set; all give the same bits [default: auto]
    #[arg(value_parser = ISAS)]
    isa: String = "ISA",
    /// Library for GEMM. matrixmultiply and openblas must be built in and change the last bits
    /// [default: native]
    #[arg(value_parser = BACKENDS)]
    backend: String = "LIB",
}

/// Instruction sets of all supported CPUs.
pub(crate) const ISAS: [&str; 5] = ["auto", "avx512", "avx2", "neon", "portable"];
/// Libraries for GEMM in any build.
pub(crate) const BACKENDS: [&str; 3] = ["native", "matrixmultiply", "openblas"];

impl Options {
    /// Reads a TOML file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a TOML file; `path` is its name in errors.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let number = 1 + text[..start].matches('\n').count();
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            let (key, value) = line.split_once('=').unwrap_or_default();
            let what = replaced(key.trim(), value.trim().trim_matches('"')).unwrap_or(e.message());
            Error::File { path: path.to_owned(), what: format!("line {number} (`{line}`): {what}") }
        })
    }

    /// Refuses flags that are given although there is no folder of results.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub(crate) fn check_out(&self, flags: &[(&str, bool)]) -> Result<()> {
        match flags.iter().find(|(_, given)| *given && self.out.is_none()) {
            Some((flag, _)) => Err(Error::Setting(format!("--{flag} needs --out: nothing is written without a folder"))),
            None => Ok(()),
        }
    }

    /// Refuses flags for a resumed run that contradict its file `self`. `now` holds the resolved
    /// options; without it, only values given as flags are compared.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first flag that contradicts, or for options that TOML cannot
    /// represent.
    pub(crate) fn check_same(&self, flags: &Self, now: Option<&Self>) -> Result<()> {
        let (then, flags) = (self.table()?, flags.table()?);
        for (name, value) in now.map_or(Ok(flags.clone()), Self::table)? {
            let before = then.get(&name);
            let same = match (before, now) {
                (Some(before), Some(_)) => *before == value,
                // The same path may have several spellings.
                (Some(before), None) => name == "data" || *before == value,
                // Another description of the network, an option newer than the file, or an optional
                // one.
                (None, Some(_)) => !flags.contains_key(&name),
                (None, None) => true,
            };
            if same || MAY_CHANGE.contains(&name.as_str()) {
                continue;
            }
            let before = before.map_or("nothing".into(), ToString::to_string);
            return Err(Error::Setting(format!(
                "--{name}: the run has {before}, not {value}: leave it out (only {} may change)",
                MAY_CHANGE.map(|name| format!("--{name}")).join(", ")
            )));
        }
        Ok(())
    }

    /// Names the options in which a run with the options `now` differs from this one.
    ///
    /// # Errors
    /// As [`Options::table`].
    pub(crate) fn differences(&self, now: &Self) -> Result<Vec<String>> {
        let (then, now) = (self.table()?, now.table()?);
        let of = |table: &toml::Table, name: &str| table.get(name).map_or("nothing".into(), shown);
        let names: BTreeSet<&String> = then.keys().chain(now.keys()).filter(|name| then.get(*name) != now.get(*name)).collect();
        Ok(names.into_iter().map(|name| format!("--{name}: it has {}, not {}", of(&then, name), of(&now, name))).collect())
    }

    /// Formats the options as TOML.
    ///
    /// # Errors
    /// [`Error::Setting`] for values that TOML cannot represent.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Setting(format!("the settings cannot be written: {e}")))
    }

    /// Returns the options as a TOML table.
    ///
    /// # Errors
    /// [`Error::Setting`] for values that TOML cannot represent.
    pub(crate) fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|e| {
            // TOML cannot represent numbers beyond 63 bits, and the error does not name the key.
            let all = serde_json::to_value(self).unwrap_or_default();
            let large = |(name, value): (&String, &serde_json::Value)| {
                value.as_u64().filter(|&n| i64::try_from(n).is_err()).map(|n| format!("--{name} {n}: use at most {}", i64::MAX))
            };
            let named = all.as_object().and_then(|all| all.iter().find_map(large));
            Error::Setting(named.unwrap_or_else(|| format!("the settings cannot be written: {e}")))
        })
    }

    /// Loads the data set within its limits. Also returns its name, with a path made absolute.
    ///
    /// # Errors
    /// As [`data::load`] and [`Dataset::hold_out`].
    pub(crate) fn load_data(&self) -> Result<(String, Dataset)> {
        let name = match &self.data {
            Some(path) if path.is_empty() => return Err(Error::Setting("--data is empty: name a data set".into())),
            Some(path) if path != DEFAULT_DATA => {
                let whole = std::path::absolute(path).map_err(Error::io("find", path))?;
                whole.into_os_string().into_string().unwrap_or_else(|_| path.clone())
            }
            _ => DEFAULT_DATA.into(),
        };
        let options = LoadOptions { classes: self.classes, limit_train: self.limit_train, limit_test: self.limit_test };
        let mut data = data::load(&name, &options)?;
        if let Some(count) = self.validation {
            data.hold_out(count)?;
        }
        Ok((name, data))
    }
}

/// Removed keys and flags: name, value concerned (empty: all), and replacement.
const REPLACED: [(&str, &str, &str); 3] = [
    ("beside", "", "a run trains one rule; `gaitprop compare --rules gait,bp` trains several side by side"),
    ("regularizer", "block", "replace it by --hold block, in a file by hold = \"block\""),
    ("orthogonal", "", "replace it by --hold cayley, in a file by hold = \"cayley\""),
];

/// Returns the replacement of a key, or of a flag without its dashes, with this value.
pub(crate) fn replaced(key: &str, value: &str) -> Option<&'static str> {
    REPLACED.iter().find(|(k, v, _)| *k == key && (v.is_empty() || *v == value)).map(|(_, _, advice)| *advice)
}

/// Options that may change on resume: they affect no bits, only the length of the run.
const MAY_CHANGE: [&str; 5] = ["epochs", "threads", "isa", "checkpoint-every", "keep"];

/// Name of the default data set.
pub(crate) const DEFAULT_DATA: &str = "digits";
