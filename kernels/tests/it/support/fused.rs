//! Fused products against their unfused steps, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::{
    Activation, Epilogue, Error, Isa, Orientation, PackedRhs, Plan, Real, Rhs, Scratch, Start, Update, gemm_with,
    gemm_with_scratch, reference,
};
use std::marker::PhantomData;

pub const UNITS: [Activation; 4] =
    [Activation::Identity, Activation::LeakyRelu { slope: 0.1 }, Activation::LeakyRelu { slope: 3.0 }, Activation::Tanh];

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: (usize, usize, usize),
    pub a: Layout,
    pub b: Layout,
    pub padded: bool,
    pub unit: usize,
    /// Whether B is packed.
    pub packed: bool,
    pub start: usize,
    pub epilogue: usize,
    pub alpha: f64,
    pub seed: u64,
}

/// The operands of a case, in memory with fences or of another kind, and its result by unfused steps.
pub struct Bench<T, M = Fenced<T>> {
    pub a: M,
    pub b: M,
    pub c: M,
    pub from: M,
    pub beside: [M; 2],
    /// One row.
    pub bias: M,
    of: PhantomData<T>,
}

pub fn adam<T: Real>() -> AdamStep<T> {
    let t = T::from_f64;
    AdamStep { rate: t(1e-3), beta1: (t(0.9), t(0.1)), beta2: (t(0.99), t(0.01)), epsilon: t(1e-8), correction: T::ONE }
}

impl<T: Real> Bench<T> {
    pub fn new(case: &Case) -> Self {
        Self::made(case, &mut |shape, layout, value| Fenced::new(shape, layout, value))
    }

    /// By unfused steps, in `self`.
    pub fn unfused(&mut self, case: &Case) -> Result<bool, Error> {
        let ((m, n, _), unit, isa) = (case.shape, UNITS[case.unit], Isa::PORTABLE);
        let (a, b) = (self.a.view(), self.b.view());
        let half = T::from_f64(0.5);
        let mut acc = Fenced::new((m, n), Layout::Rows, || T::ZERO);
        let beta = match case.start {
            0 => T::ZERO,
            1 => {
                acc.view_mut().copy(self.c.view());
                half
            }
            _ => {
                acc.view_mut().copy(self.from.view());
                half
            }
        };
        reference::gemm(T::from_f64(case.alpha), a, b, beta, acc.view_mut());
        let mut finite = true;
        let [m1, m2] = &mut self.beside;
        match case.epilogue {
            0 => self.c.view_mut().copy(acc.view()),
            1 => {
                epilogue::bias_activate(unit, acc.view_mut(), self.bias.view().row(0).unwrap(), Some(m1.view_mut()), isa)?;
                self.c.view_mut().copy(acc.view());
            }
            2 => {
                for i in 0..m {
                    for j in 0..n {
                        let z = half * m1.view().get(i, j);
                        self.c.view_mut().set(i, j, T::from_f64(-1.5).mul_add(acc.view().get(i, j), z));
                    }
                }
            }
            which => {
                for i in 0..m {
                    let delta = acc.view().to_vec();
                    let delta = &delta[i * n..(i + 1) * n];
                    let (mut theta, mut first, mut second) = (self.c.view_mut(), m1.view_mut(), m2.view_mut());
                    let (theta, first, second) =
                        (theta.row_mut(i).unwrap(), first.row_mut(i).unwrap(), second.row_mut(i).unwrap());
                    finite &= match which {
                        3 => epilogue::adam(adam(), theta, first, second, delta, isa)?,
                        4 => epilogue::momentum(half, T::from_f64(0.9), theta, first, delta, isa)?,
                        _ => epilogue::descend(half, theta, delta, isa)?,
                    };
                }
            }
        }
        Ok(finite)
    }
}

impl<T: Real, M: Matrix<T>> Bench<T, M> {
    /// Operands that `make` lays, of the same values whatever they lie in.
    pub fn made(case: &Case, make: &mut Make<'_, T, M>) -> Self {
        let (m, n, k) = case.shape;
        let mut value = reals::<T>(case.seed);
        let rows = if case.padded { Layout::PaddedRows } else { Layout::Rows };
        let mut positive = reals::<T>(case.seed + 1);
        Self {
            a: make((m, k), case.a, &mut value),
            b: make((k, n), case.b, &mut value),
            c: make((m, n), rows, &mut value),
            from: make((m, n), rows, &mut value),
            beside: [make((m, n), rows, &mut value), make((m, n), rows, &mut || positive().abs())],
            bias: make((1, n), Layout::Rows, &mut value),
            of: PhantomData,
        }
    }

    /// Fused, in `self`.
    pub fn fused(&mut self, case: &Case, plan: &Plan) -> Result<bool, Error> {
        let ((m, n, k), unit) = (case.shape, UNITS[case.unit]);
        let packed = PackedRhs::new(self.b.view(), Orientation::Both, plan)?;
        // Packed from the transpose, and asked for transposed.
        let other = PackedRhs::new(self.b.view().t(), Orientation::Transposed, plan)?;
        let b = match case.packed {
            false => Rhs::View(self.b.view()),
            true if case.seed.is_multiple_of(2) => Rhs::Packed(packed.plain()?),
            true => Rhs::Packed(other.transposed()?),
        };
        let half = T::from_f64(0.5);
        let start = match case.start {
            0 => Start::Zero,
            1 => Start::C(half),
            _ => Start::From(half, self.from.view()),
        };
        let ([m1, m2], bias) = (&mut self.beside, self.bias.view());
        let epilogue = match case.epilogue {
            0 => Epilogue::Store,
            1 => Epilogue::Activate { activation: unit, bias: bias.row(0).unwrap(), slope: Some(m1.view_mut()) },
            2 => Epilogue::ScaleAdd { scale: T::from_f64(-1.5), weight: half, add: m1.view() },
            3 => Epilogue::Update(Update::Adam { step: adam(), m: m1.view_mut(), v: m2.view_mut() }),
            4 => Epilogue::Update(Update::Momentum { rate: half, mu: T::from_f64(0.9), m: m1.view_mut() }),
            _ => Epilogue::Update(Update::Descend { rate: half }),
        };
        let mut scratch = Scratch::new();
        scratch.reserve(gemm_with_scratch::<T>(m, n, k, plan))?;
        let reserved = scratch.capacity();
        let finite =
            gemm_with(T::from_f64(case.alpha), self.a.view(), b, start, self.c.view_mut(), epilogue, plan, &mut scratch)?;
        assert_eq!(scratch.capacity(), reserved, "gemm_with_scratch asked for too little");
        Ok(finite)
    }
}

pub fn check<T: Real>(case: &Case, plans: &[Plan]) -> Checked {
    let mut want = Bench::<T>::new(case);
    let outcome = want.unfused(case);
    for plan in plans {
        let mut got = Bench::<T>::new(case);
        let how = format!("{} {:?} {}", plan.isa, plan.par, T::NAME);
        match (&outcome, got.fused(case, plan)) {
            (Err(want), Err(got)) => ensure!(*want == got, "{how}: {got:?}, not {want:?}"),
            (Ok(finite), Ok(got_finite)) => {
                ensure!(*finite == got_finite, "{how}: finite is {got_finite}");
                let mut pairs = vec![("C", &want.c, &got.c), ("m", &want.beside[0], &got.beside[0])];
                pairs.push(("v", &want.beside[1], &got.beside[1]));
                for (what, want, got) in pairs {
                    let difference = first_difference(want.view(), got.view());
                    ensure!(difference.is_none(), "{what}, {how}: {difference:?}");
                    ensure!(got.fences_stand(), "{what}, {how}: wrote outside");
                }
            }
            (want, got) => return Err(format!("{how}: {:?} and {got:?}", want.as_ref())),
        }
    }
    Ok(())
}
