//! A rollout in words: its times, its limits and its end.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_wire::definition::{
    AppliesField, HealthField, InFlightField, LimitsField, PhaseField, RolloutField, WhenFullField, WindowField,
};

use crate::duration;
use crate::output::{self, clean};
use crate::time;

/// Labelled facts, only those that limit something.
pub fn facts(rollout: &RolloutField) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(rollout.starts_at.map(|at| ("starts", time::show_at(at))));
    facts.extend(rollout.ends_at.map(|at| ("ends", time::show_at(at))));
    facts.extend(rollout.windows.iter().map(|window| ("window", window_in_words(window))));
    facts.extend(
        rollout.groups.iter().map(|group| ("group", format!("{}{}", clean(&group.policy), from(group.starts_at)))),
    );
    facts.extend(rollout.phases.iter().map(|phase| ("phase", format!("{} %{}", phase.percent, beginning(phase)))));
    facts.push(("limits", limits_in_words(&rollout.limits)));
    facts.push(("each device", attempts(rollout)));
    if rollout.applies == AppliesField::AtOnce {
        facts.push(("is applied", "at once".into()));
    }
    if has_limit(&rollout.limits) {
        facts.push(("when full", when_full(rollout.when_full).into()));
    }
    facts.push(("is held", health_in_words(rollout.applies, &rollout.health)));
    facts
}

fn attempts(rollout: &RolloutField) -> String {
    match rollout.max_attempts {
        1 => "may fail once in 30 days".to_owned(),
        count => format!("may fail {count} times in 30 days"),
    }
}

fn seconds(seconds: u32) -> String {
    duration::show(Duration::from_secs(seconds.into()))
}

fn beginning(phase: &PhaseField) -> String {
    match (phase.starts_at, phase.advance) {
        (Some(starts_at), _) => from(starts_at),
        (None, None) => String::new(),
        (None, Some(advance)) => {
            let soaked = duration::show(Duration::from_secs(u64::try_from(advance.soak_s).unwrap_or(0)));
            let approval = if advance.approval { ", and an operator says so" } else { "" };
            format!(
                " when {} devices, and {} % of all, are well for {soaked}{approval}",
                advance.min_proved, advance.success_percent
            )
        }
    }
}

fn from(starts_at: Timestamp) -> String {
    format!(" from {}", time::show_at(starts_at))
}

fn when_full(choice: WhenFullField) -> &'static str {
    match choice {
        WhenFullField::Next => "the next older update may be offered",
        WhenFullField::Wait => "devices wait",
    }
}

fn window_in_words(window: &WindowField) -> String {
    format!("\"{}\" for {}, {}", clean(&window.cron), seconds(window.duration_s), clean(&window.time_zone))
}

fn has_limit(limits: &LimitsField) -> bool {
    let LimitsField { max_devices, max_per_period, max_bytes_per_period, max_in_flight, period_s: _ } = limits;
    *max_in_flight != InFlightField::Unlimited
        || [max_devices, max_per_period, max_bytes_per_period].iter().any(|limit| limit.is_some())
}

fn limits_in_words(limits: &LimitsField) -> String {
    let period = seconds(limits.period_s);
    let limits = [
        limits.max_devices.map(|count| format!("{count} devices")),
        limits.max_per_period.map(|count| format!("{count} new ones in {period}")),
        limits.max_bytes_per_period.map(|size_bytes| format!("{} in {period}", output::bytes(size_bytes))),
        match limits.max_in_flight {
            InFlightField::Auto => Some("in flight as the fleet allows".into()),
            InFlightField::AtMost(count) => Some(format!("{count} in flight")),
            InFlightField::Unlimited => None,
        },
    ];
    limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn health_in_words(applies: AppliesField, health: &HealthField) -> String {
    let HealthField {
        tolerated_failed_percent,
        tolerated_lost_percent,
        tolerated_not_taken_percent,
        min_failures,
        control_group,
        auto_resume,
    } = health;
    let without = if *control_group { "" } else { "; without a control group" };
    let until = if *auto_resume { "" } else { "; held until somebody resumes it" };
    let not_taken = tolerated_not_taken_percent.unwrap_or_else(|| applies.tolerated_not_taken_percent());
    format!(
        "when more than {tolerated_failed_percent} % fail, {tolerated_lost_percent} % are overdue or \
         {not_taken} % do not apply it, and at least {min_failures} devices{without}{until}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rollout: serde_json::Value, expected: &[&str]) {
        let rollout = serde_json::from_value::<RolloutField>(rollout).expect("a rollout");
        let facts: Vec<String> = facts(&rollout)
            .into_iter()
            .filter(|(_, fact)| !fact.is_empty())
            .map(|(label, fact)| format!("{label}: {fact}"))
            .collect();
        assert_eq!(facts, expected);
    }

    /// A time as it is shown, in the time zone of the machine.
    fn shown(text: &str) -> String {
        time::show_at(text.parse().expect("a time"))
    }

    #[test]
    fn a_rollout_is_told_in_words() {
        check(
            json!({
                "starts_at": null, "ends_at": "2026-03-01T06:00:00Z",
                "windows": [{"cron": "0 22 * * *", "duration_s": 21600, "time_zone": "Europe/Berlin"}],
                "groups": [{"policy": "stage == \"test\"", "starts_at": "2026-03-02T06:00:00Z"}],
                "phases": [{"starts_at": "2026-03-04T06:00:00Z", "percent": 5.0}],
                "limits": {"max_devices": 10, "max_per_period": 5, "period_s": 600, "max_in_flight": null},
                "max_attempts": 3, "when_full": "wait", "health": {"tolerated_lost_percent": 2.5}
            }),
            &[
                &format!("ends: {}", shown("2026-03-01T06:00:00Z")),
                "window: \"0 22 * * *\" for 6h, Europe/Berlin",
                &format!("group: stage == \"test\" from {}", shown("2026-03-02T06:00:00Z")),
                &format!("phase: 5 % from {}", shown("2026-03-04T06:00:00Z")),
                "limits: 10 devices, 5 new ones in 10m",
                "each device: may fail 3 times in 30 days",
                "when full: devices wait",
                "is held: when more than 1 % fail, 2.5 % are overdue or 20 % do not apply it, and at least 3 devices",
            ],
        );
    }
}
