//! Everything that can go wrong because of what a caller gave.

use std::path::PathBuf;

/// An error of this crate; its message is one line that names the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From the kernels: shapes, scratch, instruction sets.
    #[error(transparent)]
    Kernel(#[from] gaitprop_kernels::Error),
    /// A setting that is out of range or contradicts another.
    #[error("{0}")]
    Setting(String),
    /// Kernels that give other bits on this machine than they should.
    #[error(
        "{checks} of the checks found wrong bits, the first: {first}; do not trust results of this machine by that instruction set, and please report it"
    )]
    WrongBits {
        /// How many checks did.
        checks: usize,
        /// What the first one says.
        first: String,
    },
    /// A network whose layers do not fit together.
    #[error("layer {layer}: {what}")]
    Architecture {
        /// Index of the layer, from 0.
        layer: usize,
        /// What does not fit.
        what: String,
    },
    /// The inverse of a layer's weights is needed, but they are singular or too close to it.
    #[error(
        "layer {layer}: the weights are singular or nearly so (condition number about {condition:.1e}): their inverse means nothing in {precision}"
    )]
    Singular {
        /// Index of the layer, from 0.
        layer: usize,
        /// Estimate of the condition number in the 1-norm; infinite for an exact zero pivot.
        condition: f64,
        /// `f32` or `f64`.
        precision: &'static str,
    },
    /// Wᵀ was to stand for W⁻¹, but the weights are not orthogonal enough for it.
    #[error(
        "layer {layer}: the weights are not orthogonal enough for their transpose to be their inverse (residual {residual:.1e})"
    )]
    NotOrthogonal {
        /// Index of the layer, from 0.
        layer: usize,
        /// ‖r − e W‖ / ‖r‖ that was left.
        residual: f64,
    },
    /// Weights cannot be pulled back to orthogonal ones.
    #[error("layer {layer}: the weights are too far from orthogonal to be pulled back (|W W\u{1d40} - I| = {distance:.1e})")]
    TooFar {
        /// Index of the layer, from 0.
        layer: usize,
        /// ‖W Wᵀ − I‖ (Frobenius, of the shorter side) where the iteration ended.
        distance: f64,
    },
    /// A target lies outside the range of a layer's activation.
    #[error("layer {layer}, sample {sample}, unit {unit}: the target lies outside the activation's range, so it has no inverse")]
    OutOfRange {
        /// Index of the layer, from 0.
        layer: usize,
        /// Row of the batch.
        sample: usize,
        /// Activation of the layer.
        unit: usize,
    },
    /// Training left the finite numbers.
    #[error(
        "training diverged{}: {what} of layer {layer} is not finite",
        if *step > 0 { format!(" in step {step}") } else { String::new() }
    )]
    Diverged {
        /// What was not finite.
        what: &'static str,
        /// Index of the layer, from 0.
        layer: usize,
        /// The step, from 1; 0 if only an update was asked for.
        step: u64,
    },
    /// A file could not be read or written.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A label of a data set that is beyond the number of classes.
    #[error("{path}: label {label} at index {index}, but there are {classes} classes", path = path.display())]
    Label {
        /// The file of the labels.
        path: PathBuf,
        /// The sample, from 0, in the file's order.
        index: usize,
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// A file that does not hold what it should: data, weights, a checkpoint, a configuration.
    #[error("{path}: {what}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refuses memory.
    #[error("{what} would hold about {gib:.1} GiB, more memory than the system gives", gib = *bytes as f64 / f64::from(1u32 << 30))]
    Memory {
        /// What the memory is for.
        what: &'static str,
        /// How many bytes it would hold.
        bytes: usize,
    },
    /// Threads could not be started.
    #[error("cannot start {threads} threads: {what}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        what: String,
    },
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// An I/O error with its path and what was attempted.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
