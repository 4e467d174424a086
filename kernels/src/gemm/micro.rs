//! One register tile: `C ← β·C + A·B` for packed panels of A (MR rows) and B (NR columns).
//!
//! ```text
//!              B panel: kc × NR, one row of NR elements after another
//!             ┌──────────────┐
//!          k  │ b0  b1 … bN  │
//!   A panel:  └──────────────┘
//!   kc × MR,  ┌──────────────┐
//!   MR        │ acc[i][v]    │   MR × NR accumulators, in registers for all of kc
//!   elements  │              │
//!   a k-step  └──────────────┘
//! ```
//!
//! Every element of C is ONE chain: `acc ← fma(a[i,k], b[k,j], acc)` for increasing k. Nothing here adds two partial sums, so
//! neither the width of a word nor the shape of the tile can change a bit.

use crate::Real;
use crate::simd::Lanes;

/// What one tile works on.
pub(crate) struct Tile<T> {
    /// Length of the chain.
    pub(crate) kc: usize,
    /// Packed A: kc steps of MR elements.
    pub(crate) a: *const T,
    /// Packed B: kc steps of NR elements.
    pub(crate) b: *const T,
    /// First element of the tile of C; its columns are neighbours in memory.
    pub(crate) c: *mut T,
    /// Row stride of C.
    pub(crate) rs: isize,
    /// Columns of C that exist, 1 ..= NR; the others are computed and dropped.
    pub(crate) cols: usize,
    /// What C is multiplied by first; at 0 it is not read.
    pub(crate) beta: T,
}

/// Runs one tile.
///
/// # Safety
/// The CPU has the instruction set of the row the function came from. `a` holds kc·MR elements, `b` kc·NR, and the MR × cols
/// elements of `c` may be written (and are initialised unless β = 0).
pub(crate) type TileFn<T> = unsafe fn(&Tile<T>);

/// The kernels of one element type on one instruction set: `tiles[i]` has i + 1 rows.
pub struct KernelRow<T: 'static> {
    pub(crate) isa: &'static str,
    pub(crate) nr: usize,
    pub(crate) tiles: &'static [TileFn<T>],
}

impl<T: Real> KernelRow<T> {
    /// Rows of the tallest tile.
    pub(crate) fn mr(&self) -> usize {
        self.tiles.len()
    }

    /// The tallest tile's name, as in `sgemm_14x32_avx512`.
    pub(crate) fn name(&self) -> String {
        let letter = if size_of::<T>() == 4 { 's' } else { 'd' };
        format!("{letter}gemm_{}x{}_{}", self.mr(), self.nr, self.isa)
    }
}

/// The body of every tile, compiled inside a shell that enables the features of `V`.
///
/// # Safety
/// As [`TileFn`], with NR = `NV · V::LEN`.
#[inline(always)]
pub(crate) unsafe fn tile<T: Real, V: Lanes<T>, const MR: usize, const NV: usize>(t: &Tile<T>) {
    let nr = NV * V::LEN;
    debug_assert!(1 <= t.cols && t.cols <= nr);
    // SAFETY: pointers stay in the panels and in the MR × cols elements of C by the contract above: `a` advances
    // MR and `b` NR elements in each of kc steps; C is touched at rows < MR and, with `first`, at columns < cols only.
    unsafe {
        let mut acc = [[V::splat(T::ZERO); NV]; MR];
        // Words that lie wholly inside the tile's columns; at most one more is partial.
        let (full, rest) = (t.cols / V::LEN, t.cols % V::LEN);
        if t.beta != T::ZERO {
            let beta = V::splat(t.beta);
            for (i, row) in acc.iter_mut().enumerate() {
                let c = t.c.offset(i as isize * t.rs);
                for (v, word) in row.iter_mut().enumerate() {
                    // A word behind the last column starts outside C: no pointer to it is formed.
                    if v < full {
                        *word = V::load(c.add(v * V::LEN)).mul(beta);
                    } else if v == full && rest > 0 {
                        *word = V::load_first(c.add(v * V::LEN), rest).mul(beta);
                    }
                }
            }
        }
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.kc {
            let mut bs = [V::splat(T::ZERO); NV];
            for (v, word) in bs.iter_mut().enumerate() {
                *word = V::load(b.add(v * V::LEN));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = V::splat(*a.add(i));
                for (word, bv) in row.iter_mut().zip(bs) {
                    *word = x.mul_add(bv, *word);
                }
            }
            a = a.add(MR);
            b = b.add(nr);
        }
        for (i, row) in acc.iter().enumerate() {
            let c = t.c.offset(i as isize * t.rs);
            for (v, word) in row.iter().enumerate() {
                if v < full {
                    word.store(c.add(v * V::LEN));
                } else if v == full && rest > 0 {
                    word.store_first(c.add(v * V::LEN), rest);
                }
            }
        }
    }
}
