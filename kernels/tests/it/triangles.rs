//! Triangular solves, symmetric products, LU and Cholesky equal their naive twins in every bit,
//! read only the triangles they may, write only what they say, and need no more scratch than they
//! say.

use crate::support::triangular::*;
use crate::support::*;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{Error, MatMut, Par, Plan, Scratch, cholesky, lu, reference, trsm};
use proptest::prelude::*;
use proptest::sample::select;

fn any_how() -> impl Strategy<Value = How> {
    ([any_layout(), any_layout(), any_layout()], any::<u64>()).prop_map(|(layouts, seed)| How { memory: Fences, layouts, seed })
}

fn any_flaw() -> impl Strategy<Value = Flaw> {
    let value = select(&[0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1e30][..]);
    prop_oneof![
        5 => Just(Flaw::None),
        1 => any::<usize>().prop_map(Flaw::ZeroColumn),
        1 => any::<(usize, usize)>().prop_map(|(one, other)| Flaw::TwinRows(one, other)),
        2 => (any::<usize>(), any::<usize>(), value).prop_map(|(i, j, value)| Flaw::Element(i, j, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn solves_equal_the_loop(
        n in size(), rhs in size(), side in select(&SIDES[..]), which in select(&TRIANGLES[..]), diag in select(&DIAGS[..]),
        alpha in any_scalar(), how in any_how(), ways in any_ways(),
    ) {
        ways.all(|plans| check_solve::<f32, _>((n, rhs), side, which, diag, alpha, &how, plans))?;
        ways.all(|plans| check_solve::<f64, _>((n, rhs), side, which, diag, alpha, &how, plans))?;
    }

    #[test]
    fn symmetric_products_equal_the_loop(
        n in size(), k in size(), scalars in (any_scalar(), any_scalar()), part in select(&PARTS[..]), diagonal in select(&DIAGONALS[..]),
        how in any_how(), ways in any_ways(),
    ) {
        ways.all(|plans| check_syrk::<f32, _>((n, k), scalars, part, diagonal, &how, plans))?;
        ways.all(|plans| check_syrk::<f64, _>((n, k), scalars, part, diagonal, &how, plans))?;
    }

    #[test]
    fn products_with_a_symmetric_matrix_equal_the_loop(
        n in size(), m in size(), scalars in (any_scalar(), any_scalar()), side in select(&SIDES[..]), which in select(&TRIANGLES[..]),
        how in any_how(), ways in any_ways(),
    ) {
        ways.all(|plans| check_symm::<f32, _>((n, m), side, which, scalars, &how, plans))?;
        ways.all(|plans| check_symm::<f64, _>((n, m), side, which, scalars, &how, plans))?;
    }

    #[test]
    fn products_of_one_triangle_equal_the_loop(
        n in size(), k in size(), scalars in (any_scalar(), any_scalar()), which in select(&TRIANGLES[..]), how in any_how(),
        ways in any_ways(),
    ) {
        ways.all(|plans| check_gemmt::<f32, _>((n, k), scalars, which, &how, plans))?;
        ways.all(|plans| check_gemmt::<f64, _>((n, k), scalars, which, &how, plans))?;
        ways.all(|plans| check_syr2k::<f32, _>((n, k), scalars, which, &how, plans))?;
        ways.all(|plans| check_syr2k::<f64, _>((n, k), scalars, which, &how, plans))?;
    }

    #[test]
    fn products_with_a_triangle_equal_the_loop(
        n in size(), rhs in size(), side in select(&SIDES[..]), which in select(&TRIANGLES[..]), diag in select(&DIAGS[..]),
        alpha in any_scalar(), how in any_how(), ways in any_ways(),
    ) {
        ways.all(|plans| check_trmm::<f32, _>((n, rhs), side, which, diag, alpha, &how, plans))?;
        ways.all(|plans| check_trmm::<f64, _>((n, rhs), side, which, diag, alpha, &how, plans))?;
    }

    #[test]
    fn lu_equals_the_loop(n in size(), flaw in any_flaw(), how in any_how(), ways in any_ways()) {
        ways.all(|plans| check_lu::<f32, _>((n, 5), flaw, &how, plans))?;
        ways.all(|plans| check_lu::<f64, _>((n, 5), flaw, &how, plans))?;
    }

    #[test]
    fn cholesky_equals_the_loop(n in size(), flaw in any_flaw(), how in any_how(), ways in any_ways()) {
        ways.all(|plans| check_cholesky::<f32, _>((n, 3), flaw, &how, plans))?;
        ways.all(|plans| check_cholesky::<f64, _>((n, 3), flaw, &how, plans))?;
    }
}

/// Sizes with several halvings, derived blocks, chains longer than one block.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn training_widths() {
    let how = |layout| How { memory: Fences, layouts: [layout; 3], seed: 11 };
    for layout in [Layout::Rows, Layout::Columns] {
        Ways::usual(2).all(|plans| check_lu::<f32, _>((333, 5), Flaw::None, &how(layout), plans)).unwrap();
        Ways::usual(2).all(|plans| check_lu::<f32, _>((500, 5), Flaw::None, &how(layout), plans)).unwrap();
        Ways::usual(2).all(|plans| check_cholesky::<f32, _>((290, 3), Flaw::None, &how(layout), plans)).unwrap();
        Ways::usual(2)
            .all(|plans| check_syrk::<f32, _>((260, 130), (1.0, 0.0), Part::Both, Diagonal::Dropped, &how(layout), plans))
            .unwrap();
        for (side, which) in SIDES.into_iter().flat_map(|s| TRIANGLES.map(|t| (s, t))) {
            Ways::usual(2)
                .all(|plans| check_trmm::<f32, _>((200, 61), side, which, Diag::Stored, 1.0, &how(layout), plans))
                .unwrap();
            Ways::usual(2)
                .all(|plans| check_solve::<f32, _>((200, 61), side, which, Diag::Stored, 1.0, &how(layout), plans))
                .unwrap();
        }
    }
    Ways::usual(1)
        .all(|plans| check_solve::<f64, _>((1100, 5), Side::Right, Triangle::Upper, Diag::Unit, 1.0, &how(Layout::Rows), plans))
        .unwrap();
    Ways::usual(1)
        .all(|plans| check_trmm::<f64, _>((1100, 5), Side::Right, Triangle::Upper, Diag::Unit, 1.0, &how(Layout::Rows), plans))
        .unwrap();
    Ways::usual(3).all(|plans| check_lu::<f64, _>((256, 5), Flaw::None, &how(Layout::Rows), plans)).unwrap();
}

/// The same factorizations many times on three threads, each compared: one call seldom meets a
/// race.
#[test]
fn threads_never_race() {
    // Wide enough for LU to factor panels ahead; too wide for Miri, where it is not.
    let (n, rounds) = if cfg!(miri) { (20, 2) } else { (140, 500) };
    let a = Fenced::new((n, n), Layout::Rows, reals::<f32>(21));
    let spd = triangle::<f32, _>(Fences, n, Layout::Rows, Triangle::Lower, Diag::Stored, 40.0, 22);
    let (mut lu_want, mut pivots) = (a.clone(), vec![0; n]);
    reference::lu(lu_want.view_mut(), &mut pivots).unwrap();
    let mut cholesky_want = spd.clone();
    reference::cholesky(cholesky_want.view_mut()).unwrap();
    let mut syrk_want = a.clone();
    reference::syrk(1.0, a.view(), 0.0, Part::Both, Diagonal::Kept, syrk_want.view_mut());
    let team = Par::team(3).unwrap();
    let plan = Plan::new().with_min_work(1).with_par(team.clone());
    let mut scratch = Scratch::new();
    for round in 0..rounds {
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
    let places = [0, 1, 15, 16, 47, 48, 63, 64, 77, 99];
    let n = if cfg!(miri) { 20 } else { 100 };
    for bad in places.into_iter().filter(|&bad| bad < n) {
        let good = triangle::<f64, _>(Fences, n, Layout::Rows, Triangle::Lower, Diag::Stored, 40.0, 5);
        let with = |value: f64| {
            let mut a = good.clone();
            a.view_mut().set(bad, bad, value);
            a
        };
        let mut a = with(-1.0);
        assert_eq!(cholesky::factor(a.view_mut(), &plan, &mut scratch), Err(Error::NotPositiveDefinite { index: bad }));
        assert_eq!(reference::cholesky(with(-1.0).view_mut()), Err(Error::NotPositiveDefinite { index: bad }));
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

/// A solve that reads the wrong triangle meets its NaN.
#[test]
fn a_read_of_the_other_triangle_is_seen() {
    let a = triangle::<f32, _>(Fences, 9, Layout::Rows, Triangle::Upper, Diag::Stored, 3.0, 2);
    let mut b = Fenced::new((9, 2), Layout::Rows, reals::<f32>(3));
    let (plan, scratch) = (Plan::new(), &mut Scratch::new());
    trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a.view(), b.view_mut(), &plan, scratch).unwrap();
    assert!(b.view().get(8, 0).is_nan());
}
