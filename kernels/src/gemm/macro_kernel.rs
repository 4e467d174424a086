//! The five loops around the register tile.
//!
//! ```text
//! for jc in columns by NC                    B block: packed, in L3
//!   for pc in the chain by KC                B panel: in L1
//!     for ic in rows by MC                   A block: packed, in L2
//!       for jr in panels of NR columns
//!         for ir in panels of MR rows        one register tile
//! ```
//!
//! Threads get whole column panels (or, for tall narrow products, row panels) of C and run the loops by themselves on their own
//! packing memory: no barrier, nothing shared but what is only read.

use super::Plan;
use super::micro::{KernelRow, Tile};
use crate::tuning::{Blocking, in_parts, near_equal};
use crate::{Error, MatMut, MatRef, Real, Req, Scratch};
use crate::{pack, par};
use core::mem::MaybeUninit;

/// The tile that stands in for C where C's columns are not neighbours: room for the largest of any instruction set.
const STACK_TILE: usize = 14 * 32;

/// Where the threads cut.
#[derive(Clone, Copy)]
struct Split {
    parts: usize,
    by_rows: bool,
}

impl Split {
    fn new(m: usize, n: usize, k: usize, threads: usize, min_work: usize, mr: usize, nr: usize) -> Self {
        let work = m.saturating_mul(n).saturating_mul(k);
        let parts = threads.min(work / min_work.max(1)).max(1);
        // Columns keep packing of B, the larger operand in training, free of repetition.
        let by_rows = n.div_ceil(nr) < 2 * parts && m.div_ceil(mr) > n.div_ceil(nr);
        let most = if by_rows { m.div_ceil(mr) } else { n.div_ceil(nr) };
        Self { parts: parts.min(most).max(1), by_rows }
    }

    /// (first, length) of part `i`, in units of whole panels so that no tile is cut.
    fn range(&self, i: usize, len: usize, unit: usize) -> (usize, usize) {
        let (first, n) = in_parts(len.div_ceil(unit), self.parts).nth(i).expect("a part");
        let start = first * unit;
        (start, (n * unit).min(len - start))
    }
}

/// Elements of packing memory of one part of at most m × n.
fn pack_len(m: usize, n: usize, k: usize, blocking: &Blocking, nr: usize) -> (usize, usize) {
    let kc = k.min(blocking.kc());
    let a = m.min(blocking.mc()).saturating_mul(kc);
    let b = n.min(blocking.nc()).div_ceil(nr).saturating_mul(nr).saturating_mul(kc);
    // Whole cache lines, so that no two threads write to one.
    let line = |len: usize| len.saturating_add(31) / 32 * 32;
    (line(a), line(b))
}

/// As large as any orientation of C and any split can ask for.
pub(super) fn scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>) -> Req {
    let row = T::kernel_row(plan.isa);
    let blocking = plan.blocking_for::<T>();
    let one = |m, n| {
        let (a, b) = pack_len(m, n, k, &blocking, row.nr);
        Req::of::<T>(a.saturating_add(b).saturating_mul(plan.par.threads()))
    };
    one(m, n).or(one(n, m))
}

pub(super) fn gemm<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    // A C whose lines run backwards: read both it and the operand that gives its lines the other way round.
    if c.cs() == -1 && c.ncols() > 1 {
        return gemm(alpha, a, b.reverse_cols(), beta, c.reverse_cols(), plan, scratch);
    }
    if c.rs() == -1 && c.nrows() > 1 {
        return gemm(alpha, a.reverse_rows(), b, beta, c.reverse_rows(), plan, scratch);
    }
    // Column-major C: compute the transpose. The factors of each multiply-add change places, which changes nothing; α stays with A.
    if c.cs() != 1 && c.rs() == 1 {
        loops(b.t(), a.t(), c.t(), Scale { of_left: T::ONE, of_right: alpha, beta }, plan, scratch)
    } else {
        loops(a, b, c, Scale { of_left: alpha, of_right: T::ONE, beta }, plan, scratch)
    }
}

/// What the operands are multiplied by; one of the first two is 1.
#[derive(Clone, Copy)]
struct Scale<T> {
    of_left: T,
    of_right: T,
    beta: T,
}

fn loops<T: Real>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    c: MatMut<'_, T>,
    scale: Scale<T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let ((m, k), n) = (a.shape(), b.ncols());
    let row = T::kernel_row(plan.isa);
    let blocking = plan.blocking_for::<T>();
    let mr = blocking.mr().min(row.mr());
    let split = Split::new(m, n, k, plan.par.threads(), plan.min_work, mr, row.nr);
    let (part_m, part_n) = if split.by_rows { (split.range(0, m, mr).1, n) } else { (m, split.range(0, n, row.nr).1) };
    let (a_len, b_len) = pack_len(part_m, part_n, k, &blocking, row.nr);
    let memory = scratch.slice::<T>((a_len + b_len).saturating_mul(split.parts))?;
    let memory = par::Pieces::new(memory, a_len + b_len);

    plan.par.split(split.parts, |i| {
        // SAFETY: `split` calls with each i once, so each piece of memory and (below) each block of C has one user.
        let (pack_a, pack_b) = unsafe { memory.piece(i) }.split_at_mut(a_len);
        // SAFETY: as above: the blocks of different parts have no element in common.
        let c = unsafe { c.alias() };
        let (a, b, c) = if split.by_rows {
            let (first, len) = split.range(i, m, mr);
            (a.rows(first, len), b, c.rows(first, len))
        } else {
            let (first, len) = split.range(i, n, row.nr);
            (a, b.cols(first, len), c.cols(first, len))
        };
        one_part(a, b, c, scale, row, &blocking, pack_a, pack_b);
    });
    Ok(())
}

/// The five loops of one thread.
#[allow(clippy::too_many_arguments)]
fn one_part<T: Real>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    mut c: MatMut<'_, T>,
    scale: Scale<T>,
    row: &KernelRow<T>,
    blocking: &Blocking,
    pack_a: &mut [MaybeUninit<T>],
    pack_b: &mut [MaybeUninit<T>],
) {
    let ((m, k), n) = (a.shape(), b.ncols());
    let mr = blocking.mr().min(row.mr());
    for (jc, nb) in near_equal(n, blocking.nc()) {
        // k = 0 is one chain of no links: β still has to be applied.
        let chain = near_equal(k, blocking.kc()).chain((k == 0).then_some((0, 0)));
        for (pc, kb) in chain {
            let beta = if pc == 0 { scale.beta } else { T::ONE };
            let packed_b = &mut pack_b[..nb.div_ceil(row.nr) * row.nr * kb];
            pack::pack_b(b.block(pc, jc, kb, nb), row.nr, scale.of_right, packed_b);
            for (ic, mb) in near_equal(m, blocking.mc()) {
                let packed_a = &mut pack_a[..mb * kb];
                pack::pack_a(a.block(ic, pc, mb, kb), scale.of_left, near_equal(mb, mr), packed_a);
                tiles(packed_a, packed_b, kb, mr, beta, c.rb().block(ic, jc, mb, nb), row);
            }
        }
    }
}

/// The two inner loops: every tile of a block of C.
fn tiles<T: Real>(
    packed_a: &[MaybeUninit<T>],
    packed_b: &[MaybeUninit<T>],
    kc: usize,
    mr: usize,
    beta: T,
    mut c: MatMut<'_, T>,
    row: &KernelRow<T>,
) {
    let ((m, n), nr) = (c.shape(), row.nr);
    assert!(packed_a.len() == m * kc && packed_b.len() == n.div_ceil(nr) * nr * kc);
    let neighbours = c.cs() == 1 || n == 1;
    for (j, jr) in (0..n).step_by(nr).enumerate() {
        let cols = nr.min(n - jr);
        for (ir, rows) in near_equal(m, mr) {
            let mut block = c.rb().block(ir, jr, rows, cols);
            let mut tile = Tile {
                kc,
                a: packed_a[ir * kc..].as_ptr().cast(),
                b: packed_b[j * nr * kc..].as_ptr().cast(),
                c: block.as_mut_ptr(),
                rs: block.rs(),
                cols,
                beta,
            };
            if neighbours {
                // SAFETY: the row belongs to an `Isa` that exists; the panels hold rows · kc and nr · kc initialised elements
                // (packed by `one_part`, lengths asserted above); `block` is rows × cols with columns side by side.
                unsafe { row.tiles[rows - 1](&tile) };
                continue;
            }
            // Neither stride is 1: the tile is computed in a copy.
            let mut copy = [T::ZERO; STACK_TILE];
            assert!(rows * nr <= STACK_TILE);
            if beta != T::ZERO {
                for i in 0..rows {
                    for jj in 0..cols {
                        copy[i * nr + jj] = block.get(i, jj);
                    }
                }
            }
            (tile.c, tile.rs) = (copy.as_mut_ptr(), nr as isize);
            // SAFETY: as above, with C replaced by the copy of rows × nr elements.
            unsafe { row.tiles[rows - 1](&tile) };
            for i in 0..rows {
                for jj in 0..cols {
                    block.set(i, jj, copy[i * nr + jj]);
                }
            }
        }
    }
}
