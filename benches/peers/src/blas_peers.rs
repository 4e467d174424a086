//! MKL and OpenBLAS as contenders.

use crate::blas::{Blas, Gemm, Table};
use crate::ours::order_rows;
use crate::peers::each_of_batch;
use crate::rows::{BATCH, Contender, Element, Kind, Out, Problem, Work};

// CBLAS's constants.
const ROW_MAJOR: i32 = 101;
const PLAIN: i32 = 111;
const TRANSPOSED: i32 = 112;
const UPPER: i32 = 121;
const LOWER: i32 = 122;
const NON_UNIT: i32 = 131;
const RIGHT: i32 = 142;
// MKL's own: an operand packed beforehand, and which one.
const PACKED: i32 = 151;
const B_OPERAND: i32 = 162;

/// What the library can do of a row's work.
pub fn contenders<'a, T: Element>(p: &'a Problem<T>, blas: &Blas, threads: usize) -> Result<Vec<Contender<'a, T>>, String> {
    let (table, name) = (blas.table::<T>()?, blas.vendor.name());
    Ok(match p.row.work {
        Work::Product { prepacked } => {
            let packed = table.pack.filter(|_| prepacked).map(|_| packed(p, name, &table));
            [product(p, name, table.gemm)].into_iter().chain(packed).collect()
        }
        Work::Gradient => vec![product(p, name, table.gemm)],
        Work::Batch => vec![batch(p, name, &table, threads)],
        Work::Syrk => vec![syrk(p, name, &table)],
        Work::Solve => vec![solve(p, name, &table)],
        Work::Lu => lu(p, name, &table).into_iter().collect(),
        Work::Cholesky => cholesky(p, name, &table).into_iter().collect(),
        Work::Epilogue => Vec::new(),
    })
}

fn peer<'a, T>(name: &str, call: impl FnMut(&mut Out<T>) + Send + 'a) -> Contender<'a, T> {
    Contender::new(name, Kind::Peer, call)
}

/// The row's m, n, k in the library's integers.
fn sizes<T>(p: &Problem<T>) -> (i32, i32, i32) {
    let (m, n, k) = p.row.shape;
    (m as i32, n as i32, k as i32)
}

fn product<'a, T: Element>(p: &'a Problem<T>, name: &str, gemm: Gemm<T>) -> Contender<'a, T> {
    let (m, n, k) = sizes(p);
    let (op, lda) = if p.row.work == Work::Gradient { (TRANSPOSED, m) } else { (PLAIN, k) };
    peer(name, move |out| {
        let (a, b, c) = (p.a.as_ptr(), p.b.as_ptr(), out.data.as_mut_ptr());
        // SAFETY: `Problem` made A m×k (k×m where it is read transposed), B k×n and the result m×n, all row-major without gaps: the leading
        // dimensions are the lengths of their rows.
        unsafe { gemm(ROW_MAJOR, op, PLAIN, m, n, k, T::ONE, a, lda, b, n, T::ZERO, c, n) };
    })
}

/// MKL with B packed beforehand.
fn packed<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>) -> Contender<'a, T> {
    let (m, n, k) = sizes(p);
    let (size, pack, compute) = table.pack.expect("asked for only where it is there");
    // SAFETY: takes numbers alone.
    let bytes = unsafe { size(B_OPERAND, m, n, k) };
    // The library wants cache lines: room for one more, to begin at the first whole one.
    let mut memory = vec![T::ZERO; (bytes + 64) / size_of::<T>() + 1];
    let at = memory.as_ptr().align_offset(64);
    let room = &mut memory[at..];
    assert!(size_of_val(room) >= bytes, "room for the packed operand");
    // SAFETY: B is k×n, row-major; `room` holds the bytes that the library asked for, checked above.
    unsafe { pack(ROW_MAJOR, B_OPERAND, PLAIN, m, n, k, T::ONE, p.b.as_ptr(), n, room.as_mut_ptr()) };
    peer(&format!("{name} prepacked"), move |out| {
        let (a, b, c) = (p.a.as_ptr(), memory[at..].as_ptr(), out.data.as_mut_ptr());
        // SAFETY: as in `product`; B is what `pack` wrote for these sizes, and the vector that holds it has not moved its elements.
        unsafe { compute(ROW_MAJOR, PLAIN, PACKED, m, n, k, a, k, b, n, T::ZERO, c, n) };
    })
}

fn batch<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>, threads: usize) -> Contender<'a, T> {
    let (m, n, k) = sizes(p);
    let Some(batch) = table.batch else {
        let gemm = table.gemm;
        let one = move |a: &[T], b: &[T], c: &mut [T]| {
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            // SAFETY: `each_of_batch` hands out slices of m·k, k·n and m·n elements, row-major, C exclusive.
            unsafe { gemm(ROW_MAJOR, PLAIN, PLAIN, m, n, k, T::ONE, a, k, b, n, T::ZERO, c, n) };
        };
        return peer(&format!("{name} (loop)"), move |out| each_of_batch(p, &mut out.data, threads, one)).in_pool();
    };
    peer(&format!("{name} batched"), move |out| {
        let (a, b, c) = (p.a.as_ptr(), p.b.as_ptr(), out.data.as_mut_ptr());
        let count = BATCH as i32;
        // SAFETY: `Problem` made BATCH operands and results of each kind, row-major, one behind the other: the strides are their sizes.
        unsafe { batch(ROW_MAJOR, PLAIN, PLAIN, m, n, k, T::ONE, a, k, m * k, b, n, k * n, T::ZERO, c, n, m * n, count) };
    })
}

fn syrk<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>) -> Contender<'a, T> {
    let ((_, n, k), syrk) = (sizes(p), table.syrk);
    peer(name, move |out| {
        // SAFETY: `Problem` made A n×k and the result n×n, row-major without gaps.
        unsafe { syrk(ROW_MAJOR, LOWER, PLAIN, n, k, T::ONE, p.a.as_ptr(), k, T::ZERO, out.data.as_mut_ptr(), n) };
    })
}

fn solve<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>) -> Contender<'a, T> {
    let ((m, n, _), trsm) = (sizes(p), table.trsm);
    peer(name, move |out| {
        let (u, b) = (p.a.as_ptr(), out.data.as_mut_ptr());
        // SAFETY: `Problem` made U n×n and B m×n, row-major without gaps.
        unsafe { trsm(ROW_MAJOR, RIGHT, UPPER, PLAIN, NON_UNIT, m, n, T::ONE, u, n, b, n) };
    })
}

/// LAPACK works by columns: on the transpose.
fn lu<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>) -> Option<Contender<'a, T>> {
    let ((_, n, _), getrf) = (sizes(p), table.getrf?);
    let mut pivots = vec![0; n as usize];
    let call = move |out: &mut Out<T>| {
        let mut info = 0;
        // SAFETY: the matrix is n×n without gaps, and there are n pivots.
        unsafe { getrf(&n, &n, out.data.as_mut_ptr(), &n, pivots.as_mut_ptr(), &mut info) };
        assert_eq!(info, 0, "random matrices are not singular");
        order_rows(&mut out.order, pivots.iter().map(|&p| p as usize - 1));
    };
    Some(peer(name, call).by_columns())
}

fn cholesky<'a, T: Element>(p: &'a Problem<T>, name: &str, table: &Table<T>) -> Option<Contender<'a, T>> {
    let ((_, n, _), potrf) = (sizes(p), table.potrf?);
    let call = move |out: &mut Out<T>| {
        let mut info = 0;
        // SAFETY: the matrix is n×n without gaps; the triangle's name is one character long, as the last argument says.
        unsafe { potrf(c"L".as_ptr(), &n, out.data.as_mut_ptr(), &n, &mut info, 1) };
        assert_eq!(info, 0, "the matrix is positive definite");
    };
    Some(peer(name, call).by_columns())
}
