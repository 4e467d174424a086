//! The peers that are crates: `gemm`, `faer` and `matrixmultiply`.

use crate::rows::{BATCH, Contender, Element, Kind, Out, Problem, Work};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor as llt;
use faer::linalg::lu::partial_pivoting::factor as lu;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Par};
use gaitprop_kernels::{MatMut, MatRef};
use rayon::prelude::*;

/// `C ← A·B` on so many threads of the pool that it is called in.
type Product<T> = fn(MatRef<'_, T>, MatRef<'_, T>, MatMut<'_, T>, usize);

fn by_gemm<T: Element>(a: MatRef<'_, T>, b: MatRef<'_, T>, mut c: MatMut<'_, T>, threads: usize) {
    use gemm::Parallelism::{None, Rayon};
    let (m, n, k) = (c.nrows(), c.ncols(), a.ncols());
    let (parallelism, (crs, ccs)) = (if threads == 1 { None } else { Rayon(threads) }, (c.rs(), c.cs()));
    // SAFETY: the callers' shapes fit, the views hold what their shapes and strides say (their types' invariant), and C is exclusive. C is not
    // read: `read_dst` is false. T is f32 or f64, which the crate knows.
    unsafe {
        let (ap, bp, cp) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let (acs, ars, bcs, brs) = (a.cs(), a.rs(), b.cs(), b.rs());
        let (alpha, beta) = (<T as gaitprop_kernels::Scalar>::ZERO, <T as gaitprop_kernels::Scalar>::ONE);
        gemm::gemm(m, n, k, cp, ccs, crs, false, ap, acs, ars, bp, bcs, brs, alpha, beta, false, false, false, parallelism);
    }
}

fn by_matrixmultiply<T: Element>(a: MatRef<'_, T>, b: MatRef<'_, T>, mut c: MatMut<'_, T>, _threads: usize) {
    let (m, n, k) = (c.nrows(), c.ncols(), a.ncols());
    let (rs, cs) = (c.rs(), c.cs());
    // SAFETY: the callers' shapes fit, the views hold what their shapes and strides say (their types' invariant), and C is exclusive.
    unsafe {
        let (ap, bp, cp) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        (T::MATRIXMULTIPLY)(m, k, n, T::ONE, ap, a.rs(), a.cs(), bp, b.rs(), b.cs(), T::ZERO, cp, rs, cs);
    }
}

fn faer_ref<T>(a: MatRef<'_, T>) -> faer::MatRef<'_, T> {
    // SAFETY: the view holds what its shape and strides say (its type's invariant) for the lifetime that the result keeps.
    unsafe { faer::MatRef::from_raw_parts(a.as_ptr(), a.nrows(), a.ncols(), a.rs(), a.cs()) }
}

fn faer_mut<T>(mut c: MatMut<'_, T>) -> faer::MatMut<'_, T> {
    // SAFETY: as above, and exclusive: `c` is consumed.
    unsafe { faer::MatMut::from_raw_parts_mut(c.as_mut_ptr(), c.nrows(), c.ncols(), c.rs(), c.cs()) }
}

fn faer_par(threads: usize) -> Par {
    if threads == 1 { Par::Seq } else { Par::rayon(threads) }
}

fn by_faer<T: Element>(a: MatRef<'_, T>, b: MatRef<'_, T>, c: MatMut<'_, T>, threads: usize) {
    faer::linalg::matmul::matmul(faer_mut(c), Accum::Replace, faer_ref(a), faer_ref(b), T::ONE, faer_par(threads));
}

/// Those of the three that can do a row's work.
pub fn contenders<'a, T: Element>(p: &'a Problem<T>, threads: usize) -> Vec<Contender<'a, T>> {
    let products: [(&str, Product<T>); 3] = [("gemm", by_gemm), ("faer", by_faer), ("matrixmultiply", by_matrixmultiply)];
    match p.row.work {
        Work::Product { .. } | Work::Gradient => products.map(|(name, f)| product(p, name, f, threads)).into(),
        Work::Batch => products.map(|(name, f)| batch(p, name, f, threads)).into(),
        Work::Syrk => vec![faer_syrk(p, threads)],
        Work::Lu => vec![faer_lu(p, threads)],
        Work::Solve => vec![faer_solve(p, threads)],
        Work::Cholesky => vec![faer_llt(p, threads)],
        Work::Epilogue => Vec::new(),
    }
}

fn peer<'a, T>(name: &str, call: impl FnMut(&mut Out<T>) + Send + 'a) -> Contender<'a, T> {
    Contender::new(name, Kind::Peer, call).in_pool()
}

fn target<'o, T>(p: &Problem<T>, data: &'o mut [T]) -> MatMut<'o, T> {
    let (rows, cols) = p.row.out_shape();
    MatMut::new(data, rows, cols).expect("sized so")
}

fn product<'a, T: Element>(p: &'a Problem<T>, name: &str, f: Product<T>, threads: usize) -> Contender<'a, T> {
    peer(name, move |out| f(p.a(), p.b(), target(p, &mut out.data), threads))
}

/// Calls `one(a, b, c)` for every product of a batch; with several threads each takes its share of the products.
pub fn each_of_batch<T: Element>(p: &Problem<T>, out: &mut [T], threads: usize, one: impl Fn(&[T], &[T], &mut [T]) + Sync) {
    let (m, n, k) = p.row.shape;
    let share = BATCH.div_ceil(threads);
    let loops = |(a, (b, c)): (&[T], (&[T], &mut [T]))| {
        let operands = a.chunks_exact(m * k).zip(b.chunks_exact(k * n));
        operands.zip(c.chunks_exact_mut(m * n)).for_each(|((a, b), c)| one(a, b, c));
    };
    if threads == 1 {
        return loops((&p.a, (&p.b, out)));
    }
    let shares = p.a.par_chunks(share * m * k).zip(p.b.par_chunks(share * k * n).zip(out.par_chunks_mut(share * m * n)));
    shares.for_each(loops);
}

fn batch<'a, T: Element>(p: &'a Problem<T>, name: &str, f: Product<T>, threads: usize) -> Contender<'a, T> {
    let (m, n, k) = p.row.shape;
    peer(&format!("{name} (loop)"), move |out| {
        each_of_batch(p, &mut out.data, threads, |a, b, c| {
            let (a, b) = (MatRef::new(a, m, k).expect("sized so"), MatRef::new(b, k, n).expect("sized so"));
            f(a, b, MatMut::new(c, m, n).expect("sized so"), 1);
        });
    })
}

fn faer_syrk<'a, T: Element>(p: &'a Problem<T>, threads: usize) -> Contender<'a, T> {
    use BlockStructure::{Rectangular, TriangularLower};
    peer("faer", move |out| {
        let (a, c) = (faer_ref(p.a()), faer_mut(target(p, &mut out.data)));
        let par = faer_par(threads);
        triangular::matmul(c, TriangularLower, Accum::Replace, a, Rectangular, a.transpose(), Rectangular, T::ONE, par);
    })
}

/// On the transpose: faer works by columns.
fn faer_lu<'a, T: Element>(p: &'a Problem<T>, threads: usize) -> Contender<'a, T> {
    let (n, par) = (p.row.shape.1, faer_par(threads));
    let mut memory = MemBuffer::new(lu::lu_in_place_scratch::<usize, T>(n, n, par, Default::default()));
    let mut inverse = vec![0usize; n];
    let call = move |out: &mut Out<T>| {
        let a = faer_mut(target(p, &mut out.data).t());
        lu::lu_in_place(a, &mut out.order, &mut inverse, par, MemStack::new(&mut memory), Default::default());
    };
    peer("faer", call).by_columns()
}

fn faer_llt<'a, T: Element>(p: &'a Problem<T>, threads: usize) -> Contender<'a, T> {
    let (n, par) = (p.row.shape.1, faer_par(threads));
    let mut memory = MemBuffer::new(llt::cholesky_in_place_scratch::<T>(n, par, Default::default()));
    let call = move |out: &mut Out<T>| {
        let a = faer_mut(target(p, &mut out.data).t());
        llt::cholesky_in_place(a, Default::default(), par, MemStack::new(&mut memory), Default::default())
            .expect("positive definite");
    };
    peer("faer", call).by_columns()
}

/// X·U = B as Uᵀ·Xᵀ = Bᵀ: the same memory, by columns.
fn faer_solve<'a, T: Element>(p: &'a Problem<T>, threads: usize) -> Contender<'a, T> {
    peer("faer", move |out| {
        let x = faer_mut(target(p, &mut out.data).t());
        solve_lower_triangular_in_place(faer_ref(p.u().t()), x, faer_par(threads));
    })
}
