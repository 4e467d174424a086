//! Fused products equal their unfused steps in every bit: each start, each finish, each made operand.
#![allow(missing_docs)]

mod support;

use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, perturb, weigh};
use gaitprop_kernels::{
    Blocking, Error, Finish, Isa, Lhs, MatMut, MatRef, Orientation, PackedRhs, Packing, Par, Perturbed, Plan, Real, Rhs, Scratch,
    Start, Team, Unit, Update, Weighed, gemm_packed, gemm_with, gemm_with_scratch, reference,
};
use proptest::prelude::*;
use support::*;

const UNITS: [Unit; 4] = [Unit::Identity, Unit::LeakyRelu { slope: 0.1 }, Unit::LeakyRelu { slope: 3.0 }, Unit::Tanh];

#[derive(Clone, Debug)]
struct Case {
    shape: (usize, usize, usize),
    a: Layout,
    b: Layout,
    padded: bool,
    unit: usize,
    /// 0 view, 1 weighed, 2 perturbed without x, 3 perturbed with x.
    left: usize,
    /// 0 view, 1 packed, 2 weighed.
    right: usize,
    start: usize,
    finish: usize,
    alpha: f64,
    scale: f64,
    blocking: Option<Blocking>,
    packing: Packing,
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let how = (any_layout(), any_layout(), any::<bool>(), 0usize..4, 0usize..4, 0usize..3, 0usize..3, 0usize..7);
    let numbers =
        (prop_oneof![Just(1.0), Just(-1.0), -2.0..2.0], prop_oneof![Just(1.0), Just(1e-3), Just(1e-30), Just(0.0), Just(1e-60)]);
    let plan = (any_blocking(), any_packing(), 1usize..5, any::<u64>());
    ((size(), size(), size()), how, numbers, plan).prop_map(
        |(shape, (a, b, padded, unit, left, right, start, finish), (alpha, scale), (blocking, packing, threads, seed))| Case {
            shape,
            a,
            b,
            padded,
            unit,
            left,
            right,
            start,
            finish,
            alpha,
            scale,
            blocking,
            packing,
            threads,
            seed,
        },
    )
}

/// The operands of a case, and its result by unfused steps.
struct Bench<T> {
    y: Fenced<T>,
    d: Fenced<T>,
    e: Fenced<T>,
    a: Fenced<T>,
    b: Fenced<T>,
    yb: Fenced<T>,
    db: Fenced<T>,
    eb: Fenced<T>,
    c: Fenced<T>,
    from: Fenced<T>,
    beside: [Fenced<T>; 2],
    bias: Vec<T>,
}

fn adam<T: Real>() -> AdamStep<T> {
    let t = T::from_f64;
    AdamStep { rate: t(1e-3), beta1: (t(0.9), t(0.1)), beta2: (t(0.99), t(0.01)), epsilon: t(1e-8), correction: T::ONE }
}

fn activity<T: Real>(unit: Unit, shape: (usize, usize), layout: Layout, value: &mut impl FnMut() -> T) -> [Fenced<T>; 2] {
    let mut y = Fenced::new(shape, layout, &mut *value);
    let mut d = Fenced::new(shape, layout, &mut *value);
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

impl<T: Real> Bench<T> {
    fn new(case: &Case) -> Self {
        let ((m, n, k), unit) = (case.shape, UNITS[case.unit]);
        let mut value = reals::<T>(case.seed);
        let rows = if case.padded { Layout::PaddedRows } else { Layout::Rows };
        let [y, d] = activity(unit, (m, k), rows, &mut value);
        let [yb, db] = activity(unit, (k, n), rows, &mut value);
        let mut positive = reals::<T>(case.seed + 1);
        Self {
            y,
            d,
            e: Fenced::new((m, k), rows, &mut value),
            a: Fenced::new((m, k), case.a, &mut value),
            b: Fenced::new((k, n), case.b, &mut value),
            yb,
            db,
            eb: Fenced::new((k, n), rows, &mut value),
            c: Fenced::new((m, n), rows, &mut value),
            from: Fenced::new((m, n), rows, &mut value),
            beside: [Fenced::new((m, n), rows, &mut value), Fenced::new((m, n), rows, || positive().abs())],
            bias: (0..n).map(|_| value()).collect(),
        }
    }

    fn perturbation(case: &Case) -> Perturbation {
        let weighting = if case.seed.is_multiple_of(3) { Weighting::Plain } else { Weighting::SlopeSquared };
        let scale = if case.seed.is_multiple_of(5) { Scale::Limit } else { Scale::Finite(case.scale) };
        Perturbation { unit: UNITS[case.unit], weighting, scale }
    }

    /// By unfused steps, in `self`; returns x = D ∘ e of the left operand as well.
    fn unfused(&mut self, case: &Case) -> Result<(bool, Fenced<T>), Error> {
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
                perturb(Self::perturbation(case), y, d, e, r.view_mut(), x.view_mut(), isa)?;
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
                epilogue::bias_activate(unit, acc.view_mut(), &self.bias, Some(m1.view_mut()), isa)?;
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

    /// Fused, in `self`; x goes to `x`.
    fn fused(&mut self, case: &Case, plan: &Plan<'_>, x: &mut Fenced<T>) -> Result<bool, Error> {
        let ((m, n, k), unit) = (case.shape, UNITS[case.unit]);
        let (y, slope, e) = (self.y.view(), Some(self.d.view()), self.e.view());
        let a = match case.left {
            0 => Lhs::View(self.a.view()),
            1 => Lhs::Weighed(Weighed { unit, y, slope, e }),
            left => {
                let weighed = (left == 3).then(|| x.view_mut());
                Lhs::Perturbed(Perturbed { by: Self::perturbation(case), y, slope, e, weighed })
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
        let [m1, m2] = &mut self.beside;
        let finish = match case.finish {
            0 => Finish::Store,
            1 => Finish::Activate { unit, bias: &self.bias, slope: Some(m1.view_mut()) },
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

fn check<T: Real>(case: &Case) -> Result<(), TestCaseError> {
    let mut want = Bench::<T>::new(case);
    let outcome = want.unfused(case);
    let (rayon, team) = (pool(case.threads), Team::new(case.threads).unwrap());
    for isa in Isa::available() {
        for par in [Par::Seq, Par::Pool(&rayon), Par::Team(&team)] {
            let mut plan = Plan { blocking: case.blocking, packing: case.packing, min_work: Some(1), ..Plan::new() };
            plan = plan.with_isa(isa).with_par(par);
            let mut got = Bench::<T>::new(case);
            let mut x = Fenced::new((case.shape.0, case.shape.2), Layout::PaddedRows, || T::ZERO);
            match (&outcome, got.fused(case, &plan, &mut x)) {
                (Err(want), Err(got)) => prop_assert_eq!(want, &got),
                (Ok((finite, want_x)), Ok(got_finite)) => {
                    prop_assert_eq!(*finite, got_finite);
                    let mut pairs = vec![("C", &want.c, &got.c), ("m", &want.beside[0], &got.beside[0])];
                    pairs.push(("v", &want.beside[1], &got.beside[1]));
                    if case.left == 3 {
                        pairs.push(("x", want_x, &x));
                    }
                    for (what, want, got) in pairs {
                        let difference = first_difference(want.view(), got.view());
                        prop_assert!(difference.is_none(), "{what}, {isa} {par:?} {}: {}", T::NAME, difference.unwrap());
                        prop_assert!(got.fences_stand(), "{what}, {isa}: wrote outside");
                    }
                }
                (want, got) => prop_assert!(false, "{isa}: {:?} and {got:?}", want.as_ref().map(|w| w.0)),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fused_is_unfused_f32(case in cases()) {
        check::<f32>(&case)?;
    }

    #[test]
    fn fused_is_unfused_f64(case in cases()) {
        check::<f64>(&case)?;
    }
}

/// What the comparison above would miss, it must not miss: one wrong bit in each result.
#[test]
fn the_oracle_can_fail() {
    let case = Case {
        shape: (20, 30, 10),
        a: Layout::Rows,
        b: Layout::Rows,
        padded: true,
        unit: 1,
        left: 0,
        right: 0,
        start: 0,
        finish: 4,
        alpha: 1.0,
        scale: 1e-3,
        blocking: None,
        packing: Packing::Auto,
        threads: 2,
        seed: 3,
    };
    let mut want = Bench::<f32>::new(&case);
    want.unfused(&case).unwrap();
    for which in 0..3 {
        let mut wrong = Bench::<f32>::new(&case);
        wrong.unfused(&case).unwrap();
        let pair = |b: &mut Bench<f32>, f: &mut dyn FnMut(&mut Fenced<f32>)| match which {
            0 => f(&mut b.c),
            1 => f(&mut b.beside[0]),
            _ => f(&mut b.beside[1]),
        };
        let mut clean = None;
        pair(&mut want, &mut |m| clean = Some(m.clone()));
        pair(&mut wrong, &mut |m| {
            assert!(first_difference(clean.as_ref().unwrap().view(), m.view()).is_none());
            let v = m.view().get(19, 29);
            m.view_mut().set(19, 29, f32::from_bits(v.to_bits() ^ 1));
            assert!(first_difference(clean.as_ref().unwrap().view(), m.view()).is_some());
        });
    }
}

/// A packed operand of another instruction set, another shape, or another orientation is refused, not misread.
#[test]
fn packed_operands_that_do_not_fit_are_refused() {
    let w: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let w = MatRef::new(&w, 3, 4).unwrap();
    let plan = Plan::new();
    let (x, mut y) = ([1f32; 6], [7f32; 8]);
    let x = MatRef::new(&x, 2, 3).unwrap();
    let mut packed = PackedRhs::new(w, Orientation::Plain, &plan).unwrap();
    assert!(matches!(packed.transposed(), Err(Error::Packed { .. })));
    let mut product = |packed: &PackedRhs<f32>, plan: &Plan<'_>| {
        gemm_packed(1.0, x, packed.plain().unwrap(), 0.0, MatMut::new(&mut y, 2, 4).unwrap(), plan, &mut Scratch::new())
    };
    assert_eq!(product(&packed, &plan), Ok(()));
    for isa in Isa::available().filter(|&isa| isa != plan.isa) {
        assert!(matches!(product(&packed, &plan.with_isa(isa)), Err(Error::Packed { .. })), "{isa}");
        assert!(matches!(packed.repack(w, &plan.with_isa(isa)), Err(Error::Packed { .. })), "{isa}");
    }
    assert!(matches!(packed.repack(w.t(), &plan), Err(Error::Shape { .. })));
    let narrow = PackedRhs::new(w.cols(0, 2), Orientation::Plain, &plan).unwrap();
    assert!(matches!(product(&narrow, &plan), Err(Error::Shape { .. })));
    let short = PackedRhs::new(w.rows(0, 2), Orientation::Plain, &plan).unwrap();
    assert!(matches!(product(&short, &plan), Err(Error::Shape { .. })));
    assert_eq!(y, [12.0, 15.0, 18.0, 21.0, 12.0, 15.0, 18.0, 21.0]);
}

/// Shapes and layouts that do not fit are errors, and nothing is written.
#[test]
fn what_does_not_fit_is_refused() {
    let data = [1f32; 64];
    let view = |rows, cols| MatRef::new(&data[..rows * cols], rows, cols).unwrap();
    let plan = Plan::new();
    let attempt = |start: Start<'_, f32>, finish: Finish<'_, f32>, b: MatRef<'_, f32>, column_major: bool| {
        let mut c = [5f32; 12];
        let strides = if column_major { (1, 3) } else { (4, 1) };
        let c_view = MatMut::strided(&mut c, 0, (3, 4), strides).unwrap();
        let result = gemm_with(1.0, view(3, 2), b, start, c_view, finish, &plan, &mut Scratch::new());
        assert_eq!(c, [5.0; 12]);
        result.unwrap_err()
    };
    let shape = |e: Error| assert!(matches!(e, Error::Shape { .. }), "{e}");
    let layout = |e: Error| assert!(matches!(e, Error::Layout { .. }), "{e}");
    shape(attempt(Start::Zero, Finish::Store, view(3, 4), false));
    shape(attempt(Start::Zero, Finish::Store, view(2, 5), false));
    layout(attempt(Start::Zero, Finish::Store, view(2, 4), true));
    shape(attempt(Start::From(1.0, view(4, 3)), Finish::Store, view(2, 4), false));
    layout(attempt(Start::From(1.0, view(4, 3).t()), Finish::Store, view(2, 4), false));
    let bias = [0f32; 3];
    shape(attempt(Start::Zero, Finish::Activate { unit: Unit::Identity, bias: &bias, slope: None }, view(2, 4), false));
    let flat = Finish::Activate { unit: Unit::LeakyRelu { slope: 0.0 }, bias: &data[..4], slope: None };
    assert!(matches!(attempt(Start::Zero, flat, view(2, 4), false), Error::Parameter { .. }));
    shape(attempt(Start::Zero, Finish::ScaleAdd { scale: 1.0, weight: 1.0, add: view(4, 3) }, view(2, 4), false));
    let tanh = Finish::SlopeMask { unit: Unit::Tanh, y: view(3, 4), slope: None };
    shape(attempt(Start::Zero, tanh, view(2, 4), false));
    let mut m = [0f32; 8];
    let m = MatMut::new(&mut m, 2, 4).unwrap();
    shape(attempt(Start::Zero, Finish::Update(Update::Momentum { rate: 1.0, mu: 0.9, m }), view(2, 4), false));
}

/// A parameter that leaves the finite numbers is reported, one in a thousand, in a last word that is not whole.
#[test]
fn parameters_beyond_the_finite_are_reported() {
    for isa in Isa::available() {
        for bad in [None, Some(0), Some(30)] {
            let (mut a, b) = (vec![0f64; 31], [1f64]);
            if let Some(bad) = bad {
                a[bad] = f64::MAX;
            }
            let mut theta = vec![f64::MAX / 2.0; 31];
            let (rows, one) = (MatRef::new(&b, 1, 1).unwrap(), MatRef::new(&a, 1, 31).unwrap());
            let c = MatMut::new(&mut theta, 1, 31).unwrap();
            let plan = Plan::new().with_isa(isa);
            let finite = gemm_with(
                1.0,
                rows,
                one,
                Start::Zero,
                c,
                Finish::Update(Update::Descend { rate: 1.0 }),
                &plan,
                &mut Scratch::new(),
            );
            assert_eq!(finite, Ok(bad.is_none()), "{isa} {bad:?}");
        }
    }
}
