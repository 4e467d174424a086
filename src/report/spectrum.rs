//! Singular values of a run's weights.

use crate::model::layer::Layer;
use crate::model::network::Network;
use crate::report::groups::Group;
use crate::report::runs::Run;
use crate::store::weights::{self, Saved, WEIGHTS};
use std::array::from_fn;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Computes the singular values of a row-major rows × cols matrix, largest first.
///
/// Householder reflections from both sides make the matrix bidiagonal (Golub and Kahan). Bisection
/// with Sturm counts finds the singular values of the bidiagonal matrix. The error of each value is
/// at most a modest multiple of √(rows · cols) · 2⁻⁵² times the largest. All operations are f64 in
/// a fixed order, without fusing: the bits are the same on every machine.
///
/// Work: about 8/3 n³ flops for n × n.
///
/// Returns `None` for an empty matrix, for an element that is not finite, and if a value overflows.
///
/// # Panics
/// If `w` does not hold rows · cols elements.
///
/// # References
/// Golub and Van Loan, Matrix Computations, §5.4.8 and §8.6. Demmel, Dhillon and Ren, On the
/// correctness of some bisection-like parallel eigenvalue algorithms in floating point arithmetic,
/// ETNA 3 (1995).
pub fn singular_values(rows: usize, cols: usize, w: &[f64]) -> Option<Vec<f64>> {
    assert_eq!(w.len(), rows * cols, "a matrix of {rows}x{cols}");
    if w.is_empty() || w.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let largest = w.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    if largest == 0.0 {
        return Some(vec![0.0; rows.min(cols)]);
    }
    // Division by a power of two is exact. The squares of the quotients do not overflow or all
    // underflow.
    let scale = f64::from_bits(largest.to_bits() & f64::INFINITY.to_bits()).max(f64::MIN_POSITIVE);
    let mut a: Vec<f64> = match rows >= cols {
        true => w.iter().map(|v| v / scale).collect(),
        // Transposes, so that there are at least as many rows as columns.
        false => (0..w.len()).map(|i| w[i % rows * cols + i / rows] / scale).collect(),
    };
    let mut values = bisect(&bidiagonal(rows.min(cols), &mut a));
    values.iter_mut().for_each(|v| *v *= scale);
    values.reverse();
    values[0].is_finite().then_some(values)
}

/// Reduces `a`, m×n with m ≥ n, to an upper bidiagonal matrix with the same singular values.
///
/// Returns the squares of its elements, diagonal and superdiagonal in turn. `a` is overwritten.
fn bidiagonal(n: usize, a: &mut [f64]) -> Vec<f64> {
    let mut squares = Vec::with_capacity(2 * n);
    // Products of the first column of the trailing matrix with all its columns.
    let mut sums = vec![0.0; n];
    a.chunks(n).for_each(|row| axpy(row[0], row, &mut sums));
    for k in 0..n {
        let (top, below) = a[k * n..].split_at_mut(n);
        let (first, top) = top[k..].split_at_mut(1);
        squares.push(sums[0]);
        let (alpha, beta) = reflect(sums[0], &mut first[0]);
        let sums_right = &mut sums[1..];
        for (s, x) in sums_right.iter_mut().zip(&mut *top) {
            *s = beta * (*s - alpha * *x);
            *x -= first[0] * *s;
        }
        if top.is_empty() {
            break;
        }
        let square = dot(top, top);
        squares.push(square);
        let (_, gamma) = reflect(square, &mut top[0]);
        // Applies both reflections to a row and adds it to the next sums while it is in L1.
        let mut next = vec![0.0; top.len()];
        for row in below.chunks_mut(n) {
            let (v, row) = (row[k], &mut row[k + 1..]);
            axpy(-v, sums_right, row);
            axpy(-gamma * dot(row, top), top, row);
            axpy(row[0], row, &mut next);
        }
        sums = next;
    }
    squares
}

/// Turns `v` into the vector of the reflection I − β·v·vᵀ that maps `v` to (α, 0, …); returns α and
/// β.
///
/// * `square`: the squared norm of `v`
/// * `first`: the first element of `v`, the only one that changes
fn reflect(square: f64, first: &mut f64) -> (f64, f64) {
    // A norm below 1e-145 of the largest element counts as 0, because its square is inaccurate.
    if square < 1e-290 {
        return (0.0, 0.0);
    }
    let alpha = -square.sqrt().copysign(*first);
    *first -= alpha;
    (alpha, -1.0 / (alpha * *first))
}

/// Computes `y ← y + f·x`.
fn axpy(f: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += f * x);
}

/// Number of independent sums and divisions, which the compiler vectorizes.
const LANES: usize = 8;

/// Computes a dot product: `LANES` partial sums, then their sum in a fixed order.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (x, x_end) = x.as_chunks::<LANES>();
    let (y, y_end) = y.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        sums = from_fn(|l| sums[l] + x[l] * y[l]);
    }
    x_end.iter().zip(y_end).fold(sums.iter().sum(), |sum, (x, y)| sum + x * y)
}

/// Number of bisections of [0, 2·largest element]; more than the digits of the largest value.
const HALVINGS: usize = 60;

/// Computes singular values, smallest first, from the squares that [`bidiagonal`] returns.
///
/// The symmetric tridiagonal matrix with zero diagonal and the elements beside it has the
/// eigenvalues ±σ. The negative pivots of its LDLᵀ factorization, shifted by x, count the
/// eigenvalues below x, also with infinite pivots.
fn bisect(squares: &[f64]) -> Vec<f64> {
    let n = squares.len().div_ceil(2);
    // A pivot of 0 then gives infinity instead of 0/0.
    let squares: Vec<f64> = squares.iter().map(|s| s.max(f64::MIN_POSITIVE)).collect();
    let top = 2.0 * squares.iter().fold(0.0, |most: f64, &s| most.max(s)).sqrt();
    let mut values = vec![0.0; n.next_multiple_of(LANES)];
    for (group, low) in values.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut high = [top; LANES];
        for _ in 0..HALVINGS {
            let x: [f64; LANES] = from_fn(|l| 0.5 * (low[l] + high[l]));
            let mut pivot = x.map(|x| -x);
            let mut below = [1u64; LANES];
            for square in &squares {
                pivot = from_fn(|l| -x[l] - square / pivot[l]);
                below = from_fn(|l| below[l] + u64::from(pivot[l] < 0.0));
            }
            for (l, x) in x.into_iter().enumerate() {
                // n eigenvalues are negative. Lane l searches σ number group · LANES + l.
                let end = if below[l] as usize > n + group * LANES + l { &mut high[l] } else { &mut low[l] };
                *end = x;
            }
        }
    }
    values.truncate(n);
    values
}

/// Singular values of a run by layer, or the reason for missing ones.
pub(super) type Spectrum = Result<Vec<Vec<f64>>, String>;

/// Computes the spectra of all runs of all groups, in order. `done` receives the runs done and the
/// total.
pub(super) fn of_all(groups: &[Group], threads: usize, done: &mut dyn FnMut(usize, usize)) -> Vec<Vec<Spectrum>> {
    let all = groups.iter().map(|group| group.runs.len()).sum();
    let mut count = 0;
    let mut of_run = |run: &Run| {
        done(count, all);
        count += 1;
        of_layers(weights(&run.dir.join(WEIGHTS))?.layers(), threads)
    };
    let spectra = groups.iter().map(|group| group.runs.iter().map(&mut of_run).collect()).collect();
    done(all, all);
    spectra
}

/// Computes the spectra of all layers. Each thread takes the next layer until none remains.
fn of_layers(layers: &[Layer<f64>], threads: usize) -> Spectrum {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let l = next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = layers.get(l) else { return found };
            found.push((l, singular_values(layer.fan_in(), layer.width(), layer.w.data())));
        }
    };
    let found = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work);
        // The calling thread works too, so that the result is complete if the system refuses
        // threads.
        let started: Vec<_> = (1..threads.min(layers.len())).filter_map(|i| start(i).ok()).collect();
        let mut found = work();
        for thread in started {
            found.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    let mut spectrum = vec![Vec::new(); layers.len()];
    for (l, values) in found {
        spectrum[l] = values.ok_or_else(|| format!("the singular values of layer {l} could not be computed"))?;
    }
    Ok(spectrum)
}

fn weights(file: &Path) -> Result<Network<f64>, String> {
    if !file.exists() {
        return Err("no weights are saved".into());
    }
    Ok(match weights::load(file).map_err(|e| e.to_string())?.0 {
        Saved::F32(net) => net.cast(),
        Saved::F64(net) => net,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::model::init;
    use crate::model::init::Init;
    use gaitprop_kernels::Plan;

    /// [[3, 0], [4, 5]] has the singular values √45 and √5.
    #[test]
    fn two_by_two() {
        let values = singular_values(2, 2, &[3.0, 0.0, 4.0, 5.0]).unwrap();
        for (value, expected) in values.iter().zip([45f64.sqrt(), 5f64.sqrt()]) {
            assert!((value - expected).abs() <= 4.0 * f64::EPSILON * 45f64.sqrt(), "{values:?}");
        }
    }

    /// U diag(σ) Vᵀ has the singular values σ, over twelve orders of magnitude, within the
    /// documented error.
    #[test]
    fn made_of_known_values() {
        let n = 60;
        let mut rng = Rng::new(1, 0);
        let [u, v] = [(); 2].map(|()| init::weights::<f64>(Init::Orthogonal, n, n, &mut rng, &Plan::new()).unwrap());
        let sigma: Vec<f64> = (0..n).map(|i| 10f64.powf(-0.2 * i as f64)).collect();
        let element = |i: usize, j: usize| (0..n).map(|k| u.row(i)[k] * sigma[k] * v.row(k)[j]).sum::<f64>();
        let w: Vec<f64> = (0..n * n).map(|ij| element(ij / n, ij % n)).collect();
        let values = singular_values(n, n, &w).unwrap();
        // 20: the product and the rounding of U and V add errors.
        let bound = 20.0 * n as f64 * f64::EPSILON;
        for (value, expected) in values.iter().zip(&sigma) {
            assert!((value - expected).abs() <= bound, "{value:e} {expected:e} {bound:e}");
        }
    }

    #[test]
    fn rectangular_zero_empty_and_nan() {
        assert_eq!(singular_values(1, 3, &[2.0, 3.0, 6.0]).unwrap(), [7.0]);
        assert_eq!(singular_values(3, 1, &[2.0, 3.0, 6.0]).unwrap(), [7.0]);
        assert_eq!(singular_values(2, 2, &[0.0; 4]).unwrap(), [0.0, 0.0]);
        assert_eq!(singular_values(0, 2, &[]), None);
        assert_eq!(singular_values(1, 1, &[f64::NAN]), None);
        assert_eq!(singular_values(1, 2, &[1.0, f64::NEG_INFINITY]), None);
        // √2 · 1.5e308 is not a finite number.
        assert_eq!(singular_values(1, 2, &[1.5e308; 2]), None);
    }

    /// One-sided Jacobi (Hestenes 1958; Golub and Van Loan, §8.6.3): rotates pairs of rows until
    /// all are orthogonal to rounding. The norms of the rows are then the singular values.
    fn hestenes(rows: usize, cols: usize, w: &[f64]) -> Vec<f64> {
        let mut a: Vec<Vec<f64>> = w.chunks(cols).map(<[f64]>::to_vec).collect();
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        // Rows of rounding errors, which never become orthogonal, count as 0.
        let nothing = f64::EPSILON * f64::EPSILON * dot(w, w);
        for _sweep in 0..40 {
            let mut rotated = false;
            for (q, p) in (1..rows).flat_map(|q| (0..q).map(move |p| (q, p))) {
                let (head, tail) = a.split_at_mut(q);
                let (x, y) = (&mut head[p], &mut tail[0]);
                let (xx, yy, xy) = (dot(x, x), dot(y, y), dot(x, y));
                if xx.min(yy) <= nothing || xy.abs() <= cols as f64 * f64::EPSILON * (xx * yy).sqrt() {
                    continue;
                }
                rotated = true;
                let zeta = (yy - xx) / (2.0 * xy);
                let t = 1f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                for (x, y) in x.iter_mut().zip(y) {
                    (*x, *y) = (c * (*x - t * *y), c * (t * *x + *y));
                }
            }
            if !rotated {
                let mut values: Vec<f64> = a.iter().map(|row| dot(row, row).sqrt()).collect();
                values.sort_by(|a, b| b.total_cmp(a));
                values.truncate(cols);
                return values;
            }
        }
        panic!("Jacobi does not converge");
    }

    /// Asserts the documented bound, the order, and that all values are at least 0.
    #[track_caller]
    fn assert_close(rows: usize, cols: usize, w: &[f64], want: &[f64]) {
        let got = singular_values(rows, cols, w).unwrap();
        assert_eq!(got.len(), rows.min(cols));
        assert!(got.windows(2).all(|pair| pair[0] >= pair[1]) && got.iter().all(|&v| v >= 0.0), "{rows}x{cols}: {got:?}");
        let bound = 8.0 * ((rows * cols) as f64).sqrt() * f64::EPSILON * want[0];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= bound, "{rows}x{cols}: {got:e} {want:e} {bound:e}");
        }
    }

    /// Every shape around the number of lanes, with a zero column, equal columns and a single
    /// element.
    #[test]
    fn jacobi_finds_the_same() {
        let mut rng = Rng::new(2, 0);
        for rows in 1..20 {
            for cols in 1..20 {
                let mut w: Vec<f64> = (0..rows * cols).map(|_| rng.normal()).collect();
                assert_close(rows, cols, &w, &hestenes(rows, cols, &w));
                w.chunks_mut(cols).for_each(|row| row[cols / 2] = 0.0);
                assert_close(rows, cols, &w, &hestenes(rows, cols, &w));
                w.chunks_mut(cols).for_each(|row| row[0] = row[cols - 1]);
                assert_close(rows, cols, &w, &hestenes(rows, cols, &w));
                w.fill(0.0);
                w[rows * cols / 2] = -3.0;
                let mut want = vec![0.0; rows.min(cols)];
                want[0] = 3.0;
                assert_close(rows, cols, &w, &want);
            }
        }
    }

    /// Powers of two change no digit, down to where elements become subnormal and up to where
    /// values would be infinite.
    #[test]
    fn scaling_by_powers_of_two_is_exact() {
        let mut rng = Rng::new(3, 0);
        let w: Vec<f64> = (0..6 * 9).map(|_| rng.normal()).collect();
        let values = singular_values(6, 9, &w).unwrap();
        for exponent in [-900, -200, 200, 1000] {
            let power = 2f64.powi(exponent);
            let scaled: Vec<f64> = w.iter().map(|v| v * power).collect();
            let want: Vec<f64> = values.iter().map(|v| v * power).collect();
            assert_eq!(singular_values(6, 9, &scaled).unwrap(), want, "2^{exponent}");
        }
        let least = f64::from_bits(1);
        assert_eq!(singular_values(1, 2, &[3.0 * least, 4.0 * least]).unwrap(), [5.0 * least]);
        // Columns whose squares would vanish.
        assert_close(3, 2, &[1e-170, 1.0, 2e-170, 1.0, -1e-170, 1.0], &[3f64.sqrt(), 0.0]);
    }

    /// The same bits on every machine.
    #[test]
    fn bits_are_those_of_this_order() {
        let w: Vec<f64> = (0..20).map(|i| f64::from(i * 37 % 23) / 7.0 - 1.5).collect();
        let bits: Vec<u64> = singular_values(5, 4, &w).unwrap().iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x4006_a1ac_6119_c8b4, 0x4002_d6dd_9590_aebe, 0x3ffc_ee0d_6ed8_666f, 0x3ff6_08ae_01e2_cc49]);
    }
}
