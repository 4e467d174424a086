//! One register tile: `C ← epilogue(β·S + A·B)`.
//!
//! ```text
//!                B panel: NR elements a k-step, packed or where they lie
//!               ┌──────────────┐
//!            k  │ b0  b1 … bN  │
//!     A:        └──────────────┘
//!     MR rows   ┌──────────────┐
//!     (packed,  │ acc[i][v]    │   MR × NV words of accumulators, in registers for all of kc
//!     or where  │              │
//!     they lie) └──────────────┘
//! ```
//!
//! Every element of C is ONE chain: `acc ← fma(a[i,k], b[k,j], acc)` for increasing k. Nothing here adds two partial sums, so
//! neither the width of a word nor the shape of the tile can change a bit.
//!
//! Three kinds of operand need no packing: A with neighbours down a column (a packed panel is one of these, of width MR), A with
//! neighbours along a row, and B with neighbours along a row. What a tile costs then differs by a few address registers only.
//!
//! # Adding an instruction set
//! Write its words (`simd/NAME.rs`: two invocations of `word!`, for f32 and f64), register its tiles there (`tiles!`: the widths and heights
//! that its registers hold), and name it in `isa.rs`. The tests find it by itself.

use crate::Real;
use crate::epilogue::Epilogue;
use crate::simd::Lanes;

/// What one tile works on.
pub struct Tile<T> {
    /// Length of the chain.
    pub(crate) kc: usize,
    /// First element of A.
    pub(crate) a: *const T,
    /// The stride of A that is not 1: from row to row where the tile reads A by rows, else from k to k.
    pub(crate) a_step: isize,
    /// First element of B; the elements of a k-step are neighbours.
    pub(crate) b: *const T,
    /// From one k-step of B to the next.
    pub(crate) b_step: isize,
    /// From one panel of B to the next; used by tiles wider than a panel.
    pub(crate) b_panel: isize,
    /// Where the chain starts from, times `beta`; not read if that is 0.
    pub(crate) start: *const T,
    /// Row stride of `start`.
    pub(crate) start_rs: isize,
    /// What `start` is multiplied by.
    pub(crate) beta: T,
    /// First element of the tile of C; its columns are neighbours in memory.
    pub(crate) c: *mut T,
    /// Row stride of C.
    pub(crate) rs: isize,
    /// Columns of C that exist: they end in the tile's last word.
    pub(crate) cols: usize,
    /// Row of the first element in the whole of C, for epilogues.
    pub(crate) i: usize,
    /// Column of the first element in the whole of C.
    pub(crate) j: usize,
    /// Where B goes on after this tile: fetched meanwhile.
    pub(crate) next: *const T,
}

/// Runs one tile.
///
/// # Safety
/// The CPU has the instruction set of the table the function came from. For every k < kc: A holds the tile's rows, B the tile's words (whole
/// words, the last one included). The tile's rows × cols elements of `c` may be written and, if the epilogue reads C, are initialised; so are
/// those of `start` unless β = 0. The epilogue's own operands hold element (i, j) of everything the tile covers, and nobody else touches
/// these elements meanwhile.
pub(crate) type TileFn<T, E> = unsafe fn(&Tile<T>, &E);

/// Which variant of a tile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TileKind {
    /// A's neighbours lie along its rows.
    pub(crate) by_rows: bool,
    /// A's elements count negative.
    pub(crate) negated: bool,
}

/// Sizes of the tiles of one element type on one instruction set.
#[derive(Debug)]
pub struct Family {
    pub(crate) isa: &'static str,
    /// Elements of a word.
    pub(crate) len: usize,
    /// Words of a panel of B.
    pub(crate) panel: usize,
    /// Rows of the tallest tile: there is one for every height up to this and every width up to a panel.
    pub(crate) tall: usize,
    /// The same where A is read by rows.
    pub(crate) tall_by_rows: usize,
    /// (rows, words) of tiles wider than a panel.
    pub(crate) wide: &'static [(usize, usize)],
}

impl Family {
    /// Columns of a panel of B.
    pub(crate) fn nr(&self) -> usize {
        self.len * self.panel
    }

    /// Panels that one tile of `rows` rows can span.
    pub(crate) fn panels(&self, rows: usize) -> usize {
        self.wide.iter().filter(|w| w.0 == rows).map(|w| w.1 / self.panel).max().unwrap_or(1)
    }

    /// The tallest tile's name, as in `sgemm_9x48_avx512`.
    pub(crate) fn name<T>(&self) -> String {
        let letter = if size_of::<T>() == 4 { 's' } else { 'd' };
        format!("{letter}gemm_{}x{}_{}", self.tall, self.nr(), self.isa)
    }
}

/// Steps between checks of the loop counter.
const UNROLL: usize = 4;

/// The body of every tile, compiled inside a shell that enables the features of `V`: MR rows, NV words, PV of them a panel.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(crate) unsafe fn tile<
    T: Real,
    V: Lanes<T>,
    const MR: usize,
    const NV: usize,
    const PV: usize,
    const BY_ROWS: bool,
    const NEGATED: bool,
    E: Epilogue<T>,
>(
    t: &Tile<T>,
    e: &E,
) {
    debug_assert!((NV - 1) * V::LEN < t.cols && t.cols <= NV * V::LEN);
    // SAFETY: pointers stay in A, B, C and `start` by the contract above: k stays below kc, rows below MR, and columns below `cols`,
    // with `_first` where the last word is not whole.
    unsafe {
        let mut acc = [[V::splat(T::ZERO); NV]; MR];
        let whole = t.cols == NV * V::LEN;
        let rest = t.cols - (NV - 1) * V::LEN;
        for i in 0..MR {
            // The first and the last element of each row of the tile, long before they are stored.
            let c = t.c.wrapping_offset(i as isize * t.rs);
            V::prefetch(c);
            V::prefetch(c.wrapping_add(t.cols - 1));
        }
        if t.beta != T::ZERO {
            let beta = V::splat(t.beta);
            for (i, row) in acc.iter_mut().enumerate() {
                let start = t.start.offset(i as isize * t.start_rs);
                for (v, word) in row.iter_mut().enumerate() {
                    let s = start.add(v * V::LEN);
                    *word = if v + 1 < NV || whole { V::load(s) } else { V::load_first(s, rest) }.mul(beta);
                }
            }
        }
        let (mut a, mut b, mut next) = (t.a, t.b, t.next);
        for _ in 0..t.kc / UNROLL {
            for line in 0..(UNROLL * PV * size_of::<V>()).div_ceil(LINE) {
                V::prefetch(next.wrapping_byte_add(line * LINE));
            }
            next = next.wrapping_add(UNROLL * PV * V::LEN);
            for u in 0..UNROLL as isize {
                step::<T, V, MR, NV, PV, BY_ROWS, NEGATED>(t, a, b.offset(u * t.b_step), u, &mut acc);
            }
            a = a.wrapping_offset(UNROLL as isize * if BY_ROWS { 1 } else { t.a_step });
            b = b.wrapping_offset(UNROLL as isize * t.b_step);
        }
        for _ in 0..t.kc % UNROLL {
            step::<T, V, MR, NV, PV, BY_ROWS, NEGATED>(t, a, b, 0, &mut acc);
            a = a.wrapping_offset(if BY_ROWS { 1 } else { t.a_step });
            b = b.wrapping_offset(t.b_step);
        }
        for (i, row) in acc.iter().enumerate() {
            let c = t.c.offset(i as isize * t.rs);
            for (v, &word) in row.iter().enumerate() {
                let (c, j) = (c.add(v * V::LEN), t.j + v * V::LEN);
                if v + 1 < NV || whole {
                    e.finish::<V, true>(t.i + i, j, word, c, V::LEN);
                } else {
                    e.finish::<V, false>(t.i + i, j, word, c, rest);
                }
            }
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// One link of every chain, `u` steps after `a`.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn step<
    T: Real,
    V: Lanes<T>,
    const MR: usize,
    const NV: usize,
    const PV: usize,
    const BY_ROWS: bool,
    const NEGATED: bool,
>(
    t: &Tile<T>,
    a: *const T,
    b: *const T,
    u: isize,
    acc: &mut [[V; NV]; MR],
) {
    // SAFETY: as in `tile`.
    unsafe {
        let mut words = [V::splat(T::ZERO); NV];
        for (v, word) in words.iter_mut().enumerate() {
            // With NV ≤ PV the compiler sees that there is one panel only.
            *word = V::load(b.offset((v / PV) as isize * t.b_panel).add(v % PV * V::LEN));
        }
        for (i, row) in acc.iter_mut().enumerate() {
            let i = i as isize;
            let x = V::splat(*a.offset(if BY_ROWS { i * t.a_step + u } else { i + u * t.a_step }));
            for (sum, word) in row.iter_mut().zip(words) {
                *sum = if NEGATED { x.neg_mul_add(word, *sum) } else { x.mul_add(word, *sum) };
            }
        }
    }
}
