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
//! let ready = digits.prepare::<f32>(Scaling::Unit);
//! assert_eq!(ready.train.len, 1438);
//! assert_eq!(ready.train.x.len(), 1438 * 64);
//! assert_eq!(ready.test.labels.len(), 359);
//! # Ok::<(), data::DataError>(())
//! ```

pub mod digits;
pub mod idx;
pub mod npz;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gaitprop_kernels::Real;

/// The most classes a data set may have; far above any use, and low enough that a stray label (an index, a hash) is
/// reported instead of asking for a one-hot matrix of gigabytes.
pub const MAX_CLASSES: usize = 65_536;

/// Why data could not be read, understood or written. Every message is one line that names the file and the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data set's name is neither a known word, nor a folder, nor a `.npz` file.
    #[error(
        "{path:?} is not a data set: give `digits` (embedded), a folder of IDX files \
         (train-images-idx3-ubyte, ...), or a file ending in .npz"
    )]
    UnknownFormat {
        /// What was given.
        path: PathBuf,
    },
    /// Nothing exists at the path.
    #[error("{path:?} does not exist: give `digits` (embedded), a folder of IDX files, or a file ending in .npz")]
    NotFound {
        /// What was given.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path:?}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, a verb.
        action: &'static str,
        /// The system's reason.
        cause: io::Error,
    },
    /// An unknown name for [`Scaling`].
    #[error("unknown scaling {given:?}: one of none, unit, standard, per-feature")]
    UnknownScaling {
        /// What was given.
        given: String,
    },

    /// The first two bytes of an IDX file are not zero.
    #[error("{path:?} is not an IDX file: it starts with 0x{magic:08x}, not with 0x00000803 (images) or 0x00000801 (labels)")]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// Its first four bytes, the first the highest.
        magic: u32,
    },
    /// An IDX file of something else than unsigned bytes.
    #[error("{path:?} holds IDX elements of type 0x{code:02x}; only unsigned bytes (0x08) are read")]
    IdxElementType {
        /// The file.
        path: PathBuf,
        /// The third byte of the file.
        code: u8,
    },
    /// Labels where images were expected, or the other way round.
    #[error("{path:?} holds an IDX array of {found} dimensions where {expected} were expected (images 3, labels 1)")]
    IdxDimensions {
        /// The file.
        path: PathBuf,
        /// The fourth byte of the file.
        found: u8,
        /// 3 or 1.
        expected: u8,
    },
    /// The file ends inside its header.
    #[error("{path:?} ends inside its IDX header: {found} bytes of {expected}")]
    IdxHeader {
        /// The file.
        path: PathBuf,
        /// Bytes in a whole header.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The header's sizes multiply to more than memory can address.
    #[error("{path:?} has an impossible IDX header: sizes {sizes:?} multiply to more bytes than memory can address")]
    IdxOverflow {
        /// The file.
        path: PathBuf,
        /// The header's sizes.
        sizes: Vec<u32>,
    },
    /// Fewer bytes than the header's sizes ask for.
    #[error("{path:?} is cut short: its IDX header asks for {expected} bytes of data, {found} follow")]
    IdxTooShort {
        /// The file.
        path: PathBuf,
        /// The product of the header's sizes.
        expected: usize,
        /// Bytes after the header.
        found: usize,
    },
    /// More bytes than the header's sizes ask for.
    #[error("{path:?} is too long: more data follows the {expected} bytes that its IDX header asks for")]
    IdxTooLong {
        /// The file.
        path: PathBuf,
        /// The product of the header's sizes.
        expected: usize,
    },
    /// A gzip stream that is cut short or damaged.
    #[error("{path:?} is a damaged or truncated gzip file ({cause}); fetch it again")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decoder met.
        cause: io::Error,
    },
    /// Image file and label file of different lengths.
    #[error("{images:?} holds {image_count} images but {labels:?} holds {label_count} labels")]
    IdxCounts {
        /// The image file.
        images: PathBuf,
        /// Images in it.
        image_count: usize,
        /// The label file.
        labels: PathBuf,
        /// Labels in it.
        label_count: usize,
    },
    /// A folder without IDX files.
    #[error(
        "{path:?} holds no IDX files: expected train-images-idx3-ubyte, train-labels-idx1-ubyte, \
         t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or .gz"
    )]
    IdxNone {
        /// The folder.
        path: PathBuf,
    },
    /// One file of a pair, or of the four, is not there.
    #[error("{path:?} lacks {missing} (plain or .gz)")]
    IdxMissing {
        /// The folder.
        path: PathBuf,
        /// The file's name.
        missing: String,
    },
    /// Several pairs that are not the well-known four files.
    #[error("{path:?} holds several IDX sets ({prefixes}): keep one, or name the two parts train-... and t10k-...")]
    IdxAmbiguous {
        /// The folder.
        path: PathBuf,
        /// What stands before `-images-idx3-ubyte`, comma-separated.
        prefixes: String,
    },

    /// A zip archive, or a member of one, that cannot be read or written.
    #[error("{path:?} is damaged or not an npz (zip) archive: {cause}")]
    Zip {
        /// The file.
        path: PathBuf,
        /// What the archive reader met.
        cause: io::Error,
    },
    /// A member whose bytes cannot be read: damaged, truncated, encrypted or packed by an unsupported method.
    #[error("{path:?}: array {array:?} cannot be unpacked: {cause}")]
    Member {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// What the archive reader met.
        cause: io::Error,
    },
    /// An array whose npy header is not understood.
    #[error("{path:?}: array {array:?} has a bad npy header: {cause}")]
    NpyHeader {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// What is wrong with it.
        cause: String,
    },
    /// An array of a type that is not a real number of 1, 2, 4 or 8 bytes.
    #[error(
        "{path:?}: array {array:?} has dtype {dtype}; only bool, integers, float32 and float64 are read: \
         convert it with .astype() before saving"
    )]
    NpyType {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// The dtype as the file has it.
        dtype: String,
    },
    /// An array with fewer or more bytes than its shape asks for.
    #[error("{path:?}: array {array:?} should hold {expected} bytes by its shape {shape:?} but holds {found}")]
    NpySize {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes by its shape.
        expected: usize,
        /// Bytes found: a number, or "more".
        found: String,
    },
    /// A needed array is not in the archive.
    #[error("{path:?} lacks array {array:?}; it holds: {found}")]
    ArrayMissing {
        /// The file.
        path: PathBuf,
        /// The needed array.
        array: &'static str,
        /// The names it holds, comma-separated.
        found: String,
    },
    /// An array of the wrong shape for its use.
    #[error("{path:?}: array {array:?} has shape {shape:?}, expected {expected}")]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// `x` and `y` of different lengths.
    #[error("{path:?}: array {x:?} holds {samples} samples but array {y:?} holds {labels} labels")]
    ArrayCounts {
        /// The file.
        path: PathBuf,
        /// Name of the features' array.
        x: String,
        /// Its first size.
        samples: usize,
        /// Name of the labels' array.
        y: String,
        /// Its length.
        labels: usize,
    },
    /// A feature that is not a finite number, or one too large for 32-bit floats.
    #[error("{path:?}: array {array:?}, sample {sample}, feature {feature} is {value:e}: not a finite 32-bit float")]
    Feature {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Row, from 0.
        sample: usize,
        /// Place in the row, from 0.
        feature: usize,
        /// The value.
        value: f64,
    },
    /// A label that is negative, fractional, not a number, or too large to be a class index.
    #[error("{path:?}: array {array:?}, index {index} is {value}: a label must be a whole number from 0 to 4294967295")]
    LabelValue {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Place in the array, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Values whose number differs from what their shape says, on writing.
    #[error("cannot write {path:?}: array {array:?} has shape {shape:?} but {found} values")]
    WriteShape {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Values given.
        found: usize,
    },

    /// No samples, or samples without features.
    #[error("{path:?} is empty: sizes {shape:?}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// Its sizes, samples first.
        shape: Vec<usize>,
    },
    /// A label beyond the number of classes.
    #[error("{path:?} holds label {label} at index {index}, but there are {classes} classes; --classes can set more")]
    Label {
        /// The label file, or the npz file.
        path: PathBuf,
        /// The sample, from 0, in the file's order.
        index: usize,
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// An unusable number of classes.
    #[error("{path:?}: {classes} classes, from --classes or the largest label + 1; it must be 2 to 65536")]
    Classes {
        /// The data set.
        path: PathBuf,
        /// The number.
        classes: u64,
    },
    /// Training and test samples of different shapes.
    #[error("{path:?}: test samples have shape {test:?}, training samples {train:?}")]
    TestShape {
        /// The file of the test samples.
        path: PathBuf,
        /// Sizes of one training sample.
        train: Vec<usize>,
        /// Sizes of one test sample.
        test: Vec<usize>,
    },
    /// Too few samples to set every fifth aside.
    #[error("{path:?} holds {samples} samples and no test set: at least 5 are needed to set every fifth aside")]
    TooFewToSplit {
        /// The file.
        path: PathBuf,
        /// Samples in it.
        samples: usize,
    },
    /// A limit of zero samples.
    #[error("{path:?}: the limit of {part} samples is 0, at least 1 is needed")]
    ZeroLimit {
        /// The data set.
        path: PathBuf,
        /// `training` or `test`.
        part: &'static str,
    },
}

/// Feature values as the file had them, row-major samples×features.
#[derive(Debug, Clone, PartialEq)]
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
    /// The test set.
    pub test: Split,
}

/// How stored values become network inputs. Statistics are always the training set's, after any limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scaling {
    /// As stored.
    None,
    /// Divided by [`Dataset::full_scale`].
    #[default]
    Unit,
    /// Mean over all values of all samples subtracted, divided by their standard deviation (population, divisor n).
    Standard,
    /// The same for each feature on its own; a feature that never changes is only centred.
    PerFeature,
}

impl Scaling {
    /// All of them, in the order of their documentation.
    pub const ALL: [Scaling; 4] = [Scaling::None, Scaling::Unit, Scaling::Standard, Scaling::PerFeature];

    /// The name that [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Scaling::None => "none",
            Scaling::Unit => "unit",
            Scaling::Standard => "standard",
            Scaling::PerFeature => "per-feature",
        }
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scaling {
    type Err = DataError;

    fn from_str(given: &str) -> Result<Self, DataError> {
        Scaling::ALL.into_iter().find(|s| s.name() == given).ok_or_else(|| DataError::UnknownScaling { given: given.to_owned() })
    }
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

/// Both parts of a data set, scaled alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared<T> {
    /// The training set.
    pub train: Samples<T>,
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
    /// Both parts as matrices of `T`: `(x − centre) / spread`, computed in f64 and rounded once.
    ///
    /// Shapes: `x` len×features. The same bits for the same data on every machine.
    /// # Panics  if the public fields were changed so that a split's values are not len×features; never on a data set
    /// from [`load`].
    pub fn prepare<T: Real>(&self, scaling: Scaling) -> Prepared<T> {
        let (centre, spread) = match scaling {
            Scaling::None => (vec![0.0; self.features], vec![1.0; self.features]),
            Scaling::Unit => (vec![0.0; self.features], vec![self.full_scale; self.features]),
            Scaling::Standard => statistics(&self.train, self.features, Statistics::Pooled),
            Scaling::PerFeature => statistics(&self.train, self.features, Statistics::PerFeature),
        };
        let samples = |split: &Split| Samples {
            x: match &split.x {
                Features::Bytes(v) => scale(v, &centre, &spread),
                Features::Floats(v) => scale(v, &centre, &spread),
            },
            labels: split.labels.clone(),
            len: split.len(),
            features: self.features,
        };
        for split in [&self.train, &self.test] {
            assert_eq!(split.x.len(), split.len() * self.features, "values of a split are not samples × features");
        }
        Prepared { train: samples(&self.train), test: samples(&self.test) }
    }
}

/// `(x − centre) / spread` row by row. Division and not a product with the reciprocal: 255/255 must give 1, and the
/// reciprocal of a tiny spread would overflow. A test value absurdly far from the training set's stops at ±`f32::MAX`, so
/// that no input is ever infinite.
fn scale<V: Copy + Into<f64>, T: Real>(values: &[V], centre: &[f64], spread: &[f64]) -> Vec<T> {
    let most = f64::from(f32::MAX);
    let mut out = Vec::with_capacity(values.len());
    for row in values.chunks_exact(centre.len()) {
        let scaled = row.iter().zip(centre).zip(spread).map(|((&v, &c), &s)| ((v.into() - c) / s).clamp(-most, most));
        out.extend(scaled.map(T::from_f64));
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Statistics {
    Pooled,
    PerFeature,
}

/// Mean and standard deviation (centre, spread), `features` long each; pooled ones repeat one value.
fn statistics(split: &Split, features: usize, kind: Statistics) -> (Vec<f64>, Vec<f64>) {
    match &split.x {
        Features::Bytes(v) => statistics_of(v, features, kind),
        Features::Floats(v) => statistics_of(v, features, kind),
    }
}

/// Two passes: means first, then squared distances from them. Sums run down the columns even when pooled, which keeps
/// them short (less rounding) and lets the compiler use vectors. For bytes the first pass is exact.
fn statistics_of<V: Copy + Into<f64>>(values: &[V], features: usize, kind: Statistics) -> (Vec<f64>, Vec<f64>) {
    let rows = || values.chunks_exact(features);
    let mut count = (values.len() / features) as f64;
    let mut sum = vec![0.0; features];
    let mut low = vec![f64::INFINITY; features];
    let mut high = vec![f64::NEG_INFINITY; features];
    for row in rows() {
        for (j, &v) in row.iter().enumerate() {
            let v: f64 = v.into();
            sum[j] += v;
            low[j] = low[j].min(v);
            high[j] = high[j].max(v);
        }
    }
    if kind == Statistics::Pooled {
        count *= features as f64;
        pool(&mut sum, |a, b| a + b);
        pool(&mut low, f64::min);
        pool(&mut high, f64::max);
    }
    // A constant is told by its extremes, not by a zero deviation: the mean of a thousand times 0.1 is not 0.1, and
    // dividing by that rounding error would turn it into ±1.
    let centre: Vec<f64> = (0..features).map(|j| if low[j] == high[j] { low[j] } else { sum[j] / count }).collect();

    let mut square = vec![0.0; features];
    for row in rows() {
        for (j, &v) in row.iter().enumerate() {
            let v: f64 = v.into();
            square[j] += (v - centre[j]) * (v - centre[j]);
        }
    }
    if kind == Statistics::Pooled {
        pool(&mut square, |a, b| a + b);
    }
    // A deviation below 1e-162 squares to nothing; such a feature counts as constant too.
    let spread = square.iter().map(|&s| (s / count).sqrt()).map(|s| if s > 0.0 { s } else { 1.0 }).collect();
    (centre, spread)
}

/// Replaces every value by the fold of all.
fn pool(values: &mut [f64], fold: impl Fn(f64, f64) -> f64) {
    if let Some(all) = values.iter().copied().reduce(fold) {
        values.fill(all);
    }
}

/// Writes labels as rows with a single 1: `out[i, labels[i]] = 1`, all else 0.
///
/// Shapes: `out` row-major labels.len()×classes.
/// # Panics  if `out` has another length or a label is not below `classes`.
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

/// Loads the data set that `spec` names.
///
/// `digits` is the embedded set (a folder of that name is `./digits`); a folder is read as IDX files; a file whose name
/// ends in `.npz` as numpy arrays. Without a test set of its own, every fifth sample is set aside (index % 5 = 4).
/// # Errors  any [`DataError`] of reading; the message names the file and what is wrong with it.
/// # Panics  never on what the files hold.
pub fn load(spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    if spec == "digits" {
        return digits::load(options);
    }
    let path = Path::new(spec);
    let found = std::fs::metadata(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => DataError::NotFound { path: path.to_owned() },
        _ => DataError::Io { path: path.to_owned(), action: "open", cause },
    })?;
    let is_npz = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    if found.is_dir() {
        idx::load_folder(path, options)
    } else if is_npz {
        npz::load(path, options)
    } else {
        Err(DataError::UnknownFormat { path: path.to_owned() })
    }
}

/// One part as a loader hands it over: shape of one sample, values, labels, and where the labels came from.
struct Part {
    sample_shape: Vec<usize>,
    split: Split,
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
    fn finish(self, options: &LoadOptions) -> Result<Dataset, DataError> {
        let classes = self.classes(options)?;
        for part in std::iter::once(&self.train).chain(&self.test) {
            if let Some(index) = part.split.labels.iter().position(|&l| l as usize >= classes) {
                let label = part.split.labels[index];
                return Err(DataError::Label { path: part.path.clone(), index, label, classes });
            }
        }

        let shape = self.train.sample_shape;
        let features: usize = shape.iter().product();
        let (mut train, mut test) = match self.test {
            Some(test) if test.sample_shape != shape => {
                return Err(DataError::TestShape { path: test.path, train: shape, test: test.sample_shape });
            }
            Some(test) => (self.train.split, test.split),
            None if self.train.split.len() < 5 => {
                return Err(DataError::TooFewToSplit { path: self.path, samples: self.train.split.len() });
            }
            None => every_fifth(&self.train.split, features),
        };
        let limits = [(&mut train, options.limit_train, "training"), (&mut test, options.limit_test, "test")];
        for (split, limit, part) in limits {
            match limit {
                Some(0) => return Err(DataError::ZeroLimit { path: self.path, part }),
                Some(limit) => split.limit(limit, features),
                None => {}
            }
        }
        let full_scale = self.full_scale.unwrap_or_else(|| largest(&train.x));
        let image = match shape[..] {
            [rows, cols] => Some((rows, cols)),
            _ => None,
        };
        Ok(Dataset { name: self.name, features, classes, image, full_scale, train, test })
    }

    fn classes(&self, options: &LoadOptions) -> Result<usize, DataError> {
        let classes = options.classes.map_or(self.default_classes, |c| c as u64);
        usize::try_from(classes)
            .ok()
            .filter(|c| (2..=MAX_CLASSES).contains(c))
            .ok_or_else(|| DataError::Classes { path: self.path.clone(), classes })
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
        kept.flat_map(|(_, row)| row.iter().copied()).collect()
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
        Dataset { name: "t".into(), features, classes: 2, image: None, full_scale, train: split(train), test: split(test) }
    }

    #[test]
    fn scaling_names_round_trip_and_others_are_refused() {
        for s in Scaling::ALL {
            assert_eq!(s.to_string().parse::<Scaling>().unwrap(), s);
        }
        for bad in ["", "Unit", "perfeature", "unit "] {
            let message = bad.parse::<Scaling>().unwrap_err().to_string();
            assert!(message.contains("none, unit, standard, per-feature"), "{message}");
        }
        assert_eq!(format!("[{:>6}]", Scaling::None), "[  none]");
    }

    #[test]
    fn unit_reaches_one_exactly_and_none_keeps_values() {
        let mut d = dataset(Features::Bytes(vec![0, 51, 255, 128]), Features::Bytes(vec![255, 1]), 2);
        d.full_scale = 255.0;
        assert_eq!(d.prepare::<f64>(Scaling::Unit).train.x, [0.0, 0.2, 1.0, 128.0 / 255.0]);
        assert_eq!(d.prepare::<f32>(Scaling::Unit).test.x, [1.0, 1.0 / 255.0]);
        assert_eq!(d.prepare::<f32>(Scaling::None).train.x, [0.0, 51.0, 255.0, 128.0]);
    }

    #[test]
    fn statistics_come_from_the_training_set_alone() {
        let d = dataset(Features::Floats(vec![1.0, 10.0, 3.0, 30.0]), Features::Floats(vec![5.0, 20.0]), 2);
        let p = d.prepare::<f64>(Scaling::PerFeature);
        assert_eq!(p.train.x, [-1.0, -1.0, 1.0, 1.0]);
        assert_eq!(p.test.x, [3.0, 0.0]);
        let p = d.prepare::<f64>(Scaling::Standard); // mean 11, variance (100 + 1 + 64 + 361) / 4
        let sd = (526.0f64 / 4.0).sqrt();
        assert_eq!(p.test.x, [-6.0 / sd, 9.0 / sd]);
    }

    #[test]
    fn constant_features_are_only_centred() {
        // 0.1 has no exact mean in binary; a deviation computed from it would be rounding noise.
        let train: Vec<f64> = (0..30).flat_map(|i| [0.1, f64::from(i), 0.0]).collect();
        let d = dataset(Features::Floats(train), Features::Floats(vec![0.6, 1.0, 2.0]), 3);
        let p = d.prepare::<f64>(Scaling::PerFeature);
        assert!(p.train.x.chunks(3).all(|r| r[0] == 0.0 && r[2] == 0.0));
        assert_eq!((p.test.x[0], p.test.x[2]), (0.5, 2.0));

        let d = dataset(Features::Bytes(vec![7; 6]), Features::Bytes(vec![7, 9]), 2);
        let p = d.prepare::<f32>(Scaling::Standard);
        assert_eq!((p.train.x, p.test.x), (vec![0.0; 6], vec![0.0, 2.0]));
    }

    #[test]
    fn extreme_values_never_become_nan() {
        let top = f64::from(f32::MAX);
        let d = dataset(Features::Floats(vec![top, 1e-300, -top, 0.0]), Features::Floats(vec![top, 1.0]), 2);
        for s in Scaling::ALL {
            let p = d.prepare::<f64>(s);
            assert!(p.train.x.iter().chain(&p.test.x).all(|v| v.is_finite()), "{s}: {p:?}");
        }
        let d = dataset(Features::Floats(vec![5e-324, 0.0]), Features::Floats(vec![1e30, -1e30]), 1);
        for s in Scaling::ALL {
            let p = d.prepare::<f32>(s);
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
