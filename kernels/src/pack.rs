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

use crate::{MatRef, Real};
use core::mem::MaybeUninit;

/// Packs `a` (rows × kc) into panels of the given heights, every element multiplied by `alpha` (rounded once; exact for ±1).
///
/// `heights` yields (first row, rows) of each panel, in order and without gaps. `out` holds exactly rows · kc elements, all of
/// which are written.
pub(crate) fn pack_a<T: Real>(
    a: MatRef<'_, T>,
    alpha: T,
    heights: impl Iterator<Item = (usize, usize)>,
    out: &mut [MaybeUninit<T>],
) {
    let (rows, kc) = a.shape();
    assert_eq!(out.len(), rows * kc, "room for the packed block of A");
    let mut rest = out;
    for (first, mr) in heights {
        let (panel, tail) = rest.split_at_mut(mr * kc);
        rest = tail;
        pack_panel(a.block(first, 0, mr, kc), mr, alpha, panel);
    }
    assert!(rest.is_empty(), "the panels cover the block");
}

/// Packs `b` (kc × cols) into panels of `nr` columns, every element multiplied by `alpha`. `out` holds ⌈cols/nr⌉ · nr · kc
/// elements, all of which are written.
pub(crate) fn pack_b<T: Real>(b: MatRef<'_, T>, nr: usize, alpha: T, out: &mut [MaybeUninit<T>]) {
    let (kc, cols) = b.shape();
    assert_eq!(out.len(), cols.div_ceil(nr) * nr * kc, "room for the packed block of B");
    for (p, panel) in out.chunks_exact_mut((nr * kc).max(1)).enumerate() {
        let n = nr.min(cols - p * nr);
        // The same layout as a panel of A once the columns are called rows.
        pack_panel(b.block(0, p * nr, kc, n).t(), nr, alpha, panel);
    }
}

/// One panel: out[k · width + i] = alpha · a[i, k] for i below a's rows, 0 for the others up to `width`.
#[inline(always)]
fn pack_panel<T: Real>(a: MatRef<'_, T>, width: usize, alpha: T, out: &mut [MaybeUninit<T>]) {
    let (rows, kc) = a.shape();
    assert!(rows <= width && out.len() == width * kc);
    if kc == 0 {
        return;
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
