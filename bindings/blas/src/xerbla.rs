//! Answers to illegal arguments: BLAS's own, by the error handler that the program defines.
//!
//! A handler is looked up by name when it is needed, so that the program's own is found. The
//! default handler of a BLAS library is passed over, because netlib's ends the process. Without a
//! handler, one line goes to stderr. The call then returns, and nothing has been written.
//!
//! # Handlers that do not return
//! R's handler leaves by `longjmp`, Octave's by a C++ exception. Both cross the frames from the
//! handler to the program. These frames are `C-unwind`, own no memory, and have no destructor left
//! to run.

use crate::arguments::Illegal;
use crate::verbose::line;
use std::ffi::{CStr, c_char, c_int, c_void};

/// How one naming scheme decorates names, and the width of its integers.
pub(crate) struct Scheme {
    /// `xerbla_`, the Fortran handler.
    pub(crate) fortran: &'static CStr,
    /// `cblas_xerbla`, the CBLAS handler.
    pub(crate) cblas: &'static CStr,
    /// `dcopy_`, which every BLAS library of this scheme defines and no program does.
    pub(crate) probe: &'static CStr,
    /// Whether integers have 64 bits.
    pub(crate) wide: bool,
}

/// Bytes of a [`Name`]. A handler may copy up to 20 bytes, whatever the length says.
const NAME_BYTES: usize = 32;

/// The name of a routine, as handlers get it: at least six characters, blanks at its end, then
/// zeros.
pub(crate) struct Name {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl Name {
    /// Pads `text` with blanks to six characters, as Fortran does.
    pub(crate) const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(text.len() < NAME_BYTES, "a 0 must follow");
        let mut bytes = [0; NAME_BYTES];
        let mut len = 0;
        while len < text.len() || len < 6 {
            bytes[len] = if len < text.len() { text[len] } else { b' ' };
            len += 1;
        }
        Self { bytes, len }
    }

    /// Returns the name without blanks.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default().trim_end()
    }
}

/// Answers a Fortran call of `name`.
#[cold]
pub(crate) fn fortran(scheme: &Scheme, name: &'static Name, Illegal(position): Illegal) {
    let Some(handler) = handler(scheme.fortran, scheme.probe) else {
        return line(format_args!("parameter {position} of {} is illegal", name.text()));
    };
    // Fortran takes integers by reference, and the length of a string as a last argument.
    if scheme.wide {
        let position = i64::from(position);
        // SAFETY: the program defines XERBLA(CHARACTER*(*), INTEGER) for integers of 64 bits.
        unsafe {
            let handler: unsafe extern "C-unwind" fn(*const u8, *const i64, usize) = std::mem::transmute(handler);
            handler(name.bytes.as_ptr(), &position, name.len);
        }
    } else {
        // SAFETY: as above, for integers of 32 bits.
        unsafe {
            let handler: unsafe extern "C-unwind" fn(*const u8, *const c_int, usize) = std::mem::transmute(handler);
            handler(name.bytes.as_ptr(), &position, name.len);
        }
    }
}

/// Answers a CBLAS call of `name`, whose positions count the order.
///
/// A handler gets the position in the column-major call that a row-major call amounts to, as from
/// netlib: its handler, and its tester, exchange it back. The line gives the caller's own position.
#[cold]
pub(crate) fn cblas(scheme: &Scheme, name: &'static Name, row_major: bool, Illegal(position): Illegal) {
    let Some(handler) = handler(scheme.cblas, scheme.probe) else {
        let own = if row_major { exchanged(name.text(), position) } else { position };
        return line(format_args!("parameter {own} of {} is illegal", name.text()));
    };
    let text = name.bytes.as_ptr().cast::<c_char>();
    // SAFETY: the program defines cblas_xerbla(int, const char *, const char *, ...) for the
    // integers of the scheme. Both strings are static and end in 0.
    unsafe {
        if scheme.wide {
            let handler: unsafe extern "C-unwind" fn(i64, *const c_char, *const c_char, ...) = std::mem::transmute(handler);
            handler(position.into(), text, c"".as_ptr());
        } else {
            let handler: unsafe extern "C-unwind" fn(c_int, *const c_char, *const c_char, ...) = std::mem::transmute(handler);
            handler(position, text, c"".as_ptr());
        }
    }
}

/// Returns the position in a row-major call of argument `position` of its column-major equivalent.
fn exchanged(name: &str, position: i32) -> i32 {
    let pairs: &[(i32, i32)] = match name.get("cblas_s".len()..) {
        Some("gemm") => &[(4, 5), (9, 11)],
        Some("gemmt" | "gemmtr") => &[(9, 11)],
        Some("gemm_batch_strided") => &[(4, 5), (9, 12)],
        Some("symm") => &[(4, 5)],
        Some("trmm" | "trsm") => &[(6, 7)],
        Some("gemv") => &[(3, 4)],
        Some("ger") => &[(2, 3), (6, 8)],
        _ => &[],
    };
    for &(a, b) in pairs {
        if position == a || position == b {
            return a + b - position;
        }
    }
    position
}

/// Returns the handler of this name that the program defines, if any.
fn handler(name: &CStr, probe: &CStr) -> Option<*mut c_void> {
    // SAFETY: both names end in 0.
    let (found, library) =
        unsafe { (libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()), libc::dlsym(libc::RTLD_DEFAULT, probe.as_ptr())) };
    (!found.is_null() && (library.is_null() || object(found) != object(library))).then_some(found)
}

/// Returns the address of the shared object that `address` lies in.
fn object(address: *mut c_void) -> *mut c_void {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `info` has room for the answer; all zeros is a valid one, and `dladdr` replaces it.
    unsafe {
        libc::dladdr(address, info.as_mut_ptr());
        info.assume_init().dli_fbase
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_major_positions_are_the_callers() {
        assert_eq!(exchanged("cblas_sgemm", 11), 9);
        assert_eq!(exchanged("cblas_dger", 2), 3);
        assert_eq!(exchanged("cblas_dsyrk", 4), 4);
        assert_eq!(exchanged("cblas_strsm", 12), 12);
    }

    #[test]
    fn names_are_padded_to_six_characters() {
        for (text, padded) in [("SGER", "SGER  "), ("DSYR2K", "DSYR2K"), ("DGEMMTR", "DGEMMTR"), ("cblas_sger", "cblas_sger")] {
            let name = Name::new(text);
            assert_eq!((name.text(), &name.bytes[..name.len]), (text, padded.as_bytes()));
            assert!(name.bytes[name.len..].iter().all(|&byte| byte == 0) && name.len < NAME_BYTES);
        }
    }

    #[test]
    fn objects_are_told_apart() {
        let here = exchanged as *mut c_void;
        // Functions that a sanitizer leaves in the C library.
        // SAFETY: the name ends in 0.
        let libc = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getuid".as_ptr()) };
        assert!(!libc.is_null() && object(here) != object(libc));
        assert_eq!(handler(c"gaitprop_no_such_handler", c"getuid"), None);
        // Both come from one library.
        assert_eq!(handler(c"getuid", c"getppid"), None);
        assert_eq!(handler(c"getuid", c"gaitprop_no_such_routine"), Some(libc));
    }
}
