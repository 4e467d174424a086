//! Triangular solves, symmetric products, LU and Cholesky against their naive twins, in every bit, and against their residuals.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk, syrk_scratch};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{MatRef, Plan, Real, Scratch, ScratchReq, cholesky, lu, reference, symm, trsm};

/// On what to compute.
#[derive(Clone, Debug)]
pub struct How {
    pub layouts: [Layout; 3],
    pub seed: u64,
}

pub const SIDES: [Side; 2] = [Side::Left, Side::Right];
pub const TRIANGLES: [Triangle; 2] = [Triangle::Lower, Triangle::Upper];
pub const DIAGS: [Diag; 2] = [Diag::Stored, Diag::Unit];
pub const PARTS: [Part; 3] = [Part::Lower, Part::Upper, Part::Both];
pub const DIAGONALS: [Diagonal; 2] = [Diagonal::Kept, Diagonal::Dropped];

/// Runs `f` with each plan, and with exactly the scratch that it says it needs.
pub fn with_plans(
    plans: &[Plan],
    need: impl Fn(&Plan) -> ScratchReq,
    mut f: impl FnMut(&Plan, &mut Scratch) -> Checked,
) -> Checked {
    for plan in plans {
        let mut scratch = Scratch::new();
        scratch.reserve(need(plan)).unwrap();
        let reserved = scratch.capacity();
        f(plan, &mut scratch)?;
        ensure!(scratch.capacity() == reserved, "too little scratch was asked for");
    }
    Ok(())
}

/// Equal bits, and nothing written outside.
pub fn same<T: Real>(want: &Fenced<T>, got: &Fenced<T>, plan: &Plan) -> Checked {
    let difference = first_difference(want.view(), got.view());
    ensure!(difference.is_none(), "{} {:?}: {}", plan.isa, plan.par, difference.unwrap());
    ensure!(got.fences_stand(), "{}: wrote outside", plan.isa);
    Ok(())
}

/// A square matrix with NaN outside one triangle, and on the diagonal if that is not stored; `diagonal` is added on it.
pub fn triangle<T: Real>(n: usize, layout: Layout, which: Triangle, diag: Diag, diagonal: f64, seed: u64) -> Fenced<T> {
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

pub fn check_solve<T: Real>(
    (n, rhs): (usize, usize),
    side: Side,
    which: Triangle,
    diag: Diag,
    alpha: f64,
    how: &How,
    plans: &[Plan],
) -> Checked {
    let alpha = T::from_f64(alpha);
    let diagonal = if how.seed.is_multiple_of(2) { 3.0 } else { -3.0 };
    let a = triangle::<T>(n, how.layouts[0], which, diag, diagonal, how.seed);
    let shape = if side == Side::Left { (n, rhs) } else { (rhs, n) };
    let b = Fenced::new(shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut want = b.clone();
    reference::solve(side, which, diag, alpha, a.view(), want.view_mut());
    with_plans(
        plans,
        |plan| trsm::solve_scratch::<T>(n, rhs, plan),
        |plan, scratch| {
            let mut got = b.clone();
            trsm::solve(side, which, diag, alpha, a.view(), got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

pub fn check_syrk<T: Real>(
    (n, k): (usize, usize),
    (alpha, beta): (f64, f64),
    part: Part,
    diagonal: Diagonal,
    how: &How,
    plans: &[Plan],
) -> Checked {
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
        plans,
        |plan| syrk_scratch::<T>(n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            syrk(alpha, a.view(), beta, part, diagonal, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

pub fn check_symm<T: Real>(
    (n, m): (usize, usize),
    side: Side,
    which: Triangle,
    (alpha, beta): (f64, f64),
    how: &How,
    plans: &[Plan],
) -> Checked {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let s = triangle::<T>(n, how.layouts[0], which, Diag::Stored, 0.0, how.seed);
    let shape = if side == Side::Left { (n, m) } else { (m, n) };
    let b = Fenced::new(shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut value = reals::<T>(how.seed ^ 2);
    let c = Fenced::new(shape, how.layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    reference::symm(side, which, alpha, s.view(), b.view(), beta, want.view_mut());
    with_plans(
        plans,
        |plan| symm::symm_scratch::<T>(n, m, plan),
        |plan, scratch| {
            let mut got = c.clone();
            symm::symm(side, which, alpha, s.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, plan)
        },
    )
}

/// What stands in the way of a factorisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    None,
    /// A column of zeros: singular.
    ZeroColumn(usize),
    /// Two rows are the same: singular, but perhaps not after rounding.
    TwinRows(usize, usize),
    /// One element is this.
    Element(usize, usize, f64),
}

impl Flaw {
    fn spoil<T: Real>(self, a: &mut Fenced<T>) {
        let n = a.shape.0;
        for j in 0..n {
            match self {
                Self::ZeroColumn(col) => a.view_mut().set(j, col % n, T::ZERO),
                Self::TwinRows(one, other) => {
                    let value = a.view().get(one % n, j);
                    a.view_mut().set(other % n, j, value);
                }
                Self::Element(row, col, value) => a.view_mut().set(row % n, col % n, T::from_f64(value)),
                Self::None => {}
            }
        }
    }
}

/// LU by the bits of the textbook's loop, or its error; and X·A = B and A·Y = Bᵀ by their residuals.
pub fn check_lu<T: Real>(n: usize, flaw: Flaw, how: &How, plans: &[Plan]) -> Checked {
    let mut a = Fenced::new((n, n), how.layouts[0], reals::<T>(how.seed));
    flaw.spoil(&mut a);
    let mut want = a.clone();
    let mut want_pivots = vec![0; n];
    let outcome = reference::lu(want.view_mut(), &mut want_pivots);
    let batch = 5;
    let b = Fenced::new((batch, n), Layout::Rows, reals::<T>(how.seed ^ 1));
    with_plans(
        plans,
        |plan| lu::factor_scratch::<T>(n, plan),
        |plan, scratch| {
            let (mut got, mut pivots) = (a.clone(), vec![usize::MAX; n]);
            let result = lu::factor(got.view_mut(), &mut pivots, plan, scratch);
            ensure!(result == outcome, "{}: {result:?}, not {outcome:?}", plan.isa);
            ensure!(got.fences_stand(), "{}: wrote outside", plan.isa);
            if result.is_err() {
                return Ok(());
            }
            ensure!(pivots == want_pivots, "{}: pivots {pivots:?}, not {want_pivots:?}", plan.isa);
            same(&want, &got, plan)?;
            if n == 0 || flaw != Flaw::None {
                return Ok(());
            }
            let mut scratch = Scratch::new();
            let (mut x, mut y) = (b.clone(), b.clone());
            lu::solve_right(got.view(), &pivots, x.view_mut(), plan, &mut scratch).unwrap();
            lu::solve_left(got.view(), &pivots, y.view_mut().t(), plan, &mut scratch).unwrap();
            // Backward stable: the residual is small beside |X||A|, by a few n·u and the growth of pivots, which stays below 10 at these sizes.
            let bound = 30.0 * n as f64 * T::UNIT_ROUNDOFF;
            residual(x.view(), a.view(), b.view(), bound)?;
            residual(y.view(), a.view().t(), b.view(), bound)
        },
    )
}

/// |X·A − B| ≤ bound·(|X||A| + 1), element by element, summed in f64.
pub fn residual<T: Real>(x: MatRef<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>, bound: f64) -> Checked {
    for i in 0..b.nrows() {
        for j in 0..b.ncols() {
            let (mut sum, mut size) = (0.0, 1.0);
            for k in 0..a.nrows() {
                let p = x.get(i, k).to_f64() * a.get(k, j).to_f64();
                sum += p;
                size += p.abs();
            }
            let error = (sum - b.get(i, j).to_f64()).abs();
            ensure!(error <= bound * size, "residual {error:e} of ({i}, {j}) is above {:e}", bound * size);
        }
    }
    Ok(())
}

/// Cholesky by the bits of the textbook's loop, or its error; the solve by its bits and by its residual.
pub fn check_cholesky<T: Real>(n: usize, flaw: Flaw, how: &How, plans: &[Plan]) -> Checked {
    // Diagonally dominant, so positive definite; NaN above the diagonal, before and after.
    let mut a = triangle::<T>(n, how.layouts[0], Triangle::Lower, Diag::Stored, 2.0 + 0.3 * n as f64, how.seed);
    if let Flaw::Element(row, col, value) = flaw
        && n > 0
    {
        let (row, col) = (row % n, col % n);
        a.view_mut().set(row.max(col), row.min(col), T::from_f64(value));
    }
    let mut want = a.clone();
    let outcome = reference::cholesky(want.view_mut());
    with_plans(
        plans,
        |plan| cholesky::factor_scratch::<T>(n, plan).or(cholesky::solve_scratch::<T>(n, 3, plan)),
        |plan, scratch| {
            let mut got = a.clone();
            let result = cholesky::factor(got.view_mut(), plan, scratch);
            ensure!(result == outcome, "{}: {result:?}, not {outcome:?}", plan.isa);
            ensure!(got.fences_stand(), "{}: wrote outside", plan.isa);
            if result.is_err() {
                return Ok(());
            }
            same(&want, &got, plan)?;
            let b = Fenced::new((n, 3), how.layouts[1], reals::<T>(how.seed ^ 3));
            let (mut x, mut want) = (b.clone(), b.clone());
            cholesky::solve(got.view(), x.view_mut(), plan, scratch).unwrap();
            reference::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, got.view(), want.view_mut());
            reference::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, got.view().t(), want.view_mut());
            same(&want, &x, plan)?;
            if flaw != Flaw::None {
                return Ok(());
            }
            // A is symmetric: its other triangle is this one.
            let mut whole = Fenced::new((n, n), Layout::Rows, || T::ZERO);
            for i in 0..n {
                for j in 0..n {
                    whole.view_mut().set(i, j, a.view().get(i.max(j), i.min(j)));
                }
            }
            residual(x.view().t(), whole.view(), b.view().t(), 30.0 * n as f64 * T::UNIT_ROUNDOFF)
        },
    )
}
