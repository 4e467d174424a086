//! The integration tests of the package, in one program: `cargo test -p gaitprop --test it`, or `... --test it resume::` for one file's.
//!
//! Without the feature `cli` the tests of the program are left out, without `npz` those that read archives.
//!
//! `tests/allocations.rs` counts the allocations of its process, and is a program of its own.

#[cfg(feature = "cli")]
mod program;
mod support;

#[cfg(all(feature = "cli", target_os = "linux"))]
mod bad_inputs;
#[cfg(all(feature = "cli", unix))]
mod browser;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod compare;
mod contracts;
#[cfg(feature = "npz")]
mod data_formats;
mod decorrelated;
mod exactness;
// Linux only. Faults need `seccomp`, and /proc shows which signals a program was started to ignore
// (`nohup`); on other systems that takes unsafe code.
#[cfg(all(feature = "cli", target_os = "linux"))]
mod faults;
mod feedback;
mod filters;
mod floors;
mod fused_step;
mod gauss_newton;
#[cfg(feature = "npz")]
mod golden;
#[path = "../../kernels/tests/it/imports.rs"]
mod imports;
mod inverses;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod kills;
mod links;
mod msrv;
mod ortho;
#[cfg(all(feature = "cli", unix))]
mod paper;
mod perturbation;
mod published;
mod regressions;
#[cfg(feature = "cli")]
mod report;
#[cfg(feature = "cli")]
mod resume;
mod rules;
mod solve;
