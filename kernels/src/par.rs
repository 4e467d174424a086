//! How work is split over threads. Nothing else in this crate knows that threads exist, and nothing here starts one: the pool is
//! the caller's.

/// Who does the work: the calling thread alone, or a rayon pool that the caller owns.
///
/// The pool's own threads may call in (a job of the pool that computes a product): the work is then shared inside that pool,
/// and no thread is added.
#[derive(Clone, Copy, Debug, Default)]
pub enum Par<'p> {
    /// The calling thread.
    #[default]
    Seq,
    /// All threads of this pool.
    #[cfg(feature = "threads")]
    Pool(&'p rayon::ThreadPool),
    /// Keeps the lifetime in use where there are no pools.
    #[cfg(not(feature = "threads"))]
    #[doc(hidden)]
    Never(core::marker::PhantomData<&'p ()>, core::convert::Infallible),
}

impl Par<'_> {
    /// How many threads work.
    pub fn threads(&self) -> usize {
        match self {
            Self::Seq => 1,
            #[cfg(feature = "threads")]
            Self::Pool(pool) => pool.current_num_threads(),
            #[cfg(not(feature = "threads"))]
            Self::Never(_, never) => match *never {},
        }
    }

    /// Calls `part(i)` once for each i < `parts`, on whichever thread; returns when all are done.
    pub(crate) fn split(&self, parts: usize, part: impl Fn(usize) + Sync) {
        match self {
            #[cfg(feature = "threads")]
            Self::Pool(pool) if parts > 1 => pool.install(|| halves(0, parts, &part)),
            _ => (0..parts).for_each(part),
        }
    }
}

/// A slice cut into pieces of equal length, one for each part of a [`Par::split`].
pub(crate) struct Pieces<'a, T> {
    first: *mut T,
    piece_len: usize,
    pieces: usize,
    _life: core::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: `piece` hands out disjoint exclusive slices (its contract), which may go to other threads if T may.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    /// # Panics
    /// If the slice's length is no multiple of the pieces'.
    pub(crate) fn new(slice: &'a mut [T], piece_len: usize) -> Self {
        assert!(slice.len().is_multiple_of(piece_len.max(1)));
        Self { pieces: slice.len() / piece_len.max(1), first: slice.as_mut_ptr(), piece_len, _life: core::marker::PhantomData }
    }

    /// Piece `i`.
    ///
    /// # Safety
    /// Nobody else has piece `i` at this time.
    ///
    /// # Panics
    /// If there is no such piece.
    #[allow(clippy::mut_from_ref)] // that is what the contract is for
    pub(crate) unsafe fn piece(&self, i: usize) -> &mut [T] {
        if self.piece_len == 0 {
            return &mut [];
        }
        assert!(i < self.pieces);
        // SAFETY: piece i lies in the slice that `new` was given, and the caller alone has it.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(i * self.piece_len), self.piece_len) }
    }
}

/// Splits by `join`, whose jobs live on the stack: nothing is allocated.
#[cfg(feature = "threads")]
fn halves(from: usize, to: usize, part: &(impl Fn(usize) + Sync)) {
    if to - from == 1 {
        return part(from);
    }
    let middle = from + (to - from) / 2;
    rayon::join(|| halves(from, middle, part), || halves(middle, to, part));
}

#[cfg(all(test, feature = "threads"))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn every_part_runs_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for par in [Par::Seq, Par::Pool(&pool)] {
            for parts in [0, 1, 2, 3, 7, 64] {
                let seen: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                par.split(parts, |i| {
                    seen[i].fetch_add(1, Relaxed);
                });
                assert!(seen.iter().all(|n| n.load(Relaxed) == 1));
            }
        }
        // From inside the pool as well.
        let total = AtomicUsize::new(0);
        Par::Pool(&pool).split(5, |_| {
            Par::Pool(&pool).split(5, |_| {
                total.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 25);
    }
}
