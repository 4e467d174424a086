//! Self-test: checks that every kernel gives the correct bits on this machine.
//!
//! ```
//! use gaitprop_kernels::{Par, selftest};
//! for check in selftest::run(Par::Seq)? {
//!     assert!(check.wrong.is_none(), "{check}");
//! }
//! # Ok::<(), gaitprop_kernels::Error>(())
//! ```
//!
//! Products, triangular solves and factorizations are compared with the loops of
//! [`mod@crate::reference`]. Elementwise passes and fused products are compared with the portable
//! kernels. A single different bit fails.
//!
//! The results of the references themselves are compared with digests from another machine. This
//! catches a multiply-add that rounds twice, or that of a faulty emulator, which every kernel would
//! share.

use crate::base::error::Error;
use crate::base::flags::{Diag, Diagonal, Part, Side, Triangle};
use crate::base::isa::Isa;
use crate::base::matrix::{MatMut, MatRef};
use crate::base::par::Par;
use crate::base::scratch::Scratch;
use crate::check::reference;
use crate::elementwise::activation::{Activation, bias_activate};
use crate::elementwise::optimizer::{AdamStep, adam, descend, momentum};
use crate::elementwise::perturb::{Perturbation, Scale, Weighting, perturb};
use crate::elementwise::reduce;
use crate::factor::{cholesky, lu};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::fused::gemm_with;
use crate::gemm::gemm;
use crate::gemm::job::Start;
use crate::level2::dot::dot;
use crate::level3::symm::symm;
use crate::level3::syrk::syrk;
use crate::level3::trsm;
use crate::pack::prepacked::{Orientation, PackedRhs};
use crate::plan::Plan;
use crate::tile::table::Real;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The result of one kernel on one instruction set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Check {
    /// The instruction set.
    pub isa: Isa,
    /// The element type: `f32` or `f64`.
    pub element: &'static str,
    /// The name of the kernel.
    pub kernel: &'static str,
    /// Number of calls compared.
    pub calls: usize,
    /// Number of elements in the results of all calls.
    pub elements: usize,
    /// The first element that differs, if any.
    pub wrong: Option<Wrong>,
}

/// An element with wrong bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Index of the call.
    pub call: usize,
    /// Index of the element in the row-major result.
    pub index: usize,
    /// The bits found.
    pub found: u64,
    /// The bits expected.
    pub expected: u64,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { isa, element, kernel, calls, elements, wrong } = self;
        write!(f, "{isa} {element} {kernel}: {calls} calls, {elements} elements, ")?;
        match wrong {
            None => f.write_str("every bit right"),
            Some(Wrong { call, index, found, expected }) => {
                write!(f, "WRONG: call {call}, element {index} is {found:#x}, not {expected:#x}")
            }
        }
    }
}

/// Digests of all results of the references, from an x86-64 machine (Zen 5). The test on emulated
/// ARM gives the same.
const DIGESTS: [(&str, u64); 2] = [("f32", 0x90b4_507d_9133_98cd), ("f64", 0x5d39_38e0_626c_1ec5)];

/// Runs every kernel on every instruction set of this CPU, in both precisions. Takes about a
/// second.
///
/// The last two rows, `reference` on [`Isa::PORTABLE`], compare the digests of the references.
///
/// # Errors
/// [`Error::OutOfMemory`] if memory does not suffice. Wrong bits are no error: [`Check::wrong`]
/// holds them.
pub fn run(par: Par) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    let mut digests = [Digest::default(); 2];
    for (i, isa) in Isa::available().enumerate() {
        let plan = Plan::new().with_isa(isa).with_par(par.clone()).with_min_work(1);
        all::<f32>(&plan, &mut checks, (i == 0).then_some(&mut digests[0]))?;
        all::<f64>(&plan, &mut checks, (i == 0).then_some(&mut digests[1]))?;
    }
    for ((element, expected), digest) in DIGESTS.into_iter().zip(digests) {
        let found = digest.value;
        let wrong = (found != expected).then_some(Wrong { call: 0, index: 0, found, expected });
        checks.push(Check {
            isa: Isa::PORTABLE,
            element,
            kernel: "reference",
            calls: digest.calls,
            elements: digest.elements,
            wrong,
        });
    }
    Ok(checks)
}

/// An FNV-1a hash (Fowler, Noll and Vo) of the bits of results.
#[derive(Clone, Copy)]
struct Digest {
    value: u64,
    calls: usize,
    elements: usize,
}

impl Default for Digest {
    fn default() -> Self {
        Self { value: 0xcbf2_9ce4_8422_2325, calls: 0, elements: 0 }
    }
}

impl Digest {
    fn take<T: Real>(&mut self, x: &[T]) {
        (self.calls, self.elements) = (self.calls + 1, self.elements + x.len());
        for byte in x.iter().flat_map(|v| v.bits().to_le_bytes()) {
            self.value = (self.value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// A generator of numbers in [−1, 1), equal on every machine (SplitMix64: Steele, Lea and Flood,
/// 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn vector<T: Real>(&mut self, len: usize) -> Vec<T> {
        (0..len).map(|_| T::from_f64(self.next())).collect()
    }

    /// Returns a diagonally dominant, and so well-conditioned, n×n matrix.
    fn dominant<T: Real>(&mut self, n: usize) -> Vec<T> {
        let mut a = self.vector::<T>(n * n);
        (0..n).for_each(|i| a[i * n + i] = T::from_f64(n as f64 + self.next()));
        a
    }
}

/// A row of the result while its calls run.
struct Row<'d> {
    check: Check,
    digest: Option<&'d mut Digest>,
}

impl Row<'_> {
    fn compare<T: Real>(&mut self, found: &[T], expected: &[T]) {
        let check = &mut self.check;
        if check.wrong.is_none() {
            let differ = found.iter().zip(expected).position(|(a, b)| a.bits() != b.bits());
            check.wrong = differ.map(|index| Wrong {
                call: check.calls,
                index,
                found: found[index].bits(),
                expected: expected[index].bits(),
            });
        }
        (check.calls, check.elements) = (check.calls + 1, check.elements + expected.len());
        if let Some(digest) = &mut self.digest {
            digest.take(expected);
        }
    }
}

/// (m, n, k) of the products: smaller than every tile, at the edges of all tiles, and large enough
/// for several blocks and threads.
const PRODUCTS: [(usize, usize, usize); 7] =
    [(1, 1, 1), (5, 7, 3), (14, 32, 33), (23, 49, 16), (60, 64, 64), (61, 97, 40), (6, 200, 130)];
/// Orders of the square matrices.
const ORDERS: [usize; 5] = [1, 7, 33, 64, 129];

fn all<T: Real>(plan: &Plan, checks: &mut Vec<Check>, mut digest: Option<&mut Digest>) -> Result<(), Error> {
    let kernels: [(&'static str, Kernel); 10] = [
        ("product", product::<T>),
        ("packed product", packed::<T>),
        ("fused product", fused::<T>),
        ("SYRK", rank_k::<T>),
        ("SYMM", symmetric::<T>),
        ("triangular solve", triangular::<T>),
        ("LU", lu_factors::<T>),
        ("Cholesky", cholesky_factor::<T>),
        ("perturbation", perturbation::<T>),
        ("sums and updates", passes::<T>),
    ];
    for (kernel, call) in kernels {
        let check = Check { isa: plan.isa, element: T::NAME, kernel, calls: 0, elements: 0, wrong: None };
        let mut row = Row { check, digest: digest.as_deref_mut() };
        call(plan, &mut row, &mut Numbers(1), &mut Scratch::new())?;
        checks.push(row.check);
    }
    Ok(())
}

type Kernel = fn(&Plan, &mut Row<'_>, &mut Numbers, &mut Scratch) -> Result<(), Error>;

/// Views `data` as a row-major or column-major matrix.
fn view<T: Real>(data: &[T], rows: usize, cols: usize, column_major: bool) -> Result<MatRef<'_, T>, Error> {
    if column_major { Ok(MatRef::new(data, cols, rows)?.t()) } else { MatRef::new(data, rows, cols) }
}

fn product<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for (m, n, k) in PRODUCTS {
        let (a, b, c) = (numbers.vector::<T>(m * k), numbers.vector::<T>(k * n), numbers.vector::<T>(m * n));
        for layout in 0..4 {
            let (a, b) = (view(&a, m, k, layout & 1 == 1)?, view(&b, k, n, layout & 2 == 2)?);
            for (alpha, beta) in [(T::ONE, T::ZERO), (T::from_f64(-0.7), T::ONE)] {
                let (mut found, mut expected) = (c.clone(), c.clone());
                gemm(alpha, a, b, beta, MatMut::new(&mut found, m, n)?, plan, scratch)?;
                reference::gemm(alpha, a, b, beta, MatMut::new(&mut expected, m, n)?);
                row.compare(&found, &expected);
            }
        }
    }
    Ok(())
}

fn packed<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for (m, n, k) in PRODUCTS {
        let (a, w) = (numbers.vector::<T>(m * k), numbers.vector::<T>(k * n));
        let (a, w) = (MatRef::new(&a, m, k)?, MatRef::new(&w, k, n)?);
        let panels = PackedRhs::new(w, Orientation::Plain, plan)?;
        let (mut found, mut expected) = (vec![T::ZERO; m * n], vec![T::ZERO; m * n]);
        gemm_with(T::ONE, a, panels.plain()?, Start::Zero, MatMut::new(&mut found, m, n)?, Epilogue::Store, plan, scratch)?;
        reference::gemm(T::ONE, a, w, T::ZERO, MatMut::new(&mut expected, m, n)?);
        row.compare(&found, &expected);
    }
    Ok(())
}

/// The activations to check.
const ACTIVATIONS: [Activation; 3] = [Activation::LeakyRelu { slope: 0.1 }, Activation::Tanh, Activation::Identity];

fn fused<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for (m, n, k) in PRODUCTS {
        let (a, b, bias) = (numbers.vector::<T>(m * k), numbers.vector::<T>(k * n), numbers.vector::<T>(n));
        let (a, b) = (MatRef::new(&a, m, k)?, MatRef::new(&b, k, n)?);
        for activation in ACTIVATIONS {
            let (mut found, mut expected) = (vec![T::ZERO; m * n], vec![T::ZERO; m * n]);
            let epilogue = Epilogue::Activate { activation, bias: &bias, slope: None };
            gemm_with(T::ONE, a, b, Start::Zero, MatMut::new(&mut found, m, n)?, epilogue, plan, scratch)?;
            reference::gemm(T::ONE, a, b, T::ZERO, MatMut::new(&mut expected, m, n)?);
            bias_activate(activation, MatMut::new(&mut expected, m, n)?, &bias, None, Isa::PORTABLE)?;
            row.compare(&found, &expected);
        }
    }
    Ok(())
}

fn rank_k<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for n in ORDERS {
        let k = n / 2 + 1;
        let (a, c) = (numbers.vector::<T>(n * k), numbers.vector::<T>(n * n));
        let a = MatRef::new(&a, n, k)?;
        for (part, diagonal) in [(Part::Lower, Diagonal::Kept), (Part::Upper, Diagonal::Kept), (Part::Both, Diagonal::Dropped)] {
            let (mut found, mut expected) = (c.clone(), c.clone());
            syrk(T::ONE, a, T::ZERO, part, diagonal, MatMut::new(&mut found, n, n)?, plan, scratch)?;
            reference::syrk(T::ONE, a, T::ZERO, part, diagonal, MatMut::new(&mut expected, n, n)?);
            row.compare(&found, &expected);
        }
    }
    Ok(())
}

fn symmetric<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for n in ORDERS {
        let m = n / 3 + 1;
        let (s, b) = (numbers.vector::<T>(n * n), numbers.vector::<T>(n * m));
        let s = MatRef::new(&s, n, n)?;
        for (side, (rows, cols)) in [(Side::Left, (n, m)), (Side::Right, (m, n))] {
            let b = MatRef::new(&b, rows, cols)?;
            let (mut found, mut expected) = (vec![T::ZERO; n * m], vec![T::ZERO; n * m]);
            symm(side, Triangle::Lower, T::ONE, s, b, T::ZERO, MatMut::new(&mut found, rows, cols)?, plan, scratch)?;
            reference::symm(side, Triangle::Lower, T::ONE, s, b, T::ZERO, MatMut::new(&mut expected, rows, cols)?);
            row.compare(&found, &expected);
        }
    }
    Ok(())
}

fn triangular<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for n in ORDERS {
        let rhs = 2 * n.min(20) + 1;
        let (a, b) = (numbers.dominant::<T>(n), numbers.vector::<T>(n * rhs));
        let a = MatRef::new(&a, n, n)?;
        for (side, (rows, cols)) in [(Side::Left, (n, rhs)), (Side::Right, (rhs, n))] {
            for triangle in [Triangle::Lower, Triangle::Upper] {
                let (mut found, mut expected) = (b.clone(), b.clone());
                trsm::solve(side, triangle, Diag::Stored, T::ONE, a, MatMut::new(&mut found, rows, cols)?, plan, scratch)?;
                reference::solve(side, triangle, Diag::Stored, T::ONE, a, MatMut::new(&mut expected, rows, cols)?);
                row.compare(&found, &expected);
            }
        }
    }
    Ok(())
}

fn lu_factors<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for n in ORDERS {
        let a = numbers.vector::<T>(n * n);
        let (mut found, mut expected, mut pivots) = (a.clone(), a, vec![0; n]);
        lu::factor(MatMut::new(&mut found, n, n)?, &mut pivots, plan, scratch)?;
        reference::lu(MatMut::new(&mut expected, n, n)?, &mut pivots)?;
        row.compare(&found, &expected);
    }
    Ok(())
}

fn cholesky_factor<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, scratch: &mut Scratch) -> Result<(), Error> {
    for n in ORDERS {
        let a = numbers.dominant::<T>(n);
        let (mut found, mut expected) = (a.clone(), a);
        cholesky::factor(MatMut::new(&mut found, n, n)?, plan, scratch)?;
        reference::cholesky(MatMut::new(&mut expected, n, n)?)?;
        // The elements above the diagonal are unspecified.
        for x in [&mut found, &mut expected] {
            (0..n).for_each(|i| x[i * n + i + 1..][..n - i - 1].fill(T::ZERO));
        }
        row.compare(&found, &expected);
    }
    Ok(())
}

fn perturbation<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, _: &mut Scratch) -> Result<(), Error> {
    for (m, n, _) in PRODUCTS {
        // Inside the range of every activation; that of tanh is (−1, 1).
        let half =
            |numbers: &mut Numbers| numbers.vector::<T>(m * n).into_iter().map(|v| T::from_f64(0.5) * v).collect::<Vec<_>>();
        let (y, e) = (half(numbers), half(numbers));
        let slope: Vec<T> = y.iter().map(|&v| (-v).mul_add(v, T::ONE)).collect();
        let (y, e, slope) = (MatRef::new(&y, m, n)?, MatRef::new(&e, m, n)?, MatRef::new(&slope, m, n)?);
        for activation in ACTIVATIONS {
            let slope = activation.keeps_slope().then_some(slope);
            for (weighting, scale) in [
                (Weighting::SlopeSquared, Scale::Finite(1e-3)),
                (Weighting::Plain, Scale::Finite(0.25)),
                (Weighting::SlopeSquared, Scale::Limit),
            ] {
                let perturbation = Perturbation { activation, weighting, scale };
                let on = |isa: Isa| {
                    let mut out = vec![T::ZERO; 2 * m * n];
                    let (r, x) = out.split_at_mut(m * n);
                    perturb(perturbation, y, slope, e, MatMut::new(r, m, n)?, MatMut::new(x, m, n)?, isa)?;
                    Ok::<_, Error>(out)
                };
                row.compare(&on(plan.isa)?, &on(Isa::PORTABLE)?);
            }
        }
    }
    Ok(())
}

fn passes<T: Real>(plan: &Plan, row: &mut Row<'_>, numbers: &mut Numbers, _: &mut Scratch) -> Result<(), Error> {
    let of = T::from_f64;
    let step = AdamStep {
        rate: of(1e-3),
        beta1: (of(0.9), of(0.1)),
        beta2: (of(0.999), of(0.001)),
        epsilon: of(1e-8),
        correction: T::ONE,
    };
    for (m, n, _) in PRODUCTS {
        let len = m * n;
        let (a, b, delta) = (numbers.vector::<T>(len), numbers.vector::<T>(len), numbers.vector::<T>(len));
        let on = |isa: Isa| {
            let mut out = vec![T::ZERO; n];
            reduce::column_means(MatRef::new(&a, m, n)?, &mut out, isa)?;
            let (x, y) = (MatRef::new(&a, len, 1)?, MatRef::new(&b, len, 1)?);
            out.push(T::from_f64(dot(x, y, &Plan { isa, ..plan.clone() })?));
            let (mut theta, mut first) = (a.clone(), b.clone());
            let mut second: Vec<T> = b.iter().map(|&v| v * v).collect();
            adam(step, &mut theta, &mut first, &mut second, &delta, isa)?;
            momentum(T::from_f64(0.1), T::from_f64(0.9), &mut theta, &mut first, &delta, isa)?;
            descend(T::from_f64(0.1), &mut theta, &delta, isa)?;
            out.extend(theta.into_iter().chain(first).chain(second));
            Ok::<_, Error>(out)
        };
        row.compare(&on(plan.isa)?, &on(Isa::PORTABLE)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "takes an hour under Miri; each kernel has smaller tests")]
    fn every_kernel_of_this_machine_is_right() {
        let checks = run(Par::Seq).unwrap();
        let bad: Vec<_> = checks.iter().filter(|c| c.wrong.is_some()).map(ToString::to_string).collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
        let sets = Isa::available().count();
        assert_eq!(checks.len(), sets * 20 + 2);
        assert!(checks.iter().all(|c| c.calls > 0 && c.elements > c.calls));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes an hour under Miri; each kernel has smaller tests")]
    fn threads_change_nothing() {
        struct Two;
        impl crate::base::threads::Threads for Two {
            fn count(&self) -> usize {
                2
            }
            fn run(&self, job: &(dyn Fn(usize) + Sync)) {
                std::thread::scope(|s| {
                    s.spawn(|| job(1));
                    job(0);
                });
            }
        }
        assert!(run(Par::Custom(std::sync::Arc::new(Two))).unwrap().iter().all(|c| c.wrong.is_none()));
    }

    /// The comparison finds one wrong bit, in the last element of the last call. A digest finds a
    /// wrong reference.
    #[test]
    fn one_wrong_bit_is_found() {
        let check = Check { isa: Isa::PORTABLE, element: "f32", kernel: "product", calls: 0, elements: 0, wrong: None };
        let (right, mut digests) = ([1f32, 2.0, 3.0], [Digest::default(); 2]);
        let wrong = [1f32, 2.0, f32::from_bits(3f32.to_bits() + 1)];
        for (digest, expected) in digests.iter_mut().zip([&right, &wrong]) {
            let mut row = Row { check: check.clone(), digest: Some(digest) };
            row.compare(&right, &right);
            row.compare(expected, &right);
            assert_eq!(row.check.wrong.is_some(), expected == &wrong);
            if let Some(found) = &row.check.wrong {
                assert_eq!((found.call, found.index, found.found), (1, 2, u64::from(wrong[2].to_bits())));
                assert!(row.check.to_string().contains("WRONG: call 1, element 2"), "{}", row.check);
            }
            digest.take(expected);
        }
        assert_ne!(digests[0].value, digests[1].value);
    }
}
