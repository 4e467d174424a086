//! What a run leaves in its folder, as tests look at it.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything that a run leaves and that does not speak of time: files of weights by name, lines of metrics without seconds.
pub(crate) fn left(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in ["weights.safetensors", "best.safetensors", "config.toml"] {
        if let Ok(bytes) = fs::read(dir.join(name)) {
            all.push((name.to_owned(), bytes));
        }
    }
    let metrics = fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default();
    for (i, line) in metrics.lines().enumerate() {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for time in ["seconds", "samples_per_second"] {
            line.as_object_mut().unwrap().remove(time);
        }
        all.push((format!("metrics:{i}"), line.to_string().into_bytes()));
    }
    all
}

#[track_caller]
pub(crate) fn assert_same(got: &Path, want: &Path, what: &str) {
    let (got, want) = (left(got), left(want));
    let names = |of: &[(String, Vec<u8>)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&want), "{what}: other files or lines");
    for ((name, got), (_, want)) in got.iter().zip(&want) {
        let shown = |bytes: &[u8]| {
            if name.contains("metrics") { String::from_utf8_lossy(bytes).into_owned() } else { format!("{} bytes", bytes.len()) }
        };
        assert!(got == want, "{what}: {name} differs:\n{}\n{}", shown(got), shown(want));
    }
}

pub(crate) fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("checkpoints")) else { return Vec::new() };
    let mut all: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// The step of the newest checkpoint, 0 if there is none.
pub(crate) fn newest(dir: &Path) -> u64 {
    let step = |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse().ok();
    checkpoints(dir).last().and_then(step).unwrap_or(0)
}

/// Hidden files in a run's folders: what was left half-written.
pub(crate) fn hidden(dir: &Path) -> Vec<PathBuf> {
    let folders = ["", "checkpoints"].map(|folder| dir.join(folder));
    let all = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

/// What a run has printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
