//! Times as people type and read them, in the machine's own time zone.

use std::time::Instant;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The time of this machine's clock. Only the command reads it: it waits, and it shows the time to people.
#[expect(clippy::disallowed_methods, reason = "the one place in which the command reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Starts a stopwatch, which no change of the clock disturbs.
#[expect(clippy::disallowed_methods, reason = "the one place in which the command starts to measure")]
pub fn start() -> Instant {
    Instant::now()
}

/// The time zone of this machine: `TZ`, then `/etc/localtime`, then UTC.
///
/// jiff could ask the system itself, but that is a feature of jiff that a workspace built for
/// Lambda has no other use for; the names come from the database bundled with it.
pub fn local_zone() -> TimeZone {
    let from_environment = std::env::var("TZ").ok();
    let from_system = std::fs::read_link("/etc/localtime").ok().map(|path| path.to_string_lossy().into_owned());
    [from_environment, from_system].iter().flatten().find_map(|name| zone_named(name)).unwrap_or(TimeZone::UTC)
}

/// Reads `Europe/Berlin`, `:Europe/Berlin`, `/usr/share/zoneinfo/Europe/Berlin` or `CET-1CEST`.
fn zone_named(name: &str) -> Option<TimeZone> {
    let name = name.trim_start_matches(':');
    let name = name.split_once("zoneinfo/").map_or(name, |(_, rest)| rest);
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok()
}

/// Error of a text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as 2026-01-02T03:04:05Z or \"2026-01-02 03:04\"")]
pub struct NotATime(String);

/// Reads `2026-01-02T03:04:05Z`, or `2026-01-02 03:04` in the local time zone.
///
/// # Errors
/// [`NotATime`].
pub fn parse(text: &str) -> Result<Timestamp, NotATime> {
    if let Ok(timestamp) = text.parse() {
        return Ok(timestamp);
    }
    text.parse::<DateTime>()
        .ok()
        .and_then(|local| local.to_zoned(local_zone()).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| NotATime(text.to_owned()))
}

/// Shows a time of the service (RFC 3339) in the local time zone; anything else as it is.
pub fn show(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(timestamp) => show_at(timestamp),
        Err(_) => crate::output::clean(text),
    }
}

/// Shows a time to the second, in the local time zone.
pub fn show_at(timestamp: Timestamp) -> String {
    show_in(timestamp, &local_zone())
}

/// Shows a time to the second, with its zone.
pub fn show_in(timestamp: Timestamp, zone: &TimeZone) -> String {
    timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_may_be_named_in_every_usual_way() {
        for name in
            ["Europe/Berlin", ":Europe/Berlin", "/usr/share/zoneinfo/Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"]
        {
            let zone = zone_named(name).expect("a known zone");
            let summer: Timestamp = "2026-07-01T12:00:00Z".parse().expect("a valid time");
            assert_eq!(show_in(summer, &zone), "2026-07-01 14:00:00 CEST", "{name}");
        }
        assert!(zone_named("Nowhere/Special").is_none());
    }

    #[test]
    fn a_time_with_a_zone_is_taken_at_its_word() {
        let expected: Timestamp = "2026-01-02T02:04:05Z".parse().expect("a valid time");
        assert_eq!(parse("2026-01-02T03:04:05+01:00"), Ok(expected));
        assert!(parse("2026-01-02 03:04").is_ok());
        assert!(parse("tomorrow").is_err());
    }
}
