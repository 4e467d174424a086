//! The program `gaitprop`, as a function.

use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Run the program `gaitprop` and return its exit code.
///
/// Parameters
/// ----------
/// args : sequence of str
///     The command line; its first element is the program's name.
///
/// Returns
/// -------
/// int
///     0 for success, 1 for an error, 2 for an invalid command line, 130 after an interrupt.
#[pyfunction]
#[pyo3(signature = (args, /))]
pub(crate) fn main(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = gaitprop::cli::main(args);
        // A program flushes this when it ends; a library has to. A closed stream is not an error.
        let _ = std::io::stdout().flush();
        number(code)
    })
}

/// Returns the number of an exit code, which has no accessor.
fn number(code: ExitCode) -> u8 {
    (0..=u8::MAX).find(|&n| ExitCode::from(n) == code).unwrap_or(1)
}
