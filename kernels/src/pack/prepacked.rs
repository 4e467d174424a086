//! Operands packed once and used in many products: a layer's weights between two updates.

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

/// Which products a packed matrix W serves as their right operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// `x · W`: the forward pass.
    Plain,
    /// `e · Wᵀ`: the way back.
    Transposed,
    /// Both, packed side by side.
    Both,
}

/// A matrix packed for use as the right operand of products.
///
/// Packed for one instruction set: a plan with another one is refused with [`Error::Packed`], never misread. Memory: the matrix once for each
/// orientation, columns rounded up to the tile's width.
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
/// // After an update the same memory is packed again.
/// packed.repack(MatRef::new(&[1.0, 0.0, 0.0, 1.0], 2, 2)?, &plan)?;
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub struct PackedRhs<T> {
    shape: (usize, usize),
    orientation: Orientation,
    isa: Isa,
    nr: usize,
    /// Panels of W, then those of Wᵀ.
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

/// One orientation of a packed matrix, to be passed to a product.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, T> {
    data: &'a [T],
    k: usize,
    n: usize,
    nr: usize,
    isa: Isa,
}

impl<T: Real> PackedRhs<T> {
    /// Packs `w`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
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

    /// Packs another matrix of the same shape into the same memory: nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Packed`] if the plan has another instruction set. The old contents are then still there.
    pub fn repack(&mut self, w: MatRef<'_, T>, plan: &Plan) -> Result<(), Error> {
        w.expect_shape("a matrix to be packed again", self.shape)?;
        self.check(plan)?;
        let (plain_len, len) = (self.plain_len, self.plain_len.saturating_add(self.transposed_len));
        let nr = self.nr;
        let (plain, transposed) = self.memory.slice::<T>(len)?.split_at_mut(plain_len);
        for (w, room) in [(w, plain), (w.t(), transposed)] {
            let ((k, n), room_len) = (w.shape(), room.len());
            let panels = room_len / nr.saturating_mul(k).max(1);
            // An element moved costs about as much as 16 multiply-adds.
            let threads = plan.threads_for(room_len.saturating_mul(16)).min(panels.max(1));
            let shared = DisjointSlices::new(room);
            plan.par.split(threads, &|i| {
                let (first, count) = part(panels, threads, i);
                for p in first..first + count {
                    let cols = nr.min(n - p * nr);
                    // SAFETY: each panel belongs to one part, and each part runs once.
                    let room = unsafe { shared.part(p * nr * k, nr * k) };
                    pack_columns(w, (0, k), (p * nr, cols), nr, room, plan.isa);
                }
            });
        }
        Ok(())
    }

    fn check(&self, plan: &Plan) -> Result<(), Error> {
        if self.isa == plan.isa { Ok(()) } else { Err(mismatch::<T>(self.isa, plan.isa)) }
    }

    /// Rows and columns of the matrix.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// For products `x · W`.
    ///
    /// # Errors
    /// [`Error::Packed`] if the matrix was packed for the other orientation alone.
    pub fn plain(&self) -> Result<Panels<'_, T>, Error> {
        self.side(Orientation::Plain, self.shape, 0, self.plain_len)
    }

    /// For products `e · Wᵀ`.
    ///
    /// # Errors
    /// [`Error::Packed`] if the matrix was packed for the other orientation alone.
    pub fn transposed(&self) -> Result<Panels<'_, T>, Error> {
        self.side(Orientation::Transposed, (self.shape.1, self.shape.0), self.plain_len, self.transposed_len)
    }

    fn side(&self, wanted: Orientation, (k, n): (usize, usize), from: usize, len: usize) -> Result<Panels<'_, T>, Error> {
        if self.orientation != wanted && self.orientation != Orientation::Both {
            let say = |o: Orientation| if o == Orientation::Plain { "products x·W".into() } else { "products e·Wᵀ".into() };
            return Err(Error::Packed { found: say(self.orientation), expected: say(wanted) });
        }
        // SAFETY: `repack` has written every element of the two sides: it is called before a value of this type is handed out, and its panels
        // cover them.
        let data = unsafe { self.memory.initialised::<T>(from, len) };
        Ok(Panels { data, k, n, nr: self.nr, isa: self.isa })
    }
}

fn mismatch<T: Real>(found: Isa, expected: Isa) -> Error {
    let name = |isa: Isa| format!("{} ({})", T::tiles(isa).name(), T::NAME);
    Error::Packed { found: name(found), expected: name(expected) }
}

impl<T: Real> Panels<'_, T> {
    /// Rows and columns of the operand.
    pub fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    /// Refuses a plan that reads panels of another layout.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), Error> {
        if self.isa == plan.isa { Ok(()) } else { Err(mismatch::<T>(self.isa, plan.isa)) }
    }

    /// Element `pc` of panel `p`, the stride of k, and that of panels.
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
    fn a_packed_matrix_says_what_it_is() {
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
        // The other instruction set's panels have another width, and say so.
        if let Some(isa) = Isa::available().find(|isa| *isa != Isa::PORTABLE) {
            let error = both.plain().unwrap().check(&plan.clone().with_isa(isa)).unwrap_err().to_string();
            assert!(error.contains("sgemm_") && error.contains("portable") && error.contains(isa.name()), "{error}");
        }
    }
}
