//! `W⁻¹ = Wᵀ (W Wᵀ)⁻¹`, by Cholesky.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::lu::{FOREIGN, Lu};
use crate::solve::{Seen, Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights, gather, live_columns, products, room, scatter};
use crate::store::checkpoint::State;
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, Start, cholesky};

/// `e = (r Wᵀ) (L Lᵀ)⁻¹` with `L Lᵀ = W Wᵀ`: 4n³/3 flops a layer and change, 3 products a solve with its residual.
///
/// The condition number of W Wᵀ is that of W squared: near orthogonality that costs no digit, far from it half of them. First factors, suspicious pivots
/// and suspicious solutions are checked by a correction `ρ Wᵀ (L Lᵀ)⁻¹`, and corrected until the tolerance is reached; where corrections
/// do not contract, and where W Wᵀ is not positive definite, LU takes over.
#[derive(Debug)]
pub struct Gram<T> {
    seen: Seen,
    tuning: Tuning,
    layers: Vec<Factor<T>>,
    judge: Lu<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
}

#[derive(Debug, Default)]
struct Factor<T> {
    n: usize,
    l: Vec<T>,
    fresh: bool,
    /// A correction has shown what these weights, or their predecessors, are like.
    vetted: bool,
    /// ‖W‖ (Frobenius), and an estimate of the condition of W from the pivots: a lower bound.
    norm: f64,
    spread: f64,
}

/// A contraction that corrections must beat.
const SLOW: f64 = 0.5;
/// Corrections, at most.
const MOST: usize = 4;
/// κ²u from which the condition of W Wᵀ may cost more than the tolerance, in units of the tolerance.
const SUSPICIOUS: f64 = 0.01;

/// How an attempt ended.
enum Outcome {
    Done(Solve),
    /// LU's matter, after so many products.
    Hard(f64),
}

impl<T: Real> Gram<T> {
    /// # Errors
    /// [`crate::Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self {
            seen: Seen::Any,
            tuning,
            layers: Vec::new(),
            judge: Lu::new(),
            right: Vec::new(),
            solution: Vec::new(),
            rest: Vec::new(),
            step: Vec::new(),
        })
    }

    /// Makes the factor if it is not there; returns its price, or `None` if W Wᵀ has no factor.
    fn factor(&mut self, layer: usize, w: MatRef<'_, T>, batch: usize, exec: &mut Exec) -> Result<Option<f64>> {
        let n = w.nrows();
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Factor::default);
        }
        let f = &mut self.layers[layer];
        if f.fresh && f.n == n {
            return Ok(Some(0.0));
        }
        (f.vetted, f.n, f.fresh) = (f.vetted && f.n == n, n, false);
        let to = MatMut::new(room(&mut f.l, n * n), n, n)?;
        exec.syrk(w, Part::Lower, Diagonal::Kept, to)?;
        let price = products(4.0 / 3.0, n, batch);
        f.norm = (0..n).map(|i| f.l[i * n + i].to_f64()).sum::<f64>().sqrt();
        match cholesky::factor(MatMut::new(&mut f.l[..n * n], n, n)?, &exec.plan, &mut exec.scratch) {
            Err(KernelError::NotPositiveDefinite { .. } | KernelError::NonFinite { .. }) => return Ok(None),
            other => other?,
        }
        let pivots = (0..n).map(|i| f.l[i * n + i].to_f64());
        let (low, high) = pivots.fold((f64::INFINITY, 0.0f64), |(low, high), p| (low.min(p), high.max(p)));
        (f.fresh, f.spread) = (true, high / low);
        Ok(Some(price))
    }

    fn attempt(&mut self, layer: usize, w: MatRef<'_, T>, r: &mut MatMut<'_, T>, exec: &mut Exec) -> Result<Outcome> {
        let (batch, n) = r.shape();
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if size == 0.0 {
            return Ok(Outcome::Done(Solve { by: SolverKind::Gram, ..Solve::default() }));
        }
        if !size.is_finite() {
            return Ok(Outcome::Hard(0.0));
        }
        let Some(price) = self.factor(layer, w, batch, exec)? else {
            return Ok(Outcome::Hard(products(1.0 / 3.0, n, batch)));
        };
        let f = &mut self.layers[layer];
        let l = MatRef::new(&f.l[..n * n], n, n)?;
        let len = batch * n;
        let right = MatRef::new(&self.right, batch, n)?;
        let (solution, rest, step) = (room(&mut self.solution, len), room(&mut self.rest, len), room(&mut self.step, len));
        let live = live_columns(right);
        let first = right.cols(0, live);
        exec.product(T::ONE, first, w.cols(0, live).t(), Start::Zero, MatMut::new(solution, batch, n)?)?;
        cholesky::solve(l, MatMut::new(solution, batch, n)?.t(), &exec.plan, &mut exec.scratch)?;
        let mut cost = price + 1.0 + live as f64 / n as f64;
        let mut last = exec.norm(solution)?;
        // ‖e‖‖W‖/‖r‖ is a lower bound of the condition number √n times over.
        let condition = f.spread.max(last * f.norm / (size * (n as f64).sqrt()));
        let suspicious = !(condition * condition * T::UNIT_ROUNDOFF <= SUSPICIOUS * self.tuning.tolerance);
        let mut sound = f.vetted && !suspicious;
        let whole = last;
        for made in 0..=MOST {
            let e = MatRef::new(solution, batch, n)?;
            exec.product(-T::ONE, e, w, Start::From(T::ONE, right), MatMut::new(rest, batch, n)?)?;
            cost += 1.0;
            let residual = exec.norm(rest)? / size;
            if made == 0 && price == 0.0 && !(residual <= FOREIGN) {
                break;
            }
            if sound && residual <= self.tuning.tolerance {
                f.vetted = true;
                scatter(solution, r);
                return Ok(Outcome::Done(Solve { residual, sampled: false, products: cost, by: SolverKind::Gram }));
            }
            exec.product(T::ONE, MatRef::new(rest, batch, n)?, w.t(), Start::Zero, MatMut::new(step, batch, n)?)?;
            cholesky::solve(l, MatMut::new(step, batch, n)?.t(), &exec.plan, &mut exec.scratch)?;
            cost += 2.0;
            let now = exec.norm(step)?;
            let contraction = now / last;
            if !(contraction < SLOW) {
                break;
            }
            solution.iter_mut().zip(step.iter()).for_each(|(e, d)| *e += *d);
            sound = now * contraction / (1.0 - contraction) <= self.tuning.tolerance * whole;
            last = now;
        }
        Ok(Outcome::Hard(cost))
    }

    /// Records that the weights of every layer have changed.
    pub(super) fn weights_changed(&mut self) {
        for f in &mut self.layers {
            f.fresh = false;
        }
    }
}

impl<T: Real> Solver<T> for Gram<T> {
    fn name(&self) -> &'static str {
        SolverKind::Gram.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        if self.seen.changed(of.version) {
            self.weights_changed();
        }
        w.expect_shape(WEIGHTS, (r.ncols(), r.ncols()))?;
        let reused = self.layers.get(layer).is_some_and(|f| f.fresh && f.n == r.ncols());
        let mut spent = 0.0;
        // Once more with factors made now: those that were there may be of other weights.
        for _ in 0..=usize::from(reused) {
            match self.attempt(layer, w, &mut r, exec)? {
                Outcome::Done(solve) => return Ok(Solve { products: spent + solve.products, ..solve }),
                Outcome::Hard(products) => spent += products,
            }
            if let Some(f) = self.layers.get_mut(layer) {
                f.fresh = false;
            }
        }
        let solve = self.judge.judge(layer, w, r, exec)?;
        Ok(Solve { products: spent + solve.products, ..solve })
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, f) in self.layers.iter().enumerate() {
            state.put(format!("{l}.n"), f.n as u64);
            state.put(format!("{l}.vetted"), f.vetted.into());
        }
        state
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.seen = Seen::Any;
        let factor =
            |(l, n): (String, usize)| Ok(Factor { n, vetted: state.get_flag(&format!("{l}.vetted"))?, ..Factor::default() });
        self.layers = crate::solve::layers_of(&state)?.into_iter().map(factor).collect::<Result<_>>()?;
        Ok(())
    }
}
