//! Rows of tiles without a plan around them: what the factorisations and solves call in their innermost blocks, where operands are small, lie in
//! scratch of a known layout, and need no packing.

use crate::epilogue::Store;
use crate::gemm::micro::{Tile, TileKind};
use crate::{Isa, MatRef, Real};

/// The left operand of a strip, as a tile reads it: `rows` elements a step, from `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<T> {
    first: *const T,
    /// The stride that is not 1.
    step: isize,
    by_rows: bool,
    rows: usize,
    steps: usize,
}

impl<T: Real> Coefficients<T> {
    /// Whether a tile can read `a` where it lies.
    pub(crate) fn readable(a: &MatRef<'_, T>) -> bool {
        a.rs() == 1 || a.nrows() <= 1 || a.cs() == 1
    }

    /// Rows and steps.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.steps)
    }

    /// `rows` elements a step, one step behind the other, from `first` on.
    pub(crate) fn down(first: *const T, rows: usize, steps: usize) -> Self {
        Self { first, step: rows as isize, by_rows: false, rows, steps }
    }

    /// `a`, where it lies; see [`Coefficients::readable`].
    pub(crate) fn of(a: MatRef<'_, T>) -> Self {
        let ((rows, steps), down) = (a.shape(), a.rs() == 1 || a.nrows() == 1);
        assert!(down || a.cs() == 1, "a layout no tile reads");
        Self { first: a.as_ptr(), step: if down { a.cs() } else { a.rs() }, by_rows: !down, rows, steps }
    }
}

/// `C ← C − A·B` on one strip: each element goes on with its chain, `c = fma(−a[r,k], b[k,·], c)` for increasing k.
///
/// # Safety
/// `a` is alive. B holds, for each of A's steps, the whole words that `cols` columns reach into, C its rows × `cols` columns, and nobody else touches
/// these meanwhile. A, B and C share no element. `cols` columns make up one tile at most.
pub(crate) unsafe fn subtract<T: Real>(
    isa: Isa,
    a: Coefficients<T>,
    b: *const T,
    b_step: isize,
    c: *mut T,
    rs: isize,
    cols: usize,
) {
    let column = Column { count: 1, a_tile: 0, next: None };
    // SAFETY: the caller's promise, for one tile.
    unsafe { subtract_column(isa, a, column, b, b_step, c, rs, cols) };
}

/// Tiles of one height, one below the other.
#[derive(Clone, Copy)]
pub(crate) struct Column<T> {
    pub(crate) count: usize,
    /// From the left operand of one tile to that of the next.
    pub(crate) a_tile: isize,
    /// What of B comes after these tiles: fetched meanwhile. Any address.
    pub(crate) next: Option<*const T>,
}

/// [`subtract`] on several strips, whose rows of C follow each other.
///
/// # Safety
/// As [`subtract`], for each tile of the column; `a` is the first one's.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn subtract_column<T: Real>(
    isa: Isa,
    a: Coefficients<T>,
    column: Column<T>,
    b: *const T,
    b_step: isize,
    c: *mut T,
    rs: isize,
    cols: usize,
) {
    let words = cols.div_ceil(T::family(isa).len);
    let kind = TileKind { by_rows: a.by_rows, negated: true };
    let run = <T as crate::simd::HasTile<Store>>::tile(isa, a.rows, words, kind).expect("a tile for every height and width");
    let tile = Tile {
        count: column.count,
        a_tile: column.a_tile,
        kc: a.steps,
        a: a.first,
        a_step: a.step,
        b,
        b_step,
        b_panel: 0,
        start: c,
        start_rs: rs,
        beta: T::ONE,
        c,
        rs,
        cols,
        i: 0,
        j: 0,
        next: column.next,
    };
    // SAFETY: the tile is one of `isa`'s, so the CPU has it; the operands are the caller's promise, and `of` has read A's layout off a view.
    unsafe { run(&tile, &Store) };
}
