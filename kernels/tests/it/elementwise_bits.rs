//! Kernels that go element by element, and the reductions: every instruction set and every layout gives the bits of plain loops.

use crate::support::*;
use gaitprop_kernels::epilogue::{AdamStep, adam, bias_activate, descend, momentum};
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting, activation_grad, perturb};
use gaitprop_kernels::reduce::{column_means, dot};
use gaitprop_kernels::{Activation, Error, Isa, MatMut, MatRef, Real};
use proptest::prelude::*;

fn any_unit() -> impl Strategy<Value = Activation> {
    let slope = proptest::sample::select(vec![0.01, 0.1, 0.3, 0.5, 1.0, 2.0]);
    prop_oneof![1 => Just(Activation::Identity), 3 => slope.prop_map(|slope| Activation::LeakyRelu { slope }), 2 => Just(Activation::Tanh)]
}

fn any_perturbation() -> impl Strategy<Value = Perturbation> {
    let scale = proptest::sample::select(vec![1.0, 0.1, 1e-3, 1e-9, 1e-60, 0.0]).prop_map(Scale::Finite);
    let scale = prop_oneof![4 => scale, 1 => Just(Scale::Limit)];
    let weighting = proptest::sample::select(vec![Weighting::SlopeSquared, Weighting::Plain]);
    (any_unit(), weighting, scale).prop_map(|(unit, weighting, scale)| Perturbation { activation: unit, weighting, scale })
}

fn shape() -> impl Strategy<Value = (usize, usize)> {
    (0usize..7, prop_oneof![3 => 0usize..36, 1 => 60usize..70])
}

/// Activities with slopes and errors of which some cross the kink at scale s, some are zeros of either sign, and none leaves tanh's range.
fn units<T: Real>(p: Perturbation, seed: u64) -> impl FnMut() -> (T, T, T) {
    let mut value = reals::<f64>(seed);
    let s = if let Scale::Finite(s) = p.scale { s } else { 0.1 };
    move || {
        let (h, e, kind) = (3.0 * value(), value(), value());
        let h = match (kind * 10.0) as i32 {
            -9 => 0.0,
            9 => -0.0,
            3 | 4 => h * s,
            -4 | -3 => h * s * e.abs(),
            _ => h,
        };
        let (y, slope) = p.activation.apply(T::from_f64(h));
        // 1 − |y| is no less than half the slope.
        let room = if p.activation == Activation::Tanh { 0.4 * slope.to_f64() } else { 1.0 };
        let e = if kind > 0.95 { 0.0 } else { e * room };
        (y, slope, T::from_f64(e))
    }
}

fn check_perturb<T: Real>(p: Perturbation, shape: (usize, usize), layouts: [Layout; 5], seed: u64) -> Result<(), TestCaseError> {
    let mut unit = units::<T>(p, seed);
    let all: Vec<(T, T, T)> = (0..shape.0 * shape.1).map(|_| unit()).collect();
    let laid = |layout, of: fn(&(T, T, T)) -> T| {
        let mut next = all.iter().map(of);
        Fenced::new(shape, layout, || next.next().unwrap())
    };
    let (y, slope, e) = (laid(layouts[0], |u| u.0), laid(layouts[1], |u| u.1), laid(layouts[2], |u| u.2));
    let kept = p.activation.keeps_slope().then(|| slope.view());
    let blank = |layout| Fenced::new(shape, layout, || T::NAN);
    // The plain loop: one unit at a time by the portable kernel.
    let (mut want_r, mut want_x) = (blank(Layout::Rows), blank(Layout::Rows));
    for i in 0..shape.0 {
        for j in 0..shape.1 {
            let one = |m: MatRef<'_, T>| [m.get(i, j)];
            let (y, d, e) = (one(y.view()), one(slope.view()), one(e.view()));
            let view = |data| MatRef::new(data, 1, 1).unwrap();
            let (mut r, mut x) = ([T::NAN], [T::NAN]);
            let (r1, x1) = (MatMut::new(&mut r, 1, 1).unwrap(), MatMut::new(&mut x, 1, 1).unwrap());
            perturb(p, view(&y), kept.map(|_| view(&d)), view(&e), r1, x1, Isa::PORTABLE).unwrap();
            want_r.view_mut().set(i, j, r[0]);
            want_x.view_mut().set(i, j, x[0]);
        }
    }
    for isa in Isa::available() {
        let (mut r, mut x) = (blank(layouts[3]), blank(layouts[4]));
        perturb(p, y.view(), kept, e.view(), r.view_mut(), x.view_mut(), isa).unwrap();
        for (what, want, got) in [("r", &want_r, &r), ("x", &want_x, &x)] {
            let difference = first_difference(want.view(), got.view());
            prop_assert!(difference.is_none(), "{isa} {p:?} {what} {}", difference.unwrap());
            prop_assert!(got.fences_stand());
        }
        // Backpropagation's part of it.
        let mut x = blank(layouts[4]);
        activation_grad(p.activation, y.view(), kept, e.view(), x.view_mut(), isa).unwrap();
        let difference = first_difference(want_x.view(), x.view());
        prop_assert!(difference.is_none(), "{isa} {p:?} weigh {}", difference.unwrap());
        prop_assert!(x.fences_stand());
    }
    // And x itself is D·e, one rounding.
    for i in 0..shape.0 {
        for j in 0..shape.1 {
            let d = match p.activation {
                Activation::LeakyRelu { slope } if y.view().get(i, j) < T::ZERO => T::from_f64(slope),
                Activation::Tanh => slope.view().get(i, j),
                _ => T::ONE,
            };
            prop_assert_eq!(want_x.view().get(i, j).bits(), (d * e.view().get(i, j)).bits());
        }
    }
    Ok(())
}

fn check_activate<T: Real>(
    unit: Activation,
    shape: (usize, usize),
    layouts: [Layout; 2],
    seed: u64,
) -> Result<(), TestCaseError> {
    let mut value = reals::<T>(seed);
    let h = Fenced::new(shape, layouts[0], || T::from_f64(4.0) * value());
    let bias: Vec<T> = (0..shape.1).map(|_| value()).collect();
    for isa in Isa::available() {
        let (mut y, mut alone) = (h.clone(), h.clone());
        let mut slope = Fenced::new(shape, layouts[1], || T::NAN);
        bias_activate(unit, y.view_mut(), &bias, Some(slope.view_mut()), isa).unwrap();
        bias_activate(unit, alone.view_mut(), &bias, None, isa).unwrap();
        for i in 0..shape.0 {
            for (j, &b) in bias.iter().enumerate() {
                let sum = h.view().get(i, j) + b;
                let want = match unit {
                    Activation::LeakyRelu { slope } if sum < T::ZERO => (T::from_f64(slope) * sum, T::from_f64(slope)),
                    // The transcendental functions are the portable library's, reached one element at a time.
                    Activation::Tanh => unit.apply(sum),
                    _ => (sum, T::ONE),
                };
                prop_assert_eq!(y.view().get(i, j).bits(), want.0.bits(), "{} {:?} y({}, {})", isa, unit, i, j);
                prop_assert_eq!(slope.view().get(i, j).bits(), want.1.bits(), "{} {:?} slope({}, {})", isa, unit, i, j);
            }
        }
        let difference = first_difference(y.view(), alone.view());
        prop_assert!(difference.is_none(), "{isa} without slopes {}", difference.unwrap());
        prop_assert!(y.fences_stand() && slope.fences_stand() && alone.fences_stand());
    }
    Ok(())
}

fn same<T: Real>(what: &str, isa: Isa, want: &[T], got: &[T]) -> Result<(), TestCaseError> {
    let at = want.iter().zip(got).position(|(w, g)| w.bits() != g.bits());
    prop_assert!(at.is_none(), "{isa} {what}[{}]: want {:e}, got {:e}", at.unwrap(), want[at.unwrap()], got[at.unwrap()]);
    Ok(())
}

fn check_optimisers<T: Real>(len: usize, steps: u32, seed: u64) -> Result<(), TestCaseError> {
    let mut value = reals::<T>(seed);
    let mut vector = || (0..len).map(|_| value()).collect::<Vec<T>>();
    let start = vector();
    let deltas: Vec<Vec<T>> = (0..steps).map(|_| vector()).collect();
    let real = T::from_f64;
    let step = AdamStep {
        rate: real(1e-3),
        beta1: (real(0.9), real(0.1)),
        beta2: (real(0.99), real(0.01)),
        epsilon: real(1e-8),
        correction: real(1.25),
    };
    let (rate, mu) = (real(0.07), real(0.9));
    for isa in Isa::available() {
        let zeros = || vec![T::ZERO; len];
        let (mut by_adam, mut m, mut v) = (start.clone(), zeros(), zeros());
        let (mut by_momentum, mut p, mut plain) = (start.clone(), zeros(), start.clone());
        let (mut want_adam, mut want_m, mut want_v) = (start.clone(), zeros(), zeros());
        let (mut want_momentum, mut want_p, mut want_plain) = (start.clone(), zeros(), start.clone());
        for delta in &deltas {
            // All three say that every parameter is finite.
            assert!(adam(step, &mut by_adam, &mut m, &mut v, delta, isa).unwrap());
            assert!(momentum(rate, mu, &mut by_momentum, &mut p, delta, isa).unwrap());
            assert!(descend(rate, &mut plain, delta, isa).unwrap());
            for i in 0..len {
                let d = delta[i];
                want_m[i] = step.beta1.1 * d + step.beta1.0 * want_m[i];
                want_v[i] = step.beta2.1 * (d * d) + step.beta2.0 * want_v[i];
                let denominator = step.epsilon + step.correction * want_v[i].sqrt();
                want_adam[i] += step.rate * want_m[i] / denominator;
                want_p[i] = mu * want_p[i] + d;
                want_momentum[i] += rate * want_p[i];
                want_plain[i] += rate * d;
            }
        }
        same("Adam's m", isa, &want_m, &m)?;
        same("Adam's v", isa, &want_v, &v)?;
        same("Adam's parameters", isa, &want_adam, &by_adam)?;
        same("the momentum", isa, &want_p, &p)?;
        same("the parameters moved by momentum", isa, &want_momentum, &by_momentum)?;
        same("the parameters moved by descent", isa, &want_plain, &plain)?;
    }
    Ok(())
}

fn check_dot<T: Real>(len: usize, seed: u64) -> Result<(), TestCaseError> {
    let mut value = reals::<T>(seed);
    let (a, b): (Vec<T>, Vec<T>) = (0..len).map(|_| (value(), value())).unzip();
    let mut lanes = [0f64; 16];
    for i in 0..len {
        lanes[i % 16] += a[i].to_f64() * b[i].to_f64();
    }
    let halves =
        |lanes: &[f64]| lanes[..lanes.len() / 2].iter().zip(&lanes[lanes.len() / 2..]).map(|(x, y)| x + y).collect::<Vec<_>>();
    let mut sums = lanes.to_vec();
    while sums.len() > 1 {
        sums = halves(&sums);
    }
    for isa in Isa::available() {
        let got = dot(&a, &b, isa).unwrap();
        prop_assert_eq!(got.to_bits(), sums[0].to_bits(), "{}: want {:e}, got {:e}", isa, sums[0], got);
    }
    Ok(())
}

/// The tree of `column_means`, from its leaves of at most 8 upwards.
fn tree(x: &[f64]) -> f64 {
    if x.len() <= 8 {
        return x.iter().sum();
    }
    let (low, high) = x.split_at(x.len() / 2);
    tree(low) + tree(high)
}

fn check_means<T: Real>(shape: (usize, usize), layout: Layout, seed: u64) -> Result<(), TestCaseError> {
    let x = Fenced::new(shape, layout, reals::<T>(seed));
    for isa in Isa::available() {
        let mut got = vec![T::NAN; shape.1];
        column_means(x.view(), &mut got, isa).unwrap();
        for (j, got) in got.into_iter().enumerate() {
            let column: Vec<f64> = (0..shape.0).map(|i| x.view().get(i, j).to_f64()).collect();
            let want = T::from_f64(tree(&column) / shape.0.max(1) as f64);
            // A sum of nothing may be a zero of either sign.
            let alike = want.bits() == got.bits() || (shape.0 == 0 && got == T::ZERO);
            prop_assert!(alike, "{isa} column {j}: want {want:e}, got {got:e}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn perturbations_and_weighted_errors(p in any_perturbation(), shape in shape(), seed: u64,
        layouts in [any_layout(), any_layout(), any_layout(), any_layout(), any_layout()])
    {
        check_perturb::<f32>(p, shape, layouts, seed)?;
        check_perturb::<f64>(p, shape, layouts, seed)?;
    }

    #[test]
    fn bias_and_activation(unit in any_unit(), shape in shape(), layouts in [any_layout(), any_layout()], seed: u64) {
        check_activate::<f32>(unit, shape, layouts, seed)?;
        check_activate::<f64>(unit, shape, layouts, seed)?;
    }

    #[test]
    fn optimisers(len in 0usize..140, steps in 1u32..4, seed: u64) {
        check_optimisers::<f32>(len, steps, seed)?;
        check_optimisers::<f64>(len, steps, seed)?;
    }

    #[test]
    fn scalar_products(len in 0usize..300, seed: u64) {
        check_dot::<f32>(len, seed)?;
        check_dot::<f64>(len, seed)?;
    }

    #[test]
    fn means_of_columns(rows in 0usize..100, cols in 0usize..20, layout in any_layout(), seed: u64) {
        check_means::<f32>((rows, cols), layout, seed)?;
        check_means::<f64>((rows, cols), layout, seed)?;
    }
}

/// The comparison of bits sees one bit, the sign of a zero, and a NaN.
#[test]
fn one_wrong_bit_is_found() {
    let isa = Isa::PORTABLE;
    assert!(same("x", isa, &[1.0, 2.0], &[1.0, 2.0]).is_ok());
    for (want, got) in [(1.0, f64::from_bits(1f64.to_bits() + 1)), (0.0, -0.0), (1.0, f64::NAN)] {
        assert!(same("x", isa, &[2.0, want], &[2.0, got]).is_err());
        let view = |x| MatRef::new(x, 1, 1).unwrap();
        assert!(first_difference(view(&[want]), view(&[got])).is_some());
    }
}

/// Whatever the instruction set and the layout, the first unit outside the range is named, in the order of rows.
#[test]
fn the_unit_outside_is_the_same_everywhere() {
    let p = Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Finite(1.0) };
    let shape = (5, 37);
    for layout in LAYOUTS {
        let y = Fenced::new(shape, layout, || 0.5f32);
        let slope = Fenced::new(shape, layout, || 0.75f32);
        for outside in [vec![(0, 0)], vec![(4, 36)], vec![(1, 33), (2, 0)], vec![(3, 5), (3, 4), (4, 0)]] {
            let mut e = Fenced::new(shape, layout, || 0.25f32);
            for &(i, j) in &outside {
                e.view_mut().set(i, j, 0.75);
            }
            let (row, col) = *outside.iter().min().unwrap();
            for isa in Isa::available() {
                let (mut r, mut x) = (Fenced::new(shape, layout, || f32::NAN), Fenced::new(shape, layout, || f32::NAN));
                let result = perturb(p, y.view(), Some(slope.view()), e.view(), r.view_mut(), x.view_mut(), isa);
                assert_eq!(result, Err(Error::Domain { row, col }), "{isa} {layout:?}");
                assert!(r.fences_stand() && x.fences_stand());
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    fn shapes<R: std::fmt::Debug>(result: Result<R, Error>) {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    let isa = Isa::detect();
    let (y, mut r, mut x) = ([0.5f32; 6], [0f32; 6], [0f32; 6]);
    let (view, p) = (
        MatRef::new(&y, 2, 3).unwrap(),
        Perturbation { activation: Activation::Tanh, weighting: Weighting::Plain, scale: Scale::Limit },
    );
    // Slopes that tanh needs but does not get, or of another shape; an error of another shape.
    shapes(perturb(p, view, None, view, MatMut::new(&mut r, 2, 3).unwrap(), MatMut::new(&mut x, 2, 3).unwrap(), isa));
    shapes(perturb(p, view, Some(view.t()), view, MatMut::new(&mut r, 2, 3).unwrap(), MatMut::new(&mut x, 2, 3).unwrap(), isa));
    shapes(perturb(p, view, Some(view), view.t(), MatMut::new(&mut r, 2, 3).unwrap(), MatMut::new(&mut x, 2, 3).unwrap(), isa));
    shapes(perturb(p, view, Some(view), view, MatMut::new(&mut r, 3, 2).unwrap(), MatMut::new(&mut x, 2, 3).unwrap(), isa));
    shapes(activation_grad(p.activation, view, Some(view), view, MatMut::new(&mut x, 3, 2).unwrap(), isa));
    shapes(bias_activate(p.activation, MatMut::new(&mut r, 2, 3).unwrap(), &[0.0; 2], None, isa));
    shapes(bias_activate(
        p.activation,
        MatMut::new(&mut r, 2, 3).unwrap(),
        &[0.0; 3],
        Some(MatMut::new(&mut x, 3, 2).unwrap()),
        isa,
    ));
    shapes(descend(0.1, &mut r, &[0.0; 5], isa));
    shapes(momentum(0.1, 0.9, &mut r, &mut x[..5], &[0.0; 6], isa));
    shapes(column_means(view, &mut [0.0; 2], isa));
    shapes(dot(&y, &y[..5], isa));
    // A unit without an inverse.
    let flat = Activation::LeakyRelu { slope: 0.0 };
    let result = bias_activate(flat, MatMut::new(&mut r, 2, 3).unwrap(), &[0.0; 3], None, isa);
    assert!(matches!(result, Err(Error::Parameter { .. })));
}

/// A parameter that is no longer finite is reported, wherever it stands among the lanes of a vector.
#[test]
fn parameters_beyond_the_finite_are_reported() {
    let step = AdamStep { rate: 1e38f32, beta1: (0.9, 0.1), beta2: (0.99, 0.01), epsilon: 1e-8, correction: 1.0 };
    for isa in Isa::available() {
        for len in [1, 7, 16, 33] {
            for at in 0..len {
                for (broken, delta) in [(f32::MAX, 1.0), (f32::NAN, 0.0), (f32::INFINITY, 0.0)] {
                    let mut start = vec![0.0; len];
                    start[at] = broken;
                    let mut deltas = vec![0.0; len];
                    deltas[at] = delta;
                    let zeros = vec![0f32; len];
                    assert!(!adam(step, &mut start.clone(), &mut zeros.clone(), &mut zeros.clone(), &deltas, isa).unwrap());
                    assert!(!momentum(1e38, 0.9, &mut start.clone(), &mut zeros.clone(), &deltas, isa).unwrap());
                    assert!(!descend(1e38, &mut start.clone(), &deltas, isa).unwrap());
                }
            }
        }
    }
}
