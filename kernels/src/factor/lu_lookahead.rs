//! LU on several threads: right-looking, with look-ahead of one panel.
//!
//! ```text
//!   panel   next   blocks of columns
//!  ┌──────┬──────┬───┬───┬──┄
//!  │ U    │  1   │ 2 │ 3 │        one thread per block: row exchanges, its part of U, its update;
//!  ├╲─────┼──────┼───┼───┼──┄     the thread of block 1 then factors the next panel, while the
//!  │ L    │      │   │   │        other threads still update
//! ```
//!
//! A thread keeps its columns from panel to panel while all threads advance at the same speed.
//! Moving columns from core to core costs more than everything else. Row exchanges in finished
//! columns wait until the end.
//!
//! Reference: Strazdins, A Comparison of Lookahead and Algorithmic Blocking Techniques for Parallel
//! Matrix Factorization, 1998.

use crate::base::error::Error;
use crate::base::flags::Diag;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::{Scratch, ScratchReq};
use crate::base::split::{near_equal, round_up};
use crate::factor::lu_panel::{self, PANEL};
use crate::factor::row_exchange::exchange;
use crate::level3::small_triangle::solve_small_triangle;
use crate::plan::Plan;
use crate::simd::copy::{copy, zeroed};
use crate::simd::vector::{Level, prefetch};
use crate::tile::strip::{Coefficients, subtract};
use crate::tile::table::Real;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Returns whether look-ahead applies: several threads with enough work each, and contiguous rows.
pub(super) fn is_worthwhile<T: Real>(a: &MatMut<'_, T>, plan: &Plan) -> bool {
    let n = a.nrows();
    threads(n, plan) > 1 && a.cs() == 1 && n > 2 * panel_width(plan)
}

/// Returns the number of threads for an n×n matrix.
fn threads(n: usize, plan: &Plan) -> usize {
    plan.threads_for(n.saturating_mul(n).saturating_mul(n) / 6)
}

/// Returns the number of columns of a panel.
fn panel_width(plan: &Plan) -> usize {
    plan.blocking.map_or(PANEL, |b| b.kc().min(PANEL))
}

/// Returns the number of columns of a block: whole panels, and at most 64 blocks, one bit of a
/// claim each.
fn block_width(n: usize, plan: &Plan) -> usize {
    let w = panel_width(plan);
    n.div_ceil(w).div_ceil(64).saturating_mul(w)
}

/// Returns the number of elements in which one thread keeps its part of U.
fn workspace_len<T: Real>(n: usize, plan: &Plan) -> usize {
    round_up(round_up(block_width(n, plan), T::tiles(plan.isa).nr()).saturating_mul(panel_width(plan)), 64)
}

/// Returns the scratch that [`factor`] needs for an n×n matrix.
pub(super) fn scratch<T: Real>(n: usize, plan: &Plan) -> ScratchReq {
    if threads(n, plan) <= 1 {
        return ScratchReq::default();
    }
    let workspaces = workspace_len::<T>(n, plan).saturating_mul(plan.par.threads());
    ScratchReq::of::<T>(lu_panel::ld::<T>(n).saturating_mul(panel_width(plan)).saturating_add(workspaces))
}

/// [`lu::factor`](crate::factor::lu::factor) with look-ahead, for operands that [`is_worthwhile`]
/// accepts.
pub(super) fn factor<T: Real>(
    mut a: MatMut<'_, T>,
    pivots: &mut [usize],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (n, w) = (a.nrows(), panel_width(plan));
    let (threads, bw) = (threads(n, plan), block_width(n, plan));
    let (panel_len, workspace_len) = (lu_panel::ld::<T>(n) * w, workspace_len::<T>(n, plan));
    let (panel_buffer, workspaces) = scratch.slice::<T>(panel_len + workspace_len * threads)?.split_at_mut(panel_len);
    factor_panel(a.rb().cols(0, w), 0, &mut pivots[..w], panel_buffer, plan)?;
    for k0 in (0..n).step_by(w) {
        let k1 = (k0 + w).min(n);
        let (known, open) = pivots.split_at_mut(k1);
        let (known, next) = (&known[k0..], (n - k1).min(w));
        if next == 0 {
            break;
        }
        // Each thread first claims the blocks that it had for the last panel, which are in its
        // cache. It then claims the blocks that other threads have not started.
        let ahead = Mutex::new(Some((&mut open[..next], &mut *panel_buffer)));
        let outcome = Mutex::new(Ok(()));
        let (behind, taken) = (k1 + next, AtomicU64::new(0));
        let update = PanelUpdate { k0, k1, pivots: known, plan };
        plan.par.split_with(threads, workspaces, workspace_len, &|t, workspace| {
            // SAFETY: no thread writes the panel, columns k0 .. k1, until all threads are done.
            let panel = unsafe { a.alias() }.cols(k0, k1 - k0);
            for own in [true, false] {
                if own == (k1 / bw % threads == t) {
                    let claimed = ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some((pivots, panel_buffer)) = claimed {
                        // SAFETY: `take` gives the next panel's columns to this thread alone.
                        let mut columns = unsafe { a.alias() }.cols(k1, next);
                        update.apply(panel.as_ref(), columns.rb(), workspace);
                        let result = factor_panel(columns, k1, pivots, panel_buffer, plan);
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
                        // SAFETY: blocks are disjoint columns behind the next panel, and `fetch_or`
                        // gave this one to this thread alone.
                        let columns = unsafe { a.alias() }.cols(first, end - first);
                        update.apply(panel.as_ref(), columns, workspace);
                    }
                }
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    }
    // The deferred row exchanges: each panel's columns missed those of all later panels.
    plan.par.split(n.div_ceil(w), &|s| {
        let (k0, k1) = (s * w, ((s + 1) * w).min(n));
        // SAFETY: panels are disjoint columns, and `split` runs each part once.
        let mut own = unsafe { a.alias() }.cols(k0, k1 - k0);
        for (k, &p) in pivots.iter().enumerate().skip(k1) {
            exchange(&mut own, k, p);
        }
    });
    Ok(())
}

/// Factors rows `k0 ..` of a panel in `buffer`. The pivots are row numbers of the whole matrix.
fn factor_panel<T: Real>(
    a: MatMut<'_, T>,
    k0: usize,
    pivots: &mut [usize],
    buffer: &mut [MaybeUninit<T>],
    plan: &Plan,
) -> Result<(), Error> {
    let (_, mut a) = a.split_rows(k0);
    let (m, n) = a.shape();
    let ld = lu_panel::ld::<T>(m);
    let columns = zeroed(&mut buffer[..ld * n]);
    copy(plan.isa, a.as_ref(), MatMut::strided(columns, 0, (m, n), (1, ld as isize))?);
    let outcome = lu_panel::factor(plan, columns, ld, (m, n), pivots, k0);
    copy(plan.isa, MatRef::strided(columns, 0, (m, n), (1, ld as isize))?, a.rb());
    if outcome.is_ok() {
        pivots.iter_mut().for_each(|p| *p += k0);
    }
    outcome
}

/// The update of the trailing columns by the factored panel, columns k0 .. k1.
struct PanelUpdate<'a> {
    k0: usize,
    k1: usize,
    /// Pivots of the panel: row numbers of the whole matrix.
    pivots: &'a [usize],
    plan: &'a Plan,
}

impl PanelUpdate<'_> {
    /// Updates some columns of the trailing matrix: row exchanges, then U12, then A22.
    fn apply<T: Real>(&self, panel: MatRef<'_, T>, mut columns: MatMut<'_, T>, workspace: &mut [MaybeUninit<T>]) {
        for (k, &p) in self.pivots.iter().enumerate() {
            exchange(&mut columns, self.k0 + k, p);
        }
        let u12_len = (self.k1 - self.k0) * columns.ncols().next_multiple_of(T::tiles(self.plan.isa).nr());
        let u12 = zeroed(&mut workspace[..u12_len]);
        self.solve_u12(panel, columns.rb(), u12);
        self.update_a22(panel, columns, u12);
    }

    /// Returns the maximum number of rows of a strip.
    fn mr<T: Real>(&self) -> usize {
        let mr = T::tiles(self.plan.isa).mr;
        self.plan.blocking.map_or(mr, |b| b.mr().min(mr))
    }

    /// Solves L11·U12 = A12 in panels of NR columns. Keeps U12 in `u12`, w × NR elements per panel,
    /// and copies it into `columns`.
    fn solve_u12<T: Real>(&self, panel: MatRef<'_, T>, mut columns: MatMut<'_, T>, u12: &mut [T]) {
        let Self { k0, k1, plan, .. } = *self;
        let (nr, mr, cols, w) = (T::tiles(plan.isa).nr(), self.mr::<T>(), columns.ncols(), k1 - k0);
        for (upper, first) in u12.chunks_exact_mut(w * nr).zip((0..cols).step_by(nr)) {
            let live = nr.min(cols - first);
            copy(
                plan.isa,
                columns.as_ref().block(k0, first, w, live),
                MatMut::strided(upper, 0, (w, live), (nr as isize, 1)).expect("w × NR elements"),
            );
            for (at, rows) in near_equal(w, mr) {
                let (done, open) = upper.split_at_mut(at * nr);
                let open = &mut open[..rows * nr];
                if at > 0 {
                    let l = Coefficients::of(panel.block(k0 + at, 0, rows, at));
                    // SAFETY: `panel` is borrowed. `done` has `at` steps of NR elements and `open`
                    // has `rows`, sliced above. They are disjoint slices of scratch.
                    unsafe { subtract(plan.isa, l, done.as_ptr(), nr as isize, open.as_mut_ptr(), nr as isize, nr) };
                }
                solve_small_triangle(plan.isa, panel.block(k0 + at, at, rows, rows), Diag::Unit, open, nr);
            }
            let upper = MatRef::strided(upper, 0, (w, live), (nr as isize, 1)).expect("w × NR elements");
            copy(plan.isa, upper, columns.rb().block(k0, first, w, live));
        }
    }

    /// Computes A22 ← A22 − L21·U12, strip by strip.
    fn update_a22<T: Real>(&self, panel: MatRef<'_, T>, mut columns: MatMut<'_, T>, u12: &[T]) {
        let Self { k0, k1, plan, .. } = *self;
        let (nr, (n, cols), w) = (T::tiles(plan.isa).nr(), columns.shape(), k1 - k0);
        for (at, rows) in near_equal(n - k1, self.mr::<T>()) {
            let l = panel.block(k1 + at, 0, rows, w);
            // Prefetches the next strip's coefficients, which may be in another core's cache.
            let line = 64 / size_of::<T>();
            for r in 0..rows {
                let next = l.as_ptr().wrapping_offset((rows + r) as isize * l.rs());
                (0..w).step_by(line).for_each(|k| prefetch(Level::L1, next.wrapping_add(k)));
            }
            let l = Coefficients::of(l);
            for (upper, first) in u12.chunks_exact(w * nr).zip((0..cols).step_by(nr)) {
                let live = nr.min(cols - first);
                let mut c = columns.rb().block(k1 + at, first, rows, live);
                // Prefetches the next strip's C, one strip ahead.
                for r in 0..rows {
                    let next = c.as_mut_ptr().wrapping_offset((rows + r) as isize * c.rs());
                    prefetch(Level::L1, next.cast_const());
                    prefetch(Level::L1, next.wrapping_add(live - 1).cast_const());
                }
                // SAFETY: `panel` is borrowed. `upper` has w steps of NR elements, by
                // `chunks_exact`. C's rows × live elements belong to `columns`, whose rows are
                // contiguous (`is_worthwhile`).
                unsafe { subtract(plan.isa, l, upper.as_ptr(), nr as isize, c.as_mut_ptr(), c.rs(), live) };
            }
        }
    }
}
