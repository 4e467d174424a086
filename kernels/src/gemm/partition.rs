//! How a blocked product is cut: everything that is decided before the first element moves.

use crate::base::once::once;
use crate::base::scratch::ScratchReq;
use crate::base::split::{RowTiles, near_equal, near_equal_units, round_up};
use crate::gemm::job::{Job, Region};
use crate::pack::operand::{Left, Right};
use crate::plan::Plan;
use crate::plan::blocking::ONE_CHAIN;
use crate::tile::table::{Real, Tiles};
use core::ops::Range;

/// Where the tiles find an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperandSource {
    /// In the caller's matrix.
    InPlace,
    /// In panels packed for this product.
    Packed,
    /// In the caller's panels.
    Prepacked,
}

/// The cut of one product.
pub(super) struct Partition {
    pub(super) m: usize,
    pub(super) n: usize,
    /// Columns of a panel.
    pub(super) nr: usize,
    /// Steps of the chain packed at a time.
    pub(super) kc: usize,
    /// Columns of B packed at a time for each thread, or with `by_rows` for all of them.
    nc: usize,
    /// Whether B stays in L2 while A streams past it; otherwise A stays.
    pub(super) rows_first: bool,
    pub(super) row_tiles: RowTiles,
    /// Rows of tiles at a time, for all threads together.
    stage_tiles: usize,
    /// Rows of tiles in a block of Δ, for an optimizer's update; else all.
    pub(super) block_tiles: usize,
    /// Panels that a tile spans.
    pub(super) span: usize,
    /// Number of threads.
    pub(super) parts: usize,
    /// Whether each thread has rows of tiles, not panels.
    pub(super) by_rows: bool,
    pub(super) a: OperandSource,
    pub(super) b: OperandSource,
    /// Elements of each thread's block of Δ, for an optimizer's update; else 0.
    pub(super) delta_len: usize,
}

/// Columns of C above which a packed A is worth its copy: each of its rows of tiles is then met for
/// many blocks of B (benches/record/contention.md, "A shared Zen 3").
const LONG_ROWS: usize = 896;

/// The cache blocks of a product.
struct Blocks {
    mr: usize,
    mc: usize,
    kc: usize,
    nc: usize,
    rows_first: bool,
}

impl Blocks {
    fn of<T: Real>(job: &Job<'_, T>, tiles: &Tiles<T>, plan: &Plan) -> Self {
        let ((m, n, k), nr) = (job.shape(), tiles.nr());
        let blocking = plan.blocking_of::<T>(k);
        // A stays if it has few rows, and more columns of B than fit L2 stream past it.
        let rows_first = m > blocking.few_rows() || n <= blocking.nc();
        let nc =
            if rows_first || plan.blocking.is_some() { blocking.nc() } else { plan.caches.streamed::<T>(k.min(blocking.kc())) };
        Self { mr: blocking.mr().min(tiles.mr), mc: blocking.mc(), kc: blocking.kc(), nc: round_up(nc.max(1), nr), rows_first }
    }
}

impl Partition {
    pub(super) fn new<T: Real>(job: &Job<'_, T>, plan: &Plan) -> Self {
        let ((m, n, k), tiles) = (job.shape(), T::tiles(plan.isa));
        let nr = tiles.nr();
        let blocks = Blocks::of(job, tiles, plan);
        let row_tiles = RowTiles::new(m, blocks.mr);
        let often = blocks.rows_first && n > LONG_ROWS;
        let a = match &job.a {
            Left::View(a) if job.a_readable() && plan.packing.a_in_place(a, often) => OperandSource::InPlace,
            _ => OperandSource::Packed,
        };
        let b = match &job.b {
            Right::Panels(_) => OperandSource::Prepacked,
            Right::View(b) if b.cs() == 1 && plan.packing.b_in_place(b, row_tiles.count, plan.caches.l3) => {
                OperandSource::InPlace
            }
            _ => OperandSource::Packed,
        };
        let update = job.epilogue.update().is_some();
        let work = m.saturating_mul(n).saturating_mul(k);
        let (parts, by_rows) = match plan.par.threads() {
            1 => (1, false),
            // Whole rows: what lies beside them comes from memory in long runs.
            _ if update => (plan.threads_for(work).min(row_tiles.count).max(1), true),
            _ => split(&row_tiles, b, (m, n, k), nr, size_of::<T>(), plan),
        };
        let (row_parts, column_parts) = if by_rows { (parts, 1) } else { (1, parts) };
        let most = (blocks.mc / row_tiles.tallest().max(1)).max(1).saturating_mul(row_parts);
        // A thread whose columns fit one block of B meets its A once.
        let met_again = blocks.rows_first && n.div_ceil(column_parts) > blocks.nc;
        // Half a block more is better than another pass over B.
        let stage_tiles = if met_again && row_tiles.count > most.saturating_mul(3) / 2 { most } else { row_tiles.count.max(1) };
        let mut partition = Self {
            m,
            n,
            nr,
            kc: blocks.kc,
            nc: blocks.nc,
            rows_first: blocks.rows_first,
            row_tiles,
            stage_tiles,
            block_tiles: row_tiles.count.max(1),
            // A tile that subtracts spans one panel.
            span: if a == OperandSource::InPlace && job.alpha == -T::ONE {
                1
            } else {
                tiles.panels(row_tiles.tallest()).min(tiles.panels(row_tiles.rows))
            },
            parts,
            by_rows,
            a,
            b,
            delta_len: 0,
        };
        if update {
            partition.make_room_for_delta::<T>(k, plan);
        }
        partition
    }

    /// Limits blocks to a Δ that fits half of L2: what lies beside it is read and written once.
    fn make_room_for_delta<T>(&mut self, k: usize, plan: &Plan) {
        let (rows, size) = (self.row_tiles.tallest(), size_of::<T>());
        let cols = round_up(self.n.min(self.nc), self.nr).max(1);
        self.kc = k.max(1);
        self.stage_tiles = self.row_tiles.count.max(1);
        self.block_tiles = self.block_tiles.min((plan.caches.l2 / (2 * size * cols * rows)).max(1));
        self.delta_len = line::<T>((self.block_tiles * rows).saturating_mul(cols));
    }

    /// Rows of tiles, first column and number of columns of each stage.
    pub(super) fn stages(&self, region: Region) -> impl Iterator<Item = (Range<usize>, (usize, usize))> {
        near_equal(self.row_tiles.count, self.stage_tiles).flat_map(move |(t, count)| {
            let columns = match region {
                Region::Whole => self.n,
                // None right of the diagonal.
                Region::Lower { .. } => self.n.min(self.row_tiles.tile(t + count).0),
            };
            near_equal_units(columns, self.columns_at_once(), self.nr).map(move |columns| (t..t + count, columns))
        })
    }

    /// Columns of a stage, for all threads together.
    pub(super) fn columns_at_once(&self) -> usize {
        match (self.owns_b(), self.by_rows) {
            (true, _) => usize::MAX,
            (false, true) => self.nc,
            (false, false) => self.nc.saturating_mul(self.parts),
        }
    }

    /// Whether each thread has rows of A of its own, and packs them.
    pub(super) fn owns_a(&self) -> bool {
        self.parts == 1 || self.by_rows
    }

    /// Whether each thread goes through blocks of its own columns, one after the other, without
    /// waiting for the others.
    pub(super) fn owns_b(&self) -> bool {
        self.rows_first && !self.by_rows && self.delta_len == 0
    }

    /// Panels in a block of a thread's own columns.
    pub(super) fn block_panels(&self) -> usize {
        (self.nc / self.nr).min(self.n.div_ceil(self.nr).div_ceil(self.parts)).max(1)
    }

    /// Elements of A and of B packed at a time, up to a line's end.
    pub(super) fn packed_len<T>(&self, k: usize) -> (usize, usize) {
        let kb = k.min(self.kc);
        let a = match self.a {
            OperandSource::Packed => self.m.min(self.stage_tiles.saturating_mul(self.row_tiles.tallest())).saturating_mul(kb),
            _ => 0,
        };
        let panels = match self.owns_b() {
            true => self.block_panels().saturating_mul(self.parts),
            false => self.n.min(self.columns_at_once()).div_ceil(self.nr),
        };
        let b = match self.b {
            OperandSource::Packed => panels.saturating_mul(self.nr).saturating_mul(kb),
            // The last panel, if it ends in part of a vector.
            OperandSource::InPlace => self.nr.saturating_mul(kb),
            OperandSource::Prepacked => 0,
        };
        (line::<T>(a), line::<T>(b))
    }
}

once! {
    /// Returns the scratch for a product of these sizes, whatever the strides of its operands, with
    /// blocks of k of at least `kc`.
    pub(crate) fn scratch_for<T: Real> = scratch_for_body(
        m: usize, n: usize, k: usize, plan: &'a Plan, kc: usize
    ) -> ScratchReq
}

fn scratch_for_body<T: Real>(m: usize, n: usize, k: usize, plan: &Plan, kc: usize) -> ScratchReq {
    let nr = T::tiles(plan.isa).nr();
    let one = |m: usize, n: usize| {
        let blocking = plan.blocking_of::<T>(k);
        // The longest part of the chain (a small product packs one of up to `ONE_CHAIN` whole), and
        // the most columns that any order of the loops packs.
        let kb = k.min(blocking.kc().max(kc).max(ONE_CHAIN));
        let up = |n: usize| n.div_ceil(nr).saturating_mul(nr);
        let at_once = up(blocking.nc().max(plan.caches.streamed::<T>(k.min(blocking.kc())))).saturating_mul(plan.par.threads());
        // Each thread's share is rounded up to whole panels.
        let columns = up(n).saturating_add(nr.saturating_mul(plan.par.threads())).min(at_once);
        ScratchReq::of::<T>(m.saturating_mul(kb)).and(ScratchReq::of::<T>(columns.saturating_mul(kb)))
    };
    one(m, n).or(one(n, m))
}

/// Returns the scratch for the blocks of Δ of an optimizer's update with `n` columns.
pub(crate) fn update_scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    let tiles = T::tiles(plan.isa);
    let columns = n.div_ceil(tiles.nr()).saturating_mul(tiles.nr());
    let half_of_l2 = plan.caches.l2 / (2 * size_of::<T>());
    ScratchReq::of::<T>(columns.saturating_mul(tiles.mr).max(half_of_l2)).times(plan.par.threads())
}

/// Rounds `len` elements up to whole cache lines.
fn line<T>(len: usize) -> usize {
    ScratchReq::of::<T>(len).bytes() / size_of::<T>()
}

/// Chooses the number of threads, and whether each has rows of tiles or panels: the more even cut.
/// Where both are even, threads get panels, and each finds the same panels of B in its cache in
/// every product.
fn split(
    row_tiles: &RowTiles,
    b: OperandSource,
    (m, n, k): (usize, usize, usize),
    nr: usize,
    size: usize,
    plan: &Plan,
) -> (usize, bool) {
    let panels = n.div_ceil(nr);
    let threads = plan.threads_for(m.saturating_mul(n).saturating_mul(k));
    let (by_cols, by_tiles) = (threads.min(panels).max(1), threads.min(row_tiles.count).max(1));
    let largest_cols = panels.div_ceil(by_cols).saturating_mul(nr).min(n).saturating_mul(m);
    let largest_rows = row_tiles.count.div_ceil(by_tiles).saturating_mul(row_tiles.tallest()).min(m).saturating_mul(n);
    // Threads with rows share B. That is free if B is in panels already, or small and read in
    // place.
    let small = k.saturating_mul(n).saturating_mul(size) <= plan.caches.l2 / 2;
    let free = b == OperandSource::Prepacked || (small && b == OperandSource::InPlace);
    let by_rows = largest_rows < if free { largest_cols } else { largest_cols / 8 * 7 };
    (if by_rows { by_tiles } else { by_cols }, by_rows)
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use super::*;
    use crate::base::isa::Isa;
    use crate::base::matrix::MatRef;
    use crate::base::par::Par;
    use crate::plan::blocking::Caches;
    use crate::tile::table::Tiled;

    /// The more even cut; columns where both are even, or nearly so and all threads would pack B.
    #[test]
    fn products_are_split_along_their_longer_side() {
        let caches = Caches { l2: 1 << 20, ..Plan::new().caches };
        let plan = Plan::new().with_caches(caches).with_min_work(1).with_par(Par::team(2).unwrap());
        let split = |(m, n, k): (usize, usize, usize), b| split(&RowTiles::new(m, 8), b, (m, n, k), 10, 4, &plan);
        let (in_place, packed, prepacked) = (OperandSource::InPlace, OperandSource::Packed, OperandSource::Prepacked);
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
        // Fifteen panels: eight of them are 6 % too many. That pays for sharing B where it is free.
        assert_eq!(split((32, 150, 5), prepacked), (2, true));
        assert_eq!(split((32, 150, 5), in_place), (2, true));
        assert_eq!(split((32, 150, 5), packed), (2, false));
        // A B in place that fills half of L2, and one element more.
        let half = (1 << 20) / 2 / 4 / 150;
        assert_eq!(split((32, 150, half), in_place), (2, true));
        assert_eq!(split((32, 150, half + 1), in_place), (2, false));
        assert_eq!(split((32, 150, half + 1), prepacked), (2, true));
    }

    /// The loops and copies that shapes and caches lead to. All give the same bits, so that no other
    /// test sees them.
    #[test]
    fn shapes_and_caches_choose_the_loops() {
        use OperandSource::{InPlace, Packed};
        let tiles = f32::tiles(Isa::PORTABLE);
        let (mr, nr) = (tiles.mr, tiles.nr());
        let caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 16 << 20 };
        let plan = Plan::new().with_isa(Isa::PORTABLE).with_caches(caches).with_min_work(1);
        // Sixteen times 1 MiB of L3, chains of 500: 524 rows of A at a time, 98 columns of B in L2.
        let chain = 500;
        let (mc, nc) = ((1 << 20) / (4 * chain), 512 * 1024 / 8 * 3 / (4 * chain) / nr * nr);
        let memory = vec![0f32; 12_000 * chain.max(1200)];
        let cut = |m: usize, n: usize, k: usize, plan: &Plan| {
            let a = MatRef::new(&memory[..m * k], m, k).unwrap();
            // Rows a few elements longer, so that they do not conflict in L1.
            let b = MatRef::strided(&memory, 0, (k, n), (n as isize + 3, 1)).unwrap();
            Partition::new(&Job::plain(1.0, Left::View(a), Right::View(b), 0.0), plan)
        };
        let sources = |m, n, k| {
            let cut = cut(m, n, k, &plan);
            (cut.rows_first, cut.a, cut.b)
        };
        // Few rows of A and many columns: A stays in L2. Otherwise B does.
        assert_eq!(sources(nc, nc + nr, chain), (false, InPlace, Packed));
        assert_eq!(sources(nc + mr + nr, nc + nr, chain), (true, InPlace, Packed));
        assert_eq!(sources(nc, nc, chain), (true, InPlace, Packed));
        // Long rows of C meet A often.
        assert_eq!(sources(1000, LONG_ROWS, chain), (true, InPlace, Packed));
        assert_eq!(sources(1000, LONG_ROWS + 1, chain), (true, Packed, Packed));
        // Few rows of tiles read B in place: 12, or 5 if it is larger than an eighth of L3.
        assert_eq!(sources(12 * mr, 100, chain).2, InPlace);
        assert_eq!(sources(12 * mr + 1, 100, chain).2, Packed);
        assert_eq!(sources(5 * mr, 1100, chain).2, InPlace);
        assert_eq!(sources(5 * mr + 1, 1100, chain).2, Packed);
        // Rows of A by blocks, if blocks of B meet them again: those of one thread.
        let blocks = |m, n, plan: &Plan| {
            let mut rows: Vec<_> = cut(m, n, chain, plan).stages(Region::Whole).map(|(rows, _)| rows).collect();
            rows.dedup();
            rows.len()
        };
        assert_eq!(blocks(mc + mc / 4, nc + nr, &plan), 1);
        assert_eq!(blocks(3 * mc, nc, &plan), 1);
        assert!((3..=4).contains(&blocks(3 * mc, nc + nr, &plan)));
        let two = plan.clone().with_par(Par::team(2).unwrap());
        assert_eq!(blocks(3 * mc, 2 * nc, &two), 1);
        assert!((3..=4).contains(&blocks(3 * mc, 2 * nc + 2 * nr, &two)));
    }
}
