//! The integration tests of the package, in one program: `cargo test -p gaitprop --test it`, or `... --test it resume::` for one file's.
//!
//! `tests/allocations.rs` counts the allocations of its process, and is a program of its own.

mod program;
mod support;

#[cfg(target_os = "linux")]
mod bad_inputs;
#[cfg(unix)]
mod browser;
mod cli;
mod compare;
mod contracts;
mod data_formats;
mod exactness;
#[cfg(target_os = "linux")]
mod faults;
mod filters;
mod floors;
mod fused_step;
mod golden;
#[path = "../../kernels/tests/it/imports.rs"]
mod imports;
mod inverse;
mod msrv;
mod ortho;
mod perturbation;
mod regressions;
mod report;
mod resume;
mod rules;
