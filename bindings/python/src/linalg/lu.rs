//! LU factorizations and the solves with them.

use super::{Solutions, Work, buffer, copy, finish};
use crate::array::{Core, Operand, View, new_zeros, tuple};
use crate::error::error;
use crate::linalg::options::transposed;
use crate::linalg::stack::Loops;
use gaitprop_kernels::{Error, MatMut, Plan, Real, Scratch, lu};
use numpy::{PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Solution of linear equations.
///
/// Solves ``a @ x = b`` by an LU factorization with partial pivoting. The result has the same bits
/// on every CPU and for any number of threads.
///
/// Parameters
/// ----------
/// a : array_like of float32 or float64
///     Shape (..., n, n).
/// b : array_like of the same dtype
///     Shape (n,), or (..., n, k). Stacks broadcast.
/// out : ndarray, optional
///     The array to write. It has the shape and dtype of the result and shares no memory with `a`
///     and `b`. It is unchanged after an error.
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
///     If a pivot is 0. It is also a `numpy.linalg.LinAlgError`.
/// gaitprop.Error
///     If the shapes do not match, a matrix holds an infinity or NaN, or an array has a layout that
///     `matmul` refuses, too.
/// TypeError
///     If a dtype is neither float32 nor float64 in this machine's byte order, or dtypes differ.
/// MemoryError
///     If the system refuses memory.
///
/// See Also
/// --------
/// lu_factor, lu_solve
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> linalg.solve(np.array([[2.0, 0.0], [1.0, 4.0]]), np.array([2.0, 9.0]))
/// array([1., 2.])
#[pyfunction]
#[pyo3(signature = (a, b, /, out=None, *, threads=None))]
pub(crate) fn solve<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (a, b) = (Operand::input("a", a)?, Operand::input("b", b)?);
    a.expect_square()?;
    let solutions = Solutions::new(py, &a, a.view.batch(2), b, out)?;
    let [b_batch, x_batch] = solutions.batches();
    let loops = Loops::new([a.view.batch(2), b_batch, x_batch], x_batch);
    let work = Solve { views: [a.view, solutions.b.view, solutions.x.view], a: a.view.core(), cores: solutions.cores, loops };
    finish(py, threads, &work, solutions.x, solutions.out)
}

struct Solve {
    views: [View; 3],
    a: Core,
    cores: [Core; 2],
    loops: Loops<3>,
}

impl Work for Solve {
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let ([a, b, x], n) = (&self.views, self.a.rows.size);
        let mut factors = buffer(n.saturating_mul(n), T::ZERO)?;
        let mut pivots = buffer(n, 0usize)?;
        let mut factored = None;
        self.loops.for_each(|[oa, ob, ox]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays.
            let (a, b, mut x) =
                unsafe { (a.matrix::<T>(oa, self.a), b.matrix::<T>(ob, self.cores[0]), x.matrix_mut::<T>(ox, self.cores[1])) };
            let mut lu = MatMut::new(&mut factors, n, n)?;
            // A matrix that several right-hand sides share is factored once.
            if factored != Some(oa) {
                copy(a, lu.rb());
                lu::factor(lu.rb(), &mut pivots, plan, scratch)?;
                factored = Some(oa);
            }
            copy(b, x.rb());
            lu::solve_left(lu.as_ref(), &pivots, x, plan, scratch)
        })
    }
}

/// LU factorization with partial pivoting.
///
/// Computes ``P @ a = L @ U`` for a matrix or each matrix of a stack. The result has the same bits
/// on every CPU and for any number of threads, and the format of `scipy.linalg.lu_factor`.
///
/// Parameters
/// ----------
/// a : array_like of float32 or float64
///     Shape (..., n, n).
/// out : ndarray, optional
///     The array for the factors. It has the shape and dtype of `a` and shares no memory with it. It
///     is unchanged after an error.
/// threads : int, optional
///     The number of threads; by default that of `gaitprop.set_num_threads`.
///
/// Returns
/// -------
/// lu : ndarray
///     `out`, or a new array (..., n, n): L below the diagonal, without its diagonal of ones, and U
///     on and above it.
/// piv : ndarray of intp
///     Shape (..., n): step k exchanged rows k and ``piv[k]``.
///
/// Raises
/// ------
/// gaitprop.SingularMatrixError
///     If a pivot is 0. It is also a `numpy.linalg.LinAlgError`.
/// gaitprop.Error
///     If `a` is not square, holds an infinity or NaN, or has a layout that `matmul` refuses, too.
/// TypeError
///     If the dtype is neither float32 nor float64 in this machine's byte order.
/// MemoryError
///     If the system refuses memory.
///
/// See Also
/// --------
/// lu_solve, solve
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> lu, piv = linalg.lu_factor(np.array([[1.0, 2.0], [4.0, 4.0]]))
/// >>> lu
/// array([[4.  , 4.  ],
///        [0.25, 1.  ]])
/// >>> piv
/// array([1, 1])
#[pyfunction]
#[pyo3(signature = (a, /, out=None, *, threads=None))]
pub(crate) fn lu_factor<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    threads: Option<i64>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyUntypedArray>)> {
    let a = Operand::input("a", a)?;
    let n = a.expect_square()?;
    let shape: Vec<_> = a.shape().collect();
    let out = out.map(|out| Operand::check_output(out, a.precision, &shape, &[&a])).transpose()?;
    let result = Operand::zeros(py, a.precision, &shape)?;
    let pivots = new_zeros(dtype::<isize>(py), &shape[..shape.len() - 1])?;
    let batch = result.view.batch(2);
    let work = Factor {
        views: [a.view, result.view],
        cores: [a.view.core(), result.view.core()],
        loops: Loops::new([a.view.batch(2), batch], batch),
        pivots: Pivots::new(&pivots, n),
    };
    Ok((finish(py, threads, &work, result, out)?, pivots))
}

struct Factor {
    views: [View; 2],
    cores: [Core; 2],
    loops: Loops<2>,
    pivots: Pivots,
}

impl Work for Factor {
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let ([a, result], [a_core, core]) = (&self.views, self.cores);
        let mut index = 0;
        self.loops.for_each(|[oa, or]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays. The pivots are
            // a new array too, of which this is the part of matrix `index`.
            let (a, mut lu, pivots) =
                unsafe { (a.matrix::<T>(oa, a_core), result.matrix_mut::<T>(or, core), self.pivots.of_mut(index)) };
            copy(a, lu.rb());
            index += 1;
            lu::factor(lu, pivots, plan, scratch)
        })
    }
}

/// Pivots of a stack of factorizations: contiguous arrays of n numbers of pointer size.
struct Pivots {
    data: *mut usize,
    n: usize,
}

// SAFETY: the array is reached through `of` and `of_mut` alone, whose callers promise that no other
// thread interferes.
unsafe impl Send for Pivots {}
// SAFETY: as above.
unsafe impl Sync for Pivots {}

impl Pivots {
    /// Views an array of intp in C order whose last dimension is n.
    fn new(array: &Bound<'_, PyUntypedArray>, n: usize) -> Self {
        // SAFETY: `array` is an array, and the interpreter is attached.
        let data = unsafe { (*numpy::npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr().cast_const())).data };
        Self { data: data.cast(), n }
    }

    /// # Safety
    /// The array lives, holds matrix `index`, is aligned, and no other thread writes it.
    unsafe fn of<'a>(&self, index: usize) -> &'a [usize] {
        // SAFETY: the caller's promise. intp and usize have one size; a negative number becomes a
        // large one, which the kernels refuse.
        if self.n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(self.data.add(index * self.n), self.n) } }
    }

    /// # Safety
    /// As [`Pivots::of`], and no other reference to this part is in use.
    unsafe fn of_mut<'a>(&self, index: usize) -> &'a mut [usize] {
        // SAFETY: the caller's promise.
        if self.n == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(self.data.add(index * self.n), self.n) } }
    }
}

/// Solution of linear equations from an LU factorization.
///
/// Solves ``a @ x = b``, or ``a.T @ x = b``, from the factors of `a`. The result has the same bits on
/// every CPU and for any number of threads.
///
/// Parameters
/// ----------
/// lu_and_piv : tuple of two arrays
///     The result of `lu_factor`, or of `scipy.linalg.lu_factor`: factors (..., n, n) and pivots
///     (..., n).
/// b : array_like of the dtype of the factors
///     Shape (n,), or (..., n, k). Stacks broadcast.
/// out : ndarray, optional
///     The array to write. It has the shape and dtype of the result and shares no memory with the
///     inputs. It is unchanged after an error.
/// trans : {0, 1, 2, 'N', 'T', 'C'}, optional
///     0 or 'N' solves with `a`, the others with its transpose.
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
///     If U has a 0 on its diagonal. It is also a `numpy.linalg.LinAlgError`.
/// gaitprop.Error
///     If the shapes do not match, the diagonal of U holds an infinity or NaN, the pivots come from
///     no factorization, or an array has a layout that `matmul` refuses, too.
/// TypeError
///     If a dtype is neither float32 nor float64 in this machine's byte order, dtypes differ, or the
///     pivots are no integers.
/// MemoryError
///     If the system refuses memory.
///
/// See Also
/// --------
/// lu_factor, solve
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> factors = linalg.lu_factor(np.array([[2.0, 0.0], [1.0, 4.0]]))
/// >>> linalg.lu_solve(factors, np.array([2.0, 9.0]))
/// array([1., 2.])
/// >>> linalg.lu_solve(factors, np.array([4.0, 8.0]), trans=1)
/// array([1., 2.])
#[pyfunction]
#[pyo3(signature = (lu_and_piv, b, /, out=None, *, trans=None, threads=None), text_signature = "(lu_and_piv, b, /, out=None, *, trans=0, threads=None)")]
pub(crate) fn lu_solve<'py>(
    py: Python<'py>,
    lu_and_piv: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    b: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    trans: Option<&Bound<'py, PyAny>>,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (lu, piv) = lu_and_piv;
    let transposed = trans.map_or(Ok(false), transposed)?;
    let pivots = as_pivots(&piv)?;
    let (lu, b) = (Operand::input("lu", &lu)?, Operand::input("b", b)?);
    let n = lu.expect_square()?;
    let expected: Vec<_> = lu.shape().take(lu.view.dims().len() - 1).collect();
    if pivots.shape() != expected {
        let sentence = format!("piv has shape {}, but must have {}", tuple(pivots.shape()), tuple(&expected));
        return Err(error(py, sentence));
    }
    let solutions = Solutions::new(py, &lu, lu.view.batch(2), b, out)?;
    let [b_batch, x_batch] = solutions.batches();
    // The pivots are in C order: dimension i of the stack steps over all later ones.
    let mut numbers = lu.view.batch(2).to_vec();
    let mut step = 1;
    for dim in numbers.iter_mut().rev() {
        dim.stride = step;
        step *= dim.size as isize;
    }
    let work = SolveFactored {
        views: [lu.view, solutions.b.view, solutions.x.view],
        lu: lu.view.core(),
        cores: solutions.cores,
        loops: Loops::new([lu.view.batch(2), b_batch, x_batch, &numbers], x_batch),
        pivots: Pivots::new(&pivots, n),
        transposed,
    };
    finish(py, threads, &work, solutions.x, solutions.out)
}

/// Returns pivots as an array of intp in C order.
fn as_pivots<'py>(piv: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static REQUIRE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = piv.py();
    let array = ASARRAY.import(py, "numpy", "asarray")?.call1((piv,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if kind != "i" && kind != "u" {
        return Err(PyTypeError::new_err(format!("piv has dtype {}, but must be integers", array.getattr("dtype")?)));
    }
    let array = REQUIRE.import(py, "numpy", "require")?.call1((array, dtype::<isize>(py), ["C", "A"]))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

struct SolveFactored {
    views: [View; 3],
    lu: Core,
    cores: [Core; 2],
    /// Factors, right-hand sides, solutions, and the index of the pivots.
    loops: Loops<4>,
    pivots: Pivots,
    transposed: bool,
}

impl Work for SolveFactored {
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let [lu, b, x] = &self.views;
        self.loops.for_each(|[ol, ob, ox, index]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays, and `index` is
            // the number of a matrix of `lu`.
            let (lu, b, mut x, pivots) = unsafe {
                (
                    lu.matrix::<T>(ol, self.lu),
                    b.matrix::<T>(ob, self.cores[0]),
                    x.matrix_mut::<T>(ox, self.cores[1]),
                    self.pivots.of(index as usize),
                )
            };
            copy(b, x.rb());
            // Aᵀ·X = B is Xᵀ·A = Bᵀ.
            if self.transposed {
                lu::solve_right(lu, pivots, x.t(), plan, scratch)
            } else {
                lu::solve_left(lu, pivots, x, plan, scratch)
            }
        })
    }
}
