//! Kernels of elements and reductions against plain loops, in every bit, on every instruction set.

use super::fenced::*;
use crate::ensure;
use gaitprop_kernels::epilogue::{AdamStep, adam, bias_activate, descend, momentum};
use gaitprop_kernels::perturb::{Perturbation, Scale, activation_grad, perturb};
use gaitprop_kernels::reduce::column_means;
use gaitprop_kernels::{Activation, Isa, MatMut, MatRef, Real};

/// Activities with slopes and errors of which some cross the kink at scale s, some are zeros of
/// either sign, and none leaves tanh's range.
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

/// Checks r and x of [`perturb`], and the gradient of [`activation_grad`]. `layouts` are those of
/// y, f′, e, r and x.
pub fn check_perturb<T: Real, M: Memory>(
    memory: M,
    p: Perturbation,
    shape: (usize, usize),
    layouts: [Layout; 5],
    seed: u64,
) -> Checked {
    let mut unit = units::<T>(p, seed);
    let all: Vec<(T, T, T)> = (0..shape.0 * shape.1).map(|_| unit()).collect();
    let laid = |layout, of: fn(&(T, T, T)) -> T| {
        let mut next = all.iter().map(of);
        Fenced::new_in(memory, shape, layout, || next.next().unwrap())
    };
    let (y, slope, e) = (laid(layouts[0], |u| u.0), laid(layouts[1], |u| u.1), laid(layouts[2], |u| u.2));
    let kept = p.activation.keeps_slope().then(|| slope.view());
    // The plain loop: one unit at a time by the portable kernel.
    let (mut want_r, mut want_x) = (Fenced::new(shape, Layout::Rows, || T::NAN), Fenced::new(shape, Layout::Rows, || T::NAN));
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
            // x is D·e with one rounding.
            let slope = match p.activation {
                Activation::LeakyRelu { slope } if y[0] < T::ZERO => T::from_f64(slope),
                Activation::Tanh => d[0],
                _ => T::ONE,
            };
            ensure!(x[0].bits() == (slope * e[0]).bits(), "{p:?} x({i}, {j}): want {:e}, got {:e}", slope * e[0], x[0]);
        }
    }
    let blank = |layout| Fenced::new_in(memory, shape, layout, || T::NAN);
    for isa in Isa::available() {
        let (mut r, mut x) = (blank(layouts[3]), blank(layouts[4]));
        perturb(p, y.view(), kept, e.view(), r.view_mut(), x.view_mut(), isa).unwrap();
        same(&want_r, &r, format_args!("{isa} {p:?} r"))?;
        same(&want_x, &x, format_args!("{isa} {p:?} x"))?;
        let mut delta = blank(layouts[4]);
        activation_grad(p.activation, y.view(), kept, e.view(), delta.view_mut(), isa).unwrap();
        same(&want_x, &delta, format_args!("{isa} {p:?} delta"))?;
    }
    Ok(())
}

/// Checks y with and without slopes, and the slopes. `layouts` are those of h and of f′.
pub fn check_activate<T: Real, M: Memory>(
    memory: M,
    activation: Activation,
    shape: (usize, usize),
    layouts: [Layout; 2],
    seed: u64,
) -> Checked {
    let mut value = reals::<T>(seed);
    let h = Fenced::new_in(memory, shape, layouts[0], || T::from_f64(4.0) * value());
    let bias = Fenced::new_in(memory, (1, shape.1), Layout::Rows, &mut value);
    let blank = Fenced::new_in(memory, shape, layouts[1], || T::NAN);
    let (mut want_y, mut want_slope) = (h.clone(), blank.clone());
    for i in 0..shape.0 {
        for (j, &b) in bias.row().iter().enumerate() {
            let sum = h.view().get(i, j) + b;
            let (y, slope) = match activation {
                Activation::LeakyRelu { slope } if sum < T::ZERO => (T::from_f64(slope) * sum, T::from_f64(slope)),
                // The transcendental functions are the portable library's, reached one element at a
                // time.
                Activation::Tanh => activation.apply(sum),
                _ => (sum, T::ONE),
            };
            want_y.view_mut().set(i, j, y);
            want_slope.view_mut().set(i, j, slope);
        }
    }
    for isa in Isa::available() {
        let (mut y, mut alone, mut slope) = (h.clone(), h.clone(), blank.clone());
        bias_activate(activation, y.view_mut(), bias.row(), Some(slope.view_mut()), isa).unwrap();
        bias_activate(activation, alone.view_mut(), bias.row(), None, isa).unwrap();
        same(&want_y, &y, format_args!("{isa} {activation:?} y"))?;
        same(&want_slope, &slope, format_args!("{isa} {activation:?} slope"))?;
        same(&want_y, &alone, format_args!("{isa} {activation:?} y without slopes"))?;
    }
    Ok(())
}

/// Checks `steps` steps of each optimizer.
pub fn check_optimizers<T: Real, M: Memory>(memory: M, len: usize, steps: u32, seed: u64) -> Checked {
    let mut value = reals::<T>(seed);
    let mut vector = || Fenced::new_in(memory, (1, len), Layout::Rows, &mut value);
    let start = vector();
    let deltas: Vec<_> = (0..steps).map(|_| vector()).collect();
    let zeros = Fenced::new_in(memory, (1, len), Layout::Rows, || T::ZERO);
    let real = T::from_f64;
    let step = AdamStep {
        rate: real(1e-3),
        beta1: (real(0.9), real(0.1)),
        beta2: (real(0.99), real(0.01)),
        epsilon: real(1e-8),
        correction: real(1.25),
    };
    let (rate, mu) = (real(0.07), real(0.9));
    let (mut want_adam, mut want_m, mut want_v) = (start.clone(), zeros.clone(), zeros.clone());
    let (mut want_momentum, mut want_p, mut want_plain) = (start.clone(), zeros.clone(), start.clone());
    for delta in &deltas {
        for (i, &d) in delta.row().iter().enumerate() {
            let (m, v, p) = (&mut want_m.row_mut()[i], &mut want_v.row_mut()[i], &mut want_p.row_mut()[i]);
            *m = step.beta1.1 * d + step.beta1.0 * *m;
            *v = step.beta2.1 * (d * d) + step.beta2.0 * *v;
            let denominator = step.epsilon + step.correction * v.sqrt();
            want_adam.row_mut()[i] += step.rate * *m / denominator;
            *p = mu * *p + d;
            want_momentum.row_mut()[i] += rate * *p;
            want_plain.row_mut()[i] += rate * d;
        }
    }
    for isa in Isa::available() {
        let (mut by_adam, mut m, mut v) = (start.clone(), zeros.clone(), zeros.clone());
        let (mut by_momentum, mut p, mut plain) = (start.clone(), zeros.clone(), start.clone());
        for delta in &deltas {
            // All three say that every parameter is finite.
            assert!(adam(step, by_adam.row_mut(), m.row_mut(), v.row_mut(), delta.row(), isa).unwrap());
            assert!(momentum(rate, mu, by_momentum.row_mut(), p.row_mut(), delta.row(), isa).unwrap());
            assert!(descend(rate, plain.row_mut(), delta.row(), isa).unwrap());
        }
        same(&want_m, &m, format_args!("{isa} Adam's m"))?;
        same(&want_v, &v, format_args!("{isa} Adam's v"))?;
        same(&want_adam, &by_adam, format_args!("{isa} Adam's parameters"))?;
        same(&want_p, &p, format_args!("{isa} the momentum"))?;
        same(&want_momentum, &by_momentum, format_args!("{isa} the parameters moved by momentum"))?;
        same(&want_plain, &plain, format_args!("{isa} the parameters moved by descent"))?;
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

pub fn check_means<T: Real, M: Memory>(memory: M, shape: (usize, usize), layout: Layout, seed: u64) -> Checked {
    let x = Fenced::new_in(memory, shape, layout, reals::<T>(seed));
    let mut columns = (0..shape.1).map(|j| (0..shape.0).map(|i| x.view().get(i, j).to_f64()).collect::<Vec<_>>());
    let want = Fenced::new((1, shape.1), Layout::Rows, || T::from_f64(tree(&columns.next().unwrap()) / shape.0.max(1) as f64));
    for isa in Isa::available() {
        let mut got = Fenced::new_in(memory, (1, shape.1), Layout::Rows, || T::NAN);
        column_means(x.view(), got.row_mut(), isa).unwrap();
        if shape.0 == 0 {
            // A sum of nothing may be a zero of either sign.
            ensure!(got.row().iter().all(|&mean| mean == T::ZERO), "{isa}: means of nothing are {:?}", got.row());
            continue;
        }
        same(&want, &got, format_args!("{isa} means"))?;
    }
    Ok(())
}
