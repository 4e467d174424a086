//! Checkpoints: the state of a run as named scalars and arrays, exact to the bit.
//!
//! Each trained component puts everything that determines its future into a [`State`] and restores
//! itself from it. A run that resumes from its state gives the same bits as an uninterrupted run.
//! Values that can be recomputed to the same bits, such as packed panels and factors of the
//! weights, are left out.
//!
//! The file is a safetensors file. Arrays are tensors, and the rest is JSON under one key of the
//! metadata. A checksum (CRC-32C) covers every byte except its own eight digits.

use crate::base::error::{Error, Result};
use crate::base::seal;
use crate::store::archive::{self, bytes_of};
use gaitprop_kernels::Real;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Named scalars and arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// Integers, and the bits of floating-point numbers, including infinities and NaN.
    scalars: BTreeMap<String, u64>,
    arrays: BTreeMap<String, (Vec<usize>, Vec<T>)>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { scalars: BTreeMap::new(), arrays: BTreeMap::new() }
    }
}

impl<T: Real> State<T> {
    /// Stores an integer.
    pub fn put(&mut self, name: impl Into<String>, value: u64) {
        self.scalars.insert(name.into(), value);
    }
    /// Stores a floating-point number, exact to the bit.
    pub fn put_f64(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, value.to_bits());
    }
    /// Stores a copy of an array with this shape.
    pub fn put_array(&mut self, name: impl Into<String>, shape: &[usize], data: &[T]) {
        self.arrays.insert(name.into(), (shape.to_vec(), data.to_vec()));
    }
    /// Stores all entries of another state, with the prefix `name.`.
    pub fn put_part(&mut self, name: &str, part: Self) {
        self.scalars.extend(part.scalars.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        self.arrays.extend(part.arrays.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
    }

    /// Returns the integer with this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.scalars.get(name).copied().ok_or_else(|| Error::Setting(format!("the state holds no `{name}`")))
    }
    /// Returns the integer with this name, if there is one.
    pub fn find(&self, name: &str) -> Option<u64> {
        self.scalars.get(name).copied()
    }
    /// Returns the integer with this name in a smaller type.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none, or if it is too large.
    pub fn get_as<I: TryFrom<u64>>(&self, name: &str) -> Result<I> {
        let value = self.get(name)?;
        I::try_from(value).map_err(|_| Error::Setting(format!("`{name}` of the state is {value}: too large")))
    }
    /// Returns the flag with this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get_flag(&self, name: &str) -> Result<bool> {
        Ok(self.get(name)? != 0)
    }
    /// Returns the floating-point number with this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get_f64(&self, name: &str) -> Result<f64> {
        self.get(name).map(f64::from_bits)
    }
    /// Returns the floating-point number with this name, if there is one.
    pub fn find_f64(&self, name: &str) -> Option<f64> {
        self.find(name).map(f64::from_bits)
    }
    /// Returns the elements of the array with this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none, or if it does not have `len` elements.
    pub fn array(&self, name: &str, len: usize) -> Result<&[T]> {
        match self.arrays.get(name) {
            Some((_, data)) if data.len() == len => Ok(data),
            Some((_, data)) => {
                let found = data.len();
                Err(Error::Setting(format!("array `{name}` of the state has {found} elements, but {len} are needed")))
            }
            None => Err(Error::Setting(format!("the state holds no array `{name}`"))),
        }
    }
    /// Copies the elements of the array with this name to `to`.
    ///
    /// # Errors
    /// As [`State::array`] with the length of `to`.
    pub fn copy_array(&self, name: &str, to: &mut [T]) -> Result<()> {
        to.copy_from_slice(self.array(name, to.len())?);
        Ok(())
    }
    /// Returns whether there is an array with this name.
    pub fn has_array(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }
    /// Removes the entries with the prefix `name.` and returns them without it; see
    /// [`State::put_part`].
    #[must_use]
    pub fn take_part(&mut self, name: &str) -> Self {
        Self { scalars: split(&mut self.scalars, name), arrays: split(&mut self.arrays, name) }
    }
}

/// Removes the entries with the prefix `name.` and returns them without it.
fn split<V>(from: &mut BTreeMap<String, V>, name: &str) -> BTreeMap<String, V> {
    let prefix = format!("{name}.");
    let (part, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(from).into_iter().partition(|(key, _)| key.starts_with(&prefix));
    *from = rest;
    part.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
}

/// Format of the file. Other formats are refused.
const FORMAT: &str = "gaitprop-state-1";

#[derive(Deserialize, Serialize)]
struct Header<N> {
    /// First field, so that the digits are near the beginning of the file.
    checksum: String,
    format: String,
    /// Version of the program that wrote the file.
    version: String,
    notes: N,
    scalars: BTreeMap<String, u64>,
}

/// Version that checkpoints record.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes a state and `notes`, any value that JSON can represent. The same input gives the same
/// bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if safetensors cannot represent the state. An existing file is
/// then unchanged.
pub fn write<T: Real, N: Serialize>(path: &Path, state: &State<T>, notes: &N) -> Result<()> {
    archive::write(path, to_bytes(state, notes))
}

/// Returns the bytes that [`write()`] writes.
///
/// # Errors
/// [`Error::Setting`] if safetensors cannot represent the state.
pub fn to_bytes<T: Real, N: Serialize>(state: &State<T>, notes: &N) -> Result<Vec<u8>> {
    let array = |(name, (shape, data)): (&String, &(Vec<usize>, Vec<T>))| {
        (name.clone(), archive::dtype::<T>(), shape.clone(), bytes_of(data))
    };
    let arrays: Vec<_> = state.arrays.iter().map(array).collect();
    let header = Header {
        checksum: seal::OPEN.into(),
        format: FORMAT.into(),
        version: VERSION.into(),
        notes,
        scalars: state.scalars.clone(),
    };
    archive::to_bytes(&arrays, &header)
}

/// Reads a file by [`write()`]. Returns the state, the version that wrote it, and the notes.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that is cut short, damaged in any byte, or of another
/// kind, format or precision.
pub fn read<T: Real, N: for<'de> Deserialize<'de>>(path: &Path) -> Result<(State<T>, String, N)> {
    from_bytes(std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// Parses the bytes of a file like [`read`]. Errors name `path`.
///
/// # Errors
/// As [`read`], except [`Error::Io`].
pub fn from_bytes<T: Real, N: for<'de> Deserialize<'de>>(mut bytes: Vec<u8>, path: &Path) -> Result<(State<T>, String, N)> {
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    if !archive::is_sealed(&mut bytes, path)? {
        return Err(wrong("not a checkpoint of this program, or cut short".into()));
    }
    let (header, tensors) = archive::parse(&bytes, path, "a checkpoint", (FORMAT, |header: &Header<N>| &header.format))?;
    let mut arrays = BTreeMap::new();
    for (name, tensor) in tensors.iter() {
        let data = archive::elements(&tensor)
            .filter(|_| tensor.dtype() == archive::dtype::<T>())
            .ok_or_else(|| wrong(format!("array `{name}` is {:?}, but the run is in {}", tensor.dtype(), T::NAME)))?;
        arrays.insert(name.to_owned(), (tensor.shape().to_vec(), data));
    }
    Ok((State { scalars: header.scalars, arrays }, header.version, header.notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example<T: Real>() -> State<T> {
        let mut state = State::default();
        state.put("count", u64::MAX);
        for (name, x) in [("inf", f64::INFINITY), ("nan", f64::NAN), ("third", 1.0 / 3.0), ("zero", -0.0)] {
            state.put_f64(name, x);
        }
        state.put_array("W0", &[2, 3], &[0.1, -0.0, 1e-40, 3.0, 4.0, f64::INFINITY].map(T::from_f64));
        state.put_array("none", &[0], &[]);
        let mut part = State::default();
        part.put("age", 3);
        part.put_array("m", &[1], &[T::ONE]);
        state.put_part("inverse", part);
        state
    }

    fn round_trip<T: Real>() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = example::<T>();
        write(&path, &state, &vec!["a note"]).unwrap();
        let (mut back, version, notes) = read::<T, Vec<String>>(&path).unwrap();
        assert_eq!((back.scalars.clone(), version.as_str(), notes), (state.scalars.clone(), VERSION, vec!["a note".to_owned()]));
        assert_eq!(back.arrays, state.arrays);
        assert!(back.array("W0", 6).unwrap()[1].to_f64().is_sign_negative());
        assert!(back.get_f64("nan").unwrap().is_nan() && back.get_f64("inf").unwrap() == f64::INFINITY);
        let part = back.take_part("inverse");
        assert_eq!((part.get("age").unwrap(), part.array("m", 1).unwrap()), (3, &[T::ONE][..]));
        assert!(back.get("inverse.age").is_err() && back.array("W0", 5).is_err() && back.get_as::<u32>("count").is_err());
        let first = std::fs::read(&path).unwrap();
        write(&path, &state, &vec!["a note"]).unwrap();
        assert!(first == std::fs::read(&path).unwrap(), "the same state gives the same bytes");
    }

    #[test]
    fn a_state_comes_back_to_the_bit() {
        round_trip::<f32>();
        round_trip::<f64>();
    }

    /// A file with any byte damaged, or cut at any length, is refused.
    #[test]
    fn a_file_damaged_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write(&path, &example::<f32>(), &()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert!(read::<f32, ()>(&path).is_ok());
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            match read::<f32, ()>(&path) {
                Err(Error::File { .. }) => {}
                other => panic!("{what}: {other:?}"),
            }
        };
        for i in 0..whole.len() {
            for bit in [1, 0x20] {
                let mut bytes = whole.clone();
                bytes[i] ^= bit;
                refused(&bytes, &format!("byte {i}"));
            }
            refused(&whole[..i], &format!("length {i}"));
        }
        refused(&[&whole[..], &[0]].concat(), "a byte more");
        std::fs::write(&path, &whole).unwrap();
        assert!(read::<f64, ()>(&path).unwrap_err().to_string().contains("f64"));
    }
}
