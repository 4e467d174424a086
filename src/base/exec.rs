//! Execution context: the plan of the kernels and their packing workspace.

use crate::base::error::Result;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk};
use gaitprop_kernels::trsm::{self, Triangle};
use gaitprop_kernels::{Backend, Epilogue, MatMut, MatRef, Plan, Real, Scratch, Start, gemm, gemm_with, reduce, symm};

/// Plan and packing workspace, for one computation at a time.
///
/// Every computation of this crate takes `&mut Exec`. The workspace grows to the largest request
/// and is then reused. Its contents do not influence results.
#[derive(Debug, Default)]
pub struct Exec {
    /// Instruction set, threads, backend and blocking.
    pub plan: Plan,
    /// Packing workspace.
    pub scratch: Scratch,
}

impl Exec {
    /// Creates a context for `plan` with an empty workspace.
    pub fn new(plan: Plan) -> Self {
        Self { plan, scratch: Scratch::new() }
    }

    /// Computes `C ← α·A·B + β·C`. See [`gaitprop_kernels::gemm`].
    ///
    /// # Errors
    /// Shape mismatch, or out of memory for packing.
    pub fn gemm<T: Real>(&mut self, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, c: MatMut<'_, T>) -> Result<()> {
        Ok(gemm(alpha, a, b, beta, c, &self.plan, &mut self.scratch)?)
    }

    /// Computes `C ← epilogue(S + α·A·B)` on the crate's own kernels for every backend.
    ///
    /// Returns whether all written values are finite, if the epilogue checks that.
    ///
    /// # Errors
    /// Shape mismatch, or out of memory for packing.
    pub fn gemm_with<T: Real>(
        &mut self,
        alpha: T,
        (a, b): (MatRef<'_, T>, MatRef<'_, T>),
        start: Start<'_, T>,
        c: MatMut<'_, T>,
        epilogue: Epilogue<'_, T>,
    ) -> Result<bool> {
        Ok(gemm_with(alpha, a, b, start, c, epilogue, &self.plan, &mut self.scratch)?)
    }

    /// Computes `C ← S + α·A·B` on the plan's backend. For backends that cannot start from another
    /// matrix, first copies S into C.
    pub(crate) fn product<T: Real>(
        &mut self,
        alpha: T,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        start: Start<'_, T>,
        mut c: MatMut<'_, T>,
    ) -> Result<()> {
        match start {
            Start::Zero => self.gemm(alpha, a, b, T::ZERO, c),
            Start::C(beta) => self.gemm(alpha, a, b, beta, c),
            Start::From(beta, from) if self.plan.backend != Backend::Native => {
                from.expect_shape("the start of a product", c.shape())?;
                for i in 0..c.nrows() {
                    (0..c.ncols()).for_each(|j| c.set(i, j, from.get(i, j)));
                }
                self.gemm(alpha, a, b, beta, c)
            }
            _ => self.gemm_with(alpha, (a, b), start, c, Epilogue::Store).map(|_| ()),
        }
    }

    /// Computes a triangle of `A·Aᵀ`, or the whole product.
    pub(crate) fn syrk<T: Real>(&mut self, a: MatRef<'_, T>, part: Part, diagonal: Diagonal, c: MatMut<'_, T>) -> Result<()> {
        Ok(syrk(T::ONE, a, T::ZERO, part, diagonal, c, &self.plan, &mut self.scratch)?)
    }

    /// Computes `C ← α·A·B + β·C` with A symmetric, stored in its lower triangle.
    pub(crate) fn symm_lower<T: Real>(
        &mut self,
        alpha: T,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        beta: T,
        c: MatMut<'_, T>,
    ) -> Result<()> {
        let (side, triangle) = (trsm::Side::Left, Triangle::Lower);
        Ok(symm::symm(side, triangle, alpha, a, b, beta, c, &self.plan, &mut self.scratch)?)
    }

    /// Returns `Σ xᵢ yᵢ`, accumulated in f64.
    ///
    /// # Errors
    /// Shape mismatch if the lengths differ.
    pub fn dot<T: Real>(&self, x: &[T], y: &[T]) -> Result<f64> {
        Ok(reduce::dot(MatRef::new(x, x.len(), 1)?, MatRef::new(y, y.len(), 1)?, &self.plan)?)
    }

    /// Returns the Euclidean norm of all elements.
    pub(crate) fn norm<T: Real>(&self, x: &[T]) -> Result<f64> {
        Ok(self.dot(x, x)?.sqrt())
    }

    /// Returns the Frobenius norm.
    pub(crate) fn matrix_norm<T: Real>(&self, x: MatRef<'_, T>) -> Result<f64> {
        let mut squares = 0.0;
        for i in 0..x.nrows() {
            squares += match x.row(i) {
                Some(row) => self.dot(row, row)?,
                None => x.row_iter(i).map(|v| v.to_f64() * v.to_f64()).sum(),
            };
        }
        Ok(squares.sqrt())
    }
}

#[cfg(feature = "matrixmultiply")]
#[cfg(test)]
mod tests {
    use super::*;

    /// Another backend agrees with the kernels to rounding, for every start of a product.
    #[test]
    fn products_of_another_backend_start_where_they_should() {
        let (n, batch) = (9, 4);
        let numbers = |len: usize, of: f64| (0..len).map(|i| (of * (i + 1) as f64).sin()).collect::<Vec<f64>>();
        let (w, x, c) = (numbers(n * n, 1.0), numbers(batch * n, 2.0), numbers(batch * n, 3.0));
        let (w, x) = (MatRef::new(&w, n, n).unwrap(), MatRef::new(&x, batch, n).unwrap());
        for (name, start) in [("zero", Start::Zero), ("c", Start::C(0.5)), ("from", Start::From(-2.0, x))] {
            for w in [w, w.t()] {
                let [got, want] = [Backend::MatrixMultiply, Backend::Native].map(|backend| {
                    let mut out = c.clone();
                    let to = MatMut::new(&mut out, batch, n).unwrap();
                    let mut exec = Exec::new(Plan::new().with_backend(backend));
                    exec.product(0.75, x, w, start, to).unwrap();
                    out
                });
                let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-13, "{name}: {off:e}");
            }
        }
    }
}
