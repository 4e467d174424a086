//! Tables of many runs: for readers, for programs, and with everything in them.

use crate::run::history::{Fate, Figures, MeanSd};
use crate::run::options::Options;
use serde::Serialize;
use std::fmt::Write as _;

/// Runs that differ in their seed alone: a row.
pub(crate) struct Group {
    /// What tells them from others: cells, in the order of [`Table::titles`].
    pub(crate) names: Vec<String>,
    pub(crate) settings: Options,
    /// By seed.
    pub(crate) fates: Vec<(u64, Fate)>,
}

impl Group {
    /// Figures of the runs that have come to their end.
    fn figures(&self) -> Vec<Figures<Option<f64>>> {
        self.fates.iter().filter_map(|(_, fate)| if let Fate::Done(figures) = fate { Some(*figures) } else { None }).collect()
    }

    /// Whether there are any.
    pub(crate) fn any_done(&self) -> bool {
        self.fates.iter().any(|(_, fate)| matches!(fate, Fate::Done(_)))
    }

    /// Each figure over those runs.
    pub(crate) fn statistics(&self) -> Figures<Option<MeanSd>> {
        Figures::statistics(&self.figures())
    }

    /// Why runs failed, with their seeds.
    pub(crate) fn failures(&self) -> Vec<(u64, &str)> {
        self.fates
            .iter()
            .filter_map(|(seed, fate)| if let Fate::Failed(why) = fate { Some((*seed, why.as_str())) } else { None })
            .collect()
    }

    /// How many were not begun, or not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Unfinished)).count()
    }

    /// Why there is no figure at all, if every run failed.
    pub(crate) fn all_failed(&self) -> Option<&str> {
        let failures = self.failures();
        failures.first().filter(|_| failures.len() == self.fates.len()).map(|(_, why)| *why)
    }
}

/// Heading, factor and decimals of each figure in a table for readers, in the order of [`Figures::NAMES`].
const COLUMNS: [(&str, f64, usize); 9] = [
    ("peak test %", 100.0, 2),
    ("at epoch", 1.0, 1),
    ("final test %", 100.0, 2),
    ("test loss", 1.0, 5),
    ("final train %", 100.0, 2),
    ("final valid. %", 100.0, 2),
    ("s an epoch", 1.0, 3),
    ("cos(bp) of W0", 1.0, 4),
    ("|offdiag|", 1.0, 4),
];
const _: () = assert!(COLUMNS.len() == Figures::<f64>::NAMES.len());

/// What is neither measured nor known.
const NOTHING: &str = "-";

/// Rows of one command.
pub(crate) struct Table {
    /// Headings of what tells groups apart.
    pub(crate) titles: Vec<String>,
    pub(crate) groups: Vec<Group>,
}

impl Table {
    /// For readers: mean ± standard deviation; columns that say nothing are left out. Below it why runs failed.
    pub(crate) fn text(&self) -> String {
        let statistics: Vec<_> = self.groups.iter().map(|group| group.statistics().values()).collect();
        let there: Vec<_> = (0..COLUMNS.len()).filter(|&c| statistics.iter().any(|row| row[c].is_some())).collect();
        let head = self.titles.iter().map(String::as_str).chain(["runs"]).chain(there.iter().map(|&c| COLUMNS[c].0));
        let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
        for (group, statistics) in self.groups.iter().zip(&statistics) {
            let mut row = group.names.clone();
            row.push(format!("{}/{}", group.figures().len(), group.fates.len()));
            row.extend(there.iter().map(|&c| {
                let (_, factor, decimals) = COLUMNS[c];
                let failed = || if group.all_failed().is_some() { "failed" } else { NOTHING };
                statistics[c].map_or_else(|| failed().to_owned(), |s| s.shown(factor, decimals))
            }));
            rows.push(row);
        }
        let mut text = aligned(&rows, self.titles.len());
        for group in &self.groups {
            for (seed, why) in group.failures() {
                let _ = writeln!(text, "{}, seed {seed}: {why}", group.names.join(" "));
            }
        }
        text
    }

    /// For programs: every figure's mean and standard deviation to the last bit.
    pub(crate) fn csv(&self) -> String {
        let mut head = self.titles.clone();
        head.extend(["runs", "failed", "unfinished"].map(str::to_owned));
        head.extend(Figures::<f64>::NAMES.iter().flat_map(|name| [format!("{name}_mean"), format!("{name}_sd")]));
        head.push("error".into());
        let rows = self.groups.iter().map(|group| {
            let mut row = group.names.clone();
            row.extend([group.figures().len(), group.failures().len(), group.unfinished()].map(|n| n.to_string()));
            let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
            let cells = group.statistics().values().into_iter();
            row.extend(cells.flat_map(|s| [number(s.map(|s| s.mean)), number(s.and_then(|s| s.sd))]));
            row.push(group.failures().first().map_or(String::new(), |(_, why)| (*why).to_owned()));
            row
        });
        csv(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    }

    /// Every run.
    pub(crate) fn summary(&self) -> Vec<impl Serialize + use<'_>> {
        let group = |group: &'_ Group| {
            let runs = group.fates.iter().map(|(seed, fate)| match fate {
                Fate::Done(figures) => RunSummary { seed: *seed, figures: Some(*figures), error: None },
                Fate::Failed(why) => RunSummary { seed: *seed, figures: None, error: Some(why.clone()) },
                Fate::Unfinished => RunSummary { seed: *seed, figures: None, error: Some("not finished".into()) },
            });
            GroupSummary {
                name: self.titles.iter().cloned().zip(group.names.iter().map(|name| name.as_str().into())).collect(),
                settings: Options { seed: None, ..group.settings.clone() },
                statistics: group.statistics(),
                runs: runs.collect(),
            }
        };
        self.groups.iter().map(group).collect()
    }
}

#[derive(Serialize)]
struct GroupSummary {
    name: serde_json::Map<String, serde_json::Value>,
    settings: Options,
    statistics: Figures<Option<MeanSd>>,
    runs: Vec<RunSummary>,
}

#[derive(Serialize)]
struct RunSummary {
    seed: u64,
    #[serde(flatten)]
    figures: Option<Figures<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A setting's value, for readers.
pub(crate) fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(x) if *x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
        toml::Value::Float(x) => x.to_string(),
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns side by side: the first `left` aligned to the left, the others to the right.
pub(crate) fn aligned<R: AsRef<[String]>>(rows: &[R], left: usize) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        widths.iter_mut().zip(row.as_ref()).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for row in rows {
        let cell = |(c, (cell, &width)): (usize, (&String, &usize))| {
            if c < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let line = row.as_ref().iter().zip(&widths).enumerate().map(cell).collect::<Vec<_>>().join("   ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Comma-separated values (RFC 4180, lines ending in LF).
pub(crate) fn csv<R: AsRef<[String]>>(rows: &[R]) -> String {
    let cell = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    rows.iter().map(|row| row.as_ref().iter().map(cell).collect::<Vec<_>>().join(",") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_values_quoted() {
        let rows = [["a", "b ± c", "d"], ["long", "x", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows, 1), "a      b ± c   d\nlong       x\n");
        let rows = [vec!["a,b".to_owned(), "say \"x\"".into(), "plain".into()]];
        assert_eq!(csv(&rows), "\"a,b\",\"say \"\"x\"\"\",plain\n");
    }
}
