//! HTML of the page. All text from files is escaped.

use crate::report::examples::Answers;
use crate::report::figures::{Figure, Section};
use crate::report::groups::{Group, differing};
use crate::report::svg::{DARK, Paint, escape};
use crate::report::{COLUMNS, axis, percent};
use crate::run::history::MeanSd;
use crate::run::page::MARK;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// Encodes bytes as standard Base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for i in 0..4 {
            text.push(if i <= three.len() { LETTERS[((bits >> (18 - 6 * i)) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

/// Returns a link that saves `content` as `name`. The content is part of the link.
fn download(name: &str, kind: &str, label: &str, content: &str) -> String {
    let (safe, data) = (escape(name), base64(content.as_bytes()));
    format!("<a download=\"{safe}\" href=\"data:{kind};charset=utf-8;base64,{data}\" aria-label=\"{label}: {safe}\">{label}</a>")
}

/// Table that scrolls if it is wider than the page.
struct Table {
    html: String,
}

impl Table {
    fn new(name: &str, head: &[(&str, bool)]) -> Self {
        let mut html =
            format!("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table><thead><tr>", escape(name));
        for (title, number) in head {
            let class = if *number { " class=\"n\"" } else { "" };
            let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(title));
        }
        html.push_str("</tr></thead><tbody>");
        Self { html }
    }

    /// Adds a row: the heading as HTML, and cells with their classes.
    fn row(&mut self, heading: &str, cells: impl IntoIterator<Item = (String, &'static str)>) {
        let _ = write!(self.html, "<tr><th scope=\"row\">{heading}</th>");
        for (text, class) in cells {
            let _ = write!(self.html, "<td class=\"{class}\">{}</td>", escape(&text));
        }
        self.html.push_str("</tr>");
    }

    fn end(mut self) -> String {
        self.html.push_str("</tbody></table></div>\n");
        self.html
    }
}

/// Returns the name of a group with the color of its lines.
fn key(g: usize, group: &Group) -> String {
    let (class, color, dashes) = Paint::Group(g).look();
    let path = format!("<path class=\"{class}\" d=\"M0 2H18\" stroke=\"{color}\" stroke-width=\"4\"{dashes}/>");
    format!("<svg class=\"key\" viewBox=\"0 0 18 4\" aria-hidden=\"true\">{path}</svg>{}", escape(&group.label))
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn comparison(groups: &[Group], csv: &str) -> String {
    let mut html = String::from("<section><h2 id=\"comparison\">Comparison</h2>\n");
    html.push_str(
        "<p class=\"muted\">Mean ± standard deviation (divisor n − 1) over the runs of a group at the end of training. The best is over the epochs of each \
         run. A run without a last line counts with its last epoch.</p>\n",
    );
    let mut head = vec![("group", false)];
    head.extend(COLUMNS.iter().map(|(name, ..)| (*name, true)));
    head.extend([("epochs", true), ("runs", true), ("seeds", false)]);
    let mut table = Table::new("Comparison of groups", &head);
    for (g, group) in groups.iter().enumerate() {
        let epochs = |run: &crate::report::Run| run.epochs.len();
        let (least, most) = (group.runs.iter().map(epochs).min().unwrap_or(0), group.runs.iter().map(epochs).max().unwrap_or(0));
        let epochs = if least == most { most.to_string() } else { format!("{least} to {most}") };
        let mut cells = Vec::new();
        for (_, in_percent, of) in COLUMNS {
            let of = group.statistics(of);
            cells.push((if in_percent { percent(of) } else { plain(of) }, "n"));
        }
        cells.extend([(epochs, "n"), (group.runs.len().to_string(), "n"), (group.seeds(), "")]);
        table.row(&key(g, group), cells);
    }
    html.push_str(&table.end());
    let _ = writeln!(
        html,
        "<p class=\"muted\">One row per run: {}</p></section>",
        download("comparison.csv", "text/csv", "CSV", csv)
    );
    html
}

/// Formats mean and deviation with two significant digits of the deviation.
fn plain(of: Option<MeanSd>) -> String {
    match of {
        Some(MeanSd { mean, sd: Some(sd) }) if sd > 1e-9 => {
            let decimals = (1.0 - libm::floor(libm::log10(sd))).clamp(0.0, 9.0) as usize;
            format!("{mean:.decimals$} ± {sd:.decimals$}")
        }
        of => axis::short(of.map_or(f64::NAN, |of| of.mean)),
    }
}

fn configuration(groups: &[Group]) -> String {
    let mut html = String::from("<section><h2 id=\"configuration\">Configuration</h2>\n");
    let all: Vec<&Group> = groups.iter().collect();
    let different = differing(&all);
    if !different.is_empty() {
        html.push_str("<h3>Differences</h3>\n");
        let mut head = vec![("group", false)];
        head.extend(different.iter().map(|name| (name.as_str(), false)));
        let mut table = Table::new("Settings that differ", &head);
        for (g, group) in groups.iter().enumerate() {
            let settings = group.settings();
            table.row(
                &key(g, group),
                different.iter().map(|name| (settings.get(name.as_str()).cloned().unwrap_or("–".into()), "")),
            );
        }
        html.push_str(&table.end());
    }
    let same: Vec<(&str, String)> = match groups.first() {
        Some(group) => group.settings().into_iter().filter(|(name, _)| !different.iter().any(|d| d == name)).collect(),
        None => Vec::new(),
    };
    if !same.is_empty() {
        let open = if same.len() <= 12 { " open" } else { "" };
        let title = if groups.len() > 1 { "the same in all groups" } else { "" };
        let _ = writeln!(html, "<details{open}><summary>{} {title}</summary>", plural(same.len(), "setting"));
        let mut table = Table::new("Settings that are the same", &[("setting", false), ("value", false)]);
        for (name, value) in same {
            table.row(&escape(name), [(value, "long")]);
        }
        html.push_str(&table.end());
        html.push_str("</details>\n");
    }
    for group in groups.iter().filter(|group| group.runs[0].config.is_none()) {
        let _ = writeln!(html, "<p class=\"note\">{}: its folder has no config.toml.</p>", escape(&group.label));
    }
    html.push_str("</section>\n");
    html
}

fn section(section: &Section) -> String {
    let (id, title, text) = (section.id, section.title, section.text);
    let mut html = format!("<section><h2 id=\"{id}\">{title}</h2>\n<p class=\"muted\">{text}</p>\n");
    if !section.figures.is_empty() {
        html.push_str("<div class=\"charts\">\n");
        for Figure { chart, csv } in &section.figures {
            let svg = download(&format!("{}.svg", chart.id), "image/svg+xml", "SVG", &chart.file());
            let csv = download(&format!("{}.csv", chart.id), "text/csv", "CSV", csv);
            let _ = writeln!(html, "<figure>{}<figcaption>{svg} {csv}</figcaption></figure>", chart.inline());
        }
        html.push_str("</div>\n");
    }
    for note in &section.notes {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(note));
    }
    html.push_str("</section>\n");
    html
}

fn examples(groups: &[Group], answers: &[Result<Answers, String>], csv: Option<&str>) -> String {
    let mut html = String::from("<section><h2 id=\"examples\">Examples</h2>\n");
    html.push_str(
        "<p class=\"muted\">Predictions of the saved weights for test samples: wrong ones by falling confidence, then the first right ones.",
    );
    if let Some(csv) = csv {
        let _ = write!(html, " {}", download("examples.csv", "text/csv", "CSV", csv));
    }
    html.push_str("</p>\n");
    for (g, (group, answers)) in groups.iter().zip(answers).enumerate() {
        let answers = match answers {
            Ok(answers) => answers,
            Err(why) => {
                let _ = writeln!(html, "<p class=\"note\">{}: left out: {}.</p>", escape(&group.label), escape(why));
                continue;
            }
        };
        let what = if answers.probabilities { "the probability" } else { "the output of the winning unit (target: 1)" };
        let _ = writeln!(
            html,
            "<h3>{}</h3>\n<p class=\"muted\">{}, {}: {} of {} wrong. The number below each sample is {what}.</p>\n<div class=\"digits\">",
            key(g, group),
            escape(&answers.run),
            escape(&answers.data),
            answers.wrong,
            plural(answers.samples, "test sample"),
        );
        for a in &answers.shown {
            let wrong = a.label != a.said;
            let (class, verdict) = match wrong {
                true => (" class=\"wrong\"", format!("✗ {}, is {}", a.said, a.label)),
                false => ("", format!("✓ {}", a.said)),
            };
            let _ = writeln!(
                html,
                "<figure{class}><img alt=\"test sample {}, a {}\" src=\"data:image/png;base64,{}\"><figcaption><strong>{verdict}</strong>{:.2}</figcaption></figure>",
                a.index,
                a.label,
                base64(&a.picture),
                a.confidence,
            );
        }
        html.push_str("</div>\n");
    }
    html.push_str("</section>\n");
    html
}

fn environment(groups: &[Group]) -> String {
    let mut html = String::from("<section><h2 id=\"environment\">Environment</h2>\n");
    let head = [("run", false), ("state", false), ("isa", false), ("threads", true), ("backend", false), ("dtype", false)];
    let mut table = Table::new("Machine and settings of each run", &[&head[..], &[("epochs", true), ("seconds", true)]].concat());
    for run in groups.iter().flat_map(|group| &group.runs) {
        let end = run.end.clone().unwrap_or_default();
        let or_setting = |value: String, name: &str| match value.as_str() {
            "" | "0" => run.setting(name).unwrap_or("–".into()),
            _ => value,
        };
        let cells = [
            (run.state().to_owned(), ""),
            (or_setting(end.isa, "isa"), ""),
            (or_setting(end.threads.to_string(), "threads"), "n"),
            (or_setting(end.backend, "backend"), ""),
            (or_setting(String::new(), "dtype"), ""),
            (run.epochs.len().to_string(), "n"),
            (axis::short(libm::round(run.seconds() * 10.0) / 10.0), "n"),
        ];
        table.row(&escape(&run.dir.display().to_string()), cells);
    }
    html.push_str(&table.end());
    html.push_str("</section>\n");
    html
}

/// Returns the whole page.
pub(super) fn page(
    groups: &[Group],
    sections: &[Section],
    answers: &[Result<Answers, String>],
    table: &str,
    answers_csv: Option<&str>,
) -> String {
    let runs: usize = groups.iter().map(|group| group.runs.len()).sum();
    let data: std::collections::BTreeSet<String> =
        groups.iter().flat_map(|g| &g.runs).filter_map(|run| run.setting("data")).collect();
    let rules: std::collections::BTreeSet<&str> = groups.iter().map(Group::rule).collect();
    let title = escape(&format!("gaitprop: {}", rules.into_iter().collect::<Vec<_>>().join(", ")));
    let sections: Vec<&Section> = sections.iter().filter(|s| !s.figures.is_empty() || !s.notes.is_empty()).collect();
    let mut parts = vec![("comparison", "Comparison"), ("configuration", "Configuration")];
    parts.extend(sections.iter().map(|s| (s.id, s.title)));
    parts.extend([("examples", "Examples"), ("environment", "Environment")]);
    let links: String = parts.iter().map(|(id, title)| format!("<li><a href=\"#{id}\">{title}</a></li>")).collect();
    let set = match data.len() {
        0 => String::new(),
        _ => format!(" on {}", escape(&data.into_iter().collect::<Vec<_>>().join(", "))),
    };
    // The policy enforces that the page fetches nothing and runs no script.
    let mut html = format!(
        "{MARK}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{STYLE}{DARK}\n</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>\n<p class=\"muted\">{}, {}{set}</p>\n<nav aria-label=\"Parts\"><ul>{links}</ul></nav></header>\n<main>\n",
        plural(groups.len(), "group"),
        plural(runs, "run"),
    );
    html.push_str(&comparison(groups, table));
    html.push_str(&configuration(groups));
    for part in sections {
        html.push_str(&section(part));
    }
    html.push_str(&examples(groups, answers, answers_csv));
    html.push_str(&environment(groups));
    let _ = writeln!(html, "</main>\n<footer>gaitprop {}</footer>\n</body>\n</html>", env!("CARGO_PKG_VERSION"));
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 4648.
    #[test]
    fn base64_examples() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
