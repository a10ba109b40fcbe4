//! The limits of an update, beside what was seen of it from outside.

use std::fmt;
use std::str::FromStr;

/// The limits of an update as they are known from outside. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Devices that may ever be offered it.
    pub max_devices: Option<u64>,
    /// Devices that may have it in hand at one moment.
    pub max_in_flight: Option<u64>,
    /// Devices that may be offered it in one period.
    pub max_per_period: Option<u64>,
    /// The length of the period. Two looks that disagree leave no period to count in.
    pub period_s: Option<u64>,
}

impl Limits {
    /// The looser of each two limits: an operator may have changed a limit meanwhile.
    #[must_use]
    pub fn or_looser(self, other: Self) -> Self {
        let looser = |a: Option<u64>, b: Option<u64>| Some(a?.max(b?));
        Self {
            max_devices: looser(self.max_devices, other.max_devices),
            max_in_flight: looser(self.max_in_flight, other.max_in_flight),
            max_per_period: looser(self.max_per_period, other.max_per_period),
            period_s: self.period_s.filter(|period_s| other.period_s == Some(*period_s)),
        }
    }
}

/// Text that names no limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// It is not a list of limits.
    #[error("expected limits such as max_devices=100,max_in_flight=20,max_per_period=30,period_s=3600")]
    Expectation,
    /// A limit per period without a period.
    #[error("max_per_period needs period_s, the length of the period in seconds")]
    NoPeriod,
}

impl FromStr for Limits {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let mut limits = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(LimitsError::Expectation)?;
            let value = value.trim().parse().map_err(|_| LimitsError::Expectation)?;
            let limit = match name.trim() {
                "max_devices" => &mut limits.max_devices,
                "max_in_flight" => &mut limits.max_in_flight,
                "max_per_period" => &mut limits.max_per_period,
                "period_s" if value > 0 => &mut limits.period_s,
                _ => return Err(LimitsError::Expectation),
            };
            *limit = Some(value);
        }
        match (limits.max_per_period, limits.period_s) {
            (Some(_), None) => Err(LimitsError::NoPeriod),
            _ => Ok(limits),
        }
    }
}

/// The count that an update must not exceed beside its limits: the service's own.
const OFFERED: &str = "offered";

/// One limit beside what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The version of the update.
    pub version: String,
    /// The name of the limit.
    pub limit: &'static str,
    /// The value of the limit.
    pub allowed: u64,
    /// The most that the service said, where it was asked.
    pub service: Option<u64>,
    /// The most that the fleet saw, where it can tell.
    pub fleet: Option<u64>,
}

impl Finding {
    /// The limit, for a table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.limit == OFFERED { "what the service counts" } else { self.limit }
    }

    /// True if the service or the fleet saw more than is allowed.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.service.max(self.fleet).is_some_and(|seen| seen > self.allowed)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, limit, allowed, .. } = self;
        match *limit {
            OFFERED => write!(f, "{version} was offered to more devices than the service counts: ")?,
            _ => write!(f, "{version} exceeded {limit}, which is {allowed}: ")?,
        }
        let seen = [("the service says", self.service), ("the fleet saw", self.fleet)];
        let said = seen.into_iter().filter_map(|(who, count)| Some(format!("{who} {}", count?)));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

/// The counts of one update, as they were seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Devices that were ever offered it.
    pub devices: Option<u64>,
    /// The most in flight at a moment.
    pub in_flight: Option<u64>,
    /// The most that were newly offered it in one period.
    pub in_period: Option<u64>,
}

/// Every limit of an update beside what the service said and what the fleet saw. One more finding is that the service
/// counts every offer that it made.
#[must_use]
pub fn findings(version: &str, limits: Limits, service: Seen, fleet: Seen) -> Vec<Finding> {
    let finding = |limit, allowed: Option<u64>, service, fleet| {
        Some(Finding { version: version.to_owned(), limit, allowed: allowed?, service, fleet })
    };
    let all = [
        finding("max_devices", limits.max_devices, service.devices, fleet.devices),
        finding("max_in_flight", limits.max_in_flight, service.in_flight, fleet.in_flight),
        finding("max_per_period", limits.max_per_period, service.in_period, fleet.in_period),
        finding(OFFERED, service.devices, service.devices, fleet.devices),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { max_devices: Some(100), max_in_flight: Some(20), max_per_period: Some(30), period_s: Some(60) };

    fn seen(devices: u64, in_flight: u64, in_period: u64) -> Seen {
        Seen { devices: Some(devices), in_flight: Some(in_flight), in_period: Some(in_period) }
    }

    fn violations(service: Seen, fleet: Seen) -> Vec<String> {
        let findings = findings("2.0.0", LIMITS, service, fleet);
        findings.iter().filter(|finding| finding.is_violation()).map(ToString::to_string).collect()
    }

    #[test]
    fn what_reaches_a_limit_keeps_it() {
        assert_eq!(violations(seen(100, 20, 30), seen(100, 20, 30)), Vec::<String>::new());
        assert_eq!(violations(Seen::default(), Seen::default()), Vec::<String>::new());
    }

    #[test]
    fn one_too_many_is_noticed_whoever_saw_it() {
        let quiet = seen(50, 5, 5);
        let check = |service, fleet, expected: &str| assert_eq!(violations(service, fleet), [expected]);
        check(
            seen(101, 5, 5),
            quiet,
            "2.0.0 exceeded max_devices, which is 100: the service says 101, the fleet saw 50",
        );
        check(
            seen(50, 21, 5),
            quiet,
            "2.0.0 exceeded max_in_flight, which is 20: the service says 21, the fleet saw 5",
        );
        check(
            quiet,
            seen(50, 21, 5),
            "2.0.0 exceeded max_in_flight, which is 20: the service says 5, the fleet saw 21",
        );
        check(
            quiet,
            seen(50, 5, 31),
            "2.0.0 exceeded max_per_period, which is 30: the service says 5, the fleet saw 31",
        );
        check(
            quiet,
            seen(51, 5, 5),
            "2.0.0 was offered to more devices than the service counts: the service says 50, the fleet saw 51",
        );
        check(Seen::default(), seen(101, 0, 0), "2.0.0 exceeded max_devices, which is 100: the fleet saw 101");
    }

    #[test]
    fn a_changed_limit_counts_as_the_looser() {
        let other = Limits { max_devices: None, max_in_flight: Some(40), period_s: Some(90), ..LIMITS };
        let looser = Limits { max_devices: None, max_in_flight: Some(40), max_per_period: Some(30), period_s: None };
        assert_eq!(LIMITS.or_looser(other), looser);
    }

    #[test]
    fn expected_limits_are_read_as_people_type_them() {
        let text = "max_devices=100,max_in_flight=20,max_per_period=30,period_s=60";
        assert_eq!(text.parse(), Ok(LIMITS));
        let per_period = "max_per_period=3".parse::<Limits>();
        assert!(per_period.is_err_and(|error| error.to_string().contains("period_s")));
        assert!("max_devices".parse::<Limits>().is_err());
        assert!("period_s=0".parse::<Limits>().is_err());
    }
}
