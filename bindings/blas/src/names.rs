//! The names under which programs find the routines: one table, expanded for four naming schemes
//! and two precisions, for Fortran and CBLAS.

use crate::arguments::{letter, number};
use crate::batch::GemmBatchStrided;
use crate::call::{cblas, fortran};
use crate::level2::{Gemv, Ger, dot};
use crate::level3::{Gemm, Gemmt, RankK, Symm, Triangular};
use crate::xerbla::{Name, Scheme};
use std::ffi::{CStr, c_int};

/// Returns a name that ends in 0.
const fn terminated(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name must end in 0 and contain no other"),
    }
}

/// The type of an argument: Fortran passes everything by reference.
macro_rules! type_of {
    (fortran flag $t:ty, $int:ty) => { *const u8 };
    (fortran int $t:ty, $int:ty) => { *const $int };
    (fortran scalar $t:ty, $int:ty) => { *const $t };
    (cblas flag $t:ty, $int:ty) => { c_int };
    (cblas int $t:ty, $int:ty) => { $int };
    (cblas scalar $t:ty, $int:ty) => { $t };
    ($caller:ident input $t:ty, $int:ty) => { *const $t };
    ($caller:ident output $t:ty, $int:ty) => { *mut $t };
}

/// The value of an argument: the flag at a position of the Fortran call, a size as `i64`, a scalar,
/// or a pointer.
macro_rules! value_of {
    (fortran $name:ident flag $position:literal) => {
        letter($name, $position)?
    };
    (fortran $name:ident int) => {
        i64::from(*$name)
    };
    (fortran $name:ident scalar) => {
        *$name
    };
    (cblas $name:ident flag $position:literal) => {
        number($name, $position)?
    };
    (cblas $name:ident int) => {
        i64::from($name)
    };
    (cblas $name:ident scalar) => {
        $name
    };
    ($caller:ident $name:ident $pointer:ident) => {
        $name
    };
}

/// Defines one function that programs call.
macro_rules! define {
    (
        $caller:ident $name:ident $export:expr, $reported:expr, [$t:ty, $int:ty]
        ($($first:ident: $first_type:ty)?)
        ($($arg:ident: $kind:ident $($position:literal)?),+) => $call:expr
    ) => {
        #[doc = concat!("`", $reported, "`, with BLAS's arguments.")]
        ///
        /// # Safety
        /// As the routine of BLAS: operands lie where sizes, leading dimensions and increments say.
        /// Results overlap no other operand, and no other thread writes any of them.
        // The program's error handler may unwind through it.
        #[unsafe(export_name = $export)]
        #[allow(clippy::too_many_arguments, clippy::useless_conversion)]
        pub unsafe extern "C-unwind" fn $name($($first: $first_type,)? $($arg: type_of!($caller $kind $t, $int)),+) {
            static NAME: Name = Name::new($reported);
            // SAFETY: the program that calls promises the operands.
            unsafe {
                $caller(&SCHEME, &NAME, $($first,)? || {
                    $(let $arg = value_of!($caller $arg $kind $($position)?);)+
                    Ok($call)
                });
            }
        }
    };
}

/// Defines a routine for Fortran and CBLAS.
macro_rules! both {
    ([$t:ty, $int:ty, $lower:literal, $upper:literal, $prefix:literal, $suffix:literal] $name:ident $cblas_name:ident $text:literal $upper_text:literal $($rest:tt)+) => {
        define! {
            fortran $name concat!($prefix, $lower, $text, "_", $suffix), concat!($upper, $upper_text), [$t, $int] () $($rest)+
        }
        define! {
            cblas $cblas_name concat!($prefix, "cblas_", $lower, $text, $suffix), concat!("cblas_", $lower, $text), [$t, $int] (order: c_int) $($rest)+
        }
    };
}

/// Defines the routines of one precision under one naming scheme. A flag has its position.
macro_rules! routines {
    ([$t:ty, $int:ty, $lower:literal, $upper:literal, $prefix:literal, $suffix:literal]) => {
        routines! { @level3 [$t, $int, $lower, $upper, $prefix, $suffix] }
        routines! { @others [$t, $int, $lower, $upper, $prefix, $suffix] }

        /// `DOT`, with BLAS's arguments. The sum is one in f64, rounded once.
        ///
        /// # Safety
        /// As the routine of BLAS: the vectors lie where `n` and increments say, and no other
        /// thread writes them.
        #[unsafe(export_name = concat!($prefix, $lower, "dot_", $suffix))]
        #[allow(clippy::useless_conversion)]
        pub unsafe extern "C" fn dot_(n: *const $int, x: *const $t, incx: *const $int, y: *const $t, incy: *const $int) -> $t {
            // SAFETY: the program that calls promises the operands.
            unsafe { dot(i64::from(*n), x, i64::from(*incx), y, i64::from(*incy)) }
        }

        /// `DOT`, with CBLAS's arguments.
        ///
        /// # Safety
        /// As [`dot_`].
        #[unsafe(export_name = concat!($prefix, "cblas_", $lower, "dot", $suffix))]
        #[allow(clippy::useless_conversion)]
        pub unsafe extern "C" fn cblas_dot(n: $int, x: *const $t, incx: $int, y: *const $t, incy: $int) -> $t {
            // SAFETY: the program that calls promises the operands.
            unsafe { dot(i64::from(n), x, i64::from(incx), y, i64::from(incy)) }
        }
    };
    (@level3 $scheme:tt) => {
        both! { $scheme gemm cblas_gemm "gemm" "GEMM" (
            trans_a: flag 1, trans_b: flag 2, m: int, n: int, k: int, alpha: scalar, a: input, lda: int, b: input, ldb: int,
            beta: scalar, c: output, ldc: int
        ) => Gemm { trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc } }
        both! { $scheme gemmt cblas_gemmt "gemmt" "GEMMT" (
            triangle: flag 1, trans_a: flag 2, trans_b: flag 3, n: int, k: int, alpha: scalar, a: input, lda: int, b: input,
            ldb: int, beta: scalar, c: output, ldc: int
        ) => Gemmt { triangle, gemm: Gemm { trans_a, trans_b, m: n, n, k, alpha, a, lda, b, ldb, beta, c, ldc } } }
        both! { $scheme gemmtr cblas_gemmtr "gemmtr" "GEMMTR" (
            triangle: flag 1, trans_a: flag 2, trans_b: flag 3, n: int, k: int, alpha: scalar, a: input, lda: int, b: input,
            ldb: int, beta: scalar, c: output, ldc: int
        ) => Gemmt { triangle, gemm: Gemm { trans_a, trans_b, m: n, n, k, alpha, a, lda, b, ldb, beta, c, ldc } } }
        both! { $scheme symm cblas_symm "symm" "SYMM" (
            side: flag 1, triangle: flag 2, m: int, n: int, alpha: scalar, a: input, lda: int, b: input, ldb: int,
            beta: scalar, c: output, ldc: int
        ) => Symm { side, triangle, m, n, alpha, a, lda, b, ldb, beta, c, ldc } }
        both! { $scheme syrk cblas_syrk "syrk" "SYRK" (
            triangle: flag 1, trans: flag 2, n: int, k: int, alpha: scalar, a: input, lda: int, beta: scalar, c: output, ldc: int
        ) => RankK { triangle, trans, n, k, alpha, a, lda, second: None, beta, c, ldc } }
        both! { $scheme syr2k cblas_syr2k "syr2k" "SYR2K" (
            triangle: flag 1, trans: flag 2, n: int, k: int, alpha: scalar, a: input, lda: int, b: input, ldb: int,
            beta: scalar, c: output, ldc: int
        ) => RankK { triangle, trans, n, k, alpha, a, lda, second: Some((b, ldb)), beta, c, ldc } }
        both! { $scheme trmm cblas_trmm "trmm" "TRMM" (
            side: flag 1, triangle: flag 2, trans: flag 3, diag: flag 4, m: int, n: int, alpha: scalar, a: input, lda: int,
            b: output, ldb: int
        ) => Triangular { solve: false, side, triangle, trans, diag, m, n, alpha, a, lda, b, ldb } }
        both! { $scheme trsm cblas_trsm "trsm" "TRSM" (
            side: flag 1, triangle: flag 2, trans: flag 3, diag: flag 4, m: int, n: int, alpha: scalar, a: input, lda: int,
            b: output, ldb: int
        ) => Triangular { solve: true, side, triangle, trans, diag, m, n, alpha, a, lda, b, ldb } }
    };
    (@others [$t:ty, $int:ty, $lower:literal, $upper:literal, $prefix:literal, $suffix:literal]) => {
        both! { [$t, $int, $lower, $upper, $prefix, $suffix] gemv cblas_gemv "gemv" "GEMV" (
            trans: flag 1, m: int, n: int, alpha: scalar, a: input, lda: int, x: input, incx: int, beta: scalar, y: output, incy: int
        ) => Gemv { trans, m, n, alpha, a, lda, x, incx, beta, y, incy } }
        both! { [$t, $int, $lower, $upper, $prefix, $suffix] ger cblas_ger "ger" "GER" (
            m: int, n: int, alpha: scalar, x: input, incx: int, y: input, incy: int, a: output, lda: int
        ) => Ger { m, n, alpha, x, incx, y, incy, a, lda } }
        // Of CBLAS alone, as in the libraries that have it.
        define! { cblas cblas_gemm_batch_strided
            concat!($prefix, "cblas_", $lower, "gemm_batch_strided", $suffix), concat!("cblas_", $lower, "gemm_batch_strided"), [$t, $int]
            (order: c_int) (
                trans_a: flag 1, trans_b: flag 2, m: int, n: int, k: int, alpha: scalar, a: input, lda: int, stride_a: int,
                b: input, ldb: int, stride_b: int, beta: scalar, c: output, ldc: int, stride_c: int, count: int
            ) => GemmBatchStrided {
                gemm: Gemm { trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc },
                strides: (stride_a, stride_b, stride_c),
                count,
            }
        }
    };
}

/// Defines all routines under one naming scheme.
macro_rules! schemes {
    ($($(#[$doc:meta])* $module:ident: $int:tt, $prefix:literal, $suffix:literal;)+) => {
        $($(#[$doc])* pub mod $module {
            use super::*;

            static SCHEME: Scheme = Scheme {
                fortran: terminated(concat!($prefix, "xerbla_", $suffix, "\0")),
                cblas: terminated(concat!($prefix, "cblas_xerbla", $suffix, "\0")),
                probe: terminated(concat!($prefix, "dcopy_", $suffix, "\0")),
                wide: size_of::<$int>() == 8,
            };

            /// Single precision.
            pub mod s {
                use super::*;
                routines! { [f32, $int, "s", "S", $prefix, $suffix] }
            }

            /// Double precision.
            pub mod d {
                use super::*;
                routines! { [f64, $int, "d", "D", $prefix, $suffix] }
            }
        })+
    };
}

schemes! {
    /// `sgemm_` and `cblas_sgemm`: 32-bit integers, the names of every BLAS.
    lp64: i32, "", "";
    /// `sgemm_64_` and `cblas_sgemm64_`: 64-bit integers, as Julia and netlib since 3.12 have them.
    ilp64: i64, "", "64_";
    /// `scipy_sgemm_` and `scipy_cblas_sgemm`: 32-bit integers, the library in SciPy's wheels.
    scipy_lp64: i32, "scipy_", "";
    /// `scipy_sgemm_64_` and `scipy_cblas_sgemm64_`: 64-bit integers, the library in NumPy's
    /// wheels.
    scipy_ilp64: i64, "scipy_", "64_";
}
