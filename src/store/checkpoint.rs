//! What a run remembers, as a value: named scalars and arrays, exact to the bit, in one file that is whole or refused.
//!
//! Whatever is trained puts into a [`State`] all that decides what it will do next, and takes it out again: a run that is stopped and goes on from
//! its state gives the bits of one that was never stopped. What can be computed again to the same bits (packed panels, factors of the present weights)
//! is left out.
//!
//! The file is a safetensors file: arrays as tensors, all else as JSON under one key of its metadata, with a checksum (CRC-32C) over every byte
//! of the file but its own eight digits.

use crate::base::error::{Error, Result};
use crate::base::{files, seal};
use crate::store::weights::bytes_of;
use gaitprop_kernels::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Named scalars and arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// Integers as they are; numbers as their bits, which keeps infinities and NaN.
    scalars: BTreeMap<String, u64>,
    arrays: BTreeMap<String, (Vec<usize>, Vec<T>)>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { scalars: BTreeMap::new(), arrays: BTreeMap::new() }
    }
}

impl<T: Real> State<T> {
    /// Puts in an integer.
    pub fn put(&mut self, name: impl Into<String>, value: u64) {
        self.scalars.insert(name.into(), value);
    }
    /// Puts in a number, whatever its bits.
    pub fn put_f64(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, value.to_bits());
    }
    /// Puts in a copy of an array with this shape.
    pub fn put_array(&mut self, name: impl Into<String>, shape: &[usize], data: &[T]) {
        self.arrays.insert(name.into(), (shape.to_vec(), data.to_vec()));
    }
    /// Puts in all of another state, with `name.` before each name.
    pub fn put_part(&mut self, name: &str, part: Self) {
        self.scalars.extend(part.scalars.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        self.arrays.extend(part.arrays.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
    }

    /// The integer of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.scalars.get(name).copied().ok_or_else(|| Error::Setting(format!("the state holds no `{name}`")))
    }
    /// The integer of this name, in a smaller type.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none, or if it is too large.
    pub fn get_as<I: TryFrom<u64>>(&self, name: &str) -> Result<I> {
        let value = self.get(name)?;
        I::try_from(value).map_err(|_| Error::Setting(format!("`{name}` of the state is {value}: too large")))
    }
    /// The flag of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get_flag(&self, name: &str) -> Result<bool> {
        Ok(self.get(name)? != 0)
    }
    /// The number of this name.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none.
    pub fn get_f64(&self, name: &str) -> Result<f64> {
        self.get(name).map(f64::from_bits)
    }
    /// The number of this name, if there is one.
    pub fn find_f64(&self, name: &str) -> Option<f64> {
        self.scalars.get(name).copied().map(f64::from_bits)
    }
    /// The elements of the array of this name.
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
    /// Copies the array of this name.
    ///
    /// # Errors
    /// As [`State::array`], where `to` says how many elements are needed.
    pub fn copy_array(&self, name: &str, to: &mut [T]) -> Result<()> {
        to.copy_from_slice(self.array(name, to.len())?);
        Ok(())
    }
    /// Whether there is an array of this name.
    pub fn has_array(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }
    /// Takes out what [`State::put_part`] has put in.
    #[must_use]
    pub fn take_part(&mut self, name: &str) -> Self {
        Self { scalars: split(&mut self.scalars, name), arrays: split(&mut self.arrays, name) }
    }
}

/// Takes out what is of the part `name`, without its name.
fn split<V>(from: &mut BTreeMap<String, V>, name: &str) -> BTreeMap<String, V> {
    let prefix = format!("{name}.");
    let (part, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(from).into_iter().partition(|(key, _)| key.starts_with(&prefix));
    *from = rest;
    part.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
}

/// Layout of a file; a reader refuses others.
const FORMAT: &str = "gaitprop-state-1";
/// The one key of the metadata: a map of several has no fixed order, and the same state should give the same bytes.
const KEY: &str = "gaitprop";

#[derive(Deserialize, Serialize)]
struct Header<N> {
    /// First in the metadata, which come first in the file.
    checksum: String,
    format: String,
    /// Of the program that wrote it.
    version: String,
    notes: N,
    scalars: BTreeMap<String, u64>,
}

/// The version that is written into files.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes a state and `notes`, which can be anything that JSON can hold. The same gives the same bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for what cannot be laid out as safetensors. An existing file is then untouched.
pub fn write<T: Real, N: Serialize>(path: &Path, state: &State<T>, notes: &N) -> Result<()> {
    let bytes = to_bytes(state, notes).map_err(|what| Error::File { path: path.to_owned(), what: what.to_string() })?;
    files::write_atomically(path, &bytes).map_err(Error::io("write", path))
}

/// The bytes that [`write()`] writes.
///
/// # Errors
/// [`Error::Setting`] for what cannot be laid out as safetensors.
pub fn to_bytes<T: Real, N: Serialize>(state: &State<T>, notes: &N) -> Result<Vec<u8>> {
    let dtype = if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 };
    let wrong = |e: &dyn std::fmt::Display| Error::Setting(format!("the state cannot be laid out: {e}"));
    let arrays: Vec<_> = state.arrays.iter().map(|(name, (shape, data))| (name, shape, bytes_of(data))).collect();
    let views = arrays
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(dtype, (*shape).clone(), bytes).map_err(|e| wrong(&e))?)))
        .collect::<Result<Vec<_>>>()?;
    let header = Header {
        checksum: seal::OPEN.into(),
        format: FORMAT.into(),
        version: VERSION.into(),
        notes,
        scalars: state.scalars.clone(),
    };
    let header = serde_json::to_string(&header).map_err(|e| wrong(&e))?;
    let mut bytes =
        safetensors::serialize(views, Some([(KEY.to_owned(), header)].into_iter().collect())).map_err(|e| wrong(&e))?;
    drop(arrays);
    if !seal::seal(&mut bytes) {
        return Err(wrong(&"no place for its checksum"));
    }
    Ok(bytes)
}

/// Reads what [`write()`] wrote: the state, the version that wrote it, and the notes.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that is cut short, damaged in any byte, or of another kind, format or precision.
pub fn read<T: Real, N: for<'de> Deserialize<'de>>(path: &Path) -> Result<(State<T>, String, N)> {
    from_bytes(std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// [`read`] of a file's bytes; `path` is the name that errors give it.
///
/// # Errors
/// As [`read`], but for [`Error::Io`].
pub fn from_bytes<T: Real, N: for<'de> Deserialize<'de>>(mut bytes: Vec<u8>, path: &Path) -> Result<(State<T>, String, N)> {
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    match seal::fits(&mut bytes) {
        None => return Err(wrong("not a checkpoint of this program, or cut short".into())),
        Some(false) => return Err(wrong(seal::BROKEN.into())),
        Some(true) => {}
    }
    let broken = |e: &dyn std::fmt::Display| wrong(format!("not a readable checkpoint: {e}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| broken(&"it has no state"))?;
    let header: Header<N> = serde_json::from_str(header).map_err(|e| broken(&e))?;
    if header.format != FORMAT {
        return Err(wrong(format!("its format is `{}`, but this version reads `{FORMAT}`", header.format)));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(&e))?;
    let dtype = if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 };
    let mut arrays = BTreeMap::new();
    for (name, tensor) in tensors.iter() {
        if tensor.dtype() != dtype {
            return Err(wrong(format!("array `{name}` is {:?}, but the run is in {}", tensor.dtype(), T::NAME)));
        }
        let data = match dtype {
            Dtype::F32 => {
                tensor.data().as_chunks().0.iter().map(|b| T::from_f64(f64::from(f32::from_le_bytes(*b)))).collect::<Vec<T>>()
            }
            _ => tensor.data().as_chunks().0.iter().map(|b| T::from_f64(f64::from_le_bytes(*b))).collect(),
        };
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

    /// Each byte damaged, each length cut: no such file is taken for a state.
    #[test]
    fn a_damaged_file_is_refused_wherever_it_is_damaged() {
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
