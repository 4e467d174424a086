//! The fused step against the un-fused one, in every bit that they leave.

use gaitprop::checkpoint::State;
use gaitprop::kernels::{MatRef, Plan, Real};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{self, Optimizer, OptimizerConfig};
use gaitprop::ortho::Regularizer;
use gaitprop::rng::Rng;
use gaitprop::rule::{LearningRule, RuleConfig, TargetForm};
use gaitprop::solve::{SolverKind, Tuning};
use gaitprop::step::{Recipe, Report, Step};
use gaitprop::{Architecture, Network};
use gaitprop::{Error, Exec, init};

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: Architecture,
    pub batch: usize,
    pub rule: LearningRule,
    pub form: TargetForm,
    pub way: SolverKind,
    pub optimizer: optimizer::OptimizerKind,
    pub weight_decay: f64,
    pub ortho: Regularizer,
    pub loss: Loss,
    pub seed: u64,
}

/// Everything that a run of some steps leaves.
pub struct Left<T> {
    pub net: Network<T>,
    pub optimizer: Optimizer<T>,
    /// State of the rule.
    pub rule: State<T>,
    pub reports: Vec<Report>,
}

/// Some steps; fused or not, each on samples of its own.
pub fn run<T: Real>(case: &Case, fused: bool, plan: &Plan) -> Result<Left<T>, Error> {
    let mut net = Network::<T>::random(&case.shape, init::Init::Orthogonal, case.seed, plan)?;
    let setup = RuleConfig { form: case.form, seed: case.seed, ..RuleConfig::new(&case.shape) };
    let mut rule = case.rule.build(&setup, plan)?;
    let mut solver = case.way.build(Tuning { regularized: case.ortho.lambda > 0.0, ..Tuning::default() })?;
    let settings = OptimizerConfig { weight_decay: case.weight_decay, ..OptimizerConfig::new(case.optimizer, 1e-3)? };
    let mut optimizer = Optimizer::new(settings, &net);
    let (mut step_of, mut exec) = (Step::new(&net, case.batch), Exec::new(plan.clone()));
    let mut rng = Rng::new(case.seed, 2);
    let (inputs, labels) = (case.shape.inputs, case.shape.labels);
    let mut reports = Vec::new();
    for step in 0..3 {
        // A last batch may be short.
        let batch = if step == 2 { case.batch.div_ceil(2) } else { case.batch };
        let x: Vec<T> = (0..batch * inputs).map(|_| T::from_f64(rng.uniform())).collect();
        let mut t = vec![T::ZERO; batch * labels];
        (0..batch).for_each(|i| t[i * labels + (i + step) % labels] = T::ONE);
        let (x, t) = (MatRef::new(&x, batch, inputs).unwrap(), MatRef::new(&t, batch, labels).unwrap());
        let (loss, regularizer) = (case.loss, case.ortho);
        let mut recipe = Recipe { rule: &mut *rule, solver: &mut *solver, loss, regularizer, exec: &mut exec };
        reports.push(if fused {
            step_of.update(&mut net, x, t, &mut recipe, &mut optimizer)?
        } else {
            let report = step_of.gradients(&net, x, t, &mut recipe).map_err(|e| match e {
                Error::Diverged { what, layer, .. } => Error::Diverged { what, layer, step: optimizer.steps() + 1 },
                other => other,
            })?;
            optimizer.apply(&mut net, &step_of.gradients, plan.isa)?;
            rule.learn(&net, optimizer.settings().weight_decay, &mut exec)?;
            report
        });
    }
    Ok(Left { net, optimizer, rule: rule.save(), reports })
}

/// The first thing in which two runs differ.
pub fn difference<T: Real>(a: &Left<T>, b: &Left<T>) -> Option<String> {
    let bits =
        |x: &[T], y: &[T]| x.len() != y.len() || x.iter().zip(y).any(|(x, y)| x.to_f64().to_bits() != y.to_f64().to_bits());
    for (l, (one, other)) in a.net.layers().iter().zip(b.net.layers()).enumerate() {
        let moments = |run: &Left<T>| (run.optimizer.weight_moments(l).clone(), run.optimizer.bias_moments(l).clone());
        let ((aw, ab), (bw, bb)) = (moments(a), moments(b));
        let pairs = [
            ("weights", one.w.data(), other.w.data()),
            ("biases", &one.b, &other.b),
            ("first moments", &aw.first, &bw.first),
            ("second moments", &aw.second, &bw.second),
            ("first moments of biases", &ab.first, &bb.first),
            ("second moments of biases", &ab.second, &bb.second),
        ];
        if let Some((what, ..)) = pairs.iter().find(|(_, x, y)| bits(x, y)) {
            return Some(format!("{what} of layer {l}"));
        }
    }
    if a.rule != b.rule {
        return Some("state of the rule".into());
    }
    (a.reports != b.reports).then(|| format!("reports: {:?} and {:?}", a.reports, b.reports))
}

/// The fused step with each plan leaves what the un-fused one leaves without threads, or gives the same error.
pub fn check<T: Real>(case: &Case, plans: &[Plan]) -> Result<(), String> {
    let want = run::<T>(case, false, &Plan::new());
    for plan in plans {
        let how = format!("{} on {}, {:?}", T::NAME, plan.isa, plan.par);
        match (&want, run::<T>(case, true, plan)) {
            (Ok(want), Ok(got)) => difference(want, &got).map_or(Ok(()), |difference| Err(format!("{how}: {difference}")))?,
            (Err(want), Err(got)) if want.to_string() == got.to_string() => {}
            (Err(want), Err(got)) => return Err(format!("{how}: {got}, not {want}")),
            (Ok(_), Err(e)) => return Err(format!("{how}: only the fused step failed: {e}")),
            (Err(e), Ok(_)) => return Err(format!("{how}: only the un-fused step failed: {e}")),
        }
    }
    Ok(())
}
