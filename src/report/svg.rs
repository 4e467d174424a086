//! Line charts as SVG: one text serves inside a page and as a file.
//!
//! Plotting libraries write colors and font sizes as attributes, for one fixed background. Here the
//! attributes are the colors of a light background, for every SVG reader. Each colored element also
//! has a class, to which [`DARK`] gives another color if the reader prefers a dark scheme.
//!
//! A chart is 360 units wide, about the width of a phone, so that its 12-unit text stays readable.
//! Wide screens show several charts side by side.

use crate::report::axis::{Axis, Scale, extent, short, trimmed};
use crate::study::diagnostics::degrees;
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
    pub(super) x_name: &'static str,
    pub(super) y_scale: Scale,
    /// Range of possible values of y.
    pub(super) y_limits: (f64, f64),
    /// Whether y is a cosine. Its values are then also given as angles.
    pub(super) angles: bool,
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
    trimmed(&format!("{v:.2}")).into()
}

fn point(x: f64, y: f64) -> String {
    format!("{} {}", coordinate(x), coordinate(y))
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
        let svg = self.svg(" xmlns=\"http://www.w3.org/2000/svg\"", &(style + &paper));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{svg}\n")
    }

    /// Describes the chart for screen readers: where each line starts and ends.
    fn description(&self) -> String {
        let mut text = format!("{}, by {}.", self.title, self.x_name);
        for series in &self.series {
            let known = series.x.iter().zip(&series.y).filter(|(_, y)| y.is_finite());
            let mut known = known.map(|(x, y)| (short(*x), shown(*y, self.angles)));
            if let Some((x, y)) = known.next() {
                let (last_x, last_y) = known.next_back().unwrap_or((x.clone(), y.clone()));
                let _ = write!(text, " {}: {y} at {x}, {last_y} at {last_x}.", series.label);
            }
        }
        text
    }

    fn axes(&self) -> (Axis, Axis) {
        let (first, last) = extent(self.series.iter().flat_map(|s| s.x.iter().copied()));
        // A single point is centered.
        let x = if first < last { Axis::exact(first, last, 5) } else { Axis::exact(first - 1.0, first + 1.0, 2) };
        let y = self.series.iter().flat_map(|s| {
            let band = s.band.iter().flat_map(|(low, high)| low.iter().chain(high));
            s.y.iter().chain(band).copied()
        });
        (x, Axis::fit(self.y_scale, y, self.y_limits, 5))
    }

    fn svg(&self, attributes: &str, head: &str) -> String {
        let mut body = String::new();
        let mut top = 4.0;
        for line in wrap(&self.title, 13.5, WIDTH - 12.0) {
            top += 17.0;
            let (y, line) = (coordinate(top - 3.0), escape(&line));
            let _ = write!(
                body,
                "<text class=\"ink\" x=\"6\" y=\"{y}\" font-size=\"13.5\" font-weight=\"600\" fill=\"{INK}\">{line}</text>"
            );
        }
        top = self.legend(&mut body, top + 4.0) + 11.0;
        let (x, y) = self.axes();
        let left = 14.0 + y.ticks.iter().map(|(_, name)| text_width(name, 12.0)).fold(18.0, f64::max);
        let area = Area { left, top, width: WIDTH - RIGHT - left, x, y };
        area.axes(&mut body, self.x_name);
        self.series.iter().for_each(|series| area.band(&mut body, series));
        self.series.iter().for_each(|series| area.line(&mut body, series, self.angles));
        let (id, height) = (&self.id, coordinate(top + PLOT_HEIGHT + 40.0));
        let (title, description) = (escape(&self.title), escape(&self.description()));
        format!(
            "<svg{attributes} class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             font-family=\"{FONT}\"><title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>{head}{body}</svg>"
        )
    }

    /// Writes the names of the lines in rows from `top` and returns the end of the last row.
    fn legend(&self, body: &mut String, top: f64) -> f64 {
        let layers = matches!(self.series.first(), Some(Series { paint: Paint::Layer { .. }, .. }));
        if self.series.len() < 2 && !layers {
            return top;
        }
        let (mut across, mut row) = (6.0, top + 13.0);
        let last = self.series.len().saturating_sub(1);
        for (index, series) in self.series.iter().enumerate() {
            if layers && last >= LEGEND && ![0, last / 2, last].contains(&index) {
                continue;
            }
            let width = 30.0 + text_width(&series.label, 12.0);
            if across + width > WIDTH && across > 6.0 {
                (across, row) = (6.0, row + 17.0);
            }
            let (class, color, dashes) = series.paint.look();
            let (line, x, y) = (point(across, row - 4.0), coordinate(across + 22.0), coordinate(row));
            let label = escape(&series.label);
            let _ = write!(
                body,
                "<path class=\"{class}\" d=\"M{line}h18\" stroke=\"{color}\" stroke-width=\"2.5\"{dashes}/>\
                 <text class=\"ink\" x=\"{x}\" y=\"{y}\" font-size=\"12\" fill=\"{INK}\">{label}</text>"
            );
            across += width + 4.0;
        }
        row + 2.0
    }
}

/// Writes a name at an axis. `anchor` is the part of the text at the position.
fn name(body: &mut String, (x, y): (f64, f64), anchor: &str, name: &str) {
    let (x, y, name) = (coordinate(x), coordinate(y), escape(name));
    let _ = write!(
        body,
        "<text class=\"muted\" x=\"{x}\" y=\"{y}\" font-size=\"12\" fill=\"{MUTED}\" text-anchor=\"{anchor}\">{name}</text>"
    );
}

/// Formats a value; a cosine also as an angle.
fn shown(y: f64, angle: bool) -> String {
    if angle && y.is_finite() { format!("{} ({}°)", short(y), short(degrees(y))) } else { short(y) }
}

/// Splits points at gaps.
fn parts<P: Copy>(points: impl Iterator<Item = Option<P>>) -> Vec<Vec<P>> {
    let points: Vec<_> = points.collect();
    points.split(Option::is_none).map(|part| part.iter().copied().flatten().collect()).collect()
}

/// Formats a path through points.
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.enumerate().map(|(i, (x, y))| format!("{}{}", if i == 0 { 'M' } else { 'L' }, point(x, y))).collect()
}

/// Plot area with its axes.
struct Area {
    left: f64,
    top: f64,
    width: f64,
    x: Axis,
    y: Axis,
}

impl Area {
    fn across(&self, x: f64) -> Option<f64> {
        Some(self.left + self.width * self.x.place(x)?)
    }

    fn down(&self, y: f64) -> Option<f64> {
        Some(self.top + PLOT_HEIGHT * (1.0 - self.y.place(y)?))
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.across(x)?, self.down(y)?))
    }

    fn axes(&self, body: &mut String, x_name: &str) {
        let (right, bottom) = (self.left + self.width, self.top + PLOT_HEIGHT);
        for (value, text) in &self.y.ticks {
            let Some(at) = self.down(*value) else { continue };
            let (start, end) = (point(self.left, at), coordinate(right));
            let _ = write!(body, "<path class=\"grid\" d=\"M{start}H{end}\" stroke=\"{GRID}\"/>");
            name(body, (self.left - 6.0, at + 4.0), "end", text);
        }
        for (value, text) in &self.x.ticks {
            let Some(at) = self.across(*value) else { continue };
            let _ = write!(body, "<path class=\"axis\" d=\"M{}v4\" stroke=\"{MUTED}\"/>", point(at, bottom));
            name(body, (at.min(WIDTH - text_width(text, 12.0) / 2.0 - 2.0), bottom + 17.0), "middle", text);
        }
        let (start, end) = (point(self.left, bottom), coordinate(right));
        let _ = write!(body, "<path class=\"axis\" d=\"M{start}H{end}\" stroke=\"{MUTED}\"/>");
        name(body, (self.left + self.width / 2.0, bottom + 33.0), "middle", x_name);
    }

    fn band(&self, body: &mut String, series: &Series) {
        let Some((low, high)) = &series.band else { return };
        let (class, color, _) = series.paint.look();
        let (low, high) = (thinned_edge(&series.x, low, f64::min), thinned_edge(&series.x, high, f64::max));
        let edges = parts(low.into_iter().zip(high).map(|(low, high)| Some((self.place(low)?, self.place(high)?))));
        let around = |part: &Vec<(_, _)>| path(part.iter().map(|p| p.1).chain(part.iter().rev().map(|p| p.0))) + "Z";
        let d: String = edges.iter().filter(|part| part.len() > 1).map(around).collect();
        if !d.is_empty() {
            let _ = write!(body, "<path class=\"f{class}\" d=\"{d}\" fill=\"{color}\" fill-opacity=\"0.2\" stroke=\"none\"/>");
        }
    }

    fn line(&self, body: &mut String, series: &Series, angles: bool) {
        let (class, color, dashes) = series.paint.look();
        let parts = parts(thinned(&series.x, &series.y).into_iter().map(|at| self.place(at)));
        let d: String = parts.iter().map(|part| path(part.iter().copied())).collect();
        if d.is_empty() {
            return;
        }
        let _ = write!(
            body,
            "<path class=\"{class}\" d=\"{d}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.75\" stroke-linejoin=\"round\"{dashes}/>"
        );
        let mut circle = |(x, y), end: &str| {
            let (x, y) = (coordinate(x), coordinate(y));
            let _ = write!(body, "<circle class=\"f{class}\" cx=\"{x}\" cy=\"{y}\" r=\"2.2\" fill=\"{color}\"{end}");
        };
        let ends = series.x.first().zip(series.x.last()).and_then(|(a, b)| Some((self.across(*a)?, self.across(*b)?)));
        if ends.map_or(0.0, |(a, b)| b - a) >= MARKED * (series.x.len() as f64 - 1.0) {
            for (&x, &y) in series.x.iter().zip(&series.y) {
                let Some(at) = self.place((x, y)) else { continue };
                let title = format!("{}: {}, at {}", escape(&series.label), shown(y, angles), short(x));
                circle(at, &format!("><title>{title}</title></circle>"));
            }
        } else {
            // A point between two gaps has no line and needs a marker.
            parts.iter().filter(|part| part.len() == 1).for_each(|part| circle(part[0], "/>"));
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
    fn cosines_are_also_angles() {
        assert_eq!([shown(0.5, true), shown(-1.0, true), shown(0.5, false)], ["0.5 (60°)", "-1 (180°)", "0.5"]);
        assert_eq!(shown(f64::NAN, true), "–");
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
