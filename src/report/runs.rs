//! Runs read back from folders of results, whatever state they are in.

use crate::base::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const METRICS: &str = "metrics.jsonl";
const CONFIG: &str = "config.toml";

/// One run: what its folder says of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Its folder, by the path it was found through.
    pub dir: PathBuf,
    /// `config.toml`, if it is there.
    pub config: Option<toml::Table>,
    /// The learning rule's name, from the configuration, else the metrics, else the folder.
    pub rule: String,
    /// Lines of epochs, one an epoch, in order.
    pub epochs: Vec<Line>,
    /// Lines of diagnostics, one a step, in order.
    pub diagnostics: Vec<Line>,
    /// The last line, if the run came to it.
    pub end: Option<Line>,
}

/// One line of metrics. Whatever it does not say, or says as `null`, is NaN or empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Line(Map<String, Value>);

impl Line {
    /// A number.
    pub fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }
    /// A list of numbers, one a layer.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        let list = self.0.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
    }
    /// One number of each of the objects in `layers`.
    pub fn layers(&self, key: &str) -> Vec<f64> {
        let list = self.0.get("layers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|layer| layer.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)).collect()
    }
    /// A text, a number or a truth, as text.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }
    fn count(&self, key: &str) -> Option<u64> {
        self.0.get(key).and_then(Value::as_u64)
    }
}

impl Run {
    /// One setting, as text.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.config.as_ref()?.get(key).map(value_text)
    }
    /// The seed, for order and labels; runs without one come first.
    pub fn seed(&self) -> Option<i64> {
        self.config.as_ref()?.get("seed")?.as_integer()
    }
    /// The figure with which it ended, or, of a run without a last line, its last epoch's.
    pub fn last(&self, key: &str) -> f64 {
        let line = self.end.as_ref().or(self.epochs.last());
        line.map_or(f64::NAN, |line| line.number(key))
    }
    /// The same, of a list with one figure a layer.
    pub fn last_layers(&self, key: &str) -> Vec<f64> {
        let line = self.end.as_ref().or(self.epochs.last());
        line.map_or_else(Vec::new, |line| line.numbers(key))
    }
    /// Seconds of training.
    pub fn seconds(&self) -> f64 {
        match &self.end {
            Some(end) => end.number("seconds"),
            None => self.epochs.iter().map(|e| e.number("seconds")).sum(),
        }
    }
    /// `finished`, `interrupted`, or that it has no last line.
    pub fn state(&self) -> &'static str {
        match &self.end {
            Some(end) if end.0.get("interrupted").and_then(Value::as_bool) == Some(true) => "interrupted",
            Some(_) => "finished",
            None => "no last line: still running, or ended by force",
        }
    }
    /// How it is called where several runs are told apart.
    pub fn name(&self) -> String {
        self.seed().map_or_else(|| self.dir.display().to_string(), |seed| format!("seed {seed}"))
    }

    fn read(dir: PathBuf) -> Result<Self> {
        let config = read_config(&dir.join(CONFIG))?;
        let mut run = Self { dir, config, rule: String::new(), epochs: Vec::new(), diagnostics: Vec::new(), end: None };
        // Of a run that went on after a crash, the later line of an epoch counts.
        let (mut epochs, mut diagnostics) = (BTreeMap::new(), BTreeMap::new());
        let mut rule = run.setting("rule");
        for line in read_metrics(&run.dir.join(METRICS))? {
            let said = line.text("rule");
            rule = rule.or(said);
            let event = line.text("event");
            match (event.as_deref(), line.count("epoch"), line.count("step")) {
                (Some("epoch"), Some(epoch), _) => drop(epochs.insert(epoch, line)),
                (Some("diagnostics"), _, Some(step)) => drop(diagnostics.insert(step, line)),
                (Some("end"), ..) => run.end = Some(line),
                _ => {}
            }
        }
        let folder = || run.dir.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        run.rule = rule.unwrap_or_else(folder);
        run.epochs = epochs.into_values().collect();
        run.diagnostics = diagnostics.into_values().collect();
        Ok(run)
    }
}

/// A setting as a reader would write it: text without quotes.
pub(super) fn value_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(value_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn read_config(path: &Path) -> Result<Option<toml::Table>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", path))?,
    };
    let wrong = |e: toml::de::Error| Error::File { path: path.to_owned(), what: format!("not a configuration: {}", e.message()) };
    text.parse().map(Some).map_err(wrong)
}

/// The objects of a file of metrics. A last line without its end is left out: the run is at it, or was killed at it.
fn read_metrics(path: &Path) -> Result<Vec<Line>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let parsed = serde_json::from_str(line).or_else(|e| serde_json::from_str(&without_nan(line)).map_err(|_| e));
        match parsed {
            Ok(Value::Object(line)) => lines.push(Line(line)),
            // Of a kind that this version does not know.
            Ok(_) => {}
            Err(_) if line.trim().is_empty() || !line.ends_with('\n') => {}
            Err(e) => return Err(Error::File { path: path.to_owned(), what: format!("line {} is not JSON: {e}", number + 1) }),
        }
    }
    Ok(lines)
}

/// With `null` for the numbers that JSON lacks but some writers write, outside texts.
fn without_nan(line: &str) -> String {
    let parts = line.split('"').enumerate().map(|(i, part)| {
        // Texts lie between quotes. One with an escaped quote in it is not read right, and stays the error it was.
        if i % 2 == 1 {
            part.into()
        } else {
            part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
        }
    });
    parts.collect::<Vec<_>>().join("\"")
}

/// All runs in these folders and in the folders inside, each once, in the order of their paths. A run's folder is one with a
/// `metrics.jsonl`; links to folders inside are not followed.
///
/// # Errors
/// [`Error::Io`] for what cannot be read; [`Error::File`] for a configuration or metrics that are damaged, with the line;
/// [`Error::Setting`] for what is no folder, or has no run in it.
pub fn find(folders: &[PathBuf]) -> Result<Vec<Run>> {
    let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
    for folder in folders {
        if !fs::metadata(folder).map_err(Error::io("open", folder))?.is_dir() {
            return Err(Error::Setting(format!("{} is a file: name the folder of results that it is in", folder.display())));
        }
        let mut found = Vec::new();
        walk(folder, &mut found)?;
        if found.is_empty() {
            return Err(Error::Setting(format!(
                "{}: no run in it (a folder with {METRICS}): train with --out",
                folder.display()
            )));
        }
        for dir in found {
            if seen.insert(fs::canonicalize(&dir).map_err(Error::io("find", &dir))?) {
                runs.push(Run::read(dir)?);
            }
        }
    }
    Ok(runs)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if dir.join(METRICS).is_file() {
        found.push(dir.to_owned());
    }
    let mut inside = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let entry = entry.map_err(Error::io("read the folder", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            inside.push(entry.path());
        }
    }
    inside.sort();
    inside.iter().try_for_each(|dir| walk(dir, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_null_outside_texts() {
        let line = r#"{"a": NaN, "b": [-Infinity, 1, Infinity], "c": "NaN"}"#;
        let Ok(Value::Object(map)) = serde_json::from_str(&without_nan(line)) else { panic!("not an object") };
        let line = Line(map);
        assert!(line.number("a").is_nan() && line.number("missing").is_nan());
        assert_eq!(line.numbers("b")[1], 1.0);
        assert_eq!(line.text("c").as_deref(), Some("NaN"));
    }
}
