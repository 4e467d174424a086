//! The product: what it promises is said at [`gemm()`], how it is computed in `macro_kernel` and `micro`.

mod macro_kernel;
pub(crate) mod micro;

use crate::par::Par;
use crate::tuning::{Blocking, Caches};
use crate::{Backend, Error, Isa, MatMut, MatRef, Real, Req, Scratch};

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
    /// A thread gets at least this many multiply-adds, or is not woken.
    pub min_work: usize,
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
            // About 5 µs of one core: what waking a sleeping thread costs.
            min_work: 400_000,
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
        let Plan { backend, isa, caches, blocking, min_work, .. } = self;
        Plan { backend, isa, caches, blocking, par, min_work }
    }

    /// The blocks a product of `T` is cut into.
    pub fn blocking_for<T: Real>(&self) -> Blocking {
        self.blocking.unwrap_or_else(|| Blocking::from_caches(T::kernel_row(self.isa), self.caches))
    }

    /// Name of the tallest register tile that runs, as in `sgemm_14x32_avx512`.
    pub fn kernel_name<T: Real>(&self) -> String {
        T::kernel_row(self.isa).name()
    }
}

/// Scratch that [`gemm`] needs for a product of these sizes, so that it can be reserved beforehand.
pub fn gemm_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>) -> Req {
    let native = macro_kernel::scratch::<T>(m, n, k, plan);
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
    macro_kernel::gemm(alpha, a, b, beta, c, plan, scratch)
}
