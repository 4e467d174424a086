//! Other people's GEMM stays within the bound that any order of summation obeys.

use crate::support::*;
use gaitprop_kernels::{Backend, Error, Par, Plan, Real, Scratch, gemm};
use proptest::prelude::*;

/// The first element outside γ(k+2)·(|α||A||B| + |β||C|), computed in f64 (for f64 operands the
/// bound is doubled for the oracle's own rounding).
fn outside_bound<T: Real>((alpha, beta): (T, T), a: &Fenced<T>, b: &Fenced<T>, c: &Fenced<T>, got: &Fenced<T>) -> Option<String> {
    let (a, b, c, got) = (a.view(), b.view(), c.view(), got.view());
    let k = a.ncols();
    let nu = (k + 2) as f64 * T::UNIT_ROUNDOFF;
    let gamma = nu / (1.0 - nu) * if T::NAME == "f64" { 2.0 } else { 1.0 };
    for i in 0..c.nrows() {
        for j in 0..c.ncols() {
            let start = if beta == T::ZERO { 0.0 } else { beta.to_f64() * c.get(i, j).to_f64() };
            let (mut exact, mut size) = (start, start.abs());
            for l in 0..k {
                let p = alpha.to_f64() * a.get(i, l).to_f64() * b.get(l, j).to_f64();
                exact += p;
                size += p.abs();
            }
            let (error, bound) = ((got.get(i, j).to_f64() - exact).abs(), gamma * size);
            // Written so that NaN fails.
            if !(error <= bound) {
                return Some(format!("({i}, {j}): error {error:e} above {bound:e}"));
            }
        }
    }
    None
}

fn check<T: Real>(
    (m, n, k): (usize, usize, usize),
    layouts: [Layout; 3],
    (alpha, beta): (f64, f64),
    seed: u64,
) -> Result<(), TestCaseError> {
    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
    let mut value = reals::<T>(seed);
    let a = Fenced::new((m, k), layouts[0], &mut value);
    let b = Fenced::new((k, n), layouts[1], &mut value);
    let c = Fenced::new((m, n), layouts[2], || if beta == T::ZERO { T::NAN } else { value() });
    let pool = Par::Pool(std::sync::Arc::new(pool(2)));
    for backend in Backend::available() {
        for par in [Par::Seq, pool.clone()] {
            let plan = Plan::new().with_backend(backend).with_par(par);
            let mut got = c.clone();
            gemm(alpha, a.view(), b.view(), beta, got.view_mut(), &plan, &mut Scratch::new()).unwrap();
            let outside = outside_bound((alpha, beta), &a, &b, &c, &got);
            prop_assert!(outside.is_none(), "{}: {}", backend.name(), outside.unwrap());
            prop_assert!(got.fences_stand(), "{}: wrote outside C", backend.name());
            // One wrong element fails, whatever the backend.
            if k > 0 && !got.view().is_empty() {
                let v = got.view().get(m - 1, n - 1);
                got.view_mut().set(m - 1, n - 1, v + T::from_f64(0.01 * k as f64));
                prop_assert!(outside_bound((alpha, beta), &a, &b, &c, &got).is_some());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn within_the_bound(sizes in (size(), size(), size()), layouts in [any_layout(), any_layout(), any_layout()],
        scalars in (prop_oneof![Just(1.0), -2.0..2.0], prop_oneof![Just(0.0), Just(1.0), -2.0..2.0]), seed: u64) {
        check::<f32>(sizes, layouts, scalars, seed)?;
        check::<f64>(sizes, layouts, scalars, seed)?;
    }
}

/// Callers that know nothing of each other: a library built for one thread gives wrong results if
/// they meet inside it.
#[test]
fn two_callers_at_once() {
    let mut value = reals::<f32>(7);
    let [a, b] = [(); 2].map(|()| Fenced::new((32, 32), Layout::Rows, &mut value));
    for backend in Backend::available() {
        let product = |c: &mut Fenced<f32>, scratch: &mut Scratch| {
            gemm(1.0, a.view(), b.view(), 0.0, c.view_mut(), &Plan::new().with_backend(backend), scratch).unwrap();
        };
        let mut alone = Fenced::new((32, 32), Layout::Rows, || f32::NAN);
        product(&mut alone, &mut Scratch::new());
        assert_eq!(outside_bound((1.0, 0.0), &a, &b, &alone, &alone), None);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let (mut c, mut scratch) = (alone.clone(), Scratch::new());
                    for call in 0..20_000 {
                        product(&mut c, &mut scratch);
                        // The same numbers at the same places: any backend gives the same bits
                        // again.
                        assert!(
                            c.data.iter().zip(&alone.data).all(|(x, y)| x.to_bits() == y.to_bits()),
                            "{}, call {call}",
                            backend.name()
                        );
                    }
                });
            }
        });
    }
}

#[test]
fn backends_by_name() {
    for backend in Backend::available() {
        assert_eq!(Backend::named(backend.name()), Ok(backend));
    }
    assert!(matches!(Backend::named("abacus"), Err(Error::BackendUnavailable { .. })));
    let has = |name| Backend::named(name).is_ok();
    assert_eq!(has("matrixmultiply"), cfg!(feature = "matrixmultiply"));
    assert_eq!(has("openblas"), cfg!(feature = "openblas"));
}
