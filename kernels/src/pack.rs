//! Panels: the order in which a register tile reads its operands.
//!
//! ```text
//! A, panels of MR rows           B, panels of NR columns, the last padded with 0
//!   ┌─────────┐                    ┌───────┬───────┬──┄┄┄┐
//!   │ panel 0 │ k→                 │ p 0   │ p 1   │p 2 ┊
//!   ├─────────┤ stored k by k:     │ k↓    │       │    ┊  stored k by k:
//!   │ panel 1 │ MR elements each   │       │       │    ┊  NR elements each
//!   └─────────┘                    └───────┴───────┴──┄┄┄┘
//! ```

use crate::copy::zeroed;
use crate::simd::prefetch;
use crate::simd::transpose::transpose;
use crate::{Error, Isa, MatRef, Real};
use core::mem::MaybeUninit;

mod prepacked;
pub use prepacked::{Orientation, PackedRhs, Panels};

/// The left operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a, T> {
    View(MatRef<'a, T>),
    /// Made element by element while it is packed.
    Made(&'a dyn Make<T>),
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a, T> {
    View(MatRef<'a, T>),
    /// In panels already.
    Panels(Panels<'a, T>),
    /// Made element by element while it is packed.
    Made(&'a dyn Make<T>),
}

/// A matrix that need not exist before it is packed.
pub(crate) trait Make<T>: Sync {
    fn shape(&self) -> (usize, usize);
    /// Elements (i, j) to (i, j + out.len() − 1). May be asked for again, by the same thread or after it.
    fn fill(&self, i: usize, j: usize, out: &mut [T], isa: Isa);
    /// What went wrong meanwhile.
    fn outcome(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl<T: Real> Left<'_, T> {
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::View(a) => a.shape(),
            Self::Made(a) => a.shape(),
        }
    }

    pub(crate) fn outcome(&self) -> Result<(), Error> {
        if let Self::Made(a) = self { a.outcome() } else { Ok(()) }
    }

    /// Makes every element of a matrix that is made, and keeps none.
    pub(crate) fn make_all(&self, isa: Isa) -> Result<(), Error> {
        let Self::Made(make) = self else { return Ok(()) };
        let (rows, cols) = make.shape();
        // Rows of nothing may be any number.
        for i in 0..if cols == 0 { 0 } else { rows } {
            for j in (0..cols).step_by(MADE_COLS) {
                make.fill(i, j, &mut [T::ZERO; MADE_COLS][..MADE_COLS.min(cols - j)], isa);
            }
        }
        make.outcome()
    }

    /// Packs `rows` rows from `first` on, elements pc .. pc + kb of each, into one panel of that width, every element multiplied by `alpha`
    /// (rounded once; exact for ±1). All of `out`, rows · kb elements, is written.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn pack(&self, first: usize, rows: usize, pc: usize, kb: usize, alpha: T, out: &mut [MaybeUninit<T>], isa: Isa) {
        match self {
            Self::View(a) => pack_panel(a.block(first, pc, rows, kb), rows, alpha, out, isa),
            Self::Made(make) => {
                assert!(rows <= MADE_ROWS && out.len() == rows * kb);
                let mut strip = [T::ZERO; MADE_ROWS * MADE_COLS];
                for k in (0..kb).step_by(MADE_COLS) {
                    let n = MADE_COLS.min(kb - k);
                    for (i, row) in strip.chunks_exact_mut(MADE_COLS).take(rows).enumerate() {
                        make.fill(first + i, pc + k, &mut row[..n], isa);
                    }
                    let strip = MatRef::strided(&strip, 0, (rows, n), (MADE_COLS as isize, 1)).expect("inside the strip");
                    pack_panel(strip, rows, alpha, &mut out[k * rows..(k + n) * rows], isa);
                }
            }
        }
    }

    /// Makes the same part row by row, kb elements each, not in panels.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn make(&self, first: usize, rows: usize, pc: usize, kb: usize, alpha: T, out: &mut [MaybeUninit<T>], isa: Isa) {
        let Self::Made(make) = self else { unreachable!("a view is packed") };
        assert_eq!(out.len(), rows * kb);
        for (i, row) in zeroed(out).chunks_exact_mut(kb.max(1)).enumerate() {
            for (c, piece) in row.chunks_mut(MADE_COLS).enumerate() {
                make.fill(first + i, pc + c * MADE_COLS, piece, isa);
                if alpha != T::ONE {
                    piece.iter_mut().for_each(|x| *x = alpha * *x);
                }
            }
        }
    }
}

/// Rows of a panel of A at most, in any instruction set.
const MADE_ROWS: usize = 16;
/// Elements of a row that are made at a time: a strip stays in L1.
pub(crate) const MADE_COLS: usize = 128;

impl<T: Real> Right<'_, T> {
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::View(b) => b.shape(),
            Self::Panels(b) => b.shape(),
            Self::Made(b) => b.shape(),
        }
    }

    pub(crate) fn outcome(&self) -> Result<(), Error> {
        if let Self::Made(b) = self { b.outcome() } else { Ok(()) }
    }

    /// Packs columns j .. j + cols, elements pc .. pc + kb of each, into panels of `nr` columns one after another. All of `out`, ⌈cols/nr⌉ ·
    /// nr · kb elements, is written.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn pack(&self, pc: usize, kb: usize, j: usize, cols: usize, nr: usize, out: &mut [MaybeUninit<T>], isa: Isa) {
        let len = nr * kb;
        assert_eq!(out.len(), cols.div_ceil(nr) * len);
        if let Self::View(b) = self {
            let together = cols / nr * nr;
            let (whole, rest) = out.split_at_mut(together * kb);
            // The same layout as a panel of A once the columns are called rows.
            let one = |at: usize, room: &mut [MaybeUninit<T>]| {
                pack_panel(b.block(pc, j + at, kb, nr.min(cols - at)).t(), nr, T::ONE, room, isa);
            };
            if !copy_panels(b.block(pc, j, kb, together), nr, whole) {
                whole.chunks_exact_mut(len.max(1)).enumerate().for_each(|(p, room)| one(p * nr, room));
            }
            if together < cols {
                one(together, rest);
            }
            return;
        }
        let Self::Made(make) = self else { unreachable!("panels are packed already") };
        let mut made = [T::ZERO; MADE_COLS];
        assert!(nr <= MADE_COLS);
        for (p, panel) in out.chunks_exact_mut(len.max(1)).enumerate() {
            let (j, cols) = (j + p * nr, nr.min(cols - p * nr));
            made.fill(T::ZERO);
            for (k, step) in panel.chunks_exact_mut(nr).enumerate() {
                make.fill(pc + k, j, &mut made[..cols], isa);
                for (o, &x) in step.iter_mut().zip(&made) {
                    o.write(x);
                }
            }
        }
    }
}

/// Whole panels of `nr` columns, row by row, so that as many lines of a row as there are panels are read together; `false`, and nothing done, if
/// rows have no neighbours or there is no loop for this width.
fn copy_panels<T: Real>(b: MatRef<'_, T>, nr: usize, out: &mut [MaybeUninit<T>]) -> bool {
    // The widths of whole panels and tiles: their copies are a few moves each.
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

fn copy_panels_of<T: Real, const W: usize>(b: MatRef<'_, T>, out: &mut [MaybeUninit<T>]) {
    let (steps, rest) = out.as_chunks_mut::<W>();
    let (kb, panels) = (b.nrows(), b.ncols() / W);
    assert!(rest.is_empty() && b.ncols() == panels * W && steps.len() == panels * kb && b.cs() == 1);
    let (first, rs) = (b.as_ptr(), b.rs());
    for k in 0..kb {
        let row = first.wrapping_offset(k as isize * rs);
        for p in 0..panels {
            prefetch(row.wrapping_offset(rs.wrapping_mul(AHEAD)).wrapping_add(p * W));
            // SAFETY: elements p·W to p·W + W − 1 of row k are in the view and, with a column stride of 1, side by side (asserted above); an array
            // needs no more alignment than its elements.
            steps[p * kb + k] = unsafe { row.add(p * W).cast::<[MaybeUninit<T>; W]>().read() };
        }
    }
}

/// Steps that packing fetches ahead: enough to hide the third-level cache, and no more lines than a set of the first level has ways, which is
/// where they all go if the rows are 4096 bytes apart.
const AHEAD: isize = 6;

/// One panel: out[k · width + i] = alpha · a[i, k] for i below a's rows, 0 for the others up to `width`.
#[inline(always)]
fn pack_panel<T: Real>(a: MatRef<'_, T>, width: usize, alpha: T, out: &mut [MaybeUninit<T>], isa: Isa) {
    let (rows, kc) = a.shape();
    assert!(rows <= width && out.len() == width * kc);
    if kc == 0 {
        return;
    }
    if rows == width && alpha == T::ONE {
        if a.rs() == 1 && copy_panels(a.t(), width, out) {
            return;
        }
        if a.cs() == 1 {
            // SAFETY: the panel is exactly rows × kc, as the assertion above says, and the view holds the elements read; a block of scratch and a view
            // share none.
            unsafe { transpose(isa, a.as_ptr(), a.rs(), out.as_mut_ptr().cast::<T>(), width as isize, (rows, kc)) };
            return;
        }
    }
    if rows < width {
        for step in out.chunks_exact_mut(width) {
            step[rows..].fill(MaybeUninit::new(T::ZERO));
        }
    }
    // Reversed views (triangular solves have them) are the same memory walked backwards.
    if a.rs().unsigned_abs() == 1 {
        // Elements of one k are neighbours: copy them k by k.
        let backwards = a.rs() == -1 && rows > 1;
        let a = if backwards { a.reverse_rows().t() } else { a.t() };
        for (k, step) in out.chunks_exact_mut(width).enumerate() {
            let elements = a.row(k).expect("neighbours");
            if backwards {
                scaled(&mut step[..rows], elements.iter().rev(), alpha);
            } else {
                scaled(&mut step[..rows], elements.iter(), alpha);
            }
        }
    } else if a.cs().unsigned_abs() == 1 {
        // Elements of one row are neighbours: read row by row.
        let backwards = a.cs() == -1 && kc > 1;
        let a = if backwards { a.reverse_cols() } else { a };
        for i in 0..rows {
            let row = a.row(i).expect("neighbours");
            let places = out[i..].iter_mut().step_by(width);
            if backwards {
                scaled(places, row.iter().rev(), alpha);
            } else {
                scaled(places, row.iter(), alpha);
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
fn scaled<'a, T: Real>(
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
    use std::sync::Mutex;

    /// A matrix of numbers that say where they stand; which of them were asked for.
    struct Places {
        shape: (usize, usize),
        asked: Mutex<Vec<u32>>,
    }

    impl Make<f64> for Places {
        fn shape(&self) -> (usize, usize) {
            self.shape
        }
        fn fill(&self, i: usize, j: usize, out: &mut [f64], _isa: Isa) {
            assert!(i < self.shape.0 && j + out.len() <= self.shape.1, "({i}, {j}) and {} more", out.len());
            let mut asked = self.asked.lock().unwrap();
            for (k, v) in out.iter_mut().enumerate() {
                *v = (1000 * i + j + k) as f64;
                asked[i * self.shape.1 + j + k] += 1;
            }
        }
    }

    fn places(shape: (usize, usize)) -> Places {
        Places { shape, asked: Mutex::new(vec![0; shape.0 * shape.1]) }
    }

    /// Rows longer than one strip of what is made: every element where it belongs, and each asked for once.
    #[test]
    fn long_rows_that_are_made_are_packed_strip_by_strip() {
        for (first, rows, pc, kb) in
            [(0, 5, 0, 300), (2, 3, 17, MADE_COLS), (1, 4, 40, MADE_COLS + 1), (4, 1, 299, 1), (0, 2, 7, 2 * MADE_COLS)]
        {
            let made = places((5, 300));
            let mut out = vec![MaybeUninit::new(f64::NAN); rows * kb];
            Left::Made(&made).pack(first, rows, pc, kb, -2.0, &mut out, Isa::PORTABLE);
            for k in 0..kb {
                for i in 0..rows {
                    // SAFETY: written above, as a number at first.
                    let got = unsafe { out[k * rows + i].assume_init() };
                    assert_eq!(got, -2.0 * (1000 * (first + i) + pc + k) as f64, "({i}, {k}) of {rows} x {kb}");
                }
            }
            let asked = made.asked.into_inner().unwrap();
            let inside = |i: usize, j: usize| (first..first + rows).contains(&i) && (pc..pc + kb).contains(&j);
            assert!((0..5).all(|i| (0..300).all(|j| asked[i * 300 + j] == u32::from(inside(i, j)))));
        }
    }

    /// A product without columns makes its left operand all the same, for what may be wrong with it.
    #[test]
    fn all_of_what_is_made_is_asked_for() {
        for shape in [(3, 1), (2, MADE_COLS), (3, MADE_COLS + 1), (2, 3 * MADE_COLS - 1), (4, 0), (0, 4)] {
            let made = places(shape);
            Left::Made(&made).make_all(Isa::PORTABLE).unwrap();
            assert!(made.asked.into_inner().unwrap().iter().all(|&times| times == 1), "{shape:?}");
        }
    }

    /// Panels that are not full: what lies behind the last row is read by tiles, and must be numbers, and small ones.
    #[test]
    fn panels_are_filled_up_with_zeros() {
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
                            // SAFETY: a number since it was made.
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

    /// What is made and goes wrong says so on either side.
    #[test]
    fn what_is_made_tells_its_outcome_on_both_sides() {
        struct Wrong;
        impl Make<f64> for Wrong {
            fn shape(&self) -> (usize, usize) {
                (1, 1)
            }
            fn fill(&self, _: usize, _: usize, _: &mut [f64], _: Isa) {}
            fn outcome(&self) -> Result<(), Error> {
                Err(Error::Domain { row: 0, col: 0 })
            }
        }
        let fine = places((1, 1));
        assert!(Left::Made(&fine).outcome().is_ok() && Right::Made(&fine).outcome().is_ok());
        assert!(Left::Made(&Wrong).outcome().is_err() && Right::Made(&Wrong).outcome().is_err());
    }
}
