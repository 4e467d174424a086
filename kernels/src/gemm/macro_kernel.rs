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
use super::small::Small;
use super::update::Settle;
use crate::epilogue::{Epilogue, Store};
use crate::pack::{Left, Right};
use crate::scratch::Shared;
use crate::simd::HasTile;
use crate::tuning::{part, parts_of, round_up};
use crate::{Error, Isa, MatMut, MatRef, Real, Req, Scratch};
use core::mem::MaybeUninit;
use core::ops::Range;

/// The tile that stands in for C where C's columns are not neighbours: room for the largest of any instruction set.
const STACK_TILE: usize = 9 * 48;

/// A chain up to this long is not interrupted, however small the caches are (benches/record/blocking.md).
pub(crate) const ONE_CHAIN: usize = 1024;

/// Panels a thread has at least for it to pack A for itself.
const OWN_PANELS: usize = 8;

/// Bytes of B packed at a time: its lines are then read several at a time, and are still in L2 when they are used.
const GROUP_BYTES: usize = 64 << 10;

/// Stands for the height of the tile as a stride: no view is as long.
const PACKED: isize = isize::MIN;

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
pub struct Job<'a, T, E> {
    pub(crate) alpha: T,
    pub(crate) a: Left<'a, T>,
    pub(crate) b: Right<'a, T>,
    pub(crate) begin: Begin<'a, T>,
    pub(crate) finish: &'a E,
    pub(crate) region: Region,
    /// Takes the product block by block, which is then not stored in C: of C the shape counts. The chain is not blocked, and does not start from C.
    pub(crate) settle: Option<&'a dyn Settle<T>>,
}

/// How the job is cut: everything that can be decided before the first element moves.
struct Cut {
    m: usize,
    n: usize,
    nr: usize,
    /// Columns of B packed at a time, chain packed at a time.
    nc: usize,
    kc: usize,
    heights: Heights,
    /// How many rows of tiles a block of A has.
    block_tiles: usize,
    /// Panels that a tile spans.
    span: usize,
    parts: usize,
    by_rows: bool,
    a: Source,
    b: Source,
    /// Threads that pack A block by block for themselves; 0 if all pack all of it for all. What another core has packed comes from its cache,
    /// slowly: 256×1024×1024 on two cores reached 80 % of the peak so, and 94 % otherwise.
    a_rooms: usize,
    /// Elements of a block on its way to [`Job::settle`], for each part; 0 if there is nobody to settle.
    delta_room: usize,
}

/// Rows cut into tiles of nearly equal height: `higher` of them have one row more than `low`, and come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heights {
    pub(crate) tiles: usize,
    pub(crate) low: usize,
    pub(crate) higher: usize,
}

impl Heights {
    pub(crate) fn new(rows: usize, most: usize) -> Self {
        if rows <= most {
            return Self { tiles: usize::from(rows > 0), low: rows, higher: 0 };
        }
        let tiles = parts_of(rows, most);
        Self { tiles, low: rows / tiles, higher: rows % tiles }
    }

    pub(crate) fn highest(&self) -> usize {
        self.low + usize::from(self.higher > 0)
    }

    /// (first row, height) of tile `t`; for the number of tiles, (all rows, _).
    #[inline(always)]
    pub(crate) fn tile(&self, t: usize) -> (usize, usize) {
        (t * self.low + t.min(self.higher), self.low + usize::from(t < self.higher))
    }

    /// Some of the tiles.
    fn range(&self, ts: &Range<usize>) -> Self {
        let tiles = ts.end - ts.start;
        Self { tiles, low: self.low, higher: self.higher.saturating_sub(ts.start).min(tiles) }
    }
}

/// Where the tiles find an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Where it lies.
    InPlace,
    /// In panels packed for this product.
    Packed,
    /// Row by row, as it was made for this product: nothing is gained by turning it into panels.
    Rows,
    /// In the caller's panels.
    Prepacked,
}

impl Cut {
    fn new<T: Real, E: Epilogue<T>>(job: &Job<'_, T, E>, plan: &Plan<'_>) -> Self {
        let ((m, k), n) = (job.a.shape(), job.b.shape().1);
        let family = T::family(plan.isa);
        let nr = family.nr();
        let a = Self::place_a::<T, E>(job, plan);
        let reads_rows = a == Source::Rows || (a == Source::InPlace && by_rows(&job.a));
        let tallest = if reads_rows { family.tall_by_rows } else { family.tall };
        // Most products of training are one block: they need not be told at the price of a dozen divisions.
        let size = size_of::<T>();
        let one_block = plan.blocking.is_none()
            && k <= ONE_CHAIN
            && m.saturating_mul(k).saturating_mul(size) <= plan.caches.l2 / 2
            && n.saturating_mul(k).saturating_mul(size) <= plan.caches.l3 / 4;
        let (mr, mc, kc, nc) = if one_block {
            (tallest, m, k.max(1), round_up(n, nr))
        } else {
            let blocking = plan.blocking_of::<T>(k);
            (blocking.mr().min(tallest), blocking.mc(), blocking.kc(), round_up(blocking.nc(), nr))
        };
        let heights = Heights::new(m, mr);
        let row_tiles = heights.tiles;
        let span = family.panels(heights.highest()).min(family.panels(heights.low));
        let b = match &job.b {
            Right::Panels(_) => Source::Prepacked,
            Right::View(b) if b.cs() == 1 && plan.packing.b_in_place(b, row_tiles) => Source::InPlace,
            _ => Source::Packed,
        };
        let settles = job.settle.is_some();
        let (parts, by_rows) = match plan.par.threads() {
            1 => (1, false),
            // Whole rows: what lies beside them comes from memory in long runs.
            _ if settles => (plan.threads_for(m.saturating_mul(n).saturating_mul(k)).min(heights.tiles).max(1), true),
            _ => Self::split(&heights, b, (m, n, k), nr, size, plan),
        };
        // Made operands are made once; with few panels a thread, packing A again for each would cost too much.
        let own = matches!(job.a, Left::View(_)) && (by_rows || n >= parts * nr * OWN_PANELS || parts == 1);
        let (mut block_tiles, mut delta_room) = (if one_block { row_tiles.max(1) } else { (mc / mr).max(1) }, 0);
        if settles {
            let cols = n.min(nc).div_ceil(nr).saturating_mul(nr).max(1);
            // Half of L2: what lies beside the block is read and written once.
            block_tiles = block_tiles.min((plan.caches.l2 / (2 * size * cols * heights.highest())).max(1));
            delta_room = Req::of::<T>((block_tiles * heights.highest()).saturating_mul(cols)).bytes() / size;
        }
        Self {
            m,
            n,
            nr,
            nc,
            a_rooms: if a == Source::Packed && own { parts } else { 0 },
            kc: if settles { k.max(1) } else { kc },
            heights,
            block_tiles,
            span,
            parts,
            by_rows,
            a,
            b,
            delta_room,
        }
    }

    /// How many threads, and whether each has rows of tiles or panels.
    fn split(
        heights: &Heights,
        b: Source,
        (m, n, k): (usize, usize, usize),
        nr: usize,
        size: usize,
        plan: &Plan<'_>,
    ) -> (usize, bool) {
        let work = m.saturating_mul(n).saturating_mul(k);
        let panels = n.div_ceil(nr);
        let threads = plan.threads_for(work);
        // The more even cut; columns where both are: a thread then meets the same panels of B in its cache every time.
        let (by_cols, by_tiles) = (threads.min(panels).max(1), threads.min(heights.tiles).max(1));
        let largest_cols = panels.div_ceil(by_cols).saturating_mul(nr).min(n).saturating_mul(m);
        let largest_rows = heights.tiles.div_ceil(by_tiles).saturating_mul(heights.highest()).min(m).saturating_mul(n);
        // Rows share B: no harm if it is in panels already, or if it is read where it lies and small.
        let small = k.saturating_mul(n).saturating_mul(size) <= plan.caches.l2 / 2;
        let free = b == Source::Prepacked || (small && b == Source::InPlace);
        let by_rows = largest_rows < if free { largest_cols } else { largest_cols / 8 * 7 };
        (if by_rows { by_tiles } else { by_cols }, by_rows)
    }

    fn place_a<T: Real, E: Epilogue<T>>(job: &Job<'_, T, E>, plan: &Plan<'_>) -> Source {
        match &job.a {
            Left::Made(_) if E::BY_ROWS_EXISTS => Source::Rows,
            Left::View(a) if a_readable(job) && plan.packing.a_in_place(a) => Source::InPlace,
            _ => Source::Packed,
        }
    }

    /// Columns packed at a time by all parts together.
    fn columns_at_once(&self) -> usize {
        self.nc.saturating_mul(if self.by_rows { 1 } else { self.parts })
    }

    /// Elements of a block of A packed by one thread for itself, up to a boundary.
    fn a_room<T>(&self, kb: usize) -> usize {
        let rows = self.block_tiles.saturating_mul(self.heights.highest()).min(self.m);
        Req::of::<T>(rows.saturating_mul(kb)).bytes() / size_of::<T>()
    }

    /// Elements of A and of B packed at a time.
    fn packed_len<T>(&self, k: usize) -> (usize, usize) {
        let kb = k.min(self.kc);
        // B starts on a boundary of its own.
        let line = |len: usize| Req::of::<T>(len).bytes() / size_of::<T>();
        let a = match (self.a, self.a_rooms) {
            (Source::Packed, 0) | (Source::Rows, _) => self.m.saturating_mul(kb),
            (Source::Packed, rooms) => self.a_room::<T>(kb).saturating_mul(rooms),
            _ => 0,
        };
        let panels = self.n.min(self.columns_at_once()).div_ceil(self.nr);
        let b = match self.b {
            Source::Packed => panels.saturating_mul(self.nr).saturating_mul(kb),
            // The last panel, if it ends in part of a word.
            Source::InPlace => self.nr.saturating_mul(kb),
            Source::Prepacked | Source::Rows => 0,
        };
        (line(a), line(b))
    }
}

/// Whether there are tiles that read A where it lies, with its α.
pub(super) fn a_readable<T: Real, E: Epilogue<T>>(job: &Job<'_, T, E>) -> bool {
    let Left::View(a) = &job.a else { return false };
    let sign = job.alpha == T::ONE || (job.alpha == -T::ONE && E::NEGATED_EXISTS);
    sign && ((by_rows(&job.a) && E::BY_ROWS_EXISTS) || a.rs() == 1 || a.nrows() == 1)
}

/// Whether A's neighbours lie along its rows.
pub(super) fn by_rows<T: Real>(a: &Left<'_, T>) -> bool {
    matches!(a, Left::View(a) if a.cs() == 1 && a.nrows() > 1 && a.rs() != 1)
}

/// Scratch for a product of these sizes, whatever the strides of its operands, with blocks of k of at least `kc`.
pub(crate) fn scratch_for<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>, kc: usize) -> Req {
    let nr = T::family(plan.isa).nr();
    let one = |m: usize, n: usize| {
        let blocking = plan.blocking_of::<T>(k);
        // A product of one block has its whole chain and all its columns in it.
        let kb = k.min(blocking.kc().max(kc).max(ONE_CHAIN));
        let up = |n: usize| n.div_ceil(nr).saturating_mul(nr);
        let one_block = n.saturating_mul(k).saturating_mul(size_of::<T>()) <= plan.caches.l3 / 4;
        let at_once = if one_block { usize::MAX } else { up(blocking.nc()).saturating_mul(plan.par.threads()) };
        // Packed for all, or a block for each thread.
        let block = m.min(blocking.mc().saturating_add(blocking.mr())).max(1);
        let a = Req::of::<T>(m.saturating_mul(kb)).or(Req::of::<T>(block.saturating_mul(kb)).times(plan.par.threads()));
        a.and(Req::of::<T>(up(n).min(at_once).saturating_mul(kb)))
    };
    one(m, n).or(one(n, m))
}

/// Scratch for blocks of `n` columns at most on their way to [`Job::settle`], a tile's height or more of each.
pub(crate) fn settled_scratch<T: Real>(n: usize, plan: &Plan<'_>) -> Req {
    let family = T::family(plan.isa);
    let columns = n.div_ceil(family.nr()).saturating_mul(family.nr());
    let tallest = family.tall.max(family.tall_by_rows);
    Req::of::<T>(columns.saturating_mul(tallest).max(plan.caches.l2 / (2 * size_of::<T>()))).times(plan.par.threads())
}

/// Computes a product into `c`.
///
/// Shapes fit and, unless E is [`Store`], the columns of C and `begin` are neighbours: checked by the callers in `gemm/mod.rs` and `syrk.rs`.
pub(crate) fn run<T: HasTile<E>, E>(
    job: &Job<'_, T, E>,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    T::run(job, c, plan, scratch)
}

/// The body of [`run`], compiled where T and E are known.
pub(crate) fn run_here<T: Real + HasTile<E>, E: Epilogue<T>>(
    job: &Job<'_, T, E>,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if job.settle.is_none()
        && let Some(small) = Small::new(job, &c, plan)
    {
        small.run(job, c, scratch.slice::<T>(small.room_len())?, plan.isa);
        return Ok(());
    }
    let cut = Cut::new(job, plan);
    let (a_len, b_len) = cut.packed_len::<T>(job.a.shape().1);
    let delta_len = cut.delta_room.saturating_mul(cut.parts);
    run_cut(job, &cut, c, plan, scratch.slice::<T>(a_len.saturating_add(b_len).saturating_add(delta_len))?)
}

/// [`run`] by the blocked loops in memory that holds as much as [`scratch_for`] says.
pub(crate) fn run_in<T: HasTile<E>, E>(
    job: &Job<'_, T, E>,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    memory: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    T::run_in(job, c, plan, memory)
}

/// The body of [`run_in`], compiled where T and E are known.
pub(crate) fn run_in_here<T: Real + HasTile<E>, E: Epilogue<T>>(
    job: &Job<'_, T, E>,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    memory: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    run_cut(job, &Cut::new(job, plan), c, plan, memory)
}

fn run_cut<T: Real + HasTile<E>, E: Epilogue<T>>(
    job: &Job<'_, T, E>,
    cut: &Cut,
    mut c: MatMut<'_, T>,
    plan: &Plan<'_>,
    memory: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    let k = job.a.shape().1;
    let (a_len, b_len) = cut.packed_len::<T>(k);
    let (a_room, memory) = memory.split_at_mut(a_len);
    let (b_room, memory) = memory.split_at_mut(b_len);
    let delta_room = &mut memory[..cut.delta_room * cut.parts];
    let rooms = Rooms { a: Shared::new(a_room), b: Shared::new(b_room), delta: Shared::new(delta_room) };
    let family = T::family(plan.isa);
    for (jc, nb) in crate::tuning::near_equal_units(cut.n, cut.columns_at_once(), cut.nr) {
        // k = 0 is one chain of no links: the epilogue still has to run.
        let chunks = parts_of(k, cut.kc).max(1);
        for (index, (pc, kb)) in (0..chunks).map(|p| (p, part(k, chunks, p))) {
            let stage = Stage { job, cut, rooms: &rooms, family, pc, kb, jc, nb, c: c.rb() };
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

fn range((start, len): (usize, usize)) -> Range<usize> {
    start..start + len
}

/// (height, words), and the tiles of this height and of one row less.
type Kinds<T, F> = ((usize, usize), (TileFn<T, F>, TileFn<T, F>));

/// What the columns of a part have in common; the tiles of the last size asked for are kept.
struct Column<'s, T, F> {
    kinds: Option<Kinds<T, F>>,
    /// Where the thread's own block of A starts.
    a_room: usize,
    /// Whether the part has more panels after this one: nothing else is fetched ahead.
    more: bool,
    begin: Begin<'s, T>,
    finish: &'s F,
    /// Where a block goes that [`Job::settle`] takes: all columns of the stage, row by row.
    delta: Option<*mut T>,
    isa: Isa,
}

struct Rooms<'a, T> {
    a: Shared<'a, T>,
    b: Shared<'a, T>,
    delta: Shared<'a, T>,
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
        let for_all = cut.a == Source::Rows || (cut.a == Source::Packed && cut.a_rooms == 0);
        let a = if for_all { cut.heights.tiles } else { 0 };
        let b = if cut.b != Source::Prepacked && cut.by_rows { self.nb.div_ceil(cut.nr) } else { 0 };
        let parts = if a + b == 0 { 0 } else { cut.parts };
        plan.par.split(parts, |i| {
            let (first, count) = part(a, parts, i);
            self.pack_a(first..first + count, 0, plan.isa);
            let (first, count) = part(b, parts, i);
            self.pack_b(first..first + count, plan.isa);
        });
    }

    /// Packs rows of tiles, the first row of A going to element `at`.
    fn pack_a(&self, ts: Range<usize>, at: usize, isa: Isa) {
        let zero = self.cut.heights.tile(if self.cut.a_rooms == 0 { 0 } else { ts.start }).0;
        for t in ts {
            let (first, rows) = self.cut.heights.tile(t);
            // SAFETY: each row of tiles is packed by one thread, in `pack_for_all`, before anybody reads it; or in `compute` into a room that no
            // other part has.
            let room = unsafe { self.rooms.a.part(at + (first - zero) * self.kb, rows * self.kb) };
            let pack = if self.cut.a == Source::Rows { Left::make } else { Left::pack };
            pack(&self.job.a, first, rows, self.pc, self.kb, self.job.alpha, room, isa);
        }
    }

    /// Packs panels of the block, except what is read where it lies.
    fn pack_b(&self, ps: Range<usize>, isa: Isa) {
        let (nr, len) = (self.cut.nr, self.cut.nr * self.kb);
        if ps.is_empty() || self.cut.b == Source::Prepacked {
            return;
        }
        let last = ps.end - 1;
        let cols = nr.min(self.nb - last * nr);
        let (ps, at) = match self.cut.b {
            Source::InPlace if self.family.whole_words(cols) => return,
            Source::InPlace => (last..ps.end, 0),
            _ => (ps.clone(), ps.start * len),
        };
        // SAFETY: each panel is packed by one thread: in `pack_for_all`, or in `compute` by the only part that has its columns.
        let room = unsafe { self.rooms.b.part(at, ps.len() * len) };
        let first = ps.start * nr;
        self.job.b.pack(self.pc, self.kb, self.jc + first, self.nb.min(ps.end * nr) - first, nr, room, isa);
    }

    /// Part `i` of the block of C.
    fn compute<F: Epilogue<T>>(&self, i: usize, begin: Begin<'_, T>, finish: &F, plan: &Plan<'_>)
    where
        T: HasTile<F>,
    {
        let cut = self.cut;
        let panels = self.nb.div_ceil(cut.nr);
        let (rows, columns) = (0..cut.heights.tiles, 0..panels);
        let (ts, ps) = match (cut.parts, cut.by_rows, self.job.region) {
            (1, ..) => (rows, columns),
            (parts, true, Region::Whole) => (range(part(cut.heights.tiles, parts, i)), columns),
            (parts, false, Region::Whole) => (rows, range(part(panels, parts, i))),
            // Equal areas: what is wanted of a row of tiles ends at the diagonal, what is wanted of a panel begins there.
            (parts, true, Region::Lower { .. }) => {
                let wide = |t: usize| (cut.heights.tile(t).0 + cut.heights.tile(t).1).saturating_sub(self.jc).min(self.nb);
                (range(share(cut.heights.tiles, parts, i, wide)), columns)
            }
            (parts, false, Region::Lower { .. }) => {
                let high = |p: usize| cut.m.saturating_sub(self.jc + p * cut.nr);
                (rows, range(share(panels, parts, i, high)))
            }
        };
        for block in ts.clone().step_by(cut.block_tiles) {
            let block = block..(block + cut.block_tiles).min(ts.end);
            let first = cut.heights.tile(block.start).0;
            let heights = cut.heights.range(&block);
            let (rows, _) = heights.tile(heights.tiles);
            let delta = self.job.settle.map(|_| {
                // SAFETY: each part has a room of its own, and runs once.
                unsafe { self.rooms.delta.part(i * cut.delta_room, rows * self.nb) }.as_mut_ptr().cast::<T>()
            });
            let mut column = Column { kinds: None, a_room: 0, more: false, begin, finish, delta, isa: plan.isa };
            if cut.a_rooms > 0 {
                column.a_room = i * cut.a_room::<T>(self.kb);
                self.pack_a(block.clone(), column.a_room, plan.isa);
            }
            let group = (GROUP_BYTES / (cut.nr * self.kb * size_of::<T>()).max(1)).clamp(1, 8);
            let mut packed = if cut.by_rows || block.start > ts.start { ps.end } else { ps.start };
            // Threads with rows start at panels of their own. Else the one that ends a panel at the row where another begins would have its caches
            // fetch, unasked, the lines that the other is just writing.
            let start = if cut.by_rows { ps.end / cut.parts * i } else { ps.start };
            let mut p = start;
            let mut done = 0;
            while done < ps.len() {
                if p == ps.end {
                    p = ps.start;
                }
                // Up to the end, or to where the part began.
                let end = if p < start { start } else { ps.end };
                let columns_left = self.nb.min(end * cut.nr) - p * cut.nr;
                // As many panels as the tile spans, if they are there to the last column.
                let mut heights = heights;
                let mut span = if columns_left >= cut.span * cut.nr { cut.span } else { 1 };
                if span == 1 && cut.a == Source::InPlace && cut.b != Source::InPlace && columns_left > cut.nr {
                    // The last panel and a narrow rest, which by itself would keep few registers busy.
                    let most = self.family.wide_rows(columns_left);
                    if most > 0 {
                        (span, heights) = (2, Heights::new(rows, most));
                    }
                }
                if packed < (p + span).min(ps.end) {
                    let until = (packed + group.max(span)).min(ps.end);
                    self.pack_b(packed..until, plan.isa);
                    packed = until;
                }
                column.more = p + span < ps.end;
                self.column(&mut column, p, span, first, rows, heights);
                p += span;
                done += span;
            }
            if let (Some(settle), Some(delta)) = (self.job.settle, delta) {
                // SAFETY: the tiles have written every element of the block, whose part has all columns, and only this part reaches its room.
                let delta = unsafe { core::slice::from_raw_parts(delta, rows * self.nb) };
                let delta = MatRef::new(delta, rows, self.nb).expect("rows × columns");
                // SAFETY: blocks cover the product once: parts have rows of their own, and each goes through its blocks once.
                unsafe { settle.settle(first, self.jc, delta, plan.isa) };
            }
        }
    }

    /// Tiles of `span` panels from panel `p` of the block on, `rows` rows from row `first` on.
    fn column<F: Epilogue<T>>(
        &self,
        with: &mut Column<'_, T, F>,
        p: usize,
        span: usize,
        first: usize,
        rows: usize,
        heights: Heights,
    ) where
        T: HasTile<F>,
    {
        let (cut, nr, j) = (self.cut, self.cut.nr, p * self.cut.nr);
        let cols = (span * nr).min(self.nb - j);
        let words = self.family.words(cols);
        // There are two heights at most.
        let height = heights.highest();
        let key = (height, words);
        let (high, low) = match with.kinds {
            Some((found, tiles)) if found == key => tiles,
            _ => {
                let kind = TileKind {
                    by_rows: cut.a == Source::Rows || (cut.a == Source::InPlace && by_rows(&self.job.a)),
                    negated: cut.a == Source::InPlace && self.job.alpha == -T::ONE,
                };
                let of =
                    |rows: usize| <T as HasTile<F>>::tile(with.isa, rows, words, kind).expect("a tile of every size asked for");
                let tiles = (of(height), of(heights.low));
                with.kinds = Some((key, tiles));
                tiles
            }
        };
        let (begin, finish) = (with.begin, with.finish);
        let (b, b_step, b_panel) = self.b_at(p, cols);
        // SAFETY: `compute` gives each part rows of tiles or panels of its own, and each part runs once: nobody else has this block of C.
        let mut c = unsafe { self.c.alias() }.block(first, self.jc + j, rows, cols);
        let neighbours = with.delta.is_some() || c.cs() == 1 || self.c.ncols() == 1;
        let (a, a_row, a_step) = self.a_at(first, rows, with.a_room);
        let (to, rs) = match with.delta {
            Some(delta) => (delta.wrapping_add(j), self.nb as isize),
            None => (c.as_mut_ptr(), c.rs()),
        };
        let (beta, start, start_rs) = match begin {
            Begin::AtC(beta) => (beta, to.cast_const(), rs),
            Begin::At(beta, s) => (beta, s.block(first, self.jc + j, rows, cols).as_ptr(), s.rs()),
        };
        let mut tile = Tile {
            kc: self.kb,
            count: 1,
            a_tile: 0,
            a,
            a_step,
            b,
            b_step,
            b_panel,
            start,
            start_rs,
            beta,
            c: to,
            rs,
            cols,
            i: first,
            j: self.jc + j,
            next: None,
        };
        let mut t = 0;
        while t < heights.tiles {
            let (i, rows) = heights.tile(t);
            let until = if t < heights.higher { heights.higher } else { heights.tiles };
            // All tiles of one height at once, unless each has to be looked at: below one that is wanted whole all are.
            let covered = self.covered(tile.i, rows, tile.j, cols);
            let directly = neighbours && covered == Covered::All;
            tile.count = if directly { until - t } else { 1 };
            tile.a_tile = rows as isize * a_row;
            if a_step == PACKED {
                tile.a_step = rows as isize;
            }
            let run = if rows == height { high } else { low };
            if t + tile.count == heights.tiles && with.more {
                tile.next = Some(b.wrapping_offset(span as isize * b_panel));
            }
            if directly {
                // SAFETY: the tile comes from the table of an `Isa`, so the CPU has it. A and B hold what `a_at` and `b_at` say for kb steps; C's
                // `count` times `rows` rows from there on are in the block taken above, nobody else's, and so are the epilogue's operands: they have C's shape
                // (checked where it was made).
                unsafe { run(&tile, finish) };
            } else if covered != Covered::Nothing {
                self.through_copy(c.rb().block(i, 0, rows, cols), &tile, run, finish);
            }
            // Wrapping: after the last tile these point behind the block.
            let below = (rows * tile.count) as isize;
            tile.a = tile.a.wrapping_offset(below * a_row);
            tile.start = tile.start.wrapping_offset(below * start_rs);
            tile.c = tile.c.wrapping_offset(below * tile.rs);
            tile.i += below as usize;
            t += tile.count;
        }
    }

    /// Computes a tile of which not all elements are wanted, or whose columns are not neighbours, in a copy.
    fn through_copy<F: Epilogue<T>>(&self, mut block: MatMut<'_, T>, tile: &Tile<T>, run: TileFn<T, F>, finish: &F) {
        let (rows, cols) = block.shape();
        let (i, j) = (tile.i, tile.j);
        let (lower, dropped) = match self.job.region {
            Region::Whole => (false, false),
            Region::Lower { drop_diagonal } => (true, drop_diagonal),
        };
        let wanted = |r: usize, s: usize| !lower || j + s <= i + r;
        let mut copy = [T::ZERO; STACK_TILE];
        assert!(rows * cols <= STACK_TILE);
        let all = || (0..rows).flat_map(|r| (0..cols).map(move |s| (r, s)));
        if tile.beta != T::ZERO {
            for (r, s) in all().filter(|&(r, s)| wanted(r, s)) {
                copy[r * cols + s] = block.get(r, s);
            }
        }
        let (c, rs) = (copy.as_mut_ptr(), cols as isize);
        let tile = Tile { c, rs, start: c, start_rs: rs, ..*tile };
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

    /// First element of A in row `i`, from one row to the next, and the stride of the tile ([`PACKED`]: its height).
    fn a_at(&self, i: usize, rows: usize, room: usize) -> (*const T, isize, isize) {
        match (&self.job.a, self.cut.a) {
            (Left::View(a), Source::InPlace) if self.kb > 0 => {
                let a = a.block(i, self.pc, rows, self.kb);
                (a.as_ptr(), a.rs(), if by_rows(&self.job.a) { a.rs() } else { a.cs() })
            }
            (_, Source::InPlace) => (self.rooms.a.at(0), 0, 0),
            (_, Source::Rows) => (self.rooms.a.at(i * self.kb), self.kb as isize, self.kb as isize),
            _ => {
                let at = if self.cut.a_rooms == 0 { i * self.kb } else { room };
                (self.rooms.a.at(at), self.kb as isize, PACKED)
            }
        }
    }

    /// First element of the B of panel `p` of the block (`cols` columns), the stride of k, and that of panels.
    fn b_at(&self, p: usize, cols: usize) -> (*const T, isize, isize) {
        let (nr, step) = (self.cut.nr, self.cut.nr as isize);
        let len = nr * self.kb;
        match (&self.job.b, self.cut.b) {
            (Right::Panels(panels), _) => panels.at(self.jc / nr + p, self.pc),
            (Right::View(b), Source::InPlace) if self.family.whole_words(cols) && self.kb > 0 => {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs that cover all pieces, none twice, each within a piece of its part of the whole.
    #[test]
    fn shares_are_nearly_equal_in_weight() {
        let weights: [&dyn Fn(usize) -> usize; 5] =
            [&|_| 3, &|p| p + 1, &|p| 40 - p, &|p| if p % 7 == 0 { 50 } else { 1 }, &|p| if p < 20 { 0 } else { 9 }];
        for weight in weights {
            for len in [0, 1, 2, 9, 30, 40] {
                for parts in 1..=5 {
                    let total: usize = (0..len).map(weight).sum();
                    let heaviest = (0..len).map(weight).max().unwrap_or(0);
                    let mut next = 0;
                    for i in 0..parts {
                        let (first, count) = share(len, parts, i, weight);
                        assert_eq!(first, next);
                        next += count;
                        let own: usize = (first..next).map(weight).sum();
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

    /// The more even cut; columns where both are alike, or nearly and B would have to be packed by all.
    #[cfg(feature = "threads")]
    #[test]
    fn products_are_split_along_their_longer_side() {
        use crate::tuning::Caches;
        use crate::{Par, Team};
        let team = Team::new(2).unwrap();
        let caches = Caches { l2: 1 << 20, ..Plan::new().caches };
        let plan = Plan { caches, min_work: Some(1), ..Plan::new() }.with_par(Par::Team(&team));
        let split = |(m, n, k): (usize, usize, usize), b| Cut::split(&Heights::new(m, 8), b, (m, n, k), 10, 4, &plan);
        let (in_place, packed, prepacked) = (Source::InPlace, Source::Packed, Source::Prepacked);
        for b in [in_place, packed, prepacked] {
            // Two panels and two rows of tiles: columns.
            assert_eq!(split((16, 20, 5), b), (2, false));
            // Nothing to share on one side.
            assert_eq!(split((8, 20, 5), b), (2, false));
            assert_eq!(split((16, 10, 5), b), (2, true));
            assert_eq!(split((8, 10, 5), b), (1, false));
            // Three panels for two threads, four rows of tiles.
            assert_eq!(split((32, 30, 5), b), (2, true));
        }
        // Fifteen panels: eight of them are 6 % too many. That pays for sharing B where it costs nothing.
        assert_eq!(split((32, 150, 5), prepacked), (2, true));
        assert_eq!(split((32, 150, 5), in_place), (2, true));
        assert_eq!(split((32, 150, 5), packed), (2, false));
        // A B in place that fills half of L2, and one element more.
        let half = (1 << 20) / 2 / 4 / 150;
        assert_eq!(split((32, 150, half), in_place), (2, true));
        assert_eq!(split((32, 150, half + 1), in_place), (2, false));
        assert_eq!(split((32, 150, half + 1), prepacked), (2, true));
    }
}
