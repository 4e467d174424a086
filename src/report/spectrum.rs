//! Singular values of a run's weights.

use super::groups::Group;
use super::runs::{Run, WEIGHTS};
use crate::Layer;
use crate::checkpoint::{self, Saved};
use gaitprop_kernels::Real;
use nalgebra::{DMatrix, SVD};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Singular values of a row-major rows × cols matrix, largest first; none if the iteration does not end.
///
/// Golub and Kahan's bidiagonalisation and implicit QR steps, in f64: each value is off by at most a modest multiple of
/// √(rows · cols) · 2⁻⁵² times the largest, small ones included. Work: about 8/3 n³ flops for n × n.
///
/// # Panics
/// If `w` does not hold rows · cols elements.
pub fn singular_values(rows: usize, cols: usize, w: &[f64]) -> Option<Vec<f64>> {
    assert_eq!(w.len(), rows * cols, "a matrix of {rows}x{cols}");
    if w.is_empty() || w.iter().any(|v| !v.is_finite()) {
        return None;
    }
    // Far more steps than are ever needed; 0 would mean for ever.
    let steps = 100 * (rows.min(cols) + 10);
    let decomposition = SVD::try_new_unordered(DMatrix::from_row_slice(rows, cols, w), false, false, f64::EPSILON, steps)?;
    let mut values: Vec<f64> = decomposition.singular_values.iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    Some(values)
}

/// Of one run: singular values layer by layer, or why there are none.
pub(super) type Spectrum = Result<Vec<Vec<f64>>, String>;

/// Of every run of every group, in order. `done` hears how many runs of how many are behind.
pub(super) fn of_all(groups: &[Group], threads: usize, done: &mut dyn FnMut(usize, usize)) -> Vec<Vec<Spectrum>> {
    let all = groups.iter().map(|group| group.runs.len()).sum();
    let mut behind = 0;
    let mut of_run = |run: &Run| {
        done(behind, all);
        behind += 1;
        of_layers(&weights(&run.dir.join(WEIGHTS))?, threads)
    };
    let spectra = groups.iter().map(|group| group.runs.iter().map(&mut of_run).collect()).collect();
    done(all, all);
    spectra
}

/// Every thread takes the next layer until none is left.
fn of_layers(layers: &[(usize, usize, Vec<f64>)], threads: usize) -> Spectrum {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let l = next.fetch_add(1, Ordering::Relaxed);
            let Some((rows, cols, w)) = layers.get(l) else { return found };
            found.push((l, singular_values(*rows, *cols, w)));
        }
    };
    let found = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work);
        // This thread works too, so that it is of no consequence if the system has no more of them.
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

fn weights(file: &Path) -> Result<Vec<(usize, usize, Vec<f64>)>, String> {
    fn of<T: Real>(layers: &[Layer<T>]) -> Vec<(usize, usize, Vec<f64>)> {
        layers.iter().map(|l| (l.fed(), l.width(), l.w.data().iter().map(|w| w.to_f64()).collect())).collect()
    }
    if !file.exists() {
        return Err("no weights are saved".into());
    }
    Ok(match checkpoint::load(file).map_err(|e| e.to_string())?.0 {
        Saved::F32(net) => of(net.layers()),
        Saved::F64(net) => of(net.layers()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{self, Init};
    use crate::rng::Rng;
    use gaitprop_kernels::Plan;

    /// By hand: [[3, 0], [4, 5]] has √45 and √5.
    #[test]
    fn two_by_two() {
        let values = singular_values(2, 2, &[3.0, 0.0, 4.0, 5.0]).unwrap();
        for (value, expected) in values.iter().zip([45f64.sqrt(), 5f64.sqrt()]) {
            assert!((value - expected).abs() <= 4.0 * f64::EPSILON * 45f64.sqrt(), "{values:?}");
        }
    }

    /// U diag(σ) Vᵀ has the σ it was made of, over twelve orders of magnitude, within the error that is documented.
    #[test]
    fn made_of_known_values() {
        let n = 60;
        let mut rng = Rng::new(1, 0);
        let [u, v] = [(); 2].map(|()| init::weights::<f64>(Init::Orthogonal, n, n, &mut rng, &Plan::new()).unwrap());
        let sigma: Vec<f64> = (0..n).map(|i| 10f64.powf(-0.2 * i as f64)).collect();
        let element = |i: usize, j: usize| (0..n).map(|k| u.row(i)[k] * sigma[k] * v.row(k)[j]).sum::<f64>();
        let w: Vec<f64> = (0..n * n).map(|ij| element(ij / n, ij % n)).collect();
        let values = singular_values(n, n, &w).unwrap();
        // 20: the product itself, and U and V that are orthogonal to rounding, add their own errors.
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
    }
}
