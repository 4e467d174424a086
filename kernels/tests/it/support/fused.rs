//! Fused products against their unfused steps, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::{
    Activation, Epilogue, Error, Isa, Orientation, PackedRhs, Plan, Real, Rhs, Scratch, Start, Update, gemm_with,
    gemm_with_scratch, reference,
};

pub const ACTIVATIONS: [Activation; 4] =
    [Activation::Identity, Activation::LeakyRelu { slope: 0.1 }, Activation::LeakyRelu { slope: 3.0 }, Activation::Tanh];

/// How B is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    View,
    Packed,
    /// Packed from the transpose, and asked for transposed.
    PackedTransposed,
}

pub const RIGHTS: [Right; 3] = [Right::View, Right::Packed, Right::PackedTransposed];

/// The variant of [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Zero,
    C,
    From,
}

pub const BEGINS: [Begin; 3] = [Begin::Zero, Begin::C, Begin::From];

/// The variant of [`Epilogue`] or [`Update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Store,
    Activate,
    ScaleAdd,
    Adam,
    Momentum,
    Descend,
    ScaleColumns,
}

pub const ENDS: [End; 7] = [End::Store, End::Activate, End::ScaleAdd, End::Adam, End::Momentum, End::Descend, End::ScaleColumns];

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: (usize, usize, usize),
    pub a: Layout,
    pub b: Layout,
    /// Of C and all matrices beside it; one of [`ROW_LAYOUTS`].
    pub rows: Layout,
    pub activation: Activation,
    pub right: Right,
    pub begin: Begin,
    pub end: End,
    pub alpha: f64,
    pub seed: u64,
}

/// The operands of a case, and its results once a product has run in them.
pub struct Operands<T: Real, M: Memory = Fences> {
    pub a: Fenced<T, M>,
    pub b: Fenced<T, M>,
    pub c: Fenced<T, M>,
    pub from: Fenced<T, M>,
    /// The slopes, the matrix to be added, or the first moment; and the second moment.
    pub beside: [Fenced<T, M>; 2],
    /// One row.
    pub bias: Fenced<T, M>,
}

pub fn adam<T: Real>() -> AdamStep<T> {
    let t = T::from_f64;
    AdamStep { rate: t(1e-3), beta1: (t(0.9), t(0.1)), beta2: (t(0.99), t(0.01)), epsilon: t(1e-8), correction: T::ONE }
}

impl<T: Real, M: Memory> Operands<T, M> {
    /// The same values whatever the memory.
    pub fn new_in(memory: M, case: &Case) -> Self {
        let ((m, n, k), rows) = (case.shape, case.rows);
        let (mut value, mut positive) = (reals::<T>(case.seed), reals::<T>(case.seed.wrapping_add(1)));
        Self {
            a: Fenced::new_in(memory, (m, k), case.a, &mut value),
            b: Fenced::new_in(memory, (k, n), case.b, &mut value),
            c: Fenced::new_in(memory, (m, n), rows, &mut value),
            from: Fenced::new_in(memory, (m, n), rows, &mut value),
            beside: [Fenced::new_in(memory, (m, n), rows, &mut value), Fenced::new_in(memory, (m, n), rows, || positive().abs())],
            bias: Fenced::new_in(memory, (1, n), Layout::Rows, &mut value),
        }
    }

    /// By unfused steps, in `self`.
    pub fn unfused(&mut self, case: &Case) -> Result<bool, Error> {
        let ((m, n, _), isa) = (case.shape, Isa::PORTABLE);
        let half = T::from_f64(0.5);
        let mut acc = Fenced::new((m, n), Layout::Rows, || T::ZERO);
        let beta = match case.begin {
            Begin::Zero => T::ZERO,
            Begin::C => {
                copy_into(self.c.view(), acc.view_mut());
                half
            }
            Begin::From => {
                copy_into(self.from.view(), acc.view_mut());
                half
            }
        };
        reference::gemm(T::from_f64(case.alpha), self.a.view(), self.b.view(), beta, acc.view_mut());
        let [m1, m2] = &mut self.beside;
        if case.end == End::Activate {
            epilogue::bias_activate(case.activation, acc.view_mut(), self.bias.row(), Some(m1.view_mut()), isa)?;
        }
        let mut finite = true;
        for i in 0..m {
            let (mut theta, mut first, mut second) = (self.c.view_mut(), m1.view_mut(), m2.view_mut());
            let theta = theta.row_mut(i).unwrap();
            let (first, second) = (first.row_mut(i).unwrap(), second.row_mut(i).unwrap());
            let (acc, mu) = (acc.view(), T::from_f64(0.9));
            let acc = acc.row(i).unwrap();
            match case.end {
                End::Store | End::Activate => theta.copy_from_slice(acc),
                End::ScaleAdd => {
                    for ((c, &acc), &z) in theta.iter_mut().zip(acc).zip(&*first) {
                        *c = T::from_f64(-1.5).mul_add(acc, half * z);
                    }
                }
                End::Adam => finite &= epilogue::adam(adam(), theta, first, second, acc, isa)?,
                End::Momentum => finite &= epilogue::momentum(half, mu, theta, first, acc, isa)?,
                End::Descend => finite &= epilogue::descend(half, theta, acc, isa)?,
                End::ScaleColumns => {
                    for ((theta, &acc), &factor) in theta.iter_mut().zip(acc).zip(self.bias.row()) {
                        *theta = factor.mul_add(*theta, acc);
                        finite &= theta.is_finite();
                    }
                }
            }
        }
        Ok(finite)
    }

    /// Fused, in `self`.
    pub fn fused(&mut self, case: &Case, plan: &Plan, scratch: &mut Scratch) -> Result<bool, Error> {
        let packed = match case.right {
            Right::PackedTransposed => PackedRhs::new(self.b.view().t(), Orientation::Transposed, plan)?,
            _ => PackedRhs::new(self.b.view(), Orientation::Both, plan)?,
        };
        let b = match case.right {
            Right::View => Rhs::View(self.b.view()),
            Right::Packed => Rhs::Packed(packed.plain()?),
            Right::PackedTransposed => Rhs::Packed(packed.transposed()?),
        };
        let half = T::from_f64(0.5);
        let start = match case.begin {
            Begin::Zero => Start::Zero,
            Begin::C => Start::C(half),
            Begin::From => Start::From(half, self.from.view()),
        };
        let [m1, m2] = &mut self.beside;
        let epilogue = match case.end {
            End::Store => Epilogue::Store,
            End::Activate => {
                Epilogue::Activate { activation: case.activation, bias: self.bias.row(), slope: Some(m1.view_mut()) }
            }
            End::ScaleAdd => Epilogue::ScaleAdd { scale: T::from_f64(-1.5), weight: half, add: m1.view() },
            End::Adam => Epilogue::Update(Update::Adam { step: adam(), m: m1.view_mut(), v: m2.view_mut() }),
            End::Momentum => Epilogue::Update(Update::Momentum { rate: half, mu: T::from_f64(0.9), m: m1.view_mut() }),
            End::Descend => Epilogue::Update(Update::Descend { rate: half }),
            End::ScaleColumns => Epilogue::Update(Update::ScaleColumns { factors: self.bias.row() }),
        };
        gemm_with(T::from_f64(case.alpha), self.a.view(), b, start, self.c.view_mut(), epilogue, plan, scratch)
    }
}

pub fn check<T: Real, M: Memory>(memory: M, case: &Case, plans: &[Plan]) -> Checked {
    let (m, n, k) = case.shape;
    let mut want = Operands::<T>::new_in(Fences, case);
    let outcome = want.unfused(case);
    with_plans(
        plans,
        |plan| gemm_with_scratch::<T>(m, n, k, plan),
        |plan, scratch| {
            let mut got = Operands::<T, M>::new_in(memory, case);
            let result = got.fused(case, plan, scratch);
            ensure!(result == outcome, "{}: {result:?}, not {outcome:?}", T::NAME);
            if outcome.is_err() {
                return Ok(());
            }
            same(&want.c, &got.c, "C")?;
            same(&want.beside[0], &got.beside[0], "m")?;
            same(&want.beside[1], &got.beside[1], "v")
        },
    )
}
