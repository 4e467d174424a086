//! The `gaitprop` program; the library implements it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gaitprop::cli::main(std::env::args_os())
}
