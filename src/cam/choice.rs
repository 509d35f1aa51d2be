//! Options that a user names: one spelling each, and help when it is misspelt.

/// A name that is none of an option's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`{} known: {}", nearest_hint(.name, .known), .known.join(", "))]
pub struct UnknownChoice {
    /// What was being chosen, such as `colormap`.
    pub what: &'static str,
    /// What was given.
    pub name: String,
    /// What could have been given.
    pub known: Vec<&'static str>,
}

/// `, did you mean ...?` where a known name is close enough to be a slip of the pen, else a semicolon.
fn nearest_hint(name: &str, known: &[&'static str]) -> String {
    const SIMILAR: f64 = 0.8;
    let name = name.to_lowercase();
    let scored = known.iter().map(|k| (strsim::jaro_winkler(&name, k), k));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, nearest)) if score >= SIMILAR => format!(", did you mean `{nearest}`?"),
        _ => ";".to_owned(),
    }
}

/// `Display`, `FromStr`, `Serialize` and `Deserialize` for an enum that has `ALL` and `name`: all use the one spelling of `name`.
macro_rules! impl_choice {
    ($type:ty, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::cam::UnknownChoice;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|choice| choice.name() == name).ok_or_else(|| $crate::cam::UnknownChoice {
                    what: $what,
                    name: name.to_owned(),
                    known: Self::ALL.iter().map(|choice| choice.name()).collect(),
                })
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

pub(crate) use impl_choice;
