//! The floors of this crate.

use crate::imports::{MOST_LINES, assert_down, planted};
use std::path::Path;

/// Bottom to top.
const FLOORS: [&str; 11] = ["base", "simd", "tile", "elementwise", "plan", "pack", "gemm", "level2", "level3", "factor", "check"];

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
#[cfg_attr(miri, ignore = "reads the sources")]
fn imports_go_down_only() {
    assert_down(&FLOORS, &src());
}

/// Each kind of violation, planted in the sources, is found.
#[test]
#[cfg_attr(miri, ignore = "is about the test")]
fn a_planted_violation_is_found() {
    let plant = |file: &str, line: &str| planted(&FLOORS, &src(), file, line);
    for (file, line, complaint) in [
        ("simd/copy.rs", "use crate::gemm::job::Job;", "simd/copy.rs imports up: simd → gemm"),
        ("base/error.rs", "use crate::{base::isa::Isa, tile::table::Real};", "base/error.rs imports up: base → tile"),
        ("gemm/small.rs", "fn f() -> $crate::check::selftest::Check {}", "gemm/small.rs imports up: gemm → check"),
        ("pack/panel.rs", "use crate::Error;", "pack/panel.rs imports `crate::Error` through the re-exports"),
        ("base/error.rs", "use crate::base::isa::Isa;", "a circle of imports"),
        ("gemm/fused.rs", "pub use crate::plan::Plan;", "gemm/fused.rs re-exports another floor"),
        ("simd/copy.rs", "use crate::{base::isa::Isa, gemm::*};", "simd/copy.rs imports up: simd → gemm"),
        ("plan/mod.rs", "use super::tile;", "plan/mod.rs imports through `super`"),
        ("tile/strip.rs", &"\n".repeat(MOST_LINES), "more than 600"),
    ] {
        let wrong = plant(file, line);
        assert!(wrong.iter().any(|w| w.contains(complaint)), "{file}, {line:?}: {wrong:?}");
    }
    // Comments and tests may name what they like.
    assert!(plant("base/error.rs", "//! crate::gemm::job").is_empty());
}
