//! `.npz` archives, as `numpy.savez` and `numpy.savez_compressed` write them: reading, writing, and data sets from them.
//!
//! [`read`] gives named arrays as f64, whatever real type they were saved in; [`write()`] makes archives that
//! `numpy.load` opens. The archive itself is the `zip` crate's work, which takes sizes and offsets from the central
//! directory: numpy leaves 0xFFFFFFFF in the local headers.
//!
//! The npy header is parsed here and not by `npyz` (which writes it): a header is input like any other, and must not be
//! able to overflow a product of sizes, nest brackets until the stack ends, or ask for 4 GB of header.
//!
//! As a **data set** an archive holds
//!
//! | array | shape | type | |
//! |---|---|---|---|
//! | `x` | n×d or n×h×w | float, integer or `uint8` | needed |
//! | `y` | n | whole numbers from 0 | needed |
//! | `x_test`, `y_test` | like `x`, `y` | | both or neither |
//!
//! `x_train` and `y_train` are read where `x` and `y` are not there. Without a test set every fifth sample is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use npyz::WriterBuilder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{DataError, Dataset, Draft, Features, LoadOptions, Part, Split, name_of};

/// The longest npy header read. numpy pads to 64 bytes and itself refuses more than 10 000.
const MAX_HEADER: usize = 1 << 16;

/// One array, in C order (last index fastest).
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes, slowest first; empty for a single number.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`. 64-bit integers beyond 2^53 are rounded.
    pub data: Vec<f64>,
}

/// Reads those arrays of an npz file whose names `want` accepts; members that are not `.npy` are passed over.
///
/// Types: bool, signed and unsigned integers, float32, float64, of either byte order; C or Fortran order.
/// # Errors
/// `Io`, `Zip`, `Member`, `NpyHeader`, `NpyType`, `NpySize`.
pub fn read(path: impl AsRef<Path>, want: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Array>, DataError> {
    let path = path.as_ref();
    read_from(open(path)?, path, want)
}

/// [`read`] from anything that can seek; `path` is only for messages.
///
/// # Errors
/// As [`read`].
pub fn read_from(
    input: impl Read + Seek,
    path: &Path,
    want: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Array>, DataError> {
    let (arrays, _) = read_raw(input, path, want)?;
    let array = |raw: Raw| Array {
        shape: raw.shape,
        data: match raw.values {
            Features::Bytes(v) => v.into_iter().map(f64::from).collect(),
            Features::Floats(v) => v,
        },
    };
    Ok(arrays.into_iter().map(|(name, raw)| (name, array(raw))).collect())
}

/// Writes arrays as `<f8`, C order, stored without compression, each as `(name, shape, values)`.
///
/// All or nothing: on any error `path` is as it was. Same arrays → same bytes.
/// # Errors
/// `WriteShape` when a shape's product is not the number of values; `Io`; `Zip` (a name given twice).
pub fn write(path: impl AsRef<Path>, arrays: &[(&str, &[usize], &[f64])]) -> Result<(), DataError> {
    let path = path.as_ref();
    for &(name, shape, data) in arrays {
        if product(shape) != Some(data.len()) {
            let (array, shape) = (name.to_owned(), shape.to_vec());
            return Err(DataError::WriteShape { path: path.to_owned(), array, shape, found: data.len() });
        }
    }
    let failed = |cause| DataError::Io { path: path.to_owned(), action: "write", cause };
    // In memory first: an archive that is abandoned half-way to a file complains on standard error by itself.
    let mut archive = Vec::new();
    write_to(io::Cursor::new(&mut archive), arrays).map_err(|e| match e {
        zip::result::ZipError::Io(cause) => failed(cause),
        other => DataError::Zip { path: path.to_owned(), cause: other.into() },
    })?;
    crate::files::write_atomically(path, &archive).map_err(failed)
}

fn write_to(output: impl Write + Seek, arrays: &[(&str, &[usize], &[f64])]) -> zip::result::ZipResult<()> {
    let mut zip = ZipWriter::new(output);
    for &(name, shape, data) in arrays {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            // A fixed date: what is the same should compare the same.
            .last_modified_time(DateTime::default())
            // 64-bit sizes only where 32 bits could not hold data and header.
            .large_file(data.len() as u64 * 8 + 2 * MAX_HEADER as u64 > u64::from(u32::MAX));
        zip.start_file(format!("{name}.npy"), options)?;
        let f8 = npyz::DType::new_scalar("<f8".parse().expect("a valid type string"));
        let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        npyz::WriteOptions::new_header_only().dtype(f8).shape(&shape).writer(&mut zip).write_header_only()?;
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

/// Loads a data set; see the module's table. Classes default to the largest training label + 1, at least 2.
///
/// # Errors
/// Those of [`read`], `ArrayMissing`, `ArrayShape`, `ArrayCounts`, `Feature`, `LabelValue`, `Label`,
/// `Classes`, `Empty`, `TestShape`, `TooFewToSplit`, `ZeroLimit`.
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
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

/// Features and labels of one part, taken out of `arrays` and checked value by value.
fn part(
    path: &Path,
    arrays: &mut BTreeMap<String, Raw>,
    names: &BTreeSet<String>,
    (x_name, y_name): (&'static str, &'static str),
) -> Result<Part, DataError> {
    let mut take = |array: &'static str| {
        arrays.remove(array).ok_or_else(|| {
            // Enough to see a misspelt name, short enough for one line.
            let mut found: Vec<String> = names.iter().take(12).map(|n| format!("{n:?}")).collect();
            if names.len() > found.len() {
                found.push("...".to_owned());
            }
            DataError::ArrayMissing { path: path.to_owned(), array, found: found.join(", ") }
        })
    };
    let (x, y) = (take(x_name)?, take(y_name)?);

    let bad_shape = |array: &str, shape: &[usize], expected| DataError::ArrayShape {
        path: path.to_owned(),
        array: array.to_owned(),
        shape: shape.to_vec(),
        expected,
    };
    let (samples, sample_shape) = match x.shape[..] {
        [n, d] => (n, vec![d]),
        [n, h, w] => (n, vec![h, w]),
        _ => return Err(bad_shape(x_name, &x.shape, "samples × features or samples × rows × columns")),
    };
    let [labels] = y.shape[..] else {
        return Err(bad_shape(y_name, &y.shape, "one dimension, a label a sample"));
    };
    if samples != labels {
        let (x, y) = (x_name.to_owned(), y_name.to_owned());
        return Err(DataError::ArrayCounts { path: path.to_owned(), x, samples, y, labels });
    }
    if x.values.is_empty() {
        return Err(DataError::Empty { path: path.to_owned(), shape: x.shape });
    }

    let features: usize = sample_shape.iter().product();
    if let Features::Floats(values) = &x.values {
        // Finite is not enough: what f32 cannot hold would become infinite later, without a name and a place.
        if let Some(at) = values.iter().position(|v| !v.is_finite() || v.abs() > f64::from(f32::MAX)) {
            let (sample, feature) = (at / features, at % features);
            let array = x_name.to_owned();
            return Err(DataError::Feature { path: path.to_owned(), array, sample, feature, value: values[at] });
        }
    }
    let label = |index: usize| {
        let value = y.values.get(index);
        // Also false for NaN.
        let whole = (0.0..=f64::from(u32::MAX)).contains(&value) && value.fract() == 0.0;
        match whole {
            true => Ok(value as u32),
            false => Err(DataError::LabelValue { path: path.to_owned(), array: y_name.to_owned(), index, value }),
        }
    };
    let labels = (0..labels).map(label).collect::<Result<_, _>>()?;
    Ok(Part { sample_shape, split: Split { x: x.values, labels }, samples_path: path.to_owned(), path: path.to_owned() })
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let failed = |cause| DataError::Io { path: path.to_owned(), action: "open", cause };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not an npz file")));
    }
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// An array in C order with `uint8` kept as bytes.
struct Raw {
    shape: Vec<usize>,
    values: Features,
}

/// The wanted arrays, and the names of all.
fn read_raw(
    input: impl Read + Seek,
    path: &Path,
    want: impl Fn(&str) -> bool,
) -> Result<(BTreeMap<String, Raw>, BTreeSet<String>), DataError> {
    let broken = |e: zip::result::ZipError| DataError::Zip { path: path.to_owned(), cause: e.into() };
    let mut zip = ZipArchive::new(input).map_err(broken)?;
    let mut arrays = BTreeMap::new();
    let mut names = BTreeSet::new();
    for i in 0..zip.len() {
        let Some(member) = zip.name_for_index(i) else { continue };
        let member = member.map_err(broken)?.into_owned();
        let Some(name) = member.strip_suffix(".npy") else { continue };
        names.insert(name.to_owned());
        if want(name) {
            let at = At { path, array: name };
            let input = zip.by_index(i).map_err(|e| at.member(e.into()))?;
            arrays.insert(name.to_owned(), read_npy(input, &at)?);
        }
    }
    Ok((arrays, names))
}

/// Where an error happened.
struct At<'a> {
    path: &'a Path,
    array: &'a str,
}

impl At<'_> {
    fn member(&self, cause: io::Error) -> DataError {
        DataError::Member { path: self.path.to_owned(), array: self.array.to_owned(), cause }
    }

    fn header(&self, cause: impl Into<String>) -> DataError {
        DataError::NpyHeader { path: self.path.to_owned(), array: self.array.to_owned(), cause: cause.into() }
    }

    fn size(&self, shape: &[usize], expected: usize, found: String) -> DataError {
        let (path, array) = (self.path.to_owned(), self.array.to_owned());
        DataError::NpySize { path, array, shape: shape.to_vec(), expected, found }
    }
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s))
}

/// Reads one npy stream to its very end, which is also what makes the archive reader compare the checksum.
fn read_npy(mut input: impl Read, at: &At<'_>) -> Result<Raw, DataError> {
    let text = read_header(&mut input, at)?;
    let header = Header::parse(&text).map_err(|cause| at.header(cause))?;
    let Some(dtype) = Dtype::parse(&header.descr) else {
        let (path, array) = (at.path.to_owned(), at.array.to_owned());
        return Err(DataError::NpyType { path, array, dtype: shown(&header.descr) });
    };
    let shape = header.shape;
    let expected = product(&shape)
        .and_then(|n| n.checked_mul(dtype.size))
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or_else(|| at.header(format!("shape {shape:?} asks for more bytes than memory can address")))?;

    let mut values = match dtype {
        Dtype { kind: Kind::Unsigned, size: 1, .. } => Features::Bytes(Vec::new()),
        _ => Features::Floats(Vec::new()),
    };
    // Piece by piece: memory grows with what arrives, whatever the header promised.
    let mut piece = Vec::with_capacity(1 << 16);
    let mut left = expected;
    while left > 0 {
        piece.clear();
        let want = left.min(1 << 16); // a multiple of every item size, as is `expected`
        input.by_ref().take(want as u64).read_to_end(&mut piece).map_err(|e| at.member(e))?;
        if piece.len() < want {
            return Err(at.size(&shape, expected, (expected - left + piece.len()).to_string()));
        }
        // A small archive may unpack into more than there is room for.
        let room = match &mut values {
            Features::Bytes(v) => v.try_reserve(piece.len()).map(|()| v.extend_from_slice(&piece)),
            Features::Floats(v) => v.try_reserve(piece.len() / dtype.size).map(|()| dtype.decode(&piece, v)),
        };
        room.map_err(|_| at.member(io::ErrorKind::OutOfMemory.into()))?;
        left -= want;
    }
    if input.read(&mut [0]).map_err(|e| at.member(e))? > 0 {
        return Err(at.size(&shape, expected, "more".to_owned()));
    }
    if header.fortran_order {
        values = match values {
            Features::Bytes(v) => Features::Bytes(to_c_order(&v, &shape)),
            Features::Floats(v) => Features::Floats(to_c_order(&v, &shape)),
        };
    }
    Ok(Raw { shape, values })
}

/// The text of an npy header: magic, version, length, and that many bytes.
fn read_header(mut input: impl Read, at: &At<'_>) -> Result<String, DataError> {
    let mut fill = |len: usize| {
        let mut bytes = Vec::with_capacity(len);
        input.by_ref().take(len as u64).read_to_end(&mut bytes).map_err(|e| at.member(e))?;
        match bytes.len() == len {
            true => Ok(bytes),
            false => Err(at.header("the member ends inside it")),
        }
    };
    let magic = fill(8)?;
    if magic[..6] != *b"\x93NUMPY" {
        return Err(at.header("the member does not start with \\x93NUMPY"));
    }
    let len = match (magic[6], magic[7]) {
        (1, 0) => fill(2)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)),
        // 3.0 differs from 2.0 only in the encoding of field names, which are never read here.
        (2 | 3, 0) => fill(4)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)),
        (major, minor) => return Err(at.header(format!("unknown format version {major}.{minor}"))),
    };
    if len > MAX_HEADER {
        return Err(at.header(format!("{len} bytes long, more than {MAX_HEADER}")));
    }
    String::from_utf8(fill(len)?).map_err(|_| at.header("not text"))
}

/// Text from a file made fit for one line of a message.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    format!("{start:?}")
}

/// What the header's dictionary says.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order.
    ///
    /// Only this flat form: a structured dtype (a list) is named in the error, and nothing recurses.
    fn parse(text: &str) -> Result<Header, String> {
        let mut rest = Cursor(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.expect('{')?;
        while !rest.eat('}') {
            let key = rest.string()?;
            rest.expect(':')?;
            match key {
                "descr" => descr = Some(rest.string().map_err(|_| "structured dtypes are not read")?.to_owned()),
                "fortran_order" => fortran_order = Some(rest.boolean()?),
                "shape" => shape = Some(rest.tuple()?),
                other => return Err(format!("unexpected key {}", shown(other))),
            }
            if !rest.eat(',') {
                rest.expect('}')?;
                break;
            }
        }
        match rest.0.trim().is_empty() {
            true => Ok(Header {
                descr: descr.ok_or("key 'descr' is missing")?,
                fortran_order: fortran_order.ok_or("key 'fortran_order' is missing")?,
                shape: shape.ok_or("key 'shape' is missing")?,
            }),
            false => Err(format!("unexpected {}", shown(rest.0.trim()))),
        }
    }
}

/// What is still to be parsed; every method skips white space first.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn eat(&mut self, c: char) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        match self.eat(c) {
            true => Ok(()),
            false => Err(format!("expected {c:?} at {}", shown(self.0))),
        }
    }

    /// A quoted string; numpy's keys and type codes need no escapes, so a backslash is just refused by the users.
    fn string(&mut self) -> Result<&'a str, String> {
        self.0 = self.0.trim_start();
        let quote = self.0.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quoted = quote.and_then(|q| self.0[1..].split_once(q));
        let (inside, rest) = quoted.ok_or_else(|| format!("expected a string at {}", shown(self.0)))?;
        self.0 = rest;
        Ok(inside)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.0 = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(format!("expected True or False at {}", shown(self.0)))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.eat(')') {
            let digits = self.0.len() - self.0.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = self.0.split_at(digits);
            sizes.push(number.parse().map_err(|_| format!("expected a size at {}", shown(self.0)))?);
            self.0 = rest.strip_prefix('L').unwrap_or(rest); // Python 2 marked long integers so
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
}

/// A real element type: `<f8`, `|u1`, `>i4` and so on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dtype {
    kind: Kind,
    size: usize,
    big_endian: bool,
}

impl Dtype {
    fn parse(descr: &str) -> Option<Dtype> {
        let mut chars = descr.chars();
        let order = chars.next()?;
        let kind = chars.next()?;
        let (kind, size) = match (kind, chars.as_str()) {
            ('b', "1") => (Kind::Bool, 1),
            ('i', "1") => (Kind::Signed, 1),
            ('i', "2") => (Kind::Signed, 2),
            ('i', "4") => (Kind::Signed, 4),
            ('i', "8") => (Kind::Signed, 8),
            ('u', "1") => (Kind::Unsigned, 1),
            ('u', "2") => (Kind::Unsigned, 2),
            ('u', "4") => (Kind::Unsigned, 4),
            ('u', "8") => (Kind::Unsigned, 8),
            ('f', "4") => (Kind::Float, 4),
            ('f', "8") => (Kind::Float, 8),
            _ => return None,
        };
        match order {
            '<' => Some(Dtype { kind, size, big_endian: false }),
            '>' => Some(Dtype { kind, size, big_endian: true }),
            '|' if size == 1 => Some(Dtype { kind, size, big_endian: false }),
            _ => None,
        }
    }

    /// Appends the items of `bytes`, whose length is a multiple of the size.
    fn decode(self, bytes: &[u8], out: &mut Vec<f64>) {
        macro_rules! items {
            ($t:ty) => {{
                let (items, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
                match self.big_endian {
                    false => out.extend(items.iter().map(|&b| <$t>::from_le_bytes(b) as f64)),
                    true => out.extend(items.iter().map(|&b| <$t>::from_be_bytes(b) as f64)),
                }
            }};
        }
        match (self.kind, self.size) {
            (Kind::Bool, _) => out.extend(bytes.iter().map(|&b| f64::from(u8::from(b != 0)))),
            (Kind::Signed, 1) => items!(i8),
            (Kind::Signed, 2) => items!(i16),
            (Kind::Signed, 4) => items!(i32),
            (Kind::Signed, _) => items!(i64),
            (Kind::Unsigned, 1) => items!(u8),
            (Kind::Unsigned, 2) => items!(u16),
            (Kind::Unsigned, 4) => items!(u32),
            (Kind::Unsigned, _) => items!(u64),
            (Kind::Float, 4) => items!(f32),
            (Kind::Float, _) => items!(f64),
        }
    }
}

/// From first index fastest to last index fastest. Walks the output and keeps the place in the input by an odometer.
fn to_c_order<V: Copy>(fortran: &[V], shape: &[usize]) -> Vec<V> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    let mut index = vec![0; shape.len()];
    let mut place = 0;
    let mut out = Vec::with_capacity(fortran.len());
    for _ in 0..fortran.len() {
        out.push(fortran[place]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            place -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_every_spelling_numpy_has_used() {
        let parse = |text: &str| Header::parse(text).unwrap();
        let h = parse("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 8), }          \n");
        assert_eq!(h, Header { descr: "<f8".into(), fortran_order: false, shape: vec![1, 8] });
        assert_eq!(parse("{'shape': (3L,), \"descr\": '|u1', 'fortran_order': True}").shape, [3]);
        assert_eq!(parse("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, )}").shape, [2, 3]);
        assert!(parse("{'descr':'<f8','fortran_order':False,'shape':()}").shape.is_empty());
    }

    #[test]
    fn bad_headers_say_what_is_wrong() {
        for (text, cause) in [
            ("", "expected '{'"),
            ("{", "expected a string"),
            ("{'descr': '<f8'", "expected '}'"),
            ("{'descr': '<f8'}", "'fortran_order' is missing"),
            ("{'descr': [('a', '<f8')], 'shape': ()}", "structured"),
            ("{'fortran_order': maybe}", "True or False"),
            ("{'shape': (-1,)}", "expected a size"),
            ("{'shape': (1.5,)}", "expected ')'"),
            ("{'shape': (99999999999999999999,)}", "expected a size"),
            ("{'shape': 7}", "expected '('"),
            ("{'extra': 7}", "unexpected key"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()} more", "unexpected \"more\""),
            ("{'dé", "expected a string"),
            ("{é", "expected a string"),
        ] {
            let found = Header::parse(text).unwrap_err();
            assert!(found.contains(cause), "{text}: {found}");
        }
    }

    #[test]
    fn types_decode_in_both_byte_orders() {
        let decode = |descr: &str, bytes: &[u8]| {
            let mut out = Vec::new();
            Dtype::parse(descr).unwrap().decode(bytes, &mut out);
            out
        };
        assert_eq!(decode("|b1", &[0, 1, 2]), [0.0, 1.0, 1.0]);
        assert_eq!(decode("|i1", &[255, 127]), [-1.0, 127.0]);
        assert_eq!(decode("<i2", &[0xfe, 0xff]), [-2.0]);
        assert_eq!(decode(">i2", &[0xff, 0xfe]), [-2.0]);
        assert_eq!(decode("<i4", &(-70_000i32).to_le_bytes()), [-70_000.0]);
        assert_eq!(decode(">i8", &(-5i64).to_be_bytes()), [-5.0]);
        assert_eq!(decode("|u1", &[200]), [200.0]);
        assert_eq!(decode("<u2", &[0, 0x80]), [32_768.0]);
        assert_eq!(decode(">u4", &u32::MAX.to_be_bytes()), [4_294_967_295.0]);
        assert_eq!(decode("<u8", &(1u64 << 60).to_le_bytes()), [(1u64 << 60) as f64]);
        assert_eq!(decode("<f4", &0.1f32.to_le_bytes()), [f64::from(0.1f32)]);
        assert_eq!(decode(">f8", &0.1f64.to_be_bytes()), [0.1]);
    }

    #[test]
    fn other_types_are_refused() {
        for descr in ["", "<", "<f2", "<f16", "<c8", "|O", "<U4", "|S1", "<M8[ns]", "|f8", "=f8", "f8", "<b2", "<f08"] {
            assert_eq!(Dtype::parse(descr), None, "{descr}");
        }
    }

    #[test]
    fn fortran_order_is_turned() {
        // Fortran order of [[[0,1],[2,3],[4,5]], [[6,7],[8,9],[10,11]]].
        let f = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
        assert_eq!(to_c_order(&f, &[2, 3, 2]), (0..12).collect::<Vec<_>>());
        assert_eq!(to_c_order(&[5], &[]), [5]);
        assert_eq!(to_c_order(&[5, 6], &[2]), [5, 6]);
        assert!(to_c_order::<u8>(&[], &[3, 0]).is_empty());
    }
}
