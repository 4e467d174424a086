//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// How the names of temporary files begin and end.
const TEMPORARY: (&str, &str) = (".gaitprop-", ".tmp");

/// Removes what [`write_atomically`] left in a folder when the program ended in the middle of it. Best effort: what is left harms nobody. Only for a
/// folder in which nobody else is writing.
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Writes `bytes` at the end of a file that was opened for that and that nobody else writes, whole or, if the disk lets it be taken back, not at all.
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

/// Writes `bytes` to `path`, whole or not at all: to a hidden temporary file beside it, flushed to the disk, then renamed. On any error
/// that file is removed and `path` is as it was.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    #[cfg(unix)]
    {
        // A temporary file is for its owner alone by default; the finished one should follow the umask like any other.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(folder).map_err(without_path)?;
    temporary.as_file_mut().write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| without_path(e.error))?;
    #[cfg(unix)]
    {
        // The rename itself reaches the disk with the folder. Best effort: the file is complete either way, and some
        // file systems do not let a folder be synchronised.
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    Ok(())
}

/// The bare reason: the temporary file's name, which the error carries, would tell a reader nothing.
pub(crate) fn without_path(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(_) => e,
        None => match e.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::NotFound, "there is no such folder"),
            io::ErrorKind::PermissionDenied => io::Error::new(io::ErrorKind::PermissionDenied, "permission denied"),
            kind => io::Error::from(kind),
        },
    }
}
