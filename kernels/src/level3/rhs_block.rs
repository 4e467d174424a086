//! Right-hand sides of a triangular matrix in panels, which threads share out: the common part of
//! solves and products with a triangle.
//!
//! A panel holds some right-hand sides, unknown by unknown: the register tiles read it as their B,
//! and the triangle as their A, in place or packed.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::{near_equal, part, parts_of, round_up};
use crate::plan::{Packing, Plan};
use crate::simd::copy::{copy, zeroed};
use crate::tile::strip::Coefficients;
use crate::tile::table::Real;

/// Maximum number of unknowns whose coefficients are packed together. 48 elements of a row are
/// whole cache lines. Rows far apart then cost one TLB lookup per group, not one per strip.
const GROUP: usize = 48;

/// Maximum number of unknowns in a strip. 9, the tallest tile of AVX-512, would make groups of 45
/// and split cache lines.
const STRIP: usize = 8;

/// Maximum number of links per pass over the chain. A strip of coefficients (24 KiB of f32 for 6
/// unknowns) then stays in L1 for all panels.
const CHAIN: usize = 1024;

/// Maximum number of right-hand sides in a block. X stays in L2, and each element of the triangle
/// is fetched once for the whole block.
const MAX_RHS: usize = 128;

/// Turns any side and triangle into `L` from the left with a lower triangle, in place in `b`.
///
/// X·A is (Aᵀ·Xᵀ)ᵀ, and an upper triangle read backwards is a lower one.
pub(super) fn as_lower_left<'a, 'b, T: Real>(
    side: Side,
    triangle: Triangle,
    a: MatRef<'a, T>,
    b: MatMut<'b, T>,
) -> (MatRef<'a, T>, MatMut<'b, T>) {
    let (triangle, a, b) = if side == Side::Left { (triangle, a, b) } else { (triangle.t(), a.t(), b.t()) };
    match triangle {
        Triangle::Lower => (a, b),
        Triangle::Upper => (a.reverse_rows().reverse_cols(), b.reverse_rows()),
    }
}

/// What is computed with the triangle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Solve,
    Product,
}

/// The partition of the right-hand sides among threads, and the sizes of each thread's loops.
pub(super) struct RhsPartition {
    /// Number of threads. Each computes a run of blocks, one after another in the same workspace.
    threads: usize,
    /// Number of blocks of right-hand sides.
    blocks: usize,
    /// Number of vectors that hold all right-hand sides.
    vectors: usize,
    /// Maximum number of unknowns in a group.
    group: usize,
    /// Maximum number of unknowns in a strip.
    mr: usize,
    /// Maximum number of links per pass over the chain.
    chain: usize,
    /// Number of elements in a thread's workspace.
    workspace_len: usize,
    /// Number of elements at its front that hold packed coefficients.
    packed_len: usize,
    /// Number of elements behind these that hold the sums of a group, for a product.
    sums_len: usize,
}

impl RhsPartition {
    fn new<T: Real>(n: usize, rhs: usize, operation: Operation, plan: &Plan) -> Self {
        let tiles = T::tiles(plan.isa);
        let vectors = rhs.div_ceil(tiles.lanes);
        let work = n.saturating_mul(n) / 2;
        let threads = plan.threads_for(work.saturating_mul(rhs)).min(vectors).max(1);
        let at_once = (MAX_RHS / tiles.lanes).max(tiles.panel);
        let blocks = threads * parts_of(vectors.div_ceil(threads), at_once);
        let (chain, mr) = (CHAIN, tiles.mr.min(STRIP));
        let (chain, mr) = plan.blocking.map_or((chain, mr), |b| (b.kc(), b.mr().min(mr)));
        let group = (GROUP / mr * mr).min(plan.blocking.map_or(GROUP, |b| b.mc())).max(mr);
        let packed_len = round_up(group.saturating_mul(chain.min(n).max(mr)), 64);
        let lanes = vectors.div_ceil(blocks.max(1)) * tiles.lanes;
        let sums_len = if operation == Operation::Product { round_up(group.saturating_mul(lanes), 64) } else { 0 };
        // Each workspace starts on a cache line.
        let len = n.saturating_mul(lanes).saturating_add(packed_len).saturating_add(sums_len);
        let workspace_len = len.checked_next_multiple_of(64).unwrap_or(usize::MAX);
        Self { threads, blocks, vectors, group, mr, chain, workspace_len, packed_len, sums_len }
    }
}

/// Returns the scratch that [`for_each_block`] needs for n unknowns and `rhs` right-hand sides.
pub(super) fn scratch<T: Real>(n: usize, rhs: usize, operation: Operation, plan: &Plan) -> ScratchReq {
    let partition = RhsPartition::new::<T>(n, rhs, operation, plan);
    ScratchReq::of::<T>(partition.workspace_len.saturating_mul(partition.threads))
}

/// The buffers of a block.
pub(super) struct Buffers<'a, T> {
    /// The right-hand sides, panel by panel.
    pub(super) panels: &'a mut [T],
    /// Coefficients of a group, for [`RhsBlock::for_earlier_groups`].
    pub(super) packed: &'a mut [T],
    /// A group of panels, for a product.
    pub(super) sums: &'a mut [T],
}

/// Loads α·B into panels, block by block, runs `compute` on each block, and stores the panels
/// in B.
#[allow(clippy::too_many_arguments)]
pub(super) fn for_each_block<T: Real>(
    operation: Operation,
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
    compute: &(dyn Fn(&RhsBlock<'_, T>, &mut Buffers<'_, T>) + Sync),
) -> Result<(), Error> {
    let (n, rhs) = b.shape();
    let partition = RhsPartition::new::<T>(n, rhs, operation, plan);
    let memory = scratch.slice::<T>(partition.workspace_len.saturating_mul(partition.threads))?;
    let len = T::tiles(plan.isa).lanes;
    plan.par.split_with(partition.threads, memory, partition.workspace_len, &|thread, workspace| {
        let (packed, rest) = workspace.split_at_mut(partition.packed_len);
        let (sums, panels) = rest.split_at_mut(partition.sums_len);
        let (packed, sums) = (zeroed(packed), zeroed(sums));
        let (first, count) = part(partition.blocks, partition.threads, thread);
        for block in first..first + count {
            let (vector, vectors) = part(partition.vectors, partition.blocks, block);
            if vectors == 0 {
                continue;
            }
            let (at, lanes) = (vector * len, (vectors * len).min(rhs - vector * len));
            // SAFETY: blocks are disjoint columns of B, and `part` gives each block to one thread.
            let x = unsafe { b.alias() }.cols(at, lanes);
            let panels = zeroed(&mut panels[..n * vectors * len]);
            let block = RhsBlock { l, diag, partition: &partition, isa: plan.isa, packing: plan.packing, vectors };
            block.load(alpha, x.as_ref(), panels);
            compute(&block, &mut Buffers { panels, packed, sums });
            block.store(panels, x);
        }
    });
    Ok(())
}

/// A block of right-hand sides, which one thread computes.
pub(super) struct RhsBlock<'a, T> {
    pub(super) l: MatRef<'a, T>,
    pub(super) diag: Diag,
    partition: &'a RhsPartition,
    pub(super) isa: Isa,
    packing: Packing,
    /// Number of vectors that hold the block's right-hand sides.
    vectors: usize,
}

impl<T: Real> RhsBlock<'_, T> {
    /// Yields (first lane, number of lanes) of each panel.
    pub(super) fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let tiles = T::tiles(self.isa);
        near_equal(self.vectors, tiles.panel).map(|(vector, vectors)| (vector * tiles.lanes, vectors * tiles.lanes))
    }

    /// Yields (first unknown, number of unknowns) of each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        near_equal(self.l.nrows(), self.partition.group)
    }

    /// Yields (first unknown in the group, number of unknowns) of each strip of a group.
    pub(super) fn strips(&self, unknowns: usize) -> impl Iterator<Item = (usize, usize)> {
        near_equal(unknowns, self.partition.mr)
    }

    /// Copies α·B into the panels.
    fn load(&self, alpha: T, b: MatRef<'_, T>, panels: &mut [T]) {
        let (n, rhs) = b.shape();
        for (first, lanes) in self.panels() {
            let panel = &mut panels[n * first..n * (first + lanes)];
            let live = lanes.min(rhs - first);
            let view = MatMut::strided(panel, 0, (n, live), (lanes as isize, 1)).expect("n × lanes elements");
            copy(self.isa, b.cols(first, live), view);
            if alpha != T::ONE {
                panel.iter_mut().for_each(|v| *v = alpha * *v);
            }
        }
    }

    /// Copies the panels into `x`.
    fn store(&self, panels: &[T], mut x: MatMut<'_, T>) {
        let (n, rhs) = x.shape();
        for (first, lanes) in self.panels() {
            let live = lanes.min(rhs - first);
            let panel = &panels[n * first..n * (first + lanes)];
            let view = MatRef::strided(panel, 0, (n, live), (lanes as isize, 1)).expect("n × lanes elements");
            copy(self.isa, view, x.rb().cols(first, live));
        }
    }

    /// Calls `strip` with the coefficients of each strip of a group on the unknowns before the
    /// group, in increasing order for each strip. Its arguments are the strip's first unknown in the
    /// group and the first unknown of the coefficients.
    pub(super) fn for_earlier_groups(
        &self,
        (g0, unknowns): (usize, usize),
        packed: &mut [T],
        strip: &mut dyn FnMut(usize, usize, Coefficients<T>),
    ) {
        for (k0, count) in near_equal(g0, self.partition.chain) {
            let l = self.l.block(g0, k0, unknowns, count);
            let in_place = self.reads_in_place(&l);
            if !in_place {
                self.pack(l, packed);
            }
            for (at, rows) in self.strips(unknowns) {
                let coefficients = if in_place { l.rows(at, rows) } else { self.packed(packed, at, rows, count) };
                strip(at, k0, Coefficients::of(coefficients));
            }
        }
    }

    /// Calls `use_them` with the coefficients of one strip on the unknowns before it in its group.
    pub(super) fn with_earlier_strips(
        &self,
        g0: usize,
        (at, rows): (usize, usize),
        packed: &mut [T],
        use_them: impl FnOnce(Coefficients<T>),
    ) {
        if at == 0 {
            return;
        }
        let l = self.l.block(g0 + at, g0, rows, at);
        if readable(&l) {
            return use_them(Coefficients::of(l));
        }
        let strip = &mut packed[..rows * at];
        copy(self.isa, l, MatMut::strided(strip, 0, (rows, at), (1, rows as isize)).expect("rows × at elements"));
        use_them(Coefficients::of(MatRef::strided(strip, 0, (rows, at), (1, rows as isize)).expect("rows × at elements")));
    }

    /// Packs a group's coefficients strip by strip: the elements of one column of a strip are
    /// contiguous.
    fn pack(&self, l: MatRef<'_, T>, packed: &mut [T]) {
        let (unknowns, count) = l.shape();
        for (at, rows) in near_equal(unknowns, self.partition.mr) {
            let strip = &mut packed[at * count..][..rows * count];
            let strip = MatMut::strided(strip, 0, (rows, count), (1, rows as isize)).expect("rows × count elements");
            copy(self.isa, l.rows(at, rows), strip);
        }
    }

    /// Returns the strip of rows at .. at + rows that [`RhsBlock::pack`] wrote.
    fn packed<'p>(&self, packed: &'p [T], at: usize, rows: usize, count: usize) -> MatRef<'p, T> {
        MatRef::strided(packed, at * count, (rows, count), (1, rows as isize)).expect("packed by `pack`")
    }

    /// Returns whether the tiles read a group's coefficients in place.
    fn reads_in_place(&self, l: &MatRef<'_, T>) -> bool {
        // Each thread would pack for itself, which costs more than the stalls it avoids. The
        // exception is a stride that maps all rows or columns to a few sets of L1.
        let largest_stride = l.rs().unsigned_abs().max(l.cs().unsigned_abs()) * size_of::<T>();
        let conflict_in_l1 = largest_stride.is_multiple_of(1024) && l.nrows() > 1;
        match self.packing {
            Packing::Always => false,
            Packing::Avoid => readable(l),
            Packing::Auto => readable(l) && (!conflict_in_l1 || self.vectors <= T::tiles(self.isa).panel),
        }
    }
}

/// Returns whether a tile reads `l` efficiently in place: one of its strides is 1.
fn readable<T>(l: &MatRef<'_, T>) -> bool {
    l.rs() == 1 || l.nrows() <= 1 || l.cs() == 1
}
