//! Products, plain, batched, packed and fused, triangular kernels, factorisations and what they solve, kernels of elements and updates read and write no byte beyond their operands, where it could not be noticed in
//! the result: the first or last element of each lies at the edge of a page, and the page beyond it is none of the process. A kernel that goes over the edge ends these tests with a signal.

use crate::support::fused::{Bench, Case};
use crate::support::{self, LAYOUTS, Layout, Matrix, first_difference, reals};
use gaitprop_kernels::epilogue::{AdamStep, adam, bias_activate, descend, momentum};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, activation_grad, perturb};
use gaitprop_kernels::reduce::{column_means, dot};
use gaitprop_kernels::symm::symm;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk};
use gaitprop_kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop_kernels::{
    Activation, BatchMut, BatchRef, Epilogue, Isa, MatMut, MatRef, Orientation, PackedRhs, Packing, Par, Plan, Real, Scratch,
    Start, cholesky, gemm, gemm_batched, gemm_batched_views, gemm_with, lu, reference,
};
use std::ptr;

/// Elements between two pages that may not be touched, next to one of them.
struct Edged<T> {
    pages: *mut libc::c_void,
    size: usize,
    edge: Edge,
    first: *mut T,
    len: usize,
}

/// Which page is next to the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Before,
    Behind,
}

impl<T: Real> Edged<T> {
    fn new(edge: Edge, len: usize, mut value: impl FnMut() -> T) -> Self {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let bytes = len * size_of::<T>();
        let inside = bytes.next_multiple_of(page).max(page);
        let size = inside + 2 * page;
        // SAFETY: new pages wherever the system likes, which nobody may touch yet.
        let pages = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED, "no memory for {size} bytes");
        let start = pages.wrapping_byte_add(page);
        // SAFETY: all pages but the first and the last of those asked for above.
        assert_eq!(unsafe { libc::mprotect(start, inside, libc::PROT_READ | libc::PROT_WRITE) }, 0);
        let first = start.wrapping_byte_add(if edge == Edge::Behind { inside - bytes } else { 0 }).cast::<T>();
        for i in 0..len {
            // SAFETY: `len` elements lie inside, aligned: a page is a multiple of an element's size.
            unsafe { first.add(i).write(value()) };
        }
        Self { pages, size, edge, first, len }
    }

    fn data(&self) -> &[T] {
        // SAFETY: written in `new`, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }

    fn data_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `data`, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T> Drop for Edged<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody borrows them any more.
        unsafe { libc::munmap(self.pages, self.size) };
    }
}

/// A matrix whose first or last element in memory is at the edge.
struct Laid<T> {
    memory: Edged<T>,
    offset: usize,
    shape: (usize, usize),
    strides: (isize, isize),
}

impl<T: Real> Laid<T> {
    /// Values row by row; NaN between them.
    fn new(edge: Edge, shape: (usize, usize), layout: Layout, mut value: impl FnMut() -> T) -> Self {
        let (m, n) = (shape.0 as isize, shape.1 as isize);
        let (rs, cs) = match layout {
            Layout::Rows => (n, 1),
            Layout::Columns => (1, m),
            Layout::PaddedRows => (n + 3, 1),
            Layout::PaddedColumns => (1, m + 2),
            Layout::NegativeRows => (-n, 1),
            Layout::NegativeColumns => (n, -1),
            Layout::Spread => (2 * n, 2),
        };
        let (down, across) = ((m - 1).max(0) * rs, (n - 1).max(0) * cs);
        let low = down.min(0) + across.min(0);
        let (offset, len) = if m * n == 0 { (0, 0) } else { (-low, 1 - low + down.max(0) + across.max(0)) };
        // A stride of 0 is possible for empty matrices only.
        let strides = (if rs == 0 { 1 } else { rs }, if cs == 0 { 1 } else { cs });
        let mut out = Self { memory: Edged::new(edge, len as usize, || T::NAN), offset: offset as usize, shape, strides };
        for i in 0..shape.0 {
            for j in 0..shape.1 {
                out.view_mut().set(i, j, value());
            }
        }
        out
    }

    /// A row-major copy in ordinary memory.
    fn plain(&self) -> Vec<T> {
        let v = self.view();
        (0..v.nrows()).flat_map(|i| (0..v.ncols()).map(move |j| v.get(i, j))).collect()
    }
}

impl<T: Real> Matrix<T> for Laid<T> {
    fn view(&self) -> MatRef<'_, T> {
        MatRef::strided(self.memory.data(), self.offset, self.shape, self.strides).unwrap()
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::strided(self.memory.data_mut(), self.offset, self.shape, self.strides).unwrap()
    }
}

/// Whether few cases are asked for, as on an emulated CPU.
fn few() -> bool {
    std::env::var("PROPTEST_CASES").is_ok_and(|cases| cases.parse::<u32>().is_ok_and(|cases| cases < 100))
}

/// Every layout at either edge; where few cases are asked for every third of these, other ones for each `shape` of three.
fn cases(shape: usize) -> impl Iterator<Item = (Edge, usize)> {
    let (skipped, step) = if few() { (shape % 3, 3) } else { (0, 1) };
    let all = [Edge::Before, Edge::Behind].into_iter().flat_map(|edge| (0..LAYOUTS.len()).map(move |i| (edge, i)));
    all.skip(skipped).step_by(step)
}

/// Every instruction set, each way of packing it on this thread, and on a team of two.
fn plans(team: &Par) -> Vec<Plan> {
    let packings = [Packing::Auto, Packing::Always, Packing::Avoid];
    let of = |isa| {
        let alone = packings.map(|packing| Plan::new().with_isa(isa).with_packing(packing));
        let both = Plan::new().with_isa(isa).with_par(team.clone()).with_min_work(1);
        alone.into_iter().chain([both])
    };
    Isa::available().flat_map(of).collect()
}

fn named<T: Real>(plan: &Plan) -> String {
    format!("{} {} {:?} {:?}", T::NAME, plan.isa, plan.packing, plan.par)
}

/// Rows and columns around words and tiles of every instruction set, chains of nothing, one and some.
const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (9, 7, 5),
    (5, 9, 0),
    (3, 16, 20),
    (8, 17, 3),
    (16, 31, 20),
    (17, 48, 9),
    (13, 49, 33),
    (33, 63, 7),
    (49, 33, 16),
    (60, 95, 20),
    (31, 130, 12),
];

fn rows<T: Real>(data: &mut [T], shape: (usize, usize)) -> MatMut<'_, T> {
    MatMut::new(data, shape.0, shape.1).unwrap()
}

fn same<T: Real>(want: &[T], got: &Laid<T>, what: &dyn std::fmt::Display) {
    let want = MatRef::new(want, got.shape.0, got.shape.1).unwrap();
    if let Some(difference) = first_difference(want, got.view()) {
        panic!("{what}: {difference}");
    }
}

fn same_bits<T: Real>(want: &[T], got: &Edged<T>, what: &str) {
    assert!(want.len() == got.len && want.iter().zip(got.data()).all(|(w, g)| w.bits() == g.bits()), "{what}");
}

fn products<T: Real>() {
    let team = Par::team(2).unwrap();
    let (plans, mut scratch) = (plans(&team), Scratch::new());
    let mut value = reals::<T>(3);
    for (s, (m, n, k)) in SHAPES.into_iter().enumerate() {
        for (edge, i) in cases(s) {
            // Each operand meets every layout, and the three are not alike.
            let layouts = [i, 3 * i + m, 5 * i + n].map(|i| LAYOUTS[i % LAYOUTS.len()]);
            let a = Laid::new(edge, (m, k), layouts[0], &mut value);
            let b = Laid::new(edge, (k, n), layouts[1], &mut value);
            let mut c = Laid::new(edge, (m, n), layouts[2], &mut value);
            let (alpha, beta) = [(1.0, 0.0), (-1.0, 1.0), (0.3, 0.0), (0.7, -2.0)][(i + s) % 4];
            let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
            let before = c.plain();
            let mut want = before.clone();
            reference::gemm(alpha, a.view(), b.view(), beta, rows(&mut want, (m, n)));
            for plan in &plans {
                let what = format!("{m}×{n}×{k} {layouts:?} {edge:?} {}", named::<T>(plan));
                support::Copy::copy(c.view_mut(), MatRef::new(&before, m, n).unwrap());
                gemm(alpha, a.view(), b.view(), beta, c.view_mut(), plan, &mut scratch).unwrap();
                same(&want, &c, &what);

                support::Copy::copy(c.view_mut(), MatRef::new(&before, m, n).unwrap());
                gemm_batched_views(alpha, &[(a.view(), b.view())], beta, &mut [c.view_mut()], plan, &mut scratch).unwrap();
                same(&want, &c, &format!("batched, {what}"));

                let packed = PackedRhs::new(b.view(), Orientation::Plain, plan).unwrap();
                support::Copy::copy(c.view_mut(), MatRef::new(&before, m, n).unwrap());
                let b = packed.plain().unwrap();
                gemm_with(alpha, a.view(), b, Start::C(beta), c.view_mut(), Epilogue::Store, plan, &mut scratch).unwrap();
                same(&want, &c, &format!("packed, {what}"));
            }
        }
    }
}

#[test]
fn of_products() {
    products::<f32>();
    products::<f64>();
}

/// Batches with a stride from matrix to matrix, one behind the other and with gaps.
fn batches<T: Real>() {
    let team = Par::team(2).unwrap();
    let (plans, mut scratch) = (plans(&team), Scratch::new());
    let mut value = reals::<T>(4);
    for (m, n, k) in SHAPES.into_iter().filter(|s| s.2 > 0) {
        for (edge, count, gap) in [(Edge::Before, 3, 0), (Edge::Behind, 3, 0), (Edge::Behind, 2, 5), (Edge::Behind, 1, 1)] {
            let len = |size: usize| (count - 1) * (size + gap) + size;
            let stride = |size: usize| (size + gap) as isize;
            let (a, b) = (Edged::new(edge, len(m * k), &mut value), Edged::new(edge, len(k * n), &mut value));
            let mut c = Edged::new(edge, len(m * n), &mut value);
            let before = c.data().to_vec();
            let mut want = before.clone();
            let half = T::from_f64(0.5);
            for p in 0..count {
                let at = |size: usize| p * (size + gap)..p * (size + gap) + size;
                let a = MatRef::new(&a.data()[at(m * k)], m, k).unwrap();
                let b = MatRef::new(&b.data()[at(k * n)], k, n).unwrap();
                reference::gemm(half, a, b, half, rows(&mut want[at(m * n)], (m, n)));
            }
            for plan in &plans {
                c.data_mut().copy_from_slice(&before);
                let a = BatchRef::strided(a.data(), 0, (count, stride(m * k)), (m, k), (k as isize, 1)).unwrap();
                let b = BatchRef::strided(b.data(), 0, (count, stride(k * n)), (k, n), (n as isize, 1)).unwrap();
                let to = BatchMut::strided(c.data_mut(), 0, (count, stride(m * n)), (m, n), (n as isize, 1)).unwrap();
                gemm_batched(half, a, b, half, to, plan, &mut scratch).unwrap();
                same_bits(&want, &c, &format!("{count} of {m}×{n}×{k}, gap {gap}, {edge:?}, {}", named::<T>(plan)));
            }
        }
    }
}

#[test]
fn of_batches() {
    batches::<f32>();
    batches::<f64>();
}

/// A view and a packed B with each start and each epilogue; at either edge from shape to shape.
fn fused<T: Real>() {
    let team = Par::team(2).unwrap();
    let plans = plans(&team);
    // Few on an emulated CPU, none of the kinds left out.
    let step = if few() { 11 } else { 1 };
    for (s, shape) in SHAPES.into_iter().enumerate() {
        for i in (s % step..2 * 3 * 6).step_by(step) {
            let case = Case {
                shape,
                a: LAYOUTS[(i + s) % LAYOUTS.len()],
                b: LAYOUTS[(3 * i + s) % LAYOUTS.len()],
                padded: (i / 5) % 2 == 1,
                unit: (i / 2 + s) % 4,
                packed: i % 2 == 1,
                start: i / 2 % 3,
                epilogue: i / 6,
                alpha: [1.0, -1.0, 0.3][(i / 4) % 3],
                seed: (i + s) as u64,
            };
            let mut want = Bench::<T>::new(&case);
            let finite = want.unfused(&case).unwrap();
            let edge = if (i / 3 + s) % 2 == 0 { Edge::Before } else { Edge::Behind };
            for plan in &plans {
                let mut got = Bench::made(&case, &mut |shape, layout, value| Laid::new(edge, shape, layout, value));
                let what = format!("{case:?} {edge:?} {}", named::<T>(plan));
                assert_eq!(got.fused(&case, plan), Ok(finite), "{what}");
                let mut results = vec![("C", &want.c, &got.c)];
                results.extend(
                    ["beside", "beside that"].into_iter().zip(&want.beside).zip(&got.beside).map(|((w, a), b)| (w, a, b)),
                );
                for (which, want, got) in results {
                    let difference = first_difference(want.view(), got.view());
                    assert!(difference.is_none(), "{which}, {what}: {difference:?}");
                }
            }
        }
    }
}

#[test]
fn of_fused_products() {
    fused::<f32>();
    fused::<f64>();
}

fn triangles<T: Real>() {
    let team = Par::team(2).unwrap();
    let (plans, mut scratch) = (plans(&team), Scratch::new());
    let mut value = reals::<T>(7);
    for (s, (n, other)) in [(1, 1), (5, 3), (9, 17), (33, 20), (70, 49)].into_iter().enumerate() {
        for (edge, i) in cases(s) {
            let layouts = [i, 3 * i + n, 5 * i + 1].map(|i| LAYOUTS[i % LAYOUTS.len()]);
            // Near enough the identity for any triangle of it, symmetric or not.
            let mut at = 0;
            let mut near = || {
                at += 1;
                value() * T::from_f64(0.3 / n as f64) + if (at - 1) % (n + 1) == 0 { T::ONE } else { T::ZERO }
            };
            let square: Vec<T> = (0..n * n).map(|_| near()).collect();
            let mut filled = Laid::new(edge, (n, n), layouts[0], || T::ZERO);
            support::Copy::copy(filled.view_mut(), MatRef::new(&square, n, n).unwrap());
            let wide = Laid::new(edge, (n, other), layouts[1], &mut value);
            let mut c = Laid::new(edge, (n, n), layouts[2], &mut value);
            let mut x = Laid::new(edge, (n, other), layouts[2], &mut value);
            let (old_c, old_x) = (c.plain(), x.plain());
            let alpha = T::from_f64([1.0, -1.0, 0.3][i % 3]);
            for plan in &plans {
                let what = format!("{n}, {other} {layouts:?} {edge:?} {}", named::<T>(plan));
                for part in [Part::Lower, Part::Upper, Part::Both] {
                    let mut want = old_c.clone();
                    reference::syrk(alpha, wide.view(), T::ONE, part, Diagonal::Kept, rows(&mut want, (n, n)));
                    support::Copy::copy(c.view_mut(), MatRef::new(&old_c, n, n).unwrap());
                    syrk(alpha, wide.view(), T::ONE, part, Diagonal::Kept, c.view_mut(), plan, &mut scratch).unwrap();
                    same(&want, &c, &format!("syrk {part:?}, {what}"));
                }
                for triangle in [Triangle::Lower, Triangle::Upper] {
                    for side in [Side::Left, Side::Right] {
                        // The other side is the transposed problem.
                        let shape = if side == Side::Left { (n, other) } else { (other, n) };
                        let turned = |v| if side == Side::Left { v } else { MatRef::t(v) };
                        let old: Vec<T> = if side == Side::Left {
                            old_x.clone()
                        } else {
                            (0..other).flat_map(|j| (0..n).map(move |i| (i, j))).map(|(i, j)| old_x[i * other + j]).collect()
                        };
                        let mut want = old.clone();
                        reference::symm(
                            side,
                            triangle,
                            alpha,
                            filled.view(),
                            turned(wide.view()),
                            T::ONE,
                            rows(&mut want, shape),
                        );
                        let mut got = Laid::new(edge, shape, layouts[2], || T::ZERO);
                        support::Copy::copy(got.view_mut(), MatRef::new(&old, shape.0, shape.1).unwrap());
                        symm(
                            side,
                            triangle,
                            alpha,
                            filled.view(),
                            turned(wide.view()),
                            T::ONE,
                            got.view_mut(),
                            plan,
                            &mut scratch,
                        )
                        .unwrap();
                        same(&want, &got, &format!("symm {side:?} {triangle:?}, {what}"));

                        want.copy_from_slice(&old);
                        reference::solve(side, triangle, Diag::Stored, alpha, filled.view(), rows(&mut want, shape));
                        support::Copy::copy(got.view_mut(), MatRef::new(&old, shape.0, shape.1).unwrap());
                        trsm::solve(side, triangle, Diag::Stored, alpha, filled.view(), got.view_mut(), plan, &mut scratch)
                            .unwrap();
                        same(&want, &got, &format!("solve {side:?} {triangle:?}, {what}"));
                    }
                }
                let mut factored = Laid::new(edge, (n, n), layouts[0], || T::ZERO);
                support::Copy::copy(factored.view_mut(), MatRef::new(&square, n, n).unwrap());
                let (mut want, mut pivots, mut got_pivots) = (square.clone(), vec![0; n], vec![0; n]);
                reference::lu(rows(&mut want, (n, n)), &mut pivots).unwrap();
                lu::factor(factored.view_mut(), &mut got_pivots, plan, &mut scratch).unwrap();
                assert_eq!(pivots, got_pivots, "{what}");
                same(&want, &factored, &format!("LU, {what}"));
                solve_by_lu(&factored, &pivots, &wide, &what, plan, &mut scratch);

                support::Copy::copy(factored.view_mut(), MatRef::new(&square, n, n).unwrap());
                want.copy_from_slice(&square);
                reference::cholesky(rows(&mut want, (n, n))).unwrap();
                cholesky::factor(factored.view_mut(), plan, &mut scratch).unwrap();
                same(&want, &factored, &format!("Cholesky, {what}"));
                let mut got = copied(&wide);
                let (mut want, alone) = (wide.plain(), Plan::new().with_isa(Isa::PORTABLE));
                cholesky::solve(factored.view(), rows(&mut want, (n, other)), &alone, &mut Scratch::new()).unwrap();
                cholesky::solve(factored.view(), got.view_mut(), plan, &mut scratch).unwrap();
                same(&want, &got, &format!("solve by Cholesky, {what}"));
            }
            support::Copy::copy(x.view_mut(), MatRef::new(&old_x, n, other).unwrap());
        }
    }
}

/// Another of the same layout and values, at the same edge.
fn copied<T: Real>(from: &Laid<T>) -> Laid<T> {
    let mut data = from.memory.data().iter();
    let memory = Edged::new(from.memory.edge, from.memory.len, || *data.next().unwrap());
    Laid { memory, ..*from }
}

/// From both sides, against portable kernels with a right-hand side in ordinary memory, which the other tests compare with the references.
fn solve_by_lu<T: Real>(lu: &Laid<T>, pivots: &[usize], b: &Laid<T>, what: &str, plan: &Plan, scratch: &mut Scratch) {
    let (alone, mut own, (n, other)) = (Plan::new().with_isa(Isa::PORTABLE), Scratch::new(), b.shape);
    let (mut got, mut want) = (copied(b), b.plain());
    lu::solve_left(lu.view(), pivots, rows(&mut want, (n, other)), &alone, &mut own).unwrap();
    lu::solve_left(lu.view(), pivots, got.view_mut(), plan, scratch).unwrap();
    same(&want, &got, &format!("solve by LU, {what}"));

    let (mut got, mut want) = (copied(b), b.plain());
    lu::solve_right(lu.view(), pivots, rows(&mut want, (n, other)).t(), &alone, &mut own).unwrap();
    lu::solve_right(lu.view(), pivots, got.view_mut().t(), plan, scratch).unwrap();
    same(&want, &got, &format!("solve by LU from the right, {what}"));

    let mut work = Edged::new(b.memory.edge, 2 * n, || T::NAN);
    let want = lu::inverse_norm1(lu.view(), pivots, &mut vec![T::NAN; 2 * n], &alone, &mut own).unwrap();
    let got = lu::inverse_norm1(lu.view(), pivots, work.data_mut(), plan, scratch).unwrap();
    assert_eq!(want.to_bits(), got.to_bits(), "‖A⁻¹‖₁, {what}");
}

#[test]
fn of_triangles() {
    triangles::<f32>();
    triangles::<f64>();
}

/// Compared with the portable kernels in ordinary memory, which the other tests compare with the references.
fn elements<T: Real>() {
    let mut value = reals::<T>(9);
    let units = [Activation::Identity, Activation::LeakyRelu { slope: 0.1 }, Activation::Tanh];
    for (s, (m, n)) in [(1, 1), (3, 7), (2, 16), (5, 17), (4, 31), (3, 33), (2, 67)].into_iter().enumerate() {
        for (edge, i) in cases(s) {
            let layout = LAYOUTS[i];
            let half = T::from_f64(0.5);
            let y = Laid::new(edge, (m, n), layout, || value() * half);
            let slope = Laid::new(edge, (m, n), layout, || half + half);
            let e = Laid::new(edge, (m, n), layout, || value() * half);
            let bias = Edged::new(edge, n, &mut value);
            for isa in Isa::available() {
                for (unit, weighting) in units.into_iter().flat_map(|u| [(u, Weighting::Plain), (u, Weighting::SlopeSquared)]) {
                    let what = format!("{} {m}×{n} {layout:?} {edge:?} {isa} {unit:?} {weighting:?}", T::NAME);
                    let p = Perturbation { activation: unit, weighting, scale: Scale::Finite(0.1) };
                    let mut outs = [0; 2].map(|_| Laid::new(edge, (m, n), layout, || T::NAN));
                    let mut want = [0; 2].map(|_| vec![T::NAN; m * n]);
                    let kept = unit.keeps_slope().then(|| slope.view());
                    let ([r, x], [want_r, want_x]) = (&mut outs, &mut want);
                    perturb(p, y.view(), kept, e.view(), rows(want_r, (m, n)), rows(want_x, (m, n)), Isa::PORTABLE).unwrap();
                    perturb(p, y.view(), kept, e.view(), r.view_mut(), x.view_mut(), isa).unwrap();
                    same(want_r, r, &format!("r, {what}"));
                    same(want_x, x, &format!("x, {what}"));
                    activation_grad(unit, y.view(), kept, e.view(), rows(want_x, (m, n)), Isa::PORTABLE).unwrap();
                    activation_grad(unit, y.view(), kept, e.view(), x.view_mut(), isa).unwrap();
                    same(want_x, x, &format!("weigh, {what}"));

                    support::Copy::copy(r.view_mut(), y.view());
                    support::Copy::copy(rows(want_r, (m, n)), y.view());
                    bias_activate(unit, rows(want_r, (m, n)), bias.data(), Some(rows(want_x, (m, n))), Isa::PORTABLE).unwrap();
                    bias_activate(unit, r.view_mut(), bias.data(), Some(x.view_mut()), isa).unwrap();
                    same(want_r, r, &format!("activity, {what}"));
                    same(want_x, x, &format!("slope, {what}"));
                }
                let (mut means, mut want) = (Edged::new(edge, n, || T::NAN), vec![T::NAN; n]);
                column_means(y.view(), &mut want, Isa::PORTABLE).unwrap();
                column_means(y.view(), means.data_mut(), isa).unwrap();
                same_bits(&want, &means, &format!("means {m}×{n} {layout:?} {edge:?} {isa}"));
            }
        }
    }
}

#[test]
fn of_elements() {
    elements::<f32>();
    elements::<f64>();
}

fn parameters<T: Real>() {
    let mut value = reals::<T>(5);
    let number = T::from_f64;
    let step = AdamStep {
        rate: number(0.01),
        beta1: (number(0.9), number(0.1)),
        beta2: (number(0.99), number(0.01)),
        epsilon: number(1e-8),
        correction: T::ONE,
    };
    for len in [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127] {
        for edge in [Edge::Before, Edge::Behind] {
            let [theta, m, delta] = [0; 3].map(|_| (0..len).map(|_| value()).collect::<Vec<T>>());
            let v: Vec<T> = m.iter().map(|m| *m * *m).collect();
            let laid = |from: &[T]| {
                let mut from = from.iter();
                Edged::new(edge, len, || *from.next().unwrap())
            };
            for isa in Isa::available() {
                let equal = |want: &[T], got: &Edged<T>| same_bits(want, got, &format!("{} {len} {edge:?} {isa}", T::NAME));
                let d = laid(&delta);
                let (mut wt, mut wm, mut wv) = (theta.clone(), m.clone(), v.clone());
                let (mut t, mut mm, mut vv) = (laid(&theta), laid(&m), laid(&v));
                adam(step, &mut wt, &mut wm, &mut wv, &delta, Isa::PORTABLE).unwrap();
                adam(step, t.data_mut(), mm.data_mut(), vv.data_mut(), d.data(), isa).unwrap();
                equal(&wt, &t);
                equal(&wm, &mm);
                equal(&wv, &vv);
                momentum(step.rate, step.beta1.0, &mut wt, &mut wm, &delta, Isa::PORTABLE).unwrap();
                momentum(step.rate, step.beta1.0, t.data_mut(), mm.data_mut(), d.data(), isa).unwrap();
                descend(step.rate, &mut wt, &delta, Isa::PORTABLE).unwrap();
                descend(step.rate, t.data_mut(), d.data(), isa).unwrap();
                equal(&wt, &t);
                equal(&wm, &mm);
                assert_eq!(dot(&wt, &delta, Isa::PORTABLE).unwrap().to_bits(), dot(t.data(), d.data(), isa).unwrap().to_bits());
            }
        }
    }
}

#[test]
fn of_parameters() {
    parameters::<f32>();
    parameters::<f64>();
}

/// The pages are where they are said to be: a process that reads the element beyond is ended by a signal.
#[test]
fn the_edge_is_one() {
    const ASKED: &str = "GAITPROP_READ_BEYOND";
    if let Ok(edge) = std::env::var(ASKED) {
        let memory = Edged::<f64>::new(if edge == "before" { Edge::Before } else { Edge::Behind }, 5, || 1.0);
        println!("reads beyond");
        let at = if edge == "before" { memory.first.wrapping_sub(1) } else { memory.first.wrapping_add(5) };
        // SAFETY: none: this is what must not be possible, in a process of its own.
        let read = unsafe { at.read_volatile() };
        panic!("has read {read}");
    }
    for edge in ["before", "behind"] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let out = again.args(["--exact", "memory_ends::the_edge_is_one", "--nocapture"]).env(ASKED, edge).output();
        let said =
            out.as_ref().map(|o| String::from_utf8_lossy(&[&o.stdout[..], &o.stderr].concat()).into_owned()).unwrap_or_default();
        // An emulated process cannot start another of its kind everywhere.
        if !said.contains("reads beyond") && !cfg!(target_arch = "x86_64") {
            return println!("left out: no second process ({out:?})");
        }
        // A sanitizer makes an exit code of the signal.
        let ended = out.as_ref().is_ok_and(|o| !o.status.success());
        assert!(ended && said.contains("reads beyond") && !said.contains("has read"), "{edge}: {out:?}");
    }
}
