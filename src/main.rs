//! The `gaitprop` program; everything is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gaitprop::cli::main(std::env::args_os())
}
