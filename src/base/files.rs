//! Atomic file writes: a file is complete or absent.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Prefix and suffix of the names of temporary files.
const TEMPORARY: (&str, &str) = (".gaitprop-", ".tmp");

/// Removes temporary files that a killed [`write_atomically`] left in `folder`. Ignores errors:
/// leftover files are harmless. Requires that no other process writes in the folder.
#[cfg(any(feature = "cli", test))]
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Appends `bytes` to a file open for appending. If the write fails, truncates the file to its
/// previous length. Requires that no other process writes the file.
#[cfg(feature = "cli")]
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

/// Replaces `path` by a file with `bytes`, completely or not at all.
///
/// Writes a hidden temporary file in the same folder, flushes it to the disk and renames it. On
/// error, removes the temporary file and leaves `path` unchanged.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (mut file, mut temporary) = Temporary::create(folder)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file); // some systems do not rename an open file
    std::fs::rename(&temporary.0, path)?;
    temporary.0.clear();
    #[cfg(unix)]
    {
        // Syncing the folder makes the rename durable. Errors are ignored: the file is complete,
        // and some file systems cannot sync a folder.
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    Ok(())
}

/// Temporary file, removed on drop. The path is empty after the rename.
struct Temporary(PathBuf);

impl Temporary {
    /// Creates a file with an unused name in `folder`.
    fn create(folder: &Path) -> io::Result<(File, Self)> {
        /// Number of files created by this process.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}{}-{number}{}", TEMPORARY.0, std::process::id(), TEMPORARY.1));
            match File::create_new(&path) {
                // Left by a killed process with the same id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(io::Error::new(e.kind(), "there is no such folder")),
                made => return made.map(|file| (file, Self(path))),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        // A file cannot replace a folder. The temporary file is removed.
        let folder = dir.path().join("b");
        std::fs::create_dir_all(folder.join("c")).unwrap();
        assert!(write_atomically(&folder, b"third").is_err());
        assert!(write_atomically(&dir.path().join("none/a"), b"third").is_err());
        assert_eq!(names(dir.path()), ["a", "b"]);
    }

    #[test]
    fn a_panic_removes_the_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let panic = std::panic::catch_unwind(|| {
            let _temporary = Temporary::create(dir.path()).unwrap();
            assert_eq!(names(dir.path()).len(), 1);
            panic!("in the middle of a file");
        });
        assert!(panic.is_err() && names(dir.path()).is_empty());
    }

    /// Two threads write different files, beside leftovers of a killed process with the same id.
    #[test]
    fn names_of_temporary_files_do_not_collide() {
        let dir = tempfile::tempdir().unwrap();
        let (_file, first) = Temporary::create(dir.path()).unwrap();
        let taken: u64 =
            first.0.to_str().unwrap().rsplit_once('-').unwrap().1.strip_suffix(TEMPORARY.1).unwrap().parse().unwrap();
        for number in taken..taken + 50 {
            let left = dir.path().join(format!("{}{}-{number}{}", TEMPORARY.0, std::process::id(), TEMPORARY.1));
            std::fs::write(left, "left").unwrap();
        }
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let path = dir.path().join(thread.to_string());
                scope.spawn(move || (0..20).for_each(|i| write_atomically(&path, &[i; 9]).unwrap()));
            }
        });
        drop(first);
        sweep(dir.path());
        assert_eq!(names(dir.path()), ["0", "1"]);
        assert_eq!(std::fs::read(dir.path().join("1")).unwrap(), [19; 9]);
    }
}
