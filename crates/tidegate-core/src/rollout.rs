//! When each device may have an update, and how many may.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cohort::{Cohort, Share};
use crate::health::HealthGate;
use crate::limits::Limits;
use crate::objection::Objection;
use crate::policy::{Candidate, Facts, Policy, Truth};
use crate::window::{Opening, OpeningWindow, any_open};

/// A part of the fleet that starts at a time of its own, early or late.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Who belongs to it.
    pub policy: Policy,
    /// When it starts.
    pub starts_at: Timestamp,
}

/// From a time on, a share of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// When it starts.
    pub starts_at: Timestamp,
    /// How many devices it reaches.
    pub share: Share,
}

/// What a device that must wait its turn may have meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WhenFull {
    /// The next older update that fits.
    #[default]
    Next,
    /// Nothing.
    Wait,
}

/// When and how many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollout {
    /// Not before.
    pub starts_at: Option<Timestamp>,
    /// Not from then on.
    pub ends_at: Option<Timestamp>,
    /// Only while one of these is open; always, when there are none.
    pub windows: Vec<OpeningWindow>,
    /// Devices with a start of their own.
    pub groups: Vec<Group>,
    /// Shares of everyone else.
    pub phases: Vec<Phase>,
    /// How many.
    pub limits: Limits,
    /// How long a device may take before its claim expires, in seconds.
    pub claim_ttl_s: u32,
    /// How often one device is offered the update.
    pub max_attempts: u32,
    /// What a waiting device may have meanwhile.
    pub when_full: WhenFull,
    /// When outcomes stop the rollout.
    pub health: HealthGate,
}

/// A claim must outlive the margins around the URLs that are handed out for it.
pub const SHORTEST_CLAIM_TTL_S: u32 = 300;
/// Thirty days; a device that takes longer is found by its next check-in.
pub const LONGEST_CLAIM_TTL_S: u32 = 30 * 24 * 3600;
/// A day: the period of the agents in the field.
pub const DEFAULT_CLAIM_TTL_S: u32 = 24 * 3600;
/// Three tries tell a bad connection from a bad update.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

impl Default for Rollout {
    fn default() -> Self {
        Self {
            starts_at: None,
            ends_at: None,
            windows: Vec::new(),
            groups: Vec::new(),
            phases: Vec::new(),
            limits: Limits::default(),
            claim_ttl_s: DEFAULT_CLAIM_TTL_S,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            when_full: WhenFull::default(),
            health: HealthGate::default(),
        }
    }
}

impl Rollout {
    /// Checks what its parts cannot check alone.
    ///
    /// # Errors
    /// A sentence that names the field and the expectation.
    pub fn validate(&self, bytes_per_device: u64) -> Result<(), String> {
        if let (Some(start), Some(end)) = (self.starts_at, self.ends_at)
            && start >= end
        {
            return Err("ends_at must be later than starts_at".into());
        }
        let starts =
            self.groups.iter().map(|group| group.starts_at).chain(self.phases.iter().map(|phase| phase.starts_at));
        if let Some(end) = self.ends_at
            && starts.into_iter().any(|start| start >= end)
        {
            return Err("every group and phase must start before ends_at".into());
        }
        for (number, pair) in (2_usize..).zip(self.phases.windows(2)) {
            if let [before, phase] = pair
                && (phase.starts_at <= before.starts_at || phase.share <= before.share)
            {
                return Err(format!(
                    "phase {number} must start later, and reach more devices, than the phase before it"
                ));
            }
        }
        if !(SHORTEST_CLAIM_TTL_S..=LONGEST_CLAIM_TTL_S).contains(&self.claim_ttl_s) {
            return Err(format!("claim_ttl_s must be within {SHORTEST_CLAIM_TTL_S} and {LONGEST_CLAIM_TTL_S}"));
        }
        if !(1..=100).contains(&self.max_attempts) {
            return Err("max_attempts must be within 1 and 100".into());
        }
        self.validate_limits(bytes_per_device)
    }

    fn validate_limits(&self, bytes_per_device: u64) -> Result<(), String> {
        let limits = &self.limits;
        if !(60..=30 * 24 * 3600).contains(&limits.period_s) {
            return Err("limits.period_s must be within 60 and 2592000".into());
        }
        for (name, limit) in [
            ("max_devices", limits.max_devices),
            ("max_per_period", limits.max_per_period),
            ("max_in_flight", limits.max_in_flight),
            ("max_bytes_per_period", limits.max_bytes_per_period),
        ] {
            if limit.is_some_and(|limit| !(1..=1 << 50).contains(&limit)) {
                return Err(format!("limits.{name} must be within 1 and 2^50, or null for no limit"));
            }
        }
        if limits.max_bytes_per_period.is_some_and(|bytes| bytes < bytes_per_device) {
            return Err(format!(
                "limits.max_bytes_per_period must hold at least one device's {bytes_per_device} bytes"
            ));
        }
        Ok(())
    }

    /// Asks the rules of time: start, end, windows, phases.
    ///
    /// A device in a group follows the earliest start among its groups and no phase; every other
    /// device follows `starts_at` and the phases. End and windows hold for all.
    ///
    /// # Errors
    /// The objection, when it is not this device's time.
    pub fn admits(
        &self,
        facts: &Facts<'_>,
        candidate: &Candidate<'_>,
        cohort: &dyn Fn() -> Cohort,
        now: Timestamp,
    ) -> Result<(), Objection> {
        if let Some(at) = self.ends_at
            && now >= at
        {
            return Err(Objection::Ended { at: Some(at) });
        }
        let (group_start, doubtful_start) = self.group_starts(facts, candidate);
        if let Some(opens_at) = group_start.or(self.starts_at.max(doubtful_start))
            && now < opens_at
        {
            return Err(Objection::NotStarted { opens_at });
        }
        if let Opening::Closed(opens_at) = any_open(&self.windows, now) {
            return Err(Objection::OutsideWindow { opens_at: self.before_the_end(opens_at) });
        }
        if group_start.is_none() {
            self.phase_admits(cohort, now)?;
        }
        Ok(())
    }

    /// The earliest start of the groups that the device is in; and the latest of those that it may
    /// be in, because their policy cannot be answered. A device in no group that may belong to a
    /// late one waits for it: doubt never lets anyone in earlier.
    fn group_starts(&self, facts: &Facts<'_>, candidate: &Candidate<'_>) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut earliest, mut doubtful): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        for group in &self.groups {
            match group.policy.evaluate(facts, candidate) {
                Truth::Yes => earliest = earliest.into_iter().chain([group.starts_at]).min(),
                Truth::Unknown(_) => doubtful = doubtful.max(Some(group.starts_at)),
                Truth::No => {}
            }
        }
        (earliest, doubtful)
    }

    fn phase_admits(&self, cohort: &dyn Fn() -> Cohort, now: Timestamp) -> Result<(), Objection> {
        let share = self.share_at(now);
        if share == Share::ALL {
            return Ok(());
        }
        let cohort = cohort();
        if share.holds(cohort) {
            return Ok(());
        }
        let mut later = self.phases.iter().filter(|phase| phase.starts_at > now && phase.share.holds(cohort));
        let opens_at = self.before_the_end(later.next().map(|phase| phase.starts_at));
        Err(Objection::NotInPhase { cohort, share, opens_at })
    }

    /// What opens when the rollout is over does not open.
    fn before_the_end(&self, opens_at: Option<Timestamp>) -> Option<Timestamp> {
        opens_at.filter(|opens_at| self.ends_at.is_none_or(|end| *opens_at < end))
    }

    /// How far the phases reach at `now`.
    #[must_use]
    pub fn share_at(&self, now: Timestamp) -> Share {
        if self.phases.is_empty() {
            return Share::ALL;
        }
        self.phases.iter().rfind(|phase| phase.starts_at <= now).map_or(Share::NONE, |phase| phase.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_must_start_later_and_reach_more_than_the_one_before() {
        let phase = |starts_at: &str, percent| Phase {
            starts_at: starts_at.parse().unwrap(),
            share: Share::from_percent(percent).unwrap(),
        };
        let check = |phases: Vec<Phase>| Rollout { phases, ..Rollout::default() }.validate(0);
        assert!(check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-02T00:00:00Z", 100.0)]).is_ok());
        let refused = "phase 2 must start later, and reach more devices, than the phase before it";
        assert_eq!(
            check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-01T00:00:00Z", 9.0)]).unwrap_err(),
            refused
        );
        assert_eq!(
            check(vec![phase("2026-01-01T00:00:00Z", 5.0), phase("2026-01-02T00:00:00Z", 5.0)]).unwrap_err(),
            refused
        );
    }

    #[test]
    fn a_byte_limit_below_one_image_is_refused_because_nobody_could_be_offered_it() {
        let limits = Limits { max_bytes_per_period: Some(999), ..Limits::default() };
        let rollout = Rollout { limits, ..Rollout::default() };
        assert_eq!(
            rollout.validate(1000).unwrap_err(),
            "limits.max_bytes_per_period must hold at least one device's 1000 bytes"
        );
        assert!(rollout.validate(999).is_ok());
    }
}
