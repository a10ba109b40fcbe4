//! The options of a rollout on the command line, for `publish` and `updates edit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use tidegate_wire::definition::InFlightField;

use crate::error::{CommandError, CommandResult};

/// Answer to a device for which the newest update has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    /// The next older update may be offered.
    Next,
    /// The device waits.
    Wait,
}

/// The options of a rollout.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rollout")]
pub struct RolloutOptions {
    /// The rollout as JSON; the options below override it
    #[arg(long, value_name = "FILE.json")]
    pub rollout: Option<PathBuf>,
    /// At most this many devices in total
    #[arg(long, value_name = "N")]
    pub max_devices: Option<u64>,
    /// At most this many new devices in each period
    #[arg(long, value_name = "N")]
    pub max_per_period: Option<u64>,
    /// Length of the period in seconds
    #[arg(long, value_name = "N")]
    pub period_s: Option<u64>,
    /// At most this many devices with the update in progress at the same time; auto follows the fleet
    #[arg(long, value_name = "N|auto", value_parser = in_flight)]
    pub max_in_flight: Option<InFlightField>,
    /// If there is no room for a device: offer it the next older update, or let it wait
    #[arg(long, value_name = "next|wait", hide_possible_values = true)]
    pub when_full: Option<WhenFull>,
}

/// Reads a number of devices, or `auto`.
fn in_flight(text: &str) -> Result<InFlightField, String> {
    match text {
        "auto" => Ok(InFlightField::Auto),
        _ => text.parse().map(InFlightField::AtMost).map_err(|_| "expected a number of devices, or auto".into()),
    }
}

impl RolloutOptions {
    /// Returns true if any option is given.
    pub fn any(&self) -> bool {
        let Self { rollout, max_devices, max_per_period, period_s, max_in_flight, when_full } = self;
        let numbers = [max_devices, max_per_period, period_s];
        rollout.is_some()
            || max_in_flight.is_some()
            || when_full.is_some()
            || numbers.iter().any(|number| number.is_some())
    }

    /// The rollout with these options: they override `current`, or the file if one is given.
    pub fn applied_to(&self, current: Value) -> CommandResult<Value> {
        let start = match &self.rollout {
            Some(path) => read_object(path)?,
            None => object(current, "the rollout")?,
        };
        let mut rollout = start;
        let limits = [
            ("max_devices", self.max_devices.map(Value::from)),
            ("max_per_period", self.max_per_period.map(Value::from)),
            ("period_s", self.period_s.map(Value::from)),
            ("max_in_flight", self.max_in_flight.map(|limit| json!(limit))),
        ];
        if limits.iter().any(|(_, limit)| limit.is_some()) {
            let current = rollout.remove("limits").unwrap_or(Value::Null);
            let mut fields = object(current, "`limits` of the rollout")?;
            for (name, limit) in limits {
                fields.extend(limit.map(|limit| (name.to_owned(), limit)));
            }
            rollout.insert("limits".into(), Value::Object(fields));
        }
        rollout.extend(self.when_full.map(|choice| {
            let choice = match choice {
                WhenFull::Next => "next",
                WhenFull::Wait => "wait",
            };
            ("when_full".to_owned(), Value::from(choice))
        }));
        Ok(Value::Object(rollout))
    }
}

/// Reads a JSON object from a file.
pub fn read_object(path: &std::path::Path) -> CommandResult<Map<String, Value>> {
    let text = std::fs::read(path).map_err(|cause| CommandError::file("read", path, cause))?;
    let document = serde_json::from_slice(&text)
        .map_err(|cause| CommandError::bad_input(format!("{} is not JSON: {cause}", path.display())).because(cause))?;
    object(document, &path.display().to_string())
}

fn object(document: Value, what: &str) -> CommandResult<Map<String, Value>> {
    match document {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(CommandError::bad_input(format!("{what} must be a JSON object"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turned_knob_leaves_the_others_alone() {
        let options =
            RolloutOptions { max_devices: Some(10), when_full: Some(WhenFull::Wait), ..RolloutOptions::default() };
        let current = json!({
            "limits": {"max_devices": 5, "max_in_flight": 2},
            "phases": [{"percent": 5}]
        });
        assert_eq!(
            options.applied_to(current),
            Ok(json!({
                "limits": {"max_devices": 10, "max_in_flight": 2},
                "phases": [{"percent": 5}],
                "when_full": "wait"
            }))
        );
        assert!(options.any());
        assert!(!RolloutOptions::default().any());
    }

    #[test]
    fn a_file_takes_the_place_of_the_current_rollout() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rollout.json");
        std::fs::write(&path, r#"{"max_attempts":2}"#).expect("writable");
        let options = RolloutOptions {
            rollout: Some(path),
            max_in_flight: Some(InFlightField::AtMost(3)),
            ..RolloutOptions::default()
        };
        let after = options.applied_to(json!({"limits": {"max_devices": 5}}));
        assert_eq!(after, Ok(json!({"max_attempts": 2, "limits": {"max_in_flight": 3}})));
    }

    #[test]
    fn a_rollout_that_is_a_list_is_refused() {
        let options = RolloutOptions { max_devices: Some(1), ..RolloutOptions::default() };
        assert!(options.applied_to(json!([])).is_err());
    }
}
