//! Hard orthogonality: the inverse of the weights is their transpose, to rounding or to a given
//! distance. In a rectangular first layer, the shorter side is orthonormal.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::ortho::{Layers, Penalty, Regularizer, Side};
use gaitprop_kernels::symm::symm_scratch;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk_scratch};
use gaitprop_kernels::{Epilogue, Error as KernelError, MatMut, MatRef, Real, Start, lu};

/// Settings of the retraction by the Newton–Schulz iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retraction {
    /// Number of steps from one retraction to the next, at least 1.
    pub every: u64,
    /// Largest ‖W Wᵀ − I‖ (Frobenius, of the shorter side) after a retraction: greater than 0.
    pub tolerance: f64,
    /// Layers to retract.
    pub layers: Layers,
}

impl Retraction {
    /// Default of the tolerance. Ten published steps at width 784 leave ‖W Wᵀ − I‖ = 0.2; one or
    /// two iterations then reach it (benches/record/ortho.md).
    pub const TOLERANCE: f64 = 1e-2;

    /// Creates a retraction of all layers to within [`Retraction::TOLERANCE`].
    ///
    /// # Errors
    /// [`Error::Setting`], as [`Retraction::check`].
    pub fn new(every: u64) -> Result<Self> {
        let retraction = Self { every, tolerance: Self::TOLERANCE, layers: Layers::All };
        retraction.check()?;
        Ok(retraction)
    }

    /// Checks that every setting is in range.
    ///
    /// # Errors
    /// [`Error::Setting`] for a retraction every 0 steps, or a tolerance that is not finite and
    /// greater than 0.
    pub fn check(&self) -> Result<()> {
        if self.every == 0 {
            return Err(Error::Setting("the interval of retraction must be at least 1 step".into()));
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            let tolerance = self.tolerance;
            return Err(Error::Setting(format!(
                "the tolerance of retraction is {tolerance}, but must be greater than 0 and finite"
            )));
        }
        Ok(())
    }
}

/// Limit on iterations. It suffices for singular values down to 1e-4 of the largest.
const MAX_ITERATIONS: usize = 32;

/// State of the retraction of one network: buffers and the step count.
#[derive(Clone, Debug)]
pub struct Retractor<T> {
    settings: Retraction,
    steps: u64,
    gram: Vec<T>,
    /// Current and next iterate of W, in alternation.
    iterates: [Vec<T>; 2],
}

impl<T: Real> Retractor<T> {
    /// Allocates all buffers for the layers of `net`, except packing memory.
    ///
    /// # Errors
    /// [`Error::Setting`], as [`Retraction::check`].
    pub fn new(settings: Retraction, net: &Network<T>) -> Result<Self> {
        settings.check()?;
        let largest =
            |of: &dyn Fn(usize, usize) -> usize| net.layers().iter().map(|l| of(l.fan_in(), l.width())).max().unwrap_or(0);
        let whole = vec![T::ZERO; largest(&|a, b| a * b)];
        Ok(Self { settings, steps: 0, gram: vec![T::ZERO; largest(&|a, b| a.min(b).pow(2))], iterates: [whole.clone(), whole] })
    }

    /// Number of steps counted. A step depends on it and on the weights alone.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the number of steps counted, to resume.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Counts a step. Retracts the layers of the settings if the count is a multiple of the interval.
    ///
    /// # Errors
    /// As [`Retractor::retract`].
    pub fn step(&mut self, net: &mut Network<T>, exec: &mut Exec) -> Result<()> {
        self.steps += 1;
        if !self.steps.is_multiple_of(self.settings.every) {
            return Ok(());
        }
        for (l, layer) in net.layers_mut().iter_mut().enumerate().skip(self.settings.layers.first()) {
            self.retract(l, &mut layer.w, exec)?;
        }
        Ok(())
    }

    /// Replaces W by the nearest matrix whose shorter side is orthonormal (its polar factor), to
    /// within the tolerance. Returns the last measured ‖W Wᵀ − I‖: before the last iteration, or
    /// after it.
    ///
    /// ```text
    /// E = W Wᵀ − I
    /// W ← W − ½ E W        leaves at most ¾ ‖E‖² + ¼ ‖E‖³
    /// ```
    ///
    /// Iterates until ‖E‖, or this bound on the next one, is within the tolerance.
    ///
    /// Converges from any W whose singular values lie between 0 and √3. A bound of ‖E‖₂ (the
    /// Frobenius norm, or the largest row sum) decides whether they do. If it cannot, W is first
    /// divided by a bound of ‖W‖₂. The polar factor stays the same; some iterations are added.
    ///
    /// Work: 3 n³ flops per iteration for n × n weights. Same bits on every instruction set and
    /// thread count.
    ///
    /// # Errors
    /// [`Error::TooFar`] if a singular value is 0, or too small for the iteration; `layer` is for
    /// this message only. A shape error; out of memory for packing. W has then not changed.
    ///
    /// # References
    /// Björck and Bowie, An Iterative Algorithm for Computing the Best Estimate of an Orthogonal
    /// Matrix, 1971, with one term.
    pub fn retract(&mut self, layer: usize, w: &mut Matrix<T>, exec: &mut Exec) -> Result<f64> {
        let (n, len) = (w.rows().min(w.cols()), w.data().len());
        if n * n > self.gram.len() || len > self.iterates[0].len() {
            let (expected, found) = ((w.rows(), w.cols()), (1, self.iterates[0].len()));
            return Err(gaitprop_kernels::Error::Shape { what: "a layer of the retraction", expected, found }.into());
        }
        exec.scratch.reserve(syrk_scratch::<T>(n, len / n.max(1), &exec.plan).or(symm_scratch::<T>(
            n,
            len / n.max(1),
            &exec.plan,
        )))?;
        let identity = Regularizer { form: Penalty::Identity, side: Side::Rows, ..Regularizer::new(0.0)? };
        let shape = (w.rows(), w.cols());
        let [now, next] = &mut self.iterates;
        let (mut now, mut next) = (&mut now[..len], &mut next[..len]);
        now.copy_from_slice(w.data());
        let (mut last, mut scaled) = (f64::INFINITY, false);
        for iteration in 0..MAX_ITERATIONS {
            let (v, transposed) = Side::Rows.orient(MatRef::new(now, shape.0, shape.1)?);
            let mut gram = MatMut::new(&mut self.gram[..n * n], n, n)?;
            identity.residual(v, gram.rb(), Part::Lower, exec)?;
            let (norm, bound) = norms(gram.as_ref());
            if !norm.is_finite() {
                return Err(Error::TooFar { layer, distance: norm });
            }
            last = norm;
            if norm <= self.settings.tolerance {
                break;
            }
            if bound >= 1.0 && !scaled {
                // ‖W‖₂² ≤ 1 + ‖E‖₂. The scaled W has a norm of at most 1, possibly far below.
                let factor = T::from_f64(1.0 / (1.0 + bound).sqrt());
                now.iter_mut().for_each(|w| *w *= factor);
                scaled = true;
                continue;
            }
            next.copy_from_slice(now);
            let c = MatMut::new(next, shape.0, shape.1)?;
            let c = if transposed { c.t() } else { c };
            exec.symm_lower(T::from_f64(-0.5), gram.as_ref(), v, T::ONE, c)?;
            std::mem::swap(&mut now, &mut next);
            if 0.75 * norm * norm + 0.25 * norm * norm * norm <= self.settings.tolerance {
                break;
            }
            if iteration + 1 == MAX_ITERATIONS {
                return Err(Error::TooFar { layer, distance: norm });
            }
        }
        w.data_mut().copy_from_slice(now);
        Ok(last)
    }
}

/// Returns ‖E‖ (Frobenius) of a symmetric matrix from its lower triangle, and a bound of its
/// spectral norm.
fn norms<T: Real>(e: MatRef<'_, T>) -> (f64, f64) {
    let (mut sum, mut most) = (0.0, 0.0f64);
    for i in 0..e.nrows() {
        let row = &e.row(i).expect("row-major")[..i];
        let (square, diagonal) = (row.iter().map(|v| v.to_f64() * v.to_f64()).sum::<f64>(), e.get(i, i).to_f64());
        sum += 2.0 * square + diagonal * diagonal;
    }
    let frobenius = f64::sqrt(sum);
    if frobenius >= 1.0 {
        // Sums of whole rows, read from the triangle.
        for i in 0..e.nrows() {
            let row = (0..e.nrows()).map(|j| e.get(i.max(j), i.min(j)).abs().to_f64());
            most = most.max(row.sum());
        }
        return (frobenius, frobenius.min(most));
    }
    (frobenius, frobenius)
}

/// Plain gradient descent by rotations: W stays orthogonal to rounding.
///
/// ```text
/// Δ = yᵀ δ / B                         descent direction, of rank B; y: the layer's input
/// A = Δ Wᵀ − W Δᵀ                      skew: its Cayley transform is a rotation
/// W ← (I − η/2 A)⁻¹ (I + η/2 A) W      = W + η (Δ − W Δᵀ W) + O(η²)
/// ```
///
/// A has rank 2 B. With `V = [y; δ Wᵀ]` (2B × n), `J = [0 I; −I 0]` and `c = η/2B`, it is `A = Vᵀ J
/// V / B`. Woodbury's formula then gives
///
/// ```text
/// W ← W + 2c Vᵀ Y,     (I − c J V Vᵀ) Y = J (V W)         2B × 2B
/// ```
///
/// Half of V W is known: `δ Wᵀ W = δ`. A layer takes 4.5 products of 2 B n² flops: δ Wᵀ one, y W
/// one, Vᵀ Y two, the system the rest. Its gradient takes one. W must already be orthogonal to
/// rounding: a rotation preserves orthogonality and cannot create it. A layer wider than its fan-in
/// is transposed.
///
/// ‖W Wᵀ − I‖ / √n (Frobenius) grows by about 0.5 u √t in t steps: 3e-8 √t in f32 (measured over
/// 30,000 steps at width 64). With the product δ Wᵀ W computed, it grows by 0.6 u √t.
///
/// # References
/// Wen and Yin, A feasible method for optimization with orthogonality constraints, 2013, lemma 4.
#[derive(Clone, Debug)]
pub struct Cayley<T> {
    next: Vec<Matrix<T>>,
    v: Vec<T>,
    z: Vec<T>,
    gram: Vec<T>,
    system: Vec<T>,
    pivots: Vec<usize>,
}

impl<T: Real> Cayley<T> {
    /// Allocates buffers for the layers of `net` and batches of up to `batch` samples.
    pub fn new(net: &Network<T>, batch: usize) -> Self {
        let largest =
            |of: &dyn Fn(usize, usize) -> usize| net.layers().iter().map(|l| of(l.fan_in(), l.width())).max().unwrap_or(0);
        let twice = 2 * batch;
        Self {
            next: net.layers().iter().map(|l| Matrix::zeros(l.fan_in(), l.width())).collect(),
            v: vec![T::ZERO; twice * largest(&usize::max)],
            z: vec![T::ZERO; twice * largest(&usize::min)],
            gram: vec![T::ZERO; twice * twice],
            system: vec![T::ZERO; twice * twice],
            pivots: vec![0; twice],
        }
    }

    /// New weights of each layer, as [`Cayley::turn`] computed them.
    pub fn next(&self) -> &[Matrix<T>] {
        &self.next
    }

    /// Computes the new weights of layer `layer`, after a step of length `rate` along `yᵀ δ / B`.
    /// Writes them to [`Cayley::next`]; nothing else changes.
    ///
    /// Shapes: `w` fan-in × width, `y` B × fan-in, `delta` B × width.
    ///
    /// # Errors
    /// * A shape error, also for a batch or a layer beyond those allocated.
    /// * [`Error::Diverged`] if the system is not finite.
    /// * Out of memory for packing.
    ///
    /// # Panics
    /// Never on a caller's data.
    #[allow(clippy::too_many_arguments)]
    pub fn turn(
        &mut self,
        layer: usize,
        w: &Matrix<T>,
        y: MatRef<'_, T>,
        delta: MatRef<'_, T>,
        rate: f64,
        exec: &mut Exec,
    ) -> Result<()> {
        let batch = y.nrows();
        y.expect_shape("the input of the layer", (batch, w.rows()))?;
        delta.expect_shape("the delta of the layer", (batch, w.cols()))?;
        // M is p × q with p ≥ q, and rotated from the left.
        let wide = w.cols() > w.rows();
        let (m, f, e) = if wide { (w.view().t(), delta, y) } else { (w.view(), y, delta) };
        let ((p, q), twice) = (m.shape(), 2 * batch);
        let next = self.next.get_mut(layer).filter(|n| n.view().shape() == w.view().shape());
        let (Some(next), true) = (next, twice <= self.pivots.len()) else {
            let (expected, found) = ((self.pivots.len() / 2, self.next.len()), (batch, layer));
            return Err(gaitprop_kernels::Error::Shape { what: "batch and layer of a rotation", expected, found }.into());
        };
        if batch == 0 {
            next.data_mut().copy_from_slice(w.data());
            return Ok(());
        }
        let c = rate / twice as f64;

        let mut v = MatMut::new(&mut self.v[..twice * p], twice, p)?;
        for i in 0..batch {
            let row = v.row_mut(i).expect("row-major");
            row.iter_mut().enumerate().for_each(|(j, v)| *v = f.get(i, j));
        }
        exec.gemm(T::ONE, e, m.t(), T::ZERO, v.rb().rows(batch, batch))?;
        let v = v.as_ref();

        // J (V W): exchanges the halves of V W = [y W; δ] and negates y W.
        let mut z = MatMut::new(&mut self.z[..twice * q], twice, q)?;
        for i in 0..batch {
            let row = z.row_mut(i).expect("row-major");
            row.iter_mut().enumerate().for_each(|(j, z)| *z = e.get(i, j));
        }
        exec.gemm(-T::ONE, v.rows(0, batch), m, T::ZERO, z.rb().rows(batch, batch))?;

        let mut gram = MatMut::new(&mut self.gram[..twice * twice], twice, twice)?;
        exec.syrk(v, Part::Both, Diagonal::Kept, gram.rb())?;
        let mut system = MatMut::new(&mut self.system[..twice * twice], twice, twice)?;
        for i in 0..twice {
            let (from, factor) = if i < batch { (i + batch, -c) } else { (i - batch, c) };
            let row = system.row_mut(i).expect("row-major");
            let gram = gram.row_mut(from).expect("row-major");
            row.iter_mut().zip(gram).for_each(|(s, g)| *s = T::from_f64(factor * g.to_f64()));
            row[i] = T::ONE + row[i];
        }
        let pivots = &mut self.pivots[..twice];
        match lu::factor(system.rb(), pivots, &exec.plan, &mut exec.scratch) {
            // I − c J V Vᵀ is never singular: its elements were not finite.
            Err(KernelError::ZeroPivot { .. } | KernelError::NonFinite { .. }) => {
                return Err(Error::Diverged { what: "the rotation", layer, step: 0 });
            }
            other => other?,
        }
        lu::solve_left(system.as_ref(), pivots, z.rb(), &exec.plan, &mut exec.scratch)?;

        // Start from 0 and add W last: one rounding of W's size per element. A chain started from W
        // would have 2 B of them, which is most of the drift.
        let finish = Epilogue::ScaleAdd { scale: T::from_f64(2.0 * c), weight: T::ONE, add: w.view() };
        let (a, b) = if wide { (z.as_ref().t(), v) } else { (v.t(), z.as_ref()) };
        exec.gemm_with(T::ONE, (a, b), Start::Zero, next.view_mut(), finish)?;
        Ok(())
    }

    /// Checks that the buffers belong to `net`.
    pub(crate) fn check_fit(&self, net: &Network<T>) -> Result<()> {
        let shapes = |m: &Matrix<T>| m.view().shape();
        if self.next.len() == net.layers().len() && self.next.iter().zip(net.layers()).all(|(m, l)| shapes(m) == shapes(&l.w)) {
            return Ok(());
        }
        let (expected, found) =
            ((net.layers().len(), net.outputs()), (self.next.len(), self.next.last().map_or(0, Matrix::cols)));
        Err(gaitprop_kernels::Error::Shape { what: "rotations, of another network,", expected, found }.into())
    }

    /// Swaps the new weights into the network, layer by layer. The old weights become the buffers.
    ///
    /// # Panics
    /// If the network has layers of other shapes.
    pub(crate) fn exchange(&mut self, net: &mut Network<T>) {
        assert_eq!(self.next.len(), net.layers().len(), "another network");
        for (layer, next) in net.layers_mut().iter_mut().zip(&mut self.next) {
            assert_eq!(layer.w.view().shape(), next.view().shape(), "another network");
            std::mem::swap(&mut layer.w, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Activation;
    use crate::model::layer::Layer;

    fn net(shapes: &[(usize, usize)]) -> Network<f64> {
        let layer = |&(rows, cols): &(usize, usize)| Layer {
            w: Matrix::from_vec(rows, cols, (0..rows * cols).map(|i| f64::from(u8::from(i % (cols + 1) == 0))).collect())
                .unwrap(),
            b: vec![0.0; cols],
            activation: Activation::Identity,
        };
        Network::new(shapes[0].0, shapes.iter().map(layer).collect(), 1).unwrap()
    }

    /// Takes the smaller of two bounds: from ‖E‖ = 1 on, the largest row sum counts too.
    #[test]
    fn the_spectral_bound_is_the_smaller_of_two() {
        let of = |data: &[f64], n: usize| norms(MatRef::new(data, n, n).unwrap());
        // Lower triangles; the elements above the diagonal are not read.
        assert_eq!(of(&[0.3, 9.0, 0.4, -0.5], 2), (f64::sqrt(0.09 + 0.32 + 0.25), f64::sqrt(0.09 + 0.32 + 0.25)));
        let mut half = vec![0.0; 256];
        (0..16).for_each(|i| half[17 * i] = 0.5);
        assert_eq!(of(&half, 16), (2.0, 0.5));
        assert_eq!(of(&[1.0, 9.0, 2.0, 0.0], 2), (3.0, 3.0));
        assert_eq!(of(&[0.0, 9.0, 1.0, 0.0], 2), (f64::sqrt(2.0), 1.0));
    }

    #[test]
    fn rotations_know_their_network_by_its_shapes() {
        let cayley = Cayley::new(&net(&[(4, 6), (6, 6)]), 5);
        assert!(cayley.check_fit(&net(&[(4, 6), (6, 6)])).is_ok());
        for other in [&[(4, 6)][..], &[(4, 6), (6, 6), (6, 6)], &[(5, 6), (6, 6)], &[(4, 5), (5, 5)]] {
            assert!(cayley.check_fit(&net(other)).is_err(), "{other:?}");
        }
    }
}
