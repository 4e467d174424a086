//! Driver of `cblas_?gemm_batch_strided`: equal products, their operands at equal distances.

use crate::arguments::{Illegal, Trans, matrix, require, size, stride};
use crate::call::{Call, done};
use crate::level3::Gemm;
use crate::verbose::Routine;
use gaitprop_kernels::{BatchMut, BatchRef, Real, gemm_batched};

/// C_p ← α·op(A_p)·op(B_p) + β·C_p for each p.
pub(crate) struct GemmBatchStrided<T> {
    /// Product 0.
    pub(crate) gemm: Gemm<T>,
    /// Elements from one A, B and C to the next.
    pub(crate) strides: (i64, i64, i64),
    /// Number of products.
    pub(crate) count: i64,
}

impl<T: Real> GemmBatchStrided<T> {
    /// Returns whether the results are known to share no element: they follow each other, or lie
    /// beside each other within columns.
    fn results_are_disjoint(&self) -> bool {
        let Gemm { m, n, ldc, .. } = self.gemm;
        let distance = self.strides.2.unsigned_abs();
        let span = |n: i64, step: u64| (n as u64).saturating_sub(1).saturating_mul(step);
        let (rows, columns) = (m as u64, span(n, ldc as u64).saturating_add(m as u64));
        distance >= columns || distance >= rows && span(self.count, distance).saturating_add(rows) <= ldc as u64
    }

    /// Runs the products one after another.
    ///
    /// # Safety
    /// As [`Call::run`].
    unsafe fn run_in_turn(self) {
        let Self { gemm, strides, count } = self;
        for p in 0..count {
            let at = |s: i64| stride(p).wrapping_mul(stride(s));
            let (a, b) = (gemm.a.wrapping_offset(at(strides.0)), gemm.b.wrapping_offset(at(strides.1)));
            let c = gemm.c.wrapping_offset(at(strides.2));
            // SAFETY: the caller's promise for product p.
            unsafe { Gemm { a, b, c, ..gemm }.run() }
        }
    }
}

impl<T: Real> Call for GemmBatchStrided<T> {
    type Element = T;

    fn routine(&self) -> Routine {
        Routine::GemmBatchStrided
    }

    fn exchanged(self) -> Self {
        let (a, b, c) = self.strides;
        Self { gemm: self.gemm.exchanged(), strides: (b, a, c), ..self }
    }

    fn check(&self) -> Result<(), Illegal> {
        // A stride follows A, B and C: strides at 9, 12 and 16 of a call without order.
        self.gemm.check().map_err(|Illegal(at)| {
            Illegal(match at {
                10 => 11,
                13 => 15,
                _ => at,
            })
        })?;
        require(self.count >= 0, 17)
    }

    unsafe fn run(self) {
        let Gemm { m, n, k, alpha, beta, .. } = self.gemm;
        if m == 0 || n == 0 || self.count == 0 {
            return;
        }
        if self.count == 1 || self.gemm.only_scales() || !self.results_are_disjoint() {
            // SAFETY: the caller's promise.
            return unsafe { self.run_in_turn() };
        }
        let (gemm, count) = (&self.gemm, size(self.count));
        // SAFETY: the caller's promise for each product: A and B are read. Results share no
        // element, as checked above. The views of A and B name only the elements of each product.
        let written = unsafe {
            let operand = |ptr, trans: Trans, shape: (i64, i64), ld, distance| {
                let first = trans.of(matrix(ptr, trans.stored(shape.0, shape.1), ld)).t();
                BatchRef::from_raw_parts(ptr, (count, stride(distance)), first.shape(), (first.rs(), first.cs()))
            };
            let left = operand(gemm.b, gemm.trans_b, (k, n), gemm.ldb, self.strides.1);
            let right = operand(gemm.a, gemm.trans_a, (m, k), gemm.lda, self.strides.0);
            let shape = (size(n), size(m));
            let c = BatchMut::from_raw_parts(gemm.c, (count, stride(self.strides.2)), shape, (stride(gemm.ldc), 1));
            done(|plan, scratch| gemm_batched(alpha, left, right, beta, c, plan, scratch))
        };
        if !written {
            // SAFETY: the caller's promise. The views above are gone.
            unsafe { self.run_in_turn() };
        }
    }
}
