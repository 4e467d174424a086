//! An inverse of an earlier step, with corrections until the error is small, and updates from each
//! solve.
//!
//! ```text
//! e = r M                                                                      guess
//! repeat:  ρ = r − e W;  δ = ρ M   of combinations of all rows: done?          probe
//!          ρ = r − e W;  δ = ρ M;  e += δ   of the rows with large errors      correct_worst_rows
//! M ← M + Qᵀ D                                                                 learn
//! ```
//!
//! With F = I − W M the error is e F, then e F², and so on. The next correction is the error times
//! I − F. Where M contracts, `‖δ‖ / (1 − ‖F‖)` bounds the error however ill-conditioned W is; the
//! residual does not.
//!
//! **Rows.** A correction of all rows takes two products. The samples that a network has learned
//! have small errors, and M leaves little of them. Only the rows with the largest errors are
//! corrected, as many as the tolerance requires. The contraction measured on them predicts the next
//! correction.
//!
//! **Probes.** The prediction is checked on random combinations of all rows
//! ([`crate::solve::sketch`]): at every fourth solve, after a wrong prediction, and where no row
//! was corrected.
//!
//! **Learning.** Corrected rows and probes give pairs (e, e W) for which M should have been exact.
//! Of their combinations the few with the largest errors are learned ([`crate::solve::learn`]): the
//! rows of Q are combinations of Y = r M W = r − ρ, made orthonormal, and D is r M − Y M = δ through
//! the same steps. The update is the least change that makes M exact for them, but for a ridge. It
//! projects the error: M − W⁻¹ ← (I − QᵀQ)(M − W⁻¹). The error never grows, and it vanishes for past
//! right-hand sides. The next ones are similar, since the errors of a network with c classes have few
//! directions that matter.
//!
//! Source: Broyden, A Class of Methods for Solving Nonlinear Simultaneous Equations, 1965 (the
//! update of the inverse, here for several pairs at once).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::model::matrix::Matrix;
use crate::solve::learn::Learner;
use crate::solve::lu::Lu;
use crate::solve::method::{Method, Outcome};
use crate::solve::sketch::Sketch;
use crate::solve::{
    Solve, SolverKind, Tuning, Weights, add, gather, live_columns, lu_inverse_cost, of_layer, products, reserve, restore_layers,
    save_layers, scatter,
};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start, gemm_scratch, gemm_with_scratch};

/// A stale inverse M of each layer's weights: 1 product, up to 2 for a correction, and a fifth for
/// the update of M.
///
/// LU recomputes M when it no longer contracts, and when the accumulated cost of its age exceeds
/// that of a new one. LU also solves where nothing contracts, and reports singular weights.
///
/// Memory: n² a layer, and n² for all together.
#[derive(Debug, Default)]
pub(super) struct StaleInverse<T> {
    tuning: Tuning,
    layers: Vec<Inverse<T>>,
    sketch: Sketch<T>,
    learner: Learner<T>,
    right: Vec<T>,
    solution: Vec<T>,
    /// The rows under correction: their solutions, residuals and corrections.
    some: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
    rows: Rows,
    refreshes: u64,
}

/// One layer's inverse and its statistics.
#[derive(Debug, Default)]
struct Inverse<T> {
    m: Matrix<T>,
    valid: bool,
    /// Changes of the weights since M was computed.
    age: u32,
    /// Contraction of the first correction in the previous solve, if any.
    contraction: Option<f64>,
    /// Accumulated cost of solves beyond `first_cost`, in products.
    extra: f64,
    /// Cost of the first solve after a change, in products.
    first_cost: Option<f64>,
    /// Solves since the last probe.
    unchecked_solves: u32,
    /// Largest batch that memory is reserved for.
    reserved: usize,
}

/// Squared norms of the rows of the last correction (at first: of the solution), with row numbers.
#[derive(Debug, Default)]
struct Rows(Vec<(f64, usize)>);

impl Rows {
    /// Lists the rows of a batch in their own order.
    fn begin(&mut self, batch: usize) {
        self.0.clear();
        self.0.extend((0..batch).map(|i| (0.0, i)));
    }

    /// Sets the first squares to those of the rows of `x`.
    fn measure<T: Real>(&mut self, x: &[T], n: usize, exec: &Exec) -> Result<()> {
        for ((square, _), row) in self.0.iter_mut().zip(x.chunks_exact(n)) {
            *square = exec.dot(row, row)?;
        }
        Ok(())
    }

    /// Returns the norm of the first k rows.
    fn norm(&self, k: usize) -> f64 {
        self.0[..k].iter().map(|row| row.0).sum::<f64>().sqrt()
    }

    /// Returns the numbers of the first k rows.
    fn first(&self, k: usize) -> impl Iterator<Item = usize> {
        self.0[..k].iter().map(|row| row.1)
    }

    /// Sorts the rows that need a correction to the front, and returns their number.
    ///
    /// They are the fewest whose correction brings the error below the goal. If one correction
    /// cannot do that, they are those without which it stays above.
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

/// Contraction from which corrections cost more than they gain.
pub(super) const SLOW: f64 = 0.6;
/// Contraction, as a share of the tolerance, below which M needs no update.
const GOOD: f64 = 0.05;
/// Largest number of corrections: 0.6^12 is 2e-3.
const MOST: usize = 12;
/// Largest number of consecutive solves without a probe.
const UNCHECKED: u32 = 3;
/// Rows of a register tile. The number of corrected rows is a multiple of it.
const TILE: usize = 6;
/// Share of the squared goal that the choice of rows may use up. With all of it every third solve
/// needed a second correction, of a few rows.
const SLACK: f64 = 0.7;

/// State of the solve under way.
#[derive(Debug, Default)]
struct Progress {
    tolerance: f64,
    /// Safety factor of the sketch.
    safety: f64,
    /// Norm of the solution.
    size: f64,
    /// Cost so far, in products.
    products: f64,
    /// Latest contraction, at first the expected one.
    contraction: f64,
    /// Contraction of the first correction.
    first: Option<f64>,
    /// Relative residual over relative error at the first correction.
    residual_per_error: f64,
    /// Whether a probe has refuted a prediction.
    surprised: bool,
}

impl Progress {
    /// Returns the norm that the next correction must stay below.
    fn goal(&self) -> f64 {
        self.tolerance * self.size * (1.0 - self.contraction) / self.safety
    }

    /// Returns whether M is imprecise enough for an update to pay.
    fn worth_learning(&self) -> bool {
        self.contraction > GOOD * self.tolerance
    }
}

impl<T: Real> StaleInverse<T> {
    /// Builds a solver without inverses.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// Returns the contraction seen last in a layer with reserved memory; 0 before the first.
    pub(super) fn outlook(&self, layer: usize) -> f64 {
        self.layers[layer].contraction.unwrap_or(0.0)
    }

    /// Discards the inverse and the contraction of a layer with reserved memory.
    pub(super) fn forget(&mut self, layer: usize) {
        (self.layers[layer].valid, self.layers[layer].contraction) = (false, None);
    }

    /// Reserves the memory for solves of a layer, so that later ones allocate nothing.
    pub(super) fn reserve(&mut self, layer: usize, n: usize, batch: usize, lu: &mut Lu<T>, exec: &mut Exec) -> Result<()> {
        let known = of_layer(&mut self.layers, layer);
        if known.m.rows() != n {
            // Pages of zeroed memory are not taken before they are written.
            *known = Inverse { m: Matrix::zeros(n, n), ..Inverse::default() };
        }
        if known.reserved >= batch {
            return Ok(());
        }
        lu.reserve(0, n, batch, exec)?;
        exec.scratch.reserve(gemm_scratch::<T>(batch, n, n, &exec.plan).or(gemm_with_scratch::<T>(n, n, batch, &exec.plan)))?;
        self.sketch.reserve(batch, n, self.tuning.probes);
        self.learner.reserve(batch, n, exec)?;
        for memory in [&mut self.solution, &mut self.some, &mut self.rest, &mut self.step] {
            resized(memory, batch * n);
        }
        reserve(&mut self.right, batch * n);
        reserve(&mut self.rows.0, batch);
        self.layers[layer].reserved = batch;
        Ok(())
    }

    /// Computes M by LU. Returns the cost in products.
    fn refresh(&mut self, of: Weights<'_, T>, batch: usize, lu: &mut Lu<T>, exec: &mut Exec) -> Result<f64> {
        let known = &mut self.layers[of.layer];
        known.valid = false;
        lu.invert(of, known.m.view_mut(), exec)?;
        self.refreshes += 1;
        (known.valid, known.age, known.extra, known.first_cost, known.unchecked_solves) = (true, 0, 0.0, None, UNCHECKED);
        Ok(products(8.0 / 3.0, known.m.rows(), batch))
    }

    /// `self.solution = self.right W⁻¹` to the tolerance, by corrections with M.
    fn correct(&mut self, of: Weights<'_, T>, batch: usize, exec: &mut Exec) -> Result<Outcome> {
        let mut at = self.guess(of.layer, batch, exec)?;
        let exact = self.sketch.exact();
        for made in 0..=MOST {
            let next = at.contraction * self.rows.norm(batch);
            let small = next <= at.goal();
            let unchecked = &mut self.layers[of.layer].unchecked_solves;
            if small && !exact && made > 0 && *unchecked < UNCHECKED {
                // The contraction measured on the corrected rows holds for the others.
                *unchecked += 1;
                return Ok(self.finish(of.layer, &at, at.residual_per_error * next / at.size, true));
            }
            // A probe before the prediction is small enough would fail.
            if (exact || small || made == MOST)
                && let Some(end) = self.probe(of, batch, &mut at, exec)?
            {
                return Ok(end);
            }
            if !exact && made < MOST && !self.correct_worst_rows(of, batch, &mut at, exec)? {
                break;
            }
        }
        Ok(Outcome::GaveUp(at.products))
    }

    /// `e = r M`.
    fn guess(&mut self, layer: usize, batch: usize, exec: &mut Exec) -> Result<Progress> {
        let known = &self.layers[layer];
        let n = known.m.rows();
        self.sketch.draw(batch, n, self.tuning.probes);
        let (r, e) = (MatRef::new(&self.right, batch, n)?, &mut self.solution[..batch * n]);
        let live = live_columns(r);
        exec.gemm(T::ONE, r.cols(0, live), known.m.view().rows(0, live), T::ZERO, MatMut::new(e, batch, n)?)?;
        self.rows.begin(batch);
        self.rows.measure(e, n, exec)?;
        Ok(Progress {
            tolerance: self.tuning.tolerance,
            safety: self.sketch.safety(),
            size: self.rows.norm(batch),
            products: live as f64 / n as f64,
            contraction: if known.age == 0 { 0.0 } else { known.contraction.unwrap_or(1.0) },
            ..Progress::default()
        })
    }

    /// `ρ = r − e W; δ = ρ M` of combinations of all rows. Returns the end of the attempt, if δ is
    /// small enough or M does not contract.
    ///
    /// Where every row is its own combination, `e += δ` otherwise.
    fn probe(&mut self, of: Weights<'_, T>, batch: usize, at: &mut Progress, exec: &mut Exec) -> Result<Option<Outcome>> {
        let known = &mut self.layers[of.layer];
        let n = known.m.rows();
        let (exact, e) = (self.sketch.exact(), &mut self.solution[..batch * n]);
        let (rest, right) = self.sketch.residual(&self.right, e, of.w, exec)?;
        let (correction, solution) = self.sketch.correction(known.m.view(), exec)?;
        at.products += 2.0 * self.sketch.price();
        let next = correction / solution * at.size;
        at.contraction = next / self.rows.norm(batch);
        if !(at.contraction < SLOW) {
            return Ok(Some(Outcome::GaveUp(at.products)));
        }
        let enough = next <= at.goal();
        if exact && !enough {
            add(e, self.sketch.step());
            self.rows.measure(self.sketch.step(), n, exec)?;
        }
        // Once a solve, while the pairs are those of M. Rows yet to be corrected give better pairs.
        if at.first.is_none() && (enough || exact) {
            at.first = Some(at.contraction);
            if at.worth_learning() {
                let (y, d) = self.sketch.pairs();
                at.products += self.learner.learn(y, d, known.m.view_mut(), exec)? as f64 / batch as f64;
            }
        }
        if !enough {
            at.surprised = !exact;
            return Ok(None);
        }
        // After a wrong prediction the next solve is probed, too.
        known.unchecked_solves = if at.surprised { UNCHECKED } else { 0 };
        Ok(Some(self.finish(of.layer, at, rest / right, !exact)))
    }

    /// `ρ = r − e W; δ = ρ M; e += δ` of the rows with the largest errors. Returns whether M
    /// contracts.
    fn correct_worst_rows(&mut self, of: Weights<'_, T>, batch: usize, at: &mut Progress, exec: &mut Exec) -> Result<bool> {
        let known = &mut self.layers[of.layer];
        let n = known.m.rows();
        let k = self.rows.choose(at.contraction, at.goal());
        let before = self.rows.norm(k);
        let (some, rest, step) = (&mut self.some[..k * n], &mut self.rest[..k * n], &mut self.step[..k * n]);
        for ((i, e), r) in self.rows.first(k).zip(some.chunks_exact_mut(n)).zip(rest.chunks_exact_mut(n)) {
            e.copy_from_slice(&self.solution[i * n..][..n]);
            r.copy_from_slice(&self.right[i * n..][..n]);
        }
        let right = exec.norm(rest)?;
        exec.product(-T::ONE, MatRef::new(some, k, n)?, of.w, Start::C(T::ONE), MatMut::new(rest, k, n)?)?;
        exec.gemm(T::ONE, MatRef::new(rest, k, n)?, known.m.view(), T::ZERO, MatMut::new(step, k, n)?)?;
        at.products += 2.0 * k as f64 / batch as f64;
        self.rows.measure(step, n, exec)?;
        at.contraction = self.rows.norm(k) / before;
        if !(at.contraction < SLOW) {
            return Ok(false);
        }
        for (i, d) in self.rows.first(k).zip(step.chunks_exact(n)) {
            add(&mut self.solution[i * n..][..n], d);
        }
        if at.first.is_none() {
            at.first = Some(at.contraction);
            let error = right * at.contraction;
            at.residual_per_error = if at.contraction > 0.0 { exec.norm(rest)? / error } else { 0.0 };
            if at.worth_learning() {
                // From r − ρ and δ of the corrected rows.
                for (i, y) in self.rows.first(k).zip(rest.chunks_exact_mut(n)) {
                    y.iter_mut().zip(&self.right[i * n..][..n]).for_each(|(y, &r)| *y = r - *y);
                }
                at.products += self.learner.learn(rest, step, known.m.view_mut(), exec)? as f64 / batch as f64;
            }
        }
        Ok(true)
    }

    /// Records contraction and cost of a successful attempt.
    fn finish(&mut self, layer: usize, at: &Progress, residual: f64, sampled: bool) -> Outcome {
        let known = &mut self.layers[layer];
        if known.age > 0 {
            known.contraction = at.first;
            // Differences between batches average out, and the cost of age adds up.
            let first_cost = *known.first_cost.get_or_insert(at.products);
            known.extra = (known.extra + at.products - first_cost).max(0.0);
        }
        Outcome::Solved(Solve { residual, sampled, products: at.products, by: SolverKind::Stale })
    }
}

impl<T: Real> Method<T> for StaleInverse<T> {
    const KIND: SolverKind = SolverKind::Stale;

    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome> {
        let (batch, n) = r.shape();
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if let Some(end) = Self::end_at_once(size) {
            return Ok(end);
        }
        self.reserve(of.layer, n, batch, lu, exec)?;
        let known = &self.layers[of.layer];
        let too_old = known.age > 0 && known.extra > lu_inverse_cost(n, batch);
        let mut renewed = !known.valid || too_old;
        let mut spent = if renewed { self.refresh(of, batch, lu, exec)? } else { 0.0 };
        loop {
            match self.correct(of, batch, exec)? {
                Outcome::Solved(solve) => {
                    scatter(&self.solution, r);
                    return Ok(Outcome::Solved(solve.after(spent)));
                }
                Outcome::GaveUp(products) => spent += products,
            }
            if renewed {
                // M of these very weights does not contract: LU decides whether W⁻¹ exists.
                self.layers[of.layer].valid = false;
                return Ok(Outcome::GaveUp(spent));
            }
            self.layers[of.layer].contraction = Some(SLOW);
            spent += self.refresh(of, batch, lu, exec)?;
            renewed = true;
        }
    }

    fn weights_changed(&mut self) {
        for known in &mut self.layers {
            known.age = known.age.saturating_add(1);
        }
    }

    fn save(&self, changes: u32) -> State<T> {
        let mut state = save_layers(&self.layers, |known, state| {
            state.put("age", known.age.saturating_add(changes).into());
            state.put("unseen", known.unchecked_solves.into());
            state.put_f64("extra", known.extra);
            known.contraction.into_iter().for_each(|value| state.put_f64("seen", value));
            known.first_cost.into_iter().for_each(|value| state.put_f64("young", value));
            if known.valid {
                state.put_array("m", &[known.m.rows(), known.m.rows()], known.m.data());
            }
            known.m.rows()
        });
        state.put("draws", self.sketch.draws);
        state.put("refreshes", self.refreshes);
        state
    }

    fn restore(&mut self, mut state: State<T>) -> Result<()> {
        self.layers = restore_layers(&mut state, |state, n| {
            let valid = state.has_array("m");
            Ok(Inverse {
                m: if valid { Matrix::from_vec(n, n, state.array("m", n * n)?.to_vec())? } else { Matrix::zeros(n, n) },
                valid,
                age: state.get_as("age")?,
                contraction: state.find_f64("seen"),
                extra: state.get_f64("extra")?,
                first_cost: state.find_f64("young"),
                unchecked_solves: state.get_as("unseen")?,
                reserved: 0,
            })
        })?;
        self.sketch.draws = state.get("draws")?;
        self.refreshes = state.get("refreshes")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six rows with large errors mixed with six small ones, at goals just above and just below the
    /// limits of the rule.
    #[test]
    fn the_fewest_rows_are_corrected() {
        for (contraction, goal_squared, corrected) in [
            // The small rows, .06, and the corrected large ones, .06, stay below 7/10 of the goal.
            (0.1, 0.1715, 6),
            (0.1, 0.1714, 12),
            // One correction leaves 37 of the large rows: the small ones, 1.5, may be half of 7/10.
            (0.5, 4.286, 6),
            (0.5, 4.285, 12),
            // Whole tiles, at least one.
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
        // A batch smaller than a tile.
        let mut rows = Rows::default();
        rows.begin(4);
        assert_eq!(rows.choose(0.5, 1.0), 4);
    }
}
