//! Perturbations, weighed errors, and optimizer steps over contiguous elements.

use crate::context::{enter, gaitprop_context};
use crate::status::{Failure, gaitprop_status};
use crate::types::{
    gaitprop_activation, gaitprop_dadam_step, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_perturbation, gaitprop_sadam_step,
    gaitprop_smat, gaitprop_smat_mut,
};
use crate::view::Mat;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::{Real, perturb};

/// Carries a small change of a layer's activity back through its activation function.
///
/// For the activity y = f(h), the slope D = f'(h), the error e and the direction phi of
/// p.weighting:
///
///     r     = [f^-1(y + s*phi) - f^-1(y)] / s     goes down through W^-1
///     delta = D*e                                 gives the weight gradient
///
/// r is exact to rounding at every scale s. All matrices are batch x n. *slope is D; only tanh
/// needs it, and NULL stands for none. After GAITPROP_DOMAIN, which sets `row` and `col`, r and
/// delta are unspecified.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sperturb(
    ctx: *mut gaitprop_context,
    p: gaitprop_perturbation,
    y: gaitprop_smat,
    slope: *const gaitprop_smat,
    e: gaitprop_smat,
    r: gaitprop_smat_mut,
    delta: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { perturb(ctx, p, y.into(), slope.as_ref().map(|s| (*s).into()), e.into(), (r.into(), delta.into())) }
}

/// gaitprop_sperturb() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dperturb(
    ctx: *mut gaitprop_context,
    p: gaitprop_perturbation,
    y: gaitprop_dmat,
    slope: *const gaitprop_dmat,
    e: gaitprop_dmat,
    r: gaitprop_dmat_mut,
    delta: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { perturb(ctx, p, y.into(), slope.as_ref().map(|s| (*s).into()), e.into(), (r.into(), delta.into())) }
}

/// # Safety
/// As [`enter`].
unsafe fn perturb<T: Real>(
    ctx: *mut gaitprop_context,
    p: gaitprop_perturbation,
    y: Mat<T>,
    slope: Option<Mat<T>>,
    e: Mat<T>,
    (r, delta): (Mat<T>, Mat<T>),
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (y, slope, e) = (call.read("y", y)?, call.read_if("slope", slope)?, call.read("e", e)?);
            let (r, delta) = (call.write("r", r)?, call.write("delta", delta)?);
            Ok(perturb::perturb(p.parameters()?, y, slope, e, r, delta, call.plan.isa)?)
        })
    }
}

/// Computes delta = f'(h)*e, the error weighed by the slope.
///
/// y = f(h), e and delta are batch x n. *slope is f'(h); only tanh needs it, and NULL stands for
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sactivation_grad(
    ctx: *mut gaitprop_context,
    f: gaitprop_activation,
    y: gaitprop_smat,
    slope: *const gaitprop_smat,
    e: gaitprop_smat,
    delta: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { activation_grad(ctx, f, y.into(), slope.as_ref().map(|s| (*s).into()), e.into(), delta.into()) }
}

/// gaitprop_sactivation_grad() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dactivation_grad(
    ctx: *mut gaitprop_context,
    f: gaitprop_activation,
    y: gaitprop_dmat,
    slope: *const gaitprop_dmat,
    e: gaitprop_dmat,
    delta: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { activation_grad(ctx, f, y.into(), slope.as_ref().map(|s| (*s).into()), e.into(), delta.into()) }
}

/// # Safety
/// As [`enter`].
unsafe fn activation_grad<T: Real>(
    ctx: *mut gaitprop_context,
    f: gaitprop_activation,
    y: Mat<T>,
    slope: Option<Mat<T>>,
    e: Mat<T>,
    delta: Mat<T>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (y, slope, e) = (call.read("y", y)?, call.read_if("slope", slope)?, call.read("e", e)?);
            let delta = call.write("delta", delta)?;
            Ok(perturb::activation_grad(f.function()?, y, slope, e, delta, call.plan.isa)?)
        })
    }
}

/// Moves n parameters along a descent direction: theta = theta + rate*delta.
///
/// Returns GAITPROP_NOT_FINITE if a new parameter is infinite or NaN. All have then been written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sdescend(
    ctx: *mut gaitprop_context,
    rate: f32,
    n: usize,
    theta: *mut f32,
    delta: *const f32,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { descend(ctx, rate, n, theta, delta) }
}

/// gaitprop_sdescend() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_ddescend(
    ctx: *mut gaitprop_context,
    rate: f64,
    n: usize,
    theta: *mut f64,
    delta: *const f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { descend(ctx, rate, n, theta, delta) }
}

/// # Safety
/// As [`enter`].
unsafe fn descend<T: Real>(ctx: *mut gaitprop_context, rate: T, n: usize, theta: *mut T, delta: *const T) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (theta, delta) = (call.write_slice("theta", theta, n)?, call.read_slice("delta", delta, n)?);
            finite(epilogue::descend(rate, theta, delta, call.plan.isa)?)
        })
    }
}

/// Moves n parameters by momentum: m = mu*m + delta, theta = theta + rate*m.
///
/// Returns GAITPROP_NOT_FINITE if a new parameter is infinite or NaN. All have then been written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_smomentum(
    ctx: *mut gaitprop_context,
    rate: f32,
    mu: f32,
    n: usize,
    theta: *mut f32,
    m: *mut f32,
    delta: *const f32,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { momentum(ctx, (rate, mu), n, theta, m, delta) }
}

/// gaitprop_smomentum() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dmomentum(
    ctx: *mut gaitprop_context,
    rate: f64,
    mu: f64,
    n: usize,
    theta: *mut f64,
    m: *mut f64,
    delta: *const f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { momentum(ctx, (rate, mu), n, theta, m, delta) }
}

/// # Safety
/// As [`enter`].
unsafe fn momentum<T: Real>(
    ctx: *mut gaitprop_context,
    (rate, mu): (T, T),
    n: usize,
    theta: *mut T,
    m: *mut T,
    delta: *const T,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (theta, m) = (call.write_slice("theta", theta, n)?, call.write_slice("m", m, n)?);
            let delta = call.read_slice("delta", delta, n)?;
            finite(epilogue::momentum(rate, mu, theta, m, delta, call.plan.isa)?)
        })
    }
}

/// Moves n parameters by one step of Adam:
///
///     m     = one_minus_beta1*delta + beta1*m
///     v     = one_minus_beta2*delta*delta + beta2*v
///     theta = theta + rate*m / (epsilon + correction*sqrt(v))
///
/// Returns GAITPROP_NOT_FINITE if a new parameter or second moment is infinite or NaN. All have
/// then been written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sadam(
    ctx: *mut gaitprop_context,
    step: gaitprop_sadam_step,
    n: usize,
    theta: *mut f32,
    m: *mut f32,
    v: *mut f32,
    delta: *const f32,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { adam(ctx, step.into(), n, theta, (m, v), delta) }
}

/// gaitprop_sadam() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dadam(
    ctx: *mut gaitprop_context,
    step: gaitprop_dadam_step,
    n: usize,
    theta: *mut f64,
    m: *mut f64,
    v: *mut f64,
    delta: *const f64,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { adam(ctx, step.into(), n, theta, (m, v), delta) }
}

/// # Safety
/// As [`enter`].
unsafe fn adam<T: Real>(
    ctx: *mut gaitprop_context,
    step: AdamStep<T>,
    n: usize,
    theta: *mut T,
    (m, v): (*mut T, *mut T),
    delta: *const T,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let (m, v) = (call.write_slice("m", m, n)?, call.write_slice("v", v, n)?);
            let (theta, delta) = (call.write_slice("theta", theta, n)?, call.read_slice("delta", delta, n)?);
            finite(epilogue::adam(step, theta, m, v, delta, call.plan.isa)?)
        })
    }
}

fn finite(finite: bool) -> Result<(), Failure> {
    if finite { Ok(()) } else { Err(Failure::Diverged) }
}
