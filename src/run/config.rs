//! The settings of a run: options from flags and files, completed by published defaults.

use crate::base::error::{Error, Result};
use crate::data::{Dataset, Scaling};
use crate::model::activation;
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::model::network::Architecture;
use crate::ortho::{Block, Hold, Layers, Penalty, Regularizer, Retraction, Side};
use crate::rule::{LearningRule, TargetForm};
use crate::run::options::{DEFAULT_DATA, Holding, Options, Regularizing, Sizes, Unit};
use crate::solve::SolverKind;
use crate::step::Decorrelation;
use crate::step::optimizer::{OptimizerConfig, OptimizerKind};
use crate::study::align::Precision;
use crate::train::{self, Preset, TrainConfig};
use gaitprop_kernels::{Backend, Isa, Par, Plan, Real};
use std::path::Path;

/// Resolves the text of a configuration file for a run on the embedded data. Returns the text that
/// such a run writes to its folder.
///
/// # Errors
/// As `train --config` with this file. No file is read, and memory is not checked.
pub fn resolve_text(text: &str) -> Result<String> {
    let options = Options::parse(text, Path::new("config.toml"))?;
    if options.data.as_deref().is_some_and(|name| name != DEFAULT_DATA) {
        return Err(Error::Setting("--data: only the embedded set can be resolved without files".into()));
    }
    let (name, data) = options.load_data()?;
    RunConfig::resolve(options, &data)?.options(&name).to_toml()
}

/// Precision, threads, instruction set and GEMM library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime {
    pub(crate) precision: Precision,
    pub(crate) threads: usize,
    pub(crate) isa: Isa,
    pub(crate) backend: Backend,
}

/// Upper limit: more threads can exhaust the system.
const MAX_THREADS: usize = 1024;

impl Runtime {
    /// Resolves the options of this kind.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub(crate) fn of(options: &Options) -> Result<Self> {
        Self::new(options.dtype, options.threads, options.isa.as_deref(), options.backend.as_deref())
    }

    /// # Errors
    /// [`Error::Setting`] for a number of threads out of range; [`Error::Kernel`] for an
    /// instruction set or library that is not available.
    pub(crate) fn new(
        dtype: Option<Precision>,
        threads: Option<usize>,
        isa: Option<&str>,
        backend: Option<&str>,
    ) -> Result<Self> {
        let threads = match threads {
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            Some(0) => return Err(Error::Setting("--threads must be at least 1".into())),
            Some(n) if n > MAX_THREADS => {
                return Err(Error::Setting(format!("--threads {n}: use at most {MAX_THREADS}")));
            }
            Some(n) => n,
        };
        Ok(Self {
            precision: dtype.unwrap_or(Precision::F32),
            threads,
            isa: Isa::named(isa.unwrap_or("auto"))?,
            backend: Backend::named(backend.unwrap_or("native"))?,
        })
    }

    /// Starts the team of threads, if there are several.
    pub(crate) fn par(&self) -> Result<Par> {
        let threads = self.threads;
        if threads == 1 {
            return Ok(Par::Seq);
        }
        Par::team(threads).map_err(|e| match e {
            gaitprop_kernels::Error::Threads { started, .. } => {
                Error::Threads { threads, what: format!("the system refused thread {}", started + 1) }
            }
            other => other.into(),
        })
    }

    /// Returns a plan that uses `par`.
    pub(crate) fn plan(&self, par: Par) -> Plan {
        Plan::new().with_isa(self.isa).with_backend(self.backend).with_par(par)
    }
}

/// The settings of one run, complete and checked.
#[derive(Clone, Debug)]
pub(crate) struct RunConfig {
    pub(crate) train: TrainConfig,
    pub(crate) architecture: Architecture,
    pub(crate) epochs: usize,
    /// Epochs between reports on layers; 0 for none.
    pub(crate) diagnose_every: usize,
    /// Steps between lines of statistics; 0 for none.
    pub(crate) stats_every: u64,
    pub(crate) seed: u64,
    pub(crate) scale: Scaling,
    pub(crate) runtime: Runtime,
    regularizing: Regularizing,
    holding: Holding,
    /// Options as given, for those without a field here.
    pub(crate) options: Options,
}

impl RunConfig {
    /// Completes and checks options. The data set determines the widths of input and output.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that are out of range, contradict each other, or do not fit
    /// the data.
    pub(crate) fn resolve(options: Options, data: &Dataset) -> Result<Self> {
        let rule = options.rule.unwrap_or(LearningRule::Gait);
        let published = TrainConfig::preset(options.preset.unwrap_or(Preset::Paper), rule);
        let holding = options.holding();
        let regularizing = options.regularizer.unwrap_or(holding.regularizing());
        check_contradictions(&options, holding, regularizing, data)?;
        let regularizer = regularizer(&options, holding, regularizing, &published.regularizer)?;
        let loss = options.loss.unwrap_or(published.loss);
        let target_form = options.form.unwrap_or(published.target_form);
        let optimizer = options.optimizer.unwrap_or(published.optimizer);
        // The constants of another optimizer do not count.
        let constants = if optimizer == published.optimizer { published } else { TrainConfig::published(rule) };
        let usual_solver = match (target_form, holding) {
            (TargetForm::Absolute, _) => SolverKind::Lu,
            // A decorrelation is not orthogonal.
            (_, Holding::Cayley) if options.decor_lr.is_none() => SolverKind::Transpose,
            _ => published.solver,
        };
        let digits = options.data.as_deref().unwrap_or(DEFAULT_DATA) == DEFAULT_DATA;
        let config = Self {
            train: TrainConfig {
                rule,
                gamma: options.gamma.unwrap_or(published.gamma),
                target_form,
                solver: options.inverse.unwrap_or(usual_solver),
                tolerance: options.tolerance.unwrap_or(published.tolerance),
                damping: options.damping.unwrap_or(published.damping),
                inverse_rate: options.inverse_lr,
                decorrelation: options
                    .decor_lr
                    .map(|rate| Decorrelation { rate, share: options.decor_share.unwrap_or(Decorrelation::SHARE) }),
                loss,
                regularizer,
                hold: hold(&options, holding, &regularizer)?,
                optimizer,
                learning_rate: options.lr.unwrap_or(published.learning_rate),
                beta1: options.beta1.or(constants.beta1),
                beta2: options.beta2.or(constants.beta2),
                epsilon: options.epsilon.or(constants.epsilon),
                weight_decay: options.weight_decay.unwrap_or(published.weight_decay),
                init: options.init.unwrap_or(published.init),
                batch: options.batch.unwrap_or(published.batch),
                shuffle: options.shuffle.unwrap_or(published.shuffle),
            },
            architecture: shape(&options, loss, data)?,
            epochs: options.epochs.unwrap_or(options.preset.map_or(if digits { 300 } else { 10 }, Preset::epochs)),
            diagnose_every: options.diagnose_every.unwrap_or(1),
            stats_every: options.stats_every.unwrap_or(0),
            seed: options.seed.unwrap_or(1),
            scale: options.scale.unwrap_or(Scaling::Unit),
            runtime: Runtime::of(&options)?,
            regularizing,
            holding,
            options,
        };
        config.check(data)?;
        Ok(config)
    }

    /// Refuses settings out of range or in conflict, before any work.
    fn check(&self, data: &Dataset) -> Result<()> {
        let Self { train, epochs, seed, .. } = self;
        let refuse = |what: String| Err(Error::Setting(what));
        if train.batch == 0 || train.batch > TrainConfig::MAX_BATCH {
            return refuse(format!("--batch {}: use 1 to {}", train.batch, TrainConfig::MAX_BATCH));
        }
        if *epochs > MAX_EPOCHS {
            return refuse(format!("--epochs {epochs}: use at most {MAX_EPOCHS}"));
        }
        if i64::try_from(*seed).is_err() {
            return refuse(format!("--seed {seed}: use at most {}, the largest number that a TOML file can hold", i64::MAX));
        }
        train.rule.check(&train.rule_config(&self.architecture, *seed))?;
        check_form(train)?;
        if train.decorrelation.is_some() {
            check_decorrelation(train.rule, train.target_form, train.solver)?;
        }
        if train.hold == Hold::Cayley && train.weight_decay > 0.0 {
            let rho = train.weight_decay;
            return refuse(format!(
                "rotations (--hold cayley) keep the norm of weights, and the weight decay is {rho}, but must be 0: use --weight-decay 0"
            ));
        }
        match self.runtime.precision {
            Precision::F32 => check_in::<f32>(train, &self.architecture)?,
            Precision::F64 => check_in::<f64>(train, &self.architecture)?,
        }
        check_solver(&self.options, train.solver)?;
        if train.hold == Hold::Cayley && train.init != Init::Orthogonal {
            return refuse("--hold cayley keeps weights as orthogonal as they start: use --init orthogonal".into());
        }
        check_shape(train, &self.architecture)?;
        if let Some(held) = data.validation.as_ref().filter(|_| data.train.len() < train.batch) {
            return refuse(format!(
                "--validation {} leaves {} training samples, less than a batch of {}: hold out fewer, or use a smaller --batch",
                held.len(),
                data.train.len(),
                train.batch
            ));
        }
        // Every number must fit into config.toml.
        self.options("").table().map(|_| ())
    }

    /// Describes data and network in one line.
    pub(crate) fn describe(&self, data: &Dataset) -> String {
        let shape: Vec<String> = self.architecture.layers.iter().map(|(fed, width)| format!("{fed}x{width}")).collect();
        let validation = data.validation.as_ref().map_or(String::new(), |held| format!("{} validation, ", held.len()));
        let (train, test) = (data.train.len(), data.test.len());
        format!("{}: {train} train, {validation}{test} test; layers {}", data.name, shape.join(" "))
    }

    /// The regularizer's name in metrics, where a hold by blocks counts as one.
    pub(crate) fn regularizer_name(&self) -> &'static str {
        match (self.regularizing, self.holding) {
            (Regularizing::None, Holding::Block) => "block",
            (regularizing, _) => regularizing.name(),
        }
    }

    /// The name in metrics of a hold that makes weights exactly orthogonal.
    pub(crate) fn orthogonal_name(&self) -> &'static str {
        match self.holding {
            Holding::Retract => "retraction",
            Holding::Cayley => "cayley",
            Holding::None | Holding::Block => "none",
        }
    }

    /// Returns the options that decide the bits of the run, its length aside.
    pub(crate) fn deciding(&self) -> Options {
        let data = self.options.data.as_deref().unwrap_or(DEFAULT_DATA);
        let all = self.options(data);
        Options { preset: None, epochs: None, threads: None, isa: None, checkpoint_every: None, keep: None, ..all }
    }

    /// Returns options that give exactly this run again, with every default spelled out.
    pub(crate) fn options(&self, data: &str) -> Options {
        let Self { train, architecture, options, .. } = self;
        let block = if let Hold::Block(block) = train.hold { Some(block) } else { None };
        let (tower, dense) = (options.tower.clone(), options.dense.clone());
        let widths = || Sizes(architecture.layers.iter().map(|l| l.1).collect());
        let learned = train.solver == SolverKind::Learned;
        let optimizer = train.optimizer_config().ok();
        Options {
            data: Some(data.to_owned()),
            scale: Some(self.scale),
            classes: Some(architecture.labels),
            rule: Some(train.rule),
            gamma: Some(train.gamma),
            form: Some(train.target_form),
            regularizer: Some(self.regularizing),
            lambda: (self.regularizing == Regularizing::Exact).then_some(train.regularizer.lambda),
            ortho_form: Some(train.regularizer.form),
            ortho_side: Some(train.regularizer.side),
            ortho_layers: Some(train.regularizer.layers),
            hold: Some(self.holding),
            block: block.map(|b| b.rows),
            mu: block.map(|b| b.mu),
            inverse: Some(train.solver),
            tolerance: Some(train.tolerance),
            damping: (train.solver == SolverKind::Damped).then_some(train.damping),
            inverse_lr: learned.then(|| train.inverse_rate.unwrap_or(train.learning_rate)),
            decor_lr: train.decorrelation.map(|d| d.rate),
            decor_share: train.decorrelation.map(|d| d.share),
            layers: (tower.is_none() && dense.is_none()).then(widths),
            dense,
            tower,
            activation: Some(Unit(architecture.activation)),
            init: Some(train.init),
            loss: Some(train.loss),
            optimizer: Some(train.optimizer),
            lr: Some(train.learning_rate),
            beta1: constant(optimizer, "beta1", |of| of.beta1),
            beta2: constant(optimizer, "beta2", |of| of.beta2),
            epsilon: constant(optimizer, "epsilon", |of| of.epsilon),
            // Files of earlier versions lack the key: without weight decay, files stay the same.
            weight_decay: [train.weight_decay, train.rule.weight_decay()]
                .iter()
                .any(|&rho| rho > 0.0)
                .then_some(train.weight_decay),
            batch: Some(train.batch),
            epochs: Some(self.epochs),
            diagnose_every: Some(self.diagnose_every),
            stats_every: Some(self.stats_every),
            shuffle: Some(train.shuffle),
            seed: Some(self.seed),
            dtype: Some(self.runtime.precision),
            // The result does not depend on the instruction set.
            isa: Some("auto".into()),
            backend: Some(self.runtime.backend.name().into()),
            // A run that reads this file must not overwrite the same folder.
            out: None,
            width: None,
            hidden: None,
            beside: None,
            orthogonal: None,
            ..options.clone()
        }
    }
}

/// Builds the architecture that options describe.
fn shape(options: &Options, loss: Loss, data: &Dataset) -> Result<Architecture> {
    let square = options.width.is_some() || options.hidden.is_some();
    let several = [options.layers.is_some(), options.dense.is_some(), options.tower.is_some(), square];
    if several.into_iter().filter(|&x| x).count() > 1 {
        let what = "--layers, --dense, --tower and --width/--hidden each describe a whole network: use one of them";
        return Err(Error::Setting(what.into()));
    }
    let mut architecture = match (&options.tower, &options.layers, &options.dense) {
        (Some(Sizes(sizes)), ..) if sizes.first() != Some(&data.features) => {
            let (features, name) = (data.features, &data.name);
            let what = format!("--tower starts with the width of the input, which is {features} for {name}");
            return Err(Error::Setting(what));
        }
        (Some(Sizes(sizes)), ..) => Architecture::tower(sizes, data.classes)?,
        (_, Some(Sizes(sizes)), _) => Architecture::widths(data.features, sizes, data.classes)?,
        (.., Some(Sizes(sizes))) => Architecture::dense(data.features, sizes, data.classes)?,
        _ => {
            let (width, hidden) = (options.width.unwrap_or(data.features), options.hidden.unwrap_or(4));
            Architecture::square(data.features, width, hidden, data.classes)?
        }
    };
    let unit = options.activation.map_or(activation::PUBLISHED, |unit| unit.0);
    (architecture.activation, architecture.output_activation) = (unit, loss.output_activation(unit));
    Ok(architecture)
}

/// Returns the regularizer; a hold shares its side and layers. What options leave out is as in
/// `usual`.
fn regularizer(options: &Options, holding: Holding, regularizing: Regularizing, usual: &Regularizer) -> Result<Regularizer> {
    // A given λ is checked even if the regularizer is off.
    let given = Regularizer::new(options.lambda.unwrap_or(usual.lambda))?;
    let off = regularizing == Regularizing::None;
    let (side, form, layers) = match (holding, off) {
        (Holding::Block, true) => (Side::Columns, Penalty::OffDiagonal, usual.layers),
        (Holding::Block, false) => (Side::Columns, usual.form, usual.layers),
        (Holding::Cayley, _) => (usual.side, usual.form, Layers::All),
        _ => (usual.side, usual.form, usual.layers),
    };
    Ok(Regularizer {
        lambda: if off { 0.0 } else { given.lambda },
        form: options.ortho_form.unwrap_or(form),
        side: options.ortho_side.unwrap_or(side),
        layers: options.ortho_layers.unwrap_or(layers),
    })
}

/// Returns the hold with its constants. The default μ is 0 for rules whose published λ is 0.
fn hold(options: &Options, holding: Holding, regularizer: &Regularizer) -> Result<Hold> {
    let Regularizer { side, layers, .. } = *regularizer;
    Ok(match holding {
        Holding::None => Hold::Free,
        Holding::Cayley => Hold::Cayley,
        Holding::Retract => {
            let missing = || Error::Setting("--hold retract needs --retract-every K, the steps between retractions".into());
            Hold::Retract(Retraction { layers, ..Retraction::new(options.retract_every.ok_or_else(missing)?)? })
        }
        Holding::Block => {
            let published = options.rule.unwrap_or(LearningRule::Gait).published().1;
            let mu = options.mu.unwrap_or(if published > 0.0 { Block::MU } else { 0.0 });
            let block = Block { rows: options.block.unwrap_or(Block::ROWS), side, layers, ..Block::new(mu)? };
            block.check()?;
            Hold::Block(block)
        }
    })
}

/// Refuses constants of a hold or regularizer that is not on, and contradictory options of
/// checkpoints and early stopping.
fn check_contradictions(options: &Options, holding: Holding, regularizing: Regularizing, data: &Dataset) -> Result<()> {
    let (block, unregularized) = (holding == Holding::Block, regularizing == Regularizing::None);
    let block_constants = options.block.is_some() || options.mu.is_some();
    let lambda = options.lambda.is_some_and(|lambda| lambda > 0.0);
    let identity = options.ortho_form == Some(Penalty::Identity);
    let retracts = holding == Holding::Retract || options.retract_every.is_none();
    let unvalidated = options.patience.is_some() && data.validation.is_none();
    let free = options.ortho_layers == Some(Layers::AboveFirst) && holding == Holding::Cayley;
    let refused = [
        (block_constants && !block, "--block and --mu belong to --hold block: add it"),
        (!retracts, "--retract-every belongs to --hold retract: leave out one of --hold and --retract-every"),
        (
            lambda && unregularized,
            "--lambda is the weight of the exact regularizer: add --regularizer exact (--hold block has --mu)",
        ),
        (identity && unregularized && block, "--hold block leaves norms free: --ortho-form identity needs --regularizer exact"),
        (free, "--hold cayley rotates every layer: leave out --ortho-layers above-first"),
        (options.checkpoint_every == Some(0), "--checkpoint-every 0: use 1 step or more"),
        (options.keep == Some(0), "--keep 0: at least the last checkpoint must be kept"),
        (options.patience == Some(0), "--patience 0: use 1 epoch or more"),
        (unvalidated, "--patience needs validation samples: add --validation"),
        (options.decor_share.is_some() && options.decor_lr.is_none(), "--decor-share belongs to a decorrelation: add --decor-lr"),
    ];
    refused.iter().find(|(contradicts, _)| *contradicts).map_or(Ok(()), |(_, what)| Err(Error::Setting((*what).into())))
}

/// Returns a constant of an optimizer that uses it.
fn constant(optimizer: Option<OptimizerConfig>, name: &str, of: fn(OptimizerConfig) -> f64) -> Option<f64> {
    optimizer.filter(|config| config.rule.constants().contains(&name)).map(of)
}

/// Completes the options of a checkpoint or run by defaults of options that its version did not
/// have, and drops keys that are gone.
pub(crate) fn completed(then: Options) -> Options {
    let optimizer = then.optimizer.unwrap_or(OptimizerKind::PublishedAdam);
    let usual = OptimizerConfig::new(optimizer, 0.0).ok();
    Options {
        hold: Some(then.holding()),
        ortho_layers: then.ortho_layers.or(Some(Layers::All)),
        beta1: then.beta1.or_else(|| constant(usual, "beta1", |of| of.beta1)),
        beta2: then.beta2.or_else(|| constant(usual, "beta2", |of| of.beta2)),
        epsilon: then.epsilon.or_else(|| constant(usual, "epsilon", |of| of.epsilon)),
        stats_every: then.stats_every.or(Some(0)),
        beside: None,
        orthogonal: None,
        ..then
    }
}

/// Refuses absolute targets for rules without targets. Adds the flag to the library's check.
pub(crate) fn check_form(train: &TrainConfig) -> Result<()> {
    let TrainConfig { rule, target_form, .. } = *train;
    if target_form == TargetForm::Absolute && !rule.sends_targets() {
        return Err(Error::Setting(format!("--form absolute is a form of gait, itp and tp: {rule} sends no targets")));
    }
    train.check_form().map_err(|e| Error::Setting(format!("{e} (use --inverse lu, or --form difference)")))
}

/// The library's check of targets through decorrelations, with the flags.
pub(crate) fn check_decorrelation(rule: LearningRule, form: TargetForm, solver: SolverKind) -> Result<()> {
    let advice = match form {
        TargetForm::Absolute => "--form absolute: use --form difference",
        TargetForm::Difference => "--inverse transpose: use --inverse auto",
    };
    train::check_decorrelation(rule, form, solver).map_err(|e| Error::Setting(format!("{e} ({advice})")))
}

/// [`TrainConfig::check_shape`] with the flags that allow layers of any shape.
pub(crate) fn check_shape(train: &TrainConfig, architecture: &Architecture) -> Result<()> {
    let advice = match train.target_form {
        TargetForm::Absolute => "difference targets with --inverse damped or --inverse learned",
        TargetForm::Difference => "--inverse damped, --inverse learned",
    };
    train.check_shape(architecture).map_err(|e| match e {
        Error::Architecture { layer, what } => Error::Architecture { layer, what: format!("{what} ({advice})") },
        other => other,
    })
}

/// Refuses constants that round to nothing in the element type. Training would refuse them too, but
/// only after the old results have been removed.
fn check_in<T: Real>(train: &TrainConfig, architecture: &Architecture) -> Result<()> {
    train.check_in::<T>()?;
    architecture.activation.check::<T>()?;
    Ok(architecture.output_activation.check::<T>()?)
}

/// Refuses constants of another solver than the run's.
fn check_solver(options: &Options, solver: SolverKind) -> Result<()> {
    let refused = [
        (options.damping.is_some() && solver != SolverKind::Damped, "--damping belongs to --inverse damped: add it"),
        (options.inverse_lr.is_some() && solver != SolverKind::Learned, "--inverse-lr belongs to --inverse learned: add it"),
    ];
    refused.iter().find(|(contradicts, _)| *contradicts).map_or(Ok(()), |(_, what)| Err(Error::Setting((*what).into())))
}

/// Upper limit that catches typing errors.
const MAX_EPOCHS: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use gaitprop_kernels::Activation;

    #[test]
    fn lists_of_widths() {
        assert_eq!("784-500-10".parse(), Ok(Sizes(vec![784, 500, 10])));
        assert_eq!("784, 500".parse(), Ok(Sizes(vec![784, 500])));
        assert!("".parse::<Sizes>().is_err() && "3,,4".parse::<Sizes>().is_err() && "a".parse::<Sizes>().is_err());
        let file: Options = toml::from_str("layers = [3, 4]\ntower = \"5-6\"").unwrap();
        assert_eq!((file.layers, file.tower), (Some(Sizes(vec![3, 4])), Some(Sizes(vec![5, 6]))));
    }

    /// A written configuration resolves to the same run.
    #[test]
    fn resolved_settings_resolve_to_themselves() {
        let data = crate::data::load(DEFAULT_DATA, &Default::default()).unwrap();
        let options = Options { lr: Some(3e-4), hidden: Some(2), activation: Some(Unit(Activation::Tanh)), ..Options::default() };
        let run = RunConfig::resolve(options, &data).unwrap();
        let first = run.options(DEFAULT_DATA);
        let text = toml::to_string(&first).unwrap();
        let again = RunConfig::resolve(toml::from_str(&text).unwrap(), &data).unwrap();
        assert_eq!(again.options(DEFAULT_DATA), first, "{text}");
        assert_eq!(again.architecture, run.architecture);
    }

    /// Checkpoints of earlier versions, which lack some options, are of the same run.
    #[test]
    fn options_of_earlier_checkpoints_are_completed() {
        let data = crate::data::load(DEFAULT_DATA, &Default::default()).unwrap();
        let optimizers = [OptimizerKind::PublishedAdam, OptimizerKind::Adam, OptimizerKind::Momentum, OptimizerKind::Sgd];
        for optimizer in optimizers.map(Some) {
            let now = RunConfig::resolve(Options { optimizer, ..Options::default() }, &data).unwrap().deciding();
            let constants = Options { beta1: None, beta2: None, epsilon: None, ..now.clone() };
            let then = Options { hold: None, ortho_layers: None, stats_every: None, ..constants };
            assert_eq!(completed(then), now);
        }
        let now = RunConfig::resolve(Options { beta2: Some(0.5), ..Options::default() }, &data).unwrap().deciding();
        assert_ne!(completed(Options { beta2: None, ..now.clone() }), now);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Options { lr: Some(1.0), ..Options::default() };
        let file = Options { lr: Some(2.0), batch: Some(7), ..Options::default() };
        let both = flags.or(file);
        assert_eq!((both.lr, both.batch), (Some(1.0), Some(7)));
        // A description of the network replaces another; a new rule drops the old rule's constants.
        let file = Options { layers: Some(Sizes(vec![9])), rule: Some(LearningRule::Bp), lr: Some(2.0), ..Options::default() };
        let flags = Options { hidden: Some(3), rule: Some(LearningRule::Tp), ..Options::default() };
        let both = flags.or(file.clone());
        assert_eq!((both.layers, both.hidden, both.lr), (None, Some(3), None));
        let both = Options::default().or(file);
        assert_eq!((both.layers, both.lr), (Some(Sizes(vec![9])), Some(2.0)));
        let file = Options { width: Some(5), hidden: Some(2), ..Options::default() };
        let both = Options { hidden: Some(3), ..Options::default() }.or(file);
        assert_eq!((both.width, both.hidden), (Some(5), Some(3)));
    }
}
