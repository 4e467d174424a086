//! How products are computed: values that the caller passes, never a global.

use crate::base::isa::Isa;
use crate::base::matrix::MatRef;
use crate::base::par::Par;
use crate::plan::backend::Backend;
use crate::plan::blocking::{Blocking, Caches};
use crate::tile::table::Real;
use alloc::string::String;

pub(crate) mod backend;
pub(crate) mod blocking;

/// How products are computed: a value that the caller keeps and passes in.
///
/// [`Plan::new`] asks the CPU what it is. A clone is cheap and shares the threads.
///
/// ```
/// use gaitprop_kernels::{Isa, Plan};
/// let plan = Plan::new().with_isa(Isa::PORTABLE);
/// assert_eq!(plan.isa.name(), "portable");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The library that computes products. Only [`Backend::Native`] promises bits.
    pub backend: Backend,
    /// The instruction set.
    pub isa: Isa,
    /// Sizes of the caches, from which blocks are derived.
    pub caches: Caches,
    /// Blocks to use instead of derived ones.
    pub blocking: Option<Blocking>,
    /// The threads that do the work.
    pub par: Par,
    /// Least number of multiply-adds a thread is woken for; `None` is the default of the kind of
    /// threads.
    pub min_work: Option<usize>,
    /// Which operands are packed.
    pub packing: Packing,
}

/// Which operands of a product are packed where the tiles could read them in place. Changes speed
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// Those that are read often enough to repay it.
    #[default]
    Auto,
    /// All.
    Always,
    /// Only those whose layout the tiles cannot read.
    Avoid,
}

impl Packing {
    /// Whether `row_tiles` rows of tiles read B, whose rows are contiguous, in place.
    pub(crate) fn b_in_place<T>(self, b: &MatRef<'_, T>, row_tiles: usize) -> bool {
        match self {
            Self::Auto => row_tiles <= 1 || (row_tiles <= B_TILES && !conflict_in_l1(b.rs(), b.nrows(), 8, size_of::<T>())),
            Self::Always => false,
            Self::Avoid => true,
        }
    }

    /// Whether the tiles read A in place.
    pub(crate) fn a_in_place<T>(self, a: &MatRef<'_, T>) -> bool {
        match self {
            // Down the columns each step is a line of its own, and a page.
            Self::Auto => a.cs() == 1 || a.nrows() == 1,
            Self::Always => false,
            Self::Avoid => true,
        }
    }
}

/// Rows of tiles up to which reading B in place beats packing it: about what m = 60 makes on AVX2.
const B_TILES: usize = 12;

/// Whether more than `ways` lines at this distance fall into the same few sets of a first-level cache.
pub(crate) fn conflict_in_l1(stride: isize, lines: usize, ways: usize, size: usize) -> bool {
    lines > ways && (stride.unsigned_abs() * size).is_multiple_of(512)
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// Returns the plan for this CPU: its widest instruction set, blocks from its caches, one thread.
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

    /// Returns the plan for other cache sizes.
    #[must_use]
    pub fn with_caches(self, caches: Caches) -> Self {
        Self { caches, ..self }
    }

    /// Returns the plan with blocks of the caller's choice.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking: Some(blocking), ..self }
    }

    /// Returns the plan with other threads.
    #[must_use]
    pub fn with_par(self, par: Par) -> Self {
        Self { par, ..self }
    }

    /// Returns the plan that wakes a thread only for `min_work` multiply-adds or more.
    #[must_use]
    pub fn with_min_work(self, min_work: usize) -> Self {
        Self { min_work: Some(min_work), ..self }
    }

    /// Returns the plan with another rule for packing.
    #[must_use]
    pub fn with_packing(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    pub(crate) fn min_work(&self) -> usize {
        self.min_work.unwrap_or_else(|| self.par.min_work()).max(1)
    }

    /// Number of threads that `work` multiply-adds are worth, at least the calling one.
    pub(crate) fn threads_for(&self, work: usize) -> usize {
        self.par.threads().min(work / self.min_work()).max(1)
    }

    /// Returns the blocks of a product of `T` with a chain of `k`.
    pub fn blocking_of<T: Real>(&self, k: usize) -> Blocking {
        self.blocking.unwrap_or_else(|| Blocking::from_caches(T::tiles(self.isa), self.caches, k))
    }

    /// Returns the name of the tallest register tile that runs, as in `sgemm_9x48_avx512`.
    pub fn kernel_name<T: Real>(&self) -> String {
        T::tiles(self.isa).name()
    }
}
