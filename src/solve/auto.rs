//! The cheapest of the strategies, found for each layer by what they have cost.

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::conjugate::{ConjugateGradient, Outcome};
use crate::solve::lu::Lu;
use crate::solve::stale::{SLOW, StaleInverse};
use crate::solve::{Seen, Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, Real};

/// Chooses for each layer, at each solve, what is expected to cost the fewest products:
///
/// * [`ConjugateGradient`] with at most (C_LU + 1)/2 iterations, which is what a solve by LU costs ([`crate::solve::Costs::lu_solve`]);
/// * [`StaleInverse`], unless its contraction exceeds 0.6, or its mean cost, refreshes included, that of factors;
/// * factors each step: [`Lu`].
///
/// Expectations begin with whether a regulariser is on, and follow what is observed. What failed is tried again every 64 solves. Decisions
/// depend on shapes, on costs in [`Tuning`] and on computed numbers, so a run takes the same ones everywhere.
#[derive(Debug)]
pub struct Auto<T> {
    seen: Seen,
    tuning: Tuning,
    layers: Vec<Layer>,
    cg: ConjugateGradient<T>,
    stale: StaleInverse<T>,
    lu: Lu<T>,
}

/// What is known of a layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    n: usize,
    /// Products that a solve is expected to cost; infinite for what has failed.
    cg: f64,
    stale: f64,
    /// Products and solves of the stale inverse since it was last taken up.
    spent: (f64, u32),
    /// Solves until what is not in use is tried again.
    patience: u32,
    /// The largest batch that there is room for, since it was begun or restored.
    room: usize,
}

/// Solves after which what has failed, or was not in use, is tried again.
const AGAIN: u32 = 64;
/// Solves over which a stale inverse is judged by its mean: enough for its first refresh to be spread over.
const TRIAL: u32 = 16;
/// Products that conjugate gradients may be expected to cost with a regulariser (condition 1.1), and without (condition 2.5).
const CG: (f64, f64) = (3.0, 11.0);
/// Solves that a refresh of a stale inverse may be expected to last, what it costs meanwhile beyond one correction included.
const LASTING: f64 = 20.0;

impl<T: Real> Auto<T> {
    /// # Errors
    /// [`crate::Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        Ok(Self {
            seen: Seen::Any,
            layers: Vec::new(),
            cg: ConjugateGradient::new(tuning)?,
            stale: StaleInverse::new(tuning)?,
            lu: Lu::new(),
            tuning,
        })
    }

    /// What a layer of n units begins with.
    fn prior(&self, n: usize, batch: usize) -> Layer {
        let cg = if self.tuning.regularized { CG.0 } else { CG.1 };
        Layer { n, cg, stale: self.stale_prior(n, batch), spent: (0.0, 0), patience: AGAIN, room: 0 }
    }

    /// Products that a stale inverse may be expected to cost: one correction, a look at what is left, and refreshes.
    fn stale_prior(&self, n: usize, batch: usize) -> f64 {
        let rows = if self.tuning.probes == 0 { batch } else { batch.min(self.tuning.probes) };
        3.0 + 2.0 * rows as f64 / batch.max(1) as f64 + self.tuning.costs.lu_inverse(n, batch) / LASTING
    }

    /// Records that the weights of every layer have changed.
    pub(super) fn weights_changed(&mut self) {
        self.cg.weights_changed();
        self.stale.weights_changed();
        self.lu.weights_changed();
    }
}

impl<T: Real> Solver<T> for Auto<T> {
    fn name(&self) -> &'static str {
        SolverKind::Auto.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        if self.seen.changed(of.version) {
            self.weights_changed();
        }
        let (batch, n) = r.shape();
        w.expect_shape(WEIGHTS, (n, n))?;
        let prior = self.prior(n, batch);
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, Layer { n: 0, ..prior });
        }
        if self.layers[layer].n != n {
            self.layers[layer] = prior;
        }
        if self.layers[layer].room < batch {
            // Any of them may be taken up at any later step.
            self.cg.reserve(layer, n, batch);
            self.stale.reserve(layer, n, batch, exec)?;
            self.lu.reserve(layer, n, batch, exec)?;
            self.layers[layer].room = batch;
        }
        let costs = self.tuning.costs;
        let by_lu = costs.lu_solve(n, batch);
        let most = ((by_lu + 1.0) / 2.0) as usize;
        let known = &mut self.layers[layer];
        known.patience = known.patience.saturating_sub(1);
        let again = known.patience == 0;
        if again {
            known.patience = AGAIN;
        }

        let mut spent = 0.0;
        // Whatever else is in use: this costs no more than LU, and seldom all of it.
        if most >= 2 && (again || known.cg <= known.stale.min(by_lu)) {
            match self.cg.attempt(layer, w, &mut r, most, exec)? {
                Outcome::Done(solve) => {
                    // One hard batch is not yet a trend; after a long time it is all there is.
                    known.cg =
                        if again || !known.cg.is_finite() { solve.products } else { 0.75 * known.cg + 0.25 * solve.products };
                    return Ok(solve);
                }
                Outcome::Slow(products) => {
                    known.cg = f64::INFINITY;
                    spent += products;
                }
            }
        }
        if again && known.stale.is_infinite() {
            (known.stale, known.spent) = (prior.stale, (0.0, 0));
            // What made it fail was another time's: it begins with an inverse of today's weights.
            self.stale.forget(layer);
        }
        if known.stale < by_lu {
            let solve = self.stale.attempt(layer, w, &mut r, exec)?;
            known.spent = (known.spent.0 + solve.products, known.spent.1 + 1);
            let (products, solves) = known.spent;
            if solves >= TRIAL {
                known.stale = products / f64::from(solves);
                // Later solves count for more: half of the past is forgotten.
                if solves >= 4 * TRIAL {
                    known.spent = (products / 2.0, solves / 2);
                }
            }
            if solve.by != SolverKind::Stale || self.stale.outlook(layer) >= SLOW || !(known.stale < by_lu) {
                known.stale = f64::INFINITY;
            }
            return Ok(Solve { products: spent + solve.products, ..solve });
        }
        let solve = self.lu.solve_at((layer, layer), w, r, exec)?;
        Ok(Solve { products: spent + solve.products, ..solve })
    }

    fn save(&self) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, known) in self.layers.iter().enumerate() {
            state.put(format!("{l}.n"), known.n as u64);
            state.put(format!("{l}.solves"), known.spent.1.into());
            state.put(format!("{l}.patience"), known.patience.into());
            for (name, value) in [("cg", known.cg), ("stale", known.stale), ("spent", known.spent.0)] {
                state.put_f64(format!("{l}.{name}"), value);
            }
        }
        state.put_part("by-cg", self.cg.remember(self.seen.ahead()));
        state.put_part("by-stale", self.stale.remember(self.seen.ahead()));
        state.put_part("by-lu", self.lu.save());
        state
    }

    fn restore(&mut self, mut state: State<T>) -> Result<()> {
        self.seen = Seen::Any;
        self.cg.restore(state.take_part("by-cg"))?;
        self.stale.restore(state.take_part("by-stale"))?;
        self.lu.restore(state.take_part("by-lu"))?;
        let layer = |(l, n): (String, usize)| {
            let name = |what: &str| format!("{l}.{what}");
            Ok(Layer {
                n,
                cg: state.get_f64(&name("cg"))?,
                stale: state.get_f64(&name("stale"))?,
                spent: (state.get_f64(&name("spent"))?, state.get_as(&name("solves"))?),
                patience: state.get_as(&name("patience"))?,
                room: 0,
            })
        };
        self.layers = crate::solve::layers_of(&state)?.into_iter().map(layer).collect::<Result<_>>()?;
        Ok(())
    }
}
