//! The cheapest solver for each layer, by the costs observed so far.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::conjugate::ConjugateGradient;
use crate::solve::lu::Lu;
use crate::solve::method::{Method, Outcome};
use crate::solve::stale::{SLOW, StaleInverse};
use crate::solve::{Solver, SolverKind, Tuning, Weights, lu_inverse_cost, lu_solve_cost, of_layer, restore_layers, save_layers};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, Real};

/// Chooses the solver with the lowest expected cost, for each layer and solve:
///
/// * [`ConjugateGradient`] with at most (C_LU + 1)/2 iterations, which cost as much as a solve by
///   LU ([`lu_solve_cost`]);
/// * [`StaleInverse`], unless its contraction exceeds 0.6 or its mean cost, refreshes included,
///   exceeds C_LU;
/// * [`Lu`] with new factors each step.
///
/// The first expectations depend on whether a regularizer is on, later ones on observed costs. A
/// solver that failed is tried again every 64 solves. Decisions depend on shapes, on [`Tuning`] and
/// on computed numbers, so that a run takes the same ones on every machine.
#[derive(Debug, Default)]
pub(super) struct Auto<T> {
    tuning: Tuning,
    layers: Vec<Layer>,
    cg: ConjugateGradient<T>,
    stale: StaleInverse<T>,
    lu: Lu<T>,
}

/// Observations of one layer.
#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    n: usize,
    /// Expected cost of conjugate gradients in products; infinite after a failure.
    cg: f64,
    /// The same of the stale inverse.
    stale: f64,
    /// Products and solves of the stale inverse since it was last taken up.
    spent: (f64, u32),
    /// Solves until the solvers out of use are tried again.
    patience: u32,
}

/// Number of solves after which solvers out of use are tried again.
const AGAIN: u32 = 64;
/// Number of solves before the mean cost of a stale inverse counts: its first refresh is then
/// spread over enough of them.
const TRIAL: u32 = 16;
/// Expected cost of conjugate gradients in products with a regularizer (condition 1.1), and without
/// (condition 2.5).
const CG: (f64, f64) = (3.0, 11.0);
/// Expected number of solves between refreshes of a stale inverse, with the cost of second
/// corrections included.
const LASTING: f64 = 20.0;

impl Layer {
    /// Counts a solve. Returns whether solvers out of use are due for another trial.
    fn trial_due(&mut self) -> bool {
        self.patience = self.patience.saturating_sub(1);
        let due = self.patience == 0;
        if due {
            self.patience = AGAIN;
        }
        due
    }

    /// Updates the expected cost of conjugate gradients.
    fn observe_cg(&mut self, products: f64, first: bool) {
        // One hard batch is not a trend, but the first observation is all there is.
        self.cg = if first || !self.cg.is_finite() { products } else { 0.75 * self.cg + 0.25 * products };
    }

    /// Updates the expected cost of the stale inverse, which is infinite once it fails or costs
    /// more than LU.
    fn observe_stale(&mut self, products: f64, failed: bool, by_lu: f64) {
        self.spent = (self.spent.0 + products, self.spent.1 + 1);
        let (products, solves) = self.spent;
        if solves >= TRIAL {
            self.stale = products / f64::from(solves);
            // Halving the totals gives later solves more weight.
            if solves >= 4 * TRIAL {
                self.spent = (products / 2.0, solves / 2);
            }
        }
        if failed || !(self.stale < by_lu) {
            self.stale = f64::INFINITY;
        }
    }
}

impl<T: Real> Auto<T> {
    /// Builds a solver that has seen no weights.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { tuning, cg: ConjugateGradient::new(tuning), stale: StaleInverse::new(tuning), ..Self::default() }
    }

    /// Returns the expected cost of a stale inverse in products: one correction, one probe, and
    /// refreshes.
    fn stale_prior(&self, n: usize, batch: usize) -> f64 {
        let rows = if self.tuning.probes == 0 { batch } else { batch.min(self.tuning.probes) };
        3.0 + 2.0 * rows as f64 / batch.max(1) as f64 + lu_inverse_cost(n, batch) / LASTING
    }
}

impl<T: Real> Method<T> for Auto<T> {
    const KIND: SolverKind = SolverKind::Auto;

    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome> {
        let ((batch, n), layer) = (r.shape(), of.layer);
        // Memory for all solvers: any may be chosen later.
        self.cg.reserve(layer, n, batch);
        self.lu.reserve(layer, n, batch, exec)?;
        self.stale.reserve(layer, n, batch, lu, exec)?;
        let (by_lu, stale) = (lu_solve_cost(n, batch), self.stale_prior(n, batch));
        let known = of_layer(&mut self.layers, layer);
        if known.n != n {
            let cg = if self.tuning.regularized { CG.0 } else { CG.1 };
            *known = Layer { n, cg, stale, spent: (0.0, 0), patience: AGAIN };
        }
        let most = ((by_lu + 1.0) / 2.0) as usize;
        let trial = known.trial_due();
        let mut spent = 0.0;
        if most >= 2 && (trial || known.cg <= known.stale.min(by_lu)) {
            // Even a failure costs no more than LU.
            match self.cg.iterate(of, r, most, exec)? {
                Outcome::Solved(solve) => {
                    known.observe_cg(solve.products, trial);
                    return Ok(Outcome::Solved(solve));
                }
                Outcome::GaveUp(products) => (known.cg, spent) = (f64::INFINITY, products),
            }
        }
        if trial && known.stale.is_infinite() {
            (known.stale, known.spent) = (stale, (0.0, 0));
            // The failure was one of older weights: it starts with an inverse of the present ones.
            self.stale.forget(layer);
        }
        if known.stale < by_lu {
            let solve = self.stale.solve(of, r.rb(), lu, exec)?;
            let failed = solve.by != SolverKind::Stale || self.stale.outlook(layer) >= SLOW;
            known.observe_stale(solve.products, failed, by_lu);
            return Ok(Outcome::Solved(solve.after(spent)));
        }
        Ok(Outcome::Solved(self.lu.solve(of, r.rb(), exec)?.after(spent)))
    }

    fn weights_changed(&mut self) {
        // `lu` compares versions itself.
        self.cg.weights_changed();
        self.stale.weights_changed();
    }

    fn save(&self, changes: u32) -> State<T> {
        let mut state = save_layers(&self.layers, |known, state| {
            state.put_f64("cg", known.cg);
            state.put_f64("stale", known.stale);
            state.put_f64("spent", known.spent.0);
            state.put("solves", known.spent.1.into());
            state.put("patience", known.patience.into());
            known.n
        });
        state.put_part("by-cg", self.cg.save(changes));
        state.put_part("by-stale", self.stale.save(changes));
        state.put_part("by-lu", self.lu.save(0));
        state
    }

    fn restore(&mut self, mut state: State<T>) -> Result<()> {
        self.cg.restore(state.take_part("by-cg"))?;
        self.stale.restore(state.take_part("by-stale"))?;
        self.lu.restore(state.take_part("by-lu"), 0)?;
        self.layers = restore_layers(&mut state, |state, n| {
            Ok(Layer {
                n,
                cg: state.get_f64("cg")?,
                stale: state.get_f64("stale")?,
                spent: (state.get_f64("spent")?, state.get_as("solves")?),
                patience: state.get_as("patience")?,
            })
        })?;
        Ok(())
    }
}
