//! Weights on disk: safetensors with everything in the header that is needed to use them, written whole or not at all.

use crate::network::Network;
use crate::{Error, Layer, Matrix, Result, activation};
use gaitprop_kernels::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

/// What a file of weights says besides the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// Name of the loss the network was trained with.
    pub loss: String,
    /// Name of the scaling its inputs went through.
    pub scale: String,
    /// Name of the rule that trained it.
    pub rule: String,
}

/// Layout of the header's metadata; a reader refuses others.
const FORMAT: &str = "gaitprop-weights-1";

/// Writes `bytes` to `path`, whole or not at all: to a temporary file beside it first, flushed to the disk, then renamed.
///
/// # Errors
/// [`Error::Io`]; the file is then what it was before.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let fail = |e| Error::io("write", path)(e);
    let mut builder = tempfile::Builder::new();
    // The permissions that any other new file would get, not the private ones of a temporary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".gaitprop-").tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

fn bytes_of<T: Real>(data: &[T]) -> Vec<u8> {
    let little = |x: &T| match T::NAME {
        "f32" => (x.to_f64() as f32).to_le_bytes().to_vec(),
        _ => x.to_f64().to_le_bytes().to_vec(),
    };
    data.iter().flat_map(little).collect()
}

/// Writes a network's weights (`W0`, `b0`, …: fed × width, row-major, in T) with its shape and `notes` as metadata.
///
/// # Errors
/// [`Error::Io`]; an existing file is then untouched.
pub fn save<T: Real>(path: &Path, net: &Network<T>, notes: &Notes) -> Result<()> {
    let dtype = if T::NAME == "f32" { Dtype::F32 } else { Dtype::F64 };
    let mut arrays = Vec::new();
    for (l, layer) in net.layers().iter().enumerate() {
        arrays.push((format!("W{l}"), vec![layer.fed(), layer.width()], bytes_of(layer.w.data())));
        arrays.push((format!("b{l}"), vec![layer.width()], bytes_of(&layer.b)));
    }
    let wrong = |e| Error::File { path: path.to_owned(), what: format!("cannot be laid out: {e}") };
    let views = arrays
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(dtype, shape.clone(), bytes).map_err(wrong)?)))
        .collect::<Result<Vec<_>>>()?;
    let units: Vec<String> = net.layers().iter().map(|l| activation::name(l.unit)).collect();
    let metadata = HashMap::from(
        [
            ("format", FORMAT.to_owned()),
            ("inputs", net.inputs().to_string()),
            ("labels", net.labels().to_string()),
            ("activations", units.join(",")),
            ("loss", notes.loss.clone()),
            ("scale", notes.scale.clone()),
            ("rule", notes.rule.clone()),
        ]
        .map(|(k, v)| (k.to_owned(), v)),
    );
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(wrong)?;
    write_atomically(path, &bytes)
}

/// A network of either precision, as it was saved.
#[derive(Clone, Debug)]
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
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let wrong = |what: String| Error::File { path: path.to_owned(), what };
    let broken = |e| wrong(format!("not a readable safetensors file: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let notes = header.metadata().clone().unwrap_or_default();
    let note = |key: &str| {
        notes.get(key).cloned().ok_or_else(|| wrong(format!("its header does not say `{key}`: not weights of gaitprop")))
    };
    let format = note("format")?;
    if format != FORMAT {
        return Err(wrong(format!("its format is `{format}`, but this version reads `{FORMAT}`")));
    }
    let number = |key: &str| {
        let text = note(key)?;
        text.parse::<usize>().map_err(|_| wrong(format!("its header says `{key}` is `{text}`: not a number")))
    };
    let (inputs, labels) = (number("inputs")?, number("labels")?);
    let units = note("activations")?;
    let units = units.split(',').map(activation::parse).collect::<Result<Vec<_>>>()?;
    let dtype = tensors.tensor("W0").map_err(|_| wrong("it holds no array `W0`".into()))?.dtype();

    let get = |name: String, rank: usize| -> Result<(Vec<usize>, Vec<f64>)> {
        let t = tensors.tensor(&name).map_err(|_| wrong(format!("it holds no array `{name}`")))?;
        if t.dtype() != dtype || t.shape().len() != rank {
            return Err(wrong(format!(
                "array `{name}` is {:?} of {} dimensions, which does not fit the others",
                t.dtype(),
                t.shape().len()
            )));
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
    let layers = units
        .into_iter()
        .enumerate()
        .map(|(l, unit)| {
            let (shape, w) = get(format!("W{l}"), 2)?;
            let (_, b) = get(format!("b{l}"), 1)?;
            Ok(Layer { w: Matrix::from_vec(shape[0], shape[1], w)?, b, unit })
        })
        .collect::<Result<Vec<Layer<f64>>>>()?;
    let unfit = |e: Error| wrong(e.to_string());
    let net = Network::new(inputs, layers, labels).map_err(unfit)?;
    let notes = Notes { loss: note("loss")?, scale: note("scale")?, rule: note("rule")? };
    Ok((if dtype == Dtype::F32 { Saved::F32(net.cast()) } else { Saved::F64(net) }, notes))
}
