//! What can be wrong with data.

use std::io;
use std::path::PathBuf;

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
    /// An unknown name for [`Scaling`](super::Scaling).
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
    #[error("{path:?}: the number of classes is {classes} (from --classes, or the largest label + 1), but must be 2 to 65536")]
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
    /// A validation set that is none, or that leaves nothing to learn.
    #[error("cannot hold {asked} of {samples} training samples out for validation: hold out at least 1, and leave at least 1")]
    Validation {
        /// Samples to be held out.
        asked: usize,
        /// Samples there are.
        samples: usize,
    },
}
