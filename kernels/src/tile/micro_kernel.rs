//! The register tile: `C ← β·S ± A·B`, and a column or a row of them.
//!
//! ```text
//!                B panel: NR elements a k-step, packed or in place
//!               ┌──────────────┐
//!            k  │ b0  b1 … bN  │
//!     A:        └──────────────┘
//!     MR rows   ┌──────────────┐
//!     (packed,  │ acc[i][v]    │   MR × NV vectors of accumulators, in registers for all of kc
//!     or in     │              │
//!     place)    └──────────────┘
//! ```
//!
//! Every element of C is ONE chain: `acc ← fma(a[i,k], b[k,j], acc)` for increasing k. Nothing here
//! adds two partial sums, so neither the vector's width nor the tile's shape can change a bit.
//!
//! One body reads A with any two strides: a packed panel is a matrix with row stride 1 and column
//! stride MR. B needs contiguous rows.

use crate::base::scalar::Scalar;
use crate::simd::vector::{Level, Vector, opaque, prefetch};

/// Operands and result of a column or a row of tiles. Strides count elements.
pub(crate) struct TileArgs<'a, T> {
    /// Length of the chain.
    pub(crate) kc: usize,
    /// Number of tiles, one below the other or one beside the other.
    pub(crate) count: usize,
    /// First element of A.
    pub(crate) a: *const T,
    /// Row and column stride of A.
    pub(crate) a_strides: AStrides,
    /// From the A of one tile to that of the next, and the same of B, S and C.
    pub(crate) next_a: isize,
    pub(crate) next_b: isize,
    pub(crate) next_start: isize,
    pub(crate) next_c: isize,
    /// First element of B; the elements of a k-step are contiguous.
    pub(crate) b: *const T,
    /// From one k-step of B to the next.
    pub(crate) rs_b: isize,
    /// From one panel of B to the next, for tiles wider than a panel.
    pub(crate) ps_b: isize,
    /// First element of S, where the chains start; not read if `beta` is 0.
    pub(crate) start: *const T,
    /// Row stride of S.
    pub(crate) rs_start: isize,
    /// Factor of S.
    pub(crate) beta: T,
    /// First element of C, whose rows are contiguous.
    pub(crate) c: *mut T,
    /// Row stride of C.
    pub(crate) rs_c: isize,
    /// Columns of C. They end in the tile's last vector.
    pub(crate) cols: usize,
    /// What the tiles prefetch beyond their own operands.
    pub(crate) fetch: &'a Prefetch<T>,
}

/// Strides of A in the form that the address computation wants.
///
/// x86 scales an index register by 1, 2, 4 or 8. Nine rows are then reached from four registers:
/// rows 1, 2, 4 and 8 from the row stride, 3 and 6 from its triple, 5 and 7 from the others. BLIS
/// addresses the same way (`bli_gemmsup_rv_haswell_asm`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AStrides {
    /// Bytes from row 0 to rows 1, 3, 5 and 7.
    rows: [isize; 4],
    /// Bytes from one k-step to the next.
    step: isize,
}

impl AStrides {
    pub(crate) fn new<T>(rs: isize, cs: isize) -> Self {
        let bytes = |s: isize| s.wrapping_mul(size_of::<T>() as isize);
        // Wrapping: a stride that no second row or step uses may be anything.
        Self { rows: [1, 3, 5, 7].map(|i| bytes(rs).wrapping_mul(i)), step: bytes(cs) }
    }

    /// Bytes from row 0 to row `i`.
    #[inline(always)]
    fn row(&self, i: usize) -> isize {
        let [r1, r3, r5, r7] = self.rows;
        match i {
            0 => 0,
            1 => r1,
            2 => r1.wrapping_mul(2),
            3 => r3,
            4 => r1.wrapping_mul(4),
            5 => r5,
            6 => r3.wrapping_mul(2),
            7 => r7,
            8 => r1.wrapping_mul(8),
            _ => unreachable!("no tile has more than 9 rows"),
        }
    }
}

/// The next panel of B, which the last tiles of a column or the first row of tiles bring into L2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefetch<T> {
    next: *const T,
    /// Number of tiles that fetch: the last ones of the column.
    tiles: usize,
    /// Tiles of the column below these, in a run of another height.
    below: usize,
    /// Bytes from `next` to where each of these tiles starts.
    starts: [isize; FETCH_SHARES],
    /// Bytes between the fetches of two iterations of the k-loop.
    hop: isize,
    /// Whether one tile alone fetches whole rows of the panel.
    whole_rows: bool,
}

/// Tiles that share the fetching of the next panel of B.
const FETCH_SHARES: usize = 4;

impl<T> Prefetch<T> {
    /// Fetches nothing.
    pub(crate) const NONE: Self =
        Self { next: core::ptr::null(), tiles: 0, below: 0, starts: [0; FETCH_SHARES], hop: 0, whole_rows: false };

    /// Whether it fetches nothing.
    pub(crate) fn is_none(&self) -> bool {
        self.tiles == 0
    }

    /// Spreads the panel at `next` over the last tiles of a column.
    ///
    /// * `rows`, `vectors`: of each tile
    /// * `total`, `below`: tiles of the whole column, and below the last of these
    /// * `panel`: bytes of a k-step of the panel; `rs_b`: elements between two of its `kc` k-steps
    pub(crate) fn new(
        next: *const T,
        (rows, vectors): (usize, usize),
        (total, below): (usize, usize),
        kc: usize,
        panel: usize,
        rs_b: isize,
    ) -> Self {
        let unroll = unroll(rows * vectors);
        // Wrapping: the row stride of a B of one row may be anything.
        let row = rs_b.wrapping_mul(size_of::<T>() as isize);
        let shares = total.min(FETCH_SHARES);
        if row == panel as isize && shares == FETCH_SHARES {
            // A packed panel is one run of bytes, of which each tile fetches an equal part.
            let part = (kc * panel).div_ceil(FETCH_SHARES) as isize;
            let starts = core::array::from_fn(|i| i as isize * part);
            let hop = (unroll * panel).div_ceil(FETCH_SHARES) as isize;
            return Self { next, tiles: shares, below, starts, hop, whole_rows: false };
        }
        if shares < FETCH_SHARES {
            // Too few tiles to share rows of several lines: the last tile fetches them whole.
            let hop = row.wrapping_mul(unroll as isize);
            return Self { next, tiles: 1, below, starts: [0; FETCH_SHARES], hop, whole_rows: true };
        }
        // In place, a panel is a line or more of each row. Each tile fetches one line of some rows.
        let (lines, iterations) = (FETCH_SHARES / unroll, (kc / unroll) as isize);
        let starts = core::array::from_fn(|i| {
            let rows = (i / lines) as isize * iterations;
            row.wrapping_mul(rows).wrapping_add((i % lines * LINE) as isize)
        });
        Self { next, tiles: shares, below, starts, hop: row, whole_rows: false }
    }
}

/// Runs a column or a row of tiles of one shape. At k = 60 a tile lasts 400 cycles; a call for each
/// tile would cost a tenth of that.
///
/// # Safety
/// The CPU has the instruction set of the table the function came from. For every k < kc, A holds
/// the tiles' rows and B the tile's vectors (whole vectors, the last one included). The tiles' rows
/// × `cols` elements of C may be written, and those of S are initialized unless β = 0. No other
/// thread touches them meanwhile.
pub(crate) type TileFn<T> = unsafe fn(&TileArgs<'_, T>);

/// k-steps of one iteration of the loop. Two halve the prefetches. Tiles above 16 vectors use one:
/// the compiler would hold both steps' vectors of B at once and spill accumulators.
const fn unroll(vectors: usize) -> usize {
    if vectors <= 16 { 2 } else { 1 }
}

/// k-steps between the prefetch of a row of B into L1 and its use. While another program shares the
/// core, a tile has too few instructions in flight to wait for L2; 4 to 32 differ by a percent or
/// two (benches/record/contention.md). At the end of a panel it fetches what lies behind.
const AHEAD: isize = 16;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The body of every tile, compiled inside a shell that enables the features of `V`: MR rows of NV
/// vectors, PV of them a panel.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(crate) unsafe fn tile<T, V, const MR: usize, const NV: usize, const PV: usize, const NEGATED: bool>(t: &TileArgs<'_, T>)
where
    T: Scalar,
    V: Vector<T>,
{
    debug_assert!((NV - 1) * V::LEN < t.cols && t.cols <= NV * V::LEN);
    let whole = t.cols == NV * V::LEN;
    let rest = t.cols - (NV - 1) * V::LEN;
    let unroll = unroll(MR * NV);
    // An emulated multiply-add makes one step a long body.
    let iterations = if V::EMULATED { 0 } else { t.kc / unroll };
    let (step_a, step_b) = (t.a_strides.step, t.rs_b);
    for index in 0..t.count {
        let at = index as isize;
        let (c, start) = (t.c.wrapping_offset(at.wrapping_mul(t.next_c)), t.start.wrapping_offset(at.wrapping_mul(t.next_start)));
        let mut a = t.a.wrapping_offset(at.wrapping_mul(t.next_a));
        let mut b = t.b.wrapping_offset(at.wrapping_mul(t.next_b));
        let left = t.count - index + t.fetch.below;
        // Before its turn a tile fetches its own B, which is in L2 already.
        let mut next =
            if left <= t.fetch.tiles { t.fetch.next.wrapping_byte_offset(t.fetch.starts[t.fetch.tiles - left]) } else { b };
        // SAFETY: pointers stay in A, B, C and S by the contract above: k stays below kc, rows
        // below MR · count, and columns below `cols`, with `_first` where the last vector is not
        // whole.
        unsafe {
            let mut acc = [[V::splat(T::ZERO); NV]; MR];
            // C comes into the cache while the tile is computed: its own rows if they are only
            // written, at the end; those of the next tile if chains start from C. No rows of C beyond
            // the tiles are fetched, since another core may be writing there.
            let soon = if t.beta == T::ZERO || index + 1 == t.count { c } else { c.wrapping_offset(t.next_c) };
            for i in 0..MR as isize {
                let row = soon.wrapping_offset(i * t.rs_c);
                (0..NV).for_each(|v| prefetch(Level::L1, row.wrapping_add(v * V::LEN)));
                prefetch(Level::L1, row.wrapping_add(t.cols - 1));
            }
            if t.beta != T::ZERO {
                let beta = V::splat(t.beta);
                for (i, row) in acc.iter_mut().enumerate() {
                    let start = start.offset(i as isize * t.rs_start);
                    for (v, sum) in row.iter_mut().enumerate() {
                        let s = start.add(v * V::LEN);
                        *sum = if v + 1 < NV || whole { V::load(s) } else { V::load_first(s, rest) }.mul(beta);
                    }
                }
            }
            for _ in 0..iterations {
                for line in 0..(unroll * PV * size_of::<V>()).div_ceil(LINE * FETCH_SHARES) {
                    prefetch(Level::L2, next.wrapping_byte_add(line * LINE));
                }
                // Volatile: the compiler would otherwise make two loops of one.
                if core::ptr::read_volatile(&raw const t.fetch.whole_rows) {
                    for u in 0..unroll as isize {
                        let row = next.wrapping_offset(step_b.wrapping_mul(u));
                        (0..(PV * size_of::<V>()).div_ceil(LINE))
                            .for_each(|i| prefetch(Level::L2, row.wrapping_byte_add(i * LINE)));
                    }
                }
                next = next.wrapping_byte_offset(t.fetch.hop);
                for u in 0..unroll as isize {
                    let row = b.wrapping_offset(step_b.wrapping_mul(AHEAD + u));
                    (0..(PV * size_of::<V>()).div_ceil(LINE)).for_each(|i| prefetch(Level::L1, row.wrapping_byte_add(i * LINE)));
                }
                for _ in 0..unroll {
                    step::<T, V, MR, NV, PV, NEGATED>(t, a, b, &mut acc);
                    a = opaque(a.wrapping_byte_offset(step_a));
                    b = b.wrapping_offset(step_b);
                }
            }
            for _ in iterations * unroll..t.kc {
                step::<T, V, MR, NV, PV, NEGATED>(t, a, b, &mut acc);
                a = opaque(a.wrapping_byte_offset(step_a));
                b = b.wrapping_offset(step_b);
            }
            // Volatile re-read: the compiler then recomputes the addresses of C's rows instead of
            // keeping them, spilled, across the k-loop.
            let rs_c = core::ptr::read_volatile(&raw const t.rs_c);
            for (i, row) in acc.iter().enumerate() {
                let c = c.offset(i as isize * rs_c);
                for (v, sum) in row.iter().enumerate() {
                    let c = c.add(v * V::LEN);
                    if v + 1 < NV || whole { sum.store(c) } else { sum.store_first(c, rest) }
                }
            }
        }
    }
}

/// One link of every chain.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn step<T, V, const MR: usize, const NV: usize, const PV: usize, const NEGATED: bool>(
    t: &TileArgs<'_, T>,
    a: *const T,
    b: *const T,
    acc: &mut [[V; NV]; MR],
) where
    T: Scalar,
    V: Vector<T>,
{
    // SAFETY: as in `tile`.
    unsafe {
        // No `zip`: builds for tests do not optimize across units, and would call it as a function
        // in the innermost loop.
        //
        // With NV ≤ PV the compiler sees that there is one panel only.
        let b_at = |v: usize| V::load(b.offset((v / PV) as isize * t.ps_b).add(v % PV * V::LEN));
        let a_at = |i: usize| V::splat(*a.wrapping_byte_offset(t.a_strides.row(i)));
        let link = |x: V, y: V, sum: V| if NEGATED { x.neg_mul_add(y, sum) } else { x.mul_add(y, sum) };
        // The fewer of the two stay in registers for the step, beside the accumulators: the vectors
        // of B or the elements of A.
        if MR < NV {
            let mut xs = [V::splat(T::ZERO); MR];
            for (i, x) in xs.iter_mut().enumerate() {
                *x = a_at(i);
            }
            for v in 0..NV {
                let y = b_at(v);
                for (i, row) in acc.iter_mut().enumerate() {
                    row[v] = link(xs[i], y, row[v]);
                }
            }
        } else {
            let mut ys = [V::splat(T::ZERO); NV];
            for (v, y) in ys.iter_mut().enumerate() {
                *y = b_at(v);
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = a_at(i);
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = link(x, ys[v], *sum);
                }
            }
        }
    }
}
