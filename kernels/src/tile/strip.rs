//! Tiles without a plan around them. Factorizations and solves call them in their innermost blocks,
//! where operands are small, lie in scratch of a known layout, and need no packing.

use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::tile::micro_kernel::{AStrides, Prefetch, TileArgs};
use crate::tile::table::Real;

/// The left operand of a strip: a view without its lifetime.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<T> {
    first: *const T,
    rs: isize,
    cs: isize,
    rows: usize,
    steps: usize,
}

impl<T: Real> Coefficients<T> {
    /// Rows and steps.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.steps)
    }

    /// Packed coefficients: `rows` elements a step, one step after the other.
    pub(crate) fn packed(first: *const T, rows: usize, steps: usize) -> Self {
        Self { first, rs: 1, cs: rows as isize, rows, steps }
    }

    /// The matrix `a`, in place.
    pub(crate) fn of(a: MatRef<'_, T>) -> Self {
        let (rows, steps) = a.shape();
        Self { first: a.as_ptr(), rs: a.rs(), cs: a.cs(), rows, steps }
    }
}

/// `C ← C − A·B` on one strip: each element continues its chain, `c = fma(−a[r,k], b[k,·], c)` for
/// increasing k.
///
/// # Safety
/// `a` is alive. For each of A's steps, B holds the whole vectors that `cols` columns reach into. C
/// holds A's rows × `cols` columns, which no other thread touches meanwhile. A, B and C share no
/// element. `cols` columns fit one panel.
pub(crate) unsafe fn subtract<T: Real>(
    isa: Isa,
    a: Coefficients<T>,
    b: *const T,
    rs_b: isize,
    c: *mut T,
    rs_c: isize,
    cols: usize,
) {
    // SAFETY: the caller's promise, for one tile.
    unsafe { accumulate(isa, true, a, Column::ONE, b, rs_b, c, rs_c, cols) };
}

/// `C ← C + A·B` on one strip, as [`subtract`].
///
/// # Safety
/// As [`subtract`].
pub(crate) unsafe fn add<T: Real>(isa: Isa, a: Coefficients<T>, b: *const T, rs_b: isize, c: *mut T, rs_c: isize, cols: usize) {
    // SAFETY: the caller's promise, for one tile.
    unsafe { accumulate(isa, false, a, Column::ONE, b, rs_b, c, rs_c, cols) };
}

/// Tiles of one height, one below the other.
#[derive(Clone, Copy)]
pub(crate) struct Column<T> {
    pub(crate) count: usize,
    /// Tiles of the whole column, and below the last of these.
    pub(crate) total: usize,
    pub(crate) below: usize,
    /// From the left operand of one tile to that of the next.
    pub(crate) ps_a: isize,
    /// The part of B that comes after these tiles and is fetched meanwhile. Any address.
    pub(crate) next: Option<*const T>,
}

impl<T> Column<T> {
    /// One tile alone.
    const ONE: Self = Self { count: 1, total: 1, below: 0, ps_a: 0, next: None };
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
    rs_b: isize,
    c: *mut T,
    rs_c: isize,
    cols: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { accumulate(isa, true, a, column, b, rs_b, c, rs_c, cols) };
}

/// Adds the products of a column of strips to C or, `negated`, subtracts them.
///
/// # Safety
/// As [`subtract_column`].
#[allow(clippy::too_many_arguments)]
unsafe fn accumulate<T: Real>(
    isa: Isa,
    negated: bool,
    a: Coefficients<T>,
    column: Column<T>,
    b: *const T,
    rs_b: isize,
    c: *mut T,
    rs_c: isize,
    cols: usize,
) {
    let tiles = T::tiles(isa);
    let vectors = tiles.vectors(cols);
    let (shape, panel) = ((a.rows, vectors), tiles.nr() * size_of::<T>());
    let fetch = match column.next {
        Some(next) => &Prefetch::new(next, shape, (column.total, column.below), a.steps, panel, rs_b),
        None => &Prefetch::NONE,
    };
    let args = TileArgs {
        kc: a.steps,
        count: column.count,
        a: a.first,
        a_strides: AStrides::new::<T>(a.rs, a.cs),
        next_a: column.ps_a,
        next_b: 0,
        next_start: (a.rows as isize).wrapping_mul(rs_c),
        next_c: (a.rows as isize).wrapping_mul(rs_c),
        b,
        rs_b,
        ps_b: 0,
        start: c,
        rs_start: rs_c,
        beta: T::ONE,
        c,
        rs_c,
        cols,
        fetch,
    };
    // SAFETY: the tile is one of `isa`'s, so the CPU has it. The operands are the caller's promise,
    // and A's strides come from a view or from `packed`.
    unsafe { tiles.get(a.rows, vectors, negated)(&args) };
}
