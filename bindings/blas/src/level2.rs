//! Drivers of GEMV, GER and DOT.

use crate::arguments::{Illegal, Trans, matrix, matrix_mut, require, require_leading, vector, vector_mut};
use crate::call::{Call, done};
use crate::level3::scale;
use crate::verbose::{Routine, counted};
use gaitprop_kernels::gemv::gemv;
use gaitprop_kernels::ger::ger;
use gaitprop_kernels::{Real, reduce, reference};

/// y ← α·op(A)·x + β·y.
pub(crate) struct Gemv<T> {
    pub(crate) trans: Trans,
    pub(crate) m: i64,
    pub(crate) n: i64,
    pub(crate) alpha: T,
    pub(crate) a: *const T,
    pub(crate) lda: i64,
    pub(crate) x: *const T,
    pub(crate) incx: i64,
    pub(crate) beta: T,
    pub(crate) y: *mut T,
    pub(crate) incy: i64,
}

impl<T: Real> Call for Gemv<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::Gemv
    }

    fn exchanged(self) -> Self {
        let trans = if self.trans == Trans::No { Trans::Yes } else { Trans::No };
        Self { trans, m: self.n, n: self.m, ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        require(self.m >= 0, 2)?;
        require(self.n >= 0, 3)?;
        require_leading(self.lda, self.m, 6)?;
        require(self.incx != 0, 8)?;
        require(self.incy != 0, 11)
    }

    unsafe fn run(self) {
        let Self { alpha, beta, .. } = self;
        if self.m == 0 || self.n == 0 {
            return;
        }
        let (rows, cols) = self.trans.stored(self.m, self.n);
        // SAFETY: the caller's promise. `check` has passed, so incy is not 0.
        let mut y = unsafe { vector_mut(self.y, rows, self.incy) };
        if alpha == T::ZERO {
            return scale(beta, y);
        }
        // SAFETY: the caller's promise; A and x are read.
        let (a, x) = unsafe { (matrix(self.a, (self.m, self.n), self.lda), vector(self.x, cols, self.incx)) };
        let a = self.trans.of(a);
        if !done(|plan, scratch| gemv(alpha, a, x, beta, y.rb(), plan, scratch)) {
            reference::gemm(alpha, a, x, beta, y);
        }
    }
}

/// A ← α·x·yᵀ + A.
pub(crate) struct Ger<T> {
    pub(crate) m: i64,
    pub(crate) n: i64,
    pub(crate) alpha: T,
    pub(crate) x: *const T,
    pub(crate) incx: i64,
    pub(crate) y: *const T,
    pub(crate) incy: i64,
    pub(crate) a: *mut T,
    pub(crate) lda: i64,
}

impl<T: Real> Call for Ger<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::Ger
    }

    fn exchanged(self) -> Self {
        Self { m: self.n, n: self.m, x: self.y, incx: self.incy, y: self.x, incy: self.incx, ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        require(self.m >= 0, 1)?;
        require(self.n >= 0, 2)?;
        require(self.incx != 0, 5)?;
        require(self.incy != 0, 7)?;
        require_leading(self.lda, self.m, 9)
    }

    unsafe fn run(self) {
        if self.m == 0 || self.n == 0 || self.alpha == T::ZERO {
            return;
        }
        // SAFETY: the caller's promise. `check` has passed, so lda ≥ m.
        let (x, y, a) = unsafe {
            let a = matrix_mut(self.a, (self.m, self.n), self.lda);
            (vector(self.x, self.m, self.incx), vector(self.y, self.n, self.incy), a)
        };
        // Aᵀ has contiguous rows. α then goes to the elements of y, as in netlib's routine.
        let mut a = a.t();
        if !done(|plan, scratch| ger(self.alpha, y, x, a.rb(), plan, scratch)) {
            reference::gemm(self.alpha, y, x.t(), T::ONE, a);
        }
    }
}

/// Returns Σ xᵢ·yᵢ, summed in f64 in a fixed order and rounded once. No argument is illegal: n < 1
/// gives 0, and increments may be 0.
///
/// # Safety
/// Both vectors are initialized, and no other thread writes them.
pub(crate) unsafe fn dot<T: Real>(n: i64, x: *const T, incx: i64, y: *const T, incy: i64) -> T {
    counted::<T, _>(Routine::Dot, || {
        if n <= 0 {
            return T::ZERO;
        }
        // SAFETY: the caller's promise.
        let (x, y) = unsafe { (vector(x, n, incx), vector(y, n, incy)) };
        let plan = &crate::threads::settings().plan;
        // The only error is a difference of lengths.
        T::from_f64(reduce::dot(x, y, plan).unwrap_or_else(|_| reference::dot(x, y)))
    })
}
