//! HTML of the page. All text from files is escaped.

use crate::report::examples::{Answer, Answers};
use crate::report::figures::{Figure, Section, each_run};
use crate::report::groups::{Group, differing};
use crate::report::svg::{DARK, Paint, escape};
use crate::report::{COLUMNS, Column, Run, axis, percent};
use crate::run::history::MeanSd;
use crate::run::page::MARK;
use std::collections::BTreeSet;

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

/// Returns a table that scrolls if it is wider than the page.
///
/// * `columns`: titles, with the classes of their cells; `n` for numbers
/// * `rows`: the heading of each row as HTML, and its other cells
fn table(name: &str, columns: &[(&str, &str)], rows: impl IntoIterator<Item = (String, Vec<String>)>) -> String {
    let name = escape(name);
    let mut html = format!("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{name}\"><table><thead><tr>");
    for (title, class) in columns {
        let class = if *class == "n" { " class=\"n\"" } else { "" };
        html += &format!("<th scope=\"col\"{class}>{}</th>", escape(title));
    }
    html += "</tr></thead><tbody>";
    for (heading, cells) in rows {
        html += &format!("<tr><th scope=\"row\">{heading}</th>");
        for (cell, (_, class)) in cells.iter().zip(&columns[1..]) {
            html += &format!("<td class=\"{class}\">{}</td>", escape(cell));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>\n"
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
    let mut columns = vec![("group", "")];
    columns.extend(COLUMNS.iter().map(|(name, ..)| (*name, "n")));
    columns.extend([("epochs", "n"), ("runs", "n"), ("seeds", "")]);
    let row = |(g, group): (usize, &Group)| {
        let epochs = || group.runs.iter().map(|run| run.epochs.len());
        let (least, most) = (epochs().min().unwrap_or(0), epochs().max().unwrap_or(0));
        let value = |(_, in_percent, of): &Column| {
            let of = group.statistics(*of);
            if *in_percent { percent(of) } else { plain(of) }
        };
        let mut cells: Vec<String> = COLUMNS.iter().map(value).collect();
        cells.push(if least == most { most.to_string() } else { format!("{least} to {most}") });
        cells.extend([group.count(), group.seeds()]);
        (key(g, group), cells)
    };
    format!(
        "<p class=\"muted\">Mean ± standard deviation (divisor n − 1) over the runs of a group at the end of training. The best is over the epochs of each \
         run. An unfinished run counts with its last line of metrics.</p>\n{}<p class=\"muted\">One row per run: {}</p>",
        table("Comparison of groups", &columns, groups.iter().enumerate().map(row)),
        download("comparison.csv", "text/csv", "CSV", csv)
    )
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
    let mut html = String::new();
    let all: Vec<&Group> = groups.iter().collect();
    let different = differing(&all);
    if !different.is_empty() {
        let columns: Vec<_> = ["group"].into_iter().chain(different.iter().map(String::as_str)).map(|name| (name, "")).collect();
        let row = |(g, group): (usize, &Group)| {
            let settings = group.settings();
            let cell = |name: &String| settings.get(name.as_str()).cloned().unwrap_or("–".into());
            (key(g, group), different.iter().map(cell).collect())
        };
        let table = table("Settings that differ", &columns, groups.iter().enumerate().map(row));
        html += &format!("<h3>Differences</h3>\n{table}");
    }
    let mut same = groups.first().map(Group::settings).unwrap_or_default();
    same.retain(|name, _| !different.iter().any(|d| d == name));
    if !same.is_empty() {
        let open = if same.len() <= 12 { " open" } else { "" };
        let title = if groups.len() > 1 { "the same in all groups" } else { "" };
        let count = plural(same.len(), "setting");
        let rows = same.into_iter().map(|(name, value)| (escape(name), vec![value]));
        let table = table("Settings that are the same", &[("setting", ""), ("value", "long")], rows);
        html += &format!("<details{open}><summary>{count} {title}</summary>\n{table}</details>\n");
    }
    for group in groups.iter().filter(|group| group.runs[0].config.is_none()) {
        html += &format!("<p class=\"note\">{}: its folder has no config.toml.</p>\n", escape(&group.label));
    }
    html
}

fn charts(Section { text, figures, notes, .. }: &Section) -> String {
    let mut html = format!("<p class=\"muted\">{text}</p>\n");
    if !figures.is_empty() {
        html += "<div class=\"charts\">\n";
        for Figure { chart, csv } in figures {
            let svg = download(&format!("{}.svg", chart.id), "image/svg+xml", "SVG", &chart.file());
            let csv = download(&format!("{}.csv", chart.id), "text/csv", "CSV", csv);
            html += &format!("<figure>{}<figcaption>{svg} {csv}</figcaption></figure>\n", chart.inline());
        }
        html += "</div>\n";
    }
    html + &notes.iter().map(|note| format!("<p class=\"note\">{}</p>\n", escape(note))).collect::<String>()
}

fn examples(groups: &[Group], answers: &[Result<Answers, String>], csv: Option<&str>) -> String {
    let link = csv.map_or(String::new(), |csv| format!(" {}", download("examples.csv", "text/csv", "CSV", csv)));
    let mut html = format!(
        "<p class=\"muted\">Predictions of the saved weights for test samples: wrong ones by falling confidence, then the first right ones.{link}</p>\n"
    );
    for (g, (group, answers)) in groups.iter().zip(answers).enumerate() {
        let Answers { run, data, wrong, samples, probabilities, shown } = match answers {
            Ok(answers) => answers,
            Err(why) => {
                html += &format!("<p class=\"note\">{}: left out: {}.</p>\n", escape(&group.label), escape(why));
                continue;
            }
        };
        let what = if *probabilities { "the probability" } else { "the output of the winning unit (target: 1)" };
        let (key, run, data, samples) = (key(g, group), escape(run), escape(data), plural(*samples, "test sample"));
        html += &format!(
            "<h3>{key}</h3>\n<p class=\"muted\">{run}, {data}: {wrong} of {samples} wrong. The number below each sample is {what}.</p>\n\
             <div class=\"digits\">\n"
        );
        for Answer { index, label, said, confidence, picture } in shown {
            let (class, verdict) = match label == said {
                true => ("", format!("✓ {said}")),
                false => (" class=\"wrong\"", format!("✗ {said}, is {label}")),
            };
            html += &format!(
                "<figure{class}><img alt=\"test sample {index}, a {label}\" src=\"data:image/png;base64,{}\">\
                 <figcaption><strong>{verdict}</strong>{confidence:.2}</figcaption></figure>\n",
                base64(picture)
            );
        }
        html += "</div>\n";
    }
    html
}

fn environment(groups: &[Group]) -> String {
    let columns = [
        ("run", ""),
        ("state", ""),
        ("isa", ""),
        ("threads", "n"),
        ("backend", ""),
        ("dtype", ""),
        ("epochs", "n"),
        ("seconds", "n"),
    ];
    let row = |(_, run): (&Group, &Run)| {
        let end = run.end.clone().unwrap_or_default();
        let or_setting = |value: String, name: &str| match value.as_str() {
            "" | "0" => run.setting(name).unwrap_or("–".into()),
            _ => value,
        };
        let cells = vec![
            run.state().to_owned(),
            or_setting(end.isa, "isa"),
            or_setting(end.threads.to_string(), "threads"),
            or_setting(end.backend, "backend"),
            or_setting(String::new(), "dtype"),
            run.epochs.len().to_string(),
            axis::short(libm::round(run.seconds() * 10.0) / 10.0),
        ];
        (escape(&run.dir.display().to_string()), cells)
    };
    table("Machine and settings of each run", &columns, each_run(groups).map(row))
}

/// Returns the whole page.
pub(super) fn page(
    groups: &[Group],
    sections: &[Section],
    answers: &[Result<Answers, String>],
    table: &str,
    answers_csv: Option<&str>,
) -> String {
    let data: BTreeSet<String> = each_run(groups).filter_map(|(_, run)| run.setting("data")).collect();
    let rules: BTreeSet<&str> = groups.iter().map(Group::rule).collect();
    let title = escape(&format!("gaitprop: {}", Vec::from_iter(rules).join(", ")));
    let set = if data.is_empty() { String::new() } else { format!(" on {}", escape(&Vec::from_iter(data).join(", "))) };
    let mut parts =
        vec![("comparison", "Comparison", comparison(groups, table)), ("configuration", "Configuration", configuration(groups))];
    let sections = sections.iter().filter(|s| !s.figures.is_empty() || !s.notes.is_empty());
    parts.extend(sections.map(|s| (s.id, s.title, charts(s))));
    parts.push(("examples", "Examples", examples(groups, answers, answers_csv)));
    parts.push(("environment", "Environment", environment(groups)));
    let links: String = parts.iter().map(|(id, title, _)| format!("<li><a href=\"#{id}\">{title}</a></li>")).collect();
    let part = |(id, title, html)| format!("<section><h2 id=\"{id}\">{title}</h2>\n{html}</section>\n");
    // The policy enforces that the page fetches nothing and runs no script.
    format!(
        "{MARK}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{STYLE}{DARK}\n</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>\n<p class=\"muted\">{}, {}{set}</p>\n<nav aria-label=\"Parts\"><ul>{links}</ul></nav></header>\n<main>\n\
         {}</main>\n<footer>gaitprop {}</footer>\n</body>\n</html>\n",
        plural(groups.len(), "group"),
        plural(each_run(groups).count(), "run"),
        parts.into_iter().map(part).collect::<String>(),
        env!("CARGO_PKG_VERSION")
    )
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
