//! The folder of results of a run: options, metrics, weights and checkpoints.

use crate::base::error::{Error, Result};
use crate::base::files;
use crate::run::checkpoints;
use crate::run::events::{self, Events};
use crate::run::metrics::{Event, METRICS};
use crate::run::options::Options;
use crate::store::weights::WEIGHTS;
use std::fs::{File, TryLockError};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// File of the options of a run.
pub(crate) const CONFIG: &str = "config.toml";
/// Weights with the smallest validation loss.
pub(crate) const BEST: &str = "best.safetensors";

/// A folder of results, open for writing.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    /// Locked, so that no other run writes here.
    metrics: File,
    events: Option<Events>,
}

impl Folder {
    /// Creates the folder and its first files, before any training. Every refusal comes before
    /// anything is written.
    ///
    /// # Errors
    /// As [`Folder::check_free`]; [`Error::Setting`] if another run is writing there;
    /// [`Error::Io`].
    pub(crate) fn create(dir: &Path, settings: &Options, overwrite: bool) -> Result<Self> {
        // Leftovers of a run that never started do not block a new one.
        Self::check_free(dir, overwrite || is_unused(dir))?;
        std::fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        let metrics = open(dir)?;
        // Weights of another run must not lie beside this run's settings.
        clear(dir)?;
        metrics.set_len(0).map_err(Error::io("write", dir.join(METRICS)))?;
        write_settings(dir, settings)?;
        Self::with(dir, settings, metrics)
    }

    /// Refuses a place where results cannot be written. Unless `overwrite`, also refuses one that
    /// holds results. Files of other origin are never replaced.
    ///
    /// # Errors
    /// [`Error::Setting`]; [`Error::Io`].
    pub(crate) fn check_free(dir: &Path, overwrite: bool) -> Result<()> {
        let refuse = |path: &Path, what: &str| Err(Error::Setting(format!("{}{what}", path.display())));
        let foreign = " was not written by gaitprop and is not replaced: move it away, or name another folder";
        if !dir.exists() {
            let what = " is a dangling link: create its target, or name another folder";
            return if dir.is_symlink() { refuse(dir, what) } else { Ok(()) };
        }
        if !dir.is_dir() {
            return refuse(dir, " is a file: results need a folder");
        }
        if !checkpoints::steps(dir)?.is_empty() && !holds_run(dir)? {
            return refuse(&dir.join(checkpoints::FOLDER), foreign);
        }
        for name in [METRICS, WEIGHTS, CONFIG, BEST] {
            let path = dir.join(name);
            if path.is_dir() {
                return refuse(&path, " is a folder: results cannot be written there");
            }
            if overwrite && path.exists() && !holds_run(dir)? {
                return refuse(&path, foreign);
            }
            if !overwrite && path.exists() {
                let what = "name another folder, resume (--resume), or replace it (--overwrite)";
                return refuse(dir, &format!(" holds the results of a run ({name}): {what}"));
            }
        }
        Ok(())
    }

    /// Removes a run's results, and the folder unless something else is in it.
    ///
    /// # Errors
    /// [`Error::Setting`] if a run is writing there; [`Error::Io`].
    pub(crate) fn remove(dir: &Path) -> Result<()> {
        let _metrics = open(dir)?;
        clear(dir)?;
        checkpoints::remove(&dir.join(METRICS))?;
        let _ = std::fs::remove_dir(dir);
        Ok(())
    }

    /// Refuses the folder of a run that another process is writing.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is being written; [`Error::Io`].
    pub(crate) fn refuse_running(dir: &Path) -> Result<()> {
        open(dir).map(drop)
    }

    /// Opens the folder of a run to resume.
    ///
    /// # Errors
    /// [`Error::Setting`] if another run is writing there; [`Error::Io`].
    pub(crate) fn open(dir: &Path, settings: &Options) -> Result<Self> {
        let metrics = open(dir)?;
        checkpoints::sweep(dir);
        Self::with(dir, settings, metrics)
    }

    fn with(dir: &Path, settings: &Options, metrics: File) -> Result<Self> {
        let events = settings.tensorboard.unwrap_or(false).then(|| Events::open(dir)).transpose()?;
        Ok(Self { dir: dir.to_owned(), metrics, events })
    }

    /// Appends a line of metrics, whole or not at all. For an epoch, also appends its TensorBoard
    /// events if wanted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write(&mut self, event: &Event) -> Result<()> {
        if let (Some(events), Event::Epoch(line)) = (&mut self.events, event) {
            events.scalars(line.epoch, &line.scalars())?;
        }
        let path = self.dir.join(METRICS);
        let mut text = serde_json::to_string(event)
            .map_err(|e| Error::File { path: path.clone(), what: format!("cannot be written: {e}") })?;
        text.push('\n');
        files::append(&mut self.metrics, text.as_bytes()).map_err(Error::io("write", path))
    }

    /// Syncs metrics and events, and returns their lengths in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn lengths(&self) -> Result<(u64, u64)> {
        let path = self.dir.join(METRICS);
        self.metrics.sync_data().map_err(Error::io("write", &path))?;
        let metrics = self.metrics.metadata().map_err(Error::io("read", path))?.len();
        Ok((metrics, self.events.as_ref().map_or(Ok(0), Events::len)?))
    }

    /// Truncates metrics and events to these lengths.
    ///
    /// # Errors
    /// [`Error::File`] if the files are shorter; [`Error::Io`].
    pub(crate) fn cut(&mut self, (metrics, events): (u64, u64)) -> Result<()> {
        let path = self.dir.join(METRICS);
        let len = self.metrics.metadata().map_err(Error::io("read", &path))?.len();
        if len < metrics {
            let what = format!(
                "{len} bytes, but {metrics} at the last checkpoint: it was changed since; restore it, or train again from the start (--out, --overwrite)"
            );
            return Err(Error::File { path, what });
        }
        self.metrics.set_len(metrics).map_err(Error::io("write", path))?;
        self.events.as_mut().map_or(Ok(()), |e| e.cut(events))
    }

    /// Returns whether the run has finished: the text after the first `metrics` bytes ends with its
    /// last line, and the weights exist.
    pub(crate) fn ended(&self, metrics: u64) -> bool {
        let text = std::fs::read(self.dir.join(METRICS)).unwrap_or_default();
        let rest = usize::try_from(metrics).ok().and_then(|n| text.get(n..)).and_then(|rest| rest.strip_suffix(b"\n"));
        let last = rest.and_then(|line| serde_json::from_slice(line).ok());
        matches!(last, Some(Event::End(end)) if !end.interrupted) && self.dir.join(WEIGHTS).exists()
    }
}

/// Returns whether the folder holds at most the empty metrics of a run that never started.
fn is_unused(dir: &Path) -> bool {
    ![CONFIG, WEIGHTS, BEST].iter().any(|name| dir.join(name).exists())
        && checkpoints::steps(dir).is_ok_and(|steps| steps.is_empty())
        && dir.join(METRICS).metadata().map_or(true, |of| of.is_file() && of.len() == 0)
}

/// Returns whether the folder holds a run, or remains of one.
///
/// The metrics file is the first to be created and the last to be removed, and it begins with an
/// event. A run that was cut before its first event has left it empty, which proves nothing. The
/// folder must then hold no other file of a run, or options in the format of [`write_settings`],
/// which are written second and removed last but one.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn holds_run(dir: &Path) -> Result<bool> {
    let path = dir.join(METRICS);
    let file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("open", &path))?,
    };
    let mut line = Vec::new();
    BufReader::new(file).take(1 << 20).read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
    if line.is_empty() {
        let config = dir.join(CONFIG);
        let formatted = Options::read(&config).and_then(|options| options.to_toml());
        let text = std::fs::read_to_string(config).ok();
        return Ok(is_unused(dir) || text.is_some() && text == formatted.ok());
    }
    Ok(serde_json::from_slice::<serde_json::Value>(&line).is_ok_and(|line| line["event"].is_string()))
}

/// Opens the metrics of a folder for appending, and locks them.
fn open(dir: &Path) -> Result<File> {
    let path = dir.join(METRICS);
    let file = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
    lock(file, dir)
}

/// Locks a file or folder, so that no other process writes in `dir`.
///
/// # Errors
/// [`Error::Setting`] if another process holds the lock.
pub(crate) fn lock(file: File, dir: &Path) -> Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::Setting(format!("{}: a run that has not ended is writing there: name another folder", dir.display())))
        }
        // Some file systems have no locks; the run then proceeds without.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Removes all files of a run except its metrics. The options go last; see [`holds_run`].
fn clear(dir: &Path) -> Result<()> {
    checkpoints::clear(dir)?;
    [WEIGHTS, BEST, events::FILE, CONFIG].iter().try_for_each(|name| checkpoints::remove(&dir.join(name)))
}

/// Writes config.toml.
pub(crate) fn write_settings(dir: &Path, settings: &Options) -> Result<()> {
    let config = dir.join(CONFIG);
    files::write_atomically(&config, settings.to_toml()?.as_bytes()).map_err(Error::io("write", config))
}
