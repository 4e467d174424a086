//! Drivers of level 3. Each follows BLAS's order: quick returns, then β alone if α is 0, then the
//! kernel, then loops if the kernel refuses.
//!
//! Kernels like contiguous rows of C, and BLAS's columns are contiguous. GEMM and SYMM therefore
//! compute `Cᵀ = op(B)ᵀ·op(A)ᵀ`. This multiplies α into the elements of the right operand, which
//! only shows if α is neither 1 nor −1.

use crate::arguments::{Illegal, Trans, matrix, matrix_mut, opposite, require, require_leading};
use crate::call::{Call, done};
use crate::verbose::Routine;
use gaitprop_kernels::gemmt::gemmt;
use gaitprop_kernels::symm::symm;
use gaitprop_kernels::syr2k::syr2k;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{MatMut, MatRef, Real, gemm, reference, trmm, trsm};

/// C ← β·C. β = 0 writes zeros and reads nothing; β = 1 touches nothing.
pub(crate) fn scale<T: Real>(beta: T, c: MatMut<'_, T>) {
    let nrows = c.nrows();
    scale_columns(beta, c, |_| (0, nrows));
}

/// [`scale`] for one triangle of C.
fn scale_triangle<T: Real>(beta: T, triangle: Triangle, c: MatMut<'_, T>) {
    let n = c.nrows();
    scale_columns(beta, c, |j| if triangle == Triangle::Upper { (0, j + 1) } else { (j, n) });
}

/// Scales rows `from .. to` of each column.
fn scale_columns<T: Real>(beta: T, c: MatMut<'_, T>, rows: impl Fn(usize) -> (usize, usize)) {
    if beta == T::ONE {
        return;
    }
    let mut columns = c.t();
    for j in 0..columns.nrows() {
        let (from, to) = rows(j);
        if let Some(column) = columns.row_mut(j) {
            let column = &mut column[from..to];
            if beta == T::ZERO { column.fill(T::ZERO) } else { column.iter_mut().for_each(|v| *v = beta * *v) }
        } else {
            for i in from..to {
                let v = if beta == T::ZERO { T::ZERO } else { beta * columns.get(j, i) };
                columns.set(j, i, v);
            }
        }
    }
}

/// C ← α·op(A)·op(B) + β·C.
pub(crate) struct Gemm<T> {
    pub(crate) trans_a: Trans,
    pub(crate) trans_b: Trans,
    pub(crate) m: i64,
    pub(crate) n: i64,
    pub(crate) k: i64,
    pub(crate) alpha: T,
    pub(crate) a: *const T,
    pub(crate) lda: i64,
    pub(crate) b: *const T,
    pub(crate) ldb: i64,
    pub(crate) beta: T,
    pub(crate) c: *mut T,
    pub(crate) ldc: i64,
}

impl<T: Real> Gemm<T> {
    /// Returns whether A and B are not read.
    pub(crate) fn only_scales(&self) -> bool {
        self.alpha == T::ZERO || self.k == 0
    }

    /// Returns op(A) and op(B).
    ///
    /// # Safety
    /// As [`Call::run`], of a call that reads them.
    #[inline]
    pub(crate) unsafe fn operands(&self) -> (MatRef<'_, T>, MatRef<'_, T>) {
        // SAFETY: the caller's promise.
        unsafe {
            let a = matrix(self.a, self.trans_a.stored(self.m, self.k), self.lda);
            let b = matrix(self.b, self.trans_b.stored(self.k, self.n), self.ldb);
            (self.trans_a.of(a), self.trans_b.of(b))
        }
    }

    /// Returns C.
    ///
    /// # Safety
    /// As [`Call::run`].
    #[inline]
    pub(crate) unsafe fn result(&self) -> MatMut<'_, T> {
        // SAFETY: the caller's promise. `check` has passed, so ldc ≥ m.
        unsafe { matrix_mut(self.c, (self.m, self.n), self.ldc) }
    }
}

impl<T: Real> Call for Gemm<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::Gemm
    }

    fn exchanged(self) -> Self {
        Self {
            trans_a: self.trans_b,
            trans_b: self.trans_a,
            m: self.n,
            n: self.m,
            a: self.b,
            lda: self.ldb,
            b: self.a,
            ldb: self.lda,
            ..self
        }
    }

    #[inline]
    fn check(&self) -> Result<(), Illegal> {
        require(self.m >= 0, 3)?;
        require(self.n >= 0, 4)?;
        require(self.k >= 0, 5)?;
        require_leading(self.lda, self.trans_a.stored(self.m, self.k).0, 8)?;
        require_leading(self.ldb, self.trans_b.stored(self.k, self.n).0, 10)?;
        require_leading(self.ldc, self.m, 13)
    }

    unsafe fn run(self) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        // SAFETY: the caller's promise.
        let c = unsafe { self.result() };
        if self.only_scales() {
            return scale(self.beta, c);
        }
        // SAFETY: the caller's promise; A and B are read.
        let (a, b) = unsafe { self.operands() };
        let (left, right, mut c) = (b.t(), a.t(), c.t());
        if !done(|plan, scratch| gemm(self.alpha, left, right, self.beta, c.rb(), plan, scratch)) {
            reference::gemm(self.alpha, left, right, self.beta, c);
        }
    }
}

/// GEMM for one triangle of C.
pub(crate) struct Gemmt<T> {
    pub(crate) triangle: Triangle,
    /// With m = n. From n on, arguments have the same positions.
    pub(crate) gemm: Gemm<T>,
}

impl<T: Real> Call for Gemmt<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::Gemmt
    }

    fn exchanged(self) -> Self {
        Self { triangle: self.triangle.t(), gemm: self.gemm.exchanged() }
    }

    fn check(&self) -> Result<(), Illegal> {
        require(self.gemm.n >= 0, 4)?;
        self.gemm.check()
    }

    unsafe fn run(self) {
        let Self { triangle, gemm: call } = self;
        if call.n == 0 {
            return;
        }
        // SAFETY: the caller's promise.
        let mut c = unsafe { call.result() };
        if call.only_scales() {
            return scale_triangle(call.beta, triangle, c);
        }
        // SAFETY: the caller's promise; A and B are read.
        let (a, b) = unsafe { call.operands() };
        if !done(|plan, scratch| gemmt(triangle, call.alpha, a, b, call.beta, c.rb(), plan, scratch)) {
            reference::gemmt(triangle, call.alpha, a, b, call.beta, c);
        }
    }
}

/// C ← α·S·B + β·C or α·B·S + β·C.
pub(crate) struct Symm<T> {
    pub(crate) side: Side,
    pub(crate) triangle: Triangle,
    pub(crate) m: i64,
    pub(crate) n: i64,
    pub(crate) alpha: T,
    pub(crate) a: *const T,
    pub(crate) lda: i64,
    pub(crate) b: *const T,
    pub(crate) ldb: i64,
    pub(crate) beta: T,
    pub(crate) c: *mut T,
    pub(crate) ldc: i64,
}

impl<T: Real> Symm<T> {
    /// Returns the rows of S.
    fn order(&self) -> i64 {
        if self.side == Side::Left { self.m } else { self.n }
    }
}

impl<T: Real> Call for Symm<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::Symm
    }

    fn exchanged(self) -> Self {
        Self { side: opposite(self.side), triangle: self.triangle.t(), m: self.n, n: self.m, ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        require(self.m >= 0, 3)?;
        require(self.n >= 0, 4)?;
        require_leading(self.lda, self.order(), 7)?;
        require_leading(self.ldb, self.m, 9)?;
        require_leading(self.ldc, self.m, 12)
    }

    unsafe fn run(self) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        // SAFETY: the caller's promise. `check` has passed, so ldc ≥ m.
        let c = unsafe { matrix_mut(self.c, (self.m, self.n), self.ldc) };
        if self.alpha == T::ZERO {
            return scale(self.beta, c);
        }
        let order = (self.order(), self.order());
        // SAFETY: the caller's promise; S and B are read.
        let (s, b) = unsafe { (matrix(self.a, order, self.lda), matrix(self.b, (self.m, self.n), self.ldb)) };
        let (side, b, mut c) = (opposite(self.side), b.t(), c.t());
        if !done(|plan, scratch| symm(side, self.triangle, self.alpha, s, b, self.beta, c.rb(), plan, scratch)) {
            reference::symm(side, self.triangle, self.alpha, s, b, self.beta, c);
        }
    }
}

/// C ← α·op(A)·op(A)ᵀ + β·C, or with a second operand C ← α·(op(A)·op(B)ᵀ + op(B)·op(A)ᵀ) + β·C.
pub(crate) struct RankK<T> {
    pub(crate) triangle: Triangle,
    pub(crate) trans: Trans,
    pub(crate) n: i64,
    pub(crate) k: i64,
    pub(crate) alpha: T,
    pub(crate) a: *const T,
    pub(crate) lda: i64,
    /// B and its leading dimension, for SYR2K.
    pub(crate) second: Option<(*const T, i64)>,
    pub(crate) beta: T,
    pub(crate) c: *mut T,
    pub(crate) ldc: i64,
}

impl<T: Real> Call for RankK<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        if self.second.is_some() { Routine::Syr2k } else { Routine::Syrk }
    }

    fn exchanged(self) -> Self {
        let trans = if self.trans == Trans::No { Trans::Yes } else { Trans::No };
        Self { triangle: self.triangle.t(), trans, ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        let rows = self.trans.stored(self.n, self.k).0;
        require(self.n >= 0, 3)?;
        require(self.k >= 0, 4)?;
        require_leading(self.lda, rows, 7)?;
        if let Some((_, ldb)) = self.second {
            require_leading(ldb, rows, 9)?;
        }
        require_leading(self.ldc, self.n, if self.second.is_some() { 12 } else { 10 })
    }

    unsafe fn run(self) {
        let Self { triangle, alpha, beta, .. } = self;
        if self.n == 0 {
            return;
        }
        // SAFETY: the caller's promise. `check` has passed, so ldc ≥ n.
        let mut c = unsafe { matrix_mut(self.c, (self.n, self.n), self.ldc) };
        if alpha == T::ZERO || self.k == 0 {
            return scale_triangle(beta, triangle, c);
        }
        let stored = self.trans.stored(self.n, self.k);
        // SAFETY: the caller's promise; A is read.
        let a = self.trans.of(unsafe { matrix(self.a, stored, self.lda) });
        let Some((b, ldb)) = self.second else {
            let part = if triangle == Triangle::Lower { Part::Lower } else { Part::Upper };
            if !done(|plan, scratch| syrk(alpha, a, beta, part, Diagonal::Kept, c.rb(), plan, scratch)) {
                reference::syrk(alpha, a, beta, part, Diagonal::Kept, c);
            }
            return;
        };
        // SAFETY: the caller's promise; B is read.
        let b = self.trans.of(unsafe { matrix(b, stored, ldb) });
        if !done(|plan, scratch| syr2k(triangle, alpha, a, b, beta, c.rb(), plan, scratch)) {
            reference::syr2k(triangle, alpha, a, b, beta, c);
        }
    }
}

/// B ← α·op(A)·B or α·B·op(A), A triangular; or, to solve, with the inverse of op(A).
pub(crate) struct Triangular<T> {
    /// TRSM if set, else TRMM.
    pub(crate) solve: bool,
    pub(crate) side: Side,
    pub(crate) triangle: Triangle,
    pub(crate) trans: Trans,
    pub(crate) diag: Diag,
    pub(crate) m: i64,
    pub(crate) n: i64,
    pub(crate) alpha: T,
    pub(crate) a: *const T,
    pub(crate) lda: i64,
    pub(crate) b: *mut T,
    pub(crate) ldb: i64,
}

impl<T: Real> Triangular<T> {
    /// Returns the rows of A.
    fn order(&self) -> i64 {
        if self.side == Side::Left { self.m } else { self.n }
    }
}

impl<T: Real> Call for Triangular<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        if self.solve { Routine::Trsm } else { Routine::Trmm }
    }

    fn exchanged(self) -> Self {
        Self { side: opposite(self.side), triangle: self.triangle.t(), m: self.n, n: self.m, ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        require(self.m >= 0, 5)?;
        require(self.n >= 0, 6)?;
        require_leading(self.lda, self.order(), 9)?;
        require_leading(self.ldb, self.m, 11)
    }

    unsafe fn run(self) {
        let Self { side, diag, alpha, .. } = self;
        if self.m == 0 || self.n == 0 {
            return;
        }
        // SAFETY: the caller's promise. `check` has passed, so ldb ≥ m.
        let mut b = unsafe { matrix_mut(self.b, (self.m, self.n), self.ldb) };
        if alpha == T::ZERO {
            return scale(T::ZERO, b);
        }
        // SAFETY: the caller's promise; A is read.
        let a = self.trans.of(unsafe { matrix(self.a, (self.order(), self.order()), self.lda) });
        let triangle = if self.trans == Trans::No { self.triangle } else { self.triangle.t() };
        if self.solve {
            // The loops divide by zeros, infinities and NaN and report nothing, as BLAS does.
            if !done(|plan, scratch| trsm::solve(side, triangle, diag, alpha, a, b.rb(), plan, scratch)) {
                reference::solve(side, triangle, diag, alpha, a, b);
            }
        } else if !done(|plan, scratch| trmm::product(side, triangle, diag, alpha, a, b.rb(), plan, scratch)) {
            reference::trmm(side, triangle, diag, alpha, a, b);
        }
    }
}
