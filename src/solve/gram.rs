//! `W⁻¹ = Wᵀ (W Wᵀ)⁻¹`, by Cholesky.
//!
//! ```text
//! L Lᵀ = W Wᵀ;  e = (r Wᵀ)(L Lᵀ)⁻¹;  repeat: ρ = r − e W;  δ = (ρ Wᵀ)(L Lᵀ)⁻¹;  e += δ
//! ```

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::model::matrix::Matrix;
use crate::solve::lu::{FOREIGN, Lu, spread};
use crate::solve::method::{Method, Outcome};
use crate::solve::{
    Solve, SolverKind, Tuning, Weights, add, gather, live_columns, of_layer, products, rest_of, restore_layers, save_layers,
    scatter,
};
use crate::store::checkpoint::State;
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::{Error as KernelError, MatMut, MatRef, Real, Start, cholesky};

/// Cholesky factors of W Wᵀ: 4n³/3 flops a layer and change, 3 products a solve with its residual.
///
/// W Wᵀ has the square of W's condition number. That costs no digit near orthogonality, and half of
/// them far from it. First factors, suspicious pivots and suspicious solutions are checked by a
/// correction. Corrections repeat until the tolerance is reached. LU takes over where they do not
/// contract, and where W Wᵀ is not positive definite.
#[derive(Debug, Default)]
pub(super) struct Gram<T> {
    tuning: Tuning,
    layers: Vec<Factor<T>>,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    step: Vec<T>,
}

/// Factor of one layer's W Wᵀ.
#[derive(Debug, Default)]
struct Factor<T> {
    l: Matrix<T>,
    /// Whether it belongs to the present weights.
    fresh: bool,
    /// Whether a correction has confirmed a solution with these weights or their predecessors.
    vetted: bool,
    /// ‖W‖ (Frobenius).
    norm: f64,
    /// Lower bound of the condition number of W, from the pivots.
    spread: f64,
}

/// Contraction that corrections must stay below.
const SLOW: f64 = 0.5;
/// Largest number of corrections.
const MOST: usize = 4;
/// κ²u, in units of the tolerance, from which the condition of W Wᵀ may cost more than the
/// tolerance.
const SUSPICIOUS: f64 = 0.01;

impl<T: Real> Gram<T> {
    /// Builds a solver without factors.
    pub(super) fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// Factors W Wᵀ unless its factor is there. Returns the cost in products, or `None` if it has
    /// no factor.
    fn factor(&mut self, of: Weights<'_, T>, batch: usize, exec: &mut Exec) -> Result<Option<f64>> {
        let n = of.w.nrows();
        let f = of_layer(&mut self.layers, of.layer);
        if f.l.rows() != n {
            *f = Factor { l: Matrix::zeros(n, n), ..Factor::default() };
        }
        if f.fresh {
            return Ok(Some(0.0));
        }
        exec.syrk(of.w, Part::Lower, Diagonal::Kept, f.l.view_mut())?;
        f.norm = (0..n).map(|i| f.l.row(i)[i].to_f64()).sum::<f64>().sqrt();
        match cholesky::factor(f.l.view_mut(), &exec.plan, &mut exec.scratch) {
            Err(KernelError::NotPositiveDefinite { .. } | KernelError::NonFinite { .. }) => return Ok(None),
            other => other?,
        }
        (f.fresh, f.spread) = (true, spread(f.l.data(), n));
        Ok(Some(products(4.0 / 3.0, n, batch)))
    }

    /// Writes `r W⁻¹` into `r`, with the factor that is there, if it is fresh.
    fn attempt_once(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, exec: &mut Exec) -> Result<Outcome> {
        let ((batch, n), w) = (r.shape(), of.w);
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if let Some(end) = Self::end_at_once(size) {
            return Ok(end);
        }
        let Some(price) = self.factor(of, batch, exec)? else {
            return Ok(Outcome::GaveUp(products(1.0 / 3.0, n, batch)));
        };
        let (f, len, tolerance) = (&mut self.layers[of.layer], batch * n, self.tuning.tolerance);
        let (l, right) = (f.l.view(), MatRef::new(&self.right, batch, n)?);
        let (solution, rest, step) =
            (resized(&mut self.solution, len), resized(&mut self.rest, len), resized(&mut self.step, len));
        let live = live_columns(right);
        send_through(l, right.cols(0, live), w.cols(0, live), solution, exec)?;
        let mut cost = price + 1.0 + live as f64 / n as f64;
        let whole = exec.norm(solution)?;
        // ‖e‖‖W‖/(‖r‖√n) is a lower bound of the condition number.
        let condition = f.spread.max(whole * f.norm / (size * (n as f64).sqrt()));
        let suspicious = !(condition * condition * T::UNIT_ROUNDOFF <= SUSPICIOUS * tolerance);
        let mut sound = f.vetted && !suspicious;
        let mut last = whole;
        for made in 0..=MOST {
            rest_of(&self.right, MatRef::new(solution, batch, n)?, w, rest, exec)?;
            cost += 1.0;
            let residual = exec.norm(rest)? / size;
            if made == 0 && price == 0.0 && !(residual <= FOREIGN) {
                break;
            }
            if sound && residual <= tolerance {
                f.vetted = true;
                scatter(solution, r);
                return Ok(Outcome::Solved(Solve { residual, sampled: false, products: cost, by: Self::KIND }));
            }
            send_through(l, MatRef::new(rest, batch, n)?, w, step, exec)?;
            cost += 2.0;
            let now = exec.norm(step)?;
            let contraction = now / last;
            if !(contraction < SLOW) {
                break;
            }
            add(solution, step);
            sound = now * contraction / (1.0 - contraction) <= tolerance * whole;
            last = now;
        }
        Ok(Outcome::GaveUp(cost))
    }
}

/// `to = (x Wᵀ)(L Lᵀ)⁻¹`. Work: 2 products.
fn send_through<T: Real>(l: MatRef<'_, T>, x: MatRef<'_, T>, w: MatRef<'_, T>, to: &mut [T], exec: &mut Exec) -> Result<()> {
    let mut to = MatMut::new(to, x.nrows(), w.nrows())?;
    exec.product(T::ONE, x, w.t(), Start::Zero, to.rb())?;
    Ok(cholesky::solve(l, to.t(), &exec.plan, &mut exec.scratch)?)
}

impl<T: Real> Method<T> for Gram<T> {
    const KIND: SolverKind = SolverKind::Gram;

    fn attempt(&mut self, of: Weights<'_, T>, r: &mut MatMut<'_, T>, _lu: &mut Lu<T>, exec: &mut Exec) -> Result<Outcome> {
        let reused = self.layers.get(of.layer).is_some_and(|f| f.fresh && f.l.rows() == r.ncols());
        let mut spent = 0.0;
        // A second attempt with a new factor: the old one may be that of other weights.
        for _ in 0..=usize::from(reused) {
            match self.attempt_once(of, r, exec)? {
                Outcome::Solved(solve) => return Ok(Outcome::Solved(solve.after(spent))),
                Outcome::GaveUp(products) => spent += products,
            }
            if let Some(f) = self.layers.get_mut(of.layer) {
                f.fresh = false;
            }
        }
        Ok(Outcome::GaveUp(spent))
    }

    fn weights_changed(&mut self) {
        self.layers.iter_mut().for_each(|f| f.fresh = false);
    }

    fn save(&self, _changes: u32) -> State<T> {
        save_layers(&self.layers, |f, state| {
            state.put("vetted", f.vetted.into());
            f.l.rows()
        })
    }

    fn restore(&mut self, mut state: State<T>) -> Result<()> {
        let factor =
            |state: State<T>, n| Ok(Factor { l: Matrix::zeros(n, n), vetted: state.get_flag("vetted")?, ..Factor::default() });
        self.layers = restore_layers(&mut state, factor)?;
        Ok(())
    }
}
