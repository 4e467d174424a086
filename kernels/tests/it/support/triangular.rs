//! Triangular solves, symmetric products, LU and Cholesky against their naive twins, in every bit,
//! and against their residuals.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::gemmt::{gemmt, gemmt_scratch};
use gaitprop_kernels::syr2k::{syr2k, syr2k_scratch};
use gaitprop_kernels::syrk::{Diagonal, Part, syrk, syrk_scratch};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{Error, Isa, MatMut, MatRef, Plan, Real, Scratch, ScratchReq, cholesky, lu, reference, symm, trmm, trsm};

/// Which operands to compute with.
#[derive(Clone, Debug)]
pub struct How<M: Memory = Fences> {
    pub memory: M,
    pub layouts: [Layout; 3],
    pub seed: u64,
}

pub const SIDES: [Side; 2] = [Side::Left, Side::Right];
pub const TRIANGLES: [Triangle; 2] = [Triangle::Lower, Triangle::Upper];
pub const DIAGS: [Diag; 2] = [Diag::Stored, Diag::Unit];
pub const PARTS: [Part; 3] = [Part::Lower, Part::Upper, Part::Both];
pub const DIAGONALS: [Diagonal; 2] = [Diagonal::Kept, Diagonal::Dropped];

/// A square matrix with NaN outside one triangle, and on the diagonal if that is not stored;
/// `diagonal` is added on it.
pub fn triangle<T: Real, M: Memory>(
    memory: M,
    n: usize,
    layout: Layout,
    which: Triangle,
    diag: Diag,
    diagonal: f64,
    seed: u64,
) -> Fenced<T, M> {
    let mut value = reals::<T>(seed);
    let mut at = 0;
    Fenced::new_in(memory, (n, n), layout, || {
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

pub fn check_solve<T: Real, M: Memory>(
    (n, rhs): (usize, usize),
    side: Side,
    which: Triangle,
    diag: Diag,
    alpha: f64,
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    let alpha = T::from_f64(alpha);
    let diagonal = if how.seed.is_multiple_of(2) { 3.0 } else { -3.0 };
    let a = triangle::<T, M>(how.memory, n, how.layouts[0], which, diag, diagonal, how.seed);
    let shape = if side == Side::Left { (n, rhs) } else { (rhs, n) };
    let b = Fenced::new_in(how.memory, shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut want = b.clone();
    reference::solve(side, which, diag, alpha, a.view(), want.view_mut());
    with_plans(
        plans,
        |plan| trsm::solve_scratch::<T>(n, rhs, plan),
        |plan, scratch| {
            let mut got = b.clone();
            trsm::solve(side, which, diag, alpha, a.view(), got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "the result")
        },
    )
}

pub fn check_syrk<T: Real, M: Memory>(
    (n, k): (usize, usize),
    (alpha, beta): (f64, f64),
    part: Part,
    diagonal: Diagonal,
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let a = Fenced::new_in(how.memory, (n, k), how.layouts[0], reals::<T>(how.seed));
    let which = if part == Part::Upper { Triangle::Upper } else { Triangle::Lower };
    let c = result_triangle::<T, M>(n, which, beta, how.layouts[1], how);
    let mut want = c.clone();
    reference::syrk(alpha, a.view(), beta, part, diagonal, want.view_mut());
    with_plans(
        plans,
        |plan| syrk_scratch::<T>(n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            syrk(alpha, a.view(), beta, part, diagonal, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "the result")
        },
    )
}

pub fn check_symm<T: Real, M: Memory>(
    (n, m): (usize, usize),
    side: Side,
    which: Triangle,
    (alpha, beta): (f64, f64),
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let s = triangle::<T, M>(how.memory, n, how.layouts[0], which, Diag::Stored, 0.0, how.seed);
    let shape = if side == Side::Left { (n, m) } else { (m, n) };
    let b = Fenced::new_in(how.memory, shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut value = reals::<T>(how.seed ^ 2);
    let c = Fenced::new_in(how.memory, shape, how.layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    reference::symm(side, which, alpha, s.view(), b.view(), beta, want.view_mut());
    with_plans(
        plans,
        |plan| symm::symm_scratch::<T>(n, m, plan),
        |plan, scratch| {
            let mut got = c.clone();
            symm::symm(side, which, alpha, s.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "the result")
        },
    )
}

pub fn check_gemmt<T: Real, M: Memory>(
    (n, k): (usize, usize),
    scalars: (f64, f64),
    which: Triangle,
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    check_one_triangle::<T, M>((n, k), (k, n), scalars, which, how, plans, gemmt_scratch::<T>, gemmt, reference::gemmt)
}

pub fn check_syr2k<T: Real, M: Memory>(
    (n, k): (usize, usize),
    scalars: (f64, f64),
    which: Triangle,
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    check_one_triangle::<T, M>((n, k), (n, k), scalars, which, how, plans, syr2k_scratch::<T>, syr2k, reference::syr2k)
}

/// A product of A (n×k) and B of which one triangle is wanted, and its twin.
type OneTriangle<T> = fn(Triangle, T, MatRef<'_, T>, MatRef<'_, T>, T, MatMut<'_, T>, &Plan, &mut Scratch) -> Result<(), Error>;
type OneTriangleTwin<T> = fn(Triangle, T, MatRef<'_, T>, MatRef<'_, T>, T, MatMut<'_, T>);

#[allow(clippy::too_many_arguments)]
fn check_one_triangle<T: Real, M: Memory>(
    (n, k): (usize, usize),
    shape_of_b: (usize, usize),
    (alpha, beta): (f64, f64),
    which: Triangle,
    how: &How<M>,
    plans: &[Plan],
    need: fn(usize, usize, &Plan) -> ScratchReq,
    kernel: OneTriangle<T>,
    twin: OneTriangleTwin<T>,
) -> Checked {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let a = Fenced::new_in(how.memory, (n, k), how.layouts[0], reals::<T>(how.seed));
    let b = Fenced::new_in(how.memory, shape_of_b, how.layouts[1], reals::<T>(how.seed ^ 1));
    let c = result_triangle::<T, M>(n, which, beta, how.layouts[2], how);
    let mut want = c.clone();
    twin(which, alpha, a.view(), b.view(), beta, want.view_mut());
    with_plans(
        plans,
        |plan| need(n, k, plan),
        |plan, scratch| {
            let mut got = c.clone();
            kernel(which, alpha, a.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "the result")
        },
    )
}

/// C before a product of one triangle: NaN where it is neither read nor written, and everywhere if β
/// is 0. What is not written stays NaN.
fn result_triangle<T: Real, M: Memory>(n: usize, which: Triangle, beta: T, layout: Layout, how: &How<M>) -> Fenced<T, M> {
    if beta == T::ZERO {
        Fenced::new_in(how.memory, (n, n), layout, || T::NAN)
    } else {
        triangle::<T, M>(how.memory, n, layout, which, Diag::Stored, 0.0, how.seed ^ 2)
    }
}

pub fn check_trmm<T: Real, M: Memory>(
    (n, rhs): (usize, usize),
    side: Side,
    which: Triangle,
    diag: Diag,
    alpha: f64,
    how: &How<M>,
    plans: &[Plan],
) -> Checked {
    let alpha = T::from_f64(alpha);
    let a = triangle::<T, M>(how.memory, n, how.layouts[0], which, diag, 0.0, how.seed);
    let shape = if side == Side::Left { (n, rhs) } else { (rhs, n) };
    let b = Fenced::new_in(how.memory, shape, how.layouts[1], reals::<T>(how.seed ^ 1));
    let mut want = b.clone();
    reference::trmm(side, which, diag, alpha, a.view(), want.view_mut());
    with_plans(
        plans,
        |plan| trmm::product_scratch::<T>(n, rhs, plan),
        |plan, scratch| {
            let mut got = b.clone();
            trmm::product(side, which, diag, alpha, a.view(), got.view_mut(), plan, scratch).unwrap();
            same(&want, &got, "the result")
        },
    )
}

/// What stands in the way of a factorization.
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
    fn spoil<T: Real, M: Memory>(self, a: &mut Fenced<T, M>) {
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

/// LU by the bits of the textbook's loop, or its error. Then X·A = B, A·Y = Bᵀ and the estimate of
/// ‖A⁻¹‖₁, by the bits of portable kernels on one thread, and X and Y by their residuals. `n` is
/// the width of A, `rhs` the number of rows of B.
pub fn check_lu<T: Real, M: Memory>((n, rhs): (usize, usize), flaw: Flaw, how: &How<M>, plans: &[Plan]) -> Checked {
    let mut a = Fenced::new_in(how.memory, (n, n), how.layouts[0], reals::<T>(how.seed));
    flaw.spoil(&mut a);
    let mut want = a.clone();
    let mut want_pivots = vec![0; n];
    let outcome = reference::lu(want.view_mut(), &mut want_pivots);
    with_plans(
        plans,
        |plan| lu::factor_scratch::<T>(n, plan),
        |plan, scratch| {
            let (mut got, mut pivots) = (a.clone(), vec![usize::MAX; n]);
            let result = lu::factor(got.view_mut(), &mut pivots, plan, scratch);
            ensure!(result == outcome, "{result:?}, not {outcome:?}");
            ensure!(got.fences_stand(), "wrote outside");
            if result.is_err() {
                return Ok(());
            }
            ensure!(pivots == want_pivots, "pivots {pivots:?}, not {want_pivots:?}");
            same(&want, &got, "LU")
        },
    )?;
    if n == 0 || flaw != Flaw::None || outcome.is_err() {
        return Ok(());
    }
    let (factors, pivots) = (want, want_pivots);
    let b = Fenced::new_in(how.memory, (rhs, n), how.layouts[1], reals::<T>(how.seed ^ 1));
    let solved = |plan: &Plan| {
        let (mut x, mut y, scratch) = (b.clone(), b.clone(), &mut Scratch::new());
        let mut work = Fenced::new_in(how.memory, (1, 2 * n), Layout::Rows, || T::NAN);
        lu::solve_right(factors.view(), &pivots, x.view_mut(), plan, scratch).unwrap();
        lu::solve_left(factors.view(), &pivots, y.view_mut().t(), plan, scratch).unwrap();
        let norm = lu::inverse_norm1(factors.view(), &pivots, work.row_mut(), plan, scratch).unwrap();
        (x, y, norm)
    };
    let (x, y, norm) = solved(&Plan::new().with_isa(Isa::PORTABLE));
    for plan in plans {
        let (got_x, got_y, got_norm) = solved(plan);
        same(&x, &got_x, format_args!("X, {} {:?}", plan.isa, plan.par))?;
        same(&y, &got_y, format_args!("Y, {} {:?}", plan.isa, plan.par))?;
        ensure!(norm.to_bits() == got_norm.to_bits(), "‖A⁻¹‖₁, {}: {got_norm:e}, not {norm:e}", plan.isa);
    }
    // Backward stable: the residual is small beside |X||A|, by a few n·u and the growth of pivots,
    // which stays below 10 at these sizes.
    let bound = 30.0 * n as f64 * T::UNIT_ROUNDOFF;
    residual(x.view(), a.view(), b.view(), bound)?;
    residual(y.view(), a.view().t(), b.view(), bound)
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

/// Cholesky by the bits of the textbook's loop, or its error; the solve of `rhs` columns by its
/// bits and by its residual.
pub fn check_cholesky<T: Real, M: Memory>((n, rhs): (usize, usize), flaw: Flaw, how: &How<M>, plans: &[Plan]) -> Checked {
    // Diagonally dominant, so positive definite; NaN above the diagonal, before and after.
    let dominant = 2.0 + 0.3 * n as f64;
    let mut a = triangle::<T, M>(how.memory, n, how.layouts[0], Triangle::Lower, Diag::Stored, dominant, how.seed);
    if let Flaw::Element(row, col, value) = flaw
        && n > 0
    {
        let (row, col) = (row % n, col % n);
        a.view_mut().set(row.max(col), row.min(col), T::from_f64(value));
    }
    let mut l = a.clone();
    let outcome = reference::cholesky(l.view_mut());
    let b = Fenced::new_in(how.memory, (n, rhs), how.layouts[1], reals::<T>(how.seed ^ 3));
    let mut x = b.clone();
    if outcome.is_ok() {
        reference::solve(Side::Left, Triangle::Lower, Diag::Stored, T::ONE, l.view(), x.view_mut());
        reference::solve(Side::Left, Triangle::Upper, Diag::Stored, T::ONE, l.view().t(), x.view_mut());
    }
    with_plans(
        plans,
        |plan| cholesky::factor_scratch::<T>(n, plan).or(cholesky::solve_scratch::<T>(n, rhs, plan)),
        |plan, scratch| {
            let mut got = a.clone();
            let result = cholesky::factor(got.view_mut(), plan, scratch);
            ensure!(result == outcome, "{result:?}, not {outcome:?}");
            ensure!(got.fences_stand(), "wrote outside");
            if result.is_err() {
                return Ok(());
            }
            same(&l, &got, "L")?;
            let mut got_x = b.clone();
            cholesky::solve(got.view(), got_x.view_mut(), plan, scratch).unwrap();
            same(&x, &got_x, "X")
        },
    )?;
    if outcome.is_err() || flaw != Flaw::None {
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
}
