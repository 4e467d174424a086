//! Weights on disk: safetensors with everything in the header that is needed to use them and a checksum over it all, written whole or not at all.

use crate::base::error::{Error, Result};
use crate::base::{files, seal};
use crate::data::Affine;
use crate::model::activation;
use crate::model::layer::Layer;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use gaitprop_kernels::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a file of weights says besides the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Notes {
    /// Name of the loss the network was trained with.
    pub loss: String,
    /// Name of the rule that trained it.
    pub rule: String,
    /// What its inputs went through: one centre and one spread an input.
    pub inputs: Affine,
}

/// Layout of a file; a reader refuses others.
const FORMAT: &str = "gaitprop-weights-1";

/// The header's metadata, under the one key `gaitprop`, as JSON: a map of several keys has no fixed order, and the same network should
/// give the same bytes.
#[derive(Deserialize, Serialize)]
struct Header {
    /// First in the metadata, which come first in the file. Files of versions before it have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    format: String,
    inputs: usize,
    labels: usize,
    activations: Vec<String>,
    loss: String,
    rule: String,
}

const KEY: &str = "gaitprop";
/// Name of the file, in a folder of results, with the weights as they are at the end.
#[cfg(feature = "cli")]
pub(crate) const WEIGHTS: &str = "weights.safetensors";
/// Arrays of [`Notes::inputs`].
const CENTRE: &str = "input_centre";
const SPREAD: &str = "input_spread";

/// Little-endian, in the precision of T.
pub(crate) fn bytes_of<T: Real>(data: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(data));
    match T::NAME {
        "f32" => data.iter().for_each(|x| bytes.extend_from_slice(&(x.to_f64() as f32).to_le_bytes())),
        _ => data.iter().for_each(|x| bytes.extend_from_slice(&x.to_f64().to_le_bytes())),
    }
    bytes
}

/// Writes a network's weights (`W0`, `b0`, …: fed × width, row-major, in T), what its inputs went through (`input_centre`,
/// `input_spread`), and its shape and `notes` as metadata. The same network gives the same bytes.
///
/// # Errors
/// [`Error::Io`]; an existing file is then untouched.
pub fn save<T: Real>(path: &Path, net: &Network<T>, notes: &Notes) -> Result<()> {
    let bytes = to_bytes(net, notes).map_err(|what| Error::File { path: path.to_owned(), what: what.to_string() })?;
    files::write_atomically(path, &bytes).map_err(Error::io("write", path))
}

/// The bytes that [`save`] writes.
///
/// # Errors
/// [`Error::Setting`] for what cannot be laid out as safetensors.
pub fn to_bytes<T: Real>(net: &Network<T>, notes: &Notes) -> Result<Vec<u8>> {
    let dtype = if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 };
    let mut arrays = Vec::new();
    for (l, layer) in net.layers().iter().enumerate() {
        arrays.push((format!("W{l}"), dtype, vec![layer.fan_in(), layer.width()], bytes_of(layer.w.data())));
        arrays.push((format!("b{l}"), dtype, vec![layer.width()], bytes_of(&layer.b)));
    }
    for (name, data) in [(CENTRE, &notes.inputs.centre), (SPREAD, &notes.inputs.spread)] {
        arrays.push((name.into(), Dtype::F64, vec![data.len()], bytes_of(data)));
    }
    let wrong = |e| Error::Setting(format!("the weights cannot be laid out: {e}"));
    let views = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(wrong)?)))
        .collect::<Result<Vec<_>>>()?;
    let header = Header {
        checksum: Some(seal::OPEN.into()),
        format: FORMAT.into(),
        inputs: net.inputs(),
        labels: net.labels(),
        activations: net.layers().iter().map(|l| activation::name(l.activation)).collect(),
        loss: notes.loss.clone(),
        rule: notes.rule.clone(),
    };
    let header = serde_json::to_string(&header).map_err(|e| Error::Setting(format!("the header cannot be written: {e}")))?;
    let metadata = [(KEY.to_owned(), header)].into_iter().collect();
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(wrong)?;
    if !seal::seal(&mut bytes) {
        return Err(Error::Setting("the weights cannot be laid out: no place for their checksum".into()));
    }
    Ok(bytes)
}

/// A network of either precision, as it was saved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Saved {
    /// Weights in f32.
    F32(Network<f32>),
    /// Weights in f64.
    F64(Network<f64>),
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] saying what is wrong with the file.
pub fn load(path: &Path) -> Result<(Saved, Notes)> {
    from_bytes(std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// [`load`] of a file's bytes; `path` is the name that errors give it.
///
/// # Errors
/// As [`load`], but for [`Error::Io`].
pub fn from_bytes(mut bytes: Vec<u8>, path: &Path) -> Result<(Saved, Notes)> {
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    let sealed = seal::fits(&mut bytes);
    if sealed == Some(false) {
        return Err(wrong(seal::BROKEN.into()));
    }
    let broken = |e| wrong(format!("not a readable safetensors file: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let header = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| wrong(format!("its header has no `{KEY}` metadata: not weights written by this program")))?;
    let header: Header = serde_json::from_str(header).map_err(|e| wrong(format!("its `{KEY}` metadata is damaged: {e}")))?;
    if header.checksum.is_some() && sealed.is_none() {
        return Err(wrong(format!("its `{KEY}` metadata is damaged: its checksum is none")));
    }
    if header.format != FORMAT {
        return Err(wrong(format!("its format is `{}`, but this version reads `{FORMAT}`", header.format)));
    }
    let dtype = tensors.tensor("W0").map_err(|_| wrong("it holds no array `W0`".into()))?.dtype();
    if tensors.len() != 2 * header.activations.len() + 2 {
        let (layers, arrays) = (header.activations.len(), tensors.len());
        return Err(wrong(format!("it holds {arrays} arrays, but its header speaks of {layers} layers")));
    }

    let get = |name: &str, dtype: Dtype, rank: usize| -> Result<(Vec<usize>, Vec<f64>)> {
        let t = tensors.tensor(name).map_err(|_| wrong(format!("it holds no array `{name}`")))?;
        if t.dtype() != dtype || t.shape().len() != rank {
            let (dtype, rank) = (t.dtype(), t.shape().len());
            return Err(wrong(format!("array `{name}` is {dtype:?} of {rank} dimensions, which does not fit the others")));
        }
        let data = match dtype {
            Dtype::F32 => t.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect::<Vec<_>>(),
            Dtype::F64 => t.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => return Err(wrong(format!("its weights are {other:?}, but must be F32 or F64"))),
        };
        match data.iter().position(|x| !x.is_finite()) {
            Some(i) => Err(wrong(format!("element {i} of array `{name}` is not finite"))),
            None => Ok((t.shape().to_vec(), data)),
        }
    };
    let unfit = |e: Error| wrong(e.to_string());
    let layers = header
        .activations
        .iter()
        .enumerate()
        .map(|(l, unit)| {
            let (shape, w) = get(&format!("W{l}"), dtype, 2)?;
            let (_, b) = get(&format!("b{l}"), dtype, 1)?;
            Ok(Layer { w: Matrix::from_vec(shape[0], shape[1], w)?, b, activation: activation::parse(unit).map_err(unfit)? })
        })
        .collect::<Result<Vec<Layer<f64>>>>()?;
    let net = Network::new(header.inputs, layers, header.labels).map_err(unfit)?;
    let inputs = Affine { centre: get(CENTRE, Dtype::F64, 1)?.1, spread: get(SPREAD, Dtype::F64, 1)?.1 };
    if inputs.centre.len() != net.inputs() || inputs.spread.len() != net.inputs() || inputs.spread.iter().any(|&s| s <= 0.0) {
        return Err(wrong(format!("`{CENTRE}` and `{SPREAD}` do not fit the network's {} inputs", net.inputs())));
    }
    let notes = Notes { loss: header.loss, rule: header.rule, inputs };
    Ok((if dtype == Dtype::F32 { Saved::F32(net.cast()) } else { Saved::F64(net) }, notes))
}
