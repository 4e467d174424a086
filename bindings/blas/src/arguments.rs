//! Arguments of a call as BLAS states them: flags, sizes, leading dimensions, and the views that
//! they describe.
//!
//! Sizes and strides of both naming widths arrive as `i64`, so that no value is narrowed.

use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{MatMut, MatRef, Real};
use std::ffi::c_int;

/// The position of an illegal argument in the Fortran call, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Illegal(pub(crate) i32);

/// Whether an operand is transposed. The conjugate transpose of a real matrix is its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trans {
    No,
    Yes,
}

impl Trans {
    /// Returns the rows and columns of the stored matrix whose op has the shape `rows × cols`.
    pub(crate) fn stored(self, rows: i64, cols: i64) -> (i64, i64) {
        if self == Self::No { (rows, cols) } else { (cols, rows) }
    }

    /// Returns op(A) of the stored A.
    pub(crate) fn of<T>(self, a: MatRef<'_, T>) -> MatRef<'_, T> {
        if self == Self::No { a } else { a.t() }
    }
}

/// A flag, which Fortran passes as a letter and CBLAS as a number.
pub(crate) trait Flag: Sized {
    /// Returns the value of a letter, in upper case.
    fn letter(letter: u8) -> Option<Self>;
    /// Returns the value of a member of the CBLAS enumeration.
    fn number(number: c_int) -> Option<Self>;
}

/// Implements [`Flag`] by a table of letters and numbers.
macro_rules! flags {
    ($($flag:ident { $($letter:literal | $number:literal => $value:ident),+ $(,)? })+) => {
        $(impl Flag for $flag {
            fn letter(letter: u8) -> Option<Self> {
                match letter {
                    $($letter => Some(Self::$value),)+
                    _ => None,
                }
            }
            fn number(number: c_int) -> Option<Self> {
                match number {
                    $($number => Some(Self::$value),)+
                    _ => None,
                }
            }
        })+
    };
}

flags! {
    Trans { b'N' | 111 => No, b'T' | 112 => Yes, b'C' | 113 => Yes }
    Triangle { b'U' | 121 => Upper, b'L' | 122 => Lower }
    Diag { b'N' | 131 => Stored, b'U' | 132 => Unit }
    Side { b'L' | 141 => Left, b'R' | 142 => Right }
}

/// Reads the flag at `letter`, argument `position` of a Fortran call. Fortran ignores its case.
///
/// # Safety
/// `letter` points to a character.
#[inline]
pub(crate) unsafe fn letter<F: Flag>(letter: *const u8, position: i32) -> Result<F, Illegal> {
    // SAFETY: the caller promises a character.
    F::letter(unsafe { *letter }.to_ascii_uppercase()).ok_or(Illegal(position))
}

/// Returns the flag of a CBLAS enumeration, argument `position` of the Fortran call.
#[inline]
pub(crate) fn number<F: Flag>(number: c_int, position: i32) -> Result<F, Illegal> {
    F::number(number).ok_or(Illegal(position))
}

/// Returns the other side.
pub(crate) fn opposite(side: Side) -> Side {
    if side == Side::Left { Side::Right } else { Side::Left }
}

/// Refuses argument `position` unless `legal`.
#[inline]
pub(crate) fn require(legal: bool, position: i32) -> Result<(), Illegal> {
    if legal { Ok(()) } else { Err(Illegal(position)) }
}

/// Refuses a leading dimension below the number of stored rows, or below 1.
#[inline]
pub(crate) fn require_leading(ld: i64, rows: i64, position: i32) -> Result<(), Illegal> {
    require(ld >= rows.max(1), position)
}

/// Returns a size, which has been checked, as a number of elements.
#[inline]
pub(crate) fn size(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Returns a stride in elements. One beyond `isize` cannot separate elements in memory.
#[inline]
pub(crate) fn stride(s: i64) -> isize {
    isize::try_from(s).unwrap_or(isize::MAX)
}

/// Views the column-major `rows × cols` matrix at `ptr`.
///
/// # Safety
/// As [`MatRef::from_raw_parts`], for columns `ld` elements apart.
#[inline]
pub(crate) unsafe fn matrix<'a, T: Real>(ptr: *const T, (rows, cols): (i64, i64), ld: i64) -> MatRef<'a, T> {
    // SAFETY: the caller promises these elements.
    unsafe { MatRef::from_raw_parts(ptr, (size(rows), size(cols)), (1, stride(ld))) }
}

/// Views the column-major `rows × cols` result at `ptr`.
///
/// # Safety
/// As [`MatMut::from_raw_parts`], for columns `ld` elements apart. `ld` is at least `rows`, so that
/// elements are distinct.
#[inline]
pub(crate) unsafe fn matrix_mut<'a, T: Real>(ptr: *mut T, (rows, cols): (i64, i64), ld: i64) -> MatMut<'a, T> {
    // SAFETY: the caller promises these elements.
    unsafe { MatMut::from_raw_parts(ptr, (size(rows), size(cols)), (1, stride(ld))) }
}

/// Returns a pointer to element 0 of a vector: for a negative increment it is the last in memory.
#[inline]
fn first<T>(ptr: *const T, n: i64, inc: i64) -> *const T {
    if inc < 0 && n > 0 { ptr.wrapping_offset((1 - stride(n)).wrapping_mul(stride(inc))) } else { ptr }
}

/// Views the vector of `n` elements at `ptr`, as a column.
///
/// # Safety
/// As [`MatRef::from_raw_parts`], for elements `|inc|` apart from `ptr` upwards.
#[inline]
pub(crate) unsafe fn vector<'a, T: Real>(ptr: *const T, n: i64, inc: i64) -> MatRef<'a, T> {
    // SAFETY: the caller promises these elements. `first` is one of them.
    unsafe { MatRef::from_raw_parts(first(ptr, n, inc), (size(n), 1), (stride(inc), 1)) }
}

/// Views the result of `n` elements at `ptr`, as a column.
///
/// # Safety
/// As [`MatMut::from_raw_parts`], for elements `|inc|` apart from `ptr` upwards. `inc` is not 0.
#[inline]
pub(crate) unsafe fn vector_mut<'a, T: Real>(ptr: *mut T, n: i64, inc: i64) -> MatMut<'a, T> {
    // SAFETY: the caller promises these elements. `first` is one of them.
    unsafe { MatMut::from_raw_parts(first(ptr, n, inc).cast_mut(), (size(n), 1), (stride(inc), 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_fortran_and_cblas() {
        for (text, number, wanted) in [(b'n', 111, Trans::No), (b't', 112, Trans::Yes), (b'C', 113, Trans::Yes)] {
            // SAFETY: a character on the stack.
            assert_eq!(unsafe { letter::<Trans>(&text, 3) }, Ok(wanted));
            assert_eq!(super::number::<Trans>(number, 3), Ok(wanted));
        }
        assert_eq!(number::<Side>(142, 2), Ok(Side::Right));
        assert_eq!(number::<Diag>(132, 2), Ok(Diag::Unit));
        assert_eq!(number::<Triangle>(122, 2), Ok(Triangle::Lower));
        assert_eq!(number::<Triangle>(141, 9), Err(Illegal(9)));
        // SAFETY: as above.
        assert_eq!(unsafe { letter::<Triangle>(&b'/', 7) }, Err(Illegal(7)));
    }

    /// One column may be followed by a gap of more elements than 32 bits count.
    #[test]
    fn strides_are_never_narrowed() {
        let ld = i64::from(i32::MAX) + 7;
        let data = [1.0f64, 2.0];
        // SAFETY: one column of two elements.
        let view = unsafe { matrix(data.as_ptr(), (2, 1), ld) };
        assert_eq!((view.cs() as i64, view.get(1, 0)), (ld, 2.0));
        assert_eq!(require_leading(ld, ld + 1, 4), Err(Illegal(4)));
    }

    #[test]
    fn negative_increments_start_at_the_end() {
        let data = [1.0f32, 2.0, 3.0, 4.0, 5.0];
        // SAFETY: three elements, two apart.
        let view = unsafe { vector(data.as_ptr(), 3, -2) };
        assert_eq!(view.to_vec(), [5.0, 3.0, 1.0]);
    }
}
