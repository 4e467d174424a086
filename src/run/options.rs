//! Settings as they are said: by flags and by files with the same names.

use crate::base::error::{Error, Result};
use crate::data::{self, Dataset, LoadOptions};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A list of widths: `784,500,10` or `784-500-10`; in a file also an array.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sizes(pub(crate) Vec<usize>);

impl FromStr for Sizes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = text.split([',', '-']).map(|part| part.trim().parse::<usize>());
        let sizes = sizes.collect::<Result<Vec<_>, _>>();
        sizes.map(Self).map_err(|_| "a list of widths looks like 784,500,10 or 784-500-10".into())
    }
}

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Sizes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of widths, as [784, 500, 10] or \"784-500-10\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Sizes, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Sizes, A::Error> {
                let mut sizes = Vec::new();
                while let Some(size) = list.next_element()? {
                    sizes.push(size);
                }
                Ok(Sizes(sizes))
            }
        }
        d.deserialize_any(Either)
    }
}

/// Declares the settings once: as flags, as keys of a file, and how the one overrides the other.
macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident: $t:ty),* $(,)?) => {
        /// What was said; everything may be left out.
        #[derive(clap::Args, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(crate) struct Settings {
            $($(#[$attribute])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<$t>,)*
        }

        impl Settings {
            /// These settings, with those of `other` where nothing is said here.
            pub(crate) fn or(self, other: Self) -> Self {
                let mut other = if self.says_shape() { other.without_shape(&self) } else { other };
                if self.rule.is_some() && other.rule.is_some() && self.rule != other.rule {
                    // They were another rule's.
                    (other.lr, other.lambda, other.mu) = (None, None, None);
                }
                if self.regularizer.as_deref().is_some_and(|own| own != other.regularizer.as_deref().unwrap_or("exact")) {
                    // They were another regulariser's.
                    (other.lambda, other.mu, other.block, other.ortho_side) = (None, None, None, None);
                }
                Self { $($field: self.$field.or(other.$field),)* }
            }
        }
    };
}

impl Settings {
    /// Whether anything is said about the widths of layers.
    fn says_shape(&self) -> bool {
        self.layers.is_some() || self.tower.is_some() || self.width.is_some() || self.hidden.is_some()
    }

    /// Without the widths, which `winner` describes in another way: each way describes a whole network.
    fn without_shape(self, winner: &Self) -> Self {
        let square = winner.layers.is_none() && winner.tower.is_none();
        let (width, hidden) = if square { (self.width, self.hidden) } else { (None, None) };
        Self { layers: None, tower: None, width, hidden, ..self }
    }
}

settings! {
    /// Folder for metrics.jsonl, config.toml, weights.safetensors and checkpoints (of the rule beside: in a folder of its name inside)
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Steps from one checkpoint to the next [default: a checkpoint a minute]; there is one at the end, too
    #[arg(long, value_name = "N", help_heading = "Results")]
    checkpoint_every: u64,
    /// Checkpoints that are kept [default: 2]
    #[arg(long, value_name = "K", help_heading = "Results")]
    keep: usize,
    /// Also write events for TensorBoard
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Results")]
    tensorboard: bool,

    /// `digits` (embedded), a folder of IDX files (MNIST, Fashion-MNIST, KMNIST names, plain or .gz), or a .npz with x and y
    #[arg(long, value_name = "SET", help_heading = "Data")]
    data: String,
    /// Inputs as they are (none), divided by full scale (unit), or standardised (standard: one mean; per-feature) [default: unit]
    #[arg(long, value_name = "HOW", help_heading = "Data")]
    scale: String,
    /// Number of classes, where the data does not tell
    #[arg(long, value_name = "N", help_heading = "Data")]
    classes: usize,
    /// Use only the first N training samples
    #[arg(long, value_name = "N", help_heading = "Data")]
    limit_train: usize,
    /// Hold the last N training samples out (of those within --limit-train) and say how well they are told
    #[arg(long, value_name = "N", help_heading = "Data")]
    validation: usize,
    /// Use only the first N test samples
    #[arg(long, value_name = "N", help_heading = "Data")]
    limit_test: usize,

    /// Learning rule: gait, bp, itp, tp, or fa or dfa (feedback alignment, direct feedback alignment) [default: gait, with bp beside it]
    #[arg(long, value_name = "RULE", help_heading = "Rule")]
    rule: String,
    /// A second rule, trained from the same start on the same batches, or none [default: bp if no --rule is given, else none]
    #[arg(long, value_name = "RULE", help_heading = "Rule")]
    beside: String,
    /// Size of the perturbation of GAIT and ITP, in [0, 1]; 0 is the linear limit [default: 0.001]
    #[arg(long, value_name = "G", help_heading = "Rule", allow_negative_numbers = true)]
    gamma: f64,
    /// Form of gait, itp and tp: difference (exact at any depth) or absolute (as published: loses all to rounding at depth; needs --inverse
    /// lu, its default) [default: difference]
    #[arg(long, value_name = "FORM", help_heading = "Rule")]
    form: String,
    /// What keeps weights near orthogonal: exact (in the gradient), block (some columns after each step, 10 times cheaper) or none [default: exact]
    #[arg(long, value_name = "HOW", help_heading = "Rule")]
    regularizer: String,
    /// Weight of the exact regulariser [default: gait and itp 0.1, tp 1000, bp, fa and dfa 0]
    #[arg(long, value_name = "L", help_heading = "Rule", allow_negative_numbers = true)]
    lambda: f64,
    /// Its form: published (off-diagonal of W Wᵀ) or identity (W Wᵀ − I) [default: published]
    #[arg(long, value_name = "FORM", help_heading = "Rule")]
    ortho_form: String,
    /// Its side: rows (W Wᵀ, published) or columns (WᵀW) [default: rows, of the block regulariser columns]
    #[arg(long, value_name = "SIDE", help_heading = "Rule")]
    ortho_side: String,
    /// Columns (or rows, by --ortho-side) that the block regulariser takes after each step, in turns [default: 64]
    #[arg(long, value_name = "N", help_heading = "Rule")]
    block: usize,
    /// How far the block regulariser pushes them: at least 0, below 2 [default: gait, itp and tp 1, bp, fa and dfa 0]
    #[arg(long, value_name = "MU", help_heading = "Rule", allow_negative_numbers = true)]
    mu: f64,
    /// Make weights orthogonal every K steps
    #[arg(long, value_name = "K", help_heading = "Rule")]
    retract_every: u64,
    /// Learn by rotations, which leave weights exactly orthogonal (cayley; needs --optimizer sgd), or not (none) [default: none]
    #[arg(long, value_name = "HOW", help_heading = "Rule")]
    orthogonal: String,

    /// How errors go through the inverses of layers: lu (exact), stale (an earlier step's inverse, corrected), cg (conjugate gradients), gram
    /// (Cholesky of W Wᵀ), transpose (orthogonal layers alone) or auto (what is cheapest) [default: auto; with --orthogonal cayley
    /// transpose]
    #[arg(long, value_name = "HOW", help_heading = "Rule")]
    inverse: String,
    /// Relative error at which stale, cg, gram, transpose and auto stop [default: 0.001]
    #[arg(long, value_name = "X", help_heading = "Rule", allow_negative_numbers = true)]
    tolerance: f64,

    /// Widths of all layers after the input: the first fully connected, later ones square and fed by the first units below
    #[arg(long, value_name = "N,N,…", help_heading = "Network")]
    layers: Sizes,
    /// Width of every layer [default: that of the input]
    #[arg(long, value_name = "N", help_heading = "Network")]
    width: usize,
    /// Hidden layers [default: 4]
    #[arg(long, value_name = "N", help_heading = "Network")]
    hidden: usize,
    /// Widths of a tower, input included, every layer square: 784-784-500-200-10
    #[arg(long, value_name = "N-N-…", help_heading = "Network")]
    tower: Sizes,
    /// leaky-relu or leaky-relu:SLOPE, tanh or identity [default: leaky-relu:0.1]
    #[arg(long, value_name = "F", help_heading = "Network")]
    activation: String,
    /// orthogonal (Haar) or xavier [default: orthogonal]
    #[arg(long, value_name = "HOW", help_heading = "Network")]
    init: String,

    /// squared, or cross-entropy on a linear output layer [default: squared]
    #[arg(long, value_name = "LOSS", help_heading = "Learning")]
    loss: String,
    /// published-adam (no bias correction), adam, sgd or momentum [default: published-adam]
    #[arg(long, value_name = "OPT", help_heading = "Learning")]
    optimizer: String,
    /// Learning rate [default: 1e-4, tp 1e-5]
    #[arg(long, value_name = "ETA", help_heading = "Learning", allow_negative_numbers = true)]
    lr: f64,
    /// Samples a step [default: 60]
    #[arg(long, value_name = "N", help_heading = "Learning")]
    batch: usize,
    /// Passes over the training set [default: digits 300, other data 10]
    #[arg(long, value_name = "N", help_heading = "Learning")]
    epochs: usize,
    /// End after P epochs without a smaller validation loss (needs --validation; the best weights are best.safetensors)
    #[arg(long, value_name = "P", help_heading = "Learning")]
    patience: usize,
    /// Shuffle the samples anew each epoch (the same way for the same seed) [default: false, as published]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Learning")]
    shuffle: bool,
    /// Seed of weights, shuffling and fixed feedback [default: 1]
    #[arg(long, value_name = "N", help_heading = "Learning", allow_negative_numbers = true)]
    seed: u64,

    /// Report on every layer (condition, kinks, dead units, …) in metrics.jsonl every N epochs; 0 is never [default: 1]
    #[arg(long, value_name = "N", help_heading = "Learning")]
    diagnose_every: usize,

    /// f32 or f64 [default: f32]
    #[arg(long, value_name = "TYPE", help_heading = "Machine")]
    dtype: String,
    /// Threads; the result does not depend on them [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    threads: usize,
    /// Instruction set: auto, avx512, avx2, neon or portable; all give the same bits [default: auto]
    #[arg(long, value_name = "ISA", help_heading = "Machine")]
    isa: String,
    /// Whose GEMM: native, or matrixmultiply or openblas if built in (they change the last bits) [default: native]
    #[arg(long, value_name = "LIB", help_heading = "Machine")]
    backend: String,
}

impl Settings {
    /// From a TOML file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    /// From the text of a TOML file; `path` is the name that errors give it.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let number = 1 + text[..start].matches('\n').count();
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            Error::File { path: path.to_owned(), what: format!("line {number} (`{line}`): {}", e.message()) }
        })
    }
}

impl Settings {
    /// Of these, those that a run may be resumed with.
    pub(crate) fn only_free(self) -> Self {
        let Self { epochs, threads, isa, checkpoint_every, keep, .. } = self;
        Self { epochs, threads, isa, checkpoint_every, keep, ..Self::default() }
    }

    /// Refuses what was said about a run that is resumed and contradicts its file, which holds these settings. `now` is what all of it would come to;
    /// without it only what is plain from the words is refused.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first flag that contradicts; another for settings that cannot be written.
    pub(crate) fn check_same(&self, said: &Self, now: Option<&Self>) -> Result<()> {
        let table =
            |of: &Self| toml::Table::try_from(of).map_err(|e| Error::Setting(format!("the settings cannot be compared: {e}")));
        let (then, said) = (table(self)?, table(said)?);
        for (name, value) in now.map_or(Ok(said.clone()), table)? {
            let before = then.get(&name);
            let same = match (before, now) {
                (Some(before), Some(_)) => *before == value,
                // A path may be written in many ways.
                (Some(before), None) => name == "data" || *before == value,
                // Another description of the network, or a file from before there was this setting, or a setting that the run did without.
                (None, Some(_)) => !said.contains_key(&name),
                (None, None) => true,
            };
            if same || MAY_CHANGE.contains(&name.as_str()) {
                continue;
            }
            let before = before.map_or("nothing".into(), ToString::to_string);
            return Err(Error::Setting(format!(
                "--{name}: the run was begun with {before}, but now it would be {value}: leave it out (only {} may change)",
                MAY_CHANGE.map(|name| format!("--{name}")).join(", ")
            )));
        }
        Ok(())
    }

    /// The settings as they are written to a file.
    ///
    /// # Errors
    /// [`Error::Setting`] for what a TOML file cannot hold.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Setting(format!("the settings cannot be written: {e}")))
    }

    /// As a file would hold them.
    ///
    /// # Errors
    /// [`Error::Setting`] for what a TOML file cannot hold.
    pub(crate) fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|e| {
            // What a TOML file cannot hold is a number beyond 63 bits, and the error does not say which.
            let all = serde_json::to_value(self).unwrap_or_default();
            let large = |(name, value): (&String, &serde_json::Value)| {
                value
                    .as_u64()
                    .filter(|&n| i64::try_from(n).is_err())
                    .map(|n| format!("--{name} {n}: more than {} is taken for a mistake", i64::MAX))
            };
            let named = all.as_object().and_then(|all| all.iter().find_map(large));
            Error::Setting(named.unwrap_or_else(|| format!("the settings cannot be written: {e}")))
        })
    }

    /// From what [`Settings::table`] gave.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is no setting.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self> {
        table.try_into().map_err(|e| Error::Setting(format!("the settings cannot be read: {}", e.message())))
    }

    /// Loads the data set that is asked for, within its limits; and its name as it is written down: whole, so that it means the same from any
    /// folder.
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

/// What clap says over several lines, on one: the message, its tips, and where help is.
pub(crate) fn usage_line(e: &clap::Error) -> String {
    let text = e.to_string();
    let mut parts = Vec::new();
    for paragraph in text.split("\n\n") {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(rest) = line.strip_prefix("error: ") {
            parts.push(rest.to_owned());
        } else if line.starts_with("tip: ") {
            parts.push(format!("({line})"));
        }
    }
    if parts.is_empty() {
        // No command at all: clap shows the whole help instead of a message.
        parts.push("a command is missing: train, compare, sweep, eval, report, update, align, info or selftest".into());
    }
    parts.push("— see --help".into());
    parts.join(" ")
}

/// Settings that a run may be resumed with: no bit of it depends on them, but for how many there are.
const MAY_CHANGE: [&str; 5] = ["epochs", "threads", "isa", "checkpoint-every", "keep"];

/// The data set's name where none is given.
pub(crate) const DEFAULT_DATA: &str = "digits";
