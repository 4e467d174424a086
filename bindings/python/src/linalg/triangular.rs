//! Triangular solves.

use super::{Solutions, Work, copy, finish};
use crate::array::{Core, Operand, View};
use crate::linalg::options::transposed;
use crate::linalg::stack::Loops;
use gaitprop_kernels::trsm::{Diag, Side, Triangle, solve};
use gaitprop_kernels::{Error, Plan, Real, Scratch};
use pyo3::prelude::*;

/// Solution of linear equations with a triangular matrix.
///
/// Solves ``a @ x = b``, or ``a.T @ x = b``. The result has the same bits on every CPU and for any
/// number of threads.
///
/// Parameters
/// ----------
/// a : array_like of float32 or float64
///     Shape (..., n, n). Only one triangle is read.
/// b : array_like of the same dtype
///     Shape (n,), or (..., n, k). Stacks broadcast.
/// out : ndarray, optional
///     The array to write. It has the shape and dtype of the result and shares no memory with `a`
///     and `b`. It is unchanged after an error.
/// trans : {0, 1, 2, 'N', 'T', 'C'}, optional
///     0 or 'N' solves with `a`, the others with its transpose.
/// lower : bool, optional
///     Whether the lower triangle of `a` is read; by default the upper one.
/// unit_diagonal : bool, optional
///     Takes the diagonal of `a` as ones and does not read it.
/// threads : int, optional
///     The number of threads; by default that of `gaitprop.set_num_threads`.
///
/// Returns
/// -------
/// ndarray
///     `out`, or a new array (..., n) or (..., n, k).
///
/// Raises
/// ------
/// gaitprop.SingularMatrixError
///     If the diagonal holds a 0. It is also a `numpy.linalg.LinAlgError`.
/// gaitprop.Error
///     If the shapes do not match, the diagonal holds an infinity or NaN, or an array has a layout
///     that `matmul` refuses, too.
/// TypeError
///     If a dtype is neither float32 nor float64 in this machine's byte order, or dtypes differ.
/// MemoryError
///     If the system refuses memory.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> a = np.array([[2.0, np.nan], [1.0, 4.0]])
/// >>> linalg.solve_triangular(a, np.array([2.0, 9.0]), lower=True)
/// array([1., 2.])
#[pyfunction]
#[pyo3(signature = (a, b, /, out=None, *, trans=None, lower=false, unit_diagonal=false, threads=None), text_signature = "(a, b, /, out=None, *, trans=0, lower=False, unit_diagonal=False, threads=None)")]
#[allow(clippy::too_many_arguments, reason = "Python passes an option as an argument")]
pub(crate) fn solve_triangular<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    trans: Option<&Bound<'py, PyAny>>,
    lower: bool,
    unit_diagonal: bool,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let transposed = trans.map_or(Ok(false), transposed)?;
    let (a, b) = (Operand::input("a", a)?, Operand::input("b", b)?);
    a.expect_square()?;
    let solutions = Solutions::new(py, &a, a.view.batch(2), b, out)?;
    let [b_batch, x_batch] = solutions.batches();
    let triangle = if lower { Triangle::Lower } else { Triangle::Upper };
    let core = a.view.core();
    let work = Solve {
        views: [a.view, solutions.b.view, solutions.x.view],
        a: if transposed { core.t() } else { core },
        cores: solutions.cores,
        loops: Loops::new([a.view.batch(2), b_batch, x_batch], x_batch),
        triangle: if transposed { triangle.t() } else { triangle },
        diag: if unit_diagonal { Diag::Unit } else { Diag::Stored },
    };
    finish(py, threads, &work, solutions.x, solutions.out)
}

struct Solve {
    views: [View; 3],
    a: Core,
    cores: [Core; 2],
    loops: Loops<3>,
    triangle: Triangle,
    diag: Diag,
}

impl Work for Solve {
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let [a, b, x] = &self.views;
        self.loops.for_each(|[oa, ob, ox]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays.
            let (a, b, mut x) =
                unsafe { (a.matrix::<T>(oa, self.a), b.matrix::<T>(ob, self.cores[0]), x.matrix_mut::<T>(ox, self.cores[1])) };
            copy(b, x.rb());
            solve(Side::Left, self.triangle, self.diag, T::ONE, a, x, plan, scratch)
        })
    }
}
