//! Labelled data sets: loading, splitting, limiting and scaling.
//!
//! [`load`] takes one word or path and tells the format from it:
//!
//! - `digits`: the UCI digits, embedded in the crate ([`digits`]);
//! - a folder: IDX files as MNIST, KMNIST and Fashion-MNIST ship them ([`idx`]);
//! - a file ending in `.npz`: arrays saved by `numpy.savez` ([`npz`]).
//!
//! A [`Dataset`] keeps what the file holds, bytes as bytes, so that 60 000 pictures of 28×28 take 47 MB and not 376.
//! [`Dataset::prepare`] makes the matrices a network reads, in the element type and the [`Scaling`] asked for.
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

pub mod digits;
pub mod idx;
#[cfg(feature = "npz")]
mod npy;
#[cfg(feature = "npz")]
pub mod npz;
mod scaling;

use crate::base::error::{Error, Result};
use crate::base::memory::ask_for;
use gaitprop_kernels::{MatRef, Real};
use std::io;
use std::path::{Path, PathBuf};

pub use scaling::{Affine, Scaling};

/// The most classes a data set may have; far above any use, and low enough that a stray label (an index, a hash) is
/// reported instead of asking for a one-hot matrix of gigabytes.
pub const MAX_CLASSES: usize = 65_536;

/// Feature values as the file had them, row-major samples×features.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Features {
    /// Grey levels: IDX files, the digits, npz arrays of `uint8`.
    Bytes(Vec<u8>),
    /// Everything else; all finite and within the range of `f32` when it comes from [`load`].
    Floats(Vec<f64>),
}

impl Features {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Features::Bytes(v) => v.len(),
            Features::Floats(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a flat index. Panics when `index >= len()`.
    pub fn get(&self, index: usize) -> f64 {
        match self {
            Features::Bytes(v) => f64::from(v[index]),
            Features::Floats(v) => v[index],
        }
    }

    /// Bytes of one value.
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

/// One part of a data set: features len×features and one label a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Row-major features, as stored.
    pub x: Features,
    /// One label a sample, below [`Dataset::classes`].
    pub labels: Vec<u32>,
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none; never for a split from [`load`].
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Takes away the last `count` samples, of which there are so many.
    fn split_off(&mut self, count: usize, features: usize) -> Self {
        let kept = self.len() - count;
        let x = match &mut self.x {
            Features::Bytes(v) => Features::Bytes(v.split_off(kept * features)),
            Features::Floats(v) => Features::Floats(v.split_off(kept * features)),
        };
        Self { x, labels: self.labels.split_off(kept) }
    }

    /// Keeps the first `limit` samples, all of them if there are fewer.
    fn limit(&mut self, limit: usize, features: usize) {
        if limit < self.len() {
            self.labels.truncate(limit);
            self.x.truncate(limit * features);
        }
    }
}

/// A labelled data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// `digits`, the folder's name, or the file's without `.npz`.
    pub name: String,
    /// Values a sample, at least 1.
    pub features: usize,
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// Rows and columns of one sample, when it is a picture.
    pub image: Option<(usize, usize)>,
    /// What [`Scaling::Unit`] divides by: 255 for IDX and `uint8`, 16 for the digits, else the training set's max |x|
    /// (1 if that is 0).
    pub full_scale: f64,
    /// The training set.
    pub train: Split,
    /// What [`Dataset::hold_out`] has taken from it.
    pub validation: Option<Split>,
    /// The test set.
    pub test: Split,
}

/// Samples ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples<T> {
    /// Row-major len×features.
    pub x: Vec<T>,
    /// One label a sample.
    pub labels: Vec<u32>,
    /// Number of samples.
    pub len: usize,
    /// Values a sample.
    pub features: usize,
}

/// Samples of the caller's, borrowed for training.
///
/// From [`Samples`], or from any views: rows of `x` may lie apart.
#[derive(Clone, Copy, Debug)]
pub struct SamplesRef<'a, T: Copy> {
    /// One row a sample.
    pub x: MatRef<'a, T>,
    /// One label a sample.
    pub labels: &'a [u32],
}

impl<T: Real> SamplesRef<'_, T> {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.x.nrows()
    }
    /// Whether there are none.
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

/// All parts of a data set, scaled alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared<T> {
    /// The training set.
    pub train: Samples<T>,
    /// What is held out of it, if anything is.
    pub validation: Option<Samples<T>>,
    /// The test set.
    pub test: Samples<T>,
}

/// What [`load`] may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Number of classes, 2 to [`MAX_CLASSES`]. Left out: 10 for IDX and digits, the training set's largest label + 1
    /// (at least 2) for npz.
    pub classes: Option<usize>,
    /// Keep at most this many training samples, the first ones.
    pub limit_train: Option<usize>,
    /// Keep at most this many test samples, the first ones.
    pub limit_test: Option<usize>,
}

impl Dataset {
    /// What `scaling` does to each feature of this data set: statistics are the training set's.
    pub fn affine(&self, scaling: Scaling) -> Affine {
        let all = |centre, spread| Affine { centre: vec![centre; self.features], spread: vec![spread; self.features] };
        match scaling {
            Scaling::None => all(0.0, 1.0),
            Scaling::Unit => all(0.0, self.full_scale),
            Scaling::Standard => Affine::statistics(&self.train, self.features, true),
            Scaling::PerFeature => Affine::statistics(&self.train, self.features, false),
        }
    }

    /// A checksum of all samples and labels, in their order: other ones would make other results.
    #[cfg(feature = "cli")]
    pub(crate) fn checksum(&self) -> u32 {
        // All features, then all labels: wherever held-out samples are split off.
        let parts = || [Some(&self.train), self.validation.as_ref(), Some(&self.test)].into_iter().flatten();
        let sum = parts().fold(0, |sum, split| match &split.x {
            Features::Bytes(v) => crc32c::crc32c_append(sum, v),
            Features::Floats(v) => v.iter().fold(sum, |sum, x| crc32c::crc32c_append(sum, &x.to_le_bytes())),
        });
        let labels = parts().flat_map(|split| &split.labels);
        labels.fold(sum, |sum, label| crc32c::crc32c_append(sum, &label.to_le_bytes()))
    }

    /// Takes the last `count` training samples for validation: neither learned nor counted by any statistic. What was held out before is let go.
    ///
    /// # Errors
    /// [`Error::Setting`] unless at least one sample is taken and one is left; [`Error::Memory`].
    pub fn hold_out(&mut self, count: usize) -> Result<()> {
        let samples = self.train.len();
        if count == 0 || count >= samples {
            return Err(Error::Setting(format!(
                "cannot hold {count} of {samples} training samples out for validation: hold out at least 1, and leave at least 1"
            )));
        }
        ask_for(
            count.saturating_mul(self.features.saturating_mul(self.train.x.size()).saturating_add(size_of::<u32>())),
            "the validation samples",
        )?;
        self.validation = Some(self.train.split_off(count, self.features));
        Ok(())
    }

    /// All parts as matrices of `T`, scaled by [`Dataset::affine`].
    ///
    /// # Errors
    /// As [`Dataset::apply`].
    /// # Panics
    /// As [`Dataset::apply`].
    pub fn prepare<T: Real>(&self, scaling: Scaling) -> Result<Prepared<T>> {
        self.apply(&self.affine(scaling))
    }

    /// All parts as matrices of `T`: `(x − centre) / spread`, computed in f64 and rounded once.
    ///
    /// Shapes: `x` len×features. The same bits for the same data on every machine.
    /// # Errors
    /// [`Error::Memory`] if the system refuses the memory for the matrices and labels.
    /// # Panics
    /// If `affine` is of another number of features, or if the public fields were changed so that a split's values are
    /// not len×features.
    pub fn apply<T: Real>(&self, affine: &Affine) -> Result<Prepared<T>> {
        assert!(affine.centre.len() == self.features && affine.spread.len() == self.features, "one centre and spread a feature");
        let parts = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        let count: usize = parts.into_iter().flatten().map(Split::len).sum();
        let sample = self.features.saturating_mul(size_of::<T>()).saturating_add(size_of::<u32>());
        ask_for(count.saturating_mul(sample), "the scaled samples")?;
        let samples = |split: &Split| {
            assert_eq!(split.x.len(), split.len() * self.features, "values of a split are samples × features");
            let x = match &split.x {
                Features::Bytes(v) => affine.scale(v),
                Features::Floats(v) => affine.scale(v),
            };
            Samples { x, labels: split.labels.clone(), len: split.len(), features: self.features }
        };
        Ok(Prepared { train: samples(&self.train), validation: self.validation.as_ref().map(samples), test: samples(&self.test) })
    }
}

/// Writes labels as rows with a single 1: `out[i, labels[i]] = 1`, all else 0.
///
/// Shapes: `out` row-major labels.len()×classes.
/// # Panics
/// If `out` has another length or a label is not below `classes`.
pub fn one_hot<T: Real>(labels: &[u32], classes: usize, out: &mut [T]) {
    assert_eq!(Some(out.len()), labels.len().checked_mul(classes), "one_hot: `out` must be labels × classes");
    out.fill(T::from_f64(0.0));
    let one = T::from_f64(1.0);
    for (i, &label) in labels.iter().enumerate() {
        // Without this check a label beyond its row would light up the next one's.
        assert!((label as usize) < classes, "one_hot: label {label} at index {i} with {classes} classes");
        out[i * classes + label as usize] = one;
    }
}

/// What names a data set.
const KINDS: &str = "`digits` (embedded), a folder of IDX files (train-images-idx3-ubyte, ...), or a file ending in .npz";

/// An error about the file or folder at `path`.
fn wrong(path: &Path, what: impl Into<String>) -> Error {
    Error::File { path: path.to_owned(), what: what.into() }
}

/// Loads the data set that `spec` names.
///
/// `digits` is the embedded set (a folder of that name is `./digits`); a folder is read as IDX files; a file whose name
/// ends in `.npz` as numpy arrays. Without a test set of its own, every fifth sample is set aside (index % 5 = 4).
/// # Errors
/// [`Error::File`], [`Error::Io`] and [`Error::Label`]: the message names the file and what is wrong with it.
/// # Panics
/// Never on what the files hold.
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
        Err(wrong(path, "this build reads no .npz files: build gaitprop with its feature `npz`"))
    } else {
        Err(wrong(path, format!("not a data set: give {KINDS}")))
    }
}

/// One part as a loader hands it over: shape of one sample, values, labels, and where samples and labels came from.
struct Part {
    sample_shape: Vec<usize>,
    split: Split,
    samples_path: PathBuf,
    path: PathBuf,
}

/// A data set before its labels are checked, the test set split off and the limits applied.
struct Draft {
    name: String,
    /// The folder or file, for messages about the whole.
    path: PathBuf,
    default_classes: u64,
    /// `None`: the training set's largest value.
    full_scale: Option<f64>,
    train: Part,
    test: Option<Part>,
}

impl Draft {
    fn finish(self, options: &LoadOptions) -> Result<Dataset> {
        let classes = self.classes(options)?;
        for part in std::iter::once(&self.train).chain(&self.test) {
            if let Some(index) = part.split.labels.iter().position(|&l| l as usize >= classes) {
                let label = part.split.labels[index];
                return Err(Error::Label { path: part.path.clone(), index, label, classes });
            }
        }

        let shape = self.train.sample_shape;
        let features: usize = shape.iter().product();
        let (mut train, mut test) = match self.test {
            Some(test) if test.sample_shape != shape => {
                let what = format!("test samples have shape {:?}, training samples {shape:?}", test.sample_shape);
                return Err(wrong(&test.samples_path, what));
            }
            Some(test) => (self.train.split, test.split),
            None if self.train.split.len() < 5 => {
                let samples = self.train.split.len();
                let what = format!("{samples} samples and no test set: at least 5 are needed to set every fifth aside");
                return Err(wrong(&self.path, what));
            }
            None => {
                let Split { x, labels } = &self.train.split;
                ask_for(x.len() * x.size() + size_of_val(&labels[..]), "training and test samples, taken apart,")?;
                every_fifth(&self.train.split, features)
            }
        };
        let limits = [(&mut train, options.limit_train, "training"), (&mut test, options.limit_test, "test")];
        for (split, limit, part) in limits {
            match limit {
                Some(0) => return Err(wrong(&self.path, format!("the limit of {part} samples is 0, at least 1 is needed"))),
                Some(limit) => split.limit(limit, features),
                None => {}
            }
        }
        // Six numbers a feature, while statistics are taken.
        ask_for(features.saturating_mul(6 * size_of::<f64>()), "the statistics of all features")?;
        let full_scale = self.full_scale.unwrap_or_else(|| largest(&train.x));
        let image = match shape[..] {
            [rows, cols] => Some((rows, cols)),
            _ => None,
        };
        Ok(Dataset { name: self.name, features, classes, image, full_scale, train, validation: None, test })
    }

    fn classes(&self, options: &LoadOptions) -> Result<usize> {
        let classes = options.classes.map_or(self.default_classes, |c| c as u64);
        usize::try_from(classes).ok().filter(|c| (2..=MAX_CLASSES).contains(c)).ok_or_else(|| {
            wrong(
                &self.path,
                format!(
                    "the number of classes is {classes} (asked for, or the largest label + 1), but must be 2 to {MAX_CLASSES}"
                ),
            )
        })
    }
}

/// Max |x|, or 1 when everything is 0 so that it can be divided by.
fn largest(x: &Features) -> f64 {
    let max = match x {
        Features::Bytes(v) => f64::from(v.iter().copied().max().unwrap_or(0)),
        Features::Floats(v) => v.iter().fold(0.0, |m: f64, x| m.max(x.abs())),
    };
    if max > 0.0 { max } else { 1.0 }
}

/// The fixed split of data that has no test set: sample i is a test sample when i % 5 = 4, and order is kept. Fixed, so
/// that two runs, two machines and two versions are measured on the same samples.
fn every_fifth(all: &Split, features: usize) -> (Split, Split) {
    fn rows<V: Copy>(values: &[V], features: usize, test: bool) -> Vec<V> {
        let kept = values.chunks_exact(features).enumerate().filter(|(i, _)| (i % 5 == 4) == test);
        let all = values.len() / features;
        let mut out = Vec::with_capacity(if test { all / 5 } else { all - all / 5 } * features);
        kept.for_each(|(_, row)| out.extend_from_slice(row));
        out
    }
    let part = |test: bool| Split {
        x: match &all.x {
            Features::Bytes(v) => Features::Bytes(rows(v, features, test)),
            Features::Floats(v) => Features::Floats(rows(v, features, test)),
        },
        labels: rows(&all.labels, 1, test),
    };
    (part(false), part(true))
}

/// The last part of a path as a data set's name.
fn name_of(part: Option<&std::ffi::OsStr>) -> String {
    part.map_or_else(|| "data".to_owned(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn constant_features_are_only_centred() {
        // 0.1 has no exact mean in binary; a deviation computed from it would be rounding noise.
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
    fn every_fifth_keeps_order_and_rows_together() {
        let all = Split { x: Features::Bytes((0..22).collect()), labels: (0..11).collect() };
        let (train, test) = every_fifth(&all, 2);
        assert_eq!(test.labels, [4, 9]);
        assert_eq!(test.x, Features::Bytes(vec![8, 9, 18, 19]));
        assert_eq!(train.labels, [0, 1, 2, 3, 5, 6, 7, 8, 10]);
        assert_eq!((train.x.len(), train.x.get(8)), (18, 10.0));
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
