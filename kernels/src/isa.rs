//! Which instruction set a kernel runs on.

use crate::Error;
use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// An instruction set that THIS CPU has: a value of this type is the proof, since only detection can make one.
///
/// Every one gives the same bits; the choice is one of speed alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

impl Isa {
    /// The portable kernels: present everywhere.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Every instruction set that can run here, the widest first; the last is always the portable one.
    pub fn available() -> impl Iterator<Item = Self> {
        let mut found = [None; 3];
        #[cfg(target_arch = "x86_64")]
        {
            // Exactly the features that `shells!` and the shells in `simd` enable.
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fma
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
            {
                found[0] = Some(Self(Kind::Avx512));
            }
            if fma {
                found[1] = Some(Self(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found[0] = Some(Self(Kind::Neon));
        }
        found[2] = Some(Self::PORTABLE);
        found.into_iter().flatten()
    }

    /// The widest instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::PORTABLE)
    }

    /// By name: `avx512`, `avx2`, `neon`, `portable`, or `auto` for [`Isa::detect`].
    ///
    /// # Errors
    /// [`Error::IsaUnavailable`] if this CPU does not have it; nothing else is ever run in its stead.
    pub fn named(name: &str) -> Result<Self, Error> {
        if name == "auto" {
            return Ok(Self::detect());
        }
        Self::available().find(|isa| isa.name() == name).ok_or_else(|| Error::IsaUnavailable { name: name.to_owned() })
    }

    /// The name that [`Isa::named`] takes.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    pub(crate) const fn kind(self) -> Kind {
        self.0
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
