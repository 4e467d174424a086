//! Prepacked operands: packed once and used in many products, such as a layer's weights between two
//! updates.

use crate::base::error::Error;
use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::base::scratch::{DisjointSlices, Scratch};
use crate::base::split::part;
use crate::pack::panel::pack_columns;
use crate::plan::Plan;
use crate::tile::table::Real;
use alloc::format;
use core::fmt;

/// The products of which a packed matrix W is the right operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// `x · W`: the forward pass.
    Plain,
    /// `e · Wᵀ`: the backward pass.
    Transposed,
    /// Both, packed side by side.
    Both,
}

/// A matrix packed for use as the right operand of products.
///
/// The panels fit one instruction set: a plan with another one gets [`Error::Packed`]. Each
/// orientation takes the memory of the matrix, with its columns rounded up to the panel width NR.
///
/// ```
/// use gaitprop_kernels::{Epilogue, MatMut, MatRef, Orientation, PackedRhs, Plan, Scratch, Start, gemm_with};
/// let plan = Plan::new();
/// let w = [3.0f32, 4.0, 5.0, 6.0];
/// let mut packed = PackedRhs::new(MatRef::new(&w, 2, 2)?, Orientation::Both, &plan)?;
/// let (x, mut y) = ([1.0f32, 2.0], [0.0f32; 2]);
/// let (x, y_view) = (MatRef::new(&x, 1, 2)?, MatMut::new(&mut y, 1, 2)?);
/// gemm_with(1.0, x, packed.plain()?, Start::Zero, y_view, Epilogue::Store, &plan, &mut Scratch::new())?;
/// assert_eq!(y, [13.0, 16.0]);
/// // After an update, pack the new weights into the same memory.
/// packed.repack(MatRef::new(&[1.0, 0.0, 0.0, 1.0], 2, 2)?, &plan)?;
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub struct PackedRhs<T> {
    shape: (usize, usize),
    orientation: Orientation,
    isa: Isa,
    nr: usize,
    /// Panels of W, then panels of Wᵀ.
    memory: Scratch,
    plain_len: usize,
    transposed_len: usize,
    _elements: core::marker::PhantomData<T>,
}

impl<T> fmt::Debug for PackedRhs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((k, n), orientation, isa) = (self.shape, self.orientation, self.isa);
        write!(f, "PackedRhs({k}x{n}, {orientation:?}, {isa})")
    }
}

/// One orientation of a packed matrix, for use in a product.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, T> {
    data: &'a [T],
    k: usize,
    n: usize,
    nr: usize,
    isa: Isa,
}

impl<T: Real> PackedRhs<T> {
    /// Packs `w` for the instruction set of the plan.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if memory does not suffice.
    pub fn new(w: MatRef<'_, T>, orientation: Orientation, plan: &Plan) -> Result<Self, Error> {
        let nr = T::tiles(plan.isa).nr();
        let len = |(k, n): (usize, usize), wanted: bool| {
            if wanted { n.div_ceil(nr).saturating_mul(nr).saturating_mul(k) } else { 0 }
        };
        let (k, n) = w.shape();
        let mut new = Self {
            shape: (k, n),
            orientation,
            isa: plan.isa,
            nr,
            memory: Scratch::new(),
            plain_len: len((k, n), orientation != Orientation::Transposed),
            transposed_len: len((n, k), orientation != Orientation::Plain),
            _elements: core::marker::PhantomData,
        };
        new.repack(w, plan)?;
        Ok(new)
    }

    /// Packs another matrix of the same shape into the same memory, without an allocation.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape differs; [`Error::Packed`] if the plan has another instruction
    /// set. The old contents then stay.
    pub fn repack(&mut self, w: MatRef<'_, T>, plan: &Plan) -> Result<(), Error> {
        w.expect_shape("the matrix to repack", self.shape)?;
        self.check(plan)?;
        let (plain_len, len) = (self.plain_len, self.plain_len.saturating_add(self.transposed_len));
        let nr = self.nr;
        let (plain, transposed) = self.memory.slice::<T>(len)?.split_at_mut(plain_len);
        for (w, out) in [(w, plain), (w.t(), transposed)] {
            let ((k, n), out_len) = (w.shape(), out.len());
            let panels = out_len / nr.saturating_mul(k).max(1);
            // Moving an element costs about as much as 16 multiply-adds.
            let threads = plan.threads_for(out_len.saturating_mul(16)).min(panels.max(1));
            let shared = DisjointSlices::new(out);
            plan.par.split(threads, &|i| {
                let (first, count) = part(panels, threads, i);
                for p in first..first + count {
                    let cols = nr.min(n - p * nr);
                    // SAFETY: each panel belongs to one part, and `split` runs each part once.
                    let panel = unsafe { shared.part(p * nr * k, nr * k) };
                    pack_columns(w, (0, k), (p * nr, cols), nr, panel, plan.isa);
                }
            });
        }
        Ok(())
    }

    fn check(&self, plan: &Plan) -> Result<(), Error> {
        if self.isa == plan.isa { Ok(()) } else { Err(mismatch::<T>(self.isa, plan.isa)) }
    }

    /// Returns the rows and columns of the matrix.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Returns the panels for products `x · W`.
    ///
    /// # Errors
    /// [`Error::Packed`] if the matrix was packed for `e · Wᵀ` only.
    pub fn plain(&self) -> Result<Panels<'_, T>, Error> {
        self.side(Orientation::Plain, self.shape, 0, self.plain_len)
    }

    /// Returns the panels for products `e · Wᵀ`.
    ///
    /// # Errors
    /// [`Error::Packed`] if the matrix was packed for `x · W` only.
    pub fn transposed(&self) -> Result<Panels<'_, T>, Error> {
        self.side(Orientation::Transposed, (self.shape.1, self.shape.0), self.plain_len, self.transposed_len)
    }

    fn side(&self, wanted: Orientation, (k, n): (usize, usize), from: usize, len: usize) -> Result<Panels<'_, T>, Error> {
        if self.orientation != wanted && self.orientation != Orientation::Both {
            let name = |o: Orientation| if o == Orientation::Plain { "products x·W".into() } else { "products e·Wᵀ".into() };
            return Err(Error::Packed { found: name(self.orientation), expected: name(wanted) });
        }
        // SAFETY: `new` calls `repack` before it returns a value, and `repack` has written every
        // panel of both orientations.
        let data = unsafe { self.memory.initialized::<T>(from, len) };
        Ok(Panels { data, k, n, nr: self.nr, isa: self.isa })
    }
}

fn mismatch<T: Real>(found: Isa, expected: Isa) -> Error {
    let name = |isa: Isa| format!("{} ({})", T::tiles(isa).name(), T::NAME);
    Error::Packed { found: name(found), expected: name(expected) }
}

impl<T: Real> Panels<'_, T> {
    /// Returns the rows and columns of the operand.
    pub fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    /// Checks that the plan has the instruction set of the panels.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), Error> {
        if self.isa == plan.isa { Ok(()) } else { Err(mismatch::<T>(self.isa, plan.isa)) }
    }

    /// Returns a pointer to step `pc` of panel `p`, the stride of k, and the stride of panels.
    pub(crate) fn at(&self, p: usize, pc: usize) -> (*const T, isize, isize) {
        let len = self.nr * self.k;
        let at = p * len + pc * self.nr;
        assert!(at <= self.data.len(), "panel {p} of {}x{}", self.k, self.n);
        (self.data.as_ptr().wrapping_add(at), self.nr as isize, len as isize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_matrix_names_its_orientation_and_instruction_set() {
        let (plan, w) = (Plan::new().with_isa(Isa::PORTABLE), [1.0f32; 6]);
        let w = MatRef::new(&w, 2, 3).unwrap();
        let of = |orientation| PackedRhs::new(w, orientation, &plan).unwrap();
        let both = of(Orientation::Both);
        assert_eq!(format!("{both:?}"), "PackedRhs(2x3, Both, portable)");
        assert_eq!((both.shape(), both.plain().unwrap().shape(), both.transposed().unwrap().shape()), ((2, 3), (2, 3), (3, 2)));
        for (packed, wrong, found, expected) in [
            (of(Orientation::Plain), Orientation::Transposed, "x·W", "e·Wᵀ"),
            (of(Orientation::Transposed), Orientation::Plain, "e·Wᵀ", "x·W"),
        ] {
            let error = if wrong == Orientation::Plain { packed.plain() } else { packed.transposed() }.unwrap_err();
            let Error::Packed { found: f, expected: e } = &error else { panic!("{error}") };
            assert!(f.ends_with(found) && e.ends_with(expected), "{error}");
        }
        // Panels of another instruction set are an error that names both.
        if let Some(isa) = Isa::available().find(|isa| *isa != Isa::PORTABLE) {
            let error = both.plain().unwrap().check(&plan.clone().with_isa(isa)).unwrap_err().to_string();
            assert!(error.contains("sgemm_") && error.contains("portable") && error.contains(isa.name()), "{error}");
        }
    }
}
