//! Reports: what images say of themselves, where that is not the version of their update.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::life::word::is_same;

/// The texts that the images of a product say of themselves, with the versions of their updates. A device that says such
/// a text runs that version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports(Vec<(String, Version)>);

impl Reports {
    /// The texts of these updates.
    #[must_use]
    pub fn new(texts: impl IntoIterator<Item = (String, Version)>) -> Self {
        let mut texts = texts.into_iter().collect::<Vec<_>>();
        // Two updates with the same image say the same: the device runs both, and the higher one counts.
        texts.sort_by(|(_, one), (_, other)| other.cmp_precedence(one));
        Self(texts)
    }

    /// The version that a device runs when it says `text`; `None` if that is neither known nor a version.
    #[must_use]
    pub fn version_of(&self, text: &str) -> Option<Version> {
        let known = self.0.iter().find(|(known, _)| is_same(known, text)).map(|(_, version)| version.clone());
        let said = Version::parse(text.trim()).ok();
        match (known, said) {
            // An image never makes a device older than it says.
            (Some(known), Some(said)) if said.cmp_precedence(&known).is_gt() => Some(said),
            (Some(known), _) => Some(known),
            (None, said) => said,
        }
    }

    /// Returns true if no image says anything but its version.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_runs_the_highest_update_whose_image_says_so() {
        let texts =
            [("1.5.0", Version::new(2, 0, 1)), ("1.5.0", Version::new(2, 0, 0)), ("spring", Version::new(3, 0, 0))];
        let reports = Reports::new(texts.map(|(text, version)| (text.to_string(), version)));
        let version_of = |text| reports.version_of(text).map(|version| version.to_string());
        assert_eq!(version_of("1.5.0+lab"), Some("2.0.1".into()), "build metadata is no part of it");
        assert_eq!(version_of(" spring "), Some("3.0.0".into()));
        assert_eq!([version_of("1.4.0"), version_of("autumn")], [Some("1.4.0".into()), None]);
        let lower = Reports::new([("2.0.0".to_string(), Version::new(1, 0, 0))]);
        assert_eq!(lower.version_of("2.0.0"), Some(Version::new(2, 0, 0)));
    }
}
