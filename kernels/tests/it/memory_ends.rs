//! Kernels read and write no byte beyond their operands, even where the result would not show it.
//! The first or last element of each operand lies at the edge of a page, and the process does not
//! have the page beyond: a kernel that goes over the edge ends these tests with a signal. The
//! checks are those of the other files.

use crate::support::elementwise::*;
use crate::support::fused::{ACTIVATIONS, BEGINS, ENDS, RIGHTS};
use crate::support::triangular::*;
use crate::support::vectors::*;
use crate::support::*;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::syrk::Diagonal;
use gaitprop_kernels::trsm::Diag;
use gaitprop_kernels::{Activation, Isa, Packing, Par, Plan, Real};
use std::ops::{Deref, DerefMut};
use std::ptr;

/// Elements between two pages that the process may not touch, next to one of them.
#[derive(Debug)]
struct Edged<T: Real> {
    pages: *mut libc::c_void,
    size: usize,
    edge: Edge,
    first: *mut T,
    len: usize,
}

/// Which of the two pages is next to the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Before,
    Behind,
}

impl Memory for Edge {
    type Buffer<T: Real> = Edged<T>;
    const MARGIN: usize = 0;

    fn buffer<T: Real>(self, len: usize) -> Edged<T> {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let bytes = len * size_of::<T>();
        let inside = bytes.next_multiple_of(page).max(page);
        let size = inside + 2 * page;
        // SAFETY: new pages at an address that the system chooses; nothing else refers to them.
        let pages = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED, "no memory for {size} bytes");
        let start = pages.wrapping_byte_add(page);
        // SAFETY: all pages but the first and the last of those mapped above.
        assert_eq!(unsafe { libc::mprotect(start, inside, libc::PROT_READ | libc::PROT_WRITE) }, 0);
        let first = start.wrapping_byte_add(if self == Edge::Behind { inside - bytes } else { 0 }).cast::<T>();
        for i in 0..len {
            // SAFETY: `len` elements lie inside, aligned: a page is a multiple of an element's
            // size.
            unsafe { first.add(i).write(T::NAN) };
        }
        Edged { pages, size, edge: self, first, len }
    }
}

impl<T: Real> Deref for Edged<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements, written in `buffer`, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T: Real> DerefMut for Edged<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T: Real> Clone for Edged<T> {
    fn clone(&self) -> Self {
        let mut out = self.edge.buffer(self.len);
        out.copy_from_slice(self);
        out
    }
}

impl<T: Real> Drop for Edged<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `buffer`, and no borrow of `self` is left.
        unsafe { libc::munmap(self.pages, self.size) };
    }
}

/// Whether few cases are asked for, as on an emulated CPU.
fn few() -> bool {
    std::env::var("PROPTEST_CASES").is_ok_and(|cases| cases.parse::<u32>().is_ok_and(|cases| cases < 100))
}

/// Every layout at either edge; where few cases are asked for every third of these, other ones for
/// each `shape` of three.
fn cases(shape: usize) -> impl Iterator<Item = (Edge, usize)> {
    let (skipped, step) = if few() { (shape % 3, 3) } else { (0, 1) };
    let all = [Edge::Before, Edge::Behind].into_iter().flat_map(|edge| (0..LAYOUTS.len()).map(move |i| (edge, i)));
    all.skip(skipped).step_by(step)
}

/// Layout `i` for the first operand, and others for the second and third.
fn layouts(i: usize, (m, n): (usize, usize)) -> [Layout; 3] {
    [i, 3 * i + m, 5 * i + n].map(|i| LAYOUTS[i % LAYOUTS.len()])
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

/// Names what was computed where a check fails.
fn hold(checked: Checked, what: impl std::fmt::Debug) {
    checked.unwrap_or_else(|wrong| panic!("{what:?}: {wrong}"));
}

/// Rows and columns around vectors and tiles of every instruction set; chains of 0, 1 and more
/// links.
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

fn products<T: Real>() {
    let team = Par::team(2).unwrap();
    let plans = plans(&team);
    for (s, shape) in SHAPES.into_iter().enumerate() {
        for (edge, i) in cases(s) {
            let layouts = layouts(i, (shape.0, shape.1));
            let (alpha, beta) = [(1.0, 0.0), (-1.0, 1.0), (0.3, 0.0), (0.7, -2.0)][(i + s) % 4];
            let seed = (LAYOUTS.len() * s + i) as u64;
            let case = product::Case { shape, layouts, alpha, beta, seed };
            hold(product::check::<T, _>(edge, &case, &plans), (edge, &case));
            let batch = batch::Case { alpha, beta, seed };
            hold(batch::check_views::<T, _>(edge, &batch, &[(shape, layouts)], &plans), (edge, &case));
        }
    }
}

#[test]
fn of_products() {
    products::<f32>();
    products::<f64>();
}

/// Batches with a stride from matrix to matrix, with and without gaps.
fn batches<T: Real>() {
    use crate::support::batch::{Case, Spacing, check_strided};
    let team = Par::team(2).unwrap();
    let plans = plans(&team);
    let batches = [
        (Edge::Before, 3, Spacing::Dense),
        (Edge::Behind, 3, Spacing::Dense),
        (Edge::Behind, 2, Spacing::Apart),
        (Edge::Behind, 1, Spacing::Apart),
    ];
    for (s, shape) in SHAPES.into_iter().filter(|s| s.2 > 0).enumerate() {
        for (edge, count, spacing) in batches {
            let case = Case { alpha: 0.5, beta: 0.5, seed: s as u64 };
            let case = (case, count, shape, [Layout::Rows; 3], [spacing; 3]);
            hold(check_strided::<T, _>(edge, &case, &plans), (edge, &case));
        }
    }
}

#[test]
fn of_batches() {
    batches::<f32>();
    batches::<f64>();
}

/// Each way to give B with each start and each epilogue; at either edge from shape to shape.
fn fused_products<T: Real>() {
    let team = Par::team(2).unwrap();
    let plans = plans(&team);
    // Few on an emulated CPU, none of the kinds left out.
    let step = if few() { 11 } else { 1 };
    for (s, shape) in SHAPES.into_iter().enumerate() {
        for i in (s % step..RIGHTS.len() * BEGINS.len() * ENDS.len()).step_by(step) {
            let case = fused::Case {
                shape,
                a: LAYOUTS[(i + s) % LAYOUTS.len()],
                b: LAYOUTS[(3 * i + s) % LAYOUTS.len()],
                rows: ROW_LAYOUTS[(i / 5) % ROW_LAYOUTS.len()],
                activation: ACTIVATIONS[(i / 2 + s) % ACTIVATIONS.len()],
                right: RIGHTS[i % RIGHTS.len()],
                begin: BEGINS[i / RIGHTS.len() % BEGINS.len()],
                end: ENDS[i / (RIGHTS.len() * BEGINS.len())],
                alpha: [1.0, -1.0, 0.3][(i / 4) % 3],
                seed: (i + s) as u64,
            };
            let edge = if (i / 3 + s).is_multiple_of(2) { Edge::Before } else { Edge::Behind };
            hold(fused::check::<T, _>(edge, &case, &plans), (edge, &case));
        }
    }
}

#[test]
fn of_fused_products() {
    fused_products::<f32>();
    fused_products::<f64>();
}

fn triangles<T: Real>() {
    let team = Par::team(2).unwrap();
    let plans = plans(&team);
    for (s, (n, other)) in [(1, 1), (5, 3), (9, 17), (33, 20), (70, 49)].into_iter().enumerate() {
        for (edge, i) in cases(s) {
            let how = How { memory: edge, layouts: layouts(i, (n, 1)), seed: (LAYOUTS.len() * s + i) as u64 };
            let alpha = [1.0, -1.0, 0.3][i % 3];
            let what = (n, other, &how);
            for part in PARTS {
                let checked = check_syrk::<T, _>((n, other), (alpha, 1.0), part, Diagonal::Kept, &how, &plans);
                hold(checked, ("syrk", part, what));
            }
            for (side, which) in SIDES.into_iter().flat_map(|side| TRIANGLES.map(|which| (side, which))) {
                let checked = check_symm::<T, _>((n, other), side, which, (alpha, 1.0), &how, &plans);
                hold(checked, ("symm", side, which, what));
                let checked = check_solve::<T, _>((n, other), side, which, Diag::Stored, alpha, &how, &plans);
                hold(checked, ("solve", side, which, what));
                let checked = check_trmm::<T, _>((n, other), side, which, Diag::Stored, alpha, &how, &plans);
                hold(checked, ("trmm", side, which, what));
            }
            for which in TRIANGLES {
                hold(check_gemmt::<T, _>((n, other), (alpha, 1.0), which, &how, &plans), ("gemmt", which, what));
            }
            let vectors = layouts(i, (n, other));
            hold(check_gemv::<T, _>(edge, (n, other), (alpha, 1.0), vectors, how.seed, &plans), ("gemv", what));
            hold(check_ger::<T, _>(edge, (n, other), alpha, vectors, how.seed, &plans), ("ger", what));
            hold(check_dot::<T, _>(edge, n, [vectors[0], vectors[1]], how.seed, &plans), ("dot", what));
            hold(check_lu::<T, _>((n, other), Flaw::None, &how, &plans), ("LU", what));
            hold(check_cholesky::<T, _>((n, other), Flaw::None, &how, &plans), ("Cholesky", what));
        }
    }
}

#[test]
fn of_triangles() {
    triangles::<f32>();
    triangles::<f64>();
}

fn elements<T: Real>() {
    let activations = [Activation::Identity, Activation::LeakyRelu { slope: 0.1 }, Activation::Tanh];
    for (s, shape) in [(1, 1), (3, 7), (2, 16), (5, 17), (4, 31), (3, 33), (2, 67)].into_iter().enumerate() {
        for (edge, i) in cases(s) {
            let (layout, seed) = (LAYOUTS[i], (LAYOUTS.len() * s + i) as u64);
            let what = (edge, shape, layout);
            for activation in activations {
                for weighting in [Weighting::Plain, Weighting::SlopeSquared] {
                    let p = Perturbation { activation, weighting, scale: Scale::Finite(0.1) };
                    hold(check_perturb::<T, _>(edge, p, shape, [layout; 5], seed), (p, what));
                }
                hold(check_activate::<T, _>(edge, activation, shape, [layout; 2], seed), (activation, what));
            }
            hold(check_means::<T, _>(edge, shape, layout, seed), ("means", what));
        }
    }
}

#[test]
fn of_elements() {
    elements::<f32>();
    elements::<f64>();
}

fn parameters<T: Real>() {
    for len in [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127] {
        for edge in [Edge::Before, Edge::Behind] {
            hold(check_optimizers::<T, _>(edge, len, 1, len as u64), (edge, len));
        }
    }
}

#[test]
fn of_parameters() {
    parameters::<f32>();
    parameters::<f64>();
}

/// A signal ends a process that reads the element beyond an edge.
#[test]
fn the_edge_is_one() {
    const ASKED: &str = "GAITPROP_READ_BEYOND";
    if let Ok(edge) = std::env::var(ASKED) {
        let memory = if edge == "before" { Edge::Before } else { Edge::Behind }.buffer::<f64>(5);
        println!("reads beyond");
        let at = if edge == "before" { memory.first.wrapping_sub(1) } else { memory.first.wrapping_add(5) };
        // SAFETY: none: the system must not allow this read. The process is started for it alone.
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
