//! An inverse from an earlier step, corrected until the error that is left is small, and kept young by what each solve finds out.
//!
//! ```text
//! e = r M;  repeat: ρ = r − e W;  δ = ρ M;  e += δ            error: e F, e F², …   with F = I − W M
//! M ← M + Qᵀ D                                                rows of Q: Y = r M W = r − ρ made orthonormal; D: r M − Y M = δ through the same steps
//! ```
//!
//! The next correction is the error times I − F: where M contracts, `‖δ‖ / (1 − ‖F‖)` bounds the error however ill-conditioned W is, which the residual does
//! not. A correction takes two products, but not every row needs one: errors of the samples that a network has learned are small, and so is what M leaves of
//! them. The rows with the largest errors are corrected, as many as it takes. The contraction that is measured on them says what the next correction
//! would be; that is looked at, in random combinations of all rows ([`crate::solve::sketch`]), at every fourth solve, after a surprise, and where nothing was corrected.
//!
//! Rows that are corrected, or looked at, know pairs (e, e W), for which M should have been exact. The least change that makes it so is a projection of its error,
//! M − W⁻¹ ← (I − QᵀQ)(M − W⁻¹): it can only become smaller, and it vanishes where right-hand sides have been, which is where the next ones will be, since
//! errors of a network with c classes have few directions that matter.
//!
//! Source: Broyden, A Class of Methods for Solving Nonlinear Simultaneous Equations, 1965 (the update of the inverse, for several pairs at once).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::lu::Lu;
use crate::solve::sketch::Sketch;
use crate::solve::{
    Seen, Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights, gather, live_columns, products, promise, room, scatter,
};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start, gemm_scratch, gemm_with_scratch};

/// A stale inverse of each layer's weights: 1 product, up to 2 for a correction, and a tenth for learning from it.
///
/// M is made anew, by LU, when it no longer contracts, and when what solves have cost beyond the price of a young one exceeds the price of that.
/// Singular weights are found by LU, to which a solve falls back when nothing contracts.
///
/// Memory: n² a layer, and n² for all together.
#[derive(Debug)]
pub struct StaleInverse<T> {
    seen: Seen,
    tuning: Tuning,
    layers: Vec<Kept<T>>,
    judge: Lu<T>,
    sketch: Sketch<T>,
    right: Vec<T>,
    solution: Vec<T>,
    /// The rows that are being corrected, what is left of them, and their corrections.
    some: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
    rows: Rows,
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
    /// Solves since the last look at what is left.
    unseen: u32,
    /// The largest batch that there is room for, since it was begun or restored.
    room: usize,
}

/// Squares of the rows of the last correction (of the solution, before there was one), and which rows they are.
#[derive(Debug, Default)]
struct Rows(Vec<(f64, usize)>);

impl Rows {
    /// Begins with a batch in its own order.
    fn begin(&mut self, batch: usize) {
        self.0.clear();
        self.0.extend((0..batch).map(|i| (0.0, i)));
    }

    /// The first rows are now those of `x`.
    fn measure<T: Real>(&mut self, x: &[T], n: usize, exec: &Exec) -> Result<()> {
        for ((square, _), row) in self.0.iter_mut().zip(x.chunks_exact(n)) {
            *square = exec.dot(row, row)?;
        }
        Ok(())
    }

    /// The norm of the first k.
    fn norm(&self, k: usize) -> f64 {
        self.0[..k].iter().map(|row| row.0).sum::<f64>().sqrt()
    }

    /// Which the first k are.
    fn first(&self, k: usize) -> impl Iterator<Item = usize> {
        self.0[..k].iter().map(|row| row.1)
    }

    /// Puts those first that are to be corrected: the fewest with which the error comes below the goal, or, if one correction cannot do that, without
    /// which it could not. Returns how many.
    fn choose(&mut self, contraction: f64, goal: f64) -> usize {
        self.0.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let (once, goal) = (contraction * contraction, goal * goal);
        let all: f64 = self.0.iter().map(|row| row.0).sum();
        let (mut k, mut top) = (0, 0.0);
        while k < self.0.len() && !(once * (all - top) <= (SLACK * goal - once * once * top).max(0.5 * SLACK * goal)) {
            top += self.0[k].0;
            k += 1;
        }
        k.max(1).next_multiple_of(TILE).min(self.0.len())
    }
}

/// A contraction from which iterations are no longer worth while.
pub(super) const SLOW: f64 = 0.6;
/// Nothing is learned from contractions below this share of the tolerance.
const GOOD: f64 = 0.05;
/// Corrections, at most: 0.6^12 is 2e-3.
const MOST: usize = 12;
/// Solves in a row whose error is known by extrapolation alone, at most.
const UNSEEN: u32 = 3;
/// Rows are corrected by whole tiles, of so many.
const TILE: usize = 6;
/// Of the square of the error that is wanted, what the choice of rows may use up: with all of it every third solve needed a second correction, of a few rows.
const SLACK: f64 = 0.7;

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

    /// M.
    fn inverse(&self) -> Result<MatRef<'_, T>> {
        Ok(MatRef::new(&self.m[..self.n * self.n], self.n, self.n)?)
    }
}

impl<T: Real> StaleInverse<T> {
    /// # Errors
    /// [`crate::Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self {
            seen: Seen::Any,
            tuning,
            layers: Vec::new(),
            judge: Lu::new(),
            sketch: Sketch::default(),
            right: Vec::new(),
            solution: Vec::new(),
            some: Vec::new(),
            rest: Vec::new(),
            step: Vec::new(),
            rows: Rows::default(),
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

    /// Makes all the room that solves of a layer may need: later ones allocate nothing. Memory that is not used yet is only promised by the system.
    pub(super) fn reserve(&mut self, layer: usize, n: usize, batch: usize, exec: &mut Exec) -> Result<()> {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Kept::default);
        }
        let kept = &mut self.layers[layer];
        if kept.n == n && kept.room >= batch {
            return Ok(());
        }
        if kept.n != n {
            (kept.n, kept.valid, kept.seen, kept.room) = (n, false, None, 0);
            if kept.m.len() < n * n {
                kept.m = vec![T::ZERO; n * n];
            }
        }
        self.judge.reserve(0, n, batch, exec)?;
        exec.scratch.reserve(gemm_scratch::<T>(batch, n, n, &exec.plan).or(gemm_with_scratch::<T>(n, n, batch, &exec.plan)))?;
        self.sketch.reserve(batch, n, self.tuning.probes);
        let len = batch * n;
        for memory in [&mut self.solution, &mut self.some, &mut self.rest, &mut self.step] {
            room(memory, len);
        }
        promise(&mut self.right, len);
        promise(&mut self.rows.0, batch);
        self.layers[layer].room = batch;
        Ok(())
    }

    /// Makes M anew. Returns what it took, in products.
    fn refresh(&mut self, layer: usize, w: MatRef<'_, T>, batch: usize, exec: &mut Exec) -> Result<f64> {
        let kept = &mut self.layers[layer];
        let n = kept.n;
        kept.valid = false;
        self.judge.invert(layer, w, MatMut::new(&mut kept.m[..n * n], n, n)?, exec)?;
        self.refreshes += 1;
        (kept.valid, kept.age, kept.extra, kept.young, kept.unseen) = (true, 0, 0.0, None, UNSEEN);
        Ok(products(8.0 / 3.0, n, batch))
    }

    /// `self.solution` = `self.right` W⁻¹ to the tolerance, with M as it is and as it becomes.
    fn correct(&mut self, layer: usize, w: MatRef<'_, T>, batch: usize, exec: &mut Exec) -> Result<Outcome> {
        let (n, tolerance) = (w.nrows(), self.tuning.tolerance);
        let kept = &mut self.layers[layer];
        let len = batch * n;
        self.sketch.draw(batch, n, self.tuning.probes);
        let (exact, caution) = (self.sketch.exact(), self.sketch.caution());
        let (right, solution) = (&self.right[..len], &mut self.solution[..len]);
        let r = MatRef::new(right, batch, n)?;
        let live = live_columns(r);
        let m = kept.inverse()?.rows(0, live);
        exec.gemm(T::ONE, r.cols(0, live), m, T::ZERO, MatMut::new(solution, batch, n)?)?;
        let mut products = live as f64 / n as f64;
        self.rows.begin(batch);
        self.rows.measure(solution, n, exec)?;
        let size = self.rows.norm(batch);
        let mut contraction = kept.expected();
        // The contraction of the first correction, and relative residual over relative error as they were then.
        let (mut first, mut echo) = (0.0, 0.0);
        let mut surprised = false;
        let goal = |contraction: f64| tolerance * size * (1.0 - contraction) / caution;
        for made in 0..=MOST {
            let next = contraction * self.rows.norm(batch);
            // Not looked at where it would be in vain.
            if exact || next <= goal(contraction) || made == MOST {
                // What this very solve has measured on the rows that were corrected holds for the others.
                if !exact && made > 0 && next <= goal(contraction) && kept.unseen < UNSEEN {
                    kept.unseen += 1;
                    let solve = Solve { residual: echo * next / size, sampled: true, products, by: SolverKind::Stale };
                    return Ok(Outcome::Done(solve, first));
                }
                let (left, of) = self.sketch.residual(right, solution, w, exec)?;
                let (correction, whole) = self.sketch.correction(kept.inverse()?, exec)?;
                products += 2.0 * self.sketch.price();
                let next = correction / whole * size;
                contraction = next / self.rows.norm(batch);
                if !(contraction < SLOW) {
                    return Ok(Outcome::Slow(products));
                }
                let enough = next <= goal(contraction);
                if exact && !enough {
                    // Of every row: what was looked at is the correction.
                    let step = self.sketch.step();
                    solution.iter_mut().zip(step).for_each(|(e, d)| *e += *d);
                    self.rows.measure(step, n, exec)?;
                }
                // Once a solve, and from pairs of one and the same M: where rows are still to be corrected, they teach it.
                if made == 0 && (enough || exact) {
                    first = contraction;
                    if contraction > GOOD * tolerance {
                        self.sketch.teach(&mut kept.m[..n * n], exec)?;
                        products += self.sketch.price();
                    }
                }
                if enough {
                    // An extrapolation that was wrong is not trusted the next time.
                    kept.unseen = if surprised { UNSEEN } else { 0 };
                    let solve = Solve { residual: left / of, sampled: !exact, products, by: SolverKind::Stale };
                    return Ok(Outcome::Done(solve, first));
                }
                if made == MOST {
                    break;
                }
                if exact {
                    continue;
                }
                surprised = true;
            }
            let k = self.rows.choose(contraction, goal(contraction));
            let before = self.rows.norm(k);
            let (some, rest, step) = (&mut self.some[..k * n], &mut self.rest[..k * n], &mut self.step[..k * n]);
            for ((i, e), r) in self.rows.first(k).zip(some.chunks_exact_mut(n)).zip(rest.chunks_exact_mut(n)) {
                e.copy_from_slice(&solution[i * n..][..n]);
                r.copy_from_slice(&right[i * n..][..n]);
            }
            let of = exec.norm(rest)?;
            exec.product(-T::ONE, MatRef::new(some, k, n)?, w, Start::C(T::ONE), MatMut::new(rest, k, n)?)?;
            exec.gemm(T::ONE, MatRef::new(rest, k, n)?, kept.inverse()?, T::ZERO, MatMut::new(step, k, n)?)?;
            products += 2.0 * k as f64 / batch as f64;
            self.rows.measure(step, n, exec)?;
            contraction = self.rows.norm(k) / before;
            if !(contraction < SLOW) {
                return Ok(Outcome::Slow(products));
            }
            for (i, d) in self.rows.first(k).zip(step.chunks_exact(n)) {
                solution[i * n..][..n].iter_mut().zip(d).for_each(|(e, d)| *e += *d);
            }
            if made == 0 {
                first = contraction;
                echo = if contraction > 0.0 { exec.norm(rest)? / (of * contraction) } else { 0.0 };
                if contraction > GOOD * tolerance {
                    for (i, y) in self.rows.first(k).zip(rest.chunks_exact_mut(n)) {
                        y.iter_mut().zip(&right[i * n..][..n]).for_each(|(y, &r)| *y = r - *y);
                    }
                    self.sketch.teach_rows(rest, step, &mut kept.m[..n * n], exec)?;
                    products += self.sketch.price();
                }
            }
        }
        Ok(Outcome::Slow(products))
    }

    pub(super) fn attempt(&mut self, layer: usize, w: MatRef<'_, T>, r: &mut MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let (batch, n) = r.shape();
        w.expect_shape(WEIGHTS, (n, n))?;
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if size == 0.0 {
            return Ok(Solve { by: SolverKind::Stale, ..Solve::default() });
        }
        if !size.is_finite() {
            return self.judge.judge(layer, w, r.rb(), exec);
        }
        self.reserve(layer, n, batch, exec)?;
        let kept = &self.layers[layer];
        let price = self.tuning.costs.lu_inverse(n, batch);
        let (mut spent, mut renewed) = (0.0, !kept.valid || (kept.age > 0 && kept.extra > price));
        if renewed {
            spent += self.refresh(layer, w, batch, exec)?;
        }
        loop {
            match self.correct(layer, w, batch, exec)? {
                Outcome::Done(solve, contraction) => {
                    scatter(&self.solution[..batch * n], r);
                    let kept = &mut self.layers[layer];
                    if kept.age > 0 {
                        kept.seen = Some(contraction);
                        // What one batch costs more than another evens out; what age costs adds up.
                        kept.extra = (kept.extra + solve.products - *kept.young.get_or_insert(solve.products)).max(0.0);
                    }
                    return Ok(Solve { products: spent + solve.products, ..solve });
                }
                Outcome::Slow(products) if renewed => {
                    // An inverse of these very weights that does not contract: LU decides whether they have one at all.
                    self.layers[layer].valid = false;
                    let solve = self.judge.judge(layer, w, r.rb(), exec)?;
                    return Ok(Solve { products: spent + products + solve.products, ..solve });
                }
                Outcome::Slow(products) => {
                    self.layers[layer].seen = Some(SLOW);
                    spent += products + self.refresh(layer, w, batch, exec)?;
                    renewed = true;
                }
            }
        }
    }

    /// Records that the weights of every layer have changed.
    pub(super) fn weights_changed(&mut self) {
        for kept in &mut self.layers {
            kept.age = kept.age.saturating_add(1);
        }
    }
}

impl<T: Real> Solver<T> for StaleInverse<T> {
    fn name(&self) -> &'static str {
        SolverKind::Stale.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        if self.seen.changed(of.version) {
            self.weights_changed();
        }
        self.attempt(layer, w, &mut r, exec)
    }

    fn save(&self) -> State<T> {
        self.remember(self.seen.ahead())
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.seen = Seen::Any;
        self.recall(&state)
    }
}

impl<T: Real> StaleInverse<T> {
    /// The state once `ahead` more changes of the weights have been counted.
    pub(super) fn remember(&self, ahead: u32) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, kept) in self.layers.iter().enumerate() {
            state.put(format!("{l}.n"), kept.n as u64);
            state.put(format!("{l}.age"), kept.age.saturating_add(ahead).into());
            state.put(format!("{l}.unseen"), kept.unseen.into());
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
        for (l, n) in crate::solve::layers_of(state)? {
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
                unseen: state.get_as(&name("unseen"))?,
                room: 0,
            });
        }
        self.sketch.set_draws(state.get("draws")?);
        self.refreshes = state.get("refreshes")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six rows with large errors, six with small ones, mixed: how many are corrected, at goals just above and just below what the rule says.
    #[test]
    fn the_fewest_rows_are_corrected() {
        for (contraction, goal_squared, corrected) in [
            // What the small rows are left with, .06, and what the large ones then have, .06, are below 7/10 of it.
            (0.1, 0.1715, 6),
            (0.1, 0.1714, 12),
            // One correction leaves the large rows 37: what is left of the small ones, 1.5, may be half of 7/10.
            (0.5, 4.286, 6),
            (0.5, 4.285, 12),
            // Whole tiles, one at least.
            (0.1, 1e9, 6),
            (0.1, 0.0, 12),
        ] {
            let mut rows = Rows::default();
            rows.begin(12);
            for (i, row) in rows.0.iter_mut().enumerate() {
                row.0 = if i % 2 == 1 { 100.0 } else { 1.0 };
            }
            assert_eq!(rows.choose(contraction, f64::sqrt(goal_squared)), corrected, "{contraction}, {goal_squared}");
            assert_eq!(rows.first(6).collect::<Vec<_>>(), [1, 3, 5, 7, 9, 11]);
            assert_eq!((rows.norm(6), rows.norm(12)), (600f64.sqrt(), 606f64.sqrt()));
        }
        // Less than a tile.
        let mut rows = Rows::default();
        rows.begin(4);
        assert_eq!(rows.choose(0.5, 1.0), 4);
    }
}
