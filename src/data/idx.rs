//! IDX files: the format of MNIST and of compatible data sets.
//!
//! A file is a header of big-endian 32-bit integers, followed by unsigned bytes:
//!
//! ```text
//! images   00 00 08 03 | count u32 | rows u32 | cols u32 | count·rows·cols bytes
//! labels   00 00 08 01 | count u32 | count bytes
//! ```
//!
//! Files may be gzipped. The first two bytes decide, not the name: browsers and mirrors unpack
//! files and keep `.gz`. Memory grows with the bytes read, up to the size in the header. A false
//! header or a gzip bomb cannot allocate more.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::base::error::{Error, Result};
use crate::base::memory::ask_for;
use crate::data::draft::{Draft, Part};
use crate::data::{Dataset, Features, LoadOptions, Split, name_of, open, wrong};

/// Type code of unsigned bytes, the only supported type.
const UNSIGNED_BYTE: u8 = 0x08;

/// Pictures of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Images {
    /// Number of pictures, at least 1.
    pub count: usize,
    /// Rows of each picture, at least 1.
    pub rows: usize,
    /// Columns of each picture, at least 1.
    pub cols: usize,
    /// Gray levels, row-major count×rows×cols.
    pub pixels: Vec<u8>,
}

/// Reads an image file, plain or gzipped. `path` is used only in messages.
///
/// # Errors
/// [`Error::File`] for another format and for a file that is cut short, too long, damaged or empty;
/// [`Error::Io`].
pub fn read_images(input: impl BufRead, path: &Path) -> Result<Images> {
    let ([count, rows, cols], pixels) = read::<3>(input, path)?;
    Ok(Images { count, rows, cols, pixels })
}

/// Reads a label file, plain or gzipped. `path` is used only in messages.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(input: impl BufRead, path: &Path) -> Result<Vec<u8>> {
    read::<1>(input, path).map(|(_, labels)| labels)
}

/// Reads the images and labels of one part, each with its name for messages.
pub(super) fn read_pair(
    (images, images_path): (impl BufRead, &Path),
    (labels, labels_path): (impl BufRead, &Path),
) -> Result<Part> {
    let images = read_images(images, images_path)?;
    let labels = read_labels(labels, labels_path)?;
    if images.count != labels.len() {
        let (images, labels, of) = (images.count, labels.len(), labels_path.display());
        return Err(wrong(images_path, format!("{images} images, but {of} holds {labels} labels")));
    }
    ask_for(labels.len().saturating_mul(size_of::<u32>()), "the labels")?;
    Ok(Part {
        sample_shape: vec![images.rows, images.cols],
        split: Split { x: Features::Bytes(images.pixels), labels: labels.into_iter().map(u32::from).collect() },
        samples_path: images_path.to_owned(),
        path: labels_path.to_owned(),
    })
}

/// Reads an IDX array of `D` dimensions and returns its sizes and bytes.
fn read<const D: usize>(mut input: impl BufRead, path: &Path) -> Result<([usize; D], Vec<u8>)> {
    let mut lead = Vec::with_capacity(2);
    input.by_ref().take(2).read_to_end(&mut lead).map_err(Error::io("read", path))?;
    let gzipped = lead == [0x1f, 0x8b];
    let whole = io::Cursor::new(lead).chain(input);
    if gzipped {
        // Decodes all members, like gunzip, so that bytes after the first member are not ignored.
        parse(MultiGzDecoder::new(whole), path, |cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                wrong(path, format!("a damaged or truncated gzip file ({cause}); download it again"))
            }
            _ => Error::io("read", path)(cause),
        })
    } else {
        parse(whole, path, |cause| Error::io("read", path)(cause))
    }
}

fn parse<const D: usize>(
    mut input: impl Read,
    path: &Path,
    failed: impl Fn(io::Error) -> Error,
) -> Result<([usize; D], Vec<u8>)> {
    let header_len = 4 + 4 * D;
    let mut header = Vec::with_capacity(header_len);
    // Reads the magic first: a short file of another format is reported as such, not as cut short.
    input.by_ref().take(4).read_to_end(&mut header).map_err(&failed)?;
    if let [a, b, code, dimensions] = header[..] {
        if (a, b) != (0, 0) {
            let magic = u32::from_be_bytes([a, b, code, dimensions]);
            let what =
                format!("not an IDX file: it starts with 0x{magic:08x}, not with 0x00000803 (images) or 0x00000801 (labels)");
            return Err(wrong(path, what));
        }
        if code != UNSIGNED_BYTE {
            return Err(wrong(path, format!("IDX elements of type 0x{code:02x}: only unsigned bytes (0x08) are supported")));
        }
        if usize::from(dimensions) != D {
            let what = format!("an IDX array of {dimensions} dimensions, expected {D} (images 3, labels 1)");
            return Err(wrong(path, what));
        }
    }
    input.by_ref().take(4 * D as u64).read_to_end(&mut header).map_err(&failed)?;
    if header.len() < header_len {
        return Err(wrong(path, format!("ends inside its IDX header: {} bytes of {header_len}", header.len())));
    }

    let (words, _) = header[4..].as_chunks::<4>();
    let sizes: Vec<u32> = words.iter().map(|&w| u32::from_be_bytes(w)).collect();
    let overflow =
        || wrong(path, format!("impossible IDX header: sizes {sizes:?} multiply to more bytes than memory can address"));
    let mut shape = [0; D];
    for (to, &from) in shape.iter_mut().zip(&sizes) {
        *to = usize::try_from(from).map_err(|_| overflow())?;
    }
    if shape.contains(&0) {
        return Err(wrong(path, format!("empty: sizes {shape:?}")));
    }
    // No slice can be longer than isize::MAX bytes.
    let expected =
        shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).filter(|&n| isize::try_from(n).is_ok()).ok_or_else(overflow)?;

    // Reads one more byte than expected, to detect excess data and to let gzip check its checksum.
    let mut data = Vec::new();
    input.take(expected as u64 + 1).read_to_end(&mut data).map_err(&failed)?;
    if data.len() < expected {
        let found = data.len();
        return Err(wrong(path, format!("cut short: its IDX header requires {expected} bytes of data, {found} follow")));
    }
    if data.len() > expected {
        return Err(wrong(path, format!("too long: more data follows the {expected} bytes that its IDX header requires")));
    }
    // Growth by doubling may have reserved twice the bytes, for the lifetime of the data set.
    data.shrink_to_fit();
    Ok((shape, data))
}

/// Files of one prefix, each with the rank of its spelling: plain before gzipped, dash before dot.
#[derive(Default)]
struct Pair {
    images: Option<(u8, PathBuf)>,
    labels: Option<(u8, PathBuf)>,
}

impl Pair {
    fn read(&self, dir: &Path, prefix: &str) -> Result<Part> {
        let (_, images) = self.images.as_ref().ok_or_else(|| lacks(dir, prefix, "images-idx3-ubyte"))?;
        let (_, labels) = self.labels.as_ref().ok_or_else(|| lacks(dir, prefix, "labels-idx1-ubyte"))?;
        read_pair((open(images)?, images), (open(labels)?, labels))
    }
}

/// Returns the error for a missing file.
fn lacks(dir: &Path, prefix: &str, what: &str) -> Error {
    wrong(dir, format!("lacks {prefix}-{what} (plain or .gz)"))
}

/// Splits a name such as `train-images.idx3-ubyte.gz`: prefix, whether images, rank of the
/// spelling.
fn parse_name(name: &str) -> Option<(&str, bool, u8)> {
    let (bare, gz) = match name.strip_suffix(".gz") {
        Some(bare) => (bare, 2),
        None => (name, 0),
    };
    let spellings = [
        ("-images-idx3-ubyte", true, 0),
        ("-images.idx3-ubyte", true, 1),
        ("-labels-idx1-ubyte", false, 0),
        ("-labels.idx1-ubyte", false, 1),
    ];
    spellings.into_iter().find_map(|(suffix, images, dot)| {
        bare.strip_suffix(suffix).filter(|prefix| !prefix.is_empty()).map(|prefix| (prefix, images, gz + dot))
    })
}

/// Loads a folder of IDX files.
///
/// The prefixes `train` and `t10k` require all four files; other files are ignored. If the only
/// pair has another prefix, every fifth sample becomes the test set. The default number of classes
/// is 10.
/// # Errors
/// [`Error::File`] for a folder without IDX files, with a missing file or with several sets. As
/// [`read_images`] for each file.
pub(super) fn load_folder(dir: &Path, options: &LoadOptions) -> Result<Dataset> {
    let failed = |cause| Error::io("list", dir)(cause);
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some((prefix, images, rank)) = name.to_str().and_then(parse_name) else { continue };
        let pair = pairs.entry(prefix.to_owned()).or_default();
        let place = if images { &mut pair.images } else { &mut pair.labels };
        if place.as_ref().is_none_or(|(other, _)| rank < *other) {
            *place = Some((rank, entry.path()));
        }
    }

    let (train, test) = match (pairs.get("train"), pairs.get("t10k")) {
        (Some(train), Some(test)) => (train.read(dir, "train")?, Some(test.read(dir, "t10k")?)),
        // Two of the four files are an incomplete download, not a set without a test part.
        (Some(_), None) => return Err(lacks(dir, "t10k", "images-idx3-ubyte")),
        (None, Some(_)) => return Err(lacks(dir, "train", "images-idx3-ubyte")),
        (None, None) => {
            let mut others = pairs.iter();
            match (others.next(), others.next()) {
                (None, _) => {
                    let what = "no IDX files in it: expected train-images-idx3-ubyte, train-labels-idx1-ubyte, \
                                t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or .gz";
                    return Err(wrong(dir, what));
                }
                (Some((prefix, pair)), None) => (pair.read(dir, prefix)?, None),
                (Some(_), Some(_)) => {
                    let names: Vec<String> = pairs.keys().map(|p| format!("{p:?}")).collect();
                    let what = format!(
                        "several IDX sets ({}): keep one, or name the two parts train-... and t10k-...",
                        names.join(", ")
                    );
                    return Err(wrong(dir, what));
                }
            }
        }
    };
    Draft { name: name_of(dir.file_name()), path: dir.to_owned(), default_classes: 10, full_scale: Some(255.0), train, test }
        .finish(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split() {
        assert_eq!(parse_name("train-images-idx3-ubyte"), Some(("train", true, 0)));
        assert_eq!(parse_name("t10k-labels.idx1-ubyte.gz"), Some(("t10k", false, 3)));
        assert_eq!(parse_name("a-b-images-idx3-ubyte.gz"), Some(("a-b", true, 2)));
        for other in ["-images-idx3-ubyte", "train-images-idx1-ubyte", "train-images-idx3-ubyte.zip", ".gz", ""] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_small_file_is_read_whole() {
        let bytes = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6];
        let images = read_images(&bytes[..], Path::new("f")).unwrap();
        assert_eq!(images, Images { count: 2, rows: 1, cols: 2, pixels: vec![9, 8, 7, 6] });
    }

    /// Gzip is detected even if the reader returns one byte per call.
    #[test]
    fn gzip_is_detected_byte_by_byte() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]).unwrap();
        let packed = gz.finish().unwrap();
        let trickle = io::BufReader::with_capacity(1, &packed[..]);
        assert_eq!(read_labels(trickle, Path::new("f")).unwrap(), [1, 2, 3]);
    }
}
