//! Room for many runs.

use std::path::PathBuf;
use tempfile::TempDir;

/// A folder in memory where there is one: what is flushed costs nothing there. By its true name, as the kernel says it.
pub(crate) fn room() -> (TempDir, PathBuf) {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}
