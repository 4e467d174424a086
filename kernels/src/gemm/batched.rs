//! Batched products: `C_p ← α·A_p·B_p + β·C_p` for every p of a batch, in one call.
//!
//! Each thread gets a share of consecutive products. Shares have equal work, in multiply-adds. A
//! thread that finishes early claims products that the others have not begun. If products are too
//! large for even shares, all threads first compute those together, one after another. Thread t
//! gets the same share in every call, so its cache may still hold the operands.
//! [`crate::guide::batched`] has the diagram.

use crate::base::batch::{BatchMut, BatchRef};
use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::once::once;
use crate::base::par::Par;
use crate::base::scratch::{Scratch, ScratchReq};
use crate::gemm::job::canonicalize;
use crate::gemm::partition::Partition;
use crate::gemm::small::Small;
use crate::gemm::{blocked, gemm, gemm_scratch};
use crate::plan::Plan;
use crate::plan::backend::Backend;
use crate::tile::table::Real;
use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of shares. Their cursors live on the stack.
const MOST_SHARES: usize = 64;
/// Multiply-adds claimed at a time, about half of a product of 32×32×32: only smaller products are
/// claimed several at a time. Chosen, not tuned.
const CLAIM: f64 = 16_384.0;

/// Computes `C_p ← α·A_p·B_p + β·C_p` for every p: [`gemm()`](crate::gemm()) for a strided batch.
///
/// With [`Backend::Native`] the bits are those of a loop over
/// [`reference::gemm`](crate::reference::gemm), for any other fields of the plan.
///
/// * `alpha`: α, multiplied into A
/// * `a`: count matrices m×k; they may interleave, overlap or repeat ([`BatchRef::repeat`])
/// * `b`: count matrices k×n; as `a`
/// * `beta`: β; 0 means that C is never read
/// * `c`: count matrices m×n that share no element, which its constructor checks
/// * `plan`: how to compute
/// * `scratch`: workspace; [`gemm_batched_scratch`] returns its size
///
/// Work: count·m·n·k fused multiply-adds.
///
/// # Errors
/// [`Error::Count`] or [`Error::Shape`] if the operands do not match; [`Error::OutOfMemory`] if
/// scratch cannot grow. `c` is then unchanged.
///
/// # Examples
/// ```
/// use gaitprop_kernels::{BatchMut, BatchRef, MatRef, Plan, Scratch, gemm_batched};
/// // Three samples of 1×2, one weight matrix for all of them.
/// let (x, w) = ([1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3.0f32, 4.0, 5.0, 6.0]);
/// let mut y = [f32::NAN; 6];
/// gemm_batched(
///     1.0,
///     BatchRef::new(&x, 3, 1, 2)?,
///     BatchRef::repeat(MatRef::new(&w, 2, 2)?, 3),
///     0.0,
///     BatchMut::new(&mut y, 3, 1, 2)?,
///     &Plan::new(),
///     &mut Scratch::new(),
/// )?;
/// assert_eq!(y, [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub fn gemm_batched<T: Real>(
    alpha: T,
    a: BatchRef<'_, T>,
    b: BatchRef<'_, T>,
    beta: T,
    c: BatchMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let expected = c.count();
    for (what, found) in [("A of a batch", a.count()), ("B of a batch", b.count())] {
        if found != expected {
            return Err(Error::Count { what, expected, found });
        }
    }
    let ((m, k), n) = (a.shape(), b.shape().1);
    check_shapes((m, k), b.shape(), c.shape())?;
    run_strided(alpha, beta, &Strided { a, b, c, shape: (m, n, k) }, plan, scratch)
}

/// Computes `C_p ← α·A_p·B_p + β·C_p` for every p, for matrices of any shapes anywhere in memory.
///
/// With [`Backend::Native`] the bits are those of a loop over
/// [`reference::gemm`](crate::reference::gemm), for any other fields of the plan.
///
/// * `alpha`: α, multiplied into A
/// * `operands`: (A_p, B_p) of each product, m×k and k×n; each product may have other sizes, 0
///   included
/// * `beta`: β; 0 means that C is never read
/// * `c`: C_p of each product, m×n
/// * `plan`: how to compute
/// * `scratch`: workspace; [`gemm_batched_views_scratch`] returns its size
///
/// Work: the sum of m·n·k fused multiply-adds.
///
/// # Errors
/// [`Error::Count`] if the slices differ in length; [`Error::Batch`] with the index of the first
/// product whose shapes do not match, which contains [`Error::Shape`]; [`Error::OutOfMemory`] if
/// scratch cannot grow. `c` is then unchanged.
///
/// # Examples
/// ```
/// use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Scratch, gemm_batched_views};
/// let (x, w, v) = ([1.0f64, 2.0], [3.0, 4.0, 5.0, 6.0], [10.0, 20.0]);
/// let (mut y, mut z) = ([0.0; 2], [0.0; 1]);
/// let x = MatRef::new(&x, 1, 2)?;
/// let operands = [(x, MatRef::new(&w, 2, 2)?), (x, MatRef::new(&v, 2, 1)?)];
/// let mut results = [MatMut::new(&mut y, 1, 2)?, MatMut::new(&mut z, 1, 1)?];
/// gemm_batched_views(1.0, &operands, 0.0, &mut results, &Plan::new(), &mut Scratch::new())?;
/// // The second result has another shape: the error names it.
/// let twice = [operands[0], operands[0]];
/// let error = gemm_batched_views(1.0, &twice, 0.0, &mut results, &Plan::new(), &mut Scratch::new());
/// assert!(matches!(error, Err(Error::Batch { index: 1, .. })));
/// assert_eq!((y, z), ([13.0, 16.0], [50.0]));
/// # Ok::<(), Error>(())
/// ```
pub fn gemm_batched_views<T: Real>(
    alpha: T,
    operands: &[(MatRef<'_, T>, MatRef<'_, T>)],
    beta: T,
    c: &mut [MatMut<'_, T>],
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (expected, found) = (operands.len(), c.len());
    if expected != found {
        return Err(Error::Count { what: "C of a batch", expected, found });
    }
    for (index, ((a, b), c)) in operands.iter().zip(&*c).enumerate() {
        check_shapes(a.shape(), b.shape(), c.shape()).map_err(|error| Error::Batch { index, error: Box::new(error) })?;
    }
    run_views(alpha, beta, &Views { operands, c }, plan, scratch)
}

/// Returns the scratch that [`gemm_batched`] needs for `count` products of these sizes, with any
/// strides.
pub fn gemm_batched_scratch<T: Real>(m: usize, n: usize, k: usize, count: usize, plan: &Plan) -> ScratchReq {
    scratch_for::<T>([(m, n, k)], count, plan)
}

/// Returns the scratch that [`gemm_batched_views`] needs for products of these sizes (m, n, k),
/// with any strides.
pub fn gemm_batched_views_scratch<T: Real>(shapes: &[(usize, usize, usize)], plan: &Plan) -> ScratchReq {
    scratch_for::<T>(shapes.iter().copied(), shapes.len(), plan)
}

fn scratch_for<T: Real>(shapes: impl IntoIterator<Item = (usize, usize, usize)>, count: usize, plan: &Plan) -> ScratchReq {
    let serial_plan = plan.clone().with_par(Par::Seq);
    let threads = if plan.backend == Backend::Native { plan.par.threads().min(count).clamp(1, MOST_SHARES) } else { 1 };
    let of = |(m, n, k)| gemm_scratch::<T>(m, n, k, &serial_plan).times(threads).or(gemm_scratch::<T>(m, n, k, plan));
    shapes.into_iter().map(of).fold(ScratchReq::default(), ScratchReq::or)
}

fn check_shapes((m, k): (usize, usize), b: (usize, usize), c: (usize, usize)) -> Result<(), Error> {
    for (what, expected, found) in [("B of a product", (k, b.1), b), ("C of a product", (m, b.1), c)] {
        if found != expected {
            return Err(Error::Shape { what, expected, found });
        }
    }
    Ok(())
}

/// A batch of products whose results share no element.
trait Batch<T>: Sync {
    fn count(&self) -> usize;
    /// Returns (m, n, k) of product `p`.
    fn shape(&self, p: usize) -> (usize, usize, usize);
    /// Returns A, B and C of product `p`, whose shapes match.
    ///
    /// # Safety
    /// While the views live, no other view of this C is used.
    unsafe fn product(&self, p: usize) -> (MatRef<'_, T>, MatRef<'_, T>, MatMut<'_, T>);
}

struct Strided<'a, T> {
    a: BatchRef<'a, T>,
    b: BatchRef<'a, T>,
    c: BatchMut<'a, T>,
    shape: (usize, usize, usize),
}

impl<T: Real> Batch<T> for Strided<'_, T> {
    fn count(&self) -> usize {
        self.c.count()
    }
    fn shape(&self, _p: usize) -> (usize, usize, usize) {
        self.shape
    }
    #[inline(always)]
    unsafe fn product(&self, p: usize) -> (MatRef<'_, T>, MatRef<'_, T>, MatMut<'_, T>) {
        // SAFETY: matrices of a `BatchMut` share no element (checked in its constructor), and the
        // caller promises that it uses no other view of this one.
        (self.a.get(p), self.b.get(p), unsafe { self.c.alias(p) })
    }
}

struct Views<'b, 'a, T> {
    operands: &'b [(MatRef<'a, T>, MatRef<'a, T>)],
    c: &'b [MatMut<'a, T>],
}

impl<T: Real> Batch<T> for Views<'_, '_, T> {
    fn count(&self) -> usize {
        self.c.len()
    }
    fn shape(&self, p: usize) -> (usize, usize, usize) {
        let (a, b) = &self.operands[p];
        (a.nrows(), b.ncols(), a.ncols())
    }
    #[inline(always)]
    unsafe fn product(&self, p: usize) -> (MatRef<'_, T>, MatRef<'_, T>, MatMut<'_, T>) {
        let (a, b) = self.operands[p];
        // SAFETY: `gemm_batched_views` got the views as `&mut [MatMut]`, so each is exclusive. The
        // caller promises that it uses no other view of this one.
        (a, b, unsafe { self.c[p].alias() })
    }
}

/// Returns the approximate cost of a product: multiply-adds plus the overhead per tile. Used for
/// load balancing only.
fn work((m, n, k): (usize, usize, usize)) -> f64 {
    m as f64 * n as f64 * (k as f64 + 8.0)
}

once! {
    /// [`run`] for this kind of batch.
    fn run_strided<T: Real> = run(
        alpha: T, beta: T, batch: &'a Strided<'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

once! {
    /// [`run`] for this kind of batch.
    fn run_views<T: Real> = run(
        alpha: T, beta: T, batch: &'a Views<'a, 'a, T>, plan: &'a Plan, scratch: &'a mut Scratch
    ) -> Result<(), Error>
}

fn run<T: Real>(alpha: T, beta: T, batch: &impl Batch<T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let count = batch.count();
    let native = plan.backend == Backend::Native;
    let serial_plan = if native { plan.clone().with_par(Par::Seq) } else { plan.clone() };
    // Sums the work and takes the largest scratch. Equal shapes mostly follow each other, so their
    // scratch is computed once.
    let (mut total, mut req, mut seen) = (0.0, ScratchReq::default(), None);
    for p in 0..count {
        let shape = batch.shape(p);
        total += work(shape);
        if seen != Some(shape) {
            seen = Some(shape);
            req = req.or(gemm_scratch::<T>(shape.0, shape.1, shape.2, &serial_plan));
        }
    }
    if count == 1 || !native {
        // All threads share a single product. Other backends have no batched product.
        let req = if native { ScratchReq::default() } else { req };
        scratch.reserve(req)?;
        return (0..count).try_for_each(|p| {
            // SAFETY: the loop takes each product once.
            let (a, b, c) = unsafe { batch.product(p) };
            gemm(alpha, a, b, beta, c, plan, scratch)
        });
    }
    let justified = total / plan.min_work() as f64;
    let threads = plan.par.threads().min(justified as usize).clamp(1, MOST_SHARES);
    let workspace_len = req.bytes() / size_of::<T>();
    if threads == 1 {
        let mut worker =
            Worker { alpha, beta, batch, plan: &serial_plan, workspace: scratch.slice::<T>(workspace_len)?, small: None };
        // SAFETY: the loop takes each product once.
        (0..count).for_each(|p| unsafe { worker.compute(p) });
        return Ok(());
    }
    let workers = threads.min(count);
    let mut shares = Shares::cut(batch, workers, |_| true);
    // The largest share exceeds an equal one by at most 5 %.
    let even = shares.largest <= total / threads as f64 * 1.05;
    // A large product exceeds an eighth of an equal share, and justifies four wake-ups per thread.
    // The factors are chosen, not tuned.
    let bound = (total / (8 * threads) as f64).max(4.0 * threads as f64 * plan.min_work() as f64);
    let large = |p: usize| !even && work(batch.shape(p)) > bound;
    let of_large = (0..count).filter(|&p| large(p)).map(|p| batch.shape(p));
    scratch.reserve(of_large.fold(req.times(workers), |most, (m, n, k)| most.or(gemm_scratch::<T>(m, n, k, plan))))?;
    let mut any_large = false;
    for p in (0..count).filter(|&p| large(p)) {
        any_large = true;
        // SAFETY: this loop takes each large product once; the threads below skip them.
        let (a, b, c) = unsafe { batch.product(p) };
        gemm(alpha, a, b, beta, c, plan, scratch)?;
    }
    if any_large {
        shares = Shares::cut(batch, workers, |p| !large(p));
    }
    let memory = scratch.slice::<T>(workspace_len * workers)?;
    plan.par.split_with(workers, memory, workspace_len, &|i, workspace| {
        let mut worker = Worker { alpha, beta, batch, plan: &serial_plan, workspace, small: None };
        shares.claim_from(i, |p| {
            if !large(p) {
                // SAFETY: `claim_from` yields each product to one thread, once.
                unsafe { worker.compute(p) };
            }
        });
    });
    Ok(())
}

/// The state of one thread in a batch.
struct Worker<'a, T: 'static, B> {
    alpha: T,
    beta: T,
    batch: &'a B,
    /// A plan with one thread.
    plan: &'a Plan,
    workspace: &'a mut [MaybeUninit<T>],
    /// How the last product was computed; reused if the next one matches.
    small: Option<Small<T>>,
}

impl<T: Real, B: Batch<T>> Worker<'_, T, B> {
    /// Computes product `p`.
    ///
    /// # Safety
    /// Meanwhile no other view of C of this product is used.
    #[inline]
    unsafe fn compute(&mut self, p: usize) {
        // SAFETY: the caller promises that no other view of this C is used.
        let (a, b, c) = unsafe { self.batch.product(p) };
        if c.is_empty() {
            return;
        }
        let (job, c) = canonicalize(self.alpha, a, b, self.beta, c);
        if !self.small.as_ref().is_some_and(|small| small.matches(&job, &c)) {
            self.small = Small::new(&job, &c, self.plan);
        }
        match &self.small {
            Some(small) => small.run(&job, c, self.workspace, self.plan.isa),
            None => {
                blocked::run(&job, &Partition::new(&job, self.plan), c, self.plan, self.workspace);
            }
        }
    }
}

/// A run of products: a cursor and its end. The alignment keeps cursors on separate cache lines.
#[repr(align(64))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

/// A batch cut into runs of products of nearly equal work.
struct Shares {
    all: [Share; MOST_SHARES],
    count: usize,
    /// Number of products claimed at a time.
    step: usize,
    /// Work of the largest share.
    largest: f64,
}

impl Shares {
    /// Cuts the batch into `count` shares. Products that are not `counted` have weight 0.
    fn cut<T>(batch: &impl Batch<T>, count: usize, counted: impl Fn(usize) -> bool) -> Self {
        let products = batch.count();
        let weight = |p: usize| if counted(p) { work(batch.shape(p)) } else { 0.0 };
        let total: f64 = (0..products).map(weight).sum();
        let mean = total / count as f64;
        let mut all = [const { Share { next: AtomicUsize::new(0), end: 0 } }; MOST_SHARES];
        let (mut before, mut largest, mut p) = (0.0, 0.0f64, 0);
        for (i, share) in all.iter_mut().take(count).enumerate() {
            *share.next.get_mut() = p;
            let (first, until) = (before, mean * (i + 1) as f64);
            // A product belongs to the share that contains its middle. The last share takes the
            // rest, which rounding could otherwise leave out.
            while p < products && (before + weight(p) / 2.0 < until || i + 1 == count) {
                before += weight(p);
                p += 1;
            }
            share.end = p;
            largest = largest.max(before - first);
        }
        let step = (CLAIM * products as f64 / total.max(1.0)) as usize;
        Self { all, count, step: step.clamp(1, (products / (16 * count)).max(1)), largest }
    }

    /// Calls `product(p)` for every unclaimed product p: first of share `own`, then of the others.
    fn claim_from(&self, own: usize, mut product: impl FnMut(usize)) {
        for i in 0..self.count {
            let share = &self.all[(own + i) % self.count];
            // Each thread makes at most one claim beyond the end, so the cursor cannot wrap.
            loop {
                // Relaxed: the end of `split` publishes the results to the caller.
                let first = share.next.fetch_add(self.step, Ordering::Relaxed);
                if first >= share.end {
                    break;
                }
                (first..(first + self.step).min(share.end)).for_each(&mut product);
            }
        }
    }
}
