//! Loss and accuracy on samples, and batches of them.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::data::{self, SamplesRef};
use crate::model::loss::{self, Loss, Score};
use crate::model::network::{Network, Trace};
use gaitprop_kernels::{MatRef, Plan, Real};

/// Number of samples evaluated at a time: enough for full tiles, few enough to stay in cache.
const EVALUATION_BATCH: usize = 240;

/// Returns loss and accuracy of a network on `samples`.
///
/// # Errors
/// [`Error::Architecture`] if the samples do not fit the network; [`Error::Setting`] for a label
/// beyond its classes.
pub fn evaluate<'a, T: Real>(
    net: &Network<T>,
    samples: impl TryInto<SamplesRef<'a, T>, Error: Into<Error>>,
    loss: Loss,
    plan: &Plan,
) -> Result<Score> {
    let samples = samples.try_into().map_err(Into::into)?;
    check_samples(samples, net)?;
    let (len, labels) = (samples.len(), net.labels());
    let mut trace = Trace::new(net, EVALUATION_BATCH.min(len));
    let mut exec = Exec::new(plan.clone());
    let mut target = vec![T::ZERO; EVALUATION_BATCH * labels];
    let mut score = Score::default();
    for first in (0..len).step_by(EVALUATION_BATCH) {
        let count = EVALUATION_BATCH.min(len - first);
        let target = &mut target[..count * labels];
        data::one_hot(&samples.labels[first..first + count], labels, target);
        net.forward(samples.x.rows(first, count), &mut trace, &mut exec)?;
        score.add(loss::score(loss, trace.output(), MatRef::new(target, count, labels)?, None)?);
    }
    Ok(score)
}

/// Checks that the samples fit the network and have one valid label each.
pub(super) fn check_samples<T: Real>(samples: SamplesRef<'_, T>, net: &Network<T>) -> Result<()> {
    let (len, features) = samples.x.shape();
    if features != net.inputs() {
        let what = format!("it reads {} inputs, but the samples have {features} features", net.inputs());
        return Err(Error::Architecture { layer: 0, what });
    }
    if samples.labels.len() != len || u32::try_from(len).is_err() {
        let labels = samples.labels.len();
        return Err(Error::Setting(format!("{len} samples cannot have {labels} labels")));
    }
    if let Some(i) = samples.labels.iter().position(|&l| l as usize >= net.labels()) {
        let (label, labels) = (samples.labels[i], net.labels());
        return Err(Error::Setting(format!("sample {i} has label {label}, but the network has {labels} classes")));
    }
    Ok(())
}

/// Copies the samples of a batch into contiguous rows and writes their one-hot targets.
pub(super) fn gather<'b, T: Real>(
    samples: SamplesRef<'_, T>,
    batch: &[u32],
    labels: usize,
    input: &'b mut [T],
    target: &'b mut [T],
) -> Result<(MatRef<'b, T>, MatRef<'b, T>)> {
    let n = samples.x.ncols();
    for (to, &i) in input.chunks_exact_mut(n.max(1)).zip(batch) {
        match samples.x.row(i as usize) {
            Some(row) => to.copy_from_slice(row),
            None => to.iter_mut().enumerate().for_each(|(j, v)| *v = samples.x.get(i as usize, j)),
        }
    }
    let target = &mut target[..batch.len() * labels];
    target.fill(T::ZERO);
    for (row, &i) in target.chunks_exact_mut(labels).zip(batch) {
        row[samples.labels[i as usize] as usize] = T::ONE;
    }
    Ok((MatRef::new(&input[..batch.len() * n], batch.len(), n)?, MatRef::new(target, batch.len(), labels)?))
}
