//! `.npz` archives of `numpy.savez` and `numpy.savez_compressed`: reading, writing, and data sets.
//!
//! [`read`] returns named arrays as f64 for every real element type. [`write()`] makes archives
//! that `numpy.load` opens. The `zip` crate reads sizes and offsets from the central directory,
//! because NumPy writes 0xFFFFFFFF into the local headers. `npy.rs` reads and writes the members.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::base::error::{Error, Result};
use crate::base::memory::ask_for;
use crate::data::draft::{Draft, Part};
use crate::data::npy::{self, Fault, Npy};
use crate::data::{Dataset, Features, LoadOptions, Split, name_of, open, wrong};

/// Array in C order (last index fastest).
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes, slowest first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values; their number is the product of `shape`. 64-bit integers beyond 2^53 are rounded.
    pub data: Vec<f64>,
}

/// Reads the arrays of an npz file whose names `want` accepts. Ignores members other than `.npy`.
///
/// Element types: bool, signed and unsigned integers, float32, float64, in either byte order.
/// Layouts: C and Fortran order.
/// # Errors
/// [`Error::File`] for another format, a damaged archive, and an array of another type or of the
/// wrong size; [`Error::Io`].
pub fn read(path: impl AsRef<Path>, want: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Array>> {
    let path = path.as_ref();
    read_from(open(path)?, path, want)
}

/// Reads like [`read`] from any seekable input. `path` is used only in messages.
///
/// # Errors
/// As [`read`].
pub fn read_from(input: impl Read + Seek, path: &Path, want: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Array>> {
    let (arrays, _) = read_raw(input, path, want)?;
    let array = |npy: Npy| -> Result<Array> {
        let data = match npy.values {
            Features::Bytes(v) => {
                ask_for(v.len().saturating_mul(size_of::<f64>()), "an array of bytes as f64")?;
                v.into_iter().map(f64::from).collect()
            }
            Features::Floats(v) => v,
        };
        Ok(Array { shape: npy.shape, data })
    };
    arrays.into_iter().map(|(name, npy)| Ok((name, array(npy)?))).collect()
}

/// Writes arrays as `<f8`, C order, stored without compression, each as `(name, shape, values)`.
///
/// On error, `path` is unchanged. The same arrays give the same bytes.
/// # Errors
/// [`Error::File`] if the product of a shape differs from the number of values, or for a duplicate
/// name; [`Error::Io`].
pub fn write(path: impl AsRef<Path>, arrays: &[(&str, &[usize], &[f64])]) -> Result<()> {
    let path = path.as_ref();
    for &(name, shape, data) in arrays {
        if npy::product(shape) != Some(data.len()) {
            let found = data.len();
            return Err(wrong(path, format!("cannot be written: array {name:?} has shape {shape:?} but {found} values")));
        }
    }
    let failed = |cause| Error::io("write", path)(cause);
    // Builds the archive in memory: dropping an unfinished one prints to standard error.
    let mut archive = Vec::new();
    write_to(io::Cursor::new(&mut archive), arrays).map_err(|e| match e {
        zip::result::ZipError::Io(cause) => failed(cause),
        other => damaged(path, other),
    })?;
    crate::base::files::write_atomically(path, &archive).map_err(failed)
}

fn write_to(output: impl Write + Seek, arrays: &[(&str, &[usize], &[f64])]) -> zip::result::ZipResult<()> {
    let mut zip = ZipWriter::new(output);
    for &(name, shape, data) in arrays {
        let header = npy::header(shape);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            // A fixed date, so that the same arrays give the same bytes.
            .last_modified_time(DateTime::default())
            // 64-bit sizes only for members whose size exceeds 32 bits.
            .large_file((header.len() + size_of_val(data)) as u64 >= u64::from(u32::MAX));
        zip.start_file(format!("{name}.npy"), options)?;
        zip.write_all(&header)?;
        let mut bytes = Vec::with_capacity(1 << 16);
        for some in data.chunks(1 << 13) {
            bytes.clear();
            bytes.extend(some.iter().flat_map(|v| v.to_le_bytes()));
            zip.write_all(&bytes)?;
        }
    }
    zip.finish()?.flush()?;
    Ok(())
}

/// Loads a data set of the arrays in the module's table.
///
/// The default number of classes is the largest training label + 1, at least 2.
///
/// # Errors
/// As [`read`]; [`Error::File`] for arrays that are missing, have mismatched shapes, or hold an
/// invalid feature or label; [`Error::Label`].
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset> {
    let used = |name: &str| ["x", "y", "x_train", "y_train", "x_test", "y_test"].contains(&name);
    let (mut arrays, names) = read_raw(open(path)?, path, used)?;
    let has = |name: &str| names.contains(name);

    let train_names = if !has("x") && has("x_train") { ("x_train", "y_train") } else { ("x", "y") };
    let train = part(path, &mut arrays, &names, train_names)?;
    let test = match has("x_test") || has("y_test") {
        true => Some(part(path, &mut arrays, &names, ("x_test", "y_test"))?),
        false => None,
    };
    let most = train.split.labels.iter().copied().max().unwrap_or(0);
    let full_scale = match train.split.x {
        Features::Bytes(_) => Some(255.0),
        Features::Floats(_) => None,
    };
    Draft {
        name: name_of(path.file_stem()),
        path: path.to_owned(),
        default_classes: (u64::from(most) + 1).max(2),
        full_scale,
        train,
        test,
    }
    .finish(options)
}

/// Removes the features and labels of one part from `arrays` and checks each value.
fn part(
    path: &Path,
    arrays: &mut BTreeMap<String, Npy>,
    names: &BTreeSet<String>,
    (x_name, y_name): (&'static str, &'static str),
) -> Result<Part> {
    let mut take = |array: &'static str| {
        arrays.remove(array).ok_or_else(|| {
            // Lists at most 12 names, to show a misspelled one.
            let mut found: Vec<String> = names.iter().take(12).map(|n| format!("{n:?}")).collect();
            if names.len() > found.len() {
                found.push("...".to_owned());
            }
            wrong(path, format!("lacks array {array:?}; it holds: {}", found.join(", ")))
        })
    };
    let (x, y) = (take(x_name)?, take(y_name)?);

    let bad_shape = |array: &str, shape: &[usize], expected: &str| {
        wrong(path, format!("array {array:?} has shape {shape:?}, expected {expected}"))
    };
    let (samples, sample_shape) = match x.shape[..] {
        [n, d] => (n, vec![d]),
        [n, h, w] => (n, vec![h, w]),
        _ => return Err(bad_shape(x_name, &x.shape, "samples × features or samples × rows × columns")),
    };
    let [labels] = y.shape[..] else {
        return Err(bad_shape(y_name, &y.shape, "one dimension, one label per sample"));
    };
    if samples != labels {
        let what = format!("array {x_name:?} holds {samples} samples but array {y_name:?} holds {labels} labels");
        return Err(wrong(path, what));
    }
    if x.values.is_empty() {
        return Err(wrong(path, format!("empty: sizes {:?}", x.shape)));
    }

    let features: usize = sample_shape.iter().product();
    if let Features::Floats(values) = &x.values {
        // Values beyond f32 would become infinite later, where no message could name their
        // position.
        if let Some(at) = values.iter().position(|v| !v.is_finite() || v.abs() > f64::from(f32::MAX)) {
            let (sample, feature) = (at / features, at % features);
            let value = values[at];
            let what = format!("array {x_name:?}, sample {sample}, feature {feature} is {value:e}: not a finite 32-bit float");
            return Err(wrong(path, what));
        }
    }
    let label = |index: usize| {
        let value = y.values.get(index);
        // False for NaN.
        let whole = (0.0..=f64::from(u32::MAX)).contains(&value) && value.fract() == 0.0;
        match whole {
            true => Ok(value as u32),
            false => {
                let what = "a label must be a whole number from 0 to 4294967295";
                Err(wrong(path, format!("array {y_name:?}, index {index} is {value}: {what}")))
            }
        }
    };
    ask_for(labels.saturating_mul(size_of::<u32>()), "the labels")?;
    let mut checked = Vec::with_capacity(labels);
    for index in 0..labels {
        checked.push(label(index)?);
    }
    let labels = checked;
    Ok(Part { sample_shape, split: Split { x: x.values, labels }, samples_path: path.to_owned(), path: path.to_owned() })
}

/// Returns the accepted arrays, and the names of all arrays.
fn read_raw(
    input: impl Read + Seek,
    path: &Path,
    want: impl Fn(&str) -> bool,
) -> Result<(BTreeMap<String, Npy>, BTreeSet<String>)> {
    let broken = |e: zip::result::ZipError| damaged(path, e);
    let mut zip = ZipArchive::new(input).map_err(broken)?;
    let mut arrays = BTreeMap::new();
    let mut names = BTreeSet::new();
    for i in 0..zip.len() {
        let Some(member) = zip.name_for_index(i) else { continue };
        let member = member.map_err(broken)?.into_owned();
        let Some(name) = member.strip_suffix(".npy") else { continue };
        names.insert(name.to_owned());
        if want(name) {
            let array = zip.by_index(i).map_err(|e| Fault::Io(e.into())).and_then(npy::read);
            arrays.insert(name.to_owned(), array.map_err(|fault| placed(fault, path, name))?);
        }
    }
    Ok((arrays, names))
}

/// Returns the error for a fault, with the names of the file and of the array.
fn placed(fault: Fault, path: &Path, array: &str) -> Error {
    let what = match fault {
        Fault::Io(cause) => format!("cannot be unpacked: {cause}"),
        Fault::Header(cause) => format!("has a bad npy header: {cause}"),
        Fault::Type(dtype) => format!(
            "has dtype {dtype}; only bool, integers, float32 and float64 are supported: convert it with .astype() before saving"
        ),
        Fault::Size { shape, expected, found } => {
            format!("of shape {shape:?} must hold {expected} bytes but holds {found}")
        }
    };
    wrong(path, format!("array {array:?} {what}"))
}

/// Returns the error for an archive or a member that cannot be read or written.
fn damaged(path: &Path, cause: zip::result::ZipError) -> Error {
    wrong(path, format!("damaged or not an npz (zip) archive: {}", io::Error::from(cause)))
}
