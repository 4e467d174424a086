//! Each function on floats and each on doubles gives the bits of the kernel that it names. After
//! `reserve`, calls do not allocate.

use gaitprop::context::*;
use gaitprop::elementwise::*;
use gaitprop::factor::*;
use gaitprop::linear::*;
use gaitprop::packed::*;
use gaitprop::product::*;
use gaitprop::reserve::*;
use gaitprop::status::gaitprop_status;
use gaitprop::status::gaitprop_status::GAITPROP_OK;
use gaitprop::triangular::*;
use gaitprop::types::*;
use gaitprop_kernels::epilogue::{self, AdamStep};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::syrk::{Diagonal, Part};
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{null, null_mut};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sides of the operands; small ones for Miri.
const M: usize = if cfg!(miri) { 5 } else { 21 };
const N: usize = if cfg!(miri) { 9 } else { 34 };
const K: usize = if cfg!(miri) { 6 } else { 27 };

/// Numbers between −1 and 1.
fn numbers<T: Real>(len: usize, of: f64) -> Vec<T> {
    (0..len).map(|i| T::from_f64((of * (i + 1) as f64).sin())).collect()
}

/// An n×n matrix with a large diagonal.
fn dominant<T: Real>(n: usize, of: f64) -> Vec<T> {
    let mut a = numbers::<T>(n * n, of);
    (0..n).for_each(|i| a[i * n + i] += T::from_f64(2.0 * n as f64));
    a
}

fn same<T: Real>(what: &str, found: &[T], wanted: &[T]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(f.bits(), w.bits(), "{what}: element {i} is {f}, not {w}");
    }
}

fn ok(what: &str, status: gaitprop_status) {
    assert_eq!(status, GAITPROP_OK, "{what}");
}

fn view<T>(data: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::new(data, rows, cols).unwrap()
}

fn view_mut<T>(data: &mut [T], rows: usize, cols: usize) -> MatMut<'_, T> {
    MatMut::new(data, rows, cols).unwrap()
}

/// A new context, and how the kernels compute beside it.
fn setting() -> (*mut gaitprop_context, Plan, Scratch) {
    let mut ctx = null_mut();
    // SAFETY: `ctx` is a place for the context.
    ok("context_new", unsafe { gaitprop_context_new(&mut ctx) });
    (ctx, Plan::new(), Scratch::new())
}

/// Defines the tests of one element type. Each `unsafe` block calls functions whose operands are
/// slices of the sizes that are passed.
macro_rules! tests_of {
    ($module:ident, $t:ty, $mat:ident, $mat_mut:ident, $batch:ident, $batch_mut:ident, $adam:ident, $packed:ident,
     $([$name:ident, $function:ident])*) => {
        mod $module {
            use super::*;
            $(use super::$function as $name;)*

            fn mat(data: &[$t], rows: usize, cols: usize) -> $mat {
                assert_eq!(data.len(), rows * cols);
                $mat { data: data.as_ptr(), rows, cols, rs: cols as isize, cs: 1 }
            }

            fn mat_mut(data: &mut [$t], rows: usize, cols: usize) -> $mat_mut {
                assert_eq!(data.len(), rows * cols);
                $mat_mut { data: data.as_mut_ptr(), rows, cols, rs: cols as isize, cs: 1 }
            }

            #[test]
            fn products() {
                let (ctx, plan, mut scratch) = setting();
                let (a, b, c) = (numbers::<$t>(M * K, 1.0), numbers::<$t>(K * N, 2.0), numbers::<$t>(M * N, 3.0));
                let (mut found, mut wanted) = (c.clone(), c.clone());
                let (x, y) = (view(&a, M, K), view(&b, K, N));
                // SAFETY: as the macro says.
                ok("gemm", unsafe { gemm_c(ctx, 0.5, mat(&a, M, K), mat(&b, K, N), 2.0, mat_mut(&mut found, M, N)) });
                gemm(0.5, x, y, 2.0, view_mut(&mut wanted, M, N), &plan, &mut scratch).unwrap();
                same("gemm", &found, &wanted);

                // Rows of A as a batch of products with one B.
                (found, wanted) = (c.clone(), c.clone());
                let one = $batch { first: $mat { rows: 1, ..mat(&a, M, K) }, count: M, stride: K as isize };
                let shared = $batch { first: mat(&b, K, N), count: M, stride: 0 };
                let to = $batch_mut { first: $mat_mut { rows: 1, ..mat_mut(&mut found, M, N) }, count: M, stride: N as isize };
                // SAFETY: as the macro says.
                ok("gemm_batched", unsafe { gemm_batched_c(ctx, 0.5, one, shared, 2.0, to) });
                gemm(0.5, x, y, 2.0, view_mut(&mut wanted, M, N), &plan, &mut scratch).unwrap();
                same("gemm_batched", &found, &wanted);

                let (v, w) = (numbers::<$t>(K, 4.0), numbers::<$t>(M, 5.0));
                (found, wanted) = (w.clone(), w.clone());
                // SAFETY: as the macro says.
                ok("gemv", unsafe { gemv_c(ctx, 0.5, mat(&a, M, K), mat(&v, K, 1), 2.0, mat_mut(&mut found, M, 1)) });
                gemv::gemv(0.5, x, view(&v, K, 1), 2.0, view_mut(&mut wanted, M, 1), &plan, &mut scratch).unwrap();
                same("gemv", &found, &wanted);

                (found, wanted) = (a.clone(), a.clone());
                // SAFETY: as the macro says.
                ok("ger", unsafe { ger_c(ctx, 0.5, mat(&w, M, 1), mat(&v, K, 1), mat_mut(&mut found, M, K)) });
                ger::ger(0.5, view(&w, M, 1), view(&v, K, 1), view_mut(&mut wanted, M, K), &plan, &mut scratch).unwrap();
                same("ger", &found, &wanted);

                let (mut sum, mut means, mut wanted) = (0.0, vec![0.0; K], vec![0.0; K]);
                // SAFETY: as the macro says.
                unsafe {
                    ok("dot", dot_c(ctx, mat(&v, K, 1), mat(&a[..K], K, 1), &mut sum));
                    ok("column_means", column_means_c(ctx, mat(&a, M, K), means.as_mut_ptr()));
                    ok("context_free", gaitprop_context_free(ctx));
                }
                same("dot", &[sum], &[reduce::dot(view(&v, K, 1), view(&a[..K], K, 1), &plan).unwrap()]);
                reduce::column_means(x, &mut wanted, plan.isa).unwrap();
                same("column_means", &means, &wanted);
            }

            #[test]
            fn triangles() {
                let (ctx, plan, mut scratch) = setting();
                let (a, b, c) = (numbers::<$t>(N * K, 1.0), numbers::<$t>(N * K, 2.0), numbers::<$t>(N * N, 3.0));
                let (x, y) = (view(&a, N, K), view(&b, N, K));
                let transposed = $mat { rows: K, cols: N, rs: 1, cs: K as isize, ..mat(&b, N, K) };
                for (flag, triangle, part) in [(0, Triangle::Lower, Part::Lower), (1, Triangle::Upper, Part::Upper)] {
                    let (mut found, mut wanted) = (c.clone(), c.clone());
                    // SAFETY: as the macro says.
                    ok("gemmt", unsafe { gemmt_c(ctx, flag, 0.5, mat(&a, N, K), transposed, 2.0, mat_mut(&mut found, N, N)) });
                    gemmt::gemmt(triangle, 0.5, x, y.t(), 2.0, view_mut(&mut wanted, N, N), &plan, &mut scratch).unwrap();
                    same("gemmt", &found, &wanted);
                    // SAFETY: as the macro says.
                    ok("syr2k", unsafe { syr2k_c(ctx, flag, 0.5, mat(&a, N, K), mat(&b, N, K), 2.0, mat_mut(&mut found, N, N)) });
                    syr2k::syr2k(triangle, 0.5, x, y, 2.0, view_mut(&mut wanted, N, N), &plan, &mut scratch).unwrap();
                    same("syr2k", &found, &wanted);
                    // SAFETY: as the macro says.
                    ok("syrk", unsafe { syrk_c(ctx, flag, 0, 0.5, mat(&a, N, K), 2.0, mat_mut(&mut found, N, N)) });
                    let to = view_mut(&mut wanted, N, N);
                    syrk::syrk(0.5, x, 2.0, part, Diagonal::Kept, to, &plan, &mut scratch).unwrap();
                    same("syrk", &found, &wanted);
                    for (side, of) in [(0, Side::Left), (1, Side::Right)] {
                        let (rows, cols) = if side == 0 { (N, K) } else { (K, N) };
                        let (mut found, mut wanted) = (b.clone(), b.clone());
                        let to = mat_mut(&mut found, rows, cols);
                        // SAFETY: as the macro says.
                        ok("symm", unsafe { symm_c(ctx, side, flag, 0.5, mat(&c, N, N), mat(&a, rows, cols), 2.0, to) });
                        let (s, r, to) = (view(&c, N, N), view(&a, rows, cols), view_mut(&mut wanted, rows, cols));
                        symm::symm(of, triangle, 0.5, s, r, 2.0, to, &plan, &mut scratch).unwrap();
                        same("symm", &found, &wanted);
                        for (diag, stored) in [(0, Diag::Stored), (1, Diag::Unit)] {
                            let s = dominant::<$t>(N, 4.0);
                            let to = mat_mut(&mut found, rows, cols);
                            // SAFETY: as the macro says.
                            ok("trmm", unsafe { trmm_c(ctx, side, flag, diag, 0.5, mat(&s, N, N), to) });
                            let to = view_mut(&mut wanted, rows, cols);
                            trmm::product(of, triangle, stored, 0.5, view(&s, N, N), to, &plan, &mut scratch).unwrap();
                            same("trmm", &found, &wanted);
                            let to = mat_mut(&mut found, rows, cols);
                            // SAFETY: as the macro says.
                            ok("trsm", unsafe { trsm_c(ctx, side, flag, diag, 0.5, mat(&s, N, N), to) });
                            let to = view_mut(&mut wanted, rows, cols);
                            trsm::solve(of, triangle, stored, 0.5, view(&s, N, N), to, &plan, &mut scratch).unwrap();
                            same("trsm", &found, &wanted);
                        }
                    }
                }
                let mut both = c.clone();
                // SAFETY: as the macro says.
                ok("syrk", unsafe { syrk_c(ctx, 2, 1, 1.0, mat(&a, N, K), 0.0, mat_mut(&mut both, N, N)) });
                let mut wanted = vec![0.0; N * N];
                let to = view_mut(&mut wanted, N, N);
                syrk::syrk(1.0, x, 0.0, Part::Both, Diagonal::Dropped, to, &plan, &mut scratch).unwrap();
                same("syrk", &both, &wanted);
                // SAFETY: `ctx` is not used again.
                ok("context_free", unsafe { gaitprop_context_free(ctx) });
            }

            #[test]
            fn factorizations() {
                let (ctx, plan, mut scratch) = setting();
                let (mut found, b) = (numbers::<$t>(N * N, 1.0), numbers::<$t>(N * K, 2.0));
                let (mut wanted, mut pivots, mut wanted_pivots) = (found.clone(), [0; N], [0; N]);
                // SAFETY: as the macro says.
                ok("lu_factor", unsafe { lu_factor_c(ctx, mat_mut(&mut found, N, N), pivots.as_mut_ptr()) });
                lu::factor(view_mut(&mut wanted, N, N), &mut wanted_pivots, &plan, &mut scratch).unwrap();
                same("lu_factor", &found, &wanted);
                assert_eq!(pivots, wanted_pivots);
                let (lu, of, p) = (mat(&found, N, N), view(&wanted, N, N), pivots.as_ptr());
                let (mut x, mut y, mut norm) = (b.clone(), b.clone(), 0.0);
                // SAFETY: as the macro says.
                unsafe {
                    ok("lu_solve_left", lu_solve_left_c(ctx, lu, p, mat_mut(&mut x, N, K)));
                    ok("lu_solve_right", lu_solve_right_c(ctx, lu, p, mat_mut(&mut x, K, N)));
                    ok("lu_inverse_norm1", lu_inverse_norm1_c(ctx, lu, p, &mut norm));
                }
                lu::solve_left(of, &pivots, view_mut(&mut y, N, K), &plan, &mut scratch).unwrap();
                lu::solve_right(of, &pivots, view_mut(&mut y, K, N), &plan, &mut scratch).unwrap();
                same("lu_solve", &x, &y);
                let mut work = [0.0; 2 * N];
                let estimate = lu::inverse_norm1(of, &pivots, &mut work, &plan, &mut scratch).unwrap();
                assert_eq!(norm.to_bits(), estimate.to_bits());

                let a = dominant::<$t>(N, 3.0);
                (found, wanted) = (a.clone(), a);
                (x, y) = (b.clone(), b);
                // SAFETY: as the macro says.
                unsafe {
                    ok("cholesky_factor", cholesky_factor_c(ctx, mat_mut(&mut found, N, N)));
                    ok("cholesky_solve", cholesky_solve_c(ctx, mat(&found, N, N), mat_mut(&mut x, N, K)));
                    ok("context_free", gaitprop_context_free(ctx));
                }
                cholesky::factor(view_mut(&mut wanted, N, N), &plan, &mut scratch).unwrap();
                same("cholesky_factor", &found, &wanted);
                cholesky::solve(view(&wanted, N, N), view_mut(&mut y, N, K), &plan, &mut scratch).unwrap();
                same("cholesky_solve", &x, &y);
            }

            #[test]
            fn packed_products_and_layers() {
                let (ctx, plan, mut scratch) = setting();
                let (x, w, bias) = (numbers::<$t>(M * K, 1.0), numbers::<$t>(K * N, 2.0), numbers::<$t>(N, 3.0));
                let (e, old) = (numbers::<$t>(M * N, 4.0), numbers::<$t>(K * N, 5.0));
                let (mut packed, mut forward, mut back) = (null_mut::<$packed>(), vec![0.0; M * N], vec![0.0; M * K]);
                // SAFETY: as the macro says; `packed` is packed first.
                unsafe {
                    ok("pack", pack_c(ctx, mat(&old, K, N), 2, &mut packed));
                    ok("repack", repack_c(ctx, packed, mat(&w, K, N)));
                    ok("gemm_packed", gemm_packed_c(ctx, 0.5, mat(&x, M, K), packed, 0, 0.0, mat_mut(&mut forward, M, N)));
                    ok("gemm_packed", gemm_packed_c(ctx, 0.5, mat(&e, M, N), packed, 1, 0.0, mat_mut(&mut back, M, K)));
                }
                let (mut y, mut z) = (vec![0.0; M * N], vec![0.0; M * K]);
                let (from, of) = (view(&x, M, K), view(&w, K, N));
                gemm(0.5, from, of, 0.0, view_mut(&mut y, M, N), &plan, &mut scratch).unwrap();
                gemm(0.5, view(&e, M, N), of.t(), 0.0, view_mut(&mut z, M, K), &plan, &mut scratch).unwrap();
                same("gemm_packed", &forward, &y);
                same("gemm_packed, transposed", &back, &z);

                let f = gaitprop_activation { kind: 2, slope: 0.0 };
                let (mut slope, mut d) = (vec![0.0; M * N], vec![0.0; M * N]);
                gemm(1.0, from, of, 0.0, view_mut(&mut y, M, N), &plan, &mut scratch).unwrap();
                let mut h = y.clone();
                let (to, kept) = (view_mut(&mut y, M, N), view_mut(&mut d, M, N));
                epilogue::bias_activate(Activation::Tanh, to, &bias, Some(kept), plan.isa).unwrap();
                let b = bias.as_ptr();
                let to = mat_mut(&mut slope, M, N);
                // SAFETY: as the macro says.
                ok("linear_forward", unsafe {
                    linear_forward_c(ctx, mat(&x, M, K), mat(&w, K, N), b, f, mat_mut(&mut forward, M, N), &to)
                });
                same("linear_forward", &forward, &y);
                same("slope", &slope, &d);
                forward.fill(0.0);
                // SAFETY: as the macro says.
                unsafe {
                    let to = mat_mut(&mut forward, M, N);
                    ok("linear_forward_packed", linear_forward_packed_c(ctx, mat(&x, M, K), packed, b, f, to, null()));
                    ok("bias_activate", bias_activate_c(ctx, mat_mut(&mut h, M, N), b, f, null()));
                    ok("packed_free", packed_free_c(packed));
                    ok("context_free", gaitprop_context_free(ctx));
                }
                same("linear_forward_packed", &forward, &y);
                same("bias_activate", &h, &y);
            }

            #[test]
            fn perturbations() {
                let (ctx, plan, _) = setting();
                // Activities of tanh, whose targets stay in its range.
                let y: Vec<$t> = numbers::<$t>(M * N, 1.0).iter().map(|y| 0.5 * y).collect();
                let e = numbers::<$t>(M * N, 2.0);
                let slope: Vec<$t> = y.iter().map(|y| 1.0 - y * y).collect();
                let [mut r, mut delta, mut wanted_r, mut wanted] = [(); 4].map(|()| vec![0.0; M * N]);
                for (weighting, of) in [(0, Weighting::SlopeSquared), (1, Weighting::Plain)] {
                    for (limit, scale) in [(0, Scale::Finite(0.01)), (1, Scale::Limit)] {
                        let f = gaitprop_activation { kind: 2, slope: 0.0 };
                        let p = gaitprop_perturbation { activation: f, weighting, limit, scale: 0.01 };
                        let kept = mat(&slope, M, N);
                        let (to, to_delta) = (mat_mut(&mut r, M, N), mat_mut(&mut delta, M, N));
                        // SAFETY: as the macro says.
                        ok("perturb", unsafe { perturb_c(ctx, p, mat(&y, M, N), &kept, mat(&e, M, N), to, to_delta) });
                        let p = Perturbation { activation: Activation::Tanh, weighting: of, scale };
                        let (to, to_delta) = (view_mut(&mut wanted_r, M, N), view_mut(&mut wanted, M, N));
                        let kept = Some(view(&slope, M, N));
                        perturb::perturb(p, view(&y, M, N), kept, view(&e, M, N), to, to_delta, plan.isa).unwrap();
                        same("r", &r, &wanted_r);
                        same("delta", &delta, &wanted);
                    }
                }
                let f = gaitprop_activation { kind: 1, slope: 0.3 };
                // SAFETY: as the macro says.
                unsafe {
                    let to = mat_mut(&mut delta, M, N);
                    ok("activation_grad", activation_grad_c(ctx, f, mat(&y, M, N), null(), mat(&e, M, N), to));
                    ok("context_free", gaitprop_context_free(ctx));
                }
                let (f, to) = (Activation::LeakyRelu { slope: 0.3 }, view_mut(&mut wanted, M, N));
                perturb::activation_grad(f, view(&y, M, N), None, view(&e, M, N), to, plan.isa).unwrap();
                same("activation_grad", &delta, &wanted);
            }

            /// Each optimizer inside a product, and on the product's elements.
            #[test]
            fn optimizers() {
                let (ctx, plan, mut scratch) = setting();
                let (x, e, start) = (numbers::<$t>(M * K, 1.0), numbers::<$t>(M * N, 2.0), numbers::<$t>(K * N, 3.0));
                let (mean, mut d) = (1.0 / M as $t, start.clone());
                gemm(mean, view(&x, M, K).t(), view(&e, M, N), 1.0, view_mut(&mut d, K, N), &plan, &mut scratch).unwrap();
                let step = $adam {
                    rate: 0.01,
                    beta1: 0.9,
                    one_minus_beta1: 0.1,
                    beta2: 0.99,
                    one_minus_beta2: 0.01,
                    epsilon: 1e-8,
                    correction: 3.0,
                };
                let of = AdamStep { rate: 0.01, beta1: (0.9, 0.1), beta2: (0.99, 0.01), epsilon: 1e-8, correction: 3.0 };
                let (w, m) = (numbers::<$t>(K * N, 4.0), numbers::<$t>(K * N, 5.0));
                let v: Vec<$t> = m.iter().map(|m| m * m).collect();
                let (x, e, from) = (mat(&x, M, K), mat(&e, M, N), mat(&start, K, N));

                let [mut fused, mut passes, mut wanted] = [(); 3].map(|()| (w.clone(), m.clone(), v.clone()));
                epilogue::adam(of, &mut wanted.0, &mut wanted.1, &mut wanted.2, &d, plan.isa).unwrap();
                let [to, to_m, to_v] = [&mut fused.0, &mut fused.1, &mut fused.2].map(|data| mat_mut(data, K, N));
                let [p, p_m, p_v] = [&mut passes.0, &mut passes.1, &mut passes.2].map(|data| data.as_mut_ptr());
                // SAFETY: as the macro says.
                unsafe {
                    ok("linear_adam", linear_adam_c(ctx, mean, x, e, &from, step, to_m, to_v, to));
                    ok("adam", adam_c(ctx, step, K * N, p, p_m, p_v, d.as_ptr()));
                }
                for (found, what) in [(fused, "linear_adam"), (passes, "adam")] {
                    same(what, &found.0, &wanted.0);
                    same(what, &found.1, &wanted.1);
                    same(what, &found.2, &wanted.2);
                }

                let [mut fused, mut passes, mut wanted] = [(); 3].map(|()| (w.clone(), m.clone()));
                epilogue::momentum(0.1, 0.9, &mut wanted.0, &mut wanted.1, &d, plan.isa).unwrap();
                let (to, to_m) = (mat_mut(&mut fused.0, K, N), mat_mut(&mut fused.1, K, N));
                let (p, p_m) = (passes.0.as_mut_ptr(), passes.1.as_mut_ptr());
                // SAFETY: as the macro says.
                unsafe {
                    ok("linear_momentum", linear_momentum_c(ctx, mean, x, e, &from, 0.1, 0.9, to_m, to));
                    ok("momentum", momentum_c(ctx, 0.1, 0.9, K * N, p, p_m, d.as_ptr()));
                }
                for (found, what) in [(fused, "linear_momentum"), (passes, "momentum")] {
                    same(what, &found.0, &wanted.0);
                    same(what, &found.1, &wanted.1);
                }

                let [mut fused, mut passes, mut wanted] = [(); 3].map(|()| w.clone());
                epilogue::descend(0.1, &mut wanted, &d, plan.isa).unwrap();
                // SAFETY: as the macro says.
                unsafe {
                    ok("linear_descend", linear_descend_c(ctx, mean, x, e, &from, 0.1, mat_mut(&mut fused, K, N)));
                    ok("descend", descend_c(ctx, 0.1, K * N, passes.as_mut_ptr(), d.as_ptr()));
                    ok("context_free", gaitprop_context_free(ctx));
                }
                same("linear_descend", &fused, &wanted);
                same("descend", &passes, &wanted);
            }

            /// Runs `call` after `reserve`, and expects that it does not allocate.
            fn without_allocation(what: &str, ctx: *mut gaitprop_context, mut call: impl FnMut() -> gaitprop_status) {
                let before = ALLOCATIONS.get();
                ok(what, call());
                assert_eq!(ALLOCATIONS.get() - before, 0, "{what} allocates after reserve");
                // SAFETY: `ctx` is not used again.
                ok("context_free", unsafe { gaitprop_context_free(ctx) });
            }

            #[test]
            fn reserved_calls_do_not_allocate() {
                // Large enough for packed operands, but for Miri.
                let n = if cfg!(miri) { 9 } else { 130 };
                let (a, square) = (numbers::<$t>(n * n, 1.0), dominant::<$t>(n, 2.0));
                let (mut c, mut pivots) = (square.clone(), vec![0; n]);
                let p = pivots.as_mut_ptr();
                // An operation with the call that it is for.
                let reserved = |operation: i32| {
                    let ctx = setting().0;
                    // SAFETY: `ctx` is live.
                    ok("reserve", unsafe { reserve_c(ctx, operation, n, n, n) });
                    ctx
                };
                let (x, s, to) = (mat(&a, n, n), mat(&square, n, n), mat_mut(&mut c, n, n));
                let t = $mat { rs: 1, cs: n as isize, ..x };
                // SAFETY: as the macro says.
                unsafe {
                    let ctx = reserved(0);
                    without_allocation("gemm", ctx, || gemm_c(ctx, 0.5, t, t, 1.0, to));
                    let ctx = reserved(1);
                    without_allocation("linear_descend", ctx, || linear_descend_c(ctx, 0.5, x, x, null(), 0.1, to));
                    let ctx = reserved(2);
                    without_allocation("syr2k", ctx, || syr2k_c(ctx, 0, 0.5, x, t, 1.0, to));
                    let ctx = reserved(3);
                    without_allocation("symm", ctx, || symm_c(ctx, 0, 0, 0.5, x, t, 1.0, to));
                    let ctx = reserved(4);
                    without_allocation("trmm", ctx, || trmm_c(ctx, 0, 0, 0, 0.5, s, to));
                    let ctx = reserved(4);
                    without_allocation("trsm", ctx, || trsm_c(ctx, 1, 0, 0, 0.5, s, to));
                    let ctx = reserved(5);
                    let (v, y) = ($mat { cols: 1, ..t }, $mat_mut { cols: 1, ..to });
                    without_allocation("gemv", ctx, || gemv_c(ctx, 0.5, x, v, 1.0, y));
                    let ctx = reserved(6);
                    let own = mat_mut(&mut c, n, n);
                    without_allocation("lu_factor", ctx, || lu_factor_c(ctx, own, p));
                    let (lu, mut norm) = ($mat { data: own.data, ..s }, 0.0);
                    let ctx = reserved(6);
                    without_allocation("lu_inverse_norm1", ctx, || lu_inverse_norm1_c(ctx, lu, p, &mut norm));
                    let mut b = a.clone();
                    let b = mat_mut(&mut b, n, n);
                    let ctx = reserved(6);
                    without_allocation("lu_solve_right", ctx, || lu_solve_right_c(ctx, lu, p, b));
                    let mut own = square.clone();
                    let own = mat_mut(&mut own, n, n);
                    let ctx = reserved(7);
                    without_allocation("cholesky_factor", ctx, || cholesky_factor_c(ctx, own));
                    let ctx = reserved(7);
                    let l = $mat { data: own.data, ..s };
                    without_allocation("cholesky_solve", ctx, || cholesky_solve_c(ctx, l, b));
                    let ctx = setting().0;
                    ok("reserve_batched", reserve_batched_c(ctx, 2, n, n, n));
                    let (one, mut two) = ($batch { first: t, count: 2, stride: 0 }, vec![0.0; 2 * n * n]);
                    let first = $mat_mut { data: two.as_mut_ptr(), ..to };
                    let two = $batch_mut { first, count: 2, stride: (n * n) as isize };
                    without_allocation("gemm_batched", ctx, || gemm_batched_c(ctx, 1.0, one, one, 0.0, two));
                }
            }
        }
    };
}

macro_rules! tests {
    ($($name:ident $s:ident $d:ident;)*) => {
        tests_of!(floats, f32, gaitprop_smat, gaitprop_smat_mut, gaitprop_sbatch, gaitprop_sbatch_mut, gaitprop_sadam_step,
            gaitprop_spacked, $([$name, $s])*);
        tests_of!(doubles, f64, gaitprop_dmat, gaitprop_dmat_mut, gaitprop_dbatch, gaitprop_dbatch_mut, gaitprop_dadam_step,
            gaitprop_dpacked, $([$name, $d])*);
    };
}

tests! {
    gemm_c gaitprop_sgemm gaitprop_dgemm;
    gemm_batched_c gaitprop_sgemm_batched gaitprop_dgemm_batched;
    gemmt_c gaitprop_sgemmt gaitprop_dgemmt;
    symm_c gaitprop_ssymm gaitprop_dsymm;
    syrk_c gaitprop_ssyrk gaitprop_dsyrk;
    syr2k_c gaitprop_ssyr2k gaitprop_dsyr2k;
    gemv_c gaitprop_sgemv gaitprop_dgemv;
    ger_c gaitprop_sger gaitprop_dger;
    dot_c gaitprop_sdot gaitprop_ddot;
    column_means_c gaitprop_scolumn_means gaitprop_dcolumn_means;
    trmm_c gaitprop_strmm gaitprop_dtrmm;
    trsm_c gaitprop_strsm gaitprop_dtrsm;
    lu_factor_c gaitprop_slu_factor gaitprop_dlu_factor;
    lu_solve_left_c gaitprop_slu_solve_left gaitprop_dlu_solve_left;
    lu_solve_right_c gaitprop_slu_solve_right gaitprop_dlu_solve_right;
    lu_inverse_norm1_c gaitprop_slu_inverse_norm1 gaitprop_dlu_inverse_norm1;
    cholesky_factor_c gaitprop_scholesky_factor gaitprop_dcholesky_factor;
    cholesky_solve_c gaitprop_scholesky_solve gaitprop_dcholesky_solve;
    pack_c gaitprop_spack gaitprop_dpack;
    repack_c gaitprop_srepack gaitprop_drepack;
    packed_free_c gaitprop_spacked_free gaitprop_dpacked_free;
    gemm_packed_c gaitprop_sgemm_packed gaitprop_dgemm_packed;
    linear_forward_c gaitprop_slinear_forward gaitprop_dlinear_forward;
    linear_forward_packed_c gaitprop_slinear_forward_packed gaitprop_dlinear_forward_packed;
    linear_descend_c gaitprop_slinear_descend gaitprop_dlinear_descend;
    linear_momentum_c gaitprop_slinear_momentum gaitprop_dlinear_momentum;
    linear_adam_c gaitprop_slinear_adam gaitprop_dlinear_adam;
    bias_activate_c gaitprop_sbias_activate gaitprop_dbias_activate;
    perturb_c gaitprop_sperturb gaitprop_dperturb;
    activation_grad_c gaitprop_sactivation_grad gaitprop_dactivation_grad;
    descend_c gaitprop_sdescend gaitprop_ddescend;
    momentum_c gaitprop_smomentum gaitprop_dmomentum;
    adam_c gaitprop_sadam gaitprop_dadam;
    reserve_c gaitprop_sreserve gaitprop_dreserve;
    reserve_batched_c gaitprop_sreserve_batched gaitprop_dreserve_batched;
}

#[test]
#[cfg_attr(miri, ignore = "takes hours; Miri runs the kernels' own tests")]
fn the_self_test_passes_on_threads() {
    let ctx = setting().0;
    let mut checks = 0;
    // SAFETY: `ctx` is live, and `checks` is a place for a size.
    unsafe {
        ok("set_threads", gaitprop_context_set_threads(ctx, 2));
        ok("selftest", gaitprop_selftest(ctx, &mut checks));
        ok("context_free", gaitprop_context_free(ctx));
    }
    assert!(checks > 20, "{checks}");
}
