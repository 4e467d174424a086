//! Conjugate gradients in Craig's form: products with W and Wᵀ, and nothing kept of W.
//!
//! For `e W = r`, with rows and columns equilibrated: `g` and `h` are the inverse squares of the
//! norms of W's rows and columns.
//!
//! ```text
//! ρ = r;  p = ρ∘h;  e = 0                                        start
//! repeat:  t = p Wᵀ                                              direction
//!          u = α t∘g,  α = (ρ,ρ∘h)/(t,t∘g);  e += u              advance
//!          ρ −= u W;  p = ρ∘h + β p,  β = ratio of the (ρ,ρ∘h)   conjugate
//! ```
//!
//! Each sample has its own scalars, in f64. The corrections u of one sample are orthogonal to each
//! other in the scaled space. The remaining error is therefore at least the next correction, and
//! little more while they shrink. The last iteration needs no ρ: k iterations cost 2k − 1 products.
//!
//! Sources: Craig, The N-Step Iteration Procedures, 1955; Saad, Iterative Methods for Sparse Linear
//! Systems, 8.3.2 (CGNE).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::solve::lu::Lu;
use crate::solve::method::{Method, Outcome};
use crate::solve::sketch::{PROBE_ROWS, Sketch, add_probe_rows, probe_rows_solved};
use crate::solve::{
    Solve, SolverKind, Tuning, Weights, add, gather, live_columns, of_layer, reserve, rest_of, restore_layers, save_layers,
    scatter,
};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start};

/// Conjugate gradients on equilibrated weights: k iterations for 2k − 1 products, k = 2 near
/// orthogonality.
///
/// Two rows of noise are solved beside the batch. They detect a direction that W nearly annihilates
/// and the batch does not contain. While they converge, small residuals mean small errors.
///
/// Memory: six batches, and n² once LU has replaced a solve.
#[derive(Debug, Default)]
pub(super) struct ConjugateGradient<T> {
    tuning: Tuning,
    layers: Vec<Scales<T>>,
    sketch: Sketch<T>,
    vectors: Vectors<T>,
    norms: Vec<f64>,
}

/// Inverse squares of the norms of a layer's rows and columns, and convergence of the last solve.
#[derive(Debug, Default)]
struct Scales<T> {
    g: Vec<T>,
    h: Vec<T>,
    /// Changes of the weights since g and h were computed.
    age: u32,
    usable: bool,
    /// Ratio of the second correction to the first.
    ratio: f64,
}

/// Vectors of the iteration in a solve: a row for each sample, then the rows of noise.
#[derive(Debug, Default)]
struct Vectors<T> {
    batch: usize,
    n: usize,
    right: Vec<T>,
    /// e.
    solution: Vec<T>,
    /// ρ.
    rest: Vec<T>,
    p: Vec<T>,
    t: Vec<T>,
    u: Vec<T>,
    /// One row of ρ∘h.
    scaled: Vec<T>,
    rows: Vec<Row>,
}

/// Scalars of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Present (ρ,ρ∘h).
    rho: f64,
    /// (ρ,ρ∘h) at the start.
    first: f64,
}

/// Number of changes after which norms are recomputed. They move by half a percent each, and only
/// speed depends on them.
const LASTING: u32 = 8;
/// Safety factor: the amplification ‖W⁻¹‖ estimated from corrections was up to 18 % too small in
/// 58,500 solves.
const MARGIN: f64 = 1.2;
/// Limit of iterations. The 2·64 − 1 products exceed the cost of LU at most shapes, but
/// need no n² memory.
const MOST: usize = 64;

impl<T: Real> Scales<T> {
    /// Computes g from the rows of W, then h from the columns of the scaled matrix.
    fn equilibrate(&mut self, w: MatRef<'_, T>, row: &mut Vec<T>, squares: &mut Vec<f64>, exec: &Exec) -> Result<()> {
        let n = w.nrows();
        if self.usable && self.g.len() == n && self.age < LASTING {
            return Ok(());
        }
        if self.g.len() != n {
            self.ratio = 1.0;
        }
        self.age = 0;
        self.g.clear();
        squares.clear();
        squares.resize(n, 0.0);
        for i in 0..n {
            gather(w.rows(i, 1), row);
            let g = T::from_f64(1.0 / exec.dot(row, row)?);
            self.g.push(g);
            let weight = g.to_f64();
            for (square, v) in squares.iter_mut().zip(row.iter()) {
                let v = v.to_f64();
                *square += v * v * weight;
            }
        }
        self.h.clear();
        self.h.extend(squares.iter().map(|&square| T::from_f64(1.0 / square)));
        // A zero row or column, or a NaN, rules out iterations.
        self.usable = self.g.iter().chain(&self.h).all(|s| s.is_finite() && *s > T::ZERO);
        Ok(())
    }
}

/// `out = x∘y`.
fn times<T: Real>(x: &[T], y: &[T], out: &mut [T]) {
    out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = x * y);
}

impl<T: Real> Vectors<T> {
    /// `ρ = r; p = ρ∘h; e = 0`, for r in `right`.
    fn start(&mut self, h: &[T], exec: &Exec) -> Result<()> {
        let (n, len) = (self.n, self.right.len());
        let rest = resized(&mut self.rest, len);
        rest.copy_from_slice(&self.right);
        resized(&mut self.solution, len).fill(T::ZERO);
        resized(&mut self.t, len);
        resized(&mut self.u, len);
        self.rows.clear();
        for (rest, p) in rest.chunks_exact(n).zip(resized(&mut self.p, len).chunks_exact_mut(n)) {
            times(rest, h, p);
            let rho = exec.dot(rest, p)?;
            self.rows.push(Row { rho, first: rho });
        }
        Ok(())
    }

    /// `t = p Wᵀ`, where p has `live` nonzero columns in the rows of the batch and n in those of
    /// noise. Returns the cost in products.
    fn direction(&mut self, w: MatRef<'_, T>, live: usize, exec: &mut Exec) -> Result<f64> {
        let (batch, n, all, len) = (self.batch, self.n, self.rows.len(), self.right.len());
        let (p, mut t) = (MatRef::new(&self.p[..len], all, n)?, MatMut::new(&mut self.t[..len], all, n)?);
        // First row, rows and columns of each product.
        let products: &[_] = if live == n { &[(0, all, n)] } else { &[(0, batch, live), (batch, PROBE_ROWS, n)] };
        let mut cost = 0.0;
        for &(first, rows, columns) in products {
            let p = p.block(first, 0, rows, columns);
            exec.product(T::ONE, p, w.cols(0, columns).t(), Start::Zero, t.rb().rows(first, rows))?;
            cost += (rows * columns) as f64 / (batch * n) as f64;
        }
        Ok(cost)
    }

    /// `u = α t∘g; e += u`. Returns the norm of the batch's u.
    fn advance(&mut self, g: &[T], exec: &Exec) -> Result<f64> {
        let n = self.n;
        let vectors = self.t.chunks_exact(n).zip(self.u.chunks_exact_mut(n)).zip(self.solution.chunks_exact_mut(n));
        let mut corrections = 0.0;
        for (i, (row, ((t, u), e))) in self.rows.iter().zip(vectors).enumerate() {
            times(t, g, u);
            let curvature = exec.dot(t, u)?;
            // A row that is zero, or solved to rounding, stays as it is.
            let done = !(row.rho > row.first * T::UNIT_ROUNDOFF * T::UNIT_ROUNDOFF) || curvature == 0.0;
            let alpha = T::from_f64(if done { 0.0 } else { row.rho / curvature });
            u.iter_mut().for_each(|u| *u = alpha * *u);
            add(e, u);
            if i < self.batch {
                corrections += exec.dot(u, u)?;
            }
        }
        Ok(corrections.sqrt())
    }

    /// `ρ −= u W; p = ρ∘h + β p`. Returns the norm of the batch's ρ.
    fn conjugate(&mut self, w: MatRef<'_, T>, h: &[T], exec: &mut Exec) -> Result<f64> {
        let (n, all, len) = (self.n, self.rows.len(), self.right.len());
        let step = &mut self.t[..len];
        exec.product(T::ONE, MatRef::new(&self.u[..len], all, n)?, w, Start::Zero, MatMut::new(step, all, n)?)?;
        let vectors = step.chunks_exact(n).zip(self.rest.chunks_exact_mut(n)).zip(self.p.chunks_exact_mut(n));
        let scaled = resized(&mut self.scaled, n);
        let mut rests = 0.0;
        for (i, (row, ((step, rest), p))) in self.rows.iter_mut().zip(vectors).enumerate() {
            rest.iter_mut().zip(step).for_each(|(rho, &v)| *rho -= v);
            times(rest, h, scaled);
            let rho = exec.dot(rest, scaled)?;
            let beta = T::from_f64(if row.rho > 0.0 { rho / row.rho } else { 0.0 });
            p.iter_mut().zip(scaled.iter()).for_each(|(p, &s)| *p = s + beta * *p);
            row.rho = rho;
            if i < self.batch {
                rests += exec.dot(rest, rest)?;
            }
        }
        Ok(rests.sqrt())
    }
}

impl<T: Real> ConjugateGradient<T> {
    /// Builds a solver that has seen no weights.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// Reserves the memory for solves of a layer.
    pub(super) fn reserve(&mut self, layer: usize, n: usize, batch: usize) {
        let Scales { g, h, .. } = of_layer(&mut self.layers, layer);
        let (all, Vectors { right, solution, rest, p, t, u, scaled, rows, .. }) = (batch + PROBE_ROWS, &mut self.vectors);
        [right, solution, rest, p, t, u].into_iter().for_each(|memory| reserve(memory, all * n));
        [g, h, scaled].into_iter().for_each(|memory| reserve(memory, n));
        reserve(&mut self.norms, n);
        reserve(rows, all);
        self.sketch.reserve(batch, n, self.tuning.probes);
    }

    /// Writes `r W⁻¹` into `r` within `most` iterations.
    pub(super) fn iterate(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, most: usize, exec: &mut Exec) -> Result<Outcome> {
        let ((batch, n), w) = (r.shape(), of.w);
        self.reserve(of.layer, n, batch);
        (self.vectors.batch, self.vectors.n) = (batch, n);
        gather(r.as_ref(), &mut self.vectors.right);
        let size = exec.norm(&self.vectors.right)?;
        if size == 0.0 {
            return Ok(Outcome::Solved(Solve { by: Self::KIND, ..Solve::default() }));
        }
        let scales = &mut self.layers[of.layer];
        scales.equilibrate(w, &mut self.vectors.scaled, &mut self.norms, exec)?;
        if !size.is_finite() || !scales.usable {
            return Ok(Outcome::GaveUp(0.0));
        }
        self.sketch.draw(batch, n, self.tuning.probes);
        add_probe_rows(&mut self.vectors.right, n, size, self.sketch.draws);
        self.vectors.start(&scales.h, exec)?;

        let (mut products, mut before) = (0.0, 0.0);
        // Norm of the last ρ, and largest ratio of a correction to the ρ that it came from.
        let (mut rest, mut amplification) = (size, 0.0f64);
        for made in 1..=most {
            let live = if made == 1 { live_columns(r.as_ref()) } else { n };
            products += self.vectors.direction(w, live, exec)?;
            let scales = &mut self.layers[of.layer];
            let correction = self.vectors.advance(&scales.g, exec)?;
            let whole = exec.norm(&self.vectors.solution[..batch * n])?;
            if !correction.is_finite() || !whole.is_finite() {
                break;
            }
            if rest > 0.0 {
                amplification = amplification.max(correction / rest);
            }
            if made == 2 {
                scales.ratio = correction / before;
            }
            let ratio = if made == 1 { scales.ratio } else { correction / before };
            let goal = self.tuning.tolerance * whole;
            if ratio * correction <= goal {
                products += self.sketch.price() + PROBE_ROWS as f64 / batch as f64;
                if let Some(residual) = self.accept(w, size, amplification, goal, exec)? {
                    scatter(&self.vectors.solution, r);
                    let sampled = !self.sketch.exact();
                    return Ok(Outcome::Solved(Solve { residual, sampled, products, by: Self::KIND }));
                }
            }
            let left = most - made;
            if left == 0 || (made >= 2 && !(correction_after(left, correction, ratio) <= goal)) {
                break;
            }
            rest = self.vectors.conjugate(w, &self.layers[of.layer].h, exec)?;
            products += (batch + PROBE_ROWS) as f64 / batch as f64;
            before = correction;
        }
        Ok(Outcome::GaveUp(products))
    }

    /// Returns the batch's relative residual if it confirms that the error is below `goal`, and if
    /// the rows of noise are solved.
    fn accept(&mut self, w: MatRef<'_, T>, size: f64, amplification: f64, goal: f64, exec: &mut Exec) -> Result<Option<f64>> {
        let Vectors { batch, n, right, solution, t, .. } = &mut self.vectors;
        let (n, own) = (*n, *batch * *n);
        let (left, of) = self.sketch.residual(&right[..own], &solution[..own], w, exec)?;
        let residual = left / of;
        let enough = self.sketch.safety().max(MARGIN) * amplification * residual * size <= goal;
        let (noise, rest) = (&right[own..], &mut t[..PROBE_ROWS * n]);
        rest_of(noise, MatRef::new(&solution[own..right.len()], PROBE_ROWS, n)?, w, rest, exec)?;
        Ok((probe_rows_solved(rest, noise, n, exec)? && enough).then_some(residual))
    }
}

/// Extrapolates the correction after `left` more iterations. Superlinear convergence gains a few
/// iterations, so that the ratio counts twice.
fn correction_after(left: usize, correction: f64, ratio: f64) -> f64 {
    // Repeated multiplication, since `powi` may round differently from machine to machine.
    (0..2 * left).fold(correction, |c, _| c * ratio.min(1.0))
}

impl<T: Real> Method<T> for ConjugateGradient<T> {
    const KIND: SolverKind = SolverKind::Cg;

    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, _lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome> {
        let end = self.iterate(of, r, MOST, exec)?;
        if let Outcome::GaveUp(_) = end {
            // Norms of other weights may be the reason: the next solve recomputes them.
            self.layers.iter_mut().for_each(|scales| scales.age = LASTING);
        }
        Ok(end)
    }

    fn weights_changed(&mut self) {
        for scales in &mut self.layers {
            scales.age = scales.age.saturating_add(1);
        }
    }

    fn save(&self, changes: u32) -> State<T> {
        let mut state = save_layers(&self.layers, |scales, state| {
            state.put("age", scales.age.saturating_add(changes).into());
            state.put("usable", scales.usable.into());
            state.put_f64("ratio", scales.ratio);
            state.put_array("g", &[scales.g.len()], &scales.g);
            state.put_array("h", &[scales.h.len()], &scales.h);
            scales.g.len()
        });
        state.put("draws", self.sketch.draws);
        state
    }

    fn restore(&mut self, mut state: State<T>) -> Result<()> {
        self.layers = restore_layers(&mut state, |state, n| {
            Ok(Scales {
                g: state.array("g", n)?.to_vec(),
                h: state.array("h", n)?.to_vec(),
                age: state.get_as("age")?,
                usable: state.get_flag("usable")?,
                ratio: state.get_f64("ratio")?,
            })
        })?;
        self.sketch.draws = state.get("draws")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::init::{self, Init};
    use gaitprop_kernels::Plan;

    /// Two iterations of two products each, and what begins and ends them, are the cost of giving up.
    #[test]
    fn iterations_end_at_their_limit() {
        let (n, batch) = (40, 16);
        let mut rng = Rng::new(7, 0);
        let mut w = init::weights::<f64>(Init::Orthogonal, n, n, &mut rng, &Plan::new()).unwrap();
        w.data_mut().iter_mut().for_each(|w| *w += 0.3 * (n as f64).powf(-0.5) * rng.normal());
        let of = Weights { layer: 0, version: 0, w: w.view() };
        let attempt = |most| {
            let mut r: Vec<f64> = (0..batch * n).map(|i| (i as f64).sin()).collect();
            let mut cg = ConjugateGradient::new(Tuning::new(1e-4).unwrap());
            cg.iterate(of, &mut MatMut::new(&mut r, batch, n).unwrap(), most, &mut Exec::default()).unwrap()
        };
        assert!(matches!(attempt(2), Outcome::GaveUp(products) if products > 3.0 && products < 9.0));
        assert!(matches!(attempt(100), Outcome::Solved(Solve { by: SolverKind::Cg, .. })));
    }
}
