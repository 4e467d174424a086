//! Sealed safetensors files: arrays as tensors, and a header as JSON in the metadata.

use crate::base::error::{Error, Result};
use crate::base::{files, seal};
use gaitprop_kernels::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::Path;

/// Key of the header in the metadata. A map of several keys has no fixed order, and the same
/// contents give the same bytes.
pub(crate) const KEY: &str = "gaitprop";

/// Name, element type, shape and little-endian elements of an array.
pub(crate) type Array = (String, Dtype, Vec<usize>, Vec<u8>);

/// Returns the element type of arrays of T.
pub(crate) fn dtype<T: Real>() -> Dtype {
    if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 }
}

/// Returns the elements as little-endian bytes in the precision of T.
pub(crate) fn bytes_of<T: Real>(data: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(data));
    match T::NAME {
        "f32" => data.iter().for_each(|x| bytes.extend_from_slice(&(x.to_f64() as f32).to_le_bytes())),
        _ => data.iter().for_each(|x| bytes.extend_from_slice(&x.to_f64().to_le_bytes())),
    }
    bytes
}

/// Returns the bytes of a sealed file. The first field of `header` is [`seal::OPEN`].
pub(crate) fn to_bytes(arrays: &[Array], header: &impl Serialize) -> Result<Vec<u8>> {
    let wrong = |e: &dyn Display| Error::Setting(format!("cannot be written as safetensors: {e}"));
    let views = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| wrong(&e))?))
        })
        .collect::<Result<Vec<_>>>()?;
    let header = serde_json::to_string(header).map_err(|e| wrong(&e))?;
    let metadata = [(KEY.to_owned(), header)].into_iter().collect();
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| wrong(&e))?;
    if seal::seal(&mut bytes) { Ok(bytes) } else { Err(wrong(&"no place for the checksum")) }
}

/// Writes the result of [`to_bytes`] atomically.
pub(crate) fn write(path: &Path, bytes: Result<Vec<u8>>) -> Result<()> {
    let bytes = bytes.map_err(|what| Error::File { path: path.to_owned(), what: what.to_string() })?;
    files::write_atomically(path, &bytes).map_err(Error::io("write", path))
}

/// Checks the seal and returns whether there is one.
pub(crate) fn is_sealed(bytes: &mut [u8], path: &Path) -> Result<bool> {
    match seal::fits(bytes) {
        Some(false) => Err(Error::File { path: path.to_owned(), what: seal::BROKEN.into() }),
        sealed => Ok(sealed.is_some()),
    }
}

/// Parses the header and the arrays of a file of this kind and format.
pub(crate) fn parse<'a, H: DeserializeOwned>(
    bytes: &'a [u8],
    path: &Path,
    kind: &str,
    format: (&str, fn(&H) -> &str),
) -> Result<(H, SafeTensors<'a>)> {
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    let broken = |e| wrong(format!("not a readable safetensors file: {e}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| wrong(format!("its header has no `{KEY}` metadata: not {kind} written by this program")))?;
    let header = serde_json::from_str(header).map_err(|e| wrong(format!("its `{KEY}` metadata is damaged: {e}")))?;
    let (known, found) = (format.0, format.1(&header));
    if found != known {
        return Err(wrong(format!("its format is `{found}`, but this version reads `{known}`")));
    }
    Ok((header, tensors))
}

/// Returns the elements of an array of f32 or f64, or `None` for other types.
pub(crate) fn elements<T: Real>(array: &TensorView<'_>) -> Option<Vec<T>> {
    let bytes = array.data();
    match array.dtype() {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|b| T::from_f64(f64::from(f32::from_le_bytes(*b)))).collect()),
        Dtype::F64 => Some(bytes.as_chunks().0.iter().map(|b| T::from_f64(f64::from_le_bytes(*b))).collect()),
        _ => None,
    }
}
