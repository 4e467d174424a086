//! Line charts as SVG: one text serves inside a page and as a file.
//!
//! Plotting libraries write colors and font sizes as attributes, for one fixed background. Here the
//! attributes are the colors of a light background, for every SVG reader. Each colored element also
//! has a class, to which [`DARK`] gives another color if the reader prefers a dark scheme.
//!
//! A chart is 360 units wide, about the width of a phone, so that its 12-unit text stays readable.
//! Wide screens show several charts side by side.

use crate::report::axis::{Axis, Scale, short};
use std::fmt::Write as _;

/// Colors of groups on light paper: the color-blind safe ones of Okabe and Ito, with pale ones
/// darkened to a contrast of 3 : 1 on white.
const GROUPS: [&str; 8] = ["#0072b2", "#d55e00", "#008a64", "#b8578f", "#a87900", "#3e95c9", "#5b5b5b", "#6a3d9a"];
/// Colors of layers on light paper, from first to last, monotone in lightness and hue.
const LAYERS: [&str; 8] = ["#1b0c8a", "#5a0fa5", "#8f1c9c", "#bb3a82", "#d2545c", "#d06a2c", "#b17d00", "#858a00"];
const INK: &str = "#1b1f24";
const MUTED: &str = "#5a6472";
const GRID: &str = "#dfe3e8";
const PAPER: &str = "#ffffff";

/// Style rules of the dark scheme, for charts in a page and in files.
pub(super) const DARK: &str = "@media (prefers-color-scheme:dark){\
svg .ink{fill:#e8eaed}svg .muted{fill:#a4aebb}svg .grid{stroke:#343b45}svg .axis{stroke:#8a94a3}svg .paper{fill:#14181d}\
svg .g0{stroke:#5ab4f0}svg .g1{stroke:#ff8a47}svg .g2{stroke:#2fcfa0}svg .g3{stroke:#e59ac4}\
svg .g4{stroke:#e8b931}svg .g5{stroke:#a9d9f7}svg .g6{stroke:#b9bec6}svg .g7{stroke:#b79cf0}\
svg .l0{stroke:#8d82ff}svg .l1{stroke:#b07cff}svg .l2{stroke:#d977ee}svg .l3{stroke:#f77fc0}\
svg .l4{stroke:#ff8f87}svg .l5{stroke:#ffa95c}svg .l6{stroke:#f2c94c}svg .l7{stroke:#dfe36a}\
svg .fg0{fill:#5ab4f0}svg .fg1{fill:#ff8a47}svg .fg2{fill:#2fcfa0}svg .fg3{fill:#e59ac4}\
svg .fg4{fill:#e8b931}svg .fg5{fill:#a9d9f7}svg .fg6{fill:#b9bec6}svg .fg7{fill:#b79cf0}\
svg .fl0{fill:#8d82ff}svg .fl1{fill:#b07cff}svg .fl2{fill:#d977ee}svg .fl3{fill:#f77fc0}\
svg .fl4{fill:#ff8f87}svg .fl5{fill:#ffa95c}svg .fl6{fill:#f2c94c}svg .fl7{fill:#dfe36a}}";

/// Escapes text for elements and quoted attributes of HTML and XML. Replaces characters that XML
/// forbids by U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Subject of a line, which determines its color.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    Group(usize),
    Layer { layer: usize, of: usize },
}

impl Paint {
    /// Returns the class, the color on light paper and the dashes.
    pub(super) fn look(self) -> (String, &'static str, &'static str) {
        match self {
            Self::Group(g) => {
                let dashes = ["", " stroke-dasharray=\"7 3\"", " stroke-dasharray=\"2 2.5\""];
                (format!("g{}", g % 8), GROUPS[g % 8], dashes[g / 4 % 3])
            }
            Self::Layer { layer, of } => {
                let stop = (layer * 7 + (of.max(2) - 1) / 2) / (of.max(2) - 1);
                (format!("l{}", stop.min(7)), LAYERS[stop.min(7)], "")
            }
        }
    }
}

/// Line, with an optional band around it.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) label: String,
    pub(super) paint: Paint,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    pub(super) band: Option<(Vec<f64>, Vec<f64>)>,
}

/// Line chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Name of the files, and prefix of the ids in a page.
    pub(super) id: String,
    pub(super) title: String,
    /// Description for screen readers.
    pub(super) description: String,
    pub(super) x_name: &'static str,
    pub(super) y_scale: Scale,
    /// Range of possible values of y.
    pub(super) y_limits: (f64, f64),
    pub(super) series: Vec<Series>,
}

const WIDTH: f64 = 360.0;
const PLOT_HEIGHT: f64 = 168.0;
const RIGHT: f64 = 12.0;
const FONT: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif";
/// Smallest distance of points with markers. Markers show their values under the pointer.
const MARKED: f64 = 7.0;
/// Parts of a thinned line, about one per two pixels. Lines of more than twice as many points are
/// thinned.
const PARTS: usize = 180;
/// Largest number of layers in a legend. Longer legends show the first, the middle and the last.
const LEGEND: usize = 9;

/// Estimates the width of a text in units, rounded up.
fn text_width(text: &str, size: f64) -> f64 {
    let of = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.95,
        c if c.is_ascii_uppercase() => 0.7,
        _ => 0.65,
    };
    size * text.chars().map(of).sum::<f64>()
}

/// Wraps words into lines of at most `width` units. A wider word gets its own line.
fn wrap(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, size) + text_width(word, size) + 0.36 * size <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// Formats a coordinate with at most two decimals.
fn coordinate(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

impl Chart {
    /// Returns the chart for a page, which contains the style.
    pub(super) fn inline(&self) -> String {
        self.svg("", "")
    }

    /// Returns the chart as a file.
    pub(super) fn file(&self) -> String {
        let style = format!("<style>{DARK}</style>");
        let paper = format!("<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
            self.svg(" xmlns=\"http://www.w3.org/2000/svg\"", &(style + &paper))
        )
    }

    fn axes(&self) -> (Axis, Axis) {
        let x = || self.series.iter().flat_map(|s| s.x.iter().copied()).filter(|v| v.is_finite());
        let (first, last) = (x().fold(f64::INFINITY, f64::min), x().fold(f64::NEG_INFINITY, f64::max));
        // A single point is centered.
        let x = if first < last { Axis::exact(first, last, 5) } else { Axis::exact(first - 1.0, first + 1.0, 2) };
        let y = self.series.iter().flat_map(|s| {
            let band = s.band.iter().flat_map(|(low, high)| low.iter().chain(high));
            s.y.iter().chain(band).copied()
        });
        (x, Axis::fit(self.y_scale, y, self.y_limits, 5))
    }

    fn svg(&self, attributes: &str, head: &str) -> String {
        let (x, y) = self.axes();
        let mut body = String::new();
        let mut top = 4.0;
        for line in wrap(&self.title, 13.5, WIDTH - 12.0) {
            top += 17.0;
            let _ = write!(
                body,
                "<text class=\"ink\" x=\"6\" y=\"{}\" font-size=\"13.5\" font-weight=\"600\" fill=\"{INK}\">{}</text>",
                coordinate(top - 3.0),
                escape(&line)
            );
        }
        top = self.legend(&mut body, top + 4.0) + 11.0;
        let left = 14.0 + y.ticks.iter().map(|(_, name)| text_width(name, 12.0)).fold(18.0, f64::max);
        let area = Area { left, top, width: WIDTH - RIGHT - left, height: PLOT_HEIGHT };
        area.axes(&mut body, &x, &y, self.x_name);
        for series in &self.series {
            area.band(&mut body, &x, &y, series);
        }
        for series in &self.series {
            area.line(&mut body, &x, &y, series);
        }
        let id = &self.id;
        format!(
            "<svg{attributes} class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             font-family=\"{FONT}\"><title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>{head}{body}</svg>",
            coordinate(top + PLOT_HEIGHT + 40.0),
            escape(&self.title),
            escape(&self.description),
        )
    }

    /// Writes the names of the lines in rows from `top` and returns the end of the last row.
    fn legend(&self, body: &mut String, top: f64) -> f64 {
        if self.series.len() < 2 && !matches!(self.series.first(), Some(Series { paint: Paint::Layer { .. }, .. })) {
            return top;
        }
        let (mut across, mut row) = (6.0, top + 13.0);
        let last = self.series.len().saturating_sub(1);
        for (index, series) in self.series.iter().enumerate() {
            if self.series.len() > LEGEND && matches!(series.paint, Paint::Layer { .. }) && ![0, last / 2, last].contains(&index)
            {
                continue;
            }
            let width = 30.0 + text_width(&series.label, 12.0);
            if across + width > WIDTH && across > 6.0 {
                (across, row) = (6.0, row + 17.0);
            }
            let (class, color, dashes) = series.paint.look();
            let _ = write!(
                body,
                "<path class=\"{class}\" d=\"M{} {}h18\" stroke=\"{color}\" stroke-width=\"2.5\"{dashes}/>\
                 <text class=\"ink\" x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"{INK}\">{}</text>",
                coordinate(across),
                coordinate(row - 4.0),
                coordinate(across + 22.0),
                coordinate(row),
                escape(&series.label)
            );
            across += width + 4.0;
        }
        row + 2.0
    }
}

/// Plot area.
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn point(&self, x: &Axis, y: &Axis, at: (f64, f64)) -> Option<(f64, f64)> {
        Some((self.left + self.width * x.place(at.0)?, self.top + self.height * (1.0 - y.place(at.1)?)))
    }

    fn axes(&self, body: &mut String, x: &Axis, y: &Axis, x_name: &str) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for (value, name) in &y.ticks {
            let Some(place) = y.place(*value) else { continue };
            let at = self.top + self.height * (1.0 - place);
            let _ = write!(
                body,
                "<path class=\"grid\" d=\"M{} {at}H{}\" stroke=\"{GRID}\"/>\
                 <text class=\"muted\" x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"{MUTED}\" text-anchor=\"end\">{name}</text>",
                coordinate(self.left),
                coordinate(right),
                coordinate(self.left - 6.0),
                coordinate(at + 4.0),
                at = coordinate(at),
            );
        }
        for (value, name) in &x.ticks {
            let Some(place) = x.place(*value) else { continue };
            let (at, half) = (self.left + self.width * place, text_width(name, 12.0) / 2.0);
            let _ = write!(
                body,
                "<path class=\"axis\" d=\"M{} {}v4\" stroke=\"{MUTED}\"/>\
                 <text class=\"muted\" x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"{MUTED}\" text-anchor=\"middle\">{name}</text>",
                coordinate(at),
                coordinate(bottom),
                coordinate(at.min(WIDTH - half - 2.0)),
                coordinate(bottom + 17.0),
            );
        }
        let _ = write!(
            body,
            "<path class=\"axis\" d=\"M{} {}H{}\" stroke=\"{MUTED}\"/>\
             <text class=\"muted\" x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"{MUTED}\" text-anchor=\"middle\">{}</text>",
            coordinate(self.left),
            coordinate(bottom),
            coordinate(right),
            coordinate(self.left + self.width / 2.0),
            coordinate(bottom + 33.0),
            escape(x_name)
        );
    }

    fn band(&self, body: &mut String, x: &Axis, y: &Axis, series: &Series) {
        let Some((low, high)) = &series.band else { return };
        let (class, color, _) = series.paint.look();
        let edge = |values: &[f64], fold: fn(f64, f64) -> f64| thinned_edge(&series.x, values, fold);
        let (low, high) = (edge(low, f64::min), edge(high, f64::max));
        let mut parts: Vec<Vec<[(f64, f64); 2]>> = vec![Vec::new()];
        for (low, high) in low.into_iter().zip(high) {
            match (self.point(x, y, low), self.point(x, y, high)) {
                (Some(low), Some(high)) => parts.last_mut().expect("one at least").push([low, high]),
                _ => parts.push(Vec::new()),
            }
        }
        let mut d = String::new();
        for part in parts.iter().filter(|part| part.len() > 1) {
            let around = part.iter().map(|p| p[1]).chain(part.iter().rev().map(|p| p[0]));
            for (i, (x, y)) in around.enumerate() {
                let _ = write!(d, "{}{} {}", if i == 0 { 'M' } else { 'L' }, coordinate(x), coordinate(y));
            }
            d.push('Z');
        }
        if !d.is_empty() {
            let _ = write!(body, "<path class=\"f{class}\" d=\"{d}\" fill=\"{color}\" fill-opacity=\"0.2\" stroke=\"none\"/>");
        }
    }

    fn line(&self, body: &mut String, x: &Axis, y: &Axis, series: &Series) {
        let (class, color, dashes) = series.paint.look();
        let (mut d, mut pen_down, mut alone) = (String::new(), false, Vec::new());
        let points: Vec<_> = thinned(&series.x, &series.y).into_iter().map(|at| self.point(x, y, at)).collect();
        for (i, point) in points.iter().enumerate() {
            let Some((x, y)) = point else {
                pen_down = false;
                continue;
            };
            let _ = write!(d, "{}{} {}", if pen_down { 'L' } else { 'M' }, coordinate(*x), coordinate(*y));
            let next = points.get(i + 1).is_some_and(Option::is_some);
            // A point between two gaps has no line and needs a marker.
            if !pen_down && !next {
                alone.push((*x, *y));
            }
            pen_down = true;
        }
        if d.is_empty() {
            return;
        }
        let _ = write!(
            body,
            "<path class=\"{class}\" d=\"{d}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.75\" stroke-linejoin=\"round\"{dashes}/>"
        );
        let ends = series.x.first().zip(series.x.last()).and_then(|(a, b)| Some((x.place(*a)?, x.place(*b)?)));
        let across = self.width * ends.map_or(0.0, |(a, b)| b - a);
        if across >= MARKED * (series.x.len() as f64 - 1.0) {
            for (&x_value, &y_value) in series.x.iter().zip(&series.y) {
                let Some((x, y)) = self.point(x, y, (x_value, y_value)) else { continue };
                let _ = write!(
                    body,
                    "<circle class=\"f{class}\" cx=\"{}\" cy=\"{}\" r=\"2.2\" fill=\"{color}\"><title>{}: {}, at {}</title></circle>",
                    coordinate(x),
                    coordinate(y),
                    escape(&series.label),
                    short(y_value),
                    short(x_value)
                );
            }
        } else {
            for (x, y) in alone {
                let (x, y) = (coordinate(x), coordinate(y));
                let _ = write!(body, "<circle class=\"f{class}\" cx=\"{x}\" cy=\"{y}\" r=\"2.2\" fill=\"{color}\"/>");
            }
        }
    }
}

/// Returns the points of a line; for a long line, the extremes of each part in order.
///
/// A part without a finite value gives a gap.
fn thinned(x: &[f64], y: &[f64]) -> Vec<(f64, f64)> {
    let n = x.len().min(y.len());
    if n <= 2 * PARTS {
        return x.iter().copied().zip(y.iter().copied()).collect();
    }
    let mut points = vec![(x[0], y[0])];
    for part in 0..PARTS {
        let range = part * n / PARTS..(part + 1) * n / PARTS;
        let finite = || range.clone().filter(|&i| y[i].is_finite());
        let by = |a: &usize, b: &usize| y[*a].total_cmp(&y[*b]);
        match (finite().min_by(by), finite().max_by(by)) {
            (Some(low), Some(high)) => points.extend([low.min(high), low.max(high)].map(|i| (x[i], y[i]))),
            _ => points.push((x[range.start], f64::NAN)),
        }
    }
    points.push((x[n - 1], y[n - 1]));
    points
}

/// Returns the points of an edge of a band; for a long one, the extreme of each part.
fn thinned_edge(x: &[f64], edge: &[f64], extreme: fn(f64, f64) -> f64) -> Vec<(f64, f64)> {
    let n = x.len().min(edge.len());
    if n <= 2 * PARTS {
        return x.iter().copied().zip(edge.iter().copied()).collect();
    }
    let part = |part: usize| {
        let range = part * n / PARTS..(part + 1) * n / PARTS;
        // The first and the last point are kept.
        let at = if part == PARTS - 1 { n - 1 } else { range.start };
        (x[at], edge[range].iter().copied().fold(f64::NAN, extreme))
    };
    (0..PARTS).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_all_special_characters() {
        assert_eq!(escape("<a href=\"x\">&'\u{0}\u{1b}\n"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}\u{fffd} ");
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let x: Vec<f64> = (0..10_000).map(f64::from).collect();
        let mut y: Vec<f64> = x.iter().map(|v| v / 1e4).collect();
        (y[5003], y[7001]) = (-9.0, 9.0);
        let points = thinned(&x, &y);
        assert!(points.len() <= 2 * PARTS + 2);
        assert!(points.contains(&(5003.0, -9.0)) && points.contains(&(7001.0, 9.0)));
        assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (9999.0, 0.9999)));
        assert!(points.is_sorted_by_key(|p| p.0));
    }

    #[test]
    fn words_wrap() {
        assert_eq!(wrap("one two three", 10.0, 48.0), ["one two", "three"]);
        assert_eq!(wrap("", 10.0, 45.0), Vec::<String>::new());
    }

    #[test]
    fn layers_use_the_first_to_the_last_color() {
        for of in 1..200 {
            let class = |layer| Paint::Layer { layer, of }.look().0;
            assert_eq!(class(0), "l0");
            assert_eq!(class(of - 1), if of > 1 { "l7" } else { "l0" });
        }
    }
}
