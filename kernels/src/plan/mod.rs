//! Plans: how products are computed, as values that the caller passes.

use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::base::par::Par;
use crate::plan::backend::Backend;
use crate::plan::blocking::{Blocking, Caches};
use crate::tile::table::Real;
use alloc::string::String;

pub(crate) mod backend;
pub(crate) mod blocking;

/// A plan: how products are computed. The caller keeps it and passes it to each call.
///
/// [`Plan::new`] detects the CPU. A clone is cheap and shares the threads.
///
/// ```
/// use gaitprop_kernels::{Isa, Plan};
/// let plan = Plan::new().with_isa(Isa::PORTABLE);
/// assert_eq!(plan.isa.name(), "portable");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The library that computes products. Only [`Backend::Native`] guarantees bits.
    pub backend: Backend,
    /// The instruction set.
    pub isa: Isa,
    /// Cache sizes, from which the block sizes follow.
    pub caches: Caches,
    /// Block sizes to use instead of the derived ones.
    pub blocking: Option<Blocking>,
    /// The threads that do the work.
    pub par: Par,
    /// Least number of multiply-adds for which a thread is woken; `None` takes the default of
    /// `par`.
    pub min_work: Option<usize>,
    /// Policy for packing operands.
    pub packing: Packing,
}

/// Policy for operands that the tiles could read in place. It changes speed only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// Packs an operand if the product reads it often enough to repay the copy.
    #[default]
    Auto,
    /// Packs all operands.
    Always,
    /// Packs an operand only if the tiles cannot read its layout.
    Avoid,
}

impl Packing {
    /// Returns whether `row_tiles` rows of tiles read B in place; the rows of B must be contiguous.
    /// `l3` is the size of the third cache.
    pub(crate) fn b_in_place<T>(self, b: &MatRef<'_, T>, row_tiles: usize, l3: usize) -> bool {
        match self {
            Self::Auto if row_tiles <= 1 => true,
            Self::Auto => {
                let bytes = b.nrows().saturating_mul(b.ncols()).saturating_mul(size_of::<T>());
                // Other cores' data fills the rest of L3.
                let most = if bytes > l3 / 8 { B_TILES_FROM_MEMORY } else { B_TILES };
                row_tiles <= most && !conflict_in_l1(b.rs(), b.nrows(), 8, size_of::<T>())
            }
            Self::Always => false,
            Self::Avoid => true,
        }
    }

    /// Returns whether the tiles read A in place. `often`: they meet it for many blocks of B.
    pub(crate) fn a_in_place<T>(self, a: &MatRef<'_, T>, often: bool) -> bool {
        match self {
            // Unless rows are contiguous, each k-step reads another cache line, and often another
            // page.
            Self::Auto => (a.cs() == 1 && !often) || a.nrows() == 1,
            Self::Always => false,
            Self::Avoid => true,
        }
    }
}

/// Number of rows of tiles up to which reading B in place is faster than packing it. It is about
/// that of m = 60 on AVX2.
const B_TILES: usize = 12;

/// The same for a B that may not stay in L3: a panel in place is then a line of many pages, which
/// memory delivers one by one (benches/record/contention.md).
const B_TILES_FROM_MEMORY: usize = 5;

/// Returns whether `lines` cache lines, `stride` elements of `size` bytes apart, conflict in L1:
/// more than `ways` of them would fall into the same few sets.
pub(crate) fn conflict_in_l1(stride: isize, lines: usize, ways: usize, size: usize) -> bool {
    lines > ways && (stride.unsigned_abs() * size).is_multiple_of(512)
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// Returns the plan for this CPU: its widest instruction set, blocks from its caches, one
    /// thread.
    pub fn new() -> Self {
        Self {
            backend: Backend::Native,
            isa: Isa::detect(),
            caches: Caches::detect(),
            blocking: None,
            par: Par::Seq,
            min_work: None,
            packing: Packing::Auto,
        }
    }

    /// Returns the plan with another backend.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// Returns the plan with another instruction set.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Returns the plan with other cache sizes.
    #[must_use]
    pub fn with_caches(self, caches: Caches) -> Self {
        Self { caches, ..self }
    }

    /// Returns the plan with these block sizes.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking: Some(blocking), ..self }
    }

    /// Returns the plan with other threads.
    #[must_use]
    pub fn with_par(self, par: Par) -> Self {
        Self { par, ..self }
    }

    /// Returns the plan with another least number of multiply-adds for which a thread is woken.
    #[must_use]
    pub fn with_min_work(self, min_work: usize) -> Self {
        Self { min_work: Some(min_work), ..self }
    }

    /// Returns the plan with another packing policy.
    #[must_use]
    pub fn with_packing(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    pub(crate) fn min_work(&self) -> usize {
        self.min_work.unwrap_or_else(|| self.par.min_work()).max(1)
    }

    /// Returns the number of threads that `work` multiply-adds justify, at least 1.
    pub(crate) fn threads_for(&self, work: usize) -> usize {
        self.par.threads().min(work / self.min_work()).max(1)
    }

    /// Returns the block sizes of a product of `T` with a chain of length `k`.
    pub fn blocking_of<T: Real>(&self, k: usize) -> Blocking {
        self.blocking.unwrap_or_else(|| Blocking::from_caches(T::tiles(self.isa), self.caches, k))
    }

    /// Returns the name of the tallest register tile, for example `sgemm_9x48_avx512`.
    pub fn kernel_name<T: Real>(&self) -> String {
        T::tiles(self.isa).name()
    }
}
