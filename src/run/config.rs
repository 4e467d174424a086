//! Settings of a training run: from flags, from a file with the same names, and from published defaults, in this order.

use crate::base::error::{Error, Result};
use crate::base::names::names;
use crate::data::{Dataset, Scaling};
use crate::model::activation;
use crate::model::init::Init;
use crate::model::loss::Loss;
use crate::model::network::Architecture;
use crate::ortho::{Block, Hold, Penalty, Regularizer, Retraction, Side};
use crate::rule::{self, LearningRule, RuleConfig};
use crate::run::options::{DEFAULT_DATA, Settings, Sizes};
use crate::solve::{self, Tuning};
use crate::step::{check_rotations, optimizer};
use crate::study::align::Precision;
use crate::train::TrainConfig;
use gaitprop_kernels::{Activation, Backend, Isa, Par, Plan};
use std::path::Path;
use std::str::FromStr;

/// What the settings in a file's text come to for a run on the embedded data: the text that such a run writes of itself.
///
/// # Errors
/// As `train --config` with this file, but before any file is read and any memory is asked for.
pub fn resolve_text(text: &str) -> Result<String> {
    let said = Settings::parse(text, Path::new("config.toml"))?;
    if said.data.as_deref().is_some_and(|name| name != DEFAULT_DATA) {
        return Err(Error::Setting("--data: only the embedded set can be resolved without files".into()));
    }
    let (name, data) = said.load_data()?;
    let run = Run::resolve(said, &data)?;
    run.resolved(run.kind, &name)?.to_toml()
}

/// What keeps weights near orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Exact,
    Block,
    None,
}

names!(Keep, "regulariser", Exact = "exact", Block = "block", None = "none");

/// What keeps weights orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orthogonal {
    None,
    Cayley,
}

names!(Orthogonal, "way of staying orthogonal", None = "none", Cayley = "cayley");

/// How kernels run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) precision: Precision,
    pub(crate) threads: usize,
    pub(crate) isa: Isa,
    pub(crate) backend: Backend,
}

/// More than this is taken for a mistake: starting them would take the machine down.
const MAX_THREADS: usize = 1024;

impl Machine {
    pub(crate) fn new(dtype: Option<&str>, threads: Option<usize>, isa: Option<&str>, backend: Option<&str>) -> Result<Self> {
        let threads = match threads {
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            Some(0) => return Err(Error::Setting("--threads 0: no thread, no work; use 1 or more".into())),
            Some(n) if n > MAX_THREADS => {
                return Err(Error::Setting(format!("--threads {n}: more than {MAX_THREADS} threads are taken for a mistake")));
            }
            Some(n) => n,
        };
        Ok(Self {
            precision: dtype.unwrap_or("f32").parse()?,
            threads,
            isa: Isa::named(isa.unwrap_or("auto"))?,
            backend: Backend::named(backend.unwrap_or("native"))?,
        })
    }

    /// Starts the threads, if more than one is asked for.
    pub(crate) fn par(&self) -> Result<Par> {
        let threads = self.threads;
        if threads == 1 {
            return Ok(Par::Seq);
        }
        Par::team(threads).map_err(|e| match e {
            gaitprop_kernels::Error::Threads { started, .. } => {
                Error::Threads { threads, what: format!("the system refused the {}. of them", started + 1) }
            }
            other => other.into(),
        })
    }

    /// The plan that runs on these threads.
    pub(crate) fn plan(&self, par: Par) -> Plan {
        Plan::new().with_isa(self.isa).with_backend(self.backend).with_par(par)
    }
}

/// Settings of one run with nothing left open.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) kind: LearningRule,
    pub(crate) beside: Option<LearningRule>,
    gamma: f64,
    target_form: rule::TargetForm,
    pub(crate) architecture: Architecture,
    pub(crate) init: Init,
    pub(crate) loss: Loss,
    pub(crate) inverse: solve::SolverKind,
    tolerance: f64,
    pub(crate) batch: usize,
    pub(crate) epochs: usize,
    /// Epochs between reports on layers; 0 for none.
    pub(crate) diagnose_every: usize,
    pub(crate) seed: u64,
    pub(crate) shuffle: bool,
    pub(crate) scale: Scaling,
    pub(crate) machine: Machine,
    optimizer: optimizer::OptimizerKind,
    keep: Keep,
    orthogonal: Orthogonal,
    form: Penalty,
    side: Side,
    lr: Option<f64>,
    lambda: Option<f64>,
    unit: Activation,
    /// As they would be written to a file that gives this run again.
    said: Settings,
}

/// Reads a name with `FromStr`, or takes the default.
fn named<V: FromStr>(said: Option<&String>, default: V) -> Result<V>
where
    Error: From<V::Err>,
{
    Ok(match said {
        Some(name) => name.parse()?,
        None => default,
    })
}

impl Run {
    /// Fills in what was not said. `said` is checked; the data decides about widths.
    pub(crate) fn resolve(said: Settings, data: &Dataset) -> Result<Self> {
        let kind = named(said.rule.as_ref(), LearningRule::Gait)?;
        let beside = match said.beside.as_deref() {
            Some("none") => None,
            Some(name) => Some(name.parse()?),
            None => said.rule.is_none().then_some(LearningRule::Bp),
        };
        if beside == Some(kind) {
            return Err(Error::Setting(format!("--beside {kind}: the same rule twice shows nothing")));
        }
        let loss: Loss = named(said.loss.as_ref(), Loss::Squared)?;
        let unit = activation::parse(said.activation.as_deref().unwrap_or("leaky-relu:0.1"))?;
        let mut architecture = Self::shape(&said, data)?;
        (architecture.activation, architecture.output_activation) = (unit, loss.output_activation(unit));
        let orthogonal = named(said.orthogonal.as_ref(), Orthogonal::None)?;
        // Rotations leave nothing to regularise.
        let keep = named(said.regularizer.as_ref(), if orthogonal == Orthogonal::Cayley { Keep::None } else { Keep::Exact })?;
        let target_form = named(said.form.as_ref(), rule::TargetForm::Difference)?;
        let digits = said.data.as_deref().unwrap_or(DEFAULT_DATA) == DEFAULT_DATA;
        let run = Self {
            kind,
            beside,
            gamma: said.gamma.unwrap_or(1e-3),
            target_form,
            architecture,
            init: named(said.init.as_ref(), Init::Orthogonal)?,
            loss,
            inverse: named(
                said.inverse.as_ref(),
                match (target_form, orthogonal) {
                    (rule::TargetForm::Absolute, _) => solve::SolverKind::Lu,
                    (_, Orthogonal::Cayley) => solve::SolverKind::Transpose,
                    _ => solve::SolverKind::Auto,
                },
            )?,
            tolerance: said.tolerance.unwrap_or(Tuning::default().tolerance),
            batch: said.batch.unwrap_or(60),
            epochs: said.epochs.unwrap_or(if digits { 300 } else { 10 }),
            diagnose_every: said.diagnose_every.unwrap_or(1),
            seed: said.seed.unwrap_or(1),
            shuffle: said.shuffle.unwrap_or(false),
            scale: named(said.scale.as_ref(), Scaling::Unit)?,
            machine: Machine::new(said.dtype.as_deref(), said.threads, said.isa.as_deref(), said.backend.as_deref())?,
            optimizer: named(said.optimizer.as_ref(), optimizer::OptimizerKind::PublishedAdam)?,
            keep,
            orthogonal,
            form: named(said.ortho_form.as_ref(), Penalty::OffDiagonal)?,
            side: named(said.ortho_side.as_ref(), if keep == Keep::Block { Side::Columns } else { Side::Rows })?,
            lr: said.lr,
            lambda: said.lambda,
            unit,
            said,
        };
        // Whatever can be wrong is said before any work.
        for kind in std::iter::once(kind).chain(beside) {
            kind.check(&run.setup())?;
            run.optimizer(kind)?;
            run.regularizer(kind)?;
            run.tuning(kind)?;
            run.hold(kind)?;
        }
        run.check_keep()?;
        run.check_form()?;
        run.check_validation(data)?;
        run.check_saving(data)?;
        if i64::try_from(run.seed).is_err() {
            return Err(Error::Setting(format!(
                "--seed {}: use at most {}, the largest number that a TOML file can hold",
                run.seed,
                i64::MAX
            )));
        }
        // As its file will hold it, or not.
        run.resolved(kind, "")?.table()?;
        if run.epochs > MAX_EPOCHS {
            return Err(Error::Setting(format!("--epochs {}: more than {MAX_EPOCHS} are taken for a mistake", run.epochs)));
        }
        if run.batch == 0 || run.batch > MAX_BATCH {
            return Err(Error::Setting(format!("--batch {}: use 1 to {MAX_BATCH}", run.batch)));
        }
        Ok(run)
    }

    fn shape(said: &Settings, data: &Dataset) -> Result<Architecture> {
        let several = [said.layers.is_some(), said.tower.is_some(), said.width.is_some() || said.hidden.is_some()];
        if several.into_iter().filter(|&x| x).count() > 1 {
            return Err(Error::Setting(
                "--layers, --tower and --width/--hidden each describe a whole network: use one of them".into(),
            ));
        }
        if let Some(Sizes(sizes)) = &said.tower {
            if sizes.first() != Some(&data.features) {
                return Err(Error::Setting(format!(
                    "--tower starts with the width of the input, which is {} for {}",
                    data.features, data.name
                )));
            }
            return Architecture::tower(sizes, data.classes);
        }
        match &said.layers {
            Some(Sizes(sizes)) => Architecture::widths(data.features, sizes, data.classes),
            None => {
                Architecture::square(data.features, said.width.unwrap_or(data.features), said.hidden.unwrap_or(4), data.classes)
            }
        }
    }

    /// How the network is trained.
    pub(crate) fn train_config(&self) -> Result<TrainConfig> {
        let optimizer = self.optimizer(self.kind)?;
        Ok(TrainConfig {
            rule: self.kind,
            gamma: self.gamma,
            target_form: self.target_form,
            solver: self.inverse,
            tolerance: self.tolerance,
            loss: self.loss,
            regularizer: self.regularizer(self.kind)?,
            hold: self.hold(self.kind)?,
            optimizer: optimizer.rule,
            learning_rate: optimizer.learning_rate,
            init: self.init,
            batch: self.batch,
            shuffle: self.shuffle,
        })
    }

    /// What rules are built from.
    pub(crate) fn setup(&self) -> RuleConfig<'_> {
        let Self { architecture, gamma, target_form, init, seed, .. } = self;
        RuleConfig { architecture, gamma: *gamma, form: *target_form, init: *init, seed: *seed }
    }

    /// Refuses absolute targets where there are none, and where they would be lost to more than rounding.
    fn check_form(&self) -> Result<()> {
        if self.target_form == rule::TargetForm::Difference {
            return Ok(());
        }
        if !self.kind.sends_targets() {
            return Err(Error::Setting(format!("--form absolute is a form of gait, itp and tp: {} sends no targets", self.kind)));
        }
        if self.inverse != solve::SolverKind::Lu {
            let what = format!(
                "--inverse {}: its tolerance is far above the differences of absolute targets; use --inverse lu",
                self.inverse
            );
            return Err(Error::Setting(what));
        }
        Ok(())
    }

    /// Data and network in a line.
    pub(crate) fn describe(&self, data: &Dataset) -> String {
        let shape: Vec<String> = self.architecture.layers.iter().map(|(fed, width)| format!("{fed}x{width}")).collect();
        let validation = data.validation.as_ref().map_or(String::new(), |held| format!("{} validation, ", held.len()));
        let (train, test) = (data.train.len(), data.test.len());
        format!("{}: {train} train, {validation}{test} test; layers {}", data.name, shape.join(" "))
    }

    /// Whether columns are to be orthogonal, not rows.
    pub(crate) fn columns(&self) -> bool {
        self.side == Side::Columns
    }

    /// The optimiser of `kind`: the published learning rate unless one was given.
    pub(crate) fn optimizer(&self, kind: LearningRule) -> Result<optimizer::OptimizerConfig> {
        optimizer::OptimizerConfig::new(self.optimizer, self.lr.unwrap_or(kind.published().0))
    }

    /// The regulariser of `kind`: the published λ unless one was given.
    pub(crate) fn regularizer(&self, kind: LearningRule) -> Result<Regularizer> {
        // A weight that was given is looked at even if it is not this regulariser's.
        let bare = Regularizer::new(self.lambda.unwrap_or(kind.published().1))?;
        let lambda = if self.keep == Keep::Exact { bare.lambda } else { 0.0 };
        Ok(Regularizer { lambda, form: self.form, side: self.side })
    }

    /// What else holds the weights of `kind`: the default μ, if none was given, where the published λ is not 0.
    pub(crate) fn hold(&self, kind: LearningRule) -> Result<Hold> {
        if self.orthogonal == Orthogonal::Cayley {
            return Ok(Hold::Cayley);
        }
        if let Some(every) = self.said.retract_every {
            return Ok(Hold::Retract(Retraction::new(every)?));
        }
        if self.keep != Keep::Block {
            return Ok(Hold::Free);
        }
        let published = if kind.published().1 > 0.0 { Block::MU } else { 0.0 };
        let block = Block {
            rows: self.said.block.unwrap_or(Block::ROWS),
            side: self.side,
            ..Block::new(self.said.mu.unwrap_or(published))?
        };
        block.check()?;
        Ok(Hold::Block(block))
    }

    /// Refuses flags that contradict each other.
    fn check_keep(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Setting(what.into()));
        let Settings { lambda, block, mu, retract_every, .. } = &self.said;
        if self.orthogonal == Orthogonal::Cayley {
            if self.keep != Keep::None {
                return refuse("--orthogonal cayley leaves nothing to regularise: leave out --regularizer");
            }
            if retract_every.is_some() {
                return refuse("--orthogonal cayley leaves nothing to retract: leave out --retract-every");
            }
            if self.init != Init::Orthogonal {
                return refuse("--orthogonal cayley keeps weights as orthogonal as they start: use --init orthogonal");
            }
            check_rotations(self.optimizer, lambda.unwrap_or(0.0))?;
        }
        if self.keep != Keep::Block && (block.is_some() || mu.is_some()) {
            return refuse("--block and --mu belong to the block regulariser: add --regularizer block");
        }
        if self.keep != Keep::Exact && lambda.is_some_and(|lambda| lambda > 0.0) {
            return refuse(
                "--lambda is the weight of the exact regulariser: use --regularizer exact (the block regulariser has --mu)",
            );
        }
        if self.keep == Keep::Block && self.form == Penalty::Identity {
            return refuse("the block regulariser leaves norms free: --ortho-form identity needs --regularizer exact");
        }
        if self.keep == Keep::Block && retract_every.is_some() {
            return refuse("--regularizer block and --retract-every each make weights orthogonal: use one of them");
        }
        Ok(())
    }

    /// Steps from one checkpoint to the next, if they are counted.
    pub(crate) fn checkpoint_every(&self) -> Option<u64> {
        self.said.checkpoint_every
    }
    /// Checkpoints that are kept.
    pub(crate) fn keep(&self) -> usize {
        self.said.keep.unwrap_or(2)
    }
    /// Epochs without an improvement after which training ends, if ever.
    pub(crate) fn patience(&self) -> Option<usize> {
        self.said.patience
    }

    /// Refuses ways of saving and stopping that cannot be.
    fn check_saving(&self, data: &Dataset) -> Result<()> {
        let refuse = |what: &str| Err(Error::Setting(what.into()));
        let Settings { checkpoint_every, keep, patience, .. } = &self.said;
        if *checkpoint_every == Some(0) {
            return refuse("--checkpoint-every 0: use 1 step or more");
        }
        if *keep == Some(0) {
            return refuse("--keep 0: the last checkpoint at least must be kept");
        }
        if *patience == Some(0) {
            return refuse("--patience 0: use 1 epoch or more");
        }
        if patience.is_some() && data.validation.is_none() {
            return refuse("--patience looks at the validation loss: add --validation");
        }
        Ok(())
    }

    /// Refuses a validation set that leaves less than a batch.
    fn check_validation(&self, data: &Dataset) -> Result<()> {
        let (left, batch) = (data.train.len(), self.batch);
        match &data.validation {
            Some(held) if left < batch => Err(Error::Setting(format!(
                "--validation {} leaves {left} training samples, less than a batch of {batch}: hold out fewer, or use a smaller --batch",
                held.len()
            ))),
            _ => Ok(()),
        }
    }

    /// The regulariser's name in metrics.
    pub(crate) fn regularizer_name(&self) -> &'static str {
        self.keep.name()
    }

    /// In metrics, the name of what makes weights orthogonal and not just nearly so.
    pub(crate) fn orthogonal_name(&self) -> &'static str {
        if self.said.retract_every.is_some() { "retraction" } else { self.orthogonal.name() }
    }

    /// What solves of `kind` go by.
    pub(crate) fn tuning(&self, kind: LearningRule) -> Result<Tuning> {
        let regularized = self.regularizer(kind)?.lambda > 0.0 || self.hold(kind)? != Hold::Free;
        Ok(Tuning { regularized, ..Tuning::new(self.tolerance)? })
    }

    /// The settings that decide the bits of a run of one rule, its length aside.
    ///
    /// # Errors
    /// As [`Run::resolved`].
    pub(crate) fn deciding(&self) -> Result<Settings> {
        let all = self.resolved(self.kind, self.said.data.as_deref().unwrap_or(DEFAULT_DATA))?;
        Ok(Settings { epochs: None, threads: None, isa: None, checkpoint_every: None, keep: None, ..all })
    }

    /// This run for one of its rules alone, on this machine: what a file of its settings gives.
    ///
    /// # Errors
    /// None for a rule of a run that was resolved with this data.
    pub(crate) fn alone(&self, kind: LearningRule, name: &str, data: &Dataset) -> Result<Self> {
        Ok(Self {
            machine: self.machine,
            ..Self::resolve(Settings { beside: Some("none".into()), ..self.resolved(kind, name)? }, data)?
        })
    }

    /// Settings that give exactly this run again, with every default spelled out.
    pub(crate) fn resolved(&self, kind: LearningRule, data: &str) -> Result<Settings> {
        let shape = &self.architecture;
        let widths = || Sizes(shape.layers.iter().map(|l| l.1).collect());
        let tower = self.said.tower.clone();
        let block = if let Hold::Block(block) = self.hold(kind)? { Some(block) } else { None };
        Ok(Settings {
            // The place is not part of the run: read again, the file must not overwrite what it lies beside.
            out: None,
            checkpoint_every: self.said.checkpoint_every,
            keep: self.said.keep,
            tensorboard: self.said.tensorboard,
            data: Some(data.to_owned()),
            scale: Some(self.scale.to_string()),
            classes: Some(shape.labels),
            limit_train: self.said.limit_train,
            validation: self.said.validation,
            limit_test: self.said.limit_test,
            rule: Some(kind.to_string()),
            // The rule beside has a folder of its own, and a file that speaks of itself alone.
            beside: Some(self.beside.filter(|_| kind == self.kind).map_or("none".into(), |b| b.to_string())),
            gamma: Some(self.gamma),
            // Of a rule without targets the file would be refused.
            form: Some(if kind.sends_targets() { self.target_form } else { rule::TargetForm::Difference }.to_string()),
            regularizer: Some(self.keep.to_string()),
            lambda: (self.keep == Keep::Exact).then_some(self.regularizer(kind)?.lambda),
            ortho_form: Some(self.form.to_string()),
            ortho_side: Some(self.side.to_string()),
            inverse: Some(self.inverse.to_string()),
            tolerance: Some(self.tolerance),
            block: block.map(|b| b.rows),
            mu: block.map(|b| b.mu),
            retract_every: self.said.retract_every,
            orthogonal: Some(self.orthogonal.to_string()),
            layers: tower.is_none().then(widths),
            width: None,
            hidden: None,
            tower,
            activation: Some(activation::name(self.unit)),
            init: Some(self.init.to_string()),
            loss: Some(self.loss.to_string()),
            optimizer: Some(self.optimizer.to_string()),
            lr: Some(self.optimizer(kind)?.learning_rate),
            batch: Some(self.batch),
            epochs: Some(self.epochs),
            patience: self.said.patience,
            diagnose_every: Some(self.diagnose_every),
            shuffle: Some(self.shuffle),
            seed: Some(self.seed),
            dtype: Some(self.machine.precision.to_string()),
            // Whatever machine reads this: the result does not depend on them.
            threads: self.said.threads,
            isa: Some("auto".into()),
            backend: Some(self.machine.backend.name().into()),
        })
    }
}

/// More than this is taken for a mistake.
const MAX_EPOCHS: usize = 1 << 30;
/// More than this is taken for a mistake.
const MAX_BATCH: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_widths() {
        assert_eq!("784-500-10".parse(), Ok(Sizes(vec![784, 500, 10])));
        assert_eq!("784, 500".parse(), Ok(Sizes(vec![784, 500])));
        assert!("".parse::<Sizes>().is_err() && "3,,4".parse::<Sizes>().is_err() && "a".parse::<Sizes>().is_err());
        let file: Settings = toml::from_str("layers = [3, 4]\ntower = \"5-6\"").unwrap();
        assert_eq!((file.layers, file.tower), (Some(Sizes(vec![3, 4])), Some(Sizes(vec![5, 6]))));
    }

    /// What is written for a run gives the same run when read.
    #[test]
    fn resolved_settings_resolve_to_themselves() {
        let data = crate::data::load(DEFAULT_DATA, &Default::default()).unwrap();
        let said = Settings { lr: Some(3e-4), hidden: Some(2), activation: Some("tanh".into()), ..Settings::default() };
        let run = Run::resolve(said, &data).unwrap();
        let first = run.resolved(LearningRule::Gait, DEFAULT_DATA).unwrap();
        let text = toml::to_string(&first).unwrap();
        let again = Run::resolve(toml::from_str(&text).unwrap(), &data).unwrap();
        assert_eq!(again.resolved(LearningRule::Gait, DEFAULT_DATA).unwrap(), first, "{text}");
        assert_eq!(again.architecture, run.architecture);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings { lr: Some(1.0), ..Settings::default() };
        let file = Settings { lr: Some(2.0), batch: Some(7), ..Settings::default() };
        let both = flags.or(file);
        assert_eq!((both.lr, both.batch), (Some(1.0), Some(7)));
        // One description of a network displaces another, and one rule another's constants.
        let file = Settings { layers: Some(Sizes(vec![9])), rule: Some("bp".into()), lr: Some(2.0), ..Settings::default() };
        let flags = Settings { hidden: Some(3), rule: Some("tp".into()), ..Settings::default() };
        let both = flags.or(file.clone());
        assert_eq!((both.layers, both.hidden, both.lr), (None, Some(3), None));
        let both = Settings::default().or(file);
        assert_eq!((both.layers, both.lr), (Some(Sizes(vec![9])), Some(2.0)));
        let file = Settings { width: Some(5), hidden: Some(2), ..Settings::default() };
        let both = Settings { hidden: Some(3), ..Settings::default() }.or(file);
        assert_eq!((both.width, both.hidden), (Some(5), Some(3)));
    }
}
