//! The file of a report: checks of its place, and writing.

use crate::base::error::{Error, Result};
use crate::base::files;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// First lines of every report, which distinguish it from other HTML files.
pub(crate) const MARK: &str = "<!DOCTYPE html>\n<!-- written by gaitprop -->\n";

/// Returns whether [`write()`] wrote `page`.
pub(crate) fn is_ours(page: &Path) -> bool {
    // Opening a pipe would wait for its other end.
    if !page.is_file() {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(page).and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == MARK.as_bytes()
}

/// Refuses a place where no report can be written, before any work.
///
/// # Errors
/// [`Error::Setting`] for a folder, a missing parent folder, a file of other origin, or any
/// existing file unless `overwrite`.
pub(crate) fn check(page: &Path, overwrite: bool) -> Result<()> {
    let folder = page.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refused = [
        (page.file_name().is_none(), page, "names no file: name one for the page (-o report.html)"),
        (page.is_dir(), page, "is a folder: name the file for the page (-o report.html)"),
        (!overwrite && page.exists(), page, "already exists: name another file (-o), or replace it (--overwrite)"),
        (page.exists() && !is_ours(page), page, "was not written by gaitprop and is not replaced: name another file (-o)"),
        (!folder.is_dir(), folder, "is not a folder: create it first"),
    ];
    match refused.iter().find(|(wrong, ..)| *wrong) {
        Some((_, path, what)) => Err(Error::Setting(format!("{} {what}", path.display()))),
        None => Ok(()),
    }
}

/// Writes `html` to `page` atomically.
///
/// # Errors
/// As [`check`]; [`Error::Io`].
pub(crate) fn write(page: &Path, html: &str, overwrite: bool) -> Result<()> {
    check(page, overwrite)?;
    files::write_atomically(page, html.as_bytes()).map_err(Error::io("write", page))
}
