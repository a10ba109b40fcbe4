//! Durations as people type them: `90`, `30s`, `15m`, `24h`, `7d`, `1h30m`.

use std::time::Duration;

/// The units: their letter and their length in seconds. Weeks are read, but not written.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Error of a text that is no duration, or none that fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is not a duration.
    #[error("`{0}` is not a duration such as 90, 30s, 15m, 24h, 7d or 1h30m")]
    NotADuration(String),
    /// The duration between two calls is zero.
    #[error("expected at least 1s")]
    Zero,
}

/// Reads a duration; a bare number is seconds.
///
/// # Errors
/// [`DurationError::NotADuration`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let expectation = || DurationError::NotADuration(text.to_owned());
    let text = text.trim();
    if text.is_empty() {
        return Err(expectation());
    }
    let mut total_s: u64 = 0;
    let mut number: Option<u64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let grown = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit.into()));
            number = Some(grown.ok_or_else(expectation)?);
            continue;
        }
        let (_, unit_s) = UNITS.into_iter().find(|(letter, _)| *letter == c).ok_or_else(expectation)?;
        let part_s = number.take().and_then(|n| n.checked_mul(unit_s)).ok_or_else(expectation)?;
        total_s = total_s.checked_add(part_s).ok_or_else(expectation)?;
    }
    let rest_s = match (number, total_s) {
        (None, _) => 0,
        (Some(number), 0) => number,
        // `1h30` could mean minutes or seconds.
        (Some(_), _) => return Err(expectation()),
    };
    total_s.checked_add(rest_s).map(Duration::from_secs).ok_or_else(expectation)
}

/// Reads the time between two calls. Zero is refused: a loop without a pause would be an attack on the service.
///
/// # Errors
/// A [`DurationError`].
pub fn parse_period(text: &str) -> Result<Duration, DurationError> {
    match parse(text)? {
        Duration::ZERO => Err(DurationError::Zero),
        period => Ok(period),
    }
}

/// Writes a duration for people, in its two largest units: `1h 30m`.
pub fn show(duration: Duration) -> String {
    let mut rest_s = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, unit_s) in UNITS.into_iter().skip_while(|(letter, _)| *letter == 'w') {
        let count = rest_s / unit_s;
        rest_s %= unit_s;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.truncate(2);
    match parts.is_empty() {
        true => "0s".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
        let check = |text: &str, expected_s: Option<u64>| {
            assert_eq!(parse(text).ok().map(|d| d.as_secs()), expected_s, "{text}");
        };
        check("90", Some(90));
        check("0", Some(0));
        check("30s", Some(30));
        check("15m", Some(900));
        check("24h", Some(86_400));
        check("7d", Some(604_800));
        check("1h30m", Some(5_400));
        assert!(parse_period("0").is_err());
        check("", None);
        check("h", None);
        check("1h30", None);
        check("-5", None);
        check("5 minutes", None);
        check("99999999999999999999", None);
        check("999999999999999999w", None);
    }

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
        let check = |seconds, expected: &str| {
            assert_eq!(show(Duration::from_secs(seconds)), expected);
        };
        check(0, "0s");
        check(59, "59s");
        check(5_400, "1h 30m");
        check(90_061, "1d 1h");
    }
}
