//! Fused products against their unfused steps, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, perturb, weigh};
use gaitprop_kernels::{
    Error, Finish, Isa, Lhs, Orientation, PackedRhs, Perturbed, Plan, Real, Rhs, Scratch, Start, Unit, Update, Weighed,
    gemm_with, gemm_with_scratch, reference,
};
use std::marker::PhantomData;

pub const UNITS: [Unit; 4] = [Unit::Identity, Unit::LeakyRelu { slope: 0.1 }, Unit::LeakyRelu { slope: 3.0 }, Unit::Tanh];

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: (usize, usize, usize),
    pub a: Layout,
    pub b: Layout,
    pub padded: bool,
    pub unit: usize,
    /// 0 view, 1 weighed, 2 perturbed without x, 3 perturbed with x.
    pub left: usize,
    /// 0 view, 1 packed, 2 weighed.
    pub right: usize,
    pub start: usize,
    pub finish: usize,
    pub alpha: f64,
    pub scale: f64,
    pub seed: u64,
}

/// The operands of a case, in memory with fences or of another kind, and its result by unfused steps.
pub struct Bench<T, M = Fenced<T>> {
    pub y: M,
    pub d: M,
    pub e: M,
    pub a: M,
    pub b: M,
    pub yb: M,
    pub db: M,
    pub eb: M,
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

fn activity<T: Real, M: Matrix<T>>(
    unit: Unit,
    shape: (usize, usize),
    layout: Layout,
    value: &mut dyn FnMut() -> T,
    make: &mut Make<'_, T, M>,
) -> [M; 2] {
    let mut y = make(shape, layout, &mut *value);
    let mut d = make(shape, layout, &mut *value);
    for i in 0..shape.0 {
        for j in 0..shape.1 {
            // Some units at and near the kink.
            let h = match (i + j) % 7 {
                0 => T::ZERO,
                1 => T::from_f64(1e-4) * y.view().get(i, j),
                _ => y.view().get(i, j),
            };
            let (f, slope) = unit.apply(h);
            y.view_mut().set(i, j, f);
            d.view_mut().set(i, j, slope);
        }
    }
    [y, d]
}

fn perturbation(case: &Case) -> Perturbation {
    let weighting = if case.seed.is_multiple_of(3) { Weighting::Plain } else { Weighting::SlopeSquared };
    let scale = if case.seed.is_multiple_of(5) { Scale::Limit } else { Scale::Finite(case.scale) };
    Perturbation { unit: UNITS[case.unit], weighting, scale }
}

impl<T: Real> Bench<T> {
    pub fn new(case: &Case) -> Self {
        Self::made(case, &mut |shape, layout, value| Fenced::new(shape, layout, value))
    }

    /// By unfused steps, in `self`; returns x = D ∘ e of the left operand as well.
    pub fn unfused(&mut self, case: &Case) -> Result<(bool, Fenced<T>), Error> {
        let ((m, n, k), unit, isa) = (case.shape, UNITS[case.unit], Isa::PORTABLE);
        let mut value = reals::<T>(9);
        let (mut r, mut x) = (Fenced::new((m, k), Layout::Rows, &mut value), Fenced::new((m, k), Layout::Rows, &mut value));
        let (y, d, e) = (self.y.view(), Some(self.d.view()), self.e.view());
        let a = match case.left {
            0 => self.a.view(),
            1 => {
                weigh(unit, y, d, e, x.view_mut(), isa)?;
                x.view()
            }
            _ => {
                perturb(perturbation(case), y, d, e, r.view_mut(), x.view_mut(), isa)?;
                r.view()
            }
        };
        let mut xb = Fenced::new((k, n), Layout::Rows, &mut value);
        let b = if case.right == 2 {
            weigh(unit, self.yb.view(), Some(self.db.view()), self.eb.view(), xb.view_mut(), isa)?;
            xb.view()
        } else {
            self.b.view()
        };
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
        match case.finish {
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
            3 => weigh(unit, m1.view(), Some(m2.view()), acc.view(), self.c.view_mut(), isa)?,
            which => {
                for i in 0..m {
                    let delta = acc.view().to_vec();
                    let delta = &delta[i * n..(i + 1) * n];
                    let (mut theta, mut first, mut second) = (self.c.view_mut(), m1.view_mut(), m2.view_mut());
                    let (theta, first, second) =
                        (theta.row_mut(i).unwrap(), first.row_mut(i).unwrap(), second.row_mut(i).unwrap());
                    finite &= match which {
                        4 => epilogue::adam(adam(), theta, first, second, delta, isa)?,
                        5 => epilogue::momentum(half, T::from_f64(0.9), theta, first, delta, isa)?,
                        _ => epilogue::descend(half, theta, delta, isa)?,
                    };
                }
            }
        }
        Ok((finite, x))
    }
}

impl<T: Real, M: Matrix<T>> Bench<T, M> {
    /// Operands that `make` lays, of the same values whatever they lie in.
    pub fn made(case: &Case, make: &mut Make<'_, T, M>) -> Self {
        let ((m, n, k), unit) = (case.shape, UNITS[case.unit]);
        let mut value = reals::<T>(case.seed);
        let rows = if case.padded { Layout::PaddedRows } else { Layout::Rows };
        let [y, d] = activity(unit, (m, k), rows, &mut value, make);
        let [yb, db] = activity(unit, (k, n), rows, &mut value, make);
        let mut positive = reals::<T>(case.seed + 1);
        Self {
            y,
            d,
            e: make((m, k), rows, &mut value),
            a: make((m, k), case.a, &mut value),
            b: make((k, n), case.b, &mut value),
            yb,
            db,
            eb: make((k, n), rows, &mut value),
            c: make((m, n), rows, &mut value),
            from: make((m, n), rows, &mut value),
            beside: [make((m, n), rows, &mut value), make((m, n), rows, &mut || positive().abs())],
            bias: make((1, n), Layout::Rows, &mut value),
            of: PhantomData,
        }
    }

    /// Fused, in `self`; x goes to `x`.
    pub fn fused(&mut self, case: &Case, plan: &Plan<'_>, x: &mut M) -> Result<bool, Error> {
        let ((m, n, k), unit) = (case.shape, UNITS[case.unit]);
        let (y, slope, e) = (self.y.view(), Some(self.d.view()), self.e.view());
        let a = match case.left {
            0 => Lhs::View(self.a.view()),
            1 => Lhs::Weighed(Weighed { unit, y, slope, e }),
            left => {
                let weighed = (left == 3).then(|| x.view_mut());
                Lhs::Perturbed(Perturbed { by: perturbation(case), y, slope, e, weighed })
            }
        };
        let packed = PackedRhs::new(self.b.view(), Orientation::Both, plan)?;
        // Packed from the transpose, and asked for transposed.
        let other = PackedRhs::new(self.b.view().t(), Orientation::Transposed, plan)?;
        let b = match case.right {
            0 => Rhs::View(self.b.view()),
            1 if case.seed.is_multiple_of(2) => Rhs::Packed(packed.plain()?),
            1 => Rhs::Packed(other.transposed()?),
            _ => Rhs::Weighed(Weighed { unit, y: self.yb.view(), slope: Some(self.db.view()), e: self.eb.view() }),
        };
        let half = T::from_f64(0.5);
        let start = match case.start {
            0 => Start::Zero,
            1 => Start::C(half),
            _ => Start::From(half, self.from.view()),
        };
        let ([m1, m2], bias) = (&mut self.beside, self.bias.view());
        let finish = match case.finish {
            0 => Finish::Store,
            1 => Finish::Activate { unit, bias: bias.row(0).unwrap(), slope: Some(m1.view_mut()) },
            2 => Finish::ScaleAdd { scale: T::from_f64(-1.5), weight: half, add: m1.view() },
            3 => Finish::SlopeMask { unit, y: m1.view(), slope: Some(m2.view()) },
            4 => Finish::Update(Update::Adam { step: adam(), m: m1.view_mut(), v: m2.view_mut() }),
            5 => Finish::Update(Update::Momentum { rate: half, mu: T::from_f64(0.9), m: m1.view_mut() }),
            _ => Finish::Update(Update::Descend { rate: half }),
        };
        let mut scratch = Scratch::new();
        scratch.reserve(gemm_with_scratch::<T>(m, n, k, plan))?;
        let reserved = scratch.capacity();
        let finite = gemm_with(T::from_f64(case.alpha), a, b, start, self.c.view_mut(), finish, plan, &mut scratch)?;
        assert_eq!(scratch.capacity(), reserved, "gemm_with_scratch asked for too little");
        Ok(finite)
    }
}

pub fn check<T: Real>(case: &Case, plans: &[Plan<'_>]) -> Checked {
    let mut want = Bench::<T>::new(case);
    let outcome = want.unfused(case);
    for plan in plans {
        let mut got = Bench::<T>::new(case);
        let mut x = Fenced::new((case.shape.0, case.shape.2), Layout::PaddedRows, || T::ZERO);
        let how = format!("{} {:?} {}", plan.isa, plan.par, T::NAME);
        match (&outcome, got.fused(case, plan, &mut x)) {
            (Err(want), Err(got)) => ensure!(*want == got, "{how}: {got:?}, not {want:?}"),
            (Ok((finite, want_x)), Ok(got_finite)) => {
                ensure!(*finite == got_finite, "{how}: finite is {got_finite}");
                let mut pairs = vec![("C", &want.c, &got.c), ("m", &want.beside[0], &got.beside[0])];
                pairs.push(("v", &want.beside[1], &got.beside[1]));
                if case.left == 3 {
                    pairs.push(("x", want_x, &x));
                }
                for (what, want, got) in pairs {
                    let difference = first_difference(want.view(), got.view());
                    ensure!(difference.is_none(), "{what}, {how}: {difference:?}");
                    ensure!(got.fences_stand(), "{what}, {how}: wrote outside");
                }
            }
            (want, got) => return Err(format!("{how}: {:?} and {got:?}", want.as_ref().map(|w| w.0))),
        }
    }
    Ok(())
}
