//! Words of devices: what a status means for a claim, and which version a device says.

use semver::{BuildMetadata, Version};

use super::table::Event;
use crate::status::Status;

impl Status {
    /// The event of this status in the life of a claim; `None` for [`Status::InstalledVersion`], which says a version.
    #[must_use]
    pub fn event(self) -> Option<Event> {
        Some(match self {
            Self::Init
            | Self::Test
            | Self::TestStep
            | Self::TestSuccess
            | Self::Download
            | Self::DownloadStep
            | Self::DownloadSuccess
            | Self::Install
            | Self::InstallStep => Event::Progress,
            Self::InstallSuccess => Event::Success,
            Self::TestError | Self::InstallError => Event::Failure,
            Self::DownloadError => Event::Transfer,
            Self::InstallAborted => Event::Declined,
            Self::InstalledVersion => return None,
        })
    }
}

/// The event of a version that a device says. `expected` are the texts that the image may say of itself, and `was` the one
/// that the device said at the grant.
#[must_use]
pub fn said<'a>(version: &str, expected: impl IntoIterator<Item = &'a str>, was: &str) -> Event {
    match expected.into_iter().any(|expected| is_same(expected, version)) {
        true => Event::Expected,
        false if is_same(was, version) => Event::Old,
        false => Event::Third,
    }
}

/// The same text, without blanks around it; or the same version, without its build metadata.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    let version = |text| Version::parse(text).ok().map(|version| Version { build: BuildMetadata::EMPTY, ..version });
    one == other || version(one).is_some_and(|one| Some(one) == version(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_and_a_no_are_no_failures() {
        let of = |name: &str| Status::parse(name).unwrap().event();
        assert_eq!(of("DOWNLOAD_ERROR"), Some(Event::Transfer));
        assert_eq!(of("INSTALL_ABORTED"), Some(Event::Declined));
        assert_eq!([of("TEST_ERROR"), of("INSTALL_ERROR")], [Some(Event::Failure); 2]);
        assert_eq!(of("INSTALL_SUCCESS"), Some(Event::Success));
        assert_eq!(of("INSTALLED_VERSION"), None);
        let progress = Status::ALL.iter().filter(|status| status.event() == Some(Event::Progress)).count();
        assert_eq!(progress, 9);
    }

    #[test]
    fn a_version_is_compared_as_text_and_without_its_build() {
        assert!(is_same(" 08-14-2021\n", "08-14-2021"));
        assert!(is_same("2.0.0+abc", "2.0.0+def"));
        assert!(!is_same("2.0.0-rc.1", "2.0.0"));
        assert!(!is_same("v2.0.0", "2.0.0"), "an image that says so has it in its list");
    }

    #[test]
    fn a_device_says_an_expected_version_or_its_old_one_or_a_third() {
        let said = |version| said(version, ["2.0.0", "rel-20"], "1.9.0");
        assert_eq!(
            [said("2.0.0+1"), said("rel-20"), said("1.9.0 "), said("2.0.1")],
            [Event::Expected, Event::Expected, Event::Old, Event::Third]
        );
        assert_eq!(super::said("1.9.0", ["1.9.0"], "1.9.0"), Event::Expected);
    }
}
