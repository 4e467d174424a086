//! Matrix-vector products, rank-1 updates and dot products equal their naive twins in every bit, and
//! need no more scratch than they say.

use crate::support::vectors::*;
use crate::support::*;
use gaitprop_kernels::{MatRef, reference};
use proptest::prelude::*;

fn three_layouts() -> impl Strategy<Value = [Layout; 3]> {
    [any_layout(), any_layout(), any_layout()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn matrix_vector_products_equal_the_loop(
        m in size(), n in size(), scalars in (any_scalar(), any_scalar()), layouts in three_layouts(), seed: u64, ways in any_ways(),
    ) {
        ways.all(|plans| check_gemv::<f32, _>(Fences, (m, n), scalars, layouts, seed, plans))?;
        ways.all(|plans| check_gemv::<f64, _>(Fences, (m, n), scalars, layouts, seed, plans))?;
    }

    #[test]
    fn rank_1_updates_equal_the_loop(
        m in size(), n in size(), alpha in any_scalar(), layouts in three_layouts(), seed: u64, ways in any_ways(),
    ) {
        ways.all(|plans| check_ger::<f32, _>(Fences, (m, n), alpha, layouts, seed, plans))?;
        ways.all(|plans| check_ger::<f64, _>(Fences, (m, n), alpha, layouts, seed, plans))?;
    }

    #[test]
    fn dot_products_equal_the_loop(len in 0usize..300, layouts in [any_layout(), any_layout()], seed: u64, ways in any_ways()) {
        ways.all(|plans| check_dot::<f32, _>(Fences, len, layouts, seed, plans))?;
        ways.all(|plans| check_dot::<f64, _>(Fences, len, layouts, seed, plans))?;
    }
}

/// More rows than stay in L1 at a time, in both layouts, and a chain of 5000.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn long_vectors() {
    for (shape, layout) in
        [((5000, 30), Layout::Columns), ((5000, 30), Layout::Rows), ((67, 5000), Layout::Rows), ((1, 5000), Layout::Rows)]
    {
        Ways::usual(3).all(|plans| check_gemv::<f32, _>(Fences, shape, (1.0, 0.5), [layout; 3], 3, plans)).unwrap();
        Ways::usual(3).all(|plans| check_ger::<f64, _>(Fences, shape, 0.3, [layout; 3], 3, plans)).unwrap();
    }
}

/// Around every number of elements at which a dot product is cut otherwise: one block, two, the most.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn dot_products_of_several_blocks() {
    let block = 1 << 15;
    for len in
        [block, block + 1, 2 * block - 1, 2 * block, 3 * block + 7, 64 * block - 1, 64 * block, 64 * block + 1, 100 * block]
    {
        Ways::usual(3).all(|plans| check_dot::<f32, _>(Fences, len, [Layout::Rows; 2], len as u64, plans)).unwrap();
    }
}

/// The twin of the dot product is a sum of products: within its bound of a sum in another order, and
/// one wrong element is seen.
#[test]
fn the_twin_of_the_dot_product_is_one() {
    let x = Fenced::<f64>::new((70_000, 1), Layout::Rows, reals(1));
    let y = Fenced::<f64>::new((70_000, 1), Layout::Rows, reals(2));
    let products = || (0..70_000).map(|i| x.view().get(i, 0) * y.view().get(i, 0));
    let (sum, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
    let got = reference::dot(x.view(), y.view());
    assert!((got - sum).abs() <= 70_000.0 * f64::EPSILON * size, "{got:e}, not {sum:e}");
    let mut wrong = x.clone();
    wrong.view_mut().set(40_000, 0, 7.0);
    assert!(reference::dot(wrong.view(), y.view()) != got);
    assert_eq!(reference::dot::<f64>(MatRef::new(&[], 0, 1).unwrap(), MatRef::new(&[], 0, 1).unwrap()), 0.0);
}
