//! Batches against a loop over the naive product, in every bit.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::{
    BatchMut, BatchRef, Plan, Real, Scratch, gemm_batched, gemm_batched_scratch, gemm_batched_views, gemm_batched_views_scratch,
    reference,
};

/// `count` matrices in one fenced buffer: between and around them every element is a marked NaN.
#[derive(Clone, Debug)]
pub struct FencedBatch<T> {
    pub data: Vec<T>,
    pub offset: usize,
    pub batch: (usize, isize),
    pub shape: (usize, usize),
    pub strides: (isize, isize),
}

/// How the matrices of a batch lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// One after another, with a gap.
    Apart,
    /// The same from last to first.
    Backwards,
    /// Side by side in each row, as the heads of a layer are.
    SideBySide,
    /// One matrix for all: for operands only.
    Shared,
}

pub const SPACINGS: [Spacing; 3] = [Spacing::Apart, Spacing::Backwards, Spacing::SideBySide];

impl<T: Real> FencedBatch<T> {
    pub fn new(count: usize, shape: (usize, usize), layout: Layout, spacing: Spacing, mut value: impl FnMut() -> T) -> Self {
        let one = Fenced::<T>::new(shape, layout, || T::ZERO);
        let mut batch = (count, 0isize);
        let mut out = match spacing {
            Spacing::Shared => Self { data: one.data, offset: one.offset, batch, shape, strides: one.strides },
            Spacing::SideBySide => {
                let (rs, width) = ((count.max(1) * (shape.1 + 1)) as isize, shape.1 as isize + 1);
                batch.1 = width;
                let data = vec![T::NAN; rs as usize * shape.0 + 10];
                Self { data, offset: 4, batch, shape, strides: (rs, 1) }
            }
            Spacing::Apart | Spacing::Backwards => {
                let len = one.data.len();
                let data = vec![T::NAN; len * count.max(1)];
                let backwards = spacing == Spacing::Backwards && count > 0;
                batch.1 = if backwards { -(len as isize) } else { len as isize };
                let offset = one.offset + if backwards { (count - 1) * len } else { 0 };
                Self { data, offset, batch, shape, strides: one.strides }
            }
        };
        out.data.fill(T::NAN);
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
        let differ = |(w, g): (&T, &T)| w.bits() != g.bits();
        let at = self.data.iter().zip(&got.data).position(differ)?;
        Some(format!("element {at} of the buffer: want {:e}, got {:e}", self.data[at], got.data[at]))
    }
}

#[derive(Clone, Debug)]
pub struct Case {
    pub alpha: f64,
    pub beta: f64,
    pub seed: u64,
}

pub type StridedCase = (Case, usize, (usize, usize, usize), [Layout; 3], [Spacing; 3]);

pub type Product = ((usize, usize, usize), [Layout; 3]);

pub fn check_strided<T: Real>((case, count, (m, n, k), layouts, spacings): &StridedCase, plans: &[Plan]) -> Checked {
    let (count, m, n, k) = (*count, *m, *n, *k);
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let a = FencedBatch::new(count, (m, k), layouts[0], spacings[0], &mut value);
    let b = FencedBatch::new(count, (k, n), layouts[1], spacings[1], &mut value);
    let c = FencedBatch::new(count, (m, n), layouts[2], spacings[2], || if beta == T::ZERO { T::NAN } else { value() });
    let mut want = c.clone();
    for p in 0..count {
        reference::gemm(alpha, a.view().get(p), b.view().get(p), beta, want.view_mut().get_mut(p));
    }
    for plan in plans {
        let mut got = c.clone();
        let mut scratch = Scratch::new();
        scratch.reserve(gemm_batched_scratch::<T>(m, n, k, count, plan)).unwrap();
        let reserved = scratch.capacity();
        gemm_batched(alpha, a.view(), b.view(), beta, got.view_mut(), plan, &mut scratch).unwrap();
        let difference = want.difference(&got);
        ensure!(difference.is_none(), "{} {} {:?}: {difference:?}", plan.isa, T::NAME, plan.par);
        ensure!(scratch.capacity() == reserved, "gemm_batched_scratch asked for too little");
    }
    Ok(())
}

pub fn check_views<T: Real>(case: &Case, products: &[Product], plans: &[Plan]) -> Checked {
    let (alpha, beta) = (T::from_f64(case.alpha), T::from_f64(case.beta));
    let mut value = reals::<T>(case.seed);
    let (mut operands, mut results) = (Vec::new(), Vec::new());
    for &((m, n, k), layouts) in products {
        operands.push((Fenced::new((m, k), layouts[0], &mut value), Fenced::new((k, n), layouts[1], &mut value)));
        results.push(Fenced::new((m, n), layouts[2], || if beta == T::ZERO { T::NAN } else { value() }));
    }
    let views: Vec<_> = operands.iter().map(|(a, b)| (a.view(), b.view())).collect();
    let mut want = results.clone();
    for ((a, b), c) in views.iter().zip(&mut want) {
        reference::gemm(alpha, *a, *b, beta, c.view_mut());
    }
    let shapes: Vec<_> = products.iter().map(|p| p.0).collect();
    for plan in plans {
        let mut got = results.clone();
        let mut scratch = Scratch::new();
        scratch.reserve(gemm_batched_views_scratch::<T>(&shapes, plan)).unwrap();
        let reserved = scratch.capacity();
        let mut c: Vec<_> = got.iter_mut().map(|c| c.view_mut()).collect();
        gemm_batched_views(alpha, &views, beta, &mut c, plan, &mut scratch).unwrap();
        for (p, (want, got)) in want.iter().zip(&got).enumerate() {
            let difference = first_difference(want.view(), got.view());
            ensure!(difference.is_none(), "{} {} product {p}: {difference:?}", plan.isa, T::NAME);
            ensure!(got.fences_stand(), "{}: wrote outside C of product {p}", plan.isa);
        }
        ensure!(scratch.capacity() == reserved, "gemm_batched_views_scratch asked for too little");
    }
    Ok(())
}
