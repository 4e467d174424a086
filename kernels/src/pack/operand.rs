//! The operands of a product: views, prepacked panels, or matrices generated while they are packed.

use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::pack::panel::{pack_columns, pack_panel};
use crate::pack::prepacked::Panels;
use crate::simd::copy::zeroed;
use crate::tile::table::{MOST_ROWS, Real};
use core::mem::MaybeUninit;

/// The left operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a, T> {
    View(MatRef<'a, T>),
    Generated(&'a dyn Generate<T>),
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a, T> {
    View(MatRef<'a, T>),
    /// Prepacked by the caller.
    Panels(Panels<'a, T>),
    Generated(&'a dyn Generate<T>),
}

/// A matrix whose elements are generated while they are packed.
pub(crate) trait Generate<T>: Sync {
    fn shape(&self) -> (usize, usize);
    /// Writes elements (i, j) to (i, j + out.len() − 1). Repeated calls give the same bits.
    fn fill(&self, i: usize, j: usize, out: &mut [T]);
}

/// Elements generated of a row at a time, so that a strip stays in L1.
const STRIP_COLS: usize = 128;

impl<T: Real> Left<'_, T> {
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::View(a) => a.shape(),
            Self::Generated(a) => a.shape(),
        }
    }

    /// Packs rows `first .. first + rows`, elements pc .. pc + kb of each, into one panel of width
    /// `rows`. Multiplies every element by `alpha`: rounded once, exact for ±1. Writes all of
    /// `out`, rows · kb elements.
    pub(crate) fn pack(
        &self,
        (first, rows): (usize, usize),
        (pc, kb): (usize, usize),
        alpha: T,
        out: &mut [MaybeUninit<T>],
        isa: Isa,
    ) {
        match self {
            Self::View(a) => pack_panel(a.block(first, pc, rows, kb), rows, alpha, out, isa),
            Self::Generated(a) => {
                assert!(rows <= MOST_ROWS && out.len() == rows * kb);
                let cols = STRIP_COLS.min(kb);
                let mut strip = [const { MaybeUninit::uninit() }; MOST_ROWS * STRIP_COLS];
                // As much as a short product needs: zeroing all of it would cost as much as packing.
                let strip = zeroed(&mut strip[..rows * cols]);
                for k in (0..kb).step_by(STRIP_COLS) {
                    let n = cols.min(kb - k);
                    for (i, row) in strip.chunks_exact_mut(cols).enumerate() {
                        a.fill(first + i, pc + k, &mut row[..n]);
                    }
                    // Before the transposition, where it is vectors' work.
                    if alpha != T::ONE {
                        strip.iter_mut().for_each(|x| *x = alpha * *x);
                    }
                    let strip = MatRef::strided(strip, 0, (rows, n), (cols as isize, 1)).expect("inside the strip");
                    pack_panel(strip, rows, T::ONE, &mut out[k * rows..(k + n) * rows], isa);
                }
            }
        }
    }
}

impl<T: Real> Right<'_, T> {
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::View(b) => b.shape(),
            Self::Panels(b) => b.shape(),
            Self::Generated(b) => b.shape(),
        }
    }

    /// Packs columns of the operand, as [`pack_columns`].
    pub(crate) fn pack(
        &self,
        (pc, kb): (usize, usize),
        (j, cols): (usize, usize),
        nr: usize,
        out: &mut [MaybeUninit<T>],
        isa: Isa,
    ) {
        let b = match self {
            Self::View(b) => return pack_columns(*b, (pc, kb), (j, cols), nr, out, isa),
            Self::Panels(_) => unreachable!("panels are packed already"),
            Self::Generated(b) => b,
        };
        assert_eq!(out.len(), cols.div_ceil(nr) * nr * kb);
        let mut row = [T::ZERO; STRIP_COLS];
        assert!(nr <= STRIP_COLS);
        for (p, panel) in out.chunks_exact_mut((nr * kb).max(1)).enumerate() {
            let (j, cols) = (j + p * nr, nr.min(cols - p * nr));
            row.fill(T::ZERO);
            for (k, step) in panel.chunks_exact_mut(nr).enumerate() {
                b.fill(pc + k, j, &mut row[..cols]);
                for (out, &x) in step.iter_mut().zip(&row) {
                    out.write(x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A matrix whose elements are their own indices. Counts how often each is generated.
    struct IndexMatrix {
        shape: (usize, usize),
        generated: Mutex<Vec<u32>>,
    }

    impl Generate<f64> for IndexMatrix {
        fn shape(&self) -> (usize, usize) {
            self.shape
        }
        fn fill(&self, i: usize, j: usize, out: &mut [f64]) {
            assert!(i < self.shape.0 && j + out.len() <= self.shape.1, "({i}, {j}) and {} more", out.len());
            let mut generated = self.generated.lock().unwrap();
            for (k, v) in out.iter_mut().enumerate() {
                *v = (1000 * i + j + k) as f64;
                generated[i * self.shape.1 + j + k] += 1;
            }
        }
    }

    fn index_matrix(shape: (usize, usize)) -> IndexMatrix {
        IndexMatrix { shape, generated: Mutex::new(vec![0; shape.0 * shape.1]) }
    }

    /// Rows longer than one strip: every element is packed in its place and generated once.
    #[test]
    fn long_generated_rows_are_packed_strip_by_strip() {
        for (first, rows, pc, kb) in
            [(0, 5, 0, 300), (2, 3, 17, STRIP_COLS), (1, 4, 40, STRIP_COLS + 1), (4, 1, 299, 1), (0, 2, 7, 2 * STRIP_COLS)]
        {
            let matrix = index_matrix((5, 300));
            let mut out = vec![MaybeUninit::new(f64::NAN); rows * kb];
            Left::Generated(&matrix).pack((first, rows), (pc, kb), -2.0, &mut out, Isa::PORTABLE);
            for k in 0..kb {
                for i in 0..rows {
                    // SAFETY: initialized with NaN above.
                    let got = unsafe { out[k * rows + i].assume_init() };
                    assert_eq!(got, -2.0 * (1000 * (first + i) + pc + k) as f64, "({i}, {k}) of {rows} x {kb}");
                }
            }
            let generated = matrix.generated.into_inner().unwrap();
            let inside = |i: usize, j: usize| (first..first + rows).contains(&i) && (pc..pc + kb).contains(&j);
            assert!((0..5).all(|i| (0..300).all(|j| generated[i * 300 + j] == u32::from(inside(i, j)))));
        }
    }
}
