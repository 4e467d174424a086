//! Checkpoints of a run: one file each, written atomically, of which the newest few are kept.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::store::checkpoint::{self, State};
use gaitprop_kernels::Real;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the folder of checkpoints in a folder of results.
pub(crate) const FOLDER: &str = "checkpoints";

/// Contents of a checkpoint besides the training state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct CheckpointMeta {
    /// Options that decide the run, as TOML.
    pub(crate) config: String,
    /// Checksum of the training and validation samples.
    pub(crate) data: u32,
    /// Length of the metrics file, and of the event file if there is one.
    pub(crate) metrics: u64,
    pub(crate) events: u64,
}

/// A checkpoint read from its file.
pub(crate) struct Found<T> {
    pub(crate) path: PathBuf,
    pub(crate) state: State<T>,
    /// Version of the program that wrote it.
    pub(crate) version: String,
    pub(crate) meta: CheckpointMeta,
    /// Errors of newer checkpoints, which could not be read.
    pub(crate) damaged: Vec<Error>,
}

fn path(dir: &Path, step: u64) -> PathBuf {
    dir.join(FOLDER).join(format!("step-{step:08}.safetensors"))
}

/// Lists the steps of all checkpoints, newest first.
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

/// Writes a checkpoint, then removes all but the newest `keep`. Also removes checkpoints of later
/// steps, which belong to a run that was rolled back.
///
/// # Errors
/// As [`checkpoint::write`]; [`Error::Io`] for the folder.
pub(crate) fn write<T: Real>(dir: &Path, step: u64, keep: usize, state: &State<T>, meta: &CheckpointMeta) -> Result<()> {
    let folder = dir.join(FOLDER);
    match std::fs::create_dir(&folder) {
        // `create_dir`, not `create_dir_all`: a removed folder of results must not reappear with a
        // checkpoint alone.
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io("create the folder", &folder)(e)),
        _ => {}
    }
    checkpoint::write(&path(dir, step), state, meta).inspect_err(|_| {
        // Fails, as intended, if the folder holds other checkpoints.
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

/// Reads the newest intact checkpoint. Returns `None` if there is no checkpoint at all.
///
/// # Errors
/// [`Error::Setting`] if all are damaged; [`Error::Io`] for a file that cannot be read.
pub(crate) fn newest<T: Real>(dir: &Path) -> Result<Option<Found<T>>> {
    let mut damaged = Vec::new();
    for step in steps(dir)? {
        let path = path(dir, step);
        match checkpoint::read::<T, CheckpointMeta>(&path) {
            Ok((state, version, meta)) => return Ok(Some(Found { path, state, version, meta, damaged })),
            // An I/O error may be transient, so it does not count as damage.
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

/// Removes temporary files that a killed run left.
pub(crate) fn sweep(dir: &Path) {
    files::sweep(dir);
    files::sweep(&dir.join(FOLDER));
}

/// Removes all checkpoints.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn clear(dir: &Path) -> Result<()> {
    sweep(dir);
    for step in steps(dir)? {
        remove(&path(dir, step))?;
    }
    // Fails, as intended, if other files are in it.
    let _ = std::fs::remove_dir(dir.join(FOLDER));
    Ok(())
}

/// Removes a file if it exists.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
