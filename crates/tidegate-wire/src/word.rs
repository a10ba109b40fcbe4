//! Enums whose values are words on the wire.

/// Declares an enum whose values are words: what it is, then each variant with its word and meaning.
/// A value that is no such word is refused with all words in the message.
macro_rules! words {
    ($(#[$meta:meta])* $Name:ident { $($(#[$variant_meta:meta])* $Variant:ident $word:literal,)+ }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        $(#[$meta])*
        pub enum $Name {
            $($(#[$variant_meta])* #[cfg_attr(feature = "schema", schema(rename = $word))] $Variant,)+
        }

        impl $Name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$Variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let known = Self::ALL.iter().map(|value| (*value, value.word()));
                $crate::word::read(deserializer, known)
            }
        }
    };
}
pub(crate) use words;

use serde::de::{Deserialize, Deserializer, Error};

/// Reads one of `known` words.
pub(crate) fn read<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    known: impl Iterator<Item = (T, &'static str)>,
) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let mut words = Vec::new();
    for (known, word) in known {
        if value.as_str() == Some(word) {
            return Ok(known);
        }
        words.push(format!("\"{word}\""));
    }
    Err(D::Error::custom(format!("must be {}", words.join(" or "))))
}

/// The state of an update as a word.
pub(crate) mod state {
    use serde::{Deserializer, Serializer};
    use tidegate_core::State;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(crate) fn serialize<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(state.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        super::read(deserializer, State::ALL.into_iter().map(|state| (state, state.name())))
    }
}

/// The state of an update as a word, or `null`.
pub(crate) mod maybe_state {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tidegate_core::State;

    #[derive(Serialize, Deserialize)]
    struct Word(#[serde(with = "super::state")] State);

    #[allow(clippy::ref_option, reason = "serde asks for it")]
    pub(crate) fn serialize<S: Serializer>(state: &Option<State>, serializer: S) -> Result<S::Ok, S::Error> {
        state.map(Word).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<State>, D::Error> {
        Ok(Option::<Word>::deserialize(deserializer)?.map(|word| word.0))
    }
}
