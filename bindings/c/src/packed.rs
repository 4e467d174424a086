//! Operands packed once for many products.

use crate::context::{boxed, enter, gaitprop_context, guarded};
use crate::status::gaitprop_status::GAITPROP_OK;
use crate::status::{Failure, gaitprop_status};
use crate::types::{self, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_smat, gaitprop_smat_mut};
use crate::view::Mat;
use core::ffi::c_int;
use gaitprop_kernels::{Epilogue, PackedRhs, Panels, Real, Start, gemm_with};

/// A packed matrix of floats.
///
/// It fits the instruction set of the context that packed it. Many threads may read it at once,
/// each with a context of its own, while none packs it again.
pub struct gaitprop_spacked(PackedRhs<f32>);

/// A packed matrix of doubles: as gaitprop_spacked.
pub struct gaitprop_dpacked(PackedRhs<f64>);

/// The packed types, by their element.
pub(crate) trait Packed {
    type Element: Real;
    fn wrap(packed: PackedRhs<Self::Element>) -> Self;
    fn inner(&self) -> &PackedRhs<Self::Element>;
    fn inner_mut(&mut self) -> &mut PackedRhs<Self::Element>;
}

macro_rules! packed {
    ($($name:ident, $t:ty;)*) => {
        $(impl Packed for $name {
            type Element = $t;
            fn wrap(packed: PackedRhs<$t>) -> Self {
                Self(packed)
            }
            fn inner(&self) -> &PackedRhs<$t> {
                &self.0
            }
            fn inner_mut(&mut self) -> &mut PackedRhs<$t> {
                &mut self.0
            }
        })*
    };
}
packed! {
    gaitprop_spacked, f32;
    gaitprop_dpacked, f64;
}

/// Packs w (k x n) as the right operand of products x*W, e*W^T or both.
///
/// orientation is a gaitprop_orientation. Writes the packed matrix to *out, or NULL after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_spack(
    ctx: *mut gaitprop_context,
    w: gaitprop_smat,
    orientation: c_int,
    out: *mut *mut gaitprop_spacked,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { pack(ctx, w.into(), orientation, out) }
}

/// gaitprop_spack() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dpack(
    ctx: *mut gaitprop_context,
    w: gaitprop_dmat,
    orientation: c_int,
    out: *mut *mut gaitprop_dpacked,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { pack(ctx, w.into(), orientation, out) }
}

/// # Safety
/// As [`enter`], for a pointer at `out`.
unsafe fn pack<P: Packed>(
    ctx: *mut gaitprop_context,
    w: Mat<P::Element>,
    orientation: c_int,
    out: *mut *mut P,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        // Before `enter`, which may return an error without a call of the closure.
        if !out.is_null() {
            out.write(core::ptr::null_mut());
        }
        enter(ctx, |call| {
            if out.is_null() {
                return Err(Failure::Null("out"));
            }
            let w = call.read("W", w)?;
            let packed = PackedRhs::new(w, types::orientation(orientation)?, call.plan)?;
            out.write(Box::into_raw(boxed(P::wrap(packed))?));
            Ok(())
        })
    }
}

/// Packs another matrix of the same shape into the same memory, without an allocation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_srepack(
    ctx: *mut gaitprop_context,
    packed: *mut gaitprop_spacked,
    w: gaitprop_smat,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { repack(ctx, packed, w.into()) }
}

/// gaitprop_srepack() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_drepack(
    ctx: *mut gaitprop_context,
    packed: *mut gaitprop_dpacked,
    w: gaitprop_dmat,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { repack(ctx, packed, w.into()) }
}

/// # Safety
/// As [`enter`], for NULL or a live `packed` that no other thread uses.
unsafe fn repack<P: Packed>(ctx: *mut gaitprop_context, packed: *mut P, w: Mat<P::Element>) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let packed = packed.as_mut().ok_or(Failure::Null("packed"))?;
            let w = call.read("W", w)?;
            Ok(packed.inner_mut().repack(w, call.plan)?)
        })
    }
}

/// Frees a packed matrix. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_spacked_free(packed: *mut gaitprop_spacked) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { free(packed) }
}

/// Frees a packed matrix. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dpacked_free(packed: *mut gaitprop_dpacked) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { free(packed) }
}

/// # Safety
/// `packed` is NULL or comes from [`pack`], and is used no more.
unsafe fn free<P: Packed>(packed: *mut P) -> gaitprop_status {
    if packed.is_null() {
        return GAITPROP_OK;
    }
    // SAFETY: `pack` made it by `Box::into_raw`, and the caller gives it up.
    let packed = unsafe { Box::from_raw(packed) };
    guarded(|| drop(packed)).map_or_else(|failure| failure.status(), |()| GAITPROP_OK)
}

/// Computes C = alpha*A*W + beta*C for a packed W, or with its transpose if transposed is not 0.
///
/// The bits are those of gaitprop_sgemm().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_sgemm_packed(
    ctx: *mut gaitprop_context,
    alpha: f32,
    a: gaitprop_smat,
    w: *const gaitprop_spacked,
    transposed: c_int,
    beta: f32,
    c: gaitprop_smat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemm_packed(ctx, alpha, a.into(), (w, transposed != 0), beta, c.into()) }
}

/// gaitprop_sgemm_packed() for doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gaitprop_dgemm_packed(
    ctx: *mut gaitprop_context,
    alpha: f64,
    a: gaitprop_dmat,
    w: *const gaitprop_dpacked,
    transposed: c_int,
    beta: f64,
    c: gaitprop_dmat_mut,
) -> gaitprop_status {
    // SAFETY: the caller keeps to the contract at the head of the header.
    unsafe { gemm_packed(ctx, alpha, a.into(), (w, transposed != 0), beta, c.into()) }
}

/// # Safety
/// As [`enter`], for NULL or a live `w`.
unsafe fn gemm_packed<P: Packed>(
    ctx: *mut gaitprop_context,
    alpha: P::Element,
    a: Mat<P::Element>,
    (w, transposed): (*const P, bool),
    beta: P::Element,
    c: Mat<P::Element>,
) -> gaitprop_status {
    // SAFETY: the caller's promise.
    unsafe {
        enter(ctx, |call| {
            let w = panels(w, transposed)?;
            let (a, c) = (call.read("A", a)?, call.write("C", c)?);
            gemm_with(alpha, a, w, Start::C(beta), c, Epilogue::Store, call.plan, call.scratch)?;
            Ok(())
        })
    }
}

/// Returns the panels of one orientation.
///
/// # Safety
/// `w` is NULL, or lives for `'a` and is not written.
pub(crate) unsafe fn panels<'a, P: Packed + 'a>(w: *const P, transposed: bool) -> Result<Panels<'a, P::Element>, Failure> {
    // SAFETY: the caller's promise.
    let w = unsafe { w.as_ref() }.ok_or(Failure::Null("W"))?.inner();
    Ok(if transposed { w.transposed()? } else { w.plain()? })
}
