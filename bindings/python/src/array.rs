//! NumPy's arrays as operands: dtype, byte order, alignment, strides, and memory that an output
//! shares.
//!
//! An operand is read in place, whatever its strides. The checks are ours, because NumPy also hands
//! out arrays that are unaligned, or whose strides are no whole number of elements.

use crate::error::error;
use gaitprop_kernels::{MatMut, MatRef, Real};
use numpy::npyffi::{NPY_ARRAY_WRITEABLE, NPY_TYPES, PY_ARRAY_API};
use numpy::{
    Element, PyArrayDescr, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::IntoPyDict;
use std::ffi::{c_int, c_void};

/// Largest number of dimensions, as in NumPy 1.
pub(crate) const MOST_DIMS: usize = 32;

/// Element type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F64,
}

impl Precision {
    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F64 => size_of::<f64>(),
        }
    }

    const fn align(self) -> usize {
        match self {
            Self::F32 => align_of::<f32>(),
            Self::F64 => align_of::<f64>(),
        }
    }

    fn dtype(self, py: Python<'_>) -> Bound<'_, PyArrayDescr> {
        match self {
            Self::F32 => dtype::<f32>(py),
            Self::F64 => dtype::<f64>(py),
        }
    }
}

/// A dimension: its size, and its stride in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dim {
    pub(crate) size: usize,
    pub(crate) stride: isize,
}

/// Shape and strides of an array at the time of the call, with the address of its first element.
#[derive(Clone, Copy)]
pub(crate) struct View {
    data: *mut c_void,
    ndim: usize,
    dims: [Dim; MOST_DIMS],
}

// SAFETY: a view reaches memory only through unsafe code: `matrix`, `matrix_mut`, and what callers
// do with the pointer of `data`. Each of these promises that no other thread writes the array.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

/// Rows, columns and strides of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) rows: Dim,
    pub(crate) cols: Dim,
}

impl Core {
    /// Returns the transpose.
    pub(crate) const fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows }
    }

    pub(crate) const fn shape(self) -> (usize, usize) {
        (self.rows.size, self.cols.size)
    }
}

impl View {
    pub(crate) fn dims(&self) -> &[Dim] {
        &self.dims[..self.ndim]
    }

    /// Returns the dimensions before the last `n`.
    pub(crate) fn batch(&self, n: usize) -> &[Dim] {
        &self.dims[..self.ndim.saturating_sub(n)]
    }

    /// Returns the matrix of the last two dimensions.
    pub(crate) fn core(&self) -> Core {
        match *self.dims() {
            [.., rows, cols] => Core { rows, cols },
            [rows] => self::column(rows),
            [] => Core { rows: Dim { size: 1, stride: 1 }, cols: Dim { size: 1, stride: 1 } },
        }
    }

    /// Returns the last dimension as a column.
    pub(crate) fn column(&self) -> Core {
        self::column(self.dims().last().copied().unwrap_or(Dim { size: 1, stride: 1 }))
    }

    /// Returns a matrix to read, `offset` elements after the first.
    ///
    /// # Safety
    /// `T` is the array's element type. `core` and `offset` stay among the array's elements. For
    /// `'a` the array lives, and no view of this call writes those elements.
    pub(crate) unsafe fn matrix<'a, T: Real>(&self, offset: isize, core: Core) -> MatRef<'a, T> {
        let data = self.data.cast::<T>().wrapping_offset(offset);
        // SAFETY: NumPy guarantees that all indices of an array reach initialized memory of one
        // buffer; `Operand::new` has checked alignment and strides. Other Python threads must not
        // write an operand during a call, as NumPy's users know; the package's documentation says
        // so.
        unsafe { MatRef::from_raw_parts(data, core.shape(), (core.rows.stride, core.cols.stride)) }
    }

    /// Returns a matrix to write, `offset` elements after the first.
    ///
    /// # Safety
    /// As [`View::matrix`], and no other view of this call reaches those elements. The array is new
    /// or has passed [`Operand::check_output`].
    pub(crate) unsafe fn matrix_mut<'a, T: Real>(&self, offset: isize, core: Core) -> MatMut<'a, T> {
        let data = self.data.cast::<T>().wrapping_offset(offset);
        // SAFETY: as in `matrix`. The array is writable and its elements are distinct: it is new, or
        // `check_output` has looked.
        unsafe { MatMut::from_raw_parts(data, core.shape(), (core.rows.stride, core.cols.stride)) }
    }

    /// Returns the address of the first element.
    pub(crate) fn data<T>(&self) -> *mut T {
        self.data.cast()
    }

    /// Returns the first address, and the first one after the array, in bytes. Returns `None` if the
    /// array is empty.
    fn range(&self, size: usize) -> Option<(isize, isize)> {
        let (mut low, mut high) = (0isize, 0isize);
        for dim in self.dims() {
            let last = isize::try_from(dim.size.checked_sub(1)?).unwrap_or(isize::MAX);
            let reach = last.saturating_mul(dim.stride).saturating_mul(size as isize);
            (low, high) = (low.saturating_add(reach.min(0)), high.saturating_add(reach.max(0)));
        }
        let first = self.data as isize;
        Some((first.saturating_add(low), first.saturating_add(high).saturating_add(size as isize)))
    }

    /// Returns whether two indices may reach one element: a stride does not exceed the span of the
    /// smaller strides.
    fn repeats(&self) -> bool {
        let mut loops = self.dims;
        let loops = &mut loops[..self.ndim];
        loops.sort_unstable_by_key(|dim| dim.stride.unsigned_abs());
        let mut span = 0usize;
        loops.iter().filter(|dim| dim.size > 1).any(|dim| {
            let step = dim.stride.unsigned_abs();
            let repeats = step <= span;
            span = span.saturating_add(step.saturating_mul(dim.size - 1));
            repeats
        })
    }
}

/// Returns a vector as a matrix of one column.
const fn column(rows: Dim) -> Core {
    Core { rows, cols: Dim { size: 1, stride: 1 } }
}

/// An array that a call reads or writes.
pub(crate) struct Operand<'py> {
    object: Bound<'py, PyUntypedArray>,
    what: &'static str,
    pub(crate) precision: Precision,
    pub(crate) view: View,
}

/// Returns an argument as an array: itself, or what `numpy.asarray` makes of it.
fn as_array<'py>(argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(array) = argument.cast::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    let array = ASARRAY.import(argument.py(), "numpy", "asarray")?.call1((argument,))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

impl<'py> Operand<'py> {
    /// Accepts the argument `what` as an input.
    ///
    /// # Errors
    /// `TypeError` for an element type other than float32 and float64 in this machine's byte order.
    /// `gaitprop.Error` for an unaligned array or strides that are no whole number of elements.
    pub(crate) fn input(what: &'static str, argument: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(what, as_array(argument)?)
    }

    fn new(what: &'static str, object: Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let py = object.py();
        let descr = object.dtype();
        let precision = match descr.num() {
            n if n == NPY_TYPES::NPY_FLOAT as c_int => Precision::F32,
            n if n == NPY_TYPES::NPY_DOUBLE as c_int => Precision::F64,
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "{what} has dtype {descr}, but must be float32 or float64: convert it with {what}.astype(numpy.float64)"
                )));
            }
        };
        if descr.is_native_byteorder() != Some(true) {
            return Err(PyTypeError::new_err(format!(
                "{what} has dtype {} of another byte order: convert it with {what}.astype(numpy.{})",
                descr.repr()?,
                precision.name()
            )));
        }
        let (shape, strides) = (object.shape(), object.strides());
        if shape.len() > MOST_DIMS {
            return Err(error(py, format!("{what} has {} dimensions, but must have at most {MOST_DIMS}", shape.len())));
        }
        let (size, empty) = (precision.size() as isize, shape.contains(&0));
        let mut dims = [Dim::default(); MOST_DIMS];
        for ((dim, &count), &bytes) in dims.iter_mut().zip(shape).zip(strides) {
            // A stride that no index uses may be any number.
            let whole = bytes % size == 0;
            if !whole && count > 1 && !empty {
                return Err(error(
                    py,
                    format!(
                        "{what} has a stride of {bytes} bytes, which is no whole number of elements: copy it with numpy.ascontiguousarray({what})"
                    ),
                ));
            }
            *dim = Dim { size: count, stride: if whole { bytes / size } else { 0 } };
        }
        let ndim = shape.len();
        // SAFETY: `object` is an array, and the interpreter is attached.
        let data = unsafe { (*numpy::npyffi::_PyArray_GET_ITEM_DATA(object.as_array_ptr().cast_const())).data };
        if !empty && !(data as usize).is_multiple_of(precision.align()) {
            return Err(error(
                py,
                format!("{what} is not aligned to its elements: copy it with numpy.require({what}, requirements=\"A\")"),
            ));
        }
        Ok(Self { object, what, precision, view: View { data: data.cast(), ndim, dims } })
    }

    /// Returns a new array of zeros, in C order.
    ///
    /// # Errors
    /// `MemoryError` if the system refuses the memory. `ValueError` if the size does not fit the
    /// address space.
    pub(crate) fn zeros(py: Python<'py>, precision: Precision, shape: &[usize]) -> PyResult<Self> {
        Self::new("the result", new_zeros(precision.dtype(py), shape)?)
    }

    /// Accepts the argument `out` as the output of `shape`, or returns a new array if there is none.
    ///
    /// # Errors
    /// As [`Operand::input`]. `TypeError` if `out` is no array or has another element type.
    /// `gaitprop.Error` if it has another shape, is read-only, reaches an element twice or shares
    /// memory with an input.
    pub(crate) fn output(
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        precision: Precision,
        shape: &[usize],
        inputs: &[&Self],
    ) -> PyResult<Self> {
        match out {
            None => Self::zeros(py, precision, shape),
            Some(out) => Self::check_output(out, precision, shape, inputs),
        }
    }

    /// Accepts the argument `out`, which is to be written.
    ///
    /// # Errors
    /// As [`Operand::output`].
    pub(crate) fn check_output(
        out: &Bound<'py, PyAny>,
        precision: Precision,
        shape: &[usize],
        inputs: &[&Self],
    ) -> PyResult<Self> {
        let py = out.py();
        let Ok(array) = out.cast::<PyUntypedArray>() else {
            return Err(PyTypeError::new_err(format!("out must be a numpy.ndarray, not {}", out.get_type().name()?)));
        };
        let out = Self::new("out", array.clone())?;
        if out.precision != precision {
            let (found, expected) = (out.precision.name(), precision.name());
            return Err(PyTypeError::new_err(format!("out has dtype {found}, but must be {expected} as the inputs")));
        }
        if !out.shape().eq(shape.iter().copied()) {
            let found: Vec<_> = out.shape().collect();
            return Err(error(py, format!("out has shape {}, but must have {}", tuple(&found), tuple(shape))));
        }
        // SAFETY: `array` is an array, and the interpreter is attached.
        let flags = unsafe { (*numpy::npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr().cast_const())).flags };
        if flags & NPY_ARRAY_WRITEABLE == 0 {
            return Err(error(py, "out is read-only".into()));
        }
        if out.view.repeats() {
            return Err(error(py, "out reaches an element by two indices: its strides overlap".into()));
        }
        for input in inputs {
            if out.shares(input)? {
                return Err(error(py, format!("out shares memory with {0}: pass another array, or a copy of {0}", input.what)));
            }
        }
        Ok(out)
    }

    /// Returns whether two operands share an element.
    fn shares(&self, other: &Self) -> PyResult<bool> {
        static SHARES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let ranges = (self.view.range(self.precision.size()), other.view.range(other.precision.size()));
        let (Some((low, high)), Some((other_low, other_high))) = ranges else { return Ok(false) };
        if high <= other_low || other_high <= low {
            return Ok(false);
        }
        // Blocks of one array interleave in memory without a common element. NumPy decides that
        // exactly, or gives up after this number of steps.
        let py = self.object.py();
        let limit = [("max_work", 100_000)].into_py_dict(py)?;
        match SHARES.import(py, "numpy", "shares_memory")?.call((&self.object, &other.object), Some(&limit)) {
            Ok(answer) => answer.is_truthy(),
            Err(e) if e.is_instance_of::<PyRuntimeError>(py) => Ok(true),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn shape(&self) -> impl Iterator<Item = usize> {
        self.view.dims().iter().map(|dim| dim.size)
    }

    /// Returns an error unless the operand has this number of dimensions or more.
    pub(crate) fn expect_dims(&self, least: usize) -> PyResult<()> {
        if self.view.ndim >= least {
            return Ok(());
        }
        let (what, found) = (self.what, self.view.ndim);
        Err(error(self.object.py(), format!("{what} has {found} dimensions, but must have at least {least}")))
    }

    /// Returns an error unless the last two dimensions are equal. Returns their size.
    pub(crate) fn expect_square(&self) -> PyResult<usize> {
        self.expect_dims(2)?;
        let (rows, cols) = self.view.core().shape();
        if rows == cols {
            return Ok(rows);
        }
        let sentence = format!("{} must be square, but its last two dimensions are {rows} and {cols}", self.what);
        Err(error(self.object.py(), sentence))
    }

    /// Returns an error unless both operands have one element type. Returns it.
    pub(crate) fn expect_precision_of(&self, other: &Self) -> PyResult<Precision> {
        if self.precision == other.precision {
            return Ok(self.precision);
        }
        Err(PyTypeError::new_err(format!(
            "{} is {} and {} is {}: convert one of them with astype",
            other.what,
            other.precision.name(),
            self.what,
            self.precision.name()
        )))
    }

    /// Returns the array.
    pub(crate) fn into_object(self) -> Bound<'py, PyAny> {
        self.object.into_any()
    }

    /// Returns the array, or its only element if it has no dimension.
    pub(crate) fn into_result(self) -> PyResult<Bound<'py, PyAny>> {
        if self.view.ndim == 0 { self.object.get_item(()) } else { Ok(self.into_object()) }
    }
}

/// An element type of arrays whose type is known.
pub(crate) trait Number: Real + Element {}
impl Number for f32 {}
impl Number for f64 {}

/// Returns a matrix over the memory of a borrowed array, with its strides.
///
/// # Errors
/// `gaitprop.Error` if elements are not aligned or do not lie whole numbers of elements apart.
pub(crate) fn matrix<'a, T: Number>(array: &'a PyReadonlyArray2<'_, T>, what: &str) -> PyResult<MatRef<'a, T>> {
    let (pointer, strides, [rows, columns]) = (array.data(), array.strides(), [array.shape()[0], array.shape()[1]]);
    if rows == 0 || columns == 0 {
        return Ok(MatRef::new(&[], rows, columns).expect("no elements"));
    }
    let size = size_of::<T>() as isize;
    if !pointer.is_aligned() || strides.iter().any(|stride| stride % size != 0) {
        return Err(error(array.py(), format!("{what} is not aligned to its elements: copy it")));
    }
    // SAFETY: NumPy keeps an array's elements inside its memory, at these strides. The pointer is
    // aligned (checked above). `array` keeps the memory alive and, by its borrow flag, unwritten by
    // other Rust code; Python threads that write it meanwhile break NumPy's own rule.
    Ok(unsafe { MatRef::from_raw_parts(pointer, (rows, columns), (strides[0] / size, strides[1] / size)) })
}

/// Returns a new array of zeros, in C order.
pub(crate) fn new_zeros<'py>(descr: Bound<'py, PyArrayDescr>, shape: &[usize]) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    let mut dims = [0isize; MOST_DIMS];
    let Some(dims) = dims.get_mut(..shape.len()) else {
        return Err(error(py, format!("the result has more than {MOST_DIMS} dimensions")));
    };
    for (dim, &size) in dims.iter_mut().zip(shape) {
        // NumPy refuses what does not fit: a result of broadcasting may be that large.
        *dim = isize::try_from(size).unwrap_or(isize::MAX);
    }
    // SAFETY: `dims` holds the number of sizes that is passed. NumPy takes over the reference to the
    // dtype, and returns a new array, or null with an exception set.
    unsafe {
        let array = PY_ARRAY_API.PyArray_Zeros(py, dims.len() as c_int, dims.as_mut_ptr(), descr.into_ptr().cast(), 0);
        Ok(Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked())
    }
}

/// Returns a shape as Python writes it.
pub(crate) fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
