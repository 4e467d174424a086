//! Layers: products whose finished elements pass through bias and activation, or an optimizer.

use crate::context::{Call, enter, gaitprop_context};
use crate::packed::{Packed, gaitprop_dpacked, gaitprop_spacked, panels};
use crate::status::{Failure, gaitprop_status};
use crate::types::{
    gaitprop_activation, gaitprop_dadam_step, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_sadam_step, gaitprop_smat,
    gaitprop_smat_mut,
};
use crate::view::Mat;
use gaitprop_kernels::{Epilogue, MatRef, Real, Rhs, Scalar, Start, Update, epilogue, gemm_with};

/// Computes a layer's activity y = f(x*W + bias), and f' of it into *slope unless slope is NULL.
///
/// x is batch x k, w is k x n, bias has n elements. y and *slope are batch x n with contiguous rows
/// (cs = 1).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slinear_forward(
    ctx: *mut gaitprop_context,
    x: gaitprop_smat,
    w: gaitprop_smat,
    bias: *const f32,
    f: gaitprop_activation,
    y: gaitprop_smat_mut,
    slope: *const gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        forward(
            ctx,
            x.into(),
            Right::<gaitprop_spacked>::Matrix(w.into()),
            (bias, f),
            y.into(),
            slope.as_ref().map(|s| (*s).into()),
        )
    }
}

/// gaitprop_slinear_forward() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlinear_forward(
    ctx: *mut gaitprop_context,
    x: gaitprop_dmat,
    w: gaitprop_dmat,
    bias: *const f64,
    f: gaitprop_activation,
    y: gaitprop_dmat_mut,
    slope: *const gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        forward(
            ctx,
            x.into(),
            Right::<gaitprop_dpacked>::Matrix(w.into()),
            (bias, f),
            y.into(),
            slope.as_ref().map(|s| (*s).into()),
        )
    }
}
/// gaitprop_slinear_forward() for weights that gaitprop_spack() has packed for x*W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slinear_forward_packed(
    ctx: *mut gaitprop_context,
    x: gaitprop_smat,
    w: *const gaitprop_spacked,
    bias: *const f32,
    f: gaitprop_activation,
    y: gaitprop_smat_mut,
    slope: *const gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { forward(ctx, x.into(), Right::Packed(w), (bias, f), y.into(), slope.as_ref().map(|s| (*s).into())) }
}

/// gaitprop_slinear_forward_packed() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlinear_forward_packed(
    ctx: *mut gaitprop_context,
    x: gaitprop_dmat,
    w: *const gaitprop_dpacked,
    bias: *const f64,
    f: gaitprop_activation,
    y: gaitprop_dmat_mut,
    slope: *const gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { forward(ctx, x.into(), Right::Packed(w), (bias, f), y.into(), slope.as_ref().map(|s| (*s).into())) }
}

/// The weights of a layer.
enum Right<P: Packed> {
    Matrix(Mat<P::Element>),
    Packed(*const P),
}

/// # Safety
/// As [`enter`], for NULL or live packed weights.
unsafe fn forward<P: Packed>(
    ctx: *mut gaitprop_context,
    x: Mat<P::Element>,
    w: Right<P>,
    (bias, f): (*const P::Element, gaitprop_activation),
    y: Mat<P::Element>,
    slope: Option<Mat<P::Element>>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let w: Rhs<'_, _> = match w {
                Right::Matrix(w) => call.read("W", w)?.into(),
                Right::Packed(w) => panels(w, false)?.into(),
            };
            let bias = call.read_slice("bias", bias, y.cols)?;
            let (x, y, slope) = (call.read("x", x)?, call.write("y", y)?, call.write_if("slope", slope)?);
            let finish = Epilogue::Activate { activation: f.function()?, bias, slope };
            gemm_with(P::Element::ONE, x, w, Start::Zero, y, finish, call.plan, call.scratch)?;
            Ok(())
        })
    }
}
/// Moves weights along a gradient: W = W + rate*D with D = start + mean*x^T*delta.
///
/// x is batch x k, delta is batch x n. *start (k x n) is a direction to begin with, of a
/// regularizer for example; NULL stands for 0. w is k x n. D is stored nowhere. w and *start have
/// contiguous rows (cs = 1).
///
/// Returns GAITPROP_NOT_FINITE if a new weight is infinite or NaN. All weights have then been
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slinear_descend(
    ctx: *mut gaitprop_context,
    mean: f32,
    x: gaitprop_smat,
    delta: gaitprop_smat,
    start: *const gaitprop_smat,
    rate: f32,
    w: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { update(ctx, Gradient::new(mean, x, delta, start.as_ref().copied()), w.into(), Rule::Descend { rate }) }
}

/// gaitprop_slinear_descend() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlinear_descend(
    ctx: *mut gaitprop_context,
    mean: f64,
    x: gaitprop_dmat,
    delta: gaitprop_dmat,
    start: *const gaitprop_dmat,
    rate: f64,
    w: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { update(ctx, Gradient::new(mean, x, delta, start.as_ref().copied()), w.into(), Rule::Descend { rate }) }
}
/// Moves weights by momentum: m = mu*m + D, W = W + rate*m, with D of gaitprop_slinear_descend().
///
/// m is k x n with contiguous rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slinear_momentum(
    ctx: *mut gaitprop_context,
    mean: f32,
    x: gaitprop_smat,
    delta: gaitprop_smat,
    start: *const gaitprop_smat,
    rate: f32,
    mu: f32,
    m: gaitprop_smat_mut,
    w: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        update(ctx, Gradient::new(mean, x, delta, start.as_ref().copied()), w.into(), Rule::Momentum { rate, mu, m: m.into() })
    }
}

/// gaitprop_slinear_momentum() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlinear_momentum(
    ctx: *mut gaitprop_context,
    mean: f64,
    x: gaitprop_dmat,
    delta: gaitprop_dmat,
    start: *const gaitprop_dmat,
    rate: f64,
    mu: f64,
    m: gaitprop_dmat_mut,
    w: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        update(ctx, Gradient::new(mean, x, delta, start.as_ref().copied()), w.into(), Rule::Momentum { rate, mu, m: m.into() })
    }
}
/// Moves weights by Adam, as gaitprop_sadam() does, with D of gaitprop_slinear_descend().
///
/// m and v are k x n with contiguous rows. Returns GAITPROP_NOT_FINITE also for a second moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_slinear_adam(
    ctx: *mut gaitprop_context,
    mean: f32,
    x: gaitprop_smat,
    delta: gaitprop_smat,
    start: *const gaitprop_smat,
    step: gaitprop_sadam_step,
    m: gaitprop_smat_mut,
    v: gaitprop_smat_mut,
    w: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        update(
            ctx,
            Gradient::new(mean, x, delta, start.as_ref().copied()),
            w.into(),
            Rule::Adam { step: step.into(), m: m.into(), v: v.into() },
        )
    }
}

/// gaitprop_slinear_adam() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dlinear_adam(
    ctx: *mut gaitprop_context,
    mean: f64,
    x: gaitprop_dmat,
    delta: gaitprop_dmat,
    start: *const gaitprop_dmat,
    step: gaitprop_dadam_step,
    m: gaitprop_dmat_mut,
    v: gaitprop_dmat_mut,
    w: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe {
        update(
            ctx,
            Gradient::new(mean, x, delta, start.as_ref().copied()),
            w.into(),
            Rule::Adam { step: step.into(), m: m.into(), v: v.into() },
        )
    }
}

/// The descent direction start + mean·xᵀ·δ.
struct Gradient<T> {
    mean: T,
    x: Mat<T>,
    delta: Mat<T>,
    start: Option<Mat<T>>,
}

impl<T> Gradient<T> {
    fn new<M: Into<Mat<T>>>(mean: T, x: M, delta: M, start: Option<M>) -> Self {
        Self { mean, x: x.into(), delta: delta.into(), start: start.map(Into::into) }
    }
}

/// An optimizer with its moments.
enum Rule<T> {
    Descend { rate: T },
    Momentum { rate: T, mu: T, m: Mat<T> },
    Adam { step: epilogue::AdamStep<T>, m: Mat<T>, v: Mat<T> },
}

impl<T: Real> Rule<T> {
    fn read<'a>(self, call: &mut Call<'a>) -> Result<Update<'a, T>, Failure> {
        Ok(match self {
            Self::Descend { rate } => Update::Descend { rate },
            Self::Momentum { rate, mu, m } => Update::Momentum { rate, mu, m: call.write("m", m)? },
            Self::Adam { step, m, v } => Update::Adam { step, m: call.write("m", m)?, v: call.write("v", v)? },
        })
    }
}

/// # Safety
/// As [`enter`].
unsafe fn update<T: Real>(ctx: *mut gaitprop_context, along: Gradient<T>, w: Mat<T>, rule: Rule<T>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (x, delta) = (call.read("x", along.x)?, call.read("delta", along.delta)?);
            let start = call.read_if("start", along.start)?.map_or(Start::Zero, |s: MatRef<'_, T>| Start::From(T::ONE, s));
            let w = call.write("W", w)?;
            let through = Epilogue::Update(rule.read(call)?);
            let finite = gemm_with(along.mean, x.t(), delta, start, w, through, call.plan, call.scratch)?;
            if finite { Ok(()) } else { Err(Failure::Diverged) }
        })
    }
}
/// Computes y = f(h + bias) in place in h (batch x n), and f' into *slope unless slope is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sbias_activate(
    ctx: *mut gaitprop_context,
    h: gaitprop_smat_mut,
    bias: *const f32,
    f: gaitprop_activation,
    slope: *const gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { bias_activate(ctx, h.into(), (bias, f), slope.as_ref().map(|s| (*s).into())) }
}

/// gaitprop_sbias_activate() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dbias_activate(
    ctx: *mut gaitprop_context,
    h: gaitprop_dmat_mut,
    bias: *const f64,
    f: gaitprop_activation,
    slope: *const gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { bias_activate(ctx, h.into(), (bias, f), slope.as_ref().map(|s| (*s).into())) }
}

/// # Safety
/// As [`enter`].
unsafe fn bias_activate<T: Real>(
    ctx: *mut gaitprop_context,
    h: Mat<T>,
    (bias, f): (*const T, gaitprop_activation),
    slope: Option<Mat<T>>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let bias = call.read_slice("bias", bias, h.cols)?;
            let (h, slope) = (call.write("h", h)?, call.write_if("slope", slope)?);
            Ok(epilogue::bias_activate(f.function()?, h, bias, slope, call.plan.isa)?)
        })
    }
}
