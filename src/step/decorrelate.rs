//! Decorrelations and learned inverses, which both learn from the batch after the optimizer's step.
//!
//! A decorrelation R multiplies the input of a layer, `z = y_{l−1} R`, and learns to make the
//! columns of z uncorrelated:
//!
//! ```text
//! C = zᵀ z / batch      R ← R − η_R R offdiag(C)
//! ```
//!
//! The next z is then `z (I − η_R offdiag(C))`. The product is computed as `(R zᵀ) z / batch −
//! R diag(C)`, with `4 batch n²` flops in place of `2n³ + 2 batch n²`.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::base::memory::resized;
use crate::model::network::Network;
use crate::solve::{Solver, Weights};
use crate::step::Step;
use gaitprop_kernels::{Epilogue, MatMut, MatRef, Real, Start, Update};
use std::time::Instant;

/// Setting: decorrelation of the input of every layer.
///
/// # References
/// Ahmad, Schrader and van Gerven, Constrained parameter inference as a principle for learning,
/// 2022. Ahmad, Correlations are ruining your gradient descent, 2024: in its column form,
/// `R ← R − η_R offdiag(C) R` for `z = R y`. The authors also rescale R; this does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decorrelation {
    /// η_R, at least 0. With 0, R stays as it is.
    pub rate: f64,
    /// Share of each batch's samples that R learns from: above 0, at most 1. The first samples of
    /// the batch, at least one.
    pub share: f64,
}

impl Decorrelation {
    /// Share of the samples by default: a tenth, as in the authors' code.
    pub const SHARE: f64 = 0.1;

    /// Creates a setting with the default share.
    ///
    /// # Errors
    /// As [`Decorrelation::check`].
    pub fn new(rate: f64) -> Result<Self> {
        let setting = Self { rate, share: Self::SHARE };
        setting.check().map(|()| setting)
    }

    /// Checks that rate and share are in range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        let Self { rate, share } = *self;
        if !(rate >= 0.0 && rate.is_finite()) {
            return Err(Error::Setting(format!("the decorrelation's rate is {rate}, but must be at least 0 and finite")));
        }
        if !(share > 0.0 && share <= 1.0) {
            let what = format!("the decorrelation's share of samples is {share}, but must be above 0 and at most 1");
            return Err(Error::Setting(what));
        }
        Ok(())
    }

    /// Number of samples of a batch that R learns from.
    fn samples(&self, batch: usize) -> usize {
        ((self.share * batch as f64).ceil() as usize).clamp(1, batch.max(1))
    }
}

impl<T: Real> Step<T> {
    /// Lets the decorrelations of the network learn from the last batch. Does nothing for a network
    /// without.
    ///
    /// Work: `4 k n²` flops for a fan-in of n and k samples.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a decorrelation is no longer finite; a shape error for another
    /// network than that of the last batch; out of memory.
    pub fn decorrelate(&mut self, net: &mut Network<T>, setting: Decorrelation, exec: &mut Exec) -> Result<()> {
        setting.check()?;
        let batch = self.tape.batch();
        if setting.rate == 0.0 || batch == 0 || net.decorrelation(0).is_none() {
            return Ok(());
        }
        let clock = Instant::now();
        self.tape.trace.check_fit(net)?;
        let samples = setting.samples(batch);
        let rate = setting.rate / samples as f64;
        for (layer, r) in net.decorrelation_mut().iter_mut().enumerate() {
            let Some(z) = self.tape.trace.decorrelated(layer).map(|z| z.rows(0, samples)) else { continue };
            let n = r.rows();
            let (growth, along) = resized(&mut self.tape.workspace, n + n * samples).split_at_mut(n);
            // 1 + η_R C[j,j], by which column j of R grows before all of C is subtracted.
            growth.fill(T::ZERO);
            for i in 0..samples {
                growth.iter_mut().zip(z.row_iter(i)).for_each(|(square, z)| *square += z * z);
            }
            growth.iter_mut().for_each(|growth| *growth = T::ONE + T::from_f64(rate) * *growth);
            exec.gemm(T::ONE, r.view(), z.t(), T::ZERO, MatMut::new(along, n, samples)?)?;
            // The product ends in R while that is in cache, and is checked there.
            let through = Epilogue::Update(Update::ScaleColumns { factors: growth });
            let along = MatRef::new(along, n, samples)?;
            if !exec.gemm_with(T::from_f64(-rate), (along, z), Start::Zero, r.view_mut(), through)? {
                return Err(Error::Diverged { what: "the decorrelation", layer, step: 0 });
            }
        }
        self.phases.decorrelation += clock.elapsed();
        Ok(())
    }

    /// Lets the inverses of a solver that [learns](Solver::learns) learn from the last batch. Does
    /// nothing for other solvers.
    ///
    /// The last step must have computed all output units: [`Step::update`] does so for such
    /// solvers.
    ///
    /// # Errors
    /// As [`Solver::learn`].
    pub fn teach(&mut self, net: &Network<T>, solver: &mut dyn Solver<T>, exec: &mut Exec) -> Result<()> {
        if !solver.learns() {
            return Ok(());
        }
        let clock = Instant::now();
        self.tape.trace.check_fit(net)?;
        for (l, layer) in net.layers().iter().enumerate().skip(1) {
            let of = Weights { layer: l, version: net.version(), w: layer.w.view() };
            let below = self.tape.activity(l - 1).cols(0, layer.fan_in());
            solver.learn(of, (layer.activation, self.tape.activity(l)), below, exec)?;
        }
        self.phases.inverses += clock.elapsed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        for (rate, share) in [(-1e-3, 0.1), (f64::NAN, 0.1), (f64::INFINITY, 0.1), (0.1, 0.0), (0.1, 1.1), (0.1, f64::NAN)] {
            let error = Decorrelation { rate, share }.check().unwrap_err().to_string();
            assert!(error.contains("must be"), "{error}");
        }
        let tenth = Decorrelation::new(0.0).unwrap();
        assert_eq!([1, 5, 10, 11, 60].map(|batch| tenth.samples(batch)), [1, 1, 1, 2, 6]);
        assert_eq!(Decorrelation { share: 1.0, ..tenth }.samples(7), 7);
    }
}
