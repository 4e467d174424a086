//! Curves in one line of text.

use crate::report::axis::extent;

/// Blocks from lowest to highest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws `values` as at most `width` blocks between their minimum and maximum.
///
/// A block shows the mean of its values; a space shows that none is finite. Equal values give
/// middle blocks.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let (low, high) = extent(values.iter().copied());
    sparkline_within(values, width, low, high)
}

/// Draws a [`sparkline`] between given limits, to compare several curves. Clamps values to the
/// limits.
pub fn sparkline_within(values: &[f64], width: usize, low: f64, high: f64) -> String {
    let (blocks, range) = (width.min(values.len()), high - low);
    let block = |b: usize| {
        let share = &values[b * values.len() / blocks..(b + 1) * values.len() / blocks];
        let (sum, n) = share.iter().filter(|v| v.is_finite()).fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
        let height = (sum / f64::from(n) - low) / range;
        match n {
            0 => ' ',
            // The range is empty or overflows.
            _ if !(range > 0.0 && range.is_finite() && height.is_finite()) => BLOCKS[3],
            // The cast of a negative value gives 0.
            _ => BLOCKS[((height * 8.0) as usize).min(7)],
        }
    };
    (0..blocks).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_height_is_used_in_order() {
        let values: Vec<f64> = (0..8).map(f64::from).collect();
        assert_eq!(sparkline(&values, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&values.iter().rev().copied().collect::<Vec<_>>(), 8), "█▇▆▅▄▃▂▁");
    }

    #[test]
    fn many_values_share_a_block_and_few_do_not_stretch() {
        assert_eq!(sparkline(&[0.0, 0.0, 8.0, 8.0], 2), "▁█");
        assert_eq!(sparkline(&[0.0, 1.0], 50), "▁█");
        let long: Vec<f64> = (0..1001).map(f64::from).collect();
        assert_eq!(sparkline(&long, 7).chars().count(), 7);
    }

    #[test]
    fn values_that_are_not_finite_leave_gaps() {
        assert_eq!(sparkline(&[0.0, f64::NAN, 1.0], 3), "▁ █");
        assert_eq!(sparkline(&[f64::INFINITY, f64::NAN], 2), "  ");
        assert_eq!(sparkline(&[0.0, f64::NAN, 1.0, 1.0], 2), "▁█");
    }

    #[test]
    fn nothing_and_all_the_same() {
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[1.0], 0), "");
        assert_eq!(sparkline(&[2.0, 2.0], 5), "▄▄");
        assert_eq!(sparkline(&[f64::MAX, -f64::MAX], 5), "▄▄");
    }

    #[test]
    fn a_shared_range_clamps() {
        assert_eq!(sparkline_within(&[-1.0, 0.0, 0.5, 9.0], 4, 0.0, 1.0), "▁▁▅█");
    }
}
