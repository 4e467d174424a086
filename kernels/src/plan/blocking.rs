//! Block sizes: derived from the caches, or chosen by the caller.

use crate::base::error::Error;
use crate::tile::table::Tiles;

/// Length up to which a chain is not split, if L2 has a MiB or more (benches/record/blocking.md).
pub(crate) const ONE_CHAIN: usize = 1024;

/// The same with less than a MiB of L2, of which a longer chain leaves too few columns of B. A quiet
/// Zen 2 preferred 1024 by 3 % for square 1024 (benches/record/blocking.md); a shared Zen 3, which
/// has less of its L2, lost far more by it (benches/record/contention.md).
const ONE_CHAIN_IN_A_SMALL_L2: usize = 800;

/// The data cache sizes of one core, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Size of the first level.
    pub l1: usize,
    /// Size of the second level.
    pub l2: usize,
    /// Size of the third level; the whole cache, although cores share it.
    pub l3: usize,
}

impl Default for Caches {
    /// Returns the sizes of a modest CPU, for targets that cannot report them.
    fn default() -> Self {
        Self { l1: 32 << 10, l2: 512 << 10, l3: 4 << 20 }
    }
}

impl Caches {
    /// Returns the sizes that this CPU reports, or the defaults if it reports none.
    ///
    /// The first call in a process queries the CPU and later calls reuse its answer. Under a
    /// hypervisor a query takes microseconds.
    #[cfg(feature = "std")]
    pub fn detect() -> Self {
        static CACHES: std::sync::OnceLock<Caches> = std::sync::OnceLock::new();
        *CACHES.get_or_init(Self::query)
    }

    /// Returns the defaults: caching the answer of the CPU needs the feature `std`.
    #[cfg(not(feature = "std"))]
    pub fn detect() -> Self {
        Self::default()
    }

    /// Returns the columns of B, with chains of length `k`, packed at a time where each panel is met
    /// once: a quarter of L3, at most 8 MiB because cores share L3.
    pub(crate) fn streamed<T>(self, k: usize) -> usize {
        self.l3.min(32 << 20) / size_of::<T>().saturating_mul(k.max(1)).saturating_mul(4)
    }

    /// Returns the bytes of A that stay in L3 while B streams past them: a sixteenth of it, from one
    /// to two MiB, because cores share L3 (benches/record/contention.md).
    fn block_in_l3(self) -> usize {
        (self.l3 / 16).clamp(1 << 20, 2 << 20)
    }

    #[cfg(feature = "std")]
    fn query() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(caches) = Self::from_cpuid() {
            return caches;
        }
        Self::default()
    }

    /// Reads the deterministic cache parameters: leaf 4 (Intel) or 0x8000001D (AMD), one sub-leaf
    /// per cache.
    #[cfg(all(feature = "std", target_arch = "x86_64", not(miri)))]
    fn from_cpuid() -> Option<Self> {
        use core::arch::x86_64::__cpuid_count;
        // SAFETY: every x86-64 CPU has the instruction. The intrinsic is unsafe in Rust 1.89 and
        // safe in later versions.
        #[allow(unused_unsafe)]
        let cpuid = |leaf, sub| unsafe { __cpuid_count(leaf, sub) };
        let leaf = if cpuid(0x8000_0000, 0).eax >= 0x8000_001D && cpuid(0x8000_001D, 0).eax & 31 != 0 {
            0x8000_001D
        } else if cpuid(0, 0).eax >= 4 {
            4
        } else {
            return None;
        };
        let mut sizes = [0usize; 4];
        for sub in 0..16 {
            let r = cpuid(leaf, sub);
            let (kind, level) = (r.eax & 31, (r.eax >> 5) & 7);
            match kind {
                0 => break,
                // A data cache or a unified one.
                1 | 3 if level <= 3 => {
                    let ways = (r.ebx >> 22) as usize + 1;
                    let partitions = ((r.ebx >> 12) & 0x3ff) as usize + 1;
                    let line = (r.ebx & 0xfff) as usize + 1;
                    let sets = r.ecx as usize + 1;
                    sizes[level as usize] = ways * partitions * line * sets;
                }
                _ => {}
            }
        }
        let [_, l1, l2, l3] = sizes;
        // Under some hypervisors the leaves exist but are empty.
        (l1 >= 4 << 10 && l2 >= l1).then_some(Self { l1, l2, l3: l3.max(l2) })
    }
}

/// The sizes of the three cache blocks and the height of the register tile. All values give the
/// same bits.
///
/// ```
/// use gaitprop_kernels::Blocking;
/// // Tiny blocks, so that small matrices reach every boundary.
/// let tiny = Blocking::new(3, 5, 7, 2)?;
/// assert_eq!(tiny.kc(), 5);
/// assert!(Blocking::new(0, 5, 7, 2).is_err());
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    mc: usize,
    kc: usize,
    nc: usize,
    mr: usize,
    /// Maximum number of rows of A that stay in L2 while B streams past them.
    few_rows: usize,
}

impl Blocking {
    /// Sets the block sizes.
    ///
    /// * `mc`: rows of A at a time for each thread, which blocks of B meet again in L3; up to half as
    ///   many more are not split off. Triangular solves group their unknowns by it too
    /// * `kc`: maximum number of steps of the chain at a time
    /// * `nc`: maximum number of columns of B that stay in L2 while A streams past them. An A of at
    ///   most `nc` rows stays instead, if B has more columns
    /// * `mr`: maximum number of rows of a tile; the limit of the kernel still applies
    ///
    /// # Errors
    /// [`Error::Parameter`] if one of them is 0.
    pub fn new(mc: usize, kc: usize, nc: usize, mr: usize) -> Result<Self, Error> {
        for (what, value) in [("mc", mc), ("kc", kc), ("nc", nc), ("mr", mr)] {
            if value == 0 {
                return Err(Error::Parameter { what, value: 0.0, accepted: "at least 1" });
            }
        }
        Ok(Self { mc, kc, nc, mr, few_rows: nc })
    }

    /// Derives the block sizes from the caches, for a chain of length `k`.
    ///
    /// * `kc`: [`ONE_CHAIN`], or with a small L2 [`ONE_CHAIN_IN_A_SMALL_L2`]
    /// * `nc`: B (kc × nc) fills three eighths of L2, at least two panels; A and C stream past it
    /// * `mc`: A (mc × kc) fills a sixteenth of L3
    /// * `few_rows`: A (few_rows × kc) fills three eighths of L2
    ///
    /// The rest of L2 is for what streams, and for other programs on the same core
    /// (benches/record/contention.md).
    pub(crate) fn from_caches<T>(tiles: &Tiles<T>, caches: Caches, k: usize) -> Self {
        let (size, nr) = (size_of::<T>(), tiles.nr());
        let kc = if caches.l2 < 1 << 20 { ONE_CHAIN_IN_A_SMALL_L2 } else { ONE_CHAIN };
        // Length of the longest of the nearly equal blocks of k.
        let chain = k.div_ceil(k.div_ceil(kc).max(1)).max(1);
        let most = caches.l2 / 8 * 3 / (size * chain);
        let mc = (caches.block_in_l3() / (size * chain)).max(1);
        Self { mc, kc, nc: (most / nr).max(2) * nr, mr: tiles.mr, few_rows: most.max(1) }
    }

    /// Returns the number of rows of A at a time, as in [`Blocking::new`].
    pub const fn mc(&self) -> usize {
        self.mc
    }
    /// Returns the maximum number of steps of the chain at a time.
    pub const fn kc(&self) -> usize {
        self.kc
    }
    /// Returns the maximum number of rows of A that stay in L2 while B streams past them.
    pub(crate) fn few_rows(&self) -> usize {
        self.few_rows
    }
    /// Returns the maximum number of columns of B that stay in L2.
    pub const fn nc(&self) -> usize {
        self.nc
    }
    /// Returns the maximum number of rows of a register tile.
    pub const fn mr(&self) -> usize {
        self.mr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_plausible() {
        let c = Caches::detect();
        assert!(c.l1 >= 4 << 10 && c.l1 <= c.l2 && c.l2 <= c.l3, "{c:?}");
    }
}
