//! Folders, as tests of the program look at them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything in a folder: its files with their bytes, its folders with none.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
            all.insert(path, None);
        } else {
            // Of a link to nothing, what it says.
            let bytes = fs::read(&path).unwrap_or_else(|e| match fs::read_link(&path) {
                Ok(to) => to.into_os_string().into_encoded_bytes(),
                Err(_) => panic!("{}: {e}", path.display()),
            });
            all.insert(path, Some(bytes));
        }
    }
    all
}
