//! What a device reports on the way, and how it can end.

use std::fmt;

/// How one device's turn at an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It runs the new version, or says it installed it.
    Succeeded,
    /// It says that something went wrong.
    Failed,
    /// It was silent until its claim expired.
    TimedOut,
}

/// The statuses of Exosite's OTAU, in the order in which a device passes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the protocol's own
pub enum Status {
    Init,
    Test,
    TestStep,
    TestError,
    TestSuccess,
    Download,
    DownloadStep,
    DownloadSuccess,
    DownloadError,
    Install,
    InstallStep,
    InstallAborted,
    InstallError,
    InstallSuccess,
    InstalledVersion,
}

/// What a status means for the device's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusEffect {
    /// It is on the way.
    Progress,
    /// It has the update.
    Succeeded,
    /// This attempt failed; there may be another.
    Failed,
    /// It decided against the update and is not asked again.
    BackedOut,
}

const STATUSES: [(Status, &str, StatusEffect); 15] = [
    (Status::Init, "INIT", StatusEffect::Progress),
    (Status::Test, "TEST", StatusEffect::Progress),
    (Status::TestStep, "TEST_STEP", StatusEffect::Progress),
    (Status::TestError, "TEST_ERROR", StatusEffect::Failed),
    (Status::TestSuccess, "TEST_SUCCESS", StatusEffect::Progress),
    (Status::Download, "DOWNLOAD", StatusEffect::Progress),
    (Status::DownloadStep, "DOWNLOAD_STEP", StatusEffect::Progress),
    (Status::DownloadSuccess, "DOWNLOAD_SUCCESS", StatusEffect::Progress),
    (Status::DownloadError, "DOWNLOAD_ERROR", StatusEffect::Failed),
    (Status::Install, "INSTALL", StatusEffect::Progress),
    (Status::InstallStep, "INSTALL_STEP", StatusEffect::Progress),
    (Status::InstallAborted, "INSTALL_ABORTED", StatusEffect::BackedOut),
    (Status::InstallError, "INSTALL_ERROR", StatusEffect::Failed),
    (Status::InstallSuccess, "INSTALL_SUCCESS", StatusEffect::Succeeded),
    (Status::InstalledVersion, "INSTALLED_VERSION", StatusEffect::Succeeded),
];

impl Status {
    /// The status of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        STATUSES.iter().find(|(_, known, _)| *known == name).map(|(status, ..)| *status)
    }

    /// All names, for error messages and the API description.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STATUSES.iter().map(|(_, name, _)| *name)
    }

    /// What it means for the claim.
    #[must_use]
    pub fn effect(self) -> StatusEffect {
        STATUSES.iter().find(|(status, ..)| *status == self).map_or(StatusEffect::Progress, |(_, _, effect)| *effect)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STATUSES.iter().find(|(status, ..)| status == self).map_or("", |(_, name, _)| name);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_read_back_from_its_name_and_four_of_them_end_in_failure() {
        assert!(Status::names().all(|name| Status::parse(name).unwrap().to_string() == name));
        let failing = |name: &str| {
            matches!(Status::parse(name).unwrap().effect(), StatusEffect::Failed | StatusEffect::BackedOut)
        };
        let failures = Status::names().filter(|name| failing(name)).collect::<Vec<_>>();
        assert_eq!(failures, ["TEST_ERROR", "DOWNLOAD_ERROR", "INSTALL_ABORTED", "INSTALL_ERROR"]);
        assert_eq!(Status::parse("install_success"), None, "names are exact");
    }
}
