//! A filter that matches no test passes. So every filter `module::start` that a command of `.ci` or of
//! a page names must be a module of tests, and `start` begin a name in it.

use crate::links::pages;
use std::fs;
use std::path::Path;

/// A package's tests (both where the command names no package), a module, and the start of a name.
type Filter = (&'static [&'static str], String, String);

/// The filters of all commands with `--test it` in `text`.
fn filters(text: &str) -> Vec<Filter> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines() {
        // The emulated machine takes the filters of the kernels' tests.
        let line = line.replace(".ci/avx512 it ", "cargo test -p gaitprop-kernels --test it ");
        for command in line.split("cargo test").filter(|c| c.contains("--test it")) {
            let command = command.split(['`', '#']).next().expect("a first part");
            let folders: &[&str] = match (command.contains("-p gaitprop-kernels"), command.contains("-p gaitprop ")) {
                (true, false) => &["kernels/tests/it"],
                (false, true) => &["tests/it"],
                _ => &["kernels/tests/it", "tests/it"],
            };
            let Some((_, rest)) = command.split_once("--test it") else { continue };
            for word in rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
                if let Some((module, name)) = word.split_once("::") {
                    found.push((folders, module.to_string(), name.to_string()));
                }
            }
        }
    }
    found
}

/// The sources of the module of tests that a filter names, if there is one.
fn module(folder: &Path, name: &str) -> Option<String> {
    if let Ok(text) = fs::read_to_string(folder.join(format!("{name}.rs"))) {
        return Some(text);
    }
    let files = fs::read_dir(folder.join(name)).ok()?;
    Some(files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect())
}

/// `start` begins a test of the module, or of a file in its folder, or names such a file.
fn is_known(root: &Path, (folders, name, start): &Filter) -> bool {
    let found = |folder: &&str| {
        let folder = root.join(folder);
        let (text, start) = match start.split_once("::") {
            Some((file, start)) => (module(&folder.join(name), file), start),
            None if folder.join(name).join(format!("{start}.rs")).exists() => return true,
            None => (module(&folder, name), &start[..]),
        };
        text.is_some_and(|text| text.contains(&format!("fn {start}")))
    };
    folders.iter().any(found)
}

#[test]
fn every_filter_of_a_command_names_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = fs::read_dir(root.join(".ci")).unwrap().map(|entry| entry.unwrap().path());
    let files = scripts.filter(|path| path.is_file()).chain(pages(root));
    let mut seen = 0;
    for file in files {
        for filter in filters(&fs::read_to_string(&file).unwrap()) {
            seen += 1;
            assert!(is_known(root, &filter), "{}: no test matches {filter:?}", file.display());
        }
    }
    assert!(seen > 15, "only {seen} filters found");
    let planted = "cargo test -p gaitprop-kernels --test it gemm_bits::no_such_test \\\n -- faults::
        cargo test -p gaitprop --test it -- cli::no_such_file::other_backends cli::train::no_such_test";
    let planted = filters(planted);
    assert_eq!(planted.len(), 4);
    assert!(planted.iter().all(|filter| !is_known(root, filter)));
}
