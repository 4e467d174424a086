//! The table, the JSON file, and what is known of the machine and of the software.

use crate::measure::best_of;
use crate::rows::{Element, Kind, Row};
use gaitprop_kernels::{Caches, Isa};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// A row's results.
pub struct Record {
    row: Row,
    element: &'static str,
    threads: usize,
    isa: String,
    peak_isa: String,
    /// GFLOP/s, round by round.
    peaks: Vec<f64>,
    entries: Vec<Entry>,
}

/// A contender's results.
pub struct Entry {
    pub name: String,
    pub kind: Kind,
    /// Round by round.
    pub gflops: Vec<f64>,
    calls: usize,
    /// Round by round, of the peak of the same round.
    percent: Vec<f64>,
}

impl Entry {
    pub fn new(name: &str, kind: Kind, gflops: Vec<f64>, calls: usize, peaks: &[f64]) -> Self {
        let percent = gflops.iter().zip(peaks).map(|(g, p)| 100.0 * g / p).collect();
        Self { name: name.to_owned(), kind, gflops, calls, percent }
    }

    /// Median of the ratios to `other`, round by round: what disturbs a whole round is divided out.
    fn ratio_to(&self, other: &Self) -> f64 {
        median(&self.gflops.iter().zip(&other.gflops).map(|(a, b)| a / b).collect::<Vec<_>>())
    }
}

/// The value below which a share `q` of the values lies, between two neighbours in proportion.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * (sorted.len() - 1) as f64;
    let (low, part) = (at as usize, at.fract());
    sorted[low] + part * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

impl Record {
    pub fn new<T: Element>(row: Row, threads: usize, isa: Isa, peak_isa: &str, peaks: Vec<f64>, entries: Vec<Entry>) -> Self {
        let (isa, peak_isa) = (isa.name().to_owned(), peak_isa.to_owned());
        Self { row, element: T::NAME, threads, isa, peak_isa, peaks, entries }
    }

    /// Of a row that was checked and not measured.
    pub fn checked<T: Element>(row: Row, threads: usize, names: impl Iterator<Item = String>) -> Self {
        let entries = names.map(|name| Entry::new(&name, Kind::Ours, Vec::new(), 0, &[])).collect();
        Self { row, element: T::NAME, threads, isa: String::new(), peak_isa: String::new(), peaks: Vec::new(), entries }
    }

    fn title(&self) -> String {
        let (m, n, k) = self.row.shape;
        let s = if self.threads == 1 { "" } else { "s" };
        format!("{} · {} · {} thread{s} · m n k = {m} {n} {k}", self.row.name, self.element, self.threads)
    }

    /// The row as a table of its own.
    pub fn table(&self) -> String {
        if self.peaks.is_empty() {
            let names: Vec<_> = self.entries.iter().map(|e| e.name.as_str()).collect();
            return format!("{}: right: {}\n", self.title(), names.join(", "));
        }
        let (rounds, peak) = (self.peaks.len(), median(&self.peaks));
        let (low, high) = (quantile(&self.peaks, 0.0), quantile(&self.peaks, 1.0));
        let mut text = format!("\n{}\n", self.title());
        text += &format!("peak {peak:.1} GFLOP/s ({low:.1} – {high:.1}; {}), {rounds} rounds\n", self.peak_isa);
        text += &format!("  {:<24} {:>8}  {:>17}  {:>7}  {}\n", "", "GFLOP/s", "quartiles", "% peak", "ours / best other");
        let best = best_of(&self.entries);
        for e in &self.entries {
            let quartiles = format!("{:.1} – {:.1}", quantile(&e.gflops, 0.25), quantile(&e.gflops, 0.75));
            let ratio = best.filter(|_| e.kind == Kind::Ours).map(|b| format!("{:.3}  of {}", e.ratio_to(b), b.name));
            let (gflops, percent) = (median(&e.gflops), median(&e.percent));
            let line = format!("  {:<24} {gflops:>8.1}  {quartiles:>17}  {percent:>7.1}  {}", e.name, ratio.unwrap_or_default());
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    pub fn json(&self) -> Value {
        let best = best_of(&self.entries);
        let contenders: Vec<_> = self.entries.iter().map(|e| {
            let ratio = best.filter(|_| e.kind == Kind::Ours).map(|b| e.ratio_to(b));
            json!({
                "name": e.name, "kind": format!("{:?}", e.kind).to_lowercase(), "calls_per_sample": e.calls,
                "gflops_median": median(&e.gflops), "gflops_min": quantile(&e.gflops, 0.0), "gflops_max": quantile(&e.gflops, 1.0),
                "gflops_q1": quantile(&e.gflops, 0.25), "gflops_q3": quantile(&e.gflops, 0.75),
                "percent_of_peak_median": median(&e.percent), "ratio_to_best_other_median": ratio, "gflops_rounds": e.gflops,
            })
        }).collect();
        let (m, n, k) = self.row.shape;
        json!({
            "row": self.row.name, "m": m, "n": n, "k": k, "flops": self.row.flops(), "type": self.element, "threads": self.threads,
            "isa": self.isa, "peak_isa": self.peak_isa, "peak_gflops_median": median(&self.peaks), "peak_gflops_rounds": self.peaks,
            "best_other": best.map(|b| &b.name), "contenders": contenders,
        })
    }
}

/// One line for each contender of ours, from the JSON of all rows.
pub fn summary(rows: &[Value]) -> String {
    let line = |name: &str, element: &str, threads: &str, who: &str, percent: &str, ratio: &str| {
        let line = format!("{name:<44} {element:<4} {threads:>7}  {who:<22} {percent:>6}  {ratio}");
        format!("{}\n", line.trim_end())
    };
    let mut text = line("\nsummary", " type", "threads", "ours", "% peak", "ours / best other");
    for row in rows {
        let word = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let contenders = row["contenders"].as_array().map_or(&[][..], Vec::as_slice);
        for c in contenders.iter().filter(|c| c["kind"] == "ours") {
            let ratio = c["ratio_to_best_other_median"].as_f64().map(|r| format!("{r:.3}  of {}", word(&row["best_other"])));
            let percent = format!("{:.1}", c["percent_of_peak_median"].as_f64().unwrap_or(f64::NAN));
            let threads = row["threads"].to_string();
            text +=
                &line(&word(&row["row"]), &word(&row["type"]), &threads, &word(&c["name"]), &percent, &ratio.unwrap_or_default());
        }
    }
    text
}

/// What was measured on what.
pub fn environment() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let caches = Caches::detect();
    json!({
        "date": date(), "commit": commit(),
        "machine": {
            "cpu": field(&read("/proc/cpuinfo"), "model name"), "architecture": std::env::consts::ARCH, "os": std::env::consts::OS,
            "processors": std::thread::available_parallelism().ok().map(usize::from),
            "allowed_processors": field(&read("/proc/self/status"), "Cpus_allowed_list"),
            "load_average": read("/proc/loadavg").split(' ').next().and_then(|load| load.parse::<f64>().ok()),
            "cache_bytes": { "l1": caches.l1, "l2": caches.l2, "l3": caches.l3 },
            "isas": Isa::available().map(Isa::name).collect::<Vec<_>>(),
        },
    })
}

/// Versions of the crates, as locked when this was compiled.
pub fn crate_versions() -> Vec<(&'static str, &'static str)> {
    let lock = include_str!("../../../Cargo.lock");
    let version = |name: &str| {
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        after.split('"').next()
    };
    ["gaitprop-kernels", "gemm", "faer", "matrixmultiply"].map(|name| (name, version(name).unwrap_or("?"))).into()
}

/// The commit of the source, with `-dirty` if it was changed since; nothing outside a repository.
fn commit() -> Option<String> {
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()?;
    git.status.success().then(|| String::from_utf8_lossy(&git.stdout).trim().to_owned())
}

/// Now, in UTC.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // Days to a date: Hinnant, chrono-compatible low-level date algorithms. Years begin in March, eras of 400 years in March of year 0.
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

/// A file that appears under its name only when it is whole.
pub struct Whole {
    temporary: PathBuf,
    path: PathBuf,
}

impl Whole {
    /// Tries the directory before anything is measured, so that a bad path costs no measurement; leaves nothing there.
    pub fn create(path: &Path) -> Result<Self, String> {
        let refuse = |why: &dyn std::fmt::Display| format!("--json {}: {why}", path.display());
        let name = path.file_name().ok_or_else(|| refuse(&"not the name of a file"))?;
        if path.is_dir() {
            return Err(refuse(&"a directory"));
        }
        let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        fs::write(&temporary, "").and_then(|()| fs::remove_file(&temporary)).map_err(|e| refuse(&e))?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// Writes it and returns its name.
    pub fn write(self, value: &Value) -> Result<PathBuf, String> {
        let text = format!("{}\n", serde_json::to_string_pretty(value).map_err(|e| e.to_string())?);
        let file = fs::File::create(&self.temporary);
        let done = file.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()));
        done.and_then(|()| fs::rename(&self.temporary, &self.path)).map_err(|e| {
            // Half a file is of no use to anybody.
            let _ = fs::remove_file(&self.temporary);
            format!("{}: {e}", self.path.display())
        })?;
        Ok(self.path)
    }
}
