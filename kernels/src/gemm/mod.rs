//! The product: what it promises is said at [`gemm()`], how it is computed in `macro_kernel` and `micro`.

pub(crate) mod batched;
mod fused;
pub(crate) mod macro_kernel;
pub(crate) mod micro;
pub(crate) mod small;
pub(crate) mod update;

use crate::epilogue::Store;
use crate::pack::{Left, Panels, Right};
use crate::par::Par;
use crate::tuning::{Blocking, Caches};
use crate::{Backend, Error, Isa, MatMut, MatRef, Real, Req, Scratch};
use alloc::string::String;
pub use fused::{Finish, Lhs, Perturbed, Rhs, Start, Weighed, gemm_with, gemm_with_scratch};
use macro_kernel::{Begin, Job, Region};
pub use update::Update;

/// How products are computed: a value that the caller keeps and passes in. Making one asks the CPU what it is; copying is free.
///
/// ```
/// use gaitprop_kernels::{Isa, Plan};
/// let plan = Plan::new().with_isa(Isa::PORTABLE);
/// assert_eq!(plan.isa.name(), "portable");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    /// Whose GEMM. Only [`Backend::Native`] promises bits.
    pub backend: Backend,
    /// The instruction set.
    pub isa: Isa,
    /// Sizes of the caches, from which blocks are derived.
    pub caches: Caches,
    /// Blocks to use instead of derived ones.
    pub blocking: Option<Blocking>,
    /// Who does the work.
    pub par: Par<'p>,
    /// A thread gets at least this many multiply-adds, or is not woken; `None` is what the kind of threads calls for.
    pub min_work: Option<usize>,
    /// Which operands are read where they lie.
    pub packing: Packing,
}

/// Which operands of a product are packed, where they need not be: a question of speed alone.
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
    /// Whether B, whose columns are neighbours, is read where it lies by so many rows of tiles.
    pub(crate) fn b_in_place<T>(self, b: &MatRef<'_, T>, row_tiles: usize) -> bool {
        match self {
            Self::Auto => row_tiles <= 1 || (row_tiles <= B_TILES && !crowded(b.rs(), b.nrows(), 8, size_of::<T>())),
            Self::Always => false,
            Self::Avoid => true,
        }
    }

    /// Whether A is read where it lies, if it can be.
    pub(crate) fn a_in_place<T>(self, a: &MatRef<'_, T>) -> bool {
        match self {
            // Down the columns each step is a line of its own, and a page.
            Self::Auto => a.cs() == 1 || a.nrows() == 1,
            Self::Always => false,
            Self::Avoid => true,
        }
    }
}

/// Rows of tiles up to which reading B where it lies beats packing it: about what m = 60 makes on AVX2.
const B_TILES: usize = 12;

/// Whether more than `ways` lines at this distance fall into the same few sets of a first-level cache.
fn crowded(stride: isize, lines: usize, ways: usize, size: usize) -> bool {
    lines > ways && (stride.unsigned_abs() * size).is_multiple_of(512)
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'p> Plan<'p> {
    /// The widest instruction set of this CPU, blocks from its caches, one thread.
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
    /// The same with another backend.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }
    /// The same on another instruction set.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }
    /// The same with blocks of the caller's choice.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking: Some(blocking), ..self }
    }
    /// The same with more threads, or fewer.
    #[must_use]
    pub fn with_par<'q>(self, par: Par<'q>) -> Plan<'q> {
        let Plan { backend, isa, caches, blocking, min_work, packing, .. } = self;
        Plan { backend, isa, caches, blocking, par, min_work, packing }
    }
    pub(crate) fn min_work(&self) -> usize {
        self.min_work.unwrap_or_else(|| self.par.min_work()).max(1)
    }

    /// Threads that `work` multiply-adds are worth, at least the calling one.
    pub(crate) fn threads_for(&self, work: usize) -> usize {
        self.par.threads().min(work / self.min_work()).max(1)
    }

    /// The blocks that a product of `T` with a chain of `k` is cut into.
    pub fn blocking_of<T: Real>(&self, k: usize) -> Blocking {
        self.blocking.unwrap_or_else(|| Blocking::from_caches::<T>(T::family(self.isa), self.caches, k))
    }

    /// Name of the tallest register tile that runs, as in `sgemm_9x48_avx512`.
    pub fn kernel_name<T: Real>(&self) -> String {
        T::family(self.isa).name::<T>()
    }
}

/// Scratch that [`gemm`] needs for a product of these sizes, so that it can be reserved beforehand.
pub fn gemm_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>) -> Req {
    let native = macro_kernel::scratch_for::<T>(m, n, k, plan, 0);
    if plan.backend == Backend::Native {
        return native;
    }
    // Operands in layouts the backend cannot read are copied.
    let copies =
        [(m, k), (k, n), (m, n)].into_iter().fold(0usize, |sum, (rows, cols)| sum.saturating_add(rows.saturating_mul(cols)));
    native.or(Req::of::<T>(copies))
}

/// `C ← α·A·B + β·C` for any strides.
///
/// Each element of C is one chain of fused multiply-adds in increasing k, started from β·C (from 0 when β = 0: C is then never read),
/// with α multiplied into the elements of A first (one rounding; exact for ±1):
///
/// ```text
/// acc = if β == 0 { 0 } else { β * C[i,j] }
/// for k in 0..K { acc = fma(α * A[i,k], B[k,j], acc) }
/// C[i,j] = acc
/// ```
///
/// Instruction set, tile, blocking, strides and threads cannot change a bit of it.
///
/// Shapes: `a` m×k, `b` k×n, `c` m×n. β = 0 means C is never read. Work: m·n·k fused multiply-adds.
/// Error bound: |C − exact| ≤ γ(k+2)·(|α||A||B| + |β||C|) entrywise, γ(n) = n·u/(1 − n·u).
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit; [`Error::OutOfMemory`] if scratch cannot grow; nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// Source: the five loops after Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
///
/// ```
/// use gaitprop_kernels::{gemm, MatMut, MatRef, Plan, Scratch};
/// let (x, w) = ([1.0f32, 2.0], [3.0f32, 4.0, 5.0, 6.0]);
/// let mut y = [f32::NAN; 2];
/// gemm(
///     1.0,
///     MatRef::new(&x, 1, 2)?,
///     MatRef::new(&w, 2, 2)?,
///     0.0,
///     MatMut::new(&mut y, 1, 2)?,
///     &Plan::new(),
///     &mut Scratch::new(),
/// )?;
/// assert_eq!(y, [13.0, 16.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub fn gemm<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let ((m, k), n) = (a.shape(), b.ncols());
    b.expect_shape("B of a product", (k, n))?;
    c.expect_shape("C of a product", (m, n))?;
    if c.is_empty() {
        return Ok(());
    }
    // A chain of no links: only β is left to do, which every backend but ours treats as an odd case.
    #[cfg(any(feature = "matrixmultiply", feature = "openblas"))]
    if plan.backend != Backend::Native && k > 0 {
        return crate::backend::gemm(alpha, a, b, beta, c, plan, scratch);
    }
    let (job, c) = oriented(alpha, a, b, beta, c);
    macro_kernel::run(&job, c, plan, scratch)
}

/// Whether the transpose of a product is computed instead: C is column-major. The factors of each multiply-add then change places, which changes nothing as
/// long as α, which goes with the left one, need not be rounded.
pub(crate) fn turns<T: Real>(alpha: T, c: &MatMut<'_, T>) -> bool {
    c.cs() != 1 && c.rs() == 1 && c.ncols() > 1 && (alpha == T::ONE || alpha == -T::ONE)
}

/// [`gemm()`] of views that fit, turned so that C's columns are neighbours if one of its strides allows it.
#[inline]
fn oriented<'a, T: Real>(
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
    c: MatMut<'a, T>,
) -> (Job<'a, T, Store>, MatMut<'a, T>) {
    // A C whose lines run backwards: read both it and the operand that gives its lines the other way round.
    if c.cs() == -1 && c.ncols() > 1 {
        return oriented(alpha, a, b.reverse_cols(), beta, c.reverse_cols());
    }
    if c.rs() == -1 && c.nrows() > 1 {
        return oriented(alpha, a.reverse_rows(), b, beta, c.reverse_rows());
    }
    let begin = Begin::AtC(beta);
    let (a, b, c) = if turns(alpha, &c) { (b.t(), a.t(), c.t()) } else { (a, b, c) };
    (Job { alpha, a: Left::View(a), b: Right::View(b), begin, finish: &Store, region: Region::Whole, settle: None }, c)
}

/// [`gemm()`] with a right operand that was packed before: the same bits, without the packing.
///
/// Always this crate's kernels, whatever the plan's backend.
///
/// # Errors
/// As [`gemm()`]; [`Error::Packed`] if `b` was packed for another instruction set.
pub fn gemm_packed<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: Panels<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    b.check(plan)?;
    if b.shape().0 != a.ncols() {
        let expected = (a.ncols(), b.shape().1);
        return Err(Error::Shape { what: "the packed operand of a product", expected, found: b.shape() });
    }
    c.expect_shape("C of a product", (a.nrows(), b.shape().1))?;
    if c.is_empty() {
        return Ok(());
    }
    let job = Job {
        alpha,
        a: Left::View(a),
        b: Right::Panels(b),
        begin: Begin::AtC(beta),
        finish: &Store,
        region: Region::Whole,
        settle: None,
    };
    macro_kernel::run(&job, c, plan, scratch)
}
