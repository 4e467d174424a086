//! A report on disk: the page and the folder beside it, all of it or nothing.

use super::Report;
use crate::files::without_path;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// In the folder: the names of a report's files, so that the next report knows which to replace.
const LIST: &str = "report-files.txt";

impl Report {
    /// Writes the page to `html` and the other files into the folder `assets`, which is created if its parent exists. Everything is written
    /// beside its place first and then renamed, so that a full disk leaves things as they were. With `overwrite`, files of an earlier report
    /// that this one has no more are removed; whatever else is in the folder stays.
    ///
    /// # Errors
    /// [`Error::Setting`] if one of the places is taken and `overwrite` is not given, or is a folder where a file should be, or the other
    /// way round; [`Error::Io`].
    pub fn write(&self, html: &Path, assets: &Path, overwrite: bool) -> Result<()> {
        check(html, assets, overwrite)?;
        let beside = folder_of(html);
        let mut page = builder(0o666).tempfile_in(beside).map_err(without_path).map_err(Error::io("write into", beside))?;
        page.write_all(self.html.as_bytes()).and_then(|()| page.as_file().sync_all()).map_err(Error::io("write", html))?;

        let there = assets.is_dir();
        let room = if there { assets } else { folder_of(assets) };
        let stage = builder(0o777).tempdir_in(room).map_err(without_path).map_err(Error::io("write into", room))?;
        let names = || self.files.iter().map(|(name, _)| name.as_str());
        let list: String = names().flat_map(|name| [name, "\n"]).collect();
        for (name, text) in self.files.iter().map(|(name, text)| (name.as_str(), text)).chain([(LIST, &list)]) {
            put(&stage.path().join(name), text).map_err(Error::io("write", assets.join(name)))?;
        }
        if there {
            if let Some(name) = names().chain([LIST]).find(|name| assets.join(name).is_dir()) {
                let what = format!("{} is a folder: a file of the report cannot be written there", assets.join(name).display());
                return Err(Error::Setting(what));
            }
            let stale = stale(assets, &names().collect());
            for name in names().chain([LIST]) {
                let place = assets.join(name);
                fs::rename(stage.path().join(name), &place).map_err(Error::io("write", &place))?;
            }
            for path in stale {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        } else {
            // From here on the folder is no temporary one.
            let staged = stage.keep();
            fs::rename(&staged, assets).map_err(|e| {
                let _ = fs::remove_dir_all(&staged);
                Error::io("create the folder", assets)(e)
            })?;
        }
        page.persist(html).map_err(|e| Error::io("write", html)(e.error))?;
        Ok(())
    }
}

/// Refuses what can be refused before any work is done.
///
/// # Errors
/// As [`Report::write`].
pub(crate) fn check(html: &Path, assets: &Path, overwrite: bool) -> Result<()> {
    let refuse = |path: &Path, what: &str| Err(Error::Setting(format!("{} {what}", path.display())));
    if html.is_dir() {
        return refuse(html, "is a folder: name the file for the page (-o report.html)");
    }
    if assets.exists() && !assets.is_dir() {
        return refuse(assets, "is a file: the charts need a folder (--assets)");
    }
    if !overwrite && html.exists() {
        return refuse(html, "is there already: name another file (-o), or give --overwrite");
    }
    let full = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if !overwrite && full(assets) {
        return refuse(assets, "is not empty: name another folder (--assets), or give --overwrite");
    }
    for folder in [folder_of(html), folder_of(assets)] {
        if !folder.is_dir() {
            return refuse(folder, "is no folder: create it first");
        }
    }
    Ok(())
}

/// Whether a report's charts have been written into `assets`; they come before its page.
pub(crate) fn has_written(assets: &Path) -> bool {
    assets.join(LIST).is_file()
}

/// Removes a report that was written there, and the folder of its charts unless something else is in it.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(html: &Path, assets: &Path) -> Result<()> {
    // The page first: without its charts it would be half a report.
    let all = [html.to_owned()].into_iter().chain(stale(assets, &BTreeSet::new())).chain([assets.join(LIST)]);
    for path in all {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path)(e)),
            _ => {}
        }
    }
    let _ = fs::remove_dir(assets);
    Ok(())
}

fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gaitprop-").suffix(".tmp");
    #[cfg(unix)]
    {
        // Temporary files are for their owner alone by default; the finished ones follow the umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Files of an earlier report that are there and not in this one. Only plain names of charts and data count, whatever the list says.
fn stale(assets: &Path, names: &BTreeSet<&str>) -> Vec<PathBuf> {
    let list = fs::read_to_string(assets.join(LIST)).unwrap_or_default();
    let ours = |name: &&str| {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        plain && !name.starts_with('.') && (name.ends_with(".svg") || name.ends_with(".csv")) && !names.contains(name)
    };
    list.lines().filter(ours).map(|name| assets.join(name)).filter(|path| path.is_file()).collect()
}
