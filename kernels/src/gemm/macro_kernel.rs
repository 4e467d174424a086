//! The loops around the register tile.
//!
//! ```text
//! for jc in columns by NC                    B block: packed (or prepacked, or where it lies), in L3
//!   for pc in the chain by KC
//!     ── all threads pack A: m × KC ──       A block: packed, or where it lies
//!     for ic in rows by MC         ┐         in L2
//!       for jr in panels of NR     │ each    B panel: packed when it is first met, in L1
//!         for ir in tiles of MR    ┘ thread  one register tile
//! ```
//!
//! Threads get whole column panels of C or, where those are few, whole rows of tiles. What is packed for all is packed by all, in a phase of its own;
//! no thread waits for another inside a phase.

use super::Plan;
use super::micro::{Family, Tile, TileFn, TileKind};
use crate::epilogue::{Epilogue, Store};
use crate::pack::{Left, Right};
use crate::scratch::Shared;
use crate::simd::HasTile;
use crate::tuning::{part, parts_of};
use crate::{Error, Isa, MatMut, MatRef, Real, Req, Scratch};
use core::ops::Range;

/// The tile that stands in for C where C's columns are not neighbours: room for the largest of any instruction set.
const STACK_TILE: usize = 9 * 48;

/// Where each chain starts.
#[derive(Clone, Copy)]
pub(crate) enum Begin<'a, T> {
    /// From β times what is in C; β = 0 never reads it.
    AtC(T),
    /// From β times another matrix, whose columns are neighbours.
    At(T, MatRef<'a, T>),
}

/// Which elements of C are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// All.
    Whole,
    /// Those on and below the diagonal; on it 0 is stored instead of the product if so wished.
    Lower { drop_diagonal: bool },
}

/// A product but for C.
pub(crate) struct Job<'a, T, E> {
    pub(crate) alpha: T,
    pub(crate) a: Left<'a, T>,
    pub(crate) b: Right<'a, T>,
    pub(crate) begin: Begin<'a, T>,
    pub(crate) finish: &'a E,
    pub(crate) region: Region,
}

/// How the job is cut: everything that can be decided before the first element moves.
struct Cut {
    m: usize,
    n: usize,
    nr: usize,
    /// Columns of B packed at a time, chain packed at a time.
    nc: usize,
    kc: usize,
    /// Rows of tiles, and how many of them a block of A has.
    row_tiles: usize,
    block_tiles: usize,
    /// Panels that a tile spans.
    span: usize,
    parts: usize,
    by_rows: bool,
    a: Source,
    b: Source,
}

/// Where the tiles find an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Where it lies.
    InPlace,
    /// In panels packed for this product.
    Packed,
    /// In the caller's panels.
    Prepacked,
}

impl Cut {
    fn new<T: Real, E: Epilogue<T>>(job: &Job<'_, T, E>, plan: &Plan<'_>) -> Self {
        let ((m, k), n) = (job.a.shape(), job.b.ncols());
        let family = T::family(plan.isa);
        let nr = family.nr();
        let blocking = plan.blocking_for::<T>();
        let a = Self::place_a::<T, E>(job, plan);
        let tallest = if a == Source::InPlace && by_rows(&job.a) { family.tall_by_rows } else { family.tall };
        let mr = blocking.mr().min(tallest);
        let row_tiles = parts_of(m, mr);
        let height = m.div_ceil(row_tiles.max(1));
        let low = if m.is_multiple_of(row_tiles.max(1)) { height } else { height - 1 };
        let span = family.panels(height).min(family.panels(low.max(1)));
        let b = match &job.b {
            Right::Panels(_) => Source::Prepacked,
            // Packing a panel costs about as much as one row of tiles takes to read it.
            Right::View(b) if b.cs() == 1 && row_tiles <= plan.packing.b_in_place_tiles() => Source::InPlace,
            _ => Source::Packed,
        };
        let work = m.saturating_mul(n).saturating_mul(k);
        let panels = n.div_ceil(nr);
        let threads = plan.par.threads().min(work / plan.min_work().max(1)).max(1);
        // The more even cut; columns where both are: a thread then meets the same panels of B in its cache every time.
        let (by_cols, by_tiles) = (threads.min(panels), threads.min(row_tiles));
        let largest_cols = panels.div_ceil(by_cols.max(1)).saturating_mul(nr).min(n).saturating_mul(m);
        let largest_rows = row_tiles.div_ceil(by_tiles.max(1)).saturating_mul(height).min(m).saturating_mul(n);
        let by_rows = largest_rows < largest_cols;
        Self {
            m,
            n,
            nr,
            nc: blocking.nc().next_multiple_of(nr),
            kc: if E::C_IS_SCRATCH { blocking.kc() } else { k.max(1) },
            row_tiles,
            block_tiles: (blocking.mc() / mr).max(1),
            span,
            parts: if by_rows { by_tiles } else { by_cols }.max(1),
            by_rows,
            a,
            b,
        }
    }

    fn place_a<T: Real, E: Epilogue<T>>(job: &Job<'_, T, E>, plan: &Plan<'_>) -> Source {
        let Left::View(a) = &job.a else { return Source::Packed };
        let sign = job.alpha == T::ONE || (job.alpha == -T::ONE && E::NEGATED_EXISTS);
        let lies = (by_rows(&job.a) && E::BY_ROWS_EXISTS) || a.rs() == 1 || a.nrows() == 1;
        if sign && lies && plan.packing.a_in_place(a, job.b.ncols()) { Source::InPlace } else { Source::Packed }
    }

    /// (first row, height) of a row of tiles.
    #[inline(always)]
    fn tile_rows(&self, t: usize) -> (usize, usize) {
        part(self.m, self.row_tiles, t)
    }

    /// Columns packed at a time by all parts together.
    fn columns_at_once(&self) -> usize {
        self.nc.saturating_mul(if self.by_rows { 1 } else { self.parts })
    }

    /// Elements of A and of B packed at a time.
    fn packed_len<T>(&self, k: usize) -> (usize, usize) {
        let kb = k.min(self.kc);
        // B starts on a boundary of its own.
        let line = |len: usize| Req::of::<T>(len).bytes() / size_of::<T>();
        let a = if self.a == Source::Packed { self.m.saturating_mul(kb) } else { 0 };
        let panels = self.n.min(self.columns_at_once()).div_ceil(self.nr);
        let b = match self.b {
            Source::Packed => panels.saturating_mul(self.nr).saturating_mul(kb),
            // The last panel, if it ends in part of a word.
            Source::InPlace => self.nr.saturating_mul(kb),
            Source::Prepacked => 0,
        };
        (line(a), line(b))
    }
}

/// Whether A's neighbours lie along its rows.
fn by_rows<T: Real>(a: &Left<'_, T>) -> bool {
    matches!(a, Left::View(a) if a.cs() == 1 && a.nrows() > 1 && a.rs() != 1)
}

/// Scratch for a product of these sizes, whatever the strides of its operands, with blocks of k of at least `kc`.
pub(crate) fn scratch_for<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>, kc: usize) -> Req {
    let blocking = plan.blocking_for::<T>();
    let nr = T::family(plan.isa).nr();
    let one = |m: usize, n: usize| {
        let kb = k.min(blocking.kc().max(kc));
        let nc = blocking.nc().next_multiple_of(nr).saturating_mul(plan.par.threads());
        let b = n.min(nc).div_ceil(nr).saturating_mul(nr).saturating_mul(kb);
        Req::of::<T>(m.saturating_mul(kb)).and(Req::of::<T>(b))
    };
    one(m, n).or(one(n, m))
}

/// Computes a product into `c`.
///
/// Shapes fit and, unless E is [`Store`], the columns of C and `begin` are neighbours: checked by the callers in `gemm/mod.rs` and `syrk.rs`.
pub(crate) fn run<T: Real + HasTile<E>, E: Epilogue<T>>(
    job: &Job<'_, T, E>,
    mut c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let cut = Cut::new(job, plan);
    let k = job.a.shape().1;
    let (a_len, b_len) = cut.packed_len::<T>(k);
    let memory = scratch.slice::<T>(a_len.saturating_add(b_len))?;
    let (a_room, b_room) = memory.split_at_mut(a_len);
    let rooms = Rooms { a: Shared::new(a_room), b: Shared::new(b_room) };
    let family = T::family(plan.isa);
    for (jc, nb) in crate::tuning::near_equal_units(cut.n, cut.columns_at_once(), cut.nr) {
        // k = 0 is one chain of no links: the epilogue still has to run.
        let chunks = parts_of(k, cut.kc).max(1);
        for (index, (pc, kb)) in (0..chunks).map(|p| (p, part(k, chunks, p))) {
            let stage = Stage { job, cut: &cut, rooms: &rooms, family, pc, kb, jc, nb, c: c.rb() };
            stage.pack_for_all(plan);
            let begin = if index == 0 { job.begin } else { Begin::AtC(T::ONE) };
            plan.par.split(cut.parts, |i| {
                if index + 1 == chunks {
                    stage.compute(i, begin, job.finish, plan);
                } else {
                    stage.compute(i, begin, &Store, plan);
                }
            });
        }
    }
    job.a.outcome().and(job.b.outcome())
}

struct Rooms<'a, T> {
    a: Shared<'a, T>,
    b: Shared<'a, T>,
}

/// (start, length) of part `i` of `parts` runs of `len` pieces that differ in weight: nearly equal in sum.
fn share(len: usize, parts: usize, i: usize, weight: impl Fn(usize) -> usize) -> (usize, usize) {
    let total: usize = (0..len).map(&weight).sum();
    // The first piece whose middle lies beyond i parts of the whole.
    let cut = |i: usize| {
        let mut sum = 0;
        (0..len)
            .find(|&p| {
                let w = weight(p);
                sum += w;
                (2 * sum - w) as u128 * parts as u128 >= 2 * total as u128 * i as u128
            })
            .unwrap_or(len)
    };
    let (from, to) = (if i == 0 { 0 } else { cut(i) }, if i + 1 == parts { len } else { cut(i + 1) });
    (from, to - from)
}

/// One block of columns and of the chain.
struct Stage<'a, T, E> {
    job: &'a Job<'a, T, E>,
    cut: &'a Cut,
    rooms: &'a Rooms<'a, T>,
    family: &'static Family,
    pc: usize,
    kb: usize,
    jc: usize,
    nb: usize,
    c: MatMut<'a, T>,
}

impl<T: Real, E: Epilogue<T>> Stage<'_, T, E> {
    /// Packs what every thread reads: A, and B if the threads share its columns.
    fn pack_for_all(&self, plan: &Plan<'_>) {
        let cut = self.cut;
        let a = if cut.a == Source::Packed { cut.row_tiles } else { 0 };
        let b = if cut.b != Source::Prepacked && cut.by_rows { self.nb.div_ceil(cut.nr) } else { 0 };
        let parts = if a + b == 0 { 0 } else { cut.parts };
        plan.par.split(parts, |i| {
            let (first, count) = part(a, parts, i);
            (first..first + count).for_each(|t| self.pack_a(t, plan));
            let (first, count) = part(b, parts, i);
            (first..first + count).for_each(|p| self.pack_b(p, plan));
        });
    }

    fn pack_a(&self, t: usize, plan: &Plan<'_>) {
        let (first, rows) = self.cut.tile_rows(t);
        // SAFETY: each row of tiles is packed by one thread, in `pack_for_all`, before anybody reads it.
        let room = unsafe { self.rooms.a.part(first * self.kb, rows * self.kb) };
        self.job.a.pack(first, rows, self.pc, self.kb, self.job.alpha, room, plan.isa);
    }

    /// Packs panel `p` of the block if it is not read where it lies.
    fn pack_b(&self, p: usize, plan: &Plan<'_>) {
        let (nr, len) = (self.cut.nr, self.cut.nr * self.kb);
        let cols = nr.min(self.nb - p * nr);
        let at = match self.cut.b {
            Source::Packed => p * len,
            Source::InPlace if !cols.is_multiple_of(self.family.len) => 0,
            _ => return,
        };
        // SAFETY: each panel is packed by one thread: in `pack_for_all`, or in `compute` by the only part that has its columns.
        let room = unsafe { self.rooms.b.part(at, len) };
        self.job.b.pack(self.pc, self.kb, self.jc + p * nr, cols, nr, room, plan.isa);
    }

    /// Part `i` of the block of C.
    fn compute<F: Epilogue<T>>(&self, i: usize, begin: Begin<'_, T>, finish: &F, plan: &Plan<'_>)
    where
        T: HasTile<F>,
    {
        let cut = self.cut;
        let panels = self.nb.div_ceil(cut.nr);
        let ((t0, ts), (p0, ps)) = match self.job.region {
            Region::Whole if cut.by_rows => (part(cut.row_tiles, cut.parts, i), (0, panels)),
            Region::Whole => ((0, cut.row_tiles), part(panels, cut.parts, i)),
            // Equal areas: what is wanted of a row of tiles ends at the diagonal, what is wanted of a panel begins there.
            Region::Lower { .. } if cut.by_rows => {
                let wide = |t: usize| (cut.tile_rows(t).0 + cut.tile_rows(t).1).saturating_sub(self.jc).min(self.nb);
                (share(cut.row_tiles, cut.parts, i, wide), (0, panels))
            }
            Region::Lower { .. } => {
                let high = |p: usize| cut.m.saturating_sub(self.jc + p * cut.nr);
                ((0, cut.row_tiles), share(panels, cut.parts, i, high))
            }
        };
        for block in (t0..t0 + ts).step_by(cut.block_tiles) {
            let block_end = (block + cut.block_tiles).min(t0 + ts);
            let mut p = p0;
            while p < p0 + ps {
                // As many panels as the tile spans, if they are there to the last column; else one.
                let whole = p + cut.span <= p0 + ps && (p + cut.span) * cut.nr <= self.nb;
                let span = if whole { cut.span } else { 1 };
                if !cut.by_rows && block == t0 {
                    (p..p + span).for_each(|p| self.pack_b(p, plan));
                }
                self.column(p, span, block..block_end, begin, finish, plan.isa);
                p += span;
            }
        }
    }

    /// Rows of tiles `ts` of `span` panels from panel `p` of the block on.
    fn column<F: Epilogue<T>>(&self, p: usize, span: usize, ts: Range<usize>, begin: Begin<'_, T>, finish: &F, isa: Isa)
    where
        T: HasTile<F>,
    {
        let (cut, nr, j) = (self.cut, self.cut.nr, p * self.cut.nr);
        let cols = (span * nr).min(self.nb - j);
        let words = cols.div_ceil(self.family.len);
        let kind = TileKind {
            by_rows: cut.a == Source::InPlace && by_rows(&self.job.a),
            negated: cut.a == Source::InPlace && self.job.alpha == -T::ONE,
        };
        let tile_of = |rows: usize| <T as HasTile<F>>::tile(isa, rows, words, kind).expect("a tile for every height and width");
        // There are two heights at most.
        let height = cut.tile_rows(ts.start).1;
        let (high, low) = (tile_of(height), if height > 1 { tile_of(height - 1) } else { tile_of(height) });
        let (b, b_step, b_panel) = self.b_at(p, cols);
        let (beta, start) = match begin {
            Begin::AtC(beta) => (beta, None),
            Begin::At(beta, start) => (beta, Some(start)),
        };
        // SAFETY: `compute` gives each part rows of tiles or panels of its own, and each part runs once: nobody else has this block of C.
        let mut c = unsafe { self.c.alias() };
        let neighbours = c.cs() == 1 || c.ncols() == 1;
        let last = ts.end - 1;
        for t in ts {
            let (i, rows) = cut.tile_rows(t);
            let covered = self.covered(i, rows, self.jc + j, cols);
            if covered == Covered::Nothing {
                continue;
            }
            let run = if rows == height { high } else { low };
            let (a, a_step) = self.a_at(i, rows);
            // An empty block forms no pointer; the tile is never empty.
            let block = c.rb().block(i, self.jc + j, rows, cols);
            let at = |m: MatRef<'_, T>| (m.block(i, self.jc + j, rows, cols).as_ptr(), m.rs());
            let (start, start_rs) = start.map_or((block.as_ref().as_ptr(), block.rs()), at);
            let next = if t == last { b.wrapping_offset(span as isize * b_panel) } else { b };
            let tile = Tile {
                kc: self.kb,
                a,
                a_step,
                b,
                b_step,
                b_panel,
                start,
                start_rs,
                beta,
                c: block.as_ref().as_ptr().cast_mut(),
                rs: block.rs(),
                cols,
                i,
                j: self.jc + j,
                next,
            };
            if neighbours && covered == Covered::All {
                // SAFETY: the tile comes from the table of an `Isa`, so the CPU has it. A and B hold what `a_at` and `b_at` say for kb steps; `block` is
                // rows × cols of C, nobody else's (above), and so are the epilogue's operands: they have C's shape (checked where it was made).
                unsafe { run(&tile, finish) };
            } else {
                self.through_copy(block, tile, run, finish);
            }
        }
    }

    /// Computes a tile of which not all elements are wanted, or whose columns are not neighbours, in a copy.
    fn through_copy<F: Epilogue<T>>(&self, mut block: MatMut<'_, T>, mut tile: Tile<T>, run: TileFn<T, F>, finish: &F) {
        let (rows, cols) = block.shape();
        let (i, j) = (tile.i, tile.j);
        let (lower, dropped) = match self.job.region {
            Region::Whole => (false, false),
            Region::Lower { drop_diagonal } => (true, drop_diagonal),
        };
        let wanted = |r: usize, s: usize| !lower || j + s <= i + r;
        let mut copy = [T::ZERO; STACK_TILE];
        assert!(rows * cols <= STACK_TILE && F::C_IS_SCRATCH);
        let all = || (0..rows).flat_map(|r| (0..cols).map(move |s| (r, s)));
        if tile.beta != T::ZERO {
            for (r, s) in all().filter(|&(r, s)| wanted(r, s)) {
                copy[r * cols + s] = block.get(r, s);
            }
        }
        (tile.c, tile.rs) = (copy.as_mut_ptr(), cols as isize);
        (tile.start, tile.start_rs) = (tile.c, tile.rs);
        // SAFETY: as in `column`, with C replaced by the copy of rows × cols elements.
        unsafe { run(&tile, finish) };
        for (r, s) in all().filter(|&(r, s)| wanted(r, s)) {
            let zero = dropped && i + r == j + s;
            block.set(r, s, if zero { T::ZERO } else { copy[r * cols + s] });
        }
    }

    /// How much of a tile at (i, j) is wanted.
    fn covered(&self, i: usize, rows: usize, j: usize, cols: usize) -> Covered {
        match self.job.region {
            Region::Whole => Covered::All,
            Region::Lower { .. } if j >= i + rows => Covered::Nothing,
            // Left of the diagonal altogether.
            Region::Lower { .. } if j + cols <= i => Covered::All,
            Region::Lower { .. } => Covered::Some,
        }
    }

    /// First element of the tile's A, and the stride that is not 1.
    fn a_at(&self, i: usize, rows: usize) -> (*const T, isize) {
        match (&self.job.a, self.cut.a) {
            (Left::View(a), Source::InPlace) if self.kb > 0 => {
                let a = a.block(i, self.pc, rows, self.kb);
                (a.as_ptr(), if by_rows(&self.job.a) { a.rs() } else { a.cs() })
            }
            _ => (self.rooms.a.at(i * self.kb), rows as isize),
        }
    }

    /// First element of the B of panel `p` of the block (`cols` columns), the stride of k, and that of panels.
    fn b_at(&self, p: usize, cols: usize) -> (*const T, isize, isize) {
        let (nr, step) = (self.cut.nr, self.cut.nr as isize);
        let len = nr * self.kb;
        match (&self.job.b, self.cut.b) {
            (Right::Panels(panels), _) => panels.at(self.jc / nr + p, self.pc),
            (Right::View(b), Source::InPlace) if cols.is_multiple_of(self.family.len) && self.kb > 0 => {
                (b.block(self.pc, self.jc + p * nr, self.kb, cols).as_ptr(), b.rs(), step)
            }
            (_, Source::InPlace) => (self.rooms.b.at(0), step, len as isize),
            _ => (self.rooms.b.at(p * len), step, len as isize),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covered {
    All,
    Some,
    Nothing,
}
