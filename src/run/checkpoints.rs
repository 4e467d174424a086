//! Checkpoints of a run: one file each, written whole or not at all, the newest few kept.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::store::checkpoint::{self, State};
use gaitprop_kernels::Real;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of checkpoints in a folder of results.
pub(crate) const FOLDER: &str = "checkpoints";

/// What a checkpoint says besides the state of the training.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Notes {
    /// The settings that decide the run, as they are written to its file.
    pub(crate) config: String,
    /// A checksum of its training samples, and of those held out.
    pub(crate) data: u32,
    /// Bytes of its metrics, and of its events if there are any.
    pub(crate) metrics: u64,
    pub(crate) events: u64,
}

/// A checkpoint that was read.
pub(crate) struct Found<T> {
    pub(crate) path: PathBuf,
    pub(crate) state: State<T>,
    /// Of the program that wrote it.
    pub(crate) version: String,
    pub(crate) notes: Notes,
    /// What was wrong with newer ones.
    pub(crate) damaged: Vec<Error>,
}

fn path(dir: &Path, step: u64) -> PathBuf {
    dir.join(FOLDER).join(format!("step-{step:08}.safetensors"))
}

/// Steps of the checkpoints that are there, the newest first.
pub(crate) fn steps(dir: &Path) -> Result<Vec<u64>> {
    let folder = dir.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("list", &folder))?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("list", &folder))?.file_name();
        let step = name.to_str().and_then(|n| n.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse::<u64>().ok());
        steps.extend(step);
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// Whether there may be one.
pub(crate) fn any(dir: &Path) -> bool {
    steps(dir).map_or(true, |steps| !steps.is_empty())
}

/// Writes one, then removes all but the newest `keep`, and those of a future that did not come: damaged ones that the run has gone back behind.
///
/// # Errors
/// As [`checkpoint::write`]; [`Error::Io`] for the folder.
pub(crate) fn write<T: Real>(dir: &Path, step: u64, keep: usize, state: &State<T>, notes: &Notes) -> Result<()> {
    let folder = dir.join(FOLDER);
    match std::fs::create_dir(&folder) {
        // Without the folders above it, as the run's own was taken away: a checkpoint alone is no run.
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io("create the folder", &folder)(e)),
        _ => {}
    }
    checkpoint::write(&path(dir, step), state, notes).inspect_err(|_| {
        // Unless others are in it.
        let _ = std::fs::remove_dir(&folder);
    })?;
    let mut kept = 0;
    for found in steps(dir)? {
        if found <= step && kept < keep {
            kept += 1;
            continue;
        }
        remove(&path(dir, found))?;
    }
    Ok(())
}

/// The newest that can be read; `None` if there is none at all.
///
/// # Errors
/// [`Error::File`] if all of them are damaged; [`Error::Io`] for one that cannot be read.
pub(crate) fn newest<T: Real>(dir: &Path) -> Result<Option<Found<T>>> {
    let mut damaged = Vec::new();
    for step in steps(dir)? {
        let path = path(dir, step);
        match checkpoint::read::<T, Notes>(&path) {
            Ok((state, version, notes)) => return Ok(Some(Found { path, state, version, notes, damaged })),
            // What cannot be read now may be readable later: it is not damaged.
            Err(e @ Error::Io { .. }) => return Err(e),
            Err(e) => damaged.push(e),
        }
    }
    match damaged.first() {
        None => Ok(None),
        Some(first) => Err(Error::Setting(format!(
            "{}: no checkpoint can be read ({first}): train again from the start, with --out and --overwrite",
            dir.display()
        ))),
    }
}

/// Removes what a run that was killed has left half-written in its folders.
pub(crate) fn sweep(dir: &Path) {
    files::sweep(dir);
    files::sweep(&dir.join(FOLDER));
}

/// Removes all of them.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn clear(dir: &Path) -> Result<()> {
    sweep(dir);
    for step in steps(dir)? {
        remove(&path(dir, step))?;
    }
    // Unless something else is in it.
    let _ = std::fs::remove_dir(dir.join(FOLDER));
    Ok(())
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
