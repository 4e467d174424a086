//! Faults put into the program: the C helpers of this folder, compiled when they are first needed.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Compiles `tests/it/program/NAME.c` with these flags; why not, if that cannot be.
fn compiled(name: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/program").join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output =
        Command::new(&cc).args(["-O1", "-Wall", "-Wextra", "-Werror"]).args(flags).arg("-o").arg(&program).arg(source).output();
    let output = output.map_err(|e| format!("no C compiler `{cc}`: {e}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(program)
}

/// Prints that a test is skipped because this machine lacks something. Bypasses the harness, which
/// hides the output of tests that pass.
///
/// # Panics
/// If `GAITPROP_EXPECT_FAULTS` says that this machine lacks nothing.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("GAITPROP_EXPECT_FAULTS").is_none(), "faults cannot be put in here: {why}");
    let test = std::thread::current();
    let _ = writeln!(std::io::stderr(), "skipped {}: {why}", test.name().unwrap_or_default());
}

/// The means, unless this machine lacks them: the test is then [`skipped`].
fn said(means: &Result<PathBuf, String>) -> Option<&Path> {
    if let Err(why) = means {
        skipped(why);
    }
    means.as_deref().ok()
}

/// The program that makes system calls fail, if this machine lets it.
pub(crate) fn faults() -> Option<&'static Path> {
    static FAULTS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let program = compiled("faults", &[])?;
        let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}", std::process::id()));
        let probe = Command::new(&program)
            .args(["mkdir", "1", "EIO", "/"])
            .args([report.as_os_str(), OsStr::new("/bin/true")])
            .output()
            .unwrap();
        let _ = fs::remove_file(report);
        if probe.status.success() { Ok(program) } else { Err(String::from_utf8_lossy(&probe.stderr).into_owned()) }
    };
    said(FAULTS.get_or_init(build))
}

/// The library that sets the clock back, if there is a compiler.
pub(crate) fn backward_clock() -> Option<&'static Path> {
    static CLOCK: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    said(CLOCK.get_or_init(|| compiled("clock", &["-shared", "-fPIC"])))
}

/// A fault: of which calls, which of them, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) calls: &'a str,
    pub(crate) at: usize,
    /// To all later calls too.
    pub(crate) stays: bool,
    pub(crate) what: &'a str,
}

/// Runs the words of `line` in `dir` with a fault among the calls on files in it: how that ended, and the call that was hit, if it came so far.
pub(crate) fn with_fault(faults: &Path, dir: &Path, fault: Fault<'_>, line: &str) -> (Output, Option<String>) {
    let Fault { calls, at, stays, what } = fault;
    // Beside the folder, which stays the program's alone.
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hit-{}", dir.file_name().unwrap().to_string_lossy()));
    let mut command = Command::new(faults);
    command.args([calls, &format!("{at}{}", if stays { "+" } else { "" }), what]).arg(dir).arg(&report);
    command.arg(env!("CARGO_BIN_EXE_gaitprop")).args(line.split_whitespace());
    let output = command.current_dir(dir).env_remove("RUST_BACKTRACE").stdin(Stdio::null()).output().unwrap();
    let said = fs::read_to_string(&report).unwrap_or_else(|e| panic!("{fault:?}: {e}: {output:?}"));
    let _ = fs::remove_file(report);
    let hit = said.trim().split_once(' ').unwrap().1.to_owned();
    (output, Some(hit).filter(|hit| hit != "none"))
}
