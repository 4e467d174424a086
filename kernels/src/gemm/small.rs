//! Small products, for which blocking costs more than it saves: a plain loop over the tiles.
//!
//! ```text
//!   C, row-major                      B, in place                A, in place
//!   ┌──────┬──────┬───┐               ┌──────┬──────┬───┐        ┌──────────┐
//!   │ 1    │ 4    │ 7 │ ≤ MR rows     │      │      │ r │  k     │          │ ≤ MR rows
//!   ├──────┼──────┼───┤               │  NR  │  NR  │ a │        ├──────────┤
//!   │ 2    │ 5    │ 8 │               │      │      │ g │        │    k     │
//!   ├──────┼──────┼───┤               └──────┴──────┴───┘        ├──────────┤
//!   │ 3    │ 6    │ 9 │   tiles in the order of their numbers    │          │
//!   └──────┴──────┴───┘                                          └──────────┘
//! ```
//!
//! Operands that a tile cannot read are copied first: the last columns of B if they end inside a
//! vector (no load passes the end of a row), a B whose rows are not contiguous, an A that α scales.
//! [`Small::new`] decides from α, shapes and strides only, so a batch of equal products decides
//! once.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::ScratchReq;
use crate::base::split::{RowTiles, round_up};
use crate::gemm::job::{Job, Region};
use crate::pack::operand::{Left, Right};
use crate::pack::panel::pack_columns;
use crate::plan::blocking::ONE_CHAIN;
use crate::plan::{Packing, Plan, conflict_in_l1};
use crate::tile::micro_kernel::{AStrides, Prefetch, TileArgs, TileFn};
use crate::tile::table::{Real, Tiles};
use core::mem::MaybeUninit;

/// How a small product is computed, without the addresses of its operands.
pub(crate) struct Small<T: 'static> {
    shape: (usize, usize, usize),
    /// Strides of the operands.
    strides: Strides,
    row_tiles: RowTiles,
    /// Columns of tiles by kind, from the widest to the narrowest.
    columns: [Columns<T>; 3],
    tiles: &'static Tiles<T>,
    pack_a: bool,
    b: RightSource,
}

/// Strides of A, of B (`None` if it is prepacked), and of C.
type Strides = ((isize, isize), Option<(isize, isize)>, (isize, isize));

/// Columns of tiles of one kind.
struct Columns<T> {
    /// Number of columns of tiles.
    count: usize,
    /// Number of columns of C in each.
    cols: usize,
    /// The tiles of both heights, in the order of [`RowTiles::runs`]; `None` if `count` is 0.
    run: Option<[TileFn<T>; 2]>,
}

/// The source from which the tiles read B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RightSource {
    InPlace,
    /// In place, except the last panel, which ends inside a vector and is copied.
    RaggedLast,
    /// Panels packed for this product.
    Packed,
    /// Panels that the caller has prepacked.
    Prepacked,
}

impl<T: Real> Small<T> {
    /// Returns `None` if the blocked loops suit the job better, or if the plan selects them by its
    /// blocking or packing.
    pub(crate) fn new(job: &Job<'_, T>, c: &MatMut<'_, T>, plan: &Plan) -> Option<Self> {
        let Left::View(a) = &job.a else { return None };
        let (m, n, k) = job.shape();
        if plan.blocking.is_some()
            || plan.packing == Packing::Always
            || job.region != Region::Whole
            || !c.has_contiguous_rows()
            || m * n == 0
        {
            return None;
        }
        // A longer chain needs more scratch than the blocked loops, for which callers reserve.
        if k > ONE_CHAIN || m > ONE_CHAIN || n > ONE_CHAIN || job.epilogue.update().is_some() {
            return None;
        }
        // No overflow: each factor is at most ONE_CHAIN.
        let bytes = (m * k + k * n + m * n) * size_of::<T>();
        if bytes > max_bytes(plan) || plan.par.threads() > 1 && m * n * k / 2 >= plan.min_work() {
            return None;
        }
        let tiles = T::tiles(plan.isa);
        let nr = tiles.nr();
        let in_place = |b: &MatRef<'_, T>| b.cs() == 1 && !conflict_in_l1(b.rs(), k, 16, size_of::<T>());
        let (b, b_strides) = match &job.b {
            Right::Panels(_) => (RightSource::Prepacked, None),
            Right::Generated(_) => return None,
            Right::View(b) => {
                let source = match tiles.whole_vectors(n) {
                    true if in_place(b) => RightSource::InPlace,
                    _ if in_place(b) || n <= nr => RightSource::RaggedLast,
                    _ => RightSource::Packed,
                };
                (source, Some((b.rs(), b.cs())))
            }
        };
        let pack_a = !job.a_readable();
        let negated = job.alpha == -T::ONE && !pack_a;
        // Heights are nearly equal. A tile of one or two rows has too few chains to hide their
        // latency.
        let row_tiles = RowTiles::new(m, tiles.mr);
        let (low, high) = (row_tiles.rows, row_tiles.tallest());
        // A tile that subtracts spans one panel.
        let span = if negated { nr } else { tiles.panels(low).min(tiles.panels(high)) * nr };
        let (spans, rest) = if span > nr { divide(n, span) } else { (0, n) };
        let (panels, rest) = divide(rest, nr);
        let columns = |count: usize, cols: usize| {
            let both = || [high, low].map(|rows| tiles.get(rows, tiles.vectors(cols), negated));
            Columns { count, cols, run: (count > 0).then(both) }
        };
        Some(Self {
            shape: (m, n, k),
            strides: ((a.rs(), a.cs()), b_strides, (c.rs(), c.cs())),
            row_tiles,
            columns: [columns(spans, span), columns(panels, nr), columns(usize::from(rest > 0), rest)],
            tiles,
            pack_a,
            b,
        })
    }

    /// Returns whether the job has the shapes and strides of this product. The caller keeps plan
    /// and α.
    #[inline]
    pub(crate) fn matches(&self, job: &Job<'_, T>, c: &MatMut<'_, T>) -> bool {
        let Left::View(a) = &job.a else { return false };
        let (m, n, k) = self.shape;
        let b_strides = if let Right::View(b) = &job.b { Some((b.rs(), b.cs())) } else { None };
        let shapes = a.shape() == (m, k) && job.b.shape() == (k, n) && c.shape() == (m, n);
        shapes && ((a.rs(), a.cs()), b_strides, (c.rs(), c.cs())) == self.strides
    }

    /// Returns the number of columns of a panel.
    #[inline(always)]
    fn nr(&self) -> usize {
        self.tiles.nr()
    }

    /// Returns the elements of scratch, at most those of the blocked loops.
    pub(crate) fn workspace_len(&self) -> usize {
        let (_, n, k) = self.shape;
        let b = match self.b {
            RightSource::InPlace | RightSource::Prepacked => 0,
            RightSource::RaggedLast => self.nr() * k,
            RightSource::Packed => round_up(n, self.nr()).saturating_mul(k),
        };
        self.a_len() + b
    }

    /// Returns the elements of a packed A, rounded up to whole cache lines.
    fn a_len(&self) -> usize {
        let (m, _, k) = self.shape;
        if self.pack_a { ScratchReq::of::<T>(m * k).bytes() / size_of::<T>() } else { 0 }
    }

    /// Computes a product whose shapes, strides and α match. `workspace` holds at least
    /// [`Small::workspace_len`] elements.
    #[inline]
    pub(crate) fn run(&self, job: &Job<'_, T>, mut c: MatMut<'_, T>, workspace: &mut [MaybeUninit<T>], isa: Isa) {
        let Left::View(a) = job.a else { unreachable!("`new` accepts only a view of A") };
        let (_, n, k) = self.shape;
        assert!(self.matches(job, &c), "the product has another shape or layout");
        let (a_buffer, b_buffer) = workspace.split_at_mut(self.a_len());
        if self.pack_a {
            for (i, rows) in (0..self.row_tiles.count).map(|t| self.row_tiles.tile(t)) {
                job.a.pack((i, rows), (0, k), job.alpha, &mut a_buffer[i * k..(i + rows) * k], isa);
            }
        }
        // First element of A, and the distance between its rows.
        let (a_first, row_of_a) = if self.pack_a { (a_buffer.as_ptr().cast(), k as isize) } else { (a.as_ptr(), a.rs()) };
        let (b_first, rs_b, ps_b) = self.b_at(job, b_buffer, isa);
        let (beta, start, rs_start) = job.start.of_block((0, 0), c.as_ref());
        let (c_first, rs_c) = (c.as_mut_ptr(), c.rs());
        let mut j = 0;
        for columns in &self.columns {
            let Some(run) = columns.run else { continue };
            for _ in 0..columns.count {
                let panels = (j / self.nr()) as isize;
                let (mut b, mut rs_b) = (b_first.wrapping_offset(panels.wrapping_mul(ps_b)), rs_b);
                if self.b == RightSource::RaggedLast && j + columns.cols == n {
                    let Right::View(whole) = &job.b else { unreachable!("only a view has a ragged panel") };
                    self.copy_panel(*whole, j, columns.cols, &mut b_buffer[..self.nr() * k], isa);
                    (b, rs_b) = (b_buffer.as_ptr().cast::<T>(), self.nr() as isize);
                }
                let mut i = 0;
                for ((count, rows), run) in self.row_tiles.runs().into_iter().zip(run) {
                    if count == 0 {
                        continue;
                    }
                    // Wrapping: a view with one row may have any row stride.
                    let at = |rs: isize| (i as isize).wrapping_mul(rs).wrapping_add(j as isize);
                    let (rs_a, cs_a) = if self.pack_a { (1, rows as isize) } else { (a.rs(), a.cs()) };
                    let args = TileArgs {
                        kc: k,
                        count,
                        a: a_first.wrapping_offset((i as isize).wrapping_mul(row_of_a)),
                        a_strides: AStrides::new::<T>(rs_a, cs_a),
                        next_a: (rows as isize).wrapping_mul(row_of_a),
                        next_b: 0,
                        next_start: (rows as isize).wrapping_mul(rs_start),
                        next_c: (rows as isize).wrapping_mul(rs_c),
                        b,
                        rs_b,
                        ps_b,
                        start: start.wrapping_offset(at(rs_start)),
                        rs_start,
                        beta,
                        c: c_first.wrapping_offset(at(rs_c)),
                        rs_c,
                        cols: columns.cols,
                        // All operands are in L1 or L2.
                        fetch: &Prefetch::NONE,
                    };
                    // SAFETY: the tile comes from the table of an `Isa`, so the CPU has that
                    // instruction set. Its rows and columns lie in C, and in S, which has C's
                    // shape: the heights that `new` chose add up to m, and the widths to n. A and B
                    // contain them for k steps: A and B are views of m×k and k×n (asserted above)
                    // or panels filled above. B is read in place only in whole vectors. C is an
                    // exclusive view.
                    unsafe { run(&args) };
                    i += rows * count;
                }
                j += columns.cols;
            }
        }
        // All of C is in L1 or L2, so the epilogue runs over all of it.
        // SAFETY: the epilogue was checked for the product's shape, and `c` is an exclusive view.
        unsafe { job.epilogue.apply(isa, (0, 0), c) };
    }

    /// Returns a pointer to B, packed if necessary, the stride of k, and the stride of panels.
    fn b_at(&self, job: &Job<'_, T>, buffer: &mut [MaybeUninit<T>], isa: Isa) -> (*const T, isize, isize) {
        let (_, n, k) = self.shape;
        let nr = self.nr();
        match (&job.b, self.b) {
            (Right::Panels(b), _) => b.at(0, 0),
            (Right::View(b), RightSource::Packed) => {
                // k = 0 gives no panels.
                let panels = buffer[..n.next_multiple_of(nr) * k].chunks_exact_mut((nr * k).max(1));
                for (p, panel) in panels.enumerate() {
                    self.copy_panel(*b, p * nr, nr.min(n - p * nr), panel, isa);
                }
                (buffer.as_ptr().cast::<T>(), nr as isize, (nr * k) as isize)
            }
            (Right::View(b), _) => (b.as_ptr(), b.rs(), nr as isize),
            (Right::Generated(_), _) => unreachable!("`new` accepts only a view or panels of B"),
        }
    }
}

/// Returns the maximum size of all three matrices together, in bytes. In larger products the
/// startup of the blocked loops, a few hundred cycles, is less than 1 %.
///
/// A quarter of L3 is what a blocked product packs of B at most (`Caches::streamed`), and its scratch
/// must do for a small one.
fn max_bytes(plan: &Plan) -> usize {
    (plan.caches.l2.min(plan.caches.l3) / 4).min(128 << 10)
}

/// Returns quotient and remainder of numbers below 2³², which many CPUs divide faster than 64-bit
/// numbers.
#[inline(always)]
fn divide(a: usize, b: usize) -> (usize, usize) {
    let (a, b) = (a as u32, b as u32);
    ((a / b) as usize, (a % b) as usize)
}

impl<T: Real> Small<T> {
    /// Copies columns j .. j + cols of `b` into one panel and pads the last vector with 0.
    #[inline]
    fn copy_panel(&self, b: MatRef<'_, T>, j: usize, cols: usize, panel: &mut [MaybeUninit<T>], isa: Isa) {
        let (_, _, k) = self.shape;
        if b.cs() != 1 || k == 0 {
            return pack_columns(b, (0, k), (j, cols), self.nr(), panel, isa);
        }
        let b = b.cols(j, cols);
        match (cols, self.tiles.lanes) {
            (8.., _) => self.copy_rows::<8, 4>(b, panel),
            (4.., 4..) => self.copy_rows::<4, 4>(b, panel),
            (2.., 4..) => self.copy_rows::<2, 4>(b, panel),
            (2.., _) => self.copy_rows::<2, 2>(b, panel),
            (_, 4..) => self.copy_rows::<1, 4>(b, panel),
            _ => self.copy_rows::<1, 1>(b, panel),
        }
    }

    /// Copies rows of at least W contiguous elements in runs of W; the last two may overlap. Before
    /// that it zeroes the last vector in runs of Z. The compiler knows the length of every run.
    #[inline]
    fn copy_rows<const W: usize, const Z: usize>(&self, b: MatRef<'_, T>, panel: &mut [MaybeUninit<T>]) {
        let (rows, cols) = b.shape();
        let padded = cols.next_multiple_of(self.tiles.lanes);
        // All accesses below are in range: the last vector begins at or before the last column and
        // ends inside the panel.
        assert!(
            self.tiles.lanes.is_multiple_of(Z)
                && W <= cols
                && padded <= self.nr()
                && panel.len() == self.nr() * rows
                && b.cs() == 1
        );
        let zeros = [MaybeUninit::new(T::ZERO); Z];
        for (k, out) in panel.chunks_exact_mut(self.nr()).enumerate() {
            for at in (padded - self.tiles.lanes..padded).step_by(Z) {
                out[at..at + Z].copy_from_slice(&zeros);
            }
            let row = b.row(k).expect("contiguous");
            let last = cols - W;
            let mut at = 0;
            loop {
                let run: &[T; W] = row[at..at + W].try_into().expect("the slice has W elements");
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

    /// Tiles read the padding lanes, up to a whole vector, so these must be zero.
    fn padded<T: Real>() {
        let data: Vec<T> = (1..2000).map(|i| T::from_f64(f64::from(i))).collect();
        for isa in Isa::available() {
            let (plan, tiles) = (Plan::new().with_isa(isa), T::tiles(isa));
            for cols in 1..=tiles.nr() {
                for strides in [(60, 1), (61, 2), (1, 7)] {
                    let (k, mut c) = (7, vec![T::ZERO; cols]);
                    let b = MatRef::strided(&data, 0, (k, cols), strides).unwrap();
                    let a = MatRef::strided(&data, 0, (1, k), (k as isize, 1)).unwrap();
                    let job = Job::plain(T::ONE, Left::View(a), Right::View(b), T::ZERO);
                    let c = MatMut::strided(&mut c, 0, (1, cols), (cols as isize, 1)).unwrap();
                    let small = Small::<T>::new(&job, &c, &plan).expect("small enough");
                    let mut panel = vec![MaybeUninit::new(T::NAN); tiles.nr() * k];
                    small.copy_panel(b, 0, cols, &mut panel, isa);
                    for step in 0..k {
                        for j in 0..tiles.vectors(cols) * tiles.lanes {
                            // SAFETY: initialized with NaN above.
                            let got = unsafe { panel[step * tiles.nr() + j].assume_init() };
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
    fn panels_are_padded_with_zeros() {
        padded::<f32>();
        padded::<f64>();
    }
}
