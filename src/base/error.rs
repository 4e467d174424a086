//! The error type of the crate.

use gaitprop_kernels::Real;
use std::path::PathBuf;

/// Error of this crate. The message is one line and names the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Error of the kernels: shapes, scratch memory, instruction sets.
    #[error(transparent)]
    Kernel(#[from] gaitprop_kernels::Error),
    /// Setting that is out of range or contradicts another.
    #[error("{0}")]
    Setting(String),
    /// Kernels compute wrong bits on this machine.
    #[error(
        "{checks} checks found wrong bits, the first: {first}; do not trust results of this instruction set on this machine, and please report it"
    )]
    WrongBits {
        /// Number of checks that failed.
        checks: usize,
        /// Message of the first failed check.
        first: String,
    },
    /// Layers of a network do not match.
    #[error("layer {layer}: {what}")]
    Architecture {
        /// Index of the layer, from 0.
        layer: usize,
        /// Description of the mismatch.
        what: String,
    },
    /// The weights of a layer are singular or nearly singular, and their inverse is needed.
    #[error(
        "layer {layer}: the weights are singular or nearly so (condition number about {condition:.1e}): the inverse is not accurate in {precision}"
    )]
    Singular {
        /// Index of the layer, from 0.
        layer: usize,
        /// Estimate of the condition number in the 1-norm; infinite for an exact zero pivot.
        condition: f64,
        /// `f32` or `f64`.
        precision: &'static str,
    },
    /// The weights are not orthogonal enough to use Wᵀ as W⁻¹.
    #[error(
        "layer {layer}: the weights are not orthogonal enough to use their transpose as the inverse (residual {residual:.1e})"
    )]
    NotOrthogonal {
        /// Index of the layer, from 0.
        layer: usize,
        /// Relative residual ‖r − e W‖ / ‖r‖ of the solve.
        residual: f64,
    },
    /// The Jacobian of the label units with respect to a layer does not have full rank, so that its
    /// Gauss-Newton target is not determined.
    #[error(
        "layer {layer}, sample {sample}: the Jacobian of the outputs does not have full rank in {precision}, so its Gauss-Newton target is not determined with damping {damping}: use more damping"
    )]
    RankDeficient {
        /// Index of the layer, from 0.
        layer: usize,
        /// Index of the sample in the batch, from 0.
        sample: usize,
        /// Damping λ.
        damping: f64,
        /// `f32` or `f64`.
        precision: &'static str,
    },
    /// The weights are too far from orthogonal for the retraction.
    #[error("layer {layer}: the weights are too far from orthogonal for the retraction (|W W\u{1d40} - I| = {distance:.1e})")]
    TooFar {
        /// Index of the layer, from 0.
        layer: usize,
        /// ‖W Wᵀ − I‖ (Frobenius norm, shorter side) when the iteration ended.
        distance: f64,
    },
    /// A target is outside the range of a layer's activation, which has no inverse there.
    #[error("layer {layer}, sample {sample}, unit {unit}: the target is outside the range of the activation")]
    OutOfRange {
        /// Index of the layer, from 0.
        layer: usize,
        /// Index of the sample in the batch, from 0.
        sample: usize,
        /// Index of the unit in the layer, from 0.
        unit: usize,
    },
    /// Training diverged: a value became infinite or NaN.
    #[error(
        "training diverged{}: {what} of layer {layer} is not finite",
        if *step > 0 { format!(" in step {step}") } else { String::new() }
    )]
    Diverged {
        /// Name of the value that is not finite.
        what: &'static str,
        /// Index of the layer, from 0.
        layer: usize,
        /// Training step, from 1; 0 for an update outside training.
        step: u64,
    },
    /// A file could not be read or written.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// Attempted operation, as a verb.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A label of a data set is not below the number of classes.
    #[error("{path}: label {label} at index {index}, but there are {classes} classes", path = path.display())]
    Label {
        /// File with the labels.
        path: PathBuf,
        /// Index of the sample in the file, from 0.
        index: usize,
        /// Label found.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A file has invalid contents: data, weights, a checkpoint or a configuration.
    #[error("{path}: {what}", path = path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Description of the fault.
        what: String,
    },
    /// The system refused an allocation.
    #[error("cannot allocate about {gib:.1} GiB of memory for {what}", gib = *bytes as f64 / f64::from(1u32 << 30))]
    Memory {
        /// Purpose of the memory.
        what: &'static str,
        /// Number of bytes requested.
        bytes: usize,
    },
    /// The system refused to start threads.
    #[error("cannot start {threads} threads: {what}")]
    Threads {
        /// Number of threads requested.
        threads: usize,
        /// Message of the system.
        what: String,
    },
}

/// Result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// Returns a conversion from an I/O error that adds the attempted operation and the path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Adds the step number to [`Error::Diverged`].
    pub(crate) fn in_step(mut self, number: u64) -> Self {
        if let Self::Diverged { step, .. } = &mut self {
            *step = number;
        }
        self
    }

    /// Names the layer of a solver's error: a solver knows only the number that its factors have.
    pub(crate) fn of_layer(mut self, index: usize) -> Self {
        if let Self::Singular { layer, .. } | Self::NotOrthogonal { layer, .. } | Self::Diverged { layer, .. } = &mut self {
            *layer = index;
        }
        self
    }
}

/// Refuses a positive setting that rounds to 0 or infinity in the element type.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn check_rounded<T: Real>(name: &str, value: f64) -> Result<()> {
    let rounded = T::from_f64(value);
    if rounded.is_finite() && (rounded != T::ZERO || value == 0.0) {
        return Ok(());
    }
    Err(Error::Setting(format!("{name} is {value:e}, which {} rounds to {rounded}: use one closer to 1, or f64", T::NAME)))
}
