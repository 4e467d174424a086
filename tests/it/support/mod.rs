//! What the exactness tests share: running one batch, spying on the errors that a rule sends down, and foretelling rounding.
#![allow(unreachable_pub)] // the fuzz targets share this module

pub mod big;
pub mod perturbed;
pub mod steps;

use gaitprop::kernels::perturb::Perturbation;
use gaitprop::kernels::{Activation, MatMut, MatRef, Plan, Real};
use gaitprop::loss::{Loss, score};
use gaitprop::ortho::Regularizer;
use gaitprop::rule::{Context, LayerState, LearningRule, Rule, RuleConfig};
use gaitprop::solve::{Lu, Solver};
use gaitprop::step::{Gradients, Recipe, Step};
use gaitprop::{Exec, Matrix, Network, Result};
use std::sync::{Arc, Mutex};

/// A matrix of `T` from f64 elements, each rounded once.
pub fn matrix<T: Real>(rows: usize, cols: usize, data: &[f64]) -> Matrix<T> {
    Matrix::from_vec(rows, cols, data.iter().map(|&v| T::from_f64(v)).collect()).unwrap()
}

/// The elements as f64.
pub fn wide<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| v.to_f64()).collect()
}

pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// ‖got − want‖ / ‖want‖; an error of what should be 0 is infinite, and NaN stays NaN.
pub fn relative(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    let (error, size) = (norm(&difference), norm(want));
    if error == 0.0 { 0.0 } else { error / size }
}

/// The larger, and NaN if there is one.
pub fn worst(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

pub fn bits<T: Real>(x: &[T]) -> Vec<u64> {
    x.iter().map(|v| v.bits()).collect()
}

/// A batch for one network.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    pub x: Matrix<T>,
    pub target: Matrix<T>,
}

impl<T: Real> Batch<T> {
    pub fn cast<U: Real>(&self) -> Batch<U> {
        let cast = |m: &Matrix<T>| matrix(m.rows(), m.cols(), &wide(m.data()));
        Batch { x: cast(&self.x), target: cast(&self.target) }
    }
}

/// A rule for a network.
pub fn built<T: Real>(kind: LearningRule, net: &Network<T>, gamma: f64) -> Box<dyn Rule<T>> {
    let architecture = net.architecture();
    kind.build(&RuleConfig { gamma, ..RuleConfig::new(&architecture) }, &Plan::new()).unwrap()
}

/// A recipe that owns its parts.
pub struct Kit<T> {
    pub rule: Box<dyn Rule<T>>,
    pub solver: Box<dyn Solver<T>>,
    pub loss: Loss,
    pub regularizer: Regularizer,
    pub exec: Exec,
}

impl<T: Real> Kit<T> {
    /// With LU, the squared loss, and no regularizer.
    pub fn new(rule: impl Rule<T> + 'static, plan: &Plan) -> Self {
        Self::boxed(Box::new(rule), plan)
    }
    pub fn boxed(rule: Box<dyn Rule<T>>, plan: &Plan) -> Self {
        let exec = Exec::new(plan.clone());
        Self { rule, solver: Box::new(Lu::new()), loss: Loss::Squared, regularizer: Regularizer::NONE, exec }
    }
    pub fn regularized(self, lambda: f64) -> Self {
        Self { regularizer: Regularizer::new(lambda).unwrap(), ..self }
    }
    pub fn recipe(&mut self) -> Recipe<'_, T> {
        let Self { rule, solver, loss, regularizer, exec } = self;
        Recipe { rule: &mut **rule, solver: &mut **solver, loss: *loss, regularizer: *regularizer, exec }
    }
}

/// Descent directions of one batch, in memory of their own, from a fresh LU.
pub fn gradients<T: Real>(net: &Network<T>, batch: &Batch<T>, kit: &mut Kit<T>) -> Result<Gradients<T>> {
    let mut step = Step::new(net, batch.x.rows());
    kit.solver = Box::new(Lu::new());
    step.gradients(net, batch.x.view(), batch.target.view(), &mut kit.recipe())?;
    Ok(step.gradients)
}

/// Those of a rule by its name, with the squared loss and without a regulariser.
pub fn updates<T: Real>(net: &Network<T>, batch: &Batch<T>, kind: LearningRule, gamma: f64) -> Gradients<T> {
    gradients(net, batch, &mut Kit::boxed(built::<T>(kind, net, gamma), &Plan::new())).unwrap()
}

/// What a rule was given at one layer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub y: Vec<f64>,
    pub slope: Vec<f64>,
    pub e: Vec<f64>,
}

/// A rule that works like another and remembers the errors that it sends down, from the top.
#[derive(Debug)]
struct Spy<T: Real> {
    rule: Box<dyn Rule<T>>,
    sent: Arc<Mutex<Vec<Matrix<T>>>>,
}

impl<T: Real> Rule<T> for Spy<T> {
    fn name(&self) -> &str {
        "spy"
    }
    fn perturbation(&self, activation: Activation, above: usize) -> Option<Perturbation> {
        self.rule.perturbation(activation, above)
    }
    fn backward(
        &mut self,
        layer: &LayerState<'_, T>,
        delta: MatRef<'_, T>,
        mut below: MatMut<'_, T>,
        with: &mut Context<'_, T>,
    ) -> Result<()> {
        self.rule.backward(layer, delta, below.rb(), with)?;
        let (rows, cols) = below.shape();
        self.sent.lock().unwrap().push(Matrix::from_vec(rows, cols, below.as_ref().to_vec()).unwrap());
        Ok(())
    }
}

/// The descent directions of a rule, and for each layer, from the first, what was sent to it.
pub fn watched(
    net: &Network<f64>,
    batch: &Batch<f64>,
    kind: LearningRule,
    gamma: f64,
    loss: Loss,
) -> (Gradients<f64>, Vec<Seen>) {
    let sent = Arc::default();
    let spy = Spy { rule: built::<f64>(kind, net, gamma), sent: Arc::clone(&sent) };
    let mut kit = Kit { loss, ..Kit::new(spy, &Plan::new()) };
    let (rows, mut step) = (batch.x.rows(), Step::new(net, batch.x.rows()));
    step.gradients(net, batch.x.view(), batch.target.view(), &mut kit.recipe()).unwrap();
    let mut top = Matrix::zeros(rows, net.outputs());
    let (y, target) = (step.tape.activity(net.layers().len() - 1), batch.target.view());
    score(loss, y, target, Some(top.view_mut())).unwrap();
    let mut errors = vec![top];
    errors.append(&mut sent.lock().unwrap());
    let seen = net.layers().iter().zip(errors.iter().rev()).enumerate().map(|(l, (layer, error))| {
        let y = wide(&step.tape.activity(l).to_vec());
        let slope = match (step.tape.slope(l), layer.activation) {
            (Some(slope), _) => wide(&slope.to_vec()),
            (None, Activation::LeakyRelu { slope }) => y.iter().map(|&y| if y < 0.0 { slope } else { 1.0 }).collect(),
            _ => vec![1.0; y.len()],
        };
        // Units that feed nothing have no error.
        let at = |i: usize, j: usize| if j < error.cols() { error.data()[i * error.cols() + j] } else { 0.0 };
        let e = (0..rows).flat_map(|i| (0..layer.width()).map(move |j| at(i, j))).collect();
        Seen { y, slope, e }
    });
    let seen = seen.collect();
    (step.gradients, seen)
}

/// Size of the perturbation that a layer with `above` layers above it gets, and whether it is weighted by the squared slope.
pub fn perturbation(kind: LearningRule, gamma: f64, above: usize) -> Option<(f64, bool)> {
    match kind {
        LearningRule::Gait => Some((gamma.powi(above as i32 + 1), true)),
        LearningRule::Itp => Some((gamma.powi(above as i32 + 1), false)),
        LearningRule::Tp => Some((1.0, false)),
        _ => None,
    }
}

/// What rounding with unit roundoff `u` is expected to do to a rule's updates: for each layer the relative error (Frobenius) of its
/// weight update that a careful implementation makes, up to a small factor. Not an upper bound: tests allow a stated multiple of it.
///
/// It adds up, from the output down:
///
/// * a product or a solve of each layer: `u`, times the average amplification ‖W‖‖W⁻¹‖/n of the solve (1 for orthogonal W);
/// * kinks: a unit that crosses the kink of its leaky ReLU hands on its own activity's rounding divided by s and times 1/a − 1; a unit
///   that lies within its rounding of the kink may be taken for either side. Such units are found here and their worst is counted;
/// * cancellation in the mean over the batch: ‖y‖‖x‖ / ‖yᵀx‖.
pub fn expected_error(net: &Network<f64>, batch: &Batch<f64>, kind: LearningRule, gamma: f64, u: f64) -> Vec<f64> {
    let (gradients, seen) = watched(net, batch, kind, gamma, Loss::Squared);
    let rows = batch.x.rows();
    let depth = net.layers().len();
    let mut expected = vec![0.0; depth];
    // Forward: each layer's roundings are as good as independent. At the output the label units lose to the difference t − y.
    let forward = |l: usize| u * (l as f64 + 1.0).sqrt();
    let top = &seen[depth - 1];
    let mut error = u + forward(depth - 1) * norm(&labels_of(&top.y, rows, net)) / norm(&top.e).max(f64::MIN_POSITIVE);
    for l in (0..depth).rev() {
        let layer = &net.layers()[l];
        let (fed, width) = (layer.fan_in(), layer.width());
        let below = if l == 0 { wide(batch.x.data()) } else { seen[l - 1].y.clone() };
        let below_width = below.len() / rows;
        let below = MatRef::new(&below, rows, below_width).unwrap().cols(0, fed).to_vec();
        let Seen { y, slope, e } = &seen[l];
        let x: Vec<f64> = e.iter().zip(slope).map(|(e, d)| e * d).collect();
        let (mut flips, mut crossings) = (0.0, 0.0);
        if let Activation::LeakyRelu { slope: a } = layer.activation {
            for i in 0..rows {
                for j in 0..width {
                    let k = i * width + j;
                    let column: Vec<f64> = (0..fed).map(|p| layer.w.data()[p * width + j]).collect();
                    // The rounding of this unit's sum, its layer's and what came from below.
                    let rounding = forward(l) * (norm(&below[i * fed..][..fed]) * norm(&column) + layer.b[j].abs());
                    if y[k].abs() <= rounding {
                        flips += ((1.0 - a) * e[k]).powi(2);
                    }
                    if let Some((s, squared)) = perturbation(kind, gamma, depth - 1 - l) {
                        let reach = s * e[k].abs() * if squared { 1.0 } else { 1.0 / a };
                        if s > 0.0 && y[k].abs() <= reach + rounding {
                            crossings += ((1.0 / a - 1.0) * (rounding / s).min(e[k].abs())).powi(2);
                        }
                    }
                }
            }
        }
        let size = norm(&x).max(f64::MIN_POSITIVE);
        let update = norm(gradients.weights(l).data());
        let cancellation = norm(&below) * size / (rows as f64 * update.max(f64::MIN_POSITIVE));
        expected[l] = cancellation * (error + flips.sqrt() / size + forward(l));
        if l > 0 {
            // r, from what it became below: r = e_below W.
            let e_below = MatRef::new(&seen[l - 1].e, rows, below_width).unwrap().cols(0, fed).to_vec();
            let r = product(&e_below, layer.w.data(), rows, fed, width);
            error += crossings.sqrt() / norm(&r).max(f64::MIN_POSITIVE) + flips.sqrt() / size;
            error += u * if kind == LearningRule::Bp { 1.0 } else { amplification(&layer.w) };
        }
    }
    expected
}

/// The label columns of an output.
fn labels_of(y: &[f64], rows: usize, net: &Network<f64>) -> Vec<f64> {
    MatRef::new(y, rows, net.outputs()).unwrap().cols(0, net.labels()).to_vec()
}

/// `A·B` in plain loops: A m×k, B k×n.
pub fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + p] * b[p * n + j];
            }
        }
    }
    c
}

/// ‖W‖‖W⁻¹‖/n (Frobenius): how much a solve with W amplifies noise on the average; 1 for orthogonal W.
pub fn amplification(w: &Matrix<f64>) -> f64 {
    let n = w.rows();
    norm(w.data()) * norm(&inverse(w.data(), n)) / n as f64
}

/// W⁻¹ by Gauss and Jordan's elimination.
pub fn inverse(w: &[f64], n: usize) -> Vec<f64> {
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| (0..2 * n).map(|j| if j < n { w[i * n + j] } else { f64::from(j == n + i) }).collect()).collect();
    for k in 0..n {
        let p = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).unwrap();
        a.swap(k, p);
        let row = a[k].clone();
        for (i, other) in a.iter_mut().enumerate() {
            let factor = if i == k { 1.0 - 1.0 / row[k] } else { other[k] / row[k] };
            (k..2 * n).for_each(|j| other[j] -= factor * row[j]);
        }
    }
    a.into_iter().flat_map(|row| row[n..].to_vec()).collect()
}
