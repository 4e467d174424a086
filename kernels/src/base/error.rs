//! Errors caused by the caller's input. Bugs of this crate panic instead.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// The error type of every public function of this crate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The shapes of two operands do not match.
    Shape {
        /// The operand with the wrong shape.
        what: &'static str,
        /// The rows and columns that it must have.
        expected: (usize, usize),
        /// The rows and columns that it has.
        found: (usize, usize),
    },
    /// A view reaches outside its slice.
    OutOfBounds {
        /// Length of the slice, in elements.
        len: usize,
        /// Lowest index that the view touches.
        first: isize,
        /// Highest index that the view touches.
        last: isize,
    },
    /// Two indices of a mutable view could reach the same element.
    Overlap {
        /// Row stride, in elements.
        rs: isize,
        /// Column stride, in elements.
        cs: isize,
    },
    /// Two matrices of a mutable batch could share an element.
    BatchOverlap {
        /// Elements from one matrix to the next.
        stride: isize,
        /// Row stride, in elements.
        rs: isize,
        /// Column stride, in elements.
        cs: isize,
    },
    /// The operands of a batch differ in their number of matrices.
    Count {
        /// The operand with the wrong number.
        what: &'static str,
        /// The number of matrices that it must have.
        expected: usize,
        /// The number of matrices that it has.
        found: usize,
    },
    /// One product or matrix of a batch is invalid.
    Batch {
        /// Its index in the batch.
        index: usize,
        /// The error for it alone.
        error: Box<Error>,
    },
    /// This CPU or this build does not have the instruction set that the caller named.
    IsaUnavailable {
        /// The name that the caller gave.
        name: String,
        /// The names that are available.
        available: String,
    },
    /// This build does not contain the backend that the caller named.
    BackendUnavailable {
        /// The name that the caller gave.
        name: String,
        /// The names that are available.
        available: String,
    },
    /// A triangular or LU factor has a zero on its diagonal: the matrix is singular.
    ZeroPivot {
        /// Index of the zero on the diagonal.
        index: usize,
    },
    /// The matrix of a Cholesky factorization is not positive definite.
    NotPositiveDefinite {
        /// Index of the first pivot that is not positive.
        index: usize,
    },
    /// A factorization found an infinity or a NaN.
    NonFinite {
        /// Index of the pivot at which it was found.
        index: usize,
    },
    /// The inverse of an activation does not exist: the value lies outside the activation's range.
    Domain {
        /// Row of the value (the sample).
        row: usize,
        /// Column of the value (the neuron).
        col: usize,
    },
    /// A parameter is outside its range.
    Parameter {
        /// The parameter's name.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The range of accepted values.
        accepted: &'static str,
    },
    /// The function does not support the memory layout of an operand.
    Layout {
        /// The operand.
        what: &'static str,
        /// The accepted layout.
        accepted: &'static str,
    },
    /// An operand was packed for another plan or product than the one that uses it.
    Packed {
        /// The kernel or product that it was packed for.
        found: String,
        /// The kernel or product that it must be packed for.
        expected: String,
    },
    /// The system refused to start a thread.
    Threads {
        /// Number of threads requested, the calling one included.
        wanted: usize,
        /// Number of threads running at that point, the calling one included.
        started: usize,
    },
    /// The system refused to allocate memory.
    OutOfMemory {
        /// Number of bytes requested.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { what, expected, found } => {
                write!(f, "{what} is {}x{}, but must be {}x{}", found.0, found.1, expected.0, expected.1)
            }
            Self::OutOfBounds { len, first, last } => {
                write!(f, "a view of elements {first}..={last} exceeds a slice of {len} elements")
            }
            Self::Overlap { rs, cs } => {
                write!(f, "row stride {rs} and column stride {cs} let two indices of a mutable view reach one element")
            }
            Self::BatchOverlap { stride, rs, cs } => {
                write!(
                    f,
                    "batch stride {stride}, row stride {rs} and column stride {cs} let two matrices of a mutable batch share an element"
                )
            }
            Self::Count { what, expected, found } => write!(f, "{what} has {found} matrices, but must have {expected}"),
            Self::Batch { index, error } => write!(f, "matrix {index} of a batch: {error}"),
            Self::IsaUnavailable { name, available } => {
                write!(f, "instruction set `{name}` is not available here (available: {available})")
            }
            Self::BackendUnavailable { name, available } => {
                write!(f, "backend `{name}` is not in this build (available: {available})")
            }
            Self::ZeroPivot { index } => write!(f, "singular matrix: zero pivot at index {index}"),
            Self::NotPositiveDefinite { index } => write!(f, "matrix not positive definite: pivot {index} is not positive"),
            Self::NonFinite { index } => {
                write!(f, "the matrix contains an infinity or NaN (found at pivot {index})")
            }
            Self::Domain { row, col } => write!(
                f,
                "sample {row}, unit {col}: the target lies outside the activation's range, so its inverse does not exist"
            ),
            Self::Parameter { what, value, accepted } => {
                write!(f, "{what} is {value}, but must be {accepted}")
            }
            Self::Layout { what, accepted } => write!(f, "{what} must have {accepted}"),
            Self::Packed { found, expected } => {
                write!(f, "the operand was packed for {found}, but must be packed for {expected}")
            }
            Self::Threads { wanted, started } => {
                write!(f, "the system refused to start thread {} of {wanted}: use fewer threads", started + 1)
            }
            Self::OutOfMemory { bytes } => write!(f, "cannot allocate {bytes} bytes of memory"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Batch { error, .. } = self { Some(&**error) } else { None }
    }
}
