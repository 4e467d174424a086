//! The folders of `src` are floors: a file imports from its own floor and those below it, through
//! the defining file, and no circle of imports remains inside a floor.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bottom to top.
const FLOORS: [&str; 10] = ["base", "simd", "tile", "elementwise", "plan", "pack", "gemm", "level3", "factor", "check"];

/// Lines of a readable file, at most.
const MOST_LINES: usize = 600;

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|f| *f == name)
}

/// The source without comments, and without `#[cfg(test)]` modules, which stand at the end of a
/// file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let text = text.split("#[cfg(all(test, feature = \"threads\"))]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every path that starts with `crate::`, with the trees of `use` declarations expanded.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        expand("", &code[at + "crate::".len()..], &mut found);
    }
    found
}

/// Reads one path or tree from the front of `text`; returns what follows it.
fn expand<'t>(prefix: &str, text: &'t str, found: &mut Vec<String>) -> &'t str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '*')).unwrap_or(text.len());
    let (head, mut rest) = text.split_at(end);
    let path = format!("{prefix}{head}");
    if !(head.is_empty() || head.ends_with("::")) || !rest.starts_with('{') {
        found.push(path.trim_end_matches("::").to_string());
        return rest;
    }
    rest = &rest[1..];
    while !rest.starts_with('}') {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if !rest.starts_with('}') {
            rest = expand(&path, rest, found);
        }
    }
    &rest[1..]
}

/// Every violation in the files, given as (path below `src`, text).
fn violations(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    // Imports between files of one floor.
    let mut arrows: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{file} has {lines} lines, more than {MOST_LINES}"));
        }
        let Some((own, _)) = file.split_once('/') else { continue };
        let height = floor(own).unwrap_or_else(|| panic!("{file}: {own} is no floor"));
        let code = code(text);
        if code.contains("super::") {
            wrong.push(format!("{file} imports through `super`: name the file from `crate` on"));
        }
        for (at, _) in code.match_indices("pub use crate::") {
            if !code[at..].starts_with(&format!("pub use crate::{own}::")) {
                wrong.push(format!("{file} re-exports another floor: only lib.rs does"));
            }
        }
        for path in paths(&code) {
            let mut parts = path.split("::");
            let (target, module) = (parts.next().unwrap(), parts.next());
            match floor(target) {
                None => wrong.push(format!("{file} imports `crate::{path}` through the re-exports of lib.rs")),
                Some(h) if h > height => wrong.push(format!("{file} imports up: {own} → {target} (`crate::{path}`)")),
                Some(h) if h == height => {
                    let below = format!("{own}/{}.rs", module.unwrap_or("mod"));
                    let target = if files.contains_key(&below) { below } else { format!("{own}/mod.rs") };
                    if target != *file {
                        arrows.entry(file).or_default().insert(target);
                    }
                }
                Some(_) => {}
            }
        }
    }
    // Depth first: an arrow to a file that is still being visited closes a circle.
    fn visit<'a>(
        file: &'a str,
        arrows: &'a BTreeMap<&str, BTreeSet<String>>,
        trail: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        wrong: &mut Vec<String>,
    ) {
        if let Some(at) = trail.iter().position(|f| *f == file) {
            wrong.push(format!("a circle of imports: {} → {file}", trail[at..].join(" → ")));
            return;
        }
        if !done.insert(file) {
            return;
        }
        trail.push(file);
        for next in arrows.get(file).into_iter().flatten() {
            visit(next, arrows, trail, done, wrong);
        }
        trail.pop();
    }
    let mut done = BTreeSet::new();
    for file in arrows.keys() {
        visit(file, &arrows, &mut Vec::new(), &mut done, &mut wrong);
    }
    wrong
}

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
#[cfg_attr(miri, ignore = "reads the sources")]
fn imports_go_down_only() {
    let files = sources();
    assert!(FLOORS.iter().all(|floor| files.keys().any(|f| f.starts_with(&format!("{floor}/")))), "a floor is empty");
    let wrong = violations(&files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each kind of violation, planted in the sources, is found.
#[test]
#[cfg_attr(miri, ignore = "is about the test")]
fn a_planted_violation_is_found() {
    let plant = |file: &str, line: &str| {
        let mut files = sources();
        let text = files.entry(file.into()).or_default();
        *text = format!("{line}\n{text}");
        violations(&files)
    };
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
