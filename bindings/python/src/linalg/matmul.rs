//! Matrix products.

use crate::array::{Core, Dim, Operand, Precision, View};
use crate::call::compute;
use crate::error::error;
use crate::linalg::stack::{Loop, Loops, Shape};
use gaitprop_kernels::{BatchMut, BatchRef, Error, Plan, Real, Scratch, gemm, gemm_batched, gemm_batched_views};
use pyo3::prelude::*;

/// Matrix product of two arrays.
///
/// Each element is one chain of fused multiply-adds in increasing order of the summed index, so its
/// bits do not depend on the CPU, the number of threads, the memory layout, or the other rows,
/// columns and matrices of the call.
///
/// Parameters
/// ----------
/// a, b : array_like of float32 or float64
///     Shapes (..., m, k) and (..., k, n), of one dtype and with any strides. The dimensions before
///     the last two broadcast. A vector is a row of `a` or a column of `b`; the result then lacks
///     that dimension.
/// out : ndarray, optional
///     The array to write. It has the shape and dtype of the result and shares no memory with `a`
///     and `b`.
/// threads : int, optional
///     The number of threads; by default that of `gaitprop.set_num_threads`.
///
/// Returns
/// -------
/// ndarray or scalar
///     `out`, or a new array (..., m, n); a scalar if both operands are vectors.
///
/// Raises
/// ------
/// gaitprop.Error
///     If the shapes do not match, an array is unaligned or has strides that are no whole number of
///     elements, or `out` is read-only or shares memory with an input.
/// TypeError
///     If a dtype is neither float32 nor float64 in this machine's byte order, or dtypes differ.
/// MemoryError
///     If the system refuses memory.
///
/// Notes
/// -----
/// An element of the result `c` satisfies ``|c - exact| <= g(k) * (|a| @ |b|)`` with
/// ``g(k) = k*u / (1 - k*u)`` and the unit roundoff u.
///
/// The interpreter's lock is released during the call. As with NumPy, no other thread may write the
/// arrays meanwhile.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> from gaitprop import linalg
/// >>> a = np.array([[1.0, 2.0], [3.0, 4.0]])
/// >>> linalg.matmul(a, a)
/// array([[ 7., 10.],
///        [15., 22.]])
/// >>> linalg.matmul(np.ones((5, 1, 2, 3)), np.ones((4, 3, 6))).shape
/// (5, 4, 2, 6)
#[pyfunction]
#[pyo3(signature = (a, b, /, out=None, *, threads=None))]
pub(crate) fn matmul<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
    threads: Option<i64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (a, b) = (Operand::input("a", a)?, Operand::input("b", b)?);
    let precision = b.expect_precision_of(&a)?;
    a.expect_dims(1)?;
    b.expect_dims(1)?;
    let (row, column) = (a.view.dims().len() == 1, b.view.dims().len() == 1);
    let left = if row { a.view.column().t() } else { a.view.core() };
    let right = if column { b.view.column() } else { b.view.core() };
    let ((m, k), (inner, n)) = (left.shape(), right.shape());
    if k != inner {
        let sentence = format!("a has {k} columns, but b has {inner} rows: the two must be equal");
        return Err(error(py, sentence));
    }
    let mut shape = Shape::broadcast(py, a.view.batch(2), b.view.batch(2))?;
    let batch = shape.as_slice().len();
    if !row {
        shape.push(py, m)?;
    }
    if !column {
        shape.push(py, n)?;
    }
    let c = Operand::output(py, out, precision, shape.as_slice(), &[&a, &b])?;
    let result = match (row, column) {
        (false, false) => c.view.core(),
        (true, false) => c.view.column().t(),
        (false, true) => c.view.column(),
        (true, true) => Core { rows: Dim { size: 1, stride: 1 }, cols: Dim { size: 1, stride: 1 } },
    };
    let loops = Loops::new([a.view.batch(2), b.view.batch(2), &c.view.dims()[..batch]], &c.view.dims()[..batch]);
    let mut product = Product { views: [a.view, b.view, c.view], cores: [left, right, result], loops };
    product.merge();
    compute(py, threads, |plan, scratch| match precision {
        // SAFETY: the operands have this element type, and live until the call ends. `c` is new, or
        // `Operand::output` has checked it.
        Precision::F32 => unsafe { product.run::<f32>(plan, scratch) },
        // SAFETY: as above.
        Precision::F64 => unsafe { product.run::<f64>(plan, scratch) },
    })?;
    if out.is_some() { Ok(c.into_object()) } else { c.into_result() }
}

/// Products C = A·B of a stack.
struct Product {
    views: [View; 3],
    cores: [Core; 3],
    loops: Loops<3>,
}

impl Product {
    /// Makes a stack of products that share B one product with more rows, and one whose products
    /// share A one product with more columns, where strides allow it. No element changes a bit.
    fn merge(&mut self) {
        while let Some(&Loop { count, strides: [sa, sb, sc] }) = self.loops.as_slice().last() {
            let [a, b, c] = &mut self.cores;
            let merged = (sb == 0 && extend([(&mut a.rows, sa), (&mut c.rows, sc)], count))
                || (sa == 0 && extend([(&mut b.cols, sb), (&mut c.cols, sc)], count));
            if !merged {
                return;
            }
            self.loops.pop();
        }
    }

    /// # Safety
    /// The operands are of `T` and live until this returns. C is writable, and shares no element
    /// with itself, A or B.
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
        let ([a, b, c], [a_core, b_core, c_core]) = (&self.views, self.cores);
        match *self.loops.as_slice() {
            [] => {
                // SAFETY: the cores are those of the arrays, and the caller promises the rest.
                let (a, b, c) = unsafe { (a.matrix::<T>(0, a_core), b.matrix(0, b_core), c.matrix_mut(0, c_core)) };
                gemm(T::ONE, a, b, T::ZERO, c, plan, scratch)
            }
            [Loop { count, strides: [sa, sb, sc] }] => {
                let strides = |core: Core| (core.rows.stride, core.cols.stride);
                // SAFETY: as above; the loop is over a dimension of each array. Matrices of C are
                // distinct because its elements are.
                let (a, b, c) = unsafe {
                    (
                        BatchRef::from_raw_parts(a.data::<T>(), (count, sa), a_core.shape(), strides(a_core)),
                        BatchRef::from_raw_parts(b.data::<T>(), (count, sb), b_core.shape(), strides(b_core)),
                        BatchMut::from_raw_parts(c.data::<T>(), (count, sc), c_core.shape(), strides(c_core)),
                    )
                };
                gemm_batched(T::ONE, a, b, T::ZERO, c, plan, scratch)
            }
            _ => {
                let count = self.loops.count();
                let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
                let bytes = count.saturating_mul(size_of_val(&self.cores));
                inputs.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes })?;
                outputs.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes })?;
                self.loops.for_each(|[oa, ob, oc]| {
                    // SAFETY: as above.
                    unsafe {
                        inputs.push((a.matrix::<T>(oa, a_core), b.matrix(ob, b_core)));
                        outputs.push(c.matrix_mut(oc, c_core));
                    }
                    Ok(())
                })?;
                gemm_batched_views(T::ONE, &inputs, T::ZERO, &mut outputs, plan, scratch)
            }
        }
    }
}

/// Extends one dimension of two operands by a loop outside it, if in both the two are one dimension.
fn extend(dims: [(&mut Dim, isize); 2], count: usize) -> bool {
    let fits = |dim: &Dim, outer: isize| {
        let span = isize::try_from(dim.size).ok().and_then(|size| dim.stride.checked_mul(size));
        dim.size == 1 || span == Some(outer)
    };
    if !dims.iter().all(|(dim, outer)| fits(dim, *outer)) {
        return false;
    }
    for (dim, outer) in dims {
        if dim.size == 1 {
            dim.stride = outer;
        }
        dim.size *= count;
    }
    true
}
