//! What happens to a finished element of a product, while it is still in a register: bias and activation, scaling and adding, a mask of slopes. And
//! optimisers' updates, which take a product block by block (`gemm/update.rs`).
//!
//! ```text
//!   chain done:  acc[i][v]  ──►  finish(i, j, acc)  ──►  C[i, j ..]          never: store acc, load it again, change it, store it
//!                                    ▲
//!                      bias[j ..], y[i, j ..]                                read once, beside the store of C
//! ```
//!
//! Every formula stands once, as a function of one word (`Lanes`). Register tiles apply it to their accumulators (`Epilogue`, reached through
//! [`gemm_with`](crate::gemm_with)); the functions over slices here apply it to memory and are the twins that the fused form must equal in every bit.

use crate::simd::{Lanes, shells};
use crate::{Error, Isa, MatMut, MatRef, Real, Unit};
use core::marker::PhantomData;

/// What a register tile does with its finished words.
///
/// # Safety
/// An implementation touches element (i, j) of C and of its own operands only, for the lanes it is given.
pub unsafe trait Epilogue<T: Real>: Sync {
    /// Whether there are tiles with A read by rows, where it lies.
    const BY_ROWS_EXISTS: bool = false;
    /// Whether there are tiles with A's elements negated.
    const NEGATED_EXISTS: bool = false;
    /// A tile of up to so many words holds a copy of `finish` for each of them. A larger one has a loop over words that have left the registers: the
    /// compiler would not unroll it, and index the accumulators in memory all along the chain.
    const INLINE_WORDS: usize = 12;

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

    /// Elements (i, j) to (i, j + n − 1).
    ///
    /// # Safety
    /// The operand was made by [`Beside::write`] and has them; nobody else reaches them meanwhile.
    #[allow(clippy::mut_from_ref)] // that is what the contract is for
    pub(crate) unsafe fn row(&self, i: usize, j: usize, n: usize) -> &mut [T] {
        // SAFETY: the caller's promise; neighbours by construction.
        unsafe { core::slice::from_raw_parts_mut(self.at(i, j), n) }
    }

    /// An operand that is written.
    pub(crate) fn write(what: &'static str, mut m: MatMut<'a, T>, shape: (usize, usize)) -> Result<Self, Error> {
        m.expect_shape(what, shape)?;
        neighbours(what, m.ncols(), m.cs())?;
        Ok(Self { first: m.as_mut_ptr(), rs: m.rs(), _life: PhantomData })
    }

    /// Where element (i, j) is, if the operand has it.
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> *mut T {
        // Wrapping: behind the last row this may point anywhere, and nobody reads there.
        self.first.wrapping_offset(i as isize * self.rs + j as isize)
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
    const BY_ROWS_EXISTS: bool = true;
    const NEGATED_EXISTS: bool = true;
    const INLINE_WORDS: usize = 32;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, _i: usize, _j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { put::<T, V, WHOLE>(acc, c, n) }
    }
}

/// `y = f(acc + b)`, and f′ beside it if wanted, for units of two straight halves ([`bent`]); for the others `acc + b`.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Activate<'a, T> {
    bias: &'a [T],
    /// Slope below 0; 1 is the identity, to the bit.
    below: T,
    slope: Option<Beside<'a, T>>,
}

impl<'a, T: Real> Activate<'a, T> {
    pub(crate) fn new(unit: Unit, bias: &'a [T], slope: Option<MatMut<'a, T>>, shape: (usize, usize)) -> Result<Self, Error> {
        unit.check::<T>()?;
        if bias.len() != shape.1 {
            return Err(Error::Shape { what: "the bias", expected: (1, shape.1), found: (1, bias.len()) });
        }
        let slope = slope.map(|s| Beside::write("the slopes", s, shape)).transpose()?;
        Ok(Self { bias, below: bent(unit).unwrap_or(T::ONE), slope })
    }
}

/// The slope below 0 of a unit of two straight halves (the identity has 1); `None` for the others, which go element by element.
pub(crate) fn bent<T: Real>(unit: Unit) -> Option<T> {
    match unit {
        Unit::Identity => Some(T::ONE),
        Unit::LeakyRelu { slope } => Some(T::from_f64(slope)),
        _ => None,
    }
}

// SAFETY: writes C and the slopes at the elements it is given, reads the bias of their columns.
unsafe impl<T: Real> Epilogue<T> for Activate<'_, T> {
    const BY_ROWS_EXISTS: bool = true;

    #[inline(always)]
    unsafe fn finish<V: Lanes<T>, const WHOLE: bool>(&self, i: usize, j: usize, acc: V, c: *mut T, n: usize) {
        // SAFETY: the bias has as many elements as C has columns, checked in `new`; the rest is the caller's promise.
        unsafe {
            let h = acc.add(get::<T, V, WHOLE>(self.bias.as_ptr().add(j), n));
            let slope = h.if_negative(V::splat(self.below), V::splat(T::ONE));
            put::<T, V, WHOLE>(slope.mul(h), c, n);
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
        Ok(Self { bent: bent(unit), at: Beside::read("the activity", kept, shape)? })
    }
}

// SAFETY: writes C and reads the activity at the elements it is given.
unsafe impl<T: Real> Epilogue<T> for SlopeMask<'_, T> {
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

/// A word of new parameters and moments.
#[derive(Clone, Copy)]
struct Updated<V> {
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
trait UpdateRule<T: Real>: Copy + Sync {
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
/// Shapes: `h` batch×n, `bias` n, `slope` batch×n; any strides, fastest where columns are neighbours.
///
/// # Errors
/// [`Error::Shape`]; [`Error::Parameter`] for a unit that has no inverse.
pub fn bias_activate<T: Real>(
    unit: Unit,
    mut h: MatMut<'_, T>,
    bias: &[T],
    slope: Option<MatMut<'_, T>>,
    isa: Isa,
) -> Result<(), Error> {
    let spread = |m: &MatMut<'_, T>| m.cs() != 1 && m.ncols() > 1;
    if bent::<T>(unit).is_some() && !spread(&h) && !slope.as_ref().is_some_and(spread) {
        let finish = Activate::new(unit, bias, slope, h.shape())?;
        // Rows of nothing may be any number.
        if !h.is_empty() {
            activate(isa, &finish, h);
        }
        return Ok(());
    }
    Activate::new(unit, bias, None, h.shape())?;
    if let Some(slope) = &slope {
        slope.expect_shape("the slopes", h.shape())?;
    }
    if h.is_empty() {
        return Ok(());
    }
    for i in 0..h.nrows() {
        for (j, &b) in bias.iter().enumerate() {
            let before = h.get(i, j) + b;
            h.set(i, j, before);
        }
    }
    by_element(unit, h, slope);
    Ok(())
}

/// `y ← f(h)` in place and f′ beside it, element by element.
pub(crate) fn by_element<T: Real>(unit: Unit, mut h: MatMut<'_, T>, mut slope: Option<MatMut<'_, T>>) {
    for i in 0..h.nrows() {
        for j in 0..h.ncols() {
            let (y, d) = unit.apply(h.get(i, j));
            h.set(i, j, y);
            if let Some(slope) = &mut slope {
                slope.set(i, j, d);
            }
        }
    }
}

shells! { words
    fn activate = activate_body(finish: &Activate<'_, T>, h: MatMut<'_, T>)
}

#[inline(always)]
fn activate_body<T: Real, V: Lanes<T>>(finish: &Activate<'_, T>, mut h: MatMut<'_, T>) {
    for i in 0..h.nrows() {
        let row = h.row_mut(i).expect("neighbours: checked by the caller");
        for j in (0..row.len()).step_by(V::LEN) {
            let n = V::LEN.min(row.len() - j);
            let at = row[j..].as_mut_ptr();
            // SAFETY: the body runs in the shell of V's instruction set; n elements of the row, of the bias and of the slopes start at j.
            unsafe {
                if n == V::LEN {
                    finish.finish::<V, true>(i, j, V::load(at), at, n);
                } else {
                    finish.finish::<V, false>(i, j, V::load_first(at, n), at, n);
                }
            }
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

shells! { words
    pub(crate) fn adam_all = adam_body(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn adam_body<T: Real, V: Lanes<T>>(step: AdamStep<T>, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(step, theta, m, v, delta)
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
fn over_slices<T: Real, V: Lanes<T>, U: UpdateRule<T>>(rule: U, theta: &mut [T], m: &mut [T], v: &mut [T], delta: &[T]) -> bool {
    let len = theta.len();
    assert!(delta.len() == len && (U::MOMENTS == 0 || m.len() == len) && (U::MOMENTS < 2 || v.len() == len));
    let mut finite = true;
    for j in (0..len).step_by(V::LEN) {
        let n = V::LEN.min(len - j);
        let at = |x: *mut T| x.wrapping_add(j);
        let (theta, m, v) = (at(theta.as_mut_ptr()), at(m.as_mut_ptr()), at(v.as_mut_ptr()));
        // SAFETY: the body runs in the shell of V's instruction set; elements j .. j + n lie in every slice that the rule uses, by the
        // assertion above, and n is V::LEN in the first case.
        unsafe {
            let delta = delta.as_ptr().add(j);
            finite &= if n == V::LEN {
                one_word::<T, V, U, true>(rule, theta, m, v, delta, n)
            } else {
                one_word::<T, V, U, false>(rule, theta, m, v, delta, n)
            };
        }
    }
    finite
}

/// # Safety
/// The instruction set of V is there; n elements are at each place that the rule uses, V::LEN if WHOLE.
#[inline(always)]
unsafe fn one_word<T: Real, V: Lanes<T>, U: UpdateRule<T>, const WHOLE: bool>(
    rule: U,
    at: *mut T,
    at_m: *mut T,
    at_v: *mut T,
    delta: *const T,
    n: usize,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let (theta, delta) = (get::<T, V, WHOLE>(at, n), get::<T, V, WHOLE>(delta, n));
        let m = if U::MOMENTS > 0 { get::<T, V, WHOLE>(at_m, n) } else { theta };
        let v = if U::MOMENTS > 1 { get::<T, V, WHOLE>(at_v, n) } else { theta };
        let new = rule.word(theta, m, v, delta);
        put::<T, V, WHOLE>(new.theta, at, n);
        if U::MOMENTS > 0 {
            put::<T, V, WHOLE>(new.m, at_m, n);
        }
        if U::MOMENTS > 1 {
            put::<T, V, WHOLE>(new.v, at_v, n);
        }
        finite::<T, V, U, WHOLE>(&new, at, at_v, n)
    }
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

shells! { words
    pub(crate) fn momentum_all = momentum_body(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn momentum_body<T: Real, V: Lanes<T>>(rate: T, mu: T, theta: &mut [T], m: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(Momentum { rate, mu }, theta, m, &mut [], delta)
}

/// Gradient descent with momentum, as a rule.
#[derive(Clone, Copy, Debug)]
struct Momentum<T> {
    rate: T,
    mu: T,
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

shells! { words
    pub(crate) fn descend_all = descend_body(rate: T, theta: &mut [T], delta: &[T]) -> bool
}

#[inline(always)]
fn descend_body<T: Real, V: Lanes<T>>(rate: T, theta: &mut [T], delta: &[T]) -> bool {
    over_slices::<T, V, _>(Descend { rate }, theta, &mut [], &mut [], delta)
}

/// Plain gradient descent, as a rule.
#[derive(Clone, Copy, Debug)]
struct Descend<T> {
    rate: T,
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
