//! Ids of products, devices and updates, checked once at the edge.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {longest} characters out of A-Z a-z 0-9 {others}")]
pub struct IdError {
    what: &'static str,
    longest: usize,
    others: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $others:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// The id with this text.
            ///
            /// # Errors
            /// If the text is empty, too long, or has a character that storage keys or URLs would change.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let fits = |c: char| c.is_ascii_alphanumeric() || $others.contains(c);
                if text.is_empty() || text.len() > $longest || !text.chars().all(fits) {
                    return Err(IdError { what: $what, longest: $longest, others: $others });
                }
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of a product, a line of devices. Storage keys start with it, so it never contains their separator `#`.
    ProductId, "a product id", 64, "._-"
);
id!(
    /// Id of a device, such as a serial number, a ULID or a MAC address.
    DeviceId, "a device id", 128, "._:@+=-"
);
id!(
    /// Id of an update in one of its campaigns: the product's id, a dot, and a hash.
    UpdateId, "an update id", 85, "._-"
);

/// The version without its build metadata, which has no part in precedence.
#[must_use]
pub fn without_build(version: &Version) -> Version {
    Version { build: semver::BuildMetadata::EMPTY, ..version.clone() }
}

impl UpdateId {
    /// The id of a product's update to `version` in the campaign of this number. The first campaign has the number 1.
    ///
    /// The id is computed, not random: a repeated create names the same update. Build metadata has no part in it, because
    /// two versions that differ only in build metadata have the same precedence and could not both be live. The product is
    /// in front of the hash, because some agents report only the device id and the update id.
    #[must_use]
    pub fn of(product: &ProductId, version: &Version, campaign: u32) -> Self {
        let precedence = without_build(version);
        let mut hash = Sha256::new()
            .chain_update(b"tidegate update\0")
            .chain_update(product.as_str())
            .chain_update(b"\0")
            .chain_update(precedence.to_string());
        if campaign > 1 {
            hash.update(format!("\0{campaign}"));
        }
        let hex = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self(format!("{product}.{hex}"))
    }

    /// The product in the id.
    #[must_use]
    pub fn product(&self) -> Option<ProductId> {
        self.0.rsplit_once('.').and_then(|(product, _)| ProductId::new(product).ok())
    }
}

/// A text for a version without its build metadata. Texts sort as their versions do, which the versions themselves do not:
/// `10.0.0` is above `9.0.0`.
#[must_use]
pub fn sortable(version: &Version) -> String {
    use std::fmt::Write as _;
    // A letter for the number of digits comes before them.
    let number = |digits: &str| format!("{}{digits}", char::from(b'a'.saturating_add(digits.len().min(25) as u8)));
    let mut text = [version.major, version.minor, version.patch].map(|part| number(&part.to_string())).join(".");
    if version.pre.is_empty() {
        text.push('~');
        return text;
    }
    text.push('-');
    for identifier in version.pre.split('.') {
        // Numbers are below words, and a list is above its beginning: the comma is below every character of a word.
        let _infallible = match identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            true => write!(text, "0{},", number(identifier)),
            false => write!(text, "1{identifier},"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sortable_texts_sort_as_versions_do() {
        let parts = ["0", "1", "9", "10", "99", "18446744073709551615"];
        let ends = [
            "", "-0", "-1", "-9", "-10", "-a", "-a.0", "-a.1", "-a.10", "-a.9", "-a-b", "-a1", "-aa", "-A", "-rc1",
            "-rc1.b", "-0a", "-1.0",
        ];
        let mut versions = Vec::new();
        for major in parts {
            for patch in parts {
                versions.extend(ends.map(|end| Version::parse(&format!("{major}.7.{patch}{end}")).unwrap()));
            }
        }
        for one in &versions {
            for other in &versions {
                assert_eq!(one.cmp_precedence(other), sortable(one).cmp(&sortable(other)), "{one} and {other}");
            }
        }
        assert_eq!(sortable(&Version::parse("1.2.3+build").unwrap()), sortable(&Version::parse("1.2.3").unwrap()));
        assert_eq!(sortable(&Version::parse("1.12.0-rc.1").unwrap()), "b1.c12.b0-1rc,0b1,");
    }

    #[test]
    fn an_id_never_holds_the_separator_of_storage_keys() {
        assert!(ProductId::new("lamp#1").is_err());
        assert!(DeviceId::new("lamp/1").is_err());
        assert!(DeviceId::new("aa:bb:cc:dd:ee:ff").is_ok());
        assert_eq!(
            ProductId::new("").unwrap_err().to_string(),
            "a product id must be 1 to 64 characters out of A-Z a-z 0-9 ._-"
        );
    }

    #[test]
    fn an_update_id_differs_by_product_version_and_campaign_but_not_by_build_metadata() {
        let (lamp, door) = (ProductId::new("lamp").unwrap(), ProductId::new("door").unwrap());
        let version = |text: &str| Version::parse(text).unwrap();
        let id = UpdateId::of(&lamp, &version("1.2.0"), 1);
        assert_eq!(id.as_str().len(), "lamp.".len() + 20);
        assert_eq!(id.product(), Some(lamp.clone()));
        assert_eq!(id, UpdateId::of(&lamp, &version("1.2.0+build.7"), 1));
        assert_ne!(id, UpdateId::of(&lamp, &version("1.2.1"), 1));
        assert_ne!(id, UpdateId::of(&door, &version("1.2.0"), 1));
        assert_ne!(id, UpdateId::of(&lamp, &version("1.2.0"), 2));
    }
}
