//! Linear algebra: products, solves and factorizations of arrays and of stacks of them.
//!
//! A function that can fail while it computes writes a new array, and copies it to `out` when it is
//! complete.

pub(crate) mod cholesky;
pub(crate) mod lu;
pub(crate) mod matmul;
mod options;
mod stack;
pub(crate) mod syrk;
pub(crate) mod triangular;

use crate::array::{Core, Dim, Operand, Precision, View};
use crate::call::compute;
use crate::error::error;
use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Real, Scratch};
use pyo3::prelude::*;
use stack::Loops;

/// A computation that writes all matrices of a result.
///
/// # Safety of `run`
/// The operands that it holds are of `T` and live until it returns, and so does the result, which is
/// new: no other view reaches it.
trait Work: Sync {
    /// Fills the result.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn run<T: Real>(&self, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error>;
}

/// Runs `work`, which fills `result`. Copies that to `out`, if there is one, and returns the array of
/// the caller.
fn finish<'py>(
    py: Python<'py>,
    threads: Option<i64>,
    work: &impl Work,
    result: Operand<'py>,
    out: Option<Operand<'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (precision, view, target) = (result.precision, result.view, out.as_ref().map(|out| out.view));
    compute(py, threads, |plan, scratch| match precision {
        // SAFETY: the operands have this element type and live until the call ends. `result` is new,
        // and `out` has been checked.
        Precision::F32 => unsafe { run_and_copy::<f32>(work, view, target, plan, scratch) },
        // SAFETY: as above.
        Precision::F64 => unsafe { run_and_copy::<f64>(work, view, target, plan, scratch) },
    })?;
    Ok(out.unwrap_or(result).into_object())
}

/// # Safety
/// As [`Work`]; `target` is of `T` and passed `Operand::check_output`.
unsafe fn run_and_copy<T: Real>(
    work: &impl Work,
    result: View,
    target: Option<View>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    unsafe {
        work.run::<T>(plan, scratch)?;
        if let Some(target) = target {
            copy_stack::<T>(&result, &target);
        }
    }
    Ok(())
}

/// Copies an array to another one of the same shape.
///
/// # Safety
/// Both are of `T` and live, share no element, and `to` is new or passed `Operand::check_output`.
unsafe fn copy_stack<T: Real>(from: &View, to: &View) {
    let loops = Loops::new([from.batch(2), to.batch(2)], to.batch(2));
    let (from_core, to_core) = (from.core(), to.core());
    let done: Result<(), Error> = loops.for_each(|[at, to_at]| {
        // SAFETY: the caller's promise; the loops are over the arrays' own dimensions.
        unsafe { copy(from.matrix::<T>(at, from_core), to.matrix_mut(to_at, to_core)) };
        Ok(())
    });
    debug_assert!(done.is_ok());
}

/// Copies a matrix to another one of the same shape.
fn copy<T: Real>(from: MatRef<'_, T>, mut to: MatMut<'_, T>) {
    for i in 0..to.nrows() {
        match (from.row(i), to.row_mut(i)) {
            (Some(from), Some(to)) => to.copy_from_slice(from),
            _ => (0..from.ncols()).for_each(|j| to.set(i, j, from.get(i, j))),
        }
    }
}

/// Copies a triangle of a square matrix.
fn copy_triangle<T: Real>(lower: bool, from: MatRef<'_, T>, mut to: MatMut<'_, T>) {
    let n = to.nrows();
    for i in 0..n {
        for j in if lower { 0..i + 1 } else { i..n } {
            to.set(i, j, from.get(i, j));
        }
    }
}

/// Memory for `len` elements.
fn buffer<E: Copy>(len: usize, value: E) -> Result<Vec<E>, Error> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes: len.saturating_mul(size_of::<E>()) })?;
    memory.resize(len, value);
    Ok(memory)
}

/// The right-hand sides of solves with a stack of matrices of order n, and their solutions.
struct Solutions<'py> {
    b: Operand<'py>,
    x: Operand<'py>,
    out: Option<Operand<'py>>,
    /// Right-hand sides and solutions of one matrix.
    cores: [Core; 2],
    /// Number of dimensions of `b` and `x` that are no stack.
    core_dims: usize,
}

impl<'py> Solutions<'py> {
    /// Checks `b` and `out` against the matrices `a`, of order n, whose stack is `batch`. `inputs`
    /// are all inputs but `b`. A new array for the solutions comes with them.
    fn new(py: Python<'py>, a: &Operand<'py>, batch: &[Dim], b: Operand<'py>, out: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let precision = b.expect_precision_of(a)?;
        b.expect_dims(1)?;
        let n = a.view.core().rows.size;
        // As in NumPy 2: only an array of one dimension is a vector.
        let core_dims = b.view.dims().len().min(2);
        let vector = core_dims == 1;
        let core = if vector { b.view.column() } else { b.view.core() };
        if core.rows.size != n {
            let sentence = format!("b has {} rows, but the matrix is {n}x{n}: the two must be equal", core.rows.size);
            return Err(error(py, sentence));
        }
        let mut shape = stack::Shape::broadcast(py, batch, b.view.batch(core_dims))?;
        shape.push(py, n)?;
        if !vector {
            shape.push(py, core.cols.size)?;
        }
        let out = out.map(|out| Operand::check_output(out, precision, shape.as_slice(), &[a, &b])).transpose()?;
        let x = Operand::zeros(py, precision, shape.as_slice())?;
        let solved = if vector { x.view.column() } else { x.view.core() };
        Ok(Self { cores: [core, solved], core_dims, b, x, out })
    }

    fn batches(&self) -> [&[Dim]; 2] {
        [self.b.view.batch(self.core_dims), self.x.view.batch(self.core_dims)]
    }
}
