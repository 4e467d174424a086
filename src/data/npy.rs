//! The `.npy` format, versions 1.0 to 3.0: one array of real numbers.
//!
//! A file is `\x93NUMPY`, two bytes of version, the length of a header (`u16` in 1.0, else `u32`),
//! the header, the data. The header is a Python dictionary:
//! `{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }`.
//!
//! The header is untrusted: its length is limited, its parser does not recurse, and a product of
//! sizes cannot overflow. Memory grows with the data that arrive, never with the sizes that the
//! header claims.
//!
//! # References
//! `numpy.lib.format`, the specification in the NumPy manual.

use std::io::{self, Read};

use crate::base::memory::ask_for;
use crate::data::Features;

/// The longest header read. NumPy pads to 64 bytes and refuses more than 10 000.
const MAX_HEADER: usize = 1 << 16;

/// An array in C order, `uint8` kept as bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Npy {
    pub(super) shape: Vec<usize>,
    pub(super) values: Features,
}

/// Reasons why an array cannot be read. The caller adds the names of the file and of the array.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream failed, or memory was refused.
    Io(io::Error),
    /// The header is malformed; the cause.
    Header(String),
    /// The element type is not supported; the quoted type.
    Type(String),
    /// The data are shorter or longer than the shape.
    Size { shape: Vec<usize>, expected: usize, found: String },
}

/// Number of elements of `shape`, if a `usize` holds it.
pub(super) fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s))
}

/// Returns all bytes before the data of a `<f8` array in C order, as NumPy writes them.
///
/// The version is 1.0, or 2.0 if its `u16` is too small for the length.
pub(super) fn header(shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let dict = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let end = |start: usize| (start + dict.len() + 1).next_multiple_of(64);
    let (version, start) = if end(10) - 10 <= usize::from(u16::MAX) { (1, 10) } else { (2, 12) };
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    bytes.extend(&(end(start) - start).to_le_bytes()[..start - 8]);
    bytes.extend(dict.bytes());
    bytes.resize(end(start) - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// Reads one array and the end of its stream, at which the archive's reader compares the checksum.
pub(super) fn read(mut input: impl Read) -> Result<Npy, Fault> {
    let text = read_header(&mut input)?;
    let Header { descr, fortran_order, shape } = Header::parse(&text).map_err(Fault::Header)?;
    let (size, decode) = decoder(descr).ok_or_else(|| Fault::Type(shown(descr)))?;
    let expected = product(&shape).and_then(|n| n.checked_mul(size)).filter(|&n| isize::try_from(n).is_ok());
    let Some(expected) = expected else {
        return Err(Fault::Header(format!("shape {shape:?} requires more bytes than memory can address")));
    };
    let mut values = if descr.ends_with("u1") { Features::Bytes(Vec::new()) } else { Features::Floats(Vec::new()) };
    let mut piece = Vec::with_capacity(1 << 16);
    let mut left = expected;
    while left > 0 {
        piece.clear();
        let want = left.min(1 << 16); // a multiple of `size`, as `expected` is
        input.by_ref().take(want as u64).read_to_end(&mut piece).map_err(Fault::Io)?;
        if piece.len() < want {
            return Err(Fault::Size { shape, expected, found: (expected - left + piece.len()).to_string() });
        }
        // A small archive may unpack into more bytes than memory holds.
        let reserved = match &mut values {
            Features::Bytes(v) => v.try_reserve(want).map(|()| v.extend_from_slice(&piece)),
            Features::Floats(v) => v.try_reserve(want / size).map(|()| decode(&piece, v)),
        };
        reserved.map_err(|_| Fault::Io(io::ErrorKind::OutOfMemory.into()))?;
        left -= want;
    }
    if input.read(&mut [0]).map_err(Fault::Io)? > 0 {
        return Err(Fault::Size { shape, expected, found: "more".to_owned() });
    }
    if fortran_order {
        ask_for(values.len() * values.size(), "the conversion of an array to C order")
            .map_err(|e| Fault::Io(io::Error::new(io::ErrorKind::OutOfMemory, e.to_string())))?;
        values = match values {
            Features::Bytes(v) => Features::Bytes(to_c_order(&v, &shape)),
            Features::Floats(v) => Features::Floats(to_c_order(&v, &shape)),
        };
    }
    Ok(Npy { shape, values })
}

/// Reads everything before the data and returns the dictionary's text.
fn read_header(mut input: impl Read) -> Result<String, Fault> {
    let mut fill = |len: usize| {
        let mut bytes = Vec::with_capacity(len);
        input.by_ref().take(len as u64).read_to_end(&mut bytes).map_err(Fault::Io)?;
        if bytes.len() == len { Ok(bytes) } else { Err(Fault::Header("the member ends inside it".to_owned())) }
    };
    let magic = fill(8)?;
    if magic[..6] != *b"\x93NUMPY" {
        return Err(Fault::Header("the member does not start with \\x93NUMPY".to_owned()));
    }
    let (version, digits) = match (magic[6], magic[7]) {
        (1, 0) => (1, 2),
        (version @ (2 | 3), 0) => (version, 4),
        (major, minor) => return Err(Fault::Header(format!("unknown format version {major}.{minor}"))),
    };
    let len = fill(digits)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    if len > MAX_HEADER {
        return Err(Fault::Header(format!("{len} bytes long, more than {MAX_HEADER}")));
    }
    let bytes = fill(len)?;
    // Latin-1, of which every byte is a character; UTF-8 since version 3.0.
    let text = if version < 3 { Ok(bytes.into_iter().map(char::from).collect()) } else { String::from_utf8(bytes) };
    text.map_err(|_| Fault::Header("not text".to_owned()))
}

/// Quotes the start of text from a file on one line.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

/// The three values of a header's dictionary.
#[derive(Debug, PartialEq)]
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// Parses a dictionary with keys in any order, each followed by a comma or the end.
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut rest = Rest(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.expect('{')?;
        while !rest.eat("}") {
            let key = rest.string()?;
            rest.expect(':')?;
            match key {
                "descr" if rest.eat("[") => return Err("structured dtypes are not supported".to_owned()),
                "descr" => descr = Some(rest.string()?),
                "fortran_order" => fortran_order = Some(rest.boolean()?),
                "shape" => shape = Some(rest.tuple()?),
                other => return Err(format!("unexpected key {}", shown(other))),
            }
            if !rest.eat(",") {
                rest.expect('}')?;
                break;
            }
        }
        if !rest.0.trim_ascii().is_empty() {
            return Err(format!("unexpected {}", shown(rest.0.trim_ascii())));
        }
        Ok(Self {
            descr: descr.ok_or("key 'descr' is missing")?,
            fortran_order: fortran_order.ok_or("key 'fortran_order' is missing")?,
            shape: shape.ok_or("key 'shape' is missing")?,
        })
    }
}

/// The text that is still to be parsed. Every method skips white space first.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_ascii_start();
        self.0.strip_prefix(token).inspect(|rest| self.0 = rest).is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.eat(token.encode_utf8(&mut [0; 4])) { Ok(()) } else { Err(self.lacks(&format!("{token:?}"))) }
    }

    fn lacks(&self, what: &str) -> String {
        format!("expected {what} at {}", shown(self.0))
    }

    /// Returns the text between quotes. NumPy's keys and types contain no escapes.
    fn string(&mut self) -> Result<&'a str, String> {
        let quote = ["'", "\""].into_iter().find(|quote| self.eat(quote));
        let (inside, rest) = quote.and_then(|quote| self.0.split_once(quote)).ok_or_else(|| self.lacks("a string"))?;
        self.0 = rest;
        Ok(inside)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.eat("True") {
            return Ok(true);
        }
        if self.eat("False") { Ok(false) } else { Err(self.lacks("True or False")) }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.eat(")") {
            let (number, rest) = self.0.split_at(self.0.bytes().take_while(u8::is_ascii_digit).count());
            sizes.push(number.parse().map_err(|_| self.lacks("a size"))?);
            self.0 = rest.strip_prefix('L').unwrap_or(rest); // Python 2 marks long integers with L
            if !self.eat(",") {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

/// Appends a whole number of items as f64.
type Decode = fn(&[u8], &mut Vec<f64>);

/// Returns the size of an item of type `descr` and its decoder: `<f8`, `|u1`, `>i4` and so on.
fn decoder(descr: &str) -> Option<(usize, Decode)> {
    macro_rules! items {
        ($t:ty, $from:ident) => {
            (size_of::<$t>(), |bytes, out| out.extend(bytes.as_chunks().0.iter().map(|&b| <$t>::$from(b) as f64)))
        };
    }
    Some(match descr {
        "|b1" | "<b1" | ">b1" => (1, |bytes, out| out.extend(bytes.iter().map(|&b| f64::from(u8::from(b != 0))))),
        "|i1" | "<i1" | ">i1" => items!(i8, from_le_bytes),
        "|u1" | "<u1" | ">u1" => items!(u8, from_le_bytes),
        "<i2" => items!(i16, from_le_bytes),
        "<i4" => items!(i32, from_le_bytes),
        "<i8" => items!(i64, from_le_bytes),
        "<u2" => items!(u16, from_le_bytes),
        "<u4" => items!(u32, from_le_bytes),
        "<u8" => items!(u64, from_le_bytes),
        "<f4" => items!(f32, from_le_bytes),
        "<f8" => items!(f64, from_le_bytes),
        ">i2" => items!(i16, from_be_bytes),
        ">i4" => items!(i32, from_be_bytes),
        ">i8" => items!(i64, from_be_bytes),
        ">u2" => items!(u16, from_be_bytes),
        ">u4" => items!(u32, from_be_bytes),
        ">u8" => items!(u64, from_be_bytes),
        ">f4" => items!(f32, from_be_bytes),
        ">f8" => items!(f64, from_be_bytes),
        _ => return None,
    })
}

/// Reorders elements from first index fastest to last index fastest.
fn to_c_order<V: Copy>(fortran: &[V], shape: &[usize]) -> Vec<V> {
    let mut stride = 1;
    let axis = |&size: &usize| {
        let axis = (size, stride, 0);
        stride *= size;
        axis
    };
    // Size, stride and index. Axes of one element are left out: a header can claim thousands of
    // them.
    let mut axes: Vec<_> = shape.iter().map(axis).filter(|&(size, ..)| size > 1).collect();
    let mut place = 0;
    let next = |_| {
        let value = fortran[place];
        for (size, stride, index) in axes.iter_mut().rev() {
            *index += 1;
            place += *stride;
            if *index < *size {
                break;
            }
            place -= *stride * *size;
            *index = 0;
        }
        value
    };
    (0..fortran.len()).map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_numpy_versions() {
        let parse = |text| Header::parse(text).unwrap();
        let h = parse("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 8), }          \n");
        assert_eq!(h, Header { descr: "<f8", fortran_order: false, shape: vec![1, 8] });
        let other = "{'shape': (3L,), \"descr\": '|u1', 'fortran_order': True}";
        assert_eq!(parse(other), Header { descr: "|u1", fortran_order: true, shape: vec![3] });
        assert_eq!(parse("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, )}").shape, [2, 3]);
        assert_eq!(parse(" {\t'descr' : '<f8','fortran_order':False\n,'shape':( 2 , 3 ) , } ").shape, [2, 3]);
        assert!(parse("{'descr':'<f8','fortran_order':False,'shape':()}").shape.is_empty());
    }

    #[test]
    fn bad_headers_say_what_is_wrong() {
        for (text, cause) in [
            ("", "expected '{'"),
            ("{", "expected a string"),
            ("{'descr': '<f8'", "expected '}'"),
            ("{'descr': '<f8'}", "'fortran_order' is missing"),
            ("{'descr': '<f8', 'fortran_order': True}", "'shape' is missing"),
            ("{'shape': (), 'fortran_order': True}", "'descr' is missing"),
            ("{'descr': [('a', '<f8')], 'shape': ()}", "structured"),
            ("{'descr': [('é', '<f8')], 'shape': ()}", "structured"),
            ("{'descr': '<f8, 'fortran_order': False}", "expected '}' at \"fortran_order"),
            ("{'descr': 8}", "expected a string at \"8}"),
            ("{'fortran_order': maybe}", "True or False"),
            ("{'fortran_order': 1}", "True or False"),
            ("{'shape': (-1,)}", "expected a size"),
            ("{'shape': (,)}", "expected a size"),
            ("{'shape': (1,,2)}", "expected a size"),
            ("{'shape': (1.5,)}", "expected ')'"),
            ("{'shape': (1 2)}", "expected ')'"),
            ("{'shape': (99999999999999999999,)}", "expected a size at \"9999"),
            ("{'shape': 7}", "expected '('"),
            ("{'shape': (7", "expected ')'"),
            ("{'extra': 7}", "unexpected key"),
            ("{,}", "expected a string"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()} more", "unexpected \"more\""),
            ("{'dé", "expected a string"),
            ("{é", "expected a string"),
        ] {
            let found = Header::parse(text).unwrap_err();
            assert!(found.contains(cause), "{text}: {found}");
        }
    }

    /// Arrays from `numpy.lib.format.write_array` of NumPy 2.4.
    #[test]
    fn arrays_by_numpy() {
        let floats = |shape: &[usize], data: &[f64]| Npy { shape: shape.to_vec(), values: Features::Floats(data.to_vec()) };
        let cases: [(&[u8], Npy); 6] = [
            (
                b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, \
                'shape': (), }                                                              \n\x00\x00\x00\x00\x00\x00\x1c@",
                floats(&[], &[7.0]),
            ),
            (
                b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, \
                'shape': (3, 0), }                                                          \n",
                floats(&[3, 0], &[]),
            ),
            (
                b"\x93NUMPY\x01\x00v\x00{'descr': '|b1', 'fortran_order': False, \
                'shape': (2,), }                                                            \n\x01\x00",
                floats(&[2], &[1.0, 0.0]),
            ),
            (
                b"\x93NUMPY\x01\x00v\x00{'descr': '>i2', 'fortran_order': False, \
                'shape': (1, 2), }                                                          \n\xff\xfe\x02\x01",
                floats(&[1, 2], &[-2.0, 513.0]),
            ),
            (
                b"\x93NUMPY\x02\x00t\x00\x00\x00{'descr': '>f4', 'fortran_order': True, \
                'shape': (2, 3), }                                                         \n\
                \x00\x00\x00\x00\x40\x40\x00\x00\x3f\x80\x00\x00\x40\x80\x00\x00\x40\x00\x00\x00\x40\xa0\x00\x00",
                floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ),
            (
                b"\x93NUMPY\x03\x00t\x00\x00\x00{'descr': '|u1', 'fortran_order': False, \
                'shape': (3,), }                                                          \n\x00\x01\x02",
                Npy { shape: vec![3], values: Features::Bytes(vec![0, 1, 2]) },
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(read(bytes).unwrap(), want);
            for len in 0..bytes.len() {
                assert!(matches!(read(&bytes[..len]), Err(Fault::Header(_) | Fault::Size { .. })), "{len} bytes of {want:?}");
            }
            let more = [bytes, &[0]].concat();
            assert!(matches!(read(&more[..]), Err(Fault::Size { found, .. }) if found == "more"), "a byte after {want:?}");
        }
    }

    /// Latin-1 up to version 2.0, UTF-8 in 3.0: a field of that name is a structured dtype in both.
    #[test]
    fn names_that_are_not_ascii() {
        let by_numpy = b"\x93NUMPY\x01\x00v\x00{'descr': [('\xe9', '<f8')], 'fortran_order': False, \
            'shape': (1,), }                                                   \n\x00\x00\x00\x00\x00\x00\x00\x00";
        assert!(matches!(read(&by_numpy[..]), Err(Fault::Header(cause)) if cause.contains("structured")));
        let utf8 = |name: &[u8]| {
            let dict = [b"{'descr': [('", name, b"', '<f8')]}"].concat();
            let bytes = [b"\x93NUMPY\x03\x00", &(dict.len() as u32).to_le_bytes()[..], &dict].concat();
            let Err(Fault::Header(cause)) = read(&bytes[..]) else { panic!("no bad header") };
            cause
        };
        assert!(utf8("é".as_bytes()).contains("structured"));
        assert_eq!(utf8(b"\xe9"), "not text");
    }

    #[test]
    fn written_headers_are_numpys_and_are_read() {
        let by_numpy = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, \
            'shape': (3, 0), }                                                          \n";
        assert_eq!(header(&[3, 0]), by_numpy);
        // Around 2^16 bytes: with these sizes the dictionary grows by 3 bytes a dimension.
        for dims in (0..40).chain(21_700..21_900).chain([30_000]) {
            let shape = vec![1; dims];
            let bytes = header(&shape);
            assert!(bytes.len().is_multiple_of(64) && bytes.ends_with(b"\n"), "{dims}");
            assert_eq!(bytes[6], if bytes.len() <= 1 << 16 { 1 } else { 2 }, "{dims}");
            match read(&[&bytes[..], &[0; 8]].concat()[..]) {
                Ok(npy) => assert_eq!(npy, Npy { shape, values: Features::Floats(vec![0.0]) }),
                Err(e) => assert!(bytes.len() > MAX_HEADER && matches!(e, Fault::Header(_)), "{dims}: {e:?}"),
            }
        }
    }

    #[test]
    fn types_decode_in_both_byte_orders() {
        let decode = |descr: &str, bytes: &[u8]| {
            let mut out = Vec::new();
            let (size, decode) = decoder(descr).unwrap();
            assert_eq!(bytes.len() % size, 0);
            decode(bytes, &mut out);
            out
        };
        for order in ["|", "<", ">"] {
            assert_eq!(decode(&format!("{order}b1"), &[0, 1, 2]), [0.0, 1.0, 1.0]);
            assert_eq!(decode(&format!("{order}i1"), &[255, 127]), [-1.0, 127.0]);
            assert_eq!(decode(&format!("{order}u1"), &[200]), [200.0]);
        }
        assert_eq!(decode("<i2", &[0xfe, 0xff]), [-2.0]);
        assert_eq!(decode(">i2", &[0xff, 0xfe]), [-2.0]);
        assert_eq!(decode("<u2", &[0, 0x80]), [32_768.0]);
        assert_eq!(decode(">u2", &[0x80, 0]), [32_768.0]);
        assert_eq!(decode("<i4", &(-70_000i32).to_le_bytes()), [-70_000.0]);
        assert_eq!(decode(">i4", &(-70_000i32).to_be_bytes()), [-70_000.0]);
        assert_eq!(decode("<u4", &u32::MAX.to_le_bytes()), [4_294_967_295.0]);
        assert_eq!(decode(">u4", &u32::MAX.to_be_bytes()), [4_294_967_295.0]);
        assert_eq!(decode("<i8", &(-5i64).to_le_bytes()), [-5.0]);
        assert_eq!(decode(">i8", &(-5i64).to_be_bytes()), [-5.0]);
        assert_eq!(decode("<u8", &u64::MAX.to_le_bytes()), [u64::MAX as f64]);
        assert_eq!(decode(">u8", &(1u64 << 60).to_be_bytes()), [(1u64 << 60) as f64]);
        assert_eq!(decode("<f4", &0.1f32.to_le_bytes()), [f64::from(0.1f32)]);
        assert_eq!(decode(">f4", &0.1f32.to_be_bytes()), [f64::from(0.1f32)]);
        assert_eq!(decode("<f8", &0.1f64.to_le_bytes()), [0.1]);
        assert_eq!(decode(">f8", &0.1f64.to_be_bytes()), [0.1]);
    }

    #[test]
    fn other_types_are_refused() {
        for descr in ["", "<", "<f2", "<f16", "<c8", "|O", "<U4", "|S1", "<M8[ns]", "|f8", "=f8", "f8", "<b2", "<f08", "é1"] {
            assert!(decoder(descr).is_none(), "{descr}");
        }
    }

    #[test]
    fn fortran_order_is_converted() {
        // Fortran order of [[[0,1],[2,3],[4,5]], [[6,7],[8,9],[10,11]]].
        let f = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11];
        assert_eq!(to_c_order(&f, &[2, 3, 2]), (0..12).collect::<Vec<_>>());
        assert_eq!(to_c_order(&f, &[1, 2, 1, 3, 2, 1]), (0..12).collect::<Vec<_>>());
        assert_eq!(to_c_order(&[5], &[]), [5]);
        assert_eq!(to_c_order(&[5, 6], &[2]), [5, 6]);
        assert!(to_c_order::<u8>(&[], &[3, 0]).is_empty());
        assert!(to_c_order::<u8>(&[], &[0, usize::MAX, usize::MAX]).is_empty());
    }

    /// Thousands of axes of one element must not cost thousands of steps per element.
    #[test]
    fn axes_of_one_element_cost_nothing() {
        let shape = [vec![1 << 20], vec![1; 20_000]].concat();
        let data: Vec<u32> = (0..1 << 20).collect();
        assert!(to_c_order(&data, &shape) == data);
    }
}
