//! Enums that flags and files refer to by name.

/// Implements `name`, `FromStr`, `Display`, serde's traits and clap's `ValueEnum` for an enum
/// without fields. Errors list the names.
macro_rules! names {
    ($kind:ty, $what:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl std::str::FromStr for $kind {
            type Err = $crate::base::error::Error;
            fn from_str(given: &str) -> $crate::base::error::Result<Self> {
                match given {
                    $($name => Ok(Self::$variant),)+
                    _ => {
                        let known = $crate::base::names::either(&[$($name),+]);
                        Err($crate::base::error::Error::Setting(format!("unknown {} `{given}`: use {known}", $what)))
                    }
                }
            }
        }

        impl $kind {
            /// Returns the name that flags and files use.
            #[allow(unreachable_pub)] // some enums are private to the program
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

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "cli")]
        impl clap::ValueEnum for $kind {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }
            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                Some(self.name().into())
            }
        }
    };
}
pub(crate) use names;

/// Joins names: `a, b or c`.
pub(crate) fn either(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Returns `message` on one line, with control characters escaped.
///
/// Text quoted from files can therefore not move the cursor of a terminal.
pub fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for word in message.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if c.is_control() {
                line.extend(c.escape_debug());
            } else {
                line.push(c);
            }
        }
    }
    line
}
