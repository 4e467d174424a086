//! Instruction sets: detection, and a type that proves it.

use crate::base::error::Error;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Portable,
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    Avx2,
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

#[cfg(all(feature = "std", target_arch = "aarch64"))]
use std::arch::is_aarch64_feature_detected as detected;
// Detects a CPU feature, including operating-system support for its registers. Without `std` only
// features enabled at compile time (`-C target-feature`) count.
#[cfg(all(feature = "std", target_arch = "x86_64", target_feature = "sse2"))]
use std::arch::is_x86_feature_detected as detected;
#[cfg(all(not(feature = "std"), any(all(target_arch = "x86_64", target_feature = "sse2"), target_arch = "aarch64")))]
macro_rules! detected {
    ($feature:literal) => {
        cfg!(target_feature = $feature)
    };
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
fn all<const N: usize>(detected: [bool; N]) -> bool {
    detected == [true; N]
}

/// An instruction set that this CPU has. Only detection creates a value, so a value is the proof.
///
/// All instruction sets give the same bits and differ in speed only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

impl Isa {
    /// The portable kernels, which every CPU runs.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Returns every instruction set of this CPU, widest first. The portable one is always last.
    pub fn available() -> impl Iterator<Item = Self> {
        let mut found = [None; 3];
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        {
            // Exactly the features that the shells (`shells!`, and those of the tiles) enable.
            let fma = all([detected!("avx2"), detected!("fma")]);
            if fma && all([detected!("avx512f"), detected!("avx512dq"), detected!("avx512vl"), detected!("avx512bw")]) {
                found[0] = Some(Self(Kind::Avx512));
            }
            if fma {
                found[1] = Some(Self(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if detected!("neon") {
            found[0] = Some(Self(Kind::Neon));
        }
        found[2] = Some(Self::PORTABLE);
        found.into_iter().flatten()
    }

    /// Returns the widest instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::PORTABLE)
    }

    /// Returns the instruction set of this name: `avx512`, `avx2`, `neon`, `portable`, or `auto`
    /// for [`Isa::detect`].
    ///
    /// # Errors
    /// [`Error::IsaUnavailable`] if this CPU does not have it. There is no fallback to another one.
    pub fn named(name: &str) -> Result<Self, Error> {
        if name == "auto" {
            return Ok(Self::detect());
        }
        Self::available().find(|isa| isa.name() == name).ok_or_else(|| {
            let available: Vec<_> = Self::available().map(Self::name).collect();
            Error::IsaUnavailable { name: String::from(name), available: available.join(", ") }
        })
    }

    /// Returns the name that [`Isa::named`] accepts.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            Kind::Avx2 => "avx2",
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    pub(crate) const fn kind(self) -> Kind {
        self.0
    }

    /// Returns AVX2 for AVX-512, which includes it, and any other instruction set itself.
    pub(crate) const fn at_most_256_bits(self) -> Self {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            Kind::Avx512 => Self(Kind::Avx2),
            other => Self(other),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_unknown_ones_are_refused() {
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
        assert_eq!(Isa::available().last(), Some(Isa::PORTABLE));
        let error = Isa::named("sse9").unwrap_err().to_string();
        assert!(error.contains("sse9") && error.contains("portable"), "{error}");
    }
}
