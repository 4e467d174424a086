//! The tape: results of one pass through a network, layer by layer.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::model::loss::{self, Loss, Score};
use crate::model::matrix::Matrix;
use crate::model::network::{Network, Trace};
use crate::rule::LayerState;
use crate::solve::Solve;
use gaitprop_kernels::perturb::activation_grad;
use gaitprop_kernels::{MatMut, MatRef, Real};

/// Activities, slopes and deltas of every layer, and the errors of two.
#[derive(Debug)]
pub struct Tape<T> {
    pub(super) trace: Trace<T>,
    /// δ_l, batch × width.
    pub(super) delta: Vec<Vec<T>>,
    /// e_l lies in `errors[l % 2]`, so that e_{l−1} can be written beside it.
    errors: [Vec<T>; 2],
    /// δ of the label units, batch × labels.
    output_delta: Vec<T>,
    /// Workspace of layers that are not square or have a decorrelation.
    pub(super) workspace: Vec<T>,
    /// Number of label units.
    labels: usize,
    /// Report of the solve through the weights of each layer.
    pub(super) solves: Vec<Option<Solve>>,
}

impl<T: Real> Tape<T> {
    /// Allocates memory for batches of up to `batch` samples.
    pub(super) fn new(net: &Network<T>, batch: usize) -> Self {
        let widest = net.layers().iter().map(|l| l.width()).max().unwrap_or(0);
        Self {
            trace: Trace::new(net, batch),
            delta: net.layers().iter().map(|l| vec![T::ZERO; batch * l.width()]).collect(),
            errors: [(); 2].map(|()| vec![T::ZERO; batch * widest]),
            output_delta: vec![T::ZERO; batch * net.labels()],
            workspace: Vec::new(),
            labels: net.labels(),
            solves: vec![None; net.layers().len()],
        }
    }

    /// Number of samples of the last pass.
    pub fn batch(&self) -> usize {
        self.trace.batch()
    }

    /// y_l, batch × width.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn activity(&self, l: usize) -> MatRef<'_, T> {
        self.trace.activity(l)
    }

    /// f′(h_l), batch × width, where the activation keeps it.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn slope(&self, l: usize) -> Option<MatRef<'_, T>> {
        self.trace.slope(l)
    }

    /// δ_l = f′(h_l) ∘ e_l, batch × width.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn delta(&self, l: usize) -> MatRef<'_, T> {
        let (batch, width) = self.activity(l).shape();
        view(&self.delta[l], batch, width)
    }

    /// Report of the solve through W_l, if the rule made one.
    ///
    /// # Panics
    /// If there is no layer `l`.
    pub fn solve(&self, l: usize) -> Option<Solve> {
        self.solves[l]
    }

    /// Returns the input of layer `l`: the first `fan_in` units of y_{l−1}, or of the samples, after
    /// the decorrelation, if there is one.
    pub(crate) fn input<'a>(&'a self, x: MatRef<'a, T>, l: usize, fan_in: usize) -> MatRef<'a, T> {
        input(&self.trace, x, l, fan_in)
    }

    /// Scores the output and writes e_L.
    pub(super) fn score(&mut self, loss: Loss, target: MatRef<'_, T>) -> Result<Score> {
        let (y, last) = (self.trace.output(), self.delta.len() - 1);
        let e = view_mut(&mut self.errors[last % 2], y.nrows(), y.ncols());
        loss::score(loss, y, target, Some(e))
    }

    /// Refuses a network with other labels than the one that the tape was made for.
    pub(super) fn check_labels(&self, net: &Network<T>) -> Result<()> {
        if self.labels == net.labels() {
            return Ok(());
        }
        let (expected, found) = ((net.labels(), net.outputs()), (self.labels, self.trace.output().ncols()));
        Err(gaitprop_kernels::Error::Shape { what: "a step, made for another network,", expected, found }.into())
    }

    /// Computes δ of the label units, which direct feedback sends to every layer.
    pub(super) fn keep_output_delta(&mut self, net: &Network<T>, exec: &Exec) -> Result<()> {
        let (labels, last, batch) = (net.labels(), self.delta.len() - 1, self.batch());
        let e = view(&self.errors[last % 2], batch, net.outputs()).cols(0, labels);
        let y = self.trace.activity(last).cols(0, labels);
        let slope = self.trace.slope(last).map(|slope| slope.cols(0, labels));
        let to = view_mut(&mut self.output_delta, batch, labels);
        Ok(activation_grad(net.layers()[last].activation, y, slope, e, to, exec.plan.isa)?)
    }

    /// Returns the views of layer `l`: its state, δ_l and e_{l−1}, the last two to be written.
    /// e_{l−1} covers the units that feed the layer; the first layer has none.
    pub(super) fn layer<'a>(
        &'a mut self,
        net: &'a Network<T>,
        (x, target): (MatRef<'a, T>, MatRef<'a, T>),
        l: usize,
    ) -> (LayerState<'a, T>, MatMut<'a, T>, Option<MatMut<'a, T>>) {
        let Self { trace, delta, errors: [even, odd], output_delta, solves, .. } = self;
        let (layers, batch) = (net.layers(), trace.batch());
        let (layer, above) = (&layers[l], layers.len() - 1 - l);
        let (e, below) = if l.is_multiple_of(2) { (&*even, odd) } else { (&*odd, even) };
        solves[l] = None;
        let below = (l > 0).then(|| {
            let mut whole = view_mut(below, batch, layers[l - 1].width());
            // Units that feed nothing are auxiliary: their target is their own activity.
            for i in 0..batch {
                whole.row_mut(i).expect("row-major")[layer.fan_in()..].fill(T::ZERO);
            }
            whole.cols(0, layer.fan_in())
        });
        let state = LayerState {
            index: l,
            above,
            version: net.version(),
            w: layer.w.view(),
            b: &layer.b,
            activation: layer.activation,
            active: if above == 0 { net.labels() } else { layer.width() },
            input: input(trace, x, l, layer.fan_in()),
            decorrelation: net.decorrelation(l).map(Matrix::view),
            y: trace.activity(l),
            slope: trace.slope(l),
            e: view(e, batch, layer.width()),
            output_delta: view(output_delta, batch, net.labels()),
            target,
        };
        (state, view_mut(&mut delta[l], batch, layer.width()), below)
    }
}

/// Returns the input of layer `l` that its weights multiply.
pub(super) fn input<'a, T: Real>(trace: &'a Trace<T>, x: MatRef<'a, T>, l: usize, fan_in: usize) -> MatRef<'a, T> {
    match trace.decorrelated(l) {
        Some(z) => z,
        None if l == 0 => x.cols(0, fan_in),
        None => trace.activity(l - 1).cols(0, fan_in),
    }
}

/// View of the first rows × cols elements of a buffer.
pub(super) fn view<T: Real>(data: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::new(&data[..rows * cols], rows, cols).expect("cut to size")
}

/// Mutable view of the first rows × cols elements of a buffer.
pub(super) fn view_mut<T: Real>(data: &mut [T], rows: usize, cols: usize) -> MatMut<'_, T> {
    MatMut::new(&mut data[..rows * cols], rows, cols).expect("cut to size")
}
