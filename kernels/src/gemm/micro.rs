//! The register tile: `C ← epilogue(β·S + A·B)`, and a column of them, one below the other.
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
use crate::simd::{Lanes, prefetch};
use alloc::format;
use alloc::string::String;

/// What one tile works on.
pub struct Tile<T> {
    /// Length of the chain.
    pub(crate) kc: usize,
    /// How many tiles, one below the other.
    pub(crate) count: usize,
    /// From the A of one tile to that of the next.
    pub(crate) a_tile: isize,
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
    /// Where B goes on after the last of the tiles: fetched meanwhile, if there is such a place.
    pub(crate) next: Option<*const T>,
}

/// Runs a column of `count` tiles of one height. At k = 60 a tile lasts 400 cycles: a call for each would cost a tenth of that.
///
/// # Safety
/// The CPU has the instruction set of the table the function came from. For every k < kc: A holds the tiles' rows, B the tile's words (whole
/// words, the last one included). The tiles' rows × cols elements of `c` may be written and, if the epilogue reads C, are initialised; so are
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

    /// Words that hold so many columns. A word has a power of two of elements.
    #[inline(always)]
    pub(crate) fn words(&self, cols: usize) -> usize {
        (cols + self.len - 1) >> self.len.trailing_zeros()
    }

    /// Whether so many columns end in a whole word.
    #[inline(always)]
    pub(crate) fn whole_words(&self, cols: usize) -> bool {
        cols & (self.len - 1) == 0
    }

    /// Panels that one tile of `rows` rows can span.
    pub(crate) fn panels(&self, rows: usize) -> usize {
        // Only few rows leave registers for more than one panel.
        if rows > 4 {
            return 1;
        }
        let whole = |w: &&(usize, usize)| w.0 == rows && w.1.is_multiple_of(self.panel);
        self.wide.iter().filter(whole).map(|w| w.1 / self.panel).max().unwrap_or(1)
    }

    /// Rows of the tallest tile that is just as wide as `cols` columns and wider than a panel; 0 if there is none.
    pub(crate) fn wide_rows(&self, cols: usize) -> usize {
        let words = self.words(cols);
        self.wide.iter().filter(|w| w.1 == words && !w.1.is_multiple_of(self.panel)).map(|w| w.0).max().unwrap_or(0)
    }

    /// The tallest tile's name, as in `sgemm_9x48_avx512`.
    pub(crate) fn name<T>(&self) -> String {
        let letter = if size_of::<T>() == 4 { 's' } else { 'd' };
        format!("{letter}gemm_{}x{}_{}", self.tall, self.nr(), self.isa)
    }
}

/// How many tiles share the fetching of the next panel of B.
const FETCH_SHARES: usize = 4;

/// Steps between checks of the loop counter, for a tile of so many words: two save one prefetch of each kind. The larger tiles of AVX-512 take one: the
/// compiler would load both steps' words of B at once, for which no registers are left, and keep accumulators in memory.
const fn unroll(words: usize) -> usize {
    if words <= 16 { 2 } else { 1 }
}

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
    let whole = t.cols == NV * V::LEN;
    let rest = t.cols - (NV - 1) * V::LEN;
    // Emulated multiply-adds make a long body of one step.
    let unroll = unroll(MR * NV);
    let pairs = if V::EMULATED { 0 } else { t.kc / unroll };
    // The last few tiles fetch the next panel, a share each; what the others fetch is there already.
    let fetchers = t.count.min(FETCH_SHARES);
    let packed = t.b_step == (PV * V::LEN) as isize;
    // A packed panel is one run of bytes, of which each fetches a part. Where B lies in place, a panel is a line or more of each row: each fetches one line of some
    // rows, or, where too few could share, the last one all. `hop` bytes lie between what is fetched at one step and at the next.
    let lines = (FETCH_SHARES / unroll) as isize;
    let alone = t.next.is_some() && !packed && fetchers < FETCH_SHARES;
    // Wrapping: the row stride of a B of one row may be anything.
    let row = t.b_step.wrapping_mul(size_of::<T>() as isize);
    let bytes = unroll * PV * size_of::<V>();
    let hop = match (packed, alone) {
        (true, _) => bytes.div_ceil(FETCH_SHARES) as isize,
        (false, false) => row,
        (false, true) => row.wrapping_mul(unroll as isize),
    };
    let share = (t.kc * PV * size_of::<V>()).div_ceil(fetchers) as isize;
    let part = |part: isize| match (packed, alone) {
        (true, _) => part * share,
        (false, false) => row.wrapping_mul(part / lines * pairs as isize).wrapping_add(part % lines * LINE as isize),
        (false, true) => 0,
    };
    for index in 0..t.count {
        let rows = (index * MR) as isize;
        let (c, start) = (t.c.wrapping_offset(rows * t.rs), t.start.wrapping_offset(rows * t.start_rs));
        let mut a = t.a.wrapping_offset(index as isize * t.a_tile);
        // What the next tile reads of A; the last one goes back to the first, where the next panel will start. Nothing behind A is fetched: it may be
        // C, and just being written by another core.
        let mut ahead = t.a.wrapping_offset(if index + 1 == t.count { 0 } else { index as isize + 1 } * t.a_tile);
        let mut b = t.b;
        let mut next = match t.next {
            Some(next) if t.count - index <= if alone { 1 } else { fetchers } => {
                next.wrapping_byte_offset(part((fetchers + index - t.count) as isize))
            }
            _ => b,
        };
        // SAFETY: pointers stay in A, B, C and `start` by the contract above: k stays below kc, rows below MR · count, and columns below `cols`,
        // with `_first` where the last word is not whole.
        unsafe {
            let mut acc = [[V::splat(T::ZERO); NV]; MR];
            for i in 0..MR {
                // The end of each row of the tile, long before it is stored; what lies before it came with the panel before.
                prefetch(c.wrapping_offset(i as isize * t.rs).wrapping_add(t.cols - 1));
            }
            if t.beta != T::ZERO {
                let beta = V::splat(t.beta);
                for (i, row) in acc.iter_mut().enumerate() {
                    let start = start.offset(i as isize * t.start_rs);
                    for (v, word) in row.iter_mut().enumerate() {
                        let s = start.add(v * V::LEN);
                        *word = if v + 1 < NV || whole { V::load(s) } else { V::load_first(s, rest) }.mul(beta);
                    }
                }
            }
            for _ in 0..pairs {
                for line in 0..bytes.div_ceil(LINE * FETCH_SHARES) {
                    prefetch(next.wrapping_byte_add(line * LINE));
                }
                if alone {
                    for u in 0..unroll as isize {
                        let line = next.wrapping_byte_offset(row.wrapping_mul(u));
                        (0..(PV * size_of::<V>()).div_ceil(LINE)).for_each(|i| prefetch(line.wrapping_byte_add(i * LINE)));
                    }
                }
                next = next.wrapping_byte_offset(hop);
                prefetch(ahead);
                ahead = ahead.wrapping_add(unroll * MR);
                for u in 0..unroll as isize {
                    step::<T, V, MR, NV, PV, BY_ROWS, NEGATED>(t, a, b.offset(u * t.b_step), u, &mut acc);
                }
                a = a.wrapping_offset(unroll as isize * if BY_ROWS { 1 } else { t.a_step });
                b = b.wrapping_offset(unroll as isize * t.b_step);
            }
            for _ in pairs * unroll..t.kc {
                step::<T, V, MR, NV, PV, BY_ROWS, NEGATED>(t, a, b, 0, &mut acc);
                a = a.wrapping_offset(if BY_ROWS { 1 } else { t.a_step });
                b = b.wrapping_offset(t.b_step);
            }
            // Read again: kept since the prefetches, the addresses of the rows would be spilled.
            let rs = core::ptr::read_volatile(&raw const t.rs);
            let finish = |i: usize, v: usize, word: V| {
                let (c, i, j) = (c.offset(i as isize * rs).add(v * V::LEN), t.i + index * MR + i, t.j + v * V::LEN);
                if v + 1 < NV || whole {
                    e.finish::<V, true>(i, j, word, c, V::LEN);
                } else {
                    e.finish::<V, false>(i, j, word, c, rest);
                }
            };
            if MR * NV > E::INLINE_WORDS {
                // A copy, so that the accumulators themselves stay in registers: a loop that is not unrolled would index them in memory.
                let words = acc;
                for (i, row) in core::hint::black_box(&words).iter().enumerate() {
                    for (v, &word) in row.iter().enumerate() {
                        finish(i, v, word);
                    }
                }
            } else {
                for (i, row) in acc.iter().enumerate() {
                    for (v, &word) in row.iter().enumerate() {
                        finish(i, v, word);
                    }
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
        // With NV ≤ PV the compiler sees that there is one panel only.
        let b_at = |v: usize| V::load(b.offset((v / PV) as isize * t.b_panel).add(v % PV * V::LEN));
        let a_at = |i: usize| {
            let i = i as isize;
            V::splat(*a.offset(if BY_ROWS { i * t.a_step + u } else { i + u * t.a_step }))
        };
        let link = |x: V, word: V, sum: V| if NEGATED { x.neg_mul_add(word, sum) } else { x.mul_add(word, sum) };
        // Whichever is fewer stays in registers for the step, beside the accumulators: the words of B or the elements of A.
        if MR < NV {
            let mut xs = [V::splat(T::ZERO); MR];
            for (i, x) in xs.iter_mut().enumerate() {
                *x = a_at(i);
            }
            for v in 0..NV {
                let word = b_at(v);
                for (row, &x) in acc.iter_mut().zip(&xs) {
                    row[v] = link(x, word, row[v]);
                }
            }
        } else {
            let mut words = [V::splat(T::ZERO); NV];
            for (v, word) in words.iter_mut().enumerate() {
                *word = b_at(v);
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = a_at(i);
                for (sum, &word) in row.iter_mut().zip(&words) {
                    *sum = link(x, word, *sum);
                }
            }
        }
    }
}
