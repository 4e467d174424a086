//! The loops around the register tile.
//!
//! ```text
//! for pc in the chain by KC
//!   for ic in rows by MC                            A block, MC × KC, in L3
//!     for jc in columns by NC
//!       ── all threads pack what all read ──
//!       rows first:     for ir in tiles of MR       C in the order of memory
//!                         for jr in panels of NR    B block, KC × NC, in L2
//!       columns first:  for jr in panels of NR      B panel, met once
//!                         for ir in tiles of MR     A block, all rows × KC, in L2
//! ```
//!
//! One operand stays in L2 while the other streams past it. Rows first is the rule: it reads and
//! writes C along its rows, in few pages and in a pattern that hardware prefetchers follow. A
//! product with few rows keeps A and reads B only once (benches/record/contention.md).
//!
//! Threads get whole column panels of C or, where those are few, whole rows of tiles. What all
//! threads read is packed by all of them, in a phase of its own. No thread waits inside a phase.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::DisjointSlices;
use crate::base::split::{RowTiles, part, part_range, parts_of, weighted_range};
use crate::gemm::job::{Job, Region, Start};
use crate::gemm::partition::{OperandSource, Partition};
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::tile::micro_kernel::{AStrides, Prefetch, TileArgs, TileFn};
use crate::tile::table::{Real, Tiles};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Elements of the copy that stands in for C where C's rows are not contiguous, or not all of a
/// tile is wanted: the largest tile of any instruction set (a test compares).
const STACK_TILE: usize = 9 * 48;

/// Bytes of B packed at a time. Several lines of a row are then read together and are still in L2
/// when they are used.
const PACK_BYTES: usize = 64 << 10;

/// Bytes of C that an epilogue finishes at a time: half of a small L1.
const EPILOGUE_BYTES: usize = 16 << 10;

/// Returns the number of scratch elements that [`run`] needs for this partition.
pub(super) fn workspace_len<T: Real>(partition: &Partition, k: usize) -> usize {
    let (a_len, b_len) = partition.packed_len::<T>(k);
    a_len.saturating_add(b_len).saturating_add(partition.delta_len.saturating_mul(partition.parts))
}

/// Computes a product into `c` in `memory` of [`workspace_len`] elements. Returns whether all that
/// an optimizer wrote is finite.
///
/// Shapes fit and, with any epilogue but `Store`, C's rows are contiguous: checked by the callers.
pub(super) fn run<T: Real>(
    job: &Job<'_, T>,
    partition: &Partition,
    mut c: MatMut<'_, T>,
    plan: &Plan,
    memory: &mut [MaybeUninit<T>],
) -> bool {
    let (_, _, k) = job.shape();
    let (a_len, b_len) = partition.packed_len::<T>(k);
    let (a, memory) = memory.split_at_mut(a_len);
    let (b, memory) = memory.split_at_mut(b_len);
    let delta = &mut memory[..partition.delta_len * partition.parts];
    let buffers = PackBuffers { a: DisjointSlices::new(a), b: DisjointSlices::new(b), delta: DisjointSlices::new(delta) };
    let finite = AtomicBool::new(true);
    // k = 0 is one chain of no links: the epilogue still has to run.
    let chunks = parts_of(k, partition.kc).max(1);
    for (index, (pc, kb)) in (0..chunks).map(|p| (p, part(k, chunks, p))) {
        for (ts, (jc, nb)) in partition.stages(job.region) {
            let stage = Stage {
                job,
                cut: partition,
                buffers: &buffers,
                tiles: T::tiles(plan.isa),
                isa: plan.isa,
                pc,
                kb,
                ts,
                jc,
                nb,
                start: if index == 0 { job.start } else { Start::C(T::ONE) },
                last: index + 1 == chunks,
                c: c.rb(),
            };
            stage.pack_for_all(plan);
            plan.par.split(partition.parts, &|i| {
                if !stage.compute(i) {
                    finite.store(false, Ordering::Relaxed);
                }
            });
        }
    }
    finite.into_inner()
}

/// Workspace of a product.
struct PackBuffers<'a, T> {
    a: DisjointSlices<'a, T>,
    b: DisjointSlices<'a, T>,
    delta: DisjointSlices<'a, T>,
}

/// One block of rows, of columns and of the chain.
struct Stage<'a, T: 'static> {
    job: &'a Job<'a, T>,
    cut: &'a Partition,
    buffers: &'a PackBuffers<'a, T>,
    tiles: &'static Tiles<T>,
    isa: Isa,
    pc: usize,
    kb: usize,
    /// Rows of tiles.
    ts: Range<usize>,
    jc: usize,
    nb: usize,
    start: Start<'a, T>,
    /// Whether the chains end here.
    last: bool,
    c: MatMut<'a, T>,
}

/// One thread's block of rows.
struct RowBlock<T> {
    /// First row, number of rows.
    first: usize,
    rows: usize,
    row_tiles: RowTiles,
    /// Receives an optimizer's product, all columns of the stage, row by row.
    delta: Option<*mut T>,
    /// The packed panels: the first one, and its element in the buffer.
    panels: (usize, usize),
}

impl<T: Real> Stage<'_, T> {
    /// Packs what every thread reads: A if the threads share its rows, and B if they share its
    /// columns.
    fn pack_for_all(&self, plan: &Plan) {
        let cut = self.cut;
        let a = if self.packs_a() && !cut.owns_a() { self.ts.len() } else { 0 };
        let ragged = !self.tiles.whole_vectors(self.nb % cut.nr);
        let packs_b = cut.b == OperandSource::Packed || cut.b == OperandSource::InPlace && ragged;
        let b = if packs_b && cut.by_rows { self.nb.div_ceil(cut.nr) } else { 0 };
        let parts = if a + b == 0 { 0 } else { cut.parts };
        plan.par.split(parts, &|i| {
            self.pack_a(self.tiles_from(part_range(a, parts, i)));
            let panels = part_range(b, parts, i);
            self.pack_b(panels.clone(), panels.start * cut.nr * self.kb);
        });
    }

    /// Whether this stage packs A: the first one of each block of rows, in each part of the chain.
    fn packs_a(&self) -> bool {
        self.cut.a == OperandSource::Packed && self.jc == 0
    }

    /// First row of the stage.
    fn first_row(&self) -> usize {
        self.cut.row_tiles.tile(self.ts.start).0
    }

    /// Rows of tiles, counted from the stage's first one, in the whole product.
    fn tiles_from(&self, ts: Range<usize>) -> Range<usize> {
        self.ts.start + ts.start..self.ts.start + ts.end
    }

    /// Packs rows of tiles.
    fn pack_a(&self, ts: Range<usize>) {
        for t in ts {
            let (first, rows) = self.cut.row_tiles.tile(t);
            // SAFETY: one thread packs each row of tiles: in `pack_for_all`, before any thread
            // reads it, or in `compute`, by the only part that has it.
            let panel = unsafe { self.buffers.a.part((first - self.first_row()) * self.kb, rows * self.kb) };
            self.job.a.pack((first, rows), (self.pc, self.kb), self.job.alpha, panel, self.isa);
        }
    }

    /// Packs panels of the block, except what is read in place, from element `at` of the buffer on.
    fn pack_b(&self, ps: Range<usize>, at: usize) {
        let (nr, len) = (self.cut.nr, self.cut.nr * self.kb);
        if ps.is_empty() || self.cut.b == OperandSource::Prepacked {
            return;
        }
        let last = ps.end - 1;
        let (ps, at) = match self.cut.b {
            OperandSource::InPlace if self.tiles.whole_vectors(nr.min(self.nb - last * nr)) => return,
            OperandSource::InPlace => (last..ps.end, 0),
            _ => (ps.clone(), at),
        };
        // SAFETY: one thread packs each panel: in `pack_for_all`, or in `compute` the only part
        // that has its columns.
        let panels = unsafe { self.buffers.b.part(at, ps.len() * len) };
        let first = ps.start * nr;
        let columns = (self.jc + first, self.nb.min(ps.end * nr) - first);
        self.job.b.pack((self.pc, self.kb), columns, nr, panels, self.isa);
    }

    /// Rows of tiles and panels of thread `i`.
    fn share_of(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let cut = self.cut;
        let (all_rows, all_panels) = (self.ts.len(), self.nb.div_ceil(cut.nr));
        let row_end = |t: usize| cut.row_tiles.tile(t).0 + cut.row_tiles.tile(t).1;
        let (rows, panels) = match (cut.parts, cut.by_rows, self.job.region) {
            (1, ..) => (0..all_rows, 0..all_panels),
            (parts, true, Region::Whole) => (part_range(all_rows, parts, i), 0..all_panels),
            (parts, false, Region::Whole) => (0..all_rows, part_range(all_panels, parts, i)),
            // Equal areas: the wanted part of a row of tiles ends at the diagonal, that of a panel
            // begins there.
            (parts, true, Region::Lower { .. }) => {
                let width = |t: usize| row_end(self.ts.start + t).saturating_sub(self.jc).min(self.nb);
                (weighted_range(all_rows, parts, i, width), 0..all_panels)
            }
            (parts, false, Region::Lower { .. }) => {
                let (first, end) = (self.first_row(), row_end(self.ts.end - 1));
                let height = |p: usize| end.saturating_sub(first.max(self.jc + p * cut.nr));
                (0..all_rows, weighted_range(all_panels, parts, i, height))
            }
        };
        (self.tiles_from(rows), panels)
    }

    /// Computes part `i` of the block of C. Returns whether all that an optimizer wrote is finite.
    fn compute(&self, i: usize) -> bool {
        let cut = self.cut;
        let (ts, ps) = self.share_of(i);
        let mut finite = true;
        for block in ts.clone().step_by(cut.block_tiles) {
            let block = block..(block + cut.block_tiles).min(ts.end);
            let row_tiles = cut.row_tiles.range(&block);
            let (rows, _) = row_tiles.tile(row_tiles.count);
            if self.packs_a() && cut.owns_a() {
                self.pack_a(block.clone());
            }
            let update = self.job.epilogue.update();
            let delta = update.map(|_| {
                // SAFETY: each part has a block of Δ of its own, and runs once.
                unsafe { self.buffers.delta.part(i * cut.delta_len, rows * self.nb) }.as_mut_ptr().cast::<T>()
            });
            let first = cut.row_tiles.tile(block.start).0;
            let mut block_of = RowBlock { first, rows, row_tiles, delta, panels: (0, 0) };
            // The first block of rows packs the panels; the others find them packed.
            let packed = if cut.by_rows || block.start > ts.start { ps.end } else { ps.start };
            if cut.rows_first {
                // A thread with columns of its own packs a block of them at a time.
                let most = if cut.owns_b() { cut.block_panels() } else { ps.len().max(1) };
                for from in ps.clone().step_by(most) {
                    let ps = from..(from + most).min(ps.end);
                    let at = if cut.owns_b() { i * most * cut.nr * self.kb } else { from * cut.nr * self.kb };
                    block_of.panels = (from, at);
                    self.pack_b(packed.max(from)..ps.end, at);
                    self.rows_first(&block_of, &ps);
                }
            } else {
                self.columns_first(&block_of, &ps, packed, i);
            }
            if let (Some(update), Some(delta)) = (update, delta) {
                // SAFETY: the tiles have written every element of the block, whose part has all
                // columns, and only this part reaches its buffer.
                let delta = unsafe { core::slice::from_raw_parts(delta, rows * self.nb) };
                let delta = MatRef::new(delta, rows, self.nb).expect("rows × columns");
                // SAFETY: parts have rows of their own, and each goes through its blocks once.
                finite &= unsafe { update.apply(self.isa, (first, self.jc), self.block_of_c(first, 0, rows, self.nb), delta) };
            }
        }
        finite
    }

    /// Computes the panels `ps` of a block of rows, one row of tiles after the other.
    fn rows_first(&self, block: &RowBlock<T>, ps: &Range<usize>) {
        let (cut, nr) = (self.cut, self.cut.nr);
        let end = self.nb.min(ps.end * nr);
        for t in 0..block.row_tiles.count {
            let tile @ (i, rows) = block.row_tiles.tile(t);
            let mut p = ps.start;
            while p * nr < end {
                let (left, wide) = (end - p * nr, cut.span * nr);
                let cols = if left >= wide { wide } else { left.min(nr) };
                // A tile on the diagonal needs no more vectors than reach it.
                let reach = (block.first + i + rows).saturating_sub(self.jc + p * nr);
                let narrow = matches!(self.job.region, Region::Lower { .. }) && (1..=nr).contains(&reach);
                let cols = if narrow { cols.min(reach.next_multiple_of(self.tiles.lanes)) } else { cols };
                let more = (p + cols.div_ceil(nr)) * nr < end;
                // The first row of tiles meets panels that this product has not packed; the next
                // panel comes into L2 meanwhile.
                let fetch = if t == 0 && more && cut.b != OperandSource::Packed {
                    self.fetch_after(block, p, (rows, cols), (1, 0))
                } else {
                    Prefetch::NONE
                };
                let along = match self.coverage(block.first + i, rows, self.jc + p * nr, cols) {
                    Coverage::Empty => break,
                    Coverage::Full if self.writes_directly(block) && fetch.is_none() => {
                        let whole = match self.job.region {
                            Region::Whole => left,
                            Region::Lower { .. } => left.min(block.first + i - (self.jc + p * nr)),
                        };
                        let most = EPILOGUE_BYTES / (rows * cols * size_of::<T>());
                        if self.finishes(block) { (whole / cols).min(most.max(1)) } else { whole / cols }
                    }
                    _ => 1,
                };
                self.tiles(block, &Run { tile, p, cols, down: 1, along, fetch: &fetch });
                p += along * cols.div_ceil(nr);
            }
        }
    }

    /// Computes the panels `ps` of a block of rows, one panel after the other. Panels before
    /// `packed` are packed.
    fn columns_first(&self, block: &RowBlock<T>, ps: &Range<usize>, mut packed: usize, i: usize) {
        let cut = self.cut;
        let group = (PACK_BYTES / (cut.nr * self.kb * size_of::<T>()).max(1)).clamp(1, 8);
        // Threads that own rows start at different panels. Otherwise one thread's hardware
        // prefetcher would pull in lines that its neighbor is writing.
        let start = if cut.by_rows { ps.end / cut.parts * i } else { ps.start };
        for ring in [start..ps.end, ps.start..start] {
            let mut p = ring.start;
            while p < ring.end {
                let columns_left = self.nb.min(ring.end * cut.nr) - p * cut.nr;
                let (span, row_tiles) = self.span(block, columns_left);
                if packed < (p + span).min(ps.end) {
                    let until = (packed + group.max(span)).min(ps.end);
                    self.pack_b(packed..until, packed * cut.nr * self.kb);
                    packed = until;
                }
                self.column(block, row_tiles, p, span, p + span < ps.end);
                p += span;
            }
        }
    }

    /// Number of panels for the next column of tiles, and the heights of its tiles.
    fn span(&self, block: &RowBlock<T>, columns_left: usize) -> (usize, RowTiles) {
        let cut = self.cut;
        if cut.span > 1 && columns_left >= cut.span * cut.nr {
            return (cut.span, block.row_tiles);
        }
        let in_place = cut.a == OperandSource::InPlace && self.job.alpha == T::ONE && cut.b != OperandSource::InPlace;
        if in_place && columns_left > cut.nr {
            // The last panel and a narrow rest, which alone would keep few registers busy.
            let rows = self.tiles.wide_rows(columns_left);
            if rows > 0 {
                return (2, RowTiles::new(block.rows, rows));
            }
        }
        (1, block.row_tiles)
    }

    /// Computes a column of tiles: `span` panels from panel `p` on, all rows of the block.
    fn column(&self, block: &RowBlock<T>, row_tiles: RowTiles, p: usize, span: usize, more: bool) {
        let (nr, j) = (self.cut.nr, p * self.cut.nr);
        let cols = (span * nr).min(self.nb - j);
        let finish = self.finishes(block);
        let mut t = 0;
        while t < row_tiles.count {
            let tile @ (i, rows) = row_tiles.tile(t);
            let of_this_height = if t < row_tiles.taller { row_tiles.taller } else { row_tiles.count } - t;
            // All tiles of one height at once, unless each has to be looked at. Below a tile that
            // is wanted whole, all are.
            let full = self.coverage(block.first + i, rows, self.jc + j, cols) == Coverage::Full;
            let down = match (full && self.writes_directly(block), finish) {
                (false, _) => 1,
                (true, false) => of_this_height,
                (true, true) => of_this_height.min((EPILOGUE_BYTES / (rows * cols * size_of::<T>())).max(1)),
            };
            let fetch = if more {
                self.fetch_after(block, p, (rows, cols), (row_tiles.count, row_tiles.count - t - down))
            } else {
                Prefetch::NONE
            };
            self.tiles(block, &Run { tile, p, cols, down, along: 1, fetch: &fetch });
            t += down;
        }
    }

    /// The prefetch of the panels after those of a tile of `cols` columns at panel `p`, by the last
    /// of `total` tiles, `below` of which come after it.
    fn fetch_after(&self, block: &RowBlock<T>, p: usize, (rows, cols): (usize, usize), tiles: (usize, usize)) -> Prefetch<T> {
        let (b, rs_b, ps_b) = self.b_at(block, p, cols);
        let next = b.wrapping_offset((cols.div_ceil(self.cut.nr) as isize).wrapping_mul(ps_b));
        Prefetch::new(next, (rows, self.tiles.vectors(cols)), tiles, self.kb, self.cut.nr * size_of::<T>(), rs_b)
    }

    /// Whether tiles can write their rows into C, or into the block's Δ.
    fn writes_directly(&self, block: &RowBlock<T>) -> bool {
        block.delta.is_some() || self.c.has_contiguous_rows()
    }

    /// Whether the epilogue follows the tiles of this stage.
    fn finishes(&self, block: &RowBlock<T>) -> bool {
        self.last && block.delta.is_none() && self.job.epilogue.has_work()
    }

    /// Computes a run of tiles of one shape. More than one must be wanted whole.
    fn tiles(&self, block: &RowBlock<T>, run: &Run<'_, T>) {
        let (cut, Run { tile: (i, rows), p, cols, down, along, fetch }) = (self.cut, *run);
        let (j, vectors) = (p * cut.nr, self.tiles.vectors(cols));
        let coverage = self.coverage(block.first + i, rows, self.jc + j, cols);
        if coverage == Coverage::Empty {
            return;
        }
        let (a, (rs_a, cs_a)) = self.a_at(block);
        let (b, rs_b, ps_b) = self.b_at(block, p, cols);
        let mut c = self.block_of_c(block.first + i, j, rows * down, cols * along);
        let (to, rs_c) = match block.delta {
            Some(delta) => (delta.wrapping_add(i * self.nb + j), self.nb as isize),
            None => (c.as_mut_ptr(), c.rs()),
        };
        let (beta, start, rs_start) = self.start.of_block((block.first + i, self.jc + j), c.as_ref());
        let negated = cut.a == OperandSource::InPlace && self.job.alpha == -T::ONE;
        let (rs_a, cs_a, row_of_a) =
            if cut.a == OperandSource::InPlace { (rs_a, cs_a, rs_a) } else { (1, rows as isize, self.kb as isize) };
        // Wrapping: a row stride that no second row uses may be anything.
        let next = |below: isize, beside: isize| {
            if along > 1 { beside } else { below.wrapping_mul(rows as isize) }
        };
        let args = TileArgs {
            kc: self.kb,
            count: down * along,
            a: a.wrapping_offset((i as isize).wrapping_mul(row_of_a)),
            a_strides: AStrides::new::<T>(rs_a, cs_a),
            next_a: next(row_of_a, 0),
            b,
            rs_b,
            ps_b,
            next_b: next(0, ps_b.wrapping_mul(cols.div_ceil(cut.nr) as isize)),
            start,
            rs_start,
            next_start: next(rs_start, cols as isize),
            beta,
            c: to,
            rs_c,
            next_c: next(rs_c, cols as isize),
            cols,
            fetch,
        };
        let run = self.tiles.get(rows, vectors, negated);
        if coverage == Coverage::Full && self.writes_directly(block) {
            // SAFETY: the tile comes from the table of an `Isa`, so the CPU has it. A and B hold
            // what `a_at` and `b_at` say for kb steps. The rows and columns of all tiles of the run
            // are in the block of C above, or in the part's Δ, which this part alone has.
            unsafe { run(&args) };
            if self.finishes(block) {
                // SAFETY: the epilogue was checked for the product's shape; the block is as above.
                unsafe { self.job.epilogue.apply(self.isa, (block.first + i, self.jc + j), c) };
            }
        } else {
            self.through_copy(c, (block.first + i, self.jc + j), &args, run);
        }
    }

    /// A block of C whose first element is (i, j) of the stage's columns.
    fn block_of_c(&self, i: usize, j: usize, rows: usize, cols: usize) -> MatMut<'_, T> {
        // SAFETY: `share_of` gives each part rows of tiles or panels of its own, and each part runs
        // once: no other thread has this block of C.
        unsafe { self.c.alias() }.block(i, self.jc + j, rows, cols)
    }

    /// Computes a tile at element `at` of C in a copy, because not all of it is wanted or its rows
    /// are not contiguous.
    fn through_copy(&self, mut block: MatMut<'_, T>, (i, j): (usize, usize), args: &TileArgs<'_, T>, run: TileFn<T>) {
        let (rows, cols) = block.shape();
        let (lower, dropped) = match self.job.region {
            Region::Whole => (false, false),
            Region::Lower { drop_diagonal } => (true, drop_diagonal),
        };
        // Number of leading elements of row r that are wanted.
        let wanted = |r: usize| if lower { (i + r + 1).saturating_sub(j).min(cols) } else { cols };
        let mut copy = [T::ZERO; STACK_TILE];
        assert!(rows * cols <= STACK_TILE);
        if args.beta != T::ZERO {
            for (r, to) in copy.chunks_exact_mut(cols).enumerate().take(rows) {
                let to = &mut to[..wanted(r)];
                match block.row(r) {
                    Some(row) => to.copy_from_slice(&row[..to.len()]),
                    None => to.iter_mut().enumerate().for_each(|(s, v)| *v = block.get(r, s)),
                }
            }
        }
        let (c, rs_c) = (copy.as_mut_ptr(), cols as isize);
        let args = TileArgs { c, rs_c, start: c, rs_start: rs_c, ..*args };
        // SAFETY: as in `tiles`, with C replaced by the copy of rows × cols elements.
        unsafe { run(&args) };
        for (r, from) in copy.chunks_exact_mut(cols).enumerate().take(rows) {
            let from = &mut from[..wanted(r)];
            if dropped && i + r < j + cols && i + r >= j {
                from[i + r - j] = T::ZERO;
            }
            match block.row_mut(r) {
                Some(row) => row[..from.len()].copy_from_slice(from),
                None => from.iter().enumerate().for_each(|(s, &v)| block.set(r, s, v)),
            }
        }
    }

    /// How much of the tile at (i, j) is wanted.
    fn coverage(&self, i: usize, rows: usize, j: usize, cols: usize) -> Coverage {
        match self.job.region {
            Region::Whole => Coverage::Full,
            Region::Lower { .. } if j >= i + rows => Coverage::Empty,
            // Left of the diagonal.
            Region::Lower { .. } if j + cols <= i => Coverage::Full,
            Region::Lower { .. } => Coverage::Partial,
        }
    }

    /// First element of the block's A, and its strides where it is read in place.
    fn a_at(&self, block: &RowBlock<T>) -> (*const T, (isize, isize)) {
        match (&self.job.a, self.cut.a) {
            (Left::View(a), OperandSource::InPlace) if self.kb > 0 => {
                let a = a.block(block.first, self.pc, block.rows, self.kb);
                (a.as_ptr(), (a.rs(), a.cs()))
            }
            (_, OperandSource::InPlace) => (self.buffers.a.at(0), (0, 0)),
            _ => (self.buffers.a.at((block.first - self.first_row()) * self.kb), (0, 0)),
        }
    }

    /// First element of the B of panel `p` of the block (`cols` columns), the stride of k, and that
    /// of panels.
    fn b_at(&self, block: &RowBlock<T>, p: usize, cols: usize) -> (*const T, isize, isize) {
        let (nr, step) = (self.cut.nr, self.cut.nr as isize);
        let len = nr * self.kb;
        match (&self.job.b, self.cut.b) {
            (Right::Panels(panels), _) => panels.at(self.jc / nr + p, self.pc),
            (Right::View(b), OperandSource::InPlace) if self.tiles.whole_vectors(cols) && self.kb > 0 => {
                (b.block(self.pc, self.jc + p * nr, self.kb, cols).as_ptr(), b.rs(), step)
            }
            (_, OperandSource::InPlace) => (self.buffers.b.at(0), step, len as isize),
            _ => (self.buffers.b.at(block.panels.1 + (p - block.panels.0) * len), step, len as isize),
        }
    }
}

/// Tiles of one shape, below each other or beside each other.
#[derive(Clone, Copy)]
struct Run<'a, T> {
    /// First row in the block, and height, of the first tile.
    tile: (usize, usize),
    /// Its first panel, and its columns.
    p: usize,
    cols: usize,
    /// Number of tiles below each other, and beside each other. One of them is 1.
    down: usize,
    along: usize,
    fetch: &'a Prefetch<T>,
}

/// How much of a tile is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coverage {
    Full,
    Partial,
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copy on the stack holds the largest tile of every instruction set.
    #[test]
    fn the_stack_holds_every_tile() {
        fn largest<T: Real>() -> usize {
            Isa::available().map(|isa| T::tiles(isa).largest()).max().unwrap()
        }
        assert!(largest::<f32>().max(largest::<f64>()) <= STACK_TILE);
    }
}
