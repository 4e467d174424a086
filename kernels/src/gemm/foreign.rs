//! The same product through other libraries, for comparison and as a fallback. They promise an error
//! bound, not bits.

use crate::base::error::Error;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::scratch::Scratch;
use crate::plan::Plan;
use crate::plan::backend::Backend;
use crate::tile::table::Real;

/// A product by the plan's backend, which is not the native one; shapes are checked and nothing is empty, k included.
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
        Backend::Native => unreachable!("dispatched in gemm()"),
        #[cfg(feature = "matrixmultiply")]
        Backend::MatrixMultiply => {
            let _ = scratch;
            let n = c.ncols();
            let work = c.nrows().saturating_mul(n).saturating_mul(a.ncols());
            let parts = plan.threads_for(work).min(n);
            plan.par.split(parts, &|i| {
                let (first, len) = crate::base::split::part(n, parts, i);
                // SAFETY: the column blocks of different parts have no element in common, and each part runs once.
                let c = unsafe { c.alias() }.cols(first, len);
                matrix_multiply(alpha, a, b.cols(first, len), beta, c);
            });
            Ok(())
        }
        #[cfg(feature = "openblas")]
        Backend::OpenBlas => openblas::gemm(alpha, a, b, beta, c, scratch),
    }
}

/// `matrixmultiply`'s `sgemm` or `dgemm`.
#[cfg(feature = "matrixmultiply")]
fn matrix_multiply<T: Real>(alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) {
    macro_rules! call {
        ($f:path, $t:ty) => {
            // SAFETY: T is this very type (its size decides: Real is sealed to f32 and f64), so the pointer casts change
            // nothing; shapes fit (checked in `gemm`), and views hold what their shapes and strides say.
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
    // Links the library; nothing of it is named.
    use blas_src as _;
    use cblas_sys::{CBLAS_LAYOUT, CBLAS_TRANSPOSE, cblas_dgemm, cblas_sgemm};
    use core::ffi::c_int;
    use core::mem::MaybeUninit;
    use openblas_src as _;
    use std::sync::{Mutex, PoisonError};

    unsafe extern "C" {
        /// How the library was built: 0 for one thread, else for several.
        safe fn openblas_get_parallel() -> c_int;
    }

    /// A library built for one thread keeps its buffers in a table without locks: two threads inside it at once get the same buffer, and
    /// wrong results. They may come from anywhere in the process, so it is the process that has the lock.
    static SERIAL: Mutex<()> = Mutex::new(());

    /// A matrix as BLAS wants it: one stride 1, the other at least as long as a line.
    #[derive(Clone, Copy)]
    struct Blas<T> {
        ptr: *const T,
        ld: i32,
        trans: CBLAS_TRANSPOSE,
    }

    /// Whether rows are neighbours with a leading dimension that BLAS accepts.
    fn row_major(nrows: usize, ncols: usize, rs: isize, cs: isize) -> Option<i32> {
        let ld = if nrows == 1 { rs.max(ncols as isize) } else { rs };
        ((cs == 1 || ncols == 1) && ld >= ncols as isize && ld > 0).then(|| i32::try_from(ld).ok())?
    }

    /// The matrix in place if BLAS can read it, else copied to the front of `room`.
    fn operand<'r, T: Real>(x: MatRef<'_, T>, room: &'r mut [MaybeUninit<T>]) -> (Blas<T>, &'r mut [MaybeUninit<T>]) {
        let (m, n) = x.shape();
        if let Some(ld) = row_major(m, n, x.rs(), x.cs()) {
            return (Blas { ptr: x.as_ptr(), ld, trans: CBLAS_TRANSPOSE::CblasNoTrans }, room);
        }
        if let Some(ld) = row_major(n, m, x.cs(), x.rs()) {
            return (Blas { ptr: x.as_ptr(), ld, trans: CBLAS_TRANSPOSE::CblasTrans }, room);
        }
        let (copy, rest) = room.split_at_mut(m * n);
        for i in 0..m {
            for j in 0..n {
                copy[i * n + j].write(x.get(i, j));
            }
        }
        (Blas { ptr: copy.as_ptr().cast(), ld: n as i32, trans: CBLAS_TRANSPOSE::CblasNoTrans }, rest)
    }

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
        let room = scratch.slice::<T>(m * k + k * n + m * n)?;
        let (a, room) = operand(a, room);
        let (b, room) = operand(b, room);
        let (direct, ldc) = match row_major(m, n, c.rs(), c.cs()) {
            Some(ldc) => (true, ldc),
            None => (false, n as i32),
        };
        let copy = &mut room[..m * n];
        if !direct {
            for i in 0..m {
                for j in 0..n {
                    // β = 0 never reads C, in the copy neither.
                    copy[i * n + j].write(if beta == T::ZERO { T::ZERO } else { c.get(i, j) });
                }
            }
        }
        let target = if direct { c.as_mut_ptr() } else { copy.as_mut_ptr().cast() };
        // Nothing is left half-done by a panic: the lock guards no data of ours.
        let _alone = (openblas_get_parallel() == 0).then(|| SERIAL.lock().unwrap_or_else(PoisonError::into_inner));
        macro_rules! call {
            ($f:path, $t:ty) => {
                // SAFETY: T is this very type (its size decides: Real is sealed to f32 and f64); dimensions fit i32 (checked
                // above); `operand` and `row_major` established leading dimensions that cover each line. A library that bears one caller
                // at a time has just this one: the lock above.
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
                    // SAFETY: every element of the copy was written above.
                    c.set(i, j, unsafe { copy[i * n + j].assume_init() });
                }
            }
        }
        Ok(())
    }
}
