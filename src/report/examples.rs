//! Predictions of a trained network for single test samples.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::data::{self, Dataset, Features, LoadOptions};
use crate::model::loss::Loss;
use crate::model::network::Network;
use crate::report::groups::Group;
use crate::report::runs::Run;
use crate::store::weights::{self, Notes, Saved, WEIGHTS};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use gaitprop_kernels::{MatRef, Plan, Real};
use std::io::Write as _;

/// Number of samples shown per group.
const SHOWN: usize = 20;
/// Largest number of wrong predictions among them.
const WRONG: usize = 10;

/// One prediction of a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// Index of the sample in the test set.
    pub(super) index: usize,
    pub(super) label: u32,
    /// Predicted label.
    pub(super) said: u32,
    /// Softmax of the label units; for the squared error, the output of the winning unit.
    pub(super) confidence: f64,
    /// The sample as a PNG.
    pub(super) picture: Vec<u8>,
}

/// Predictions of one run of a group.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// Name of the run.
    pub(super) run: String,
    pub(super) data: String,
    pub(super) wrong: usize,
    pub(super) samples: usize,
    /// Whether confidences are probabilities.
    pub(super) probabilities: bool,
    /// Wrong predictions by falling confidence, then the first right ones.
    pub(super) shown: Vec<Answer>,
}

/// Returns the predictions of the first run with weights of each group, or the reason for missing
/// ones.
pub(super) fn of_all(groups: &[Group], plan: &Plan, done: &mut dyn FnMut(usize, usize)) -> Vec<Result<Answers, String>> {
    // Data set of the previous group, often the same.
    let mut kept = None;
    let mut all = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        done(g, groups.len());
        let run = group.runs.iter().find(|run| run.dir.join(WEIGHTS).exists());
        all.push(match run {
            None => Err("no weights are saved".into()),
            Some(run) => answers(run, &mut kept, plan).map_err(|e| e.to_string()),
        });
    }
    done(groups.len(), groups.len());
    all
}

/// Test samples with their name and limits.
type Kept = Option<(String, LoadOptions, Dataset)>;

fn answers(run: &Run, kept: &mut Kept, plan: &Plan) -> Result<Answers> {
    let (saved, notes) = weights::load(&run.dir.join(WEIGHTS))?;
    match saved {
        Saved::F32(net) => of_network(run, &net, &notes, kept, plan),
        Saved::F64(net) => of_network(run, &net, &notes, kept, plan),
    }
}

fn of_network<T: Real>(run: &Run, net: &Network<T>, notes: &Notes, kept: &mut Kept, plan: &Plan) -> Result<Answers> {
    let loss: Loss = notes.loss.parse()?;
    let set = run.setting("data").ok_or_else(|| Error::Setting("its configuration names no data set".into()))?;
    let limit = run.config.as_ref().and_then(|config| config.get("limit-test")?.as_integer());
    let limit_test = limit.and_then(|n| usize::try_from(n).ok());
    // The weights include the scaling of the inputs, so that one training sample is enough.
    let options = LoadOptions { classes: Some(net.labels()), limit_train: Some(1), limit_test };
    let data = match kept {
        Some((name, limits, data)) if (&*name, &*limits) == (&set, &options) => &*data,
        _ => {
            let data = data::load(&set, &options)?;
            &kept.insert((set, options, data)).2
        }
    };
    let outputs = forward(net, data, &notes.inputs, plan)?;
    let judged: Vec<_> = outputs.chunks_exact(net.labels()).map(|output| judge(output, loss)).collect();
    let wrong = |i: &usize| judged[*i].0 != data.test.labels[*i];
    let (mut bad, good): (Vec<usize>, Vec<usize>) = (0..judged.len()).partition(wrong);
    let wrong = bad.len();
    bad.sort_by(|a, b| judged[*b].1.total_cmp(&judged[*a].1).then(a.cmp(b)));
    bad.truncate(WRONG);
    let right = good.into_iter().take(SHOWN - bad.len());
    let (rows, cols) = data.image.ok_or_else(|| Error::Setting(format!("the samples of {} are not pictures", data.name)))?;
    let shown = bad.iter().copied().chain(right).map(|index| {
        let ((said, confidence), picture) = (judged[index], png(rows, cols, &gray(data, index)));
        Answer { index, label: data.test.labels[index], said, confidence, picture }
    });
    Ok(Answers {
        run: run.name(),
        data: data.name.clone(),
        wrong,
        samples: judged.len(),
        probabilities: loss == Loss::CrossEntropy,
        shown: shown.collect(),
    })
}

/// Returns the label units of all test samples, one row per sample.
fn forward<T: Real>(net: &Network<T>, data: &Dataset, inputs: &data::Affine, plan: &Plan) -> Result<Vec<f64>> {
    if data.features != net.inputs() {
        let what = format!("the network reads {} inputs, but {} has {}", net.inputs(), data.name, data.features);
        return Err(Error::Setting(what));
    }
    let samples = data.apply::<T>(inputs)?.test;
    let x = MatRef::new(&samples.x, samples.len, samples.features)?;
    let outputs = net.outputs_of(x, &mut Exec::new(plan.clone()))?;
    Ok(outputs.data().iter().map(|y| y.to_f64()).collect())
}

/// Returns the winning unit (the first of equals) and its confidence.
fn judge(output: &[f64], loss: Loss) -> (u32, f64) {
    let best = (1..output.len()).fold(0, |best, j| if output[j] > output[best] { j } else { best });
    let confidence = match loss {
        Loss::CrossEntropy => 1.0 / output.iter().map(|y| libm::exp(y - output[best])).sum::<f64>(),
        _ => output[best],
    };
    (best as u32, confidence)
}

/// Returns the values of a test sample as bytes; full scale is 255.
fn gray(data: &Dataset, index: usize) -> Vec<u8> {
    let range = index * data.features..(index + 1) * data.features;
    let level = |v: f64| (255.0 * v / data.full_scale).round().clamp(0.0, 255.0) as u8;
    match &data.test.x {
        Features::Bytes(v) => v[range].iter().map(|&b| level(f64::from(b))).collect(),
        Features::Floats(v) => v[range].iter().map(|&x| level(x)).collect(),
    }
}

/// Encodes a gray picture of rows × cols bytes as PNG (ISO/IEC 15948).
///
/// The data are stored without compression: pictures are small, and bytes do not depend on a
/// compressor.
fn png(rows: usize, cols: usize, gray: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut check = flate2::Crc::new();
        check.update(kind);
        check.update(data);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(data);
        file.extend(check.sum().to_be_bytes());
    };
    let mut header = [(cols as u32).to_be_bytes(), (rows as u32).to_be_bytes()].concat();
    // 8 bits per pixel, gray, deflate, standard filters, not interlaced.
    header.extend([8, 0, 0, 0, 0]);
    chunk(b"IHDR", &header);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::none());
    let filled = gray.chunks_exact(cols).try_for_each(|row| pixels.write_all(&[0]).and_then(|()| pixels.write_all(row)));
    let pixels = filled.and_then(|()| pixels.finish()).expect("writes to memory succeed");
    chunk(b"IDAT", &pixels);
    chunk(b"IEND", &[]);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// Decodes by hand: signature, sizes, checksum of each chunk, and the pixels.
    #[test]
    fn a_png_holds_its_pixels() {
        let file = png(2, 3, &[0, 1, 2, 253, 254, 255]);
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut check = flate2::Crc::new();
            check.update(&rest[4..8 + length]);
            assert_eq!(check.sum().to_be_bytes(), rest[8 + length..12 + length]);
            chunks.push((&rest[4..8], &rest[8..8 + length]));
            rest = &rest[12 + length..];
        }
        assert_eq!(chunks.iter().map(|c| c.0).collect::<Vec<_>>(), [b"IHDR", b"IDAT", b"IEND"]);
        assert_eq!(chunks[0].1, [0, 0, 0, 3, 0, 0, 0, 2, 8, 0, 0, 0, 0]);
        let mut pixels = Vec::new();
        flate2::read::ZlibDecoder::new(chunks[1].1).read_to_end(&mut pixels).unwrap();
        assert_eq!(pixels, [0, 0, 1, 2, 0, 253, 254, 255]);
    }

    #[test]
    fn confidence_is_softmax_or_the_output() {
        assert_eq!(judge(&[0.25, 0.75, 0.75], Loss::Squared), (1, 0.75));
        assert_eq!(judge(&[3.0, 3.0], Loss::CrossEntropy), (0, 0.5));
        assert_eq!(judge(&[1e9, 0.0], Loss::CrossEntropy), (0, 1.0));
    }
}
