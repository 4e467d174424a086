//! The expected bits of a case, by the kernels' twins, and bounds of its rounding errors.

use crate::case::{Case, Layout, Operands, Routine};
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{MatMut, MatRef, Real, reference};

/// Views product `p` of an operand; a vector as a row.
fn view<'a, T: Real>(memory: &'a [T], layout: Layout, shift: usize) -> MatRef<'a, T> {
    let first = if layout.rows * layout.cols == 0 { 0 } else { layout.at(0, 0) + shift };
    MatRef::strided(memory, first, (layout.rows, layout.cols), (1, layout.ld)).expect("the layout lies in its memory")
}

/// As [`view`], of a result.
fn view_mut<'a, T: Real>(memory: &'a mut [T], layout: Layout, shift: usize) -> MatMut<'a, T> {
    let first = if layout.rows * layout.cols == 0 { 0 } else { layout.at(0, 0) + shift };
    MatMut::strided(memory, first, (layout.rows, layout.cols), (1, layout.ld)).expect("the layout lies in its memory")
}

fn absolute<T: Real>(memory: &[T]) -> Vec<T> {
    memory.iter().map(|v| v.abs()).collect()
}

impl<T: Real> Case<T> {
    fn triangle(&self) -> Triangle {
        if self.upper { Triangle::Upper } else { Triangle::Lower }
    }

    fn side(&self) -> Side {
        if self.right { Side::Right } else { Side::Left }
    }

    fn diag(&self) -> Diag {
        if self.unit { Diag::Unit } else { Diag::Stored }
    }

    /// Returns whether the routine writes element (i, j) of a result.
    fn writes(&self, i: usize, j: usize) -> bool {
        let symmetric = matches!(self.routine, Routine::Syrk | Routine::Syr2k | Routine::Gemmt);
        !symmetric || i == j || (i < j) == self.upper
    }

    /// Does to `operands` what the routine promises, bit by bit. Returns the result of DOT.
    pub(crate) fn twin(&self, operands: &mut Operands<T>) -> T {
        let Self { alpha, beta, m, n, .. } = *self;
        let Operands { a, b, c } = operands;
        if self.routine == Routine::Dot {
            let sum = reference::dot(view(a, self.a, 0).t(), view(b, self.b, 0).t());
            return if n == 0 { T::ZERO } else { T::from_f64(sum) };
        }
        let empty = self.c.rows * self.c.cols == 0 || self.routine == Routine::Gemv && (m == 0 || n == 0);
        if empty {
            return T::ZERO;
        }
        for p in 0..self.count {
            let shift = |index: usize| p * self.strides[index];
            let c = view_mut(c, self.c, shift(2));
            if !self.reads() {
                self.scale(c);
                continue;
            }
            let (a, b) = (view(a, self.a, shift(0)), view(b, self.b, shift(1)));
            let op_a = if self.trans_a { a.t() } else { a };
            let op_b = if self.trans_b { b.t() } else { b };
            let triangle = if self.trans_a { self.triangle().t() } else { self.triangle() };
            match self.routine {
                Routine::Gemm | Routine::Batch => reference::gemm(alpha, op_b.t(), op_a.t(), beta, c.t()),
                Routine::Gemmt => reference::gemmt(self.triangle(), alpha, op_a, op_b, beta, c),
                Routine::Symm => {
                    let side = if self.right { Side::Left } else { Side::Right };
                    reference::symm(side, self.triangle(), alpha, a, b.t(), beta, c.t());
                }
                Routine::Syrk => {
                    let part = if self.upper { Part::Upper } else { Part::Lower };
                    reference::syrk(alpha, op_a, beta, part, Diagonal::Kept, c);
                }
                Routine::Syr2k => {
                    let b = if self.trans_a { b.t() } else { b };
                    reference::syr2k(self.triangle(), alpha, op_a, b, beta, c);
                }
                Routine::Trmm => reference::trmm(self.side(), triangle, self.diag(), alpha, op_a, c),
                Routine::Trsm => reference::solve(self.side(), triangle, self.diag(), alpha, op_a, c),
                Routine::Gemv => reference::gemm(alpha, op_a, b.t(), beta, c.t()),
                Routine::Ger => update(alpha, b, a, c),
                Routine::Dot => unreachable!("returned above"),
            }
        }
        T::ZERO
    }

    /// β·C alone, or zeros for a triangular routine.
    fn scale(&self, mut c: MatMut<'_, T>) {
        let beta = match self.routine {
            Routine::Ger => T::ONE,
            Routine::Trmm | Routine::Trsm => T::ZERO,
            _ => self.beta,
        };
        for i in 0..c.nrows() {
            for j in (0..c.ncols()).filter(|&j| beta != T::ONE && self.writes(i, j)) {
                let v = if beta == T::ZERO { T::ZERO } else { beta * c.get(i, j) };
                c.set(i, j, v);
            }
        }
    }

    /// Returns the number of roundings that any result may have, for the bound.
    fn roundings(&self) -> usize {
        let chain = match self.routine {
            Routine::Symm | Routine::Trmm | Routine::Trsm => self.a.rows,
            Routine::Syr2k => 2 * self.k,
            Routine::Gemv | Routine::Dot => self.m.max(self.n),
            Routine::Ger => 1,
            _ => self.k,
        };
        // α, β, division, and those of the bound itself.
        (chain + 6) * self.count.max(1)
    }

    /// Returns, in the places of results, how far two libraries may differ.
    pub(crate) fn bound(&self, before: &Operands<T>, reference: &Operands<T>) -> (Vec<f64>, f64) {
        let u = T::UNIT_ROUNDOFF * self.roundings() as f64;
        let gamma = 2.0 * u / (1.0 - u);
        let mut absolute = Operands { a: absolute(&before.a), b: absolute(&before.b), c: absolute(&before.c) };
        let case = Self { alpha: self.alpha.abs(), beta: self.beta.abs(), ..self.clone() };
        if self.routine != Routine::Trsm || !self.reads() {
            let sum = case.twin(&mut absolute);
            return (absolute.c.iter().map(|v| gamma * v.to_f64()).collect(), gamma * sum.to_f64());
        }
        // |X − X'| ≤ γ·M(A)⁻¹·(|A||X| + |αB|) for each of two solvers, M(A) the comparison matrix.
        let given: Vec<T> = absolute.c.iter().map(|v| case.alpha * *v).collect();
        let solution = Operands { c: reference.c.iter().map(|v| v.abs()).collect(), ..absolute.clone() };
        let product = Self { routine: Routine::Trmm, alpha: T::ONE, ..case.clone() };
        let mut right = solution;
        product.twin(&mut right);
        right.c.iter_mut().zip(&given).for_each(|(v, b)| *v += *b);
        for j in 0..self.a.cols {
            for i in (0..self.a.rows).filter(|&i| i != j) {
                let v = &mut right.a[self.a.at(i, j)];
                *v = -*v;
            }
        }
        Self { alpha: T::ONE, ..case }.twin(&mut right);
        (right.c.iter().map(|v| gamma * v.to_f64()).collect(), 0.0)
    }

    /// Compares ours with the reference in every element that the routine writes. Returns how many
    /// elements had a finite bound.
    pub(crate) fn within(&self, ours: &Operands<T>, reference: &Operands<T>, bounds: &[f64]) -> Result<usize, String> {
        let mut compared = 0;
        if !self.reads() && !self.alpha.is_finite() {
            // Netlib multiplies empty sums by α, for some flags.
            return Ok(0);
        }
        let scalars_finite = self.alpha.is_finite() && self.beta.is_finite();
        for p in 0..self.count {
            for j in 0..self.c.cols {
                for i in (0..self.c.rows).filter(|&i| self.writes(i, j)) {
                    let at = p * self.strides[2] + self.c.at(i, j);
                    let (x, y) = (ours.c[at].to_f64(), reference.c[at].to_f64());
                    if bounds[at].is_finite() {
                        compared += 1;
                        if !((x - y).abs() <= bounds[at]) {
                            return Err(format!("({i}, {j}) of {p}: {x:e}, reference {y:e}, bound {:e}", bounds[at]));
                        }
                    } else if !scalars_finite && !self.zeros && x.is_finite() != y.is_finite() {
                        return Err(format!("({i}, {j}) of {p}: {x:e}, reference {y:e}"));
                    }
                }
            }
        }
        Ok(compared)
    }
}

/// A ← α·y·xᵀ + A of stored rows: α goes to the elements of y.
fn update<T: Real>(alpha: T, y: MatRef<'_, T>, x: MatRef<'_, T>, mut a: MatMut<'_, T>) {
    for i in 0..a.nrows() {
        for j in 0..a.ncols() {
            let sum = (alpha * y.get(0, j)).mul_add(x.get(0, i), a.get(i, j));
            a.set(i, j, sum);
        }
    }
}

/// Returns whether two results are the same: the same bits, or both NaN.
pub(crate) fn same<T: Real>(a: T, b: T) -> bool {
    a.bits() == b.bits() || a.to_f64().is_nan() && b.to_f64().is_nan()
}
