//! One layer on one batch: the input of a rule, and the step down to the layer below.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::rule::Rule;
use crate::solve::{Solve, Solver, Weights};
use gaitprop_kernels::perturb::{activation_grad, perturb};
use gaitprop_kernels::{Activation, Error as KernelError, MatMut, MatRef, Real};

/// State of one layer on one batch: the input of a rule.
///
/// A step builds it from its [`Tape`](crate::step::Tape). A caller can build it by hand, to call a
/// rule on a layer outside a [`Network`](crate::Network).
pub struct LayerState<'a, T> {
    /// Index of the layer, from 0.
    pub index: usize,
    /// Number of layers above it: L − l, 0 for the last layer.
    pub above: usize,
    /// Version of the weights; see [`Weights::version`].
    pub version: u64,
    /// W_l, fan-in × width.
    pub w: MatRef<'a, T>,
    /// b_l.
    pub b: &'a [T],
    /// Activation f.
    pub activation: Activation,
    /// Number of leading columns of `e` that may be nonzero: the label units of the last layer, all
    /// units of the others.
    pub active: usize,
    /// Input of the layer, batch × fan-in: y_{l−1}, or the samples; after the decorrelation, if
    /// there is one.
    pub input: MatRef<'a, T>,
    /// R of the decorrelation of the input, fan-in × fan-in, if there is one:
    /// `input = y_{l−1}[:, :fan_in] R`.
    pub decorrelation: Option<MatRef<'a, T>>,
    /// y_l, batch × width. In the last layer, columns after the first `active` hold any finite
    /// numbers, unless the rule [reads them](Rule::reads_whole_output).
    pub y: MatRef<'a, T>,
    /// f′(h_l), where the activation keeps it.
    pub slope: Option<MatRef<'a, T>>,
    /// e_l, batch × width.
    pub e: MatRef<'a, T>,
    /// δ of the label units, batch × labels, the same at every layer: −∂loss/∂h_L.
    pub output_delta: MatRef<'a, T>,
    /// Targets of the label units, batch × labels, the same at every layer.
    pub target: MatRef<'a, T>,
}

impl<T: Real> LayerState<'_, T> {
    /// Refuses views that do not fit each other.
    fn check(&self) -> Result<()> {
        let ((batch, width), fan_in) = (self.y.shape(), self.w.nrows());
        self.w.expect_shape("the weights of a layer", (fan_in, width))?;
        self.input.expect_shape("the input of a layer", (batch, fan_in))?;
        self.e.expect_shape("the error of a layer", (batch, width))?;
        if let Some(slope) = self.slope {
            slope.expect_shape("the slope of a layer", (batch, width))?;
        }
        if let Some(r) = self.decorrelation {
            r.expect_shape("the decorrelation of a layer", (fan_in, fan_in))?;
        }
        self.output_delta.expect_shape("the delta of the output", (batch, self.output_delta.ncols()))?;
        self.target.expect_shape("the targets", self.output_delta.shape())?;
        if self.b.len() == width && self.active <= width {
            return Ok(());
        }
        let what = format!("it has {width} units, but {} biases and {} active units", self.b.len(), self.active);
        Err(Error::Architecture { layer: self.index, what })
    }

    /// Sends credit down by one layer: writes δ_l = f′(h_l) ∘ e_l into `delta`, and e_{l−1} by
    /// `rule` into `below`, if there is a layer below. Returns the report of the rule's solve, if
    /// any.
    ///
    /// Shapes: `delta` batch × width, `below` batch × fan-in; both are overwritten. Allocates for a
    /// layer that is not square, and for one with a decorrelation; training does not.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a target outside the activation's range; as [`Rule::backward`];
    /// a shape error.
    pub fn send_down(
        &self,
        rule: &mut dyn Rule<T>,
        solver: &mut dyn Solver<T>,
        delta: MatMut<'_, T>,
        below: Option<MatMut<'_, T>>,
        exec: &mut Exec,
    ) -> Result<Option<Solve>> {
        self.send_down_with(&mut Vec::new(), rule, solver, delta, below, exec)
    }

    /// [`LayerState::send_down`] with a workspace, which grows to batch × (width + fan-in) elements
    /// for the layers that need it.
    pub(crate) fn send_down_with(
        &self,
        workspace: &mut Vec<T>,
        rule: &mut dyn Rule<T>,
        solver: &mut dyn Solver<T>,
        mut delta: MatMut<'_, T>,
        below: Option<MatMut<'_, T>>,
        exec: &mut Exec,
    ) -> Result<Option<Solve>> {
        self.check()?;
        let isa = exec.plan.isa;
        let Some(mut below) = below else {
            activation_grad(self.activation, self.y, self.slope, self.e, delta, isa)?;
            return Ok(None);
        };
        let (batch, width, fan_in) = (self.y.nrows(), self.w.ncols(), self.w.nrows());
        let perturbation = rule.perturbation(self.activation, self.above);
        // A perturbation has as many columns as the layer has units, and needs memory of its own
        // where `below` has fewer or more.
        let apart = perturbation.is_some() && fan_in != width;
        let through = self.through_decorrelation(rule, solver);
        let transposed = if through == Through::Transpose { fan_in } else { 0 };
        let wide = if apart { width } else { 0 };
        let (wide, decorrelated) = resized(workspace, batch * (wide + transposed)).split_at_mut(batch * wide);
        let mut decorrelated = MatMut::new(decorrelated, batch, transposed)?;
        let mut errors = if through == Through::Transpose { decorrelated.rb() } else { below.rb() };
        match perturbation {
            // δ, and the perturbation that goes through W⁻¹, in one pass.
            Some(p) => {
                let r = if apart { MatMut::new(wide, batch, width)? } else { errors.rb() };
                perturb(p, self.y, self.slope, self.e, r, delta.rb(), isa).map_err(|e| match e {
                    KernelError::Domain { row, col } => Error::OutOfRange { layer: self.index, sample: row, unit: col },
                    other => other.into(),
                })?;
            }
            None => activation_grad(self.activation, self.y, self.slope, self.e, delta.rb(), isa)?,
        }
        let perturbed = if apart { Some(MatRef::new(wide, batch, width)?) } else { None };
        let mut with = Context { exec, solver, perturbed, solve: None };
        rule.backward(self, delta.as_ref(), errors, &mut with)?;
        match (self.decorrelation, through) {
            (Some(r), Through::Inverse) => with.solve_decorrelation(self, r, below)?,
            (Some(r), Through::Transpose) => with.exec.gemm(T::ONE, decorrelated.as_ref(), r.t(), T::ZERO, below)?,
            _ => {}
        }
        Ok(with.solve)
    }

    /// Returns how the rule's errors pass the decorrelation of this layer's input.
    fn through_decorrelation(&self, rule: &dyn Rule<T>, solver: &dyn Solver<T>) -> Through {
        match (self.decorrelation, rule.through_decorrelation()) {
            (None, _) => Through::Direct,
            // A learned inverse reconstructs the activity below as it was before its decorrelation.
            (_, Through::Inverse) if solver.learns() => Through::Direct,
            (_, through) => through,
        }
    }
}

/// How a rule's errors pass the decorrelation R of a layer's input `z = y_{l−1} R`, to become
/// errors of y_{l−1}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The rule writes errors of y_{l−1}: its feedback replaces that through R too.
    Direct,
    /// The rule writes errors of z, and `e_{l−1} = e_z Rᵀ`: gradients.
    Transpose,
    /// The rule writes errors of z, and `e_{l−1} = e_z R⁻¹`: targets.
    Inverse,
}

/// Tools of a rule: the kernels and the solver.
pub struct Context<'a, T> {
    /// Execution context of the kernels.
    pub exec: &'a mut Exec,
    solver: &'a mut dyn Solver<T>,
    /// The rule's perturbation of a layer that is not square, batch × width.
    perturbed: Option<MatRef<'a, T>>,
    solve: Option<Solve>,
}

impl<T: Real> Context<'_, T> {
    /// Replaces `r` (batch × fan-in) by `r W_l⁻¹`. The step reports the last solve of a layer.
    ///
    /// For a layer that is not square, overwrites `r` with the solver's solution of the rule's
    /// [perturbation](Rule::perturbation), which has another shape.
    ///
    /// # Errors
    /// As [`Solver::solve`].
    pub fn solve(&mut self, layer: &LayerState<'_, T>, r: MatMut<'_, T>) -> Result<()> {
        let of = Weights { layer: layer.index, version: layer.version, w: layer.w };
        let solve = match self.perturbed {
            Some(wide) => self.solver.solve_into(of, wide, r, self.exec)?,
            None => self.solver.solve(of, r, self.exec)?,
        };
        // A learned inverse goes through weights and decorrelation at once, but its residual is
        // that of the weights alone.
        let unknown = self.solver.learns() && layer.decorrelation.is_some();
        self.solve = Some(Solve { residual: if unknown { f64::NAN } else { solve.residual }, ..solve });
        Ok(())
    }

    /// Replaces errors of the decorrelated input by `e R⁻¹`. Adds the solve to that of the weights.
    fn solve_decorrelation(&mut self, layer: &LayerState<'_, T>, r: MatRef<'_, T>, e: MatMut<'_, T>) -> Result<()> {
        // Solvers keep factors by layer: those of decorrelations come after those of the weights.
        let layers = layer.index + layer.above + 1;
        let of = Weights { layer: layers + layer.index, version: layer.version, w: r };
        let second = self.solver.solve(of, e, self.exec).map_err(|e| e.of_layer(layer.index))?;
        self.solve = Some(match self.solve {
            Some(first) => Solve {
                residual: if second.residual <= first.residual { first.residual } else { second.residual },
                sampled: first.sampled || second.sampled,
                products: first.products + second.products,
                by: first.by,
            },
            None => second,
        });
        Ok(())
    }
}
