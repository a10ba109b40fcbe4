//! Why an update was passed over: a code for programs, a sentence for people, and when time cures it.

use std::fmt;

use jiff::Timestamp;
use semver::{Version, VersionReq};

use crate::cohort::{Cohort, Share};

/// Why a rollout had no room for one more device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// `max_devices` have been offered the update.
    Full,
    /// The period's offers are used up.
    RateLimited {
        /// When the next period starts.
        opens_at: Option<Timestamp>,
    },
    /// `max_in_flight` devices have the offer and have not reported.
    TooManyInFlight,
    /// The rollout was paused a moment ago.
    Paused,
    /// The rollout was stopped a moment ago.
    Aborted,
}

/// What a device's protocol cannot carry of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeliverable {
    /// There is no file, and it carries nothing else.
    NoFile,
    /// The user must be asked, and it cannot.
    NoConsent,
    /// A file's SHA-1 is not known.
    NoSha1,
}

/// One reason against one update for one device.
#[derive(Debug, Clone, PartialEq)]
pub enum Objection {
    /// The device runs this version or a later one.
    UpToDate {
        /// What the device runs.
        device: Version,
    },
    /// The update cannot be installed over what the device runs.
    Incompatible {
        /// What the device runs.
        device: Version,
        /// What it can be installed over.
        from: Vec<VersionReq>,
    },
    /// The device's protocol cannot carry the update.
    Undeliverable {
        /// What it cannot.
        why: Undeliverable,
    },
    /// The policy says no.
    NotTargeted {
        /// The first attribute that the device does not state and the policy needed, if that was it.
        missing: Option<String>,
    },
    /// The policy could not be evaluated; doubt never widens the audience.
    PolicyUnclear {
        /// What could not be evaluated.
        why: String,
    },
    /// This device has failed the update often enough, or has decided against it.
    RejectedBefore {
        /// How many times it was offered.
        attempts: u32,
        /// It installed the update and went back, or said that it will not have it.
        backed_out: bool,
    },
    /// An operator holds the rollout.
    Paused,
    /// The rollout was stopped.
    Aborted {
        /// Why, where that is known.
        why: String,
    },
    /// The rollout is over.
    Ended {
        /// When it ended, where a time was set.
        at: Option<Timestamp>,
    },
    /// The rollout has not begun for this device.
    NotStarted {
        /// When it does.
        opens_at: Timestamp,
    },
    /// No window is open.
    OutsideWindow {
        /// When the next one opens.
        opens_at: Option<Timestamp>,
    },
    /// The present phase does not reach this device's place.
    NotInPhase {
        /// The device's place in the queue.
        cohort: Cohort,
        /// How far the present phase reaches.
        share: Share,
        /// When a phase reaches it, if one does.
        opens_at: Option<Timestamp>,
    },
    /// `max_devices` have been offered the update.
    Full {
        /// The limit.
        max_devices: Option<u64>,
    },
    /// The period's offers are used up.
    RateLimited {
        /// When the next period starts.
        opens_at: Option<Timestamp>,
    },
    /// Too many devices have the offer and have not said how it went.
    TooManyInFlight {
        /// The limit.
        max_in_flight: Option<u64>,
    },
}

/// Every code, in the order in which the rules are asked.
pub const CODES: [&str; 14] = [
    "up_to_date",
    "incompatible",
    "not_targeted",
    "policy_unclear",
    "rejected_before",
    "paused",
    "aborted",
    "ended",
    "not_started",
    "outside_window",
    "not_in_phase",
    "full",
    "rate_limited",
    "too_many_in_flight",
];

impl Objection {
    /// The code by which programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UpToDate { .. } => "up_to_date",
            Self::Incompatible { .. } | Self::Undeliverable { .. } => "incompatible",
            Self::NotTargeted { .. } => "not_targeted",
            Self::PolicyUnclear { .. } => "policy_unclear",
            Self::RejectedBefore { .. } => "rejected_before",
            Self::Paused => "paused",
            Self::Aborted { .. } => "aborted",
            Self::Ended { .. } => "ended",
            Self::NotStarted { .. } => "not_started",
            Self::OutsideWindow { .. } => "outside_window",
            Self::NotInPhase { .. } => "not_in_phase",
            Self::Full { .. } => "full",
            Self::RateLimited { .. } => "rate_limited",
            Self::TooManyInFlight { .. } => "too_many_in_flight",
        }
    }

    /// When time alone cures it.
    #[must_use]
    pub fn opens_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotStarted { opens_at } => Some(*opens_at),
            Self::OutsideWindow { opens_at } | Self::NotInPhase { opens_at, .. } | Self::RateLimited { opens_at } => {
                *opens_at
            }
            _ => None,
        }
    }

    /// Whether time or an operator can cure it: it is what the device waits for.
    #[must_use]
    pub fn cures_itself(&self) -> bool {
        self.is_waiting() || matches!(self, Self::NotStarted { .. } | Self::Paused)
    }

    /// Whether the device would get the update if it only waited its turn. With `when_full: wait`
    /// no older update is offered in its place.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::OutsideWindow { .. }
                | Self::NotInPhase { .. }
                | Self::Full { .. }
                | Self::RateLimited { .. }
                | Self::TooManyInFlight { .. }
        )
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpToDate { device } => write!(f, "the device already runs {device}"),
            Self::Incompatible { device, from } => {
                let from = from.iter().map(VersionReq::to_string).collect::<Vec<_>>().join(" or ");
                write!(f, "it can only be installed over {from}, and the device runs {device}")
            }
            Self::Undeliverable { why: Undeliverable::NoFile } => {
                write!(f, "it has no file, and the device's protocol carries only files")
            }
            Self::Undeliverable { why: Undeliverable::NoConsent } => {
                write!(f, "it asks for the user's consent, and the device's protocol cannot")
            }
            Self::Undeliverable { why: Undeliverable::NoSha1 } => {
                write!(f, "the device's protocol needs SHA-1, which was not computed when this update was activated")
            }
            Self::NotTargeted { missing: None } => write!(f, "its policy is not for this device"),
            Self::NotTargeted { missing: Some(name) } => {
                write!(f, "its policy asks for `{name}`, which the device does not state")
            }
            Self::PolicyUnclear { why } => write!(f, "its policy could not be evaluated: {why}"),
            Self::RejectedBefore { attempts, backed_out: false } => {
                write!(f, "the device was offered it {attempts} times and did not finish")
            }
            Self::RejectedBefore { backed_out: true, .. } => {
                write!(f, "the device had it and went back, or decided against it")
            }
            Self::Paused => write!(f, "its rollout is paused"),
            Self::Aborted { why } if why.is_empty() => write!(f, "its rollout was stopped"),
            Self::Aborted { why } => write!(f, "its rollout was stopped: {why}"),
            Self::Ended { at: None } => write!(f, "its rollout is over"),
            Self::Ended { at: Some(at) } => write!(f, "its rollout ended at {at}"),
            Self::NotStarted { opens_at } => write!(f, "its rollout starts for this device at {opens_at}"),
            Self::OutsideWindow { opens_at: Some(at) } => write!(f, "no window is open; the next opens at {at}"),
            Self::OutsideWindow { opens_at: None } => write!(f, "no window is open and none will open again"),
            Self::NotInPhase { cohort, share, opens_at } => {
                write!(
                    f,
                    "the present phase reaches {share} of devices and this one has place {} of 10000",
                    cohort.place()
                )?;
                match opens_at {
                    Some(at) => write!(f, "; a phase reaches it at {at}"),
                    None => write!(f, "; no phase reaches it"),
                }
            }
            Self::Full { max_devices: Some(limit) } => {
                write!(f, "its limit of {limit} devices is reached")
            }
            Self::Full { max_devices: None } => write!(f, "its rollout has no place left"),
            Self::RateLimited { opens_at: Some(at) } => {
                write!(f, "this period's offers are used up; the next starts at {at}")
            }
            Self::RateLimited { opens_at: None } => write!(f, "this period's offers are used up"),
            Self::TooManyInFlight { max_in_flight: Some(limit) } => {
                write!(f, "its limit of {limit} in flight is reached")
            }
            Self::TooManyInFlight { max_in_flight: None } => {
                write!(f, "too many devices are in flight")
            }
        }
    }
}
