//! The UCI digits, embedded: 1797 pictures of handwritten digits, 8×8, gray levels 0 to 16.
//!
//! Credit: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
//! Learning Repository, licensed under CC BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>).
//! The set is the test part of the original, repacked as gzipped IDX files. Values and order are
//! unchanged. See `data/README.md`.
//!
//! **The split is fixed**: sample i is a test sample if i % 5 = 4, which gives 1438 training and
//! 359 test samples. Both parts come from the same 13 writers, which raises the test accuracy a
//! little. It compares learning rules with each other, not with published results.

use std::path::{Path, PathBuf};

use crate::base::error::Result;
use crate::data::draft::Draft;
use crate::data::{Dataset, LoadOptions, idx};

static IMAGES: &[u8] = include_bytes!("../../data/digits-images-idx3-ubyte.gz");
static LABELS: &[u8] = include_bytes!("../../data/digits-labels-idx1-ubyte.gz");

/// Largest gray level: each pixel counts the set points of a 4×4 block of the original bitmap.
const FULL_SCALE: f64 = 16.0;

/// Loads the digits with these options. The default number of classes is 10.
///
/// # Errors
/// [`Error::File`](crate::Error::File) and [`Error::Label`](crate::Error::Label) for the options. A
/// test checks the embedded bytes.
pub fn load(options: &LoadOptions) -> Result<Dataset> {
    let path = |part: &str| PathBuf::from(format!("embedded digits ({part})"));
    let train = idx::read_pair((IMAGES, &path("images")), (LABELS, &path("labels")))?;
    Draft {
        name: "digits".to_owned(),
        path: Path::new("embedded digits").to_owned(),
        default_classes: 10,
        full_scale: Some(FULL_SCALE),
        train,
        test: None,
    }
    .finish(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Features;

    /// Numbers of the published files, computed by an independent program.
    #[test]
    fn embedded_bytes_are_the_published_ones() {
        let images = idx::read_images(IMAGES, Path::new("images")).unwrap();
        let labels = idx::read_labels(LABELS, Path::new("labels")).unwrap();
        assert_eq!((images.count, images.rows, images.cols), (1797, 8, 8));
        assert_eq!(images.pixels.iter().map(|&p| u64::from(p)).sum::<u64>(), 561_718);
        assert_eq!(images.pixels.iter().max(), Some(&16));
        assert_eq!(labels[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        let count = |digit| labels.iter().filter(|&&l| l == digit).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(count), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_split_is_fixed() {
        let d = load(&LoadOptions::default()).unwrap();
        assert_eq!((d.train.len(), d.test.len()), (1438, 359));
        assert_eq!((d.features, d.classes, d.image, d.full_scale), (64, 10, Some((8, 8)), 16.0));
        let count = |digit| d.test.labels.iter().filter(|&&l| l == digit).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(count), [27, 21, 34, 52, 34, 28, 31, 43, 47, 42]);
        let Features::Bytes(pixels) = &d.test.x else { panic!("digits are bytes") };
        assert_eq!(pixels.iter().map(|&p| u64::from(p)).sum::<u64>(), 111_414);
    }
}
