//! A rollout in words: its times, its limits and its end.

use serde::Deserialize;
use serde_json::Value;

use crate::duration;
use crate::output::{self, clean};
use crate::time;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RolloutView {
    starts_at: Option<String>,
    ends_at: Option<String>,
    windows: Vec<WindowView>,
    groups: Vec<GroupView>,
    phases: Vec<PhaseView>,
    limits: LimitsView,
    claim_ttl_s: Option<u64>,
    max_attempts: Option<u64>,
    when_full: Option<String>,
    health: Option<HealthView>,
}

#[derive(Debug, Deserialize)]
struct WindowView {
    cron: String,
    duration_s: u64,
    time_zone: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GroupView {
    policy: String,
    starts_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PhaseView {
    percent: f64,
    starts_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitsView {
    max_devices: Option<u64>,
    max_per_period: Option<u64>,
    max_bytes_per_period: Option<u64>,
    max_in_flight: Option<u64>,
    period_s: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct HealthView {
    tolerated_failure_percent: f64,
    confidence_percent: f64,
    min_failures: u64,
}

/// Labelled facts, only those that limit something. A rollout of another shape is shown as it is.
pub fn facts(rollout: &Value) -> Vec<(&'static str, String)> {
    if rollout.is_null() {
        return Vec::new();
    }
    match RolloutView::deserialize(rollout) {
        Ok(rollout) => rollout.facts(),
        Err(_) => vec![("rollout", output::plain(rollout))],
    }
}

impl RolloutView {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        facts.extend(self.starts_at.as_ref().map(|at| ("starts", time::show(at))));
        facts.extend(self.ends_at.as_ref().map(|at| ("ends", time::show(at))));
        facts.extend(self.windows.iter().map(|window| ("window", window.sentence())));
        facts.extend(
            self.groups
                .iter()
                .map(|group| ("group", format!("{}{}", clean(&group.policy), from(group.starts_at.as_ref())))),
        );
        facts.extend(
            self.phases.iter().map(|phase| ("phase", format!("{} %{}", phase.percent, from(phase.starts_at.as_ref())))),
        );
        facts.push(("limits", self.limits.sentence()));
        facts.push(("each device", self.attempts()));
        if !self.limits.is_empty() {
            facts.extend(self.when_full.as_deref().map(|choice| ("when full", when_full(choice))));
        }
        facts.extend(self.health.as_ref().map(|health| ("stops itself", health.sentence())));
        facts
    }

    fn attempts(&self) -> String {
        let attempts = self.max_attempts.map(|count| match count {
            1 => "1 attempt".to_owned(),
            _ => format!("{count} attempts"),
        });
        let time = self.claim_ttl_s.map(|ttl_s| {
            let time = duration::show(std::time::Duration::from_secs(ttl_s));
            format!("{time} to report back")
        });
        [attempts, time].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn from(starts_at: Option<&String>) -> String {
    starts_at.map_or(String::new(), |at| format!(" from {}", time::show(at)))
}

fn when_full(choice: &str) -> String {
    match choice {
        "next" => "the next older update may be offered".to_owned(),
        "wait" => "devices wait".to_owned(),
        other => clean(other),
    }
}

impl WindowView {
    fn sentence(&self) -> String {
        let length = duration::show(std::time::Duration::from_secs(self.duration_s));
        let zone = self.time_zone.as_deref().unwrap_or("UTC");
        format!("\"{}\" for {length}, {}", clean(&self.cron), clean(zone))
    }
}

impl LimitsView {
    fn is_empty(&self) -> bool {
        let limits = [self.max_devices, self.max_per_period, self.max_bytes_per_period, self.max_in_flight];
        limits.iter().all(Option::is_none)
    }

    /// `None` if there is no limit.
    fn sentence(&self) -> String {
        let period = duration::show(std::time::Duration::from_secs(self.period_s.unwrap_or(3600)));
        let limits = [
            self.max_devices.map(|count| format!("{count} devices")),
            self.max_per_period.map(|count| format!("{count} new ones in {period}")),
            self.max_bytes_per_period.map(|size_bytes| format!("{} in {period}", output::bytes(size_bytes))),
            self.max_in_flight.map(|count| format!("{count} in flight")),
        ];
        limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl HealthView {
    fn sentence(&self) -> String {
        let Self { tolerated_failure_percent, confidence_percent, min_failures } = self;
        format!(
            "when more than {tolerated_failure_percent} % fail, with {confidence_percent} % confidence and after \
             {min_failures} failures"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rollout: &Value, expected: &[&str]) {
        let facts: Vec<String> = facts(rollout)
            .into_iter()
            .filter(|(_, fact)| !fact.is_empty())
            .map(|(label, fact)| format!("{label}: {fact}"))
            .collect();
        assert_eq!(facts, expected);
    }

    #[test]
    fn a_rollout_is_told_in_words() {
        check(
            &json!({
                "starts_at": null, "ends_at": "soon",
                "windows": [{"cron": "0 22 * * *", "duration_s": 21600, "time_zone": "Europe/Berlin"}],
                "groups": [{"policy": "stage == \"test\"", "starts_at": "now"}],
                "phases": [{"starts_at": "later", "percent": 5.0}],
                "limits": {"max_devices": 10, "max_per_period": 5, "period_s": 600, "max_in_flight": null},
                "claim_ttl_s": 86400, "max_attempts": 3, "when_full": "wait",
                "health": {"tolerated_failure_percent": 1.0, "confidence_percent": 99.0, "min_failures": 3}
            }),
            &[
                "ends: soon",
                "window: \"0 22 * * *\" for 6h, Europe/Berlin",
                "group: stage == \"test\" from now",
                "phase: 5 % from later",
                "limits: 10 devices, 5 new ones in 10m",
                "each device: 3 attempts, 1d to report back",
                "when full: devices wait",
                "stops itself: when more than 1 % fail, with 99 % confidence and after 3 failures",
            ],
        );
    }

    #[test]
    fn a_rollout_of_another_shape_is_shown_as_it_is() {
        check(&json!({"phases": "all"}), &["rollout: {\"phases\":\"all\"}"]);
        check(&Value::Null, &[]);
    }
}
