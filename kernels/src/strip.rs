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
    /// Rows of C go backwards: row r of the operand belongs to row rows − 1 − r of C.
    backwards: bool,
}

impl<T: Real> Coefficients<T> {
    /// Whether a tile can read `a` where it lies.
    pub(crate) fn readable(a: &MatRef<'_, T>) -> bool {
        a.rs().unsigned_abs() == 1 || a.nrows() <= 1 || a.cs() == 1
    }

    /// Rows and steps.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.steps)
    }

    /// `a`, where it lies; see [`Coefficients::readable`].
    pub(crate) fn of(a: MatRef<'_, T>) -> Self {
        let backwards = a.rs() == -1 && a.nrows() > 1;
        let a = if backwards { a.reverse_rows() } else { a };
        let ((rows, steps), down) = (a.shape(), a.rs() == 1 || a.nrows() == 1);
        assert!(down || a.cs() == 1, "a layout no tile reads");
        Self { first: a.as_ptr(), step: if down { a.cs() } else { a.rs() }, by_rows: !down, rows, steps, backwards }
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
    let words = cols.div_ceil(T::family(isa).len);
    let kind = TileKind { by_rows: a.by_rows, negated: true };
    let run = <T as crate::simd::HasTile<Store>>::tile(isa, a.rows, words, kind).expect("a tile for every height and width");
    let (c, rs) = if a.backwards { (c.wrapping_offset((a.rows as isize - 1) * rs), -rs) } else { (c, rs) };
    let tile = Tile {
        count: 1,
        a_tile: 0,
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
        next: None,
    };
    // SAFETY: the tile is one of `isa`'s, so the CPU has it; the operands are the caller's promise, and `of` has read A's layout off a view.
    unsafe { run(&tile, &Store) };
}
