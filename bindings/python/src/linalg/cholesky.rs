//! Cholesky factorizations.

use super::{Work, copy_triangle, finish};
use crate::array::{Core, Operand, View};
use crate::linalg::stack::Loops;
use gaitprop_kernels::{Error, Plan, Real, Scratch, cholesky as kernel};
use pyo3::prelude::*;

/// Cholesky factor of a symmetric positive definite matrix.
///
/// Computes L with ``a = L @ L.T`` for a matrix or each matrix of a stack. The result has the same
/// bits on every CPU and for any number of threads.
///
/// Parameters
/// ----------
/// a : array_like of float32 or float64
///     Shape (..., n, n). Only the triangle of the factor is read.
/// out : ndarray, optional
///     The array to write. It has the shape and dtype of `a` and shares no memory with it. It is
///     unchanged after an error.
/// upper : bool, optional
///     Returns the upper factor ``L.T`` and reads the upper triangle of `a`.
/// threads : int, optional
///     The number of threads; by default that of `gaitprop.set_num_threads`.
///
/// Returns
/// -------
/// ndarray
///     `out`, or a new array (..., n, n). The other triangle is 0.
///
/// Raises
/// ------
/// gaitprop.NotPositiveDefiniteError
///     If a matrix is not positive definite. It is also a `numpy.linalg.LinAlgError`.
/// gaitprop.Error
///     If `a` is not square, holds an infinity or NaN, or has a layout that `matmul` refuses, too.
/// TypeError
///     If the dtype is neither float32 nor float64 in this machine's byte order.
/// MemoryError
///     If the system refuses memory.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> linalg.cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
/// array([[2., 0.],
///        [1., 2.]])
#[pyfunction]
#[pyo3(signature = (a, /, out=None, *, upper=false, threads=None))]
pub(crate) fn cholesky<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    upper: bool,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let a = Operand::input("a", a)?;
    a.expect_square()?;
    let shape: Vec<_> = a.shape().collect();
    let out = out.map(|out| Operand::check_output(out, a.precision, &shape, &[&a])).transpose()?;
    let result = Operand::zeros(py, a.precision, &shape)?;
    let batch = result.view.batch(2);
    let work = Factor {
        views: [a.view, result.view],
        cores: [a.view.core(), result.view.core()],
        loops: Loops::new([a.view.batch(2), batch], batch),
        upper,
    };
    finish(py, threads, &work, result, out)
}

struct Factor {
    views: [View; 2],
    cores: [Core; 2],
    loops: Loops<2>,
    upper: bool,
}

impl Work for Factor {
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let ([a, result], [a_core, core]) = (&self.views, self.cores);
        self.loops.for_each(|[oa, or]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays.
            let (a, mut l) = unsafe { (a.matrix::<T>(oa, a_core), result.matrix_mut::<T>(or, core)) };
            copy_triangle(!self.upper, a, l.rb());
            // The upper triangle of A is the lower one of its transpose, and so are the factors'.
            kernel::factor(if self.upper { l.t() } else { l }, plan, scratch)
        })
    }
}
