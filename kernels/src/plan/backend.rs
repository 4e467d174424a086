//! The names of the backends. Their calls are in `gemm/foreign.rs`.

use crate::base::error::Error;
use alloc::string::String;
use alloc::vec::Vec;

/// The library that computes products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// This crate's kernels: the only ones that promise bits.
    Native,
    /// The `matrixmultiply` crate, single-threaded on each part.
    #[cfg(feature = "matrixmultiply")]
    MatrixMultiply,
    /// A system OpenBLAS. Its own threads are its own business (`OPENBLAS_NUM_THREADS`): set that to 1, or link the serial build, when
    /// [`Par`](crate::Par) is to decide. A serial build must not be entered by two threads at once: its calls wait for one another.
    #[cfg(feature = "openblas")]
    OpenBlas,
}

impl Backend {
    /// Returns every backend of this build.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            Self::Native,
            #[cfg(feature = "matrixmultiply")]
            Self::MatrixMultiply,
            #[cfg(feature = "openblas")]
            Self::OpenBlas,
        ]
        .into_iter()
    }

    /// By name: `native`, `matrixmultiply`, `openblas`.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`] if it is not in this build.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::available().find(|b| b.name() == name).ok_or_else(|| {
            let available: Vec<_> = Self::available().map(Self::name).collect();
            Error::BackendUnavailable { name: String::from(name), available: available.join(", ") }
        })
    }

    /// The name that [`Backend::named`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            #[cfg(feature = "matrixmultiply")]
            Self::MatrixMultiply => "matrixmultiply",
            #[cfg(feature = "openblas")]
            Self::OpenBlas => "openblas",
        }
    }
}
