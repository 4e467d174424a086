//! Activation functions by name. The kernels implement them: see [`Activation`].

use crate::base::error::{Error, Result};
pub use gaitprop_kernels::Activation;
use gaitprop_kernels::Real;

/// The published activation: leaky ReLU of slope 0.1 on every layer.
pub const PUBLISHED: Activation = Activation::LeakyRelu { slope: 0.1 };

/// Reads `identity` (or `linear`), `tanh`, `leaky-relu` (slope 0.1) or `leaky-relu:SLOPE`.
///
/// # Errors
/// [`Error::Setting`] for any other name. [`Error::Kernel`] for a slope that is not positive and
/// finite.
pub fn parse(name: &str) -> Result<Activation> {
    let activation = match name.split_once(':') {
        None if name == "identity" || name == "linear" => Activation::Identity,
        None if name == "tanh" => Activation::Tanh,
        None if name == "leaky-relu" => PUBLISHED,
        Some(("leaky-relu", slope)) => {
            let slope = slope.parse().map_err(|_| Error::Setting(format!("activation `{name}`: `{slope}` is not a number")))?;
            Activation::LeakyRelu { slope }
        }
        _ => {
            let known = "identity, tanh, leaky-relu or leaky-relu:SLOPE";
            return Err(Error::Setting(format!("unknown activation `{name}`: use {known}")));
        }
    };
    activation.check::<f64>()?;
    Ok(activation)
}

/// Returns the name that [`parse`] reads.
pub fn name(activation: Activation) -> String {
    match activation {
        Activation::Identity => "identity".into(),
        Activation::Tanh => "tanh".into(),
        Activation::LeakyRelu { slope } => format!("leaky-relu:{slope}"),
        other => format!("{other:?}"),
    }
}

/// Returns f⁻¹(y); `None` outside the range of f.
pub(crate) fn inverse<T: Real>(activation: Activation, y: T) -> Option<T> {
    match activation {
        Activation::LeakyRelu { slope } if y < T::ZERO => Some(y / T::from_f64(slope)),
        Activation::Tanh => (y.abs() < T::ONE).then(|| T::from_f64(libm::atanh(y.to_f64()))),
        _ => Some(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for activation in [
            Activation::Identity,
            Activation::Tanh,
            PUBLISHED,
            Activation::LeakyRelu { slope: 0.3 },
            Activation::LeakyRelu { slope: 2.0 },
        ] {
            assert_eq!(parse(&name(activation)).unwrap(), activation);
        }
        for bad in ["relu", "leaky-relu:0", "leaky-relu:-1", "leaky-relu:inf", "leaky-relu:NaN", "leaky-relu:x", "tanh:1", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
