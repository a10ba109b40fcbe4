//! Opening windows: times of day or week in which devices may get offers, in the operator's time zone.

use std::fmt;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Longest duration of a window: a week. A longer one is better written as a start and an end.
pub const LONGEST_WINDOW_S: u32 = 7 * 24 * 3600;

/// Window that opens at each time of a cron expression and stays open for a fixed duration.
///
/// Clock changes follow cron's rules: a start in the skipped hour opens right after that hour. The duration is real
/// time, so a window of six hours is six hours long on every day.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "(String, u32, String)", into = "(String, u32, String)")]
pub struct OpeningWindow {
    cron: Cron,
    text: String,
    duration_s: u32,
    time_zone: TimeZone,
    time_zone_name: String,
}

/// Part of an opening window that cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the parts of a window
pub enum WindowError {
    #[error("window cron `{cron}` must have five fields (minute hour day month weekday): {source}")]
    Cron { cron: String, source: CronError },
    #[error("window duration_s must be within 60 and {LONGEST_WINDOW_S}; got {_0}")]
    Duration(u32),
    #[error("window time_zone must be an IANA name such as Europe/Berlin; got `{name}`")]
    TimeZone { name: String, source: jiff::Error },
    #[error("window cron `{_0}` must name a time that exists; it never opens")]
    NeverOpens(String),
}

/// State of a window at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Open.
    Open,
    /// Closed until the given time; `None` if it never opens again.
    Closed(Option<Timestamp>),
}

impl OpeningWindow {
    /// A window from a cron expression of five fields, a duration in seconds and an IANA time zone.
    ///
    /// # Errors
    /// The first argument that cannot be used.
    pub fn new(cron: &str, duration_s: u32, time_zone: &str) -> Result<Self, WindowError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|source| WindowError::Cron { cron: cron.to_string(), source })?;
        if !(60..=LONGEST_WINDOW_S).contains(&duration_s) {
            return Err(WindowError::Duration(duration_s));
        }
        let zone =
            TimeZone::get(time_zone).map_err(|source| WindowError::TimeZone { name: time_zone.to_string(), source })?;
        let window = Self {
            cron: parsed,
            text: cron.to_string(),
            duration_s,
            time_zone: zone,
            time_zone_name: time_zone.to_string(),
        };
        if window.next_start(Timestamp::UNIX_EPOCH).is_none() {
            return Err(WindowError::NeverOpens(cron.to_string()));
        }
        Ok(window)
    }

    /// The cron expression, as it was given.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// Duration of each opening, in seconds.
    #[must_use]
    pub fn duration_s(&self) -> u32 {
        self.duration_s
    }

    /// IANA name of the time zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.time_zone_name
    }

    /// State of the window at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Opening {
        let zoned = now.to_zoned(self.time_zone.clone());
        let open = self.cron.find_previous_occurrence(&zoned, true).is_ok_and(|start| {
            let length = SignedDuration::from_secs(i64::from(self.duration_s));
            start.timestamp().checked_add(length).is_ok_and(|end| now < end)
        });
        if open { Opening::Open } else { Opening::Closed(self.next_start(now)) }
    }

    fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        let zoned = now.to_zoned(self.time_zone.clone());
        self.cron.find_next_occurrence(&zoned, false).ok().map(|start| start.timestamp())
    }
}

impl TryFrom<(String, u32, String)> for OpeningWindow {
    type Error = WindowError;

    fn try_from((cron, duration_s, time_zone): (String, u32, String)) -> Result<Self, WindowError> {
        Self::new(&cron, duration_s, &time_zone)
    }
}

impl From<OpeningWindow> for (String, u32, String) {
    fn from(window: OpeningWindow) -> Self {
        (window.text, window.duration_s, window.time_zone_name)
    }
}

impl PartialEq for OpeningWindow {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.duration_s, &self.time_zone_name) == (&other.text, other.duration_s, &other.time_zone_name)
    }
}

impl fmt::Display for OpeningWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} s in {}", self.text, self.duration_s, self.time_zone_name)
    }
}

/// State of several windows together: open if one of them is open, or if there are none.
#[must_use]
pub fn any_open(windows: &[OpeningWindow], now: Timestamp) -> Opening {
    let mut next: Option<Timestamp> = None;
    for window in windows {
        match window.at(now) {
            Opening::Open => return Opening::Open,
            Opening::Closed(opens_at) => next = next.into_iter().chain(opens_at).min(),
        }
    }
    if windows.is_empty() { Opening::Open } else { Opening::Closed(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(window: &OpeningWindow, now: &str) -> String {
        match window.at(now.parse().unwrap()) {
            Opening::Open => "open".into(),
            Opening::Closed(Some(at)) => format!("opens {at}"),
            Opening::Closed(None) => "never".into(),
        }
    }

    #[test]
    fn a_night_window_is_open_across_midnight_in_its_own_zone() {
        let night = OpeningWindow::new("0 22 * * *", 6 * 3600, "Europe/Berlin").unwrap();
        assert_eq!(at(&night, "2026-01-15T20:59:59Z"), "opens 2026-01-15T21:00:00Z");
        assert_eq!(at(&night, "2026-01-15T21:00:00Z"), "open");
        assert_eq!(at(&night, "2026-01-16T02:59:59Z"), "open");
        assert_eq!(at(&night, "2026-01-16T03:00:00Z"), "opens 2026-01-16T21:00:00Z");
        assert_eq!(at(&night, "2026-07-15T20:00:00Z"), "open", "summer time: 22:00 is 20:00 UTC");
    }

    #[test]
    fn a_start_in_the_skipped_hour_opens_right_after_it() {
        let early = OpeningWindow::new("30 2 * * *", 1800, "Europe/Berlin").unwrap();
        // 2026-03-29: 02:00 becomes 03:00, that is 01:00 UTC.
        assert_eq!(at(&early, "2026-03-29T00:59:00Z"), "opens 2026-03-29T01:00:00Z");
        assert_eq!(at(&early, "2026-03-29T01:10:00Z"), "open");
        assert_eq!(at(&early, "2026-03-29T01:40:00Z"), "opens 2026-03-30T00:30:00Z");
    }

    #[test]
    fn a_start_in_the_repeated_hour_opens_once() {
        let early = OpeningWindow::new("30 2 * * *", 1200, "Europe/Berlin").unwrap();
        // 2026-10-25: 03:00 becomes 02:00, so 02:30 comes at 00:30 and at 01:30 UTC.
        assert_eq!(at(&early, "2026-10-25T00:35:00Z"), "open");
        assert_eq!(at(&early, "2026-10-25T00:55:00Z"), "opens 2026-10-26T01:30:00Z");
    }

    #[test]
    fn a_window_that_spans_a_clock_change_lasts_its_real_duration() {
        let night = OpeningWindow::new("0 22 * * *", 6 * 3600, "Europe/Berlin").unwrap();
        // 28 March 22:00 is 21:00 UTC; six hours later is 03:00 UTC, 05:00 summer time.
        assert_eq!(at(&night, "2026-03-29T02:59:59Z"), "open");
        assert_eq!(at(&night, "2026-03-29T03:00:00Z"), "opens 2026-03-29T20:00:00Z");
    }

    #[test]
    fn a_window_names_what_it_cannot_use() {
        let error = |cron, duration, zone| OpeningWindow::new(cron, duration, zone).unwrap_err().to_string();
        assert!(error("0 22 * *", 3600, "UTC").starts_with("window cron `0 22 * *` must have five fields"));
        assert!(error("0 22 * * * *", 3600, "UTC").starts_with("window cron"));
        assert!(error("0 22 * * *", 59, "UTC").starts_with("window duration_s must be within 60 and 604800"));
        assert!(error("0 22 * * *", 3600, "Berlin").starts_with("window time_zone must be an IANA name"));
        assert!(error("0 0 30 2 *", 3600, "UTC").ends_with("it never opens"));
    }
}
