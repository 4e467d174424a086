//! Axes: positions of values, and ticks at round numbers.

/// Scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Powers of ten. Values that are not positive have no position.
    Log,
}

/// Axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values and labels, from low to high.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Largest value shown. Differences of larger values overflow.
const LARGEST: f64 = 1e300;

impl Axis {
    /// Fits an axis with about `wanted` ticks to the finite `values`, on a logarithmic axis the
    /// positive ones.
    ///
    /// Adds a small margin within `limits`. Without values, the range is 0 to 1, or 1 to 10 if
    /// logarithmic.
    pub(super) fn fit(scale: Scale, values: impl Iterator<Item = f64>, limits: (f64, f64), wanted: usize) -> Self {
        let usable = |v: &f64| v.abs() <= LARGEST && (scale == Scale::Linear || *v >= 1.0 / LARGEST);
        let (low, high) = extent(values.filter(usable));
        match scale {
            Scale::Linear => {
                let (low, high) = match (low <= high, low < high) {
                    (false, _) => (0.0, 1.0),
                    // A single value is centered.
                    (true, false) => (low - 0.05 * low.abs().max(1e-9), high + 0.05 * high.abs().max(1e-9)),
                    (true, true) => (low, high),
                };
                let margin = 0.04 * (high - low);
                let (low, high) = ((low - margin).max(limits.0.min(low)), (high + margin).min(limits.1.max(high)));
                Self { scale, low, high, ticks: linear_ticks(low, high, wanted) }
            }
            Scale::Log => {
                let (low, high) = if low <= high { (libm::log10(low), libm::log10(high)) } else { (0.0, 1.0) };
                let margin = (0.04 * (high - low)).max(0.02);
                let (low, high) = (low - margin, high + margin);
                Self { scale, low, high, ticks: log_ticks(low, high, wanted) }
            }
        }
    }

    /// Makes a linear axis from `low` to `high`, without margin.
    pub(super) fn exact(low: f64, high: f64, wanted: usize) -> Self {
        let high = if low < high { high } else { low + 1.0 };
        Self { scale: Scale::Linear, low, high, ticks: linear_ticks(low, high, wanted) }
    }

    /// Returns the position of a value from 0 (low end) to 1 (high end), if it has one.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => libm::log10(value),
            Scale::Log => return None,
        };
        let place = (value - self.low) / (self.high - self.low);
        // Only values that the axis was not fitted to are outside.
        (-1e-9..=1.0 + 1e-9).contains(&place).then_some(place)
    }
}

/// Returns the smallest and the largest finite value. Without one, the smallest exceeds the
/// largest.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(1) as f64;
    let power = libm::floor(libm::log10(rough));
    let unit = libm::pow(10.0, power);
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * unit >= 0.8 * rough).unwrap_or(10.0);
    let step = factor * unit;
    let digits = if factor == 10.0 { power + 1.0 } else { power };
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // A step below the rounding of the values leaves no round numbers between them.
    if !(step.is_normal() && last - first < 100.0 && first.abs().max(last.abs()) < 1e15) {
        return Vec::new();
    }
    (0..=(last - first) as i64).map(|i| (first + i as f64) * step).map(|value| (value, written(value, digits as i32))).collect()
}

/// Formats a number with 10^`digits` as the last significant digit.
fn written(value: f64, digits: i32) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if (-6..6).contains(&digits) && value.abs() < 1e7 {
        return format!("{value:.*}", (-digits).max(0) as usize);
    }
    short(value)
}

/// Formats a number with at most four significant digits.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return "–".into();
    }
    if (1e-3..1e5).contains(&value.abs()) {
        let decimals = (3.0 - libm::floor(libm::log10(value.abs()))).clamp(0.0, 6.0) as usize;
        let text = format!("{value:.decimals$}");
        return if decimals > 0 { trimmed(&text).into() } else { text };
    }
    let text = format!("{value:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", trimmed(mantissa))
}

/// Cuts zeros from the end of a number with decimals.
pub(super) fn trimmed(number: &str) -> &str {
    number.trim_end_matches('0').trim_end_matches('.')
}

fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let within = |v: &f64| (low..=high).contains(&libm::log10(*v));
    let power = |p: i64| libm::pow(10.0, p as f64);
    // 10 powers of ten suffice: a wider range takes the last branch.
    let powers = || (low.floor() as i64..=high.ceil() as i64).take(10).map(power);
    let ticks: Vec<f64> = powers().flat_map(|unit| [1.0, 2.0, 5.0].map(|f| f * unit)).filter(within).collect();
    if high - low < 1.0 && ticks.len() < 3 {
        return linear_ticks(libm::pow(10.0, low), libm::pow(10.0, high), wanted);
    }
    if high - low < 9.0 && ticks.len() <= wanted + 3 {
        return ticks.into_iter().map(|v| (v, short(v))).collect();
    }
    // Every power of ten, or every k-th.
    let (first, last) = (low.ceil() as i64, high.floor() as i64);
    let every = ((last - first + 1).max(1) as usize).div_ceil(wanted.max(1));
    let powers: Vec<i64> = (first..=last).rev().step_by(every).collect();
    powers.into_iter().rev().map(power).map(|v| (v, short(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    fn fit(scale: Scale, values: &[f64]) -> Axis {
        Axis::fit(scale, values.iter().copied(), (f64::NEG_INFINITY, f64::INFINITY), 5)
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(names(&fit(Scale::Linear, &[0.0, 100.0])), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(names(&fit(Scale::Linear, &[0.91, 0.99])), ["0.92", "0.94", "0.96", "0.98"]);
        assert_eq!(names(&fit(Scale::Linear, &[-1.0, 1.0])), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(names(&fit(Scale::Log, &[1e-6, 2e3])), ["1e-5", "0.001", "0.1", "10", "1000"]);
        assert_eq!(names(&fit(Scale::Log, &[0.02, 0.3])), ["0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(names(&fit(Scale::Log, &[0.31, 0.37])), ["0.30", "0.32", "0.34", "0.36", "0.38"]);
        assert_eq!(names(&fit(Scale::Log, &[0.3, 40.0])), ["0.5", "1", "2", "5", "10", "20"]);
    }

    #[test]
    fn places() {
        let axis = Axis::exact(0.0, 10.0, 5);
        assert_eq!((axis.place(0.0), axis.place(5.0), axis.place(10.0)), (Some(0.0), Some(0.5), Some(1.0)));
        assert_eq!((axis.place(f64::NAN), axis.place(-1.0), axis.place(f64::INFINITY)), (None, None, None));
        assert_eq!(fit(Scale::Log, &[1.0, 10.0]).place(0.0), None);
    }

    /// Extreme values give an axis with positions between 0 and 1.
    #[test]
    fn odd_values() {
        let odd = [0.0, -0.0, 1e-320, -1e308, 1e308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 1.0 + 1e-16, 3e-310];
        for scale in [Scale::Linear, Scale::Log] {
            for a in odd {
                for b in odd {
                    let axis = fit(scale, &[a, b]);
                    assert!(axis.ticks.len() < 20, "{a} {b}: {:?}", axis.ticks);
                    for v in [a, b].into_iter().chain(axis.ticks.iter().map(|t| t.0)) {
                        assert!(axis.place(v).is_none_or(|p| (-0.01..1.01).contains(&p)), "{a} {b}: {v}");
                    }
                }
            }
        }
        assert!(fit(Scale::Linear, &[]).place(0.5).is_some());
    }

    #[test]
    fn a_margin_stays_within_the_limits() {
        let axis = Axis::fit(Scale::Linear, [0.0, 100.0].into_iter(), (0.0, 100.0), 5);
        assert_eq!((axis.place(0.0), axis.place(100.0)), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn short_numbers() {
        for (value, text) in [
            (0.1, "0.1"),
            (1e-5, "1e-5"),
            (12345.678, "12346"),
            (0.001234, "0.001234"),
            (98.05, "98.05"),
            (f64::NAN, "–"),
            (2.5e-7, "2.5e-7"),
            (1000.0, "1000"),
            (-0.5, "-0.5"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
