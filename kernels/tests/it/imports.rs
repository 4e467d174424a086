//! The rule of floors: the folders of a crate's `src` are floors. A file imports from its own floor
//! and those below it, through the defining file, and no circle of imports remains inside a floor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a readable file, at most.
pub(crate) const MOST_LINES: usize = 600;

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

/// Whether the code of a `mod.rs` imports from its module `module` by a relative path. A re-export
/// uses nothing, and does not count.
fn imports_relatively(code: &str, module: &str) -> bool {
    let start = format!("use {module}::");
    code.lines().any(|line| line.trim_start().starts_with(&start))
}

/// Every violation in the files, given as (path below `src`, text). `floors`: from bottom to top.
fn violations(floors: &[&str], files: &BTreeMap<String, String>) -> Vec<String> {
    let floor = |name: &str| floors.iter().position(|f| *f == name);
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
        if *file == format!("{own}/mod.rs") {
            let beside = files.keys().filter_map(|f| f.strip_prefix(own)?.strip_prefix('/')?.strip_suffix(".rs"));
            let imported = beside.filter(|module| imports_relatively(&code, module));
            arrows.entry(file).or_default().extend(imported.map(|module| format!("{own}/{module}.rs")));
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

/// Fails unless all of `floors` are folders of `src` and no file breaks the rule.
pub(crate) fn assert_down(floors: &[&str], src: &Path) {
    let files = sources(src);
    assert!(floors.iter().all(|floor| files.keys().any(|f| f.starts_with(&format!("{floor}/")))), "a floor is empty");
    let wrong = violations(floors, &files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The violations with `line` planted at the front of `file`.
pub(crate) fn planted(floors: &[&str], src: &Path, file: &str, line: &str) -> Vec<String> {
    let mut files = sources(src);
    let text = files.get_mut(file).unwrap_or_else(|| panic!("no {file}"));
    *text = format!("{line}\n{text}");
    violations(floors, &files)
}

/// The files of a `src` folder, by their paths below it.
fn sources(src: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut files = Vec::new();
    walk(src, &mut files);
    let name = |path: &Path| path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
    let rust = files.iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}
