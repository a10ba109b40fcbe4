//! Statuses that a device reports. What each means for a claim is in [`word`](crate::life::word).

use std::fmt;

macro_rules! statuses {
    ($($status:ident $name:literal),+ $(,)?) => {
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
        }
    };
}

statuses! {
    Init             "INIT",
    Test             "TEST",
    TestStep         "TEST_STEP",
    TestError        "TEST_ERROR",
    TestSuccess      "TEST_SUCCESS",
    Download         "DOWNLOAD",
    DownloadStep     "DOWNLOAD_STEP",
    DownloadSuccess  "DOWNLOAD_SUCCESS",
    DownloadError    "DOWNLOAD_ERROR",
    Install          "INSTALL",
    InstallStep      "INSTALL_STEP",
    InstallAborted   "INSTALL_ABORTED",
    InstallError     "INSTALL_ERROR",
    InstallSuccess   "INSTALL_SUCCESS",
    InstalledVersion "INSTALLED_VERSION",
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
    fn every_status_is_read_back_from_its_name() {
        assert!(Status::names().all(|name| Status::parse(name).unwrap().to_string() == name));
        assert_eq!(Status::parse("install_success"), None, "names are exact");
    }
}
