//! The routines of a library, ours under any naming scheme or a reference, behind one way to call.

use crate::case::{Case, Layout, Operands, Routine, Style};
use gaitprop_kernels::Real;
use std::ffi::{CString, c_int, c_void};

/// An integer of a naming scheme.
pub(crate) trait Int: Copy {
    fn new(n: isize) -> Self;
}
impl Int for i32 {
    fn new(n: isize) -> Self {
        n as Self
    }
}
impl Int for i64 {
    fn new(n: isize) -> Self {
        n as Self
    }
}

/// Declares [`Functions`]: for each routine its name, its CBLAS name, and the kinds of its
/// arguments: f a flag, i an integer, v a scalar, r an input, w a result.
macro_rules! functions {
    ($($name:ident $cblas_name:ident ($($kind:ident),+);)+) => {
        /// Pointers to the functions of one precision; T its elements, I the integers.
        pub(crate) struct Functions<T, I> {
            $(
                pub(crate) $name: unsafe extern "C-unwind" fn($(functions!(@fortran $kind T I)),+),
                pub(crate) $cblas_name: unsafe extern "C-unwind" fn(c_int, $(functions!(@cblas $kind T I)),+),
            )+
            pub(crate) dot: unsafe extern "C" fn(*const I, *const T, *const I, *const T, *const I) -> T,
            pub(crate) cblas_dot: unsafe extern "C" fn(I, *const T, I, *const T, I) -> T,
            pub(crate) extensions: Option<Extensions<T, I>>,
        }

        /// Returns the functions of `gaitprop_blas::names::$scheme::$precision`.
        macro_rules! ours {
            ($scheme:ident, $precision:ident) => {{
                use gaitprop_blas::names::$scheme::$precision as names;
                $crate::library::Functions {
                    $($name: names::$name, $cblas_name: names::$cblas_name,)+
                    dot: names::dot_,
                    cblas_dot: names::cblas_dot,
                    extensions: Some($crate::library::Extensions {
                        gemmt: names::gemmt,
                        cblas_gemmt: names::cblas_gemmt,
                        batch: names::cblas_gemm_batch_strided,
                    }),
                }
            }};
        }
        pub(crate) use ours;

        impl<T> Functions<T, c_int> {
            /// Loads a reference library with 32-bit integers. `letter` is that of the precision.
            pub(crate) fn load(path: &str, letter: char) -> Self {
                let text = CString::new(path).expect("a path without 0");
                // SAFETY: a BLAS library runs no code of its own when it is loaded.
                let handle = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                assert!(!handle.is_null(), "{path} cannot be loaded");
                let find = |name: String| -> *mut c_void {
                    let text = CString::new(name.as_str()).expect("a name without 0");
                    // SAFETY: the handle is open, and never closed.
                    let found = unsafe { libc::dlsym(handle, text.as_ptr()) };
                    assert!(!found.is_null(), "{path} has no {name}");
                    found
                };
                let fortran = |name: &str| find(format!("{letter}{name}_"));
                let cblas = |name: &str| find(format!("cblas_{letter}{name}"));
                // SAFETY: a BLAS library with 32-bit integers defines these names with these types.
                unsafe {
                    Self {
                        $(
                            $name: std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($(functions!(@fortran $kind T c_int)),+)>(fortran(stringify!($name))),
                            $cblas_name: std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(c_int, $(functions!(@cblas $kind T c_int)),+)>(cblas(stringify!($name))),
                        )+
                        dot: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_int, *const T, *const c_int, *const T, *const c_int) -> T>(fortran("dot")),
                        cblas_dot: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int, *const T, c_int, *const T, c_int) -> T>(cblas("dot")),
                        extensions: None,
                    }
                }
            }
        }
    };
    (@fortran f $t:ident $i:ident) => { *const u8 };
    (@fortran i $t:ident $i:ident) => { *const $i };
    (@fortran v $t:ident $i:ident) => { *const $t };
    (@cblas f $t:ident $i:ident) => { c_int };
    (@cblas i $t:ident $i:ident) => { $i };
    (@cblas v $t:ident $i:ident) => { $t };
    (@$caller:ident r $t:ident $i:ident) => { *const $t };
    (@$caller:ident w $t:ident $i:ident) => { *mut $t };
}

functions! {
    gemm cblas_gemm (f, f, i, i, i, v, r, i, r, i, v, w, i);
    symm cblas_symm (f, f, i, i, v, r, i, r, i, v, w, i);
    syrk cblas_syrk (f, f, i, i, v, r, i, v, w, i);
    syr2k cblas_syr2k (f, f, i, i, v, r, i, r, i, v, w, i);
    trmm cblas_trmm (f, f, f, f, i, i, v, r, i, w, i);
    trsm cblas_trsm (f, f, f, f, i, i, v, r, i, w, i);
    gemv cblas_gemv (f, i, i, v, r, i, r, i, v, w, i);
    ger cblas_ger (i, i, v, r, i, r, i, w, i);
}

/// Routines that a reference may not have.
#[allow(clippy::type_complexity)]
pub(crate) struct Extensions<T, I> {
    pub(crate) gemmt: unsafe extern "C-unwind" fn(
        *const u8,
        *const u8,
        *const u8,
        *const I,
        *const I,
        *const T,
        *const T,
        *const I,
        *const T,
        *const I,
        *const T,
        *mut T,
        *const I,
    ),
    pub(crate) cblas_gemmt:
        unsafe extern "C-unwind" fn(c_int, c_int, c_int, c_int, I, I, T, *const T, I, *const T, I, T, *mut T, I),
    pub(crate) batch:
        unsafe extern "C-unwind" fn(c_int, c_int, c_int, I, I, I, T, *const T, I, I, *const T, I, I, T, *mut T, I, I, I),
}

/// Letter and number of a flag.
type Flag = (u8, c_int);

fn trans(yes: bool) -> Flag {
    if yes { (b'T', 112) } else { (b'N', 111) }
}
fn triangle(upper: bool) -> Flag {
    if upper { (b'U', 121) } else { (b'L', 122) }
}
fn diag(unit: bool) -> Flag {
    if unit { (b'U', 132) } else { (b'N', 131) }
}
fn side(right: bool) -> Flag {
    if right { (b'R', 142) } else { (b'L', 141) }
}

/// Calls a Fortran function with references to its arguments, or a CBLAS function with an order.
macro_rules! call {
    ($library:ident $order:ident $name:ident $cblas_name:ident ($($kind:ident $arg:expr),+)) => {
        if let Some(order) = $order {
            ($library.$cblas_name)(order, $(call!(@cblas $kind $arg)),+)
        } else {
            ($library.$name)($(call!(@fortran $kind $arg)),+)
        }
    };
    (@fortran f $arg:expr) => { &$arg.0 };
    (@fortran i $arg:expr) => { &I::new($arg as isize) };
    (@fortran v $arg:expr) => { &$arg };
    (@cblas f $arg:expr) => { $arg.1 };
    (@cblas i $arg:expr) => { I::new($arg as isize) };
    (@cblas v $arg:expr) => { $arg };
    (@$caller:ident p $arg:expr) => { $arg };
}

/// A library of one precision.
pub(crate) trait Library<T> {
    /// Runs `case` on `operands`. Returns the result of DOT, and 0 for other routines.
    fn run(&self, case: &Case<T>, operands: &mut Operands<T>) -> T;
}

impl<T: Real, I: Int> Library<T> for Functions<T, I> {
    fn run(&self, case: &Case<T>, operands: &mut Operands<T>) -> T {
        let Case { alpha, beta, m, n, k, a, b, c, upper, .. } = *case;
        let at = |layout: Layout, len: usize| {
            assert!(layout.offset <= len);
            layout.offset
        };
        let (a_at, b_at, c_at) = (at(a, operands.a.len()), at(b, operands.b.len()), at(c, operands.c.len()));
        let (a_ptr, b_ptr) = (operands.a[a_at..].as_ptr(), operands.b[b_at..].as_ptr());
        let c_ptr = operands.c[c_at..].as_mut_ptr();
        let order = match case.style {
            Style::Fortran => None,
            Style::Columns => Some(102),
            Style::Rows => Some(101),
        };
        let rows = case.style == Style::Rows;
        let (m_, n_) = if rows { (n, m) } else { (m, n) };
        let (uplo, turned) = (triangle(upper != rows), trans(case.trans_a != rows));
        let (ta, tb) = if rows { (case.trans_b, case.trans_a) } else { (case.trans_a, case.trans_b) };
        let (ta, tb) = (trans(ta), trans(tb));
        let ((p, ldp), (q, ldq)) = if rows { ((b_ptr, b.ld), (a_ptr, a.ld)) } else { ((a_ptr, a.ld), (b_ptr, b.ld)) };
        // SAFETY: the layouts of a case lie in its operands, and `operands` is exclusive.
        unsafe {
            match case.routine {
                Routine::Gemm => {
                    call!(self order gemm cblas_gemm (f ta, f tb, i m_, i n_, i k, v alpha, p p, i ldp, p q, i ldq, v beta, p c_ptr, i c.ld))
                }
                Routine::Gemmt => {
                    let Some(extensions) = &self.extensions else {
                        // All of C, of which the caller compares one triangle.
                        call!(self order gemm cblas_gemm (f ta, f tb, i n, i n, i k, v alpha, p p, i ldp, p q, i ldq, v beta, p c_ptr, i c.ld));
                        return T::ZERO;
                    };
                    call!(extensions order gemmt cblas_gemmt (f uplo, f ta, f tb, i n, i k, v alpha, p p, i ldp, p q, i ldq, v beta, p c_ptr, i c.ld));
                }
                Routine::Batch => self.batch(case, (a_ptr, b_ptr, c_ptr)),
                Routine::Symm => {
                    call!(self order symm cblas_symm (f side(case.right != rows), f uplo, i m_, i n_, v alpha, p a_ptr, i a.ld, p b_ptr, i b.ld, v beta, p c_ptr, i c.ld))
                }
                Routine::Syrk => {
                    call!(self order syrk cblas_syrk (f uplo, f turned, i n, i k, v alpha, p a_ptr, i a.ld, v beta, p c_ptr, i c.ld))
                }
                Routine::Syr2k => {
                    call!(self order syr2k cblas_syr2k (f uplo, f turned, i n, i k, v alpha, p a_ptr, i a.ld, p b_ptr, i b.ld, v beta, p c_ptr, i c.ld))
                }
                Routine::Trmm => {
                    call!(self order trmm cblas_trmm (f side(case.right != rows), f uplo, f trans(case.trans_a), f diag(case.unit), i m_, i n_, v alpha, p a_ptr, i a.ld, p c_ptr, i c.ld))
                }
                Routine::Trsm => {
                    call!(self order trsm cblas_trsm (f side(case.right != rows), f uplo, f trans(case.trans_a), f diag(case.unit), i m_, i n_, v alpha, p a_ptr, i a.ld, p c_ptr, i c.ld))
                }
                Routine::Gemv => {
                    call!(self order gemv cblas_gemv (f turned, i m_, i n_, v alpha, p a_ptr, i a.ld, p b_ptr, i b.ld, v beta, p c_ptr, i c.ld))
                }
                Routine::Ger => call!(self order ger cblas_ger (i m_, i n_, v alpha, p p, i ldp, p q, i ldq, p c_ptr, i c.ld)),
                Routine::Dot if order.is_some() => {
                    return (self.cblas_dot)(I::new(n as isize), a_ptr, I::new(a.ld), b_ptr, I::new(b.ld));
                }
                Routine::Dot => return (self.dot)(&I::new(n as isize), a_ptr, &I::new(a.ld), b_ptr, &I::new(b.ld)),
            }
        }
        T::ZERO
    }
}

impl<T: Real, I: Int> Functions<T, I> {
    /// Runs a batch, one product after another if the library has no batches.
    ///
    /// # Safety
    /// The pointers are those of the operands of `case`.
    unsafe fn batch(&self, case: &Case<T>, (a, b, c): (*const T, *const T, *mut T)) {
        let Case { alpha, beta, m, n, k, count, strides, .. } = *case;
        let rows = case.style == Style::Rows;
        let (order, (m, n)) = if rows { (101, (n, m)) } else { (102, (m, n)) };
        let mut left = (trans(case.trans_a).1, a, case.a.ld, strides[0]);
        let mut right = (trans(case.trans_b).1, b, case.b.ld, strides[1]);
        if rows {
            (left, right) = (right, left);
        }
        let int = |v: usize| I::new(v as isize);
        let (lda, ldb, ldc) = (I::new(left.2), I::new(right.2), I::new(case.c.ld));
        // SAFETY: the caller's promise; product p lies p strides further.
        unsafe {
            if let Some(Extensions { batch, .. }) = &self.extensions {
                let (sa, sb, sc) = (int(left.3), int(right.3), int(strides[2]));
                let sizes = (int(m), int(n), int(k));
                batch(
                    order,
                    left.0,
                    right.0,
                    sizes.0,
                    sizes.1,
                    sizes.2,
                    alpha,
                    left.1,
                    lda,
                    sa,
                    right.1,
                    ldb,
                    sb,
                    beta,
                    c,
                    ldc,
                    sc,
                    int(count),
                );
                return;
            }
            for p in 0..count {
                let (a, b, c) = (left.1.add(p * left.3), right.1.add(p * right.3), c.add(p * strides[2]));
                (self.cblas_gemm)(order, left.0, right.0, int(m), int(n), int(k), alpha, a, lda, b, ldb, beta, c, ldc);
            }
        }
    }
}
