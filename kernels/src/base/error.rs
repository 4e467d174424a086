//! What callers' data can get wrong. Mistakes of this crate's own are panics, never these.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// Everything a public function of this crate can refuse.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Two operands do not fit together.
    Shape {
        /// The operand that does not fit.
        what: &'static str,
        /// Rows and columns it should have had.
        expected: (usize, usize),
        /// Rows and columns it has.
        found: (usize, usize),
    },
    /// A view reaches outside the slice it is made from.
    OutOfBounds {
        /// Length of the slice, in elements.
        len: usize,
        /// The lowest element index the view touches.
        first: isize,
        /// The highest element index the view touches.
        last: isize,
    },
    /// A mutable view would reach the same element by two indices.
    Overlap {
        /// Row stride, in elements.
        rs: isize,
        /// Column stride, in elements.
        cs: isize,
    },
    /// Two matrices of a mutable batch would share an element.
    BatchOverlap {
        /// Elements from a matrix to the next.
        stride: isize,
        /// Row stride, in elements.
        rs: isize,
        /// Column stride, in elements.
        cs: isize,
    },
    /// Operands of a batch differ in number.
    Count {
        /// The operand that does not fit.
        what: &'static str,
        /// How many matrices it should have had.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// One product or matrix of a batch is refused.
    Batch {
        /// Which.
        index: usize,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// This CPU (or this build) does not have the instruction set that the caller named.
    IsaUnavailable {
        /// The caller's name.
        name: String,
        /// The names that would have been accepted.
        available: String,
    },
    /// This build does not contain the backend that the caller named.
    BackendUnavailable {
        /// The caller's name.
        name: String,
        /// The names that would have been accepted.
        available: String,
    },
    /// A triangular or LU factor has a zero on its diagonal: the matrix is singular.
    ZeroPivot {
        /// Index of the zero on the diagonal.
        index: usize,
    },
    /// A matrix to be factored by Cholesky's method is not positive definite.
    NotPositiveDefinite {
        /// Index of the first pivot that is not above 0.
        index: usize,
    },
    /// A factorisation met an infinity or a NaN.
    NonFinite {
        /// Index on the diagonal at which it was met.
        index: usize,
    },
    /// An activation's inverse was asked for outside the activation's range.
    Domain {
        /// Sample (row) of the offending unit.
        row: usize,
        /// Column of the offending unit.
        col: usize,
    },
    /// A parameter is outside its range.
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// An operand lies in memory in a way this function cannot work with.
    Layout {
        /// The operand.
        what: &'static str,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// A packed operand does not fit the plan or the product it is used in.
    Packed {
        /// What it was packed for.
        found: String,
        /// What is wanted here.
        expected: String,
    },
    /// The system refused to start a thread.
    Threads {
        /// How many were asked for, the calling one included.
        wanted: usize,
        /// How many there were when it refused.
        started: usize,
    },
    /// Memory for packing could not be had.
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { what, expected, found } => {
                write!(f, "{what} should be {}x{}, but is {}x{}", expected.0, expected.1, found.0, found.1)
            }
            Self::OutOfBounds { len, first, last } => {
                write!(f, "a view of elements {first}..={last} does not fit in a slice of {len}")
            }
            Self::Overlap { rs, cs } => {
                write!(f, "strides {rs} and {cs} would let two indices reach one element of a mutable view")
            }
            Self::BatchOverlap { stride, rs, cs } => {
                write!(
                    f,
                    "a batch stride of {stride} with strides {rs} and {cs} would let two matrices of a mutable batch share an element"
                )
            }
            Self::Count { what, expected, found } => write!(f, "{what} should hold {expected} matrices, but holds {found}"),
            Self::Batch { index, error } => write!(f, "matrix {index} of a batch: {error}"),
            Self::IsaUnavailable { name, available } => {
                write!(f, "instruction set `{name}` is not available here (available: {available})")
            }
            Self::BackendUnavailable { name, available } => {
                write!(f, "backend `{name}` is not in this build (available: {available})")
            }
            Self::ZeroPivot { index } => write!(f, "singular matrix: zero pivot at index {index}"),
            Self::NotPositiveDefinite { index } => write!(f, "the matrix is not positive definite: pivot {index} is not above 0"),
            Self::NonFinite { index } => {
                write!(f, "the matrix holds an infinity or NaN (met at pivot {index})")
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
                write!(f, "the packed operand is for {found}, but {expected} is wanted: pack it again with this plan")
            }
            Self::Threads { wanted, started } => {
                write!(f, "the system refused thread {} of {wanted}: ask for fewer threads", started + 1)
            }
            Self::OutOfMemory { bytes } => write!(f, "could not get {bytes} bytes of memory"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Batch { error, .. } = self { Some(&**error) } else { None }
    }
}
