//! An inverse from an earlier step, corrected until the error that is left is small.
//!
//! ```text
//! e = r M;  repeat: ρ = r − e W;  δ = ρ M;  e += δ            error: e* F, e* F², …   with F = I − W M
//! ```
//!
//! The next correction is the error times I − F: where M contracts, `‖δ‖ / (1 − ‖F‖)` bounds the error however ill-conditioned W is, which the residual does
//! not. Only the last correction, the one that is not made, need not be known of each row: random combinations of rows will do ([`super::sketch`]).

use super::lu::Lu;
use super::sketch::Sketch;
use super::{Inverse, Kind, Solve, Tuning, Weights, gather, norm, products, room, scatter};
use crate::Result;
use crate::state::State;
use gaitprop_kernels::{MatMut, MatRef, Plan, Real, Scratch, Start, gemm, gemm_with_scratch};

/// A stale inverse of each layer's weights: 1 product, 2 a correction, and a quarter for looking at what is left.
///
/// M is refreshed when it no longer contracts, and when what it has cost beyond the price of a young one exceeds the price of a refresh: by a step of
/// Newton and Schulz, `M ← M + (I − M W) M`, if it is near enough, else by LU. Singular weights are found by LU, to which a solve falls back when nothing
/// contracts.
///
/// Memory: n² a layer, and 3 n² for all together.
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
    /// I − M W, and a copy of M: Newton and Schulz.
    defect: Vec<T>,
    copy: Vec<T>,
    refreshes: [u64; 2],
}

/// One layer's inverse and what is known of it.
#[derive(Debug, Default)]
struct Kept<T> {
    n: usize,
    m: Vec<T>,
    valid: bool,
    /// Changes of the weights since it was made.
    age: u32,
    /// Its contraction when it was made, and what each change since then has added, once that has been seen.
    floor: f64,
    rate: Option<f64>,
    /// What solves have cost since it was made, beyond what the first after a change did.
    extra: f64,
    /// Products of the first solve after a change.
    young: Option<f64>,
}

/// A contraction from which iterations are no longer worth while.
pub(super) const SLOW: f64 = 0.6;
/// A contraction at which a step of Newton and Schulz, which squares it, makes M young again.
const NEAR: f64 = 0.15;
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
    fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.m[..self.n * self.n], self.n, self.n).expect("n × n elements, made with the layer")
    }

    /// The contraction that the next solve may expect: errors of M grow by as much each change.
    fn expected(&self) -> f64 {
        self.floor + self.rate.unwrap_or(1.0) * f64::from(self.age)
    }

    fn learn(&mut self, contraction: f64) {
        if self.age > 0 {
            self.rate = Some((contraction - self.floor).max(0.0) / f64::from(self.age));
        }
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
            defect: Vec::new(),
            copy: Vec::new(),
            refreshes: [0; 2],
        })
    }

    /// How often an inverse was made anew: by LU, and by Newton and Schulz.
    pub fn refreshes(&self) -> (u64, u64) {
        (self.refreshes[0], self.refreshes[1])
    }

    /// The contraction that may be expected of a layer's inverse three changes after a refresh; 0 before anything was seen.
    pub(super) fn outlook(&self, layer: usize) -> f64 {
        3.0 * self.layers.get(layer).and_then(|kept| kept.rate).unwrap_or(0.0)
    }

    /// Makes M anew: by Newton and Schulz if `near`. Returns what it took, in products.
    fn refresh(
        &mut self,
        layer: usize,
        near: bool,
        w: Weights<'_, T>,
        batch: usize,
        plan: &Plan<'_>,
        scratch: &mut Scratch,
    ) -> Result<f64> {
        let kept = &mut self.layers[layer];
        let n = kept.n;
        let contraction = kept.expected();
        kept.valid = false;
        let price = if near {
            let defect = room(&mut self.defect, n * n);
            defect.fill(T::ZERO);
            defect.iter_mut().step_by(n + 1).for_each(|d| *d = T::ONE);
            w.times(-T::ONE, kept.view(), Start::C(T::ONE), MatMut::new(defect, n, n)?, plan, scratch)?;
            let copy = room(&mut self.copy, n * n);
            copy.copy_from_slice(&kept.m[..n * n]);
            let (defect, copy) = (MatRef::new(defect, n, n)?, MatRef::new(copy, n, n)?);
            gemm(T::ONE, defect, copy, T::ONE, MatMut::new(&mut kept.m[..n * n], n, n)?, plan, scratch)?;
            kept.floor = contraction * contraction;
            products(4.0, n, batch)
        } else {
            self.judge.invert(layer, w, MatMut::new(&mut kept.m[..n * n], n, n)?, plan, scratch)?;
            kept.floor = 0.0;
            products(8.0 / 3.0, n, batch)
        };
        self.refreshes[usize::from(near)] += 1;
        (kept.valid, kept.age, kept.extra, kept.young) = (true, 0, 0.0, None);
        Ok(price)
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
        let kept = &self.layers[layer];
        let (m, len) = (MatRef::new(&kept.m[..n * n], n, n)?, batch * n);
        self.sketch.draw(&self.right, n, self.tuning.probes, plan, scratch)?;
        let right = MatRef::new(&self.right[..len], batch, n)?;
        let (solution, rest, step) = (room(&mut self.solution, len), room(&mut self.rest, len), room(&mut self.step, len));
        gemm(T::ONE, right, m, T::ZERO, MatMut::new(solution, batch, n)?, plan, scratch)?;
        let mut products = 1.0;
        // The sizes of the last correction (of the solution, before there was one) and, as it is expected, of the next.
        let mut last = norm(solution, isa)?;
        let size = last;
        let mut next = size * kept.expected();
        let mut first = 0.0;
        for made in 0.. {
            // Not looked at where it would be in vain.
            if self.sketch.caution() * next <= tolerance * size || made == MOST {
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
                    let solve = Solve { residual, sampled: !self.sketch.exact(), products, by: Kind::Stale };
                    return Ok(Outcome::Done(solve, first));
                }
            }
            if made == MOST {
                break;
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
            (kept.n, kept.valid, kept.rate) = (n, false, None);
            // What a refresh will need, now: later solves allocate nothing.
            room(&mut kept.m, n * n);
            room(&mut self.defect, n * n);
            room(&mut self.copy, n * n);
            scratch.reserve(gemm_with_scratch::<T>(n, n, n, plan))?;
        }
        let near = kept.expected() <= NEAR;
        let costs = self.tuning.costs;
        let price = if near { costs.newton_schulz(n, batch) } else { costs.lu_inverse(n, batch) };
        let (mut spent, mut renewed) = (0.0, !kept.valid);
        if renewed {
            spent += self.refresh(layer, false, w, batch, plan, scratch)?;
        } else if kept.age > 0 && kept.extra > price {
            spent += self.refresh(layer, near, w, batch, plan, scratch)?;
        }
        loop {
            match self.correct(layer, w, batch, plan, scratch)? {
                Outcome::Done(solve, contraction) => {
                    scatter(&self.solution[..batch * n], r);
                    let kept = &mut self.layers[layer];
                    kept.learn(contraction);
                    if kept.age > 0 {
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
                    self.layers[layer].learn(SLOW);
                    spent += products + self.refresh(layer, false, w, batch, plan, scratch)?;
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
            state.put_f64(format!("{l}.floor"), kept.floor);
            state.put_f64(format!("{l}.extra"), kept.extra);
            for (name, value) in [("rate", kept.rate), ("young", kept.young)] {
                if let Some(value) = value {
                    state.put_f64(format!("{l}.{name}"), value);
                }
            }
            if kept.valid {
                state.put_array(format!("{l}.m"), &[kept.n, kept.n], &kept.m[..kept.n * kept.n]);
            }
        }
        state.put("draws", self.sketch.draws());
        state.put("refreshes.lu", self.refreshes[0]);
        state.put("refreshes.newton", self.refreshes[1]);
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
                floor: state.get_f64(&name("floor"))?,
                rate: state.find_f64(&name("rate")),
                extra: state.get_f64(&name("extra"))?,
                young: state.find_f64(&name("young")),
            });
        }
        self.sketch.set_draws(state.get("draws")?);
        self.refreshes = [state.get("refreshes.lu")?, state.get("refreshes.newton")?];
        Ok(())
    }
}
