//! Products so small that cutting them into blocks costs more than it saves: straight over the register tiles.
//!
//! ```text
//!   C, row-major                      B, where it lies           A, where it lies
//!   ┌──────┬──────┬───┐               ┌──────┬──────┬───┐        ┌──────────┐
//!   │ 1    │ 4    │ 7 │ ≤ MR rows     │      │      │ r │  k     │          │ ≤ MR rows
//!   ├──────┼──────┼───┤               │  NR  │  NR  │ a │        ├──────────┤
//!   │ 2    │ 5    │ 8 │               │      │      │ g │        │    k     │
//!   ├──────┼──────┼───┤               └──────┴──────┴───┘        ├──────────┤
//!   │ 3    │ 6    │ 9 │   tiles in the order of their numbers    │          │
//!   └──────┴──────┴───┘                                          └──────────┘
//! ```
//!
//! Only what a tile cannot read is copied first: the last columns of B if they end inside a word (nobody reads past the end of a
//! row), a B whose columns are not neighbours, an A that α scales or whose strides are both more than 1. All decisions are taken by
//! [`Small::new`] from shapes and strides alone, so that a batch of like products takes them once.

use super::macro_kernel::{Begin, Heights, Job, ONE_CHAIN, Region, a_readable, by_rows};
use super::micro::{Family, Tile, TileFn, TileKind};
use super::{Packing, Plan, crowded};
use crate::epilogue::Epilogue;
use crate::pack::{Left, Right};
use crate::simd::HasTile;
use crate::tuning::round_up;
use crate::{Isa, MatMut, MatRef, Real, Req};
use core::mem::MaybeUninit;

/// How a small product is computed, but for where its operands are.
pub(crate) struct Small<T, E> {
    shape: (usize, usize, usize),
    /// What this was made for.
    strides: Strides,
    heights: Heights,
    /// Columns of tiles, from the widest kind to the narrowest.
    columns: [Columns<T, E>; 3],
    family: &'static Family,
    pack_a: bool,
    by_rows: bool,
    b: Source,
}

/// Of A, of B (none if it comes in panels), and of C.
type Strides = ((isize, isize), Option<(isize, isize)>, (isize, isize));

/// Columns of tiles of one kind.
struct Columns<T, E> {
    /// How many there are, and how many columns of C each has.
    count: usize,
    cols: usize,
    /// Its tiles: the higher and the lower ones. None where there are no such columns.
    run: Option<[TileFn<T, E>; 2]>,
}

/// Where the tiles find B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Where it lies.
    InPlace,
    /// Where it lies, but for the last panel, which ends inside a word.
    RaggedLast,
    /// In panels made for this product.
    Packed,
    /// In the caller's panels.
    Prepacked,
}

impl<T: Real + HasTile<E>, E: Epilogue<T>> Small<T, E> {
    /// `None` if the blocked loops suit the job better, or the caller asked for them: with blocks of his own, or packing.
    pub(crate) fn new(job: &Job<'_, T, E>, c: &MatMut<'_, T>, plan: &Plan<'_>) -> Option<Self> {
        let Left::View(a) = &job.a else { return None };
        let ((m, k), n) = (a.shape(), job.b.shape().1);
        let neighbours = c.cs() == 1 || n == 1;
        if plan.blocking.is_some() || plan.packing == Packing::Always || job.region != Region::Whole || !neighbours || m * n == 0
        {
            return None;
        }
        // A longer chain than the blocked loops have at a time would want more scratch than theirs, which is what callers reserve.
        if k > ONE_CHAIN || m > ONE_CHAIN || n > ONE_CHAIN {
            return None;
        }
        // No overflow: three numbers of at most ONE_CHAIN.
        let bytes = (m * k + k * n + m * n) * size_of::<T>();
        let threads = plan.par.threads();
        if bytes > most_bytes(plan) || threads > 1 && m * n * k / 2 >= plan.min_work() {
            return None;
        }
        let family = T::family(plan.isa);
        let nr = family.nr();
        let in_place = |b: &MatRef<'_, T>| b.cs() == 1 && !crowded(b.rs(), k, 16, size_of::<T>());
        let (b, b_strides) = match &job.b {
            Right::Panels(_) => (Source::Prepacked, None),
            Right::Made(_) => return None,
            Right::View(b) => {
                let source = match family.whole_words(n) {
                    true if in_place(b) => Source::InPlace,
                    _ if in_place(b) || n <= nr => Source::RaggedLast,
                    _ => Source::Packed,
                };
                (source, Some((b.rs(), b.cs())))
            }
        };
        let pack_a = !a_readable(job);
        let by_rows = by_rows(&job.a) && !pack_a;
        let kind = TileKind { by_rows, negated: job.alpha == -T::ONE && !pack_a };
        let tallest = if by_rows { family.tall_by_rows } else { family.tall };
        // Nearly equal heights: no row of tiles is left with a row or two, whose chains could not hide each other's latency.
        let heights = Heights::new(m, tallest);
        let (low, high) = (heights.low, heights.highest());
        let span = family.panels(low).min(family.panels(high)) * nr;
        let (spans, rest) = if span > nr { divide(n, span) } else { (0, n) };
        let (panels, rest) = divide(rest, nr);
        let columns = |count: usize, cols: usize| {
            let tile = |rows| T::tile(plan.isa, rows, family.words(cols), kind).expect("a tile for every height and width");
            let both = || {
                let low_tile = tile(low);
                [if high == low { low_tile } else { tile(high) }, low_tile]
            };
            Columns { count, cols, run: (count > 0).then(both) }
        };
        Some(Self {
            shape: (m, n, k),
            strides: ((a.rs(), a.cs()), b_strides, (c.rs(), c.cs())),
            heights,
            columns: [columns(spans, span), columns(panels, nr), columns(usize::from(rest > 0), rest)],
            family,
            pack_a,
            by_rows,
            b,
        })
    }

    /// Whether it was made for products like this one (of the same plan and α).
    #[inline]
    pub(crate) fn fits(&self, job: &Job<'_, T, E>, c: &MatMut<'_, T>) -> bool {
        let Left::View(a) = &job.a else { return false };
        let (m, n, k) = self.shape;
        let b_strides = if let Right::View(b) = &job.b { Some((b.rs(), b.cs())) } else { None };
        let shapes = a.shape() == (m, k) && job.b.shape() == (k, n) && c.shape() == (m, n);
        shapes && ((a.rs(), a.cs()), b_strides, (c.rs(), c.cs())) == self.strides
    }

    /// Columns of a panel.
    #[inline(always)]
    fn nr(&self) -> usize {
        self.family.nr()
    }

    /// Elements of scratch: never more than the blocked loops would take.
    pub(crate) fn room_len(&self) -> usize {
        let (_, n, k) = self.shape;
        let b = match self.b {
            Source::InPlace | Source::Prepacked => 0,
            Source::RaggedLast => self.nr() * k,
            Source::Packed => round_up(n, self.nr()).saturating_mul(k),
        };
        self.a_len() + b
    }

    /// Elements of a packed A; what follows starts on a boundary of its own.
    fn a_len(&self) -> usize {
        let (m, _, k) = self.shape;
        if self.pack_a { Req::of::<T>(m * k).bytes() / size_of::<T>() } else { 0 }
    }

    /// Computes a product of the shapes, strides and α that this was made for. `room` holds at least [`Small::room_len`] elements.
    #[inline]
    pub(crate) fn run(&self, job: &Job<'_, T, E>, mut c: MatMut<'_, T>, room: &mut [MaybeUninit<T>], isa: Isa) {
        let Left::View(a) = job.a else { unreachable!("made for a view") };
        let (_, n, k) = self.shape;
        assert!(self.fits(job, &c), "made for a product of another shape or layout");
        let (a_room, b_room) = room.split_at_mut(self.a_len());
        let (a_first, a_step) = if self.pack_a {
            for (i, rows) in (0..self.heights.tiles).map(|t| self.heights.tile(t)) {
                job.a.pack(i, rows, 0, k, job.alpha, &mut a_room[i * k..(i + rows) * k], isa);
            }
            (a_room.as_ptr().cast::<T>(), None)
        } else {
            (a.as_ptr(), Some(if self.by_rows { a.rs() } else { a.cs() }))
        };
        // From a row of A to the next one.
        let a_row = if self.pack_a { k as isize } else { a.rs() };
        let panel = self.nr() as isize * k as isize;
        let (b_first, b_step, b_panel) = match (&job.b, self.b) {
            (Right::Panels(b), _) => b.at(0, 0),
            (Right::View(b), Source::Packed) => {
                // Without a chain there are no panels.
                let panels = b_room[..n.next_multiple_of(self.nr()) * k].chunks_exact_mut((self.nr() * k).max(1));
                for (p, room) in panels.enumerate() {
                    let cols = self.nr().min(n - p * self.nr());
                    self.copy_panel(*b, p * self.nr(), cols, room, isa);
                }
                (b_room.as_ptr().cast::<T>(), self.nr() as isize, panel)
            }
            (Right::View(b), _) => (b.as_ptr(), b.rs(), self.nr() as isize),
            (Right::Made(_), _) => unreachable!("made for a view or panels"),
        };
        let (beta, start, start_rs) = match job.begin {
            Begin::AtC(beta) => (beta, c.as_ref().as_ptr(), c.rs()),
            Begin::At(beta, start) => (beta, start.as_ptr(), start.rs()),
        };
        let (c_first, rs) = (c.as_mut_ptr(), c.rs());
        let mut j = 0;
        for columns in &self.columns {
            let Some([high, low]) = columns.run else { continue };
            for _ in 0..columns.count {
                let panels = (j / self.nr()) as isize;
                let (mut b, mut b_step) = (b_first.wrapping_offset(panels * b_panel), b_step);
                if self.b == Source::RaggedLast && j + columns.cols == n {
                    let Right::View(whole) = &job.b else { unreachable!("only a view is ragged") };
                    self.copy_panel(*whole, j, columns.cols, &mut b_room[..self.nr() * k], isa);
                    (b, b_step) = (b_room.as_ptr().cast::<T>(), self.nr() as isize);
                }
                let mut i = 0;
                let Heights { tiles, low: rows, higher } = self.heights;
                for (count, rows, run) in [(higher, rows + 1, high), (tiles - higher, rows, low)] {
                    if count == 0 {
                        continue;
                    }
                    let at = |rs: isize| i as isize * rs + j as isize;
                    let tile = Tile {
                        kc: k,
                        count,
                        a_tile: rows as isize * a_row,
                        a: a_first.wrapping_offset(i as isize * a_row),
                        a_step: a_step.unwrap_or(rows as isize),
                        b,
                        b_step,
                        b_panel,
                        start: start.wrapping_offset(at(start_rs)),
                        start_rs,
                        beta,
                        c: c_first.wrapping_offset(at(rs)),
                        rs,
                        cols: columns.cols,
                        i,
                        j,
                        // All is in a near cache.
                        next: None,
                    };
                    // SAFETY: the tiles come from the table of an `Isa`, so the CPU has it. Their rows and columns lie in C (and in `start`, of C's
                    // shape) by the sums of `new`: heights add up to m, widths to n. A and B hold them for k steps: they are views of m×k and k×n
                    // (asserted above) with the strides that `new` chose the tile for, or panels filled above; B is read where it lies only in
                    // whole words. C is exclusively ours, and so are the epilogue's operands.
                    unsafe { run(&tile, job.finish) };
                    i += rows * count;
                }
                j += columns.cols;
            }
        }
    }
}

/// All three matrices together at most: beyond, the few hundred cycles that the blocked loops take to begin are less than 1 % of the product.
fn most_bytes(plan: &Plan<'_>) -> usize {
    (plan.caches.l2 / 4).min(128 << 10)
}

/// Quotient and remainder of numbers below 2³²: many CPUs divide these faster than wider ones, and there are several before the first tile.
#[inline(always)]
fn divide(a: usize, b: usize) -> (usize, usize) {
    let (a, b) = (a as u32, b as u32);
    ((a / b) as usize, (a % b) as usize)
}

impl<T: Real + HasTile<E>, E: Epilogue<T>> Small<T, E> {
    /// Columns j .. j + cols of `b` as one panel, the last word filled up with 0.
    #[inline]
    fn copy_panel(&self, b: MatRef<'_, T>, j: usize, cols: usize, room: &mut [MaybeUninit<T>], isa: Isa) {
        let (_, _, k) = self.shape;
        if b.cs() != 1 || k == 0 {
            return Right::View(b).pack(0, k, j, cols, self.nr(), room, isa);
        }
        let b = b.cols(j, cols);
        match (cols, self.family.len) {
            (8.., _) => self.copy_rows::<8, 4>(b, room),
            (4.., 4..) => self.copy_rows::<4, 4>(b, room),
            (2.., 4..) => self.copy_rows::<2, 4>(b, room),
            (2.., _) => self.copy_rows::<2, 2>(b, room),
            (_, 4..) => self.copy_rows::<1, 4>(b, room),
            _ => self.copy_rows::<1, 1>(b, room),
        }
    }

    /// The same for rows of at least W neighbours, by runs of W of which the last two may overlap, after zeros by runs of Z: no run has a length
    /// known only at run time.
    #[inline]
    fn copy_rows<const W: usize, const Z: usize>(&self, b: MatRef<'_, T>, room: &mut [MaybeUninit<T>]) {
        let (rows, cols) = b.shape();
        let words_end = cols.next_multiple_of(self.family.len);
        // In range below: the last word begins at or before the last column, and ends inside the panel.
        assert!(
            self.family.len.is_multiple_of(Z)
                && W <= cols
                && words_end <= self.nr()
                && room.len() == self.nr() * rows
                && b.cs() == 1
        );
        let zeros = [MaybeUninit::new(T::ZERO); Z];
        for (k, out) in room.chunks_exact_mut(self.nr()).enumerate() {
            for at in (words_end - self.family.len..words_end).step_by(Z) {
                out[at..at + Z].copy_from_slice(&zeros);
            }
            let row = b.row(k).expect("neighbours");
            let last = cols - W;
            let mut at = 0;
            loop {
                let run: &[T; W] = row[at..at + W].try_into().expect("W elements");
                out[at..at + W].copy_from_slice(&run.map(MaybeUninit::new));
                if at == last {
                    break;
                }
                at = (at + W).min(last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epilogue::Store;
    use crate::{MatRef, Plan};

    /// What a tile reads of a panel is numbers: zeros behind the last column, up to a whole word.
    fn filled_up<T: Real>() {
        let data: Vec<T> = (1..2000).map(|i| T::from_f64(f64::from(i))).collect();
        for isa in Isa::available() {
            let (plan, family) = (Plan::new().with_isa(isa), T::family(isa));
            for cols in 1..=family.nr() {
                for strides in [(60, 1), (61, 2), (1, 7)] {
                    let (k, mut c) = (7, vec![T::ZERO; cols]);
                    let b = MatRef::strided(&data, 0, (k, cols), strides).unwrap();
                    let a = MatRef::strided(&data, 0, (1, k), (k as isize, 1)).unwrap();
                    let job = Job {
                        alpha: T::ONE,
                        a: Left::View(a),
                        b: Right::View(b),
                        begin: Begin::AtC(T::ZERO),
                        finish: &Store,
                        region: Region::Whole,
                        settle: None,
                    };
                    let c = MatMut::strided(&mut c, 0, (1, cols), (cols as isize, 1)).unwrap();
                    let small = Small::<T, Store>::new(&job, &c, &plan).expect("small enough");
                    let mut room = vec![MaybeUninit::new(T::NAN); family.nr() * k];
                    small.copy_panel(b, 0, cols, &mut room, isa);
                    for step in 0..k {
                        for j in 0..family.words(cols) * family.len {
                            // SAFETY: a number since it was made.
                            let got = unsafe { room[step * family.nr() + j].assume_init() };
                            let want = if j < cols { b.get(step, j) } else { T::ZERO };
                            assert!(
                                got.bits() == want.bits(),
                                "{isa} {} {cols} columns {strides:?}: ({step}, {j}) is {got}",
                                T::NAME
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn panels_are_filled_up_with_zeros() {
        filled_up::<f32>();
        filled_up::<f64>();
    }
}
