//! A matrix packed for one plan and used in another: the bits of the naive product, or a typed
//! error; never panels misread.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop_fuzz::operands::fenced::{Fenced, first_difference, reals};
use gaitprop_fuzz::{How, layout, scalar, shape, size};
use gaitprop_kernels::{Epilogue, Error, Orientation, PackedRhs, Real, Scratch, Start, gemm_with, reference};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    packed_by: How,
    used_by: How,
    seed: u64,
    /// Rows of the left operand, and of W; columns of W.
    shape: (u8, u8, u8),
    /// Of W, of the matrix packed again, of the left operand, and of C, whose rows are mostly
    /// contiguous.
    layouts: [u8; 4],
    orientation: u8,
    transposed: bool,
    /// Packs another matrix into the same memory first: of this shape, if it is not W's own.
    again: Option<Option<(u8, u8)>>,
    /// The left operand has a column more than it may.
    misfit: bool,
    scalars: (i8, i8),
    double: bool,
}

fn check<T: Real>(input: &Input) {
    let (m, rows, cols) = shape(input.shape);
    let orientation = [Orientation::Plain, Orientation::Transposed, Orientation::Both][usize::from(input.orientation) % 3];
    let (packing, using) = (input.packed_by.plan(), input.used_by.plan());
    let mut value = reals::<T>(input.seed);
    let mut w = Fenced::<T>::new((rows, cols), layout(input.layouts[0]), &mut value);
    let mut packed = PackedRhs::new(w.view(), orientation, &packing).expect("memory for a small matrix");
    assert_eq!(packed.shape(), (rows, cols));
    if let Some(shape) = input.again {
        let shape = shape.map_or((rows, cols), |(rows, cols)| (size(rows), size(cols)));
        let other = Fenced::<T>::new(shape, layout(input.layouts[1]), &mut value);
        match packed.repack(other.view(), &using) {
            Ok(()) => {
                assert_eq!((shape, packing.isa), ((rows, cols), using.isa));
                w = other;
            }
            Err(Error::Shape { .. }) => assert_ne!(shape, (rows, cols)),
            Err(Error::Packed { .. }) => assert_ne!(packing.isa, using.isa),
            Err(other) => panic!("repacking: {other}"),
        }
    }
    let panels = if input.transposed { packed.transposed() } else { packed.plain() };
    let has = orientation == Orientation::Both || (orientation == Orientation::Transposed) == input.transposed;
    let panels = match panels {
        Ok(panels) if has => panels,
        Err(Error::Packed { .. }) if !has => return,
        other => panic!("{orientation:?}: {:?}", other.map(|p| p.shape())),
    };
    let b = if input.transposed { w.view().t() } else { w.view() };
    assert_eq!(panels.shape(), b.shape());
    let (k, n) = b.shape();
    let a = Fenced::<T>::new((m, k + usize::from(input.misfit)), layout(input.layouts[2]), &mut value);
    let mut got = Fenced::<T>::new((m, n), layout(input.layouts[3]), &mut value);
    let mut want = got.clone();
    let (alpha, beta) = (T::from_f64(scalar(input.scalars.0)), T::from_f64(scalar(input.scalars.1)));
    let (start, scratch) = (Start::C(beta), &mut Scratch::new());
    let result = gemm_with(alpha, a.view(), panels, start, got.view_mut(), Epilogue::Store, &using, scratch);
    let fits = packing.isa == using.isa && !input.misfit;
    match result {
        Ok(true) if fits => reference::gemm(alpha, a.view(), b, beta, want.view_mut()),
        Err(Error::Packed { .. }) if packing.isa != using.isa => {}
        Err(Error::Shape { .. }) if input.misfit => {}
        other => panic!("{} packed, {} used, misfit {}: {other:?}", packing.isa, using.isa, input.misfit),
    }
    // After an error nothing has been written.
    let difference = first_difference(want.view(), got.view());
    assert!(difference.is_none() && got.fences_stand(), "{difference:?}");
}

fuzz_target!(|input: Input| if input.double { check::<f64>(&input) } else { check::<f32>(&input) });
