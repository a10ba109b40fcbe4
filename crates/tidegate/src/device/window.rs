//! Opening windows of a device: a cron pattern that matches every minute of the window, in local time.
//!
//! The Ioto agent reads its `schedule` and `apply` settings this way, and has the same names for the
//! usual ones: `* 22-23 * * *` is open from 22:00 to 23:59.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{Unit, Zoned};

/// A window that opens and closes by the minute.
#[derive(Debug, Clone)]
pub struct Window {
    cron: Cron,
}

/// Error of a text that is not a window.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a window; expected five cron fields such as \"* 22-23 * * *\", or anytime, day, night, \
     midnight, weekdays, workhours"
)]
pub struct NotAWindow {
    text: String,
    source: croner::errors::CronError,
}

impl FromStr for Window {
    type Err = NotAWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pattern = match text.trim() {
            "anytime" => "* * * * *",
            "day" => "* 6-17 * * *",
            "night" => "* 0-5,18-23 * * *",
            "midnight" => "0 0 * * *",
            "weekdays" => "* * * * 1-5",
            "workhours" => "* 9-16 * * 1-5",
            other => other,
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|source| NotAWindow { text: text.to_owned(), source })?;
        Ok(Self { cron })
    }
}

impl Window {
    /// The moment from which acting is allowed: now, if the window is open. `None` if it never opens.
    pub fn opens_at(&self, now: &Zoned) -> Option<Zoned> {
        let minute = now.round(jiff::ZonedRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Trunc)).ok()?;
        if self.cron.is_time_matching(&minute).unwrap_or(false) {
            return Some(now.clone());
        }
        self.cron.find_next_occurrence(now, false).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(window: &str, now: &str, expected: &str) {
        let window: Window = window.parse().expect("a good window");
        let now: Zoned = now.parse().expect("a good time");
        let expected: Zoned = expected.parse().expect("a good time");
        assert_eq!(window.opens_at(&now), Some(expected));
    }

    #[test]
    fn a_window_is_open_for_every_minute_that_its_pattern_names() {
        check("* 22-23 * * *", "2026-01-05T22:59:59+01:00[Europe/Berlin]", "2026-01-05T22:59:59+01:00[Europe/Berlin]");
        check("* 22-23 * * *", "2026-01-05T21:59:59+01:00[Europe/Berlin]", "2026-01-05T22:00:00+01:00[Europe/Berlin]");
        check("*/2 * * * *", "2026-01-05T10:01:30+01:00[Europe/Berlin]", "2026-01-05T10:02:00+01:00[Europe/Berlin]");
        check("workhours", "2026-01-03T12:00:00+01:00[Europe/Berlin]", "2026-01-05T09:00:00+01:00[Europe/Berlin]");
    }

    #[test]
    fn a_window_is_in_local_time_on_both_sides_of_a_clock_change() {
        // Berlin goes from +01:00 to +02:00 in the night to 2026-03-29.
        check("* 4 * * *", "2026-03-28T05:00:00+01:00[Europe/Berlin]", "2026-03-29T04:00:00+02:00[Europe/Berlin]");
    }

    #[test]
    fn a_pattern_that_is_not_one_says_what_is_expected() {
        let error = "nonsense".parse::<Window>().expect_err("not a window");
        assert!(error.to_string().contains("expected five cron fields"), "{error}");
        assert!("0 0 0 * * *".parse::<Window>().is_err(), "six fields");
    }
}
