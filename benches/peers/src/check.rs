//! Results are checked before they are timed, and once more afterwards: ours bit by bit, the peers' by what any order of summation obeys.
//!
//! Small results are checked whole, large ones at their corners and in a random sample.

use crate::rows::{BATCH, Contender, Element, Kind, Normal, Out, Problem, Work};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{MatMut, MatRef, Real, Scalar, reference};

/// Elements of a large result that are looked at.
const SAMPLE: usize = 1500;
/// Orders up to which the reference factorisation is run whole.
const WHOLE: usize = 128;

/// Checks what a call of `contender` left in `out`.
pub fn verify<T: Element>(p: &Problem<T>, contender: &Contender<'_, T>, out: &Out<T>) -> Result<(), String> {
    let exact = contender.kind != Kind::Peer;
    let (rows, cols) = p.row.out_shape();
    if p.row.work == Work::Batch {
        let [a, b, c] = [&p.a, &p.b, &out.data].map(|all| all.len() / BATCH);
        for i in [0, 1, BATCH / 2, BATCH - 1] {
            let at = |all: &[T], len: usize| all[i * len..(i + 1) * len].to_vec();
            let one = Problem { row: p.row, a: at(&p.a, a), b: at(&p.b, b), start: Vec::new() };
            let got = at(&out.data, c);
            product(&one, exact, &MatRef::new(&got, rows, cols).expect("sized so"))
                .map_err(|e| format!("product {i} of the batch: {e}"))?;
        }
        return Ok(());
    }
    let got = MatRef::new(&out.data, rows, cols).expect("sized so");
    let start = MatRef::new(&p.start, rows, cols).expect("sized so");
    let (got, start) = if contender.by_columns { (got.t(), start.t()) } else { (got, start) };
    if let Some(expected) = &contender.expected {
        return each((rows, cols), |i, j| same(expected(i, j), got.get(i, j)));
    }
    match p.row.work {
        Work::Solve => solve(p, exact, &start, &got),
        Work::Lu => lu(exact, &start, &got, &out.order),
        Work::Cholesky => cholesky(exact, &start, &got),
        _ => product(p, exact, &got),
    }
}

/// The check is checked: one element that is a little off, or no number, must fail. The first element is looked at everywhere.
pub fn lets_an_error_pass<T: Element>(p: &Problem<T>, contender: &Contender<'_, T>, out: &mut Out<T>) -> bool {
    let off = if contender.kind == Kind::Peer { 1.25 } else { 1.0 + 4.0 * T::UNIT_ROUNDOFF };
    let wrong = [out.data[0] * T::from_f64(off), T::NAN];
    wrong.into_iter().any(|v| {
        out.data[0] = v;
        verify(p, contender, out).is_ok()
    })
}

/// Calls `check` for every element or a sample of them; says which one failed.
fn each((rows, cols): (usize, usize), mut check: impl FnMut(usize, usize) -> Result<(), String>) -> Result<(), String> {
    let mut check = |i, j| check(i, j).map_err(|e| format!("element ({i}, {j}) of {rows}x{cols}: {e}"));
    if rows * cols <= 16 * SAMPLE {
        return (0..rows * cols).try_for_each(|at| check(at / cols, at % cols));
    }
    [(0, 0), (0, cols - 1), (rows - 1, 0), (rows - 1, cols - 1)].into_iter().try_for_each(|(i, j)| check(i, j))?;
    let mut random = Normal::new(7);
    (0..SAMPLE).try_for_each(|_| {
        let bits = random.bits();
        check((bits >> 32) as usize % rows, bits as u32 as usize % cols)
    })
}

fn same<T: Real>(want: T, got: T) -> Result<(), String> {
    if want.bits() == got.bits() { Ok(()) } else { Err(format!("want the bits of {want:e}, got {got:e}")) }
}

/// |start − Σ x·y| ≤ γ(length)·(|start| + Σ |x||y|), the sum carried in twice f64's precision (Ogita, Rump and Oishi, Accurate Sum and Dot
/// Product, 2005), so that its own error does not count in f64 either.
fn bounded<T: Real>(start: T, terms: impl Iterator<Item = (T, T)>, length: usize) -> Result<(), String> {
    let (mut sum, mut low, mut size) = (start.to_f64(), 0.0, start.to_f64().abs());
    for (x, y) in terms {
        let (x, y) = (-x.to_f64(), y.to_f64());
        let product = x * y;
        let next = sum + product;
        let back = next - sum;
        low += x.mul_add(y, -product) + ((sum - (next - back)) + (product - back));
        sum = next;
        size += product.abs();
    }
    let nu = length as f64 * T::UNIT_ROUNDOFF;
    let (error, bound) = ((sum + low).abs(), nu / (1.0 - nu) * size);
    // Written so that NaN fails.
    if !(error <= bound) { Err(format!("error {error:e} above the bound {bound:e}")) } else { Ok(()) }
}

/// Element (i, j) of A·B, by the reference.
pub fn chain<T: Real>(a: MatRef<'_, T>, b: MatRef<'_, T>, i: usize, j: usize) -> T {
    let mut want = [T::NAN];
    let one = MatMut::new(&mut want, 1, 1).expect("one element");
    reference::gemm(T::ONE, a.rows(i, 1), b.cols(j, 1), T::ZERO, one);
    want[0]
}

/// C = A·B; of a symmetric product only the lower triangle.
fn product<T: Element>(p: &Problem<T>, exact: bool, c: &MatRef<'_, T>) -> Result<(), String> {
    let (a, b) = (p.a(), p.b());
    let k = a.ncols();
    each(c.shape(), |i, j| {
        if p.row.work == Work::Syrk && j > i {
            return Ok(());
        }
        if exact {
            same(chain(a, b, i, j), c.get(i, j))
        } else {
            bounded(c.get(i, j), (0..k).map(|l| (a.get(i, l), b.get(l, j))), k + 1)
        }
    })
}

/// X·U = B. Peers may multiply by inverted blocks of the diagonal, hence the longer bound.
fn solve<T: Element>(p: &Problem<T>, exact: bool, b: &MatRef<'_, T>, x: &MatRef<'_, T>) -> Result<(), String> {
    let (u, (m, n)) = (p.u(), x.shape());
    if !exact {
        return each((m, n), |i, j| bounded(b.get(i, j), (0..=j).map(|k| (x.get(i, k), u.get(k, j))), 4 * n));
    }
    // Rows are independent of each other: whole rows, by the reference itself.
    for i in (0..m).step_by(m.div_ceil(10)) {
        let mut want = b.rows(i, 1).to_vec();
        let row = MatMut::new(&mut want, 1, n).expect("sized so");
        reference::solve(Side::Right, Triangle::Upper, Diag::Stored, T::ONE, u, row);
        for (j, &want) in want.iter().enumerate() {
            same(want, x.get(i, j)).map_err(|e| format!("element ({i}, {j}) of {m}x{n}: {e}"))?;
        }
    }
    Ok(())
}

/// P·A = L·U, both in `f`.
fn lu<T: Element>(exact: bool, a: &MatRef<'_, T>, f: &MatRef<'_, T>, order: &[usize]) -> Result<(), String> {
    let n = f.nrows();
    let mut seen = vec![false; n];
    order.iter().for_each(|&row| seen[row] = true);
    if order.len() != n || seen.contains(&false) {
        return Err("the order of rows is no permutation".into());
    }
    if exact && n <= WHOLE {
        let (mut want, mut exchanges) = (a.to_vec(), vec![0; n]);
        let mut rows: Vec<usize> = (0..n).collect();
        reference::lu(MatMut::new(&mut want, n, n).expect("sized so"), &mut exchanges).map_err(|e| e.to_string())?;
        crate::ours::order_rows(&mut rows, exchanges.into_iter());
        if rows != order {
            return Err("other pivots than the reference's".into());
        }
        return each((n, n), |i, j| same(want[i * n + j], f.get(i, j)));
    }
    each((n, n), |i, j| {
        let (links, value) = (i.min(j), f.get(i, j));
        // Half an ulp above 1 is what a peer's reciprocal may cost.
        if i > j && !(Scalar::abs(value).to_f64() <= 1.0 + 2.0 * T::UNIT_ROUNDOFF) {
            return Err(format!("{value:e} in L: the pivot was not the largest"));
        }
        let start = a.get(order[i], j);
        if exact {
            // Element by element the chain that the reference computes, from the factors it would have found.
            let chain = (0..links).fold(start, |acc, k| Scalar::mul_add(-f.get(i, k), f.get(k, j), acc));
            return same(if i > j { chain / f.get(j, j) } else { chain }, value);
        }
        let last = if i > j { f.get(j, j) } else { T::ONE };
        let terms = (0..links).map(|k| (f.get(i, k), f.get(k, j))).chain([(value, last)]);
        bounded(start, terms, 2 * n)
    })
}

/// A = L·Lᵀ, L in the lower triangle of `l`.
fn cholesky<T: Element>(exact: bool, a: &MatRef<'_, T>, l: &MatRef<'_, T>) -> Result<(), String> {
    let n = l.nrows();
    each((n, n), |i, j| {
        if j > i {
            return Ok(());
        }
        if exact {
            let chain = (0..j).fold(a.get(i, j), |acc, k| Scalar::mul_add(-l.get(i, k), l.get(j, k), acc));
            return same(if i == j { Scalar::sqrt(chain) } else { chain / l.get(j, j) }, l.get(i, j));
        }
        bounded(a.get(i, j), (0..=j).map(|k| (l.get(i, k), l.get(j, k))), 2 * n)
    })
}
