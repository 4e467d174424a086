//! LU on several threads: right-looking, with the next panel factored ahead.
//!
//! ```text
//!        panel   next   blocks of columns
//!       ┌──────┬──────┬───┬───┬──┄
//!       │ U    │  1   │ 2 │ 3 │        each block is one thread's, start to end: exchanges, its part of U, its update;
//!       ├╲─────┼──────┼───┼───┼──┄     the first goes on to factor the next panel, while the others are still at work
//!       │ L    │      │   │   │
//! ```
//!
//! Columns stay with their thread from panel to panel, as long as all keep pace: moving them from core to core costs more than all else.
//! The exchanges in columns that are done with wait until the end. After Strazdins, A Comparison of Lookahead and Algorithmic Blocking Techniques for
//! Parallel Matrix Factorization, 1998.

use crate::base::error::Error;
use crate::base::flags::Diag;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{DisjointSlices, Scratch, ScratchReq};
use crate::base::split::{near_equal, round_up};
use crate::factor::lu_panel::{self, PANEL};
use crate::factor::row_exchange::exchange;
use crate::level3::small_triangle::own_triangle;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::vector::prefetch;
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Whether this is the way: several threads with enough to do, and rows with neighbours.
pub(super) fn is_worthwhile<T: Real>(a: &MatMut<'_, T>, plan: &Plan) -> bool {
    let n = a.nrows();
    threads(n, plan) > 1 && a.cs() == 1 && n > 2 * width(plan)
}

fn threads(n: usize, plan: &Plan) -> usize {
    plan.threads_for(n.saturating_mul(n).saturating_mul(n) / 6)
}

/// Columns of a panel.
fn width(plan: &Plan) -> usize {
    plan.blocking.map_or(PANEL, |b| b.kc().min(PANEL))
}

/// Columns of a block: whole panels, and as many of them as make no more blocks than a claim has bits.
fn block(n: usize, plan: &Plan) -> usize {
    let w = width(plan);
    n.div_ceil(w).div_ceil(64).saturating_mul(w)
}

/// Elements in which one thread keeps its part of U.
fn room_len<T: Real>(n: usize, plan: &Plan) -> usize {
    round_up(round_up(block(n, plan), T::tiles(plan.isa).nr()).saturating_mul(width(plan)), 64)
}

pub(super) fn scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    if threads(n, plan) <= 1 {
        return ScratchReq::default();
    }
    let rooms = room_len::<T>(n, plan).saturating_mul(plan.par.threads());
    ScratchReq::of::<T>(lu_panel::ld::<T>(n).saturating_mul(width(plan)).saturating_add(rooms))
}

/// [`lu::factor`](crate::factor::lu::factor), for what [`is_worthwhile`] says.
pub(super) fn factor<T: Real>(
    mut a: MatMut<'_, T>,
    pivots: &mut [usize],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, w) = (a.nrows(), width(plan));
    let (threads, bw) = (threads(n, plan), block(n, plan));
    let (panel_len, room_len) = (lu_panel::ld::<T>(n) * w, room_len::<T>(n, plan));
    let (panel_room, rooms) = scratch.slice::<T>(panel_len + room_len * threads)?.split_at_mut(panel_len);
    let rooms = DisjointSlices::new(rooms);
    one_panel(a.rb().cols(0, w), 0, &mut pivots[..w], panel_room, plan)?;
    for k0 in (0..n).step_by(w) {
        let k1 = (k0 + w).min(n);
        let (known, open) = pivots.split_at_mut(k1);
        let (known, next) = (&known[k0..], (n - k1).min(w));
        if next == 0 {
            break;
        }
        // Each thread takes what is its own from step to step, and has in its cache, then what the others have not come to.
        let ahead = Mutex::new(Some((&mut open[..next], &mut *panel_room)));
        let outcome = Mutex::new(Ok(()));
        let (behind, taken) = (k1 + next, AtomicU64::new(0));
        let step = Step { k0, k1, pivots: known, plan };
        plan.par.split(threads, &|t| {
            // SAFETY: each part has a room of its own, and runs once.
            let room = unsafe { rooms.part(t * room_len, room_len) };
            // SAFETY: the panel, columns k0 .. k1, is only read until all parts are done.
            let panel = unsafe { a.alias() }.cols(k0, k1 - k0);
            for own in [true, false] {
                if own == (k1 / bw % threads == t) {
                    let claimed = ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some((pivots, panel_room)) = claimed {
                        // SAFETY: these columns are the next panel's, which only whoever has claimed it touches.
                        let mut own = unsafe { a.alias() }.cols(k1, next);
                        step.block(panel.as_ref(), own.rb(), room);
                        let result = one_panel(own, k1, pivots, panel_room, plan);
                        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = result;
                    }
                }
                for b in (behind / bw..n.div_ceil(bw)).filter(|b| own == (b % threads == t)) {
                    let bit = 1 << b;
                    if taken.load(Ordering::Relaxed) & bit != 0 || taken.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
                        continue;
                    }
                    let (first, end) = ((b * bw).max(behind), ((b + 1) * bw).min(n));
                    if first < end {
                        // SAFETY: blocks are disjoint columns behind the next panel, and this one was claimed just now.
                        let own = unsafe { a.alias() }.cols(first, end - first);
                        step.block(panel.as_ref(), own, room);
                    }
                }
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    }
    // What the columns of each panel have missed.
    plan.par.split(n.div_ceil(w), &|s| {
        let (k0, k1) = (s * w, ((s + 1) * w).min(n));
        // SAFETY: panels are disjoint columns, and each part runs once.
        let mut own = unsafe { a.alias() }.cols(k0, k1 - k0);
        for (k, &p) in pivots.iter().enumerate().skip(k1) {
            exchange(&mut own, k, p);
        }
    });
    Ok(())
}

/// Factors rows `k0 ..` of a panel; pivots are rows of the whole matrix.
fn one_panel<T: Real>(
    a: MatMut<'_, T>,
    k0: usize,
    pivots: &mut [usize],
    room: &mut [MaybeUninit<T>],
    plan: &Plan,
) -> Result<(), Error> {
    let (_, mut a) = a.split_rows(k0);
    let (m, n) = a.shape();
    let ld = lu_panel::ld::<T>(m);
    let columns = zeroed(&mut room[..ld * n]);
    copy(plan.isa, a.as_ref(), MatMut::strided(columns, 0, (m, n), (1, ld as isize))?);
    let outcome = lu_panel::factor(plan, columns, ld, (m, n), pivots, k0);
    copy(plan.isa, MatRef::strided(columns, 0, (m, n), (1, ld as isize))?, a.rb());
    if outcome.is_ok() {
        pivots.iter_mut().for_each(|p| *p += k0);
    }
    outcome
}

/// A factored panel, columns k0 .. k1, and what the columns behind it have to learn of it.
struct Step<'a> {
    k0: usize,
    k1: usize,
    pivots: &'a [usize],
    plan: &'a Plan,
}

impl Step<'_> {
    /// Exchanges, U12 and the update of some columns of the matrix.
    fn block<T: Real>(&self, panel: MatRef<'_, T>, mut own: MatMut<'_, T>, room: &mut [MaybeUninit<T>]) {
        let Self { k0, k1, plan, .. } = *self;
        let (tiles, (n, cols), w) = (T::tiles(plan.isa), own.shape(), k1 - k0);
        let mr = tiles.mr;
        let mr = plan.blocking.map_or(mr, |b| b.mr().min(mr));
        for (k, &p) in self.pivots.iter().enumerate() {
            exchange(&mut own, k0 + k, p);
        }
        // U12, in panels as wide as a tile.
        let nr = tiles.nr();
        let room = zeroed(&mut room[..w * cols.next_multiple_of(nr)]);
        for (upper, first) in room.chunks_exact_mut(w * nr).zip((0..cols).step_by(nr)) {
            let live = nr.min(cols - first);
            copy(
                plan.isa,
                own.as_ref().block(k0, first, w, live),
                MatMut::strided(upper, 0, (w, live), (nr as isize, 1)).expect("w × NR elements"),
            );
            for (at, rows) in near_equal(w, mr) {
                let (done, open) = upper.split_at_mut(at * nr);
                let open = &mut open[..rows * nr];
                if at > 0 {
                    let l = Coefficients::of(panel.block(k0 + at, 0, rows, at));
                    // SAFETY: the panel is borrowed; `done` has `at` steps of NR elements, `open` `rows` of them, and they are disjoint slices of scratch.
                    unsafe { subtract(plan.isa, l, done.as_ptr(), nr as isize, open.as_mut_ptr(), nr as isize, nr) };
                }
                own_triangle(plan.isa, panel.block(k0 + at, at, rows, rows), Diag::Unit, open, nr);
            }
            let upper = MatRef::strided(upper, 0, (w, live), (nr as isize, 1)).expect("w × NR elements");
            copy(plan.isa, upper, own.rb().block(k0, first, w, live));
        }
        // A22 ← A22 − L21·U12.
        for (at, rows) in near_equal(n - k1, mr) {
            let l = panel.block(k1 + at, 0, rows, w);
            // The next strip's coefficients may be in another core's cache.
            let line = 64 / size_of::<T>();
            for r in 0..rows {
                let next = l.as_ptr().wrapping_offset((rows + r) as isize * l.rs());
                (0..w).step_by(line).for_each(|k| prefetch(next.wrapping_add(k)));
            }
            let l = Coefficients::of(l);
            for (upper, first) in room.chunks_exact(w * nr).zip((0..cols).step_by(nr)) {
                let live = nr.min(cols - first);
                let mut c = own.rb().block(k1 + at, first, rows, live);
                // The next strip's C, as long ahead as this strip takes.
                for r in 0..rows {
                    let next = c.as_mut_ptr().wrapping_offset((rows + r) as isize * c.rs());
                    prefetch(next.cast_const());
                    prefetch(next.wrapping_add(live - 1).cast_const());
                }
                // SAFETY: the panel is borrowed; `upper` has w steps of NR elements; C's rows × live elements are `own`'s, whose columns are neighbours.
                unsafe { subtract(plan.isa, l, upper.as_ptr(), nr as isize, c.as_mut_ptr(), c.rs(), live) };
            }
        }
    }
}
