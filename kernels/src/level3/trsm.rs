//! Triangular solves: eight kinds, one routine. Transposes and reversals of the views turn each kind into `L·X = B`, forwards.
//!
//! ```text
//!            k →                right-hand sides, in panels as wide as a tile:
//!        ┌╲                     ┌────┬────┬──┄
//!        │  ╲                   │    │    │       solved
//!      i ├────╲                 ├────┼────┼──┄
//!      ↓ │ G  │╲                │    │    │       a group of unknowns: strips of MR; each is one tile C ← C − L·X, then its own triangle
//!        ├────┴──╲              ├────┼────┼──┄
//! ```
//!
//! Right-hand sides are independent: they are what threads share out. Each thread brings its own into panels (unknown by unknown, right-hand sides
//! side by side, whatever the strides of B), where the register tiles read the solved unknowns as their B and the triangle, where it lies, as
//! their A. Each unknown is one chain of fused multiply-adds in the order of elimination and one division: the bits of the textbook loop. Where the triangle's
//! neighbours lie along the unknowns, vectors run along these instead (`along`).

use crate::base::error::Error;
use crate::base::flags::{Diag, Side, Triangle};
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{DisjointSlices, Scratch, ScratchReq};
use crate::base::split::{near_equal, part, parts_of, round_up};
use crate::level3::small_triangle::own_triangle;
use crate::level3::trsm_row_major;
use crate::plan::{Packing, Plan};
use crate::simd::copy::{copy, zeroed};
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;

/// Unknowns whose coefficients are packed together where they are packed: whole cache lines of a row, so that rows at a distance cost one
/// look-up of their page a group and not one a strip.
const GROUP: usize = 48;

/// Unknowns to a strip at most: 9, AVX-512's tallest tile, would make groups of 45 and split lines.
const STRIP: usize = 8;

/// Length of a chain that is not interrupted: a strip of coefficients (24 KiB of f32) stays in L1 for all panels.
const CHAIN: usize = 1024;

/// Right-hand sides that a thread works on at a time, at most: `X[K]` in L2, each element of the triangle fetched once for all of them.
const LANES: usize = 128;

/// Solves `A·X = α·B` ([`Side::Left`]) or `X·A = α·B` ([`Side::Right`]) for X, in place in `b`; A is triangular.
///
/// ```text
/// x_j = α·b_j;  for k in the order of elimination { x_j = fma(−x_k, a_jk, x_j) };  x_j = x_j / a_jj     (a_kj from the right)
/// ```
///
/// The order of elimination is k = 0 .. j where the triangle says so, else k = n−1 .. j+1, downwards. With [`Diag::Unit`] nothing is divided.
/// α = 1 changes no bit of B; other α are one rounding.
///
/// Shapes: `a` n×n (the other triangle never read, the diagonal only if [`Diag::Stored`]), `b` n×rhs or, from the right, rhs×n. Strides of
/// any sign; a solve with Aᵀ is one with `a.t()` and [`Triangle::t`]. Work: rhs·n²/2 fused multiply-adds. Same bits on every instruction
/// set and thread count.
/// Error bound: |A·X − α·B| ≤ γ(n+1)·|A|·|X| entrywise.
///
/// # Errors
/// [`Error::Shape`]; [`Error::ZeroPivot`] if a stored diagonal element is 0 ([`Error::NonFinite`] if it is none);
/// [`Error::OutOfMemory`]: nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// Source: Higham, Accuracy and Stability of Numerical Algorithms, ch. 8; update and solve of a strip together after BLIS gemmtrsm.
///
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
        pivots_divide(&a)?;
    }
    // X·A = B is Aᵀ·Xᵀ = Bᵀ; an upper triangle read backwards is a lower one.
    let (triangle, a, b) = if side == Side::Left { (triangle, a, b) } else { (triangle.t(), a.t(), b.t()) };
    match triangle {
        Triangle::Lower => forwards(diag, alpha, a, b, plan, scratch),
        Triangle::Upper => forwards(diag, alpha, a.reverse_rows().reverse_cols(), b.reverse_rows(), plan, scratch),
    }
}

/// Refuses a diagonal that cannot divide.
pub(crate) fn pivots_divide<T: Real>(a: &MatRef<'_, T>) -> Result<(), Error> {
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

/// Scratch that [`solve`] needs for n unknowns and `rhs` right-hand sides.
pub fn solve_scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    let cut = Cut::new::<T>(n, rhs, plan);
    ScratchReq::of::<T>(cut.room_len.saturating_mul(cut.parts)).or(trsm_row_major::scratch::<T>(n, rhs, plan))
}

/// How the right-hand sides are shared out.
struct Cut {
    /// Threads, and pieces of right-hand sides: each thread has a run of these, one after another in the same room.
    parts: usize,
    pieces: usize,
    /// Words of right-hand sides.
    words: usize,
    /// Unknowns to a group and to a strip, links to a chunk of the chain.
    group: usize,
    mr: usize,
    chain: usize,
    /// Elements of a thread's room, and how many of them hold packed coefficients.
    room_len: usize,
    packed_len: usize,
}

impl Cut {
    fn new<T: Real>(n: usize, rhs: usize, plan: &Plan) -> Self {
        let tiles = T::tiles(plan.isa);
        let words = rhs.div_ceil(tiles.lanes);
        let work = n.saturating_mul(n) / 2;
        let parts = plan.threads_for(work.saturating_mul(rhs)).min(words).max(1);
        let at_once = (LANES / tiles.lanes).max(tiles.panel);
        let pieces = parts * parts_of(words.div_ceil(parts), at_once);
        let (chain, mr) = (CHAIN, tiles.mr.min(STRIP));
        let (chain, mr) = plan.blocking.map_or((chain, mr), |b| (b.kc(), b.mr().min(mr)));
        let group = (GROUP / mr * mr).min(plan.blocking.map_or(GROUP, |b| b.mc())).max(mr);
        let packed_len = round_up(group.saturating_mul(chain.min(n).max(mr)), 64);
        let lanes = words.div_ceil(pieces.max(1)) * tiles.lanes;
        // Rooms start on lines of their own.
        let room_len = n.saturating_mul(lanes).saturating_add(packed_len).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        Self { parts, pieces, words, group, mr, chain, room_len, packed_len }
    }
}

/// `L·X = α·B` for views that fit and a diagonal that divides.
pub(crate) fn forwards<T: Real>(
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
        return trsm_row_major::forwards(diag, alpha, l, b, plan, scratch);
    }
    let cut = Cut::new::<T>(n, rhs, plan);
    let memory = scratch.slice::<T>(cut.room_len.saturating_mul(cut.parts))?;
    let rooms = DisjointSlices::new(memory);
    let len = T::tiles(plan.isa).lanes;
    plan.par.split(cut.parts, &|thread| {
        // SAFETY: each part has a room of its own, and each runs once.
        let room = unsafe { rooms.part(thread * cut.room_len, cut.room_len) };
        let (packed, room) = room.split_at_mut(cut.packed_len);
        let packed = zeroed(packed);
        let (first, count) = part(cut.pieces, cut.parts, thread);
        for piece in first..first + count {
            let (word, words) = part(cut.words, cut.pieces, piece);
            if words == 0 {
                continue;
            }
            let (at, lanes) = (word * len, (words * len).min(rhs - word * len));
            // SAFETY: pieces are disjoint columns of B, and each belongs to one part.
            let x = unsafe { b.alias() }.cols(at, lanes);
            let lanes = zeroed(&mut room[..n * words * len]);
            Piece { l, diag, cut: &cut, isa: plan.isa, packing: plan.packing, words }.solve(alpha, x, lanes, packed);
        }
    });
    Ok(())
}

/// Some right-hand sides in a thread's hands.
struct Piece<'a, T> {
    l: MatRef<'a, T>,
    diag: Diag,
    cut: &'a Cut,
    isa: Isa,
    packing: Packing,
    words: usize,
}

impl<T: Real> Piece<'_, T> {
    /// (first lane, lanes) of each panel.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> {
        let tiles = T::tiles(self.isa);
        near_equal(self.words, tiles.panel).map(|(word, words)| (word * tiles.lanes, words * tiles.lanes))
    }

    fn solve(&self, alpha: T, mut x: MatMut<'_, T>, room: &mut [T], packed: &mut [T]) {
        let (n, rhs) = x.shape();
        for (first, lanes) in self.panels() {
            let panel = &mut room[n * first..n * (first + lanes)];
            let live = lanes.min(rhs - first);
            let view = MatMut::strided(panel, 0, (n, live), (lanes as isize, 1)).expect("n × lanes elements");
            copy(self.isa, x.as_ref().cols(first, live), view);
            if alpha != T::ONE {
                panel.iter_mut().for_each(|v| *v = alpha * *v);
            }
        }
        for (g0, unknowns) in near_equal(n, self.cut.group) {
            for (k0, count) in near_equal(g0, self.cut.chain) {
                let l = self.l.block(g0, k0, unknowns, count);
                if self.in_place(&l) {
                    for (at, rows) in near_equal(unknowns, self.cut.mr) {
                        self.update(g0 + at, k0, Coefficients::of(l.rows(at, rows)), room);
                    }
                } else {
                    self.pack(l, packed);
                    for (at, rows) in near_equal(unknowns, self.cut.mr) {
                        self.update(g0 + at, k0, Coefficients::of(self.packed(packed, at, rows, count)), room);
                    }
                }
            }
            for (at, rows) in near_equal(unknowns, self.cut.mr) {
                let i = g0 + at;
                let l = self.l.block(i, g0, rows, at);
                if at > 0 && readable(&l) {
                    self.update(i, g0, Coefficients::of(l), room);
                } else if at > 0 {
                    let strip = &mut packed[..rows * at];
                    copy(self.isa, l, MatMut::strided(strip, 0, (rows, at), (1, rows as isize)).expect("rows × at elements"));
                    let strip = MatRef::strided(packed, 0, (rows, at), (1, rows as isize)).expect("rows × at elements");
                    self.update(i, g0, Coefficients::of(strip), room);
                }
                let own = self.l.block(i, i, rows, rows);
                for (first, lanes) in self.panels() {
                    own_triangle(self.isa, own, self.diag, &mut room[n * first + i * lanes..][..rows * lanes], lanes);
                }
            }
        }
        for (first, lanes) in self.panels() {
            let live = lanes.min(rhs - first);
            let panel = &room[n * first..n * (first + lanes)];
            let view = MatRef::strided(panel, 0, (n, live), (lanes as isize, 1)).expect("n × lanes elements");
            copy(self.isa, view, x.rb().cols(first, live));
        }
    }

    /// Packs a group's coefficients strip by strip, MR elements a step.
    fn pack(&self, l: MatRef<'_, T>, packed: &mut [T]) {
        let (unknowns, count) = l.shape();
        for (at, rows) in near_equal(unknowns, self.cut.mr) {
            let strip = &mut packed[at * count..][..rows * count];
            let strip = MatMut::strided(strip, 0, (rows, count), (1, rows as isize)).expect("rows × count elements");
            copy(self.isa, l.rows(at, rows), strip);
        }
    }

    /// What [`Piece::pack`] has made of rows at .. at + rows.
    fn packed<'p>(&self, packed: &'p [T], at: usize, rows: usize, count: usize) -> MatRef<'p, T> {
        MatRef::strided(packed, at * count, (rows, count), (1, rows as isize)).expect("packed by `pack`")
    }

    /// Tells the unknowns from i on, as many as `a` has rows, of the solved ones from k0 on, as many as `a` has steps.
    fn update(&self, i: usize, k0: usize, a: Coefficients<T>, room: &mut [T]) {
        let (n, (rows, count)) = (self.l.nrows(), a.shape());
        for (first, lanes) in self.panels() {
            let panel = &mut room[n * first..n * (first + lanes)];
            // The solved unknowns all lie before, the open ones behind.
            let (solved, open) = panel.split_at_mut(i * lanes);
            let (solved, open) = (&solved[k0 * lanes..(k0 + count) * lanes], &mut open[..rows * lanes]);
            // SAFETY: `a` was made from the triangle, which `self` borrows, or from the packed strip, which the caller does. `solved` has count × lanes
            // elements, `open` rows × lanes, whole words; they are disjoint slices, and neither is part of `a`.
            unsafe { subtract(self.isa, a, solved.as_ptr(), lanes as isize, open.as_mut_ptr(), lanes as isize, lanes) };
        }
    }

    /// Whether a group is read where it lies.
    fn in_place(&self, l: &MatRef<'_, T>) -> bool {
        // Packing, which no two threads share, costs more than the stalls it saves, unless rows or steps lie so far apart that they share a few sets of the
        // first-level cache.
        let far = l.rs().unsigned_abs().max(l.cs().unsigned_abs()) * size_of::<T>();
        let crowded = far.is_multiple_of(1024) && l.nrows() > 1;
        match self.packing {
            Packing::Always => false,
            Packing::Avoid => readable(l),
            Packing::Auto => readable(l) && (!crowded || self.words <= T::tiles(self.isa).panel),
        }
    }
}

/// Whether a tile reads `l` well in place: one of its strides is 1.
fn readable<T>(l: &MatRef<'_, T>) -> bool {
    l.rs() == 1 || l.nrows() <= 1 || l.cs() == 1
}
