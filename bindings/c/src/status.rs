//! Status codes, and the last error of a context.

use core::ffi::{c_char, c_int};
use core::fmt::{self, Display, Write};
use gaitprop_kernels::Error;

/// Outcome of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_status {
    /// Done.
    GAITPROP_OK = 0,
    /// The shapes of two operands do not match.
    GAITPROP_SHAPE = 1,
    /// The function does not support an operand's strides or alignment.
    GAITPROP_LAYOUT = 2,
    /// A written operand shares an element with itself or with another operand.
    GAITPROP_OVERLAP = 3,
    /// A zero pivot: the matrix is singular. Sets `index`.
    GAITPROP_SINGULAR = 4,
    /// The matrix of a Cholesky factorization is not positive definite. Sets `index`.
    GAITPROP_NOT_POSITIVE = 5,
    /// A factorization or solve found an infinity or NaN at pivot `index`, or an optimizer wrote
    /// one.
    GAITPROP_NOT_FINITE = 6,
    /// A target lies outside the activation's range. Sets `row` and `col`.
    GAITPROP_DOMAIN = 7,
    /// A parameter is outside its range.
    GAITPROP_PARAMETER = 8,
    /// A packed operand belongs to another instruction set or product.
    GAITPROP_PACKED = 9,
    /// The system refused memory.
    GAITPROP_MEMORY = 10,
    /// The system refused a thread.
    GAITPROP_THREADS = 11,
    /// A pointer is NULL.
    GAITPROP_NULL = 12,
    /// The context is in use, by another thread or by the call whose callback makes this one.
    GAITPROP_BUSY = 13,
    /// The self-test found a wrong bit.
    GAITPROP_WRONG_BITS = 14,
    /// An error of the library itself.
    GAITPROP_INTERNAL = 15,
}

use gaitprop_status::{
    GAITPROP_DOMAIN, GAITPROP_INTERNAL, GAITPROP_LAYOUT, GAITPROP_MEMORY, GAITPROP_NOT_FINITE, GAITPROP_NOT_POSITIVE,
    GAITPROP_NULL, GAITPROP_OK, GAITPROP_OVERLAP, GAITPROP_PACKED, GAITPROP_PARAMETER, GAITPROP_SHAPE, GAITPROP_SINGULAR,
    GAITPROP_THREADS, GAITPROP_WRONG_BITS,
};

/// The last error of a context. A field that the status does not set is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_error_info {
    /// Status of the last call that failed, except GAITPROP_BUSY.
    pub status: gaitprop_status,
    /// Index of a pivot, or of a matrix of a batch.
    pub index: usize,
    /// Row of an element.
    pub row: usize,
    /// Column of an element.
    pub col: usize,
    /// A sentence in UTF-8 that ends with 0, cut if it is longer.
    pub text: [c_char; 256],
}

impl gaitprop_error_info {
    pub(crate) const NONE: Self = Self { status: GAITPROP_OK, index: 0, row: 0, col: 0, text: [0; 256] };

    pub(crate) fn of(failure: &Failure) -> Self {
        let mut info = Self { status: failure.status(), ..Self::NONE };
        if let Failure::Kernel(error) = failure {
            match error {
                Error::ZeroPivot { index }
                | Error::NotPositiveDefinite { index }
                | Error::NonFinite { index }
                | Error::Batch { index, .. } => info.index = *index,
                Error::Domain { row, col } => (info.row, info.col) = (*row, *col),
                _ => {}
            }
        }
        copy_text(&mut info.text, failure);
        info
    }
}

/// Writes what fits of `text` and a closing 0.
pub(crate) fn copy_text(out: &mut [c_char], text: impl Display) {
    let Some(room) = out.len().checked_sub(1) else { return };
    let mut cut = Cut { out, len: 0, room };
    // An error means that the text was cut.
    let _ = write!(cut, "{text}");
    let end = cut.len;
    out[end] = 0;
}

struct Cut<'a> {
    out: &'a mut [c_char],
    len: usize,
    /// Number of bytes that still fit.
    room: usize,
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = (0..=self.room.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        for &byte in &text.as_bytes()[..fits] {
            self.out[self.len] = byte as c_char;
            self.len += 1;
        }
        self.room -= fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The reason why a call fails.
#[derive(Debug)]
pub(crate) enum Failure {
    Kernel(Error),
    Null(&'static str),
    /// The address is no multiple of the element's size.
    Unaligned(&'static str),
    /// An element's offset does not fit the address space.
    Extent(&'static str),
    /// Two indices of a written operand reach one element.
    Repeats(&'static str),
    /// Two operands share an element, and one of them is written.
    Shared(&'static str, &'static str),
    /// An optimizer wrote an infinity or a NaN.
    Diverged,
    WrongBits(String),
    /// The thread flushes subnormal numbers to 0.
    Flushed,
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl Failure {
    pub(crate) fn status(&self) -> gaitprop_status {
        match self {
            Self::Kernel(error) => status_of(error),
            Self::Null(_) => GAITPROP_NULL,
            Self::Unaligned(_) | Self::Extent(_) => GAITPROP_LAYOUT,
            Self::Repeats(_) | Self::Shared(..) => GAITPROP_OVERLAP,
            Self::Diverged => GAITPROP_NOT_FINITE,
            Self::WrongBits(_) | Self::Flushed => GAITPROP_WRONG_BITS,
            Self::Panic(_) => GAITPROP_INTERNAL,
        }
    }
}

fn status_of(error: &Error) -> gaitprop_status {
    match error {
        Error::Shape { .. } | Error::Count { .. } => GAITPROP_SHAPE,
        Error::Layout { .. } | Error::OutOfBounds { .. } => GAITPROP_LAYOUT,
        Error::Overlap { .. } | Error::BatchOverlap { .. } => GAITPROP_OVERLAP,
        Error::ZeroPivot { .. } => GAITPROP_SINGULAR,
        Error::NotPositiveDefinite { .. } => GAITPROP_NOT_POSITIVE,
        Error::NonFinite { .. } => GAITPROP_NOT_FINITE,
        Error::Domain { .. } => GAITPROP_DOMAIN,
        Error::Parameter { .. } | Error::IsaUnavailable { .. } | Error::BackendUnavailable { .. } => GAITPROP_PARAMETER,
        Error::Packed { .. } => GAITPROP_PACKED,
        Error::OutOfMemory { .. } => GAITPROP_MEMORY,
        Error::Threads { .. } => GAITPROP_THREADS,
        Error::Batch { error, .. } => status_of(error),
        _ => GAITPROP_INTERNAL,
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::Null(what) => write!(f, "{what} is NULL"),
            Self::Unaligned(what) => write!(f, "{what} is not aligned: its address must be a multiple of its element's size"),
            Self::Extent(what) => write!(f, "{what} does not fit the address space: its sizes or strides are too large"),
            Self::Repeats(what) => {
                write!(f, "{what} is written, but its strides let two indices reach one element")
            }
            Self::Shared(one, other) => write!(f, "{one} shares memory with {other}, and one of them is written"),
            Self::Diverged => write!(f, "a new parameter or second moment is infinite or NaN"),
            Self::WrongBits(check) => write!(f, "wrong bits: {check}"),
            Self::Flushed => {
                write!(f, "this thread flushes subnormal numbers to 0 (-ffast-math sets this mode), so bits differ")
            }
            Self::Panic(message) => write!(f, "error in the library: {message}"),
        }
    }
}

/// Returns the meaning of a status as a constant string.
#[unsafe(no_mangle)]
pub extern "C" fn gaitprop_status_text(status: c_int) -> *const c_char {
    let text = match status {
        0 => c"done",
        1 => c"the shapes of two operands do not match",
        2 => c"the strides or the alignment of an operand are not supported",
        3 => c"a written operand shares an element with itself or another operand",
        4 => c"the matrix is singular",
        5 => c"the matrix is not positive definite",
        6 => c"an infinity or NaN",
        7 => c"a target lies outside the activation's range",
        8 => c"a parameter is outside its range",
        9 => c"a packed operand belongs to another instruction set or product",
        10 => c"the system refused memory",
        11 => c"the system refused a thread",
        12 => c"a pointer is NULL",
        13 => c"the context is in use",
        14 => c"the self-test found a wrong bit",
        15 => c"an error of the library itself",
        _ => c"unknown status",
    };
    text.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    fn text_of(info: &gaitprop_error_info) -> String {
        // SAFETY: `copy_text` ends every text with 0.
        unsafe { CStr::from_ptr(info.text.as_ptr()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let info = gaitprop_error_info::of(&Failure::Panic("é".repeat(200)));
        let text = text_of(&info);
        assert!(text.len() >= 254 && text.ends_with('é'), "{text}");
        let mut none: [c_char; 0] = [];
        copy_text(&mut none, "text");
        let mut one = [7];
        copy_text(&mut one, "text");
        assert_eq!(one, [0]);
    }

    #[test]
    fn errors_name_their_place() {
        let pivot = gaitprop_error_info::of(&Error::ZeroPivot { index: 3 }.into());
        assert_eq!((pivot.status, pivot.index), (GAITPROP_SINGULAR, 3));
        let domain = gaitprop_error_info::of(&Error::Domain { row: 4, col: 5 }.into());
        assert_eq!((domain.status, domain.row, domain.col), (GAITPROP_DOMAIN, 4, 5));
        let inner = Box::new(Error::OutOfMemory { bytes: 1 });
        let batch = gaitprop_error_info::of(&Error::Batch { index: 6, error: inner }.into());
        assert_eq!((batch.status, batch.index), (GAITPROP_MEMORY, 6));
        assert!(text_of(&batch).contains("matrix 6"), "{}", text_of(&batch));
    }
}
