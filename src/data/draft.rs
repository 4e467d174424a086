//! Data sets between the loaders and [`Dataset`]: label check, test split and limits.

use crate::base::error::{Error, Result};
use crate::base::memory::ask_for;
use crate::data::{Dataset, Features, LoadOptions, MAX_CLASSES, Split, wrong};
use std::path::PathBuf;

/// One part of a data set from a loader.
pub(super) struct Part {
    pub(super) sample_shape: Vec<usize>,
    pub(super) split: Split,
    /// File of the samples.
    pub(super) samples_path: PathBuf,
    /// File of the labels.
    pub(super) path: PathBuf,
}

/// Data set before the label check, the test split and the limits.
pub(super) struct Draft {
    pub(super) name: String,
    /// Folder or file, for messages about the data set.
    pub(super) path: PathBuf,
    pub(super) default_classes: u64,
    /// `None` for max |x| of the training set.
    pub(super) full_scale: Option<f64>,
    pub(super) train: Part,
    pub(super) test: Option<Part>,
}

impl Draft {
    pub(super) fn finish(self, options: &LoadOptions) -> Result<Dataset> {
        let classes = self.classes(options)?;
        for part in std::iter::once(&self.train).chain(&self.test) {
            if let Some(index) = part.split.labels.iter().position(|&l| l as usize >= classes) {
                let label = part.split.labels[index];
                return Err(Error::Label { path: part.path.clone(), index, label, classes });
            }
        }

        let shape = self.train.sample_shape;
        let features: usize = shape.iter().product();
        let (mut train, mut test) = match self.test {
            Some(test) if test.sample_shape != shape => {
                let what = format!("test samples have shape {:?}, training samples {shape:?}", test.sample_shape);
                return Err(wrong(&test.samples_path, what));
            }
            Some(test) => (self.train.split, test.split),
            None if self.train.split.len() < 5 => {
                let samples = self.train.split.len();
                let what = format!("{samples} samples and no test set: at least 5 are required to split off every fifth");
                return Err(wrong(&self.path, what));
            }
            None => {
                let Split { x, labels } = &self.train.split;
                ask_for(x.len() * x.size() + size_of_val(&labels[..]), "the split into training and test samples")?;
                every_fifth(&self.train.split, features)
            }
        };
        let limits = [(&mut train, options.limit_train, "training"), (&mut test, options.limit_test, "test")];
        for (split, limit, part) in limits {
            match limit {
                Some(0) => return Err(wrong(&self.path, format!("the limit of {part} samples is 0, but must be at least 1"))),
                Some(limit) => split.limit(limit, features),
                None => {}
            }
        }
        // The statistics use six numbers per feature.
        ask_for(features.saturating_mul(6 * size_of::<f64>()), "the statistics of all features")?;
        let full_scale = self.full_scale.unwrap_or_else(|| largest(&train.x));
        let image = match shape[..] {
            [rows, cols] => Some((rows, cols)),
            _ => None,
        };
        Ok(Dataset { name: self.name, features, classes, image, full_scale, train, validation: None, test })
    }

    fn classes(&self, options: &LoadOptions) -> Result<usize> {
        let classes = options.classes.map_or(self.default_classes, |c| c as u64);
        usize::try_from(classes).ok().filter(|c| (2..=MAX_CLASSES).contains(c)).ok_or_else(|| {
            wrong(
                &self.path,
                format!(
                    "the number of classes is {classes} (requested, or the largest label + 1), but must be 2 to {MAX_CLASSES}"
                ),
            )
        })
    }
}

/// Returns max |x|, or 1 if all values are 0, so that division is possible.
pub(super) fn largest(x: &Features) -> f64 {
    let max = match x {
        Features::Bytes(v) => f64::from(v.iter().copied().max().unwrap_or(0)),
        Features::Floats(v) => v.iter().fold(0.0, |m: f64, x| m.max(x.abs())),
    };
    if max > 0.0 { max } else { 1.0 }
}

/// Splits data without a test set: sample i is a test sample if i % 5 = 4. Keeps the order.
///
/// The split is fixed, so that all runs, machines and versions are measured on the same samples.
fn every_fifth(all: &Split, features: usize) -> (Split, Split) {
    fn rows<V: Copy>(values: &[V], features: usize, test: bool) -> Vec<V> {
        let kept = values.chunks_exact(features).enumerate().filter(|(i, _)| (i % 5 == 4) == test);
        let all = values.len() / features;
        let mut out = Vec::with_capacity(if test { all / 5 } else { all - all / 5 } * features);
        kept.for_each(|(_, row)| out.extend_from_slice(row));
        out
    }
    let part = |test: bool| Split {
        x: match &all.x {
            Features::Bytes(v) => Features::Bytes(rows(v, features, test)),
            Features::Floats(v) => Features::Floats(rows(v, features, test)),
        },
        labels: rows(&all.labels, 1, test),
    };
    (part(false), part(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_keeps_order_and_rows_together() {
        let all = Split { x: Features::Bytes((0..22).collect()), labels: (0..11).collect() };
        let (train, test) = every_fifth(&all, 2);
        assert_eq!(test.labels, [4, 9]);
        assert_eq!(test.x, Features::Bytes(vec![8, 9, 18, 19]));
        assert_eq!(train.labels, [0, 1, 2, 3, 5, 6, 7, 8, 10]);
        assert_eq!((train.x.len(), train.x.get(8)), (18, 10.0));
    }
}
