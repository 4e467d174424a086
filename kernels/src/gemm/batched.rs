//! Many products in one call: `C_p ← α·A_p·B_p + β·C_p` for every p of a batch.
//!
//! ```text
//!   memory order of a strided batch, and who computes what:
//!
//!     A  │ A_0 │ A_1 │ A_2 │ A_3 │ A_4 │ A_5 │        stride of A (0: one A for all)
//!     B  │ B_0 │ B_1 │ B_2 │ B_3 │ B_4 │ B_5 │        stride of B (0: one B for all)
//!     C  │ C_0 │ C_1 │ C_2 │ C_3 │ C_4 │ C_5 │        stride of C: no two share an element
//!        └──── thread 0 ───┴──── thread 1 ───┘        shares of equal work, in order
//!                                └──┘◄─────────       a thread that is done helps the others: it claims what they have not begun
//! ```
//!
//! Shares are cut by multiply-adds, not by counts. Where products are too large to be dealt out evenly, those are computed first, one after another by all
//! threads together. A thread keeps its share from call to call, and with it what is in its cache.

use crate::base::batch::{BatchMut, BatchRef};
use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::par::Par;
use crate::base::scratch::{DisjointSlices, Scratch, ScratchReq};
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

/// Shares at most: their cursors live on the stack.
const MOST_SHARES: usize = 64;
/// Multiply-adds claimed at a time: about half of a product of 32×32×32, so that only smaller ones are claimed several at once. Chosen, not tuned.
const CLAIM: f64 = 16_384.0;

/// `C_p ← α·A_p·B_p + β·C_p` for every p: [`gemm()`](crate::gemm()) for a batch of like products at equal distances.
///
/// The bits are those of a loop over [`reference::gemm`](crate::reference::gemm), for any plan and number of threads.
///
/// Shapes: `a` m×k, `b` k×n, `c` m×n, `count` of each. Strides in elements, any sign; matrices of `a` and `b` may interleave or overlap, and with a batch
/// stride of 0 ([`BatchRef::repeat`]) all products share an operand. Those of `c` share no element: its constructor sees to that. β = 0 means C is never read.
/// Work: count·m·n·k fused multiply-adds.
///
/// # Errors
/// [`Error::Count`] or [`Error::Shape`] if the operands do not fit; [`Error::OutOfMemory`] if scratch cannot grow; nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// ```
/// use gaitprop_kernels::{BatchMut, BatchRef, MatRef, Plan, Scratch, gemm_batched};
/// // Three samples of 1×2, one matrix for all of them.
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
    fit((m, k), b.shape(), c.shape())?;
    run(alpha, beta, &Strided { a, b, c, shape: (m, n, k) }, plan, scratch)
}

/// [`gemm_batched`] of matrices anywhere, of any shapes: `C_p ← α·A_p·B_p + β·C_p` with `(A_p, B_p) = operands[p]`, `C_p = c[p]`.
///
/// Shapes: each triple as in [`gemm()`](crate::gemm()), and each may have its own; empty ones are fine. The same bits as a loop over the products.
///
/// # Errors
/// [`Error::Count`] if the slices differ in length; [`Error::Batch`] with the index of the first product whose shapes do not fit, holding
/// [`Error::Shape`]; [`Error::OutOfMemory`] if scratch cannot grow. Nothing has then been written.
///
/// # Panics
/// Never on caller data.
///
/// ```
/// use gaitprop_kernels::{Error, MatMut, MatRef, Plan, Scratch, gemm_batched_views};
/// let (x, w, v) = ([1.0f64, 2.0], [3.0, 4.0, 5.0, 6.0], [10.0, 20.0]);
/// let (mut y, mut z) = ([0.0; 2], [0.0; 1]);
/// let x = MatRef::new(&x, 1, 2)?;
/// let operands = [(x, MatRef::new(&w, 2, 2)?), (x, MatRef::new(&v, 2, 1)?)];
/// let mut results = [MatMut::new(&mut y, 1, 2)?, MatMut::new(&mut z, 1, 1)?];
/// gemm_batched_views(1.0, &operands, 0.0, &mut results, &Plan::new(), &mut Scratch::new())?;
/// // The second result has another shape: the error says so, and names it.
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
        fit(a.shape(), b.shape(), c.shape()).map_err(|error| Error::Batch { index, error: Box::new(error) })?;
    }
    run(alpha, beta, &Views { operands, c }, plan, scratch)
}

/// Scratch that [`gemm_batched`] needs for `count` products of these sizes, whatever their strides.
pub fn gemm_batched_scratch<T: Real>(m: usize, n: usize, k: usize, count: usize, plan: &Plan) -> ScratchReq {
    scratch_for::<T>([(m, n, k)], count, plan)
}

/// Scratch that [`gemm_batched_views`] needs for products of these sizes (m, n, k), whatever their strides.
pub fn gemm_batched_views_scratch<T: Real>(shapes: &[(usize, usize, usize)], plan: &Plan) -> ScratchReq {
    scratch_for::<T>(shapes.iter().copied(), shapes.len(), plan)
}

fn scratch_for<T: Real>(shapes: impl IntoIterator<Item = (usize, usize, usize)>, count: usize, plan: &Plan) -> ScratchReq {
    let alone = plan.clone().with_par(Par::Seq);
    let threads = if plan.backend == Backend::Native { plan.par.threads().min(count).clamp(1, MOST_SHARES) } else { 1 };
    let of = |(m, n, k)| gemm_scratch::<T>(m, n, k, &alone).times(threads).or(gemm_scratch::<T>(m, n, k, plan));
    shapes.into_iter().map(of).fold(ScratchReq::default(), ScratchReq::or)
}

fn fit((m, k): (usize, usize), b: (usize, usize), c: (usize, usize)) -> Result<(), Error> {
    for (what, expected, found) in [("B of a product", (k, b.1), b), ("C of a product", (m, b.1), c)] {
        if found != expected {
            return Err(Error::Shape { what, expected, found });
        }
    }
    Ok(())
}

/// Products that share no element of their results.
trait Batch<T>: Sync {
    fn count(&self) -> usize;
    /// (m, n, k) of product `p`.
    fn shape(&self, p: usize) -> (usize, usize, usize);
    /// A, B and C of product `p`, whose shapes fit.
    ///
    /// # Safety
    /// Nobody else has C of this product at this time.
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
        // SAFETY: matrices of a `BatchMut` share no element (its constructor), and this one is the caller's alone.
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
        // SAFETY: the views came as `&mut [MatMut]`, so each is exclusive; this one is the caller's alone.
        (a, b, unsafe { self.c[p].alias() })
    }
}

/// What a product costs, about: its multiply-adds, and what the tiles need to begin and to end. Nothing that is exact hangs on it.
fn work((m, n, k): (usize, usize, usize)) -> f64 {
    m as f64 * n as f64 * (k as f64 + 8.0)
}

fn run<T: Real>(alpha: T, beta: T, batch: &impl Batch<T>, plan: &Plan, scratch: &mut Scratch) -> Result<(), Error> {
    let count = batch.count();
    let native = plan.backend == Backend::Native;
    let alone = if native { plan.clone().with_par(Par::Seq) } else { plan.clone() };
    // One pass for the sums; like products follow each other, so their scratch is asked for once.
    let (mut total, mut room, mut seen) = (0.0, ScratchReq::default(), None);
    for p in 0..count {
        let shape = batch.shape(p);
        total += work(shape);
        if seen != Some(shape) {
            seen = Some(shape);
            room = room.or(gemm_scratch::<T>(shape.0, shape.1, shape.2, &alone));
        }
    }
    if count == 1 || !native {
        // One product: all threads are its own. Other backends know no batches.
        let room = if native { ScratchReq::default() } else { room };
        scratch.reserve(room)?;
        return (0..count).try_for_each(|p| {
            // SAFETY: each product once.
            let (a, b, c) = unsafe { batch.product(p) };
            gemm(alpha, a, b, beta, c, plan, scratch)
        });
    }
    let worth = total / plan.min_work() as f64;
    let threads = plan.par.threads().min(worth as usize).clamp(1, MOST_SHARES);
    let workspace_len = room.bytes() / size_of::<T>();
    if threads == 1 {
        let mut worker = Worker { alpha, beta, batch, plan: &alone, workspace: scratch.slice::<T>(workspace_len)?, small: None };
        // SAFETY: each product once.
        (0..count).for_each(|p| unsafe { worker.compute(p) });
        return Ok(());
    }
    let workers = threads.min(count);
    let mut shares = Shares::cut(batch, workers, |_| true);
    // No thread has much more to do than an equal share of it all.
    let even = shares.largest <= total / threads as f64 * 1.05;
    // Products that would spoil the balance, and are worth sharing out by themselves. The factors are chosen, not tuned.
    let bound = (total / (8 * threads) as f64).max(4.0 * threads as f64 * plan.min_work() as f64);
    let large = |p: usize| !even && work(batch.shape(p)) > bound;
    let of_large = (0..count).filter(|&p| large(p)).map(|p| batch.shape(p));
    scratch.reserve(of_large.fold(room.times(workers), |most, (m, n, k)| most.or(gemm_scratch::<T>(m, n, k, plan))))?;
    let mut any_large = false;
    for p in (0..count).filter(|&p| large(p)) {
        any_large = true;
        // SAFETY: each of the large products once, here; the others below.
        let (a, b, c) = unsafe { batch.product(p) };
        gemm(alpha, a, b, beta, c, plan, scratch)?;
    }
    if any_large {
        shares = Shares::cut(batch, workers, |p| !large(p));
    }
    let workspaces = DisjointSlices::new(scratch.slice::<T>(workspace_len * workers)?);
    plan.par.split(workers, &|i| {
        // SAFETY: each part has a room of its own, and each part runs once.
        let workspace = unsafe { workspaces.part(i * workspace_len, workspace_len) };
        let mut worker = Worker { alpha, beta, batch, plan: &alone, workspace, small: None };
        shares.claim_from(i, |p| {
            if !large(p) {
                // SAFETY: each product is claimed once.
                unsafe { worker.compute(p) };
            }
        });
    });
    Ok(())
}

/// One thread's part in a batch.
struct Worker<'a, T: 'static, B> {
    alpha: T,
    beta: T,
    batch: &'a B,
    /// One thread.
    plan: &'a Plan,
    workspace: &'a mut [MaybeUninit<T>],
    /// How the last product was computed: the next is mostly like it.
    small: Option<Small<T>>,
}

impl<T: Real, B: Batch<T>> Worker<'_, T, B> {
    /// # Safety
    /// Nobody else has C of product `p` at this time.
    #[inline]
    unsafe fn compute(&mut self, p: usize) {
        // SAFETY: the caller's promise.
        let (a, b, c) = unsafe { self.batch.product(p) };
        if c.is_empty() {
            return;
        }
        let (job, c) = canonicalize(self.alpha, a, b, self.beta, c);
        if !self.small.as_ref().is_some_and(|small| small.fits(&job, &c)) {
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

/// A cache line of its own for each cursor.
#[repr(align(64))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

/// The batch cut into runs of products of nearly equal work.
struct Shares {
    all: [Share; MOST_SHARES],
    count: usize,
    /// Products claimed at a time.
    step: usize,
    /// Work of the largest share.
    largest: f64,
}

impl Shares {
    /// Cuts into `count` shares; only products that are `counted` weigh anything.
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
            // A product belongs to the share its middle falls into; the last share takes what rounding has left.
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

    /// Calls `product(p)` for products that nobody has claimed before: first those of share `own`, then of the others.
    fn claim_from(&self, own: usize, mut product: impl FnMut(usize)) {
        for i in 0..self.count {
            let share = &self.all[(own + i) % self.count];
            // Few claims beyond the end: each thread makes one, so that the cursor cannot wrap.
            loop {
                // Relaxed: the results are handed over by whoever ends the parallel section.
                let first = share.next.fetch_add(self.step, Ordering::Relaxed);
                if first >= share.end {
                    break;
                }
                (first..(first + self.step).min(share.end)).for_each(&mut product);
            }
        }
    }
}
