//! Triangular solves, symmetric products, LU and Cholesky equal their naive twins in every bit, read only the triangles they may, write
//! only what they say, and need no more scratch than they say.
#![allow(missing_docs)]

mod support;

use gaitprop_kernels::syrk::{Diagonal, Part, syrk, syrk_scratch};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{
    Blocking, Error, Isa, MatMut, MatRef, Packing, Par, Plan, Real, Req, Scratch, Team, cholesky, lu, reference, symm, trsm,
};
use proptest::prelude::*;
use proptest::sample::select;
use support::*;

/// How to compute, and on what.
#[derive(Clone, Debug)]
struct How {
    layouts: [Layout; 3],
    blocking: Option<Blocking>,
    packing: Packing,
    threads: usize,
    seed: u64,
}

fn any_how() -> impl Strategy<Value = How> {
    ([any_layout(), any_layout(), any_layout()], any_blocking(), any_packing(), 1usize..5, any::<u64>())
        .prop_map(|(layouts, blocking, packing, threads, seed)| How { layouts, blocking, packing, threads, seed })
}

fn scalar() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), Just(-1.0), -2.0..2.0]
}

/// Runs `f` with every instruction set, alone, with a pool and with a team, with exactly the scratch it says it needs.
fn with_plans(
    how: &How,
    need: impl Fn(&Plan<'_>) -> Req,
    mut f: impl FnMut(&Plan<'_>, &mut Scratch) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (pool, team) = (pool(how.threads), Team::new(how.threads).unwrap());
    let team = Isa::available().map(|isa| Plan { min_work: Some(1), ..Plan::new() }.with_isa(isa).with_par(Par::Team(&team)));
    for plan in plans(&pool, how.blocking).chain(team) {
        let plan = Plan { packing: how.packing, blocking: how.blocking, ..plan };
        let mut scratch = Scratch::new();
        scratch.reserve(need(&plan)).unwrap();
        let reserved = scratch.capacity();
        f(&plan, &mut scratch)?;
        prop_assert_eq!(scratch.capacity(), reserved, "too little scratch was asked for");
    }
    Ok(())
}

fn same<T: Real>(want: &Fenced<T>, got: &Fenced<T>, plan: &Plan<'_>) -> Result<(), TestCaseError> {
    let difference = first_difference(want.view(), got.view());
    prop_assert!(difference.is_none(), "{} {:?}: {}", plan.isa, plan.par, difference.unwrap());
    prop_assert!(got.fences_stand(), "{}: wrote outside", plan.isa);
    Ok(())
}

/// A square matrix with NaN outside one triangle, and on the diagonal if that is not stored; `diagonal` is added on it.
fn triangle<T: Real>(n: usize, layout: Layout, which: Triangle, diag: Diag, diagonal: f64, seed: u64) -> Fenced<T> {
    let mut value = reals::<T>(seed);
    let mut at = 0;
    Fenced::new((n, n), layout, || {
        let (i, j) = (at / n, at % n);
        at += 1;
        let v = value();
        let stored = if which == Triangle::Lower { j < i } else { j > i };
        if i == j {
            if diag == Diag::Unit { T::NAN } else { v + T::from_f64(diagonal) }
        } else if stored {
            v * T::from_f64(0.3)
        } else {
            T::NAN
        }
    })
}

fn check_solve<T: Real>(
    n: usize,
    rhs: usize,
    side: Side,
    which: Triangle,
    diag: Diag,
    alpha: f64,
    how: &How,
) -> Result<(), TestCaseError> {
    let alpha = T::from_f64(alpha);
    let diagonal = if how.seed.is_multiple_of(2) { 3.0 } else { -3.0 };
    let a = triangle::<T>(n, how.layouts[0], which, diag, diagonal, how.seed);
    let shape = if side == Side::Left { (n, rhs) } else { (rhs, n) };
    let b = Fenced::new(shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut want = b.clone();
    reference::solve(side, which, diag, alpha, a.view(), want.view_mut());
    with_plans(
        how,
        |plan| trsm::solve_scratch::<T>(n, rhs, plan),
        |plan, scratch| {
            let mut got = b.clone();
            trsm::solve(side, which, diag, alpha, a.view(), got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

fn check_syrk<T: Real>(
    n: usize,
    k: usize,
    alpha: f64,
    beta: f64,
    part: Part,
    diagonal: Diagonal,
    how: &How,
) -> Result<(), TestCaseError> {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let a = Fenced::new((n, k), how.layouts[0], reals::<T>(how.seed));
    // What is not read is NaN: all of C, or the other triangle. It must be NaN still, unless it is written.
    let c = if beta == T::ZERO {
        Fenced::new((n, n), how.layouts[1], || T::NAN)
    } else {
        let which = if part == Part::Upper { Triangle::Upper } else { Triangle::Lower };
        triangle::<T>(n, how.layouts[1], which, Diag::Stored, 0.0, how.seed ^ 2)
    };
    let mut want = c.clone();
    reference::syrk(alpha, a.view(), beta, part, diagonal, want.view_mut());
    with_plans(
        how,
        |plan| syrk_scratch::<T>(n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            syrk(alpha, a.view(), beta, part, diagonal, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

fn check_symm<T: Real>(
    n: usize,
    m: usize,
    side: Side,
    which: Triangle,
    alpha: f64,
    beta: f64,
    how: &How,
) -> Result<(), TestCaseError> {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let s = triangle::<T>(n, how.layouts[0], which, Diag::Stored, 0.0, how.seed);
    let shape = if side == Side::Left { (n, m) } else { (m, n) };
    let b = Fenced::new(shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut value = reals::<T>(how.seed ^ 2);
    let c = Fenced::new(shape, how.layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    reference::symm(side, which, alpha, s.view(), b.view(), beta, want.view_mut());
    with_plans(
        how,
        |plan| symm::symm_scratch::<T>(n, m, plan),
        |plan, scratch| {
            let mut got = c.clone();
            symm::symm(side, which, alpha, s.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

fn check_lu<T: Real>(n: usize, how: &How) -> Result<(), TestCaseError> {
    let a = Fenced::new((n, n), how.layouts[0], reals::<T>(how.seed));
    let mut want = a.clone();
    let mut want_pivots = vec![0; n];
    reference::lu(want.view_mut(), &mut want_pivots).unwrap();
    with_plans(
        how,
        |plan| lu::factor_scratch::<T>(n, plan),
        |plan, scratch| {
            let (mut got, mut pivots) = (a.clone(), vec![usize::MAX; n]);
            lu::factor(got.view_mut(), &mut pivots, plan, scratch).unwrap();
            prop_assert_eq!(&pivots, &want_pivots);
            same(&want, &got, plan)
        },
    )
}

fn check_cholesky<T: Real>(n: usize, how: &How) -> Result<(), TestCaseError> {
    // Diagonally dominant, so positive definite; NaN above the diagonal, before and after.
    let a = triangle::<T>(n, how.layouts[0], Triangle::Lower, Diag::Stored, 2.0 + 0.3 * n as f64, how.seed);
    let mut want = a.clone();
    reference::cholesky(want.view_mut()).unwrap();
    with_plans(
        how,
        |plan| cholesky::factor_scratch::<T>(n, plan).or(cholesky::solve_scratch::<T>(n, 3, plan)),
        |plan, scratch| {
            let mut got = a.clone();
            cholesky::factor(got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)?;
            let b = Fenced::new((n, 3), how.layouts[1], reals::<T>(how.seed ^ 3));
            let (mut x, mut want) = (b.clone(), b.clone());
            cholesky::solve(got.view(), x.view_mut(), plan, scratch).unwrap();
            reference::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, got.view(), want.view_mut());
            reference::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, got.view().t(), want.view_mut());
            same(&want, &x, plan)
        },
    )
}

const SIDES: [Side; 2] = [Side::Left, Side::Right];
const TRIANGLES: [Triangle; 2] = [Triangle::Lower, Triangle::Upper];
const DIAGS: [Diag; 2] = [Diag::Stored, Diag::Unit];
const PARTS: [Part; 3] = [Part::Lower, Part::Upper, Part::Both];
const DIAGONALS: [Diagonal; 2] = [Diagonal::Kept, Diagonal::Dropped];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn solves_equal_the_loop(
        n in size(), rhs in size(), side in select(&SIDES[..]), which in select(&TRIANGLES[..]), diag in select(&DIAGS[..]),
        alpha in scalar(), how in any_how(),
    ) {
        check_solve::<f32>(n, rhs, side, which, diag, alpha, &how)?;
        check_solve::<f64>(n, rhs, side, which, diag, alpha, &how)?;
    }

    #[test]
    fn symmetric_products_equal_the_loop(
        n in size(), k in size(), scalars in (scalar(), scalar()), part in select(&PARTS[..]), diagonal in select(&DIAGONALS[..]),
        how in any_how(),
    ) {
        check_syrk::<f32>(n, k, scalars.0, scalars.1, part, diagonal, &how)?;
        check_syrk::<f64>(n, k, scalars.0, scalars.1, part, diagonal, &how)?;
    }

    #[test]
    fn products_with_a_symmetric_matrix_equal_the_loop(
        n in size(), m in size(), scalars in (scalar(), scalar()), side in select(&SIDES[..]), which in select(&TRIANGLES[..]),
        how in any_how(),
    ) {
        check_symm::<f32>(n, m, side, which, scalars.0, scalars.1, &how)?;
        check_symm::<f64>(n, m, side, which, scalars.0, scalars.1, &how)?;
    }

    #[test]
    fn lu_equals_the_loop(n in size(), how in any_how()) {
        check_lu::<f32>(n, &how)?;
        check_lu::<f64>(n, &how)?;
    }

    #[test]
    fn cholesky_equals_the_loop(n in size(), how in any_how()) {
        check_cholesky::<f32>(n, &how)?;
        check_cholesky::<f64>(n, &how)?;
    }
}

/// Sizes with several halvings, derived blocks, chains longer than one block.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn training_widths() {
    let how = |layout, threads| How { layouts: [layout; 3], blocking: None, packing: Packing::Auto, threads, seed: 11 };
    for layout in [Layout::Rows, Layout::Columns] {
        check_lu::<f32>(333, &how(layout, 2)).unwrap();
        check_cholesky::<f32>(290, &how(layout, 2)).unwrap();
        check_syrk::<f32>(260, 130, 1.0, 0.0, Part::Both, Diagonal::Dropped, &how(layout, 2)).unwrap();
        for (side, which) in SIDES.into_iter().flat_map(|s| TRIANGLES.map(|t| (s, t))) {
            check_solve::<f32>(200, 61, side, which, Diag::Stored, 1.0, &how(layout, 2)).unwrap();
        }
    }
    check_solve::<f64>(1100, 5, Side::Right, Triangle::Upper, Diag::Unit, 1.0, &how(Layout::Rows, 1)).unwrap();
    check_lu::<f64>(256, &how(Layout::Rows, 3)).unwrap();
}

/// Single-shot checks miss races: the same factorisation many times, on two threads.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn threads_never_race() {
    // Wide enough for LU to factor panels ahead.
    let n = 140;
    let a = Fenced::new((n, n), Layout::Rows, reals::<f32>(21));
    let spd = triangle::<f32>(n, Layout::Rows, Triangle::Lower, Diag::Stored, 40.0, 22);
    let (mut lu_want, mut pivots) = (a.clone(), vec![0; n]);
    reference::lu(lu_want.view_mut(), &mut pivots).unwrap();
    let mut cholesky_want = spd.clone();
    reference::cholesky(cholesky_want.view_mut()).unwrap();
    let mut syrk_want = a.clone();
    reference::syrk(1.0, a.view(), 0.0, Part::Both, Diagonal::Kept, syrk_want.view_mut());
    let team = Team::new(3).unwrap();
    let plan = Plan { min_work: Some(1), ..Plan::new() }.with_par(Par::Team(&team));
    let mut scratch = Scratch::new();
    for round in 0..500 {
        let mut got = a.clone();
        lu::factor(got.view_mut(), &mut pivots, &plan, &mut scratch).unwrap();
        assert_eq!(first_difference(lu_want.view(), got.view()), None, "LU, round {round}");
        let mut got = spd.clone();
        cholesky::factor(got.view_mut(), &plan, &mut scratch).unwrap();
        assert_eq!(first_difference(cholesky_want.view(), got.view()), None, "Cholesky, round {round}");
        syrk(1.0, a.view(), 0.0, Part::Both, Diagonal::Kept, got.view_mut(), &plan, &mut scratch).unwrap();
        assert_eq!(first_difference(syrk_want.view(), got.view()), None, "SYRK, round {round}");
    }
}

#[test]
fn what_cannot_be_factored_is_named() {
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let n = 100;
    for bad in [0, 1, 15, 16, 47, 48, 63, 64, 77, 99] {
        let good = triangle::<f64>(n, Layout::Rows, Triangle::Lower, Diag::Stored, 40.0, 5);
        let with = |value: f64| {
            let mut a = good.clone();
            a.view_mut().set(bad, bad, value);
            a
        };
        let mut a = with(-1.0);
        assert_eq!(cholesky::factor(a.view_mut(), &plan, &mut scratch), Err(Error::NotPositive { index: bad }));
        assert_eq!(reference::cholesky(with(-1.0).view_mut()), Err(Error::NotPositive { index: bad }));
        for broken in [f64::NAN, f64::INFINITY] {
            let mut a = with(broken);
            assert_eq!(cholesky::factor(a.view_mut(), &plan, &mut scratch), Err(Error::NonFinite { index: bad }));
        }
        // A solve writes nothing if the diagonal cannot divide.
        for (value, error) in [(0.0, Error::ZeroPivot { index: bad }), (f64::NAN, Error::NonFinite { index: bad })] {
            let a = with(value);
            let mut b = vec![1.0; n];
            let view = MatMut::new(&mut b, n, 1).unwrap();
            let result = trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a.view(), view, &plan, &mut scratch);
            assert_eq!(result, Err(error));
            assert_eq!(b, vec![1.0; n]);
        }
        // A column of zeros, whatever the pivoting, stops LU there; a NaN in it is met there.
        for (value, error) in [(0.0, Error::ZeroPivot { index: bad }), (f64::NAN, Error::NonFinite { index: bad })] {
            let mut a = Fenced::new((n, n), Layout::Rows, reals::<f64>(6));
            (0..n).for_each(|i| a.view_mut().set(i, bad, if value == 0.0 || i + 1 == n { value } else { 1.0 }));
            let mut pivots = vec![0; n];
            assert_eq!(lu::factor(a.view_mut(), &mut pivots, &plan, &mut scratch), Err(error), "column {bad}");
            assert!(a.fences_stand());
        }
    }
    // The first of equally large elements is the pivot.
    let mut a = [1.0, 2.0, -1.0, 5.0];
    let mut pivots = [9; 2];
    lu::factor(MatMut::new(&mut a, 2, 2).unwrap(), &mut pivots, &plan, &mut scratch).unwrap();
    assert_eq!((a, pivots), ([1.0, 2.0, -1.0, 7.0], [0, 1]));
}

#[test]
fn wrong_shapes_are_errors_and_write_nothing() {
    let plan = Plan::new();
    let mut scratch = Scratch::new();
    let (a, mut c) = ([1f32; 6], [7f32; 6]);
    let (tall, square) = (MatRef::new(&a, 3, 2).unwrap(), MatRef::new(&a[..4], 2, 2).unwrap());
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    refused(syrk(1.0, tall, 0.0, Part::Both, Diagonal::Kept, MatMut::new(&mut c, 3, 2).unwrap(), &plan, &mut scratch));
    let (side, which) = (Side::Left, Triangle::Lower);
    refused(symm::symm(side, which, 1.0, square, tall, 0.0, MatMut::new(&mut c, 3, 2).unwrap(), &plan, &mut scratch));
    refused(symm::symm(Side::Right, which, 1.0, square, tall, 0.0, MatMut::new(&mut c, 2, 3).unwrap(), &plan, &mut scratch));
    refused(trsm::solve(side, which, Diag::Unit, 1.0, square, MatMut::new(&mut c, 3, 2).unwrap(), &plan, &mut scratch));
    refused(cholesky::factor(MatMut::new(&mut c, 3, 2).unwrap(), &plan, &mut scratch));
    refused(cholesky::solve(square, MatMut::new(&mut c, 3, 2).unwrap(), &plan, &mut scratch));
    assert_eq!(c, [7.0; 6]);
}

/// The comparators themselves: a wrong bit, a read of the other triangle and too little scratch must each be seen.
#[test]
fn the_oracles_can_fail() {
    let how = How { layouts: [Layout::Rows; 3], blocking: None, packing: Packing::Auto, threads: 1, seed: 4 };
    let want = Fenced::new((3, 3), Layout::Rows, reals::<f32>(1));
    let mut got = want.clone();
    got.view_mut().set(2, 2, f32::from_bits(want.view().get(2, 2).to_bits() ^ 1));
    assert!(same(&want, &got, &Plan::new()).is_err() && same(&want, &want, &Plan::new()).is_ok());
    // A solve told the wrong triangle meets the NaN.
    let a = triangle::<f32>(9, Layout::Rows, Triangle::Upper, Diag::Stored, 3.0, 2);
    let mut b = Fenced::new((9, 2), Layout::Rows, reals::<f32>(3));
    trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a.view(), b.view_mut(), &Plan::new(), &mut Scratch::new())
        .unwrap();
    assert!(b.view().get(8, 0).is_nan());
    let greedy = with_plans(
        &how,
        |_| Req::of::<f32>(1),
        |_, scratch| {
            scratch.reserve(Req::of::<f32>(1000)).unwrap();
            Ok(())
        },
    );
    assert!(greedy.is_err());
}
