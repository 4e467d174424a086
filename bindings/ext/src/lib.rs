//! Views of other crates' matrices for gaitprop's kernels: no element is copied.
//!
//! [`IntoMat`] and [`IntoMatMut`] accept any strides: transposes, blocks, steps, reversed axes.
//!
//! | feature | crate | read | write |
//! |---|---|---|---|
//! | `ndarray` | ndarray 0.17 | `&ArrayBase<_, Ix2>`, `ArrayView2` | `&mut ArrayBase<_, Ix2>`, `ArrayViewMut2` |
//! | `nalgebra` | nalgebra 0.35 | `&Matrix<_, _, _, _>` | `&mut Matrix<_, _, _, _>` |
//! | `faer` | faer 0.24 | `&Mat`, `MatRef` | `&mut Mat`, `MatMut` |
//!
//! All features are off by default.

use gaitprop_kernels::{Error, MatMut, MatRef};

#[cfg(feature = "faer")]
mod faer;
#[cfg(feature = "nalgebra")]
mod nalgebra;
#[cfg(feature = "ndarray")]
mod ndarray;

/// A matrix that kernels can read in place.
///
/// ```
/// # #[cfg(feature = "ndarray")] {
/// use gaitprop_ext::{IntoMat, IntoMatMut};
/// use gaitprop_kernels::{Plan, Scratch, gemm};
/// use ndarray::{Array2, array};
/// let (a, mut c) = (array![[1.0, 2.0], [3.0, 4.0]], Array2::zeros((2, 2)));
/// // A·Aᵀ: the transpose is a view.
/// let (x, y, z) = (a.into_mat(), a.t().into_mat(), c.into_mat_mut()?);
/// gemm(1.0, x, y, 0.0, z, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(c, array![[5.0, 11.0], [11.0, 25.0]]);
/// # }
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// ```
/// # #[cfg(feature = "nalgebra")] {
/// use gaitprop_ext::{IntoMat, IntoMatMut};
/// use gaitprop_kernels::{Plan, Scratch, lu};
/// use nalgebra::{DMatrix, DVector};
/// let mut a = DMatrix::from_row_slice(2, 2, &[2.0, 1.0, 4.0, 4.0]);
/// let mut x = DVector::from_vec(vec![4.0, 12.0]);
/// let (plan, mut scratch, mut pivots) = (Plan::new(), Scratch::new(), [0; 2]);
/// lu::factor(a.into_mat_mut()?, &mut pivots, &plan, &mut scratch)?;
/// lu::solve_left(a.into_mat(), &pivots, x.into_mat_mut()?, &plan, &mut scratch)?;
/// assert_eq!(x.as_slice(), [1.0, 2.0]);
/// # }
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
///
/// ```
/// # #[cfg(feature = "faer")] {
/// use faer::{Mat, mat};
/// use gaitprop_ext::{IntoMat, IntoMatMut};
/// use gaitprop_kernels::{Plan, Scratch, gemm};
/// let (a, mut c) = (mat![[1.0, 2.0], [3.0, 4.0]], Mat::<f64>::zeros(2, 2));
/// let (x, y, z) = (a.transpose().into_mat(), a.into_mat(), c.into_mat_mut()?);
/// gemm(1.0, x, y, 0.0, z, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(c, mat![[10.0, 14.0], [14.0, 20.0]]);
/// # }
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
pub trait IntoMat<'a, T> {
    /// Returns a view of the elements.
    fn into_mat(self) -> MatRef<'a, T>;
}

/// A matrix that kernels can write in place. [`IntoMat`] has examples.
pub trait IntoMatMut<'a, T> {
    /// Returns a mutable view of the elements.
    ///
    /// # Errors
    /// [`Error::Overlap`] if two indices could reach the same element. The larger stride must exceed
    /// the span of the smaller one; the few other layouts without overlap are refused too.
    fn into_mat_mut(self) -> Result<MatMut<'a, T>, Error>;
}

/// Checks that distinct indices are distinct elements. Not every view of these crates keeps to it.
#[cfg(any(feature = "ndarray", feature = "nalgebra", feature = "faer", test))]
fn check_distinct((rows, cols): (usize, usize), (rs, cs): (isize, isize)) -> Result<(), Error> {
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let mut loops = [(rs.unsigned_abs(), rows - 1), (cs.unsigned_abs(), cols - 1)];
    loops.sort_unstable();
    let mut span = 0usize;
    for (stride, steps) in loops {
        if steps > 0 && stride <= span {
            return Err(Error::Overlap { rs, cs });
        }
        span = span.saturating_add(stride.saturating_mul(steps));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_strides_are_refused() {
        for (shape, strides) in [((3, 4), (4, 1)), ((3, 4), (-1, 3)), ((1, 4), (0, 2)), ((4, 1), (1, 0)), ((0, 9), (0, 0))] {
            assert_eq!(check_distinct(shape, strides), Ok(()), "{shape:?} {strides:?}");
        }
        for (shape, strides) in [((3, 4), (3, 1)), ((3, 4), (1, -2)), ((2, 2), (0, 1)), ((2, 1), (0, 1)), ((2, 2), (1, 1))] {
            assert!(check_distinct(shape, strides).is_err(), "{shape:?} {strides:?}");
        }
    }
}
