//! Mistakes of callers, function by function. Each gives its documented error and never a panic; a
//! refused call writes nothing. Documented panics happen, and absurd numbers that are no mistake
//! are accepted.
//!
//! A row is `call => pattern`. Every row runs in both precisions and on every instruction set, and
//! the test names all rows that fail.

#![allow(clippy::redundant_pattern_matching)] // a row says what it wants as a pattern, whichever it is

use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, activation_grad, perturb};
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

thread_local! {
    /// One function for each operand of the running row: whether it was written.
    static OPERANDS: RefCell<Vec<Box<dyn Fn() -> bool>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a call that fails with this error leaves its operands as they were. A factorization may
/// stop halfway, a perturbation reports the first unit outside the range after a whole pass, and a
/// condition estimate works in its operand.
fn writes_nothing(call: &str, error: &Error) -> bool {
    let unspecified = call.contains("lu::factor(") || call.contains("cholesky::factor(") || call.contains("inverse_norm1");
    match error {
        Error::Domain { .. } => false,
        Error::ZeroPivot { .. } | Error::NonFinite { .. } | Error::NotPositiveDefinite { .. } => !unspecified,
        _ => true,
    }
}

/// Rows that did not go as they should.
#[derive(Default)]
struct Table {
    rows: usize,
    wrong: Vec<String>,
}

impl Table {
    fn row<R>(
        &mut self,
        call: &str,
        wanted: &str,
        run: impl FnOnce() -> Result<R, Error>,
        fits: impl FnOnce(&Result<R, Error>) -> bool,
    ) {
        self.rows += 1;
        OPERANDS.take();
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) if !fits(&outcome) => {
                let gave = outcome.map_or_else(|error| format!("{error:?}"), |_| "Ok".to_owned());
                self.wrong.push(format!("{call}\n    gave {gave}, not {wanted}"));
            }
            Ok(Err(error)) if writes_nothing(call, &error) && OPERANDS.take().iter().any(|written| written()) => {
                self.wrong.push(format!("{call}\n    gave {error:?}, and wrote"));
            }
            Ok(_) => {}
            Err(_) => self.wrong.push(format!("{call}\n    PANICKED, instead of {wanted}")),
        }
    }

    fn panics(&mut self, call: &str, run: impl FnOnce()) {
        self.rows += 1;
        if catch_unwind(AssertUnwindSafe(run)).is_ok() {
            self.wrong.push(format!("{call}\n    did not panic, as it is documented to"));
        }
    }

    fn done(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{} of {} rows:\n{}", self.wrong.len(), self.rows, self.wrong.join("\n"));
        assert!(self.rows >= at_least, "only {} rows", self.rows);
    }
}

macro_rules! rows {
    ($table:expr; $($call:expr => $wanted:pat $(if $guard:expr)?),+ $(,)?) => {
        $($table.row(
            stringify!($call),
            stringify!($wanted $(if $guard)?),
            || $call,
            |outcome| matches!(outcome, $wanted $(if $guard)?),
        );)+
    };
}

macro_rules! panics {
    ($table:expr; $($call:expr),+ $(,)?) => {
        $($table.panics(stringify!($call), || { let _ = $call; });)+
    };
}

/// Elements for as long as the tests run. The row that makes them notices a write.
fn some<T: Real>(len: usize, value: f64) -> &'static mut [T] {
    let (data, value) = (Box::into_raw(vec![T::from_f64(value); len].into_boxed_slice()), T::from_f64(value).bits());
    // SAFETY: never freed. A row reads it after its call, when no view of it is left.
    let written = move || unsafe { &*data }.iter().any(|x| x.bits() != value);
    OPERANDS.with_borrow_mut(|operands| operands.push(Box::new(written)));
    // SAFETY: allocated above; no other reference exists.
    unsafe { &mut *data }
}

/// m×n of 0.5.
fn r<T: Real>(m: usize, n: usize) -> MatRef<'static, T> {
    MatRef::new(some(m * n, 0.5), m, n).unwrap()
}

fn w<T: Real>(m: usize, n: usize) -> MatMut<'static, T> {
    MatMut::new(some(m * n, 0.5), m, n).unwrap()
}

/// m×n whose rows are not contiguous.
fn spread<T: Real>(m: usize, n: usize) -> MatMut<'static, T> {
    MatMut::strided(some(2 * m * n, 0.5), 0, (m, n), (2 * n as isize, 2)).unwrap()
}

/// n×n with `x` at (at, at), and 1 on the rest of the diagonal.
fn diagonal<T: Real>(n: usize, at: usize, x: f64) -> MatMut<'static, T> {
    let mut a = MatMut::new(vec![T::ZERO; n * n].leak(), n, n).unwrap();
    (0..n).for_each(|i| a.set(i, i, if i == at { T::from_f64(x) } else { T::ONE }));
    a
}

fn fixed<T: Real>(a: MatMut<'static, T>) -> MatRef<'static, T> {
    let (m, n) = a.shape();
    MatRef::new(a.to_vec().leak(), m, n).unwrap()
}

/// No rows, or no columns, and more of the other than anything can be counted in.
fn wide<T: Real>() -> MatRef<'static, T> {
    MatRef::new(&[], 0, usize::MAX).unwrap()
}
fn tall<T: Real>() -> MatRef<'static, T> {
    wide().t()
}
fn tall_mut<T: Real>() -> MatMut<'static, T> {
    MatMut::new(&mut [], usize::MAX, 0).unwrap()
}

/// In both precisions, on every instruction set.
macro_rules! everywhere {
    ($test:ident, $body:ident, $at_least:expr) => {
        #[test]
        fn $test() {
            let mut table = Table::default();
            for isa in Isa::available() {
                $body::<f32>(&mut table, isa);
                $body::<f64>(&mut table, isa);
            }
            table.done($at_least);
        }
    };
}

#[test]
fn a_table_finds_wrong_outcomes_writes_panics_and_missing_panics() {
    let mut table = Table::default();
    let refuses = |mut c: MatMut<'_, f32>, write: bool| {
        c.set(1, 2, if write { f32::NAN } else { 0.5 });
        c.expect_shape("C", (3, 2))
    };
    rows!(table;
        Isa::named("portable") => Err(_),
        Isa::named("none") => Err(Error::BackendUnavailable { .. }),
        ([] as [Result<(), Error>; 0]).into_iter().next().expect("nothing") => Ok(()),
        refuses(w(2, 3), true) => Err(Error::Shape { .. }),
        Isa::named("none") => Err(Error::IsaUnavailable { .. }),
        refuses(w(2, 3), false) => Err(Error::Shape { .. }),
    );
    panics!(table; Isa::detect());
    assert_eq!(table.wrong.len(), 5, "{:?}", table.wrong);
}

/// A plan, its threads and what is packed by it can be kept in a value that threads share.
#[test]
fn plans_own_what_they_need() {
    const fn owned<T: Send + Sync + Clone + 'static>() {}
    const { owned::<Plan>() };
    const { owned::<Par>() };
    const fn shared<T: Send + Sync + 'static>() {}
    const { shared::<PackedRhs<f32>>() };
}

fn views_table<T: Real>(t: &mut Table, _: Isa) {
    let data = || some::<T>(12, 0.5);
    const FAR: isize = isize::MAX;
    rows!(t;
        MatRef::new(&*data(), 3, 5) => Err(Error::Shape { expected: (3, 5), found: (1, 12), .. }),
        MatRef::new(&*data(), usize::MAX, 2) => Err(Error::Shape { .. }),
        MatMut::new(data(), 3, 5) => Err(Error::Shape { expected: (3, 5), found: (1, 12), .. }),
        MatMut::new(data(), usize::MAX, usize::MAX) => Err(Error::Shape { .. }),
        MatRef::strided(&*data(), 0, (3, 5), (4, 1)) => Err(Error::OutOfBounds { len: 12, first: 0, last: 12 }),
        MatRef::strided(&*data(), 0, (3, 4), (-4, 1)) => Err(Error::OutOfBounds { first: -8, .. }),
        MatRef::strided(&*data(), 13, (0, 4), (4, 1)) => Err(Error::OutOfBounds { .. }),
        MatRef::strided(&*data(), usize::MAX, (1, 1), (1, 1)) => Err(Error::OutOfBounds { .. }),
        MatRef::strided(&*data(), 0, (2, 2), (FAR, FAR)) => Err(Error::OutOfBounds { .. }),
        MatRef::strided(&*data(), 0, (usize::MAX, 2), (FAR, 1)) => Err(Error::OutOfBounds { .. }),
        MatRef::strided(&*data(), 0, (3, 4), (0, 0)) => Ok(_),
        MatMut::strided(data(), 0, (3, 5), (4, 1)) => Err(Error::OutOfBounds { .. }),
        MatMut::strided(data(), 0, (3, 4), (3, 1)) => Err(Error::Overlap { rs: 3, cs: 1 }),
        MatMut::strided(data(), 0, (3, 4), (0, 1)) => Err(Error::Overlap { .. }),
        MatMut::strided(data(), 0, (1, 4), (1, 0)) => Err(Error::Overlap { .. }),
        r::<T>(2, 3).expect_shape("it", (3, 2)) => Err(Error::Shape { what: "it", expected: (3, 2), found: (2, 3) }),
        w::<T>(2, 3).expect_shape("it", (3, 2)) => Err(Error::Shape { what: "it", .. }),
        BatchRef::new(&*data(), 2, 2, 2) => Err(Error::Shape { .. }),
        BatchRef::new(&*data(), usize::MAX, usize::MAX, 2) => Err(Error::Shape { .. }),
        BatchMut::new(data(), 5, 2, 2) => Err(Error::Shape { .. }),
        BatchRef::strided(&*data(), 0, (4, 4), (2, 2), (2, 1)) => Err(Error::Batch { index: 3, .. }),
        BatchRef::strided(&*data(), 0, (2, FAR), (2, 2), (2, 1)) => Err(Error::Batch { index: 1, .. }),
        BatchRef::strided(&*data(), 0, (usize::MAX, 1), (2, 2), (2, 1)) => Err(Error::Batch { .. }),
        BatchMut::strided(data(), 0, (4, 4), (2, 2), (2, 1)) => Err(Error::Batch { index: 3, .. }),
        BatchMut::strided(data(), 0, (3, 3), (2, 2), (2, 1)) => Err(Error::BatchOverlap { stride: 3, .. }),
        BatchMut::strided(data(), 0, (2, 0), (2, 2), (2, 1)) => Err(Error::BatchOverlap { .. }),
        BatchMut::strided(data(), 0, (2, 1), (2, 2), (4, 1)) => Err(Error::BatchOverlap { .. }),
        BatchMut::strided(data(), 0, (2, 2), (2, 2), (4, 1)) => Ok(_),
        BatchMut::strided(data(), 0, (2, 6), (2, 2), (1, 1)) => Err(Error::Overlap { .. }),
        // An empty view may have any number of rows or columns.
        Ok::<_, Error>((wide::<T>().reverse_rows(), wide::<T>().reverse_cols(), tall::<T>().reverse_cols())) => Ok(_),
        Ok::<_, Error>(MatRef::<T>::new(&[], 1 << (usize::BITS - 1), 0)?.reverse_rows()) => Ok(_),
        Ok::<_, Error>(tall::<T>().to_vec().len()) => Ok(0),
    );
    raw_views_table::<T>(t);
    let (a, b) = (r::<T>(2, 3), BatchRef::repeat(r::<T>(2, 3), 2));
    panics!(t;
        a.get(2, 0),
        a.get(0, 3),
        a.get(usize::MAX, usize::MAX),
        a.row(2),
        a.block(1, 0, 2, 1),
        a.block(usize::MAX, 0, 1, 1),
        a.rows(0, 3),
        a.cols(3, 1),
        w::<T>(2, 3).set(0, 3, T::ONE),
        w::<T>(2, 3).row_mut(2).is_some(),
        w::<T>(2, 3).split_cols(4),
        w::<T>(2, 3).split_rows(3),
        b.get(2),
        BatchMut::new(data(), 3, 2, 2).unwrap().get_mut(3).nrows(),
        // One element, more often than memory could hold it.
        MatRef::strided(&*data(), 0, (usize::MAX / 2, 4), (0, 0)).unwrap().to_vec(),
    );
}
everywhere!(views, views_table, 40);

/// Views from raw parts have the elements of the safe ones. An empty one may have any pointer.
fn raw_views_table<T: Real>(t: &mut Table) {
    let (shape, batch) = ((3, 2), (2, 30));
    for (offset, strides) in [(0, (5, 1)), (0, (1, 4)), (13, (-6, 1)), (20, (1, -7)), (1, (9, 2))] {
        let data: Vec<T> = (0..60).map(|i| T::from_f64(i.into())).collect();
        // SAFETY: `strided` accepts the same views of the same slice, below.
        let (raw, many) = unsafe {
            let first = data.as_ptr().add(offset);
            (MatRef::from_raw_parts(first, shape, strides), BatchRef::from_raw_parts(first, batch, shape, strides))
        };
        rows!(t;
            MatRef::strided(&data, offset, shape, strides) => Ok(safe) if safe.to_vec() == raw.to_vec(),
            BatchRef::strided(&data, offset, batch, shape, strides)
                => Ok(safe) if many.count() == 2 && (0..2).all(|p| safe.get(p).to_vec() == many.get(p).to_vec()),
        );
        let number = |mut c: MatMut<'_, T>, from: usize| {
            (0..6).for_each(|i| c.set(i / 2, i % 2, T::from_f64((from + i) as f64)));
        };
        let written = || {
            let (mut safe, mut raw) = (data.clone(), data.clone());
            number(MatMut::strided(&mut safe, offset, shape, strides)?, 100);
            // SAFETY: `strided` has accepted the same view of a slice as long, which nothing else
            // refers to.
            number(unsafe { MatMut::from_raw_parts(raw.as_mut_ptr().add(offset), shape, strides) }, 100);
            let mut safe_batch = BatchMut::strided(&mut safe, offset, batch, shape, strides)?;
            // SAFETY: as above.
            let mut raw_batch = unsafe { BatchMut::from_raw_parts(raw.as_mut_ptr().add(offset), batch, shape, strides) };
            number(safe_batch.get_mut(1), 200);
            number(raw_batch.get_mut(1), 200);
            Ok::<_, Error>((safe, raw))
        };
        rows!(t; written() => Ok((safe, raw)) if safe == raw && *safe != data);
    }
    let none = std::ptr::NonNull::<T>::dangling().as_ptr();
    let (empty, one) = ((0, 5), T::ONE);
    // SAFETY: an empty view, and a batch of none, have no element to reach.
    let (raw, many, no_matrix) = unsafe {
        let many = BatchRef::from_raw_parts(none.cast_const(), (3, 7), empty, (5, 1));
        let no_matrix = BatchRef::from_raw_parts(none.cast_const(), (0, 7), (2, 2), (2, 1));
        (MatRef::from_raw_parts(none, empty, (5, 1)), many, no_matrix)
    };
    // SAFETY: as above.
    let raw_mut = || unsafe { MatMut::from_raw_parts(none, empty, (5, 1)) };
    // SAFETY: as above.
    let many_mut = |count, shape| unsafe { BatchMut::from_raw_parts(none, (count, 7), shape, (5, 1)) };
    let (plan, s) = (&Plan::new(), &mut Scratch::new());
    rows!(t;
        Ok::<_, Error>((raw.to_vec().len(), raw_mut().to_vec().len(), many.get(2).to_vec().len(), no_matrix.count())) => Ok((0, 0, 0, 0)),
        gemm(one, raw, r(5, 5), one, raw_mut(), plan, s) => Ok(()),
        gemm_batched(one, many, BatchRef::repeat(r(5, 5), 3), one, many_mut(3, empty), plan, s) => Ok(()),
        gemm_batched(one, no_matrix, no_matrix, one, many_mut(0, (2, 2)), plan, s) => Ok(()),
    );
}

fn plans_table<T: Real>(t: &mut Table, isa: Isa) {
    let plan = Plan::new().with_isa(isa);
    let mut scratch = Scratch::new();
    let absurd = ScratchReq::of::<T>(usize::MAX);
    rows!(t;
        Isa::named("sse9") => Err(Error::IsaUnavailable { .. }),
        Isa::named("") => Err(Error::IsaUnavailable { .. }),
        Backend::named("mine") => Err(Error::BackendUnavailable { .. }),
        Blocking::new(0, 1, 1, 1) => Err(Error::Parameter { what: "mc", .. }),
        Blocking::new(1, 0, 1, 1) => Err(Error::Parameter { what: "kc", .. }),
        Blocking::new(1, 1, 0, 1) => Err(Error::Parameter { what: "nc", .. }),
        Blocking::new(1, 1, 1, 0) => Err(Error::Parameter { what: "mr", .. }),
        scratch.reserve(absurd) => Err(Error::OutOfMemory { .. }),
        scratch.reserve(absurd.and(absurd).times(usize::MAX).or(absurd)) => Err(Error::OutOfMemory { .. }),
        scratch.slice::<T>(usize::MAX) => Err(Error::OutOfMemory { .. }),
        Activation::LeakyRelu { slope: 0.0 }.check::<T>() => Err(Error::Parameter { .. }),
        Activation::LeakyRelu { slope: -0.1 }.check::<T>() => Err(Error::Parameter { .. }),
        Activation::LeakyRelu { slope: f64::NAN }.check::<T>() => Err(Error::Parameter { .. }),
        Activation::LeakyRelu { slope: f64::INFINITY }.check::<T>() => Err(Error::Parameter { .. }),
        Activation::LeakyRelu { slope: 1e-310 }.check::<T>() => Err(Error::Parameter { .. }),
    );
    // The scratch of a product that no memory could hold is still a number, with any blocks, caches
    // and threads.
    struct Many;
    impl Threads for Many {
        fn count(&self) -> usize {
            usize::MAX
        }
        fn run(&self, job: &(dyn Fn(usize) + Sync)) {
            job(0);
        }
    }
    let most = usize::MAX;
    let blocks = [None, Some(Blocking::new(most, most, most, most).unwrap()), Some(Blocking::new(1, 1, 1, 1).unwrap())];
    let caches = [Caches { l1: 0, l2: 0, l3: 0 }, Caches { l1: most, l2: most, l3: most }, Caches::default()];
    for (blocking, caches) in blocks.into_iter().flat_map(|b| caches.map(|c| (b, c))) {
        for par in [Par::Seq, Par::Custom(Arc::new(Many))] {
            let mut plan = plan.clone().with_caches(caches).with_min_work(0).with_par(par.clone());
            plan.blocking = blocking;
            for (m, n, k) in
                [(most, most, most), (0, most, most), (most, 0, 1), (1, 1, most), (most, 1, 1), (1, most, 1), (7, 7, 7)]
            {
                let at = format!("{m} {n} {k} {plan_:?}", plan_ = (blocking, caches, &par));
                let sizes = || {
                    let _ = (plan.blocking_of::<T>(k), gemm_scratch::<T>(m, n, k, &plan), gemm_with_scratch::<T>(m, n, k, &plan));
                    let _ =
                        (gemm_batched_scratch::<T>(m, n, k, most, &plan), gemm_batched_views_scratch::<T>(&[(m, n, k)], &plan));
                    let _ = (syrk::syrk_scratch::<T>(n, k, &plan), symm::symm_scratch::<T>(n, m, &plan));
                    let _ = (trsm::solve_scratch::<T>(n, m, &plan), lu::factor_scratch::<T>(n, &plan));
                    let _ = (cholesky::factor_scratch::<T>(n, &plan), cholesky::solve_scratch::<T>(n, m, &plan));
                    Ok::<_, Error>(())
                };
                t.row(&format!("scratch of {at}"), "a number", sizes, |_| true);
            }
            // A product that fits is computed with any of them.
            let product = || {
                let mut c = w::<T>(9, 7);
                gemm(T::ONE, r(9, 40), r(40, 7), T::ZERO, c.rb(), &plan, &mut Scratch::new())?;
                Ok::<_, Error>(c.get(8, 6).to_f64())
            };
            t.row(&format!("product of {:?}", (blocking, caches, par)), "10", product, |x| *x == Ok(10.0));
        }
    }
}
everywhere!(plans, plans_table, 200);

fn products_table<T: Real>(t: &mut Table, isa: Isa) {
    let (plan, one) = (&Plan::new().with_isa(isa), T::ONE);
    let s = &mut Scratch::new();
    rows!(t;
        gemm(one, r(2, 3), r(4, 5), one, w(2, 5), plan, s) => Err(Error::Shape { what: "B of a product", expected: (3, 5), found: (4, 5) }),
        gemm(one, r(2, 3), r(3, 5), one, w(5, 2), plan, s) => Err(Error::Shape { what: "C of a product", expected: (2, 5), found: (5, 2) }),
        gemm(one, r(0, 3), r(4, 5), one, w(0, 5), plan, s) => Err(Error::Shape { .. }),
        gemm(one, tall(), wide(), one, w(0, 0), plan, s) => Err(Error::Shape { .. }),
        gemm(one, wide(), tall(), one, w(0, 0), plan, s) => Ok(()),
        gemm(one, tall(), r(0, 0), one, tall_mut(), plan, s) => Ok(()),
        gemm(one, r(2, 0), r(0, 5), one, w(2, 5), plan, s) => Ok(()),
        gemm(T::NAN, r(2, 3), r(3, 5), T::NAN, w(2, 5), plan, s) => Ok(()),
        syrk::syrk(one, r(3, 2), one, Part::Lower, Diagonal::Kept, w(3, 2), plan, s) => Err(Error::Shape { what: "C of a symmetric product", .. }),
        syrk::syrk(one, tall(), one, Part::Both, Diagonal::Dropped, w(3, 3), plan, s) => Err(Error::Shape { .. }),
        syrk::syrk(one, wide(), one, Part::Both, Diagonal::Dropped, w(0, 0), plan, s) => Ok(()),
        symm::symm(Side::Left, Triangle::Lower, one, r(3, 2), r(3, 4), one, w(3, 4), plan, s) => Err(Error::Shape { .. }),
        symm::symm(Side::Left, Triangle::Lower, one, r(3, 3), r(4, 3), one, w(4, 3), plan, s) => Err(Error::Shape { .. }),
        symm::symm(Side::Right, Triangle::Upper, one, r(3, 3), r(3, 4), one, w(3, 4), plan, s) => Err(Error::Shape { .. }),
        symm::symm(Side::Right, Triangle::Upper, one, r(3, 3), r(4, 3), one, w(3, 4), plan, s) => Err(Error::Shape { what: "C of a product", .. }),
        symm::symm(Side::Right, Triangle::Upper, one, r(0, 0), tall(), one, tall_mut(), plan, s) => Ok(()),
    );
    // Batches.
    let (a, b) = (|n| BatchRef::repeat(r::<T>(2, 3), n), |n| BatchRef::repeat(r::<T>(3, 5), n));
    let c = |n, rows, cols| BatchMut::new(some::<T>(n * rows * cols, 0.0), n, rows, cols).unwrap();
    rows!(t;
        gemm_batched(one, a(2), b(3), one, c(3, 2, 5), plan, s) => Err(Error::Count { what: "A of a batch", expected: 3, found: 2 }),
        gemm_batched(one, a(3), b(usize::MAX), one, c(3, 2, 5), plan, s) => Err(Error::Count { what: "B of a batch", .. }),
        gemm_batched(one, a(3), b(3).t(), one, c(3, 2, 5), plan, s) => Err(Error::Shape { what: "B of a product", .. }),
        gemm_batched(one, a(3), b(3), one, c(3, 5, 2), plan, s) => Err(Error::Shape { what: "C of a product", .. }),
        gemm_batched(one, a(0), b(0), one, c(0, 2, 5), plan, s) => Ok(()),
        gemm_batched(one, BatchRef::repeat(wide(), 2), BatchRef::repeat(tall(), 2), one, c(2, 0, 0), plan, s) => Ok(()),
        gemm_batched_views(one, &[(r(2, 3), r(3, 5))], one, &mut [], plan, s) => Err(Error::Count { what: "C of a batch", expected: 1, found: 0 }),
        gemm_batched_views(one, &[(r(2, 3), r(3, 5)), (r(2, 3), r(2, 5))], one, &mut [w(2, 5), w(2, 5)], plan, s)
            => Err(error @ Error::Batch { index: 1, .. }) if error.to_string().starts_with("matrix 1 of a batch: B of a product "),
        gemm_batched_views(one, &[(r(2, 3), r(3, 5))], one, &mut [w(5, 2)], plan, s) => Err(Error::Batch { index: 0, .. }),
        gemm_batched_views(one, &[(wide(), tall()), (tall(), r(0, 0))], one, &mut [w(0, 0), tall_mut()], plan, s) => Ok(()),
        gemm_batched_views::<T>(one, &[], one, &mut [], plan, s) => Ok(()),
    );
    // Packed operands.
    let packed = |m: MatRef<'_, T>, o| PackedRhs::new(m, o, plan);
    let (plain, across) = (packed(r(3, 5), Orientation::Plain).unwrap(), packed(r(3, 5), Orientation::Transposed).unwrap());
    let panels = plain.plain().unwrap();
    rows!(t;
        plain.transposed() => Err(Error::Packed { .. }),
        across.plain() => Err(Error::Packed { .. }),
        packed(r(3, 5), Orientation::Plain).unwrap().repack(r(5, 3), plan) => Err(Error::Shape { .. }),
        gemm_with(one, r(2, 3), panels, Start::C(one), w(2, 4), Epilogue::Store, plan, s) => Err(Error::Shape { what: "C of a product", .. }),
        gemm_with(one, r(2, 4), panels, Start::Zero, w(2, 5), Epilogue::Store, plan, s) => Err(Error::Shape { .. }),
        packed(wide(), Orientation::Both) => Ok(_),
        packed(tall(), Orientation::Both) => Ok(_),
        packed(MatRef::strided(&*some(1, 0.5), 0, (usize::MAX / 2, 1 << 20), (0, 0))?, Orientation::Both) => Err(Error::OutOfMemory { .. }),
        gemm_with(one, r(0, 0), packed(wide(), Orientation::Plain)?.plain()?, Start::C(one), w(0, usize::MAX - 1), Epilogue::Store, plan, s) => Err(Error::Shape { .. }),
    );
    for other in Isa::available().filter(|&other| other != isa) {
        let other = &plan.clone().with_isa(other);
        rows!(t;
            gemm_with(one, r(2, 3), panels, Start::Zero, w(2, 5), Epilogue::Store, other, s) => Err(Error::Packed { .. }),
            packed(r(3, 5), Orientation::Plain).unwrap().repack(r(3, 5), other) => Err(Error::Packed { .. }),
        );
    }
}
everywhere!(products, products_table, 80);

fn fused_table<T: Real>(t: &mut Table, isa: Isa) {
    let (plan, one) = (&Plan::new().with_isa(isa), T::ONE);
    let (a, b) = (r::<T>(2, 3), r::<T>(3, 5));
    let bias: &[T] = some(5, 0.5);
    let (leaky, bad) = (Activation::LeakyRelu { slope: 0.1 }, Activation::LeakyRelu { slope: 0.0 });
    let with = |start, c, epilogue| gemm_with(one, a, b, start, c, epilogue, plan, &mut Scratch::new());
    let activate = |unit, bias, slope| with(Start::Zero, w(2, 5), Epilogue::Activate { activation: unit, bias, slope });
    let add = |add| with(Start::Zero, w(2, 5), Epilogue::ScaleAdd { scale: one, weight: one, add });
    let step = AdamStep { rate: one, beta1: (one, one), beta2: (one, one), epsilon: one, correction: one };
    let adam = |m, v| with(Start::Zero, w(2, 5), Epilogue::Update(Update::Adam { step, m, v }));
    let momentum = |m| with(Start::Zero, w(2, 5), Epilogue::Update(Update::Momentum { rate: one, mu: one, m }));
    let scaled = |factors, beta| with(Start::C(beta), w(2, 5), Epilogue::Update(Update::ScaleColumns { factors }));
    rows!(t;
        gemm_with(one, a, r(4, 5), Start::Zero, w(2, 5), Epilogue::Store, plan, &mut Scratch::new()) => Err(Error::Shape { what: "B of a product", .. }),
        with(Start::Zero, w(5, 2), Epilogue::Store) => Err(Error::Shape { what: "C of a product", .. }),
        with(Start::Zero, spread(2, 5), Epilogue::Store) => Ok(true),
        with(Start::From(one, r(2, 5)), spread(2, 5), Epilogue::Store) => Err(Error::Layout { what: "C of a fused product", .. }),
        with(Start::Zero, spread(2, 5), Epilogue::Activate { activation: leaky, bias, slope: None }) => Err(Error::Layout { what: "C of a fused product", .. }),
        with(Start::From(one, r(5, 2)), w(2, 5), Epilogue::Store) => Err(Error::Shape { what: "the start of a product", .. }),
        with(Start::From(one, r(5, 2).t()), w(2, 5), Epilogue::Store) => Err(Error::Layout { what: "the start of a product", .. }),
        activate(leaky, &bias[..4], None) => Err(Error::Shape { what: "the bias", expected: (1, 5), found: (1, 4) }),
        activate(Activation::Tanh, &bias[..4], None) => Err(Error::Shape { what: "the bias", .. }),
        activate(leaky, bias, Some(w(5, 2))) => Err(Error::Shape { what: "the slopes", .. }),
        activate(Activation::Tanh, bias, Some(w(5, 2))) => Err(Error::Shape { what: "the slopes", .. }),
        activate(leaky, bias, Some(spread(2, 5))) => Err(Error::Layout { what: "the slopes", .. }),
        activate(Activation::Tanh, bias, Some(spread(2, 5))) => Err(Error::Layout { what: "the slopes", .. }),
        activate(bad, bias, None) => Err(Error::Parameter { .. }),
        add(r(5, 2)) => Err(Error::Shape { what: "the matrix to be added", .. }),
        add(r(5, 2).t()) => Err(Error::Layout { what: "the matrix to be added", .. }),
        adam(w(5, 2), w(2, 5)) => Err(Error::Shape { what: "a moment", .. }),
        adam(w(2, 5), w(5, 2)) => Err(Error::Shape { what: "a moment", .. }),
        adam(w(2, 5), spread(2, 5)) => Err(Error::Layout { what: "a moment", .. }),
        momentum(w(5, 2)) => Err(Error::Shape { what: "a moment", .. }),
        momentum(spread(2, 5)) => Err(Error::Layout { what: "a moment", .. }),
        with(Start::C(T::NAN), w(2, 5), Epilogue::Update(Update::Descend { rate: one })) => Ok(false),
        scaled(&bias[..4], one) => Err(Error::Shape { what: "the factors of the columns", expected: (1, 5), found: (1, 4) }),
        scaled(bias, T::NAN) => Ok(false),
    );
    let by = |unit, scale| Perturbation { activation: unit, weighting: Weighting::SlopeSquared, scale };
    let (finite, nan) = (Scale::Finite(0.5), Scale::Finite(f64::NAN));
    // A tanh that is sent to 0.9 + 0.5·3.
    let (near, far) = (fixed(diagonal::<T>(3, 0, 0.9)).rows(0, 2), MatRef::new(&*some::<T>(6, 3.0), 2, 3).unwrap());
    // The twins over memory.
    let p = |scale, unit, y, slope, e, r, x| perturb::<T>(by(unit, scale), y, slope, e, r, x, isa);
    rows!(t;
        p(finite, leaky, r(2, 3), None, r(3, 2), w(2, 3), w(2, 3)) => Err(Error::Shape { what: "the error", .. }),
        p(finite, leaky, r(2, 3), None, r(2, 3), w(3, 2), w(2, 3)) => Err(Error::Shape { what: "the perturbation", .. }),
        p(finite, leaky, r(2, 3), None, r(2, 3), w(2, 3), w(3, 2)) => Err(Error::Shape { what: "delta", .. }),
        p(finite, Activation::Tanh, r(2, 3), None, r(2, 3), w(2, 3), w(2, 3)) => Err(Error::Shape { what: "the kept slopes", .. }),
        p(finite, Activation::Tanh, r(2, 3), Some(r(3, 2)), r(2, 3), w(2, 3), w(2, 3)) => Err(Error::Shape { what: "the kept slopes", .. }),
        p(nan, leaky, r(2, 3), None, r(2, 3), w(2, 3), w(2, 3)) => Err(Error::Parameter { .. }),
        p(Scale::Finite(f64::INFINITY), leaky, r(2, 3), None, r(2, 3), w(2, 3), w(2, 3)) => Err(Error::Parameter { .. }),
        p(finite, bad, r(2, 3), None, r(2, 3), w(2, 3), w(2, 3)) => Err(Error::Parameter { .. }),
        p(finite, leaky, tall(), None, tall(), tall_mut(), tall_mut()) => Ok(()),
        perturb::<T>(Perturbation { weighting: Weighting::Plain, ..by(Activation::Tanh, finite) }, near, Some(r(2, 3)), far, w(2, 3), w(2, 3), isa) => Err(Error::Domain { row: 0, col: 0 }),
        activation_grad::<T>(leaky, r(2, 3), None, r(3, 2), w(2, 3), isa) => Err(Error::Shape { what: "the error", .. }),
        activation_grad::<T>(leaky, r(2, 3), None, r(2, 3), w(3, 2), isa) => Err(Error::Shape { what: "delta", .. }),
        activation_grad::<T>(Activation::Tanh, r(2, 3), None, r(2, 3), w(2, 3), isa) => Err(Error::Shape { what: "the kept slopes", .. }),
        activation_grad::<T>(bad, r(2, 3), None, r(2, 3), w(2, 3), isa) => Err(Error::Parameter { .. }),
        activation_grad::<T>(leaky, tall(), None, tall(), tall_mut(), isa) => Ok(()),
        epilogue::bias_activate::<T>(leaky, w(2, 5), &bias[..4], None, isa) => Err(Error::Shape { what: "the bias", .. }),
        epilogue::bias_activate::<T>(Activation::Tanh, w(2, 5), bias, Some(w(5, 2)), isa) => Err(Error::Shape { what: "the slopes", .. }),
        epilogue::bias_activate::<T>(leaky, spread(2, 5), bias, Some(w(5, 2)), isa) => Err(Error::Shape { what: "the slopes", .. }),
        epilogue::bias_activate::<T>(bad, w(2, 5), bias, None, isa) => Err(Error::Parameter { .. }),
        epilogue::bias_activate::<T>(Activation::Tanh, tall_mut(), &[], None, isa) => Ok(()),
        epilogue::bias_activate::<T>(leaky, tall_mut(), &[], None, isa) => Ok(()),
        epilogue::adam::<T>(step, some(3, 0.0), some(2, 0.0), some(3, 0.0), some(3, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::adam::<T>(step, some(3, 0.0), some(3, 0.0), some(4, 0.0), some(3, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::adam::<T>(step, some(3, 0.0), some(3, 0.0), some(3, 0.0), some(0, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::momentum::<T>(one, one, some(3, 0.0), some(2, 0.0), some(3, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::momentum::<T>(one, one, some(3, 0.0), some(3, 0.0), some(2, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::descend::<T>(one, some(3, 0.0), some(2, 0.0), isa) => Err(Error::Shape { .. }),
        epilogue::descend::<T>(T::NAN, some(3, 0.0), some(3, 0.0), isa) => Ok(false),
        reduce::column_means::<T>(r(2, 3), some(2, 0.0), isa) => Err(Error::Shape { what: "the means", .. }),
        reduce::column_means::<T>(tall(), &mut [], isa) => Ok(()),
        reduce::column_means::<T>(r(0, 3), some(3, 0.0), isa) => Ok(()),
        reduce::dot::<T>(r(3, 1), r(2, 1), &Plan::new()) => Err(Error::Shape { .. }),
        reduce::dot::<T>(r(3, 2), r(3, 2), &Plan::new()) => Err(Error::Shape { .. }),
        reduce::dot::<T>(r(0, 1), r(0, 1), &Plan::new()) => Ok(0.0),
    );
}
everywhere!(fused, fused_table, 150);

fn solves_table<T: Real>(t: &mut Table, isa: Isa) {
    let (plan, one) = (&Plan::new().with_isa(isa), T::ONE);
    let s = &mut Scratch::new();
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    // Small and large: each size takes its own path.
    for n in [3, 100, 300] {
        let at = n - 1;
        let a = |x| fixed(diagonal::<T>(n, at, x));
        let triangle = |a, b| trsm::solve(Side::Left, Triangle::Lower, Diag::Stored, one, a, b, plan, &mut Scratch::new());
        let pivots = |p: usize| -> &'static [usize] { (0..n).map(|i| if i == 1 { p } else { i }).collect::<Vec<_>>().leak() };
        let (good, swaps) = (a(2.0), pivots(1));
        rows!(t;
            triangle(a(0.0), w(n, 2)) => Err(Error::ZeroPivot { index }) if *index == at,
            triangle(a(nan), w(n, 2)) => Err(Error::NonFinite { index }) if *index == at,
            triangle(a(inf), w(n, 2)) => Err(Error::NonFinite { .. }),
            triangle(a(2.0), w(n + 1, 2)) => Err(Error::Shape { .. }),
            triangle(r(n, n + 1), w(n, 2)) => Err(Error::Shape { .. }),
            trsm::solve(Side::Right, Triangle::Upper, Diag::Unit, one, a(nan), w(n, 2), plan, s) => Err(Error::Shape { .. }),
            trsm::solve(Side::Right, Triangle::Upper, Diag::Unit, one, a(nan), w(2, n), plan, s) => Ok(()),
            trsm::solve(Side::Left, Triangle::Upper, Diag::Stored, one, a(0.0), w(n, 0), plan, s) => Err(Error::ZeroPivot { .. }),
            trsm::solve(Side::Right, Triangle::Upper, Diag::Stored, one, a(0.0), w(2, n), plan, s) => Err(Error::ZeroPivot { .. }),
            lu::factor(w::<T>(n, n + 1), &mut vec![0; n], plan, s) => Err(Error::Shape { .. }),
            lu::factor(w::<T>(n, n), &mut vec![0; n - 1], plan, s) => Err(Error::Shape { what: "the pivots", .. }),
            lu::factor(diagonal::<T>(n, at, 0.0), &mut vec![0; n], plan, s) => Err(Error::ZeroPivot { index }) if *index == at,
            lu::factor(w::<T>(n, n), &mut vec![0; n], plan, s) => Err(Error::ZeroPivot { index: 1 }),
            lu::factor(diagonal::<T>(n, at, nan), &mut vec![0; n], plan, s) => Err(Error::NonFinite { .. }),
            lu::factor(diagonal::<T>(n, 0, nan), &mut vec![0; n], plan, s) => Err(Error::NonFinite { .. }),
            lu::factor(diagonal::<T>(n, 0, inf), &mut vec![0; n], plan, s) => Err(Error::NonFinite { .. }),
            lu::factor(MatMut::new(some::<T>(n * n, nan), n, n)?, &mut vec![0; n], plan, s) => Err(Error::NonFinite { .. }),
            lu::solve_left(good, swaps, w(n + 1, 2), plan, s) => Err(Error::Shape { what: "the right-hand sides", .. }),
            lu::solve_left(r::<T>(n, n + 1), swaps, w(n, 2), plan, s) => Err(Error::Shape { .. }),
            lu::solve_left(good, &swaps[1..], w(n, 2), plan, s) => Err(Error::Shape { .. }),
            lu::solve_left(good, pivots(0), w(n, 2), plan, s) => Err(Error::Parameter { what: "a pivot", .. }),
            lu::solve_left(good, pivots(n), w(n, 2), plan, s) => Err(Error::Parameter { what: "a pivot", .. }),
            lu::solve_left(good, pivots(usize::MAX), w(n, 2), plan, s) => Err(Error::Parameter { what: "a pivot", .. }),
            lu::solve_left(a(0.0), swaps, w(n, 2), plan, s) => Err(Error::ZeroPivot { .. }),
            lu::solve_right(good, swaps, w(n, n + 1), plan, s) => Err(Error::Shape { what: "the right-hand sides", .. }),
            lu::solve_right(good, pivots(n), w(2, n), plan, s) => Err(Error::Parameter { what: "a pivot", .. }),
            lu::solve_right(a(0.0), swaps, w(2, n), plan, s) => Err(Error::ZeroPivot { .. }),
            lu::solve_right(a(nan), swaps, w(2, n), plan, s) => Err(Error::NonFinite { .. }),
            lu::inverse_norm1(good, swaps, some(n, 0.0), plan, s) => Err(Error::Shape { what: "the workspace", .. }),
            lu::inverse_norm1(good, pivots(n), some(2 * n, 0.0), plan, s) => Err(Error::Parameter { .. }),
            lu::inverse_norm1(a(0.0), swaps, some(2 * n, 0.0), plan, s) => Err(Error::ZeroPivot { .. }),
            lu::inverse_norm1(a(nan), swaps, some(2 * n, 0.0), plan, s) => Err(Error::NonFinite { .. }),
            lu::inverse_norm1(good, swaps, some(2 * n, nan), plan, s) => Ok(_),
            cholesky::factor(w::<T>(n, n + 1), plan, s) => Err(Error::Shape { .. }),
            cholesky::factor(diagonal::<T>(n, at, -1.0), plan, s) => Err(Error::NotPositiveDefinite { index }) if *index == at,
            cholesky::factor(diagonal::<T>(n, at, 0.0), plan, s) => Err(Error::NotPositiveDefinite { index }) if *index == at,
            cholesky::factor(diagonal::<T>(n, at, nan), plan, s) => Err(Error::NonFinite { index }) if *index == at,
            cholesky::factor(diagonal::<T>(n, 0, inf), plan, s) => Err(Error::NonFinite { .. }),
            cholesky::solve(r(n, n + 1), w::<T>(n, 2), plan, s) => Err(Error::Shape { .. }),
            cholesky::solve(good, w::<T>(n + 1, 2), plan, s) => Err(Error::Shape { .. }),
            cholesky::solve(a(0.0), w(n, 2), plan, s) => Err(Error::ZeroPivot { .. }),
            cholesky::solve(a(nan), w(n, 2), plan, s) => Err(Error::NonFinite { .. }),
        );
    }
    let lower = Triangle::Lower;
    rows!(t;
        gemmt::gemmt(lower, one, r::<T>(3, 2), r(2, 4), one, w(3, 3), plan, s) => Err(Error::Shape { .. }),
        gemmt::gemmt(lower, one, r::<T>(3, 2), r(3, 3), one, w(3, 3), plan, s) => Err(Error::Shape { .. }),
        gemmt::gemmt(lower, one, r::<T>(3, 2), r(2, 3), one, w(3, 4), plan, s) => Err(Error::Shape { .. }),
        gemmt::gemmt(lower, one, r::<T>(0, 2), r(2, 0), one, w(0, 0), plan, s) => Ok(()),
        syr2k::syr2k(lower, one, r::<T>(3, 2), r(3, 3), one, w(3, 3), plan, s) => Err(Error::Shape { .. }),
        syr2k::syr2k(lower, one, r::<T>(3, 2), r(3, 2), one, w(4, 4), plan, s) => Err(Error::Shape { .. }),
        trmm::product(Side::Left, lower, Diag::Stored, one, r::<T>(3, 3), w(4, 2), plan, s) => Err(Error::Shape { .. }),
        trmm::product(Side::Right, lower, Diag::Stored, one, r::<T>(3, 3), w(3, 2), plan, s) => Err(Error::Shape { .. }),
        trmm::product(Side::Left, lower, Diag::Stored, one, r::<T>(3, 4), w(3, 2), plan, s) => Err(Error::Shape { .. }),
        trmm::product::<T>(Side::Right, lower, Diag::Unit, one, r(0, 0), tall_mut(), plan, s) => Ok(()),
        gemv::gemv(one, r::<T>(3, 2), r(3, 1), one, w(3, 1), plan, s) => Err(Error::Shape { .. }),
        gemv::gemv(one, r::<T>(3, 2), r(2, 2), one, w(3, 1), plan, s) => Err(Error::Shape { .. }),
        gemv::gemv(one, r::<T>(3, 2), r(2, 1), one, w(2, 1), plan, s) => Err(Error::Shape { .. }),
        gemv::gemv(one, r::<T>(3, 0), r(0, 1), T::ZERO, w(3, 1), plan, s) => Ok(()),
        gemv::gemv(one, r::<T>(3, 0).reverse_cols(), r(0, 1), T::ZERO, w(3, 1), plan, s) => Ok(()),
        ger::ger(one, r::<T>(3, 1), r(3, 1), w(3, 2), plan, s) => Err(Error::Shape { .. }),
        ger::ger(one, r::<T>(2, 1), r(2, 1), w(3, 2), plan, s) => Err(Error::Shape { .. }),
        ger::ger(one, r::<T>(0, 1), r(2, 1), w(0, 2), plan, s) => Ok(()),
    );
    rows!(t;
        lu::factor(w::<T>(0, 0), &mut [], plan, s) => Ok(()),
        lu::factor(tall_mut::<T>(), &mut [], plan, s) => Err(Error::Shape { .. }),
        lu::inverse_norm1::<T>(r(0, 0), &[], &mut [], plan, s) => Ok(_),
        cholesky::factor(w::<T>(0, 0), plan, s) => Ok(()),
        trsm::solve::<T>(Side::Left, Triangle::Lower, Diag::Stored, one, r(0, 0), tall_mut(), plan, s) => Err(Error::Shape { .. }),
        trsm::solve::<T>(Side::Right, Triangle::Lower, Diag::Stored, one, r(0, 0), tall_mut(), plan, s) => Ok(()),
        lu::solve_right::<T>(r(0, 0), &[], tall_mut(), plan, s) => Ok(()),
    );
}
everywhere!(solves, solves_table, 150);

/// A single row or column has a stride that no kernel uses: it may be any number.
fn strides_table<T: Real>(t: &mut Table, isa: Isa) {
    let (plan, one) = (&Plan::new().with_isa(isa), T::ONE);
    let packings = [Packing::Auto, Packing::Always, Packing::Avoid];
    for far in [isize::MAX, isize::MIN, isize::MAX / 2 + 1, 0] {
        let row = |n: usize| MatRef::strided(&*some::<T>(n, 0.5), 0, (1, n), (far, 1)).unwrap();
        let col = |n: usize| row(n).t();
        let row_mut = |n: usize| MatMut::strided(some::<T>(n, 0.5), 0, (1, n), (far, 1)).unwrap();
        let col_mut = |n: usize| row_mut(n).t();
        for n in [1, 7, 64, 200] {
            let s = &mut Scratch::new();
            for plan in packings.map(|packing| &*Box::leak(Box::new(plan.clone().with_packing(packing)))) {
                rows!(t;
                    gemm(one, row(n), col(n), one, row_mut(1), plan, s) => Ok(()),
                    gemm(one, row(n), r(n, 9), one, row_mut(9), plan, s) => Ok(()),
                    gemm(one, r(9, n), col(n), one, col_mut(9), plan, s) => Ok(()),
                    gemm(one, col(n), row(n), one, w(n, n), plan, s) => Ok(()),
                    gemm(one, col(n).reverse_rows(), row(n).reverse_cols(), one, w(n, n), plan, s) => Ok(()),
                    gemm(one, r(n, 1), row(n), one, w(n, n), plan, s) => Ok(()),
                    gemm(one, r(1, n), r(n, 1), one, row_mut(1).reverse_rows(), plan, s) => Ok(()),
                    gemm_with(one, r(1, n), r(n, 9), Start::C(one), row_mut(9), Epilogue::Store, plan, s) => Ok(true),
                    gemm_with(one, col(n), row(n), Start::Zero, w(n, n), Epilogue::Update(Update::Descend { rate: one }), plan, s) => Ok(true),
                );
            }
            // A chain of no links, whose rows may lie any distance apart.
            let endless = MatRef::strided(&[], 0, (n, 0), (far / 6, 1)).unwrap();
            rows!(t;
                gemm(one, endless, r(0, 5), one, w(n, 5), plan, s) => Ok(()),
                PackedRhs::new(row(n), Orientation::Both, plan) => Ok(_),
                PackedRhs::new(col(n), Orientation::Both, plan) => Ok(_),
                syrk::syrk(one, row(n), one, Part::Both, Diagonal::Kept, w(1, 1), plan, s) => Ok(()),
                syrk::syrk(one, col(n), one, Part::Both, Diagonal::Kept, w(n, n), plan, s) => Ok(()),
                symm::symm(Side::Left, Triangle::Lower, one, r(n, n), col(n), one, col_mut(n), plan, s) => Ok(()),
                symm::symm(Side::Right, Triangle::Lower, one, r(n, n), row(n), one, row_mut(n), plan, s) => Ok(()),
                trsm::solve(Side::Left, Triangle::Lower, Diag::Unit, one, r(n, n), col_mut(n), plan, s) => Ok(()),
                trsm::solve(Side::Right, Triangle::Upper, Diag::Unit, one, r(n, n), row_mut(n), plan, s) => Ok(()),
                lu::factor(row_mut(1), &mut [0], plan, s) => Ok(()),
                cholesky::factor(row_mut(1), plan, s) => Ok(()),
                activation_grad(Activation::Identity, row(n), None, row(n), row_mut(n), isa) => Ok(()),
                activation_grad(Activation::Identity, col(n), None, col(n), col_mut(n), isa) => Ok(()),
                reduce::column_means(row(n), some(n, 0.0), isa) => Ok(()),
                reduce::column_means(col(n), some(1, 0.0), isa) => Ok(()),
                epilogue::bias_activate(Activation::Identity, row_mut(n), some(n, 0.0), None, isa) => Ok(()),
            );
        }
    }
}
everywhere!(strides, strides_table, 500);

/// The references do not check shapes; they panic.
#[test]
fn references_panic_where_shapes_do_not_fit() {
    let mut table = Table::default();
    panics!(table;
        reference::gemm(1.0, r(2, 3), r(2, 2), 0.0, w(2, 2)),
        reference::syrk(1.0, r(2, 3), 0.0, Part::Both, Diagonal::Kept, w(3, 3)),
        reference::symm(Side::Left, Triangle::Lower, 1.0, r(2, 2), r(1, 2), 0.0, w(2, 2)),
        reference::lu(w::<f32>(2, 1), &mut [0; 2]),
        reference::cholesky(w::<f32>(2, 1)),
        reference::solve(Side::Left, Triangle::Lower, Diag::Stored, 1.0, r(1, 1), w(2, 2)),
    );
    table.done(6);
}
