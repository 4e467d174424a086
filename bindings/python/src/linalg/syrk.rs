//! Symmetric products.

use crate::array::{Core, Operand, Precision, View};
use crate::call::compute;
use crate::error::error;
use crate::linalg::stack::Loops;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk as kernel};
use gaitprop_kernels::{Error, Plan, Real, Scratch};
use pyo3::prelude::*;

/// Symmetric product of a matrix and its transpose.
///
/// Computes ``alpha * a @ a.T + beta * out`` with half the work of `matmul`. The result has the same
/// bits on every CPU and for any number of threads.
///
/// Parameters
/// ----------
/// a : array_like of float32 or float64
///     Shape (..., n, k).
/// out : ndarray, optional
///     The array to write, of shape (..., n, n) and the dtype of `a`. It shares no memory with `a`.
/// alpha, beta : float, optional
///     Factors, rounded to the dtype. `out` is read only if `beta` is not 0.
/// trans : bool, optional
///     Computes ``alpha * a.T @ a + beta * out`` instead, of shape (..., k, k).
/// part : {'both', 'lower', 'upper'}, optional
///     The triangle that is written. With 'both' the upper triangle mirrors the lower one, and only
///     the lower triangle of `out` is read. Other elements of `out` are not touched; those of a new
///     array are 0.
/// threads : int, optional
///     The number of threads; by default that of `gaitprop.set_num_threads`.
///
/// Returns
/// -------
/// ndarray
///     `out`, or a new array.
///
/// Raises
/// ------
/// gaitprop.Error
///     If the shapes do not match, `part` is unknown, `beta` is not 0 without `out`, or an array has
///     a layout that `matmul` refuses, too.
/// TypeError
///     If a dtype is neither float32 nor float64 in this machine's byte order, or dtypes differ.
/// MemoryError
///     If the system refuses memory.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> linalg.syrk(np.array([[1.0, 2.0], [3.0, 4.0]]))
/// array([[ 5., 11.],
///        [11., 25.]])
#[pyfunction]
#[pyo3(signature = (a, /, out=None, *, alpha=1.0, beta=0.0, trans=false, part="both", threads=None))]
#[allow(clippy::too_many_arguments, reason = "Python passes an option as an argument")]
pub(crate) fn syrk<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    alpha: f64,
    beta: f64,
    trans: bool,
    part: &str,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let part = match part {
        "both" => Part::Both,
        "lower" => Part::Lower,
        "upper" => Part::Upper,
        _ => return Err(error(py, format!("part is {part:?}, but must be 'both', 'lower' or 'upper'"))),
    };
    if beta != 0.0 && out.is_none() {
        return Err(error(py, format!("beta is {beta}, but there is no out to multiply by it")));
    }
    let a = Operand::input("a", a)?;
    a.expect_dims(2)?;
    let core = if trans { a.view.core().t() } else { a.view.core() };
    let mut shape: Vec<_> = a.shape().collect();
    let stacked = shape.len() - 2;
    shape[stacked..].fill(core.rows.size);
    let c = Operand::output(py, out, a.precision, &shape, &[&a])?;
    let batch = c.view.batch(2);
    let product = Product {
        views: [a.view, c.view],
        cores: [core, c.view.core()],
        loops: Loops::new([a.view.batch(2), batch], batch),
        factors: [alpha, beta],
        part,
    };
    compute(py, threads, |plan, scratch| match a.precision {
        // SAFETY: the operands have this element type, and live until the call ends. `c` is new, or
        // `Operand::output` has checked it.
        Precision::F32 => unsafe { product.run::<f32>(plan, scratch) },
        // SAFETY: as above.
        Precision::F64 => unsafe { product.run::<f64>(plan, scratch) },
    })?;
    Ok(c.into_object())
}

struct Product {
    views: [View; 2],
    cores: [Core; 2],
    loops: Loops<2>,
    /// α and β.
    factors: [f64; 2],
    part: Part,
}

impl Product {
    /// # Safety
    /// The operands are of `T` and live until this returns. C is writable, and shares no element
    /// with itself or A.
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let ([a, c], [a_core, c_core]) = (&self.views, self.cores);
        let [alpha, beta] = self.factors.map(T::from_f64);
        // A later matrix of the stack must not fail after an earlier one was written.
        let (n, k) = a_core.shape();
        scratch.reserve(gaitprop_kernels::syrk::syrk_scratch::<T>(n, k, plan))?;
        self.loops.for_each(|[oa, oc]| {
            // SAFETY: the caller's promise; offsets and cores are those of the arrays.
            let (a, c) = unsafe { (a.matrix::<T>(oa, a_core), c.matrix_mut::<T>(oc, c_core)) };
            kernel(alpha, a, beta, self.part, Diagonal::Kept, c, plan, scratch)
        })
    }
}
