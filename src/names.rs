//! Choices by name: what is read from a flag or a file, and written to one.

/// Implements `name`, `FromStr` and `Display` for an enum of plain choices. The error lists the names.
macro_rules! names {
    ($kind:ty, $what:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl std::str::FromStr for $kind {
            type Err = $crate::Error;
            fn from_str(given: &str) -> $crate::Result<Self> {
                match given {
                    $($name => Ok(Self::$variant),)+
                    _ => {
                        let known = $crate::names::either(&[$($name),+]);
                        Err($crate::Error::Setting(format!("unknown {} `{given}`: use {known}", $what)))
                    }
                }
            }
        }

        impl $kind {
            /// The name that is read and written.
            #[allow(unreachable_pub)] // some of the enums are the program's own
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use names;

/// `a, b or c`.
pub(crate) fn either(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
