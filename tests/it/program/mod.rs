//! The program, as tests start it, and what they look at and do around it.

pub(crate) mod folder;
#[cfg(target_os = "linux")]
pub(crate) mod inject;
pub(crate) mod page;
#[cfg(target_os = "linux")]
pub(crate) mod room;
pub(crate) mod runs;

use std::path::Path;
use std::process::{Command, Stdio};

/// The program in folder `dir`, with the words of `line` as its arguments; what it prints is for the test.
pub(crate) fn program(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitprop"));
    command.current_dir(dir).args(line.split_whitespace()).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
