//! The same solve where coefficients are neighbours along the unknowns (U or L by rows, from the right): vectors run along these, and the triangle is
//! read where it lies, as the B of the tiles.
//!
//! ```text
//!                     solved unknowns →        a panel
//!                    ┌────────────────────────┬────┐
//!                    │ rows of the triangle,  │    │ k
//!                    │ where they lie         │    │ ↓
//!   right-hand       └────────────────────────┤    │
//!   sides ↓  ┌────────────────────────┐       ├────┤      then the panel's own triangle, on its transpose: unknown by unknown,
//!            │ X, packed in strips:   │       │ C  │      vectors across the right-hand sides
//!            │ MR elements an unknown │       │    │
//!            └────────────────────────┘       └────┘
//! ```
//!
//! Left-looking: a panel's chains run over all solved unknowns at once, in registers. The product is that of a forward pass. Nothing is packed but X, whatever [`Packing`](crate::Packing) says.

use crate::base::error::Error;
use crate::base::flags::Diag;
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{DisjointSlices, Scratch, ScratchReq};
use crate::base::split::{RowTiles, near_equal_units, part, parts_of, round_up};
use crate::level3::small_triangle::own_triangle;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::tile::strip::{Coefficients, Column, subtract_column};
use crate::tile::table::Real;
use core::mem::MaybeUninit;

/// Right-hand sides that a thread works on at a time, at most: 784 solved unknowns of so many are 300 KB of f32, in L2.
const SIDES: usize = 96;

/// Lanes of the own triangle come in so many: enough for a division to hide behind others.
const LANES: usize = 32;

/// Whether this is the way for L: its elements are neighbours down a column.
pub(super) fn applies_to<T: Real>(l: &MatRef<'_, T>) -> bool {
    l.rs().unsigned_abs() == 1 && l.nrows() > 1
}

/// How the right-hand sides are shared out, and what each thread needs.
struct Cut {
    parts: usize,
    /// Pieces of right-hand sides; each thread has a run of them.
    pieces: usize,
    /// Unknowns of a panel, right-hand sides of a strip, at most.
    nr: usize,
    mr: usize,
    /// Elements of a thread's room: solved unknowns, a panel both ways, coefficients of a panel that is no whole number of words.
    solved: usize,
    panel: usize,
    edge: usize,
}

impl Cut {
    fn new<T: Real>(n: usize, rhs: usize, plan: &Plan) -> Self {
        let tiles = T::tiles(plan.isa);
        let mr = plan.blocking.map_or(tiles.mr, |b| b.mr().min(tiles.mr));
        let work = n.saturating_mul(n) / 2;
        let parts = plan.threads_for(work.saturating_mul(rhs)).min(rhs.div_ceil(mr)).max(1);
        let most = plan.blocking.map_or(SIDES, |b| b.mc().max(mr));
        let pieces = parts * parts_of(rhs.div_ceil(parts), most);
        let sides = rhs.div_ceil(pieces.max(1));
        let nr = tiles.nr();
        let line = |len: usize| len.checked_next_multiple_of(64).unwrap_or(usize::MAX);
        let panel = line(round_up(sides, LANES).saturating_mul(nr));
        Self { parts, pieces, nr, mr, solved: line(n.saturating_mul(sides)), panel, edge: line(n.saturating_mul(nr)) }
    }

    fn room(&self) -> usize {
        self.solved.saturating_add(self.panel.saturating_mul(2)).saturating_add(self.edge)
    }
}

pub(super) fn scratch<T: Real>(n: usize, rhs: usize, plan: &Plan) -> ScratchReq {
    let cut = Cut::new::<T>(n, rhs, plan);
    ScratchReq::of::<T>(cut.room().saturating_mul(cut.parts))
}

/// `L·X = α·B`, for L that [`applies_to`].
pub(super) fn forwards<T: Real>(
    diag: Diag,
    alpha: T,
    l: MatRef<'_, T>,
    b: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, rhs) = b.shape();
    let cut = Cut::new::<T>(n, rhs, plan);
    let memory = scratch.slice::<T>(cut.room().saturating_mul(cut.parts))?;
    let rooms = DisjointSlices::new(memory);
    plan.par.split(cut.parts, &|thread| {
        // SAFETY: each part has a room of its own, and each runs once.
        let room = unsafe { rooms.part(thread * cut.room(), cut.room()) };
        let (solved, room) = room.split_at_mut(cut.solved);
        let (across, room) = room.split_at_mut(cut.panel);
        let (along, edge) = room.split_at_mut(cut.panel);
        let mut room = Room { solved, across: zeroed(across), along: zeroed(along), edge };
        let (first, count) = part(cut.pieces, cut.parts, thread);
        for piece in first..first + count {
            let (at, sides) = part(rhs, cut.pieces, piece);
            if sides == 0 {
                continue;
            }
            // SAFETY: pieces are disjoint columns of B, and each belongs to one part.
            let b = unsafe { b.alias() }.cols(at, sides);
            Piece { l, diag, cut: &cut, isa: plan.isa, sides }.solve(alpha, b, &mut room);
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
    sides: usize,
}

/// Its memory.
struct Room<'a, T> {
    /// X of the solved unknowns, strip by strip, unknown by unknown.
    solved: &'a mut [MaybeUninit<T>],
    /// A panel's unknowns, right-hand sides side by side.
    across: &'a mut [T],
    /// Right-hand sides, a panel's unknowns side by side: where B itself does not lie so.
    along: &'a mut [T],
    /// Coefficients of a panel that is no whole number of words.
    edge: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Piece<'_, T> {
    fn solve(&self, alpha: T, mut b: MatMut<'_, T>, room: &mut Room<'_, T>) {
        let (n, sides, nr) = (self.l.nrows(), self.sides, self.cut.nr);
        let lanes = sides.next_multiple_of(LANES);
        let row_tiles = RowTiles::new(sides, self.cut.mr);
        room.across.fill(T::ZERO);
        for (at, unknowns) in near_equal_units(n, nr, T::tiles(self.isa).lanes) {
            let mut own = b.rb().rows(at, unknowns);
            let across = &mut room.across[..unknowns * lanes];
            if own.rs() == self.l.rs() {
                // The tiles go on with B's own elements.
                scale(alpha, own.rb());
                let (first, step) = (self.lowest(own.rb()), own.cs());
                // SAFETY: `own` holds these unknowns of `sides` right-hand sides, neighbours in memory, and is borrowed for writing.
                unsafe { self.tell(at, unknowns, row_tiles, room.solved, room.edge, first, step) };
                copy(self.isa, own.as_ref(), self.turned(across, unknowns));
            } else {
                let (first, step) = if self.backwards() { (unknowns - 1, -1) } else { (0, 1) };
                let shape = (unknowns, sides);
                let mut along = MatMut::strided(room.along, first, shape, (step, nr as isize)).expect("NR elements a side");
                copy(self.isa, own.as_ref(), along.rb());
                scale(alpha, along.rb());
                let first = self.lowest(along.rb());
                // SAFETY: as above, in scratch.
                unsafe { self.tell(at, unknowns, row_tiles, room.solved, room.edge, first, nr as isize) };
                copy(self.isa, along.as_ref(), self.turned(across, unknowns));
            }
            own_triangle(self.isa, self.l.block(at, at, unknowns, unknowns), self.diag, across, lanes);
            copy(self.isa, self.turned(across, unknowns).as_ref(), own);
            for t in 0..row_tiles.count {
                let (row, rows) = row_tiles.tile(t);
                let dst = &mut room.solved[n * row + at * rows..][..unknowns * rows];
                let src = &across[row..];
                // SAFETY: `src` holds `unknowns` rows of `lanes` elements but for the first `row`, and row + rows ≤ lanes; `dst` holds unknowns × rows.
                unsafe { pack_steps(src.as_ptr(), lanes as isize, dst.as_mut_ptr().cast(), rows, unknowns) };
            }
        }
    }

    /// A panel's unknowns as a matrix, unknowns × sides.
    fn turned<'x>(&self, across: &'x mut [T], unknowns: usize) -> MatMut<'x, T> {
        let lanes = self.sides.next_multiple_of(LANES) as isize;
        MatMut::strided(across, 0, (unknowns, self.sides), (lanes, 1)).expect("lanes an unknown")
    }

    /// Whether unknowns follow each other downwards in memory.
    fn backwards(&self) -> bool {
        self.l.rs() == -1
    }

    /// The first element in memory of some unknowns of the first right-hand side.
    fn lowest(&self, mut x: MatMut<'_, T>) -> *mut T {
        let last = (x.nrows() - 1) as isize;
        x.as_mut_ptr().wrapping_offset(if self.backwards() { -last } else { 0 })
    }

    /// Tells the unknowns of a panel, `at` .. at + unknowns, of all that are solved.
    ///
    /// # Safety
    /// From `c` on, `unknowns` neighbours in each of the piece's right-hand sides, `rs` apart, may be written and hold these unknowns in memory's order.
    #[allow(clippy::too_many_arguments)]
    unsafe fn tell(
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
        let (n, nr) = (self.l.nrows(), self.cut.nr);
        // The panel's columns of the triangle by rows, in memory's order.
        let l = self.l.block(at, 0, unknowns, at);
        let u = if self.backwards() { l.reverse_rows() } else { l }.t();
        let whole = unknowns.is_multiple_of(T::tiles(self.isa).lanes);
        let (b, b_step, next) = if whole {
            // The next panel begins behind this one, which way ever that is; behind the last one nothing is fetched.
            let ahead = if self.backwards() { -(nr as isize) } else { unknowns as isize };
            (u.as_ptr(), u.rs(), (at + unknowns < n).then(|| u.as_ptr().wrapping_offset(ahead)))
        } else {
            let edge = zeroed(&mut edge[..at * nr]);
            copy(self.isa, u, MatMut::strided(edge, 0, (at, unknowns), (nr as isize, 1)).expect("NR elements a step"));
            (edge.as_ptr(), nr as isize, None)
        };
        let mut t = 0;
        while t < row_tiles.count {
            // All tiles of one height at once.
            let (row, rows) = row_tiles.tile(t);
            let until = if t < row_tiles.taller { row_tiles.taller } else { row_tiles.count };
            let a = Coefficients::packed(solved[n * row..][..(until - t) * rows * n].as_ptr().cast(), rows, at);
            let (count, total, below) = (until - t, row_tiles.count, row_tiles.count - until);
            let column = Column { count, total, below, ps_a: (n * rows) as isize, next };
            // SAFETY: `a` and the strips behind it are in `solved`, n × rows elements each, of which `at` × rows are written. B holds `at` steps of whole
            // words: in the triangle, or in `edge`. C is the caller's promise; solved, edge and triangle are borrowed for reading, C for writing.
            unsafe { subtract_column(self.isa, a, column, b, b_step, c, rs, unknowns) };
            c = c.wrapping_offset(((until - t) * rows) as isize * rs);
            t = until;
        }
    }
}

/// α·x, rounded once; 1 changes nothing.
fn scale<T: Real>(alpha: T, mut x: MatMut<'_, T>) {
    if alpha != T::ONE {
        for i in 0..x.nrows() {
            for j in 0..x.ncols() {
                x.set(i, j, alpha * x.get(i, j));
            }
        }
    }
}

/// Packs `count` steps of `rows` neighbours each, `s` apart, one behind the other.
///
/// # Safety
/// These elements may be read, and count · rows elements of `dst` written.
unsafe fn pack_steps<T: Real>(src: *const T, s: isize, dst: *mut T, rows: usize, count: usize) {
    for k in 0..count {
        // SAFETY: the caller's promise; arrays need no more alignment than their elements.
        unsafe {
            let (from, to) = (src.offset(k as isize * s), dst.add(k * rows));
            if (4..=8).contains(&rows) {
                // Moves of a fixed length are cheap: two that overlap.
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
