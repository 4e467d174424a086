//! GEMM equals the naive chain in every bit, on all instruction sets and with all blocks, layouts,
//! scalars and thread counts. A row has the same bits in every batch, through a product and through
//! a solve.

use crate::ensure;
use crate::support::product::*;
use crate::support::triangular::{DIAGS, TRIANGLES, triangle};
use crate::support::*;
use gaitprop_kernels::trsm::{self, Side};
use gaitprop_kernels::{Isa, MatMut, Packing, Par, Plan, Real, Scratch, gemm, lu, reference};
use proptest::prelude::*;

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (size(), size(), size());
    (sizes, [any_layout(), any_layout(), any_layout()], (any_scalar(), any_scalar()), any::<u64>())
        .prop_map(|(shape, layouts, (alpha, beta), seed)| Case { shape, layouts, alpha, beta, seed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_the_chain_f32(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f32, _>(Fences, &case, plans))?;
    }

    #[test]
    fn equals_the_chain_f64(case in cases(), ways in any_ways()) {
        ways.all(|plans| check::<f64, _>(Fences, &case, plans))?;
    }
}

/// Which rows of a result are computed apart from the others.
#[derive(Clone, Copy, Debug)]
struct Apart {
    alone: usize,
    /// Number of rows in the first of two parts.
    cut: usize,
    layout: Layout,
}

/// At least one row, and some of them apart.
fn batches() -> impl Strategy<Value = (Case, Apart)> {
    (cases(), any::<(usize, usize)>(), any_layout()).prop_map(|(mut case, (alone, cut), layout)| {
        let rows = case.shape.0.max(1);
        case.shape.0 = rows;
        (case, Apart { alone: alone % rows, cut: cut % (rows + 1), layout })
    })
}

/// Checks that a row computed alone, and rows computed in two parts, have the bits of the rows of
/// `together`. `compute(c, first)` overwrites `c`, which are the rows of `before` from `first` on.
fn check_rows<T: Real>(
    together: &Fenced<T>,
    before: &Fenced<T>,
    Apart { alone, cut, layout }: Apart,
    mut compute: impl FnMut(MatMut<'_, T>, usize),
) -> Checked {
    let (rows, columns) = before.shape;
    for (first, count) in [(alone, 1), (0, cut), (cut, rows - cut)] {
        let mut apart = Fenced::new((count, columns), layout, || T::ZERO);
        copy_into(before.view().rows(first, count), apart.view_mut());
        compute(apart.view_mut(), first);
        let difference = first_difference(together.view().rows(first, count), apart.view());
        ensure!(difference.is_none(), "{count} rows from {first} on: {}", difference.unwrap());
        ensure!(apart.fences_stand(), "{count} rows from {first} on: wrote outside");
    }
    Ok(())
}

/// Calls `check` with a computation of products by each plan: its result for all rows, C before it,
/// and itself.
fn product_rows<T: Real>(
    case: &Case,
    plans: &[Plan],
    mut check: impl FnMut(&Fenced<T>, &Fenced<T>, &mut dyn FnMut(MatMut<'_, T>, usize)) -> Checked,
) -> Checked {
    let ((m, n, k), layouts) = (case.shape, case.layouts);
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let a = Fenced::new((m, k), layouts[0], &mut value);
    let b = Fenced::new((k, n), layouts[1], &mut value);
    let c = Fenced::new((m, n), layouts[2], &mut value);
    for plan in plans {
        let mut compute = |c: MatMut<'_, T>, first| {
            let a = a.view().rows(first, c.nrows());
            gemm(alpha, a, b.view(), beta, c, plan, &mut Scratch::new()).unwrap();
        };
        let mut together = c.clone();
        compute(together.view_mut(), 0);
        check(&together, &c, &mut compute).map_err(|wrong| format!("{} {:?}: {wrong}", plan.isa, plan.par))?;
    }
    Ok(())
}

/// As [`product_rows`], for solves from the right: with each kind of triangle, and with the factors
/// of a matrix.
fn solve_rows<T: Real>(
    case: &Case,
    plans: &[Plan],
    mut check: impl FnMut(&Fenced<T>, &Fenced<T>, &mut dyn FnMut(MatMut<'_, T>, usize)) -> Checked,
) -> Checked {
    let ((rows, n, _), layouts, seed) = (case.shape, case.layouts, case.seed);
    let b = Fenced::new((rows, n), layouts[1], reals::<T>(seed));
    let mut factors = Fenced::new((n, n), layouts[0], reals::<T>(seed ^ 1));
    let mut pivots = vec![0; n];
    reference::lu(factors.view_mut(), &mut pivots).unwrap();
    let kinds = TRIANGLES.into_iter().flat_map(|which| DIAGS.map(|diag| (which, diag)));
    let triangles: Vec<_> =
        kinds.map(|(which, diag)| (which, diag, triangle::<T, _>(Fences, n, layouts[0], which, diag, 3.0, seed ^ 2))).collect();
    for plan in plans {
        let (mut together, scratch) = (b.clone(), &mut Scratch::new());
        let mut compute = |x: MatMut<'_, T>, _| lu::solve_right(factors.view(), &pivots, x, plan, scratch).unwrap();
        compute(together.view_mut(), 0);
        check(&together, &b, &mut compute).map_err(|wrong| format!("LU, {} {:?}: {wrong}", plan.isa, plan.par))?;
        for &(which, diag, ref a) in &triangles {
            let mut together = b.clone();
            let mut compute = |x: MatMut<'_, T>, _| {
                trsm::solve(Side::Right, which, diag, T::ONE, a.view(), x, plan, scratch).unwrap();
            };
            compute(together.view_mut(), 0);
            let checked = check(&together, &b, &mut compute);
            checked.map_err(|wrong| format!("{which:?} {diag:?}, {} {:?}: {wrong}", plan.isa, plan.par))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn batch_invariant_products((case, apart) in batches(), ways in any_ways()) {
        ways.all(|plans| product_rows::<f32>(&case, plans, |together, c, compute| check_rows(together, c, apart, compute)))?;
        ways.all(|plans| product_rows::<f64>(&case, plans, |together, c, compute| check_rows(together, c, apart, compute)))?;
    }

    #[test]
    fn batch_invariant_solves((case, apart) in batches(), ways in any_ways()) {
        ways.all(|plans| solve_rows::<f32>(&case, plans, |together, b, compute| check_rows(together, b, apart, compute)))?;
        ways.all(|plans| solve_rows::<f64>(&case, plans, |together, b, compute| check_rows(together, b, apart, compute)))?;
    }
}

/// One wrong bit in a row of the batch is seen: in the row alone, in the first part and in the
/// second.
#[test]
#[cfg_attr(miri, ignore = "is about the test")]
fn batch_invariance_can_fail() {
    fn spoiled<T: Real>(together: &Fenced<T>, before: &Fenced<T>, compute: &mut dyn FnMut(MatMut<'_, T>, usize)) -> Checked {
        for (wrong, alone, cut, found) in [(3, 3, 4, "1 rows from 3 "), (0, 3, 2, "2 rows from 0 "), (6, 3, 2, "5 rows from 2 ")]
        {
            let apart = Apart { alone, cut, layout: Layout::Rows };
            check_rows(together, before, apart, &mut *compute)?;
            let mut spoiled = together.clone();
            let right = spoiled.view().get(wrong, 4);
            spoiled.view_mut().set(wrong, 4, one_bit_off(right));
            let checked = check_rows(&spoiled, before, apart, &mut *compute);
            ensure!(checked.as_ref().is_err_and(|what| what.starts_with(found)), "a wrong bit in row {wrong}: {checked:?}");
        }
        Ok(())
    }
    let case = Case { shape: (7, 9, 5), layouts: [Layout::Rows; 3], alpha: 1.0, beta: 0.5, seed: 3 };
    Ways::usual(2).all(|plans| product_rows::<f32>(&case, plans, spoiled)).unwrap();
    Ways::usual(2).all(|plans| product_rows::<f64>(&case, plans, spoiled)).unwrap();
    Ways::usual(2).all(|plans| solve_rows::<f32>(&case, plans, spoiled)).unwrap();
    Ways::usual(2).all(|plans| solve_rows::<f64>(&case, plans, spoiled)).unwrap();
}

/// Every tile height and every number of columns left over, with derived blocks.
#[test]
fn every_edge_of_the_register_tile() {
    fn all<T: Real>() {
        let crew = Crew::new(1);
        for plan in crew.plans(None, Packing::Auto, 1) {
            // Few under Miri, and on this thread alone.
            let step = if cfg!(miri) { 7 } else { 1 };
            if cfg!(miri) && !matches!(plan.par, Par::Seq) {
                continue;
            }
            for m in (0..=30).step_by(step) {
                let widths = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 64, 65];
                for n in widths.into_iter().skip(m / step % step).step_by(step) {
                    let mut value = reals::<T>((m * 100 + n) as u64);
                    let a = Fenced::new((m, 5), Layout::Rows, &mut value);
                    let b = Fenced::new((5, n), Layout::Rows, &mut value);
                    let mut got = Fenced::new((m, n), Layout::PaddedRows, &mut value);
                    let mut want = got.clone();
                    reference::gemm(T::ONE, a.view(), b.view(), T::ONE, want.view_mut());
                    gemm(T::ONE, a.view(), b.view(), T::ONE, got.view_mut(), &plan, &mut Scratch::new()).unwrap();
                    assert_eq!(first_difference(want.view(), got.view()), None, "{} {m}x{n}", plan.isa);
                    assert!(got.fences_stand());
                }
            }
        }
    }
    all::<f32>();
    all::<f64>();
}

/// The shapes of training, chains longer than one block, derived blocks.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn training_shapes() {
    fn one<T: Real>(m: usize, n: usize, k: usize, layouts: [Layout; 3]) {
        let mut value = reals::<T>((m + n + k) as u64);
        let a = Fenced::new((m, k), layouts[0], &mut value);
        let b = Fenced::new((k, n), layouts[1], &mut value);
        let mut want = Fenced::new((m, n), layouts[2], &mut value);
        let c = want.clone();
        reference::gemm(T::from_f64(-0.3), a.view(), b.view(), T::ONE, want.view_mut());
        let crew = Crew::new(2);
        for plan in crew.plans(None, Packing::Auto, 1) {
            let mut got = c.clone();
            gemm(T::from_f64(-0.3), a.view(), b.view(), T::ONE, got.view_mut(), &plan, &mut Scratch::new()).unwrap();
            assert_eq!(first_difference(want.view(), got.view()), None, "{} {m}x{n}x{k}", plan.isa);
        }
    }
    use Layout::*;
    one::<f32>(60, 196, 196, [Rows, Rows, Rows]);
    one::<f32>(60, 196, 196, [Rows, Columns, Rows]);
    one::<f32>(196, 196, 60, [Columns, Rows, Rows]);
    one::<f64>(60, 130, 131, [Rows, Rows, Columns]);
    one::<f32>(17, 33, 2600, [Rows, Rows, Rows]);
    one::<f64>(9, 17, 1300, [Columns, Columns, Spread]);
    one::<f32>(300, 3, 40, [Rows, Rows, Rows]);
    // More columns than a product with A in place has.
    one::<f32>(20, 910, 20, [Rows, Rows, Rows]);
}

/// Many calls on several threads, each compared: one call seldom meets a race.
#[test]
fn threads_never_race() {
    let ((m, n, k), rounds) = if cfg!(miri) { ((9, 20, 3), 4) } else { ((60, 120, 40), 5000) };
    let mut value = reals::<f32>(7);
    let a = Fenced::new((m, k), Layout::Rows, &mut value);
    let b = Fenced::new((k, n), Layout::Rows, &mut value);
    let mut want = Fenced::new((m, n), Layout::Rows, &mut value);
    reference::gemm(1.0, a.view(), b.view(), 0.0, want.view_mut());
    let crew = Crew::new(4);
    let mut scratch = Scratch::new();
    let mut got = want.clone();
    for (par, packing) in
        [(crew.shared(), Packing::Auto), (crew.team.clone(), Packing::Auto), (crew.team.clone(), Packing::Always)]
    {
        let plan = Plan::new().with_min_work(1).with_packing(packing).with_par(par.clone());
        for round in 0..rounds {
            got.data.fill(f32::NAN);
            gemm(1.0, a.view(), b.view(), 0.0, got.view_mut(), &plan, &mut scratch).unwrap();
            assert_eq!(first_difference(want.view(), got.view()), None, "{par:?} {packing:?}, round {round}");
        }
    }
}

/// A plan runs the instruction set that it names: its tile says so, and the tiles differ.
#[test]
fn forced_instruction_sets_are_the_ones_that_run() {
    let mut names: Vec<String> = Isa::available()
        .map(|isa| {
            let name = Plan::new().with_isa(isa).kernel_name::<f32>();
            assert!(name.ends_with(isa.name()), "{name} for {isa}");
            name
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), Isa::available().count());
    // A machine that CI names for an instruction set must have it: `GAITPROP_EXPECT_ISA=avx512
    // cargo test` fails elsewhere.
    if let Ok(expected) = std::env::var("GAITPROP_EXPECT_ISA") {
        for name in expected.split(',') {
            Isa::named(name).unwrap();
        }
    }
}
