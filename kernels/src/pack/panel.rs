//! Panels: the order in which a register tile reads its operands.
//!
//! A panel of A holds MR rows and is stored k by k, MR elements each. A panel of B holds NR columns
//! and is stored k by k, NR elements each; the last one is padded with 0. [`crate::guide::pack`]
//! has the diagram.

use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::scalar::Scalar;
use crate::simd::dispatch::Vectors;
use crate::simd::transpose::transpose;
use crate::simd::vector::{Level, prefetch};
use core::mem::MaybeUninit;

/// Packs whole panels of `nr` columns, row by row: the cache lines of a row are read together for
/// all panels. Returns `false`, without a write, if rows are not contiguous or no fixed-length copy
/// has this width.
fn copy_panels<T: Scalar>(b: MatRef<'_, T>, nr: usize, out: &mut [MaybeUninit<T>]) -> bool {
    // Tile heights above 3 and panel widths of every instruction set (a test compares them). The
    // compiler turns a copy of fixed length into a few moves.
    macro_rules! by_width {
        ($($w:literal)+) => {
            match nr {
                $($w if b.cs() == 1 => copy_panels_of::<T, $w>(b, out),)+
                _ => return false,
            }
        };
    }
    by_width!(4 5 6 7 8 9 12 16 24 48);
    true
}

fn copy_panels_of<T: Scalar, const W: usize>(b: MatRef<'_, T>, out: &mut [MaybeUninit<T>]) {
    let (steps, rest) = out.as_chunks_mut::<W>();
    let (kb, panels) = (b.nrows(), b.ncols() / W);
    assert!(rest.is_empty() && b.ncols() == panels * W && steps.len() == panels * kb && b.cs() == 1);
    let (first, rs) = (b.as_ptr(), b.rs());
    for k in 0..kb {
        let row = first.wrapping_offset(k as isize * rs);
        for p in 0..panels {
            prefetch(Level::L1, row.wrapping_offset(rs.wrapping_mul(AHEAD)).wrapping_add(p * W));
            // SAFETY: elements p·W to p·W + W − 1 of row k are in the view. They are contiguous,
            // since the column stride is 1 (asserted above). An array has the alignment of its
            // elements.
            steps[p * kb + k] = unsafe { row.add(p * W).cast::<[MaybeUninit<T>; W]>().read() };
        }
    }
}

/// Number of k-steps that packing prefetches ahead. It hides the latency of L3. It also stays below
/// the number of ways of L1: rows 4096 bytes apart all map to one set.
const AHEAD: isize = 6;

once! {
    /// Packs columns j .. j + cols, elements pc .. pc + kb of each, into consecutive panels of `nr`
    /// columns. Writes all of `out`, ⌈cols/nr⌉ · nr · kb elements, and pads the last panel with 0.
    pub(crate) fn pack_columns<T: Vectors> = pack_columns_body(
        b: MatRef<'a, T>, rows: (usize, usize), columns: (usize, usize), nr: usize,
        out: &'a mut [MaybeUninit<T>], isa: Isa
    )
}

fn pack_columns_body<T: Vectors>(
    b: MatRef<'_, T>,
    (pc, kb): (usize, usize),
    (j, cols): (usize, usize),
    nr: usize,
    out: &mut [MaybeUninit<T>],
    isa: Isa,
) {
    let len = nr * kb;
    assert_eq!(out.len(), cols.div_ceil(nr) * len);
    let whole_cols = cols / nr * nr;
    let (whole, rest) = out.split_at_mut(whole_cols * kb);
    // A panel of B is a panel of Bᵀ as left operand.
    let pack_one = |at: usize, panel: &mut [MaybeUninit<T>]| {
        pack_panel(b.block(pc, j + at, kb, nr.min(cols - at)).t(), nr, T::ONE, panel, isa);
    };
    if !copy_panels(b.block(pc, j, kb, whole_cols), nr, whole) {
        whole.chunks_exact_mut(len.max(1)).enumerate().for_each(|(p, panel)| pack_one(p * nr, panel));
    }
    if whole_cols < cols {
        pack_one(whole_cols, rest);
    }
}

/// Packs one panel: out[k · width + i] = alpha · a[i, k] for i < a.nrows(), and 0 for the other i <
/// width.
#[inline(always)]
pub(crate) fn pack_panel<T: Vectors>(a: MatRef<'_, T>, width: usize, alpha: T, out: &mut [MaybeUninit<T>], isa: Isa) {
    let (rows, kc) = a.shape();
    assert!(rows <= width && out.len() == width * kc);
    if kc == 0 {
        return;
    }
    if rows == width && alpha == T::ONE && a.rs() == 1 && copy_panels(a.t(), width, out) {
        return;
    }
    if rows < width {
        for step in out.chunks_exact_mut(width) {
            step[rows..].fill(MaybeUninit::new(T::ZERO));
        }
    }
    if alpha == T::ONE && a.cs() == 1 {
        // SAFETY: `out` holds width ≥ rows elements for each of the kc steps (asserted above), and
        // is an exclusive borrow. `transpose` promises to read no element of the view.
        let steps = unsafe { MatMut::from_raw_parts(out.as_mut_ptr().cast::<T>(), (kc, rows), (width as isize, 1)) };
        return transpose(isa, a, steps);
    }
    // Triangular solves pass reversed views, whose memory is read backwards.
    if a.rs().unsigned_abs() == 1 {
        // The elements of one k are contiguous: copy k by k.
        let reversed = a.rs() == -1 && rows > 1;
        let a = if reversed { a.reverse_rows().t() } else { a.t() };
        for (k, step) in out.chunks_exact_mut(width).enumerate() {
            let elements = a.row(k).expect("contiguous");
            if reversed {
                write_scaled(&mut step[..rows], elements.iter().rev(), alpha);
            } else {
                write_scaled(&mut step[..rows], elements.iter(), alpha);
            }
        }
    } else if a.cs().unsigned_abs() == 1 {
        // The elements of one row are contiguous: read row by row.
        let reversed = a.cs() == -1 && kc > 1;
        let a = if reversed { a.reverse_cols() } else { a };
        for i in 0..rows {
            let row = a.row(i).expect("contiguous");
            let places = out[i..].iter_mut().step_by(width);
            if reversed {
                write_scaled(places, row.iter().rev(), alpha);
            } else {
                write_scaled(places, row.iter(), alpha);
            }
        }
    } else {
        for (k, step) in out.chunks_exact_mut(width).enumerate() {
            for (i, o) in step.iter_mut().take(rows).enumerate() {
                o.write(alpha * a.get(i, k));
            }
        }
    }
}

#[inline(always)]
fn write_scaled<'a, T: Scalar>(
    places: impl IntoIterator<Item = &'a mut MaybeUninit<T>>,
    elements: impl Iterator<Item = &'a T>,
    alpha: T,
) {
    for (place, &x) in places.into_iter().zip(elements) {
        place.write(alpha * x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::table::Real;

    /// Tiles read the padding lanes, so these must be zero.
    #[test]
    fn panels_are_padded_with_zeros() {
        let data: Vec<f64> = (1..200).map(f64::from).collect();
        for (rs, cs) in [(1, 9), (9, 1), (-1, 9), (9, -1), (20, 3)] {
            for (rows, width, kc) in [(1, 8, 7), (5, 8, 1), (7, 8, 3), (8, 8, 7)] {
                let first = if rs < 0 || cs < 0 { 100 } else { 0 };
                let a = MatRef::strided(&data, first, (rows, kc), (rs, cs)).unwrap();
                for alpha in [1.0, -3.0] {
                    let mut out = vec![MaybeUninit::new(f64::NAN); width * kc];
                    pack_panel(a, width, alpha, &mut out, Isa::PORTABLE);
                    for k in 0..kc {
                        for i in 0..width {
                            // SAFETY: initialized with NaN above.
                            let got = unsafe { out[k * width + i].assume_init() };
                            let want = if i < rows { alpha * a.get(i, k) } else { 0.0 };
                            assert_eq!(
                                got.to_bits(),
                                want.to_bits(),
                                "({i}, {k}) of {rows} x {kc} in {width}, strides {rs}, {cs}"
                            );
                        }
                    }
                }
            }
        }
    }

    /// Every panel width and every tile height above 3 has a copy of fixed length.
    #[test]
    fn no_width_is_packed_slowly() {
        fn check<T: Real>() {
            for isa in Isa::available() {
                let tiles = T::tiles(isa);
                for width in (4..=tiles.mr).chain([tiles.nr()]) {
                    let data = vec![T::ONE; width];
                    let row = MatRef::new(&data, 1, width).unwrap();
                    let mut out = vec![MaybeUninit::new(T::ZERO); width];
                    assert!(copy_panels(row, width, &mut out), "{isa} {}: {width}", T::NAME);
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }
}
