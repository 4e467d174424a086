//! An inverse from an earlier step, corrected until the error that is left is small, and kept young by what each solve finds out.
//!
//! ```text
//! e = r M;  repeat: ρ = r − e W;  δ = ρ M;  e += δ            error: e F, e F², …   with F = I − W M
//! M ← M + Qᵀ D                                                rows of Q: Y = e W = r − ρ made orthonormal; D: e − Y M through the same steps
//! ```
//!
//! The next correction is the error times I − F: where M contracts, `‖δ‖ / (1 − ‖F‖)` bounds the error however ill-conditioned W is, which the residual does
//! not. Only the last correction, the one that is not made, need not be known of each row: random combinations of rows will do ([`super::sketch`]).
//!
//! The same combinations know pairs (e, e W), for which M should have been exact. The least change that makes it so is a projection of its error,
//! M − W⁻¹ ← (I − QᵀQ)(M − W⁻¹): it can only become smaller, and it vanishes where right-hand sides have been, which is where the next ones will be, since
//! errors of a network with c classes have few directions that matter.
//!
//! Source: Broyden, A Class of Methods for Solving Nonlinear Simultaneous Equations, 1965 (the update of the inverse, for several pairs at once).

use super::lu::Lu;
use super::sketch::Sketch;
use super::{Inverse, Kind, Solve, Tuning, Weights, gather, live_columns, norm, products, room, scatter};
use crate::Result;
use crate::state::State;
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, Scratch, Start, gemm, gemm_with_scratch};

/// A stale inverse of each layer's weights: 1 product, 2 a correction, and a third for looking at what is left and for learning from it.
///
/// M is made anew, by LU, when it no longer contracts, and when what solves have cost beyond the price of a young one exceeds the price of that.
/// Singular weights are found by LU, to which a solve falls back when nothing contracts.
///
/// Memory: n² a layer, and n² for all together.
#[derive(Debug)]
pub struct StaleInverse<T> {
    tuning: Tuning,
    layers: Vec<Kept<T>>,
    judge: Lu<T>,
    sketch: Sketch<T>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
    refreshes: u64,
}

/// One layer's inverse and what is known of it.
#[derive(Debug, Default)]
struct Kept<T> {
    n: usize,
    m: Vec<T>,
    valid: bool,
    /// Changes of the weights since it was made.
    age: u32,
    /// The contraction of the last first correction, once that has been seen.
    seen: Option<f64>,
    /// What solves have cost since it was made, beyond what the first after a change did.
    extra: f64,
    /// Products of the first solve after a change.
    young: Option<f64>,
}

/// A contraction from which iterations are no longer worth while.
pub(super) const SLOW: f64 = 0.6;
/// Nothing is learned from contractions below this share of the tolerance.
const GOOD: f64 = 0.05;
/// Corrections, at most: 0.6^12 is 2e-3.
const MOST: usize = 12;

/// How an attempt with an inverse as it is ended.
enum Outcome {
    /// And the contraction of the first correction.
    Done(Solve, f64),
    /// After so many products.
    Slow(f64),
}

impl<T: Real> Kept<T> {
    /// The contraction that the next solve may expect.
    fn expected(&self) -> f64 {
        if self.age == 0 { 0.0 } else { self.seen.unwrap_or(1.0) }
    }
}

impl<T: Real> StaleInverse<T> {
    /// # Errors
    /// [`crate::Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self {
            tuning,
            layers: Vec::new(),
            judge: Lu::new(),
            sketch: Sketch::default(),
            right: Vec::new(),
            solution: Vec::new(),
            rest: Vec::new(),
            step: Vec::new(),
            refreshes: 0,
        })
    }

    /// How often an inverse was made anew.
    pub fn refreshes(&self) -> u64 {
        self.refreshes
    }

    /// The contraction that may be expected of a layer's inverse; 0 before anything was seen.
    pub(super) fn outlook(&self, layer: usize) -> f64 {
        self.layers.get(layer).and_then(|kept| kept.seen).unwrap_or(0.0)
    }

    /// Begins a layer anew, as if nothing were known of it.
    pub(super) fn forget(&mut self, layer: usize) {
        if let Some(kept) = self.layers.get_mut(layer) {
            (kept.valid, kept.seen) = (false, None);
        }
    }

    /// Makes M anew. Returns what it took, in products.
    fn refresh(&mut self, layer: usize, w: Weights<'_, T>, batch: usize, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<f64> {
        let kept = &mut self.layers[layer];
        let n = kept.n;
        kept.valid = false;
        self.judge.invert(layer, w, MatMut::new(&mut kept.m[..n * n], n, n)?, plan, scratch)?;
        self.refreshes += 1;
        (kept.valid, kept.age, kept.extra, kept.young) = (true, 0, 0.0, None);
        Ok(products(8.0 / 3.0, n, batch))
    }

    /// `self.solution` = `self.right` W⁻¹ to the tolerance, with M as it is.
    fn correct(
        &mut self,
        layer: usize,
        w: Weights<'_, T>,
        batch: usize,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<Outcome> {
        let (n, isa, tolerance) = (w.view().nrows(), plan.isa, self.tuning.tolerance);
        let kept = &mut self.layers[layer];
        let (m, len) = (MatRef::new(&kept.m[..n * n], n, n)?, batch * n);
        self.sketch.draw(&self.right, n, self.tuning.probes, plan, scratch)?;
        let right = MatRef::new(&self.right[..len], batch, n)?;
        let (solution, rest, step) = (room(&mut self.solution, len), room(&mut self.rest, len), room(&mut self.step, len));
        let live = live_columns(right);
        gemm(T::ONE, right.cols(0, live), m.rows(0, live), T::ZERO, MatMut::new(solution, batch, n)?, plan, scratch)?;
        let mut products = live as f64 / n as f64;
        // The sizes of the last correction (of the solution, before there was one) and, as it is expected, of the next.
        let mut last = norm(solution, isa)?;
        let size = last;
        let mut next = size * kept.expected();
        let mut first = 0.0;
        for made in 0.. {
            let mut known = false;
            // Not looked at where it would be in vain.
            if self.sketch.exact() || self.sketch.caution() * next <= tolerance * size || made == MOST {
                let (left, of) = self.sketch.residual(solution, w, plan, scratch)?;
                let (correction, whole) = self.sketch.correction(m, plan, scratch)?;
                products += 2.0 * self.sketch.price();
                next = correction / whole * size;
                let contraction = next / last;
                if !(contraction < SLOW) {
                    return Ok(Outcome::Slow(products));
                }
                first = if made == 0 { contraction } else { first };
                if self.sketch.caution() * next / (1.0 - contraction) <= tolerance * size {
                    let residual = left / of;
                    if first > GOOD * tolerance {
                        self.sketch.teach(&mut kept.m[..n * n], made > 0, plan, scratch)?;
                        products += self.sketch.price();
                    }
                    let solve = Solve { residual, sampled: !self.sketch.exact(), products, by: Kind::Stale };
                    return Ok(Outcome::Done(solve, first));
                }
                known = self.sketch.exact();
            }
            if made == MOST {
                break;
            }
            if made == 0 {
                self.sketch.mark(solution, plan, scratch)?;
            }
            if known {
                // Of every row: what was looked at is the correction.
                solution.iter_mut().zip(self.sketch.step()).for_each(|(e, d)| *e += *d);
                (last, next) = (next, next * next / last);
                continue;
            }
            let e = MatRef::new(solution, batch, n)?;
            w.times(-T::ONE, e, Start::From(T::ONE, right), MatMut::new(rest, batch, n)?, plan, scratch)?;
            gemm(T::ONE, MatRef::new(rest, batch, n)?, m, T::ZERO, MatMut::new(step, batch, n)?, plan, scratch)?;
            products += 2.0;
            let now = norm(step, isa)?;
            let contraction = now / last;
            if !(contraction < SLOW) {
                return Ok(Outcome::Slow(products));
            }
            first = if made == 0 { contraction } else { first };
            solution.iter_mut().zip(step.iter()).for_each(|(e, d)| *e += *d);
            (last, next) = (now, now * contraction);
        }
        Ok(Outcome::Slow(products))
    }

    pub(super) fn attempt(
        &mut self,
        layer: usize,
        w: Weights<'_, T>,
        r: &mut MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<Solve> {
        let (batch, n) = r.shape();
        w.expect_square(n)?;
        gather(r.as_ref(), &mut self.right);
        let size = norm(&self.right, plan.isa)?;
        if size == 0.0 {
            return Ok(Solve { by: Kind::Stale, ..Solve::default() });
        }
        if !size.is_finite() {
            return self.judge.judge(layer, w, r.rb(), plan, scratch);
        }
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Kept::default);
        }
        let kept = &mut self.layers[layer];
        if kept.n != n {
            (kept.n, kept.valid, kept.seen) = (n, false, None);
            // What learning will need, now: later solves allocate nothing.
            room(&mut kept.m, n * n);
            scratch.reserve(gemm_with_scratch::<T>(n, n, batch, plan))?;
        }
        let price = self.tuning.costs.lu_inverse(n, batch);
        let (mut spent, mut renewed) = (0.0, !kept.valid || (kept.age > 0 && kept.extra > price));
        if renewed {
            spent += self.refresh(layer, w, batch, plan, scratch)?;
        }
        loop {
            match self.correct(layer, w, batch, plan, scratch)? {
                Outcome::Done(solve, contraction) => {
                    scatter(&self.solution[..batch * n], r);
                    let kept = &mut self.layers[layer];
                    if kept.age > 0 {
                        kept.seen = Some(contraction);
                        kept.extra += (solve.products - *kept.young.get_or_insert(solve.products)).max(0.0);
                    }
                    return Ok(Solve { products: spent + solve.products, ..solve });
                }
                Outcome::Slow(products) if renewed => {
                    // An inverse of these very weights that does not contract: LU decides whether they have one at all.
                    self.layers[layer].valid = false;
                    let solve = self.judge.judge(layer, w, r.rb(), plan, scratch)?;
                    return Ok(Solve { products: spent + products + solve.products, ..solve });
                }
                Outcome::Slow(products) => {
                    self.layers[layer].seen = Some(SLOW);
                    spent += products + self.refresh(layer, w, batch, plan, scratch)?;
                    renewed = true;
                }
            }
        }
    }
}

impl<T: Real> Inverse<T> for StaleInverse<T> {
    fn name(&self) -> &'static str {
        Kind::Stale.name()
    }

    fn solve(
        &mut self,
        layer: usize,
        w: Weights<'_, T>,
        mut r: MatMut<'_, T>,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<Solve> {
        self.attempt(layer, w, &mut r, plan, scratch)
    }

    fn weights_changed(&mut self) {
        for kept in &mut self.layers {
            kept.age = kept.age.saturating_add(1);
        }
    }

    fn save(&self) -> State<T> {
        self.remember()
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.recall(&state)
    }
}

impl<T: Real> StaleInverse<T> {
    fn remember(&self) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, kept) in self.layers.iter().enumerate() {
            state.put(format!("{l}.n"), kept.n as u64);
            state.put(format!("{l}.age"), kept.age.into());
            state.put_f64(format!("{l}.extra"), kept.extra);
            for (name, value) in [("seen", kept.seen), ("young", kept.young)] {
                if let Some(value) = value {
                    state.put_f64(format!("{l}.{name}"), value);
                }
            }
            if kept.valid {
                state.put_array(format!("{l}.m"), &[kept.n, kept.n], &kept.m[..kept.n * kept.n]);
            }
        }
        state.put("draws", self.sketch.draws());
        state.put("refreshes", self.refreshes);
        state
    }

    fn recall(&mut self, state: &State<T>) -> Result<()> {
        self.layers.clear();
        for (l, n) in super::layers_of(state)? {
            let name = |what: &str| format!("{l}.{what}");
            let valid = state.has_array(&name("m"));
            self.layers.push(Kept {
                n,
                m: if valid { state.array(&name("m"), n * n)?.to_vec() } else { vec![T::ZERO; n * n] },
                valid,
                age: state.get_as(&name("age"))?,
                seen: state.find_f64(&name("seen")),
                extra: state.get_f64(&name("extra"))?,
                young: state.find_f64(&name("young")),
            });
        }
        self.sketch.set_draws(state.get("draws")?);
        self.refreshes = state.get("refreshes")?;
        Ok(())
    }
}
