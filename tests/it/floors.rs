//! The floors of the library.

use crate::imports::{assert_down, planted};
use std::path::{Path, PathBuf};

/// Bottom to top.
const FLOORS: [&str; 13] =
    ["base", "data", "model", "ortho", "store", "solve", "rule", "step", "train", "study", "run", "report", "cli"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn imports_go_down_only() {
    assert_down(&FLOORS, &src());
}

/// Each kind of violation, planted in the sources, is found.
#[test]
fn a_planted_violation_is_found() {
    for (file, line, complaint) in [
        ("train/mod.rs", "use crate::study::align;", "train/mod.rs imports up: train → study"),
        ("ortho/hard.rs", "use crate::{model::init, step::optimizer};", "ortho/hard.rs imports up: ortho → step"),
        ("run/dir.rs", "use crate::run::batch::Store;", "a circle of imports"),
        ("solve/mod.rs", "use auto::Auto;", "a circle of imports"),
        ("run/dir.rs", "use crate::Network;", "through the re-exports of lib.rs"),
    ] {
        let wrong = planted(&FLOORS, &src(), file, line);
        assert!(wrong.iter().any(|w| w.contains(complaint)), "{file}, {line:?}: {wrong:?}");
    }
}
