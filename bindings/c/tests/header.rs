//! The committed header is the one that cbindgen makes from the source.
//!
//! `GAITPROP_WRITE_HEADER=1 cargo test -p gaitprop-capi --test header` writes it anew.

use std::fs;
use std::path::Path;

/// Modules in the order of the header.
const MODULES: [&str; 11] =
    ["status", "types", "threads", "context", "reserve", "product", "triangular", "factor", "packed", "linear", "elementwise"];

#[test]
fn the_header_is_that_of_the_source() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut builder = cbindgen::Builder::new().with_config(cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap());
    for module in MODULES {
        builder = builder.with_src(package.join(format!("src/{module}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("a header").write(&mut made);
    let made = String::from_utf8(made).unwrap();
    // A module that is left out would leave out its functions.
    for line in fs::read_to_string(package.join("src/lib.rs")).unwrap().lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            assert!(MODULES.contains(&module.trim_end_matches(';')), "{module} is not in the header");
        }
    }
    let committed = package.join("include/gaitprop.h");
    if std::env::var_os("GAITPROP_WRITE_HEADER").is_some() {
        fs::write(&committed, &made).unwrap();
    }
    let found = fs::read_to_string(&committed).unwrap();
    let differs =
        found.lines().zip(made.lines()).position(|(a, b)| a != b).map_or("at its end".into(), |at| format!("in line {}", at + 1));
    assert!(found == made, "include/gaitprop.h differs {differs}: GAITPROP_WRITE_HEADER=1 writes it anew");
}
