//! Triangular solves. One routine serves all eight kinds: transposing and reversing the views turns
//! each kind into `L·X = B`, solved by forward substitution.
//!
//! The diagram is in [`crate::guide::triangular`]. Right-hand sides are independent, so threads
//! share them out. Each thread copies its own into panels, whatever the strides of B: unknown by
//! unknown, with contiguous right-hand sides. The register tiles read the solved unknowns as their
//! B and the triangle as their A, in place or packed.
//!
//! Each unknown is one chain of fused multiply-adds in the order of elimination, then one division.
//! These are the bits of the textbook loop. If L has contiguous columns, `trsm_row_major` solves
//! instead: its vectors run along the unknowns.

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::{near_equal, part, parts_of, round_up};
use crate::level3::small_triangle::solve_small_triangle;
use crate::level3::trsm_row_major;
use crate::plan::{Packing, Plan};
use crate::simd::copy::{copy, zeroed};
use crate::tile::strip::{Coefficients, subtract};
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

/// Solves `A·X = α·B` ([`Side::Left`]) or `X·A = α·B` ([`Side::Right`]) for X, in place in `b`.
///
/// ```text
/// x_j = α·b_j
/// for k in the order of elimination { x_j = fma(−x_k, a_jk, x_j) }        a_kj for Side::Right
/// x_j = x_j / a_jj                                                        not with Diag::Unit
/// ```
///
/// The order of elimination is k = 0 .. j for `A·X` with a lower or `X·A` with an upper triangle.
/// Otherwise it is k = n−1 .. j+1, downwards.
///
/// * `triangle`: the half of `a` that is read
/// * `diag`: whether the diagonal of `a` is read and divides ([`Diag::Stored`])
/// * `alpha`: α; 1 changes no bit of B, any other value costs one rounding
/// * `a`: n×n; `a.t()` with [`Triangle::t`] solves with Aᵀ
/// * `b`: n×rhs, or rhs×n for [`Side::Right`]; overwritten by X
///
/// Strides of any sign. Same bits on every instruction set and thread count.
///
/// Work: rhs·n²/2 fused multiply-adds.
/// Error bound: |A·X − α·B| ≤ γ(n+1)·|A|·|X| entrywise.
///
/// # Errors
/// [`Error::Shape`] if sizes differ. [`Error::ZeroPivot`] if a stored diagonal element is 0,
/// [`Error::NonFinite`] if one is infinite or NaN. [`Error::OutOfMemory`] if scratch cannot grow.
/// After an error `b` is unchanged.
///
/// # Examples
/// ```
/// use gaitprop_kernels::trsm::{solve, Diag, Side, Triangle};
/// use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch};
/// let l = [2.0, f64::NAN, 1.0, 4.0];
/// let mut b = [2.0, 9.0];
/// let (a, x) = (MatRef::new(&l, 2, 2)?, MatMut::new(&mut b, 2, 1)?);
/// solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, a, x, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(b, [1.0, 2.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// # References
/// Higham, Accuracy and Stability of Numerical Algorithms, ch. 8. Update and solve of a strip
/// together: BLIS, gemmtrsm.
#[allow(clippy::too_many_arguments)]
pub fn solve<T: Real>(
    side: Side,
    triangle: Triangle,
    diag: Diag,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let n = if side == Side::Left { b.nrows() } else { b.ncols() };
    a.expect_shape("the matrix of a triangular solve", (n, n))?;
    if diag == Diag::Stored {
        check_diagonal(&a)?;
    }
    // X·A = B is Aᵀ·Xᵀ = Bᵀ; an upper triangle read backwards is a lower one.
    let (triangle, a, b) = if side == Side::Left { (triangle, a, b) } else { (triangle.t(), a.t(), b.t()) };
    match triangle {
        Triangle::Lower => forward_substitution(diag, alpha, a, b, plan, scratch),
        Triangle::Upper => forward_substitution(diag, alpha, a.reverse_rows().reverse_cols(), b.reverse_rows(), plan, scratch),
    }
}

/// Returns an error unless every diagonal element is finite and nonzero.
pub(crate) fn check_diagonal<T: Real>(a: &MatRef<'_, T>) -> Result<(), Error> {
    for index in 0..a.nrows() {
        let pivot = a.get(index, index);
        if pivot == T::ZERO {
            return Err(Error::ZeroPivot { index });
        }
        if !pivot.is_finite() {
            return Err(Error::NonFinite { index });
        }
    }
    Ok(())
}

/// Returns the scratch that [`solve`] needs for n unknowns and `rhs` right-hand sides.
pub fn solve_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    let partition = RhsPartition::new::<T>(n, rhs, plan);
    let own = ScratchReq::of::<T>(partition.workspace_len.saturating_mul(partition.threads));
    own.or(trsm_row_major::scratch::<T>(n, rhs, plan))
}

/// The partition of the right-hand sides among threads, and the sizes of each thread's loops.
struct RhsPartition {
    /// Number of threads. Each solves a run of blocks, one after another in the same workspace.
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
}

impl RhsPartition {
    fn new<T: Real>(n: usize, rhs: usize, plan: &Plan) -> Self {
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
        // Each workspace starts on a cache line.
        let workspace_len = n.saturating_mul(lanes).saturating_add(packed_len).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        Self { threads, blocks, vectors, group, mr, chain, workspace_len, packed_len }
    }
}

once! {
    /// Solves `L·X = α·B` in place in `b`. The callers check the shapes and the diagonal.
    pub(crate) fn forward_substitution<T: Real> = forward_substitution_body(
        diag: Diag, alpha: T, l: MatRef<'a, T>, b: MatMut<'a, T>, plan: &'a Plan,
        scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn forward_substitution_body<T: Real>(
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, rhs) = b.shape();
    if b.is_empty() {
        return Ok(());
    }
    if trsm_row_major::applies_to(&l) {
        return trsm_row_major::forward_substitution(diag, alpha, l, b, plan, scratch);
    }
    let partition = RhsPartition::new::<T>(n, rhs, plan);
    let memory = scratch.slice::<T>(partition.workspace_len.saturating_mul(partition.threads))?;
    let len = T::tiles(plan.isa).lanes;
    plan.par.split_with(partition.threads, memory, partition.workspace_len, &|thread, workspace| {
        let (packed, panels) = workspace.split_at_mut(partition.packed_len);
        let packed = zeroed(packed);
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
            block.solve(alpha, x, panels, packed);
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
    packing: Packing,
    /// Number of vectors that hold the block's right-hand sides.
    vectors: usize,
}

impl<T: Real> RhsBlock<'_, T> {
    /// Yields (first lane, number of lanes) of each panel.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let tiles = T::tiles(self.isa);
        near_equal(self.vectors, tiles.panel).map(|(vector, vectors)| (vector * tiles.lanes, vectors * tiles.lanes))
    }

    /// Solves the block in place in `x`. `panels` holds n elements per lane, `packed` one group of
    /// coefficients.
    fn solve(&self, alpha: T, x: MatMut<'_, T>, panels: &mut [T], packed: &mut [T]) {
        self.load(alpha, x.as_ref(), panels);
        for (g0, unknowns) in near_equal(self.l.nrows(), self.partition.group) {
            self.subtract_earlier_groups(g0, unknowns, panels, packed);
            self.solve_group(g0, unknowns, panels, packed);
        }
        self.store(panels, x);
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

    /// Copies the solved panels into `x`.
    fn store(&self, panels: &[T], mut x: MatMut<'_, T>) {
        let (n, rhs) = x.shape();
        for (first, lanes) in self.panels() {
            let live = lanes.min(rhs - first);
            let panel = &panels[n * first..n * (first + lanes)];
            let view = MatRef::strided(panel, 0, (n, live), (lanes as isize, 1)).expect("n × lanes elements");
            copy(self.isa, view, x.rb().cols(first, live));
        }
    }

    /// X[g0 .. g0+unknowns] −= L[g0 .., 0 .. g0] · X[0 .. g0], chunk by chunk of the chain.
    fn subtract_earlier_groups(&self, g0: usize, unknowns: usize, panels: &mut [T], packed: &mut [T]) {
        for (k0, count) in near_equal(g0, self.partition.chain) {
            let l = self.l.block(g0, k0, unknowns, count);
            if self.reads_in_place(&l) {
                for (at, rows) in near_equal(unknowns, self.partition.mr) {
                    self.subtract_solved(g0 + at, k0, Coefficients::of(l.rows(at, rows)), panels);
                }
            } else {
                self.pack(l, packed);
                for (at, rows) in near_equal(unknowns, self.partition.mr) {
                    self.subtract_solved(g0 + at, k0, Coefficients::of(self.packed(packed, at, rows, count)), panels);
                }
            }
        }
    }

    /// Solves a group strip by strip: each strip subtracts the group's earlier strips, then solves
    /// the triangle on the diagonal.
    fn solve_group(&self, g0: usize, unknowns: usize, panels: &mut [T], packed: &mut [T]) {
        let n = self.l.nrows();
        for (at, rows) in near_equal(unknowns, self.partition.mr) {
            let i = g0 + at;
            let l = self.l.block(i, g0, rows, at);
            if at > 0 && readable(&l) {
                self.subtract_solved(i, g0, Coefficients::of(l), panels);
            } else if at > 0 {
                let strip = &mut packed[..rows * at];
                copy(self.isa, l, MatMut::strided(strip, 0, (rows, at), (1, rows as isize)).expect("rows × at elements"));
                let strip = MatRef::strided(packed, 0, (rows, at), (1, rows as isize)).expect("rows × at elements");
                self.subtract_solved(i, g0, Coefficients::of(strip), panels);
            }
            let diagonal = self.l.block(i, i, rows, rows);
            for (first, lanes) in self.panels() {
                let strip = &mut panels[n * first + i * lanes..][..rows * lanes];
                solve_small_triangle(self.isa, diagonal, self.diag, strip, lanes);
            }
        }
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

    /// X[i .. i+rows] −= A · X[k0 .. k0+count] for A = L[i .. i+rows, k0 .. k0+count].
    fn subtract_solved(&self, i: usize, k0: usize, a: Coefficients<T>, panels: &mut [T]) {
        let (n, (rows, count)) = (self.l.nrows(), a.shape());
        for (first, lanes) in self.panels() {
            let panel = &mut panels[n * first..n * (first + lanes)];
            // All solved unknowns precede unknown i.
            let (solved, open) = panel.split_at_mut(i * lanes);
            let (solved, open) = (&solved[k0 * lanes..(k0 + count) * lanes], &mut open[..rows * lanes]);
            // SAFETY: `a` views the triangle, which `self` borrows, or the packed strip, which the
            // caller borrows. `solved` has count × lanes elements and `open` rows × lanes, by the
            // slices above; lanes are whole vectors. The two slices are disjoint, and neither
            // overlaps `a`.
            unsafe { subtract(self.isa, a, solved.as_ptr(), lanes as isize, open.as_mut_ptr(), lanes as isize, lanes) };
        }
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
