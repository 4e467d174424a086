//! Networks: layers that fit together, and the forward pass.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::rng::Rng;
use crate::model::init::{self, Init};
use crate::model::layer::Layer;
use crate::model::loss::{self, Loss};
use crate::model::matrix::Matrix;
use gaitprop_kernels::{Activation, Backend, Epilogue, MatRef, Plan, Real, Start, epilogue};
use std::sync::atomic::{AtomicU64, Ordering};

/// Shape of a network, before it has weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Width of the input.
    pub inputs: usize,
    /// (fan-in, width) of each layer; its weights are fan-in × width.
    pub layers: Vec<(usize, usize)>,
    /// Number of classes. The first `labels` output units are compared with the label.
    pub labels: usize,
    /// Activation of all layers but the last.
    pub activation: Activation,
    /// Activation of the last layer.
    pub output_activation: Activation,
}

impl Architecture {
    /// Creates layers of equal width: a first layer inputs × width, then `hidden` layers width ×
    /// width.
    ///
    /// # Errors
    /// As [`Architecture::check`].
    pub fn square(inputs: usize, width: usize, hidden: usize, labels: usize) -> Result<Self> {
        if hidden >= MAX_LAYERS {
            return Err(Error::Setting(format!(
                "{hidden} hidden layers are too many: a network has at most {MAX_LAYERS} layers"
            )));
        }
        Self::widths(inputs, &vec![width; hidden + 1], labels)
    }

    /// Creates layers of these widths. The first is fully connected to the input. Every other is a
    /// square matrix, fed by the first units of the layer below.
    ///
    /// # Errors
    /// As [`Architecture::check`].
    pub fn widths(inputs: usize, widths: &[usize], labels: usize) -> Result<Self> {
        let layers = widths.iter().enumerate().map(|(l, &n)| (if l == 0 { inputs } else { n }, n));
        Self::new(inputs, layers.collect(), labels)
    }

    /// Creates fully connected layers of these widths: each reads all units below, so any layer may
    /// be rectangular. Target rules then need a solver that
    /// [takes rectangles](crate::solve::SolverKind::takes_rectangles).
    ///
    /// # Errors
    /// As [`Architecture::check`].
    pub fn dense(inputs: usize, widths: &[usize], labels: usize) -> Result<Self> {
        let below = std::iter::once(inputs).chain(widths.iter().copied());
        Self::new(inputs, below.zip(widths.iter().copied()).collect(), labels)
    }

    /// Creates the published tower (784-784-500-200-10). `sizes` starts with the width of the
    /// input. Every layer, the first included, is a square matrix, fed by the first units below.
    ///
    /// # Errors
    /// As [`Architecture::check`]; [`Error::Setting`] for fewer than two sizes.
    pub fn tower(sizes: &[usize], labels: usize) -> Result<Self> {
        let [inputs, widths @ ..] = sizes else {
            return Err(Error::Setting("a tower needs the width of the input and of at least one layer".into()));
        };
        Self::new(*inputs, widths.iter().map(|&n| (n, n)).collect(), labels)
    }

    fn new(inputs: usize, layers: Vec<(usize, usize)>, labels: usize) -> Result<Self> {
        let activation = crate::model::activation::PUBLISHED;
        let new = Self { inputs, layers, labels, activation, output_activation: activation };
        new.check()?;
        Ok(new)
    }

    /// Sets the output activation that `loss` needs: the identity for cross-entropy, the hidden
    /// layers' activation otherwise.
    #[must_use]
    pub fn with_loss(self, loss: Loss) -> Self {
        Self { output_activation: loss.output_activation(self.activation), ..self }
    }

    /// Checks that the layers fit together.
    ///
    /// # Errors
    /// * [`Error::Architecture`] with the layer: it is empty, or its fan-in exceeds the number of
    ///   units below.
    /// * [`Error::Architecture`] if the last layer has fewer units than there are labels.
    /// * [`Error::Setting`] for a network without layers, or with too many layers or weights.
    /// * [`Error::Kernel`] for an activation with a parameter out of its range.
    pub fn check(&self) -> Result<()> {
        if self.layers.is_empty() {
            return Err(Error::Setting("a network needs at least one layer".into()));
        }
        let weights = self.layers.iter().try_fold(0usize, |sum, &(fed, width)| sum.checked_add(fed.checked_mul(width)?));
        if self.layers.len() > MAX_LAYERS || weights.is_none_or(|n| n > MAX_WEIGHTS) {
            return Err(Error::Setting(format!(
                "a network of {} layers and {} weights is too large: at most {MAX_LAYERS} layers and {MAX_WEIGHTS} weights",
                self.layers.len(),
                weights.map_or_else(|| format!("more than {}", usize::MAX), |n| n.to_string()),
            )));
        }
        let mut below = self.inputs;
        for (layer, &(fed, width)) in self.layers.iter().enumerate() {
            let wrong = |what| Err(Error::Architecture { layer, what });
            if fed == 0 || width == 0 {
                return wrong(format!("its weights are {fed}x{width}, which is empty"));
            }
            if fed > below {
                return wrong(format!("its fan-in is {fed}, but there are only {below} units below it"));
            }
            below = width;
        }
        if self.labels == 0 || below < self.labels {
            let layer = self.layers.len() - 1;
            let what = format!("it has {below} units, but there are {} labels", self.labels);
            return Err(Error::Architecture { layer, what });
        }
        self.activation.check::<f64>()?;
        Ok(self.output_activation.check::<f64>()?)
    }

    /// Checks that every layer above the first is square, so that its weights have an inverse.
    /// Nothing goes through the first layer's.
    ///
    /// # Errors
    /// [`Error::Architecture`] with the first layer that is not.
    pub(crate) fn check_square(&self) -> Result<()> {
        match self.layers.iter().enumerate().skip(1).find(|(_, (fed, width))| fed != width) {
            None => Ok(()),
            Some((layer, (fed, width))) => {
                let what = format!(
                    "its weights are {fed}x{width}, but targets go down through inverses, and only square weights have one: make every layer above the first square, or use the damped or the learned inverse"
                );
                Err(Error::Architecture { layer, what })
            }
        }
    }
}

/// Limit on the number of layers.
const MAX_LAYERS: usize = 10_000;
/// Limit on the number of weights: 64 GiB in f64, with moments and gradients.
const MAX_WEIGHTS: usize = 1 << 31;

/// A network: weights, biases and activations of layers that fit together.
#[derive(Clone, Debug)]
pub struct Network<T> {
    inputs: usize,
    labels: usize,
    layers: Vec<Layer<T>>,
    /// R of each layer's input; empty for a network without decorrelation.
    decorrelation: Vec<Matrix<T>>,
    version: u64,
}

/// Returns a number that no network of this process has had, so that two networks with different
/// weights never share one. Nothing depends on its value but whether it is equal to another.
fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Compares the layers. Versions do not count.
impl<T: PartialEq> PartialEq for Network<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.inputs, self.labels, &self.layers, &self.decorrelation)
            == (other.inputs, other.labels, &other.layers, &other.decorrelation)
    }
}

impl<T: Real> Network<T> {
    /// Creates a network with random weights and zero biases.
    ///
    /// # Errors
    /// As [`Architecture::check`]; out of memory.
    pub fn random(architecture: &Architecture, init: Init, seed: u64, plan: &Plan) -> Result<Self> {
        architecture.check()?;
        // All backends start from the same bits.
        let plan = plan.clone().with_backend(Backend::Native);
        let mut rng = Rng::new(seed, 0);
        let last = architecture.layers.len() - 1;
        let layers = architecture.layers.iter().enumerate().map(|(l, &(fed, width))| {
            Ok(Layer {
                w: init::weights(init, fed, width, &mut rng, &plan)?,
                b: vec![T::ZERO; width],
                activation: if l == last { architecture.output_activation } else { architecture.activation },
            })
        });
        Self::new(architecture.inputs, layers.collect::<Result<_>>()?, architecture.labels)
    }

    /// Creates a network from layers.
    ///
    /// # Errors
    /// [`Error::Architecture`] if they do not fit together, as [`Architecture::check`].
    pub fn new(inputs: usize, layers: Vec<Layer<T>>, labels: usize) -> Result<Self> {
        let net = Self { inputs, labels, layers, decorrelation: Vec::new(), version: next_version() };
        for (layer, l) in net.layers.iter().enumerate() {
            l.activation.check::<T>()?;
            if l.b.len() != l.width() {
                let what = format!("it has {} units but {} biases", l.width(), l.b.len());
                return Err(Error::Architecture { layer, what });
            }
        }
        net.architecture().check()?;
        Ok(net)
    }

    /// Returns the same network with every weight rounded to `U`.
    ///
    /// # Panics
    /// Never.
    pub fn cast<U: Real>(&self) -> Network<U> {
        let real = |x: &[T]| x.iter().map(|v| U::from_f64(v.to_f64())).collect::<Vec<U>>();
        let layers = self.layers.iter().map(|l| Layer {
            w: Matrix::from_vec(l.fan_in(), l.width(), real(l.w.data())).expect("the same shape"),
            b: real(&l.b),
            activation: l.activation,
        });
        let decorrelation =
            self.decorrelation.iter().map(|r| Matrix::from_vec(r.rows(), r.cols(), real(r.data())).expect("the same shape"));
        Network {
            inputs: self.inputs,
            labels: self.labels,
            layers: layers.collect(),
            decorrelation: decorrelation.collect(),
            version: next_version(),
        }
    }

    /// Returns the network with a decorrelation R of the input of each layer, which starts as the
    /// identity: `y_l = f(y_{l−1}[:, :fan_in] R_l W_l + b_l)`. See [`crate::step::Decorrelation`].
    #[must_use]
    pub fn with_decorrelation(mut self) -> Self {
        let identity = |l: &Layer<T>| {
            let mut r = Matrix::zeros(l.fan_in(), l.fan_in());
            r.data_mut().iter_mut().step_by(l.fan_in() + 1).for_each(|r| *r = T::ONE);
            r
        };
        self.decorrelation = self.layers.iter().map(identity).collect();
        self.version = next_version();
        self
    }

    /// Replaces the decorrelations: none, or one of fan-in × fan-in for each layer.
    ///
    /// # Errors
    /// [`Error::Architecture`] for another number or shape. The network has then not changed.
    pub fn set_decorrelation(&mut self, decorrelation: Vec<Matrix<T>>) -> Result<()> {
        let (count, layers) = (decorrelation.len(), self.layers.len());
        if count > layers {
            return Err(Error::Architecture {
                layer: layers,
                what: format!("there are {count} decorrelations for {layers} layers"),
            });
        }
        for (layer, l) in self.layers.iter().enumerate() {
            let (want, found) = ((l.fan_in(), l.fan_in()), decorrelation.get(layer).map_or((0, 0), |r| r.view().shape()));
            if count > 0 && found != want {
                let what = format!("its decorrelation is {}x{}, but must be {}x{}", found.0, found.1, want.0, want.1);
                return Err(Error::Architecture { layer, what });
            }
        }
        self.decorrelation = decorrelation;
        self.version = next_version();
        Ok(())
    }

    /// R of the input of layer `l`, fan-in × fan-in, if the network has decorrelations.
    pub fn decorrelation(&self, l: usize) -> Option<&Matrix<T>> {
        self.decorrelation.get(l)
    }

    /// Mutable decorrelations, from the input up; none without decorrelation. Counts a new version;
    /// sizes must stay.
    pub(crate) fn decorrelation_mut(&mut self) -> &mut [Matrix<T>] {
        self.version = next_version();
        &mut self.decorrelation
    }

    /// Copies the parameters of a network of the same shape, without allocating.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.version = next_version();
        for (own, other) in self.layers.iter_mut().zip(&other.layers) {
            own.w.data_mut().copy_from_slice(other.w.data());
            own.b.copy_from_slice(&other.b);
        }
        for (own, other) in self.decorrelation.iter_mut().zip(&other.decorrelation) {
            own.data_mut().copy_from_slice(other.data());
        }
    }

    /// Layers, from the input up.
    pub fn layers(&self) -> &[Layer<T>] {
        &self.layers
    }
    /// Mutable layers, from the input up. Counts a new version; sizes must stay.
    pub(crate) fn layers_mut(&mut self) -> &mut [Layer<T>] {
        self.version = next_version();
        &mut self.layers
    }
    /// Version of the weights: a new number after every change. Networks with equal versions, such as
    /// a clone and its source, have equal weights. Solvers reuse factors while it stays the same.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Calls `change` for every layer, from the input up, and counts one new version. The arguments
    /// are the index, the weights (row-major, fan-in × width) and the biases.
    pub fn update(&mut self, mut change: impl FnMut(usize, &mut [T], &mut [T])) {
        for (l, layer) in self.layers_mut().iter_mut().enumerate() {
            change(l, layer.w.data_mut(), &mut layer.b);
        }
    }
    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
    /// Number of classes. The first `labels()` output units are compared with the label.
    pub fn labels(&self) -> usize {
        self.labels
    }
    /// Number of units of the last layer.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, Layer::width)
    }
    /// Returns the shape. Its two activations are those of the first and of the last layer.
    pub fn architecture(&self) -> Architecture {
        let activation = |l: Option<&Layer<T>>| l.map_or(Activation::Identity, |l| l.activation);
        Architecture {
            inputs: self.inputs,
            layers: self.layers.iter().map(|l| (l.fan_in(), l.width())).collect(),
            labels: self.labels,
            activation: activation(self.layers.first()),
            output_activation: activation(self.layers.last()),
        }
    }
    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.w.data().len() + l.b.len()).sum()
    }

    /// Computes `h_l = y_{l−1}[:, :fan_in] W_l + b_l` and `y_l = f(h_l)` of every layer, into
    /// `trace`.
    ///
    /// Shapes: `x` batch × inputs, batch at most the trace's capacity.
    ///
    /// # Errors
    /// A shape error; out of memory for packing.
    pub fn forward(&self, x: MatRef<'_, T>, trace: &mut Trace<T>, exec: &mut Exec) -> Result<()> {
        self.forward_columns(x, self.outputs(), trace, exec)
    }

    /// [`Network::forward`] with only the first `outputs` units of the last layer. The activities and
    /// slopes of the other units are 0.
    pub(crate) fn forward_columns(&self, x: MatRef<'_, T>, outputs: usize, trace: &mut Trace<T>, exec: &mut Exec) -> Result<()> {
        let (batch, last) = (x.nrows(), self.layers.len() - 1);
        trace.check_fit(self)?;
        x.expect_shape("the input batch", (batch.min(trace.capacity), self.inputs))?;
        trace.batch = batch;
        trace.leave_out(outputs);
        for (l, layer) in self.layers.iter().enumerate() {
            let (below, above) = trace.y.split_at_mut(l);
            let mut input = match below.last() {
                Some(y) => y.top_left(batch, layer.fan_in()),
                None => x.cols(0, layer.fan_in()),
            };
            if let (Some(r), Some(z)) = (self.decorrelation(l), trace.decorrelated.get_mut(l)) {
                exec.gemm(T::ONE, input, r.view(), T::ZERO, z.top_left_mut(batch, layer.fan_in()))?;
                input = z.top_left(batch, layer.fan_in());
            }
            let units = if l == last { outputs } else { layer.width() };
            let (w, bias) = (layer.w.view().cols(0, units), &layer.b[..units]);
            let mut y = above[0].top_left_mut(batch, units);
            let slope = trace.slope[l].as_mut().map(|s| s.top_left_mut(batch, units));
            if exec.plan.backend == Backend::Native {
                // Bias and activation on finished rows while they are in L1.
                let finish = Epilogue::Activate { activation: layer.activation, bias, slope };
                exec.gemm_with(T::ONE, (input, w), Start::Zero, y, finish)?;
            } else {
                exec.gemm(T::ONE, input, w, T::ZERO, y.rb())?;
                epilogue::bias_activate(layer.activation, y, bias, slope, exec.plan.isa)?;
            }
        }
        Ok(())
    }

    /// Returns the activities of the label units, batch × labels.
    ///
    /// Shape: `x` batch × inputs, scaled as the training samples were. Allocates;
    /// [`Network::forward`] does not.
    ///
    /// # Errors
    /// A shape error; out of memory for packing.
    pub fn outputs_of(&self, x: MatRef<'_, T>, exec: &mut Exec) -> Result<Matrix<T>> {
        const ROWS: usize = 240;
        let (batch, labels) = (x.nrows(), self.labels);
        let mut trace = Trace::new(self, ROWS.min(batch));
        let mut out = Vec::with_capacity(batch * labels);
        for first in (0..batch).step_by(ROWS) {
            let count = ROWS.min(batch - first);
            self.forward_columns(x.rows(first, count), labels, &mut trace, exec)?;
            let y = trace.output();
            out.extend((0..count).flat_map(|i| (0..labels).map(move |j| y.get(i, j))));
        }
        Matrix::from_vec(batch, labels, out)
    }

    /// Returns the class of each sample: the label unit with the largest activity, the first of
    /// equals.
    ///
    /// Shape: `x` batch × inputs, scaled as the training samples were. Runs on one thread.
    ///
    /// # Errors
    /// As [`Network::outputs_of`].
    pub fn predict(&self, x: MatRef<'_, T>) -> Result<Vec<u32>> {
        let y = self.outputs_of(x, &mut Exec::default())?;
        let labels = y.view().cols(0, self.labels);
        Ok((0..x.nrows()).map(|i| loss::predicted(labels, i) as u32).collect())
    }
}

/// Results of a forward pass: activities, and slopes where the activity does not determine them.
#[derive(Clone, Debug)]
pub struct Trace<T> {
    capacity: usize,
    batch: usize,
    /// Number of output units of the last pass.
    outputs: usize,
    y: Vec<Matrix<T>>,
    slope: Vec<Option<Matrix<T>>>,
    /// Decorrelated input of each layer; empty for a network without decorrelation.
    decorrelated: Vec<Matrix<T>>,
}

impl<T: Real> Trace<T> {
    /// Allocates memory for batches of up to `capacity` samples.
    pub fn new(net: &Network<T>, capacity: usize) -> Self {
        let buffer = |l: &Layer<T>| Matrix::zeros(capacity, l.width());
        Self {
            capacity,
            batch: 0,
            outputs: 0,
            y: net.layers.iter().map(buffer).collect(),
            slope: net.layers.iter().map(|l| l.activation.keeps_slope().then(|| buffer(l))).collect(),
            decorrelated: net.decorrelation.iter().map(|r| Matrix::zeros(capacity, r.rows())).collect(),
        }
    }
    /// Checks that the trace belongs to `net`.
    pub(crate) fn check_fit(&self, net: &Network<T>) -> Result<()> {
        let fits =
            |(l, n): (usize, &Layer<T>)| self.y[l].cols() == n.width() && self.slope[l].is_some() == n.activation.keeps_slope();
        let inputs = self.decorrelated.iter().map(Matrix::cols).eq(net.decorrelation.iter().map(Matrix::rows));
        if self.y.len() == net.layers.len() && net.layers.iter().enumerate().all(fits) && inputs {
            return Ok(());
        }
        let (expected, found) = ((net.layers.len(), net.outputs()), (self.y.len(), self.y.last().map_or(0, Matrix::cols)));
        Err(gaitprop_kernels::Error::Shape { what: "a trace, made for another network,", expected, found }.into())
    }

    /// Clears what an earlier pass left of output units that the next one does not compute.
    fn leave_out(&mut self, outputs: usize) {
        let whole = std::mem::replace(&mut self.outputs, outputs);
        if outputs < whole {
            let last = self.y.last_mut().into_iter().chain(self.slope.last_mut().and_then(Option::as_mut));
            for matrix in last {
                let width = matrix.cols().max(1);
                matrix.data_mut().chunks_exact_mut(width).for_each(|row| row[outputs..].fill(T::ZERO));
            }
        }
    }

    /// Number of samples in the last forward pass.
    pub fn batch(&self) -> usize {
        self.batch
    }
    /// Activity of layer `l` (from 0), batch × width.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn activity(&self, l: usize) -> MatRef<'_, T> {
        self.y[l].top_left(self.batch, self.y[l].cols())
    }
    /// Kept slopes f′(h) of layer `l`, if its activation needs them.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn slope(&self, l: usize) -> Option<MatRef<'_, T>> {
        self.slope[l].as_ref().map(|s| s.top_left(self.batch, s.cols()))
    }
    /// Decorrelated input of layer `l`, batch × fan-in, if the network has decorrelations.
    pub fn decorrelated(&self, l: usize) -> Option<MatRef<'_, T>> {
        self.decorrelated.get(l).map(|z| z.top_left(self.batch, z.cols()))
    }
    /// Activity of the last layer.
    ///
    /// Never: a network has at least one layer.
    pub fn output(&self) -> MatRef<'_, T> {
        self.activity(self.y.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let message = |r: Result<Architecture>| r.unwrap_err().to_string();
        assert!(message(Architecture::tower(&[16, 17], 4)).contains("layer 0: its fan-in is 17"));
        assert!(message(Architecture::tower(&[16, 8, 9], 4)).contains("layer 1"));
        assert!(message(Architecture::square(16, 3, 2, 4)).contains("layer 2: it has 3 units, but there are 4 labels"));
        assert!(message(Architecture::square(16, 0, 2, 4)).contains("empty"));
        assert!(message(Architecture::square(16, 16, usize::MAX, 4)).contains("at most 10000 layers"));
        assert!(message(Architecture::widths(usize::MAX, &[usize::MAX], 4)).contains("more than"));
        assert!(message(Architecture::tower(&[16], 4)).contains("at least one layer"));
        let dense = Architecture::dense(16, &[8, 5], 4).unwrap();
        assert_eq!(dense.layers, [(16, 8), (8, 5)]);
        let error = dense.check_square().unwrap_err().to_string();
        assert!(error.contains("layer 1") && error.contains("8x5") && error.contains("square"), "{error}");
        assert!(Architecture::dense(16, &[8, 8], 4).unwrap().check_square().is_ok());
    }

    /// Compares with a computation by hand: a rectangular first layer, then one fed by the first
    /// two of three units.
    #[test]
    fn forward_is_what_the_formula_says() {
        let w0 = Matrix::from_vec(2, 3, vec![1.0, 2.0, -3.0, 4.0, -5.0, 6.0]).unwrap();
        let w1 = Matrix::from_vec(2, 2, vec![1.0, 0.0, 2.0, 1.0]).unwrap();
        let activation = Activation::LeakyRelu { slope: 0.5 };
        let layers = vec![
            Layer { w: w0, b: vec![0.5, 0.0, 0.0], activation },
            Layer { w: w1, b: vec![0.0, -1.0], activation: Activation::Identity },
        ];
        let net = Network::<f64>::new(2, layers, 2).unwrap();
        let mut trace = Trace::new(&net, 3);
        let x = [1.0, 1.0];
        net.forward(MatRef::new(&x, 1, 2).unwrap(), &mut trace, &mut Exec::default()).unwrap();
        assert_eq!(trace.activity(0).to_vec(), [5.5, -1.5, 3.0]);
        assert_eq!(trace.output().to_vec(), [2.5, -2.5]);
        let wrong = [1.0; 3];
        let wrong = MatRef::new(&wrong, 1, 3).unwrap();
        assert!(net.forward(wrong, &mut trace, &mut Exec::default()).is_err());
    }
}
