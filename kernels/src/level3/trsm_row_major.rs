//! Forward substitution `L·X = α·B` for an L with contiguous columns. This is X·A = B with
//! row-major U or L: a batch of row vectors that passes through the factors of a layer.
//!
//! The diagram is in [`crate::guide::triangular`]. Vectors run along the unknowns, and the tiles
//! read the triangle in place as their B. The panel's own triangle is solved on a transposed copy,
//! with vectors across the right-hand sides.
//!
//! The solve is left-looking: the chains of a panel run over all solved unknowns at once, in
//! registers. Its product is that of a forward pass. Only X is packed, whatever
//! [`Packing`](crate::Packing) says.

use crate::base::error::Error;
use crate::base::flags::Diag;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::{RowTiles, near_equal_units, part, parts_of, round_up};
use crate::level3::small_triangle::solve_small_triangle;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::tile::strip::{Coefficients, Column, subtract_column};
use crate::tile::table::Real;
use core::mem::MaybeUninit;

/// Maximum number of right-hand sides in a block. 784 solved unknowns of 96 right-hand sides are
/// 300 KB of f32, which stay in L2.
const MAX_RHS: usize = 96;

/// The small triangle gets a multiple of this many lanes: enough divisions to hide each other's
/// latency.
const LANE_MULTIPLE: usize = 32;

/// Returns whether this module solves with `l`: the elements of a column are contiguous, in either
/// direction.
pub(super) fn applies_to<T: Real>(l: &MatRef<'_, T>) -> bool {
    l.rs().unsigned_abs() == 1 && l.nrows() > 1
}

/// The partition of the right-hand sides among threads, and the sizes of each thread's buffers.
struct RhsPartition {
    /// Number of threads. Each solves a run of blocks.
    threads: usize,
    /// Number of blocks of right-hand sides.
    blocks: usize,
    /// Maximum number of unknowns in a panel.
    nr: usize,
    /// Maximum number of right-hand sides in a strip.
    mr: usize,
    /// Number of elements of [`Buffers::solved`].
    solved_len: usize,
    /// Number of elements of [`Buffers::panel_by_unknown`], and of [`Buffers::panel_by_rhs`].
    panel_len: usize,
    /// Number of elements of [`Buffers::edge`].
    edge_len: usize,
}

impl RhsPartition {
    fn new<T: Real>(n: usize, rhs: usize, plan: &Plan) -> Self {
        let tiles = T::tiles(plan.isa);
        let mr = plan.blocking.map_or(tiles.mr, |b| b.mr().min(tiles.mr));
        let work = n.saturating_mul(n) / 2;
        let threads = plan.threads_for(work.saturating_mul(rhs)).min(rhs.div_ceil(mr)).max(1);
        let most = plan.blocking.map_or(MAX_RHS, |b| b.mc().max(mr));
        let blocks = threads * parts_of(rhs.div_ceil(threads), most);
        let block_rhs = rhs.div_ceil(blocks.max(1));
        let nr = tiles.nr();
        let lines = |len: usize| len.checked_next_multiple_of(64).unwrap_or(usize::MAX);
        Self {
            threads,
            blocks,
            nr,
            mr,
            solved_len: lines(n.saturating_mul(block_rhs)),
            panel_len: lines(round_up(block_rhs, LANE_MULTIPLE).saturating_mul(nr)),
            edge_len: lines(n.saturating_mul(nr)),
        }
    }

    /// Returns the number of elements in a thread's workspace.
    fn workspace_len(&self) -> usize {
        self.solved_len.saturating_add(self.panel_len.saturating_mul(2)).saturating_add(self.edge_len)
    }
}

/// Returns the scratch that [`forward_substitution`] needs.
pub(super) fn scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    let partition = RhsPartition::new::<T>(n, rhs, plan);
    ScratchReq::of::<T>(partition.workspace_len().saturating_mul(partition.threads))
}

/// Solves `L·X = α·B` in place in `b`, for an L that [`applies_to`] accepts.
pub(super) fn forward_substitution<T: Real>(
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, rhs) = b.shape();
    let partition = RhsPartition::new::<T>(n, rhs, plan);
    let workspace_len = partition.workspace_len();
    let memory = scratch.slice::<T>(workspace_len.saturating_mul(partition.threads))?;
    plan.par.split_with(partition.threads, memory, workspace_len, &|thread, workspace| {
        let mut buffers = Buffers::new(workspace, &partition);
        let (first, count) = part(partition.blocks, partition.threads, thread);
        for block in first..first + count {
            let (at, block_rhs) = part(rhs, partition.blocks, block);
            if block_rhs == 0 {
                continue;
            }
            // SAFETY: blocks are disjoint columns of B, and `part` gives each block to one thread.
            let b = unsafe { b.alias() }.cols(at, block_rhs);
            RhsBlock { l, diag, partition: &partition, isa: plan.isa, rhs: block_rhs }.solve(alpha, b, &mut buffers);
        }
    });
    Ok(())
}

/// A block of right-hand sides, which one thread solves.
struct RhsBlock<'a, T> {
    l: MatRef<'a, T>,
    diag: Diag,
    partition: &'a RhsPartition,
    isa: Isa,
    /// Number of right-hand sides in the block.
    rhs: usize,
}

/// The buffers of one thread.
struct Buffers<'a, T> {
    /// X of the solved unknowns, packed: strip by strip, unknown by unknown.
    solved: &'a mut [MaybeUninit<T>],
    /// The unknowns of a panel, one row per unknown: contiguous right-hand sides.
    panel_by_unknown: &'a mut [T],
    /// The unknowns of a panel, one row per right-hand side: contiguous unknowns. Used where B
    /// itself has another layout.
    panel_by_rhs: &'a mut [T],
    /// Coefficients of a panel that does not end in a whole vector.
    edge: &'a mut [MaybeUninit<T>],
}

impl<'a, T: Real> Buffers<'a, T> {
    /// Splits a workspace of [`RhsPartition::workspace_len`] elements.
    fn new(workspace: &'a mut [MaybeUninit<T>], partition: &RhsPartition) -> Self {
        let (solved, rest) = workspace.split_at_mut(partition.solved_len);
        let (panel_by_unknown, rest) = rest.split_at_mut(partition.panel_len);
        let (panel_by_rhs, edge) = rest.split_at_mut(partition.panel_len);
        Self { solved, panel_by_unknown: zeroed(panel_by_unknown), panel_by_rhs: zeroed(panel_by_rhs), edge }
    }
}

impl<T: Real> RhsBlock<'_, T> {
    /// Solves the block in place in `b`, panel by panel.
    fn solve(&self, alpha: T, mut b: MatMut<'_, T>, buffers: &mut Buffers<'_, T>) {
        let lanes = self.lanes();
        let row_tiles = RowTiles::new(self.rhs, self.partition.mr);
        buffers.panel_by_unknown.fill(T::ZERO);
        for (at, unknowns) in near_equal_units(self.l.nrows(), self.partition.nr, T::tiles(self.isa).lanes) {
            let mut x = b.rb().rows(at, unknowns);
            self.subtract_earlier_panels(at, alpha, x.rb(), row_tiles, buffers);
            let panel = &mut buffers.panel_by_unknown[..unknowns * lanes];
            solve_small_triangle(self.isa, self.l.block(at, at, unknowns, unknowns), self.diag, panel, lanes);
            copy(self.isa, self.transposed_panel(panel, unknowns).as_ref(), x);
            self.pack_solved(at, unknowns, row_tiles, buffers);
        }
    }

    /// Computes α·B minus the contribution of all solved unknowns, for the unknowns from `at` on,
    /// into `panel_by_unknown`. `x` holds B and may be overwritten.
    fn subtract_earlier_panels(
        &self,
        at: usize,
        alpha: T,
        mut x: MatMut<'_, T>,
        row_tiles: RowTiles,
        buffers: &mut Buffers<'_, T>,
    ) {
        let (unknowns, nr) = (x.nrows(), self.partition.nr);
        let panel = &mut buffers.panel_by_unknown[..unknowns * self.lanes()];
        if x.rs() == self.l.rs() {
            // B has contiguous unknowns in the order of L: the tiles update it in place.
            scale(alpha, x.rb());
            let (first, step) = (self.first_in_memory(x.rb()), x.cs());
            // SAFETY: `x` borrows these unknowns of `rhs` right-hand sides mutably, contiguous and
            // in the order of L, as the branch condition states.
            unsafe { self.subtract_solved(at, unknowns, row_tiles, buffers.solved, buffers.edge, first, step) };
            copy(self.isa, x.as_ref(), self.transposed_panel(panel, unknowns));
        } else {
            let (first, step) = if self.is_reversed() { (unknowns - 1, -1) } else { (0, 1) };
            let shape = (unknowns, self.rhs);
            let mut by_rhs = MatMut::strided(buffers.panel_by_rhs, first, shape, (step, nr as isize))
                .expect("NR elements per right-hand side");
            copy(self.isa, x.as_ref(), by_rhs.rb());
            scale(alpha, by_rhs.rb());
            let first = self.first_in_memory(by_rhs.rb());
            // SAFETY: `by_rhs` borrows NR ≥ unknowns contiguous elements of scratch for each
            // right-hand side, in the order of L by the choice of `step`.
            unsafe { self.subtract_solved(at, unknowns, row_tiles, buffers.solved, buffers.edge, first, nr as isize) };
            copy(self.isa, by_rhs.as_ref(), self.transposed_panel(panel, unknowns));
        }
    }

    /// Packs the panel's solved unknowns after the earlier ones, in each strip of right-hand sides.
    fn pack_solved(&self, at: usize, unknowns: usize, row_tiles: RowTiles, buffers: &mut Buffers<'_, T>) {
        let (n, lanes) = (self.l.nrows(), self.lanes());
        let panel = &buffers.panel_by_unknown[..unknowns * lanes];
        for t in 0..row_tiles.count {
            let (row, rows) = row_tiles.tile(t);
            let dst = &mut buffers.solved[n * row + at * rows..][..unknowns * rows];
            let src = &panel[row..];
            // SAFETY: `src` holds `unknowns` rows of `lanes` elements without the first `row`
            // elements, and row + rows ≤ rhs ≤ lanes. `dst` holds unknowns × rows elements, sliced
            // above.
            unsafe { pack_steps(src.as_ptr(), lanes as isize, dst.as_mut_ptr().cast(), rows, unknowns) };
        }
    }

    /// Returns the number of lanes per unknown in [`Buffers::panel_by_unknown`].
    fn lanes(&self) -> usize {
        self.rhs.next_multiple_of(LANE_MULTIPLE)
    }

    /// Returns a view of `panel_by_unknown` as a matrix, unknowns × rhs.
    fn transposed_panel<'x>(&self, panel: &'x mut [T], unknowns: usize) -> MatMut<'x, T> {
        MatMut::strided(panel, 0, (unknowns, self.rhs), (self.lanes() as isize, 1)).expect("`lanes` elements per unknown")
    }

    /// Returns whether the unknowns have descending addresses.
    fn is_reversed(&self) -> bool {
        self.l.rs() == -1
    }

    /// Returns the lowest address among the unknowns of the first right-hand side in `x`.
    fn first_in_memory(&self, mut x: MatMut<'_, T>) -> *mut T {
        let last = (x.nrows() - 1) as isize;
        x.as_mut_ptr().wrapping_offset(if self.is_reversed() { -last } else { 0 })
    }

    /// X[at .. at+unknowns] −= L[at .. at+unknowns, 0 .. at] · X[0 .. at].
    ///
    /// # Safety
    /// `c` points to the first right-hand side of the block; the others follow at stride `rs`. Each
    /// has `unknowns` contiguous writable elements, which hold the unknowns from `at` on in the
    /// order of L's addresses.
    #[allow(clippy::too_many_arguments)]
    unsafe fn subtract_solved(
        &self,
        at: usize,
        unknowns: usize,
        row_tiles: RowTiles,
        solved: &[MaybeUninit<T>],
        edge: &mut [MaybeUninit<T>],
        mut c: *mut T,
        rs: isize,
    ) {
        if at == 0 {
            return;
        }
        let (n, nr) = (self.l.nrows(), self.partition.nr);
        // The panel's rows of L, transposed, with ascending addresses along a row.
        let l = self.l.block(at, 0, unknowns, at);
        let u = if self.is_reversed() { l.reverse_rows() } else { l }.t();
        let whole = unknowns.is_multiple_of(T::tiles(self.isa).lanes);
        let (b, b_step, next) = if whole {
            // The next panel starts after this one, or before it if reversed. After the last panel
            // nothing is prefetched.
            let ahead = if self.is_reversed() { -(nr as isize) } else { unknowns as isize };
            (u.as_ptr(), u.rs(), (at + unknowns < n).then(|| u.as_ptr().wrapping_offset(ahead)))
        } else {
            let edge = zeroed(&mut edge[..at * nr]);
            copy(self.isa, u, MatMut::strided(edge, 0, (at, unknowns), (nr as isize, 1)).expect("NR elements per step"));
            (edge.as_ptr(), nr as isize, None)
        };
        let (mut row, mut below) = (0, row_tiles.count);
        // All tiles of one height in one call.
        for (count, rows) in row_tiles.runs() {
            if count == 0 {
                continue;
            }
            below -= count;
            let a = Coefficients::packed(solved[n * row..][..count * rows * n].as_ptr().cast(), rows, at);
            let total = row_tiles.count;
            let column = Column { count, total, below, ps_a: (n * rows) as isize, next };
            // SAFETY: `a` and the strips after it lie in `solved`, n × rows elements each, sliced
            // above; `pack_solved` wrote the first `at` × rows of each. B holds `at` steps of whole
            // vectors: in the triangle if `whole`, else in `edge`. C is writable by this function's
            // contract. The borrows of `solved`, `edge` and the triangle are disjoint from C.
            unsafe { subtract_column(self.isa, a, column, b, b_step, c, rs, unknowns) };
            c = c.wrapping_offset((count * rows) as isize * rs);
            row += count * rows;
        }
    }
}

/// Multiplies `x` by α, one rounding per element. α = 1 leaves `x` untouched.
fn scale<T: Real>(alpha: T, mut x: MatMut<'_, T>) {
    if alpha != T::ONE {
        for i in 0..x.nrows() {
            for j in 0..x.ncols() {
                x.set(i, j, alpha * x.get(i, j));
            }
        }
    }
}

/// Packs `count` steps of `rows` contiguous elements, which lie `s` apart, one after another.
///
/// # Safety
/// These elements are readable, and count · rows elements of `dst` are writable.
unsafe fn pack_steps<T: Real>(src: *const T, s: isize, dst: *mut T, rows: usize, count: usize) {
    for k in 0..count {
        // SAFETY: k < count, so both places are inside the elements that this function's contract
        // names. An array needs no more alignment than its elements.
        unsafe {
            let (from, to) = (src.offset(k as isize * s), dst.add(k * rows));
            if (4..=8).contains(&rows) {
                // Two overlapping moves of a fixed length are cheaper than a loop.
                let (low, high) = (*from.cast::<[T; 4]>(), *from.add(rows - 4).cast::<[T; 4]>());
                *to.cast::<[T; 4]>() = low;
                *to.add(rows - 4).cast::<[T; 4]>() = high;
            } else {
                for i in 0..rows {
                    *to.add(i) = *from.add(i);
                }
            }
        }
    }
}
