//! Names of the backends. `gemm/foreign.rs` calls them.

use crate::base::error::Error;
use alloc::string::String;
use alloc::vec::Vec;

/// The library that computes products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// This crate's kernels, the only ones that guarantee bits.
    Native,
    /// The `matrixmultiply` crate. Each thread of the plan calls it on its own columns.
    #[cfg(feature = "matrixmultiply")]
    MatrixMultiply,
    /// The system's OpenBLAS. It uses its own threads. Set `OPENBLAS_NUM_THREADS=1`, or link the
    /// serial build, to let [`Par`](crate::Par) decide. A serial build is not reentrant, so its
    /// calls run one at a time.
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

    /// Returns the backend of this name: `native`, `matrixmultiply` or `openblas`.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`] if this build does not contain it.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::available().find(|b| b.name() == name).ok_or_else(|| {
            let available: Vec<_> = Self::available().map(Self::name).collect();
            Error::BackendUnavailable { name: String::from(name), available: available.join(", ") }
        })
    }

    /// Returns the name that [`Backend::named`] accepts.
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
