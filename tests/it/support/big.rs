//! The definitions in many bits: numbers, unit functions and their inverses, a linear solver, and the rules with their absolute targets.

use super::{Batch, wide};
use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use gaitprop::Network;
use gaitprop::kernels::{Activation, Real};
use gaitprop::rule::LearningRule;

pub type Big = FBig<HalfEven, 2>;

/// How many bits numbers are made with. Every operation keeps the larger precision of its operands.
#[derive(Clone, Copy, Debug)]
pub struct Bits(pub usize);

impl Bits {
    /// Exactly this number.
    pub fn of(self, v: f64) -> Big {
        Big::try_from(v).expect("finite").with_precision(self.0).value()
    }
    /// The nearest number to a fraction.
    pub fn ratio(self, (above, below): (f64, f64)) -> Big {
        self.of(above) / self.of(below)
    }
    pub fn zero(self) -> Big {
        self.of(0.0)
    }
    pub fn one(self) -> Big {
        self.of(1.0)
    }
}

pub fn f64_of(v: &Big) -> f64 {
    v.to_f64().value()
}

pub fn abs(v: &Big) -> Big {
    if negative(v) { -v.clone() } else { v.clone() }
}

pub fn negative(v: &Big) -> bool {
    *v < Big::ZERO
}

/// |got − want| / |want| of one number; 0 if both are 0.
pub fn relative_to(got: f64, want: &Big, bits: Bits) -> f64 {
    if !got.is_finite() {
        return f64::INFINITY;
    }
    let difference = abs(&(bits.of(got) - want));
    if difference == Big::ZERO { 0.0 } else { f64_of(&(difference / abs(want))) }
}

/// A unit function with an exact slope.
#[derive(Clone, Debug)]
pub enum Function {
    Identity,
    Leaky(Big),
    Tanh,
}

impl Function {
    /// The function that a unit is meant to be: a slope of 0.1 is 1/10, of which f64 and f32 hold roundings.
    pub fn meant(unit: Activation, bits: Bits) -> Self {
        match unit {
            Activation::Identity => Self::Identity,
            Activation::Tanh => Self::Tanh,
            Activation::LeakyRelu { slope } => Self::Leaky(decimal(slope, bits)),
            other => panic!("no definition for {other:?}"),
        }
    }

    /// y and D.
    pub fn apply(&self, h: &Big, bits: Bits) -> (Big, Big) {
        match self {
            Self::Identity => (h.clone(), bits.one()),
            Self::Leaky(a) if negative(h) => (a * h, a.clone()),
            Self::Leaky(_) => (h.clone(), bits.one()),
            Self::Tanh => {
                let q = (bits.of(-2.0) * abs(h)).exp();
                let y = (bits.one() - &q) / (bits.one() + &q);
                let slope = bits.of(4.0) * &q / ((bits.one() + &q) * (bits.one() + &q));
                (if negative(h) { -y } else { y }, slope)
            }
        }
    }

    /// f⁻¹; `None` outside the range of f.
    pub fn invert(&self, y: &Big, bits: Bits) -> Option<Big> {
        match self {
            Self::Identity => Some(y.clone()),
            Self::Leaky(a) if negative(y) => Some(y / a),
            Self::Leaky(_) => Some(y.clone()),
            Self::Tanh if abs(y) >= bits.one() => None,
            Self::Tanh => Some(((bits.one() + y) / (bits.one() - y)).ln() / bits.of(2.0)),
        }
    }
}

/// The decimal fraction that was written: 0.1 as 1/10. For numbers of at most six digits.
pub fn decimal(v: f64, bits: Bits) -> Big {
    let scaled = (v * 1e6).round();
    assert!(scaled / 1e6 == v, "{v} has more than six decimals");
    bits.ratio((scaled, 1e6))
}

/// Solves `e W = r` for the rows of r (n×n W, both row-major, in place), by elimination with partial pivoting.
pub fn solve(w: &[Big], n: usize, r: &mut [Vec<Big>]) {
    // Wᵀ eᵀ = rᵀ: equations are columns of W.
    let mut a: Vec<Vec<Big>> = (0..n).map(|j| (0..n).map(|i| w[i * n + j].clone()).collect()).collect();
    let mut right: Vec<Vec<Big>> = (0..n).map(|j| r.iter().map(|row| row[j].clone()).collect()).collect();
    for k in 0..n {
        let p = (k..n).max_by(|&i, &j| abs(&a[i][k]).partial_cmp(&abs(&a[j][k])).unwrap()).unwrap();
        a.swap(k, p);
        right.swap(k, p);
        let (pivot, pivot_right) = (a[k].clone(), right[k].clone());
        for (row, row_right) in a[k + 1..].iter_mut().zip(&mut right[k + 1..]) {
            let factor = &row[k] / &pivot[k];
            row[k..].iter_mut().zip(&pivot[k..]).for_each(|(v, p)| *v -= &factor * p);
            row_right.iter_mut().zip(&pivot_right).for_each(|(v, p)| *v -= &factor * p);
        }
    }
    for k in (0..n).rev() {
        for (s, row) in r.iter_mut().enumerate() {
            let known: Vec<Big> = (k + 1..n).map(|j| &a[k][j] * &row[j]).collect();
            let rest = known.iter().fold(right[k][s].clone(), |sum, v| sum - v);
            row[k] = rest / &a[k][k];
        }
    }
}

/// Updates of one layer, rounded to f64: weights, biases.
pub type Update = (Vec<f64>, Vec<f64>);

/// The updates of a target rule from its definition: absolute targets `t_{l−1} = g_l(…)` and `γ^−(L−l) (t_l − y_l)`, squared loss, from
/// the network's weights and the batch as they are, with the slope that is meant and γ as a fraction.
///
/// Nothing is avoided here: with `bits` well above what γ^L cancels, subtraction is harmless.
pub fn definition<T: Real>(net: &Network<T>, batch: &Batch<T>, kind: LearningRule, gamma: (f64, f64), bits: Bits) -> Vec<Update> {
    let rows = batch.x.rows();
    let exact = |data: &[T]| wide(data).into_iter().map(|v| bits.of(v)).collect::<Vec<Big>>();
    let by_rows = |data: &[T], n: usize| exact(data).chunks(n).map(<[Big]>::to_vec).collect::<Vec<_>>();
    let gamma = bits.ratio(gamma);
    let functions: Vec<Function> = net.layers().iter().map(|l| Function::meant(l.activation, bits)).collect();
    let weights: Vec<Vec<Big>> = net.layers().iter().map(|l| exact(l.w.data())).collect();
    let biases: Vec<Vec<Big>> = net.layers().iter().map(|l| exact(&l.b)).collect();

    // Forward: activities[l] feeds layer l.
    let mut activities = vec![by_rows(batch.x.data(), batch.x.cols())];
    let mut slopes: Vec<Vec<Vec<Big>>> = Vec::new();
    for (l, layer) in net.layers().iter().enumerate() {
        let (mut y, mut d) = (Vec::new(), Vec::new());
        for input in &activities[l] {
            let unit = |j: usize| {
                let h = (0..layer.fan_in()).fold(biases[l][j].clone(), |h, i| h + &input[i] * &weights[l][i * layer.width() + j]);
                functions[l].apply(&h, bits)
            };
            let (row, slope) = (0..layer.width()).map(unit).unzip();
            y.push(row);
            d.push(slope);
        }
        activities.push(y);
        slopes.push(d);
    }

    let depth = net.layers().len();
    let labels = by_rows(batch.target.data(), net.labels());
    let mut target: Vec<Vec<Big>> = activities[depth].clone();
    for (t, label) in target.iter_mut().zip(labels) {
        t.splice(..net.labels(), label);
    }
    let mut updates = Vec::new();
    for l in (0..depth).rev() {
        let layer = &net.layers()[l];
        let (fed, width) = (layer.fan_in(), layer.width());
        let scale = if kind == LearningRule::Tp { bits.one() } else { (l + 1..depth).fold(bits.one(), |s, _| s / &gamma) };
        let y = &activities[l + 1];
        let share = bits.one() / bits.of(rows as f64);
        let x: Vec<Vec<Big>> = (0..rows)
            .map(|i| (0..width).map(|j| &slopes[l][i][j] * (&target[i][j] - &y[i][j]) * &scale * &share).collect())
            .collect();
        let sum = |f: &dyn Fn(usize) -> Big| f64_of(&(0..rows).fold(bits.zero(), |sum, i| sum + f(i)));
        let dw = (0..fed * width).map(|k| sum(&|i| &activities[l][i][k / width] * &x[i][k % width])).collect();
        let db = (0..width).map(|j| sum(&|i| x[i][j].clone())).collect();
        updates.push((dw, db));
        if l > 0 {
            let mut below = Vec::new();
            for i in 0..rows {
                let nudged = |j: usize| {
                    let d = &slopes[l][i][j];
                    let share = match kind {
                        LearningRule::Gait => &gamma * d * d,
                        LearningRule::Itp => gamma.clone(),
                        _ => bits.one(),
                    };
                    (bits.one() - &share) * &y[i][j] + share * &target[i][j]
                };
                let h = |j: usize| functions[l].invert(&nudged(j), bits).expect("inside the range") - &biases[l][j];
                below.push((0..width).map(h).collect::<Vec<Big>>());
            }
            solve(&weights[l], width, &mut below);
            // Auxiliary units: their target is their own activity.
            target = activities[l].clone();
            for (t, new) in target.iter_mut().zip(below) {
                t.splice(..fed, new);
            }
        }
    }
    updates.reverse();
    updates
}
