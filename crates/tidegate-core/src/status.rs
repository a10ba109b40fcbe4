//! Statuses that a device reports, and the outcomes of an attempt.

use std::fmt;

/// Outcome of one attempt of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The device runs the new version, or reported that it installed it.
    Succeeded,
    /// The device reported a failure.
    Failed,
    /// The device did not report before its claim expired.
    TimedOut,
}

/// Effect of a status on the device's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusEffect {
    /// None: the attempt goes on.
    Progress,
    /// The device has the update.
    Succeeded,
    /// The attempt failed. Another attempt may follow.
    Failed,
    /// The device decided against the update. No other attempt follows.
    BackedOut,
}

macro_rules! statuses {
    ($($status:ident $name:literal $effect:ident),+ $(,)?) => {
        /// Status of Exosite's OTAU protocol, in the order in which a device passes through them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // the names are the protocol's
        pub enum Status { $($status),+ }

        impl Status {
            /// Every status.
            pub const ALL: &[Self] = &[$(Self::$status),+];

            /// Name in the protocol.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$status => $name),+ }
            }

            /// Effect on the device's claim.
            #[must_use]
            pub fn effect(self) -> StatusEffect {
                match self { $(Self::$status => StatusEffect::$effect),+ }
            }
        }
    };
}

statuses! {
    Init             "INIT"              Progress,
    Test             "TEST"              Progress,
    TestStep         "TEST_STEP"         Progress,
    TestError        "TEST_ERROR"        Failed,
    TestSuccess      "TEST_SUCCESS"      Progress,
    Download         "DOWNLOAD"          Progress,
    DownloadStep     "DOWNLOAD_STEP"     Progress,
    DownloadSuccess  "DOWNLOAD_SUCCESS"  Progress,
    DownloadError    "DOWNLOAD_ERROR"    Failed,
    Install          "INSTALL"           Progress,
    InstallStep      "INSTALL_STEP"      Progress,
    InstallAborted   "INSTALL_ABORTED"   BackedOut,
    InstallError     "INSTALL_ERROR"     Failed,
    InstallSuccess   "INSTALL_SUCCESS"   Succeeded,
    InstalledVersion "INSTALLED_VERSION" Succeeded,
}

impl Status {
    /// The status with this name. Names are exact.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.name() == name)
    }

    /// All names, for error messages and the API description.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|status| status.name())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
