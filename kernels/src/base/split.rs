//! Integer partitions: lengths cut into nearly equal parts.

use core::ops::Range;

/// Rounds up to a multiple of `unit`, saturating: absurd sizes stay absurd and fail at allocation.
pub(crate) fn round_up(len: usize, unit: usize) -> usize {
    len.checked_next_multiple_of(unit).unwrap_or(usize::MAX / unit * unit)
}

/// Returns ⌈len / most⌉, the number of parts of at most `most`.
pub(crate) fn parts_of(len: usize, most: usize) -> usize {
    len.div_ceil(most)
}

/// Returns (start, length) of part `i` when `len` is cut into `parts` nearly equal parts.
///
/// 60 rows in parts of at most 9 become 4 × 9 and 3 × 8, never 6 × 9 and a remainder of 6.
#[inline(always)]
pub(crate) fn part(len: usize, parts: usize, i: usize) -> (usize, usize) {
    let start = |i: usize| i * (len / parts) + i.min(len % parts);
    if parts == 0 { (0, 0) } else { (start(i), start(i + 1) - start(i)) }
}

/// Returns [`part`] as a range.
pub(crate) fn part_range(len: usize, parts: usize, i: usize) -> Range<usize> {
    let (start, len) = part(len, parts, i);
    start..start + len
}

/// Cuts `len` into the fewest parts of at most `most`, nearly equal. Yields (start, length) of
/// each.
pub(crate) fn near_equal(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = parts_of(len, most);
    (0..parts).map(move |i| part(len, parts, i))
}

/// Cuts like [`near_equal`], but between whole units. The last unit may be shorter.
pub(crate) fn near_equal_units(len: usize, most: usize, unit: usize) -> impl Iterator<Item = (usize, usize)> {
    near_equal(len.div_ceil(unit), (most / unit).max(1)).map(move |(start, n)| (start * unit, (n * unit).min(len - start * unit)))
}

/// Rows cut into tiles of nearly equal height. The first `taller` tiles have `rows + 1` rows, the
/// others `rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTiles {
    pub(crate) count: usize,
    pub(crate) rows: usize,
    pub(crate) taller: usize,
}

impl RowTiles {
    pub(crate) fn new(rows: usize, most: usize) -> Self {
        if rows <= most {
            return Self { count: usize::from(rows > 0), rows, taller: 0 };
        }
        let count = parts_of(rows, most);
        Self { count, rows: rows / count, taller: rows % count }
    }

    pub(crate) fn tallest(&self) -> usize {
        self.rows + usize::from(self.taller > 0)
    }

    /// Returns (first row, height) of tile `t`. For `t = count` the first row is the number of
    /// rows.
    #[inline(always)]
    pub(crate) fn tile(&self, t: usize) -> (usize, usize) {
        (t * self.rows + t.min(self.taller), self.rows + usize::from(t < self.taller))
    }

    /// Returns (number of tiles, height) of the taller tiles, then of the others.
    #[inline(always)]
    pub(crate) fn runs(&self) -> [(usize, usize); 2] {
        [(self.taller, self.rows + 1), (self.count - self.taller, self.rows)]
    }

    /// Returns tiles `ts` alone.
    pub(crate) fn range(&self, ts: &Range<usize>) -> Self {
        let count = ts.end - ts.start;
        Self { count, rows: self.rows, taller: self.taller.saturating_sub(ts.start).min(count) }
    }
}

/// Returns the range of part `i` when `len` weighted pieces are cut into `parts` runs of nearly
/// equal weight.
pub(crate) fn weighted_range(len: usize, parts: usize, i: usize, weight: impl Fn(usize) -> usize) -> Range<usize> {
    let total: usize = (0..len).map(&weight).sum();
    // Part i starts at the first piece whose middle lies at or beyond i/parts of the total.
    let start = |i: usize| {
        let mut sum = 0;
        (0..len)
            .find(|&p| {
                let w = weight(p);
                sum += w;
                (2 * sum - w) as u128 * parts as u128 >= 2 * total as u128 * i as u128
            })
            .unwrap_or(len)
    };
    let from = if i == 0 { 0 } else { start(i) };
    from..if i + 1 == parts { len } else { start(i + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "integer arithmetic only")]
    fn parts_are_nearly_equal_and_cover() {
        assert_eq!(near_equal(60, 14).map(|p| p.1).collect::<Vec<_>>(), [12; 5]);
        assert_eq!(near_equal(0, 14).count(), 0);
        for len in 1..200 {
            for most in 1..40 {
                let parts: Vec<_> = near_equal(len, most).collect();
                let (low, high) = (parts.iter().map(|p| p.1).min(), parts.iter().map(|p| p.1).max());
                assert!(high.unwrap() <= most && high.unwrap() - low.unwrap() <= 1);
                let mut next = 0;
                for (start, n) in parts {
                    assert_eq!(start, next);
                    next += n;
                }
                assert_eq!(next, len);
            }
        }
    }

    /// The runs cover every piece once. The weight of each is its part of the total to within one
    /// piece.
    #[test]
    fn weighted_ranges_are_nearly_equal_in_weight() {
        let weights: [&dyn Fn(usize) -> usize; 5] =
            [&|_| 3, &|p| p + 1, &|p| 40 - p, &|p| if p % 7 == 0 { 50 } else { 1 }, &|p| if p < 20 { 0 } else { 9 }];
        for weight in weights {
            for len in [0, 1, 2, 9, 30, 40] {
                for parts in 1..=5 {
                    let total: usize = (0..len).map(weight).sum();
                    let heaviest = (0..len).map(weight).max().unwrap_or(0);
                    let mut next = 0;
                    for i in 0..parts {
                        let own = weighted_range(len, parts, i, weight);
                        assert_eq!(own.start, next);
                        next = own.end;
                        let own: usize = own.map(weight).sum();
                        assert!(
                            (own * parts).abs_diff(total) <= heaviest * parts,
                            "{own} of {total} for one of {parts}, {len} pieces"
                        );
                    }
                    assert_eq!(next, len);
                }
            }
        }
    }
}
