//! Batches against a loop over the naive product, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::{
    BatchMut, BatchRef, MatRef, Plan, Real, gemm_batched, gemm_batched_scratch, gemm_batched_views, gemm_batched_views_scratch,
    reference,
};

/// `count` matrices in one buffer, in which every other element is a marked NaN.
#[derive(Clone, Debug)]
pub struct FencedBatch<T: Real, M: Memory = Fences> {
    pub data: M::Buffer<T>,
    pub offset: usize,
    pub batch: (usize, isize),
    pub shape: (usize, usize),
    pub strides: (isize, isize),
}

/// How the matrices of a batch lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// One directly after another.
    Dense,
    /// One after another, with a gap.
    Apart,
    /// The same from last to first.
    Backwards,
    /// Side by side in each row, as the heads of a layer are.
    SideBySide,
    /// One matrix for all: for operands only.
    Shared,
}

pub const SPACINGS: [Spacing; 4] = [Spacing::Dense, Spacing::Apart, Spacing::Backwards, Spacing::SideBySide];

impl<T: Real, M: Memory> FencedBatch<T, M> {
    pub fn new_in(
        memory: M,
        count: usize,
        shape: (usize, usize),
        layout: Layout,
        spacing: Spacing,
        mut value: impl FnMut() -> T,
    ) -> Self {
        const GAP: usize = 10;
        let width = shape.1 + 1;
        let strides = match spacing {
            Spacing::SideBySide => ((count.max(1) * width) as isize, 1),
            _ => layout.strides(shape),
        };
        let one = extent(&[(shape.0, strides.0), (shape.1, strides.1)]).1;
        let stride = match spacing {
            Spacing::Dense => one as isize,
            Spacing::Apart => (one + GAP) as isize,
            Spacing::Backwards => -((one + GAP) as isize),
            Spacing::SideBySide => width as isize,
            Spacing::Shared => 0,
        };
        let (first, len) = extent(&[(count, stride), (shape.0, strides.0), (shape.1, strides.1)]);
        let (data, offset) = (memory.buffer(len + 2 * M::MARGIN), M::MARGIN + first);
        let mut out = Self { data, offset, batch: (count, stride), shape, strides };
        let distinct = if spacing == Spacing::Shared { count.min(1) } else { count };
        for p in 0..distinct {
            for i in 0..shape.0 {
                for j in 0..shape.1 {
                    let at = out.at(p, i, j);
                    out.data[at] = value();
                }
            }
        }
        out
    }

    pub fn at(&self, p: usize, i: usize, j: usize) -> usize {
        let (rs, cs) = self.strides;
        (self.offset as isize + p as isize * self.batch.1 + i as isize * rs + j as isize * cs) as usize
    }

    pub fn view(&self) -> BatchRef<'_, T> {
        BatchRef::strided(&self.data, self.offset, self.batch, self.shape, self.strides).unwrap()
    }

    pub fn view_mut(&mut self) -> BatchMut<'_, T> {
        BatchMut::strided(&mut self.data, self.offset, self.batch, self.shape, self.strides).unwrap()
    }

    /// The first difference in any element of the buffer, inside the matrices or outside.
    pub fn difference(&self, got: &Self) -> Option<String> {
        let whole = |data| MatRef::new(data, 1, data.len()).unwrap();
        first_difference(whole(&*self.data), whole(&*got.data))
    }
}

#[derive(Clone, Debug)]
pub struct Case {
    pub alpha: f64,
    pub beta: f64,
    pub seed: u64,
}

/// Scalars and seed, number of products, their m, n and k, and how A, B and C lie.
pub type StridedCase = (Case, usize, (usize, usize, usize), [Layout; 3], [Spacing; 3]);

pub type Product = ((usize, usize, usize), [Layout; 3]);

pub fn check_strided<T: Real, M: Memory>(
    memory: M,
    (case, count, (m, n, k), layouts, spacings): &StridedCase,
    plans: &[Plan],
) -> Checked {
    let (count, m, n, k) = (*count, *m, *n, *k);
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let a = FencedBatch::new_in(memory, count, (m, k), layouts[0], spacings[0], &mut value);
    let b = FencedBatch::new_in(memory, count, (k, n), layouts[1], spacings[1], &mut value);
    let mut old = || if beta == T::ZERO { T::NAN } else { value() };
    let c = FencedBatch::new_in(memory, count, (m, n), layouts[2], spacings[2], &mut old);
    let mut want = c.clone();
    for p in 0..count {
        reference::gemm(alpha, a.view().get(p), b.view().get(p), beta, want.view_mut().get_mut(p));
    }
    with_plans(
        plans,
        |plan| gemm_batched_scratch::<T>(m, n, k, count, plan),
        |plan, scratch| {
            let mut got = c.clone();
            gemm_batched(alpha, a.view(), b.view(), beta, got.view_mut(), plan, scratch).unwrap();
            let difference = want.difference(&got);
            ensure!(difference.is_none(), "{}: {}", T::NAME, difference.unwrap());
            Ok(())
        },
    )
}

pub fn check_views<T: Real, M: Memory>(memory: M, case: &Case, products: &[Product], plans: &[Plan]) -> Checked {
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let (mut operands, mut results) = (Vec::new(), Vec::new());
    for &((m, n, k), layouts) in products {
        let a = Fenced::new_in(memory, (m, k), layouts[0], &mut value);
        let b = Fenced::new_in(memory, (k, n), layouts[1], &mut value);
        operands.push((a, b));
        results.push(Fenced::new_in(memory, (m, n), layouts[2], || if beta == T::ZERO { T::NAN } else { value() }));
    }
    let views: Vec<_> = operands.iter().map(|(a, b)| (a.view(), b.view())).collect();
    let mut want = results.clone();
    for ((a, b), c) in views.iter().zip(&mut want) {
        reference::gemm(alpha, *a, *b, beta, c.view_mut());
    }
    let shapes: Vec<_> = products.iter().map(|p| p.0).collect();
    with_plans(
        plans,
        |plan| gemm_batched_views_scratch::<T>(&shapes, plan),
        |plan, scratch| {
            let mut got = results.clone();
            let mut c: Vec<_> = got.iter_mut().map(|c| c.view_mut()).collect();
            gemm_batched_views(alpha, &views, beta, &mut c, plan, scratch).unwrap();
            for (p, (want, got)) in want.iter().zip(&got).enumerate() {
                same(want, got, format_args!("product {p}"))?;
            }
            Ok(())
        },
    )
}
