//! Objections: the reasons why an update is passed over.
//!
//! [`ObjectionCode`] has one row for each code: its text, the way in which the objection ends, and the part of the
//! update that objects. Everything else is matched without a default, so that the compiler lists the places that a
//! new objection must add to.

use std::fmt;

use jiff::Timestamp;
use semver::{Version, VersionReq};

use crate::cohort::{Cohort, Share};
use crate::guidance::{BUSY_S, CROWDED_S, UNPROVED_S};
use crate::limits::Limits;

/// Way in which an objection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Nothing ends it, as long as the device and the update stay as they are.
    Never,
    /// It ends at a known time.
    Time,
    /// It ends when an operator acts.
    Operator,
    /// It ends when it is the device's turn: the device waits for a window, a phase or a place. With
    /// `when_full: wait` no older update is offered meanwhile.
    Turn,
}

macro_rules! objection_codes {
    ($($code:ident $name:literal $cure:ident $setting:literal),+ $(,)?) => {
        /// Code of an objection. The order is the order in which the rules are asked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // the variants of `Objection`
        pub enum ObjectionCode { $($code),+ }

        impl ObjectionCode {
            /// Every code, in the order in which the rules are asked.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// Text of the code in answers and in storage.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name),+ }
            }

            /// Way in which an objection with this code ends.
            #[must_use]
            pub fn cure(self) -> Cure {
                match self { $(Self::$code => Cure::$cure),+ }
            }

            /// Part of the update or its rollout that objects, for sentences such as "bound by the windows".
            #[must_use]
            pub fn setting(self) -> &'static str {
                match self { $(Self::$code => $setting),+ }
            }
        }
    };
}

objection_codes! {
    UpToDate        "up_to_date"         Never    "the version",
    Incompatible    "incompatible"       Never    "the compatibility",
    NotTargeted     "not_targeted"       Never    "the policy",
    PolicyUnclear   "policy_unclear"     Never    "the policy",
    Pinned          "pinned"             Never    "the pin",
    OnHold          "on_hold"            Never    "the device's hold",
    Aborted         "aborted"            Never    "the abort",
    Ended           "ended"              Never    "the end",
    ClonedId        "cloned_id"          Never    "the device's id",
    Reverted        "reverted"           Never    "the fall-back",
    FailedBefore    "failed_before"      Time     "the attempts",
    Declined        "declined"           Never    "the user's no",
    KeepsLeaving    "keeps_leaving"      Time     "the attempts",
    RetryLater      "retry_later"        Time     "the attempts",
    Paused          "paused"             Operator "the pause",
    Held            "held"               Operator "the hold",
    TransfersFailing "transfers_failing" Time     "the transfers",
    NotStarted      "not_started"        Time     "the start",
    OutsideWindow   "outside_window"     Turn     "the windows",
    NotInPhase      "not_in_phase"       Turn     "the phases",
    NoAnswer        "no_answer"          Turn     "the user's answer",
    Newcomer        "newcomer"           Turn     "the share of newcomers",
    Full            "full"               Turn     "max_devices",
    RateLimited     "rate_limited"       Turn     "the rate",
    TooManyInFlight "too_many_in_flight" Turn     "max_in_flight",
    Busy            "busy"               Turn     "the contention",
}

impl ObjectionCode {
    /// The code with this text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// `true` if the update is not meant for the device: its version, its protocol or its attributes do not fit.
    #[must_use]
    pub fn is_unsuitable(self) -> bool {
        match self {
            Self::UpToDate | Self::Incompatible | Self::NotTargeted | Self::PolicyUnclear => true,
            Self::Pinned
            | Self::OnHold
            | Self::ClonedId
            | Self::Ended
            | Self::Aborted
            | Self::Reverted
            | Self::FailedBefore
            | Self::Declined
            | Self::KeepsLeaving
            | Self::RetryLater
            | Self::Paused
            | Self::Held
            | Self::TransfersFailing
            | Self::NotStarted
            | Self::OutsideWindow
            | Self::NotInPhase
            | Self::Newcomer
            | Self::Full
            | Self::RateLimited
            | Self::TooManyInFlight
            | Self::NoAnswer
            | Self::Busy => false,
        }
    }
}

impl fmt::Display for ObjectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reason why a rollout cannot take one more device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// `max_devices` devices were offered the update.
    Full,
    /// The offers of the period are used up.
    RateLimited {
        /// Time at which the next period starts.
        opens_at: Option<Timestamp>,
    },
    /// `max_in_flight` devices have the offer and have not reported.
    TooManyInFlight,
    /// The share of the newcomers is used up, and the device is one of them.
    Newcomer,
    /// The rollout was paused a moment ago.
    Paused,
    /// The rollout was aborted a moment ago.
    Aborted,
    /// Other requests write the same records at this moment.
    Busy,
}

impl NoRoom {
    /// The same reason, as it is told to a newcomer: the share of the newcomers is used up, and not the whole limit.
    #[must_use]
    pub fn for_newcomer(self) -> Self {
        match self {
            Self::Full | Self::TooManyInFlight => Self::Newcomer,
            other => other,
        }
    }

    /// Objection against an update with these limits.
    #[must_use]
    pub fn objection(self, limits: &Limits) -> Objection {
        match self {
            Self::Full => Objection::Full { max_devices: limits.max_devices },
            Self::RateLimited { opens_at } => Objection::RateLimited { opens_at },
            Self::TooManyInFlight => Objection::TooManyInFlight { max_in_flight: limits.max_in_flight },
            Self::Newcomer => Objection::Newcomer,
            Self::Paused => Objection::Paused,
            Self::Aborted => Objection::Aborted { why: String::new() },
            Self::Busy => Objection::Busy,
        }
    }
}

/// Capability that an update needs and the device's protocol lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeliverable {
    /// The protocol carries only files, and the update has none.
    NoFile,
    /// The protocol cannot ask the user for consent.
    NoConsent,
    /// The protocol needs SHA-1, and it is unknown for one of the files.
    NoSha1,
}

/// One reason against one update for one device.
#[derive(Debug, Clone, PartialEq)]
pub enum Objection {
    /// The device runs this version or a later one.
    UpToDate {
        /// Version that the device runs.
        device: Version,
    },
    /// The update takes devices back from other versions.
    NotRolledBack {
        /// Version that the device runs.
        device: Version,
        /// Versions from which it takes devices back.
        from: Vec<Version>,
    },
    /// The update cannot be installed over the version that the device runs.
    Incompatible {
        /// Version that the device runs.
        device: Version,
        /// Versions over which the update can be installed.
        from: Vec<VersionReq>,
    },
    /// The device's protocol cannot carry the update.
    Undeliverable {
        /// The capability that the protocol lacks.
        why: Undeliverable,
    },
    /// The policy does not admit the device.
    NotTargeted {
        /// The first attribute that the policy needs and the device does not state, if that is the reason.
        missing: Option<String>,
    },
    /// The policy could not be evaluated. Such a device is never admitted.
    PolicyUnclear {
        /// Part of the policy that could not be evaluated.
        why: String,
    },
    /// An operator has pinned the device to another version.
    Pinned {
        /// The version.
        to: Version,
    },
    /// An operator has put the device on hold.
    OnHold,
    /// Two devices say that they are this one.
    ClonedId,
    /// The device installed the update and fell back.
    Reverted,
    /// The device failed as often as it may.
    FailedBefore {
        /// Number of times the update was offered.
        attempts: u32,
        /// Time at which a failure is forgotten; `None` if it was in an earlier campaign.
        opens_at: Option<Timestamp>,
    },
    /// The device or its user said no as often as it is asked.
    Declined,
    /// The device came back from another version as often as it may.
    KeepsLeaving {
        /// Time at which it may come back.
        opens_at: Timestamp,
    },
    /// The device tries again later, or has not shown yet what it runs.
    RetryLater {
        /// Time of the next attempt, if it is known.
        opens_at: Option<Timestamp>,
    },
    /// The device said that it installed a newer update, and may not have shown it yet.
    WouldUndo {
        /// The version of that update.
        installed: Version,
    },
    /// The device said the old version once after its success. It is not asked to come again soon: if another device has its
    /// id too, that one would say the old version twice in a row.
    SaidOld,
    /// An operator paused the rollout.
    Paused,
    /// The rollout is held because of what became of its devices.
    Held {
        /// Evidence, if it is known.
        why: String,
    },
    /// Too many downloads failed lately.
    TransfersFailing {
        /// Time at which the next devices try.
        opens_at: Timestamp,
    },
    /// The rollout was aborted.
    Aborted {
        /// Reason, if it is known.
        why: String,
    },
    /// The rollout is over.
    Ended {
        /// Time of its end, if one was set.
        at: Option<Timestamp>,
    },
    /// The rollout has not started for this device.
    NotStarted {
        /// Time at which it starts.
        opens_at: Timestamp,
    },
    /// No opening window is open.
    OutsideWindow {
        /// Time at which the next window opens.
        opens_at: Option<Timestamp>,
    },
    /// The current phase does not reach the device's cohort.
    NotInPhase {
        /// The device's cohort.
        cohort: Cohort,
        /// Share of the fleet that the current phase reaches.
        share: Share,
        /// Time at which a phase reaches the cohort, if one does.
        opens_at: Option<Timestamp>,
    },
    /// The device is in the control group, which is served last.
    HeldOut,
    /// The device is a newcomer, and their share of the limits is used up.
    Newcomer,
    /// `max_devices` devices were offered the update.
    Full {
        /// The limit.
        max_devices: Option<u64>,
    },
    /// The offers of the period are used up.
    RateLimited {
        /// Time at which the next period starts.
        opens_at: Option<Timestamp>,
    },
    /// `max_in_flight` devices have the offer and have not reported.
    TooManyInFlight {
        /// The limit.
        max_in_flight: Option<u64>,
    },
    /// The device's user was asked, and has not answered.
    NoAnswer,
    /// Too many requests write the same records at this moment.
    Busy,
}

impl Objection {
    /// Code of this objection.
    #[must_use]
    pub fn code(&self) -> ObjectionCode {
        match self {
            Self::UpToDate { .. } => ObjectionCode::UpToDate,
            Self::Incompatible { .. } | Self::Undeliverable { .. } => ObjectionCode::Incompatible,
            Self::NotTargeted { .. } | Self::NotRolledBack { .. } => ObjectionCode::NotTargeted,
            Self::PolicyUnclear { .. } => ObjectionCode::PolicyUnclear,
            Self::Pinned { .. } => ObjectionCode::Pinned,
            Self::OnHold => ObjectionCode::OnHold,
            Self::ClonedId => ObjectionCode::ClonedId,
            Self::Reverted => ObjectionCode::Reverted,
            Self::FailedBefore { .. } => ObjectionCode::FailedBefore,
            Self::Declined => ObjectionCode::Declined,
            Self::KeepsLeaving { .. } => ObjectionCode::KeepsLeaving,
            Self::RetryLater { .. } | Self::WouldUndo { .. } | Self::SaidOld => ObjectionCode::RetryLater,
            Self::Held { .. } => ObjectionCode::Held,
            Self::Paused => ObjectionCode::Paused,
            Self::TransfersFailing { .. } => ObjectionCode::TransfersFailing,
            Self::Aborted { .. } => ObjectionCode::Aborted,
            Self::Ended { .. } => ObjectionCode::Ended,
            Self::NotStarted { .. } => ObjectionCode::NotStarted,
            Self::OutsideWindow { .. } => ObjectionCode::OutsideWindow,
            Self::NotInPhase { .. } | Self::HeldOut => ObjectionCode::NotInPhase,
            Self::Newcomer => ObjectionCode::Newcomer,
            Self::Full { .. } => ObjectionCode::Full,
            Self::RateLimited { .. } => ObjectionCode::RateLimited,
            Self::TooManyInFlight { .. } => ObjectionCode::TooManyInFlight,
            Self::NoAnswer => ObjectionCode::NoAnswer,
            Self::Busy => ObjectionCode::Busy,
        }
    }

    /// Returns true if only the version that the device runs is the reason.
    #[must_use]
    pub fn is_about_version(&self) -> bool {
        matches!(self, Self::UpToDate { .. } | Self::NotRolledBack { .. })
    }

    /// Way in which this objection ends.
    #[must_use]
    pub fn cure(&self) -> Cure {
        self.code().cure()
    }

    /// Seconds after which the device should ask again although the end of the objection has no known time. `None`
    /// for an objection that asking more often does not help.
    #[must_use]
    pub fn ask_again_after_s(&self) -> Option<u32> {
        match self {
            Self::TooManyInFlight { .. } => Some(CROWDED_S),
            Self::Busy => Some(BUSY_S),
            Self::RetryLater { opens_at: None } | Self::NoAnswer => Some(UNPROVED_S),
            Self::RetryLater { opens_at: Some(_) }
            | Self::WouldUndo { .. }
            | Self::SaidOld
            | Self::UpToDate { .. }
            | Self::NotRolledBack { .. }
            | Self::Incompatible { .. }
            | Self::Undeliverable { .. }
            | Self::NotTargeted { .. }
            | Self::PolicyUnclear { .. }
            | Self::Pinned { .. }
            | Self::OnHold
            | Self::ClonedId
            | Self::Ended { .. }
            | Self::Aborted { .. }
            | Self::Reverted
            | Self::FailedBefore { .. }
            | Self::Declined
            | Self::KeepsLeaving { .. }
            | Self::Paused
            | Self::Held { .. }
            | Self::TransfersFailing { .. }
            | Self::NotStarted { .. }
            | Self::OutsideWindow { .. }
            | Self::NotInPhase { .. }
            | Self::HeldOut
            | Self::Newcomer
            | Self::Full { .. }
            | Self::RateLimited { .. } => None,
        }
    }

    /// Time at which this objection ends without anybody's action, if that is known.
    #[must_use]
    pub fn opens_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotStarted { opens_at } | Self::KeepsLeaving { opens_at } | Self::TransfersFailing { opens_at } => {
                Some(*opens_at)
            }
            Self::OutsideWindow { opens_at }
            | Self::FailedBefore { opens_at, .. }
            | Self::NotInPhase { opens_at, .. }
            | Self::RateLimited { opens_at }
            | Self::RetryLater { opens_at } => *opens_at,
            Self::UpToDate { .. }
            | Self::NotRolledBack { .. }
            | Self::Incompatible { .. }
            | Self::Undeliverable { .. }
            | Self::NotTargeted { .. }
            | Self::PolicyUnclear { .. }
            | Self::Pinned { .. }
            | Self::OnHold
            | Self::ClonedId
            | Self::Reverted
            | Self::Declined
            | Self::WouldUndo { .. }
            | Self::SaidOld
            | Self::Paused
            | Self::Held { .. }
            | Self::Aborted { .. }
            | Self::Ended { .. }
            | Self::HeldOut
            | Self::Newcomer
            | Self::Full { .. }
            | Self::TooManyInFlight { .. }
            | Self::NoAnswer
            | Self::Busy => None,
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpToDate { device } => write!(f, "the device already runs {device}"),
            Self::NotRolledBack { device, from } => {
                let from = from.iter().map(Version::to_string).collect::<Vec<_>>().join(" and ");
                write!(f, "it takes devices back from {from}, and the device runs {device}")
            }
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
            Self::Pinned { to } => write!(f, "the device is pinned to {to}"),
            Self::OnHold => write!(f, "an operator has put the device on hold"),
            Self::ClonedId => write!(f, "two devices say that they are this one"),
            Self::Reverted => write!(f, "the device installed it and fell back"),
            Self::FailedBefore { attempts, opens_at: Some(at) } => {
                write!(f, "the device was offered it {attempts} times and failed; it may try again at {at}")
            }
            Self::FailedBefore { opens_at: None, .. } => write!(f, "the device failed in an earlier campaign of it"),
            Self::Declined => write!(f, "the device or its user said no to it too often"),
            Self::KeepsLeaving { opens_at } => {
                write!(f, "the device came back from other versions too often; it may come back at {opens_at}")
            }
            Self::RetryLater { opens_at: Some(at) } => write!(f, "the device tries it again at {at}"),
            Self::RetryLater { opens_at: None } => write!(f, "the device has it, and has not shown yet what it runs"),
            Self::WouldUndo { installed } => {
                write!(f, "the device said that it installed {installed}, and may not have shown it yet")
            }
            Self::SaidOld => {
                write!(f, "the device said the old version after its success; said again, it is a fall-back")
            }
            Self::Held { why } if why.is_empty() => write!(f, "its rollout is held"),
            Self::Held { why } => write!(f, "its rollout is held: {why}"),
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
            Self::TransfersFailing { opens_at } => {
                write!(f, "too many downloads of it failed lately; the next devices try at {opens_at}")
            }
            Self::Newcomer => {
                write!(f, "the device is new, and the share of new devices, a tenth of each limit, is used up")
            }
            Self::HeldOut => write!(f, "the device is in the control group, which is served last"),
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
            Self::NoAnswer => write!(f, "the device's user was asked, and has not answered"),
            Self::Busy => write!(f, "too many requests write the same records at this moment"),
        }
    }
}
