//! Block sizes: from the caches when nothing is said, or whatever the caller passes. Never a global.

use crate::base::error::Error;
use crate::tile::table::Tiles;

/// Chains up to this length stay whole, however small the caches are (benches/record/blocking.md).
pub(crate) const ONE_CHAIN: usize = 1024;

/// Rows of A in a block of long chains, at least: so many of them a panel of B serves before the next one comes from L3 or memory.
const ROWS: usize = 128;

/// Sizes of the data caches of one core, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// First level.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
    /// Third level (shared; all of it).
    pub l3: usize,
}

impl Default for Caches {
    /// A modest CPU: for targets on which nothing can be asked.
    fn default() -> Self {
        Self { l1: 32 << 10, l2: 512 << 10, l3: 4 << 20 }
    }
}

impl Caches {
    /// What this CPU says of itself; the defaults where it says nothing. Asked once a process: under a hypervisor the question takes
    /// microseconds, and the answer does not change.
    #[cfg(feature = "std")]
    pub fn detect() -> Self {
        static ANSWER: std::sync::OnceLock<Caches> = std::sync::OnceLock::new();
        *ANSWER.get_or_init(Self::ask)
    }

    /// The defaults: without the feature `std` there is nowhere to keep an answer that is asked for once.
    #[cfg(not(feature = "std"))]
    pub fn detect() -> Self {
        Self::default()
    }

    #[cfg(feature = "std")]
    fn ask() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(caches) = Self::from_cpuid() {
            return caches;
        }
        Self::default()
    }

    /// Deterministic cache parameters: leaf 4 (Intel) or 0x8000001D (AMD), one sub-leaf a cache.
    #[cfg(all(feature = "std", target_arch = "x86_64", not(miri)))]
    fn from_cpuid() -> Option<Self> {
        use core::arch::x86_64::__cpuid_count;
        // SAFETY: every x86-64 has the instruction. Rust 1.89 has to be told, later versions find nothing unsafe in it.
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
                // Data or unified.
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
        // Under some hypervisors the leaves are there but empty.
        (l1 >= 4 << 10 && l2 >= l1).then_some(Self { l1, l2, l3: l3.max(l2) })
    }
}

/// The three cache blocks of the five loops, and the height of the register tile. Any values give the same bits.
///
/// ```
/// use gaitprop_kernels::Blocking;
/// // Tiny blocks, to meet every boundary on small matrices.
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
}

impl Blocking {
    /// At most `mc` rows of A and `kc` of the chain packed at a time, at most `nc` columns of B, tiles of at most `mr` rows (and
    /// never more than the kernel has).
    ///
    /// # Errors
    /// [`Error::Parameter`] if one of them is 0.
    pub fn new(mc: usize, kc: usize, nc: usize, mr: usize) -> Result<Self, Error> {
        for (what, value) in [("mc", mc), ("kc", kc), ("nc", nc), ("mr", mr)] {
            if value == 0 {
                return Err(Error::Parameter { what, value: 0.0, accepted: "at least 1" });
            }
        }
        Ok(Self { mc, kc, nc, mr })
    }

    /// From the caches: one panel of B (kc × NR) in a quarter of L2, or chains of [`ONE_CHAIN`]; the block of A (mc × kc) in half of L2, but of a longer
    /// chain no fewer rows than [`ROWS`], which then come from L3, in memory's order; the block of B (kc × nc) in a quarter of L3, or in 8 MiB if L3 is larger (it is shared).
    pub(crate) fn from_caches<T>(tiles: &Tiles<T>, caches: Caches, k: usize) -> Self {
        let size = size_of::<T>();
        // 128×4096×4096: 87 % of the peak with chains of 2048, 83 % with 512, and 75 % if 128 rows become two blocks (benches/record/blocking.md).
        let kc = (caches.l2 / (4 * tiles.nr() * size)).max(ONE_CHAIN);
        // The blocks of the chain are nearly equal, so that the rows per block can be told.
        let chain = k.div_ceil(k.div_ceil(kc).max(1)).max(1);
        let mc = (caches.l2 / (2 * size * chain)).max(if chain > ONE_CHAIN { ROWS } else { 1 }).next_multiple_of(tiles.mr);
        let nc = (caches.l3.min(32 << 20) / (4 * kc * size)).max(8 * tiles.nr());
        Self { mc, kc, nc, mr: tiles.mr }
    }

    /// Rows of A packed at a time.
    pub const fn mc(&self) -> usize {
        self.mc
    }
    /// Length of the chain packed at a time.
    pub const fn kc(&self) -> usize {
        self.kc
    }
    /// Columns of B packed at a time.
    pub const fn nc(&self) -> usize {
        self.nc
    }
    /// Rows of the register tile.
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
