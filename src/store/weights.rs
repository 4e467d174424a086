//! Weights on disk: a sealed safetensors file, written atomically.
//!
//! The header holds everything that is needed to use the weights.

use crate::base::error::{Error, Result};
use crate::base::seal;
use crate::data::Affine;
use crate::model::activation;
use crate::model::layer::Layer;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::store::archive::{self, KEY, bytes_of};
use gaitprop_kernels::Real;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Description of saved weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Notes {
    /// Name of the loss of the training.
    pub loss: String,
    /// Name of the learning rule.
    pub rule: String,
    /// Scaling of the inputs, one center and one scale per input.
    pub inputs: Affine,
}

/// Format of the file. Other formats are refused.
const FORMAT: &str = "gaitprop-weights-1";

#[derive(Deserialize, Serialize)]
struct Header {
    /// First field, so that the digits are near the beginning of the file. Older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    format: String,
    inputs: usize,
    labels: usize,
    activations: Vec<String>,
    loss: String,
    rule: String,
}

/// File name of the last weights in a folder of results.
#[cfg(feature = "cli")]
pub(crate) const WEIGHTS: &str = "weights.safetensors";
/// Array names of [`Notes::inputs`].
const CENTER: &str = "input_centre";
const SCALE: &str = "input_spread";

/// Writes a network's weights, the scaling of its inputs, and its shape and `notes` as metadata.
///
/// Arrays: `W0`, `b0`, … in T, weights row-major fan-in × width; `R0`, … in T, fan-in × fan-in, for
/// a network with decorrelations; `input_centre` and `input_spread` in f64. The same network gives
/// the same bytes.
///
/// # Errors
/// [`Error::Io`]; otherwise as [`to_bytes`]. An existing file is then unchanged.
pub fn save<T: Real>(path: &Path, net: &Network<T>, notes: &Notes) -> Result<()> {
    archive::write(path, to_bytes(net, notes))
}

/// Returns the bytes that [`save`] writes.
///
/// # Errors
/// [`Error::Setting`] for a scaling of another length than the inputs, or one that is not finite and
/// positive; or if safetensors cannot represent the weights.
pub fn to_bytes<T: Real>(net: &Network<T>, notes: &Notes) -> Result<Vec<u8>> {
    notes.inputs.check(net.inputs())?;
    let dtype = archive::dtype::<T>();
    let mut arrays = Vec::new();
    for (l, layer) in net.layers().iter().enumerate() {
        arrays.push((format!("W{l}"), dtype, vec![layer.fan_in(), layer.width()], bytes_of(layer.w.data())));
        arrays.push((format!("b{l}"), dtype, vec![layer.width()], bytes_of(&layer.b)));
        if let Some(r) = net.decorrelation(l) {
            arrays.push((format!("R{l}"), dtype, vec![r.rows(), r.cols()], bytes_of(r.data())));
        }
    }
    for (name, data) in [(CENTER, &notes.inputs.center), (SCALE, &notes.inputs.scale)] {
        arrays.push((name.into(), Dtype::F64, vec![data.len()], bytes_of(data)));
    }
    let header = Header {
        checksum: Some(seal::OPEN.into()),
        format: FORMAT.into(),
        inputs: net.inputs(),
        labels: net.labels(),
        activations: net.layers().iter().map(|l| activation::name(l.activation)).collect(),
        loss: notes.loss.clone(),
        rule: notes.rule.clone(),
    };
    archive::to_bytes(&arrays, &header)
}

/// Saved network of either precision.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Saved {
    /// Weights in f32.
    F32(Network<f32>),
    /// Weights in f64.
    F64(Network<f64>),
}

/// Reads a file by [`save`].
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that is damaged or of another kind or format.
pub fn load(path: &Path) -> Result<(Saved, Notes)> {
    from_bytes(std::fs::read(path).map_err(Error::io("read", path))?, path)
}

/// Parses the bytes of a file like [`load`]. Errors name `path`.
///
/// # Errors
/// As [`load`], except [`Error::Io`].
pub fn from_bytes(mut bytes: Vec<u8>, path: &Path) -> Result<(Saved, Notes)> {
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    let sealed = archive::is_sealed(&mut bytes, path)?;
    let (header, tensors) = archive::parse(&bytes, path, "weights", (FORMAT, |header: &Header| &header.format))?;
    if header.checksum.is_some() && !sealed {
        return Err(wrong(format!("its `{KEY}` metadata is damaged: its checksum is missing")));
    }
    let dtype = tensors.tensor("W0").map_err(|_| wrong("it holds no array `W0`".into()))?.dtype();
    let decorrelated = tensors.tensor("R0").is_ok();
    let each = if decorrelated { 3 } else { 2 };
    if tensors.len() != each * header.activations.len() + 2 {
        let (layers, arrays) = (header.activations.len(), tensors.len());
        return Err(wrong(format!("it holds {arrays} arrays, but its header describes {layers} layers")));
    }

    let get = |name: &str, dtype: Dtype, rank: usize| -> Result<(Vec<usize>, Vec<f64>)> {
        let t = tensors.tensor(name).map_err(|_| wrong(format!("it holds no array `{name}`")))?;
        if t.dtype() != dtype || t.shape().len() != rank {
            let (dtype, rank) = (t.dtype(), t.shape().len());
            return Err(wrong(format!("array `{name}` is {dtype:?} of {rank} dimensions, which does not match the others")));
        }
        let data =
            archive::elements::<f64>(&t).ok_or_else(|| wrong(format!("its weights are {dtype:?}, but must be F32 or F64")))?;
        match data.iter().position(|x| !x.is_finite()) {
            Some(i) => Err(wrong(format!("element {i} of array `{name}` is not finite"))),
            None => Ok((t.shape().to_vec(), data)),
        }
    };
    let invalid = |e: Error| wrong(e.to_string());
    let layers = header
        .activations
        .iter()
        .enumerate()
        .map(|(l, unit)| {
            let (shape, w) = get(&format!("W{l}"), dtype, 2)?;
            let (_, b) = get(&format!("b{l}"), dtype, 1)?;
            Ok(Layer { w: Matrix::from_vec(shape[0], shape[1], w)?, b, activation: activation::parse(unit).map_err(invalid)? })
        })
        .collect::<Result<Vec<Layer<f64>>>>()?;
    let mut net = Network::new(header.inputs, layers, header.labels).map_err(invalid)?;
    if decorrelated {
        let decorrelation = (0..header.activations.len()).map(|l| {
            let (shape, r) = get(&format!("R{l}"), dtype, 2)?;
            Matrix::from_vec(shape[0], shape[1], r)
        });
        net.set_decorrelation(decorrelation.collect::<Result<_>>()?).map_err(invalid)?;
    }
    let inputs = Affine { center: get(CENTER, Dtype::F64, 1)?.1, scale: get(SCALE, Dtype::F64, 1)?.1 };
    inputs.check(net.inputs()).map_err(|e| wrong(format!("`{CENTER}` and `{SCALE}`: {e}")))?;
    let notes = Notes { loss: header.loss, rule: header.rule, inputs };
    Ok((if dtype == Dtype::F32 { Saved::F32(net.cast()) } else { Saved::F64(net) }, notes))
}
