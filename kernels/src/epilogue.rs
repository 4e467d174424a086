//! What happens to a finished element of a product, while it is still in a register: bias and activation, scaling and adding, a mask of slopes,
//! an optimiser's update.
//!
//! ```text
//!   chain done:  acc[i][v]  ──►  finish(i, j, acc)  ──►  C[i, j ..]          never: store acc, load it again, change it, store it
//!                                    ▲
//!                      bias[j ..], m[i, j ..], v[i, j ..], y[i, j ..]        read once, beside the store of C
//! ```
//!
//! Every formula stands once, as a function of one word ([`Lanes`]). Register tiles apply it to their accumulators ([`Epilogue`], reached through
//! [`gemm_with`](crate::gemm_with)); the functions over slices here apply it to memory and are the twins that the fused form must equal in every bit.

use crate::simd::portable::Word;
use crate::simd::{Fused, Lanes, shells};
use crate::{Error, Isa, MatMut, MatRef, Real, Unit};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

/// What a register tile does with its finished words.
///
/// # Safety
/// An implementation touches element (i, j) of C and of its own operands only, for the lanes it is given.
pub unsafe trait Epilogue<T: Real>: Sync {
    /// Whether C may hold unfinished chains between blocks of k: C is written, and not read before the last block.
    const C_IS_SCRATCH: bool;
    /// Whether there are tiles with A read by rows, where it lies.
    const BY_ROWS_EXISTS: bool;
    /// Whether there are tiles with A's elements negated.
    const NEGATED_EXISTS: bool;

    /// Finishes the chains of elements (i, j) to (i, j + n − 1); `c` points to the first of them in C. n is V::LEN if WHOLE.
    ///
    /// # Safety
    /// The instruction set of V is there; C and the epilogue's operands hold these elements, nobody else touches them meanwhile.
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize);
}

/// Loads a whole word, or its first `n` elements.
///
/// # Safety
/// As [`Lanes::load`] or [`Lanes::load_first`].
#[inline(always)]
unsafe fn get<T, V: Lanes<T>, const WHOLE: bool>(p: *const T, n: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { V::load(p) } else { V::load_first(p, n) } }
}

/// Stores a whole word, or its first `n` elements.
///
/// # Safety
/// As [`Lanes::store`] or [`Lanes::store_first`].
#[inline(always)]
unsafe fn put<T, V: Lanes<T>, const WHOLE: bool>(word: V, p: *mut T, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { word.store(p) } else { word.store_first(p, n) } }
}

/// An operand of C's shape, as a pointer and a row stride: its columns are neighbours.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Beside<'a, T> {
    first: *mut T,
    rs: isize,
    _life: PhantomData<&'a mut T>,
}

// SAFETY: the pointer comes from a view (`read` and `write` below), and tiles of different threads touch different elements of it.
unsafe impl<T: Sync> Sync for Beside<'_, T> {}

impl<'a, T: Real> Beside<'a, T> {
    /// An operand that is read.
    fn read(what: &'static str, m: MatRef<'a, T>, shape: (usize, usize)) -> Result<Self, Error> {
        m.expect_shape(what, shape)?;
        neighbours(what, m.ncols(), m.cs())?;
        Ok(Self { first: m.as_ptr().cast_mut(), rs: m.rs(), _life: PhantomData })
    }

    /// An operand that is written.
    fn write(what: &'static str, mut m: MatMut<'a, T>, shape: (usize, usize)) -> Result<Self, Error> {
        m.expect_shape(what, shape)?;
        neighbours(what, m.ncols(), m.cs())?;
        Ok(Self { first: m.as_mut_ptr(), rs: m.rs(), _life: PhantomData })
    }

    /// Element (i, j).
    ///
    /// # Safety
    /// The operand has it.
    #[inline(always)]
    unsafe fn at(&self, i: usize, j: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.first.offset(i as isize * self.rs + j as isize) }
    }
}

pub(crate) fn neighbours(what: &'static str, ncols: usize, cs: isize) -> Result<(), Error> {
    if cs == 1 || ncols <= 1 {
        Ok(())
    } else {
        Err(Error::Layout { what, accepted: "neighbouring columns (a column stride of 1)" })
    }
}

/// C takes the chain as it is.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Store;

// SAFETY: writes C alone.
unsafe impl<T: Real> Epilogue<T> for Store {
    const C_IS_SCRATCH: bool = true;
    const BY_ROWS_EXISTS: bool = true;
    const NEGATED_EXISTS: bool = true;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, _i: usize, _j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { put::<T, V, WHOLE>(acc, c, n) }
    }
}

/// `y = f(acc + b)`, and f′ beside it if wanted.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Activate<'a, T> {
    bias: &'a [T],
    unit: Activation<T>,
    slope: Option<Beside<'a, T>>,
}

/// A unit as words compute it.
#[derive(Clone, Copy, Debug)]
enum Activation<T> {
    /// Slope below 0; 1 is the identity, to the bit.
    Bent(T),
    /// Lane by lane, through f64.
    ByLane(Unit),
}

impl<'a, T: Real> Activate<'a, T> {
    pub(crate) fn new(unit: Unit, bias: &'a [T], slope: Option<MatMut<'a, T>>, shape: (usize, usize)) -> Result<Self, Error> {
        unit.check::<T>()?;
        if bias.len() != shape.1 {
            return Err(Error::Shape { what: "the bias", expected: (1, shape.1), found: (1, bias.len()) });
        }
        let slope = slope.map(|s| Beside::write("the slopes", s, shape)).transpose()?;
        let unit = match unit {
            Unit::Identity => Activation::Bent(T::ONE),
            Unit::LeakyRelu { slope } => Activation::Bent(T::from_f64(slope)),
            other => Activation::ByLane(other),
        };
        Ok(Self { bias, unit, slope })
    }
}

/// f and f′ of every lane.
///
/// # Safety
/// The instruction set of V is there.
#[inline(always)]
unsafe fn activate_word<T: Real, V: Lanes<T>>(unit: Activation<T>, h: V) -> (V, V) {
    // SAFETY: the caller's promise.
    unsafe {
        match unit {
            Activation::Bent(slope) => {
                let slope = h.if_negative(V::splat(slope), V::splat(T::ONE));
                (slope.mul(h), slope)
            }
            Activation::ByLane(unit) => by_lane(unit, h),
        }
    }
}

/// Out of line: it is long, and every word of every tile would hold a copy.
///
/// # Safety
/// The instruction set of V is there.
#[inline(never)]
unsafe fn by_lane<T: Real, V: Lanes<T>>(unit: Unit, h: V) -> (V, V) {
    const MOST: usize = 16;
    assert!(V::LEN <= MOST);
    let (mut y, mut slope) = ([T::ZERO; MOST], [T::ZERO; MOST]);
    // SAFETY: the arrays hold at least V::LEN elements, asserted above.
    unsafe {
        h.store(y.as_mut_ptr());
        for (y, slope) in y.iter_mut().zip(&mut slope).take(V::LEN) {
            (*y, *slope) = unit.apply(*y);
        }
        (V::load(y.as_ptr()), V::load(slope.as_ptr()))
    }
}

// SAFETY: writes C and the slopes at the elements it is given, reads the bias of their columns.
unsafe impl<T: Real> Epilogue<T> for Activate<'_, T> {
    const C_IS_SCRATCH: bool = true;
    const BY_ROWS_EXISTS: bool = true;
    const NEGATED_EXISTS: bool = false;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the bias has as many elements as C has columns, checked in `new`; the rest is the caller's promise.
        unsafe {
            let h = acc.add(get::<T, V, WHOLE>(self.bias.as_ptr().add(j), n));
            let (y, slope) = activate_word(self.unit, h);
            put::<T, V, WHOLE>(y, c, n);
            if let Some(place) = &self.slope {
                put::<T, V, WHOLE>(slope, place.at(i, j), n);
            }
        }
    }
}

/// `C = fma(scale, acc, weight · Z)`.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct ScaleAdd<'a, T> {
    scale: T,
    weight: T,
    add: Beside<'a, T>,
}

impl<'a, T: Real> ScaleAdd<'a, T> {
    pub(crate) fn new(scale: T, weight: T, add: MatRef<'a, T>, shape: (usize, usize)) -> Result<Self, Error> {
        Ok(Self { scale, weight, add: Beside::read("the matrix to be added", add, shape)? })
    }
}

// SAFETY: writes C and reads Z at the elements it is given.
unsafe impl<T: Real> Epilogue<T> for ScaleAdd<'_, T> {
    const C_IS_SCRATCH: bool = true;
    const BY_ROWS_EXISTS: bool = false;
    const NEGATED_EXISTS: bool = false;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let z = get::<T, V, WHOLE>(self.add.at(i, j), n);
            put::<T, V, WHOLE>(V::splat(self.scale).mul_add(acc, V::splat(self.weight).mul(z)), c, n);
        }
    }
}

/// `C = f′(h) ∘ acc`, with f′ from y or, where the unit keeps it, from where it is kept.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct SlopeMask<'a, T> {
    /// Slope below 0, to be decided by y; or none, and `at` holds the slopes themselves.
    bent: Option<T>,
    at: Beside<'a, T>,
}

impl<'a, T: Real> SlopeMask<'a, T> {
    pub(crate) fn new(unit: Unit, y: MatRef<'a, T>, slope: Option<MatRef<'a, T>>, shape: (usize, usize)) -> Result<Self, Error> {
        unit.check::<T>()?;
        let kept = crate::perturb::kept_slope(unit, slope, y)?;
        let bent = match unit {
            Unit::Identity => Some(T::ONE),
            Unit::LeakyRelu { slope } => Some(T::from_f64(slope)),
            _ => None,
        };
        Ok(Self { bent, at: Beside::read("the activity", kept, shape)? })
    }
}

// SAFETY: writes C and reads the activity at the elements it is given.
unsafe impl<T: Real> Epilogue<T> for SlopeMask<'_, T> {
    const C_IS_SCRATCH: bool = true;
    const BY_ROWS_EXISTS: bool = true;
    const NEGATED_EXISTS: bool = false;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let y = get::<T, V, WHOLE>(self.at.at(i, j), n);
            let slope = if let Some(bent) = self.bent { y.if_negative(V::splat(bent), V::splat(T::ONE)) } else { y };
            put::<T, V, WHOLE>(slope.mul(acc), c, n);
        }
    }
}

/// An optimiser's update of C = θ by Δ = acc, with up to two moments.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Update<'a, T, U> {
    rule: U,
    /// Operands that the rule has no use for point at θ.
    m: Beside<'a, T>,
    v: Beside<'a, T>,
    broken: &'a AtomicBool,
}

impl<'a, T: Real, U: UpdateRule<T>> Update<'a, T, U> {
    pub(crate) fn new(
        rule: U,
        moments: [Option<MatMut<'a, T>>; 2],
        c: &mut MatMut<'a, T>,
        broken: &'a AtomicBool,
    ) -> Result<Self, Error> {
        let shape = c.shape();
        let unused = Beside { first: c.as_mut_ptr(), rs: c.rs(), _life: PhantomData };
        let place = |m: Option<MatMut<'a, T>>| m.map_or(Ok(unused), |m| Beside::write("a moment", m, shape));
        let [m, v] = moments;
        Ok(Self { rule, m: place(m)?, v: place(v)?, broken })
    }
}

// SAFETY: reads and writes C and the moments at the elements it is given.
unsafe impl<T: Real, U: UpdateRule<T>> Epilogue<T> for Update<'_, T, U> {
    const C_IS_SCRATCH: bool = false;
    const BY_ROWS_EXISTS: bool = false;
    const NEGATED_EXISTS: bool = false;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let (at_m, at_v) = (self.m.at(i, j), self.v.at(i, j));
            let theta = get::<T, V, WHOLE>(c, n);
            let m = if U::MOMENTS > 0 { get::<T, V, WHOLE>(at_m, n) } else { theta };
            let v = if U::MOMENTS > 1 { get::<T, V, WHOLE>(at_v, n) } else { theta };
            let new = self.rule.word(theta, m, v, acc);
            put::<T, V, WHOLE>(new.theta, c, n);
            if U::MOMENTS > 0 {
                put::<T, V, WHOLE>(new.m, at_m, n);
            }
            if U::MOMENTS > 1 {
                put::<T, V, WHOLE>(new.v, at_v, n);
            }
            if !finite::<T, V, U, WHOLE>(&new, c, at_v, n) {
                self.broken.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// A word of new parameters and moments.
#[derive(Clone, Copy)]
pub struct Updated<V> {
    theta: V,
    m: V,
    v: V,
}

/// Whether θ and, where there is one, v are finite in the lanes that were stored: in the others anything may have come of zeros.
///
/// # Safety
/// The instruction set of V is there; `theta` and `v` hold the n elements just stored.
#[inline(always)]
unsafe fn finite<T: Real, V: Lanes<T>, U: UpdateRule<T>, const WHOLE: bool>(
    new: &Updated<V>,
    theta: *const T,
    v: *const T,
    n: usize,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let infinity = V::splat(T::from_f64(f64::INFINITY));
        let stored = |word: V, at: *const T| if WHOLE { word } else { V::load_first(at, n) };
        stored(new.theta, theta).all_finite(infinity) && (U::MOMENTS < 2 || stored(new.v, v).all_finite(infinity))
    }
}

/// An optimiser's formula, a word at a time.
pub trait UpdateRule<T: Real>: Copy + Sync {
    /// How many moments it keeps: 0, 1 (m) or 2 (m and v).
    const MOMENTS: usize;
    /// New parameters and moments; what the rule does not keep comes back as anything.
    ///
    /// # Safety
    /// The instruction set of V is there.
    unsafe fn word<V: Lanes<T>>(&self, theta: V, m: V, v: V, delta: V) -> Updated<V>;
}

/// `y ← f(h + b)` in place, and f′ into `slope` if wanted.
///
/// Shapes: `h` batch×n, `bias` n, `slope` batch×n.
///
/// # Errors
/// [`Error::Shape`]; [`Error::Parameter`] for a unit that has no inverse.
pub fn bias_activate<T: Real>(
    unit: Unit,
    h: MatMut<'_, T>,
    bias: &[T],
    slope: Option<MatMut<'_, T>>,
    isa: Isa,
) -> Result<(), Error> {
    unit.check::<T>()?;
    let n = h.ncols();
    if bias.len() != n {
        return Err(Error::Shape { what: "the bias", expected: (1, n), found: (1, bias.len()) });
    }
    match slope {
        Some(slope) => {
            slope.expect_shape("the slopes", h.shape())?;
            activate_keep(isa, unit, h, bias, slope);
        }
        None => activate(isa, unit, h, bias),
    }
    Ok(())
}

shells! {
    fn activate = activate_body(unit: Unit, h: MatMut<'_, T>, bias: &[T])
}

#[inline(always)]
fn activate_body<T: Real, M: Fused>(unit: Unit, mut h: MatMut<'_, T>, bias: &[T]) {
    for i in 0..h.nrows() {
        if let Some(row) = h.row_mut(i) {
            for (h, &b) in row.iter_mut().zip(bias) {
                *h = unit.apply(*h + b).0;
            }
        } else {
            for (j, &b) in bias.iter().enumerate() {
                let y = unit.apply(h.get(i, j) + b).0;
                h.set(i, j, y);
            }
        }
    }
}

shells! {
    fn activate_keep = activate_keep_body(unit: Unit, h: MatMut<'_, T>, bias: &[T], slope: MatMut<'_, T>)
}

#[inline(always)]
fn activate_keep_body<T: Real, M: Fused>(unit: Unit, mut h: MatMut<'_, T>, bias: &[T], mut slope: MatMut<'_, T>) {
    for i in 0..h.nrows() {
        for (j, &b) in bias.iter().enumerate() {
            let (y, d) = unit.apply(h.get(i, j) + b);
            h.set(i, j, y);
            slope.set(i, j, d);
        }
    }
}

/// Adam's constants, already of the element type.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    /// Learning rate η (with any bias correction of m already in it).
    pub rate: T,
    /// β1 of the first moment, and its complement.
    pub beta1: (T, T),
    /// β2 of the second moment, and its complement.
    pub beta2: (T, T),
    /// ε.
    pub epsilon: T,
    /// What √v is multiplied by before ε is added: 1, or the bias correction 1/√(1 − β2^t).
    pub correction: T,
}

/// One Adam step along the descent direction `delta`, with moments `m` and `v`:
///
/// ```text
/// m ← (1−β1) Δ + β1 m        v ← (1−β2) Δ² + β2 v        θ ← θ + rate · m / (ε + correction·√v)
/// ```
///
/// Returns whether every new parameter and second moment is finite (with an infinite second moment a weight would never move again).
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn adam<T: Real>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), v.len(), delta.len()])?;
    Ok(adam_all(isa, step, theta, m, v, delta))
}

shells! {
    fn adam_all = adam_body(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn adam_body<T: Real, M: Fused>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    over_slices(step, theta, m, v, delta)
}

impl<T: Real> UpdateRule<T> for AdamStep<T> {
    const MOMENTS: usize = 2;

    #[inline(always)]
    unsafe fn word<V: Lanes<T>>(&self, theta: V, m: V, v: V, delta: V) -> Updated<V> {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let m = V::splat(self.beta1.1).mul(delta).add(V::splat(self.beta1.0).mul(m));
            let v = V::splat(self.beta2.1).mul(delta.mul(delta)).add(V::splat(self.beta2.0).mul(v));
            let size = V::splat(self.epsilon).add(V::splat(self.correction).mul(v.sqrt()));
            let theta = theta.add(V::splat(self.rate).mul(m).div(size));
            Updated { theta, m, v }
        }
    }
}

/// A rule's formula over slices of equal length; returns whether everything watched stayed finite. Moments that the rule does not keep are
/// empty.
#[inline(always)]
fn over_slices<T: Real, U: UpdateRule<T>>(rule: U, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    const AT_ONCE: usize = 8;
    let len = theta.len();
    assert!(delta.len() == len && (U::MOMENTS == 0 || m.len() == len) && (U::MOMENTS < 2 || v.len() == len));
    let mut all = true;
    let mut from = 0;
    while from < len {
        let n = AT_ONCE.min(len - from);
        // SAFETY: arrays of elements need no instruction set; n ≤ AT_ONCE elements from `from` on lie in each slice that is read or
        // written, by the assertion above.
        unsafe {
            macro_rules! pass {
                ($whole:literal) => {{
                    let at = |p: &mut [T]| p.as_mut_ptr().wrapping_add(from);
                    let load = |p: *const T| get::<T, Word<T, AT_ONCE>, $whole>(p, n);
                    let old = load(at(theta));
                    let old_m = if U::MOMENTS > 0 { load(at(m)) } else { old };
                    let old_v = if U::MOMENTS > 1 { load(at(v)) } else { old };
                    let new = rule.word(old, old_m, old_v, load(delta.as_ptr().wrapping_add(from)));
                    put::<T, _, $whole>(new.theta, at(theta), n);
                    if U::MOMENTS > 0 {
                        put::<T, _, $whole>(new.m, at(m), n);
                    }
                    if U::MOMENTS > 1 {
                        put::<T, _, $whole>(new.v, at(v), n);
                    }
                    all &= finite::<T, _, U, $whole>(&new, at(theta), at(v), n);
                }};
            }
            if n == AT_ONCE { pass!(true) } else { pass!(false) }
        }
        from += n;
    }
    all
}

/// One step of gradient descent along `delta` with momentum: `m ← μ m + Δ`, `θ ← θ + η m`.
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn momentum<T: Real>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[m.len(), delta.len()])?;
    Ok(momentum_all(isa, rate, mu, theta, m, delta))
}

shells! {
    fn momentum_all = momentum_body(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn momentum_body<T: Real, M: Fused>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool {
    over_slices(Momentum { rate, mu }, theta, m, &mut [], delta)
}

/// Gradient descent with momentum, as a rule for tiles.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Momentum<T> {
    pub(crate) rate: T,
    pub(crate) mu: T,
}

impl<T: Real> UpdateRule<T> for Momentum<T> {
    const MOMENTS: usize = 1;

    #[inline(always)]
    unsafe fn word<V: Lanes<T>>(&self, theta: V, m: V, _v: V, delta: V) -> Updated<V> {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let m = V::splat(self.mu).mul(m).add(delta);
            let theta = theta.add(V::splat(self.rate).mul(m));
            Updated { theta, m, v: m }
        }
    }
}

/// One step of plain gradient descent: `θ ← θ + η Δ`.
///
/// Returns whether every new parameter is finite.
///
/// # Errors
/// [`Error::Shape`] if the lengths differ; nothing has then changed.
pub fn descend<T: Real>(rate: T, theta: &mut [T], delta: &[T], isa: Isa) -> Result<bool, Error> {
    same_length(theta.len(), &[delta.len()])?;
    Ok(descend_all(isa, rate, theta, delta))
}

shells! {
    fn descend_all = descend_body(rate: T, theta: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn descend_body<T: Real, M: Fused>(rate: T, theta: &mut [T], delta: &[T]) -> bool {
    over_slices(Descend { rate }, theta, &mut [], &mut [], delta)
}

/// Plain gradient descent, as a rule for tiles.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Descend<T> {
    pub(crate) rate: T,
}

impl<T: Real> UpdateRule<T> for Descend<T> {
    const MOMENTS: usize = 0;

    #[inline(always)]
    unsafe fn word<V: Lanes<T>>(&self, theta: V, _m: V, _v: V, delta: V) -> Updated<V> {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let theta = theta.add(V::splat(self.rate).mul(delta));
            Updated { theta, m: theta, v: theta }
        }
    }
}

fn same_length(n: usize, others: &[usize]) -> Result<(), Error> {
    match others.iter().find(|&&other| other != n) {
        None => Ok(()),
        Some(&found) => Err(Error::Shape { what: "an optimiser's operand", expected: (1, n), found: (1, found) }),
    }
}
