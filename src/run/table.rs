//! Tables of many runs: as text, as CSV, and as a summary of every run.

use crate::run::history::{COLUMNS, Figures, MeanSd, Outcome};
use crate::run::options::Options;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs that differ only in their seed: a row.
pub(crate) struct Group {
    /// Cells that identify the group, in the order of [`Table::titles`].
    pub(crate) names: Vec<String>,
    pub(crate) settings: Options,
    /// Outcomes, by seed; `None` for runs interrupted or not begun.
    pub(crate) outcomes: Vec<(u64, Option<Outcome>)>,
}

impl Group {
    /// Figures of the finished runs.
    pub(crate) fn figures(&self) -> Vec<Figures<Option<f64>>> {
        self.outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref()?.as_ref().ok().copied()).collect()
    }

    /// Statistics of each figure over the finished runs.
    pub(crate) fn statistics(&self) -> Figures<Option<MeanSd>> {
        Figures::statistics(&self.figures())
    }

    /// Reasons of failed runs, with their seeds.
    pub(crate) fn failures(&self) -> Vec<(u64, &str)> {
        self.outcomes.iter().filter_map(|(seed, outcome)| Some((*seed, outcome.as_ref()?.as_ref().err()?.as_str()))).collect()
    }

    /// Number of runs interrupted or not begun.
    pub(crate) fn unfinished(&self) -> usize {
        self.outcomes.iter().filter(|(_, outcome)| outcome.is_none()).count()
    }

    /// Returns the first reason if every run failed.
    pub(crate) fn all_failed(&self) -> Option<&str> {
        let failures = self.failures();
        failures.first().filter(|_| failures.len() == self.outcomes.len()).map(|(_, why)| *why)
    }
}

/// The table of one command.
pub(crate) struct Table {
    /// Headings of the cells that identify a group.
    pub(crate) titles: Vec<String>,
    pub(crate) groups: Vec<Group>,
}

impl Table {
    /// Formats the table as text, with mean ± standard deviation. Empty columns are left out.
    /// Columns beyond [`WIDTH`] characters continue below, after the names of the groups. Reasons of
    /// failed runs follow.
    pub(crate) fn text(&self) -> String {
        let statistics: Vec<_> = self.groups.iter().map(|group| group.statistics().values()).collect();
        let there: Vec<_> = (0..COLUMNS.len()).filter(|&c| statistics.iter().any(|row| row[c].is_some())).collect();
        let head = self.titles.iter().map(String::as_str).chain(["runs"]).chain(there.iter().map(|&c| COLUMNS[c].1.0));
        let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
        for (group, statistics) in self.groups.iter().zip(&statistics) {
            let mut row = group.names.clone();
            row.push(format!("{}/{}", group.figures().len(), group.outcomes.len()));
            row.extend(there.iter().map(|&c| {
                let (_, factor, decimals) = COLUMNS[c].1;
                let failed = || if group.all_failed().is_some() { "failed" } else { "-" };
                statistics[c].map_or_else(|| failed().to_owned(), |s| s.shown(factor, decimals))
            }));
            rows.push(row);
        }
        let mut text = folded(&rows, self.titles.len());
        for group in &self.groups {
            for (seed, why) in group.failures() {
                let _ = writeln!(text, "{}seed {seed}: {why}", self.name(group).map_or(String::new(), |name| name + ", "));
            }
        }
        text
    }

    /// Names a group by its rule and settings: `gait lr=1e-4`. A table of one group has no name for
    /// it.
    pub(crate) fn name(&self, group: &Group) -> Option<String> {
        let cell = |(title, name): (&String, &String)| if title == "rule" { name.clone() } else { format!("{title}={name}") };
        let cells: Vec<String> = self.titles.iter().zip(&group.names).map(cell).collect();
        (!cells.is_empty()).then(|| cells.join(" "))
    }

    /// Formats the table as CSV, with every digit of each mean and standard deviation.
    pub(crate) fn csv(&self) -> String {
        let mut rows = vec![self.titles.clone()];
        rows[0].extend(["runs", "failed", "unfinished"].map(str::to_owned));
        rows[0].extend(COLUMNS.iter().flat_map(|(name, _)| [format!("{name}_mean"), format!("{name}_sd")]));
        rows[0].push("error".into());
        for group in &self.groups {
            let mut row = group.names.clone();
            row.extend([group.figures().len(), group.failures().len(), group.unfinished()].map(|n| n.to_string()));
            let cells = group.statistics().values().into_iter();
            row.extend(cells.flat_map(|s| [number(s.map(|s| s.mean)), number(s.and_then(|s| s.sd))]));
            row.push(group.failures().first().map_or(String::new(), |(_, why)| (*why).to_owned()));
            rows.push(row);
        }
        csv(&rows)
    }

    /// Summarizes every run, for JSON.
    pub(crate) fn summary(&self) -> Vec<Value> {
        let run = |(seed, outcome): &(u64, Option<Outcome>)| {
            let mut run = match outcome {
                Some(Ok(figures)) => json!(figures),
                Some(Err(why)) => json!({ "error": why }),
                None => json!({ "error": "not finished" }),
            };
            run["seed"] = (*seed).into();
            run
        };
        let group = |group: &Group| {
            json!({
                "name": self.titles.iter().zip(&group.names).collect::<BTreeMap<_, _>>(),
                "settings": Options { seed: None, ..group.settings.clone() },
                "statistics": group.statistics(),
                "runs": group.outcomes.iter().map(run).collect::<Vec<_>>(),
            })
        };
        self.groups.iter().map(group).collect()
    }
}

/// Largest width of a text table, in characters, unless its first columns are wider.
const WIDTH: usize = 120;

/// Aligns columns as [`aligned`] does, in several tables of at most [`WIDTH`] characters below each
/// other. Each begins with the first `left` columns.
fn folded(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let wide = |c: usize| 3 + rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let names: usize = (0..left).map(wide).sum();
    let (mut text, mut first) = (String::new(), left);
    while first < columns || text.is_empty() {
        let (mut last, mut width) = (first, names);
        // At least one column, however wide.
        while last < columns && (last == first || width + wide(last) <= WIDTH + 3) {
            width += wide(last);
            last += 1;
        }
        let part = |row: &Vec<String>| [&row[..left], &row[first..last]].concat();
        text += &aligned(&rows.iter().map(part).collect::<Vec<_>>(), left);
        first = last;
    }
    text
}

/// Aligns columns: the first `left` to the left, the others to the right.
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

/// Formats a number of a CSV table with every digit, or as an empty cell.
pub(crate) fn number(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| x.to_string())
}

/// Formats rows as CSV (RFC 4180, lines ending in LF).
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
        // 3 + 3 characters of a name, then columns of 60: one beside another makes 126.
        let wide = |c: &str| c.repeat(57);
        let rows =
            [vec!["abc".to_owned(), wide("x"), wide("y"), "z".into()], vec![String::new(), "1".into(), "2".into(), "3".into()]];
        let lines = folded(&rows, 1);
        let expected =
            [format!("abc   {}", wide("x")), format!("{:>63}", 1), format!("abc   {}   z", wide("y")), format!("{:>63}   3", 2)];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert_eq!(
            folded(&rows[..1].iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>(), 1),
            format!("abc   {}\n", wide("x"))
        );
        let rows = [vec!["a,b".to_owned(), "say \"x\"".into(), "plain".into()]];
        assert_eq!(csv(&rows), "\"a,b\",\"say \"\"x\"\"\",plain\n");
    }
}
