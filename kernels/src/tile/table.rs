//! All register tiles, side by side: every instruction set, both element types.
//!
//! A tile's accumulators, the vectors of B and one element of A fill the vector registers:
//!
//! | | registers | tile, rows × vectors | accumulators + B + A |
//! |---|---|---|---|
//! | AVX-512 | 32 | 9 × 3 | 27 + 3 + 1 |
//! | AVX2 | 16 | 6 × 2 | 12 + 2 + 1 |
//! | NEON | 32 | 8 × 3 | 24 + 3 + 2 |
//! | portable | – | 4 × 1, f64 4 × 2 | an emulated multiply-add wants the registers itself |
//!
//! Tiles of fewer rows or vectors serve the edges. Wide tiles serve short columns: 1 to 4 rows over
//! several panels have as many chains as hide the latency of the multiply-add.
//!
//! # Adding an instruction set
//! Write its vectors (`simd/NAME.rs`: two invocations of `vector!`), name it in `base/isa.rs`, and
//! add a row here and to `Vectors`. The tests find it by themselves.

use crate::base::isa::{Isa, Kind};
use crate::base::scalar::Scalar;
use crate::simd::dispatch::Vectors;
use crate::simd::vector::Vector;
use crate::tile::micro_kernel::{TileArgs, TileFn, tile};
use alloc::format;
use alloc::string::String;

/// `f32` or `f64`: an element type that has kernels on every instruction set. Sealed.
#[allow(private_bounds)] // Vectors and tiles are private to this crate.
pub trait Real: Scalar + Vectors + Tiled {}
impl Real for f32 {}
impl Real for f64 {}

/// An element type's register tiles.
pub(crate) trait Tiled: Sized + 'static {
    /// Those of `isa`.
    fn tiles(isa: Isa) -> &'static Tiles<Self>;
}

/// All tiles of one element type on one instruction set.
pub(crate) struct Tiles<T: 'static> {
    isa: &'static str,
    /// Elements of a vector: a power of two.
    pub(crate) lanes: usize,
    /// Vectors of a panel of B.
    pub(crate) panel: usize,
    /// Rows of the tallest tile.
    pub(crate) mr: usize,
    /// Tiles up to a panel wide: `[rows − 1][vectors − 1]`, A added and A subtracted.
    tall: &'static [&'static [[TileFn<T>; 2]]],
    /// Wider tiles for few rows: rows, vectors.
    wide: &'static [(usize, usize, TileFn<T>)],
    /// Panels that one tile of `[rows]` rows can span.
    spans: [usize; MOST_ROWS + 1],
    /// Rows of the tallest wide tile of exactly `[vectors]` vectors, more than a panel and no whole
    /// number of panels.
    rests: [usize; MOST_VECTORS + 1],
}

/// Rows of the tallest tile, and vectors of the widest, of any instruction set.
pub(crate) const MOST_ROWS: usize = 9;
const MOST_VECTORS: usize = 12;

/// [`Tiles::spans`] from the sizes of the wide tiles.
const fn spans(panel: usize, wide: &[(usize, usize)]) -> [usize; MOST_ROWS + 1] {
    let mut spans = [1; MOST_ROWS + 1];
    let mut i = 0;
    while i < wide.len() {
        let (rows, vectors) = wide[i];
        if vectors % panel == 0 && vectors / panel > spans[rows] {
            spans[rows] = vectors / panel;
        }
        i += 1;
    }
    spans
}

/// [`Tiles::rests`] from the sizes of the wide tiles.
const fn rests(panel: usize, wide: &[(usize, usize)]) -> [usize; MOST_VECTORS + 1] {
    let mut rests = [0; MOST_VECTORS + 1];
    let mut i = 0;
    while i < wide.len() {
        let (rows, vectors) = wide[i];
        if vectors % panel != 0 && rows > rests[vectors] {
            rests[vectors] = rows;
        }
        i += 1;
    }
    rests
}

impl<T> Tiles<T> {
    /// Columns of a panel of B.
    pub(crate) fn nr(&self) -> usize {
        self.lanes * self.panel
    }

    /// Number of vectors that hold `cols` columns.
    #[inline(always)]
    pub(crate) fn vectors(&self, cols: usize) -> usize {
        (cols + self.lanes - 1) >> self.lanes.trailing_zeros()
    }

    /// Whether `cols` columns end in a whole vector.
    #[inline(always)]
    pub(crate) fn whole_vectors(&self, cols: usize) -> bool {
        cols & (self.lanes - 1) == 0
    }

    /// The tile of `rows` rows and `vectors` vectors that adds A·B or, `negated`, subtracts it.
    ///
    /// # Panics
    /// If there is none. There is one for every height up to `mr` and every width up to a panel;
    /// [`Tiles::panels`] and [`Tiles::wide_rows`] name the wider ones.
    #[inline]
    pub(crate) fn get(&self, rows: usize, vectors: usize, negated: bool) -> TileFn<T> {
        if vectors <= self.panel {
            return self.tall[rows - 1][vectors - 1][usize::from(negated)];
        }
        let found = self.wide.iter().find(|w| (w.0, w.1) == (rows, vectors) && !negated);
        found.unwrap_or_else(|| panic!("no tile of {rows} rows and {vectors} vectors")).2
    }

    /// Number of panels that one tile of `rows` rows can span.
    #[inline(always)]
    pub(crate) fn panels(&self, rows: usize) -> usize {
        self.spans[rows]
    }

    /// Rows of the tallest tile that is exactly as wide as `cols` columns and wider than a panel; 0
    /// if there is none.
    #[inline(always)]
    pub(crate) fn wide_rows(&self, cols: usize) -> usize {
        self.rests.get(self.vectors(cols)).copied().unwrap_or(0)
    }

    /// Elements of the largest tile.
    #[cfg(test)]
    pub(crate) fn largest(&self) -> usize {
        let wide = self.wide.iter().map(|w| w.0 * w.1).max().unwrap_or(0);
        wide.max(self.mr * self.panel) * self.lanes
    }

    /// The tallest tile's name, as in `sgemm_9x48_avx512`.
    pub(crate) fn name(&self) -> String {
        let letter = if size_of::<T>() == 4 { 's' } else { 'd' };
        format!("{letter}gemm_{}x{}_{}", self.mr, self.nr(), self.isa)
    }
}

/// The tiles of one element type on one instruction set, each a shell of [`tile`] with the features
/// enabled.
macro_rules! tiles {
    (
        $t:ty, $vector:ty, $isa:literal $(, $feature:literal)?:
        rows $mrs:tt, vectors $nvs:tt, wide [$($wm:literal x $wv:literal),*]
    ) => {{
        const PANEL: usize = { const NVS: &[usize] = &$nvs; NVS[NVS.len() - 1] };
        $(#[target_feature(enable = $feature)])?
        unsafe fn shell<const MR: usize, const NV: usize, const NEGATED: bool>(t: &TileArgs<'_, $t>) {
            // SAFETY: the tile's obligations are the caller's; the features are enabled here.
            unsafe { tile::<$t, $vector, MR, NV, PANEL, NEGATED>(t) }
        }
        static TILES: Tiles<$t> = Tiles {
            isa: $isa,
            lanes: <$vector as Vector<$t>>::LEN,
            panel: PANEL,
            mr: { const MRS: &[usize] = &$mrs; MRS[MRS.len() - 1] },
            tall: tiles!(@rows $mrs $nvs),
            wide: &[$(($wm, $wv, shell::<$wm, $wv, false>)),*],
            spans: spans(PANEL, &[$(($wm, $wv)),*]),
            rests: rests(PANEL, &[$(($wm, $wv)),*]),
        };
        &TILES
    }};
    (@rows [$($mr:literal),+] $nvs:tt) => { &[$(tiles!(@row $mr $nvs)),+] };
    (@row $mr:literal [$($nv:literal),+]) => { &[$([shell::<$mr, $nv, false>, shell::<$mr, $nv, true>]),+] };
}

macro_rules! tiled {
    ($t:ty, portable vectors $nvs:tt wide $wide:tt) => {
        impl Tiled for $t {
            fn tiles(isa: Isa) -> &'static Tiles<$t> {
                match isa.kind() {
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx512 => tiles!(
                        $t, <$t as Vectors>::Avx512, "avx512", "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma":
                        rows [1, 2, 3, 4, 5, 6, 7, 8, 9], vectors [1, 2, 3],
                        wide [1 x 6, 2 x 6, 3 x 6, 4 x 6, 1 x 12, 2 x 12]
                    ),
                    // 4 rows of three vectors are for a panel with a narrow rest.
                    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
                    Kind::Avx2 => tiles!(
                        $t, <$t as Vectors>::Avx2, "avx2", "avx2,fma":
                        rows [1, 2, 3, 4, 5, 6], vectors [1, 2],
                        wide [1 x 3, 2 x 3, 3 x 3, 4 x 3, 1 x 4, 2 x 4, 3 x 4, 1 x 8]
                    ),
                    #[cfg(target_arch = "aarch64")]
                    Kind::Neon => tiles!(
                        $t, <$t as Vectors>::Neon, "neon", "neon":
                        rows [1, 2, 3, 4, 5, 6, 7, 8], vectors [1, 2, 3],
                        wide [1 x 6, 2 x 6, 4 x 6, 1 x 12, 2 x 12]
                    ),
                    Kind::Portable => tiles!(
                        $t, <$t as Vectors>::Portable, "portable":
                        rows [1, 2, 3, 4], vectors $nvs, wide $wide
                    ),
                }
            }
        }
    };
}
tiled!(f32, portable vectors [1] wide [1 x 2]);
tiled!(f64, portable vectors [1, 2] wide [1 x 4]);
