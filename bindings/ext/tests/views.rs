//! Every element of a view is that of the matrix behind it, for each crate and any strides; and
//! products through views have the bits of products on slices.
#![cfg(any(feature = "ndarray", feature = "nalgebra", feature = "faer"))]

use gaitprop_ext::{IntoMat, IntoMatMut};
use gaitprop_kernels::{MatMut, MatRef, Plan, Scratch, gemm};

/// Element (i, j) of every test matrix.
fn element(i: usize, j: usize) -> f64 {
    (1.0 + i as f64 * 10.0 + j as f64).sqrt()
}

/// Checks the shape and each element of a view.
fn check(view: MatRef<'_, f64>, shape: (usize, usize), of: impl Fn(usize, usize) -> f64) {
    assert_eq!(view.shape(), shape);
    for i in 0..shape.0 {
        for j in 0..shape.1 {
            assert_eq!(view.get(i, j).to_bits(), of(i, j).to_bits(), "({i}, {j})");
        }
    }
}

/// The product of a 5×4 matrix and its transpose, on slices.
fn product() -> Vec<f64> {
    let a: Vec<f64> = (0..20).map(|at| element(at / 4, at % 4)).collect();
    let (a, mut c) = (MatRef::new(&a, 5, 4).unwrap(), vec![0.0; 25]);
    gemm(1.0, a, a.t(), 0.0, MatMut::new(&mut c, 5, 5).unwrap(), &Plan::new(), &mut Scratch::new()).unwrap();
    c
}

/// Multiplies views into `c` and compares with [`product`].
fn check_product(a: MatRef<'_, f64>, mut c: MatMut<'_, f64>) {
    gemm(1.0, a, a.t(), 0.0, c.rb(), &Plan::new(), &mut Scratch::new()).unwrap();
    let want = product();
    check(c.as_ref(), (5, 5), |i, j| want[i * 5 + j]);
}

#[test]
#[cfg(feature = "ndarray")]
fn ndarray_of_any_layout() {
    use ndarray::{Array2, ArrayView2, Axis, ShapeBuilder, s};
    let rows = Array2::from_shape_fn((5, 4), |(i, j)| element(i, j));
    let columns = Array2::from_shape_fn((5, 4).f(), |(i, j)| element(i, j));
    for a in [&rows, &columns] {
        check(a.into_mat(), (5, 4), element);
        check(a.t().into_mat(), (4, 5), |i, j| element(j, i));
        check(a.slice(s![1..;2, ..;-1]).into_mat(), (2, 4), |i, j| element(1 + 2 * i, 3 - j));
        check(a.slice(s![2..2, ..]).into_mat(), (0, 4), element);
        check(a.row(2).insert_axis(Axis(0)).into_mat(), (1, 4), |_, j| element(2, j));
        check(a.to_shared().into_mat(), (5, 4), element);
        let mut c = Array2::from_elem((12, 12), f64::NAN);
        check_product(a.into_mat(), c.slice_mut(s![1..11;2, ..10;-2]).into_mat_mut().unwrap());
        assert_eq!(c.iter().filter(|x| !x.is_nan()).count(), 25);
    }
    // A broadcast row may be read, since nothing is written.
    let row = [1.0, 2.0, 3.0];
    let row = ArrayView2::from_shape((1, 3), &row).unwrap();
    check(row.broadcast((4, 3)).unwrap().into_mat(), (4, 3), |_, j| j as f64 + 1.0);
}

#[test]
#[cfg(feature = "nalgebra")]
fn nalgebra_static_and_dynamic() {
    use nalgebra::{DMatrix, DMatrixViewMut, DVector, Dyn, SMatrix, U1};
    let dynamic = DMatrix::from_fn(5, 4, element);
    let fixed = SMatrix::<f64, 5, 4>::from_fn(element);
    check(dynamic.into_mat(), (5, 4), element);
    check(fixed.into_mat(), (5, 4), element);
    check(dynamic.view_with_steps((0, 1), (2, 2), (1, 1)).into_mat(), (2, 2), |i, j| element(2 * i, 1 + 2 * j));
    check(dynamic.row(3).into_mat(), (1, 4), |_, j| element(3, j));
    check(DVector::from_fn(5, element).into_mat(), (5, 1), element);
    let mut c = DMatrix::from_element(11, 11, f64::NAN);
    check_product(fixed.into_mat(), (&mut c.view_with_steps_mut((0, 1), (5, 5), (1, 1))).into_mat_mut().unwrap());
    assert_eq!(c.iter().filter(|x| !x.is_nan()).count(), 25);
    let mut data = [0.0; 9];
    // SAFETY: the view is refused before any element is reached.
    let mut crossed = unsafe {
        DMatrixViewMut::<f64, U1, Dyn>::from_slice_with_strides_generic_unchecked(&mut data, 0, Dyn(3), Dyn(3), U1, Dyn(2))
    };
    assert!(matches!((&mut crossed).into_mat_mut(), Err(gaitprop_kernels::Error::Overlap { .. })));
}

#[test]
#[cfg(feature = "faer")]
fn faer_owned_and_views() {
    use faer::Mat;
    let a = Mat::from_fn(5, 4, element);
    check(a.into_mat(), (5, 4), element);
    check(a.as_ref().into_mat(), (5, 4), element);
    check(a.transpose().into_mat(), (4, 5), |i, j| element(j, i));
    check(a.as_ref().submatrix(1, 2, 3, 2).into_mat(), (3, 2), |i, j| element(1 + i, 2 + j));
    check(a.as_ref().reverse_rows_and_cols().into_mat(), (5, 4), |i, j| element(4 - i, 3 - j));
    let mut c = Mat::<f64>::from_fn(7, 9, |_, _| f64::NAN);
    check_product(a.into_mat(), c.as_mut().submatrix_mut(1, 2, 5, 5).reverse_cols_mut().into_mat_mut().unwrap());
    let numbers = (0..7).flat_map(|i| (0..9).map(move |j| (i, j))).filter(|&(i, j)| !c[(i, j)].is_nan());
    assert_eq!(numbers.count(), 25);
    let mut whole = Mat::<f64>::zeros(5, 5);
    check_product(a.into_mat(), whole.into_mat_mut().unwrap());
    let mut data = [0.0; 6];
    // SAFETY: the view is refused before any element is reached.
    let crossed = unsafe { faer::MatMut::from_raw_parts_mut(data.as_mut_ptr(), 3, 2, 1, 2) };
    assert!(matches!(crossed.into_mat_mut(), Err(gaitprop_kernels::Error::Overlap { .. })));
}
