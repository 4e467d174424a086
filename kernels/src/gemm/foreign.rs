//! Products by other libraries, for comparison and as a fallback. They guarantee an error bound,
//! not bits.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::Scratch;
use crate::plan::Plan;
use crate::plan::backend::Backend;
use crate::tile::table::Real;

/// Computes a product by the plan's backend, which is not the native one. The caller has checked
/// the shapes; m, n and k are not 0.
pub(crate) fn gemm<T: Real>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    match plan.backend {
        Backend::Native => unreachable!("gemm() computes native products itself"),
        #[cfg(feature = "matrixmultiply")]
        Backend::MatrixMultiply => {
            let _ = scratch;
            let n = c.ncols();
            let work = c.nrows().saturating_mul(n).saturating_mul(a.ncols());
            let parts = plan.threads_for(work).min(n);
            plan.par.split(parts, &|i| {
                let (first, len) = crate::base::split::part(n, parts, i);
                // SAFETY: the column blocks of different parts are disjoint, and `split` runs each
                // part once.
                let c = unsafe { c.alias() }.cols(first, len);
                matrix_multiply(alpha, a, b.cols(first, len), beta, c);
            });
            Ok(())
        }
        #[cfg(feature = "openblas")]
        Backend::OpenBlas => openblas::gemm(alpha, a, b, beta, c, scratch),
    }
}

/// Calls `sgemm` or `dgemm` of `matrixmultiply`.
#[cfg(feature = "matrixmultiply")]
fn matrix_multiply<T: Real>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    macro_rules! call {
        ($f:path, $t:ty) => {
            // SAFETY: T is `$t`: its size selects the call, and Real is sealed to f32 and f64. The
            // casts therefore keep the type. The shapes match (checked in `gemm`), and each view
            // contains the elements of its shape and strides.
            unsafe {
                $f(
                    a.nrows(),
                    a.ncols(),
                    b.ncols(),
                    alpha.to_f64() as $t,
                    a.as_ptr().cast(),
                    a.rs(),
                    a.cs(),
                    b.as_ptr().cast(),
                    b.rs(),
                    b.cs(),
                    beta.to_f64() as $t,
                    c.as_mut_ptr().cast(),
                    c.rs(),
                    c.cs(),
                );
            }
        };
    }
    if size_of::<T>() == 4 {
        call!(matrixmultiply::sgemm, f32);
    } else {
        call!(matrixmultiply::dgemm, f64);
    }
}

#[cfg(feature = "openblas")]
mod openblas {
    use crate::base::error::Error;
    use crate::base::matrix::{MatMut, MatRef};
    use crate::base::scratch::Scratch;
    use crate::tile::table::Real;
    // Links the library.
    use blas_src as _;
    use cblas_sys::{CBLAS_LAYOUT, CBLAS_TRANSPOSE, cblas_dgemm, cblas_sgemm};
    use core::ffi::c_int;
    use core::mem::MaybeUninit;
    use openblas_src as _;
    use std::sync::{Mutex, PoisonError};

    unsafe extern "C" {
        /// Returns 0 if the library was built for a single thread.
        safe fn openblas_get_parallel() -> c_int;
    }

    /// Serializes calls of a library built for a single thread. Its table of buffers has no lock:
    /// two threads inside it could get the same buffer and wrong results. The lock covers the
    /// process, since any thread may call.
    static SERIAL: Mutex<()> = Mutex::new(());

    /// A matrix as BLAS takes it: one stride is 1, the other at least the length of a row.
    #[derive(Clone, Copy)]
    struct BlasMatrix<T> {
        ptr: *const T,
        ld: i32,
        trans: CBLAS_TRANSPOSE,
    }

    /// Returns the leading dimension if rows are contiguous and BLAS accepts it.
    fn row_major(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Option<i32> {
        let ld = if nrows == 1 { rs.max(ncols as isize) } else { rs };
        ((cs == 1 || ncols == 1) && ld >= ncols as isize && ld > 0).then(|| i32::try_from(ld).ok())?
    }

    /// Returns the matrix in place if BLAS can read it, else a copy at the front of `workspace`,
    /// and the rest of the workspace.
    fn operand<'w, T: Real>(x: MatRef<'_, T>, workspace: &'w mut [MaybeUninit<T>]) -> (BlasMatrix<T>, &'w mut [MaybeUninit<T>]) {
        let (m, n) = x.shape();
        if let Some(ld) = row_major(m, n, x.rs(), x.cs()) {
            return (BlasMatrix { ptr: x.as_ptr(), ld, trans: CBLAS_TRANSPOSE::CblasNoTrans }, workspace);
        }
        if let Some(ld) = row_major(n, m, x.cs(), x.rs()) {
            return (BlasMatrix { ptr: x.as_ptr(), ld, trans: CBLAS_TRANSPOSE::CblasTrans }, workspace);
        }
        let (copy, rest) = workspace.split_at_mut(m * n);
        for i in 0..m {
            for j in 0..n {
                copy[i * n + j].write(x.get(i, j));
            }
        }
        (BlasMatrix { ptr: copy.as_ptr().cast(), ld: n as i32, trans: CBLAS_TRANSPOSE::CblasNoTrans }, rest)
    }

    /// Computes a product by `cblas_sgemm` or `cblas_dgemm`.
    pub(super) fn gemm<T: Real>(
        alpha: T,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        beta: T,
        mut c: MatMut<'_, T>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let ((m, k), n) = (a.shape(), b.ncols());
        for (what, len) in [("m of an OpenBLAS product", m), ("n of an OpenBLAS product", n), ("k of an OpenBLAS product", k)] {
            if i32::try_from(len).is_err() {
                return Err(Error::Parameter { what, value: len as f64, accepted: "below 2^31" });
            }
        }
        let workspace = scratch.slice::<T>(m * k + k * n + m * n)?;
        let (a, workspace) = operand(a, workspace);
        let (b, workspace) = operand(b, workspace);
        let (direct, ldc) = match row_major(m, n, c.rs(), c.cs()) {
            Some(ldc) => (true, ldc),
            None => (false, n as i32),
        };
        let copy = &mut workspace[..m * n];
        if !direct {
            for i in 0..m {
                for j in 0..n {
                    // β = 0 never reads C, so the copy gets zeros.
                    copy[i * n + j].write(if beta == T::ZERO { T::ZERO } else { c.get(i, j) });
                }
            }
        }
        let target = if direct { c.as_mut_ptr() } else { copy.as_mut_ptr().cast() };
        // The mutex guards no data of this crate, so poison does not matter.
        let _serial = (openblas_get_parallel() == 0).then(|| SERIAL.lock().unwrap_or_else(PoisonError::into_inner));
        macro_rules! call {
            ($f:path, $t:ty) => {
                // SAFETY: T is `$t`: its size selects the call, and Real is sealed to f32 and f64.
                // Dimensions fit i32 (checked above). `operand` and `row_major` return leading
                // dimensions no shorter than a row. A single-threaded library has this one caller
                // (locked above).
                unsafe {
                    $f(
                        CBLAS_LAYOUT::CblasRowMajor,
                        a.trans,
                        b.trans,
                        m as i32,
                        n as i32,
                        k as i32,
                        alpha.to_f64() as $t,
                        a.ptr.cast(),
                        a.ld,
                        b.ptr.cast(),
                        b.ld,
                        beta.to_f64() as $t,
                        target.cast(),
                        ldc,
                    );
                }
            };
        }
        if size_of::<T>() == 4 {
            call!(cblas_sgemm, f32);
        } else {
            call!(cblas_dgemm, f64);
        }
        if !direct {
            for i in 0..m {
                for j in 0..n {
                    // SAFETY: the loop above initialized every element of the copy.
                    c.set(i, j, unsafe { copy[i * n + j].assume_init() });
                }
            }
        }
        Ok(())
    }
}
