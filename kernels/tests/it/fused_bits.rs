//! Fused products equal their separate steps in every bit: each start, each epilogue.

use crate::support::fused::*;
use crate::support::*;
use gaitprop_kernels::{
    Activation, Epilogue, Error, Isa, MatMut, MatRef, Orientation, PackedRhs, Plan, Scratch, Start, Update, gemm_with,
};
use proptest::prelude::*;

fn cases() -> impl Strategy<Value = Case> {
    let how = (any_layout(), any_layout(), any::<bool>(), 0usize..4, any::<bool>(), 0usize..3, 0usize..6);
    let alpha = prop_oneof![Just(1.0), Just(-1.0), -2.0..2.0];
    ((size(), size(), size()), how, alpha, any::<u64>()).prop_map(
        |(shape, (a, b, padded, unit, packed, start, epilogue), alpha, seed)| Case {
            shape,
            a,
            b,
            padded,
            unit,
            packed,
            start,
            epilogue,
            alpha,
            // `made` seeds a second generator with the next number.
            seed: seed >> 1,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fused_is_unfused_f32(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f32>(&case, plans))?;
    }

    #[test]
    fn fused_is_unfused_f64(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f64>(&case, plans))?;
    }
}

/// What the comparison above would miss, it must not miss: one wrong bit in each result.
#[test]
#[cfg_attr(miri, ignore = "is about the test")]
fn the_oracle_can_fail() {
    let case = Case {
        shape: (20, 30, 10),
        a: Layout::Rows,
        b: Layout::Rows,
        padded: true,
        unit: 1,
        packed: false,
        start: 0,
        epilogue: 3,
        alpha: 1.0,
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
    let mut product = |packed: &PackedRhs<f32>, plan: &Plan| {
        let (b, y) = (packed.plain().unwrap(), MatMut::new(&mut y, 2, 4).unwrap());
        gemm_with(1.0, x, b, Start::Zero, y, Epilogue::Store, plan, &mut Scratch::new()).map(drop)
    };
    assert_eq!(product(&packed, &plan), Ok(()));
    for isa in Isa::available().filter(|&isa| isa != plan.isa) {
        assert!(matches!(product(&packed, &plan.clone().with_isa(isa)), Err(Error::Packed { .. })), "{isa}");
        assert!(matches!(packed.repack(w, &plan.clone().with_isa(isa)), Err(Error::Packed { .. })), "{isa}");
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
    let attempt = |start: Start<'_, f32>, finish: Epilogue<'_, f32>, b: MatRef<'_, f32>, column_major: bool| {
        let mut c = [5f32; 12];
        let strides = if column_major { (1, 3) } else { (4, 1) };
        let c_view = MatMut::strided(&mut c, 0, (3, 4), strides).unwrap();
        let result = gemm_with(1.0, view(3, 2), b, start, c_view, finish, &plan, &mut Scratch::new());
        assert_eq!(c, [5.0; 12]);
        result.unwrap_err()
    };
    let shape = |e: Error| assert!(matches!(e, Error::Shape { .. }), "{e}");
    let layout = |e: Error| assert!(matches!(e, Error::Layout { .. }), "{e}");
    shape(attempt(Start::Zero, Epilogue::Store, view(3, 4), false));
    shape(attempt(Start::Zero, Epilogue::Store, view(2, 5), false));
    shape(attempt(Start::From(1.0, view(4, 3)), Epilogue::Store, view(2, 4), false));
    layout(attempt(Start::From(1.0, view(4, 3).t()), Epilogue::Store, view(2, 4), false));
    let bias = [0f32; 3];
    shape(attempt(
        Start::Zero,
        Epilogue::Activate { activation: Activation::Identity, bias: &bias, slope: None },
        view(2, 4),
        false,
    ));
    let flat = Epilogue::Activate { activation: Activation::LeakyRelu { slope: 0.0 }, bias: &data[..4], slope: None };
    assert!(matches!(attempt(Start::Zero, flat, view(2, 4), false), Error::Parameter { .. }));
    shape(attempt(Start::Zero, Epilogue::ScaleAdd { scale: 1.0, weight: 1.0, add: view(4, 3) }, view(2, 4), false));
    let mut m = [0f32; 8];
    let m = MatMut::new(&mut m, 2, 4).unwrap();
    shape(attempt(Start::Zero, Epilogue::Update(Update::Momentum { rate: 1.0, mu: 0.9, m }), view(2, 4), false));
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
                Epilogue::Update(Update::Descend { rate: 1.0 }),
                &plan,
                &mut Scratch::new(),
            );
            assert_eq!(finite, Ok(bad.is_none()), "{isa} {bad:?}");
        }
    }
}
