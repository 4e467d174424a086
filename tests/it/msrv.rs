//! The Rust version that the manifest states: no dependency of a user's build may want a later one.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

type Version = (u32, u32);

fn version(text: &str) -> Version {
    let mut numbers = text.split('.').map(|n| n.parse().expect("a version is numbers"));
    (numbers.next().expect("a major version"), numbers.next().unwrap_or(0))
}

/// `cargo metadata`, every feature on, for this platform.
fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let host = Command::new(&cargo).arg("-vV").output().expect("cargo runs");
    let host = String::from_utf8(host.stdout).expect("text");
    let host = host.lines().find_map(|l| l.strip_prefix("host: ")).expect("cargo names its host").to_owned();
    let mut command = Command::new(&cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    let output = command.args(["--filter-platform", &host]).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Every package that a build of ours needs (development left out) and that states a later version than `ours`.
fn later_than(ours: Version, metadata: &Value) -> (usize, Vec<String>) {
    let list = |v: &Value| v.as_array().expect("a list").clone();
    let packages: BTreeMap<_, _> = list(&metadata["packages"]).into_iter().map(|p| (text(&p, "id").to_owned(), p)).collect();
    let nodes: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"]).into_iter().map(|n| (text(&n, "id").to_owned(), n)).collect();
    let mut open: Vec<_> = list(&metadata["workspace_members"]).iter().map(|m| m.as_str().expect("an id").to_owned()).collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = open.pop() {
        let deps = list(&nodes[&id]["deps"]);
        if needed.insert(id) {
            let ships = |d: &&Value| list(&d["dep_kinds"]).iter().any(|k| k["kind"] != "dev");
            open.extend(deps.iter().filter(ships).map(|d| text(d, "pkg").to_owned()));
        }
    }
    let states = |id| packages[id]["rust_version"].as_str().map(version);
    let later = needed.iter().filter(|id| states(*id).is_some_and(|v| v > ours));
    let names = later
        .map(|id| format!("{} {} wants Rust {}", packages[id]["name"], packages[id]["version"], packages[id]["rust_version"]));
    (needed.len(), names.collect())
}

#[test]
fn no_dependency_wants_a_later_rust_than_we_state() {
    let metadata = metadata();
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let (needed, later) = later_than(ours, &metadata);
    assert!(later.is_empty(), "the manifest states Rust {ours:?}, but:\n{}", later.join("\n"));
    // The walk does walk, and can object.
    assert!(needed > 30, "{needed} packages");
    assert!(!later_than((1, 60), &metadata).1.is_empty());
}
