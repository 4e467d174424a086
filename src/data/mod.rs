//! Labeled data sets: loading, splitting, limiting and scaling.
//!
//! [`load`] takes a name or a path, which determines the format:
//!
//! - `digits`: the UCI digits, embedded in the crate;
//! - a folder: IDX files, the format of MNIST, KMNIST and Fashion-MNIST;
//! - a file ending in `.npz`: arrays saved by `numpy.savez`, with the feature `npz`.
//!
//! An archive holds these arrays:
//!
//! | array | shape | type | |
//! |---|---|---|---|
//! | `x` | n×d or n×h×w | float, integer or `uint8` | needed |
//! | `y` | n | whole numbers from 0 | needed |
//! | `x_test`, `y_test` | like `x`, `y` | | both or neither |
//!
//! Without `x`, `x_train` and `y_train` replace `x` and `y`. Without a test set, every fifth sample
//! becomes a test sample.
//!
//! A [`Dataset`] stores bytes as bytes, so that 60 000 pictures of 28×28 take 47 MB instead of 376.
//! [`Dataset::prepare`] makes the input matrices of a network, in any element type and [`Scaling`].
//!
//! ```
//! use gaitprop::data::{self, LoadOptions, Scaling};
//!
//! let digits = data::load("digits", &LoadOptions::default())?;
//! let ready = digits.prepare::<f32>(Scaling::Unit)?;
//! assert_eq!(ready.train.len, 1438);
//! assert_eq!(ready.train.x.len(), 1438 * 64);
//! assert_eq!(ready.test.labels.len(), 359);
//! # Ok::<(), gaitprop::Error>(())
//! ```

#[doc(hidden)] // these three for tests and fuzz targets: others call `load`
pub mod digits;
mod draft;
#[doc(hidden)]
pub mod idx;
#[cfg(feature = "npz")]
mod npy;
#[cfg(feature = "npz")]
#[doc(hidden)]
pub mod npz;
mod scaling;

use crate::base::error::{Error, Result};
use crate::base::memory::ask_for;
use gaitprop_kernels::{MatRef, Real};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

pub use scaling::{Affine, Scaling};

/// Largest number of classes of a data set. A stray label, such as an index or a hash, is then an
/// error and does not allocate a one-hot matrix of gigabytes.
pub const MAX_CLASSES: usize = 65_536;

/// Feature values as stored in the file, row-major samples×features.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Features {
    /// Gray levels: IDX files, the digits, npz arrays of `uint8`.
    Bytes(Vec<u8>),
    /// All other values. [`load`] ensures that they are finite and within the range of `f32`.
    Floats(Vec<f64>),
}

impl Features {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            Features::Bytes(v) => v.len(),
            Features::Floats(v) => v.len(),
        }
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value at a flat index.
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn get(&self, index: usize) -> f64 {
        match self {
            Features::Bytes(v) => f64::from(v[index]),
            Features::Floats(v) => v[index],
        }
    }

    /// Returns the bytes per value.
    fn size(&self) -> usize {
        match self {
            Features::Bytes(_) => size_of::<u8>(),
            Features::Floats(_) => size_of::<f64>(),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Features::Bytes(v) => v.truncate(len),
            Features::Floats(v) => v.truncate(len),
        }
    }
}

/// One part of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Features as stored, row-major len×features.
    pub x: Features,
    /// One label per sample, below [`Dataset::classes`].
    pub labels: Vec<u32>,
}

impl Split {
    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no samples. [`load`] never returns an empty split.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Removes and returns the last `count` samples; `count` is at most `len()`.
    fn split_off(&mut self, count: usize, features: usize) -> Self {
        let kept = self.len() - count;
        let x = match &mut self.x {
            Features::Bytes(v) => Features::Bytes(v.split_off(kept * features)),
            Features::Floats(v) => Features::Floats(v.split_off(kept * features)),
        };
        Self { x, labels: self.labels.split_off(kept) }
    }

    /// Keeps the first `limit` samples, or all if there are fewer.
    fn limit(&mut self, limit: usize, features: usize) {
        if limit < self.len() {
            self.labels.truncate(limit);
            self.x.truncate(limit * features);
        }
    }
}

/// Labeled data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name: `digits`, the name of the folder, or the file name without `.npz`.
    pub name: String,
    /// Values per sample, at least 1.
    pub features: usize,
    /// Number of classes. All labels are below it.
    pub classes: usize,
    /// Rows and columns of a sample, if samples are pictures.
    pub image: Option<(usize, usize)>,
    /// Divisor of [`Scaling::Unit`]: 255 for IDX and `uint8`, 16 for the digits, else max |x| of
    /// the training set (1 if that is 0).
    pub full_scale: f64,
    /// The training set.
    pub train: Split,
    /// Samples that [`Dataset::hold_out`] moved out of the training set.
    pub validation: Option<Split>,
    /// The test set.
    pub test: Split,
}

/// Scaled samples, the inputs of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples<T> {
    /// Inputs, row-major len×features.
    pub x: Vec<T>,
    /// One label per sample.
    pub labels: Vec<u32>,
    /// Number of samples.
    pub len: usize,
    /// Values per sample.
    pub features: usize,
}

/// Borrowed samples for training, from [`Samples`] or from views. Rows of `x` may be strided.
#[derive(Clone, Copy, Debug)]
pub struct SamplesRef<'a, T: Copy> {
    /// One row per sample.
    pub x: MatRef<'a, T>,
    /// One label per sample.
    pub labels: &'a [u32],
}

impl<T: Real> SamplesRef<'_, T> {
    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.x.nrows()
    }
    /// Returns whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Real> TryFrom<&'a Samples<T>> for SamplesRef<'a, T> {
    type Error = Error;

    /// # Errors
    /// [`Error::Setting`] if the numbers of values, samples and features contradict each other.
    fn try_from(samples: &'a Samples<T>) -> Result<Self> {
        let Samples { x, labels, len, features } = samples;
        if Some(x.len()) != len.checked_mul(*features) {
            let values = x.len();
            return Err(Error::Setting(format!("{len} samples of {features} features cannot have {values} values")));
        }
        Ok(Self { x: MatRef::new(x, *len, *features)?, labels })
    }
}

/// All parts of a data set with the same scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared<T> {
    /// The training set.
    pub train: Samples<T>,
    /// The validation set, if samples are held out.
    pub validation: Option<Samples<T>>,
    /// The test set.
    pub test: Samples<T>,
}

/// Options of [`load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Number of classes, 2 to [`MAX_CLASSES`]. Default: 10 for IDX and digits, the largest
    /// training label + 1 (at least 2) for npz.
    pub classes: Option<usize>,
    /// Number of leading training samples to keep.
    pub limit_train: Option<usize>,
    /// Number of leading test samples to keep.
    pub limit_test: Option<usize>,
}

impl Dataset {
    /// Returns the affine map of `scaling` for this data set, with statistics of the training set.
    pub fn affine(&self, scaling: Scaling) -> Affine {
        let all = |center, scale| Affine { center: vec![center; self.features], scale: vec![scale; self.features] };
        match scaling {
            Scaling::None => all(0.0, 1.0),
            Scaling::Unit => all(0.0, self.full_scale),
            Scaling::Standard => Affine::statistics(&self.train, self.features, true),
            Scaling::PerFeature => Affine::statistics(&self.train, self.features, false),
        }
    }

    /// Computes a checksum of all samples and labels in order, on which results depend.
    #[cfg(feature = "cli")]
    pub(crate) fn checksum(&self) -> u32 {
        // All features first, then all labels, so that the held-out count does not change the sum.
        let parts = || [Some(&self.train), self.validation.as_ref(), Some(&self.test)].into_iter().flatten();
        let sum = parts().fold(0, |sum, split| match &split.x {
            Features::Bytes(v) => crc32c::crc32c_append(sum, v),
            Features::Floats(v) => v.iter().fold(sum, |sum, x| crc32c::crc32c_append(sum, &x.to_le_bytes())),
        });
        let labels = parts().flat_map(|split| &split.labels);
        labels.fold(sum, |sum, label| crc32c::crc32c_append(sum, &label.to_le_bytes()))
    }

    /// Moves the last `count` training samples to the validation set, which replaces the previous
    /// one.
    ///
    /// Training and statistics do not use them.
    ///
    /// # Errors
    /// [`Error::Setting`] unless at least one sample is held out and one remains;
    /// [`Error::Memory`].
    pub fn hold_out(&mut self, count: usize) -> Result<()> {
        let samples = self.train.len();
        if count == 0 || count >= samples {
            return Err(Error::Setting(format!(
                "cannot hold out {count} of {samples} training samples for validation: hold out at least 1 and keep at least 1"
            )));
        }
        ask_for(
            count.saturating_mul(self.features.saturating_mul(self.train.x.size()).saturating_add(size_of::<u32>())),
            "the validation samples",
        )?;
        self.validation = Some(self.train.split_off(count, self.features));
        Ok(())
    }

    /// Returns all parts as matrices of `T`, scaled by [`Dataset::affine`].
    ///
    /// # Errors
    /// As [`Dataset::apply`].
    /// # Panics
    /// As [`Dataset::apply`].
    pub fn prepare<T: Real>(&self, scaling: Scaling) -> Result<Prepared<T>> {
        self.apply(&self.affine(scaling))
    }

    /// Returns all parts as matrices of `T`: `(x − center) / scale`, computed in f64 and rounded
    /// once.
    ///
    /// Shapes: `x` len×features. The same data give the same bits on every machine.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses the memory for the matrices and labels.
    /// # Panics
    /// If `affine` has another number of features, or if the values of a split are not
    /// len×features.
    pub fn apply<T: Real>(&self, affine: &Affine) -> Result<Prepared<T>> {
        assert!(affine.center.len() == self.features && affine.scale.len() == self.features, "one center and scale per feature");
        let parts = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        let count: usize = parts.into_iter().flatten().map(Split::len).sum();
        let sample = self.features.saturating_mul(size_of::<T>()).saturating_add(size_of::<u32>());
        ask_for(count.saturating_mul(sample), "the scaled samples")?;
        let samples = |split: &Split| {
            assert_eq!(split.x.len(), split.len() * self.features, "values of a split are samples × features");
            let x = match &split.x {
                Features::Bytes(v) => affine.apply(v),
                Features::Floats(v) => affine.apply(v),
            };
            Samples { x, labels: split.labels.clone(), len: split.len(), features: self.features }
        };
        Ok(Prepared { train: samples(&self.train), validation: self.validation.as_ref().map(samples), test: samples(&self.test) })
    }
}

/// Writes one-hot rows: `out[i, labels[i]] = 1`, all other elements 0.
///
/// Shapes: `out` row-major labels.len()×classes.
/// # Panics
/// If `out` has another length or a label is not below `classes`.
pub fn one_hot<T: Real>(labels: &[u32], classes: usize, out: &mut [T]) {
    assert_eq!(Some(out.len()), labels.len().checked_mul(classes), "one_hot: `out` must be labels × classes");
    out.fill(T::from_f64(0.0));
    let one = T::from_f64(1.0);
    for (i, &label) in labels.iter().enumerate() {
        // Without this check, a label beyond its row would set an element of the next row.
        assert!((label as usize) < classes, "one_hot: label {label} at index {i} with {classes} classes");
        out[i * classes + label as usize] = one;
    }
}

/// Names of data sets, for messages.
const KINDS: &str = "`digits` (embedded), a folder of IDX files (train-images-idx3-ubyte, ...), or a file ending in .npz";

/// Returns an error about the file or folder at `path`.
fn wrong(path: &Path, what: impl Into<String>) -> Error {
    Error::File { path: path.to_owned(), what: what.into() }
}

/// Loads the data set with the name or path `spec`.
///
/// `digits` is the embedded set (for a folder of that name, use `./digits`). Folders are read as
/// IDX files, files ending in `.npz` as NumPy arrays. Without a test set, every fifth sample (index
/// % 5 = 4) becomes a test sample.
///
/// # Errors
/// [`Error::File`], [`Error::Io`] and [`Error::Label`]. The message names the file and the fault.
pub fn load(spec: &str, options: &LoadOptions) -> Result<Dataset> {
    if spec == "digits" {
        return digits::load(options);
    }
    let path = Path::new(spec);
    let found = std::fs::metadata(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => wrong(path, format!("does not exist: give {KINDS}")),
        _ => Error::io("open", path)(cause),
    })?;
    let is_npz = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    if found.is_dir() {
        idx::load_folder(path, options)
    } else if is_npz {
        #[cfg(feature = "npz")]
        return npz::load(path, options);
        #[cfg(not(feature = "npz"))]
        Err(wrong(path, "this build does not support .npz files: build gaitprop with the feature `npz`"))
    } else {
        Err(wrong(path, format!("not a data set: give {KINDS}")))
    }
}

/// Opens a file for buffered reading and refuses folders.
fn open(path: &Path) -> Result<BufReader<File>> {
    let failed = |cause| Error::io("open", path)(cause);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file")));
    }
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// Returns the last component of a path as the name of a data set.
fn name_of(part: Option<&std::ffi::OsStr>) -> String {
    part.map_or_else(|| "data".to_owned(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::draft::largest;

    fn dataset(train: Features, test: Features, features: usize) -> Dataset {
        let split = |x: Features| Split { labels: vec![0; x.len() / features], x };
        let full_scale = largest(&train);
        let (train, test) = (split(train), split(test));
        Dataset { name: "t".into(), features, classes: 2, image: None, full_scale, train, validation: None, test }
    }

    #[test]
    fn scaling_names_round_trip_and_others_are_refused() {
        for s in Scaling::ALL {
            assert_eq!(s.to_string().parse::<Scaling>().unwrap(), s);
        }
        for bad in ["", "Unit", "perfeature", "unit "] {
            let message = bad.parse::<Scaling>().unwrap_err().to_string();
            assert!(message.contains("none, unit, standard or per-feature"), "{message}");
        }
        assert_eq!(format!("[{:>6}]", Scaling::None), "[  none]");
    }

    #[test]
    fn unit_reaches_one_exactly_and_none_keeps_values() {
        let mut d = dataset(Features::Bytes(vec![0, 51, 255, 128]), Features::Bytes(vec![255, 1]), 2);
        d.full_scale = 255.0;
        assert_eq!(d.prepare::<f64>(Scaling::Unit).unwrap().train.x, [0.0, 0.2, 1.0, 128.0 / 255.0]);
        assert_eq!(d.prepare::<f32>(Scaling::Unit).unwrap().test.x, [1.0, 1.0 / 255.0]);
        assert_eq!(d.prepare::<f32>(Scaling::None).unwrap().train.x, [0.0, 51.0, 255.0, 128.0]);
    }

    #[test]
    fn statistics_come_from_the_training_set_alone() {
        let d = dataset(Features::Floats(vec![1.0, 10.0, 3.0, 30.0]), Features::Floats(vec![5.0, 20.0]), 2);
        let p = d.prepare::<f64>(Scaling::PerFeature).unwrap();
        assert_eq!(p.train.x, [-1.0, -1.0, 1.0, 1.0]);
        assert_eq!(p.test.x, [3.0, 0.0]);
        let p = d.prepare::<f64>(Scaling::Standard).unwrap(); // mean 11, variance (100 + 1 + 64 + 361) / 4
        let sd = (526.0f64 / 4.0).sqrt();
        assert_eq!(p.test.x, [-6.0 / sd, 9.0 / sd]);
    }

    #[test]
    fn the_last_samples_are_held_out_of_everything() {
        let mut d = dataset(Features::Floats(vec![1.0, 3.0, 5.0, 90.0]), Features::Floats(vec![2.0]), 1);
        d.train.labels = vec![0, 1, 0, 1];
        d.hold_out(1).unwrap();
        let p = d.prepare::<f64>(Scaling::Standard).unwrap();
        let sd = (8.0f64 / 3.0).sqrt();
        assert_eq!(p.train.x, [-2.0 / sd, 0.0, 2.0 / sd]);
        let held = p.validation.unwrap();
        assert_eq!((held.x, held.labels, held.len), (vec![87.0 / sd], vec![1], 1));
        for count in [0, 3, usize::MAX] {
            let before = d.clone();
            let message = d.hold_out(count).unwrap_err().to_string();
            assert!(message.contains("3 training samples"), "{message}");
            assert_eq!(d, before);
        }
    }

    #[test]
    fn constant_features_are_only_centered() {
        // The mean of 0.1 is not exact in binary. A deviation computed from it would be rounding
        // error.
        let train: Vec<f64> = (0..30).flat_map(|i| [0.1, f64::from(i), 0.0]).collect();
        let d = dataset(Features::Floats(train), Features::Floats(vec![0.6, 1.0, 2.0]), 3);
        let p = d.prepare::<f64>(Scaling::PerFeature).unwrap();
        assert!(p.train.x.chunks(3).all(|r| r[0] == 0.0 && r[2] == 0.0));
        assert_eq!((p.test.x[0], p.test.x[2]), (0.5, 2.0));

        let d = dataset(Features::Bytes(vec![7; 6]), Features::Bytes(vec![7, 9]), 2);
        let p = d.prepare::<f32>(Scaling::Standard).unwrap();
        assert_eq!((p.train.x, p.test.x), (vec![0.0; 6], vec![0.0, 2.0]));
    }

    #[test]
    fn extreme_values_never_become_nan() {
        let top = f64::from(f32::MAX);
        let d = dataset(Features::Floats(vec![top, 1e-300, -top, 0.0]), Features::Floats(vec![top, 1.0]), 2);
        for s in Scaling::ALL {
            let p = d.prepare::<f64>(s).unwrap();
            assert!(p.train.x.iter().chain(&p.test.x).all(|v| v.is_finite()), "{s}: {p:?}");
        }
        let d = dataset(Features::Floats(vec![5e-324, 0.0]), Features::Floats(vec![1e30, -1e30]), 1);
        for s in Scaling::ALL {
            let p = d.prepare::<f32>(s).unwrap();
            assert!(p.train.x.iter().chain(&p.test.x).all(|v| v.is_finite()), "{s}: {p:?}");
        }
    }

    #[test]
    fn one_hot_rows() {
        let mut out = [7.0f32; 6];
        one_hot(&[2, 0], 3, &mut out);
        assert_eq!(out, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        one_hot::<f64>(&[], 3, &mut []);
    }

    #[test]
    #[should_panic(expected = "label 3 at index 0")]
    fn one_hot_refuses_a_label_of_the_next_row() {
        one_hot(&[3, 0], 3, &mut [0.0f32; 6]);
    }

    #[test]
    #[should_panic(expected = "labels × classes")]
    fn one_hot_refuses_a_wrong_length() {
        one_hot(&[1], 3, &mut [0.0f64; 4]);
    }
}
